//! Two plain series against one another, as canary systems hand them over:
//! the values of the experiment and of the control, and nothing else. No
//! instances, no history, no time: what noise is must come from the series
//! themselves.

mod events;
mod noise;
#[cfg(test)]
mod tests;

use super::sentence;
use crate::signal::Unit;

/// Fewer values than this cannot be judged.
const VALUES_MIN: usize = 5;

/// A smaller relative change matters to nobody, unless settings say so.
const PRACTICAL: f64 = 0.05;

/// The same for the probability that a value of the experiment is the larger.
const PRACTICAL_CLES: f64 = 0.06;

/// How much more restless a series must be, and how much calmer.
const RESTLESS: f64 = 2.0;
const CALM: f64 = 4.0;

/// A series is dense that has a value in at least this share of its slots.
const DENSE: f64 = 0.5;

/// An experiment with less, beside a control with more, is silent.
const SILENT: f64 = 0.25;
const SPEAKING: f64 = 0.75;

/// Which way is bad.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BadDirection {
    /// More is bad.
    Increase,
    /// Less is bad.
    Decrease,
    /// Any change is bad.
    #[default]
    Either,
}

/// What a slot without a value means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Gaps {
    /// Nothing is known of it.
    #[default]
    Remove,
    /// It is zero.
    Zero,
}

/// How large a change is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Measure {
    /// The experiment's mean in units of the control's.
    #[default]
    MeanRatio,
    /// The probability that a value of the experiment is larger than one of
    /// the control.
    Cles,
}

/// What settings say of one pair.
#[derive(Clone, Debug, PartialEq)]
pub struct PairSettings {
    /// Which way is bad.
    pub bad: BadDirection,
    /// What gaps mean.
    pub gaps: Gaps,
    /// Values further outside the middle half than this many times its width
    /// are left out.
    pub outlier_factor: Option<f64>,
    /// How a change is measured.
    pub measure: Measure,
    /// A smaller measure is no increase; the neutral value says nothing.
    pub allowed_increase: f64,
    /// A larger measure is no decrease; the neutral value says nothing.
    pub allowed_decrease: f64,
    /// An increase from here on is critical.
    pub critical_increase: f64,
    /// A decrease from here on is critical.
    pub critical_decrease: f64,
    /// How often equal series may be told apart, in each direction: from 0 to
    /// 0.5.
    pub tail: f64,
}

impl PairSettings {
    /// The settings of a measure where nothing else is said.
    pub fn of(measure: Measure, tail: f64) -> Self {
        let neutral = measure.neutral();
        Self {
            bad: BadDirection::Either,
            gaps: Gaps::Remove,
            outlier_factor: None,
            measure,
            allowed_increase: neutral,
            allowed_decrease: neutral,
            critical_increase: neutral,
            critical_decrease: neutral,
            tail,
        }
    }

    fn may_rise(&self) -> bool {
        self.bad != BadDirection::Decrease
    }

    fn may_fall(&self) -> bool {
        self.bad != BadDirection::Increase
    }

    /// Whether the settings name a ratio of their own: then only that counts.
    fn is_bounded(&self) -> bool {
        let neutral = self.measure.neutral();
        self.allowed_increase != neutral || self.allowed_decrease != neutral
    }

    fn matters(&self, effect: Option<f64>, upward: bool) -> bool {
        // Where there is no ratio, as against zero, any sure change matters.
        let Some(effect) = effect else { return true };
        let neutral = self.measure.neutral();
        let floor = match self.measure {
            Measure::MeanRatio => PRACTICAL,
            Measure::Cles => PRACTICAL_CLES,
        };
        let said = if upward { self.allowed_increase } else { self.allowed_decrease };
        let bound = match (said == neutral, upward) {
            (false, _) => said,
            (true, true) => neutral + floor,
            (true, false) => neutral - floor,
        };
        if upward { effect >= bound } else { effect <= bound }
    }

    fn is_critical(&self, effect: Option<f64>, upward: bool) -> bool {
        effect.is_none_or(|e| if upward { e >= self.critical_increase } else { e <= self.critical_decrease })
    }
}

impl Measure {
    /// Its value where nothing changed.
    pub fn neutral(self) -> f64 {
        match self {
            Self::MeanRatio => 1.0,
            Self::Cles => 0.5,
        }
    }
}

/// What the judge says of a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PairOutcome {
    /// Judged, and no bad difference.
    Pass,
    /// The experiment is too high.
    High,
    /// The experiment is too low.
    Low,
    /// It cannot be judged.
    NoData,
    /// The control speaks and the experiment is silent.
    Silent,
}

/// A series in a few numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Summary {
    /// Values that were judged.
    pub count: usize,
    /// Their mean; 0 without values, as the rest.
    pub mean: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
    /// Their standard deviation.
    pub deviation: f64,
}

/// The judgement of one pair with its evidence.
#[derive(Clone, Debug, PartialEq)]
pub struct PairFinding {
    /// What it is.
    pub outcome: PairOutcome,
    /// Why, as a sentence.
    pub because: String,
    /// The measure of the change; none where there is no ratio.
    pub effect: Option<f64>,
    /// Whether the change reaches what settings call critical.
    pub is_critical: bool,
    /// The experiment as it was judged.
    pub experiment: Summary,
    /// The control as it was judged.
    pub control: Summary,
}

/// Judges one pair. Values that are not finite are gaps; the order of values
/// is that of time.
pub fn judge(experiment: &[f64], control: &[f64], settings: &PairSettings) -> PairFinding {
    let (e, c) = match fill(experiment, control, settings.gaps) {
        Filled::Judged(e, c) => (e, c),
        Filled::Unjudged(outcome, because) => {
            let of = |values: &[f64]| Summary::of(&present(values));
            return PairFinding {
                outcome,
                because,
                effect: None,
                is_critical: true,
                experiment: of(experiment),
                control: of(control),
            };
        }
    };
    let (e, c) = match settings.outlier_factor {
        Some(factor) => (without_outliers(e, factor), without_outliers(c, factor)),
        None => (e, c),
    };
    let effect = effect(&e, &c, settings.measure);
    let (outcome, because) = decide(&e, &c, effect, settings);
    PairFinding {
        outcome,
        because,
        effect,
        is_critical: match outcome {
            PairOutcome::Pass => false,
            PairOutcome::High => settings.is_critical(effect, true),
            PairOutcome::Low => settings.is_critical(effect, false),
            PairOutcome::NoData | PairOutcome::Silent => true,
        },
        experiment: Summary::of(&e),
        control: Summary::of(&c),
    }
}

fn decide(e: &[f64], c: &[f64], effect: Option<f64>, settings: &PairSettings) -> (PairOutcome, String) {
    if sorted(e) == sorted(c) {
        return (PairOutcome::Pass, "both series have the same values".to_owned());
    }
    let (events, level, restless) = match events::of(e, c) {
        Some(events) => (Some(events), None, None),
        None if e.len().min(c.len()) < VALUES_MIN => {
            let because = format!(
                "{} and {} values are too few to judge; at least {VALUES_MIN} are needed",
                e.len(),
                c.len()
            );
            return (PairOutcome::NoData, because);
        }
        None => (None, noise::level(e, c), noise::restlessness(e, c)),
    };
    let means = format!("mean {}, control {}", show(mean(e)), show(mean(c)));
    for (upward, may) in [(true, settings.may_rise()), (false, settings.may_fall())] {
        if !may {
            continue;
        }
        let outcome = if upward { PairOutcome::High } else { PairOutcome::Low };
        if let Some(events) = &events
            && events.tail(upward) <= settings.tail
            && settings.matters(effect, upward)
        {
            return (
                outcome,
                format!("{}; by chance with probability {:.2e}", events.told(), events.tail(upward)),
            );
        }
        if let Some(shift) = level.as_ref().and_then(|level| level.shift(upward, settings.tail))
            && settings.matters(effect_of(shift, effect), upward)
        {
            let because = format!(
                "{means}; over the last {} values the difference is {:.1} times the noise between windows of \
                 that length",
                shift.values, shift.score
            );
            return (outcome, because);
        }
        // Where any change is bad, a series that hardly moves any more is one.
        let share = match (&restless, upward, settings.bad) {
            (_, _, _) if settings.is_bounded() => None,
            (Some(restless), true, _) => Some((restless, RESTLESS)),
            (Some(restless), false, BadDirection::Either) => Some((restless, 1.0 / CALM)),
            (Some(_) | None, _, _) => None,
        };
        if let Some((restless, bound)) = share
            && let Some(because) = restless.exceeds(upward, bound, settings.tail)
        {
            return (outcome, format!("{means}; {because}"));
        }
    }
    let because = match &events {
        Some(events) => format!("{}: no more than chance", events.told()),
        None => format!("{means}: within the noise, or too little to matter"),
    };
    (PairOutcome::Pass, because)
}

/// A shift of the last values is measured by them.
fn effect_of(shift: &noise::Shift, whole: Option<f64>) -> Option<f64> {
    whole.and(shift.ratio).or(whole)
}

enum Filled {
    Judged(Vec<f64>, Vec<f64>),
    Unjudged(PairOutcome, String),
}

/// Gaps as settings see them; and who is silent.
fn fill(experiment: &[f64], control: &[f64], gaps: Gaps) -> Filled {
    let slots = experiment.len().max(control.len());
    let zeroed = |values: &[f64]| -> Vec<f64> {
        let filled = values.iter().map(|v| if v.is_finite() { *v } else { 0.0 });
        // A series that is not there at all has only gaps.
        if values.is_empty() { vec![0.0; slots] } else { filled.collect() }
    };
    let (e, c) = (present(experiment), present(control));
    if slots == 0 || (gaps == Gaps::Remove && e.is_empty() && c.is_empty()) {
        return Filled::Unjudged(PairOutcome::NoData, "neither series has a value".to_owned());
    }
    if gaps == Gaps::Zero {
        return Filled::Judged(zeroed(experiment), zeroed(control));
    }
    let share = |present: &[f64], all: &[f64]| present.len() as f64 / all.len().max(1) as f64;
    let (share_e, share_c) = (share(&e, experiment), share(&c, control));
    let counts = e.iter().chain(&c).all(|v| *v >= 0.0);
    // A series that exists only while something happens: its gaps are zeros.
    if share_e < DENSE && share_c < DENSE && counts {
        return Filled::Judged(zeroed(experiment), zeroed(control));
    }
    if share_e < SILENT && share_c >= SPEAKING {
        let because = format!(
            "the control has {} of {} values and the experiment {} of {}: it is silent",
            c.len(),
            control.len(),
            e.len(),
            experiment.len()
        );
        return Filled::Unjudged(PairOutcome::Silent, because);
    }
    if e.is_empty() || c.is_empty() {
        let who = if e.is_empty() { "the experiment" } else { "the control" };
        let because = format!(
            "{who} has no value; if a missing value means zero, say nanStrategy replace for this metric"
        );
        return Filled::Unjudged(PairOutcome::NoData, because);
    }
    Filled::Judged(e, c)
}

fn present(values: &[f64]) -> Vec<f64> {
    values.iter().copied().filter(|v| v.is_finite()).collect()
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

fn mean(values: &[f64]) -> f64 {
    if values.is_empty() { 0.0 } else { values.iter().sum::<f64>() / values.len() as f64 }
}

fn show(value: f64) -> String {
    sentence::value(value, Unit::Count)
}

/// The middle of sorted values between two of them, as spreadsheets do it.
fn percentile(sorted: &[f64], share: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return 0.0 };
    let at = share * last as f64;
    let (low, high) = (sorted[at.floor() as usize], sorted[at.ceil() as usize]);
    low + (high - low) * at.fract()
}

fn without_outliers(values: Vec<f64>, factor: f64) -> Vec<f64> {
    let ordered = sorted(&values);
    let quarter = |share| percentile(&ordered, share);
    let width = quarter(0.75) - quarter(0.25);
    let low = quarter(0.01).min(quarter(0.25) - factor * width);
    let high = quarter(0.99).max(quarter(0.75) + factor * width);
    values.into_iter().filter(|v| (low..=high).contains(v)).collect()
}

fn effect(e: &[f64], c: &[f64], measure: Measure) -> Option<f64> {
    let effect = match measure {
        Measure::MeanRatio => ratio(mean(e), mean(c))?,
        Measure::Cles => cles(e, c),
    };
    effect.is_finite().then_some(effect)
}

/// A ratio with a meaning: not against zero, not below it.
fn ratio(of: f64, to: f64) -> Option<f64> {
    (to > 0.0 && of >= 0.0).then(|| of / to).filter(|ratio| ratio.is_finite())
}

/// By ranks, so that long series take no longer than sorting.
fn cles(e: &[f64], c: &[f64]) -> f64 {
    let control = sorted(c);
    let wins: f64 = e
        .iter()
        .map(|v| {
            let below = control.partition_point(|x| x < v);
            let equal = control.partition_point(|x| x <= v) - below;
            below as f64 + equal as f64 / 2.0
        })
        .sum();
    wins / (e.len() as f64 * c.len() as f64)
}

impl Summary {
    fn of(values: &[f64]) -> Self {
        if values.is_empty() {
            return Self::default();
        }
        Self {
            count: values.len(),
            mean: mean(values),
            min: values.iter().copied().fold(f64::INFINITY, f64::min),
            max: values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            deviation: noise::variance(values).sqrt(),
        }
    }
}

//! Differences in units of the noise between windows of the same length.
//! Neighbouring values are not independent: a series that wanders has fewer
//! values than points, and its noise is taken accordingly.

use statrs::distribution::{ContinuousCDF, StudentsT};

use super::{VALUES_MIN, mean, ratio};

/// The whole series, its last half, its last quarter: a fault that came late
/// is not thinned out by what was before it.
const PARTS: [usize; 3] = [1, 2, 4];

/// The windows overlap, so that together they need less than each alone.
const LOOKS_SHARE: f64 = 0.5;

/// Part of the budget that restlessness may spend.
const RESTLESS_SHARE: f64 = 0.2;

/// Noise that is never believed to be smaller, as a share of the control.
const NOISE_FLOOR: f64 = 0.01;

/// The strongest correlation that is believed.
const CORRELATION_MAX: f64 = 0.97;

/// Windows of the same length whose means are compared.
const BATCHES: usize = 4;

/// A difference over the last values.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Shift {
    pub(super) values: usize,
    /// In units of the noise, positive upwards.
    pub(super) score: f64,
    pub(super) ratio: Option<f64>,
    /// The probability of so much by chance, in this direction.
    tail: f64,
}

/// Differences over windows of several lengths, the longest first.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Level {
    shifts: Vec<Shift>,
}

/// How much two series move from value to value.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Restlessness {
    level: Level,
    experiment: f64,
    control: f64,
}

pub(super) fn variance(values: &[f64]) -> f64 {
    if values.len() < 2 {
        return 0.0;
    }
    let middle = mean(values);
    values.iter().map(|v| (v - middle).powi(2)).sum::<f64>() / (values.len() - 1) as f64
}

/// The correlation of neighbours, corrected for what short series hide.
fn correlation(values: &[f64]) -> f64 {
    let middle = mean(values);
    let own: f64 = values.iter().map(|v| (v - middle).powi(2)).sum();
    if own <= 0.0 {
        return 0.0;
    }
    let next: f64 = values.windows(2).map(|w| (w[0] - middle) * (w[1] - middle)).sum();
    let seen = next / own;
    (seen + (1.0 + 3.0 * seen) / values.len() as f64).clamp(0.0, CORRELATION_MAX)
}

/// The variance of a single value as far as means are concerned, and how many
/// independent values the series is worth.
fn long_run(values: &[f64]) -> (f64, f64) {
    let count = values.len() as f64;
    let correlation = correlation(values);
    let stretch = ((1.0 + correlation) / (1.0 - correlation)).min(count);
    let worth = (count / stretch).max(1.0);
    // A series that wanders never shows its whole spread.
    let mut long_run = variance(values) / (1.0 - 1.0 / worth).max(0.2) * stretch;
    if values.len() >= 2 * BATCHES {
        let length = values.len() / BATCHES;
        let means: Vec<f64> = values[values.len() - length * BATCHES..].chunks(length).map(mean).collect();
        long_run = long_run.max(variance(&means) / BATCHES as f64 * count);
    }
    (long_run, worth)
}

/// The differences of two series; none if they are too short.
pub(super) fn level(e: &[f64], c: &[f64]) -> Option<Level> {
    let (control_variance, control_worth) = long_run(c);
    let floor = NOISE_FLOOR * mean(c).abs();
    let mut shifts = Vec::new();
    for part in PARTS {
        let (own, other) = (&e[e.len() - e.len() / part..], &c[c.len() - c.len() / part..]);
        if own.len().min(other.len()) < VALUES_MIN {
            continue;
        }
        let (own_variance, own_worth) = long_run(own);
        let a = own_variance / own.len() as f64;
        let b = control_variance / other.len() as f64;
        let noise = (a + b).sqrt().max(floor).max(f64::MIN_POSITIVE);
        let freedom = if a + b > 0.0 {
            let parts = a * a / (own_worth - 1.0).max(1.0) + b * b / (control_worth - 1.0).max(1.0);
            ((a + b).powi(2) / parts).max(1.0)
        } else {
            (own.len() + other.len()) as f64
        };
        let score = (mean(own) - mean(other)) / noise;
        let tail = tail(score, freedom);
        shifts.push(Shift { values: own.len(), score, ratio: ratio(mean(own), mean(other)), tail });
    }
    (!shifts.is_empty()).then_some(Level { shifts })
}

/// The upper tail; numbers that overflowed say nothing.
fn tail(score: f64, freedom: f64) -> f64 {
    if !(score.is_finite() && freedom.is_finite()) {
        return 1.0;
    }
    let (score, freedom) = (score.abs().min(1e6), freedom.clamp(1.0, 1e6));
    StudentsT::new(0.0, 1.0, freedom).map_or(1.0, |t| t.sf(score))
}

impl Level {
    /// The surest difference in one direction that lasts to the end.
    pub(super) fn shift(&self, upward: bool, tail: f64) -> Option<&Shift> {
        let same = |shift: &Shift| (shift.score > 0.0) == upward;
        let share = if self.shifts.len() > 1 { LOOKS_SHARE } else { 1.0 };
        let lasts = self.shifts.get(1).is_none_or(same);
        let found = self.shifts.iter().enumerate().filter(|(at, shift)| {
            // What was there and is gone again heals by itself.
            same(shift) && shift.tail <= tail * share && (*at > 0 || lasts)
        });
        found.map(|(_, shift)| shift).min_by(|a, b| a.tail.total_cmp(&b.tail))
    }
}

/// The restlessness of two series; none if they are too short.
pub(super) fn restlessness(e: &[f64], c: &[f64]) -> Option<Restlessness> {
    let steps = |values: &[f64]| values.windows(2).map(|w| (w[1] - w[0]).abs()).collect::<Vec<_>>();
    let (e, c) = (steps(e), steps(c));
    let level = level(&e, &c)?;
    Some(Restlessness { level, experiment: mean(&e), control: mean(&c) })
}

impl Restlessness {
    /// Whether the experiment moves so many times as much as the control, or
    /// so little, as a sentence.
    pub(super) fn exceeds(&self, upward: bool, bound: f64, tail: f64) -> Option<String> {
        let beyond = match upward {
            true => self.experiment > bound * self.control,
            false => self.experiment < bound * self.control,
        };
        let shift = self.level.shift(upward, tail * RESTLESS_SHARE).filter(|_| beyond)?;
        let word = if upward { "more" } else { "less" };
        Some(format!(
            "it moves {word} from value to value, {} against {}, {:.1} times the noise",
            super::show(self.experiment),
            super::show(self.control),
            shift.score.abs()
        ))
    }
}

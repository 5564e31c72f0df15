//! What a signal was before the release, and how much it moves without one:
//! the noise is measured on pseudo-releases cut from the quiet history, over
//! windows of the same length, so that minutes need not be independent.

use std::cmp::Ordering;

use crate::domain::Group;
use crate::signal::{Cells, Observation, Rows, Shape, SignalClass, SignalDef, SignalId, Step, Unit};

use super::counted::is_counted;
use super::scale::Scale;

/// Lengths of the windows that are looked at, in steps.
pub const WINDOWS: [Step; 11] = [1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144];

/// Longest stretch before the release that is its own yardstick: long enough
/// to average noise, short enough that the day does not move it.
const BASE_STEPS_MAX: Step = 60;

/// Most history that pseudo-releases are cut from.
const HISTORY_STEPS_MAX: Step = 400;

/// How unlike machines of one fleet are where nothing shows it, on the scale:
/// a quarter.
const SPREAD_UNKNOWN: f64 = 0.25;

/// Fewest rises of a level that only rises, and how many to a fall: a level that
/// wanders falls as often as it rises.
const RISES_MIN: usize = 20;
const RISES_A_FALL: usize = 40;

/// What is compared: the values themselves or their restlessness.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum View {
    /// The values.
    Level,
    /// Absolute differences between neighbouring steps: a variance that grows
    /// or spikes that come and go show here and not in the level.
    Restlessness,
}

/// One signal before the release.
#[derive(Clone, Debug)]
pub struct Baseline {
    /// Values or restlessness.
    pub view: View,
    /// The scale of comparison.
    pub scale: Scale,
    /// The scale of the values, for restlessness.
    pub(super) inner: Scale,
    /// The bound of a `Slow` signal.
    pub bound: Option<f64>,
    /// On the scale, each member's value in the base stretch; NaN if unknown.
    pub base: Vec<f64>,
    /// The reference members' typical value in it; NaN if unknown.
    pub usual: f64,
    /// Each member's numerator and denominator over the whole history.
    pub totals: Vec<(f64, f64)>,
    /// Numerator and denominator in the base stretch.
    pub base_sums: Vec<(f64, f64)>,
    /// For each window the noise of one group's difference against the other.
    pub noise: Vec<f64>,
    /// For each window the largest difference that was seen without a release,
    /// down (as a positive number) and up.
    pub worst: Vec<(f64, f64)>,
    /// For each window the noise of what both groups do alike, and the largest
    /// such change up that was seen without a release.
    pub shared: Vec<(f64, f64)>,
    /// For each window how much more events vary than independent ones would:
    /// 1 is Poisson. Only for counted signals.
    pub dispersion: Vec<f64>,
    /// For each window the largest excess of events that was seen without a
    /// release, in standard deviations of independent events.
    pub worst_excess: Vec<f64>,
    /// How many pseudo-releases the noise of the shortest window comes from.
    pub pseudo_releases: usize,
    /// Spread of the members' base values: for members without a past.
    pub spread: f64,
    /// The signal never moved: a configuration, not a measurement.
    pub constant: bool,
    /// A level that all but never fell: a counter that is not declared as one.
    pub only_rises: bool,
    /// Whether the numerator counts against the main traffic.
    pub by_traffic: bool,
    /// What one event adds to the numerator: 1, or a sparse amount's mean.
    pub grain: f64,
}

/// Where a signal's history is, in steps.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    /// First step with data.
    pub from: Step,
    /// The release's first step.
    pub start: Step,
}

impl Span {
    fn history(self) -> Step {
        self.start - self.from
    }

    /// The length of the base stretch.
    pub fn base_steps(self) -> Step {
        (self.history() / 2).clamp(1, BASE_STEPS_MAX)
    }
}

/// One member's cells as dense prefix sums over a span.
pub(super) struct Dense {
    num: Vec<f64>,
    den: Vec<f64>,
}

impl Dense {
    pub(super) fn new(cells: Option<Cells<'_>>, from: Step, to: Step, view: View, inner: Scale) -> Self {
        let len = usize::try_from(to - from).unwrap_or(0);
        let mut rows = Rows { num: vec![0.0; len], den: vec![0.0; len] };
        if let Some(cells) = cells {
            cells.read(from, to, &mut rows);
        }
        let mut out = Self { num: Vec::with_capacity(len + 1), den: Vec::with_capacity(len + 1) };
        out.num.push(0.0);
        out.den.push(0.0);
        let (mut num, mut den) = (0.0, 0.0);
        let mut last = None;
        for (n, d) in rows.num.into_iter().zip(rows.den) {
            match view {
                View::Level => {
                    num += n;
                    den += d;
                }
                View::Restlessness => {
                    let value = (d > 0.0).then(|| inner.of_value(n / d));
                    if let (Some(value), Some(last)) = (value, last) {
                        num += f64::abs(value - last);
                        den += 1.0;
                    }
                    last = value;
                }
            }
            out.num.push(num);
            out.den.push(den);
        }
        out
    }

    fn sums(&self, a: usize, b: usize) -> (f64, f64) {
        (self.num[b] - self.num[a], self.den[b] - self.den[a])
    }

    /// The value of steps `a..b` on a scale; NaN without data.
    pub(super) fn value(&self, scale: Scale, a: usize, b: usize) -> f64 {
        let (num, den) = self.sums(a, b);
        if den > 0.0 { scale.of_value(num / den) } else { f64::NAN }
    }
}

/// The mean of finite values.
pub fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (mut total, mut count) = (0.0, 0.0);
    for value in values.filter(|v| v.is_finite()) {
        total += value;
        count += 1.0;
    }
    if count > 0.0 { total / count } else { f64::NAN }
}

/// The median of finite values; reorders the buffer.
pub fn median(values: &mut Vec<f64>) -> f64 {
    values.retain(|v| v.is_finite());
    let len = values.len();
    if len == 0 {
        return f64::NAN;
    }
    let middle = len / 2;
    // Finite values all compare, and the plain comparison is the cheaper one.
    let order = |a: &f64, b: &f64| a.partial_cmp(b).unwrap_or(Ordering::Equal);
    let (below, upper, _) = values.select_nth_unstable_by(middle, order);
    let upper = *upper;
    if len % 2 == 1 {
        return upper;
    }
    let lower = below.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    (lower + upper) / 2.0
}

impl Baseline {
    /// Measures a signal's history. Nothing if no member has any.
    pub fn measure(
        observation: &Observation<'_>,
        id: SignalId,
        def: &SignalDef,
        span: Span,
        view: View,
    ) -> Option<Self> {
        let from = span.from.max(span.start - HISTORY_STEPS_MAX);
        let span = Span { from, start: span.start };
        let members = &observation.groups.members;
        let by_traffic = def.by_traffic && observation.traffic.is_some();
        let bound =
            if def.shape == Shape::Slow { Some(choose_bound(observation, id, def, span)?) } else { None };
        let cells: Vec<Option<Cells<'_>>> =
            members.iter().map(|m| observation.cells(id, def, m, bound)).collect();

        let mut typical: Vec<f64> = Vec::new();
        let (mut lowest, mut highest) = (f64::INFINITY, f64::NEG_INFINITY);
        let (mut rises, mut falls) = (0, 0);
        let unit_scale = Scale::of(def, by_traffic, 0.0);
        let plain: Vec<Dense> =
            cells.iter().map(|c| Dense::new(*c, span.from, span.start, View::Level, unit_scale)).collect();
        let len = usize::try_from(span.history()).unwrap_or(0);
        for dense in &plain {
            let (num, den) = dense.sums(0, len);
            if den > 0.0 {
                typical.push((num / den).abs());
            }
            let mut last = f64::NAN;
            for at in 0..len {
                let (num, den) = dense.sums(at, at + 1);
                if den > 0.0 {
                    let value = num / den;
                    lowest = lowest.min(value);
                    highest = highest.max(value);
                    rises += usize::from(value > last);
                    falls += usize::from(value < last);
                    last = value;
                }
            }
        }
        if typical.is_empty() {
            return None;
        }
        let constant = len >= 4 && highest - lowest <= 1e-12 * highest.abs();
        let inner = Scale::of(def, by_traffic, median(&mut typical));
        let (dense, scale) = match view {
            View::Level => (plain, inner),
            View::Restlessness => {
                let dense: Vec<Dense> = cells
                    .iter()
                    .map(|c| Dense::new(*c, span.from, span.start, View::Restlessness, inner))
                    .collect();
                let mut usual: Vec<f64> =
                    dense.iter().map(|d| d.sums(0, len)).filter(|s| s.1 > 0.0).map(|s| s.0 / s.1).collect();
                let usual = median(&mut usual);
                (dense, Scale::restlessness(usual))
            }
        };
        let base_from = len - usize::try_from(span.base_steps()).unwrap_or(len).min(len);
        let base: Vec<f64> = dense.iter().map(|d| d.value(scale, base_from, len)).collect();
        let spread = {
            let center = median(&mut base.clone());
            let mut distances: Vec<f64> = base.iter().map(|b| (b - center).abs()).collect();
            1.4826 * median(&mut distances)
        };
        let released: Vec<bool> = members.iter().map(|m| m.group() == Group::Release).collect();
        let mut this = Self {
            view,
            scale,
            inner,
            bound,
            totals: dense.iter().map(|d| d.sums(0, len)).collect(),
            base_sums: dense.iter().map(|d| d.sums(base_from, len)).collect(),
            noise: Vec::with_capacity(WINDOWS.len()),
            worst: Vec::with_capacity(WINDOWS.len()),
            shared: Vec::with_capacity(WINDOWS.len()),
            dispersion: Vec::new(),
            worst_excess: Vec::new(),
            pseudo_releases: 0,
            // One or two machines do not tell how unlike machines are.
            spread: match base.iter().filter(|b| b.is_finite()).count() {
                0..3 => f64::max(SPREAD_UNKNOWN, if spread.is_finite() { spread } else { 0.0 }),
                _ => spread,
            },
            usual: {
                let reference = base.iter().zip(&released).filter(|(_, released)| !**released);
                median(&mut reference.map(|(base, _)| *base).collect())
            },
            base,
            constant,
            // A restart in the past lets a counter fall once.
            only_rises: def.shape == Shape::Level && rises >= RISES_MIN && falls * RISES_A_FALL <= rises,
            by_traffic,
            grain: if def.class == SignalClass::Business { grain(&cells, span) } else { 1.0 },
        };
        this.measure_noise(&dense, &released, span);
        if is_counted(def) && view == View::Level {
            this.measure_dispersion(&dense, &released, len);
        }
        Some(this)
    }

    fn measure_noise(&mut self, dense: &[Dense], released: &[bool], span: Span) {
        let len = usize::try_from(span.history()).unwrap_or(0);
        let base = usize::try_from(span.base_steps()).unwrap_or(1);
        let known = self.base.iter().filter(|b| b.is_finite()).count();
        let release_size =
            released.iter().zip(&self.base).filter(|(r, b)| **r && b.is_finite()).count().max(1);
        let reference_size = (known - release_size.min(known)).max(1);
        let group_share = (1.0 / release_size as f64 + 1.0 / reference_size as f64).sqrt();
        let mut changes = vec![f64::NAN; dense.len()];
        let mut buffer = Vec::with_capacity(dense.len());
        // Windows of all lengths follow the same base stretches.
        let follows: Vec<Vec<f64>> = dense
            .iter()
            .map(|d| (base..len.max(base)).map(|at| d.value(self.scale, at - base, at)).collect())
            .collect();
        for (index, window) in WINDOWS.iter().enumerate() {
            let window = usize::try_from(*window).unwrap_or(1);
            let (mut squares, mut count) = (0.0, 0.0);
            let (mut single_squares, mut single_count) = (0.0, 0.0);
            let (mut down, mut up) = (0.0f64, 0.0f64);
            let (mut single_down, mut single_up) = (0.0f64, 0.0f64);
            let (mut shared_squares, mut shared_count, mut shared_up) = (0.0, 0.0, 0.0f64);
            let mut at = base;
            while at + window <= len {
                for ((change, dense), follows) in changes.iter_mut().zip(dense).zip(&follows) {
                    *change = dense.value(self.scale, at, at + window) - follows[at - base];
                }
                let difference = contrast(&changes, released, &mut buffer);
                if difference.is_finite() {
                    squares += difference * difference;
                    count += 1.0;
                    down = down.max(-difference);
                    up = up.max(difference);
                }
                buffer.clear();
                buffer.extend_from_slice(&changes);
                let alike = median(&mut buffer);
                if alike.is_finite() {
                    shared_squares += alike * alike;
                    shared_count += 1.0;
                    shared_up = shared_up.max(alike);
                }
                let center = if known >= 3 { alike } else { 0.0 };
                for change in changes.iter().filter(|c| c.is_finite()) {
                    let own = change - center;
                    single_squares += own * own;
                    single_count += 1.0;
                    single_down = single_down.max(-own);
                    single_up = single_up.max(own);
                }
                at += window;
            }
            if index == 0 {
                let windows = if count > 0.0 { count } else { single_count / known.max(1) as f64 };
                self.pseudo_releases = windows as usize;
            }
            // Released machines without a past of their own leave no group to
            // contrast: what each machine alone did stands for it in full.
            let newcomers = count == 0.0 && known >= 1;
            let single_noise = (single_squares / f64::max(single_count, 1.0)).sqrt();
            let enough = count >= 3.0 || (newcomers && single_count >= 3.0 * known as f64);
            let (noise, worst) = if enough && newcomers {
                (single_noise * group_share, (single_down, single_up))
            } else if enough {
                let group_noise = (squares / count).sqrt();
                // One machine's own excursions count in full where it stands
                // alone, and average out in a group.
                let alone = 1.0 / release_size as f64;
                (
                    group_noise.max(single_noise * group_share * 0.7),
                    (down.max(single_down * alone), up.max(single_up * alone)),
                )
            } else {
                // Too little history for this length: what was seen of shorter
                // windows bounds it.
                let last = self.noise.last().copied().unwrap_or(f64::INFINITY);
                (last, self.worst.last().copied().unwrap_or((0.0, 0.0)))
            };
            self.noise.push(noise);
            self.worst.push(worst);
            let shared = if shared_count >= 3.0 {
                (f64::sqrt(shared_squares / shared_count), shared_up)
            } else {
                self.shared.last().copied().unwrap_or((f64::INFINITY, f64::INFINITY))
            };
            self.shared.push(shared);
        }
    }

    /// How events cluster without a release, for the group and for each
    /// machine alone.
    fn measure_dispersion(&mut self, dense: &[Dense], released: &[bool], len: usize) {
        let rate = |(num, den): (f64, f64)| if den > 0.0 { num / den } else { 0.0 };
        // Without a past of the released machines all others stand for them.
        let has_past = dense.iter().zip(released).any(|(d, r)| *r && d.sums(0, len).1 > 0.0);
        let pool = |want: Option<bool>, a: usize, b: usize| {
            let mut sum = (0.0, 0.0);
            let want = match want {
                Some(true) if !has_past => None,
                Some(false) if !has_past => return sum,
                want => want,
            };
            for (dense, released) in dense.iter().zip(released) {
                if want.is_none_or(|want| want == *released) {
                    let (num, den) = dense.sums(a, b);
                    sum.0 += num;
                    sum.1 += den;
                }
            }
            sum
        };
        // A burst of one machine is as strong in a group of one.
        let release_size = released.iter().filter(|r| **r).count().max(1) as f64;
        let usual_release = rate(pool(Some(true), 0, len)).max(0.5 * rate(pool(None, 0, len)));
        for window in WINDOWS {
            let window = usize::try_from(window).unwrap_or(1);
            let (mut squares, mut count, mut worst) = (0.0, 0.0, 0.0f64);
            let (mut single_squares, mut single_count) = (0.0, 0.0);
            let mut at = 0;
            while at + window <= len {
                let (events, exposure) = pool(Some(true), at, at + window);
                // What the reference group shows at the same time is shared.
                let shared = rate(pool(Some(false), at, at + window));
                let excess = excess(events, exposure, usual_release.max(shared));
                if exposure > 0.0 {
                    squares += excess * excess;
                    count += 1.0;
                    worst = worst.max(excess);
                }
                for dense in dense {
                    let own = rate(dense.sums(0, len));
                    let (events, exposure) = dense.sums(at, at + window);
                    if exposure > 0.0 && own > 0.0 {
                        let alone = self::excess(events, exposure, own.max(shared));
                        single_squares += alone * alone;
                        single_count += 1.0;
                        worst = worst.max(alone / release_size);
                    }
                }
                at += window;
            }
            let (dispersion, worst) = if count >= 3.0 {
                let single = if single_count > 0.0 { single_squares / single_count } else { 1.0 };
                (f64::max(squares / count, single).max(1.0), worst)
            } else {
                (
                    self.dispersion.last().copied().unwrap_or(4.0),
                    self.worst_excess.last().copied().unwrap_or(0.0),
                )
            };
            self.dispersion.push(dispersion);
            self.worst_excess.push(worst);
        }
    }

    /// What a member is compared with, on the scale: who has no past of its own
    /// is compared with the reference group's.
    pub fn base_of(&self, member: usize) -> f64 {
        self.base.get(member).copied().filter(|base| base.is_finite()).unwrap_or(self.usual)
    }

    /// The sums of each of the `windows`, which grow, that ends before `to` and
    /// begins at `from` or later, for one member: calls `each(place in windows,
    /// numerator, denominator, steps with a value)`. `rows` is only a buffer.
    pub fn recent(
        &self,
        cells: &Cells<'_>,
        (from, to): (Step, Step),
        windows: &[Step],
        rows: &mut Rows,
        mut each: impl FnMut(usize, f64, f64, Step),
    ) {
        let from = from.max(to - windows.last().copied().unwrap_or(0));
        cells.read(from, to, rows);
        let (mut num, mut den, mut filled) = (0.0, 0.0, 0);
        let mut later: Option<f64> = None;
        let mut end = rows.num.len();
        for (place, window) in windows.iter().enumerate().take_while(|(_, window)| to - *window >= from) {
            let begin = usize::try_from(to - window - from).unwrap_or(0);
            let cells = rows.num[begin..end].iter().rev().zip(rows.den[begin..end].iter().rev());
            match self.view {
                View::Level => {
                    for (n, d) in cells {
                        num += n;
                        den += d;
                        filled += Step::from(*d > 0.0);
                    }
                }
                View::Restlessness => {
                    for (n, d) in cells {
                        let value = (*d > 0.0).then(|| self.inner.of_value(n / d));
                        if let (Some(value), Some(later)) = (value, later) {
                            num += f64::abs(value - later);
                            den += 1.0;
                            filled += 1;
                        }
                        later = value;
                    }
                }
            }
            each(place, num, den, filled);
            end = begin;
        }
    }

    /// Numerator and denominator of one member over steps `from..to`.
    pub fn sums(&self, cells: &Cells<'_>, from: Step, to: Step) -> (f64, f64) {
        match self.view {
            View::Level => cells.sum(from, to),
            View::Restlessness => {
                let dense = Dense::new(Some(*cells), from, to, self.view, self.inner);
                let len = usize::try_from(to - from).unwrap_or(0);
                dense.sums(0, len)
            }
        }
    }
}

/// Amounts come in lumps: where most steps add nothing, what a step adds is one
/// event. Where all steps add something the history's own noise says it all.
fn grain(cells: &[Option<Cells<'_>>], span: Span) -> f64 {
    let (mut steps, mut adding, mut total) = (0.0, 0.0, 0.0);
    let mut rows = Rows::default();
    for cells in cells.iter().flatten() {
        cells.read(span.from, span.start, &mut rows);
        for (num, den) in rows.num.iter().zip(&rows.den) {
            let (num, den) = (*num, *den);
            steps += f64::from(u8::from(den > 0.0));
            if den > 0.0 && num > 0.0 {
                adding += 1.0;
                total += num;
            }
        }
    }
    if adding > 0.0 && adding < 0.5 * steps { f64::max(1.0, total / adding) } else { 1.0 }
}

/// How far a count is above its expectation, in its standard deviations.
fn excess(events: f64, exposure: f64, rate: f64) -> f64 {
    let expected = exposure * rate;
    (events - expected) / (expected + 0.5).sqrt()
}

/// The released members' mean change less the reference members' median
/// change; less nothing where there is no reference.
pub fn contrast(changes: &[f64], released: &[bool], buffer: &mut Vec<f64>) -> f64 {
    let release = mean(changes.iter().zip(released).filter(|(_, r)| **r).map(|(c, _)| *c));
    buffer.clear();
    buffer.extend(changes.iter().zip(released).filter(|(_, r)| !**r).map(|(c, _)| *c));
    let reference = median(buffer);
    release - if reference.is_finite() { reference } else { 0.0 }
}

/// The bound of a histogram that about the signal's slow share of the
/// observations exceeded.
fn choose_bound(observation: &Observation<'_>, id: SignalId, def: &SignalDef, span: Span) -> Option<f64> {
    let mut best: Option<(f64, f64)> = None;
    for bound in &def.bounds {
        let (mut above, mut all) = (0.0, 0.0);
        for member in &observation.groups.members {
            if let Some(cells) = observation.cells(id, def, member, Some(*bound)) {
                let (num, den) = cells.sum(span.from, span.start);
                above += num;
                all += den;
            }
        }
        if all < 20.0 {
            continue;
        }
        let share = (above / all).max(1e-6);
        let distance = (share / def.slow_share).ln().abs();
        if best.is_none_or(|(_, least)| distance < least) {
            best = Some((*bound, distance));
        }
    }
    best.map(|(bound, _)| bound)
}

/// Whether restlessness is worth a look of its own: for levels whose meaning
/// is not known. Counters' noise is known from their counts, and bytes flow in
/// bursts.
pub fn has_restlessness(def: &SignalDef) -> bool {
    let flows = def.unit == Unit::PerSecond && def.metric.contains("bytes");
    def.shape == Shape::Level
        && !flows
        && !def.informative
        && !def.fills
        && matches!(def.class, SignalClass::Other | SignalClass::Saturation)
        && def.segment.is_none()
}

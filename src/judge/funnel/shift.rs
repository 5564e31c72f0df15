//! The test behind the screening: has the release group moved against the
//! reference group and against its own past, by more than it ever did without
//! a release, by enough to matter, on enough machines, and to stay?

use crate::judge::WarmUp;
use crate::signal::{BadWhen, Observation, Rows, Shape, SignalClass, SignalDef, SignalId, Step};

use super::baseline::{Baseline, View, WINDOWS, contrast, mean, median};
use super::counted::is_counted;
use super::counts;
use super::follows_load;
use super::scale::Practical;
use super::values::{counting_noise, group_values, whole_events};

/// A change must exceed what was seen without a release by this much.
const BEYOND_WORST: f64 = 1.25;

/// Noise that is never believed to be smaller, on the scale: one per cent.
pub(super) const NOISE_FLOOR: f64 = 0.01;

/// How sure, and over how many tries: derived from the error budget.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Budget {
    /// The standard score that a group difference needs.
    pub score: f64,
    /// The tail probability that a count needs.
    pub tail: f64,
}

/// From this margin on a signal is remembered as a suspect.
pub(super) const SUSPECT_MARGIN: f64 = 0.5;

/// The release group's change against the reference group counts up to this
/// many times its own change.
pub(super) const OWN_SHARE_MAX: f64 = 1.5;

/// On the scale, half of the load left the reference machines, as where they are
/// drained.
const LOAD_LEFT: f64 = 0.7;

/// How many times the usual size of a change of all machines is still usual,
/// and how many reference machines must show it.
const USUAL_TIMES: f64 = 2.0;
const USUAL_AMONG_MIN: usize = 3;

/// Part of a change of both groups by which equal machines may differ.
const SHARED_SHARE: f64 = 0.5;

/// From so many released machines on, one of them may fail alone: a region or
/// a tenant that only it serves.
const LONE_AMONG_MIN: usize = 3;

/// How much more is asked of one machine among several.
const LONE_FACTOR: f64 = 1.6;
const LONE_LATENCY_FACTOR: f64 = 2.5;

/// So many of the requests to one machine do not fail out of habit.
const LONE_ERRORS: f64 = 0.05;

/// How much more is asked of machines without a past: new ones are not equal.
const NEWCOMER_FACTOR: f64 = 1.5;
const LONE_NEWCOMER_FACTOR: f64 = 2.2;

/// Old differences between machines are drawn once in a release, and not anew at
/// each look, for which the budget allows.
const ONE_DRAW: f64 = 0.7;

/// What fills is a fault only where it climbs, and that is seen on the machine itself.
const CLIMBS: f64 = 0.3;

/// On the scale, nearly half of the main traffic.
const PART_OF_TRAFFIC: f64 = 0.6;

/// Restless gauges are many, and their noise is the least known.
const RESTLESS_FACTOR: f64 = 1.3;

/// Heavier tails than the normal's: measured noise is Gaussian nowhere.
const TAIL_FACTOR: f64 = 1.25;

/// Counts have exact tails, and their clustering is measured.
const COUNT_FACTOR: f64 = 1.1;

/// With so many events expected, none is no chance.
const SHARE_SHOWS: f64 = 25.0;

/// Fewer errors than this, as the samples of a gauge count them, are an accident.
const WHOLE_ERRORS_MIN: f64 = 10.0;

/// A machine that did not answer for so many steps is gone.
const SERVES_STEPS: Step = 21;

/// Independent looks at one signal in the course of a release, roughly: looks
/// at overlapping windows are correlated.
const LOOKS: f64 = 20.0;

impl Budget {
    /// One budget per release, spent evenly over all signals and looks.
    pub fn of(false_stops_per_1000: f64, signals: usize) -> Self {
        let tail = (false_stops_per_1000 / 1000.0 / (signals.max(1) as f64 * LOOKS)).clamp(1e-12, 0.05);
        Self { score: TAIL_FACTOR * counts::normal_quantile(tail), tail }
    }
}

/// What a look at one signal found: the evidence as numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct Shift {
    /// Which signal.
    pub signal: SignalId,
    /// The window that shows it best, in steps.
    pub steps: Step,
    /// The change of the release group against the reference group, on the
    /// scale, positive in the bad direction.
    pub change: f64,
    /// The release group's own change, in the same direction.
    pub own_change: f64,
    /// The change in units of the noise.
    pub score: f64,
    /// By how much the weakest of all requirements is met; 1 is just met.
    pub margin: f64,
    /// Times the largest change seen without a release.
    pub beyond_worst: f64,
    /// Times the least change that matters.
    pub practical: f64,
    /// The count test's tail probability; 1 where it does not apply.
    pub tail: f64,
    /// Which members show it, by index into the groups.
    pub shows: Vec<usize>,
    /// How many released members could be judged.
    pub judged: usize,
    /// Whether a young process may explain it: it still fades.
    pub fading: bool,
    /// It began too late to have lasted.
    pub is_brief: bool,
    /// It was, and the newest steps no longer show it.
    pub is_over: bool,
    /// The last half of the change over its first half; 1 where unknown.
    pub steadiness: f64,
    /// Seconds that the youngest judged member has served.
    pub age_seconds: f64,
    /// The first step of the longest window that shows it.
    pub since: Step,
    /// Nothing of the kind was ever seen before.
    pub is_new: bool,
    /// Up or down.
    pub upward: bool,
    /// Release before and after, reference before and after, in the unit.
    pub values: [Option<f64>; 4],
}

/// One look's common circumstances.
#[derive(Clone, Copy)]
pub struct Look<'a> {
    /// Both groups.
    pub observation: &'a Observation<'a>,
    /// For each member the first step that counts.
    pub ready: &'a [Step],
    /// The first step that is not over.
    pub to: Step,
    /// What is needed.
    pub budget: Budget,
    /// For each member whether it is in the release group.
    pub released: &'a [bool],
    /// The changes of the main traffic, if known.
    pub traffic: Option<&'a Changes<'a>>,
    /// How long young processes may move signals that warm.
    pub warm_up: WarmUp,
}

/// Sums by window and member, and the changes made of them.
pub struct Changes<'a> {
    windows: &'a [Step],
    members: usize,
    /// Window by window, each with all members.
    change: Vec<f64>,
    sums: Vec<(f64, f64)>,
    /// Only a buffer.
    rows: Rows,
}

impl<'a> Changes<'a> {
    /// Of windows, which grow, and so many members.
    pub(super) fn unknown(windows: &'a [Step], members: usize) -> Self {
        let cells = windows.len() * members;
        Self {
            windows,
            members,
            change: vec![f64::NAN; cells],
            sums: vec![(0.0, 0.0); cells],
            rows: Rows::default(),
        }
    }

    /// Each member's change over one window, on the scale against the base;
    /// NaN if unknown.
    pub fn change(&self, window: usize) -> &[f64] {
        &self.change[window * self.members..][..self.members]
    }

    pub(super) fn sums(&self, window: usize) -> &[(f64, f64)] {
        &self.sums[window * self.members..][..self.members]
    }
}

/// One signal as a look has measured it.
#[derive(Clone, Copy)]
struct Measured<'a> {
    id: SignalId,
    def: &'a SignalDef,
    baseline: &'a Baseline,
    changes: &'a Changes<'a>,
    /// The least change that matters, where it is another than of its class.
    least: Option<f64>,
}

/// Buffers that one look at a signal uses again and again.
#[derive(Default)]
struct Scratch {
    change: Vec<f64>,
    values: Vec<f64>,
}

impl Look<'_> {
    pub(super) fn is_released(&self, member: usize) -> bool {
        self.released[member]
    }

    /// Each member's change over each of the `windows`, which grow, that ends now.
    pub fn changes<'w>(
        &self,
        id: SignalId,
        def: &SignalDef,
        baseline: &Baseline,
        windows: &'w [Step],
    ) -> Changes<'w> {
        let mut changes = Changes::unknown(windows, self.released.len());
        for member in 0..self.released.len() {
            self.measure_member(member, id, def, baseline, &mut changes);
        }
        changes
    }

    /// One member's changes.
    pub(super) fn measure_member(
        &self,
        index: usize,
        id: SignalId,
        def: &SignalDef,
        baseline: &Baseline,
        changes: &mut Changes,
    ) {
        let member = &self.observation.groups.members[index];
        let from = self.ready[index];
        if self.to <= from {
            return;
        }
        let Some(cells) = self.observation.cells(id, def, member, baseline.bound) else { return };
        let base = baseline.base_of(index);
        let told = (def.class == SignalClass::Traffic && member.weight_is_given).then_some(member.weight);
        let usual = baseline.scale.value_at(base);
        let Changes { windows, members, change, sums, rows } = changes;
        baseline.recent(&cells, (from, self.to), windows, rows, |window, num, den, filled| {
            if den <= 0.0 || filled * 5 < windows[window] * 3 {
                return;
            }
            let cell = window * *members + index;
            // Nothing is no share of the traffic, where a share would have shown.
            let gets_nothing = |weight: f64| num == 0.0 && weight * usual * den >= SHARE_SHOWS;
            let expected = told.filter(|w| !gets_nothing(*w)).map_or(0.0, |weight| weight.max(1e-3).ln());
            change[cell] = baseline.scale.of_value(num / den) - base - expected;
            sums[cell] = (num, den);
        });
    }

    /// The members of one group, by their places.
    pub(super) fn group(&self, released: bool) -> impl Iterator<Item = usize> {
        (0..self.released.len()).filter(move |index| self.released[*index] == released)
    }

    /// Whether a member answered in the newest of the longest windows; a machine
    /// that is gone tells nothing.
    pub(super) fn serves(&self, member: usize) -> bool {
        let observation = self.observation;
        let Some(instance) = observation.instance(&observation.groups.members[member]) else { return false };
        instance.served().sum(self.to - SERVES_STEPS, self.to).1 > 0.0
    }

    /// Looks at one signal. Nothing if it could not be judged; most that are no
    /// suspects give nothing either, as soon as that is known.
    pub fn shift(&self, id: SignalId, def: &SignalDef, baseline: &Baseline) -> Option<Shift> {
        let mut changes = Changes::unknown(&WINDOWS, self.released.len());
        self.group(true).for_each(|member| self.measure_member(member, id, def, baseline, &mut changes));
        if !self.may_be_suspect(def, baseline, &changes, (0..WINDOWS.len()).map(|window| (window, window))) {
            return None;
        }
        self.group(false).for_each(|member| self.measure_member(member, id, def, baseline, &mut changes));
        self.best_shift(id, def, baseline, &changes)
    }

    /// The window that shows a signal best, whose changes of all members are known.
    pub(super) fn best_shift(
        &self,
        id: SignalId,
        def: &SignalDef,
        baseline: &Baseline,
        changes: &Changes<'_>,
    ) -> Option<Shift> {
        let of = Measured { id, def, baseline, changes, least: None };
        let mut best: Option<Shift> = None;
        let mut scratch = Scratch::default();
        let mut since = self.to;
        // Of counted signals one machine may be a suspect where the group is none.
        let least = if is_counted(def) { f64::NAN } else { SUSPECT_MARGIN.next_down() };
        for (window, steps) in WINDOWS.iter().enumerate() {
            let beaten = best.as_ref().map_or(least, |b| b.margin);
            let shift = self.window_shift(of, window, None, beaten, &mut scratch);
            let Some(shift) = shift else { continue };
            if shift.margin >= 1.0 {
                since = since.min(self.to - steps);
            }
            if best.as_ref().is_none_or(|b| shift.margin > b.margin) {
                best = Some(shift);
            }
        }
        if best.as_ref().is_some_and(|b| b.margin < 1.0) && Some(id) == self.observation.traffic {
            // A part of it may be lost as well, where nobody has it.
            let of = Measured { least: Some(PART_OF_TRAFFIC), ..of };
            let parts = (0..WINDOWS.len())
                .filter_map(|window| self.window_shift(of, window, None, f64::NAN, &mut scratch));
            if let Some(part) = parts.max_by(|a, b| a.margin.total_cmp(&b.margin)).filter(|p| p.margin >= 1.0)
            {
                since = self.to - part.steps;
                best = Some(part);
            }
        }
        let mut best = best?;
        if best.margin < 1.0 && best.judged >= LONE_AMONG_MIN && may_stand_alone(def) {
            let released = (0..self.ready.len()).filter(|i| self.is_released(*i));
            let each = released.flat_map(|only| (0..WINDOWS.len()).map(move |window| (only, window)));
            let alone = each.filter_map(|(only, window)| {
                self.window_shift(of, window, Some(only), f64::INFINITY, &mut scratch)
            });
            // One new machine may always have been like that; crashes are no habit, and
            // neither are many failed requests.
            let fails = |s: &Shift| {
                def.class == SignalClass::Errors
                    && def.shape == Shape::Ratio
                    && s.values[1].is_some_and(|after| after >= LONE_ERRORS)
            };
            let known = |s: &Shift| s.values[0].is_some() || def.class == SignalClass::Health || fails(s);
            let sure = alone.filter(|s| s.margin >= 1.0 && known(s));
            if let Some(shift) = sure.max_by(|a, b| a.margin.total_cmp(&b.margin)) {
                since = self.to - shift.steps;
                best = Shift { judged: best.judged, ..shift };
            }
        }
        best.since = if since < self.to { since } else { self.to - best.steps };
        if best.margin >= SUSPECT_MARGIN && !def.error_kind && !def.fills {
            self.judge_fading(id, def, baseline, &mut best);
        }
        Some(best)
    }

    /// Less what the traffic explains: more of it to a machine is not its fault.
    pub(super) fn allow_for_traffic(
        &self,
        def: &SignalDef,
        baseline: &Baseline,
        window: usize,
        change: &mut [f64],
    ) {
        let Some(traffic) = self.traffic.filter(|_| moves_with_traffic(def, baseline)) else { return };
        for (own, traffic) in change.iter_mut().zip(traffic.change(window)) {
            if *own > 0.0 && *traffic > 0.0 {
                *own = (*own - *traffic).max(0.0);
            } else if def.bad_when == BadWhen::Lower && *own < 0.0 && *traffic > 0.0 {
                // What is idle or free gets less.
                *own = (*own + *traffic).min(0.0);
            }
        }
    }

    /// How much the reference group's change may be and still be its usual way,
    /// as by day and night; nothing where few machines would have to tell it.
    pub(super) fn usual_change(&self, baseline: &Baseline, window: usize) -> f64 {
        let usual = USUAL_TIMES * baseline.shared[window].0;
        if usual.is_finite() && self.group(false).count() >= USUAL_AMONG_MIN { usual } else { 0.0 }
    }

    /// One signal over one window; of one released member if `only` says so.
    /// Nothing if it cannot be judged, or if what costs little shows that its
    /// margin is below 1 and not above `beaten`.
    fn window_shift(
        &self,
        of: Measured<'_>,
        window: usize,
        only: Option<usize>,
        beaten: f64,
        scratch: &mut Scratch,
    ) -> Option<Shift> {
        let Measured { id, def, baseline, changes, least } = of;
        let members = &self.observation.groups.members;
        let Scratch { change, values: buffer } = scratch;
        change.clear();
        change.extend_from_slice(changes.change(window));
        // One machine is compared with all others, of its own version as well.
        let alone: Vec<bool>;
        let released = match only {
            Some(only) => {
                alone = (0..members.len()).map(|index| index == only).collect();
                &alone
            }
            None => self.released,
        };
        self.allow_for_traffic(def, baseline, window, change);
        let judged = change.iter().zip(released).filter(|(c, r)| **r && c.is_finite()).count();
        if judged == 0 {
            return None;
        }
        let difference = contrast(change, released, buffer);
        let own = mean(change.iter().zip(released).filter(|(_, r)| **r).map(|(c, _)| *c));
        let has_reference = change.iter().zip(self.released).any(|(c, r)| !*r && c.is_finite());
        let sign = bad_direction(def, baseline).unwrap_or(if difference > 0.0 { 1.0 } else { -1.0 });
        let upward = sign > 0.0;
        let (directed, own) = (sign * difference, sign * own);
        // What the reference group did alone is not the release's change, but for
        // what it usually does: there released machines should have done it too.
        let alone = (directed - own).clamp(0.0, self.usual_change(baseline, window));
        // Load that leaves the reference machines is no change of the released ones.
        let left = follows_load(def) && directed - own >= LOAD_LEFT;
        let share = if left { 1.0 } else { OWN_SHARE_MAX };
        let effective = directed.min(share * (own + alone));

        let counted = is_counted(def) && !baseline.dispersion.is_empty();
        let (down, up) = baseline.worst[window];
        let worst = if upward { up } else { down };
        let values = group_values(baseline, changes, window, released, change);
        let mut practical = Practical::of(def, baseline.by_traffic);
        practical.change = least.unwrap_or(practical.change);
        if values[0].is_none() && matches!(def.class, SignalClass::Latency | SignalClass::Saturation) {
            practical.change *= if judged == 1 { LONE_NEWCOMER_FACTOR } else { NEWCOMER_FACTOR };
        }
        // One machine among several has causes of its own as well.
        let lone_member = match (only, is_counted(def)) {
            (Some(_), true) => LONE_FACTOR,
            (Some(_), false) => LONE_LATENCY_FACTOR,
            (None, _) => 1.0,
        };
        practical.change *= lone_member;
        practical.absolute *= lone_member;
        let moved = match (values[1], values[3].or(values[0])) {
            (Some(after), Some(compared)) => (after - compared).abs(),
            _ => 0.0,
        };
        // Machines answer differently to what moves them all: the more the
        // reference group moved, the more the release group must differ.
        let shared = (own - directed).max(alone);
        let practical_times = (effective / (practical.change + SHARED_SHARE * shared))
            .min(if practical.absolute > 0.0 { moved / practical.absolute } else { f64::INFINITY });
        if practical_times < 1.0 && practical_times <= beaten {
            return None;
        }
        let shows: Vec<usize> = (0..members.len())
            .filter(|i| {
                released[*i]
                    && sign * change[*i] - (own - directed) >= (0.4 * effective).max(0.5 * practical.change)
            })
            .collect();
        let breadth = shows.len() as f64 / judged as f64;
        // Who only came to be like the others was different before, for a reason
        // that is gone: no fault of the release.
        let became_like_others = matches!(def.class, SignalClass::Latency | SignalClass::Errors)
            && matches!((values[1], values[3]), (Some(after), Some(reference))
                if sign * (baseline.scale.of_value(after) - baseline.scale.of_value(reference)) < 0.5 * practical.change);
        let few = def.class == SignalClass::Errors
            && def.shape == Shape::Level
            && whole_events(changes, window, released).is_some_and(|events| events < WHOLE_ERRORS_MIN);
        let at_most = practical_times.min(breadth / 0.5).min(if became_like_others || few {
            0.8
        } else {
            f64::INFINITY
        });
        if at_most < 1.0 && at_most <= beaten {
            return None;
        }

        let count = self.count_tail(def, baseline, changes, window, released);
        let score = if counted {
            count.score
        } else {
            effective / self.noise(def, baseline, changes, window, released, change, judged)
        };
        let lone = if has_reference { 1.0 } else { 1.6 };
        let brief = if WINDOWS[window] == 1 { 1.4 } else { 1.0 };
        let little_past = if baseline.pseudo_releases < 4 { 1.5 } else { 1.0 };
        let score_needed =
            if counted { self.budget.score / TAIL_FACTOR * COUNT_FACTOR } else { self.budget.score };
        let restless = match baseline.view {
            View::Level => 1.0,
            View::Restlessness => RESTLESS_FACTOR,
        };
        let once = if counted { 1.0 } else { brief * little_past * restless };
        let needed = score_needed / def.weight * lone * lone_member * once;
        let beyond = if counted {
            count.beyond_worst
        } else if worst > 0.0 {
            effective / worst
        } else {
            f64::INFINITY
        };
        let mut margin = (score / needed).min(at_most).min(beyond / BEYOND_WORST);
        let is_over = self.went_away(def, baseline, changes, window, released, sign, effective);
        if is_over {
            margin = margin.min(0.9);
        }
        Some(Shift {
            signal: id,
            steps: WINDOWS[window],
            change: effective,
            own_change: own,
            score,
            margin,
            beyond_worst: beyond.min(1e3),
            practical: practical_times.min(1e3),
            tail: count.tail,
            shows,
            judged,
            fading: false,
            is_brief: false,
            is_over,
            steadiness: 1.0,
            age_seconds: self.age_seconds(),
            since: self.to - WINDOWS[window],
            is_new: count.is_new,
            upward,
            values,
        })
    }

    /// Whether the newest part of a long window, a third or less, no longer
    /// shows the change: it was, and is over. Where that part is too noisy to
    /// tell, it is not. Sparse events are looked for in the third alone.
    #[expect(clippy::too_many_arguments, reason = "one window of one signal")]
    fn went_away(
        &self,
        def: &SignalDef,
        baseline: &Baseline,
        changes: &Changes<'_>,
        window: usize,
        released: &[bool],
        sign: f64,
        effective: f64,
    ) -> bool {
        // Of two steps one may be a spike; events come one by one.
        let long = if is_counted(def) { WINDOWS[window] } else { WINDOWS[window].max(3) };
        let third = WINDOWS.iter().rposition(|w| *w * 3 <= long);
        let Some(third) = third.filter(|third| *third < window) else { return false };
        let shortest = if is_counted(def) { third } else { 0 };
        (shortest..=third).any(|recent| {
            let difference = sign * contrast(changes.change(recent), released, &mut Vec::new());
            let noise = baseline.noise[recent].hypot(NOISE_FLOOR);
            difference.is_finite() && difference + noise < 0.5 * effective && noise < 0.35 * effective
        })
    }

    /// Standard deviation of the group difference: from pseudo-releases, from
    /// the reference members now, and from counting.
    #[expect(clippy::too_many_arguments, reason = "one formula over one window's numbers")]
    fn noise(
        &self,
        def: &SignalDef,
        baseline: &Baseline,
        changes: &Changes<'_>,
        window: usize,
        released: &[bool],
        change: &[f64],
        judged: usize,
    ) -> f64 {
        let reference: Vec<f64> =
            change.iter().zip(released).filter(|(c, r)| !**r && c.is_finite()).map(|(c, _)| *c).collect();
        let spread_now = if reference.len() >= 3 {
            let center = median(&mut reference.clone());
            let mut distances: Vec<f64> = reference.iter().map(|c| (c - center).abs()).collect();
            1.4826 * median(&mut distances) * (1.0 / judged as f64 + 1.0 / reference.len() as f64).sqrt()
        } else {
            0.0
        };
        let mut noise = baseline.noise[window].max(spread_now);
        if !noise.is_finite() {
            noise = 0.5;
        }
        let newcomers = change
            .iter()
            .zip(released)
            .zip(&baseline.base)
            .any(|((c, r), b)| *r && c.is_finite() && !b.is_finite());
        if newcomers {
            // Old differences between machines average out in a group.
            let share = if def.fills { CLIMBS } else { ONE_DRAW };
            let spread = share * baseline.spread;
            noise = noise.hypot(spread * (1.0 / judged as f64 + 1.0 / reference.len().max(1) as f64).sqrt());
        }
        noise.hypot(counting_noise(def, baseline, changes, window, released)).hypot(NOISE_FLOOR)
    }

    fn age_seconds(&self) -> f64 {
        let youngest = self
            .ready
            .iter()
            .enumerate()
            .filter(|(i, ready)| self.is_released(*i) && **ready < self.to)
            .map(|(_, ready)| self.to - ready)
            .max()
            .unwrap_or(0);
        youngest as f64 * self.observation.window.step().as_secs_f64()
    }
}

/// The sign of a bad change; nothing if both are.
pub(super) fn bad_direction(def: &SignalDef, baseline: &Baseline) -> Option<f64> {
    match (baseline.view, def.bad_when) {
        (View::Restlessness, _) | (View::Level, BadWhen::Higher) => Some(1.0),
        (View::Level, BadWhen::Lower) => Some(-1.0),
        (View::Level, BadWhen::Either) => None,
    }
}

/// Whether one machine among several may show it alone.
fn may_stand_alone(def: &SignalDef) -> bool {
    let slow = def.class == SignalClass::Latency && def.shape == Shape::Mean && def.segment.is_none();
    (is_counted(def) && !def.refusals) || slow
}

/// Whether load moves a signal.
fn moves_with_traffic(def: &SignalDef, baseline: &Baseline) -> bool {
    match def.class {
        SignalClass::Saturation | SignalClass::Other => !baseline.by_traffic,
        SignalClass::Errors | SignalClass::Logs | SignalClass::Health => {
            def.shape == Shape::Rate && !baseline.by_traffic
        }
        SignalClass::Latency | SignalClass::Traffic | SignalClass::Business => false,
    }
}

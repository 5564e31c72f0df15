//! Young processes: what fades as they warm up, what they lost since they
//! began, and what still climbs.

use std::time::Duration;

use crate::signal::{Shape, SignalClass, SignalDef, SignalId, Step};

use super::baseline::{Baseline, View, WINDOWS, mean, median};
use super::shift::{Look, NOISE_FLOOR, Shift};

/// Machines released within this were released together.
const SAME_COHORT: Duration = Duration::from_secs(45);

/// From this age on, a machine that shows nothing is believed to be well.
const CALM_AGE: Duration = Duration::from_secs(180);

/// Youngest age at which a warming signal is judged at all, and a latency that is
/// not huge: queues of a start rise before they fall.
const WARM_AGE_MIN: Duration = Duration::from_secs(45);
const WARM_LATENCY_AGE_MIN: Duration = Duration::from_secs(120);

/// By how much surer it must be that a latency does not fade, as look after look
/// asks it.
const ASKED_AGAIN: f64 = 1.5;

/// Compilers and caches keep a young process's CPU busy for this part of the
/// time to settle, evenly.
const BUSY_START_PART: u32 = 8;

/// Errors in gauges are averages over past minutes.
const SMOOTHED: Duration = Duration::from_secs(150);

/// Quantiles in gauges are of the past five minutes, mostly.
const SMOOTHED_START: Duration = Duration::from_secs(300);

/// What piled up while a process was away is worked off for so long, unless it
/// grows.
const DRAINED: Duration = Duration::from_secs(300);
const GROWS: f64 = 1.1;

/// What shrinks all the time is being worked off for up to so long.
const WORKED_OFF: Duration = Duration::from_secs(1800);
const SHRINKS: f64 = 0.985;

/// What grows may do so until the process is warm enough to catch up.
const CAUGHT_UP: Duration = Duration::from_secs(180);

/// For this part of the time to settle a slowness by any factor may be a start's.
const HUGE_START_PART: u32 = 30;

/// What a process tries on its way fails for longer while its connections and
/// caches are new, and need not fail a request.
const START_TRIES: Duration = Duration::from_secs(90);

/// People look before they buy.
const FIRST_ORDERS: Duration = Duration::from_secs(60);

/// More errors than this are no start's.
const MANY_ERRORS: f64 = 0.4;
const MANY_TRIES: f64 = 0.5;

/// As few as this come of slow answers for three times as long.
const A_FEW_ERRORS: f64 = 0.02;
const A_FEW_TIMES: u32 = 3;

/// All machines at once find what piled up while none served.
const ALL_AT_ONCE_TIMES: u32 = 3;

/// A little slower for three tenths of the time to settle is what compilers
/// and caches explain.
const SLOW_START_TENTHS: u32 = 3;

/// A little: on the scale, by two thirds.
const SMALL_SLOWNESS: f64 = 0.5;

/// A process that was well for so long has started well.
const WELL_BEFORE: Duration = Duration::from_secs(45);

/// What came later must last so long: longer than a collection or a batch job.
const ILL_FOR: Duration = Duration::from_secs(30);

/// Traffic that left the released machines is lost where the others would serve
/// more by this, on the scale and in units of how all machines' load wanders, had
/// they taken it over, and took over less than this part of it.
const MISSING_MIN: f64 = 0.15;
const MISSING_NOISES: f64 = 4.0;
const TAKEN_OVER_MAX: f64 = 0.5;

/// Where the others have less than this part of theirs, all have.
const HALF: f64 = 0.5;

/// Part of a leak's rise that came since its first quarter, and as much as need
/// be of it, on the scale: what doubles again and again rises evenly there.
const CLIMBED: f64 = 0.4;
const CLIMBED_ENOUGH: f64 = 0.15;

/// On the scale, half of what it was, or less.
const HALVED: f64 = 0.7;

/// What is left of a rate that collapsed, and how many events must be missed by it.
const COLLAPSED: f64 = 0.2;
const COLLAPSED_EVENTS_MIN: f64 = 30.0;

impl Look<'_> {
    /// Whether a change on young processes is a warm-up that fades. Machines
    /// that were released together are compared at the same age. For signals
    /// that warm, a fault is believed only where a decay that ends in time can
    /// be excluded; for the others only a decay that is seen is one.
    pub(super) fn judge_fading(&self, id: SignalId, def: &SignalDef, baseline: &Baseline, shift: &mut Shift) {
        let step_seconds = self.observation.window.step().as_secs_f64();
        let sign = if shift.upward { 1.0 } else { -1.0 };
        let mut cohorts: Vec<(Step, Vec<usize>)> = Vec::new();
        let alone = shift.shows.len() * 2 < shift.judged;
        for (index, ready) in self.ready.iter().enumerate() {
            let asked = !alone || shift.shows.contains(&index);
            if !asked || !self.is_released(index) || *ready >= self.to {
                continue;
            }
            let together = (SAME_COHORT.as_secs_f64() / step_seconds).ceil() as Step;
            match cohorts.iter_mut().find(|(first, _)| (first - ready).abs() <= together) {
                Some((first, members)) => {
                    *first = (*first).max(*ready);
                    members.push(index);
                }
                None => cohorts.push((*ready, vec![index])),
            }
        }
        cohorts.sort_by_key(|(ready, _)| *ready);
        let patience = self.warm_up.of(def.class);
        let settles_seconds = patience.settles.as_secs_f64();
        let many = if def.shape == Shape::Rate { MANY_TRIES } else { MANY_ERRORS };
        let few = shift.values[1].is_some_and(|after| after < many);
        let mut steady = false;
        let mut oldest_shown = None;
        let mut calm_elder = false;
        let youngest = cohorts.last().map_or(self.to, |(ready, _)| *ready);
        for (ready, members) in &cohorts {
            let age = (self.to - ready) as f64 * step_seconds;
            let half = ((self.to - ready) / 2).max(1);
            let early =
                sign * self.difference_over(id, def, baseline, self.to - 2 * half, self.to - half, members);
            let late = sign * self.difference_over(id, def, baseline, self.to - half, self.to, members);
            let shows = late >= 0.4 * shift.change;
            if !shows {
                if self.began_later(id, def, baseline, shift, *ready, members) {
                    steady = true;
                    continue;
                }
                // Older machines that are well again show what becomes of the young,
                // if they were as bad at their age.
                let same_age = self.to - youngest;
                let then = sign * self.difference_over(id, def, baseline, *ready, ready + same_age, members);
                let was_bad = then.is_nan() || then >= 0.4 * shift.change;
                calm_elder |= age >= CALM_AGE.as_secs_f64() && oldest_shown.is_none() && was_bad;
                continue;
            }
            let window = WINDOWS.iter().rposition(|w| *w <= half).unwrap_or(0);
            let group_share = (shift.judged as f64 / members.len() as f64).sqrt();
            let noise = baseline.noise[window].min(shift.change / shift.score.max(1e-9)).hypot(NOISE_FLOOR)
                * group_share;
            // What was not there at first did not decay.
            let there = early.max(1e-9);
            let ratio = late / there;
            let is_unknown = early.is_nan() || (early <= 0.0 && age < CALM_AGE.as_secs_f64());
            if oldest_shown.is_none() {
                oldest_shown = Some(age);
                shift.steadiness = ratio.clamp(0.0, 3.0);
            }
            let uncertainty =
                if is_unknown { f64::INFINITY } else { 1.5 * noise / there * std::f64::consts::SQRT_2 };
            let decayed = (-(half as f64) * step_seconds / patience.decay().as_secs_f64()).exp();
            let drained = if ratio < GROWS { DRAINED } else { CAUGHT_UP };
            let drains = def.is_arrears()
                && (age < drained.as_secs_f64()
                    || (age < WORKED_OFF.as_secs_f64()
                        && self.is_worked_off(id, def, baseline, *ready, members)));
            let fades = if def.warms {
                // Where slow warm-ups are known, even a huge one may fade. On the
                // scale a factor that decays seems to decay more slowly at first.
                let known_slow = patience.stretch() > 1.0;
                let ratio = if known_slow { ratio.min(late.exp_m1() / there.exp_m1()) } else { ratio };
                let stays = ratio - uncertainty > if known_slow { decayed.max(0.9) } else { 0.9 };
                let lasts = if known_slow { ratio - uncertainty > decayed } else { ratio > 0.6 };
                // One kind of request may be rare in the first minute.
                let sure = if def.segment.is_none() {
                    (patience.settles / HUGE_START_PART).as_secs_f64()
                } else {
                    90.0
                };
                let huge =
                    late > 1.4 && ((age > 150.0 * patience.stretch() && lasts) || (age > sure && stays));
                let settles = match def.class {
                    SignalClass::Saturation => patience.settles / BUSY_START_PART,
                    SignalClass::Latency if def.shape == Shape::Level => SMOOTHED_START,
                    SignalClass::Latency if late < SMALL_SLOWNESS => {
                        patience.settles * SLOW_START_TENTHS / 10
                    }
                    SignalClass::Latency => WARM_LATENCY_AGE_MIN,
                    _ => WARM_AGE_MIN,
                };
                let young = drains || age < settles.max(WARM_AGE_MIN).as_secs_f64().max(2.0 * step_seconds);
                let waits = drains || def.class == SignalClass::Saturation || def.shape == Shape::Level;
                let huge = huge && !(young && waits);
                // The noise of neighbouring looks is alike, and each asks.
                let times = if def.class == SignalClass::Latency { ASKED_AGAIN } else { 1.0 };
                !huge && (young || ratio - times * uncertainty < decayed)
            } else {
                // Rules that record rates show a start's errors for a minute.
                let settles = match (def.class, def.shape) {
                    (SignalClass::Errors, Shape::Level) => SMOOTHED,
                    (SignalClass::Errors, Shape::Rate) if few => START_TRIES,
                    (SignalClass::Errors | SignalClass::Logs, _) => {
                        let starts = self.start_errors();
                        let a_few = shift.values[1].is_some_and(|after| after < A_FEW_ERRORS);
                        match (few, a_few) {
                            (true, true) => A_FEW_TIMES * starts,
                            (true, false) => starts,
                            (false, _) => starts / 2,
                        }
                    }
                    (SignalClass::Business, _) => FIRST_ORDERS,
                    _ => Duration::ZERO,
                };
                (ratio < decayed.min(0.85) && early > 0.0) || age < settles.as_secs_f64()
            };
            let seen_to_fade = ratio < decayed && early > 0.0;
            // Where older machines are seen to recover, the young ones will.
            calm_elder |= seen_to_fade && oldest_shown == Some(age) && age >= CALM_AGE.as_secs_f64();
            steady |= if age < settles_seconds {
                !fades
            } else {
                !drains && (age > 2.0 * settles_seconds || !seen_to_fade)
            };
        }
        shift.is_brief = oldest_shown.is_none();
        let eldest = oldest_shown.unwrap_or(0.0);
        shift.fading = !steady || (calm_elder && def.warms && eldest < settles_seconds);
    }

    /// How long errors may be those of a start.
    fn start_errors(&self) -> Duration {
        let alone = !self.group(false).any(|member| self.serves(member));
        self.warm_up.start_errors() * if alone { ALL_AT_ONCE_TIMES } else { 1 }
    }

    /// Whether what is in arrears on `members` is less than it was.
    fn is_worked_off(
        &self,
        id: SignalId,
        def: &SignalDef,
        baseline: &Baseline,
        ready: Step,
        members: &[usize],
    ) -> bool {
        let part = ((self.to - ready) / 4).max(2);
        let level = |from: Step, to: Step| {
            mean(members.iter().map(|index| {
                let member = &self.observation.groups.members[*index];
                let cells = self.observation.cells(id, def, member, baseline.bound);
                let (num, den) = cells.map_or((0.0, 0.0), |cells| cells.sum(from, to));
                if den > 0.0 { num / den } else { f64::NAN }
            }))
        };
        level(self.to - part, self.to) < SHRINKS * level(self.to - 2 * part, self.to - part)
    }

    /// Whether machines were well when they were younger, and are not now: a
    /// warm-up does not begin late.
    fn began_later(
        &self,
        id: SignalId,
        def: &SignalDef,
        baseline: &Baseline,
        shift: &Shift,
        ready: Step,
        members: &[usize],
    ) -> bool {
        let sign = if shift.upward { 1.0 } else { -1.0 };
        let step_seconds = self.observation.window.step().as_secs_f64();
        let lasting = match def.class {
            SignalClass::Traffic | SignalClass::Errors | SignalClass::Logs | SignalClass::Health => ILL_FOR,
            SignalClass::Latency => 2 * ILL_FOR,
            // Pools and queues wander, and few buyers make lumps of any length.
            SignalClass::Saturation | SignalClass::Business | SignalClass::Other => return false,
        };
        if shift.values[0].is_none() {
            return false;
        }
        let steps = |duration: Duration| (duration.as_secs_f64() / step_seconds).ceil().max(2.0) as Step;
        let (ill_for, well_before) = (steps(lasting), steps(WELL_BEFORE));
        let over = |from, to| sign * self.difference_over(id, def, baseline, from, to, members);
        // A large change shows in windows shorter and longer than it has lasted.
        WINDOWS.iter().rev().filter(|w| (ill_for..=self.to - shift.since).contains(*w)).any(|ill| {
            let onset = self.to - ill;
            let middle = onset + ill / 2;
            // A hiccup is over in the second half.
            onset - ready >= well_before
                && over(onset, middle) >= 0.6 * shift.change
                && over(middle, self.to) >= 0.6 * shift.change
                && over(ready, onset) < 0.25 * shift.change
        })
    }

    pub(super) fn difference_over(
        &self,
        id: SignalId,
        def: &SignalDef,
        baseline: &Baseline,
        from: Step,
        to: Step,
        of: &[usize],
    ) -> f64 {
        let members = &self.observation.groups.members;
        let change_of = |index: usize| {
            let Some(cells) = self.observation.cells(id, def, &members[index], baseline.bound) else {
                return f64::NAN;
            };
            let from = from.max(self.ready[index]);
            if from >= to {
                return f64::NAN;
            }
            let (num, den) = baseline.sums(&cells, from, to);
            if den > 0.0 { baseline.scale.of_value(num / den) - baseline.base_of(index) } else { f64::NAN }
        };
        let release = mean(of.iter().map(|index| change_of(*index)));
        let mut reference: Vec<f64> =
            (0..members.len()).filter(|i| !self.is_released(*i)).map(change_of).collect();
        let reference = median(&mut reference);
        release - if reference.is_finite() { reference } else { 0.0 }
    }

    /// Whether released machines first had much more than they have now.
    pub fn fell_since_start(&self, id: SignalId, def: &SignalDef, baseline: &Baseline) -> bool {
        let members: Vec<usize> =
            (0..self.ready.len()).filter(|i| self.is_released(*i) && self.ready[*i] < self.to).collect();
        let ready = members.iter().map(|i| self.ready[*i]).min().unwrap_or(self.to);
        let first = members.iter().copied().filter(|i| self.ready[*i] <= ready + 1).collect::<Vec<_>>();
        // A rate that somebody else computed is of the minutes before as well.
        let smoothed = if def.shape == Shape::Level { SMOOTHED.as_secs_f64() } else { 0.0 };
        let oldest = ready + (smoothed / self.observation.window.step().as_secs_f64()).ceil() as Step;
        let part = ((self.to - oldest) / 4).max(2);
        if self.to - oldest < 2 * part {
            return false;
        }
        let early = self.difference_over(id, def, baseline, oldest, oldest + part, &first);
        let late = self.difference_over(id, def, baseline, self.to - part, self.to, &first);
        early - late >= HALVED || self.rate_collapsed(id, def, baseline, &first, (oldest, part))
    }

    /// Whether `members` count far fewer events now than in their best part since
    /// `oldest`, while the reference machines go on: who never had much of the
    /// traffic hardly moves on the scale when it loses all of it.
    fn rate_collapsed(
        &self,
        id: SignalId,
        def: &SignalDef,
        baseline: &Baseline,
        members: &[usize],
        (oldest, part): (Step, Step),
    ) -> bool {
        if def.shape != Shape::Rate || baseline.view != View::Level {
            return false;
        }
        let sums = |of: &mut dyn Iterator<Item = usize>, from: Step, to: Step| {
            let each = of.filter_map(|index| {
                let member = &self.observation.groups.members[index];
                Some(baseline.sums(&self.observation.cells(id, def, member, baseline.bound)?, from, to))
            });
            each.fold((0.0, 0.0), |(num, den), (n, d)| (num + n, den + d))
        };
        let rate = |(num, den): (f64, f64)| if den > 0.0 { num / den } else { f64::NAN };
        let own = |from, to| sums(&mut members.iter().copied(), from, to);
        let others = |from, to| rate(sums(&mut self.group(false), from, to));
        let newest = self.to - part;
        let now = own(newest, self.to);
        let others_now = others(newest, self.to);
        let mut from = oldest;
        while from + part <= newest {
            let kept = others_now / others(from, from + part);
            let expected = rate(own(from, from + part)) * kept.min(1.0) * now.1;
            if expected >= COLLAPSED_EVENTS_MIN && now.0 <= COLLAPSED * expected {
                return true;
            }
            from += part;
        }
        false
    }

    /// Whether a gauge that never moved before stands still again on all released
    /// machines that show the shift, at another value. What was at zero was no
    /// setting: a breaker that opened, a queue that is full.
    pub(super) fn is_another_setting(
        &self,
        id: SignalId,
        def: &SignalDef,
        baseline: &Baseline,
        shift: &Shift,
    ) -> bool {
        let was_set = baseline.constant && shift.values[0].or(shift.values[3]).is_some_and(|v| v != 0.0);
        if def.shape != Shape::Level || !was_set {
            return false;
        }
        shift.shows.iter().all(|index| {
            let member = &self.observation.groups.members[*index];
            let Some(cells) = self.observation.cells(id, def, member, baseline.bound) else { return false };
            let values: Vec<f64> = (self.ready[*index]..self.to)
                .map(|step| cells.at(step))
                .filter(|(_, den)| *den > 0.0)
                .map(|(num, den)| num / den)
                .collect();
            !values.is_empty() && values.iter().all(|value| *value == values[0])
        })
    }

    /// Whether traffic that left the released machines came to no other: the sum
    /// of all machines is much smaller, while no reference machine serves less.
    pub(super) fn traffic_is_lost(&self, def: &SignalDef, baseline: &Baseline, shift: &Shift) -> bool {
        let [_, _, Some(_), Some(_)] = shift.values else { return false };
        if def.class != SignalClass::Traffic || def.segment.is_some() {
            return false;
        }
        let windows = [shift.steps];
        let changes = self.changes(shift.signal, def, baseline, &windows);
        let rate = |(num, den): &(f64, f64)| if *den > 0.0 { num / den } else { 0.0 };
        let total = |sums: &[(f64, f64)], released: bool| -> f64 {
            self.group(released).map(|member| rate(&sums[member])).sum()
        };
        // Who restarts or was not read may serve all that is missed.
        let all_known =
            (0..self.released.len()).all(|member| changes.sums(0)[member].1 > 0.0 || !self.serves(member));
        let (own_before, own) = (total(&baseline.base_sums, true), total(changes.sums(0), true));
        let (before, now) = (total(&baseline.base_sums, false), total(changes.sums(0), false));
        // By day and night all have more or less.
        let usual = if before > 0.0 { (now / before).min(1.0) } else { 0.0 };
        let lost = own_before * usual - own;
        if !all_known || lost <= 0.0 || now < before * HALF {
            return false;
        }
        // Had the others taken it over, they would serve so much more.
        let window = WINDOWS.iter().position(|steps| *steps == shift.steps).unwrap_or(0);
        let missing = ((before * usual + lost) / now).ln();
        let sure = missing >= (MISSING_NOISES * baseline.shared[window].0).max(MISSING_MIN);
        sure && now - before * usual < TAKEN_OVER_MAX * lost
    }

    /// The slope of the release group's recent change against its slope since
    /// the start: near 1 or above, it still climbs; near 0, it settled.
    pub fn climb(&self, id: SignalId, def: &SignalDef, baseline: &Baseline) -> f64 {
        let oldest = (0..self.ready.len())
            .filter(|i| self.is_released(*i))
            .map(|i| self.ready[i])
            .min()
            .unwrap_or(self.to);
        let third = (self.to - oldest) / 4;
        if third < 2 {
            return f64::NAN;
        }
        // Who came later is younger, and no rise of the others.
        let first = |i: &usize| self.is_released(*i) && self.ready[*i] <= oldest + 2;
        let released: Vec<usize> = (0..self.ready.len()).filter(first).collect();
        let at = |k: Step| {
            self.difference_over(id, def, baseline, self.to - (k + 1) * third, self.to - k * third, &released)
        };
        let (last, previous, earlier, first) = (at(0), at(1), at(2), at(3));
        // What stands at a higher value rises by chance, and by little.
        let rises = last > previous
            && previous > earlier
            && earlier > first
            && last - first >= (CLIMBED * last).min(CLIMBED_ENOUGH);
        if !(last - first).is_finite() || !rises {
            return 0.0;
        }
        (last - previous) / ((last - first) / 3.0)
    }
}

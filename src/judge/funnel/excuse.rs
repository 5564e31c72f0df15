//! What else than the new version may have made a change: no reference machine
//! is left to tell, machines that restart leave their work to others, or a new
//! version only counts under its own name.

use crate::signal::{Shape, SignalClass, SignalDef, SignalId, Step};

use super::baseline::{Baseline, WINDOWS, mean};
use super::shift::{Look, Shift};

/// What begins so much later than the new version serves, in seconds, may be
/// anything's doing where no machine is left to compare with, and is believed when
/// it has lasted for so long: outages end.
pub const LATE_SECONDS: f64 = 240.0;
/// See [`LATE_SECONDS`].
pub const OUTLASTS_SECONDS: f64 = 900.0;

/// What still goes on shows in so many steps.
const NEWEST_STEPS: Step = 3;

/// On the scale, more traffic than this is other machines' as well: a fifth.
const CROWDED: f64 = 0.18;

/// On the scale, less traffic than this leaves what is done without requests.
const IDLE: f64 = -0.35;

/// A machine that is away for longer than this, in seconds, does not restart.
const RESTART_SECONDS: f64 = 300.0;

/// New machines that get less than this part of what each of the others gets, from
/// this age on in seconds, are not given it. One that came beside the old ones is a
/// canary, whose share is as small as somebody wants, but not nothing.
const LEFT_OUT: f64 = 0.42;
const NOTHING: f64 = 0.01;
const LEFT_OUT_SECONDS: f64 = 300.0;

/// So many of the requests, or so many a second, are no new part's own failures.
const MANY_FAIL: f64 = 0.01;

/// What is left of a count that is gone.
const GONE: f64 = 0.01;

/// When machines that restarted do their share again, in seconds.
const BACK_SECONDS: f64 = 45.0;

impl Look<'_> {
    /// Why a change need not be the release's, if there is a reason.
    pub(super) fn excuse(&self, id: SignalId, def: &SignalDef, shift: &Shift) -> Option<&'static str> {
        if counts_new_version(def, shift) {
            Some("a version that is new counts under its own name")
        } else if lost_old_version(def, shift) {
            Some("it is of the old version, and the new one counts under its own name")
        } else if self.is_new_metric(id, def, shift) {
            Some("only the new version counts it: a new part counts its own")
        } else if def.is_calls() && self.more_traffic(shift).is_none_or(|more| more < IDLE) {
            Some("it is counted by requests, and too few of those are known")
        } else if self.is_crowded(def, shift) {
            Some("machines that restart leave their work to these")
        } else {
            None
        }
    }

    /// Whether calls are counted by a metric that nobody had before the release, or
    /// failures, where others that were there count failures too: a new part of the
    /// program counts its own. Counters of failures appear with the first one: more
    /// than a few of the requests fail by them.
    fn is_new_metric(&self, id: SignalId, def: &SignalDef, shift: &Shift) -> bool {
        let fails_itself = matches!(def.class, SignalClass::Errors | SignalClass::Logs);
        let many =
            fails_itself && !def.counts_aside() && shift.values[1].is_some_and(|failed| failed >= MANY_FAIL);
        if !(fails_itself || def.is_calls()) || def.shape != Shape::Rate || many {
            return false;
        }
        let (window, groups) = (self.observation.window, self.observation.groups);
        let first = groups.members.iter().filter_map(|member| member.released_at).min();
        let Some(start) = first.map(|at| window.step_at(at)) else { return false };
        let was_there = |id: SignalId| {
            groups.members.iter().any(|member| {
                let column = self.observation.instance(member).and_then(|instance| instance.column(id));
                column.is_some_and(|column| column.sum(window.oldest_step(), start).1 > 0.0)
            })
        };
        if was_there(id) {
            return false;
        }
        let signals = || window.catalogue().signals();
        let of_metric = |(_, other): &(SignalId, &SignalDef)| other.metric == def.metric;
        let fails =
            |(_, other): &(SignalId, &SignalDef)| other.class == SignalClass::Errors && !other.refusals;
        let failed_before = || signals().filter(|s| fails(s) && !of_metric(s)).any(|(id, _)| was_there(id));
        !signals().filter(of_metric).any(|(id, _)| was_there(id)) && (def.is_calls() || failed_before())
    }

    /// Whether new machines that no weight was told of get so little of the main
    /// traffic for so long that they are not registered for it, or not ready again
    /// and again.
    pub(super) fn is_left_out(&self, id: SignalId, def: &SignalDef, shift: &Shift) -> bool {
        let [None, Some(now), _, Some(others)] = shift.values else { return false };
        let members = &self.observation.groups.members;
        let told = shift.shows.iter().any(|index| members[*index].weight_is_given);
        let gets_nothing = now <= NOTHING * others;
        let is_main = match self.observation.traffic {
            Some(traffic) => id == traffic,
            // Who only tells rates may tell one of a part.
            None => def.shape == Shape::Level && def.segment.is_none() && gets_nothing,
        };
        def.class == SignalClass::Traffic
            && is_main
            && !told
            && !self.observation.is_second_fleet()
            && shift.shows.iter().all(|index| self.observation.is_machine(&members[*index]))
            && (shift.shows.len() > 1 || gets_nothing || self.replaces())
            && now <= LEFT_OUT * others
            && shift.age_seconds >= LEFT_OUT_SECONDS
    }

    /// Whether an old machine served before the release and no longer does: new ones
    /// came in its place, and not beside it.
    fn replaces(&self) -> bool {
        let groups = self.observation.groups;
        let first = groups.members.iter().filter_map(|member| member.released_at).min();
        let served = |member: usize| {
            let instance = self.observation.instance(&groups.members[member]);
            instance
                .and_then(|instance| instance.first_served())
                .is_some_and(|at| first.is_some_and(|first| at < first))
        };
        self.group(false).any(|member| served(member) && !self.serves(member))
    }

    /// Whether a change began when the released machines had served well for long,
    /// and no reference machine is left: an outage looks the same then. What fills
    /// or crashes does so by itself.
    pub(super) fn is_late_and_alone(
        &self,
        id: SignalId,
        def: &SignalDef,
        baseline: &Baseline,
        shift: &Shift,
    ) -> bool {
        let by_itself = match def.class {
            SignalClass::Health | SignalClass::Traffic => true,
            SignalClass::Logs => shift.is_new,
            SignalClass::Errors => def.error_kind && shift.is_new,
            SignalClass::Saturation => def.fills,
            SignalClass::Latency | SignalClass::Business | SignalClass::Other => false,
        };
        if by_itself || self.group(false).any(|member| self.serves(member)) {
            return false;
        }
        let sign = if shift.upward { 1.0 } else { -1.0 };
        let newest =
            sign * self.difference_over(id, def, baseline, self.to - NEWEST_STEPS, self.to, &shift.shows);
        let goes_on = newest >= 0.4 * shift.change;
        if goes_on && self.seconds(self.to - shift.since) >= OUTLASTS_SECONDS {
            return false;
        }
        let served = shift.shows.iter().map(|index| self.ready[*index]).min();
        served.is_some_and(|ready| self.seconds(shift.since - ready) >= LATE_SECONDS)
    }

    /// Whether machines are away or just back, and those that show the change have
    /// more to do.
    fn is_crowded(&self, def: &SignalDef, shift: &Shift) -> bool {
        let asked = match def.class {
            SignalClass::Errors | SignalClass::Latency | SignalClass::Saturation | SignalClass::Logs => {
                !def.fills
            }
            SignalClass::Other => true,
            SignalClass::Traffic | SignalClass::Business | SignalClass::Health => false,
        };
        asked && self.more_traffic(shift).is_some_and(|more| more >= CROWDED) && self.some_are_away()
    }

    /// On the scale, how much more of the main traffic than before the machines that
    /// show a change have in its window.
    pub(super) fn more_traffic(&self, shift: &Shift) -> Option<f64> {
        let traffic = self.traffic?;
        let window = WINDOWS.iter().position(|steps| *steps == shift.steps)?;
        let change = traffic.change(window);
        let more = mean(shift.shows.iter().map(|index| change[*index]));
        more.is_finite().then_some(more)
    }

    /// How much of the main traffic the machines that show a change have in its window,
    /// in requests a second each.
    pub(super) fn traffic_rate(&self, shift: &Shift) -> Option<f64> {
        let window = WINDOWS.iter().position(|steps| *steps == shift.steps)?;
        let sums = self.traffic?.sums(window);
        let rate = mean(shift.shows.iter().map(|index| sums[*index].0 / sums[*index].1));
        rate.is_finite().then_some(rate)
    }

    /// Whether a machine that is released is not back, or has not been for long.
    fn some_are_away(&self) -> bool {
        let members = &self.observation.groups.members;
        members.iter().zip(self.ready).any(|(member, ready)| {
            let Some(released_at) = member.released_at else { return false };
            let since = self.to - self.observation.window.step_at(released_at);
            self.seconds(self.to - *ready) < BACK_SECONDS && self.seconds(since) <= RESTART_SECONDS
        })
    }

    fn seconds(&self, steps: Step) -> f64 {
        steps as f64 * self.observation.window.step().as_secs_f64()
    }
}

/// Whether what is counted by version is of one that is gone with the release.
fn lost_old_version(def: &SignalDef, shift: &Shift) -> bool {
    let [own_before, after, before, _] = shift.values;
    let usual = own_before.or(before);
    def.is_of_version()
        && !shift.upward
        && matches!((after, usual), (Some(after), Some(usual)) if after <= GONE * usual)
}

/// Whether what is counted by version is of one that nobody had before.
fn counts_new_version(def: &SignalDef, shift: &Shift) -> bool {
    let [own_before, _, before, now] = shift.values;
    def.is_of_version() && [own_before, before, now].into_iter().flatten().all(|value| value == 0.0)
}

//! What a release showed of its application's warm-up: until which age the
//! signals that warm stood above what they settled at.

use crate::domain::Group;
use crate::judge::warm_up::{Settled, WarmUpSeen};
use crate::signal::{BadWhen, Observation, SignalClass, SignalDef, SignalId, Step};

use super::baseline::{Baseline, View, WINDOWS, mean, median};
use super::scale::Practical;
use super::shift::NOISE_FLOOR;
use super::{Funnel, Judged};

/// Beyond this age nothing is learned.
const WATCHED_SECONDS_MAX: f64 = 1_800.0;

/// A release that was watched for less teaches nothing.
const WATCHED_SECONDS_MIN: f64 = 120.0;

/// How much above the noise an early excess must be.
const CLEARLY: f64 = 3.5;

/// Lengths, in seconds, over which an early excess is looked for: short ones
/// show a brief warm-up, long ones a small one.
const RESOLUTIONS: [f64; 4] = [30.0, 60.0, 120.0, 240.0];

/// The share of the early excess at which it counts as gone.
const GONE: f64 = 0.25;

/// The released members' history of one signal, by age.
struct Aged<'a> {
    observation: &'a Observation<'a>,
    /// Released steps: from it on a member is no reference.
    left: &'a [Step],
    ready: &'a [Step],
    to: Step,
    id: SignalId,
    def: &'a SignalDef,
    baseline: &'a Baseline,
}

impl Funnel {
    /// How long the signals that warm took on the released machines until
    /// they had settled. `ready` is each member's first step that counts,
    /// `to` the first that is not over.
    pub fn warm_up_seen(&self, observation: &Observation<'_>, ready: &[Step], to: Step) -> WarmUpSeen {
        let mut seen = WarmUpSeen::default();
        let window = observation.window;
        let left: Vec<Step> = observation
            .groups
            .members
            .iter()
            .map(|m| m.released_at.map_or(Step::MAX, |at| window.step_at(at)))
            .collect();
        for Judged { id, baseline } in &self.judged {
            let def = window.catalogue().signal(*id);
            let warms = def.warms && !def.fills && baseline.view == View::Level;
            if !warms || !matches!(def.class, SignalClass::Latency | SignalClass::Saturation) {
                continue;
            }
            let aged = Aged { observation, left: &left, ready, to, id: *id, def, baseline };
            if let Some(settled) = aged.settled() {
                seen.add(def.class, settled);
            }
        }
        seen
    }
}

impl Aged<'_> {
    fn settled(&self) -> Option<Settled> {
        let step_seconds = self.observation.window.step().as_secs_f64();
        let oldest = self.released().map(|index| self.to - self.ready[index]).max()?;
        let watched = oldest.min((WATCHED_SECONDS_MAX / step_seconds) as Step);
        if (watched as f64) * step_seconds < WATCHED_SECONDS_MIN {
            return None;
        }
        let mut judged = false;
        for seconds in RESOLUTIONS {
            let width = ((seconds / step_seconds).ceil() as Step).max(1);
            if width * 3 > watched {
                break;
            }
            let first = self.excess(0, width);
            if !first.is_finite() {
                continue;
            }
            judged = true;
            let sign = match self.def.bad_when {
                BadWhen::Higher => 1.0,
                BadWhen::Lower => -1.0,
                BadWhen::Either => first.signum(),
            };
            if let Some(settled) = self.settles_from(sign * first, sign, width, watched, step_seconds) {
                return Some(settled);
            }
        }
        judged.then_some(Settled { seconds: 0.0, settled: true })
    }

    /// When an excess that stands at `first` for the first `width` steps has
    /// settled; nothing if it is not clearly one that fades.
    fn settles_from(
        &self,
        first: f64,
        sign: f64,
        width: Step,
        watched: Step,
        step_seconds: f64,
    ) -> Option<Settled> {
        let window = WINDOWS.iter().rposition(|w| *w <= width).unwrap_or(0);
        let noise = self.baseline.noise[window].hypot(NOISE_FLOOR);
        let (down, up) = self.baseline.worst[window];
        let worst = if sign > 0.0 { up } else { down };
        let matters = Practical::of(self.def, self.baseline.by_traffic).change;
        let clear = (CLEARLY * noise).max(0.5 * matters).max(worst);
        if first < clear {
            return None;
        }
        let part = (watched / 3).max(1);
        let late = sign * self.excess(watched - part, watched);
        let middle = sign * self.excess(watched - 2 * part, watched - part);
        // A version that is slower for good settles at that.
        let stays = if late.is_finite() { late.max(0.0) } else { 0.0 };
        let faded = first - stays;
        if faded < clear {
            return None;
        }
        let near = (GONE * faded).max(noise).max(GONE * matters);
        let watched_seconds = watched as f64 * step_seconds;
        let still_falls = middle - late > near;
        let excesses: Vec<f64> =
            (0..watched / width).map(|k| sign * self.excess(k * width, (k + 1) * width)).collect();
        let is_near = |k: usize| excesses.get(k).is_none_or(|e| !e.is_finite() || *e - stays <= near);
        let settled = (1..excesses.len()).find(|k| is_near(*k) && is_near(*k + 1));
        Some(match settled {
            Some(k) if !still_falls => {
                Settled { seconds: (k as Step * width) as f64 * step_seconds, settled: true }
            }
            Some(_) | None => Settled { seconds: watched_seconds, settled: false },
        })
    }

    fn released(&self) -> impl Iterator<Item = usize> {
        let members = &self.observation.groups.members;
        (0..members.len()).filter(|i| members[*i].group() == Group::Release && self.ready[*i] < self.to)
    }

    /// The released members' change at an age against that of those who were
    /// reference members then; NaN if unknown.
    fn excess(&self, from_age: Step, to_age: Step) -> f64 {
        let mut cohorts: Vec<(Step, Vec<usize>)> = Vec::new();
        for index in self.released().filter(|i| self.ready[*i] + to_age <= self.to) {
            match cohorts.iter_mut().find(|(ready, _)| *ready == self.ready[index]) {
                Some((_, members)) => members.push(index),
                None => cohorts.push((self.ready[index], vec![index])),
            }
        }
        mean(cohorts.iter().flat_map(|(ready, members)| {
            let (from, to) = (ready + from_age, ready + to_age);
            let references = (0..self.left.len()).filter(|i| self.left[*i] >= to);
            let reference = median(&mut references.map(|i| self.change(i, from, to)).collect());
            members.iter().map(move |index| self.change(*index, from, to) - reference)
        }))
    }

    fn change(&self, member: usize, from: Step, to: Step) -> f64 {
        let of = &self.observation.groups.members[member];
        let Some(cells) = self.observation.cells(self.id, self.def, of, self.baseline.bound) else {
            return f64::NAN;
        };
        let (num, den) = self.baseline.sums(&cells, from, to);
        let base = self.baseline.base_of(member);
        if den > 0.0 { self.baseline.scale.of_value(num / den) - base } else { f64::NAN }
    }
}

//! Silence and restarts: a process that cannot report its errors.

use std::cell::LazyCell;
use std::time::Duration;

use crate::domain::{Group, Timestamp};
use crate::judge::{Detector, Finding, Outcome, sentence};
use crate::signal::{Contact, InstanceWindow, Observation, SignalClass, Unit};

/// When a silent instance is evidence.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Silence {
    /// An instance that served the new version and fell silent.
    pub after_serving: Duration,
    /// An instance that has not come back from its release.
    pub after_release: Duration,
}

impl Default for Silence {
    /// Restarts of the services that were measured took 10 to 60 s; a scrape
    /// or two are lost in health everywhere.
    fn default() -> Self {
        Self { after_serving: Duration::from_secs(60), after_release: Duration::from_secs(180) }
    }
}

/// When restarts are a loop.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CrashLoop {
    /// Restarts after the one that brought the new version.
    pub restarts: u32,
    /// Restarts so soon after the release belong to it.
    pub settle: Duration,
}

impl Default for CrashLoop {
    fn default() -> Self {
        Self { restarts: 2, settle: Duration::from_secs(60) }
    }
}

/// So many machines of a batch may restart one after the other.
const TURNS_MAX: u32 = 12;

/// How long an instance has been silent at `now`, and whether it served since
/// `since`.
fn silence(contacts: &[(Timestamp, Contact)], since: Timestamp, now: Timestamp) -> (Duration, u32, bool) {
    let mut attempts = 0;
    let mut began = now;
    for (at, contact) in contacts.iter().rev().take_while(|(at, _)| *at >= since) {
        match contact {
            Contact::Silent => {
                attempts += 1;
                began = *at;
            }
            Contact::Served => return (now.since(began), attempts, true),
            // What we could not see is no silence of theirs.
            Contact::Unseen => return (Duration::ZERO, 0, true),
        }
    }
    (now.since(if attempts > 0 { began } else { now }), attempts, false)
}

/// Whether a silence that has lasted for `duration` is the restart that brings the
/// new version: a machine is drained first, and those of a large batch take turns.
/// Who did not answer before its release has the new version already.
fn is_due_to_restart(
    observation: &Observation<'_>,
    instance: &InstanceWindow,
    since: Timestamp,
    duration: Duration,
    now: Timestamp,
) -> bool {
    let began = now - duration;
    let settle = CrashLoop::default().settle.max(observation.window.step() * 2);
    let together = observation.groups.members.iter().filter(|m| m.released_at == Some(since)).count();
    let in_turn = settle * (1 + u32::try_from(together).unwrap_or(u32::MAX).min(TURNS_MAX));
    let was_old = instance.contacts.iter().any(|(at, contact)| *at < since && *contact == Contact::Served);
    let restarted = instance.restarts.iter().any(|at| *at >= since - settle);
    let silent_before = instance
        .contacts
        .iter()
        .any(|(at, contact)| *at >= since && *at < began && *contact == Contact::Silent);
    was_old && !restarted && !silent_before && began <= since + in_turn
}

/// The longest silence of any instance before `until`.
fn longest_silence_before(observation: &Observation<'_>, until: Timestamp) -> Duration {
    let mut longest = Duration::ZERO;
    for member in &observation.groups.members {
        let Some(instance) = observation.instance(member) else { continue };
        let mut last_served: Option<Timestamp> = None;
        for (at, contact) in instance.contacts.iter().take_while(|(at, _)| *at < until) {
            if *contact == Contact::Served {
                if let Some(last) = last_served {
                    longest = longest.max(at.since(last));
                }
                last_served = Some(*at);
            }
        }
    }
    longest
}

/// Released instances that should serve and are silent while the reference
/// group is not.
pub fn instance_silent(observation: &Observation<'_>, now: Timestamp, limits: Silence) -> Option<Finding> {
    let groups = observation.groups;
    let step = observation.window.step();
    let first_release = groups.members.iter().filter_map(|m| m.released_at).min()?;
    // Asked only where somebody is silent: it walks through everybody's past.
    let usual = LazyCell::new(|| longest_silence_before(observation, first_release));
    let (mut silent, mut released, mut longest) = (Vec::new(), 0usize, Duration::ZERO);
    let (mut suspicious, mut any_served) = (0, false);
    let (mut reference, mut reference_silent) = (0usize, 0usize);
    for member in &groups.members {
        let Some(instance) = observation.instance(member) else { continue };
        let since = member.released_at.unwrap_or(first_release);
        let (duration, attempts, served) = silence(&instance.contacts, since, now);
        match member.group() {
            Group::Reference => {
                reference += 1;
                reference_silent += usize::from(attempts >= 3);
            }
            Group::Release => {
                released += 1;
                if attempts < 2 {
                    continue;
                }
                let restarts = served && is_due_to_restart(observation, instance, since, duration, now);
                let limit = if served && !restarts { limits.after_serving } else { limits.after_release };
                let limit = limit.max(step * 4).max(*usual + *usual / 2);
                if attempts >= 4 && duration >= limit {
                    silent.push(member.instance.clone());
                    any_served |= served;
                    longest = longest.max(duration);
                } else if duration >= limit / 2 {
                    suspicious += 1;
                }
            }
        }
    }
    // The same silence elsewhere is a network's or a collector's; machines that were
    // replaced are silent as well, while the new ones never answer.
    let elsewhere = if any_served { reference_silent * 2 } else { reference_silent };
    let shared = reference > 0 && (elsewhere > reference || reference_silent == reference);
    if silent.is_empty() && (suspicious == 0 || shared) {
        return None;
    }
    let outcome = if silent.is_empty() || shared { Outcome::Suspect } else { Outcome::Failing };
    let since = now - longest;
    let because = if silent.is_empty() {
        format!("{} silent for a while", sentence::machines(suspicious, released))
    } else {
        format!(
            "{} silent for up to {} s since {}, {} of {} reference machines silent{}",
            sentence::machines(silent.len(), released),
            longest.as_secs(),
            since.clock_time(),
            reference_silent,
            reference,
            if shared { ": the same elsewhere" } else { "" },
        )
    };
    let share = |count: usize, of: usize| (of > 0).then(|| count as f64 / of as f64);
    Some(Finding {
        signal: "silence of instances".to_owned(),
        class: SignalClass::Health,
        detector: Detector::Rule,
        test: "instance_silent".to_owned(),
        outcome,
        because,
        release_before: Some(0.0),
        release_after: share(silent.len(), released),
        reference_before: Some(0.0),
        reference_after: share(reference_silent, reference),
        unit: Unit::Ratio,
        strength: longest.as_secs_f64() / limits.after_serving.as_secs_f64().max(1.0),
        instances: silent,
        since: Some(since),
        on_trial: false,
    })
}

/// Released instances that restart again and again.
pub fn crash_loop(observation: &Observation<'_>, now: Timestamp, limits: CrashLoop) -> Option<Finding> {
    let groups = observation.groups;
    let first_release = groups.members.iter().filter_map(|m| m.released_at).min()?;
    let (mut restarting, mut restarts, mut released) = (Vec::new(), 0u32, 0usize);
    let (mut reference, mut reference_restarts) = (0usize, 0u32);
    let mut first = None;
    // Of one machine, and later than a deployment restarts it once more.
    let (mut most, mut late) = (0, 0u32);
    for member in &groups.members {
        let Some(instance) = observation.instance(member) else { continue };
        match member.released_at {
            None => {
                reference += 1;
                reference_restarts +=
                    instance.restarts.iter().filter(|at| **at >= first_release).count() as u32;
            }
            Some(released_at) => {
                released += 1;
                let settle = limits.settle.max(observation.window.step() * 2);
                let mut after: Vec<Timestamp> =
                    instance.restarts.iter().copied().filter(|at| *at >= released_at - settle).collect();
                // The first restart brought the new version, unless it came too late for
                // that; the machines of a large batch restart one after the other.
                let together = groups.members.iter().filter(|m| m.released_at == member.released_at).count();
                let in_turn = settle * (3 + u32::try_from(together).unwrap_or(u32::MAX).min(TURNS_MAX));
                if after.first().is_some_and(|at| *at <= released_at + in_turn) {
                    after.remove(0);
                }
                after.retain(|at| *at >= released_at + settle / 2);
                if !after.is_empty() {
                    restarting.push(member.instance.clone());
                    restarts += after.len() as u32;
                    most = most.max(after.len());
                    late += after.iter().filter(|at| **at >= released_at + settle).count() as u32;
                    first = first.min(after.first().copied()).or(after.first().copied());
                }
            }
        }
    }
    if restarts == 0 {
        return None;
    }
    // As many for each reference machine: something else restarts them.
    let expected = f64::from(reference_restarts) / reference.max(1) as f64 * released as f64;
    let again = most >= 2 || late > 0;
    let failing = restarts >= limits.restarts && again && f64::from(restarts) > 3.0 * expected;
    Some(Finding {
        signal: "restarts".to_owned(),
        class: SignalClass::Health,
        detector: Detector::Rule,
        test: "crash_loop".to_owned(),
        outcome: if failing { Outcome::Failing } else { Outcome::Suspect },
        because: format!(
            "{restarts} restarts on {} after the one that brought the new version, first at {}; reference group: {reference_restarts} restarts on {reference} machines",
            sentence::machines(restarting.len(), released),
            first.unwrap_or(now).clock_time(),
        ),
        release_before: Some(0.0),
        release_after: Some(f64::from(restarts)),
        reference_before: Some(0.0),
        reference_after: Some(f64::from(reference_restarts)),
        unit: Unit::Count,
        strength: f64::from(restarts) / f64::from(limits.restarts.max(1)),
        instances: restarting,
        since: first,
        on_trial: false,
    })
}

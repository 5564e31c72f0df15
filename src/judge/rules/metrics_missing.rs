//! A page that answers and no longer has what it had: whether the service is
//! well can no longer be seen, and silence is not health.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::domain::Group;
use crate::judge::{Detector, Finding, Outcome, sentence};
use crate::signal::{
    Contact, InstanceWindow, Observation, Shape, SignalClass, SignalDef, SignalId, Step, Unit,
};

/// How long a page must have been without them: counters with labels appear
/// with the first event after a start.
const MISSING_MIN: Duration = Duration::from_secs(120);

/// Fewest steps for the same.
const MISSING_STEPS_MIN: Step = 5;

/// Part of all metrics that is more than a metric dropped on purpose.
const MISSING_SHARE_MIN: f64 = 0.5;

/// So many metrics of work that comes in, and one of so many of them, are no metric
/// dropped on purpose either.
const MISSING_WORK_MIN: usize = 2;
const MISSING_WORK_PART: usize = 3;

/// One new metric for so many that are missing is a renaming.
const RENAMED_SHARE: f64 = 0.3;

/// Signals whose denominators say whether the metric is there: those of events
/// are zero as well where nothing happens.
fn tells_presence(def: &SignalDef) -> bool {
    let lazy = matches!(def.class, SignalClass::Errors | SignalClass::Logs | SignalClass::Health);
    matches!(def.shape, Shape::Rate | Shape::Level) && !lazy && def.segment.is_none() && !def.muted
}

fn is_there(instance: &InstanceWindow, id: SignalId, from: Step, to: Step) -> bool {
    instance.column(id).is_some_and(|column| column.has_value(from, to))
}

/// Whether a metric is there, and counts if it is a counter: one that stands at
/// zero has replaced none that counted.
fn counts_or_shows(instance: &InstanceWindow, id: SignalId, def: &SignalDef, from: Step, to: Step) -> bool {
    let counts = instance.column(id).is_some_and(|column| column.sum(from, to).0 > 0.0);
    is_there(instance, id, from, to) && (def.shape != Shape::Rate || counts)
}

/// Whether a metric that a released machine had, or the reference machines have,
/// is gone from its page since step `from`, and one that nobody had is there: what
/// it counted is counted under another name.
pub fn is_renamed(observation: &Observation<'_>, member: usize, id: SignalId, from: Step, to: Step) -> bool {
    let member = &observation.groups.members[member];
    let Some(instance) = observation.instance(member) else { return false };
    // What is new may be there before the process counts.
    let released = member.released_at.map_or(from, |at| observation.window.step_at(at)).min(from);
    let reference: Vec<&InstanceWindow> =
        observation.groups.of(Group::Reference).filter_map(|m| observation.instance(m)).collect();
    let oldest = observation.window.oldest_step().max(from - 400);
    let is_new = |id: SignalId, def: &SignalDef| {
        counts_or_shows(instance, id, def, from, to)
            && !is_there(instance, id, oldest, released)
            && !reference.iter().any(|other| is_there(other, id, oldest, to))
    };
    let mut signals = observation.window.catalogue().signals();
    !is_there(instance, id, from, to) && signals.any(|(other, def)| tells_presence(def) && is_new(other, def))
}

/// Whether all metrics of requests are missing: where nobody counts them, gauges of
/// how many there are and how long they take tell of them.
fn tells_no_requests(expected: &[&(SignalId, &SignalDef)], missing: &BTreeSet<&str>) -> bool {
    let of_requests: BTreeSet<&str> = expected
        .iter()
        .filter(|(_, def)| matches!(def.class, SignalClass::Traffic | SignalClass::Latency) && !def.outgoing)
        .map(|(_, def)| def.metric.as_str())
        .collect();
    of_requests.len() >= MISSING_WORK_MIN && of_requests.is_subset(missing)
}

/// Released machines answer, and their pages lack the main traffic or half of
/// all metrics, which the reference machines have and they had before.
pub fn metrics_missing(
    observation: &Observation<'_>,
    ready: &[Step],
    start: Step,
    to: Step,
) -> Option<Finding> {
    let window = observation.window;
    let steps = (MISSING_MIN.as_secs_f64() / window.step().as_secs_f64()).ceil() as Step;
    let from = to - steps.max(MISSING_STEPS_MIN);
    let oldest = window.oldest_step().max(start - 400);
    let members = &observation.groups.members;
    let reference: Vec<&InstanceWindow> =
        observation.groups.of(Group::Reference).filter_map(|m| observation.instance(m)).collect();
    let everywhere = |id: SignalId, from: Step, to: Step| {
        let there = reference.iter().filter(|i| is_there(i, id, from, to)).count();
        there > 0 && there * 3 >= reference.len() * 2
    };
    let tells: Vec<(SignalId, &SignalDef)> =
        window.catalogue().signals().filter(|(_, def)| tells_presence(def)).collect();
    // Many metrics come with the first request.
    let has_worked = |index: usize| {
        let instance = observation.instance(&members[index]);
        let column = instance.zip(observation.traffic).and_then(|(instance, id)| instance.column(id));
        column.is_some_and(|column| column.sum(ready[index].min(to), to).0 > 0.0)
    };
    if observation.is_second_fleet()
        && observation.traffic.is_some()
        && !(0..members.len()).any(|index| members[index].group() == Group::Release && has_worked(index))
    {
        return None;
    }
    let (mut lacking, mut judged) = (Vec::new(), 0);
    let mut all_missing = BTreeSet::new();
    let mut traffic_is_missing = false;
    for (index, member) in members.iter().enumerate() {
        let Some(instance) = observation.instance(member) else { continue };
        if member.group() != Group::Release || ready[index] > from {
            continue;
        }
        let span = window.time_of(from)..window.time_of(to);
        let mut contacts = instance.contacts.iter().filter(|(at, _)| span.contains(at)).peekable();
        // What we could not read whole is our blindness, not their change.
        if contacts.peek().is_none() || !contacts.all(|(_, contact)| *contact == Contact::Served) {
            continue;
        }
        judged += 1;
        let has_past = instance.first_served().is_some_and(|at| at < window.time_of(start));
        let is_expected = |id: SignalId| {
            let before = match has_past {
                true => is_there(instance, id, oldest, start),
                false => everywhere(id, oldest, start),
            };
            before && (reference.is_empty() || everywhere(id, from, to))
        };
        // Nearly always nothing is missing: the rest need not be asked.
        if !tells.iter().any(|(id, _)| !is_there(instance, *id, from, to) && is_expected(*id)) {
            continue;
        }
        let expected: Vec<&(SignalId, &SignalDef)> =
            tells.iter().filter(|(id, _)| is_expected(*id)).collect();
        let missing: Vec<&str> = expected
            .iter()
            .filter(|(id, _)| !is_there(instance, *id, from, to))
            .map(|(_, def)| def.metric.as_str())
            .collect();
        let names: BTreeSet<&str> = missing.iter().copied().collect();
        let of_all = names.len() as f64
            / expected.iter().map(|e| &e.1.metric).collect::<BTreeSet<_>>().len().max(1) as f64;
        let traffic = observation.traffic.filter(|id| expected.iter().any(|e| e.0 == *id));
        let without_traffic = traffic.is_some_and(|id| !is_there(instance, id, from, to));
        let new: Vec<&(SignalId, &SignalDef)> = tells
            .iter()
            .filter(|(id, def)| {
                counts_or_shows(instance, *id, def, from, to)
                    && !is_there(instance, *id, oldest, start)
                    && !reference.iter().any(|i| is_there(i, *id, oldest, to))
            })
            .collect();
        let work = |there: bool| -> usize {
            let counts = |(id, def): &&&(SignalId, &SignalDef)| {
                let comes_in = def.class == SignalClass::Traffic && !def.outgoing;
                comes_in && (there || !is_there(instance, *id, from, to))
            };
            expected.iter().filter(counts).map(|(_, def)| &def.metric).collect::<BTreeSet<_>>().len()
        };
        let missing_work = work(false);
        let without_traffic = without_traffic
            || (missing_work >= MISSING_WORK_MIN && missing_work * MISSING_WORK_PART >= work(true))
            || (observation.traffic.is_none() && tells_no_requests(&expected, &names));
        // A pool or a limit that is new replaces no requests.
        let replaces = |def: &SignalDef| !without_traffic || def.class != SignalClass::Saturation;
        let new: BTreeSet<&str> =
            new.iter().filter(|(_, def)| replaces(def)).map(|(_, def)| def.metric.as_str()).collect();
        let renamed = new.len() as f64 >= RENAMED_SHARE * names.len() as f64;
        if (without_traffic || of_all >= MISSING_SHARE_MIN) && !names.is_empty() && !renamed {
            lacking.push(member.instance.clone());
            traffic_is_missing |= without_traffic;
            all_missing.extend(names);
        }
    }
    if lacking.is_empty() || lacking.len() * 2 < judged {
        return None;
    }
    let shown: Vec<&str> = all_missing.iter().copied().take(3).collect();
    let because = format!(
        "{} metrics that the reference machines have are missing on {}, whose pages answer: {}{}",
        all_missing.len(),
        sentence::machines(lacking.len(), judged),
        shown.join(", "),
        if all_missing.len() > shown.len() { " and more" } else { "" },
    );
    let share = lacking.len() as f64 / judged as f64;
    Some(Finding {
        signal: "metrics of the page".to_owned(),
        class: if traffic_is_missing { SignalClass::Traffic } else { SignalClass::Health },
        detector: Detector::Rule,
        test: "metrics_missing".to_owned(),
        outcome: Outcome::Failing,
        because,
        release_before: Some(0.0),
        release_after: Some(share),
        reference_before: Some(0.0),
        reference_after: Some(0.0),
        unit: Unit::Ratio,
        strength: 1.0 + share,
        instances: lacking,
        since: Some(window.time_of(from)),
        on_trial: false,
    })
}

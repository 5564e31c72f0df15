//! Processes that answer scrapes and do nothing else: all that counts work
//! stands still, whatever it is called.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::domain::Group;
use crate::judge::{Detector, Finding, Outcome, sentence};
use crate::signal::{Observation, Shape, SignalClass, SignalDef, SignalId, Step, Unit};

/// How long it must last: load balancers take up to a minute to send the first
/// request to a new process.
const STANDS_MIN: Duration = Duration::from_secs(90);

/// Fewest steps for the same.
const STANDS_STEPS_MIN: Step = 5;

/// Fewest counters that must stand still: one alone may have lost its use.
const COUNTERS_MIN: usize = 3;

/// Part of the counters that should move and must stand still; the rest may be
/// the process's own.
const STANDING_SHARE_MIN: f64 = 0.7;

/// A counter should move where a standstill so long would come by chance less
/// often than this.
const CHANCE_MAX: f64 = 1e-4;

/// No counter is believed to move in more than this part of all steps.
const MOVES_MAX: f64 = 0.9;

/// Told shares of the traffic below this are none.
const SHARE_MIN: f64 = 0.02;

/// Counters of work; those of failures are still in health, and what a process
/// uses it uses at rest as well.
fn counts_work(def: &SignalDef) -> bool {
    let work = matches!(def.class, SignalClass::Traffic | SignalClass::Business | SignalClass::Other);
    work && def.shape == Shape::Rate && def.segment.is_none() && !def.muted && !def.informative
}

/// Released machines answer and count nothing of what the reference machines
/// count at the same time, and what was counted before the release.
pub fn standstill(observation: &Observation<'_>, ready: &[Step], start: Step, to: Step) -> Option<Finding> {
    let window = observation.window;
    let steps =
        ((STANDS_MIN.as_secs_f64() / window.step().as_secs_f64()).ceil() as Step).max(STANDS_STEPS_MIN);
    let from = to - steps;
    let members = &observation.groups.members;
    let asked: Vec<usize> = (0..members.len())
        .filter(|i| members[*i].group() == Group::Release && ready[*i] <= from)
        .filter(|i| !members[*i].weight_is_given || members[*i].weight >= SHARE_MIN)
        .collect();
    let counted = |index: usize, id: SignalId| {
        let column = observation.instance(&members[index]).and_then(|instance| instance.column(id));
        column.is_some_and(|column| column.sum(from, to).0 > 0.0)
    };
    let traffic_moves = |index: &usize| observation.traffic.is_some_and(|id| counted(*index, id));
    // Nearly always requests come in: nothing else need be asked.
    if asked.is_empty() || asked.iter().all(traffic_moves) {
        return None;
    }
    let counters: Vec<(SignalId, &SignalDef)> =
        window.catalogue().signals().filter(|(_, def)| counts_work(def)).collect();
    // Where the main traffic is not known: whether history need be read at all.
    let still_here = |(id, _): &&(SignalId, &SignalDef)| {
        let mut elsewhere = (0..members.len()).filter(|i| members[*i].group() == Group::Reference);
        asked.iter().any(|index| !counted(*index, *id)) && elsewhere.any(|index| counted(index, *id))
    };
    if counters.iter().filter(still_here).count() < COUNTERS_MIN {
        return None;
    }
    let due: Vec<(SignalId, &SignalDef)> =
        counters.into_iter().filter(|(id, _)| is_due(observation, *id, start, from, to)).collect();
    let names: BTreeSet<&str> = due.iter().map(|(_, def)| def.metric.as_str()).collect();
    if names.len() < COUNTERS_MIN {
        return None;
    }
    let (mut standing, mut judged, mut shown) = (Vec::new(), 0, BTreeSet::new());
    let (mut fell_silent, mut any_worked) = (0, false);
    for index in asked {
        // What is not on the page stands nowhere: another rule's matter.
        let instance = observation.instance(&members[index]);
        if !instance.is_some_and(|instance| instance.served().sum(from, to).1 > 0.0) {
            continue;
        }
        judged += 1;
        let still = standing_still(observation, &due, index, ready[index], from, to);
        let enough =
            still.len() >= COUNTERS_MIN && still.len() as f64 >= STANDING_SHARE_MIN * names.len() as f64;
        if enough && !traffic_moves(&index) {
            standing.push(members[index].instance.clone());
            shown.extend(still);
            let worked = due.iter().any(|(id, _)| {
                let column = instance.and_then(|instance| instance.column(*id));
                column.is_some_and(|column| column.sum(ready[index], from).0 > 0.0)
            });
            let longer = due.iter().all(|(id, _)| {
                let column = instance.and_then(|instance| instance.column(*id));
                column.is_none_or(|column| column.sum(from - steps, from).0 == 0.0)
            });
            fell_silent += usize::from(worked && longer);
            any_worked |= worked;
        }
    }
    // The old machines serve everybody until the traffic is switched over.
    if !any_worked && observation.is_second_fleet() {
        return None;
    }
    // One among several may hang alone if it is seen to: it worked, and has not for
    // twice as long.
    if standing.is_empty() || (standing.len() * 2 < judged && fell_silent < standing.len()) {
        return None;
    }
    let examples: Vec<&str> = shown.iter().copied().take(3).collect();
    let because = format!(
        "{} of {} counters of work stand still on {}, whose pages answer, for {} s or longer, and go on elsewhere: {}{}",
        shown.len(),
        names.len(),
        sentence::machines(standing.len(), judged),
        steps as f64 * window.step().as_secs_f64(),
        examples.join(", "),
        if shown.len() > examples.len() { " and more" } else { "" },
    );
    Some(Finding {
        signal: "counters of work".to_owned(),
        class: SignalClass::Traffic,
        detector: Detector::Rule,
        test: "standstill".to_owned(),
        outcome: Outcome::Failing,
        because,
        release_before: Some(1.0),
        release_after: Some(1.0 - shown.len() as f64 / names.len() as f64),
        reference_before: Some(1.0),
        reference_after: Some(1.0),
        unit: Unit::Ratio,
        strength: 1.0 + standing.len() as f64 / judged as f64,
        instances: standing,
        since: Some(window.time_of(from)),
        on_trial: false,
    })
}

/// The metrics of which nothing was counted on one member in `from..to`. If it
/// counted anything since it is `ready`, it must have done so too steadily for
/// that to be chance: few users have few requests.
fn standing_still<'a>(
    observation: &Observation<'_>,
    due: &[(SignalId, &'a SignalDef)],
    index: usize,
    ready: Step,
    from: Step,
    to: Step,
) -> BTreeSet<&'a str> {
    let instance = observation.instance(&observation.groups.members[index]);
    let (mut still, mut moving) = (BTreeSet::new(), BTreeSet::new());
    for (id, def) in due {
        let Some(column) = instance.and_then(|instance| instance.column(*id)) else {
            still.insert(def.metric.as_str());
            continue;
        };
        if column.sum(from, to).0 > 0.0 {
            moving.insert(def.metric.as_str());
            continue;
        }
        let moved = (ready..from).filter(|step| column.num_at(*step) > 0.0).count() as f64;
        let share = (moved / (from - ready).max(1) as f64).min(MOVES_MAX);
        if moved == 0.0 || (1.0 - share).powi((to - from) as i32) <= CHANCE_MAX {
            still.insert(def.metric.as_str());
        }
    }
    still.difference(&moving).copied().collect()
}

/// Whether a counter moves so steadily, on reference machines now and on all
/// machines before the release, that it should have moved in `from..to`.
fn is_due(observation: &Observation<'_>, id: SignalId, start: Step, from: Step, to: Step) -> bool {
    let before = observation.window.oldest_step().max(start - 400)..start;
    let moving_share = |group: Option<Group>, steps: std::ops::Range<Step>| {
        let (mut moving, mut all) = (0.0, 0.0);
        for member in &observation.groups.members {
            if group.is_some_and(|group| member.group() != group) {
                continue;
            }
            let Some(column) = observation.instance(member).and_then(|i| i.column(id)) else { continue };
            for step in steps.clone() {
                all += f64::from(u8::from(column.den_at(step) > 0.0));
                moving += f64::from(u8::from(column.num_at(step) > 0.0));
            }
        }
        if all > 0.0 { moving / all } else { 0.0 }
    };
    let moves = moving_share(Some(Group::Reference), from..to).min(moving_share(None, before)).min(MOVES_MAX);
    (1.0 - moves).powi((to - from) as i32) <= CHANCE_MAX
}

//! Errors that need no statistics: a large part of the requests fails, or a
//! kind of error appears that nobody has ever seen.

use std::time::Duration;

use crate::domain::Group;
use crate::judge::funnel::{LATE_SECONDS, OUTLASTS_SECONDS};
use crate::judge::{Detector, Finding, Outcome, sentence};
use crate::signal::{Observation, Shape, SignalClass, SignalDef, SignalId, Step, Unit};

/// Least failed events of the release group in the last steps.
const BURST_EVENTS_MIN: f64 = 15.0;

/// Least share of failed events.
const BURST_RATIO_MIN: f64 = 0.08;

/// Least share while a process is so young that its start may explain less.
const START_RATIO_MIN: f64 = 0.4;

/// Part of it that the newest step must still show.
const GOES_ON: f64 = 0.5;

/// How many times longer a start may fail where no old machine serves.
const ALL_AT_ONCE_TIMES: f64 = 3.0;

/// Over how many steps it is looked for, and over how many seconds at least.
const BURST_STEPS: Step = 3;
const BURST_SECONDS: f64 = 10.0;

/// Least events of a new kind of error.
const NEW_EVENTS_MIN: f64 = 5.0;

struct Sums {
    release: (f64, f64),
    reference: (f64, f64),
    /// Only where it was asked for: it is the longest.
    past: (f64, f64),
    shows: Vec<crate::domain::InstanceId>,
    judged: usize,
}

fn sums(
    observation: &Observation<'_>,
    id: SignalId,
    def: &SignalDef,
    ready: &[Step],
    from: Step,
    to: Step,
) -> Sums {
    let mut out =
        Sums { release: (0.0, 0.0), reference: (0.0, 0.0), past: (0.0, 0.0), shows: Vec::new(), judged: 0 };
    for (index, member) in observation.groups.members.iter().enumerate() {
        let Some(cells) = observation.cells(id, def, member, None) else { continue };
        let add = |sum: &mut (f64, f64), (num, den): (f64, f64)| {
            sum.0 += num;
            sum.1 += den;
        };
        match member.group() {
            Group::Release => {
                let own = cells.sum(from.max(ready[index]), to);
                if own.1 > 0.0 {
                    out.judged += 1;
                    if own.0 > 0.0 {
                        out.shows.push(member.instance.clone());
                    }
                }
                add(&mut out.release, own);
            }
            Group::Reference => add(&mut out.reference, cells.sum(from, to)),
        }
    }
    out
}

/// The sums of all members before the release.
fn past(observation: &Observation<'_>, id: SignalId, def: &SignalDef, start: Step) -> (f64, f64) {
    let oldest = observation.window.oldest_step().max(start - 400);
    let members = observation.groups.members.iter();
    let sums = members.filter_map(|m| Some(observation.cells(id, def, m, None)?.sum(oldest, start)));
    sums.fold((0.0, 0.0), |total, own| (total.0 + own.0, total.1 + own.1))
}

#[expect(clippy::too_many_arguments, reason = "one finding from one rule's words")]
fn finding(
    def: &SignalDef,
    sums: Sums,
    test: &str,
    unit: Unit,
    outcome: Outcome,
    because: String,
    since: crate::domain::Timestamp,
    strength: f64,
) -> Finding {
    let ratio = |(num, den): (f64, f64)| (den > 0.0).then(|| num / den);
    Finding {
        signal: def.name.clone(),
        class: def.class,
        detector: Detector::Rule,
        test: test.to_owned(),
        outcome,
        because,
        release_before: ratio(sums.past),
        release_after: ratio(sums.release),
        reference_before: ratio(sums.past),
        reference_after: ratio(sums.reference),
        unit,
        strength,
        instances: sums.shows,
        since: Some(since),
        on_trial: false,
    }
}

/// A large part of what the released machines do fails, at once and there only.
/// Processes younger than `starts` may fail for as long.
pub fn error_burst(
    observation: &Observation<'_>,
    ready: &[Step],
    start: Step,
    to: Step,
    starts: Duration,
) -> Option<Finding> {
    let step_seconds = observation.window.step().as_secs_f64();
    let from = to - BURST_STEPS.max((BURST_SECONDS / step_seconds).ceil() as Step);
    let mut best: Option<Finding> = None;
    for (id, def) in observation.window.catalogue().signals() {
        let fails = def.class == SignalClass::Errors && def.shape == Shape::Ratio && !def.refusals;
        if !fails || def.muted || def.segment.is_some() {
            continue;
        }
        let mut sums = sums(observation, id, def, ready, from, to);
        let ratio = |(num, den): (f64, f64)| if den > 0.0 { num / den } else { 0.0 };
        let (now, reference) = (ratio(sums.release), ratio(sums.reference));
        if sums.release.0 < BURST_EVENTS_MIN || now < BURST_RATIO_MIN {
            continue;
        }
        sums.past = past(observation, id, def, start);
        let past = ratio(sums.past);
        let members = observation.groups.members.iter().zip(ready);
        let oldest = members.filter(|(m, _)| sums.shows.contains(&m.instance)).map(|(_, ready)| *ready).min();
        let served = oldest.map_or(0, |ready| to - ready) as f64 * observation.window.step().as_secs_f64();
        // All machines at once find what piled up while none served.
        let alone = sums.reference.1 == 0.0;
        let starts = starts.as_secs_f64() * if alone { ALL_AT_ONCE_TIMES } else { 1.0 };
        if alone && served < 0.5 * starts {
            continue;
        }
        let least = if served < starts { START_RATIO_MIN } else { BURST_RATIO_MIN };
        let wide = sums.shows.len() * 2 >= sums.judged;
        let newest = ratio(self::sums(observation, id, def, ready, to - 1, to).release);
        let goes_on = newest >= GOES_ON * now;
        let burst = now >= least + past && now > 8.0 * reference.max(past) && wide && goes_on;
        if !burst || best.as_ref().is_some_and(|b| b.release_after.unwrap_or(0.0) >= now) {
            continue;
        }
        // An outage looks the same where no machine is left to compare with, and ends.
        let steps = (OUTLASTS_SECONDS / observation.window.step().as_secs_f64()).ceil() as Step;
        let long_ago = || self::sums(observation, id, def, ready, to - steps, to - steps * 4 / 5).release;
        let lasts = || ratio(long_ago()) >= GOES_ON * now;
        let outcome =
            if alone && served > LATE_SECONDS && !lasts() { Outcome::Suspect } else { Outcome::Failing };
        let because = format!(
            "{}: {} on {}, reference {}, before {}, {} failed in the last {} s",
            def.name,
            sentence::value(now, Unit::Ratio),
            sentence::machines(sums.shows.len(), sums.judged),
            sentence::value(if alone { f64::NAN } else { reference }, Unit::Ratio),
            sentence::value(past, Unit::Ratio),
            sums.release.0,
            ((to - from) as f64 * step_seconds).round(),
        );
        best = Some(finding(
            def,
            sums,
            "error_burst",
            Unit::Ratio,
            outcome,
            because,
            observation.window.time_of(from),
            now / BURST_RATIO_MIN,
        ));
    }
    best
}

/// A kind of error that no instance ever showed, and that comes again and
/// again on released machines only.
pub fn new_exception(
    observation: &Observation<'_>,
    ready: &[Step],
    start: Step,
    to: Step,
) -> Option<Finding> {
    let mut best: Option<Finding> = None;
    for (id, def) in observation.window.catalogue().signals() {
        if !def.error_kind || def.muted {
            continue;
        }
        let mut sums = sums(observation, id, def, ready, start, to);
        if sums.reference.0 > 0.0 || sums.release.0 < 2.0 {
            continue;
        }
        sums.past = past(observation, id, def, start);
        if sums.past.0 > 0.0 {
            continue;
        }
        let kind = def.segment.as_ref().map_or("", |(_, value)| value.as_str());
        // A version that counts under another name has the same kinds.
        let is_known = |(id, other): (SignalId, &SignalDef)| {
            let same = other.error_kind && other.segment.as_ref().is_some_and(|(_, value)| value == kind);
            same && past(observation, id, other, start).0 > 0.0
        };
        if observation.window.catalogue().signals().any(is_known) {
            continue;
        }
        let (release, past) = (sums.release, sums.past);
        let enough = release.0 >= NEW_EVENTS_MIN && sums.shows.len() * 2 >= sums.judged && past.1 > 0.0;
        let because = format!(
            "{kind} never seen before: {} times on {} since {}, none on the reference machines",
            release.0,
            sentence::machines(sums.shows.len(), sums.judged),
            observation.window.time_of(start).clock_time(),
        );
        let outcome = if enough { Outcome::Failing } else { Outcome::Suspect };
        let strength = release.0 / NEW_EVENTS_MIN;
        if best.as_ref().is_none_or(|b| strength > b.strength) {
            best = Some(finding(
                def,
                sums,
                "new_exception",
                def.unit,
                outcome,
                because,
                observation.window.time_of(start),
                strength,
            ));
        }
    }
    best
}

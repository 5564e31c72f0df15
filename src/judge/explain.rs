//! Evidence of the funnel as a finding with its sentence.

use crate::domain::Group;
use crate::signal::{Observation, SignalDef, Unit};

use super::funnel::{Grade, Graded, View};
use super::{Detector, Finding, Outcome, sentence};

/// The finding behind a graded shift.
pub fn finding(observation: &Observation<'_>, def: &SignalDef, graded: &Graded, by_traffic: bool) -> Finding {
    let shift = &graded.shift;
    let members = &observation.groups.members;
    let unit = match (graded.view, by_traffic, def.unit) {
        (View::Restlessness, _, _) => Unit::Count,
        (View::Level, true, Unit::PerSecond) if def.is_calls() => Unit::Count,
        (View::Level, true, Unit::PerSecond) => Unit::Ratio,
        (View::Level, _, unit) => unit,
    };
    let mut name = def.name.clone();
    if let Some(bound) = graded.bound {
        name = format!("{name} over {}", sentence::value(bound, def.bound_unit()));
    }
    match (graded.view, by_traffic) {
        (View::Restlessness, _) => name = format!("restlessness of {name}"),
        (View::Level, true) => name = format!("{name} per request"),
        (View::Level, false) => {}
    }
    let show = |value: Option<f64>| value.map_or("unknown".to_owned(), |v| sentence::value(v, unit));
    let [release_before, release_after, reference_before, reference_after] = shift.values;
    let since = observation.window.time_of(shift.since);
    let has_reference = members.iter().any(|m| m.group() == Group::Reference);
    let mut because = format!(
        "{name} on {} {}, {}before {}, since {}, {:.0} times the noise",
        sentence::machines(shift.shows.len(), shift.judged),
        show(release_after),
        if has_reference {
            format!("reference {} (before {}), ", show(reference_after), show(reference_before))
        } else {
            String::new()
        },
        show(release_before),
        since.clock_time(),
        shift.score.min(999.0),
    );
    if let Some(why) = graded.held_back {
        because.push_str("; ");
        because.push_str(why);
    }
    Finding {
        signal: name,
        class: def.class,
        detector: Detector::Funnel,
        test: match graded.view {
            View::Level => "shift".to_owned(),
            View::Restlessness => "restlessness".to_owned(),
        },
        outcome: match graded.grade {
            Grade::Failing => Outcome::Failing,
            Grade::Suspect => Outcome::Suspect,
        },
        instances: shift.shows.iter().filter_map(|i| members.get(*i)).map(|m| m.instance.clone()).collect(),
        because,
        release_before,
        release_after,
        reference_before,
        reference_after,
        unit,
        strength: shift.score,
        since: Some(since),
        on_trial: false,
    }
}

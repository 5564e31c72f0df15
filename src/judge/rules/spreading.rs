//! A fault that both groups suffer: what they share broke right after a batch.
//! Comparing the groups sees nothing then; only the time tells.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::domain::Group;
use crate::judge::funnel::{Baseline, Funnel, View, WINDOWS};
use crate::judge::{Detector, Finding, Outcome, sentence};
use crate::signal::{Cells, Observation, Shape, SignalClass, SignalDef, Step};

/// What begins within this after a batch's first machine serves is blamed on
/// the batch. What begins while they all still start is not their work.
const RIGHT_AFTER: Duration = Duration::from_secs(75);

/// How long a batch may take to start.
const STARTS: Duration = Duration::from_secs(300);

/// How long it must have lasted: a restart of some machines loads the others
/// for about as long.
const LASTING_MIN: Duration = Duration::from_secs(60);

/// For how long after a batch it is looked for.
const WATCHED: Duration = Duration::from_secs(900);

/// Least rise on the scale: latency more than doubles, errors grow threefold.
const LATENCY_RISE_MIN: f64 = 0.9;
const ERRORS_RISE_MIN: f64 = 1.1;

/// Least further share of all requests that fails.
const ERRORS_ADDED_MIN: f64 = 0.01;

/// Least failed requests of the reference group.
const ERRORS_MIN: f64 = 20.0;

/// Least rise in units of the noise that both groups have in common. Few
/// signals are asked, at few times.
const SCORE_MIN: f64 = 8.0;

/// Least rise in units of the largest that was seen without a release.
const BEYOND_WORST_MIN: f64 = 2.0;

/// More traffic than this explains why everything is slower.
const TRAFFIC_RISE_MAX: f64 = 1.15;

/// Part of the rise that may have been there before the batch.
const BEFORE_MAX: f64 = 0.25;

/// Part of it that may be there while the batch's machines start: the others
/// have their load then.
const STARTING_MAX: f64 = 0.5;

/// One signal around one batch.
struct Rise {
    /// Of all members, on the scale.
    size: f64,
    /// Times the weakest requirement.
    margin: f64,
    values: [Option<f64>; 4],
    shows: Vec<usize>,
    released: usize,
}

/// Errors or latency of both groups rise right after a batch, by more than
/// they ever did, and stay. After the first batch it is the release's doing, after
/// a later one it is only suspect. `serving` has for each member the first step that it
/// serves entirely since its release.
pub fn spreading(
    observation: &Observation<'_>,
    funnel: &Funnel,
    serving: &[Step],
    to: Step,
) -> Option<Finding> {
    let window = observation.window;
    let members = &observation.groups.members;
    members.iter().find(|m| m.group() == Group::Reference)?;
    let steps = |of: Duration| (of.as_secs_f64() / window.step().as_secs_f64()).ceil() as Step;
    let (soon, lasting, watched) =
        (steps(RIGHT_AFTER).max(2), steps(LASTING_MIN).max(3), steps(WATCHED).max(12));
    let batches: BTreeSet<Step> =
        members.iter().filter_map(|m| m.released_at).map(|at| window.step_at(at)).collect();
    let first = batches.first().copied();
    let new = |batch: Step| batch + steps(STARTS) > to;
    // Machines that restart leave their work to the others.
    let away = members
        .iter()
        .zip(serving)
        .any(|(m, serving)| *serving >= to && m.released_at.is_some_and(|at| new(window.step_at(at))));
    let mut best: Option<(Rise, &SignalDef, Step)> = None;
    for batch in batches {
        let of_batch = members
            .iter()
            .zip(serving)
            .filter(|(m, _)| m.released_at.is_some_and(|at| window.step_at(at) == batch));
        let Some(began) = of_batch.map(|(_, serving)| *serving).min() else { continue };
        let felt = began + soon;
        if began > batch + 1 + steps(STARTS) || to < felt + lasting || to > felt + watched {
            continue;
        }
        let surges = traffic_rise(observation, batch, felt, to).is_some_and(|rise| rise > TRAFFIC_RISE_MAX);
        for (id, def) in window.catalogue().signals() {
            let asked = match def.class {
                // Of requests that were served, not of what is tried on the way.
                SignalClass::Errors => !def.refusals && !def.error_kind && def.shape != Shape::Rate,
                SignalClass::Latency => !surges && !def.is_clock(),
                SignalClass::Traffic
                | SignalClass::Saturation
                | SignalClass::Business
                | SignalClass::Logs
                | SignalClass::Health
                | SignalClass::Other => false,
            };
            if !asked || def.segment.is_some() || def.muted || def.informative {
                continue;
            }
            let Some(baseline) = funnel.baseline(id, View::Level) else { continue };
            let cells: Vec<Option<Cells<'_>>> =
                members.iter().map(|m| observation.cells(id, def, m, baseline.bound)).collect();
            let Some(rise) = rise(observation, def, baseline, &cells, [batch, began, felt, to]) else {
                continue;
            };
            if rise.margin >= 1.0 && best.as_ref().is_none_or(|(b, _, _)| rise.margin > b.margin) {
                best = Some((rise, def, batch));
            }
        }
    }
    let (rise, def, batch) = best?;
    let [release_before, release_after, reference_before, reference_after] = rise.values;
    let show = |value: Option<f64>| value.map_or("unknown".to_owned(), |v| sentence::value(v, def.unit));
    let at = window.time_of(batch);
    let because = format!(
        "{} of both groups rose right after the batch of {}: {} {}, before {}, and reference {}, before {}",
        def.name,
        at.clock_time(),
        sentence::machines(rise.shows.len(), rise.released),
        show(release_after),
        show(release_before),
        show(reference_after),
        show(reference_before),
    );
    Some(Finding {
        signal: def.name.clone(),
        class: def.class,
        detector: Detector::Rule,
        test: "spreading".to_owned(),
        // With each batch a coincidence is more likely.
        outcome: if Some(batch) == first && !away { Outcome::Failing } else { Outcome::Suspect },
        because,
        release_before,
        release_after,
        reference_before,
        reference_after,
        unit: def.unit,
        strength: rise.size,
        instances: rise.shows.iter().map(|index| members[*index].instance.clone()).collect(),
        since: Some(at),
        on_trial: false,
    })
}

/// The traffic of all members after the batch over that before.
fn traffic_rise(observation: &Observation<'_>, batch: Step, felt: Step, to: Step) -> Option<f64> {
    let id = observation.traffic?;
    let members = observation.groups.members.iter();
    let columns: Vec<_> = members.filter_map(|m| observation.instance(m)?.column(id)).collect();
    // Per step, as instances come and go.
    let events =
        |from: Step, to: Step| columns.iter().map(|c| c.sum(from, to).0).sum::<f64>() / (to - from) as f64;
    let before = events(batch - (felt - batch), batch);
    (before > 0.0).then(|| events(felt, to) / before)
}

fn rise(
    observation: &Observation<'_>,
    def: &SignalDef,
    baseline: &Baseline,
    cells: &[Option<Cells<'_>>],
    [batch, began, felt, to]: [Step; 4],
) -> Option<Rise> {
    let members = &observation.groups.members;
    let is_released = |index: usize| members[index].released_at.is_some();
    let sum = |index: usize, from: Step, to: Step| cells[index].map_or((0.0, 0.0), |c| c.sum(from, to));
    let mut usual: Vec<f64> = baseline.base.iter().copied().filter(|b| b.is_finite()).collect();
    usual.sort_by(f64::total_cmp);
    let usual = *usual.get(usual.len() / 2)?;
    let change = |index: usize, from: Step, to: Step| {
        let (num, den) = sum(index, from, to);
        // Who has no past of its own is compared with the others'.
        let base = baseline.base.get(index).copied().filter(|b| b.is_finite()).unwrap_or(usual);
        (den > 0.0).then(|| baseline.scale.of_value(num / den) - base)
    };
    let middle = |of: &dyn Fn(usize) -> Option<f64>| {
        let mut values: Vec<f64> = (0..members.len()).filter(|i| !is_released(*i)).filter_map(of).collect();
        values.sort_by(f64::total_cmp);
        (!values.is_empty()).then(|| values[values.len() / 2])
    };
    let soon = felt - batch - 1;
    let since: Vec<Option<f64>> = (0..members.len()).map(|i| change(i, felt, to)).collect();
    let size = middle(&|i| since[i])?;
    let least = if def.class == SignalClass::Errors { ERRORS_RISE_MIN } else { LATENCY_RISE_MIN };
    if size < least {
        return None;
    }
    let before = middle(&|i| change(i, batch - soon, batch))?;
    let starting = middle(&|i| change(i, began - 1, began))?;
    // When it is felt, it is there; and it is still there.
    let at_once = middle(&|i| change(i, felt - (soon / 3).max(1), felt + 1))?;
    let newest = middle(&|i| change(i, to - ((to - felt) / 3).max(1), to))?;
    let there: Vec<usize> =
        (0..members.len()).filter(|i| since[*i].is_some_and(|c| c >= 0.4 * size)).collect();
    let judged = |released: bool| {
        (0..members.len()).filter(|i| is_released(*i) == released && since[*i].is_some()).count()
    };
    let (shows, elsewhere): (Vec<usize>, Vec<usize>) = there.into_iter().partition(|i| is_released(*i));
    let pooled = |released: bool, from: Step, to: Step| {
        let (num, den) = (0..members.len())
            .filter(|i| is_released(*i) == released)
            .map(|i| sum(i, from, to))
            .fold((0.0, 0.0), |total, own| (total.0 + own.0, total.1 + own.1));
        (den > 0.0).then(|| num / den)
    };
    let values = [
        pooled(true, batch - 60, batch),
        pooled(true, felt, to),
        pooled(false, batch - 60, batch),
        pooled(false, felt, to),
    ];
    let window = WINDOWS.iter().rposition(|steps| *steps <= to - felt)?;
    let (noise, worst) = baseline.shared[window];
    let added = if def.class == SignalClass::Errors { values[3]? - values[2]? } else { f64::INFINITY };
    let failed: f64 = (0..members.len()).filter(|i| !is_released(*i)).map(|i| sum(i, felt, to).0).sum();
    let enough = def.class != SignalClass::Errors || def.shape == Shape::Level || failed >= ERRORS_MIN;
    let wide = elsewhere.len() * 4 >= judged(false) * 3 && shows.len() * 2 >= judged(true);
    let stays = at_once >= 0.5 * size
        && newest >= 0.7 * size
        && before <= BEFORE_MAX * size
        && starting <= STARTING_MAX * size;
    if !(wide && stays && enough && added >= ERRORS_ADDED_MIN && size.is_finite()) {
        return None;
    }
    let margin = (size / least)
        .min(size / noise.hypot(0.01) / SCORE_MIN)
        .min(size / worst.max(1e-9) / BEYOND_WORST_MIN);
    Some(Rise { size, margin, values, shows, released: judged(true) })
}

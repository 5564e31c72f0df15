//! The business counters stand still while requests are served: no statistics
//! over noise is needed for nothing where much was certain.

use super::is_renamed;
use crate::domain::Group;
use crate::judge::{Detector, Finding, Outcome, sentence};
use crate::signal::{Observation, Shape, SignalClass, Step, Unit};

/// Least events that the past and the reference group let expect: where 25 are
/// due, none comes by chance once in 10^10, or once in 10^3 if they come in
/// clusters of four.
const EXPECTED_MIN: f64 = 25.0;

/// Most of the expected events that are still a standstill.
const LEFT_MAX: f64 = 0.02;

/// Least of its own past rate that the reference group must show.
const REFERENCE_MIN: f64 = 0.5;

/// Released machines serve requests as before and count none of what the
/// business lives on.
pub fn business_stopped(
    observation: &Observation<'_>,
    ready: &[Step],
    start: Step,
    to: Step,
) -> Option<Finding> {
    let oldest = observation.window.oldest_step().max(start - 400);
    let mut best: Option<Finding> = None;
    for (id, def) in observation.window.catalogue().signals() {
        let counts = def.class == SignalClass::Business && def.shape == Shape::Rate && def.by_traffic;
        if !counts || def.muted || def.informative || def.segment.is_some() || observation.traffic.is_none() {
            continue;
        }
        let (mut past, mut release, mut reference) = ((0.0, 0.0), (0.0, 0.0), (0.0, 0.0));
        let mut stands = Vec::new();
        let mut judged = 0;
        let add = |sum: &mut (f64, f64), (num, den): (f64, f64)| {
            sum.0 += num;
            sum.1 += den;
        };
        for (index, member) in observation.groups.members.iter().enumerate() {
            let Some(cells) = observation.cells(id, def, member, None) else { continue };
            match member.group() {
                Group::Release => {
                    let own = cells.sum(ready[index], to);
                    if own.1 > 0.0 {
                        judged += 1;
                        add(&mut release, own);
                        if own.0 == 0.0 && !is_renamed(observation, index, id, ready[index], to) {
                            stands.push(member.instance.clone());
                        }
                    }
                }
                Group::Reference => add(&mut reference, cells.sum(start, to)),
            }
        }
        let rate = |(num, den): (f64, f64)| (den > 0.0).then(|| num / den);
        // Nearly always it goes on: the past need not be asked.
        let goes_on = rate(reference).is_none_or(|usual| release.0 > LEFT_MAX * (usual * release.1));
        if goes_on || stands.len() * 2 < judged {
            continue;
        }
        // Amounts are no counts: the least that ever came at once is one event.
        let mut least = f64::INFINITY;
        let mut clusters = Clusters::default();
        for member in &observation.groups.members {
            let Some(cells) = observation.cells(id, def, member, None) else { continue };
            add(&mut past, cells.sum(oldest, start));
            let increments = (oldest..start).map(|step| cells.at(step).0).filter(|events| *events > 0.0);
            least = increments.fold(least, f64::min);
            clusters.add((oldest..start).map(|step| cells.at(step)));
        }
        let (Some(usual), Some(now), Some(elsewhere)) = (rate(past), rate(release), rate(reference)) else {
            continue;
        };
        let expected = usual.min(elsewhere) * release.1;
        let expected_events = expected / least.max(clusters.factor()).max(1.0);
        let stopped = expected_events >= EXPECTED_MIN
            && release.0 <= LEFT_MAX * expected
            && elsewhere >= REFERENCE_MIN * usual
            && stands.len() * 2 >= judged;
        let strength = expected_events / EXPECTED_MIN;
        if !stopped || best.as_ref().is_some_and(|b| b.strength >= strength) {
            continue;
        }
        let because = format!(
            "{}: {} where {expected:.0} were to be expected on {} since {}, reference {}, before {}",
            def.name,
            release.0,
            sentence::machines(stands.len(), judged),
            observation.window.time_of(start).clock_time(),
            sentence::value(elsewhere, Unit::Ratio),
            sentence::value(usual, Unit::Ratio),
        );
        best = Some(Finding {
            signal: def.name.clone(),
            class: def.class,
            detector: Detector::Rule,
            test: "business_stopped".to_owned(),
            outcome: Outcome::Failing,
            because,
            release_before: Some(usual),
            release_after: Some(now),
            reference_before: Some(usual),
            reference_after: Some(elsewhere),
            unit: Unit::Ratio,
            strength,
            instances: stands,
            since: Some(observation.window.time_of(start)),
            on_trial: false,
        });
    }
    best
}

/// How much more a count wanders from step to step than events that come one by
/// one: what one event adds to an amount, and how they cluster.
#[derive(Default)]
struct Clusters {
    squares: f64,
    pairs: f64,
    total: f64,
    steps: f64,
}

impl Clusters {
    fn add(&mut self, steps: impl Iterator<Item = (f64, f64)>) {
        let mut last: Option<f64> = None;
        for (events, _) in steps.filter(|(_, exposure)| *exposure > 0.0) {
            self.total += events;
            self.steps += 1.0;
            if let Some(last) = last {
                self.squares += (events - last) * (events - last);
                self.pairs += 1.0;
            }
            last = Some(events);
        }
    }

    /// Variance over mean, as neighbouring steps show it: the day does not move it.
    fn factor(&self) -> f64 {
        let (mean, variance) = (self.total / self.steps, 0.5 * self.squares / self.pairs);
        if mean > 0.0 && variance.is_finite() { variance / mean } else { 1.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_amount_wanders_by_what_one_event_adds_and_a_count_by_one() {
        let factor = |steps: &[f64]| {
            let mut clusters = Clusters::default();
            clusters.add(steps.iter().map(|events| (*events, 1.0)));
            clusters.factor()
        };
        // Differences of 40: variance 800, mean 20.
        assert!((factor(&[0.0, 40.0, 0.0, 40.0]) - 40.0).abs() < 1e-9);
        assert_eq!(factor(&[5.0, 5.0, 5.0]), 0.0);
        assert_eq!(factor(&[]), 1.0);
    }
}

//! Limits that people set: absolute values and burn rates of an objective.

use std::time::Duration;

use crate::domain::{Group, Timestamp};
use crate::judge::{Detector, Finding, Outcome, sentence};
use crate::signal::{Observation, Step};

/// Which side of the limit is bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ThresholdSide {
    /// Above the limit.
    Above,
    /// Below the limit.
    Below,
}

/// One limit on one signal of the release group.
#[derive(Clone, Debug, PartialEq)]
pub struct Threshold {
    /// For people.
    pub name: String,
    /// The signal's name, as the pages show it, or its metric.
    pub signal: String,
    /// The limit, in the signal's unit. For an objective of 99.9 % and a burn
    /// rate of 14 on an error ratio: 0.001 * 14.
    pub limit: f64,
    /// Which side is bad.
    pub side: ThresholdSide,
    /// How long the mean must have been on the bad side.
    pub lasting: Duration,
    /// Whether the reference group being as bad excuses it.
    pub unless_reference: bool,
}

/// Whether the release group breaks a limit.
pub fn threshold(
    observation: &Observation<'_>,
    limit: &Threshold,
    ready: &[Step],
    to: Step,
    now: Timestamp,
) -> Option<Finding> {
    let (id, def) =
        observation.window.catalogue().signals().find(|(_, def)| {
            def.name == limit.signal || (def.metric == limit.signal && def.segment.is_none())
        })?;
    let steps = (limit.lasting.as_millis() / observation.window.step().as_millis()).max(1) as Step;
    let (mut release, mut reference) = ((0.0, 0.0), (0.0, 0.0));
    let mut shows = Vec::new();
    let mut judged = 0;
    let is_bad = |value: f64| match limit.side {
        ThresholdSide::Above => value > limit.limit,
        ThresholdSide::Below => value < limit.limit,
    };
    for (index, member) in observation.groups.members.iter().enumerate() {
        let Some(cells) = observation.cells(id, def, member, None) else { continue };
        let own = cells.sum((to - steps).max(ready[index]), to);
        let sum = match member.group() {
            Group::Release => {
                // A limit is broken only when it was watched all the time.
                if ready[index] > to - steps {
                    continue;
                }
                judged += 1;
                if own.1 > 0.0 && is_bad(own.0 / own.1) {
                    shows.push(member.instance.clone());
                }
                &mut release
            }
            Group::Reference => &mut reference,
        };
        sum.0 += own.0;
        sum.1 += own.1;
    }
    let value = (release.1 > 0.0).then(|| release.0 / release.1)?;
    let compared = (reference.1 > 0.0).then(|| reference.0 / reference.1);
    if !is_bad(value) || (limit.unless_reference && compared.is_some_and(is_bad)) {
        return None;
    }
    let side = match limit.side {
        ThresholdSide::Above => "above",
        ThresholdSide::Below => "below",
    };
    Some(Finding {
        signal: def.name.clone(),
        class: def.class,
        detector: Detector::Rule,
        test: limit.name.clone(),
        outcome: Outcome::Failing,
        because: format!(
            "{} {} on {}, {side} the limit of {} for {} s, reference {}",
            def.name,
            sentence::value(value, def.unit),
            sentence::machines(shows.len(), judged),
            sentence::value(limit.limit, def.unit),
            limit.lasting.as_secs(),
            compared.map_or("unknown".to_owned(), |v| sentence::value(v, def.unit)),
        ),
        instances: shows,
        release_before: None,
        release_after: Some(value),
        reference_before: None,
        reference_after: compared,
        unit: def.unit,
        strength: value / limit.limit,
        since: Some(now - limit.lasting),
        on_trial: false,
    })
}

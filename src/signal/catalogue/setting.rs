//! What settings say of signals.

use std::collections::BTreeMap;

use super::super::{BadWhen, SignalClass, Unit};
use super::def::SignalDef;
use crate::domain::Selector;

/// Everything that settings say of signals.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct SignalSettings {
    /// Of signals that are found.
    pub overrides: Vec<SignalOverride>,
    /// Signals besides those.
    pub added: Vec<SignalAddition>,
}

/// A signal that settings add.
#[derive(Clone, Debug, PartialEq)]
pub struct SignalAddition {
    /// Its name, unique among them.
    pub name: String,
    /// Where its values come from.
    pub value: AddedValue,
    /// Its class, unless what its value suggests.
    pub class: Option<SignalClass>,
    /// Which way is bad, unless what its class suggests.
    pub bad_when: Option<BadWhen>,
    /// Its unit, unless what its value suggests.
    pub unit: Option<Unit>,
    /// How much it counts: 2 halves the deviation that is needed.
    pub weight: f64,
}

/// How the value of an added signal comes from series. Each selector names a
/// metric.
#[derive(Clone, Debug, PartialEq)]
pub enum AddedValue {
    /// Events of one set of counters over those of another.
    Ratio {
        /// What is counted above the line.
        bad: Selector,
        /// What is counted below it.
        all: Selector,
    },
    /// Events of counters over time, or over the main traffic.
    Rate {
        /// The counters.
        events: Selector,
    },
    /// Gauges of one instance, added up or averaged.
    Level {
        /// The gauges.
        of: Selector,
        /// Averaged rather than added up.
        mean: bool,
    },
    /// The share of a histogram's observations beyond the bound at which its
    /// quantile lay before the release.
    Histogram {
        /// The histogram, without `_bucket`.
        of: Selector,
        /// 0.5 to 0.999.
        quantile: f64,
    },
}

/// What settings say of a signal that is found. The first that matches counts.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct SignalOverride {
    /// The metric's name, exact or with a trailing `*`.
    pub metric: String,
    /// Label values that the signal's segment must have.
    pub labels: BTreeMap<String, String>,
    /// Another name for people, in the place of the metric's: `error ratio of
    /// NAME`.
    pub name: Option<String>,
    /// Another class.
    pub class: Option<SignalClass>,
    /// Another bad direction.
    pub bad_when: Option<BadWhen>,
    /// Another unit.
    pub unit: Option<Unit>,
    /// How much it counts: 2 halves the deviation that is needed.
    pub weight: Option<f64>,
    /// Not judged.
    pub mute: bool,
}

impl SignalOverride {
    pub(super) fn matches(&self, def: &SignalDef) -> bool {
        let metric = match self.metric.strip_suffix('*') {
            Some(stem) => def.metric.starts_with(stem),
            None => def.metric == self.metric,
        };
        metric
            && self
                .labels
                .iter()
                .all(|(k, v)| def.segment.as_ref().is_some_and(|(sk, sv)| sk == k && sv == v))
    }
}

pub(super) fn apply(setting: &SignalOverride, def: &mut SignalDef) {
    if let Some(name) = &setting.name {
        // One metric gives several signals: their names stay apart.
        let segment = def.segment.as_ref().filter(|(label, _)| setting.labels.contains_key(label));
        let told = match segment {
            Some((label, value)) => format!("{} {label}={value}", def.metric),
            None => def.metric.clone(),
        };
        def.name = def.name.replacen(&told, name, 1);
    }
    if let Some(class) = setting.class {
        def.class = class;
        def.informative = false;
    }
    if let Some(bad_when) = setting.bad_when {
        def.bad_when = bad_when;
        def.informative = false;
    }
    if let Some(unit) = setting.unit {
        def.unit = unit;
    }
    if let Some(weight) = setting.weight {
        def.weight = weight;
        def.informative = false;
    }
    def.muted = setting.mute;
}

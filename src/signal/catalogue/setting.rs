//! What settings say of signals.

use std::collections::BTreeMap;

use super::super::{BadWhen, SignalClass, Unit};
use super::def::SignalDef;

/// What settings say of signals. The first that matches counts.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct SignalOverride {
    /// The metric's name, exact or with a trailing `*`.
    pub metric: String,
    /// Label values that the signal's segment must have.
    pub labels: BTreeMap<String, String>,
    /// Another name for people.
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
        def.name.clone_from(name);
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

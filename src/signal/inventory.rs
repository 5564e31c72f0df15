//! What a catalogue holds, for people: which signals would be judged, and
//! what is not to be seen at all.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::catalogue::Catalogue;
use super::{BadWhen, SignalClass, Unit};

/// The signals of one application that would be judged.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Inventory {
    /// By class, then name.
    pub signals: Vec<InventorySignal>,
    /// How many are not judged: muted, or a configuration rather than a
    /// measurement.
    pub not_judged: usize,
    /// Label values and signals that are over the limits.
    pub over_limit: u32,
    /// Whether the start of its processes is to be seen.
    pub has_start_time: bool,
}

/// One signal with its segments.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InventorySignal {
    /// For people: `error ratio of http_requests_total`.
    pub name: String,
    /// What it is about.
    pub class: SignalClass,
    /// The unit of its values.
    pub unit: Unit,
    /// Which way is bad.
    pub bad_when: BadWhen,
    /// Labels by whose values it is judged as well, with their number.
    pub segments: BTreeMap<String, usize>,
}

impl Inventory {
    /// What `catalogue` holds now.
    pub fn of(catalogue: &Catalogue) -> Self {
        let mut found: BTreeMap<(SignalClass, String), InventorySignal> = BTreeMap::new();
        let mut not_judged = 0;
        for (_, def) in catalogue.signals() {
            if !catalogue.is_judged(def) {
                not_judged += usize::from(def.segment.is_none());
                continue;
            }
            let segment = def.segment.as_ref();
            let ending = segment.map(|(label, value)| format!(" {label}={value}")).unwrap_or_default();
            let name = def.name.strip_suffix(&ending).unwrap_or(&def.name).to_owned();
            let signal = found.entry((def.class, name.clone())).or_insert_with(|| InventorySignal {
                name,
                class: def.class,
                unit: def.unit,
                bad_when: def.bad_when,
                segments: BTreeMap::new(),
            });
            if let Some((label, _)) = segment {
                *signal.segments.entry(label.clone()).or_default() += 1;
            }
        }
        Self {
            signals: found.into_values().collect(),
            not_judged,
            over_limit: catalogue.dropped(),
            has_start_time: catalogue.has_start_time(),
        }
    }

    /// Whether a signal of that class would be judged.
    pub fn has(&self, class: SignalClass) -> bool {
        self.signals.iter().any(|signal| signal.class == class)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::domain::{MetricFamily, MetricKind};

    fn inventory(series: &[&str]) -> Inventory {
        let mut catalogue = Catalogue::new(Default::default());
        let family = |name: &str, kind| MetricFamily { name: name.to_owned(), kind, unit: None, help: None };
        catalogue.learn_families(&[family("http_requests_total", MetricKind::Counter)]);
        for text in series {
            catalogue.feeds(&Arc::new(text.parse().unwrap()));
        }
        Inventory::of(&catalogue)
    }

    #[test]
    fn segments_are_counted_with_their_signal_and_a_label_of_one_value_is_none() {
        let found = inventory(&[
            r#"http_requests_total{code="200",path="/a",region="x"}"#,
            r#"http_requests_total{code="500",path="/a",region="x"}"#,
            r#"http_requests_total{code="200",path="/b",region="x"}"#,
        ]);
        let errors: Vec<_> = found.signals.iter().filter(|s| s.class == SignalClass::Errors).collect();
        assert_eq!(errors.len(), 2, "failed and refused: {found:?}");
        assert_eq!(errors[0].name, "error ratio of http_requests_total");
        assert_eq!(errors[0].segments, BTreeMap::from([("path".to_owned(), 2)]));
        assert!(found.has(SignalClass::Traffic) && !found.has(SignalClass::Latency));
        assert!(!found.has_start_time);
    }

    #[test]
    fn configurations_are_not_judged_and_the_start_of_the_process_is_seen() {
        let found = inventory(&["pool_max_size", "process_start_time_seconds", "build_info"]);
        assert_eq!((found.signals.len(), found.not_judged), (0, 1), "{found:?}");
        assert!(found.has_start_time);
        assert_eq!(inventory(&[]), Inventory::default());
    }
}

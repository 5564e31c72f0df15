//! Whose samples a scrape holds, by labels: those that its source knows of
//! the target, or, where a target serves several versions or regions at
//! once, those of each series.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::domain::{InstanceId, Sample, Scrape, ScrapeOutcome, SeriesKey, TARGET_INFO, target_info};

/// Parts of one scrape; a label with more values tells no groups apart.
const PARTS_MAX: usize = 50;

/// Series that are remembered; past this all are forgotten once.
const SERIES_MAX: usize = 200_000;

/// What is known of an instance, of the labels that are followed.
pub type Labels = BTreeMap<String, String>;

/// One instance's part of a scrape.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// The part as a scrape of its own.
    pub scrape: Scrape,
    /// Its labels; none for what is left when all parts are taken out, which
    /// belongs to no group.
    pub labels: Option<Labels>,
}

/// Where a series belongs, and its key without the followed labels: a series
/// of one version is that of another.
type Place = Option<(Arc<Labels>, Arc<SeriesKey>)>;

/// By which labels instances are told apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DivideBy {
    /// The labels that groups look at; nothing is divided without one.
    pub labels: Vec<String>,
    /// A label that only tells the parts of one group apart.
    pub naming: Option<String>,
}

/// Divides scrapes by the values of some labels.
#[derive(Clone, Debug, Default)]
pub struct Divider {
    by: DivideBy,
    places: HashMap<Arc<SeriesKey>, Place>,
    /// The parts of each target, with what tells their labels.
    parts: HashMap<InstanceId, BTreeMap<Labels, (InstanceId, Sample)>>,
}

impl Divider {
    /// Divides by these labels.
    pub fn new(by: DivideBy) -> Self {
        Self { by, ..Self::default() }
    }

    /// By which labels.
    pub fn by(&self) -> &DivideBy {
        &self.by
    }

    /// The parts of a scrape; one if its target is one instance.
    pub fn divide(&mut self, scrape: &Scrape) -> Vec<Part> {
        let known = self.labels_of_target(scrape);
        let open = self.by.labels.iter().any(|label| !known.contains_key(label));
        let divided = match (&scrape.outcome, open) {
            (_, false) => None,
            (ScrapeOutcome::Failed(_), true) => self.failed_parts(scrape),
            (ScrapeOutcome::Complete | ScrapeOutcome::Incomplete { .. }, true) => {
                self.served_parts(scrape, &known)
            }
        };
        divided.unwrap_or_else(|| vec![Part { scrape: scrape.clone(), labels: Some(known) }])
    }

    fn labels_of_target(&self, scrape: &Scrape) -> Labels {
        let mut known = Labels::new();
        for info in scrape.samples.iter().filter(|sample| sample.series.name() == TARGET_INFO) {
            for label in &self.by.labels {
                if let (false, Some(value)) = (known.contains_key(label), info.series.label(label)) {
                    known.insert(label.clone(), value.to_owned());
                }
            }
        }
        known
    }

    /// What answers for several is silent for all of them.
    fn failed_parts(&self, scrape: &Scrape) -> Option<Vec<Part>> {
        let parts = self.parts.get(&scrape.instance)?;
        let parts = parts.iter().map(|(labels, (instance, info))| Part {
            scrape: Scrape {
                instance: instance.clone(),
                at: scrape.at,
                outcome: scrape.outcome.clone(),
                samples: vec![info.clone()],
                families: scrape.families.clone(),
            },
            labels: Some(labels.clone()),
        });
        Some(parts.collect())
    }

    fn served_parts(&mut self, scrape: &Scrape, known: &Labels) -> Option<Vec<Part>> {
        let mut parts: BTreeMap<Arc<Labels>, Vec<Sample>> = BTreeMap::new();
        let mut rest = Vec::new();
        let mut lost = 0u32;
        for sample in &scrape.samples {
            match self.place(&sample.series) {
                None => rest.push(sample.clone()),
                Some((labels, _)) if parts.len() >= PARTS_MAX && !parts.contains_key(&labels) => lost += 1,
                Some((labels, series)) => {
                    parts.entry(labels).or_default().push(Sample { series, value: sample.value });
                }
            }
        }
        if parts.is_empty() {
            return None;
        }
        let part_of = |instance, samples| Scrape {
            instance,
            at: scrape.at,
            outcome: scrape.outcome.clone(),
            samples,
            families: scrape.families.clone(),
        };
        let mut divided = Vec::new();
        for (own, mut samples) in parts {
            let mut labels = own.as_ref().clone();
            labels.extend(known.iter().map(|(label, value)| (label.clone(), value.clone())));
            let Some((instance, info)) = self.part(&scrape.instance, &own, &labels) else { continue };
            samples.insert(0, info);
            divided.push(Part { scrape: part_of(instance, samples), labels: Some(labels) });
        }
        let mut rest = part_of(scrape.instance.clone(), rest);
        if lost > 0 {
            let first = format!("the labels {} have more than {PARTS_MAX} values", self.by.labels.join(", "));
            rest.outcome = ScrapeOutcome::Incomplete { lost, first };
        }
        divided.push(Part { scrape: rest, labels: None });
        Some(divided)
    }

    fn place(&mut self, series: &Arc<SeriesKey>) -> Place {
        if let Some(place) = self.places.get(series) {
            return place.clone();
        }
        // What a process says of its own build is not a series of that version.
        let is_info = series.name().ends_with("_info");
        let value = |label: &String| Some((label.clone(), series.label(label)?.to_owned()));
        let mut own: Labels = self.by.labels.iter().filter_map(value).collect();
        let place = (!is_info && !own.is_empty()).then(|| {
            own.extend(self.by.naming.iter().filter_map(value));
            let key = own.keys().fold(series.as_ref().clone(), |key, label| key.without(label));
            (Arc::new(own), Arc::new(key))
        });
        if self.places.len() >= SERIES_MAX {
            self.places.clear();
        }
        self.places.insert(series.clone(), place.clone());
        place
    }

    /// The name of a part, `gateway:80{version="2.4.1"}`, and what tells its
    /// labels.
    fn part(&mut self, target: &InstanceId, own: &Labels, labels: &Labels) -> Option<(InstanceId, Sample)> {
        let parts = self.parts.entry(target.clone()).or_default();
        if let Some(part) = parts.get(labels) {
            return Some(part.clone());
        }
        if parts.len() >= PARTS_MAX {
            parts.clear();
        }
        let pairs = own.iter().map(|(label, value)| (label.as_str(), value.as_str()));
        let braced = SeriesKey::new("_", pairs).to_string();
        let name = format!("{target}{}", braced.trim_start_matches('_'));
        // A name that is too long, or cannot be shown, is no instance's.
        let instance = InstanceId::new(name).ok()?;
        let info = target_info(labels.iter().map(|(label, value)| (label.as_str(), value.as_str())));
        parts.insert(labels.clone(), (instance.clone(), info.clone()));
        Some((instance, info))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{ScrapeFailure, Timestamp};
    use proptest::prelude::*;

    fn scrape(outcome: ScrapeOutcome, series: &[(&str, f64)]) -> Scrape {
        let sample =
            |(text, value): &(&str, f64)| Sample { series: Arc::new(text.parse().unwrap()), value: *value };
        Scrape {
            instance: InstanceId::new("gw:80").unwrap(),
            at: Timestamp::from_millis(1_000),
            outcome,
            samples: series.iter().map(sample).collect(),
            families: Arc::new([]),
        }
    }

    fn divider(naming: Option<&str>) -> Divider {
        Divider::new(DivideBy { labels: vec!["version".to_owned()], naming: naming.map(str::to_owned) })
    }

    fn shown(parts: &[Part]) -> Vec<(String, String)> {
        let line = |part: &Part| {
            let samples: Vec<String> =
                part.scrape.samples.iter().map(|s| format!("{} {}", s.series, s.value)).collect();
            (part.scrape.instance.to_string(), samples.join("; "))
        };
        parts.iter().map(line).collect()
    }

    #[test]
    fn a_target_that_serves_two_versions_is_two_instances_with_the_same_series() {
        let mut divider = divider(None);
        let page = scrape(
            ScrapeOutcome::Complete,
            &[
                ("target_info{job=\"gw\"}", 1.0),
                ("go_info{version=\"go1.24\"}", 1.0),
                ("requests_total{code=\"200\",version=\"1\"}", 90.0),
                ("requests_total{code=\"200\",version=\"2\"}", 10.0),
                ("memory_bytes", 5.0),
            ],
        );
        let parts = divider.divide(&page);
        assert_eq!(
            shown(&parts),
            [
                (
                    "gw:80{version=\"1\"}".to_owned(),
                    "target_info{version=\"1\"} 1; requests_total{code=\"200\"} 90".to_owned()
                ),
                (
                    "gw:80{version=\"2\"}".to_owned(),
                    "target_info{version=\"2\"} 1; requests_total{code=\"200\"} 10".to_owned()
                ),
                (
                    "gw:80".to_owned(),
                    "target_info{job=\"gw\"} 1; go_info{version=\"go1.24\"} 1; memory_bytes 5".to_owned()
                ),
            ]
        );
        assert_eq!(parts[2].labels, None, "what is left belongs to no group");
        // What was divided is not divided again.
        let again = divider.divide(&parts[0].scrape);
        assert_eq!(shown(&again), shown(&parts[..1]));
        // Silent is the target, and so is each of its parts.
        let silence = scrape(ScrapeOutcome::Failed(ScrapeFailure::Refused), &[]);
        let names: Vec<_> =
            divider.divide(&silence).iter().map(|part| part.scrape.instance.to_string()).collect();
        assert_eq!(names, ["gw:80{version=\"1\"}", "gw:80{version=\"2\"}"]);
    }

    #[test]
    fn a_target_whose_labels_are_known_is_one_instance_even_while_it_fails() {
        let mut divider = divider(None);
        let page = [("target_info{version=\"2\"}", 1.0), ("requests_total{version=\"1\"}", 7.0)];
        let failed = ScrapeOutcome::Failed(ScrapeFailure::Timeout);
        for outcome in [ScrapeOutcome::Complete, failed] {
            let scrape = scrape(outcome, &page);
            let parts = divider.divide(&scrape);
            let labels = Labels::from([("version".to_owned(), "2".to_owned())]);
            assert_eq!(parts, [Part { scrape, labels: Some(labels) }]);
        }
    }

    #[test]
    fn a_label_that_only_names_divides_no_target_that_has_no_other() {
        let mut divider = divider(Some("region"));
        let page = [("a_total{region=\"eu\"}", 1.0), ("b_total{region=\"eu\",version=\"2\"}", 2.0)];
        let names: Vec<_> = shown(&divider.divide(&scrape(ScrapeOutcome::Complete, &page)));
        assert_eq!(names[0].0, "gw:80{region=\"eu\",version=\"2\"}");
        assert_eq!(names[1], ("gw:80".to_owned(), "a_total{region=\"eu\"} 1".to_owned()));
        let whole = divider.divide(&scrape(ScrapeOutcome::Complete, &page[..1]));
        assert_eq!((whole.len(), &whole[0].labels), (1, &Some(Labels::new())));
    }

    #[test]
    fn a_label_with_very_many_values_is_cut_and_the_loss_is_told() {
        let series: Vec<String> = (0..80).map(|i| format!("a_total{{version=\"{i:03}\"}}")).collect();
        let series: Vec<(&str, f64)> = series.iter().map(|text| (text.as_str(), 1.0)).collect();
        let mut divider = divider(None);
        let parts = divider.divide(&scrape(ScrapeOutcome::Complete, &series));
        assert_eq!(parts.len(), PARTS_MAX + 1);
        assert!(matches!(parts[PARTS_MAX].scrape.outcome, ScrapeOutcome::Incomplete { lost: 30, .. }));
    }

    proptest! {
        #[test]
        fn no_sample_is_lost_or_counted_twice(
            versions in prop::collection::vec(prop::option::of("[a-c]"), 0..30),
        ) {
            let series: Vec<String> = versions.iter().enumerate().map(|(i, version)| match version {
                Some(version) => format!("m{i}_total{{version=\"{version}\"}}"),
                None => format!("m{i}_total"),
            }).collect();
            let samples: Vec<(&str, f64)> = series.iter().map(|text| (text.as_str(), 1.0)).collect();
            let parts = divider(None).divide(&scrape(ScrapeOutcome::Complete, &samples));
            let count = parts.iter().flat_map(|part| &part.scrape.samples)
                .filter(|sample| sample.series.name() != TARGET_INFO).count();
            prop_assert_eq!(count, versions.len());
        }
    }
}

//! Answers of the server into scrapes.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde::Deserialize;

use crate::domain::{
    InstanceId, MetricFamily, Sample, Scrape, ScrapeFailure, ScrapeOutcome, SeriesKey, TARGET_INFO,
    Timestamp, target_info,
};
use crate::signal::ADDED_TO_SCRAPES;

use super::InstanceRule;

/// Series with their samples.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    /// Each series once for each part of a split question.
    pub series: Vec<Series>,
    /// What the server warns of, such as answers that lack a part.
    pub warnings: Vec<String>,
    /// Series and points that were left out.
    pub lost: u32,
}

/// One series of an answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// All labels, `__name__` among them.
    pub labels: BTreeMap<String, String>,
    /// Times and values.
    pub points: Vec<(Timestamp, f64)>,
}

/// `data` of a query: a list of series, or a scalar, which has no series.
#[derive(Deserialize)]
pub(super) struct Data {
    #[serde(default)]
    result: Vec<RawSeries>,
}

#[derive(Deserialize)]
struct RawSeries {
    #[serde(default)]
    metric: BTreeMap<String, String>,
    #[serde(default)]
    value: Option<Point>,
    #[serde(default)]
    values: Vec<Point>,
    #[serde(default)]
    histograms: Vec<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
struct Point(f64, NumberText);

/// A value, which is written as a text: `NaN` and `+Inf` are values too.
#[derive(Deserialize)]
#[serde(from = "Cow<'_, str>")]
struct NumberText(Option<f64>);

impl From<Cow<'_, str>> for NumberText {
    fn from(text: Cow<'_, str>) -> Self {
        Self(text.parse().ok())
    }
}

pub(super) fn read(data: Data, mut warnings: Vec<String>, series_limit: usize) -> Answer {
    let over = data.result.len().saturating_sub(series_limit);
    let mut lost = over as u32;
    if over > 0 {
        warnings.push(format!("{over} series are over the limit of {series_limit} and were left out"));
    }
    let mut native = 0;
    let series = data.result.into_iter().take(series_limit).map(|raw| {
        native += usize::from(!raw.histograms.is_empty());
        let points = raw.values.into_iter().chain(raw.value).filter_map(|Point(at, value)| {
            let millis = (at * 1e3).round();
            let usable = millis.is_finite() && value.0.is_some();
            lost += u32::from(!usable);
            usable.then(|| (Timestamp::from_millis(millis as i64), value.0.unwrap_or(f64::NAN)))
        });
        Series { labels: raw.metric, points: points.collect() }
    });
    let series = series.collect();
    if native > 0 {
        warnings.push(format!("{native} native histograms were left out"));
    }
    Answer { series, warnings, lost }
}

type Labels = BTreeMap<String, String>;

impl Answer {
    /// Adds a later part.
    pub(super) fn append(&mut self, other: Self) {
        self.series.extend(other.series);
        for warning in other.warnings {
            if !self.warnings.contains(&warning) {
                self.warnings.push(warning);
            }
        }
        self.lost = self.lost.saturating_add(other.lost);
    }

    /// Keeps the points after a moment.
    pub(super) fn retain_after(&mut self, moment: Timestamp) {
        for series in &mut self.series {
            series.points.retain(|(at, _)| *at > moment);
        }
        self.series.retain(|series| !series.points.is_empty());
    }

    /// The scrapes that the samples come from, in the order of time and
    /// instance: samples of an instance with the same time are of the same
    /// scrape. Labels that the server attached to the target, which are those
    /// of its `up`, are taken off, so that a series of one instance is that of
    /// another, and told once. `keys` holds the series that were met before.
    pub fn into_scrapes(
        self,
        rule: &InstanceRule,
        families: &Arc<[MetricFamily]>,
        keys: &mut HashMap<SeriesKey, Arc<SeriesKey>>,
    ) -> Vec<Scrape> {
        let mut attached: HashMap<InstanceId, Vec<Labels>> = HashMap::new();
        for series in self.series.iter().filter(|series| series.name() == "up") {
            if let Some(instance) = rule.instance(&series.labels) {
                let mut labels = series.labels.clone();
                labels.remove("__name__");
                attached.entry(instance).or_default().push(labels);
            }
        }
        let mut scrapes: BTreeMap<(Timestamp, InstanceId), (Option<bool>, Vec<Sample>)> = BTreeMap::new();
        for series in self.series {
            let Some(instance) = rule.instance(&series.labels) else { continue };
            let name = series.name().to_owned();
            if ADDED_TO_SCRAPES.contains(&name.as_str()) || name.is_empty() {
                continue;
            }
            let is_up = name == "up";
            let key = match is_up {
                true => info_key(&series.labels),
                false => own_key(&name, &series.labels, rule, attached.get(&instance)),
            };
            let key = keys.entry(key).or_insert_with_key(|key| Arc::new(key.clone())).clone();
            for (at, value) in series.points {
                let (up, samples) = scrapes.entry((at, instance.clone())).or_default();
                if is_up {
                    *up = Some(up.unwrap_or(false) || value > 0.0);
                }
                let value = if is_up { 1.0 } else { value };
                samples.push(Sample { series: key.clone(), value });
            }
        }
        let scrapes = scrapes.into_iter().map(|((at, instance), (up, mut samples))| {
            let down = up == Some(false);
            if down {
                samples.retain(|sample| sample.series.name() == TARGET_INFO);
            }
            Scrape {
                instance,
                at,
                outcome: match down {
                    true => ScrapeOutcome::Failed(ScrapeFailure::Down),
                    false => ScrapeOutcome::Complete,
                },
                samples,
                families: families.clone(),
            }
        });
        scrapes.collect()
    }
}

impl Series {
    fn name(&self) -> &str {
        self.labels.get("__name__").map_or("", String::as_str)
    }
}

impl InstanceRule {
    fn instance(&self, labels: &Labels) -> Option<InstanceId> {
        match self {
            Self::Label(label) => labels.get(label).and_then(|value| InstanceId::new(value).ok()),
            Self::LabelOr(label, other) => match labels.get(label) {
                Some(value) => InstanceId::new(value).ok(),
                None => Some(other.clone()),
            },
            Self::Fixed(instance) => Some(instance.clone()),
        }
    }
}

/// What the server knows of a target: the labels of its `up`.
fn info_key(labels: &Labels) -> SeriesKey {
    let own = labels.iter().filter(|(label, _)| *label != "__name__");
    target_info(own.map(|(label, value)| (label.as_str(), value.as_str()))).series.as_ref().clone()
}

/// The series as the target exposed it.
fn own_key(name: &str, labels: &Labels, rule: &InstanceRule, attached: Option<&Vec<Labels>>) -> SeriesKey {
    let of_target = attached
        .into_iter()
        .flatten()
        .find(|set| set.iter().all(|(label, value)| labels.get(label) == Some(value)));
    let own = labels.iter().filter(|(label, _)| {
        let is_instance = match rule {
            InstanceRule::Label(of_rule) | InstanceRule::LabelOr(of_rule, _) => label == &of_rule,
            InstanceRule::Fixed(_) => false,
        };
        !is_instance && *label != "__name__" && !of_target.is_some_and(|set| set.contains_key(*label))
    });
    SeriesKey::new(name, own.map(|(label, value)| (label.as_str(), value.as_str())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(text: &str) -> Answer {
        read(serde_json::from_str(text).unwrap(), Vec::new(), 10)
    }

    const MATRIX: &str = r#"{"resultType": "matrix", "result": [
        {"metric": {"__name__": "up", "instance": "a:1", "job": "web", "pod": "p1"}, "values": [[1.5, "1"], [2.5, "0"]]},
        {"metric": {"__name__": "x", "instance": "a:1", "job": "web", "pod": "p1", "code": "200"}, "values": [[1.5, "7"], [2.5, "8"]]},
        {"metric": {"__name__": "y", "instance": "a:1", "job": "web", "pod": "p1"}, "values": [[1.5, "NaN"]]},
        {"metric": {"__name__": "x", "instance": "b:1", "job": "web", "code": "200"}, "values": [[1.5, "+Inf"]]},
        {"metric": {"__name__": "scrape_series_added", "instance": "a:1"}, "values": [[1.5, "1"]]}
    ]}"#;

    #[test]
    fn samples_of_one_time_and_instance_are_one_scrape_without_the_servers_labels() {
        let rule = InstanceRule::Label("instance".to_owned());
        let families: Arc<[MetricFamily]> = Arc::new([]);
        let scrapes = answer(MATRIX).into_scrapes(&rule, &families, &mut HashMap::new());
        let told: Vec<_> = scrapes
            .iter()
            .map(|s| {
                let samples: Vec<String> =
                    s.samples.iter().map(|sample| format!("{} {}", sample.series, sample.value)).collect();
                (s.at.as_millis(), s.instance.as_str(), s.outcome.clone(), samples.join("; "))
            })
            .collect();
        let down = ScrapeOutcome::Failed(ScrapeFailure::Down);
        let told_of_a = "target_info{instance=\"a:1\",job=\"web\",pod=\"p1\"} 1";
        assert_eq!(
            told,
            [
                (1500, "a:1", ScrapeOutcome::Complete, format!("{told_of_a}; x{{code=\"200\"}} 7; y NaN")),
                (1500, "b:1", ScrapeOutcome::Complete, "x{code=\"200\",job=\"web\"} inf".to_owned()),
                (2500, "a:1", down, told_of_a.to_owned()),
            ]
        );
    }

    #[test]
    fn what_is_over_the_limit_or_unreadable_is_told() {
        let data: Data = serde_json::from_str(MATRIX).unwrap();
        let limited = read(data, Vec::new(), 2);
        assert_eq!((limited.series.len(), limited.lost, limited.warnings.len()), (2, 3, 1));
        let odd = answer(r#"{"result": [{"metric": {"__name__": "x"}, "value": [1, "soon"]}]}"#);
        assert_eq!(odd.lost, 1);
    }
}

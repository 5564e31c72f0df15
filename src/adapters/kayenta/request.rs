//! What Kayenta sends. Its JSON library writes what is not set as `null`, and
//! values that are no numbers as texts.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{self, Deserializer, Visitor};

use crate::judge::pair::{BadDirection, Gaps, Measure, PairSettings};

/// Pairs in one request; more is a mistake.
const PAIRS_MAX: usize = 5_000;

/// Why a request cannot be judged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JudgeError {
    /// It is not the JSON that Kayenta sends.
    #[error("the request is not what Kayenta sends to a remote judge: {0}")]
    Shape(String),
    /// A series belongs to a metric that the configuration does not have.
    #[error("metricSetPairList names metric {name:?}, which canaryConfig.metrics does not have")]
    UnknownMetric {
        /// Its name.
        name: String,
    },
    /// A setting of a metric is not known.
    #[error("metric {metric:?}: {setting} is {found:?}; write {known}")]
    Setting {
        /// Of which metric.
        metric: String,
        /// Which setting.
        setting: &'static str,
        /// What is written.
        found: String,
        /// What is known.
        known: &'static str,
    },
    /// More than is judged at once.
    #[error("the request has {found} pairs of series; at most {PAIRS_MAX} are judged at once")]
    TooMany {
        /// How many.
        found: usize,
    },
}

/// A checked request.
#[derive(Clone, Debug, PartialEq)]
pub struct JudgeRequest {
    pub(super) metrics: Vec<Metric>,
    pub(super) group_weights: BTreeMap<String, f64>,
    pub(super) thresholds: Thresholds,
    pub(super) pairs: Vec<Pair>,
}

/// One metric of the configuration.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Metric {
    pub(super) name: String,
    pub(super) groups: Vec<String>,
    pub(super) critical: bool,
    pub(super) muted: bool,
    pub(super) must_have_data: bool,
    /// Without the share of the budget, which depends on all metrics.
    pub(super) settings: PairSettings,
}

/// From which score on a canary passes, and is marginal.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
pub(super) struct Thresholds {
    pub(super) pass: Number,
    pub(super) marginal: Number,
}

/// Two series of one metric.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(super) struct Pair {
    pub(super) name: String,
    pub(super) id: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) tags: BTreeMap<String, String>,
    pub(super) values: Values,
}

/// The values of both series, in the order of time.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(super) struct Values {
    #[serde(default, deserialize_with = "numbers")]
    pub(super) experiment: Vec<f64>,
    #[serde(default, deserialize_with = "numbers")]
    pub(super) control: Vec<f64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawRequest {
    canary_config: RawConfig,
    score_thresholds: Thresholds,
    metric_set_pair_list: Vec<Pair>,
}

#[derive(Deserialize)]
struct RawConfig {
    metrics: Vec<RawMetric>,
    #[serde(default, deserialize_with = "or_default")]
    classifier: RawClassifier,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawClassifier {
    #[serde(default, deserialize_with = "or_default")]
    group_weights: BTreeMap<String, Number>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawMetric {
    name: String,
    #[serde(default, deserialize_with = "or_default")]
    groups: Vec<String>,
    #[serde(default, deserialize_with = "or_default")]
    analysis_configurations: RawConfigurations,
}

#[derive(Default, Deserialize)]
struct RawConfigurations {
    #[serde(default, deserialize_with = "or_default")]
    canary: RawOptions,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawOptions {
    direction: Option<String>,
    nan_strategy: Option<String>,
    critical: Option<bool>,
    muted: Option<bool>,
    must_have_data: Option<bool>,
    effect_size: Option<RawEffect>,
    outliers: Option<RawOutliers>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawEffect {
    measure: Option<String>,
    allowed_increase: Option<Number>,
    allowed_decrease: Option<Number>,
    critical_increase: Option<Number>,
    critical_decrease: Option<Number>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawOutliers {
    strategy: Option<String>,
    outlier_factor: Option<Number>,
}

/// `null` is as good as not written.
fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(from: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

/// A number, or one in quotes: `"NaN"`, `"Infinity"`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Number(pub(super) f64);

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(NumberVisitor)
    }
}

struct NumberVisitor;

impl Visitor<'_> for NumberVisitor {
    type Value = Number;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number, or \"NaN\"")
    }
    fn visit_f64<E>(self, value: f64) -> Result<Number, E> {
        Ok(Number(value))
    }
    fn visit_i64<E>(self, value: i64) -> Result<Number, E> {
        Ok(Number(value as f64))
    }
    fn visit_u64<E>(self, value: u64) -> Result<Number, E> {
        Ok(Number(value as f64))
    }
    fn visit_unit<E>(self) -> Result<Number, E> {
        Ok(Number(f64::NAN))
    }
    fn visit_str<E: de::Error>(self, text: &str) -> Result<Number, E> {
        let number = text.trim().parse().map_err(|_| E::invalid_value(de::Unexpected::Str(text), &self))?;
        Ok(Number(number))
    }
}

fn numbers<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<f64>, D::Error> {
    let numbers: Vec<Number> = or_default(from)?;
    Ok(numbers.into_iter().map(|number| number.0).collect())
}

impl JudgeRequest {
    /// Reads the body of a request.
    ///
    /// # Errors
    /// If it is not what Kayenta sends, or holds settings that are not known.
    pub fn read(body: &[u8]) -> Result<Self, JudgeError> {
        let raw: RawRequest =
            serde_json::from_slice(body).map_err(|error| JudgeError::Shape(error.to_string()))?;
        let found = raw.metric_set_pair_list.len().max(raw.canary_config.metrics.len());
        if found > PAIRS_MAX {
            return Err(JudgeError::TooMany { found });
        }
        let Thresholds { pass, marginal } = raw.score_thresholds;
        if !(pass.0.is_finite() && marginal.0.is_finite()) {
            return Err(JudgeError::Shape("scoreThresholds are no numbers".to_owned()));
        }
        let weights = raw.canary_config.classifier.group_weights;
        if let Some((group, weight)) = weights.iter().find(|(_, w)| !(0.0..=100.0).contains(&w.0)) {
            let problem = format!("the weight of group {group:?} is {}; it must be 0 to 100", weight.0);
            return Err(JudgeError::Shape(problem));
        }
        Ok(Self {
            metrics: raw.canary_config.metrics.into_iter().map(metric).collect::<Result<_, _>>()?,
            group_weights: weights.into_iter().map(|(group, weight)| (group, weight.0)).collect(),
            thresholds: raw.score_thresholds,
            pairs: raw.metric_set_pair_list,
        })
    }

    pub(super) fn metric(&self, name: &str) -> Result<&Metric, JudgeError> {
        let found = self.metrics.iter().find(|metric| metric.name == name);
        found.ok_or_else(|| JudgeError::UnknownMetric { name: name.to_owned() })
    }

    /// Metrics for which no pair came.
    pub(super) fn undelivered(&self) -> impl Iterator<Item = &Metric> {
        self.metrics.iter().filter(|metric| !self.pairs.iter().any(|pair| pair.name == metric.name))
    }
}

fn metric(raw: RawMetric) -> Result<Metric, JudgeError> {
    let options = raw.analysis_configurations.canary;
    let name = raw.name;
    let effect = options.effect_size.unwrap_or_default();
    let measures = [("meanratio", Measure::MeanRatio), ("cles", Measure::Cles)];
    let measure = word(&name, "effectSize.measure", effect.measure, "meanRatio or cles", &measures)?;
    let mut settings = PairSettings::of(measure.unwrap_or_default(), 0.0);
    let directions = [
        ("increase", BadDirection::Increase),
        ("decrease", BadDirection::Decrease),
        ("either", BadDirection::Either),
    ];
    let bad = word(&name, "direction", options.direction, "increase, decrease or either", &directions)?;
    settings.bad = bad.unwrap_or_default();
    let strategies = [("remove", Gaps::Remove), ("replace", Gaps::Zero)];
    let gaps = word(&name, "nanStrategy", options.nan_strategy, "remove or replace", &strategies)?;
    settings.gaps = gaps.unwrap_or_default();
    for (place, said) in [
        (&mut settings.allowed_increase, effect.allowed_increase),
        (&mut settings.allowed_decrease, effect.allowed_decrease),
        (&mut settings.critical_increase, effect.critical_increase),
        (&mut settings.critical_decrease, effect.critical_decrease),
    ] {
        // A `null` says nothing.
        if let Some(Number(said)) = said.filter(|said| said.0.is_finite()) {
            *place = said;
        }
    }
    if let Some(outliers) = options.outliers {
        let strategies = [("remove", true), ("keep", false)];
        let remove = word(&name, "outliers.strategy", outliers.strategy, "remove or keep", &strategies)?;
        let factor = outliers.outlier_factor.map_or(3.0, |factor| factor.0);
        let usable = factor.is_finite() && factor >= 0.0;
        settings.outlier_factor = remove.unwrap_or(false).then_some(if usable { factor } else { 3.0 });
    }
    Ok(Metric {
        name,
        groups: raw.groups,
        critical: options.critical.unwrap_or(false),
        muted: options.muted.unwrap_or(false),
        must_have_data: options.must_have_data.unwrap_or(false),
        settings,
    })
}

fn word<T: Copy>(
    metric: &str,
    setting: &'static str,
    found: Option<String>,
    known: &'static str,
    words: &[(&str, T)],
) -> Result<Option<T>, JudgeError> {
    let Some(found) = found else { return Ok(None) };
    match words.iter().find(|(word, _)| found.eq_ignore_ascii_case(word)) {
        Some((_, meaning)) => Ok(Some(*meaning)),
        None => Err(JudgeError::Setting { metric: metric.to_owned(), setting, found, known }),
    }
}

//! The score of a canary, counted as Kayenta's own judge counts it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::request::{Metric, Thresholds};

/// Metrics without a group are one group.
const UNGROUPED: &str = "ungrouped";

/// A share of metrics without data from which on nothing is known.
const NODATA_SHARE: f64 = 0.5;

/// Kayenta's words for what a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    Pass,
    High,
    Low,
    Nodata,
    NodataFailMetric,
}

impl Word {
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Pass => "Pass",
            Self::High => "High",
            Self::Low => "Low",
            Self::Nodata => "Nodata",
            Self::NodataFailMetric => "NodataFailMetric",
        }
    }
}

/// One metric's result as far as the score is concerned.
pub(super) struct Judged<'a> {
    name: &'a str,
    groups: &'a [String],
    word: Word,
    muted: bool,
    /// It alone fails the canary.
    fails_all: bool,
}

impl<'a> Judged<'a> {
    pub(super) fn new(metric: &'a Metric, word: Word, reaches_critical: bool) -> Self {
        Self {
            name: &metric.name,
            groups: &metric.groups,
            word,
            muted: metric.muted,
            fails_all: metric.critical && word != Word::Pass && reaches_critical,
        }
    }
}

/// The score with its reasons.
pub(super) struct Score {
    /// Whole, since a client of Kayenta's reads it as such; rounded down, so
    /// that nothing passes by rounding.
    pub(super) score: u8,
    pub(super) word: &'static str,
    pub(super) because: String,
    pub(super) groups: Vec<Value>,
}

pub(super) fn score(judged: &[Judged<'_>], weights: &BTreeMap<String, f64>, thresholds: Thresholds) -> Score {
    let counted: Vec<&Judged<'_>> = judged.iter().filter(|j| !j.muted).collect();
    let groups = group_scores(&counted);
    let unlisted: BTreeSet<&str> =
        groups.keys().copied().filter(|group| !weights.contains_key(*group)).collect();
    let rest = (100.0 - weights.values().sum::<f64>()).max(0.0) / unlisted.len().max(1) as f64;
    let sum: f64 = groups
        .iter()
        .map(|(group, score)| score * weights.get(*group).copied().unwrap_or(rest) / 100.0)
        .sum();
    let without_data = counted.iter().filter(|j| j.word == Word::Nodata).count();
    let critical = counted.iter().find(|j| j.fails_all);
    let failed: Vec<&str> =
        counted.iter().filter(|j| !matches!(j.word, Word::Pass | Word::Nodata)).map(|j| j.name).collect();
    let (score, because) = if counted.is_empty() {
        (0.0, "no metric was judged".to_owned())
    } else if let Some(critical) = critical {
        (0.0, format!("critical metric {} is {}", critical.name, critical.word.text()))
    } else if without_data as f64 >= NODATA_SHARE * counted.len() as f64 {
        (0.0, format!("{without_data} of {} metrics have no data", counted.len()))
    } else if failed.is_empty() {
        (sum, format!("{} metrics were judged and none deviates", counted.len() - without_data))
    } else {
        let shown = failed.iter().take(5).copied().collect::<Vec<_>>().join(", ");
        (sum, format!("{} of {} metrics deviate: {shown}", failed.len(), counted.len()))
    };
    let score = (score.clamp(0.0, 100.0) + 1e-6).floor() as u8;
    let groups = groups
        .iter()
        .map(|(name, score)| {
            let score = (score * 100.0).round() / 100.0;
            let word = classified(score, thresholds);
            json!({"name": name, "score": score, "classification": word, "classificationReason": ""})
        })
        .collect();
    Score { score, word: classified(f64::from(score), thresholds), because, groups }
}

fn classified(score: f64, thresholds: Thresholds) -> &'static str {
    if score >= thresholds.pass.0 {
        "Pass"
    } else if score >= thresholds.marginal.0 {
        "Marginal"
    } else {
        "Fail"
    }
}

/// The share of passes in each group; a group without data counts in full, as
/// the rule on missing data stands above it.
fn group_scores<'a>(counted: &[&Judged<'a>]) -> BTreeMap<&'a str, f64> {
    let mut tally: BTreeMap<&str, (f64, f64)> = BTreeMap::new();
    for judged in counted {
        let own = judged.groups.iter().map(String::as_str);
        let none = judged.groups.is_empty().then_some(UNGROUPED);
        for group in own.chain(none) {
            let (passes, all) = tally.entry(group).or_default();
            match judged.word {
                Word::Pass => (*passes, *all) = (*passes + 1.0, *all + 1.0),
                Word::High | Word::Low | Word::NodataFailMetric => *all += 1.0,
                Word::Nodata => {}
            }
        }
    }
    tally
        .into_iter()
        .map(|(group, (passes, all))| (group, if all > 0.0 { passes / all * 100.0 } else { 100.0 }))
        .collect()
}

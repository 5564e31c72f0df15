//! Past releases as the model sees them.

use std::fmt::Write as _;

use crate::judge::model::{Asked, Case, Considered, Data, Library, schema_names, sha256_hex};

/// Looks of one release that are learned from: more of them repeat each other.
const LOOKS_MAX: usize = 8;

/// A spread is never believed to be smaller.
const SPREAD_MIN: f64 = 0.05;

/// One look at a past release.
#[derive(Clone, Debug, PartialEq)]
pub struct Look {
    /// Seconds from the release's start.
    pub at_seconds: f64,
    /// The suspects; absent where there were none.
    pub considered: Option<Considered>,
}

/// One labelled past release with all looks at it.
#[derive(Clone, Debug, PartialEq)]
pub struct PastRelease {
    /// Its id.
    pub id: String,
    /// Whose.
    pub application: String,
    /// Whether it was at fault.
    pub faulty: bool,
    /// Seconds from its start to the fault's onset, if known.
    pub onset_seconds: Option<f64>,
    /// What was wrong, if known.
    pub cause: Option<String>,
    /// In order of time.
    pub looks: Vec<Look>,
}

impl PastRelease {
    /// Looks that say something about the label: those at which a model would
    /// be asked, and of a faulty release from the onset on.
    pub fn telling(&self, asked: Asked) -> Vec<(&Look, &Considered)> {
        let onset = self.onset_seconds.unwrap_or(0.0);
        let told: Vec<_> = self
            .looks
            .iter()
            .filter(|look| !self.faulty || look.at_seconds >= onset)
            .filter_map(|look| Some((look, look.considered.as_ref().filter(|c| c.is_asked(asked))?)))
            .collect();
        if told.len() <= LOOKS_MAX {
            return told;
        }
        let last = told.len() - 1;
        (0..LOOKS_MAX).map(|k| told[k * last / (LOOKS_MAX - 1)]).collect()
    }
}

/// Rows to learn from: features and labels.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct DataSet {
    /// A row of features a look.
    pub rows: Vec<Vec<f64>>,
    /// Whether the release was faulty.
    pub labels: Vec<bool>,
}

impl DataSet {
    /// The telling looks of some releases.
    pub fn of<'a>(releases: impl Iterator<Item = &'a PastRelease>, asked: Asked) -> Self {
        let mut set = Self::default();
        for release in releases {
            for (_, considered) in release.telling(asked) {
                set.rows.push(considered.features.values().to_vec());
                set.labels.push(release.faulty);
            }
        }
        set
    }
}

/// Cases are compared, not computed with: a thousandth is near enough.
fn rounded(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

/// What the data was, for the artifact.
pub fn describe(releases: &[PastRelease], asked: Asked) -> Data {
    let mut text = schema_names().join(",");
    let mut rows = 0;
    for release in releases {
        let telling = release.telling(asked);
        rows += telling.len();
        let _ = write!(text, "\n{} {} {}", release.id, release.application, release.faulty);
        for (_, considered) in telling {
            for value in considered.features.values() {
                let _ = write!(text, " {:016x}", value.to_bits());
            }
        }
    }
    Data {
        hash: sha256_hex(text.as_bytes()),
        releases: releases.len(),
        faulty: releases.iter().filter(|r| r.faulty).count(),
        rows,
    }
}

/// A library of at most `most` cases, as many of each cause as there is room
/// for; healthy ones count as one cause that may fill half.
pub fn library(releases: &[PastRelease], most: usize) -> Library {
    let set = DataSet::of(releases.iter(), Asked::Suspects);
    let width = schema_names().len();
    let spread = (0..width)
        .map(|at| {
            let n = set.rows.len().max(1) as f64;
            let mean = set.rows.iter().map(|row| row[at]).sum::<f64>() / n;
            let variance = set.rows.iter().map(|row| (row[at] - mean).powi(2)).sum::<f64>() / n;
            variance.sqrt().max(SPREAD_MIN)
        })
        .collect();
    let mut by_cause: std::collections::BTreeMap<Option<&str>, Vec<Case>> = std::collections::BTreeMap::new();
    for release in releases {
        let telling = release.telling(Asked::Suspects);
        let Some((_, considered)) = telling.get(telling.len() / 2) else { continue };
        let cause = release.faulty.then(|| release.cause.as_deref().unwrap_or("unnamed fault"));
        by_cause.entry(cause).or_default().push(Case {
            release: release.id.clone(),
            cause: cause.map(str::to_owned),
            values: considered.features.values().iter().map(|v| rounded(*v)).collect(),
        });
    }
    let causes = by_cause.keys().filter(|cause| cause.is_some()).count().max(1);
    let cases = by_cause
        .into_iter()
        .flat_map(|(cause, cases)| {
            let room = if cause.is_none() { most / 2 } else { (most / 2 / causes).max(1) };
            cases.into_iter().take(room)
        })
        .collect();
    Library { spread, cases }
}

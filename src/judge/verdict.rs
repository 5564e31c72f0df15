//! The findings of one moment put together.

use serde::{Deserialize, Serialize};

use crate::domain::Timestamp;

use super::{Finding, Outcome};

/// What all detectors together say at one moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// The moment, in the data's own time.
    pub at: Timestamp,
    /// The gravest outcome that counts.
    pub outcome: Outcome,
    /// The probability that the release is faulty, 0 to 1.
    pub probability: f64,
    /// Findings that are more than healthy, gravest first.
    pub findings: Vec<Finding>,
    /// What could not be judged, and why.
    pub blind: Vec<Blind>,
    /// How many signals were judged.
    pub judged: u32,
    /// Past releases that looked like this one, nearest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub similar: Vec<SimilarCase>,
}

/// Something that could not be judged.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Blind {
    /// What: a signal, a group, an instance.
    pub what: String,
    /// Why, as a sentence.
    pub why: String,
}

impl std::fmt::Display for Blind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.what, self.why)
    }
}

/// A labelled case of the feature library that looks like the present one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SimilarCase {
    /// Which release it was.
    pub release: String,
    /// What was wrong with it; absent if it was healthy.
    pub cause: Option<String>,
    /// 0 is identical; in units of the features' spread.
    pub distance: f64,
}

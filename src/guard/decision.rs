//! What policy made of the verdicts.

use serde::{Deserialize, Serialize};

use crate::domain::{ReleaseKey, Timestamp};
use crate::judge::{Finding, SimilarCase};

/// What is done about a release, in order of gravity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// It goes on.
    Proceed,
    /// People are shown something; nothing acts.
    Advise,
    /// The release system is told to pause.
    Pause,
    /// The release system is told to roll back.
    Rollback,
}

impl Action {
    /// The word in settings, logs, pages and the interface.
    pub fn word(self) -> &'static str {
        match self {
            Self::Proceed => "proceed",
            Self::Advise => "advise",
            Self::Pause => "pause",
            Self::Rollback => "rollback",
        }
    }
}

/// How far the guardian may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// It judges and records; nobody is told what it makes of it.
    Observe,
    /// It tells people what it would do.
    #[default]
    Advise,
    /// It acts.
    Enforce,
}

/// Who decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decider {
    /// The guardian itself.
    Guardian,
    /// A person, by name.
    Operator(String),
}

/// One decision, stored with its reasons before anything is done about it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// Which release.
    pub release: ReleaseKey,
    /// Counts the decisions of one release from 1.
    pub sequence: u32,
    /// When, in the data's own time.
    pub at: Timestamp,
    /// What is to be done.
    pub action: Action,
    /// What would have been done in enforce mode; differs from `action` only
    /// in the other modes.
    pub would: Action,
    /// Who decided.
    pub by: Decider,
    /// The probability that the release is faulty.
    pub probability: f64,
    /// The findings behind it, gravest first.
    pub reasons: Vec<Finding>,
    /// What could not be judged.
    pub blind: Vec<String>,
    /// Past releases that looked like this one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub similar: Vec<SimilarCase>,
    /// What policy did with the verdict, as a sentence.
    pub because: String,
}

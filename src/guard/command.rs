//! What is sent to the release system, and how it ended.

use serde::{Deserialize, Serialize};

use crate::domain::{CommandId, ReleaseKey, Timestamp};

/// What the release system is told to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CommandKind {
    /// Stop where it is.
    Pause,
    /// Bring the old version back.
    Rollback,
    /// Go on after a pause.
    Resume,
}

impl CommandKind {
    /// The word in the event type, logs and pages.
    pub fn word(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Rollback => "rollback",
            Self::Resume => "resume",
        }
    }
}

/// One order to the release system. Delivered at least once, takes effect at
/// most once: the id is the idempotency key of every attempt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Command {
    /// Derived from release, decision and kind, so that a restart in the
    /// middle makes the same command and not a second one.
    pub id: CommandId,
    /// Which release.
    pub release: ReleaseKey,
    /// What to do.
    pub kind: CommandKind,
    /// The decision behind it.
    pub decision_sequence: u32,
    /// When it was ordered.
    pub ordered_at: Timestamp,
    /// Until when it is retried; then people are told.
    pub deadline: Timestamp,
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "settled")]
pub enum Settlement {
    /// The release system did it, as far as it can be asked.
    Confirmed {
        /// Whether its state was read back, or only its answer believed.
        read_back: bool,
    },
    /// It said no.
    Refused {
        /// In its words.
        reason: String,
    },
    /// It could not be reached, or did not do it, before the deadline.
    Unreachable {
        /// The last failure.
        reason: String,
    },
}

//! The engine of one application: everything that happens comes in as an
//! input with its time, everything to be done goes out as an effect. The same
//! engine runs live, in replay and in simulation.

use serde::{Deserialize, Serialize};

use crate::domain::{Alert, Batch, CommandId, ReleaseOrder, Scrape, Timestamp};
use crate::judge::Verdict;

use super::{Command, Decision, Settlement};

/// Something that happened.
#[derive(Clone, Debug)]
pub enum Input {
    /// A release begins.
    Begin(Box<ReleaseOrder>),
    /// A batch of the running release begins.
    Batch(Batch),
    /// The rollout is complete; the watch goes on for a while.
    Finish,
    /// The rollout was given up by the release system.
    Cancel,
    /// A scrape was done, or failed.
    Scrape(Scrape),
    /// An alert from outside began, changed or ended.
    Alert(Alert),
    /// A person decides instead.
    Operator {
        /// Who.
        who: String,
        /// What.
        order: OperatorOrder,
    },
    /// A command ended.
    Settled {
        /// Which.
        command: CommandId,
        /// How.
        settlement: Settlement,
    },
    /// Time passed.
    Tick,
}

/// What a person can decide about a running release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OperatorOrder {
    /// Pause it, and keep the guardian's hands off.
    Hold,
    /// Let it go on.
    Resume,
    /// Roll it back.
    Rollback,
    /// The guardian decides again.
    HandBack,
}

/// Something to be done by the outer rings, in this order.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Store the decision before anything that follows it.
    Decided(Box<Decision>),
    /// Send a command; its decision came before it.
    Send(Command),
    /// People are told.
    Notify(Notice),
    /// The newest verdict, for pages and metrics.
    Judged(Box<Verdict>),
    /// The episode changed: store its snapshot.
    Changed,
    /// The watch is over: save the recording.
    Ended,
}

/// Something that people are told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Notice {
    /// When.
    pub at: Timestamp,
    /// What kind, for routing.
    pub kind: NoticeKind,
    /// One sentence.
    pub text: String,
}

/// The kinds of notice, for routing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoticeKind {
    /// Shown, never acts.
    Advice,
    /// The release was paused.
    Paused,
    /// The release was rolled back.
    RolledBack,
    /// Nothing could be judged for too long.
    Blind,
    /// A command was refused or could not be delivered: a person must act.
    CommandFailed,
    /// It began, ended, was resumed.
    Course,
}

/// Why an input was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Another release of the application is being watched.
    #[error("release {running} of this application is still being watched; finish or cancel it first")]
    Busy {
        /// Which.
        running: crate::domain::ReleaseId,
    },
    /// No release of that name is being watched.
    #[error("no release is being watched")]
    NotWatching,
    /// The order makes no sense.
    #[error("{0}")]
    Invalid(String),
}

/// Where a release stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Rolling out, judged.
    Watching,
    /// A pause was ordered and has not settled.
    Pausing,
    /// Paused.
    Paused,
    /// A rollback was ordered and has not settled.
    RollingBack,
    /// The old version is back.
    RolledBack,
    /// Complete, watched for a while.
    Soaking,
    /// Over, with nothing wrong that was seen.
    Finished,
    /// Given up by the release system or an operator.
    Cancelled,
}

impl Phase {
    /// Whether the watch is over.
    pub fn is_final(self) -> bool {
        match self {
            Self::RolledBack | Self::Finished | Self::Cancelled => true,
            Self::Watching | Self::Pausing | Self::Paused | Self::RollingBack | Self::Soaking => false,
        }
    }
}

//! What the guardian needs of a release system, and how a command is
//! delivered to it.
//!
//! A release system makes single attempts; when the next one is due, when to
//! give up and what the end is called is decided by [`Delivery`], a state
//! machine that is handed the time and never sleeps.

mod breaker;
mod delivery;
mod retry_after;

use std::time::Duration;

use async_trait::async_trait;

use crate::domain::{Timestamp, Version};
use crate::guard::{Command, CommandKind, Decision};

pub use breaker::{Breaker, BreakerState};
pub use delivery::{Delivery, Next};
pub use retry_after::retry_after;

/// A command with everything that a release system may want to be told.
#[derive(Clone, Debug, PartialEq)]
pub struct CommandOrder {
    /// The command; its id is the idempotency key of every attempt.
    pub command: Command,
    /// What is rolled out.
    pub version: Option<Version>,
    /// What it replaces.
    pub previous_version: Option<Version>,
    /// The decision behind it. Absent only if it could not be read back.
    pub decision: Option<Decision>,
    /// Where people see the release.
    pub url: String,
}

/// What came of one attempt to deliver a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// The release system took it.
    Taken {
        /// Its answer, in short.
        answer: String,
    },
    /// It said no, and will not say anything else later.
    Refused {
        /// In its words.
        reason: String,
    },
    /// It may succeed later.
    Failed {
        /// What happened.
        reason: String,
        /// When it asks to be tried again.
        retry_after: Option<Duration>,
    },
}

/// What the release system says of its state after it took a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadBack {
    /// It is as the command wanted it.
    Done,
    /// It is not, or not yet.
    NotYet {
        /// What it said.
        state: String,
    },
    /// It did not say.
    Unknown {
        /// What happened.
        reason: String,
    },
}

/// A system that carries out commands.
#[async_trait]
pub trait ReleaseSystem: Send + Sync + 'static {
    /// Its address without secrets: what the circuit breaker is kept for, and
    /// what people are shown.
    fn target(&self) -> &str;

    /// Whether it can do that at all.
    fn can(&self, kind: CommandKind) -> bool;

    /// One attempt, with a deadline of its own.
    async fn attempt(&self, order: &CommandOrder, now: Timestamp) -> Attempt;

    /// How often it is asked whether it did it; none: it cannot be asked
    /// about commands of that kind.
    fn read_back_interval(&self, kind: CommandKind) -> Option<Duration>;

    /// Asks it once whether it did it.
    async fn read_back(&self, order: &CommandOrder, now: Timestamp) -> ReadBack;
}

//! What every channel offers, and how sending fails.

use std::time::Duration;

use async_trait::async_trait;

use crate::domain::Timestamp;

use super::render::Parcel;

/// One place that messages go to. An implementation sends and judges the
/// answer; waiting, retrying and limiting are done outside, the same for all.
#[async_trait]
pub trait Channel: Send + Sync {
    /// The name in settings.
    fn name(&self) -> &str;

    /// Those who each get their own copy, so that trouble with one of them is
    /// no trouble for the others. One empty name where the channel is one.
    fn recipients(&self) -> Vec<String> {
        vec![String::new()]
    }

    /// Sends once, and says what was answered.
    ///
    /// # Errors
    /// If the channel did not take it, as far as that is known. A message
    /// that was taken without an answer is sent again under the same id.
    async fn send(&self, parcel: &Parcel, recipient: &str, now: Timestamp) -> Result<String, SendError>;
}

/// What a failure concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// This message or recipient; the next one may go through.
    Message,
    /// The whole channel.
    Channel,
}

/// Why a message was not sent. The texts hold no secrets.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// It may work later.
    #[error("{reason}")]
    Unavailable {
        /// What concerns it.
        scope: Scope,
        /// What happened.
        reason: String,
    },
    /// Too many; nothing is sent before then.
    #[error("{reason}")]
    RateLimited {
        /// How long to wait.
        retry_after: Duration,
        /// What was answered.
        reason: String,
    },
    /// This message will never be taken.
    #[error("{reason}")]
    Refused {
        /// What was answered.
        reason: String,
    },
    /// The channel takes nothing more until its settings change.
    #[error("{reason}")]
    Closed {
        /// What was answered.
        reason: String,
    },
}

impl SendError {
    /// The whole channel may work later.
    pub(super) fn unavailable(reason: impl Into<String>) -> Self {
        Self::Unavailable { scope: Scope::Channel, reason: reason.into() }
    }
}

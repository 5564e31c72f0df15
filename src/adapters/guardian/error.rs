//! Why the daemon did not do what was asked.

use crate::domain::{ApplicationName, ReleaseKey, Timestamp};

use super::MissingSetting;

/// Why a call was not carried out. Nothing was changed then.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum GuardianError {
    /// There is no such release or application.
    #[error("{what} is not known")]
    NotFound {
        /// What was asked for.
        what: String,
    },
    /// It contradicts what is stored: another release is running, the release
    /// is over, the idempotency key was used for something else.
    #[error("{reason}")]
    Conflict {
        /// Why, and what to do.
        reason: String,
    },
    /// Policy forbids it.
    #[error("{reason}")]
    Refused {
        /// Why, and what to do.
        reason: String,
    },
    /// The request makes no sense.
    #[error("{field}: {problem}")]
    Invalid {
        /// Which field, as a JSON pointer or a name.
        field: String,
        /// What is wrong with it, and what would be right.
        problem: String,
    },
    /// The release begins inside a freeze window and is no emergency.
    #[error(
        "releases of {application} are frozen until {until}: {reason}; mark it as an emergency to begin it all the same"
    )]
    Frozen {
        /// Whose releases.
        application: ApplicationName,
        /// The end of the window.
        until: Timestamp,
        /// The window's name or reason.
        reason: String,
    },
    /// The application is not configured, and its targets do not say enough.
    #[error("application {application} cannot be watched: {} missing ({})", which.len(), shown(which))]
    MissingSettings {
        /// Which application.
        application: ApplicationName,
        /// Exactly which settings.
        which: Vec<MissingSetting>,
    },
    /// All commands are halted.
    #[error("all commands are halted since {since} by {by}: {reason}")]
    Halted {
        /// Since when.
        since: Timestamp,
        /// By whom.
        by: String,
        /// Why.
        reason: String,
    },
    /// The daemon cannot do it now: it stops, its store is full or locked, or
    /// it is overloaded. To be tried again.
    #[error("not possible now: {reason}")]
    Unavailable {
        /// Why.
        reason: String,
    },
}

impl GuardianError {
    /// There is no such release.
    pub fn no_release(release: &ReleaseKey) -> Self {
        Self::NotFound { what: format!("release {release}") }
    }
}

fn shown(which: &[MissingSetting]) -> String {
    which.iter().map(|m| m.setting.as_str()).collect::<Vec<_>>().join(", ")
}

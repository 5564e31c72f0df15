//! Rollouts of which a release system tells the state instead of calls.

use crate::domain::{ApplicationName, Timestamp, Version};

/// What a release system says of a Canary, whenever it calls. It names no
/// machines and no run: both are found by the daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CanaryCall {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Of what is rolled out; the same again when the same version is tried
    /// again.
    pub checksum: String,
    /// Where its rollout stands.
    pub stage: CanaryStage,
    /// When that was so, where it is said.
    pub at: Option<Timestamp>,
    /// The application, where the Canary says it.
    pub application: Option<ApplicationName>,
    /// The version, where the Canary says it.
    pub version: Option<Version>,
    /// Whether it may begin inside a freeze.
    pub emergency: bool,
}

/// Where a Canary's rollout stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CanaryStage {
    /// Nothing is rolled out, or it waits to be let begin.
    Idle,
    /// Both versions run side by side.
    Running,
    /// The new version takes the old one's place: nothing is left to compare
    /// with.
    Promoted,
    /// The old version serves all again.
    GivenUp,
}

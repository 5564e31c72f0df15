//! The running daemon as those see it who come in from outside: the HTTP
//! interface, the pages, links in messages, gates of other systems. They hold
//! a [`Guardian`], which is cheap to clone, and know nothing of what is
//! behind it; `app::serve` puts the daemon behind it, tests put a stand-in.

mod answer;
mod canary;
mod error;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::broadcast;

use crate::domain::{Alert, ApplicationName, Batch, FeedbackKind, ReleaseKey, ReleaseOrder, Timestamp};
use crate::guard::engine::OperatorOrder;

pub use answer::{
    ApplicationState, AuditLine, Begun, CommandAttempt, CommandRecord, Event, EventKind, EvidencePoint,
    EvidenceSeries, Gate, GateWord, HaltState, MissingSetting, Quality, QualityCounts, QualityPeriod,
    Readiness, ReleaseDetail, ReleaseFilter, ReleasePage, ReleaseSummary, Taken,
};
pub use canary::{CanaryCall, CanaryStage};
pub use error::GuardianError;

/// A handle of the running daemon. Cloning it clones a pointer.
pub type Guardian = Arc<dyn Interface>;

/// Who calls, and the key that makes a repeated call one call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The name of a person or of a token, as it appears in the audit.
    pub who: String,
    /// The `Idempotency-Key` of the request: a second call with the same key
    /// and the same content gets the first one's answer and changes nothing;
    /// with other content it is a conflict. Kept for a week.
    pub idempotency_key: Option<String>,
}

impl Caller {
    /// A caller without an idempotency key.
    pub fn new(who: impl Into<String>) -> Self {
        Self { who: who.into(), idempotency_key: None }
    }
}

/// An operator's word, before it is stamped with its time.
#[derive(Clone, Debug, PartialEq)]
pub struct Word {
    /// What they say.
    pub kind: FeedbackKind,
    /// When the fault began to show, if they know.
    pub onset: Option<Timestamp>,
    /// In their words, up to 4,000 characters.
    pub comment: Option<String>,
}

/// What the daemon offers. Everything that changes something is stored before
/// the call returns: what was acknowledged survives a kill.
///
/// # Errors
/// Every call can fail with [`GuardianError::Unavailable`] when the daemon is
/// stopping or its store cannot be written; the rest is said at each call.
#[async_trait]
pub trait Interface: Send + Sync + 'static {
    /// A release begins. An application that nobody configured is integrated
    /// by itself where the targets carry enough labels.
    ///
    /// # Errors
    /// `Invalid` for an order that makes no sense, `Conflict` while another
    /// release of the application is watched or the id was used for another
    /// order, `Frozen` inside a freeze window unless `emergency`,
    /// `MissingSettings` for an unknown application whose targets do not tell
    /// enough, `Halted` never: a halt stops commands, not the watch.
    async fn begin(
        &self,
        caller: Caller,
        order: ReleaseOrder,
        emergency: bool,
    ) -> Result<Begun, GuardianError>;

    /// A batch of the running release begins.
    ///
    /// # Errors
    /// `NotFound`, `Conflict` if the release is over, `Invalid`.
    async fn batch(&self, caller: Caller, release: ReleaseKey, batch: Batch) -> Result<Taken, GuardianError>;

    /// The rollout is complete; the watch goes on for the policy's while.
    ///
    /// # Errors
    /// `NotFound`, `Conflict` if the release is over.
    async fn finish(&self, caller: Caller, release: ReleaseKey) -> Result<Taken, GuardianError>;

    /// The release system gave the rollout up.
    ///
    /// # Errors
    /// `NotFound`, `Conflict` if the release is over.
    async fn cancel(&self, caller: Caller, release: ReleaseKey) -> Result<Taken, GuardianError>;

    /// A person decides instead: hold, resume, rollback, or hand back.
    ///
    /// # Errors
    /// `NotFound`, `Conflict` if the release is over, `Refused` where policy
    /// forbids it, `Halted` for a rollback while all commands are halted.
    async fn operate(
        &self,
        caller: Caller,
        release: ReleaseKey,
        order: OperatorOrder,
    ) -> Result<Taken, GuardianError>;

    /// A person says what the release was. Append-only; the last word counts.
    ///
    /// # Errors
    /// `NotFound`, `Invalid` for a comment that is too long or an onset that
    /// is later than now.
    async fn feedback(&self, caller: Caller, release: ReleaseKey, word: Word)
    -> Result<Taken, GuardianError>;

    /// An alert from outside began, changed or ended. Evidence for the
    /// release of the application that runs now; dropped if none does.
    ///
    /// # Errors
    /// `NotFound` for an application that is not known.
    async fn alert(
        &self,
        caller: Caller,
        application: ApplicationName,
        alert: Alert,
    ) -> Result<Taken, GuardianError>;

    /// The applications that the labels of an alert from outside name, as the
    /// settings say.
    fn named_by(&self, labels: &BTreeMap<String, String>) -> Vec<ApplicationName>;

    /// Releases, newest first.
    async fn releases(&self, filter: ReleaseFilter) -> Result<ReleasePage, GuardianError>;

    /// Everything about one release.
    ///
    /// # Errors
    /// `NotFound`.
    async fn release(&self, release: ReleaseKey) -> Result<ReleaseDetail, GuardianError>;

    /// What a pipeline that asks is told: always an answer for a release that
    /// is known, from memory, within milliseconds.
    ///
    /// # Errors
    /// `NotFound`.
    async fn gate(&self, release: ReleaseKey) -> Result<Gate, GuardianError>;

    /// A release system tells the state of a Canary: its release begins, goes
    /// on or ends as that says. What its gate says then; none while nothing is
    /// rolled out.
    ///
    /// # Errors
    /// `NotFound` for a Canary of no application that is known, and as
    /// [`Interface::begin`]; `Frozen` also while a Canary only waits to begin.
    async fn canary(&self, caller: Caller, call: CanaryCall) -> Result<Option<Gate>, GuardianError>;

    /// Recall, precision and false stops, from feedback.
    async fn quality(&self, application: Option<ApplicationName>) -> Result<Quality, GuardianError>;

    /// Every application that is configured, or that was seen by its targets
    /// or an order: ready, or what is missing.
    async fn applications(&self) -> Result<Vec<ApplicationState>, GuardianError>;

    /// Whether all commands are halted.
    async fn halt(&self) -> Result<HaltState, GuardianError>;

    /// Stops or allows all commands of all applications. The watch goes on.
    async fn set_halt(&self, caller: Caller, on: bool, reason: String) -> Result<HaltState, GuardianError>;

    /// Writes a line into the audit that is no change by itself: a refused
    /// token, a forged signature. Lines without a release concern the daemon.
    async fn audit(
        &self,
        caller: Caller,
        release: Option<ReleaseKey>,
        text: String,
    ) -> Result<(), GuardianError>;

    /// The newest lines of the audit that belong to no single release, oldest
    /// first: refused calls, what was delivered again, halts.
    async fn general_audit(&self) -> Result<Vec<AuditLine>, GuardianError>;

    /// Events of all releases from now on. The channel is bounded: a receiver
    /// that is too slow is told how many it missed and goes on.
    fn subscribe(&self) -> broadcast::Receiver<Event>;

    /// Whether the daemon can do its work: store writable, actors alive,
    /// settings read. For `/readyz`.
    fn readiness(&self) -> Readiness;

    /// The daemon's own metrics as OpenMetrics text. For `/metrics`.
    fn metrics(&self) -> String;
}

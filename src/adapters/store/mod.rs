//! What survives a kill: releases with their episodes, decisions, commands,
//! feedback, audit, answers that were given, notices not yet delivered, and
//! the samples around releases.
//!
//! The trait is named by intent and speaks of whole steps: what belongs
//! together is stored in one transaction or not at all.

mod chunk;
mod lock;
mod messages;
mod read;
mod sql;
#[cfg(test)]
mod tests;
mod write;

use async_trait::async_trait;

use crate::domain::{
    ApplicationName, CommandId, Feedback, FeedbackKind, ReleaseKey, ReleaseOrder, Scrape, Timestamp,
};
use crate::guard::engine::{Notice, Phase};
use crate::guard::{Action, Command, Decision, Mode, Settlement};
use crate::judge::{Lesson, Outcome, Verdict, WarmUpSeen};

use super::guardian::{AuditLine, CommandRecord, EvidenceSeries, ReleaseFilter};

pub use chunk::{ChunkError, decode_chunk};
pub use lock::{LockError, StateLock};
pub use sql::SqlStore;

/// Why the store did not do it. Nothing was stored then.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file is something else.
    #[error(
        "{} is no store: it is not a database, or damaged; name another file as [store] path, or move it away or bring its backup back, and start again",
        path.display()
    )]
    NoStore {
        /// Which file.
        path: std::path::PathBuf,
    },
    /// No room is left.
    #[error(
        "the store has no room left while {doing}; free disk space at its folder, the guardian goes on by itself then"
    )]
    Full {
        /// What was being done.
        doing: &'static str,
    },
    /// It may not be written.
    #[error(
        "the store may not be written while {doing}; check the rights of its folder and whether its file system is mounted read-only"
    )]
    ReadOnly {
        /// What was being done.
        doing: &'static str,
    },
    /// Somebody else holds it.
    #[error("the store is locked by another program while {doing}; end the program that holds it open")]
    Locked {
        /// What was being done.
        doing: &'static str,
    },
    /// Its files cannot be read or written.
    #[error(
        "the store's files cannot be read or written while {doing}; check that its folder is there, the disk, its quota and the limits of file size"
    )]
    Files {
        /// What was being done.
        doing: &'static str,
        /// How.
        #[source]
        source: sqlx::Error,
    },
    /// The database failed otherwise.
    #[error("the store failed while {doing}")]
    Database {
        /// What was being done.
        doing: &'static str,
        /// How.
        #[source]
        source: sqlx::Error,
    },
    /// What was committed is not there for others.
    #[error(
        "what was committed to the store cannot be seen by another connection; its connection is made anew, restart the guardian if this stays so"
    )]
    Unseen,
    /// The schema could not be brought up to date.
    #[error("the store's schema could not be brought up to date; was it made by a newer version?")]
    Migration(#[source] sqlx::migrate::MigrateError),
    /// What is stored cannot be read.
    #[error("{what} in the store cannot be read")]
    Damaged {
        /// Which row.
        what: String,
        /// How.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl StoreError {
    /// Whether something of that key is stored already: a caller's mistake, or
    /// two calls at once, and no trouble of the store.
    pub fn is_used_key(&self) -> bool {
        let Self::Database { source, .. } = self else { return false };
        source.as_database_error().is_some_and(|error| error.is_unique_violation())
    }
}

/// A release as it is stored.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredRelease {
    /// The order with its batches so far.
    pub order: ReleaseOrder,
    /// Where it stands.
    pub phase: Phase,
    /// How far the guardian may go with it.
    pub mode: Mode,
    /// The gravest action that was decided.
    pub gravest: Action,
    /// The engine's own state, as JSON, while it is watched.
    pub snapshot: Option<String>,
    /// The newest verdict that was stored.
    pub verdict: Option<Verdict>,
    /// Charts, once the watch is over.
    pub evidence: Vec<EvidenceSeries>,
    /// Why, as the newest decision says it.
    pub because: Option<String>,
    /// Who holds the guardian's hands off.
    pub held_by: Option<String>,
    /// The guardian's first pause or rollback.
    pub first_stop_at: Option<Timestamp>,
    /// Whether a rollback by the guardian was confirmed.
    pub rolled_back: bool,
    /// When the watch ended.
    pub ended_at: Option<Timestamp>,
    /// The folder of its recording.
    pub recording: Option<String>,
    /// What it showed of its application's warm-up, if it ran to its end.
    pub warm_up_lesson: Option<Lesson>,
    /// The newest word of an operator. Written by [`Store::add_feedback`] only.
    pub word: Option<FeedbackKind>,
    /// The onset that came with it. Written by [`Store::add_feedback`] only.
    pub word_onset: Option<Timestamp>,
}

impl StoredRelease {
    /// Its key.
    pub fn key(&self) -> ReleaseKey {
        self.order.key()
    }
}

/// An answer that was given under an idempotency key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptAnswer {
    /// The caller and their key.
    pub key: String,
    /// Of the request: the same key with another digest is a conflict.
    pub digest: String,
    /// The answer as JSON.
    pub answer: String,
}

/// Everything that one input changed. Stored together or not at all, before
/// anything of it is done or said.
#[derive(Clone, Debug)]
pub struct Step {
    /// The release as it is now.
    pub release: StoredRelease,
    /// When.
    pub at: Timestamp,
    /// New decisions.
    pub decisions: Vec<Decision>,
    /// New commands; one whose id is there already is passed over.
    pub commands: Vec<Command>,
    /// The command that ended.
    pub settled: Option<(CommandId, Settlement)>,
    /// What people are to be told.
    pub notices: Vec<Notice>,
    /// Who did what.
    pub audit: Vec<AuditLine>,
    /// The answer that is about to be given.
    pub answer: Option<KeptAnswer>,
}

/// A notice that was not delivered yet.
#[derive(Clone, Debug, PartialEq)]
pub struct PendingNotice {
    /// Stable over restarts: the key under which channels know it.
    pub id: String,
    /// About which release.
    pub release: ReleaseKey,
    /// What to say.
    pub notice: Notice,
}

/// A release as quality counts it.
#[derive(Clone, Debug, PartialEq)]
pub struct QualityRow {
    /// Whose.
    pub application: ApplicationName,
    /// When it began.
    pub started_at: Timestamp,
    /// How it ended.
    pub phase: Phase,
    /// What its newest verdict says, if it was ever looked at.
    pub outcome: Option<Outcome>,
    /// The guardian's first pause or rollback.
    pub first_stop_at: Option<Timestamp>,
    /// Whether a rollback by the guardian was confirmed.
    pub rolled_back: bool,
    /// The newest word of an operator.
    pub word: Option<FeedbackKind>,
    /// The onset that came with it.
    pub onset: Option<Timestamp>,
}

/// The store. One implementation runs on SQLite; its statements are those
/// that PostgreSQL reads too.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Stores everything that one input changed.
    async fn record(&self, step: Step) -> Result<(), StoreError>;
    /// Notes an attempt to deliver a command.
    async fn note_attempt(&self, command: &CommandId, at: Timestamp, result: &str) -> Result<(), StoreError>;
    /// Notes how a command ended that no watched release waits for any more.
    async fn settle(
        &self,
        command: &CommandId,
        settlement: &Settlement,
        at: Timestamp,
    ) -> Result<(), StoreError>;
    /// Releases whose watch is not over.
    async fn watched(&self) -> Result<Vec<StoredRelease>, StoreError>;
    /// Commands that have not settled, oldest first.
    async fn unsettled(&self) -> Result<Vec<Command>, StoreError>;
    /// One release.
    async fn release(&self, key: &ReleaseKey) -> Result<Option<StoredRelease>, StoreError>;
    /// Releases, newest first.
    async fn releases(&self, filter: &ReleaseFilter) -> Result<Vec<StoredRelease>, StoreError>;
    /// Decisions of a release, oldest first.
    async fn decisions(&self, key: &ReleaseKey) -> Result<Vec<Decision>, StoreError>;
    /// Commands of a release with their attempts, oldest first.
    async fn commands(&self, key: &ReleaseKey) -> Result<Vec<CommandRecord>, StoreError>;
    /// Feedback on a release, oldest first.
    async fn feedback(&self, key: &ReleaseKey) -> Result<Vec<Feedback>, StoreError>;
    /// Audit lines about a release, or about the daemon, oldest first; of
    /// many only the newest 1,000.
    async fn audit(&self, key: Option<&ReleaseKey>) -> Result<Vec<AuditLine>, StoreError>;
    /// Appends an operator's word, with the answer that is about to be given.
    async fn add_feedback(&self, feedback: &Feedback, answer: Option<KeptAnswer>) -> Result<(), StoreError>;
    /// Appends an audit line.
    async fn add_audit(&self, key: Option<&ReleaseKey>, line: &AuditLine) -> Result<(), StoreError>;
    /// The answer that was given under an idempotency key.
    async fn answer(&self, key: &str) -> Result<Option<KeptAnswer>, StoreError>;
    /// Notes where a release's recording is.
    async fn note_recording(&self, key: &ReleaseKey, folder: Option<&str>) -> Result<(), StoreError>;
    /// Releases that are over and have a recording, oldest first.
    async fn recorded(&self) -> Result<Vec<(ReleaseKey, String, Timestamp)>, StoreError>;
    /// Releases that are over and whose recording was never written.
    async fn unrecorded(&self, since: Timestamp) -> Result<Vec<ReleaseKey>, StoreError>;
    /// Appends scrapes of one application, in one chunk.
    async fn append_samples(
        &self,
        application: &ApplicationName,
        scrapes: &[Scrape],
    ) -> Result<(), StoreError>;
    /// Scrapes of one application from `from` to `to`, in order of time.
    async fn samples(
        &self,
        application: &ApplicationName,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<Scrape>, StoreError>;
    /// Forgets scrapes of one application that are older.
    async fn forget_samples(
        &self,
        application: &ApplicationName,
        before: Timestamp,
    ) -> Result<u64, StoreError>;
    /// Notices not yet delivered, oldest first.
    async fn pending_notices(&self, limit: u32) -> Result<Vec<PendingNotice>, StoreError>;
    /// A notice was delivered, or is reported as lost.
    async fn notice_done(&self, id: &str) -> Result<(), StoreError>;
    /// What quality counts: all releases that are over.
    async fn quality(&self) -> Result<Vec<QualityRow>, StoreError>;
    /// What the newest good releases of an application showed of its warm-up,
    /// newest first: those that ran to their end and may teach by people's
    /// newest word, [`crate::judge::LESSONS_MAX`] of them at most.
    async fn warm_ups_seen(&self, application: &ApplicationName) -> Result<Vec<WarmUpSeen>, StoreError>;
    /// A named fact about the daemon: the halt, a breaker's state.
    async fn fact(&self, name: &str) -> Result<Option<String>, StoreError>;
    /// Writes a named fact.
    async fn set_fact(&self, name: &str, value: &str) -> Result<(), StoreError>;
    /// Commits the moment, with so many bytes besides, and makes sure that
    /// another connection sees it.
    async fn beat(&self, at: Timestamp, room: usize) -> Result<(), StoreError>;
    /// Forgets answers and delivered notices that are older.
    async fn forget_answers(&self, before: Timestamp) -> Result<(), StoreError>;
}

//! The store on SQLite, by statements that PostgreSQL reads too.

use std::collections::HashMap;
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::{AnyConnection, AnyPool, Connection, Executor};
use tokio::sync::Mutex;

use crate::domain::{ApplicationName, CommandId, Feedback, ReleaseKey, Scrape, Timestamp};
use crate::guard::{Command, Decision, Settlement};
use crate::judge::WarmUpSeen;

use super::chunk::SeriesNumbers;
use super::write::settle_command;
use super::{
    AuditLine, CommandRecord, KeptAnswer, PendingNotice, QualityRow, ReleaseFilter, Step, Store, StoreError,
    StoredRelease,
};

/// Readers at once; SQLite's readers do not wait for its writer.
const READERS: u32 = 4;
/// How long a statement waits for another program's lock.
const BUSY_MILLIS: u32 = 2_000;

/// The store on an embedded SQLite file.
pub struct SqlStore {
    /// One connection: SQLite has one writer, and a queue of ours is fair
    /// where its busy waiting is not.
    pub(super) writer: AnyPool,
    pub(super) readers: AnyPool,
    pub(super) series: Mutex<HashMap<ApplicationName, Arc<Mutex<SeriesNumbers>>>>,
}

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("./migrations");

impl SqlStore {
    /// Opens the store's file, makes it where it does not exist, and brings
    /// its schema up to date.
    ///
    /// # Errors
    /// If the folder cannot be written, the file is no store of ours, or was
    /// written by a newer version.
    pub async fn open(file: &Path) -> Result<Self, StoreError> {
        sqlx::any::install_default_drivers();
        let opening = |source| classify("opening it", source);
        let absolute = std::path::absolute(file).map_err(|e| opening(sqlx::Error::Io(e)))?;
        let address = url::Url::from_file_path(&absolute).map_err(|()| {
            opening(sqlx::Error::Configuration(format!("{} is no path", file.display()).into()))
        })?;
        let address = format!("sqlite://{}?mode=rwc", address.path());
        let options = AnyConnectOptions::from_str(&address).map_err(opening)?;
        make_private(&absolute).map_err(|e| match e.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                StoreError::ReadOnly { doing: "making it" }
            }
            io::ErrorKind::StorageFull => StoreError::Full { doing: "making it" },
            _ => StoreError::Files { doing: "making it", source: sqlx::Error::Io(e) },
        })?;
        // Alone first: a pool would try a file that it cannot use again and again.
        let mut first = AnyConnection::connect_with(&options).await.map_err(opening)?;
        prepare(&mut first).await.map_err(|error| match result_code(&error) {
            Some(11 | 26) => StoreError::NoStore { path: file.to_owned() },
            _ => opening(error),
        })?;
        first.close().await.map_err(opening)?;
        let writer = pool(1, options.clone()).await.map_err(opening)?;
        MIGRATIONS.run(&writer).await.map_err(|error| match error {
            sqlx::migrate::MigrateError::Execute(source) => {
                classify("bringing its schema up to date", source)
            }
            other => StoreError::Migration(other),
        })?;
        let readers = pool(READERS, options).await.map_err(opening)?;
        Ok(Self { writer, readers, series: Mutex::new(HashMap::new()) })
    }

    /// Ends all connections; what is being stored is finished first.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}

/// Makes the file where it does not exist, for its owner alone: it tells of
/// people and faults. SQLite gives the files beside it the same rights.
fn make_private(file: &Path) -> io::Result<()> {
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(file) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        Ok(_) | Err(_) => Ok(()),
    }
}

async fn pool(connections: u32, options: AnyConnectOptions) -> Result<AnyPool, sqlx::Error> {
    AnyPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(Duration::from_secs(10))
        .after_connect(|connection, _| Box::pin(prepare(connection)))
        .after_release(|connection, _| Box::pin(is_at_rest(connection)))
        .connect_with(options)
        .await
}

/// What every connection is told before it is used.
async fn prepare(connection: &mut AnyConnection) -> Result<(), sqlx::Error> {
    // FULL: a commit that returned is on the disk, also after a loss of power.
    for pragma in ["PRAGMA journal_mode = WAL", "PRAGMA synchronous = FULL"] {
        connection.execute(pragma).await?;
    }
    let busy = sqlx::AssertSqlSafe(format!("PRAGMA busy_timeout = {BUSY_MILLIS}"));
    connection.execute(busy).await?;
    Ok(())
}

/// Whether a connection may be used again. A full disk makes SQLite roll back
/// by itself; the driver's own rollback fails then and its count of open
/// transactions stays, so that no later commit on that connection would be one.
async fn is_at_rest(connection: &mut AnyConnection) -> Result<bool, sqlx::Error> {
    // The rollback of a dropped transaction is queued before this.
    connection.ping().await?;
    Ok(!connection.is_in_transaction())
}

/// Tells apart what people can do something about.
pub(super) fn classify(doing: &'static str, source: sqlx::Error) -> StoreError {
    match result_code(&source) {
        Some(5 | 6) => StoreError::Locked { doing },
        Some(8) => StoreError::ReadOnly { doing },
        Some(13) => StoreError::Full { doing },
        Some(10 | 14) => StoreError::Files { doing, source },
        _ => StoreError::Database { doing, source },
    }
}

/// SQLite's primary result code: the low byte of the extended one.
fn result_code(error: &sqlx::Error) -> Option<u32> {
    let sqlx::Error::Database(error) = error else { return None };
    Some(error.code()?.parse::<u32>().ok()? & 0xff)
}

pub(super) fn damaged(
    what: impl Into<String>,
    source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> StoreError {
    StoreError::Damaged { what: what.into(), source: source.into() }
}

#[async_trait]
impl Store for SqlStore {
    async fn record(&self, step: Step) -> Result<(), StoreError> {
        self.write_step(step).await.map_err(|e| classify("storing what was decided", e))
    }
    async fn note_attempt(&self, command: &CommandId, at: Timestamp, result: &str) -> Result<(), StoreError> {
        self.write_attempt(command, at, result).await.map_err(|e| classify("storing an attempt", e))
    }
    async fn settle(
        &self,
        command: &CommandId,
        settlement: &Settlement,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        let mut connection =
            self.writer.acquire().await.map_err(|e| classify("storing how a command ended", e))?;
        settle_command(&mut connection, command, settlement, at)
            .await
            .map_err(|e| classify("storing how a command ended", e))
    }
    async fn watched(&self) -> Result<Vec<StoredRelease>, StoreError> {
        self.read_watched().await
    }
    async fn unsettled(&self) -> Result<Vec<Command>, StoreError> {
        self.read_unsettled().await
    }
    async fn release(&self, key: &ReleaseKey) -> Result<Option<StoredRelease>, StoreError> {
        self.read_release(key).await
    }
    async fn releases(&self, filter: &ReleaseFilter) -> Result<Vec<StoredRelease>, StoreError> {
        self.read_releases(filter).await
    }
    async fn decisions(&self, key: &ReleaseKey) -> Result<Vec<Decision>, StoreError> {
        self.read_decisions(key).await
    }
    async fn commands(&self, key: &ReleaseKey) -> Result<Vec<CommandRecord>, StoreError> {
        self.read_commands(key).await
    }
    async fn feedback(&self, key: &ReleaseKey) -> Result<Vec<Feedback>, StoreError> {
        self.read_feedback(key).await
    }
    async fn audit(&self, key: Option<&ReleaseKey>) -> Result<Vec<AuditLine>, StoreError> {
        self.read_audit(key).await
    }
    async fn add_feedback(&self, feedback: &Feedback, answer: Option<KeptAnswer>) -> Result<(), StoreError> {
        self.write_feedback(feedback, answer).await.map_err(|e| classify("storing feedback", e))
    }
    async fn add_audit(&self, key: Option<&ReleaseKey>, line: &AuditLine) -> Result<(), StoreError> {
        self.write_audit(key, line).await.map_err(|e| classify("storing an audit line", e))
    }
    async fn answer(&self, key: &str) -> Result<Option<KeptAnswer>, StoreError> {
        self.read_answer(key).await
    }
    async fn note_recording(&self, key: &ReleaseKey, folder: Option<&str>) -> Result<(), StoreError> {
        self.write_recording(key, folder).await.map_err(|e| classify("storing where a recording is", e))
    }
    async fn recorded(&self) -> Result<Vec<(ReleaseKey, String, Timestamp)>, StoreError> {
        self.read_recorded().await
    }
    async fn unrecorded(&self, since: Timestamp) -> Result<Vec<ReleaseKey>, StoreError> {
        self.read_unrecorded(since).await
    }
    async fn append_samples(
        &self,
        application: &ApplicationName,
        scrapes: &[Scrape],
    ) -> Result<(), StoreError> {
        self.write_samples(application, scrapes).await
    }
    async fn samples(
        &self,
        application: &ApplicationName,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<Scrape>, StoreError> {
        self.read_samples(application, from, to).await
    }
    async fn forget_samples(
        &self,
        application: &ApplicationName,
        before: Timestamp,
    ) -> Result<u64, StoreError> {
        self.delete_samples(application, before).await.map_err(|e| classify("forgetting old samples", e))
    }
    async fn pending_notices(&self, limit: u32) -> Result<Vec<PendingNotice>, StoreError> {
        self.read_notices(limit).await
    }
    async fn notice_done(&self, id: &str) -> Result<(), StoreError> {
        self.write_notice_done(id).await.map_err(|e| classify("storing that a message was delivered", e))
    }
    async fn quality(&self) -> Result<Vec<QualityRow>, StoreError> {
        self.read_quality().await
    }
    async fn warm_ups_seen(&self, application: &ApplicationName) -> Result<Vec<WarmUpSeen>, StoreError> {
        self.read_warm_ups_seen(application).await
    }
    async fn fact(&self, name: &str) -> Result<Option<String>, StoreError> {
        self.read_fact(name).await
    }
    async fn set_fact(&self, name: &str, value: &str) -> Result<(), StoreError> {
        self.write_fact(name, value).await.map_err(|e| classify("storing a fact", e))
    }
    async fn beat(&self, at: Timestamp, room: usize) -> Result<(), StoreError> {
        self.write_beat(at, room).await
    }
    async fn forget_answers(&self, before: Timestamp) -> Result<(), StoreError> {
        self.delete_answers(before).await.map_err(|e| classify("forgetting old answers", e))
    }
}

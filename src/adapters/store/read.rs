//! Everything that is read from the store.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use sqlx::any::AnyRow;
use sqlx::{Row, query};

use crate::domain::{ApplicationName, Feedback, ReleaseId, ReleaseKey, Scrape, SeriesKey, Timestamp};
use crate::guard::{Command, Decision};
use crate::judge::{LESSONS_MAX, Lesson, Outcome, WarmUpSeen};

use super::sql::{SqlStore, classify, damaged};
use super::{
    AuditLine, CommandRecord, KeptAnswer, PendingNotice, QualityRow, ReleaseFilter, StoreError,
    StoredRelease, decode_chunk,
};
use crate::adapters::guardian::CommandAttempt;

const READING: &str = "reading";
/// Attempts and audit lines that are shown; a page need not be longer.
const ATTEMPTS_MAX: i64 = 100;
const AUDIT_MAX: i64 = 1_000;
/// Newest releases among which those that teach are looked for.
const LESSONS_LOOKED_AT: i64 = 100;
const PAGE_DEFAULT: u32 = 100;
const PAGE_MAX: u32 = 500;

const RELEASE_COLUMNS: &str = "SELECT application, id, ended_at, phase, mode, gravest, release_order, snapshot, verdict, evidence, \
     because, held_by, first_stop_at, rolled_back, recording, warm_up_lesson, word, word_onset FROM releases";

/// As much of a verdict as quality asks for.
#[derive(Deserialize)]
struct Said {
    outcome: Outcome,
}

type Read<T> = Result<T, StoreError>;

fn reading(source: sqlx::Error) -> StoreError {
    classify(READING, source)
}

fn text(row: &AnyRow, column: &'static str) -> Read<String> {
    row.try_get(column).map_err(reading)
}

fn optional(row: &AnyRow, column: &'static str) -> Read<Option<String>> {
    row.try_get(column).map_err(reading)
}

fn moment(row: &AnyRow, column: &'static str) -> Read<Option<Timestamp>> {
    Ok(row.try_get::<Option<i64>, _>(column).map_err(reading)?.map(Timestamp::from_millis))
}

fn number(row: &AnyRow, column: &'static str) -> Read<i64> {
    row.try_get(column).map_err(reading)
}

fn json<T: DeserializeOwned>(column: &'static str, text: &str) -> Read<T> {
    serde_json::from_str(text).map_err(|e| damaged(format!("column {column}"), e))
}

fn json_column<T: DeserializeOwned>(row: &AnyRow, column: &'static str) -> Read<T> {
    json(column, &text(row, column)?)
}

/// A unit variant by its word.
fn from_word<T: DeserializeOwned>(column: &'static str, word: &str) -> Read<T> {
    T::deserialize(serde::de::value::StrDeserializer::<serde::de::value::Error>::new(word))
        .map_err(|e| damaged(format!("column {column}"), e))
}

fn key(row: &AnyRow, id: &'static str) -> Read<ReleaseKey> {
    let application = ApplicationName::new(text(row, "application")?).map_err(|e| damaged("a name", e))?;
    let id = ReleaseId::new(text(row, id)?).map_err(|e| damaged("a name", e))?;
    Ok(ReleaseKey { application, id })
}

fn stored_release(row: &AnyRow) -> Read<StoredRelease> {
    let evidence = optional(row, "evidence")?;
    let verdict = optional(row, "verdict")?;
    let word = optional(row, "word")?;
    Ok(StoredRelease {
        order: json_column(row, "release_order")?,
        phase: from_word("phase", &text(row, "phase")?)?,
        mode: from_word("mode", &text(row, "mode")?)?,
        gravest: from_word("gravest", &text(row, "gravest")?)?,
        snapshot: optional(row, "snapshot")?,
        verdict: verdict.map(|v| json("verdict", &v)).transpose()?,
        evidence: evidence.map(|e| json("evidence", &e)).transpose()?.unwrap_or_default(),
        because: optional(row, "because")?,
        held_by: optional(row, "held_by")?,
        first_stop_at: moment(row, "first_stop_at")?,
        rolled_back: number(row, "rolled_back")? != 0,
        ended_at: moment(row, "ended_at")?,
        recording: optional(row, "recording")?,
        warm_up_lesson: optional(row, "warm_up_lesson")?.map(|l| json("warm_up_lesson", &l)).transpose()?,
        word: word.map(|w| from_word("word", &w)).transpose()?,
        word_onset: moment(row, "word_onset")?,
    })
}

fn command_record(row: &AnyRow) -> Read<CommandRecord> {
    let settlement = optional(row, "settlement")?;
    Ok(CommandRecord {
        command: json_column(row, "command")?,
        settlement: settlement.map(|s| json("settlement", &s)).transpose()?,
        settled_at: moment(row, "settled_at")?,
        attempts: Vec::new(),
    })
}

impl SqlStore {
    pub(super) async fn read_watched(&self) -> Read<Vec<StoredRelease>> {
        let statement =
            sqlx::AssertSqlSafe(format!("{RELEASE_COLUMNS} WHERE ended_at IS NULL ORDER BY started_at"));
        let rows = query(statement).fetch_all(&self.readers).await.map_err(reading)?;
        rows.iter().map(stored_release).collect()
    }

    pub(super) async fn read_release(&self, key: &ReleaseKey) -> Read<Option<StoredRelease>> {
        let statement = sqlx::AssertSqlSafe(format!("{RELEASE_COLUMNS} WHERE application = $1 AND id = $2"));
        let row = query(statement)
            .bind(key.application.as_str())
            .bind(key.id.as_str())
            .fetch_optional(&self.readers)
            .await
            .map_err(reading)?;
        row.as_ref().map(stored_release).transpose()
    }

    pub(super) async fn read_warm_ups_seen(&self, application: &ApplicationName) -> Read<Vec<WarmUpSeen>> {
        let rows = query(
            "SELECT warm_up_lesson, word FROM releases
             WHERE application = $1 AND ended_at IS NOT NULL AND warm_up_lesson IS NOT NULL
             ORDER BY ended_at DESC, id LIMIT $2",
        )
        .bind(application.as_str())
        .bind(LESSONS_LOOKED_AT)
        .fetch_all(&self.readers)
        .await
        .map_err(reading)?;
        let mut seen = Vec::new();
        for row in &rows {
            let lesson: Lesson = json_column(row, "warm_up_lesson")?;
            let word = optional(row, "word")?.map(|w| from_word("word", &w)).transpose()?;
            if lesson.teaches(word) && seen.len() < LESSONS_MAX {
                seen.push(lesson.seen);
            }
        }
        Ok(seen)
    }

    pub(super) async fn read_releases(&self, filter: &ReleaseFilter) -> Read<Vec<StoredRelease>> {
        let watched = filter.watched.map_or(-1, i64::from);
        let limit = filter.limit.unwrap_or(PAGE_DEFAULT).clamp(1, PAGE_MAX);
        let statement = sqlx::AssertSqlSafe(format!(
            "{RELEASE_COLUMNS} WHERE ($1 = '' OR application = $2) AND started_at < $3
             AND ($4 = -1 OR ($5 = 1 AND ended_at IS NULL) OR ($6 = 0 AND ended_at IS NOT NULL))
             ORDER BY started_at DESC, application, id LIMIT $7"
        ));
        let application = filter.application.as_ref().map_or("", |a| a.as_str());
        let rows = query(statement)
            .bind(application)
            .bind(application)
            .bind(filter.before.map_or(i64::MAX, Timestamp::as_millis))
            .bind(watched)
            .bind(watched)
            .bind(watched)
            .bind(i64::from(limit))
            .fetch_all(&self.readers)
            .await
            .map_err(reading)?;
        rows.iter().map(stored_release).collect()
    }

    pub(super) async fn read_decisions(&self, key: &ReleaseKey) -> Read<Vec<Decision>> {
        let rows =
            query("SELECT decision FROM decisions WHERE application = $1 AND release = $2 ORDER BY sequence")
                .bind(key.application.as_str())
                .bind(key.id.as_str())
                .fetch_all(&self.readers)
                .await
                .map_err(reading)?;
        rows.iter().map(|row| json_column(row, "decision")).collect()
    }

    pub(super) async fn read_unsettled(&self) -> Read<Vec<Command>> {
        let rows = query("SELECT command FROM commands WHERE settlement IS NULL ORDER BY ordered_at, id")
            .fetch_all(&self.readers)
            .await
            .map_err(reading)?;
        rows.iter().map(|row| json_column(row, "command")).collect()
    }

    pub(super) async fn read_commands(&self, key: &ReleaseKey) -> Read<Vec<CommandRecord>> {
        let rows = query(
            "SELECT command, settlement, settled_at FROM commands WHERE application = $1 AND release = $2
             ORDER BY ordered_at, id",
        )
        .bind(key.application.as_str())
        .bind(key.id.as_str())
        .fetch_all(&self.readers)
        .await
        .map_err(reading)?;
        let mut records = rows.iter().map(command_record).collect::<Read<Vec<_>>>()?;
        for record in &mut records {
            let rows =
                query("SELECT at, result FROM attempts WHERE command = $1 ORDER BY sequence DESC LIMIT $2")
                    .bind(record.command.id.as_str())
                    .bind(ATTEMPTS_MAX)
                    .fetch_all(&self.readers)
                    .await
                    .map_err(reading)?;
            record.attempts = rows
                .iter()
                .rev()
                .map(|row| {
                    let at = Timestamp::from_millis(number(row, "at")?);
                    Ok(CommandAttempt { at, result: text(row, "result")? })
                })
                .collect::<Read<_>>()?;
        }
        Ok(records)
    }

    pub(super) async fn read_feedback(&self, key: &ReleaseKey) -> Read<Vec<Feedback>> {
        let rows =
            query("SELECT feedback FROM feedback WHERE application = $1 AND release = $2 ORDER BY sequence")
                .bind(key.application.as_str())
                .bind(key.id.as_str())
                .fetch_all(&self.readers)
                .await
                .map_err(reading)?;
        rows.iter().map(|row| json_column(row, "feedback")).collect()
    }

    pub(super) async fn read_audit(&self, key: Option<&ReleaseKey>) -> Read<Vec<AuditLine>> {
        let (application, release) = key.map_or(("", ""), |key| (key.application.as_str(), key.id.as_str()));
        let rows = query(
            "SELECT at, who, line FROM audit WHERE application = $1 AND release = $2 ORDER BY sequence DESC LIMIT $3",
        )
        .bind(application)
        .bind(release)
        .bind(AUDIT_MAX)
        .fetch_all(&self.readers)
        .await
        .map_err(reading)?;
        rows.iter()
            .rev()
            .map(|row| {
                let at = Timestamp::from_millis(number(row, "at")?);
                Ok(AuditLine { at, who: text(row, "who")?, text: text(row, "line")? })
            })
            .collect()
    }

    pub(super) async fn read_answer(&self, key: &str) -> Read<Option<KeptAnswer>> {
        let row = query("SELECT request_digest, answer FROM answers WHERE idempotency_key = $1")
            .bind(key)
            .fetch_optional(&self.readers)
            .await
            .map_err(reading)?;
        let Some(row) = row else { return Ok(None) };
        Ok(Some(KeptAnswer {
            key: key.to_owned(),
            digest: text(&row, "request_digest")?,
            answer: text(&row, "answer")?,
        }))
    }

    pub(super) async fn read_recorded(&self) -> Read<Vec<(ReleaseKey, String, Timestamp)>> {
        let rows = query(
            "SELECT application, id, recording, started_at FROM releases
             WHERE recording IS NOT NULL AND recording <> '' ORDER BY started_at",
        )
        .fetch_all(&self.readers)
        .await
        .map_err(reading)?;
        rows.iter()
            .map(|row| {
                let at = Timestamp::from_millis(number(row, "started_at")?);
                Ok((key(row, "id")?, text(row, "recording")?, at))
            })
            .collect()
    }

    pub(super) async fn read_unrecorded(&self, since: Timestamp) -> Read<Vec<ReleaseKey>> {
        let rows = query("SELECT application, id FROM releases WHERE recording IS NULL AND ended_at >= $1")
            .bind(since.as_millis())
            .fetch_all(&self.readers)
            .await
            .map_err(reading)?;
        rows.iter().map(|row| key(row, "id")).collect()
    }

    pub(super) async fn read_series(&self, application: &ApplicationName) -> Read<Vec<(u32, SeriesKey)>> {
        let rows = query("SELECT id, series FROM series WHERE application = $1")
            .bind(application.as_str())
            .fetch_all(&self.readers)
            .await
            .map_err(reading)?;
        rows.iter()
            .map(|row| {
                let id = u32::try_from(number(row, "id")?).map_err(|e| damaged("a series' number", e))?;
                let series = text(row, "series")?.parse().map_err(|e| damaged("a series", e))?;
                Ok((id, series))
            })
            .collect()
    }

    pub(super) async fn read_samples(
        &self,
        application: &ApplicationName,
        from: Timestamp,
        to: Timestamp,
    ) -> Read<Vec<Scrape>> {
        let keys = self.numbers(application).await?.lock().await.keys();
        let rows = query(
            "SELECT bytes FROM chunks WHERE application = $1 AND last_at >= $2 AND first_at <= $3
             ORDER BY first_at, sequence",
        )
        .bind(application.as_str())
        .bind(from.as_millis())
        .bind(to.as_millis())
        .fetch_all(&self.readers)
        .await
        .map_err(reading)?;
        let mut scrapes = Vec::new();
        for row in &rows {
            let bytes: Vec<u8> = row.try_get("bytes").map_err(reading)?;
            match decode_chunk(&bytes, &keys) {
                Ok(chunk) => scrapes.extend(chunk.into_iter().filter(|s| from <= s.at && s.at <= to)),
                // The samples before and after it are worth having without it.
                Err(error) => {
                    tracing::error!(%application, %error, "a stored chunk of samples is passed over")
                }
            }
        }
        scrapes.sort_by(|a, b| (a.at, &a.instance).cmp(&(b.at, &b.instance)));
        Ok(scrapes)
    }

    pub(super) async fn read_notices(&self, limit: u32) -> Read<Vec<PendingNotice>> {
        let rows = query("SELECT id, application, release, notice FROM outbox WHERE delivered = 0 ORDER BY at, id LIMIT $1")
            .bind(i64::from(limit))
            .fetch_all(&self.readers)
            .await
            .map_err(reading)?;
        rows.iter()
            .map(|row| {
                Ok(PendingNotice {
                    id: text(row, "id")?,
                    release: key(row, "release")?,
                    notice: json_column(row, "notice")?,
                })
            })
            .collect()
    }

    pub(super) async fn read_quality(&self) -> Read<Vec<QualityRow>> {
        let rows = query(
            "SELECT application, id, started_at, phase, verdict, first_stop_at, rolled_back, word, word_onset
             FROM releases WHERE ended_at IS NOT NULL ORDER BY started_at",
        )
        .fetch_all(&self.readers)
        .await
        .map_err(reading)?;
        rows.iter()
            .map(|row| {
                let word = optional(row, "word")?;
                let verdict =
                    optional(row, "verdict")?.map(|said| json::<Said>("verdict", &said)).transpose()?;
                Ok(QualityRow {
                    application: key(row, "id")?.application,
                    started_at: Timestamp::from_millis(number(row, "started_at")?),
                    phase: from_word("phase", &text(row, "phase")?)?,
                    outcome: verdict.map(|said| said.outcome),
                    first_stop_at: moment(row, "first_stop_at")?,
                    rolled_back: number(row, "rolled_back")? != 0,
                    word: word.map(|w| from_word("word", &w)).transpose()?,
                    onset: moment(row, "word_onset")?,
                })
            })
            .collect()
    }

    pub(super) async fn read_fact(&self, name: &str) -> Read<Option<String>> {
        let row = query("SELECT value FROM facts WHERE name = $1")
            .bind(name)
            .fetch_optional(&self.readers)
            .await
            .map_err(reading)?;
        row.as_ref().map(|row| text(row, "value")).transpose()
    }
}

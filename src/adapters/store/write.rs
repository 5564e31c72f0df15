//! Everything that changes the store.

use std::sync::Arc;

use serde::Serialize;
use sqlx::{Any, AnyConnection, Transaction, query};
use tokio::sync::Mutex;

use crate::domain::{ApplicationName, CommandId, Feedback, ReleaseKey, Scrape, Timestamp};
use crate::guard::Settlement;

use super::chunk::{SeriesNumbers, encode_chunk};
use super::sql::{SqlStore, classify, damaged};
use super::{AuditLine, KeptAnswer, Step, StoreError, StoredRelease};

/// The fact that shows that the store works.
const BEAT: &str = "beat";

type Written = Result<(), sqlx::Error>;

/// Our own types as JSON text.
fn json(value: &impl Serialize) -> Result<String, sqlx::Error> {
    serde_json::to_string(value).map_err(|e| sqlx::Error::Encode(e.into()))
}

/// The word of a unit variant, as serde writes it.
pub(super) fn word(value: &impl Serialize) -> Result<String, sqlx::Error> {
    Ok(json(value)?.trim_matches('"').to_owned())
}

impl SqlStore {
    pub(super) async fn write_step(&self, step: Step) -> Written {
        let mut transaction = self.writer.begin().await?;
        let key = step.release.key();
        upsert_release(&mut transaction, &step.release).await?;
        for decision in &step.decisions {
            query(
                "INSERT INTO decisions (application, release, sequence, at, decision) VALUES ($1, $2, $3, $4, $5)
                 ON CONFLICT (application, release, sequence) DO NOTHING",
            )
            .bind(key.application.as_str())
            .bind(key.id.as_str())
            .bind(i64::from(decision.sequence))
            .bind(decision.at.as_millis())
            .bind(json(decision)?)
            .execute(&mut *transaction)
            .await?;
        }
        for command in &step.commands {
            query(
                "INSERT INTO commands (id, application, release, ordered_at, command) VALUES ($1, $2, $3, $4, $5)
                 ON CONFLICT (id) DO NOTHING",
            )
            .bind(command.id.as_str())
            .bind(key.application.as_str())
            .bind(key.id.as_str())
            .bind(command.ordered_at.as_millis())
            .bind(json(command)?)
            .execute(&mut *transaction)
            .await?;
        }
        if let Some((command, settlement)) = &step.settled {
            settle_command(&mut transaction, command, settlement, step.at).await?;
        }
        for (index, notice) in step.notices.iter().enumerate() {
            query(
                "INSERT INTO outbox (id, application, release, at, notice, delivered) VALUES ($1, $2, $3, $4, $5, 0)
                 ON CONFLICT (id) DO NOTHING",
            )
            .bind(format!("{key}/{}/{}/{index}", notice.at.as_millis(), word(&notice.kind)?))
            .bind(key.application.as_str())
            .bind(key.id.as_str())
            .bind(notice.at.as_millis())
            .bind(json(notice)?)
            .execute(&mut *transaction)
            .await?;
        }
        for line in &step.audit {
            insert_audit(&mut transaction, Some(&key), line).await?;
        }
        if let Some(answer) = &step.answer {
            insert_answer(&mut transaction, answer, step.at).await?;
        }
        transaction.commit().await
    }

    pub(super) async fn write_attempt(&self, command: &CommandId, at: Timestamp, result: &str) -> Written {
        query(
            "INSERT INTO attempts (command, sequence, at, result)
             SELECT $1, COALESCE(MAX(sequence), 0) + 1, $2, $3 FROM attempts WHERE command = $4",
        )
        .bind(command.as_str())
        .bind(at.as_millis())
        .bind(result)
        .bind(command.as_str())
        .execute(&self.writer)
        .await?;
        Ok(())
    }

    pub(super) async fn write_feedback(&self, feedback: &Feedback, answer: Option<KeptAnswer>) -> Written {
        let mut transaction = self.writer.begin().await?;
        let key = &feedback.release;
        query(
            "INSERT INTO feedback (application, release, sequence, at, feedback)
             SELECT $1, $2, COALESCE(MAX(sequence), 0) + 1, $3, $4 FROM feedback WHERE application = $5 AND release = $6",
        )
        .bind(key.application.as_str())
        .bind(key.id.as_str())
        .bind(feedback.at.as_millis())
        .bind(json(feedback)?)
        .bind(key.application.as_str())
        .bind(key.id.as_str())
        .execute(&mut *transaction)
        .await?;
        query("UPDATE releases SET word = $1, word_onset = $2 WHERE application = $3 AND id = $4")
            .bind(word(&feedback.kind)?)
            .bind(feedback.onset.map(Timestamp::as_millis))
            .bind(key.application.as_str())
            .bind(key.id.as_str())
            .execute(&mut *transaction)
            .await?;
        let text = format!("said: {}", word(&feedback.kind)?.replace('_', " "));
        let line = AuditLine { at: feedback.at, who: feedback.by.clone(), text };
        insert_audit(&mut transaction, Some(key), &line).await?;
        if let Some(answer) = answer {
            insert_answer(&mut transaction, &answer, feedback.at).await?;
        }
        transaction.commit().await
    }

    pub(super) async fn write_audit(&self, key: Option<&ReleaseKey>, line: &AuditLine) -> Written {
        let mut transaction = self.writer.begin().await?;
        insert_audit(&mut transaction, key, line).await?;
        transaction.commit().await
    }

    pub(super) async fn write_recording(&self, key: &ReleaseKey, folder: Option<&str>) -> Written {
        query("UPDATE releases SET recording = $1 WHERE application = $2 AND id = $3")
            .bind(folder)
            .bind(key.application.as_str())
            .bind(key.id.as_str())
            .execute(&self.writer)
            .await?;
        Ok(())
    }

    pub(super) async fn write_notice_done(&self, id: &str) -> Written {
        query("UPDATE outbox SET delivered = 1 WHERE id = $1").bind(id).execute(&self.writer).await?;
        Ok(())
    }

    pub(super) async fn write_fact(&self, name: &str, value: &str) -> Written {
        let mut writer = self.writer.acquire().await?;
        upsert_fact(&mut writer, name, value).await
    }

    /// A commit that only its own connection sees is none: that connection is
    /// closed then, and the next one begins anew.
    pub(super) async fn write_beat(&self, at: Timestamp, room: usize) -> Result<(), StoreError> {
        let failed = |error| classify("trying whether it can be written", error);
        let value = format!("{at}{}", " ".repeat(room));
        let mut writer = self.writer.acquire().await.map_err(failed)?;
        upsert_fact(&mut writer, BEAT, &value).await.map_err(failed)?;
        if self.read_fact(BEAT).await? == Some(value) {
            return Ok(());
        }
        // What matters is that it is gone, not how.
        let _ = writer.close().await;
        Err(StoreError::Unseen)
    }

    pub(super) async fn delete_answers(&self, before: Timestamp) -> Written {
        query("DELETE FROM answers WHERE at < $1").bind(before.as_millis()).execute(&self.writer).await?;
        query("DELETE FROM outbox WHERE delivered = 1 AND at < $1")
            .bind(before.as_millis())
            .execute(&self.writer)
            .await?;
        Ok(())
    }

    pub(super) async fn delete_samples(
        &self,
        application: &ApplicationName,
        before: Timestamp,
    ) -> Result<u64, sqlx::Error> {
        let done = query("DELETE FROM chunks WHERE application = $1 AND last_at < $2")
            .bind(application.as_str())
            .bind(before.as_millis())
            .execute(&self.writer)
            .await?;
        Ok(done.rows_affected())
    }

    pub(super) async fn numbers(
        &self,
        application: &ApplicationName,
    ) -> Result<Arc<Mutex<SeriesNumbers>>, StoreError> {
        let mut all = self.series.lock().await;
        if let Some(numbers) = all.get(application) {
            return Ok(numbers.clone());
        }
        let stored = self.read_series(application).await?;
        let numbers = Arc::new(Mutex::new(SeriesNumbers::restore(stored)));
        all.insert(application.clone(), numbers.clone());
        Ok(numbers)
    }

    pub(super) async fn write_samples(
        &self,
        application: &ApplicationName,
        scrapes: &[Scrape],
    ) -> Result<(), StoreError> {
        let (Some(first), Some(last)) =
            (scrapes.iter().map(|s| s.at).min(), scrapes.iter().map(|s| s.at).max())
        else {
            return Ok(());
        };
        let numbers = self.numbers(application).await?;
        // Held over the transaction: a number is known only once it is stored.
        let mut numbers = numbers.lock().await;
        let (bytes, new) =
            encode_chunk(scrapes, &mut numbers).map_err(|e| damaged("samples of a scrape", e))?;
        let written = async {
            let mut transaction = self.writer.begin().await?;
            for (id, series) in &new {
                query("INSERT INTO series (application, id, series) VALUES ($1, $2, $3)")
                    .bind(application.as_str())
                    .bind(i64::from(*id))
                    .bind(series.to_string())
                    .execute(&mut *transaction)
                    .await?;
            }
            query(
                "INSERT INTO chunks (application, first_at, sequence, last_at, bytes)
                 SELECT $1, $2, COALESCE(MAX(sequence), 0) + 1, $3, $4 FROM chunks WHERE application = $5 AND first_at = $6",
            )
            .bind(application.as_str())
            .bind(first.as_millis())
            .bind(last.as_millis())
            .bind(bytes)
            .bind(application.as_str())
            .bind(first.as_millis())
            .execute(&mut *transaction)
            .await?;
            transaction.commit().await
        };
        let result: Written = written.await;
        if result.is_err() {
            numbers.forget(&new);
        }
        result.map_err(|e| classify("storing samples", e))
    }
}

async fn upsert_fact(connection: &mut AnyConnection, name: &str, value: &str) -> Written {
    query("INSERT INTO facts (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value")
        .bind(name)
        .bind(value)
        .execute(connection)
        .await?;
    Ok(())
}

async fn upsert_release(transaction: &mut Transaction<'_, Any>, release: &StoredRelease) -> Written {
    query(
        "INSERT INTO releases (application, id, started_at, ended_at, phase, mode, gravest, release_order, snapshot,
             verdict, evidence, because, held_by, first_stop_at, rolled_back, recording, warm_up_lesson)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)
         ON CONFLICT (application, id) DO UPDATE SET ended_at = excluded.ended_at, phase = excluded.phase,
             mode = excluded.mode, gravest = excluded.gravest, release_order = excluded.release_order,
             snapshot = excluded.snapshot, verdict = excluded.verdict, evidence = excluded.evidence,
             because = excluded.because, held_by = excluded.held_by, first_stop_at = excluded.first_stop_at,
             rolled_back = excluded.rolled_back, warm_up_lesson = excluded.warm_up_lesson",
    )
    .bind(release.order.application.as_str())
    .bind(release.order.id.as_str())
    .bind(release.order.started_at.as_millis())
    .bind(release.ended_at.map(Timestamp::as_millis))
    .bind(word(&release.phase)?)
    .bind(word(&release.mode)?)
    .bind(word(&release.gravest)?)
    .bind(json(&release.order)?)
    .bind(release.snapshot.clone())
    .bind(release.verdict.as_ref().map(json).transpose()?)
    .bind(json(&release.evidence)?)
    .bind(release.because.clone())
    .bind(release.held_by.clone())
    .bind(release.first_stop_at.map(Timestamp::as_millis))
    .bind(i64::from(release.rolled_back))
    .bind(release.recording.clone())
    .bind(release.warm_up_lesson.as_ref().map(json).transpose()?)
    .execute(&mut **transaction)
    .await?;
    Ok(())
}

async fn insert_audit(
    transaction: &mut Transaction<'_, Any>,
    key: Option<&ReleaseKey>,
    line: &AuditLine,
) -> Written {
    let (application, release) = key.map_or(("", ""), |key| (key.application.as_str(), key.id.as_str()));
    query(
        "INSERT INTO audit (application, release, sequence, at, who, line)
         SELECT $1, $2, COALESCE(MAX(sequence), 0) + 1, $3, $4, $5 FROM audit WHERE application = $6 AND release = $7",
    )
    .bind(application)
    .bind(release)
    .bind(line.at.as_millis())
    .bind(line.who.as_str())
    .bind(line.text.as_str())
    .bind(application)
    .bind(release)
    .execute(&mut **transaction)
    .await?;
    Ok(())
}

async fn insert_answer(
    transaction: &mut Transaction<'_, Any>,
    answer: &KeptAnswer,
    at: Timestamp,
) -> Written {
    query("INSERT INTO answers (idempotency_key, request_digest, answer, at) VALUES ($1, $2, $3, $4)")
        .bind(answer.key.as_str())
        .bind(answer.digest.as_str())
        .bind(answer.answer.as_str())
        .bind(at.as_millis())
        .execute(&mut **transaction)
        .await?;
    Ok(())
}

/// Notes how a command ended; the first word stays.
pub(super) async fn settle_command(
    connection: &mut AnyConnection,
    command: &CommandId,
    settlement: &Settlement,
    at: Timestamp,
) -> Written {
    query("UPDATE commands SET settlement = $1, settled_at = $2 WHERE id = $3 AND settlement IS NULL")
        .bind(json(settlement)?)
        .bind(at.as_millis())
        .bind(command.as_str())
        .execute(&mut *connection)
        .await?;
    Ok(())
}

//! The outbox of messages to people, in the same file as all else.

use async_trait::async_trait;
use sqlx::any::AnyRow;
use sqlx::{Row, query};

use crate::adapters::notify::outbox::{AwaitedAnswer, Delivery, DeliveryId, Ended, Outbox, OutboxError};
use crate::domain::{ApplicationName, ReleaseId, ReleaseKey, Timestamp};

use super::sql::{SqlStore, classify};

type Cause = Box<dyn std::error::Error + Send + Sync>;

fn failed(doing: &'static str) -> impl Fn(sqlx::Error) -> OutboxError {
    move |error| OutboxError { doing, source: Box::new(classify(doing, error)) }
}

fn unreadable(doing: &'static str) -> impl Fn(Cause) -> OutboxError {
    move |source| OutboxError { doing, source }
}

#[async_trait]
impl Outbox for SqlStore {
    async fn keep(&self, deliveries: &[Delivery]) -> Result<Vec<bool>, OutboxError> {
        const DOING: &str = "keep messages";
        let mut transaction = self.writer.begin().await.map_err(failed(DOING))?;
        let mut new = Vec::with_capacity(deliveries.len());
        for delivery in deliveries {
            let message =
                serde_json::to_string(&delivery.message).map_err(|e| unreadable(DOING)(Box::new(e)))?;
            let done = query(
                "INSERT INTO messages (id, channel, recipient, kept_at, message) VALUES ($1, $2, $3, $4, $5)
                 ON CONFLICT (id, channel, recipient) DO NOTHING",
            )
            .bind(delivery.message.id.as_str())
            .bind(delivery.channel.as_str())
            .bind(delivery.recipient.as_str())
            .bind(delivery.kept_at.as_millis())
            .bind(message)
            .execute(&mut *transaction)
            .await
            .map_err(failed(DOING))?;
            new.push(done.rows_affected() > 0);
        }
        transaction.commit().await.map_err(failed(DOING))?;
        Ok(new)
    }

    async fn waiting(&self) -> Result<Vec<Delivery>, OutboxError> {
        const DOING: &str = "read the messages that wait";
        let rows = query(
            "SELECT channel, recipient, kept_at, message FROM messages WHERE ended_at IS NULL
             ORDER BY kept_at, id",
        )
        .fetch_all(&self.readers)
        .await
        .map_err(failed(DOING))?;
        let mut waiting = Vec::with_capacity(rows.len());
        for row in &rows {
            match delivery(row) {
                Ok(delivery) => waiting.push(delivery),
                // One that cannot be read must not hold the others.
                Err(error) => tracing::error!(error, "a kept message cannot be read and is passed over"),
            }
        }
        Ok(waiting)
    }

    async fn end(&self, delivery: &DeliveryId, ended: &Ended, at: Timestamp) -> Result<(), OutboxError> {
        let (word, detail) = match ended {
            Ended::Sent(answer) => ("sent", answer.as_str()),
            Ended::Lost(reason) => ("lost", reason.as_str()),
            Ended::Superseded => ("superseded", ""),
        };
        query(
            "UPDATE messages SET ended_at = $1, ended = $2, detail = $3
             WHERE id = $4 AND channel = $5 AND recipient = $6 AND ended_at IS NULL",
        )
        .bind(at.as_millis())
        .bind(word)
        .bind(detail)
        .bind(delivery.message.as_str())
        .bind(delivery.channel.as_str())
        .bind(delivery.recipient.as_str())
        .execute(&self.writer)
        .await
        .map_err(failed("store how a message ended"))?;
        Ok(())
    }

    async fn await_answer(&self, awaited: &AwaitedAnswer) -> Result<(), OutboxError> {
        const DOING: &str = "store that a pause awaits an answer";
        let paused = serde_json::to_string(&awaited.paused).map_err(|e| unreadable(DOING)(Box::new(e)))?;
        query(
            "INSERT INTO awaited_answers (application, release, paused, rounds, due_at)
             VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT (application, release)
             DO UPDATE SET paused = excluded.paused, rounds = excluded.rounds, due_at = excluded.due_at",
        )
        .bind(awaited.release.application.as_str())
        .bind(awaited.release.id.as_str())
        .bind(paused)
        .bind(i64::from(awaited.rounds))
        .bind(awaited.due_at.as_millis())
        .execute(&self.writer)
        .await
        .map_err(failed(DOING))?;
        Ok(())
    }

    async fn awaited(&self) -> Result<Vec<AwaitedAnswer>, OutboxError> {
        const DOING: &str = "read which pauses await an answer";
        let rows = query("SELECT application, release, paused, rounds, due_at FROM awaited_answers")
            .fetch_all(&self.readers)
            .await
            .map_err(failed(DOING))?;
        rows.iter().map(|row| awaited(row).map_err(unreadable(DOING))).collect()
    }

    async fn answered(&self, release: &ReleaseKey) -> Result<(), OutboxError> {
        query("DELETE FROM awaited_answers WHERE application = $1 AND release = $2")
            .bind(release.application.as_str())
            .bind(release.id.as_str())
            .execute(&self.writer)
            .await
            .map_err(failed("store that a pause was answered to"))?;
        Ok(())
    }

    async fn use_link(&self, nonce: &str, by: &str, now: Timestamp) -> Result<bool, OutboxError> {
        let done = query(
            "INSERT INTO used_links (nonce, used_at, used_by) VALUES ($1, $2, $3)
             ON CONFLICT (nonce) DO NOTHING",
        )
        .bind(nonce)
        .bind(now.as_millis())
        .bind(by)
        .execute(&self.writer)
        .await
        .map_err(failed("use a link up"))?;
        Ok(done.rows_affected() > 0)
    }

    async fn give_link_back(&self, nonce: &str) -> Result<(), OutboxError> {
        query("DELETE FROM used_links WHERE nonce = $1")
            .bind(nonce)
            .execute(&self.writer)
            .await
            .map_err(failed("make a link usable again"))?;
        Ok(())
    }

    async fn forget(&self, before: Timestamp) -> Result<(), OutboxError> {
        const DOING: &str = "forget old messages";
        for statement in
            ["DELETE FROM messages WHERE ended_at < $1", "DELETE FROM used_links WHERE used_at < $1"]
        {
            query(statement).bind(before.as_millis()).execute(&self.writer).await.map_err(failed(DOING))?;
        }
        Ok(())
    }
}

fn delivery(row: &AnyRow) -> Result<Delivery, String> {
    let text = |column| row.try_get::<String, _>(column).map_err(|error| error.to_string());
    Ok(Delivery {
        message: serde_json::from_str(&text("message")?).map_err(|error| error.to_string())?,
        channel: text("channel")?,
        recipient: text("recipient")?,
        kept_at: Timestamp::from_millis(row.try_get("kept_at").map_err(|error| error.to_string())?),
    })
}

fn awaited(row: &AnyRow) -> Result<AwaitedAnswer, Cause> {
    Ok(AwaitedAnswer {
        release: ReleaseKey {
            application: ApplicationName::new(row.try_get::<String, _>("application")?)?,
            id: ReleaseId::new(row.try_get::<String, _>("release")?)?,
        },
        paused: serde_json::from_str(&row.try_get::<String, _>("paused")?)?,
        rounds: u32::try_from(row.try_get::<i64, _>("rounds")?)?,
        due_at: Timestamp::from_millis(row.try_get("due_at")?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapters::notify::message::Message;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    fn delivery(message: &Message, channel: &str, recipient: &str) -> Delivery {
        Delivery {
            message: message.clone(),
            channel: channel.to_owned(),
            recipient: recipient.to_owned(),
            kept_at: at(1),
        }
    }

    #[tokio::test]
    async fn what_was_not_sent_is_there_after_a_restart_and_nothing_is_kept_twice() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("store.sqlite");
        let message = Message::test(at(0));
        let (mail, chat) = (delivery(&message, "mail", "a@example.com"), delivery(&message, "chat", ""));
        {
            let store = SqlStore::open(&file).await.unwrap();
            assert_eq!(store.keep(&[mail.clone(), chat.clone()]).await.unwrap(), [true, true]);
            let sent = Ended::Sent("250 ok".to_owned());
            store.end(&mail.id(), &sent, at(2)).await.unwrap();
            store.close().await;
        }
        let store = SqlStore::open(&file).await.unwrap();
        assert_eq!(store.waiting().await.unwrap(), std::slice::from_ref(&chat));
        assert_eq!(store.keep(&[mail, chat]).await.unwrap(), [false, false]);
        store.forget(at(100)).await.unwrap();
        assert_eq!(store.waiting().await.unwrap().len(), 1, "what waits is never forgotten");
    }

    #[tokio::test]
    async fn a_link_is_used_once_and_an_answer_is_awaited_until_it_comes() {
        let folder = tempfile::tempdir().unwrap();
        let store = SqlStore::open(&folder.path().join("store.sqlite")).await.unwrap();
        assert!(store.use_link("n", "li", at(1)).await.unwrap());
        assert!(!store.use_link("n", "li", at(2)).await.unwrap());
        store.give_link_back("n").await.unwrap();
        assert!(store.use_link("n", "li", at(3)).await.unwrap());
        let release = ReleaseKey {
            application: ApplicationName::new("shop").unwrap(),
            id: ReleaseId::new("r").unwrap(),
        };
        let mut awaited = AwaitedAnswer {
            release: release.clone(),
            paused: Message::test(at(0)),
            rounds: 0,
            due_at: at(9),
        };
        store.await_answer(&awaited).await.unwrap();
        awaited.rounds = 1;
        store.await_answer(&awaited).await.unwrap();
        assert_eq!(store.awaited().await.unwrap(), [awaited]);
        store.answered(&release).await.unwrap();
        assert!(store.awaited().await.unwrap().is_empty());
    }
}

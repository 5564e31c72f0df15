//! What of the messages must survive a kill.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use tokio::sync::Mutex;

use crate::domain::{ReleaseKey, Timestamp};

use super::message::Message;

/// One message for one recipient of one channel.
#[derive(Clone, Debug, PartialEq)]
pub struct Delivery {
    /// The message.
    pub message: Message,
    /// The channel's name.
    pub channel: String,
    /// Who; empty where the channel is one.
    pub recipient: String,
    /// Since when it is kept.
    pub kept_at: Timestamp,
}

/// Which delivery.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DeliveryId {
    /// The message's id.
    pub message: String,
    /// The channel's name.
    pub channel: String,
    /// Who; empty where the channel is one.
    pub recipient: String,
}

impl Delivery {
    /// Which one it is.
    pub fn id(&self) -> DeliveryId {
        DeliveryId {
            message: self.message.id.clone(),
            channel: self.channel.clone(),
            recipient: self.recipient.clone(),
        }
    }
}

/// How a delivery ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The channel took it; what it answered.
    Sent(String),
    /// It was given up; why.
    Lost(String),
    /// A newer message took its place.
    Superseded,
}

/// A pause that somebody must acknowledge.
#[derive(Clone, Debug, PartialEq)]
pub struct AwaitedAnswer {
    /// Which release.
    pub release: ReleaseKey,
    /// The message of the pause.
    pub paused: Message,
    /// The escalations so far.
    pub rounds: u32,
    /// When the next is due.
    pub due_at: Timestamp,
}

/// The store failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {doing} in the store")]
pub struct OutboxError {
    /// What was being done.
    pub doing: &'static str,
    /// Why it failed.
    #[source]
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

/// The part of the store that messages need.
#[async_trait]
pub trait Outbox: Send + Sync {
    /// Keeps deliveries until they end, and says which of them are new: a
    /// message that was told before is not told again.
    ///
    /// # Errors
    /// If the store cannot be written.
    async fn keep(&self, deliveries: &[Delivery]) -> Result<Vec<bool>, OutboxError>;

    /// Deliveries that have not ended, oldest first.
    ///
    /// # Errors
    /// If the store cannot be read.
    async fn waiting(&self) -> Result<Vec<Delivery>, OutboxError>;

    /// A delivery ended.
    ///
    /// # Errors
    /// If the store cannot be written.
    async fn end(&self, delivery: &DeliveryId, ended: &Ended, at: Timestamp) -> Result<(), OutboxError>;

    /// A pause awaits an answer, or is escalated once more. Replaces what was
    /// kept for the release.
    ///
    /// # Errors
    /// If the store cannot be written.
    async fn await_answer(&self, awaited: &AwaitedAnswer) -> Result<(), OutboxError>;

    /// The pauses that nobody has answered to.
    ///
    /// # Errors
    /// If the store cannot be read.
    async fn awaited(&self) -> Result<Vec<AwaitedAnswer>, OutboxError>;

    /// Somebody answered, or the pause is over.
    ///
    /// # Errors
    /// If the store cannot be written.
    async fn answered(&self, release: &ReleaseKey) -> Result<(), OutboxError>;

    /// Uses a link up; false if it was used before.
    ///
    /// # Errors
    /// If the store cannot be written.
    async fn use_link(&self, nonce: &str, by: &str, now: Timestamp) -> Result<bool, OutboxError>;

    /// Makes a link usable again, because what it should do was not done.
    ///
    /// # Errors
    /// If the store cannot be written.
    async fn give_link_back(&self, nonce: &str) -> Result<(), OutboxError>;

    /// Forgets what ended, and links that were used, before `before`.
    ///
    /// # Errors
    /// If the store cannot be written.
    async fn forget(&self, before: Timestamp) -> Result<(), OutboxError>;
}

/// An outbox that survives nothing: for `demo` and for tests.
#[derive(Default)]
pub struct MemoryOutbox(Mutex<Memory>);

#[derive(Default)]
struct Memory {
    deliveries: BTreeMap<DeliveryId, (Delivery, Option<Ended>)>,
    awaited: BTreeMap<ReleaseKey, AwaitedAnswer>,
    used: BTreeSet<String>,
}

impl MemoryOutbox {
    /// How the deliveries ended so far.
    pub async fn ended(&self) -> Vec<(DeliveryId, Option<Ended>)> {
        let memory = self.0.lock().await;
        memory.deliveries.iter().map(|(id, (_, ended))| (id.clone(), ended.clone())).collect()
    }
}

#[async_trait]
impl Outbox for MemoryOutbox {
    async fn keep(&self, deliveries: &[Delivery]) -> Result<Vec<bool>, OutboxError> {
        let mut memory = self.0.lock().await;
        let mut new = Vec::with_capacity(deliveries.len());
        for delivery in deliveries {
            let id = delivery.id();
            new.push(!memory.deliveries.contains_key(&id));
            memory.deliveries.entry(id).or_insert_with(|| (delivery.clone(), None));
        }
        Ok(new)
    }

    async fn waiting(&self) -> Result<Vec<Delivery>, OutboxError> {
        let memory = self.0.lock().await;
        let waiting = memory.deliveries.values().filter(|(_, ended)| ended.is_none());
        let mut waiting: Vec<Delivery> = waiting.map(|(delivery, _)| delivery.clone()).collect();
        waiting.sort_by_key(|delivery| delivery.kept_at);
        Ok(waiting)
    }

    async fn end(&self, delivery: &DeliveryId, ended: &Ended, _at: Timestamp) -> Result<(), OutboxError> {
        if let Some((_, end)) = self.0.lock().await.deliveries.get_mut(delivery) {
            end.get_or_insert_with(|| ended.clone());
        }
        Ok(())
    }

    async fn await_answer(&self, awaited: &AwaitedAnswer) -> Result<(), OutboxError> {
        self.0.lock().await.awaited.insert(awaited.release.clone(), awaited.clone());
        Ok(())
    }

    async fn awaited(&self) -> Result<Vec<AwaitedAnswer>, OutboxError> {
        Ok(self.0.lock().await.awaited.values().cloned().collect())
    }

    async fn answered(&self, release: &ReleaseKey) -> Result<(), OutboxError> {
        self.0.lock().await.awaited.remove(release);
        Ok(())
    }

    async fn use_link(&self, nonce: &str, _by: &str, _now: Timestamp) -> Result<bool, OutboxError> {
        Ok(self.0.lock().await.used.insert(nonce.to_owned()))
    }

    async fn give_link_back(&self, nonce: &str) -> Result<(), OutboxError> {
        self.0.lock().await.used.remove(nonce);
        Ok(())
    }

    async fn forget(&self, before: Timestamp) -> Result<(), OutboxError> {
        let mut memory = self.0.lock().await;
        memory.deliveries.retain(|_, (delivery, ended)| ended.is_none() || delivery.kept_at >= before);
        Ok(())
    }
}

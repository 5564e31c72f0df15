//! The running part: one task for each recipient of each channel, so that one
//! that hangs delays no other, and one task for pauses that nobody answers.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify as Wake, watch};
use tokio::task::JoinHandle;

use crate::adapters::chain::chain;
use crate::config::notify::Notify;
use crate::domain::{ReleaseKey, Timestamp};

use super::Channels;
use super::channel::{Channel, SendError};
use super::lane::{Batch, Dropped, Lane, LaneLimits, Step, Why};
use super::links::LinkSigner;
use super::message::{Message, MessageKind};
use super::outbox::{AwaitedAnswer, Delivery, DeliveryId, Ended, Outbox, OutboxError};
use super::render::{Entry, Parcel};
use super::routing;

/// How often a pause is escalated at most.
const ESCALATIONS_MAX: u32 = 3;
/// No task sleeps longer, so that a clock that was set is noticed.
const SLEEP_MAX: Duration = Duration::from_secs(60);
/// How long ended deliveries and used links are remembered.
const REMEMBERED_FOR: Duration = Duration::from_secs(30 * 24 * 3600);
/// How often the outbox is tidied.
const TIDY_EVERY: Duration = Duration::from_secs(3600);

/// Asks the time; only `main` knows which clock.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Makes the address of a release's page.
pub type PageAddress = Arc<dyn Fn(&ReleaseKey) -> Option<String> + Send + Sync>;

/// What of a lane is shown on pages and metrics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LaneState {
    /// Messages that wait.
    pub waiting: usize,
    /// Messages that were sent since the start.
    pub sent: u64,
    /// Messages that were given up since the start.
    pub lost: u64,
    /// The last failure, as long as nothing went through since.
    pub trouble: Option<String>,
}

struct LaneShared {
    channel: Arc<dyn Channel>,
    recipient: String,
    lane: Mutex<Lane>,
    wake: Wake,
    sent: AtomicU64,
    lost: AtomicU64,
}

impl LaneShared {
    fn lane(&self) -> std::sync::MutexGuard<'_, Lane> {
        // A lane is changed by code that does not panic; if it did, what is
        // in it is still the best that is known.
        self.lane.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Shared {
    settings: Notify,
    signer: Option<LinkSigner>,
    page_address: PageAddress,
    outbox: Arc<dyn Outbox>,
    clock: Clock,
    /// By channel and recipient.
    lanes: BTreeMap<(String, String), Arc<LaneShared>>,
    escalate: Wake,
}

/// Tells people. Cheap to clone.
#[derive(Clone)]
pub struct Notifier(Arc<Shared>);

/// The tasks behind a [`Notifier`].
pub struct Running {
    tasks: Vec<JoinHandle<()>>,
    stop: watch::Sender<bool>,
}

impl Running {
    /// Lets every task finish what it is sending, at most `patience` long.
    /// What was not sent stays in the outbox.
    pub async fn stop(self, patience: Duration) {
        let _ = self.stop.send(true);
        let aborts: Vec<_> = self.tasks.iter().map(JoinHandle::abort_handle).collect();
        let all = async {
            for task in self.tasks {
                let _ = task.await;
            }
        };
        if tokio::time::timeout(patience, all).await.is_err() {
            aborts.iter().for_each(tokio::task::AbortHandle::abort);
        }
    }
}

/// What a notifier needs from outside.
pub struct Parts {
    /// The checked settings.
    pub settings: Notify,
    /// The channels that were built from them.
    pub channels: Channels,
    /// Signs links; without it messages carry none.
    pub signer: Option<LinkSigner>,
    /// The addresses of pages.
    pub page_address: PageAddress,
    /// Where messages are kept.
    pub outbox: Arc<dyn Outbox>,
    /// The clock.
    pub clock: Clock,
}

impl Notifier {
    /// Starts the tasks, and takes up what the last run left unsent.
    ///
    /// # Errors
    /// If the outbox cannot be read.
    pub async fn start(parts: Parts) -> Result<(Self, Running), OutboxError> {
        let Parts { settings, channels, signer, page_address, outbox, clock } = parts;
        let now = clock();
        let mut lanes = BTreeMap::new();
        for (channel, rate) in channels.0 {
            let limits = LaneLimits {
                rate,
                digest_above: settings.digest_above,
                give_up_after: settings.give_up_after,
            };
            for recipient in channel.recipients() {
                let shared = LaneShared {
                    channel: channel.clone(),
                    recipient: recipient.clone(),
                    lane: Mutex::new(Lane::new(limits, now)),
                    wake: Wake::new(),
                    sent: AtomicU64::new(0),
                    lost: AtomicU64::new(0),
                };
                lanes.insert((channel.name().to_owned(), recipient), Arc::new(shared));
            }
        }
        let shared = Shared { settings, signer, page_address, outbox, clock, lanes, escalate: Wake::new() };
        let notifier = Self(Arc::new(shared));
        notifier.take_up(now).await?;
        let (stop, stopped) = watch::channel(false);
        let mut tasks = vec![
            tokio::spawn(notifier.clone().escalations(stopped.clone())),
            tokio::spawn(notifier.clone().tidying(stopped.clone())),
        ];
        for lane in notifier.0.lanes.values() {
            tasks.push(tokio::spawn(notifier.clone().run_lane(lane.clone(), stopped.clone())));
        }
        Ok((notifier, Running { tasks, stop }))
    }

    async fn take_up(&self, now: Timestamp) -> Result<(), OutboxError> {
        for delivery in self.0.outbox.waiting().await? {
            let key = (delivery.channel.clone(), delivery.recipient.clone());
            match self.0.lanes.get(&key) {
                Some(lane) => {
                    let dropped = lane.lane().push(Arc::new(delivery.message), delivery.kept_at);
                    self.dropped(lane, dropped, now).await;
                }
                None => {
                    tracing::error!(
                        channel = key.0,
                        message = delivery.message.id,
                        "message lost: its channel or recipient is no longer in the settings"
                    );
                    let ended =
                        Ended::Lost("its channel or recipient is no longer in the settings".to_owned());
                    self.0.outbox.end(&delivery.id(), &ended, now).await?;
                }
            }
        }
        Ok(())
    }

    /// Keeps a message for every channel that its routes name, and has it
    /// sent. A message that was told before is not told again.
    ///
    /// # Errors
    /// If it cannot be kept. It is sent all the same, but a kill would lose it.
    pub async fn tell(&self, message: Message) -> Result<(), OutboxError> {
        let way = routing::way(&self.0.settings, &message);
        let kept = self.tell_channels(&message, way.channels.iter()).await;
        let Some(release) = message.release.clone() else { return kept };
        match message.kind {
            MessageKind::Pausing => {
                if let Some(within) = way.acknowledge_within {
                    let awaited =
                        AwaitedAnswer { release, due_at: message.at + within, paused: message, rounds: 0 };
                    self.0.outbox.await_answer(&awaited).await?;
                    self.0.escalate.notify_one();
                }
            }
            // The pause is over.
            MessageKind::RollingBack | MessageKind::RolledBack => self.0.outbox.answered(&release).await?,
            MessageKind::Advice
            | MessageKind::Paused
            | MessageKind::Blind
            | MessageKind::CommandFailed
            | MessageKind::Course
            | MessageKind::Unacknowledged
            | MessageKind::ChannelFailing
            | MessageKind::Test => {}
        }
        kept
    }

    async fn tell_channels(
        &self,
        message: &Message,
        channels: impl Iterator<Item = &String>,
    ) -> Result<(), OutboxError> {
        let now = (self.0.clock)();
        let names: Vec<&String> = channels.collect();
        let lanes: Vec<&Arc<LaneShared>> = self
            .0
            .lanes
            .iter()
            .filter(|((channel, _), _)| names.contains(&channel))
            .map(|(_, lane)| lane)
            .collect();
        let deliveries: Vec<Delivery> = lanes
            .iter()
            .map(|lane| Delivery {
                message: message.clone(),
                channel: lane.channel.name().to_owned(),
                recipient: lane.recipient.clone(),
                kept_at: now,
            })
            .collect();
        let kept = self.0.outbox.keep(&deliveries).await;
        let new = match &kept {
            Ok(new) => new.clone(),
            Err(_) => vec![true; lanes.len()],
        };
        let message = Arc::new(message.clone());
        for (lane, _) in lanes.iter().zip(new).filter(|(_, new)| *new) {
            let dropped = lane.lane().push(message.clone(), now);
            self.dropped(lane, dropped, now).await;
            lane.wake.notify_one();
        }
        kept.map(|_| ())
    }

    /// Somebody has seen to a release: it is not escalated.
    ///
    /// # Errors
    /// If the outbox cannot be written.
    pub async fn acknowledged(&self, release: &ReleaseKey) -> Result<(), OutboxError> {
        self.0.outbox.answered(release).await
    }

    /// How every lane stands, by channel and recipient.
    pub fn state(&self) -> BTreeMap<(String, String), LaneState> {
        let lanes = self.0.lanes.iter().map(|(key, shared)| {
            let lane = shared.lane();
            let state = LaneState {
                waiting: lane.len(),
                sent: shared.sent.load(Ordering::Relaxed),
                lost: shared.lost.load(Ordering::Relaxed),
                trouble: lane.trouble().map(str::to_owned),
            };
            (key.clone(), state)
        });
        lanes.collect()
    }

    async fn run_lane(self, lane: Arc<LaneShared>, mut stopped: watch::Receiver<bool>) {
        while !*stopped.borrow() {
            let now = (self.0.clock)();
            let expired = lane.lane().expire(now);
            self.dropped(&lane, expired, now).await;
            let step = lane.lane().step(now);
            let sleep = match step {
                Step::Send(batch) => {
                    self.send(&lane, batch).await;
                    continue;
                }
                Step::WaitUntil(when) => when.since(now).min(SLEEP_MAX).max(Duration::from_millis(1)),
                Step::Idle => SLEEP_MAX,
            };
            tokio::select! {
                () = lane.wake.notified() => {}
                () = tokio::time::sleep(sleep) => {}
                _ = stopped.changed() => {}
            }
        }
    }

    async fn send(&self, lane: &LaneShared, batch: Batch) {
        let now = (self.0.clock)();
        let parcel = self.parcel(&batch, now);
        // A panic in one channel must not end its lane.
        let (channel, recipient) = (lane.channel.clone(), lane.recipient.clone());
        let sending = tokio::spawn(async move { channel.send(&parcel, &recipient, now).await });
        let result = match sending.await {
            Ok(result) => result,
            Err(error) => Err(SendError::unavailable(format!("sending ended early: {error}"))),
        };
        let now = (self.0.clock)();
        let name = lane.channel.name();
        match result {
            Ok(answer) => {
                lane.lane().sent(&batch);
                lane.sent.fetch_add(batch.messages.len() as u64, Ordering::Relaxed);
                tracing::info!(
                    channel = name,
                    messages = batch.messages.len(),
                    parcel = batch.id,
                    answer,
                    "message sent"
                );
                for message in &batch.messages {
                    self.end(lane, &message.id, &Ended::Sent(answer.clone()), now).await;
                }
            }
            Err(error) => {
                tracing::warn!(channel = name, parcel = batch.id, %error, "message not sent");
                let dropped = lane.lane().failed(&batch, &error, now);
                self.dropped(lane, dropped, now).await;
                if let SendError::Closed { reason } = &error {
                    self.report(name, reason, now).await;
                }
            }
        }
    }

    fn parcel(&self, batch: &Batch, now: Timestamp) -> Parcel {
        let entries: Vec<Entry> = batch
            .messages
            .iter()
            .map(|message| Entry {
                message: message.as_ref().clone(),
                links: self.0.signer.as_ref().map(|signer| signer.links(message, now)).unwrap_or_default(),
                page_url: message.release.as_ref().and_then(|release| (self.0.page_address)(release)),
            })
            .collect();
        let at = batch.messages.iter().map(|message| message.at).max().unwrap_or(now);
        Parcel { id: batch.id.clone(), at, entries, omitted: batch.behind }
    }

    async fn end(&self, lane: &LaneShared, message: &str, ended: &Ended, now: Timestamp) {
        let delivery = DeliveryId {
            message: message.to_owned(),
            channel: lane.channel.name().to_owned(),
            recipient: lane.recipient.clone(),
        };
        if let Err(error) = self.0.outbox.end(&delivery, ended, now).await {
            // It stays in the outbox, and is sent again after a restart.
            tracing::error!(channel = lane.channel.name(), message, error = %chain(&error), "cannot store how a message ended");
        }
    }

    async fn dropped(&self, lane: &LaneShared, dropped: Vec<Dropped>, now: Timestamp) {
        let name = lane.channel.name();
        for Dropped { message, why } in dropped {
            let reason = match why {
                Why::Superseded => {
                    self.end(lane, &message.id, &Ended::Superseded, now).await;
                    continue;
                }
                Why::Refused(reason) => reason,
                Why::Expired(reason) => format!("not sent in time: {reason}"),
                Why::Overflow => "too many messages were waiting".to_owned(),
            };
            lane.lost.fetch_add(1, Ordering::Relaxed);
            let release = message.release.as_ref().map(ToString::to_string);
            tracing::error!(
                channel = name,
                message = message.id,
                kind = message.kind.word(),
                release,
                reason,
                "message lost"
            );
            self.end(lane, &message.id, &Ended::Lost(reason.clone()), now).await;
            // A lost report of a loss is not reported again.
            if message.kind != MessageKind::ChannelFailing {
                self.report(name, &format!("lost a message: {reason}"), now).await;
            }
        }
    }

    /// Tells the other channels that one fails.
    async fn report(&self, failing: &str, why: &str, now: Timestamp) {
        let message = Message::channel_failing(failing, why, now);
        let others: Vec<String> = self
            .0
            .settings
            .channels
            .iter()
            .map(|channel| channel.name.clone())
            .filter(|name| name != failing)
            .collect();
        let telling = Box::pin(self.tell_channels(&message, others.iter()));
        if let Err(error) = telling.await {
            tracing::error!(error = %chain(&error), "cannot keep a message");
        }
    }

    async fn escalations(self, mut stopped: watch::Receiver<bool>) {
        while !*stopped.borrow() {
            let now = (self.0.clock)();
            let next = match self.escalate_due(now).await {
                Ok(next) => next,
                Err(error) => {
                    tracing::error!(error = %chain(&error), "cannot see which pauses await an answer");
                    None
                }
            };
            let sleep = next.map_or(SLEEP_MAX, |when| when.since(now).min(SLEEP_MAX));
            tokio::select! {
                () = self.0.escalate.notified() => {}
                () = tokio::time::sleep(sleep.max(Duration::from_millis(10))) => {}
                _ = stopped.changed() => {}
            }
        }
    }

    /// Escalates what is due, and says when the next will be.
    async fn escalate_due(&self, now: Timestamp) -> Result<Option<Timestamp>, OutboxError> {
        let mut next: Option<Timestamp> = None;
        for mut awaited in self.0.outbox.awaited().await? {
            if awaited.due_at > now {
                next = Some(next.map_or(awaited.due_at, |first| first.min(awaited.due_at)));
                continue;
            }
            let way = routing::way(&self.0.settings, &awaited.paused);
            let Some(within) = way.acknowledge_within.filter(|_| awaited.rounds < ESCALATIONS_MAX) else {
                self.0.outbox.answered(&awaited.release).await?;
                continue;
            };
            awaited.rounds += 1;
            awaited.due_at = now + within;
            let message = Message::unacknowledged(&awaited.paused, awaited.rounds, now);
            let channels = if way.escalate_to.is_empty() { &way.channels } else { &way.escalate_to };
            self.tell_channels(&message, channels.iter()).await?;
            self.0.outbox.await_answer(&awaited).await?;
            next = Some(next.map_or(awaited.due_at, |first| first.min(awaited.due_at)));
        }
        Ok(next)
    }

    async fn tidying(self, mut stopped: watch::Receiver<bool>) {
        while !*stopped.borrow() {
            let now = (self.0.clock)();
            if let Err(error) = self.0.outbox.forget(now - REMEMBERED_FOR).await {
                tracing::error!(error = %chain(&error), "cannot tidy the outbox");
            }
            tokio::select! {
                () = tokio::time::sleep(TIDY_EVERY) => {}
                _ = stopped.changed() => {}
            }
        }
    }
}

//! What all actors of the daemon share.

use std::sync::Arc;
use std::sync::RwLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::broadcast;

use crate::adapters::chain::chain;
use crate::adapters::guardian::{Event, EventKind, GuardianError, Readiness};
use crate::adapters::store::{Store, StoreError};
use crate::adapters::telemetry::{Metrics, WhatLabels};
use crate::domain::{ApplicationName, ReleaseKey, Timestamp};
use crate::judge::WarmUp;

/// Events that a slow receiver may lag behind before it misses some.
const EVENTS_MAX: usize = 1_024;

/// What the store must have room for before its trouble is over: as much as a
/// step or a chunk of samples takes, not the one page that a full disk may
/// still have.
const ROOM_BYTES: usize = 1024 * 1024;

/// What all actors share.
pub(super) struct Shared {
    pub(super) store: Arc<dyn Store>,
    pub(super) metrics: Metrics,
    pub(super) clock: fn() -> Timestamp,
    /// The address of the interface, for links in commands.
    pub(super) public_url: RwLock<String>,
    /// How much of the past before a release is kept.
    pub(super) before: RwLock<Duration>,
    events: broadcast::Sender<Event>,
    events_sent: AtomicU64,
    /// Why the store failed last, until it works again.
    store_trouble: RwLock<Option<String>>,
}

impl Shared {
    pub(super) fn new(
        store: Arc<dyn Store>,
        metrics: Metrics,
        clock: fn() -> Timestamp,
        public_url: String,
        before: Duration,
    ) -> Self {
        Self {
            store,
            metrics,
            clock,
            public_url: RwLock::new(public_url),
            before: RwLock::new(before),
            events: broadcast::Sender::new(EVENTS_MAX),
            events_sent: AtomicU64::new(0),
            store_trouble: RwLock::new(None),
        }
    }

    pub(super) fn now(&self) -> Timestamp {
        (self.clock)()
    }

    pub(super) fn before(&self) -> Duration {
        *read(&self.before)
    }

    /// Where people see a release.
    pub(super) fn url(&self, release: &ReleaseKey) -> String {
        let base = read(&self.public_url).trim_end_matches('/').to_owned();
        let Ok(mut url) = url::Url::parse(&base) else { return base };
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(["releases", release.application.as_str(), release.id.as_str()]);
        }
        url.into()
    }

    pub(super) fn publish(&self, release: &ReleaseKey, kind: EventKind) {
        let sequence = self.events_sent.fetch_add(1, Ordering::Relaxed) + 1;
        // Without receivers nobody is interested.
        let _ = self.events.send(Event { sequence, release: release.clone(), at: self.now(), kind });
    }

    pub(super) fn subscribe(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    /// What an application's earlier good releases taught of its warm-up.
    pub(super) async fn warm_up(&self, application: &ApplicationName) -> Result<WarmUp, StoreError> {
        let seen = self.stored("warm_ups_seen", self.store.warm_ups_seen(application)).await?;
        Ok(WarmUp::learn(&seen))
    }

    /// Waits for the store, measures it, and remembers that it failed.
    pub(super) async fn stored<T>(
        &self,
        what: &'static str,
        work: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let begun = Instant::now();
        let result = work.await;
        let labels = WhatLabels { what };
        self.metrics.store_seconds.get_or_create(&labels).observe(begun.elapsed().as_secs_f64());
        if let Err(error) = &result
            && !error.is_used_key()
        {
            self.metrics.store_failures.inc();
            let text = chain(error);
            tracing::error!(what, error = %text, "the store failed");
            *write(&self.store_trouble) = Some(text);
        }
        result
    }

    /// Tries the store. A full disk can still be read, and a little may still
    /// be written: only this shows that its trouble is over.
    pub(super) async fn beat(&self) {
        let room = if read(&self.store_trouble).is_some() { ROOM_BYTES } else { 0 };
        // What fails is logged, counted and shown by `stored` itself.
        if self.stored("beat", self.store.beat(self.now(), room)).await.is_ok() {
            *write(&self.store_trouble) = None;
        }
    }

    pub(super) fn readiness(&self) -> Readiness {
        let troubles: Vec<String> = read(&self.store_trouble).iter().cloned().collect();
        Readiness { ready: troubles.is_empty(), troubles }
    }
}

/// A lock whose holder panicked still holds plain data.
pub(super) fn read<T>(lock: &RwLock<T>) -> std::sync::RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// As [`read`], to write.
pub(super) fn write<T>(lock: &RwLock<T>) -> std::sync::RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl From<StoreError> for GuardianError {
    fn from(error: StoreError) -> Self {
        Self::Unavailable { reason: chain(&error) }
    }
}

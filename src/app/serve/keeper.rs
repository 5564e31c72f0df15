//! Keeps an application's samples in the store, so that those around a
//! release survive a kill, and forgets them when no release needs them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::adapters::telemetry::{ApplicationLabels, ScrapeLabels, WhatLabels};
use crate::domain::{ApplicationName, InstanceId, Scrape, ScrapeOutcome, Timestamp};
use crate::guard::EpisodeSnapshot;

use super::shared::Shared;

/// While a release is watched a kill loses at most so much.
const FLUSH_WATCHING: Duration = Duration::from_secs(5);
/// Otherwise chunks are longer, which compresses better.
const FLUSH_IDLE: Duration = Duration::from_secs(60);
/// Samples that are stored at once at the latest.
const FLUSH_SAMPLES: usize = 400_000;
/// Samples in memory while the store fails; older ones are shed.
const SAMPLES_MAX: usize = 2_000_000;
const FORGET_EVERY: Duration = Duration::from_secs(600);
/// Instances whose trouble is told; of more, how many there are.
const TROUBLES_MAX: usize = 10;

pub(super) struct Keeper {
    application: ApplicationName,
    shared: Arc<Shared>,
    pending: Vec<Scrape>,
    pending_samples: usize,
    flushed_at: Instant,
    forgot_at: Instant,
    seen: BTreeMap<InstanceId, Seen>,
}

/// The newest scrape of an instance.
struct Seen {
    at: Timestamp,
    trouble: Option<String>,
}

impl Keeper {
    pub(super) fn new(application: ApplicationName, shared: Arc<Shared>) -> Self {
        let now = Instant::now();
        Self {
            application,
            shared,
            pending: Vec::new(),
            pending_samples: 0,
            flushed_at: now,
            forgot_at: now,
            seen: BTreeMap::new(),
        }
    }

    /// Instances that were scraped lately, and how many of them answered.
    pub(super) fn instances(&self) -> (Vec<InstanceId>, u32) {
        let up = self.seen.values().filter(|seen| seen.trouble.is_none()).count();
        (self.seen.keys().cloned().collect(), up as u32)
    }

    /// What was wrong with the newest scrapes, instance by instance.
    pub(super) fn troubles(&self) -> Vec<String> {
        let told =
            |(instance, seen): (&InstanceId, &Seen)| Some(format!("{instance}: {}", seen.trouble.as_ref()?));
        let mut troubles: Vec<String> = self.seen.iter().filter_map(told).take(TROUBLES_MAX).collect();
        let all = self.seen.values().filter(|seen| seen.trouble.is_some()).count();
        if all > troubles.len() {
            troubles.push(format!("{} more instances give nothing, or not all", all - troubles.len()));
        }
        troubles
    }

    pub(super) fn take(&mut self, scrape: Scrape) {
        let outcome = match &scrape.outcome {
            ScrapeOutcome::Complete => "complete",
            ScrapeOutcome::Incomplete { .. } => "incomplete",
            ScrapeOutcome::Failed(_) => "failed",
        };
        let labels = ScrapeLabels { application: self.application.to_string(), outcome };
        self.shared.metrics.scrapes.get_or_create(&labels).inc();
        if let ScrapeOutcome::Incomplete { lost, .. } = &scrape.outcome {
            let labels = ApplicationLabels { application: self.application.to_string() };
            self.shared.metrics.lines_lost.get_or_create(&labels).inc_by(u64::from(*lost));
        }
        let seen = Seen { at: scrape.at, trouble: scrape.outcome.trouble() };
        self.seen.insert(scrape.instance.clone(), seen);
        self.pending_samples += scrape.samples.len() + 1;
        self.pending.push(scrape);
        if self.pending_samples > SAMPLES_MAX {
            let keep = self.pending.split_off(self.pending.len() / 2);
            let labels = WhatLabels { what: "stored_scrapes" };
            self.shared.metrics.shed.get_or_create(&labels).inc_by(self.pending.len() as u64);
            tracing::warn!(application = %self.application, scrapes = self.pending.len(), "samples that could not be stored are shed");
            self.pending = keep;
            self.pending_samples = self.pending.iter().map(|s| s.samples.len() + 1).sum();
        }
    }

    pub(super) async fn tick(&mut self, watched: Option<&EpisodeSnapshot>) {
        let wait = if watched.is_some() { FLUSH_WATCHING } else { FLUSH_IDLE };
        if self.flushed_at.elapsed() >= wait || self.pending_samples >= FLUSH_SAMPLES {
            self.flush().await;
        }
        if self.forgot_at.elapsed() >= FORGET_EVERY {
            self.forgot_at = Instant::now();
            let from = watched.map_or_else(|| self.shared.now(), |state| state.order.started_at);
            let before = from - self.shared.before() - FORGET_EVERY;
            self.seen.retain(|_, seen| seen.at >= self.shared.now() - FORGET_EVERY);
            let work = self.shared.store.forget_samples(&self.application, before);
            // Logged and counted; what is too old now is so the next time.
            let _ = self.shared.stored("forget_samples", work).await;
        }
    }

    /// Stores what is in memory. What could not be stored stays for the next time.
    pub(super) async fn flush(&mut self) {
        self.flushed_at = Instant::now();
        if self.pending.is_empty() {
            return;
        }
        let work = self.shared.store.append_samples(&self.application, &self.pending);
        if self.shared.stored("append_samples", work).await.is_ok() {
            self.pending.clear();
            self.pending_samples = 0;
        }
    }
}

//! Following series live, and reading their past, as scrapes.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use crate::domain::{InstanceId, MetricFamily, Scrape, ScrapeFailure, ScrapeOutcome, SeriesKey, Timestamp};

use super::{ApiError, Client, Query};

/// How far back each poll looks, in steps: samples may reach the server late.
const LOOK_BACK_STEPS: u32 = 4;

/// An instance without samples for so long is no longer followed.
const FORGET_AFTER: Duration = Duration::from_secs(24 * 3600);

/// Series keys that are remembered; past this all are forgotten once.
const KEYS_MAX: usize = 500_000;

/// Metadata is asked for again after so long.
const METADATA_AGE_MAX: Duration = Duration::from_secs(600);

/// What one poll or one stretch of history gave.
#[derive(Debug, Default)]
pub struct Poll {
    /// In the order of time, then instance.
    pub scrapes: Vec<Scrape>,
    /// What the server warned of, or why it could not say.
    pub problems: Vec<String>,
}

/// Follows the series of some queries on one server.
pub struct Poller {
    client: Client,
    queries: Vec<Query>,
    /// For each instance the time of its newest scrape.
    newest: BTreeMap<InstanceId, Timestamp>,
    keys: HashMap<SeriesKey, Arc<SeriesKey>>,
    families: Arc<[MetricFamily]>,
    families_asked_at: Option<Timestamp>,
}

impl Poller {
    /// Follows nothing yet.
    pub fn new(client: Client, queries: Vec<Query>) -> Self {
        Self {
            client,
            queries,
            newest: BTreeMap::new(),
            keys: HashMap::new(),
            families: Arc::new([]),
            families_asked_at: None,
        }
    }

    /// The client, for other questions to the same server.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Every scrape after `from` up to `to`.
    ///
    /// # Errors
    /// If the server does not answer one of the questions.
    pub async fn history(&mut self, from: Timestamp, to: Timestamp) -> Result<Poll, ApiError> {
        let mut poll = Poll::default();
        for of_query in self.history_by_query(from, to).await? {
            poll.problems.extend(of_query.problems);
            poll.scrapes.extend(of_query.scrapes);
        }
        poll.scrapes = unite(poll.scrapes);
        for scrape in &poll.scrapes {
            let newest = self.newest.entry(scrape.instance.clone()).or_insert(scrape.at);
            *newest = scrape.at.max(*newest);
        }
        Ok(poll)
    }

    /// The same for each query apart, in their order.
    ///
    /// # Errors
    /// If the server does not answer one of the questions.
    pub async fn history_by_query(&mut self, from: Timestamp, to: Timestamp) -> Result<Vec<Poll>, ApiError> {
        self.refresh_families(to).await;
        let mut polls = Vec::new();
        for query in &self.queries {
            let answer = self.client.samples(&query.selector, from, to).await?;
            let problems = answer.warnings.clone();
            let scrapes = answer.into_scrapes(&query.instance, &self.families, &mut self.keys);
            polls.push(Poll { scrapes, problems });
        }
        Ok(polls)
    }

    /// The scrapes that are new since the last call. If the server cannot
    /// say, each known instance gets a scrape that says so: we are blind, and
    /// the instance is not silent.
    pub async fn poll(&mut self, now: Timestamp) -> Poll {
        let known = self.newest.clone();
        self.newest.retain(|_, newest| now.since(*newest) < FORGET_AFTER);
        if self.keys.len() > KEYS_MAX {
            self.keys.clear();
        }
        let mut read = self.history(now - self.client.step * LOOK_BACK_STEPS, now).await;
        if read.as_ref().is_ok_and(|poll| poll.scrapes.is_empty()) {
            // An empty answer means silence only from a server that is well.
            if let Err(error) = self.client.check_alive().await {
                read = Err(error);
            }
        }
        match read {
            Ok(mut poll) => {
                poll.scrapes.retain(|scrape| known.get(&scrape.instance).is_none_or(|at| *at < scrape.at));
                poll
            }
            Err(error) => {
                let why = error.to_string();
                let blind = self.newest.keys().map(|instance| Scrape {
                    instance: instance.clone(),
                    at: now,
                    outcome: ScrapeOutcome::Failed(ScrapeFailure::SourceDown(why.clone())),
                    samples: Vec::new(),
                    families: self.families.clone(),
                });
                Poll { scrapes: blind.collect(), problems: vec![why] }
            }
        }
    }

    async fn refresh_families(&mut self, now: Timestamp) {
        if self.families_asked_at.is_some_and(|at| now.since(at) < METADATA_AGE_MAX) {
            return;
        }
        // Not every server has metadata; types are then found by names.
        if let Ok(families) = self.client.metadata().await {
            self.families_asked_at = Some(now);
            if *families != *self.families {
                self.families = families.into();
            }
        }
    }
}

/// In order, and with one scrape for each instance and time: an instance may
/// be asked about with several selectors.
fn unite(mut scrapes: Vec<Scrape>) -> Vec<Scrape> {
    scrapes.sort_by(|a, b| (a.at, &a.instance).cmp(&(b.at, &b.instance)));
    scrapes.dedup_by(|later, first| {
        let same = later.at == first.at && later.instance == first.instance;
        if same {
            if first.outcome == ScrapeOutcome::Complete {
                first.outcome = later.outcome.clone();
            }
            let known: HashSet<*const SeriesKey> =
                first.samples.iter().map(|sample| Arc::as_ptr(&sample.series)).collect();
            later.samples.retain(|sample| !known.contains(&Arc::as_ptr(&sample.series)));
            first.samples.append(&mut later.samples);
        }
        same
    });
    scrapes
}

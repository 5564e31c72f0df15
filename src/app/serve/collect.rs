//! Collectors: they bring scrapes from the sources to the applications.

use std::sync::{Arc, Weak};

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::adapters::outgoing::ClientError;
use crate::adapters::scrape::{self, Connection};
use crate::adapters::targets::{Discovered, Discovery};
use crate::config::{ScrapeSource, Source, SourceKind};

use super::daemon::{Daemon, Environment};
use super::history::{Questions, question, questions};

/// Scrapes of one source that wait to be given to applications.
const SCRAPES_MAX: usize = 1_024;

/// The running collectors.
pub(super) struct Collectors {
    running: Vec<Collector>,
}

/// What a collector was made from, and its tasks.
struct Collector {
    source: Source,
    questions: Vec<Questions>,
    tasks: Vec<JoinHandle<()>>,
}

impl Collectors {
    /// Starts a collector for each source of the settings.
    ///
    /// # Errors
    /// If a secret or certificate of a source cannot be had.
    pub(super) fn start(daemon: &Arc<Daemon>) -> Result<Self, ClientError> {
        let mut collectors = Self { running: Vec::new() };
        collectors.follow(daemon)?;
        Ok(collectors)
    }

    /// Starts what is new in the settings, ends what is gone; what did not
    /// change goes on undisturbed.
    ///
    /// # Errors
    /// If a secret or certificate of a source cannot be had; collectors that
    /// run already go on.
    pub(super) fn follow(&mut self, daemon: &Arc<Daemon>) -> Result<(), ClientError> {
        let settings = daemon.settings();
        let mut wanted: Vec<(&Source, Vec<Questions>)> = Vec::new();
        for source in &settings.sources {
            match &source.kind {
                SourceKind::Scrape(_) => wanted.push((source, Vec::new())),
                SourceKind::Prometheus(server) => {
                    wanted.push((source, questions(&settings, &source.name, server)));
                    // Each on its own: one more disturbs no other.
                    let asked = daemon.asked_of(&source.name).into_iter();
                    wanted.extend(asked.map(|(name, select)| (source, vec![question(name, select, server)])));
                }
            }
        }
        let mut new = Vec::new();
        for (source, questions) in &wanted {
            if !self.running.iter().any(|c| c.source == **source && c.questions == *questions) {
                let tasks = collect(daemon, source, questions.clone())?;
                new.push(Collector { source: (*source).clone(), questions: questions.clone(), tasks });
            }
        }
        self.running.retain(|c| {
            let stays =
                wanted.iter().any(|(source, questions)| c.source == **source && c.questions == *questions);
            if !stays {
                c.tasks.iter().for_each(JoinHandle::abort);
            }
            stays
        });
        self.running.extend(new);
        Ok(())
    }

    pub(super) fn stop(&self) {
        self.running.iter().flat_map(|c| &c.tasks).for_each(JoinHandle::abort);
    }
}

fn collect(
    daemon: &Arc<Daemon>,
    source: &Source,
    questions: Vec<Questions>,
) -> Result<Vec<JoinHandle<()>>, ClientError> {
    let weak = Arc::downgrade(daemon);
    match &source.kind {
        SourceKind::Scrape(scrape) => scrape_targets(weak, &daemon.environment, &source.name, scrape),
        SourceKind::Prometheus(prometheus) => {
            super::history::collect(weak, &daemon.environment, &source.name, prometheus, questions)
        }
    }
}

fn scrape_targets(
    daemon: Weak<Daemon>,
    environment: &Environment,
    name: &str,
    source: &ScrapeSource,
) -> Result<Vec<JoinHandle<()>>, ClientError> {
    let connection = Connection::new(&source.client, environment.as_ref())?;
    let discovery = Discovery::new(source, environment.as_ref())?;
    let (found, targets) = watch::channel(Discovered::default());
    let (scrapes, scraped) = mpsc::channel(SCRAPES_MAX);
    let watched = scrape::watch(source.clone(), connection, targets.clone(), scrapes);
    Ok(vec![
        tokio::spawn(discovery.run(found)),
        tokio::spawn(watched),
        tokio::spawn(follow_targets(daemon.clone(), name.to_owned(), targets)),
        tokio::spawn(give(daemon, name.to_owned(), scraped)),
    ])
}

async fn follow_targets(daemon: Weak<Daemon>, source: String, mut targets: watch::Receiver<Discovered>) {
    while targets.changed().await.is_ok() {
        let found = targets.borrow_and_update().clone();
        for problem in &found.problems {
            tracing::warn!(source, problem, "a target list could not be read; its last good state stands");
        }
        let Some(daemon) = daemon.upgrade() else { return };
        daemon.take_targets(&source, &found);
    }
}

async fn give(
    daemon: Weak<Daemon>,
    source: String,
    mut scraped: mpsc::Receiver<(Arc<crate::adapters::targets::Target>, crate::domain::Scrape)>,
) {
    while let Some((target, scrape)) = scraped.recv().await {
        let Some(daemon) = daemon.upgrade() else { return };
        daemon.route(&source, &target, &scrape);
    }
}

//! `check --probe`: each source is asked once, and what came is shown for each
//! target.

use std::sync::Arc;

use tokio::task::JoinSet;
use url::Url;

use crate::adapters::chain::chain;
use crate::adapters::prometheus::Client;
use crate::adapters::scrape::{Connection, NoPage, Scraper};
use crate::adapters::targets::{Discovery, Target};
use crate::config::{PrometheusSource, ScrapeSource, Settings, SourceKind, Surroundings};
use crate::domain::ScrapeOutcome;
use crate::signal::exposition::{Limits, Reader};

/// Targets asked at the same time.
const AT_ONCE: usize = 16;

/// What came from all sources.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Probed {
    /// A line for each source and target.
    pub lines: Vec<String>,
    /// How many sources and targets gave nothing, or not all.
    pub troubles: usize,
}

impl Probed {
    fn good(&mut self, line: String) {
        self.lines.push(line);
    }

    fn trouble(&mut self, line: String) {
        self.troubles += 1;
        self.lines.push(line);
    }
}

/// Asks every source once.
pub async fn probe(settings: &Settings, surroundings: &dyn Surroundings) -> Probed {
    let mut probed = Probed::default();
    for source in &settings.sources {
        probed.good(format!("source {}", source.name));
        match &source.kind {
            SourceKind::Scrape(scrape) => probe_targets(scrape, surroundings, &mut probed).await,
            SourceKind::Prometheus(prometheus) => probe_server(prometheus, surroundings, &mut probed).await,
        }
    }
    probed
}

async fn probe_server(source: &PrometheusSource, surroundings: &dyn Surroundings, probed: &mut Probed) {
    let client = match Client::new(source, surroundings) {
        Ok(client) => client,
        Err(error) => return probed.trouble(format!("  {}: {}", source.url, chain(&error))),
    };
    match client.check_alive().await {
        Ok(()) => probed.good(format!("  {}: answers queries", source.url)),
        Err(error) => probed.trouble(format!("  {}: {}", source.url, chain(&error))),
    }
}

async fn probe_targets(source: &ScrapeSource, surroundings: &dyn Surroundings, probed: &mut Probed) {
    let discovery = Discovery::new(source, surroundings);
    let connections = Connection::new(&source.client, surroundings).and_then(|following| {
        Ok(Connections { following, direct: Connection::following(0, &source.client, surroundings)? })
    });
    let (mut discovery, connections) = match (discovery, connections) {
        (Ok(discovery), Ok(connections)) => (discovery, connections),
        (Err(error), _) | (_, Err(error)) => return probed.trouble(format!("  {}", chain(&error))),
    };
    let found = discovery.refresh_due().await;
    found.problems.iter().for_each(|problem| probed.trouble(format!("  {problem}")));
    if found.targets.is_empty() {
        probed.trouble("  no targets".to_owned());
    }
    let mut waiting = found.targets.iter().cloned();
    let mut running = JoinSet::new();
    let mut answers = Vec::new();
    loop {
        while running.len() < AT_ONCE
            && let Some(target) = waiting.next()
        {
            running.spawn(probe_target(target, connections.clone(), source.clone()));
        }
        match running.join_next().await {
            None => break,
            Some(Ok(answer)) => answers.push(answer),
            Some(Err(error)) => probed.trouble(format!("  a target could not be asked: {error}")),
        }
    }
    answers.sort();
    for (line, is_good) in answers {
        if is_good { probed.good(line) } else { probed.trouble(line) }
    }
}

/// How targets are asked.
#[derive(Clone)]
struct Connections {
    following: Connection,
    /// Follows no redirect: who is behind one and does not answer is named.
    direct: Connection,
}

async fn probe_target(target: Arc<Target>, connections: Connections, source: ScrapeSource) -> (String, bool) {
    let scraper = Scraper::new(target.clone(), connections.following, &source);
    let sent_to = async {
        let direct = Scraper::new(target.clone(), connections.direct, &source);
        tokio::time::timeout(source.timeout, direct.sent_to()).await.ok().flatten()
    };
    let shown = |redirected: Option<&Url>, what: String| match redirected {
        None => format!("  {} ({}): {what}", target.instance, target.url),
        Some(to) => format!("  {} ({}, redirected to {to}): {what}", target.instance, target.url),
    };
    let fetched = match tokio::time::timeout(source.timeout, scraper.fetch()).await {
        Ok(Ok(fetched)) => fetched,
        Ok(Err(NoPage { failure, redirected })) => {
            let redirected = match redirected {
                Some(to) => Some(to),
                None => sent_to.await,
            };
            return (shown(redirected.as_ref(), failure.to_string()), false);
        }
        Err(_) => {
            let seconds = source.timeout.as_secs_f64();
            let what = format!("no answer within the timeout of {seconds} s");
            return (shown(sent_to.await.as_ref(), what), false);
        }
    };
    let shown = |what: String| shown(fetched.redirected.as_ref(), what);
    let limits = Limits { samples: source.series_limit as usize, ..Limits::default() };
    let page = match Reader::new(limits).read(&fetched.body, fetched.dialect) {
        Ok(page) => page,
        Err(error) => return (shown(error.to_string()), false),
    };
    let what = format!("{} samples", page.samples.len());
    match page.outcome() {
        ScrapeOutcome::Incomplete { lost, first } => {
            (shown(format!("{what}, {lost} lines lost, the first: {first}")), false)
        }
        ScrapeOutcome::Complete | ScrapeOutcome::Failed(_) if page.samples.is_empty() => {
            (shown("it answers with a page without samples; check the path of its metrics".to_owned()), false)
        }
        ScrapeOutcome::Complete | ScrapeOutcome::Failed(_) => (shown(what), true),
    }
}

//! `check --probe`: each source is asked once, and what came is shown for each
//! target, with the opinion of a second reader where it differs.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::task::JoinSet;

use crate::adapters::chain::chain;
use crate::adapters::prometheus::Client;
use crate::adapters::scrape::{Connection, Scraper};
use crate::adapters::targets::{Discovery, Target};
use crate::config::{PrometheusSource, ScrapeSource, Settings, SourceKind, Surroundings};
use crate::domain::{ScrapeOutcome, SeriesKey};
use crate::signal::exposition::{Limits, Page, Reader};

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
    let connection = Connection::new(&source.client, surroundings);
    let (mut discovery, connection) = match (discovery, connection) {
        (Ok(discovery), Ok(connection)) => (discovery, connection),
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
            running.spawn(probe_target(target, connection.clone(), source.clone()));
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

async fn probe_target(target: Arc<Target>, connection: Connection, source: ScrapeSource) -> (String, bool) {
    let scraper = Scraper::new(target.clone(), connection, &source);
    let shown = |what: String| format!("  {} ({}): {what}", target.instance, target.url);
    let fetched = match tokio::time::timeout(source.timeout, scraper.fetch()).await {
        Ok(Ok(fetched)) => fetched,
        Ok(Err(failure)) => return (shown(failure.to_string()), false),
        Err(_) => return (shown("no answer within the timeout".to_owned()), false),
    };
    let limits = Limits { samples: source.series_limit as usize, ..Limits::default() };
    let page = match Reader::new(limits).read(&fetched.0, fetched.1) {
        Ok(page) => page,
        Err(error) => return (shown(error.to_string()), false),
    };
    let mut what = format!("{} samples", page.samples.len());
    let is_good = match page.outcome() {
        ScrapeOutcome::Incomplete { lost, first } => {
            what.push_str(&format!(", {lost} lines lost, the first: {first}"));
            false
        }
        ScrapeOutcome::Complete | ScrapeOutcome::Failed(_) => true,
    };
    if let Some(difference) = second_opinion(&page, &fetched.0) {
        what.push_str(&format!("; prometheus-parse {difference}"));
    }
    (shown(what), is_good)
}

/// What another reader makes of the page, where it differs: it loses lines
/// without a word, so its word is shown and counts for nothing.
fn second_opinion(page: &Page, body: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(body);
    let scrape = match prometheus_parse::Scrape::parse(text.lines().map(|line| Ok(line.to_owned()))) {
        Ok(scrape) => scrape,
        Err(error) => return Some(format!("cannot read the page: {error}")),
    };
    let mut theirs = BTreeSet::new();
    let mut families = BTreeSet::new();
    for sample in &scrape.samples {
        match &sample.value {
            prometheus_parse::Value::Counter(_)
            | prometheus_parse::Value::Gauge(_)
            | prometheus_parse::Value::Untyped(_) => {
                let labels = sample.labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
                theirs.insert(SeriesKey::new(&sample.metric, labels).to_string());
            }
            // It folds the series of these into one value.
            prometheus_parse::Value::Histogram(_) | prometheus_parse::Value::Summary(_) => {
                families.insert(sample.metric.clone());
            }
        }
    }
    let ours: BTreeSet<String> = page
        .samples
        .iter()
        .filter(|sample| !families.iter().any(|family| sample.series.name().starts_with(family.as_str())))
        .map(|sample| sample.series.to_string())
        .collect();
    let theirs: BTreeSet<String> = theirs
        .into_iter()
        .filter(|key| !families.iter().any(|family| key.starts_with(family.as_str())))
        .collect();
    let (missing, other) = (ours.difference(&theirs), theirs.difference(&ours));
    let (missing, other): (Vec<_>, Vec<_>) = (missing.collect(), other.collect());
    let first = missing.first().or(other.first())?;
    Some(format!("reads {} series less and {} otherwise, as {first}", missing.len(), other.len()))
}

//! Direct scraping: one target's page over HTTP into a [`Scrape`], whatever
//! happens. A failure is a scrape with its cause, never an absence.

use std::collections::HashMap;
use std::error::Error as _;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, LOCATION};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, MissedTickBehavior};
use url::Url;

use crate::config::{HttpClient, ScrapeSource, Surroundings};
use crate::domain::{InstanceId, Sample, Scrape, ScrapeFailure, ScrapeOutcome, target_info};
use crate::signal::exposition::{Dialect, Limits, Page, Reader, SharedKeys};

use super::clock;
use super::outgoing::{self, ClientError};
use super::targets::{Discovered, Target};

/// What is asked for: OpenMetrics first, since a cut page of it is noticed.
const ACCEPTED: &str = "application/openmetrics-text;version=1.0.0;q=0.75,\
    application/openmetrics-text;version=0.0.1;q=0.7,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";

/// A client for the servers of one source, with its authentication.
#[derive(Clone)]
pub struct Connection {
    client: reqwest::Client,
    authorization: Option<SecretString>,
}

impl Connection {
    /// Sets the connection up. Proxies of the environment are not used.
    ///
    /// # Errors
    /// If a certificate or secret of the settings cannot be had.
    pub fn new(settings: &HttpClient, surroundings: &dyn Surroundings) -> Result<Self, ClientError> {
        Self::following(3, settings, surroundings)
    }

    /// The same, with so many redirects.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn following(
        redirects: usize,
        settings: &HttpClient,
        surroundings: &dyn Surroundings,
    ) -> Result<Self, ClientError> {
        let policy = match redirects {
            0 => reqwest::redirect::Policy::none(),
            _ => reqwest::redirect::Policy::limited(redirects),
        };
        let client = outgoing::builder(settings, surroundings)?.no_proxy().redirect(policy).build()?;
        Ok(Self { client, authorization: outgoing::authorization(&settings.auth, surroundings)? })
    }

    /// A request with the source's authentication.
    pub(super) fn request(&self, method: reqwest::Method, url: Url) -> reqwest::RequestBuilder {
        let request = self.client.request(method, url);
        match &self.authorization {
            Some(value) => request.header(AUTHORIZATION, value.expose_secret()),
            None => request,
        }
    }
}

/// Scrapes one target again and again, and remembers its series.
pub struct Scraper {
    target: Arc<Target>,
    /// What the target's list says of it, in every scrape.
    info: Sample,
    connection: Connection,
    timeout: Duration,
    body_limit_bytes: u64,
    reader: Reader,
}

impl Scraper {
    /// A scraper of `target` within the limits of its source.
    pub fn new(target: Arc<Target>, connection: Connection, source: &ScrapeSource) -> Self {
        Self::sharing(target, connection, source, SharedKeys::default())
    }

    /// The same, with keys that the scrapers of a source share.
    pub fn sharing(
        target: Arc<Target>,
        connection: Connection,
        source: &ScrapeSource,
        keys: SharedKeys,
    ) -> Self {
        let limits = Limits { samples: source.series_limit as usize, ..Limits::default() };
        let labels = target.labels.iter().map(|(label, value)| (label.as_str(), value.as_str()));
        Self {
            info: target_info(labels),
            target,
            connection,
            timeout: source.timeout,
            body_limit_bytes: source.body_limit_bytes,
            reader: Reader::sharing(limits, keys),
        }
    }

    /// Asks the target once. Takes no longer than the source's timeout.
    pub async fn scrape(&mut self) -> Scrape {
        let at = clock::now();
        let instance = self.target.instance.clone();
        let read = match tokio::time::timeout(self.timeout, self.fetch()).await {
            Err(_) => Err(ScrapeFailure::Timeout),
            Ok(Err(no_page)) => Err(no_page.failure),
            Ok(Ok(fetched)) => self
                .reader
                .read(&fetched.body, fetched.dialect)
                .map_err(|not_exposition| ScrapeFailure::NotExposition(not_exposition.to_string())),
        };
        match read {
            Ok(page) => {
                let outcome = page.outcome();
                let Page { mut samples, families, .. } = page;
                samples.insert(0, self.info.clone());
                Scrape { instance, at, outcome, samples, families }
            }
            Err(failure) => Scrape {
                instance,
                at,
                outcome: ScrapeOutcome::Failed(failure),
                samples: vec![self.info.clone()],
                families: Arc::new([]),
            },
        }
    }

    /// The page of one scrape, unread. The caller keeps the deadline.
    ///
    /// # Errors
    /// Why there is no page.
    pub async fn fetch(&self) -> Result<Fetched, NoPage> {
        let request = self
            .connection
            .request(reqwest::Method::GET, self.target.url.clone())
            .header(ACCEPT, ACCEPTED)
            .header("X-Prometheus-Scrape-Timeout-Seconds", self.timeout.as_secs_f64().to_string());
        let unreached = |error| NoPage { failure: no_answer(error), redirected: None };
        let mut response = request.send().await.map_err(unreached)?;
        let redirected = Some(response.url()).filter(|url| **url != self.target.url).cloned();
        match self.read(&mut response).await {
            Ok((body, dialect)) => Ok(Fetched { body, dialect, redirected }),
            Err(failure) => Err(NoPage { failure, redirected }),
        }
    }

    /// Where the target sends us, of a connection that follows no redirect. The
    /// caller keeps the deadline.
    pub async fn sent_to(&self) -> Option<Url> {
        let request = self.connection.request(reqwest::Method::GET, self.target.url.clone());
        let response = request.send().await.ok()?;
        let to = response.headers().get(LOCATION).filter(|_| response.status().is_redirection())?;
        self.target.url.join(to.to_str().ok()?).ok()
    }

    async fn read(&self, response: &mut reqwest::Response) -> Result<(Vec<u8>, Dialect), ScrapeFailure> {
        if response.status() != reqwest::StatusCode::OK {
            return Err(ScrapeFailure::Status(response.status().as_u16()));
        }
        let content_type = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let dialect = Dialect::from_content_type(content_type)
            .map_err(|not_exposition| ScrapeFailure::NotExposition(not_exposition.to_string()))?;
        let body = read_body(response, self.body_limit_bytes).await?;
        Ok((body, dialect))
    }
}

/// A page as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// Its text.
    pub body: Vec<u8>,
    /// How it is to be read.
    pub dialect: Dialect,
    /// Who answered, where the target sent us elsewhere.
    pub redirected: Option<Url>,
}

/// Why there is no page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoPage {
    /// What went wrong.
    pub failure: ScrapeFailure,
    /// At whom, where the target sent us elsewhere and somebody answered there.
    pub redirected: Option<Url>,
}

/// The unpacked body, up to the limit.
pub(super) async fn read_body(
    response: &mut reqwest::Response,
    limit_bytes: u64,
) -> Result<Vec<u8>, ScrapeFailure> {
    let mut body = Vec::new();
    loop {
        let chunk = response.chunk().await.map_err(|error| match error.is_timeout() {
            true => ScrapeFailure::Timeout,
            false => ScrapeFailure::NotExposition(broken_body(&error)),
        })?;
        let Some(chunk) = chunk else { return Ok(body) };
        if (body.len() + chunk.len()) as u64 > limit_bytes {
            return Err(ScrapeFailure::TooLarge { limit_bytes });
        }
        body.extend_from_slice(&chunk);
    }
}

/// What is wrong with a body that does not come to its end: it was cut, or is
/// not packed as its headers say.
fn broken_body(error: &reqwest::Error) -> String {
    let (mut is_of_transfer, mut is_of_unpacking) = (false, false);
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    while let Some(inner) = cause {
        is_of_transfer |= inner.is::<hyper::Error>();
        is_of_unpacking |= inner
            .downcast_ref::<io::Error>()
            .is_some_and(|io| matches!(io.kind(), io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput));
        cause = inner.source();
    }
    match is_of_unpacking && !is_of_transfer {
        true => format!("its body is not packed as its Content-Encoding says: {}", innermost(error)),
        false => format!("its body was cut: {}", innermost(error)),
    }
}

/// Why there was no answer: nobody serves there, or nobody can be reached.
pub(super) fn no_answer(error: reqwest::Error) -> ScrapeFailure {
    if error.is_timeout() {
        return ScrapeFailure::Timeout;
    }
    let mut cause = error.source();
    while let Some(inner) = cause {
        if let Some(io) = inner.downcast_ref::<io::Error>() {
            match io.kind() {
                io::ErrorKind::ConnectionRefused
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::ConnectionAborted
                | io::ErrorKind::BrokenPipe => return ScrapeFailure::Refused,
                _ => {}
            }
        }
        cause = inner.source();
    }
    if error.is_connect() {
        return ScrapeFailure::Unreachable(innermost(&error));
    }
    // The connection stood and was closed before an answer.
    ScrapeFailure::Refused
}

fn innermost(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string().chars().take(200).collect()
}

/// When within each interval an instance is scraped: spread evenly, and the
/// same after a restart.
pub fn offset(instance: &InstanceId, interval: Duration) -> Duration {
    let mut hasher = DefaultHasher::new();
    instance.hash(&mut hasher);
    let interval_ms = (interval.as_millis() as u64).max(1);
    Duration::from_millis(hasher.finish() % interval_ms)
}

/// Scrapes all targets of a source until `scrapes` or `targets` is closed:
/// each at its own place in the interval, none waiting for another. Targets
/// that are no longer listed are let go. Each scrape comes with its target,
/// by whose labels applications choose.
pub async fn watch(
    source: ScrapeSource,
    connection: Connection,
    mut targets: watch::Receiver<Discovered>,
    scrapes: mpsc::Sender<(Arc<Target>, Scrape)>,
) {
    let mut running: HashMap<Arc<Target>, AbortHandle> = HashMap::new();
    let mut tasks = tokio::task::JoinSet::new();
    let keys = SharedKeys::default();
    loop {
        let listed = targets.borrow_and_update().targets.clone();
        running.retain(|target, task| {
            let stays = listed.contains(target) && !task.is_finished();
            if !stays {
                task.abort();
            }
            stays
        });
        for target in listed.iter() {
            running.entry(target.clone()).or_insert_with(|| {
                let scraper = Scraper::sharing(target.clone(), connection.clone(), &source, keys.clone());
                tasks.spawn(scrape_forever(scraper, source.interval, scrapes.clone()))
            });
        }
        tokio::select! {
            changed = targets.changed() => if changed.is_err() { return },
            () = scrapes.closed() => return,
            // A scraper ends only by being let go or by a fault of its own;
            // the next turn starts it again.
            Some(_) = tasks.join_next() => {}
        }
    }
}

async fn scrape_forever(
    mut scraper: Scraper,
    interval: Duration,
    scrapes: mpsc::Sender<(Arc<Target>, Scrape)>,
) {
    let interval_ms = (interval.as_millis() as i64).max(1);
    let offset_ms = offset(&scraper.target.instance, interval).as_millis() as i64;
    let wait_ms = (offset_ms - clock::now().as_millis()).rem_euclid(interval_ms);
    let first = Instant::now() + Duration::from_millis(wait_ms as u64);
    let mut ticks = tokio::time::interval_at(first, interval);
    // After a pause of the machine one scrape is enough.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        ticks.tick().await;
        let scrape = scraper.scrape().await;
        if scrapes.send((scraper.target.clone(), scrape)).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scrapes_are_spread_over_the_interval_and_keep_their_place() {
        let interval = Duration::from_secs(10);
        let places: Vec<Duration> = (0..1000)
            .map(|i| offset(&InstanceId::new(format!("host-{i}:9100")).unwrap(), interval))
            .collect();
        assert!(places.iter().all(|place| *place < interval));
        for second in 0..10 {
            let within = places.iter().filter(|place| place.as_secs() == second).count();
            assert!((50..200).contains(&within), "{within} of 1000 in second {second}");
        }
        assert_eq!(offset(&InstanceId::new("host-7:9100").unwrap(), interval), places[7]);
    }
}

//! Asking: which applications there are, and what some of their instances
//! expose. Never all instances: a fleet shows its signals on three.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;
use url::Url;

use crate::adapters::chain::chain;
use crate::adapters::clock;
use crate::adapters::prometheus::{Answer, ApiError, Client};
use crate::adapters::scrape::{Connection, Scraper};
use crate::adapters::targets::{Discovery, Target};
use crate::config::{
    HttpClient, PrometheusSource, Scheme, ScrapeSource, Settings, Source, SourceKind, StaticTargets,
    Surroundings,
};
use crate::domain::{ApplicationName, InstanceId, Scrape, ScrapeOutcome, Selector, TARGET_INFO};
use crate::signal::Catalogue;

use super::{DiscoverError, overrides};

/// Applications that are looked at.
const APPLICATIONS_MAX: usize = 100;
/// Instances of an application whose samples are read.
const LOOKED_AT_MAX: usize = 3;
/// Targets asked at the same time.
const AT_ONCE: usize = 16;
/// The stretch of the past that is read from a server: some scrapes, also of
/// targets that are scraped once a minute.
const STRETCH: Duration = Duration::from_secs(200);

/// Everything that was seen.
#[derive(Default)]
pub(super) struct Seen {
    /// The sources, as they are to stand in the file.
    pub(super) sources: Vec<Source>,
    /// By name; without one where nothing tells it.
    pub(super) applications: BTreeMap<Option<String>, SeenApplication>,
    /// What could not be looked at.
    pub(super) problems: Vec<String>,
}

/// An application as far as it was seen.
#[derive(Default)]
pub(super) struct SeenApplication {
    /// What chooses its targets and series.
    pub(super) select: BTreeSet<String>,
    /// The sources where it was seen.
    pub(super) sources: BTreeSet<String>,
    /// All its instances.
    pub(super) instances: BTreeSet<InstanceId>,
    /// Those whose samples were read.
    pub(super) looked_at: BTreeSet<InstanceId>,
    /// Its signals.
    pub(super) catalogue: Catalogue,
    /// What could not be read.
    pub(super) problems: Vec<String>,
}

impl SeenApplication {
    fn take(&mut self, scrape: &Scrape) {
        match &scrape.outcome {
            ScrapeOutcome::Failed(failure) => {
                self.problems.push(format!("{}: {failure}", scrape.instance));
                return;
            }
            ScrapeOutcome::Incomplete { lost, first } => {
                self.problems
                    .push(format!("{}: {lost} lines were lost, the first: {first}", scrape.instance));
            }
            ScrapeOutcome::Complete => {}
        }
        self.looked_at.insert(scrape.instance.clone());
        self.catalogue.learn_families(&scrape.families);
        for sample in &scrape.samples {
            self.catalogue.feeds(&sample.series);
        }
    }
}

/// Asks within one time limit.
pub(super) struct Asker<'a> {
    surroundings: &'a dyn Surroundings,
    labels: Vec<String>,
    limit_seconds: u64,
    deadline: Instant,
}

impl<'a> Asker<'a> {
    pub(super) fn new(surroundings: &'a dyn Surroundings, labels: Vec<String>, limit_seconds: u64) -> Self {
        let deadline = Instant::now() + Duration::from_secs(limit_seconds);
        Self { surroundings, labels, limit_seconds, deadline }
    }

    async fn in_time<T>(&self, what: &str, work: impl Future<Output = T>) -> Result<T, DiscoverError> {
        tokio::time::timeout_at(self.deadline, work)
            .await
            .map_err(|_| DiscoverError::TimeUp { what: what.to_owned(), seconds: self.limit_seconds })
    }

    /// One server.
    pub(super) async fn server(&self, source: Source) -> Result<Seen, DiscoverError> {
        let mut seen = Seen::default();
        let mut source = source;
        if let SourceKind::Prometheus(server) = &mut source.kind {
            let step = self.ask_server(None, &source.name, server, &mut seen).await?;
            server.step = step.unwrap_or(server.step);
        }
        seen.sources.push(source);
        Ok(seen)
    }

    /// All sources of a settings file. One that cannot be asked is a problem,
    /// unless it is the only one.
    pub(super) async fn sources(&self, settings: &Settings) -> Result<Seen, DiscoverError> {
        let mut seen = Seen::default();
        for source in &settings.sources {
            let asked = match &source.kind {
                SourceKind::Prometheus(server) => {
                    self.ask_server(Some(settings), &source.name, server, &mut seen).await.map(drop)
                }
                SourceKind::Scrape(targets) => {
                    self.ask_lists(settings, &source.name, targets, &mut seen).await
                }
            };
            match asked {
                Ok(()) => {}
                Err(error) if settings.sources.len() == 1 => return Err(error),
                Err(error) => seen.problems.push(format!("source {}: {}", source.name, chain(&error))),
            }
        }
        Ok(seen)
    }

    /// The distance of the server's samples comes back.
    async fn ask_server(
        &self,
        settings: Option<&Settings>,
        name: &str,
        server: &PrometheusSource,
        seen: &mut Seen,
    ) -> Result<Option<Duration>, DiscoverError> {
        let client = Client::new(server, self.surroundings)?;
        let has_login = server.client.auth != crate::config::Auth::None;
        let failed = |error| DiscoverError::server(error, has_login);
        let what = format!("looking for applications on {}", server.url);
        let groups = self.in_time(&what, self.groups(&client, server)).await?.map_err(failed)?;
        seen.problems.extend(groups.warnings);
        if groups.found.is_empty() {
            let labels = self.labels.join(", ");
            return Err(DiscoverError::NoSeries { server: server.url.clone(), labels });
        }
        let families = self.in_time("asking for the types of metrics", client.metadata()).await?;
        let families = families.unwrap_or_default().into();
        let mut keys = HashMap::new();
        let mut step: Option<Duration> = None;
        for (index, ((label, value), instances)) in groups.found.iter().enumerate() {
            let unseen = groups.found.len() - index;
            if index == APPLICATIONS_MAX {
                seen.problems
                    .push(format!("{unseen} applications are over {APPLICATIONS_MAX} and were left out"));
                break;
            }
            let (Ok(select), Ok(_)) = (selector(&[(label, value)]), ApplicationName::new(value)) else {
                seen.problems.push(format!("{label} {value:?} is no usable name of an application"));
                continue;
            };
            let application =
                seen.applications.entry(Some(value.clone())).or_insert_with(|| SeenApplication {
                    catalogue: Catalogue::new(overrides(settings, value)),
                    ..SeenApplication::default()
                });
            application.select.insert(select.to_string());
            application.sources.insert(name.to_owned());
            application.instances.extend(instances.iter().map(|(instance, _)| instance.clone()));
            let chosen = choose(instances);
            let read = self.read(&client, server, (label, value), &chosen);
            let Ok(read) = self.in_time("", read).await else {
                seen.problems.push(format!(
                    "the time of {} s was up: the signals of {unseen} applications were not looked at; give it longer with --time-limit",
                    self.limit_seconds
                ));
                break;
            };
            match read {
                Err(error) => application.problems.push(error.to_string()),
                Ok(answer) => {
                    application.problems.extend(answer.warnings.iter().cloned());
                    let scrapes = answer.into_scrapes(&client.instance_rule(), &families, &mut keys);
                    step = step.max(distance(&scrapes));
                    scrapes.iter().for_each(|scrape| application.take(scrape));
                    application.problems.sort();
                    application.problems.dedup();
                }
            }
        }
        Ok(step)
    }

    /// The instances by the label that names their application: those of
    /// `up`, or of any series on servers that scrape nothing themselves.
    async fn groups(&self, client: &Client, server: &PrometheusSource) -> Result<Groups, ApiError> {
        let up = client.query("up", None).await?;
        let mut groups = Groups { warnings: up.warnings.clone(), ..Groups::default() };
        groups.take(&up, &self.labels, &server.instance_label);
        for label in &self.labels {
            if !groups.found.is_empty() {
                break;
            }
            if !is_label(label) || !is_label(&server.instance_label) {
                continue;
            }
            let pairs = format!("count by ({label}, {}) ({{{label}!=\"\"}})", server.instance_label);
            let counted = client.query(&pairs, None).await?;
            groups.take(&counted, &self.labels, &server.instance_label);
        }
        Ok(groups)
    }

    /// The newest samples of some instances.
    async fn read(
        &self,
        client: &Client,
        server: &PrometheusSource,
        (label, value): (&str, &str),
        instances: &[InstanceId],
    ) -> Result<Answer, ApiError> {
        let now = clock::now();
        let mut whole = Answer::default();
        for instance in instances {
            let pairs = [(label, value), (server.instance_label.as_str(), instance.as_str())];
            let Ok(selector) = selector(&pairs) else { continue };
            let answer = client.samples(&selector, now - STRETCH, now).await?;
            whole.series.extend(answer.series);
            whole.warnings.extend(answer.warnings);
        }
        Ok(whole)
    }

    /// The targets that a source of a settings file lists.
    async fn ask_lists(
        &self,
        settings: &Settings,
        name: &str,
        source: &ScrapeSource,
        seen: &mut Seen,
    ) -> Result<(), DiscoverError> {
        let mut discovery = Discovery::new(source, self.surroundings)?;
        let connection = Connection::new(&source.client, self.surroundings)?;
        let found = self.in_time("reading the target lists", discovery.refresh_due()).await?;
        seen.problems.extend(found.problems.iter().map(|problem| format!("source {name}: {problem}")));
        let mut groups: BTreeMap<(String, String), Vec<Arc<Target>>> = BTreeMap::new();
        let mut unnamed = 0;
        for target in found.targets.iter() {
            // An application that is configured chooses its targets itself.
            let own = settings.applications.iter().filter(|application| {
                (application.sources.is_empty() || application.sources.iter().any(|s| s == name))
                    && target.is_selected(&application.select)
            });
            let mut names: BTreeSet<(String, String)> =
                own.map(|application| (String::new(), application.name.to_string())).collect();
            if names.is_empty() {
                names.extend(named(&self.labels, &target.labels));
            }
            unnamed += usize::from(names.is_empty());
            names.into_iter().for_each(|name| groups.entry(name).or_default().push(target.clone()));
        }
        if unnamed > 0 {
            seen.problems.push(format!(
                "source {name}: {unnamed} targets have none of the labels {}: no application is known of them",
                self.labels.join(", ")
            ));
        }
        let mut wanted = Vec::new();
        for ((label, value), targets) in groups.into_iter().take(APPLICATIONS_MAX) {
            let application =
                seen.applications.entry(Some(value.clone())).or_insert_with(|| SeenApplication {
                    catalogue: Catalogue::new(overrides(Some(settings), &value)),
                    ..SeenApplication::default()
                });
            if !label.is_empty()
                && let Ok(select) = selector(&[(&label, &value)])
            {
                application.select.insert(select.to_string());
            }
            application.sources.insert(name.to_owned());
            application.instances.extend(targets.iter().map(|target| target.instance.clone()));
            wanted.extend(choose_of(&targets).into_iter().map(|target| (Some(value.clone()), target)));
        }
        for (owner, scrape) in self.scrape(wanted, &connection, source, &mut seen.problems).await {
            if let Some(application) = seen.applications.get_mut(&owner) {
                application.take(&scrape);
            }
        }
        Ok(())
    }

    /// Targets of a command line.
    pub(super) async fn targets(
        &self,
        urls: &[Url],
        client: &HttpClient,
        series_limit: u32,
        named: Option<&ApplicationName>,
    ) -> Result<Seen, DiscoverError> {
        let mut kinds: BTreeMap<(Scheme, String), BTreeSet<String>> = BTreeMap::new();
        for url in urls {
            let scheme = if url.scheme() == "https" { Scheme::Https } else { Scheme::Http };
            let host = url.host_str().unwrap_or_default();
            let address = format!("{host}:{}", url.port_or_known_default().unwrap_or(80));
            kinds.entry((scheme, url.path().to_owned())).or_default().insert(address);
        }
        let mut seen = Seen::default();
        let mut failures = Vec::new();
        let mut sources: BTreeMap<(Option<String>, Scheme, String), Vec<String>> = BTreeMap::new();
        for ((scheme, path), addresses) in kinds {
            let source = page_source(scheme, &path, client, series_limit, addresses.into_iter().collect());
            let mut discovery = Discovery::new(&source, self.surroundings)?;
            let connection = Connection::new(client, self.surroundings)?;
            let found = discovery.refresh_due().await;
            seen.problems.extend(found.problems.iter().cloned());
            let wanted = found.targets.iter().map(|target| (None, target.clone())).collect();
            for (_, scrape) in self.scrape(wanted, &connection, &source, &mut seen.problems).await {
                if let ScrapeOutcome::Failed(failure) = &scrape.outcome {
                    failures.push(format!("{}://{}{path}: {failure}", scheme.word(), scrape.instance));
                    continue;
                }
                let name = named.map(ToString::to_string).or_else(|| self.named_by(&scrape));
                let of = (name.clone(), scheme, path.clone());
                sources.entry(of).or_default().push(scrape.instance.to_string());
                let application = seen.applications.entry(name).or_default();
                application.instances.insert(scrape.instance.clone());
                application.take(&scrape);
            }
        }
        if seen.applications.is_empty() {
            failures.append(&mut seen.problems);
            return Err(DiscoverError::NoTarget { count: urls.len(), why: failures });
        }
        seen.problems.extend(failures);
        for ((name, scheme, path), addresses) in sources {
            let title = match (&name, seen.sources.len()) {
                (Some(name), _) if !seen.sources.iter().any(|s| s.name == *name) => name.clone(),
                (_, 0) => "targets".to_owned(),
                (_, count) => format!("targets {}", count + 1),
            };
            if let Some(application) = seen.applications.get_mut(&name) {
                application.sources.insert(title.clone());
            }
            let source = page_source(scheme, &path, client, series_limit, addresses);
            seen.sources.push(Source { name: title, kind: SourceKind::Scrape(Box::new(source)) });
        }
        Ok(seen)
    }

    /// The application that a page names itself: by a label that has one
    /// value on most of its series, as frameworks add one.
    fn named_by(&self, scrape: &Scrape) -> Option<String> {
        // A page's own `job` and `service` speak of what it works on.
        self.labels.iter().filter(|label| matches!(label.as_str(), "application" | "app")).find_map(|label| {
            // What its list says of the target is not on its page.
            let own = scrape.samples.iter().filter(|sample| sample.series.name() != TARGET_INFO);
            let mut values = own.clone().filter_map(|sample| sample.series.label(label));
            let first = values.next()?;
            let same = values.clone().all(|value| value == first);
            let share = 1 + values.count();
            (same && share * 2 > own.count()).then(|| first.to_owned())
        })
    }

    /// Each target's page, as far as the time allows.
    async fn scrape(
        &self,
        wanted: Vec<(Option<String>, Arc<Target>)>,
        connection: &Connection,
        source: &ScrapeSource,
        problems: &mut Vec<String>,
    ) -> Vec<(Option<String>, Scrape)> {
        let mut waiting = wanted.into_iter();
        let mut running = JoinSet::new();
        let mut scrapes = Vec::new();
        loop {
            while running.len() < AT_ONCE
                && let Some((owner, target)) = waiting.next()
            {
                let mut scraper = Scraper::new(target, connection.clone(), source);
                running.spawn(async move { (owner, scraper.scrape().await) });
            }
            match tokio::time::timeout_at(self.deadline, running.join_next()).await {
                Ok(None) => break,
                Ok(Some(Ok(scrape))) => scrapes.push(scrape),
                Ok(Some(Err(error))) => problems.push(format!("a target could not be asked: {error}")),
                Err(_) => {
                    problems.push(format!(
                        "the time of {} s was up: {} targets were not asked; give it longer with --time-limit",
                        self.limit_seconds,
                        running.len() + waiting.count()
                    ));
                    break;
                }
            }
        }
        scrapes.sort_by(|(_, a), (_, b)| a.instance.cmp(&b.instance));
        scrapes
    }
}

/// Instances of a server by the label that names their application, with
/// whether they are up.
#[derive(Default)]
struct Groups {
    found: BTreeMap<(String, String), Vec<(InstanceId, bool)>>,
    warnings: Vec<String>,
}

impl Groups {
    fn take(&mut self, answer: &Answer, labels: &[String], instance_label: &str) {
        for series in &answer.series {
            let Some(instance) = series.labels.get(instance_label).and_then(|i| InstanceId::new(i).ok())
            else {
                continue;
            };
            let Some(named) = named(labels, &series.labels) else { continue };
            let up = series.points.last().is_some_and(|(_, value)| *value > 0.0);
            self.found.entry(named).or_default().push((instance, up));
        }
    }
}

/// The label that names an application, with the name: the first that there
/// is, as for applications that are integrated by themselves.
fn named(labels: &[String], of: &BTreeMap<String, String>) -> Option<(String, String)> {
    let (label, value) = labels.iter().find_map(|label| Some((label, of.get(label)?)))?;
    (!value.is_empty()).then(|| (label.clone(), value.clone()))
}

/// The first, the middle and the last of those that answer, or of all.
fn choose(instances: &[(InstanceId, bool)]) -> Vec<InstanceId> {
    let up: Vec<&InstanceId> = instances.iter().filter(|(_, up)| *up).map(|(instance, _)| instance).collect();
    let of = if up.is_empty() { instances.iter().map(|(instance, _)| instance).collect() } else { up };
    choose_of(&of).into_iter().cloned().collect()
}

fn choose_of<T: Clone>(all: &[T]) -> Vec<T> {
    if all.len() <= LOOKED_AT_MAX {
        return all.to_vec();
    }
    [0, all.len() / 2, all.len() - 1].map(|index| all[index].clone()).to_vec()
}

/// The middle distance of an instance's scrapes in whole seconds, the largest
/// of all instances.
fn distance(scrapes: &[Scrape]) -> Option<Duration> {
    let mut times: BTreeMap<&InstanceId, Vec<i64>> = BTreeMap::new();
    for scrape in scrapes {
        times.entry(&scrape.instance).or_default().push(scrape.at.as_millis());
    }
    let middles = times.values().filter_map(|times| {
        let mut gaps: Vec<i64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        gaps.sort_unstable();
        gaps.get(gaps.len() / 2).copied()
    });
    let milliseconds = middles.max()?.clamp(1_000, 3_600_000);
    Some(Duration::from_secs((milliseconds as u64 + 500) / 1000))
}

fn page_source(
    scheme: Scheme,
    path: &str,
    client: &HttpClient,
    series_limit: u32,
    addresses: Vec<String>,
) -> ScrapeSource {
    ScrapeSource {
        static_targets: vec![StaticTargets { targets: addresses, labels: BTreeMap::new() }],
        file_sd: Vec::new(),
        http_sd: Vec::new(),
        interval: Duration::from_secs(10),
        timeout: Duration::from_secs(8),
        path: path.to_owned(),
        scheme,
        body_limit_bytes: 32 << 20,
        series_limit,
        client: client.clone(),
    }
}

/// A label that can stand in an expression without quotes.
fn is_label(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with(|c: char| c.is_ascii_digit())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// A selector of exact values.
fn selector(pairs: &[(&str, &str)]) -> Result<Selector, crate::domain::InvalidSelector> {
    let quoted = |value: &str| value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    let pairs: Vec<String> =
        pairs.iter().map(|(label, value)| format!("{label}=\"{}\"", quoted(value))).collect();
    format!("{{{}}}", pairs.join(",")).parse()
}

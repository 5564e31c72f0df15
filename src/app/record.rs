//! `record`: a past release from a Prometheus server into a recording.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use url::Url;

use crate::adapters::chain::chain;
use crate::adapters::outgoing::ClientError;
use crate::adapters::prometheus::{ApiError, Client, InstanceRule, Poller, Query};
use crate::adapters::recording::{self, RecordingError};
use crate::adapters::surroundings::ProcessSurroundings;
use crate::config::PrometheusSource;
use crate::domain::{
    ApplicationName, Batch, InstanceId, RECORDING_FORMAT, ReleaseId, ReleaseOrder, Scrape, Selector,
    TARGET_INFO, Timestamp, Version,
};

use super::connection::Connection;

/// Makes a recording of a past release from a server with Prometheus' API.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The server's address, without /api/v1
    #[arg(long, value_name = "URL")]
    pub server: Url,
    /// Series of both groups, such as '{job="shop"}'; may be given again
    #[arg(long, value_name = "SELECTOR", conflicts_with_all = ["release_selector", "reference_selector"])]
    pub selector: Vec<Selector>,
    /// Series of the release group, where labels tell the groups apart, such
    /// as '{app="shop",version="2.4.1"}'
    #[arg(long, value_name = "SELECTOR", requires = "reference_selector")]
    pub release_selector: Option<Selector>,
    /// Series of the reference group
    #[arg(long, value_name = "SELECTOR", requires = "release_selector")]
    pub reference_selector: Option<Selector>,
    /// The label whose values are the instances; with selectors for each
    /// group, what is without it is one instance of its group
    #[arg(long, value_name = "LABEL", default_value = "instance")]
    pub instance_label: String,
    /// The application's name
    #[arg(long)]
    pub application: ApplicationName,
    /// The release's id
    #[arg(long)]
    pub id: ReleaseId,
    /// The version that was rolled out
    #[arg(long)]
    pub version: Option<Version>,
    /// The version that it replaced
    #[arg(long)]
    pub previous_version: Option<Version>,
    /// When the release began (RFC 3339)
    #[arg(long, value_name = "TIME")]
    pub started_at: Timestamp,
    /// When it ended
    #[arg(long, value_name = "TIME")]
    pub finished_at: Option<Timestamp>,
    /// A batch, as TIME=INSTANCE,INSTANCE..; may be given again, in order
    #[arg(long = "batch", value_name = "TIME=INSTANCES")]
    pub batches: Vec<BatchArg>,
    /// Instances that keep the old version; all that are in no batch if absent
    #[arg(long, value_name = "INSTANCES", value_delimiter = ',')]
    pub reference: Vec<InstanceId>,
    /// Hours of samples before the release
    #[arg(long, value_name = "HOURS", default_value_t = 2.0)]
    pub hours_before: f64,
    /// Hours of samples after its end, or after its begin if there is no end
    #[arg(long, value_name = "HOURS", default_value_t = 1.0)]
    pub hours_after: f64,
    /// Distance of samples in seconds, for servers that give no raw ones
    #[arg(long, value_name = "SECONDS", default_value_t = 15.0)]
    pub step_seconds: f64,
    /// How the server is reached
    #[command(flatten)]
    pub connection: Connection,
    /// The folder of the recording; must not exist yet
    #[arg(long, value_name = "FOLDER")]
    pub out: PathBuf,
}

/// One batch on the command line.
#[derive(Clone, Debug, PartialEq)]
pub struct BatchArg(Batch);

impl FromStr for BatchArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (at, instances) =
            text.split_once('=').ok_or("write TIME=INSTANCE,INSTANCE, with the time in RFC 3339")?;
        let started_at = at.parse().map_err(|error| format!("{error}"))?;
        let instances: Vec<InstanceId> = instances
            .split(',')
            .map(|name| InstanceId::new(name.trim()).map_err(|error| error.to_string()))
            .collect::<Result<_, _>>()?;
        Ok(Self(Batch { started_at, instances, weight: None }))
    }
}

/// Why nothing was recorded.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The arguments do not go together.
    #[error("{0}")]
    Arguments(String),
    /// The connection cannot be set up.
    #[error("the connection to the server cannot be set up")]
    Connection(#[from] ClientError),
    /// The server does not answer.
    #[error(transparent)]
    Server(#[from] ApiError),
    /// There is nothing to record.
    #[error("{server} has no samples of {selector} from {from} to {to}; check the selector and the times")]
    NoSamples {
        /// Which server.
        server: Url,
        /// What was asked for.
        selector: String,
        /// Since when.
        from: Timestamp,
        /// Until when.
        to: Timestamp,
    },
    /// It cannot be written.
    #[error(transparent)]
    Recording(#[from] RecordingError),
    /// No runtime.
    #[error("the asynchronous runtime cannot be started")]
    Runtime(#[source] io::Error),
}

/// Runs the command; what is wrong goes to standard error.
pub fn run(args: &Args) -> ExitCode {
    // Before any HTTP client is built. It fails only if it was done before.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let recorded = runtime.map_err(RecordError::Runtime).and_then(|runtime| runtime.block_on(record(args)));
    report(recorded)
}

/// What was recorded goes to standard output, what is wrong to standard error.
pub(super) fn report<E: std::error::Error>(recorded: Result<String, E>) -> ExitCode {
    match recorded {
        Ok(report) => {
            println!("{report}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            tell(&error);
            ExitCode::FAILURE
        }
    }
}

/// Writes an error with its causes to standard error.
pub(super) fn tell(error: &dyn std::error::Error) {
    eprintln!("{}", chain(error));
}

/// Records what the arguments say; returns a sentence for people.
///
/// # Errors
/// As [`RecordError`] says; nothing is written then.
pub async fn record(args: &Args) -> Result<String, RecordError> {
    let hours = |hours: f64, name: &str| {
        Duration::try_from_secs_f64(hours * 3600.0)
            .map_err(|_| RecordError::Arguments(format!("--{name} {hours} is no number of hours")))
    };
    let from = args.started_at - hours(args.hours_before, "hours-before")?;
    let to = args.finished_at.unwrap_or(args.started_at) + hours(args.hours_after, "hours-after")?;
    let queries = queries(args)?;
    let client = Client::new(&source(args)?, &ProcessSurroundings)?;
    client.check_alive().await?;
    let families = client.metadata().await.unwrap_or_default();
    let mut poller = Poller::new(client, queries.clone());
    let no_samples =
        |selector: String| RecordError::NoSamples { server: args.server.clone(), selector, from, to };
    let tell =
        |problems: &[String]| problems.iter().for_each(|problem| eprintln!("{}: {problem}", args.server));
    let (scrapes, upgrades) = if args.release_selector.is_some() {
        let mut groups = Vec::new();
        for (read, query) in poller.history_by_query(from, to).await?.into_iter().zip(&queries) {
            tell(&read.problems);
            if read.scrapes.is_empty() {
                return Err(no_samples(query.selector.to_string()));
            }
            refuse_mixed_targets(query, &args.instance_label, &read.scrapes)?;
            groups.push(read.scrapes);
        }
        let reference = groups.pop().unwrap_or_default();
        both_groups(groups.pop().unwrap_or_default(), reference, args.started_at)?
    } else {
        let read = poller.history(from, to).await?;
        tell(&read.problems);
        if read.scrapes.is_empty() {
            let selectors: Vec<String> = queries.iter().map(|query| query.selector.to_string()).collect();
            return Err(no_samples(selectors.join(", ")));
        }
        (read.scrapes, BTreeMap::new())
    };
    let mut order = order(args, &scrapes, upgrades);
    let seen: BTreeSet<String> = scrapes
        .iter()
        .flat_map(|scrape| &scrape.samples)
        .map(|sample| sample.series.name().to_owned())
        .collect();
    let is_seen = |name: &str| {
        ["", "_bucket", "_sum", "_count"].iter().any(|suffix| seen.contains(&format!("{name}{suffix}")))
    };
    order.metrics = families.into_iter().filter(|family| is_seen(&family.name)).collect();
    let samples: usize = scrapes.iter().map(|scrape| scrape.samples.len()).sum();
    recording::write(&args.out, &order, &scrapes, None)?;
    Ok(format!(
        "{}: {samples} samples in {} scrapes of {} instances, {from} to {to}",
        args.out.display(),
        scrapes.len(),
        scrapes.iter().map(|scrape| &scrape.instance).collect::<BTreeSet<_>>().len(),
    ))
}

/// Names of what each group has without the instance label.
const RELEASE_INSTANCE: &str = "release";
const REFERENCE_INSTANCE: &str = "reference";

/// How long a server may still tell of a series that has ended.
const LOOK_BACK: Duration = Duration::from_secs(300);

fn queries(args: &Args) -> Result<Vec<Query>, RecordError> {
    let group = |selector: &Selector, name: &str| -> Result<Query, RecordError> {
        let rest = InstanceId::new(name).map_err(|error| RecordError::Arguments(error.to_string()))?;
        let instance = InstanceRule::LabelOr(args.instance_label.clone(), rest);
        Ok(Query { selector: selector.clone(), instance })
    };
    if let (Some(release), Some(reference)) = (&args.release_selector, &args.reference_selector) {
        return Ok(vec![group(release, RELEASE_INSTANCE)?, group(reference, REFERENCE_INSTANCE)?]);
    }
    if args.selector.is_empty() {
        return Err(RecordError::Arguments(
            "name the series: --selector '{job=\"shop\"}', or --release-selector and --reference-selector"
                .to_owned(),
        ));
    }
    if args.batches.is_empty() {
        return Err(RecordError::Arguments(
            "name the released instances: --batch 2026-03-01T08:30:00Z=host-1:9100,host-2:9100".to_owned(),
        ));
    }
    let query = |selector: &Selector| Query {
        selector: selector.clone(),
        instance: InstanceRule::Label(args.instance_label.clone()),
    };
    Ok(args.selector.iter().map(query).collect())
}

fn source(args: &Args) -> Result<PrometheusSource, RecordError> {
    let step = Duration::try_from_secs_f64(args.step_seconds)
        .ok()
        .filter(|step| *step >= Duration::from_secs(1))
        .ok_or_else(|| RecordError::Arguments("--step-seconds must be 1 or more".to_owned()))?;
    Ok(PrometheusSource {
        url: args.server.clone(),
        client: args.connection.client(),
        tenant: args.connection.tenant(),
        step,
        timeout: Duration::from_secs(120),
        instance_label: args.instance_label.clone(),
        series_limit: 1_000_000,
    })
}

/// Counters of several targets in one series would be neither's: what has no
/// instance label must be of one target.
fn refuse_mixed_targets(query: &Query, label: &str, scrapes: &[Scrape]) -> Result<(), RecordError> {
    let InstanceRule::LabelOr(_, rest) = &query.instance else { return Ok(()) };
    let targets: BTreeSet<String> = scrapes
        .iter()
        .filter(|scrape| scrape.instance == *rest)
        .flat_map(|scrape| &scrape.samples)
        .filter(|sample| sample.series.name() == TARGET_INFO)
        .map(|sample| sample.series.to_string())
        .collect();
    let mut named = targets.iter();
    match (named.next(), named.next()) {
        (Some(one), Some(other)) => Err(RecordError::Arguments(format!(
            "{} selects {} targets without the label {label:?}, such as {one} and {other}: name with --instance-label a label that tells them apart",
            query.selector,
            targets.len()
        ))),
        _ => Ok(()),
    }
}

/// Who has the new version since when.
type Upgrades = BTreeMap<InstanceId, Timestamp>;

/// The scrapes of both groups in order. An instance that is in both got the new
/// version where it stands, with its first sample of it.
fn both_groups(
    release: Vec<Scrape>,
    mut reference: Vec<Scrape>,
    started_at: Timestamp,
) -> Result<(Vec<Scrape>, Upgrades), RecordError> {
    let mut first_seen = Upgrades::new();
    for scrape in &release {
        first_seen.entry(scrape.instance.clone()).or_insert(scrape.at);
    }
    let before: BTreeSet<InstanceId> = reference.iter().map(|scrape| scrape.instance.clone()).collect();
    let is_old = |scrape: &Scrape| first_seen.get(&scrape.instance).is_none_or(|first| scrape.at < *first);
    let late = reference.iter().filter(|scrape| !is_old(scrape)).max_by_key(|scrape| scrape.at);
    if let Some((late, first)) = late.and_then(|late| Some((late, first_seen.get(&late.instance)?)))
        && late.at.since(*first) > LOOK_BACK
    {
        return Err(RecordError::Arguments(format!(
            "{} is in both groups from {first} to {}: correct --release-selector and --reference-selector, so that no series is in both",
            late.instance, late.at
        )));
    }
    reference.retain(is_old);
    let upgrades = first_seen
        .into_iter()
        .map(|(instance, first)| {
            let since = if before.contains(&instance) { first.max(started_at) } else { started_at };
            (instance, since)
        })
        .collect();
    let mut scrapes = release;
    scrapes.append(&mut reference);
    scrapes.sort_by(|a, b| (a.at, &a.instance).cmp(&(b.at, &b.instance)));
    Ok((scrapes, upgrades))
}

/// Those that were upgraded together, in order.
fn batches_of(upgrades: Upgrades) -> Vec<Batch> {
    let mut batches: BTreeMap<Timestamp, Vec<InstanceId>> = BTreeMap::new();
    for (instance, since) in upgrades {
        batches.entry(since).or_default().push(instance);
    }
    let batch = |(started_at, instances)| Batch { started_at, instances, weight: None };
    batches.into_iter().map(batch).collect()
}

fn order(args: &Args, scrapes: &[Scrape], upgrades: Upgrades) -> ReleaseOrder {
    let mut batches: Vec<Batch> = args.batches.iter().map(|batch| batch.0.clone()).collect();
    let seen: BTreeSet<&InstanceId> = scrapes.iter().map(|scrape| &scrape.instance).collect();
    if args.release_selector.is_some() {
        batches = batches_of(upgrades);
    }
    let released: BTreeSet<&InstanceId> = batches.iter().flat_map(|batch| &batch.instances).collect();
    let reference = match args.reference.is_empty() {
        false => args.reference.clone(),
        true => seen.iter().filter(|i| !released.contains(*i)).map(|i| (*i).clone()).collect(),
    };
    ReleaseOrder {
        format: RECORDING_FORMAT,
        id: args.id.clone(),
        application: args.application.clone(),
        version: args.version.clone(),
        previous_version: args.previous_version.clone(),
        started_at: args.started_at,
        finished_at: args.finished_at,
        batches,
        reference,
        groups: None,
        metrics: Vec::new(),
        alerts: Vec::new(),
        other: BTreeMap::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crate::domain::{Sample, ScrapeOutcome, target_info};

    use super::*;

    fn scrape(instance: &str, seconds: i64, pod: &str) -> Scrape {
        Scrape {
            instance: InstanceId::new(instance).unwrap(),
            at: Timestamp::from_millis(seconds * 1000),
            outcome: ScrapeOutcome::Complete,
            samples: vec![
                target_info([("pod", pod)]),
                Sample { series: Arc::new("x_total".parse().unwrap()), value: 1.0 },
            ],
            families: Arc::from([]),
        }
    }

    #[test]
    fn targets_of_a_group_stay_apart_and_who_is_in_both_groups_was_upgraded() {
        let release = vec![scrape("new:1", 90, "p"), scrape("both:1", 150, "p"), scrape("both:1", 160, "p")];
        let reference =
            vec![scrape("both:1", 140, "p"), scrape("both:1", 150, "p"), scrape("old:1", 150, "p")];
        let started_at = Timestamp::from_millis(100_000);
        let (scrapes, upgrades) = both_groups(release, reference, started_at).unwrap();
        let told: Vec<_> = scrapes.iter().map(|s| (s.at.as_millis() / 1000, s.instance.as_str())).collect();
        assert_eq!(told, [(90, "new:1"), (140, "both:1"), (150, "both:1"), (150, "old:1"), (160, "both:1")]);
        let batches: Vec<_> = batches_of(upgrades)
            .iter()
            .map(|b| (b.started_at.as_millis() / 1000, b.instances[0].to_string()))
            .collect();
        assert_eq!(batches, [(100, "new:1".to_owned()), (150, "both:1".to_owned())]);
    }

    #[test]
    fn selectors_that_overlap_are_refused_with_who_is_in_both() {
        let long = |from: i64| (from..from + 60).map(|i| scrape("a:1", i * 10, "p")).collect::<Vec<_>>();
        let error = both_groups(long(0), long(0), Timestamp::default()).unwrap_err().to_string();
        assert!(error.contains("a:1 is in both groups") && error.contains("--release-selector"), "{error}");
    }

    #[test]
    fn several_targets_that_no_label_tells_apart_are_refused() {
        let rest = InstanceId::new(REFERENCE_INSTANCE).unwrap();
        let instance = InstanceRule::LabelOr("instance".to_owned(), rest);
        let query = Query { selector: "{job=\"shop\"}".parse().unwrap(), instance };
        let two = [scrape(REFERENCE_INSTANCE, 1, "p1"), scrape(REFERENCE_INSTANCE, 2, "p2")];
        assert!(refuse_mixed_targets(&query, "instance", &two[..1]).is_ok());
        let error = refuse_mixed_targets(&query, "instance", &two).unwrap_err().to_string();
        assert!(error.contains("2 targets") && error.contains("--instance-label"), "{error}");
    }
}

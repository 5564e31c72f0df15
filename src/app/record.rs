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
    Timestamp, Version,
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
    /// group, each group is one instance unless it is given
    #[arg(long, value_name = "LABEL")]
    pub instance_label: Option<String>,
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
    let read = poller.history(from, to).await?;
    for problem in &read.problems {
        eprintln!("{}: {problem}", args.server);
    }
    if read.scrapes.is_empty() {
        let selectors: Vec<String> = queries.iter().map(|query| query.selector.to_string()).collect();
        let selector = selectors.join(", ");
        return Err(RecordError::NoSamples { server: args.server.clone(), selector, from, to });
    }
    let mut order = order(args, &read.scrapes);
    let seen: BTreeSet<String> = read
        .scrapes
        .iter()
        .flat_map(|scrape| &scrape.samples)
        .map(|sample| sample.series.name().to_owned())
        .collect();
    let is_seen = |name: &str| {
        ["", "_bucket", "_sum", "_count"].iter().any(|suffix| seen.contains(&format!("{name}{suffix}")))
    };
    order.metrics = families.into_iter().filter(|family| is_seen(&family.name)).collect();
    let samples: usize = read.scrapes.iter().map(|scrape| scrape.samples.len()).sum();
    recording::write(&args.out, &order, &read.scrapes, None)?;
    Ok(format!(
        "{}: {samples} samples in {} scrapes of {} instances, {from} to {to}",
        args.out.display(),
        read.scrapes.len(),
        read.scrapes.iter().map(|scrape| &scrape.instance).collect::<BTreeSet<_>>().len(),
    ))
}

/// Names of the two groups where each is one instance.
const RELEASE_INSTANCE: &str = "release";
const REFERENCE_INSTANCE: &str = "reference";

fn queries(args: &Args) -> Result<Vec<Query>, RecordError> {
    let fixed = |name: &str| {
        InstanceId::new(name)
            .map(InstanceRule::Fixed)
            .map_err(|error| RecordError::Arguments(error.to_string()))
    };
    let by_label = |default: &str| {
        InstanceRule::Label(args.instance_label.clone().unwrap_or_else(|| default.to_owned()))
    };
    if let (Some(release), Some(reference)) = (&args.release_selector, &args.reference_selector) {
        if args.instance_label.is_some() {
            return Err(RecordError::Arguments(
                "--instance-label goes with --selector; with a selector for each group, each group is one instance"
                    .to_owned(),
            ));
        }
        return Ok(vec![
            Query { selector: release.clone(), instance: fixed(RELEASE_INSTANCE)? },
            Query { selector: reference.clone(), instance: fixed(REFERENCE_INSTANCE)? },
        ]);
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
    let query = |selector: &Selector| Query { selector: selector.clone(), instance: by_label("instance") };
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
        instance_label: args.instance_label.clone().unwrap_or_else(|| "instance".to_owned()),
        series_limit: 1_000_000,
    })
}

fn order(args: &Args, scrapes: &[Scrape]) -> ReleaseOrder {
    let mut batches: Vec<Batch> = args.batches.iter().map(|batch| batch.0.clone()).collect();
    let seen: BTreeSet<&InstanceId> = scrapes.iter().map(|scrape| &scrape.instance).collect();
    if args.release_selector.is_some() {
        let released = seen.iter().filter(|instance| instance.as_str() == RELEASE_INSTANCE);
        let instances = released.map(|instance| (*instance).clone()).collect();
        batches = vec![Batch { started_at: args.started_at, instances, weight: None }];
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

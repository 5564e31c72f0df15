//! `discover`: what a Prometheus server or some targets show, as a settings
//! file ready to edit: the applications, the signals that would be judged, and
//! which settings are missing.

mod ask;
mod draft;

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use url::Url;

use crate::adapters::outgoing::ClientError;
use crate::adapters::prometheus::ApiError;
use crate::adapters::surroundings::ProcessSurroundings;
use crate::config::{PrometheusSource, Settings, Source, SourceKind, Surroundings};

use super::check::{LoadError, load};
use super::connection::Connection;
use super::record::tell;

/// Most targets on one command line.
const TARGETS_MAX: usize = 500;

/// Prints the applications, their signals and the missing settings as a
/// settings file.
#[derive(clap::Args, Debug)]
#[command(group(clap::ArgGroup::new("where").required(true).args(["prometheus", "targets", "config"])))]
pub struct Args {
    /// A server with Prometheus' HTTP API, without /api/v1
    #[arg(long, value_name = "URL", value_parser = http_url)]
    pub prometheus: Option<Url>,
    /// A metrics page, such as http://10.0.0.11:9100/metrics; may be given
    /// again
    #[arg(long = "target", value_name = "URL", value_parser = target_url, conflicts_with = "tenant")]
    pub targets: Vec<Url>,
    /// The sources of this settings file; what it lacks is printed
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with_all = ["bearer_file", "user", "tenant", "ca_file", "insecure_skip_verify"]
    )]
    pub config: Option<PathBuf>,
    /// A label that names the application; may be given again, tried in this
    /// order [default: application, app, service, job]
    #[arg(long = "application-label", value_name = "LABEL")]
    pub application_labels: Vec<String>,
    /// The name of the application whose targets they are, where no label
    /// tells it
    #[arg(long, value_name = "NAME", requires = "targets")]
    pub application: Option<crate::domain::ApplicationName>,
    /// How the server is reached
    #[command(flatten)]
    pub connection: Connection,
    /// Series of one answer or page that are read; more are left out, and it
    /// is said
    #[arg(long, value_name = "COUNT", default_value_t = 50_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub series_limit: u32,
    /// Seconds for everything; what was not looked at by then is said
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub time_limit: u64,
}

fn http_url(text: &str) -> Result<Url, String> {
    let whole = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let url = Url::parse(&whole).map_err(|error| format!("{text:?} is not an address: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err("it must be an http or https address".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("it holds a user or a password: use --user and --password-file".to_owned());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("leave out what begins with ? or #".to_owned());
    }
    Ok(url)
}

fn target_url(text: &str) -> Result<Url, String> {
    let mut url = http_url(text)?;
    if url.path() == "/" {
        url.set_path("/metrics");
    }
    Ok(url)
}

/// Why nothing could be found out.
#[derive(Debug, thiserror::Error)]
pub enum DiscoverError {
    /// The settings file cannot be used.
    #[error(transparent)]
    Settings(#[from] LoadError),
    /// The connection cannot be set up.
    #[error("the connection cannot be set up")]
    Connection(#[from] ClientError),
    /// The server does not answer, or not as it should.
    #[error(transparent)]
    Server(ApiError),
    /// It does not know us.
    #[error("{server} refuses us with HTTP status {status}: {why}; check {}", login_help(*.has_login))]
    Login {
        /// Which server.
        server: Url,
        /// 401 or 403.
        status: u16,
        /// What it says.
        why: String,
        /// Whether we showed something.
        has_login: bool,
    },
    /// It has nothing to look at.
    #[error(
        "{server} answers and has no series with one of the labels {labels}, nor `up`: check that it scrapes \
         something, or name the label with --application-label"
    )]
    NoSeries {
        /// Which server.
        server: Url,
        /// What was looked for.
        labels: String,
    },
    /// No target gave anything.
    #[error("none of the {count} targets gave samples:\n  {}", .why.join("\n  "))]
    NoTarget {
        /// How many were asked.
        count: usize,
        /// Each with its cause.
        why: Vec<String>,
    },
    /// There are no sources.
    #[error("{} names no [[source]]: add one, or use --prometheus or --target", .0.display())]
    NoSources(PathBuf),
    /// Too many targets.
    #[error(
        "{0} targets are too many for a command line (at most {TARGETS_MAX}); list them in a file (file_sd) and use --config"
    )]
    TooManyTargets(usize),
    /// It took too long.
    #[error("{what} took longer than {seconds} s altogether; give it longer with --time-limit")]
    TimeUp {
        /// What was under way.
        what: String,
        /// The limit.
        seconds: u64,
    },
    /// No runtime.
    #[error("the asynchronous runtime cannot be started")]
    Runtime(#[source] io::Error),
}

fn login_help(has_login: bool) -> &'static str {
    match has_login {
        true => "the token or password in the file, and what it may do",
        false => "who may ask it: --bearer-file, or --user with --password-file",
    }
}

impl DiscoverError {
    fn server(error: ApiError, has_login: bool) -> Self {
        match error {
            ApiError::Refused { url, status: status @ (401 | 403), why, .. } => {
                Self::Login { server: url, status, why, has_login }
            }
            other => Self::Server(other),
        }
    }
}

/// Runs the command; the file goes to standard output, what is wrong to
/// standard error.
pub fn run(args: &Args) -> ExitCode {
    // Before any HTTP client is built. It fails only if it was done before.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let found = runtime
        .map_err(DiscoverError::Runtime)
        .and_then(|runtime| runtime.block_on(discover(args, &ProcessSurroundings)));
    match found {
        Ok(found) => {
            print!("{}", found.file);
            found.problems.iter().for_each(|problem| eprintln!("{problem}"));
            ExitCode::SUCCESS
        }
        Err(error) => {
            tell(&error);
            ExitCode::FAILURE
        }
    }
}

/// What was found out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Discovery {
    /// The text of a settings file, or what is to be appended to one.
    pub file: String,
    /// What could not be looked at, a sentence each.
    pub problems: Vec<String>,
}

/// Looks at what the arguments name.
///
/// # Errors
/// As [`DiscoverError`] says, if nothing was found out.
pub async fn discover(args: &Args, surroundings: &dyn Surroundings) -> Result<Discovery, DiscoverError> {
    let settings = args.config.as_ref().map(|path| load(path, surroundings)).transpose()?;
    let mut labels = args.application_labels.clone();
    if labels.is_empty() {
        labels = match &settings {
            Some(settings) => settings.defaults.application_labels.clone(),
            None => ["application", "app", "service", "job"].map(str::to_owned).to_vec(),
        };
    }
    let asker = ask::Asker::new(surroundings, labels, args.time_limit);
    let scope = match (&settings, &args.config) {
        (Some(settings), Some(path)) if settings.sources.is_empty() => {
            return Err(DiscoverError::NoSources(path.clone()));
        }
        (Some(settings), Some(path)) => draft::Scope::Append { settings, path },
        _ => draft::Scope::Whole,
    };
    let seen = match (&settings, &args.prometheus) {
        (Some(settings), _) => asker.sources(settings).await?,
        (None, Some(url)) => asker.server(prometheus_source(args, url)).await?,
        (None, None) if args.targets.len() > TARGETS_MAX => {
            return Err(DiscoverError::TooManyTargets(args.targets.len()));
        }
        (None, None) => {
            asker
                .targets(
                    &args.targets,
                    &args.connection.client(),
                    args.series_limit,
                    args.application.as_ref(),
                )
                .await?
        }
    };
    let problems = seen.problems.clone();
    Ok(Discovery { file: draft::write(&seen, &scope), problems })
}

fn prometheus_source(args: &Args, url: &Url) -> Source {
    let source = PrometheusSource {
        url: url.clone(),
        client: args.connection.client(),
        tenant: args.connection.tenant(),
        step: Duration::from_secs(15),
        timeout: Duration::from_secs(30),
        instance_label: "instance".to_owned(),
        series_limit: args.series_limit,
    };
    Source { name: "prometheus".to_owned(), kind: SourceKind::Prometheus(Box::new(source)) }
}

/// The overrides that settings have for an application's signals.
fn overrides(settings: Option<&Settings>, name: &str) -> crate::signal::SignalSettings {
    let configured =
        settings.and_then(|settings| settings.applications.iter().find(|a| a.name.as_str() == name));
    configured.map(|application| application.engine.signals.clone()).unwrap_or_default()
}

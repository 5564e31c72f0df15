//! The daemon: the life of its process, and the tasks that it consists of.
//!
//! One task for each application owns its engine; collectors feed it through
//! bounded queues; couriers deliver commands; one recorder saves what ended.
//! Everything that must survive is in the store before it is done or said.

mod actor;
mod applications;
mod asked;
mod canaries;
mod collect;
mod courier;
mod daemon;
mod gate;
mod history;
mod interface;
mod keeper;
mod model;
mod moments;
#[cfg(test)]
mod panic_tests;
mod quality;
mod record;
mod recorder;
mod repeated;
mod restore;
mod service;
mod shared;
mod telling;
#[cfg(test)]
mod warm_up_tests;
mod web;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, RwLock};

use tokio::sync::{Notify, watch};

use crate::adapters::chain::chain;
use crate::adapters::clock;
use crate::adapters::guardian::{Caller, Guardian, HaltState};
use crate::adapters::release_systems::OpenError;
use crate::adapters::store::{LockError, SqlStore, StateLock, Store, StoreError};
use crate::adapters::telemetry::{LogStyle, Metrics, set_up_log};
use crate::app::people::Prepared;
use crate::config::{LogFormat, Settings, Surroundings};
use crate::domain::ReleaseOrder;

use actor::Means;
use courier::Couriers;
use daemon::{Daemon, Environment};
pub(super) use model::load as load_model;
use recorder::{Recorder, RecordingPolicy};
use shared::Shared;
use telling::Telling;

/// The settings file has problems; they were printed.
pub const EXIT_SETTINGS: u8 = 2;
/// Another guardian runs on the same store.
pub const EXIT_LOCKED: u8 = 3;
/// The store, the address or a release system cannot be used.
pub const EXIT_UNUSABLE: u8 = 4;

/// The daemon.
///
/// Exit codes: 0 after SIGTERM or SIGINT; 2 if the settings file has
/// problems; 3 if another guardian runs on the same store; 4 if the store,
/// the address or a release system cannot be used.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The settings file; read again on SIGHUP.
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
}

/// Why the daemon cannot run.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The settings file cannot be read.
    #[error("cannot read the settings file {}; check its path and rights", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It has problems.
    #[error("{0}")]
    Settings(crate::config::Problems),
    /// Another guardian runs, or the lock file cannot be used.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The state folder cannot be made.
    #[error("cannot make the state folder {}; check the rights of its parent", path.display())]
    Folder {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A release system cannot be used as it is configured.
    #[error(transparent)]
    ReleaseSystem(#[from] OpenError),
    /// Nobody could be told.
    #[error("messages to people cannot be sent")]
    People(#[from] crate::app::people::PeopleError),
    /// The secret of a token is not where the settings say.
    #[error("a token of the interface cannot be had")]
    Token(#[from] crate::config::SecretError),
    /// A source cannot be used as it is configured.
    #[error("a source of samples cannot be used")]
    Source(#[from] crate::adapters::outgoing::ClientError),
    /// The address cannot be listened on, or the interface failed.
    #[error("the interface on {listen} cannot be served; is another program listening there?")]
    Listen {
        /// Where.
        listen: std::net::SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The runtime cannot be started.
    #[error("the program cannot start its tasks")]
    Runtime(#[source] io::Error),
}

impl ServeError {
    fn exit_code(&self) -> u8 {
        match self {
            Self::File { .. } | Self::Settings(_) => EXIT_SETTINGS,
            Self::Lock(LockError::Held { .. }) => EXIT_LOCKED,
            Self::Lock(LockError::File { .. })
            | Self::Folder { .. }
            | Self::Store(_)
            | Self::ReleaseSystem(_)
            | Self::Source(_)
            | Self::Token(_)
            | Self::People(_)
            | Self::Listen { .. }
            | Self::Runtime(_) => EXIT_UNUSABLE,
        }
    }
}

/// The process's own environment variables and files.
struct Process;

impl Surroundings for Process {
    fn variable(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }
    fn read(&self, path: &Path) -> io::Result<String> {
        std::fs::read_to_string(path)
    }
}

/// Runs the daemon until it is told to stop.
pub fn run(args: &Args) -> ExitCode {
    match try_run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("release-guardian: {}", chain(&error));
            service::say_error(&chain(&error));
            ExitCode::from(error.exit_code())
        }
    }
}

fn try_run(args: &Args) -> Result<(), ServeError> {
    let environment: Environment = Arc::new(Process);
    let settings = read_settings(&args.config, environment.as_ref())?;
    set_up_log(log_style(settings.log.format), &settings.log.level);
    // Only the first provider counts; there is no other.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(ServeError::Runtime)?;
    runtime.block_on(serve(args, settings, environment))
}

/// Reads and checks a settings file.
fn read_settings(path: &Path, environment: &dyn Surroundings) -> Result<Settings, ServeError> {
    let text =
        std::fs::read_to_string(path).map_err(|source| ServeError::File { path: path.to_owned(), source })?;
    Settings::read(&path.to_string_lossy(), &text, environment).map_err(ServeError::Settings)
}

fn log_style(format: LogFormat) -> LogStyle {
    match format {
        LogFormat::Text => LogStyle::Text,
        LogFormat::Json => LogStyle::Json,
        LogFormat::Journald => LogStyle::Journal,
        // systemd sets it when standard error goes to the journal.
        LogFormat::Auto if std::env::var_os("JOURNAL_STREAM").is_some() => LogStyle::Journal,
        LogFormat::Auto => LogStyle::Text,
    }
}

/// A daemon that runs, and what it holds.
pub struct Running {
    daemon: Arc<Daemon>,
    collectors: collect::Collectors,
    store: Arc<SqlStore>,
    _lock: StateLock,
}

impl Running {
    /// The handle for interfaces.
    pub fn guardian(&self) -> Guardian {
        self.daemon.clone()
    }

    /// Stores what is in memory and ends all tasks.
    pub async fn stop(self) {
        self.collectors.stop();
        self.daemon.stop().await;
        self.store.close().await;
    }
}

/// Starts the daemon without its interface: lock, store, applications,
/// collectors.
///
/// # Errors
/// If one of them cannot be used.
pub async fn start(
    settings: Settings,
    environment: Arc<dyn Surroundings + Send + Sync>,
) -> Result<Running, ServeError> {
    let settings = model::with_model(settings);
    let folder = match settings.store.path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    std::fs::create_dir_all(&folder).map_err(|source| ServeError::Folder { path: folder.clone(), source })?;
    let lock = StateLock::take(&folder)?;
    let store = Arc::new(SqlStore::open(&settings.store.path).await?);
    let metrics = Metrics::default();
    metrics.settings_current.set(1);
    let registry = metrics.registry();
    let public_url = settings.server.public_url.to_string();
    let shared =
        Arc::new(Shared::new(store.clone(), metrics, clock::now, public_url, settings.recordings.before));
    let halt = store.fact("halt").await?.and_then(|text| serde_json::from_str(&text).ok());
    let (halt, halted) = watch::channel::<HaltState>(halt.unwrap_or_default());
    shared.metrics.halted.set(i64::from(halt.borrow().on));
    let recordings = Arc::new(RwLock::new(RecordingPolicy {
        dir: settings.recordings.dir.clone(),
        keep_days: settings.recordings.keep_days,
        keep_bytes: settings.recordings.keep_bytes,
    }));
    let means = Means {
        shared: shared.clone(),
        couriers: Arc::new(Couriers::new(shared.clone(), halted)),
        recorder: Recorder::start(shared, recordings.clone()),
    };
    let watched: Vec<ReleaseOrder> =
        store.watched().await?.into_iter().map(|release| release.order).collect();
    let daemon = Arc::new(Daemon {
        means,
        settings: RwLock::new(Arc::new(settings)),
        environment,
        running: RwLock::new(BTreeMap::new()),
        halt,
        registry,
        targets: RwLock::new(BTreeMap::new()),
        recordings,
        stopping: AtomicBool::new(false),
        asked: RwLock::new(BTreeMap::new()),
        asked_changed: Notify::new(),
        turns: canaries::Turns::default(),
    });
    daemon.start_applications(&watched)?;
    for order in watched {
        tokio::spawn(daemon.clone().ask_again(order.application));
    }
    let collectors = collect::Collectors::start(&daemon)?;
    Ok(Running { daemon, collectors, store, _lock: lock })
}

async fn serve(args: &Args, settings: Settings, environment: Environment) -> Result<(), ServeError> {
    let server = settings.server.clone();
    let listen_error = |source| ServeError::Listen { listen: server.listen, source };
    let access = web::access(&server, &environment)?;
    let prepared = Prepared::new(&settings, environment.as_ref())?;
    let mut running = start(settings, environment.clone()).await?;
    let listener = tokio::net::TcpListener::bind(server.listen).await.map_err(listen_error)?;
    tracing::info!(listen = %server.listen, version = env!("CARGO_PKG_VERSION"), "the guardian runs");
    let (stop, stopped) = watch::channel(false);
    let secure = server.public_url.scheme() == "https";
    let settings = running.daemon.settings();
    let (mut telling, links) =
        Telling::start(running.store.clone(), running.guardian(), settings, prepared).await?;
    let web = tokio::spawn(web::interface(listener, running.guardian(), access, secure, links, stopped));
    let result =
        service::until_stopped(&mut running, &mut telling, &args.config, environment.as_ref(), web).await;
    service::say_stopping();
    tracing::info!("the guardian stops; what is in memory is stored first");
    stop.send_replace(true);
    telling.stop().await;
    running.stop().await;
    result.map_err(listen_error)
}

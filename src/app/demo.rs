//! `demo`: the guardian at work on a fleet of this process's own, over real
//! HTTP: one application gets a bad release, another one a good release.

mod fleet;
mod release_system;
mod view;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::adapters::chain::chain;
use crate::adapters::recording::{RecordingError, write_label};
use crate::adapters::standard_webhooks::{InvalidKey, SigningKey};
use crate::adapters::web::{Access, Web};
use crate::app::serve::{self, ServeError};
use crate::config::{Problems, Role, Settings, Surroundings};
use crate::domain::{Label, LabelOutcome, LabelSource};

pub use fleet::DemoFault;
use fleet::Machine;
use release_system::{Course, Desk, Rollout, RolloutError};
use view::{Shown, View};

/// Machines of each application; two of them get the new version.
const MACHINES: u64 = 6;
/// The demo ends after this, whatever happened.
const LIMIT: Duration = Duration::from_secs(120);

/// A small fleet on loopback, a release system, a bad release and a good one.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What is wrong with the bad release.
    #[arg(long, value_enum, default_value = "errors")]
    pub fault: DemoFault,
    /// Ends when both releases have ended.
    #[arg(long)]
    pub once: bool,
    /// Where the pages are.
    #[arg(long, default_value = "127.0.0.1:8750")]
    pub listen: SocketAddr,
    /// Keeps the recordings of both releases in this folder.
    #[arg(long, value_name = "DIR")]
    pub save: Option<PathBuf>,
    /// The guardian only looks, so that whole bad releases are recorded.
    #[arg(long, requires = "save")]
    pub observe: bool,
    /// How long the fleets run before the releases begin, in seconds.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(5..=3_600))]
    pub before: u64,
    /// How long the first batch runs before the second, in seconds.
    #[arg(long, default_value_t = 36, value_parser = clap::value_parser!(u64).range(5..=3_600))]
    pub batch: u64,
}

/// Why the demo could not run.
#[derive(Debug, thiserror::Error)]
enum DemoError {
    #[error("cannot listen on {address}; name another address with --listen")]
    Listen { address: SocketAddr, source: io::Error },
    #[error("the demo's fleet cannot be started")]
    Fleet(#[from] io::Error),
    #[error("the demo's own settings are refused:\n{0}")]
    Settings(Problems),
    #[error("the demo's signing key is not usable")]
    Key(#[from] InvalidKey),
    #[error("the guardian cannot be started")]
    Serve(#[from] ServeError),
    #[error("a release cannot be carried out")]
    Rollout(#[from] RolloutError),
    #[error("the state cannot be asked for")]
    Ask(#[from] reqwest::Error),
    #[error("the recording cannot be labelled")]
    Label(#[from] RecordingError),
}

/// The demo's one secret: drawn anew for each run.
struct Demo {
    key: String,
}

impl Surroundings for Demo {
    fn variable(&self, name: &str) -> Option<String> {
        (name == "DEMO_KEY").then(|| self.key.clone())
    }
    fn read(&self, path: &Path) -> io::Result<String> {
        std::fs::read_to_string(path)
    }
}

/// Runs the demo; success only if both releases ended as they should.
pub fn run(args: &Args) -> ExitCode {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("release-guardian: the program cannot start its tasks: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(demo(args)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("release-guardian: {}", chain(&error));
            ExitCode::FAILURE
        }
    }
}

/// One application of the demo, before its release.
struct Side {
    application: &'static str,
    fault: Option<DemoFault>,
    machines: Vec<Machine>,
    desk: Desk,
    /// Its release system's address.
    system: String,
}

impl Side {
    async fn start(
        application: &'static str,
        fault: Option<DemoFault>,
        key: SigningKey,
        seed: u64,
    ) -> Result<Self, DemoError> {
        let mut machines = Vec::new();
        for index in 0..MACHINES {
            machines.push(Machine::start(seed + index).await?);
        }
        let desk = Desk::new(key);
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let system = format!("http://{}", listener.local_addr()?);
        let router = desk.clone().router();
        tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                tracing::error!(%error, "the demo's release system stopped");
            }
        });
        Ok(Self { application, fault, machines, desk, system })
    }

    /// Its part of the settings.
    fn settings(&self, observe: bool) -> String {
        let mode = if observe { "observe" } else { "enforce" };
        let targets: Vec<String> = self.machines.iter().map(|m| format!("\"{}\"", m.address)).collect();
        let (name, system, targets) = (self.application, &self.system, targets.join(", "));
        let url = format!("{system}/releases/{{{{ release }}}}");
        format!(
            r#"
[[source]]
name = "{name}"
kind = "scrape"
interval = "1s"
static = [{{ targets = [{targets}], labels = {{ job = "{name}" }} }}]

[[application]]
name = "{name}"
sources = ["{name}"]
select = ['{{job="{name}"}}']
[application.policy]
mode = "{mode}"
rollback_after = "3s"
pass_after = "10s"
watch_after_finish = "2s"
[application.rules]
instance_silent = {{ after_serving = "10s" }}
crash_loop = {{ settle = "5s" }}
[[application.threshold]]
name = "latency objective"
signal = "mean of http_request_duration_seconds"
above = 0.2
lasting = "5s"
[application.release_system]
kind = "webhook"
signing_key = "${{DEMO_KEY}}"
pause = {{ url = "{url}/pause" }}
rollback = {{ url = "{url}/rollback" }}
resume = {{ url = "{url}/resume" }}
[application.release_system.read_back]
url = "{url}"
interval = "1s"
paused_when = {{ pointer = "/state", equals = "paused" }}
rolled_back_when = {{ pointer = "/state", equals = "rolled_back" }}
resumed_when = {{ pointer = "/state", equals = "running" }}
"#
        )
    }
}

async fn demo(args: &Args) -> Result<bool, DemoError> {
    let environment = Demo { key: signing_key() };
    let key = SigningKey::parse(&SecretString::from(environment.key.clone()))?;
    let bad = Side::start("shop", Some(args.fault), key.clone(), 1).await?;
    let good = Side::start("search", None, key, 101).await?;
    let listen_error = |source| DemoError::Listen { address: args.listen, source };
    let listener = TcpListener::bind(args.listen).await.map_err(listen_error)?;
    let address = listener.local_addr().map_err(listen_error)?;
    let folder = std::env::temp_dir().join(format!("release-guardian-demo-{}", std::process::id()));
    let recordings = args.save.clone().unwrap_or_else(|| folder.join("recordings"));
    let text = format!(
        "[server]\nlisten = \"{address}\"\npublic_url = \"http://{address}/\"\n[store]\npath = {:?}\n\
         [recordings]\ndir = {:?}\nbefore = \"5m\"\n{}{}",
        folder.join("guardian.db"),
        recordings,
        bad.settings(args.observe),
        good.settings(args.observe),
    );
    let settings = Settings::read("demo", &text, &environment).map_err(DemoError::Settings)?;
    let running = serve::start(settings, Arc::new(environment)).await?;
    let router = Web::new(running.guardian(), Access::new(Vec::new(), Some(Role::Admin)), false).router();
    let (stop, mut stopped) = watch::channel(false);
    let web = tokio::spawn(crate::adapters::web::serve(listener, router, async move {
        let _ = stopped.wait_for(|stop| *stop).await;
    }));
    let pages = format!("http://{address}");
    println!("Open {pages}/ to see what follows. Two applications, six machines each.");
    println!("shop gets a release with the fault \"{}\", search a good one.", args.fault.word());
    // The fleets run on while the pages stay.
    let outcome = releases(args, bad, good, &pages).await;
    if !args.once && outcome.is_ok() {
        println!("The pages stay until Ctrl-C.");
        let _ = tokio::signal::ctrl_c().await;
    }
    stop.send_replace(true);
    running.stop().await;
    web.abort();
    // What is left of a temporary folder harms nobody.
    let _ = std::fs::remove_dir_all(&folder);
    outcome.map(|(well, _fleets)| well)
}

/// A Standard Webhooks key.
fn signing_key() -> String {
    use base64::Engine as _;
    let bytes: [u8; 32] = rand::random();
    format!("whsec_{}", base64::engine::general_purpose::STANDARD.encode(bytes))
}

/// Rolls both out and reads from the release systems how that ended; with the
/// fleets, which end when they are dropped.
async fn releases(
    args: &Args,
    bad: Side,
    good: Side,
    guardian: &str,
) -> Result<(bool, Vec<Course>), DemoError> {
    let client = reqwest::Client::builder().timeout(Duration::from_secs(20)).build()?;
    println!("The fleets run for {} s first, so that there is a before.", args.before);
    tokio::time::sleep(Duration::from_secs(args.before)).await;
    let mut shown = Vec::new();
    let mut rolling = Vec::new();
    let view = View::start();
    for side in [bad, good] {
        let release = format!("{}-{}", side.application, args.fault.word());
        shown.push(Shown::new(&view, side.application, &release, &side.system, guardian));
        let course = Course {
            application: side.application,
            release,
            guardian: guardian.to_owned(),
            desk: side.desk,
            machines: side.machines,
            fault: side.fault,
            client: client.clone(),
            batches: [Duration::from_secs(args.batch), Duration::from_secs(args.batch / 4)],
        };
        rolling.push(tokio::spawn(course.roll()));
    }
    // Where nothing is stopped the bad release is done like the good one.
    let bad_ends = if args.observe { Rollout::Done } else { Rollout::RolledBack };
    let wanted = [bad_ends, Rollout::Done];
    let limit = LIMIT + Duration::from_secs(args.batch * 2);
    let well = loop {
        let mut ended = 0;
        for (index, shown) in shown.iter_mut().enumerate() {
            shown.ask(&client, &view).await?;
            let passed = wanted[index] == Rollout::RolledBack || args.observe || shown.verdict == "pass";
            let over = shown.state == wanted[index].word() && passed && rolling[index].is_finished();
            let saved = args.save.is_none() || shown.recording(&client).await?.is_some();
            ended += usize::from(over && saved);
        }
        if ended == shown.len() {
            break true;
        }
        let stuck = |index: usize| rolling[index].is_finished() && shown[index].is_over_but(wanted[index]);
        if limit < view.begun.elapsed() || stuck(0) || stuck(1) {
            break false;
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    };
    let mut seen = Vec::new();
    for shown in shown.iter().filter(|_| !well) {
        seen.push(shown.seen(&client).await?);
    }
    let mut fleets = Vec::new();
    for (shown, course) in shown.iter().zip(rolling) {
        course.abort();
        let Ok(course) = course.await else { continue };
        let course = course?;
        if let (true, Some(folder)) = (args.save.is_some(), shown.recording(&client).await?) {
            write_label(Path::new(&folder), &label(&course))?;
        }
        fleets.push(course);
    }
    view.end();
    seen.iter().for_each(|text| println!("{text}"));
    println!("{}", if well { "Both ended as they should." } else { "Not as it should be: see above." });
    Ok((well, fleets))
}

/// What was true of a release: the demo made it.
fn label(course: &Course) -> Label {
    Label {
        outcome: if course.fault.is_some() { LabelOutcome::Faulty } else { LabelOutcome::Healthy },
        onset: course.machines.iter().filter_map(|machine| machine.faulty_since).min(),
        cause: course.fault.map(|fault| fault.word().to_owned()),
        source: LabelSource::Injected,
        other: BTreeMap::new(),
    }
}

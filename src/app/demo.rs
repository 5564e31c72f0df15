//! `demo`: the guardian at work on a fleet of this process's own, over real
//! HTTP: one application gets a bad release, another one a good release.

mod fleet;
mod release_system;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::adapters::standard_webhooks::{InvalidKey, SigningKey};
use crate::adapters::web::{Access, Web};
use crate::app::serve::{self, ServeError};
use crate::config::{Problems, Role, Settings, Surroundings};

pub use fleet::DemoFault;
use fleet::Machine;
use release_system::{Course, Desk, Rollout, RolloutError};

/// Machines of each application; two of them get the new version.
const MACHINES: u64 = 6;
/// How long the fleets run before the releases begin.
const BEFORE: Duration = Duration::from_secs(14);
/// The demo ends after this, whatever happened.
const LIMIT: Duration = Duration::from_secs(150);

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
            let mut text = error.to_string();
            let mut cause = std::error::Error::source(&error);
            while let Some(inner) = cause {
                text = format!("{text}: {inner}");
                cause = inner.source();
            }
            eprintln!("release-guardian: {text}");
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
    fn settings(&self) -> String {
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
mode = "enforce"
rollback_after = "5s"
watch_after_finish = "5s"
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
        bad.settings(),
        good.settings(),
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
    let outcome = releases(bad, good, &pages).await;
    if !args.once && outcome.is_ok() {
        println!("The pages stay until Ctrl-C.");
        let _ = tokio::signal::ctrl_c().await;
    }
    stop.send_replace(true);
    running.stop().await;
    web.abort();
    // What is left of a temporary folder harms nobody.
    let _ = std::fs::remove_dir_all(&folder);
    outcome
}

/// A Standard Webhooks key.
fn signing_key() -> String {
    use base64::Engine as _;
    let bytes: [u8; 32] = rand::random();
    format!("whsec_{}", base64::engine::general_purpose::STANDARD.encode(bytes))
}

/// Rolls both out and reads from the release systems how that ended.
async fn releases(bad: Side, good: Side, guardian: &str) -> Result<bool, DemoError> {
    let client = reqwest::Client::builder().timeout(Duration::from_secs(20)).build()?;
    println!("The fleets run for {} s first, so that there is a before.", BEFORE.as_secs());
    tokio::time::sleep(BEFORE).await;
    let begun = std::time::Instant::now();
    let systems = [bad.system.clone(), good.system.clone()];
    let mut rolling = Vec::new();
    for side in [bad, good] {
        let course = Course {
            application: side.application,
            release: format!("{}-2.0.0", side.application),
            guardian: guardian.to_owned(),
            desk: side.desk,
            machines: side.machines,
            fault: side.fault,
            client: client.clone(),
        };
        rolling.push(tokio::spawn(course.roll()));
    }
    let wanted = [Rollout::RolledBack, Rollout::Done];
    let names = ["shop", "search"];
    let mut shown = [String::new(), String::new()];
    loop {
        let mut ended = 0;
        for index in 0..2 {
            let name = names[index];
            let url = format!("{}/releases/{name}-2.0.0", systems[index]);
            let state = word(&client, &url, "/state").await?;
            let url = format!("{guardian}/api/v1/gate/{name}/{name}-2.0.0");
            let verdict = word(&client, &url, "/verdict").await.unwrap_or_default();
            let now = format!("release system: {state}, guardian: {verdict}");
            if shown[index] != now {
                println!("{:>5.1} s  {name:<7} {now}", begun.elapsed().as_secs_f64());
                shown[index] = now;
            }
            let passed = wanted[index] == Rollout::RolledBack || verdict == "pass";
            ended += usize::from(state == wanted[index].word() && passed && rolling[index].is_finished());
        }
        if ended == 2 || LIMIT < begun.elapsed() {
            let well = ended == 2;
            println!("{}", if well { "Both ended as they should." } else { "Not as it should be." });
            for course in rolling {
                course.abort();
                if let Ok(result) = course.await {
                    result?;
                }
            }
            return Ok(well);
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

/// A word of a JSON answer.
async fn word(client: &reqwest::Client, url: &str, pointer: &str) -> Result<String, reqwest::Error> {
    let answer: Value = client.get(url).send().await?.json().await?;
    Ok(answer.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned())
}

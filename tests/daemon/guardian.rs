//! The real binary as a process, and its interface.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::ports::own_address;
use crate::servers::{ReleaseSystem, Target};

/// How long is waited for anything: it ends a hang, and says nothing about speed.
const PATIENCE: Duration = Duration::from_secs(300);

/// Waits until it holds; a test that waits too long fails with what it waited for.
pub async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(begun.elapsed() < PATIENCE, "waited too long: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A fleet, a release system, a folder: everything but the guardian.
pub struct World {
    pub folder: tempfile::TempDir,
    pub targets: Vec<Target>,
    pub system: ReleaseSystem,
    pub port: u16,
}

impl World {
    pub fn new() -> Self {
        let port = own_address().port();
        let world = Self {
            folder: tempfile::tempdir().unwrap(),
            targets: (0..6).map(|_| Target::start()).collect(),
            system: ReleaseSystem::start(),
            port,
        };
        world.write_settings("");
        world
    }

    pub fn settings(&self) -> PathBuf {
        self.folder.path().join("guardian.toml")
    }

    pub fn write_settings(&self, more: &str) {
        let targets: Vec<String> = self.targets.iter().map(|t| format!("{:?}", t.name())).collect();
        let (folder, system) = (self.folder.path().display(), self.system.address);
        let text = format!(
            r#"
[server]
listen = "127.0.0.1:{port}"
[store]
path = "{folder}/state/guardian.db"
[recordings]
dir = "{folder}/recordings"
before = "5m"
[log]
format = "text"
[[source]]
name = "fleet"
kind = "scrape"
interval = "1s"
timeout = "1s"
static = [{{ targets = [{targets}], labels = {{ job = "shop" }} }}]
[[application]]
name = "shop"
select = ['{{job="shop"}}']
[application.policy]
mode = "enforce"
rollback_after = "3s"
pass_after = "3s"
command_deadline = "60s"
watch_after_finish = "5s"
[application.release_system]
kind = "webhook"
timeout = "2s"
[application.release_system.pause]
url = "http://{system}/pause"
[application.release_system.rollback]
url = "http://{system}/rollback"
[application.release_system.resume]
url = "http://{system}/resume"
[application.release_system.read_back]
url = "http://{system}/state"
interval = "200ms"
paused_when = {{ pointer = "/state", equals = "paused" }}
rolled_back_when = {{ pointer = "/state", equals = "rolled_back" }}
resumed_when = {{ pointer = "/state", equals = "running" }}
{more}
"#,
            port = self.port,
            targets = targets.join(", "),
        );
        std::fs::write(self.settings(), text).unwrap();
    }

    /// An order that releases the first two machines now.
    pub fn order(&self, id: &str, now: &str) -> Value {
        let names: Vec<String> = self.targets.iter().map(Target::name).collect();
        json!({
            "id": id, "application": "shop", "version": "2.0", "previous_version": "1.9",
            "batches": [{"started_at": now, "instances": names[..2]}],
            "reference": names[2..],
        })
    }

    pub fn recording(&self, id: &str) -> PathBuf {
        self.folder.path().join("recordings/shop").join(id)
    }
}

/// The guardian as a process; killed when dropped.
pub struct Guardian {
    child: Child,
    pub base: String,
    pub client: reqwest::Client,
    log: PathBuf,
}

pub fn command(settings: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_release-guardian"));
    command.arg("serve").arg("--config").arg(settings).stdin(Stdio::null());
    command.env_remove("NOTIFY_SOCKET").env_remove("JOURNAL_STREAM");
    command
}

impl Guardian {
    pub async fn start(world: &World) -> Self {
        let mut command = command(&world.settings());
        Self::start_as(world, &mut command).await
    }

    pub async fn start_as(world: &World, command: &mut Command) -> Self {
        // Only the first provider counts.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let log = world.folder.path().join("guardian.log");
        let file = std::fs::OpenOptions::new().create(true).append(true).open(&log).unwrap();
        let child = command.stderr(file).stdout(Stdio::null()).spawn().unwrap();
        let client = reqwest::Client::builder().timeout(Duration::from_secs(120)).build().unwrap();
        let base = format!("http://127.0.0.1:{}", world.port);
        let mut guardian = Self { child, base, client, log };
        let ready = format!("{}/readyz", guardian.base);
        let client = guardian.client.clone();
        until("the guardian is ready", async || {
            if let Some(status) = guardian.child.try_wait().unwrap() {
                panic!("the guardian ended with {status}: {}", guardian.log());
            }
            client.get(&ready).send().await.ok().filter(|a| a.status().is_success()).map(drop)
        })
        .await;
        guardian
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL, at once.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub fn signal(&self, name: &str) {
        let done = Command::new("kill").arg(format!("-{name}")).arg(self.pid().to_string()).status().unwrap();
        assert!(done.success());
    }

    pub async fn ended(&mut self) -> std::process::ExitStatus {
        let child = &mut self.child;
        until("the guardian ends", async || child.try_wait().unwrap()).await
    }

    pub async fn get(&self, path: &str) -> Option<Value> {
        let answer = self.client.get(format!("{}{path}", self.base)).send().await.ok()?;
        if !answer.status().is_success() {
            return None;
        }
        answer.json().await.ok()
    }

    pub async fn text(&self, path: &str) -> String {
        self.client.get(format!("{}{path}", self.base)).send().await.unwrap().text().await.unwrap()
    }

    pub async fn post(&self, path: &str, key: Option<&str>, body: &Value) -> (u16, Value) {
        let mut request = self.client.post(format!("{}{path}", self.base)).json(body);
        if let Some(key) = key {
            request = request.header("Idempotency-Key", key);
        }
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap_or(Value::Null))
    }

    pub async fn release(&self, id: &str) -> Option<Value> {
        self.get(&format!("/api/v1/releases/shop/{id}")).await
    }

    pub async fn wait_for_phase(&self, id: &str, wanted: &str) -> Value {
        let what = format!("release {id} is {wanted}");
        until(&what, async || {
            let release = self.release(id).await?;
            (release["summary"]["phase"] == wanted).then_some(release)
        })
        .await
    }

    /// The value of one of the guardian's own metrics.
    pub async fn metric(&self, series: &str) -> Option<f64> {
        let text = self.text("/metrics").await;
        let line = text.lines().find(|line| line.starts_with(series))?;
        line.rsplit(' ').next()?.parse().ok()
    }

    /// Waits until every target was scraped several times.
    pub async fn has_history(&self, scrapes: f64) {
        until("the targets were scraped", async || {
            let seen =
                self.metric("release_guardian_scrapes_total{application=\"shop\",outcome=\"complete\"}");
            seen.await.filter(|seen| *seen >= scrapes)
        })
        .await;
    }
}

impl Drop for Guardian {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let ended = self.child.try_wait();
            eprintln!("the guardian ({ended:?}) said:\n{}", self.log());
        }
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

//! Servers, settings and messages that the tests share.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use release_guardian::adapters::guardian::{EvidencePoint, EvidenceSeries};
use release_guardian::adapters::notify::message::{About, Message};
use release_guardian::adapters::notify::outbox::Outbox;
use release_guardian::adapters::notify::{self, Clock, Notifier, Parts, Running};
use release_guardian::config::notify::Notify;
use release_guardian::config::{Settings, Surroundings};
use release_guardian::domain::{InstanceId, ReleaseOrder, Timestamp};
use release_guardian::guard::engine::{Notice, NoticeKind};
use release_guardian::guard::policy::Policy;
use release_guardian::guard::{Action, Decider, Decision, Mode};
use release_guardian::judge::{Detector, Finding, Outcome};
use release_guardian::signal::{SignalClass, Unit};
use serde_json::{Value, json};

/// Long enough for two retries on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(300);

pub fn clock() -> Clock {
    Arc::new(now)
}

#[allow(clippy::disallowed_methods, reason = "tests play the part of main")]
pub fn now() -> Timestamp {
    Timestamp::from_millis(jiff::Timestamp::now().as_millisecond())
}

pub fn crypto() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// Waits on a condition; tells what was waited for when it does not come.
pub async fn until<T>(what: &str, mut condition: impl AsyncFnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(found) = condition().await {
            return found;
        }
        assert!(begin.elapsed() < PATIENCE, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Everything that is logged in this process.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The log from the first call on, with everything that libraries say too.
pub fn log() -> &'static Log {
    static LOG: OnceLock<Log> = OnceLock::new();
    LOG.get_or_init(|| {
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .finish();
        let _ = tracing::subscriber::set_global_default(subscriber);
        log
    })
}

impl Log {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

/// Environment variables for secrets, files as they are.
#[derive(Clone, Default)]
pub struct Secrets(pub BTreeMap<String, String>);

impl Secrets {
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.0.insert(name.to_owned(), value.to_owned());
        self
    }
}

impl Surroundings for Secrets {
    fn variable(&self, name: &str) -> Option<String> {
        self.0.get(name).cloned()
    }
    fn read(&self, path: &Path) -> io::Result<String> {
        std::fs::read_to_string(path)
    }
}

/// The checked `[notify]` of a settings text.
pub fn settings(text: &str, secrets: &Secrets) -> Notify {
    let secrets = secrets.clone().with("STATE_DIRECTORY", "/nowhere");
    match Settings::read("test.toml", text, &secrets) {
        Ok(settings) => settings.notify,
        Err(problems) => panic!("{problems}"),
    }
}

pub async fn start(settings: Notify, secrets: &Secrets, outbox: Arc<dyn Outbox>) -> (Notifier, Running) {
    crypto();
    let channels = notify::channels(&settings, secrets).map_err(|p| format!("{p:?}")).unwrap();
    let parts = Parts {
        settings,
        channels,
        signer: Some(signer()),
        page_address: Arc::new(|release| Some(format!("https://guardian.example.com/releases/{release}"))),
        outbox,
        clock: clock(),
    };
    Notifier::start(parts).await.unwrap()
}

pub fn signer() -> notify::links::LinkSigner {
    let url = url::Url::parse("https://guardian.example.com/").unwrap();
    let secret = secrecy::SecretString::from(LINK_SECRET);
    notify::links::LinkSigner::new(vec![secret], &url, Duration::from_secs(3600)).unwrap().unwrap()
}

pub const LINK_SECRET: &str = "link-secret-link-secret-link-secret";

fn finding(signal: &str, strength: f64, unit: Unit, numbers: [f64; 4], at: Timestamp) -> Finding {
    Finding {
        signal: signal.to_owned(),
        class: SignalClass::Errors,
        detector: Detector::Funnel,
        test: "shift".to_owned(),
        outcome: Outcome::Failing,
        instances: vec![InstanceId::new("10.0.0.1:9100").unwrap(), InstanceId::new("10.0.0.2:9100").unwrap()],
        because: format!("{signal} rose in the release group and not in the reference group"),
        release_before: Some(numbers[0]),
        release_after: Some(numbers[1]),
        reference_before: Some(numbers[2]),
        reference_after: Some(numbers[3]),
        unit,
        strength,
        since: Some(at - Duration::from_secs(40)),
        on_trial: false,
    }
}

/// A message as the daemon makes it, about `application`.
pub fn message(application: &str, kind: NoticeKind, text: &str) -> Message {
    let at = now();
    let order: ReleaseOrder = serde_json::from_value(json!({
        "format": 1, "id": "r-20261", "application": application, "version": "2.4.1",
        "previous_version": "2.4.0", "started_at": at - Duration::from_secs(300),
        "batches": [{"started_at": at - Duration::from_secs(120), "instances": ["10.0.0.1:9100", "10.0.0.2:9100"]}],
    }))
    .unwrap();
    let decision = Decision {
        release: order.key(),
        sequence: 2,
        at,
        action: Action::Pause,
        would: Action::Pause,
        by: Decider::Guardian,
        probability: 0.973,
        reasons: vec![
            finding("p99 latency of /cart", 6.2, Unit::Seconds, [0.231, 1.84, 0.229, 0.235], at),
            finding("error ratio of /cart", 14.8, Unit::Ratio, [0.0021, 0.0413, 0.0019, 0.0022], at),
            finding("connections in use", 5.1, Unit::Count, [12.0, 64.0, 13.0, 12.0], at),
            finding("orders placed", 4.4, Unit::PerSecond, [41.0, 12.5, 40.2, 40.9], at),
        ],
        blind: vec!["queue depth: too few samples".to_owned()],
        similar: Vec::new(),
        because: "Two of three looks in a row were failing.".to_owned(),
    };
    let points = (0..120_u32).map(|step| {
        let noise = f64::from(step * 7919 % 13) / 13.0 * 0.001;
        let fault = if step > 90 { 0.04 * (1.0 - (-f64::from(step - 90) / 8.0).exp()) } else { 0.0 };
        EvidencePoint {
            at: at - Duration::from_secs(u64::from(119 - step) * 5),
            release: Some(0.0015 + noise + fault),
            release_range: None,
            reference: Some(0.0014 + f64::from(step * 104_729 % 11) / 11.0 * 0.001),
            reference_range: None,
        }
    });
    let evidence = [EvidenceSeries {
        signal: "error ratio of /cart".to_owned(),
        unit: Unit::Ratio,
        suspect: true,
        points: points.collect(),
    }];
    let notice = Notice { at, kind, text: text.to_owned() };
    Message::compose(&About {
        notice: &notice,
        order: &order,
        environment: Some("production"),
        decision: Some(&decision),
        policy: &Policy { mode: Mode::Enforce, ..Policy::default() },
        evidence: &evidence,
    })
}

pub fn paused(application: &str) -> Message {
    message(
        application,
        NoticeKind::Pausing,
        "Paused because error ratio and latency rose right after batch 1.",
    )
}

/// A request that a test server got.
#[derive(Clone, Debug)]
pub struct Got {
    pub uri: Uri,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Got {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
    pub fn query(&self, name: &str) -> Vec<String> {
        let query = self.uri.query().unwrap_or("");
        url::form_urlencoded::parse(query.as_bytes())
            .filter(|(key, _)| key == name)
            .map(|(_, value)| value.into_owned())
            .collect()
    }
}

type Script = dyn Fn(usize, &Got) -> Response + Send + Sync;

/// An HTTP server that answers as it is told, and remembers what it got.
#[derive(Clone)]
pub struct Server {
    pub url: String,
    pub got: Arc<Mutex<Vec<Got>>>,
    pub script: Arc<Script>,
}

impl Server {
    /// `script` is given the number of the request, from 0.
    pub async fn start(script: impl Fn(usize, &Got) -> Response + Send + Sync + 'static) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = Self { url, got: Arc::default(), script: Arc::new(script) };
        let router = Router::new().fallback(take).with_state(server.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        server
    }

    pub fn got(&self) -> Vec<Got> {
        self.got.lock().unwrap().clone()
    }
}

async fn take(State(server): State<Server>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let got = Got { uri, headers, body: body.to_vec() };
    let number = {
        let mut all = server.got.lock().unwrap();
        all.push(got.clone());
        all.len() - 1
    };
    (server.script)(number, &got)
}

pub fn ok(body: impl Into<String>) -> Response {
    (StatusCode::OK, body.into()).into_response()
}

/// The SMTP server of smtp_server.py, with its own certificate authority.
pub struct Smtp {
    child: Child,
    pub port: u16,
    pub folder: tempfile::TempDir,
}

pub const USER: &str = "guardian";
pub const PASSWORD: &str = "correct-horse-battery";

impl Smtp {
    /// `host` is whom the certificate is for.
    pub fn start(security: &str, host: &str, user: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        if security != "none" {
            certificate(folder.path(), host);
        }
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/notify/smtp_server.py");
        // Debian's own interpreter, to which Debian's package belongs.
        let mut child = Command::new("/usr/bin/python3")
            .arg(script)
            .arg(folder.path())
            .args([security, user, PASSWORD])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the SMTP server of the tests needs the package python3-aiosmtpd");
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let port = line.trim().parse().expect("the SMTP server did not start; is python3-aiosmtpd there?");
        Self { child, port, folder }
    }

    pub fn mode(&self, mode: &str) {
        std::fs::write(self.folder.path().join("mode"), mode).unwrap();
    }

    fn lines(&self, name: &str) -> Vec<Value> {
        let text = std::fs::read_to_string(self.folder.path().join(name)).unwrap_or_default();
        // The last line may be half written.
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    pub fn mails(&self) -> Vec<Value> {
        self.lines("mails")
    }

    pub fn logins(&self) -> Vec<Value> {
        self.lines("logins")
    }

    pub fn ca(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// The settings of one mail channel to this server.
    pub fn settings(&self, security: &str, to: &[&str]) -> String {
        let login = if security == "none" {
            String::new()
        } else {
            format!("username = {USER:?}\npassword = \"${{PASSWORD}}\"\nca_file = {:?}\n", self.ca())
        };
        format!(
            "[notify]\n[[notify.channel]]\nname = \"mail\"\nkind = \"email\"\nserver = \"localhost\"\nport = {}\n\
             security = {security:?}\ntimeout = \"60s\"\nfrom = \"Release guardian <guardian@example.com>\"\nto = {to:?}\n{login}",
            self.port
        )
    }
}

impl Drop for Smtp {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn certificate(folder: &Path, host: &str) {
    let openssl = |arguments: &str| {
        let done = Command::new("openssl")
            .args(arguments.split(' '))
            .current_dir(folder)
            .stderr(Stdio::null())
            .status()
            .expect("the tests need the package openssl");
        assert!(done.success(), "openssl {arguments}");
    };
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
    openssl(&format!("req -x509 {key} -keyout ca.key -out ca.pem -days 2 -subj /CN=Test-CA"));
    openssl(&format!("req {key} -keyout server.key -out server.csr -subj /CN={host}"));
    std::fs::write(folder.join("names"), format!("subjectAltName=DNS:{host}\n")).unwrap();
    openssl(
        "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out server.pem -days 2 -extfile names",
    );
}

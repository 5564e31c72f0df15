//! Real HTTP servers for the tests: targets that expose metrics, and a
//! release system that remembers what it was told.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A request as a server saw it.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: String,
    pub path: String,
    pub headers: HashMap<String, String>,
    pub body: String,
}

/// What a server answers: a status and a body, or nothing at all.
pub type Reply = Option<(u16, String)>;

/// Serves until the test ends.
pub fn serve(answer: impl Fn(Seen) -> Reply + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let answer = Arc::new(answer);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let answer = answer.clone();
            std::thread::spawn(move || one(stream, answer.as_ref()));
        }
    });
    address
}

fn one(mut stream: TcpStream, answer: &dyn Fn(Seen) -> Reply) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split_whitespace();
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim().split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length").and_then(|l| l.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let body = String::from_utf8(body).ok()?;
    match answer(Seen { method, path, headers, body }) {
        Some((status, body)) => {
            let kind = if body.starts_with('{') { "application/json" } else { "text/plain; version=0.0.4" };
            let length = body.len();
            let head = format!(
                "HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
            );
            stream.write_all((head + &body).as_bytes()).ok()
        }
        None => {
            std::thread::sleep(Duration::from_secs(600));
            None
        }
    }
}

/// A process that serves requests at a steady rate.
#[derive(Clone)]
pub struct Target {
    pub address: SocketAddr,
    state: Arc<Mutex<State>>,
}

struct State {
    since: Instant,
    good: f64,
    bad: f64,
    bad_ratio: f64,
    hangs: bool,
    tells_more: bool,
    mangled: bool,
}

const REQUESTS_PER_SECOND: f64 = 200.0;

impl Target {
    pub fn start() -> Self {
        let now = Instant::now();
        let state = State {
            since: now,
            good: 10_000.0,
            bad: 10.0,
            bad_ratio: 0.001,
            hangs: false,
            tells_more: false,
            mangled: false,
        };
        let state = Arc::new(Mutex::new(state));
        let shown = state.clone();
        let address = serve(move |_| {
            let mut state = shown.lock().unwrap();
            if state.hangs {
                drop(state);
                return None;
            }
            let requests = state.since.elapsed().as_secs_f64() * REQUESTS_PER_SECOND;
            state.since = Instant::now();
            state.bad += requests * state.bad_ratio;
            state.good += requests * (1.0 - state.bad_ratio);
            let (good, bad) = (state.good.floor(), state.bad.floor());
            let mut more = if state.tells_more { more(good, bad) } else { String::new() };
            if state.mangled {
                more.push_str("half_a_line{code=\"2\n");
            }
            Some((
                200,
                format!(
                    "# TYPE http_requests_total counter\n\
                     http_requests_total{{code=\"200\"}} {good}\n\
                     http_requests_total{{code=\"500\"}} {bad}\n\
                     # TYPE process_start_time_seconds gauge\n\
                     process_start_time_seconds 1700000000\n{more}"
                ),
            ))
        });
        Self { address, state }
    }

    pub fn name(&self) -> String {
        self.address.to_string()
    }

    pub fn fail(&self, ratio: f64) {
        self.state.lock().unwrap().bad_ratio = ratio;
    }

    /// From now on its page shows latency, logs and orders as well.
    #[allow(dead_code, reason = "the tests of messages share this file")]
    pub fn tell_more(&self) {
        self.state.lock().unwrap().tells_more = true;
    }

    /// From now on a line of its page cannot be read.
    #[allow(dead_code, reason = "the tests of messages share this file")]
    pub fn mangle(&self) {
        self.state.lock().unwrap().mangled = true;
    }

    pub fn hang(&self) {
        self.state.lock().unwrap().hangs = true;
    }
}

/// A failed request takes two seconds, leaves a line in the log and no order.
fn more(good: f64, bad: f64) -> String {
    let (sum, count) = (good * 0.05 + bad * 2.0, good + bad);
    let orders = (good / 10.0).floor();
    format!(
        "# TYPE http_request_duration_seconds summary\n\
         http_request_duration_seconds_sum {sum}\n\
         http_request_duration_seconds_count {count}\n\
         # TYPE log_messages_total counter\n\
         log_messages_total{{level=\"error\"}} {bad}\n\
         # TYPE orders_created_total counter\n\
         orders_created_total {orders}\n"
    )
}

/// A release system: remembers every command, and how it shall answer.
#[derive(Clone)]
pub struct ReleaseSystem {
    pub address: SocketAddr,
    inner: Arc<Mutex<Inner>>,
}

struct Inner {
    commands: Vec<Seen>,
    state: String,
    status: u16,
    hangs: bool,
}

impl ReleaseSystem {
    pub fn start() -> Self {
        let inner = Inner { commands: Vec::new(), state: "running".to_owned(), status: 200, hangs: false };
        let inner = Arc::new(Mutex::new(inner));
        let shown = inner.clone();
        let address = serve(move |seen| {
            let mut inner = shown.lock().unwrap();
            if seen.method == "GET" {
                return Some((200, format!("{{\"state\": {:?}}}", inner.state)));
            }
            let path = seen.path.clone();
            inner.commands.push(seen);
            if inner.hangs {
                drop(inner);
                return None;
            }
            if inner.status == 200 {
                inner.state = match path.as_str() {
                    "/pause" => "paused",
                    "/rollback" => "rolled_back",
                    _ => "running",
                }
                .to_owned();
            }
            Some((inner.status, "{\"ok\": true}".to_owned()))
        });
        Self { address, inner }
    }

    pub fn answer(&self, status: u16) {
        self.inner.lock().unwrap().status = status;
    }

    pub fn hang(&self, hangs: bool) {
        self.inner.lock().unwrap().hangs = hangs;
    }

    pub fn state(&self) -> String {
        self.inner.lock().unwrap().state.clone()
    }

    pub fn commands(&self) -> Vec<Seen> {
        self.inner.lock().unwrap().commands.clone()
    }

    /// The idempotency keys of the commands of one kind, each once.
    pub fn keys(&self, path: &str) -> std::collections::BTreeSet<String> {
        let commands = self.commands();
        commands.iter().filter(|c| c.path == path).map(|c| c.headers["idempotency-key"].clone()).collect()
    }
}

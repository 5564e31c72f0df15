//! The demo's machines: each a server of its own on a free port, with real
//! `/metrics`, under load in real time.

use std::fmt::Write as _;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::http::header;
use axum::routing::get;
use clap::ValueEnum;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::adapters::clock;
use crate::domain::Timestamp;

/// How often each machine works off its load.
const STEP: Duration = Duration::from_millis(100);
/// Requests a second of one machine.
const RATE: f64 = 120.0;
const ROUTES: [&str; 3] = ["/cart", "/search", "/item"];
const BOUNDS: [f64; 10] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];

/// What is wrong with the bad release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DemoFault {
    /// Requests fail.
    Errors,
    /// Requests take six times as long.
    Latency,
    /// The process ends every few seconds.
    CrashLoop,
    /// Memory grows without end.
    Leak,
    /// It answers scrapes and serves nothing.
    Hang,
    /// No more orders though everything works.
    Business,
    /// An exception that was never seen before.
    Exceptions,
}

impl DemoFault {
    /// The word on the command line.
    pub fn word(self) -> &'static str {
        match self {
            Self::Errors => "errors",
            Self::Latency => "latency",
            Self::CrashLoop => "crash-loop",
            Self::Leak => "leak",
            Self::Hang => "hang",
            Self::Business => "business",
            Self::Exceptions => "exceptions",
        }
    }
}

/// Counters of one process; they end with it.
#[derive(Clone, Debug, Default)]
struct Counters {
    /// By route: succeeded, failed.
    requests: [[u64; 2]; ROUTES.len()],
    buckets: [u64; BOUNDS.len() + 1],
    seconds: f64,
    orders: u64,
    exceptions: u64,
    cpu_seconds: f64,
}

#[derive(Debug)]
struct Process {
    began_at: f64,
    counters: Counters,
    memory: f64,
    fault: Option<DemoFault>,
    rng: ChaCha8Rng,
}

impl Process {
    fn new(seed: u64, fault: Option<DemoFault>) -> Self {
        let rng = ChaCha8Rng::seed_from_u64(seed);
        let began_at = clock::now().as_secs_f64();
        Self { began_at, counters: Counters::default(), memory: 90e6, fault, rng }
    }

    fn work(&mut self, seconds: f64) {
        if self.fault == Some(DemoFault::Hang) {
            return;
        }
        let mean = RATE * seconds * self.rng.random_range(0.85..1.15);
        let requests = mean as u64 + u64::from(self.rng.random_bool(mean.fract()));
        for _ in 0..requests {
            self.request();
        }
        let settled = 180e6 + if self.fault == Some(DemoFault::Leak) { 4e9 } else { 0.0 };
        let speed = if self.fault == Some(DemoFault::Leak) { 0.02 } else { 0.08 };
        self.memory += (settled - self.memory) * speed * seconds;
    }

    fn request(&mut self) {
        let route = self.rng.random_range(0..ROUTES.len());
        let failing = if self.fault == Some(DemoFault::Errors) && route == 0 { 0.6 } else { 0.002 };
        let failed = self.rng.random_bool(failing);
        // A young process is slow at first; that is not a fault.
        let age = clock::now().as_secs_f64() - self.began_at;
        let young = 1.0 + 1.5 * (-age / 8.0).exp();
        let slower = if self.fault == Some(DemoFault::Latency) { 8.0 * young } else { young };
        let spread: f64 = (0..4).map(|_| self.rng.random_range(-1.0..1.0)).sum();
        let seconds = 0.03 * slower * (0.7 * spread).exp();
        let counters = &mut self.counters;
        counters.requests[route][usize::from(failed)] += 1;
        let bucket = BOUNDS.iter().position(|bound| seconds <= *bound).unwrap_or(BOUNDS.len());
        counters.buckets[bucket] += 1;
        counters.seconds += seconds;
        counters.cpu_seconds += 0.0015;
        let sells = self.fault != Some(DemoFault::Business) && !failed;
        counters.orders += u64::from(sells && self.rng.random_bool(0.1));
        let throws = self.fault == Some(DemoFault::Exceptions);
        counters.exceptions += u64::from(throws && self.rng.random_bool(0.05));
    }

    fn page(&self) -> String {
        let counters = &self.counters;
        let mut page = String::from("# TYPE http_requests_total counter\n");
        for (route, [ok, failed]) in ROUTES.iter().zip(counters.requests) {
            for (code, count) in [("200", ok), ("500", failed)] {
                let _ = writeln!(page, "http_requests_total{{code=\"{code}\",path=\"{route}\"}} {count}");
            }
        }
        page.push_str("# TYPE http_request_duration_seconds histogram\n");
        let mut below = 0;
        let bounds = BOUNDS.iter().map(f64::to_string).chain(["+Inf".to_owned()]);
        for (bound, count) in bounds.zip(counters.buckets) {
            below += count;
            let _ = writeln!(page, "http_request_duration_seconds_bucket{{le=\"{bound}\"}} {below}");
        }
        let _ = writeln!(page, "http_request_duration_seconds_sum {}", counters.seconds);
        let _ = writeln!(page, "http_request_duration_seconds_count {below}");
        let _ = writeln!(page, "# TYPE orders_total counter\norders_total {}", counters.orders);
        page.push_str("# TYPE exceptions_total counter\n");
        if counters.exceptions > 0 {
            let _ =
                writeln!(page, "exceptions_total{{exception=\"SchemaMismatch\"}} {}", counters.exceptions);
        }
        let lines = [
            ("process_cpu_seconds_total", "counter", counters.cpu_seconds),
            ("process_resident_memory_bytes", "gauge", self.memory.round()),
            ("process_start_time_seconds", "gauge", self.began_at),
        ];
        for (name, kind, value) in lines {
            let _ = writeln!(page, "# TYPE {name} {kind}\n{name} {value}");
        }
        page
    }
}

type Slot = Arc<Mutex<Option<Process>>>;

/// A thread that panicked leaves plain numbers behind.
fn held(slot: &Slot) -> MutexGuard<'_, Option<Process>> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One machine: its address stays, its process comes and goes.
pub(super) struct Machine {
    pub(super) address: SocketAddr,
    seed: u64,
    /// When a process with a fault began first, if one did.
    pub(super) faulty_since: Option<Timestamp>,
    process: Slot,
    server: Option<JoinHandle<()>>,
    load: JoinHandle<()>,
}

impl Machine {
    /// Starts a machine with the old version on a free port of loopback.
    pub(super) async fn start(seed: u64) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let process: Slot = Arc::new(Mutex::new(Some(Process::new(seed, None))));
        let server = Some(serve(listener, process.clone()));
        let working = process.clone();
        let load = tokio::spawn(async move {
            let mut ticks = tokio::time::interval(STEP);
            loop {
                ticks.tick().await;
                if let Some(process) = held(&working).as_mut() {
                    process.work(STEP.as_secs_f64());
                }
            }
        });
        Ok(Self { address, seed, faulty_since: None, process, server, load })
    }

    /// Ends the process and begins another one after a moment.
    pub(super) async fn restart(&mut self, fault: Option<DemoFault>) -> io::Result<()> {
        *held(&self.process) = None;
        if let Some(server) = self.server.take() {
            server.abort();
            // The port is free when the task has ended; it ends by the abort.
            let _ = server.await;
        }
        tokio::time::sleep(Duration::from_millis(1_200)).await;
        let listener = TcpListener::bind(self.address).await?;
        self.seed += 1_000;
        *held(&self.process) = Some(Process::new(self.seed, fault));
        self.server = Some(serve(listener, self.process.clone()));
        if fault.is_some() {
            self.faulty_since.get_or_insert(clock::now());
        }
        Ok(())
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.load.abort();
        if let Some(server) = &self.server {
            server.abort();
        }
    }
}

fn serve(listener: TcpListener, process: Slot) -> JoinHandle<()> {
    let page = move || {
        let text = held(&process).as_ref().map(Process::page).unwrap_or_default();
        // Without kept connections a process that ended is refused at once.
        async move { ([(header::CONTENT_TYPE, "text/plain; version=0.0.4"), (header::CONNECTION, "close")], text) }
    };
    let router = Router::new().route("/metrics", get(page));
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            tracing::error!(%error, "a machine of the demo stopped serving");
        }
    })
}

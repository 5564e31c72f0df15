//! What the daemon costs with many targets: serves their pages on loopback,
//! starts `serve`, begins a release, and measures CPU and memory of the
//! process. Does nothing without arguments, as `cargo bench` runs it too.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a bench that cannot go on should say where")]

mod page;
mod process;
mod servers;

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use page::Page;
use process::Usage;
use release_guardian::domain::{InstanceId, Scrape, Timestamp};
use release_guardian::signal::exposition::{Dialect, Limits, Reader, SharedKeys};
use release_guardian::signal::{SignalSettings, Window};
use servers::Servers;

const HELP: &str = "\
scripts/load [--targets N] [--series N] [--interval SECONDS] [--minutes N] [--before MINUTES]
scripts/load --window [--series N] [--steps N]";

struct Args {
    targets: usize,
    series: usize,
    interval: u64,
    /// How long it is measured with a release being watched.
    minutes: u64,
    /// How long it is scraped before the release.
    before: u64,
    steps: i64,
    window: bool,
}

fn main() {
    let mut args =
        Args { targets: 200, series: 2_000, interval: 10, minutes: 5, before: 5, steps: 720, window: false };
    let mut given = std::env::args().skip(1).filter(|arg| arg != "--bench").peekable();
    if given.peek().is_none() {
        println!("load: nothing to do; {HELP}");
        return;
    }
    while let Some(arg) = given.next() {
        let mut number = || given.next().and_then(|n| n.parse().ok()).expect(HELP);
        match arg.as_str() {
            "--targets" => args.targets = number() as usize,
            "--series" => args.series = number() as usize,
            "--interval" => args.interval = number(),
            "--minutes" => args.minutes = number(),
            "--before" => args.before = number(),
            "--steps" => args.steps = number() as i64,
            "--window" => args.window = true,
            _ => panic!("{arg} is not known; {HELP}"),
        }
    }
    if args.window { window(&args) } else { daemon(&args) }
}

/// Memory of a full window, a target: pages are read and taken without HTTP,
/// as fast as it goes, until the oldest steps are forgotten.
fn window(args: &Args) {
    const TARGETS: usize = 10;
    let step = Duration::from_secs(args.interval);
    let mut window = Window::new(step, step * args.steps as u32, SignalSettings::default());
    let mut pages: Vec<Page> = (0..TARGETS).map(|target| Page::new(target, args.series)).collect();
    let keys = SharedKeys::default();
    let mut readers: Vec<Reader> =
        (0..TARGETS).map(|_| Reader::sharing(Limits::default(), keys.clone())).collect();
    let begun = Usage::of(std::process::id());
    let mut body = Vec::new();
    let (mut reading, mut taking) = (Duration::ZERO, Duration::ZERO);
    for at in 0..args.steps + 128 {
        for target in 0..TARGETS {
            pages[target].render(false, &mut body);
            let start = Instant::now();
            let page = readers[target].read(&body, Dialect::Prometheus).unwrap();
            reading += start.elapsed();
            let scrape = Scrape {
                instance: InstanceId::new(format!("10.0.0.{target}:9100")).unwrap(),
                // Scrapes are never quite as far apart as they should be.
                at: Timestamp::from_millis(
                    1_700_000_000_000 + at * step.as_millis() as i64 + (at * 37 + target as i64 * 613) % 90,
                ),
                outcome: page.outcome(),
                samples: page.samples,
                families: page.families,
            };
            let start = Instant::now();
            window.take(&scrape);
            taking += start.elapsed();
        }
        if at == 0 || at == args.steps / 2 || at == args.steps + 127 {
            let now = Usage::of(std::process::id());
            println!(
                "after {} steps: {} KiB a target, {} signals",
                at + 1,
                (now.resident_kib - begun.resident_kib) / TARGETS as u64,
                window.catalogue().signals().count()
            );
        }
    }
    let samples = ((args.steps + 128) as usize * TARGETS * args.series) as f64;
    println!(
        "a sample: {:.0} ns to read, {:.0} ns to take into the window",
        reading.as_nanos() as f64 / samples,
        taking.as_nanos() as f64 / samples
    );
}

/// The daemon as a process; killed when dropped.
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn daemon(args: &Args) {
    let folder = tempfile::tempdir().unwrap();
    let servers = Servers::start(args.targets, args.series);
    let port = servers::free_port();
    let settings = folder.path().join("guardian.toml");
    let targets: Vec<String> = servers.names.iter().map(|name| format!("{name:?}")).collect();
    let text = format!(
        r#"
[server]
listen = "127.0.0.1:{port}"
[store]
path = "{at}/guardian.db"
[recordings]
dir = "{at}/recordings"
[[source]]
name = "fleet"
kind = "scrape"
interval = "{interval}s"
timeout = "{interval}s"
static = [{{ targets = [{targets}], labels = {{ job = "shop" }} }}]
[[application]]
name = "shop"
select = ['{{job="shop"}}']
[application.policy]
mode = "enforce"
[application.release_system]
kind = "webhook"
url = "http://{system}/command"
"#,
        at = folder.path().display(),
        interval = args.interval,
        targets = targets.join(", "),
        system = servers.system,
    );
    std::fs::write(&settings, text).unwrap();
    let program = std::env::var_os("GUARDIAN")
        .map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_release-guardian")), PathBuf::from);
    let log = std::fs::File::create(folder.path().join("log")).unwrap();
    let child = Command::new(program)
        .args(["serve", "--config"])
        .arg(&settings)
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap();
    let pid = child.id();
    let _daemon = Daemon(child);
    println!("{} targets of {} series, every {} s", args.targets, args.series, args.interval);
    measure("before a release", pid, args.before, &servers);
    let now = release_guardian::adapters::clock::now();
    let released = args.targets / 10;
    let order = format!(
        r#"{{"id": "r-1", "application": "shop", "version": "2", "previous_version": "1",
            "batches": [{{"started_at": "{now}", "instances": [{}]}}], "reference": [{}]}}"#,
        targets[..released].join(","),
        targets[released..].join(","),
    );
    let answer = servers::ask(port, "POST", "/api/v1/releases", &order);
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}\n{}", log_of(folder.path()));
    measure("a release is watched", pid, args.minutes, &servers);
    servers.failing.store(released, Ordering::Relaxed);
    let wrong = Instant::now();
    while servers.commands.load(Ordering::Relaxed) == 0 && wrong.elapsed() < Duration::from_secs(600) {
        std::thread::sleep(Duration::from_millis(100));
    }
    println!("one request in three fails on released machines: paused after {:.0?}", wrong.elapsed());
    std::thread::sleep(Duration::from_secs(2));
    let metrics = servers::ask(port, "GET", "/metrics", "");
    let wanted = ["reaction_seconds", "shed", "scrapes"];
    for line in metrics.lines().filter(|l| !l.starts_with('#') && wanted.iter().any(|w| l.contains(w))) {
        println!("{line}");
    }
}

fn log_of(folder: &std::path::Path) -> String {
    std::fs::read_to_string(folder.join("log")).unwrap_or_default()
}

/// One line a minute: the process's share of one core, and its memory.
fn measure(what: &str, pid: u32, minutes: u64, servers: &Arc<Servers>) {
    let begun = (Instant::now(), Usage::of(pid));
    let mut last = begun;
    for minute in 1..=minutes {
        std::thread::sleep(Duration::from_secs(60));
        let now = (Instant::now(), Usage::of(pid));
        let share = |from: &(Instant, Usage)| {
            100.0 * (now.1.cpu_seconds - from.1.cpu_seconds) / (now.0 - from.0).as_secs_f64()
        };
        println!(
            "{what}, minute {minute}: {:.1} % of one core ({:.1} % since its begin), {} MiB, {} pages served",
            share(&last),
            share(&begun),
            now.1.resident_kib / 1024,
            servers.served.load(Ordering::Relaxed),
        );
        last = now;
    }
}

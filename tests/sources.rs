//! Sources of samples against real servers: targets that misbehave, target
//! lists that fail and come back, and a real Prometheus (Debian's package
//! `prometheus`), which the tests that need it name when it is absent.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

#[path = "sources/api.rs"]
mod api;
#[path = "sources/discover.rs"]
mod discover;
#[path = "common/ports.rs"]
mod ports;

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use release_guardian::adapters::clock;
use release_guardian::adapters::prometheus::{Client, Poller, Query};
use release_guardian::adapters::recording::Recording;
use release_guardian::adapters::scrape::{Connection, Scraper};
use release_guardian::adapters::targets::Discovery;
use release_guardian::config::{
    FileSd, HttpClient, HttpSd, PrometheusSource, Scheme, ScrapeSource, StaticTargets, Surroundings,
};
use release_guardian::domain::{Scrape, ScrapeFailure, ScrapeOutcome};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

struct Nowhere;

impl Surroundings for Nowhere {
    fn variable(&self, _: &str) -> Option<String> {
        None
    }
    fn read(&self, path: &Path) -> io::Result<String> {
        std::fs::read_to_string(path)
    }
}

/// What a small server answers, byte for byte; it can be changed.
type Page = Arc<Mutex<Vec<u8>>>;

fn answer(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head =
        format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n{headers}\r\n", body.len());
    [head.as_bytes(), body].concat()
}

/// Serves `page` on a free port of the loopback; returns its address.
async fn serve(page: Page) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let page = page.clone();
            tokio::spawn(async move {
                let mut asked = Vec::new();
                let mut buffer = [0; 4096];
                while !asked.windows(4).any(|four| four == b"\r\n\r\n") {
                    match socket.read(&mut buffer).await {
                        Ok(0) | Err(_) => return,
                        Ok(read) => asked.extend_from_slice(&buffer[..read]),
                    }
                }
                let bytes = page.lock().unwrap().clone();
                let _ = socket.write_all(&bytes).await;
                // An answer that says less than it promised stays open.
                if bytes.ends_with(b"<open>") {
                    std::future::pending::<()>().await;
                }
                let _ = socket.shutdown().await;
            });
        }
    });
    address
}

fn source() -> ScrapeSource {
    ScrapeSource {
        static_targets: Vec::new(),
        file_sd: Vec::new(),
        http_sd: Vec::new(),
        interval: Duration::from_secs(1),
        timeout: Duration::from_secs(60),
        path: "/metrics".to_owned(),
        scheme: Scheme::Http,
        body_limit_bytes: 100_000,
        series_limit: 100,
        client: HttpClient::default(),
    }
}

fn install_tls() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}

async fn scrape(address: &str, source: &ScrapeSource) -> Scrape {
    install_tls();
    let listed = StaticTargets { targets: vec![address.to_owned()], labels: BTreeMap::new() };
    let with_target = ScrapeSource { static_targets: vec![listed], ..source.clone() };
    let found = Discovery::new(&with_target, &Nowhere).unwrap().refresh_due().await;
    assert_eq!(found.problems, [""; 0]);
    let connection = Connection::new(&source.client, &Nowhere).unwrap();
    Scraper::new(found.targets[0].clone(), connection, source).scrape().await
}

async fn scrape_page(bytes: Vec<u8>, source: &ScrapeSource) -> Scrape {
    let address = serve(Arc::new(Mutex::new(bytes))).await;
    scrape(&address, source).await
}

#[tokio::test]
async fn a_good_page_is_read_and_gzip_is_unpacked() {
    let text = b"# TYPE requests_total counter\nrequests_total{code=\"200\"} 5\n";
    let plain =
        scrape_page(answer("200 OK", "content-type: text/plain; version=0.0.4\r\n", text), &source()).await;
    assert_eq!(plain.outcome, ScrapeOutcome::Complete);
    let told = format!("target_info{{instance=\"{}\"}}", plain.instance);
    assert_eq!(plain.samples[0].series.to_string(), told, "what the target's list says of it");
    assert_eq!(plain.samples[1].series.to_string(), "requests_total{code=\"200\"}");
    assert_eq!(plain.families.len(), 1);
    // printf 'x 7\n' | gzip -n
    let packed = [31, 139, 8, 0, 0, 0, 0, 0, 0, 3, 171, 80, 48, 231, 2, 0, 165, 88, 80, 199, 4, 0, 0, 0];
    let unpacked = scrape_page(answer("200 OK", "content-encoding: gzip\r\n", &packed), &source()).await;
    match unpacked.outcome {
        ScrapeOutcome::Complete => assert_eq!(unpacked.samples[1].value, 7.0),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn every_way_to_fail_is_a_scrape_with_its_cause() {
    let failure = |scrape: Scrape| match scrape.outcome {
        ScrapeOutcome::Failed(failure) => failure,
        other => panic!("{other:?}"),
    };
    let html = answer("200 OK", "content-type: text/plain\r\n", b"<html>busy</html>");
    assert!(matches!(failure(scrape_page(html, &source()).await), ScrapeFailure::NotExposition(_)));
    let garbage = answer("200 OK", "", &[0xff, 0xfe, b'\n', b'{', b'\n']);
    assert!(matches!(failure(scrape_page(garbage, &source()).await), ScrapeFailure::NotExposition(_)));
    let huge = answer("200 OK", "", "x 1\n".repeat(50_000).as_bytes());
    let too_large = ScrapeFailure::TooLarge { limit_bytes: 100_000 };
    assert_eq!(failure(scrape_page(huge, &source()).await), too_large);
    let busy = answer("503 Service Unavailable", "", b"x 1\n");
    assert_eq!(failure(scrape_page(busy, &source()).await), ScrapeFailure::Status(503));
    let cut = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nx 1\n".to_vec();
    assert!(matches!(failure(scrape_page(cut, &source()).await), ScrapeFailure::NotExposition(_)));
    let slow = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nx 1\n# <open>".to_vec();
    let hasty = ScrapeSource { timeout: Duration::from_millis(200), ..source() };
    assert_eq!(failure(scrape_page(slow, &hasty).await), ScrapeFailure::Timeout);
    assert_eq!(failure(scrape_page(Vec::new(), &source()).await), ScrapeFailure::Refused);
    let closed = ports::own_address().to_string();
    assert_eq!(failure(scrape(&closed, &source()).await), ScrapeFailure::Refused);
}

#[tokio::test]
async fn what_is_partly_bad_or_over_the_limit_is_incomplete() {
    let partly = scrape_page(answer("200 OK", "", b"x 1\ny one\n"), &source()).await;
    assert!(matches!(partly.outcome, ScrapeOutcome::Incomplete { lost: 1, .. }), "{:?}", partly.outcome);
    let many: String = (0..150).map(|i| format!("x{i} 1\n")).collect();
    let many = scrape_page(answer("200 OK", "", many.as_bytes()), &source()).await;
    assert!(matches!(many.outcome, ScrapeOutcome::Incomplete { lost: 50, .. }), "{:?}", many.outcome);
}

#[tokio::test]
async fn an_http_list_that_fails_keeps_its_last_good_targets() {
    install_tls();
    let list = |host: &str| {
        answer(
            "200 OK",
            "content-type: application/json\r\n",
            format!("[{{\"targets\": [\"{host}:1\"], \"labels\": {{\"app\": \"shop\"}}}}]").as_bytes(),
        )
    };
    let page: Page = Arc::new(Mutex::new(list("a")));
    let url = format!("http://{}/targets", serve(page.clone()).await).parse().unwrap();
    let http_sd = vec![HttpSd { url, refresh: Duration::ZERO, client: HttpClient::default() }];
    let mut discovery = Discovery::new(&ScrapeSource { http_sd, ..source() }, &Nowhere).unwrap();
    let names = |found: &release_guardian::adapters::targets::Discovered| {
        found.targets.iter().map(|target| target.instance.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(names(&discovery.refresh_due().await), ["a:1"]);
    for bad in [answer("500 Oops", "", b""), answer("200 OK", "", b"[{\"targets\": [\"b"), Vec::new()] {
        *page.lock().unwrap() = bad;
        let found = discovery.refresh_due().await;
        assert_eq!((names(&found), found.problems.len()), (vec!["a:1".to_owned()], 1));
    }
    *page.lock().unwrap() = list("b");
    let found = discovery.refresh_due().await;
    assert_eq!((names(&found), found.problems.len()), (vec!["b:1".to_owned()], 0));
    let selector = |text: &str| vec![text.parse().unwrap()];
    assert!(found.targets[0].is_selected(&selector("{app=~\"sh.*\"}")));
    assert!(!found.targets[0].is_selected(&selector("{app!=\"shop\"}")));
}

#[tokio::test]
async fn a_target_file_is_read_again_when_it_is_replaced_and_kept_when_it_is_bad() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let replace = |name: &str, text: &str| {
        std::fs::write(path("unfinished"), text).unwrap();
        std::fs::rename(path("unfinished"), path(name)).unwrap();
    };
    let file_sd = vec![FileSd { files: vec![path("*.json"), path("one.yml")], refresh: Duration::ZERO }];
    let mut discovery = Discovery::new(&ScrapeSource { file_sd, ..source() }, &Nowhere).unwrap();
    replace("a.json", "[{\"targets\": [\"a:1\"]}]");
    replace("one.yml", "- targets: ['y:1']\n  labels: {instance: why}\n");
    let mut told = async || {
        let found = discovery.refresh_due().await;
        let names: Vec<String> = found.targets.iter().map(|target| target.instance.to_string()).collect();
        (names.join(" "), found.problems.len())
    };
    assert_eq!(told().await, ("a:1 why".to_owned(), 0));
    replace("a.json", "[{\"targets\": [\"b:1\"]}]");
    assert_eq!(told().await, ("b:1 why".to_owned(), 0));
    replace("a.json", "[{\"targets\": ");
    assert_eq!(told().await, ("b:1 why".to_owned(), 1));
    std::fs::remove_file(path("one.yml")).unwrap();
    assert_eq!(told().await, ("b:1 why".to_owned(), 2));
    std::fs::remove_file(path("a.json")).unwrap();
    assert_eq!(told().await, ("why".to_owned(), 1));
}

/// A Prometheus that is ended with the test.
struct Prometheus(Child);

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Looks until it is found. The limit only ends a hang; then what was seen
/// last is shown.
async fn patiently<T>(what: &str, mut look: impl AsyncFnMut() -> Result<T, String>) -> T {
    let begun = std::time::Instant::now();
    loop {
        match look().await {
            Ok(found) => return found,
            Err(seen) => assert!(begun.elapsed() < Duration::from_secs(300), "{what}: {seen}"),
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

fn start_prometheus(folder: &Path, target: &str) -> (Prometheus, String) {
    let settings = format!(
        "global: {{scrape_interval: 1s}}\nscrape_configs:\n- job_name: shop\n  static_configs:\n  - targets: ['{target}']\n    labels: {{rack: r7}}\n"
    );
    start_prometheus_with(folder, &settings, None)
}

/// A real server with these settings; `web`: its own interface's, such as its
/// users.
fn start_prometheus_with(folder: &Path, settings: &str, web: Option<&str>) -> (Prometheus, String) {
    std::fs::write(folder.join("prometheus.yml"), settings).unwrap();
    std::fs::write(folder.join("web.yml"), web.unwrap_or_default()).unwrap();
    let address = ports::own_address().to_string();
    let log = std::fs::File::create(folder.join("prometheus.log")).unwrap();
    let child = Command::new("prometheus")
        .arg(format!("--config.file={}", folder.join("prometheus.yml").display()))
        .arg(format!("--web.config.file={}", folder.join("web.yml").display()))
        .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
        .arg(format!("--web.listen-address={address}"))
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .expect("install Debian's package prometheus, which this test runs");
    (Prometheus(child), address)
}

#[tokio::test]
async fn a_real_prometheus_is_followed_recorded_and_told_apart_from_its_targets() {
    install_tls();
    let page: Page = Arc::new(Mutex::new(answer(
        "200 OK",
        "content-type: text/plain; version=0.0.4\r\n",
        b"# TYPE requests_total counter\nrequests_total{code=\"200\"} 5\nlevel NaN\n",
    )));
    let target = serve(page.clone()).await;
    let folder = tempfile::tempdir().unwrap();
    let (server, address) = start_prometheus(folder.path(), &target);
    let source = PrometheusSource {
        url: format!("http://{address}").parse().unwrap(),
        client: HttpClient::default(),
        tenant: None,
        step: Duration::from_secs(1),
        timeout: Duration::from_secs(60),
        instance_label: "instance".to_owned(),
        series_limit: 1000,
    };
    let client = Client::new(&source, &Nowhere).unwrap();
    let query = Query { selector: "{job=\"shop\"}".parse().unwrap(), instance: client.instance_rule() };
    let mut poller = Poller::new(client, vec![query]);
    let begun = clock::now();
    let mut scrapes = Vec::new();
    while scrapes.len() < 3 {
        scrapes.extend(poller.poll(clock::now()).await.scrapes);
        assert!(clock::now().since(begun) < Duration::from_secs(300), "no samples: {scrapes:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(scrapes.windows(2).all(|pair| pair[0].at < pair[1].at), "each scrape comes once, in order");
    let series: Vec<String> = scrapes[0].samples.iter().map(|sample| sample.series.to_string()).collect();
    assert!(series.contains(&"requests_total{code=\"200\"}".to_owned()), "{series:?}");
    let told = format!("target_info{{instance=\"{target}\",job=\"shop\",rack=\"r7\"}}");
    assert!(series.contains(&told), "the server's labels of the target: {series:?}");
    assert_eq!(scrapes[0].instance.as_str(), target);

    // The target fails while the server is well: the instance is down.
    *page.lock().unwrap() = answer("500 Oops", "", b"");
    while !scrapes.iter().any(|scrape| scrape.outcome == ScrapeOutcome::Failed(ScrapeFailure::Down)) {
        scrapes.extend(poller.poll(clock::now()).await.scrapes);
        assert!(clock::now().since(begun) < Duration::from_secs(300), "never down");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }

    let out = folder.path().join("recording");
    let recorded = Command::new(env!("CARGO_BIN_EXE_release-guardian"))
        .args(["record", "--server", &format!("http://{address}"), "--selector", "{job=\"shop\"}"])
        .args(["--application", "shop", "--id", "r-1", "--started-at", &begun.to_string()])
        .args(["--batch", &format!("{begun}={target}"), "--out", &out.display().to_string()])
        .output()
        .unwrap();
    assert!(recorded.status.success(), "{}", String::from_utf8_lossy(&recorded.stderr));
    let recording = Recording::read(&out).unwrap();
    let read: Vec<Scrape> = recording.scrapes().collect();
    assert!(
        scrapes.iter().all(|live| read.iter().any(|past| past.at == live.at && past.outcome == live.outcome))
    );

    // The server goes away: that is our blindness, told for the instance.
    drop(server);
    let poll = poller.poll(clock::now()).await;
    assert_eq!(poll.scrapes.len(), 1);
    let blind = &poll.scrapes[0].outcome;
    assert!(matches!(blind, ScrapeOutcome::Failed(ScrapeFailure::SourceDown(_))), "{blind:?}");
}

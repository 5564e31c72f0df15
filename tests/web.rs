//! The HTTP interface and the pages over a daemon in memory, by real HTTP and
//! with a real browser.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

#[path = "web/hostile.rs"]
mod hostile;
#[path = "web/trouble.rs"]
mod trouble;

use std::path::Path;
use std::process::Command as Process;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use release_guardian::adapters::guardian::*;
use release_guardian::adapters::notify::links::{Claim, LinkSigner};
use release_guardian::adapters::notify::outbox::MemoryOutbox;
use release_guardian::adapters::notify::pages::{Desk, DeskError, LinkPages, routes as link_routes};
use release_guardian::adapters::web::{Access, Credential, Web, serve};
use release_guardian::config::Role;
use release_guardian::config::notify::Language;
use release_guardian::domain::*;
use release_guardian::guard::engine::{OperatorOrder, Phase};
use release_guardian::guard::{Action, Command, CommandKind, Decider, Decision, Mode, Settlement};
use release_guardian::judge::{Blind, Detector, Finding, Outcome, SimilarCase, Verdict, WarmUp};
use release_guardian::signal::{BadWhen, Inventory, InventorySignal, SignalClass, Unit};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::sync::broadcast;

const BECAUSE: &str = "error ratio of /cart on 2 of 2 released machines 4.1 %, reference 0.2 %";

fn at(second: i64) -> Timestamp {
    Timestamp::from_millis(1_790_000_000_000 + second * 1000)
}

fn key() -> ReleaseKey {
    ReleaseKey { application: ApplicationName::new("shop").unwrap(), id: ReleaseId::new("r 17/b").unwrap() }
}

/// A daemon that remembers what it was told.
struct Stand {
    told: Mutex<Vec<String>>,
    /// Idempotency keys that were used.
    keys: Mutex<std::collections::BTreeSet<String>>,
    events: broadcast::Sender<Event>,
}

impl Stand {
    fn tell(&self, caller: &Caller, what: impl std::fmt::Display) {
        let key = caller.idempotency_key.as_deref().unwrap_or("-");
        self.told.lock().unwrap().push(format!("{} {key} {what}", caller.who));
    }
    fn told(&self) -> Vec<String> {
        self.told.lock().unwrap().clone()
    }
    /// Whether it did not come under the same key before.
    fn is_new(&self, caller: &Caller) -> bool {
        caller.idempotency_key.as_ref().is_none_or(|key| self.keys.lock().unwrap().insert(key.clone()))
    }
    fn taken(&self, caller: &Caller) -> Taken {
        let changed = self.is_new(caller);
        Taken { phase: Some(Phase::Paused), changed, text: "taken".to_owned(), warnings: Vec::new() }
    }
}

fn known(release: &ReleaseKey) -> Result<(), GuardianError> {
    if *release == key() { Ok(()) } else { Err(GuardianError::no_release(release)) }
}

fn finding() -> Finding {
    Finding {
        signal: "error ratio of /cart".to_owned(),
        class: SignalClass::Errors,
        detector: Detector::Funnel,
        test: "shift".to_owned(),
        outcome: Outcome::Failing,
        instances: vec![InstanceId::new("10.0.0.1:8080").unwrap(), InstanceId::new("10.0.0.2:8080").unwrap()],
        because: BECAUSE.to_owned(),
        release_before: Some(0.002),
        release_after: Some(0.041),
        reference_before: Some(0.002),
        reference_after: Some(0.002),
        unit: Unit::Ratio,
        strength: 14.2,
        since: Some(at(940)),
        on_trial: false,
    }
}

fn inventory() -> Inventory {
    let signal = |name: &str, class, bad_when, segments: &[(&str, usize)]| InventorySignal {
        name: name.to_owned(),
        class,
        unit: Unit::Ratio,
        bad_when,
        segments: segments.iter().map(|(label, count)| ((*label).to_owned(), *count)).collect(),
    };
    let segments = [("path", 4), ("<i>region</i>", 2)];
    Inventory {
        signals: vec![
            signal("error ratio of http_requests_total", SignalClass::Errors, BadWhen::Higher, &segments),
            signal("rate of orders_total", SignalClass::Business, BadWhen::Lower, &[]),
        ],
        not_judged: 1,
        over_limit: 0,
        has_start_time: true,
    }
}

fn summary() -> ReleaseSummary {
    ReleaseSummary {
        application: key().application,
        id: key().id,
        version: Some(Version::new("2.4.1").unwrap()),
        previous_version: Some(Version::new("2.4.0").unwrap()),
        started_at: at(890),
        ended_at: None,
        phase: Phase::Paused,
        mode: Mode::Enforce,
        outcome: Some(Outcome::Failing),
        probability: Some(0.982),
        gravest: Action::Pause,
        because: Some("2 of the last 3 checks are failing: the release is paused".to_owned()),
        label: None,
        held_by: None,
    }
}

fn evidence(signal: &str, unit: Unit, before: f64, after: f64, suspect: bool) -> EvidenceSeries {
    let points = (0..120).map(|i| {
        let wobble = 1.0 + 0.1 * f64::from(i).sin();
        let late = i >= 95;
        let value =
            if late { before + (after - before) * (f64::from(i) - 94.0) / 26.0 } else { before } * wobble;
        let calm = before * (1.0 + 0.1 * f64::from(i).cos());
        EvidencePoint {
            at: at(i64::from(i) * 10),
            release: Some(value),
            release_range: Some((value * 0.9, value * 1.1)),
            reference: Some(calm),
            reference_range: Some((calm * 0.9, calm * 1.1)),
        }
    });
    EvidenceSeries { signal: signal.to_owned(), unit, suspect, points: points.collect() }
}

fn detail() -> ReleaseDetail {
    let instances = |names: &[&str]| names.iter().map(|n| InstanceId::new(n).unwrap()).collect::<Vec<_>>();
    let mut traffic = finding();
    traffic.signal = "orders a second".to_owned();
    traffic.class = SignalClass::Business;
    traffic.outcome = Outcome::Suspect;
    traffic.unit = Unit::PerSecond;
    (traffic.release_before, traffic.release_after) = (Some(42.0), Some(31.0));
    (traffic.reference_before, traffic.reference_after) = (Some(41.0), Some(42.0));
    traffic.because = "orders on 2 of 2 released machines 31 /s, reference 42 /s, since 14:29:00".to_owned();
    let decision = Decision {
        release: key(),
        sequence: 1,
        at: at(1000),
        action: Action::Pause,
        would: Action::Pause,
        by: Decider::Guardian,
        probability: 0.982,
        reasons: vec![finding(), traffic],
        blind: vec![],
        similar: vec![SimilarCase {
            release: "shop r-9".to_owned(),
            cause: Some("<b>cart</b> errors".to_owned()),
            distance: 0.4,
        }],
        because: "2 of the last 3 checks are failing: the release is paused".to_owned(),
    };
    let command = Command {
        id: CommandId::new("shop-r17-1-pause").unwrap(),
        release: key(),
        kind: CommandKind::Pause,
        decision_sequence: 1,
        ordered_at: at(1000),
        deadline: at(1300),
    };
    ReleaseDetail {
        summary: summary(),
        order: ReleaseOrder {
            format: 1,
            id: key().id,
            application: key().application,
            version: None,
            previous_version: None,
            started_at: at(890),
            finished_at: None,
            batches: vec![Batch {
                started_at: at(900),
                instances: instances(&["10.0.0.1:8080", "10.0.0.2:8080"]),
                weight: None,
            }],
            reference: instances(&["10.0.0.3:8080", "10.0.0.4:8080"]),
            groups: None,
            metrics: vec![],
            alerts: vec![],
            other: std::collections::BTreeMap::new(),
        },
        verdict: Some(Verdict {
            at: at(1000),
            outcome: Outcome::Failing,
            probability: 0.982,
            findings: vec![finding()],
            blind: vec![Blind {
                what: "latency of /pay".to_owned(),
                why: "fewer than 20 requests".to_owned(),
            }],
            judged: 31,
            similar: vec![],
        }),
        decisions: vec![decision],
        commands: vec![CommandRecord {
            command,
            settlement: Some(Settlement::Confirmed { read_back: true }),
            settled_at: Some(at(1001)),
            attempts: vec![CommandAttempt { at: at(1000), result: "HTTP status 200".to_owned() }],
        }],
        feedback: vec![],
        audit: vec![AuditLine { at: at(890), who: "ci".to_owned(), text: "began the release".to_owned() }],
        evidence: vec![
            evidence("error ratio of /cart", Unit::Ratio, 0.002, 0.041, true),
            evidence("orders a second", Unit::PerSecond, 42.0, 31.0, true),
            evidence("latency of /cart, 99 %", Unit::Seconds, 0.12, 0.12, false),
        ],
        recording: None,
    }
}

#[async_trait]
impl Interface for Stand {
    async fn begin(
        &self,
        caller: Caller,
        order: ReleaseOrder,
        emergency: bool,
    ) -> Result<Begun, GuardianError> {
        self.tell(&caller, format!("begin {} {emergency} {:?}", order.key(), order.other));
        match order.application.as_str() {
            "frozen" => Err(GuardianError::Frozen {
                application: order.application,
                until: at(0),
                reason: "weekend".to_owned(),
            }),
            "unknown" => Err(GuardianError::MissingSettings {
                application: order.application,
                which: vec![MissingSetting {
                    setting: "applications.unknown.targets".to_owned(),
                    why: "no target".to_owned(),
                }],
            }),
            _ => Ok(Begun {
                release: order.key(),
                created: self.is_new(&caller),
                phase: Phase::Watching,
                integrated: None,
                warnings: vec![],
            }),
        }
    }
    async fn batch(&self, caller: Caller, release: ReleaseKey, batch: Batch) -> Result<Taken, GuardianError> {
        known(&release)?;
        self.tell(&caller, format!("batch {:?}", batch.instances));
        Ok(self.taken(&caller))
    }
    async fn finish(&self, caller: Caller, release: ReleaseKey) -> Result<Taken, GuardianError> {
        known(&release)?;
        self.tell(&caller, "finish");
        Ok(self.taken(&caller))
    }
    async fn cancel(&self, caller: Caller, release: ReleaseKey) -> Result<Taken, GuardianError> {
        known(&release)?;
        self.tell(&caller, "cancel");
        Ok(self.taken(&caller))
    }
    async fn operate(
        &self,
        caller: Caller,
        release: ReleaseKey,
        order: OperatorOrder,
    ) -> Result<Taken, GuardianError> {
        known(&release)?;
        self.tell(&caller, format!("{order:?}"));
        Ok(self.taken(&caller))
    }
    async fn feedback(
        &self,
        caller: Caller,
        release: ReleaseKey,
        word: Word,
    ) -> Result<Taken, GuardianError> {
        known(&release)?;
        self.tell(&caller, format!("{word:?}"));
        Ok(self.taken(&caller))
    }
    async fn alert(
        &self,
        caller: Caller,
        application: ApplicationName,
        alert: Alert,
    ) -> Result<Taken, GuardianError> {
        self.tell(&caller, format!("alert {application} {} ends {:?}", alert.name, alert.ends_at));
        Ok(self.taken(&caller))
    }
    fn named_by(&self, labels: &std::collections::BTreeMap<String, String>) -> Vec<ApplicationName> {
        labels.get("application").and_then(|name| ApplicationName::new(name).ok()).into_iter().collect()
    }
    async fn canary(&self, caller: Caller, call: CanaryCall) -> Result<Option<Gate>, GuardianError> {
        self.tell(&caller, format!("canary {} {:?}", call.name, call.stage));
        match call.name.as_str() {
            "trouble" => {
                let reason = format!("the disk is full: {}", "x".repeat(5_000));
                Err(GuardianError::Unavailable { reason })
            }
            "fall" => panic!("as a fault of the daemon's own would"),
            "held" => std::future::pending().await,
            _ => Ok(None),
        }
    }
    async fn releases(&self, _: ReleaseFilter) -> Result<ReleasePage, GuardianError> {
        let mut past = summary();
        past.phase = Phase::RolledBack;
        past.id = ReleaseId::new("r-16").unwrap();
        past.label = Some(LabelOutcome::Faulty);
        let mut good = past.clone();
        (good.phase, good.label, good.because) = (Phase::Finished, None, None);
        Ok(ReleasePage { releases: vec![summary(), past, good], next_before: Some(at(0)) })
    }
    async fn release(&self, release: ReleaseKey) -> Result<ReleaseDetail, GuardianError> {
        known(&release)?;
        Ok(detail())
    }
    async fn gate(&self, release: ReleaseKey) -> Result<Gate, GuardianError> {
        if release.id.as_str() == "held" {
            return std::future::pending().await;
        }
        known(&release)?;
        Ok(Gate {
            verdict: GateWord::Pause,
            reason: BECAUSE.to_owned(),
            probability: Some(0.982),
            phase: Phase::Paused,
            at: Some(at(1000)),
        })
    }
    async fn quality(&self, _: Option<ApplicationName>) -> Result<Quality, GuardianError> {
        let counts = QualityCounts {
            releases: 40,
            caught: 3,
            passed: 36,
            missed: 1,
            recall: Some(0.75),
            precision: Some(1.0),
            false_stops_per_good: Some(0.0),
            median_delay_seconds: Some(80.0),
            ..QualityCounts::default()
        };
        Ok(Quality {
            all: counts,
            applications: vec![(key().application, counts)],
            over_time: vec![QualityPeriod { from: at(0), counts }],
        })
    }
    async fn applications(&self) -> Result<Vec<ApplicationState>, GuardianError> {
        let shop = ApplicationState {
            name: key().application,
            configured: true,
            ready: true,
            missing: vec![],
            recommended: vec![],
            inventory: Arc::new(inventory()),
            mode: Mode::Enforce,
            instances: vec![InstanceId::new("10.0.0.1:8080").unwrap()],
            instances_up: 1,
            warm_up: WarmUp::default(),
            watching: Some(key().id),
            troubles: vec![],
        };
        let mut other = shop.clone();
        other.name = ApplicationName::new("search").unwrap();
        other.ready = false;
        other.missing = vec![MissingSetting {
            setting: "applications.search.release_system".to_owned(),
            why: "nobody to send a pause to".to_owned(),
        }];
        other.recommended = vec![MissingSetting {
            setting: "application.search.signal".to_owned(),
            why: "there is no signal of class latency".to_owned(),
        }];
        Ok(vec![shop, other])
    }
    async fn halt(&self) -> Result<HaltState, GuardianError> {
        Ok(HaltState::default())
    }
    async fn set_halt(&self, caller: Caller, on: bool, reason: String) -> Result<HaltState, GuardianError> {
        self.tell(&caller, format!("halt {on} {reason}"));
        Ok(HaltState { on, by: Some(caller.who), reason: Some(reason), since: Some(at(0)) })
    }
    async fn audit(&self, caller: Caller, _: Option<ReleaseKey>, text: String) -> Result<(), GuardianError> {
        self.tell(&caller, format!("AUDIT {text}"));
        Ok(())
    }
    async fn general_audit(&self) -> Result<Vec<AuditLine>, GuardianError> {
        let told = self.told();
        let lines = told.iter().enumerate().filter_map(|(i, line)| {
            let (who, text) = line.split_once(" - AUDIT ")?;
            Some(AuditLine { at: at(i as i64), who: who.to_owned(), text: text.to_owned() })
        });
        Ok(lines.collect())
    }
    fn subscribe(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }
    fn readiness(&self) -> Readiness {
        Readiness { ready: false, troubles: vec!["the store is full".to_owned()] }
    }
    fn metrics(&self) -> String {
        "# EOF\n".to_owned()
    }
}

/// What links do, remembered with all else.
struct StandDesk(Arc<Stand>);

#[async_trait]
impl Desk for StandDesk {
    async fn act(&self, claim: &Claim, who: &str, _: Option<&str>) -> Result<(), DeskError> {
        self.0.tell(&Caller::new(who), format!("link {}", claim.action.word()));
        Ok(())
    }
}

fn now() -> Timestamp {
    release_guardian::adapters::clock::now()
}

fn signer() -> LinkSigner {
    let url = "https://guardian.example.com/".parse().unwrap();
    let secret = "a secret of links that is long enough".into();
    LinkSigner::new(vec![secret], &url, Duration::from_secs(3600)).unwrap().unwrap()
}

struct Site {
    stand: Arc<Stand>,
    base: String,
    client: reqwest::Client,
}

async fn site(anonymous: Option<Role>) -> Site {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let stand =
        Arc::new(Stand { told: Mutex::default(), keys: Mutex::default(), events: broadcast::channel(16).0 });
    let roles = [Role::Viewer, Role::Reporter, Role::Pipeline, Role::Operator, Role::Admin];
    let credentials = roles.map(|role| Credential {
        name: format!("a {}", role.word()),
        role,
        secret: format!("{}-secret", role.word()).into(),
    });
    let guardian: Guardian = stand.clone();
    let links = LinkPages {
        signer: signer(),
        outbox: Arc::new(MemoryOutbox::default()),
        desk: Arc::new(StandDesk(stand.clone())),
        clock: Arc::new(now),
        language: Language::English,
    };
    let links = link_routes(tokio::sync::watch::channel(Some(std::sync::Arc::new(links))).1);
    let web = Web::new(guardian, Access::new(credentials.into(), anonymous), false);
    let router = web.router_with(links);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(serve(listener, router, std::future::pending()));
    let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    Site { stand, base, client }
}

impl Site {
    fn call(&self, method: Method, path: &str, role: &str) -> reqwest::RequestBuilder {
        self.client.request(method, format!("{}{path}", self.base)).bearer_auth(format!("{role}-secret"))
    }
    async fn post(&self, path: &str, role: &str, body: Value) -> (StatusCode, Value) {
        let answer = self.call(Method::POST, path, role).json(&body).send().await.unwrap();
        let status = answer.status();
        if !status.is_success() {
            assert_eq!(answer.headers()["content-type"], "application/problem+json", "{path}");
        }
        (status, answer.json().await.unwrap())
    }
    async fn page(&self, path: &str) -> String {
        let answer = self.call(Method::GET, path, "operator").send().await.unwrap();
        assert_eq!(answer.status(), 200, "{path}");
        assert!(answer.headers()["content-security-policy"].to_str().unwrap().contains("default-src 'none'"));
        answer.text().await.unwrap()
    }
}

const RELEASE: &str = "/api/v1/releases/shop/r%2017%2Fb";
const PAGE: &str = "/releases/shop/r%2017%2Fb";

#[tokio::test]
async fn a_release_begins_with_201_its_address_and_its_key_handed_on() {
    let site = site(None).await;
    let body = json!({"id": "r 17/b", "application": "shop", "ticket": 7, "emergency": true});
    let request = site.call(Method::POST, "/api/v1/releases", "pipeline").header("Idempotency-Key", "k-1");
    let answer = request.json(&body).send().await.unwrap();
    assert_eq!(answer.status(), 201);
    assert_eq!(answer.headers()["location"], RELEASE);
    // Unknown fields of an order are kept; `emergency` is none of them.
    assert_eq!(site.stand.told(), ["a pipeline k-1 begin shop/r 17/b true {\"ticket\": Number(7)}"]);
}

#[tokio::test]
async fn a_bad_request_is_told_what_is_wrong_and_where() {
    let site = site(None).await;
    let post = |body: &'static str, kind: &'static str| {
        site.call(Method::POST, "/api/v1/releases", "pipeline").header("Content-Type", kind).body(body).send()
    };
    let answer = post("{\n  \"id\": 7}", "application/json").await.unwrap();
    assert_eq!(answer.status(), 400);
    let problem: Value = answer.json().await.unwrap();
    assert!(problem["detail"].as_str().unwrap().contains("line 2 column"), "{problem}");
    assert_eq!(post("a=b", "application/x-www-form-urlencoded").await.unwrap().status(), 415);
    let path = format!("{RELEASE}/batches");
    let (status, problem) = site.post(&path, "pipeline", json!({"instances": [], "wieght": 1})).await;
    assert_eq!(status, 400);
    assert!(problem["detail"].as_str().unwrap().contains("wieght"), "{problem}");
    let (status, _) =
        site.post("/api/v1/releases", "pipeline", json!({"format": 2, "id": "a", "application": "b"})).await;
    assert_eq!(status, 400);
    let huge = "x".repeat(5 << 20);
    let answer =
        site.call(Method::POST, "/api/v1/releases", "pipeline").header("Content-Type", "application/json");
    assert_eq!(answer.body(huge).send().await.unwrap().status(), 413);
    let told = site.stand.told();
    assert!(told.iter().all(|line| line.contains(" AUDIT refused with ")), "{told:?}");
}

#[tokio::test]
async fn an_unknown_word_in_a_query_is_refused_with_those_that_are_known() {
    let site = site(None).await;
    for (path, told) in [
        ("/api/v1/releases?aplication=shop", "this call knows application, watched, before, limit"),
        ("/api/v1/halt?foo=1", "this call takes none"),
        ("/api/v1/releases?limit=many", "query: limit: "),
    ] {
        let answer = site.call(Method::GET, path, "viewer").send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{path}");
        let problem: Value = answer.json().await.unwrap();
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains(told) && !detail.contains("deserialize"), "{detail}");
    }
    let (status, problem) = site.post("/api/v1/releases", "pipeline", json!([1])).await;
    let detail = problem["detail"].as_str().unwrap();
    assert!(status == StatusCode::BAD_REQUEST && !detail.contains("struct"), "{detail}");
    let known = site.call(Method::GET, "/api/v1/releases?application=shop&limit=2", "viewer").send().await;
    assert_eq!(known.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn what_the_daemon_refuses_has_its_own_problem() {
    let site = site(None).await;
    let (status, problem) =
        site.post("/api/v1/releases", "admin", json!({"id": "1", "application": "frozen"})).await;
    assert_eq!(
        (status.as_u16(), problem["type"].as_str()),
        (409, Some("urn:release-guardian:problem:frozen"))
    );
    let (status, problem) =
        site.post("/api/v1/releases", "admin", json!({"id": "1", "application": "unknown"})).await;
    assert_eq!(status, 422);
    assert_eq!(problem["missing"][0]["setting"], "applications.unknown.targets");
    let (status, _) = site.post("/api/v1/releases/shop/none/finish", "admin", json!(null)).await;
    assert_eq!(status, 404);
}

#[tokio::test]
async fn each_role_may_what_the_document_says_and_refused_writes_are_audited() {
    let site = site(None).await;
    let all = ["viewer", "reporter", "pipeline", "operator", "admin"];
    let document: Value = site
        .client
        .get(format!("{}/api/v1/openapi.json", site.base))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let mut tried = 0;
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            if operation.get("security").is_some() {
                continue;
            }
            let text = operation["description"].as_str().unwrap();
            let roles = text.split("Roles: ").nth(1).unwrap().trim_end_matches('.');
            let address = path.replace("{application}", "shop").replace("{id}", "r%2017%2Fb");
            let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
            for role in all {
                let mut call = site.call(method.clone(), &address, role);
                if method == Method::POST {
                    call = call.json(&json!({}));
                }
                let status = call.send().await.unwrap().status();
                let may = roles == "any" || roles.split(", ").any(|r| r == role);
                assert_eq!(status != 403, may, "{method} {path} as {role}: {status}");
                assert!(
                    status != 404 && status != 405,
                    "{method} {path} is in the document and not in the program"
                );
                tried += 1;
            }
            let unknown = site.client.request(method.clone(), format!("{}{address}", site.base));
            assert_eq!(unknown.bearer_auth("wrong").send().await.unwrap().status(), 401);
        }
    }
    assert!(tried >= 75, "{tried}");
    let told = site.stand.told();
    assert!(told.iter().any(|t| t.contains("a viewer - AUDIT refused with 403")), "{told:?}");
    assert!(told.iter().any(|t| t.contains("unknown - AUDIT refused with 401")));
    // Who was refused can be seen.
    let answer = site.call(Method::GET, "/api/v1/audit", "viewer").send().await.unwrap();
    let lines = answer.json::<Value>().await.unwrap()["audit"].as_array().unwrap().clone();
    assert!(lines.iter().any(|line| line["who"] == "unknown"), "{lines:?}");
    let page = site.page("/audit").await;
    assert!(page.contains("refused with 401: ") && page.contains("a viewer"), "{page}");
}

/// Every route of the interface's source stands in the document.
#[test]
fn every_route_stands_in_the_document() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/adapters/web");
    let read = |name: &str| std::fs::read_to_string(root.join(name)).unwrap();
    let document: Value = serde_json::from_str(&read("assets/openapi.json")).unwrap();
    let source = [read("api.rs"), read("events.rs"), read("verdict.rs")].concat();
    let compact: String = source.split_whitespace().collect();
    let mut routes = 0;
    for part in compact.split(".route(\"").skip(1) {
        let (path, rest) = part.split_once('"').unwrap();
        let handler = rest.split(".route(").next().unwrap().split('}').next().unwrap();
        let documented = &document["paths"][path];
        assert!(documented.is_object(), "{path} is not in the document");
        for method in ["get", "post"] {
            let is_routed =
                handler.contains(&format!(",{method}(")) || handler.contains(&format!(").{method}("));
            assert_eq!(documented.get(method).is_some(), is_routed, "{method} {path}");
        }
        routes += 1;
    }
    assert_eq!(
        routes + 3,
        document["paths"].as_object().unwrap().len(),
        "healthz, readyz and metrics besides"
    );
}

#[tokio::test]
async fn a_caller_that_floods_is_told_to_wait_and_others_go_on() {
    let site = site(None).await;
    let mut refused = None;
    for _ in 0..2_000 {
        let answer = site.call(Method::GET, "/api/v1/halt", "viewer").send().await.unwrap();
        if answer.status() == 429 {
            refused = Some(answer);
            break;
        }
    }
    assert_eq!(refused.expect("a flood is refused").headers()["retry-after"], "1");
    let other = site.call(Method::GET, "/api/v1/halt", "admin").send().await.unwrap();
    assert_eq!(other.status(), 200);
}

#[tokio::test]
async fn events_of_the_release_arrive_and_those_of_others_do_not() {
    let site = site(None).await;
    let mut answer = site.call(Method::GET, &format!("{RELEASE}/events"), "viewer").send().await.unwrap();
    assert_eq!(answer.headers()["content-type"], "text/event-stream");
    let other = ReleaseKey { application: key().application, id: ReleaseId::new("other").unwrap() };
    for (sequence, release) in [(1, other), (2, key())] {
        let kind = EventKind::Phase { phase: Phase::RolledBack };
        site.stand.events.send(Event { sequence, release, at: at(0), kind }).unwrap();
    }
    let mut text = String::new();
    while !text.contains("\n\n") {
        let chunk =
            tokio::time::timeout(Duration::from_secs(300), answer.chunk()).await.unwrap().unwrap().unwrap();
        text.push_str(std::str::from_utf8(&chunk).unwrap());
    }
    assert!(
        text.contains("event: phase") && text.contains("id: 2") && text.contains("rolled_back"),
        "{text}"
    );
    assert!(!text.contains("other"));
}

#[tokio::test]
async fn a_person_logs_in_and_acts_only_by_our_own_pages() {
    let site = site(None).await;
    let open = |path: &str| site.client.get(format!("{}{path}", site.base)).send();
    let answer = open(PAGE).await.unwrap();
    assert_eq!(answer.status(), 303);
    assert!(answer.headers()["location"].to_str().unwrap().starts_with("/login?next="));
    let login = |token: &'static str, next: &'static str| {
        site.client.post(format!("{}/login", site.base)).form(&[("token", token), ("next", next)]).send()
    };
    assert_eq!(login("wrong", "/").await.unwrap().status(), 401);
    assert_eq!(login("operator-secret", "//evil.example/").await.unwrap().headers()["location"], "/");
    let answer = login("operator-secret", PAGE).await.unwrap();
    let cookie = answer.headers()["set-cookie"].to_str().unwrap().to_owned();
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");
    let cookie = cookie.split(';').next().unwrap().to_owned();
    let get = site.client.get(format!("{}{PAGE}", site.base)).header("cookie", &cookie);
    let page = get.send().await.unwrap().text().await.unwrap();
    let form_key = page.split("name=\"key\" value=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let act = |fields: Vec<(&'static str, String)>, from: &'static str| {
        let post = site.client.post(format!("{}{PAGE}/order", site.base)).header("cookie", &cookie);
        post.header("sec-fetch-site", from).form(&fields).send()
    };
    let order = ("order", "rollback".to_owned());
    assert_eq!(act(vec![order.clone()], "same-origin").await.unwrap().status(), 403);
    let full = vec![order, ("key", form_key)];
    assert_eq!(act(full.clone(), "cross-site").await.unwrap().status(), 403);
    assert!(!site.stand.told().iter().any(|t| t.ends_with("Rollback")));
    assert_eq!(act(full, "same-origin").await.unwrap().status(), 303);
    assert!(site.stand.told().iter().any(|t| t == "a operator - Rollback"), "{:?}", site.stand.told());
}

#[tokio::test]
async fn the_pages_show_the_decision_both_groups_and_what_was_blind() {
    let site = site(None).await;
    let page = site.page(PAGE).await;
    for text in [
        BECAUSE,
        "4.1 %",
        "latency of /pay: fewer than 20 requests",
        "confirmed, read back",
        "is confirmed: the release system's state was read back.",
        "Roll back",
        "<svg",
    ] {
        assert!(page.contains(text), "{text} is missing");
    }
    assert!(page.contains("&lt;b&gt;cart"), "what comes from outside is escaped");
    let list = site.page("/").await;
    for part in [
        "missing: <code>applications.search.release_system</code>",
        "better with: <code>application.search.signal</code>",
        "2 signals are judged",
        "<td>errors</td><td>higher</td><td>error ratio of http_requests_total",
        "by &lt;i&gt;region&lt;/i&gt; (2)",
    ] {
        assert!(list.contains(part), "{part}: {list}");
    }
    assert!(site.page("/quality").await.contains("75 %"));
    assert_eq!(site.client.get(format!("{}/readyz", site.base)).send().await.unwrap().status(), 503);
}

/// A judge's request about errors that only the experiment has.
fn sparse_errors() -> Value {
    json!({
        "canaryConfig": {
            "metrics": [{"name": "errors", "groups": ["Errors"], "analysisConfigurations": {"canary": {
                "direction": "increase", "nanStrategy": "replace", "critical": false, "outliers": null}}}],
            "classifier": {"groupWeights": {"Errors": 100}},
        },
        "scoreThresholds": {"pass": 95.0, "marginal": 75.0},
        "metricSetPairList": [{"name": "errors", "id": "1", "tags": null, "scopes": {}, "values": {
            "experiment": [1.0, "NaN", "NaN", 2.0, "NaN", 1.0, "NaN", 2, 1.0, "NaN"],
            "control": ["NaN", "NaN", "NaN", "NaN", "NaN", "NaN", "NaN", "NaN", "NaN", "NaN"]}}],
    })
}

#[tokio::test]
async fn kayenta_gets_a_whole_score_and_counts_and_a_clear_no() {
    let site = site(None).await;
    let path = "/kayenta/reporter-secret/judge";
    let ask = |body: Value| site.client.post(format!("{}{path}", site.base)).json(&body).send();
    let answer = ask(sparse_errors()).await.unwrap();
    assert_eq!(answer.status(), 200);
    let judged: Value = answer.json().await.unwrap();
    assert_eq!(judged["score"]["score"], json!(0), "{judged:#}");
    assert!(judged["score"]["score"].is_u64());
    assert_eq!(
        (&judged["score"]["classification"], &judged["results"][0]["classification"]),
        (&json!("Fail"), &json!("High"))
    );
    for side in ["experimentMetadata", "controlMetadata"] {
        assert_eq!(judged["results"][0][side]["stats"]["count"], json!(10));
    }
    let mut equal = sparse_errors();
    equal["metricSetPairList"][0]["values"]["control"] =
        equal["metricSetPairList"][0]["values"]["experiment"].clone();
    let judged: Value = ask(equal).await.unwrap().json().await.unwrap();
    assert_eq!(
        (&judged["score"]["score"], &judged["score"]["classification"]),
        (&json!(100), &json!("Pass"))
    );
    // Two metrics, one of which Kayenta delivered nothing for: half is unknown.
    let mut half = sparse_errors();
    half["canaryConfig"]["metrics"] =
        json!([{"name": "errors", "groups": ["a"]}, {"name": "latency", "groups": ["a"]}]);
    half["metricSetPairList"][0]["values"]["experiment"] = json!([0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    half["metricSetPairList"][0]["values"]["control"] = json!([0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let judged: Value = ask(half).await.unwrap().json().await.unwrap();
    assert_eq!(
        (&judged["score"]["score"], &judged["results"][1]["classification"]),
        (&json!(0), &json!("Nodata"))
    );
    assert_eq!(judged["results"][1]["controlMetadata"]["stats"]["count"], json!(0));
    let mut odd = sparse_errors();
    odd["canaryConfig"]["metrics"][0]["analysisConfigurations"]["canary"]["direction"] = json!("sideways");
    let answer = ask(odd).await.unwrap();
    assert_eq!(answer.status(), 400);
    assert!(answer.text().await.unwrap().contains("increase, decrease or either"));
    let wrong = site.client.post(format!("{}/kayenta/wrong/judge", site.base)).json(&sparse_errors());
    assert_eq!(wrong.send().await.unwrap().status(), 401);
    let bearer = site.call(Method::POST, "/judge", "reporter").json(&sparse_errors()).send().await.unwrap();
    assert_eq!(bearer.status(), 200);
    let told = site.stand.told();
    assert!(told.iter().any(|t| t.contains("a reporter - AUDIT refused with 400")), "{told:?}");
    assert!(told.iter().any(|t| t.contains("unknown - AUDIT refused with 401")), "{told:?}");
}

fn alertmanager_message(status: &str, application: &str) -> Value {
    json!({
        "version": "4", "groupKey": "{}:{}", "truncatedAlerts": 2, "status": status, "receiver": "guardian",
        "groupLabels": {}, "commonLabels": {}, "commonAnnotations": {}, "externalURL": "http://a",
        "alerts": [{"status": status, "labels": {"alertname": "Down", "application": application},
            "annotations": {}, "startsAt": "2026-09-21T10:00:00Z", "endsAt": "0001-01-01T00:00:00Z",
            "generatorURL": "", "fingerprint": "f"}],
    })
}

#[tokio::test]
async fn alerts_from_outside_are_handed_on_with_a_key_and_others_are_refused() {
    let site = site(None).await;
    let path = "/alertmanager/reporter-secret";
    let send = |body: Value| site.client.post(format!("{}{path}", site.base)).json(&body).send();
    let told: Value = send(alertmanager_message("firing", "shop")).await.unwrap().json().await.unwrap();
    assert_eq!(told, json!({"taken": 1, "unchanged": 0, "unmatched": 0, "left_out": 2}));
    let calls = site.stand.told();
    assert!(
        calls[0].starts_with("a reporter alertmanager-") && calls[0].ends_with("alert shop Down ends None"),
        "{calls:?}"
    );
    assert!(calls[1].contains("AUDIT Alertmanager left 2 alerts out"), "{calls:?}");
    let told: Value = send(alertmanager_message("firing", "")).await.unwrap().json().await.unwrap();
    assert_eq!(told["unmatched"], 1);
    let answer = send(json!({"text": "a template of one's own"})).await.unwrap();
    assert_eq!(answer.status(), 400);
    assert!(answer.text().await.unwrap().contains("leave `payload` and templates out"));
    for (role, status) in [("viewer", 403), ("pipeline", 200), ("operator", 403)] {
        let call =
            site.call(Method::POST, "/alertmanager", role).json(&alertmanager_message("firing", "shop"));
        assert_eq!(call.send().await.unwrap().status(), status, "{role}");
    }
    let huge =
        site.call(Method::POST, "/alertmanager", "reporter").header("Content-Type", "application/json");
    let refused = huge.body("x".repeat(5 << 20)).send().await.unwrap();
    assert_eq!(refused.status(), 413);
    // The rest of it is not read, so nothing else may come on that connection.
    assert_eq!(refused.headers()["connection"], "close");
    let told = site.stand.told();
    for refusal in [
        "a reporter - AUDIT refused with 400",
        "a viewer - AUDIT refused with 403",
        "a reporter - AUDIT refused with 413",
    ] {
        assert!(told.iter().any(|t| t.contains(refusal)), "{refusal}: {told:?}");
    }
}

/// `seconds`: how long the page may take; what is there then is shown.
fn chromium(seconds: u32, arguments: &[&str]) -> std::process::Output {
    let profile = tempfile::tempdir().unwrap();
    Process::new("chromium")
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
        // No virtual time: the page's open event stream would stop it for good.
        .arg(format!("--timeout={}", seconds * 1000))
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .args(arguments)
        .output()
        .expect("Debian's package chromium is installed")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_browser_shows_the_reasons_and_refuses_no_part_of_the_page() {
    let site = site(Some(Role::Operator)).await;
    let address = format!("{}{PAGE}", site.base);
    let look = async |seconds| {
        let shown = address.clone();
        let arguments = move || chromium(seconds, &["--enable-logging=stderr", "--dump-dom", &shown]);
        let output = tokio::task::spawn_blocking(arguments).await.unwrap();
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    };
    let [mut dom, mut log] = look(10).await;
    if !dom.contains(BECAUSE) {
        // A machine that is too busy for it in ten seconds.
        [dom, log] = look(240).await;
    }
    assert!(dom.contains(BECAUSE), "{dom}\n{log}");
    assert!(!log.contains("Content Security Policy"), "{log}");
    // Pictures for whoever changes the pages: GUARDIAN_PICTURES=folder.
    if let Ok(folder) = std::env::var("GUARDIAN_PICTURES") {
        let base = site.base.clone();
        let pictures = tokio::task::spawn_blocking(move || {
            for (name, path, size, dark) in [
                ("release", PAGE, "1000,1900", false),
                ("release-dark", PAGE, "1000,1900", true),
                ("release-narrow", PAGE, "500,1900", false),
                ("list", "/", "1000,900", false),
                ("list-dark", "/", "1000,900", true),
                ("quality", "/quality", "1100,600", false),
                ("login", "/login", "800,400", false),
            ] {
                let picture = format!("--screenshot={folder}/{name}.png");
                let (size, url) = (format!("--window-size={size}"), format!("{base}{path}"));
                let scheme =
                    if dark { "--blink-settings=preferredColorScheme=0" } else { "--hide-scrollbars" };
                chromium(10, &[&picture, &size, scheme, "--hide-scrollbars", &url]);
            }
        });
        pictures.await.unwrap();
    }
}

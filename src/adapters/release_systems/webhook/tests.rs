use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode as Status, Uri};
use axum::response::IntoResponse;
use tokio::sync::mpsc;

use super::*;
use crate::config::{Auth, HttpClient, ReadBack as ReadBackSettings, Secret};
use crate::domain::{ApplicationName, CommandId, ReleaseId, ReleaseKey, Version};
use crate::guard::{Action, Command, Decider, Decision};

const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
const OLD_SECRET: &str = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

struct Place(HashMap<&'static str, &'static str>);

impl Surroundings for Place {
    fn variable(&self, name: &str) -> Option<String> {
        self.0.get(name).map(ToString::to_string)
    }
    fn read(&self, _: &Path) -> std::io::Result<String> {
        Err(std::io::ErrorKind::NotFound.into())
    }
}

fn place() -> Place {
    Place(HashMap::from([("KEY", SECRET), ("OLD", OLD_SECRET), ("TOKEN", "t0ken")]))
}

type Seen = (String, HeaderMap, Bytes);

/// A server that answers every request with the same, and shows them.
async fn server(
    status: u16,
    headers: &'static [(&'static str, &'static str)],
    body: &'static str,
) -> (String, mpsc::UnboundedReceiver<Seen>) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (seen, requests) = mpsc::unbounded_channel();
    let handler = async move |State(seen): State<mpsc::UnboundedSender<Seen>>,
                              uri: Uri,
                              given: HeaderMap,
                              sent: Bytes| {
        seen.send((uri.to_string(), given, sent)).unwrap();
        let mut answer = (Status::from_u16(status).unwrap(), body).into_response();
        for (name, value) in headers {
            answer.headers_mut().insert(*name, value.parse().unwrap());
        }
        answer
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new().fallback(handler).with_state(seen);
    tokio::spawn(async move { axum::serve(listener, router).await });
    (format!("http://{address}"), requests)
}

fn request(url: String) -> HttpRequest {
    HttpRequest {
        url,
        method: "POST".into(),
        headers: BTreeMap::new(),
        body: None,
        success: SuccessTest { statuses: vec![], body: None },
    }
}

fn settings(pause: HttpRequest) -> WebhookSystem {
    WebhookSystem {
        pause,
        rollback: None,
        resume: None,
        read_back: None,
        client: HttpClient { auth: Auth::Bearer(Secret::Variable("TOKEN".into())), ..HttpClient::default() },
        signing_keys: vec![Secret::Variable("KEY".into()), Secret::Variable("OLD".into())],
        timeout: Duration::from_secs(5),
    }
}

fn order() -> CommandOrder {
    let release = ReleaseKey {
        application: ApplicationName::new("shop").unwrap(),
        id: ReleaseId::new("r \"1\"").unwrap(),
    };
    let at: Timestamp = "2026-03-01T03:12:40Z".parse().unwrap();
    let decision = Decision {
        release: release.clone(),
        sequence: 1,
        at,
        action: Action::Pause,
        would: Action::Pause,
        by: Decider::Guardian,
        probability: 0.97,
        reasons: vec![],
        blind: vec![],
        similar: vec![],
        because: "failing in 3 of the last 3 checks".into(),
    };
    CommandOrder {
        command: Command {
            id: CommandId::new("cmd_1").unwrap(),
            release,
            kind: CommandKind::Pause,
            decision_sequence: 1,
            ordered_at: at,
            deadline: at + Duration::from_secs(300),
        },
        version: Some(Version::new("2.4.1").unwrap()),
        previous_version: None,
        decision: Some(decision),
        url: "https://guardian.example.com/releases/shop/r".into(),
    }
}

fn now() -> Timestamp {
    crate::adapters::clock::now()
}

#[tokio::test]
async fn the_default_body_is_signed_with_both_keys_and_a_standard_receiver_believes_it() {
    let (url, mut seen) = server(200, &[], "ok").await;
    let system = Webhook::new(&settings(request(format!("{url}/pause"))), &place()).unwrap();
    let order = order();
    assert!(matches!(system.attempt(&order, now()).await, Attempt::Taken { .. }));
    let (path, headers, body) = seen.recv().await.unwrap();
    assert_eq!(path, "/pause");
    assert_eq!(headers["webhook-id"], "cmd_1");
    assert_eq!(headers["idempotency-key"], "cmd_1");
    assert_eq!(headers["authorization"], "Bearer t0ken");
    assert_eq!(headers["content-type"], "application/json");
    for secret in [SECRET, OLD_SECRET] {
        // The oracle looks for names of its own; it takes ours.
        let oracle = standardwebhooks::Webhook::new(secret).unwrap();
        oracle.verify(&body, &headers).unwrap();
    }
    let trace = headers["traceparent"].to_str().unwrap().split('-').map(str::len).collect::<Vec<_>>();
    assert_eq!(trace, [2, 32, 16, 2]);
    let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(body["type"], "release.pause");
    assert_eq!(body["timestamp"], "2026-03-01T03:12:40.000Z");
    let data = &body["data"];
    assert_eq!((data["application"].as_str(), data["release"].as_str()), (Some("shop"), Some("r \"1\"")));
    assert_eq!((data["decision"].as_str(), data["version"].as_str()), (Some("pause"), Some("2.4.1")));

    system.attempt(&order, now()).await;
    let (_, again, second) = seen.recv().await.unwrap();
    assert_eq!(again["webhook-id"], "cmd_1", "a second attempt has the same key");
    assert_eq!(serde_json::from_slice::<serde_json::Value>(&second).unwrap(), body);
}

#[tokio::test]
async fn templates_fill_in_address_headers_and_body_and_names_they_do_not_know_are_refused() {
    let (url, mut seen) = server(202, &[], "{}").await;
    let mut templated = request(format!("{url}/{{{{ application }}}}/{{{{ command }}}}"));
    templated.method = "PATCH".into();
    templated.body = Some("{\"id\": {{ release | tojson }}, \"why\": {{ because | tojson }}}".into());
    templated.headers.insert("X-Version".into(), HeaderValue::Text("{{ version }}".into()));
    templated.headers.insert("X-Token".into(), HeaderValue::Secret(Secret::Variable("TOKEN".into())));
    let system = Webhook::new(&settings(templated.clone()), &place()).unwrap();
    assert!(matches!(system.attempt(&order(), now()).await, Attempt::Taken { .. }));
    let (path, headers, body) = seen.recv().await.unwrap();
    assert_eq!(path, "/shop/pause");
    assert_eq!(
        (headers["x-version"].to_str().unwrap(), headers["x-token"].to_str().unwrap()),
        ("2.4.1", "t0ken")
    );
    let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((&body["id"], &body["why"]), (&"r \"1\"".into(), &"failing in 3 of the last 3 checks".into()));

    templated.body = Some("{{ no_such_name }}".into());
    let system = Webhook::new(&settings(templated), &place()).unwrap();
    let Attempt::Refused { reason } = system.attempt(&order(), now()).await else { panic!() };
    assert!(reason.contains("pause.body"), "{reason}");
    assert!(seen.try_recv().is_err(), "nothing was sent");
}

#[tokio::test]
async fn each_status_is_taken_refused_or_tried_again() {
    let outcome = async |status, headers, body| {
        let (url, _seen) = server(status, headers, body).await;
        let system = Webhook::new(&settings(request(url)), &place()).unwrap();
        system.attempt(&order(), now()).await
    };
    for status in [200, 201, 202] {
        assert!(matches!(outcome(status, &[], "ok").await, Attempt::Taken { .. }), "{status}");
    }
    for status in [301, 302, 307, 400, 401, 403, 404, 409, 410, 422] {
        let location: &[_] = &[("location", "http://127.0.0.1:1/")];
        let Attempt::Refused { reason } = outcome(status, location, "no way").await else {
            panic!("{status}")
        };
        assert!(reason.contains("no way") && reason.contains(&status.to_string()), "{reason}");
    }
    for status in [408, 425, 429, 500, 502, 503, 504] {
        let Attempt::Failed { retry_after, .. } = outcome(status, &[("retry-after", "7")], "").await else {
            panic!("{status}")
        };
        assert_eq!(retry_after, Some(Duration::from_secs(7)));
    }
}

#[tokio::test]
async fn a_success_that_the_body_denies_is_none() {
    let (url, _seen) = server(200, &[], "{\"status\": {\"code\": \"failed\"}}").await;
    let mut tested = request(url);
    tested.success.body = Some(BodyTest { pointer: "/status/code".into(), equals: "ok".into() });
    let system = Webhook::new(&settings(tested), &place()).unwrap();
    assert!(matches!(system.attempt(&order(), now()).await, Attempt::Failed { .. }));
}

#[tokio::test]
async fn what_it_did_is_read_back() {
    let (url, _seen) = server(200, &[], "{\"spec\": {\"paused\": true}}").await;
    let mut with = settings(request(url.clone()));
    let test = |equals| Some(BodyTest { pointer: "/spec/paused".into(), equals });
    with.read_back = Some(ReadBackSettings {
        request: HttpRequest { method: "GET".into(), ..request(url) },
        paused_when: test(true.into()),
        rolled_back_when: None,
        resumed_when: test(false.into()),
        interval: Duration::from_secs(2),
    });
    let system = Webhook::new(&with, &place()).unwrap();
    assert_eq!(system.read_back(&order(), now()).await, ReadBack::Done);
    assert_eq!(system.read_back_interval(CommandKind::Rollback), None);
    let mut resume = order();
    resume.command.kind = CommandKind::Resume;
    assert!(matches!(system.read_back(&resume, now()).await, ReadBack::NotYet { .. }));
    assert!(!system.can(CommandKind::Rollback));
    assert!(matches!(system.attempt(&resume, now()).await, Attempt::Refused { .. }));
}

#[tokio::test]
async fn nobody_there_and_no_answer_are_failures_that_name_no_secret() {
    let (url, _seen) = server(200, &[], "").await;
    let mut slow = settings(request("http://127.0.0.1:1/hook?token=hidden".into()));
    slow.timeout = Duration::from_millis(200);
    let system = Webhook::new(&slow, &place()).unwrap();
    let Attempt::Failed { reason, .. } = system.attempt(&order(), now()).await else { panic!() };
    assert!(!reason.contains("hidden"), "{reason}");
    assert_eq!(system.target(), "http://127.0.0.1:1");
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    slow.pause.url = format!("http://{}/", silent.local_addr().unwrap());
    let system = Webhook::new(&slow, &place()).unwrap();
    let Attempt::Failed { reason, .. } = system.attempt(&order(), now()).await else { panic!() };
    assert!(reason.contains("0.2 s"), "{reason}");
    drop(url);
}

#[test]
fn secrets_that_are_not_there_are_named_when_it_is_set_up() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let error = Webhook::new(&settings(request("http://h/".into())), &Place(HashMap::new())).err().unwrap();
    assert!(matches!(error, WebhookError::Secret(_) | WebhookError::Client(_)), "{error:?}");
}

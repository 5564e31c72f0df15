//! A server that answers as Prometheus' HTTP API is documented to: few points
//! at once, 503 when it is busy, 422 for what it cannot do, warnings.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use release_guardian::adapters::prometheus::{ApiError, Client};
use release_guardian::config::{Auth, HttpClient, PrometheusSource, Secret, Tenant};
use release_guardian::domain::Timestamp;
use serde_json::json;

use super::{Nowhere, install_tls};

#[derive(Clone, Debug)]
struct Asked {
    query: String,
    start: f64,
    end: f64,
    step: f64,
    headers: HeaderMap,
}

/// What was asked, in order.
type Seen = Arc<Mutex<Vec<Asked>>>;

impl Asked {
    fn read(body: &[u8], headers: HeaderMap) -> Self {
        let form: BTreeMap<String, String> = url::form_urlencoded::parse(body).into_owned().collect();
        let number = |name: &str| form[name].parse().unwrap();
        Self {
            query: form["query"].clone(),
            start: number("start"),
            end: number("end"),
            step: number("step"),
            headers,
        }
    }
}

async fn range(State(seen): State<Seen>, headers: HeaderMap, body: Bytes) -> Response {
    let asked = Asked::read(&body, headers);
    let tries = {
        let mut seen = seen.lock().unwrap();
        seen.push(asked.clone());
        seen.len()
    };
    let refused = |status: StatusCode, kind: &str, why: &str| {
        let body = json!({"status": "error", "errorType": kind, "error": why});
        (status, axum::Json(body)).into_response()
    };
    match asked.query.as_str() {
        "busy" if tries < 3 => return refused(StatusCode::SERVICE_UNAVAILABLE, "timeout", "too slow"),
        "unknown" => return refused(StatusCode::UNPROCESSABLE_ENTITY, "execution", "many-to-many matching"),
        _ => {}
    }
    let points = ((asked.end - asked.start) / asked.step).round() as u32 + 1;
    if points > 11_000 {
        let why = "exceeded maximum resolution of 11,000 points per timeseries";
        return refused(StatusCode::BAD_REQUEST, "bad_data", why);
    }
    let times = (0..points).map(|index| asked.start + f64::from(index) * asked.step);
    let values: Vec<_> = times.map(|time| json!([time, "+Inf"])).collect();
    let result = json!([{"metric": {"__name__": "x"}, "values": values}]);
    let data =
        json!({"resultType": "matrix", "result": if asked.query == "nothing" { json!([]) } else { result }});
    axum::Json(json!({"status": "success", "data": data, "warnings": ["one store is away"]})).into_response()
}

async fn start() -> (Client, Seen) {
    start_for(HttpClient::default(), None).await
}

async fn start_for(client: HttpClient, tenant: Option<Tenant>) -> (Client, Seen) {
    install_tls();
    let seen = Seen::default();
    let router = Router::new().route("/api/v1/query_range", post(range)).with_state(seen.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let source = PrometheusSource {
        url: format!("http://{}", listener.local_addr().unwrap()).parse().unwrap(),
        client,
        tenant,
        step: Duration::from_secs(1),
        timeout: Duration::from_secs(120),
        instance_label: "instance".to_owned(),
        series_limit: 10,
    };
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (Client::new(&source, &Nowhere).unwrap(), seen)
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_millis(1_790_000_000_000 + second * 1000)
}

#[tokio::test]
async fn more_points_than_a_server_gives_are_asked_for_in_pieces_and_none_comes_twice() {
    let (client, seen) = start().await;
    let answer = client.query_range("x", at(0), at(25_000), Duration::from_secs(1)).await.unwrap();
    let times: Vec<i64> =
        answer.series.iter().flat_map(|s| &s.points).map(|(time, _)| time.as_millis()).collect();
    let expected: Vec<i64> = (0..=25_000).map(|second| at(second).as_millis()).collect();
    assert_eq!(times, expected);
    assert!(answer.series.iter().flat_map(|s| &s.points).all(|(_, value)| *value == f64::INFINITY));
    assert_eq!(seen.lock().unwrap().len(), 3);
    assert_eq!(answer.warnings, ["one store is away"], "told once, not for each piece");
}

#[tokio::test]
async fn a_busy_server_is_asked_again_and_one_that_cannot_is_not() {
    let (client, seen) = start().await;
    let second = Duration::from_secs(1);
    assert_eq!(client.query_range("busy", at(0), at(1), second).await.unwrap().series[0].points.len(), 2);
    assert_eq!(seen.lock().unwrap().len(), 3, "503 twice, then an answer");
    let error = client.query_range("unknown", at(0), at(1), second).await.unwrap_err();
    let ApiError::Refused { status: 422, why, .. } = &error else { panic!("{error}") };
    assert!(why.contains("many-to-many"), "{why}");
    assert_eq!(seen.lock().unwrap().len(), 4, "422 is final");
    assert!(client.query_range("nothing", at(0), at(1), second).await.unwrap().series.is_empty());
}

#[tokio::test]
async fn every_question_says_who_asks_and_for_which_tenant() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("password");
    std::fs::write(&file, "open sesame\n").unwrap();
    let password = Secret::File(file);
    let auth = Auth::Basic { user: "guardian".to_owned(), password: password.clone() };
    let tenant = Tenant { header: "X-Scope-OrgID".to_owned(), value: "shop".to_owned() };
    let asked = async |auth: Auth, tenant: Option<Tenant>| {
        let (client, seen) = start_for(HttpClient { auth, ..HttpClient::default() }, tenant).await;
        client.query_range("x", at(0), at(25_000), Duration::from_secs(1)).await.unwrap();
        let seen = seen.lock().unwrap();
        assert_eq!(seen.len(), 3, "each piece is a question");
        let told = |name: &str, asked: &Asked| {
            asked.headers.get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default()
        };
        let all: Vec<_> = seen.iter().map(|a| (told("authorization", a), told("x-scope-orgid", a))).collect();
        assert!(all.iter().all(|said| *said == all[0]), "{all:?}");
        all[0].clone()
    };
    let basic = "Basic Z3VhcmRpYW46b3BlbiBzZXNhbWU=".to_owned();
    assert_eq!(asked(auth, Some(tenant)).await, (basic, "shop".to_owned()));
    assert_eq!(asked(Auth::Bearer(password), None).await, ("Bearer open sesame".to_owned(), String::new()));
}

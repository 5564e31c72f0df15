//! The calls under `/api/v1`.

use std::collections::BTreeMap;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::adapters::clock;
use crate::adapters::guardian::{ReleaseFilter, Taken, Word};
use crate::domain::{
    Alert, ApplicationName, Batch, FeedbackKind, GroupSelectors, InstanceId, MetricFamily, RECORDING_FORMAT,
    ReleaseId, ReleaseKey, ReleaseOrder, Timestamp, Version,
};
use crate::guard::engine::OperatorOrder;

use super::Web;
use super::access::{Need, Who, caller};
use super::problem::Problem;

/// The interface's own description.
pub(super) const OPENAPI: &str = include_str!("assets/openapi.json");

pub(super) fn routes() -> Router<Web> {
    Router::new()
        .route("/api/v1/openapi.json", get(openapi))
        .route("/api/v1/releases", get(list).post(begin))
        .route("/api/v1/releases/{application}/{id}", get(detail))
        .route("/api/v1/releases/{application}/{id}/batches", post(batch))
        .route("/api/v1/releases/{application}/{id}/finish", post(finish))
        .route("/api/v1/releases/{application}/{id}/cancel", post(cancel))
        .route("/api/v1/releases/{application}/{id}/hold", post(operate))
        .route("/api/v1/releases/{application}/{id}/resume", post(operate))
        .route("/api/v1/releases/{application}/{id}/rollback", post(operate))
        .route("/api/v1/releases/{application}/{id}/hand-back", post(operate))
        .route("/api/v1/releases/{application}/{id}/feedback", post(feedback))
        .route("/api/v1/gate/{application}/{id}", get(gate))
        .route("/api/v1/quality", get(quality))
        .route("/api/v1/applications", get(applications))
        .route("/api/v1/halt", get(halt).post(set_halt))
}

/// The two names in an address as a release.
pub(super) fn release_key((application, id): (String, String)) -> Result<ReleaseKey, Problem> {
    let application =
        ApplicationName::new(application).map_err(|e| Problem::invalid("application", e.to_string()))?;
    let id = ReleaseId::new(id).map_err(|e| Problem::invalid("id", e.to_string()))?;
    Ok(ReleaseKey { application, id })
}

/// A body of JSON. One that cannot be taken leaves a line in the audit.
async fn sent<T: DeserializeOwned>(
    web: &Web,
    who: &Who,
    about: Option<&ReleaseKey>,
    headers: &HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<T, Problem> {
    match read(headers, body) {
        Ok(read) => Ok(read),
        Err(problem) => Err(web.refused(who, about, problem).await),
    }
}

/// A body of JSON, or what is wrong with it and where.
fn read<T: DeserializeOwned>(headers: &HeaderMap, body: Result<Bytes, BytesRejection>) -> Result<T, Problem> {
    let body = json_bytes(headers, body)?;
    serde_json::from_slice(&body).map_err(|error| {
        let title = "the body is not what is expected";
        Problem::new(StatusCode::BAD_REQUEST, "body", title).detail(error.to_string())
    })
}

/// A body that says it is JSON, unread.
pub(super) fn json_bytes(headers: &HeaderMap, body: Result<Bytes, BytesRejection>) -> Result<Bytes, Problem> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case("application/json") {
        let problem = Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "content-type", "wrong content type");
        return Err(
            problem.detail(format!("{essence:?} is not read here; send `Content-Type: application/json`"))
        );
    }
    bytes(body)
}

/// The body, or that it is too long.
pub(super) fn bytes(body: Result<Bytes, BytesRejection>) -> Result<Bytes, Problem> {
    body.map_err(|rejection| {
        let rejected = rejection.into_response().status();
        if rejected == StatusCode::PAYLOAD_TOO_LARGE {
            let detail = format!("a body may have {} bytes", super::BODY_BYTES_MAX);
            Problem::new(rejected, "too-large", "the body is too long").detail(detail)
        } else {
            Problem::new(StatusCode::BAD_REQUEST, "body", "the body could not be read")
                .detail("it ended before its length; send it again")
        }
    })
}

async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], OPENAPI).into_response()
}

/// recording.md's release.json; `format` and `started_at` may be left out.
#[derive(Deserialize)]
struct OrderBody {
    format: Option<u32>,
    id: ReleaseId,
    application: ApplicationName,
    version: Option<Version>,
    previous_version: Option<Version>,
    started_at: Option<Timestamp>,
    finished_at: Option<Timestamp>,
    #[serde(default)]
    batches: Vec<Batch>,
    #[serde(default)]
    reference: Vec<InstanceId>,
    groups: Option<GroupSelectors>,
    #[serde(default)]
    metrics: Vec<MetricFamily>,
    #[serde(default)]
    alerts: Vec<Alert>,
    #[serde(default)]
    emergency: bool,
    #[serde(flatten)]
    other: BTreeMap<String, serde_json::Value>,
}

impl OrderBody {
    fn order(self, now: Timestamp) -> Result<ReleaseOrder, Problem> {
        let format = self.format.unwrap_or(RECORDING_FORMAT);
        if format != RECORDING_FORMAT {
            let problem = format!("{format} is not known; write {RECORDING_FORMAT}, or leave it out");
            return Err(Problem::invalid("format", problem));
        }
        Ok(ReleaseOrder {
            format,
            id: self.id,
            application: self.application,
            version: self.version,
            previous_version: self.previous_version,
            started_at: self.started_at.unwrap_or(now),
            finished_at: self.finished_at,
            batches: self.batches,
            reference: self.reference,
            groups: self.groups,
            metrics: self.metrics,
            alerts: self.alerts,
            other: self.other,
        })
    }
}

async fn begin(
    State(web): State<Web>,
    method: Method,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let who = web.admit(&method, &headers, Need::Course, None).await?;
    let body: OrderBody = sent(&web, &who, None, &headers, body).await?;
    let emergency = body.emergency;
    let begun = web.guardian.begin(caller(&who, &headers)?, body.order(clock::now())?, emergency).await?;
    let location = format!("/api/v1{}", super::pages::release_path(&begun.release));
    let status = if begun.created { StatusCode::CREATED } else { StatusCode::OK };
    let mut response = (status, Json(begun)).into_response();
    if let Ok(location) = HeaderValue::from_str(&location) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

async fn list(
    State(web): State<Web>,
    method: Method,
    headers: HeaderMap,
    filter: Result<Query<ReleaseFilter>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, Problem> {
    web.admit(&method, &headers, Need::Read, None).await?;
    let Query(filter) = filter.map_err(|e| Problem::invalid("query", e.body_text()))?;
    if filter.limit.is_some_and(|limit| !(1..=500).contains(&limit)) {
        return Err(Problem::invalid("limit", "it must be 1 to 500"));
    }
    Ok(Json(web.guardian.releases(filter).await?).into_response())
}

async fn detail(
    State(web): State<Web>,
    method: Method,
    headers: HeaderMap,
    Path(path): Path<(String, String)>,
) -> Result<Response, Problem> {
    let key = release_key(path)?;
    web.admit(&method, &headers, Need::Read, Some(&key)).await?;
    Ok(Json(web.guardian.release(key).await?).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BatchBody {
    started_at: Option<Timestamp>,
    instances: Vec<InstanceId>,
    weight: Option<f64>,
}

async fn batch(
    State(web): State<Web>,
    method: Method,
    headers: HeaderMap,
    Path(path): Path<(String, String)>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Taken>, Problem> {
    let key = release_key(path)?;
    let who = web.admit(&method, &headers, Need::Course, Some(&key)).await?;
    let body: BatchBody = sent(&web, &who, Some(&key), &headers, body).await?;
    let batch = Batch {
        started_at: body.started_at.unwrap_or_else(clock::now),
        instances: body.instances,
        weight: body.weight,
    };
    Ok(Json(web.guardian.batch(caller(&who, &headers)?, key, batch).await?))
}

async fn finish(
    State(web): State<Web>,
    method: Method,
    headers: HeaderMap,
    Path(path): Path<(String, String)>,
) -> Result<Json<Taken>, Problem> {
    let key = release_key(path)?;
    let who = web.admit(&method, &headers, Need::Course, Some(&key)).await?;
    Ok(Json(web.guardian.finish(caller(&who, &headers)?, key).await?))
}

async fn cancel(
    State(web): State<Web>,
    method: Method,
    headers: HeaderMap,
    Path(path): Path<(String, String)>,
) -> Result<Json<Taken>, Problem> {
    let key = release_key(path)?;
    let who = web.admit(&method, &headers, Need::Course, Some(&key)).await?;
    Ok(Json(web.guardian.cancel(caller(&who, &headers)?, key).await?))
}

/// An operator's order by its word in an address or a form.
pub(super) fn operator_order(word: &str) -> Option<OperatorOrder> {
    match word {
        "hold" => Some(OperatorOrder::Hold),
        "resume" => Some(OperatorOrder::Resume),
        "rollback" => Some(OperatorOrder::Rollback),
        "hand-back" => Some(OperatorOrder::HandBack),
        _ => None,
    }
}

async fn operate(
    State(web): State<Web>,
    method: Method,
    headers: HeaderMap,
    uri: Uri,
    Path(path): Path<(String, String)>,
) -> Result<Json<Taken>, Problem> {
    let key = release_key(path)?;
    let who = web.admit(&method, &headers, Need::Operate, Some(&key)).await?;
    let word = uri.path().rsplit('/').next().unwrap_or_default();
    let order = operator_order(word).ok_or_else(|| Problem::invalid("path", "no such order"))?;
    Ok(Json(web.guardian.operate(caller(&who, &headers)?, key, order).await?))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FeedbackBody {
    kind: FeedbackKind,
    onset: Option<Timestamp>,
    comment: Option<String>,
}

async fn feedback(
    State(web): State<Web>,
    method: Method,
    headers: HeaderMap,
    Path(path): Path<(String, String)>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Taken>, Problem> {
    let key = release_key(path)?;
    let who = web.admit(&method, &headers, Need::Operate, Some(&key)).await?;
    let body: FeedbackBody = sent(&web, &who, Some(&key), &headers, body).await?;
    let word = Word { kind: body.kind, onset: body.onset, comment: body.comment };
    Ok(Json(web.guardian.feedback(caller(&who, &headers)?, key, word).await?))
}

async fn gate(
    State(web): State<Web>,
    method: Method,
    headers: HeaderMap,
    Path(path): Path<(String, String)>,
) -> Result<Response, Problem> {
    let key = release_key(path)?;
    web.admit(&method, &headers, Need::Gate, Some(&key)).await?;
    Ok(Json(web.guardian.gate(key).await?).into_response())
}

#[derive(Deserialize)]
struct QualityQuery {
    application: Option<ApplicationName>,
}

async fn quality(
    State(web): State<Web>,
    method: Method,
    headers: HeaderMap,
    query: Result<Query<QualityQuery>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, Problem> {
    web.admit(&method, &headers, Need::Read, None).await?;
    let Query(query) = query.map_err(|e| Problem::invalid("query", e.body_text()))?;
    Ok(Json(web.guardian.quality(query.application).await?).into_response())
}

async fn applications(
    State(web): State<Web>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    web.admit(&method, &headers, Need::Read, None).await?;
    Ok(Json(web.guardian.applications().await?).into_response())
}

async fn halt(State(web): State<Web>, method: Method, headers: HeaderMap) -> Result<Response, Problem> {
    web.admit(&method, &headers, Need::Read, None).await?;
    Ok(Json(web.guardian.halt().await?).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HaltBody {
    on: bool,
    #[serde(default)]
    reason: String,
}

async fn set_halt(
    State(web): State<Web>,
    method: Method,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let who = web.admit(&method, &headers, Need::Operate, None).await?;
    let body: HaltBody = sent(&web, &who, None, &headers, body).await?;
    Ok(Json(web.guardian.set_halt(caller(&who, &headers)?, body.on, body.reason).await?).into_response())
}

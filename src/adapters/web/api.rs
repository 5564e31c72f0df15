//! The calls under `/api/v1`.

use std::collections::BTreeMap;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::json;

use crate::adapters::clock;
use crate::adapters::guardian::{ReleaseFilter, Taken, Word};
use crate::domain::{
    Alert, ApplicationName, Batch, FeedbackKind, GroupSelectors, InstanceId, MetricFamily, RECORDING_FORMAT,
    ReleaseId, ReleaseOrder, Timestamp, Version,
};
use crate::guard::engine::OperatorOrder;

use super::Web;
use super::access::Need;
use super::call::{Call, Named, Sent};
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
        .route("/api/v1/audit", get(audit))
        .route("/api/v1/halt", get(halt).post(set_halt))
}

async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], OPENAPI).into_response()
}

/// recording.md's release.json; `format` and every `started_at` may be left out.
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
    batches: Vec<PlannedBatch>,
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

/// A batch of an order; one without a moment begins with the release.
#[derive(Deserialize)]
struct PlannedBatch {
    started_at: Option<Timestamp>,
    instances: Vec<InstanceId>,
    weight: Option<f64>,
}

impl OrderBody {
    fn order(self, now: Timestamp) -> Result<ReleaseOrder, Problem> {
        let format = self.format.unwrap_or(RECORDING_FORMAT);
        if format != RECORDING_FORMAT {
            let problem = format!("{format} is not known; write {RECORDING_FORMAT}, or leave it out");
            return Err(Problem::invalid("format", problem));
        }
        let started_at = self.started_at.unwrap_or(now);
        let batch = |planned: PlannedBatch| Batch {
            started_at: planned.started_at.unwrap_or(started_at),
            instances: planned.instances,
            weight: planned.weight,
        };
        Ok(ReleaseOrder {
            format,
            id: self.id,
            application: self.application,
            version: self.version,
            previous_version: self.previous_version,
            started_at,
            finished_at: self.finished_at,
            batches: self.batches.into_iter().map(batch).collect(),
            reference: self.reference,
            groups: self.groups,
            metrics: self.metrics,
            alerts: self.alerts,
            other: self.other,
        })
    }
}

async fn begin(State(web): State<Web>, call: Call, sent: Sent) -> Result<Response, Problem> {
    let who = call.admit(&web, Need::Course, None).await?;
    let body: OrderBody = call.read(&web, &who, None, sent).await?;
    let emergency = body.emergency;
    let order = match body.order(clock::now()) {
        Ok(order) => order,
        Err(problem) => return Err(web.refused(&who, None, problem).await),
    };
    let caller = call.caller(&web, &who, None).await?;
    let key = order.key();
    let begun = web.guardian.begin(caller, order, emergency).await;
    // Only a release that is there can have a line of its own.
    let about = begun.as_ref().is_ok_and(|begun| !begun.created).then_some(&key);
    let begun = web.heard(&who, about, begun).await?;
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
    call: Call,
    filter: Result<Query<ReleaseFilter>, QueryRejection>,
) -> Result<Response, Problem> {
    call.admit(&web, Need::Read, None).await?;
    let Query(filter) = filter.map_err(|e| Problem::of_query(&e))?;
    if filter.limit.is_some_and(|limit| !(1..=500).contains(&limit)) {
        return Err(Problem::invalid("limit", "it must be 1 to 500"));
    }
    Ok(Json(web.guardian.releases(filter).await?).into_response())
}

async fn detail(State(web): State<Web>, call: Call, Named(key): Named) -> Result<Response, Problem> {
    call.admit(&web, Need::Read, Some(&key)).await?;
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
    call: Call,
    Named(key): Named,
    sent: Sent,
) -> Result<Json<Taken>, Problem> {
    let who = call.admit(&web, Need::Course, Some(&key)).await?;
    let body: BatchBody = call.read(&web, &who, Some(&key), sent).await?;
    let batch = Batch {
        started_at: body.started_at.unwrap_or_else(clock::now),
        instances: body.instances,
        weight: body.weight,
    };
    let caller = call.caller(&web, &who, Some(&key)).await?;
    let said = web.guardian.batch(caller, key.clone(), batch).await;
    Ok(Json(web.heard(&who, Some(&key), said).await?))
}

async fn finish(State(web): State<Web>, call: Call, Named(key): Named) -> Result<Json<Taken>, Problem> {
    let who = call.admit(&web, Need::Course, Some(&key)).await?;
    let caller = call.caller(&web, &who, Some(&key)).await?;
    let said = web.guardian.finish(caller, key.clone()).await;
    Ok(Json(web.heard(&who, Some(&key), said).await?))
}

async fn cancel(State(web): State<Web>, call: Call, Named(key): Named) -> Result<Json<Taken>, Problem> {
    let who = call.admit(&web, Need::Course, Some(&key)).await?;
    let caller = call.caller(&web, &who, Some(&key)).await?;
    let said = web.guardian.cancel(caller, key.clone()).await;
    Ok(Json(web.heard(&who, Some(&key), said).await?))
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
    call: Call,
    Named(key): Named,
    uri: Uri,
) -> Result<Json<Taken>, Problem> {
    let who = call.admit(&web, Need::Operate, Some(&key)).await?;
    let word = uri.path().rsplit('/').next().unwrap_or_default();
    let order = operator_order(word).ok_or_else(|| Problem::invalid("path", "no such order"))?;
    let caller = call.caller(&web, &who, Some(&key)).await?;
    let said = web.guardian.operate(caller, key.clone(), order).await;
    Ok(Json(web.heard(&who, Some(&key), said).await?))
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
    call: Call,
    Named(key): Named,
    sent: Sent,
) -> Result<Json<Taken>, Problem> {
    let who = call.admit(&web, Need::Operate, Some(&key)).await?;
    let body: FeedbackBody = call.read(&web, &who, Some(&key), sent).await?;
    let word = Word { kind: body.kind, onset: body.onset, comment: body.comment };
    let caller = call.caller(&web, &who, Some(&key)).await?;
    let said = web.guardian.feedback(caller, key.clone(), word).await;
    Ok(Json(web.heard(&who, Some(&key), said).await?))
}

async fn gate(State(web): State<Web>, call: Call, Named(key): Named) -> Result<Response, Problem> {
    call.admit(&web, Need::Gate, Some(&key)).await?;
    Ok(Json(web.guardian.gate(key).await?).into_response())
}

#[derive(Deserialize)]
struct QualityQuery {
    application: Option<ApplicationName>,
}

async fn quality(
    State(web): State<Web>,
    call: Call,
    query: Result<Query<QualityQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    call.admit(&web, Need::Read, None).await?;
    let Query(query) = query.map_err(|e| Problem::of_query(&e))?;
    Ok(Json(web.guardian.quality(query.application).await?).into_response())
}

async fn applications(State(web): State<Web>, call: Call) -> Result<Response, Problem> {
    call.admit(&web, Need::Read, None).await?;
    Ok(Json(web.guardian.applications().await?).into_response())
}

async fn audit(State(web): State<Web>, call: Call) -> Result<Response, Problem> {
    call.admit(&web, Need::Read, None).await?;
    Ok(Json(json!({"audit": web.guardian.general_audit().await?})).into_response())
}

async fn halt(State(web): State<Web>, call: Call) -> Result<Response, Problem> {
    call.admit(&web, Need::Read, None).await?;
    Ok(Json(web.guardian.halt().await?).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HaltBody {
    on: bool,
    #[serde(default)]
    reason: String,
}

async fn set_halt(State(web): State<Web>, call: Call, sent: Sent) -> Result<Response, Problem> {
    let who = call.admit(&web, Need::Operate, None).await?;
    let body: HaltBody = call.read(&web, &who, None, sent).await?;
    let caller = call.caller(&web, &who, None).await?;
    Ok(Json(web.guardian.set_halt(caller, body.on, body.reason).await?).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_that_are_left_out_are_those_of_the_release_or_now() {
        let now: Timestamp = "2026-03-01T12:00:00Z".parse().unwrap();
        let begins = |started_at: &str| {
            let text = format!(
                r#"{{"id": "r", "application": "shop"{started_at},
                    "batches": [{{"instances": ["a"]}}, {{"instances": ["b"], "started_at": "2026-03-01T12:30:00Z"}}]}}"#
            );
            let body: OrderBody = serde_json::from_str(&text).unwrap();
            let order = body.order(now).unwrap();
            let moments = order.batches.iter().map(|batch| batch.started_at.to_string());
            moments.chain([order.started_at.to_string()]).collect::<Vec<_>>()
        };
        let planned = "2026-03-01T12:30:00.000Z";
        let now = now.to_string();
        assert_eq!(begins(""), [now.as_str(), planned, &now]);
        let earlier = "2026-03-01T11:59:00.000Z";
        assert_eq!(begins(&format!(r#", "started_at": "{earlier}""#)), [earlier, planned, earlier]);
    }
}

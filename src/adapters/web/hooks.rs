//! What other systems send in their own words: Kayenta asks for a judgement,
//! Alertmanager reports alerts. Either with a bearer token, or with the token
//! in the address for senders that can send no header.

use axum::Json;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Method};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde::Serialize;

use crate::adapters::guardian::{Caller, GuardianError};
use crate::adapters::{alertmanager, clock, kayenta};

use super::Web;
use super::access::{Need, Who};
use super::call::{Sent, json_bytes};
use super::problem::Problem;

pub(super) fn routes() -> Router<Web> {
    Router::new()
        .route("/judge", post(judge))
        .route("/kayenta/{token}/judge", post(judge))
        .route("/alertmanager", post(alerts))
        .route("/alertmanager/{token}", post(alerts))
}

/// The token of the address, where the route has one.
type Token = Option<Path<String>>;

/// Who sent it, and the body.
async fn admitted(
    web: &Web,
    headers: &HeaderMap,
    token: Token,
    need: Need,
    sent: Sent,
) -> Result<(Who, Bytes), Problem> {
    let token = token.as_ref().map(|Path(token)| token.as_str());
    let who = web.admit_with(&Method::POST, headers, token, need, None).await?;
    let body = match json_bytes(headers, sent) {
        Ok(body) => body,
        Err(problem) => return Err(web.refused(&who, None, problem).await),
    };
    Ok((who, body))
}

async fn judge(
    State(web): State<Web>,
    headers: HeaderMap,
    token: Token,
    sent: Sent,
) -> Result<Response, Problem> {
    let (who, body) = admitted(&web, &headers, token, Need::Gate, sent).await?;
    // Long series take a while; other callers go on meanwhile.
    let judged = tokio::task::spawn_blocking(move || {
        kayenta::JudgeRequest::read(&body).and_then(|request| kayenta::judge(&request))
    });
    match judged.await {
        Ok(Ok(result)) => Ok(Json(result).into_response()),
        Ok(Err(error)) => Err(web.refused(&who, None, Problem::unreadable(&error)).await),
        Err(error) => {
            tracing::error!(%error, "a fault of the guardian's own was caught while it judged for Kayenta");
            Err(Problem::overloaded("the judgement failed by a fault of the guardian's own"))
        }
    }
}

/// What became of the alerts of a message.
#[derive(Debug, Default, Serialize)]
struct Told {
    /// Evidence for a release that is watched.
    taken: u32,
    /// Known before, or no release of their application is watched.
    unchanged: u32,
    /// They name no application that is known.
    unmatched: u32,
    /// Not in the message.
    left_out: u64,
}

async fn alerts(
    State(web): State<Web>,
    headers: HeaderMap,
    token: Token,
    sent: Sent,
) -> Result<Response, Problem> {
    let (who, body) = admitted(&web, &headers, token, Need::Report, sent).await?;
    let group = match alertmanager::Group::read(&body, clock::now()) {
        Ok(group) => group,
        Err(error) => return Err(web.refused(&who, None, Problem::unreadable(&error)).await),
    };
    let mut told = Told { left_out: group.left_out, ..Told::default() };
    let mut came_before = false;
    for received in group.alerts {
        let applications = web.guardian.named_by(&received.alert.labels);
        if applications.is_empty() {
            told.unmatched += 1;
            tracing::debug!(alert = %received.alert.name, "an alert names no application that is known");
        }
        for application in applications {
            let caller = Caller { who: who.name.clone(), idempotency_key: Some(received.key.clone()) };
            match web.guardian.alert(caller, application, received.alert.clone()).await {
                Ok(taken) if taken.changed => told.taken += 1,
                Ok(taken) => {
                    told.unchanged += 1;
                    came_before |= taken.phase.is_some();
                }
                // A repeated message that says the end otherwise is no news.
                Err(GuardianError::Conflict { .. }) => {
                    told.unchanged += 1;
                    came_before = true;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
    if came_before && told.taken == 0 {
        web.audit_repeated(&who.name, None).await;
    }
    if told.left_out > 0 {
        let text = format!("Alertmanager left {} alerts out of a group: they are no evidence", told.left_out);
        tracing::warn!(from = %who.name, left_out = told.left_out, "{text}");
        web.guardian.audit(Caller::new(who.name), None, text).await?;
    }
    Ok(Json(told).into_response())
}

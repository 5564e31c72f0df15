//! Flagger's hooks. Flagger can send no header, so the token stands in the
//! address. It takes 200, 201 and 202 as yes, and repeats 429 and 5xx until
//! the answer is lost; so a no is always 403 or 409 with its reason as text,
//! which Flagger shows.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use axum::extract::rejection::QueryRejection;
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::mpsc;

use crate::adapters::flagger::Received;
use crate::adapters::guardian::{Caller, CanaryCall, Gate, GateWord, Guardian, GuardianError};

use super::Web;
use super::access::Need;
use super::call::{Sent, json_bytes};
use super::problem::Problem;

/// Flagger waits ten seconds unless told otherwise.
const DEADLINE: Duration = Duration::from_secs(5);
/// Events that wait; more are refused with 503, which Flagger may repeat.
const EVENTS_MAX: usize = 256;
/// Events that are remembered to know a repeated one.
const SEEN_MAX: usize = 1_024;
/// Times that an event is tried while the daemon cannot take it.
const TRIES_MAX: u32 = 3;

pub(super) fn routes() -> Router<Web> {
    Router::new()
        .route("/flagger/{token}/{hook}", post(hook))
        .layer(DefaultBodyLimit::max(super::BODY_BYTES_MAX))
}

/// Which of our four hooks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hook {
    /// For all that confirm.
    Gate,
    /// Checked with the metrics.
    Rollout,
    /// Yes means back.
    Rollback,
    /// Tells what happens.
    Event,
}

impl Hook {
    fn named(word: &str) -> Option<Self> {
        match word {
            "gate" => Some(Self::Gate),
            "rollout" => Some(Self::Rollout),
            "rollback" => Some(Self::Rollback),
            "event" => Some(Self::Event),
            _ => None,
        }
    }
}

#[derive(Deserialize)]
struct Asked {
    /// `hold`: a gate that has seen too little says no.
    pending: Option<String>,
}

async fn hook(
    State(web): State<Web>,
    Path((token, word)): Path<(String, String)>,
    asked: Result<Query<Asked>, QueryRejection>,
    headers: HeaderMap,
    sent: Sent,
) -> Response {
    let Some(hook) = Hook::named(&word) else {
        let text = "there is no such hook; it is gate, rollout, rollback or event";
        return said(StatusCode::NOT_FOUND, text.to_owned());
    };
    let (who, received) = match admitted(&web, &headers, &token, sent).await {
        Ok(admitted) => admitted,
        Err(problem) => return denied(&problem),
    };
    if hook == Hook::Event {
        return match web.events_of_flagger.take(&web.guardian, &who, received) {
            Put::Queued => said(StatusCode::ACCEPTED, "taken".to_owned()),
            Put::Known => {
                web.audit_repeated(&who, None).await;
                said(StatusCode::ACCEPTED, "known".to_owned())
            }
            Put::NoRoom => said(StatusCode::SERVICE_UNAVAILABLE, "too many events wait".to_owned()),
        };
    }
    let holds = asked.is_ok_and(|Query(asked)| asked.pending.as_deref() == Some("hold"));
    answer(hook, holds, ask(&web, who, received.call).await)
}

async fn admitted(
    web: &Web,
    headers: &HeaderMap,
    token: &str,
    sent: Sent,
) -> Result<(String, Received), Problem> {
    let who = web.admit_with(&Method::POST, headers, Some(token), Need::Course, None).await?;
    let read =
        json_bytes(headers, sent).and_then(|body| Received::read(&body).map_err(|e| Problem::unreadable(&e)));
    // What cannot be read is a no as any other.
    let read = read.map_err(|problem| match problem.status() {
        StatusCode::BAD_REQUEST => problem.with_status(StatusCode::FORBIDDEN),
        _ => problem,
    });
    match read {
        Ok(received) => Ok((who.name, received)),
        Err(problem) => Err(web.refused(&who, None, problem).await),
    }
}

/// Asks the daemon, within the time that Flagger waits. The daemon goes on
/// when the time is over: what was begun is not left half done.
async fn ask(web: &Web, who: String, call: CanaryCall) -> Result<Option<Gate>, GuardianError> {
    let guardian = web.guardian.clone();
    let work = tokio::spawn(async move { guardian.canary(Caller::new(who), call).await });
    match tokio::time::timeout(DEADLINE, work).await {
        Ok(Ok(result)) => result,
        Ok(Err(error)) => {
            tracing::error!(%error, "a fault of the guardian's own was caught while it answered Flagger");
            Err(GuardianError::Unavailable { reason: "a fault of the guardian's own".to_owned() })
        }
        Err(_) => {
            let reason = format!("no answer within {} s", DEADLINE.as_secs());
            Err(GuardianError::Unavailable { reason })
        }
    }
}

/// The status and the sentence for what the daemon says.
fn answer(hook: Hook, holds: bool, asked: Result<Option<Gate>, GuardianError>) -> Response {
    let gate = match asked {
        Ok(Some(gate)) => gate,
        Ok(None) if hook == Hook::Rollback => {
            return said(StatusCode::FORBIDDEN, "no release is being watched".to_owned());
        }
        Ok(None) => return yes("pass", "no release is being watched"),
        Err(error) => return said(StatusCode::FORBIDDEN, format!("the guardian says no: {error}")),
    };
    let word = gate.verdict.word();
    let is_yes = match (hook, gate.verdict) {
        (Hook::Gate, GateWord::Pending) => !holds,
        (Hook::Gate | Hook::Event, GateWord::Pass | GateWord::Pending)
        | (Hook::Rollout, GateWord::Pass | GateWord::Pending | GateWord::Inconclusive)
        | (Hook::Rollback, GateWord::Rollback) => true,
        (Hook::Gate | Hook::Event, GateWord::Pause | GateWord::Rollback | GateWord::Inconclusive)
        | (Hook::Rollout, GateWord::Pause | GateWord::Rollback)
        | (Hook::Rollback, GateWord::Pass | GateWord::Pending | GateWord::Pause | GateWord::Inconclusive) => {
            false
        }
    };
    let no = if hook == Hook::Rollout { StatusCode::CONFLICT } else { StatusCode::FORBIDDEN };
    match is_yes {
        true => yes(word, &gate.reason),
        false => said(no, format!("the guardian says {word}: {}", gate.reason)),
    }
}

fn yes(word: &str, reason: &str) -> Response {
    Json(json!({"verdict": word, "reason": reason})).into_response()
}

/// A no, short enough for an event of Kubernetes.
fn said(status: StatusCode, text: String) -> Response {
    let text = match text.char_indices().nth(800) {
        Some((end, _)) => format!("{}..", &text[..end]),
        None => text,
    };
    (status, [(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response()
}

/// A call that was not taken. 429 and 5xx would be repeated, and then shown
/// without the reason.
fn denied(problem: &Problem) -> Response {
    let status = problem.status();
    let repeats = status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error();
    said(if repeats { StatusCode::FORBIDDEN } else { status }, problem.text())
}

/// Events in their order, taken after they were acknowledged: Flagger waits
/// for the answer while it rolls out.
#[derive(Clone, Default)]
pub(super) struct Events {
    queue: Arc<OnceLock<mpsc::Sender<(String, Received)>>>,
    seen: Arc<Mutex<VecDeque<String>>>,
}

/// What became of an event.
enum Put {
    Queued,
    /// It was delivered before.
    Known,
    NoRoom,
}

impl Events {
    fn take(&self, guardian: &Guardian, who: &str, received: Received) -> Put {
        let key = received.event_key();
        let mut seen = self.seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if key.as_ref().is_some_and(|key| seen.contains(key)) {
            return Put::Known;
        }
        let queue = self.queue.get_or_init(|| {
            let (queue, events) = mpsc::channel(EVENTS_MAX);
            tokio::spawn(follow(guardian.clone(), events));
            queue
        });
        if queue.try_send((who.to_owned(), received)).is_err() {
            return Put::NoRoom;
        }
        if seen.len() >= SEEN_MAX {
            seen.pop_front();
        }
        seen.extend(key);
        Put::Queued
    }
}

async fn follow(guardian: Guardian, mut events: mpsc::Receiver<(String, Received)>) {
    while let Some((who, Received { call, .. })) = events.recv().await {
        let about = format!("canary {} in namespace {}", call.name, call.namespace);
        for attempt in 1..=TRIES_MAX {
            let caller = Caller::new(who.as_str());
            match guardian.canary(caller, call.clone()).await {
                Ok(_) => break,
                Err(GuardianError::Unavailable { reason }) if attempt < TRIES_MAX => {
                    tracing::warn!(%about, %reason, "an event of Flagger waits");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
                Err(error) => {
                    tracing::warn!(%about, %error, "an event of Flagger was not taken");
                    break;
                }
            }
        }
    }
}

//! Server-sent events: what happens to a release, as it happens.

use std::convert::Infallible;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::response::sse::{Event as Sse, KeepAlive};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures_util::stream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use crate::adapters::guardian::{Event, EventKind};
use crate::domain::ReleaseKey;

use super::Web;
use super::access::Need;
use super::call::{Call, Named};
use super::problem::Problem;

pub(super) fn routes() -> Router<Web> {
    Router::new()
        .route("/api/v1/events", get(all))
        .route("/api/v1/releases/{application}/{id}/events", get(of_release))
}

async fn all(State(web): State<Web>, call: Call) -> Result<Response, Problem> {
    call.admit(&web, Need::Read, None).await?;
    follow(&web, None)
}

async fn of_release(State(web): State<Web>, call: Call, Named(key): Named) -> Result<Response, Problem> {
    call.admit(&web, Need::Read, Some(&key)).await?;
    // Subscribed before it is looked up, so that nothing is missed between.
    let response = follow(&web, Some(key.clone()));
    web.guardian.gate(key).await?;
    response
}

struct Follower {
    events: Receiver<Event>,
    release: Option<ReleaseKey>,
    _permit: OwnedSemaphorePermit,
}

fn follow(web: &Web, release: Option<ReleaseKey>) -> Result<Response, Problem> {
    let permit = web.followers.clone().try_acquire_owned();
    let permit = permit.map_err(|_| Problem::overloaded("too many pages follow events"))?;
    let follower = Follower { events: web.guardian.subscribe(), release, _permit: permit };
    let events = stream::unfold(follower, |mut follower| async {
        let event = follower.next().await?;
        Some((Ok::<_, Infallible>(event), follower))
    });
    let keep_alive = KeepAlive::new().interval(Duration::from_secs(15));
    Ok(axum::response::Sse::new(events).keep_alive(keep_alive).into_response())
}

impl Follower {
    /// The next event of the release; none when the daemon ends. Whoever was
    /// too slow is told how many it missed.
    async fn next(&mut self) -> Option<Sse> {
        loop {
            match self.events.recv().await {
                Ok(event) if self.release.as_ref().is_none_or(|r| *r == event.release) => {
                    let data = serde_json::to_string(&event).ok()?;
                    return Some(
                        Sse::default().id(event.sequence.to_string()).event(name(&event.kind)).data(data),
                    );
                }
                Ok(_) => {}
                Err(RecvError::Lagged(missed)) => {
                    return Some(Sse::default().event("missed").data(format!("{{\"missed\":{missed}}}")));
                }
                Err(RecvError::Closed) => return None,
            }
        }
    }
}

fn name(kind: &EventKind) -> &'static str {
    match kind {
        EventKind::Phase { .. } => "phase",
        EventKind::Verdict { .. } => "verdict",
        EventKind::Decision { .. } => "decision",
        EventKind::Command { .. } => "command",
        EventKind::Notice { .. } => "notice",
        EventKind::Feedback { .. } => "feedback",
    }
}

//! The demo's release system: a server that rolls versions out in batches,
//! tells the guardian, takes its signed commands, and can be asked.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::json;

use crate::adapters::clock;
use crate::adapters::standard_webhooks::{ID_HEADER, SIGNATURE_HEADER, SigningKey, TIMESTAMP_HEADER, verify};

use super::fleet::{DemoFault, Machine};

/// Where a rollout stands, as the release system's own state says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rollout {
    Waiting,
    Running,
    Paused,
    RolledBack,
    Done,
}

impl Rollout {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::RolledBack => "rolled_back",
            Self::Done => "done",
        }
    }
}

/// The state of one application's rollout; shared with its server.
#[derive(Clone)]
pub(super) struct Desk {
    state: Arc<Mutex<Rollout>>,
    keys: Arc<Vec<SigningKey>>,
}

impl Desk {
    pub(super) fn new(key: SigningKey) -> Self {
        Self { state: Arc::new(Mutex::new(Rollout::Waiting)), keys: Arc::new(vec![key]) }
    }

    fn held(&self) -> MutexGuard<'_, Rollout> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn router(self) -> Router {
        Router::new()
            .route("/releases/{release}", get(state))
            .route("/releases/{release}/{command}", post(command))
            .with_state(self)
    }
}

async fn state(State(desk): State<Desk>, Path(release): Path<String>) -> Response {
    let state = desk.held().word();
    Json(json!({ "release": release, "state": state })).into_response()
}

async fn command(
    State(desk): State<Desk>,
    Path((_, command)): Path<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (id, at, signatures) = (header(ID_HEADER), header(TIMESTAMP_HEADER), header(SIGNATURE_HEADER));
    if let Err(error) = verify(&desk.keys, id, at, signatures, &body, clock::now()) {
        return (StatusCode::UNAUTHORIZED, error.to_string()).into_response();
    }
    let mut state = desk.held();
    let next = match command.as_str() {
        "pause" if *state == Rollout::Running => Rollout::Paused,
        "rollback" => Rollout::RolledBack,
        "resume" if *state == Rollout::Paused => Rollout::Running,
        "pause" | "resume" => *state,
        _ => return StatusCode::NOT_FOUND.into_response(),
    };
    *state = next;
    Json(json!({ "state": next.word() })).into_response()
}

/// Why a rollout of the demo could not be carried out.
#[derive(Debug, thiserror::Error)]
pub(super) enum RolloutError {
    #[error("the guardian did not take {what}: HTTP status {status}: {body}")]
    Refused { what: String, status: u16, body: String },
    #[error("the guardian cannot be reached to be told {what}")]
    Unreachable { what: String, source: reqwest::Error },
    #[error("a machine of the demo cannot be restarted")]
    Machine(#[from] std::io::Error),
}

/// One application's rollout.
pub(super) struct Course {
    pub(super) application: &'static str,
    pub(super) release: String,
    pub(super) guardian: String,
    pub(super) desk: Desk,
    pub(super) machines: Vec<Machine>,
    pub(super) fault: Option<DemoFault>,
    pub(super) client: reqwest::Client,
    /// How long each batch runs before the next.
    pub(super) batches: [Duration; 2],
}

impl Course {
    /// Rolls out in two batches and leaves half of the machines as they are;
    /// ends when it is done or was rolled back.
    pub(super) async fn roll(mut self) -> Result<Self, RolloutError> {
        let instances: Vec<String> = self.machines.iter().map(|m| m.address.to_string()).collect();
        let order = json!({
            "id": self.release, "application": self.application,
            "version": "2.0.0", "previous_version": "1.9.0",
            "reference": &instances[2..],
        });
        *self.desk.held() = Rollout::Running;
        self.tell("/api/v1/releases".to_owned(), order).await?;
        for (batch, instance) in instances.iter().enumerate().take(2) {
            if !self.go_on().await? {
                return self.give_back().await;
            }
            let path = format!("/api/v1/releases/{}/{}/batches", self.application, self.release);
            self.tell(path, json!({ "instances": [instance] })).await?;
            self.machines[batch].restart(self.fault).await?;
            if self.watch(batch + 1, self.batches[batch]).await? {
                return self.give_back().await;
            }
        }
        // A command that came at the last moment is obeyed.
        if !self.go_on().await? {
            return self.give_back().await;
        }
        *self.desk.held() = Rollout::Done;
        let path = format!("/api/v1/releases/{}/{}/finish", self.application, self.release);
        self.tell(path, json!({})).await?;
        Ok(self)
    }

    /// Waits while paused; false if it was rolled back.
    async fn go_on(&mut self) -> Result<bool, RolloutError> {
        loop {
            let state = *self.desk.held();
            match state {
                Rollout::Running => return Ok(true),
                Rollout::RolledBack => return Ok(false),
                Rollout::Waiting | Rollout::Paused | Rollout::Done => {
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
            }
        }
    }

    /// Brings the old version back to every machine that had the new one.
    async fn give_back(mut self) -> Result<Self, RolloutError> {
        for machine in &mut self.machines[..2] {
            machine.restart(None).await?;
        }
        Ok(self)
    }

    /// Lets a batch run; true if the release was rolled back.
    async fn watch(&mut self, released: usize, runs: Duration) -> Result<bool, RolloutError> {
        let mut waited = Duration::ZERO;
        let mut crashes = Duration::from_secs(3);
        let step = Duration::from_millis(200);
        loop {
            tokio::time::sleep(step).await;
            waited += step;
            let state = *self.desk.held();
            match state {
                Rollout::RolledBack => return Ok(true),
                Rollout::Running if runs <= waited => return Ok(false),
                Rollout::Waiting | Rollout::Running | Rollout::Paused | Rollout::Done => {}
            }
            if self.fault == Some(DemoFault::CrashLoop) && waited >= crashes {
                crashes = waited + Duration::from_secs(4);
                for machine in &mut self.machines[..released] {
                    machine.restart(self.fault).await?;
                }
            }
        }
    }

    async fn tell(&self, path: String, body: serde_json::Value) -> Result<(), RolloutError> {
        let what = format!("POST {path}");
        let sent = self.client.post(format!("{}{path}", self.guardian)).json(&body).send().await;
        let answer = sent.map_err(|source| RolloutError::Unreachable { what: what.clone(), source })?;
        let status = answer.status();
        if status.is_success() {
            return Ok(());
        }
        let body = answer.text().await.unwrap_or_default();
        Err(RolloutError::Refused { what, status: status.as_u16(), body })
    }
}

#[cfg(test)]
mod tests {
    use secrecy::SecretString;

    use super::*;
    use crate::adapters::standard_webhooks::{sign, timestamp_seconds};

    const KEY: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

    async fn command(desk: &Desk, name: &str, key: &str) -> StatusCode {
        let key = SigningKey::parse(&SecretString::from(key)).unwrap();
        let (now, body) = (clock::now(), Bytes::from_static(b"{}"));
        let mut headers = HeaderMap::new();
        let signature = sign(&[key], "msg_1", now, &body);
        for (header, value) in [
            (ID_HEADER, "msg_1".to_owned()),
            (TIMESTAMP_HEADER, timestamp_seconds(now).to_string()),
            (SIGNATURE_HEADER, signature),
        ] {
            headers.insert(header, value.parse().unwrap());
        }
        let path = Path(("r".to_owned(), name.to_owned()));
        super::command(State(desk.clone()), path, headers, body).await.status()
    }

    #[tokio::test]
    async fn a_command_counts_only_with_a_signature_that_fits() {
        let desk = Desk::new(SigningKey::parse(&SecretString::from(KEY)).unwrap());
        *desk.held() = Rollout::Running;
        let other = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        assert_eq!(command(&desk, "rollback", other).await, StatusCode::UNAUTHORIZED);
        assert_eq!(*desk.held(), Rollout::Running);
        assert_eq!(command(&desk, "pause", KEY).await, StatusCode::OK);
        assert_eq!(*desk.held(), Rollout::Paused);
        assert_eq!(command(&desk, "resume", KEY).await, StatusCode::OK);
        assert_eq!(command(&desk, "rollback", KEY).await, StatusCode::OK);
        assert_eq!(*desk.held(), Rollout::RolledBack);
        assert_eq!(command(&desk, "dance", KEY).await, StatusCode::NOT_FOUND);
    }
}

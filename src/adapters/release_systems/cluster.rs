//! What release systems in a Kubernetes cluster have in common: one object is
//! patched, and looked at until its controller did what the command wanted.

use std::marker::PhantomData;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};

use crate::adapters::kubernetes::{Api, ApiError, Object, Patch, ResourceKind, is_observed};
use crate::adapters::release_system::{Attempt, CommandOrder, ReadBack, ReleaseSystem};
use crate::domain::Timestamp;
use crate::guard::CommandKind;

/// How often a command is carried out anew that met another change.
const CONFLICTS_MAX: u32 = 4;
/// Between a conflict and the next try.
const CONFLICT_WAIT: Duration = Duration::from_millis(50);

/// A kind of object that carries a release. A command may be carried out
/// again after a conflict at any point of it.
#[async_trait]
pub trait ReleaseKind: Send + Sync + 'static {
    /// How addresses name it.
    const RESOURCE: ResourceKind;

    /// Changes the object as the command wants it.
    async fn carry_out(held: &Held, order: &CommandOrder) -> Result<Attempt, ApiError>;

    /// Whether the controller did what the command wanted.
    fn is_done(order: &CommandOrder, object: &Value) -> bool;

    /// How the object stands, for people.
    fn shown(object: &Value) -> String;
}

/// One object, and the server that holds it.
pub struct Held {
    /// The server.
    pub api: Api,
    /// Which object.
    pub object: Object,
}

impl Held {
    /// The object as it is.
    pub async fn get(&self) -> Result<Value, ApiError> {
        self.api.get(&self.object).await
    }

    /// Changes fields of the spec.
    pub async fn set_spec(&self, spec: Value) -> Result<Value, ApiError> {
        self.api.patch(&self.object, None, Patch::Merge, &json!({ "spec": spec })).await
    }

    /// Changes fields of the status. A cluster whose definition of the kind
    /// has no status subresource answers 404 and takes it with the object.
    pub async fn set_status(&self, status: Value) -> Result<Value, ApiError> {
        let body = json!({ "status": status });
        match self.api.patch(&self.object, Some("status"), Patch::Merge, &body).await {
            Err(ApiError::NotFound { .. }) => self.api.patch(&self.object, None, Patch::Merge, &body).await,
            result => result,
        }
    }
}

/// An object of that kind as a release system.
pub struct InCluster<K> {
    held: Held,
    interval: Duration,
    kind: PhantomData<fn() -> K>,
}

impl<K: ReleaseKind> InCluster<K> {
    /// The object's place, and how often it is looked at after a command.
    pub fn new(api: Api, namespace: String, name: String, interval: Duration) -> Self {
        let held = Held { api, object: Object { kind: K::RESOURCE, namespace, name } };
        Self { held, interval, kind: PhantomData }
    }
}

#[async_trait]
impl<K: ReleaseKind> ReleaseSystem for InCluster<K> {
    fn target(&self) -> &str {
        self.held.api.target()
    }

    fn can(&self, kind: CommandKind) -> bool {
        match kind {
            CommandKind::Pause | CommandKind::Rollback | CommandKind::Resume => true,
        }
    }

    async fn attempt(&self, order: &CommandOrder, _now: Timestamp) -> Attempt {
        let mut conflicts = 0;
        loop {
            match K::carry_out(&self.held, order).await {
                Err(ApiError::Conflict(_)) if conflicts < CONFLICTS_MAX => {
                    conflicts += 1;
                    tokio::time::sleep(CONFLICT_WAIT * conflicts).await;
                }
                result => return result.unwrap_or_else(Attempt::from),
            }
        }
    }

    fn read_back_interval(&self, _kind: CommandKind) -> Option<Duration> {
        Some(self.interval)
    }

    async fn read_back(&self, order: &CommandOrder, _now: Timestamp) -> ReadBack {
        match self.held.get().await {
            Ok(object) if K::is_done(order, &object) => ReadBack::Done,
            Ok(object) => ReadBack::NotYet { state: K::shown(&object) },
            Err(error) => error.into(),
        }
    }
}

/// That the release system took the command.
pub fn taken(answer: impl Into<String>) -> Attempt {
    Attempt::Taken { answer: answer.into() }
}

/// What is said of an object whose controller lags behind.
pub fn lag(object: &Value) -> &'static str {
    if is_observed(object) { "" } else { "; the controller has not seen the change yet" }
}

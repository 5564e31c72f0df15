//! A Rollout of Argo Rollouts: paused, resumed and aborted by merge patches.
//!
//! An abort goes into `status`, which no Git repository holds, so that an
//! automatic sync does not take it back; a pause goes into `spec`.

use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};

use crate::adapters::kubernetes::{
    Api, ApiError, Object, Patch, ResourceKind, is_observed, is_true_at, text_at,
};
use crate::adapters::release_system::{Attempt, CommandOrder, ReadBack, ReleaseSystem};
use crate::domain::Timestamp;
use crate::guard::CommandKind;

/// The kind of object.
pub const ROLLOUTS: ResourceKind = super::resource("argoproj.io", "v1alpha1", "rollouts");

const STATUS: Option<&str> = Some("status");
/// The reason of a pause that an analysis without a clear result made.
const INCONCLUSIVE: &str = "InconclusiveAnalysisRun";

/// One Rollout.
pub struct ArgoRollout {
    api: Api,
    rollout: Object,
    interval: Duration,
}

impl ArgoRollout {
    /// The Rollout, and how often it is looked at after a command.
    pub fn new(api: Api, rollout: Object, interval: Duration) -> Self {
        Self { api, rollout, interval }
    }

    async fn spec(&self, paused: bool) -> Result<Value, ApiError> {
        self.api.patch(&self.rollout, None, Patch::Merge, &json!({"spec": {"paused": paused}})).await
    }

    /// Changes the status. A cluster whose definition of Rollouts has no
    /// status subresource answers 404 and takes it with the object.
    async fn status(&self, status: Value) -> Result<Value, ApiError> {
        let body = json!({ "status": status });
        match self.api.patch(&self.rollout, STATUS, Patch::Merge, &body).await {
            Err(ApiError::NotFound { .. }) => self.api.patch(&self.rollout, None, Patch::Merge, &body).await,
            result => result,
        }
    }

    async fn resume(&self) -> Result<String, ApiError> {
        let rollout = self.spec(false).await?;
        // A pause step that the Rollout's author wrote is not ours to skip.
        if is_held_by_an_analysis(&rollout) {
            self.status(json!({"pauseConditions": null})).await?;
            return Ok("no longer paused, and the inconclusive analysis is passed over".to_owned());
        }
        Ok("no longer paused".to_owned())
    }

    async fn abort(&self) -> Result<Attempt, ApiError> {
        let rollout = self.api.get(&self.rollout).await?;
        let (stable, current) =
            (text_at(&rollout, "/status/stableRS"), text_at(&rollout, "/status/currentPodHash"));
        if stable.is_some_and(|hash| !hash.is_empty())
            && stable == current
            && !is_true_at(&rollout, "/status/abort")
        {
            let Object { name, namespace, .. } = &self.rollout;
            let reason = format!(
                "rollout {name} is fully promoted, so there is nothing to abort; bring the old version back by hand: \
                 kubectl argo rollouts undo {name} -n {namespace}, or by Git"
            );
            return Ok(Attempt::Refused { reason });
        }
        self.status(json!({"abort": true})).await?;
        let paused = is_true_at(&rollout, "/spec/paused");
        if paused {
            // The controller does not finish the abort of a Rollout that
            // stands paused; aborted first, it cannot go forward.
            self.spec(false).await?;
        }
        let answer = if paused { "aborted, and no longer paused so that it takes effect" } else { "aborted" };
        Ok(Attempt::Taken { answer: answer.to_owned() })
    }
}

fn is_held_by_an_analysis(rollout: &Value) -> bool {
    let conditions = rollout.pointer("/status/pauseConditions").and_then(Value::as_array);
    conditions.is_some_and(|conditions| {
        conditions.iter().any(|condition| text_at(condition, "/reason") == Some(INCONCLUSIVE))
    })
}

/// How the Rollout stands, for people.
fn shown(rollout: &Value) -> String {
    let phase = text_at(rollout, "/status/phase").unwrap_or("without a phase");
    let message = text_at(rollout, "/status/message").filter(|message| !message.is_empty());
    let seen = if is_observed(rollout) { "" } else { "; the controller has not seen the change yet" };
    let paused = if is_true_at(rollout, "/spec/paused") { "" } else { " not" };
    let abort = if is_true_at(rollout, "/status/abort") { "aborted" } else { "not aborted" };
    match message {
        Some(message) => format!("{phase} ({message}),{paused} paused in its spec, {abort}{seen}"),
        None => format!("{phase},{paused} paused in its spec, {abort}{seen}"),
    }
}

/// Whether the controller did what the command wanted.
fn is_done(kind: CommandKind, rollout: &Value) -> bool {
    let paused = is_true_at(rollout, "/spec/paused");
    match kind {
        CommandKind::Pause => {
            paused && is_observed(rollout) && text_at(rollout, "/status/phase") == Some("Paused")
        }
        // The controller itself writes down when it aborted.
        CommandKind::Rollback => {
            is_true_at(rollout, "/status/abort") && text_at(rollout, "/status/abortedAt").is_some() && !paused
        }
        CommandKind::Resume => !paused && is_observed(rollout) && !is_held_by_an_analysis(rollout),
    }
}

#[async_trait]
impl ReleaseSystem for ArgoRollout {
    fn target(&self) -> &str {
        self.api.target()
    }

    fn can(&self, kind: CommandKind) -> bool {
        match kind {
            CommandKind::Pause | CommandKind::Rollback | CommandKind::Resume => true,
        }
    }

    async fn attempt(&self, order: &CommandOrder, _now: Timestamp) -> Attempt {
        let taken = |answer: String| Attempt::Taken { answer };
        let result = match order.command.kind {
            CommandKind::Pause => self.spec(true).await.map(|_| taken("paused in its spec".to_owned())),
            CommandKind::Resume => self.resume().await.map(taken),
            CommandKind::Rollback => self.abort().await,
        };
        result.unwrap_or_else(Attempt::from)
    }

    fn read_back_interval(&self, _kind: CommandKind) -> Option<Duration> {
        Some(self.interval)
    }

    async fn read_back(&self, order: &CommandOrder, _now: Timestamp) -> ReadBack {
        match self.api.get(&self.rollout).await {
            Ok(rollout) if is_done(order.command.kind, &rollout) => ReadBack::Done,
            Ok(rollout) => ReadBack::NotYet { state: shown(&rollout) },
            Err(error) => error.into(),
        }
    }
}

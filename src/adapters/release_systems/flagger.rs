//! A Canary of Flagger: suspended and let go on by merge patches.
//!
//! Flagger has no call that rolls back; it asks a webhook of type `rollback`
//! whether to. While a Canary is suspended it asks nothing, so a rollback
//! takes the suspension away, and the guardian's hook then says yes.

use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};

use crate::adapters::kubernetes::{Api, ApiError, Object, Patch, ResourceKind, is_true_at, text_at};
use crate::adapters::release_system::{Attempt, CommandOrder, ReadBack, ReleaseSystem};
use crate::domain::Timestamp;
use crate::guard::CommandKind;

/// The kind of object.
pub const CANARIES: ResourceKind = super::resource("flagger.app", "v1beta1", "canaries");

/// One Canary.
pub struct FlaggerCanary {
    api: Api,
    canary: Object,
    interval: Duration,
}

impl FlaggerCanary {
    /// The Canary, and how often it is looked at after a command.
    pub fn new(api: Api, canary: Object, interval: Duration) -> Self {
        Self { api, canary, interval }
    }

    async fn suspend(&self, suspended: bool) -> Result<Value, ApiError> {
        self.api.patch(&self.canary, None, Patch::Merge, &json!({"spec": {"suspend": suspended}})).await
    }

    async fn roll_back(&self) -> Result<Attempt, ApiError> {
        let canary = self.api.get(&self.canary).await?;
        let phase = text_at(&canary, "/status/phase").unwrap_or("without a phase");
        let refused = |reason: String| Ok(Attempt::Refused { reason });
        let Object { name, namespace, .. } = &self.canary;
        if phase == "Failed" {
            return Ok(Attempt::Taken { answer: "Flagger has rolled it back already".to_owned() });
        }
        if matches!(phase, "Promoting" | "Finalising" | "Succeeded") {
            return refused(format!(
                "canary {name} is {phase}: Flagger asks no rollback hook any more; bring the old version back by Git"
            ));
        }
        if !has_rollback_hook(&canary) {
            let kept = if is_true_at(&canary, "/spec/suspend") { "; it stays suspended" } else { "" };
            return refused(format!(
                "canary {name} in namespace {namespace} has no webhook of type rollback that asks the guardian \
                 (../flagger/TOKEN/rollback), so Flagger cannot be told to roll back{kept}"
            ));
        }
        if is_true_at(&canary, "/spec/suspend") {
            self.suspend(false).await?;
            let answer = "no longer suspended, so that Flagger asks the rollback hook".to_owned();
            return Ok(Attempt::Taken { answer });
        }
        Ok(Attempt::Taken { answer: "the rollback hook says yes at Flagger's next check".to_owned() })
    }
}

/// Whether the Canary asks a hook of ours. The address holds the token, so it
/// is looked at and never shown.
fn has_rollback_hook(canary: &Value) -> bool {
    let webhooks = ["/spec/analysis/webhooks", "/spec/canaryAnalysis/webhooks"]
        .iter()
        .filter_map(|pointer| canary.pointer(pointer)?.as_array())
        .flatten();
    webhooks.into_iter().any(|hook| {
        let path = text_at(hook, "/url").unwrap_or_default().split(['?', '#']).next().unwrap_or_default();
        text_at(hook, "/type") == Some("rollback")
            && path.contains("/flagger/")
            && path.trim_end_matches('/').ends_with("/rollback")
    })
}

/// Whether Flagger did what the command wanted.
fn is_done(kind: CommandKind, canary: &Value) -> bool {
    let suspended = is_true_at(canary, "/spec/suspend");
    match kind {
        // Flagger reads the Canary anew at each check: what stands there holds.
        CommandKind::Pause => suspended,
        CommandKind::Resume => !suspended,
        CommandKind::Rollback => text_at(canary, "/status/phase") == Some("Failed"),
    }
}

fn shown(canary: &Value) -> String {
    let phase = text_at(canary, "/status/phase").unwrap_or("without a phase");
    let weight = canary.pointer("/status/canaryWeight").and_then(Value::as_i64);
    let suspended = if is_true_at(canary, "/spec/suspend") { "suspended" } else { "not suspended" };
    match weight {
        Some(weight) => format!("{phase} at weight {weight}, {suspended}"),
        None => format!("{phase}, {suspended}"),
    }
}

#[async_trait]
impl ReleaseSystem for FlaggerCanary {
    fn target(&self) -> &str {
        self.api.target()
    }

    fn can(&self, kind: CommandKind) -> bool {
        match kind {
            CommandKind::Pause | CommandKind::Rollback | CommandKind::Resume => true,
        }
    }

    async fn attempt(&self, order: &CommandOrder, _now: Timestamp) -> Attempt {
        let taken = |answer: &str| Attempt::Taken { answer: answer.to_owned() };
        let result = match order.command.kind {
            CommandKind::Pause => self.suspend(true).await.map(|_| taken("suspended")),
            CommandKind::Resume => self.suspend(false).await.map(|_| taken("no longer suspended")),
            CommandKind::Rollback => self.roll_back().await,
        };
        result.unwrap_or_else(Attempt::from)
    }

    fn read_back_interval(&self, _kind: CommandKind) -> Option<Duration> {
        Some(self.interval)
    }

    async fn read_back(&self, order: &CommandOrder, _now: Timestamp) -> ReadBack {
        match self.api.get(&self.canary).await {
            Ok(canary) if is_done(order.command.kind, &canary) => ReadBack::Done,
            Ok(canary) => ReadBack::NotYet { state: shown(&canary) },
            Err(error) => error.into(),
        }
    }
}

//! A Canary of Flagger: suspended and let go on by merge patches.
//!
//! Flagger has no call that rolls back; it asks a webhook of type `rollback`
//! whether to. While a Canary is suspended it asks nothing, so a rollback
//! takes the suspension away, and the guardian's hook then says yes.

use async_trait::async_trait;
use serde_json::{Value, json};

use crate::adapters::kubernetes::{ApiError, Object, ResourceKind, is_true_at, text_at};
use crate::adapters::release_system::{Attempt, CommandOrder};
use crate::guard::CommandKind;

use super::cluster::{Held, ReleaseKind, taken};

/// A Canary.
pub struct FlaggerCanary;

async fn set_suspended(held: &Held, suspended: bool) -> Result<Value, ApiError> {
    held.set_spec(json!({ "suspend": suspended })).await
}

async fn roll_back(held: &Held) -> Result<Attempt, ApiError> {
    let canary = held.get().await?;
    let phase = text_at(&canary, "/status/phase").unwrap_or("without a phase");
    let refused = |reason: String| Ok(Attempt::Refused { reason });
    let Object { name, namespace, .. } = &held.object;
    if phase == "Failed" {
        return Ok(taken("Flagger has rolled it back already"));
    }
    if matches!(phase, "Promoting" | "Finalising" | "Succeeded") {
        return refused(format!(
            "canary {name} is {phase}: Flagger asks no rollback hook any more; bring the old version back by Git"
        ));
    }
    let suspended = is_true_at(&canary, "/spec/suspend");
    if !has_rollback_hook(&canary) {
        let kept = if suspended { "; it stays suspended" } else { "" };
        return refused(format!(
            "canary {name} in namespace {namespace} has no webhook of type rollback that asks the guardian \
             (../flagger/TOKEN/rollback), so Flagger cannot be told to roll back{kept}"
        ));
    }
    if suspended {
        set_suspended(held, false).await?;
        return Ok(taken("no longer suspended, so that Flagger asks the rollback hook"));
    }
    Ok(taken("the rollback hook says yes at Flagger's next check"))
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

#[async_trait]
impl ReleaseKind for FlaggerCanary {
    const RESOURCE: ResourceKind = super::resource("flagger.app", "v1beta1", "canaries");

    async fn carry_out(held: &Held, order: &CommandOrder) -> Result<Attempt, ApiError> {
        match order.command.kind {
            CommandKind::Pause => set_suspended(held, true).await.map(|_| taken("suspended")),
            CommandKind::Resume => set_suspended(held, false).await.map(|_| taken("no longer suspended")),
            CommandKind::Rollback => roll_back(held).await,
        }
    }

    fn is_done(order: &CommandOrder, canary: &Value) -> bool {
        let suspended = is_true_at(canary, "/spec/suspend");
        match order.command.kind {
            // Flagger reads the Canary anew at each check: what stands there holds.
            CommandKind::Pause => suspended,
            CommandKind::Resume => !suspended,
            CommandKind::Rollback => text_at(canary, "/status/phase") == Some("Failed"),
        }
    }

    fn shown(canary: &Value) -> String {
        let phase = text_at(canary, "/status/phase").unwrap_or("without a phase");
        let weight = canary.pointer("/status/canaryWeight").and_then(Value::as_i64);
        let weight = weight.map(|weight| format!(" at weight {weight}")).unwrap_or_default();
        let suspended = if is_true_at(canary, "/spec/suspend") { "suspended" } else { "not suspended" };
        format!("{phase}{weight}, {suspended}")
    }
}

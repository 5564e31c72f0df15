//! A Rollout of Argo Rollouts: paused, resumed and aborted by merge patches.
//!
//! An abort goes into `status`, which no Git repository holds, so that an
//! automatic sync does not take it back; a pause goes into `spec`.

use async_trait::async_trait;
use serde_json::{Value, json};

use crate::adapters::kubernetes::{ApiError, Object, ResourceKind, is_observed, is_true_at, text_at};
use crate::adapters::release_system::{Attempt, CommandOrder};
use crate::guard::CommandKind;

use super::cluster::{Held, ReleaseKind, lag, taken};

/// The reason of a pause that an analysis without a clear result made.
const INCONCLUSIVE: &str = "InconclusiveAnalysisRun";

/// A Rollout.
pub struct ArgoRollout;

async fn resume(held: &Held) -> Result<Attempt, ApiError> {
    let rollout = held.set_spec(json!({"paused": false})).await?;
    // A pause step that the Rollout's author wrote is not ours to skip.
    if is_held_by_an_analysis(&rollout) {
        held.set_status(json!({"pauseConditions": null})).await?;
        return Ok(taken("no longer paused, and the inconclusive analysis is passed over"));
    }
    Ok(taken("no longer paused"))
}

async fn abort(held: &Held) -> Result<Attempt, ApiError> {
    let rollout = held.get().await?;
    let (stable, current) =
        (text_at(&rollout, "/status/stableRS"), text_at(&rollout, "/status/currentPodHash"));
    if stable.is_some_and(|hash| !hash.is_empty())
        && stable == current
        && !is_true_at(&rollout, "/status/abort")
    {
        let Object { name, namespace, .. } = &held.object;
        let reason = format!(
            "rollout {name} is fully promoted, so there is nothing to abort; bring the old version back by hand: \
             kubectl argo rollouts undo {name} -n {namespace}, or by Git"
        );
        return Ok(Attempt::Refused { reason });
    }
    held.set_status(json!({"abort": true})).await?;
    if is_true_at(&rollout, "/spec/paused") {
        // The controller does not finish the abort of a Rollout that stands
        // paused; aborted first, it cannot go forward.
        held.set_spec(json!({"paused": false})).await?;
        return Ok(taken("aborted, and no longer paused so that it takes effect"));
    }
    Ok(taken("aborted"))
}

fn is_held_by_an_analysis(rollout: &Value) -> bool {
    let conditions = rollout.pointer("/status/pauseConditions").and_then(Value::as_array);
    conditions.is_some_and(|conditions| {
        conditions.iter().any(|condition| text_at(condition, "/reason") == Some(INCONCLUSIVE))
    })
}

#[async_trait]
impl ReleaseKind for ArgoRollout {
    const RESOURCE: ResourceKind = super::resource("argoproj.io", "v1alpha1", "rollouts");

    async fn carry_out(held: &Held, order: &CommandOrder) -> Result<Attempt, ApiError> {
        match order.command.kind {
            CommandKind::Pause => {
                held.set_spec(json!({"paused": true})).await.map(|_| taken("paused in its spec"))
            }
            CommandKind::Resume => resume(held).await,
            CommandKind::Rollback => abort(held).await,
        }
    }

    fn is_done(order: &CommandOrder, rollout: &Value) -> bool {
        let paused = is_true_at(rollout, "/spec/paused");
        match order.command.kind {
            CommandKind::Pause => {
                paused && is_observed(rollout) && text_at(rollout, "/status/phase") == Some("Paused")
            }
            // The controller itself writes down when it aborted.
            CommandKind::Rollback => {
                is_true_at(rollout, "/status/abort")
                    && text_at(rollout, "/status/abortedAt").is_some()
                    && !paused
            }
            CommandKind::Resume => !paused && is_observed(rollout) && !is_held_by_an_analysis(rollout),
        }
    }

    fn shown(rollout: &Value) -> String {
        let phase = text_at(rollout, "/status/phase").unwrap_or("without a phase");
        let message = text_at(rollout, "/status/message").filter(|message| !message.is_empty());
        let message = message.map(|message| format!(" ({message})")).unwrap_or_default();
        let paused = if is_true_at(rollout, "/spec/paused") { "" } else { " not" };
        let abort = if is_true_at(rollout, "/status/abort") { "aborted" } else { "not aborted" };
        format!("{phase}{message},{paused} paused in its spec, {abort}{}", lag(rollout))
    }
}

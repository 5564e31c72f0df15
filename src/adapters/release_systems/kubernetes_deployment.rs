//! A Deployment of Kubernetes: paused, resumed, and undone, which gives it the
//! pod template of the ReplicaSet before.
//!
//! An undo must take effect once: it gives the old ReplicaSet the newest
//! revision, so that a second undo would bring the bad version back. It marks
//! the Deployment with the command's id, in the same patch.

use async_trait::async_trait;
use serde_json::{Value, json};

use crate::adapters::kubernetes::{ApiError, Object, Patch, ResourceKind, is_observed, is_true_at, text_at};
use crate::adapters::release_system::{Attempt, CommandOrder};
use crate::domain::CommandId;
use crate::guard::CommandKind;

use super::cluster::{Held, ReleaseKind, lag, taken};

const REPLICA_SETS: ResourceKind = super::resource("apps", "v1", "replicasets");

/// As JSON pointers write them: `/` is `~1`.
const REVISION: &str = "/metadata/annotations/deployment.kubernetes.io~1revision";
const UNDONE_BY: &str = "/metadata/annotations/release-guardian~1undone-by";
/// The label that the controller adds to the templates of ReplicaSets.
const TEMPLATE_HASH: &str = "pod-template-hash";
/// A Deployment.
pub struct KubernetesDeployment;

async fn undo(held: &Held, command: &CommandId) -> Result<Attempt, ApiError> {
    let deployment = held.get().await?;
    if text_at(&deployment, UNDONE_BY) == Some(command.as_str()) {
        return Ok(taken("it was undone before by this command"));
    }
    let (revision, template) = match earlier(held, &deployment).await? {
        Ok(earlier) => earlier,
        Err(reason) => return Ok(Attempt::Refused { reason }),
    };
    // The patch names the version that was read: on a conflict it is prepared
    // anew.
    let patch = undo_patch(&deployment, template, command);
    held.api.patch(&held.object, None, Patch::Json, &patch).await?;
    Ok(taken(format!("given the template of revision {revision}")))
}

/// The revision before the one that runs, and its template; or why there
/// is none.
async fn earlier(held: &Held, deployment: &Value) -> Result<Result<(i64, Value), String>, ApiError> {
    let Object { name, namespace, .. } = &held.object;
    let (Some(current), Some(uid)) = (revision(deployment), text_at(deployment, "/metadata/uid")) else {
        return Ok(Err(format!("deployment {name} has no revision yet, so there is none before it")));
    };
    let labels = label_selector(deployment);
    let sets = held.api.list(REPLICA_SETS, namespace, &labels).await?;
    let earlier = sets
        .into_iter()
        .filter(|set| is_owned_by(set, uid))
        .filter_map(|set| Some((revision(&set)?, set)))
        .filter(|(revision, _)| *revision < current)
        .max_by_key(|(revision, _)| *revision);
    let Some((revision, mut set)) = earlier else {
        return Ok(Err(format!(
            "deployment {name} has no ReplicaSet of a revision before {current} \
             (spec.revisionHistoryLimit may be 0); deploy the old version by hand"
        )));
    };
    let Some(mut template) = set.pointer_mut("/spec/template").map(Value::take) else {
        return Ok(Err(format!("the ReplicaSet of revision {revision} has no template")));
    };
    if let Some(labels) = template.pointer_mut("/metadata/labels").and_then(Value::as_object_mut) {
        labels.remove(TEMPLATE_HASH);
    }
    Ok(Ok((revision, template)))
}

/// One patch: the template, no longer paused so that it is rolled out, and
/// the mark; only on the version that was read.
fn undo_patch(deployment: &Value, template: Value, command: &CommandId) -> Value {
    json!([
        {"op": "replace", "path": "/metadata/resourceVersion", "value": deployment.pointer("/metadata/resourceVersion")},
        {"op": "replace", "path": "/spec/template", "value": template},
        {"op": "add", "path": "/spec/paused", "value": false},
        {"op": "add", "path": UNDONE_BY, "value": command.as_str()},
    ])
}

fn revision(object: &Value) -> Option<i64> {
    text_at(object, REVISION)?.parse().ok()
}

fn is_owned_by(set: &Value, uid: &str) -> bool {
    let owners = set.pointer("/metadata/ownerReferences").and_then(Value::as_array);
    owners.is_some_and(|owners| {
        owners.iter().any(|owner| text_at(owner, "/uid") == Some(uid) && is_true_at(owner, "/controller"))
    })
}

/// The Deployment's selector as a query writes it.
fn label_selector(deployment: &Value) -> String {
    let mut parts = Vec::new();
    if let Some(labels) = deployment.pointer("/spec/selector/matchLabels").and_then(Value::as_object) {
        parts.extend(labels.iter().filter_map(|(key, value)| Some(format!("{key}={}", value.as_str()?))));
    }
    let expressions = deployment.pointer("/spec/selector/matchExpressions").and_then(Value::as_array);
    for expression in expressions.into_iter().flatten() {
        let Some(key) = text_at(expression, "/key") else { continue };
        let values = expression.pointer("/values").and_then(Value::as_array);
        let values: Vec<&str> = values.into_iter().flatten().filter_map(Value::as_str).collect();
        parts.extend(match text_at(expression, "/operator") {
            Some("In") => Some(format!("{key} in ({})", values.join(","))),
            Some("NotIn") => Some(format!("{key} notin ({})", values.join(","))),
            Some("Exists") => Some(key.to_owned()),
            Some("DoesNotExist") => Some(format!("!{key}")),
            // An operator of later times: the owner tells them apart as well.
            Some(_) | None => None,
        });
    }
    parts.join(",")
}

/// Replicas of the spec, of the status, updated, available.
fn replicas(deployment: &Value) -> [i64; 4] {
    let number = |pointer: &str| deployment.pointer(pointer).and_then(Value::as_i64);
    [
        number("/spec/replicas").unwrap_or(1),
        number("/status/replicas").unwrap_or(0),
        number("/status/updatedReplicas").unwrap_or(0),
        number("/status/availableReplicas").unwrap_or(0),
    ]
}

#[async_trait]
impl ReleaseKind for KubernetesDeployment {
    const RESOURCE: ResourceKind = super::resource("apps", "v1", "deployments");

    async fn carry_out(held: &Held, order: &CommandOrder) -> Result<Attempt, ApiError> {
        match order.command.kind {
            CommandKind::Pause => held.set_spec(json!({"paused": true})).await.map(|_| taken("paused")),
            CommandKind::Resume => {
                held.set_spec(json!({"paused": false})).await.map(|_| taken("no longer paused"))
            }
            CommandKind::Rollback => undo(held, &order.command.id).await,
        }
    }

    fn is_done(order: &CommandOrder, deployment: &Value) -> bool {
        let paused = is_true_at(deployment, "/spec/paused");
        match order.command.kind {
            CommandKind::Pause => paused && is_observed(deployment),
            CommandKind::Resume => !paused && is_observed(deployment),
            CommandKind::Rollback => {
                let [wanted, all, updated, available] = replicas(deployment);
                text_at(deployment, UNDONE_BY) == Some(order.command.id.as_str())
                    && !paused
                    && is_observed(deployment)
                    && (updated, all) == (wanted, wanted)
                    && available >= wanted
            }
        }
    }

    fn shown(deployment: &Value) -> String {
        let paused = if is_true_at(deployment, "/spec/paused") { "paused" } else { "not paused" };
        let [wanted, all, updated, available] = replicas(deployment);
        format!(
            "{paused}, of {wanted} replicas {updated} updated and {available} available, {all} in all{}",
            lag(deployment)
        )
    }
}

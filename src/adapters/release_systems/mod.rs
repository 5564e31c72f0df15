//! Systems that carry out commands, one file each. A new one is a file here,
//! a variant in the settings, and a test; what those in a Kubernetes cluster
//! have in common is in [`cluster`].

pub mod argo_rollouts;
pub mod cluster;
pub mod flagger;
pub mod kubernetes_deployment;
pub mod webhook;

use std::sync::Arc;

use crate::adapters::kubernetes::{Api, ApiSetupError, ResourceKind};
use crate::adapters::release_system::ReleaseSystem;
use crate::config::{KubernetesObject, ReleaseSystem as Settings, ReleaseSystemKind, Surroundings};
use crate::domain::ApplicationName;

use argo_rollouts::ArgoRollout;
use cluster::{InCluster, ReleaseKind};
use flagger::FlaggerCanary;
use kubernetes_deployment::KubernetesDeployment;
use webhook::{Webhook, WebhookError};

/// Why a release system cannot be used as it is configured.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// One that takes HTTP requests.
    #[error(transparent)]
    Webhook(#[from] WebhookError),
    /// One in a Kubernetes cluster.
    #[error("the release system of {application} cannot be used")]
    Kubernetes {
        /// Whose.
        application: ApplicationName,
        /// Why.
        #[source]
        source: ApiSetupError,
    },
}

/// Makes ready the release system of an application.
///
/// # Errors
/// If a secret, a certificate or the cluster cannot be had.
pub fn open(
    settings: &Settings,
    application: &ApplicationName,
    surroundings: &dyn Surroundings,
) -> Result<Arc<dyn ReleaseSystem>, OpenError> {
    let opened = |result: Result<Arc<dyn ReleaseSystem>, ApiSetupError>| {
        result.map_err(|source| OpenError::Kubernetes { application: application.clone(), source })
    };
    match &settings.kind {
        ReleaseSystemKind::Webhook(webhook) => Ok(Arc::new(Webhook::new(webhook, surroundings)?)),
        ReleaseSystemKind::Flagger(canary) => {
            opened(in_cluster::<FlaggerCanary>(canary, application, surroundings))
        }
        ReleaseSystemKind::ArgoRollouts(rollout) => {
            opened(in_cluster::<ArgoRollout>(rollout, application, surroundings))
        }
        ReleaseSystemKind::KubernetesDeployment(deployment) => {
            opened(in_cluster::<KubernetesDeployment>(deployment, application, surroundings))
        }
    }
}

/// An object has the application's name unless the settings give it another.
fn in_cluster<K: ReleaseKind>(
    object: &KubernetesObject,
    application: &ApplicationName,
    surroundings: &dyn Surroundings,
) -> Result<Arc<dyn ReleaseSystem>, ApiSetupError> {
    let api = Api::new(&object.api, surroundings)?;
    let name = object.name.clone().unwrap_or_else(|| application.to_string());
    Ok(Arc::new(InCluster::<K>::new(api, object.namespace.clone(), name, object.interval)))
}

/// A kind of the group that it belongs to.
const fn resource(group: &'static str, version: &'static str, plural: &'static str) -> ResourceKind {
    ResourceKind { group, version, plural }
}

//! Systems that carry out commands, one file each. A new one is a file here,
//! a variant in the settings, and a test.

pub mod argo_rollouts;
pub mod flagger;
pub mod kubernetes_deployment;
pub mod webhook;

use std::sync::Arc;

use crate::adapters::kubernetes::{Api, ApiSetupError, Object, ResourceKind};
use crate::adapters::release_system::ReleaseSystem;
use crate::config::{KubernetesObject, ReleaseSystem as Settings, ReleaseSystemKind, Surroundings};
use crate::domain::ApplicationName;

use argo_rollouts::ArgoRollout;
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
    let kubernetes = |object: &KubernetesObject, kind| {
        let source = Api::new(&object.api, surroundings);
        let api =
            source.map_err(|source| OpenError::Kubernetes { application: application.clone(), source })?;
        let name = object.name.clone().unwrap_or_else(|| application.to_string());
        let object = Object { kind, namespace: object.namespace.clone(), name };
        Ok::<_, OpenError>((api, object))
    };
    Ok(match &settings.kind {
        ReleaseSystemKind::Webhook(webhook) => Arc::new(Webhook::new(webhook, surroundings)?),
        ReleaseSystemKind::Flagger(canary) => {
            let (api, object) = kubernetes(canary, flagger::CANARIES)?;
            Arc::new(FlaggerCanary::new(api, object, canary.interval))
        }
        ReleaseSystemKind::ArgoRollouts(rollout) => {
            let (api, object) = kubernetes(rollout, argo_rollouts::ROLLOUTS)?;
            Arc::new(ArgoRollout::new(api, object, rollout.interval))
        }
        ReleaseSystemKind::KubernetesDeployment(deployment) => {
            let (api, object) = kubernetes(deployment, kubernetes_deployment::DEPLOYMENTS)?;
            Arc::new(KubernetesDeployment::new(api, object, deployment.interval))
        }
    })
}

/// A kind of the group that it belongs to.
const fn resource(group: &'static str, version: &'static str, plural: &'static str) -> ResourceKind {
    ResourceKind { group, version, plural }
}

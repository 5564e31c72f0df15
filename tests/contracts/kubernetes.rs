//! Kubernetes Deployments: paused, resumed, undone.

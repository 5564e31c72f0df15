//! Argo Rollouts: the answer of its `web` metric, and a Rollout that is paused, resumed, aborted.

//! The systems that the guardian plugs into, against servers that behave as
//! the real ones are documented to: paths, status codes, content types,
//! conflicts, missing rights, late and missing effects.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should say where")]
#![allow(dead_code, reason = "the helpers are shared with the tests of the daemon, which use more of them")]

#[path = "daemon/guardian.rs"]
mod guardian;
#[path = "common/ports.rs"]
mod ports;
#[path = "daemon/servers.rs"]
mod servers;

#[path = "contracts/cluster.rs"]
mod cluster;

#[path = "contracts/argo.rs"]
mod argo;
#[path = "contracts/flagger.rs"]
mod flagger;
#[path = "contracts/kubernetes.rs"]
mod kubernetes;

//! An unattended release guardian: it watches every rollout of a service,
//! compares the machines that got the new version with those that did not,
//! and pauses or rolls back a bad release, saying why.
//!
//! The rings point one way: `domain <- signal <- judge <- guard <- adapters
//! <- app`; `simulate` stands beside `signal`, `learn` beside `judge`,
//! `config` beside `guard`. `domain`, `signal`, `judge` and `guard` read no
//! clock, no file, no socket and no random source, and never await: time is
//! an argument, and the same engine runs live, in replay and in simulation.

pub mod adapters;
pub mod app;
pub mod config;
pub mod domain;
pub mod guard;
pub mod judge;
pub mod learn;
pub mod signal;
pub mod simulate;

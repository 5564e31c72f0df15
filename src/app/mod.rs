//! Wiring and loops: one file for each subcommand, one for the daemon.

pub mod calibrate;
pub mod check;
pub mod compare;
pub mod connection;
pub mod demo;
pub mod discover;
pub mod feedback;
pub mod figures;
pub mod guardian;
pub mod import;
pub mod notify;
pub mod people;
pub mod probe;
mod readiness;
pub mod record;
pub mod replay;
mod replay_looks;
mod replay_order;
pub mod replay_report;
pub mod report;
pub mod serve;
pub mod simulate;
pub mod train;
mod train_report;

//! Verdicts over time in, decisions and commands out. Deciding and acting are
//! never one function: this ring returns effects, the adapters carry them out.

mod assign;
mod command;
mod decision;
pub mod engine;
mod episode;
pub mod freeze;
pub mod policy;
#[cfg(test)]
mod tests;

pub use command::{Command, CommandKind, Settlement};
pub use decision::{Action, Decider, Decision, Mode};
pub use engine::{ChartLine, Engine, EngineSettings};
pub use episode::{Control, EpisodeSnapshot};

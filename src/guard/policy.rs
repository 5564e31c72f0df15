//! What policy allows, per application: checked values, no parsing.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Mode;

/// Everything that decides what is made of the verdicts on one application's
/// releases.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// How far the guardian may go.
    pub mode: Mode,
    /// Whether it may roll back; otherwise a pause is the most it does.
    pub may_roll_back: bool,
    /// How long a pause must stand, with the fault still there, before it is
    /// escalated to a rollback.
    pub rollback_after: Duration,
    /// Of the last `checks` looks, so many must be failing before it acts.
    pub confirm_checks: u32,
    /// See `confirm_checks`.
    pub checks: u32,
    /// How long the newest batch must be judged with nothing failing before
    /// a gate passes, beside `checks` looks.
    pub pass_after: Duration,
    /// After an operator handed back, or a command failed, how long nothing is
    /// stopped again.
    pub cool_down: Duration,
    /// How long a finished release is watched on.
    pub watch_after_finish: Duration,
    /// How long nothing can be judged before people are told and
    /// `when_blind` is done.
    pub blind_after: Duration,
    /// What is done about a release that cannot be judged.
    pub when_blind: WhenBlind,
    /// The error budget: how many of a thousand good releases may be stopped.
    pub false_stops_per_1000: f64,
    /// How long a command is retried before people are told.
    pub command_deadline: Duration,
    /// By rule name, where it differs from `enforce`.
    pub rule_modes: BTreeMap<String, RuleMode>,
}

/// What is done about a release that cannot be judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhenBlind {
    /// Nothing is sent; gates answer `inconclusive`, which holds a pipeline
    /// that asks.
    #[default]
    Hold,
    /// The release system is told to pause.
    Pause,
    /// Gates answer `pass`; people are told all the same.
    Proceed,
}

/// How far one rule may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RuleMode {
    /// Not looked at.
    Off,
    /// Looked at and shown, never acts and never masks another.
    Trial,
    /// Counts.
    #[default]
    Enforce,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            mode: Mode::Advise,
            may_roll_back: true,
            rollback_after: Duration::from_secs(60),
            confirm_checks: 2,
            checks: 3,
            pass_after: Duration::from_secs(60),
            cool_down: Duration::from_secs(300),
            watch_after_finish: Duration::from_secs(600),
            blind_after: Duration::from_secs(180),
            when_blind: WhenBlind::Hold,
            false_stops_per_1000: 5.0,
            command_deadline: Duration::from_secs(300),
            rule_modes: BTreeMap::new(),
        }
    }
}

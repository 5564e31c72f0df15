//! What one detector says of one signal.

use serde::{Deserialize, Serialize};

use crate::domain::{InstanceId, Timestamp};
use crate::signal::{SignalClass, Unit};

/// How grave a finding or verdict is, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Judged, and nothing is wrong.
    Healthy,
    /// Could not be judged.
    Unknown,
    /// Deviates, but not enough to act.
    Suspect,
    /// Deviates enough to act.
    Failing,
}

/// Which of the three kinds of detector speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Detector {
    /// A rule: a threshold, a crash loop, silence.
    Rule,
    /// The funnel of statistical tests.
    Funnel,
    /// The trained model.
    Model,
}

/// One detector's word on one signal, with the evidence and a sentence that a
/// tired operator understands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// The signal's name, with its segment: `error ratio of /cart`.
    pub signal: String,
    /// What kind of signal.
    pub class: SignalClass,
    /// Who speaks.
    pub detector: Detector,
    /// The rule or test within the detector: `error_burst`, `shift`.
    pub test: String,
    /// How grave.
    pub outcome: Outcome,
    /// The released instances that show it.
    pub instances: Vec<InstanceId>,
    /// The sentence.
    pub because: String,
    /// The release group before its batches.
    pub release_before: Option<f64>,
    /// The release group now.
    pub release_after: Option<f64>,
    /// The reference group before.
    pub reference_before: Option<f64>,
    /// The reference group now.
    pub reference_after: Option<f64>,
    /// The unit of the four values.
    pub unit: Unit,
    /// The deviation in units of the noise; for rules in units of the limit.
    pub strength: f64,
    /// Since when it deviates.
    pub since: Option<Timestamp>,
    /// A finding on trial is shown and never acts.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub on_trial: bool,
}

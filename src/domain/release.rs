//! One rollout of a version, and what became of it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{ApplicationName, InstanceId, MetricFamily, ReleaseId, ReleaseKey, Selector, Timestamp, Version};

/// The one format number of recordings that this program reads and writes.
pub const RECORDING_FORMAT: u32 = 1;

/// The order to release: what, when, which machines. The same fields are a
/// recording's `release.json` and the body of `POST /releases`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReleaseOrder {
    /// The recording format; other numbers are refused.
    pub format: u32,
    /// The release order's id.
    pub id: ReleaseId,
    /// Whose release.
    pub application: ApplicationName,
    /// The version that is rolled out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<Version>,
    /// The version that it replaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_version: Option<Version>,
    /// When the release began.
    pub started_at: Timestamp,
    /// When it ended, once known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Timestamp>,
    /// In order; an instance belongs to the reference group until its batch
    /// starts.
    #[serde(default)]
    pub batches: Vec<Batch>,
    /// Those that keep the old version throughout.
    #[serde(default)]
    pub reference: Vec<InstanceId>,
    /// How the groups are told apart where no machines are listed. Batches and
    /// reference then hold whom it was found to select.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub groups: Option<GroupSelectors>,
    /// What is known of the metrics.
    #[serde(default)]
    pub metrics: Vec<MetricFamily>,
    /// Alerts from outside.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alerts: Vec<Alert>,
    /// Fields that this program does not know; kept and passed over.
    #[serde(flatten)]
    pub other: BTreeMap<String, serde_json::Value>,
}

impl ReleaseOrder {
    /// The release's key among all applications.
    pub fn key(&self) -> ReleaseKey {
        ReleaseKey { application: self.application.clone(), id: self.id.clone() }
    }
}

/// Which labels tell the groups of a release apart. An instance belongs to the
/// release group while the first holds, else to the reference group while the
/// second does, else to none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupSelectors {
    /// What runs the new version: `{version="2.4.1"}`.
    pub release: Selector,
    /// What it is compared with: `{version!="2.4.1"}`.
    pub reference: Selector,
    /// Where the labels stand at the series and not at the targets: a label
    /// whose values count as instances too, such as a region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_label: Option<String>,
}

impl GroupSelectors {
    /// The labels that they look at, each once.
    pub fn labels(&self) -> BTreeSet<&str> {
        let both = self.release.matchers.iter().chain(&self.reference.matchers);
        both.map(|matcher| matcher.label()).collect()
    }

    /// The group of an instance with these labels.
    pub fn group<'a>(&self, label: impl Fn(&str) -> Option<&'a str>) -> Option<Group> {
        if self.release.holds(&label) {
            return Some(Group::Release);
        }
        self.reference.holds(&label).then_some(Group::Reference)
    }
}

/// Machines that get the new version together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Batch {
    /// When the first of them stops serving the old version.
    pub started_at: Timestamp,
    /// Which machines.
    pub instances: Vec<InstanceId>,
    /// Expected traffic of one released instance in units of one reference
    /// instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<f64>,
}

/// Which group an instance belongs to at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Group {
    /// Runs the new version.
    Release,
    /// Does not run it, or not yet.
    Reference,
}

/// An alert from outside that names the application or its instances.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// The alert's name.
    pub name: String,
    /// Its labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Since when it fires.
    pub starts_at: Timestamp,
    /// Until when it fired; absent while it fires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends_at: Option<Timestamp>,
}

/// What became of a release: a recording's `label.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Label {
    /// Faulty or healthy.
    pub outcome: LabelOutcome,
    /// When the fault began to show.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub onset: Option<Timestamp>,
    /// What was wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// Who says so.
    pub source: LabelSource,
    /// Fields that this program does not know; kept and passed over.
    #[serde(flatten)]
    pub other: BTreeMap<String, serde_json::Value>,
}

/// Whether a release was faulty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LabelOutcome {
    /// The release was at fault.
    Faulty,
    /// It was not.
    Healthy,
}

/// Who says what became of a release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LabelSource {
    /// A person.
    Operator,
    /// Whoever made the fault.
    Injected,
    /// The guardian's own settled rollback, until a person says otherwise.
    Rollback,
    /// Data from elsewhere.
    Import,
}

/// An operator's word on a release. Stored append-only; the last one counts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Feedback {
    /// Which release.
    pub release: ReleaseKey,
    /// What they say.
    pub kind: FeedbackKind,
    /// When the fault began to show, if they know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub onset: Option<Timestamp>,
    /// In their words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// Who said it.
    pub by: String,
    /// When they said it.
    pub at: Timestamp,
}

/// What an operator can say of a release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FeedbackKind {
    /// The guardian stopped it, and was right.
    FaultConfirmed,
    /// The guardian stopped it, and was wrong.
    FalseAlarm,
    /// The guardian let it pass, and was wrong.
    FaultMissed,
}

impl FeedbackKind {
    /// What the release was, by this word.
    pub fn outcome(self) -> LabelOutcome {
        match self {
            Self::FaultConfirmed | Self::FaultMissed => LabelOutcome::Faulty,
            Self::FalseAlarm => LabelOutcome::Healthy,
        }
    }
}

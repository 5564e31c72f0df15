//! What the daemon answers: plain data, as the HTTP interface writes it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::domain::{
    ApplicationName, Feedback, InstanceId, LabelOutcome, ReleaseId, ReleaseKey, ReleaseOrder, Timestamp,
    Version,
};
use crate::guard::engine::{NoticeKind, Phase};
use crate::guard::{Action, Command, Decision, Mode, Settlement};
use crate::judge::{Outcome, Verdict, WarmUp};
use crate::signal::{Inventory, Unit};

/// A release is being watched.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Begun {
    /// Which.
    pub release: ReleaseKey,
    /// False when the same order was sent before: nothing was done again.
    pub created: bool,
    /// Where it stands.
    pub phase: Phase,
    /// How the application was integrated, if nobody configured it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub integrated: Option<String>,
    /// What could be better: instances without a target, metrics without a
    /// type. The release is watched all the same.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// A change was taken and stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taken {
    /// Where the release stands now; absent where the change is about none.
    pub phase: Option<Phase>,
    /// False when the same call was made before under the same key, or
    /// nothing had to be changed.
    pub changed: bool,
    /// A sentence on what happens next.
    pub text: String,
    /// What the caller should know, such as machines that nobody has seen.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// Which releases are listed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseFilter {
    /// Only of this application.
    #[serde(default)]
    pub application: Option<ApplicationName>,
    /// Only those still watched (true), or over (false).
    #[serde(default)]
    pub watched: Option<bool>,
    /// Only those that began before: the `next_before` of the page before.
    #[serde(default)]
    pub before: Option<Timestamp>,
    /// At most so many, 1 to 500; 100 if absent.
    #[serde(default)]
    pub limit: Option<u32>,
}

/// A page of releases, newest first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReleasePage {
    /// The releases.
    pub releases: Vec<ReleaseSummary>,
    /// Where the next page begins; absent on the last one.
    pub next_before: Option<Timestamp>,
}

/// One line about a release.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReleaseSummary {
    /// Whose.
    pub application: ApplicationName,
    /// Its id.
    pub id: ReleaseId,
    /// What is rolled out.
    pub version: Option<Version>,
    /// What it replaces.
    pub previous_version: Option<Version>,
    /// When it began.
    pub started_at: Timestamp,
    /// When its watch ended.
    pub ended_at: Option<Timestamp>,
    /// Where it stands.
    pub phase: Phase,
    /// How far the guardian may go.
    pub mode: Mode,
    /// Of the newest verdict; absent before the first.
    pub outcome: Option<Outcome>,
    /// Of the newest verdict; absent before the first.
    pub probability: Option<f64>,
    /// The gravest action that was decided.
    pub gravest: Action,
    /// Why, as the newest decision says it.
    pub because: Option<String>,
    /// What it was, by feedback or a settled rollback.
    pub label: Option<LabelOutcome>,
    /// Whether an operator holds the guardian's hands off.
    pub held_by: Option<String>,
}

/// Everything about one release.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReleaseDetail {
    /// The line in the list.
    pub summary: ReleaseSummary,
    /// The order with its batches so far.
    pub order: ReleaseOrder,
    /// The newest verdict: findings, what is blind, similar cases.
    pub verdict: Option<Verdict>,
    /// All decisions, oldest first, with their reasons.
    pub decisions: Vec<Decision>,
    /// All commands, oldest first.
    pub commands: Vec<CommandRecord>,
    /// All feedback, oldest first; the last one counts.
    pub feedback: Vec<Feedback>,
    /// Who did what, oldest first.
    pub audit: Vec<AuditLine>,
    /// Both groups' values of the signals that matter, for charts.
    pub evidence: Vec<EvidenceSeries>,
    /// The folder of its recording, once it was written.
    pub recording: Option<String>,
}

/// A command with what became of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CommandRecord {
    /// What was ordered.
    pub command: Command,
    /// How it ended; absent while it is under way.
    pub settlement: Option<Settlement>,
    /// When it ended.
    pub settled_at: Option<Timestamp>,
    /// Every attempt, oldest first; of many only the newest 100.
    pub attempts: Vec<CommandAttempt>,
}

/// One attempt to deliver a command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandAttempt {
    /// When.
    pub at: Timestamp,
    /// What came of it: `HTTP status 503`, `connection refused`.
    pub result: String,
}

/// One line of the audit; append-only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditLine {
    /// When.
    pub at: Timestamp,
    /// Who: a person, a token, or `guardian`.
    pub who: String,
    /// What, as a sentence.
    pub text: String,
}

/// One signal's values over time, both groups, for a chart.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EvidenceSeries {
    /// The signal with its segment.
    pub signal: String,
    /// The values' unit.
    pub unit: Unit,
    /// Whether a finding of the newest verdict or of a decision is about it.
    pub suspect: bool,
    /// Oldest first.
    pub points: Vec<EvidencePoint>,
}

/// Both groups at one moment: middle, lowest and highest of the instances.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EvidencePoint {
    /// When.
    pub at: Timestamp,
    /// The release group; before its batches the same instances.
    pub release: Option<f64>,
    /// Lowest and highest of its instances, where there are several.
    pub release_range: Option<(f64, f64)>,
    /// The reference group.
    pub reference: Option<f64>,
    /// Lowest and highest of its instances, where there are several.
    pub reference_range: Option<(f64, f64)>,
}

/// What a gate says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GateWord {
    /// Go on.
    Pass,
    /// Not enough was seen yet; ask again.
    Pending,
    /// Stop where it is.
    Pause,
    /// Bring the old version back.
    Rollback,
    /// It cannot be judged; policy says to hold.
    Inconclusive,
}

impl GateWord {
    /// The word in the interface.
    pub fn word(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Pending => "pending",
            Self::Pause => "pause",
            Self::Rollback => "rollback",
            Self::Inconclusive => "inconclusive",
        }
    }
}

/// The answer to a pipeline that asks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Gate {
    /// The word.
    pub verdict: GateWord,
    /// Why, as a sentence.
    pub reason: String,
    /// The probability that the release is faulty; absent before the first
    /// verdict.
    pub probability: Option<f64>,
    /// Where it stands.
    pub phase: Phase,
    /// The moment of the verdict behind it.
    pub at: Option<Timestamp>,
}

/// How good the guardian was, from feedback.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Quality {
    /// All applications together.
    pub all: QualityCounts,
    /// By application.
    pub applications: Vec<(ApplicationName, QualityCounts)>,
    /// By calendar month in UTC, oldest first; of the application asked for,
    /// or of all.
    pub over_time: Vec<QualityPeriod>,
}

/// The quality in one period.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct QualityPeriod {
    /// Its first moment.
    pub from: Timestamp,
    /// What was counted in it.
    pub counts: QualityCounts,
}

/// Releases counted by what they were and what was done. A rollback that
/// settled counts as a confirmed fault until somebody says otherwise; a pause
/// without a word is unknown, and so is what was not judged to its end; a
/// release that was let pass without a word is taken as good.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct QualityCounts {
    /// Watched to their end.
    pub releases: u32,
    /// Stopped, and faulty.
    pub caught: u32,
    /// Stopped, and not faulty.
    pub false_stops: u32,
    /// Let pass, and faulty.
    pub missed: u32,
    /// Stopped, or never judged to its end, and nobody said a word.
    pub unknown: u32,
    /// Let pass, and good.
    pub passed: u32,
    /// `caught / (caught + missed)`; absent without either.
    pub recall: Option<f64>,
    /// `caught / (caught + false_stops)`; absent without either.
    pub precision: Option<f64>,
    /// `false_stops / (false_stops + passed)`; absent without either.
    pub false_stops_per_good: Option<f64>,
    /// Median seconds from the onset, where an operator named one, else from
    /// the release's begin, to the first stop of what was caught.
    pub median_delay_seconds: Option<f64>,
}

/// An application as the guardian sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ApplicationState {
    /// Its name.
    pub name: ApplicationName,
    /// Whether somebody configured it, or it was found by its targets.
    pub configured: bool,
    /// Whether a release of it can be watched.
    pub ready: bool,
    /// What is missing if not.
    pub missing: Vec<MissingSetting>,
    /// What would let it be watched better.
    pub recommended: Vec<MissingSetting>,
    /// The signals that are judged.
    pub inventory: Arc<Inventory>,
    /// How far the guardian may go.
    pub mode: Mode,
    /// Instances that are known.
    pub instances: Vec<InstanceId>,
    /// Of these, how many answered the last scrape completely.
    pub instances_up: u32,
    /// How long its young processes may move signals that warm, for the next
    /// release: as its earlier good releases showed, or the default.
    pub warm_up: WarmUp,
    /// The release that is being watched.
    pub watching: Option<ReleaseId>,
    /// What is wrong with its sources, its instances or its release system, in sentences.
    pub troubles: Vec<String>,
}

/// A setting that is missing, and what it is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MissingSetting {
    /// Its name in the settings file: `applications.shop.targets`.
    pub setting: String,
    /// Why it is needed and what to write.
    pub why: String,
}

/// Whether all commands are halted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HaltState {
    /// Whether.
    pub on: bool,
    /// Who switched it last.
    pub by: Option<String>,
    /// Why.
    pub reason: Option<String>,
    /// When.
    pub since: Option<Timestamp>,
}

/// Whether the daemon can do its work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Readiness {
    /// Whether.
    pub ready: bool,
    /// What prevents it, or is in trouble, in sentences.
    pub troubles: Vec<String>,
}

/// Something happened to a release, for pages that follow it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Counts the events of this run of the daemon from 1.
    pub sequence: u64,
    /// Which release.
    pub release: ReleaseKey,
    /// When.
    pub at: Timestamp,
    /// What.
    #[serde(flatten)]
    pub kind: EventKind,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "event")]
pub enum EventKind {
    /// It stands elsewhere than before.
    Phase {
        /// Where.
        phase: Phase,
    },
    /// A new verdict. Findings are in the release's detail.
    Verdict {
        /// The gravest outcome.
        outcome: Outcome,
        /// That it is faulty.
        probability: f64,
        /// How many findings are more than healthy.
        findings: u32,
    },
    /// A decision was stored.
    Decision {
        /// The decision with its reasons.
        decision: Box<Decision>,
    },
    /// A command was ordered, tried or settled.
    Command {
        /// As it stands.
        record: Box<CommandRecord>,
    },
    /// People were told something.
    Notice {
        /// Its kind.
        kind: NoticeKind,
        /// The sentence.
        text: String,
    },
    /// An operator said what it was.
    Feedback {
        /// Their word.
        feedback: Box<Feedback>,
    },
}

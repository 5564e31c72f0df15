//! What people are told, as data: built purely from what the engine said,
//! kept in the outbox, put into words only when it is sent.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::adapters::guardian::EvidenceSeries;
use crate::config::notify::Severity;
use crate::domain::{ReleaseKey, ReleaseOrder, Timestamp};
use crate::guard::engine::{Notice, NoticeKind};
use crate::guard::policy::{Policy, WhenBlind};
use crate::guard::{Action, Decider, Decision, Mode};
use crate::judge::{Finding, Outcome};
use crate::signal::Unit;

/// The strongest reasons that are shown; the rest is counted.
const REASONS_MAX: usize = 3;
const CHARTS_MAX: usize = 2;
const CHART_POINTS_MAX: usize = 90;
const BLIND_MAX: usize = 3;
/// No sentence from elsewhere is longer, in characters.
const SENTENCE_CHARS_MAX: usize = 600;

/// The kinds of message, for words and for links.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MessageKind {
    /// Something deviates; nothing was stopped.
    Advice,
    /// A release is to be paused: it was ordered.
    Pausing,
    /// A release was paused, as far as its release system tells.
    Paused,
    /// A release is to be rolled back: it was ordered.
    RollingBack,
    /// A release was rolled back, as far as its release system tells.
    RolledBack,
    /// A release cannot be judged.
    Blind,
    /// A command was refused or is not confirmed.
    CommandFailed,
    /// A release began, ended, was resumed.
    Course,
    /// Nobody answered to a pause in time.
    Unacknowledged,
    /// A channel lost messages.
    ChannelFailing,
    /// From `notify --test`.
    Test,
}

impl MessageKind {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Advice,
        Self::Pausing,
        Self::Paused,
        Self::RollingBack,
        Self::RolledBack,
        Self::Blind,
        Self::CommandFailed,
        Self::Course,
        Self::Unacknowledged,
        Self::ChannelFailing,
        Self::Test,
    ];

    /// The word in webhooks and templates.
    pub fn word(self) -> &'static str {
        match self {
            Self::Advice => "advice",
            Self::Pausing => "pausing",
            Self::Paused => "paused",
            Self::RollingBack => "rolling_back",
            Self::RolledBack => "rolled_back",
            Self::Blind => "blind",
            Self::CommandFailed => "command_failed",
            Self::Course => "course",
            Self::Unacknowledged => "unacknowledged",
            Self::ChannelFailing => "channel_failing",
            Self::Test => "test",
        }
    }
}

impl From<NoticeKind> for MessageKind {
    fn from(kind: NoticeKind) -> Self {
        match kind {
            NoticeKind::Advice => Self::Advice,
            NoticeKind::Pausing => Self::Pausing,
            NoticeKind::Paused => Self::Paused,
            NoticeKind::RollingBack => Self::RollingBack,
            NoticeKind::RolledBack => Self::RolledBack,
            NoticeKind::Blind => Self::Blind,
            NoticeKind::CommandFailed => Self::CommandFailed,
            NoticeKind::Course => Self::Course,
        }
    }
}

/// One message, in no language yet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// The same for the same state change, also after a restart.
    pub id: String,
    /// When it happened.
    pub at: Timestamp,
    /// What kind.
    pub kind: MessageKind,
    /// How urgent.
    pub severity: Severity,
    /// Which release; absent if it concerns the guardian itself.
    pub release: Option<ReleaseKey>,
    /// The new version.
    pub version: Option<String>,
    /// The version it replaces.
    pub previous_version: Option<String>,
    /// `production`, `staging`, as far as it is known.
    pub environment: Option<String>,
    /// The engine's sentence.
    pub text: String,
    /// What was decided.
    pub decided: Option<Decided>,
    /// The strongest reasons, at most three.
    pub reasons: Vec<Reason>,
    /// How many reasons more there are.
    pub more_reasons: usize,
    /// What could not be judged, at most three.
    pub blind: Vec<String>,
    /// The past release that looked most like this one, and its cause.
    pub similar: Option<(String, Option<String>)>,
    /// Both groups over time.
    pub charts: Vec<Chart>,
    /// What happens next.
    pub next: Next,
    /// Until when the release system is asked whether it did what was ordered.
    #[serde(default)]
    pub confirmed_by: Option<Timestamp>,
}

/// What was decided.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Decided {
    /// What is done.
    pub action: Action,
    /// What would be done in enforce mode.
    pub would: Action,
    /// The person, if one decided.
    pub operator: Option<String>,
    /// The probability of a fault, 0 to 1.
    pub probability: f64,
    /// Policy's sentence.
    pub because: String,
}

impl Decided {
    /// What would have been done and was not.
    pub fn withheld(&self) -> Option<Action> {
        (self.action < Action::Pause && self.would >= Action::Pause).then_some(self.would)
    }
}

/// One reason, with the numbers of both groups.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reason {
    /// The signal.
    pub signal: String,
    /// The detector's sentence.
    pub because: String,
    /// The rule's or test's name; empty in messages kept by older versions.
    #[serde(default)]
    pub test: String,
    /// The release group before and now.
    pub release: (Option<f64>, Option<f64>),
    /// The reference group before and now.
    pub reference: (Option<f64>, Option<f64>),
    /// The unit of the four.
    pub unit: Unit,
    /// The deviation in units of the noise, for rules of the limit.
    pub strength: f64,
    /// Whether `strength` is in units of a rule's limit.
    pub of_limit: bool,
    /// Since when.
    pub since: Option<Timestamp>,
    /// How many released instances show it.
    pub instances: usize,
}

/// Both groups of one signal over time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Chart {
    /// The signal.
    pub signal: String,
    /// The values' unit.
    pub unit: Unit,
    /// When, release group, reference group; at most 90, oldest first.
    pub points: Vec<(Timestamp, Option<f64>, Option<f64>)>,
    /// When batches began.
    pub batches: Vec<Timestamp>,
}

/// What happens next, unless somebody decides otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Next {
    /// Nothing more.
    Nothing,
    /// The release goes on, and is watched on.
    GoesOn,
    /// It stays paused until a person resumes it or rolls it back.
    WaitsForPerson,
    /// It is rolled back if the fault is still there then.
    RollsBackAt(Timestamp),
    /// The old version is back; the release counts as faulty until somebody
    /// says otherwise.
    CountsAsFaulty,
    /// Gates hold pipelines that ask; nothing is sent.
    Holds,
    /// A person must do by hand what the command should have done.
    ByHand,
}

/// What a message is made of.
pub struct About<'a> {
    /// What the engine said.
    pub notice: &'a Notice,
    /// The release.
    pub order: &'a ReleaseOrder,
    /// Where it runs.
    pub environment: Option<&'a str>,
    /// The decision that the notice is about, if one is.
    pub decision: Option<&'a Decision>,
    /// The application's policy.
    pub policy: &'a Policy,
    /// The series behind it.
    pub evidence: &'a [EvidenceSeries],
}

impl Message {
    /// Puts together what people are told.
    pub fn compose(about: &About<'_>) -> Self {
        let About { notice, order, decision, policy, .. } = about;
        // The course of a release is told in a sentence; reasons that an
        // earlier decision had would be wrong beside it.
        let decision = decision.filter(|_| notice.kind != NoticeKind::Course);
        // The reasons were told when it was ordered.
        let told = matches!(notice.kind, NoticeKind::Paused | NoticeKind::RolledBack);
        let findings: Vec<&Finding> =
            decision.filter(|_| !told).map_or_else(Vec::new, |decision| strongest(&decision.reasons));
        let decided = decision.map(decided);
        Self {
            id: message_id(about),
            at: notice.at,
            kind: notice.kind.into(),
            severity: Severity::of(notice.kind),
            release: Some(order.key()),
            version: order.version.as_ref().map(ToString::to_string),
            previous_version: order.previous_version.as_ref().map(ToString::to_string),
            environment: about.environment.map(clipped),
            text: clipped(&in_the_conditional(&notice.text, decided.as_ref().and_then(Decided::withheld))),
            decided,
            reasons: findings.iter().take(REASONS_MAX).map(|finding| reason(finding)).collect(),
            more_reasons: findings.len().saturating_sub(REASONS_MAX),
            blind: decision
                .map(|decision| decision.blind.iter().take(BLIND_MAX).map(|why| clipped(why)).collect())
                .unwrap_or_default(),
            similar: decision.and_then(|decision| {
                let nearest = decision.similar.iter().min_by(|a, b| a.distance.total_cmp(&b.distance))?;
                Some((clipped(&nearest.release), nearest.cause.as_deref().map(clipped)))
            }),
            charts: charts(&findings, about),
            next: next(notice, decision, policy),
            confirmed_by: match notice.kind {
                NoticeKind::Pausing | NoticeKind::RollingBack => Some(notice.at + policy.command_deadline),
                NoticeKind::Advice
                | NoticeKind::Paused
                | NoticeKind::RolledBack
                | NoticeKind::Blind
                | NoticeKind::CommandFailed
                | NoticeKind::Course => None,
            },
        }
    }

    /// The message that nobody answered to `paused` in time. `round` counts
    /// from 1.
    pub fn unacknowledged(paused: &Self, round: u32, now: Timestamp) -> Self {
        Self {
            id: short_hash(&[&paused.id, "unacknowledged", &round.to_string()]),
            at: now,
            kind: MessageKind::Unacknowledged,
            severity: Severity::Critical,
            confirmed_by: None,
            text: format!(
                "Nobody has acknowledged the pause of {} in {} minutes.",
                paused.release.as_ref().map(ToString::to_string).unwrap_or_default(),
                now.since(paused.at).as_secs() / 60
            ),
            ..paused.clone()
        }
    }

    /// The message that a channel lost messages or cannot be used.
    pub fn channel_failing(channel: &str, why: &str, now: Timestamp) -> Self {
        let hour = (now.as_millis() / 3_600_000).to_string();
        Self {
            // At most one an hour and channel.
            id: short_hash(&["channel_failing", channel, &hour]),
            severity: Severity::Warning,
            text: clipped(&format!("{channel}: {why}")),
            ..Self::bare(MessageKind::ChannelFailing, now)
        }
    }

    /// A message of `notify --test`.
    pub fn test(now: Timestamp) -> Self {
        Self {
            id: short_hash(&["test", &now.to_string()]),
            text: "This is a test. Nothing has happened.".to_owned(),
            ..Self::bare(MessageKind::Test, now)
        }
    }

    fn bare(kind: MessageKind, at: Timestamp) -> Self {
        Self {
            id: String::new(),
            at,
            kind,
            severity: Severity::Info,
            release: None,
            version: None,
            previous_version: None,
            environment: None,
            text: String::new(),
            decided: None,
            reasons: Vec::new(),
            more_reasons: 0,
            blind: Vec::new(),
            similar: None,
            charts: Vec::new(),
            next: Next::Nothing,
            confirmed_by: None,
        }
    }
}

/// The first 128 bits of a hash over `parts`, in hexadecimal digits.
pub(super) fn short_hash(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

fn message_id(about: &About<'_>) -> String {
    let release = about.order.key().to_string();
    let kind = MessageKind::from(about.notice.kind).word();
    match (about.notice.kind, about.decision) {
        // One message a decision, however often a restart repeats the notice.
        (NoticeKind::Advice | NoticeKind::Pausing | NoticeKind::RollingBack, Some(decision))
            if decision.at == about.notice.at =>
        {
            short_hash(&[&release, kind, &decision.sequence.to_string()])
        }
        (
            NoticeKind::Advice
            | NoticeKind::Pausing
            | NoticeKind::Paused
            | NoticeKind::RollingBack
            | NoticeKind::RolledBack
            | NoticeKind::Blind
            | NoticeKind::CommandFailed
            | NoticeKind::Course,
            _,
        ) => short_hash(&[&release, kind, &about.notice.at.to_string(), &about.notice.text]),
    }
}

fn clipped(text: &str) -> String {
    let plain = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut shown: String = plain.clone().take(SENTENCE_CHARS_MAX).collect();
    if plain.count() > SENTENCE_CHARS_MAX {
        shown.push('…');
    }
    shown
}

/// Those that count, gravest and strongest first; what another detector says of
/// the same signal comes after the other signals.
fn strongest(findings: &[Finding]) -> Vec<&Finding> {
    let mut chosen: Vec<&Finding> = findings
        .iter()
        .filter(|finding| !finding.on_trial)
        .filter(|finding| matches!(finding.outcome, Outcome::Suspect | Outcome::Failing))
        .collect();
    chosen.sort_by(|a, b| b.outcome.cmp(&a.outcome).then(b.strength.total_cmp(&a.strength)));
    let mut seen = BTreeSet::new();
    let (mut first, again): (Vec<_>, Vec<_>) =
        chosen.into_iter().partition(|finding| seen.insert(finding.signal.as_str()));
    first.extend(again);
    first
}

/// The engine's sentence says what is decided as if it were done: where it is
/// only advised, what would be.
fn in_the_conditional(text: &str, withheld: Option<Action>) -> String {
    let Some(would) = withheld else { return text.to_owned() };
    let verb = match would {
        Action::Rollback => "would roll back",
        Action::Pause | Action::Advise | Action::Proceed => "would pause",
    };
    let text = match text.strip_prefix(would.word()).and_then(|rest| rest.strip_prefix(" of ")) {
        Some(rest) => format!("{verb} {rest}"),
        None => text.to_owned(),
    };
    text.replace(" s after the pause", " s after it would have been paused")
}

fn decided(decision: &Decision) -> Decided {
    let decided = Decided {
        action: decision.action,
        would: decision.would,
        operator: match &decision.by {
            Decider::Guardian => None,
            Decider::Operator(name) => Some(clipped(name)),
        },
        probability: decision.probability,
        because: clipped(&decision.because),
    };
    Decided { because: in_the_conditional(&decided.because, decided.withheld()), ..decided }
}

fn reason(finding: &Finding) -> Reason {
    use crate::judge::Detector;
    Reason {
        signal: clipped(&finding.signal),
        because: clipped(&finding.because),
        test: finding.test.clone(),
        release: (finding.release_before, finding.release_after),
        reference: (finding.reference_before, finding.reference_after),
        unit: finding.unit,
        strength: finding.strength,
        of_limit: match finding.detector {
            Detector::Rule => true,
            Detector::Funnel | Detector::Model => false,
        },
        since: finding.since,
        instances: finding.instances.len(),
    }
}

fn charts(findings: &[&Finding], about: &About<'_>) -> Vec<Chart> {
    let mut charts: Vec<Chart> = Vec::new();
    for finding in findings.iter().take(REASONS_MAX) {
        let Some(series) = about.evidence.iter().find(|series| series.signal == finding.signal) else {
            continue;
        };
        if charts.iter().any(|chart| chart.signal == series.signal) {
            continue;
        }
        let points = thinned(series, about.notice.at);
        if points.len() >= 2 && charts.len() < CHARTS_MAX {
            let from = points[0].0;
            let batches = about.order.batches.iter().map(|batch| batch.started_at);
            charts.push(Chart {
                signal: clipped(&series.signal),
                unit: series.unit,
                points,
                batches: batches.filter(|at| *at >= from && *at <= about.notice.at).collect(),
            });
        }
    }
    charts
}

/// Every n-th point up to `until`, the last one always among them.
fn thinned(series: &EvidenceSeries, until: Timestamp) -> Vec<(Timestamp, Option<f64>, Option<f64>)> {
    let finite = |value: Option<f64>| value.filter(|value| value.is_finite());
    let points: Vec<_> = series
        .points
        .iter()
        .filter(|point| point.at <= until)
        .map(|point| (point.at, finite(point.release), finite(point.reference)))
        .collect();
    let step = points.len().div_ceil(CHART_POINTS_MAX).max(1);
    let skip = points.len().saturating_sub(1) % step;
    points.into_iter().skip(skip).step_by(step).collect()
}

fn next(notice: &Notice, decision: Option<&Decision>, policy: &Policy) -> Next {
    let by_guardian = decision.is_none_or(|decision| decision.by == Decider::Guardian);
    match notice.kind {
        NoticeKind::Course => Next::Nothing,
        NoticeKind::Advice => Next::GoesOn,
        NoticeKind::RollingBack => Next::Nothing,
        NoticeKind::RolledBack if by_guardian => Next::CountsAsFaulty,
        NoticeKind::RolledBack => Next::Nothing,
        NoticeKind::CommandFailed => Next::ByHand,
        NoticeKind::Blind => match policy.when_blind {
            WhenBlind::Hold => Next::Holds,
            WhenBlind::Proceed => Next::GoesOn,
            WhenBlind::Pause => match policy.mode {
                Mode::Enforce => Next::WaitsForPerson,
                Mode::Observe | Mode::Advise => Next::GoesOn,
            },
        },
        NoticeKind::Pausing | NoticeKind::Paused => {
            let escalates = by_guardian
                && policy.mode == Mode::Enforce
                && policy.may_roll_back
                && policy.rollback_after < Duration::MAX;
            if escalates {
                Next::RollsBackAt(notice.at + policy.rollback_after)
            } else {
                Next::WaitsForPerson
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_only_advised_is_not_told_as_if_it_were_done() {
        let told = in_the_conditional(
            "rollback of shop/t1: still failing 29 s after the pause; the mode is advise, so nothing is sent. x",
            Some(Action::Rollback),
        );
        assert_eq!(
            told,
            "would roll back shop/t1: still failing 29 s after it would have been paused; the mode is advise, so nothing is sent. x"
        );
        let pause = "pause of shop/t1: failing in 2 of the last 3 checks. x";
        assert!(in_the_conditional(pause, Some(Action::Pause)).starts_with("would pause shop/t1: "));
        assert_eq!(in_the_conditional(pause, None), pause);
    }
}

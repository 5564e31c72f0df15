//! What is stored, counted and told of a step, made from the engine's effects.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::adapters::guardian::{AuditLine, CommandRecord, EventKind, EvidencePoint, EvidenceSeries};
use crate::adapters::store::{Step, StoredRelease};
use crate::adapters::telemetry::{
    ActionLabels, ApplicationLabels, CommandLabels, Metrics, PhaseLabels, ReleaseLabels,
};
use crate::domain::{ApplicationName, Group, ReleaseKey, Timestamp};
use crate::guard::engine::{ChartLine, Effect, Engine, Notice, NoticeKind, Phase};
use crate::guard::{Action, Command, CommandKind, Decider, Decision, Settlement};
use crate::guard::{Control, EpisodeSnapshot};
use crate::judge::{Lesson, Outcome, Verdict};
use crate::signal::Unit;

use super::actor::ApplicationSpec;
use super::shared::Shared;

/// Signals that are charted; a page with more is not read.
const CHARTS_MAX: usize = 12;

/// A unit variant as it is written in JSON, for sentences.
pub(super) fn word(value: &impl serde::Serialize) -> String {
    let text = serde_json::to_string(value).unwrap_or_default();
    text.trim_matches('"').replace('_', " ")
}

/// The release as it is to be stored.
pub(super) fn row(
    stored: Option<&StoredRelease>,
    state: &EpisodeSnapshot,
    spec: &ApplicationSpec,
    decided: &[&Decision],
    verdict: Option<&Verdict>,
) -> StoredRelease {
    let key = state.key();
    let stored = stored.filter(|r| r.key() == key);
    let mut order = state.order.clone();
    order.alerts.clone_from(&state.alerts);
    let newest = decided.last();
    let stops = |d: &&&Decision| d.by == Decider::Guardian && d.action >= Action::Pause;
    let because = newest.map(|d| match d.reasons.iter().find(|f| !f.on_trial) {
        Some(finding) => format!("{}: {}", d.because, finding.because),
        None => d.because.clone(),
    });
    let gravest = decided.iter().map(|d| d.action).max().unwrap_or(Action::Proceed);
    StoredRelease {
        order,
        phase: state.phase,
        mode: spec.engine.policy.mode,
        gravest: stored.map_or(gravest, |r| r.gravest.max(gravest)),
        snapshot: serde_json::to_string(state).ok(),
        verdict: verdict.cloned().or_else(|| stored.and_then(|r| r.verdict.clone())),
        evidence: Vec::new(),
        because: because.or_else(|| stored.and_then(|r| r.because.clone())),
        held_by: match &state.control {
            Control::Guardian => None,
            Control::Operator(who) => Some(who.clone()),
        },
        first_stop_at: stored
            .and_then(|r| r.first_stop_at)
            .or_else(|| decided.iter().find(stops).map(|d| d.at)),
        rolled_back: stored.is_some_and(|r| r.rolled_back),
        ended_at: None,
        recording: None,
        warm_up_lesson: None,
        word: stored.and_then(|r| r.word),
        word_onset: stored.and_then(|r| r.word_onset),
    }
}

/// What a release that ran to its end showed of its application's warm-up.
pub(super) fn lesson(state: &EpisodeSnapshot, effects: &[Effect]) -> Option<Lesson> {
    let seen = effects.iter().find_map(|effect| match effect {
        Effect::WarmUpSeen(seen) => Some(*seen),
        Effect::Decided(_)
        | Effect::Send(_)
        | Effect::Notify(_)
        | Effect::Judged(_)
        | Effect::Changed
        | Effect::Ended => None,
    })?;
    Some(Lesson { seen, stopped: state.gravest >= Action::Pause })
}

/// A rollback of the guardian's own that was confirmed is a confirmed fault.
pub(super) fn note_rollback(release: &mut StoredRelease, before: Option<&EpisodeSnapshot>) {
    let Some(before) = before else { return };
    let rollback = before.outstanding.as_ref().is_some_and(|c| c.kind == CommandKind::Rollback);
    release.rolled_back |= rollback && before.control == Control::Guardian;
}

/// The audit's line about the guardian's own decision; operators' are there
/// already, by their own call.
pub(super) fn audit_of(decision: &Decision) -> Option<AuditLine> {
    match &decision.by {
        Decider::Operator(_) => None,
        Decider::Guardian => Some(AuditLine {
            at: decision.at,
            who: "guardian".to_owned(),
            text: format!("decided: {} ({})", decision.action.word(), decision.because),
        }),
    }
}

/// A command that is only ordered yet.
pub(super) fn order_line(command: &Command) -> AuditLine {
    let Command { id, kind, deadline, .. } = command;
    let text = format!("ordered: {}, not confirmed yet; asked for until {deadline} ({id})", kind.word());
    AuditLine { at: command.ordered_at, who: "guardian".to_owned(), text }
}

/// How a command ended.
pub(super) fn settlement_line(at: Timestamp, command: &Command, settlement: &Settlement) -> AuditLine {
    let (id, word) = (&command.id, command.kind.word());
    let text = match settlement {
        Settlement::Confirmed { read_back: true } => format!("confirmed: {word}, read back ({id})"),
        Settlement::Confirmed { read_back: false } => {
            format!("taken: {word}; its effect cannot be read back ({id})")
        }
        Settlement::Refused { reason } => {
            format!("refused: {word}, a person must act: {reason} ({id})")
        }
        Settlement::Unreachable { reason } => {
            format!("not confirmed: {word}, a person must act: {reason} ({id})")
        }
    };
    AuditLine { at, who: "guardian".to_owned(), text }
}

pub(super) fn begin_notice(release: &StoredRelease, at: Timestamp) -> Notice {
    let version = release.order.version.as_ref().map(|v| format!(" (version {v})")).unwrap_or_default();
    Notice { at, kind: NoticeKind::Course, text: format!("{}{version} began and is watched", release.key()) }
}

pub(super) fn judged(shared: &Shared, key: &ReleaseKey, verdict: &Verdict, interval: Duration) {
    let labels = ReleaseLabels { application: key.application.to_string(), release: key.id.to_string() };
    shared.metrics.probability.get_or_create(&labels).set(verdict.probability);
    if verdict.outcome == Outcome::Unknown {
        let labels = ApplicationLabels { application: key.application.to_string() };
        shared.metrics.blind_seconds.get_or_create(&labels).inc_by(interval.as_secs_f64());
    }
    let findings = verdict.findings.len() as u32;
    let kind = EventKind::Verdict { outcome: verdict.outcome, probability: verdict.probability, findings };
    shared.publish(key, kind);
}

pub(super) fn count_settlement(
    metrics: &Metrics,
    application: &ApplicationName,
    command: Option<&Command>,
    settlement: &Settlement,
) {
    let settled = match settlement {
        Settlement::Confirmed { .. } => "confirmed",
        Settlement::Refused { .. } => "refused",
        Settlement::Unreachable { .. } => "unreachable",
    };
    let kind = command.map_or("replaced", |c| c.kind.word());
    let labels = CommandLabels { application: application.to_string(), kind, settled };
    metrics.commands.get_or_create(&labels).inc();
}

/// Counts and tells what was stored.
pub(super) fn publish(shared: &Shared, key: &ReleaseKey, step: &Step, phase_before: Option<Phase>) {
    let application = || key.application.to_string();
    for decision in &step.decisions {
        let by = match &decision.by {
            Decider::Guardian => "guardian",
            Decider::Operator(_) => "operator",
        };
        let labels =
            ActionLabels { application: application(), action: decision.action.word().to_owned(), by };
        shared.metrics.decisions.get_or_create(&labels).inc();
        tracing::warn!(release = %key, action = decision.action.word(), because = %decision.because, probability = decision.probability, "decided");
        shared.publish(key, EventKind::Decision { decision: Box::new(decision.clone()) });
    }
    for command in &step.commands {
        let record = CommandRecord {
            command: command.clone(),
            settlement: None,
            settled_at: None,
            attempts: Vec::new(),
        };
        shared.publish(key, EventKind::Command { record: Box::new(record) });
    }
    for notice in &step.notices {
        tracing::info!(release = %key, kind = ?notice.kind, "{}", notice.text);
        shared.publish(key, EventKind::Notice { kind: notice.kind, text: notice.text.clone() });
    }
    let phase = step.release.phase;
    if phase_before != Some(phase) {
        let labels = PhaseLabels { application: application(), phase: word(&phase) };
        shared.metrics.phases.get_or_create(&labels).inc();
        shared.publish(key, EventKind::Phase { phase });
    }
    let ended = step.release.ended_at.is_some();
    let labels = ApplicationLabels { application: application() };
    shared.metrics.watching.get_or_create(&labels).set(i64::from(!ended));
    if ended {
        // A release that is over would stay in every scrape for good.
        let labels = ReleaseLabels { application: application(), release: key.id.to_string() };
        shared.metrics.probability.remove(&labels);
    }
}

/// The charts of a release: the signals that its verdicts and decisions named.
#[derive(Default)]
pub(super) struct Charts {
    signals: BTreeMap<String, Unit>,
    decided: BTreeSet<String>,
    lines: BTreeMap<String, Vec<EvidencePoint>>,
}

impl Charts {
    pub(super) fn note(&mut self, verdict: &Verdict) {
        for finding in &verdict.findings {
            if self.signals.len() < CHARTS_MAX {
                self.signals.entry(finding.signal.clone()).or_insert(finding.unit);
            }
        }
    }

    pub(super) fn note_decisions(&mut self, decisions: &[&Decision]) {
        for finding in decisions.iter().flat_map(|d| &d.reasons) {
            // Signals that were acted on are shown in any case.
            self.signals.insert(finding.signal.clone(), finding.unit);
            self.decided.insert(finding.signal.clone());
        }
    }

    pub(super) fn refresh(&mut self, engine: &Engine, from: Timestamp, to: Timestamp) {
        for signal in self.signals.keys() {
            let points = points(&engine.chart(signal, from, to));
            if !points.is_empty() {
                self.lines.insert(signal.clone(), points);
            }
        }
    }

    pub(super) fn series(&self) -> Vec<EvidenceSeries> {
        let series = self.lines.iter().filter_map(|(signal, points)| {
            Some(EvidenceSeries {
                signal: signal.clone(),
                unit: *self.signals.get(signal)?,
                suspect: self.decided.contains(signal),
                points: points.clone(),
            })
        });
        series.collect()
    }
}

fn points(lines: &[ChartLine]) -> Vec<EvidencePoint> {
    let mut by_time: BTreeMap<Timestamp, (Vec<f64>, Vec<f64>)> = BTreeMap::new();
    for line in lines {
        for (at, value) in &line.points {
            let (release, reference) = by_time.entry(*at).or_default();
            match line.group {
                Group::Release => release.push(*value),
                Group::Reference => reference.push(*value),
            }
        }
    }
    let summary = |mut values: Vec<f64>| {
        values.retain(|v| v.is_finite());
        values.sort_by(f64::total_cmp);
        let range = (values.len() > 1).then(|| (values[0], values[values.len() - 1]));
        (values.get(values.len() / 2).copied(), range)
    };
    by_time
        .into_iter()
        .map(|(at, (release, reference))| {
            let (release, release_range) = summary(release);
            let (reference, reference_range) = summary(reference);
            EvidencePoint { at, release, release_range, reference, reference_range }
        })
        .collect()
}

//! What a pipeline that asks is told. Pure.

use crate::adapters::guardian::{Gate, GateWord};
use crate::adapters::store::StoredRelease;
use crate::guard::Mode;
use crate::guard::engine::Phase;
use crate::guard::policy::WhenBlind;
use crate::judge::Outcome;

/// What the gate needs to know besides the stored release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct GateFacts {
    /// Looks since the newest batch or resume.
    pub(super) looks: usize,
    /// How many are wanted before it passes.
    pub(super) looks_wanted: usize,
    /// Whether it could not be judged for too long.
    pub(super) blind: bool,
    /// What policy does then.
    pub(super) when_blind: WhenBlind,
}

/// The answer for a release as it stands.
pub(super) fn gate(release: &StoredRelease, facts: GateFacts) -> Gate {
    let because = release.because.clone().unwrap_or_default();
    let (word, reason) = match release.phase {
        Phase::RollingBack | Phase::RolledBack => (GateWord::Rollback, because),
        Phase::Pausing | Phase::Paused => (GateWord::Pause, because),
        Phase::Cancelled => (GateWord::Pause, "the rollout was cancelled".to_owned()),
        Phase::Finished => finished(release),
        Phase::Watching | Phase::Soaking => running(release, facts),
    };
    let acts = release.mode == Mode::Enforce || release.held_by.is_some();
    let (word, reason) = match word {
        GateWord::Pass | GateWord::Pending => (word, reason),
        GateWord::Pause | GateWord::Rollback | GateWord::Inconclusive if acts => (word, reason),
        // A gate that stops a pipeline is an action, and only enforce acts.
        GateWord::Pause | GateWord::Rollback | GateWord::Inconclusive => {
            (GateWord::Pass, format!("the mode is not enforce; it would say {}: {reason}", word.word()))
        }
    };
    let verdict = release.verdict.as_ref();
    Gate {
        verdict: word,
        reason,
        probability: verdict.map(|v| v.probability),
        phase: release.phase,
        at: verdict.map(|v| v.at),
    }
}

/// A watch that was blind to its end saw no health.
fn finished(release: &StoredRelease) -> (GateWord, String) {
    match &release.verdict {
        Some(verdict) if verdict.outcome == Outcome::Unknown => {
            let why = verdict.blind.first().map_or_else(|| "no data".to_owned(), ToString::to_string);
            (GateWord::Inconclusive, format!("it was watched to its end and could not be judged: {why}"))
        }
        Some(_) | None => (GateWord::Pass, "it was watched to its end".to_owned()),
    }
}

fn running(release: &StoredRelease, facts: GateFacts) -> (GateWord, String) {
    let Some(verdict) = &release.verdict else {
        return (GateWord::Pending, "no released instance was judged yet".to_owned());
    };
    let first = verdict.findings.iter().find(|f| !f.on_trial).map(|f| f.because.clone());
    if facts.blind {
        let why = verdict.blind.first().map_or_else(|| "no data".to_owned(), ToString::to_string);
        return match facts.when_blind {
            WhenBlind::Hold => (GateWord::Inconclusive, why),
            WhenBlind::Pause => (GateWord::Pause, why),
            WhenBlind::Proceed => {
                (GateWord::Pass, format!("it cannot be judged, and policy says to go on: {why}"))
            }
        };
    }
    match verdict.outcome {
        Outcome::Failing => (
            GateWord::Pending,
            format!("it looks faulty, and more checks are wanted: {}", first.unwrap_or_default()),
        ),
        Outcome::Unknown => (GateWord::Pending, "it cannot be judged yet".to_owned()),
        Outcome::Healthy | Outcome::Suspect if facts.looks < facts.looks_wanted => {
            let reason = format!("judged {} times of {} that are wanted", facts.looks, facts.looks_wanted);
            (GateWord::Pending, reason)
        }
        Outcome::Healthy => (GateWord::Pass, format!("{} signals judged, nothing wrong", verdict.judged)),
        Outcome::Suspect => {
            (GateWord::Pass, format!("suspicious, and not enough to stop it: {}", first.unwrap_or_default()))
        }
    }
}

//! What a pipeline that asks is told. Pure.

use std::time::Duration;

use crate::adapters::guardian::{Gate, GateWord};
use crate::adapters::store::StoredRelease;
use crate::guard::engine::Phase;
use crate::guard::policy::WhenBlind;
use crate::guard::{Action, Mode};
use crate::judge::Outcome;

/// What the gate needs to know besides the stored release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct GateFacts {
    /// Looks in a row that judged the newest batch with nothing failing.
    pub(super) looks: u32,
    /// How many are wanted before it passes.
    pub(super) looks_wanted: u32,
    /// From the first to the newest of them.
    pub(super) passing_for: Duration,
    /// How long that must be before it passes.
    pub(super) pass_after: Duration,
    /// Whether it could not be judged for too long.
    pub(super) blind: bool,
    /// What policy does then.
    pub(super) when_blind: WhenBlind,
    /// The gravest action so far, counting what would have been done.
    pub(super) would: Action,
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
        // Of what could not be judged nothing is probable.
        probability: verdict.filter(|v| v.outcome != Outcome::Unknown).map(|v| v.probability),
        phase: release.phase,
        at: verdict.map(|v| v.at),
    }
}

/// A watch that was blind to its end saw no health, and one that ended before
/// its first look saw nothing.
fn finished(release: &StoredRelease) -> (GateWord, String) {
    let Some(verdict) = &release.verdict else {
        return (GateWord::Inconclusive, "its watch ended before anything was judged".to_owned());
    };
    match verdict.outcome {
        Outcome::Unknown => {
            let why = verdict.blind.first().map_or_else(|| "no data".to_owned(), ToString::to_string);
            (GateWord::Inconclusive, format!("it was watched to its end and could not be judged: {why}"))
        }
        Outcome::Healthy | Outcome::Suspect | Outcome::Failing => {
            (GateWord::Pass, "it was watched to its end".to_owned())
        }
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
        // Decided, and not carried out: that is left to people.
        Outcome::Failing if release.mode != Mode::Enforce && facts.would >= Action::Pause => {
            (GateWord::Pause, release.because.clone().unwrap_or_default())
        }
        Outcome::Failing => (
            GateWord::Pending,
            format!("it looks faulty, and more checks are wanted: {}", first.unwrap_or_default()),
        ),
        Outcome::Unknown => (GateWord::Pending, "it cannot be judged yet".to_owned()),
        Outcome::Healthy | Outcome::Suspect if facts.looks < facts.looks_wanted => {
            let reason =
                format!("the newest batch was judged {} times of {}", facts.looks, facts.looks_wanted);
            (GateWord::Pending, reason)
        }
        Outcome::Healthy | Outcome::Suspect if facts.passing_for < facts.pass_after => {
            let (so_far, wanted) = (facts.passing_for.as_secs(), facts.pass_after.as_secs());
            (GateWord::Pending, format!("the newest batch was judged for {so_far} s of {wanted}"))
        }
        Outcome::Healthy => (GateWord::Pass, format!("{} signals judged, nothing wrong", verdict.judged)),
        Outcome::Suspect => {
            (GateWord::Pass, format!("suspicious, and not enough to stop it: {}", first.unwrap_or_default()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{ApplicationName, RECORDING_FORMAT, ReleaseId, ReleaseOrder, Timestamp};
    use crate::judge::{Blind, Verdict};

    const FACTS: GateFacts = GateFacts {
        looks: 3,
        looks_wanted: 3,
        passing_for: Duration::from_secs(60),
        pass_after: Duration::from_secs(60),
        blind: false,
        when_blind: WhenBlind::Hold,
        would: Action::Proceed,
    };

    fn release(mode: Mode, phase: Phase, outcome: Option<Outcome>) -> StoredRelease {
        let at = Timestamp::from_millis(1_700_000_000_000);
        let blind = vec![Blind { what: "instances".to_owned(), why: "never scraped".to_owned() }];
        let verdict = |outcome| Verdict {
            at,
            outcome,
            probability: 0.5,
            findings: Vec::new(),
            blind: blind.clone(),
            judged: 7,
            similar: Vec::new(),
        };
        StoredRelease {
            order: ReleaseOrder {
                format: RECORDING_FORMAT,
                id: ReleaseId::new("r-1").unwrap(),
                application: ApplicationName::new("shop").unwrap(),
                version: None,
                previous_version: None,
                started_at: at,
                finished_at: None,
                batches: Vec::new(),
                reference: Vec::new(),
                groups: None,
                metrics: Vec::new(),
                alerts: Vec::new(),
                other: std::collections::BTreeMap::new(),
            },
            phase,
            mode,
            gravest: Action::Proceed,
            snapshot: None,
            verdict: outcome.map(verdict),
            evidence: Vec::new(),
            because: Some("errors".to_owned()),
            held_by: None,
            first_stop_at: None,
            rolled_back: false,
            ended_at: None,
            recording: None,
            warm_up_lesson: None,
            word: None,
            word_onset: None,
        }
    }

    fn said(mode: Mode, phase: Phase, outcome: Option<Outcome>, facts: GateFacts) -> GateWord {
        gate(&release(mode, phase, outcome), facts).verdict
    }

    #[test]
    fn before_enough_looks_have_judged_the_newest_batch_no_mode_passes() {
        for mode in [Mode::Observe, Mode::Advise, Mode::Enforce] {
            for phase in [Phase::Watching, Phase::Soaking] {
                assert_eq!(said(mode, phase, None, FACTS), GateWord::Pending);
                assert_eq!(said(mode, phase, Some(Outcome::Unknown), FACTS), GateWord::Pending);
                for outcome in [Outcome::Healthy, Outcome::Suspect] {
                    for looks in 0..3 {
                        let facts = GateFacts { looks, ..FACTS };
                        assert_eq!(said(mode, phase, Some(outcome), facts), GateWord::Pending, "{looks}");
                    }
                    let facts = GateFacts { looks: 30, passing_for: Duration::from_secs(59), ..FACTS };
                    assert_eq!(said(mode, phase, Some(outcome), facts), GateWord::Pending, "too soon");
                    assert_eq!(said(mode, phase, Some(outcome), FACTS), GateWord::Pass);
                }
                assert_eq!(said(mode, phase, Some(Outcome::Failing), FACTS), GateWord::Pending);
            }
        }
    }

    #[test]
    fn what_was_not_judged_has_no_probability() {
        for (outcome, expected) in
            [(None, None), (Some(Outcome::Unknown), None), (Some(Outcome::Healthy), Some(0.5))]
        {
            let asked = gate(&release(Mode::Enforce, Phase::Watching, outcome), FACTS);
            assert_eq!(asked.probability, expected, "{outcome:?}");
        }
    }

    #[test]
    fn a_watch_that_saw_nothing_is_inconclusive_at_its_end() {
        let end = |outcome| said(Mode::Enforce, Phase::Finished, outcome, FACTS);
        assert_eq!(end(None), GateWord::Inconclusive);
        assert_eq!(end(Some(Outcome::Unknown)), GateWord::Inconclusive);
        assert_eq!(end(Some(Outcome::Healthy)), GateWord::Pass);
    }

    #[test]
    fn what_is_decided_stops_a_pipeline_in_enforce_alone() {
        let decided = GateFacts { looks: 0, would: Action::Pause, ..FACTS };
        for mode in [Mode::Observe, Mode::Advise] {
            let answer = gate(&release(mode, Phase::Watching, Some(Outcome::Failing)), decided);
            assert_eq!(answer.verdict, GateWord::Pass, "{answer:?}");
            assert_eq!(answer.reason, "the mode is not enforce; it would say pause: errors");
        }
        assert_eq!(said(Mode::Enforce, Phase::Paused, Some(Outcome::Failing), decided), GateWord::Pause);
        assert_eq!(said(Mode::Enforce, Phase::RollingBack, None, decided), GateWord::Rollback);
    }

    #[test]
    fn blindness_is_what_policy_makes_of_it() {
        for (when_blind, word) in [
            (WhenBlind::Hold, GateWord::Inconclusive),
            (WhenBlind::Pause, GateWord::Pause),
            (WhenBlind::Proceed, GateWord::Pass),
        ] {
            let facts = GateFacts { blind: true, when_blind, ..FACTS };
            assert_eq!(said(Mode::Enforce, Phase::Watching, Some(Outcome::Unknown), facts), word);
            assert_eq!(said(Mode::Observe, Phase::Watching, Some(Outcome::Unknown), facts), GateWord::Pass);
        }
    }
}

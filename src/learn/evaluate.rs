//! What a model's thresholds would have done: the policy's own confirmation
//! over the looks of past releases.

use crate::judge::Outcome;
use crate::judge::model::{Asked, Features, Thresholds};

use super::PastRelease;

/// How many of the last looks must be failing before a release is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Confirm {
    /// So many.
    pub failing: usize,
    /// Of so many.
    pub of: usize,
}

/// One release as it would have been decided.
#[derive(Clone, Debug, PartialEq)]
pub struct Judged {
    /// Its place in the data set.
    pub release: usize,
    /// Seconds from its start to the stop; absent if it passed.
    pub stopped_seconds: Option<f64>,
    /// The highest probability at a look that tells.
    pub probability: f64,
}

/// The figures over some releases.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Outcomes {
    /// Faulty releases.
    pub faulty: usize,
    /// Stopped ones among them.
    pub caught: usize,
    /// Good releases.
    pub healthy: usize,
    /// Stopped ones among them.
    pub false_stops: usize,
    /// Seconds from onset to stop, sorted.
    pub delays: Vec<f64>,
}

impl Outcomes {
    /// Over releases as they would have been decided.
    pub fn of<'a>(releases: &[PastRelease], judged: impl Iterator<Item = &'a Judged>) -> Self {
        let mut outcomes = Self::default();
        for judged in judged {
            let Some(release) = releases.get(judged.release) else { continue };
            let stopped = judged.stopped_seconds.is_some();
            if release.faulty {
                outcomes.faulty += 1;
                outcomes.caught += usize::from(stopped);
                if let (Some(at), Some(onset)) = (judged.stopped_seconds, release.onset_seconds) {
                    outcomes.delays.push(at - onset);
                }
            } else {
                outcomes.healthy += 1;
                outcomes.false_stops += usize::from(stopped);
            }
        }
        outcomes.delays.sort_by(f64::total_cmp);
        outcomes
    }

    /// Of all faulty releases.
    pub fn recall(&self) -> f64 {
        self.caught as f64 / self.faulty.max(1) as f64
    }

    /// Of all good releases.
    pub fn false_stop_rate(&self) -> f64 {
        self.false_stops as f64 / self.healthy.max(1) as f64
    }

    /// Half of the stops came within it.
    pub fn median_delay(&self) -> Option<f64> {
        self.delays.get(self.delays.len().checked_sub(1)? / 2).copied()
    }
}

/// The probability at each look of a release; absent where a model is not asked.
pub fn probabilities(
    release: &PastRelease,
    asked: Asked,
    ask: impl Fn(&Features) -> f64,
) -> Vec<Option<f64>> {
    let considered = release.looks.iter().map(|look| look.considered.as_ref());
    considered.map(|c| c.filter(|c| c.is_asked(asked)).map(|c| ask(&c.features))).collect()
}

/// One release under thresholds, given the probability at each look.
pub fn judge(
    at: usize,
    release: &PastRelease,
    probabilities: &[Option<f64>],
    thresholds: Thresholds,
    confirm: Confirm,
) -> Judged {
    let mut recent = std::collections::VecDeque::with_capacity(confirm.of + 1);
    let mut stopped_seconds = None;
    let mut highest: f64 = 0.0;
    let onset = release.onset_seconds.filter(|_| release.faulty).unwrap_or(f64::NEG_INFINITY);
    for (look, probability) in release.looks.iter().zip(probabilities) {
        let probability = probability.unwrap_or(0.0);
        if look.at_seconds >= onset {
            highest = highest.max(probability);
        }
        let failing = look.considered.as_ref().is_some_and(|c| match c.floor {
            Outcome::Failing => c.by_rule || thresholds.veto.is_none_or(|veto| probability >= veto),
            Outcome::Suspect => thresholds.act.is_some_and(|act| probability >= act),
            Outcome::Unknown | Outcome::Healthy => false,
        });
        recent.push_back(failing);
        if recent.len() > confirm.of.max(1) {
            recent.pop_front();
        }
        let enough = recent.iter().filter(|f| **f).count() >= confirm.failing.max(1);
        if failing && enough && stopped_seconds.is_none() {
            stopped_seconds = Some(look.at_seconds);
        }
    }
    Judged { release: at, stopped_seconds, probability: highest }
}

/// Mean squared error of probabilities.
pub fn brier(scored: &[(f64, bool)]) -> f64 {
    let sum: f64 = scored.iter().map(|(p, faulty)| (p - f64::from(u8::from(*faulty))).powi(2)).sum();
    sum / scored.len().max(1) as f64
}

/// That a random faulty one has more than a random healthy one; ties count half.
pub fn area_under_curve(scored: &[(f64, bool)]) -> f64 {
    let mut sorted = scored.to_vec();
    sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
    let faulty = sorted.iter().filter(|s| s.1).count() as f64;
    let healthy = sorted.len() as f64 - faulty;
    if faulty == 0.0 || healthy == 0.0 {
        return f64::NAN;
    }
    let (mut ranks, mut at) = (0.0, 0);
    while at < sorted.len() {
        let tied = sorted[at..].iter().take_while(|s| s.0 == sorted[at].0).count();
        let rank = at as f64 + (tied as f64 + 1.0) / 2.0;
        ranks += rank * sorted[at..at + tied].iter().filter(|s| s.1).count() as f64;
        at += tied;
    }
    (ranks - faulty * (faulty + 1.0) / 2.0) / (faulty * healthy)
}

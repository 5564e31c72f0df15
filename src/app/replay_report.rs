//! What the replay report shows of each release: the second pass over those
//! that were stopped or missed draws the signals that decided.

use std::path::Path;
use std::time::Duration;

use rayon::prelude::*;

use crate::adapters::charts::{ChartMark, ChartSeries, TimeChart};
use crate::adapters::recording::{Recording, RecordingError};
use crate::domain::{LabelOutcome, ReleaseOrder, Timestamp};
use crate::guard::engine::Effect;
use crate::guard::{Engine, EngineSettings};
use crate::judge::Finding;

use super::figures::Figures;
use super::replay::{self, Replayed};
use super::report::{ReleaseReport, ReplayReport};

/// Signals drawn of one release.
const CHARTS_MAX: usize = 4;

/// How long before the release a chart begins, at most.
const BEFORE: Duration = Duration::from_secs(1800);

/// How long after the decision a chart ends, at most.
const AFTER: Duration = Duration::from_secs(600);

/// Steps on each side of the decision that a chart shows at least.
const STEPS_MIN: u32 = 20;

/// Writes the report of replayed releases.
///
/// # Errors
/// As the file system says.
pub fn write(
    file: &Path,
    about: String,
    results: &[Result<Replayed, (String, RecordingError)>],
    settings: &EngineSettings,
) -> std::io::Result<()> {
    let replayed: Vec<&Replayed> = results.iter().filter_map(|r| r.as_ref().ok()).collect();
    let report = ReplayReport {
        about,
        figures: Figures::of(&replayed),
        releases: replayed.par_iter().map(|release| release_report(release, settings)).collect(),
        unreadable: results
            .iter()
            .filter_map(|r| r.as_ref().err().map(|(id, error)| (id.clone(), error.to_string())))
            .collect(),
    };
    report.write(file)
}

fn release_report(release: &Replayed, settings: &EngineSettings) -> ReleaseReport {
    let outcome = release.label.as_ref().map(|l| l.outcome);
    let told = release.is_stopped() || outcome == Some(LabelOutcome::Faulty);
    let charts = if told { charts(release, settings).unwrap_or_default() } else { Vec::new() };
    ReleaseReport {
        id: release.id.clone(),
        label: outcome,
        cause: release.label.as_ref().and_then(|l| l.cause.clone()),
        decision: release.decision,
        stopped_after_s: release.stopped_after_s,
        delay_s: release.delay_seconds(),
        probability: release.probability,
        reasons: release.reasons.clone(),
        blind: release.blind.clone(),
        judged: release.judged,
        charts,
    }
}

/// Plays the release once more, without a rollback that would end the watch,
/// and draws what the deciding signals did until shortly after the decision.
fn charts(release: &Replayed, settings: &EngineSettings) -> Result<Vec<TimeChart>, RecordingError> {
    let recording = Recording::read(&release.folder)?;
    let Some((first, last)) = recording.samples.span() else { return Ok(Vec::new()) };
    let mut settings = settings.clone();
    settings.policy.may_roll_back = false;
    let decided = release.stopped_after_s.map(|s| release.started_at + Duration::from_secs_f64(s.max(0.0)));
    let mut charts = Vec::new();
    replay::replay(&recording, &settings, |engine, effect| {
        let Effect::Judged(verdict) = effect else { return };
        let step = engine.window().step();
        let wanted = decided.map_or(last, |at| at + AFTER.max(step * STEPS_MIN));
        if !charts.is_empty() || verdict.at < wanted.min(last - step * 2) {
            return;
        }
        let from = first.max(release.started_at - BEFORE.max(step * STEPS_MIN));
        charts = distinct(&release.reasons)
            .into_iter()
            .filter_map(|finding| chart(engine, &recording.order, finding, from, verdict.at, decided))
            .take(CHARTS_MAX)
            .collect();
    });
    Ok(charts)
}

/// One finding a metric: segments of the same fault repeat each other.
fn distinct(reasons: &[Finding]) -> Vec<&Finding> {
    let mut seen: Vec<&str> = Vec::new();
    reasons
        .iter()
        .filter(|finding| {
            let signal = finding.signal.as_str();
            let known = seen.contains(&signal);
            seen.push(signal);
            !known
        })
        .collect()
}

fn chart(
    engine: &Engine,
    order: &ReleaseOrder,
    finding: &Finding,
    from: Timestamp,
    to: Timestamp,
    decided: Option<Timestamp>,
) -> Option<TimeChart> {
    let series: Vec<ChartSeries> = engine
        .chart(&finding.signal, from, to)
        .into_iter()
        .map(|line| ChartSeries { name: line.instance.to_string(), group: line.group, points: line.points })
        .collect();
    if series.is_empty() {
        return None;
    }
    let batches = order
        .batches
        .iter()
        .enumerate()
        .filter(|(_, batch)| batch.started_at <= to)
        .map(|(i, batch)| ChartMark { at: batch.started_at, label: format!("batch {}", i + 1) })
        .collect();
    Some(TimeChart {
        title: finding.signal.clone(),
        unit: finding.unit,
        series,
        batches,
        deviates_since: finding.since,
        decided: decided.map(|at| ChartMark { at, label: "stopped".to_owned() }),
    })
}

//! One release: what was decided, why, and what can be done.

use maud::{Markup, PreEscaped, html};

use crate::adapters::charts::{ChartMark, ChartSeries, Drawing, TimeChart, format_value};
use crate::adapters::guardian::{CommandRecord, EvidenceSeries, ReleaseDetail, ReleaseSummary};
use crate::domain::{FeedbackKind, Group, Timestamp};
use crate::guard::engine::Phase;
use crate::guard::{Action, Decider, Decision, Settlement};
use crate::judge::{Detector, Finding, Outcome};
use crate::signal::Unit;

use super::super::access::{Need, Who};
use super::{ago, moment, phase_word, signals_are_judged, tone};

/// Charts on a page; the suspects come first.
const CHARTS_MAX: usize = 24;

/// Charts of a release in which nothing is suspect that are shown at once.
const SHOWN_OF_A_GOOD_ONE: usize = 2;

/// Where it stands, in a word or three.
pub(super) fn headline(summary: &ReleaseSummary) -> &'static str {
    match summary.phase {
        Phase::Watching | Phase::Soaking => match summary.outcome {
            None => "no verdict yet",
            Some(Outcome::Healthy) => "nothing wrong so far",
            // As the gate says it.
            Some(Outcome::Unknown) => "cannot be judged yet",
            Some(Outcome::Suspect) => "suspect",
            Some(Outcome::Failing) => "failing",
        },
        other => phase_word(other),
    }
}

pub(super) fn body(
    detail: &ReleaseDetail,
    address: &str,
    who: &Who,
    form_key: &str,
    now: Timestamp,
) -> Markup {
    let decision = gravest(&detail.decisions);
    let findings: &[Finding] = match (decision, &detail.verdict) {
        (Some(decision), _) if !decision.reasons.is_empty() => &decision.reasons,
        (_, Some(verdict)) => &verdict.findings,
        _ => &[],
    };
    let (mut suspects, mut others): (Vec<_>, Vec<_>) = detail.evidence.iter().partition(|e| e.suspect);
    // In the order of the reasons above them.
    suspects.sort_by_key(|e| findings.iter().position(|f| f.signal == e.signal).unwrap_or(usize::MAX));
    if suspects.is_empty() {
        suspects = others.drain(..others.len().min(SHOWN_OF_A_GOOD_ONE)).collect();
    }
    html! {
        (banner(detail, decision, now))
        @if who.may(Need::Operate) && !detail.summary.phase.is_final() { (buttons(&detail.summary, address, form_key)) }
        @if !findings.is_empty() {
            h2 { "Why" }
            ol.reasons { @for finding in findings { (reason(finding)) } }
        }
        (similar(detail, decision))
        (blind(detail, decision))
        @let judged = detail.verdict.as_ref().map(|verdict| verdict.judged);
        @if judged.is_some() || !detail.evidence.is_empty() { h2 { "Signals" } }
        @if let Some(judged) = judged { p.quiet { (signals_are_judged(judged as usize)) } }
        @for evidence in suspects.into_iter().take(CHARTS_MAX) { (chart(evidence, detail, decision, findings)) }
        @if !others.is_empty() {
            details.more {
                summary { "Signals that look right" }
                @for evidence in others.into_iter().take(CHARTS_MAX) { (chart(evidence, detail, None, &[])) }
            }
        }
        (commands(&detail.commands))
        @if who.may(Need::Operate) { (feedback_form(address, form_key)) }
        (words(detail))
        (history(detail))
    }
}

/// The decision that matters: the gravest, of these the first.
fn gravest(decisions: &[Decision]) -> Option<&Decision> {
    let gravest = decisions.iter().map(|d| d.action.max(d.would)).max()?;
    decisions.iter().find(|d| d.action.max(d.would) == gravest)
}

fn banner(detail: &ReleaseDetail, decision: Option<&Decision>, now: Timestamp) -> Markup {
    let s = &detail.summary;
    html! {
        section.banner.(tone(s.phase, s.outcome)) {
            p.name { (s.application) " " (s.id)
                @match (&s.previous_version, &s.version) {
                    (Some(from), Some(to)) => { " · " (from) " → " (to) }
                    (None, Some(to)) => { " · " (to) }
                    (_, None) => {}
                }
            }
            h1 { (headline(s)) }
            @if let Some(decision) = decision {
                p.because { (decision.because) }
                @if decision.would > decision.action {
                    p { "In enforce mode it would have been: " strong { (decision.would.word()) } "." }
                }
            } @else if let Some(because) = &s.because { p.because { (because) } }
            @if let Some(record) = detail.commands.iter().max_by_key(|record| record.command.ordered_at) {
                p.command { (command_state(record)) }
            }
            p.quiet {
                @if let Some(p) = s.probability { "probability of a fault " strong { (format_value(Unit::Ratio, p)) } " · " }
                @if let Some(d) = decision { "decided " (moment(d.at)) " UTC, " (ago(d.at, now)) " by " (decider(d)) " · " }
                "began " (ago(s.started_at, now)) " · " (mode(s))
                @if let Some(by) = &s.held_by { " · held by " strong { (by) } }
            }
        }
    }
}

/// What is known of the newest command: ordered, confirmed or not.
fn command_state(record: &CommandRecord) -> Markup {
    let word = record.command.kind.word();
    let until = moment(record.command.deadline);
    html! {
        @match &record.settlement {
            None => { "The " (word) " is ordered and not confirmed yet; the release system is asked until " (until) " UTC." }
            Some(Settlement::Confirmed { read_back: true }) => { "The " (word) " is confirmed: the release system's state was read back." }
            Some(Settlement::Confirmed { read_back: false }) => { "The " (word) " was taken; its effect cannot be read back." }
            Some(Settlement::Refused { reason }) => {
                strong { "The " (word) " was refused: do it by hand in the release system. " } (reason)
            }
            Some(Settlement::Unreachable { reason }) => {
                strong { "The " (word) " is not confirmed: look into the release system and do it by hand. " } (reason)
            }
        }
    }
}

fn decider(decision: &Decision) -> &str {
    match &decision.by {
        Decider::Guardian => "the guardian",
        Decider::Operator(name) => name,
    }
}

fn mode(summary: &ReleaseSummary) -> &'static str {
    match summary.mode {
        crate::guard::Mode::Observe => "observe mode: it only records",
        crate::guard::Mode::Advise => "advise mode: it only tells",
        crate::guard::Mode::Enforce => "enforce mode: it acts",
    }
}

fn buttons(summary: &ReleaseSummary, address: &str, form_key: &str) -> Markup {
    let button = |order: &str, class: &str, text: &str| {
        html! { button.(class) name="order" value=(order) { (text) } }
    };
    html! {
        form.orders method="post" action={ (address) "/order" } {
            input type="hidden" name="key" value=(form_key);
            @match summary.phase {
                Phase::Watching | Phase::Soaking | Phase::RollingBack => { (button("hold", "normal", "Pause and hold")) }
                Phase::Pausing | Phase::Paused => { (button("resume", "normal", "Resume: let it go on")) }
                Phase::RolledBack | Phase::Finished | Phase::Cancelled => {}
            }
            @if summary.phase != Phase::RollingBack { (button("rollback", "danger", "Roll back")) }
            @if summary.held_by.is_some() { (button("hand-back", "normal", "Hand back to the guardian")) }
        }
    }
}

fn reason(finding: &Finding) -> Markup {
    let value = |v: Option<f64>| v.map_or("–".to_owned(), |v| format_value(finding.unit, v));
    let class = match finding.outcome {
        Outcome::Healthy => "healthy",
        Outcome::Unknown => "unknown",
        Outcome::Suspect => "suspect",
        Outcome::Failing => "failing",
    };
    let detector = match finding.detector {
        Detector::Rule => "rule",
        Detector::Funnel => "funnel",
        Detector::Model => "model",
    };
    html! {
        li.(class) {
            p.because { (finding.because) }
            div.scroll { table.numbers {
                thead { tr { th {} th { "before" } th { "now" } } }
                tbody {
                    tr.release { th { "release" } td { (value(finding.release_before)) } td { strong { (value(finding.release_after)) } } }
                    tr.reference { th { "reference" } td { (value(finding.reference_before)) } td { (value(finding.reference_after)) } }
                }
            } }
            p.quiet {
                (finding.signal) " · " (detector) " " (finding.test) " · strength " (format!("{:.1}", finding.strength))
                @if let Some(since) = finding.since { " · since " (since.clock_time()) }
                @if !finding.instances.is_empty() {
                    " · " @for (i, instance) in finding.instances.iter().take(8).enumerate() { @if i > 0 { ", " } (instance) }
                    @if finding.instances.len() > 8 { " and " (finding.instances.len() - 8) " more" }
                }
                @if finding.on_trial { " · on trial: shown, does not act" }
            }
        }
    }
}

fn similar(detail: &ReleaseDetail, decision: Option<&Decision>) -> Markup {
    let cases = match (decision, &detail.verdict) {
        (Some(decision), _) if !decision.similar.is_empty() => decision.similar.as_slice(),
        (_, Some(verdict)) => verdict.similar.as_slice(),
        _ => &[],
    };
    html! { @if !cases.is_empty() {
        h2 { "Past releases that looked like this" }
        ul { @for case in cases.iter().take(5) { li {
            (case.release)
            @match &case.cause { Some(cause) => { ", which had the fault " strong { (cause) } } None => ", which was healthy" }
            span.quiet { " · distance " (format!("{:.2}", case.distance)) }
        } } }
    } }
}

fn blind(detail: &ReleaseDetail, decision: Option<&Decision>) -> Markup {
    let mut lines: Vec<String> =
        detail.verdict.iter().flat_map(|v| &v.blind).map(ToString::to_string).collect();
    if let (true, Some(decision)) = (lines.is_empty(), decision) {
        lines.clone_from(&decision.blind);
    }
    html! { @if !lines.is_empty() {
        h2 { "Could not be judged" }
        ul.blind { @for line in lines.iter().take(12) { li { (line) } } }
        @if lines.len() > 12 {
            details.more { summary { (lines.len() - 12) " more" } ul.blind { @for line in &lines[12..] { li { (line) } } } }
        }
    } }
}

fn chart(
    evidence: &EvidenceSeries,
    detail: &ReleaseDetail,
    decision: Option<&Decision>,
    findings: &[Finding],
) -> Markup {
    let batches = detail.order.batches.iter().enumerate();
    let chart = TimeChart {
        title: evidence.signal.clone(),
        unit: evidence.unit,
        series: series(evidence),
        batches: batches
            .map(|(i, batch)| ChartMark { at: batch.started_at, label: format!("batch {}", i + 1) })
            .collect(),
        deviates_since: findings.iter().filter(|f| f.signal == evidence.signal).find_map(|f| f.since),
        decided: decision.filter(|d| d.action.max(d.would) > Action::Proceed).map(|d| ChartMark {
            at: d.at,
            label: format!("{} {}", d.action.max(d.would).word(), d.at.clock_time()),
        }),
    };
    let drawing = |base: Drawing| Drawing { instances: false, ..base };
    html! { figure.chart {
        div.wide { (PreEscaped(chart.svg(&drawing(Drawing::WIDE)))) }
        div.narrow { (PreEscaped(chart.svg(&drawing(Drawing::NARROW)))) }
    } }
}

/// Middle, lowest and highest as three lines a group: their median and span
/// are the group's.
fn series(evidence: &EvidenceSeries) -> Vec<ChartSeries> {
    let mut lines = Vec::new();
    for group in [Group::Release, Group::Reference] {
        let of = |p: &crate::adapters::guardian::EvidencePoint| match group {
            Group::Release => (p.release, p.release_range),
            Group::Reference => (p.reference, p.reference_range),
        };
        for name in ["middle", "lowest", "highest"] {
            let points = evidence.points.iter().map(|p| {
                let (middle, range) = of(p);
                let value = match name {
                    "lowest" => range.map(|r| r.0).or(middle),
                    "highest" => range.map(|r| r.1).or(middle),
                    _ => middle,
                };
                (p.at, value.unwrap_or(f64::NAN))
            });
            lines.push(ChartSeries { name: name.to_owned(), group, points: points.collect() });
        }
    }
    lines
}

fn commands(commands: &[CommandRecord]) -> Markup {
    html! { @if !commands.is_empty() {
        h2 { "Commands" }
        ul.commands { @for record in commands { li {
            strong { (record.command.kind.word()) } " ordered " (moment(record.command.ordered_at)) ": "
            @match &record.settlement {
                None => { span.chip.suspect { "ordered, not confirmed yet" } }
                Some(Settlement::Confirmed { read_back: true }) => { span.chip.healthy { "confirmed, read back" } }
                Some(Settlement::Confirmed { read_back: false }) => { span.chip.healthy { "taken" } " its effect cannot be read back" }
                Some(Settlement::Refused { reason }) => { span.chip.failing { "refused" } " " (reason) " – a person must act" }
                Some(Settlement::Unreachable { reason }) => { span.chip.failing { "not confirmed" } " " (reason) " – a person must act" }
            }
            @if let Some(at) = record.settled_at { span.quiet { " " (moment(at)) } }
            @if !record.attempts.is_empty() {
                details { summary { (record.attempts.len()) (if record.attempts.len() == 1 { " attempt" } else { " attempts" }) }
                    ul { @for attempt in &record.attempts { li { (moment(attempt.at)) " " (attempt.result) } } } }
            }
        } } }
    } }
}

fn feedback_form(address: &str, form_key: &str) -> Markup {
    html! {
        h2 { "Was the guardian right?" }
        form.feedback method="post" action={ (address) "/feedback" } {
            input type="hidden" name="key" value=(form_key);
            label { input type="radio" name="kind" value="fault_confirmed" required; " There was a fault" }
            label { input type="radio" name="kind" value="false_alarm"; " False alarm" }
            label { input type="radio" name="kind" value="fault_missed"; " It missed a fault" }
            label.block { "Fault began (UTC, optional) " input name="onset" placeholder="2026-03-01T08:30:00Z" maxlength="40"; }
            label.block { "Comment " textarea name="comment" rows="2" maxlength="4000" {} }
            button { "Send" }
        }
    }
}

fn words(detail: &ReleaseDetail) -> Markup {
    html! { @if !detail.feedback.is_empty() {
        ul.words { @for word in &detail.feedback { li {
            strong { @match word.kind {
                FeedbackKind::FaultConfirmed => "fault confirmed",
                FeedbackKind::FalseAlarm => "false alarm",
                FeedbackKind::FaultMissed => "fault missed",
            } }
            " by " (word.by) " " (moment(word.at))
            @if let Some(comment) = &word.comment { ": " (comment) }
        } } }
    } }
}

fn history(detail: &ReleaseDetail) -> Markup {
    html! {
        details.more {
            summary { "Decisions (" (detail.decisions.len()) ")" }
            ul { @for d in &detail.decisions { li { (moment(d.at)) " " strong { (d.action.word()) } " by " (decider(d)) ": " (d.because) } } }
        }
        details.more {
            summary { "Audit (" (detail.audit.len()) ")" }
            ul { @for line in &detail.audit { li { (moment(line.at)) " " strong { (line.who) } " " (line.text) } } }
        }
        details.more {
            summary { "Machines" }
            @if let Some(groups) = &detail.order.groups {
                p { "Told apart by labels: release " code { (groups.release) } ", reference " code { (groups.reference) }
                    ". Batches and reference are those that were found to have them." }
            }
            @for (i, batch) in detail.order.batches.iter().enumerate() {
                p { "Batch " (i + 1) ", " (moment(batch.started_at)) ": "
                    @for (k, instance) in batch.instances.iter().enumerate() { @if k > 0 { ", " } (instance) } }
            }
            p { "Reference: " @for (k, instance) in detail.order.reference.iter().enumerate() { @if k > 0 { ", " } (instance) } }
            @if let Some(folder) = &detail.recording { p { "Recording: " code { (folder) } } }
        }
    }
}

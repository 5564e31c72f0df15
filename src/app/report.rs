//! The replay report: one HTML file that stands alone, with the figures, a
//! table of all releases, and for each one that was stopped or missed why,
//! with the charts of the signals that decided.

use std::fs;
use std::io;
use std::path::Path;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::adapters::charts::{Drawing, HistogramChart, TimeChart, VARIABLES_CSS, format_value};
use crate::domain::LabelOutcome;
use crate::guard::Action;
use crate::judge::{Finding, Outcome};
use crate::signal::Unit;

use super::figures::{Figures, Share};

/// Reasons shown of one release; the rest is counted.
const REASONS_MAX: usize = 10;
/// Charts shown of one release.
const CHARTS_MAX: usize = 6;
/// Lines of what was blind shown of one release.
const BLIND_MAX: usize = 10;

/// Everything that the report shows.
#[derive(Clone, Debug)]
pub struct ReplayReport {
    /// What was replayed, and with which model and settings.
    pub about: String,
    /// The totals.
    pub figures: Figures,
    /// All releases, in the order of the table.
    pub releases: Vec<ReleaseReport>,
    /// Recordings that could not be read: which, and why.
    pub unreadable: Vec<(String, String)>,
}

/// One release in the report.
#[derive(Clone, Debug)]
pub struct ReleaseReport {
    /// The release's id.
    pub id: String,
    /// What it was, where that is known.
    pub label: Option<LabelOutcome>,
    /// What was wrong with it, where that is known.
    pub cause: Option<String>,
    /// The gravest action that was reached.
    pub decision: Action,
    /// Seconds from the release's start to the stop.
    pub stopped_after_s: Option<f64>,
    /// Seconds from the fault's onset to the stop; negative if it came first.
    pub delay_s: Option<f64>,
    /// That it is faulty, 0 to 1.
    pub probability: f64,
    /// The findings behind the decision, gravest first.
    pub reasons: Vec<Finding>,
    /// What could not be judged, and why.
    pub blind: Vec<String>,
    /// Whether anything could be.
    pub judged: bool,
    /// The deciding signals, in the order of the reasons.
    pub charts: Vec<TimeChart>,
}

impl ReleaseReport {
    fn is_stopped(&self) -> bool {
        self.decision >= Action::Pause
    }

    /// What became of it, in a word and its colour.
    fn judgement(&self) -> (&'static str, &'static str) {
        match (self.label, self.is_stopped()) {
            (Some(LabelOutcome::Faulty), true) => ("caught", "good"),
            (Some(LabelOutcome::Faulty), false) => ("missed", "bad"),
            (Some(LabelOutcome::Healthy) | None, false) if !self.judged => ("not judged", "bad"),
            (Some(LabelOutcome::Healthy), true) => ("false stop", "bad"),
            (Some(LabelOutcome::Healthy), false) => ("passed", "good"),
            (None, true) => ("stopped", "plain"),
            (None, false) => ("passed, no label", "plain"),
        }
    }

    /// Whether its reasons and charts are shown: it was stopped, missed or not judged.
    fn is_told(&self) -> bool {
        self.is_stopped() || !self.judged || self.label == Some(LabelOutcome::Faulty)
    }
}

impl ReplayReport {
    /// Writes the report; a half-written one never has its name.
    ///
    /// # Errors
    /// As the file system says.
    pub fn write(&self, file: &Path) -> io::Result<()> {
        let mut part = file.as_os_str().to_owned();
        part.push(".part");
        let part = Path::new(&part);
        fs::write(part, self.html())?;
        fs::rename(part, file)
    }

    /// The report as one HTML document without anything from elsewhere.
    pub fn html(&self) -> String {
        let mut told: Vec<(usize, &ReleaseReport)> =
            self.releases.iter().enumerate().filter(|(_, release)| release.is_told()).collect();
        // What went wrong is what a reader looks for.
        told.sort_by_key(|(_, release)| release.judgement().1 != "bad");
        let page = html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    title { "Replay report" }
                    style { (PreEscaped(VARIABLES_CSS)) (PreEscaped(CSS)) }
                }
                body {
                    h1 { "Replay report" }
                    p.quiet { (self.about) }
                    (self.tiles())
                    (self.delays())
                    (self.table())
                    @if !self.unreadable.is_empty() {
                        h2 { "Could not be read" }
                        ul { @for (id, why) in &self.unreadable { li { strong { (id) } ": " (why) } } }
                    }
                    @for (index, release) in told { (section(index, release)) }
                }
            }
        };
        page.into_string()
    }

    fn tiles(&self) -> Markup {
        let delay = self.figures.median_delay_seconds();
        html! { div.tiles {
            (share_tile("recall", self.figures.recall))
            (share_tile("false stops per good release", self.figures.false_stops))
            @for faulty in [0.01, 0.05] {
                (tile(
                    &format!("precision where {} are faulty", format_value(Unit::Ratio, faulty)),
                    &format_value(Unit::Ratio, self.figures.precision_at(faulty)),
                    "re-weighted from this set",
                ))
            }
            (tile(
                "median delay from onset",
                &delay.map_or("–".to_owned(), |d| format_value(Unit::Seconds, d)),
                &format!("{} stops with a known onset", self.figures.delays_seconds.len()),
            ))
            (tile("releases", &self.releases.len().to_string(), &self.without()))
        } }
    }

    /// Which releases the other tiles leave out.
    fn without(&self) -> String {
        let Figures { unlabelled, unjudged, .. } = self.figures;
        match unjudged {
            0 => format!("{unlabelled} without a label"),
            _ => format!("{unlabelled} without a label, nothing judged of {unjudged}"),
        }
    }

    fn delays(&self) -> Markup {
        let missed = self.figures.recall.of.saturating_sub(self.figures.recall.count);
        let chart = HistogramChart {
            title: "Delay from onset to stop".to_owned(),
            unit: Unit::Seconds,
            values: self.figures.delays_seconds.clone(),
            never: Some(("never stopped".to_owned(), u32::try_from(missed).unwrap_or(u32::MAX))),
        };
        html! { @if self.figures.delays_seconds.len() > 1 { figure { (PreEscaped(chart.svg(&Drawing::WIDE))) } } }
    }

    fn table(&self) -> Markup {
        html! {
            h2 { "Releases" }
            div.scroll { table {
                thead { tr {
                    th { "release" } th { "it was" } th { "decision" } th { "" } th.n { "stopped after" } th.n { "delay" }
                    th.n { "probability" } th { "first reason" }
                } }
                tbody { @for (index, release) in self.releases.iter().enumerate() { (row(index, release)) } }
            } }
        }
    }
}

fn tile(name: &str, value: &str, note: &str) -> Markup {
    html! { div.tile { span.quiet { (name) } strong { (value) } span.quiet { (note) } } }
}

fn share_tile(name: &str, share: Share) -> Markup {
    let (low, high) = share.interval();
    let show = |value| format_value(Unit::Ratio, value);
    let note = format!("{} of {}, 95 % interval {} to {}", share.count, share.of, show(low), show(high));
    tile(name, &show(share.value()), &note)
}

fn label(release: &ReleaseReport) -> &'static str {
    match release.label {
        Some(LabelOutcome::Faulty) => "faulty",
        Some(LabelOutcome::Healthy) => "good",
        None => "–",
    }
}

fn seconds(value: Option<f64>) -> String {
    value.map_or("–".to_owned(), |v| format_value(Unit::Seconds, v))
}

fn row(index: usize, release: &ReleaseReport) -> Markup {
    let (word, class) = release.judgement();
    html! { tr {
        td { @if release.is_told() { a href={ "#r" (index) } { (release.id) } } @else { (release.id) } }
        td { (label(release)) @if let Some(cause) = &release.cause { " · " (cause) } }
        td { (release.decision.word()) }
        td { span.(class) { (word) } }
        td.n data-name="stopped after" { (seconds(release.stopped_after_s)) }
        td.n data-name="delay" { (seconds(release.delay_s)) }
        td.n data-name="probability" { (format_value(Unit::Ratio, release.probability)) }
        td.why {
            @if let Some(first) = release.reasons.first() { (first.because) }
            @else if let Some(why) = release.blind.first().filter(|_| !release.judged) { (why) }
        }
    } }
}

fn section(index: usize, release: &ReleaseReport) -> Markup {
    let (word, class) = release.judgement();
    html! { section id={ "r" (index) } {
        h2 { (release.id) " " span.(class) { (word) } }
        p.quiet {
            "it was " (label(release)) @if let Some(cause) = &release.cause { " (" (cause) ")" }
            " · decision " strong { (release.decision.word()) }
            " · stopped after " (seconds(release.stopped_after_s)) " · delay " (seconds(release.delay_s))
            " · probability " (format_value(Unit::Ratio, release.probability))
        }
        @if release.reasons.is_empty() { p { "No finding was graver than healthy." } }
        ol { @for finding in release.reasons.iter().take(REASONS_MAX) { (reason(finding)) } }
        @if release.reasons.len() > REASONS_MAX { p.quiet { "and " (release.reasons.len() - REASONS_MAX) " more" } }
        @for chart in release.charts.iter().take(CHARTS_MAX) {
            figure { (PreEscaped(chart.svg(&Drawing::WIDE))) }
        }
        @if !release.blind.is_empty() {
            details { summary { "Could not be judged (" (release.blind.len()) ")" }
                ul { @for line in release.blind.iter().take(BLIND_MAX) { li { (line) } } } }
        }
    } }
}

fn reason(finding: &Finding) -> Markup {
    let show = |v: Option<f64>| v.map_or("–".to_owned(), |v| format_value(finding.unit, v));
    let outcome = match finding.outcome {
        Outcome::Healthy => "healthy",
        Outcome::Unknown => "unknown",
        Outcome::Suspect => "suspect",
        Outcome::Failing => "failing",
    };
    html! { li {
        (finding.because)
        p.quiet {
            (outcome) " by " (finding.test) " · "
            span.release { "release " (show(finding.release_before)) " → " (show(finding.release_after)) } " · "
            span.reference { "reference " (show(finding.reference_before)) " → " (show(finding.reference_after)) }
            " · strength " (format!("{:.1}", finding.strength))
        }
    } }
}

const CSS: &str = "\
:root{color-scheme:light dark;--line:#e2e8f0;--quiet:#5b6472;--good:#15803d;--bad:#b91c1c;--raised:#f8fafc}\
@media (prefers-color-scheme:dark){:root{--line:#2d3643;--quiet:#9aa5b4;--good:#5fd08a;--bad:#f98080;--raised:#1c232d}}\
body{max-width:1000px;margin:0 auto;padding:20px;background:var(--chart-ground);color:var(--chart-strong);\
font:15px/1.45 system-ui,-apple-system,'Segoe UI','DejaVu Sans',sans-serif}\
a{color:var(--chart-reference)}h1{font-size:24px;margin:8px 0}h2{font-size:18px;margin:32px 0 8px}\
.quiet{color:var(--quiet);font-size:13px}.good{color:var(--good)}.bad{color:var(--bad);font-weight:600}\
.tiles{display:grid;grid-template-columns:repeat(auto-fill,minmax(210px,1fr));gap:10px;margin:16px 0}\
.tile{border:1px solid var(--line);border-radius:6px;padding:10px 14px;background:var(--raised)}\
.tile>*{display:block}.tile strong{font-size:24px;font-weight:600}\
.scroll{overflow-x:auto}table{border-collapse:collapse;font-size:14px;font-variant-numeric:tabular-nums}\
th,td{text-align:left;padding:4px 14px 4px 0;border-bottom:1px solid var(--line);vertical-align:top}\
th{font-weight:500;color:var(--quiet)}td,th{white-space:nowrap}td.why{white-space:normal;min-width:280px}\
.n{text-align:right}section{border-top:1px solid var(--line);margin-top:28px}\
section h2 span{font-size:14px;margin-left:6px}li{margin:6px 0;overflow-wrap:anywhere}li p{margin:2px 0}\
.release{color:var(--chart-release)}.reference{color:var(--chart-reference)}\
figure{margin:14px 0}figure svg{max-width:100%;height:auto}summary{cursor:pointer;color:var(--quiet)}\
@media (max-width:640px){body{padding:12px}.tiles{grid-template-columns:1fr 1fr}figure{overflow-x:auto}\
figure svg{max-width:none}thead{display:none}table,tbody{display:block}tr{display:flex;flex-wrap:wrap;gap:2px 14px;\
padding:8px 0;border-bottom:1px solid var(--line)}td{border:0;padding:0}td.why{flex-basis:100%;min-width:0}\
td.n::before{content:attr(data-name) ' ';color:var(--quiet)}}";

#[cfg(test)]
mod tests {
    use super::*;

    fn release(id: &str, label: Option<LabelOutcome>, decision: Action) -> ReleaseReport {
        ReleaseReport {
            id: id.to_owned(),
            label,
            cause: None,
            decision,
            stopped_after_s: (decision >= Action::Pause).then_some(90.0),
            delay_s: None,
            probability: 0.97,
            reasons: Vec::new(),
            blind: vec!["reference group: one instance only".to_owned()],
            judged: true,
            charts: Vec::new(),
        }
    }

    fn report(releases: Vec<ReleaseReport>) -> ReplayReport {
        let figures = Figures {
            recall: Share { count: 1, of: 2 },
            false_stops: Share { count: 0, of: 1 },
            delays_seconds: vec![30.0],
            unlabelled: 0,
            unjudged: 0,
        };
        ReplayReport { about: "3 recordings".to_owned(), figures, releases, unreadable: Vec::new() }
    }

    #[test]
    fn what_went_wrong_is_told_first_and_what_passed_only_in_the_table() {
        let html = report(vec![
            release("caught-one", Some(LabelOutcome::Faulty), Action::Rollback),
            release("missed-one", Some(LabelOutcome::Faulty), Action::Proceed),
            release("good-one", Some(LabelOutcome::Healthy), Action::Proceed),
        ])
        .html();
        let place = |text: &str| html.find(text).unwrap_or_else(|| panic!("{text} is missing"));
        assert!(place("<section id=\"r1\"") < place("<section id=\"r0\""));
        assert!(!html.contains("<section id=\"r2\""));
        assert!(html.contains("1 of 2, 95 % interval"));
    }

    #[test]
    fn the_report_names_nothing_outside_of_itself_and_escapes_names() {
        let html = report(vec![release("<img src=x>", None, Action::Pause)]).html();
        assert!(!html.contains("<img"), "{html}");
        for outside in ["<link", "<script", "url(", "https://"] {
            assert!(!html.contains(outside), "{outside}");
        }
    }

    #[test]
    fn a_report_is_written_whole() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("report.html");
        report(Vec::new()).write(&file).unwrap();
        assert!(fs::read_to_string(&file).unwrap().ends_with("</html>"));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}

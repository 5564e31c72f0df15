//! How good the guardian was, from feedback.

use maud::{Markup, html};

use crate::adapters::charts::format_value;
use crate::adapters::guardian::{Quality, QualityCounts};
use crate::signal::Unit;

pub(super) fn body(quality: &Quality) -> Markup {
    html! {
        h1 { "Quality, from feedback" }
        p.quiet { "A rollback that settled counts as a fault, and a release that passed as good, until somebody says otherwise. "
            "A pause without a word is unknown, and so is what was cancelled or could not be judged to its end." }
        div.scroll { table.figures {
            (head("application"))
            tbody {
                (row("all", &quality.all))
                @for (name, counts) in &quality.applications { (row(name.as_str(), counts)) }
            }
        } }
        h2 { "Over time" }
        @if quality.over_time.is_empty() { p.quiet { "No release has ended yet." } } @else {
            div.scroll { table.figures {
                (head("month"))
                tbody { @for period in &quality.over_time {
                    (row(period.from.to_string().get(..7).unwrap_or_default(), &period.counts))
                } }
            } }
        }
    }
}

fn head(first: &str) -> Markup {
    html! { thead { tr {
        th { (first) } th { "recall" } th { "precision" } th { "false stops per good release" } th { "median delay" }
        th { "releases" } th { "caught" } th { "missed" } th { "false stops" } th { "passed" } th { "unknown" }
    } } }
}

fn row(name: &str, counts: &QualityCounts) -> Markup {
    let show = |unit, value: Option<f64>| value.map_or("–".to_owned(), |v| format_value(unit, v));
    html! { tr {
        th { (name) }
        td { (show(Unit::Ratio, counts.recall)) } td { (show(Unit::Ratio, counts.precision)) }
        td { (show(Unit::Ratio, counts.false_stops_per_good)) } td { (show(Unit::Seconds, counts.median_delay_seconds)) }
        td { (counts.releases) } td { (counts.caught) } td { (counts.missed) } td { (counts.false_stops) }
        td { (counts.passed) } td { (counts.unknown) }
    } }
}

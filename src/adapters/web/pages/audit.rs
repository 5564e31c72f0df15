//! What concerns no single release: refused calls, repeated deliveries, halts.

use maud::{Markup, html};

use crate::adapters::guardian::AuditLine;

use super::moment;

pub(super) fn body(lines: &[AuditLine]) -> Markup {
    html! {
        h1 { "Audit" }
        p.quiet { "What concerns no single release: calls that were refused, what was delivered again, halts. "
            "What was done to a release stands on its own page." }
        @if lines.is_empty() { p { "Nothing yet." } } @else {
            div.scroll { table {
                thead { tr { th { "when" } th { "who" } th { "what" } } }
                tbody { @for line in lines.iter().rev() {
                    tr { td { (moment(line.at)) } td { (line.who) } td.why { (line.text) } }
                } }
            } }
        }
    }
}

//! All releases and applications at a glance.

use maud::{Markup, html};

use crate::adapters::guardian::{ApplicationState, HaltState, ReleasePage, ReleaseSummary};
use crate::domain::{LabelOutcome, ReleaseKey, Timestamp};
use crate::signal::Inventory;

use super::super::access::{Need, Who};
use super::{ago, moment, phase_word, release_path, signals_are_judged, tone};

/// Signals of one application that the page names.
const SIGNALS_SHOWN: usize = 100;

pub(super) fn body(
    page: &ReleasePage,
    applications: &[ApplicationState],
    halt: &HaltState,
    who: &Who,
    form_key: &str,
    now: Timestamp,
) -> Markup {
    let watched: Vec<&ReleaseSummary> = page.releases.iter().filter(|r| !r.phase.is_final()).collect();
    let over: Vec<&ReleaseSummary> = page.releases.iter().filter(|r| r.phase.is_final()).collect();
    html! {
        (halt_box(halt, who, form_key))
        h1 { "Now" }
        @if watched.is_empty() { p.quiet { "No release is being watched." } }
        @for release in watched { (card(release, now)) }
        h2 { "Applications" }
        @if applications.is_empty() {
            p.quiet { "No application is known. Configure one, or begin a release by " code { "POST /api/v1/releases" } "." }
        }
        div.apps { @for application in applications { (application_box(application)) } }
        h2 { "Past releases" }
        @if over.is_empty() { p.quiet { "None yet." } } @else {
            div.scroll { table.past {
                thead { tr { th { "release" } th { "began (UTC)" } th { "result" } th { "it was" } th { "why" } } }
                tbody { @for release in over { (row(release)) } }
            } }
        }
        @if let Some(before) = page.next_before { p { a href={ "/?before=" (before) } { "Older releases" } } }
    }
}

fn path(release: &ReleaseSummary) -> String {
    release_path(&ReleaseKey { application: release.application.clone(), id: release.id.clone() })
}

fn card(release: &ReleaseSummary, now: Timestamp) -> Markup {
    html! {
        a.card.(tone(release.phase, release.outcome)) href=(path(release)) {
            span.state { (super::release::headline(release)) }
            span.name { (release.application) " " (release.id) @if let Some(v) = &release.version { " · " (v) } }
            span.because { @if let Some(because) = &release.because { (because) } @else { "no decision so far" } }
            span.quiet { "began " (ago(release.started_at, now)) @if let Some(by) = &release.held_by { " · held by " (by) } }
        }
    }
}

fn row(release: &ReleaseSummary) -> Markup {
    html! {
        tr {
            td { a href=(path(release)) { (release.application) " " (release.id) } }
            td { (moment(release.started_at)) }
            td { span.chip.(tone(release.phase, release.outcome)) { (phase_word(release.phase)) } }
            td { @match release.label {
                Some(LabelOutcome::Faulty) => "faulty", Some(LabelOutcome::Healthy) => "good", None => "–",
            } }
            td.why { @if let Some(because) = &release.because { (because) } }
        }
    }
}

fn application_box(application: &ApplicationState) -> Markup {
    let class = match (application.ready, application.troubles.is_empty()) {
        (true, true) => "healthy",
        (true, false) => "suspect",
        (false, _) => "unknown",
    };
    let mode = match application.mode {
        crate::guard::Mode::Observe => "observe",
        crate::guard::Mode::Advise => "advise",
        crate::guard::Mode::Enforce => "enforce",
    };
    html! {
        section.app.(class) {
            h3 { (application.name) }
            p { (mode) " · " (application.instances_up) " of " (application.instances.len())
                @if application.instances.len() == 1 { " instance answers" } @else { " instances answer" }
                @if !application.configured { " · found by itself" } }
            @if application.ready && application.troubles.is_empty() { p.ok { "ready" } }
            @for missing in &application.missing {
                p.trouble { "missing: " code { (missing.setting) } " – " (missing.why) }
            }
            @for trouble in &application.troubles { p.trouble { (trouble) } }
            @for lack in &application.recommended {
                p.quiet { "better with: " code { (lack.setting) } " – " (lack.why) }
            }
            p.quiet { "warm-up: " (application.warm_up) }
            (signals(&application.inventory))
        }
    }
}

/// What is judged, behind its number.
fn signals(inventory: &Inventory) -> Markup {
    let found = &inventory.signals;
    html! { @if !found.is_empty() {
        details.signals {
            summary { (signals_are_judged(found.len())) }
            div.scroll { table {
                thead { tr { th { "class" } th { "bad when" } th { "signal" } } }
                tbody { @for signal in found.iter().take(SIGNALS_SHOWN) { tr {
                    td { (signal.class.word()) } td { (signal.bad_when.word()) }
                    td { (signal.name)
                        @for (label, count) in &signal.segments { span.quiet { " · by " (label) " (" (count) ")" } } }
                } } }
            } }
            @if found.len() > SIGNALS_SHOWN { p.quiet { "and " (found.len() - SIGNALS_SHOWN) " more" } }
        }
    } }
}

fn halt_box(halt: &HaltState, who: &Who, form_key: &str) -> Markup {
    html! {
        @if halt.on {
            section.banner.suspect {
                h1 { "All commands are halted" }
                p.because { "By " (halt.by.as_deref().unwrap_or("somebody"))
                    @if let Some(since) = halt.since { " since " (moment(since)) }
                    @if let Some(reason) = &halt.reason { ": " (reason) } }
                @if who.may(Need::Operate) {
                    form method="post" action="/halt" {
                        input type="hidden" name="key" value=(form_key);
                        input type="hidden" name="on" value="false";
                        button { "Allow commands again" }
                    }
                }
            }
        } @else if who.may(Need::Operate) {
            details.halt {
                summary { "Halt all commands" }
                form method="post" action="/halt" {
                    input type="hidden" name="key" value=(form_key);
                    input type="hidden" name="on" value="true";
                    label { "Reason " input name="reason" required maxlength="400"; }
                    button.danger { "Halt all commands" }
                }
            }
        }
    }
}

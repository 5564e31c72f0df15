//! The pages: HTML without a build step, readable without a script, followed
//! live where there is one.

mod audit;
mod list;
mod quality;
mod release;

use axum::Router;
use axum::extract::{FromRequestParts, Query, State};
use axum::http::request::Parts;
use axum::http::{HeaderName, Method, StatusCode, header};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::get;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use serde::Deserialize;

use crate::adapters::charts::VARIABLES_CSS;
use crate::adapters::clock;
use crate::adapters::guardian::{GuardianError, ReleaseFilter};
use crate::domain::{ReleaseKey, Timestamp};
use crate::guard::engine::Phase;
use crate::judge::Outcome;

use super::Web;
use super::access::{Need, Who};
use super::call::Named;
use super::problem::Problem;

pub(super) fn routes() -> Router<Web> {
    Router::new()
        .route("/", get(list_page))
        .route("/releases/{application}/{id}", get(release_page))
        .route("/quality", get(quality_page))
        .route("/audit", get(audit_page))
        .route("/assets/style.css", get(style))
        .route("/assets/live.js", get(script))
        .route("/assets/icon.svg", get(icon))
}

/// The address of a release's page, and under `/api/v1` of the release.
pub(super) fn release_path(release: &ReleaseKey) -> String {
    format!("/releases/{}/{}", escaped(release.application.as_str()), escaped(release.id.as_str()))
}

/// A name as one part of an address.
fn escaped(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~:".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    // Browsers would walk up the path.
    if out.chars().all(|c| c == '.') { out.replace('.', "%2E") } else { out }
}

/// Who looks at a page; those who may not are shown the way in.
struct Reader(Who);

impl FromRequestParts<Web> for Reader {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, web: &Web) -> Result<Self, Response> {
        if matches!(web.identify(&parts.headers), Ok(None)) {
            let next: String = url::form_urlencoded::byte_serialize(parts.uri.path().as_bytes()).collect();
            return Err(Redirect::to(&format!("/login?next={next}")).into_response());
        }
        let admitted = web.admit(&Method::GET, &parts.headers, Need::Read, None).await;
        admitted.map(Self).map_err(|problem| ProblemPage(problem).into_response())
    }
}

/// An error as a page.
pub(super) struct ProblemPage(pub(super) Problem);

impl From<Problem> for ProblemPage {
    fn from(problem: Problem) -> Self {
        Self(problem)
    }
}

impl From<GuardianError> for ProblemPage {
    fn from(error: GuardianError) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for ProblemPage {
    fn into_response(self) -> Response {
        let Self(problem) = self;
        let body = html! {
            section.banner.unknown { h1 { (problem.status().as_u16()) } p.because { (problem.text()) } }
            p { a href="/" { "All releases" } }
        };
        (problem.status(), frame("Problem", None, None, body)).into_response()
    }
}

#[derive(Deserialize)]
struct ListQuery {
    before: Option<String>,
}

async fn list_page(
    State(web): State<Web>,
    Reader(who): Reader,
    Query(query): Query<ListQuery>,
) -> Result<Html<String>, ProblemPage> {
    let before = query.before.and_then(|text| text.parse::<Timestamp>().ok());
    let filter = ReleaseFilter { before, limit: Some(50), ..ReleaseFilter::default() };
    let (page, applications, halt) =
        tokio::try_join!(web.guardian.releases(filter), web.guardian.applications(), web.guardian.halt())?;
    let key = web.access.form_key(&who.name);
    let body = list::body(&page, &applications, &halt, &who, &key, clock::now());
    Ok(frame("Releases", Some(&who), Some("/api/v1/events"), body))
}

async fn release_page(
    State(web): State<Web>,
    Reader(who): Reader,
    named: Result<Named, Problem>,
) -> Result<Html<String>, ProblemPage> {
    let Named(key) = named?;
    let address = release_path(&key);
    let detail = web.guardian.release(key.clone()).await?;
    let form_key = web.access.form_key(&who.name);
    let body = release::body(&detail, &address, &who, &form_key, clock::now());
    let title = format!("{} {}: {}", key.application, key.id, release::headline(&detail.summary));
    let events = format!("/api/v1{address}/events");
    Ok(frame(&title, Some(&who), Some(&events), body))
}

async fn quality_page(State(web): State<Web>, Reader(who): Reader) -> Result<Html<String>, ProblemPage> {
    let quality = web.guardian.quality(None).await?;
    Ok(frame("Quality", Some(&who), None, quality::body(&quality)))
}

async fn audit_page(State(web): State<Web>, Reader(who): Reader) -> Result<Html<String>, ProblemPage> {
    let lines = web.guardian.general_audit().await?;
    Ok(frame("Audit", Some(&who), None, audit::body(&lines)))
}

/// What is around every page. `events` is followed by the script; without one
/// the page is loaded again now and then.
pub(super) fn frame(title: &str, who: Option<&Who>, events: Option<&str>, body: Markup) -> Html<String> {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " · release guardian" }
                link rel="icon" href="/assets/icon.svg" type="image/svg+xml";
                link rel="stylesheet" href="/assets/style.css";
                @if events.is_some() {
                    script src="/assets/live.js" defer {}
                    noscript { meta http-equiv="refresh" content="20"; }
                }
            }
            body {
                header.top {
                    a.home href="/" { "release guardian" }
                    nav { a href="/" { "Releases" } a href="/quality" { "Quality" } a href="/audit" { "Audit" } }
                    span.who {
                        @match who {
                            Some(who) if who.by_cookie => {
                                form method="post" action="/logout" {
                                    span { (who.name) " · " (who.role.word()) } button.plain { "log out" }
                                }
                            }
                            Some(who) if who.anonymous => { span { "anonymous · " (who.role.word()) } a href="/login" { "log in" } }
                            Some(who) => { span { (who.name) } }
                            None => { a href="/login" { "log in" } }
                        }
                    }
                }
                main data-events=[events] { (body) }
                p #connection hidden {}
            }
        }
    };
    Html(page.into_string())
}

/// A moment for people, with the machine's form behind it.
fn moment(at: Timestamp) -> Markup {
    let text = at.to_string();
    let day = text.get(..10).unwrap_or_default();
    html! { time datetime=(text) title=(text) { (day) " " (at.clock_time()) } }
}

/// How long ago.
fn ago(at: Timestamp, now: Timestamp) -> String {
    match now.since(at).as_secs() {
        s @ 0..=119 => format!("{s} s ago"),
        s @ 120..=7199 => format!("{} min ago", s / 60),
        s @ 7200..=172_799 => format!("{} h ago", s / 3600),
        s => format!("{} days ago", s / 86_400),
    }
}

fn signals_are_judged(count: usize) -> String {
    match count {
        0 => "no signal is judged".to_owned(),
        1 => "1 signal is judged".to_owned(),
        _ => format!("{count} signals are judged"),
    }
}

/// The class that colours a state.
fn tone(phase: Phase, outcome: Option<Outcome>) -> &'static str {
    match phase {
        Phase::Pausing | Phase::Paused | Phase::RollingBack => "failing",
        Phase::RolledBack => "stopped",
        Phase::Finished => "healthy",
        Phase::Cancelled => "unknown",
        Phase::Watching | Phase::Soaking => match outcome {
            Some(Outcome::Healthy) => "healthy",
            Some(Outcome::Suspect) => "suspect",
            Some(Outcome::Failing) => "failing",
            Some(Outcome::Unknown) | None => "unknown",
        },
    }
}

fn phase_word(phase: Phase) -> &'static str {
    match phase {
        Phase::Watching => "watching",
        Phase::Pausing => "pausing",
        Phase::Paused => "paused",
        Phase::RollingBack => "rolling back",
        Phase::RolledBack => "rolled back",
        Phase::Soaking => "watching after its end",
        Phase::Finished => "passed",
        Phase::Cancelled => "cancelled",
    }
}

const HOUR: (HeaderName, &str) = (header::CACHE_CONTROL, "max-age=3600");

async fn style() -> Response {
    let css = format!("{VARIABLES_CSS}\n{}", include_str!("../assets/style.css"));
    ([(header::CONTENT_TYPE, "text/css; charset=utf-8"), HOUR], css).into_response()
}

async fn script() -> Response {
    let js = include_str!("../assets/live.js");
    (StatusCode::OK, [(header::CONTENT_TYPE, "text/javascript; charset=utf-8"), HOUR], js).into_response()
}

async fn icon() -> Response {
    let svg = "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 16 16\"><path d=\"M8 1l6 2v5c0 4-3 6-6 7-3-1-6-3-6-7V3z\" \
               fill=\"#1d6fb8\"/><path d=\"M5 8l2 2 4-4\" fill=\"none\" stroke=\"#fff\" stroke-width=\"1.6\"/></svg>";
    ([(header::CONTENT_TYPE, "image/svg+xml"), HOUR], PreEscaped(svg).into_string()).into_response()
}

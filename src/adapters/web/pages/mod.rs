//! The pages: HTML without a build step, readable without a script, followed
//! live where there is one.

mod list;
mod quality;
mod release;

use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderName, Method, StatusCode, header};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::get;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use serde::Deserialize;

use crate::adapters::charts::VARIABLES_CSS;
use crate::adapters::clock;
use crate::adapters::guardian::ReleaseFilter;
use crate::domain::{ReleaseKey, Timestamp};
use crate::guard::engine::Phase;
use crate::judge::Outcome;

use super::Web;
use super::access::{Need, Who};
use super::api::release_key;
use super::problem::Problem;

pub(super) fn routes() -> Router<Web> {
    Router::new()
        .route("/", get(list_page))
        .route("/releases/{application}/{id}", get(release_page))
        .route("/quality", get(quality_page))
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
async fn reader(web: &Web, headers: &HeaderMap, to: &str) -> Result<Who, Response> {
    if matches!(web.identify(headers), Ok(None)) {
        let next: String = url::form_urlencoded::byte_serialize(to.as_bytes()).collect();
        return Err(Redirect::to(&format!("/login?next={next}")).into_response());
    }
    web.admit(&Method::GET, headers, Need::Read, None).await.map_err(|problem| problem_page(&problem))
}

/// An error as a page.
pub(super) fn problem_page(problem: &Problem) -> Response {
    let body = html! {
        section.banner.unknown { h1 { (problem.status().as_u16()) } p.because { (problem.text()) } }
        p { a href="/" { "All releases" } }
    };
    (problem.status(), frame("Problem", None, None, body)).into_response()
}

#[derive(Deserialize)]
struct ListQuery {
    before: Option<String>,
}

async fn list_page(State(web): State<Web>, headers: HeaderMap, Query(query): Query<ListQuery>) -> Response {
    let who = match reader(&web, &headers, "/").await {
        Ok(who) => who,
        Err(response) => return response,
    };
    let before = query.before.and_then(|text| text.parse::<Timestamp>().ok());
    let filter = ReleaseFilter { before, limit: Some(50), ..ReleaseFilter::default() };
    let found =
        tokio::try_join!(web.guardian.releases(filter), web.guardian.applications(), web.guardian.halt());
    match found {
        Ok((page, applications, halt)) => {
            let key = web.access.form_key(&who.name);
            let body = list::body(&page, &applications, &halt, &who, &key, clock::now());
            frame("Releases", Some(&who), Some("/api/v1/events"), body).into_response()
        }
        Err(error) => problem_page(&error.into()),
    }
}

async fn release_page(
    State(web): State<Web>,
    headers: HeaderMap,
    Path(path): Path<(String, String)>,
) -> Response {
    let key = match release_key(path) {
        Ok(key) => key,
        Err(problem) => return problem_page(&problem),
    };
    let address = release_path(&key);
    let who = match reader(&web, &headers, &address).await {
        Ok(who) => who,
        Err(response) => return response,
    };
    match web.guardian.release(key.clone()).await {
        Ok(detail) => {
            let form_key = web.access.form_key(&who.name);
            let body = release::body(&detail, &address, &who, &form_key, clock::now());
            let title = format!("{} {}: {}", key.application, key.id, release::headline(&detail.summary));
            let events = format!("/api/v1{address}/events");
            frame(&title, Some(&who), Some(&events), body).into_response()
        }
        Err(error) => problem_page(&error.into()),
    }
}

async fn quality_page(State(web): State<Web>, headers: HeaderMap) -> Response {
    let who = match reader(&web, &headers, "/quality").await {
        Ok(who) => who,
        Err(response) => return response,
    };
    match web.guardian.quality(None).await {
        Ok(quality) => frame("Quality", Some(&who), None, quality::body(&quality)).into_response(),
        Err(error) => problem_page(&error.into()),
    }
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
                    nav { a href="/" { "Releases" } a href="/quality" { "Quality" } }
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

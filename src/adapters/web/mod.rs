//! The HTTP interface and the pages, on top of [`Guardian`]. A flood here
//! never stops the judging: connections, requests at once, bodies and calls
//! per caller are bounded, and what is over the bound is refused and told so.

mod access;
mod api;
mod call;
mod events;
mod flagger;
mod forms;
mod hooks;
mod listen;
mod pages;
mod problem;
mod unread;
mod verdict;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::sync::Semaphore;

pub use access::{Access, Credential};
pub use listen::serve;

use access::Buckets;
use problem::Problem;

use super::guardian::Guardian;

/// Larger bodies are refused with 413. An order names its metrics, so it can
/// be long.
const BODY_BYTES_MAX: usize = 4 << 20;
/// Requests that are worked on at once; more are refused with 503.
const REQUESTS_MAX: usize = 64;
/// Pages and programs that follow events at once.
const FOLLOWERS_MAX: usize = 128;
/// An answer takes no longer; then it is 503.
const REQUEST_DEADLINE: Duration = Duration::from_secs(30);

/// What the interface needs: the daemon, and who may do what.
#[derive(Clone)]
pub struct Web {
    guardian: Guardian,
    access: Arc<Access>,
    requests: Arc<Semaphore>,
    followers: Arc<Semaphore>,
    buckets: Arc<Mutex<Buckets>>,
    events_of_flagger: flagger::Events,
    /// Whether people reach it by HTTPS, so that cookies are sent only there.
    secure: bool,
}

impl Web {
    /// `secure`: people reach the pages by HTTPS.
    pub fn new(guardian: Guardian, access: Access, secure: bool) -> Self {
        Self {
            guardian,
            access: Arc::new(access),
            requests: Arc::new(Semaphore::new(REQUESTS_MAX)),
            followers: Arc::new(Semaphore::new(FOLLOWERS_MAX)),
            buckets: Arc::new(Mutex::new(Buckets::default())),
            events_of_flagger: flagger::Events::default(),
            secure,
        }
    }

    /// All routes, and those behind links in messages: what is refused there
    /// leaves a line in the audit as well.
    pub fn router_with(self, links: Router) -> Router {
        let links = links
            .layer(from_fn_with_state(self.clone(), audited))
            .layer(from_fn_with_state(self.clone(), bounded));
        self.router().merge(links)
    }

    /// All routes: interface, pages, health.
    pub fn router(self) -> Router {
        let limited = api::routes()
            .merge(pages::routes())
            .merge(forms::routes())
            .merge(hooks::routes())
            .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
            .layer(from_fn_with_state(self.clone(), bounded));
        Router::new()
            .merge(limited)
            .merge(events::routes())
            .merge(verdict::routes())
            .merge(flagger::routes())
            .route("/healthz", get(|| async { "ok\n" }))
            .route("/readyz", get(readyz))
            .route("/metrics", get(metrics))
            .fallback(not_found)
            .method_not_allowed_fallback(wrong_method)
            .layer(from_fn(with_security_headers))
            .with_state(self)
    }
}

/// Refuses what comes while too much is under way, and what takes too long.
async fn bounded(State(web): State<Web>, request: Request, next: Next) -> Response {
    let Ok(_permit) = web.requests.try_acquire() else {
        return Problem::overloaded("too many requests are being worked on").into_response();
    };
    match tokio::time::timeout(REQUEST_DEADLINE, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Problem::overloaded("the answer took too long").into_response(),
    }
}

/// Writes into the audit that a link could not be used: forged, expired, used
/// before, or with a form that is no form. Opening one changes nothing.
async fn audited(State(web): State<Web>, request: Request, next: Next) -> Response {
    let opened = matches!(*request.method(), Method::GET | Method::HEAD);
    let response = next.run(request).await;
    let status = response.status();
    if !opened && status.is_client_error() && status != StatusCode::METHOD_NOT_ALLOWED {
        let why = match status {
            StatusCode::FORBIDDEN => "its signature is not ours",
            StatusCode::GONE => "it has expired",
            StatusCode::CONFLICT => "it was used before, or cannot be done now",
            StatusCode::PAYLOAD_TOO_LARGE => "the form is too long",
            _ => "what was sent is no form",
        };
        let problem = Problem::new(status, "link", "a link in a message was refused").detail(why);
        web.audit_refusal("somebody with a link", None, &problem).await;
    }
    response
}

const SECURITY_HEADERS: [(HeaderName, &str); 6] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; connect-src 'self'; \
         form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

async fn with_security_headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in SECURITY_HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

async fn readyz(State(web): State<Web>) -> Response {
    let readiness = web.guardian.readiness();
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, axum::Json(readiness)).into_response()
}

async fn metrics(State(web): State<Web>) -> Response {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], web.guardian.metrics()).into_response()
}

async fn not_found(request: Request) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "not-found", "there is nothing here").detail(format!(
        "{} is no address of the interface; see /api/v1/openapi.json",
        shown(request.uri().path())
    ))
}

/// An address as it may be shown: a token that stands in one is left out, since
/// senders put answers into their own logs.
fn shown(path: &str) -> String {
    match path.trim_start_matches('/').split('/').next() {
        Some(first @ ("flagger" | "kayenta" | "alertmanager")) => format!("/{first}/.."),
        Some(_) | None => path.to_owned(),
    }
}

async fn wrong_method(request: Request) -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method", "wrong method").detail(format!(
        "{} does not take {}; see /api/v1/openapi.json",
        shown(request.uri().path()),
        request.method()
    ))
}

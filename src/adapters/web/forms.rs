//! What the pages send: POST only, with a key that only our own pages carry.

use std::collections::HashMap;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Query, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use maud::html;
use serde::Deserialize;

use crate::adapters::guardian::{Caller, Word};
use crate::domain::{FeedbackKind, ReleaseKey, Timestamp};

use super::Web;
use super::access::{COOKIE, Need, Who, cookie_value, is_foreign, misdirected};
use super::api::operator_order;
use super::call::{Named, Sent, bytes_of};
use super::pages::{ProblemPage, frame, release_path};
use super::problem::Problem;

pub(super) fn routes() -> Router<Web> {
    Router::new()
        .route("/login", get(login_page).post(login))
        .route("/logout", post(logout))
        .route("/halt", post(halt))
        .route("/releases/{application}/{id}/order", post(order))
        .route("/releases/{application}/{id}/feedback", post(feedback))
}

type Form = HashMap<String, String>;

fn form(headers: &HeaderMap, sent: Sent) -> Result<Form, Problem> {
    let remedy = "this is what a page's form sends to";
    let body = bytes_of("application/x-www-form-urlencoded", remedy, headers, sent)?;
    Ok(url::form_urlencoded::parse(&body).into_owned().take(32).collect())
}

fn field<'a>(form: &'a Form, name: &str) -> Option<&'a str> {
    form.get(name).map(|v| v.trim()).filter(|v| !v.is_empty())
}

/// The form and who sent it, if they may and it came from one of our pages.
async fn admitted(
    web: &Web,
    headers: &HeaderMap,
    sent: Sent,
    about: Option<&ReleaseKey>,
) -> Result<(Who, Form), Problem> {
    let who = web.admit(&Method::POST, headers, Need::Operate, about).await?;
    let form = match form(headers, sent) {
        Ok(form) => form,
        Err(problem) => return Err(web.refused(&who, about, problem).await),
    };
    if !web.access.is_form_key(&who.name, form.get("key").map_or("", String::as_str)) {
        let detail = "the page is old or not ours; load it again and repeat";
        let problem = Problem::new(StatusCode::FORBIDDEN, "forbidden", "not allowed").detail(detail);
        return Err(web.refused(&who, about, problem).await);
    }
    Ok((who, form))
}

/// A form on the page of a release.
struct OfRelease {
    release: ReleaseKey,
    caller: Caller,
    form: Form,
}

impl FromRequest<Web> for OfRelease {
    type Rejection = ProblemPage;

    async fn from_request(request: Request, web: &Web) -> Result<Self, Self::Rejection> {
        let (mut parts, body) = request.into_parts();
        let Named(release) = Named::from_request_parts(&mut parts, web).await?;
        let headers = parts.headers.clone();
        let sent = Bytes::from_request(Request::from_parts(parts, body), web).await;
        let (who, form) = admitted(web, &headers, sent, Some(&release)).await?;
        Ok(Self { release, caller: Caller::new(who.name), form })
    }
}

async fn order(State(web): State<Web>, sent: OfRelease) -> Result<Redirect, ProblemPage> {
    let OfRelease { release, caller, form } = sent;
    let order = field(&form, "order").and_then(operator_order);
    let order =
        order.ok_or_else(|| Problem::invalid("order", "it must be hold, resume, rollback or hand-back"))?;
    web.guardian.operate(caller, release.clone(), order).await?;
    Ok(Redirect::to(&release_path(&release)))
}

async fn feedback(State(web): State<Web>, sent: OfRelease) -> Result<Redirect, ProblemPage> {
    let OfRelease { release, caller, form } = sent;
    let kind = match field(&form, "kind") {
        Some("fault_confirmed") => FeedbackKind::FaultConfirmed,
        Some("false_alarm") => FeedbackKind::FalseAlarm,
        Some("fault_missed") => FeedbackKind::FaultMissed,
        _ => return Err(Problem::invalid("kind", "choose one of the three").into()),
    };
    let onset = match field(&form, "onset").map(str::parse::<Timestamp>) {
        None => None,
        Some(Ok(onset)) => Some(onset),
        Some(Err(error)) => return Err(Problem::invalid("onset", error.to_string()).into()),
    };
    let word = Word { kind, onset, comment: field(&form, "comment").map(str::to_owned) };
    web.guardian.feedback(caller, release.clone(), word).await?;
    Ok(Redirect::to(&release_path(&release)))
}

async fn halt(State(web): State<Web>, headers: HeaderMap, sent: Sent) -> Result<Redirect, ProblemPage> {
    let (who, form) = admitted(&web, &headers, sent, None).await?;
    let on = match field(&form, "on") {
        Some("true") => true,
        Some("false") => false,
        _ => return Err(Problem::invalid("on", "it must be true or false").into()),
    };
    let reason = field(&form, "reason").unwrap_or_default().to_owned();
    web.guardian.set_halt(Caller::new(who.name), on, reason).await?;
    Ok(Redirect::to("/"))
}

#[derive(Deserialize)]
struct LoginQuery {
    next: Option<String>,
}

/// Only an address of our own: `//host` and `/\host` lead elsewhere.
fn own_address(next: Option<&str>) -> &str {
    next.filter(|n| n.starts_with('/') && !n.starts_with("//") && !n.contains(['\\', '\n', '\r', '\t']))
        .unwrap_or("/")
}

async fn login_page(Query(query): Query<LoginQuery>) -> Response {
    login_form(StatusCode::OK, own_address(query.next.as_deref()), None)
}

fn login_form(status: StatusCode, next: &str, trouble: Option<&str>) -> Response {
    let body = html! {
        h1 { "Log in" }
        @if let Some(trouble) = trouble { p.trouble { (trouble) } }
        form.login method="post" action="/login" {
            input type="hidden" name="next" value=(next);
            label.block { "Token " input type="password" name="token" autocomplete="current-password" required autofocus; }
            button { "Log in" }
        }
    };
    (status, frame("Log in", None, None, body)).into_response()
}

async fn login(State(web): State<Web>, headers: HeaderMap, sent: Sent) -> Response {
    if let Some(refused) = from_elsewhere(&web, &headers).await {
        return refused;
    }
    let form = match form(&headers, sent) {
        Ok(form) => form,
        Err(problem) => return refused_page(&web, problem).await,
    };
    let next = own_address(form.get("next").map(String::as_str)).to_owned();
    let token = field(&form, "token").unwrap_or_default();
    if web.spend("\u{0}login").is_err() {
        return login_form(StatusCode::TOO_MANY_REQUESTS, &next, Some("Too many tries; wait a second."));
    }
    if web.knows(token).is_none() {
        let problem = Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", "the token is not known");
        web.audit_refusal("unknown", None, &problem).await;
        return login_form(StatusCode::UNAUTHORIZED, &next, Some("This token is not known."));
    }
    with_cookie(&web, &cookie_value(token), 12 * 3600, &next)
}

/// A page for somebody who did not say who they are, and a line in the audit.
async fn refused_page(web: &Web, problem: Problem) -> Response {
    web.audit_refusal("unknown", None, &problem).await;
    ProblemPage(problem).into_response()
}

/// The answer to what another site's page sent, or came under another name.
async fn from_elsewhere(web: &Web, headers: &HeaderMap) -> Option<Response> {
    if !web.access.is_for_us(headers) {
        return Some(refused_page(web, misdirected()).await);
    }
    if is_foreign(headers) {
        let problem = Problem::new(StatusCode::FORBIDDEN, "forbidden", "not allowed");
        web.audit_refusal("unknown", None, &problem.detail("another site's page sent this")).await;
        return Some(login_form(StatusCode::FORBIDDEN, "/", Some("Another site's page sent this.")));
    }
    None
}

async fn logout(State(web): State<Web>, headers: HeaderMap) -> Response {
    if let Some(refused) = from_elsewhere(&web, &headers).await {
        return refused;
    }
    with_cookie(&web, "", 0, "/login")
}

fn with_cookie(web: &Web, value: &str, seconds: u32, to: &str) -> Response {
    let secure = if web.secure { "; Secure" } else { "" };
    let cookie = format!("{COOKIE}={value}; Path=/; HttpOnly; SameSite=Strict; Max-Age={seconds}{secure}");
    let mut response = Redirect::to(to).into_response();
    if let Ok(cookie) = HeaderValue::from_str(&cookie) {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    response
}

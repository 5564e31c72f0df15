//! The pages behind the links in messages. Opening one shows what it would
//! do, and to what; only its button does it, once. Programs that fetch links
//! to preview them therefore change nothing.

use std::sync::Arc;

use async_trait::async_trait;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use tokio::sync::watch;

use crate::adapters::chain::chain;
use crate::adapters::guardian::{Caller, Guardian, GuardianError, Word};
use crate::config::notify::Language;
use crate::domain::FeedbackKind;
use crate::guard::engine::OperatorOrder;

use super::links::{Claim, LinkAction, LinkRefused, LinkSigner};
use super::notifier::{Clock, Notifier};
use super::outbox::{Outbox, OutboxError};
use super::words;

/// A form holds a name and a comment.
const FORM_BYTES_MAX: usize = 16 * 1024;
const NAME_CHARS_MAX: usize = 80;
const COMMENT_CHARS_MAX: usize = 2000;

/// Carries out what a link says.
#[async_trait]
pub trait Desk: Send + Sync {
    /// Does it, in the name of `who`.
    ///
    /// # Errors
    /// With what a person is shown; the link can be used again then.
    async fn act(&self, claim: &Claim, who: &str, comment: Option<&str>) -> Result<(), DeskError>;
}

/// Why it was not done.
#[derive(Debug, thiserror::Error)]
pub enum DeskError {
    /// It cannot be done to this release as it stands.
    #[error("{0}")]
    NotPossible(String),
    /// Not now.
    #[error("{0}")]
    NotNow(String),
}

/// The running daemon as a desk.
pub struct GuardianDesk {
    guardian: Guardian,
    notifier: Notifier,
}

impl GuardianDesk {
    /// Links act on `guardian`, and stop escalations of `notifier`.
    pub fn new(guardian: Guardian, notifier: Notifier) -> Self {
        Self { guardian, notifier }
    }
}

impl From<GuardianError> for DeskError {
    fn from(error: GuardianError) -> Self {
        match error {
            GuardianError::Unavailable { .. } => Self::NotNow(error.to_string()),
            GuardianError::NotFound { .. }
            | GuardianError::Conflict { .. }
            | GuardianError::Refused { .. }
            | GuardianError::Invalid { .. }
            | GuardianError::Frozen { .. }
            | GuardianError::MissingSettings { .. }
            | GuardianError::Halted { .. } => Self::NotPossible(error.to_string()),
        }
    }
}

#[async_trait]
impl Desk for GuardianDesk {
    async fn act(&self, claim: &Claim, who: &str, comment: Option<&str>) -> Result<(), DeskError> {
        let caller = Caller { who: who.to_owned(), idempotency_key: Some(format!("link-{}", claim.nonce)) };
        let release = claim.release.clone();
        let word = |kind| Word { kind, onset: None, comment: comment.map(str::to_owned) };
        match claim.action {
            LinkAction::Acknowledge => {
                let text = format!("acknowledged{}", comment.map(|c| format!(": {c}")).unwrap_or_default());
                self.guardian.audit(caller, Some(release), text).await?;
            }
            LinkAction::Resume => drop(self.guardian.operate(caller, release, OperatorOrder::Resume).await?),
            LinkAction::Rollback => {
                drop(self.guardian.operate(caller, release, OperatorOrder::Rollback).await?);
            }
            LinkAction::FaultConfirmed => {
                drop(self.guardian.feedback(caller, release, word(FeedbackKind::FaultConfirmed)).await?);
            }
            LinkAction::FalseAlarm => {
                drop(self.guardian.feedback(caller, release, word(FeedbackKind::FalseAlarm)).await?);
            }
        }
        // Whoever acts has seen it.
        if let Err(error) = self.notifier.acknowledged(&claim.release).await {
            tracing::error!(error = %chain(&error), "cannot end an escalation");
        }
        Ok(())
    }
}

/// What the pages need.
#[derive(Clone)]
pub struct LinkPages {
    /// Checks links.
    pub signer: LinkSigner,
    /// Remembers which were used.
    pub outbox: Arc<dyn Outbox>,
    /// Carries out what they say.
    pub desk: Arc<dyn Desk>,
    /// The clock.
    pub clock: Clock,
    /// The language where the browser names none of ours.
    pub language: Language,
}

/// The pages that are in force; none while messages carry no links.
pub type CurrentPages = watch::Receiver<Option<Arc<LinkPages>>>;

/// `GET` and `POST /links/{token}`.
pub fn routes(pages: CurrentPages) -> Router {
    Router::new()
        .route("/links/{token}", get(show).post(act))
        .layer(DefaultBodyLimit::max(FORM_BYTES_MAX))
        .with_state(pages)
}

fn no_links() -> Response {
    (StatusCode::NOT_FOUND, "links in messages are switched off: the settings have no link_secret\n")
        .into_response()
}

async fn show(
    State(current): State<CurrentPages>,
    Path(token): Path<String>,
    headers: HeaderMap,
) -> Response {
    let pages = current.borrow().clone();
    let Some(pages) = pages else { return no_links() };
    let language = language(&headers, pages.language);
    match pages.signer.check(&token, (pages.clock)()) {
        Ok(claim) => page(StatusCode::OK, language, &confirmation(language, &claim)),
        Err(refused) => refusal(language, refused),
    }
}

async fn act(
    State(current): State<CurrentPages>,
    Path(token): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let pages = current.borrow().clone();
    let Some(pages) = pages else { return no_links() };
    let language = language(&headers, pages.language);
    let now = (pages.clock)();
    let claim = match pages.signer.check(&token, now) {
        Ok(claim) => claim,
        Err(refused) => return refusal(language, refused),
    };
    if !body.is_empty() && !is_form(&headers) {
        return no_form(language);
    }
    let (name, comment) = form(&body);
    let who = match name {
        Some(name) => format!("{name} (by a link)"),
        None => "somebody with a link".to_owned(),
    };
    match pages.outbox.use_link(&claim.nonce, &who, now).await {
        Ok(true) => {}
        Ok(false) => return result(StatusCode::CONFLICT, language, Outcome::Used),
        Err(error) => return unavailable(language, &error),
    }
    match pages.desk.act(&claim, &who, comment.as_deref()).await {
        Ok(()) => {
            tracing::info!(release = %claim.release, action = claim.action.word(), who, "link used");
            result(StatusCode::OK, language, Outcome::Done(&claim))
        }
        Err(error) => {
            tracing::warn!(release = %claim.release, action = claim.action.word(), who, %error, "link could not be carried out");
            if let Err(error) = pages.outbox.give_link_back(&claim.nonce).await {
                tracing::error!(error = %chain(&error), "cannot make a link usable again");
            }
            let status = match &error {
                DeskError::NotPossible(_) => StatusCode::CONFLICT,
                DeskError::NotNow(_) => StatusCode::SERVICE_UNAVAILABLE,
            };
            result(status, language, Outcome::Failed(&error.to_string()))
        }
    }
}

fn is_form(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    kind.split(';').next().unwrap_or("").trim().eq_ignore_ascii_case("application/x-www-form-urlencoded")
}

fn no_form(language: Language) -> Response {
    let text = match language {
        Language::English => "What was sent is not the form of this page. Nothing was done.",
        Language::SimplifiedChinese => "提交的内容不是本页面的表单，未执行任何操作。",
    };
    page(StatusCode::UNSUPPORTED_MEDIA_TYPE, language, &html! { p { (text) } })
}

/// Name and comment of the form, bounded and in plain characters.
fn form(body: &[u8]) -> (Option<String>, Option<String>) {
    let (mut name, mut comment) = (None, None);
    let clean = |text: &str, most: usize| {
        let plain: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(most).collect();
        Some(plain.trim().to_owned()).filter(|plain| !plain.is_empty())
    };
    for (key, value) in url::form_urlencoded::parse(body) {
        match key.as_ref() {
            "name" => name = clean(&value, NAME_CHARS_MAX),
            "comment" => comment = clean(&value, COMMENT_CHARS_MAX),
            _ => {}
        }
    }
    (name, comment)
}

/// The first of the browser's languages that is ours.
fn language(headers: &HeaderMap, otherwise: Language) -> Language {
    let wished = headers.get(header::ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok()).unwrap_or("");
    for wish in wished.split(',') {
        let wish = wish.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
        if wish == "zh" || wish.starts_with("zh-") {
            return Language::SimplifiedChinese;
        }
        if wish == "en" || wish.starts_with("en-") {
            return Language::English;
        }
    }
    otherwise
}

enum Outcome<'a> {
    Done(&'a Claim),
    Used,
    Failed(&'a str),
}

fn refusal(language: Language, refused: LinkRefused) -> Response {
    let (status, title, text) = match (refused, language) {
        (LinkRefused::Expired, Language::English) => {
            (StatusCode::GONE, "This link has expired", "Open the release in the guardian's pages instead.")
        }
        (LinkRefused::Expired, Language::SimplifiedChinese) => {
            (StatusCode::GONE, "链接已过期", "请在守护者页面中打开该发布单处理。")
        }
        (LinkRefused::Forged, Language::English) => (
            StatusCode::FORBIDDEN,
            "This link is not valid",
            "It may have been cut when it was copied. Open it from the message again.",
        ),
        (LinkRefused::Forged, Language::SimplifiedChinese) => {
            (StatusCode::FORBIDDEN, "链接无效", "复制时可能不完整，请从原消息中重新打开。")
        }
    };
    page(status, language, &html! { h1 { (title) } p { (text) } })
}

fn unavailable(language: Language, error: &OutboxError) -> Response {
    tracing::error!(error = %chain(error), "cannot see whether a link was used");
    let text = match language {
        Language::English => "The guardian's store cannot be reached. Nothing was done; please try again.",
        Language::SimplifiedChinese => "暂时无法访问守护者的存储，未执行任何操作，请稍后重试。",
    };
    result(StatusCode::SERVICE_UNAVAILABLE, language, Outcome::Failed(text))
}

fn result(status: StatusCode, language: Language, outcome: Outcome<'_>) -> Response {
    let content = match (outcome, language) {
        (Outcome::Done(claim), Language::English) => html! {
            h1 { "Done: " (words::link(language, claim.action)) }
            p { (claim.release.application.as_str()) " / " (claim.release.id.as_str()) }
            p class="faint" { "You can close this page." }
        },
        (Outcome::Done(claim), Language::SimplifiedChinese) => html! {
            h1 { "已执行：" (words::link(language, claim.action)) }
            p { (claim.release.application.as_str()) " / " (claim.release.id.as_str()) }
            p class="faint" { "可以关闭此页面。" }
        },
        (Outcome::Used, Language::English) => html! {
            h1 { "This link was used already" }
            p { "Nothing was done again." }
        },
        (Outcome::Used, Language::SimplifiedChinese) => html! {
            h1 { "该链接已被使用" }
            p { "未重复执行。" }
        },
        (Outcome::Failed(reason), Language::English) => html! {
            h1 { "It was not done" }
            p { (reason) }
            p class="faint" { "The link can be used again." }
        },
        (Outcome::Failed(reason), Language::SimplifiedChinese) => html! {
            h1 { "未能执行" }
            p { (reason) }
            p class="faint" { "该链接仍可再次使用。" }
        },
    };
    page(status, language, &content)
}

fn consequence(language: Language, action: LinkAction) -> &'static str {
    match (language, action) {
        (Language::English, LinkAction::Acknowledge) => {
            "Others are not called in. The release stays as it is."
        }
        (Language::English, LinkAction::Resume) => "The release system is told to go on with the rollout.",
        (Language::English, LinkAction::Rollback) => {
            "The release system is told to bring the old version back."
        }
        (Language::English, LinkAction::FaultConfirmed) => {
            "The release counts as faulty. This changes nothing about the rollout; the guardian learns from it."
        }
        (Language::English, LinkAction::FalseAlarm) => {
            "The release counts as healthy. This does not resume it; the guardian learns from it."
        }
        (Language::SimplifiedChinese, LinkAction::Acknowledge) => "不再升级通知，发布状态保持不变。",
        (Language::SimplifiedChinese, LinkAction::Resume) => "将通知发布系统继续发布。",
        (Language::SimplifiedChinese, LinkAction::Rollback) => "将通知发布系统回滚到旧版本。",
        (Language::SimplifiedChinese, LinkAction::FaultConfirmed) => {
            "此次发布将记为有故障。不影响发布进程，守护者会从中学习。"
        }
        (Language::SimplifiedChinese, LinkAction::FalseAlarm) => {
            "此次发布将记为正常。不会自动继续发布，守护者会从中学习。"
        }
    }
}

fn confirmation(language: Language, claim: &Claim) -> Markup {
    let (question, name, comment, expires, note) = match language {
        Language::English => (
            "Please confirm",
            "Your name",
            "Comment",
            "Link valid until",
            "Nothing has happened yet. The button works once.",
        ),
        Language::SimplifiedChinese => {
            ("请确认", "您的姓名", "备注", "链接有效期至", "目前尚未执行任何操作。按钮只能使用一次。")
        }
    };
    let label = words::link(language, claim.action);
    // An order to the release system has no words beside it.
    let takes_comment = match claim.action {
        LinkAction::Acknowledge | LinkAction::FaultConfirmed | LinkAction::FalseAlarm => true,
        LinkAction::Resume | LinkAction::Rollback => false,
    };
    let class = match claim.action {
        LinkAction::Rollback => "danger",
        LinkAction::Acknowledge
        | LinkAction::Resume
        | LinkAction::FaultConfirmed
        | LinkAction::FalseAlarm => "",
    };
    html! {
        p class="faint" { (question) }
        h1 { (label) }
        dl {
            dt { (words::labels(language).application) } dd { (claim.release.application.as_str()) }
            dt { (words::labels(language).release) } dd { (claim.release.id.as_str()) }
            dt { (expires) } dd { (claim.expires_at.to_string().replace('T', " ").replace(".000Z", " UTC")) }
        }
        p { (consequence(language, claim.action)) }
        form method="post" {
            label { (name) input name="name" maxlength=(NAME_CHARS_MAX) autocomplete="name" required; }
            @if takes_comment {
                label { (comment) textarea name="comment" rows="3" maxlength=(COMMENT_CHARS_MAX) {} }
            }
            button type="submit" class=(class) { (label) }
        }
        p class="faint" { (note) }
    }
}

const STYLE: &str = include_str!("templates/link.css");

fn page(status: StatusCode, language: Language, content: &Markup) -> Response {
    let title = match language {
        Language::English => "Release guardian",
        Language::SimplifiedChinese => "发布守护者",
    };
    let page = html! {
        (DOCTYPE)
        html lang=(language.code()) {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="robots" content="noindex, nofollow";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body { main { (content) } footer { (title) } }
        }
    };
    let headers = [
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        // The address is the key: it must not travel on to other pages.
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (
            header::CONTENT_SECURITY_POLICY,
            HeaderValue::from_static(
                "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
            ),
        ),
    ];
    (status, headers, Html(page.into_string())).into_response()
}

//! Any release system that takes HTTP requests: address, headers and body by
//! templates, signed per Standard Webhooks, success by status and body, and
//! its state read back by a second request.

mod request;
mod template;

use std::time::Duration;

use async_trait::async_trait;
use reqwest::header::{HeaderName, RETRY_AFTER};
use reqwest::{Method, StatusCode};
use secrecy::{ExposeSecret, SecretString};

use crate::adapters::release_system::{Attempt, CommandOrder, ReadBack, ReleaseSystem, retry_after};
use crate::adapters::standard_webhooks::{
    ID_HEADER, InvalidKey, SIGNATURE_HEADER, SigningKey, TIMESTAMP_HEADER, sign, timestamp_seconds,
};
use crate::config::{
    BodyTest, HeaderValue, HttpRequest, SecretError, SuccessTest, Surroundings, WebhookSystem,
};
use crate::domain::Timestamp;
use crate::guard::CommandKind;

use request::{Answer, Outgoing, exchange};
use template::{Templates, context, default_body, traceparent};

/// Why a webhook cannot be used as it is configured.
#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    /// A secret is not where the settings say.
    #[error("a secret of the release system cannot be had")]
    Secret(#[from] SecretError),
    /// A signing key is none.
    #[error("a signing key of the release system is not usable")]
    Key(#[from] InvalidKey),
    /// A template cannot be read.
    #[error("a template of the release system cannot be read: {0}")]
    Template(String),
    /// A method or header name is none.
    #[error("{0:?} is not usable in a request to the release system")]
    Request(String),
    /// A file of keys or certificates cannot be used.
    #[error("the connection to the release system cannot be set up")]
    Client(#[from] crate::adapters::outgoing::ClientError),
}

/// A release system that takes HTTP requests.
pub struct Webhook {
    target: String,
    client: reqwest::Client,
    timeout: Duration,
    templates: Templates,
    keys: Vec<SigningKey>,
    auth: Option<SecretString>,
    pause: Prepared,
    rollback: Option<Prepared>,
    resume: Option<Prepared>,
    read_back: Option<PreparedReadBack>,
}

/// A request whose secrets were fetched and whose templates were read.
struct Prepared {
    name: &'static str,
    method: Method,
    has_body: bool,
    headers: Vec<(HeaderName, Value)>,
    success: SuccessTest,
}

/// A header's value.
enum Value {
    /// The name of its template.
    Template(String),
    Secret(SecretString),
}

struct PreparedReadBack {
    request: Prepared,
    paused_when: Option<BodyTest>,
    rolled_back_when: Option<BodyTest>,
    resumed_when: Option<BodyTest>,
    interval: Duration,
}

impl Webhook {
    /// Fetches secrets and reads templates.
    ///
    /// # Errors
    /// If one of them cannot be had or used.
    pub fn new(settings: &WebhookSystem, surroundings: &dyn Surroundings) -> Result<Self, WebhookError> {
        let mut templates = Templates::default();
        let mut prepare = |name, request: &HttpRequest| prepare(name, request, &mut templates, surroundings);
        let pause = prepare("pause", &settings.pause)?;
        let rollback = settings.rollback.as_ref().map(|r| prepare("rollback", r)).transpose()?;
        let resume = settings.resume.as_ref().map(|r| prepare("resume", r)).transpose()?;
        let read_back = match &settings.read_back {
            None => None,
            Some(read_back) => Some(PreparedReadBack {
                request: prepare("read_back", &read_back.request)?,
                paused_when: read_back.paused_when.clone(),
                rolled_back_when: read_back.rolled_back_when.clone(),
                resumed_when: read_back.resumed_when.clone(),
                interval: read_back.interval,
            }),
        };
        let keys = settings
            .signing_keys
            .iter()
            .map(|secret| Ok(SigningKey::parse(&secret.fetch(surroundings)?)?))
            .collect::<Result<Vec<_>, WebhookError>>()?;
        let client = crate::adapters::outgoing::builder(&settings.client, surroundings)?
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(crate::adapters::outgoing::ClientError::from)?;
        Ok(Self {
            target: template::fixed_part(&settings.pause.url),
            client,
            timeout: settings.timeout,
            templates,
            keys,
            auth: crate::adapters::outgoing::authorization(&settings.client.auth, surroundings)?,
            pause,
            rollback,
            resume,
            read_back,
        })
    }

    fn request(&self, kind: CommandKind) -> Option<&Prepared> {
        match kind {
            CommandKind::Pause => Some(&self.pause),
            CommandKind::Rollback => self.rollback.as_ref(),
            CommandKind::Resume => self.resume.as_ref(),
        }
    }

    fn read_back_test(&self, kind: CommandKind) -> Option<(&PreparedReadBack, &BodyTest)> {
        let read_back = self.read_back.as_ref()?;
        let test = match kind {
            CommandKind::Pause => &read_back.paused_when,
            CommandKind::Rollback => &read_back.rolled_back_when,
            CommandKind::Resume => &read_back.resumed_when,
        };
        Some((read_back, test.as_ref()?))
    }

    /// Writes the request out; the error is a sentence.
    fn outgoing(
        &self,
        prepared: &Prepared,
        order: &CommandOrder,
        now: Timestamp,
    ) -> Result<Outgoing, String> {
        let values = context(order);
        let url = self.templates.render(&format!("{}.url", prepared.name), &values)?;
        let url =
            url::Url::parse(&url).map_err(|e| format!("the address {url:?} made by its template: {e}"))?;
        let with_body = !matches!(prepared.method, Method::GET | Method::DELETE) || prepared.has_body;
        let body = match (with_body, prepared.has_body) {
            (false, _) => None,
            (true, true) => Some(self.templates.render(&format!("{}.body", prepared.name), &values)?),
            (true, false) => Some(default_body(order)),
        };
        let mut headers = Vec::new();
        for (name, value) in &prepared.headers {
            let text = match value {
                Value::Template(template) => SecretString::from(self.templates.render(template, &values)?),
                Value::Secret(secret) => secret.clone(),
            };
            headers.push((name.clone(), text));
        }
        let mut add = |name: &'static str, value: String| {
            let name = HeaderName::from_static(name);
            if !headers.iter().any(|(given, _)| *given == name) {
                headers.push((name, SecretString::from(value)));
            }
        };
        if let Some(auth) = &self.auth {
            add("authorization", auth.expose_secret().to_owned());
        }
        if body.is_some() {
            add("content-type", "application/json".to_owned());
        }
        let id = order.command.id.as_str();
        add(ID_HEADER, id.to_owned());
        add("idempotency-key", id.to_owned());
        add(TIMESTAMP_HEADER, timestamp_seconds(now).to_string());
        add("traceparent", traceparent(id, now));
        if !self.keys.is_empty() {
            let signed = body.as_deref().unwrap_or_default().as_bytes();
            add(SIGNATURE_HEADER, sign(&self.keys, id, now, signed));
        }
        Ok(Outgoing { method: prepared.method.clone(), url, headers, body, timeout: self.timeout })
    }
}

fn prepare(
    name: &'static str,
    request: &HttpRequest,
    templates: &mut Templates,
    surroundings: &dyn Surroundings,
) -> Result<Prepared, WebhookError> {
    let unusable = |text: &str| WebhookError::Request(text.to_owned());
    templates.add(format!("{name}.url"), request.url.clone()).map_err(WebhookError::Template)?;
    if let Some(body) = &request.body {
        templates.add(format!("{name}.body"), body.clone()).map_err(WebhookError::Template)?;
    }
    let mut headers = Vec::new();
    for (header, value) in &request.headers {
        let parsed = HeaderName::from_bytes(header.as_bytes()).map_err(|_| unusable(header))?;
        let value = match value {
            HeaderValue::Text(text) => {
                let template = format!("{name}.header.{header}");
                templates.add(template.clone(), text.clone()).map_err(WebhookError::Template)?;
                Value::Template(template)
            }
            HeaderValue::Secret(secret) => Value::Secret(secret.fetch(surroundings)?),
        };
        headers.push((parsed, value));
    }
    let method = Method::from_bytes(request.method.as_bytes()).map_err(|_| unusable(&request.method))?;
    Ok(Prepared { name, method, has_body: request.body.is_some(), headers, success: request.success.clone() })
}

fn holds(test: &BodyTest, body: &str) -> Result<bool, String> {
    let json: serde_json::Value =
        serde_json::from_str(body).map_err(|_| format!("its answer is not JSON: {}", shown(body)))?;
    Ok(json.pointer(&test.pointer) == Some(&test.equals))
}

/// A body as it is quoted in a reason: short, on one line.
fn shown(body: &str) -> String {
    let line = body.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(200) {
        None if line.is_empty() => "no text".to_owned(),
        None => line,
        Some((end, _)) => format!("{}..", &line[..end]),
    }
}

fn is_success(test: &SuccessTest, status: StatusCode) -> bool {
    match test.statuses.is_empty() {
        true => status.is_success(),
        false => test.statuses.contains(&status.as_u16()),
    }
}

/// What an answer to a command means.
fn judge_answer(test: &SuccessTest, answer: &Answer, now: Timestamp) -> Attempt {
    let status = answer.status;
    let text = format!("HTTP status {}: {}", status.as_u16(), shown(&answer.body));
    if is_success(test, status) {
        return match test.body.as_ref().map(|body| holds(body, &answer.body)) {
            None | Some(Ok(true)) => Attempt::Taken { answer: text },
            Some(Ok(false)) => Attempt::Failed {
                reason: format!("{text} (its answer does not say that it succeeded)"),
                retry_after: None,
            },
            Some(Err(problem)) => Attempt::Failed { reason: problem, retry_after: None },
        };
    }
    if status.is_redirection() {
        let reason = format!("{text} (redirects are not followed; write the final address)");
        return Attempt::Refused { reason };
    }
    let later = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_EARLY, StatusCode::TOO_MANY_REQUESTS];
    if status.is_client_error() && !later.contains(&status) {
        return Attempt::Refused { reason: text };
    }
    let asked = answer.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    Attempt::Failed { reason: text, retry_after: asked.and_then(|value| retry_after(value, now)) }
}

#[async_trait]
impl ReleaseSystem for Webhook {
    fn target(&self) -> &str {
        &self.target
    }

    fn can(&self, kind: CommandKind) -> bool {
        self.request(kind).is_some()
    }

    async fn attempt(&self, order: &CommandOrder, now: Timestamp) -> Attempt {
        let kind = order.command.kind;
        let Some(prepared) = self.request(kind) else {
            let reason = format!("the settings of the release system say not how to {}", kind.word());
            return Attempt::Refused { reason };
        };
        let outgoing = match self.outgoing(prepared, order, now) {
            Ok(outgoing) => outgoing,
            Err(reason) => return Attempt::Refused { reason },
        };
        match exchange(&self.client, outgoing).await {
            Ok(answer) => judge_answer(&prepared.success, &answer, now),
            Err(reason) => Attempt::Failed { reason, retry_after: None },
        }
    }

    fn read_back_interval(&self, kind: CommandKind) -> Option<Duration> {
        self.read_back_test(kind).map(|(read_back, _)| read_back.interval)
    }

    async fn read_back(&self, order: &CommandOrder, now: Timestamp) -> ReadBack {
        let unknown = |reason| ReadBack::Unknown { reason };
        let Some((read_back, test)) = self.read_back_test(order.command.kind) else {
            return unknown("the settings do not say how to ask".to_owned());
        };
        let answer = match self.outgoing(&read_back.request, order, now) {
            Ok(outgoing) => exchange(&self.client, outgoing).await,
            Err(reason) => Err(reason),
        };
        let answer = match answer {
            Ok(answer) => answer,
            Err(reason) => return unknown(reason),
        };
        if !is_success(&read_back.request.success, answer.status) {
            return unknown(format!("HTTP status {}: {}", answer.status.as_u16(), shown(&answer.body)));
        }
        match holds(test, &answer.body) {
            Ok(true) => ReadBack::Done,
            Ok(false) => ReadBack::NotYet { state: shown(&answer.body) },
            Err(problem) => unknown(problem),
        }
    }
}

#[cfg(test)]
mod tests;

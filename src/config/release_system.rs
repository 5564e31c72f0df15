//! `release_system`: who carries out commands. A further kind adds a variant
//! here, its keys in `read_release_system`, and its adapter.

use std::collections::BTreeMap;
use std::time::Duration;

use super::http::{HeaderValue, HttpClient, URL_HELP, parse_url, read_client, read_headers};
use super::kubernetes::{KubernetesObject, read_kubernetes_object};
use super::raw::Section;
use super::secret::{Secret, read_secret};

/// Who carries out commands.
#[derive(Clone, Debug, PartialEq)]
pub struct ReleaseSystem {
    /// What it is.
    pub kind: ReleaseSystemKind,
}

/// The kinds of release system.
#[derive(Clone, Debug, PartialEq)]
pub enum ReleaseSystemKind {
    /// Any system that takes HTTP requests.
    Webhook(Box<WebhookSystem>),
    /// A Canary of Flagger, suspended through the Kubernetes API.
    Flagger(Box<KubernetesObject>),
    /// A Rollout of Argo Rollouts.
    ArgoRollouts(Box<KubernetesObject>),
    /// A Deployment of Kubernetes itself.
    KubernetesDeployment(Box<KubernetesObject>),
}

/// A release system that takes HTTP requests.
#[derive(Clone, Debug, PartialEq)]
pub struct WebhookSystem {
    /// What is sent to pause.
    pub pause: HttpRequest,
    /// What is sent to roll back; absent: it cannot.
    pub rollback: Option<HttpRequest>,
    /// What is sent to resume; absent: it cannot.
    pub resume: Option<HttpRequest>,
    /// How its state is asked for afterwards.
    pub read_back: Option<ReadBack>,
    /// How it is spoken to.
    pub client: HttpClient,
    /// Keys of Standard Webhooks, `whsec_..`; each request is signed with
    /// all, the first is the newest.
    pub signing_keys: Vec<Secret>,
    /// How long one attempt may take.
    pub timeout: Duration,
}

/// One templated request.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpRequest {
    /// The address, a template.
    pub url: String,
    /// The method.
    pub method: String,
    /// Headers over those of the client; texts are templates.
    pub headers: BTreeMap<String, HeaderValue>,
    /// The body, a template; the default body if absent.
    pub body: Option<String>,
    /// What counts as success.
    pub success: SuccessTest,
}

/// What counts as success.
#[derive(Clone, Debug, PartialEq)]
pub struct SuccessTest {
    /// These status codes; 200 to 299 if empty.
    pub statuses: Vec<u16>,
    /// And this of the body.
    pub body: Option<BodyTest>,
}

/// What must hold of a JSON body.
#[derive(Clone, Debug, PartialEq)]
pub struct BodyTest {
    /// A JSON pointer (RFC 6901): `/spec/paused`.
    pub pointer: String,
    /// What must stand there.
    pub equals: serde_json::Value,
}

/// How a release system's state is asked for after a command.
#[derive(Clone, Debug, PartialEq)]
pub struct ReadBack {
    /// The request; its success says that the state is known.
    pub request: HttpRequest,
    /// This of the body says that the release is paused.
    pub paused_when: Option<BodyTest>,
    /// This of the body says that it is rolled back.
    pub rolled_back_when: Option<BodyTest>,
    /// This of the body says that it goes on.
    pub resumed_when: Option<BodyTest>,
    /// How often it is asked until the command's deadline.
    pub interval: Duration,
}

#[derive(Clone, Copy)]
enum Kind {
    Webhook,
    Flagger,
    ArgoRollouts,
    KubernetesDeployment,
}

const KINDS: [(&str, Kind); 4] = [
    ("webhook", Kind::Webhook),
    ("flagger", Kind::Flagger),
    ("argo_rollouts", Kind::ArgoRollouts),
    ("kubernetes_deployment", Kind::KubernetesDeployment),
];

const SECOND: Duration = Duration::from_secs(1);

/// Reads `release_system` of a section.
pub(super) fn read_release_system(parent: &Section<'_>) -> Option<ReleaseSystem> {
    let section = parent.section("release_system")?;
    if !section.has("kind") {
        let help = "write kind = \"webhook\", \"flagger\", \"argo_rollouts\" or \"kubernetes_deployment\"";
        section.missing("kind", help);
    }
    let object = || read_kubernetes_object(&section).map(Box::new);
    let kind = match section.word("kind", &KINDS) {
        Some(Kind::Webhook) => ReleaseSystemKind::Webhook(Box::new(read_webhook(&section)?)),
        Some(Kind::Flagger) => ReleaseSystemKind::Flagger(object()?),
        Some(Kind::ArgoRollouts) => ReleaseSystemKind::ArgoRollouts(object()?),
        Some(Kind::KubernetesDeployment) => ReleaseSystemKind::KubernetesDeployment(object()?),
        None => {
            section.pass_over();
            return None;
        }
    };
    Some(ReleaseSystem { kind })
}

fn read_webhook(section: &Section<'_>) -> Option<WebhookSystem> {
    // `url` alone sends the default body for every kind of command to it.
    let common = section.has("url").then(|| read_request(section, "POST"));
    if common.is_none() && !section.has("pause") {
        section.missing(
            "pause",
            "write url = \"https://..\" for all commands, or pause = { url = \"https://..\" }",
        );
    }
    let request = |key: &'static str| match section.section(key) {
        Some(table) => read_request(&table, "POST"),
        None => common.clone().flatten(),
    };
    let (pause, rollback, resume) = (request("pause"), request("rollback"), request("resume"));
    let read_back = section.section("read_back").and_then(|table| read_read_back(&table));
    let client = HttpClient { headers: BTreeMap::new(), ..read_client(section) };
    let timeout =
        section.duration("timeout", Duration::from_millis(100)..=120 * SECOND).unwrap_or(10 * SECOND);
    let signing_keys = read_signing_keys(section);
    Some(WebhookSystem { pause: pause?, rollback, resume, read_back, client, signing_keys, timeout })
}

fn read_signing_keys(section: &Section<'_>) -> Vec<Secret> {
    ["signing_key", "signing_key_old"].into_iter().filter_map(|key| read_secret(section, key)).collect()
}

fn read_read_back(section: &Section<'_>) -> Option<ReadBack> {
    let tests = ["paused_when", "rolled_back_when", "resumed_when"]
        .map(|key| section.section(key).and_then(|table| read_body_test(&table)));
    if ["paused_when", "rolled_back_when", "resumed_when"].iter().all(|key| !section.has(key)) {
        section.missing(
            "paused_when",
            "say what shows the state: paused_when = { pointer = \"/paused\", equals = true }",
        );
    }
    let interval =
        section.duration("interval", Duration::from_millis(100)..=60 * SECOND).unwrap_or(2 * SECOND);
    let [paused_when, rolled_back_when, resumed_when] = tests;
    let request = read_request(section, "GET")?;
    Some(ReadBack { request, paused_when, rolled_back_when, resumed_when, interval })
}

fn read_request(section: &Section<'_>, default_method: &str) -> Option<HttpRequest> {
    if !section.has("url") {
        section.missing("url", URL_HELP);
    }
    let url = section.parsed("url", URL_HELP, check_url_template);
    let methods = ["GET", "POST", "PUT", "PATCH", "DELETE"].map(|method| (method, method));
    let method = section.word("method", &methods).unwrap_or(default_method).to_owned();
    let headers = read_headers(section);
    for (name, value) in &headers {
        if let HeaderValue::Text(text) = value
            && let Err(error) = check_template(text)
        {
            section.problem(section.span(), format!("header {name}: {error}"), TEMPLATE_HELP);
        }
    }
    let body = section.parsed("body", TEMPLATE_HELP, |text| check_template(text).map(|()| text.to_owned()));
    let success = SuccessTest {
        statuses: section.counts("success_statuses", 100..=599).unwrap_or_default(),
        body: section.section("success_when").and_then(|table| read_body_test(&table)),
    };
    Some(HttpRequest {
        url: url?.into_inner(),
        method,
        headers,
        body: body.map(|body| body.into_inner()),
        success,
    })
}

fn read_body_test(section: &Section<'_>) -> Option<BodyTest> {
    const HELP: &str = "write { pointer = \"/status\", equals = \"paused\" }";
    let pointer = section.parsed("pointer", HELP, |text| {
        if text.is_empty() || text.starts_with('/') {
            Ok(text.to_owned())
        } else {
            Err(format!("{text:?} is not a JSON pointer"))
        }
    });
    for key in ["pointer", "equals"] {
        if !section.has(key) {
            section.missing(key, HELP);
        }
    }
    let value = section.value("equals")?;
    let equals = serde::Deserialize::deserialize(toml::de::ValueDeserializer::from(value.clone()));
    match equals {
        Ok(equals) => Some(BodyTest { pointer: pointer?.into_inner(), equals }),
        Err(error) => {
            let error: toml::de::Error = error;
            section.problem(value.span(), format!("`equals`: {}", error.message()), HELP);
            None
        }
    }
}

const TEMPLATE_HELP: &str = "templates are written as for Jinja: {{ release }}, {{ application }}, {{ decision }}, {{ reasons | tojson }}";

/// Refuses a template that cannot be read.
pub(super) fn check_template(text: &str) -> Result<(), String> {
    let environment = minijinja::Environment::new();
    environment.template_from_str(text).map(drop).map_err(|error| {
        let line = error.line().map(|line| format!(" in its line {line}")).unwrap_or_default();
        let detail = error.detail().map(|detail| format!(": {detail}")).unwrap_or_default();
        format!("the template cannot be read{line}: {}{detail}", error.kind())
    })
}

/// Refuses an address that is none; one with templates is checked as far as
/// its first template.
fn check_url_template(text: &str) -> Result<String, String> {
    check_template(text)?;
    match text.find("{{").or_else(|| text.find("{%")) {
        None => parse_url(text).map(|_| text.to_owned()),
        Some(at) => {
            let fixed = format!("{}x", &text[..at]);
            parse_url(&fixed)
                .map(|_| text.to_owned())
                .map_err(|_| format!("{text:?} is not an http or https address"))
        }
    }
}

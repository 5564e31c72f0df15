//! The API server of a Kubernetes cluster: objects are read, and changed by
//! patches. What it refuses is told apart by what is to be done about it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::{Method, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use url::Url;

use crate::adapters::clock;
use crate::adapters::outgoing::{self, ClientError};
use crate::adapters::release_system::{Attempt, ReadBack, retry_after};
use crate::config::{ApiServer, ApiToken, HttpClient, SecretError, Surroundings, Tls};

/// Where the cluster puts a pod's own token and its authority.
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// A longer answer is refused: a list of ReplicaSets of one Deployment is far
/// shorter.
const BODY_BYTES_MAX: usize = 16 << 20;

/// Why an API server cannot be used as it is configured.
#[derive(Debug, thiserror::Error)]
pub enum ApiSetupError {
    /// There is no cluster around us.
    #[error(
        "${variable} is not set, so this is no pod of a cluster; write api_server = \"https://..\" and token_file"
    )]
    NotInCluster {
        /// Which variable.
        variable: &'static str,
    },
    /// The variables of the cluster make no address.
    #[error("{text:?}, made of the cluster's variables, is no address")]
    Address {
        /// What they make.
        text: String,
    },
    /// The token is not where the settings say.
    #[error("the token of the Kubernetes API cannot be had")]
    Secret(#[from] SecretError),
    /// Certificates cannot be used.
    #[error("the connection to the Kubernetes API cannot be set up")]
    Client(#[from] ClientError),
}

/// A kind of object, as addresses name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResourceKind {
    /// Its API group.
    pub group: &'static str,
    /// Its version.
    pub version: &'static str,
    /// Its plural name.
    pub plural: &'static str,
}

/// One object, or a part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// What it is.
    pub kind: ResourceKind,
    /// Where it is.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// How a patch changes an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patch {
    /// RFC 7386: what it names replaces, the rest stays.
    Merge,
    /// RFC 6902: a list of operations.
    Json,
}

impl Patch {
    fn content_type(self) -> &'static str {
        match self {
            Self::Merge => "application/merge-patch+json",
            Self::Json => "application/json-patch+json",
        }
    }
}

/// What an API server answered instead of doing it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApiError {
    /// It could not be reached, or did not answer in time.
    #[error("the Kubernetes API could not be asked: {0}")]
    Unreachable(String),
    /// It does not know us: 401.
    #[error("the Kubernetes API does not accept the token (HTTP status 401): {0}")]
    Unauthorized(String),
    /// We may not: 403.
    #[error("the right to {right} is missing (HTTP status 403): {message}; add it to the guardian's role")]
    Forbidden {
        /// Verb, resource and namespace, as a role writes them.
        right: String,
        /// In the server's words.
        message: String,
    },
    /// There is no such object, or it has no such subresource: 404.
    #[error("{what} does not exist (HTTP status 404): {message}")]
    NotFound {
        /// What was asked for.
        what: String,
        /// In the server's words.
        message: String,
    },
    /// Somebody else changed it at the same time: 409.
    #[error("it was changed by somebody else at the same time (HTTP status 409): {0}")]
    Conflict(String),
    /// It makes no sense to the server, whenever it is sent.
    #[error("the Kubernetes API refuses it (HTTP status {status}): {message}")]
    Refused {
        /// 400, 405, 415, 422 ..
        status: u16,
        /// In the server's words.
        message: String,
    },
    /// It cannot do it now.
    #[error("the Kubernetes API cannot do it now (HTTP status {status}): {message}")]
    Busy {
        /// 429 or 5xx.
        status: u16,
        /// In the server's words.
        message: String,
        /// When it asks to be asked again.
        retry_after: Option<Duration>,
    },
}

impl From<ApiError> for Attempt {
    fn from(error: ApiError) -> Self {
        let reason = error.to_string();
        match error {
            ApiError::Forbidden { .. } | ApiError::NotFound { .. } | ApiError::Refused { .. } => {
                Self::Refused { reason }
            }
            // A token in a file may just be being replaced.
            ApiError::Unreachable(_) | ApiError::Unauthorized(_) | ApiError::Conflict(_) => {
                Self::Failed { reason, retry_after: None }
            }
            ApiError::Busy { retry_after, .. } => Self::Failed { reason, retry_after },
        }
    }
}

impl From<ApiError> for ReadBack {
    fn from(error: ApiError) -> Self {
        Self::Unknown { reason: error.to_string() }
    }
}

/// Who we are, at the moment of a request.
enum Token {
    None,
    Fixed(SecretString),
    File(PathBuf),
}

/// An API server.
pub struct Api {
    base: Url,
    client: reqwest::Client,
    token: Token,
    field_manager: String,
    timeout: Duration,
    target: String,
}

impl Api {
    /// Finds the cluster, fetches what does not change, reads certificates.
    ///
    /// # Errors
    /// If there is no cluster, or a secret or file cannot be had.
    pub fn new(settings: &ApiServer, surroundings: &dyn Surroundings) -> Result<Self, ApiSetupError> {
        let in_cluster = settings.address.is_none();
        let base = match &settings.address {
            Some(url) => url.clone(),
            None => cluster_address(surroundings)?,
        };
        let own = |name: &str| Path::new(SERVICE_ACCOUNT).join(name);
        let token = match &settings.token {
            ApiToken::None => Token::None,
            ApiToken::ServiceAccount => Token::File(own("token")),
            ApiToken::File(path) => Token::File(path.clone()),
            ApiToken::Secret(secret) => Token::Fixed(secret.fetch(surroundings)?),
        };
        let ca_file = settings.ca_file.clone().or_else(|| in_cluster.then(|| own("ca.crt")));
        let client = HttpClient { tls: Tls { ca_file, ..Tls::default() }, ..HttpClient::default() };
        let client = outgoing::builder(&client, surroundings)?
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(ClientError::from)?;
        let port = base.port().map(|port| format!(":{port}")).unwrap_or_default();
        let target = format!("{}://{}{port}", base.scheme(), base.host_str().unwrap_or_default());
        let field_manager = settings.field_manager.clone();
        Ok(Self { base, client, token, field_manager, timeout: settings.timeout, target })
    }

    /// Its address, for people and for the circuit breaker.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// Reads an object.
    ///
    /// # Errors
    /// As the server says.
    pub async fn get(&self, object: &Object) -> Result<Value, ApiError> {
        let url = self.url(object.kind, &object.namespace, &[&object.name]);
        let asked = Asked { verb: "get", object, subresource: None };
        self.exchange(Method::GET, url, None, &asked).await
    }

    /// Reads the objects of a kind whose labels fit a label selector.
    ///
    /// # Errors
    /// As the server says.
    pub async fn list(
        &self,
        kind: ResourceKind,
        namespace: &str,
        labels: &str,
    ) -> Result<Vec<Value>, ApiError> {
        let mut url = self.url(kind, namespace, &[]);
        if !labels.is_empty() {
            url.query_pairs_mut().append_pair("labelSelector", labels);
        }
        let object = Object { kind, namespace: namespace.to_owned(), name: String::new() };
        let asked = Asked { verb: "list", object: &object, subresource: None };
        let mut answer = self.exchange(Method::GET, url, None, &asked).await?;
        match answer.get_mut("items").map(Value::take) {
            Some(Value::Array(items)) => Ok(items),
            _ => Err(ApiError::Unreachable("its answer to a list has no `items`".to_owned())),
        }
    }

    /// Changes an object, or a subresource of it.
    ///
    /// # Errors
    /// As the server says.
    pub async fn patch(
        &self,
        object: &Object,
        subresource: Option<&'static str>,
        patch: Patch,
        body: &Value,
    ) -> Result<Value, ApiError> {
        let path: Vec<&str> = std::iter::once(object.name.as_str()).chain(subresource).collect();
        let mut url = self.url(object.kind, &object.namespace, &path);
        url.query_pairs_mut().append_pair("fieldManager", &self.field_manager);
        let asked = Asked { verb: "patch", object, subresource };
        let sent = Some((patch.content_type(), body.to_string()));
        self.exchange(Method::PATCH, url, sent, &asked).await
    }

    fn url(&self, kind: ResourceKind, namespace: &str, path: &[&str]) -> Url {
        let mut url = self.base.clone();
        // An http or https address always has a path.
        if let Ok(mut segments) = url.path_segments_mut() {
            segments
                .pop_if_empty()
                .extend(["apis", kind.group, kind.version, "namespaces", namespace, kind.plural])
                .extend(path);
        }
        url
    }

    async fn bearer(&self) -> Result<Option<HeaderValue>, ApiError> {
        let token = match &self.token {
            Token::None => return Ok(None),
            Token::Fixed(token) => token.clone(),
            Token::File(path) => {
                let read = tokio::fs::read_to_string(path).await.map_err(|error| {
                    ApiError::Unauthorized(format!(
                        "the token file {} cannot be read: {error}",
                        path.display()
                    ))
                })?;
                SecretString::from(read.trim())
            }
        };
        let mut value = HeaderValue::from_str(&format!("Bearer {}", token.expose_secret()))
            .map_err(|_| ApiError::Unauthorized("the token has characters that cannot be sent".to_owned()))?;
        value.set_sensitive(true);
        Ok(Some(value))
    }

    async fn exchange(
        &self,
        method: Method,
        url: Url,
        sent: Option<(&'static str, String)>,
        asked: &Asked<'_>,
    ) -> Result<Value, ApiError> {
        let mut request = self.client.request(method, url).timeout(self.timeout);
        request = request.header(ACCEPT, "application/json");
        if let Some(token) = self.bearer().await? {
            request = request.header(AUTHORIZATION, token);
        }
        if let Some((kind, body)) = sent {
            request = request.header(CONTENT_TYPE, kind).body(body);
        }
        let unreachable =
            |error: reqwest::Error| ApiError::Unreachable(outgoing::no_answer(error, self.timeout));
        let mut response = request.send().await.map_err(unreachable)?;
        let (status, headers) = (response.status(), response.headers().clone());
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
            if body.len() + chunk.len() > BODY_BYTES_MAX {
                let what = format!("its answer is longer than {BODY_BYTES_MAX} bytes");
                return Err(ApiError::Unreachable(what));
            }
            body.extend_from_slice(&chunk);
        }
        if status.is_success() {
            return serde_json::from_slice(&body)
                .map_err(|error| ApiError::Unreachable(format!("its answer is not JSON: {error}")));
        }
        Err(refusal(status, &headers, &body, asked))
    }
}

fn cluster_address(surroundings: &dyn Surroundings) -> Result<Url, ApiSetupError> {
    let variable = |variable: &'static str| {
        surroundings
            .variable(variable)
            .filter(|value| !value.is_empty())
            .ok_or(ApiSetupError::NotInCluster { variable })
    };
    let host = variable("KUBERNETES_SERVICE_HOST")?;
    let port = variable("KUBERNETES_SERVICE_PORT")?;
    // An IPv6 address stands in brackets in an address with a port.
    let host = if host.contains(':') { format!("[{host}]") } else { host };
    let text = format!("https://{host}:{port}/");
    Url::parse(&text).map_err(|_| ApiSetupError::Address { text })
}

/// What a request was about, for its refusal.
struct Asked<'a> {
    verb: &'static str,
    object: &'a Object,
    subresource: Option<&'static str>,
}

impl Asked<'_> {
    fn resource(&self) -> String {
        match self.subresource {
            Some(part) => format!("{}/{part}", self.object.kind.plural),
            None => self.object.kind.plural.to_owned(),
        }
    }

    fn right(&self) -> String {
        let Object { kind, namespace, .. } = self.object;
        format!("{} {} (API group {}) in namespace {namespace}", self.verb, self.resource(), kind.group)
    }
}

/// The server's own words, from a `Status` object or as text; short.
fn words(body: &[u8]) -> String {
    let text = match serde_json::from_slice::<Value>(body) {
        Ok(Value::Object(status)) => {
            status.get("message").and_then(Value::as_str).unwrap_or("it did not say why").to_owned()
        }
        Ok(_) | Err(_) => String::from_utf8_lossy(body).into_owned(),
    };
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(300) {
        None if line.is_empty() => "no text".to_owned(),
        None => line,
        Some((end, _)) => format!("{}..", &line[..end]),
    }
}

fn refusal(status: StatusCode, headers: &HeaderMap, body: &[u8], asked: &Asked<'_>) -> ApiError {
    let message = words(body);
    match status {
        StatusCode::UNAUTHORIZED => ApiError::Unauthorized(message),
        StatusCode::FORBIDDEN => ApiError::Forbidden { right: asked.right(), message },
        StatusCode::NOT_FOUND => {
            let what =
                format!("{} {} in namespace {}", asked.resource(), asked.object.name, asked.object.namespace);
            ApiError::NotFound { what, message }
        }
        StatusCode::CONFLICT => ApiError::Conflict(message),
        StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY => {
            busy(status, headers, message)
        }
        _ if status.is_server_error() => busy(status, headers, message),
        _ => ApiError::Refused { status: status.as_u16(), message },
    }
}

fn busy(status: StatusCode, headers: &HeaderMap, message: String) -> ApiError {
    let asked = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    let retry_after = asked.and_then(|value| retry_after(value, clock::now()));
    ApiError::Busy { status: status.as_u16(), message, retry_after }
}

/// The text at a JSON pointer.
pub fn text_at<'v>(object: &'v Value, pointer: &str) -> Option<&'v str> {
    object.pointer(pointer).and_then(Value::as_str)
}

/// Whether `true` stands at a JSON pointer; absent is false.
pub fn is_true_at(object: &Value, pointer: &str) -> bool {
    object.pointer(pointer).and_then(Value::as_bool).unwrap_or(false)
}

/// Whether the controller has seen the newest version of an object's spec.
/// The number stands as a text in some kinds; one that is none was written by
/// a controller that does not count.
pub fn is_observed(object: &Value) -> bool {
    let generation = object.pointer("/metadata/generation").and_then(Value::as_i64);
    let observed = object.pointer("/status/observedGeneration");
    let observed = match observed {
        Some(Value::String(text)) => match text.parse().ok() {
            Some(number) => Some(number),
            None => return true,
        },
        Some(other) => other.as_i64(),
        None => None,
    };
    match (generation, observed) {
        (Some(generation), Some(observed)) => observed >= generation,
        (Some(_), None) => false,
        (None, _) => true,
    }
}

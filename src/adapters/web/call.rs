//! What calls have in common: who makes them, which release they are about,
//! and a body of the right type.

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, PathRejection};
use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::IntoResponse;
use serde::de::DeserializeOwned;

use crate::adapters::guardian::{Begun, Caller, GuardianError, Taken};
use crate::domain::{ApplicationName, ReleaseId, ReleaseKey};

use super::Web;
use super::access::{Need, Who, caller};
use super::problem::Problem;

/// A body as it came, or why it did not.
pub(super) type Sent = Result<Bytes, BytesRejection>;

/// A call that may or may not be allowed.
pub(super) struct Call {
    method: Method,
    headers: HeaderMap,
    uri: Uri,
}

impl<S: Sync> FromRequestParts<S> for Call {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Self::Rejection> {
        Ok(Self { method: parts.method.clone(), headers: parts.headers.clone(), uri: parts.uri.clone() })
    }
}

impl Call {
    /// Who calls, if they may.
    pub(super) async fn admit(
        &self,
        web: &Web,
        need: Need,
        about: Option<&ReleaseKey>,
    ) -> Result<Who, Problem> {
        let who = web.admit(&self.method, &self.headers, need, about).await?;
        match unknown_word(&self.method, &self.uri) {
            None => Ok(who),
            Some(problem) if self.method == Method::GET => Err(problem),
            Some(problem) => Err(web.refused(&who, about, problem).await),
        }
    }

    /// As the daemon takes who calls.
    pub(super) async fn caller(
        &self,
        web: &Web,
        who: &Who,
        about: Option<&ReleaseKey>,
    ) -> Result<Caller, Problem> {
        match caller(who, &self.headers) {
            Ok(caller) => Ok(caller),
            Err(problem) => Err(web.refused(who, about, problem).await),
        }
    }

    /// A body of JSON. One that cannot be taken leaves a line in the audit.
    pub(super) async fn read<T: DeserializeOwned>(
        &self,
        web: &Web,
        who: &Who,
        about: Option<&ReleaseKey>,
        sent: Sent,
    ) -> Result<T, Problem> {
        let read = json_bytes(&self.headers, sent)
            .and_then(|body| serde_json::from_slice(&body).map_err(|error| Problem::unreadable(&error)));
        match read {
            Ok(read) => Ok(read),
            Err(problem) => Err(web.refused(who, about, problem).await),
        }
    }
}

/// A word in the query of a call that the call does not know: who mistypes
/// `application` must not get the answer for all of them.
fn unknown_word(method: &Method, uri: &Uri) -> Option<Problem> {
    // The verdict says in its own form what it does not understand.
    if !uri.path().starts_with("/api/v1/") || uri.path() == "/api/v1/verdict" {
        return None;
    }
    let known: &[&str] = match (method, uri.path()) {
        (&Method::GET, "/api/v1/releases") => &["application", "watched", "before", "limit"],
        (&Method::GET, "/api/v1/quality") => &["application"],
        _ => &[],
    };
    let words = url::form_urlencoded::parse(uri.query()?.as_bytes());
    let unknown = words.map(|(word, _)| word).find(|word| !known.contains(&word.as_ref()))?;
    let known = match known {
        [] => "this call takes none".to_owned(),
        _ => format!("this call knows {}", known.join(", ")),
    };
    let unknown: String = unknown.chars().take(60).collect();
    Some(Problem::invalid("query", format!("the word {unknown:?} is not known; {known}")))
}

/// What the daemon says of something that it was told.
pub(super) trait Told {
    /// False if it was told the same before.
    fn is_news(&self) -> bool;
}

impl Told for Taken {
    fn is_news(&self) -> bool {
        self.changed
    }
}

impl Told for Begun {
    fn is_news(&self) -> bool {
        self.created
    }
}

impl Web {
    /// Passes on what the daemon says. What it did not take, and what was
    /// delivered before, leaves a line in the audit and nothing else; the rest
    /// has its line from the daemon.
    pub(super) async fn heard<T: Told>(
        &self,
        who: &Who,
        about: Option<&ReleaseKey>,
        said: Result<T, GuardianError>,
    ) -> Result<T, Problem> {
        match said {
            Ok(told) => {
                if !told.is_news() {
                    self.audit_repeated(&who.name, about).await;
                }
                Ok(told)
            }
            // The audit is in the store, whose trouble this is.
            Err(error @ GuardianError::Unavailable { .. }) => Err(error.into()),
            Err(
                error @ (GuardianError::NotFound { .. }
                | GuardianError::Conflict { .. }
                | GuardianError::Refused { .. }
                | GuardianError::Invalid { .. }
                | GuardianError::Frozen { .. }
                | GuardianError::MissingSettings { .. }
                | GuardianError::Halted { .. }),
            ) => {
                // A line about a release that nobody began belongs to none.
                let about = about.filter(|_| !matches!(error, GuardianError::NotFound { .. }));
                Err(self.refused(who, about, error.into()).await)
            }
        }
    }
}

/// The release that an address names.
pub(super) struct Named(pub(super) ReleaseKey);

impl<S: Send + Sync> FromRequestParts<S> for Named {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Self::Rejection> {
        let names: Result<Path<(String, String)>, PathRejection> =
            Path::from_request_parts(parts, state).await;
        let Path((application, id)) = names.map_err(|e| Problem::invalid("path", e.body_text()))?;
        let application =
            ApplicationName::new(application).map_err(|e| Problem::invalid("application", e.to_string()))?;
        let id = ReleaseId::new(id).map_err(|e| Problem::invalid("id", e.to_string()))?;
        Ok(Self(ReleaseKey { application, id }))
    }
}

/// A body that says it is JSON, unread.
pub(super) fn json_bytes(headers: &HeaderMap, sent: Sent) -> Result<Bytes, Problem> {
    bytes_of("application/json", "send `Content-Type: application/json`", headers, sent)
}

/// A body that says it is of that type; `remedy` is told with a refusal.
pub(super) fn bytes_of(
    expected: &str,
    remedy: &str,
    headers: &HeaderMap,
    sent: Sent,
) -> Result<Bytes, Problem> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case(expected) {
        let problem = Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "content-type", "wrong content type");
        return Err(problem.detail(format!("{essence:?} is not read here; {remedy}")));
    }
    sent.map_err(|rejection| {
        let rejected = rejection.into_response().status();
        if rejected == StatusCode::PAYLOAD_TOO_LARGE {
            let detail = format!("a body may have {} bytes", super::BODY_BYTES_MAX);
            Problem::new(rejected, "too-large", "the body is too long").detail(detail)
        } else {
            Problem::new(StatusCode::BAD_REQUEST, "body", "the body could not be read")
                .detail("it ended before its length; send it again")
        }
    })
}

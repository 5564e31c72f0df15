//! Errors as `application/problem+json` (RFC 9457): what, where, what to do.

use axum::extract::rejection::QueryRejection;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use crate::adapters::guardian::GuardianError;

/// What a reader of JSON or of a query says, without the names and types that
/// only this program's text knows.
pub(super) fn plain(error: &str) -> String {
    let error = error.strip_prefix("Failed to deserialize query string: ").unwrap_or(error);
    let Some((before, rest)) = error.split_once(", expected ") else { return error.to_owned() };
    let (expected, place) = match rest.split_once(" at line ") {
        Some((expected, place)) => (expected, format!(" at line {place}")),
        None => (rest, String::new()),
    };
    let expected = match expected {
        "a map" => "an object",
        "a sequence" => "a list",
        "a boolean" => "true or false",
        "a string" | "a borrowed string" | "str" => "a text",
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number, 0 or more",
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number",
        "f32" | "f64" => "a number",
        _ if expected.starts_with("struct ") => "an object",
        _ if expected.starts_with("enum ") || expected.starts_with("variant ") => "a word",
        _ => expected,
    };
    format!("{before}, expected {expected}{place}")
}

/// An error as the caller sees it.
#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    kind: &'static str,
    title: &'static str,
    detail: String,
    more: Map<String, Value>,
    retry_after_seconds: Option<u32>,
}

impl Problem {
    pub(super) fn new(status: StatusCode, kind: &'static str, title: &'static str) -> Self {
        Self { status, kind, title, detail: String::new(), more: Map::new(), retry_after_seconds: None }
    }

    pub(super) fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = detail.into();
        self
    }

    /// The same under another status.
    pub(super) fn with_status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    pub(super) fn invalid(field: &str, problem: impl Into<String>) -> Self {
        let mut invalid = Self::new(StatusCode::BAD_REQUEST, "invalid", "the request makes no sense");
        invalid.detail = format!("{field}: {}", problem.into());
        invalid.more.insert("field".to_owned(), json!(field));
        invalid
    }

    pub(super) fn unreadable(error: &impl std::fmt::Display) -> Self {
        let title = "the body is not what is expected";
        Self::new(StatusCode::BAD_REQUEST, "body", title).detail(plain(&error.to_string()))
    }

    /// A query that could not be read.
    pub(super) fn of_query(rejection: &QueryRejection) -> Self {
        Self::invalid("query", plain(&rejection.body_text()))
    }

    pub(super) fn overloaded(detail: &str) -> Self {
        let mut problem = Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "not possible now");
        problem.detail = format!("{detail}; try again in a second");
        problem.retry_after_seconds = Some(1);
        problem
    }

    pub(super) fn too_many(retry_after_seconds: u32) -> Self {
        let mut problem = Self::new(StatusCode::TOO_MANY_REQUESTS, "rate", "too many calls");
        problem.detail = format!("this caller calls too often; try again in {retry_after_seconds} s");
        problem.retry_after_seconds = Some(retry_after_seconds);
        problem
    }

    pub(super) fn status(&self) -> StatusCode {
        self.status
    }

    /// The sentence for a page.
    pub(super) fn text(&self) -> String {
        format!("{}: {}", self.title, self.detail)
    }
}

impl From<GuardianError> for Problem {
    fn from(error: GuardianError) -> Self {
        let detail = error.to_string();
        let mut problem = match &error {
            GuardianError::NotFound { .. } => Self::new(StatusCode::NOT_FOUND, "not-found", "not found"),
            GuardianError::Conflict { .. } => Self::new(StatusCode::CONFLICT, "conflict", "conflict"),
            GuardianError::Refused { .. } => Self::new(StatusCode::FORBIDDEN, "refused", "policy forbids it"),
            GuardianError::Invalid { field, problem } => return Self::invalid(field, problem.clone()),
            GuardianError::Frozen { .. } => Self::new(StatusCode::CONFLICT, "frozen", "releases are frozen"),
            GuardianError::MissingSettings { .. } => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "missing-settings", "settings are missing")
            }
            GuardianError::Halted { .. } => {
                Self::new(StatusCode::CONFLICT, "halted", "all commands are halted")
            }
            GuardianError::Unavailable { .. } => {
                let mut problem = Self::overloaded("");
                problem.retry_after_seconds = Some(5);
                problem
            }
        };
        match &error {
            GuardianError::MissingSettings { which, .. } => {
                problem.more.insert("missing".to_owned(), json!(which));
            }
            GuardianError::Frozen { until, .. } => {
                problem.more.insert("until".to_owned(), json!(until));
            }
            GuardianError::NotFound { .. }
            | GuardianError::Conflict { .. }
            | GuardianError::Refused { .. }
            | GuardianError::Invalid { .. }
            | GuardianError::Halted { .. }
            | GuardianError::Unavailable { .. } => {}
        }
        problem.detail = detail;
        problem
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut body = json!({
            "type": format!("urn:release-guardian:problem:{}", self.kind),
            "title": self.title,
            "status": self.status.as_u16(),
            "detail": self.detail,
        });
        if let Value::Object(fields) = &mut body {
            fields.extend(self.more);
        }
        let mut response = (self.status, body.to_string()).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if self.status == StatusCode::UNAUTHORIZED {
            let challenge = HeaderValue::from_static("Bearer realm=\"release-guardian\"");
            headers.insert(header::WWW_AUTHENTICATE, challenge);
        }
        if let Some(seconds) = self.retry_after_seconds {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_reader_says_is_told_without_the_names_of_our_types() {
        for (said, told) in [
            (
                "invalid type: integer `3`, expected struct OrderBody at line 1 column 1",
                "invalid type: integer `3`, expected an object at line 1 column 1",
            ),
            (
                "Failed to deserialize query string: limit: invalid digit found in string",
                "limit: invalid digit found in string",
            ),
            ("invalid type: map, expected a sequence", "invalid type: map, expected a list"),
            (
                "invalid value: integer `-1`, expected u32",
                "invalid value: integer `-1`, expected a whole number, 0 or more",
            ),
            ("unknown field `x`, expected `on` or `reason`", "unknown field `x`, expected `on` or `reason`"),
        ] {
            assert_eq!(plain(said), told);
        }
    }
}

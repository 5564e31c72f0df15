//! One HTTP exchange with a release system.

use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, StatusCode};
use secrecy::{ExposeSecret, SecretString};

use crate::adapters::outgoing::no_answer;

/// More of an answer is not read; no condition needs it.
const BODY_BYTES_MAX: usize = 256 * 1024;

/// A request that is ready to be sent.
pub(super) struct Outgoing {
    pub(super) method: Method,
    pub(super) url: url::Url,
    pub(super) headers: Vec<(HeaderName, SecretString)>,
    pub(super) body: Option<String>,
    pub(super) timeout: Duration,
}

/// What came back.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: String,
}

/// Sends and reads; the error is a sentence without secrets.
pub(super) async fn exchange(client: &reqwest::Client, outgoing: Outgoing) -> Result<Answer, String> {
    let mut headers = HeaderMap::new();
    for (name, value) in outgoing.headers {
        let mut parsed = HeaderValue::from_str(value.expose_secret())
            .map_err(|_| format!("header {name} has a value that cannot be sent"))?;
        parsed.set_sensitive(true);
        headers.insert(name, parsed);
    }
    let mut request =
        client.request(outgoing.method, outgoing.url).headers(headers).timeout(outgoing.timeout);
    if let Some(body) = outgoing.body {
        request = request.body(body);
    }
    let mut response = request.send().await.map_err(|e| no_answer(e, outgoing.timeout))?;
    let (status, headers) = (response.status(), response.headers().clone());
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|e| no_answer(e, outgoing.timeout))? {
        let room = BODY_BYTES_MAX - body.len();
        body.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if chunk.len() >= room {
            break;
        }
    }
    Ok(Answer { status, headers, body: String::from_utf8_lossy(&body).into_owned() })
}

//! One HTTP address whose path or query is a key: it is spoken to, and never
//! shown.

use std::fmt;
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use url::Url;

use crate::adapters::chain::chain;
use crate::domain::Timestamp;

use super::channel::SendError;

/// No answer is read further than this, in bytes.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// So much of an answer is shown, in characters.
const SHOWN_CHARS_MAX: usize = 300;
const RETRY_AFTER_DEFAULT: Duration = Duration::from_secs(60);
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);
/// Shorter parts of an address are no keys, and would blank out whole answers.
const KEY_CHARS_MIN: usize = 8;

/// Takes secrets out of texts that people see.
#[derive(Clone, Default)]
pub struct Redactor(Vec<SecretString>);

impl Redactor {
    /// Knows `secrets`; empty ones are passed over.
    pub fn new(secrets: impl IntoIterator<Item = SecretString>) -> Self {
        Self(secrets.into_iter().filter(|secret| !secret.expose_secret().is_empty()).collect())
    }

    /// `text` in one line, without secrets, cut to 300 characters.
    pub fn clean(&self, text: &str) -> String {
        let mut shown = text.to_owned();
        for secret in &self.0 {
            shown = shown.replace(secret.expose_secret(), "***");
        }
        let plain: String = shown.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let plain = plain.trim();
        match plain.char_indices().nth(SHOWN_CHARS_MAX) {
            Some((at, _)) => format!("{}…", &plain[..at]),
            None => plain.to_owned(),
        }
    }
}

/// Where to POST.
pub struct Endpoint {
    client: reqwest::Client,
    url: Url,
    redactor: Redactor,
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endpoint({})", self.url.host_str().unwrap_or("?"))
    }
}

/// An address that cannot be used. Says nothing of it.
#[derive(Debug, thiserror::Error)]
pub enum InvalidEndpoint {
    /// No http or https address.
    #[error("the channel's address is not an http or https address; check the secret that holds it")]
    Address,
    /// TLS could not be set up.
    #[error("cannot set up the HTTP client")]
    Client(#[source] reqwest::Error),
}

/// What was answered.
#[derive(Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The body, as far as it was read.
    pub body: Vec<u8>,
    retry_after: Option<Duration>,
}

impl Endpoint {
    /// An address, and other secrets that must not be shown when it answers.
    ///
    /// # Errors
    /// If it is no address.
    pub fn new(
        address: &SecretString,
        timeout: Duration,
        others: impl IntoIterator<Item = SecretString>,
    ) -> Result<Self, InvalidEndpoint> {
        let url = Url::parse(address.expose_secret().trim()).map_err(|_| InvalidEndpoint::Address)?;
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
            return Err(InvalidEndpoint::Address);
        }
        let client = reqwest::Client::builder()
            .timeout(timeout)
            .connect_timeout(timeout.min(Duration::from_secs(5)))
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("release-guardian/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(InvalidEndpoint::Client)?;
        let parts = url.path_segments().into_iter().flatten().map(str::to_owned);
        let values = url.query_pairs().map(|(_, value)| value.into_owned());
        let keys = parts.chain(values).filter(|part| part.len() >= KEY_CHARS_MIN).map(SecretString::from);
        let whole = [SecretString::from(url.to_string()), address.clone()];
        let redactor = Redactor::new(whole.into_iter().chain(keys).chain(others).collect::<Vec<_>>());
        Ok(Self { client, url, redactor })
    }

    /// Takes this address and its secrets out of a text.
    pub fn clean(&self, text: &str) -> String {
        self.redactor.clean(text)
    }

    /// Posts JSON. `query` is added to the address for this attempt only.
    ///
    /// # Errors
    /// If there was no answer, or one that means the same everywhere: 429, 5xx.
    pub async fn post(
        &self,
        query: &[(&str, &str)],
        headers: HeaderMap,
        body: Vec<u8>,
        now: Timestamp,
    ) -> Result<Answer, SendError> {
        let mut url = self.url.clone();
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let request = self
            .client
            .post(url)
            .header(CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"))
            .headers(headers)
            .body(body);
        let mut response = request.send().await.map_err(|error| self.no_answer(error))?;
        let status = response.status().as_u16();
        let retry_after = response
            .headers()
            .get(RETRY_AFTER)
            .and_then(|value| parse_retry_after(value.to_str().ok()?, now));
        let mut body = Vec::new();
        while body.len() < ANSWER_BYTES_MAX {
            match response.chunk().await.map_err(|error| self.no_answer(error))? {
                Some(chunk) => {
                    body.extend_from_slice(&chunk[..chunk.len().min(ANSWER_BYTES_MAX - body.len())])
                }
                None => break,
            }
        }
        let answer = Answer { status, body, retry_after };
        match status {
            429 => Err(self.rate_limited(&answer)),
            500..=599 if answer.retry_after.is_some() => Err(self.rate_limited(&answer)),
            408 | 500..=599 => Err(SendError::unavailable(self.shown(&answer))),
            _ => Ok(answer),
        }
    }

    /// The answer as a person reads it.
    pub fn shown(&self, answer: &Answer) -> String {
        let text = self.clean(&String::from_utf8_lossy(&answer.body));
        if text.is_empty() {
            format!("HTTP {}", answer.status)
        } else {
            format!("HTTP {}: {text}", answer.status)
        }
    }

    /// Too many, and for how long.
    pub fn rate_limited(&self, answer: &Answer) -> SendError {
        SendError::RateLimited {
            retry_after: answer.retry_after.unwrap_or(RETRY_AFTER_DEFAULT),
            reason: self.shown(answer),
        }
    }

    fn no_answer(&self, error: reqwest::Error) -> SendError {
        let error = error.without_url();
        let text = if error.is_timeout() { "no answer in time".to_owned() } else { chain(&error) };
        SendError::unavailable(self.clean(&text))
    }
}

impl Answer {
    /// The body as JSON, if it is.
    pub fn json(&self) -> Option<Value> {
        serde_json::from_slice(&self.body).ok()
    }
}

/// Seconds, or an HTTP date; at most an hour.
fn parse_retry_after(text: &str, now: Timestamp) -> Option<Duration> {
    let wait = match text.trim().parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let date = jiff::fmt::rfc2822::parse(text.trim()).ok()?;
            Timestamp::from_millis(date.timestamp().as_millisecond()).since(now)
        }
    };
    Some(wait.min(RETRY_AFTER_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_read_as_seconds_or_as_a_date_and_bounded() {
        let now = Timestamp::from_millis(1_445_412_420_000);
        let read = |text| parse_retry_after(text, now);
        assert_eq!(read("30"), Some(Duration::from_secs(30)));
        assert_eq!(read("Wed, 21 Oct 2015 07:28:00 GMT"), Some(Duration::from_secs(60)));
        assert_eq!(read("Wed, 21 Oct 2015 07:00:00 GMT"), Some(Duration::ZERO));
        assert_eq!(read("99999999"), Some(RETRY_AFTER_MAX));
        assert_eq!(read("soon"), None);
    }

    #[test]
    fn keys_in_an_address_are_taken_out_of_every_text() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let address = SecretString::from(
            "https://hooks.example.com/services/T0/B0/abcdefghKEY?access_token=tokentoken",
        );
        let others = [SecretString::from("SECother")];
        let endpoint = Endpoint::new(&address, Duration::from_secs(1), others).unwrap();
        let shown = endpoint.clean("bad https://hooks.example.com/services/T0/B0/abcdefghKEY?access_token=tokentoken, abcdefghKEY tokentoken SECother\nx");
        assert!(!shown.contains("KEY") && !shown.contains("token") && !shown.contains("SECother"), "{shown}");
        assert!(!shown.contains('\n'));
        assert_eq!(format!("{endpoint:?}"), "Endpoint(hooks.example.com)");
        assert!(Endpoint::new(&SecretString::from("ftp://x"), Duration::from_secs(1), []).is_err());
    }
}

//! DingTalk custom robots. Errors come as HTTP 200 with an `errcode`.

use std::time::Duration;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use reqwest::header::HeaderMap;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::config::notify::{Severity, TemplatePart};
use crate::domain::Timestamp;

use super::channel::{Channel, Scope, SendError};
use super::endpoint::{Answer, Endpoint};
use super::render::{Parcel, Renderer};
use super::{broken, cut_bytes};

/// A body above 20,000 bytes is refused; the rest of it is small.
const TEXT_BYTES_MAX: usize = 14_000;
/// From the 21st message in a minute the robot is blocked for ten.
const BLOCKED_FOR: Duration = Duration::from_secs(600);

/// A DingTalk group.
#[derive(Debug)]
pub struct DingTalk {
    pub(super) name: String,
    pub(super) endpoint: Endpoint,
    pub(super) secret: Option<SecretString>,
    pub(super) mention: Vec<String>,
    pub(super) renderer: Renderer,
}

/// The `sign` of a request, not yet coded for an address.
pub fn signature(secret: &SecretString, timestamp_millis: i64) -> String {
    // HMAC takes keys of any length.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.expose_secret().as_bytes()) else {
        return String::new();
    };
    mac.update(timestamp_millis.to_string().as_bytes());
    mac.update(b"\n");
    mac.update(secret.expose_secret().as_bytes());
    STANDARD.encode(mac.finalize().into_bytes())
}

impl DingTalk {
    fn body(&self, parcel: &Parcel) -> Result<Value, SendError> {
        let title = self.renderer.title(parcel).map_err(broken)?;
        let text = self.renderer.part(TemplatePart::Markdown, parcel).map_err(broken)?;
        let mut text = cut_bytes(&text, TEXT_BYTES_MAX);
        let urgent = parcel.entries.iter().any(|entry| entry.message.severity == Severity::Critical);
        let mention: &[String] = if urgent { &self.mention } else { &[] };
        let single = (parcel.entries.len() == 1).then(|| self.renderer.view(&parcel.entries[0]));
        let mut buttons: Vec<(String, String)> = Vec::new();
        if let Some(view) = single {
            buttons.extend(view.links.into_iter().map(|link| (link.label.to_owned(), link.url)));
            buttons.extend(view.page_url.map(|url| (view.words.page.to_owned(), url)));
        }
        if !buttons.is_empty() && mention.is_empty() {
            let buttons: Vec<Value> =
                buttons.iter().map(|(title, url)| json!({"title": title, "actionURL": url})).collect();
            return Ok(json!({
                "msgtype": "actionCard",
                "actionCard": {"title": title, "text": text, "btnOrientation": "0", "btns": buttons},
            }));
        }
        // Cards mention nobody, so with mentions the links stand in the text.
        if !buttons.is_empty() {
            let links: Vec<String> = buttons.iter().map(|(title, url)| format!("[{title}]({url})")).collect();
            text = format!("{text}\n\n{}", links.join(" | "));
        }
        if !mention.is_empty() {
            let names: Vec<String> = mention.iter().map(|mobile| format!("@{mobile}")).collect();
            text = format!("{text}\n\n{}", names.join(" "));
        }
        Ok(json!({
            "msgtype": "markdown",
            "markdown": {"title": title, "text": text},
            "at": {"atMobiles": mention, "atUserIds": [], "isAtAll": false},
        }))
    }

    fn judged(&self, answer: &Answer) -> Result<String, SendError> {
        let reason = self.endpoint.shown(answer);
        let Some(code) = answer.json().and_then(|body| body.get("errcode")?.as_i64()) else {
            return Err(SendError::unavailable(format!("{reason} (an answer without errcode)")));
        };
        match code {
            0 if answer.status == 200 => Ok("errcode 0".to_owned()),
            130_101 | 410_100 => Err(SendError::RateLimited { retry_after: BLOCKED_FOR, reason }),
            -1 | 0 => Err(SendError::Unavailable { scope: Scope::Channel, reason }),
            // The signature, keyword or address is not taken, or the robot is
            // unknown or switched off: nothing changes that but a person.
            310_000 | 300_001 | 300_005 | 400_101 | 400_102 => Err(SendError::Closed { reason }),
            _ => Err(SendError::Refused { reason }),
        }
    }
}

#[async_trait]
impl Channel for DingTalk {
    fn name(&self) -> &str {
        &self.name
    }

    async fn send(&self, parcel: &Parcel, _recipient: &str, now: Timestamp) -> Result<String, SendError> {
        let body = self.body(parcel)?.to_string().into_bytes();
        let timestamp = now.as_millis().to_string();
        let sign = self.secret.as_ref().map(|secret| signature(secret, now.as_millis()));
        let query: Vec<(&str, &str)> = sign
            .iter()
            .flat_map(|sign| [("timestamp", timestamp.as_str()), ("sign", sign.as_str())])
            .collect();
        let answer = self.endpoint.post(&query, HeaderMap::new(), body, now).await?;
        self.judged(&answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_agrees_with_the_computed_vector() {
        let sign = signature(&SecretString::from("SECexample"), 1_700_000_000_000);
        assert_eq!(sign, "uroalHrWHORz59talE1o26b8HuX2kOp8WlAN91F9Pj0=");
    }
}

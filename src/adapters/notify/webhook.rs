//! Any other server that takes a POST: JSON, signed as a Standard Webhook.

use async_trait::async_trait;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};

use crate::adapters::standard_webhooks::{
    ID_HEADER, SIGNATURE_HEADER, SigningKey, TIMESTAMP_HEADER, sign, timestamp_seconds,
};
use crate::config::notify::TemplatePart;
use crate::domain::Timestamp;

use super::broken;
use super::channel::{Channel, Scope, SendError};
use super::endpoint::{Answer, Endpoint};
use super::message::{Message, Reason};
use super::render::{Entry, Parcel, Renderer};
use super::view::View;

/// A server that takes a POST.
#[derive(Debug)]
pub struct Webhook {
    pub(super) name: String,
    pub(super) endpoint: Endpoint,
    pub(super) keys: Vec<SigningKey>,
    pub(super) renderer: Renderer,
}

fn reason(reason: &Reason) -> Value {
    json!({
        "signal": reason.signal,
        "because": reason.because,
        "release_before": reason.release.0,
        "release_after": reason.release.1,
        "reference_before": reason.reference.0,
        "reference_after": reason.reference.1,
        "unit": reason.unit,
        "strength": reason.strength,
        "since": reason.since,
        "instances": reason.instances,
    })
}

fn data(entry: &Entry, view: &View) -> Value {
    let message: &Message = &entry.message;
    let links: serde_json::Map<String, Value> =
        entry.links.iter().map(|link| (link.action.word().to_owned(), json!(link.url))).collect();
    json!({
        "id": message.id,
        "kind": message.kind,
        "severity": message.severity,
        "at": message.at,
        "application": message.release.as_ref().map(|release| &release.application),
        "release": message.release.as_ref().map(|release| &release.id),
        "version": message.version,
        "previous_version": message.previous_version,
        "environment": message.environment,
        "headline": view.headline,
        "text": view.text,
        "decision": message.decided,
        "reasons": message.reasons.iter().map(reason).collect::<Vec<_>>(),
        "more_reasons": message.more_reasons,
        "blind": message.blind,
        "next": message.next,
        "confirmed_by": message.confirmed_by,
        "links": links,
        "url": entry.page_url,
    })
}

impl Webhook {
    fn body(&self, parcel: &Parcel) -> Result<Vec<u8>, SendError> {
        let value = match parcel.entries.as_slice() {
            [_] if self.renderer.has(TemplatePart::Body) => {
                let body = self.renderer.part(TemplatePart::Body, parcel).map_err(broken)?;
                return Ok(body.into_bytes());
            }
            [only] => json!({
                "type": format!("notice.{}", only.message.kind.word()),
                "timestamp": only.message.at,
                "data": data(only, &self.renderer.view(only)),
            }),
            several => json!({
                "type": "notice.digest",
                "timestamp": parcel.at,
                "data": {
                    "messages": several
                        .iter()
                        .map(|entry| data(entry, &self.renderer.view(entry)))
                        .collect::<Vec<_>>(),
                    "omitted": parcel.omitted,
                },
            }),
        };
        Ok(value.to_string().into_bytes())
    }

    fn headers(&self, id: &str, body: &[u8], now: Timestamp) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let signature = sign(&self.keys, id, now, body);
        for (name, value) in [
            (ID_HEADER, id.to_owned()),
            ("idempotency-key", id.to_owned()),
            (TIMESTAMP_HEADER, timestamp_seconds(now).to_string()),
            (SIGNATURE_HEADER, signature),
        ] {
            if let Ok(value) = HeaderValue::from_str(&value)
                && !value.is_empty()
            {
                headers.insert(HeaderName::from_static(name), value);
            }
        }
        headers
    }

    fn judged(&self, answer: &Answer) -> Result<String, SendError> {
        let reason = self.endpoint.shown(answer);
        match answer.status {
            200..=299 => Ok(format!("HTTP {}", answer.status)),
            410 => Err(SendError::Closed { reason }),
            400 | 413 | 415 | 422 => Err(SendError::Refused { reason }),
            // Redirects are not followed: the signed message would go to a
            // place that nobody named.
            _ => Err(SendError::Unavailable { scope: Scope::Channel, reason }),
        }
    }
}

#[async_trait]
impl Channel for Webhook {
    fn name(&self) -> &str {
        &self.name
    }

    async fn send(&self, parcel: &Parcel, _recipient: &str, now: Timestamp) -> Result<String, SendError> {
        let body = self.body(parcel)?;
        let headers = self.headers(&parcel.id, &body, now);
        let answer = self.endpoint.post(&[], headers, body, now).await?;
        self.judged(&answer)
    }
}

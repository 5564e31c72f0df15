//! Feishu and Lark custom bots. Errors come as a `code` in the body, often
//! with HTTP 200.

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
use super::message::Chart;
use super::render::{Parcel, Renderer};
use super::{broken, cut_bytes};

/// A body above about 20 KB is refused.
const BODY_BYTES_MAX: usize = 18_000;
const TEXT_BYTES_MAX: usize = 10_000;
const CHART_POINTS_MAX: usize = 40;
const BLOCKED_FOR: Duration = Duration::from_secs(60);

/// A Feishu or Lark group.
#[derive(Debug)]
pub struct Feishu {
    pub(super) name: String,
    pub(super) endpoint: Endpoint,
    pub(super) secret: Option<SecretString>,
    pub(super) renderer: Renderer,
}

/// The `sign` of a body: the key is time and secret, the text is empty.
pub fn signature(secret: &SecretString, timestamp_seconds: i64) -> String {
    let key = format!("{timestamp_seconds}\n{}", secret.expose_secret());
    // HMAC takes keys of any length.
    let Ok(mac) = Hmac::<Sha256>::new_from_slice(key.as_bytes()) else { return String::new() };
    STANDARD.encode(mac.finalize().into_bytes())
}

/// Both groups as lines, in the words of the channel.
fn chart_element(chart: &Chart, release: &str, reference: &str) -> Value {
    let step = chart.points.len().div_ceil(CHART_POINTS_MAX).max(1);
    let mut values = Vec::new();
    for (at, of_release, of_reference) in chart.points.iter().step_by(step) {
        for (group, value) in [(release, of_release), (reference, of_reference)] {
            if let Some(value) = value {
                values.push(json!({"t": at.clock_time(), "v": value, "g": group}));
            }
        }
    }
    json!({
        "tag": "chart",
        "aspect_ratio": "16:9",
        "chart_spec": {
            "type": "line",
            "title": {"text": chart.signal},
            "data": {"values": values},
            "xField": "t",
            "yField": "v",
            "seriesField": "g",
            "point": {"visible": false},
            "legends": {"visible": true},
        },
    })
}

impl Feishu {
    fn card(&self, parcel: &Parcel) -> Result<Value, SendError> {
        let title = self.renderer.title(parcel).map_err(broken)?;
        let text = self.renderer.part(TemplatePart::Markdown, parcel).map_err(broken)?;
        let mut elements = vec![json!({"tag": "markdown", "content": cut_bytes(&text, TEXT_BYTES_MAX)})];
        if let [only] = parcel.entries.as_slice() {
            let view = self.renderer.view(only);
            if let Some(chart) = only.message.charts.first() {
                elements.push(chart_element(chart, view.words.release_group, view.words.reference_group));
            }
            let mut buttons: Vec<Value> = view
                .links
                .iter()
                .map(|link| {
                    let style = if link.action == "rollback" { "danger" } else { "default" };
                    button(link.label, &link.url, style)
                })
                .collect();
            buttons.extend(view.page_url.iter().map(|url| button(view.words.page, url, "default")));
            if !buttons.is_empty() {
                elements.push(json!({"tag": "action", "actions": buttons}));
            }
        }
        let gravest = parcel.entries.iter().map(|entry| entry.message.severity).max();
        let colour = match gravest {
            Some(Severity::Critical) => "red",
            Some(Severity::Warning) => "orange",
            Some(Severity::Info) | None => "blue",
        };
        Ok(json!({
            "config": {"wide_screen_mode": true},
            "header": {"title": {"tag": "plain_text", "content": title}, "template": colour},
            "elements": elements,
        }))
    }

    fn body(&self, parcel: &Parcel, now: Timestamp) -> Result<Vec<u8>, SendError> {
        let mut card = self.card(parcel)?;
        if card.to_string().len() > BODY_BYTES_MAX
            && let Some(elements) = card["elements"].as_array_mut()
        {
            elements.retain(|element| element["tag"] != "chart");
        }
        let mut body = json!({"msg_type": "interactive", "card": card});
        if let Some(secret) = &self.secret {
            let seconds = now.as_millis().div_euclid(1000);
            body["timestamp"] = json!(seconds.to_string());
            body["sign"] = json!(signature(secret, seconds));
        }
        Ok(body.to_string().into_bytes())
    }

    fn judged(&self, answer: &Answer) -> Result<String, SendError> {
        let reason = self.endpoint.shown(answer);
        let body = answer.json();
        let code = body.as_ref().and_then(|body| {
            // The older form of the interface answers with StatusCode.
            body.get("code").or_else(|| body.get("StatusCode"))?.as_i64()
        });
        match code {
            Some(0) if answer.status == 200 => Ok("code 0".to_owned()),
            Some(11_232) => Err(SendError::RateLimited { retry_after: BLOCKED_FOR, reason }),
            // Signature, address or keyword not taken, or no such bot.
            Some(19_001 | 19_021 | 19_022 | 19_024) => Err(SendError::Closed { reason }),
            Some(0) | None => Err(SendError::Unavailable { scope: Scope::Channel, reason }),
            Some(_) => Err(SendError::Refused { reason }),
        }
    }
}

fn button(text: &str, url: &str, style: &str) -> Value {
    json!({"tag": "button", "text": {"tag": "plain_text", "content": text}, "url": url, "type": style})
}

#[async_trait]
impl Channel for Feishu {
    fn name(&self) -> &str {
        &self.name
    }

    async fn send(&self, parcel: &Parcel, _recipient: &str, now: Timestamp) -> Result<String, SendError> {
        let body = self.body(parcel, now)?;
        let answer = self.endpoint.post(&[], HeaderMap::new(), body, now).await?;
        self.judged(&answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_agrees_with_the_computed_vector() {
        let sign = signature(&SecretString::from("feishu-secret"), 1_700_000_000);
        assert_eq!(sign, "OrBzY1Y01Gq+HgJsl+7OfWcMVwc7YocohQm5iiZwjhU=");
    }
}

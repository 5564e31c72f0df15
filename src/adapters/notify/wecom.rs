//! WeCom group robots. Errors come as HTTP 200 with an `errcode`.

use std::time::Duration;

use async_trait::async_trait;
use reqwest::header::HeaderMap;
use serde_json::json;

use crate::config::notify::TemplatePart;
use crate::domain::Timestamp;

use super::channel::{Channel, Scope, SendError};
use super::endpoint::{Answer, Endpoint};
use super::render::{Parcel, Renderer};
use super::{broken, cut_bytes};

/// The most that a Markdown message holds.
const TEXT_BYTES_MAX: usize = 4096;
const BLOCKED_FOR: Duration = Duration::from_secs(60);

/// A WeCom group.
#[derive(Debug)]
pub struct WeCom {
    pub(super) name: String,
    pub(super) endpoint: Endpoint,
    pub(super) renderer: Renderer,
}

impl WeCom {
    /// The links stand whole at the end; what is too long is cut before them.
    fn text(&self, parcel: &Parcel) -> Result<String, SendError> {
        let text = self.renderer.part(TemplatePart::Markdown, parcel).map_err(broken)?;
        let mut links: Vec<String> = Vec::new();
        if let [only] = parcel.entries.as_slice() {
            let view = self.renderer.view(only);
            links.extend(view.page_url.iter().map(|url| format!("[{}]({url})", view.words.page)));
            links.extend(view.links.iter().map(|link| format!("[{}]({})", link.label, link.url)));
        }
        let mut tail = String::new();
        for link in links {
            if tail.len() + link.len() + 4 < TEXT_BYTES_MAX / 2 + TEXT_BYTES_MAX / 4 {
                tail = if tail.is_empty() { format!("\n\n{link}") } else { format!("{tail}  {link}") };
            }
        }
        Ok(format!("{}{tail}", cut_bytes(text.trim_end(), TEXT_BYTES_MAX - tail.len())))
    }

    fn judged(&self, answer: &Answer) -> Result<String, SendError> {
        let reason = self.endpoint.shown(answer);
        match answer.json().and_then(|body| body.get("errcode")?.as_i64()) {
            Some(0) if answer.status == 200 => Ok("errcode 0".to_owned()),
            Some(45_009 | 45_033) => Err(SendError::RateLimited { retry_after: BLOCKED_FOR, reason }),
            Some(93_000 | 93_004 | 93_008) => Err(SendError::Closed { reason }),
            Some(-1 | 0) | None => Err(SendError::Unavailable { scope: Scope::Channel, reason }),
            Some(_) => Err(SendError::Refused { reason }),
        }
    }
}

#[async_trait]
impl Channel for WeCom {
    fn name(&self) -> &str {
        &self.name
    }

    async fn send(&self, parcel: &Parcel, _recipient: &str, now: Timestamp) -> Result<String, SendError> {
        let body = json!({"msgtype": "markdown", "markdown": {"content": self.text(parcel)?}});
        let answer = self.endpoint.post(&[], HeaderMap::new(), body.to_string().into_bytes(), now).await?;
        self.judged(&answer)
    }
}

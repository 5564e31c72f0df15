//! Slack incoming webhooks.

use async_trait::async_trait;
use reqwest::header::HeaderMap;
use serde_json::{Value, json};

use crate::config::notify::TemplatePart;
use crate::domain::Timestamp;

use super::channel::{Channel, Scope, SendError};
use super::endpoint::{Answer, Endpoint};
use super::render::{Parcel, Renderer};
use super::{broken, cut_bytes};

/// A text block holds 3,000 characters.
const BLOCK_CHARS_MAX: usize = 2900;
/// A header holds 150 characters.
const HEADER_CHARS_MAX: usize = 148;
/// So many text blocks; Slack takes 50.
const BLOCKS_MAX: usize = 10;

/// A Slack channel.
#[derive(Debug)]
pub struct Slack {
    pub(super) name: String,
    pub(super) endpoint: Endpoint,
    pub(super) renderer: Renderer,
}

/// Splits at line ends where that is possible.
fn blocks(text: &str) -> Vec<String> {
    let mut blocks = vec![String::new()];
    for line in text.trim().lines() {
        let line: String = line.chars().take(BLOCK_CHARS_MAX).collect();
        let used = blocks.last().map_or(0, |block| block.chars().count());
        if used > 0 && used + line.chars().count() + 1 > BLOCK_CHARS_MAX {
            blocks.push(String::new());
        }
        if let Some(block) = blocks.last_mut() {
            if !block.is_empty() {
                block.push('\n');
            }
            block.push_str(&line);
        }
    }
    blocks.truncate(BLOCKS_MAX);
    blocks.retain(|block| !block.is_empty());
    blocks
}

impl Slack {
    fn body(&self, parcel: &Parcel) -> Result<Value, SendError> {
        let title = self.renderer.title(parcel).map_err(broken)?;
        let text = self.renderer.part(TemplatePart::Markdown, parcel).map_err(broken)?;
        // A header shows its text as it is; everywhere else it is escaped.
        let plain = title.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
        let header: String = plain.chars().take(HEADER_CHARS_MAX).collect();
        let mut sections = vec![json!({"type": "header", "text": {"type": "plain_text", "text": header}})];
        let section = |text: String| json!({"type": "section", "text": {"type": "mrkdwn", "text": text}});
        sections.extend(blocks(&text).into_iter().map(section));
        if let [only] = parcel.entries.as_slice() {
            let view = self.renderer.view(only);
            let mut links: Vec<String> =
                view.links.iter().map(|link| format!("<{}|{}>", link.url, link.label)).collect();
            links.extend(view.page_url.iter().map(|url| format!("<{url}|{}>", view.words.page)));
            // Links stand in the text: buttons with an address still call back
            // to an application that an incoming webhook does not have.
            for few in links.chunks(3) {
                sections.push(section(few.join("   ·   ")));
            }
        }
        Ok(json!({
            "text": cut_bytes(&title, 2000),
            "blocks": sections,
            "unfurl_links": false,
            "unfurl_media": false,
        }))
    }

    fn judged(&self, answer: &Answer) -> Result<String, SendError> {
        let reason = self.endpoint.shown(answer);
        match answer.status {
            200 if answer.body.trim_ascii() == b"ok" => Ok("ok".to_owned()),
            // Something else answers in Slack's place.
            200..=299 => Err(SendError::Unavailable { scope: Scope::Channel, reason }),
            403 | 404 | 410 => Err(SendError::Closed { reason }),
            _ => Err(SendError::Refused { reason }),
        }
    }
}

#[async_trait]
impl Channel for Slack {
    fn name(&self) -> &str {
        &self.name
    }

    async fn send(&self, parcel: &Parcel, _recipient: &str, now: Timestamp) -> Result<String, SendError> {
        let body = self.body(parcel)?.to_string().into_bytes();
        let answer = self.endpoint.post(&[], HeaderMap::new(), body, now).await?;
        self.judged(&answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_split_at_line_ends_within_the_limits() {
        let text = format!("{}\n{}\n{}", "a".repeat(2000), "b".repeat(2000), "c".repeat(9000));
        let blocks = blocks(&text);
        assert_eq!(blocks.len(), 3);
        assert!(blocks.iter().all(|block| block.chars().count() <= BLOCK_CHARS_MAX));
        assert!(super::blocks("\n\n").is_empty());
    }
}

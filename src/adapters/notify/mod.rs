//! Telling people: mail and chat. A message is data until it is sent; each
//! channel is one file behind the trait [`Channel`]; what waits, what is tried
//! again and what is given up is decided in `lane`, without a clock.

mod channel;
mod dingtalk;
mod email;
mod endpoint;
mod feishu;
pub mod lane;
pub mod links;
pub mod message;
mod notifier;
pub mod outbox;
pub mod pages;
mod picture;
mod render;
pub mod routing;
mod sample;
mod slack;
mod view;
mod webhook;
mod wecom;
mod words;

use std::sync::Arc;

use jiff::tz::TimeZone;
use secrecy::SecretString;

use crate::adapters::standard_webhooks::{InvalidKey, SigningKey};
use crate::config::notify::{ChannelKind, ChannelSettings, Notify, Rate};
use crate::config::{Secret, SecretError, Surroundings};

pub use channel::{Channel, Scope, SendError};
pub use email::{Email, InvalidEmail};
pub use endpoint::InvalidEndpoint;
pub use notifier::{Clock, LaneState, Notifier, PageAddress, Parts, Running};
pub use picture::png as chart_png;
pub use render::{Entry, Parcel, Renderer, TemplateError};
pub use view::{Escape, Locale};

/// The channels of the settings, each with its rate.
#[derive(Clone)]
pub struct Channels(pub Vec<(Arc<dyn Channel>, Rate)>);

/// A channel that cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum ChannelProblem {
    /// A secret could not be had.
    #[error("channel {channel:?}")]
    Secret {
        /// Which channel.
        channel: String,
        /// Why.
        #[source]
        source: SecretError,
    },
    /// Its address cannot be used.
    #[error("channel {channel:?}")]
    Endpoint {
        /// Which channel.
        channel: String,
        /// Why.
        #[source]
        source: InvalidEndpoint,
    },
    /// Its signing secret cannot be used.
    #[error("channel {channel:?}")]
    Key {
        /// Which channel.
        channel: String,
        /// Why.
        #[source]
        source: InvalidKey,
    },
    /// Its mail settings cannot be used.
    #[error("channel {channel:?}")]
    Email {
        /// Which channel.
        channel: String,
        /// Why.
        #[source]
        source: InvalidEmail,
    },
    /// A template is broken.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// The time zone is not known on this machine.
    #[error("time zone {zone:?} is not known; write an IANA name such as Asia/Shanghai")]
    Zone {
        /// Which.
        zone: String,
    },
}

/// Sets up every channel of the settings; nothing is connected yet.
///
/// # Errors
/// With everything that is wrong, channel by channel.
pub fn channels(settings: &Notify, surroundings: &dyn Surroundings) -> Result<Channels, Vec<ChannelProblem>> {
    let mut built = Vec::new();
    let mut problems = Vec::new();
    for channel in &settings.channels {
        match self::channel(settings, channel, surroundings) {
            Ok(made) => built.push((made, channel.rate)),
            Err(problem) => problems.push(problem),
        }
    }
    if problems.is_empty() { Ok(Channels(built)) } else { Err(problems) }
}

/// Tries every template of the settings with messages of every kind, without
/// any secret.
///
/// # Errors
/// With every template that is broken.
pub fn check_templates(settings: &Notify) -> Result<(), Vec<ChannelProblem>> {
    let problems: Vec<ChannelProblem> =
        settings.channels.iter().filter_map(|channel| renderer(settings, channel).err()).collect();
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

fn renderer(settings: &Notify, channel: &ChannelSettings) -> Result<Renderer, ChannelProblem> {
    let zone = TimeZone::get(&settings.time_zone)
        .map_err(|_| ChannelProblem::Zone { zone: settings.time_zone.clone() })?;
    let locale = Locale { language: channel.language.unwrap_or(settings.language), zone };
    let (escape, draw_blocks) = match &channel.kind {
        ChannelKind::Email(_) | ChannelKind::Webhook { .. } => (Escape::None, false),
        ChannelKind::Slack { .. } => (Escape::Slack, true),
        ChannelKind::DingTalk { .. } | ChannelKind::WeCom { .. } => (Escape::Markdown, true),
        // A card has a chart of its own.
        ChannelKind::Feishu { .. } => (Escape::Markdown, false),
    };
    Ok(Renderer::new(channel, locale, escape, draw_blocks)?)
}

fn channel(
    settings: &Notify,
    channel: &ChannelSettings,
    surroundings: &dyn Surroundings,
) -> Result<Arc<dyn Channel>, ChannelProblem> {
    let name = channel.name.clone();
    let renderer = renderer(settings, channel)?;
    let fetch = |secret: &Secret| {
        secret.fetch(surroundings).map_err(|source| ChannelProblem::Secret { channel: name.clone(), source })
    };
    let optional = |secret: &Option<Secret>| secret.as_ref().map(fetch).transpose();
    let endpoint = |url: &Secret, others: Vec<SecretString>| {
        endpoint::Endpoint::new(&fetch(url)?, channel.timeout, others)
            .map_err(|source| ChannelProblem::Endpoint { channel: name.clone(), source })
    };
    Ok(match &channel.kind {
        ChannelKind::Email(mail) => {
            let password = optional(&mail.password)?;
            let email = Email::new(name.clone(), mail, password, channel.timeout, renderer);
            Arc::new(email.map_err(|source| ChannelProblem::Email { channel: name.clone(), source })?)
        }
        ChannelKind::DingTalk { url, secret, mention } => {
            let secret = optional(secret)?;
            let endpoint = endpoint(url, secret.iter().cloned().collect())?;
            let mention = mention.clone();
            Arc::new(dingtalk::DingTalk { name: name.clone(), endpoint, secret, mention, renderer })
        }
        ChannelKind::Feishu { url, secret } => {
            let secret = optional(secret)?;
            let endpoint = endpoint(url, secret.iter().cloned().collect())?;
            Arc::new(feishu::Feishu { name: name.clone(), endpoint, secret, renderer })
        }
        ChannelKind::WeCom { url } => {
            Arc::new(wecom::WeCom { name: name.clone(), endpoint: endpoint(url, Vec::new())?, renderer })
        }
        ChannelKind::Slack { url } => {
            Arc::new(slack::Slack { name: name.clone(), endpoint: endpoint(url, Vec::new())?, renderer })
        }
        ChannelKind::Webhook { url, secrets } => {
            let secrets = secrets.iter().map(fetch).collect::<Result<Vec<_>, _>>()?;
            let keys = secrets
                .iter()
                .map(SigningKey::parse)
                .collect::<Result<Vec<_>, _>>()
                .map_err(|source| ChannelProblem::Key { channel: name.clone(), source })?;
            let endpoint = endpoint(url, secrets)?;
            Arc::new(webhook::Webhook { name: name.clone(), endpoint, keys, renderer })
        }
    })
}

/// A template that was tried when it was read fails only for a message that
/// no sample resembles; the message is then told as refused, never sent cut.
fn broken(error: TemplateError) -> SendError {
    SendError::Refused { reason: error.to_string() }
}

/// `text` in at most so many bytes, cut at a character.
fn cut_bytes(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    let mut end = most.saturating_sub('…'.len_utf8());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}…", &text[..end])
}

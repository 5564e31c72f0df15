//! `[notify]`: who is told what: channels, routes, links.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::guard::engine::NoticeKind;

use super::secret::Secret;

mod read;

pub(super) use read::read_notify;

/// How urgent a message is, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// To be known.
    Info,
    /// To be looked at.
    Warning,
    /// To be acted on.
    Critical,
}

impl Severity {
    /// All, mildest first.
    pub const ALL: [Self; 3] = [Self::Info, Self::Warning, Self::Critical];

    /// The word in settings and messages.
    pub fn word(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }

    /// How urgent a notice of this kind is.
    pub fn of(kind: NoticeKind) -> Self {
        match kind {
            NoticeKind::Course | NoticeKind::Paused | NoticeKind::RolledBack => Self::Info,
            NoticeKind::Advice | NoticeKind::Blind => Self::Warning,
            NoticeKind::Pausing | NoticeKind::RollingBack | NoticeKind::CommandFailed => Self::Critical,
        }
    }
}

/// The languages that are built in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum Language {
    /// `en`
    #[default]
    #[serde(rename = "en")]
    English,
    /// `zh`
    #[serde(rename = "zh")]
    SimplifiedChinese,
}

impl Language {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::English, Self::SimplifiedChinese];

    /// As it is written in settings and in `lang="..."`.
    pub fn code(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::SimplifiedChinese => "zh",
        }
    }
}

/// A part of a message that has a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TemplatePart {
    /// Subject of a mail, title of a card.
    Subject,
    /// Plain text of a mail.
    Text,
    /// HTML of a mail.
    Html,
    /// The Markdown that a chat channel shows.
    Markdown,
    /// The JSON body of a webhook.
    Body,
}

impl TemplatePart {
    /// The key in `[notify.channel.templates]`.
    pub fn key(self) -> &'static str {
        match self {
            Self::Subject => "subject",
            Self::Text => "text",
            Self::Html => "html",
            Self::Markdown => "markdown",
            Self::Body => "body",
        }
    }
}

/// A template that replaces a built-in one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    /// The file that it was read from.
    pub path: PathBuf,
    /// Its text.
    pub text: String,
}

/// So many messages in so long a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many.
    pub messages: u32,
    /// In how long.
    pub per: Duration,
}

/// Everything about telling people.
#[derive(Clone, Debug, PartialEq)]
pub struct Notify {
    /// The language of channels that name none.
    pub language: Language,
    /// The IANA time zone of times in messages.
    pub time_zone: String,
    /// The secrets that links are signed with: the first signs, all are
    /// believed. Without one messages carry no links that act.
    pub link_secrets: Vec<Secret>,
    /// How long a link can be used.
    pub link_valid_for: Duration,
    /// When more than this many messages wait for a channel, they are sent as
    /// one digest.
    pub digest_above: usize,
    /// How long a message is tried before it is reported as lost.
    pub give_up_after: Duration,
    /// Where messages go.
    pub channels: Vec<ChannelSettings>,
    /// Which messages go where. Without a route every channel gets all.
    pub routes: Vec<RouteSettings>,
}

impl Default for Notify {
    fn default() -> Self {
        Self {
            language: Language::English,
            time_zone: "UTC".to_owned(),
            link_secrets: Vec::new(),
            link_valid_for: Duration::from_secs(24 * 3600),
            digest_above: 5,
            give_up_after: Duration::from_secs(24 * 3600),
            channels: Vec::new(),
            routes: Vec::new(),
        }
    }
}

/// One place that messages go to.
#[derive(Clone, Debug, PartialEq)]
pub struct ChannelSettings {
    /// Its name in routes, logs and reports.
    pub name: String,
    /// Its language; absent: that of all.
    pub language: Option<Language>,
    /// How many messages it takes.
    pub rate: Rate,
    /// How long one attempt may take.
    pub timeout: Duration,
    /// Templates that replace built-in ones.
    pub templates: BTreeMap<TemplatePart, Template>,
    /// What it is.
    pub kind: ChannelKind,
}

/// What a channel is, with what only it needs. The address of a chat robot
/// holds its key, so it is a secret as a whole.
#[derive(Clone, Debug, PartialEq)]
pub enum ChannelKind {
    /// Mail by SMTP.
    Email(EmailSettings),
    /// A DingTalk custom robot.
    DingTalk {
        /// Its address.
        url: Secret,
        /// The secret of its signature, if it checks one.
        secret: Option<Secret>,
        /// Mobile numbers that are mentioned in critical messages.
        mention: Vec<String>,
    },
    /// A Feishu or Lark custom bot.
    Feishu {
        /// Its address.
        url: Secret,
        /// The secret of its signature, if it checks one.
        secret: Option<Secret>,
    },
    /// A WeCom group robot.
    WeCom {
        /// Its address.
        url: Secret,
    },
    /// A Slack incoming webhook.
    Slack {
        /// Its address.
        url: Secret,
    },
    /// Anything else that takes a POST.
    Webhook {
        /// Its address.
        url: Secret,
        /// Standard Webhooks secrets: every one signs.
        secrets: Vec<Secret>,
    },
}

impl ChannelKind {
    /// The word after `kind =`.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Email(_) => "email",
            Self::DingTalk { .. } => "dingtalk",
            Self::Feishu { .. } => "feishu",
            Self::WeCom { .. } => "wecom",
            Self::Slack { .. } => "slack",
            Self::Webhook { .. } => "webhook",
        }
    }

    /// Which templates it has.
    pub fn parts(&self) -> &'static [TemplatePart] {
        match self {
            Self::Email(_) => &[TemplatePart::Subject, TemplatePart::Text, TemplatePart::Html],
            Self::DingTalk { .. } | Self::Feishu { .. } => &[TemplatePart::Subject, TemplatePart::Markdown],
            Self::WeCom { .. } | Self::Slack { .. } => &[TemplatePart::Markdown],
            Self::Webhook { .. } => &[TemplatePart::Body],
        }
    }

    /// What the service itself allows, or what is decent where it says
    /// nothing.
    pub fn default_rate(&self) -> Rate {
        let (messages, per_seconds) = match self {
            // DingTalk blocks a robot for ten minutes from the 21st message.
            Self::DingTalk { .. } | Self::WeCom { .. } => (18, 60),
            Self::Feishu { .. } => (90, 60),
            Self::Slack { .. } => (50, 60),
            Self::Email(_) => (60, 60),
            Self::Webhook { .. } => (300, 60),
        };
        Rate { messages, per: Duration::from_secs(per_seconds) }
    }
}

/// How mail is sent.
#[derive(Clone, Debug, PartialEq)]
pub struct EmailSettings {
    /// The server's name; its certificate must be for it.
    pub server: String,
    /// Its port.
    pub port: u16,
    /// How the connection is protected.
    pub security: MailSecurity,
    /// Authorities to believe besides the system's, as PEM.
    pub ca_file: Option<PathBuf>,
    /// The name to log in with.
    pub username: Option<String>,
    /// Its password.
    pub password: Option<Secret>,
    /// The sender: `Release guardian <guardian@example.com>`.
    pub from: String,
    /// Who gets it.
    pub to: Vec<String>,
}

/// How a connection to a mail server is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MailSecurity {
    /// TLS from the first byte, usually port 465.
    Tls,
    /// Plain at first, then TLS or nothing; usually port 587.
    StartTls,
    /// No protection: only for a server on the same machine.
    None,
}

impl MailSecurity {
    /// The word after `security =`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Tls => "tls",
            Self::StartTls => "starttls",
            Self::None => "none",
        }
    }

    /// Its usual port.
    pub fn default_port(self) -> u16 {
        match self {
            Self::Tls => 465,
            Self::StartTls => 587,
            Self::None => 25,
        }
    }
}

/// Which messages go to which channels. A message goes the way of every route
/// that fits, and to each channel once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteSettings {
    /// Patterns of application names with `*`; empty: all.
    pub applications: Vec<String>,
    /// Patterns of environments with `*`; empty: all, also where none is known.
    pub environments: Vec<String>,
    /// From this severity on.
    pub severity: Severity,
    /// Only these kinds; empty: all.
    pub kinds: Vec<NoticeKind>,
    /// The channels' names.
    pub channels: Vec<String>,
    /// If nobody acknowledges a pause in this time, it is escalated.
    pub acknowledge_within: Option<Duration>,
    /// The channels that it is escalated to.
    pub escalate_to: Vec<String>,
}

//! `[notify]`: who is told what.

use std::collections::BTreeSet;

use crate::domain::ApplicationName;
use crate::guard::engine::NoticeKind;

use super::application::Application;
use super::http::{HttpClient, read_client};
use super::problem::nearest;
use super::raw::Section;
use super::secret::{Secret, read_secret};

/// Who is told what.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Notify {
    /// Where messages go; names are unique.
    pub channels: Vec<Channel>,
    /// Which messages go where. Without a route, everything goes everywhere.
    pub routes: Vec<Route>,
}

/// One place where messages go.
#[derive(Clone, Debug, PartialEq)]
pub struct Channel {
    /// Its name, for routes.
    pub name: String,
    /// What it is.
    pub kind: ChannelKind,
}

/// The kinds of channel.
#[derive(Clone, Debug, PartialEq)]
pub enum ChannelKind {
    /// Any server that takes a POST with JSON.
    Webhook(Box<WebhookChannel>),
}

/// Any server that takes a POST with JSON.
#[derive(Clone, Debug, PartialEq)]
pub struct WebhookChannel {
    /// Its address. It often holds a token, so it is kept as a secret.
    pub url: Secret,
    /// How it is spoken to.
    pub client: HttpClient,
}

/// Which messages go where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// To these channels.
    pub channels: Vec<String>,
    /// Messages about these applications; all if empty.
    pub applications: Vec<ApplicationName>,
    /// Messages of these kinds; all if empty.
    pub kinds: Vec<NoticeKind>,
}

const KINDS: [(&str, NoticeKind); 6] = [
    ("advice", NoticeKind::Advice),
    ("paused", NoticeKind::Paused),
    ("rolled_back", NoticeKind::RolledBack),
    ("blind", NoticeKind::Blind),
    ("command_failed", NoticeKind::CommandFailed),
    ("course", NoticeKind::Course),
];

#[derive(Clone, Copy)]
enum Kind {
    Webhook,
}

pub(super) fn read_notify(root: &Section<'_>, applications: &[Application]) -> Notify {
    let Some(section) = root.section("notify") else { return Notify::default() };
    let channels = read_channels(&section);
    let names: BTreeSet<&str> = channels.iter().map(|channel| channel.name.as_str()).collect();
    let known: BTreeSet<&str> = applications.iter().map(|application| application.name.as_str()).collect();
    let routes =
        section.sections("route").into_iter().map(|route| read_route(&route, &names, &known)).collect();
    Notify { channels, routes }
}

fn read_channels(section: &Section<'_>) -> Vec<Channel> {
    let mut channels: Vec<Channel> = Vec::new();
    for table in section.sections("channel") {
        let name = table.required_text("name", "name it, so that routes can");
        if !table.has("kind") {
            table.missing("kind", "write kind = \"webhook\"");
        }
        let kind = match table.word("kind", &[("webhook", Kind::Webhook)]) {
            Some(Kind::Webhook) => read_webhook(&table),
            None => {
                table.pass_over();
                None
            }
        };
        let (Some(name), Some(kind)) = (name, kind) else { continue };
        if channels.iter().any(|channel| channel.name == *name.get_ref()) {
            table.problem(
                name.span(),
                format!("there are two channels named {:?}", name.get_ref()),
                "rename one",
            );
            continue;
        }
        channels.push(Channel { name: name.into_inner(), kind });
    }
    channels
}

fn read_webhook(table: &Section<'_>) -> Option<ChannelKind> {
    if !table.has("url") {
        table.missing("url", "write where the address is kept: url = { credential = \"chat-url\" }");
    }
    let url = read_secret(table, "url");
    let client = read_client(table);
    Some(ChannelKind::Webhook(Box::new(WebhookChannel { url: url?, client })))
}

fn read_route(route: &Section<'_>, channels: &BTreeSet<&str>, applications: &BTreeSet<&str>) -> Route {
    let names = |key: &'static str, known: &BTreeSet<&str>, what: &str| -> Vec<String> {
        let written = route.texts(key).unwrap_or_default().into_iter();
        let checked = written.filter_map(|name| {
            if known.contains(name.get_ref().as_str()) {
                return Some(name.into_inner());
            }
            let help = match nearest(name.get_ref(), known.iter().copied()) {
                Some(near) => format!("did you mean {near:?}?"),
                None => format!("known are {}", known.iter().copied().collect::<Vec<_>>().join(", ")),
            };
            route.problem(name.span(), format!("there is no {what} {:?}", name.get_ref()), help);
            None
        });
        checked.collect()
    };
    if !route.has("channels") {
        route.missing("channels", "write channels = [\"name\"]");
    }
    let kinds = route.texts("kinds").unwrap_or_default();
    Route {
        channels: names("channels", channels, "channel"),
        applications: names("applications", applications, "application")
            .into_iter()
            .filter_map(|name| ApplicationName::new(name).ok())
            .collect(),
        kinds: kinds.iter().filter_map(|kind| route.word_of("kinds", kind, &KINDS)).collect(),
    }
}

//! `[notify]` as it is written.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{
    ChannelKind, ChannelSettings, EmailSettings, Language, MailSecurity, Notify, Rate, RouteSettings,
    Severity, Template, TemplatePart,
};
use crate::config::problem::nearest;
use crate::config::raw::{Placed, Section};
use crate::config::secret::{Secret, Surroundings, read_secret};
use crate::guard::engine::NoticeKind;

const LANGUAGES: [(&str, Language); 2] = [("en", Language::English), ("zh", Language::SimplifiedChinese)];
const SEVERITIES: [(&str, Severity); 3] =
    [("info", Severity::Info), ("warning", Severity::Warning), ("critical", Severity::Critical)];
const SECURITIES: [(&str, MailSecurity); 3] =
    [("tls", MailSecurity::Tls), ("starttls", MailSecurity::StartTls), ("none", MailSecurity::None)];
const PARTS: [TemplatePart; 5] = [
    TemplatePart::Subject,
    TemplatePart::Text,
    TemplatePart::Html,
    TemplatePart::Markdown,
    TemplatePart::Body,
];
const NOTICE_KINDS: [(&str, NoticeKind); 8] = [
    ("advice", NoticeKind::Advice),
    ("pausing", NoticeKind::Pausing),
    ("paused", NoticeKind::Paused),
    ("rolling_back", NoticeKind::RollingBack),
    ("rolled_back", NoticeKind::RolledBack),
    ("blind", NoticeKind::Blind),
    ("command_failed", NoticeKind::CommandFailed),
    ("course", NoticeKind::Course),
];
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(15);
const DAY: Duration = Duration::from_secs(24 * 3600);
const MINUTE: Duration = Duration::from_secs(60);

#[derive(Clone, Copy)]
enum Kind {
    Email,
    DingTalk,
    Feishu,
    WeCom,
    Slack,
    Webhook,
}

const KINDS: [(&str, Kind); 6] = [
    ("email", Kind::Email),
    ("dingtalk", Kind::DingTalk),
    ("feishu", Kind::Feishu),
    ("wecom", Kind::WeCom),
    ("slack", Kind::Slack),
    ("webhook", Kind::Webhook),
];

pub(in crate::config) fn read_notify(root: &Section<'_>, surroundings: &dyn Surroundings) -> Notify {
    let defaults = Notify::default();
    let Some(section) = root.section("notify") else { return defaults };
    let channels = read_channels(&section, surroundings);
    let names: BTreeSet<&str> = channels.iter().map(|channel| channel.name.as_str()).collect();
    let routes = section.sections("route").iter().map(|route| read_route(route, &names)).collect();
    let secrets = [read_secret(&section, "link_secret"), read_secret(&section, "previous_link_secret")];
    Notify {
        language: section.word("language", &LANGUAGES).unwrap_or_default(),
        time_zone: read_zone(&section).unwrap_or(defaults.time_zone),
        link_secrets: secrets.into_iter().flatten().collect(),
        link_valid_for: section
            .duration("link_valid_for", 5 * MINUTE..=30 * DAY)
            .unwrap_or(defaults.link_valid_for),
        digest_above: section.count("digest_above", 1..=100).unwrap_or(defaults.digest_above as u32) as usize,
        give_up_after: section.duration("give_up_after", MINUTE..=7 * DAY).unwrap_or(defaults.give_up_after),
        channels,
        routes,
    }
}

fn read_zone(section: &Section<'_>) -> Option<String> {
    let help = "write an IANA name such as \"Asia/Shanghai\" or \"UTC\"";
    let zone = section.parsed("time_zone", help, |text| {
        jiff::tz::TimeZone::get(text)
            .map(|_| text.to_owned())
            .map_err(|_| format!("{text:?} is not a time zone"))
    })?;
    Some(zone.into_inner())
}

fn read_channels(section: &Section<'_>, surroundings: &dyn Surroundings) -> Vec<ChannelSettings> {
    let mut channels: Vec<ChannelSettings> = Vec::new();
    for table in section.sections("channel") {
        let name = table.required_text("name", "name it, so that routes can");
        if !table.has("kind") {
            table.missing("kind", "write kind = \"email\", or what else it is");
        }
        let Some(kind) = table.word("kind", &KINDS) else {
            table.pass_over();
            continue;
        };
        let Some(channel) = read_channel(&table, kind, surroundings) else { continue };
        let Some(name) = name else { continue };
        if channels.iter().any(|channel| channel.name == *name.get_ref()) {
            let what = format!("there are two channels named {:?}", name.get_ref());
            table.problem(name.span(), what, "rename one");
            continue;
        }
        channels.push(ChannelSettings { name: name.into_inner(), ..channel });
    }
    channels
}

fn read_channel(table: &Section<'_>, kind: Kind, surroundings: &dyn Surroundings) -> Option<ChannelSettings> {
    let kind = match kind {
        Kind::Email => read_email(table).map(ChannelKind::Email),
        Kind::DingTalk => {
            let (url, secret) = (read_url(table), read_secret(table, "secret"));
            let mention = plain_texts(table, "mention");
            url.map(|url| ChannelKind::DingTalk { url, secret, mention })
        }
        Kind::Feishu => {
            let (url, secret) = (read_url(table), read_secret(table, "secret"));
            url.map(|url| ChannelKind::Feishu { url, secret })
        }
        Kind::WeCom => read_url(table).map(|url| ChannelKind::WeCom { url }),
        Kind::Slack => read_url(table).map(|url| ChannelKind::Slack { url }),
        Kind::Webhook => {
            let url = read_url(table);
            let secrets = [read_secret(table, "secret"), read_secret(table, "previous_secret")];
            url.map(|url| ChannelKind::Webhook { url, secrets: secrets.into_iter().flatten().collect() })
        }
    };
    let rate = read_rate(table);
    let timeout = table.duration("timeout", Duration::from_secs(1)..=2 * MINUTE).unwrap_or(TIMEOUT_DEFAULT);
    let language = table.word("language", &LANGUAGES);
    let parts: &[TemplatePart] = kind.as_ref().map_or(&PARTS, ChannelKind::parts);
    let templates = read_templates(table, parts, surroundings);
    let kind = kind?;
    let rate = rate.unwrap_or_else(|| kind.default_rate());
    Some(ChannelSettings { name: String::new(), language, rate, timeout, templates, kind })
}

fn read_url(table: &Section<'_>) -> Option<Secret> {
    if !table.has("url") {
        let help = "its address holds a key, so write where it is kept: url = { credential = \"chat-url\" }";
        table.missing("url", help);
    }
    read_secret(table, "url")
}

fn plain_texts(table: &Section<'_>, key: &'static str) -> Vec<String> {
    table.texts(key).unwrap_or_default().into_iter().map(Placed::into_inner).collect()
}

/// `rate = "20/1m"`
fn read_rate(table: &Section<'_>) -> Option<Rate> {
    let help = "write how many in how long: \"20/1m\"";
    let rate = table.parsed("rate", help, |text| {
        let mistake = || format!("{text:?} is not a rate");
        let (messages, per) = text.split_once('/').ok_or_else(mistake)?;
        let messages: u32 = messages.trim().parse().map_err(|_| mistake())?;
        let per = crate::config::units::parse_duration(per)?;
        if messages == 0 || messages > 100_000 || per < Duration::from_secs(1) || per > DAY {
            return Err(format!("{text:?} is out of range: 1 to 100000 messages in 1s to 1d"));
        }
        Ok(Rate { messages, per })
    })?;
    Some(rate.into_inner())
}

fn read_email(table: &Section<'_>) -> Option<EmailSettings> {
    let server = table.required_text("server", "write the mail server's name: server = \"mail.example.com\"");
    let security = table.word("security", &SECURITIES).unwrap_or(MailSecurity::StartTls);
    let port = table.count("port", 1_u16..=65_535).unwrap_or(security.default_port());
    let ca_file = table.text("ca_file").map(|path| PathBuf::from(path.into_inner()));
    let username = table.text("username");
    let password = read_secret(table, "password");
    let from = table
        .required_text("from", "write the sender: from = \"Release guardian <guardian@example.com>\"")
        .and_then(|from| address(table, "from", from));
    if !table.has("to") {
        table.missing("to", "write who gets the mails: to = [\"oncall@example.com\"]");
    }
    let to: Vec<String> =
        table.texts("to").unwrap_or_default().into_iter().filter_map(|to| address(table, "to", to)).collect();
    match (&username, &password) {
        (Some(username), None) if !table.has("password") => table.problem(
            username.span(),
            "`username` stands without a password",
            "add password = { credential = \"name\" }",
        ),
        (None, Some(_)) => {
            table.problem(table.span(), "`password` stands without a username", "add username = \"..\"");
        }
        (Some(username), Some(_)) if security == MailSecurity::None && !is_local(server.as_ref()) => table
            .problem(
                username.span(),
                "the password would be sent without protection",
                "write security = \"starttls\" or \"tls\"; \"none\" with a password is for a server on this machine",
            ),
        _ => {}
    }
    Some(EmailSettings {
        server: server?.into_inner(),
        port,
        security,
        ca_file,
        username: username.map(Placed::into_inner),
        password,
        from: from?,
        to: Some(to).filter(|to| !to.is_empty())?,
    })
}

fn is_local(server: Option<&Placed<String>>) -> bool {
    server.is_none_or(|server| {
        let name = server.get_ref().as_str();
        name == "localhost" || name.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
    })
}

/// `name@host`, or `Name <name@host>`. What else a server makes of it, it says
/// itself.
fn address(table: &Section<'_>, key: &str, text: Placed<String>) -> Option<String> {
    let written = text.get_ref().trim();
    let bare =
        written.strip_suffix('>').and_then(|rest| rest.rsplit_once('<')).map_or(written, |parts| parts.1);
    let usable = bare.split_once('@').is_some_and(|(name, host)| {
        !name.is_empty() && !host.is_empty() && !host.contains('@') && !bare.contains(char::is_whitespace)
    });
    if usable && !written.chars().any(char::is_control) {
        return Some(written.to_owned());
    }
    table.problem(
        text.span(),
        format!("`{key}` holds {written:?}, which is not a mail address"),
        "write \"name@example.com\" or \"Name <name@example.com>\"",
    );
    None
}

fn read_templates(
    table: &Section<'_>,
    parts: &[TemplatePart],
    surroundings: &dyn Surroundings,
) -> BTreeMap<TemplatePart, Template> {
    let mut templates = BTreeMap::new();
    let keys: Vec<&str> = parts.iter().map(|part| part.key()).collect();
    for (key, value) in table.entries("templates") {
        let Some(part) = parts.iter().find(|part| part.key() == key.get_ref()) else {
            let what = format!("this channel has no template {:?}", key.get_ref());
            table.problem(key.span(), what, format!("it has {}", keys.join(", ")));
            continue;
        };
        let Some(path) = value.get_ref().as_str() else {
            let what = format!("template {:?} is not a path", key.get_ref());
            table.problem(value.span(), what, "write the path of the template's file in quotes");
            continue;
        };
        match read_template(Path::new(path), surroundings) {
            Ok(template) => drop(templates.insert(*part, template)),
            Err((what, help)) => table.problem(value.span(), what, help),
        }
    }
    templates
}

fn read_template(path: &Path, surroundings: &dyn Surroundings) -> Result<Template, (String, String)> {
    let shown = path.display();
    let text = surroundings.read(path).map_err(|error| {
        (
            format!("template {shown} cannot be read: {error}"),
            "write the path of a file that is there".to_owned(),
        )
    })?;
    let environment = minijinja::Environment::new();
    if let Err(error) = environment.template_from_str(&text) {
        let line = error.line().unwrap_or(1);
        let what = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
        return Err((
            format!("template {shown} is broken in line {line}: {what}"),
            "see https://docs.rs/minijinja for what templates may hold".to_owned(),
        ));
    }
    Ok(Template { path: path.to_owned(), text })
}

fn read_route(route: &Section<'_>, channels: &BTreeSet<&str>) -> RouteSettings {
    let names = |key: &'static str| -> Vec<String> {
        let written = route.texts(key).unwrap_or_default().into_iter();
        let known = written.filter_map(|name| {
            if channels.contains(name.get_ref().as_str()) {
                return Some(name.into_inner());
            }
            let help = match nearest(name.get_ref(), channels.iter().copied()) {
                Some(near) => format!("did you mean {near:?}?"),
                None => format!("known are {}", channels.iter().copied().collect::<Vec<_>>().join(", ")),
            };
            route.problem(name.span(), format!("there is no channel {:?}", name.get_ref()), help);
            None
        });
        known.collect()
    };
    if !route.has("channels") {
        route.missing("channels", "write channels = [\"name\"]");
    }
    let kinds = route.texts("kinds").unwrap_or_default();
    let acknowledge_within = route.duration("acknowledge_within", MINUTE..=7 * DAY);
    if route.has("escalate_to") && !route.has("acknowledge_within") {
        route
            .missing("acknowledge_within", "write after how long without an answer it is escalated: \"10m\"");
    }
    RouteSettings {
        applications: plain_texts(route, "applications"),
        environments: plain_texts(route, "environments"),
        severity: route.word("severity", &SEVERITIES).unwrap_or(Severity::Info),
        kinds: kinds.iter().filter_map(|kind| route.word_of("kinds", kind, &NOTICE_KINDS)).collect(),
        channels: names("channels"),
        acknowledge_within,
        escalate_to: names("escalate_to"),
    }
}

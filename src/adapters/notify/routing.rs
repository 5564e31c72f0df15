//! Which message goes to which channels. Pure.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::config::notify::{Notify, RouteSettings, Severity};
use crate::guard::engine::NoticeKind;

use super::message::{Message, MessageKind};

/// Where a message goes, and what follows if nobody answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Way {
    /// The channels' names, each once.
    pub channels: BTreeSet<String>,
    /// The shortest time of the routes that fit, if one has a time.
    pub acknowledge_within: Option<Duration>,
    /// Where it is escalated to.
    pub escalate_to: BTreeSet<String>,
}

/// Finds the way of a message by its application, environment and severity.
pub fn way(settings: &Notify, message: &Message) -> Way {
    if settings.routes.is_empty() || message.release.is_none() {
        let channels = settings.channels.iter().map(|channel| channel.name.clone()).collect();
        return Way { channels, ..Way::default() };
    }
    let mut way = Way::default();
    for route in settings.routes.iter().filter(|route| fits(route, message)) {
        way.channels.extend(route.channels.iter().cloned());
        if let Some(within) = route.acknowledge_within {
            way.acknowledge_within = Some(way.acknowledge_within.map_or(within, |least| least.min(within)));
            way.escalate_to.extend(route.escalate_to.iter().cloned());
        }
    }
    way
}

fn fits(route: &RouteSettings, message: &Message) -> bool {
    let any = |patterns: &[String], text: Option<&str>| {
        patterns.is_empty() || text.is_some_and(|text| patterns.iter().any(|pattern| glob(pattern, text)))
    };
    let application = message.release.as_ref().map(|release| release.application.as_str());
    // Whoever was told of the guardian's order hears that it was done; a pause
    // that nobody answered to is still that pause.
    let by_guardian = message.decided.as_ref().is_some_and(|decided| decided.operator.is_none());
    let order = match message.kind {
        MessageKind::Paused if by_guardian => Some(MessageKind::Pausing),
        MessageKind::RolledBack if by_guardian => Some(MessageKind::RollingBack),
        MessageKind::Unacknowledged => Some(MessageKind::Pausing),
        MessageKind::Advice
        | MessageKind::Pausing
        | MessageKind::Paused
        | MessageKind::RollingBack
        | MessageKind::RolledBack
        | MessageKind::Blind
        | MessageKind::CommandFailed
        | MessageKind::Course
        | MessageKind::ChannelFailing
        | MessageKind::Test => None,
    };
    let kind = |kind: &NoticeKind| {
        let kind = MessageKind::from(*kind);
        message.kind == kind || order == Some(kind)
    };
    let severity = if order.is_some() { Severity::Critical } else { message.severity };
    severity >= route.severity
        && (route.kinds.is_empty() || route.kinds.iter().any(kind))
        && any(&route.applications, application)
        && any(&route.environments, message.environment.as_deref())
}

/// Whether `text` fits a pattern in which `*` stands for any characters.
fn glob(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else { return false };
    let mut last = None;
    for part in parts {
        if let Some(between) = last.replace(part) {
            match rest.find(between) {
                Some(at) => rest = &rest[at + between.len()..],
                None => return false,
            }
        }
    }
    match last {
        Some(end) => rest.ends_with(end),
        None => rest.is_empty(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{ApplicationName, ReleaseId, ReleaseKey, Timestamp};

    fn message(application: &str, environment: Option<&str>, severity: Severity) -> Message {
        Message {
            release: Some(ReleaseKey {
                application: ApplicationName::new(application).unwrap(),
                id: ReleaseId::new("r").unwrap(),
            }),
            environment: environment.map(str::to_owned),
            severity,
            ..Message::test(Timestamp::from_millis(0))
        }
    }

    fn route(
        applications: &[&str],
        environments: &[&str],
        severity: Severity,
        channels: &[&str],
    ) -> RouteSettings {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        RouteSettings {
            applications: owned(applications),
            environments: owned(environments),
            severity,
            kinds: Vec::new(),
            channels: owned(channels),
            acknowledge_within: None,
            escalate_to: Vec::new(),
        }
    }

    fn channels(settings: &Notify, message: &Message) -> Vec<String> {
        way(settings, message).channels.into_iter().collect()
    }

    #[test]
    fn a_message_goes_the_way_of_every_route_that_fits_and_to_each_channel_once() {
        let settings = Notify {
            routes: vec![
                route(&["pay*"], &[], Severity::Info, &["pay", "all"]),
                route(&[], &["production"], Severity::Critical, &["oncall", "all"]),
            ],
            ..Notify::default()
        };
        let go = |message: &Message| channels(&settings, message);
        assert_eq!(go(&message("payments", Some("staging"), Severity::Critical)), ["all", "pay"]);
        assert_eq!(
            go(&message("payments", Some("production"), Severity::Critical)),
            ["all", "oncall", "pay"]
        );
        assert_eq!(go(&message("cart", Some("production"), Severity::Warning)), Vec::<String>::new());
        assert_eq!(go(&message("cart", None, Severity::Critical)), Vec::<String>::new());
    }

    #[test]
    fn the_shortest_time_to_answer_counts_and_all_its_channels_hear_of_it() {
        let timed = |seconds, to: &str| RouteSettings {
            acknowledge_within: Some(Duration::from_secs(seconds)),
            escalate_to: vec![to.to_owned()],
            ..route(&[], &[], Severity::Info, &["a"])
        };
        let settings = Notify { routes: vec![timed(600, "x"), timed(300, "y")], ..Notify::default() };
        let way = way(&settings, &message("cart", None, Severity::Critical));
        assert_eq!(way.acknowledge_within, Some(Duration::from_secs(300)));
        assert_eq!(way.escalate_to.into_iter().collect::<Vec<_>>(), ["x", "y"]);
    }

    #[test]
    fn whoever_was_told_of_an_order_is_told_that_it_was_done() {
        use crate::guard::Action;
        let mut oncall = route(&[], &[], Severity::Critical, &["oncall"]);
        oncall.kinds = vec![NoticeKind::Pausing];
        let settings = Notify { routes: vec![oncall], ..Notify::default() };
        let of = |kind, operator: Option<&str>| Message {
            kind,
            decided: Some(super::super::message::Decided {
                action: Action::Pause,
                would: Action::Pause,
                operator: operator.map(str::to_owned),
                probability: 0.9,
                because: String::new(),
            }),
            ..message("cart", None, Severity::Info)
        };
        assert_eq!(channels(&settings, &of(MessageKind::Paused, None)), ["oncall"]);
        assert_eq!(channels(&settings, &of(MessageKind::Paused, Some("li"))), Vec::<String>::new());
        assert_eq!(channels(&settings, &of(MessageKind::RolledBack, None)), Vec::<String>::new());
        assert_eq!(channels(&settings, &of(MessageKind::Unacknowledged, None)), ["oncall"]);
    }

    #[test]
    fn a_star_stands_for_any_characters() {
        for (pattern, text, fits) in [
            ("*", "", true),
            ("*", "x", true),
            ("pay*", "payments", true),
            ("pay*", "repay", false),
            ("*-api", "cart-api", true),
            ("a*b*c", "a1b2c", true),
            ("a*b*c", "acb", false),
            ("a*a", "a", false),
            ("cart", "cart", true),
            ("cart", "carts", false),
        ] {
            assert_eq!(glob(pattern, text), fits, "{pattern} {text}");
        }
    }
}

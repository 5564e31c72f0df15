//! `[[application.signal]]`: signals that settings name, weigh, mute or direct.

use crate::domain::Selector;
use crate::signal::{BadWhen, SignalClass, SignalOverride, Unit};

use super::raw::Section;

const CLASSES: [(&str, SignalClass); 8] = [
    ("errors", SignalClass::Errors),
    ("latency", SignalClass::Latency),
    ("traffic", SignalClass::Traffic),
    ("saturation", SignalClass::Saturation),
    ("business", SignalClass::Business),
    ("logs", SignalClass::Logs),
    ("health", SignalClass::Health),
    ("other", SignalClass::Other),
];

const UNITS: [(&str, Unit); 5] = [
    ("ratio", Unit::Ratio),
    ("per_second", Unit::PerSecond),
    ("seconds", Unit::Seconds),
    ("bytes", Unit::Bytes),
    ("count", Unit::Count),
];

pub(super) const SELECTOR_HELP: &str =
    "write it as for Prometheus: 'http_requests_total{code=~\"5..\",path=\"/cart\"}'";

/// Reads a selector.
pub(super) fn read_selector(section: &Section<'_>, key: &'static str) -> Option<Selector> {
    let selector =
        section.parsed(key, SELECTOR_HELP, |text| text.parse::<Selector>().map_err(|e| e.to_string()))?;
    Some(selector.into_inner())
}

pub(super) fn read_signals(application: &Section<'_>) -> Vec<SignalOverride> {
    application.sections("signal").into_iter().filter_map(|section| read_signal(&section)).collect()
}

fn read_signal(section: &Section<'_>) -> Option<SignalOverride> {
    let help =
        "write the metric's name, without _bucket, _sum and _count; a * at its end stands for any ending";
    if !section.has("metric") {
        section.missing("metric", help);
    }
    let metric = section.parsed("metric", help, |text| {
        let stem = text.strip_suffix('*').unwrap_or(text);
        let usable = !text.is_empty() && !stem.contains(|c: char| c.is_whitespace() || "*{}\"".contains(c));
        if usable { Ok(text.to_owned()) } else { Err(format!("{text:?} is not a metric's name")) }
    });
    let ways = [("higher", BadWhen::Higher), ("lower", BadWhen::Lower), ("either", BadWhen::Either)];
    let signal = SignalOverride {
        labels: section.text_table("labels"),
        name: section.text("name").map(|name| name.into_inner()),
        class: section.word("class", &CLASSES),
        bad_when: section.word("bad_when", &ways),
        unit: section.word("unit", &UNITS),
        weight: section.number("weight", 0.01..=100.0),
        mute: section.flag("mute").unwrap_or(false),
        metric: metric?.into_inner(),
    };
    if signal.labels.len() > 1 {
        let what = "a signal is one label's value at most, and `labels` has several";
        section.problem(
            section.span(),
            what,
            "keep the label that tells the segment: labels = { path = \"/cart\" }",
        );
    }
    Some(signal)
}

//! `[[application.signal]]`: signals that settings name, weigh, mute, direct or
//! add.

use std::ops::Range;

use crate::domain::Selector;
use crate::signal::{AddedValue, BadWhen, SignalAddition, SignalClass, SignalOverride, SignalSettings, Unit};

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

const UNITS: [(&str, Unit); 8] = [
    ("ratio", Unit::Ratio),
    ("per_second", Unit::PerSecond),
    ("seconds", Unit::Seconds),
    ("milliseconds", Unit::Milliseconds),
    ("microseconds", Unit::Microseconds),
    ("nanoseconds", Unit::Nanoseconds),
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

const WAYS: [(&str, BadWhen); 3] =
    [("higher", BadWhen::Higher), ("lower", BadWhen::Lower), ("either", BadWhen::Either)];

/// The settings by which a signal is added; without one it is one that is found.
const ADDING: [&str; 4] = ["ratio", "rate", "level", "histogram"];

pub(super) fn read_signals(application: &Section<'_>) -> SignalSettings {
    let mut settings = SignalSettings::default();
    for section in application.sections("signal") {
        if !ADDING.iter().any(|key| section.has(key)) {
            settings.overrides.extend(read_override(&section));
            continue;
        }
        let Some((signal, span)) = read_addition(&section) else { continue };
        if settings.added.iter().any(|known| known.name == signal.name) {
            section.problem(
                span,
                format!("there are two added signals named {:?}", signal.name),
                "rename one",
            );
            continue;
        }
        settings.added.push(signal);
    }
    settings
}

fn read_override(section: &Section<'_>) -> Option<SignalOverride> {
    for key in ADDING {
        section.value(key);
    }
    for (key, of) in [("quantile", "histogram"), ("mean", "level")] {
        if section.value(key).is_some() {
            let what = format!("`{key}` is for a signal that is added by {of}");
            section.problem(section.span(), what, format!("write {of}, or remove {key}"));
        }
    }
    let help = "write the metric's name, without _bucket, _sum and _count; a * at its end stands for any \
                ending. To add a signal write ratio, rate, level or histogram instead";
    if !section.has("metric") {
        section.missing("metric", help);
    }
    let metric = section.parsed("metric", help, |text| {
        let stem = text.strip_suffix('*').unwrap_or(text);
        let usable = !text.is_empty() && !stem.contains(|c: char| c.is_whitespace() || "*{}\"".contains(c));
        if usable { Ok(text.to_owned()) } else { Err(format!("{text:?} is not a metric's name")) }
    });
    let name = section.text("name");
    if let (Some(name), Some(metric)) = (&name, &metric)
        && metric.get_ref().ends_with('*')
    {
        let what = format!("{} may be several metrics, and they would all be named alike", metric.get_ref());
        section.problem(name.span(), what, "name each metric on its own, or none");
    }
    let signal = SignalOverride {
        labels: section.text_table("labels"),
        name: name.map(|name| name.into_inner()),
        class: section.word("class", &CLASSES),
        bad_when: section.word("bad_when", &WAYS),
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

/// A signal that is added, and where its name stands.
fn read_addition(section: &Section<'_>) -> Option<(SignalAddition, Range<usize>)> {
    let name = section.required_text("name", "name it as people shall see it: name = \"declined payments\"");
    for key in ["metric", "labels", "mute"] {
        if section.value(key).is_some() {
            section.problem(
                section.span(),
                format!("`{key}` is for signals that are found, and this one is added"),
                format!("remove {key}; what is selected stands in the selectors"),
            );
        }
    }
    let value = read_value(section);
    let signal = SignalAddition {
        class: section.word("class", &CLASSES),
        bad_when: section.word("bad_when", &WAYS),
        unit: section.word("unit", &UNITS),
        weight: section.number("weight", 0.01..=100.0).unwrap_or(1.0),
        value: value?,
        name: String::new(),
    };
    let name = name?;
    if let (Some(unit), AddedValue::Ratio { .. } | AddedValue::Histogram { .. }) =
        (signal.unit, &signal.value)
        && unit != Unit::Ratio
    {
        let what = "a ratio and a share of observations have the unit ratio";
        section.problem(section.span(), what, "remove unit");
    }
    let span = name.span();
    Some((SignalAddition { name: name.into_inner(), ..signal }, span))
}

fn read_value(section: &Section<'_>) -> Option<AddedValue> {
    let written: Vec<&str> = ADDING.into_iter().filter(|key| section.has(key)).collect();
    if written.len() > 1 {
        let what = format!("a signal has one value, and this one has {}", written.join(" and "));
        section.problem(section.span(), what, "make it two signals with names of their own");
    }
    let (ratio, rate) = (section.section("ratio"), read_metric_selector(section, "rate"));
    let (level, histogram) =
        (read_metric_selector(section, "level"), read_metric_selector(section, "histogram"));
    let quantile = section.number("quantile", 0.5..=0.999);
    let mean = section.flag("mean");
    for (key, of, stands) in
        [("quantile", "histogram", section.has("quantile")), ("mean", "level", section.has("mean"))]
    {
        if stands && !section.has(of) {
            let what = format!("`{key}` is for a {of}");
            section.problem(section.span(), what, format!("write {of}, or remove {key}"));
        }
    }
    if let Some(ratio) = ratio {
        let selector = |key: &'static str| {
            if !ratio.has(key) {
                ratio.missing(key, RATIO_HELP);
            }
            read_metric_selector(&ratio, key)
        };
        let (bad, all) = (selector("bad"), selector("all"));
        let (bad, all) = (bad?, all?);
        if bad == all {
            ratio.problem(ratio.span(), "`bad` and `all` select the same: the ratio is always 1", RATIO_HELP);
        }
        return Some(AddedValue::Ratio { bad, all });
    }
    if let Some(events) = rate {
        return Some(AddedValue::Rate { events });
    }
    if let Some(of) = level {
        return Some(AddedValue::Level { of, mean: mean.unwrap_or(false) });
    }
    histogram.map(|of| AddedValue::Histogram { of, quantile: quantile.unwrap_or(0.9) })
}

const RATIO_HELP: &str =
    "write ratio = { bad = 'payments_total{status=\"declined\"}', all = 'payments_total' }";

/// A selector with a metric's name: without one, every series would be looked
/// through.
fn read_metric_selector(section: &Section<'_>, key: &'static str) -> Option<Selector> {
    let selector = section.parsed(key, SELECTOR_HELP, |text| {
        let selector = text.parse::<Selector>().map_err(|error| error.to_string())?;
        match &selector.name {
            None => Err(format!("{text} names no metric")),
            Some(name) if key == "histogram" && name.ends_with("_bucket") => {
                Err(format!("{name} is one part of a histogram; leave _bucket out"))
            }
            Some(_) => Ok(selector),
        }
    })?;
    Some(selector.into_inner())
}

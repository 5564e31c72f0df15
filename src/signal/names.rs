//! What a metric's name and labels tell: the words that services of many
//! makes use. Nothing here is about one service.

mod counters;
mod gauges;
mod results;

pub use counters::{CounterMeaning, LogLevel, counter_meaning, is_business, log_level_of};
pub use gauges::{fills_with_age, gauge_meaning, is_cache_content, is_collected};
pub use results::{ResultValue, error_kind_of, result_of};

use super::Unit;

/// Splits at `_`, `.`, `:`, `-` and at changes of case, in lower case.
fn words(name: &str) -> impl Iterator<Item = String> {
    let mut out = Vec::new();
    let mut word = String::new();
    let mut lower_before = false;
    for c in name.chars() {
        if (!c.is_alphanumeric() || (c.is_uppercase() && lower_before)) && !word.is_empty() {
            out.push(std::mem::take(&mut word));
        }
        if c.is_alphanumeric() {
            word.extend(c.to_lowercase());
        }
        lower_before = c.is_lowercase() || c.is_ascii_digit();
    }
    if !word.is_empty() {
        out.push(word);
    }
    out.into_iter()
}

/// Whether one of the name's words is one of `wanted`.
pub fn has_word(name: &str, wanted: &[&str]) -> bool {
    words(name).any(|word| wanted.contains(&word.as_str()))
}

/// Whether one of the name's words begins with one of `stems`.
fn has_stem(name: &str, stems: &[&str]) -> bool {
    words(name).any(|word| stems.iter().any(|stem| word.starts_with(stem)))
}

/// The start time of a process, in seconds since the epoch or milliseconds.
pub fn is_start_time(name: &str) -> bool {
    has_word(name, &["start"]) && has_word(name, &["time", "timestamp"])
        || has_word(name, &["boot"]) && has_word(name, &["time"])
        || has_word(name, &["created"]) && has_word(name, &["process"])
}

/// Series about the scrape itself, about identity, or about configuration:
/// nothing to judge.
pub fn is_about_the_scrape(name: &str) -> bool {
    name.starts_with("scrape_")
        || name.starts_with("promhttp_")
        || name.starts_with("ALERTS")
        || has_word(name, &["info", "timestamp", "buildinfo", "created", "config", "last"])
        || name.ends_with("_time_seconds") && has_word(name, &["boot", "start"])
        || has_word(name, &["uptime"])
}

/// Whether a name speaks of outgoing calls, which reveal faults that inbound
/// success hides.
pub fn is_outgoing(name: &str) -> bool {
    // A proxy's backend is the service itself.
    let proxy = has_word(name, &["haproxy", "envoy", "nginx", "traefik", "ingress", "istio"]);
    !proxy
        && has_word(
            name,
            &[
                "client",
                "upstream",
                "outgoing",
                "outbound",
                "dependency",
                "dependencies",
                "downstream",
                "backend",
                "db",
                "sql",
                "redis",
                "remote",
            ],
        )
}

/// The unit that a name or a declaration tells.
pub fn unit_of(name: &str, declared: Option<&str>) -> Unit {
    let text = declared.unwrap_or(name);
    if has_word(text, &["milliseconds", "millis", "ms", "msec", "millisecond"]) {
        Unit::Milliseconds
    } else if has_word(text, &["seconds", "second", "s"]) {
        Unit::Seconds
    } else if has_word(text, &["bytes", "byte", "octets"]) {
        Unit::Bytes
    } else if has_word(text, &["ratio"]) {
        Unit::Ratio
    } else {
        Unit::Count
    }
}

/// Whether a histogram or summary measures how long something takes, and how
/// many of its units make a second.
pub fn is_latency(name: &str) -> bool {
    has_stem(
        name,
        &["latency", "duration", "seconds", "millis", "time", "elapsed", "delay", "wait", "lag", "ms", "rtt"],
    ) && !has_word(name, &["bytes", "size"])
}

/// Labels that segment traffic: an endpoint, a region, a tenant.
pub fn is_segment_label(label: &str) -> bool {
    const NOT: &[&str] = &[
        "le",
        "quantile",
        "instance",
        "job",
        "pod",
        "host",
        "hostname",
        "node",
        "container",
        "version",
        "revision",
        "namespace",
        "cluster",
        "id",
        "uid",
        "pid",
        "implementation",
        "major",
        "minor",
        "patchlevel",
        "generation",
    ];
    !NOT.contains(&label)
        && !results::RESULT_LABELS.contains(&label)
        && !counters::LOG_LEVEL_LABELS.contains(&label)
}

#[cfg(test)]
mod tests {
    use super::super::{BadWhen, SignalClass};
    use super::*;
    use crate::domain::SeriesKey;

    fn series(text: &str) -> SeriesKey {
        text.parse().unwrap()
    }

    #[test]
    fn results_are_read_from_the_labels_of_many_makes() {
        use ResultValue::{Bad, Good, Refused};
        for (text, expected) in [
            (r#"a{code="200"}"#, Some(Good)),
            (r#"a{code="503"}"#, Some(Bad)),
            (r#"a{status="5xx"}"#, Some(Bad)),
            (r#"a{response_code_class="5"}"#, Some(Bad)),
            (r#"a{status_code="404"}"#, Some(Refused)),
            (r#"a{status="4xx"}"#, Some(Refused)),
            (r#"a{grpc_code="PermissionDenied"}"#, Some(Refused)),
            (r#"a{outcome="CLIENT_ERROR"}"#, Some(Refused)),
            (r#"a{grpc_code="OK"}"#, Some(Good)),
            (r#"a{grpc_code="DeadlineExceeded"}"#, Some(Bad)),
            (r#"a{grpc_status="14"}"#, Some(Bad)),
            (r#"a{grpc_status="5"}"#, Some(Refused)),
            (r#"a{grpc_status="0"}"#, Some(Good)),
            (r#"a{outcome="SERVER_ERROR"}"#, Some(Bad)),
            (r#"a{outcome="SUCCESS"}"#, Some(Good)),
            (r#"a{result="declined"}"#, Some(Bad)),
            (r#"a{success="false"}"#, Some(Bad)),
            (r#"a{error="true"}"#, Some(Bad)),
            (r#"a{state="running"}"#, None),
            (r#"a{path="/x"}"#, None),
        ] {
            assert_eq!(result_of(&series(text)).map(|(_, v)| v), expected, "{text}");
        }
    }

    #[test]
    fn counters_are_told_apart_by_their_words() {
        use CounterMeaning as M;
        for (text, expected) in [
            ("http_requests_total", M::Traffic),
            ("rpc_server_completed_total", M::Traffic),
            ("orders_created_total", M::Business),
            ("gmv_total", M::Business),
            ("process_cpu_seconds_total", M::Utilisation),
            ("runtime_gc_seconds_total", M::Utilisation),
            (r#"log_messages_total{level="error"}"#, M::Logs),
            ("log_exceptions_total", M::Errors),
            ("app_crashes_total", M::Crashes),
            ("client_fatal_errors_total", M::Crashes),
            ("ui_freezes_total", M::Crashes),
            ("OutOfMemoryErrors", M::Errors),
            (r#"cache_requests_total{result="miss"}"#, M::Cache { hit: false }),
            ("node_network_receive_bytes_total", M::Other),
        ] {
            assert_eq!(counter_meaning(&series(text)), expected, "{text}");
        }
    }

    #[test]
    fn gauges_know_which_way_is_bad() {
        assert_eq!(gauge_meaning("cpu_idle_percent", None).1, BadWhen::Lower);
        assert_eq!(
            gauge_meaning("process_resident_memory_bytes", None),
            (SignalClass::Saturation, BadWhen::Higher, Unit::Bytes)
        );
        assert_eq!(gauge_meaning("gauge_05", None).0, SignalClass::Other);
        assert_eq!(gauge_meaning("hikaricp_connections_pending", None).0, SignalClass::Saturation);
        assert_eq!(gauge_meaning("db_pool_waiters", None).0, SignalClass::Saturation);
        assert_eq!(gauge_meaning("pool_wait_seconds", None).0, SignalClass::Latency);
    }
}

//! What a metric's name and labels tell: the words that services of many
//! makes use. Nothing here is about one service.

use super::{BadWhen, SignalClass, Unit};
use crate::domain::SeriesKey;

/// Labels whose value says how a request or call ended.
const RESULT_LABELS: &[&str] = &[
    "code",
    "status",
    "status_code",
    "http_status",
    "http_status_code",
    "http_response_status_code",
    "response_code",
    "response_code_class",
    "envoy_response_code",
    "envoy_response_code_class",
    "grpc_code",
    "grpc_status",
    "rpc_grpc_status_code",
    "result",
    "outcome",
    "success",
    "state",
    "returncode",
    "class",
    "completion",
    "disposition",
    "error",
    "is_error",
    "failed",
];

/// Labels whose value names a kind of error.
const ERROR_KIND_LABELS: &[&str] = &[
    "exception",
    "exception_type",
    "exception_class",
    "error_type",
    "error_class",
    "error_kind",
    "errortype",
    "error_code",
    "reason",
    "cause",
    "error_name",
    "type",
];

/// Labels whose value is the severity of a log line.
const LOG_LEVEL_LABELS: &[&str] = &["level", "severity", "levelname", "log_level", "loglevel", "priority"];

/// Values of result labels that mean failure.
const BAD_VALUES: &[&str] = &[
    "error",
    "errors",
    "err",
    "fail",
    "failed",
    "failure",
    "failures",
    "rejected",
    "reject",
    "declined",
    "denied",
    "exception",
    "timeout",
    "timed_out",
    "timedout",
    "aborted",
    "abort",
    "unavailable",
    "server_error",
    "internal",
    "unknown",
    "deadline_exceeded",
    "deadlineexceeded",
    "data_loss",
    "dataloss",
    "resource_exhausted",
    "resourceexhausted",
    "unimplemented",
    "internal_error",
    "dropped",
    "dead",
    "deadletter",
    "dead_letter",
    "nack",
    "nok",
    "ko",
    "bad",
    "crashed",
    "expired",
    "overload",
    "overloaded",
    "panic",
    "fatal",
    "lost",
    "invalid",
];

/// Values of result labels that mean success.
const GOOD_VALUES: &[&str] = &[
    "ok",
    "success",
    "successful",
    "succeeded",
    "succeed",
    "completed",
    "complete",
    "processed",
    "accepted",
    "done",
    "delivered",
    "ack",
    "acked",
    "approved",
    "passed",
    "pass",
    "hit",
    "good",
    "sent",
    "finished",
    "none",
    "informational",
    "redirection",
    "client_error",
    "cancelled",
    "canceled",
    "not_found",
    "notfound",
    "invalid_argument",
    "invalidargument",
    "already_exists",
    "alreadyexists",
    "permission_denied",
    "permissiondenied",
    "unauthenticated",
    "failed_precondition",
    "failedprecondition",
    "out_of_range",
    "outofrange",
    "created",
    "miss",
];

/// How one value of a result label counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResultValue {
    /// Success, or the caller's own fault.
    Good,
    /// Failure.
    Bad,
}

/// What a label with results says of this series; nothing if no label says.
pub fn result_of(series: &SeriesKey) -> Option<(&str, ResultValue)> {
    RESULT_LABELS.iter().find_map(|label| {
        let value = series.label(label)?;
        Some((*label, result_value(label, value)?))
    })
}

fn result_value(label: &str, value: &str) -> Option<ResultValue> {
    let lower = value.to_ascii_lowercase().replace([' ', '-'], "_");
    if matches!(label, "success") {
        return match lower.as_str() {
            "true" | "1" | "yes" => Some(ResultValue::Good),
            "false" | "0" | "no" => Some(ResultValue::Bad),
            _ => None,
        };
    }
    if matches!(label, "error" | "is_error" | "failed") {
        return match lower.as_str() {
            "true" | "1" | "yes" => Some(ResultValue::Bad),
            "false" | "0" | "no" | "" | "none" => Some(ResultValue::Good),
            _ => None,
        };
    }
    if label.contains("grpc") && !lower.is_empty() && lower.bytes().all(|b| b.is_ascii_digit()) {
        // Status numbers of gRPC: those that are the server's fault.
        return Some(match lower.as_str() {
            "2" | "4" | "8" | "12" | "13" | "14" | "15" => ResultValue::Bad,
            _ => ResultValue::Good,
        });
    }
    let digits = lower.trim_end_matches('x');
    if (1..=3).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit()) {
        let is_class = lower.len() == 3 || (digits.len() == 1 && lower.len() == 1);
        if is_class {
            return match digits.as_bytes()[0] {
                b'5' => Some(ResultValue::Bad),
                b'1'..=b'4' => Some(ResultValue::Good),
                _ => None,
            };
        }
        return None;
    }
    if GOOD_VALUES.contains(&lower.as_str()) {
        Some(ResultValue::Good)
    } else if BAD_VALUES.contains(&lower.as_str()) {
        Some(ResultValue::Bad)
    } else {
        None
    }
}

/// The label that names the kind of error, and its value.
pub fn error_kind_of(series: &SeriesKey) -> Option<(&'static str, &str)> {
    ERROR_KIND_LABELS.iter().find_map(|label| Some((*label, series.label(label)?)))
}

/// The severity of the log lines that this series counts.
pub fn log_level_of(series: &SeriesKey) -> Option<LogLevel> {
    let name = series.name();
    if !has_word(
        name,
        &["log", "logs", "logback", "logging", "log4j2", "log4j", "serilog", "messages", "logger"],
    ) {
        return None;
    }
    let value = LOG_LEVEL_LABELS.iter().find_map(|label| series.label(label))?;
    Some(match value.to_ascii_lowercase().as_str() {
        "error" | "err" | "fatal" | "critical" | "crit" | "panic" | "alert" | "emerg" | "emergency"
        | "severe" | "3" | "2" | "1" | "0" => LogLevel::Error,
        _ => LogLevel::Other,
    })
}

/// Severity of log lines, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    /// Error and above.
    Error,
    /// Everything below.
    Other,
}

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

/// What a counter without a result label counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CounterMeaning {
    /// Failures.
    Errors,
    /// Crashes, hangs and the like of whole processes or sessions.
    Crashes,
    /// Lines of log.
    Logs,
    /// Requests, calls, jobs, messages that come in.
    Traffic,
    /// What the business counts.
    Business,
    /// Seconds of a resource used: a utilisation.
    Utilisation,
    /// Cache lookups that hit (true) or missed.
    Cache {
        /// Whether this series counts hits.
        hit: bool,
    },
    /// Something else.
    Other,
}

/// Reads a counter's name.
pub fn counter_meaning(series: &SeriesKey) -> CounterMeaning {
    let name = series.name();
    if has_stem(name, &["crash", "anr", "panic", "oom", "segfault", "coredump", "hang"]) {
        return CounterMeaning::Crashes;
    }
    if has_word(name, &["cache", "caches"]) || has_word(name, &["hit", "hits", "miss", "misses"]) {
        let value = series.label("result").or_else(|| series.label("outcome")).unwrap_or(name);
        if has_stem(value, &["hit"]) {
            return CounterMeaning::Cache { hit: true };
        }
        if has_stem(value, &["miss"]) {
            return CounterMeaning::Cache { hit: false };
        }
        return CounterMeaning::Other;
    }
    if has_stem(
        name,
        &[
            "error",
            "errors",
            "exception",
            "fail",
            "timeout",
            "reject",
            "drop",
            "retr",
            "abort",
            "fault",
            "unhandled",
            "deadletter",
            "throttl",
            "refus",
        ],
    ) && !has_word(name, &["gc"])
    {
        return CounterMeaning::Errors;
    }
    if log_level_of(series).is_some() {
        return CounterMeaning::Logs;
    }
    if has_word(name, &["seconds", "milliseconds", "nanoseconds", "microseconds", "ms"])
        && has_word(
            name,
            &[
                "cpu", "gc", "pause", "busy", "wait", "waiting", "stall", "stalled", "pressure", "steal",
                "iowait", "io", "duration", "time",
            ],
        )
    {
        return CounterMeaning::Utilisation;
    }
    if has_stem(name, BUSINESS_STEMS) {
        return CounterMeaning::Business;
    }
    if has_word(
        name,
        &[
            "gc", "bytes", "octets", "packets", "segments", "objects", "switches", "faults", "go", "python",
            "nodejs", "dotnet", "jvm", "process", "classes",
        ],
    ) {
        return CounterMeaning::Other;
    }
    if has_stem(
        name,
        &[
            "request",
            "call",
            "rpc",
            "quer",
            "handled",
            "received",
            "consumed",
            "processed",
            "job",
            "task",
            "message",
            "event",
            "session",
            "visit",
            "view",
            "hit",
            "invocation",
            "command",
            "operation",
            "txn",
            "transaction",
            "launch",
            "start",
        ],
    ) {
        return CounterMeaning::Traffic;
    }
    CounterMeaning::Other
}

const BUSINESS_STEMS: &[&str] = &[
    "order",
    "payment",
    "checkout",
    "purchase",
    "gmv",
    "revenue",
    "sale",
    "signup",
    "register",
    "registration",
    "login",
    "booking",
    "reservation",
    "conversion",
    "cart",
    "basket",
    "subscription",
    "deposit",
    "withdraw",
    "transfer",
    "trade",
    "ticket",
    "invoice",
    "shipment",
    "delivery",
    "deliveries",
    "bid",
    "bet",
    "play",
    "stream",
    "impression",
    "click",
    "amount",
    "turnover",
    "coupon",
    "refund",
    "ride",
    "trip",
];

/// Whether a name is about what the business counts.
pub fn is_business(name: &str) -> bool {
    has_stem(name, BUSINESS_STEMS)
}

/// Whether a name speaks of outgoing calls, which reveal faults that inbound
/// success hides.
pub fn is_outgoing(name: &str) -> bool {
    has_word(
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

/// What a gauge shows, which way is bad, and in what unit.
pub fn gauge_meaning(name: &str, declared_unit: Option<&str>) -> (SignalClass, BadWhen, Unit) {
    let unit = unit_of(name, declared_unit);
    let saturation = (SignalClass::Saturation, BadWhen::Higher, unit);
    if has_stem(name, &["error", "exception", "fail", "timeout", "reject", "crash", "anr"]) {
        return (SignalClass::Errors, BadWhen::Higher, unit);
    }
    if has_word(name, &["idle", "free", "available", "avail", "remaining", "headroom"]) {
        return (SignalClass::Saturation, BadWhen::Lower, unit);
    }
    if has_word(name, &["size", "max", "limit", "capacity", "total", "committed", "min", "configured"])
        && !has_word(name, &["queue", "backlog", "heap", "used"])
    {
        return (SignalClass::Other, BadWhen::Either, unit);
    }
    if has_stem(
        name,
        &["latency", "duration", "lag", "delay", "elapsed", "response", "rtt", "wait", "age", "staleness"],
    ) || has_word(name, &["seconds", "ms", "milliseconds"])
    {
        return (SignalClass::Latency, BadWhen::Higher, unit);
    }
    if has_stem(
        name,
        &[
            "mem",
            "heap",
            "rss",
            "resident",
            "thread",
            "goroutine",
            "fd",
            "fds",
            "handle",
            "pool",
            "queue",
            "backlog",
            "pending",
            "cpu",
            "load",
            "gc",
            "inflight",
            "flight",
            "util",
            "swap",
            "disk",
            "connection",
            "conns",
            "socket",
            "active",
            "used",
            "usage",
            "depth",
            "waiting",
            "blocked",
            "buffer",
        ],
    ) {
        return saturation;
    }
    if is_business(name) {
        return (SignalClass::Business, BadWhen::Lower, unit);
    }
    (SignalClass::Other, BadWhen::Either, unit)
}

/// Memory, threads, handles: they fall with a restart and climb for a long
/// time in health, so only what exceeds the old process's level counts.
pub fn fills_with_age(name: &str) -> bool {
    // What is busy now follows the load, not the age.
    if has_word(name, &["busy", "active", "pending", "waiting", "blocked", "runnable", "use"]) {
        return false;
    }
    has_stem(
        name,
        &[
            "mem",
            "heap",
            "rss",
            "resident",
            "swap",
            "thread",
            "goroutine",
            "fd",
            "fds",
            "handle",
            "buffer",
            "old",
            "metaspace",
        ],
    ) || has_word(name, &["bytes", "open"])
}

/// Contents of caches: they fill, and nobody suffers.
pub fn is_cache_content(name: &str) -> bool {
    has_word(name, &["cache", "cached", "entries", "keys", "items"])
}

/// The unit that a name or a declaration tells.
pub fn unit_of(name: &str, declared: Option<&str>) -> Unit {
    let text = declared.unwrap_or(name);
    if has_word(text, &["seconds", "second", "s"]) {
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
    !NOT.contains(&label) && !RESULT_LABELS.contains(&label) && !LOG_LEVEL_LABELS.contains(&label)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(text: &str) -> SeriesKey {
        text.parse().unwrap()
    }

    #[test]
    fn results_are_read_from_the_labels_of_many_makes() {
        use ResultValue::{Bad, Good};
        for (text, expected) in [
            (r#"a{code="200"}"#, Some(Good)),
            (r#"a{code="503"}"#, Some(Bad)),
            (r#"a{status="5xx"}"#, Some(Bad)),
            (r#"a{response_code_class="5"}"#, Some(Bad)),
            (r#"a{status_code="404"}"#, Some(Good)),
            (r#"a{grpc_code="OK"}"#, Some(Good)),
            (r#"a{grpc_code="DeadlineExceeded"}"#, Some(Bad)),
            (r#"a{grpc_status="14"}"#, Some(Bad)),
            (r#"a{grpc_status="5"}"#, Some(Good)),
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
    }
}

//! What a counter counts.

use super::{has_noun, has_stem, has_word, status_class_of};
use crate::domain::SeriesKey;

/// Labels whose value is the severity of a log line.
pub(super) const LOG_LEVEL_LABELS: &[&str] =
    &["level", "lvl", "severity", "severity_text", "levelname", "log_level", "loglevel", "priority"];

/// The severity of the log lines that this series counts.
pub fn log_level_of(series: &SeriesKey) -> Option<LogLevel> {
    let name = series.name();
    if !has_word(
        name,
        &[
            "log", "logs", "logback", "logging", "log4j2", "log4j", "serilog", "messages", "logger", "glog",
            "sentry",
        ],
    ) {
        return None;
    }
    let value = LOG_LEVEL_LABELS.iter().find_map(|label| series.label(label))?;
    Some(match value.to_ascii_lowercase().as_str() {
        "error" | "err" | "e" | "f" | "c" | "fatal" | "critical" | "crit" | "panic" | "alert" | "emerg"
        | "emergency" | "severe" | "3" | "2" | "1" | "0" => LogLevel::Error,
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

/// Whether results of requests are told apart: a hit of a page, not of a cache.
fn counts_requests(series: &SeriesKey) -> bool {
    super::result_of(series).is_some_and(|(label, _)| {
        label.contains("code") || label.contains("class") || label.contains("status")
    })
}

/// Whether the value of a label that names kinds of error names one.
fn is_error(kind: &str) -> bool {
    !matches!(
        kind.to_ascii_lowercase().as_str(),
        "" | "none" | "no_error" | "ok" | "0" | "false" | "n/a" | "-"
    )
}

/// Reads a counter's name.
pub fn counter_meaning(series: &SeriesKey) -> CounterMeaning {
    let name = series.name();
    if has_stem(
        name,
        &["crash", "anr", "panic", "oom", "segfault", "coredump", "hang", "fatal", "freeze", "frozen"],
    ) {
        return CounterMeaning::Crashes;
    }
    let looked_up = has_word(name, &["hit", "hits", "miss", "misses"])
        && !counts_requests(series)
        // Visitors hit pages.
        && !(has_word(name, &["page", "site", "web", "http"]) || super::words(name).all(|w| w == "hits" || w == "total"));
    if has_word(name, &["cache", "caches"]) || looked_up {
        let labels = ["result", "outcome", "status", "cache_status"];
        let value = labels.iter().find_map(|label| series.label(label)).unwrap_or(name);
        if has_stem(value, &["hit"]) {
            return CounterMeaning::Cache { hit: true };
        }
        if has_stem(value, &["miss", "expired"]) {
            return CounterMeaning::Cache { hit: false };
        }
        if !has_stem(name, &["error", "exception", "fail", "timeout"]) {
            return CounterMeaning::Other;
        }
    }
    // Whatever is counted by kind of error is one.
    if super::error_kind_of(series)
        .is_some_and(|(label, kind)| super::is_error_label(label) && is_error(kind))
    {
        return CounterMeaning::Errors;
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
            "retry",
            "retries",
            "retried",
            "abort",
            "bounce",
            "rollback",
            "deadlock",
            "dlq",
            "fault",
            "unhandled",
            "deadletter",
            "throttl",
            "refus",
            "degrad",
            "fallback",
            "corrupt",
            "mismatch",
            "malformed",
            "violation",
            "overflow",
            "disconnect",
            "redispatch",
        ],
    ) && !has_word(name, &["gc", "page"])
        || has_word(name, &["err", "errs", "nok", "lost", "invalid", "unavailable", "shed"])
        || has_word(name, &["dead"]) && has_word(name, &["letter", "letters", "lettered"])
    {
        // A scheduler that holds a process back is load, and nobody's error.
        let held_back = has_stem(name, &["throttl"]) && has_word(name, &["cpu", "cfs"]);
        let timed = has_word(name, &["seconds", "milliseconds", "microseconds", "nanoseconds"]);
        return match (held_back, timed) {
            (false, _) => CounterMeaning::Errors,
            (true, true) => CounterMeaning::Utilisation,
            (true, false) => CounterMeaning::Other,
        };
    }
    match status_class_of(name) {
        Some(5) => return CounterMeaning::Errors,
        Some(4) => return CounterMeaning::Other,
        Some(_) => return CounterMeaning::Traffic,
        None => {}
    }
    // The network's own matters, and what is slow and served all the same.
    if has_word(name, &["netstat", "tcp", "udp", "vmstat", "slow"]) {
        return CounterMeaning::Other;
    }
    // Lines without a level say how much is told, not what.
    let is_log = has_word(
        name,
        &["log", "logs", "logback", "logging", "log4j2", "log4j", "serilog", "logger", "glog"],
    );
    if is_log || log_level_of(series).is_some() {
        return CounterMeaning::Logs;
    }
    if has_word(name, &["seconds", "milliseconds", "nanoseconds", "microseconds", "ms", "us", "usec", "ns"])
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
    if is_business(name) {
        return CounterMeaning::Business;
    }
    if has_word(name, &["gc", "bytes", "octets", "packets", "segments", "objects", "switches", "faults"]) {
        return CounterMeaning::Other;
    }
    // Answers that hold nothing are no traffic, and nobody wants more of them.
    if has_word(name, &["empty", "zero"]) {
        return CounterMeaning::Other;
    }
    if has_stem(name, &["request", "rpc", "quer", "response"]) || has_word(name, &["req", "reqs", "rq"]) {
        return CounterMeaning::Traffic;
    }
    if has_word(name, &["go", "python", "nodejs", "dotnet", "jvm", "process", "classes"]) {
        return CounterMeaning::Other;
    }
    if has_stem(
        name,
        &[
            "call",
            "handled",
            "served",
            "access",
            "xact",
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
            "execut",
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
    "revenue",
    "signup",
    "register",
    "registration",
    "login",
    "booking",
    "reservation",
    "conversion",
    "basket",
    "subscription",
    "deposit",
    "withdraw",
    "transfer",
    "invoice",
    "shipment",
    "delivery",
    "deliveries",
    "impression",
    "click",
    "amount",
    "turnover",
    "coupon",
    "refund",
];

/// Short words begin others that have nothing to do with them.
const BUSINESS_NOUNS: &[&str] = &[
    "gmv",
    "business",
    "settlement",
    "sale",
    "cart",
    "trade",
    "ticket",
    "bid",
    "bet",
    "play",
    "stream",
    "ride",
    "trip",
];

/// Whether a name is about what the business counts.
pub fn is_business(name: &str) -> bool {
    has_stem(name, BUSINESS_STEMS) || has_noun(name, BUSINESS_NOUNS)
}

/// What names of metrics begin with that a runtime, its server or pool, or a machine
/// tells of itself.
const RUNTIMES: &[&str] = &[
    "go",
    "jvm",
    "java",
    "process",
    "python",
    "nodejs",
    "dotnet",
    "ruby",
    "php",
    "erlang",
    "beam",
    "tomcat",
    "jetty",
    "puma",
    "hikaricp",
    "gc",
    "container",
    "node",
    "system",
    "windows",
];

/// Whether a metric counts what is watched or tried beside the service's work, by its
/// name: nobody waits for it.
pub fn counts_aside(name: &str) -> bool {
    has_word(
        name,
        &["otel", "opentelemetry", "span", "spans", "trace", "traces", "tracing", "telemetry", "shadow"],
    ) || has_stem(name, &["mirror"])
}

/// Whether a metric seems to count what a service does: no runtime or machine tells it
/// of itself, and its name has no word for what nobody wants more of.
pub fn counts_doing(name: &str) -> bool {
    let of_runtime = super::words(name).next().is_some_and(|first| RUNTIMES.contains(&first.as_str()));
    let unwanted = has_word(
        name,
        &["wait", "waits", "waiting", "blocked", "slow", "stale", "zero", "empty", "conns", "connections"],
    ) || has_stem(name, &["redeliver", "evict", "expir", "duplicat", "retrans", "steal"]);
    !of_runtime && !unwanted
}

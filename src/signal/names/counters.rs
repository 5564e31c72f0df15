//! What a counter counts.

use super::{has_stem, has_word};
use crate::domain::SeriesKey;

/// Labels whose value is the severity of a log line.
pub(super) const LOG_LEVEL_LABELS: &[&str] =
    &["level", "lvl", "severity", "severity_text", "levelname", "log_level", "loglevel", "priority"];

/// The severity of the log lines that this series counts.
pub fn log_level_of(series: &SeriesKey) -> Option<LogLevel> {
    let name = series.name();
    if !has_word(
        name,
        &["log", "logs", "logback", "logging", "log4j2", "log4j", "serilog", "messages", "logger", "glog"],
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

/// Reads a counter's name.
pub fn counter_meaning(series: &SeriesKey) -> CounterMeaning {
    let name = series.name();
    if has_stem(
        name,
        &["crash", "anr", "panic", "oom", "segfault", "coredump", "hang", "fatal", "freeze", "frozen"],
    ) {
        return CounterMeaning::Crashes;
    }
    let looked_up = has_word(name, &["hit", "hits", "miss", "misses"]) && !counts_requests(series);
    if has_word(name, &["cache", "caches"]) || looked_up {
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
    // Lines without a level say how much is told, not what.
    let is_log = has_word(
        name,
        &["log", "logs", "logback", "logging", "log4j2", "log4j", "serilog", "logger", "glog"],
    );
    if is_log || log_level_of(series).is_some() {
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

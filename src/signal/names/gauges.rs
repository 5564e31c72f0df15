//! What a gauge shows.

use super::super::{BadWhen, SignalClass, Unit};
use super::{
    has_stem, has_word, is_business, is_quantile_word, is_rate, is_time_word, status_class_of, unit_of,
};

/// What a gauge shows, which way is bad, and in what unit.
pub fn gauge_meaning(name: &str, declared_unit: Option<&str>) -> (SignalClass, BadWhen, Unit) {
    let unit = unit_of(name, declared_unit);
    let saturation = (SignalClass::Saturation, BadWhen::Higher, unit);
    if is_setting(name) {
        return (SignalClass::Other, BadWhen::Either, unit);
    }
    if is_share_of_good(name) {
        return (SignalClass::Errors, BadWhen::Lower, unit);
    }
    let fails = has_stem(
        name,
        &[
            "error",
            "exception",
            "fail",
            "timeout",
            "reject",
            "crash",
            "anr",
            "jank",
            "unhealthy",
            "unavailable",
        ],
    ) || has_word(name, &["err", "errs", "nok", "loss", "lost", "dropped", "freeze", "freezes"])
        || (has_word(name, &["screen", "screens"]) && has_word(name, &["white", "blank"]))
        || status_class_of(name) == Some(5);
    if fails {
        return (SignalClass::Errors, BadWhen::Higher, unit);
    }
    if has_word(name, &["idle", "free", "available", "avail", "remaining", "headroom", "fps"]) {
        // A heap grows when it has to; what is free of it until then is nobody's need.
        if has_word(name, &["heap", "arena", "memstats"]) {
            return (SignalClass::Other, BadWhen::Either, unit);
        }
        return (SignalClass::Saturation, BadWhen::Lower, unit);
    }
    if is_rate(name) {
        return if is_business(name) {
            (SignalClass::Business, BadWhen::Lower, unit)
        } else if status_class_of(name) == Some(4) || has_word(name, &["bytes", "gc", "hit", "miss"]) {
            (SignalClass::Other, BadWhen::Either, unit)
        } else if has_stem(name, EVENTS)
            || has_word(name, &["qps", "rps", "tps", "qpm", "rpm", "tpm", "throughput"])
        {
            (SignalClass::Traffic, BadWhen::Lower, unit)
        } else {
            (SignalClass::Other, BadWhen::Either, unit)
        };
    }
    let lasts = unit.per_second().is_some();
    // What is behind is a number of messages, not a time; so are those who wait.
    let behind = !lasts && has_stem(name, &["lag", "wait"]) && !is_quantile_word(name);
    if lasts
        || (!behind && is_time_word(name))
        || has_stem(name, &["response", "age", "staleness"]) && !has_word(name, &["average"])
    {
        return (SignalClass::Latency, BadWhen::Higher, unit);
    }
    let loaded = has_word(name, &["load", "load1", "load5", "load15", "loadavg"]);
    // Erlang's processes are its threads, and other actors are too.
    let actors = counts_actors(name);
    // JMX writes words together: `ProcessCpuLoad`.
    if behind || loaded || actors || has_stem(name, FULLNESS) || name.to_ascii_lowercase().contains("cpuload")
    {
        return saturation;
    }
    if is_business(name) {
        return (SignalClass::Business, BadWhen::Lower, unit);
    }
    (SignalClass::Other, BadWhen::Either, unit)
}

/// What comes in, where a rate says how much of it.
const EVENTS: &[&str] = &[
    "request",
    "req",
    "rq",
    "call",
    "rpc",
    "quer",
    "message",
    "event",
    "job",
    "task",
    "transaction",
    "hit",
    "visit",
    "meter",
    "timer",
];

/// Resources that are full or not.
const FULLNESS: &[&str] = &[
    "mem",
    "heap",
    "rss",
    "wss",
    "resident",
    "working",
    "thread",
    "goroutine",
    "fd",
    "fds",
    "filefd",
    "handle",
    "pool",
    "queue",
    "backlog",
    "pending",
    "cpu",
    "gc",
    "inflight",
    "flight",
    "inprogress",
    "progress",
    "unack",
    "iowait",
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
    "blocked",
    "buffer",
    "open",
    "busy",
    "concurren",
    "outstanding",
    "await",
    "visible",
    "descriptor",
    "filedescriptor",
];

/// Whether a gauge shows how something is set, and not how it goes.
pub fn is_setting(name: &str) -> bool {
    if is_rate(name) {
        return false;
    }
    if has_word(name, &["limit", "capacity", "configured", "committed", "threshold", "quota", "desired"]) {
        return true;
    }
    let lasts = unit_of(name, None).per_second().is_some();
    if has_stem(name, &["timeout"]) {
        return lasts;
    }
    // How a rule or a query put machines together says nothing of what it is.
    let name = match name.rsplit_once(':') {
        Some((what, "max" | "min" | "sum" | "total")) => what,
        Some(_) | None => name,
    };
    // The largest of something that is measured is measured.
    let measured =
        lasts || is_time_word(name) || has_word(name, &["queue", "backlog", "heap", "used", "active"]);
    // `total_memory` is all that is used, `memory_total` all that there is.
    let sums_up = name.ends_with("_total") || name.contains("total_mem");
    has_word(name, &["size", "max", "min"]) && !measured
        || has_word(name, &["total"]) && !measured && !sums_up
}

/// Whether a metric is of work that was put off: how much it is, or how old.
pub fn is_arrears(name: &str) -> bool {
    let words = &[
        "queue",
        "queued",
        "waiting",
        "ready",
        "visible",
        "pending",
        "depth",
        "unacked",
        "delay",
        "age",
        "watermark",
        "behind",
        "staleness",
    ];
    // How late jobs begin; how long they take is a duration.
    let jobs_wait = has_word(name, &["job", "jobs", "task", "tasks"]) && has_word(name, &["latency"]);
    has_stem(name, &["lag", "backlog"]) || has_word(name, words) || jobs_wait
}

/// Whether a gauge is how far a clock is off.
pub fn is_clock(name: &str) -> bool {
    has_word(name, &["skew", "drift", "clock", "ntp", "timex"])
}

/// Whether a gauge is in per cent.
pub fn is_percent(name: &str) -> bool {
    has_word(name, &["percent", "percentage", "pct"])
}

/// Whether a gauge is the share of what went well.
fn is_share_of_good(name: &str) -> bool {
    let is_share = has_word(name, &["ratio", "rate", "share"]) || is_percent(name);
    let of_good = has_stem(name, &["succe"]) && is_share || has_word(name, &["availability", "apdex", "sli"]);
    let free_of_bad = has_word(name, &["free"]) && has_stem(name, &["crash", "anr", "error"]);
    (of_good && !has_stem(name, &["error", "fail"])) || free_of_bad
}

/// Whether a gauge is the share that is idle, of time or of workers.
pub fn is_idle_share(name: &str) -> bool {
    has_word(name, &["idle"]) && (has_word(name, &["ratio", "share", "time", "cpu"]) || is_percent(name))
}

/// Whether a gauge is the share of something that is used, which some tell as a
/// ratio and others in per cent.
pub fn is_used_share(name: &str) -> bool {
    has_word(name, &["cpu", "gpu", "usage", "util"])
        || has_stem(name, &["utiliz", "utilis"])
        || name.to_ascii_lowercase().contains("cpuload")
}

/// Whether a gauge counts processes or actors inside of a process.
fn counts_actors(name: &str) -> bool {
    has_word(name, &["process", "processes", "actor", "actors", "fiber", "fibers", "coroutine", "coroutines"])
        && has_word(name, &["count", "processes", "actors", "fibers", "coroutines"])
}

/// Memory, threads, handles: they fall with a restart and climb for a long
/// time in health, so only what exceeds the old process's level counts.
pub fn fills_with_age(name: &str) -> bool {
    // What is busy now follows the load, not the age.
    if is_rate(name)
        || has_word(name, &["busy", "active", "pending", "waiting", "blocked", "runnable", "use"])
    {
        return false;
    }
    has_stem(
        name,
        &[
            "mem",
            "heap",
            "rss",
            "resident",
            "working",
            "swap",
            "thread",
            "goroutine",
            "fd",
            "fds",
            "handle",
            "descriptor",
            "filedescriptor",
            "buffer",
            "old",
            "metaspace",
        ],
    ) || has_word(name, &["bytes", "open"])
        || counts_actors(name)
}

/// Memory under a garbage collector: it swings between collections, and a new
/// process takes long to settle on its level.
pub fn is_collected(name: &str) -> bool {
    // A working set is how Windows and .NET call what is resident.
    const COLLECTED: &[&str] =
        &["heap", "alloc", "jvm", "gc", "gen", "eden", "pool", "managed", "memstats", "dotnet", "working"];
    has_word(name, COLLECTED)
}

/// Contents of caches: they fill, and nobody suffers.
pub fn is_cache_content(name: &str) -> bool {
    has_word(name, &["cache", "cached", "entries", "keys", "items"])
        || has_word(name, &["hit", "hits", "miss"]) && has_word(name, &["rate", "ratio", "percent"])
}

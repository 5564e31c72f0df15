//! What a gauge shows.

use super::super::{BadWhen, SignalClass, Unit};
use super::{has_stem, has_word, is_business, unit_of};

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
    let lasts = matches!(unit, Unit::Seconds | Unit::Milliseconds);
    // Who waits is a number of waiters, not a time.
    if lasts
        || has_stem(
            name,
            &["latency", "duration", "lag", "delay", "elapsed", "response", "rtt", "age", "staleness"],
        )
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
            "wait",
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

/// Memory under a garbage collector: it swings between collections, and a new
/// process takes long to settle on its level.
pub fn is_collected(name: &str) -> bool {
    has_word(name, &["heap", "alloc", "jvm", "gc", "gen", "eden", "pool", "managed", "memstats"])
}

/// Contents of caches: they fill, and nobody suffers.
pub fn is_cache_content(name: &str) -> bool {
    has_word(name, &["cache", "cached", "entries", "keys", "items"])
}

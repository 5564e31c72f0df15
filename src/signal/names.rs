//! What a metric's name and labels tell: the words that services of many
//! makes use. Nothing here is about one service.

mod counters;
mod gauges;
mod results;

pub use counters::{
    CounterMeaning, LogLevel, counter_meaning, counts_aside, counts_doing, is_business, log_level_of,
};
pub use gauges::{
    fills_with_age, gauge_meaning, is_arrears, is_cache_content, is_clock, is_collected, is_idle_share,
    is_percent, is_setting, is_used_share,
};
pub use results::{ResultValue, error_kind_of, is_error_label, result_of};

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

/// Whether a word is one of `wanted` or its plural.
fn has_noun(name: &str, wanted: &[&str]) -> bool {
    words(name).any(|word| {
        wanted.contains(&word.as_str()) || word.strip_suffix('s').is_some_and(|w| wanted.contains(&w))
    })
}

/// What a status of three digits in a name says: `http_5xx_total`.
fn status_class_of(name: &str) -> Option<u8> {
    words(name).find_map(|word| {
        let digits = word.as_bytes();
        let is_class = digits.len() == 3
            && (b'1'..=b'5').contains(&digits[0])
            && (digits.ends_with(b"xx") || (digits[1] == b'0' && digits[2].is_ascii_digit()));
        is_class.then(|| digits[0] - b'0')
    })
}

/// Whether a gauge holds events per time, which a rule or the process itself
/// has divided already.
fn is_rate(name: &str) -> bool {
    let per = words(name).collect::<Vec<_>>().windows(2).any(|pair| {
        pair[0] == "per"
            && ["second", "sec", "s", "minute", "min", "m", "hour", "h"].contains(&pair[1].as_str())
    });
    // `rate5m` is how recording rules name it.
    let rated = words(name).any(|word| {
        let left = word
            .strip_prefix("irate")
            .or_else(|| word.strip_prefix("rate"))
            .or_else(|| word.strip_prefix("increase"));
        left.is_some_and(|window| window.is_empty() || window.as_bytes()[0].is_ascii_digit())
    });
    per || rated || has_word(name, &["qps", "rps", "tps", "qpm", "rpm", "tpm", "throughput"])
}

/// The start time of a process, in seconds since the epoch or milliseconds.
/// How long an application takes to start is measured in distributions.
pub fn is_start_time(name: &str) -> bool {
    let distribution = ["_bucket", "_sum", "_count"].iter().any(|suffix| name.ends_with(suffix));
    !distribution
        && (has_word(name, &["start"]) && has_word(name, &["time", "timestamp"])
            || has_word(name, &["boot"]) && has_word(name, &["time"])
            || has_word(name, &["created"]) && has_word(name, &["process"]))
}

/// For how long a process has run, in whatever unit; what else is up and down, as
/// connections are, does not tell of it.
pub fn is_uptime(name: &str) -> bool {
    let of_others = ["connection", "session", "peer", "link", "tunnel", "upstream", "server", "backend"];
    has_word(name, &["uptime"]) && !has_stem(name, &of_others)
}

/// Series about the scrape itself, about identity, or about configuration:
/// nothing to judge.
pub fn is_about_the_scrape(name: &str) -> bool {
    let last_word = words(name).last().unwrap_or_default();
    let done_last = has_word(name, &["last"])
        && has_word(name, &["time", "seconds", "success", "successful", "run", "reload", "updated", "error"]);
    let loaded = has_word(name, &["config"]) && has_word(name, &["reload", "hash", "version", "generation"]);
    ADDED_TO_SCRAPES.contains(&name)
        || matches!(name, "up" | "ALERTS" | "ALERTS_FOR_STATE")
        || name.starts_with("promhttp_metric_handler_")
        || matches!(last_word.as_str(), "info" | "config")
        || has_word(name, &["timestamp", "buildinfo", "uptime"])
        || done_last
        || loaded
        // OpenMetrics adds when a series was made; orders are created as well.
        || name.ends_with("_created")
        || name.ends_with("_time_seconds") && has_word(name, &["boot", "start"])
}

/// Metrics that a server adds to what a target exposes.
pub const ADDED_TO_SCRAPES: [&str; 7] = [
    "scrape_duration_seconds",
    "scrape_samples_scraped",
    "scrape_samples_post_metric_relabeling",
    "scrape_series_added",
    "scrape_timeout_seconds",
    "scrape_sample_limit",
    "scrape_body_size_bytes",
];

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

/// Whether a name counts requests, queries or calls.
pub fn is_call(name: &str) -> bool {
    has_stem(name, &["request", "quer", "call", "rpc", "handled", "command", "execut", "statement"])
}

/// The unit that a name or a declaration tells.
pub fn unit_of(name: &str, declared: Option<&str>) -> Unit {
    let text = declared.unwrap_or(name);
    if is_rate(text) && !has_word(text, &["ratio"]) {
        Unit::PerSecond
    } else if has_word(text, &["nanoseconds", "nanosecond", "nanos", "nano", "nsec", "ns"]) {
        Unit::Nanoseconds
    } else if has_word(text, &["microseconds", "microsecond", "micros", "micro", "usec", "usecs", "us"]) {
        Unit::Microseconds
    } else if has_word(text, &["milliseconds", "millis", "ms", "msec", "msecs", "millisecond"]) {
        Unit::Milliseconds
    } else if has_word(text, &["seconds", "second", "secs", "sec", "s"]) {
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
    let told = unit_of(name, None).per_second().is_some()
        || is_time_word(name)
        || has_stem(name, &["runtime", "processing", "handling", "response", "seconds", "millis", "micros"]);
    told && !has_word(name, &["bytes", "size", "length", "items", "rows", "records", "messages"])
}

/// Words for how long something takes.
fn is_time_word(name: &str) -> bool {
    has_stem(name, &["latenc", "duration", "elapsed", "delay", "lag", "wait", "ttfb"])
        || has_word(name, &["time", "times", "timer", "timers", "rt", "rtt", "took"])
        || is_quantile_word(name)
}

/// `p99`, `p999`, `tp90`, `percentile`: whoever computes it measures time.
fn is_quantile_word(name: &str) -> bool {
    words(name).any(|word| {
        let digits = word.strip_prefix("tp").or_else(|| word.strip_prefix('p'));
        digits.is_some_and(|d| (2..=4).contains(&d.len()) && d.bytes().all(|b| b.is_ascii_digit()))
            || matches!(word.as_str(), "percentile" | "quantile")
    })
}

/// Whether a label's values are versions.
pub fn is_version_label(label: &str) -> bool {
    has_word(label, &["version", "ver", "build", "release", "revision", "sha", "commit", "tag"])
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
    !NOT.contains(&label) && !results::is_result_label(label) && !counters::LOG_LEVEL_LABELS.contains(&label)
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
    fn statuses_are_results_however_their_label_is_written() {
        for label in
            ["statusCode", "status_code", "http.response.status_code", "responseCode", "responseStatus"]
        {
            assert!(!is_segment_label(label), "{label}");
            let failed: SeriesKey = SeriesKey::new("calls_total", [(label, "500")]);
            assert_eq!(result_of(&failed).map(|(_, value)| value), Some(ResultValue::Bad), "{label}");
        }
        let unknown_first = SeriesKey::new("calls_total", [("class", "gold"), ("statusCode", "500")]);
        assert_eq!(result_of(&unknown_first).map(|(_, value)| value), Some(ResultValue::Bad));
        for label in ["country_code", "area_code", "codec", "source"] {
            assert!(is_segment_label(label), "{label}");
            let series: SeriesKey = SeriesKey::new("calls_total", [(label, "500")]);
            assert!(result_of(&series).is_none(), "{label}");
        }
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
            ("nv_inference_queue_duration_us", M::Utilisation),
            ("wiki_suggest_err", M::Errors),
            ("upstream_rq_total", M::Traffic),
            ("lb_responses_total", M::Traffic),
            ("empty_responses_total", M::Other),
            ("psp_nok_cnt", M::Errors),
            ("runtime_gc_seconds_total", M::Utilisation),
            (r#"log_messages_total{level="error"}"#, M::Logs),
            ("log_exceptions_total", M::Errors),
            ("app_crashes_total", M::Crashes),
            ("client_fatal_errors_total", M::Crashes),
            ("ui_freezes_total", M::Crashes),
            ("OutOfMemoryErrors", M::Errors),
            (r#"cache_requests_total{result="miss"}"#, M::Cache { hit: false }),
            (r#"server_cache_total{status="expired"}"#, M::Cache { hit: false }),
            (r#"server_cache_total{status="hit"}"#, M::Cache { hit: true }),
            ("node_network_receive_bytes_total", M::Other),
        ] {
            assert_eq!(counter_meaning(&series(text)), expected, "{text}");
        }
    }

    #[test]
    fn gauges_of_many_makes_are_understood() {
        use BadWhen::{Either, Higher, Lower};
        use SignalClass as C;
        for (name, class, bad) in [
            ("app:qps", C::Traffic, Lower),
            ("route:request_rate:sum", C::Traffic, Lower),
            ("job:http_requests:rate5m", C::Traffic, Lower),
            ("requests_per_second", C::Traffic, Lower),
            ("throughput", C::Traffic, Lower),
            ("nodejs_heap_space_size_available_bytes", C::Other, Either),
            ("orders_per_minute", C::Business, Lower),
            ("errors_per_second", C::Errors, Higher),
            ("http_requests_5xx_per_second", C::Errors, Higher),
            ("http_5xx", C::Errors, Higher),
            ("job:request_errors:ratio_rate5m", C::Errors, Higher),
            ("success_rate", C::Errors, Lower),
            ("availability", C::Errors, Lower),
            ("apdex", C::Errors, Lower),
            ("crash_free_sessions_ratio", C::Errors, Lower),
            ("payment_success_ratio", C::Errors, Lower),
            ("anr_rate", C::Errors, Higher),
            ("white_screen_rate", C::Errors, Higher),
            ("http_p99", C::Latency, Higher),
            ("service_rt_p99", C::Latency, Higher),
            ("tp999", C::Latency, Higher),
            ("avg_rt", C::Latency, Higher),
            ("latency_max_ms", C::Latency, Higher),
            ("replication_lag_seconds", C::Latency, Higher),
            ("kafka_consumergroup_lag", C::Saturation, Higher),
            ("kafka_consumer_fetch_manager_records_lag_max", C::Saturation, Higher),
            ("requests_in_progress", C::Saturation, Higher),
            ("process_files_open_files", C::Saturation, Higher),
            ("nodejs_active_handles_total", C::Saturation, Higher),
            ("process_working_set_bytes", C::Saturation, Higher),
            ("dotnet_total_memory_bytes", C::Saturation, Higher),
            ("instance:memory_bytes:max", C::Saturation, Higher),
            ("system_load_average_1m", C::Saturation, Higher),
            ("jvm_classes_loaded", C::Other, Either),
            ("node_memory_MemTotal_bytes", C::Other, Either),
            ("unacked", C::Saturation, Higher),
            ("iowait", C::Saturation, Higher),
            ("fps", C::Saturation, Lower),
            ("node_memory_MemAvailable_bytes", C::Saturation, Lower),
            ("request_timeout_seconds", C::Other, Either),
            ("http_max_connections", C::Other, Either),
            ("temperature_celsius", C::Other, Either),
        ] {
            let (found, way, _) = gauge_meaning(name, None);
            assert_eq!((found, way), (class, bad), "{name}");
        }
    }

    #[test]
    fn counters_of_many_makes_are_understood() {
        use CounterMeaning as M;
        for (text, expected) in [
            ("http_5xx_total", M::Errors),
            ("status_500_total", M::Errors),
            ("http_2xx_total", M::Traffic),
            ("http_4xx_total", M::Other),
            ("hits_total", M::Traffic),
            ("redis_keyspace_hits_total", M::Cache { hit: true }),
            ("served_total", M::Traffic),
            ("nodejs_http_requests_total", M::Traffic),
            ("pg_stat_database_xact_commit", M::Traffic),
            ("pg_stat_database_xact_rollback", M::Errors),
            ("pg_stat_database_deadlocks", M::Errors),
            ("dlq_messages_total", M::Errors),
            ("dead_letter_messages_total", M::Errors),
            ("phpfpm_slow_requests", M::Other),
            ("documents_retrieved_total", M::Other),
            ("retries_total", M::Errors),
            ("cache_errors_total", M::Errors),
            ("cache_evictions_total", M::Other),
            (r#"sentry_events{error_type="KeyError"}"#, M::Errors),
            (r#"sentry_events{level="error"}"#, M::Logs),
            (r#"requests_total{exception="None"}"#, M::Traffic),
            (r#"requests_total{error_code="0"}"#, M::Traffic),
            ("process_major_page_faults_total", M::Other),
            ("container_cpu_cfs_throttled_seconds_total", M::Utilisation),
            ("container_cpu_cfs_throttled_periods_total", M::Other),
            ("node_netstat_Tcp_RetransSegs", M::Other),
            ("between_runs_total", M::Other),
            ("haproxy_server_redispatch_warnings_total", M::Errors),
            ("bets_placed_total", M::Business),
            ("player_moves_total", M::Other),
            ("video_plays_total", M::Business),
        ] {
            assert_eq!(counter_meaning(&series(text)), expected, "{text}");
        }
    }

    #[test]
    fn results_by_other_words_are_read_by_their_stems() {
        use ResultValue::{Bad, Good};
        for (text, expected) in [
            (r#"a{kind="failed_with_retry"}"#, Some(Bad)),
            (r#"a{kind="successful_without_retry"}"#, Some(Good)),
            (r#"a{kind="counter"}"#, None),
            (r#"errors_total{kind="timeout"}"#, None),
            (r#"a{result="ConnectionError"}"#, Some(Bad)),
            (r#"a{outcome="no_error"}"#, Some(Good)),
            (r#"a{ret_code="0"}"#, Some(Good)),
            (r#"a{ret_code="10021"}"#, Some(Bad)),
            (r#"a{exit_code="137"}"#, Some(Bad)),
            (r#"a{http_code="502"}"#, Some(Bad)),
            (r#"a{status="paid"}"#, Some(Good)),
        ] {
            assert_eq!(result_of(&series(text)).map(|(_, v)| v), expected, "{text}");
        }
    }

    #[test]
    fn what_is_created_or_starts_is_not_taken_for_the_scrape_or_the_process() {
        assert!(!is_about_the_scrape("orders_created_total"));
        assert!(is_about_the_scrape("http_requests_created"));
        for name in
            ["scrape_duration_seconds", "promhttp_metric_handler_requests_total", "go_info", "config_hash"]
        {
            assert!(is_about_the_scrape(name), "{name}");
        }
        for name in [
            "promhttp_request_seconds_sum",
            "scrape_jobs_total",
            "user_info_requests_total",
            "latency_last_5m_ms",
        ] {
            assert!(!is_about_the_scrape(name), "{name}");
        }
        assert!(!is_start_time("app_start_time_seconds_bucket"));
        assert!(is_start_time("process_start_time_seconds"));
        assert!(is_uptime("process_uptime_seconds") && is_uptime("java_lang_Runtime_Uptime"));
        assert!(!is_uptime("mesh_peer_uptime_seconds"));
    }

    #[test]
    fn durations_are_known_in_every_unit() {
        for (name, unit) in [
            ("handler_us", Unit::Microseconds),
            ("http_request_microseconds", Unit::Microseconds),
            ("handler_nanos", Unit::Nanoseconds),
            ("rpc_duration_ms", Unit::Milliseconds),
            ("celery_task_runtime", Unit::Count),
            ("rt", Unit::Count),
        ] {
            assert!(is_latency(name), "{name}");
            assert_eq!(unit_of(name, None), unit, "{name}");
        }
        assert!(!is_latency("http_response_size_bytes"));
        assert!(!is_latency("batch_size"));
        assert_eq!(unit_of("requests_per_second", None), Unit::PerSecond);
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

//! What one series adds to which signals, by its type, name and labels.

use super::super::names::{self, CounterMeaning, LogLevel, ResultValue};
use super::super::{BadWhen, SignalClass, Unit};
use super::Catalogue;
use super::def::{Draft, Feed, Role, Shape, SignalId};
use crate::domain::{MetricKind, SeriesKey};

impl Catalogue {
    pub(super) fn describe(&mut self, series: &SeriesKey) -> Vec<Feed> {
        let name = series.name();
        let mut feeds = Vec::new();
        if names::is_start_time(name) {
            feeds.push(Feed { signal: SignalId(0), role: Role::StartTime });
            return feeds;
        }
        if names::is_uptime(name) {
            feeds.push(Feed { signal: SignalId(0), role: Role::Uptime });
            return feeds;
        }
        if names::is_about_the_scrape(name) {
            return feeds;
        }
        for (suffix, part) in [("_bucket", Part::Bucket), ("_count", Part::Count), ("_sum", Part::Sum)] {
            let Some(family) = name.strip_suffix(suffix) else { continue };
            let declared = self.kinds.get(family).map(|k| k.0);
            let bucket_without_type = part == Part::Bucket && series.label("le").is_some();
            if matches!(declared, Some(MetricKind::Histogram | MetricKind::Summary))
                || (declared.is_none() && bucket_without_type)
            {
                self.describe_distribution(series, family, part, &mut feeds);
                return feeds;
            }
            let parts_alone = matches!(self.kinds.get(name), None | Some((MetricKind::Counter, _)));
            if declared.is_none() && parts_alone && names::is_latency(family) {
                // Untyped sources: a sum or count of something that lasts.
                self.describe_distribution(series, family, part, &mut feeds);
                return feeds;
            }
        }
        if series.label("quantile").is_some() {
            self.describe_quantile(series, &mut feeds);
            return feeds;
        }
        match self.kind_of(name) {
            MetricKind::Counter => self.describe_counter(series, &mut feeds),
            _ => self.describe_gauge(series, &mut feeds),
        }
        feeds
    }

    fn kind_of(&self, name: &str) -> MetricKind {
        let declared = self.kinds.get(name).or_else(|| self.kinds.get(name.strip_suffix("_total")?));
        match declared.map(|k| k.0) {
            Some(kind) => kind,
            None if name.ends_with("_total") || name.ends_with("_count") || name.ends_with("_sum") => {
                MetricKind::Counter
            }
            None => MetricKind::Gauge,
        }
    }

    fn describe_counter(&mut self, series: &SeriesKey, feeds: &mut Vec<Feed>) {
        let meaning = names::counter_meaning(series);
        let metric = series.name().to_owned();
        match meaning {
            CounterMeaning::Cache { hit } => {
                let root = metric
                    .replace("_hits", "")
                    .replace("_misses", "")
                    .replace("_hit", "")
                    .replace("_miss", "");
                let def = Draft::new(
                    "miss ratio of",
                    SignalClass::Saturation,
                    Unit::Ratio,
                    BadWhen::Higher,
                    Shape::Ratio,
                )
                .warms();
                self.feed(
                    &root,
                    None,
                    "misses",
                    &def,
                    if hit { Role::Denominator } else { Role::Both },
                    feeds,
                );
                return;
            }
            CounterMeaning::Utilisation => {
                if series
                    .label("mode")
                    .or_else(|| series.label("state"))
                    .is_some_and(|m| matches!(m, "idle" | "iowait" | "steal"))
                {
                    return;
                }
                // Seconds of each second are a share of the time.
                let unit = match names::unit_of(&metric, None) {
                    Unit::Milliseconds | Unit::Microseconds | Unit::Nanoseconds => Unit::PerSecond,
                    _ => Unit::Ratio,
                };
                let def = Draft::new("", SignalClass::Saturation, unit, BadWhen::Higher, Shape::Rate).warms();
                self.feed(&metric, None, "use", &def, Role::PerSecond, feeds);
                return;
            }
            CounterMeaning::Logs => {
                if names::log_level_of(series) == Some(LogLevel::Error) {
                    let def = Draft::new(
                        "error lines of",
                        SignalClass::Logs,
                        Unit::PerSecond,
                        BadWhen::Higher,
                        Shape::Rate,
                    )
                    .by_traffic();
                    self.feed(&metric, None, "lines", &def, Role::PerSecond, feeds);
                }
                return;
            }
            CounterMeaning::Errors | CounterMeaning::Crashes if names::result_of(series).is_none() => {
                let class = if meaning == CounterMeaning::Crashes {
                    SignalClass::Health
                } else {
                    SignalClass::Errors
                };
                let class = if names::has_word(&metric, &["log", "logs", "exceptions"]) {
                    SignalClass::Logs
                } else {
                    class
                };
                let def =
                    Draft::new("rate of", class, Unit::PerSecond, BadWhen::Higher, Shape::Rate).by_traffic();
                self.feed_with_segments(series, &metric, "errors", &def, Role::PerSecond, feeds);
                return;
            }
            CounterMeaning::Errors
            | CounterMeaning::Crashes
            | CounterMeaning::Traffic
            | CounterMeaning::Business
            | CounterMeaning::Other => {}
        }
        if names::is_outgoing(&metric) && names::is_call(&metric) {
            self.feed(&metric, None, "calls", &calls(), Role::PerSecond, feeds);
        }
        if let Some((_, value)) = names::result_of(series) {
            self.describe_results(series, &metric, value, meaning == CounterMeaning::Business, feeds);
            return;
        }
        match meaning {
            CounterMeaning::Business => {
                let def = Draft::new(
                    "rate of",
                    SignalClass::Business,
                    Unit::PerSecond,
                    BadWhen::Lower,
                    Shape::Rate,
                )
                .by_traffic();
                self.feed_with_segments(series, &metric, "business", &def, Role::PerSecond, feeds);
            }
            CounterMeaning::Traffic => {
                let calls = names::is_outgoing(&metric) && names::is_call(&metric);
                let def =
                    Draft::new("rate of", SignalClass::Traffic, Unit::PerSecond, BadWhen::Lower, Shape::Rate)
                        .outgoing(calls);
                self.feed(&metric, None, "traffic", &def, Role::PerSecond, feeds);
            }
            _ => {
                let unit = if metric.contains("bytes") { Unit::Bytes } else { Unit::PerSecond };
                let def =
                    Draft::new("rate of", SignalClass::Other, unit, BadWhen::Either, Shape::Rate).warms();
                self.feed(&metric, None, "other", &def, Role::PerSecond, feeds);
            }
        }
    }

    /// A family whose label says how each event ended: a ratio of the bad
    /// ones, and the good ones as traffic or business.
    fn describe_results(
        &mut self,
        series: &SeriesKey,
        metric: &str,
        value: ResultValue,
        business: bool,
        feeds: &mut Vec<Feed>,
    ) {
        let def =
            Draft::new("error ratio of", SignalClass::Errors, Unit::Ratio, BadWhen::Higher, Shape::Ratio)
                .outgoing(names::is_outgoing(metric));
        let role = match value {
            ResultValue::Good | ResultValue::Refused => Role::Denominator,
            ResultValue::Bad => Role::Both,
        };
        self.feed_with_segments(series, metric, "results", &def, role, feeds);
        if !names::is_outgoing(metric) && !business {
            // Callers err everywhere; far more of them on the new version only
            // means that it no longer takes what it took. Single routes and
            // tenants have bad callers of their own.
            let def = Draft::new(
                "refused ratio of",
                SignalClass::Errors,
                Unit::Ratio,
                BadWhen::Higher,
                Shape::Ratio,
            )
            .refusals();
            let role = match value {
                ResultValue::Good | ResultValue::Bad => Role::Denominator,
                ResultValue::Refused => Role::Both,
            };
            self.feed(metric, None, "refused", &def, role, feeds);
        }
        if business {
            if value == ResultValue::Good {
                let def = Draft::new(
                    "rate of good",
                    SignalClass::Business,
                    Unit::PerSecond,
                    BadWhen::Lower,
                    Shape::Rate,
                )
                .by_traffic();
                self.feed_with_segments(series, metric, "business", &def, Role::PerSecond, feeds);
            }
        } else if !names::is_outgoing(metric) {
            let def =
                Draft::new("rate of", SignalClass::Traffic, Unit::PerSecond, BadWhen::Lower, Shape::Rate);
            self.feed(metric, None, "traffic", &def, Role::PerSecond, feeds);
        }
    }

    fn describe_distribution(&mut self, series: &SeriesKey, family: &str, part: Part, feeds: &mut Vec<Feed>) {
        let latency = names::is_latency(family);
        let gc = names::has_word(family, &["gc", "pause"]);
        let outgoing = names::is_outgoing(family);
        let unit = match names::unit_of(family, None) {
            unit if latency && unit.per_second().is_none() => Unit::Seconds,
            unit => unit,
        };
        let (class, bad) = match (latency, gc) {
            (_, true) => (SignalClass::Saturation, BadWhen::Higher),
            (true, false) => (SignalClass::Latency, BadWhen::Higher),
            (false, false) => (SignalClass::Other, BadWhen::Either),
        };
        let mean = Draft::new("mean of", class, unit, bad, Shape::Mean).warms().outgoing(outgoing);
        match part {
            Part::Bucket => {
                let Some(bound) = series.label("le").and_then(parse_bound) else { return };
                if !latency || gc {
                    return;
                }
                let slow = Draft::new("slow share of", class, Unit::Ratio, bad, Shape::Slow)
                    .warms()
                    .outgoing(outgoing);
                if bound.is_finite() {
                    let from = feeds.len();
                    self.feed_with_segments(series, family, "slow", &slow, Role::Bucket(bound), feeds);
                    for feed in &feeds[from..] {
                        self.defs[feed.signal.index()].learn_bound(bound);
                    }
                } else {
                    self.feed_with_segments(series, family, "slow", &slow, Role::Denominator, feeds);
                }
            }
            Part::Sum => {
                self.feed_with_segments(series, family, "mean", &mean, Role::Numerator, feeds);
                if gc && unit == Unit::Seconds {
                    // Many short collections cost as much as a few long ones.
                    let share = Draft::new("time share of", class, Unit::Ratio, bad, Shape::Rate).warms();
                    self.feed(family, None, "use", &share, Role::PerSecond, feeds);
                }
            }
            Part::Count => {
                self.feed_with_segments(series, family, "mean", &mean, Role::Denominator, feeds);
                if gc || !latency {
                    return;
                }
                if outgoing {
                    self.feed(family, None, "calls", &calls(), Role::PerSecond, feeds);
                }
                if let Some((_, value)) = names::result_of(series) {
                    self.describe_results(series, family, value, false, feeds);
                } else if !outgoing {
                    let def = Draft::new(
                        "rate of",
                        SignalClass::Traffic,
                        Unit::PerSecond,
                        BadWhen::Lower,
                        Shape::Rate,
                    );
                    self.feed(family, None, "traffic", &def, Role::PerSecond, feeds);
                }
            }
        }
    }

    fn describe_quantile(&mut self, series: &SeriesKey, feeds: &mut Vec<Feed>) {
        let Some(quantile) = series.label("quantile").and_then(|q| q.parse::<f64>().ok()) else { return };
        if !(0.5..1.0).contains(&quantile)
            || !names::is_latency(series.name())
            || names::has_word(series.name(), &["gc", "pause"])
        {
            return;
        }
        // Quantiles cannot be summed, only averaged: what failed is as fast or
        // slow as it likes, and appears late in a young process.
        if names::result_of(series).is_some_and(|(_, value)| value != ResultValue::Good) {
            return;
        }
        let label = format!("p{} of", (quantile * 1000.0).round() / 10.0);
        let unit = Some(names::unit_of(series.name(), None)).filter(|unit| unit.per_second().is_some());
        let unit = unit.unwrap_or(Unit::Seconds);
        let def = Draft::new(&label, SignalClass::Latency, unit, BadWhen::Higher, Shape::Level).warms();
        let which = if quantile < 0.75 {
            "low quantile"
        } else if quantile < 0.97 {
            "high quantile"
        } else {
            "top quantile"
        };
        self.feed_with_segments(series, series.name(), which, &def, Role::LevelMean, feeds);
    }

    fn describe_gauge(&mut self, series: &SeriesKey, feeds: &mut Vec<Feed>) {
        let name = series.name();
        let declared = self.kinds.get(name).and_then(|k| k.1.clone());
        let (class, bad, unit) = names::gauge_meaning(name, declared.as_deref());
        let capacity = class == SignalClass::Other && names::is_setting(name);
        let mut def = Draft::new("", class, unit, bad, Shape::Level);
        // Address space that is reserved is not memory that is used, and the
        // slowest of all answers says nothing of the others.
        let slowest = class == SignalClass::Latency && names::has_word(name, &["max"]);
        def.informative = capacity
            || slowest
            || names::is_cache_content(name)
            || names::has_word(name, &["virtual", "vsize"]);
        def.fills = class == SignalClass::Saturation && bad == BadWhen::Higher && names::fills_with_age(name);
        def.collected = names::is_collected(name);
        if !matches!(class, SignalClass::Errors) {
            def = def.warms();
        }
        let role =
            if unit == Unit::Ratio || class == SignalClass::Latency { Role::LevelMean } else { Role::Level };
        if class == SignalClass::Other {
            self.feed(name, None, "level", &def, role, feeds);
        } else {
            self.feed_with_segments(series, name, "level", &def, role, feeds);
        }
    }
}

/// What a request costs those that are called for it: far more is a loop, a retry
/// or a cache that is asked in vain.
fn calls() -> Draft {
    Draft::new("calls of", SignalClass::Saturation, Unit::PerSecond, BadWhen::Higher, Shape::Rate)
        .by_traffic()
        .outgoing(true)
        .warms()
}

pub(super) fn parse_bound(text: &str) -> Option<f64> {
    if text == "+Inf" { Some(f64::INFINITY) } else { text.parse().ok() }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Bucket,
    Sum,
    Count,
}

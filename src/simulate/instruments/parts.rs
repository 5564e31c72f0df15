//! The bricks of instruments: counters, levels, histograms, quantiles; and
//! pools and caches made of them.

use std::sync::Arc;

use crate::domain::{MetricFamily, MetricKind, Sample, SeriesKey};

use super::super::machine::{Latency, Tick};
use super::super::random::Dice;
use super::super::service::Service;
use super::{Aspect, Instrument, Panel};

pub(super) type Labels<'a> = &'a [(&'a str, &'a str)];

pub(super) fn family(name: &str, kind: MetricKind) -> MetricFamily {
    MetricFamily { name: name.to_owned(), kind, unit: None, help: None }
}

/// A cumulative counter. Lazy ones appear with their first event, as label
/// combinations do in most client libraries.
#[derive(Clone, Debug)]
pub(super) struct Count {
    series: Arc<SeriesKey>,
    value: f64,
    lazy: bool,
}

impl Count {
    pub(super) fn new(name: &str, labels: Labels<'_>, lazy: bool) -> Self {
        Self { series: Arc::new(SeriesKey::new(name, labels.iter().copied())), value: 0.0, lazy }
    }

    pub(super) fn add(&mut self, events: f64) {
        self.value += events;
    }

    pub(super) fn restart(&mut self) {
        self.value = 0.0;
    }

    pub(super) fn expose(&self, page: &mut Vec<Sample>) {
        if !self.lazy || self.value > 0.0 {
            page.push(Sample { series: self.series.clone(), value: self.value });
        }
    }
}

/// A gauge.
#[derive(Clone, Debug)]
pub(super) struct Level(Arc<SeriesKey>);

impl Level {
    pub(super) fn new(name: &str, labels: Labels<'_>) -> Self {
        Self(Arc::new(SeriesKey::new(name, labels.iter().copied())))
    }

    pub(super) fn expose(&self, value: f64, page: &mut Vec<Sample>) {
        page.push(Sample { series: self.0.clone(), value });
    }
}

/// Upper bounds in seconds, as found in the defaults of many libraries.
const LAYOUTS: &[&[f64]] = &[
    &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0],
    &[0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0],
    &[0.1, 0.3, 1.2, 5.0],
    &[0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.024, 2.048, 4.096],
    &[0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0],
    &[0.01, 0.1, 0.5, 1.0, 3.0, 10.0, 30.0],
    &[0.0005, 0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 100.0],
    &[0.003, 0.03, 0.1, 0.3, 1.5, 10.0],
    &[0.02, 0.04, 0.06, 0.08, 0.1, 0.15, 0.2, 0.3, 0.4, 0.6, 0.8, 1.0, 1.5, 2.0, 3.0],
];

/// How bucket bounds and units are written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Writing {
    /// Units in a second: 1, or 1000 for milliseconds.
    pub(super) per_second: f64,
    /// `1.0` instead of `1`.
    pub(super) with_point: bool,
    layout: &'static [f64],
}

impl Writing {
    /// Draws a layout in which latencies of about so many seconds show.
    pub(super) fn draw(per_second: f64, typical_seconds: f64, dice: &mut Dice) -> Self {
        let fits = |layout: &&&[f64]| {
            layout.iter().filter(|b| typical_seconds * 0.2 < **b && **b < typical_seconds * 30.0).count() >= 3
        };
        let fitting: Vec<&&[f64]> = LAYOUTS.iter().filter(fits).collect();
        let layout = if fitting.is_empty() { LAYOUTS[6] } else { *dice.pick(&fitting) };
        Self { per_second, with_point: dice.chance(0.4), layout }
    }

    fn bound(&self, seconds: f64) -> String {
        let value = (seconds * self.per_second * 1e6).round() / 1e6;
        if self.with_point && value.fract() == 0.0 { format!("{value:.1}") } else { format!("{value}") }
    }
}

/// A cumulative histogram.
#[derive(Clone, Debug)]
pub(super) struct Histogram {
    writing: Writing,
    buckets: Vec<(f64, Arc<SeriesKey>, f64)>,
    infinite: Arc<SeriesKey>,
    sum: Arc<SeriesKey>,
    count: Arc<SeriesKey>,
    total: f64,
    seconds: f64,
    lazy: bool,
}

impl Histogram {
    pub(super) fn new(name: &str, labels: Labels<'_>, writing: Writing, lazy: bool) -> Self {
        let key = |suffix: &str, bound: Option<&str>| {
            let bound = bound.map(|bound| ("le", bound));
            let labels = labels.iter().copied().chain(bound);
            Arc::new(SeriesKey::new(&format!("{name}{suffix}"), labels))
        };
        let bounds = writing.layout.iter();
        let buckets =
            bounds.map(|bound| (*bound, key("_bucket", Some(&writing.bound(*bound))), 0.0)).collect();
        let infinite = key("_bucket", Some("+Inf"));
        let (sum, count) = (key("_sum", None), key("_count", None));
        Self { writing, buckets, infinite, sum, count, total: 0.0, seconds: 0.0, lazy }
    }

    /// Adds requests of one latency.
    pub(super) fn add(&mut self, requests: f64, latency: &Latency, dice: &mut Dice) {
        if requests <= 0.0 {
            return;
        }
        let (mut left, mut below, mut cumulated) = (requests, 0.0, 0.0);
        for (bound, _, value) in &mut self.buckets {
            if left > 0.0 {
                let within = latency.within(*bound).max(below);
                let share =
                    if below < 1.0 { ((within - below) / (1.0 - below)).clamp(0.0, 1.0) } else { 1.0 };
                let here = dice.binomial(left, share);
                left -= here;
                cumulated += here;
                below = within;
            }
            *value += cumulated;
        }
        self.total += requests;
        let noise = dice.factor((latency.spread / requests.sqrt()).min(0.5));
        self.seconds += requests * latency.mean() * noise;
    }

    pub(super) fn restart(&mut self) {
        for bucket in &mut self.buckets {
            bucket.2 = 0.0;
        }
        (self.total, self.seconds) = (0.0, 0.0);
    }

    pub(super) fn expose(&self, page: &mut Vec<Sample>) {
        if self.lazy && self.total == 0.0 {
            return;
        }
        for (_, series, value) in &self.buckets {
            page.push(Sample { series: series.clone(), value: *value });
        }
        page.push(Sample { series: self.infinite.clone(), value: self.total });
        page.push(Sample { series: self.sum.clone(), value: self.seconds * self.writing.per_second });
        page.push(Sample { series: self.count.clone(), value: self.total });
    }
}

/// Quantiles over a sliding time, with sum and count.
#[derive(Clone, Debug)]
pub(super) struct Summary {
    quantiles: Vec<(f64, Arc<SeriesKey>, f64)>,
    sum: Arc<SeriesKey>,
    count: Arc<SeriesKey>,
    total: f64,
    seconds: f64,
    per_second: f64,
    /// How long a request is remembered in the quantiles.
    memory_seconds: f64,
}

impl Summary {
    pub(super) fn new(
        name: &str,
        labels: Labels<'_>,
        quantiles: &[f64],
        per_second: f64,
        memory_seconds: f64,
    ) -> Self {
        let key = |suffix: &str, quantile: Option<&str>| {
            let quantile = quantile.map(|quantile| ("quantile", quantile));
            Arc::new(SeriesKey::new(&format!("{name}{suffix}"), labels.iter().copied().chain(quantile)))
        };
        Self {
            quantiles: quantiles.iter().map(|q| (*q, key("", Some(&q.to_string())), f64::NAN)).collect(),
            sum: key("_sum", None),
            count: key("_count", None),
            total: 0.0,
            seconds: 0.0,
            per_second,
            memory_seconds,
        }
    }

    pub(super) fn add(&mut self, requests: f64, latency: &Latency, elapsed: f64, dice: &mut Dice) {
        if requests <= 0.0 {
            return;
        }
        let fresh = (1.0 - (-elapsed / self.memory_seconds).exp()).max(0.02);
        for (quantile, _, value) in &mut self.quantiles {
            let beyond = (requests * (1.0 - *quantile)).max(0.3);
            let noise = dice.factor((latency.spread / beyond.sqrt()).min(0.6) * 0.7);
            let now = latency.quantile(*quantile) * noise;
            *value = if value.is_nan() { now } else { *value * (1.0 - fresh) + now * fresh };
        }
        self.total += requests;
        let noise = dice.factor((latency.spread / requests.sqrt()).min(0.5));
        self.seconds += requests * latency.mean() * noise;
    }

    pub(super) fn restart(&mut self) {
        for quantile in &mut self.quantiles {
            quantile.2 = f64::NAN;
        }
        (self.total, self.seconds) = (0.0, 0.0);
    }

    pub(super) fn expose(&self, page: &mut Vec<Sample>) {
        for (_, series, value) in &self.quantiles {
            page.push(Sample { series: series.clone(), value: *value * self.per_second });
        }
        page.push(Sample { series: self.sum.clone(), value: self.seconds * self.per_second });
        page.push(Sample { series: self.count.clone(), value: self.total });
    }
}

/// What levels and counters of one reading are called.
pub(super) type Reading = fn(&Service, &Tick) -> f64;

/// Levels and counters that are read off a machine one by one.
#[derive(Clone, Default)]
pub(super) struct Readings {
    levels: Vec<(Level, Reading)>,
    counts: Vec<(Count, Reading)>,
    families: Vec<MetricFamily>,
    of_runtime: bool,
}

impl Readings {
    /// Readings that stay on a page that lost the application's own.
    pub(super) fn of_runtime() -> Self {
        Self { of_runtime: true, ..Self::default() }
    }

    pub(super) fn level(&mut self, name: &str, labels: Labels<'_>, reading: Reading) -> &mut Self {
        self.levels.push((Level::new(name, labels), reading));
        self.declare(name, MetricKind::Gauge)
    }

    pub(super) fn count(&mut self, name: &str, labels: Labels<'_>, reading: Reading) -> &mut Self {
        self.counts.push((Count::new(name, labels, false), reading));
        self.declare(name, MetricKind::Counter)
    }

    fn declare(&mut self, name: &str, kind: MetricKind) -> &mut Self {
        if self.families.iter().all(|family| family.name != name) {
            self.families.push(family(name, kind));
        }
        self
    }
}

impl Instrument for Readings {
    fn families(&self, out: &mut Vec<MetricFamily>) {
        out.extend(self.families.iter().cloned());
    }

    fn expose(&mut self, service: &Service, tick: &Tick, _dice: &mut Dice, page: &mut Vec<Sample>) {
        for (level, reading) in &self.levels {
            level.expose(reading(service, tick), page);
        }
        for (count, reading) in &mut self.counts {
            count.add(reading(service, tick).max(0.0));
            count.expose(page);
        }
    }

    fn restart(&mut self) {
        for (count, _) in &mut self.counts {
            count.restart();
        }
    }

    fn copy(&self) -> Box<dyn Instrument> {
        Box::new(self.clone())
    }

    fn of_application(&self) -> bool {
        !self.of_runtime
    }
}

pub(super) fn draw_cache(panel: &mut Panel, _service: &Service, dice: &mut Dice) {
    let mut readings = Readings::default();
    match dice.whole(0, 4) {
        0 => {
            readings.count("cache_hits_total", &[], |_, t| t.cache_hits);
            readings.count("cache_misses_total", &[], |_, t| t.cache_misses);
        }
        1 => {
            let labels = |result| [("cache", "objects"), ("result", result)];
            readings.count("cache_requests_total", &labels("hit"), |_, t| t.cache_hits);
            readings.count("cache_requests_total", &labels("miss"), |_, t| t.cache_misses);
        }
        2 => {
            let labels = |result| [("cache", "byId"), ("name", "byId"), ("result", result)];
            readings.count("cache_gets_total", &labels("hit"), |_, t| t.cache_hits);
            readings.count("cache_gets_total", &labels("miss"), |_, t| t.cache_misses);
            readings.level("cache_size", &[("cache", "byId")], |_, t| 5_000.0 * filled(t, 300.0));
        }
        3 => {
            readings.level("cache_hit_ratio", &[], |_, t| {
                let all = t.cache_hits + t.cache_misses;
                if all > 0.0 { t.cache_hits / all } else { 0.0 }
            });
            readings.level("cache_entries", &[], |_, t| (20_000.0 * filled(t, 600.0)).round());
        }
        _ => {
            readings.count("lru_cache_lookup_hits", &[("name", "hot")], |_, t| t.cache_hits);
            readings.count("lru_cache_lookup_misses", &[("name", "hot")], |_, t| t.cache_misses);
        }
    }
    panel.add(readings, &[Aspect::Cache]);
}

/// How full something is that a process fills from its start.
fn filled(tick: &Tick, seconds: f64) -> f64 {
    1.0 - (-(tick.at - tick.began_at).max(0.0) / seconds).exp()
}

pub(super) fn draw_pool(panel: &mut Panel, _service: &Service, dice: &mut Dice) {
    let mut readings = Readings::default();
    let idle: Reading = |s, t| (s.pool_size - t.pool_used).max(0.0);
    match dice.whole(0, 4) {
        0 => {
            let pool: Labels<'_> = &[("pool", "HikariPool-1")];
            readings.level("hikaricp_connections_active", pool, |_, t| t.pool_used);
            readings.level("hikaricp_connections_idle", pool, idle);
            readings.level("hikaricp_connections_pending", pool, |_, t| t.pool_waiting);
            readings.level("hikaricp_connections_max", pool, |s, _| s.pool_size);
            readings.level("hikaricp_connections", pool, |s, _| s.pool_size);
            readings.count("hikaricp_connections_timeout_total", pool, |s, t| {
                (t.pool_waiting - s.pool_size).max(0.0).round()
            });
        }
        1 => {
            let db: Labels<'_> = &[("db_name", "main")];
            readings.level("go_sql_in_use_connections", db, |_, t| t.pool_used);
            readings.level("go_sql_idle_connections", db, idle);
            readings.level("go_sql_max_open_connections", db, |s, _| s.pool_size);
            readings.count("go_sql_wait_count_total", db, |_, t| t.pool_waiting);
            readings.count("go_sql_wait_duration_seconds_total", db, |_, t| {
                t.pool_waiting * 0.05 * t.condition.pool_hold
            });
        }
        2 => {
            let state = |state| [("pool_name", "db"), ("state", state)];
            readings.level("db_client_connections_usage", &state("used"), |_, t| t.pool_used);
            readings.level("db_client_connections_usage", &state("idle"), idle);
            readings.level("db_client_connections_pending_requests", &[("pool_name", "db")], |_, t| {
                t.pool_waiting
            });
        }
        3 => {
            readings.level("db_pool_used", &[], |_, t| t.pool_used);
            readings.level("db_pool_free", &[], idle);
            readings.level("db_pool_waiters", &[], |_, t| t.pool_waiting);
        }
        _ => {
            readings.level("connection_pool_utilization", &[], |s, t| t.pool_used / s.pool_size);
            readings.level("connection_pool_queue_length", &[], |_, t| t.pool_waiting);
        }
    }
    panel.add(readings, &[Aspect::Pool]);
}

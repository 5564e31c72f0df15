//! Which signals an application has: found by itself from types, names and
//! labels, then named, directed, weighed or muted by settings.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::names::{self, CounterMeaning, LogLevel, ResultValue};
use super::{BadWhen, SignalClass, Unit};
use crate::domain::{MetricFamily, MetricKind, SeriesKey};

/// Most values of one label that are judged on their own; more would spend
/// the error budget on segments too small to tell anything.
const SEGMENT_VALUES_MAX: usize = 12;

/// Most signals of one application. What is beyond is reported, not judged.
const SIGNALS_MAX: usize = 4_000;

/// The place of a signal in its catalogue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SignalId(pub u32);

impl SignalId {
    /// As an index.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// How a signal's value comes from its two columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shape {
    /// Bad events over all events: binomial.
    Ratio,
    /// Events over seconds, or over the main traffic: Poisson.
    Rate,
    /// A sum over a count: no distribution is assumed.
    Mean,
    /// A level that was sampled.
    Level,
    /// Observations above one of a histogram's bounds over all observations:
    /// binomial. The bound is chosen when a release begins.
    Slow,
}

/// One signal of an application.
#[derive(Clone, Debug, PartialEq)]
pub struct SignalDef {
    /// For people: `error ratio of http_requests_total path=/cart`.
    pub name: String,
    /// The metric that it comes from.
    pub metric: String,
    /// The label value that it is limited to.
    pub segment: Option<(String, String)>,
    /// What it is about.
    pub class: SignalClass,
    /// The unit of its values.
    pub unit: Unit,
    /// Which way is bad.
    pub bad_when: BadWhen,
    /// How its value comes about.
    pub shape: Shape,
    /// Counted against the main traffic where there is one, so that a changed
    /// share of the traffic moves nothing.
    pub by_traffic: bool,
    /// Filling caches, compilers and memory move it in a young process.
    pub warms: bool,
    /// Starts lower in a young process and climbs in health.
    pub fills: bool,
    /// Whether the segment names a kind of error: a new one is evidence.
    pub error_kind: bool,
    /// A level that settings show to be a configuration or a content.
    pub informative: bool,
    /// Whose calls: the process's own, to others.
    pub outgoing: bool,
    /// From settings; 1 unless said. Divides the thresholds.
    pub weight: f64,
    /// From settings: not judged.
    pub muted: bool,
    /// Bounds of the histogram behind a `Slow` signal, ascending, in the
    /// metric's own unit.
    pub bounds: Vec<f64>,
}

/// What one series adds to one signal.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Role {
    /// Increments are events of the numerator.
    Numerator,
    /// Increments are events of the denominator.
    Denominator,
    /// Both: a bad event is an event.
    Both,
    /// Increments add to the numerator, time to the denominator.
    PerSecond,
    /// Values are levels; series of one scrape add up.
    Level,
    /// Values are levels; series of one scrape are averaged.
    LevelMean,
    /// Increments are observations up to this bound.
    Bucket(f64),
    /// The start time of the process.
    StartTime,
}

/// One series' part in one signal.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Feed {
    /// Which signal.
    pub signal: SignalId,
    /// In which role.
    pub role: Role,
}

/// What settings say of signals. The first that matches counts.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct SignalOverride {
    /// The metric's name, exact or with a trailing `*`.
    pub metric: String,
    /// Label values that the signal's segment must have.
    pub labels: BTreeMap<String, String>,
    /// Another name for people.
    pub name: Option<String>,
    /// Another class.
    pub class: Option<SignalClass>,
    /// Another bad direction.
    pub bad_when: Option<BadWhen>,
    /// Another unit.
    pub unit: Option<Unit>,
    /// How much it counts: 2 halves the deviation that is needed.
    pub weight: Option<f64>,
    /// Not judged.
    pub mute: bool,
}

impl SignalOverride {
    fn matches(&self, def: &SignalDef) -> bool {
        let metric = match self.metric.strip_suffix('*') {
            Some(stem) => def.metric.starts_with(stem),
            None => def.metric == self.metric,
        };
        metric
            && self
                .labels
                .iter()
                .all(|(k, v)| def.segment.as_ref().is_some_and(|(sk, sv)| sk == k && sv == v))
    }
}

/// The signals of one application, growing as series appear.
#[derive(Clone, Debug, Default)]
pub struct Catalogue {
    defs: Vec<SignalDef>,
    by_key: HashMap<(String, &'static str, Option<(String, String)>), SignalId>,
    segment_values: HashMap<(String, String), BTreeSet<String>>,
    feeds: HashMap<Arc<SeriesKey>, Arc<[Feed]>>,
    kinds: HashMap<String, (MetricKind, Option<String>)>,
    overrides: Vec<SignalOverride>,
    dropped: u32,
}

impl Catalogue {
    /// An empty catalogue with what settings say.
    pub fn new(overrides: Vec<SignalOverride>) -> Self {
        Self { overrides, ..Self::default() }
    }

    /// All signals found so far.
    pub fn signals(&self) -> impl Iterator<Item = (SignalId, &SignalDef)> {
        self.defs.iter().enumerate().map(|(i, def)| (SignalId(i as u32), def))
    }

    /// One signal.
    pub fn signal(&self, id: SignalId) -> &SignalDef {
        &self.defs[id.index()]
    }

    /// How many signals were not taken because there were too many.
    pub fn dropped(&self) -> u32 {
        self.dropped
    }

    /// How many values a segment's label has; a segment alone in its label is
    /// the whole again.
    pub fn segment_count(&self, def: &SignalDef) -> usize {
        def.segment
            .as_ref()
            .and_then(|(label, _)| self.segment_values.get(&(def.metric.clone(), label.clone())))
            .map_or(0, BTreeSet::len)
    }

    /// Takes what a target declares of its metrics.
    pub fn learn_families(&mut self, families: &[MetricFamily]) {
        for family in families {
            if family.kind != MetricKind::Unknown {
                self.kinds.insert(family.name.clone(), (family.kind, family.unit.clone()));
            }
        }
    }

    /// What a series adds to which signals; found at its first appearance.
    pub fn feeds(&mut self, series: &Arc<SeriesKey>) -> Arc<[Feed]> {
        if let Some(feeds) = self.feeds.get(series) {
            return feeds.clone();
        }
        let feeds: Arc<[Feed]> = self.describe(series).into();
        self.feeds.insert(series.clone(), feeds.clone());
        feeds
    }

    fn describe(&mut self, series: &SeriesKey) -> Vec<Feed> {
        let name = series.name();
        let mut feeds = Vec::new();
        if names::is_start_time(name) {
            feeds.push(Feed { signal: SignalId(0), role: Role::StartTime });
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
            if declared.is_none() && !self.kinds.contains_key(name) && names::is_latency(family) {
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
                let def = Draft::new("", SignalClass::Saturation, Unit::Ratio, BadWhen::Higher, Shape::Rate)
                    .warms();
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
                let def =
                    Draft::new("rate of", SignalClass::Traffic, Unit::PerSecond, BadWhen::Lower, Shape::Rate);
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
            ResultValue::Good => Role::Denominator,
            ResultValue::Bad => Role::Both,
        };
        self.feed_with_segments(series, metric, "results", &def, role, feeds);
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
        let unit = if latency { Unit::Seconds } else { names::unit_of(family, None) };
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
                        let bounds = &mut self.defs[feed.signal.index()].bounds;
                        if let Err(at) = bounds.binary_search_by(|b| b.total_cmp(&bound)) {
                            bounds.insert(at, bound);
                        }
                    }
                } else {
                    self.feed_with_segments(series, family, "slow", &slow, Role::Denominator, feeds);
                }
            }
            Part::Sum => self.feed_with_segments(series, family, "mean", &mean, Role::Numerator, feeds),
            Part::Count => {
                self.feed_with_segments(series, family, "mean", &mean, Role::Denominator, feeds);
                if gc || !latency {
                    return;
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
        let label = format!("p{} of", (quantile * 1000.0).round() / 10.0);
        let def =
            Draft::new(&label, SignalClass::Latency, Unit::Seconds, BadWhen::Higher, Shape::Level).warms();
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
        let capacity = class == SignalClass::Other
            && names::has_word(name, &["size", "max", "limit", "capacity", "configured", "min", "committed"]);
        let mut def = Draft::new("", class, unit, bad, Shape::Level);
        def.informative = capacity || names::is_cache_content(name);
        def.fills = names::fills_with_age(name);
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

    fn feed_with_segments(
        &mut self,
        series: &SeriesKey,
        metric: &str,
        part: &'static str,
        draft: &Draft,
        role: Role,
        feeds: &mut Vec<Feed>,
    ) {
        self.feed(metric, None, part, draft, role, feeds);
        let error_kind = names::error_kind_of(series).map(|(label, _)| label);
        for (label, value) in series.labels() {
            if !names::is_segment_label(label) {
                continue;
            }
            let values = self.segment_values.entry((metric.to_owned(), label.to_owned())).or_default();
            if !values.contains(value) {
                if values.len() >= SEGMENT_VALUES_MAX {
                    self.dropped += 1;
                    continue;
                }
                values.insert(value.to_owned());
            }
            let kind =
                error_kind == Some(label) && matches!(draft.class, SignalClass::Errors | SignalClass::Logs);
            let mut draft = draft.clone();
            draft.error_kind = kind;
            self.feed(metric, Some((label.to_owned(), value.to_owned())), part, &draft, role, feeds);
        }
    }

    fn feed(
        &mut self,
        metric: &str,
        segment: Option<(String, String)>,
        part: &'static str,
        draft: &Draft,
        role: Role,
        feeds: &mut Vec<Feed>,
    ) {
        let key = (metric.to_owned(), part, segment);
        let signal = match self.by_key.get(&key) {
            Some(id) => *id,
            None => {
                if self.defs.len() >= SIGNALS_MAX {
                    self.dropped += 1;
                    return;
                }
                let id = SignalId(self.defs.len() as u32);
                let mut def = draft.finish(metric, key.2.clone());
                if let Some(setting) = self.overrides.iter().find(|o| o.matches(&def)) {
                    apply(setting, &mut def);
                }
                self.defs.push(def);
                self.by_key.insert(key, id);
                id
            }
        };
        if !feeds.iter().any(|feed| feed.signal == signal && feed.role == role) {
            feeds.push(Feed { signal, role });
        }
    }
}

fn apply(setting: &SignalOverride, def: &mut SignalDef) {
    if let Some(name) = &setting.name {
        def.name.clone_from(name);
    }
    if let Some(class) = setting.class {
        def.class = class;
        def.informative = false;
    }
    if let Some(bad_when) = setting.bad_when {
        def.bad_when = bad_when;
        def.informative = false;
    }
    if let Some(unit) = setting.unit {
        def.unit = unit;
    }
    if let Some(weight) = setting.weight {
        def.weight = weight;
        def.informative = false;
    }
    def.muted = setting.mute;
}

fn parse_bound(text: &str) -> Option<f64> {
    if text == "+Inf" { Some(f64::INFINITY) } else { text.parse().ok() }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Bucket,
    Sum,
    Count,
}

#[derive(Clone)]
struct Draft {
    prefix: String,
    class: SignalClass,
    unit: Unit,
    bad_when: BadWhen,
    shape: Shape,
    by_traffic: bool,
    warms: bool,
    fills: bool,
    error_kind: bool,
    informative: bool,
    outgoing: bool,
}

impl Draft {
    fn new(prefix: &str, class: SignalClass, unit: Unit, bad_when: BadWhen, shape: Shape) -> Self {
        Self {
            prefix: prefix.to_owned(),
            class,
            unit,
            bad_when,
            shape,
            by_traffic: false,
            warms: false,
            fills: false,
            error_kind: false,
            informative: false,
            outgoing: false,
        }
    }

    fn by_traffic(mut self) -> Self {
        self.by_traffic = true;
        self
    }

    fn warms(mut self) -> Self {
        self.warms = true;
        self
    }

    fn outgoing(mut self, outgoing: bool) -> Self {
        self.outgoing = outgoing;
        self
    }

    fn finish(&self, metric: &str, segment: Option<(String, String)>) -> SignalDef {
        let mut name =
            if self.prefix.is_empty() { metric.to_owned() } else { format!("{} {metric}", self.prefix) };
        if let Some((label, value)) = &segment {
            name.push_str(&format!(" {label}={value}"));
        }
        SignalDef {
            name,
            metric: metric.to_owned(),
            segment,
            class: self.class,
            unit: self.unit,
            bad_when: self.bad_when,
            shape: self.shape,
            by_traffic: self.by_traffic,
            warms: self.warms,
            fills: self.fills,
            error_kind: self.error_kind,
            informative: self.informative,
            outgoing: self.outgoing,
            weight: 1.0,
            muted: false,
            bounds: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(series: &[&str], families: &[(&str, MetricKind)]) -> Vec<String> {
        let mut catalogue = Catalogue::default();
        let families: Vec<MetricFamily> = families
            .iter()
            .map(|(name, kind)| MetricFamily {
                name: (*name).to_owned(),
                kind: *kind,
                unit: None,
                help: None,
            })
            .collect();
        catalogue.learn_families(&families);
        for text in series {
            catalogue.feeds(&Arc::new(text.parse().unwrap()));
        }
        catalogue.signals().map(|(_, def)| def.name.clone()).collect()
    }

    #[test]
    fn a_request_counter_with_codes_gives_an_error_ratio_by_path_and_a_rate() {
        let names = found(
            &[r#"http_requests_total{code="200",path="/a"}"#, r#"http_requests_total{code="500",path="/b"}"#],
            &[],
        );
        assert_eq!(
            names,
            [
                "error ratio of http_requests_total",
                "error ratio of http_requests_total path=/a",
                "rate of http_requests_total",
                "error ratio of http_requests_total path=/b"
            ]
        );
    }

    #[test]
    fn a_histogram_gives_a_slow_share_a_mean_and_traffic() {
        let names = found(
            &[
                r#"rpc_seconds_bucket{le="0.1"}"#,
                r#"rpc_seconds_bucket{le="+Inf"}"#,
                "rpc_seconds_sum",
                "rpc_seconds_count",
            ],
            &[("rpc_seconds", MetricKind::Histogram)],
        );
        assert_eq!(names, ["slow share of rpc_seconds", "mean of rpc_seconds", "rate of rpc_seconds"]);
    }

    #[test]
    fn identity_and_scrape_series_are_not_judged() {
        assert!(
            found(&["app_build_info", "scrape_duration_seconds", "process_start_time_seconds"], &[])
                .is_empty()
        );
    }

    #[test]
    fn segments_are_bounded() {
        let series: Vec<String> =
            (0..100).map(|i| format!("http_requests_total{{code=\"200\",path=\"/{i}\"}}")).collect();
        let names = found(&series.iter().map(String::as_str).collect::<Vec<_>>(), &[]);
        assert_eq!(names.len(), 2 + SEGMENT_VALUES_MAX);
    }

    #[test]
    fn settings_name_direct_weigh_and_mute() {
        let mut catalogue = Catalogue::new(vec![SignalOverride {
            metric: "gauge_*".to_owned(),
            bad_when: Some(BadWhen::Lower),
            weight: Some(2.0),
            ..SignalOverride::default()
        }]);
        catalogue.feeds(&Arc::new("gauge_5".parse().unwrap()));
        let (_, def) = catalogue.signals().next().unwrap();
        assert_eq!((def.bad_when, def.weight), (BadWhen::Lower, 2.0));
    }
}

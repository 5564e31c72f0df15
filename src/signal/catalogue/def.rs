//! One signal: what it is about, and how its value comes of series.

use super::super::{BadWhen, SignalClass, Unit, names};

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
    /// Memory that a garbage collector keeps: it swings, and settles late.
    pub collected: bool,
    /// Whether the segment names a kind of error: a new one is evidence.
    pub error_kind: bool,
    /// Its bad events are, by the server's word, the callers' own fault.
    pub refusals: bool,
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
    /// Which of them: the one that about this share exceeded before the
    /// release.
    pub slow_share: f64,
}

/// There a shift of the whole distribution and one of its tail both show.
const SLOW_SHARE: f64 = 0.1;

impl SignalDef {
    /// Takes a bound of the histogram behind it.
    pub(super) fn learn_bound(&mut self, bound: f64) {
        if let Err(at) = self.bounds.binary_search_by(|known| known.total_cmp(&bound)) {
            self.bounds.insert(at, bound);
        }
    }
}

impl SignalDef {
    /// The unit of its histogram's bounds.
    pub fn bound_unit(&self) -> Unit {
        let unit = names::unit_of(&self.metric, None);
        if unit.per_second().is_some() { unit } else { Unit::Seconds }
    }

    /// Whether it is the share of the time, or of something else, that is idle:
    /// what is missing from it is busy, and is what compares.
    pub fn is_idle_share(&self) -> bool {
        self.class == SignalClass::Saturation
            && self.bad_when == BadWhen::Lower
            && self.shape == Shape::Level
            && names::is_idle_share(&self.metric)
    }

    /// Whether it is the share of something that is used, as its name says.
    pub fn is_used_share(&self) -> bool {
        self.class == SignalClass::Saturation
            && self.shape == Shape::Level
            && names::is_used_share(&self.metric)
    }

    /// Whether it is counted by the version of whatever makes it: of the service
    /// itself, or of its clients.
    pub fn is_of_version(&self) -> bool {
        self.segment.as_ref().is_some_and(|(label, _)| names::is_version_label(label))
    }

    /// Whether it is time spent waiting for something, as its name says.
    pub fn is_waiting(&self) -> bool {
        names::has_word(&self.metric, &["wait", "waiting", "waits", "acquire", "queued", "blocked"])
    }

    /// Whether it counts what is watched or tried beside the service's work.
    pub fn counts_aside(&self) -> bool {
        names::counts_aside(&self.metric)
    }

    /// Whether it seems to count what the service does, as its name says.
    pub fn counts_doing(&self) -> bool {
        names::counts_doing(&self.metric)
    }

    /// Whether it counts outgoing calls by the requests they are made for.
    pub fn is_calls(&self) -> bool {
        self.outgoing && self.class == SignalClass::Saturation && self.shape == Shape::Rate
    }

    /// Whether it is how far a clock is off, and no time that anybody waits.
    pub fn is_clock(&self) -> bool {
        names::is_clock(&self.metric)
    }

    /// Whether it is work that was put off, or how old that is, as its name says.
    pub fn is_arrears(&self) -> bool {
        let late = matches!(self.class, SignalClass::Latency | SignalClass::Saturation);
        let told = matches!(self.shape, Shape::Level | Shape::Mean | Shape::Slow);
        told && late && names::is_arrears(&self.metric)
    }

    /// Whether its values are in per cent, as its name says.
    pub fn is_percent(&self) -> bool {
        self.shape == Shape::Level && names::is_percent(&self.metric)
    }
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
    /// For how long the process has run.
    Uptime,
}

impl Role {
    /// Whether it takes values as they are, and not their increments.
    pub(super) fn is_level(self) -> bool {
        match self {
            Self::Level | Self::LevelMean => true,
            Self::Numerator
            | Self::Denominator
            | Self::Both
            | Self::PerSecond
            | Self::Bucket(_)
            | Self::StartTime
            | Self::Uptime => false,
        }
    }
}

/// One series' part in one signal.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Feed {
    /// Which signal.
    pub signal: SignalId,
    /// In which role.
    pub role: Role,
}

#[derive(Clone)]
pub(super) struct Draft {
    pub(super) prefix: String,
    pub(super) class: SignalClass,
    pub(super) unit: Unit,
    pub(super) bad_when: BadWhen,
    pub(super) shape: Shape,
    pub(super) by_traffic: bool,
    pub(super) warms: bool,
    pub(super) fills: bool,
    pub(super) collected: bool,
    pub(super) error_kind: bool,
    pub(super) refusals: bool,
    pub(super) informative: bool,
    pub(super) outgoing: bool,
}

impl Draft {
    pub(super) fn new(prefix: &str, class: SignalClass, unit: Unit, bad_when: BadWhen, shape: Shape) -> Self {
        Self {
            prefix: prefix.to_owned(),
            class,
            unit,
            bad_when,
            shape,
            by_traffic: false,
            warms: false,
            fills: false,
            collected: false,
            error_kind: false,
            refusals: false,
            informative: false,
            outgoing: false,
        }
    }

    pub(super) fn by_traffic(mut self) -> Self {
        self.by_traffic = true;
        self
    }

    pub(super) fn warms(mut self) -> Self {
        self.warms = true;
        self
    }

    pub(super) fn refusals(mut self) -> Self {
        self.refusals = true;
        self
    }

    pub(super) fn outgoing(mut self, outgoing: bool) -> Self {
        self.outgoing = outgoing;
        self
    }

    pub(super) fn finish(&self, metric: &str, segment: Option<(String, String)>) -> SignalDef {
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
            collected: self.collected,
            error_kind: self.error_kind,
            refusals: self.refusals,
            informative: self.informative,
            outgoing: self.outgoing,
            weight: 1.0,
            muted: false,
            bounds: Vec::new(),
            slow_share: SLOW_SHARE,
        }
    }
}

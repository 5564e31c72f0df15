//! What a target exposed at one moment, or why it did not.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{InstanceId, SeriesKey, Timestamp};

/// The series by which a source tells the labels that it knows of a target:
/// always 1, in every scrape of it, failed ones too. Never judged.
pub const TARGET_INFO: &str = "target_info";

/// The sample that tells a target's labels.
pub fn target_info<'a>(labels: impl IntoIterator<Item = (&'a str, &'a str)>) -> Sample {
    Sample { series: Arc::new(SeriesKey::new(TARGET_INFO, labels)), value: 1.0 }
}

/// One value of one series. The key is shared with earlier scrapes of the
/// same target, so that following a series costs no hashing.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Which series.
    pub series: Arc<SeriesKey>,
    /// The value as exposed: counters cumulative; NaN only where the target
    /// exposed NaN.
    pub value: f64,
}

/// One attempt to learn an instance's samples at one moment. A failure is a
/// scrape too: absence is never inferred from silence in the code.
#[derive(Clone, Debug, PartialEq)]
pub struct Scrape {
    /// Whose samples.
    pub instance: InstanceId,
    /// When the target was asked.
    pub at: Timestamp,
    /// Whether all of it could be read.
    pub outcome: ScrapeOutcome,
    /// What was read, without the synthetic `up`; and what the source knows of
    /// the target, see [`TARGET_INFO`].
    pub samples: Vec<Sample>,
    /// What the target says of its metrics; empty where the source knows
    /// nothing. Shared between scrapes as long as it does not change.
    pub families: Arc<[MetricFamily]>,
}

/// How an attempt to scrape ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScrapeOutcome {
    /// Everything exposed was read.
    Complete,
    /// Something was read, and something was not: never taken as healthy.
    Incomplete {
        /// Lines that could not be read, or samples over the limit.
        lost: u32,
        /// The first loss, for people.
        first: String,
    },
    /// Nothing was read.
    Failed(ScrapeFailure),
}

impl ScrapeOutcome {
    /// What was wrong with the scrape, for people.
    pub fn trouble(&self) -> Option<String> {
        match self {
            Self::Complete => None,
            Self::Incomplete { lost, first } => Some(format!("{lost} lines lost, the first: {first}")),
            Self::Failed(failure) => Some(failure.to_string()),
        }
    }
}

/// Why a scrape gave nothing. `Unreachable`, `Refused` and `Timeout` are
/// silence of the instance; the rest says that our view is at fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScrapeFailure {
    /// The connection was refused or reset: nobody serves there.
    Refused,
    /// No route, no such name.
    Unreachable(String),
    /// No complete answer within the deadline.
    Timeout,
    /// An HTTP status that is no success.
    Status(u16),
    /// An answer that is no exposition: an HTML page, a cut body, a wrong type.
    NotExposition(String),
    /// Over the limit of bytes.
    TooLarge {
        /// The limit.
        limit_bytes: u64,
    },
    /// The source that stands between (a Prometheus server) could not say.
    SourceDown(String),
    /// The instance's `up` was 0 in data from elsewhere.
    Down,
}

impl fmt::Display for ScrapeFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused => f.write_str("connection refused"),
            Self::Unreachable(why) => write!(f, "unreachable: {why}"),
            Self::Timeout => f.write_str("no answer within the deadline"),
            Self::Status(status) => write!(f, "HTTP status {status}"),
            Self::NotExposition(why) => write!(f, "not an exposition: {why}"),
            Self::TooLarge { limit_bytes } => write!(f, "more than {limit_bytes} bytes"),
            Self::SourceDown(why) => write!(f, "the metrics source failed: {why}"),
            Self::Down => f.write_str("reported down"),
        }
    }
}

/// The type of a metric, as its target declares it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MetricKind {
    /// Cumulative, resets to zero.
    Counter,
    /// A level.
    Gauge,
    /// Cumulative buckets, sum and count.
    Histogram,
    /// Quantiles, sum and count.
    Summary,
    /// Not declared.
    #[default]
    #[serde(other)]
    Unknown,
}

/// What is known of a metric besides its samples.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct MetricFamily {
    /// The name without `_bucket`, `_sum`, `_count` for histograms and summaries.
    pub name: String,
    /// The declared type.
    #[serde(rename = "type", default)]
    pub kind: MetricKind,
    /// The unit, where declared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// The help text, where declared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
}

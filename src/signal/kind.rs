//! What a signal is about, in what unit, and which way is bad.

use serde::{Deserialize, Serialize};

/// What a signal is about. Thresholds, patience and messages differ by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SignalClass {
    /// Failed requests or calls.
    Errors,
    /// How long things take.
    Latency,
    /// How much comes in.
    Traffic,
    /// How full a resource is.
    Saturation,
    /// What the business counts: orders, payments, amounts.
    Business,
    /// Log lines and exceptions.
    Logs,
    /// Whether instances serve at all: silence, restarts.
    Health,
    /// A series whose meaning is not known.
    Other,
}

impl SignalClass {
    /// The word in settings and messages.
    pub fn word(self) -> &'static str {
        match self {
            Self::Errors => "errors",
            Self::Latency => "latency",
            Self::Traffic => "traffic",
            Self::Saturation => "saturation",
            Self::Business => "business",
            Self::Logs => "logs",
            Self::Health => "health",
            Self::Other => "other",
        }
    }
}

/// The unit of a signal's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// 0 to 1, shown as per cent.
    Ratio,
    /// Events a second.
    PerSecond,
    /// Seconds.
    Seconds,
    /// Thousandths of a second, as some metrics have it; shown like seconds.
    Milliseconds,
    /// Millionths of a second; shown like seconds.
    Microseconds,
    /// Thousand-millionths of a second; shown like seconds.
    Nanoseconds,
    /// Bytes.
    Bytes,
    /// A count or a level without a unit.
    Count,
}

impl Unit {
    /// How many of it make a second, where it is a time.
    pub fn per_second(self) -> Option<f64> {
        match self {
            Self::Seconds => Some(1.0),
            Self::Milliseconds => Some(1e3),
            Self::Microseconds => Some(1e6),
            Self::Nanoseconds => Some(1e9),
            Self::Ratio | Self::PerSecond | Self::Bytes | Self::Count => None,
        }
    }
}

/// Which way a signal moves when something is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BadWhen {
    /// More is bad.
    Higher,
    /// Less is bad.
    Lower,
    /// Any change is bad.
    Either,
}

impl BadWhen {
    /// The word in settings and messages.
    pub fn word(self) -> &'static str {
        match self {
            Self::Higher => "higher",
            Self::Lower => "lower",
            Self::Either => "either",
        }
    }
}

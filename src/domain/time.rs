//! Moments. Durations are `std::time::Duration`; only moments need a type.

use std::fmt;
use std::ops::{Add, Sub};
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A moment in UTC, in whole milliseconds since the Unix epoch.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

/// A text that is not an RFC 3339 moment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not an RFC 3339 time such as 2026-03-01T08:30:00.000Z")]
pub struct InvalidTimestamp {
    text: String,
}

impl Timestamp {
    /// From milliseconds since the Unix epoch.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the Unix epoch.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// Seconds since the Unix epoch, with their fraction.
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / 1e3
    }

    /// How long after `earlier` this is; zero if it is before it.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0).max(0) as u64)
    }

    /// Seconds from `other` to this, negative if this is before it.
    pub fn seconds_from(self, other: Self) -> f64 {
        self.0.saturating_sub(other.0) as f64 / 1e3
    }

    /// `03:12:40`, for sentences in which the day is known.
    pub fn clock_time(self) -> String {
        let day_ms = self.0.rem_euclid(86_400_000);
        let (h, m, s) = (day_ms / 3_600_000, day_ms / 60_000 % 60, day_ms / 1000 % 60);
        format!("{h:02}:{m:02}:{s:02}")
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

impl Add<Duration> for Timestamp {
    type Output = Self;
    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(millis(duration)))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;
    fn sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(millis(duration)))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(moment) => write!(f, "{moment:.3}"),
            Err(_) => write!(f, "{} ms since 1970", self.0),
        }
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Timestamp {
    type Err = InvalidTimestamp;
    fn from_str(text: &str) -> Result<Self, InvalidTimestamp> {
        text.parse::<jiff::Timestamp>()
            .map(|moment| Self(moment.as_millisecond()))
            .map_err(|_| InvalidTimestamp { text: text.to_owned() })
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_written_with_milliseconds_and_read_back() {
        let moment = Timestamp::from_millis(1_790_862_740_000);
        assert_eq!(moment.to_string(), "2026-10-01T13:52:20.000Z");
        assert_eq!(moment.to_string().parse(), Ok(moment));
        assert_eq!("2026-10-01T15:52:20+02:00".parse(), Ok(moment));
        assert_eq!(moment.clock_time(), "13:52:20");
    }

    #[test]
    fn a_text_that_is_no_moment_is_named_in_the_error() {
        let error = "yesterday".parse::<Timestamp>().unwrap_err();
        assert!(error.to_string().contains("yesterday"), "{error}");
    }

    #[test]
    fn moments_before_each_other_have_no_duration_but_a_signed_distance() {
        let (a, b) = (Timestamp::from_millis(1_000), Timestamp::from_millis(4_000));
        assert_eq!(a.since(b), Duration::ZERO);
        assert_eq!(a.seconds_from(b), -3.0);
        assert_eq!(b.since(a), Duration::from_secs(3));
    }
}

//! Cumulative series into increments. Resets, first appearances and gaps are
//! handled here and nowhere else.

use crate::domain::Timestamp;

/// A series that appears while its process was already being scraped counts
/// from zero, unless it starts above this rate: then it is an old counter
/// that came into view, and its past is not an increment.
const FIRST_APPEARANCE_PER_SECOND_MAX: f64 = 100.0;

/// What a counter did since it was last read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Increment {
    /// Events.
    pub count: f64,
    /// The process restarted in between: `count` is what came since.
    pub reset: bool,
}

/// The last reading of one counter.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counter {
    last: Option<f64>,
}

impl Counter {
    /// The last reading.
    pub fn last(&self) -> Option<f64> {
        self.last
    }

    /// Takes the next reading. `seconds_watched` is how long ago the instance
    /// was last read completely without this series, if it was.
    ///
    /// Returns nothing where no increment can be known: at the first reading,
    /// and for values that are no numbers.
    pub fn advance(&mut self, value: f64, seconds_watched: Option<f64>) -> Option<Increment> {
        if !value.is_finite() || value < 0.0 {
            return None;
        }
        match self.last.replace(value) {
            Some(last) if value >= last => Some(Increment { count: value - last, reset: false }),
            Some(_) => Some(Increment { count: value, reset: true }),
            None => {
                let seconds = seconds_watched?;
                (value <= FIRST_APPEARANCE_PER_SECOND_MAX * seconds.max(1.0))
                    .then_some(Increment { count: value, reset: false })
            }
        }
    }
}

/// When a process began, told from its start time or its counters' resets.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProcessStart {
    seconds: Option<f64>,
}

/// Start times that differ by less are the same start: exporters compute them
/// from a boot time that jitters.
const SAME_START_SECONDS: f64 = 2.0;

impl ProcessStart {
    /// Takes a reading of the start time, in seconds since the epoch; true if
    /// the process is another one than at the last reading.
    pub fn advance(&mut self, seconds: f64) -> bool {
        if !seconds.is_finite() || seconds <= 0.0 {
            return false;
        }
        match self.seconds.replace(seconds) {
            Some(last) => seconds > last + SAME_START_SECONDS,
            None => false,
        }
    }

    /// When the process began, if it tells.
    pub fn at(&self) -> Option<Timestamp> {
        self.seconds.map(|seconds| Timestamp::from_millis((seconds * 1e3) as i64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn counts(values: &[f64]) -> Vec<Option<f64>> {
        let mut counter = Counter::default();
        values.iter().map(|v| counter.advance(*v, None).map(|i| i.count)).collect()
    }

    #[test]
    fn increments_are_differences_and_a_reset_counts_from_zero() {
        assert_eq!(counts(&[10.0, 12.0, 12.0, 3.0, 4.0]), [None, Some(2.0), Some(0.0), Some(3.0), Some(1.0)]);
    }

    #[test]
    fn a_series_that_appears_on_a_watched_process_counts_from_zero() {
        let mut counter = Counter::default();
        assert_eq!(counter.advance(7.0, Some(10.0)), Some(Increment { count: 7.0, reset: false }));
    }

    #[test]
    fn an_old_counter_that_comes_into_view_is_no_burst() {
        let mut counter = Counter::default();
        assert_eq!(counter.advance(1e7, Some(10.0)), None);
        assert_eq!(counter.advance(1e7 + 5.0, Some(10.0)).unwrap().count, 5.0);
    }

    #[test]
    fn a_start_time_that_jitters_is_no_restart() {
        let mut start = ProcessStart::default();
        assert!(!start.advance(1_000.0));
        assert!(!start.advance(1_000.9));
        assert!(start.advance(1_010.0));
    }

    proptest! {
        #[test]
        fn an_increment_is_never_negative(values in proptest::collection::vec(any::<f64>(), 0..50)) {
            for count in counts(&values).into_iter().flatten() {
                prop_assert!(count >= 0.0);
            }
        }
    }
}

//! A circuit breaker for one target: after several failures in a row nothing
//! is sent for a while, then one attempt finds out.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::Timestamp;

/// Failures in a row after which it opens.
const FAILURES_MAX: u32 = 5;
/// How long it stays open. Short, because commands have deadlines of minutes.
const OPEN: Duration = Duration::from_secs(15);

/// Whether a target is being spared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum BreakerState {
    /// Attempts are made.
    Closed,
    /// None is made until then.
    Open {
        /// When one attempt may find out.
        until: Timestamp,
    },
    /// One attempt is under way to find out.
    Trying {
        /// Since when; an attempt that never reports does not block for good.
        since: Timestamp,
    },
}

/// The breaker of one target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Breaker {
    state: BreakerState,
    failures: u32,
}

impl Default for Breaker {
    fn default() -> Self {
        Self { state: BreakerState::Closed, failures: 0 }
    }
}

impl Breaker {
    /// As pages and metrics show it.
    pub fn state(&self) -> BreakerState {
        self.state
    }

    /// Asks for one attempt.
    ///
    /// # Errors
    /// The moment before which it is no use to ask again.
    pub fn admit(&mut self, now: Timestamp) -> Result<(), Timestamp> {
        // What lies further away is from before the clock was set back.
        let is_ahead = |until: Timestamp| now < until && until.since(now) <= OPEN;
        match self.state {
            BreakerState::Closed => Ok(()),
            BreakerState::Open { until } if is_ahead(until) => Err(until),
            BreakerState::Trying { since } if is_ahead(since + OPEN) => Err(since + OPEN),
            BreakerState::Open { .. } | BreakerState::Trying { .. } => {
                self.state = BreakerState::Trying { since: now };
                Ok(())
            }
        }
    }

    /// The target answered, whatever it said.
    pub fn answered(&mut self) {
        *self = Self::default();
    }

    /// The target did not answer, or said that it cannot.
    pub fn failed(&mut self, now: Timestamp) {
        self.failures = self.failures.saturating_add(1);
        let found_out = matches!(self.state, BreakerState::Trying { .. });
        if found_out || self.failures >= FAILURES_MAX {
            self.state = BreakerState::Open { until: now + OPEN };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1_000)
    }

    #[test]
    fn it_opens_after_five_failures_in_a_row_and_lets_one_attempt_find_out() {
        let mut breaker = Breaker::default();
        for second in 0..4 {
            breaker.failed(at(second));
        }
        breaker.answered();
        for second in 4..9 {
            assert_eq!(breaker.admit(at(second)), Ok(()));
            breaker.failed(at(second));
        }
        assert_eq!(breaker.admit(at(9)), Err(at(23)));
        assert_eq!(breaker.admit(at(23)), Ok(()));
        assert_eq!(breaker.admit(at(23)), Err(at(38)), "a second one waits for the first");
        breaker.failed(at(24));
        assert_eq!(breaker.admit(at(25)), Err(at(39)));
        assert_eq!(breaker.admit(at(39)), Ok(()));
        breaker.answered();
        assert_eq!(breaker.state(), BreakerState::Closed);
    }

    #[test]
    fn an_attempt_that_never_reports_does_not_close_the_way_for_good() {
        let mut breaker = Breaker::default();
        (0..5).for_each(|second| breaker.failed(at(second)));
        assert_eq!(breaker.admit(at(20)), Ok(()));
        assert_eq!(breaker.admit(at(35)), Ok(()));
    }
}

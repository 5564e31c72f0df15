//! The one place that reads the clock.

use crate::domain::Timestamp;

/// Now, by this machine's clock.
#[allow(clippy::disallowed_methods, reason = "this is the place")]
pub fn now() -> Timestamp {
    Timestamp::from_millis(jiff::Timestamp::now().as_millisecond())
}

//! Rules for the obvious: what nobody would wait for statistics to see.

mod alert;
mod business_stopped;
mod error_burst;
mod health;
mod metrics_missing;
mod spreading;
mod standstill;
mod threshold;

pub use alert::outside_alert;
pub use business_stopped::business_stopped;
pub use error_burst::{error_burst, new_exception};
pub use health::{CrashLoop, Silence, crash_loop, instance_silent};
pub use metrics_missing::{is_renamed, metrics_missing};
pub use spreading::spreading;
pub use standstill::standstill;
pub use threshold::{Threshold, ThresholdSide, threshold};

/// The names of all rules, as settings write them.
pub const RULES: &[&str] = &[
    "instance_silent",
    "crash_loop",
    "error_burst",
    "new_exception",
    "business_stopped",
    "metrics_missing",
    "spreading",
    "standstill",
    "outside_alert",
    "threshold",
];

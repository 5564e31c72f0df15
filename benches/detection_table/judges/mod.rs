//! Three judges of the published kinds, to compare the guardian with. They
//! see the same recordings through the same reading code and the same
//! catalogue of signals.

pub mod course;
pub mod differences;
pub mod mann_whitney;
pub mod thresholds;

use course::Course;

/// A judge that looks at a release again and again.
pub trait Judge {
    /// What it is called in the table.
    fn name(&self) -> &'static str;

    /// Seconds from the release's start to its first failing look; nothing if
    /// it lets the release pass.
    fn stopped_after_seconds(&self, course: &Course) -> Option<f64>;
}

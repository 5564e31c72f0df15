//! Fixed thresholds on the released instances alone, in the manner of a
//! progressive-delivery controller: the share of good requests and the 99th
//! percentile of their time, once a minute; so many failed checks end it.

use release_guardian::signal::{Shape, SignalClass};

use super::Judge;
use super::course::{Course, Metric};

/// Limits and how many failed checks end the release.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Thresholds {
    /// Least share of requests that must succeed.
    pub success_min: f64,
    /// Longest time of the 99th percentile.
    pub seconds_max: f64,
    /// Failed checks that end the release.
    pub failed_checks: usize,
    /// A limit is moved to so many times what the service had before, where
    /// that is laxer: people set limits that their service can keep.
    pub times_before: f64,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self { success_min: 0.99, seconds_max: 0.5, failed_checks: 5, times_before: 2.0 }
    }
}

impl Thresholds {
    fn limit(&self, metric: &Metric, course: &Course) -> f64 {
        let fixed =
            if metric.class == SignalClass::Errors { 1.0 - self.success_min } else { self.seconds_max };
        let mut before: Vec<f64> =
            metric.released[..course.start].iter().copied().filter(|v| v.is_finite()).collect();
        before.sort_by(f64::total_cmp);
        before.get(before.len() / 2).map_or(fixed, |median| fixed.max(self.times_before * median))
    }
}

/// The metric that the controller's built-in check would be pointed at.
fn of_requests(course: &Course, class: SignalClass, shapes: [Shape; 2]) -> Option<&Metric> {
    shapes
        .into_iter()
        .find_map(|shape| course.metrics.iter().find(|m| m.class == class && m.shape == shape && !m.outgoing))
}

impl Judge for Thresholds {
    fn name(&self) -> &'static str {
        "fixed thresholds"
    }

    fn stopped_after_seconds(&self, course: &Course) -> Option<f64> {
        let checks: Vec<(&Metric, f64)> = [
            of_requests(course, SignalClass::Errors, [Shape::Ratio, Shape::Ratio]),
            of_requests(course, SignalClass::Latency, [Shape::Slow, Shape::Mean]),
        ]
        .into_iter()
        .flatten()
        .map(|metric| (metric, self.limit(metric, course)))
        .collect();
        if checks.is_empty() {
            return None;
        }
        let mut failed = 0;
        for bin in course.start + 1..course.bins {
            // No value fails the check, as where no traffic arrives.
            let kept = checks.iter().all(|(metric, limit)| metric.released[bin] <= *limit);
            failed += usize::from(!kept);
            if failed >= self.failed_checks {
                return Some(course.seconds_at(bin + 1));
            }
        }
        None
    }
}

//! Plain difference-in-differences: a z-test on all values put together, as if
//! minutes and machines were independent.

use release_guardian::signal::BadWhen;
use statrs::distribution::{ContinuousCDF, Normal};

use super::Judge;
use super::course::{Course, Pool};

/// How sure it must be, over all signals of one look.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Differences {
    /// Probability of a false alarm that is shared evenly by the signals.
    pub alpha: f64,
    /// Fewest values after the release.
    pub values_min: usize,
    /// Most bins before the release.
    pub bins_before: usize,
}

impl Default for Differences {
    fn default() -> Self {
        Self { alpha: 0.01, values_min: 5, bins_before: 60 }
    }
}

/// The change of the released values less that of the others, in its standard
/// errors; nothing where a variance cannot be told.
pub fn difference_score(
    released: &[f64],
    released_before: &[f64],
    reference: &[f64],
    reference_before: &[f64],
) -> Option<f64> {
    let (after, v1) = mean_and_variance(released)?;
    let (before, v2) = mean_and_variance(released_before)?;
    let mut change = after - before;
    let mut variance = v1 + v2;
    if let (Some((after, v3)), Some((before, v4))) =
        (mean_and_variance(reference), mean_and_variance(reference_before))
    {
        change -= after - before;
        variance += v3 + v4;
    }
    if change == 0.0 { Some(0.0) } else { Some(change / variance.sqrt()) }
}

/// The mean, and its variance.
fn mean_and_variance(values: &[f64]) -> Option<(f64, f64)> {
    if values.len() < 2 {
        return None;
    }
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
    Some((mean, squares / (n - 1.0) / n))
}

impl Judge for Differences {
    fn name(&self) -> &'static str {
        "difference-in-differences"
    }

    fn stopped_after_seconds(&self, course: &Course) -> Option<f64> {
        let normal = Normal::standard();
        let from = course.start.saturating_sub(self.bins_before);
        let alpha = self.alpha / course.metrics.len().max(1) as f64;
        let before: Vec<[Vec<f64>; 2]> = course
            .metrics
            .iter()
            .map(|m| [Pool::Before, Pool::Reference].map(|pool| course.pooled(m, pool, from, course.start)))
            .collect();
        for to in course.start + 2..=course.bins {
            for (metric, [released_before, reference_before]) in course.metrics.iter().zip(&before) {
                let released = course.pooled(metric, Pool::Released, course.start, to);
                if released.len() < self.values_min {
                    continue;
                }
                let reference = course.pooled(metric, Pool::Reference, course.start, to);
                let score = difference_score(&released, released_before, &reference, reference_before);
                let bad = score.is_some_and(|z| match metric.bad_when {
                    BadWhen::Higher => z > normal.inverse_cdf(1.0 - alpha),
                    BadWhen::Lower => -z > normal.inverse_cdf(1.0 - alpha),
                    BadWhen::Either => z.abs() > normal.inverse_cdf(1.0 - alpha / 2.0),
                });
                if bad {
                    return Some(course.seconds_at(to));
                }
            }
        }
        None
    }
}

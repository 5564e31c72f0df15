//! The judge of automated canary analysis with its documented defaults: a
//! Mann-Whitney test a metric, a confidence interval of the Hodges-Lehmann
//! shift against a tolerance that is a share of that shift, a score over
//! groups of metrics.

use std::collections::BTreeMap;

use release_guardian::signal::{BadWhen, SignalClass};
use statrs::distribution::{ContinuousCDF, Normal};

use super::Judge;
use super::course::{Course, Pool};

/// The normal quantile of 99 %: an interval of 98 %.
const CONFIDENCE_SCORE: f64 = 2.326_347_874_040_841;

/// The band that the interval must leave, as a share of the shift itself.
const TOLERANCE: f64 = 0.25;

/// Ratio of the means that an increase must reach, and a decrease stay below.
const ALLOWED_RATIO: f64 = 1.0;

/// Of two constants: the spread that is added so that they can be ranked.
const JITTER: f64 = 1e-5;

/// What one metric came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// No shift, or none that counts.
    Pass,
    /// The release's values are higher.
    High,
    /// The release's values are lower.
    Low,
    /// One side has no values.
    NoData,
}

/// The Hodges-Lehmann shift with its confidence bounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// The lower bound.
    pub low: f64,
    /// The shift.
    pub shift: f64,
    /// The upper bound.
    pub high: f64,
}

/// The standard score of the rank sum of `x - mu` among `y`; both sorted.
fn rank_score(x: &[f64], y: &[f64], mu: f64, corrected: bool) -> f64 {
    let (nx, ny) = (x.len() as f64, y.len() as f64);
    let (mut i, mut j) = (0, 0);
    let (mut rank_sum, mut ties) = (0.0, 0.0);
    while i < x.len() || j < y.len() {
        let a = x.get(i).map_or(f64::INFINITY, |v| v - mu);
        let b = y.get(j).copied().unwrap_or(f64::INFINITY);
        let least = a.min(b);
        let (first_i, first_j) = (i, j);
        while x.get(i).is_some_and(|v| v - mu <= least) {
            i += 1;
        }
        while y.get(j).is_some_and(|v| *v <= least) {
            j += 1;
        }
        let tied = (i - first_i + j - first_j) as f64;
        rank_sum += (i - first_i) as f64 * ((first_i + first_j) as f64 + (tied + 1.0) / 2.0);
        ties += tied.powi(3) - tied;
    }
    let excess = rank_sum - nx * (nx + 1.0) / 2.0 - nx * ny / 2.0;
    let all = nx + ny;
    let variance = nx * ny / 12.0 * ((all + 1.0) - ties / (all * (all - 1.0)));
    let correction = if corrected && excess != 0.0 { 0.5 * excess.signum() } else { 0.0 };
    if variance > 0.0 { (excess - correction) / variance.sqrt() } else { 0.0 }
}

/// Where the rank score falls to `wanted`: it never rises with `mu`.
fn root(x: &[f64], y: &[f64], wanted: f64, corrected: bool) -> f64 {
    let (mut low, mut high) = (x[0] - y[y.len() - 1], x[x.len() - 1] - y[0]);
    if rank_score(x, y, low, corrected) <= wanted {
        return low;
    }
    if rank_score(x, y, high, corrected) >= wanted {
        return high;
    }
    for _ in 0..60 {
        let middle = (low + high) / 2.0;
        if rank_score(x, y, middle, corrected) > wanted {
            low = middle;
        } else {
            high = middle;
        }
    }
    (low + high) / 2.0
}

/// The shift of `experiment` against `control` with its bounds at 98 %; both
/// must have values.
pub fn shift_interval(experiment: &[f64], control: &[f64]) -> Interval {
    let sorted = |values: &[f64]| {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        sorted
    };
    let (mut x, mut y) = (sorted(experiment), sorted(control));
    if x[0] == x[x.len() - 1] && y[0] == y[y.len() - 1] {
        // Normal quantiles in place of random noise: the same every time.
        x = spread(&x);
        y = spread(&y);
    }
    Interval {
        low: root(&x, &y, CONFIDENCE_SCORE, true),
        shift: root(&x, &y, 0.0, false),
        high: root(&x, &y, -CONFIDENCE_SCORE, true),
    }
}

fn spread(values: &[f64]) -> Vec<f64> {
    let normal = Normal::standard();
    let n = values.len() as f64;
    let mut spread: Vec<f64> = values
        .iter()
        .enumerate()
        .map(|(at, v)| v + v * JITTER * normal.inverse_cdf((at as f64 + 0.5) / n))
        .collect();
    spread.sort_by(f64::total_cmp);
    spread
}

/// Classifies one metric; values that are not a number are left out before.
pub fn classify(experiment: &[f64], control: &[f64], bad_when: BadWhen) -> Class {
    let clean = |values: &[f64]| {
        let mut clean: Vec<f64> = values.iter().copied().filter(|v| !v.is_nan()).collect();
        clean.sort_by(f64::total_cmp);
        clean
    };
    let (x, y) = (clean(experiment), clean(control));
    if x.is_empty() || y.is_empty() {
        return Class::NoData;
    }
    let one_value = x.iter().chain(&y).all(|v| *v == x[0]);
    if x == y || one_value {
        return Class::Pass;
    }
    let found = shift_interval(&x, &y);
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let (mx, my) = (mean(&x), mean(&y));
    let effect = if mx == 0.0 || my == 0.0 { f64::NAN } else { mx / my };
    let band = TOLERANCE * found.shift.abs();
    let may_rise = bad_when != BadWhen::Lower;
    let may_fall = bad_when != BadWhen::Higher;
    if may_rise && found.low > band && (effect.is_nan() || effect >= ALLOWED_RATIO) {
        Class::High
    } else if may_fall && found.high < -band && (effect.is_nan() || effect <= ALLOWED_RATIO) {
        Class::Low
    } else {
        Class::Pass
    }
}

/// The score, 0 to 100: the mean over groups of the share of their metrics
/// that pass. Half of all metrics without data make it 0; a group without any
/// data counts in full.
pub fn score(classes: &[(SignalClass, Class)]) -> f64 {
    let without = classes.iter().filter(|(_, class)| *class == Class::NoData).count();
    if classes.is_empty() || without * 2 >= classes.len() {
        return if classes.is_empty() { 100.0 } else { 0.0 };
    }
    let mut groups: BTreeMap<SignalClass, (f64, f64)> = BTreeMap::new();
    for (group, class) in classes {
        let (passed, all) = groups.entry(*group).or_default();
        match class {
            Class::Pass => (*passed, *all) = (*passed + 1.0, *all + 1.0),
            Class::High | Class::Low => *all += 1.0,
            Class::NoData => {}
        }
    }
    let shares = groups.values().map(|(passed, all)| if *all > 0.0 { passed / all * 100.0 } else { 100.0 });
    let score = shares.sum::<f64>() / groups.len() as f64;
    (score * 100.0).round() / 100.0
}

/// Whether it is told which way is bad, or takes any change for bad as by
/// default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// The default: either direction.
    Nothing,
    /// The catalogue's direction.
    Direction,
}

/// The judge with its scheduling.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MannWhitney {
    /// Whether it knows which way is bad.
    pub told: Told,
    /// Bins between two looks.
    pub every: usize,
    /// Bins before the first.
    pub first: usize,
    /// Score that the last look must reach.
    pub pass: f64,
    /// Score at or below which an earlier look ends the release.
    pub marginal: f64,
}

impl MannWhitney {
    /// As the documentation advises, with looks every five minutes from the
    /// tenth on: a release of an hour would else be looked at once.
    pub fn new(told: Told) -> Self {
        Self { told, every: 5, first: 10, pass: 95.0, marginal: 75.0 }
    }
}

impl Judge for MannWhitney {
    fn name(&self) -> &'static str {
        match self.told {
            Told::Nothing => "Mann-Whitney",
            Told::Direction => "Mann-Whitney, told which way is bad",
        }
    }

    fn stopped_after_seconds(&self, course: &Course) -> Option<f64> {
        let mut to = (course.start + self.first).min(course.bins);
        loop {
            let classes: Vec<(SignalClass, Class)> = course
                .metrics
                .iter()
                .map(|metric| {
                    let experiment = course.pooled(metric, Pool::Released, course.start, to);
                    let mut control = course.pooled(metric, Pool::Reference, course.start, to);
                    if course.released_from.iter().all(Option::is_some) {
                        // Nobody is left to compare with but the past.
                        control = course.pooled(metric, Pool::Before, 0, course.start);
                    }
                    let bad_when = match self.told {
                        Told::Nothing => BadWhen::Either,
                        Told::Direction => metric.bad_when,
                    };
                    (metric.class, classify(&experiment, &control, bad_when))
                })
                .collect();
            let score = score(&classes);
            let last = to >= course.bins;
            if if last { score < self.pass } else { score <= self.marginal } {
                return Some(course.seconds_at(to));
            }
            if last {
                return None;
            }
            to = (to + self.every).min(course.bins);
        }
    }
}

//! The only source of chance: a seeded stream with the distributions that a
//! fleet needs. The same seed gives the same numbers on every platform.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// A seeded stream of random numbers.
#[derive(Clone, Debug)]
pub(super) struct Dice(ChaCha8Rng);

impl Dice {
    /// The stream `index` of a seed; streams of one seed are independent.
    pub(super) fn new(seed: u64, index: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(index);
        Self(rng)
    }

    /// A stream of its own, so that drawing more from it shifts nothing else.
    pub(super) fn fork(&mut self) -> Self {
        Self(ChaCha8Rng::seed_from_u64(self.0.random()))
    }

    /// Uniform in 0 to 1.
    pub(super) fn unit(&mut self) -> f64 {
        self.0.random()
    }

    pub(super) fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    pub(super) fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    /// Uniform in the logarithm; both ends are positive.
    pub(super) fn log_between(&mut self, low: f64, high: f64) -> f64 {
        (low.ln() + (high / low).ln() * self.unit()).exp()
    }

    /// A whole number, both ends included.
    pub(super) fn whole(&mut self, low: usize, high: usize) -> usize {
        self.0.random_range(low..=high.max(low))
    }

    /// One of several; the slice is a constant of the code and never empty.
    pub(super) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.whole(0, from.len() - 1)]
    }

    /// An index, by weight.
    pub(super) fn weighted(&mut self, weights: &[f64]) -> usize {
        let mut left = self.unit() * weights.iter().sum::<f64>();
        for (index, weight) in weights.iter().enumerate() {
            left -= weight;
            if left < 0.0 {
                return index;
            }
        }
        weights.len() - 1
    }

    /// `count` different indices below `of`, in order.
    pub(super) fn some_of(&mut self, count: usize, of: usize) -> Vec<usize> {
        let mut all: Vec<usize> = (0..of).collect();
        self.shuffle(&mut all);
        all.truncate(count);
        all.sort_unstable();
        all
    }

    pub(super) fn shuffle<T>(&mut self, items: &mut [T]) {
        for end in (1..items.len()).rev() {
            items.swap(end, self.whole(0, end));
        }
    }

    /// The standard normal distribution.
    pub(super) fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }

    /// A factor around 1 whose logarithm has this spread.
    pub(super) fn factor(&mut self, sigma: f64) -> f64 {
        (self.normal() * sigma).exp()
    }

    pub(super) fn exponential(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.unit()).ln()
    }

    /// A count of independent events; whole.
    pub(super) fn poisson(&mut self, mean: f64) -> f64 {
        if mean <= 0.0 || !mean.is_finite() {
            return 0.0;
        }
        if mean > 40.0 {
            return (mean + self.normal() * mean.sqrt()).round().max(0.0);
        }
        let limit = (-mean).exp();
        let (mut count, mut product) = (0.0, self.unit());
        while product > limit {
            count += 1.0;
            product *= self.unit();
        }
        count
    }

    /// How many of `count` (whole) happen; whole.
    pub(super) fn binomial(&mut self, count: f64, probability: f64) -> f64 {
        if count <= 0.0 || probability <= 0.0 {
            return 0.0;
        }
        if probability >= 1.0 {
            return count;
        }
        if probability > 0.5 {
            return count - self.binomial(count, 1.0 - probability);
        }
        let mean = count * probability;
        if count <= 16.0 {
            return (0..count as u32).map(|_| f64::from(u8::from(self.chance(probability)))).sum();
        }
        if mean < 15.0 {
            return self.poisson(mean).min(count);
        }
        let spread = (mean * (1.0 - probability)).sqrt();
        (mean + self.normal() * spread).round().clamp(0.0, count)
    }
}

/// A value that wanders around 0 with a correlation time: load and latency of
/// real machines at neighbouring minutes are alike.
#[derive(Clone, Debug)]
pub(super) struct Wander {
    from: f64,
    step_seconds: f64,
    values: Vec<f64>,
}

impl Wander {
    /// Spread 1, correlated over `memory_seconds`.
    pub(super) fn new(dice: &mut Dice, from: f64, until: f64, memory_seconds: f64) -> Self {
        let step_seconds = (memory_seconds / 4.0).max((until - from) / 2_000.0).max(0.5);
        let keep = (-step_seconds / memory_seconds).exp();
        let fresh = (1.0 - keep * keep).sqrt();
        let mut value = dice.normal();
        let count = ((until - from) / step_seconds).ceil().max(0.0) as usize + 2;
        let values = (0..count)
            .map(|_| {
                value = value * keep + dice.normal() * fresh;
                value
            })
            .collect();
        Self { from, step_seconds, values }
    }

    pub(super) fn at(&self, moment: f64) -> f64 {
        let place = ((moment - self.from) / self.step_seconds).max(0.0);
        let index = (place as usize).min(self.values.len() - 1);
        let next = (index + 1).min(self.values.len() - 1);
        let share = (place - index as f64).min(1.0);
        self.values[index] * (1.0 - share) + self.values[next] * share
    }
}

/// The standard normal distribution's cumulated probability, to 1e-7.
pub(super) fn normal_below(x: f64) -> f64 {
    let t = 1.0 / (1.0 + 0.231_641_9 * x.abs());
    let series = t
        * (0.319_381_530
            + t * (-0.356_563_782 + t * (1.781_477_937 + t * (-1.821_255_978 + t * 1.330_274_429))));
    let upper = (-x * x / 2.0).exp() * 0.398_942_280_401_432_7 * series;
    if x >= 0.0 { 1.0 - upper } else { upper }
}

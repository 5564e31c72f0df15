//! How much the users ask of the whole fleet over time.

use super::random::{Dice, Wander};

/// A passing or lasting change of the load of the whole fleet.
#[derive(Clone, Debug)]
pub(super) struct Swell {
    pub(super) from: f64,
    /// Seconds to its full height.
    pub(super) rise: f64,
    pub(super) until: f64,
    pub(super) factor: f64,
}

/// The load of the whole fleet as a factor of the usual.
#[derive(Clone, Debug)]
pub(super) struct Load {
    daily: (f64, f64),
    hourly: (f64, f64),
    fast: (f64, Wander),
    slow: (f64, Wander),
    pub(super) swells: Vec<Swell>,
}

impl Load {
    /// Draws the load between two moments, in seconds.
    pub(super) fn draw(dice: &mut Dice, from: f64, until: f64) -> Self {
        let daily = if dice.chance(0.7) { dice.between(0.1, 0.8) } else { 0.0 };
        let hourly = if dice.chance(0.25) { dice.between(0.03, 0.2) } else { 0.0 };
        let (fast_seconds, slow_seconds) = (dice.log_between(10.0, 90.0), dice.log_between(200.0, 2_400.0));
        Self {
            daily: (daily, dice.unit()),
            hourly: (hourly, dice.unit()),
            fast: (dice.between(0.01, 0.12), Wander::new(dice, from, until, fast_seconds)),
            slow: (dice.between(0.02, 0.2), Wander::new(dice, from, until, slow_seconds)),
            swells: Vec::new(),
        }
    }

    /// The factor at a moment; always positive.
    pub(super) fn at(&self, moment: f64) -> f64 {
        let wave = |(height, phase): (f64, f64), period: f64| {
            1.0 + height * (std::f64::consts::TAU * (moment / period + phase)).sin()
        };
        let wander = self.fast.0 * self.fast.1.at(moment) + self.slow.0 * self.slow.1.at(moment);
        let mut factor = wave(self.daily, 86_400.0) * wave(self.hourly, 3_600.0) * wander.exp();
        for swell in &self.swells {
            if swell.from <= moment && moment < swell.until {
                let grown = ((moment - swell.from) / swell.rise.max(1.0)).min(1.0);
                let fallen = ((swell.until - moment) / swell.rise.max(1.0)).min(1.0);
                factor *= swell.factor.powf(grown.min(fallen));
            }
        }
        factor
    }
}

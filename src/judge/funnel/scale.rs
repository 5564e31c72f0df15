//! The scale on which changes are compared: logarithmic where there is
//! something to compare, linear near zero.

use std::f64::consts::LN_2;

use crate::signal::{BadWhen, Shape, SignalClass, SignalDef, Unit};

/// `asinh(x / 2c)`: differences are natural logarithms of ratios well above
/// `c`, and differences in units of `2c` below it. Unlike a logarithm it has
/// a value at zero and below, so that zero against a few errors compares.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scale {
    knee: f64,
    /// Of shares of what went well or is idle: what is missing from it is compared.
    top: Option<f64>,
}

impl Scale {
    /// The scale for a signal whose usual magnitude was `typical`.
    pub fn of(def: &SignalDef, by_traffic: bool, typical: f64) -> Self {
        let floor: f64 = match (def.shape, def.class, def.unit) {
            (Shape::Ratio, SignalClass::Errors, _) if def.refusals => 0.01,
            // Below a tenth of a per cent, error ratios are all alike.
            (Shape::Ratio, SignalClass::Errors, _) => 0.001,
            (Shape::Ratio | Shape::Slow, _, _) => 0.005,
            // Of a thousand sessions one that crashes is many.
            (Shape::Rate, SignalClass::Health, _) if by_traffic => 0.0001,
            (Shape::Rate, SignalClass::Errors | SignalClass::Logs, _) if by_traffic => 0.001,
            (Shape::Rate, SignalClass::Errors | SignalClass::Logs | SignalClass::Health, _) => 0.01,
            (Shape::Level, SignalClass::Errors, Unit::Ratio) => 0.001,
            (Shape::Level, SignalClass::Errors, _) if def.is_percent() => 0.1,
            (Shape::Level, SignalClass::Errors, _) => 0.01,
            (Shape::Rate, _, Unit::Ratio) => 0.005,
            (Shape::Rate, _, _) => 1e-6,
            (_, _, Unit::Seconds | Unit::Milliseconds | Unit::Microseconds | Unit::Nanoseconds) => {
                1e-4 * def.unit.per_second().unwrap_or(1.0)
            }
            (_, _, Unit::Bytes) => 65_536.0,
            // Told as a ratio, a tenth of the time busy is little.
            (_, SignalClass::Saturation, Unit::Count) if def.is_used_share() && typical <= 1.0 => 0.05,
            (_, SignalClass::Saturation, Unit::Count) => 1.0,
            (_, _, Unit::Count | Unit::Ratio | Unit::PerSecond) => 1e-9,
        };
        let share = match def.shape {
            // Ratios have an absolute meaning; their usual value sets no floor.
            Shape::Ratio | Shape::Slow => 0.0,
            Shape::Rate
                if matches!(def.class, SignalClass::Errors | SignalClass::Logs | SignalClass::Health) =>
            {
                0.0
            }
            Shape::Rate | Shape::Mean | Shape::Level => 0.1,
        };
        // Of shares the missing part compares, and nobody says whether they are
        // ratios or in per cent. A tenth of the time busy is little, wherever
        // it came from.
        let of_good = def.class == SignalClass::Errors && def.bad_when == BadWhen::Lower;
        let knee = match (of_good && def.shape == Shape::Level, def.is_idle_share()) {
            (true, _) => Some(0.002),
            (false, true) => Some(0.05),
            (false, false) => None,
        };
        if let Some(knee) = knee.filter(|_| (0.0..=100.0).contains(&typical)) {
            let top = if typical <= 1.0 { 1.0 } else { 100.0 };
            return Self { knee: knee * top, top: Some(top) };
        }
        Self { knee: floor.max(share * typical.abs()).max(f64::MIN_POSITIVE), top: None }
    }

    /// The scale for a restlessness that was `usual`.
    pub fn restlessness(usual: f64) -> Self {
        Self { knee: (0.2 * usual).max(0.002), top: None }
    }

    /// The value on this scale.
    pub fn of_value(self, value: f64) -> f64 {
        match self.top {
            Some(top) => -asinh((top - value) / (2.0 * self.knee)),
            None => asinh(value / (2.0 * self.knee)),
        }
    }

    /// The value at a place on this scale.
    pub fn value_at(self, place: f64) -> f64 {
        match self.top {
            Some(top) => top + 2.0 * self.knee * place.sinh(),
            None => 2.0 * self.knee * place.sinh(),
        }
    }

    /// The value that is `change` away from `value` on this scale.
    #[cfg(test)]
    fn moved(self, value: f64, change: f64) -> f64 {
        2.0 * self.knee * (self.of_value(value) + change).sinh()
    }

    /// How much the scale stretches a small difference at `value`.
    pub fn slope_at(self, value: f64) -> f64 {
        let value = self.top.map_or(value, |top| top - value);
        1.0 / (value * value + 4.0 * self.knee * self.knee).sqrt()
    }
}

/// The inverse hyperbolic sine to an absolute error of 1e-15, in a third of the
/// standard library's time, which is as exact near zero: differences on the
/// scale matter from a hundredth on.
fn asinh(x: f64) -> f64 {
    const SQUARE_MAX: f64 = 1e150;
    let size = x.abs();
    let positive =
        if size > SQUARE_MAX { size.ln() + LN_2 } else { (size + (size * size + 1.0).sqrt()).ln() };
    positive.copysign(x)
}

/// The least change that matters to somebody, on the scale, and where ratios
/// have an absolute meaning also as a difference. A change below it is never
/// acted on, however sure it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Practical {
    /// On the scale.
    pub change: f64,
    /// In the signal's own unit; 0 where it does not apply.
    pub absolute: f64,
}

impl Practical {
    /// What matters for a signal. Origins: an error budget of three nines is
    /// gone in days at 0.2 % of all requests; people notice latencies from a
    /// fifth on; capacity is planned with a quarter to spare; a shop's orders
    /// vary by less than a twentieth between equal machines.
    pub fn of(def: &SignalDef, by_traffic: bool) -> Self {
        let (change, absolute) = match def.class {
            SignalClass::Errors | SignalClass::Logs | SignalClass::Health => match def.shape {
                Shape::Ratio if def.refusals => (0.7, 0.03),
                Shape::Ratio => (0.5, 0.0015),
                Shape::Rate if by_traffic && def.error_kind => (0.4, 0.001),
                Shape::Rate if by_traffic && def.class == SignalClass::Health => (0.7, 0.0003),
                Shape::Rate if by_traffic => (0.7, 0.003),
                Shape::Rate => (0.7, 0.02),
                Shape::Level if def.is_percent() => (0.5, 0.15),
                Shape::Level if def.unit == Unit::Ratio => (0.5, 0.0015),
                Shape::Mean | Shape::Level | Shape::Slow => (0.5, 0.0),
            },
            SignalClass::Latency => match def.shape {
                Shape::Slow | Shape::Ratio => (0.5, 0.05),
                Shape::Mean | Shape::Rate => (0.22, 0.0),
                // Quantiles that somebody else computed, of unlike requests.
                Shape::Level => (0.35, 0.0),
            },
            SignalClass::Traffic => (1.2, 0.0),
            SignalClass::Business => (0.055, 0.0),
            SignalClass::Saturation if def.fills => (0.08, 0.0),
            SignalClass::Saturation => match def.shape {
                Shape::Ratio | Shape::Slow => (0.7, 0.1),
                Shape::Rate if def.is_calls() => (0.5, 0.0),
                // Waiting grows much faster than the load.
                Shape::Rate if def.is_waiting() => (0.6, 0.02),
                Shape::Rate => (0.25, 0.02),
                Shape::Mean => (0.7, 0.0),
                Shape::Level => (0.3, 0.0),
            },
            SignalClass::Other => (0.1, 0.0),
        };
        Self { change: change / def.weight, absolute: absolute / def.weight }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn differences_are_logarithms_of_ratios_above_the_knee() {
        let scale = Scale { knee: 0.001, top: None };
        let doubled = scale.of_value(0.4) - scale.of_value(0.2);
        assert!((doubled - 2f64.ln()).abs() < 1e-3, "{doubled}");
        assert_eq!(scale.of_value(0.0), 0.0);
    }

    #[test]
    fn shares_of_success_are_compared_by_what_fails() {
        let mut catalogue = crate::signal::Catalogue::default();
        catalogue.feeds(&std::sync::Arc::new("success_rate".parse().unwrap()));
        let (_, def) = catalogue.signals().next().unwrap();
        for (usual, less) in [(0.998, 0.988), (99.8, 98.8)] {
            let scale = Scale::of(def, false, usual);
            // Six times the failures: on the scale, as far as a ratio of errors.
            let fell = scale.of_value(less) - scale.of_value(usual);
            assert!((-1.6..-1.1).contains(&fell), "{fell}");
        }
    }

    #[test]
    fn shares_of_the_time_compare_whether_they_are_ratios_or_in_per_cent() {
        let mut catalogue = crate::signal::Catalogue::default();
        for name in ["process_cpu_usage", "db_pool_in_use"] {
            catalogue.feeds(&std::sync::Arc::new(name.parse().unwrap()));
        }
        let change = |at: usize, usual: f64, more: f64| {
            let (_, def) = catalogue.signals().nth(at).unwrap();
            let scale = Scale::of(def, false, usual);
            scale.of_value(more) - scale.of_value(usual)
        };
        assert!(change(0, 0.1, 0.4) > 1.2 && change(0, 10.0, 40.0) > 1.2);
        // Of connections a part of one is nothing.
        assert!(change(1, 0.1, 0.4) < 0.2, "{}", change(1, 0.1, 0.4));
    }

    #[test]
    fn asinh_is_that_of_the_standard_library() {
        for x in [0.0, 1e-300, 1e-9, 0.3, 1.0, 7e3, 1e149, 1e151, 1e308, f64::INFINITY] {
            for x in [x, -x] {
                let (own, std) = (asinh(x), x.asinh());
                assert!(own == std || (own - std).abs() <= 1e-15 * std.abs().max(1.0), "{x}: {own} {std}");
            }
        }
        assert!(asinh(f64::NAN).is_nan());
    }

    proptest! {
        #[test]
        fn the_scale_keeps_order_and_can_be_undone(knee in 1e-6..1e3f64, a in -1e6..1e6f64, change in -2.0..2.0f64) {
            let scale = Scale { knee, top: None };
            let moved = scale.moved(a, change);
            prop_assert!((scale.of_value(moved) - scale.of_value(a) - change).abs() < 1e-6);
        }
    }
}

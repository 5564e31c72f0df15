//! Round ticks and values with their units.

use crate::domain::Timestamp;
use crate::signal::Unit;

/// Ticks of one axis, with the text of each.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Axis {
    pub(super) low: f64,
    pub(super) high: f64,
    pub(super) ticks: Vec<(f64, String)>,
}

impl Axis {
    /// Where a value lies between the ends, 0 to 1, cut at both.
    pub(super) fn place(&self, value: f64) -> f64 {
        ((value - self.low) / (self.high - self.low)).clamp(0.0, 1.0)
    }
}

/// Factor and suffix that make values of a size readable.
struct Scaled {
    factor: f64,
    suffix: &'static str,
}

fn decimal_prefix(size: f64) -> Scaled {
    let steps = [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e4, "k")];
    match steps.iter().find(|(at, _)| size >= *at) {
        Some((_, "k")) => Scaled { factor: 1e3, suffix: "k" },
        Some(&(factor, suffix)) => Scaled { factor, suffix },
        None => Scaled { factor: 1.0, suffix: "" },
    }
}

fn scaled(unit: Unit, size: f64) -> Scaled {
    let size = size.abs();
    match unit {
        Unit::Ratio => Scaled { factor: 0.01, suffix: " %" },
        Unit::PerSecond => match decimal_prefix(size) {
            Scaled { factor, suffix: "k" } => Scaled { factor, suffix: " k/s" },
            Scaled { factor, suffix: "M" } => Scaled { factor, suffix: " M/s" },
            Scaled { factor, suffix: "G" } => Scaled { factor, suffix: " G/s" },
            Scaled { factor, suffix: "T" } => Scaled { factor, suffix: " T/s" },
            Scaled { factor, .. } => Scaled { factor, suffix: " /s" },
        },
        Unit::Seconds if size == 0.0 => Scaled { factor: 1e-3, suffix: " ms" },
        Unit::Seconds if size < 1e-3 => Scaled { factor: 1e-6, suffix: " µs" },
        Unit::Seconds if size < 1.0 => Scaled { factor: 1e-3, suffix: " ms" },
        Unit::Seconds if size < 300.0 => Scaled { factor: 1.0, suffix: " s" },
        Unit::Seconds if size < 36_000.0 => Scaled { factor: 60.0, suffix: " min" },
        Unit::Seconds => Scaled { factor: 3600.0, suffix: " h" },
        Unit::Milliseconds | Unit::Microseconds | Unit::Nanoseconds => {
            let each = unit.per_second().unwrap_or(1.0);
            let Scaled { factor, suffix } = scaled(Unit::Seconds, size / each);
            Scaled { factor: factor * each, suffix }
        }
        Unit::Bytes => {
            let steps = [(40, " TiB"), (30, " GiB"), (20, " MiB"), (10, " KiB")];
            match steps.iter().find(|(power, _)| size >= 2f64.powi(*power)) {
                Some((power, suffix)) => Scaled { factor: 2f64.powi(*power), suffix },
                None => Scaled { factor: 1.0, suffix: " B" },
            }
        }
        Unit::Count => decimal_prefix(size),
    }
}

/// `value` with as many decimals as three significant digits need.
fn significant(value: f64) -> String {
    let size = value.abs();
    let decimals = if size == 0.0 || size >= 100.0 {
        0
    } else if size >= 10.0 {
        1
    } else if size >= 0.995 {
        2
    } else {
        (2 - size.log10().floor() as i32).clamp(2, 6) as usize
    };
    let text = format!("{value:.decimals$}");
    let text =
        if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text };
    if text == "-0" { "0".to_owned() } else { text }
}

/// A value with its unit for people: `4.1 %`, `230 ms`, `1.2 GiB`, `830 /s`.
/// A value that is not finite is a dash.
pub fn format_value(unit: Unit, value: f64) -> String {
    if !value.is_finite() {
        return "–".to_owned();
    }
    let Scaled { factor, suffix } = scaled(unit, value);
    format!("{}{suffix}", significant(value / factor))
}

/// The least of 1, 2, 5 times a power of ten that is at least `least`.
fn round_step(least: f64) -> f64 {
    let power = 10f64.powf(least.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().find(|m| m * power >= least * 0.999_999);
    step.unwrap_or(10.0) * power
}

/// An axis over `low..=high` with about `count` ticks. It starts at zero
/// unless the values lie far from it and close together.
pub(super) fn value_axis(unit: Unit, low: f64, high: f64, count: f64) -> Axis {
    let (mut low, mut high) = if low.is_finite() && high.is_finite() { (low, high) } else { (0.0, 1.0) };
    if low >= 0.0 && (low < high * 0.75 || low == high) {
        low = 0.0;
    }
    if high <= low {
        high = low + if low == 0.0 { smallest_span(unit) } else { low.abs() * 0.1 };
    }
    let Scaled { factor, suffix } = scaled(unit, high.abs().max(low.abs()));
    let step = round_step(((high - low) / factor / count).max(f64::MIN_POSITIVE));
    let (first, last) = ((low / factor / step).floor(), (high / factor / step).ceil());
    if !(first.is_finite() && last.is_finite() && last - first <= 40.0) {
        return Axis { low, high, ticks: Vec::new() };
    }
    let decimals = (-step.log10().floor()).clamp(0.0, 9.0) as usize;
    let ticks = (0..=(last - first) as u32)
        .map(|i| (first + f64::from(i)) * step)
        .map(|tick| (tick * factor, format!("{tick:.decimals$}{suffix}")))
        .collect();
    Axis { low: first * step * factor, high: last * step * factor, ticks }
}

/// What an axis spans where all values are zero.
fn smallest_span(unit: Unit) -> f64 {
    match unit {
        Unit::Seconds | Unit::Milliseconds | Unit::Microseconds | Unit::Nanoseconds => {
            0.01 * unit.per_second().unwrap_or(1.0)
        }
        Unit::Ratio => 0.01,
        Unit::PerSecond | Unit::Count => 1.0,
        Unit::Bytes => 1024.0,
    }
}

const TIME_STEPS_S: [i64; 19] =
    [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400, 604_800];

/// An axis of moments in UTC with at most `count` ticks; values are
/// milliseconds since the Unix epoch.
pub(super) fn time_axis(from: Timestamp, until: Timestamp, count: f64) -> Axis {
    let (low, high) = (from.as_millis(), until.as_millis().max(from.as_millis().saturating_add(1000)));
    let span_s = (high - low) as f64 / 1e3;
    let step_s = TIME_STEPS_S.into_iter().find(|s| span_s / *s as f64 <= count).unwrap_or(604_800);
    let step = step_s * 1000;
    let first = low.div_euclid(step) + i64::from(low.rem_euclid(step) != 0);
    let ticks = (first..)
        .map(|i| i * step)
        .take_while(|at| *at <= high)
        .take(40)
        .map(|at| (at as f64, time_text(Timestamp::from_millis(at), step_s)))
        .collect();
    Axis { low: low as f64, high: high as f64, ticks }
}

fn time_text(at: Timestamp, step_s: i64) -> String {
    if step_s >= 86_400 {
        at.to_string().get(5..10).unwrap_or_default().to_owned()
    } else if step_s >= 60 {
        at.clock_time().get(..5).unwrap_or_default().to_owned()
    } else {
        at.clock_time()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn texts(axis: &Axis) -> Vec<&str> {
        axis.ticks.iter().map(|(_, text)| text.as_str()).collect()
    }

    #[test]
    fn values_carry_their_unit_in_a_readable_size() {
        assert_eq!(format_value(Unit::Ratio, 0.041), "4.1 %");
        assert_eq!(format_value(Unit::Ratio, 0.000_42), "0.042 %");
        assert_eq!(format_value(Unit::Seconds, 0.23), "230 ms");
        assert_eq!(format_value(Unit::Seconds, 90.0), "90 s");
        assert_eq!(format_value(Unit::Bytes, 1.5 * 1024.0 * 1024.0), "1.5 MiB");
        assert_eq!(format_value(Unit::PerSecond, 25_300.0), "25.3 k/s");
        assert_eq!(format_value(Unit::Count, 0.0), "0");
        assert_eq!(format_value(Unit::Count, f64::NAN), "–");
    }

    #[test]
    fn ticks_are_round_in_the_unit_that_is_shown() {
        assert_eq!(texts(&value_axis(Unit::Ratio, 0.001, 0.041, 4.0)), ["0 %", "2 %", "4 %", "6 %"]);
        assert_eq!(texts(&value_axis(Unit::Seconds, 0.0, 0.42, 4.0)), ["0 ms", "200 ms", "400 ms", "600 ms"]);
        let mib = 1024.0 * 1024.0;
        assert_eq!(
            texts(&value_axis(Unit::Bytes, 500.0 * mib, 518.0 * mib, 4.0)),
            ["500 MiB", "505 MiB", "510 MiB", "515 MiB", "520 MiB"]
        );
    }

    #[test]
    fn the_time_axis_has_whole_minutes() {
        let axis = time_axis(Timestamp::from_millis(61_000), Timestamp::from_millis(660_000), 6.0);
        assert_eq!(texts(&axis), ["00:02", "00:04", "00:06", "00:08", "00:10"]);
    }

    proptest! {
        #[test]
        fn every_value_lies_on_its_axis(a in -1e100..1e100, b in -1e100..1e100) {
            let (low, high) = if a < b { (a, b) } else { (b, a) };
            let axis = value_axis(Unit::Count, low, high, 4.0);
            prop_assert!(axis.ticks.len() <= 41);
            prop_assert!(axis.low <= low + low.abs() * 1e-9 && axis.high >= high - high.abs() * 1e-9);
            prop_assert!((0.0..=1.0).contains(&axis.place(low)) && (0.0..=1.0).contains(&axis.place(high)));
        }
    }
}

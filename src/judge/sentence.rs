//! Numbers and findings as a tired operator reads them.

use crate::signal::Unit;

/// A value with its unit: `4.1 %`, `12.3 /s`, `350 ms`, `1.4 GiB`.
pub fn value(value: f64, unit: Unit) -> String {
    match unit {
        _ if value.is_nan() => "unknown".to_owned(),
        Unit::Ratio => format!("{} %", significant(value * 100.0)),
        Unit::PerSecond => format!("{} /s", significant(value)),
        Unit::Seconds if value.abs() < 1e-3 => format!("{} µs", significant(value * 1e6)),
        Unit::Seconds if value.abs() < 1.0 => format!("{} ms", significant(value * 1e3)),
        Unit::Seconds => format!("{} s", significant(value)),
        Unit::Milliseconds | Unit::Microseconds | Unit::Nanoseconds => {
            self::value(value / unit.per_second().unwrap_or(1.0), Unit::Seconds)
        }
        Unit::Bytes => bytes(value),
        Unit::Count => significant(value),
    }
}

fn bytes(value: f64) -> String {
    let mut scaled = value;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if scaled.abs() < 1024.0 {
            return format!("{} {unit}", significant(scaled));
        }
        scaled /= 1024.0;
    }
    format!("{} TiB", significant(scaled))
}

/// Three significant digits, no exponent where it can be read without.
fn significant(value: f64) -> String {
    if !value.is_finite() {
        return "unknown".to_owned();
    }
    let magnitude = value.abs();
    if magnitude == 0.0 {
        return "0".to_owned();
    }
    if !(1e-4..1e7).contains(&magnitude) {
        return format!("{value:.2e}");
    }
    let decimals = (2 - magnitude.log10().floor() as i32).clamp(0, 6) as usize;
    let text = format!("{value:.decimals$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// `2 of 3 released machines`.
pub fn machines(shown: usize, judged: usize) -> String {
    let word = if judged == 1 { "machine" } else { "machines" };
    format!("{shown} of {judged} released {word}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_short_and_carry_their_unit() {
        assert_eq!(value(0.0412, Unit::Ratio), "4.12 %");
        assert_eq!(value(0.350, Unit::Seconds), "350 ms");
        assert_eq!(value(0.000_25, Unit::Seconds), "250 µs");
        assert_eq!(value(471.0, Unit::Milliseconds), "471 ms");
        assert_eq!(value(1_503_238_553.6, Unit::Bytes), "1.4 GiB");
        assert_eq!(value(12.34, Unit::PerSecond), "12.3 /s");
        assert_eq!(value(0.0, Unit::Count), "0");
        assert_eq!(value(f64::NAN, Unit::Count), "unknown");
        assert_eq!(value(123_456.0, Unit::Count), "123456");
    }
}

//! What the groups' sums over one window say: their values, and how much of a
//! difference counting alone makes.

use crate::signal::{Shape, SignalClass, SignalDef, Unit};

use super::baseline::Baseline;
use super::shift::Changes;

/// The noise of the groups' difference that comes of counting whole events.
pub(super) fn counting_noise(
    def: &SignalDef,
    baseline: &Baseline,
    changes: &Changes<'_>,
    window: usize,
    released: &[bool],
) -> f64 {
    let events = match (def.shape, def.class) {
        (Shape::Ratio | Shape::Slow, _) => true,
        (Shape::Rate, SignalClass::Saturation | SignalClass::Other) => false,
        (Shape::Rate, _) => def.unit == Unit::PerSecond,
        (Shape::Mean | Shape::Level, _) => false,
    };
    if !events {
        return 0.0;
    }
    let variance = |num: f64, den: f64| {
        if den <= 0.0 {
            return f64::NAN;
        }
        let value = (num + 0.5) / (den + 1.0);
        let spread = match def.shape {
            Shape::Ratio | Shape::Slow => (value * (1.0 - value)).max(0.0) / den,
            _ => baseline.grain * (num + 0.5 * baseline.grain) / (den * den),
        };
        spread * baseline.scale.slope_at(num / den).powi(2)
    };
    let group = |want: bool, sums: &[(f64, f64)]| {
        let (mut total, mut count) = (0.0, 0.0);
        for ((num, den), released) in sums.iter().zip(released) {
            let v = variance(*num, *den);
            if *released == want && v.is_finite() {
                total += v;
                count += 1.0;
            }
        }
        if count > 0.0 { total / (count * count) } else { 0.0 }
    };
    let after = group(true, changes.sums(window)) + group(false, changes.sums(window));
    let before = group(true, &baseline.base_sums) + group(false, &baseline.base_sums);
    (after + before).sqrt()
}

/// What the released members' samples of a gauge add up to, if all are whole
/// numbers: such a gauge counts something.
pub(super) fn whole_events(changes: &Changes<'_>, window: usize, released: &[bool]) -> Option<f64> {
    let sums = changes.sums(window).iter().zip(released);
    let own = sums.filter(|((_, den), released)| **released && *den > 0.0).map(|((num, _), _)| *num);
    own.map(|num| (num.fract() == 0.0).then_some(num)).sum()
}

/// Release before and after, reference before and after, in the unit.
pub(super) fn group_values(
    baseline: &Baseline,
    changes: &Changes<'_>,
    window: usize,
    released: &[bool],
    change: &[f64],
) -> [Option<f64>; 4] {
    let pooled = |want: bool, sums: &[(f64, f64)]| {
        let (mut num, mut den) = (0.0, 0.0);
        for (((n, d), r), change) in sums.iter().zip(released).zip(change) {
            if *r == want && change.is_finite() {
                num += n;
                den += d;
            }
        }
        (den > 0.0).then(|| num / den)
    };
    [
        pooled(true, &baseline.base_sums),
        pooled(true, changes.sums(window)),
        pooled(false, &baseline.base_sums),
        pooled(false, changes.sums(window)),
    ]
}

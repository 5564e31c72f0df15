//! Series that mostly stand still: errors that are nearly always zero, a
//! value that never moved. Here ranks and means say little, and counting what
//! leaves the usual value says it all.

use crate::judge::funnel::tail_probability;

/// At least this share of all values must be the usual one.
const USUAL_SHARE: f64 = 0.5;

/// What left the usual value, in both series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Events {
    usual: f64,
    /// Counted events, or values off the usual one.
    whole: bool,
    above: [f64; 2],
    below: [f64; 2],
    /// Values of experiment and control.
    exposure: [f64; 2],
}

/// The events of a pair whose values are mostly one and the same.
pub(super) fn of(e: &[f64], c: &[f64]) -> Option<Events> {
    if e.is_empty() || c.is_empty() {
        return None;
    }
    let usual = usual(e, c)?;
    let whole = usual == 0.0 && e.iter().chain(c).all(|v| *v >= 0.0 && v.fract() == 0.0 && *v < 1e9);
    let count = |values: &[f64], side: fn(f64, f64) -> bool| -> f64 {
        let off = values.iter().filter(|v| side(**v, usual));
        match whole {
            true => off.sum::<f64>() / clustering(values),
            false => off.count() as f64,
        }
    };
    let sides = |side| [count(e, side), count(c, side)];
    let (above, below) = (sides(|v, usual| v > usual), sides(|v, usual| v < usual));
    Some(Events { usual, whole, above, below, exposure: [e.len() as f64, c.len() as f64] })
}

/// The value that at least half of all have.
fn usual(e: &[f64], c: &[f64]) -> Option<f64> {
    let mut all: Vec<f64> = e.iter().chain(c).copied().collect();
    all.sort_by(f64::total_cmp);
    // Half of all values in one run: the middle lies in it.
    let candidates = [all[(all.len() - 1) / 2], all[all.len() / 2]];
    candidates.into_iter().find(|usual| {
        let run = all.partition_point(|v| v <= usual) - all.partition_point(|v| v < usual);
        run as f64 >= USUAL_SHARE * all.len() as f64
    })
}

/// How many events come at once, at least one: a burst of fifty is one event.
fn clustering(values: &[f64]) -> f64 {
    let mean = super::mean(values);
    if mean > 0.0 { (super::noise::variance(values) / mean).max(1.0) } else { 1.0 }
}

impl Events {
    /// The probability that chance brings as much in this direction.
    pub(super) fn tail(&self, upward: bool) -> f64 {
        let [own, other] = self.exposure;
        let more = |[e, c]: [f64; 2]| tail_probability(e, own, c, other);
        let fewer = |[e, c]: [f64; 2]| tail_probability(c, other, e, own);
        // Which of the two left the usual value is not said by the usual value.
        match upward {
            true => more(self.above).min(fewer(self.below)),
            false => more(self.below).min(fewer(self.above)),
        }
    }

    pub(super) fn told(&self) -> String {
        let (what, usual) = match self.whole {
            true => ("events", String::new()),
            false => ("values", format!(" off the usual {}", super::show(self.usual))),
        };
        let sum = |at: usize| super::show(self.above[at] + self.below[at]);
        format!(
            "{} {what}{usual} in {} values, control {} in {}",
            sum(0),
            self.exposure[0],
            sum(1),
            self.exposure[1]
        )
    }
}

//! When a change began: the change point of the difference between the groups,
//! by the energy distance of what was before and after it.

use crate::signal::{SignalDef, SignalId, Step};

use super::baseline::{Baseline, Dense, mean, median};
use super::shift::{Look, Shift};

/// Most values that a change point is looked for in: the search takes the
/// square of their number.
const BINS_MAX: usize = 120;

/// Fewest steps before the release that are compared with those after it.
const BEFORE_STEPS_MIN: Step = 30;

/// Fewest values before the release that may speak against it.
const BEFORE_BINS_MIN: usize = 12;

/// Fewest values since the release that are held against it: the strength of
/// fewer is small for want of them.
const AFTER_BINS_MIN: usize = 6;

/// A change point of the past with this share of the strength of the release's
/// own tells of a series that does such things.
const PAST_SHARE: f64 = 0.33;

/// Where the difference between the groups changed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Onset {
    /// The first step of the clearest change since the release.
    pub since: Step,
    /// Whether the time before the release has changes of that kind.
    pub is_usual: bool,
}

/// The difference between the groups, bin by bin; bins without data are left
/// out.
#[derive(Default)]
struct Around {
    values: Vec<f64>,
    /// The first step of each bin.
    at: Vec<Step>,
    /// How many bins are before the release.
    before: usize,
}

impl Look<'_> {
    /// When a shift began, by the difference of the groups from as long before
    /// the release of the first machines that show it as is known after. None
    /// where too little is known.
    pub(super) fn onset(
        &self,
        id: SignalId,
        def: &SignalDef,
        baseline: &Baseline,
        shift: &Shift,
    ) -> Option<Onset> {
        let around = self.around(id, def, baseline, shift)?;
        let splits = energy_of_splits(&around.values);
        // The split after `k + 1` values: the first of them is after the release.
        let own = around.before.max(1) - 1;
        let (at, strength) = splits
            .iter()
            .copied()
            .enumerate()
            .skip(own)
            .max_by(|a, b| a.1.total_cmp(&b.1))
            .filter(|(_, strength)| *strength > 0.0)?;
        let past = energy_of_splits(&around.values[..around.before]).into_iter().fold(0.0, f64::max);
        let after = around.values.len() - around.before;
        let enough = around.before >= BEFORE_BINS_MIN && after >= AFTER_BINS_MIN;
        let is_usual = enough && past > PAST_SHARE * strength;
        Some(Onset { since: *around.at.get(at + 1)?, is_usual })
    }

    fn around(&self, id: SignalId, def: &SignalDef, baseline: &Baseline, shift: &Shift) -> Option<Around> {
        let members = &self.observation.groups.members;
        let serving = |index: &usize| self.ready[*index] < self.to;
        let ready = shift.shows.iter().copied().filter(serving).map(|i| self.ready[i]).min()?;
        // Machines of later batches have another past.
        let first: Vec<usize> = shift.shows.iter().copied().filter(|i| self.ready[*i] <= ready + 2).collect();
        let left = first
            .iter()
            .filter_map(|i| members[*i].released_at)
            .map(|at| self.observation.window.step_at(at))
            .min()?
            .min(ready);
        let before = (self.to - ready).max(BEFORE_STEPS_MIN);
        let steps = usize::try_from(before + self.to - ready).ok()?;
        let width = Step::try_from(steps.div_ceil(BINS_MAX)).ok()?;
        let from = left - before / width * width;
        let read = |index: usize| {
            let cells = self.observation.cells(id, def, &members[index], baseline.bound);
            (Dense::new(cells, from, self.to, baseline.view, baseline.inner), baseline.base_of(index))
        };
        let released: Vec<_> = first.into_iter().map(read).collect();
        let reference: Vec<_> = (0..members.len()).filter(|i| !self.is_released(*i)).map(read).collect();
        let mut around = Around::default();
        let mut others = Vec::with_capacity(reference.len());
        let after = (0..).map(|bin| ready + bin * width).take_while(|at| at + width <= self.to);
        let bins = (0..before / width).map(|bin| from + bin * width).chain(after);
        for at in bins {
            let (a, b) = ((at - from) as usize, (at + width - from) as usize);
            let value = |(dense, base): &(Dense, f64)| dense.value(baseline.scale, a, b) - base;
            others.clear();
            others.extend(reference.iter().map(value));
            let usual_now = median(&mut others);
            let own = mean(released.iter().map(value));
            let difference = own - if usual_now.is_finite() { usual_now } else { 0.0 };
            if difference.is_finite() {
                around.before += usize::from(at < left);
                around.values.push(difference);
                around.at.push(at);
            }
        }
        Some(around)
    }
}

/// For each split of a series into its first 1, 2, .. values and the rest the
/// energy distance of both parts, weighted by their sizes: the larger, the
/// clearer the change (Matteson and James, 2014, with exponent 1).
fn energy_of_splits(values: &[f64]) -> Vec<f64> {
    let distances = |of: f64, to: &[f64]| to.iter().map(|v| (v - of).abs()).sum::<f64>();
    let all: f64 = values.iter().enumerate().map(|(i, v)| distances(*v, &values[..i])).sum();
    let (mut first, mut rest) = (0.0, all);
    (1..values.len())
        .map(|k| {
            first += distances(values[k - 1], &values[..k - 1]);
            rest -= distances(values[k - 1], &values[k..]);
            let (a, b) = (k as f64, (values.len() - k) as f64);
            let between = all - first - rest;
            a * b / (a + b) * 2.0 * (between / (a * b) - first / (a * a) - rest / (b * b))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clearest_split_is_where_the_level_or_the_spread_changed() {
        let clearest = |values: &[f64]| {
            let splits = energy_of_splits(values);
            (0..splits.len()).max_by(|a, b| splits[*a].total_cmp(&splits[*b])).unwrap() + 1
        };
        assert_eq!(clearest(&[0.0, 0.1, 0.0, 0.1, 1.0, 1.1, 1.0]), 4);
        let calm = (0..20).map(|i| f64::from(i % 2) * 0.1);
        let wild = (0..20).map(|i| if i % 2 == 0 { 1.0 } else { -1.0 });
        assert_eq!(clearest(&calm.chain(wild).collect::<Vec<_>>()), 20);
    }

    #[test]
    fn energy_has_the_value_computed_by_hand() {
        // 0 | 0 3: pairs between 0 and 3, within the rest 3, so 2*(3/2 - 3/4) * 2/3.
        let splits = energy_of_splits(&[0.0, 0.0, 3.0]);
        assert!((splits[0] - 1.0).abs() < 1e-12);
        assert!((splits[1] - 4.0).abs() < 1e-12);
        assert!(energy_of_splits(&[1.0]).is_empty() && energy_of_splits(&[]).is_empty());
    }
}

//! Numerator and denominator of one signal of one instance by step. What is
//! over is packed: most rows never change or hold small counts, and hundreds
//! of thousands of them are kept for hours.

use std::sync::Arc;

use super::window::Step;
use crate::domain::Timestamp;

/// Steps that are packed together.
const BLOCK: usize = 64;

/// Steps of one row that are over, to the last bit as they were.
#[derive(Clone, Debug)]
enum Block {
    Same(f32),
    Bytes(Box<[u8; BLOCK]>),
    Shorts(Box<[u16; BLOCK]>),
    /// Shared where rows are equal, as the seconds between scrapes are.
    Floats(Arc<[f32; BLOCK]>),
}

impl Block {
    fn of(values: &[f32; BLOCK], like: Option<&Block>) -> Self {
        let same_bits = |a: &f32, b: &f32| a.to_bits() == b.to_bits();
        if values.iter().all(|value| same_bits(value, &values[0])) {
            return Self::Same(values[0]);
        }
        // A negative zero is no count.
        let counts = values.iter().all(|v| v.fract() == 0.0 && v.is_sign_positive() && *v <= 65_535.0);
        if counts && values.iter().all(|v| *v <= 255.0) {
            return Self::Bytes(Box::new(values.map(|v| v as u8)));
        }
        if counts {
            return Self::Shorts(Box::new(values.map(|v| v as u16)));
        }
        match like {
            Some(Self::Floats(known)) if known.iter().zip(values).all(|(a, b)| same_bits(a, b)) => {
                Self::Floats(known.clone())
            }
            Some(_) | None => Self::Floats(Arc::new(*values)),
        }
    }

    fn value(&self, at: usize) -> f64 {
        match self {
            Self::Same(value) => f64::from(*value),
            Self::Bytes(values) => f64::from(values[at]),
            Self::Shorts(values) => f64::from(values[at]),
            Self::Floats(values) => f64::from(values[at]),
        }
    }

    /// Hands each place of `out` to `with`, with the values from `from` on.
    fn combine(&self, from: usize, out: &mut [f64], with: impl Fn(&mut f64, f64)) {
        match self {
            Self::Same(value) => out.iter_mut().for_each(|out| with(out, f64::from(*value))),
            Self::Bytes(values) => combine(&values[from..], out, with),
            Self::Shorts(values) => combine(&values[from..], out, with),
            Self::Floats(values) => combine(&values[from..], out, with),
        }
    }

    fn is_zero(&self) -> bool {
        matches!(self, Self::Same(value) if *value == 0.0)
    }
}

fn combine<T: Copy + Into<f64>>(values: &[T], out: &mut [f64], with: impl Fn(&mut f64, f64)) {
    for (out, value) in out.iter_mut().zip(values) {
        with(out, (*value).into());
    }
}

/// Numerator and denominator of one signal of one instance by step.
#[derive(Clone, Debug, Default)]
pub struct Column {
    /// The first step, a multiple of the block's length.
    first: Step,
    packed: Vec<(Block, Block)>,
    num: Vec<f32>,
    den: Vec<f32>,
    /// The last scrape that added time or a level to the denominator: it does
    /// so once, however many series feed the signal.
    stamp: Timestamp,
}

impl Column {
    /// The first step of the block that a step is in.
    pub(super) fn block_of(step: Step) -> Step {
        step.div_euclid(BLOCK as Step) * BLOCK as Step
    }

    /// Adds to one step, which is none of those that were packed.
    pub(super) fn add(&mut self, step: Step, num: f64, den: f64) {
        if self.is_empty() {
            self.first = Self::block_of(step);
        }
        let open = self.first + (self.packed.len() * BLOCK) as Step;
        let Ok(at) = usize::try_from(step - open) else { return };
        if at >= self.num.len() {
            self.num.resize(at + 1, 0.0);
            self.den.resize(at + 1, 0.0);
        }
        self.num[at] += num as f32;
        self.den[at] += den as f32;
    }

    /// True once for each scrape.
    pub(super) fn stamped(&mut self, at: Timestamp) -> bool {
        std::mem::replace(&mut self.stamp, at) != at
    }

    /// Packs what is before the block that begins at `now`, and forgets what
    /// is before `oldest`. `like` is a column that was packed before, whose
    /// denominators this one may have too.
    pub(super) fn pack(&mut self, now: Step, oldest: Step, like: Option<&Column>) {
        if self.is_empty() {
            return;
        }
        // The gap after what is kept is packed too: it ends here at the latest.
        let end = self.first + self.kept() as Step;
        if end <= oldest {
            *self = Self { stamp: self.stamp, ..Self::default() };
            return;
        }
        while self.first + ((self.packed.len() + 1) * BLOCK) as Step <= now {
            let taken = self.num.len().min(BLOCK);
            let take = |row: &mut Vec<f32>| {
                let mut values = [0.0; BLOCK];
                values[..taken].copy_from_slice(&row[..taken]);
                row.drain(..taken);
                values
            };
            let (num, den) = (take(&mut self.num), take(&mut self.den));
            let at = self.first + (self.packed.len() * BLOCK) as Step;
            let like = like.and_then(|column| column.packed_at(at));
            self.packed.push((Block::of(&num, None), Block::of(&den, like)));
        }
        let stale = usize::try_from(oldest.saturating_sub(self.first) / BLOCK as Step)
            .unwrap_or(0)
            .min(self.packed.len());
        self.packed.drain(..stale);
        self.first += (stale * BLOCK) as Step;
        let is_gone = |(num, den): &(Block, Block)| num.is_zero() && den.is_zero();
        if self.num.is_empty() && self.packed.iter().all(is_gone) {
            *self = Self { stamp: self.stamp, ..Self::default() };
        }
    }

    /// The denominators of the block that begins at a step.
    fn packed_at(&self, step: Step) -> Option<&Block> {
        let at = usize::try_from((step - self.first) / BLOCK as Step).ok()?;
        self.packed.get(at).map(|(_, den)| den)
    }

    fn kept(&self) -> usize {
        self.packed.len() * BLOCK + self.num.len()
    }

    /// Hands the places of `out`, which are the steps from `from` on, to
    /// `with`, each with its numerator, or its denominator, as far as kept.
    pub(super) fn combine(
        &self,
        numerators: bool,
        from: Step,
        out: &mut [f64],
        with: impl Fn(&mut f64, f64),
    ) {
        let skipped = usize::try_from((self.first - from).max(0)).unwrap_or(usize::MAX).min(out.len());
        let mut out = &mut out[skipped..];
        let mut at = usize::try_from((from - self.first).max(0)).unwrap_or(usize::MAX);
        let open = self.packed.len() * BLOCK;
        while at < open && !out.is_empty() {
            let (num, den) = &self.packed[at / BLOCK];
            let row = if numerators { num } else { den };
            let (now, later) = out.split_at_mut(out.len().min(BLOCK - at % BLOCK));
            row.combine(at % BLOCK, now, &with);
            at += now.len();
            out = later;
        }
        let row = if numerators { &self.num } else { &self.den };
        combine(row.get(at.saturating_sub(open)..).unwrap_or_default(), out, with);
    }

    /// Calls `put` with each kept numerator of `from..to`, or each denominator.
    fn each(&self, numerators: bool, from: Step, to: Step, mut put: impl FnMut(f64)) {
        let mut part = [0.0; BLOCK];
        let end = to.min(self.first + self.kept() as Step);
        let mut at = from.max(self.first);
        while at < end {
            let len = usize::try_from(end - at).unwrap_or(BLOCK).min(BLOCK);
            self.combine(numerators, at, &mut part[..len], |out, value| *out = value);
            part[..len].iter().for_each(|value| put(*value));
            at += len as Step;
        }
    }

    /// The sums of numerator and denominator over steps `from..to`.
    pub fn sum(&self, from: Step, to: Step) -> (f64, f64) {
        let (mut num, mut den) = (0.0, 0.0);
        self.each(true, from, to, |value| num += value);
        self.each(false, from, to, |value| den += value);
        (num, den)
    }

    /// Whether a step of `from..to` has a denominator.
    pub fn has_value(&self, from: Step, to: Step) -> bool {
        let mut found = false;
        self.each(false, from, to, |value| found |= value > 0.0);
        found
    }

    fn at(&self, numerators: bool, step: Step) -> f64 {
        let Ok(at) = usize::try_from(step - self.first) else { return 0.0 };
        let open = self.packed.len() * BLOCK;
        if at < open {
            let (num, den) = &self.packed[at / BLOCK];
            return if numerators { num } else { den }.value(at % BLOCK);
        }
        let row = if numerators { &self.num } else { &self.den };
        row.get(at - open).map_or(0.0, |value| f64::from(*value))
    }

    /// The numerator at one step; 0 where nothing is kept.
    pub fn num_at(&self, step: Step) -> f64 {
        self.at(true, step)
    }

    /// The denominator at one step; 0 where nothing is kept.
    pub fn den_at(&self, step: Step) -> f64 {
        self.at(false, step)
    }

    /// Whether nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.packed.is_empty() && self.num.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_packed_is_read_to_the_last_bit(
            start in -1_000..1_000i64,
            values in prop::collection::vec((prop_oneof![
                Just(0.0f32), Just(7.0), (0..300u32).prop_map(|v| v as f32),
                (0..70_000u32).prop_map(|v| v as f32), -10.0..10.0f32, Just(-0.0),
            ], 0.0..20.0f32), 1..400),
            run in 1..120usize,
        ) {
            let mut served = Column::default();
            let mut column = Column::default();
            let mut block = None;
            let mut plain = Vec::new();
            for (index, (num, den)) in values.iter().enumerate() {
                // Runs of equal values, as configurations and quiet counters have.
                let num = if (index / run) % 2 == 0 { *num } else { 3.0 };
                let step = start + index as Step;
                if block.replace(Column::block_of(step)) != Some(Column::block_of(step)) {
                    served.pack(Column::block_of(step), Step::MIN, None);
                    column.pack(Column::block_of(step), Step::MIN, Some(&served));
                }
                served.add(step, 0.0, f64::from(*den));
                column.add(step, f64::from(num), f64::from(*den));
                plain.push((f64::from(num), f64::from(*den)));
            }
            for (index, (num, den)) in plain.iter().enumerate() {
                let step = start + index as Step;
                prop_assert_eq!((column.num_at(step) + 0.0).to_bits(), (num + 0.0).to_bits());
                prop_assert_eq!(column.den_at(step).to_bits(), den.to_bits());
            }
            let end = start + plain.len() as Step;
            for (from, to) in [(start, end), (start - 5, end + 5), (start + 70, end), (end - 3, end), (end, start)] {
                let within = |i: &usize| (from..to).contains(&(start + *i as Step));
                let mut sums = (0.0, 0.0);
                for index in (0..plain.len()).filter(within) {
                    sums = (sums.0 + plain[index].0, sums.1 + plain[index].1);
                }
                prop_assert_eq!(column.sum(from, to), sums);
                prop_assert_eq!(column.has_value(from, to), sums.1 > 0.0);
            }
        }
    }

    #[test]
    fn what_is_too_old_is_forgotten_and_a_gap_costs_nothing() {
        let mut column = Column::default();
        for step in 0..200 {
            column.add(step, 1.0, 2.0);
        }
        column.pack(192, 100, None);
        assert_eq!((column.first, column.kept()), (64, 136));
        assert_eq!(column.sum(0, 200), (136.0, 272.0));
        // Seen again after a while, what was before still counts.
        column.pack(320, 130, None);
        column.add(330, 5.0, 1.0);
        assert_eq!(column.sum(128, 331), (77.0, 145.0));
        assert_eq!(column.num_at(250), 0.0);
        // And after a very long one nothing of it does.
        column.pack(64_000_000, 63_999_000, None);
        assert!(column.is_empty());
        column.add(64_000_003, 1.0, 1.0);
        assert_eq!(column.sum(0, Step::MAX), (1.0, 1.0));
    }

    #[test]
    fn a_series_that_is_gone_takes_no_room_once_it_is_too_old() {
        let mut column = Column::default();
        column.add(3, 1.0, 1.0);
        column.pack(64, -100, None);
        column.pack(640, 60, None);
        assert!(!column.is_empty());
        column.pack(704, 120, None);
        assert!(column.is_empty());
    }
}

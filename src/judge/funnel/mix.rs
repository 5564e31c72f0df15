//! Requests of another kind: who serves more of the slow ones is not slower.
//! Lumos (KDD 2020) found most false alarms of its kind to be such a change of
//! who or what is measured, and weighs it out first, as here.

use std::collections::BTreeMap;

use crate::signal::{Shape, SignalClass, SignalDef};

use super::baseline::View;
use super::shift::{Look, Shift};
use super::{Funnel, Judged};

/// How much of the requests must be of kinds that were there before.
const KNOWN_MIN: f64 = 0.5;

/// How much all requests must have moved, of what one kind of them did.
const MOVED_MIN: f64 = 0.5;

/// Part of the change that may be left when each kind has its old share.
const LEFT_MAX: f64 = 0.5;

/// Numerators and denominators of one kind of request, with and without the
/// release.
#[derive(Clone, Copy, Default)]
struct Kind {
    now: (f64, f64),
    usual: (f64, f64),
}

impl Kind {
    fn is_known(&self) -> bool {
        self.now.1 > 0.0 && self.usual.1 > 0.0
    }
}

impl Funnel {
    /// Whether a slowness of all requests together is none of any kind that was
    /// served before: each weighed with its old share, little of it is left.
    pub(super) fn mix_explains(
        &self,
        look: &Look<'_>,
        judged: &Judged,
        def: &SignalDef,
        shift: &Shift,
    ) -> bool {
        if def.class != SignalClass::Latency || !matches!(def.shape, Shape::Mean | Shape::Slow) {
            return false;
        }
        let catalogue = look.observation.window.catalogue();
        // All requests of one method are not known by route: all requests are.
        let own_label = def.segment.as_ref().map(|(label, _)| label);
        let is_whole = |part: &&Judged| {
            let of = catalogue.signal(part.id);
            let same = of.metric == def.metric && of.shape == def.shape && of.segment.is_none();
            same && part.baseline.view == View::Level && part.baseline.bound == judged.baseline.bound
        };
        let Some(judged) = self.judged.iter().find(is_whole) else { return false };
        let mut by_label: BTreeMap<&str, Vec<Kind>> = BTreeMap::new();
        for part in &self.judged {
            let of = catalogue.signal(part.id);
            let same = of.metric == def.metric && of.shape == def.shape && part.baseline.view == View::Level;
            // The share beyond another bound is another signal.
            let comparable = same && part.baseline.bound == judged.baseline.bound;
            if let Some((label, _)) =
                of.segment.as_ref().filter(|(label, _)| comparable && Some(label) != own_label)
            {
                by_label.entry(label).or_default().push(kind(look, part, of, shift));
            }
        }
        let whole = kind(look, judged, catalogue.signal(judged.id), shift);
        let scale = judged.baseline.scale;
        let moved = |now: f64, usual: f64| (scale.of_value(now) - scale.of_value(usual)).abs();
        let change = moved(whole.now.0 / whole.now.1, whole.usual.0 / whole.usual.1);
        by_label.values().any(|kinds| {
            let known = || kinds.iter().filter(|kind| kind.is_known());
            let weight: f64 = known().map(|kind| kind.usual.1).sum();
            let weighed = |value: fn(&Kind) -> (f64, f64)| {
                let each = known().map(|kind| (kind.usual.1, value(kind)));
                each.map(|(weight, (num, den))| weight * num / den).sum::<f64>() / weight
            };
            let left = moved(weighed(|kind| kind.now), weighed(|kind| kind.usual));
            weight >= KNOWN_MIN * whole.usual.1
                && left < LEFT_MAX * change
                && change >= MOVED_MIN * shift.change
        })
    }
}

/// The released machines in the shift's window, and before; where they have no
/// past, the reference machines now.
fn kind(look: &Look<'_>, judged: &Judged, def: &SignalDef, shift: &Shift) -> Kind {
    let windows = [shift.steps];
    let changes = look.changes(judged.id, def, &judged.baseline, &windows);
    let total = |sums: &[(f64, f64)], released: bool| {
        let group = sums.iter().zip(look.released).filter(|(_, r)| **r == released);
        group.fold((0.0, 0.0), |total, (own, _)| (total.0 + own.0, total.1 + own.1))
    };
    let has_past = shift.values[0].is_some();
    let usual =
        if has_past { total(&judged.baseline.base_sums, true) } else { total(changes.sums(0), false) };
    Kind { now: total(changes.sums(0), true), usual }
}

//! Signals that count failures, by window: how likely so many are by chance, with
//! what they clustered by before.

use crate::signal::{Shape, SignalClass, SignalDef};

use super::baseline::{Baseline, WINDOWS, mean};
use super::counts;
use super::shift::{Changes, Look};

/// What has no like in the past is that of all machines only where it began on
/// all just then: to exclude that, evidence weaker by this factor is enough.
const NOW_TIMES: f64 = 2.0;

/// Reference machines that fail by no more than this factor, and one event, more
/// often than all did before show no such thing.
const CALM_TIMES: f64 = 1.5;

/// What counting says of one window.
pub(super) struct Count {
    /// By chance.
    pub tail: f64,
    /// In standard deviations, with clustering allowed for.
    pub score: f64,
    /// Times the largest excess seen without a release.
    pub beyond_worst: f64,
    /// Nothing of the kind was ever seen before.
    pub is_new: bool,
}

impl Look<'_> {
    /// The count test: against everything seen without the release, and
    /// against the reference group at the same time; the weaker evidence
    /// counts, and clustering of events is allowed for.
    pub(super) fn count_tail(
        &self,
        def: &SignalDef,
        baseline: &Baseline,
        changes: &Changes<'_>,
        window: usize,
        released: &[bool],
    ) -> Count {
        if !is_counted(def) || baseline.dispersion.is_empty() {
            return Count { tail: 1.0, score: 0.0, beyond_worst: 0.0, is_new: false };
        }
        let (mut events, mut exposure) = (0.0, 0.0);
        let (mut past_events, mut past_exposure) = (0.0, 0.0);
        let (mut now_events, mut now_exposure) = (0.0, 0.0);
        let (mut own_events, mut own_exposure) = (0.0, 0.0);
        for (index, released) in released.iter().enumerate() {
            let (num, den) = changes.sums(window)[index];
            let (before_num, before_den) = baseline.totals.get(index).copied().unwrap_or_default();
            past_events += before_num;
            past_exposure += before_den;
            if *released {
                events += num;
                exposure += den;
                own_events += before_num;
                own_exposure += before_den;
            } else {
                now_events += num;
                now_exposure += den;
            }
        }
        // Machines that failed more than others before go on doing so.
        let own = (own_events > 0.0).then_some((own_events, own_exposure));
        let now = (now_exposure > 0.0).then_some((now_events, now_exposure));
        let past = Some((past_events, past_exposure));
        let usual_now = past_events / past_exposure * now_exposure;
        // Machines without a past may differ from the others for ever.
        let calm = own_exposure > 0.0 && now_events <= CALM_TIMES * usual_now + 1.0;
        let times = if calm { NOW_TIMES } else { 1.0 };
        let (mut tail, mut raw) = (0.0f64, f64::INFINITY);
        for (times, of) in [(1.0, past), (1.0, own), (times, now)] {
            let Some((num, den)) = of else { continue };
            let by_chance = counts::tail_probability(events, exposure, num, den);
            tail = tail.max(by_chance);
            raw = raw.min(times * counts::standard_score(by_chance, events, exposure, num, den));
        }
        let each = |of_group: bool| {
            let sums = changes.sums(window).iter().zip(released);
            mean(sums.filter(|(sum, r)| **r == of_group && sum.1 > 0.0).map(|(sum, _)| sum.1))
        };
        // With less traffic the same span holds fewer events that cluster.
        let share = (each(true) / each(false)).min(1.0);
        let steps = WINDOWS[window] as f64 * if share.is_finite() { share } else { 1.0 };
        let alike = WINDOWS.iter().rposition(|w| *w as f64 <= steps).unwrap_or(0);
        let worst = baseline.worst_excess[alike];
        Count {
            tail,
            score: raw / baseline.dispersion[alike].sqrt(),
            beyond_worst: if worst > 0.0 { raw / worst } else { f64::INFINITY },
            is_new: past_events + now_events == 0.0 && events >= 1.0,
        }
    }
}

/// Signals whose numerators are events that failed: sparse, and counted.
pub fn is_counted(def: &SignalDef) -> bool {
    matches!(def.shape, Shape::Ratio | Shape::Rate)
        && matches!(def.class, SignalClass::Errors | SignalClass::Logs | SignalClass::Health)
}

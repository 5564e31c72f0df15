//! What surrounds a shift, beyond what its tests need: for the trained model.

use crate::domain::Group;
use crate::signal::SignalDef;

use super::baseline::{Baseline, WINDOWS, contrast, mean, median};
use super::counted::is_counted;
use super::shift::{Changes, Look, Shift};

/// Numbers around one shift, all against the shift's own change unless they
/// say otherwise. NaN where unknown.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Vicinity {
    /// The score, times the one that the error budget asks for.
    pub score_times: f64,
    /// The largest change of one reference machine in the same direction.
    pub reference_most: f64,
    /// Share of the reference machines that moved by half as much.
    pub reference_share: f64,
    /// How many reference machines were compared.
    pub reference_machines: f64,
    /// The least change of one released machine.
    pub released_least: f64,
    /// The largest change of one released machine.
    pub released_most: f64,
    /// What the newest third of the window shows.
    pub newest: f64,
    /// What the newest step shows.
    pub last_step: f64,
    /// What a window about three times as long shows.
    pub longer: f64,
    /// Share of the windows that show half of it.
    pub windows: f64,
    /// The noise of the group's difference over such windows without a release.
    pub noise: f64,
    /// Failed events of the released machines in the window; of counted signals.
    pub events: f64,
    /// How many there would be at their usual rate; of counted signals.
    pub events_usual: f64,
    /// How the released machines' traffic moved, as a logarithm.
    pub released_traffic: f64,
    /// How the reference machines' traffic moved, as a logarithm.
    pub reference_traffic: f64,
    /// How many pseudo-releases the noise comes from.
    pub pseudo_releases: f64,
}

impl Default for Vicinity {
    fn default() -> Self {
        Self {
            score_times: f64::NAN,
            reference_most: f64::NAN,
            reference_share: f64::NAN,
            reference_machines: f64::NAN,
            released_least: f64::NAN,
            released_most: f64::NAN,
            newest: f64::NAN,
            last_step: f64::NAN,
            longer: f64::NAN,
            windows: f64::NAN,
            noise: f64::NAN,
            events: f64::NAN,
            events_usual: f64::NAN,
            released_traffic: f64::NAN,
            reference_traffic: f64::NAN,
            pseudo_releases: f64::NAN,
        }
    }
}

impl Look<'_> {
    /// Looks once more at a shift that was found.
    pub fn vicinity(&self, def: &SignalDef, baseline: &Baseline, shift: &Shift) -> Vicinity {
        let changes = self.changes(shift.signal, def, baseline, &WINDOWS);
        let Some(window) = WINDOWS.iter().position(|w| *w == shift.steps) else { return Vicinity::default() };
        let sign = if shift.upward { 1.0 } else { -1.0 };
        let times = |change: f64| if shift.change > 0.0 { sign * change / shift.change } else { f64::NAN };
        let each = |want: bool| {
            let with_group = changes.change(window).iter().zip(self.released);
            with_group.filter(move |(c, r)| **r == want && c.is_finite()).map(|(c, _)| times(*c))
        };
        let mut buffer = Vec::new();
        let mut over = |window: usize| times(contrast(changes.change(window), self.released, &mut buffer));
        let third = WINDOWS.iter().rposition(|w| *w * 3 <= shift.steps).unwrap_or(0);
        let longer = WINDOWS.iter().position(|w| *w >= shift.steps * 3).unwrap_or(WINDOWS.len() - 1);
        let (newest, last_step, longer) = (over(third), over(0), over(longer));
        let known: Vec<f64> = (0..WINDOWS.len()).map(&mut over).filter(|c| c.is_finite()).collect();
        let (events, events_usual) = self.events(def, baseline, &changes, window);
        Vicinity {
            score_times: shift.score / self.budget.score,
            reference_most: each(false).fold(f64::NAN, f64::max),
            reference_share: mean(each(false).map(|c| f64::from(u8::from(c >= 0.5)))),
            reference_machines: each(false).count() as f64,
            released_least: each(true).fold(f64::NAN, f64::min),
            released_most: each(true).fold(f64::NAN, f64::max),
            newest,
            last_step,
            longer,
            windows: mean(known.iter().map(|c| f64::from(u8::from(*c >= 0.5)))),
            noise: times(sign * baseline.noise[window]),
            events,
            events_usual,
            released_traffic: self.traffic_moved(window, true),
            reference_traffic: self.traffic_moved(window, false),
            pseudo_releases: baseline.pseudo_releases as f64,
        }
    }

    fn events(
        &self,
        def: &SignalDef,
        baseline: &Baseline,
        changes: &Changes<'_>,
        window: usize,
    ) -> (f64, f64) {
        if !is_counted(def) {
            return (f64::NAN, f64::NAN);
        }
        let (mut events, mut exposure) = (0.0, 0.0);
        let (mut past_events, mut past_exposure) = (0.0, 0.0);
        for ((member, (num, den)), total) in
            self.observation.groups.members.iter().zip(changes.sums(window)).zip(&baseline.totals)
        {
            past_events += total.0;
            past_exposure += total.1;
            if member.group() == Group::Release {
                events += num;
                exposure += den;
            }
        }
        (events, if past_exposure > 0.0 { exposure * past_events / past_exposure } else { f64::NAN })
    }

    fn traffic_moved(&self, window: usize, released: bool) -> f64 {
        let Some(traffic) = self.traffic else { return f64::NAN };
        let each = traffic.change(window).iter().zip(self.released);
        median(&mut each.filter(|(_, r)| **r == released).map(|(c, _)| *c).collect())
    }
}

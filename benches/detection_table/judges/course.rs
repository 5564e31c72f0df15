//! A recording as the comparison judges want it: one value a signal, instance
//! and minute.

use std::time::Duration;

use release_guardian::adapters::recording::Recording;
use release_guardian::app::replay::scrape_interval;
use release_guardian::signal::{
    BadWhen, Groups, Member, Observation, Shape, SignalClass, SignalId, SignalSettings, Step, Window,
};

/// Seconds that one value is taken over, where scrapes are closer together.
const BIN_SECONDS: f64 = 60.0;

/// The quantile that a histogram's value is.
const QUANTILE: f64 = 0.99;

/// One signal with a value by member and bin; NaN where there is none.
#[derive(Clone, Debug)]
pub struct Metric {
    /// What it is about.
    pub class: SignalClass,
    /// How its value comes about.
    pub shape: Shape,
    /// Which way is bad.
    pub bad_when: BadWhen,
    /// Whose calls: the process's own, to others.
    pub outgoing: bool,
    /// `[member][bin]`.
    pub values: Vec<Vec<f64>>,
    /// The same over all released members together, by bin.
    pub released: Vec<f64>,
}

/// A release from its first known minute to its last.
#[derive(Clone, Debug)]
pub struct Course {
    /// The signals.
    pub metrics: Vec<Metric>,
    /// By member the first whole bin after its batch began; absent in the
    /// reference group.
    pub released_from: Vec<Option<usize>>,
    /// The bin that begins with the release.
    pub start: usize,
    /// How many there are.
    pub bins: usize,
    /// Length of a bin.
    pub bin_seconds: f64,
    /// From the order's start to the first batch's.
    pub lead_seconds: f64,
}

impl Course {
    /// Of a recording.
    pub fn of(recording: &Recording) -> Self {
        let order = &recording.order;
        let (first, last) = recording.samples.span().unwrap_or((order.started_at, order.started_at));
        let history = last.since(first) + Duration::from_secs(60);
        let mut window = Window::new(scrape_interval(recording), history, SignalSettings::default());
        recording.scrapes().for_each(|scrape| window.take(&scrape));
        let mut groups = Groups::default();
        groups.add_reference(order.reference.iter().cloned());
        order.batches.iter().for_each(|batch| groups.release(batch));

        let begins = order.batches.iter().map(|b| b.started_at).min().unwrap_or(order.started_at);
        let step_seconds = window.step().as_secs_f64();
        let bin_steps = (BIN_SECONDS / step_seconds).round().max(1.0) as Step;
        let begin = window.step_at(begins);
        let before = (begin - window.step_at(first)).max(0) / bin_steps;
        let after = (window.step_at(last) - begin).max(0) / bin_steps;
        let bins =
            Bins { first: begin - before * bin_steps, steps: bin_steps, count: (before + after) as usize };
        let released_from = groups
            .members
            .iter()
            .map(|m| {
                Some((window.step_at(m.released_at?) - bins.first).max(0).div_euclid(bin_steps) as usize + 1)
            })
            .collect();
        let mut observation = Observation::new(&window, &groups, None);
        observation.traffic = observation.main_traffic(bins.first, begin);
        let released: Vec<&Member> = groups.members.iter().filter(|m| m.released_at.is_some()).collect();
        let metrics = window
            .catalogue()
            .signals()
            .filter(|(_, def)| !def.muted && !def.informative && def.segment.is_none())
            .map(|(id, def)| Metric {
                class: def.class,
                shape: def.shape,
                bad_when: def.bad_when,
                outgoing: def.outgoing,
                values: groups.members.iter().map(|m| bins.values(&observation, id, &[m])).collect(),
                released: bins.values(&observation, id, &released),
            })
            .collect();
        Self {
            metrics,
            released_from,
            start: before as usize,
            bins: bins.count,
            bin_seconds: step_seconds * bin_steps as f64,
            lead_seconds: begins.seconds_from(order.started_at),
        }
    }

    /// When a look that sees the bins before `to` takes place, in seconds from
    /// the release's start.
    pub fn seconds_at(&self, to: usize) -> f64 {
        self.lead_seconds + (to as f64 - self.start as f64) * self.bin_seconds
    }

    /// All values of one metric and group in bins `from..to`: of released
    /// members only what follows their batch, or what precedes it.
    pub fn pooled(&self, metric: &Metric, group: Pool, from: usize, to: usize) -> Vec<f64> {
        let mut pooled = Vec::new();
        for (values, released_from) in metric.values.iter().zip(&self.released_from) {
            let (a, b) = match (group, released_from) {
                (Pool::Released, Some(at)) => (from.max(*at), to),
                (Pool::Before, Some(at)) => (from, to.min(at.saturating_sub(1))),
                (Pool::Reference, None) => (from, to),
                (Pool::Released | Pool::Before, None) | (Pool::Reference, Some(_)) => continue,
            };
            if a < b {
                pooled.extend(values[a..b.min(values.len())].iter().filter(|v| v.is_finite()));
            }
        }
        pooled
    }
}

/// Which values are put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pool {
    /// Of released members, since their batch.
    Released,
    /// Of released members, before their batch.
    Before,
    /// Of the reference group.
    Reference,
}

struct Bins {
    first: Step,
    steps: Step,
    count: usize,
}

impl Bins {
    fn values(&self, observation: &Observation<'_>, id: SignalId, members: &[&Member]) -> Vec<f64> {
        (0..self.count)
            .map(|bin| {
                let from = self.first + bin as Step * self.steps;
                value(observation, id, members, from, from + self.steps)
            })
            .collect()
    }
}

fn value(observation: &Observation<'_>, id: SignalId, members: &[&Member], from: Step, to: Step) -> f64 {
    let def = observation.window.catalogue().signal(id);
    if def.shape == Shape::Slow {
        return quantile(observation, id, &def.bounds, members, from, to);
    }
    let (mut num, mut den) = (0.0, 0.0);
    for cells in members.iter().filter_map(|m| observation.cells(id, def, m, None)) {
        let (n, d) = cells.sum(from, to);
        num += n;
        den += d;
    }
    if den > 0.0 { num / den } else { f64::NAN }
}

/// A histogram's quantile, linear within a bucket; beyond the last bound it is
/// that bound.
fn quantile(
    observation: &Observation<'_>,
    id: SignalId,
    bounds: &[f64],
    members: &[&Member],
    from: Step,
    to: Step,
) -> f64 {
    let instances: Vec<_> = members.iter().filter_map(|m| observation.instance(m)).collect();
    let total: f64 = instances.iter().filter_map(|i| i.column(id)).map(|c| c.sum(from, to).1).sum();
    if total <= 0.0 {
        return f64::NAN;
    }
    let wanted = QUANTILE * total;
    let (mut low, mut below) = (0.0, 0.0);
    for bound in bounds.iter().filter(|b| b.is_finite()) {
        let count: f64 =
            instances.iter().filter_map(|i| i.bucket(id, *bound)).map(|c| c.sum(from, to).0).sum();
        if count >= wanted {
            let share = if count > below { (wanted - below) / (count - below) } else { 1.0 };
            return low + share * (bound - low);
        }
        (low, below) = (*bound, count);
    }
    low
}

//! What nobody declares: a metric that only ever rises is a counter, whatever
//! its name. Exporters of JMX, StatsD and Graphite leave the type out.

use std::collections::HashMap;

use super::{Catalogue, SignalId};
use crate::domain::{MetricKind, SeriesKey};
use crate::signal::catalogue::{Role, Shape};

/// Rises of all series together that prove a counter, and to how many of them a
/// fall may be a restart: a level that wanders falls as often as it rises.
const RISES_MIN: u32 = 20;
const RISES_A_FALL: u32 = 20;

/// Fewest values of the series that proves it: many levels rise for a while.
const VALUES_MIN: u32 = 20;

/// With so many falls it is a level if it is no counter by then.
const FALLS_MAX: u32 = 20;

/// A counter starts anew from little.
const FALLS_TO: f64 = 0.9;

/// What a metric is, by its values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nature {
    /// Too little was seen.
    Unknown,
    /// It counts.
    Counter,
    /// It goes up and down.
    Level,
}

/// How all series of one metric moved.
#[derive(Clone, Copy, Debug, Default)]
struct Moves {
    rises: u32,
    falls: u32,
}

/// What is known of metrics without a declared type.
#[derive(Clone, Debug, Default)]
pub struct Undeclared {
    moves: HashMap<String, Moves>,
    /// Levels that are counted now, by metric.
    retired: HashMap<String, Vec<SignalId>>,
}

impl Undeclared {
    /// Takes the next value of a series that had `values` so far.
    pub fn moved(&mut self, name: &str, last: f64, value: f64, values: u32) -> Nature {
        let moves = match self.moves.get_mut(name) {
            Some(moves) => moves,
            None => self.moves.entry(name.to_owned()).or_default(),
        };
        let fell_little = value < last && value > FALLS_TO * last;
        moves.rises += u32::from(value > last);
        moves.falls += u32::from(value < last) * if fell_little { FALLS_MAX } else { 1 };
        let only_rises = moves.falls * RISES_A_FALL <= moves.rises;
        if only_rises && moves.rises >= RISES_MIN && values >= VALUES_MIN {
            Nature::Counter
        } else if moves.falls >= FALLS_MAX && !only_rises {
            Nature::Level
        } else {
            Nature::Unknown
        }
    }
}

impl Catalogue {
    /// Whether values may still prove that a series counts.
    pub fn may_count(&self, series: &SeriesKey, roles: impl IntoIterator<Item = Role>) -> bool {
        let mut roles = roles.into_iter().peekable();
        let is_level =
            roles.peek().is_some() && roles.all(|role| matches!(role, Role::Level | Role::LevelMean));
        is_level && series.label("quantile").is_none() && !self.kinds.contains_key(series.name())
    }

    /// Takes the next value of a series that may count.
    pub fn moved(&mut self, name: &str, last: f64, value: f64, values: u32) -> Nature {
        self.undeclared.moved(name, last, value, values)
    }

    /// From now on a metric is a counter; false where it fills, as memory and
    /// configurations do, which rises for hours without being counted.
    pub fn count(&mut self, name: &str) -> bool {
        let levels = || self.signals().filter(|(_, def)| def.metric == name && def.shape == Shape::Level);
        if levels().any(|(_, def)| def.fills || def.informative) {
            return false;
        }
        let levels: Vec<SignalId> = levels().filter(|(_, def)| !def.muted).map(|(id, _)| id).collect();
        levels.iter().for_each(|id| self.defs[id.index()].muted = true);
        self.undeclared.retired.insert(name.to_owned(), levels);
        self.declare(name, MetricKind::Counter);
        true
    }

    /// It was no counter: values fell as no counter's do.
    pub fn uncount(&mut self, name: &str) {
        let levels = self.undeclared.retired.remove(name).unwrap_or_default();
        self.defs.iter_mut().filter(|def| def.metric == name).for_each(|def| def.muted = true);
        levels.iter().for_each(|id| self.defs[id.index()].muted = false);
        self.declare(name, MetricKind::Gauge);
    }

    /// Whether a counter that values proved fell as none does.
    pub fn is_disproved(&self, name: &str, last: f64, value: f64) -> bool {
        value < last && value > FALLS_TO * last && self.undeclared.retired.contains_key(name)
    }

    fn declare(&mut self, name: &str, kind: MetricKind) {
        self.kinds.insert(name.to_owned(), (kind, None));
        self.feeds.retain(|series, _| series.name() != name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nature(values: impl IntoIterator<Item = f64>) -> Nature {
        let mut undeclared = Undeclared::default();
        let mut last: Option<f64> = None;
        let mut nature = Nature::Unknown;
        for (count, value) in values.into_iter().enumerate() {
            if let Some(last) = last.filter(|last| *last != value) {
                nature = undeclared.moved("requests", last, value, count as u32 + 1);
            }
            last = Some(value);
        }
        nature
    }

    #[test]
    fn what_only_rises_is_a_counter_and_a_restart_does_not_change_that() {
        assert_eq!(nature((0..19).map(f64::from)), Nature::Unknown);
        assert_eq!(nature((0..40).map(f64::from)), Nature::Counter);
        assert_eq!(nature((0..40).chain(0..40).map(f64::from)), Nature::Counter);
    }

    #[test]
    fn what_wanders_or_falls_a_little_is_a_level() {
        assert_eq!(nature((0..90).map(|k| f64::from(k % 3))), Nature::Level);
        assert_eq!(nature((0..40).map(f64::from).chain([38.5, 39.0])), Nature::Level);
    }
}

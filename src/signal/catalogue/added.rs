//! Signals that settings add to those that are found.

use super::super::names;
use super::super::{BadWhen, SignalClass, Unit};
use super::Catalogue;
use super::def::{Draft, Feed, Role, Shape, SignalId};
use super::describe::parse_bound;
use super::setting::{AddedValue, SignalAddition};
use crate::domain::{Selector, SeriesKey};

impl AddedValue {
    /// What a series adds to it.
    fn role(&self, series: &SeriesKey) -> Option<Role> {
        match self {
            Self::Ratio { bad, all } => match (bad.selects(series), all.selects(series)) {
                (true, true) => Some(Role::Both),
                (true, false) => Some(Role::Numerator),
                (false, true) => Some(Role::Denominator),
                (false, false) => None,
            },
            Self::Rate { events } => events.selects(series).then_some(Role::PerSecond),
            Self::Level { of, mean } => of.selects(series).then_some(match mean {
                true => Role::LevelMean,
                false => Role::Level,
            }),
            Self::Histogram { of, .. } => {
                let family = series.name().strip_suffix("_bucket")?;
                if of.name.as_deref() != Some(family) || !of.holds(|label| series.label(label)) {
                    return None;
                }
                match series.label("le").and_then(parse_bound)? {
                    bound if bound.is_finite() => Some(Role::Bucket(bound)),
                    _ => Some(Role::Denominator),
                }
            }
        }
    }

    fn selector(&self) -> &Selector {
        match self {
            Self::Ratio { bad, .. } => bad,
            Self::Rate { events } => events,
            Self::Level { of, .. } | Self::Histogram { of, .. } => of,
        }
    }

    fn shape(&self) -> Shape {
        match self {
            Self::Ratio { .. } => Shape::Ratio,
            Self::Rate { .. } => Shape::Rate,
            Self::Level { .. } => Shape::Level,
            Self::Histogram { .. } => Shape::Slow,
        }
    }

    fn unit(&self) -> Unit {
        match self {
            Self::Ratio { .. } | Self::Histogram { .. } => Unit::Ratio,
            Self::Rate { .. } => Unit::PerSecond,
            Self::Level { .. } => Unit::Count,
        }
    }

    fn class(&self) -> SignalClass {
        match self {
            Self::Ratio { .. } => SignalClass::Errors,
            Self::Histogram { .. } => SignalClass::Latency,
            Self::Rate { .. } | Self::Level { .. } => SignalClass::Other,
        }
    }
}

/// Which way is bad where settings do not say.
fn bad_when(class: SignalClass, shape: Shape) -> BadWhen {
    match (class, shape) {
        (_, Shape::Ratio | Shape::Slow) => BadWhen::Higher,
        (SignalClass::Business | SignalClass::Traffic, _) => BadWhen::Lower,
        (
            SignalClass::Errors
            | SignalClass::Latency
            | SignalClass::Saturation
            | SignalClass::Logs
            | SignalClass::Health,
            _,
        ) => BadWhen::Higher,
        (SignalClass::Other, _) => BadWhen::Either,
    }
}

/// Whether events are counted against the main traffic, as they are where
/// such signals are found.
fn is_by_traffic(class: SignalClass) -> bool {
    match class {
        SignalClass::Errors | SignalClass::Business | SignalClass::Logs | SignalClass::Health => true,
        SignalClass::Latency | SignalClass::Traffic | SignalClass::Saturation | SignalClass::Other => false,
    }
}

fn warms(class: SignalClass) -> bool {
    match class {
        SignalClass::Latency | SignalClass::Saturation | SignalClass::Other => true,
        SignalClass::Errors
        | SignalClass::Traffic
        | SignalClass::Business
        | SignalClass::Logs
        | SignalClass::Health => false,
    }
}

impl Catalogue {
    /// What settings make of a series besides what was found. Where settings
    /// read a level and a counter was found, or the other way round, settings
    /// know better.
    pub(super) fn describe_added(&mut self, series: &SeriesKey, feeds: &mut Vec<Feed>) {
        let mut kind = None;
        for index in 0..self.settings.added.len() {
            let Some(role) = self.settings.added[index].value.role(series) else { continue };
            let is_level = role.is_level();
            if *kind.get_or_insert(is_level) != is_level {
                continue;
            }
            feeds.retain(|feed| feed.role.is_level() == is_level);
            let Some(signal) = self.added_signal(index) else { continue };
            if let Role::Bucket(bound) = role {
                self.defs[signal.index()].learn_bound(bound);
            }
            feeds.push(Feed { signal, role });
        }
    }

    fn added_signal(&mut self, index: usize) -> Option<SignalId> {
        let addition = self.settings.added[index].clone();
        let key = (addition.name.clone(), "added", None);
        if let Some(id) = self.by_key.get(&key) {
            return Some(*id);
        }
        let def = addition.define();
        self.insert(key, def)
    }
}

impl SignalAddition {
    fn define(&self) -> super::SignalDef {
        let shape = self.value.shape();
        let class = self.class.unwrap_or(self.value.class());
        let metric = self.value.selector().name.clone().unwrap_or_default();
        let draft = Draft {
            by_traffic: shape == Shape::Rate && is_by_traffic(class),
            warms: warms(class),
            fills: shape == Shape::Level && names::fills_with_age(&metric),
            ..Draft::new(
                "",
                class,
                self.unit.unwrap_or(self.value.unit()),
                self.bad_when.unwrap_or(bad_when(class, shape)),
                shape,
            )
        };
        let mut def = draft.finish(&metric, None);
        def.name.clone_from(&self.name);
        def.weight = self.weight;
        if let AddedValue::Histogram { quantile, .. } = self.value {
            def.slow_share = 1.0 - quantile;
        }
        def
    }
}

//! Which signals an application has: found by itself from types, names and
//! labels, then named, directed, weighed or muted by settings.

mod added;
mod def;
mod describe;
mod setting;
#[cfg(test)]
mod tests;
mod undeclared;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

pub use def::{Feed, Role, Shape, SignalDef, SignalId};
pub use setting::{AddedValue, SignalAddition, SignalOverride, SignalSettings};
pub use undeclared::Nature;

use def::Draft;
use undeclared::Undeclared;

use super::SignalClass;
use super::names;
use crate::domain::{MetricFamily, MetricKind, SeriesKey};

/// Most values of one label that are judged on their own; more would spend
/// the error budget on segments too small to tell anything.
const SEGMENT_VALUES_MAX: usize = 12;

/// Most signals of one application. What is beyond is reported, not judged.
const SIGNALS_MAX: usize = 4_000;

/// Metric, which of its signals, segment.
type SignalKey = (String, &'static str, Option<(String, String)>);

/// The signals of one application, growing as series appear.
#[derive(Clone, Debug, Default)]
pub struct Catalogue {
    defs: Vec<SignalDef>,
    by_key: HashMap<SignalKey, SignalId>,
    segment_values: HashMap<(String, String), BTreeSet<String>>,
    feeds: HashMap<Arc<SeriesKey>, Arc<[Feed]>>,
    kinds: HashMap<String, (MetricKind, Option<String>)>,
    undeclared: Undeclared,
    settings: SignalSettings,
    dropped: u32,
}

impl Catalogue {
    /// An empty catalogue with what settings say.
    pub fn new(settings: SignalSettings) -> Self {
        Self { settings, ..Self::default() }
    }

    /// All signals found so far.
    pub fn signals(&self) -> impl Iterator<Item = (SignalId, &SignalDef)> {
        self.defs.iter().enumerate().map(|(i, def)| (SignalId(i as u32), def))
    }

    /// One signal.
    pub fn signal(&self, id: SignalId) -> &SignalDef {
        &self.defs[id.index()]
    }

    /// How many signals were not taken because there were too many.
    pub fn dropped(&self) -> u32 {
        self.dropped
    }

    /// How many values a segment's label has; a segment alone in its label is
    /// the whole again.
    pub fn segment_count(&self, def: &SignalDef) -> usize {
        def.segment
            .as_ref()
            .and_then(|(label, _)| self.segment_values.get(&(def.metric.clone(), label.clone())))
            .map_or(0, BTreeSet::len)
    }

    /// Whether a signal is judged where it has data: not one that settings
    /// mute, not a configuration, and not a segment that is the whole again.
    pub fn is_judged(&self, def: &SignalDef) -> bool {
        let is_the_whole = def.segment.is_some() && !def.error_kind && self.segment_count(def) < 2;
        !(def.muted || def.informative || is_the_whole)
    }

    /// Whether a series tells when a process began.
    pub fn has_start_time(&self) -> bool {
        self.feeds
            .values()
            .flat_map(|feeds| feeds.iter())
            .any(|feed| matches!(feed.role, Role::StartTime | Role::Uptime))
    }

    /// Takes what a target declares of its metrics.
    pub fn learn_families(&mut self, families: &[MetricFamily]) {
        for family in families {
            if family.kind != MetricKind::Unknown {
                self.kinds.insert(family.name.clone(), (family.kind, family.unit.clone()));
            }
        }
    }

    /// What a series adds to which signals; found at its first appearance.
    pub fn feeds(&mut self, series: &Arc<SeriesKey>) -> Arc<[Feed]> {
        if let Some(feeds) = self.feeds.get(series) {
            return feeds.clone();
        }
        let mut feeds = self.describe(series);
        self.describe_added(series, &mut feeds);
        let feeds: Arc<[Feed]> = feeds.into();
        self.feeds.insert(series.clone(), feeds.clone());
        feeds
    }

    fn feed_with_segments(
        &mut self,
        series: &SeriesKey,
        metric: &str,
        part: &'static str,
        draft: &Draft,
        role: Role,
        feeds: &mut Vec<Feed>,
    ) {
        self.feed(metric, None, part, draft, role, feeds);
        let error_kind = names::error_kind_of(series).map(|(label, _)| label);
        for (label, value) in series.labels() {
            let fails = matches!(draft.class, SignalClass::Errors | SignalClass::Logs);
            let is_result = names::result_of(series).is_some_and(|(result, _)| result == label);
            let kind = fails && !is_result && error_kind == Some(label);
            if !kind && !names::is_segment_label(label) {
                continue;
            }
            // How long failed requests take is no business of their callers, and no error is no kind.
            let of_errors = names::is_error_label(label);
            if of_errors && (!fails || matches!(value, "" | "None" | "none")) {
                continue;
            }
            let values = self.segment_values.entry((metric.to_owned(), label.to_owned())).or_default();
            if !values.contains(value) {
                if values.len() >= SEGMENT_VALUES_MAX {
                    self.dropped += 1;
                    continue;
                }
                values.insert(value.to_owned());
            }
            let mut draft = draft.clone();
            draft.error_kind = kind;
            self.feed(metric, Some((label.to_owned(), value.to_owned())), part, &draft, role, feeds);
        }
    }

    fn feed(
        &mut self,
        metric: &str,
        segment: Option<(String, String)>,
        part: &'static str,
        draft: &Draft,
        role: Role,
        feeds: &mut Vec<Feed>,
    ) {
        let key = (metric.to_owned(), part, segment);
        let signal = match self.by_key.get(&key) {
            Some(id) => *id,
            None => {
                let mut def = draft.finish(metric, key.2.clone());
                if let Some(setting) = self.settings.overrides.iter().find(|o| o.matches(&def)) {
                    setting::apply(setting, &mut def);
                }
                let Some(id) = self.insert(key, def) else { return };
                id
            }
        };
        if !feeds.iter().any(|feed| feed.signal == signal && feed.role == role) {
            feeds.push(Feed { signal, role });
        }
    }

    fn insert(&mut self, key: SignalKey, def: SignalDef) -> Option<SignalId> {
        if self.defs.len() >= SIGNALS_MAX {
            self.dropped += 1;
            return None;
        }
        let id = SignalId(self.defs.len() as u32);
        self.defs.push(def);
        self.by_key.insert(key, id);
        Some(id)
    }
}

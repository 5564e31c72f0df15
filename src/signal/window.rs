//! What is kept of an application's samples: for each instance and signal two
//! columns on one grid of steps. Exact, bounded, expiring by itself.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use super::catalogue::{Catalogue, Feed, Nature, Role, SignalId, SignalSettings};
use super::column::Column;
use super::counter::{Counter, ProcessStart};
use crate::domain::{InstanceId, Scrape, ScrapeFailure, ScrapeOutcome, SeriesKey, TARGET_INFO, Timestamp};

/// A place on the grid, counted from the window's origin.
pub type Step = i64;

/// Most instances of one application.
const INSTANCES_MAX: usize = 5_000;

/// How one attempt to scrape an instance ended, at one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contact {
    /// It answered.
    Served,
    /// It was silent: its own failure.
    Silent,
    /// We could not see it: our failure, or a damaged answer.
    Unseen,
}

#[derive(Clone, Debug)]
struct Track {
    counter: Counter,
    feeds: Arc<[Feed]>,
    /// The page that it was last on.
    page: u32,
    /// Values that it had while nothing said what it is.
    undeclared: Option<u32>,
}

/// What is kept of one instance.
#[derive(Clone, Debug, Default)]
pub struct InstanceWindow {
    layout: Vec<(Arc<SeriesKey>, u32)>,
    slots: HashMap<Arc<SeriesKey>, u32>,
    tracks: Vec<Track>,
    columns: Vec<Column>,
    buckets: BTreeMap<(SignalId, u64), Column>,
    served: Column,
    /// Where the block begins that the newest steps are in.
    block: Option<Step>,
    /// By time, each attempt to scrape it.
    pub contacts: Vec<(Timestamp, Contact)>,
    /// When its process was seen to have begun anew.
    pub restarts: Vec<Timestamp>,
    /// When its process began.
    pub process_start: ProcessStart,
    last_served: Option<Timestamp>,
    first_served: Option<Timestamp>,
    /// Pages read so far, and the first of the newest process.
    pages: u32,
    first_page: u32,
}

impl InstanceWindow {
    /// The columns of one signal, if the instance has it.
    pub fn column(&self, signal: SignalId) -> Option<&Column> {
        self.columns.get(signal.index()).filter(|column| !column.is_empty())
    }

    /// Observations up to one of a histogram's bounds; the denominators tell
    /// whether there is such a bound, as versions change them.
    pub fn bucket(&self, signal: SignalId, bound: f64) -> Option<&Column> {
        self.buckets.get(&(signal, bound.to_bits()))
    }

    /// Seconds between answers; only denominators.
    pub fn served(&self) -> &Column {
        &self.served
    }

    /// When it last answered.
    pub fn last_served(&self) -> Option<Timestamp> {
        self.last_served
    }

    /// When it first answered.
    pub fn first_served(&self) -> Option<Timestamp> {
        self.first_served
    }

    fn slot(&mut self, position: usize, series: &Arc<SeriesKey>, catalogue: &mut Catalogue) -> u32 {
        if let Some((known, slot)) = self.layout.get(position)
            && Arc::ptr_eq(known, series)
        {
            return *slot;
        }
        let slot = match self.slots.get(series) {
            Some(slot) => *slot,
            None => {
                let slot = self.tracks.len() as u32;
                let feeds = catalogue.feeds(series);
                let may_count = catalogue.may_count(series, feeds.iter().map(|feed| feed.role));
                let undeclared = may_count.then_some(0);
                self.tracks.push(Track { counter: Counter::default(), feeds, page: 0, undeclared });
                self.slots.insert(series.clone(), slot);
                slot
            }
        };
        if position < self.layout.len() {
            self.layout[position] = (series.clone(), slot);
        } else {
            self.layout.push((series.clone(), slot));
        }
        slot
    }
}

/// The samples of one application's instances, as far as they matter now.
#[derive(Clone, Debug)]
pub struct Window {
    origin: Timestamp,
    step: Duration,
    kept_steps: Step,
    catalogue: Catalogue,
    instances: BTreeMap<InstanceId, InstanceWindow>,
    newest: Option<Timestamp>,
    families_seen: Vec<usize>,
    refused_instances: u32,
}

impl Window {
    /// An empty window whose grid has the scrape interval as its step.
    pub fn new(step: Duration, kept: Duration, settings: SignalSettings) -> Self {
        let step = step.max(Duration::from_millis(100));
        Self {
            origin: Timestamp::default(),
            step,
            kept_steps: (kept.as_millis() / step.as_millis()).max(8) as Step,
            catalogue: Catalogue::new(settings),
            instances: BTreeMap::new(),
            newest: None,
            families_seen: Vec::new(),
            refused_instances: 0,
        }
    }

    /// The signals found so far.
    pub fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    /// The scrape interval.
    pub fn step(&self) -> Duration {
        self.step
    }

    /// All instances seen.
    pub fn instances(&self) -> &BTreeMap<InstanceId, InstanceWindow> {
        &self.instances
    }

    /// The newest scrape.
    pub fn newest(&self) -> Option<Timestamp> {
        self.newest
    }

    /// The grid's step at a moment.
    pub fn step_at(&self, at: Timestamp) -> Step {
        at.as_millis().saturating_sub(self.origin.as_millis()).div_euclid(self.step.as_millis() as i64)
    }

    /// When a step begins.
    pub fn time_of(&self, step: Step) -> Timestamp {
        let since_origin = step.saturating_mul(self.step.as_millis() as i64);
        Timestamp::from_millis(self.origin.as_millis().saturating_add(since_origin))
    }

    /// The first step that is still kept.
    pub fn oldest_step(&self) -> Step {
        self.newest.map_or(0, |at| self.step_at(at).saturating_sub(self.kept_steps))
    }

    /// Takes one scrape, successful or not.
    pub fn take(&mut self, scrape: &Scrape) {
        let family_key = scrape.families.as_ptr() as usize;
        if !scrape.families.is_empty() && !self.families_seen.contains(&family_key) {
            self.catalogue.learn_families(&scrape.families);
            if self.families_seen.len() >= 64 {
                self.families_seen.clear();
            }
            self.families_seen.push(family_key);
        }
        if !self.instances.contains_key(&scrape.instance) {
            if self.instances.len() >= INSTANCES_MAX {
                self.refused_instances += 1;
                return;
            }
            self.instances.insert(scrape.instance.clone(), InstanceWindow::default());
        }
        let at_step = self.step_at(scrape.at);
        // As this scrape makes it: a gap takes no more room than what is kept.
        let newest = self.newest.map_or(scrape.at, |newest| newest.max(scrape.at));
        let oldest = self.step_at(newest).saturating_sub(self.kept_steps);
        let oldest_time = self.time_of(oldest);
        let Some(instance) = self.instances.get_mut(&scrape.instance) else { return };
        if instance.contacts.last().is_some_and(|(at, _)| *at >= scrape.at) {
            return;
        }
        instance.contacts.push((scrape.at, contact(&scrape.outcome)));
        self.newest = Some(newest);
        // A failed scrape tells at most the target's labels, and so does an empty page.
        if matches!(scrape.outcome, ScrapeOutcome::Failed(_))
            || scrape.samples.iter().all(|sample| sample.series.name() == TARGET_INFO)
        {
            return;
        }
        let seconds = instance.last_served.map(|last| scrape.at.seconds_from(last));
        let block = Column::block_of(at_step);
        if instance.block.replace(block).is_some_and(|before| before != block) {
            pack(instance, block, oldest, oldest_time);
        }
        let proven = take_samples(instance, &mut self.catalogue, scrape, at_step, seconds);
        instance.last_served = Some(scrape.at);
        instance.first_served.get_or_insert(scrape.at);
        proven.iter().for_each(|(name, nature)| self.learn_nature(name, *nature));
    }

    /// From now on the series of a metric feed other signals.
    fn learn_nature(&mut self, name: &str, nature: Nature) {
        let counts = match nature {
            Nature::Counter => self.catalogue.count(name),
            Nature::Level => {
                self.catalogue.uncount(name);
                true
            }
            Nature::Unknown => false,
        };
        for instance in self.instances.values_mut() {
            let InstanceWindow { slots, tracks, .. } = instance;
            for (series, slot) in slots.iter().filter(|(series, _)| series.name() == name) {
                let track = &mut tracks[*slot as usize];
                track.undeclared = None;
                if counts {
                    track.feeds = self.catalogue.feeds(series);
                }
            }
        }
    }

    /// Forgets instances that have not been seen within what is kept.
    pub fn forget_gone(&mut self) {
        let Some(newest) = self.newest else { return };
        let oldest = newest - self.step * u32::try_from(self.kept_steps).unwrap_or(u32::MAX);
        self.instances.retain(|_, instance| instance.contacts.last().is_some_and(|(at, _)| *at >= oldest));
    }
}

fn column_mut(columns: &mut Vec<Column>, signal: SignalId) -> &mut Column {
    if signal.index() >= columns.len() {
        columns.resize_with(signal.index() + 1, Column::default);
    }
    &mut columns[signal.index()]
}

fn contact(outcome: &ScrapeOutcome) -> Contact {
    match outcome {
        ScrapeOutcome::Complete => Contact::Served,
        ScrapeOutcome::Incomplete { .. } => Contact::Unseen,
        ScrapeOutcome::Failed(failure) => match failure {
            ScrapeFailure::Refused
            | ScrapeFailure::Unreachable(_)
            | ScrapeFailure::Timeout
            | ScrapeFailure::Status(_)
            | ScrapeFailure::Down => Contact::Silent,
            ScrapeFailure::NotExposition(_)
            | ScrapeFailure::TooLarge { .. }
            | ScrapeFailure::SourceDown(_) => Contact::Unseen,
        },
    }
}

/// Packs all that is over, and forgets what is too old.
fn pack(instance: &mut InstanceWindow, block: Step, oldest: Step, oldest_time: Timestamp) {
    instance.served.pack(block, oldest, None);
    for column in instance.columns.iter_mut().chain(instance.buckets.values_mut()) {
        column.pack(block, oldest, Some(&instance.served));
    }
    let stale = instance.contacts.partition_point(|(at, _)| *at < oldest_time);
    if stale > 64 {
        instance.contacts.drain(..stale);
    }
    instance.restarts.retain(|at| *at >= oldest_time);
}

/// Takes one page; gives which metrics it proved to be something else than what
/// they were taken for.
fn take_samples(
    instance: &mut InstanceWindow,
    catalogue: &mut Catalogue,
    scrape: &Scrape,
    step: Step,
    seconds: Option<f64>,
) -> Vec<(String, Nature)> {
    let mut proven: Vec<(String, Nature)> = Vec::new();
    let mut resets = 0u32;
    let mut falls_possible = 0u32;
    let mut told_start = false;
    let mut restarted = false;
    instance.served.add(step, 0.0, seconds.unwrap_or(0.0));
    instance.pages += 1;
    let (page, first_page) = (instance.pages, instance.first_page);
    for (position, sample) in scrape.samples.iter().enumerate() {
        let slot = instance.slot(position, &sample.series, catalogue) as usize;
        let InstanceWindow { tracks, columns, buckets, process_start, .. } = &mut *instance;
        let track = &mut tracks[slot];
        let Some(first) = track.feeds.first() else { continue };
        match first.role {
            Role::StartTime => {
                told_start = true;
                let value = if sample.value > 1e11 { sample.value / 1e3 } else { sample.value };
                restarted |= process_start.advance(value);
            }
            Role::Uptime => {
                restarted |= track.counter.advance(sample.value, None).is_some_and(|uptime| uptime.reset);
            }
            Role::Level | Role::LevelMean => {
                if !is_kept(sample.value) {
                    continue;
                }
                match nature(track, catalogue, &sample.series, sample.value) {
                    Nature::Unknown => {}
                    Nature::Level => track.undeclared = None,
                    Nature::Counter => proven.push((sample.series.name().to_owned(), Nature::Counter)),
                }
                for feed in track.feeds.iter() {
                    let column = column_mut(columns, feed.signal);
                    let counts = column.stamped(scrape.at) || feed.role == Role::LevelMean;
                    column.add(step, sample.value, f64::from(u8::from(counts)));
                }
            }
            Role::Numerator | Role::Denominator | Role::Both | Role::PerSecond | Role::Bucket(_) => {
                // Counters with labels are back with their first event: what
                // fell with a restart that is known tells of no other.
                let told_before = std::mem::replace(&mut track.page, page) < first_page;
                let name = sample.series.name();
                if track.counter.last().is_some_and(|last| catalogue.is_disproved(name, last, sample.value)) {
                    proven.push((name.to_owned(), Nature::Level));
                    continue;
                }
                let increment = track.counter.advance(sample.value, seconds);
                let Some(increment) = increment.filter(|i| is_kept(i.count)) else { continue };
                let tells = increment.reset && !told_before;
                resets += u32::from(tells);
                falls_possible += u32::from(sample.value > 0.0 || tells);
                for feed in track.feeds.iter() {
                    if let Role::Bucket(bound) = feed.role {
                        let bucket = buckets.entry((feed.signal, bound.to_bits())).or_default();
                        bucket.add(step, increment.count, 1.0);
                    } else {
                        let column = column_mut(columns, feed.signal);
                        add_increment(column, feed.role, step, increment.count, scrape.at, seconds);
                    }
                }
            }
        }
    }
    // Without a start time, a process is new when most of its counters fell.
    if !told_start && resets >= 2 && resets * 2 > falls_possible {
        restarted = true;
    }
    if restarted {
        instance.first_page = page;
        let at = if told_start { instance.process_start.at().unwrap_or(scrape.at) } else { scrape.at };
        instance.restarts.push(at.min(scrape.at));
    }
    proven.dedup();
    proven
}

/// What a series without a declared type is, as its next value tells.
fn nature(track: &mut Track, catalogue: &mut Catalogue, series: &SeriesKey, value: f64) -> Nature {
    let Some(values) = track.undeclared else { return Nature::Unknown };
    if value < 0.0 {
        return Nature::Level;
    }
    let last = track.counter.last();
    track.undeclared = Some(values.saturating_add(1));
    track.counter.advance(value, None);
    match last.filter(|last| *last != value) {
        Some(last) => catalogue.moved(series.name(), last, value, values + 1),
        None => Nature::Unknown,
    }
}

/// Columns hold single precision: what is beyond it is no value there.
fn is_kept(value: f64) -> bool {
    (value as f32).is_finite()
}

fn add_increment(
    column: &mut Column,
    role: Role,
    step: Step,
    count: f64,
    at: Timestamp,
    seconds: Option<f64>,
) {
    match role {
        Role::Numerator => column.add(step, count, 0.0),
        Role::Denominator => column.add(step, 0.0, count),
        Role::Both => column.add(step, count, count),
        Role::PerSecond => {
            let den = if column.stamped(at) { seconds.unwrap_or(0.0) } else { 0.0 };
            column.add(step, count, den);
        }
        Role::Bucket(_) | Role::Level | Role::LevelMean | Role::StartTime | Role::Uptime => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Sample;
    use crate::signal::Shape;

    #[test]
    fn an_uptime_that_falls_tells_of_a_restart() {
        let mut window =
            Window::new(Duration::from_secs(10), Duration::from_secs(3600), SignalSettings::default());
        let series: Arc<SeriesKey> = Arc::new("uptime_s".parse().unwrap());
        for (second, uptime) in [(0, 900.0), (10, 910.0), (20, 4.0), (30, 14.0), (40, 13.0)] {
            window.take(&Scrape {
                instance: InstanceId::new("a:1").unwrap(),
                at: Timestamp::from_millis(1_795_289_200_000 + second * 1000),
                outcome: ScrapeOutcome::Complete,
                samples: vec![Sample { series: series.clone(), value: uptime }],
                families: Arc::from([]),
            });
        }
        let restarts: Vec<i64> =
            window.instances().values().next().unwrap().restarts.iter().map(|at| at.as_millis()).collect();
        assert_eq!(restarts, [1_795_289_220_000, 1_795_289_240_000]);
    }

    #[test]
    fn what_nobody_declares_is_counted_once_it_proves_to_only_rise() {
        let mut window =
            Window::new(Duration::from_secs(10), Duration::from_secs(3600), SignalSettings::default());
        let series: Arc<SeriesKey> = Arc::new("orders_api_requests".parse().unwrap());
        let mut take = |second: i64, value: f64| {
            window.take(&Scrape {
                instance: InstanceId::new("a:1").unwrap(),
                at: Timestamp::from_millis(1_795_289_200_000 + second * 1000),
                outcome: ScrapeOutcome::Complete,
                samples: vec![Sample { series: series.clone(), value }],
                families: Arc::from([]),
            });
            let counted = window.catalogue().signals().find(|(_, def)| def.shape == Shape::Rate);
            counted.map(|(id, _)| {
                let column = window.instances().values().next().unwrap().column(id);
                column.map_or((0.0, 0.0), |column| column.sum(0, Step::MAX))
            })
        };
        let first = (0..40).map(|k| take(k * 10, 5e6 + 7.0 * k as f64)).position(|found| found.is_some());
        assert_eq!(first, Some(20));
        assert_eq!(take(400, 5e6 + 280.0), Some((7.0 * 20.0, 200.0)), "each increment since is there");
        assert!(window.catalogue().signals().all(|(_, def)| def.muted == (def.shape == Shape::Level)));
    }

    #[test]
    fn what_was_counted_is_a_level_again_when_it_falls_as_no_counter_does() {
        let mut window =
            Window::new(Duration::from_secs(10), Duration::from_secs(3600), SignalSettings::default());
        let series: Arc<SeriesKey> = Arc::new("players_here".parse().unwrap());
        let mut take = |k: i64, value: f64| {
            window.take(&Scrape {
                instance: InstanceId::new("a:1").unwrap(),
                at: Timestamp::from_millis(1_795_289_200_000 + k * 10_000),
                outcome: ScrapeOutcome::Complete,
                samples: vec![Sample { series: series.clone(), value }],
                families: Arc::from([]),
            });
            let judged = |shape: Shape| {
                window.catalogue().signals().filter(|(_, def)| def.shape == shape && !def.muted).count()
            };
            (judged(Shape::Level), judged(Shape::Rate))
        };
        let rising: Vec<_> = (0..30).map(|k| take(k, 500.0 + k as f64)).collect();
        assert_eq!((rising[0], rising[29]), ((1, 0), (0, 1)));
        assert_eq!(take(30, 520.0), (1, 0));
        // For good: nothing makes a counter of it again.
        let again: Vec<_> = (31..90).map(|k| take(k, 490.0 + k as f64)).collect();
        assert!(again.iter().all(|judged| *judged == (1, 0)), "{again:?}");
    }

    #[test]
    fn a_time_far_from_all_others_costs_no_room() {
        let mut window =
            Window::new(Duration::from_secs(10), Duration::from_secs(3600), SignalSettings::default());
        let series: Arc<SeriesKey> = Arc::new("queue_length".parse().unwrap());
        for at in [i64::MIN, -(1 << 62), 0, 1_795_289_200_000, 1_795_289_210_000, 1 << 62, i64::MAX] {
            window.take(&Scrape {
                instance: InstanceId::new("a:1").unwrap(),
                at: Timestamp::from_millis(at),
                outcome: ScrapeOutcome::Complete,
                samples: vec![Sample { series: series.clone(), value: 3.0 }],
                families: Arc::from([]),
            });
            let (id, _) = window.catalogue().signals().next().unwrap();
            let instance = window.instances().values().next().unwrap();
            let step = window.step_at(Timestamp::from_millis(at));
            assert_eq!(instance.column(id).unwrap().sum(step, step.saturating_add(1)), (3.0, 1.0), "{at}");
            assert!(window.oldest_step() <= step);
        }
    }
}

//! The machines, when each gets the new version, and when it is looked at.

use super::Style;
use super::random::Dice;

/// How the new version reaches a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rollover {
    /// The process restarts in its place.
    Restart,
    /// New instances take the place of old ones.
    Replace,
    /// The new version is loaded without a restart.
    InPlace,
    /// There are no machines: an instance is a version in a region, and users
    /// come to it by and by.
    Adoption,
}

/// A time in which an instance's process does not run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Down {
    pub(super) from: f64,
    /// When the next process begins; infinite if never.
    pub(super) until: f64,
}

/// One machine.
#[derive(Clone, Debug)]
pub(super) struct Instance {
    pub(super) name: String,
    pub(super) batch: Option<usize>,
    /// Whether it is in one of the release's groups.
    pub(super) in_group: bool,
    /// Its share of the load in units of the others'.
    pub(super) share: f64,
    pub(super) latency: f64,
    pub(super) cpu: f64,
    pub(super) memory: f64,
    /// Where in their period its own periodic jobs are, 0 to 1.
    pub(super) phase: f64,
    /// When its first process began; before the history for most.
    pub(super) born_at: f64,
    /// When it begins and ends to be a target.
    pub(super) exists: (f64, f64),
    /// When it runs the new version; infinite if never.
    pub(super) released_at: f64,
    /// In order, without overlaps.
    pub(super) downs: Vec<Down>,
    /// Where in the interval it is scraped, 0 to 1.
    pub(super) scrape_offset: f64,
}

impl Instance {
    /// Whether its process runs at a moment.
    pub(super) fn runs(&self, moment: f64) -> bool {
        self.exists.0 <= moment
            && moment < self.exists.1
            && !self.downs.iter().any(|down| down.from <= moment && moment < down.until)
    }

    /// When the process that runs at a moment began.
    pub(super) fn process_began(&self, moment: f64) -> f64 {
        let restarted = self.downs.iter().filter(|down| down.until <= moment).map(|down| down.until);
        restarted.fold(self.born_at, f64::max)
    }

    /// Adds a time in which it is down; one that overlaps an earlier one is
    /// passed over.
    pub(super) fn add_down(&mut self, from: f64, until: f64) -> bool {
        let free = self.downs.iter().all(|down| until < down.from || down.until < from);
        if free {
            self.downs.push(Down { from, until });
            self.downs.sort_by(|a, b| a.from.total_cmp(&b.from));
        }
        free
    }
}

/// Machines, times and batches of one release.
#[derive(Clone, Debug)]
pub(super) struct Fleet {
    pub(super) rollover: Rollover,
    pub(super) interval: f64,
    /// First and last moment that is recorded.
    pub(super) from: f64,
    pub(super) until: f64,
    pub(super) started_at: f64,
    /// Start of each batch.
    pub(super) batches: Vec<f64>,
    /// When the rollout was done.
    pub(super) finished_at: f64,
    pub(super) instances: Vec<Instance>,
    /// Expected traffic of a released instance, where the order says it.
    pub(super) weight: Option<f64>,
    /// Its traffic in truth.
    pub(super) release_traffic: f64,
    /// Load of a machine that is down goes to the others.
    pub(super) balanced: bool,
    /// Seconds over which users come to a new version.
    pub(super) adoption_seconds: f64,
}

/// 2026-01-05, a Monday, in seconds since 1970.
const FIRST_DAY: f64 = 1_767_571_200.0;

struct Pace {
    interval: f64,
    history: (f64, f64),
    between: (f64, f64),
    after: (f64, f64),
}

const fn pace(interval: f64, history: (f64, f64), between: (f64, f64), after: (f64, f64)) -> Pace {
    Pace { interval, history, between, after }
}

/// How long a release and what is known before it last, in seconds, by the
/// interval of its samples.
const PACES: &[Pace] = &[
    pace(1.0, (120.0, 420.0), (60.0, 150.0), (180.0, 360.0)),
    pace(5.0, (240.0, 1_500.0), (120.0, 300.0), (300.0, 800.0)),
    pace(10.0, (420.0, 2_700.0), (180.0, 500.0), (400.0, 1_200.0)),
    pace(15.0, (600.0, 3_600.0), (240.0, 700.0), (600.0, 1_500.0)),
    pace(30.0, (1_200.0, 9_000.0), (300.0, 1_200.0), (900.0, 2_700.0)),
    pace(60.0, (1_800.0, 18_000.0), (600.0, 1_800.0), (1_500.0, 5_400.0)),
    pace(300.0, (14_400.0, 86_400.0), (1_800.0, 3_600.0), (4_500.0, 9_000.0)),
];

impl Fleet {
    /// Draws a fleet for a style, with at most about `scrapes_max` scrapes of
    /// all machines together.
    pub(super) fn draw(style: Style, scrapes_max: usize, dice: &mut Dice) -> Self {
        let likely: [f64; 7] = match style {
            Style::Hosts => [0.0, 0.0, 0.2, 0.3, 1.0, 3.0, 3.0],
            Style::Mobile => [0.0, 0.0, 0.3, 0.5, 1.0, 3.0, 1.0],
            Style::Http | Style::Rpc | Style::Jvm | Style::Worker | Style::Shop | Style::Recorded => {
                [1.0, 2.0, 2.5, 2.5, 1.5, 1.0, 0.2]
            }
        };
        let pace = &PACES[dice.weighted(&likely)];
        let rollover = match style {
            Style::Mobile => Rollover::Adoption,
            Style::Hosts => *dice.pick(&[Rollover::Restart, Rollover::InPlace]),
            Style::Http | Style::Rpc | Style::Jvm | Style::Worker | Style::Shop | Style::Recorded => {
                [Rollover::Restart, Rollover::Replace, Rollover::InPlace][dice.weighted(&[0.65, 0.27, 0.08])]
            }
        };
        let started_at = FIRST_DAY + (dice.between(0.0, 300.0 * 86_400.0) * 1e3).round() / 1e3;
        let count = dice.weighted(&[0.5, 0.3, 0.2]) + 1;
        let mut batches = vec![started_at];
        for _ in 1..count {
            let last = batches[batches.len() - 1];
            batches.push((last + dice.between(pace.between.0, pace.between.1)).round());
        }
        let last = batches[batches.len() - 1];
        let until = last + dice.between(pace.after.0, pace.after.1);
        let mut fleet = Self {
            rollover,
            interval: pace.interval,
            from: started_at - dice.log_between(pace.history.0, pace.history.1),
            until,
            started_at,
            finished_at: (last + dice.between(0.1, 0.6) * (until - last)).round(),
            batches,
            instances: Vec::new(),
            weight: None,
            release_traffic: 1.0,
            balanced: style != Style::Worker || dice.chance(0.5),
            adoption_seconds: dice.between(0.3, 1.2) * (until - started_at),
        };
        let watched = (until - started_at) / pace.interval;
        let affordable = scrapes_max as f64 / 4.0 - watched;
        let history = (started_at - fleet.from) / pace.interval;
        fleet.from = started_at - history.min(affordable.max(0.25 * history)) * pace.interval;
        let each = (until - fleet.from) / pace.interval;
        fleet.populate(style, ((scrapes_max as f64 / each) as usize).max(2), dice);
        fleet
    }

    fn populate(&mut self, style: Style, instances_max: usize, dice: &mut Dice) {
        if self.rollover == Rollover::Adoption {
            return self.populate_by_labels(dice);
        }
        let total = (dice.log_between(2.0, 30.9) as usize).clamp(2, instances_max);
        let released = if dice.chance(0.5) {
            self.batches.len().max(total / 2)
        } else {
            self.batches.len().max((total as f64 * dice.between(0.1, 0.8)) as usize)
        };
        let released = released.min(total - 1);
        self.batches.truncate(released);
        let spread = if dice.chance(0.3) { 0.01 } else { dice.between(0.05, 0.5) };
        let name = naming(style, dice);
        let mut order: Vec<usize> = (0..total).collect();
        dice.shuffle(&mut order);
        let canary = dice.chance(0.5);
        for (place, index) in order.into_iter().enumerate() {
            let mut instance = self.machine(name(index, dice), spread, dice);
            if place < released {
                let last = self.batches.len() - 1;
                instance.batch = Some(if canary { place.min(last) } else { place * (last + 1) / released });
            }
            self.instances.push(instance);
        }
        self.roll_over(&name, dice);
    }

    fn machine(&self, name: String, spread: f64, dice: &mut Dice) -> Instance {
        let age = if dice.chance(0.15) { dice.between(10.0, 600.0) } else { dice.log_between(3_600.0, 1e7) };
        Instance {
            name,
            batch: None,
            in_group: true,
            share: 1.0 + dice.between(-spread, spread),
            latency: 1.0,
            cpu: 1.0,
            memory: 1.0,
            phase: dice.unit(),
            born_at: self.from - age,
            exists: (f64::NEG_INFINITY, f64::INFINITY),
            released_at: f64::INFINITY,
            downs: Vec::new(),
            scrape_offset: dice.unit(),
        }
    }

    /// Gives every machine of a batch its restart, or its successor.
    fn roll_over(&mut self, name: &dyn Fn(usize, &mut Dice) -> String, dice: &mut Dice) {
        let usual_gap = dice.log_between(2.0, 45.0);
        let stagger = if dice.chance(0.5) { 0.0 } else { dice.between(2.0, 40.0) };
        let keep_old = dice.chance(0.5);
        let old: Vec<usize> =
            (0..self.instances.len()).filter(|index| self.instances[*index].batch.is_some()).collect();
        for (place, index) in old.into_iter().enumerate() {
            let Some(batch) = self.instances[index].batch else { continue };
            let from = self.batches[batch] + dice.between(0.0, stagger);
            let ready = from + usual_gap * dice.factor(0.2);
            match self.rollover {
                Rollover::Restart => {
                    self.instances[index].add_down(from, ready);
                    self.instances[index].released_at = ready;
                }
                Rollover::InPlace | Rollover::Adoption => self.instances[index].released_at = from,
                Rollover::Replace => {
                    let mut fresh = self.instances[index].clone();
                    fresh.name = name(100 + place, dice);
                    fresh.exists = (ready, f64::INFINITY);
                    fresh.born_at = ready - 1.0;
                    fresh.released_at = ready;
                    fresh.phase = dice.unit();
                    let old = &mut self.instances[index];
                    old.batch = None;
                    old.in_group = false;
                    old.exists = (if keep_old { f64::NEG_INFINITY } else { f64::INFINITY }, ready);
                    self.instances.push(fresh);
                }
            }
        }
    }

    /// A version in a region is an instance: the old versions first.
    fn populate_by_labels(&mut self, dice: &mut Dice) {
        const REGIONS: &[&str] = &["eu", "us", "cn", "in", "br", "jp", "za", "au"];
        let regions = dice.whole(2, REGIONS.len());
        let (major, minor) = (dice.whole(1, 12), dice.whole(1, 30));
        let separator = *dice.pick(&["/", "@", " ", ":"]);
        self.batches.truncate(regions);
        for (place, region) in REGIONS[..regions].iter().enumerate() {
            let share = dice.log_between(0.2, 3.0);
            let batch = place.min(self.batches.len() - 1);
            for version in [minor, minor + 1] {
                let name = format!("{major}.{version}.0{separator}{region}");
                let mut instance = self.machine(name, 0.0, dice);
                instance.share = share;
                instance.born_at = self.from - 1e6;
                if version != minor {
                    instance.batch = Some(batch);
                    let from = self.batches[batch] + dice.between(0.0, 60.0);
                    instance.exists.0 = from;
                    instance.released_at = from;
                    instance.born_at = from;
                }
                self.instances.push(instance);
            }
        }
    }
}

/// One of the ways in which fleets name their machines.
fn naming(style: Style, dice: &mut Dice) -> Box<dyn Fn(usize, &mut Dice) -> String> {
    let net = dice.whole(1, 250);
    let port = *dice.pick(&[8080, 9090, 9100, 9102, 8000, 3000, 8081, 15020]);
    let site = *dice.pick(&["fra1", "iad", "sgp3", "dc2", "hz"]);
    let role = match style {
        Style::Worker => "worker",
        Style::Hosts => "node",
        Style::Http | Style::Rpc | Style::Jvm | Style::Shop | Style::Mobile | Style::Recorded => "app",
    };
    match dice.whole(0, 3) {
        0 => Box::new(move |index, _| format!("10.{net}.{}.{}:{port}", index / 200, index % 200 + 4)),
        1 => Box::new(move |index, dice| {
            let hash: String =
                (0..5).map(|_| *dice.pick(&['b', 'c', 'd', 'f', 'k', '2', '7', '9'])).collect();
            format!("{role}-{net:x}d9f-{hash}{index}")
        }),
        2 => Box::new(move |index, _| format!("{role}{:02}.{site}.example:{port}", index + 1)),
        _ => Box::new(move |index, _| format!("{role}-{index}")),
    }
}

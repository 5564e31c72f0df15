//! What looks wrong and is not the release's fault.

use super::change::{Change, Effect, GaugeChange, Scope, Shape, Who};
use super::fleet::Rollover;
use super::load::Swell;
use super::machine::World;
use super::random::Dice;
use super::service::WarmUp;
use super::{UnknownWord, by_word};

/// A kind of harmless trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Trouble {
    /// A machine of the old version restarts by itself.
    OtherRestart,
    /// Caches are cold and code is slow for minutes after the restart.
    ColdStart,
    /// Some requests fail in the first seconds of a new process.
    StartErrors,
    /// A passing surge of users.
    Surge,
    /// The load grows through the whole release.
    MorningRamp,
    /// The load falls through the whole release.
    EveningFall,
    /// An incident of all machines, over before the release.
    IncidentBefore,
    /// An incident of all machines, begun before the release and ended in it.
    IncidentEnding,
    /// An incident of all machines that begins later than the release.
    IncidentLater,
    /// Machines that differ for good.
    OldDifference,
    /// One old machine is ill all the time.
    BadReference,
    /// One old machine falls ill during the release.
    BadReferenceLater,
    /// Bursts of errors before the release, on machines that get it later.
    NoisyBefore,
    /// Latency with spikes everywhere.
    SpikyLatency,
    /// Times in which nothing was scraped.
    Gaps,
    /// A target whose scrapes fail now and then.
    Flapping,
    /// Periodic work on each machine at its own time.
    Cron,
    /// Something else is deployed that all machines use.
    OtherDeploy,
    /// Hardly any traffic.
    LowTraffic,
    /// Released machines get another share of the traffic.
    TrafficShare,
    /// The released machine gets very little traffic.
    LightCanary,
    /// The new version has metrics that the old one has not.
    NewMetrics,
    /// The new version has renamed or removed a metric.
    RenamedMetrics,
    /// A little more memory and threads.
    MoreResources,
    /// Fewer log lines and exceptions.
    FewerLogs,
    /// More log lines that mean nothing.
    MoreLogs,
    /// The new version is better.
    Faster,
    /// Gauges that mean nothing move a little.
    OtherGauges,
    /// A feature is switched on by and by.
    FeatureRamp,
    /// The garbage collector was tuned.
    GcTuning,
    /// Other work on the machines slows all of them, changing all the time.
    NoisyNeighbour,
    /// Users send more requests that are refused, to all machines.
    BadClients,
}

impl Trouble {
    /// All troubles.
    pub const ALL: [Self; 32] = [
        Self::OtherRestart,
        Self::ColdStart,
        Self::StartErrors,
        Self::Surge,
        Self::MorningRamp,
        Self::EveningFall,
        Self::IncidentBefore,
        Self::IncidentEnding,
        Self::IncidentLater,
        Self::OldDifference,
        Self::BadReference,
        Self::BadReferenceLater,
        Self::NoisyBefore,
        Self::SpikyLatency,
        Self::Gaps,
        Self::Flapping,
        Self::Cron,
        Self::OtherDeploy,
        Self::LowTraffic,
        Self::TrafficShare,
        Self::LightCanary,
        Self::NewMetrics,
        Self::RenamedMetrics,
        Self::MoreResources,
        Self::FewerLogs,
        Self::MoreLogs,
        Self::Faster,
        Self::OtherGauges,
        Self::FeatureRamp,
        Self::GcTuning,
        Self::NoisyNeighbour,
        Self::BadClients,
    ];

    /// The word on the command line and in labels.
    pub fn word(self) -> &'static str {
        match self {
            Self::OtherRestart => "other-restart",
            Self::ColdStart => "cold-start",
            Self::StartErrors => "start-errors",
            Self::Surge => "surge",
            Self::MorningRamp => "morning-ramp",
            Self::EveningFall => "evening-fall",
            Self::IncidentBefore => "incident-before",
            Self::IncidentEnding => "incident-ending",
            Self::IncidentLater => "incident-later",
            Self::OldDifference => "old-difference",
            Self::BadReference => "bad-reference",
            Self::BadReferenceLater => "bad-reference-later",
            Self::NoisyBefore => "noisy-before",
            Self::SpikyLatency => "spiky-latency",
            Self::Gaps => "gaps",
            Self::Flapping => "flapping",
            Self::Cron => "cron",
            Self::OtherDeploy => "other-deploy",
            Self::LowTraffic => "low-traffic",
            Self::TrafficShare => "traffic-share",
            Self::LightCanary => "light-canary",
            Self::NewMetrics => "new-metrics",
            Self::RenamedMetrics => "renamed-metrics",
            Self::MoreResources => "more-resources",
            Self::FewerLogs => "fewer-logs",
            Self::MoreLogs => "more-logs",
            Self::Faster => "faster",
            Self::OtherGauges => "other-gauges",
            Self::FeatureRamp => "feature-ramp",
            Self::GcTuning => "gc-tuning",
            Self::NoisyNeighbour => "noisy-neighbour",
            Self::BadClients => "bad-clients",
        }
    }
}

impl std::str::FromStr for Trouble {
    type Err = UnknownWord;
    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        by_word("trouble", text, &Self::ALL, Self::word)
    }
}

/// What troubles do to the scrapes rather than to the machines.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct View {
    /// Times without scrapes: of one machine, or of all.
    pub(super) gaps: Vec<(Option<usize>, f64, f64)>,
    pub(super) new_metrics: bool,
    pub(super) renamed_metrics: bool,
}

/// What a trouble is put into.
struct Place<'a> {
    world: &'a mut World,
    view: &'a mut View,
    gauges: usize,
    dice: &'a mut Dice,
}

impl Trouble {
    /// Puts the trouble into a release.
    pub(super) fn put_into(self, world: &mut World, view: &mut View, gauges: usize, dice: &mut Dice) {
        Place { world, view, gauges, dice }.carry_out(self);
    }
}

impl Place<'_> {
    fn carry_out(&mut self, trouble: Trouble) {
        let fleet = &self.world.fleet;
        let (from, started, until) = (fleet.from, fleet.started_at, fleet.until);
        match trouble {
            Trouble::OtherRestart => self.other_restart(),
            Trouble::ColdStart => {
                let seconds = self.dice.log_between(20.0, 300.0);
                let largest = 1.2 * WarmUp::largest(seconds);
                let warm_up = &mut self.world.service.warm_up;
                warm_up.seconds = seconds;
                warm_up.latency = self.dice.between(0.3, largest);
                warm_up.cpu = self.dice.between(0.2, largest);
                warm_up.cache_misses = self.dice.between(0.4, 0.95);
            }
            Trouble::StartErrors => {
                self.world.service.warm_up.errors = self.dice.between(0.01, 0.15);
                self.world.service.warm_up.error_seconds = self.dice.between(5.0, 35.0);
            }
            Trouble::Surge => self.surge(),
            Trouble::MorningRamp => self.ramp(started, until, true),
            Trouble::EveningFall => self.ramp(started, until, false),
            Trouble::IncidentBefore => {
                let begin = self.dice.between(from, from + 0.6 * (started - from));
                let seconds = self.dice.between(0.05, 0.3) * (started - from);
                self.incident(begin, seconds);
            }
            Trouble::IncidentEnding => {
                let begin = self.dice.between(from, started - 0.1 * (started - from));
                let end = self.dice.between(started, started + 0.5 * (until - started));
                self.incident(begin, end - begin);
            }
            Trouble::IncidentLater => self.incident_later(),
            Trouble::OldDifference => self.old_difference(),
            Trouble::BadReference => self.bad_reference(from - 1.0),
            Trouble::BadReferenceLater => {
                let begin = self.dice.between(started, until);
                self.bad_reference(begin);
            }
            Trouble::NoisyBefore => self.noisy_before(),
            Trouble::SpikyLatency => self.spiky_latency(),
            Trouble::Gaps => self.gaps(),
            Trouble::Flapping => {
                let index = self.dice.whole(0, self.world.fleet.instances.len() - 1);
                let share = self.dice.between(0.05, 0.4);
                self.put(Who::These(vec![index]), from, Change::Unreachable { share });
            }
            Trouble::Cron => self.cron(),
            Trouble::OtherDeploy => self.other_deploy(),
            Trouble::LowTraffic => {
                self.world.service.rate *= self.dice.log_between(0.002, 0.05);
            }
            Trouble::TrafficShare => {
                let weight = (self.dice.log_between(0.4, 2.5) * 100.0).round() / 100.0;
                self.share(weight, 0.5);
            }
            Trouble::LightCanary => {
                let weight = (self.dice.between(0.05, 0.3) * 100.0).round() / 100.0;
                self.share(weight, 0.7);
            }
            Trouble::NewMetrics => self.view.new_metrics = true,
            Trouble::RenamedMetrics => self.view.renamed_metrics = true,
            Trouble::MoreResources => {
                let share = self.dice.between(0.02, 0.15);
                self.released(Change::Memory { share });
                let share = self.dice.between(0.0, 0.15);
                self.released(Change::Threads { share });
                self.released(Change::Descriptors { share });
            }
            Trouble::FewerLogs => {
                let factor = self.dice.between(0.1, 0.8);
                self.released(Change::LogInfo { factor });
                self.released(Change::LogErrors { factor, share: 0.0 });
            }
            Trouble::MoreLogs => {
                let factor = self.dice.between(1.3, 10.0);
                self.released(Change::LogInfo { factor });
            }
            Trouble::Faster => {
                let factor = self.dice.between(0.5, 0.92);
                self.released(Change::Latency { scope: Scope::default(), factor });
                self.released(Change::Cpu { factor });
            }
            Trouble::OtherGauges => self.other_gauges(),
            Trouble::FeatureRamp => {
                let factor = self.dice.between(1.05, 1.4);
                let effect = Effect::released(Change::Business { kind: None, segment: None, factor });
                self.world.effects.push(effect.shaped(Shape::Ramp(until - started)));
                let info = Effect::released(Change::LogInfo { factor: factor * 1.3 });
                self.world.effects.push(info.shaped(Shape::Ramp(until - started)));
            }
            Trouble::GcTuning => {
                let factor = self.dice.log_between(0.3, 1.5);
                self.released(Change::Gc { factor });
            }
            Trouble::NoisyNeighbour => {
                self.world.service.latency_wander =
                    (self.dice.between(0.2, 0.6), self.dice.between(0.05, 0.15));
            }
            Trouble::BadClients => {
                let begin = self.dice.between(from, until);
                let share = self.dice.between(0.02, 0.3);
                let seconds = self.dice.between(0.1, 0.5) * (until - from);
                let change = Change::ClientErrors { scope: Scope::default(), share };
                let effect = Effect::during(Who::Everyone, begin, seconds, change);
                self.world.effects.push(effect);
            }
        }
    }

    fn put(&mut self, who: Who, from: f64, change: Change) {
        self.world.effects.push(Effect::lasting(who, from, change));
    }

    fn released(&mut self, change: Change) {
        self.world.effects.push(Effect::released(change));
    }

    /// Machines that never get the new version.
    fn reference(&self) -> Vec<usize> {
        let instances = self.world.fleet.instances.iter().enumerate();
        instances.filter(|(_, i)| i.in_group && i.batch.is_none()).map(|(index, _)| index).collect()
    }

    fn other_restart(&mut self) {
        let reference = self.reference();
        if reference.is_empty() || self.world.fleet.rollover == Rollover::Adoption {
            return;
        }
        let fleet = &self.world.fleet;
        let moment = self.dice.between(fleet.from, fleet.until);
        let until = moment + self.dice.log_between(2.0, 90.0);
        let index = *self.dice.pick(&reference);
        self.world.fleet.instances[index].add_down(moment, until);
    }

    fn surge(&mut self) {
        let fleet = &self.world.fleet;
        let from = self.dice.between(fleet.from, fleet.until);
        let seconds = self.dice.between(0.05, 0.4) * (fleet.until - fleet.from);
        let factor =
            if self.dice.chance(0.8) { self.dice.between(1.3, 3.0) } else { self.dice.between(0.3, 0.7) };
        let rise = seconds * self.dice.between(0.02, 0.4);
        self.world.load.swells.push(Swell { from, rise, until: from + seconds, factor });
    }

    fn ramp(&mut self, from: f64, until: f64, up: bool) {
        let factor = if up { self.dice.between(1.5, 4.0) } else { self.dice.between(0.25, 0.7) };
        let rise = (until - from) * self.dice.between(0.6, 1.2);
        let from = from - self.dice.between(0.0, 0.3) * rise;
        self.world.load.swells.push(Swell { from, rise, until: until + 2.0 * rise, factor });
    }

    /// Something that all machines suffer alike.
    fn incident(&mut self, from: f64, seconds: f64) {
        let scope = Scope::default();
        let share = self.dice.log_between(0.01, 0.6);
        let factor = self.dice.log_between(1.3, 6.0);
        let changes = match self.dice.whole(0, 5) {
            0 => vec![Change::Errors { scope, share }],
            1 => vec![Change::Latency { scope, factor }, Change::CallLatency { factor: factor * 1.5 }],
            2 => vec![Change::CallErrors { share }, Change::Latency { scope, factor }],
            3 => vec![Change::Traffic { factor: 1.0 / factor }],
            4 => vec![Change::Cpu { factor }, Change::Tail { scope, share: 0.05, factor: 15.0 }],
            _ => {
                let change = GaugeChange::Level(self.dice.between(5.0, 25.0));
                let count = self.dice.whole(1, 5);
                let some = self.dice.some_of(count, self.gauges);
                some.into_iter().map(|index| Change::Gauge { index, change }).collect()
            }
        };
        let shapes = [Shape::Step, Shape::Step, Shape::Ramp(0.2 * seconds), Shape::Decay(0.4 * seconds)];
        let shape = *self.dice.pick(&shapes);
        for change in changes {
            let effect = Effect::during(Who::Everyone, from, seconds, change);
            self.world.effects.push(effect.shaped(shape));
        }
    }

    /// Not right after a batch: what breaks for all then is rightly blamed on
    /// the release until somebody knows better.
    fn incident_later(&mut self) {
        let fleet = &self.world.fleet;
        let quiet = (6.0 * fleet.interval).max(180.0);
        let batches = fleet.batches.clone();
        for _ in 0..20 {
            let from = self.dice.between(self.world.fleet.started_at, self.world.fleet.until);
            if batches.iter().all(|batch| from < batch - 30.0 || batch + quiet < from) {
                let seconds = self.dice.log_between(60.0, 900.0).max(3.0 * self.world.fleet.interval);
                return self.incident(from, seconds);
            }
        }
    }

    fn old_difference(&mut self) {
        self.world.service.old_difference = self.dice.between(0.3, 0.8);
        let index = self.dice.whole(0, self.world.fleet.instances.len() - 1);
        let share = self.dice.log_between(0.001, 0.05);
        let scope = Scope::default();
        self.put(Who::These(vec![index]), f64::NEG_INFINITY, Change::Errors { scope, share });
    }

    fn bad_reference(&mut self, from: f64) {
        let reference = self.reference();
        // One of two or fewer leaves nothing to compare with.
        if reference.len() < 3 {
            return;
        }
        let index = *self.dice.pick(&reference);
        let scope = Scope::default();
        let change = match self.dice.whole(0, 4) {
            0 => Change::Errors { scope, share: self.dice.log_between(0.01, 0.5) },
            1 => Change::Latency { scope, factor: self.dice.between(1.5, 6.0) },
            2 => Change::Cpu { factor: self.dice.between(1.5, 4.0) },
            3 => Change::Memory { share: self.dice.between(0.3, 2.0) },
            _ => Change::Traffic { factor: self.dice.between(0.0, 0.5) },
        };
        self.put(Who::These(vec![index]), from, change);
    }

    fn noisy_before(&mut self) {
        let fleet = &self.world.fleet;
        let (from, span) = (fleet.from, fleet.until - fleet.from);
        let period = span * self.dice.between(0.02, 0.08);
        let on = period * self.dice.between(0.05, 0.4);
        let some = self.dice.whole(1, self.world.fleet.instances.len());
        let who = Who::These(self.dice.some_of(some, self.world.fleet.instances.len()));
        let share = self.dice.log_between(0.005, 0.1);
        let change = Change::Errors { scope: Scope::default(), share };
        let effect = Effect::lasting(who, from - 1.0, change).shaped(Shape::Periodic { period, on });
        self.world.effects.push(effect);
    }

    fn spiky_latency(&mut self) {
        for route in &mut self.world.service.routes {
            route.tail = (self.dice.log_between(0.01, 0.1), self.dice.between(8.0, 40.0));
        }
        let (period, share) = (self.dice.log_between(40.0, 600.0), self.dice.between(0.02, 0.2));
        let on = period * self.dice.between(0.05, 0.3);
        let change = Change::Tail { scope: Scope::default(), share, factor: self.dice.between(5.0, 30.0) };
        let effect = Effect::lasting(Who::Everyone, f64::NEG_INFINITY, change);
        self.world.effects.push(effect.shaped(Shape::Periodic { period, on }));
    }

    fn gaps(&mut self) {
        for _ in 0..self.dice.whole(1, 4) {
            let fleet = &self.world.fleet;
            let from = self.dice.between(fleet.from, fleet.until);
            let seconds = self.dice.log_between(2.0, 12.0) * fleet.interval;
            let one = self.dice.chance(0.6).then(|| self.dice.whole(0, fleet.instances.len() - 1));
            self.view.gaps.push((one, from, from + seconds));
        }
    }

    fn cron(&mut self) {
        let period = *self.dice.pick(&[300.0, 600.0, 900.0, 1_800.0, 3_600.0]);
        let on = self.dice.between(10.0, 90.0);
        let factor = self.dice.between(1.5, 4.0);
        let shape = Shape::Periodic { period, on };
        let always = |change| Effect::lasting(Who::Everyone, f64::NEG_INFINITY, change).shaped(shape);
        self.world.effects.push(always(Change::Cpu { factor }));
        let slower = factor.sqrt();
        self.world.effects.push(always(Change::Latency { scope: Scope::default(), factor: slower }));
    }

    fn other_deploy(&mut self) {
        let fleet = &self.world.fleet;
        let from = self.dice.between(fleet.from, fleet.started_at);
        let factor = self.dice.between(1.2, 3.0);
        let share = self.dice.log_between(0.001, 0.05);
        let seconds = self.dice.between(30.0, 240.0);
        let during = |change| Effect::during(Who::Everyone, from, seconds, change);
        self.world.effects.push(during(Change::CallLatency { factor }));
        self.world.effects.push(during(Change::CallErrors { share }));
        let after = self.dice.between(0.8, 1.3);
        self.put(Who::Everyone, from + seconds, Change::CallLatency { factor: after });
    }

    fn share(&mut self, weight: f64, told: f64) {
        // Who gives a machine less gives the others more.
        self.world.fleet.balanced = true;
        self.world.fleet.release_traffic = weight;
        self.world.fleet.weight = self.dice.chance(told).then_some(weight);
    }

    fn other_gauges(&mut self) {
        if self.gauges == 0 {
            let factor = self.dice.between(0.85, 1.08);
            return self.released(Change::Cpu { factor });
        }
        for index in self.dice.some_of(2, self.gauges) {
            let change = GaugeChange::Level(self.dice.between(-1.0, 1.0));
            self.released(Change::Gauge { index, change });
        }
    }
}

//! What a bad release does, as changes of the released instances.

use super::change::{Change, Effect, GaugeChange, Scope, Shape, Who};
use super::fleet::{Down, Rollover};
use super::instruments::Aspect;
use super::random::Dice;
use super::{UnknownWord, by_word};
use crate::simulate::machine::World;

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// More requests fail.
    Errors,
    /// More requests of one kind fail.
    ErrorsOneRoute,
    /// More requests of one part of the users fail.
    ErrorsOneSegment,
    /// Many requests fail for a few minutes, then none.
    ErrorBurst,
    /// Requests are refused that were accepted.
    Refusals,
    /// Everything takes longer.
    Latency,
    /// The slowest requests take longer.
    LatencyTail,
    /// One kind of request takes longer.
    LatencyOneRoute,
    /// More CPU for the same work.
    Cpu,
    /// Memory grows without end.
    MemoryLeak,
    /// Threads grow without end.
    ThreadLeak,
    /// Descriptors and connections grow without end.
    DescriptorLeak,
    /// The pool is used up.
    PoolExhaustion,
    /// The queue grows.
    Backlog,
    /// The process ends again and again.
    CrashLoop,
    /// It answers scrapes and serves nothing.
    Hang,
    /// An instance does not come back.
    NeverBack,
    /// Users are sent elsewhere.
    LostTraffic,
    /// Fewer orders though everything works.
    BusinessDrop,
    /// An exception that was never seen before.
    NewException,
    /// A flood of error lines in the log.
    LogFlood,
    /// The cache no longer helps.
    CacheDrop,
    /// Calls to a dependency fail.
    CallErrors,
    /// Calls to a dependency take longer.
    CallLatency,
    /// Many more calls to a dependency, which suffers.
    RetryStorm,
    /// The garbage collector works all the time.
    GcPressure,
    /// It harms the old version too, by something that both share.
    Spreading,
    /// A gauge moves to another level.
    GaugeLevel,
    /// A gauge moves away steadily.
    GaugeRamp,
    /// A gauge has spikes.
    GaugeSpikes,
    /// A gauge falls to zero.
    GaugeZero,
    /// A gauge becomes noisy.
    GaugeNoise,
    /// The page no longer has the application's metrics.
    MetricsMissing,
    /// More crashes of a mobile application.
    Crashes,
    /// More freezes of a mobile application.
    Freezes,
}

impl Fault {
    /// All faults.
    pub const ALL: [Self; 35] = [
        Self::Errors,
        Self::ErrorsOneRoute,
        Self::ErrorsOneSegment,
        Self::ErrorBurst,
        Self::Refusals,
        Self::Latency,
        Self::LatencyTail,
        Self::LatencyOneRoute,
        Self::Cpu,
        Self::MemoryLeak,
        Self::ThreadLeak,
        Self::DescriptorLeak,
        Self::PoolExhaustion,
        Self::Backlog,
        Self::CrashLoop,
        Self::Hang,
        Self::NeverBack,
        Self::LostTraffic,
        Self::BusinessDrop,
        Self::NewException,
        Self::LogFlood,
        Self::CacheDrop,
        Self::CallErrors,
        Self::CallLatency,
        Self::RetryStorm,
        Self::GcPressure,
        Self::Spreading,
        Self::GaugeLevel,
        Self::GaugeRamp,
        Self::GaugeSpikes,
        Self::GaugeZero,
        Self::GaugeNoise,
        Self::MetricsMissing,
        Self::Crashes,
        Self::Freezes,
    ];

    /// The word on the command line and in labels.
    pub fn word(self) -> &'static str {
        match self {
            Self::Errors => "errors",
            Self::ErrorsOneRoute => "errors-one-route",
            Self::ErrorsOneSegment => "errors-one-segment",
            Self::ErrorBurst => "error-burst",
            Self::Refusals => "refusals",
            Self::Latency => "latency",
            Self::LatencyTail => "latency-tail",
            Self::LatencyOneRoute => "latency-one-route",
            Self::Cpu => "cpu",
            Self::MemoryLeak => "memory-leak",
            Self::ThreadLeak => "thread-leak",
            Self::DescriptorLeak => "descriptor-leak",
            Self::PoolExhaustion => "pool-exhaustion",
            Self::Backlog => "backlog",
            Self::CrashLoop => "crash-loop",
            Self::Hang => "hang",
            Self::NeverBack => "never-back",
            Self::LostTraffic => "lost-traffic",
            Self::BusinessDrop => "business-drop",
            Self::NewException => "new-exception",
            Self::LogFlood => "log-flood",
            Self::CacheDrop => "cache-drop",
            Self::CallErrors => "call-errors",
            Self::CallLatency => "call-latency",
            Self::RetryStorm => "retry-storm",
            Self::GcPressure => "gc-pressure",
            Self::Spreading => "spreading",
            Self::GaugeLevel => "gauge-level",
            Self::GaugeRamp => "gauge-ramp",
            Self::GaugeSpikes => "gauge-spikes",
            Self::GaugeZero => "gauge-zero",
            Self::GaugeNoise => "gauge-noise",
            Self::MetricsMissing => "metrics-missing",
            Self::Crashes => "crashes",
            Self::Freezes => "freezes",
        }
    }

    /// Whether it shows in nearly every application.
    pub(super) fn needs_nothing_special(self) -> bool {
        self.needs().is_none_or(|aspect| aspect == Aspect::Traffic)
    }

    /// What of an application must be seen for the fault to be seen.
    fn needs(self) -> Option<Aspect> {
        match self {
            Self::Errors
            | Self::ErrorsOneRoute
            | Self::ErrorsOneSegment
            | Self::ErrorBurst
            | Self::Spreading => Some(Aspect::Errors),
            Self::Refusals => Some(Aspect::Refusals),
            Self::Latency | Self::LatencyTail | Self::LatencyOneRoute => Some(Aspect::Latency),
            Self::Cpu => Some(Aspect::Cpu),
            Self::MemoryLeak => Some(Aspect::Memory),
            Self::ThreadLeak => Some(Aspect::Threads),
            Self::DescriptorLeak => Some(Aspect::Descriptors),
            Self::PoolExhaustion => Some(Aspect::Pool),
            Self::Backlog => Some(Aspect::Queue),
            Self::Hang | Self::LostTraffic => Some(Aspect::Traffic),
            Self::BusinessDrop => Some(Aspect::Business),
            Self::NewException => Some(Aspect::Exceptions),
            Self::LogFlood => Some(Aspect::LogErrors),
            Self::CacheDrop => Some(Aspect::Cache),
            Self::CallErrors | Self::CallLatency | Self::RetryStorm => Some(Aspect::Calls),
            Self::GcPressure => Some(Aspect::Gc),
            Self::GaugeLevel | Self::GaugeRamp | Self::GaugeSpikes | Self::GaugeZero | Self::GaugeNoise => {
                Some(Aspect::Gauges)
            }
            Self::Crashes | Self::Freezes => Some(Aspect::Mobile),
            Self::CrashLoop | Self::NeverBack | Self::MetricsMissing => None,
        }
    }
}

impl std::str::FromStr for Fault {
    type Err = UnknownWord;
    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        by_word("fault", text, &Self::ALL, Self::word)
    }
}

/// A fault as it was put into a release.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Planned {
    pub(super) onset: f64,
    /// 0 is hardly to be seen, 1 is plain to anybody.
    pub(super) severity: f64,
}

/// What the fault is planned for.
struct Plan<'a> {
    world: &'a mut World,
    aspects: &'a [Aspect],
    gauges: usize,
    dice: &'a mut Dice,
    severity: f64,
    /// Seconds from when an instance has the new version to the onset.
    delay: f64,
    /// The first onset.
    onset: f64,
    /// Seconds from the onset to the end.
    left: f64,
}

impl Fault {
    /// Puts the fault into a release; `None` where it could not be seen there
    /// by anybody: too little traffic, no such metric, too little time.
    pub(super) fn put_into(
        self,
        world: &mut World,
        aspects: &[Aspect],
        gauges: usize,
        dice: &mut Dice,
    ) -> Option<Planned> {
        if self.needs().is_some_and(|aspect| !aspects.contains(&aspect)) {
            return None;
        }
        let first = world.fleet.instances.iter().map(|i| i.released_at).fold(f64::INFINITY, f64::min);
        let late = dice.chance(0.35);
        let delay = if late { dice.between(0.03, 0.35) * (world.fleet.until - first) } else { 0.0 };
        let onset = first + delay;
        let left = world.fleet.until - onset;
        if !left.is_finite() || left < 90.0_f64.max(10.0 * world.fleet.interval) {
            return None;
        }
        let severity = dice.unit();
        let plan = Plan { world, aspects, gauges, dice, severity, delay, onset, left };
        let onset = plan.carry_out(self)?;
        Some(Planned { onset, severity })
    }
}

impl Plan<'_> {
    /// A size between the smallest and the largest, by severity.
    fn size(&self, small: f64, large: f64) -> f64 {
        (small.ln() + (large / small).ln() * self.severity).exp()
    }

    fn put(&mut self, change: Change, shape: Shape) {
        let effect = Effect::released(change).after(self.delay).shaped(shape);
        self.world.effects.push(effect);
    }

    fn step(&mut self, change: Change) -> Option<f64> {
        let shape = if self.dice.chance(0.7) { Shape::Step } else { Shape::Ramp(0.15 * self.left) };
        self.put(change, shape);
        Some(self.onset)
    }

    /// Grows until the end.
    fn growing(&mut self, change: Change) -> Option<f64> {
        self.put(change, Shape::Ramp(self.left * 0.9));
        Some(self.onset)
    }

    /// Requests that released instances serve from the onset to the end.
    fn requests(&self) -> f64 {
        let middle = self.onset + self.left / 2.0;
        let instances = self.world.fleet.instances.iter().enumerate();
        let released = instances.filter(|(_, i)| i.released_at + self.delay <= middle);
        released.map(|(index, _)| self.world.rate(index, middle) * self.left).sum()
    }

    /// A share of failing requests that counting can tell from the usual one.
    fn error_share(&self, small: f64, large: f64, scope: Scope, usual: f64) -> Option<f64> {
        let requests = self.requests() * self.share_of(scope);
        let spread = (1.0 + 2.0 * self.world.service.error_spread).powi(2);
        let needed = (25.0 / requests.max(1e-9)).max(8.0 * (usual / requests.max(1e-9)).sqrt());
        let share = self.size(small, large).max(needed).max(usual * spread);
        (share <= 0.6).then_some(share)
    }

    fn share_of(&self, scope: Scope) -> f64 {
        let service = &self.world.service;
        scope.route.map_or(1.0, |r| service.routes[r].share)
            * scope.segment.map_or(1.0, |s| service.segments[s].share)
    }

    fn usual_errors(&self) -> f64 {
        self.world.service.routes.iter().map(|route| route.server_errors * route.share).sum()
    }

    fn carry_out(mut self, fault: Fault) -> Option<f64> {
        let any = Scope::default();
        match fault {
            Fault::Errors => self.errors(any),
            Fault::ErrorsOneRoute => {
                let scope = self.one_route()?;
                self.errors(scope)
            }
            Fault::ErrorsOneSegment => {
                let count = self.world.service.segments.len();
                let segment = (count > 1).then(|| self.dice.whole(0, count - 1))?;
                self.errors(Scope { segment: Some(segment), ..any })
            }
            Fault::ErrorBurst => self.burst(),
            Fault::Refusals => self.refusals(),
            Fault::Latency => self.latency(any),
            Fault::LatencyOneRoute => {
                let scope = self.one_route()?;
                self.latency(scope)
            }
            Fault::LatencyTail => self.tail(),
            Fault::Cpu => self.cpu(),
            Fault::MemoryLeak => {
                let warm_up = self.world.service.warm_up;
                let unfilled = (1.0 - warm_up.memory_at_once) * (-self.left / warm_up.memory_seconds).exp();
                let factor = self.size(1.5, 8.0);
                self.put(Change::Gc { factor }, Shape::Ramp(self.left));
                self.leak(Change::Memory { share: unfilled + self.size(0.3, 4.0) })
            }
            Fault::ThreadLeak => self.leak(Change::Threads { share: self.size(0.7, 12.0) }),
            Fault::DescriptorLeak => self.leak(Change::Descriptors { share: self.size(0.7, 12.0) }),
            Fault::PoolExhaustion => self.pool(),
            Fault::Backlog => {
                let factor = 0.45 / self.size(1.0, 4.0);
                self.step(Change::Speed { factor })
            }
            Fault::CrashLoop => self.crash_loop(),
            Fault::Hang => self.hang(),
            Fault::NeverBack => self.never_back(),
            // What users have not come to yet was not lost.
            Fault::LostTraffic if self.world.fleet.rollover == Rollover::Adoption => None,
            Fault::LostTraffic => {
                let factor = 0.5 / self.size(1.0, 20.0);
                (self.requests() > 800.0).then(|| self.step(Change::Traffic { factor }))?
            }
            Fault::BusinessDrop => self.business(),
            Fault::NewException => self.new_exception(),
            Fault::LogFlood => {
                let share = self.size(0.02, 1.0).max(60.0 / self.requests().max(1e-9));
                let factor = self.size(3.0, 50.0);
                (share < 2.0).then(|| self.step(Change::LogErrors { factor, share }))?
            }
            Fault::CacheDrop => {
                let factor = 0.75 / self.size(1.0, 10.0);
                let slower = self.size(1.02, 1.6);
                self.put(Change::Latency { scope: any, factor: slower }, Shape::Step);
                (self.requests() > 500.0).then(|| self.step(Change::CacheHits { factor }))?
            }
            Fault::CallErrors => {
                let usual = self.world.service.dependencies[0].errors;
                let share = self.error_share(0.01, 0.5, any, usual)?;
                self.step(Change::CallErrors { share })
            }
            Fault::CallLatency => {
                let factor = self.size(1.8, 10.0);
                (self.requests() > 300.0).then(|| self.step(Change::CallLatency { factor }))?
            }
            Fault::RetryStorm => self.retry_storm(),
            Fault::GcPressure => {
                let factor = self.size(4.0, 60.0);
                let slower = self.size(1.05, 1.8);
                self.put(Change::Latency { scope: any, factor: slower }, Shape::Step);
                self.put(Change::Cpu { factor: slower }, Shape::Step);
                self.step(Change::Gc { factor })
            }
            Fault::Spreading => self.spreading(),
            Fault::GaugeLevel => self.gauges_of(GaugeChange::Level, Shape::Step),
            Fault::GaugeRamp => {
                let shape = Shape::Ramp(self.left * 0.8);
                self.gauges_of(|size| GaugeChange::Level(size * 1.5), shape)
            }
            Fault::GaugeSpikes => self.gauges_of(|size| GaugeChange::Spikes(size * 1.5), Shape::Step),
            Fault::GaugeZero => self.gauges_of(|_| GaugeChange::Zero, Shape::Step),
            Fault::GaugeNoise => self.gauges_of(|size| GaugeChange::Noise(size.abs() * 0.7), Shape::Step),
            Fault::MetricsMissing => {
                self.put(Change::BlankPage, Shape::Step);
                Some(self.onset)
            }
            Fault::Crashes => self.mobile(|factor| Change::Crashes { factor }),
            Fault::Freezes => self.mobile(|factor| Change::Freezes { factor }),
        }
    }

    fn one_route(&mut self) -> Option<Scope> {
        let count = self.world.service.routes.len();
        let route = (count > 1).then(|| self.dice.whole(0, count - 1))?;
        Some(Scope { route: Some(route), segment: None })
    }

    fn errors(&mut self, scope: Scope) -> Option<f64> {
        let usual = scope.route.map_or(self.usual_errors(), |r| self.world.service.routes[r].server_errors);
        let share = self.error_share(0.004, 0.5, scope, usual)?;
        self.step(Change::Errors { scope, share })
    }

    fn burst(&mut self) -> Option<f64> {
        let seconds = self.dice.between(60.0, 240.0).max(4.0 * self.world.fleet.interval);
        let share = self.size(0.1, 0.8);
        let requests = self.requests() * (seconds / self.left);
        if requests * share < 60.0 || self.left < seconds * 1.2 {
            return None;
        }
        let scope = Scope::default();
        let effect = Effect::released(Change::Errors { scope, share }).after(self.delay);
        self.world.effects.push(Effect { until: self.onset + seconds, ..effect });
        Some(self.onset)
    }

    fn refusals(&mut self) -> Option<f64> {
        let routes = &self.world.service.routes;
        let usual: f64 = routes.iter().map(|route| route.client_errors * route.share).sum();
        let scope = Scope::default();
        let share = self.error_share(0.05, 0.6, scope, usual)?.max(2.0 * usual).min(0.8);
        self.step(Change::ClientErrors { scope, share })
    }

    fn latency(&mut self, scope: Scope) -> Option<f64> {
        let factor = self.size(1.45, 6.0);
        (self.requests() * self.share_of(scope) > 300.0)
            .then(|| self.step(Change::Latency { scope, factor }))?
    }

    fn tail(&mut self) -> Option<f64> {
        let share = self.size(0.02, 0.15);
        let factor = self.dice.between(8.0, 40.0);
        let scope = Scope::default();
        (self.requests() * share > 60.0).then(|| self.step(Change::Tail { scope, share, factor }))?
    }

    fn cpu(&mut self) -> Option<f64> {
        let factor = self.size(1.35, 4.0);
        (self.requests() > 100.0).then(|| self.step(Change::Cpu { factor }))?
    }

    fn leak(&mut self, change: Change) -> Option<f64> {
        let slower = Change::Latency { scope: Scope::default(), factor: self.size(1.0, 1.3) };
        self.put(slower, Shape::Ramp(self.left));
        self.growing(change)
    }

    fn pool(&mut self) -> Option<f64> {
        let factor = (1.0 / self.world.service.pool_use) * self.size(1.0, 4.0);
        let scope = Scope::default();
        let slower = self.size(1.2, 8.0);
        self.put(Change::Latency { scope, factor: slower }, Shape::Ramp(60.0));
        let share = self.size(0.002, 0.2);
        self.put(Change::Errors { scope, share }, Shape::Ramp(120.0));
        self.put(Change::PoolHold { factor }, Shape::Ramp(60.0));
        Some(self.onset)
    }

    fn victims(&mut self) -> Vec<usize> {
        let instances = self.world.fleet.instances.iter().enumerate();
        let released: Vec<usize> = instances
            .filter(|(_, i)| i.released_at < self.world.fleet.until)
            .map(|(index, _)| index)
            .collect();
        if self.dice.chance(0.6) {
            return released;
        }
        let count = self.dice.whole(1, released.len());
        self.dice.some_of(count, released.len()).into_iter().map(|place| released[place]).collect()
    }

    fn crash_loop(&mut self) -> Option<f64> {
        let rollover = self.world.fleet.rollover;
        let seen = self.aspects.contains(&Aspect::ProcessStart) || self.world.fleet.interval <= 30.0;
        if rollover == Rollover::Adoption || !seen || self.aspects.contains(&Aspect::Gauges) {
            return None;
        }
        let mut onset = f64::INFINITY;
        let lives = self.dice.log_between(4.0, 60.0).max(0.5 * self.world.fleet.interval);
        let growing = self.dice.chance(0.6);
        let until = self.world.fleet.until;
        for index in self.victims() {
            let mut moment = self.world.fleet.instances[index].released_at + self.delay;
            let mut pause = self.dice.between(2.0, 12.0);
            for _ in 0..200 {
                moment += lives * self.dice.factor(0.4);
                if until <= moment {
                    break;
                }
                let instance = &mut self.world.fleet.instances[index];
                if instance.add_down(moment, moment + pause) {
                    onset = onset.min(moment);
                }
                moment += pause;
                pause = if growing { (pause * 2.0).min(300.0) } else { pause };
            }
        }
        (onset + 60.0 < until).then_some(onset)
    }

    fn hang(&mut self) -> Option<f64> {
        if self.requests() < 600.0 {
            return None;
        }
        self.put(Change::Hang, Shape::Step);
        if self.dice.chance(0.4) {
            self.put(Change::Unreachable { share: 1.0 }, Shape::Step);
        }
        Some(self.onset)
    }

    fn never_back(&mut self) -> Option<f64> {
        let rollover = self.world.fleet.rollover;
        if rollover == Rollover::InPlace || rollover == Rollover::Adoption {
            return None;
        }
        let mut onset = f64::INFINITY;
        for index in self.victims() {
            let instance = &mut self.world.fleet.instances[index];
            onset = onset.min(instance.released_at);
            if rollover == Rollover::Replace {
                // It is a target all the same, and answers nobody.
                instance.exists.0 = self.world.fleet.batches[instance.batch.unwrap_or_default()];
                instance.downs = vec![Down { from: f64::NEG_INFINITY, until: f64::INFINITY }];
            } else if let Some(last) = instance.downs.last_mut() {
                last.until = f64::INFINITY;
            }
        }
        onset.is_finite().then_some(onset)
    }

    fn business(&mut self) -> Option<f64> {
        let segments = self.world.service.segments.len();
        let segment = (segments > 1 && self.dice.chance(0.4)).then(|| self.dice.whole(0, segments - 1));
        let share = segment.map_or(1.0, |s| self.world.service.segments[s].share);
        let kind = if self.dice.chance(0.5) { None } else { Some(self.dice.whole(0, 1)) };
        let factor = 0.6 / self.size(1.0, 20.0);
        (self.requests() * share > 12_000.0).then(|| self.step(Change::Business { kind, segment, factor }))?
    }

    fn new_exception(&mut self) -> Option<f64> {
        let share = self.size(0.002, 0.2).max(25.0 / self.requests().max(1e-9));
        let class = self.dice.whole(super::machine::EXCEPTIONS_USUAL, super::machine::EXCEPTIONS - 1);
        if share > 0.5 {
            return None;
        }
        if self.dice.chance(0.4) {
            self.put(Change::Errors { scope: Scope::default(), share: share * 0.8 }, Shape::Step);
        }
        self.put(Change::Exceptions { class, share }, Shape::Step);
        Some(self.onset)
    }

    fn retry_storm(&mut self) -> Option<f64> {
        let factor = self.size(2.0, 8.0);
        let slower = self.size(1.2, 4.0);
        if self.requests() < 300.0 {
            return None;
        }
        self.put(Change::CallLatency { factor: slower }, Shape::Ramp(60.0));
        self.put(Change::CallErrors { share: self.size(0.01, 0.3) }, Shape::Ramp(60.0));
        self.put(Change::Calls { factor }, Shape::Ramp(30.0));
        Some(self.onset)
    }

    /// Something that both groups share breaks right after a batch.
    fn spreading(&mut self) -> Option<f64> {
        let batch = *self.dice.pick(&self.world.fleet.batches.clone());
        let onset = batch + self.dice.between(5.0, 50.0) + 2.0 * self.world.fleet.interval.min(60.0);
        if self.world.fleet.until - onset < 120.0_f64.max(10.0 * self.world.fleet.interval) {
            return None;
        }
        let share = self.error_share(0.03, 0.5, Scope::default(), self.usual_errors())?;
        let scope = Scope::default();
        let factor = self.size(1.5, 6.0);
        let everyone = |change| Effect::lasting(Who::Everyone, onset, change).shaped(Shape::Ramp(30.0));
        self.world.effects.push(everyone(Change::Errors { scope, share }));
        self.world.effects.push(everyone(Change::Latency { scope, factor }));
        self.world.effects.push(everyone(Change::CallLatency { factor: factor * 1.5 }));
        Some(onset)
    }

    /// Some gauges change; the size is in units of a gauge's own noise.
    fn gauges_of(&mut self, change: fn(f64) -> GaugeChange, shape: Shape) -> Option<f64> {
        let most = (self.gauges / 3).clamp(1, 8);
        let count = self.dice.whole(1, most);
        let sigmas = self.size(6.0, 40.0) * if self.dice.chance(0.75) { 1.0 } else { -1.0 };
        for index in self.dice.some_of(count, self.gauges) {
            let change = change(sigmas * self.dice.between(0.8, 1.5));
            self.put(Change::Gauge { index, change }, shape);
        }
        Some(self.onset)
    }

    fn mobile(&mut self, change: fn(f64) -> Change) -> Option<f64> {
        let factor = self.size(3.0, 20.0);
        let released: Vec<usize> = self.victims();
        let one = *self.dice.pick(&released);
        let everywhere = self.dice.chance(0.5);
        let change = change(factor);
        let onset = if everywhere {
            self.put(change, Shape::Step);
            self.onset
        } else {
            let onset = self.world.fleet.instances[one].released_at + self.delay;
            self.world.effects.push(Effect::lasting(Who::These(vec![one]), onset, change));
            onset
        };
        let sessions = self.world.rate(one, onset + self.left / 2.0) * self.left;
        (sessions > 15_000.0 && onset + 100.0 < self.world.fleet.until).then_some(onset)
    }
}

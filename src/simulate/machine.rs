//! One machine from scrape to scrape: what it served, what that cost, what it
//! holds. Instruments turn this into series; here nothing has a name yet.

use super::change::{Bearer, Condition, Effect};
use super::fleet::{Fleet, Instance, Rollover};
use super::load::Load;
use super::random::{Dice, Wander, normal_below};
use super::service::Service;

/// How long requests take: a log-normal body and a slower tail.
#[derive(Clone, Copy, Debug)]
pub(super) struct Latency {
    pub(super) log: f64,
    pub(super) spread: f64,
    pub(super) tail_share: f64,
    pub(super) tail_factor: f64,
}

impl Latency {
    /// The share of requests that take at most so many seconds.
    pub(super) fn within(&self, seconds: f64) -> f64 {
        let place = (seconds.ln() - self.log) / self.spread;
        let body = normal_below(place);
        if self.tail_share <= 0.0 {
            return body;
        }
        let tail = normal_below(place - self.tail_factor.ln() / self.spread);
        body * (1.0 - self.tail_share) + tail * self.tail_share
    }

    /// The mean in seconds.
    pub(super) fn mean(&self) -> f64 {
        let body = (self.log + self.spread * self.spread / 2.0).exp();
        body * (1.0 - self.tail_share + self.tail_share * self.tail_factor)
    }

    /// The latency below which so large a share of requests is, in seconds.
    pub(super) fn quantile(&self, share: f64) -> f64 {
        let (mut low, mut high) = (self.log - 8.0, self.log + 10.0);
        for _ in 0..26 {
            let middle = (low + high) / 2.0;
            if self.within(middle.exp()) < share { low = middle } else { high = middle }
        }
        ((low + high) / 2.0).exp()
    }
}

/// What became of one kind of request of one part of the users.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cell {
    pub(super) route: usize,
    pub(super) segment: usize,
    pub(super) ok: f64,
    pub(super) client_errors: f64,
    pub(super) server_errors: f64,
    pub(super) latency: Latency,
}

impl Cell {
    pub(super) fn requests(&self) -> f64 {
        self.ok + self.client_errors + self.server_errors
    }
}

/// Calls to one dependency.
#[derive(Clone, Copy, Debug)]
pub(super) struct Calls {
    pub(super) ok: f64,
    pub(super) failed: f64,
    pub(super) latency: Latency,
}

/// Everything that happened on a machine since the scrape before.
#[derive(Clone, Debug)]
pub(super) struct Tick {
    pub(super) at: f64,
    /// Seconds that the process ran since the scrape before.
    pub(super) seconds: f64,
    pub(super) began_at: f64,
    pub(super) released: bool,
    pub(super) cells: Vec<Cell>,
    pub(super) calls: Vec<Calls>,
    /// Cores in use.
    pub(super) cpu: f64,
    pub(super) memory: f64,
    pub(super) heap: f64,
    pub(super) threads: f64,
    pub(super) descriptors: f64,
    pub(super) in_flight: f64,
    pub(super) pool_used: f64,
    pub(super) pool_waiting: f64,
    pub(super) queue: f64,
    pub(super) queue_age: f64,
    pub(super) cache_hits: f64,
    pub(super) cache_misses: f64,
    /// By class; the last classes are those a fault brings.
    pub(super) exceptions: Vec<f64>,
    pub(super) log_info: f64,
    pub(super) log_warn: f64,
    pub(super) log_error: f64,
    pub(super) gc_runs: f64,
    pub(super) gc_seconds: f64,
    pub(super) condition: Condition,
}

impl Tick {
    pub(super) fn requests(&self) -> f64 {
        self.cells.iter().map(Cell::requests).sum()
    }
}

/// Classes of exceptions: usual ones first, then those that a fault brings.
pub(super) const EXCEPTIONS_USUAL: usize = 3;
/// How many classes there are.
pub(super) const EXCEPTIONS: usize = 5;

/// What all machines of one release share.
#[derive(Clone, Debug)]
pub(super) struct World {
    pub(super) service: Service,
    pub(super) fleet: Fleet,
    pub(super) load: Load,
    pub(super) effects: Vec<Effect>,
    pub(super) latency: Wander,
    pub(super) errors: Wander,
}

impl World {
    /// What an instance is asked for at a moment, in requests a second.
    pub(super) fn rate(&self, index: usize, moment: f64) -> f64 {
        let instance = &self.fleet.instances[index];
        let users = self.service.rate * self.load.at(moment) * instance.share;
        if self.fleet.rollover == Rollover::Adoption {
            return users * self.adopted(index, moment);
        }
        let released = self.fleet.release_traffic;
        let weight = if instance.released_at <= moment { released } else { 1.0 };
        if !self.fleet.balanced {
            return users * weight;
        }
        let (mut all, mut running) = (0.0, 0.0);
        for other in &self.fleet.instances {
            if other.exists.0 <= self.fleet.from && self.fleet.from < other.exists.1 {
                all += other.share;
            }
            if other.runs(moment) {
                running += other.share * if other.released_at <= moment { released } else { 1.0 };
            }
        }
        if all == 0.0 { users * weight } else { users * weight * (all / running.max(1e-9)).min(3.0) }
    }

    /// The share of a region's users that a version has. Old and new versions
    /// of a region stand side by side in the list.
    fn adopted(&self, index: usize, moment: f64) -> f64 {
        let new = &self.fleet.instances[index | 1];
        let grown = ((moment - new.released_at) / self.fleet.adoption_seconds).clamp(0.0, 1.0);
        let share = 0.01 + grown * 0.4 * self.fleet.release_traffic;
        match (index & 1 == 1, moment < new.released_at) {
            (true, true) => 0.0,
            (true, false) => share,
            (false, true) => 1.0,
            (false, false) => 1.0 - share,
        }
    }

    fn condition(&self, index: usize, moment: f64) -> Condition {
        let instance = &self.fleet.instances[index];
        let bearer = Bearer { index, released_at: instance.released_at, phase: instance.phase };
        Condition::at(&self.effects, bearer, moment)
    }
}

/// A machine's own course.
#[derive(Clone, Debug)]
pub(super) struct Machine {
    index: usize,
    latency: Wander,
    rate: Wander,
    resources: Wander,
    backlog: f64,
    allocated: f64,
    pub(super) dice: Dice,
}

impl Machine {
    pub(super) fn new(world: &World, index: usize, dice: &mut Dice) -> Self {
        let (from, until) = (world.fleet.from, world.fleet.until);
        let mut wander = |low: f64, high: f64| {
            let memory = dice.log_between(low, high);
            Wander::new(dice, from, until, memory)
        };
        Self {
            index,
            latency: wander(15.0, 300.0),
            rate: wander(10.0, 200.0),
            resources: wander(60.0, 1_500.0),
            backlog: 0.0,
            allocated: 0.0,
            dice: dice.fork(),
        }
    }

    /// What happened in the `seconds` up to a moment; the process runs then.
    pub(super) fn tick(&mut self, world: &World, at: f64, seconds: f64) -> Tick {
        let instance = &world.fleet.instances[self.index];
        let service = &world.service;
        let began_at = instance.process_began(at);
        let age = (at - began_at).max(0.0);
        let middle = at - seconds.min(world.fleet.interval) / 2.0;
        let condition = world.condition(self.index, middle.max(began_at.min(at)));
        let warm = (-age / service.warm_up.seconds).exp();
        let mut rate = world.rate(self.index, middle) * condition.traffic;
        rate *= (0.04 * self.rate.at(at)).exp();
        if condition.hung {
            rate = 0.0;
        }
        let rate = self.queue(service, &condition, rate, seconds);
        let cpu = self.cpu(service, instance, &condition, rate, warm);
        let busy = (cpu / service.cores).min(0.98);
        let crowding = 1.0 + 0.4 * busy * busy / (1.05 - busy);
        let cells = self.serve(world, instance, &condition, rate * seconds, warm, crowding, at);
        let requests: f64 = cells.iter().map(Cell::requests).sum();
        let calls = self.calls(service, &condition, requests, at);
        let mean = cells.iter().map(|cell| cell.latency.mean() * cell.requests()).sum::<f64>();
        let in_flight = if requests > 0.0 { rate * mean / requests } else { 0.0 };
        let mut tick = self.resources(world, instance, condition, at, age, rate, in_flight);
        tick.seconds = seconds;
        tick.began_at = began_at;
        tick.released = instance.released_at <= at;
        tick.cpu = cpu;
        tick.calls = calls;
        self.traces(service, &mut tick, &cells, requests, warm);
        tick.cells = cells;
        tick
    }

    /// A worker's queue: what is not worked off waits. Returns the rate that
    /// is worked off.
    fn queue(&mut self, service: &Service, condition: &Condition, rate: f64, seconds: f64) -> f64 {
        if service.style != super::Style::Worker || seconds > 3_600.0 {
            return rate;
        }
        let capacity = service.rate * 1.9 * condition.speed;
        let arrived = rate * seconds;
        let done = (self.backlog + arrived).min(capacity * seconds);
        self.backlog = (self.backlog + arrived - done).max(0.0);
        if seconds > 0.0 { done / seconds } else { rate }
    }

    fn cpu(
        &mut self,
        service: &Service,
        instance: &Instance,
        condition: &Condition,
        rate: f64,
        warm: f64,
    ) -> f64 {
        let young = 1.0 + service.warm_up.cpu * warm;
        let work = rate * service.cpu_per_request * condition.cpu * condition.calls.powf(0.3);
        // A fault that burns CPU burns it without requests too.
        let burnt = (condition.cpu - 1.0).max(0.0) * service.cpu_idle;
        let used = (service.cpu_idle * (1.0 + 2.0 * warm) + work + burnt) * young * instance.cpu;
        (used * self.dice.factor(0.03)).min(service.cores * 0.99)
    }

    #[expect(clippy::too_many_arguments, reason = "all are facts of one moment")]
    fn serve(
        &mut self,
        world: &World,
        instance: &Instance,
        condition: &Condition,
        expected: f64,
        warm: f64,
        crowding: f64,
        at: f64,
    ) -> Vec<Cell> {
        let service = &world.service;
        let shared = service.latency_wander.0 * world.latency.at(at);
        let own = service.latency_wander.1 * self.latency.at(at);
        let slowed = instance.latency * crowding * (1.0 + service.warm_up.latency * warm) / condition.speed;
        let noise = (service.error_spread * world.errors.at(at)).exp();
        let clumps = if service.clumping > 0.0 { self.dice.factor(service.clumping) } else { 1.0 };
        let age = at - instance.process_began(at);
        let starting = if age < service.warm_up.error_seconds { service.warm_up.errors } else { 0.0 };
        let mut cells = Vec::with_capacity(service.routes.len() * service.segments.len());
        for (r, route) in service.routes.iter().enumerate() {
            for (s, segment) in service.segments.iter().enumerate() {
                let requests = self.dice.poisson(expected * clumps * route.share * segment.share);
                let (server, client) = condition.errors(r, s);
                let calls = 1.0 - (1.0 - condition.call_errors).max(0.0).powf(0.5);
                let server = (route.server_errors * noise + server + starting + calls).min(1.0);
                let server_errors = self.dice.binomial(requests, server);
                let refused = (route.client_errors + client).min(1.0);
                let client_errors = self.dice.binomial(requests - server_errors, refused);
                let (factor, share, slow) = condition.latency(r, s);
                let called = condition.call_latency.powf(0.6);
                cells.push(Cell {
                    route: r,
                    segment: s,
                    ok: requests - server_errors - client_errors,
                    client_errors,
                    server_errors,
                    latency: Latency {
                        log: route.latency_log + (slowed * factor * called).ln() + shared + own,
                        spread: route.latency_spread,
                        tail_share: (route.tail.0 + share).min(0.9),
                        tail_factor: if share > 0.0 { slow.max(route.tail.1) } else { route.tail.1 },
                    },
                });
            }
        }
        cells
    }

    fn calls(&mut self, service: &Service, condition: &Condition, requests: f64, at: f64) -> Vec<Calls> {
        let wander = 0.05 * self.latency.at(at);
        let dependencies = service.dependencies.iter().enumerate();
        dependencies
            .map(|(index, dependency)| {
                // Only the first dependency is at fault.
                let at_fault = if index == 0 { 1.0 } else { 0.0 };
                let count =
                    requests * dependency.calls_per_request * (1.0 + (condition.calls - 1.0) * at_fault);
                let count = self.dice.poisson(count);
                let share = dependency.errors + condition.call_errors * at_fault;
                let failed = self.dice.binomial(count, share.min(1.0));
                let slower = condition.call_latency.ln() * at_fault;
                let log = dependency.latency_log + slower + wander;
                let latency = Latency { log, spread: 0.5, tail_share: 0.01, tail_factor: 10.0 };
                Calls { ok: count - failed, failed, latency }
            })
            .collect()
    }

    #[expect(clippy::too_many_arguments, reason = "all are facts of one moment")]
    fn resources(
        &mut self,
        world: &World,
        instance: &Instance,
        condition: Condition,
        at: f64,
        age: f64,
        rate: f64,
        in_flight: f64,
    ) -> Tick {
        let service = &world.service;
        let warm_up = &service.warm_up;
        let filled = warm_up.memory_at_once
            + (1.0 - warm_up.memory_at_once) * (1.0 - (-age / warm_up.memory_seconds).exp());
        let wander = 1.0 + 0.01 * self.resources.at(at);
        let memory = service.memory * instance.memory * (filled * wander + condition.memory).max(0.05);
        let fills = rate / service.rate.max(1e-9) / service.heap_seconds;
        self.allocated = (self.allocated + (0.2 + fills) * world.fleet.interval).fract();
        let leaked = condition.memory * 0.6;
        let heap =
            service.memory * instance.memory * (0.25 * filled + 0.35 * self.allocated + leaked).max(0.02);
        let load = in_flight.max(0.0);
        let pool = service.pool_size;
        let wanted = pool * service.pool_use * (rate / service.rate.max(1e-9)) * condition.pool_hold;
        let wanted = self.dice.poisson(wanted.min(pool * 20.0));
        let queue = rate * service.queue_seconds * self.dice.factor(0.3);
        let queue = self.dice.poisson(queue) + self.backlog.round();
        Tick {
            at,
            seconds: 0.0,
            began_at: at,
            released: false,
            cells: Vec::new(),
            calls: Vec::new(),
            cpu: 0.0,
            memory: (memory / 4096.0).round() * 4096.0,
            heap: heap.round(),
            threads: (service.threads * (1.0 + condition.threads) + self.dice.poisson(load.min(400.0)))
                .round(),
            descriptors: (service.descriptors * (1.0 + condition.descriptors)
                + self.dice.poisson((2.0 * load).min(4_000.0)))
            .round(),
            in_flight: self.dice.poisson(load),
            pool_used: wanted.min(pool),
            pool_waiting: (wanted - pool).max(0.0),
            queue,
            queue_age: queue / rate.max(1e-3),
            cache_hits: 0.0,
            cache_misses: 0.0,
            exceptions: Vec::new(),
            log_info: 0.0,
            log_warn: 0.0,
            log_error: 0.0,
            gc_runs: 0.0,
            gc_seconds: 0.0,
            condition,
        }
    }

    /// What requests leave behind: cache lookups, exceptions, log lines,
    /// garbage.
    fn traces(&mut self, service: &Service, tick: &mut Tick, cells: &[Cell], requests: f64, warm: f64) {
        let condition = &tick.condition;
        let dice = &mut self.dice;
        let lookups = dice.poisson(requests * 1.5);
        let cold = 1.0 - service.warm_up.cache_misses * warm;
        tick.cache_hits = dice.binomial(lookups, (service.cache_hits * cold * condition.cache_hits).min(1.0));
        tick.cache_misses = lookups - tick.cache_hits;
        let failed: f64 = cells.iter().map(|cell| cell.server_errors).sum();
        let usual = requests * service.exceptions + failed * 0.7;
        let mut exceptions = vec![0.0; EXCEPTIONS];
        for (class, count) in exceptions.iter_mut().enumerate().take(EXCEPTIONS_USUAL) {
            *count = dice.poisson(usual * [0.7, 0.25, 0.05][class]);
        }
        for (class, share) in condition.exceptions() {
            exceptions[class.min(EXCEPTIONS - 1)] += dice.poisson(requests * share);
        }
        let thrown: f64 = exceptions.iter().sum();
        tick.log_info = dice.poisson(requests * service.logs_per_request * condition.log_info);
        tick.log_warn = dice.poisson(requests * service.log_errors * 3.0 + 0.1 * thrown);
        let errors = requests * (service.log_errors * condition.log_errors + condition.log_error_share);
        tick.log_error = dice.poisson(errors) + failed + thrown;
        let collections = requests * service.cpu_per_request * 0.5 + tick.seconds * 0.02;
        tick.gc_runs = dice.poisson(collections * condition.gc.sqrt());
        tick.gc_seconds = tick.gc_runs * 0.008 * condition.gc.sqrt() * dice.factor(0.2);
        tick.exceptions = exceptions;
    }
}

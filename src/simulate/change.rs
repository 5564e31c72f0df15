//! What can become different about an instance, for whom and when. Faults and
//! harmless troubles are made of the same changes: only who shows them, when
//! and how long tells them apart, as in life.

/// Which requests a change concerns; `None` is all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Scope {
    pub(super) route: Option<usize>,
    pub(super) segment: Option<usize>,
}

impl Scope {
    pub(super) fn covers(self, route: usize, segment: usize) -> bool {
        self.route.is_none_or(|r| r == route) && self.segment.is_none_or(|s| s == segment)
    }
}

/// How a gauge without a known meaning misbehaves, in units of its own noise.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum GaugeChange {
    Level(f64),
    Spikes(f64),
    Zero,
    Noise(f64),
}

/// One thing that becomes different. Factors multiply, shares add.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Change {
    /// A share of requests fails that would have succeeded.
    Errors {
        scope: Scope,
        share: f64,
    },
    /// A share of requests is refused as the client's fault.
    ClientErrors {
        scope: Scope,
        share: f64,
    },
    Latency {
        scope: Scope,
        factor: f64,
    },
    /// A share of requests takes `factor` times as long.
    Tail {
        scope: Scope,
        share: f64,
        factor: f64,
    },
    Traffic {
        factor: f64,
    },
    Cpu {
        factor: f64,
    },
    /// Resident memory, added in units of the usual.
    Memory {
        share: f64,
    },
    Threads {
        share: f64,
    },
    Descriptors {
        share: f64,
    },
    /// How long a connection of the pool is held.
    PoolHold {
        factor: f64,
    },
    /// How fast a worker works.
    Speed {
        factor: f64,
    },
    CacheHits {
        factor: f64,
    },
    CallErrors {
        share: f64,
    },
    CallLatency {
        factor: f64,
    },
    Calls {
        factor: f64,
    },
    /// Exceptions of one class a request.
    Exceptions {
        class: usize,
        share: f64,
    },
    LogErrors {
        factor: f64,
        share: f64,
    },
    LogInfo {
        factor: f64,
    },
    Gc {
        factor: f64,
    },
    Business {
        kind: Option<usize>,
        segment: Option<usize>,
        factor: f64,
    },
    Crashes {
        factor: f64,
    },
    Freezes {
        factor: f64,
    },
    Gauge {
        index: usize,
        change: GaugeChange,
    },
    /// It answers scrapes and serves nothing.
    Hang,
    /// Scrapes fail with this probability though it serves.
    Unreachable {
        share: f64,
    },
    /// The page has lost the application's own metrics.
    BlankPage,
}

/// Who shows a change.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Who {
    Everyone,
    /// Each released instance from when it runs the new version.
    Released,
    /// Released instances of this share of the fleet, by their rank.
    These(Vec<usize>),
}

/// How a change comes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Shape {
    /// At once.
    Step,
    /// Grows over so many seconds.
    Ramp(f64),
    /// Largest at first, gone with this time constant in seconds.
    Decay(f64),
    /// On for `on` of every `period` seconds, at each instance's own time.
    Periodic { period: f64, on: f64 },
}

/// A change with its time and its bearers.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Effect {
    pub(super) who: Who,
    /// Absolute seconds; for `Released` no instance shows it before it runs
    /// the new version plus `delay`.
    pub(super) from: f64,
    pub(super) until: f64,
    /// Seconds after an instance got the new version.
    pub(super) delay: f64,
    pub(super) shape: Shape,
    pub(super) change: Change,
}

/// What an effect must know of an instance.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bearer {
    pub(super) index: usize,
    /// When it began to run the new version; infinite if never.
    pub(super) released_at: f64,
    /// Offset of its periodic jobs, 0 to 1.
    pub(super) phase: f64,
}

impl Effect {
    pub(super) fn lasting(who: Who, from: f64, change: Change) -> Self {
        Self { who, from, until: f64::INFINITY, delay: 0.0, shape: Shape::Step, change }
    }

    pub(super) fn released(change: Change) -> Self {
        Self::lasting(Who::Released, f64::NEG_INFINITY, change)
    }

    pub(super) fn during(who: Who, from: f64, seconds: f64, change: Change) -> Self {
        Self { until: from + seconds, ..Self::lasting(who, from, change) }
    }

    pub(super) fn after(self, delay: f64) -> Self {
        Self { delay, ..self }
    }

    pub(super) fn shaped(self, shape: Shape) -> Self {
        Self { shape, ..self }
    }

    /// How much of the change an instance shows, 0 to 1.
    pub(super) fn amount(&self, bearer: Bearer, moment: f64) -> f64 {
        let from = match &self.who {
            Who::Everyone => self.from,
            Who::Released => self.from.max(bearer.released_at + self.delay),
            Who::These(indices) if indices.contains(&bearer.index) => self.from,
            Who::These(_) => return 0.0,
        };
        if moment < from || self.until <= moment {
            return 0.0;
        }
        match self.shape {
            Shape::Step => 1.0,
            Shape::Ramp(seconds) => ((moment - from) / seconds.max(1.0)).min(1.0),
            Shape::Decay(seconds) => (-(moment - from) / seconds.max(1.0)).exp(),
            Shape::Periodic { period, on } => {
                let place = (moment / period + bearer.phase).rem_euclid(1.0) * period;
                f64::from(u8::from(place < on))
            }
        }
    }
}

/// All changes of one instance at one moment put together.
#[derive(Clone, Debug)]
pub(super) struct Condition {
    pub(super) traffic: f64,
    pub(super) cpu: f64,
    pub(super) memory: f64,
    pub(super) threads: f64,
    pub(super) descriptors: f64,
    pub(super) pool_hold: f64,
    pub(super) speed: f64,
    pub(super) cache_hits: f64,
    pub(super) call_errors: f64,
    pub(super) call_latency: f64,
    pub(super) calls: f64,
    pub(super) log_errors: f64,
    pub(super) log_error_share: f64,
    pub(super) log_info: f64,
    pub(super) gc: f64,
    pub(super) crashes: f64,
    pub(super) freezes: f64,
    pub(super) unreachable: f64,
    pub(super) hung: bool,
    pub(super) blank: bool,
    /// The changes that concern only some requests, counters or gauges.
    pub(super) partial: Vec<(Change, f64)>,
}

impl Condition {
    pub(super) fn usual() -> Self {
        Self {
            traffic: 1.0,
            cpu: 1.0,
            memory: 0.0,
            threads: 0.0,
            descriptors: 0.0,
            pool_hold: 1.0,
            speed: 1.0,
            cache_hits: 1.0,
            call_errors: 0.0,
            call_latency: 1.0,
            calls: 1.0,
            log_errors: 1.0,
            log_error_share: 0.0,
            log_info: 1.0,
            gc: 1.0,
            crashes: 1.0,
            freezes: 1.0,
            unreachable: 0.0,
            hung: false,
            blank: false,
            partial: Vec::new(),
        }
    }

    /// The condition of one instance at one moment.
    pub(super) fn at(effects: &[Effect], bearer: Bearer, moment: f64) -> Self {
        let mut condition = Self::usual();
        for effect in effects {
            let amount = effect.amount(bearer, moment);
            if amount > 1e-3 {
                condition.apply(&effect.change, amount);
            }
        }
        condition
    }

    fn apply(&mut self, change: &Change, amount: f64) {
        let scaled = |factor: f64| factor.powf(amount);
        match change {
            Change::Errors { .. }
            | Change::ClientErrors { .. }
            | Change::Latency { .. }
            | Change::Tail { .. }
            | Change::Exceptions { .. }
            | Change::Business { .. }
            | Change::Gauge { .. } => self.partial.push((change.clone(), amount)),
            Change::Traffic { factor } => self.traffic *= scaled(*factor),
            Change::Cpu { factor } => self.cpu *= scaled(*factor),
            Change::Memory { share } => self.memory += share * amount,
            Change::Threads { share } => self.threads += share * amount,
            Change::Descriptors { share } => self.descriptors += share * amount,
            Change::PoolHold { factor } => self.pool_hold *= scaled(*factor),
            Change::Speed { factor } => self.speed *= scaled(*factor),
            Change::CacheHits { factor } => self.cache_hits *= scaled(*factor),
            Change::CallErrors { share } => self.call_errors += share * amount,
            Change::CallLatency { factor } => self.call_latency *= scaled(*factor),
            Change::Calls { factor } => self.calls *= scaled(*factor),
            Change::LogErrors { factor, share } => {
                self.log_errors *= scaled(*factor);
                self.log_error_share += share * amount;
            }
            Change::LogInfo { factor } => self.log_info *= scaled(*factor),
            Change::Gc { factor } => self.gc *= scaled(*factor),
            Change::Crashes { factor } => self.crashes *= scaled(*factor),
            Change::Freezes { factor } => self.freezes *= scaled(*factor),
            Change::Hang => self.hung = true,
            Change::Unreachable { share } => self.unreachable += share * amount,
            Change::BlankPage => self.blank = true,
        }
    }

    /// Added probability of a server's and of a client's error.
    pub(super) fn errors(&self, route: usize, segment: usize) -> (f64, f64) {
        let mut added = (0.0, 0.0);
        for (change, amount) in &self.partial {
            if let Change::Errors { scope, share } = change
                && scope.covers(route, segment)
            {
                added.0 += share * amount;
            } else if let Change::ClientErrors { scope, share } = change
                && scope.covers(route, segment)
            {
                added.1 += share * amount;
            }
        }
        added
    }

    /// Factor of the whole latency, and the slowest tail: its share and factor.
    pub(super) fn latency(&self, route: usize, segment: usize) -> (f64, f64, f64) {
        let mut slow = (1.0, 0.0, 1.0);
        for (change, amount) in &self.partial {
            if let Change::Latency { scope, factor } = change
                && scope.covers(route, segment)
            {
                slow.0 *= factor.powf(*amount);
            } else if let Change::Tail { scope, share, factor } = change
                && scope.covers(route, segment)
            {
                slow.1 += share * amount;
                slow.2 = f64::max(slow.2, *factor);
            }
        }
        slow
    }

    /// Exceptions a request, by class.
    pub(super) fn exceptions(&self) -> impl Iterator<Item = (usize, f64)> {
        self.partial.iter().filter_map(|(change, amount)| {
            if let Change::Exceptions { class, share } = change {
                Some((*class, share * amount))
            } else {
                None
            }
        })
    }

    /// Factor of one business counter.
    pub(super) fn business(&self, kind: usize, segment: usize) -> f64 {
        let mut factor = 1.0;
        for (change, amount) in &self.partial {
            if let Change::Business { kind: k, segment: s, factor: f } = change
                && k.is_none_or(|k| k == kind)
                && s.is_none_or(|s| s == segment)
            {
                factor *= f.powf(*amount);
            }
        }
        factor
    }

    /// What is wrong with one gauge.
    pub(super) fn gauge(&self, index: usize) -> impl Iterator<Item = (GaugeChange, f64)> {
        self.partial.iter().filter_map(move |(change, amount)| {
            if let Change::Gauge { index: i, change } = change
                && *i == index
            {
                Some((*change, *amount))
            } else {
                None
            }
        })
    }
}

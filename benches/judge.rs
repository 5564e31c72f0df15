//! What runs for every look at a release: a fleet of thirty machines, an hour
//! of history at ten seconds, about fifty judged signals. Throughput is in
//! signals, so that one over it is the cost of one signal.

#![allow(clippy::unwrap_used, reason = "a bench that cannot go on should say where")]

use std::sync::Arc;
use std::time::Duration;

use divan::Bencher;
use divan::counter::ItemsCount;
use release_guardian::domain::{
    Batch, InstanceId, MetricFamily, MetricKind, Sample, Scrape, ScrapeOutcome, SeriesKey, Timestamp,
};
use release_guardian::judge::funnel::{Baseline, Budget, Funnel, Look, Span, View, screen};
use release_guardian::judge::{Judge, JudgeSettings, Outcome, WarmUp};
use release_guardian::signal::{Groups, Observation, SignalDef, SignalId, SignalSettings, Step, Window};

fn main() {
    divan::main();
}

const INSTANCES: usize = 30;
const RELEASED: usize = 5;
const STEP: Duration = Duration::from_secs(10);
const BEFORE_STEPS: Step = 360;
const AFTER_STEPS: Step = 36;

/// What a machine exposes: a counter's value grows by `mean` a step, a
/// gauge's lies around it; both vary by about a tenth.
struct Exposed {
    series: Arc<SeriesKey>,
    mean: f64,
    cumulative: bool,
    value: Vec<f64>,
}

struct Fleet {
    exposed: Vec<Exposed>,
    families: Arc<[MetricFamily]>,
    draws: u64,
}

impl Fleet {
    fn new() -> Self {
        let mut fleet = Self { exposed: Vec::new(), families: Arc::new([]), draws: 1 };
        for route in ["/cart", "/item", "/search", "/login"] {
            for (code, mean) in [("200", 400.0), ("500", 0.4)] {
                fleet.add(&format!("http_requests_total{{code=\"{code}\",route=\"{route}\"}}"), mean, true);
            }
            let bounds = ["0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "+Inf"];
            for (index, le) in bounds.iter().enumerate() {
                let share = 1.0 - 0.6_f64.powi(index as i32 + 1);
                let series = format!("http_request_duration_seconds_bucket{{le=\"{le}\",route=\"{route}\"}}");
                fleet.add(&series, 400.0 * share, true);
            }
            fleet.add(&format!("http_request_duration_seconds_sum{{route=\"{route}\"}}"), 12.0, true);
            fleet.add(&format!("http_request_duration_seconds_count{{route=\"{route}\"}}"), 400.0, true);
        }
        for kind in ["TimeoutError", "KeyError", "ValueError"] {
            fleet.add(&format!("exceptions_total{{type=\"{kind}\"}}"), 0.3, true);
        }
        for (counter, mean) in [
            ("orders_total", 20.0),
            ("process_cpu_seconds_total", 4.0),
            ("cache_hits_total", 900.0),
            ("cache_misses_total", 100.0),
            ("gc_collections_total", 3.0),
        ] {
            fleet.add(counter, mean, true);
        }
        for (gauge, mean) in [
            ("process_resident_memory_bytes", 4e8),
            ("process_open_fds", 120.0),
            ("http_requests_in_flight", 9.0),
            ("db_pool_connections_in_use", 14.0),
            ("work_queue_length", 22.0),
            ("jvm_threads_live", 180.0),
        ] {
            fleet.add(gauge, mean, false);
        }
        for index in 0..10 {
            fleet.add(&format!("reading_{index}"), 50.0 + f64::from(index), false);
        }
        let family = |name: &str, kind| MetricFamily { name: name.to_owned(), kind, unit: None, help: None };
        fleet.families = [
            family("http_request_duration_seconds", MetricKind::Histogram),
            family("http_requests_total", MetricKind::Counter),
            family("exceptions_total", MetricKind::Counter),
        ]
        .into();
        fleet
    }

    fn add(&mut self, series: &str, mean: f64, cumulative: bool) {
        let series = Arc::new(series.parse().unwrap());
        self.exposed.push(Exposed { series, mean, cumulative, value: vec![0.0; INSTANCES] });
    }

    /// Evenly between 0.9 and 1.1: the same in every run.
    fn about_one(&mut self) -> f64 {
        self.draws =
            self.draws.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        0.9 + 0.2 * (self.draws >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn scrape(&mut self, instance: usize, step: Step) -> Scrape {
        let mut samples = Vec::with_capacity(self.exposed.len());
        for index in 0..self.exposed.len() {
            let factor = self.about_one();
            let exposed = &mut self.exposed[index];
            let value = &mut exposed.value[instance];
            *value = if exposed.cumulative { *value + exposed.mean * factor } else { exposed.mean * factor };
            samples.push(Sample { series: exposed.series.clone(), value: *value });
        }
        Scrape {
            instance: name(instance),
            at: time_of(step),
            outcome: ScrapeOutcome::Complete,
            samples,
            families: self.families.clone(),
        }
    }
}

fn name(instance: usize) -> InstanceId {
    InstanceId::new(format!("10.0.0.{instance}:9100")).unwrap()
}

fn time_of(step: Step) -> Timestamp {
    Timestamp::from_millis(1_700_000_000_000 + step * STEP.as_millis() as i64 + 4_000)
}

struct World {
    window: Window,
    groups: Groups,
    released_at: Timestamp,
    now: Timestamp,
    to: Step,
}

impl World {
    /// A healthy release of a sixth of the fleet, six minutes old.
    fn new() -> Self {
        let mut fleet = Fleet::new();
        let mut window = Window::new(STEP, Duration::from_secs(7_200), SignalSettings::default());
        for step in 0..BEFORE_STEPS + AFTER_STEPS {
            for instance in 0..INSTANCES {
                window.take(&fleet.scrape(instance, step));
            }
        }
        let mut groups = Groups::default();
        groups.add_reference((0..INSTANCES).map(name));
        let released_at = time_of(BEFORE_STEPS);
        groups.release(&Batch {
            started_at: released_at,
            instances: (0..RELEASED).map(name).collect(),
            weight: None,
        });
        let now = time_of(BEFORE_STEPS + AFTER_STEPS);
        let to = window.step_at(now);
        Self { window, groups, released_at, now, to }
    }

    fn observation(&self) -> Observation<'_> {
        let mut observation = Observation::new(&self.window, &self.groups, None);
        let span = self.span();
        observation.traffic = observation.main_traffic(span.from, span.start);
        observation
    }

    fn span(&self) -> Span {
        let start = self.window.step_at(self.released_at);
        Span { from: start - BEFORE_STEPS + 1, start }
    }

    fn ready(&self) -> Vec<Step> {
        let released = self.window.step_at(self.released_at) + 2;
        (0..INSTANCES).map(|i| if i < RELEASED { released } else { Step::MIN / 2 }).collect()
    }

    fn look<'a>(&self, observation: &'a Observation<'a>, ready: &'a [Step], funnel: &Funnel) -> Look<'a> {
        const IS_RELEASED: [bool; INSTANCES] = {
            let mut released = [false; INSTANCES];
            let mut index = 0;
            while index < RELEASED {
                released[index] = true;
                index += 1;
            }
            released
        };
        let budget = Budget::of(5.0, funnel.judged());
        Look {
            observation,
            ready,
            to: self.to,
            budget,
            released: &IS_RELEASED,
            traffic: None,
            warm_up: WarmUp::default(),
        }
    }

    /// The signals whose levels are judged, with their history.
    fn judged<'a>(&'a self, funnel: &'a Funnel) -> Vec<(SignalId, &'a SignalDef, &'a Baseline)> {
        let with_baseline = |(id, def)| Some((id, def, funnel.baseline(id, View::Level)?));
        self.window.catalogue().signals().filter_map(with_baseline).collect()
    }
}

/// One scrape of about a hundred series into the window; throughput in series.
#[divan::bench]
fn window_take(bencher: Bencher) {
    let mut fleet = Fleet::new();
    let mut window = Window::new(STEP, Duration::from_secs(7_200), SignalSettings::default());
    let mut step = 0;
    for _ in 0..BEFORE_STEPS {
        window.take(&fleet.scrape(0, step));
        step += 1;
    }
    let series = fleet.exposed.len();
    bencher
        .counter(ItemsCount::new(series))
        .with_inputs(|| {
            step += 1;
            fleet.scrape(0, step)
        })
        .bench_local_refs(|scrape| window.take(scrape));
}

/// Both groups' sums of each signal over the last two minutes.
#[divan::bench]
fn observe(bencher: Bencher) {
    let world = World::new();
    let observation = world.observation();
    let signals = world.window.catalogue().signals().count();
    bencher.counter(ItemsCount::new(signals)).bench_local(|| {
        let mut total = 0.0;
        for (id, def) in world.window.catalogue().signals() {
            let bound = def.bounds.first().copied();
            for member in &world.groups.members {
                if let Some(cells) = observation.cells(id, def, member, bound) {
                    total += cells.sum(world.to - 12, world.to).0;
                }
            }
        }
        total
    });
}

/// How many of all judged signals a part of the funnel keeps.
fn funnel(bencher: Bencher, keeps: impl Fn(&Look<'_>, SignalId, &SignalDef, &Baseline) -> bool) {
    let world = World::new();
    let observation = world.observation();
    let funnel = Funnel::measure(&observation, world.span());
    let ready = world.ready();
    let look = world.look(&observation, &ready, &funnel);
    let judged = world.judged(&funnel);
    bencher
        .counter(ItemsCount::new(judged.len()))
        .bench_local(|| judged.iter().filter(|(id, def, baseline)| keeps(&look, *id, def, baseline)).count());
}

/// The screening, which throws out nearly everything.
#[divan::bench]
fn funnel_screen(bencher: Bencher) {
    funnel(bencher, screen);
}

/// The whole test of each signal, as of suspects.
#[divan::bench]
fn funnel_full_test(bencher: Bencher) {
    funnel(bencher, |look, id, def, baseline| look.shift(id, def, baseline).is_some());
}

/// One whole look at a healthy release: rules, screening, a sixth of the
/// signals in full, the verdict.
#[divan::bench]
fn look(bencher: Bencher) {
    let world = World::new();
    let mut judge =
        Judge::measure(JudgeSettings::default(), &world.window, &world.groups, world.released_at, None);
    let verdict = judge.look(&world.window, &world.groups, &[], world.now, world.to);
    assert!(verdict.outcome < Outcome::Failing, "{verdict:?}");
    bencher
        .counter(ItemsCount::new(judge.judged_signals()))
        .bench_local(|| judge.look(&world.window, &world.groups, &[], world.now, world.to));
}

/// The history of a release measured: once at its begin and with each batch.
#[divan::bench]
fn measure_history(bencher: Bencher) {
    let world = World::new();
    let measure =
        || Judge::measure(JudgeSettings::default(), &world.window, &world.groups, world.released_at, None);
    bencher.counter(ItemsCount::new(measure().judged_signals())).bench_local(measure);
}

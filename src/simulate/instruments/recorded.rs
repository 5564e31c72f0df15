//! Rates, ratios and quantiles that recording rules made before anybody
//! looks: gauges that are smoothed over minutes.

use crate::domain::{MetricFamily, MetricKind, Sample};

use super::super::machine::{Cell, Tick};
use super::super::random::Dice;
use super::super::service::Service;
use super::parts::{Level, Reading, family};
use super::{Aspect, Instrument, Panel};

/// What one recorded series shows.
#[derive(Clone, Copy)]
enum Shown {
    Rate,
    ErrorRatio,
    ErrorRate,
    Quantile(f64),
    Read(Reading),
}

#[derive(Clone)]
struct Line {
    route: Option<usize>,
    shown: Shown,
    level: Level,
    scale: f64,
    value: f64,
}

#[derive(Clone)]
struct Recorded {
    smoothing_seconds: f64,
    lines: Vec<Line>,
    families: Vec<MetricFamily>,
}

pub(super) fn draw(panel: &mut Panel, service: &Service, dice: &mut Dice) {
    let (rate, ratio, p99, cpu, memory): (&str, &str, &str, &str, &str) = *dice.pick(&[
        (
            "job:http_requests:rate5m",
            "job:http_errors:ratio_rate5m",
            "job:http_request_duration_seconds:p99",
            "instance:cpu:ratio",
            "instance:memory_bytes:max",
        ),
        (
            "service:requests:rate1m",
            "service:error_ratio:rate1m",
            "service:latency:p95_1m",
            "node:cpu_used:avg1m",
            "",
        ),
        ("app:qps", "app:error_percent", "app:rt_p99_ms", "app:cpu_percent", "app:rss_mb"),
        (
            "route:request_rate:sum",
            "route:failures_rate:sum",
            "route:latency_seconds:quantile",
            "",
            "pod:rss:bytes",
        ),
    ]);
    let mut recorded =
        Recorded { smoothing_seconds: dice.between(30.0, 200.0), lines: Vec::new(), families: Vec::new() };
    let by_route = dice.chance(0.5);
    let errors = if ratio.contains("failures") { Shown::ErrorRate } else { Shown::ErrorRatio };
    let mut add = |name: &str, route: Option<usize>, shown: Shown| {
        let mut labels = vec![("job", service.application.as_str())];
        labels.extend(route.map(|r| ("route", service.routes[r].name.as_str())));
        let scale = if name.ends_with("percent") {
            100.0
        } else if name.ends_with("_ms") {
            1e3
        } else if name.ends_with("_mb") {
            1e-6
        } else {
            1.0
        };
        recorded.lines.push(Line { route, shown, level: Level::new(name, &labels), scale, value: f64::NAN });
        if recorded.families.iter().all(|family| family.name != name) {
            recorded.families.push(family(name, MetricKind::Gauge));
        }
    };
    let routes: Vec<Option<usize>> =
        if by_route { (0..service.routes.len()).map(Some).collect() } else { vec![None] };
    for route in routes {
        add(rate, route, Shown::Rate);
        add(ratio, route, errors);
        add(p99, route, Shown::Quantile(0.98));
    }
    let mut aspects = vec![Aspect::Errors, Aspect::Latency, Aspect::Traffic];
    if !cpu.is_empty() {
        add(cpu, None, Shown::Read(|s, t| t.cpu / s.cores));
        aspects.push(Aspect::Cpu);
    }
    if !memory.is_empty() {
        add(memory, None, Shown::Read(|_, t| t.memory));
        aspects.push(Aspect::Memory);
    }
    panel.add(recorded, &aspects);
}

impl Line {
    fn read(&self, service: &Service, tick: &Tick, dice: &mut Dice) -> f64 {
        let cells = || tick.cells.iter().filter(|cell| self.route.is_none_or(|route| route == cell.route));
        let requests: f64 = cells().map(Cell::requests).sum();
        let failed: f64 = cells().map(|cell| cell.server_errors).sum();
        let seconds = tick.seconds.max(1e-3);
        match self.shown {
            Shown::Rate => requests / seconds,
            Shown::ErrorRate => failed / seconds,
            Shown::ErrorRatio if requests > 0.0 => failed / requests,
            Shown::ErrorRatio => f64::NAN,
            Shown::Quantile(quantile) => {
                let slowest = cells().filter(|cell| cell.requests() > 0.0).map(|cell| {
                    let beyond = (cell.requests() * (1.0 - quantile)).max(0.3);
                    cell.latency.quantile(quantile) * dice.factor((0.5 / beyond.sqrt()).min(0.5))
                });
                slowest.fold(f64::NAN, f64::max)
            }
            Shown::Read(reading) => reading(service, tick),
        }
    }
}

impl Instrument for Recorded {
    fn families(&self, out: &mut Vec<MetricFamily>) {
        out.extend(self.families.iter().cloned());
    }

    fn expose(&mut self, service: &Service, tick: &Tick, dice: &mut Dice, page: &mut Vec<Sample>) {
        let fresh = 1.0 - (-tick.seconds / self.smoothing_seconds).exp();
        for line in &mut self.lines {
            let now = line.read(service, tick, dice) * line.scale;
            line.value = if line.value.is_nan() || now.is_nan() {
                now
            } else {
                line.value * (1.0 - fresh) + now * fresh
            };
            // A rule whose expression gives nothing records nothing.
            if !line.value.is_nan() {
                line.level.expose(line.value, page);
            }
        }
    }

    fn restart(&mut self) {}

    fn copy(&self) -> Box<dyn Instrument> {
        Box::new(self.clone())
    }
}

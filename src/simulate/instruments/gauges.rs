//! Gauges of hosts: some with telling names, some with none at all.

use crate::domain::{MetricFamily, MetricKind, Sample};

use super::super::change::GaugeChange;
use super::super::machine::Tick;
use super::super::random::Dice;
use super::super::service::Service;
use super::parts::{Level, family};
use super::{Aspect, Instrument, Panel};

/// What a gauge looks like when nothing is wrong.
#[derive(Clone)]
struct Profile {
    base: f64,
    /// Height of the daily wave, and where it is.
    daily: (f64, f64),
    /// How much of it follows the load.
    follows_load: f64,
    /// Three slow waves that all instances share: height, period, phase.
    shared: [(f64, f64, f64); 3],
    /// Spread of its own noise, relative to the base.
    noise: f64,
    /// Correlation time of the noise in seconds.
    memory_seconds: f64,
    /// Spread between instances for good.
    offset: f64,
    spikes: (f64, f64),
    whole: bool,
    ceiling: f64,
}

#[derive(Clone)]
struct Gauge {
    index: usize,
    profile: Profile,
    level: Level,
    /// This instance's own state: offset drawn, noise.
    own: Option<f64>,
    noise: f64,
}

#[derive(Clone)]
struct Gauges {
    gauges: Vec<Gauge>,
    families: Vec<MetricFamily>,
}

#[rustfmt::skip]
const NAMED: &[(&str, f64)] = &[
    ("cpu_percent", 100.0), ("cpu_usage_user", 100.0), ("cpu_usage_system", 100.0), ("cpu_iowait_percent", 100.0),
    ("node_load1", 1e9), ("node_load5", 1e9), ("system_load", 1e9), ("mem_used_percent", 100.0),
    ("mem_available_bytes", 1e12), ("node_memory_Active_bytes", 1e12), ("swap_used_bytes", 1e12),
    ("disk_used_percent", 100.0), ("disk_io_util", 100.0), ("disk_read_bytes_per_second", 1e12),
    ("disk_write_bytes_per_second", 1e12), ("net_rx_bytes_per_second", 1e12), ("net_tx_bytes_per_second", 1e12),
    ("net_in_packets", 1e12), ("tcp_established", 1e9), ("tcp_retransmits_per_second", 1e9),
    ("connections", 1e9), ("processes_running", 1e9), ("context_switches_per_second", 1e12),
    ("interrupts_per_second", 1e12), ("requests_per_second", 1e9), ("response_time_ms", 1e9),
    ("error_rate", 1e9), ("queue_length", 1e9), ("temperature_celsius", 150.0), ("open_files", 1e9),
    ("threads", 1e9), ("qps", 1e9), ("rt_avg", 1e9), ("success_rate", 100.0),
];

pub(super) fn draw(panel: &mut Panel, dice: &mut Dice) {
    let count = dice.whole(4, 36);
    let unnamed = dice.between(0.0, 1.0);
    let prefix = *dice.pick(&["gauge_", "metric_", "kpi_", "m", "dim_", "attr_"]);
    let names = dice.some_of(count.min(NAMED.len()), NAMED.len());
    let mut gauges = Gauges { gauges: Vec::new(), families: Vec::new() };
    for index in 0..count {
        let named = (!dice.chance(unnamed)).then(|| names.get(index).map(|i| NAMED[*i])).flatten();
        let (name, ceiling) = match named {
            Some((name, ceiling)) => (name.to_owned(), ceiling),
            None => (format!("{prefix}{}", index + 1), f64::INFINITY),
        };
        let profile = profile(ceiling, dice);
        let level = Level::new(&name, &[]);
        gauges.gauges.push(Gauge { index, profile, level, own: None, noise: 0.0 });
        let kind = if dice.chance(0.2) { MetricKind::Unknown } else { MetricKind::Gauge };
        gauges.families.push(family(&name, kind));
    }
    panel.gauges = count;
    panel.add(gauges, &[Aspect::Gauges]);
}

fn profile(ceiling: f64, dice: &mut Dice) -> Profile {
    let base = if ceiling <= 150.0 {
        dice.between(0.02, 0.6) * ceiling
    } else if ceiling <= 1e9 {
        dice.log_between(0.2, 3_000.0)
    } else if ceiling.is_finite() {
        dice.log_between(1e3, 1e9)
    } else {
        dice.log_between(0.01, 1e6)
    };
    let wave = |dice: &mut Dice| (dice.between(0.0, 0.08), dice.log_between(600.0, 20_000.0), dice.unit());
    Profile {
        base,
        daily: (if dice.chance(0.6) { dice.between(0.05, 0.6) } else { 0.0 }, dice.unit()),
        follows_load: if dice.chance(0.5) { dice.unit() } else { 0.0 },
        shared: [wave(dice), wave(dice), wave(dice)],
        noise: dice.log_between(0.003, 0.25),
        memory_seconds: dice.log_between(20.0, 3_000.0),
        offset: if dice.chance(0.3) { 0.0 } else { dice.log_between(0.01, 0.5) },
        spikes: if dice.chance(0.25) {
            (dice.log_between(0.001, 0.03), dice.between(0.3, 3.0))
        } else {
            (0.0, 0.0)
        },
        whole: base > 20.0 && dice.chance(0.3),
        ceiling,
    }
}

impl Gauge {
    fn read(&mut self, service: &Service, tick: &Tick, dice: &mut Dice) -> f64 {
        let profile = &self.profile;
        let own = *self.own.get_or_insert_with(|| dice.factor(profile.offset));
        let keep = (-tick.seconds.max(1.0) / profile.memory_seconds).exp();
        self.noise = self.noise * keep + dice.normal() * (1.0 - keep * keep).sqrt();
        let turn = |period: f64, phase: f64| (std::f64::consts::TAU * (tick.at / period + phase)).sin();
        let shared: f64 = profile.shared.iter().map(|(h, period, phase)| h * turn(*period, *phase)).sum();
        let load = tick.requests() / (service.rate * tick.seconds).max(1e-9);
        let usual = profile.base
            * own
            * (1.0 + profile.daily.0 * turn(86_400.0, profile.daily.1))
            * (1.0 + shared)
            * (1.0 - profile.follows_load + profile.follows_load * load.min(5.0));
        let unit = profile.base * own * profile.noise;
        let mut value = usual + self.noise * unit;
        if dice.chance(profile.spikes.0) {
            value += usual * profile.spikes.1 * dice.unit();
        }
        for (change, amount) in tick.condition.gauge(self.index) {
            value = match change {
                GaugeChange::Level(sigmas) => value + sigmas * unit * amount,
                GaugeChange::Spikes(sigmas) if dice.chance(0.3) => value + sigmas * unit * amount,
                GaugeChange::Spikes(_) => value,
                GaugeChange::Zero => value * (1.0 - amount),
                GaugeChange::Noise(sigmas) => value + dice.normal() * sigmas * unit * amount,
            };
        }
        let value = value.clamp(0.0, profile.ceiling);
        if profile.whole { value.round() } else { (value * 1e4).round() / 1e4 }
    }
}

impl Instrument for Gauges {
    fn families(&self, out: &mut Vec<MetricFamily>) {
        out.extend(self.families.iter().cloned());
    }

    fn expose(&mut self, service: &Service, tick: &Tick, dice: &mut Dice, page: &mut Vec<Sample>) {
        for gauge in &mut self.gauges {
            let value = gauge.read(service, tick, dice);
            gauge.level.expose(value, page);
        }
    }

    fn restart(&mut self) {}

    fn copy(&self) -> Box<dyn Instrument> {
        Box::new(self.clone())
    }
}

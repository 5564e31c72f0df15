//! Series that say nothing about a release and are on most pages all the
//! same: versions, clocks, configuration, counters that grow by themselves.

use crate::domain::{MetricFamily, MetricKind, Sample};

use super::super::machine::Tick;
use super::super::random::Dice;
use super::super::service::Service;
use super::parts::{Count, Labels, Level, Readings, family};
use super::{Instrument, Panel};

/// The version as a label, one series for each version.
#[derive(Clone)]
struct VersionInfo {
    name: &'static str,
    old: Level,
    new: Level,
}

/// Something that is counted and has no meaning for the release; the amount
/// differs between versions as it likes.
#[derive(Clone)]
struct Ballast {
    counts: Vec<(Count, f64)>,
    levels: Vec<(Level, f64, f64)>,
    families: Vec<MetricFamily>,
}

pub(super) fn draw(panel: &mut Panel, dice: &mut Dice) {
    if dice.chance(0.6) {
        let name = *dice.pick(&["build_info", "app_info", "service_version", "application_build"]);
        let level = |version| Level::new(name, &[("version", version)]);
        panel.add(VersionInfo { name, old: level("1.8.3"), new: level("1.9.0") }, &[]);
    }
    if dice.chance(0.4) {
        draw_clocks(panel, dice);
    }
    if dice.chance(0.5) {
        draw_ballast(panel, dice);
    }
}

fn draw_clocks(panel: &mut Panel, dice: &mut Dice) {
    let mut readings = Readings::of_runtime();
    let names: Labels<'_> = &[];
    match dice.whole(0, 3) {
        0 => {
            readings.level("app_uptime_seconds", names, |_, t| (t.at - t.began_at).max(0.0).floor());
            readings.level("node_time_seconds", names, |_, t| t.at);
        }
        1 => {
            readings.level("config_last_reload_success_timestamp_seconds", names, |_, t| t.began_at.floor());
            readings.level("config_last_reload_successful", names, |_, _| 1.0);
        }
        2 => {
            readings.level("last_sync_time", names, |_, t| (t.at / 300.0).floor() * 300.0);
            readings.level("certificate_expires_in_days", names, |_, t| 90.0 - (t.at / 86_400.0) % 90.0);
        }
        _ => {
            readings.count("uptime_ticks", names, |_, t| (t.seconds * 100.0).round());
            readings.level("leader_epoch", names, |_, _| 41.0);
        }
    }
    panel.add(readings, &[]);
}

fn draw_ballast(panel: &mut Panel, dice: &mut Dice) {
    const NAMES: &[&str] = &[
        "feature_flags_evaluated",
        "audit_events",
        "bytes_sent",
        "rows_read",
        "hooks_fired",
        "tokens_issued",
    ];
    let mut ballast = Ballast { counts: Vec::new(), levels: Vec::new(), families: Vec::new() };
    let count = dice.whole(1, 4);
    for index in dice.some_of(count, NAMES.len()) {
        let name = format!("{}_total", NAMES[index]);
        ballast.counts.push((Count::new(&name, &[], false), dice.log_between(0.01, 3.0)));
        ballast.families.push(family(&name, MetricKind::Counter));
    }
    for index in 0..dice.whole(0, 3) {
        let name = format!("{}_{index}", dice.pick(&["limits", "setting", "shards", "replicas_seen"]));
        ballast.levels.push((
            Level::new(&name, &[]),
            dice.log_between(1.0, 1e4).round(),
            dice.between(0.0, 0.2),
        ));
        ballast.families.push(family(&name, MetricKind::Gauge));
    }
    panel.add(ballast, &[]);
}

impl Instrument for VersionInfo {
    fn families(&self, out: &mut Vec<MetricFamily>) {
        out.push(family(self.name, MetricKind::Gauge));
    }

    fn expose(&mut self, _service: &Service, tick: &Tick, _dice: &mut Dice, page: &mut Vec<Sample>) {
        if tick.released { &self.new } else { &self.old }.expose(1.0, page);
    }

    fn restart(&mut self) {}

    fn copy(&self) -> Box<dyn Instrument> {
        Box::new(self.clone())
    }

    fn of_application(&self) -> bool {
        false
    }
}

impl Instrument for Ballast {
    fn families(&self, out: &mut Vec<MetricFamily>) {
        out.extend(self.families.iter().cloned());
    }

    fn expose(&mut self, _service: &Service, tick: &Tick, dice: &mut Dice, page: &mut Vec<Sample>) {
        for (count, per_request) in &mut self.counts {
            count.add(dice.poisson(tick.requests() * *per_request));
            count.expose(page);
        }
        for (level, base, noise) in &self.levels {
            level.expose((base * (1.0 + noise * dice.normal())).round().max(0.0), page);
        }
    }

    fn restart(&mut self) {
        self.counts.iter_mut().for_each(|(count, _)| count.restart());
    }

    fn copy(&self) -> Box<dyn Instrument> {
        Box::new(self.clone())
    }
}

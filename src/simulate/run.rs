//! From a seed to a release: draws the world, runs each machine from scrape
//! to scrape, and writes down what its page showed.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::domain::{
    ApplicationName, Batch, InstanceId, InvalidId, Label, LabelOutcome, LabelSource, MetricFamily,
    MetricKind, RECORDING_FORMAT, ReleaseId, ReleaseOrder, Sample, Scrape, ScrapeFailure, ScrapeOutcome,
    SeriesKey, Timestamp, Version,
};

use super::fault::Planned;
use super::fleet::{Fleet, Instance, Rollover};
use super::instruments::{Instrument, Panel};
use super::load::Load;
use super::machine::{Machine, World};
use super::random::{Dice, Wander};
use super::service::Service;
use super::trouble::View;
use super::{Fault, Request, SimulateError, Simulated, Style, Trouble};

/// Everything that was drawn before the first machine runs.
struct Drawn {
    world: World,
    panel: Panel,
    view: View,
    fault: Option<(Fault, Planned)>,
    troubles: Vec<Trouble>,
}

/// Simulates one release of a set.
///
/// # Errors
/// If none of the wanted faults can show in any of the wanted styles.
pub fn simulate(request: &Request) -> Result<Simulated, SimulateError> {
    let mut dice = Dice::new(request.seed, request.index);
    let faulty = dice.chance(request.faulty_share);
    let mut drawn = draw(request, faulty, &mut dice);
    // A fault that cannot show in this fleet needs another fleet.
    for _ in 0..200 {
        if !faulty || drawn.fault.is_some() {
            break;
        }
        drawn = draw(request, faulty, &mut dice);
    }
    if faulty && drawn.fault.is_none() {
        return Err(SimulateError::CannotShow {
            faults: request.faults.iter().map(|fault| fault.word()).collect(),
            styles: request.styles.iter().map(|style| style.word()).collect(),
        });
    }
    let (scrapes, families) = run(&drawn, &mut dice)?;
    let order = order(request, &drawn, families)?;
    Ok(Simulated { order, label: label(&drawn), scrapes })
}

fn draw(request: &Request, faulty: bool, dice: &mut Dice) -> Drawn {
    let (service, panel) = match request.releases_per_service {
        0 | 1 => draw_service(request, dice),
        _ => draw_service(request, &mut Dice::new(!request.seed, service_number(request))),
    };
    let style = service.style;
    let fleet = Fleet::draw(style, request.samples_max / series_of(&panel, &service), dice);
    let (from, until) = (fleet.from, fleet.until);
    let load = Load::draw(dice, from, until);
    let memory = dice.log_between(20.0, 600.0);
    let latency = Wander::new(dice, from, until, memory);
    let errors = Wander::new(dice, from, until, memory);
    let mut world = World { service, fleet, load, effects: Vec::new(), latency, errors };
    let mut view = View::default();
    let troubles = draw_troubles(request, faulty, dice);
    for trouble in &troubles {
        trouble.put_into(&mut world, &mut view, panel.gauges, dice);
    }
    settle_differences(&mut world, dice);
    let fault = if faulty { draw_fault(request, &mut world, &panel, dice) } else { None };
    Drawn { world, panel, view, fault, troubles }
}

fn draw_service(request: &Request, dice: &mut Dice) -> (Service, Panel) {
    let styles = if request.styles.is_empty() { &Style::ALL[..] } else { &request.styles };
    let style = *dice.pick(styles);
    let service = Service::draw(style, dice);
    let panel = Panel::draw(&service, dice);
    (service, panel)
}

/// Which service of the set a release is of.
fn service_number(request: &Request) -> u64 {
    request.index / request.releases_per_service.max(1)
}

fn draw_troubles(request: &Request, faulty: bool, dice: &mut Dice) -> Vec<Trouble> {
    let from = if request.troubles.is_empty() { &Trouble::ALL[..] } else { &request.troubles };
    let count = dice.weighted(if faulty { &[0.5, 0.35, 0.15] } else { &[0.15, 0.4, 0.3, 0.15] });
    let least = usize::from(!request.troubles.is_empty());
    let mut troubles: Vec<Trouble> = Vec::new();
    for _ in 0..count.max(least) {
        let trouble = *dice.pick(from);
        if !troubles.contains(&trouble) {
            troubles.push(trouble);
        }
    }
    troubles
}

fn draw_fault(
    request: &Request,
    world: &mut World,
    panel: &Panel,
    dice: &mut Dice,
) -> Option<(Fault, Planned)> {
    let faults = if request.faults.is_empty() { &Fault::ALL[..] } else { &request.faults };
    for _ in 0..25 {
        let fault = *dice.pick(faults);
        // They show everywhere, and would else be most of all faults.
        if faults.len() > 3 && fault.needs_nothing_special() && dice.chance(0.5) {
            continue;
        }
        let mut attempt = world.clone();
        if let Some(planned) = fault.put_into(&mut attempt, &panel.aspects, panel.gauges, dice) {
            *world = attempt;
            return Some((fault, planned));
        }
    }
    None
}

/// How many series one instance exposes, by a trial on a busy machine.
fn series_of(panel: &Panel, service: &Service) -> usize {
    let mut dice = Dice::new(0, 0);
    let mut fleet = Fleet::draw(Style::Http, 1_000, &mut dice);
    fleet.rollover = Rollover::InPlace;
    let (from, until) = (fleet.from, fleet.until);
    let load = Load::draw(&mut dice, from, until);
    let wander = Wander::new(&mut dice, from, until, 60.0);
    let service = service.clone();
    let world = World { service, fleet, load, effects: Vec::new(), latency: wander.clone(), errors: wander };
    let mut machine = Machine::new(&world, 0, &mut dice);
    let tick = machine.tick(&world, from, 1e6);
    let mut page = Vec::new();
    for instrument in &panel.instruments {
        instrument.copy().expose(&world.service, &tick, &mut dice, &mut page);
    }
    page.len().max(1)
}

/// Draws how far each machine differs from the others for good.
fn settle_differences(world: &mut World, dice: &mut Dice) {
    let spread = world.service.old_difference;
    for instance in &mut world.fleet.instances {
        instance.latency = dice.factor(spread * 0.6);
        instance.cpu = dice.factor(spread * 0.5);
        instance.memory = dice.factor(spread * 0.5);
    }
}

/// Moments at which an instance is scraped.
fn scrape_times(fleet: &Fleet, instance: &Instance, dice: &mut Dice) -> Vec<f64> {
    let mut moment = fleet.from + instance.scrape_offset * fleet.interval;
    let mut times = Vec::new();
    while moment < fleet.until {
        let jitter = dice.exponential(0.004 * fleet.interval.min(15.0)).min(0.3 * fleet.interval);
        times.push(((moment + jitter) * 1e3).round() / 1e3);
        moment += fleet.interval;
    }
    times
}

type Ran = (Vec<Scrape>, Arc<[MetricFamily]>);

fn run(drawn: &Drawn, dice: &mut Dice) -> Result<Ran, InvalidId> {
    let mut families = Vec::new();
    drawn.panel.instruments.iter().for_each(|instrument| instrument.families(&mut families));
    let page = PageChange::draw(drawn, &families, dice);
    families.extend(page.families());
    families.sort_by(|a, b| a.name.cmp(&b.name));
    families.dedup_by(|a, b| a.name == b.name);
    let families: Arc<[MetricFamily]> = families.into();
    let mut scrapes = Vec::new();
    for index in 0..drawn.world.fleet.instances.len() {
        let mut course = Course::new(drawn, &page, families.clone(), index, dice)?;
        let times = scrape_times(&drawn.world.fleet, &drawn.world.fleet.instances[index], &mut course.dice);
        scrapes.extend(times.into_iter().filter_map(|at| course.scrape(at)));
    }
    scrapes.sort_by(|a, b| (a.at, &a.instance).cmp(&(b.at, &b.instance)));
    Ok((scrapes, families))
}

/// One instance from its first scrape to its last.
struct Course<'a> {
    drawn: &'a Drawn,
    page: &'a PageChange,
    families: Arc<[MetricFamily]>,
    index: usize,
    id: InstanceId,
    machine: Machine,
    instruments: Vec<Box<dyn Instrument>>,
    /// When the running process was last looked at.
    last_at: Option<f64>,
    dice: Dice,
    timeouts: bool,
    extra: f64,
}

impl<'a> Course<'a> {
    fn new(
        drawn: &'a Drawn,
        page: &'a PageChange,
        families: Arc<[MetricFamily]>,
        index: usize,
        dice: &mut Dice,
    ) -> Result<Self, InvalidId> {
        Ok(Self {
            drawn,
            page,
            families,
            index,
            id: InstanceId::new(&drawn.world.fleet.instances[index].name)?,
            machine: Machine::new(&drawn.world, index, dice),
            instruments: drawn.panel.instruments.iter().map(|instrument| instrument.copy()).collect(),
            last_at: None,
            dice: dice.fork(),
            timeouts: dice.chance(0.3),
            extra: 0.0,
        })
    }

    /// What the scrape at a moment gives; nothing if nobody asked.
    fn scrape(&mut self, at: f64) -> Option<Scrape> {
        let instance = &self.drawn.world.fleet.instances[self.index];
        if at < instance.exists.0 || instance.exists.1 <= at {
            return None;
        }
        let missed = |(who, from, until): &(Option<usize>, f64, f64)| {
            who.is_none_or(|who| who == self.index) && *from <= at && at < *until
        };
        if self.drawn.view.gaps.iter().any(missed) {
            return None;
        }
        if !instance.runs(at) {
            let failure = if self.timeouts { ScrapeFailure::Timeout } else { ScrapeFailure::Refused };
            return Some(self.scraped(at, ScrapeOutcome::Failed(failure), Vec::new()));
        }
        let began = instance.process_began(at);
        let seconds = match self.last_at {
            Some(last) if began <= last => at - last,
            None => {
                self.past_life(began);
                (at - began.max(at - self.drawn.world.fleet.interval)).max(0.0)
            }
            Some(_) => {
                self.instruments.iter_mut().for_each(|instrument| instrument.restart());
                self.extra = 0.0;
                at - began
            }
        };
        let tick = self.machine.tick(&self.drawn.world, at, seconds);
        if tick.condition.unreachable > 0.0 && self.dice.chance(tick.condition.unreachable) {
            return Some(self.scraped(at, ScrapeOutcome::Failed(ScrapeFailure::Timeout), Vec::new()));
        }
        self.last_at = Some(at);
        let mut page = Vec::new();
        for instrument in &mut self.instruments {
            if !(tick.condition.blank && instrument.of_application()) {
                instrument.expose(&self.drawn.world.service, &tick, &mut self.machine.dice, &mut page);
            }
        }
        if tick.released {
            self.extra += self.machine.dice.poisson(tick.requests() * 0.3);
            self.page.apply(&mut page, self.extra);
        }
        Some(self.scraped(at, ScrapeOutcome::Complete, page))
    }

    /// What the process counted before anybody recorded it.
    fn past_life(&mut self, began: f64) {
        let from = self.drawn.world.fleet.from;
        let seconds = (from - began).min(2e7);
        if seconds <= 0.0 {
            return;
        }
        let tick = self.machine.tick(&self.drawn.world, from, seconds);
        let mut page = Vec::new();
        for instrument in &mut self.instruments {
            instrument.expose(&self.drawn.world.service, &tick, &mut self.machine.dice, &mut page);
        }
    }

    fn scraped(&self, at: f64, outcome: ScrapeOutcome, samples: Vec<Sample>) -> Scrape {
        let at = timestamp(at);
        Scrape { instance: self.id.clone(), at, outcome, samples, families: self.families.clone() }
    }
}

/// What the new version's page has that the old one's has not, and the other
/// way around.
#[derive(Clone, Debug, Default)]
struct PageChange {
    counter: Option<Arc<SeriesKey>>,
    gauge: Option<(Arc<SeriesKey>, f64)>,
    renamed: Option<(String, String)>,
}

impl PageChange {
    fn draw(drawn: &Drawn, families: &[MetricFamily], dice: &mut Dice) -> Self {
        let mut change = Self::default();
        if drawn.view.new_metrics {
            let name =
                *dice.pick(&["experiment_exposures_total", "cache_warmups_total", "v2_requests_total"]);
            change.counter = Some(Arc::new(SeriesKey::new(name, [])));
            let name = *dice.pick(&["feature_enabled", "shard_count", "worker_slots"]);
            change.gauge = Some((Arc::new(SeriesKey::new(name, [])), dice.whole(1, 64) as f64));
        }
        // What is lost on purpose is never the first instrument: without
        // requests nobody could tell this from a fault.
        let mut core = Vec::new();
        drawn.panel.instruments[0].families(&mut core);
        let others: Vec<&MetricFamily> =
            families.iter().filter(|f| !core.iter().any(|c| c.name == f.name)).collect();
        if drawn.view.renamed_metrics && !others.is_empty() {
            let name = dice.pick(&others).name.clone();
            let to = if dice.chance(0.5) { format!("{name}_v2") } else { String::new() };
            change.renamed = Some((name, to));
        }
        change
    }

    fn families(&self) -> Vec<MetricFamily> {
        let new = |name: &str, kind| MetricFamily { name: name.to_owned(), kind, unit: None, help: None };
        let counter = self.counter.iter().map(|key| new(key.name(), MetricKind::Counter));
        counter.chain(self.gauge.iter().map(|(key, _)| new(key.name(), MetricKind::Gauge))).collect()
    }

    fn apply(&self, page: &mut Vec<Sample>, counted: f64) {
        if let Some((from, to)) = &self.renamed {
            page.retain_mut(|sample| {
                let Some(suffix) = sample.series.name().strip_prefix(from.as_str()) else { return true };
                if !matches!(suffix, "" | "_bucket" | "_sum" | "_count") {
                    return true;
                }
                sample.series = Arc::new(SeriesKey::new(&format!("{to}{suffix}"), sample.series.labels()));
                !to.is_empty()
            });
        }
        if let Some(series) = &self.counter {
            page.push(Sample { series: series.clone(), value: counted });
        }
        if let Some((series, value)) = &self.gauge {
            page.push(Sample { series: series.clone(), value: *value });
        }
    }
}

fn timestamp(seconds: f64) -> Timestamp {
    Timestamp::from_millis((seconds * 1e3).round() as i64)
}

fn order(request: &Request, drawn: &Drawn, families: Arc<[MetricFamily]>) -> Result<ReleaseOrder, InvalidId> {
    let fleet = &drawn.world.fleet;
    let ids = |batch: Option<usize>| {
        let chosen = fleet.instances.iter().filter(move |i| i.in_group && i.batch == batch);
        chosen.map(|instance| InstanceId::new(&instance.name)).collect::<Result<Vec<_>, _>>()
    };
    let mut batches = Vec::new();
    for (index, started_at) in fleet.batches.iter().enumerate() {
        let started_at = timestamp(*started_at);
        batches.push(Batch { started_at, instances: ids(Some(index))?, weight: fleet.weight });
    }
    batches.retain(|batch| !batch.instances.is_empty());
    // Unrelated services of one name would pass for one application.
    let service = &drawn.world.service.application;
    let application = format!("{service}-{}-{:05}", request.seed, service_number(request));
    Ok(ReleaseOrder {
        format: RECORDING_FORMAT,
        id: ReleaseId::new(format!("sim-{}-{:05}", request.seed, request.index))?,
        application: ApplicationName::new(application)?,
        version: Some(Version::new("1.9.0")?),
        previous_version: Some(Version::new("1.8.3")?),
        started_at: timestamp(fleet.started_at),
        finished_at: Some(timestamp(fleet.finished_at)),
        batches,
        reference: ids(None)?,
        groups: None,
        metrics: families.to_vec(),
        alerts: Vec::new(),
        other: BTreeMap::new(),
    })
}

fn label(drawn: &Drawn) -> Label {
    let style = drawn.world.service.style.word();
    let troubles: Vec<&str> = drawn.troubles.iter().map(|trouble| trouble.word()).collect();
    let setting = if troubles.is_empty() { "quiet".to_owned() } else { troubles.join("+") };
    let mut other = BTreeMap::from([
        ("setting".to_owned(), serde_json::Value::from(setting)),
        ("style".to_owned(), serde_json::Value::from(style)),
        ("interval_seconds".to_owned(), serde_json::Value::from(drawn.world.fleet.interval)),
    ]);
    let fault = drawn.fault.as_ref();
    if let Some((_, planned)) = fault {
        let severity = ["small", "middle", "large"][((planned.severity * 3.0) as usize).min(2)];
        other.insert("severity".to_owned(), serde_json::Value::from(severity));
    }
    Label {
        outcome: if fault.is_some() { LabelOutcome::Faulty } else { LabelOutcome::Healthy },
        onset: fault.map(|(_, planned)| timestamp(planned.onset)),
        cause: fault.map(|(fault, _)| fault.word().to_owned()),
        source: LabelSource::Injected,
        other,
    }
}

//! `calibrate`: how often good releases of an application would be stopped,
//! measured on pseudo-releases cut from its quiet history.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args as ClapArgs;
use indicatif::{ProgressBar, ProgressStyle};
use rayon::prelude::*;

use crate::adapters::chain::chain;
use crate::adapters::guardian::ReleaseFilter;
use crate::adapters::recording::{self, Recording, RecordingError};
use crate::adapters::store::{SqlStore, Store, StoreError};
use crate::adapters::surroundings::ProcessSurroundings;
use crate::config::{GroupBy, Settings};
use crate::domain::{
    ApplicationName, Batch, InstanceId, MetricFamily, RECORDING_FORMAT, ReleaseId, ReleaseOrder, Scrape,
    Timestamp,
};
use crate::guard::{EngineSettings, Mode};
use crate::judge::Outcome;
use crate::learn::{Calibration, CutSettings, PseudoRelease, Stretch, cut};

use super::compare::ModelArgument;
use super::figures::Share;
use super::replay::{Course, Replayed, has_up, scrape_interval};

/// After a release its processes are young: not quiet yet.
const SETTLES: Duration = Duration::from_secs(15 * 60);

/// Signals that are named for each application.
const CULPRITS_MAX: usize = 10;

/// Releases of one application that are looked up, at most.
const RELEASES_MAX: u32 = 500;

/// Measures how often good releases would be stopped, before the first one.
///
/// Random machines at random moments of quiet history are said to be released,
/// and judged as in enforce mode. Whatever stops one of these pseudo-releases
/// stops it for nothing. They do not restart: what is special about young
/// processes is not in the rate.
#[derive(ClapArgs, Debug)]
pub struct Args {
    /// Recordings, or folders of recordings: what lies before their releases
    /// is quiet history.
    #[arg(required_unless_present = "config")]
    pub paths: Vec<PathBuf>,
    /// Settings: what its applications do is measured with their own policy,
    /// rules and signals, on the samples in its store and on its recordings.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Only these applications.
    #[arg(long, value_name = "NAME")]
    pub application: Vec<ApplicationName>,
    /// Pseudo-releases for each application.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub count: u32,
    /// Of the machines and moments.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Least history before each.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_080))]
    pub history_minutes: u32,
    /// How long each is watched.
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u32).range(1..=1_440))]
    pub watch_minutes: u32,
    /// Judge with this model's artifact, or `none`; the settings' or the
    /// shipped one if not said.
    #[arg(long)]
    pub model: Option<ModelArgument>,
}

/// Why nothing was measured.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Settings(#[from] super::check::LoadError),
    #[error(transparent)]
    Recording(#[from] RecordingError),
    #[error("the store's history cannot be read")]
    Store(#[from] StoreError),
    #[error("the program cannot start its tasks")]
    Runtime(#[source] std::io::Error),
    #[error("a pseudo-release cannot be named")]
    Name(#[from] crate::domain::InvalidId),
    #[error(
        "there is no quiet history of {needed} minutes without a release: record more of it ([recordings] before), or ask for less with --history-minutes and --watch-minutes"
    )]
    Nothing { needed: u32 },
    #[error("cannot write the results")]
    Output(#[from] std::io::Error),
}

/// Where a stretch's scrapes are.
enum Place {
    Folder(PathBuf),
    Kept { scrapes: Vec<Scrape>, interval: Duration },
}

/// A stretch of quiet history.
struct Quiet {
    stretch: Stretch,
    place: Place,
}

/// What was measured of one application.
struct Measured {
    calibration: Calibration,
    stretches: usize,
    disjoint: usize,
}

/// Measures and prints; the exit status is 1 if there was nothing to measure.
pub fn run(args: &Args) -> ExitCode {
    match calibrate(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{}", chain(&failure));
            ExitCode::FAILURE
        }
    }
}

fn calibrate(args: &Args) -> Result<(), Failure> {
    let settings =
        args.config.as_ref().map(|file| super::check::load(file, &ProcessSurroundings)).transpose()?;
    let mut quiet: BTreeMap<ApplicationName, Vec<Quiet>> = BTreeMap::new();
    let mut paths = args.paths.clone();
    if let Some(settings) = &settings {
        paths.extend(Some(settings.recordings.dir.clone()).filter(|dir| dir.is_dir()));
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::Runtime)?;
        runtime.block_on(from_store(settings, &mut quiet))?;
    }
    from_recordings(&paths, &mut quiet)?;
    quiet.retain(|name, _| args.application.is_empty() || args.application.contains(name));

    let minutes = |minutes: u32| Duration::from_secs(60) * minutes;
    let cuts = CutSettings {
        seed: args.seed,
        count: args.count as usize,
        history: minutes(args.history_minutes),
        watch: minutes(args.watch_minutes),
    };
    let mut measured = BTreeMap::new();
    for (name, quiet) in quiet {
        let engine = engine(settings.as_ref(), &name, args.model.as_ref());
        if let Some(result) = measure(&name, quiet, &cuts, &engine)? {
            measured.insert(name, (result, engine.policy.false_stops_per_1000));
        }
    }
    if measured.is_empty() {
        return Err(Failure::Nothing { needed: args.history_minutes + args.watch_minutes });
    }
    Ok(write(&mut std::io::stdout().lock(), &measured)?)
}

/// What judges an application: as its settings say, but always acting.
fn engine(
    settings: Option<&Settings>,
    name: &ApplicationName,
    model: Option<&ModelArgument>,
) -> EngineSettings {
    let mut engine = match settings {
        Some(settings) => {
            let own = settings.application(name).map(|a| &a.engine);
            let mut engine = own.unwrap_or(&settings.defaults.engine).clone();
            engine.judge.model = super::serve::load_model(&settings.model);
            engine
        }
        None => EngineSettings::default(),
    };
    engine.policy.mode = Mode::Enforce;
    if let Some(ModelArgument(model)) = model {
        engine.judge.model = model.clone();
    }
    engine
}

fn from_recordings(
    paths: &[PathBuf],
    quiet: &mut BTreeMap<ApplicationName, Vec<Quiet>>,
) -> Result<(), Failure> {
    let mut folders = Vec::new();
    for path in paths {
        folders.extend(recording::find(path)?);
    }
    folders.sort();
    folders.dedup();
    let bar = progress(folders.len(), "reading recordings");
    let found = folders
        .into_par_iter()
        .map(|folder| {
            let found = before_release(&folder);
            bar.inc(1);
            found.map(|found| found.map(|(name, stretch)| (name, stretch, folder)))
        })
        .collect::<Result<Vec<_>, _>>()?;
    bar.finish_and_clear();
    for (name, stretch, folder) in found.into_iter().flatten() {
        quiet.entry(name).or_default().push(Quiet { stretch, place: Place::Folder(folder) });
    }
    Ok(())
}

/// What lies before a recording's release.
fn before_release(folder: &Path) -> Result<Option<(ApplicationName, Stretch)>, RecordingError> {
    let recording = Recording::read(folder)?;
    let order = &recording.order;
    let begin = order.batches.iter().map(|b| b.started_at).chain([order.started_at]).min();
    let samples = &recording.samples;
    let names = samples.instances();
    let before = samples
        .moments()
        .filter(|(_, at)| begin.is_some_and(|begin| *at < begin))
        .filter_map(|(number, at)| Some((names.get(number as usize)?.clone(), at)));
    let named: BTreeSet<&InstanceId> =
        order.batches.iter().flat_map(|b| &b.instances).chain(&order.reference).collect();
    let batch = order.batches.first().map(|b| b.instances.len()).filter(|count| *count > 0);
    let stretch = stretch_of(before, |instance| named.contains(instance), batch);
    Ok(stretch.map(|stretch| (order.application.clone(), stretch)))
}

/// The stretch of some moments, with the machines that were there for at least
/// half of it.
fn stretch_of(
    moments: impl Iterator<Item = (InstanceId, Timestamp)>,
    is_own: impl Fn(&InstanceId) -> bool,
    batch: Option<usize>,
) -> Option<Stretch> {
    let mut counts: BTreeMap<InstanceId, usize> = BTreeMap::new();
    let mut span: Option<(Timestamp, Timestamp)> = None;
    for (instance, at) in moments {
        span = Some(span.map_or((at, at), |(from, to)| (from.min(at), to.max(at))));
        *counts.entry(instance).or_default() += 1;
    }
    let most = counts.values().copied().max().unwrap_or(0);
    let (from, to) = span?;
    let instances =
        counts.into_iter().filter(|(name, n)| n * 2 >= most && is_own(name)).map(|(name, _)| name).collect();
    Some(Stretch { from, to, instances, batch })
}

/// What the store has of configured applications between their releases.
async fn from_store(
    settings: &Settings,
    quiet: &mut BTreeMap<ApplicationName, Vec<Quiet>>,
) -> Result<(), Failure> {
    if !settings.store.path.is_file() {
        return Ok(());
    }
    let store = SqlStore::open(&settings.store.path).await?;
    for application in &settings.applications {
        if application.groups != GroupBy::Instances {
            eprintln!(
                "{}: its groups are told by labels; its store has no machines to cut",
                application.name
            );
            continue;
        }
        let now = crate::adapters::clock::now();
        let scrapes = store.samples(&application.name, Timestamp::default(), now).await?;
        let filter = ReleaseFilter {
            application: Some(application.name.clone()),
            limit: Some(RELEASES_MAX),
            ..ReleaseFilter::default()
        };
        let mut busy: Vec<(Timestamp, Timestamp)> = Vec::new();
        for release in store.releases(&filter).await? {
            let begins = release.order.batches.iter().map(|b| b.started_at).chain([release.order.started_at]);
            let begin = begins.min().unwrap_or(release.order.started_at);
            busy.push((begin, release.ended_at.map_or(now, |end| end + SETTLES)));
        }
        for scrapes in between(scrapes, &busy) {
            let moments = scrapes.iter().map(|scrape| (scrape.instance.clone(), scrape.at));
            let Some(stretch) = stretch_of(moments, |_| true, None) else { continue };
            let place = Place::Kept { scrapes, interval: application.engine.interval };
            quiet.entry(application.name.clone()).or_default().push(Quiet { stretch, place });
        }
    }
    store.close().await;
    Ok(())
}

/// Scrapes in order of time as runs that no busy time interrupts.
fn between(scrapes: Vec<Scrape>, busy: &[(Timestamp, Timestamp)]) -> Vec<Vec<Scrape>> {
    let mut runs: Vec<Vec<Scrape>> = vec![Vec::new()];
    for scrape in scrapes {
        let is_busy = busy.iter().any(|(from, to)| scrape.at >= *from && scrape.at <= *to);
        match runs.last_mut() {
            Some(run) if !is_busy => run.push(scrape),
            Some(run) if run.is_empty() => {}
            Some(_) | None => runs.push(Vec::new()),
        }
    }
    runs.retain(|run| !run.is_empty());
    runs
}

/// Judges an application's pseudo-releases; nothing if its history is too
/// short for any.
fn measure(
    name: &ApplicationName,
    quiet: Vec<Quiet>,
    settings: &CutSettings,
    engine: &EngineSettings,
) -> Result<Option<Measured>, Failure> {
    let (stretches, places): (Vec<Stretch>, Vec<Place>) =
        quiet.into_iter().map(|q| (q.stretch, q.place)).unzip();
    let mut by_stretch: BTreeMap<usize, Vec<PseudoRelease>> = BTreeMap::new();
    for pseudo in cut(&stretches, settings) {
        by_stretch.entry(pseudo.stretch).or_default().push(pseudo);
    }
    if by_stretch.is_empty() {
        eprintln!("{name}: its quiet history is too short for a pseudo-release");
        return Ok(None);
    }
    let bar = progress(settings.count, &format!("judging pseudo-releases of {name}"));
    let usable = by_stretch.len();
    let judged: Vec<Vec<Replayed>> = by_stretch
        .into_par_iter()
        .map(|(at, pseudos)| {
            let stretch = &stretches[at];
            match &places[at] {
                Place::Folder(folder) => {
                    let recording = Recording::read(folder)?;
                    let (interval, has_up) = (scrape_interval(&recording), has_up(&recording));
                    let metrics = recording.order.metrics.clone();
                    let film = Film { name, stretch, interval, has_up, metrics, engine, bar: &bar };
                    film.judge_all(&pseudos, || recording.scrapes())
                }
                Place::Kept { scrapes, interval } => {
                    let metrics = Vec::new();
                    let film =
                        Film { name, stretch, interval: *interval, has_up: true, metrics, engine, bar: &bar };
                    film.judge_all(&pseudos, || scrapes.iter().cloned())
                }
            }
        })
        .collect::<Result<_, Failure>>()?;
    bar.finish_and_clear();
    let mut calibration = Calibration::default();
    for replayed in judged.iter().flatten() {
        calibration.add(failing(replayed));
    }
    let disjoint = stretches.iter().map(|stretch| stretch.disjoint(settings)).sum();
    Ok(Some(Measured { calibration, stretches: usable, disjoint }))
}

/// The signals behind a stop, with a sentence each; nothing if there was none.
fn failing(replayed: &Replayed) -> Option<Vec<(&str, &str)>> {
    if !replayed.is_stopped() {
        return None;
    }
    let reasons = replayed.reasons.iter().filter(|f| f.outcome == Outcome::Failing);
    let mut signals: Vec<(&str, &str)> = reasons.map(|f| (f.signal.as_str(), f.because.as_str())).collect();
    if signals.is_empty() {
        signals.push(("no data", replayed.blind.first().map_or("nothing could be judged", String::as_str)));
    }
    Some(signals)
}

/// One stretch of scrapes, played again and again.
struct Film<'a> {
    name: &'a ApplicationName,
    stretch: &'a Stretch,
    interval: Duration,
    has_up: bool,
    metrics: Vec<MetricFamily>,
    engine: &'a EngineSettings,
    bar: &'a ProgressBar,
}

impl Film<'_> {
    fn judge_all<S: Iterator<Item = Scrape>>(
        &self,
        pseudos: &[PseudoRelease],
        scrapes: impl Fn() -> S + Sync,
    ) -> Result<Vec<Replayed>, Failure> {
        pseudos
            .par_iter()
            .enumerate()
            .map(|(number, pseudo)| {
                let order = self.order(number, pseudo)?;
                let from = self.stretch.from.max(pseudo.began_at - self.engine.history);
                let course = Course {
                    order: &order,
                    span: (from, pseudo.ends_at),
                    interval: self.interval,
                    has_up: self.has_up,
                };
                let within = scrapes().skip_while(|s| s.at < from).take_while(|s| s.at <= pseudo.ends_at);
                let replayed = course.play(within, self.engine, |_, _| {});
                self.bar.inc(1);
                Ok(replayed)
            })
            .collect()
    }

    fn order(&self, number: usize, pseudo: &PseudoRelease) -> Result<ReleaseOrder, Failure> {
        Ok(ReleaseOrder {
            format: RECORDING_FORMAT,
            id: ReleaseId::new(format!("pseudo-{number}"))?,
            application: self.name.clone(),
            version: None,
            previous_version: None,
            started_at: pseudo.began_at,
            finished_at: None,
            batches: vec![Batch {
                started_at: pseudo.began_at,
                instances: pseudo.released.clone(),
                weight: None,
            }],
            reference: pseudo.reference.clone(),
            groups: None,
            metrics: self.metrics.clone(),
            alerts: Vec::new(),
            other: BTreeMap::new(),
        })
    }
}

fn progress(count: usize, doing: &str) -> ProgressBar {
    let bar = ProgressBar::new(count as u64);
    if let Ok(style) =
        ProgressStyle::with_template(&format!("{doing} {{wide_bar}} {{pos}}/{{len}}, {{eta}} left"))
    {
        bar.set_style(style);
    }
    bar
}

fn write(out: &mut impl Write, measured: &BTreeMap<ApplicationName, (Measured, f64)>) -> std::io::Result<()> {
    let mut culpable = false;
    for (name, (Measured { calibration, stretches, disjoint }, budget)) in measured {
        let share = Share { count: calibration.stopped, of: calibration.judged };
        writeln!(out, "{name}: false stops per good release {share}")?;
        writeln!(
            out,
            "  cut from {stretches} stretches of quiet history; {disjoint} watches fit into them side by side, the rest overlap; budget {:.3}",
            budget / 1000.0
        )?;
        for (signal, stops, because) in calibration.culprits().into_iter().take(CULPRITS_MAX) {
            culpable = true;
            writeln!(out, "  {signal}: in {stops} of {} stops, for example: {because}", calibration.stopped)?;
        }
    }
    if culpable {
        writeln!(
            out,
            "\nA signal that says nothing about health is muted, one that has a good direction is given it:\n\
             [[application.signal]] with metric, and mute = true or bad_when. Then measure again with --config."
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;

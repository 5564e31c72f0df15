//! `replay`: past releases through the same engine that runs live.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args as ClapArgs, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::adapters::chain::chain;
use crate::adapters::recording::{self, Recording, RecordingError};
use crate::domain::{
    Batch, InstanceId, Label, LabelOutcome, ReleaseOrder, Scrape, ScrapeFailure, ScrapeOutcome, Timestamp,
};
use crate::guard::engine::{Effect, Input};
use crate::guard::{Action, Decision, Engine, EngineSettings, Mode, Settlement};
use crate::judge::{Finding, Outcome, WarmUp, WarmUpSeen};

use super::compare::{self, ModelArgument, Other};
use super::figures::Figures;
use super::replay_order;

/// How the reason begins why nothing can be said of a release.
const NOTHING_JUDGED: &str = "nothing was judged: ";

/// The exit status of arguments that do not go together, as clap has it.
const USAGE: u8 = 2;

/// For how long a released instance is asked for that has never answered.
const NEVER_CAME_BACK: Duration = Duration::from_secs(600);

/// Characters of a sentence in the table.
const BECAUSE_MAX: usize = 110;

/// Replays past releases and prints how each would have been decided.
#[derive(ClapArgs, Debug)]
pub struct Args {
    /// Recordings, or folders of recordings.
    #[arg(required = true)]
    pub paths: Vec<PathBuf>,
    /// A table for people, or one JSON object a line and release.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub format: Format,
    /// Writes a report to look at, with the charts of what decided.
    #[arg(long, value_name = "FILE.html")]
    pub report: Option<PathBuf>,
    /// Judge with this model's artifact, or `none`; the shipped one if not said.
    #[arg(long)]
    pub model: Option<ModelArgument>,
    /// Also print every look at which something was suspected, and what held
    /// it back; a table only.
    #[arg(long)]
    pub looks: bool,
    /// Also replay with another model's artifact, or `none`, and tell which
    /// releases are decided differently; a table only. A file that ends in
    /// `.jsonl` is what an earlier run printed with `--format jsonl`, of another
    /// version or other rules.
    #[arg(long, value_name = "MODEL|none|FILE.jsonl")]
    pub compare: Option<Other>,
}

impl Args {
    /// An option that was given and that one JSON object a line has no place for.
    fn of_the_table_only(&self) -> Option<&'static str> {
        match self.format {
            Format::Table => None,
            Format::Jsonl if self.compare.is_some() => Some("--compare"),
            Format::Jsonl if self.looks => Some("--looks"),
            Format::Jsonl => None,
        }
    }
}

/// How the results are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A table with the totals below it.
    Table,
    /// One JSON object a line.
    Jsonl,
}

/// How one past release was decided.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Replayed {
    /// The release's id.
    pub id: String,
    /// The gravest action that was reached.
    pub decision: Action,
    /// Seconds from the release's start to the first pause or rollback.
    pub stopped_after_s: Option<f64>,
    /// That the release is faulty, at that decision or the highest reached.
    pub probability: f64,
    /// The findings behind it, gravest first.
    pub reasons: Vec<Finding>,
    /// What could not be judged, and why.
    pub blind: Vec<String>,
    /// Whether anything of the release could be judged; else `decision` says
    /// nothing of it, and `blind` why.
    #[serde(default = "yes")]
    pub judged: bool,
    /// What became of the release; read after the verdict.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<Label>,
    /// How long young processes could move signals that warm: what earlier
    /// releases of the application taught.
    #[serde(default)]
    pub warm_up: WarmUp,
    /// What this release showed of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warm_up_seen: Option<WarmUpSeen>,
    /// When its last sample was taken.
    #[serde(skip)]
    pub ended_at: Timestamp,
    /// When the release began.
    #[serde(skip)]
    pub started_at: Timestamp,
    /// Where the recording is.
    #[serde(skip)]
    pub folder: PathBuf,
}

/// What earlier versions printed does not say it.
fn yes() -> bool {
    true
}

#[derive(Serialize)]
struct Unreadable {
    id: String,
    error: String,
}

impl Replayed {
    /// Whether it was paused or rolled back.
    pub fn is_stopped(&self) -> bool {
        self.decision >= Action::Pause
    }

    /// Seconds from the fault's onset to the stop; negative if it came first.
    pub fn delay_seconds(&self) -> Option<f64> {
        let onset = self.label.as_ref()?.onset?;
        Some(self.stopped_after_s? - onset.seconds_from(self.started_at))
    }
}

/// Runs the subcommand.
pub fn run(args: &Args) -> ExitCode {
    if let Some(option) = args.of_the_table_only() {
        eprintln!("{option} is told in the table only: leave it out, or --format jsonl");
        return ExitCode::from(USAGE);
    }
    let mut settings = settings();
    if let Some(ModelArgument(model)) = &args.model {
        settings.judge.model = model.clone();
    }
    let (results, mut failed) = replay_all(&args.paths, &settings, true);
    if results.is_empty() {
        eprintln!("there are no recordings; a recording is a folder with release.json and samples.parquet");
        failed = true;
    }
    if let Some(file) = &args.report {
        let names: Vec<String> = args.paths.iter().map(|path| path.display().to_string()).collect();
        if let Err(error) = super::replay_report::write(file, names.join(", "), &results, &settings) {
            eprintln!("cannot write the report {}: {error}", file.display());
            failed = true;
        }
    }
    let mut out = std::io::stdout().lock();
    let written = match args.format {
        Format::Jsonl => write_jsonl(&mut out, &results),
        Format::Table => write_table(&mut out, &results),
    };
    let written = written.and_then(|()| match &args.compare {
        Some(other) => {
            let good = |all: &[Result<Replayed, _>]| -> Vec<Replayed> {
                all.iter().filter_map(|r| r.as_ref().ok().cloned()).collect()
            };
            let this = good(&results);
            let (name, those) = match other {
                Other::Model(model) => {
                    let mut changed = settings.clone();
                    changed.judge.model = model.clone();
                    (model.describe(), good(&replay_all(&args.paths, &changed, true).0))
                }
                Other::Earlier { name, releases } => (name.clone(), compare::complete(releases, &this)),
            };
            compare::write(
                &mut out,
                [&settings.judge.model.describe(), &name],
                &this.iter().collect::<Vec<_>>(),
                &those.iter().collect::<Vec<_>>(),
            )
        }
        None => Ok(()),
    });
    let written = written.and_then(|()| match args.looks {
        true => super::replay_looks::write(&mut out, results.iter().flatten(), &settings),
        false => Ok(()),
    });
    if let Err(error) = written {
        // A reader that went away, as `head` does, is no failure of ours.
        if error.kind() != std::io::ErrorKind::BrokenPipe {
            eprintln!("cannot write the results: {error}");
            failed = true;
        }
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Replay enforces: it answers what would have been done.
pub fn settings() -> EngineSettings {
    let mut settings = EngineSettings::default();
    settings.policy.mode = Mode::Enforce;
    settings
}

/// Replays all recordings below the paths, on all cores, ordered by id. Those
/// of one application teach each other in the order of their beginnings.
pub fn replay_all(
    paths: &[PathBuf],
    settings: &EngineSettings,
    progress: bool,
) -> (Vec<Result<Replayed, (String, RecordingError)>>, bool) {
    let mut folders = Vec::new();
    let mut results = Vec::new();
    for path in paths {
        match recording::find(path) {
            Ok(found) => folders.extend(found),
            Err(error) => results.push(Err((name_of(path), error))),
        }
    }
    folders.sort();
    folders.dedup();
    let bar = if progress { ProgressBar::new(folders.len() as u64) } else { ProgressBar::hidden() };
    if let Ok(style) = ProgressStyle::with_template("replaying {wide_bar} {pos}/{len}, {eta} left") {
        bar.set_style(style);
    }
    let mut applications = replay_order::by_application(&folders);
    // The longest first, so that no thread ends alone.
    applications.sort_by_key(|application| std::cmp::Reverse(application.len()));
    let at_once = replay_order::at_once(applications.len());
    let replayed: Vec<_> = applications
        .par_iter()
        // Else the longest share a piece of work, which one thread does alone.
        .with_max_len(1)
        .flat_map(|application| replay_order::replay_in_order(application, at_once, settings, || bar.inc(1)))
        .collect();
    bar.finish_and_clear();
    results.extend(
        replayed.into_iter().map(|result| result.map_err(|(folder, error)| (name_of(&folder), error))),
    );
    results.sort_by(|a, b| id_of(a).cmp(id_of(b)));
    let failed = results.iter().any(Result::is_err);
    (results, failed)
}

fn id_of(result: &Result<Replayed, (String, RecordingError)>) -> &str {
    match result {
        Ok(replayed) => &replayed.id,
        Err((id, _)) => id,
    }
}

fn name_of(path: &Path) -> String {
    path.file_name().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned())
}

/// Replays one recording.
///
/// # Errors
/// If it cannot be read.
pub fn replay_folder(folder: &Path, settings: &EngineSettings) -> Result<Replayed, RecordingError> {
    let recording = Recording::read(folder)?;
    let mut replayed = replay(&recording, settings, |_, _| {});
    replayed.folder = folder.to_owned();
    replayed.label = recording::read_label(folder)?;
    Ok(replayed)
}

/// Plays a recording through the engine; `observe` sees the engine after each
/// effect.
pub fn replay(
    recording: &Recording,
    settings: &EngineSettings,
    observe: impl FnMut(&Engine, &Effect),
) -> Replayed {
    let order = &recording.order;
    let course = Course {
        order,
        span: recording.samples.span().unwrap_or((order.started_at, order.started_at)),
        interval: scrape_interval(recording),
        has_up: has_up(recording),
    };
    let mut replayed = course.play(recording.scrapes(), settings, observe);
    replayed.blind.extend(placed_twice(&recording.order));
    let (too_large, usable) = recording.samples.by_size();
    if too_large > 0 {
        let of = recording.samples.len();
        replayed.blind.push(format!("values: {too_large} of {of} are beyond ±3.4e38 and were left out"));
    }
    // Zeros alone look the same before and after any release.
    if too_large > 0 && usable == 0 && replayed.decision == Action::Proceed {
        replayed.blind.retain(|line| !line.starts_with(NOTHING_JUDGED));
        replayed.blind.insert(0, format!("{NOTHING_JUDGED}every value other than 0 is beyond ±3.4e38"));
        replayed.judged = false;
    }
    replayed
}

/// Who is in two groups or batches of an order, and which of them counts.
fn placed_twice(order: &ReleaseOrder) -> Vec<String> {
    const NAMED_MAX: usize = 3;
    let mut batch_of = std::collections::BTreeMap::new();
    let mut twice = Vec::new();
    for (at, batch) in order.batches.iter().enumerate() {
        for instance in &batch.instances {
            let first = *batch_of.entry(instance).or_insert(at);
            if first != at {
                twice.push(format!("{instance} is in batches[{first}] and batches[{at}]; the first counts"));
            }
        }
    }
    for instance in &order.reference {
        if let Some(at) = batch_of.get(instance) {
            twice.push(format!("{instance} is in batches[{at}] and in `reference`; the batch counts"));
        }
    }
    let more = twice.len().saturating_sub(NAMED_MAX);
    twice.truncate(NAMED_MAX);
    if more > 0 {
        twice.push(format!("and {more} more are in two places"));
    }
    twice.into_iter().map(|line| format!("instances: {line}")).collect()
}

/// Whether each scrape of a recording says that it succeeded.
pub fn has_up(recording: &Recording) -> bool {
    recording.samples.series().iter().any(|key| key.name() == "up")
}

/// A release and what is known of the scrapes around it.
#[derive(Clone, Copy, Debug)]
pub struct Course<'a> {
    /// The release.
    pub order: &'a ReleaseOrder,
    /// The first and the last scrape.
    pub span: (Timestamp, Timestamp),
    /// The usual time between two scrapes of one instance.
    pub interval: Duration,
    /// Whether failed scrapes are among the scrapes; otherwise an instance
    /// that has none while others have is silent.
    pub has_up: bool,
}

impl Course<'_> {
    /// Plays scrapes in order of time through the engine.
    pub fn play(
        &self,
        scrapes: impl Iterator<Item = Scrape>,
        settings: &EngineSettings,
        mut observe: impl FnMut(&Engine, &Effect),
    ) -> Replayed {
        let order = self.order;
        let (first, last) = self.span;
        let mut settings = settings.clone();
        settings.interval = self.interval;
        settings.history = last.since(first) + Duration::from_secs(60);
        // A recording ends when its watch ended: it is watched to its last sample.
        settings.policy.watch_after_finish =
            last.since(order.finished_at.unwrap_or(last)) + Duration::from_secs(1);
        let warm_up = settings.judge.warm_up;
        let mut run = Run { engine: Engine::new(settings), tally: Tally::default() };

        let mut pending_order = Some(live_order(order));
        let mut silence = SilenceFiller::new(!self.has_up, run.engine.window().step(), order);
        for scrape in scrapes {
            let now = scrape.at;
            if pending_order.as_ref().is_some_and(|o| now >= o.started_at) {
                run.begin(pending_order.take(), &mut observe);
            }
            for silent in silence.before(&scrape) {
                run.input(silent.at, Input::Scrape(silent), &mut observe);
            }
            run.input(now, Input::Scrape(scrape), &mut observe);
        }
        run.begin(pending_order.take(), &mut observe);
        run.input(last + run.engine.window().step(), Input::Tick, &mut observe);
        let warm_up_seen = run.engine.warm_up_seen(last);
        if !run.tally.judged {
            let why = self.why_unjudged(&run.engine);
            run.tally.blind.insert(0, format!("{NOTHING_JUDGED}{why}"));
        }
        Replayed { warm_up, warm_up_seen, ended_at: last, ..run.tally.finish(order) }
    }

    /// Why no look could say anything of the release.
    fn why_unjudged(&self, engine: &Engine) -> String {
        let order = self.order;
        let (_, last) = self.span;
        let window = engine.window();
        let released = || order.batches.iter().flat_map(|batch| &batch.instances);
        let begins = order.batches.iter().map(|batch| batch.started_at).min().unwrap_or(order.started_at);
        if window.newest().is_none() {
            "there are no samples".to_owned()
        } else if order.groups.is_none() && released().next().is_none() {
            "`batches` names no instances, so none was released".to_owned()
        } else if begins.max(order.started_at) >= last {
            let begins = begins.max(order.started_at);
            format!("the release began at {begins}, and the last sample is of {last}")
        } else if released().next().is_some() && !released().any(|i| window.instances().contains_key(i)) {
            "no released instance has samples; they must go by the same names in `batches`".to_owned()
        } else {
            "no released instance has samples that could be compared with those before the release".to_owned()
        }
    }
}

struct Run {
    engine: Engine,
    tally: Tally,
}

impl Run {
    fn begin(&mut self, order: Option<ReleaseOrder>, observe: &mut impl FnMut(&Engine, &Effect)) {
        if let Some(order) = order {
            let at = order.started_at;
            self.input(at, Input::Begin(Box::new(order)), observe);
        }
    }

    /// Hands an input to the engine. Commands settle at once, as if the
    /// release system had obeyed, and the data goes on as it was.
    fn input(&mut self, now: Timestamp, input: Input, observe: &mut impl FnMut(&Engine, &Effect)) {
        let mut inputs = vec![input];
        while let Some(input) = inputs.pop() {
            let Ok(effects) = self.engine.handle(now, input) else { continue };
            for effect in effects {
                observe(&self.engine, &effect);
                self.tally.take(&effect);
                match effect {
                    Effect::Send(command) => inputs.push(Input::Settled {
                        command: command.id,
                        settlement: Settlement::Confirmed { read_back: false },
                    }),
                    Effect::Decided(_)
                    | Effect::Notify(_)
                    | Effect::Judged(_)
                    | Effect::Changed
                    | Effect::WarmUpSeen(_)
                    | Effect::Ended => {}
                }
            }
        }
    }
}

/// The order as it was known when the release began.
fn live_order(order: &ReleaseOrder) -> ReleaseOrder {
    let mut order = order.clone();
    order.finished_at = None;
    order
}

#[derive(Default)]
struct Tally {
    gravest: Option<Decision>,
    first_stop: Option<Timestamp>,
    probability: f64,
    highest: Option<(f64, Vec<Finding>)>,
    blind: Vec<String>,
    judged: bool,
}

impl Tally {
    fn take(&mut self, effect: &Effect) {
        match effect {
            Effect::Decided(decision) => {
                if decision.action >= Action::Pause && self.first_stop.is_none() {
                    self.first_stop = Some(decision.at);
                }
                if self.gravest.as_ref().is_none_or(|g| decision.action > g.action) {
                    self.gravest = Some((**decision).clone());
                }
            }
            Effect::Judged(verdict) => {
                self.probability = self.probability.max(verdict.probability);
                self.judged |= verdict.outcome != Outcome::Unknown;
                self.blind = verdict.blind.iter().map(ToString::to_string).collect();
                if self.highest.as_ref().is_none_or(|(p, _)| verdict.probability > *p) {
                    self.highest = Some((verdict.probability, verdict.findings.clone()));
                }
            }
            Effect::Send(_) | Effect::Notify(_) | Effect::Changed | Effect::WarmUpSeen(_) | Effect::Ended => {
            }
        }
    }

    fn finish(self, order: &ReleaseOrder) -> Replayed {
        let decision = self.gravest.as_ref().map_or(Action::Proceed, |d| d.action);
        let (probability, reasons) = match self.gravest {
            Some(decision) => (decision.probability, decision.reasons),
            None => self.highest.unwrap_or((self.probability, Vec::new())),
        };
        Replayed {
            id: order.id.to_string(),
            decision,
            stopped_after_s: self.first_stop.map(|at| at.seconds_from(order.started_at)),
            probability,
            reasons,
            blind: self.blind,
            judged: self.judged,
            label: None,
            warm_up: WarmUp::default(),
            warm_up_seen: None,
            ended_at: order.started_at,
            started_at: order.started_at,
            folder: PathBuf::new(),
        }
    }
}

/// The usual time between two scrapes of one instance.
pub fn scrape_interval(recording: &Recording) -> Duration {
    const GAPS: usize = 25;
    let mut last = std::collections::HashMap::new();
    let mut gaps = Vec::new();
    for (instance, at) in recording.samples.moments() {
        if let Some(before) = last.insert(instance, at) {
            gaps.push(at.since(before));
            if gaps.len() >= GAPS * recording.samples.instances().len().max(1) {
                break;
            }
        }
    }
    gaps.sort_unstable();
    let millis = gaps.get(gaps.len() / 2).map_or(10_000, Duration::as_millis) as f64;
    // Jitter moves the median by a little: whole seconds where there are some.
    let rounded = if millis >= 900.0 { (millis / 1000.0).round() * 1000.0 } else { millis };
    Duration::from_millis(rounded as u64)
}

/// Recordings from elsewhere have no `up`: there an instance that has no rows
/// while others have is silent.
struct SilenceFiller {
    active: bool,
    step: Duration,
    last: BTreeMap<InstanceId, Timestamp>,
    /// Released instances that have shown nothing yet, and their batch's beginning.
    awaited: BTreeMap<InstanceId, Timestamp>,
    reference: Vec<InstanceId>,
    /// Whether an instance that the order names was seen: if none ever is, the
    /// names are wrong, and nobody is silent.
    names_hold: bool,
    checked: Timestamp,
}

impl SilenceFiller {
    fn new(active: bool, step: Duration, order: &ReleaseOrder) -> Self {
        let of_batch = |batch: &Batch| {
            let at = batch.started_at;
            batch.instances.clone().into_iter().map(move |instance| (instance, at))
        };
        Self {
            active,
            step,
            last: BTreeMap::new(),
            awaited: order.batches.iter().flat_map(of_batch).collect(),
            reference: order.reference.clone(),
            names_hold: false,
            checked: Timestamp::default(),
        }
    }

    fn before(&mut self, scrape: &Scrape) -> Vec<Scrape> {
        if !self.active {
            return Vec::new();
        }
        let mut silent = Vec::new();
        if scrape.at.since(self.checked) >= self.step {
            self.checked = scrape.at;
            let overdue = self.step + self.step / 2;
            // Long gone instances were replaced, not silent.
            let gone = |at: Timestamp| scrape.at >= at && scrape.at.since(at) < self.step * 30;
            let due = |at: Timestamp| scrape.at.since(at) < NEVER_CAME_BACK.max(self.step * 30);
            let once = self.last.iter().filter(|(_, at)| gone(**at));
            let never =
                self.awaited.iter().filter(|(_, at)| self.names_hold && scrape.at >= **at && due(**at));
            for (instance, at) in once.chain(never) {
                if scrape.at.since(*at) > overdue {
                    silent.push(Scrape {
                        instance: instance.clone(),
                        at: scrape.at,
                        outcome: ScrapeOutcome::Failed(ScrapeFailure::Down),
                        samples: Vec::new(),
                        families: std::sync::Arc::from([]),
                    });
                }
            }
        }
        let was_awaited = self.awaited.remove(&scrape.instance).is_some();
        self.names_hold |= was_awaited || self.reference.contains(&scrape.instance);
        self.last.insert(scrape.instance.clone(), scrape.at);
        silent
    }
}

fn write_jsonl(
    out: &mut impl Write,
    results: &[Result<Replayed, (String, RecordingError)>],
) -> std::io::Result<()> {
    for result in results {
        match result {
            Ok(replayed) => serde_json::to_writer(&mut *out, replayed)?,
            Err((id, error)) => {
                serde_json::to_writer(&mut *out, &Unreadable { id: id.clone(), error: chain(error) })?
            }
        }
        writeln!(out)?;
    }
    Ok(())
}

/// As much of a sentence as a row of the table has room for.
fn shortened(sentence: &str) -> String {
    if sentence.chars().count() <= BECAUSE_MAX {
        return sentence.to_owned();
    }
    sentence.chars().take(BECAUSE_MAX - 1).chain(['…']).collect()
}

fn write_table(
    out: &mut impl Write,
    results: &[Result<Replayed, (String, RecordingError)>],
) -> std::io::Result<()> {
    let mut table = comfy_table::Table::new();
    table.load_preset(comfy_table::presets::NOTHING);
    table.set_header(["release", "label", "decision", "after", "probability", "because"]);
    for result in results {
        match result {
            Ok(replayed) => {
                let label = replayed.label.as_ref().map_or("", |l| match l.outcome {
                    LabelOutcome::Faulty => "faulty",
                    LabelOutcome::Healthy => "healthy",
                });
                let after = replayed.stopped_after_s.map_or(String::new(), |s| format!("{s:.0} s"));
                let because = replayed.reasons.first().map(|r| &r.because);
                // Nothing is said of a release of which nothing was judged.
                let because = because.or_else(|| replayed.blind.first().filter(|_| !replayed.judged));
                let because = because.map_or(String::new(), |because| shortened(because));
                table.add_row([
                    replayed.id.clone(),
                    label.to_owned(),
                    replayed.decision.word().to_owned(),
                    after,
                    format!("{:.2}", replayed.probability),
                    because,
                ]);
            }
            Err((id, error)) => {
                table.add_row([
                    id.clone(),
                    "unreadable".to_owned(),
                    String::new(),
                    String::new(),
                    String::new(),
                    chain(error),
                ]);
            }
        }
    }
    writeln!(out, "{table}")?;
    let good: Vec<&Replayed> = results.iter().filter_map(|r| r.as_ref().ok()).collect();
    write!(out, "\n{}", Figures::of(&good))
}

#[cfg(test)]
mod tests {
    use crate::judge::Detector;
    use crate::judge::model::ModelChoice;
    use crate::simulate::{Request, simulate};

    use super::*;

    #[test]
    fn who_never_shows_a_sample_is_silent_unless_no_name_of_the_order_is_known() {
        let name = |name: &str| InstanceId::new(name).unwrap();
        let at = |second: i64| Timestamp::from_millis(1_790_000_000_000 + second * 1000);
        let mut order: ReleaseOrder = serde_json::from_value(serde_json::json!({
            "format": 1, "id": "r", "application": "shop", "started_at": "2026-09-21T00:00:00Z",
            "batches": [], "reference": ["old:1"], "metrics": [],
        }))
        .unwrap();
        order.batches = vec![Batch { started_at: at(0), instances: vec![name("new:1")], weight: None }];
        let silent = |seen: &str| {
            let mut filler = SilenceFiller::new(true, Duration::from_secs(10), &order);
            let scrape = |second| Scrape {
                instance: name(seen),
                at: at(second),
                outcome: ScrapeOutcome::Complete,
                samples: Vec::new(),
                families: std::sync::Arc::from([]),
            };
            (-3..6).flat_map(|k| filler.before(&scrape(k * 10))).map(|s| s.instance).collect::<Vec<_>>()
        };
        assert_eq!(silent("old:1"), vec![name("new:1"); 4]);
        assert_eq!(silent("other:1"), Vec::<InstanceId>::new());
    }

    #[test]
    fn the_recordings_that_ship_are_decided_as_the_readme_says() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("replay-data");
        let (results, failed) = replay_all(&[folder], &settings(), false);
        assert!(!failed);
        let replayed: Vec<Replayed> = results.into_iter().map(Result::unwrap).collect();
        let faulty = |r: &Replayed| r.label.as_ref().unwrap().outcome == LabelOutcome::Faulty;
        assert_eq!((replayed.len(), replayed.iter().filter(|r| faulty(r)).count()), (12, 7));
        for release in &replayed {
            assert_eq!(release.is_stopped(), faulty(release), "{release:?}");
        }
    }

    #[test]
    fn the_shipped_model_lets_pass_what_the_funnel_alone_would_have_stopped() {
        // Good releases, from simulated sets that it was not trained on.
        for (seed, index) in [(31_337, 366), (31_337, 438)] {
            let simulated = simulate(&Request { seed, index, ..Request::default() }).unwrap();
            assert_eq!(simulated.label.outcome, LabelOutcome::Healthy);
            let folder = tempfile::tempdir().unwrap();
            let folder = folder.path().join("recording");
            recording::write(&folder, &simulated.order, &simulated.scrapes, None).unwrap();
            let with = replay_folder(&folder, &settings()).unwrap();
            assert!(!with.is_stopped(), "{with:?}");
            let harmless = "; by past releases (model default 1) it is harmless: ";
            assert!(with.reasons.iter().any(|r| r.because.contains(harmless)), "{:?}", with.reasons);
            let mut alone = settings();
            alone.judge.model = ModelChoice::Without;
            let alone = replay_folder(&folder, &alone).unwrap();
            assert!(alone.is_stopped() && alone.reasons[0].detector == Detector::Funnel, "{alone:?}");
        }
    }

    #[test]
    fn a_release_of_which_nothing_was_judged_says_so_and_is_no_good_one_that_passed() {
        let simulated = simulate(&Request { seed: 90_125, index: 160, ..Request::default() }).unwrap();
        let of = |change: &dyn Fn(&mut ReleaseOrder, &mut Vec<Scrape>)| {
            let (mut order, mut scrapes) = (simulated.order.clone(), simulated.scrapes.clone());
            change(&mut order, &mut scrapes);
            let folder = tempfile::tempdir().unwrap();
            let folder = folder.path().join("recording");
            recording::write(&folder, &order, &scrapes, Some(&simulated.label)).unwrap();
            replay_folder(&folder, &settings()).unwrap()
        };
        let whole = of(&|_, _| ());
        assert!(whole.judged && Figures::of(&[&whole]).false_stops.of == 1, "{whole:?}");
        let cases: [(&dyn Fn(&mut ReleaseOrder, &mut Vec<Scrape>), &str); 5] = [
            (&|_, scrapes| scrapes.clear(), "no samples"),
            (&|order, _| order.batches.clear(), "`batches`"),
            (
                &|order, _| {
                    order.started_at = order.started_at + Duration::from_secs(86_400);
                    order.finished_at = None;
                    order.batches.iter_mut().for_each(|b| b.started_at = order.started_at);
                },
                "the last sample is of",
            ),
            (
                &|order, _| {
                    let other = crate::domain::InstanceId::new("elsewhere:1").unwrap();
                    order.batches.iter_mut().for_each(|b| b.instances = vec![other.clone()]);
                },
                "same names",
            ),
            (
                &|_, scrapes| {
                    let samples = scrapes.iter_mut().flat_map(|scrape| &mut scrape.samples);
                    samples.for_each(|sample| sample.value *= 1e50);
                },
                "every value other than 0",
            ),
        ];
        for (change, why) in cases {
            let replayed = of(change);
            let told = &replayed.blind[0];
            assert!(!replayed.judged && told.starts_with("nothing was judged: "), "{why}: {replayed:?}");
            assert!(told.contains(why), "{why}: {told}");
            let figures = Figures::of(&[&replayed]);
            assert_eq!((figures.false_stops.of, figures.unjudged), (0, 1));
            assert!(figures.to_string().contains("nothing was judged"), "{figures}");
        }
    }

    #[test]
    fn who_is_in_two_groups_or_batches_is_named_with_what_counts() {
        let order: ReleaseOrder = serde_json::from_str(
            r#"{"format": 1, "id": "r", "application": "shop", "started_at": "2026-03-01T00:10:00Z",
            "batches": [{"started_at": "2026-03-01T00:10:00Z", "instances": ["a", "b"]},
                {"started_at": "2026-03-01T00:11:00Z", "instances": ["b"]}], "reference": ["a", "c"]}"#,
        )
        .unwrap();
        assert_eq!(
            placed_twice(&order),
            [
                "instances: b is in batches[0] and batches[1]; the first counts",
                "instances: a is in batches[0] and in `reference`; the batch counts",
            ]
        );
    }

    #[test]
    fn what_only_the_table_tells_is_refused_with_json() {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            args: Args,
        }
        let refused = |line: &str| {
            let line: Line = clap::Parser::try_parse_from(line.split(' ')).unwrap();
            line.args.of_the_table_only()
        };
        assert_eq!(refused("replay x --format jsonl --compare none"), Some("--compare"));
        assert_eq!(refused("replay x --looks --format jsonl"), Some("--looks"));
        assert_eq!(refused("replay x --looks --compare none"), None);
        assert_eq!(refused("replay x --format jsonl"), None);
    }

    #[test]
    fn a_sentence_that_is_cut_says_so() {
        assert_eq!(shortened("short"), "short");
        let cut = shortened(&"ü".repeat(200));
        assert!(cut.chars().count() == BECAUSE_MAX && cut.ends_with("ü…"), "{cut}");
    }
}

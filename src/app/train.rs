//! `train`: learns from labelled recordings, measures, and writes an artifact
//! only if it decides better than what is there.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args as ClapArgs;
use indicatif::{ProgressBar, ProgressStyle};
use rayon::prelude::*;

use crate::adapters::model_file::{self, ModelFileError};
use crate::adapters::recording::{self, Recording, RecordingError};
use crate::domain::LabelOutcome;
use crate::guard::engine::Effect;
use crate::guard::{EngineSettings, Mode};
use crate::judge::model::{Asked, Model, ModelChoice, Thresholds};
use crate::learn::{
    Confirm, Judged, Look, Outcomes, PastRelease, TrainError, TrainSettings, is_better, is_worse, judge,
    probabilities, train,
};

use super::replay::replay;
use super::train_report::{Evaluation, TrainReport};

/// Fits a model to labelled recordings and evaluates it.
#[derive(ClapArgs, Debug)]
pub struct Args {
    /// Recordings to learn from, or folders of them; those without a label
    /// are passed over.
    #[arg(long, required = true, num_args = 1..)]
    pub recordings: Vec<PathBuf>,
    /// Recordings that nothing is learned from, neither weights nor
    /// thresholds: the last word on whether the model is better. Each of
    /// several folders is a set of its own: the model must be better on all
    /// together, and worse on none.
    #[arg(long, num_args = 1..)]
    pub held_out: Vec<PathBuf>,
    /// Folder for the artifact, its card and the report.
    #[arg(long)]
    pub out: PathBuf,
    /// The artifact that must be beaten; the shipped one if not said.
    #[arg(long)]
    pub current: Option<PathBuf>,
    /// Write the artifact even if it is not better.
    #[arg(long)]
    pub force: bool,
    /// Of the folds and of the resampling.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Folds of the cross validation.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(2..=20))]
    pub folds: u32,
    /// Trees of the boosted model.
    #[arg(long, default_value_t = 100)]
    pub trees: usize,
    /// Their depth.
    #[arg(long, default_value_t = 3)]
    pub depth: usize,
    /// The model's name.
    #[arg(long, default_value = "default")]
    pub name: String,
    /// The model's version.
    #[arg(long, default_value = "1")]
    pub model_version: String,
}

/// Why nothing was trained.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Recording(#[from] RecordingError),
    #[error(transparent)]
    Train(#[from] TrainError),
    #[error("the current model cannot be used")]
    Current(#[from] ModelFileError),
    #[error("cannot {doing} {}", .file.display())]
    File { doing: &'static str, file: PathBuf, source: std::io::Error },
    #[error("there are no labelled recordings below {}", .0.display())]
    Nothing(PathBuf),
}

/// Trains; the exit status is 1 if that failed, 0 also where nothing better
/// was found.
pub fn run(args: &Args) -> ExitCode {
    match trained(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{}", crate::adapters::chain::chain(&failure));
            ExitCode::FAILURE
        }
    }
}

fn trained(args: &Args) -> Result<(), Failure> {
    let current = current(args)?;
    let releases = collect(&args.recordings, "looking at recordings")?;
    let sets = args
        .held_out
        .iter()
        .map(|path| collect(std::slice::from_ref(path), "looking at held-out recordings"))
        .collect::<Result<Vec<_>, _>>()?;
    let held_out = sets.concat();
    let settings = settings(args);
    let bar = ProgressBar::new_spinner().with_message("fitting");
    bar.enable_steady_tick(std::time::Duration::from_millis(200));
    let outcome = train(&releases, &settings)?;
    bar.finish_and_clear();

    let model = Model::new(outcome.artifact.clone());
    let (judged_on, judged): (&[PastRelease], Vec<Judged>) = if held_out.is_empty() {
        (&releases, outcome.judged.clone())
    } else {
        (&held_out, judge_all(&held_out, Some(&model), settings.confirm))
    };
    let evaluation = Evaluation {
        with: Outcomes::of(judged_on, judged.iter()),
        without: Outcomes::of(judged_on, judge_all(judged_on, None, settings.confirm).iter()),
        current: current
            .model()
            .map(|m| Outcomes::of(judged_on, judge_all(judged_on, Some(m), settings.confirm).iter())),
        sets: held_out_sets(&args.held_out, &sets, &model, settings.confirm),
    };
    let beaten = evaluation.current.as_ref().unwrap_or(&evaluation.without);
    let better = is_better(&evaluation.with, beaten)
        && is_better(&evaluation.with, &evaluation.without)
        && sets.iter().all(|set| stands(set, &model, current.model(), settings.confirm));
    let report = TrainReport {
        trained: &outcome,
        evaluation: &evaluation,
        releases: judged_on,
        judged: &judged,
        current: current.describe(),
    };
    std::fs::create_dir_all(&args.out).map_err(|source| Failure::File {
        doing: "make the folder",
        file: args.out.clone(),
        source,
    })?;
    write(&args.out.join("report.html"), report.html().as_bytes())?;
    println!("{}", report.text());
    if better || args.force {
        write(&args.out.join("model.rgm"), &outcome.bytes)?;
        write(&args.out.join("card.md"), report.card().as_bytes())?;
        let how = if better { "better than" } else { "not better than, and by --force instead of" };
        println!("{how} {}: {}", current.describe(), args.out.join("model.rgm").display());
    } else {
        println!("not better than {}: no artifact was written", current.describe());
    }
    Ok(())
}

fn settings(args: &Args) -> TrainSettings {
    let policy = super::replay::settings().policy;
    TrainSettings {
        seed: args.seed,
        folds: args.folds,
        trees: args.trees.clamp(1, 2_000),
        depth: args.depth.clamp(1, 8),
        confirm: Confirm { failing: policy.confirm_checks as usize, of: policy.checks as usize },
        name: args.name.clone(),
        version: args.model_version.clone(),
    }
}

fn current(args: &Args) -> Result<ModelChoice, Failure> {
    match &args.current {
        Some(file) => Ok(model_file::read(file)?),
        None => Ok(ModelChoice::shipped()),
    }
}

fn judge_all(releases: &[PastRelease], model: Option<&Model>, confirm: Confirm) -> Vec<Judged> {
    let thresholds = model.map_or(Thresholds::default(), |m| m.artifact().header.thresholds);
    judge_with(releases, model, thresholds, confirm)
}

fn judge_with(
    releases: &[PastRelease],
    model: Option<&Model>,
    thresholds: Thresholds,
    confirm: Confirm,
) -> Vec<Judged> {
    releases
        .par_iter()
        .enumerate()
        .map(|(at, release)| {
            let asked = model.map_or(Asked::Suspects, |m| m.artifact().header.asked);
            let given = probabilities(release, asked, |f| model.map_or(0.0, |m| m.probability(f)));
            judge(at, release, &given, thresholds, confirm)
        })
        .collect()
}

/// Whether a model is no worse on a set than none and than the current one.
fn stands(set: &[PastRelease], model: &Model, current: Option<&Model>, confirm: Confirm) -> bool {
    let by = |model: Option<&Model>| Outcomes::of(set, judge_all(set, model, confirm).iter());
    let with = by(Some(model));
    !is_worse(&with, &by(None)) && current.is_none_or(|current| !is_worse(&with, &by(Some(current))))
}

/// Veto and act measured apart, on each held-out set, and on all together if
/// there are several.
fn held_out_sets(
    paths: &[PathBuf],
    sets: &[Vec<PastRelease>],
    model: &Model,
    confirm: Confirm,
) -> Vec<(String, Vec<(&'static str, Outcomes)>)> {
    let mut tables: Vec<_> = paths
        .iter()
        .zip(sets)
        .map(|(path, set)| (path.display().to_string(), ways_on(set, model, confirm)))
        .collect();
    if sets.len() > 1 {
        tables.push(("all of them".to_owned(), ways_on(&sets.concat(), model, confirm)));
    }
    tables
}

fn ways_on(releases: &[PastRelease], model: &Model, confirm: Confirm) -> Vec<(&'static str, Outcomes)> {
    let both = model.artifact().header.thresholds;
    [
        ("without a model", Thresholds::default()),
        ("veto alone", Thresholds { act: None, ..both }),
        ("act alone", Thresholds { veto: None, ..both }),
        ("with the model", both),
    ]
    .into_iter()
    .map(|(name, t)| (name, Outcomes::of(releases, judge_with(releases, Some(model), t, confirm).iter())))
    .collect()
}

/// All looks at all labelled recordings below the paths, without a model and
/// without stopping any.
fn collect(paths: &[PathBuf], doing: &str) -> Result<Vec<PastRelease>, Failure> {
    let mut folders = Vec::new();
    for path in paths {
        folders.extend(recording::find(path)?);
    }
    folders.sort();
    folders.dedup();
    let mut settings = super::replay::settings();
    settings.policy.mode = Mode::Observe;
    settings.judge.model = ModelChoice::Without;
    let bar = ProgressBar::new(folders.len() as u64);
    if let Ok(style) =
        ProgressStyle::with_template(&format!("{doing} {{wide_bar}} {{pos}}/{{len}}, {{eta}} left"))
    {
        bar.set_style(style);
    }
    let found: Vec<Option<PastRelease>> = folders
        .par_iter()
        .map(|folder| {
            let release = past_release(folder, &settings);
            bar.inc(1);
            release
        })
        .collect::<Result<_, _>>()?;
    bar.finish_and_clear();
    let releases: Vec<PastRelease> = found.into_iter().flatten().collect();
    if releases.is_empty() {
        return Err(Failure::Nothing(paths.first().cloned().unwrap_or_default()));
    }
    Ok(releases)
}

/// One labelled recording as the model sees it; nothing without a label.
fn past_release(folder: &Path, settings: &EngineSettings) -> Result<Option<PastRelease>, RecordingError> {
    let Some(label) = recording::read_label(folder)? else { return Ok(None) };
    let recording = Recording::read(folder)?;
    let started_at = recording.order.started_at;
    let mut looks = Vec::new();
    replay(&recording, settings, |engine, effect| {
        if let Effect::Judged(verdict) = effect {
            let at_seconds = verdict.at.seconds_from(started_at);
            looks.push(Look { at_seconds, considered: engine.considered().cloned() });
        }
    });
    Ok(Some(PastRelease {
        id: recording.order.id.to_string(),
        application: recording.order.application.to_string(),
        faulty: label.outcome == LabelOutcome::Faulty,
        onset_seconds: label.onset.map(|onset| onset.seconds_from(started_at)),
        cause: label.cause,
        looks,
    }))
}

/// Writes a file; a half-written one never has its name.
fn write(file: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let mut part = file.as_os_str().to_owned();
    part.push(".part");
    let part = PathBuf::from(part);
    let failed = |source| Failure::File { doing: "write", file: file.to_owned(), source };
    let mut to = File::create(&part).map_err(failed)?;
    to.write_all(bytes).map_err(failed)?;
    to.sync_all().map_err(failed)?;
    std::fs::rename(&part, file).map_err(failed)
}

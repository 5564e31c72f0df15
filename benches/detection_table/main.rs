//! The guardian against three judges of the published kinds, over simulated
//! releases that nothing was trained on and over every folder that is named:
//! Markdown tables by set, by fault and by harmless trouble, with intervals.

#![allow(clippy::unwrap_used, reason = "a table that cannot be made should say where")]

mod judges;
mod table;

use std::path::{Path, PathBuf};

use clap::Parser;
use rayon::prelude::*;
use release_guardian::adapters::recording::{self, Recording};
use release_guardian::app::compare::ModelArgument;
use release_guardian::app::replay;
use release_guardian::domain::{Label, LabelOutcome};
use release_guardian::simulate::{Fault, Request, Style, simulate};

use judges::Judge;
use judges::course::Course;
use judges::differences::Differences;
use judges::mann_whitney::{MannWhitney, Told};
use judges::thresholds::Thresholds;
use table::{Row, Set};

/// The style of service that no shipped model is trained on.
const HELD_OUT_STYLE: Style = Style::Shop;

/// The faults that no shipped model is trained on.
const HELD_OUT_FAULTS: [Fault; 9] = [
    Fault::Refusals,
    Fault::LatencyOneRoute,
    Fault::ThreadLeak,
    Fault::Hang,
    Fault::LogFlood,
    Fault::CallLatency,
    Fault::GaugeRamp,
    Fault::MetricsMissing,
    Fault::Freezes,
];

#[derive(Parser)]
struct Args {
    /// Recordings, or folders of them: each a set of its own in the table.
    paths: Vec<PathBuf>,
    /// Releases of each simulated set; 0 leaves them out.
    #[arg(long, default_value_t = 200)]
    count: u64,
    /// Of the simulated sets. Shipped models are trained on seeds from 1000 to
    /// 1999.
    #[arg(long, default_value_t = 7_001)]
    seed: u64,
    /// The guardian's model: a file, or `none`; the shipped one if not said.
    #[arg(long)]
    model: Option<ModelArgument>,
    /// Cargo says it to every bench.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() {
    let args = Args::parse();
    let mut settings = replay::settings();
    if let Some(ModelArgument(model)) = &args.model {
        settings.judge.model = model.clone();
    }
    let judges: Vec<Box<dyn Judge + Sync>> = vec![
        Box::new(Thresholds::default()),
        Box::new(MannWhitney::new(Told::Nothing)),
        Box::new(MannWhitney::new(Told::Direction)),
        Box::new(Differences::default()),
    ];
    let names: Vec<&str> =
        std::iter::once("guardian").chain(judges.iter().map(|judge| judge.name())).collect();
    let folder = tempfile::tempdir().unwrap();
    let mut sets = Vec::new();
    if args.count > 0 {
        sets.extend(simulated(folder.path(), args.count, args.seed));
    }
    sets.extend(args.paths.iter().map(|path| (path.display().to_string(), path.clone())));
    println!("The guardian with {}. ", settings.judge.model.describe());
    for (name, path) in sets {
        let folders = recording::find(&path).unwrap();
        let rows = folders.par_iter().filter_map(|folder| judged(folder, &settings, &judges)).collect();
        println!("{}", Set { name, judges: names.clone(), rows }.markdown());
    }
}

/// One row a judged release; nothing without a label.
fn judged(
    folder: &Path,
    settings: &release_guardian::guard::EngineSettings,
    judges: &[Box<dyn Judge + Sync>],
) -> Option<Row> {
    let recording = Recording::read(folder).unwrap();
    let label: Label = recording::read_label(folder).unwrap()?;
    let replayed = replay::replay(&recording, settings, |_, _| {});
    let course = Course::of(&recording);
    let stopped = std::iter::once(replayed.stopped_after_s)
        .chain(judges.iter().map(|judge| judge.stopped_after_seconds(&course)))
        .collect();
    let text = |key: &str| label.other.get(key).and_then(|v| v.as_str()).map(str::to_owned);
    Some(Row {
        faulty: label.outcome == LabelOutcome::Faulty,
        cause: label.cause.clone(),
        troubles: text("setting").map(|s| s.split('+').map(str::to_owned).collect()).unwrap_or_default(),
        times_noise: label.other.get("severity").and_then(serde_json::Value::as_f64),
        onset_seconds: label.onset.map(|onset| onset.seconds_from(recording.order.started_at)),
        stopped,
    })
}

/// Three sets from three seeds: what training may have seen of its kind, a
/// style and fault kinds that it never saw.
fn simulated(folder: &Path, count: u64, seed: u64) -> Vec<(String, PathBuf)> {
    let styles: Vec<Style> = Style::ALL.into_iter().filter(|s| *s != HELD_OUT_STYLE).collect();
    let faults: Vec<Fault> = Fault::ALL.into_iter().filter(|f| !HELD_OUT_FAULTS.contains(f)).collect();
    [
        ("Simulated, styles and faults as in training", styles.clone(), faults.clone()),
        ("Simulated, a style that was held out", vec![HELD_OUT_STYLE], faults),
        ("Simulated, faults that were held out", styles, HELD_OUT_FAULTS.to_vec()),
    ]
    .into_iter()
    .zip(seed..)
    .map(|((name, styles, faults), seed)| {
        let out = folder.join(seed.to_string());
        (0..count).into_par_iter().for_each(|index| {
            let request =
                Request { seed, index, styles: styles.clone(), faults: faults.clone(), ..Request::default() };
            let made = simulate(&request).unwrap();
            let to = out.join(made.order.id.as_str());
            recording::write(&to, &made.order, &made.scrapes, Some(&made.label)).unwrap();
        });
        (name.to_owned(), out)
    })
    .collect()
}

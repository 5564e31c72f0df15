//! `simulate`: labelled recordings from a seed.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args as ClapArgs;
use indicatif::{ProgressBar, ProgressStyle};
use rayon::prelude::*;

use crate::adapters::chain::chain;
use crate::adapters::recording::{self, RecordingError};
use crate::simulate::{Fault, Request, SimulateError, Style, Trouble, simulate};

/// What to simulate, and where to put it.
#[derive(ClapArgs, Debug)]
pub struct Args {
    /// Folder for the recordings; each gets a folder of its own in it.
    #[arg(long)]
    pub out: PathBuf,
    /// How many releases.
    #[arg(long, default_value_t = 100)]
    pub count: u64,
    /// The same seed gives the same releases.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Only these styles of service, such as http or worker.
    #[arg(long, value_delimiter = ',')]
    pub style: Vec<Style>,
    /// Only these faults, such as errors or memory-leak; without
    /// `--faulty-share` every release is faulty then.
    #[arg(long, value_delimiter = ',')]
    pub fault: Vec<Fault>,
    /// Only these harmless troubles, such as surge or cron.
    #[arg(long, value_delimiter = ',')]
    pub trouble: Vec<Trouble>,
    /// Share of the releases that are faulty, 0 to 1; half if not said.
    #[arg(long, value_parser = share)]
    pub faulty_share: Option<f64>,
    /// About the most samples of one release.
    #[arg(long, default_value_t = Request::default().samples_max)]
    pub samples_max: usize,
    /// How many releases in a row are of one service, so that earlier ones
    /// can teach later ones; with more than 1 the same seed gives others.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1_000))]
    pub releases_per_service: u64,
}

fn share(text: &str) -> Result<f64, String> {
    let share: f64 = text.parse().map_err(|_| format!("{text:?} is no number"))?;
    if (0.0..=1.0).contains(&share) { Ok(share) } else { Err(format!("{share} is not between 0 and 1")) }
}

/// Why a release was not simulated.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("release {index} of seed {seed} cannot be simulated: {source}")]
    Simulate { seed: u64, index: u64, source: SimulateError },
    #[error(transparent)]
    Write(#[from] RecordingError),
}

/// Simulates and writes; the exit status is 1 if any release failed.
pub fn run(args: &Args) -> ExitCode {
    let bar = ProgressBar::new(args.count);
    if let Ok(style) = ProgressStyle::with_template("simulating {wide_bar} {pos}/{len}, {eta} left") {
        bar.set_style(style);
    }
    let failures: Vec<Failure> = (0..args.count)
        .into_par_iter()
        .filter_map(|index| {
            let done = one(args, index);
            bar.inc(1);
            done.err()
        })
        .collect();
    bar.finish_and_clear();
    for failure in &failures {
        eprintln!("{}", chain(failure));
    }
    let written = args.count - failures.len() as u64;
    println!("{written} recordings in {}", args.out.display());
    if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn one(args: &Args, index: u64) -> Result<(), Failure> {
    let faulty_share = args.faulty_share.unwrap_or(if args.fault.is_empty() { 0.5 } else { 1.0 });
    let request = Request {
        seed: args.seed,
        index,
        styles: args.style.clone(),
        faults: args.fault.clone(),
        troubles: args.trouble.clone(),
        faulty_share,
        samples_max: args.samples_max.max(1_000),
        releases_per_service: args.releases_per_service,
    };
    let simulated =
        simulate(&request).map_err(|source| Failure::Simulate { seed: args.seed, index, source })?;
    let folder = args.out.join(simulated.order.id.as_str());
    recording::write(&folder, &simulated.order, &simulated.scrapes, Some(&simulated.label))?;
    Ok(())
}

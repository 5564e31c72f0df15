//! The one binary: subcommands, one match.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use release_guardian::app;

/// Watches every rollout, pauses or rolls back a bad one by itself, and says why.
#[derive(Parser)]
#[command(version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// A small fleet on loopback, a bad release and a good one: no settings needed.
    Demo(app::demo::Args),
    /// The daemon.
    Serve(app::serve::Args),
    /// Every problem of a settings file at once, or what was understood of it.
    Check(app::check::Args),
    /// The applications and signals of a Prometheus server or of targets, as
    /// a settings file ready to edit.
    Discover(Box<app::discover::Args>),
    /// A test message to each channel of the settings, and what each answered.
    Notify(app::notify::Args),
    /// Past releases through the same engine that runs live.
    Replay(app::replay::Args),
    /// A model from labelled recordings, written only if it decides better.
    Train(app::train::Args),
    /// How often good releases of an application would be stopped, from its
    /// quiet history, before its first release.
    Calibrate(app::calibrate::Args),
    /// Labelled recordings from a seed, for training and testing the judge.
    Simulate(app::simulate::Args),
    /// A past release from a Prometheus server into a recording.
    Record(Box<app::record::Args>),
    /// A past release from CSV into a recording.
    Import(app::import::Args),
    /// Tells the running daemon what a release really was.
    Feedback(app::feedback::Args),
}

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Demo(args) => app::demo::run(&args),
        Command::Serve(args) => app::serve::run(&args),
        Command::Check(args) => app::check::run(&args),
        Command::Discover(args) => app::discover::run(&args),
        Command::Notify(args) => app::notify::run(&args),
        Command::Replay(args) => app::replay::run(&args),
        Command::Train(args) => app::train::run(&args),
        Command::Calibrate(args) => app::calibrate::run(&args),
        Command::Simulate(args) => app::simulate::run(&args),
        Command::Record(args) => app::record::run(&args),
        Command::Import(args) => app::import::run(&args),
        Command::Feedback(args) => app::feedback::run(&args),
    }
}

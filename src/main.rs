//! The one binary: subcommands, one match.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use release_guardian::app::{check, replay};

/// Watches every rollout, pauses or rolls back a bad one by itself, and says why.
#[derive(Parser)]
#[command(version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Every problem of a settings file at once, or what was understood of it.
    Check(check::Args),
    /// Past releases through the same engine that runs live.
    Replay(replay::Args),
}

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Check(args) => check::run(&args),
        Command::Replay(args) => replay::run(&args),
    }
}

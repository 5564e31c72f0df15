//! `notify --test`: a test message to each channel, and what each answered.

use std::path::PathBuf;
use std::process::ExitCode;

use crate::adapters::clock;
use crate::adapters::notify::message::Message;
use crate::adapters::notify::{self, Channels, Entry, Parcel};
use crate::adapters::surroundings::ProcessSurroundings;

use super::check::load;

/// The arguments of `notify`.
#[derive(clap::Args)]
pub struct Args {
    /// Send a test message to each channel and report what each answered.
    #[arg(long, required = true)]
    test: bool,
    /// The settings file.
    #[arg(long)]
    config: PathBuf,
    /// Only these channels; all if none is named.
    #[arg(long)]
    channel: Vec<String>,
}

/// What one recipient of one channel answered.
struct Answered {
    channel: String,
    recipient: String,
    result: Result<String, String>,
}

/// Runs the command: success only if every channel took the message.
pub fn run(args: &Args) -> ExitCode {
    // The only other provider is none; whoever installed one before chose it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let settings = match load(&args.config, &ProcessSurroundings) {
        Ok(settings) => settings.notify,
        Err(error) => return failed(&error),
    };
    if let Some(unknown) =
        args.channel.iter().find(|name| !settings.channels.iter().any(|channel| channel.name == **name))
    {
        let known: Vec<&str> = settings.channels.iter().map(|channel| channel.name.as_str()).collect();
        eprintln!("there is no channel {unknown:?}; known are {}", known.join(", "));
        return ExitCode::FAILURE;
    }
    if settings.channels.is_empty() {
        eprintln!("{} has no [[notify.channel]]: nobody is told anything", args.config.display());
        return ExitCode::FAILURE;
    }
    let channels = match notify::channels(&settings, &ProcessSurroundings) {
        Ok(channels) => channels,
        Err(problems) => {
            for problem in &problems {
                failed(problem);
            }
            return ExitCode::FAILURE;
        }
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error),
    };
    let answered = runtime.block_on(send_all(channels, &args.channel));
    for Answered { channel, recipient, result } in &answered {
        let whom = if recipient.is_empty() { channel.clone() } else { format!("{channel} to {recipient}") };
        match result {
            Ok(answer) => println!("{whom}: sent, it answered: {answer}"),
            Err(error) => println!("{whom}: FAILED: {error}"),
        }
    }
    if answered.iter().all(|answered| answered.result.is_ok()) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn failed(error: &dyn std::error::Error) -> ExitCode {
    eprintln!("{error}");
    let mut cause = error.source();
    while let Some(source) = cause {
        eprintln!("  because: {source}");
        cause = source.source();
    }
    ExitCode::FAILURE
}

/// To all at once, each with its own time limit; told in the settings' order.
async fn send_all(channels: Channels, only: &[String]) -> Vec<Answered> {
    let now = clock::now();
    let message = Message::test(now);
    let parcel = Parcel {
        id: message.id.clone(),
        at: now,
        entries: vec![Entry { message, links: Vec::new(), page_url: None }],
        omitted: 0,
    };
    let mut sending = Vec::new();
    for (channel, _) in channels.0 {
        if !only.is_empty() && !only.iter().any(|name| name == channel.name()) {
            continue;
        }
        for recipient in channel.recipients() {
            let (channel, parcel) = (channel.clone(), parcel.clone());
            let name = channel.name().to_owned();
            let whom = recipient.clone();
            let task = tokio::spawn(async move { channel.send(&parcel, &whom, clock::now()).await });
            sending.push((name, recipient, task));
        }
    }
    let mut answered = Vec::new();
    for (channel, recipient, task) in sending {
        let result = match task.await {
            Ok(result) => result.map_err(|error| error.to_string()),
            Err(error) => Err(format!("sending ended early: {error}")),
        };
        answered.push(Answered { channel, recipient, result });
    }
    answered
}

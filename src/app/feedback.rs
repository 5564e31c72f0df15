//! `release-guardian feedback`: an operator's word, given from a terminal.

use std::process::ExitCode;
use std::time::Duration;

use clap::ValueEnum;
use serde_json::json;

use crate::domain::Timestamp;

/// Tells the running daemon what a release really was. The newest word counts;
/// all words are kept.
///
/// Exit codes: 0 if it was stored; 1 if the daemon refused it or cannot be
/// reached; 2 for a wrong call.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The application.
    application: String,
    /// The release's id.
    release: String,
    /// What it was.
    #[arg(value_enum)]
    kind: Kind,
    /// When the fault began to show: 2026-03-01T08:30:00Z.
    #[arg(long)]
    onset: Option<Timestamp>,
    /// In your words.
    #[arg(long)]
    comment: Option<String>,
    /// Where the daemon listens.
    #[arg(long, value_name = "ADDRESS", default_value = "http://127.0.0.1:8750")]
    url: url::Url,
    /// File that holds the bearer token; without it $RELEASE_GUARDIAN_TOKEN,
    /// or none.
    #[arg(long, value_name = "FILE")]
    token_file: Option<std::path::PathBuf>,
}

/// What an operator can say.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kind {
    /// It was stopped, and rightly.
    FaultConfirmed,
    /// It was stopped, and there was nothing wrong.
    FalseAlarm,
    /// It was let pass, and there was a fault.
    FaultMissed,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::FaultConfirmed => "fault_confirmed",
            Self::FalseAlarm => "false_alarm",
            Self::FaultMissed => "fault_missed",
        }
    }
}

/// Why the word was not given.
#[derive(Debug, thiserror::Error)]
enum FeedbackError {
    #[error("{0} cannot hold the path of a release; write http://host:port")]
    Address(url::Url),
    #[error("the token file {path} cannot be read")]
    Token {
        path: String,
        #[source]
        source: std::io::Error,
    },
    #[error("the daemon at {url} cannot be asked; does it run there?")]
    Unreachable {
        url: url::Url,
        #[source]
        source: reqwest::Error,
    },
    #[error("the daemon refused it (HTTP status {status}): {reason}")]
    Refused { status: u16, reason: String },
    #[error("the program cannot start its tasks")]
    Runtime(#[source] std::io::Error),
}

/// Sends the word and prints the answer.
pub fn run(args: &Args) -> ExitCode {
    // Only the first provider counts; there is no other.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime.map_err(FeedbackError::Runtime).and_then(|runtime| runtime.block_on(send(args))) {
        Ok(text) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            let cause = std::error::Error::source(&error).map(|c| format!(": {c}")).unwrap_or_default();
            eprintln!("release-guardian: {error}{cause}");
            ExitCode::FAILURE
        }
    }
}

async fn send(args: &Args) -> Result<String, FeedbackError> {
    let mut url = args.url.clone();
    match url.path_segments_mut() {
        Ok(mut path) => {
            path.pop_if_empty().extend([
                "api",
                "v1",
                "releases",
                &args.application,
                &args.release,
                "feedback",
            ]);
        }
        Err(()) => return Err(FeedbackError::Address(args.url.clone())),
    }
    let token = match &args.token_file {
        Some(path) => Some(
            std::fs::read_to_string(path)
                .map_err(|source| FeedbackError::Token { path: path.display().to_string(), source })?,
        ),
        None => std::env::var("RELEASE_GUARDIAN_TOKEN").ok(),
    };
    let mut body = json!({"kind": args.kind.word()});
    if let Some(onset) = args.onset {
        body["onset"] = json!(onset);
    }
    if let Some(comment) = &args.comment {
        body["comment"] = json!(comment);
    }
    let unreachable = |source| FeedbackError::Unreachable { url: args.url.clone(), source };
    let client = reqwest::Client::builder().timeout(Duration::from_secs(30)).build().map_err(unreachable)?;
    let mut request = client.post(url).json(&body);
    if let Some(token) = token {
        request = request.bearer_auth(token.trim());
    }
    let answer = request.send().await.map_err(unreachable)?;
    let status = answer.status();
    let text = answer.text().await.map_err(unreachable)?;
    let json: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    let field = |name: &str| json[name].as_str().map(str::to_owned);
    if status.is_success() {
        return Ok(field("text").unwrap_or_else(|| "stored".to_owned()));
    }
    let reason =
        field("detail").or_else(|| field("title")).unwrap_or_else(|| text.chars().take(300).collect());
    Err(FeedbackError::Refused { status: status.as_u16(), reason })
}

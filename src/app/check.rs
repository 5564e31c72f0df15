//! `check FILE`: every problem of a settings file at once, or what was
//! understood of it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::adapters::model_file;
use crate::adapters::notify::{self, ChannelProblem};
use crate::adapters::surroundings::ProcessSurroundings;
use crate::config::{
    Application, GroupBy, KubernetesObject, ModelSource, Problems, ReleaseSystem, ReleaseSystemKind,
    Settings, Source, SourceKind, Surroundings, show_bytes, show_duration,
};
use crate::guard::policy::{RuleMode, WhenBlind};
use crate::guard::{EngineSettings, Mode};
use crate::judge::model::ModelChoice;
use crate::signal::AddedValue;

use super::probe::probe;

/// The arguments of `check`.
#[derive(clap::Args)]
pub struct Args {
    /// The settings file.
    file: PathBuf,
    /// Ask every source once, and show what came from each target.
    #[arg(long)]
    probe: bool,
}

/// Why settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("cannot read the settings file {}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file has problems.
    #[error(transparent)]
    Problems(#[from] Problems),
    /// Templates of messages cannot be used.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Templates(Vec<ChannelProblem>),
}

/// Reads and checks a settings file.
///
/// # Errors
/// If it cannot be read, or all that is wrong with it.
pub fn load(path: &Path, surroundings: &dyn Surroundings) -> Result<Settings, LoadError> {
    let text =
        surroundings.read(path).map_err(|source| LoadError::Unreadable { path: path.to_owned(), source })?;
    let settings = Settings::read(&path.display().to_string(), &text, surroundings)?;
    notify::check_templates(&settings.notify).map_err(LoadError::Templates)?;
    Ok(settings)
}

/// Runs the command.
pub fn run(args: &Args) -> ExitCode {
    match load(&args.file, &ProcessSurroundings) {
        Ok(settings) => {
            print!("{}", describe(&settings));
            let model = check_model(&settings);
            let probed = if args.probe { run_probe(&settings) } else { ExitCode::SUCCESS };
            if model { probed } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("{error}");
            if let LoadError::Unreadable { source, .. } = &error {
                eprintln!("  because: {source}");
            }
            ExitCode::FAILURE
        }
    }
}

/// Says whether the model that settings name can be used.
fn check_model(settings: &Settings) -> bool {
    let ModelSource::File(file) = &settings.model else { return true };
    match model_file::read(file) {
        Ok(model) => {
            println!("  it is     {}", model.describe());
            true
        }
        Err(error) => {
            eprintln!("{}; rules and funnel would judge alone", crate::adapters::chain::chain(&error));
            false
        }
    }
}

/// Asks every source; fails if one of them gave nothing, or not all.
fn run_probe(settings: &Settings) -> ExitCode {
    // An error says that another was installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("cannot start the runtime that asks the sources: {error}");
            return ExitCode::FAILURE;
        }
    };
    let probed = runtime.block_on(probe(settings, &ProcessSurroundings));
    println!();
    probed.lines.iter().for_each(|line| println!("{line}"));
    match probed.troubles {
        0 => ExitCode::SUCCESS,
        count => {
            eprintln!("{count} of the sources and targets gave nothing, or not all");
            ExitCode::FAILURE
        }
    }
}

/// What was understood, in words.
pub fn describe(settings: &Settings) -> String {
    let mut text = String::new();
    // Writing to a text cannot fail.
    let _ = write_settings(&mut text, settings);
    text
}

fn write_settings(out: &mut String, settings: &Settings) -> std::fmt::Result {
    let server = &settings.server;
    let anonymous = server.anonymous.map_or("is refused", |role| role.word());
    writeln!(out, "interface   {} as {}; without a token: {anonymous}", server.listen, server.public_url)?;
    for token in &server.tokens {
        writeln!(out, "  token     {} ({}), from {}", token.name, token.role.word(), token.secret)?;
    }
    let recordings = &settings.recordings;
    writeln!(out, "store       {}", settings.store.path.display())?;
    writeln!(
        out,
        "recordings  {}, kept {} days and up to {}, with {} of history",
        recordings.dir.display(),
        recordings.keep_days,
        show_bytes(recordings.keep_bytes),
        show_duration(recordings.before),
    )?;
    for source in &settings.sources {
        writeln!(out, "source      {}", source_in_words(source))?;
    }
    if settings.sources.is_empty() {
        writeln!(out, "source      none: nothing can be judged until there is one")?;
    }
    for application in &settings.applications {
        write_application(out, application)?;
    }
    writeln!(out, "others      named by the label {}", settings.defaults.application_labels.join(", "))?;
    writeln!(out, "  policy    {}", policy_in_words(&settings.defaults.engine))?;
    writeln!(out, "  commands  {}", commands_in_words(settings.defaults.release_system.as_ref()))?;
    for channel in &settings.notify.channels {
        writeln!(out, "messages    to {} ({})", channel.name, channel.kind.word())?;
    }
    for rule in settings.freezes.rules() {
        let whom = match rule.applications.len() {
            0 => "all applications".to_owned(),
            _ => rule.applications.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(", "),
        };
        writeln!(out, "freeze      {:?} for {whom}", rule.name)?;
    }
    writeln!(out, "model       {}", model_in_words(&settings.model, &ModelChoice::shipped()))?;
    Ok(())
}

/// Which model is asked, where `shipped` is the one that comes with the program.
fn model_in_words(source: &ModelSource, shipped: &ModelChoice) -> String {
    match (source, shipped) {
        (ModelSource::File(file), _) => file.display().to_string(),
        (ModelSource::Without, _) => "none, as settings say: rules and funnel decide".to_owned(),
        (ModelSource::Shipped, ModelChoice::Without) => {
            "none ships with this version: rules and funnel decide".to_owned()
        }
        (ModelSource::Shipped, ModelChoice::InForce(_) | ModelChoice::Refused(_)) => {
            format!("that of this version, {}", shipped.describe())
        }
    }
}

fn source_in_words(source: &Source) -> String {
    match &source.kind {
        SourceKind::Scrape(scrape) => {
            let fixed: usize = scrape.static_targets.iter().map(|group| group.targets.len()).sum();
            format!(
                "{}: {fixed} static targets, {} file lists, {} HTTP lists, scraped every {}",
                source.name,
                scrape.file_sd.len(),
                scrape.http_sd.len(),
                show_duration(scrape.interval),
            )
        }
        SourceKind::Prometheus(prometheus) => format!(
            "{}: the Prometheus API at {}, every {}",
            source.name,
            prometheus.url,
            show_duration(prometheus.step),
        ),
    }
}

fn write_application(out: &mut String, application: &Application) -> std::fmt::Result {
    let sources = match application.sources.len() {
        0 => "all sources".to_owned(),
        _ => application.sources.join(", "),
    };
    let select: Vec<String> = application.select.iter().map(ToString::to_string).collect();
    let select = if select.is_empty() { "everything".to_owned() } else { select.join(" or ") };
    writeln!(out, "application {}: {select} of {sources}", application.name)?;
    match &application.groups {
        GroupBy::Instances => writeln!(out, "  groups    instances, as the release names them")?,
        GroupBy::Labels(crate::domain::GroupSelectors { release, reference, .. }) => {
            writeln!(out, "  groups    release {release}, reference {reference}")?;
        }
    }
    writeln!(out, "  policy    {}", policy_in_words(&application.engine))?;
    writeln!(out, "  rules     {}", rules_in_words(&application.engine))?;
    for signal in &application.engine.signals.added {
        writeln!(out, "  signal    {} is added: {}", signal.name, added_in_words(&signal.value))?;
    }
    for signal in &application.engine.signals.overrides {
        let what = if signal.mute { "not judged" } else { "as settings say" };
        writeln!(out, "  signal    {} {what}", signal.metric)?;
    }
    writeln!(out, "  commands  {}", commands_in_words(application.release_system.as_ref()))
}

fn added_in_words(value: &AddedValue) -> String {
    match value {
        AddedValue::Ratio { bad, all } => format!("{bad} over {all}"),
        AddedValue::Rate { events } => format!("{events} a second"),
        AddedValue::Level { of, mean: true } => format!("the mean of {of}"),
        AddedValue::Level { of, mean: false } => format!("the sum of {of}"),
        AddedValue::Histogram { of, quantile } => {
            format!("the share of {of} beyond its former {quantile} quantile")
        }
    }
}

fn policy_in_words(engine: &EngineSettings) -> String {
    let policy = &engine.policy;
    let acts = match (policy.mode, policy.may_roll_back) {
        (Mode::Observe, _) => "observes, tells nobody".to_owned(),
        (Mode::Advise, _) => "tells people, acts on nothing".to_owned(),
        (Mode::Enforce, false) => "pauses, never rolls back".to_owned(),
        (Mode::Enforce, true) => {
            format!("pauses, and rolls back if the fault stays for {}", show_duration(policy.rollback_after))
        }
    };
    let blind = match policy.when_blind {
        WhenBlind::Hold => "gates hold",
        WhenBlind::Pause => "it pauses",
        WhenBlind::Proceed => "the release goes on",
    };
    format!(
        "{acts}; {} of {} looks must fail; at most {} of 1000 good releases stopped; watched {} after the end; after {} without data {blind}",
        policy.confirm_checks,
        policy.checks,
        policy.false_stops_per_1000,
        show_duration(policy.watch_after_finish),
        show_duration(policy.blind_after),
    )
}

fn rules_in_words(engine: &EngineSettings) -> String {
    let mut words: Vec<String> = engine
        .policy
        .rule_modes
        .iter()
        .filter_map(|(name, mode)| match mode {
            RuleMode::Off => Some(format!("{name} off")),
            RuleMode::Trial => Some(format!("{name} on trial")),
            RuleMode::Enforce => None,
        })
        .collect();
    if words.is_empty() {
        words.push("all in force".to_owned());
    }
    words.extend(
        engine.judge.thresholds.iter().map(|limit| format!("limit {:?} on {}", limit.name, limit.signal)),
    );
    words.join(", ")
}

fn commands_in_words(system: Option<&ReleaseSystem>) -> String {
    match system.map(|system| &system.kind) {
        None => "none: gates answer, nothing is sent".to_owned(),
        Some(ReleaseSystemKind::Webhook(webhook)) => {
            let mut can = vec!["pause"];
            can.extend(webhook.rollback.as_ref().map(|_| "rollback"));
            can.extend(webhook.resume.as_ref().map(|_| "resume"));
            let read_back = if webhook.read_back.is_some() { "read back" } else { "not read back" };
            format!("{} by webhook, {read_back}", can.join(", "))
        }
        Some(ReleaseSystemKind::Flagger(object)) => {
            format!(
                "suspend and unsuspend {}; its rollback hook rolls back",
                object_in_words("canary", object)
            )
        }
        Some(ReleaseSystemKind::ArgoRollouts(object)) => {
            format!("pause, abort, resume {}, read back", object_in_words("rollout", object))
        }
        Some(ReleaseSystemKind::KubernetesDeployment(object)) => {
            format!("pause, undo, resume {}, read back", object_in_words("deployment", object))
        }
    }
}

fn object_in_words(word: &str, object: &KubernetesObject) -> String {
    let name = object.name.as_deref().unwrap_or("of the application's name");
    let server = match &object.api.address {
        Some(address) => address.to_string(),
        None => "its own cluster".to_owned(),
    };
    format!("{word} {name} in namespace {} of {server}", object.namespace)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_model_is_named_where_none_is_asked() {
        let words = |source: &ModelSource| model_in_words(source, &ModelChoice::Without);
        assert_eq!(words(&ModelSource::Shipped), "none ships with this version: rules and funnel decide");
        assert_eq!(words(&ModelSource::Without), "none, as settings say: rules and funnel decide");
        assert_eq!(words(&ModelSource::File("m/model.rgm".into())), "m/model.rgm");
        let refused = ModelChoice::Refused("a changed byte".into());
        let text = model_in_words(&ModelSource::Shipped, &refused);
        assert!(text.starts_with("that of this version") && text.contains("a changed byte"), "{text}");
    }
}

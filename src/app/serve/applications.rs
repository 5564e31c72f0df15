//! Which applications there are, and which scrapes are theirs.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::{Mutex, mpsc, watch};

use crate::adapters::guardian::{GuardianError, MissingSetting};
use crate::adapters::release_systems::{self, OpenError};
use crate::adapters::targets::Target;
use crate::adapters::telemetry::Metrics;
use crate::config::{Settings, Surroundings};
use crate::domain::{ApplicationName, InstanceId, ReleaseOrder, Scrape, Selector};

use super::actor::{Actor, ApplicationSpec, CALLS_MAX, Call, End, Inbox, Means, SCRAPES_MAX, View};

/// Applications that are integrated by themselves; more are refused with a
/// word, since a label with many values is no application's name.
pub(super) const INTEGRATED_MAX: usize = 100;

/// Which targets are an application's.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Members {
    /// As its settings say.
    Selected {
        /// All sources if empty.
        sources: Vec<String>,
        /// All targets of them if empty.
        select: Vec<Selector>,
    },
    /// Of an application that nobody configured: those whose first
    /// application label has its name, and those that a release order named.
    Integrated {
        /// The labels, in order.
        labels: Vec<String>,
        /// By name.
        named: BTreeSet<InstanceId>,
    },
}

impl Members {
    /// Adds instances by name, where settings do not say who is a member.
    pub(super) fn name(&mut self, instances: BTreeSet<InstanceId>) {
        match self {
            Self::Selected { .. } => {}
            Self::Integrated { named, .. } => named.extend(instances),
        }
    }

    /// Those that were added by name.
    pub(super) fn named(&self) -> BTreeSet<InstanceId> {
        match self {
            Self::Selected { .. } => BTreeSet::new(),
            Self::Integrated { named, .. } => named.clone(),
        }
    }

    pub(super) fn has(&self, name: &ApplicationName, source: &str, target: &Target) -> bool {
        match self {
            Self::Selected { sources, select } => {
                (sources.is_empty() || sources.iter().any(|s| s == source)) && target.is_selected(select)
            }
            Self::Integrated { labels, named } => {
                label_of(labels, target) == Some(name.as_str()) || named.contains(&target.instance)
            }
        }
    }
}

/// The application that a target's labels name.
pub(super) fn label_of<'a>(labels: &[String], target: &'a Target) -> Option<&'a str> {
    labels.iter().find_map(|label| target.labels.get(label)).map(String::as_str)
}

/// A running application.
pub(super) struct Running {
    pub(super) members: Members,
    pub(super) spec: ApplicationSpec,
    pub(super) calls: mpsc::Sender<Call>,
    pub(super) scrapes: mpsc::Sender<Scrape>,
    pub(super) view: watch::Receiver<View>,
}

impl Running {
    /// Starts the actor of an application, and starts it again when it fails.
    pub(super) fn start(spec: ApplicationSpec, members: Members, means: &Means) -> Self {
        let (calls, calls_in) = mpsc::channel(CALLS_MAX);
        let (scrapes, scrapes_in) = mpsc::channel(SCRAPES_MAX);
        let (view_out, view) = watch::channel(View::default());
        let inbox = Arc::new(Mutex::new(Inbox { calls: calls_in, scrapes: scrapes_in }));
        let supervised = supervise(spec.clone(), means.clone(), inbox, calls.clone(), view_out);
        tokio::spawn(supervised);
        Self { members, spec, calls, scrapes, view }
    }
}

/// Runs an application's actor until it is told to stop, beginning it again
/// from the store when it ends otherwise.
async fn supervise(
    spec: ApplicationSpec,
    means: Means,
    inbox: Arc<Mutex<Inbox>>,
    calls: mpsc::Sender<Call>,
    view: watch::Sender<View>,
) {
    let begin = || Actor::run(spec.clone(), means.clone(), inbox.clone(), calls.clone(), view.clone());
    keep_up(&spec.name, &means.shared.metrics, begin).await;
}

/// Runs what `begin` begins until it is told to stop. Where it panicked, or
/// its store failed, it is begun again, with growing pauses.
async fn keep_up<F>(name: &ApplicationName, metrics: &Metrics, begin: impl Fn() -> F)
where
    F: Future<Output = End> + Send + 'static,
{
    let mut failures = 0u32;
    loop {
        let begun = std::time::Instant::now();
        match tokio::spawn(begin()).await {
            Ok(End::Stopped) => return,
            Ok(End::Store(error)) => {
                let error = crate::adapters::chain::chain(&error);
                tracing::error!(application = %name, %error, "the watch cannot begin without the store");
            }
            Err(error) => {
                metrics.panics.inc();
                tracing::error!(application = %name, %error, "a fault of the guardian's own was caught; the watch begins again from the store. Please report it");
            }
        }
        failures = if begun.elapsed().as_secs() > 60 { 0 } else { (failures + 1).min(6) };
        tokio::time::sleep(std::time::Duration::from_secs(1 << failures) / 2).await;
    }
}

/// What settings say of an application, or of all that nobody configured.
pub(super) fn spec_of(
    settings: &Settings,
    name: &ApplicationName,
    surroundings: &dyn Surroundings,
) -> Result<(ApplicationSpec, Members), OpenError> {
    let configured = settings.application(name);
    let (engine, system) = match configured {
        Some(application) => (&application.engine, &application.release_system),
        None => (&settings.defaults.engine, &settings.defaults.release_system),
    };
    let sources = configured.map(|a| a.sources.clone()).unwrap_or_default();
    let engine = engine.clone();
    let system =
        system.as_ref().map(|system| release_systems::open(system, name, surroundings)).transpose()?;
    let members = match configured {
        Some(application) => Members::Selected { sources, select: application.select.clone() },
        None => {
            let labels = settings.defaults.application_labels.clone();
            Members::Integrated { labels, named: BTreeSet::new() }
        }
    };
    let spec = ApplicationSpec { name: name.clone(), engine, system, configured: configured.is_some() };
    Ok((spec, members))
}

/// Why an application that nobody configured cannot be watched.
pub(super) fn missing(
    settings: &Settings,
    name: &ApplicationName,
    targets: &[Arc<Target>],
    order: &ReleaseOrder,
) -> GuardianError {
    let mut which = Vec::new();
    if settings.sources.is_empty() {
        which.push(MissingSetting {
            setting: "source".to_owned(),
            why:
                "there is no [[source]]: name the targets, or a Prometheus server, that the samples come from"
                    .to_owned(),
        });
    }
    let labels = settings.defaults.application_labels.join(", ");
    let seen: BTreeSet<&str> = targets
        .iter()
        .filter_map(|target| label_of(&settings.defaults.application_labels, target))
        .take(INTEGRATED_MAX)
        .collect();
    let seen = match seen.is_empty() {
        true => format!("none of the {} targets has one of the labels {labels}", targets.len()),
        false => format!(
            "the labels {labels} of the targets name {}",
            seen.into_iter().collect::<Vec<_>>().join(", ")
        ),
    };
    which.push(MissingSetting {
        setting: format!("application.{name}.select"),
        why: format!("no target is known to be of {name}: {seen}. Add [[application]] with name = \"{name}\" and select, or label the targets"),
    });
    if order.groups.is_none() && instances_of(order).is_empty() {
        which.push(MissingSetting {
            setting: "batches".to_owned(),
            why: "the order names no machines either".to_owned(),
        });
    }
    GuardianError::MissingSettings { application: name.clone(), which }
}

/// The machines that an order names.
pub(super) fn instances_of(order: &ReleaseOrder) -> BTreeSet<InstanceId> {
    order.batches.iter().flat_map(|b| &b.instances).chain(&order.reference).cloned().collect()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test]
    async fn a_panic_in_one_watch_is_counted_begins_it_again_and_stops_no_other() {
        let name = |text: &str| ApplicationName::new(text).unwrap();
        let metrics = Arc::new(Metrics::default());
        let (begun, inbox) = (Arc::new(AtomicU32::new(0)), Arc::new(Mutex::new(0)));
        let (faulty, held) = (begun.clone(), inbox.clone());
        // As an actor does, it holds its queues while it works.
        let failing = move || {
            let (begun, inbox) = (faulty.clone(), held.clone());
            async move {
                let mut inbox = inbox.lock().await;
                *inbox += 1;
                assert!(begun.fetch_add(1, Ordering::Relaxed) > 0, "a judge that fails once");
                End::Stopped
            }
        };
        let (ask, asked) = mpsc::channel::<tokio::sync::oneshot::Sender<()>>(1);
        let questions = Arc::new(Mutex::new(asked));
        let sound = move || {
            let questions = questions.clone();
            async move {
                while let Some(answer) = questions.lock().await.recv().await {
                    let _ = answer.send(());
                }
                End::Stopped
            }
        };
        let counted = metrics.clone();
        let other = tokio::spawn(async move { keep_up(&name("sound"), &counted, sound).await });
        keep_up(&name("failing"), &metrics, failing).await;
        assert_eq!((begun.load(Ordering::Relaxed), *inbox.lock().await), (2, 2));
        assert_eq!(metrics.panics.get(), 1);
        let (answer, answered) = tokio::sync::oneshot::channel();
        ask.send(answer).await.unwrap();
        answered.await.unwrap();
        assert!(!other.is_finished());
    }
}

//! The daemon behind the handle that the interfaces hold.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, RwLock};
use std::time::Duration;

use prometheus_client::registry::Registry;
use tokio::sync::{Notify, oneshot, watch};

use crate::adapters::chain::chain;
use crate::adapters::guardian::{ApplicationState, GuardianError, HaltState};
use crate::adapters::targets::{Discovered, Target};
use crate::adapters::telemetry::{ApplicationLabels, WhatLabels};
use crate::config::{Settings, Surroundings};
use crate::domain::{ApplicationName, InstanceId, ReleaseKey, ReleaseOrder, Scrape};
use crate::guard::engine::Input;
use crate::judge::WarmUp;

use super::super::readiness::{self, Facts};
use super::actor::{Call, Change, Done, Means, View};
use super::applications::{INTEGRATED_MAX, Running, instances_of, label_of, missing, spec_of};
use super::asked::Asked;
use super::canaries::Turns;
use super::recorder::RecordingPolicy;
use super::shared::{read, write};

/// How long a caller waits for an actor that is busy.
const CALL_DEADLINE: Duration = Duration::from_secs(20);

/// The environment, as the daemon's tasks share it.
pub(super) type Environment = Arc<dyn Surroundings + Send + Sync>;

pub(super) struct Daemon {
    pub(super) means: Means,
    pub(super) settings: RwLock<Arc<Settings>>,
    pub(super) environment: Environment,
    pub(super) running: RwLock<BTreeMap<ApplicationName, Running>>,
    pub(super) halt: watch::Sender<HaltState>,
    pub(super) registry: Registry,
    /// The targets of each source, as they are known now.
    pub(super) targets: RwLock<BTreeMap<String, Discovered>>,
    pub(super) recordings: Arc<RwLock<RecordingPolicy>>,
    pub(super) stopping: AtomicBool,
    /// Applications that nobody configured and a server knows.
    pub(super) asked: RwLock<BTreeMap<ApplicationName, Asked>>,
    /// Told when there are more of them: collectors follow.
    pub(super) asked_changed: Notify,
    /// Of the calls about Canaries.
    pub(super) turns: Turns,
}

impl Daemon {
    pub(super) fn settings(&self) -> Arc<Settings> {
        read(&self.settings).clone()
    }

    /// Starts all configured applications, and those of which a release is
    /// still watched.
    ///
    /// # Errors
    /// If a release system cannot be used as it is configured.
    pub(super) fn start_applications(
        &self,
        watched: &[ReleaseOrder],
    ) -> Result<(), crate::adapters::release_systems::OpenError> {
        let settings = self.settings();
        let configured = settings.applications.iter().map(|a| (&a.name, None));
        let watched = watched.iter().map(|order| (&order.application, Some(order)));
        for (name, order) in configured.chain(watched) {
            let (spec, mut members) = spec_of(&settings, name, self.environment.as_ref())?;
            members.name(order.map(instances_of).unwrap_or_default());
            let mut running = write(&self.running);
            running.entry(name.clone()).or_insert_with(|| Running::start(spec, members, &self.means));
        }
        Ok(())
    }

    /// Puts changed settings in force.
    ///
    /// # Errors
    /// If a release system cannot be used as it is configured: then the old
    /// settings stay in force.
    pub(super) fn reconfigure(
        &self,
        settings: Settings,
    ) -> Result<(), crate::adapters::release_systems::OpenError> {
        let names: BTreeSet<ApplicationName> = settings
            .applications
            .iter()
            .map(|a| a.name.clone())
            .chain(read(&self.running).keys().cloned())
            .collect();
        let mut specs = Vec::new();
        for name in names {
            specs.push(spec_of(&settings, &name, self.environment.as_ref())?);
        }
        *write(&self.recordings) = RecordingPolicy {
            dir: settings.recordings.dir.clone(),
            keep_days: settings.recordings.keep_days,
            keep_bytes: settings.recordings.keep_bytes,
        };
        *write(&self.means.shared.before) = settings.recordings.before;
        *write(&self.means.shared.public_url) = settings.server.public_url.to_string();
        *write(&self.settings) = Arc::new(settings);
        let mut running = write(&self.running);
        for (spec, members) in specs {
            match running.get_mut(&spec.name) {
                Some(known) => {
                    known.spec = spec.clone();
                    let named = known.members.named();
                    known.members = members;
                    known.members.name(named);
                    if known.calls.try_send(Call::Reconfigure(Box::new(spec))).is_err() {
                        tracing::error!("an application is too busy to take changed settings; reload again");
                    }
                }
                None => {
                    running.insert(spec.name.clone(), Running::start(spec, members, &self.means));
                }
            }
        }
        Ok(())
    }

    /// Takes the targets of a source; applications that their labels name and
    /// nobody configured are integrated.
    pub(super) fn take_targets(&self, source: &str, discovered: &Discovered) {
        write(&self.targets).insert(source.to_owned(), discovered.clone());
        let settings = self.settings();
        let labels = &settings.defaults.application_labels;
        for target in discovered.targets.iter() {
            let Some(Ok(name)) = label_of(labels, target).map(ApplicationName::new) else { continue };
            let claimed = read(&self.running)
                .iter()
                .any(|(n, r)| *n == name || (r.spec.configured && r.members.has(n, source, target)));
            if !claimed {
                self.integrate(&settings, &name, BTreeSet::new());
            }
        }
    }

    /// Begins to know an application that nobody configured, with the targets
    /// that its labels name and these. False if there are too many.
    pub(super) fn integrate(
        &self,
        settings: &Settings,
        name: &ApplicationName,
        named: BTreeSet<InstanceId>,
    ) -> bool {
        let mut running = write(&self.running);
        let integrated = running.values().filter(|r| !r.spec.configured).count();
        if integrated >= INTEGRATED_MAX {
            tracing::warn!(%name, "more than {INTEGRATED_MAX} applications are named by labels; this one is not watched. Configure it, or name other application_labels");
            return false;
        }
        match spec_of(settings, name, self.environment.as_ref()) {
            Ok((spec, mut members)) => {
                tracing::info!(application = %name, "integrated by its labels, or by the machines that its release names");
                members.name(named);
                running.entry(name.clone()).or_insert_with(|| Running::start(spec, members, &self.means));
                true
            }
            Err(error) => {
                tracing::error!(application = %name, error = %chain(&error), "cannot be integrated");
                false
            }
        }
    }

    /// Gives a scrape to the applications whose it is.
    pub(super) fn route(&self, source: &str, target: &Target, scrape: &Scrape) {
        for (name, running) in read(&self.running).iter() {
            if running.members.has(name, source, target) && running.scrapes.try_send(scrape.clone()).is_err()
            {
                self.means.shared.metrics.shed.get_or_create(&WhatLabels { what: "scrapes" }).inc();
                tracing::warn!(application = %name, instance = %scrape.instance, "a scrape is shed: the application is too busy");
            }
        }
    }

    /// The queue of an application's scrapes.
    pub(super) fn scrapes_of(&self, name: &ApplicationName) -> Option<tokio::sync::mpsc::Sender<Scrape>> {
        read(&self.running).get(name).map(|running| running.scrapes.clone())
    }

    /// All targets that are known.
    pub(super) fn all_targets(&self) -> Vec<Arc<Target>> {
        read(&self.targets).values().flat_map(|d| d.targets.iter().cloned()).collect()
    }

    /// Finds the application of an order, or integrates it.
    pub(super) fn application_for(&self, order: &ReleaseOrder) -> Result<Option<String>, GuardianError> {
        let name = &order.application;
        if let Some(running) = read(&self.running).get(name) {
            return Ok((!running.spec.configured).then(|| "by the labels of its targets".to_owned()));
        }
        let settings = self.settings();
        let targets = self.all_targets();
        let known: BTreeSet<InstanceId> = targets.iter().map(|t| t.instance.clone()).collect();
        let named = instances_of(order);
        if named.iter().any(|instance| known.contains(instance)) {
            let text = "by the machines that its order names".to_owned();
            if self.integrate(&settings, name, named) {
                return Ok(Some(text));
            }
        }
        Err(missing(&settings, name, &targets, order))
    }

    /// The applications that an alert's labels name: those whose `alerts`
    /// select it, and the first label whose value is an application's name.
    pub(super) fn applications_of_alert(&self, labels: &BTreeMap<String, String>) -> Vec<ApplicationName> {
        let settings = self.settings();
        let running = read(&self.running);
        let named = settings.alerts.application_labels.iter().find_map(|label| {
            let name = ApplicationName::new(labels.get(label)?).ok()?;
            running.contains_key(&name).then_some(name)
        });
        let selected = settings.applications.iter().filter(|application| {
            let label = |name: &str| labels.get(name).map(String::as_str);
            application.alerts.iter().any(|selector| selector.holds(label))
        });
        let mut names: BTreeSet<ApplicationName> = selected.map(|a| a.name.clone()).collect();
        names.extend(named);
        names.into_iter().collect()
    }

    /// What is seen of an application without asking it.
    pub(super) fn view(&self, name: &ApplicationName) -> Option<View> {
        read(&self.running).get(name).map(|running| running.view.borrow().clone())
    }

    pub(super) fn check_running(&self) -> Result<(), GuardianError> {
        if self.stopping.load(Ordering::Relaxed) {
            return Err(GuardianError::Unavailable { reason: "the guardian is stopping".to_owned() });
        }
        Ok(())
    }

    /// Has an actor do something and waits until it is stored.
    pub(super) async fn change(
        &self,
        caller: super::Caller,
        application: &ApplicationName,
        release: Option<ReleaseKey>,
        input: Input,
        what: String,
        digest: String,
    ) -> Result<Done, GuardianError> {
        self.check_running()?;
        let calls = read(&self.running).get(application).map(|running| running.calls.clone());
        let Some(calls) = calls else {
            let what = match release {
                Some(release) => format!("release {release}"),
                None => format!("application {application}"),
            };
            return Err(GuardianError::NotFound { what });
        };
        let (reply, answer) = oneshot::channel();
        let change = Change { caller, release, input, what, digest, reply };
        let busy = |_| GuardianError::Unavailable { reason: format!("application {application} is busy") };
        calls.try_send(Call::Change(Box::new(change))).map_err(busy)?;
        match tokio::time::timeout(CALL_DEADLINE, answer).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(GuardianError::Unavailable {
                reason: "a fault of the guardian's own came between; it may or may not have been done: repeat it with the same idempotency key".to_owned(),
            }),
            Err(_) => Err(GuardianError::Unavailable {
                reason: format!("no answer within {} s; repeat it with the same idempotency key", CALL_DEADLINE.as_secs()),
            }),
        }
    }

    /// Recall and precision on the metrics.
    pub(super) async fn refresh_quality(&self) {
        let shared = &self.means.shared;
        let Ok(rows) = shared.stored("quality", shared.store.quality()).await else { return };
        for (name, counts) in super::quality::quality(&rows, None).applications {
            let labels = ApplicationLabels { application: name.to_string() };
            let metrics = &shared.metrics;
            for (family, value) in [
                (&metrics.recall, counts.recall),
                (&metrics.precision, counts.precision),
                (&metrics.false_stops, counts.false_stops_per_good),
                (&metrics.stop_delay_seconds, counts.median_delay_seconds),
            ] {
                // Nothing is said before there is anything to say, nor after a
                // later word took it back.
                if let Some(value) = value {
                    family.get_or_create(&labels).set(value);
                } else {
                    family.remove(&labels);
                }
            }
        }
    }

    pub(super) fn application_states(&self) -> Vec<ApplicationState> {
        let targets = read(&self.targets).clone();
        let running = read(&self.running);
        let states = running.iter().map(|(name, running)| {
            let view = running.view.borrow().clone();
            let mut instances: BTreeSet<InstanceId> = view.instances.iter().cloned().collect();
            for (source, found) in &targets {
                let own = found.targets.iter().filter(|t| running.members.has(name, source, t));
                instances.extend(own.map(|t| t.instance.clone()));
            }
            let mode = running.spec.engine.policy.mode;
            let facts = Facts {
                name: Some(name.as_str()),
                instances: instances.len(),
                inventory: &view.inventory,
                mode,
                has_release_system: running.spec.system.is_some(),
            };
            let (missing, recommended) = (readiness::missing(&facts), readiness::recommended(&facts));
            let system = running.spec.system.as_ref();
            let troubles = system.and_then(|s| self.means.couriers.troubles(s.target())).into_iter();
            ApplicationState {
                name: name.clone(),
                configured: running.spec.configured,
                ready: missing.is_empty(),
                missing,
                recommended,
                inventory: view.inventory,
                mode,
                instances: instances.into_iter().collect(),
                instances_up: view.instances_up,
                warm_up: WarmUp::default(),
                watching: view.release.as_ref().map(|r| r.order.id.clone()),
                troubles: troubles
                    .chain(targets.values().flat_map(|found| found.problems.iter().cloned()))
                    .chain(view.troubles)
                    .chain(super::model::trouble(&running.spec.engine.judge.model))
                    .collect(),
            }
        });
        states.collect()
    }

    /// Stores what is in memory and ends all actors.
    pub(super) async fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
        let calls: Vec<_> = read(&self.running).values().map(|r| r.calls.clone()).collect();
        for calls in calls {
            let (done, ended) = oneshot::channel();
            if calls.send(Call::Stop(done)).await.is_ok() {
                // An actor that hangs does not keep the daemon from ending.
                let _ = tokio::time::timeout(Duration::from_secs(10), ended).await;
            }
        }
        self.means.couriers.stop();
    }
}

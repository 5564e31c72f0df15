//! Canaries: rollouts of which only the state is told. Each call says where
//! the rollout stands; what that means for the release that is watched is
//! found out here, in any order of calls and over restarts.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::adapters::guardian::{
    Caller, CanaryCall, CanaryStage, Gate, GuardianError, Interface as _, MissingSetting,
};
use crate::adapters::store::StoredRelease;
use crate::adapters::targets::Target;
use crate::config::{GroupBy, ReleaseSystemKind};
use crate::domain::{
    ApplicationName, Batch, InstanceId, RECORDING_FORMAT, ReleaseId, ReleaseKey, ReleaseOrder, Timestamp,
};
use crate::guard::engine::{Input, Phase};

use super::daemon::Daemon;
use super::shared::read;

/// Labels by which both workloads of a Canary are told apart where settings
/// say nothing: they have the Canary's name, the old version's with `-primary`.
pub(super) const WORKLOAD_LABELS: [&str; 4] =
    ["app", "name", "app_kubernetes_io_name", "app.kubernetes.io/name"];

/// The newest run of an application's Canary; stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Run {
    namespace: String,
    name: String,
    checksum: String,
    /// Counts the runs of the application: a version that is tried again is
    /// another release.
    number: u64,
    release: ReleaseId,
    began_at: Timestamp,
    /// Whether the release system said that it is over.
    over: bool,
}

impl Run {
    fn is_of(&self, call: &CanaryCall) -> bool {
        self.namespace == call.namespace && self.name == call.name
    }
}

/// One call of an application at a time: two of them begin no two releases.
#[derive(Default)]
pub(super) struct Turns(std::sync::Mutex<BTreeMap<ApplicationName, Arc<tokio::sync::Mutex<()>>>>);

impl Turns {
    fn of(&self, application: &ApplicationName) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        turns.entry(application.clone()).or_default().clone()
    }
}

fn fact(application: &ApplicationName) -> String {
    format!("canary {application}")
}

impl Daemon {
    /// Takes a call about a Canary, and says what its gate says; none while
    /// nothing is rolled out.
    ///
    /// # Errors
    /// `NotFound` for a Canary of no application, and as
    /// [`Interface::begin`](crate::adapters::guardian::Interface::begin).
    pub(super) async fn take_canary(
        &self,
        caller: Caller,
        call: CanaryCall,
    ) -> Result<Option<Gate>, GuardianError> {
        self.check_running()?;
        let application = self.application_of_canary(&call)?;
        let turn = self.turns.of(&application);
        let _turn = turn.lock().await;
        let run = self.run(&application).await?;
        match call.stage {
            CanaryStage::Idle => self.canary_waits(&application, &call, run).await,
            CanaryStage::Running => self.canary_runs(caller, &application, &call, run).await.map(Some),
            CanaryStage::Promoted | CanaryStage::GivenUp => {
                self.canary_ended(caller, &application, &call, run).await?;
                Ok(None)
            }
        }
    }

    /// Which application is meant: the Canary says it, or the settings of a
    /// release system, or it has the Canary's name.
    fn application_of_canary(&self, call: &CanaryCall) -> Result<ApplicationName, GuardianError> {
        let settings = self.settings();
        let by_system = settings.applications.iter().find(|application| {
            let kind = application.release_system.as_ref().map(|system| &system.kind);
            let Some(ReleaseSystemKind::Flagger(canary)) = kind else { return false };
            let name = canary.name.as_deref().unwrap_or(application.name.as_str());
            canary.namespace == call.namespace && name == call.name
        });
        let named = match (&call.application, by_system) {
            (Some(application), _) => Some(application.clone()),
            (None, Some(application)) => Some(application.name.clone()),
            (None, None) => ApplicationName::new(&call.name).ok(),
        };
        let known = named.filter(|name| read(&self.running).contains_key(name));
        known.ok_or_else(|| GuardianError::NotFound {
            what: format!(
                "an application for the canary {} in namespace {} (name it in metadata.application, or in its release_system)",
                call.name, call.namespace
            ),
        })
    }

    async fn run(&self, application: &ApplicationName) -> Result<Option<Run>, GuardianError> {
        let shared = &self.means.shared;
        let text = shared.stored("fact", shared.store.fact(&fact(application))).await?;
        // What an older version wrote otherwise is as good as nothing.
        Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
    }

    async fn keep_run(&self, application: &ApplicationName, run: &Run) -> Result<(), GuardianError> {
        let shared = &self.means.shared;
        let text = serde_json::to_string(run).unwrap_or_default();
        Ok(shared.stored("set_fact", shared.store.set_fact(&fact(application), &text)).await?)
    }

    fn watched(&self, application: &ApplicationName) -> Option<Arc<StoredRelease>> {
        self.view(application)?.release
    }

    async fn canary_waits(
        &self,
        application: &ApplicationName,
        call: &CanaryCall,
        run: Option<Run>,
    ) -> Result<Option<Gate>, GuardianError> {
        let watched = self.watched(application).map(|release| release.order.id.clone());
        if let Some(run) =
            run.filter(|run| run.is_of(call) && !run.over && watched == Some(run.release.clone()))
        {
            let key = ReleaseKey { application: application.clone(), id: run.release };
            return self.gate(key).await.map(Some);
        }
        self.check_freeze(application, call.emergency)?;
        Ok(None)
    }

    async fn canary_runs(
        &self,
        caller: Caller,
        application: &ApplicationName,
        call: &CanaryCall,
        run: Option<Run>,
    ) -> Result<Gate, GuardianError> {
        let shared = &self.means.shared;
        let watched = self.watched(application);
        let stored = match &run {
            Some(run) => {
                let key = ReleaseKey { application: application.clone(), id: run.release.clone() };
                shared.stored("release", shared.store.release(&key)).await?
            }
            None => None,
        };
        let goes_on = run.as_ref().filter(|run| {
            run.is_of(call)
                && run.checksum == call.checksum
                && !run.over
                && !self.is_given_up(stored.as_ref())
        });
        let (run, is_begun) = match goes_on {
            Some(run) => (run.clone(), stored.is_some()),
            None => self.new_run(&caller, application, call, run.as_ref(), watched.as_deref()).await?,
        };
        let key = ReleaseKey { application: application.clone(), id: run.release };
        if !is_begun {
            self.begin_canary(&caller, &key, call).await?;
        } else if let Some(release) = self.watched(application).filter(|r| r.order.id == key.id) {
            self.add_released(caller, &key, call, &release).await?;
        }
        self.gate(key).await
    }

    /// Whether the release system itself confirmed that the run was rolled
    /// back: what comes later is another try.
    fn is_given_up(&self, stored: Option<&StoredRelease>) -> bool {
        let Some(stored) = stored.filter(|stored| stored.phase == Phase::RolledBack) else { return false };
        let settings = self.settings();
        let system = settings.application(&stored.order.application).and_then(|a| a.release_system.as_ref());
        matches!(system.map(|system| &system.kind), Some(ReleaseSystemKind::Flagger(_)))
    }

    /// A run that was not seen before, and whether its release has begun: a
    /// pipeline may have begun it by a call of its own.
    async fn new_run(
        &self,
        caller: &Caller,
        application: &ApplicationName,
        call: &CanaryCall,
        earlier: Option<&Run>,
        watched: Option<&StoredRelease>,
    ) -> Result<(Run, bool), GuardianError> {
        let number = earlier.map_or(0, |run| run.number) + 1;
        let own = format!("{}-{}-{number}", call.name, call.checksum);
        let own = ReleaseId::new(&own).map_err(|error| GuardianError::Invalid {
            field: "checksum".to_owned(),
            problem: error.to_string(),
        })?;
        let mut release = own;
        if let Some(watched) = watched {
            let id = watched.order.id.clone();
            if earlier.is_some_and(|run| run.release == id) {
                let key = ReleaseKey { application: application.clone(), id };
                if earlier.is_some_and(|run| run.over) && watched.phase == Phase::RollingBack {
                    let reason = format!("it is not confirmed yet that {key} was rolled back");
                    return Err(GuardianError::Conflict { reason });
                }
                self.simple(caller.clone(), key, Input::Cancel, "began another run before this one ended")
                    .await?;
            } else {
                release = id;
            }
        }
        let is_begun = watched.is_some_and(|watched| watched.order.id == release);
        let run = Run {
            namespace: call.namespace.clone(),
            name: call.name.clone(),
            checksum: call.checksum.clone(),
            number,
            release,
            began_at: self.means.shared.now(),
            over: false,
        };
        // Stored before it begins: after a kill between, the next call begins
        // the same release.
        self.keep_run(application, &run).await?;
        Ok((run, is_begun))
    }

    async fn begin_canary(
        &self,
        caller: &Caller,
        key: &ReleaseKey,
        call: &CanaryCall,
    ) -> Result<(), GuardianError> {
        let now = self.means.shared.now();
        let (released, reference) = self.workloads(&key.application, call);
        // Where settings tell the groups apart, each scrape says who is in which;
        // what a server scrapes is told apart by the labels that it has there.
        let unknown = !self.is_told_apart(&key.application) && released.is_empty() && reference.is_empty();
        let groups = if unknown { self.ask_workloads(&key.application, &call.name).await } else { None };
        if unknown && groups.is_none() {
            let application = key.application.clone();
            let why = format!(
                "none of its targets has a label app, name or app_kubernetes_io_name with the value {0} or {0}-primary: \
                 write groups = {{ release = '..', reference = '..' }} with the labels of both",
                call.name
            );
            let which = vec![MissingSetting { setting: format!("application.{application}.groups"), why }];
            return Err(GuardianError::MissingSettings { application, which });
        }
        let batches = match released.is_empty() {
            true => Vec::new(),
            false => vec![Batch { started_at: now, instances: released, weight: None }],
        };
        let canary = serde_json::json!({
            "namespace": call.namespace, "name": call.name, "checksum": call.checksum,
        });
        let order = ReleaseOrder {
            format: RECORDING_FORMAT,
            id: key.id.clone(),
            application: key.application.clone(),
            version: call.version.clone(),
            previous_version: None,
            started_at: now,
            finished_at: None,
            batches,
            reference,
            groups,
            metrics: Vec::new(),
            alerts: Vec::new(),
            other: BTreeMap::from([("canary".to_owned(), canary)]),
        };
        self.begin(caller.clone(), order, call.emergency).await.map(drop)
    }

    /// Instances of the new version that appeared since the last call.
    async fn add_released(
        &self,
        caller: Caller,
        key: &ReleaseKey,
        call: &CanaryCall,
        release: &StoredRelease,
    ) -> Result<(), GuardianError> {
        let batches = release.order.batches.iter().flat_map(|batch| &batch.instances);
        let known: BTreeSet<&InstanceId> = batches.collect();
        let (released, _) = self.workloads(&key.application, call);
        let instances: Vec<InstanceId> = released.into_iter().filter(|i| !known.contains(i)).collect();
        let complete = release.order.finished_at.is_some();
        if instances.is_empty() || complete || matches!(release.phase, Phase::RollingBack | Phase::RolledBack)
        {
            return Ok(());
        }
        let batch = Batch { started_at: self.means.shared.now(), instances, weight: None };
        self.batch(caller, key.clone(), batch).await.map(drop)
    }

    /// Whether settings tell the application's groups apart by labels.
    fn is_told_apart(&self, application: &ApplicationName) -> bool {
        let settings = self.settings();
        settings.application(application).is_some_and(|a| matches!(a.groups, GroupBy::Labels(_)))
    }

    /// The instances of the new and of the old version, where the names of the
    /// workloads tell them apart.
    fn workloads(
        &self,
        application: &ApplicationName,
        call: &CanaryCall,
    ) -> (Vec<InstanceId>, Vec<InstanceId>) {
        let (mut released, mut reference) = (Vec::new(), Vec::new());
        if self.is_told_apart(application) {
            return (released, reference);
        }
        let targets = read(&self.targets);
        let running = read(&self.running);
        let Some(running) = running.get(application) else { return (released, reference) };
        for (source, found) in targets.iter() {
            for target in found.targets.iter().filter(|t| running.members.has(application, source, t)) {
                match workload(call, target) {
                    Some(true) => released.push(target.instance.clone()),
                    Some(false) => reference.push(target.instance.clone()),
                    None => {}
                }
            }
        }
        (released, reference)
    }

    async fn canary_ended(
        &self,
        caller: Caller,
        application: &ApplicationName,
        call: &CanaryCall,
        run: Option<Run>,
    ) -> Result<(), GuardianError> {
        let Some(mut run) = run.filter(|run| run.is_of(call)) else { return Ok(()) };
        // A late word about the run before.
        if call.at.is_some_and(|at| at < run.began_at) && call.checksum != run.checksum {
            return Ok(());
        }
        let watched = self.watched(application).filter(|release| release.order.id == run.release);
        if let Some(release) = watched {
            let key = release.key();
            match (call.stage, release.phase) {
                // The release system does what it was told: that it was done
                // is read back, and is the release's end.
                (_, Phase::RollingBack) => {}
                (CanaryStage::Promoted, _) => {
                    let text = "said that the new version takes the old one's place";
                    self.simple(caller, key, Input::Conclude, text).await?;
                }
                (CanaryStage::GivenUp | CanaryStage::Idle | CanaryStage::Running, _) => {
                    self.simple(caller, key, Input::Cancel, "said that the rollout was given up").await?;
                }
            }
        }
        if !run.over {
            run.over = true;
            self.keep_run(application, &run).await?;
        }
        Ok(())
    }
}

/// Whether a target runs the new version; none if it is of neither workload.
fn workload(call: &CanaryCall, target: &Target) -> Option<bool> {
    WORKLOAD_LABELS.iter().find_map(|name| {
        let value = target.labels.get(*name)?;
        match value.strip_suffix("-primary") {
            _ if *value == call.name => Some(true),
            Some(base) if base == call.name => Some(false),
            Some(_) | None => None,
        }
    })
}

//! The daemon as [`Interface`]: what the web interface and the gates call.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use async_trait::async_trait;
use serde::Serialize;
use sha2::{Digest, Sha256};
use tokio::sync::{broadcast, oneshot};

use crate::adapters::guardian::{
    ApplicationState, AuditLine, Begun, CanaryCall, Event, EventKind, Gate, GuardianError, HaltState,
    Interface, Quality, Readiness, ReleaseDetail, ReleaseFilter, ReleasePage, ReleaseSummary, Taken, Word,
};
use crate::adapters::store::{KeptAnswer, StoredRelease};
use crate::adapters::telemetry::Metrics;
use crate::config::{GroupBy, Settings};
use crate::domain::{
    Alert, ApplicationName, Batch, Feedback, GroupSelectors, InstanceId, LabelOutcome, Matcher,
    RECORDING_FORMAT, Relation, ReleaseKey, ReleaseOrder, Selector, Timestamp, Version,
};
use crate::guard::engine::{Input, OperatorOrder, Phase};
use crate::guard::policy::WhenBlind;

use super::Caller;
use super::actor::{Call, Done};
use super::applications::instances_of;
use super::daemon::Daemon;
use super::gate::{GateFacts, gate};
use super::model::trouble;
use super::moments::check_onset;
use super::quality::quality;
use super::shared::read;

/// Machines in one order; more is a mistake.
const INSTANCES_MAX: usize = 10_000;
const COMMENT_CHARS_MAX: usize = 4_000;
const REASON_CHARS_MAX: usize = 1_000;
const HALT: &str = "halt";

fn digest(what: &str, release: &str, body: &impl Serialize) -> String {
    let body = serde_json::to_string(body).unwrap_or_default();
    let mut hash = Sha256::new();
    for part in [what, release, &body] {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.finalize().iter().map(|b| format!("{b:02x}")).collect()
}

fn invalid(field: &str, problem: impl Into<String>) -> GuardianError {
    GuardianError::Invalid { field: field.to_owned(), problem: problem.into() }
}

fn taken(done: Done) -> Taken {
    Taken { phase: done.phase, changed: done.changed, text: done.text, warnings: Vec::new() }
}

fn check_order(order: &ReleaseOrder) -> Result<(), GuardianError> {
    if order.format != RECORDING_FORMAT {
        return Err(invalid("/format", format!("{} is not known; write {RECORDING_FORMAT}", order.format)));
    }
    if instances_of(order).len() > INSTANCES_MAX {
        return Err(invalid("/batches", format!("more than {INSTANCES_MAX} machines")));
    }
    let mut listed = BTreeSet::new();
    for (index, batch) in order.batches.iter().enumerate() {
        check_batch(&format!("/batches/{index}"), batch, &mut listed)?;
    }
    each_once("/reference", &order.reference, &mut BTreeSet::new())
}

/// Fills in the groups that settings tell by labels where the order lists no
/// machines, and the release's versions for what stands for them.
fn with_groups(mut order: ReleaseOrder, settings: &Settings) -> Result<ReleaseOrder, GuardianError> {
    let configured = settings.application(&order.application).map(|application| &application.groups);
    let groups = match (order.groups.take(), configured) {
        (Some(groups), _) => groups,
        (None, Some(GroupBy::Labels(groups))) if instances_of(&order).is_empty() => groups.clone(),
        (None, _) => return Ok(order),
    };
    let release = filled(&groups.release, "/groups/release", &order)?;
    let reference = filled(&groups.reference, "/groups/reference", &order)?;
    if release == reference {
        let problem = format!("both groups are {release}; a release is compared with another version");
        return Err(invalid("/groups", problem));
    }
    order.groups = Some(GroupSelectors { release, reference, ..groups });
    Ok(order)
}

/// A group's selector with the versions of an order.
fn filled(selector: &Selector, at: &str, order: &ReleaseOrder) -> Result<Selector, GuardianError> {
    if let Some(name) = &selector.name {
        return Err(invalid(at, format!("it names the metric {name}; only labels tell groups apart")));
    }
    let versions = [
        ("/version", "{version}", &order.version),
        ("/previous_version", "{previous_version}", &order.previous_version),
    ];
    for (field, place, version) in versions {
        if version.is_none() && selector.matchers.iter().any(|m| m.value().contains(place)) {
            return Err(invalid(field, format!("it is needed: the groups are told apart by {selector}")));
        }
    }
    let value = |matcher: &Matcher| {
        versions.iter().fold(matcher.value().to_owned(), |value, (_, place, version)| {
            let version = version.as_ref().map_or("", Version::as_str);
            match matcher.relation() {
                Relation::Equal | Relation::NotEqual => value.replace(place, version),
                Relation::Like | Relation::Unlike => value.replace(place, &regex::escape(version)),
            }
        })
    };
    selector.with_values(value).map_err(|error| invalid(at, error.to_string()))
}

/// What a caller should know of groups that nobody is in yet.
fn unmatched(order: &ReleaseOrder) -> Vec<String> {
    let Some(groups) = &order.groups else { return Vec::new() };
    let mut warnings = Vec::new();
    if order.batches.iter().all(|batch| batch.instances.is_empty()) {
        warnings.push(format!(
            "no instance has the labels {} yet: nothing can be judged until one appears",
            groups.release
        ));
    }
    if order.reference.is_empty() {
        warnings.push(format!(
            "no instance has the labels {}: the release is compared with its own past alone",
            groups.reference
        ));
    }
    warnings
}

/// A machine that is listed twice is a slip: another one was meant.
fn each_once<'a>(
    field: &str,
    machines: &'a [InstanceId],
    listed: &mut BTreeSet<&'a InstanceId>,
) -> Result<(), GuardianError> {
    match machines.iter().find(|machine| !listed.insert(machine)) {
        Some(twice) => Err(invalid(field, format!("{twice} is listed twice; list each machine once"))),
        None => Ok(()),
    }
}

fn check_batch<'a>(
    at: &str,
    batch: &'a Batch,
    listed: &mut BTreeSet<&'a InstanceId>,
) -> Result<(), GuardianError> {
    each_once(&format!("{at}/instances"), &batch.instances, listed)?;
    match batch.weight {
        Some(weight) if !(weight.is_finite() && weight > 0.0) => Err(invalid(
            &format!("{at}/weight"),
            "it must be more than 0; 1 is the traffic of a reference machine",
        )),
        Some(_) | None => Ok(()),
    }
}

fn summary(release: &StoredRelease) -> ReleaseSummary {
    let order = &release.order;
    ReleaseSummary {
        application: order.application.clone(),
        id: order.id.clone(),
        version: order.version.clone(),
        previous_version: order.previous_version.clone(),
        started_at: order.started_at,
        ended_at: release.ended_at,
        phase: release.phase,
        mode: release.mode,
        outcome: release.verdict.as_ref().map(|v| v.outcome),
        probability: release.verdict.as_ref().map(|v| v.probability),
        gravest: release.gravest,
        because: release.because.clone(),
        label: match release.word {
            Some(word) => Some(word.outcome()),
            None => release.rolled_back.then_some(LabelOutcome::Faulty),
        },
        held_by: release.held_by.clone(),
    }
}

impl Daemon {
    /// Whether releases of an application may begin now.
    pub(super) fn check_freeze(
        &self,
        application: &ApplicationName,
        emergency: bool,
    ) -> Result<(), GuardianError> {
        match self.settings().freezes.frozen_at(application, self.means.shared.now()) {
            Some(freeze) if !emergency => {
                let application = application.clone();
                Err(GuardianError::Frozen { application, until: freeze.until, reason: freeze.name })
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Says which of these machines no source knows. They are taken all the
    /// same: a machine may be told of before its first scrape.
    fn unseen<'a>(
        &self,
        application: &ApplicationName,
        machines: impl IntoIterator<Item = &'a InstanceId>,
    ) -> Option<String> {
        let mut known: BTreeSet<InstanceId> = self.all_targets().iter().map(|t| t.instance.clone()).collect();
        // What a server scrapes is on no list of ours; its samples tell of it.
        known.extend(self.view(application).map(|view| view.instances).unwrap_or_default());
        let unseen: Vec<&str> =
            machines.into_iter().filter(|i| !known.contains(*i)).map(InstanceId::as_str).collect();
        let shown = unseen.iter().take(10).copied().collect::<Vec<_>>().join(", ");
        (!unseen.is_empty()).then(|| format!("no target yet for {}: {shown}", counted_machines(unseen.len())))
    }

    async fn stored_release(&self, key: &ReleaseKey) -> Result<StoredRelease, GuardianError> {
        let shared = &self.means.shared;
        let stored = shared.stored("release", shared.store.release(key)).await?;
        let mut stored = stored.ok_or_else(|| GuardianError::no_release(key))?;
        // The newest verdict is in memory only.
        if let Some(live) = self.live(key) {
            stored.verdict = live.verdict.or(stored.verdict);
            stored.phase = live.phase;
        }
        Ok(stored)
    }

    /// The release as it is watched now.
    fn live(&self, key: &ReleaseKey) -> Option<StoredRelease> {
        let release = self.view(&key.application)?.release?;
        (release.order.id == key.id).then(|| release.as_ref().clone())
    }

    pub(super) async fn simple(
        &self,
        caller: Caller,
        release: ReleaseKey,
        input: Input,
        what: &str,
    ) -> Result<Taken, GuardianError> {
        let digest = digest(what, &release.to_string(), &());
        let application = release.application.clone();
        self.change(caller, &application, Some(release), input, what.to_owned(), digest).await.map(taken)
    }

    async fn write_audit(
        &self,
        caller: &Caller,
        release: Option<&ReleaseKey>,
        text: String,
    ) -> Result<(), GuardianError> {
        let shared = &self.means.shared;
        let line = AuditLine { at: shared.now(), who: caller.who.clone(), text };
        Ok(shared.stored("add_audit", shared.store.add_audit(release, &line)).await?)
    }
}

#[async_trait]
impl Interface for Daemon {
    async fn begin(
        &self,
        caller: Caller,
        order: ReleaseOrder,
        emergency: bool,
    ) -> Result<Begun, GuardianError> {
        self.check_running()?;
        check_order(&order)?;
        self.check_freeze(&order.application, emergency)?;
        // The interface fills in moments where the caller left them out; they
        // do not make a repeated call another one.
        let mut sent = order.clone();
        sent.batches.iter_mut().for_each(|batch| batch.started_at = Timestamp::default());
        sent.started_at = Timestamp::default();
        let digest = digest("begin", &order.key().to_string(), &(&sent, emergency));
        let order = with_groups(order, &self.settings())?;
        let integrated = match self.application_for(&order) {
            Ok(integrated) => integrated,
            Err(missing) => self.ask_servers(&order, missing).await?,
        };
        let mut warnings: Vec<String> =
            self.unseen(&order.application, &instances_of(&order)).into_iter().collect();
        let key = order.key();
        let what = if emergency { "began it as an emergency" } else { "began it" };
        let input = Input::Begin(Box::new(order));
        let application = key.application.clone();
        let done =
            self.change(caller, &application, Some(key.clone()), input, what.to_owned(), digest).await?;
        if let Some(live) = self.live(&key) {
            warnings.extend(unmatched(&live.order));
        }
        Ok(Begun {
            release: key,
            created: done.changed,
            phase: done.phase.unwrap_or(Phase::Watching),
            integrated,
            warnings,
        })
    }

    async fn batch(&self, caller: Caller, release: ReleaseKey, batch: Batch) -> Result<Taken, GuardianError> {
        check_batch("", &batch, &mut BTreeSet::new())?;
        if batch.instances.len() > INSTANCES_MAX {
            return Err(invalid("/instances", format!("more than {INSTANCES_MAX} machines")));
        }
        let digest = digest("batch", &release.to_string(), &(&batch.instances, batch.weight));
        let what = format!("began a batch of {}", counted_machines(batch.instances.len()));
        let application = release.application.clone();
        let unseen = self.unseen(&application, &batch.instances);
        let done =
            self.change(caller, &application, Some(release), Input::Batch(batch), what, digest).await?;
        Ok(Taken { warnings: unseen.into_iter().collect(), ..taken(done) })
    }

    async fn finish(&self, caller: Caller, release: ReleaseKey) -> Result<Taken, GuardianError> {
        self.simple(caller, release, Input::Finish, "said that the rollout is complete").await
    }

    async fn cancel(&self, caller: Caller, release: ReleaseKey) -> Result<Taken, GuardianError> {
        self.simple(caller, release, Input::Cancel, "said that the rollout was given up").await
    }

    async fn operate(
        &self,
        caller: Caller,
        release: ReleaseKey,
        order: OperatorOrder,
    ) -> Result<Taken, GuardianError> {
        let what = match order {
            OperatorOrder::Hold => "ordered to hold it",
            OperatorOrder::Resume => "ordered to resume it",
            OperatorOrder::Rollback => "ordered to roll it back",
            OperatorOrder::HandBack => "handed it back to the guardian",
        };
        let halt = self.halt.borrow().clone();
        if halt.on && order == OperatorOrder::Rollback {
            return Err(GuardianError::Halted {
                since: halt.since.unwrap_or_default(),
                by: halt.by.unwrap_or_default(),
                reason: halt.reason.unwrap_or_default(),
            });
        }
        let input = Input::Operator { who: caller.who.clone(), order };
        self.simple(caller, release, input, what).await
    }

    async fn feedback(
        &self,
        caller: Caller,
        release: ReleaseKey,
        word: Word,
    ) -> Result<Taken, GuardianError> {
        self.check_running()?;
        let shared = &self.means.shared;
        let now = shared.now();
        if word.comment.as_ref().is_some_and(|c| c.chars().count() > COMMENT_CHARS_MAX) {
            return Err(invalid("/comment", format!("it is longer than {COMMENT_CHARS_MAX} characters")));
        }
        let stored = self.stored_release(&release).await?;
        if let Some(onset) = word.onset {
            check_onset(onset, &stored.order, now, shared.before())?;
        }
        let digest = digest("feedback", &release.to_string(), &(word.kind, word.onset, &word.comment));
        let mut answer = Taken {
            phase: Some(stored.phase),
            changed: true,
            text: "stored; the newest word counts".to_owned(),
            warnings: Vec::new(),
        };
        let key = caller.idempotency_key.as_ref().map(|key| format!("{}\n{key}", caller.who));
        if let Some(key) = &key
            && let Some(kept) = shared.stored("answer", shared.store.answer(key)).await?
        {
            if kept.digest != digest {
                let reason = "the idempotency key was used for another request; use a new key".to_owned();
                return Err(GuardianError::Conflict { reason });
            }
            answer.changed = false;
            return Ok(answer);
        }
        let feedback = Feedback {
            release: release.clone(),
            kind: word.kind,
            onset: word.onset,
            comment: word.comment,
            by: caller.who,
            at: now,
        };
        let kept = key.map(|key| KeptAnswer {
            key,
            digest,
            answer: serde_json::to_string(&answer).unwrap_or_default(),
        });
        shared.stored("add_feedback", shared.store.add_feedback(&feedback, kept)).await?;
        self.means.recorder.label(release.clone());
        shared.publish(&release, EventKind::Feedback { feedback: Box::new(feedback) });
        self.refresh_quality().await;
        Ok(answer)
    }

    async fn alert(
        &self,
        caller: Caller,
        application: ApplicationName,
        alert: Alert,
    ) -> Result<Taken, GuardianError> {
        let watched = self
            .view(&application)
            .ok_or_else(|| GuardianError::NotFound { what: format!("application {application}") })?;
        if watched.release.is_none() {
            let text = "no release of the application is watched; the alert is dropped".to_owned();
            return Ok(Taken { phase: None, changed: false, text, warnings: Vec::new() });
        }
        let what = format!("reported alert {}", alert.name);
        let digest = digest("alert", application.as_str(), &alert);
        self.change(caller, &application, None, Input::Alert(alert), what, digest).await.map(taken)
    }

    fn named_by(&self, labels: &BTreeMap<String, String>) -> Vec<ApplicationName> {
        self.applications_of_alert(labels)
    }

    async fn releases(&self, filter: ReleaseFilter) -> Result<ReleasePage, GuardianError> {
        let shared = &self.means.shared;
        let stored = shared.stored("releases", shared.store.releases(&filter)).await?;
        let limit = filter.limit.unwrap_or(100).clamp(1, 500) as usize;
        let next_before =
            (stored.len() >= limit).then(|| stored.last().map(|r| r.order.started_at)).flatten();
        let releases = stored
            .iter()
            .map(|release| {
                let mut line = summary(release);
                if let Some(live) = self.live(&release.key()) {
                    line.outcome = live.verdict.as_ref().map(|v| v.outcome);
                    line.probability = live.verdict.as_ref().map(|v| v.probability);
                }
                line
            })
            .collect();
        Ok(ReleasePage { releases, next_before })
    }

    async fn release(&self, release: ReleaseKey) -> Result<ReleaseDetail, GuardianError> {
        let stored = self.stored_release(&release).await?;
        let shared = &self.means.shared;
        let store = &shared.store;
        let mut evidence = stored.evidence.clone();
        if self.live(&release).is_some() {
            let calls = read(&self.running).get(&release.application).map(|r| r.calls.clone());
            let (reply, charts) = oneshot::channel();
            // A page without charts is better than no page.
            if calls.is_some_and(|calls| calls.try_send(Call::Charts(reply)).is_ok())
                && let Ok(Ok(charts)) = tokio::time::timeout(std::time::Duration::from_secs(2), charts).await
            {
                evidence = charts;
            }
        }
        Ok(ReleaseDetail {
            summary: summary(&stored),
            decisions: shared.stored("decisions", store.decisions(&release)).await?,
            commands: shared.stored("commands", store.commands(&release)).await?,
            feedback: shared.stored("feedback", store.feedback(&release)).await?,
            audit: shared.stored("audit", store.audit(Some(&release))).await?,
            evidence,
            verdict: stored.verdict,
            recording: stored.recording.filter(|folder| !folder.is_empty()),
            order: stored.order,
        })
    }

    async fn gate(&self, release: ReleaseKey) -> Result<Gate, GuardianError> {
        let view = self.view(&release.application);
        if let Some(view) = view
            && let (Some(live), Some(facts)) = (view.release, view.facts)
            && live.order.id == release.id
        {
            return Ok(gate(&live, facts));
        }
        let stored = self.stored_release(&release).await?;
        let facts = GateFacts {
            looks: 0,
            looks_wanted: 1,
            passing_for: Duration::ZERO,
            pass_after: Duration::ZERO,
            blind: false,
            when_blind: WhenBlind::Hold,
            would: stored.gravest,
        };
        Ok(gate(&stored, facts))
    }

    async fn canary(&self, caller: Caller, call: CanaryCall) -> Result<Option<Gate>, GuardianError> {
        self.take_canary(caller, call).await
    }

    async fn quality(&self, application: Option<ApplicationName>) -> Result<Quality, GuardianError> {
        let shared = &self.means.shared;
        let rows = shared.stored("quality", shared.store.quality()).await?;
        Ok(quality(&rows, application.as_ref()))
    }

    async fn applications(&self) -> Result<Vec<ApplicationState>, GuardianError> {
        let mut states = self.application_states();
        for state in &mut states {
            state.warm_up = self.means.shared.warm_up(&state.name).await?;
        }
        Ok(states)
    }

    async fn halt(&self) -> Result<HaltState, GuardianError> {
        Ok(self.halt.borrow().clone())
    }

    async fn set_halt(&self, caller: Caller, on: bool, reason: String) -> Result<HaltState, GuardianError> {
        self.check_running()?;
        if reason.chars().count() > REASON_CHARS_MAX {
            return Err(invalid("/reason", format!("it is longer than {REASON_CHARS_MAX} characters")));
        }
        let shared = &self.means.shared;
        let state = HaltState {
            on,
            by: Some(caller.who.clone()),
            reason: Some(reason.clone()),
            since: Some(shared.now()),
        };
        let text = serde_json::to_string(&state).map_err(|e| invalid("/reason", e.to_string()))?;
        shared.stored("set_fact", shared.store.set_fact(HALT, &text)).await?;
        let word = if on { "halted all commands" } else { "allowed commands again" };
        self.write_audit(&caller, None, format!("{word}: {reason}")).await?;
        tracing::warn!(by = %caller.who, %reason, "{word}");
        shared.metrics.halted.set(i64::from(on));
        self.halt.send_replace(state.clone());
        Ok(state)
    }

    async fn audit(
        &self,
        caller: Caller,
        release: Option<ReleaseKey>,
        text: String,
    ) -> Result<(), GuardianError> {
        self.write_audit(&caller, release.as_ref(), text).await
    }

    async fn general_audit(&self) -> Result<Vec<AuditLine>, GuardianError> {
        let shared = &self.means.shared;
        Ok(shared.stored("audit", shared.store.audit(None)).await?)
    }

    fn subscribe(&self) -> broadcast::Receiver<Event> {
        self.means.shared.subscribe()
    }

    fn readiness(&self) -> Readiness {
        let mut readiness = self.means.shared.readiness();
        // The guardian goes on without its model: a trouble, and ready.
        readiness.troubles.extend(trouble(&self.settings().defaults.engine.judge.model));
        if let Err(error) = self.check_running() {
            readiness.ready = false;
            readiness.troubles.push(error.to_string());
        }
        readiness
    }

    fn metrics(&self) -> String {
        Metrics::text(&self.registry)
    }
}

/// So many machines, in words.
fn counted_machines(count: usize) -> String {
    format!("{count} {}", if count == 1 { "machine" } else { "machines" })
}

//! One application: its engine, its release, its samples. A task of its own,
//! so that a panic or a slow step of one application stops no other.
//!
//! Order of everything: what an input changed is stored in one transaction,
//! then commands are sent, then people and pages are told. If it cannot be
//! stored the engine's episode is put back, nothing is sent, and the next look
//! decides again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, mpsc, oneshot, watch};

use crate::adapters::guardian::{AuditLine, Caller, EvidenceSeries, GuardianError};
use crate::adapters::release_system::{CommandOrder, ReleaseSystem};
use crate::adapters::store::{KeptAnswer, Step, StoreError, StoredRelease};
use crate::domain::{ApplicationName, CommandId, InstanceId, ReleaseKey, ReleaseOrder, Scrape, Timestamp};
use crate::guard::EpisodeSnapshot;
use crate::guard::engine::{Effect, Engine, EngineSettings, Input, Phase, Refusal};
use crate::guard::{Command, Decision, Settlement};
use crate::signal::Inventory;

use crate::signal::DivideBy;

use super::courier::Couriers;
use super::gate::GateFacts;
use super::keeper::Keeper;
use super::moments;
use super::record;
use super::recorder::Recorder;
use super::repeated::{given_before, over, same_order};
use super::shared::Shared;

/// Calls that wait for an actor.
pub(super) const CALLS_MAX: usize = 256;
/// Scrapes that wait for an actor; more are shed, and said to be.
pub(super) const SCRAPES_MAX: usize = 4_096;
/// How often time passes for an engine.
const TICK: Duration = Duration::from_secs(1);
/// A clock that is set back by more than this is followed; less passes by itself.
const SET_BACK: Duration = Duration::from_secs(10);
/// How often charts are brought up to date while nothing is decided.
const CHARTS_EVERY: Duration = Duration::from_secs(60);

/// One application as the settings, or its targets, describe it.
#[derive(Clone)]
pub(super) struct ApplicationSpec {
    pub(super) name: ApplicationName,
    pub(super) engine: EngineSettings,
    pub(super) system: Option<Arc<dyn ReleaseSystem>>,
    pub(super) configured: bool,
}

/// What is asked of an actor.
pub(super) enum Call {
    /// Something that changes the release.
    Change(Box<Change>),
    /// A command ended.
    Settled {
        /// Which.
        command: CommandId,
        /// How.
        settlement: Settlement,
    },
    /// Other settings are in force.
    Reconfigure(Box<ApplicationSpec>),
    /// The charts as they are now.
    Charts(oneshot::Sender<Vec<EvidenceSeries>>),
    /// The daemon stops: what is in memory is stored.
    Stop(oneshot::Sender<()>),
}

/// Something that changes a release.
pub(super) struct Change {
    pub(super) caller: Caller,
    /// Which release; none for an alert, which is for whatever is watched.
    pub(super) release: Option<ReleaseKey>,
    pub(super) input: Input,
    /// As the audit says it.
    pub(super) what: String,
    /// Of the request, for its idempotency key.
    pub(super) digest: String,
    pub(super) reply: oneshot::Sender<Result<Done, GuardianError>>,
}

/// The answer to a change; stored under its idempotency key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Done {
    pub(super) phase: Option<Phase>,
    pub(super) changed: bool,
    pub(super) text: String,
}

/// What is seen of an actor without asking it.
#[derive(Clone, Default)]
pub(super) struct View {
    /// The release that is watched.
    pub(super) release: Option<Arc<StoredRelease>>,
    pub(super) facts: Option<GateFacts>,
    pub(super) instances: Vec<InstanceId>,
    pub(super) instances_up: u32,
    /// What is wrong with its instances.
    pub(super) troubles: Vec<String>,
    pub(super) inventory: Arc<Inventory>,
}

/// An actor's queues. They outlive an actor that panicked.
pub(super) struct Inbox {
    pub(super) calls: mpsc::Receiver<Call>,
    pub(super) scrapes: mpsc::Receiver<Scrape>,
}

/// What all actors are given.
#[derive(Clone)]
pub(super) struct Means {
    pub(super) shared: Arc<Shared>,
    pub(super) couriers: Arc<Couriers>,
    pub(super) recorder: Recorder,
}

pub(super) struct Actor {
    pub(super) spec: ApplicationSpec,
    pub(super) means: Means,
    pub(super) engine: Engine,
    /// The watched release as it was last stored.
    pub(super) release: Option<StoredRelease>,
    pub(super) keeper: Keeper,
    pub(super) charts: record::Charts,
    charts_at: Instant,
    /// The newest time that the engine was given.
    newest: Timestamp,
    view: watch::Sender<View>,
    shown: Shown,
    pub(super) calls: mpsc::Sender<Call>,
}

/// What is shown besides the release, as it was shown last.
#[derive(Clone, Default, PartialEq)]
struct Shown {
    instances: usize,
    instances_up: u32,
    troubles: Vec<String>,
    signals: usize,
    inventory: Arc<Inventory>,
}

/// Why an actor ended.
pub(super) enum End {
    /// It was told to.
    Stopped,
    /// The store failed while it began; it is to be begun again.
    Store(StoreError),
}

/// What a change carries besides its input.
#[derive(Default)]
struct Extra {
    audit: Option<AuditLine>,
    kept: Option<(String, String)>,
    settled: Option<(Command, Settlement)>,
    text: String,
}

impl Actor {
    /// Restores what is stored, then works until it is told to stop.
    pub(super) async fn run(
        spec: ApplicationSpec,
        means: Means,
        inbox: Arc<Mutex<Inbox>>,
        calls: mpsc::Sender<Call>,
        view: watch::Sender<View>,
    ) -> End {
        let mut inbox = inbox.lock().await;
        let mut actor = Self {
            engine: Engine::new(spec.engine.clone()),
            keeper: Keeper::new(spec.name.clone(), means.shared.clone()),
            spec,
            means,
            release: None,
            charts: record::Charts::default(),
            charts_at: Instant::now(),
            newest: Timestamp::from_millis(0),
            view,
            shown: Shown::default(),
            calls,
        };
        if let Err(error) = actor.restore().await {
            return End::Store(error);
        }
        actor.show();
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        loop {
            let Inbox { calls, scrapes } = &mut *inbox;
            // Calls before scrapes: a person's word does not wait behind data.
            tokio::select! {
                biased;
                Some(call) = calls.recv() => {
                    if let Call::Stop(done) = call {
                        actor.keeper.flush().await;
                        let _ = done.send(());
                        return End::Stopped;
                    }
                    actor.answer(call).await;
                }
                _ = tick.tick() => actor.tick().await,
                Some(scrape) = scrapes.recv() => actor.take(scrape).await,
                else => return End::Stopped,
            }
        }
    }

    async fn answer(&mut self, call: Call) {
        match call {
            Call::Change(change) => {
                let Change { caller, release, input, what, digest, reply } = *change;
                let result = self.change(caller, release, input, what, digest).await;
                // A caller that went away gets the same answer by its key.
                let _ = reply.send(result);
            }
            Call::Settled { command, settlement } => self.settled(command, settlement).await,
            Call::Reconfigure(spec) => {
                self.engine.reconfigure(spec.engine.clone());
                self.spec = *spec;
                // Signals may be muted, or named otherwise.
                self.shown = Shown::default();
                self.show();
            }
            Call::Charts(reply) => {
                self.refresh_charts();
                let _ = reply.send(self.charts.series());
            }
            Call::Stop(done) => {
                let _ = done.send(());
            }
        }
    }

    async fn tick(&mut self) {
        if self.engine.snapshot().is_some() && self.charts_at.elapsed() >= CHARTS_EVERY {
            self.refresh_charts();
        }
        self.attempt(Input::Tick).await;
        self.keeper.tick(self.engine.snapshot()).await;
        let (instances, instances_up) = self.keeper.instances();
        let signals = self.engine.window().catalogue().signals().count();
        let shown = (self.shown.instances, self.shown.instances_up, self.shown.signals);
        if shown != (instances.len(), instances_up, signals) || self.shown.troubles != self.keeper.troubles()
        {
            self.show();
        }
    }

    async fn take(&mut self, scrape: Scrape) {
        self.keeper.take(scrape.clone());
        self.attempt(Input::Scrape(scrape)).await;
    }

    /// An input that nobody waits for. A failure of the store was logged and
    /// counted, and the episode put back: the next look decides again.
    async fn attempt(&mut self, input: Input) {
        let _ = self.apply(input, Extra::default()).await;
    }

    async fn settled(&mut self, command: CommandId, settlement: Settlement) {
        self.refresh_charts();
        let outstanding = self.engine.snapshot().and_then(|s| s.outstanding.clone());
        record::count_settlement(
            &self.means.shared.metrics,
            &self.spec.name,
            outstanding.as_ref(),
            &settlement,
        );
        let ours = outstanding.filter(|c| c.id == command);
        loop {
            let result = if let Some(ours) = &ours {
                let extra = Extra { settled: Some((ours.clone(), settlement.clone())), ..Extra::default() };
                let input = Input::Settled { command: command.clone(), settlement: settlement.clone() };
                self.apply(input, extra).await.map(drop)
            } else {
                let store = &self.means.shared.store;
                let now = self.means.shared.now();
                let work = store.settle(&command, &settlement, now);
                self.means.shared.stored("settle", work).await.map_err(GuardianError::from)
            };
            if result.is_ok() {
                return;
            }
            // It is not known twice: wait for the store, the scrapes queue up.
            tokio::time::sleep(TICK).await;
        }
    }

    async fn change(
        &mut self,
        caller: Caller,
        release: Option<ReleaseKey>,
        input: Input,
        what: String,
        digest: String,
    ) -> Result<Done, GuardianError> {
        let kept = caller.idempotency_key.as_ref().map(|key| format!("{}\n{key}", caller.who));
        if let Some(key) = &kept {
            let work = self.means.shared.store.answer(key);
            if let Some(answer) = self.means.shared.stored("answer", work).await? {
                let done = given_before(&answer, &digest)?;
                if let (Some(key), Input::Begin(_)) = (&release, &input) {
                    self.check_not_over(key).await?;
                }
                return Ok(done);
            }
        }
        if let Some(key) = &release
            && let Some(done) = self.check_release(key, &input).await?
        {
            return Ok(done);
        }
        self.check_moments(&input)?;
        let text = what.clone();
        let audit = AuditLine { at: self.means.shared.now(), who: caller.who, text: what };
        let begins = matches!(input, Input::Begin(_));
        if let Input::Begin(order) = &input {
            self.tell_apart(order).await?;
            self.learn_warm_up(&order.key()).await?;
        }
        if matches!(input, Input::Cancel) {
            self.refresh_charts();
        }
        let extra = Extra { audit: Some(audit), kept: kept.map(|key| (key, digest)), settled: None, text };
        let done = self.apply(input, extra).await?;
        if begins {
            // What was seen before the release survives a kill from now on.
            self.keeper.flush().await;
        }
        Ok(done)
    }

    /// A release may order its groups by labels that were not looked at so
    /// far: what was seen is taken up again and divided by them.
    async fn tell_apart(&mut self, order: &ReleaseOrder) -> Result<(), GuardianError> {
        let Some(groups) = order.groups.as_ref().filter(|_| self.engine.snapshot().is_none()) else {
            return Ok(());
        };
        let by = DivideBy::from(groups);
        if *self.engine.divides_by() == by {
            return Ok(());
        }
        self.keeper.flush().await;
        self.engine.divide_by(by);
        Ok(self.refill().await?)
    }

    /// The clock of this machine was set back: what has been seen since then
    /// is not before what comes now.
    async fn set_back(&mut self, now: Timestamp) -> Result<(), GuardianError> {
        let seconds = self.newest.since(now).as_secs();
        tracing::warn!(application = %self.spec.name, "the clock was set back by {seconds} s; what was seen in them is judged no more");
        self.keeper.flush().await;
        self.engine.set_back(now);
        self.newest = now;
        Ok(self.refill().await?)
    }

    /// What the application's earlier good releases taught of its warm-up is
    /// for the release that begins.
    async fn learn_warm_up(&mut self, key: &ReleaseKey) -> Result<(), GuardianError> {
        if self.engine.snapshot().is_some() {
            return Ok(());
        }
        let shared = &self.means.shared;
        let warm_up = shared.warm_up(&self.spec.name).await?;
        tracing::info!(release = %key, "warm-up: {warm_up}");
        self.engine.take_warm_up(warm_up);
        Ok(())
    }

    /// Whether the release is the one that is watched, or may begin.
    async fn check_release(&self, key: &ReleaseKey, input: &Input) -> Result<Option<Done>, GuardianError> {
        let watched = self.engine.snapshot().is_some_and(|s| s.key() == *key);
        let work = self.means.shared.store.release(key);
        let stored = match (watched, input) {
            (true, Input::Begin(_)) | (false, _) => self.means.shared.stored("release", work).await?,
            (true, _) => return Ok(None),
        };
        match (input, stored) {
            (Input::Begin(_), Some(stored)) if stored.ended_at.is_some() => Err(over(key, stored.phase)),
            (Input::Begin(order), Some(stored)) if same_order(order, &stored.order) => Ok(Some(Done {
                phase: Some(stored.phase),
                changed: false,
                text: "this release was begun before; nothing was done again".to_owned(),
            })),
            (Input::Begin(_), Some(_)) => Err(GuardianError::Conflict {
                reason: format!(
                    "release {key} was begun with another order; give the new one an id of its own"
                ),
            }),
            (Input::Begin(_), None) => Ok(None),
            (_, Some(stored)) => Err(GuardianError::Conflict {
                reason: format!("the watch of release {key} is over: {}", record::word(&stored.phase)),
            }),
            (_, None) => Err(GuardianError::no_release(key)),
        }
    }

    /// A begin that is delivered again must not pass for one of a release that
    /// is watched.
    async fn check_not_over(&self, key: &ReleaseKey) -> Result<(), GuardianError> {
        let work = self.means.shared.store.release(key);
        match self.means.shared.stored("release", work).await? {
            Some(stored) if stored.ended_at.is_some() => Err(over(key, stored.phase)),
            Some(_) | None => Ok(()),
        }
    }

    /// Whether the moments of what is new can be meant; a repeated call was
    /// answered before.
    fn check_moments(&self, input: &Input) -> Result<(), GuardianError> {
        let (now, history) = (self.means.shared.now(), self.means.shared.before());
        match (input, self.engine.snapshot()) {
            (Input::Begin(order), _) => moments::check_begin(order, now, history),
            (Input::Batch(batch), Some(state)) => moments::check_batch(batch, &state.order, now, history),
            _ => Ok(()),
        }
    }

    /// Gives the engine an input, stores what it changed, carries it out.
    async fn apply(&mut self, input: Input, mut extra: Extra) -> Result<Done, GuardianError> {
        let begun = Instant::now();
        let now = self.means.shared.now();
        if self.newest.since(now) > SET_BACK {
            self.set_back(now).await?;
        }
        self.newest = now;
        let before = self.engine.snapshot().cloned();
        let end = ending(&input);
        let effects = self.engine.handle(now, input).map_err(refusal)?;
        let verdict = effects.iter().rev().find_map(|e| match e {
            Effect::Judged(verdict) => Some(verdict.as_ref()),
            _ => None,
        });
        if let (Some(verdict), Some(before)) = (verdict, &before) {
            record::judged(&self.means.shared, &before.key(), verdict, self.spec.engine.interval);
            self.charts.note(verdict);
        }
        let ended = effects.iter().any(|e| matches!(e, Effect::Ended));
        let after = self.engine.snapshot().cloned();
        // Somebody may say what stands so already: that is no news for the audit.
        let changed = extra.audit.is_none() || before != after;
        let text =
            if changed { extra.text.clone() } else { "it stands so already: nothing changed".to_owned() };
        let mut done = Done { phase: after.as_ref().map(|s| s.phase), changed, text };
        if !changed {
            extra.audit = None;
        }
        let lasting = effects.iter().any(|e| !matches!(e, Effect::Judged(_)));
        let must = lasting || extra.audit.is_some() || extra.settled.is_some() || extra.kept.is_some();
        let state = after.as_ref().or(before.as_ref());
        let (Some(state), true) = (state, must) else {
            self.show_verdict(verdict.cloned());
            return Ok(done);
        };
        let decided: Vec<&Decision> = effects.iter().filter_map(decision_of).collect();
        if !decided.is_empty() {
            self.charts.note_decisions(&decided);
        }
        let mut release = record::row(self.release.as_ref(), state, &self.spec, &decided, verdict);
        if let Some((_, Settlement::Confirmed { .. })) = &extra.settled {
            record::note_rollback(&mut release, before.as_ref());
        }
        if ended {
            release.phase = end;
            release.ended_at = Some(now);
            release.snapshot = None;
            release.order.finished_at.get_or_insert(now);
            release.warm_up_lesson = record::lesson(state, &effects);
            release.evidence = self.charts.series();
            done.phase = Some(end);
        }
        let step = self.step(release, now, &effects, &extra, &done, before.is_none());
        let phase_before = self.release.as_ref().map(|r| r.phase);
        let work = self.means.shared.store.record(step.clone());
        if let Err(error) = self.means.shared.stored("record", work).await {
            self.put_back(before);
            return Err(match error.is_used_key() {
                true => GuardianError::Conflict {
                    reason: "the idempotency key was used for another request".to_owned(),
                },
                false => error.into(),
            });
        }
        self.carry_out(step, phase_before, ended, begun).await;
        Ok(done)
    }

    fn step(
        &self,
        release: StoredRelease,
        now: crate::domain::Timestamp,
        effects: &[Effect],
        extra: &Extra,
        done: &Done,
        is_new: bool,
    ) -> Step {
        let mut step = Step {
            release,
            at: now,
            decisions: Vec::new(),
            commands: Vec::new(),
            settled: extra.settled.as_ref().map(|(command, how)| (command.id.clone(), how.clone())),
            notices: Vec::new(),
            audit: extra.audit.iter().cloned().collect(),
            answer: None,
        };
        for effect in effects {
            match effect {
                Effect::Decided(decision) => {
                    step.audit.extend(record::audit_of(decision));
                    step.decisions.push(decision.as_ref().clone());
                }
                Effect::Send(command) => {
                    step.audit.push(record::order_line(command));
                    step.commands.push(command.clone());
                }
                Effect::Notify(notice) => step.notices.push(notice.clone()),
                Effect::Judged(_) | Effect::Changed | Effect::WarmUpSeen(_) | Effect::Ended => {}
            }
        }
        if let Some((command, settlement)) = &extra.settled {
            step.audit.push(record::settlement_line(now, command, settlement));
        }
        if is_new {
            step.notices.insert(0, record::begin_notice(&step.release, now));
        }
        step.answer = extra.kept.as_ref().and_then(|(key, digest)| {
            let answer = serde_json::to_string(done).ok()?;
            Some(KeptAnswer { key: key.clone(), digest: digest.clone(), answer })
        });
        step
    }

    /// The store did not take it: as if the input had not been.
    fn put_back(&mut self, before: Option<EpisodeSnapshot>) {
        match before {
            Some(state) => self.engine.restore(state),
            None if self.engine.snapshot().is_some() => {
                // A release that was not stored was never begun.
                let _ = self.engine.handle(self.means.shared.now(), Input::Cancel);
            }
            None => {}
        }
    }

    async fn carry_out(&mut self, step: Step, phase_before: Option<Phase>, ended: bool, begun: Instant) {
        let shared = self.means.shared.clone();
        let key = step.release.key();
        for command in &step.commands {
            let decision = step.decisions.iter().find(|d| d.sequence == command.decision_sequence).cloned();
            self.send(command.clone(), decision, &step.release, Some(begun));
        }
        record::publish(&shared, &key, &step, phase_before);
        self.release = (!ended).then_some(step.release);
        if ended {
            self.charts = record::Charts::default();
            self.keeper.flush().await;
            self.means.recorder.save(key);
        }
        self.show();
    }

    /// Gives a stored command to the couriers. `caused_at` is when the input
    /// came that led to it, if that was just now.
    pub(super) fn send(
        &self,
        command: Command,
        decision: Option<Decision>,
        release: &StoredRelease,
        caused_at: Option<Instant>,
    ) {
        let word = command.kind.word();
        let order = CommandOrder {
            url: self.means.shared.url(&command.release),
            command,
            version: release.order.version.clone(),
            previous_version: release.order.previous_version.clone(),
            decision,
        };
        if let Some(replaced) =
            self.means.couriers.send(order, self.spec.system.clone(), self.calls.clone(), caused_at)
        {
            let settlement = Settlement::Refused { reason: format!("replaced by a later command: {word}") };
            // A full queue loses only this note; a restart settles it as well.
            let _ = self.calls.try_send(Call::Settled { command: replaced, settlement });
        }
    }

    fn refresh_charts(&mut self) {
        self.charts_at = Instant::now();
        if let Some(state) = self.engine.snapshot() {
            let from = state.order.started_at - self.means.shared.before().min(self.spec.engine.history);
            self.charts.refresh(&self.engine, from, self.means.shared.now());
        }
    }

    fn show_verdict(&mut self, verdict: Option<crate::judge::Verdict>) {
        if let (Some(release), Some(verdict)) = (&mut self.release, verdict) {
            release.verdict = Some(verdict);
            self.show();
        }
    }

    pub(super) fn show(&mut self) {
        let policy = &self.spec.engine.policy;
        let facts = self.engine.snapshot().map(|state| GateFacts {
            looks: state.passing_looks,
            looks_wanted: policy.checks.max(1),
            passing_for: state.passing_for(),
            pass_after: policy.pass_after,
            blind: state.blind_told,
            when_blind: policy.when_blind,
            would: state.gravest,
        });
        let (instances, instances_up) = self.keeper.instances();
        let release = self.release.clone().map(Arc::new);
        let catalogue = self.engine.window().catalogue();
        let signals = catalogue.signals().count();
        if signals != self.shown.signals {
            self.shown.inventory = Arc::new(Inventory::of(catalogue));
        }
        let inventory = self.shown.inventory.clone();
        let troubles = self.keeper.troubles();
        self.shown = Shown {
            instances: instances.len(),
            instances_up,
            troubles: troubles.clone(),
            signals,
            inventory: inventory.clone(),
        };
        self.view.send_replace(View { release, facts, instances, instances_up, troubles, inventory });
    }
}

fn decision_of(effect: &Effect) -> Option<&Decision> {
    match effect {
        Effect::Decided(decision) => Some(decision),
        Effect::Send(_)
        | Effect::Notify(_)
        | Effect::Judged(_)
        | Effect::Changed
        | Effect::WarmUpSeen(_)
        | Effect::Ended => None,
    }
}

/// Where the release stands if this input ends its watch.
fn ending(input: &Input) -> Phase {
    match input {
        Input::Cancel => Phase::Cancelled,
        Input::Settled { .. } => Phase::RolledBack,
        Input::Begin(_)
        | Input::Batch(_)
        | Input::Finish
        | Input::Conclude
        | Input::Scrape(_)
        | Input::Alert(_)
        | Input::Operator { .. }
        | Input::Tick => Phase::Finished,
    }
}

fn refusal(refusal: Refusal) -> GuardianError {
    match refusal {
        Refusal::Busy { .. } | Refusal::Complete { .. } => {
            GuardianError::Conflict { reason: refusal.to_string() }
        }
        Refusal::NotWatching => GuardianError::NotFound { what: "a watched release".to_owned() },
        Refusal::Invalid(problem) => GuardianError::Invalid { field: "release".to_owned(), problem },
    }
}

//! The state machine of one release: what policy makes of verdicts over time,
//! of settled commands and of operators' words.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::domain::{Alert, Batch, CommandId, Group, InstanceId, ReleaseKey, ReleaseOrder, Timestamp};
use crate::judge::{Finding, Outcome, Verdict, WarmUp};
use crate::signal::Groups;

use super::engine::{Effect, Notice, NoticeKind, OperatorOrder, Phase, Refusal};
use super::policy::{Policy, WhenBlind};
use super::{Action, Command, CommandKind, Decider, Decision, Mode, Settlement};

/// Most pieces of advice in one release: people stop reading after that.
const ADVICE_MAX: u32 = 5;

/// Most findings and blind spots kept in a decision.
const REASONS_MAX: usize = 8;

/// How a command is said to be done when the state was read back, and when
/// the release system's answer is all there is.
const CONFIRMED: &str = "which the release system confirms: its state was read back";
const TAKEN: &str = "as far as is known: the command was taken, its effect cannot be read back";

/// Who decides about the release now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Control {
    /// The guardian.
    Guardian,
    /// A person, until they hand back.
    Operator(String),
}

/// Everything about a watched release that must survive a restart.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EpisodeSnapshot {
    /// The order, with the batches that began since.
    pub order: ReleaseOrder,
    /// Who belongs to which group.
    pub groups: Groups,
    /// Where it stands.
    pub phase: Phase,
    /// Who decides.
    pub control: Control,
    /// Batches that have begun.
    pub batches_begun: usize,
    /// Outcomes of the newest looks.
    pub outcomes: VecDeque<Outcome>,
    /// Looks in a row, up to the newest, in which the newest batch could be
    /// judged and nothing was failing; from the newest batch or resume on.
    #[serde(default)]
    pub passing_looks: u32,
    /// When the first of them was; of no meaning while there is none.
    #[serde(default)]
    pub passing_since: Option<Timestamp>,
    /// Decisions so far.
    pub decisions: u32,
    /// The gravest action so far, counting what would have been done.
    pub gravest: Action,
    /// Since when it stands paused.
    pub paused_at: Option<Timestamp>,
    /// Nothing is stopped again before this.
    pub cool_until: Option<Timestamp>,
    /// When the rollout was complete.
    pub finished_at: Option<Timestamp>,
    /// When it could last be judged.
    pub judged_at: Timestamp,
    /// Whether people were told that nothing can be judged.
    pub blind_told: bool,
    /// The command that has not settled.
    pub outstanding: Option<Command>,
    /// The newest command, if it was done.
    #[serde(default)]
    pub done: Option<CommandKind>,
    /// Signals that people were advised of.
    pub advised: BTreeSet<String>,
    /// Pieces of advice so far.
    pub advice: u32,
    /// Alerts from outside.
    pub alerts: Vec<Alert>,
    /// How long young processes may move signals that warm, as it was known
    /// when the release began.
    #[serde(default)]
    pub warm_up: WarmUp,
    /// When an earlier release ended that was stopped: what its fault did is
    /// nothing that the application usually does.
    #[serde(default)]
    pub history_from: Option<Timestamp>,
}

impl EpisodeSnapshot {
    /// A release that begins now.
    pub fn begin(order: ReleaseOrder, now: Timestamp) -> Self {
        let mut groups = Groups::default();
        groups.add_reference(order.batches.iter().flat_map(|b| b.instances.iter().cloned()));
        groups.add_reference(order.reference.iter().cloned());
        Self {
            alerts: order.alerts.clone(),
            order,
            groups,
            phase: Phase::Watching,
            control: Control::Guardian,
            batches_begun: 0,
            outcomes: VecDeque::new(),
            passing_looks: 0,
            passing_since: None,
            decisions: 0,
            gravest: Action::Proceed,
            paused_at: None,
            cool_until: None,
            finished_at: None,
            judged_at: now,
            blind_told: false,
            outstanding: None,
            done: None,
            advised: BTreeSet::new(),
            advice: 0,
            warm_up: WarmUp::default(),
            history_from: None,
        }
    }

    /// The release's key.
    pub fn key(&self) -> ReleaseKey {
        self.order.key()
    }

    /// When the first batch began, if one did.
    pub fn first_release(&self) -> Option<Timestamp> {
        self.groups.members.iter().filter_map(|m| m.released_at).min()
    }

    /// From the first to the newest of the passing looks.
    pub fn passing_for(&self) -> Duration {
        match self.passing_since {
            Some(since) if self.passing_looks > 0 => self.judged_at.since(since),
            Some(_) | None => Duration::ZERO,
        }
    }

    /// Lets the ordered batches begin whose time has come; true if one did.
    pub fn begin_due_batches(&mut self, now: Timestamp) -> bool {
        let due: Vec<Batch> = self
            .order
            .batches
            .iter()
            .skip(self.batches_begun)
            .take_while(|b| b.started_at <= now)
            .cloned()
            .collect();
        for batch in &due {
            self.groups.release(batch);
        }
        self.batches_begun += due.len();
        if !due.is_empty() {
            self.passing_looks = 0;
        }
        !due.is_empty()
    }

    /// The clock was set back to `now`: nothing has happened after it.
    pub fn set_back(&mut self, now: Timestamp) {
        self.judged_at = self.judged_at.min(now);
        for moment in
            [&mut self.paused_at, &mut self.finished_at, &mut self.cool_until, &mut self.passing_since]
        {
            *moment = moment.map(|at| at.min(now));
        }
    }

    /// Adds a batch that was not in the order, or begins one that was; of
    /// machines that are released already nothing changes. False if that is so
    /// of all of them.
    ///
    /// # Errors
    /// If the watch is over, the rollout complete, or the batch has no machines.
    pub fn add_batch(&mut self, mut batch: Batch) -> Result<bool, Refusal> {
        if batch.instances.is_empty() {
            return Err(Refusal::Invalid("a batch needs at least one instance".to_owned()));
        }
        if self.phase.is_final() {
            return Err(Refusal::NotWatching);
        }
        let known = self
            .order
            .batches
            .iter()
            .any(|b| b.instances == batch.instances && b.started_at == batch.started_at);
        let released: BTreeSet<&InstanceId> = self.groups.of(Group::Release).map(|m| &m.instance).collect();
        batch.instances.retain(|instance| !released.contains(instance));
        if known || batch.instances.is_empty() {
            return Ok(false);
        }
        if let Some(at) = self.finished_at {
            return Err(Refusal::Complete { at });
        }
        // A planned batch that begins at another time than planned.
        if let Some(planned) =
            self.order.batches.iter_mut().skip(self.batches_begun).find(|b| b.instances == batch.instances)
        {
            planned.started_at = batch.started_at;
            planned.weight = batch.weight.or(planned.weight);
        } else {
            self.groups.add_reference(batch.instances.iter().cloned());
            self.order.batches.push(batch);
        }
        let begun = self.batches_begun;
        self.order.batches[begun..].sort_by_key(|b| b.started_at);
        Ok(true)
    }

    /// What policy makes of a verdict. `newest_is_judged`: whether it says
    /// anything of the newest batch.
    pub fn decide(
        &mut self,
        policy: &Policy,
        verdict: &Verdict,
        newest_is_judged: bool,
        now: Timestamp,
    ) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.outcomes.push_back(verdict.outcome);
        while self.outcomes.len() > policy.checks.max(1) as usize {
            self.outcomes.pop_front();
        }
        match verdict.outcome {
            Outcome::Healthy | Outcome::Suspect | Outcome::Failing => {
                self.judged_at = now;
                self.blind_told = false;
            }
            Outcome::Unknown => self.decide_blind(policy, verdict, now, &mut effects),
        }
        self.passing_looks = match verdict.outcome {
            Outcome::Healthy | Outcome::Suspect if newest_is_judged => self.passing_looks.saturating_add(1),
            Outcome::Healthy | Outcome::Suspect | Outcome::Failing | Outcome::Unknown => 0,
        };
        if self.passing_looks == 1 {
            self.passing_since = Some(now);
        }
        let failing = self.outcomes.iter().filter(|o| **o == Outcome::Failing).count();
        let confirmed =
            failing >= policy.confirm_checks.max(1) as usize && verdict.outcome == Outcome::Failing;
        let of = self.outcomes.len();
        match self.phase {
            Phase::Watching | Phase::Soaking if confirmed => {
                let because = format!("failing in {failing} of the last {of} checks");
                self.stop(policy, Action::Pause, verdict, because, now, &mut effects);
            }
            Phase::Paused if confirmed => self.escalate(policy, verdict, failing, of, now, &mut effects),
            Phase::Watching | Phase::Soaking => self.advise(policy, verdict, now, &mut effects),
            Phase::Paused
            | Phase::Pausing
            | Phase::RollingBack
            | Phase::RolledBack
            | Phase::Finished
            | Phase::Cancelled => {}
        }
        effects
    }

    fn escalate(
        &mut self,
        policy: &Policy,
        verdict: &Verdict,
        failing: usize,
        of: usize,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        let Some(paused_at) = self.paused_at else { return };
        if !policy.may_roll_back || now.since(paused_at) < policy.rollback_after {
            return;
        }
        let because = format!(
            "still failing {} s after the pause, in {failing} of the last {of} checks",
            now.since(paused_at).as_secs()
        );
        self.stop(policy, Action::Rollback, verdict, because, now, effects);
    }

    /// Decides to stop the release, as far as mode and control allow.
    fn stop(
        &mut self,
        policy: &Policy,
        would: Action,
        verdict: &Verdict,
        because: String,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        if self.cool_until.is_some_and(|until| now < until) || self.outstanding.is_some() {
            return;
        }
        let (action, because) = match (policy.mode, &self.control) {
            (Mode::Enforce, Control::Guardian) => (would, because),
            (Mode::Enforce, Control::Operator(who)) => {
                (Action::Advise, format!("{because}; {who} decides until they hand back"))
            }
            (Mode::Advise, _) => {
                (Action::Advise, format!("{because}; the mode is advise, so nothing is sent"))
            }
            (Mode::Observe, _) => {
                (Action::Proceed, format!("{because}; the mode is observe, so nobody is told"))
            }
        };
        let acts = action == would;
        if !acts && self.gravest >= would {
            return;
        }
        self.gravest = self.gravest.max(would);
        let text =
            format!("{} of {}: {because}. {}", would.word(), self.key(), first_reason(&verdict.findings));
        let decision = self.decision(action, would, Decider::Guardian, Some(verdict), because, now);
        let sequence = decision.sequence;
        effects.push(Effect::Decided(Box::new(decision)));
        match (acts, would) {
            (true, Action::Pause) => self.order_command(policy, CommandKind::Pause, sequence, now, effects),
            (true, Action::Rollback) => {
                self.order_command(policy, CommandKind::Rollback, sequence, now, effects)
            }
            (true, Action::Proceed | Action::Advise) | (false, _) => {}
        }
        let kind = match (acts, would) {
            (true, Action::Rollback) => NoticeKind::RollingBack,
            (true, Action::Pause) => NoticeKind::Pausing,
            (true, Action::Proceed | Action::Advise) | (false, _) => NoticeKind::Advice,
        };
        if action != Action::Proceed {
            effects.push(Effect::Notify(Notice { at: now, kind, text }));
        }
        // Without a pause there is nothing that could be escalated; what would
        // have been done is followed all the same.
        if !acts && would == Action::Pause && policy.mode != Mode::Enforce {
            self.paused_at.get_or_insert(now);
        }
        effects.push(Effect::Changed);
    }

    fn advise(&mut self, policy: &Policy, verdict: &Verdict, now: Timestamp, effects: &mut Vec<Effect>) {
        let lasting = self.outcomes.len() >= policy.checks as usize
            && self.outcomes.iter().all(|o| *o >= Outcome::Suspect);
        let strongest = verdict.findings.iter().find(|f| !f.on_trial && f.outcome >= Outcome::Suspect);
        let (Some(strongest), true) = (strongest, lasting) else { return };
        // What fails is stopped at the next look, or is suspect again: advice just
        // before a pause would only contradict it.
        if verdict.outcome == Outcome::Failing {
            return;
        }
        let worth = verdict.probability >= 0.2;
        if !worth
            || self.advice >= ADVICE_MAX
            || policy.mode == Mode::Observe
            || !self.advised.insert(strongest.signal.clone())
        {
            return;
        }
        self.advice += 1;
        self.gravest = self.gravest.max(Action::Advise);
        let text = format!("{}: {}", self.key(), strongest.because);
        let because = "suspicious, and not enough to act".to_owned();
        let decision =
            self.decision(Action::Advise, Action::Advise, Decider::Guardian, Some(verdict), because, now);
        effects.push(Effect::Decided(Box::new(decision)));
        effects.push(Effect::Notify(Notice { at: now, kind: NoticeKind::Advice, text }));
        effects.push(Effect::Changed);
    }

    fn decide_blind(
        &mut self,
        policy: &Policy,
        verdict: &Verdict,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        // Batches are still to come, but labels that nobody has may be wrong.
        let nothing_released = self.order.groups.is_none() && self.groups.of(Group::Release).next().is_none();
        if nothing_released
            || self.phase.is_final()
            || self.blind_told
            || now.since(self.judged_at) < policy.blind_after
        {
            return;
        }
        self.blind_told = true;
        let choice = match policy.when_blind {
            WhenBlind::Hold => "gates answer inconclusive until it can be judged",
            WhenBlind::Pause => "the policy is to pause it",
            WhenBlind::Proceed => "the release goes on unjudged",
        };
        let why = verdict.blind.first().map_or_else(|| "no data".to_owned(), ToString::to_string);
        let text = format!(
            "{} could not be judged for {} s ({why}); {choice}",
            self.key(),
            now.since(self.judged_at).as_secs()
        );
        effects.push(Effect::Notify(Notice { at: now, kind: NoticeKind::Blind, text: text.clone() }));
        let watching = matches!(self.phase, Phase::Watching | Phase::Soaking);
        if policy.when_blind == WhenBlind::Pause && watching {
            self.stop(policy, Action::Pause, verdict, text, now, effects);
        }
        effects.push(Effect::Changed);
    }

    fn decision(
        &mut self,
        action: Action,
        would: Action,
        by: Decider,
        verdict: Option<&Verdict>,
        because: String,
        now: Timestamp,
    ) -> Decision {
        self.decisions += 1;
        let counted = |f: &&Finding| !f.on_trial;
        Decision {
            release: self.key(),
            sequence: self.decisions,
            at: now,
            action,
            would,
            by,
            probability: verdict.map_or(0.0, |v| v.probability),
            reasons: verdict.map_or(Vec::new(), |v| {
                v.findings.iter().filter(counted).take(REASONS_MAX).cloned().collect()
            }),
            blind: verdict
                .map_or(Vec::new(), |v| v.blind.iter().take(REASONS_MAX).map(ToString::to_string).collect()),
            similar: verdict.map_or(Vec::new(), |v| v.similar.clone()),
            because,
        }
    }

    fn order_command(
        &mut self,
        policy: &Policy,
        kind: CommandKind,
        decision_sequence: u32,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        let command = Command {
            id: command_id(&self.key(), decision_sequence, kind),
            release: self.key(),
            kind,
            decision_sequence,
            ordered_at: now,
            deadline: now + policy.command_deadline,
        };
        self.phase = match kind {
            CommandKind::Pause => Phase::Pausing,
            CommandKind::Rollback => Phase::RollingBack,
            CommandKind::Resume => self.phase,
        };
        self.outstanding = Some(command.clone());
        effects.push(Effect::Send(command));
    }

    /// Whether what a command would bring about is so, or is under way.
    fn stands(&self, kind: CommandKind) -> bool {
        if let Some(outstanding) = &self.outstanding {
            return outstanding.kind == kind;
        }
        match kind {
            CommandKind::Pause => self.phase == Phase::Paused,
            CommandKind::Resume => self.done == Some(CommandKind::Resume),
            // It ends the watch.
            CommandKind::Rollback => false,
        }
    }

    /// What an operator decides instead. Nothing if it stands so already: a
    /// word that is said twice is one.
    ///
    /// # Errors
    /// If the watch is over.
    pub fn operator(
        &mut self,
        policy: &Policy,
        who: &str,
        order: OperatorOrder,
        now: Timestamp,
    ) -> Result<Vec<Effect>, Refusal> {
        if self.phase.is_final() {
            return Err(Refusal::NotWatching);
        }
        let mut effects = Vec::new();
        let (kind, action, because) = match order {
            OperatorOrder::Hold => {
                (Some(CommandKind::Pause), Action::Pause, "an operator ordered to hold it")
            }
            OperatorOrder::Resume => {
                (Some(CommandKind::Resume), Action::Proceed, "an operator ordered to resume it")
            }
            OperatorOrder::Rollback => {
                (Some(CommandKind::Rollback), Action::Rollback, "an operator ordered to roll it back")
            }
            OperatorOrder::HandBack => (None, Action::Proceed, "an operator handed it back to the guardian"),
        };
        let kind = kind.filter(|kind| !self.stands(*kind));
        let hands_back = order == OperatorOrder::HandBack;
        if kind.is_none() && hands_back == (self.control == Control::Guardian) {
            return Ok(Vec::new());
        }
        self.control = match order {
            OperatorOrder::Hold | OperatorOrder::Resume | OperatorOrder::Rollback => {
                Control::Operator(who.to_owned())
            }
            OperatorOrder::HandBack => {
                self.cool_until = Some(now + policy.cool_down);
                self.outcomes.clear();
                self.passing_looks = 0;
                Control::Guardian
            }
        };
        let decision =
            self.decision(action, action, Decider::Operator(who.to_owned()), None, because.to_owned(), now);
        let sequence = decision.sequence;
        effects.push(Effect::Decided(Box::new(decision)));
        if let Some(kind) = kind {
            // An operator's word replaces whatever was under way.
            self.outstanding = None;
            self.order_command(policy, kind, sequence, now, &mut effects);
        }
        effects.push(Effect::Notify(Notice {
            at: now,
            kind: NoticeKind::Course,
            text: format!("{}: {because}: {who}", self.key()),
        }));
        effects.push(Effect::Changed);
        Ok(effects)
    }

    /// How a command ended.
    pub fn settled(
        &mut self,
        policy: &Policy,
        command: &CommandId,
        settlement: &Settlement,
        now: Timestamp,
    ) -> Vec<Effect> {
        let Some(outstanding) = self.outstanding.take_if(|c| c.id == *command) else { return Vec::new() };
        let mut effects = Vec::new();
        self.done = matches!(settlement, Settlement::Confirmed { .. }).then_some(outstanding.kind);
        match settlement {
            Settlement::Confirmed { read_back } => match outstanding.kind {
                CommandKind::Pause => {
                    self.phase = Phase::Paused;
                    self.paused_at = Some(now);
                    effects.push(self.done(outstanding.kind, *read_back, now));
                }
                CommandKind::Resume => {
                    effects.push(self.done(outstanding.kind, *read_back, now));
                    self.phase = if self.finished_at.is_some() { Phase::Soaking } else { Phase::Watching };
                    self.paused_at = None;
                    self.outcomes.clear();
                    self.passing_looks = 0;
                }
                CommandKind::Rollback => {
                    self.phase = Phase::RolledBack;
                    effects.push(self.done(outstanding.kind, *read_back, now));
                    effects.push(Effect::Changed);
                    effects.push(Effect::Ended);
                    return effects;
                }
            },
            Settlement::Refused { reason } | Settlement::Unreachable { reason } => {
                let (word, by_hand) = match outstanding.kind {
                    CommandKind::Pause => ("pause", "Pause it by hand"),
                    CommandKind::Rollback => ("rollback", "Roll it back by hand"),
                    CommandKind::Resume => ("resumption", "Resume it by hand"),
                };
                let how = if matches!(settlement, Settlement::Refused { .. }) {
                    "was refused"
                } else {
                    "is not confirmed"
                };
                let text =
                    format!("the {word} of {} {how}: {reason}. {by_hand} in the release system", self.key());
                effects.push(Effect::Notify(Notice { at: now, kind: NoticeKind::CommandFailed, text }));
                self.phase = match outstanding.kind {
                    // A rollback that failed leaves the pause in place.
                    CommandKind::Rollback | CommandKind::Resume if self.paused_at.is_some() => Phase::Paused,
                    CommandKind::Pause | CommandKind::Rollback | CommandKind::Resume
                        if self.finished_at.is_some() =>
                    {
                        Phase::Soaking
                    }
                    CommandKind::Pause | CommandKind::Rollback | CommandKind::Resume => Phase::Watching,
                };
                self.cool_until = Some(now + policy.cool_down);
            }
        }
        effects.push(Effect::Changed);
        effects
    }

    /// That a command was done, as far as the release system tells.
    fn done(&self, command: CommandKind, read_back: bool, now: Timestamp) -> Effect {
        let (kind, what) = match command {
            CommandKind::Pause => (NoticeKind::Paused, "it is paused"),
            CommandKind::Rollback => (NoticeKind::RolledBack, "it was rolled back"),
            CommandKind::Resume => (NoticeKind::Course, "it goes on"),
        };
        let how = if read_back { CONFIRMED } else { TAKEN };
        Effect::Notify(Notice { at: now, kind, text: format!("{}: {what}, {how}", self.key()) })
    }

    /// The rollout is complete; it is watched for a while.
    pub fn finish(&mut self, now: Timestamp) -> Vec<Effect> {
        self.finished_at.get_or_insert(now);
        self.order.finished_at.get_or_insert(now);
        if self.phase == Phase::Watching {
            self.phase = Phase::Soaking;
        }
        vec![Effect::Changed]
    }

    /// The rollout is complete, and nothing is left to compare.
    pub fn conclude(&mut self, now: Timestamp) -> Vec<Effect> {
        self.finished_at.get_or_insert(now);
        self.order.finished_at.get_or_insert(now);
        self.phase = Phase::Finished;
        vec![Effect::Changed, Effect::Ended]
    }

    /// The release system gave it up.
    pub fn cancel(&mut self, now: Timestamp) -> Vec<Effect> {
        self.phase = Phase::Cancelled;
        self.order.finished_at.get_or_insert(now);
        let text = format!("{} was cancelled by the release system", self.key());
        vec![
            Effect::Notify(Notice { at: now, kind: NoticeKind::Course, text }),
            Effect::Changed,
            Effect::Ended,
        ]
    }

    /// Ends the watch when a finished release was watched long enough.
    pub fn soak(&mut self, policy: &Policy, now: Timestamp) -> Vec<Effect> {
        let over = self.finished_at.is_some_and(|at| now.since(at) >= policy.watch_after_finish);
        if self.phase != Phase::Soaking || !over {
            return Vec::new();
        }
        self.phase = Phase::Finished;
        vec![Effect::Changed, Effect::Ended]
    }
}

fn first_reason(findings: &[Finding]) -> String {
    findings.iter().find(|f| !f.on_trial).map_or_else(String::new, |f| f.because.clone())
}

/// The same command for the same decision, after any number of restarts.
fn command_id(release: &ReleaseKey, sequence: u32, kind: CommandKind) -> CommandId {
    let mut hash = Sha256::new();
    for part in [release.application.as_str(), release.id.as_str(), &sequence.to_string(), kind.word()] {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    let hex: String = hash.finalize().iter().take(16).map(|b| format!("{b:02x}")).collect();
    CommandId::new(format!("cmd_{hex}"))
        .unwrap_or_else(|_| unreachable!("36 printable characters are a valid id"))
}

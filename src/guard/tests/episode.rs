//! What policy makes of verdicts over time, verdict by verdict.

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;

use super::at;
use crate::domain::{CommandId, InstanceId, ReleaseOrder, Timestamp};
use crate::guard::engine::{Effect, NoticeKind, OperatorOrder, Phase, Refusal};
use crate::guard::policy::{Policy, WhenBlind};
use crate::guard::{Action, Command, CommandKind, Control, Decider, EpisodeSnapshot, Mode, Settlement};
use crate::judge::{Blind, Detector, Finding, Outcome, Verdict};
use crate::signal::{SignalClass, Unit};

use Outcome::{Failing, Healthy, Suspect, Unknown};

fn finding(outcome: Outcome) -> Finding {
    Finding {
        signal: "error ratio".to_owned(),
        class: SignalClass::Errors,
        detector: Detector::Funnel,
        test: "shift".to_owned(),
        outcome,
        instances: vec![InstanceId::new("a").unwrap()],
        because: "error ratio 5 %, reference 0 %".to_owned(),
        release_before: None,
        release_after: Some(0.05),
        reference_before: None,
        reference_after: Some(0.0),
        unit: Unit::Ratio,
        strength: 9.0,
        since: None,
        on_trial: false,
    }
}

fn verdict(outcome: Outcome, now: Timestamp) -> Verdict {
    let blind = Blind { what: "history".to_owned(), why: "there is none".to_owned() };
    Verdict {
        at: now,
        outcome,
        probability: if outcome >= Suspect { 0.9 } else { 0.02 },
        findings: if outcome >= Suspect { vec![finding(outcome)] } else { Vec::new() },
        blind: if outcome == Unknown { vec![blind] } else { Vec::new() },
        judged: 1,
        similar: Vec::new(),
    }
}

/// One watched release, and what was to be done about it so far.
struct Watch {
    policy: Policy,
    state: EpisodeSnapshot,
    second: i64,
    effects: Vec<Effect>,
}

impl Watch {
    /// In enforce mode, with a look each ten seconds.
    fn new(change: impl FnOnce(&mut Policy)) -> Self {
        let order: ReleaseOrder = serde_json::from_str(
            r#"{"format": 1, "id": "r", "application": "shop", "started_at": "2026-03-01T00:10:00Z",
                "batches": [{"started_at": "2026-03-01T00:10:00Z", "instances": ["a"]}], "reference": ["b"]}"#,
        )
        .unwrap();
        let mut state = EpisodeSnapshot::begin(order, at(0));
        state.begin_due_batches(at(0));
        let mut policy = Policy { mode: Mode::Enforce, ..Policy::default() };
        change(&mut policy);
        Self { policy, state, second: 0, effects: Vec::new() }
    }

    fn now(&self) -> Timestamp {
        at(self.second)
    }

    fn look(&mut self, outcomes: &[Outcome]) -> &mut Self {
        for outcome in outcomes {
            self.second += 10;
            let now = self.now();
            let effects = self.state.decide(&self.policy, &verdict(*outcome, now), true, now);
            self.effects.extend(effects);
        }
        self
    }

    fn operator(&mut self, order: OperatorOrder) -> &mut Self {
        let now = self.now();
        let effects = self.state.operator(&self.policy, "ada", order, now).unwrap();
        self.effects.extend(effects);
        self
    }

    fn settle(&mut self, command: &Command, settlement: &Settlement) -> &mut Self {
        let now = self.now();
        let effects = self.state.settled(&self.policy, &command.id, settlement, now);
        self.effects.extend(effects);
        self
    }

    /// The newest command is carried out.
    fn confirm(&mut self) -> &mut Self {
        let command = self.sent().last().cloned().unwrap();
        self.settle(&command, &Settlement::Confirmed { read_back: true })
    }

    fn sent(&self) -> Vec<Command> {
        commands(&self.effects)
    }

    fn kinds(&self) -> Vec<CommandKind> {
        self.sent().iter().map(|command| command.kind).collect()
    }

    fn told(&self, kind: NoticeKind) -> usize {
        self.effects.iter().filter(|e| matches!(e, Effect::Notify(notice) if notice.kind == kind)).count()
    }

    fn decided(&self) -> Vec<(Action, Action)> {
        let decisions = self.effects.iter().filter_map(|effect| match effect {
            Effect::Decided(decision) => Some((decision.action, decision.would)),
            _ => None,
        });
        decisions.collect()
    }
}

fn commands(effects: &[Effect]) -> Vec<Command> {
    let sent = effects.iter().filter_map(|effect| match effect {
        Effect::Send(command) => Some(command.clone()),
        _ => None,
    });
    sent.collect()
}

#[test]
fn two_failing_looks_of_three_pause_once_and_one_alone_never_does() {
    let mut watch = Watch::new(|_| ());
    watch.look(&[Failing, Healthy, Healthy, Failing, Suspect, Healthy]);
    assert_eq!(watch.kinds(), []);
    watch.look(&[Failing, Unknown, Failing]);
    assert_eq!(watch.kinds(), [CommandKind::Pause], "a look that could not judge does not excuse");
    assert_eq!(watch.state.phase, Phase::Pausing);
    watch.look(&[Failing; 20]);
    assert_eq!(watch.kinds(), [CommandKind::Pause], "nothing more while it has not settled");
    assert_eq!((watch.told(NoticeKind::Pausing), watch.told(NoticeKind::Paused)), (1, 0));
}

#[test]
fn a_pause_becomes_a_rollback_when_it_stood_and_the_fault_is_still_there() {
    let mut watch = Watch::new(|_| ());
    watch.look(&[Failing, Failing]).confirm();
    assert_eq!(watch.state.phase, Phase::Paused);
    watch.look(&[Failing; 5]);
    assert_eq!(watch.kinds(), [CommandKind::Pause], "50 s of the minute that a pause is given");
    watch.look(&[Failing]);
    assert_eq!(watch.kinds(), [CommandKind::Pause, CommandKind::Rollback]);
    watch.confirm();
    assert!(matches!(watch.effects.last(), Some(Effect::Ended)));
    assert_eq!((watch.state.phase, watch.told(NoticeKind::RolledBack)), (Phase::RolledBack, 1));
}

#[test]
fn a_fault_that_went_away_after_the_pause_is_not_rolled_back_unless_it_returns() {
    let mut watch = Watch::new(|_| ());
    watch.look(&[Failing, Failing]).confirm().look(&[Healthy; 60]);
    assert_eq!((watch.kinds(), watch.state.phase), (vec![CommandKind::Pause], Phase::Paused));
    watch.look(&[Failing, Failing]);
    assert_eq!(watch.kinds().last(), Some(&CommandKind::Rollback));
}

#[test]
fn where_rollback_is_not_allowed_a_pause_is_the_most() {
    let mut watch = Watch::new(|policy| policy.may_roll_back = false);
    watch.look(&[Failing, Failing]).confirm().look(&[Failing; 100]);
    assert_eq!(watch.kinds(), [CommandKind::Pause]);
}

#[test]
fn advise_tells_people_once_observe_does_not_and_neither_sends() {
    let mut advise = Watch::new(|policy| policy.mode = Mode::Advise);
    advise.look(&[Failing; 30]);
    assert_eq!((advise.kinds(), advise.told(NoticeKind::Advice) >= 1), (vec![], true));
    assert!(advise.decided().contains(&(Action::Advise, Action::Pause)), "{:?}", advise.decided());
    let would_pause = advise.decided().iter().filter(|d| d.1 == Action::Pause).count();
    assert_eq!(would_pause, 1, "the same is not said again at each look");

    let mut observe = Watch::new(|policy| policy.mode = Mode::Observe);
    observe.look(&[Failing; 30]);
    assert_eq!(observe.decided(), [(Action::Proceed, Action::Pause)]);
    assert!(!observe.effects.iter().any(|e| matches!(e, Effect::Notify(_) | Effect::Send(_))));
}

#[test]
fn what_is_only_suspicious_is_shown_once_and_never_acts() {
    let mut watch = Watch::new(|_| ());
    watch.look(&[Suspect; 50]);
    assert_eq!((watch.kinds(), watch.told(NoticeKind::Advice)), (vec![], 1));
}

#[test]
fn an_operators_word_holds_until_they_hand_back_and_then_it_is_cool() {
    let mut watch = Watch::new(|_| ());
    watch.look(&[Failing, Failing]).confirm().operator(OperatorOrder::Resume).confirm();
    assert_eq!(watch.state.phase, Phase::Watching);
    assert_eq!(watch.state.control, Control::Operator("ada".to_owned()));
    watch.look(&[Failing; 100]);
    assert_eq!(watch.kinds(), [CommandKind::Pause, CommandKind::Resume], "{:?}", watch.decided());
    watch.operator(OperatorOrder::HandBack).look(&[Failing; 29]);
    assert_eq!(watch.kinds().len(), 2, "five minutes of cool-down");
    watch.look(&[Failing]);
    assert_eq!(watch.kinds().last(), Some(&CommandKind::Pause));
    let sent = watch.sent();
    assert_ne!(sent[0].id, sent[2].id, "another pause, another key");
}

#[test]
fn an_operators_word_replaces_the_command_that_is_under_way() {
    let mut watch = Watch::new(|_| ());
    watch.look(&[Failing, Failing]).operator(OperatorOrder::Resume);
    let sent = watch.sent();
    assert_eq!(watch.kinds(), [CommandKind::Pause, CommandKind::Resume]);
    watch.settle(&sent[0], &Settlement::Confirmed { read_back: true });
    assert_eq!(watch.state.outstanding.as_ref(), Some(&sent[1]), "the pause came too late to count");
    watch.confirm();
    assert_eq!(watch.state.phase, Phase::Watching);
    watch.operator(OperatorOrder::Rollback).confirm();
    assert_eq!(watch.state.phase, Phase::RolledBack);
    let late = watch.state.operator(&watch.policy, "ada", OperatorOrder::Hold, at(900));
    assert_eq!(late.unwrap_err(), Refusal::NotWatching);
}

#[test]
fn looks_that_pass_are_counted_in_time_from_the_first_of_them() {
    let mut watch = Watch::new(|_| ());
    let seconds = |watch: &Watch| watch.state.passing_for().as_secs();
    assert_eq!(seconds(&watch), 0);
    watch.look(&[Healthy]);
    assert_eq!(seconds(&watch), 0);
    watch.look(&[Suspect, Healthy]);
    assert_eq!(seconds(&watch), 20);
    watch.look(&[Unknown]);
    assert_eq!(seconds(&watch), 0);
    watch.look(&[Healthy, Healthy]);
    assert_eq!(seconds(&watch), 10);
    watch.state.set_back(at(0));
    assert_eq!(seconds(&watch), 0);
}

#[test]
fn a_word_that_is_said_twice_is_one_until_it_no_longer_stands() {
    use OperatorOrder::{HandBack, Hold, Resume, Rollback};
    for (order, kind, phase) in
        [(Hold, CommandKind::Pause, Phase::Paused), (Resume, CommandKind::Resume, Phase::Watching)]
    {
        let mut watch = Watch::new(|_| ());
        if order == Resume {
            watch.operator(Hold).confirm();
        }
        let before = watch.kinds().len();
        watch.operator(order).operator(order).confirm().operator(order);
        assert_eq!(watch.kinds()[before..], [kind]);
        assert_eq!(watch.state.phase, phase);
        let state = watch.state.clone();
        watch.operator(order);
        assert_eq!(watch.state, state, "{order:?}");
    }
    // One that failed is said again.
    for order in [Hold, Resume, Rollback] {
        let mut watch = Watch::new(|_| ());
        watch.operator(order);
        let failed = watch.sent()[0].clone();
        watch.settle(&failed, &Settlement::Unreachable { reason: "no answer".to_owned() });
        watch.operator(order).operator(order);
        assert_eq!(watch.kinds().len(), 2, "{order:?}");
    }
    // What the guardian paused is held from then on, and not paused again.
    let mut watch = Watch::new(|_| ());
    watch.look(&[Failing, Failing]).confirm().operator(Hold).look(&[Failing; 20]);
    assert_eq!((watch.kinds(), watch.state.phase), (vec![CommandKind::Pause], Phase::Paused));
    assert_eq!(watch.state.control, Control::Operator("ada".to_owned()));
    // Nor does handing back twice make the cool-down longer.
    watch.operator(HandBack);
    let state = watch.state.clone();
    watch.second += 100;
    assert_eq!(watch.operator(HandBack).state, state);
}

#[test]
fn what_was_ordered_is_told_apart_from_what_is_confirmed() {
    let words = |effects: &[Effect]| -> String {
        let texts = effects.iter().filter_map(|effect| match effect {
            Effect::Notify(notice) => Some(format!("{:?} {}\n", notice.kind, notice.text)),
            _ => None,
        });
        texts.collect()
    };
    for (read_back, how) in [(true, "its state was read back"), (false, "its effect cannot be read back")] {
        let mut watch = Watch::new(|_| ());
        watch.look(&[Failing, Failing]);
        let ordered = words(&watch.effects);
        assert!(ordered.contains("Pausing pause of shop/r") && !ordered.contains("paused"), "{ordered}");
        let done = |watch: &mut Watch, said: &str| {
            let command = watch.sent().last().cloned().unwrap();
            watch.effects.clear();
            watch.settle(&command, &Settlement::Confirmed { read_back });
            let told = words(&watch.effects);
            assert!(told.contains(said) && told.contains(how), "{told}");
            watch.effects.clear();
        };
        done(&mut watch, "Paused shop/r: it is paused");
        watch.operator(OperatorOrder::Resume);
        let ordered = words(&watch.effects);
        assert!(ordered.contains("ordered to resume it: ada"), "{ordered}");
        done(&mut watch, "Course shop/r: it goes on");
        watch.operator(OperatorOrder::Rollback);
        let ordered = words(&watch.effects);
        assert!(ordered.contains("ordered to roll it back: ada") && !ordered.contains("rolled"), "{ordered}");
        done(&mut watch, "RolledBack shop/r: it was rolled back");
    }
    let mut watch = Watch::new(|_| ());
    watch.look(&[Failing, Failing]);
    let pause = watch.sent()[0].clone();
    watch.settle(&pause, &Settlement::Unreachable { reason: "HTTP status 503".to_owned() });
    let told = words(&watch.effects);
    for said in
        ["the pause of shop/r is not confirmed: HTTP status 503", "Pause it by hand in the release system"]
    {
        assert!(told.contains(said), "{told}");
    }
}

#[test]
fn a_command_that_failed_is_told_and_given_again_only_after_the_cool_down() {
    let refused = Settlement::Refused { reason: "no such release".to_owned() };
    let unreachable = Settlement::Unreachable { reason: "connection refused".to_owned() };
    for settlement in [refused, unreachable] {
        let mut watch = Watch::new(|_| ());
        watch.look(&[Failing, Failing]);
        let pause = watch.sent()[0].clone();
        watch.settle(&pause, &settlement);
        assert_eq!((watch.state.phase, watch.told(NoticeKind::CommandFailed)), (Phase::Watching, 1));
        watch.look(&[Failing; 29]);
        assert_eq!(watch.kinds(), [CommandKind::Pause]);
        watch.look(&[Failing]);
        assert_eq!(watch.kinds(), [CommandKind::Pause, CommandKind::Pause]);
        watch.confirm().look(&[Failing; 6]);
        let rollback = watch.sent()[2].clone();
        watch.settle(&rollback, &settlement);
        assert_eq!(watch.state.phase, Phase::Paused, "a rollback that failed leaves the pause");
    }
}

#[test]
fn blindness_is_told_once_after_its_time_and_pauses_where_policy_says_so() {
    for (choice, sent) in [
        (WhenBlind::Hold, vec![]),
        (WhenBlind::Proceed, vec![]),
        (WhenBlind::Pause, vec![CommandKind::Pause]),
    ] {
        let mut watch = Watch::new(|policy| policy.when_blind = choice);
        watch.look(&[Healthy, Unknown]).look(&[Unknown; 16]);
        assert_eq!((watch.told(NoticeKind::Blind), watch.kinds()), (0, vec![]), "170 s of 180 s");
        watch.look(&[Unknown; 30]);
        assert_eq!((watch.told(NoticeKind::Blind), watch.kinds()), (1, sent), "{choice:?}");
    }
}

#[test]
fn a_finished_release_is_watched_on_and_can_still_be_stopped() {
    let mut watch = Watch::new(|_| ());
    watch.look(&[Healthy; 10]);
    let finished = watch.state.finish(watch.now());
    assert!(matches!(finished[..], [Effect::Changed]) && watch.state.phase == Phase::Soaking);
    watch.look(&[Healthy; 59]);
    assert!(watch.state.soak(&watch.policy, watch.now()).is_empty(), "590 s of ten minutes");
    let mut late =
        Watch { state: watch.state.clone(), policy: watch.policy.clone(), effects: vec![], ..watch };
    late.look(&[Failing, Failing]);
    assert_eq!(late.kinds(), [CommandKind::Pause]);
    watch =
        Watch { state: serde_json::from_str(&serde_json::to_string(&late.state).unwrap()).unwrap(), ..late };
    assert!(watch.state.soak(&watch.policy, at(10_000)).is_empty(), "a release that is stopped is not over");
    let mut well = Watch::new(|_| ());
    well.state.finish(at(0));
    let ended = well.state.soak(&well.policy, at(600));
    assert!(matches!(ended[..], [Effect::Changed, Effect::Ended]) && well.state.phase == Phase::Finished);
}

/// Something that may happen to a release.
#[derive(Clone, Debug)]
enum Event {
    Look(Outcome),
    Wait(i64),
    Operator(OperatorOrder),
    /// Of the newest command but so many.
    Settle(usize, Settlement),
    Finish,
}

fn event() -> impl Strategy<Value = Event> {
    let reason = || "why".to_owned();
    let settlement = prop_oneof![
        3 => Just(Settlement::Confirmed { read_back: true }),
        1 => Just(Settlement::Refused { reason: reason() }),
        1 => Just(Settlement::Unreachable { reason: reason() }),
    ];
    use OperatorOrder::{HandBack, Hold, Resume, Rollback};
    prop_oneof![
        8 => prop::sample::select(vec![Failing, Failing, Healthy, Suspect, Unknown]).prop_map(Event::Look),
        2 => (1i64..400).prop_map(Event::Wait),
        1 => prop::sample::select(vec![Hold, Resume, Rollback, HandBack]).prop_map(Event::Operator),
        3 => (0usize..3, settlement).prop_map(|(back, how)| Event::Settle(back, how)),
        1 => Just(Event::Finish),
    ]
}

fn happen(
    state: &mut EpisodeSnapshot,
    policy: &Policy,
    event: &Event,
    sent: &[CommandId],
    now: Timestamp,
) -> Vec<Effect> {
    match event {
        Event::Look(outcome) => state.decide(policy, &verdict(*outcome, now), true, now),
        Event::Wait(_) => state.soak(policy, now),
        Event::Operator(order) => state.operator(policy, "ada", *order, now).unwrap_or_default(),
        Event::Settle(back, how) => match sent.len().checked_sub(1 + back) {
            Some(index) => state.settled(policy, &sent[index], how, now),
            None => Vec::new(),
        },
        Event::Finish => state.finish(now),
    }
}

/// What the guardian itself must never do, whatever happened before.
fn check(
    before: &EpisodeSnapshot,
    policy: &Policy,
    effects: &[Effect],
    now: Timestamp,
) -> Result<(), TestCaseError> {
    let decided = effects.iter().find_map(|effect| match effect {
        Effect::Decided(decision) => Some(decision),
        _ => None,
    });
    let sent = commands(effects);
    prop_assert!(sent.len() <= 1);
    let Some(command) = sent.first() else { return Ok(()) };
    let decision = decided.ok_or_else(|| TestCaseError::fail("a command without a decision"))?;
    let of = |wanted: fn(&Effect) -> bool| effects.iter().position(wanted);
    prop_assert!(of(|e| matches!(e, Effect::Decided(_))) < of(|e| matches!(e, Effect::Send(_))));
    prop_assert_eq!(command.decision_sequence, decision.sequence);
    prop_assert_eq!(decision.sequence, before.decisions + 1);
    if decision.by != Decider::Guardian {
        return Ok(());
    }
    prop_assert_eq!(policy.mode, Mode::Enforce);
    prop_assert_eq!(&before.control, &Control::Guardian);
    prop_assert!(before.outstanding.is_none(), "one command at a time");
    prop_assert!(before.cool_until.is_none_or(|until| now >= until));
    prop_assert!(!decision.reasons.is_empty() || !decision.blind.is_empty(), "a decision has its reasons");
    match command.kind {
        CommandKind::Pause => prop_assert!(matches!(before.phase, Phase::Watching | Phase::Soaking)),
        CommandKind::Rollback => {
            prop_assert!(policy.may_roll_back && before.phase == Phase::Paused);
            prop_assert!(before.paused_at.is_some_and(|at| now.since(at) >= policy.rollback_after));
        }
        CommandKind::Resume => prop_assert!(false, "only people resume"),
    }
    Ok(())
}

proptest! {
    #[test]
    fn whatever_happens_no_command_is_sent_twice_against_an_operator_or_beyond_policy(
        events in prop::collection::vec(event(), 1..80),
        mode in prop::sample::select(vec![Mode::Observe, Mode::Advise, Mode::Enforce, Mode::Enforce]),
        may_roll_back: bool,
        when_blind in prop::sample::select(vec![WhenBlind::Hold, WhenBlind::Pause, WhenBlind::Proceed]),
    ) {
        let mut watch = Watch::new(|policy| {
            (policy.mode, policy.may_roll_back, policy.when_blind) = (mode, may_roll_back, when_blind);
            policy.watch_after_finish = Duration::from_secs(300);
        });
        let mut ids: Vec<CommandId> = Vec::new();
        for event in &events {
            watch.second += if let Event::Wait(seconds) = event { *seconds } else { 10 };
            let now = watch.now();
            let before = watch.state.clone();
            let effects = happen(&mut watch.state, &watch.policy, event, &ids, now);
            check(&before, &watch.policy, &effects, now)?;
            // A guardian that was killed before and read its state back does the same.
            let mut restarted: EpisodeSnapshot =
                serde_json::from_str(&serde_json::to_string(&before).unwrap()).unwrap();
            let again = happen(&mut restarted, &watch.policy, event, &ids, now);
            prop_assert_eq!(format!("{effects:?}"), format!("{again:?}"));
            prop_assert_eq!(&restarted, &watch.state);
            ids.extend(commands(&effects).into_iter().map(|command| command.id));
            if watch.state.phase.is_final() {
                break;
            }
        }
        let different: BTreeSet<&CommandId> = ids.iter().collect();
        prop_assert_eq!(different.len(), ids.len(), "each command has a key of its own");
    }
}

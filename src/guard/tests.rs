//! The engine on a small fleet that is well.

use crate::domain::{
    Batch, InstanceId, ReleaseOrder, Sample, Scrape, ScrapeFailure, ScrapeOutcome, Timestamp,
};
use crate::judge::Outcome;

use super::engine::{Effect, Engine, EngineSettings, Input, Refusal};
use super::{Action, Mode};

mod episode;

const MACHINES: [&str; 4] = ["a", "b", "c", "d"];

fn at(seconds: i64) -> Timestamp {
    let begun: Timestamp = "2026-03-01T00:10:00Z".parse().unwrap();
    Timestamp::from_millis(begun.as_millis() + seconds * 1_000)
}

/// Ten requests a second; a fleet that does not answer is silent.
fn scrape(machine: &str, seconds: i64, answers: bool) -> Scrape {
    let series = std::sync::Arc::new("web_requests_total{code=\"200\"}".parse().unwrap());
    let samples = vec![Sample { series, value: (seconds + 10_000) as f64 * 10.0 }];
    Scrape {
        instance: InstanceId::new(machine).unwrap(),
        at: at(seconds),
        outcome: match answers {
            true => ScrapeOutcome::Complete,
            false => ScrapeOutcome::Failed(ScrapeFailure::Refused),
        },
        samples: if answers { samples } else { Vec::new() },
        families: std::sync::Arc::new([]),
    }
}

fn look(engine: &mut Engine, seconds: i64, answers: bool) {
    for machine in MACHINES {
        engine.handle(at(seconds), Input::Scrape(scrape(machine, seconds, answers))).unwrap();
    }
}

/// Twenty minutes of a past, and a release of one of four machines at second 0.
fn begun() -> Engine {
    let mut engine = Engine::new(EngineSettings::default());
    (-1_200..0).step_by(10).for_each(|seconds| look(&mut engine, seconds, true));
    let order: ReleaseOrder = serde_json::from_str(
        r#"{"format": 1, "id": "r", "application": "shop", "started_at": "2026-03-01T00:10:00Z",
            "batches": [{"started_at": "2026-03-01T00:10:00Z", "instances": ["a"]}],
            "reference": ["b", "c", "d"]}"#,
    )
    .unwrap();
    engine.handle(at(0), Input::Begin(Box::new(order))).unwrap();
    engine
}

fn passing(engine: &Engine) -> u32 {
    engine.snapshot().unwrap().passing_looks
}

#[test]
fn a_clock_that_is_set_back_does_not_end_the_watch() {
    let mut engine = begun();
    (0..200).step_by(10).for_each(|seconds| look(&mut engine, seconds, true));
    // For a while the machine believed that it was an hour later.
    (3_800..3_900).step_by(10).for_each(|seconds| look(&mut engine, seconds, true));
    let ahead = engine.verdict().unwrap().at;
    engine.set_back(at(250));
    for seconds in (-1_200..200).step_by(10) {
        MACHINES.iter().for_each(|machine| engine.refill(&scrape(machine, seconds, true)));
    }
    (250..300).step_by(10).for_each(|seconds| look(&mut engine, seconds, true));
    let verdict = engine.verdict().unwrap();
    assert!(verdict.at < ahead && verdict.at >= at(250), "it looks again: {verdict:?}");
    assert_eq!(verdict.outcome, Outcome::Healthy, "and knows what was before: {verdict:?}");
    assert!(engine.snapshot().unwrap().judged_at <= at(300));
}

#[test]
fn looks_count_for_a_gate_once_the_newest_batch_can_be_judged() {
    let mut engine = begun();
    look(&mut engine, 0, true);
    assert_eq!(engine.verdict().unwrap().outcome, Outcome::Unknown, "it has not settled");
    assert_eq!(passing(&engine), 0);
    (10..200).step_by(10).for_each(|seconds| look(&mut engine, seconds, true));
    assert_eq!(engine.verdict().unwrap().outcome, Outcome::Healthy);
    assert!(passing(&engine) >= 3, "{}", passing(&engine));

    // The first batch goes on being well, which says nothing of the second.
    let batch = serde_json::from_str(r#"{"started_at": "2026-03-01T00:13:20Z", "instances": ["b"]}"#);
    engine.handle(at(200), Input::Batch(batch.unwrap())).unwrap();
    assert_eq!(passing(&engine), 0);
    look(&mut engine, 200, true);
    assert_eq!((engine.verdict().unwrap().outcome, passing(&engine)), (Outcome::Healthy, 0));
    (210..300).step_by(10).for_each(|seconds| look(&mut engine, seconds, true));
    assert!(passing(&engine) >= 3, "{}", passing(&engine));

    // A look at nothing is none.
    let before = passing(&engine);
    (300..400).step_by(10).for_each(|seconds| look(&mut engine, seconds, false));
    assert_eq!((before > 0, passing(&engine)), (true, 0), "{:?}", engine.verdict());
}

/// Seconds of a fault on machine `a`: one in twenty of its requests fails.
fn fails(seconds: i64) -> bool {
    (0..150).contains(&seconds) || seconds >= 1_500
}

/// The same fleet, in which machine `a` fails at times.
fn look_at_faults(engine: &mut Engine, seconds: i64, faults: fn(i64) -> bool) -> usize {
    let mut commands = 0;
    for machine in MACHINES {
        let failing = |until: i64| (-1_200..until).step_by(10).filter(|s| faults(*s)).count() as f64;
        let failed = if machine == "a" { 5.0 * failing(seconds) } else { 0.0 };
        let mut scrape = scrape(machine, seconds, true);
        scrape.samples[0].value -= failed;
        let series = std::sync::Arc::new("web_requests_total{code=\"500\"}".parse().unwrap());
        scrape.samples.push(Sample { series, value: failed });
        let effects = engine.handle(at(seconds), Input::Scrape(scrape)).unwrap();
        commands += effects.iter().filter(|e| matches!(e, Effect::Send(_))).count();
    }
    commands
}

fn begin(engine: &mut Engine, id: &str, seconds: i64) {
    let started_at = at(seconds);
    let mut order: ReleaseOrder = serde_json::from_str(
        r#"{"format": 1, "id": "r", "application": "shop", "started_at": "2026-03-01T00:10:00Z",
            "batches": [{"started_at": "2026-03-01T00:10:00Z", "instances": ["a"]}],
            "reference": ["b", "c", "d"]}"#,
    )
    .unwrap();
    order.id = id.parse().unwrap();
    order.started_at = started_at;
    order.batches[0].started_at = started_at;
    engine.handle(started_at, Input::Begin(Box::new(order))).unwrap();
}

#[test]
fn a_fault_that_stopped_an_earlier_release_is_nothing_usual_for_the_next_one() {
    let mut settings = EngineSettings::default();
    settings.policy.mode = Mode::Enforce;
    let mut engine = Engine::new(settings);
    (-1_200..0).step_by(10).for_each(|s| assert_eq!(look_at_faults(&mut engine, s, fails), 0));
    begin(&mut engine, "bad", 0);
    let commands: usize = (0..150).step_by(10).map(|s| look_at_faults(&mut engine, s, fails)).sum();
    assert_eq!(commands, 1);
    assert_eq!(engine.snapshot().unwrap().gravest, Action::Pause);
    engine.handle(at(150), Input::Cancel).unwrap();
    (150..1_500).step_by(10).for_each(|s| assert_eq!(look_at_faults(&mut engine, s, fails), 0));
    begin(&mut engine, "again", 1_500);
    assert_eq!(engine.snapshot().unwrap().history_from, Some(at(150)));
    let commands: usize = (1_500..1_650).step_by(10).map(|s| look_at_faults(&mut engine, s, fails)).sum();
    assert_eq!(commands, 1, "{:?}", engine.verdict());
}

#[test]
fn a_batch_of_machines_that_are_released_changes_nothing_and_none_comes_after_the_rollout() {
    let mut engine = begun();
    look(&mut engine, 10, true);
    let batch = |seconds, instances: &[&str]| {
        let instances = instances.iter().map(|name| InstanceId::new(name).unwrap()).collect();
        Input::Batch(Batch { started_at: at(seconds), instances, weight: None })
    };
    let before = engine.snapshot().cloned();
    assert!(engine.handle(at(15), batch(15, &["a"])).unwrap().is_empty());
    assert_eq!(engine.snapshot().cloned(), before);
    engine.handle(at(20), batch(20, &["a", "b"])).unwrap();
    let batches = |engine: &Engine| {
        let order = &engine.snapshot().unwrap().order;
        order.batches.iter().map(|b| b.instances.len()).collect::<Vec<_>>()
    };
    assert_eq!(batches(&engine), [1, 1], "each machine is released once");
    engine.handle(at(30), Input::Finish).unwrap();
    assert!(engine.handle(at(40), batch(40, &["b"])).unwrap().is_empty(), "a repeated call");
    let refused = engine.handle(at(40), batch(40, &["c"])).unwrap_err();
    assert_eq!(refused, Refusal::Complete { at: at(30) });
    assert_eq!(batches(&engine), [1, 1]);
}

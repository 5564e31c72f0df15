//! Known answers by hand, and every kind of damage.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::domain::Timestamp;
use crate::judge::funnel::{Grade, Graded, Shift, View};
use crate::signal::{BadWhen, Groups, Shape, SignalClass, SignalDef, SignalId, Unit};

fn leaf(value: f64) -> Node {
    Node { feature: None, threshold: 0.0, left: 0, right: 0, value }
}

fn split(feature: u16, threshold: f64, left: u32, right: u32) -> Node {
    Node { feature: Some(feature), threshold, left, right, value: 0.0 }
}

fn payload() -> Payload {
    let width = schema_names().len();
    Payload {
        trees: vec![
            Tree { weight: 3.0, nodes: vec![split(0, 0.5, 1, 2), leaf(-1.0), leaf(1.0)] },
            Tree {
                weight: 1.0,
                nodes: vec![split(1, 0.0, 1, 2), leaf(1.0), split(0, 0.9, 3, 4), leaf(-1.0), leaf(1.0)],
            },
        ],
        linear: Vec::new(),
        calibrator: Calibrator { slope: 2.0, intercept: -1.0 },
        library: Library {
            spread: vec![0.5; width],
            cases: vec![
                Case { release: "far".to_owned(), cause: Some("leak".to_owned()), values: vec![1.0; width] },
                Case { release: "near".to_owned(), cause: None, values: vec![0.5; width] },
            ],
        },
    }
}

fn header() -> Header {
    Header {
        name: "hand".to_owned(),
        version: "1".to_owned(),
        kind: Kind::Boosted,
        asked: Asked::Suspects,
        schema: Schema::current(),
        thresholds: Thresholds { act: Some(0.9), veto: Some(0.1) },
        data: Data { hash: sha256_hex(b"rows"), releases: 40, faulty: 20, rows: 90 },
        held_out: HeldOut::default(),
        training: BTreeMap::new(),
        program: "test".to_owned(),
        payload_bytes: 0,
        payload_sha256: String::new(),
    }
}

fn features(first: f64, second: f64) -> Features {
    let mut values = vec![0.0; schema_names().len()];
    values[0] = first;
    values[1] = second;
    Features::of_values(values).unwrap()
}

#[test]
fn a_known_forest_votes_as_by_hand() {
    let trees = payload().trees;
    // Below 0.5: -3; second feature below 0: +1; of 4.
    assert_eq!(vote(&trees, features(0.4, -0.1).values()), -0.5);
    // From 0.5 on: +3; then below 0.9: -1.
    assert_eq!(vote(&trees, features(0.5, 0.0).values()), 0.5);
    assert_eq!(vote(&trees, features(0.95, 0.0).values()), 1.0);
    assert_eq!(vote(&[], &[]), 0.0);
    let model = Model::new(Artifact::read(&Artifact::write(header(), &payload()).unwrap()).unwrap());
    // 1 / (1 + exp(-(2 * 0.5 - 1))) is one half.
    assert!((model.probability(&features(0.5, 0.0)) - 0.5).abs() < 1e-12);
}

#[test]
fn the_nearest_case_comes_first_with_its_distance() {
    let near = payload().library.nearest(&features(0.0, 0.0), 5);
    assert_eq!(near[0].release, "near");
    assert!((near[0].distance - 1.0).abs() < 1e-12, "half over a spread of half: {}", near[0].distance);
    assert_eq!((near[1].cause.as_deref(), near.len()), (Some("leak"), 2));
}

#[test]
fn an_artifact_reads_back_as_it_was_written() {
    let bytes = Artifact::write(header(), &payload()).unwrap();
    let artifact = Artifact::read(&bytes).unwrap();
    assert_eq!(artifact.payload, payload());
    assert_eq!(artifact.header.thresholds, header().thresholds);
    assert_eq!(artifact.hash, sha256_hex(&bytes));
}

#[test]
fn an_artifact_of_another_schema_is_refused_and_says_which_feature_differs() {
    let mut other = header();
    other.schema.names[2] = "moon phase".to_owned();
    let error = Artifact::read(&Artifact::write(other, &payload()).unwrap()).unwrap_err();
    assert!(
        matches!(error, ArtifactError::Schema { .. }) && error.to_string().contains("moon phase"),
        "{error}"
    );
    let choice = ModelChoice::of_bytes(b"something else\n");
    assert!(matches!(&choice, ModelChoice::Refused(why) if why.contains("no model")), "{choice:?}");
}

#[test]
fn an_artifact_of_another_format_is_refused() {
    let text = String::from_utf8(Artifact::write(header(), &payload()).unwrap()).unwrap();
    let other = text.replacen("model 1 ", "model 2 ", 1);
    assert!(matches!(Artifact::read(other.as_bytes()), Err(ArtifactError::Format { found }) if found == "2"));
}

fn is_nonsense(change: impl FnOnce(&mut Header, &mut Payload)) -> bool {
    let (mut header, mut payload) = (header(), payload());
    change(&mut header, &mut payload);
    let bytes = Artifact::write(header, &payload).unwrap();
    matches!(Artifact::read(&bytes), Err(ArtifactError::Nonsense { .. }))
}

#[test]
fn numbers_that_make_no_sense_are_refused_though_their_hash_is_right() {
    assert!(!is_nonsense(|_, _| {}));
    assert!(is_nonsense(|_, p| p.trees[0].nodes[0].left = 0), "a loop");
    assert!(is_nonsense(|_, p| p.trees[0].nodes[0].right = 9), "no such node");
    assert!(is_nonsense(|_, p| p.trees[0].nodes[0].feature = Some(9_999)), "no such feature");
    assert!(is_nonsense(|_, p| p.trees[0].weight = -1.0), "a negative weight");
    assert!(is_nonsense(|_, p| p.trees.clear()), "no trees");
    assert!(is_nonsense(|_, p| p.trees[0].nodes.clear()), "no nodes");
    assert!(is_nonsense(|_, p| p.calibrator.slope = -1.0), "falls with the score");
    assert!(is_nonsense(|h, _| h.thresholds.act = Some(1.5)), "no probability");
    assert!(is_nonsense(|h, _| h.kind = Kind::Logistic), "no weights");
    assert!(is_nonsense(|_, p| p.library.cases[0].values.truncate(3)), "a short case");
    assert!(is_nonsense(|_, p| p.library.spread[0] = 0.0), "no spread");
    assert!(is_nonsense(|h, _| h.data.hash.clear()), "nobody knows what it learned from");
    assert!(is_nonsense(|h, _| h.data.faulty = 41), "more faulty releases than releases");
    assert!(is_nonsense(|h, _| h.held_out.recall = 1.2), "no share");
    assert!(is_nonsense(|h, _| h.held_out.brier = -0.1), "no score");
}

fn definition(class: SignalClass) -> SignalDef {
    SignalDef {
        name: "errors".to_owned(),
        metric: "errors".to_owned(),
        segment: None,
        class,
        unit: Unit::Ratio,
        bad_when: BadWhen::Higher,
        shape: Shape::Ratio,
        by_traffic: false,
        warms: false,
        fills: false,
        collected: false,
        error_kind: false,
        refusals: false,
        informative: false,
        slow_share: 0.1,
        outgoing: false,
        weight: 1.0,
        muted: false,
        bounds: Vec::new(),
    }
}

fn graded(number: f64, steps: i64) -> Graded {
    Graded {
        shift: Shift {
            signal: SignalId(0),
            steps,
            change: number,
            own_change: -number,
            score: number,
            margin: number,
            beyond_worst: number,
            practical: number,
            tail: number,
            shows: vec![0, 1],
            judged: 0,
            fading: true,
            is_brief: false,
            is_over: false,
            steadiness: number,
            age_seconds: number,
            since: steps,
            is_new: false,
            upward: true,
            values: [Some(number), Some(number), None, Some(-number)],
        },
        view: View::Level,
        bound: None,
        grade: Grade::Failing,
        held_back: None,
        vicinity: crate::judge::funnel::Vicinity { newest: number, noise: -number, ..Default::default() },
    }
}

proptest! {
    #[test]
    fn features_are_finite_and_bounded_whatever_a_shift_says(
        number in any::<f64>(), other in any::<f64>(), steps in -1_000_000_i64..1_000_000,
        judged in any::<usize>(), looks in any::<u32>(), seconds in any::<f64>(),
    ) {
        let shifts = [graded(number, steps), graded(other, steps)];
        let (first, mut second) = (definition(SignalClass::Errors), definition(SignalClass::Latency));
        second.metric = "latency".to_owned();
        let mut course = Course::default();
        course.follow(Some(("requests", other)));
        course.follow(Some(("requests", number)));
        let features = Features::of(&Suspects {
            shifts: vec![(&shifts[0], &first), (&shifts[1], &second)],
            rules: &[],
            groups: &Groups::default(),
            judged,
            described: true,
            suspect_looks: looks,
            failing_looks: looks,
            course: &course,
            moving_share: number,
            now: Timestamp::default(),
            to: 0,
            step_seconds: seconds,
        });
        prop_assert_eq!(features.values().len(), schema_names().len());
        prop_assert!(features.values().iter().all(|v| v.is_finite() && (-2.0..=2.0).contains(v)));
    }

    #[test]
    fn no_changed_byte_goes_unnoticed(at in any::<prop::sample::Index>(), bit in 0_u8..8) {
        let mut bytes = Artifact::write(header(), &payload()).unwrap();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        prop_assert!(Artifact::read(&bytes).is_err());
    }

    #[test]
    fn no_cut_goes_unnoticed(at in any::<prop::sample::Index>()) {
        let bytes = Artifact::write(header(), &payload()).unwrap();
        prop_assert!(Artifact::read(&bytes[..at.index(bytes.len())]).is_err());
    }
}

#[test]
fn features_have_names_of_their_own() {
    let mut names = schema_names();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), schema_names().len());
}

#[test]
fn each_rule_has_a_feature_of_its_own_and_limits_that_people_set_share_one() {
    use crate::judge::{Detector, Finding, rules::RULES};
    let finding = |test: &str, outcome| Finding {
        signal: "anything".to_owned(),
        class: SignalClass::Errors,
        detector: Detector::Rule,
        test: test.to_owned(),
        outcome,
        instances: Vec::new(),
        because: String::new(),
        release_before: None,
        release_after: None,
        reference_before: None,
        reference_after: None,
        unit: Unit::Ratio,
        strength: 1.0,
        since: None,
        on_trial: false,
    };
    let of = |findings: &[Finding]| {
        let features = Features::of(&Suspects {
            shifts: Vec::new(),
            rules: findings,
            groups: &Groups::default(),
            judged: 1,
            described: true,
            suspect_looks: 1,
            failing_looks: 0,
            course: &Course::default(),
            moving_share: 0.0,
            now: Timestamp::default(),
            to: 0,
            step_seconds: 10.0,
        });
        let named: BTreeMap<&str, f64> = schema_names().into_iter().zip(features.values().to_vec()).collect();
        RULES.iter().map(|rule| named[rule]).collect::<Vec<f64>>()
    };
    for (at, rule) in RULES.iter().enumerate() {
        let expected = |value: f64| (0..RULES.len()).map(|i| if i == at { value } else { 0.0 }).collect();
        let (failing, suspect): (Vec<f64>, Vec<f64>) = (expected(1.0), expected(0.5));
        assert_eq!(of(&[finding(rule, crate::judge::Outcome::Failing)]), failing, "{rule}");
        assert_eq!(of(&[finding(rule, crate::judge::Outcome::Suspect)]), suspect, "{rule}");
    }
    let limit = of(&[finding("checkout p99", crate::judge::Outcome::Failing)]);
    let threshold = RULES.iter().position(|rule| *rule == "threshold").unwrap();
    assert_eq!((limit[threshold], limit.iter().sum::<f64>()), (1.0, 1.0));
}

#[test]
fn the_model_that_ships_has_this_programs_features_and_was_better_than_none() {
    let ModelChoice::InForce(model) = ModelChoice::shipped() else {
        panic!("{}: train it again, as docs/models.md says", ModelChoice::shipped().describe());
    };
    let header = &model.artifact().header;
    assert_eq!(header.schema, Schema::current());
    let HeldOut { recall, recall_without, false_stops, false_stops_without, .. } = header.held_out;
    assert!(recall + 0.01 >= recall_without && false_stops < 0.8 * false_stops_without, "{header:?}");
    assert!(header.thresholds.veto.is_some() || header.thresholds.act.is_some());
    let cases = &model.artifact().payload.library.cases;
    assert!(cases.iter().any(|case| case.cause.is_none()) && cases.iter().any(|case| case.cause.is_some()));
    let card = include_str!("../../../models/default/1/card.md");
    assert!(card.contains(&model.artifact().hash), "the card is of another file");
    assert!(card.contains(&header.data.hash));
}

#[test]
fn a_model_of_failing_looks_is_asked_only_where_the_funnel_alone_found_a_failure() {
    use crate::judge::Outcome;
    let considered = |floor, by_rule| Considered { features: features(0.0, 0.0), floor, by_rule };
    assert!(considered(Outcome::Failing, false).is_asked(Asked::Failing));
    assert!(!considered(Outcome::Failing, true).is_asked(Asked::Failing), "a rule is not questioned");
    assert!(!considered(Outcome::Suspect, false).is_asked(Asked::Failing));
    assert!(considered(Outcome::Suspect, false).is_asked(Asked::Suspects));
}

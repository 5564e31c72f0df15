//! A small training from end to end, and figures by hand.

use super::*;
use crate::judge::Outcome;
use crate::judge::model::{Asked, Calibrator, Considered, Features, Kind, Model, Thresholds, schema_names};

fn considered(values: [f64; 2], floor: Outcome, by_rule: bool) -> Considered {
    let mut row = vec![0.0; schema_names().len()];
    row[..2].copy_from_slice(&values);
    Considered { features: Features::of_values(row).unwrap(), floor, by_rule }
}

fn release(at: usize, faulty: bool, looks: Vec<Option<Considered>>) -> PastRelease {
    PastRelease {
        id: format!("r-{at}"),
        application: format!("app-{}", at % 13),
        faulty,
        onset_seconds: faulty.then_some(15.0),
        cause: faulty.then(|| format!("fault-{}", at % 4)),
        looks: looks
            .into_iter()
            .enumerate()
            .map(|(k, considered)| Look { at_seconds: 10.0 * k as f64, considered })
            .collect(),
    }
}

/// Faulty ones have a high first feature; the floor stops every release.
fn data() -> Vec<PastRelease> {
    (0..120)
        .map(|at| {
            let faulty = at % 2 == 0;
            let noise = ((at * 37) % 50) as f64 / 100.0;
            let first = if faulty { 0.7 } else { 0.1 } + noise / 2.0;
            let looks = (0..5).map(|_| Some(considered([first, noise], Outcome::Failing, false))).collect();
            release(at, faulty, looks)
        })
        .collect()
}

fn settings() -> TrainSettings {
    TrainSettings {
        seed: 7,
        folds: 3,
        trees: 10,
        depth: 2,
        confirm: Confirm { failing: 2, of: 3 },
        name: "test".to_owned(),
        version: "1".to_owned(),
    }
}

#[test]
fn a_training_learns_what_tells_harm_and_vetoes_false_stops() {
    let releases = data();
    let trained = train(&releases, &settings()).unwrap();
    let (without, with) = (&trained.ways[0].1, &trained.ways[3].1);
    assert_eq!((without.false_stops, without.healthy, without.caught), (60, 60, 60));
    assert_eq!((with.false_stops, with.caught), (0, 60));
    assert!(is_better(with, without) && !is_better(without, with));
    let model = Model::new(trained.artifact.clone());
    let harm = considered([0.9, 0.2], Outcome::Failing, false).features;
    let harmless = considered([0.15, 0.2], Outcome::Failing, false).features;
    assert!(model.probability(&harm) > 0.8 && model.probability(&harmless) < 0.2);
    assert!(model.similar(&harm)[0].cause.is_some());
    assert_eq!(trained.artifact.header.data.releases, 120);
}

#[test]
fn labels_of_one_kind_are_too_little_to_learn_from() {
    let healthy: Vec<PastRelease> = data().into_iter().filter(|r| !r.faulty).collect();
    assert!(matches!(
        train(&healthy, &settings()),
        Err(TrainError::Fit(FitError::TooLittle { faulty: 0, .. }))
    ));
}

#[test]
fn thresholds_do_what_the_judge_does() {
    let confirm = Confirm { failing: 2, of: 3 };
    let thresholds = Thresholds { act: Some(0.9), veto: Some(0.2) };
    let stop = |looks: Vec<Option<Considered>>, given: f64, thresholds| {
        let release = release(0, true, looks);
        let given: Vec<Option<f64>> =
            release.looks.iter().map(|l| l.considered.as_ref().map(|_| given)).collect();
        judge(0, &release, &given, thresholds, confirm).stopped_seconds
    };
    let funnel = || Some(considered([0.0; 2], Outcome::Failing, false));
    let rule = || Some(considered([0.0; 2], Outcome::Failing, true));
    let suspect = || Some(considered([0.0; 2], Outcome::Suspect, false));
    assert_eq!(stop(vec![funnel(), funnel()], 0.1, Thresholds::default()), Some(10.0));
    assert_eq!(stop(vec![funnel(), funnel()], 0.1, thresholds), None);
    assert_eq!(stop(vec![funnel(), funnel()], 0.2, thresholds), Some(10.0));
    assert_eq!(stop(vec![rule(), rule()], 0.0, thresholds), Some(10.0), "a rule is never vetoed");
    assert_eq!(stop(vec![suspect(), suspect()], 0.9, thresholds), Some(10.0));
    assert_eq!(stop(vec![suspect(), suspect()], 0.89, thresholds), None);
    // Two of the last three, and the newest among them.
    assert_eq!(stop(vec![funnel(), None, funnel()], 0.5, thresholds), Some(20.0));
    assert_eq!(stop(vec![funnel(), None, None, funnel()], 0.5, thresholds), None);
}

#[test]
fn looks_of_a_faulty_release_before_its_onset_teach_nothing() {
    let look = || Some(considered([0.0; 2], Outcome::Suspect, false));
    assert_eq!(release(0, true, vec![look(), look(), look(), None]).telling(Asked::Suspects).len(), 1);
    assert_eq!(release(1, false, vec![look(), look(), None]).telling(Asked::Suspects).len(), 2);
}

#[test]
fn figures_agree_with_those_by_hand() {
    assert!((brier(&[(1.0, true), (0.5, false)]) - 0.125).abs() < 1e-12);
    // Of four pairs three are in order, one is tied.
    let scored = [(0.9, true), (0.5, true), (0.5, false), (0.1, false)];
    assert!((area_under_curve(&scored) - 0.875).abs() < 1e-12);
}

#[test]
fn a_false_stop_costs_a_twentieth_of_a_miss_but_is_a_hundred_times_as_likely() {
    let outcomes =
        |caught, false_stops| Outcomes { faulty: 242, caught, healthy: 258, false_stops, delays: Vec::new() };
    // 0.01 * 20 * 121/242 - 0.99 * 129/258.
    assert!((utility(&outcomes(121, 129)) - (0.1 - 0.495)).abs() < 1e-12);
    assert!(is_better(&outcomes(163, 26), &outcomes(165, 42)), "2 stops for 16 false ones");
    assert!(!is_better(&outcomes(162, 0), &outcomes(165, 42)), "0.012 of recall is too much for anything");
    assert!(!is_better(&outcomes(165, 42), &outcomes(165, 42)));
}

#[test]
fn scores_of_a_logistic_model_have_its_intercept_and_the_artifact_the_same_probability() {
    // The label follows the first feature from 0.7 on, so that the intercept matters.
    let rows: Vec<Vec<f64>> = (0..100).map(|at| vec![f64::from(at) / 100.0]).collect();
    let labels = rows.iter().map(|row| row[0] >= 0.7).collect();
    let settings = FitSettings { kind: Kind::Logistic, trees: 1, depth: 1, rate: 0.5, seed: 1 };
    let fitted = Fitted::fit(&DataSet { rows, labels }, settings).unwrap();
    assert!(fitted.score(&[0.95]) > 0.0 && fitted.score(&[0.05]) < 0.0, "{fitted:?}");
    let calibrator = Calibrator { slope: 2.0, intercept: 0.5 };
    let bare = fitted.score(&[0.4]) - fitted.intercept;
    let (with, without) =
        (calibrator.probability(fitted.score(&[0.4])), fitted.absorb(calibrator).probability(bare));
    assert!((with - without).abs() < 1e-12, "{with} {without}");
}

#[test]
fn leaves_of_a_forest_vote_by_what_came_to_them_and_a_rare_label_counts_as_much() {
    // One row in ten is healthy; the second feature says nothing.
    let row = |at: usize| vec![if at.is_multiple_of(10) { 0.0 } else { 1.0 }, (at % 7) as f64];
    let rows: Vec<Vec<f64>> = (0..400).map(row).collect();
    let labels = (0..400).map(|at: usize| !at.is_multiple_of(10)).collect();
    let settings = FitSettings { kind: Kind::Forest, trees: 40, depth: 3, rate: 0.5, seed: 3 };
    let fitted = Fitted::fit(&DataSet { rows, labels }, settings).unwrap();
    let (harmless, harm) = (fitted.score(&[0.0, 3.0]), fitted.score(&[1.0, 3.0]));
    assert!(harmless < 0.0 && harm > 0.0, "{harmless} {harm}");
    assert!((harmless + harm).abs() < 0.3, "as far from the middle: {harmless} {harm}");
    let values = |node: &crate::judge::model::Node| node.feature.is_some() || node.value.abs() <= 1.0;
    assert!(fitted.trees.iter().all(|tree| tree.nodes.iter().all(values)));
}

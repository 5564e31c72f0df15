//! Known answers of the judges that the guardian is compared with.

use release_guardian::signal::{BadWhen, Shape, SignalClass};

use crate::judges::Judge;
use crate::judges::course::{Course, Metric, Pool};
use crate::judges::differences::{Differences, difference_score};
use crate::judges::mann_whitney::{Class, MannWhitney, Told, classify, score, shift_interval};
use crate::judges::thresholds::Thresholds;

fn metric(class: SignalClass, shape: Shape, bad_when: BadWhen, values: [Vec<f64>; 2]) -> Metric {
    let released = values[0].clone();
    Metric { class, shape, bad_when, outgoing: false, values: values.into(), released }
}

/// Two machines, the first of which is released after 20 of 60 minutes.
fn course(metrics: Vec<Metric>) -> Course {
    Course {
        metrics,
        released_from: vec![Some(21), None],
        start: 20,
        bins: 60,
        bin_seconds: 60.0,
        lead_seconds: 0.0,
    }
}

/// Small differences that repeat every seven minutes.
fn ripple(level: f64, height: f64) -> Vec<f64> {
    (0..60).map(|at| level + height * ((at * 5) % 7) as f64 / 7.0).collect()
}

fn from(at: usize, mut values: Vec<f64>, to: impl Fn(f64) -> f64) -> Vec<f64> {
    values[at..].iter_mut().for_each(|v| *v = to(*v));
    values
}

#[test]
fn the_shift_is_the_median_of_all_differences() {
    // Differences of {4, 6, 9} and {1, 2, 3}: 1 2 3 3 4 5 6 7 8; median 4.
    let found = shift_interval(&[4.0, 6.0, 9.0], &[1.0, 2.0, 3.0]);
    assert!((found.shift - 4.0).abs() < 1e-9, "{found:?}");
    // Three against three never reach 98 %: the bounds are the extremes.
    assert_eq!((found.low, found.high), (1.0, 8.0));
}

#[test]
fn the_bounds_are_order_statistics_of_the_differences() {
    // Ten against ten without ties: the score of k differences above mu is
    // (k - 50 -+ 0.5) / sqrt(175), which passes 2.326 between k = 81 and 82:
    // the bounds are the 19th smallest and the 19th largest difference.
    let x: Vec<f64> = (0..10).map(|v| f64::from(v * v) + 40.0).collect();
    let y: Vec<f64> = (0..10).map(|v| f64::from(v) * std::f64::consts::SQRT_2).collect();
    let mut differences: Vec<f64> = x.iter().flat_map(|a| y.iter().map(move |b| a - b)).collect();
    differences.sort_by(f64::total_cmp);
    let found = shift_interval(&x, &y);
    assert!((found.low - differences[18]).abs() < 1e-6, "{found:?} {}", differences[18]);
    assert!((found.high - differences[81]).abs() < 1e-6, "{found:?} {}", differences[81]);
}

#[test]
fn metrics_are_classified_by_direction_precision_and_data() {
    let low: Vec<f64> = (0..30).map(|v| 10.0 + f64::from(v % 7) * 0.1).collect();
    let high: Vec<f64> = low.iter().map(|v| v + 2.0).collect();
    assert_eq!(classify(&high, &low, BadWhen::Either), Class::High);
    assert_eq!(classify(&low, &high, BadWhen::Either), Class::Low);
    assert_eq!(classify(&low, &high, BadWhen::Higher), Class::Pass);
    assert_eq!(classify(&low, &low, BadWhen::Either), Class::Pass);
    assert_eq!(classify(&[f64::NAN], &low, BadWhen::Either), Class::NoData);
    // A mean of zero has no ratio: the effect is not asked for.
    assert_eq!(classify(&low, &[0.0; 30], BadWhen::Either), Class::High);
    // Two constants are ranked all the same, a single one is not shifted.
    assert_eq!(classify(&[3.0; 30], &[2.0; 30], BadWhen::Either), Class::High);
    assert_eq!(classify(&[3.0; 30], &[3.0; 20], BadWhen::Either), Class::Pass);
    // Precise and tiny fails too: the band is a share of the shift itself.
    let barely: Vec<f64> = low.iter().map(|v| v * 1.0001 + 0.2).collect();
    assert_eq!(classify(&barely, &low, BadWhen::Either), Class::High);
}

#[test]
fn the_score_is_the_mean_of_the_groups() {
    use SignalClass::{Errors, Latency, Saturation};
    let mixed = [(Errors, Class::Pass), (Errors, Class::High), (Latency, Class::Pass)];
    assert_eq!(score(&mixed), 75.0);
    let blind = [(Errors, Class::NoData), (Latency, Class::Pass), (Saturation, Class::Pass)];
    assert_eq!(score(&blind), 100.0, "a group without data counts in full");
    assert_eq!(score(&[(Errors, Class::NoData), (Latency, Class::Pass)]), 0.0, "half without data");
}

#[test]
fn the_mann_whitney_judge_stops_at_its_first_failing_look() {
    let steady = metric(
        SignalClass::Errors,
        Shape::Ratio,
        BadWhen::Higher,
        [ripple(0.01, 0.002), ripple(0.01, 0.002)],
    );
    let judge = MannWhitney::new(Told::Nothing);
    assert_eq!(judge.stopped_after_seconds(&course(vec![steady.clone()])), None);
    let worse = from(21, ripple(0.01, 0.002), |v| v + 0.05);
    let bad = metric(SignalClass::Errors, Shape::Ratio, BadWhen::Higher, [worse, ripple(0.01, 0.002)]);
    assert_eq!(judge.stopped_after_seconds(&course(vec![bad.clone()])), Some(600.0));
    // One group of five that fails is 80: above the margin until the last look.
    let classes = [SignalClass::Latency, SignalClass::Traffic, SignalClass::Saturation, SignalClass::Logs];
    let mut five = vec![bad];
    five.extend(classes.map(|class| Metric { class, ..steady.clone() }));
    assert_eq!(judge.stopped_after_seconds(&course(five)), Some(2400.0));
    let better = from(21, ripple(0.01, 0.002), |v| v / 2.0);
    let good = metric(SignalClass::Errors, Shape::Ratio, BadWhen::Higher, [better, ripple(0.01, 0.002)]);
    assert!(judge.stopped_after_seconds(&course(vec![good.clone()])).is_some(), "any change, by default");
    assert_eq!(MannWhitney::new(Told::Direction).stopped_after_seconds(&course(vec![good])), None);
}

#[test]
fn five_failed_checks_end_a_release_under_fixed_thresholds() {
    let judge = Thresholds::default();
    let errors =
        |values| metric(SignalClass::Errors, Shape::Ratio, BadWhen::Higher, [values, ripple(0.0, 0.001)]);
    assert_eq!(judge.stopped_after_seconds(&course(vec![errors(ripple(0.0, 0.009))])), None);
    let bad = errors(from(30, ripple(0.0, 0.001), |_| 0.02));
    // Minutes 30 to 34 fail; the fifth is over 15 minutes after the start.
    assert_eq!(judge.stopped_after_seconds(&course(vec![bad])), Some(900.0));
    let always = errors(ripple(0.03, 0.0));
    assert_eq!(judge.stopped_after_seconds(&course(vec![always])), None, "the limit is one it can keep");
    let silent = errors(from(25, ripple(0.0, 0.001), |_| f64::NAN));
    assert_eq!(judge.stopped_after_seconds(&course(vec![silent])), Some(600.0), "no value fails a check");
    let slow =
        metric(SignalClass::Latency, Shape::Slow, BadWhen::Higher, [ripple(0.6, 0.0), ripple(0.1, 0.0)]);
    assert_eq!(judge.stopped_after_seconds(&course(vec![slow])), None);
}

#[test]
fn differences_are_counted_in_standard_errors() {
    // Means 5 and 2, 3 and 2; each pair has variance 0.5, its mean 0.25.
    let z = difference_score(&[4.5, 5.5], &[1.5, 2.5], &[2.5, 3.5], &[1.5, 2.5]).unwrap();
    assert!((z - 2.0).abs() < 1e-12, "{z}");
    // Without a reference the change counts in full.
    let z = difference_score(&[4.5, 5.5], &[1.5, 2.5], &[], &[]).unwrap();
    assert!((z - 3.0 / 0.5f64.sqrt()).abs() < 1e-12, "{z}");
    assert_eq!(difference_score(&[1.0], &[1.0, 2.0], &[], &[]), None);
}

#[test]
fn plain_differences_subtract_what_the_others_do_too() {
    let latency = |released, reference| {
        metric(SignalClass::Latency, Shape::Mean, BadWhen::Higher, [released, reference])
    };
    let rise = |values| from(21, values, |v| v + 0.5);
    let shared = latency(rise(ripple(1.0, 0.1)), rise(ripple(1.0, 0.1)));
    let judge = Differences::default();
    assert_eq!(judge.stopped_after_seconds(&course(vec![shared])), None);
    let own = latency(rise(ripple(1.0, 0.1)), ripple(1.0, 0.1));
    assert_eq!(judge.stopped_after_seconds(&course(vec![own])), Some(360.0), "at the fifth value");
}

#[test]
fn values_are_pooled_by_what_was_released_when() {
    let numbers: Vec<f64> = (0..60).map(f64::from).collect();
    let one = metric(SignalClass::Other, Shape::Level, BadWhen::Either, [numbers.clone(), numbers]);
    let course = course(vec![one]);
    let pooled = |pool, a, b| course.pooled(&course.metrics[0], pool, a, b);
    assert_eq!(pooled(Pool::Released, 20, 23), [21.0, 22.0], "the minute of the restart is left out");
    assert_eq!(pooled(Pool::Before, 18, 30), [18.0, 19.0]);
    assert_eq!(pooled(Pool::Reference, 20, 22), [20.0, 21.0]);
}

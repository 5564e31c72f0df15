use proptest::prelude::*;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::judge::funnel::normal_tail;

const NAN: f64 = f64::NAN;

/// One metric alone has the whole budget: one judgement in twenty, in both
/// directions together.
fn alone() -> PairSettings {
    PairSettings::of(Measure::MeanRatio, 0.025)
}

fn outcome(e: &[f64], c: &[f64], settings: &PairSettings) -> PairOutcome {
    judge(e, c, settings).outcome
}

#[test]
fn a_few_errors_against_none_are_high() {
    let e = [0.0, 1.0, 2.0, 1.0, 0.0, 0.0];
    let found = judge(&e, &[0.0; 6], &alone());
    assert_eq!(found.outcome, PairOutcome::High, "{}", found.because);
    assert!(found.because.contains("4 events in 6 values, control 0 in 6"), "{}", found.because);
    assert_eq!(found.effect, None, "there is no ratio to nothing");
    // Rates with gaps, where a missing value means that there was no error.
    let rates = [NAN, 0.048, NAN, 0.18, 0.089, NAN, 0.098, 0.035, NAN, NAN];
    let zeros = PairSettings { gaps: Gaps::Zero, bad: BadDirection::Increase, ..alone() };
    assert_eq!(outcome(&rates, &[NAN; 10], &zeros), PairOutcome::High);
    assert_eq!(outcome(&[1.0, 4.0, 2.0, 3.0, 1.0], &[0.0; 5], &alone()), PairOutcome::High);
    // The other way round it is fewer errors.
    assert_eq!(outcome(&[0.0; 6], &e, &alone()), PairOutcome::Low);
    let upward = PairSettings { bad: BadDirection::Increase, ..alone() };
    assert_eq!(outcome(&[0.0; 6], &e, &upward), PairOutcome::Pass);
}

#[test]
fn a_series_that_exists_only_with_errors_is_counted_whatever_gaps_mean() {
    let mut e = [NAN; 25];
    for (at, value) in [(0, 1.0), (5, 2.0), (10, 1.0), (15, 2.0), (20, 1.0)] {
        e[at] = value;
    }
    for gaps in [Gaps::Remove, Gaps::Zero] {
        let settings = PairSettings { gaps, ..alone() };
        for control in [&[NAN; 25][..], &[]] {
            let found = judge(&e, control, &settings);
            assert_eq!(found.outcome, PairOutcome::High, "{gaps:?} {}", found.because);
            assert_eq!((found.experiment.count, found.control.count), (25, 25));
        }
        assert_eq!(outcome(&e, &e, &settings), PairOutcome::Pass);
    }
}

#[test]
fn one_error_and_one_burst_are_chance() {
    let mut one = [0.0; 60];
    one[17] = 1.0;
    assert_eq!(outcome(&one, &[0.0; 60], &alone()), PairOutcome::Pass);
    one[17] = 50.0;
    assert_eq!(outcome(&one, &[0.0; 60], &alone()), PairOutcome::Pass, "fifty at once are one event");
    for value in &mut one[30..] {
        *value = 3.0;
    }
    assert_eq!(outcome(&one, &[0.0; 60], &alone()), PairOutcome::High);
}

#[test]
fn a_series_of_another_restlessness_is_told_apart() {
    let calm = [10.0, 10.1, 10.2, 10.3, 10.4, 10.5, 10.6, 17.0, 17.1, 17.2, 17.3, 17.4, 17.5, 17.6, 17.7];
    let wild = [1.0, 100.0, 4.0, 101.0, 5.0, 102.0, 6.0, 103.0, 7.0, 104.0, 8.0, 105.0, 9.0, 106.0, 17.0];
    let found = judge(&wild, &calm, &alone());
    assert_eq!(found.outcome, PairOutcome::High, "{}", found.because);
    assert_eq!(outcome(&calm, &wild, &alone()), PairOutcome::Low);
    // Who only fears an increase does not mind calm.
    let upward = PairSettings { bad: BadDirection::Increase, ..alone() };
    assert_eq!(outcome(&calm, &wild, &upward), PairOutcome::Pass);
    // Seven of ten values left what the control never left.
    let mut left = [100.0; 10];
    left[7..].fill(1.0);
    assert_eq!(outcome(&left, &[1.0; 10], &alone()), PairOutcome::High);
}

#[test]
fn equal_and_equally_constant_series_pass() {
    let values = [3.0, 1.0, 2.0];
    assert_eq!(outcome(&values, &[1.0, 2.0, 3.0], &alone()), PairOutcome::Pass);
    assert_eq!(outcome(&[5.0; 30], &[5.0; 12], &alone()), PairOutcome::Pass);
    assert_eq!(outcome(&[6.0; 30], &[5.0; 30], &alone()), PairOutcome::High);
    assert_eq!(outcome(&[5.1; 30], &[5.0; 30], &alone()), PairOutcome::Pass, "two per cent matter to nobody");
}

#[test]
fn silence_is_not_health() {
    let c: Vec<f64> = (0..60).map(|i| 100.0 + f64::from(i % 7)).collect();
    assert_eq!(outcome(&[NAN; 60], &c, &alone()), PairOutcome::Silent);
    assert_eq!(outcome(&[], &c, &alone()), PairOutcome::Silent);
    let found = judge(&c, &[], &alone());
    assert_eq!(found.outcome, PairOutcome::NoData);
    assert!(found.because.contains("nanStrategy replace"), "{}", found.because);
    assert_eq!(outcome(&[], &[], &alone()), PairOutcome::NoData);
    assert_eq!(outcome(&[NAN; 9], &[NAN; 9], &alone()), PairOutcome::NoData);
    assert_eq!(outcome(&[1.0, 2.0], &[5.0, 6.0], &alone()), PairOutcome::NoData, "too few");
    let zeros = PairSettings { gaps: Gaps::Zero, ..alone() };
    assert_eq!(outcome(&[], &[], &zeros), PairOutcome::NoData);
    assert_eq!(outcome(&[], &c, &zeros), PairOutcome::Low, "it was said that silence is zero");
    assert_eq!(outcome(&[NAN; 9], &[NAN; 9], &zeros), PairOutcome::Pass);
}

#[test]
fn what_settings_allow_is_allowed_and_what_is_critical_is_told() {
    let c: Vec<f64> = (0..60).map(|i| 100.0 + f64::from(i % 5)).collect();
    let e: Vec<f64> = c.iter().map(|v| v * 1.2).collect();
    assert_eq!(outcome(&e, &c, &alone()), PairOutcome::High);
    let allowed = PairSettings { allowed_increase: 1.25, ..alone() };
    assert_eq!(outcome(&e, &c, &allowed), PairOutcome::Pass);
    let critical = PairSettings { critical_increase: 1.5, ..alone() };
    assert!(!judge(&e, &c, &critical).is_critical);
    assert!(judge(&e, &c, &PairSettings { critical_increase: 1.1, ..alone() }).is_critical);
    let small: Vec<f64> = c.iter().map(|v| v * 1.04).collect();
    assert_eq!(outcome(&small, &c, &alone()), PairOutcome::Pass);
    assert_eq!(outcome(&small, &c, &PairSettings { allowed_increase: 1.03, ..alone() }), PairOutcome::High);
    let cles = PairSettings { allowed_increase: 0.9, ..PairSettings::of(Measure::Cles, 0.025) };
    assert_eq!(judge(&e, &c, &cles).effect, Some(1.0));
    assert_eq!(outcome(&e, &c, &cles), PairOutcome::High);
    assert_eq!(super::cles(&[1.0, 2.0], &[1.0, 3.0]), (0.5 + 0.0 + 1.0 + 0.0) / 4.0);
    let downward = PairSettings { bad: BadDirection::Decrease, ..alone() };
    assert_eq!(outcome(&e, &c, &downward), PairOutcome::Pass);
    assert_eq!(outcome(&c, &e, &downward), PairOutcome::Low);
}

#[test]
fn a_fault_that_came_late_is_seen_and_one_that_healed_is_not_held_against_it() {
    let mut dice = ChaCha8Rng::seed_from_u64(11);
    let c = wander(&mut dice, 60, 0.0);
    let base = wander(&mut dice, 60, 0.0);
    let late: Vec<f64> = (0..60).map(|i| if i >= 42 { base[i] + 12.0 } else { base[i] }).collect();
    let found = judge(&late, &c, &alone());
    assert_eq!(found.outcome, PairOutcome::High, "{}", found.because);
    let healed: Vec<f64> = (0..60).map(|i| if i < 6 { base[i] + 30.0 } else { base[i] }).collect();
    assert_eq!(outcome(&healed, &c, &alone()), PairOutcome::Pass);
    let mut outlier = base.clone();
    outlier[20] = 10_000.0;
    assert_eq!(outcome(&outlier, &c, &alone()), PairOutcome::Pass);
    let removed = PairSettings { outlier_factor: Some(3.0), ..alone() };
    assert_eq!(judge(&outlier, &c, &removed).experiment.count, 59);
    // By hand: quartiles of 1..=9 are 3 and 7; 99 is beyond 7 + 3 * 4.
    let values: Vec<f64> = (1..=200).map(|i| f64::from(i % 9)).chain([99.0, 98.0, 97.0]).collect();
    assert_eq!(without_outliers(values, 3.0).len(), 200, "the 99th percentile lies between 8 and 97");
}

/// A series around 10 with spread 3 whose neighbours correlate.
fn wander(dice: &mut ChaCha8Rng, count: usize, correlation: f64) -> Vec<f64> {
    let mut normal = || {
        let (u, v): (f64, f64) = (dice.random::<f64>().max(1e-300), dice.random());
        (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
    };
    let mut state = normal();
    let mut values = Vec::new();
    for _ in 0..count {
        values.push(10.0 + 3.0 * state);
        state = correlation * state + (1.0 - correlation * correlation).sqrt() * normal();
    }
    values
}

/// The rank test that canary judges use, two-sided at 98 %.
fn ranks_differ(e: &[f64], c: &[f64]) -> bool {
    let (n, m) = (e.len() as f64, c.len() as f64);
    let u = cles(e, c) * n * m;
    let z = ((u - n * m / 2.0).abs() - 0.5) / (n * m * (n + m + 1.0) / 12.0).sqrt();
    2.0 * normal_tail(z) < 0.02
}

/// The shares of 1,000 identical pairs that pass stand in docs/kayenta.md.
#[test]
fn identical_pairs_pass_also_when_minutes_are_not_independent() {
    let mut dice = ChaCha8Rng::seed_from_u64(426);
    let mut told = Vec::new();
    for correlation in [0.0, 0.3, 0.6, 0.9] {
        let (mut passed, mut by_ranks) = (0, 0);
        for _ in 0..1_000 {
            let (e, c) = (wander(&mut dice, 60, correlation), wander(&mut dice, 60, correlation));
            passed += u32::from(outcome(&e, &c, &alone()) == PairOutcome::Pass);
            by_ranks += u32::from(!ranks_differ(&e, &c));
        }
        told.push((correlation, passed, by_ranks));
    }
    println!("correlation, passed of 1000 here, and by ranks: {told:?}");
    assert!(told.iter().all(|(_, passed, _)| *passed >= 930), "{told:?}");
    let (_, passed, by_ranks) = told[3];
    assert!(passed > by_ranks + 400, "{told:?}");
}

#[test]
fn real_shifts_are_found() {
    let mut dice = ChaCha8Rng::seed_from_u64(780);
    let mut found = [0, 0];
    for _ in 0..200 {
        for (at, correlation) in [0.0, 0.6].into_iter().enumerate() {
            let e: Vec<f64> = wander(&mut dice, 60, correlation).iter().map(|v| v + 6.0).collect();
            let c = wander(&mut dice, 60, correlation);
            found[at] += u32::from(outcome(&e, &c, &alone()) == PairOutcome::High);
        }
    }
    assert!(found[0] >= 198 && found[1] >= 150, "{found:?} of 200");
}

fn any_value() -> impl Strategy<Value = f64> {
    prop_oneof![
        4 => 0.0..100.0f64,
        2 => Just(0.0),
        1 => Just(NAN),
        1 => prop_oneof![Just(f64::INFINITY), Just(1e308), Just(-1e308), Just(5e-324)],
        1 => -100.0..0.0f64,
    ]
}

proptest! {
    #[test]
    fn no_input_panics_and_a_series_always_passes_against_itself(
        e in prop::collection::vec(any_value(), 0..80),
        c in prop::collection::vec(any_value(), 0..80),
        zero in any::<bool>(), cles in any::<bool>(), outliers in any::<bool>(), tail in 0.0..0.5f64,
    ) {
        let measure = if cles { Measure::Cles } else { Measure::MeanRatio };
        let settings = PairSettings {
            gaps: if zero { Gaps::Zero } else { Gaps::Remove },
            outlier_factor: outliers.then_some(3.0),
            ..PairSettings::of(measure, tail)
        };
        judge(&e, &c, &settings);
        let same = outcome(&e, &e, &settings);
        prop_assert!(matches!(same, PairOutcome::Pass | PairOutcome::NoData), "{same:?}");
    }

    #[test]
    fn only_the_feared_direction_fails(
        e in prop::collection::vec(0.0..100.0f64, 5..60),
        c in prop::collection::vec(0.0..50.0f64, 5..60),
    ) {
        let toward = |bad, e: &[f64], c: &[f64]| outcome(e, c, &PairSettings { bad, ..alone() });
        prop_assert_ne!(toward(BadDirection::Increase, &e, &c), PairOutcome::Low);
        prop_assert_ne!(toward(BadDirection::Decrease, &c, &e), PairOutcome::High);
    }
}

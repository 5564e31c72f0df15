//! The count test for sparse events: zero against a few is evidence here,
//! where rank tests see nothing.

use statrs::distribution::{Discrete, NegativeBinomial};

/// Terms of the tail that are summed before the normal tail takes over.
const TERMS_MAX: u64 = 2_000;

/// The probability of at least `events` among `exposure`, when `past_events`
/// among `past_exposure` were seen before: the rate has a gamma distribution
/// (Jeffreys' prior, one half), so the count is negative binomial.
///
/// Both exposures are in the same unit; returns 1 where nothing can be said.
pub fn tail_probability(events: f64, exposure: f64, past_events: f64, past_exposure: f64) -> f64 {
    let usable = events.is_finite() && exposure > 0.0 && past_exposure > 0.0 && past_events >= 0.0;
    if !usable || events < 0.5 {
        return 1.0;
    }
    let shape = past_events + 0.5;
    let success = past_exposure / (past_exposure + exposure);
    let expected = shape * exposure / past_exposure;
    let count = events.round() as u64;
    if (count as f64) <= expected {
        return 1.0;
    }
    let variance = expected * (1.0 + exposure / past_exposure);
    if count > 50_000 || expected > 20_000.0 {
        return normal_tail((events - 0.5 - expected) / variance.sqrt());
    }
    let Ok(distribution) = NegativeBinomial::new(shape, success) else { return 1.0 };
    // Above its mean the terms fall geometrically, so the sum soon ends. Each
    // follows from the one before: P(k + 1) / P(k) = (k + shape) / (k + 1) * (1 - success).
    let mut term = distribution.pmf(count);
    let mut total = term;
    for k in count..count + TERMS_MAX {
        if term <= total * 1e-9 {
            break;
        }
        term *= (k as f64 + shape) / (k as f64 + 1.0) * (1.0 - success);
        total += term;
    }
    total.clamp(0.0, 1.0)
}

/// Tails below this are told by the deviance: numbers end soon after.
const TAIL_MIN: f64 = 1e-250;

/// How far out this [`tail_probability`] is, in standard deviations of the normal. It
/// does not end where probabilities do: clustered events divide it by much, and
/// what is left must still tell more from less. Far out it is the signed root of
/// the Poisson deviance (McCullagh and Nelder, Generalized Linear Models, 2.3),
/// with the variance of the past added.
pub fn standard_score(tail: f64, events: f64, exposure: f64, past_events: f64, past_exposure: f64) -> f64 {
    if tail > TAIL_MIN {
        return normal_quantile(tail);
    }
    let expected = (past_events + 0.5) * exposure / past_exposure;
    let deviance = 2.0 * (events * (events / expected).ln() - (events - expected));
    (deviance / (1.0 + exposure / past_exposure)).sqrt()
}

/// The upper tail of the standard normal distribution.
pub fn normal_tail(z: f64) -> f64 {
    0.5 * statrs::function::erf::erfc(z / std::f64::consts::SQRT_2)
}

/// The point that the standard normal exceeds with probability `p`.
pub fn normal_quantile(p: f64) -> f64 {
    std::f64::consts::SQRT_2 * statrs::function::erf::erfc_inv(2.0 * p.clamp(1e-300, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_before_and_a_few_now_is_evidence() {
        // Expectation 0.5 * 1000 / 10000 = 0.05; seven events are far out.
        let p = tail_probability(7.0, 1_000.0, 0.0, 10_000.0);
        assert!(p < 1e-6, "{p}");
        assert!(tail_probability(1.0, 1_000.0, 0.0, 10_000.0) > 0.01);
    }

    #[test]
    fn the_tail_agrees_with_a_hand_computed_value() {
        // shape 0.5, success 1/2: P(0) = sqrt(1/2), so P(X >= 1) = 0.29289.
        let p = tail_probability(1.0, 100.0, 0.0, 100.0);
        assert!((p - (1.0 - 0.5f64.sqrt())).abs() < 1e-6, "{p}");
    }

    #[test]
    fn the_tail_is_the_sum_of_the_distributions_terms() {
        for (events, exposure, past, past_exposure) in
            [(3.0, 50.0, 2.0, 400.0), (40.0, 900.0, 100.0, 9_000.0), (700.0, 1e4, 900.0, 2e4)]
        {
            let shape = past + 0.5;
            let distribution =
                NegativeBinomial::new(shape, past_exposure / (past_exposure + exposure)).unwrap();
            let sum: f64 = (events as u64..events as u64 + TERMS_MAX).map(|k| distribution.pmf(k)).sum();
            let tail = tail_probability(events, exposure, past, past_exposure);
            assert!((tail / sum - 1.0).abs() < 1e-6, "{tail} {sum}");
        }
    }

    #[test]
    fn what_is_expected_is_no_evidence() {
        assert_eq!(tail_probability(10.0, 100.0, 100.0, 1_000.0), 1.0);
        assert_eq!(tail_probability(0.0, 100.0, 0.0, 100.0), 1.0);
        assert_eq!(tail_probability(f64::NAN, 100.0, 0.0, 100.0), 1.0);
        assert_eq!(tail_probability(5.0, 0.0, 0.0, 0.0), 1.0);
    }

    #[test]
    fn the_score_goes_on_where_probabilities_end() {
        let score =
            |events: f64| standard_score(tail_probability(events, 1e4, 1e4, 1e6), events, 1e4, 1e4, 1e6);
        let scores: Vec<f64> = (0..40).map(|k| score(150.0 * 1.2f64.powi(k))).collect();
        assert!(scores.windows(2).all(|pair| pair[0] < pair[1]), "{scores:?}");
        // By hand: 2 * (2000 * ln 20 - 1900) / 1.01 = 8102, whose root is 90.0.
        assert!((score(2_000.0) - 90.0).abs() < 0.1, "{}", score(2_000.0));
    }

    #[test]
    fn quantile_and_tail_undo_each_other() {
        for p in [1e-8, 1e-4, 0.02, 0.5] {
            assert!((normal_tail(normal_quantile(p)) / p - 1.0).abs() < 1e-6);
        }
    }
}

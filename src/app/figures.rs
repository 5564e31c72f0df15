//! The figures that decide whether a judge is worth using.

use std::fmt;

use crate::domain::LabelOutcome;

use super::replay::Replayed;

/// A share with its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Share {
    /// How many.
    pub count: usize,
    /// Of how many.
    pub of: usize,
}

impl Share {
    /// The share; nothing of nothing is not a number.
    pub fn value(self) -> f64 {
        if self.of == 0 { f64::NAN } else { self.count as f64 / self.of as f64 }
    }

    /// Wilson's score interval at 95 %: holds at 0 and 1, where the normal one
    /// has no width.
    pub fn interval(self) -> (f64, f64) {
        const Z: f64 = 1.959_964;
        if self.of == 0 {
            return (0.0, 1.0);
        }
        let (n, p) = (self.of as f64, self.value());
        let center = (p + Z * Z / (2.0 * n)) / (1.0 + Z * Z / n);
        let half = Z / (1.0 + Z * Z / n) * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
        ((center - half).max(0.0), (center + half).min(1.0))
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.of == 0 {
            return f.write_str("no such release");
        }
        let (low, high) = self.interval();
        write!(f, "{:.3} ({} of {}, 95 % interval {low:.3} to {high:.3})", self.value(), self.count, self.of)
    }
}

/// Recall, false stops and delay over labelled releases.
#[derive(Clone, Debug, PartialEq)]
pub struct Figures {
    /// Faulty releases that were stopped.
    pub recall: Share,
    /// Good releases that were stopped.
    pub false_stops: Share,
    /// Seconds from onset to stop, of faulty releases, sorted.
    pub delays_seconds: Vec<f64>,
    /// Releases without a label.
    pub unlabelled: usize,
    /// Releases of which nothing was judged: a good one did not pass then, a
    /// faulty one was missed.
    pub unjudged: usize,
}

impl Figures {
    /// Over replayed releases.
    pub fn of(releases: &[&Replayed]) -> Self {
        let of = |outcome: LabelOutcome| {
            let counts = |r: &&&Replayed| r.judged || outcome == LabelOutcome::Faulty;
            let those = releases.iter().filter(|r| r.label.as_ref().is_some_and(|l| l.outcome == outcome));
            let those = those.filter(counts);
            let stopped = those.clone().filter(|r| r.is_stopped()).count();
            Share { count: stopped, of: those.count() }
        };
        let mut delays: Vec<f64> = releases
            .iter()
            .filter(|r| r.label.as_ref().is_some_and(|l| l.outcome == LabelOutcome::Faulty))
            .filter_map(|r| r.delay_seconds())
            .collect();
        delays.sort_by(f64::total_cmp);
        Self {
            recall: of(LabelOutcome::Faulty),
            false_stops: of(LabelOutcome::Healthy),
            delays_seconds: delays,
            unlabelled: releases.iter().filter(|r| r.label.is_none()).count(),
            unjudged: releases.iter().filter(|r| !r.judged).count(),
        }
    }

    /// Seconds from onset to stop that half of the stops kept to.
    pub fn median_delay_seconds(&self) -> Option<f64> {
        let middle = self.delays_seconds.len().checked_sub(1)? / 2;
        self.delays_seconds.get(middle).copied()
    }

    /// Of the releases that would be stopped where `faulty` of all releases
    /// are faulty, how many would be.
    pub fn precision_at(&self, faulty: f64) -> f64 {
        let right = self.recall.value() * faulty;
        let wrong = self.false_stops.value() * (1.0 - faulty);
        right / (right + wrong)
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "recall                       {}", self.recall)?;
        writeln!(f, "false stops per good release {}", self.false_stops)?;
        for faulty in [0.01, 0.05] {
            let precision = self.precision_at(faulty);
            // Nothing stopped, or nothing labelled: there is no share of it.
            let shown = if precision.is_nan() { "unknown".to_owned() } else { format!("{precision:.2}") };
            writeln!(f, "precision at {:.0} % faulty     {shown}", faulty * 100.0)?;
        }
        match self.median_delay_seconds() {
            Some(delay) => writeln!(f, "median delay from onset      {delay:.0} s")?,
            None => writeln!(f, "median delay from onset      unknown")?,
        }
        if self.unlabelled > 0 {
            writeln!(f, "without a label              {}", self.unlabelled)?;
        }
        if self.unjudged > 0 {
            writeln!(f, "nothing was judged of        {}", self.unjudged)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_agrees_with_wilsons_by_hand() {
        // 9 of 10: centre 0.7921 and half width 0.1958 at z = 1.96.
        let (low, high) = Share { count: 9, of: 10 }.interval();
        assert!((low - 0.5958).abs() < 1e-3 && (high - 0.9821).abs() < 1e-3, "{low} {high}");
        let (low, high) = Share { count: 0, of: 60 }.interval();
        assert!(low == 0.0 && (high - 0.0602).abs() < 1e-3, "{high}");
    }

    #[test]
    fn precision_is_weighed_to_how_rare_faults_are() {
        let figures = Figures {
            recall: Share { count: 9, of: 10 },
            false_stops: Share { count: 1, of: 100 },
            delays_seconds: vec![10.0, 20.0, 90.0],
            unlabelled: 0,
            unjudged: 0,
        };
        assert!((figures.precision_at(0.01) - 0.009 / (0.009 + 0.0099)).abs() < 1e-12);
        assert_eq!(figures.median_delay_seconds(), Some(20.0));
    }

    #[test]
    fn a_precision_of_nothing_is_unknown_and_no_number() {
        let none = Share { count: 0, of: 0 };
        let figures = Figures {
            recall: none,
            false_stops: none,
            delays_seconds: Vec::new(),
            unlabelled: 0,
            unjudged: 0,
        };
        let text = figures.to_string();
        assert!(text.contains("precision at 1 % faulty     unknown") && !text.contains("NaN"), "{text}");
    }
}

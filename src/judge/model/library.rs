//! The feature library: labelled suspicious patterns of past releases, and
//! which of them a new one looks like.

use serde::{Deserialize, Serialize};

use crate::judge::SimilarCase;

use super::Features;

/// One labelled case.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Case {
    /// Which release it was.
    pub release: String,
    /// What was wrong with it; absent if it was healthy.
    pub cause: Option<String>,
    /// Its features at the look that showed most.
    pub values: Vec<f64>,
}

/// The labelled cases, and by how much each feature usually differs.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
pub struct Library {
    /// Standard deviation of each feature, floored.
    pub spread: Vec<f64>,
    /// The cases.
    pub cases: Vec<Case>,
}

impl Library {
    /// The nearest cases, nearest first; equal ones in the library's order.
    pub fn nearest(&self, features: &Features, count: usize) -> Vec<SimilarCase> {
        let mut found: Vec<(f64, &Case)> =
            self.cases.iter().map(|case| (self.distance(features, case), case)).collect();
        found.sort_by(|a, b| a.0.total_cmp(&b.0));
        found
            .into_iter()
            .take(count)
            .map(|(distance, case)| SimilarCase {
                release: case.release.clone(),
                cause: case.cause.clone(),
                distance,
            })
            .collect()
    }

    fn distance(&self, features: &Features, case: &Case) -> f64 {
        let squares: f64 = features
            .values()
            .iter()
            .zip(&case.values)
            .zip(&self.spread)
            .map(|((a, b), spread)| ((a - b) / spread).powi(2))
            .sum();
        (squares / self.spread.len().max(1) as f64).sqrt()
    }
}

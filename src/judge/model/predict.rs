//! A fitted model's word on one look.

use crate::judge::SimilarCase;

use super::{Artifact, Features, Kind, Node, Tree};

/// Cases shown beside a probability.
const SIMILAR: usize = 3;

/// A checked artifact, ready to be asked.
#[derive(Clone)]
pub struct Model {
    artifact: Artifact,
}

/// Thousands of numbers would tell nobody anything.
impl std::fmt::Debug for Model {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.describe())
    }
}

/// A model's identity is its file's hash: the same data and seed may give
/// another one.
impl PartialEq for Model {
    fn eq(&self, other: &Self) -> bool {
        self.artifact.hash == other.artifact.hash
    }
}

impl Model {
    /// A model from an artifact that was checked when it was read.
    pub fn new(artifact: Artifact) -> Self {
        Self { artifact }
    }

    /// What was fitted, on what, and how good it was.
    pub fn artifact(&self) -> &Artifact {
        &self.artifact
    }

    /// The probability that the release is faulty, 0 to 1.
    pub fn probability(&self, features: &Features) -> f64 {
        let payload = &self.artifact.payload;
        payload.calibrator.probability(self.score(features))
    }

    /// The score before calibration; trees vote from -1 to 1.
    pub fn score(&self, features: &Features) -> f64 {
        let payload = &self.artifact.payload;
        match self.artifact.header.kind {
            Kind::Boosted | Kind::Forest => vote(&payload.trees, features.values()),
            Kind::Logistic => {
                payload.linear.iter().zip(features.values()).map(|(weight, value)| weight * value).sum()
            }
        }
    }

    /// The labelled cases that look most like it.
    pub fn similar(&self, features: &Features) -> Vec<SimilarCase> {
        self.artifact.payload.library.nearest(features, SIMILAR)
    }

    /// Its name and version.
    pub fn name(&self) -> String {
        let header = &self.artifact.header;
        format!("model {} {}", header.name, header.version)
    }

    /// Its name, version and hash.
    pub fn describe(&self) -> String {
        format!("{} ({})", self.name(), &self.artifact.hash[..12])
    }
}

/// The trees' weighted vote, -1 to 1; nothing of nothing is 0.
pub fn vote(trees: &[Tree], values: &[f64]) -> f64 {
    let mut sum = 0.0;
    let mut weights = 0.0;
    for tree in trees {
        sum += tree.weight * tree.nodes.get(leaf_of(&tree.nodes, values)).map_or(0.0, |leaf| leaf.value);
        weights += tree.weight;
    }
    if weights > 0.0 { sum / weights } else { 0.0 }
}

/// The place of the leaf that some values come to.
pub fn leaf_of(nodes: &[Node], values: &[f64]) -> usize {
    let mut at = 0;
    // Children stand behind their parents, so the walk ends.
    while let Some(Node { feature: Some(feature), threshold, left, right, .. }) = nodes.get(at) {
        let is_left = values.get(usize::from(*feature)).is_some_and(|v| v < threshold);
        at = if is_left { *left as usize } else { *right as usize };
    }
    at
}

//! Fitting with linfa, and its trees as our own flat ones: its structs follow
//! its versions, an artifact must not.

use linfa::prelude::Fit;
use linfa::{Dataset, DatasetBase};
use linfa_ensemble::{AdaBoostParams, EnsembleLearnerParams};
use linfa_logistic::LogisticRegression;
use linfa_trees::{DecisionTree, TreeNode};
use ndarray::{Array1, Array2};
use rand_chacha_03::ChaCha8Rng;
use rand_chacha_03::rand_core::SeedableRng;

use crate::judge::model::{Calibrator, Kind, Node, Tree};

use super::DataSet;

/// How a model is fitted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FitSettings {
    /// Which kind.
    pub kind: Kind,
    /// Trees of a boosted model.
    pub trees: usize,
    /// Their depth.
    pub depth: usize,
    /// How much each corrects those before it.
    pub rate: f64,
    /// Of the resampling.
    pub seed: u64,
}

/// Why nothing was fitted.
#[derive(Debug, thiserror::Error)]
pub enum FitError {
    /// Too little, or of one kind only.
    #[error(
        "{faulty} faulty and {healthy} healthy looks are too few to learn from: at least 20 of each are needed"
    )]
    TooLittle {
        /// Rows.
        faulty: usize,
        /// Rows.
        healthy: usize,
    },
    /// The library refused.
    #[error("the model cannot be fitted: {0}")]
    Fit(String),
}

/// Fitted numbers without their calibration.
#[derive(Clone, Debug, PartialEq)]
pub struct Fitted {
    /// Which kind.
    pub kind: Kind,
    /// Of a boosted model.
    pub trees: Vec<Tree>,
    /// Of a logistic model.
    pub linear: Vec<f64>,
    /// Added to a logistic model's sum; 0 of a boosted one. Scores of models
    /// that were fitted to different folds compare only with it.
    pub intercept: f64,
}

const ROWS_MIN: usize = 20;

/// The rarer label is repeated at most so often.
const REPEATED_MAX: usize = 20;

/// Depth of a forest's trees, and the shares of rows and features that each is
/// given.
const FOREST_DEPTH: usize = 8;
const FOREST_ROWS: f64 = 0.6;
const FOREST_FEATURES: f64 = 0.3;

impl Fitted {
    /// Fits a model to rows.
    ///
    /// # Errors
    /// If there is too little to learn from.
    pub fn fit(set: &DataSet, settings: FitSettings) -> Result<Self, FitError> {
        let faulty = set.labels.iter().filter(|l| **l).count();
        let healthy = set.labels.len() - faulty;
        if faulty.min(healthy) < ROWS_MIN {
            return Err(FitError::TooLittle { faulty, healthy });
        }
        let width = set.rows.first().map_or(0, Vec::len);
        let flat: Vec<f64> = set.rows.iter().flatten().copied().collect();
        let records = Array2::from_shape_vec((set.rows.len(), width), flat)
            .map_err(|error| FitError::Fit(error.to_string()))?;
        let targets: Array1<usize> = set.labels.iter().map(|l| usize::from(*l)).collect();
        match settings.kind {
            Kind::Boosted => boosted(records, targets, settings),
            Kind::Forest => forest(set, settings),
            Kind::Logistic => logistic(records, targets),
        }
    }

    /// The score of a row, with the intercept.
    pub fn score(&self, values: &[f64]) -> f64 {
        match self.kind {
            Kind::Boosted | Kind::Forest => crate::judge::model::vote(&self.trees, values),
            Kind::Logistic => {
                let sum: f64 = self.linear.iter().zip(values).map(|(weight, value)| weight * value).sum();
                sum + self.intercept
            }
        }
    }

    /// The calibrator for scores without the intercept, as artifacts have them.
    pub fn absorb(&self, calibrator: Calibrator) -> Calibrator {
        Calibrator { intercept: calibrator.intercept + calibrator.slope * self.intercept, ..calibrator }
    }
}

fn boosted(records: Array2<f64>, targets: Array1<usize>, settings: FitSettings) -> Result<Fitted, FitError> {
    let tree = DecisionTree::<f64, usize>::params()
        .max_depth(Some(settings.depth))
        .min_weight_leaf(5.0)
        .min_weight_split(10.0);
    let set = Dataset::new(records, targets);
    let model = AdaBoostParams::new_fixed_rng(tree, ChaCha8Rng::seed_from_u64(settings.seed))
        .n_estimators(settings.trees)
        .learning_rate(settings.rate)
        .fit(&set)
        .map_err(|error| FitError::Fit(error.to_string()))?;
    let trees = model
        .models
        .iter()
        .zip(&model.model_weights)
        .map(|(tree, weight)| {
            let mut nodes = Vec::new();
            flatten(tree.root_node(), None, &mut nodes);
            Tree { weight: *weight, nodes }
        })
        .collect();
    Ok(Fitted { kind: Kind::Boosted, trees, linear: Vec::new(), intercept: 0.0 })
}

/// Trees on random rows and features, whose leaves vote by the share of faulty
/// looks in them.
fn forest(set: &DataSet, settings: FitSettings) -> Result<Fitted, FitError> {
    let count = |label: bool| set.labels.iter().filter(|l| **l == label).count().max(1);
    let rare = count(true) < count(false);
    let times = (count(!rare) / count(rare)).clamp(1, REPEATED_MAX);
    // A rare label is repeated, or every leaf would have the same majority.
    let repeated = |row: usize| if set.labels[row] == rare { times } else { 1 };
    let order: Vec<usize> =
        (0..set.rows.len()).flat_map(|row| std::iter::repeat_n(row, repeated(row))).collect();
    let flat: Vec<f64> = order.iter().flat_map(|row| set.rows[*row].iter().copied()).collect();
    let width = set.rows.first().map_or(0, Vec::len);
    let records = Array2::from_shape_vec((order.len(), width), flat)
        .map_err(|error| FitError::Fit(error.to_string()))?;
    let targets: Array1<usize> = order.iter().map(|row| usize::from(set.labels[*row])).collect();
    let tree = DecisionTree::<f64, usize>::params()
        .max_depth(Some(FOREST_DEPTH))
        .min_weight_leaf(6.0)
        .min_weight_split(12.0);
    let model = EnsembleLearnerParams::new_fixed_rng(tree, ChaCha8Rng::seed_from_u64(settings.seed))
        .ensemble_size(settings.trees)
        .bootstrap_proportion(FOREST_ROWS)
        .feature_proportion(FOREST_FEATURES)
        .fit(&Dataset::new(records, targets))
        .map_err(|error| FitError::Fit(error.to_string()))?;
    let trees = model.models.iter().zip(&model.model_features).map(|(tree, features)| {
        let mut nodes = Vec::new();
        flatten(tree.root_node(), Some(features), &mut nodes);
        weigh_leaves(&mut nodes, set, repeated);
        Tree { weight: 1.0, nodes }
    });
    Ok(Fitted { kind: Kind::Forest, trees: trees.collect(), linear: Vec::new(), intercept: 0.0 })
}

/// Digits beyond these make an artifact larger and nothing better.
fn rounded(value: f64) -> f64 {
    (value * 1e5).round() / 1e5
}

/// Leaves vote by how many looks of each label they have, from -1 to 1.
fn weigh_leaves(nodes: &mut [Node], set: &DataSet, repeated: impl Fn(usize) -> usize) {
    let mut counts = vec![(1.0, 2.0); nodes.len()];
    for (row, values) in set.rows.iter().enumerate() {
        let at = crate::judge::model::leaf_of(nodes, values);
        let weight = repeated(row) as f64;
        counts[at].0 += if set.labels[row] { weight } else { 0.0 };
        counts[at].1 += weight;
    }
    for (node, (faulty, all)) in nodes.iter_mut().zip(counts) {
        if node.feature.is_none() {
            node.value = rounded(2.0 * faulty / all - 1.0);
        }
    }
}

/// Parents before their children; gives the node's place. `chosen` are the
/// features that a tree was given, if not all.
fn flatten(node: &TreeNode<f64, usize>, chosen: Option<&[usize]>, nodes: &mut Vec<Node>) -> u32 {
    let at = nodes.len();
    let leaf = |value: usize| Node {
        feature: None,
        threshold: 0.0,
        left: 0,
        right: 0,
        value: if value == 1 { 1.0 } else { -1.0 },
    };
    let (feature, threshold, _) = node.split();
    nodes.push(leaf(node.prediction().unwrap_or(0)));
    let children = node.children();
    if let ([Some(left), Some(right)], false) = (children.as_slice(), node.is_leaf()) {
        let left = flatten(left, chosen, nodes);
        let right = flatten(right, chosen, nodes);
        let feature = chosen.and_then(|chosen| chosen.get(feature).copied()).unwrap_or(feature);
        nodes[at] = Node {
            feature: u16::try_from(feature).ok(),
            threshold: rounded(threshold),
            left,
            right,
            value: 0.0,
        };
    }
    at as u32
}

fn logistic(records: Array2<f64>, targets: Array1<usize>) -> Result<Fitted, FitError> {
    let (linear, intercept) = regression(records, targets)?;
    Ok(Fitted { kind: Kind::Logistic, trees: Vec::new(), linear, intercept })
}

fn regression(records: Array2<f64>, targets: Array1<usize>) -> Result<(Vec<f64>, f64), FitError> {
    let fitted = LogisticRegression::default()
        .alpha(1.0)
        .max_iterations(200)
        .fit(&DatasetBase::new(records, targets))
        .map_err(|error| FitError::Fit(error.to_string()))?;
    // Which class counts as positive is the library's choice.
    let sign = if fitted.labels().pos.class == 1 { 1.0 } else { -1.0 };
    Ok((fitted.params().iter().map(|w| sign * w).collect(), sign * fitted.intercept()))
}

/// The curve from scores to probabilities.
///
/// # Errors
/// If all labels are the same.
pub fn calibrate(scores: &[f64], labels: &[bool]) -> Result<Calibrator, FitError> {
    let records = Array2::from_shape_vec((scores.len(), 1), scores.to_vec())
        .map_err(|error| FitError::Fit(error.to_string()))?;
    let (weights, intercept) = regression(records, labels.iter().map(|l| usize::from(*l)).collect())?;
    let slope = weights.first().copied().unwrap_or(0.0).max(0.0);
    Ok(Calibrator { slope, intercept })
}

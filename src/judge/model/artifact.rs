//! A fitted model as one file: a line with the hash of all that follows, a
//! header in JSON, and the payload in JSON. Nothing of it is believed unread.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Library, schema_names};

/// The file format's version.
pub const FORMAT: u32 = 1;

const MAGIC: &str = "release-guardian-model";

/// Larger files are refused unread, in bytes.
pub const BYTES_MAX: usize = 32 << 20;

/// Why an artifact is refused.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    /// It is something else.
    #[error("this file is no model: it does not begin with `{MAGIC}`; `train` writes one")]
    NotAModel,
    /// It is of another program version.
    #[error("the model has format {found}, this program reads {FORMAT}; train it again")]
    Format {
        /// What it says.
        found: String,
    },
    /// It is too large to be one.
    #[error("the model has {found} bytes, more than the {BYTES_MAX} that are read")]
    TooLarge {
        /// Bytes.
        found: usize,
    },
    /// Bytes changed since it was written.
    #[error(
        "the model's {part} does not have the hash that is written in it: the file is damaged, fetch it again"
    )]
    Damaged {
        /// Which part.
        part: &'static str,
    },
    /// It cannot be understood.
    #[error("the model's {part} cannot be read: train it again")]
    Unreadable {
        /// Which part.
        part: &'static str,
        /// Where.
        #[source]
        source: serde_json::Error,
    },
    /// Its features are not those of this program.
    #[error(
        "the model was trained on other features (schema {found}, this program has {expected}; {difference}): train it again with this version"
    )]
    Schema {
        /// Its hash.
        found: String,
        /// Ours.
        expected: String,
        /// The first difference.
        difference: String,
    },
    /// It was read, and makes no sense.
    #[error("the model makes no sense: {why}; train it again")]
    Nonsense {
        /// What.
        why: String,
    },
}

/// How a model scores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Boosted shallow trees.
    Boosted,
    /// Trees on random rows and features, whose leaves vote by shares.
    Forest,
    /// A weighted sum.
    Logistic,
}

/// The features that a model was trained on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Schema {
    /// In their order.
    pub names: Vec<String>,
    /// Of the names, in their order.
    pub hash: String,
}

impl Schema {
    /// The schema of this program.
    pub fn current() -> Self {
        let names: Vec<String> = schema_names().into_iter().map(str::to_owned).collect();
        let hash = sha256_hex(names.join("\n").as_bytes());
        Self { names, hash }
    }
}

/// At which looks a model is asked; it was fitted to such looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Asked {
    /// At all looks with suspects.
    #[default]
    Suspects,
    /// Where the funnel alone found a failure: whether that is harm.
    Failing,
}

/// From which probability on the model changes an outcome; absent is never.
#[derive(Clone, Copy, Debug, PartialEq, Default, Serialize, Deserialize)]
pub struct Thresholds {
    /// From here on, suspects alone are failing.
    pub act: Option<f64>,
    /// Below, what only the funnel found failing is suspect.
    pub veto: Option<f64>,
}

/// What a model was trained on.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
pub struct Data {
    /// SHA-256 over all releases, labels and features.
    pub hash: String,
    /// Releases.
    pub releases: usize,
    /// Faulty ones among them.
    pub faulty: usize,
    /// Looks with suspects that were learned from.
    pub rows: usize,
}

/// What it did on applications and fault kinds that it had not seen.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
pub struct HeldOut {
    /// Mean squared error of the probability, over looks.
    pub brier: f64,
    /// The same for always saying the share of faulty looks.
    pub brier_of_base_rate: f64,
    /// That a faulty look is given more than a healthy one.
    pub area_under_curve: f64,
    /// Faulty releases that are stopped, of all, with the model.
    pub recall: f64,
    /// Without it.
    pub recall_without: f64,
    /// Good releases that are stopped, of all, with the model.
    pub false_stops: f64,
    /// Without it.
    pub false_stops_without: f64,
    /// Median seconds from onset to stop.
    pub delay_seconds: Option<f64>,
    /// Without it.
    pub delay_seconds_without: Option<f64>,
}

/// What is known of an artifact.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// The model's name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// How it scores.
    pub kind: Kind,
    /// At which looks it is asked.
    #[serde(default)]
    pub asked: Asked,
    /// Its features.
    pub schema: Schema,
    /// Where it changes outcomes.
    pub thresholds: Thresholds,
    /// What it was trained on.
    pub data: Data,
    /// How good it is.
    pub held_out: HeldOut,
    /// Seed and settings of the training.
    pub training: BTreeMap<String, String>,
    /// The program that wrote it.
    pub program: String,
    /// Bytes of the payload.
    pub payload_bytes: usize,
    /// SHA-256 of the payload.
    pub payload_sha256: String,
}

/// One node of a tree.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// Which feature is asked; absent at a leaf.
    #[serde(rename = "f", default, skip_serializing_if = "Option::is_none")]
    pub feature: Option<u16>,
    /// Smaller values go left.
    #[serde(rename = "t")]
    pub threshold: f64,
    /// Index of the left child.
    #[serde(rename = "l")]
    pub left: u32,
    /// Index of the right child.
    #[serde(rename = "r")]
    pub right: u32,
    /// A leaf's vote, from -1 for healthy to 1 for faulty.
    #[serde(rename = "v")]
    pub value: f64,
}

/// One tree: its nodes, children behind their parents.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tree {
    /// What its vote weighs.
    pub weight: f64,
    /// The root first.
    pub nodes: Vec<Node>,
}

/// From a score to a probability: a logistic curve.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Calibrator {
    /// Times the score.
    pub slope: f64,
    /// Added to it.
    pub intercept: f64,
}

impl Calibrator {
    /// The probability of a score, kept off certainty.
    pub fn probability(&self, score: f64) -> f64 {
        (1.0 / (1.0 + (-(self.slope * score + self.intercept)).exp())).clamp(0.005, 0.995)
    }
}

/// The fitted numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Payload {
    /// Of boosted trees and forests.
    pub trees: Vec<Tree>,
    /// A weight a feature, of a logistic model.
    pub linear: Vec<f64>,
    /// From score to probability.
    pub calibrator: Calibrator,
    /// Labelled cases.
    pub library: Library,
}

/// A model that was read and checked, or is about to be written.
#[derive(Clone, Debug, PartialEq)]
pub struct Artifact {
    /// What is known of it.
    pub header: Header,
    /// The fitted numbers.
    pub payload: Payload,
    /// SHA-256 of the whole file: its identity.
    pub hash: String,
}

/// SHA-256 in hexadecimal.
pub fn sha256_hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Artifact {
    /// The bytes of the file. The header's payload fields and the schema are
    /// filled in here.
    ///
    /// # Errors
    /// If a number cannot be written.
    pub fn write(mut header: Header, payload: &Payload) -> Result<Vec<u8>, ArtifactError> {
        let unwritable = |part| move |source| ArtifactError::Unreadable { part, source };
        let payload = serde_json::to_string(payload).map_err(unwritable("payload"))?;
        header.payload_bytes = payload.len();
        header.payload_sha256 = sha256_hex(payload.as_bytes());
        let header = serde_json::to_string(&header).map_err(unwritable("header"))?;
        let rest = format!("{header}\n{payload}\n");
        Ok(format!("{MAGIC} {FORMAT} {}\n{rest}", sha256_hex(rest.as_bytes())).into_bytes())
    }

    /// Reads and checks everything.
    ///
    /// # Errors
    /// If it is no model, damaged, or of another schema than this program's.
    pub fn read(bytes: &[u8]) -> Result<Self, ArtifactError> {
        if bytes.len() > BYTES_MAX {
            return Err(ArtifactError::TooLarge { found: bytes.len() });
        }
        let (first, rest) = split_line(bytes).ok_or(ArtifactError::NotAModel)?;
        let first = std::str::from_utf8(first).map_err(|_| ArtifactError::NotAModel)?;
        let mut words = first.split(' ');
        if words.next() != Some(MAGIC) {
            return Err(ArtifactError::NotAModel);
        }
        let format = words.next().unwrap_or_default();
        if format != FORMAT.to_string() {
            return Err(ArtifactError::Format { found: format.to_owned() });
        }
        if words.next() != Some(sha256_hex(rest).as_str()) || words.next().is_some() {
            return Err(ArtifactError::Damaged { part: "content" });
        }
        let (header, payload) = split_line(rest).ok_or(ArtifactError::Damaged { part: "header" })?;
        let payload = payload.strip_suffix(b"\n").unwrap_or(payload);
        let header: Header = serde_json::from_slice(header)
            .map_err(|source| ArtifactError::Unreadable { part: "header", source })?;
        check_schema(&header.schema)?;
        check_scores(&header).map_err(|why| ArtifactError::Nonsense { why })?;
        if payload.len() != header.payload_bytes || sha256_hex(payload) != header.payload_sha256 {
            return Err(ArtifactError::Damaged { part: "payload" });
        }
        let payload: Payload = serde_json::from_slice(payload)
            .map_err(|source| ArtifactError::Unreadable { part: "payload", source })?;
        check_payload(&header, &payload).map_err(|why| ArtifactError::Nonsense { why })?;
        Ok(Self { header, payload, hash: sha256_hex(bytes) })
    }
}

fn split_line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    Some((&bytes[..end], &bytes[end + 1..]))
}

fn check_schema(schema: &Schema) -> Result<(), ArtifactError> {
    let current = Schema::current();
    if *schema == current {
        return Ok(());
    }
    let difference = match schema.names.iter().zip(&current.names).find(|(a, b)| a != b) {
        Some((theirs, ours)) => format!("it has {theirs:?} where this program has {ours:?}"),
        None => format!("it has {} features, this program {}", schema.names.len(), current.names.len()),
    };
    Err(ArtifactError::Schema { found: schema.hash.clone(), expected: current.hash, difference })
}

/// What it was trained on and how good it was is said, and can be true.
fn check_scores(header: &Header) -> Result<(), String> {
    let Data { hash, releases, faulty, rows: _ } = &header.data;
    if hash.len() != 64 || !hash.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err("it does not say which data it was trained on".to_owned());
    }
    if faulty > releases {
        return Err(format!("{faulty} of {releases} releases were faulty"));
    }
    let HeldOut {
        brier,
        brier_of_base_rate,
        area_under_curve,
        recall,
        recall_without,
        false_stops,
        false_stops_without,
        delay_seconds: _,
        delay_seconds_without: _,
    } = header.held_out;
    let scores = [
        brier,
        brier_of_base_rate,
        area_under_curve,
        recall,
        recall_without,
        false_stops,
        false_stops_without,
    ];
    match scores.iter().find(|score| !(0.0..=1.0).contains(*score)) {
        Some(score) => Err(format!("one of its scores is {score}, not between 0 and 1")),
        None => Ok(()),
    }
}

fn check_payload(header: &Header, payload: &Payload) -> Result<(), String> {
    let width = header.schema.names.len();
    match header.kind {
        Kind::Boosted | Kind::Forest if payload.trees.is_empty() => return Err("it has no trees".to_owned()),
        Kind::Logistic if payload.linear.len() != width => {
            return Err(format!("it has {} weights for {width} features", payload.linear.len()));
        }
        Kind::Boosted | Kind::Forest | Kind::Logistic => {}
    }
    for (at, tree) in payload.trees.iter().enumerate() {
        check_tree(tree, width).map_err(|why| format!("tree {at}: {why}"))?;
    }
    let thresholds = [header.thresholds.act, header.thresholds.veto];
    if thresholds.into_iter().flatten().any(|t| !(0.0..=1.0).contains(&t)) {
        return Err("a threshold is not between 0 and 1".to_owned());
    }
    let Calibrator { slope, intercept } = payload.calibrator;
    let finite = slope.is_finite() && intercept.is_finite() && payload.linear.iter().all(|w| w.is_finite());
    if !finite || slope < 0.0 {
        return Err("its calibration does not rise with the score".to_owned());
    }
    let library = &payload.library;
    let widths =
        library.cases.iter().all(|c| c.values.len() == width && c.values.iter().all(|v| v.is_finite()));
    let spreads = library.spread.iter().all(|s| s.is_finite() && *s > 0.0);
    let consistent = widths && spreads && library.spread.len() == width;
    if !library.cases.is_empty() && !consistent {
        return Err("the cases of its library do not have its features".to_owned());
    }
    Ok(())
}

fn check_tree(tree: &Tree, width: usize) -> Result<(), String> {
    if tree.nodes.is_empty() {
        return Err("no nodes".to_owned());
    }
    if !(tree.weight.is_finite() && tree.weight >= 0.0) {
        return Err(format!("weight {}", tree.weight));
    }
    for (at, node) in tree.nodes.iter().enumerate() {
        if !node.threshold.is_finite() || !node.value.is_finite() {
            return Err(format!("node {at} has no finite numbers"));
        }
        let Some(feature) = node.feature else { continue };
        let children = [node.left as usize, node.right as usize];
        if usize::from(feature) >= width || children.iter().any(|c| *c <= at || *c >= tree.nodes.len()) {
            return Err(format!("node {at} points nowhere"));
        }
    }
    Ok(())
}

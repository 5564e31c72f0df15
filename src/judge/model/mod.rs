//! The trained model: it sees only suspects, tells harmful from harmless by
//! past releases, and never overrules a rule.

mod artifact;
mod features;
mod library;
mod predict;

use std::sync::{Arc, OnceLock};

pub use artifact::{
    Artifact, ArtifactError, Asked, BYTES_MAX, Calibrator, Data, FORMAT, Header, HeldOut, Kind, Node,
    Payload, Schema, Thresholds, Tree, sha256_hex,
};
pub use features::{Considered, Course, Features, Suspects, schema_names};
pub use library::{Case, Library};
pub use predict::{Model, leaf_of, vote};

/// The model that ships with the program: it was better than none.
const SHIPPED: &[u8] = include_bytes!("../../../models/default/1/model.rgm");

/// Which model the judge asks.
#[derive(Clone, Debug, PartialEq, Default)]
pub enum ModelChoice {
    /// None: rules and funnel alone.
    #[default]
    Without,
    /// The one that should be asked was refused; the reason is shown as blind.
    Refused(Arc<str>),
    /// This one.
    InForce(Arc<Model>),
}

impl ModelChoice {
    /// The model that ships with the program.
    pub fn shipped() -> Self {
        static MODEL: OnceLock<ModelChoice> = OnceLock::new();
        MODEL.get_or_init(|| Self::of_bytes(SHIPPED)).clone()
    }

    /// A model from an artifact's bytes, or the reason why it is refused.
    pub fn of_bytes(bytes: &[u8]) -> Self {
        match Artifact::read(bytes) {
            Ok(artifact) => Self::InForce(Arc::new(Model::new(artifact))),
            Err(error) => Self::Refused(error.to_string().into()),
        }
    }

    /// The model, if one is in force.
    pub fn model(&self) -> Option<&Model> {
        match self {
            Self::InForce(model) => Some(model),
            Self::Without | Self::Refused(_) => None,
        }
    }

    /// What it is, for reports.
    pub fn describe(&self) -> String {
        match self {
            Self::Without => "no model".to_owned(),
            Self::Refused(why) => format!("no model, as it was refused: {why}"),
            Self::InForce(model) => model.describe(),
        }
    }
}

#[cfg(test)]
mod tests;

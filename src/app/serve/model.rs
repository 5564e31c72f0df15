//! The model that settings name, put in force for all applications.

use std::sync::Arc;

use crate::adapters::chain::chain;
use crate::adapters::model_file;
use crate::config::{ModelSource, Settings};
use crate::judge::model::ModelChoice;

/// Reads the model that settings name. One that cannot be used is kept as
/// refused: the guardian goes on without and says so wherever people look.
pub(in crate::app) fn load(source: &ModelSource) -> ModelChoice {
    match source {
        ModelSource::Shipped => ModelChoice::shipped(),
        ModelSource::Without => ModelChoice::Without,
        ModelSource::File(file) => {
            model_file::read(file).unwrap_or_else(|error| ModelChoice::Refused(Arc::from(chain(&error))))
        }
    }
}

/// Settings whose engines ask the model that they name.
pub(super) fn with_model(mut settings: Settings) -> Settings {
    let model = load(&settings.model);
    match &model {
        ModelChoice::Refused(_) => tracing::error!("{}", trouble(&model).unwrap_or_default()),
        ModelChoice::InForce(_) => tracing::info!(source = %settings.model, "{} is asked", model.describe()),
        ModelChoice::Without => tracing::info!(source = %settings.model, "rules and funnel judge alone"),
    }
    for application in &mut settings.applications {
        application.engine.judge.model = model.clone();
    }
    settings.defaults.engine.judge.model = model;
    settings
}

/// What people are told of a model that was refused.
pub(super) fn trouble(model: &ModelChoice) -> Option<String> {
    match model {
        ModelChoice::Refused(why) => Some(format!("{why}; rules and funnel judge alone")),
        ModelChoice::InForce(_) | ModelChoice::Without => None,
    }
}

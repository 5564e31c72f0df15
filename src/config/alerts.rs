//! `[alerts]`: alerts that other systems report.

use super::application::Defaults;
use super::raw::Section;

/// Which applications alerts from outside concern.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Alerts {
    /// The labels that name the application of an alert, tried in this order:
    /// those of targets unless settings say otherwise.
    pub application_labels: Vec<String>,
}

pub(super) fn read_alerts(root: &Section<'_>, defaults: &Defaults) -> Alerts {
    let labels = root.section("alerts").and_then(|section| section.texts("application_labels"));
    let labels = labels.map(|labels| labels.into_iter().map(|label| label.into_inner()).collect());
    Alerts { application_labels: labels.unwrap_or_else(|| defaults.application_labels.clone()) }
}

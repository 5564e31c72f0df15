//! `[model]`: which trained model is asked about suspects.

use std::fmt;
use std::path::PathBuf;

use super::raw::Section;

/// Where the model comes from.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum ModelSource {
    /// The one that ships with the program, if one does.
    #[default]
    Shipped,
    /// None: rules and funnel judge alone.
    Without,
    /// An artifact that `train` wrote.
    File(PathBuf),
}

/// As settings write it.
impl fmt::Display for ModelSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shipped => f.write_str("shipped"),
            Self::Without => f.write_str("none"),
            Self::File(path) => write!(f, "{}", path.display()),
        }
    }
}

pub(super) fn read_model(root: &Section<'_>) -> ModelSource {
    let Some(section) = root.section("model") else { return ModelSource::default() };
    if !section.has("path") {
        let _ = section.value("path");
        return ModelSource::default();
    }
    let help = "write the path of a model.rgm, \"shipped\" or \"none\"";
    let Some(text) = section.required_text("path", help) else { return ModelSource::default() };
    match text.get_ref().as_str() {
        "shipped" => ModelSource::Shipped,
        "none" => ModelSource::Without,
        path => ModelSource::File(PathBuf::from(path)),
    }
}

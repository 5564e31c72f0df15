//! Trained models from files.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::judge::model::{Artifact, ArtifactError, BYTES_MAX, Model, ModelChoice};

/// Why a file gives no model.
#[derive(Debug, thiserror::Error)]
pub enum ModelFileError {
    /// It cannot be read.
    #[error("cannot read the model {}; check its path and rights", .file.display())]
    File {
        /// Which.
        file: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is no model for this program.
    #[error("the model {} is refused", .file.display())]
    Refused {
        /// Which.
        file: PathBuf,
        /// Why.
        #[source]
        source: ArtifactError,
    },
}

/// Reads an artifact and checks all of it: format, hash, schema, scores.
///
/// # Errors
/// If it cannot be read, or is no model for this program.
pub fn read(file: &Path) -> Result<ModelChoice, ModelFileError> {
    let failed = |source| ModelFileError::File { file: file.to_owned(), source };
    let mut bytes = Vec::new();
    // One byte more than is allowed: the artifact's own check says so.
    File::open(file).map_err(failed)?.take(BYTES_MAX as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
    let artifact =
        Artifact::read(&bytes).map_err(|source| ModelFileError::Refused { file: file.to_owned(), source })?;
    Ok(ModelChoice::InForce(Arc::new(Model::new(artifact))))
}

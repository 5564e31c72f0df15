//! `replay --compare`: which releases another model would decide differently.

use std::io::Write;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use crate::domain::LabelOutcome;
use crate::judge::model::{Artifact, ArtifactError, Model, ModelChoice};

use super::figures::Figures;
use super::replay::Replayed;

/// A model on the command line: `none`, or an artifact that was read.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelArgument(pub ModelChoice);

/// Why an artifact on the command line cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ModelArgumentError {
    /// The file cannot be read.
    #[error("cannot read the model: {0}")]
    File(#[from] std::io::Error),
    /// It is no model for this program.
    #[error(transparent)]
    Refused(#[from] ArtifactError),
}

impl FromStr for ModelArgument {
    type Err = ModelArgumentError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "none" {
            return Ok(Self(ModelChoice::Without));
        }
        let artifact = Artifact::read(&std::fs::read(Path::new(text))?)?;
        Ok(Self(ModelChoice::InForce(Arc::new(Model::new(artifact)))))
    }
}

/// Prints the releases that are decided differently, and both sets of figures.
///
/// # Errors
/// If it cannot be written.
pub fn write(
    out: &mut impl Write,
    names: [&str; 2],
    this: &[&Replayed],
    other: &[&Replayed],
) -> std::io::Result<()> {
    let mut table = comfy_table::Table::new();
    table.load_preset(comfy_table::presets::NOTHING);
    table.set_header(["release", "label", names[0], names[1], "because"]);
    let mut differing = 0;
    for release in this {
        let Some(twin) = other.iter().find(|o| o.folder == release.folder) else { continue };
        if twin.decision == release.decision && twin.stopped_after_s == release.stopped_after_s {
            continue;
        }
        differing += 1;
        let label = release.label.as_ref().map_or("", |l| match l.outcome {
            LabelOutcome::Faulty => "faulty",
            LabelOutcome::Healthy => "healthy",
        });
        let graver = if twin.decision > release.decision { twin } else { release };
        let because = graver.reasons.first().map_or(String::new(), |r| r.because.chars().take(90).collect());
        table.add_row([release.id.clone(), label.to_owned(), decided(release), decided(twin), because]);
    }
    writeln!(out, "\ndecided differently: {differing} of {}", this.len())?;
    if differing > 0 {
        writeln!(out, "{table}")?;
    }
    for (name, releases) in names.iter().zip([this, other]) {
        write!(out, "\nwith {name}\n{}", Figures::of(releases))?;
    }
    Ok(())
}

fn decided(release: &Replayed) -> String {
    match release.stopped_after_s {
        Some(after) => format!("{} after {after:.0} s", release.decision.word()),
        None => release.decision.word().to_owned(),
    }
}

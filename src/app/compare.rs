//! `replay --compare`: which releases another model decides differently, or an
//! earlier run of replay decided differently: other rules, other thresholds.

use std::io::{BufRead as _, BufReader, Write};
use std::path::Path;
use std::str::FromStr;

use crate::adapters::model_file;
use crate::domain::LabelOutcome;
use crate::judge::model::ModelChoice;

use super::figures::Figures;
use super::replay::Replayed;

/// A model on the command line: `none`, or an artifact that was read.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelArgument(pub ModelChoice);

impl FromStr for ModelArgument {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "none" {
            return Ok(Self(ModelChoice::Without));
        }
        model_file::read(Path::new(text)).map(Self).map_err(|error| crate::adapters::chain::chain(&error))
    }
}

/// What replay is compared with.
#[derive(Clone, Debug)]
pub enum Other {
    /// The same recordings with another model, or none.
    Model(ModelChoice),
    /// What an earlier run printed with `--format jsonl`.
    Earlier {
        /// The file's name.
        name: String,
        /// What it decided.
        releases: Vec<Replayed>,
    },
}

/// A longer line is no result of replay, in bytes.
const LINE_BYTES_MAX: usize = 16 << 20;

impl FromStr for Other {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if !text.ends_with(".jsonl") {
            return text.parse().map(|ModelArgument(model)| Self::Model(model));
        }
        let unreadable = |error| format!("cannot read the earlier results {text}: {error}");
        let file = std::fs::File::open(text).map_err(unreadable)?;
        let mut releases = Vec::new();
        for (number, line) in BufReader::new(file).lines().enumerate() {
            let line = line.map_err(unreadable)?;
            let wrong = |why: String| {
                let number = number + 1;
                format!("{text}, line {number} is no result of `replay --format jsonl`: {why}")
            };
            if line.len() > LINE_BYTES_MAX {
                return Err(wrong(format!("it is longer than {LINE_BYTES_MAX} bytes")));
            }
            if line.trim().is_empty() {
                continue;
            }
            let value: serde_json::Value = serde_json::from_str(&line).map_err(|e| wrong(e.to_string()))?;
            // A recording that could not be read then decided nothing.
            if value.get("error").is_none() {
                releases.push(serde_json::from_value(value).map_err(|e| wrong(e.to_string()))?);
            }
        }
        Ok(Self::Earlier { name: text.to_owned(), releases })
    }
}

/// Earlier results with what their file does not say: each release's folder,
/// begin and label, from the present results. Ids are unique within an
/// application only; of equal ones the order is the same in both.
pub fn complete(earlier: &[Replayed], present: &[Replayed]) -> Vec<Replayed> {
    let mut used = vec![false; present.len()];
    earlier
        .iter()
        .filter_map(|release| {
            let at = (0..present.len()).find(|at| !used[*at] && present[*at].id == release.id)?;
            used[at] = true;
            let Replayed { label, started_at, folder, .. } = present[at].clone();
            Some(Replayed { label, started_at, folder, ..release.clone() })
        })
        .collect()
}

/// Prints the releases that are decided differently, how many the other has no
/// word on, and both sets of figures.
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
    let (mut differing, mut compared) = (0, 0);
    for release in this {
        let Some(twin) = other.iter().find(|o| o.folder == release.folder) else { continue };
        compared += 1;
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
    writeln!(out, "\ndecided differently: {differing} of {compared}")?;
    if compared < this.len() {
        writeln!(out, "not in {}: {}, which are compared with nothing", names[1], this.len() - compared)?;
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_that_the_earlier_results_do_not_have_are_counted_apart() {
        let release = |id: &str| -> Replayed {
            let text = format!(
                r#"{{"id": "{id}", "decision": "proceed", "stopped_after_s": null, "probability": 0.0, "reasons": [], "blind": []}}"#
            );
            Replayed { folder: id.into(), ..serde_json::from_str(&text).unwrap() }
        };
        let (this, earlier) = ([release("a"), release("b")], [release("b"), release("c")]);
        let those = complete(&earlier, &this);
        let mut out = Vec::new();
        write(&mut out, ["now", "old.jsonl"], &this.each_ref(), &those.iter().collect::<Vec<_>>()).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains("decided differently: 0 of 1\nnot in old.jsonl: 1,"), "{text}");
    }
}

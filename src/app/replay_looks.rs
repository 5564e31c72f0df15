//! `replay --looks`: what was suspected when, and what held it back, look by
//! look: why a release was stopped when it was, not sooner, or not at all.

use std::io::{self, Write};

use crate::adapters::recording::Recording;
use crate::domain::Timestamp;
use crate::guard::EngineSettings;
use crate::guard::engine::Effect;
use crate::judge::{Outcome, Verdict};

use super::replay::{self, Replayed};

/// Findings told of one look.
const FINDINGS_MAX: usize = 3;

/// Plays each release once more and writes every look at which something was
/// suspected, in seconds since the release began.
///
/// # Errors
/// As the writer says, or as a recording cannot be read any more.
pub fn write<'r>(
    out: &mut impl Write,
    releases: impl Iterator<Item = &'r Replayed>,
    settings: &EngineSettings,
) -> io::Result<()> {
    for release in releases {
        let recording = Recording::read(&release.folder).map_err(io::Error::other)?;
        let mut settings = settings.clone();
        settings.judge.warm_up = release.warm_up;
        let started_at = recording.order.started_at;
        let mut lines = Vec::new();
        replay::replay(&recording, &settings, |_, effect| match effect {
            Effect::Judged(verdict) => lines.extend(told(verdict, started_at)),
            Effect::Decided(decision) => {
                let after = decision.at.seconds_from(started_at);
                lines.push(format!("{after:>8.0} s  {} is decided", decision.action.word()));
            }
            Effect::Send(_) | Effect::Notify(_) | Effect::Changed | Effect::WarmUpSeen(_) | Effect::Ended => {
            }
        });
        writeln!(out, "\n{}", release.id)?;
        for line in lines {
            writeln!(out, "{line}")?;
        }
    }
    Ok(())
}

fn told(verdict: &Verdict, started_at: Timestamp) -> impl Iterator<Item = String> {
    let after = verdict.at.seconds_from(started_at);
    verdict.findings.iter().filter(|f| f.outcome >= Outcome::Suspect).take(FINDINGS_MAX).map(move |finding| {
        let outcome = match finding.outcome {
            Outcome::Failing => "failing",
            Outcome::Suspect | Outcome::Unknown | Outcome::Healthy => "suspect",
        };
        format!("{after:>8.0} s  {outcome}  {}", finding.because)
    })
}

//! The order of replay: an application's earlier good releases teach its later
//! ones how long its young processes warm up, as they do live.

use std::path::{Path, PathBuf};

use rayon::prelude::*;

use crate::adapters::recording::{self, RecordingError};
use crate::domain::{ApplicationName, FeedbackKind, LabelOutcome, Timestamp};
use crate::guard::{Action, EngineSettings};
use crate::judge::{Lesson, WarmUp, WarmUpSeen};

use super::replay::{Replayed, replay_folder};

/// A result with the folder it is of.
type Outcome = Result<Replayed, (PathBuf, RecordingError)>;

/// What one release taught, and since when it is known.
struct Taught {
    since: Timestamp,
    seen: WarmUpSeen,
}

/// The recordings by application, each in the order in which its releases
/// began; one whose order cannot be read is on its own.
pub(super) fn by_application(folders: &[PathBuf]) -> Vec<Vec<PathBuf>> {
    let mut named: Vec<(Option<(ApplicationName, Timestamp)>, &PathBuf)> = folders
        .par_iter()
        .map(|folder| {
            let order = recording::read_order(folder).ok();
            (order.map(|order| (order.application, order.started_at)), folder)
        })
        .collect();
    named.sort();
    let together = |a: &Option<(ApplicationName, Timestamp)>, b: &Option<(ApplicationName, Timestamp)>| matches!((a, b), (Some((a, _)), Some((b, _))) if a == b);
    let groups = named.chunk_by(|(a, _), (b, _)| together(a, b));
    groups.map(|group| group.iter().map(|(_, folder)| (*folder).clone()).collect()).collect()
}

/// How many recordings of one application are played at once, so that no thread
/// is idle: where there are applications enough, one, as none is played twice.
pub(super) fn at_once(applications: usize) -> usize {
    rayon::current_num_threads().div_ceil(applications.max(1)).max(1)
}

/// Replays one application's recordings in their order, `at_once` with what is
/// known so far; where one of them turns out to have taught another something,
/// the later ones are played again.
pub(super) fn replay_in_order(
    folders: &[PathBuf],
    at_once: usize,
    settings: &EngineSettings,
    done: impl Fn() + Sync,
) -> Vec<Outcome> {
    let mut lessons: Vec<Taught> = Vec::new();
    let mut results: Vec<Outcome> = Vec::new();
    while results.len() < folders.len() {
        let rest = &folders[results.len()..];
        let wave = &rest[..rest.len().min(at_once.max(1))];
        let played: Vec<(WarmUp, Outcome)> =
            wave.par_iter().map(|folder| play(folder, settings, &lessons)).collect();
        for (at, (warm_up, result)) in played.into_iter().enumerate() {
            let known =
                result.as_ref().map_or(warm_up, |replayed| learned(settings, &lessons, replayed.started_at));
            if at > 0 && known != warm_up {
                break;
            }
            lessons.extend(result.as_ref().ok().and_then(taught));
            results.push(result);
            done();
        }
    }
    results
}

fn play(folder: &Path, settings: &EngineSettings, lessons: &[Taught]) -> (WarmUp, Outcome) {
    let failed = |error| (folder.to_owned(), error);
    let mut settings = settings.clone();
    if !lessons.is_empty() {
        match recording::read_order(folder) {
            Ok(order) => settings.judge.warm_up = learned(&settings, lessons, order.started_at),
            Err(error) => return (settings.judge.warm_up, Err(failed(error))),
        }
    }
    (settings.judge.warm_up, replay_folder(folder, &settings).map_err(failed))
}

/// What is known when a release begins.
fn learned(settings: &EngineSettings, lessons: &[Taught], began: Timestamp) -> WarmUp {
    let known: Vec<WarmUpSeen> =
        lessons.iter().rev().filter(|lesson| lesson.since <= began).map(|lesson| lesson.seen).collect();
    if known.is_empty() { settings.judge.warm_up } else { WarmUp::learn(&known) }
}

/// What a release taught: its label is people's word on it, given after it.
fn taught(replayed: &Replayed) -> Option<Taught> {
    let word = replayed.label.as_ref().map(|label| match label.outcome {
        LabelOutcome::Faulty => FeedbackKind::FaultConfirmed,
        LabelOutcome::Healthy => FeedbackKind::FalseAlarm,
    });
    let lesson = Lesson { seen: replayed.warm_up_seen?, stopped: replayed.is_stopped() };
    let ran_to_its_end = replayed.decision < Action::Rollback;
    (ran_to_its_end && lesson.teaches(word)).then_some(Taught { since: replayed.ended_at, seen: lesson.seen })
}

#[cfg(test)]
mod tests {
    use crate::app::replay;
    use crate::simulate::{Request, Style, simulate};

    use super::*;

    #[test]
    fn earlier_good_releases_of_an_application_teach_its_later_ones_and_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let request = Request {
            seed: 3,
            styles: vec![Style::Http],
            faulty_share: 0.2,
            samples_max: 20_000,
            releases_per_service: 6,
            ..Request::default()
        };
        for index in 0..8 {
            let release = simulate(&Request { index, ..request.clone() }).unwrap();
            let to = folder.path().join(release.order.id.as_str());
            recording::write(&to, &release.order, &release.scrapes, Some(&release.label)).unwrap();
        }
        let folders = recording::find(folder.path()).unwrap();
        let applications = by_application(&folders);
        assert_eq!(applications.iter().map(Vec::len).sum::<usize>(), 8);
        let settings = replay::settings();
        for application in applications {
            let replayed: Vec<Replayed> =
                replay_in_order(&application, 4, &settings, || ()).into_iter().map(Result::unwrap).collect();
            assert_eq!(
                replayed.iter().map(|r| &r.folder).collect::<Vec<_>>(),
                application.iter().collect::<Vec<_>>()
            );
            // One after the other, they learn the same.
            let one_by_one = replay_in_order(&application, 1, &settings, || ());
            let learned_so: Vec<WarmUp> = one_by_one.into_iter().map(|r| r.unwrap().warm_up).collect();
            assert_eq!(replayed.iter().map(|r| r.warm_up).collect::<Vec<_>>(), learned_so);
            let mut lessons = Vec::new();
            for release in &replayed {
                // Each knew what those before it taught, however many were played at once.
                assert_eq!(release.warm_up, learned(&settings, &lessons, release.started_at), "{release:?}");
                let alone = replay_folder(&release.folder, &settings).unwrap();
                assert_eq!(alone.warm_up, WarmUp::default());
                lessons.extend(taught(release));
            }
            let last = replayed.last().unwrap().warm_up.latency.learned_from;
            assert_eq!(last > 0, application.len() > 2, "{last} lessons of {}", application.len());
        }
    }
}

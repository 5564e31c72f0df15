//! Saves ended releases as recordings, writes their labels, and removes the
//! oldest by age and size. One task for all applications: recordings are
//! written one after the other.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};
use std::time::Duration;

use tokio::sync::mpsc;

use crate::adapters::chain::chain;
use crate::adapters::recording::{self, RecordingError};
use crate::adapters::store::{StoreError, StoredRelease};
use crate::domain::{
    FeedbackKind, Label, LabelOutcome, LabelSource, MetricFamily, ReleaseKey, ReleaseOrder, Scrape, Timestamp,
};
use crate::signal::Divider;

use super::shared::{Shared, read};

/// Releases that wait to be saved; more are found again at the next start.
const QUEUE_MAX: usize = 256;
/// How long after its end a release that was not saved is tried again.
const RETRY_FOR: Duration = Duration::from_secs(7 * 86_400);
const TIDY_EVERY: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

/// Where recordings are kept, and for how long.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct RecordingPolicy {
    pub(super) dir: PathBuf,
    pub(super) keep_days: u32,
    pub(super) keep_bytes: u64,
}

enum Job {
    Save(ReleaseKey),
    Label(ReleaseKey),
    Tidy,
}

/// A handle of the recorder.
#[derive(Clone)]
pub(super) struct Recorder {
    jobs: mpsc::Sender<Job>,
}

#[derive(Debug, thiserror::Error)]
enum RecorderError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Recording(#[from] RecordingError),
    #[error("the task that writes recordings failed")]
    Task(#[from] tokio::task::JoinError),
}

impl Recorder {
    /// Starts the recorder.
    pub(super) fn start(shared: Arc<Shared>, policy: Arc<RwLock<RecordingPolicy>>) -> Self {
        let (jobs, mut queue) = mpsc::channel(QUEUE_MAX);
        let worker = Arc::new(Worker { shared, policy });
        tokio::spawn(async move {
            for key in worker.missing().await {
                worker.apart(Job::Save(key)).await;
            }
            let mut tidy = tokio::time::interval(TIDY_EVERY);
            loop {
                tokio::select! {
                    job = queue.recv() => match job {
                        Some(job) => worker.apart(job).await,
                        None => return,
                    },
                    _ = tidy.tick() => worker.apart(Job::Tidy).await,
                }
            }
        });
        Self { jobs }
    }

    /// Saves a release whose watch is over.
    pub(super) fn save(&self, release: ReleaseKey) {
        if self.jobs.try_send(Job::Save(release)).is_err() {
            tracing::warn!("too many releases wait to be recorded; the rest is recorded after a restart");
        }
    }

    /// Writes the label of a saved release anew.
    pub(super) fn label(&self, release: ReleaseKey) {
        if self.jobs.try_send(Job::Label(release)).is_err() {
            tracing::warn!("too many labels wait to be written; feedback itself is stored");
        }
    }
}

struct Worker {
    shared: Arc<Shared>,
    policy: Arc<RwLock<RecordingPolicy>>,
}

impl Worker {
    /// Releases that are over and were not saved.
    async fn missing(&self) -> Vec<ReleaseKey> {
        let since = self.shared.now() - RETRY_FOR;
        // A failure is logged; the next start tries again.
        self.shared.stored("unrecorded", self.shared.store.unrecorded(since)).await.unwrap_or_default()
    }

    /// Works in a task of its own: a panic over one release keeps no other
    /// from being recorded. The next start tries that one again.
    async fn apart(self: &Arc<Self>, job: Job) {
        let worker = self.clone();
        if let Err(error) = tokio::spawn(async move { worker.work(job).await }).await {
            self.shared.metrics.panics.inc();
            tracing::error!(%error, "a fault of the guardian's own was caught while it recorded. Please report it");
        }
    }

    async fn work(&self, job: Job) {
        let (what, key, result) = match job {
            Job::Save(key) => ("recording", key.clone(), self.save(&key).await),
            Job::Label(key) => ("label", key.clone(), self.label(&key).await),
            Job::Tidy => return self.tidy().await,
        };
        if let Err(error) = result {
            tracing::error!(release = %key, what, error = %chain(&error), "could not be written");
        }
    }

    async fn save(&self, key: &ReleaseKey) -> Result<(), RecorderError> {
        let Some(release) = self.shared.store.release(key).await? else { return Ok(()) };
        let from = release.order.started_at - self.shared.before();
        let to = release.ended_at.unwrap_or_else(|| self.shared.now());
        let scrapes = self.shared.store.samples(&key.application, from, to).await?;
        let folder = folder_of(&read(&self.policy).dir, key);
        let scrapes = divided(&release.order, scrapes);
        let mut order = release.order.clone();
        order.metrics = families(order.metrics, &scrapes);
        let label = self.label_of(&release).await?;
        let (path, samples) = (folder.clone(), scrapes.len());
        let written =
            tokio::task::spawn_blocking(move || recording::write(&path, &order, &scrapes, label.as_ref()))
                .await?;
        match written {
            // A kill came between the folder and its note.
            Ok(()) | Err(RecordingError::Exists { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        let text = folder.to_string_lossy().into_owned();
        self.shared.store.note_recording(key, Some(&text)).await?;
        tracing::info!(release = %key, folder = %text, scrapes = samples, "recorded");
        // A word may have come while it was written.
        self.label(key).await?;
        self.tidy().await;
        Ok(())
    }

    async fn label(&self, key: &ReleaseKey) -> Result<(), RecorderError> {
        let Some(release) = self.shared.store.release(key).await? else { return Ok(()) };
        let Some(folder) = release.recording.as_ref().filter(|f| !f.is_empty()).map(PathBuf::from) else {
            return Ok(());
        };
        if let Some(label) = self.label_of(&release).await? {
            tokio::task::spawn_blocking(move || recording::write_label(&folder, &label)).await??;
        }
        Ok(())
    }

    async fn label_of(&self, release: &StoredRelease) -> Result<Option<Label>, StoreError> {
        let words = self.shared.store.feedback(&release.key()).await?;
        let Some(word) = words.last() else {
            return Ok(release
                .rolled_back
                .then(|| label(LabelOutcome::Faulty, LabelSource::Rollback, None, None)));
        };
        let outcome = word.kind.outcome();
        let cause = (outcome == LabelOutcome::Faulty).then(|| word.comment.clone()).flatten();
        let mut label = label(outcome, LabelSource::Operator, word.onset, cause);
        label.other.insert("by".into(), word.by.clone().into());
        label.other.insert("kind".into(), kind_word(word.kind).into());
        if let Some(comment) = &word.comment {
            label.other.insert("comment".into(), comment.clone().into());
        }
        Ok(Some(label))
    }

    /// Removes what is too old, then the oldest while there is too much.
    async fn tidy(&self) {
        let policy = read(&self.policy).clone();
        let Ok(recorded) = self.shared.stored("recorded", self.shared.store.recorded()).await else { return };
        let sized = tokio::task::spawn_blocking(move || {
            recorded
                .into_iter()
                .map(|(key, folder, at)| {
                    let bytes = folder_bytes(Path::new(&folder));
                    (key, folder, at, bytes)
                })
                .collect::<Vec<_>>()
        });
        let Ok(sized) = sized.await else { return };
        for (key, folder) in superfluous(&sized, &policy, self.shared.now()) {
            let path = PathBuf::from(&folder);
            let removed = tokio::task::spawn_blocking(move || std::fs::remove_dir_all(path)).await;
            match removed {
                Ok(Ok(())) => tracing::info!(release = %key, folder, "an old recording was removed"),
                Ok(Err(error)) if error.kind() == std::io::ErrorKind::NotFound => {}
                Ok(Err(error)) => {
                    tracing::error!(release = %key, folder, %error, "an old recording could not be removed");
                    continue;
                }
                Err(error) => {
                    tracing::error!(%error, "the task that removes recordings failed");
                    continue;
                }
            }
            // An empty text says that it is gone on purpose.
            let work = self.shared.store.note_recording(&key, Some(""));
            let _ = self.shared.stored("note_recording", work).await;
        }
    }
}

fn label(
    outcome: LabelOutcome,
    source: LabelSource,
    onset: Option<Timestamp>,
    cause: Option<String>,
) -> Label {
    Label { outcome, onset, cause, source, other: BTreeMap::new() }
}

fn kind_word(kind: FeedbackKind) -> &'static str {
    match kind {
        FeedbackKind::FaultConfirmed => "fault_confirmed",
        FeedbackKind::FalseAlarm => "false_alarm",
        FeedbackKind::FaultMissed => "fault_missed",
    }
}

/// The scrapes as the release's groups see them: whoever reads the recording
/// finds the instances that its groups name.
fn divided(order: &ReleaseOrder, scrapes: Vec<Scrape>) -> Vec<Scrape> {
    let Some(groups) = &order.groups else { return scrapes };
    let mut divider = Divider::new(groups.into());
    let mut parts: Vec<Scrape> =
        scrapes.iter().flat_map(|scrape| divider.divide(scrape)).map(|part| part.scrape).collect();
    parts.sort_by(|a, b| (a.at, &a.instance).cmp(&(b.at, &b.instance)));
    parts
}

/// What the order knows of metrics, and what the targets said.
fn families(known: Vec<MetricFamily>, scrapes: &[Scrape]) -> Vec<MetricFamily> {
    let mut by_name: BTreeMap<String, MetricFamily> = BTreeMap::new();
    let mut last: Option<&std::sync::Arc<[MetricFamily]>> = None;
    for scrape in scrapes {
        if last.is_some_and(|l| std::sync::Arc::ptr_eq(l, &scrape.families)) {
            continue;
        }
        last = Some(&scrape.families);
        for family in scrape.families.iter() {
            by_name.entry(family.name.clone()).or_insert_with(|| family.clone());
        }
    }
    by_name.extend(known.into_iter().map(|family| (family.name.clone(), family)));
    by_name.into_values().collect()
}

/// A name from outside as the name of a folder: no path, no surprise.
fn folder_name(name: &str) -> String {
    let mut text = String::new();
    for c in name.chars() {
        match c {
            'a'..='z' | 'A'..='Z' | '0'..='9' | '-' | '_' => text.push(c),
            '.' if !text.is_empty() => text.push(c),
            other => {
                let mut buffer = [0; 4];
                other.encode_utf8(&mut buffer).bytes().for_each(|b| text.push_str(&format!("%{b:02X}")));
            }
        }
    }
    if text.len() <= 200 {
        return text;
    }
    use sha2::{Digest, Sha256};
    let hash: String = Sha256::digest(name).iter().take(8).map(|b| format!("{b:02x}")).collect();
    format!("{}-{hash}", &text[..180])
}

fn folder_of(dir: &Path, key: &ReleaseKey) -> PathBuf {
    dir.join(folder_name(key.application.as_str())).join(folder_name(key.id.as_str()))
}

fn folder_bytes(folder: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    entries.flatten().filter_map(|entry| entry.metadata().ok()).map(|m| m.len()).sum()
}

/// Recordings, oldest first, that are too old or too much.
fn superfluous(
    recordings: &[(ReleaseKey, String, Timestamp, u64)],
    policy: &RecordingPolicy,
    now: Timestamp,
) -> Vec<(ReleaseKey, String)> {
    let mut total: u64 = recordings.iter().map(|r| r.3).sum();
    let oldest = now - DAY * policy.keep_days;
    let mut gone = Vec::new();
    for (key, folder, at, bytes) in recordings {
        if *at < oldest || total > policy.keep_bytes {
            total -= bytes;
            gone.push((key.clone(), folder.clone()));
        }
    }
    gone
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{ApplicationName, ReleaseId};

    #[test]
    fn no_name_leads_out_of_the_folder_and_no_two_names_meet() {
        let names = ["..", ".", "a/b", "a%2Fb", "../../etc", "购物车", "a.b", "a b"];
        let made: Vec<String> = names.iter().map(|n| folder_name(n)).collect();
        for (name, made) in names.iter().zip(&made) {
            assert!(!made.contains('/') && !made.starts_with('.'), "{name} became {made}");
        }
        assert_eq!(made.iter().collect::<std::collections::BTreeSet<_>>().len(), names.len());
        assert_eq!(folder_name("a.b"), "a.b");
        assert!(folder_name(&"购".repeat(80)).len() < 255);
    }

    #[test]
    fn the_oldest_go_first_by_age_and_by_size() {
        let key = |id: &str| ReleaseKey {
            application: ApplicationName::new("shop").unwrap(),
            id: ReleaseId::new(id).unwrap(),
        };
        let now: Timestamp = "2026-03-10T00:00:00Z".parse().unwrap();
        let all: Vec<_> = [("a", 9, 10), ("b", 5, 60), ("c", 3, 30), ("d", 1, 40)]
            .map(|(id, days, bytes)| (key(id), id.to_owned(), now - DAY * days, bytes))
            .into();
        let policy = |keep_days, keep_bytes| RecordingPolicy { dir: PathBuf::new(), keep_days, keep_bytes };
        let gone = |policy| superfluous(&all, &policy, now).into_iter().map(|(_, f)| f).collect::<Vec<_>>();
        assert_eq!(gone(policy(30, 1_000)), Vec::<String>::new());
        assert_eq!(gone(policy(7, 1_000)), ["a"]);
        assert_eq!(gone(policy(30, 100)), ["a", "b"]);
        assert_eq!(gone(policy(4, 50)), ["a", "b", "c"]);
    }
}

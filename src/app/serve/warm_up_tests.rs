//! A release that ran to its end teaches the next one of its application.

use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, RwLock};
use std::time::Duration;

use tokio::sync::watch;

use super::actor::Means;
use super::courier::Couriers;
use super::panic_tests::{Watched, until};
use super::recorder::{Recorder, RecordingPolicy};
use super::shared::Shared;
use crate::adapters::guardian::HaltState;
use crate::adapters::recording::Recording;
use crate::adapters::store::{SqlStore, Step, Store, StoredRelease};
use crate::adapters::telemetry::Metrics;
use crate::domain::{Feedback, FeedbackKind, ReleaseId, ReleaseKey, ReleaseOrder, Timestamp};
use crate::guard::engine::{Input, Phase};
use crate::guard::{Action, EpisodeSnapshot, Mode};
use crate::judge::{Lesson, Settled, WarmUpSeen};

/// The time of the recording that is played.
static NOW_MILLIS: AtomicI64 = AtomicI64::new(0);

fn clock() -> Timestamp {
    Timestamp::from_millis(NOW_MILLIS.load(Ordering::SeqCst))
}

/// A good release of before, that had settled after 40 s.
fn earlier(order: &ReleaseOrder, number: u64) -> Step {
    let mut order = order.clone();
    order.id = ReleaseId::new(format!("earlier-{number}")).unwrap();
    let ended_at = order.started_at - Duration::from_secs(3_600 * (number + 1));
    let settled = Some(Settled { seconds: 40.0, settled: true });
    let seen = WarmUpSeen { latency: settled, saturation: settled };
    let release = StoredRelease {
        order,
        phase: Phase::Finished,
        mode: Mode::Enforce,
        gravest: Action::Proceed,
        snapshot: None,
        verdict: None,
        evidence: Vec::new(),
        because: None,
        held_by: None,
        first_stop_at: None,
        rolled_back: false,
        ended_at: Some(ended_at),
        recording: None,
        warm_up_lesson: Some(Lesson { seen, stopped: false }),
        word: None,
        word_onset: None,
    };
    Step {
        release,
        at: ended_at,
        decisions: Vec::new(),
        commands: Vec::new(),
        settled: None,
        notices: Vec::new(),
        audit: Vec::new(),
        answer: None,
    }
}

async fn learned_from(store: &SqlStore, key: &ReleaseKey) -> u32 {
    let snapshot = store.release(key).await.unwrap().unwrap().snapshot.unwrap();
    serde_json::from_str::<EpisodeSnapshot>(&snapshot).unwrap().warm_up.latency.learned_from
}

#[tokio::test]
async fn a_release_begins_with_what_good_ones_taught_and_teaches_when_it_ran_to_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("replay-data/search-latency");
    let mut recording = Recording::read(&shipped).unwrap();
    recording.order.finished_at = None;
    let store = Arc::new(SqlStore::open(&folder.path().join("guardian.db")).await.unwrap());
    for number in 0..3 {
        store.record(earlier(&recording.order, number)).await.unwrap();
    }
    let before = Duration::from_secs(3_600);
    let shared =
        Arc::new(Shared::new(store.clone(), Metrics::default(), clock, "http://guardian/".into(), before));
    let (_halt, halted) = watch::channel(HaltState::default());
    let policy =
        RecordingPolicy { dir: folder.path().join("recordings"), keep_days: 30, keep_bytes: u64::MAX };
    let means = Means {
        shared: shared.clone(),
        couriers: Arc::new(Couriers::new(shared.clone(), halted)),
        recorder: Recorder::start(shared.clone(), Arc::new(RwLock::new(policy))),
    };
    let application = recording.order.application.clone();
    let watched = Watched::start(application.as_str(), &recording, &means);
    let mut begun = false;
    for scrape in recording.scrapes() {
        NOW_MILLIS.store(scrape.at.as_millis(), Ordering::SeqCst);
        if !begun && recording.order.started_at <= scrape.at {
            begun = true;
            watched.change(Input::Begin(Box::new(recording.order.clone()))).await;
            assert_eq!(learned_from(&store, &watched.key).await, 3);
        }
        watched.running.scrapes.send(scrape).await.ok().unwrap();
        watched.caught_up().await;
    }
    watched.change(Input::Conclude).await;
    until("its end is stored", async || {
        store.release(&watched.key).await.unwrap().is_some_and(|release| release.ended_at.is_some())
    })
    .await;
    assert_eq!(store.warm_ups_seen(&application).await.unwrap().len(), 4);
    assert_eq!(shared.warm_up(&application).await.unwrap().latency.learned_from, 4);

    let word = Feedback {
        release: watched.key.clone(),
        kind: FeedbackKind::FaultMissed,
        onset: None,
        comment: None,
        by: "ann".to_owned(),
        at: clock(),
    };
    store.add_feedback(&word, None).await.unwrap();
    assert_eq!(shared.warm_up(&application).await.unwrap().latency.learned_from, 3);
}

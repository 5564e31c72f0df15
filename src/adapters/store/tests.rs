use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::adapters::notify::message::Message;
use crate::adapters::notify::outbox::{Delivery, Outbox, OutboxError};
use crate::domain::{CommandId, InstanceId, ReleaseId, Sample, ScrapeOutcome, SeriesKey};
use crate::guard::engine::NoticeKind;
use crate::guard::{CommandKind, Decider};
use crate::judge::{Settled, WarmUpSeen};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(1_790_000_000_000 + seconds * 1_000)
}

fn order(id: &str) -> ReleaseOrder {
    ReleaseOrder {
        format: 1,
        id: ReleaseId::new(id).unwrap(),
        application: ApplicationName::new("shop").unwrap(),
        version: None,
        previous_version: None,
        started_at: at(0),
        finished_at: None,
        batches: vec![],
        reference: vec![],
        groups: None,
        metrics: vec![],
        alerts: vec![],
        other: BTreeMap::new(),
    }
}

fn release(id: &str) -> StoredRelease {
    StoredRelease {
        order: order(id),
        phase: Phase::Watching,
        mode: Mode::Enforce,
        gravest: Action::Proceed,
        snapshot: Some("{\"a\":1}".into()),
        verdict: None,
        evidence: vec![],
        because: None,
        held_by: None,
        first_stop_at: None,
        rolled_back: false,
        ended_at: None,
        recording: None,
        warm_up_lesson: None,
        word: None,
        word_onset: None,
    }
}

fn decision(key: &ReleaseKey, sequence: u32) -> Decision {
    Decision {
        release: key.clone(),
        sequence,
        at: at(60),
        action: Action::Pause,
        would: Action::Pause,
        by: Decider::Guardian,
        probability: 0.97,
        reasons: vec![],
        blind: vec!["orders: no series".into()],
        similar: vec![],
        because: "6 of 6 checks".into(),
    }
}

fn command(key: &ReleaseKey, id: &str) -> Command {
    Command {
        id: CommandId::new(id).unwrap(),
        release: key.clone(),
        kind: CommandKind::Pause,
        decision_sequence: 1,
        ordered_at: at(60),
        deadline: at(360),
    }
}

fn step(release: StoredRelease) -> Step {
    Step {
        release,
        at: at(60),
        decisions: vec![],
        commands: vec![],
        settled: None,
        notices: vec![],
        audit: vec![],
        answer: None,
    }
}

async fn open(folder: &Path) -> SqlStore {
    SqlStore::open(&folder.join("a folder & more.db")).await.unwrap()
}

#[tokio::test]
async fn a_step_is_read_back_whole_by_the_next_process() {
    let folder = tempfile::tempdir().unwrap();
    let one = release("r-1");
    let key = one.key();
    {
        let store = open(folder.path()).await;
        let mut step = step(one.clone());
        step.decisions = vec![decision(&key, 1)];
        step.commands = vec![command(&key, "c-1"), command(&key, "c-1")];
        step.notices = vec![Notice { at: at(60), kind: NoticeKind::Paused, text: "paused".into() }];
        step.audit = vec![AuditLine { at: at(60), who: "guardian".into(), text: "decided: pause".into() }];
        step.answer = Some(KeptAnswer { key: "k".into(), digest: "d".into(), answer: "{}".into() });
        store.record(step.clone()).await.unwrap();
        store.note_attempt(&step.commands[0].id, at(61), "HTTP status 503").await.unwrap();
        store.note_attempt(&step.commands[0].id, at(62), "HTTP status 200").await.unwrap();
        // No close: as after a kill.
        std::mem::forget(store);
    }
    let store = open(folder.path()).await;
    assert_eq!(store.watched().await.unwrap(), vec![one.clone()]);
    assert_eq!(store.decisions(&key).await.unwrap(), vec![decision(&key, 1)]);
    assert_eq!(store.unsettled().await.unwrap(), vec![command(&key, "c-1")]);
    let records = store.commands(&key).await.unwrap();
    assert_eq!(
        records[0].attempts.iter().map(|a| a.result.as_str()).collect::<Vec<_>>(),
        ["HTTP status 503", "HTTP status 200"]
    );
    assert_eq!(store.pending_notices(10).await.unwrap().len(), 1);
    assert_eq!(store.answer("k").await.unwrap().unwrap().digest, "d");
    assert_eq!(store.audit(Some(&key)).await.unwrap().len(), 1);

    let mut ended = one;
    ended.ended_at = Some(at(100));
    ended.rolled_back = true;
    let mut step = step(ended);
    step.settled = Some((CommandId::new("c-1").unwrap(), Settlement::Confirmed { read_back: true }));
    store.record(step).await.unwrap();
    assert!(store.watched().await.unwrap().is_empty());
    assert!(store.unsettled().await.unwrap().is_empty());
    assert_eq!(
        store.commands(&key).await.unwrap()[0].settlement,
        Some(Settlement::Confirmed { read_back: true })
    );
}

#[tokio::test]
async fn the_newest_word_counts_and_all_words_stay() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let mut one = release("r-1");
    one.ended_at = Some(at(100));
    let key = one.key();
    store.record(step(one)).await.unwrap();
    for (kind, onset) in [(FeedbackKind::FalseAlarm, None), (FeedbackKind::FaultConfirmed, Some(at(5)))] {
        let word =
            Feedback { release: key.clone(), kind, onset, comment: None, by: "ann".into(), at: at(200) };
        store.add_feedback(&word, None).await.unwrap();
    }
    assert_eq!(store.feedback(&key).await.unwrap().len(), 2);
    let rows = store.quality().await.unwrap();
    assert_eq!((rows[0].word, rows[0].onset), (Some(FeedbackKind::FaultConfirmed), Some(at(5))));
}

#[tokio::test]
async fn an_answer_given_under_a_key_is_never_replaced_and_its_step_not_stored() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    for (id, stored) in [("r-1", true), ("r-2", false)] {
        let mut step = step(release(id));
        step.answer = Some(KeptAnswer { key: "k".into(), digest: id.into(), answer: "{}".into() });
        let used = store.record(step).await.err().map(|error| error.is_used_key());
        assert_eq!(used, (!stored).then_some(true));
    }
    assert_eq!(store.watched().await.unwrap().len(), 1);
    assert_eq!(store.answer("k").await.unwrap().unwrap().digest, "r-1");
}

#[tokio::test]
async fn releases_are_listed_newest_first_by_application_and_state() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    for (i, id) in ["r-1", "r-2", "r-3"].iter().enumerate() {
        let mut one = release(id);
        one.order.started_at = at(i as i64);
        one.ended_at = (i == 0).then(|| at(100));
        store.record(step(one)).await.unwrap();
    }
    let ids = async |filter: ReleaseFilter| {
        let all = store.releases(&filter).await.unwrap();
        all.iter().map(|r| r.order.id.as_str().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(ids(ReleaseFilter::default()).await, ["r-3", "r-2", "r-1"]);
    assert_eq!(ids(ReleaseFilter { watched: Some(false), ..Default::default() }).await, ["r-1"]);
    assert_eq!(
        ids(ReleaseFilter { watched: Some(true), limit: Some(1), ..Default::default() }).await,
        ["r-3"]
    );
    assert_eq!(ids(ReleaseFilter { before: Some(at(1)), ..Default::default() }).await, ["r-1"]);
    let other = ApplicationName::new("other").unwrap();
    assert!(ids(ReleaseFilter { application: Some(other), ..Default::default() }).await.is_empty());
}

#[tokio::test]
async fn samples_survive_a_restart_and_are_forgotten_by_age() {
    let folder = tempfile::tempdir().unwrap();
    let shop = ApplicationName::new("shop").unwrap();
    let scrape = |seconds: i64, value: f64| Scrape {
        instance: InstanceId::new("a:1").unwrap(),
        at: at(seconds),
        outcome: ScrapeOutcome::Complete,
        samples: vec![Sample {
            series: Arc::new(SeriesKey::new("requests_total", [("code", "500"), ("path", "/a\"b")])),
            value,
        }],
        families: Arc::new([]),
    };
    {
        let store = open(folder.path()).await;
        store.append_samples(&shop, &[scrape(0, 1.0), scrape(10, 2.0)]).await.unwrap();
        std::mem::forget(store);
    }
    let store = open(folder.path()).await;
    store.append_samples(&shop, &[scrape(20, 3.0)]).await.unwrap();
    let read = store.samples(&shop, at(5), at(30)).await.unwrap();
    assert_eq!(read.iter().map(|s| s.samples[0].value).collect::<Vec<_>>(), [2.0, 3.0]);
    assert_eq!(read[0].samples[0].series.label("path"), Some("/a\"b"));
    assert_eq!(store.forget_samples(&shop, at(15)).await.unwrap(), 1);
    assert_eq!(store.samples(&shop, at(0), at(30)).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_store_without_room_says_so_and_goes_on_once_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let mut large = release("r-1");
    large.snapshot = Some("x".repeat(100_000));
    for attempt in 0..3 {
        leave_room(&store, 2).await;
        let error = store.record(step(large.clone())).await.unwrap_err();
        assert!(matches!(error, StoreError::Full { .. }), "{attempt}: {error:?}");
    }
    leave_room(&store, 2).await;
    let kept = messages(&store, &"x".repeat(100_000)).await.unwrap_err();
    assert!(format!("{kept:?}").contains("Full"), "{kept:?}");
    leave_room(&store, 1_000_000).await;
    store.record(step(large.clone())).await.unwrap();
    // One that fails for another reason is no trouble for the next either.
    let with_answer = |id: &str| Step {
        answer: Some(KeptAnswer { key: "k".into(), digest: id.into(), answer: "{}".into() }),
        ..step(release(id))
    };
    store.record(with_answer("r-2")).await.unwrap();
    store.record(with_answer("r-3")).await.unwrap_err();
    store.record(step(release("r-4"))).await.unwrap();
    messages(&store, "short").await.unwrap();
    store.beat(at(70), 1_000).await.unwrap();

    let stored = ["r-1", "r-2", "r-4"];
    let names = async |store: &SqlStore| {
        let all = store.watched().await.unwrap();
        all.iter().map(|r| r.order.id.as_str().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(&store).await, stored, "seen by another connection");
    // No close: as after a kill.
    std::mem::forget(store);
    let store = open(folder.path()).await;
    assert_eq!(names(&store).await, stored);
    assert_eq!(store.watched().await.unwrap()[0].snapshot, large.snapshot);
    assert_eq!(store.waiting().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_beat_fails_without_the_room_that_it_asks_for_and_when_nobody_else_sees_it() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    store.beat(at(0), 0).await.unwrap();
    leave_room(&store, 2).await;
    store.beat(at(5), 0).await.unwrap();
    let error = store.beat(at(10), 1_000_000).await.unwrap_err();
    assert!(matches!(error, StoreError::Full { .. }), "{error:?}");
    // What the driver knows nothing of holds all commits back.
    sqlx::query("BEGIN").execute(&store.writer).await.unwrap();
    let error = store.beat(at(15), 0).await.unwrap_err();
    assert!(matches!(error, StoreError::Unseen), "{error:?}");
    store.beat(at(20), 1_000_000).await.unwrap();
}

/// Lets the file grow by so many pages at most, by the connection that writes now.
async fn leave_room(store: &SqlStore, more: i64) {
    let mut writer = store.writer.acquire().await.unwrap();
    let pages: i64 = sqlx::query_scalar("PRAGMA page_count").fetch_one(&mut *writer).await.unwrap();
    let limit = sqlx::AssertSqlSafe(format!("PRAGMA max_page_count = {}", pages + more));
    sqlx::query(limit).execute(&mut *writer).await.unwrap();
}

/// Keeps a message to people.
async fn messages(store: &SqlStore, recipient: &str) -> Result<Vec<bool>, OutboxError> {
    let message = Message::test(at(0));
    let channel = "mail".to_owned();
    store.keep(&[Delivery { message, channel, recipient: recipient.to_owned(), kept_at: at(1) }]).await
}

#[tokio::test]
async fn a_folder_that_does_not_exist_is_an_error_that_says_what_was_being_done() {
    let error = SqlStore::open(Path::new("/nonexistent/folder/guardian.db")).await.err().unwrap();
    assert!(error.to_string().contains("making it"), "{error}");
}

#[tokio::test]
async fn a_new_store_is_for_its_owner_alone_and_the_rights_of_another_stay() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let modes = || {
        let files = std::fs::read_dir(folder.path()).unwrap();
        let mode = |entry: std::fs::DirEntry| entry.metadata().unwrap().permissions().mode() & 0o777;
        files.map(|entry| mode(entry.unwrap())).collect::<Vec<_>>()
    };
    let store = open(folder.path()).await;
    store.set_fact("halt", "on").await.unwrap();
    assert_eq!(modes(), [0o600; 3], "with -wal and -shm");
    store.close().await;
    let file = std::fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).unwrap();
    let store = open(folder.path()).await;
    store.set_fact("halt", "off").await.unwrap();
    assert_eq!(modes(), [0o640; 3], "what an administrator gave");
}

#[tokio::test]
async fn a_file_that_is_no_database_is_named_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("guardian.db");
    let text = "not a database ".repeat(1_000);
    std::fs::write(&file, &text).unwrap();
    let error = SqlStore::open(&file).await.err().unwrap();
    assert!(matches!(&error, StoreError::NoStore { path } if *path == file), "{error:?}");
    assert!(error.to_string().contains(&file.display().to_string()), "{error}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
}

#[tokio::test]
async fn facts_are_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    assert_eq!(store.fact("halt").await.unwrap(), None);
    for value in ["on", "off"] {
        store.set_fact("halt", value).await.unwrap();
    }
    assert_eq!(store.fact("halt").await.unwrap().as_deref(), Some("off"));
}

#[tokio::test]
async fn what_good_releases_taught_of_a_warm_up_survives_a_restart_and_people_can_take_it_back() {
    let folder = tempfile::tempdir().unwrap();
    let shown = |seconds| WarmUpSeen { latency: Some(Settled { seconds, settled: true }), saturation: None };
    let ended = |id: &str, seconds: f64, stopped| StoredRelease {
        phase: Phase::Finished,
        ended_at: Some(at(seconds as i64)),
        warm_up_lesson: Some(Lesson { seen: shown(seconds), stopped }),
        ..release(id)
    };
    let said = |id: &str, kind| Feedback {
        release: ended(id, 0.0, false).key(),
        at: at(900),
        by: "ann".into(),
        kind,
        onset: None,
        comment: None,
    };
    {
        let store = open(folder.path()).await;
        for stored in [
            ended("r-1", 10.0, false),
            ended("r-2", 20.0, true),
            ended("r-3", 30.0, false),
            ended("r-4", 40.0, true),
            release("watched"),
        ] {
            store.record(step(stored)).await.unwrap();
        }
        store.add_feedback(&said("r-3", FeedbackKind::FaultMissed), None).await.unwrap();
        store.add_feedback(&said("r-4", FeedbackKind::FalseAlarm), None).await.unwrap();
        // No close: as after a kill.
        std::mem::forget(store);
    }
    let store = open(folder.path()).await;
    let application = order("r-1").application;
    assert_eq!(store.warm_ups_seen(&application).await.unwrap(), [shown(40.0), shown(10.0)]);
    store.add_feedback(&said("r-1", FeedbackKind::FaultConfirmed), None).await.unwrap();
    assert_eq!(store.warm_ups_seen(&application).await.unwrap(), [shown(40.0)]);
    assert!(store.warm_ups_seen(&ApplicationName::new("other").unwrap()).await.unwrap().is_empty());
    let read = store.release(&ended("r-4", 40.0, true).key()).await.unwrap().unwrap();
    assert_eq!(read.warm_up_lesson, ended("r-4", 40.0, true).warm_up_lesson);
}

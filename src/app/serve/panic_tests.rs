//! A panic over one release ends nothing else: real engines, a real store,
//! recorded scrapes; the store and the release system fail on purpose.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{oneshot, watch};

use super::actor::{ApplicationSpec, Call, Change, Means};
use super::applications::{Members, Running};
use super::courier::Couriers;
use super::recorder::{Recorder, RecordingPolicy};
use super::shared::Shared;
use crate::adapters::guardian::{AuditLine, Caller, CommandRecord, HaltState, ReleaseFilter};
use crate::adapters::recording::Recording;
use crate::adapters::release_system::{Attempt, CommandOrder, ReadBack, ReleaseSystem};
use crate::adapters::store::{
    KeptAnswer, PendingNotice, QualityRow, SqlStore, Step, Store, StoreError, StoredRelease,
};
use crate::adapters::telemetry::Metrics;
use crate::app::replay;
use crate::domain::{ApplicationName, CommandId, Feedback, ReleaseKey, Scrape, Timestamp};
use crate::guard::engine::Input;
use crate::guard::{Action, Command, CommandKind, Decision, Settlement};
use crate::judge::WarmUpSeen;

/// Only there to end a hang.
const PATIENCE: Duration = Duration::from_secs(300);

/// The time of the recording that is played.
static NOW_MILLIS: AtomicI64 = AtomicI64::new(0);

fn clock() -> Timestamp {
    Timestamp::from_millis(NOW_MILLIS.load(Ordering::SeqCst))
}

/// A store that panics over one application, while it is told to.
struct FaultyStore {
    inner: SqlStore,
    over: ApplicationName,
    commands: AtomicBool,
    samples: AtomicBool,
}

impl FaultyStore {
    fn fail(&self, fails: &AtomicBool, application: &ApplicationName) {
        assert!(!(fails.load(Ordering::SeqCst) && *application == self.over), "a fault on purpose");
    }
}

macro_rules! store {
    ($(fn $name:ident($($argument:ident: $kind:ty),*) -> $result:ty;)*) => {
        #[async_trait]
        impl Store for FaultyStore {
            async fn record(&self, step: Step) -> Result<(), StoreError> {
                if !step.commands.is_empty() {
                    self.fail(&self.commands, &step.release.order.application);
                }
                self.inner.record(step).await
            }
            async fn samples(
                &self,
                application: &ApplicationName,
                from: Timestamp,
                to: Timestamp,
            ) -> Result<Vec<Scrape>, StoreError> {
                self.fail(&self.samples, application);
                self.inner.samples(application, from, to).await
            }
            $(async fn $name(&self, $($argument: $kind),*) -> Result<$result, StoreError> {
                self.inner.$name($($argument),*).await
            })*
        }
    };
}

store! {
    fn note_attempt(command: &CommandId, at: Timestamp, result: &str) -> ();
    fn settle(command: &CommandId, settlement: &Settlement, at: Timestamp) -> ();
    fn watched() -> Vec<StoredRelease>;
    fn unsettled() -> Vec<Command>;
    fn release(key: &ReleaseKey) -> Option<StoredRelease>;
    fn releases(filter: &ReleaseFilter) -> Vec<StoredRelease>;
    fn decisions(key: &ReleaseKey) -> Vec<Decision>;
    fn commands(key: &ReleaseKey) -> Vec<CommandRecord>;
    fn feedback(key: &ReleaseKey) -> Vec<Feedback>;
    fn audit(key: Option<&ReleaseKey>) -> Vec<AuditLine>;
    fn add_feedback(feedback: &Feedback, answer: Option<KeptAnswer>) -> ();
    fn add_audit(key: Option<&ReleaseKey>, line: &AuditLine) -> ();
    fn answer(key: &str) -> Option<KeptAnswer>;
    fn note_recording(key: &ReleaseKey, folder: Option<&str>) -> ();
    fn recorded() -> Vec<(ReleaseKey, String, Timestamp)>;
    fn unrecorded(since: Timestamp) -> Vec<ReleaseKey>;
    fn append_samples(application: &ApplicationName, scrapes: &[Scrape]) -> ();
    fn forget_samples(application: &ApplicationName, before: Timestamp) -> u64;
    fn pending_notices(limit: u32) -> Vec<PendingNotice>;
    fn notice_done(id: &str) -> ();
    fn quality() -> Vec<QualityRow>;
    fn warm_ups_seen(application: &ApplicationName) -> Vec<WarmUpSeen>;
    fn fact(name: &str) -> Option<String>;
    fn set_fact(name: &str, value: &str) -> ();
    fn beat(at: Timestamp, room: usize) -> ();
    fn forget_answers(before: Timestamp) -> ();
}

/// Takes what it is sent; panics at the first attempt where it is told to.
#[derive(Default)]
pub(super) struct System {
    panics: AtomicBool,
    taken: Mutex<Vec<(CommandKind, CommandId)>>,
}

impl System {
    fn pauses(&self) -> Vec<CommandId> {
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.iter().filter(|(kind, _)| *kind == CommandKind::Pause).map(|(_, id)| id.clone()).collect()
    }
}

#[async_trait]
impl ReleaseSystem for System {
    fn target(&self) -> &str {
        "a release system"
    }
    fn can(&self, _: CommandKind) -> bool {
        true
    }
    async fn attempt(&self, order: &CommandOrder, _: Timestamp) -> Attempt {
        assert!(!self.panics.swap(false, Ordering::SeqCst), "a fault on purpose");
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.push((order.command.kind, order.command.id.clone()));
        Attempt::Taken { answer: "yes".to_owned() }
    }
    fn read_back_interval(&self, _: CommandKind) -> Option<Duration> {
        None
    }
    async fn read_back(&self, _: &CommandOrder, _: Timestamp) -> ReadBack {
        ReadBack::Done
    }
}

/// One application with its release, which is the recorded one.
pub(super) struct Watched {
    pub(super) key: ReleaseKey,
    pub(super) running: Running,
    system: Arc<System>,
}

impl Watched {
    pub(super) fn start(name: &str, recording: &Recording, means: &Means) -> Self {
        let name = ApplicationName::new(name).unwrap();
        let system = Arc::new(System::default());
        let mut engine = replay::settings();
        engine.interval = Duration::from_secs(1);
        let spec =
            ApplicationSpec { name: name.clone(), engine, system: Some(system.clone()), configured: true };
        let members = Members::Selected { sources: Vec::new(), select: Vec::new() };
        let key = ReleaseKey { application: name, id: recording.order.id.clone() };
        Self { key, running: Running::start(spec, members, means), system }
    }

    pub(super) async fn change(&self, input: Input) {
        let (reply, answer) = oneshot::channel();
        let change = Change {
            caller: Caller::new("a test"),
            release: Some(self.key.clone()),
            input,
            what: "told by a test".to_owned(),
            digest: String::new(),
            reply,
        };
        self.running.calls.send(Call::Change(Box::new(change))).await.ok().unwrap();
        answer.await.unwrap().unwrap();
    }

    /// Waits until its actor has nothing left to read.
    pub(super) async fn caught_up(&self) {
        until("the scrapes are read", async || {
            self.running.scrapes.capacity() == self.running.scrapes.max_capacity()
        })
        .await;
    }
}

pub(super) async fn until(what: &str, done: impl AsyncFn() -> bool) {
    let begun = tokio::time::Instant::now();
    while !done().await {
        assert!(begun.elapsed() < PATIENCE, "it did not come to pass that {what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn a_panic_over_one_release_stops_no_other_and_loses_no_command() {
    let folder = tempfile::tempdir().unwrap();
    let recording =
        Recording::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("replay-data/shop-errors")).unwrap();
    let store = Arc::new(FaultyStore {
        inner: SqlStore::open(&folder.path().join("guardian.db")).await.unwrap(),
        over: ApplicationName::new("unlucky").unwrap(),
        commands: AtomicBool::new(true),
        samples: AtomicBool::new(false),
    });
    let before = Duration::from_secs(3_600);
    let shared =
        Arc::new(Shared::new(store.clone(), Metrics::default(), clock, "http://guardian/".into(), before));
    let panics = || shared.metrics.panics.get();
    let (_halt, halted) = watch::channel(HaltState::default());
    let recordings = folder.path().join("recordings");
    let policy = RecordingPolicy { dir: recordings.clone(), keep_days: 30, keep_bytes: u64::MAX };
    let means = Means {
        shared: shared.clone(),
        couriers: Arc::new(Couriers::new(shared.clone(), halted)),
        recorder: Recorder::start(shared.clone(), Arc::new(RwLock::new(policy))),
    };
    let unlucky = Watched::start("unlucky", &recording, &means);
    let lucky = Watched::start("lucky", &recording, &means);
    unlucky.system.panics.store(true, Ordering::SeqCst);

    let mut begun = false;
    for scrape in recording.scrapes() {
        NOW_MILLIS.store(scrape.at.as_millis(), Ordering::SeqCst);
        if !begun && recording.order.started_at <= scrape.at {
            begun = true;
            for watched in [&unlucky, &lucky] {
                let mut order = recording.order.clone();
                order.application = watched.key.application.clone();
                order.finished_at = None;
                watched.change(Input::Begin(Box::new(order))).await;
            }
        }
        for watched in [&unlucky, &lucky] {
            watched.running.scrapes.send(scrape.clone()).await.ok().unwrap();
        }
        lucky.caught_up().await;
        if panics() == 0 {
            unlucky.caught_up().await;
        } else if !lucky.system.pauses().is_empty() {
            // The other was stopped meanwhile; from here on the store works.
            store.commands.store(false, Ordering::SeqCst);
            unlucky.caught_up().await;
        }
        if !store.commands(&unlucky.key).await.unwrap().is_empty() {
            break;
        }
    }
    assert!(panics() >= 1);
    assert_eq!(lucky.system.pauses().len(), 1);

    // Its first delivery panics as well; the command is sent all the same.
    until("the pause is settled", async || {
        let commands = store.commands(&unlucky.key).await.unwrap();
        commands.iter().any(|c| c.command.kind == CommandKind::Pause && c.settlement.is_some())
    })
    .await;
    let stored = store.commands(&unlucky.key).await.unwrap();
    let pauses: Vec<_> = stored.iter().filter(|c| c.command.kind == CommandKind::Pause).collect();
    let [pause] = pauses[..] else { panic!("not one pause: {stored:?}") };
    assert_eq!(pause.settlement, Some(Settlement::Confirmed { read_back: false }));
    assert_eq!(unlucky.system.pauses(), std::slice::from_ref(&pause.command.id));
    let decisions = store.decisions(&unlucky.key).await.unwrap();
    let decided = decisions.iter().find(|d| d.sequence == pause.command.decision_sequence).unwrap();
    assert!(decided.action == Action::Pause && !decided.reasons.is_empty(), "{decided:?}");

    // What panics while it is recorded keeps no other from being recorded.
    let caught = panics();
    store.samples.store(true, Ordering::SeqCst);
    unlucky.change(Input::Cancel).await;
    lucky.change(Input::Cancel).await;
    until("the other is recorded", async || {
        store.recorded().await.unwrap().iter().any(|(key, _, _)| *key == lucky.key)
    })
    .await;
    assert!(panics() > caught);
    assert!(!recordings.join("unlucky").exists());
}

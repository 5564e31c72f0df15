//! Who belongs to which group, where the release says it by labels: those
//! that are known when it begins, and those that appear while it is watched.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::domain::{Batch, Group, GroupSelectors, InstanceId, Scrape, Timestamp};
use crate::judge::{Blind, Outcome, Verdict};
use crate::signal::{DivideBy, Divider, Labels, Window};

use super::episode::EpisodeSnapshot;

/// Instances that get the new version within so long are one batch.
const BATCH_WITHIN: Duration = Duration::from_secs(30);

/// An instance that was not tried for so long is gone.
const GONE_AFTER: Duration = Duration::from_secs(120);

/// Most instances that labels can put into the groups of one release.
const ASSIGNED_MAX: usize = 5_000;

/// The instances of an application with their labels.
#[derive(Clone, Debug, Default)]
pub(super) struct Roster {
    divider: Divider,
    known: BTreeMap<InstanceId, (Labels, Timestamp)>,
}

impl Roster {
    pub(super) fn new(by: DivideBy) -> Self {
        Self { divider: Divider::new(by), known: BTreeMap::new() }
    }

    pub(super) fn divides_by(&self) -> &DivideBy {
        self.divider.by()
    }

    /// Takes a scrape into the window, part by part, and puts who is new into
    /// their groups. True if the groups changed.
    pub(super) fn take(
        &mut self,
        window: &mut Window,
        mut state: Option<&mut EpisodeSnapshot>,
        scrape: &Scrape,
    ) -> bool {
        if self.divider.by().labels.is_empty() {
            window.take(scrape);
            return false;
        }
        let mut changed = false;
        for part in self.divider.divide(scrape) {
            window.take(&part.scrape);
            let Some(labels) = part.labels else { continue };
            let instance = &part.scrape.instance;
            // History that a server tells late is of instances that may be gone.
            if let Some(state) = &mut state
                && state.order.started_at.since(scrape.at) < GONE_AFTER
            {
                changed |= state.assign(instance, &labels, scrape.at);
            }
            match self.known.get_mut(instance) {
                Some(known) => *known = (labels, scrape.at),
                None => {
                    if self.known.len() >= ASSIGNED_MAX {
                        self.known.retain(|_, (_, at)| scrape.at.since(*at) < GONE_AFTER);
                    }
                    if self.known.len() < ASSIGNED_MAX {
                        self.known.insert(instance.clone(), (labels, scrape.at));
                    }
                }
            }
        }
        changed
    }

    /// Puts those that were tried lately into the groups of a release.
    pub(super) fn assign_known(&self, state: &mut EpisodeSnapshot, now: Timestamp) {
        for (instance, (labels, at)) in &self.known {
            if now.since(*at) < GONE_AFTER {
                let begun = state.order.started_at;
                state.assign(instance, labels, begun);
            }
        }
    }
}

impl From<&GroupSelectors> for DivideBy {
    fn from(groups: &GroupSelectors) -> Self {
        let labels = groups.labels().into_iter().map(str::to_owned).collect();
        Self { labels, naming: groups.instance_label.clone() }
    }
}

impl EpisodeSnapshot {
    /// Puts an instance into the group that its labels tell, as of `at`; true
    /// if that changed anything. Who has the new version keeps it.
    pub(super) fn assign(&mut self, instance: &InstanceId, labels: &Labels, at: Timestamp) -> bool {
        let Some(groups) = &self.order.groups else { return false };
        let label = |name: &str| labels.get(name).map(String::as_str);
        let Some(group) = groups.group(label) else { return false };
        let member = self.groups.members.iter().find(|member| member.instance == *instance);
        let settled = match (member.map(|member| member.group()), group) {
            (None, _) => self.groups.members.len() >= ASSIGNED_MAX,
            (Some(Group::Release), _) | (Some(Group::Reference), Group::Reference) => true,
            (Some(Group::Reference), Group::Release) => false,
        };
        if settled || self.phase.is_final() {
            return false;
        }
        match group {
            Group::Reference => {
                self.groups.add_reference([instance.clone()]);
                self.order.reference.push(instance.clone());
            }
            Group::Release => {
                self.order.reference.retain(|known| known != instance);
                let batch = self.batch_at(at.max(self.order.started_at));
                batch.instances.push(instance.clone());
                let batch = Batch { instances: vec![instance.clone()], ..batch.clone() };
                self.groups.release(&batch);
            }
        }
        true
    }

    /// The newest batch if it began shortly before, or a new one.
    fn batch_at(&mut self, at: Timestamp) -> &mut Batch {
        let newest = self.batches_begun.checked_sub(1).and_then(|i| self.order.batches.get(i));
        let joins = newest.is_some_and(|batch| at.since(batch.started_at) <= BATCH_WITHIN);
        if !joins {
            let batch = Batch { started_at: at, instances: Vec::new(), weight: None };
            self.order.batches.insert(self.batches_begun, batch);
            self.batches_begun += 1;
        }
        let newest = self.batches_begun - 1;
        &mut self.order.batches[newest]
    }

    /// What can be said while nobody has the labels of the release group:
    /// nothing, and why.
    pub(super) fn unmatched(&self, now: Timestamp) -> Verdict {
        let release =
            self.order.groups.as_ref().map_or_else(String::new, |groups| groups.release.to_string());
        let reference = self.groups.of(Group::Reference).count();
        Verdict {
            at: now,
            outcome: Outcome::Unknown,
            probability: 0.0,
            findings: Vec::new(),
            blind: vec![Blind {
                what: "release group".to_owned(),
                why: format!(
                    "no instance has the labels {release} yet; {reference} instances are in the reference group"
                ),
            }],
            judged: 0,
            similar: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Sample, ScrapeFailure, ScrapeOutcome, target_info};
    use crate::guard::engine::{Effect, Engine, EngineSettings, Input};

    fn order(extra: &str) -> Box<crate::domain::ReleaseOrder> {
        let text = format!(
            r#"{{"format": 1, "id": "r", "application": "shop", "started_at": "2026-03-01T00:10:00Z",
            "groups": {{"release": "{{v=\"2\"}}", "reference": "{{v!=\"2\"}}"}}{extra}}}"#
        );
        Box::new(serde_json::from_str(&text).unwrap())
    }

    fn at(seconds: i64) -> Timestamp {
        let begun: Timestamp = "2026-03-01T00:10:00Z".parse().unwrap();
        Timestamp::from_millis(begun.as_millis() + seconds * 1_000)
    }

    fn scrape(instance: &str, version: &str, seconds: i64) -> Scrape {
        Scrape {
            instance: InstanceId::new(instance).unwrap(),
            at: at(seconds),
            outcome: ScrapeOutcome::Complete,
            samples: vec![
                target_info([("v", version)]),
                Sample { series: std::sync::Arc::new("x_total".parse().unwrap()), value: seconds as f64 },
            ],
            families: std::sync::Arc::new([]),
        }
    }

    fn engine() -> Engine {
        let mut engine = Engine::new(EngineSettings::default());
        assert!(engine.divide_by(order("").groups.as_ref().unwrap().into()));
        engine
    }

    fn groups(engine: &Engine) -> Vec<(String, Group, Option<Timestamp>)> {
        let state = engine.snapshot().unwrap();
        let member = |m: &crate::signal::Member| (m.instance.to_string(), m.group(), m.released_at);
        state.groups.members.iter().map(member).collect()
    }

    #[test]
    fn known_instances_are_assigned_at_the_begin_and_new_ones_at_their_first_scrape() {
        let mut engine = engine();
        for (instance, version, seconds) in [("a", "1", -10), ("gone", "1", -500), ("b", "1", -9)] {
            engine.handle(at(seconds), Input::Scrape(scrape(instance, version, seconds))).unwrap();
        }
        engine.handle(at(0), Input::Begin(order(""))).unwrap();
        let reference = |name: &str| (name.to_owned(), Group::Reference, None);
        assert_eq!(groups(&engine), [reference("a"), reference("b")]);
        // Two pods within half a minute are one batch, a later one is another.
        for (instance, seconds) in [("c", 20), ("d", 45), ("c", 50), ("e", 60)] {
            let effects = engine.handle(at(seconds), Input::Scrape(scrape(instance, "2", seconds))).unwrap();
            let changed = effects.iter().any(|effect| matches!(effect, Effect::Changed));
            assert_eq!(changed, (instance, seconds) != ("c", 50), "{instance} at {seconds}");
        }
        // A machine that gets the new version in place moves, and stays.
        engine.handle(at(70), Input::Scrape(scrape("a", "2", 70))).unwrap();
        engine.handle(at(80), Input::Scrape(scrape("a", "1", 80))).unwrap();
        let released = |name: &str, seconds| (name.to_owned(), Group::Release, Some(at(seconds)));
        assert_eq!(
            groups(&engine),
            [released("a", 60), reference("b"), released("c", 20), released("d", 20), released("e", 60)]
        );
        let order = &engine.snapshot().unwrap().order;
        let batches: Vec<_> = order.batches.iter().map(|b| (b.started_at, b.instances.len())).collect();
        assert_eq!(batches, [(at(20), 2), (at(60), 2)]);
        assert_eq!(order.reference.len(), 1, "{:?}", order.reference);
    }

    #[test]
    fn a_pod_that_never_answers_is_assigned_by_what_its_list_says() {
        let mut engine = engine();
        engine.handle(at(0), Input::Begin(order(""))).unwrap();
        let mut silent = scrape("c", "2", 10);
        silent.samples.truncate(1);
        silent.outcome = ScrapeOutcome::Failed(ScrapeFailure::Refused);
        engine.handle(at(10), Input::Scrape(silent)).unwrap();
        assert_eq!(groups(&engine), [("c".to_owned(), Group::Release, Some(at(10)))]);
    }

    #[test]
    fn labels_that_nobody_has_are_blindness_and_people_are_told() {
        let mut engine = engine();
        engine.handle(at(0), Input::Begin(order(""))).unwrap();
        let mut told = Vec::new();
        for seconds in (0..400).step_by(10) {
            let mut effects = engine.handle(at(seconds), Input::Scrape(scrape("a", "1", seconds))).unwrap();
            effects.extend(engine.handle(at(seconds), Input::Tick).unwrap());
            for effect in effects {
                match effect {
                    Effect::Judged(verdict) => assert_eq!(verdict.outcome, Outcome::Unknown),
                    Effect::Notify(notice) => told.push((notice.kind, notice.text)),
                    Effect::Decided(_)
                    | Effect::Send(_)
                    | Effect::Changed
                    | Effect::WarmUpSeen(_)
                    | Effect::Ended => {}
                }
            }
        }
        let blind = engine.verdict().map(|verdict| verdict.blind[0].to_string()).unwrap();
        assert!(blind.contains("{v=\"2\"}") && blind.contains("1 instances"), "{blind}");
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].1.contains("no instance has the labels"), "{told:?}");
    }

    #[test]
    fn instances_of_long_ago_that_a_server_tells_late_are_not_members() {
        let mut engine = engine();
        engine.handle(at(0), Input::Begin(order(""))).unwrap();
        engine.handle(at(1), Input::Scrape(scrape("old", "1", -3_000))).unwrap();
        assert_eq!(groups(&engine), []);
        engine.handle(at(2), Input::Scrape(scrape("new", "1", -20))).unwrap();
        assert_eq!(groups(&engine).len(), 1);
    }
}

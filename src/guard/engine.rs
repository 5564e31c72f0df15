//! The engine of one application: everything that happens comes in as an
//! input with its time, everything to be done goes out as an effect. The same
//! engine runs live, in replay and in simulation.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::{Alert, Batch, CommandId, Group, ReleaseId, ReleaseOrder, Scrape, Timestamp};
use crate::judge::model::Considered;
use crate::judge::{Judge, JudgeSettings, Verdict, WarmUp, WarmUpSeen};
use crate::signal::{DivideBy, SignalSettings, Step, Window};

use super::assign::Roster;
use super::episode::EpisodeSnapshot;
use super::policy::Policy;
use super::{Action, Command, Decision, Settlement};

/// Something that happened.
#[derive(Clone, Debug)]
pub enum Input {
    /// A release begins.
    Begin(Box<ReleaseOrder>),
    /// A batch of the running release begins.
    Batch(Batch),
    /// The rollout is complete; the watch goes on for a while.
    Finish,
    /// The rollout is complete and both groups run the new version: nothing is
    /// left to compare, the watch ends at once.
    Conclude,
    /// The rollout was given up by the release system.
    Cancel,
    /// A scrape was done, or failed.
    Scrape(Scrape),
    /// An alert from outside began, changed or ended.
    Alert(Alert),
    /// A person decides instead.
    Operator {
        /// Who.
        who: String,
        /// What.
        order: OperatorOrder,
    },
    /// A command ended.
    Settled {
        /// Which.
        command: CommandId,
        /// How.
        settlement: Settlement,
    },
    /// Time passed.
    Tick,
}

/// What a person can decide about a running release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OperatorOrder {
    /// Pause it, and keep the guardian's hands off.
    Hold,
    /// Let it go on.
    Resume,
    /// Roll it back.
    Rollback,
    /// The guardian decides again.
    HandBack,
}

/// Something to be done by the outer rings, in this order.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Store the decision before anything that follows it.
    Decided(Box<Decision>),
    /// Send a command; its decision came before it.
    Send(Command),
    /// People are told.
    Notify(Notice),
    /// The newest verdict, for pages and metrics.
    Judged(Box<Verdict>),
    /// The episode changed: store its snapshot.
    Changed,
    /// What a release that was completed showed of its application's warm-up.
    WarmUpSeen(WarmUpSeen),
    /// The watch is over: save the recording.
    Ended,
}

/// Something that people are told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Notice {
    /// When.
    pub at: Timestamp,
    /// What kind, for routing.
    pub kind: NoticeKind,
    /// One sentence.
    pub text: String,
}

/// The kinds of notice, for routing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoticeKind {
    /// Shown, never acts.
    Advice,
    /// A pause was ordered; whether it was done is not known yet.
    Pausing,
    /// The release system did pause it.
    Paused,
    /// A rollback was ordered; whether it was done is not known yet.
    RollingBack,
    /// The release system did bring the old version back.
    RolledBack,
    /// Nothing could be judged for too long.
    Blind,
    /// A command was refused or is not confirmed: a person must act.
    CommandFailed,
    /// It began, ended, was resumed.
    Course,
}

/// Why an input was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Another release of the application is being watched.
    #[error("release {running} of this application is still being watched; finish or cancel it first")]
    Busy {
        /// Which.
        running: ReleaseId,
    },
    /// No release of that name is being watched.
    #[error("no release is being watched")]
    NotWatching,
    /// A batch after the rollout was said to be complete.
    #[error("the rollout was said to be complete at {at}; begin another release for more machines")]
    Complete {
        /// When.
        at: Timestamp,
    },
    /// The order makes no sense.
    #[error("{0}")]
    Invalid(String),
}

/// Where a release stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Rolling out, judged.
    Watching,
    /// A pause was ordered and has not settled.
    Pausing,
    /// Paused.
    Paused,
    /// A rollback was ordered and has not settled.
    RollingBack,
    /// The old version is back.
    RolledBack,
    /// Complete, watched for a while.
    Soaking,
    /// Over, with nothing wrong that was seen.
    Finished,
    /// Given up by the release system or an operator.
    Cancelled,
}

impl Phase {
    /// Whether the watch is over.
    pub fn is_final(self) -> bool {
        match self {
            Self::RolledBack | Self::Finished | Self::Cancelled => true,
            Self::Watching | Self::Pausing | Self::Paused | Self::RollingBack | Self::Soaking => false,
        }
    }
}

/// Everything that settings say about one application's guard.
#[derive(Clone, Debug, PartialEq)]
pub struct EngineSettings {
    /// What is made of verdicts.
    pub policy: Policy,
    /// How verdicts come about.
    pub judge: JudgeSettings,
    /// What settings say of signals.
    pub signals: SignalSettings,
    /// The scrape interval.
    pub interval: Duration,
    /// How much of the past is kept in memory.
    pub history: Duration,
    /// By which labels groups are told apart, as far as settings say.
    pub divide_by: DivideBy,
}

impl Default for EngineSettings {
    fn default() -> Self {
        Self {
            policy: Policy::default(),
            judge: JudgeSettings::default(),
            signals: SignalSettings::default(),
            interval: Duration::from_secs(10),
            history: Duration::from_secs(2 * 3600),
            divide_by: DivideBy::default(),
        }
    }
}

/// Most times that the history is measured anew in one release because
/// signals appeared.
const MEASURES_MAX: u32 = 12;

struct Episode {
    state: EpisodeSnapshot,
    judge: Option<Judge>,
    looked_to: Step,
    measures: u32,
    looks_since_measure: u32,
    verdict: Option<Verdict>,
}

/// The engine of one application.
pub struct Engine {
    settings: EngineSettings,
    window: Window,
    roster: Roster,
    /// For releases that begin from now on.
    warm_up: WarmUp,
    /// When the newest release that was stopped ended.
    stopped_until: Option<Timestamp>,
    episode: Option<Episode>,
}

impl Engine {
    /// An engine that has seen nothing.
    pub fn new(settings: EngineSettings) -> Self {
        let window = Window::new(settings.interval, settings.history, settings.signals.clone());
        let roster = Roster::new(settings.divide_by.clone());
        let warm_up = settings.judge.warm_up;
        Self { settings, window, roster, warm_up, stopped_until: None, episode: None }
    }

    /// Takes what earlier good releases taught of the application's warm-up:
    /// for releases that begin from now on.
    pub fn take_warm_up(&mut self, warm_up: WarmUp) {
        self.warm_up = warm_up;
    }

    /// What the watched release has shown of its application's warm-up until
    /// the newest look; nothing where it could not be judged.
    pub fn warm_up_seen(&self, now: Timestamp) -> Option<WarmUpSeen> {
        let episode = self.episode.as_ref()?;
        let judge = episode.judge.as_ref()?;
        Some(judge.warm_up_seen(&self.window, &episode.state.groups, now, episode.looked_to))
    }

    /// By which labels instances are told apart now.
    pub fn divides_by(&self) -> &DivideBy {
        self.roster.divides_by()
    }

    /// Tells instances apart by other labels, because a release orders its
    /// groups by them. True if so: what was seen is forgotten then, and may
    /// come again by `refill`.
    pub fn divide_by(&mut self, by: DivideBy) -> bool {
        if *self.roster.divides_by() == by {
            return false;
        }
        let settings = &self.settings;
        self.window = Window::new(settings.interval, settings.history, settings.signals.clone());
        self.roster = Roster::new(by);
        if let Some(episode) = &mut self.episode {
            episode.judge = None;
        }
        true
    }

    /// The clock was set back to `now`. Samples from after it would hide all
    /// that come: what was seen is forgotten, and what lies before may come
    /// again by `refill`.
    pub fn set_back(&mut self, now: Timestamp) {
        let settings = &self.settings;
        self.window = Window::new(settings.interval, settings.history, settings.signals.clone());
        self.roster = Roster::new(self.roster.divides_by().clone());
        if let Some(episode) = &mut self.episode {
            episode.state.set_back(now);
            episode.judge = None;
            episode.looked_to = Step::MIN;
        }
    }

    /// Takes changed settings. The samples stay, unless the interval or what
    /// settings say of signals changed.
    pub fn reconfigure(&mut self, settings: EngineSettings) {
        if settings.interval != self.settings.interval
            || settings.signals != self.settings.signals
            || settings.history != self.settings.history
            || settings.divide_by != self.settings.divide_by
        {
            self.window = Window::new(settings.interval, settings.history, settings.signals.clone());
        }
        if settings.divide_by != self.settings.divide_by && self.episode.is_none() {
            self.roster = Roster::new(settings.divide_by.clone());
        }
        self.settings = settings;
        if let Some(episode) = &mut self.episode {
            episode.judge = None;
        }
    }

    /// The settings in force.
    pub fn settings(&self) -> &EngineSettings {
        &self.settings
    }

    /// The samples.
    pub fn window(&self) -> &Window {
        &self.window
    }

    /// The release that is being watched.
    pub fn snapshot(&self) -> Option<&EpisodeSnapshot> {
        self.episode.as_ref().map(|e| &e.state)
    }

    /// The newest verdict.
    pub fn verdict(&self) -> Option<&Verdict> {
        self.episode.as_ref().and_then(|e| e.verdict.as_ref())
    }

    /// What a model was or would have been asked at the newest look.
    pub fn considered(&self) -> Option<&Considered> {
        self.episode.as_ref()?.judge.as_ref()?.considered()
    }

    /// Goes on with a release after a restart; its samples follow by `refill`.
    pub fn restore(&mut self, state: EpisodeSnapshot) {
        if let Some(groups) = &state.order.groups {
            self.divide_by(groups.into());
        }
        self.episode = Some(Episode::new(state));
    }

    /// Takes a stored scrape after a restart: kept, not judged again.
    pub fn refill(&mut self, scrape: &Scrape) {
        self.roster.take(&mut self.window, None, scrape);
        if let Some(episode) = &mut self.episode {
            episode.looked_to = self.window.step_at(scrape.at) + 1;
        }
    }

    /// Values by member and time of the signal behind a finding, for charts.
    pub fn chart(&self, signal: &str, from: Timestamp, to: Timestamp) -> Vec<ChartLine> {
        let Some(episode) = &self.episode else { return Vec::new() };
        let Some(judge) = &episode.judge else { return Vec::new() };
        let groups = &episode.state.groups;
        judge
            .chart(&self.window, groups, signal, self.window.step_at(from), self.window.step_at(to) + 1)
            .into_iter()
            .filter_map(|(member, points)| {
                let member = groups.members.get(member)?;
                Some(ChartLine {
                    instance: member.instance.clone(),
                    group: member.group(),
                    released_at: member.released_at,
                    points,
                })
            })
            .collect()
    }

    /// Takes what happened at `now` and returns what is to be done about it.
    ///
    /// # Errors
    /// If a release cannot begin, or none is being watched.
    pub fn handle(&mut self, now: Timestamp, input: Input) -> Result<Vec<Effect>, Refusal> {
        match input {
            Input::Begin(order) => self.begin(*order, now),
            Input::Scrape(scrape) => {
                let state = self.episode.as_mut().map(|episode| &mut episode.state);
                let assigned = self.roster.take(&mut self.window, state, &scrape);
                let mut effects = self.changed(assigned);
                effects.extend(self.look_if_due(now));
                Ok(effects)
            }
            Input::Tick => Ok(self.tick(now)),
            Input::Batch(batch) => {
                let episode = self.episode.as_mut().ok_or(Refusal::NotWatching)?;
                if !episode.state.add_batch(batch)? {
                    return Ok(Vec::new());
                }
                let mut effects = self.tick(now);
                effects.insert(0, Effect::Changed);
                Ok(effects)
            }
            Input::Finish => self.with_episode(|state, _| Ok(state.finish(now))),
            Input::Conclude => {
                let mut effects = self.with_episode(|state, _| Ok(state.conclude(now)))?;
                self.end_if_final(now, &mut effects);
                Ok(effects)
            }
            Input::Cancel => {
                let mut effects = self.with_episode(|state, _| Ok(state.cancel(now)))?;
                self.end_if_final(now, &mut effects);
                Ok(effects)
            }
            Input::Alert(alert) => {
                let Some(episode) = &mut self.episode else { return Ok(Vec::new()) };
                let alerts = &mut episode.state.alerts;
                alerts.retain(|a| {
                    !(a.name == alert.name && a.labels == alert.labels && a.starts_at == alert.starts_at)
                });
                if alerts.len() < 1_000 {
                    alerts.push(alert);
                }
                Ok(vec![Effect::Changed])
            }
            Input::Operator { who, order } => {
                self.with_episode(|state, policy| state.operator(policy, &who, order, now))
            }
            Input::Settled { command, settlement } => {
                let Some(episode) = &mut self.episode else { return Ok(Vec::new()) };
                let mut effects = episode.state.settled(&self.settings.policy, &command, &settlement, now);
                self.end_if_final(now, &mut effects);
                Ok(effects)
            }
        }
    }

    /// The groups changed: what was measured was of others.
    fn changed(&mut self, changed: bool) -> Vec<Effect> {
        match &mut self.episode {
            Some(episode) if changed => {
                episode.judge = None;
                vec![Effect::Changed]
            }
            Some(_) | None => Vec::new(),
        }
    }

    fn with_episode(
        &mut self,
        act: impl FnOnce(&mut EpisodeSnapshot, &Policy) -> Result<Vec<Effect>, Refusal>,
    ) -> Result<Vec<Effect>, Refusal> {
        let episode = self.episode.as_mut().ok_or(Refusal::NotWatching)?;
        act(&mut episode.state, &self.settings.policy)
    }

    fn begin(&mut self, order: ReleaseOrder, now: Timestamp) -> Result<Vec<Effect>, Refusal> {
        if let Some(episode) = &self.episode {
            if episode.state.order.id == order.id {
                return Ok(Vec::new());
            }
            return Err(Refusal::Busy { running: episode.state.order.id.clone() });
        }
        if order.groups.is_none()
            && order.batches.iter().all(|b| b.instances.is_empty())
            && order.reference.is_empty()
        {
            return Err(Refusal::Invalid(
                "the order names no instances: give `batches` or `reference`, or the labels that tell them apart as `groups`".to_owned(),
            ));
        }
        self.window.forget_gone();
        let mut state = EpisodeSnapshot::begin(order, now);
        state.warm_up = self.warm_up;
        state.history_from = self.stopped_until;
        self.roster.assign_known(&mut state, now);
        self.episode = Some(Episode::new(state));
        let mut effects = vec![Effect::Changed];
        effects.extend(self.tick(now));
        Ok(effects)
    }

    fn tick(&mut self, now: Timestamp) -> Vec<Effect> {
        let mut effects = self.look_if_due(now);
        if let Some(episode) = &mut self.episode {
            effects.extend(episode.state.soak(&self.settings.policy, now));
        }
        self.end_if_final(now, &mut effects);
        effects
    }

    /// Looks at the release when a step is over: as soon as every member was
    /// tried in it, at the latest when the next one begins.
    fn look_if_due(&mut self, now: Timestamp) -> Vec<Effect> {
        let Some(episode) = &mut self.episode else { return Vec::new() };
        let mut effects = Vec::new();
        if episode.state.begin_due_batches(now) {
            episode.judge = None;
            effects.push(Effect::Changed);
        }
        let first_release = episode.state.first_release();
        if first_release.is_none() && episode.state.order.groups.is_none() {
            return effects;
        }
        let to = due_step(&self.window, &episode.state, now);
        if to <= episode.looked_to || episode.state.phase.is_final() {
            return effects;
        }
        episode.looked_to = to;
        let Some(first_release) = first_release else {
            let verdict = episode.state.unmatched(now);
            effects.push(Effect::Judged(Box::new(verdict.clone())));
            effects.extend(episode.state.decide(&self.settings.policy, &verdict, false, now));
            episode.verdict = Some(verdict);
            return effects;
        };
        episode.looks_since_measure += 1;
        let window = &self.window;
        let groups = &episode.state.groups;
        let outdated = episode.measures < MEASURES_MAX
            && episode.looks_since_measure >= 3
            && episode.judge.as_ref().is_some_and(|j| j.is_outdated(window, groups));
        if outdated {
            episode.judge = None;
            episode.measures += 1;
        }
        let judge = match &mut episode.judge {
            Some(judge) => judge,
            None => {
                episode.looks_since_measure = 0;
                let mut settings = self.settings.judge.clone();
                settings.false_stops_per_1000 = self.settings.policy.false_stops_per_1000;
                settings.warm_up = episode.state.warm_up;
                let from = episode.state.history_from;
                episode.judge.insert(Judge::measure(settings, window, groups, first_release, from))
            }
        };
        let verdict = judge.look(window, groups, &episode.state.alerts, now, to);
        effects.push(Effect::Judged(Box::new(verdict.clone())));
        let newest_is_judged = judge.judges_newest();
        effects.extend(episode.state.decide(&self.settings.policy, &verdict, newest_is_judged, now));
        episode.verdict = Some(verdict);
        effects
    }

    fn end_if_final(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        let Some(state) = self.episode.as_ref().map(|e| &e.state).filter(|s| s.phase.is_final()) else {
            return;
        };
        let phase = state.phase;
        if state.gravest >= Action::Pause {
            self.stopped_until = Some(now);
        }
        let seen = if phase == Phase::Finished { self.warm_up_seen(now) } else { None };
        if let Some(seen) = seen {
            let end = effects.iter().position(|e| matches!(e, Effect::Ended)).unwrap_or(effects.len());
            effects.insert(end, Effect::WarmUpSeen(seen));
        }
        self.episode = None;
    }
}

impl Episode {
    fn new(state: EpisodeSnapshot) -> Self {
        Self { state, judge: None, looked_to: Step::MIN, measures: 0, looks_since_measure: 0, verdict: None }
    }
}

fn due_step(window: &Window, state: &EpisodeSnapshot, now: Timestamp) -> Step {
    let current = window.step_at(now);
    let begins = window.time_of(current);
    let all_tried = state.groups.members.iter().all(|member| {
        window
            .instances()
            .get(&member.instance)
            .is_some_and(|i| i.contacts.last().is_some_and(|(at, _)| *at >= begins))
    });
    if all_tried { current + 1 } else { current }
}

/// One member's values of one signal, for charts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChartLine {
    /// Whose values.
    pub instance: crate::domain::InstanceId,
    /// Its group now.
    pub group: Group,
    /// When it was released.
    pub released_at: Option<Timestamp>,
    /// By time.
    pub points: Vec<(Timestamp, f64)>,
}

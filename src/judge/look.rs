//! One look at a release: all rules, the funnel, and what was blind.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::domain::{Alert, Group, Timestamp};
use crate::signal::{Contact, Groups, Member, Observation, SignalId, Step, Window};

use super::funnel::{Funnel, Grade, Graded, Span, View};
use super::model::{Considered, Course, Features, Model, ModelChoice, Suspects};
use super::rules::{self, CrashLoop, Silence, Threshold};
use super::{Blind, Detector, Finding, Outcome, Verdict, WarmUp, WarmUpSeen, explain};

/// Seconds that a process is given to start up; below a minute a step.
const SETTLE_SECONDS: f64 = 15.0;

/// How long after its batch a silent instance is still thought to restart.
const RETURN_SECONDS: f64 = 300.0;

/// Least history after an earlier release that was stopped: with less, its
/// fault is part of what is usual.
const HISTORY_MIN: Duration = Duration::from_secs(300);
const HISTORY_STEPS_MIN: Step = 12;

/// The rule whose evidence is the time alone.
const SPREADING: &str = "spreading";

/// Most findings that a verdict carries; the rest adds nothing for anybody.
const FINDINGS_MAX: usize = 20;

/// How far one rule may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuleTrial {
    /// Not looked at.
    Off,
    /// Shown, never acts.
    Trial,
}

/// What settings say to the judge.
#[derive(Clone, Debug, PartialEq)]
pub struct JudgeSettings {
    /// The error budget: how many of a thousand good releases may be stopped.
    pub false_stops_per_1000: f64,
    /// Rules that do not count in full.
    pub rule_trials: BTreeMap<String, RuleTrial>,
    /// When silence is evidence.
    pub silence: Silence,
    /// When restarts are a loop.
    pub crash_loop: CrashLoop,
    /// Limits that people set.
    pub thresholds: Vec<Threshold>,
    /// Which trained model is asked about suspects.
    pub model: ModelChoice,
    /// How long young processes may move signals that warm.
    pub warm_up: WarmUp,
}

impl Default for JudgeSettings {
    fn default() -> Self {
        Self {
            false_stops_per_1000: 5.0,
            rule_trials: BTreeMap::new(),
            silence: Silence::default(),
            crash_loop: CrashLoop::default(),
            thresholds: Vec::new(),
            model: ModelChoice::shipped(),
            warm_up: WarmUp::default(),
        }
    }
}

/// The judge of one release.
pub struct Judge {
    settings: JudgeSettings,
    funnel: Funnel,
    traffic: Option<SignalId>,
    span: Option<Span>,
    first_release: Timestamp,
    suspect_looks: u32,
    failing_looks: u32,
    course: Course,
    considered: Option<Considered>,
    judges_newest: bool,
    history_is_doubtful: bool,
}

impl Judge {
    /// Measures the history before the release. Called when the release
    /// begins and again with every batch, as the groups change. What lies
    /// before `history_from` is left out where enough is left.
    pub fn measure(
        settings: JudgeSettings,
        window: &Window,
        groups: &Groups,
        first_release: Timestamp,
        history_from: Option<Timestamp>,
    ) -> Self {
        let start = window.step_at(first_release);
        let enough = (HISTORY_MIN.as_secs_f64() / window.step().as_secs_f64()).ceil() as Step;
        let told = history_from.map(|at| window.step_at(at) + 1);
        let clean = told.filter(|from| start - from >= enough.max(HISTORY_STEPS_MIN));
        let history_is_doubtful = told.is_some() && clean.is_none();
        let oldest = groups
            .members
            .iter()
            .filter_map(|m| window.instances().get(&m.instance)?.first_served())
            .map(|at| window.step_at(at) + 1)
            .min();
        let span = oldest
            .map(|from| Span { from: from.max(window.oldest_step()).max(clean.unwrap_or(Step::MIN)), start })
            .filter(|s| s.start > s.from);
        let mut observation = Observation::new(window, groups, None);
        observation.traffic = span.and_then(|s| observation.main_traffic(s.from, s.start));
        let traffic = observation.traffic;
        let funnel = span.map(|span| Funnel::measure(&observation, span)).unwrap_or_default();
        Self {
            settings,
            funnel,
            traffic,
            span,
            first_release,
            suspect_looks: 0,
            failing_looks: 0,
            course: Course::default(),
            considered: None,
            judges_newest: false,
            history_is_doubtful,
        }
    }

    /// How many signals are judged.
    pub fn judged_signals(&self) -> usize {
        self.funnel.judged()
    }

    /// Whether an instance of the newest batch had served long enough to be
    /// judged at the newest look.
    pub fn judges_newest(&self) -> bool {
        self.judges_newest
    }

    /// Whether signals appeared that were not measured.
    pub fn is_outdated(&self, window: &Window, groups: &Groups) -> bool {
        self.funnel.is_outdated(&Observation::new(window, groups, self.traffic))
    }

    /// The signals of the newest look as evidence for charts.
    pub fn traffic(&self) -> Option<SignalId> {
        self.traffic
    }

    /// One look. `to` is the first step that is not over at `now`.
    pub fn look(
        &mut self,
        window: &Window,
        groups: &Groups,
        alerts: &[Alert],
        now: Timestamp,
        to: Step,
    ) -> Verdict {
        let observation = Observation::new(window, groups, self.traffic);
        let ready = ready_steps(&observation, now, to);
        let start = window.step_at(self.first_release);
        let JudgeSettings { false_stops_per_1000, warm_up, .. } = self.settings;
        let mut graded = self.funnel.look(&observation, &ready, to, false_stops_per_1000, warm_up);
        for g in &mut graded {
            g.shift.since = self.seen_since(&observation, &ready, g).unwrap_or(g.shift.since);
        }
        for g in graded.iter_mut().filter(|g| g.grade == Grade::Failing && g.shift.values[1] == Some(0.0)) {
            let gone =
                |index: &usize| rules::is_renamed(&observation, *index, g.shift.signal, ready[*index], to);
            if g.shift.shows.iter().all(gone) {
                g.grade = Grade::Suspect;
                g.held_back = Some("it is gone from the pages, and others came: counted under another name");
            }
        }
        let mut rules = self.rule_findings(&observation, alerts, &ready, start, to, now);
        believe_spreading(&mut rules, &graded);
        let mut findings = rules.clone();
        findings.extend(graded.iter().map(|g| {
            let def = window.catalogue().signal(g.shift.signal);
            let by_traffic = self.funnel.baseline(g.shift.signal, View::Level).is_some_and(|b| b.by_traffic);
            explain::finding(&observation, def, g, by_traffic)
        }));
        sort(&mut findings);
        self.consider(&observation, &graded, &rules, &findings, (now, to));
        let mut probability = probability(&findings, &graded);
        let mut similar = Vec::new();
        if let (Some(model), Some(considered)) = (self.settings.model.model(), &self.considered) {
            similar = model.similar(&considered.features);
            if considered.is_asked(model.artifact().header.asked) {
                let calibrated = model.probability(&considered.features);
                probability = if considered.by_rule { probability.max(calibrated) } else { calibrated };
                ask(model, considered, calibrated, now, &mut findings);
            }
        }
        let seen: Vec<bool> = (0..groups.members.len())
            .map(|i| {
                let answers = observation.instance(&groups.members[i]).is_some_and(|instance| {
                    instance.contacts.last().is_some_and(|(_, contact)| *contact == Contact::Served)
                });
                ready[i] < to && answers && self.funnel.sees(&observation, i, ready[i], to)
            })
            .collect();
        let released = |(m, seen): &(&Member, &bool)| m.released_at.is_some() && **seen;
        let released_and_seen = groups.members.iter().zip(&seen).any(|m| released(&m));
        let newest = groups.members.iter().filter_map(|m| m.released_at).max();
        let of_newest: Vec<_> =
            groups.members.iter().zip(&seen).filter(|(m, _)| m.released_at == newest).collect();
        let blind = self.blind(&observation, &ready, &seen, to);
        self.judges_newest =
            !of_newest.is_empty() && 2 * of_newest.iter().filter(|m| released(m)).count() >= of_newest.len();
        let gravest = findings.iter().filter(|f| !f.on_trial).map(|f| f.outcome).max();
        let outcome = match gravest {
            Some(outcome @ (Outcome::Failing | Outcome::Suspect)) => outcome,
            Some(Outcome::Unknown | Outcome::Healthy) | None if released_and_seen => Outcome::Healthy,
            Some(Outcome::Unknown | Outcome::Healthy) | None => Outcome::Unknown,
        };
        findings.truncate(FINDINGS_MAX);
        Verdict {
            at: now,
            outcome,
            probability,
            findings,
            blind,
            judged: u32::try_from(self.funnel.judged()).unwrap_or(u32::MAX),
            similar,
        }
    }

    /// What the release showed of its application's warm-up until step `to`.
    pub fn warm_up_seen(&self, window: &Window, groups: &Groups, now: Timestamp, to: Step) -> WarmUpSeen {
        let observation = Observation::new(window, groups, self.traffic);
        self.funnel.warm_up_seen(&observation, &ready_steps(&observation, now, to), to)
    }

    /// What the model was or would have been asked at the newest look; nothing
    /// if there were no suspects.
    pub fn considered(&self) -> Option<&Considered> {
        self.considered.as_ref()
    }

    fn consider(
        &mut self,
        observation: &Observation<'_>,
        graded: &[Graded],
        rules: &[Finding],
        findings: &[Finding],
        (now, to): (Timestamp, Step),
    ) {
        let counted = |f: &&Finding| !f.on_trial;
        let floor = findings.iter().filter(counted).map(|f| f.outcome).max().unwrap_or(Outcome::Healthy);
        if floor < Outcome::Suspect {
            self.suspect_looks = 0;
            self.failing_looks = 0;
            self.course = Course::default();
            self.considered = None;
            return;
        }
        self.suspect_looks += 1;
        self.failing_looks = if floor == Outcome::Failing { self.failing_looks + 1 } else { 0 };
        let by_rule = rules.iter().filter(counted).any(|f| f.outcome == floor && floor == Outcome::Failing);
        let counting: Vec<Finding> = rules.iter().filter(counted).cloned().collect();
        let catalogue = observation.window.catalogue();
        let strongest = graded.first().map(|g| (catalogue.signal(g.shift.signal).metric.as_str(), g));
        self.course.follow(strongest.map(|(metric, g)| (metric, g.shift.margin)));
        let features = Features::of(&Suspects {
            shifts: graded.iter().map(|g| (g, catalogue.signal(g.shift.signal))).collect(),
            rules: &counting,
            groups: observation.groups,
            judged: self.funnel.judged(),
            described: self.funnel.is_described(),
            suspect_looks: self.suspect_looks,
            failing_looks: self.failing_looks,
            course: &self.course,
            moving_share: self.funnel.moving_share(),
            now,
            to,
            step_seconds: observation.window.step().as_secs_f64(),
        });
        self.considered = Some(Considered { features, floor, by_rule });
    }

    fn rule_findings(
        &self,
        observation: &Observation<'_>,
        alerts: &[Alert],
        ready: &[Step],
        start: Step,
        to: Step,
        now: Timestamp,
    ) -> Vec<Finding> {
        let settings = &self.settings;
        let wanted = |rule: &str| settings.rule_trials.get(rule) != Some(&RuleTrial::Off);
        let on_trial = |rule: &str| settings.rule_trials.get(rule) == Some(&RuleTrial::Trial);
        let mut findings = Vec::new();
        if wanted("instance_silent") {
            findings.extend(rules::instance_silent(observation, now, settings.silence));
        }
        if wanted("crash_loop") {
            findings.extend(rules::crash_loop(observation, now, settings.crash_loop));
        }
        if wanted("error_burst") && self.span.is_some() {
            findings.extend(rules::error_burst(
                observation,
                ready,
                start,
                to,
                settings.warm_up.start_errors(),
            ));
        }
        if wanted("new_exception") && self.span.is_some() {
            findings.extend(rules::new_exception(observation, ready, start, to));
        }
        if wanted("business_stopped") && self.span.is_some() {
            findings.extend(rules::business_stopped(observation, ready, start, to));
        }
        if wanted("metrics_missing") && self.span.is_some() {
            findings.extend(rules::metrics_missing(observation, ready, start, to));
        }
        if wanted("spreading") && self.span.is_some() {
            let settle = settle_steps(observation.window);
            let serving: Vec<Step> = ready.iter().map(|ready| ready - settle).collect();
            findings.extend(rules::spreading(observation, &self.funnel, &serving, to));
        }
        if wanted("standstill") && self.span.is_some() {
            findings.extend(rules::standstill(observation, ready, start, to));
        }
        if wanted("outside_alert") {
            findings.extend(rules::outside_alert(observation, alerts, now));
        }
        for finding in &mut findings {
            finding.on_trial = on_trial(&finding.test);
        }
        // Limits go by names of their own, which may be those of other rules.
        if wanted("threshold") {
            let broken = |t| rules::threshold(observation, t, ready, to, now);
            let limits = settings.thresholds.iter().filter_map(broken);
            findings.extend(limits.map(|f| Finding { on_trial: on_trial("threshold"), ..f }));
        }
        findings
    }

    /// Where a shift begins with the first step that counts, the step that the
    /// process served first, if it showed it by then: the steps in which it
    /// settles are not judged, and are seen all the same.
    fn seen_since(&self, observation: &Observation<'_>, ready: &[Step], g: &Graded) -> Option<Step> {
        let baseline = self.funnel.baseline(g.shift.signal, g.view).filter(|_| g.view == View::Level)?;
        let first = g.shift.shows.iter().copied().min_by_key(|index| ready[*index])?;
        let serving = ready[first] - settle_steps(observation.window);
        if g.shift.since > ready[first] + 1 || serving >= ready[first] {
            return None;
        }
        let def = observation.window.catalogue().signal(g.shift.signal);
        let member = &observation.groups.members[first];
        let (num, den) = observation.cells(g.shift.signal, def, member, g.bound)?.sum(serving, ready[first]);
        let sign = if g.shift.upward { 1.0 } else { -1.0 };
        let change = sign * (baseline.scale.of_value(num / den) - baseline.base_of(first));
        (den > 0.0 && change >= 0.5 * g.shift.own_change).then_some(serving)
    }

    fn blind(&self, observation: &Observation<'_>, ready: &[Step], seen: &[bool], to: Step) -> Vec<Blind> {
        let mut blind = Vec::new();
        let mut add = |what: &str, why: String| blind.push(Blind { what: what.to_owned(), why });
        let groups = observation.groups;
        if let ModelChoice::Refused(why) = &self.settings.model {
            add("the trained model", format!("{why}; rules and funnel judge alone"));
        }
        if self.span.is_none() {
            add(
                "history",
                "no samples from before the release: changes cannot be told from differences".to_owned(),
            );
        }
        if self.history_is_doubtful {
            add(
                "history",
                "an earlier release was stopped, and too little is known since: what its fault did may pass \
                 for usual"
                    .to_owned(),
            );
        }
        if groups.of(Group::Reference).next().is_none() {
            add(
                "reference group",
                "it is empty: a change of everything cannot be told from a fault".to_owned(),
            );
        }
        let mut never_seen = 0;
        let mut unseen = 0;
        for (index, member) in groups.members.iter().enumerate() {
            match observation.instance(member) {
                None => never_seen += 1,
                Some(instance) => {
                    unseen +=
                        usize::from(instance.contacts.last().is_some_and(|(_, c)| *c == Contact::Unseen));
                    let silent = instance.contacts.last().is_some_and(|(_, c)| *c == Contact::Silent);
                    if member.group() == Group::Release && silent {
                        add(member.instance.as_str(), "released, and does not answer".to_owned());
                    } else if member.group() == Group::Release && ready[index] >= to {
                        add(
                            member.instance.as_str(),
                            "released, and not serving long enough to be judged".to_owned(),
                        );
                    } else if member.group() == Group::Release && !seen[index] {
                        add(
                            member.instance.as_str(),
                            "released, and its pages show nothing that is judged".to_owned(),
                        );
                    }
                }
            }
        }
        if never_seen > 0 {
            add("instances", format!("{never_seen} of {} were never scraped", groups.members.len()));
        }
        if unseen > 0 {
            add(
                "instances",
                format!(
                    "{unseen} of {} could not be read completely at the last scrape",
                    groups.members.len()
                ),
            );
        }
        if observation.window.catalogue().dropped() > 0 {
            add(
                "signals",
                format!(
                    "{} label values are beyond the limit and not judged on their own",
                    observation.window.catalogue().dropped()
                ),
            );
        }
        let catalogue = observation.window.catalogue();
        for (id, why) in self.funnel.unjudged().iter().take(8) {
            add(&catalogue.signal(*id).name, (*why).to_owned());
        }
        blind
    }

    /// The value of each member by step, for charts: the signal of a finding
    /// is found again by its name.
    pub fn chart(
        &self,
        window: &Window,
        groups: &Groups,
        signal: &str,
        from: Step,
        to: Step,
    ) -> Vec<(usize, Vec<(Timestamp, f64)>)> {
        let observation = Observation::new(window, groups, self.traffic);
        let found = window
            .catalogue()
            .signals()
            .filter(|(_, def)| signal.contains(def.name.as_str()))
            .max_by_key(|(_, def)| def.name.len());
        let Some((id, def)) = found else { return Vec::new() };
        let bound = self.funnel.baseline(id, View::Level).and_then(|b| b.bound);
        let mut lines = Vec::new();
        for (index, member) in groups.members.iter().enumerate() {
            let Some(cells) = observation.cells(id, def, member, bound) else { continue };
            let points: Vec<(Timestamp, f64)> = (from..to)
                .filter_map(|step| {
                    let (num, den) = cells.at(step);
                    (den > 0.0).then(|| (window.time_of(step), num / den))
                })
                .collect();
            if !points.is_empty() {
                lines.push((index, points));
            }
        }
        lines
    }
}

/// What both groups suffer after a later batch may be a coincidence, and people
/// decide, unless the released machines show something of their own.
fn believe_spreading(rules: &mut [Finding], graded: &[Graded]) {
    let own = graded.iter().any(|g| g.shift.margin >= 1.0 && !g.shift.fading);
    for finding in rules.iter_mut().filter(|f| f.test == SPREADING && own) {
        finding.outcome = Outcome::Failing;
    }
}

fn sort(findings: &mut [Finding]) {
    findings.sort_by(|a, b| {
        (b.outcome, !b.on_trial).cmp(&(a.outcome, !a.on_trial)).then(b.strength.total_cmp(&a.strength))
    });
}

/// The model's word on suspects: enough of them may be failing together, and
/// what only the funnel found failing may be harmless. Rules stand.
fn ask(
    model: &Model,
    considered: &Considered,
    probability: f64,
    now: Timestamp,
    findings: &mut Vec<Finding>,
) {
    let thresholds = model.artifact().header.thresholds;
    let like = model.similar(&considered.features).into_iter().next().map_or_else(String::new, |case| {
        let what = case.cause.map_or("a healthy release".to_owned(), |cause| format!("the {cause}"));
        format!(", most like {what} of {}", case.release)
    });
    let percent = probability * 100.0;
    match considered.floor {
        Outcome::Failing => {
            let vetoed = !considered.by_rule && thresholds.veto.is_some_and(|veto| probability < veto);
            if !vetoed {
                return;
            }
            for finding in findings
                .iter_mut()
                .filter(|f| f.detector == Detector::Funnel && f.outcome == Outcome::Failing)
            {
                finding.outcome = Outcome::Suspect;
                finding.because.push_str(&format!(
                    "; by past releases ({}) it is harmless: {percent:.0} % probability of a fault{like}",
                    model.name()
                ));
            }
            sort(findings);
        }
        Outcome::Suspect if thresholds.act.is_some_and(|act| probability >= act) => {
            let Some(first) = findings.iter().find(|f| !f.on_trial && f.outcome == Outcome::Suspect) else {
                return;
            };
            let names: Vec<&str> = findings
                .iter()
                .filter(|f| !f.on_trial && f.outcome == Outcome::Suspect)
                .map(|f| f.signal.as_str())
                .take(3)
                .collect();
            let because = format!(
                "together suspicious enough: {}; {percent:.0} % probability of a fault by past releases{like}. {}",
                names.join(", "),
                first.because
            );
            let finding = Finding {
                detector: Detector::Model,
                test: "past_releases".to_owned(),
                outcome: Outcome::Failing,
                because,
                since: first.since.or(Some(now)),
                ..first.clone()
            };
            findings.insert(0, finding);
        }
        Outcome::Suspect | Outcome::Unknown | Outcome::Healthy => {}
    }
}

fn settle_steps(window: &Window) -> Step {
    let step_seconds = window.step().as_secs_f64();
    if step_seconds >= 60.0 { 0 } else { (SETTLE_SECONDS / step_seconds).ceil() as Step }
}

/// For each member the first step at which it counts: a reference member at
/// once, a released one when it serves again and has settled.
fn ready_steps(observation: &Observation<'_>, now: Timestamp, to: Step) -> Vec<Step> {
    let window = observation.window;
    let settle = settle_steps(window);
    observation
        .groups
        .members
        .iter()
        .map(|member| {
            let Some(instance) = observation.instance(member) else { return to };
            let Some(released_at) = member.released_at else { return Step::MIN / 4 };
            if released_at > now {
                return to;
            }
            let limit = released_at + Duration::from_secs_f64(RETURN_SECONDS);
            let restart = instance.restarts.iter().copied().find(|at| *at >= released_at && *at <= limit);
            // The first answer after a silence that began with the release.
            let mut silent = false;
            let mut back = None;
            for (at, contact) in instance.contacts.iter().filter(|(at, _)| *at >= released_at && *at <= limit)
            {
                match contact {
                    Contact::Silent if back.is_none() => silent = true,
                    Contact::Served if silent && back.is_none() => back = Some(*at),
                    Contact::Silent | Contact::Served | Contact::Unseen => {}
                }
            }
            let newest = instance.contacts.last().map(|(at, _)| *at);
            if back.is_none() && silent && newest.is_some_and(|at| at <= limit) {
                return to;
            }
            let began = restart.into_iter().chain(back).chain([released_at]).max().unwrap_or(released_at);
            window.step_at(began) + 1 + settle
        })
        .collect()
}

/// Until a model says better: how far the strongest finding is beyond what is
/// needed, and whether others agree.
fn probability(findings: &[Finding], graded: &[Graded]) -> f64 {
    let rule = findings
        .iter()
        .filter(|f| !f.on_trial && f.detector == Detector::Rule)
        .map(|f| match f.outcome {
            Outcome::Failing => 0.9,
            Outcome::Suspect => 0.3,
            Outcome::Unknown | Outcome::Healthy => 0.02,
        })
        .fold(0.02, f64::max);
    let funnel = graded
        .iter()
        .map(|g| {
            let margin = g.shift.margin.min(20.0);
            match g.grade {
                super::funnel::Grade::Failing => 1.0 - 0.3 / margin,
                super::funnel::Grade::Suspect => 0.1 + 0.3 * (margin / 20.0).min(1.0),
            }
        })
        .fold(0.02, f64::max);
    rule.max(funnel).clamp(0.01, 0.995)
}

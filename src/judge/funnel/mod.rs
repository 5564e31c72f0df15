//! The funnel of statistical tests, cheap first: a screening throws out nearly
//! everything, and only what is left meets the whole test.

mod baseline;
mod counted;
mod counts;
mod excuse;
mod fading;
mod mix;
mod onset;
mod scale;
mod screen;
mod shift;
mod values;
mod vicinity;
mod warming;

use std::collections::BTreeSet;

use crate::domain::{Group, Timestamp};
use crate::judge::WarmUp;
use crate::signal::{
    BadWhen, Catalogue, Contact, Observation, Shape, SignalClass, SignalDef, SignalId, Step, Unit,
};

pub use baseline::{Baseline, Span, View, WINDOWS};
pub use counted::is_counted;
pub use counts::{normal_tail, tail_probability};
pub use excuse::{LATE_SECONDS, OUTLASTS_SECONDS};
pub use screen::screen;
pub use shift::{Budget, Look, Shift};
pub use vicinity::Vicinity;

use baseline::has_restlessness;
use shift::SUSPECT_MARGIN;

/// Every so many looks each signal is looked at in full, for what only long
/// windows show.
const FULL_EVERY: u64 = 6;

/// Error ratios below it may be the time-outs of a slow start.
const SMALL_ERROR_RATIO: f64 = 0.03;

/// From these ages on, in seconds, memory that still climbs is believed to be
/// a leak when it has grown by so much on the scale.
const LEAKS: [(f64, f64); 2] = [(900.0, 0.12), (300.0, 0.3)];

/// The same for memory under a garbage collector.
const COLLECTED_LEAKS: [(f64, f64); 2] = [(1800.0, 0.25), (600.0, 0.4)];

/// On the scale, a third of the traffic is left; more than that moves by itself.
const A_THIRD_LEFT: f64 = 1.2;

/// Machines are drained before they restart and take traffic when their health
/// is seen, while a proxy before them answers all the time and hides it.
const FIRST_TRAFFIC_SECONDS: f64 = 90.0;
const TRAFFIC_RETURNS_SECONDS: f64 = 15.0;

/// Least jumps from step to step that matter to anybody, on the scale: 7 %.
const JUMPS_MIN: f64 = 0.07;

/// On the scale, how many times as much of something nobody knows is a fault, and
/// from which age on.
const MULTIPLIED: f64 = 1.6;
const MULTIPLIED_FOR_SECONDS: f64 = 180.0;

/// Of what happens less than every ten seconds five times as much is a few.
const MULTIPLIED_RATE_MIN: f64 = 0.1;

/// What is left of something nobody knows where less is done, and from which age on
/// it is a fault.
const LESS_DONE_LEFT: f64 = 0.7;
const LESS_DONE_FOR_SECONDS: f64 = 180.0;

/// What is done for fewer of the requests is another matter's.
const DOING_PER_REQUEST_MIN: f64 = 0.01;

/// On the scale, a tenth less of the main traffic.
const LESS_TRAFFIC: f64 = -0.1;

/// Ten times as much is seen on new machines as well, and in half the time.
const MANY_TIMES: f64 = 2.3;

/// Who showed no value in so many steps is not seen.
const SEEN_STEPS: Step = 5;

/// What caches miss for so long, in seconds, they will miss.
const CACHE_FILLS_SECONDS: f64 = 900.0;

/// A cache that misses this part, and as much as at first after so many seconds, is
/// switched off or asked for other things than it keeps.
const CACHE_OFF: f64 = 0.9;
const CACHE_OFF_SECONDS: f64 = 200.0;
const CACHE_OFF_STEADY: f64 = 0.9;
const CACHE_OFF_PRACTICAL: f64 = 1.5;

/// The least relative change of the reference group that shows that load moved,
/// and how many of its machines may have given theirs to one released machine:
/// what little noise of many would explain everything.
const MOVED_MIN: f64 = 0.05;
const MOVED_SHARE_MAX: f64 = 2.0;

/// How many metrics must show it: one goes the other way by chance.
const MIRRORED_METRICS_MIN: usize = 2;

/// How long clients keep what they compute quantiles of: ten minutes is the
/// default of Prometheus' own for Go.
const QUANTILE_MEMORY_SECONDS: f64 = 600.0;

/// One signal that is judged, with its history.
struct Judged {
    id: SignalId,
    baseline: Baseline,
}

/// The funnel of one release.
#[derive(Default)]
pub struct Funnel {
    judged: Vec<Judged>,
    unjudged: Vec<(SignalId, &'static str)>,
    traffic: Option<usize>,
    looks: u64,
    suspects: BTreeSet<usize>,
    moving_share: f64,
    described: bool,
    measured_signals: usize,
}

/// What the funnel thinks of one shift.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grade {
    /// Worth remembering, not worth acting.
    Suspect,
    /// All requirements are met.
    Failing,
}

/// One shift with its grade, and why it is not graver.
#[derive(Clone, Debug)]
pub struct Graded {
    /// The evidence.
    pub shift: Shift,
    /// Values or restlessness.
    pub view: View,
    /// The bound of a `Slow` signal.
    pub bound: Option<f64>,
    /// The grade.
    pub grade: Grade,
    /// Why a strong change is only suspect.
    pub held_back: Option<&'static str>,
    /// What surrounds it; only of the two that the trained model looks at.
    pub vicinity: Vicinity,
}

impl Funnel {
    /// Measures all signals' history before the release.
    pub fn measure(observation: &Observation<'_>, span: Span) -> Self {
        let catalogue = observation.window.catalogue();
        let mut this = Self { measured_signals: catalogue.signals().count(), ..Self::default() };
        for (id, def) in catalogue.signals() {
            if !catalogue.is_judged(def) {
                continue;
            }
            match Baseline::measure(observation, id, def, span, View::Level) {
                Some(baseline) if baseline.constant && def.class == SignalClass::Other => {
                    this.unjudged
                        .push((id, "it never moved before the release: a configuration, not a measurement"));
                }
                Some(baseline) if baseline.only_rises && !def.fills => {
                    this.unjudged.push((
                        id,
                        "it only ever rose before the release: a counter that its target declares as none",
                    ));
                }
                Some(baseline) => this.judged.push(Judged { id, baseline }),
                None => this.unjudged.push((id, "it had no data before the release")),
            }
            if has_restlessness(def)
                && let Some(baseline) = Baseline::measure(observation, id, def, span, View::Restlessness)
                && !baseline.constant
                && !baseline.only_rises
            {
                this.judged.push(Judged { id, baseline });
            }
        }
        this.traffic = this
            .judged
            .iter()
            .position(|j| Some(j.id) == observation.traffic && j.baseline.view == View::Level);
        this.described = this.judged.iter().any(|j| {
            let def = catalogue.signal(j.id);
            // A gauge with a telling name among unnamed ones describes nothing.
            let measured = def.shape != Shape::Level || def.metric.contains(':');
            measured
                && matches!(def.class, SignalClass::Errors | SignalClass::Latency | SignalClass::Business)
        });
        this
    }

    /// How many signals are judged.
    pub fn judged(&self) -> usize {
        self.judged.len()
    }

    /// Whether a member showed a value of a judged signal in steps `from..to`; of
    /// many the newest steps tell.
    pub fn sees(&self, observation: &Observation<'_>, member: usize, from: Step, to: Step) -> bool {
        let Some(instance) = observation.instance(&observation.groups.members[member]) else { return false };
        let from = from.max(to - SEEN_STEPS);
        self.judged.iter().any(|j| instance.column(j.id).is_some_and(|column| column.sum(from, to).1 > 0.0))
    }

    /// Whether errors, latency or business are among the judged signals.
    pub fn is_described(&self) -> bool {
        self.described
    }

    /// At the newest look, of the signals that were not suspects, the share that
    /// moved enough to be looked at in full; NaN if there were none.
    pub fn moving_share(&self) -> f64 {
        self.moving_share
    }

    /// Whether signals appeared since the history was measured.
    pub fn is_outdated(&self, observation: &Observation<'_>) -> bool {
        observation.window.catalogue().signals().count() != self.measured_signals
    }

    /// Signals that cannot be judged, and why.
    pub fn unjudged(&self) -> &[(SignalId, &'static str)] {
        &self.unjudged
    }

    /// The history of one signal.
    pub fn baseline(&self, id: SignalId, view: View) -> Option<&Baseline> {
        self.judged.iter().find(|j| j.id == id && j.baseline.view == view).map(|j| &j.baseline)
    }

    /// Looks at all signals; gives what is at least suspect, strongest first.
    pub fn look(
        &mut self,
        observation: &Observation<'_>,
        ready: &[Step],
        to: Step,
        false_stops_per_1000: f64,
        warm_up: WarmUp,
    ) -> Vec<Graded> {
        self.looks += 1;
        let budget = Budget::of(false_stops_per_1000, self.judged.len());
        let released: Vec<bool> =
            observation.groups.members.iter().map(|m| m.group() == Group::Release).collect();
        let plain = Look { observation, ready, to, budget, released: &released, traffic: None, warm_up };
        let catalogue = observation.window.catalogue();
        let traffic = self.traffic.map(|at| {
            let judged = &self.judged[at];
            plain.changes(judged.id, catalogue.signal(judged.id), &judged.baseline, &WINDOWS)
        });
        let look = Look { traffic: traffic.as_ref(), ..plain };
        let mut graded = Vec::new();
        let (mut screened, mut moving) = (0.0, 0.0);
        for (at, judged) in self.judged.iter().enumerate() {
            let def = catalogue.signal(judged.id);
            let in_full = self.suspects.contains(&at) || (self.looks + at as u64).is_multiple_of(FULL_EVERY);
            if !in_full {
                screened += 1.0;
                if !screen(&look, judged.id, def, &judged.baseline) {
                    continue;
                }
                moving += 1.0;
            }
            match look.shift(judged.id, def, &judged.baseline) {
                Some(shift) if shift.margin >= SUSPECT_MARGIN => {
                    self.suspects.insert(at);
                    if shift.margin >= 0.6 {
                        graded.push(self.grade(&look, judged, def, shift));
                    }
                }
                Some(_) | None => {
                    self.suspects.remove(&at);
                }
            }
        }
        self.moving_share = moving / screened;
        excuse_slow_starts(&mut graded, catalogue);
        excuse_moved_load(&mut graded, &look);
        self.excuse_old_quantiles(&mut graded, catalogue, observation.window.step().as_secs_f64());
        graded.sort_by(|a, b| b.grade.cmp(&a.grade).then(b.shift.margin.total_cmp(&a.shift.margin)));
        for at in leading(&graded, catalogue).into_iter().flatten() {
            let g = &graded[at];
            let judged = self.judged.iter().find(|j| j.id == g.shift.signal && j.baseline.view == g.view);
            if let Some(judged) = judged {
                graded[at].vicinity = look.vicinity(catalogue.signal(judged.id), &judged.baseline, &g.shift);
            }
        }
        graded
    }

    /// Quantiles that a client computes are of its last ten minutes: in a young
    /// process they tell of its start long after. Where the mean of the same
    /// requests is well, they wait.
    fn excuse_old_quantiles(&self, graded: &mut [Graded], catalogue: &Catalogue, step_seconds: f64) {
        let young = |g: &&mut Graded| {
            let window_seconds = g.shift.steps as f64 * step_seconds;
            g.shift.age_seconds - window_seconds < QUANTILE_MEMORY_SECONDS
        };
        for g in graded.iter_mut().filter(|g| g.grade == Grade::Failing).filter(young) {
            let def = catalogue.signal(g.shift.signal);
            if def.class != SignalClass::Latency || def.shape != Shape::Level {
                continue;
            }
            let same_requests = |judged: &Judged| {
                let mean = catalogue.signal(judged.id);
                mean.shape == Shape::Mean && mean.metric == def.metric && mean.segment == def.segment
            };
            let mean = self.judged.iter().position(same_requests);
            if mean.is_some_and(|at| !self.suspects.contains(&at)) {
                g.grade = Grade::Suspect;
                g.held_back = Some("it may tell of the start alone: the mean of the same requests is well");
            }
        }
    }

    fn grade(&self, look: &Look<'_>, judged: &Judged, def: &SignalDef, mut shift: Shift) -> Graded {
        let held_back = if shift.margin < 1.0 {
            Some("not yet sure, large or wide enough")
        } else if shift.fading && shift.is_brief {
            Some("it has not lasted long enough")
        } else if shift.fading {
            Some("the processes are young, and it may still fade")
        } else if let Some(why) = reference_is_missing(look, def, &shift) {
            Some(why)
        } else if let Some(why) = past_is_missing(look, judged, def, &shift) {
            Some(why)
        } else if share_explains(look, def, &shift) {
            Some("machines that are given another share of the traffic are loaded otherwise")
        } else if self.mix_explains(look, judged, def, &shift) {
            Some("other kinds of requests came; each kind by itself takes about as long as before")
        } else if judged.baseline.view == View::Restlessness
            && shift.values[1].is_some_and(|jumps| jumps < JUMPS_MIN)
        {
            Some("it jumps more than it did, and still by little")
        } else if let Some(why) = look.excuse(judged.id, def, &shift) {
            Some(why)
        } else {
            self.class_holds_back(look, judged, def, &shift)
        };
        let onset =
            held_back.is_none().then(|| look.onset(judged.id, def, &judged.baseline, &shift)).flatten();
        if let Some(onset) = onset {
            shift.since = onset.since;
        }
        let held_back = held_back.or_else(|| {
            onset.filter(|o| o.is_usual).map(|_| "it changed like that before the release as well")
        });
        let held_back = held_back.or_else(|| {
            look.is_late_and_alone(judged.id, def, &judged.baseline, &shift).then_some(
                "it began long after the release, and no machine is left to compare with: it must last",
            )
        });
        let grade = if held_back.is_none() { Grade::Failing } else { Grade::Suspect };
        Graded {
            shift,
            view: judged.baseline.view,
            bound: judged.baseline.bound,
            grade,
            held_back,
            vicinity: Vicinity::default(),
        }
    }

    /// Some kinds of signal need more than a change to be a fault.
    fn class_holds_back(
        &self,
        look: &Look<'_>,
        judged: &Judged,
        def: &SignalDef,
        shift: &Shift,
    ) -> Option<&'static str> {
        match def.class {
            SignalClass::Errors | SignalClass::Logs | SignalClass::Health | SignalClass::Latency => None,
            SignalClass::Saturation | SignalClass::Other
                if look.is_another_setting(judged.id, def, &judged.baseline, shift) =>
            {
                Some("it stands still as it did before, at another value: a setting")
            }
            SignalClass::Business if judged.baseline.by_traffic => None,
            SignalClass::Saturation if def.fills => {
                // Memory that is higher and settled is a bigger program; memory
                // that is higher and climbs on is a leak.
                let climb = look.climb(judged.id, def, &judged.baseline);
                let limits = if def.collected { COLLECTED_LEAKS } else { LEAKS };
                let grown = limits.iter().find(|(age, _)| shift.age_seconds >= *age).map_or(0.6, |l| l.1);
                let own = shift.values[0].is_none() || shift.own_change > grown;
                let leaks = climb.is_finite() && climb > 0.45 && shift.change > grown && own;
                // A new machine may always have been that full.
                let much = if shift.values[0].is_some() { 0.6 } else { 1.4 };
                let huge = shift.change > much && shift.practical > 4.0 && shift.age_seconds > 120.0;
                (!leaks && !huge).then_some("it is higher, and has not climbed on for long enough")
            }
            SignalClass::Saturation if def.shape == Shape::Ratio => {
                let stays = shift.age_seconds >= CACHE_FILLS_SECONDS && shift.practical >= 2.0;
                // Where nothing is hit, hits are not shown.
                let stays = stays && shift.values[1].is_some_and(|missed| missed < 0.999);
                // A cache that fills is seen to.
                let is_off = shift.age_seconds >= CACHE_OFF_SECONDS
                    && shift.practical >= CACHE_OFF_PRACTICAL
                    && !shift.fading
                    && shift.steadiness >= CACHE_OFF_STEADY
                    && shift.values[1].is_some_and(|missed| (CACHE_OFF..0.999).contains(&missed));
                (!stays && !is_off).then_some("caches miss more, which alone harms nobody")
            }
            SignalClass::Saturation if judged.baseline.view == View::Restlessness && self.described => {
                Some("it is restless, which alone harms nobody")
            }
            SignalClass::Saturation => None,
            SignalClass::Other if self.described => {
                // Whatever is counted, five times as much of it is another program.
                let other_program = def.shape == Shape::Rate
                    && shift.upward
                    && shift.values[3].is_some()
                    && shift.change >= MULTIPLIED
                    && shift.values[1].is_some_and(|rate| rate >= MULTIPLIED_RATE_MIN)
                    && shift.age_seconds
                        >= if shift.change >= MANY_TIMES { 0.5 } else { 1.0 } * MULTIPLIED_FOR_SECONDS;
                let less_done = less_is_done(look, judged, def, shift);
                (!other_program && !less_done)
                    .then_some("its meaning is not known, and signals of known meaning are there")
            }
            SignalClass::Other if shift.upward || def.shape != Shape::Rate => None,
            // Orders and other events fall with the share of the traffic.
            SignalClass::Traffic | SignalClass::Business | SignalClass::Other => {
                let left = share_left(shift);
                let fell = look.fell_since_start(judged.id, def, &judged.baseline);
                let restarted = is_seen_to_restart(look, &shift.shows);
                let first = if restarted { TRAFFIC_RETURNS_SECONDS } else { FIRST_TRAFFIC_SECONDS };
                if left <= 0.03 && !fell && shift.age_seconds < first {
                    return Some("it may still wait for its first traffic");
                }
                let lost = || {
                    look.traffic_is_lost(def, &judged.baseline, shift)
                        || look.is_left_out(judged.id, def, shift)
                };
                let is_main = Some(judged.id) == look.observation.traffic;
                if def.class == SignalClass::Traffic && shift.change < A_THIRD_LEFT && !(is_main && lost()) {
                    return Some("less of the traffic, and others may have it");
                }
                (left > 0.03 && !fell && !lost()).then_some("a smaller share of the traffic from the start")
            }
        }
    }
}

/// The places of the gravest shift and of the gravest of another metric, as
/// segments repeat what their sum says.
pub fn leading(graded: &[Graded], catalogue: &Catalogue) -> [Option<usize>; 2] {
    let metric = |g: &Graded| &catalogue.signal(g.shift.signal).metric;
    let second = graded.iter().position(|g| metric(g) != metric(&graded[0]));
    [(!graded.is_empty()).then_some(0), second]
}

/// Where reference machines are there and none shows the signal, what moves
/// everybody cannot be told from a fault; errors and lost orders are worth the
/// risk.
fn reference_is_missing(look: &Look<'_>, def: &SignalDef, shift: &Shift) -> Option<&'static str> {
    let asked = match def.class {
        SignalClass::Latency | SignalClass::Saturation | SignalClass::Traffic | SignalClass::Other => true,
        SignalClass::Errors | SignalClass::Business | SignalClass::Logs | SignalClass::Health => false,
    };
    let has_reference = look.group(false).any(|member| look.serves(member));
    (asked && has_reference && shift.values[3].is_none()).then_some("no reference machine shows it")
}

/// Machines without a past of their own are compared with others: what depends
/// on their share of the traffic, or has no known meaning, may differ for ever.
fn past_is_missing(look: &Look<'_>, judged: &Judged, def: &SignalDef, shift: &Shift) -> Option<&'static str> {
    if shift.values[0].is_some() {
        return None;
    }
    let by_seconds = def.shape == Shape::Rate && !judged.baseline.by_traffic;
    let depends_on_share = match def.class {
        SignalClass::Traffic => {
            let fell = || look.fell_since_start(judged.id, def, &judged.baseline);
            let is_left_out = || look.is_left_out(judged.id, def, shift);
            def.segment.is_some() || (shift.values[1] != Some(0.0) && !fell() && !is_left_out())
        }
        SignalClass::Business => by_seconds || def.segment.is_some(),
        // Whatever share of the traffic they have, they do not count that much more of it.
        SignalClass::Other => !(def.shape == Shape::Rate && shift.upward && shift.change >= MANY_TIMES),
        SignalClass::Errors
        | SignalClass::Latency
        | SignalClass::Saturation
        | SignalClass::Logs
        | SignalClass::Health => false,
    };
    (depends_on_share || judged.baseline.view == View::Restlessness)
        .then_some("the released machines have no past of their own to compare with")
}

/// Whether one of these members was silent or restarted since its release: what
/// it serves from then on is its own doing.
fn is_seen_to_restart(look: &Look<'_>, shows: &[usize]) -> bool {
    let members = &look.observation.groups.members;
    shows.iter().any(|index| {
        let member = &members[*index];
        let (Some(released_at), Some(instance)) = (member.released_at, look.observation.instance(member))
        else {
            return false;
        };
        let silent = |(at, contact): &(Timestamp, Contact)| *at >= released_at && *contact == Contact::Silent;
        instance.restarts.iter().any(|at| *at >= released_at) || instance.contacts.iter().any(silent)
    })
}

/// Whether a signal is higher where more work is given; what is counted by
/// request is not.
pub(in crate::judge::funnel) fn follows_load(def: &SignalDef) -> bool {
    match def.class {
        SignalClass::Other => true,
        SignalClass::Saturation => !def.fills && !def.by_traffic,
        SignalClass::Errors
        | SignalClass::Latency
        | SignalClass::Traffic
        | SignalClass::Business
        | SignalClass::Logs
        | SignalClass::Health => false,
    }
}

/// Where the release system said what share of the traffic a released machine
/// gets, load that differs by no more is no fault of the version.
fn share_explains(look: &Look<'_>, def: &SignalDef, shift: &Shift) -> bool {
    let told: Vec<f64> = look
        .observation
        .groups
        .of(Group::Release)
        .filter(|m| m.weight_is_given)
        .map(|m| m.weight.max(1e-3).ln())
        .collect();
    if !follows_load(def) || told.is_empty() {
        return false;
    }
    let expected = told.iter().sum::<f64>() / told.len() as f64;
    let loads = shift.upward != (def.bad_when == BadWhen::Lower);
    // What the released machines do not serve, the others do.
    expected.abs() > 0.1 && loads == (expected > 0.0) && shift.change <= 1.2 * expected.abs() + 0.3
}

/// Load that moved from one group to the other: several signals changed in the
/// reference group the other way, by about as much. Where traffic is measured,
/// it tells that better.
fn excuse_moved_load(graded: &mut [Graded], look: &Look<'_>) {
    let catalogue = look.observation.window.catalogue();
    let of_load = |g: &Graded| follows_load(catalogue.signal(g.shift.signal));
    if look.traffic.is_some() {
        return;
    }
    let reference = look.observation.groups.of(Group::Reference).count() as f64;
    let (mut mirrored, mut alone) = (BTreeSet::new(), 0);
    for g in graded.iter().filter(|g| of_load(g)) {
        if is_mirrored(&g.shift, reference) {
            mirrored.insert(&catalogue.signal(g.shift.signal).metric);
        } else {
            alone += usize::from(g.grade == Grade::Failing);
        }
    }
    if mirrored.len() < MIRRORED_METRICS_MIN.max(alone) {
        return;
    }
    for g in graded.iter_mut().filter(|g| g.grade == Grade::Failing && of_load(g)) {
        // Next to nothing left is no share of the load.
        if !matches!(g.shift.values, [Some(before), Some(after), ..] if after <= 0.03 * before) {
            g.grade = Grade::Suspect;
            g.held_back = Some("the reference group changed the other way: load moved between them");
        }
    }
}

/// Whether what released machines have more or less of is about what the
/// `reference` machines have less or more.
fn is_mirrored(shift: &Shift, reference: f64) -> bool {
    let [Some(before), Some(after), Some(reference_before), Some(reference_after)] = shift.values else {
        return false;
    };
    if before <= 0.0 || reference_before <= 0.0 {
        return false;
    }
    let share = (reference / shift.judged as f64).min(MOVED_SHARE_MAX);
    let (own, others) = (after / before - 1.0, reference_after / reference_before - 1.0);
    others * own < 0.0 && others.abs() >= MOVED_MIN && own.abs() <= 1.3 * others.abs() * share + 0.1
}

/// Whether the service does less than before of something that nobody knows, as ever
/// so many requests come in: it answers with less, or no longer does a part of it.
/// What its runtime counts of itself may be less for good.
fn less_is_done(look: &Look<'_>, judged: &Judged, def: &SignalDef, shift: &Shift) -> bool {
    // What requests bring about is counted as they are.
    let comes_of_requests = match def.shape {
        Shape::Mean => true,
        Shape::Rate => look
            .traffic_rate(shift)
            .zip(shift.values[0])
            .is_some_and(|(requests, before)| before >= DOING_PER_REQUEST_MIN * requests),
        Shape::Ratio | Shape::Level | Shape::Slow => false,
    };
    comes_of_requests
        && !shift.upward
        && def.counts_doing()
        && judged.baseline.view == View::Level
        && shift.values[0].is_some()
        && share_left(shift) < LESS_DONE_LEFT
        && shift.age_seconds >= LESS_DONE_FOR_SECONDS
        && look.more_traffic(shift).is_some_and(|more| more > LESS_TRAFFIC)
}

/// What is left of the traffic that the reference group's change lets expect.
fn share_left(shift: &Shift) -> f64 {
    let [before, after, reference_before, reference_after] = shift.values;
    let (Some(before), Some(after)) = (before, after) else { return 1.0 };
    let shared = match (reference_before, reference_after) {
        (Some(before), Some(after)) if before > 0.0 => after / before,
        (Some(_) | None, Some(_) | None) => 1.0,
    };
    if before * shared > 0.0 { after / (before * shared) } else { 1.0 }
}

/// A process that is still slow works harder and times out a few of its
/// calls: both wait until the slowness has faded or proved to stay.
fn excuse_slow_starts(graded: &mut [Graded], catalogue: &Catalogue) {
    let slow_start = graded.iter().any(|g| {
        let fades = g.shift.is_over || (g.shift.fading && g.shift.margin >= 1.0);
        catalogue.signal(g.shift.signal).class == SignalClass::Latency && fades
    });
    if !slow_start {
        return;
    }
    // The share of slow answers is bounded, so that it hides the decay that the mean shows.
    let fading_means: Vec<String> = graded
        .iter()
        .filter(|g| g.shift.fading && g.shift.margin >= 1.0)
        .map(|g| catalogue.signal(g.shift.signal))
        .filter(|def| def.shape == Shape::Mean && def.class == SignalClass::Latency)
        .map(|def| def.metric.clone())
        .collect();
    for g in graded.iter_mut().filter(|g| g.grade == Grade::Failing) {
        let def = catalogue.signal(g.shift.signal);
        let few_errors = matches!(def.class, SignalClass::Errors | SignalClass::Logs)
            && !g.shift.is_new
            && g.shift.values[1].is_some_and(|after| after < SMALL_ERROR_RATIO);
        let busy = def.class == SignalClass::Saturation && def.warms && !def.fills && g.shift.change < 1.4;
        // Who answers later has more open at a time.
        let crowded = def.class == SignalClass::Saturation && def.fills && def.unit != Unit::Bytes;
        let slow_share = def.shape == Shape::Slow && fading_means.contains(&def.metric);
        if few_errors || busy || crowded || slow_share {
            g.grade = Grade::Suspect;
            g.held_back = Some("the young processes are still slow, and that still fades");
        }
    }
}

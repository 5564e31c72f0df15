//! The one definition of a look's features, live and in training: without
//! units, finite, and around 1, so that a service that was never seen before
//! looks like those that were.

use super::Asked;
use crate::domain::{Group, Timestamp};
use crate::judge::funnel::{Grade, Graded, Vicinity, View, is_counted};
use crate::judge::rules::RULES;
use crate::judge::{Finding, Outcome};
use crate::signal::{Groups, Shape, SignalClass, SignalDef, Step, Unit};

/// The rule of limits that people set.
const OWN_LIMIT: &str = "threshold";

/// What a feature is when it is not known; all others lie above.
const MISSING: f64 = -2.0;

/// The features of one look, in the order of [`schema_names`].
#[derive(Clone, Debug, PartialEq)]
pub struct Features(Vec<f64>);

/// What the model thought about at one look, and what the verdict was
/// without it.
#[derive(Clone, Debug, PartialEq)]
pub struct Considered {
    /// Of the suspects.
    pub features: Features,
    /// The outcome by rules and funnel.
    pub floor: Outcome,
    /// Whether a rule is among the gravest: no model may soften it.
    pub by_rule: bool,
}

/// How the suspects went on from look to look.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Course {
    metric: String,
    same_looks: u32,
    margin: f64,
    margin_before: f64,
    highest: f64,
}

impl Course {
    /// One more look: the metric and the margin of the strongest shift.
    pub fn follow(&mut self, strongest: Option<(&str, f64)>) {
        let (metric, margin) = strongest.unwrap_or_default();
        if metric == self.metric {
            self.same_looks = self.same_looks.saturating_add(1);
        } else {
            metric.clone_into(&mut self.metric);
            self.same_looks = 1;
        }
        self.margin_before = self.margin;
        self.margin = margin;
        self.highest = self.highest.max(margin);
    }
}

impl Considered {
    /// Whether a model that is asked at such looks is asked at this one.
    pub fn is_asked(&self, asked: Asked) -> bool {
        match asked {
            Asked::Suspects => true,
            Asked::Failing => self.floor == Outcome::Failing && !self.by_rule,
        }
    }
}

/// The suspects of one look.
pub struct Suspects<'a> {
    /// What the funnel found, gravest first, with each one's signal.
    pub shifts: Vec<(&'a Graded, &'a SignalDef)>,
    /// What the rules found.
    pub rules: &'a [Finding],
    /// Both groups.
    pub groups: &'a Groups,
    /// How many signals are judged.
    pub judged: usize,
    /// Whether errors, latency or business are among them.
    pub described: bool,
    /// For how many looks in a row there were suspects, this one included.
    pub suspect_looks: u32,
    /// For how many looks in a row the outcome was failing.
    pub failing_looks: u32,
    /// How they went on.
    pub course: &'a Course,
    /// The share of all other signals that moved enough to be looked at in full.
    pub moving_share: f64,
    /// The moment of the look.
    pub now: Timestamp,
    /// The first step that is not over.
    pub to: Step,
    /// Seconds a step.
    pub step_seconds: f64,
}

impl Features {
    /// The values.
    pub fn values(&self) -> &[f64] {
        &self.0
    }

    /// Features from their values, if there are as many as the schema has.
    pub fn of_values(values: Vec<f64>) -> Option<Self> {
        let fits = values.len() == schema_names().len() && values.iter().all(|v| v.is_finite());
        fits.then_some(Self(values))
    }

    /// Of one look.
    pub fn of(suspects: &Suspects<'_>) -> Self {
        Self(row(suspects).into_iter().map(|(_, value)| value).collect())
    }
}

/// The names of all features, in their order.
pub fn schema_names() -> Vec<&'static str> {
    let nothing = Suspects {
        shifts: Vec::new(),
        rules: &[],
        groups: &Groups::default(),
        judged: 0,
        described: false,
        suspect_looks: 0,
        failing_looks: 0,
        course: &Course::default(),
        moving_share: f64::NAN,
        now: Timestamp::default(),
        to: 0,
        step_seconds: 1.0,
    };
    row(&nothing).into_iter().map(|(name, _)| name).collect()
}

/// Values that cannot be compared as they are: clamped, and -2 where unknown.
fn bounded(value: f64) -> f64 {
    if value.is_nan() { MISSING } else { value.clamp(-1.0, 2.0) }
}

/// Of values from 0 upward: the logarithm, in units of that of `most`.
fn log(value: f64, most: f64) -> f64 {
    if value.is_nan() { MISSING } else { bounded(value.max(0.0).ln_1p() / most.ln_1p()) }
}

fn flag(is: bool) -> f64 {
    f64::from(u8::from(is))
}

type Row = Vec<(&'static str, f64)>;

fn row(suspects: &Suspects<'_>) -> Row {
    let mut row = Row::with_capacity(160);
    circumstances(suspects, &mut row);
    course(suspects, &mut row);
    classes(suspects, &mut row);
    rules(suspects, &mut row);
    let strongest = suspects.shifts.first().copied();
    shift(suspects, strongest, &FIRST, &mut row);
    // Segments repeat what their sum says: the second is another metric.
    let second =
        suspects.shifts.iter().find(|(_, d)| strongest.is_some_and(|s| s.1.metric != d.metric)).copied();
    shift(suspects, second, &SECOND, &mut row);
    around(strongest, &AROUND_FIRST, &mut row);
    around(second, &AROUND_SECOND, &mut row);
    kind(strongest, &mut row);
    row
}

fn circumstances(suspects: &Suspects<'_>, row: &mut Row) {
    let count = |group| suspects.groups.of(group).count() as f64;
    let (released, reference) = (count(Group::Release), count(Group::Reference));
    let shifts = &suspects.shifts;
    let failing = shifts.iter().filter(|(g, _)| g.grade == Grade::Failing).count() as f64;
    let excused = shifts.iter().filter(|(g, _)| g.shift.margin >= 1.0).count() as f64 - failing;
    let mut metrics: Vec<&str> = shifts.iter().map(|(_, d)| d.metric.as_str()).collect();
    metrics.sort_unstable();
    metrics.dedup();
    row.extend([
        ("judged signals", log(suspects.judged as f64, 200.0)),
        ("released machines", log(released, 50.0)),
        ("reference machines", log(reference, 50.0)),
        ("released share", bounded(released / (released + reference))),
        ("described", flag(suspects.described)),
        ("suspect looks", log(f64::from(suspects.suspect_looks), 60.0)),
        ("failing looks", log(f64::from(suspects.failing_looks), 60.0)),
        ("step seconds", log(suspects.step_seconds, 300.0)),
        ("suspect signals", log(shifts.len() as f64, 30.0)),
        ("suspect metrics", log(metrics.len() as f64, 30.0)),
        ("suspect share", bounded(shifts.len() as f64 / suspects.judged.max(1) as f64)),
        ("failing signals", log(failing, 30.0)),
        ("strong signals held back", log(excused, 30.0)),
        ("fading signals", log(shifts.iter().filter(|(g, _)| g.shift.fading).count() as f64, 30.0)),
    ]);
}

fn course(suspects: &Suspects<'_>, row: &mut Row) {
    let batches = || suspects.groups.members.iter().filter_map(|m| m.released_at);
    let seconds = |at: Option<Timestamp>| at.map_or(f64::NAN, |at| suspects.now.seconds_from(at));
    let mut moments: Vec<Timestamp> = batches().collect();
    moments.sort_unstable();
    moments.dedup();
    let course = suspects.course;
    let strongest = suspects.shifts.first();
    let begins =
        strongest.map_or(f64::NAN, |(g, _)| (suspects.to - g.shift.since) as f64 * suspects.step_seconds);
    let newest = seconds(moments.last().copied());
    row.extend([
        ("batches", log(moments.len() as f64, 10.0)),
        ("since first batch", log(seconds(moments.first().copied()), 3600.0)),
        ("since newest batch", log(newest, 3600.0)),
        ("shift before newest batch", bounded((begins - newest) / 600.0)),
        ("looks of the same metric", log(f64::from(course.same_looks), 60.0)),
        ("margin of the look before", log(course.margin_before, 20.0)),
        ("highest margin", log(course.highest, 20.0)),
        ("other signals that move", bounded(suspects.moving_share)),
    ]);
}

const CLASSES: [(SignalClass, &str, &str); 8] = [
    (SignalClass::Errors, "errors: margin", "errors: signals"),
    (SignalClass::Latency, "latency: margin", "latency: signals"),
    (SignalClass::Traffic, "traffic: margin", "traffic: signals"),
    (SignalClass::Saturation, "saturation: margin", "saturation: signals"),
    (SignalClass::Business, "business: margin", "business: signals"),
    (SignalClass::Logs, "logs: margin", "logs: signals"),
    (SignalClass::Health, "health: margin", "health: signals"),
    (SignalClass::Other, "other: margin", "other: signals"),
];

fn classes(suspects: &Suspects<'_>, row: &mut Row) {
    for (class, margin, signals) in CLASSES {
        let of_class = || suspects.shifts.iter().filter(move |(_, d)| d.class == class);
        row.push((margin, log(of_class().map(|(g, _)| g.shift.margin).fold(0.0, f64::max), 20.0)));
        row.push((signals, log(of_class().count() as f64, 30.0)));
    }
}

/// One feature a rule, from the one list of rules that settings read too: a
/// rule that is new there is new in the schema. Limits that people set carry
/// their own names, and are that of `threshold`.
fn rules(suspects: &Suspects<'_>, row: &mut Row) {
    let grave = |outcome: Outcome| match outcome {
        Outcome::Healthy | Outcome::Unknown => 0.0,
        Outcome::Suspect => 0.5,
        Outcome::Failing => 1.0,
    };
    for rule in RULES {
        let of_rule = suspects.rules.iter().filter(|finding| {
            let known = RULES.iter().find(|known| **known == finding.test).unwrap_or(&OWN_LIMIT);
            known == rule
        });
        row.push((rule, of_rule.map(|f| grave(f.outcome)).fold(0.0, f64::max)));
    }
    let strongest = suspects.rules.iter().map(|f| f.strength).filter(|s| s.is_finite()).fold(0.0, f64::max);
    row.push(("rules: strength", log(strongest, 50.0)));
}

const FIRST: [&str; 27] = [
    "1st: margin",
    "1st: score",
    "1st: change",
    "1st: own change",
    "1st: moved by both",
    "1st: practical",
    "1st: beyond worst",
    "1st: tail",
    "1st: breadth",
    "1st: judged machines",
    "1st: steadiness",
    "1st: fading",
    "1st: new",
    "1st: upward",
    "1st: held back",
    "1st: age",
    "1st: window",
    "1st: window of age",
    "1st: since",
    "1st: counted",
    "1st: segment",
    "1st: warms",
    "1st: fills",
    "1st: restlessness",
    "1st: weight",
    "1st: released value",
    "1st: times reference",
];

const SECOND: [&str; 27] = [
    "2nd: margin",
    "2nd: score",
    "2nd: change",
    "2nd: own change",
    "2nd: moved by both",
    "2nd: practical",
    "2nd: beyond worst",
    "2nd: tail",
    "2nd: breadth",
    "2nd: judged machines",
    "2nd: steadiness",
    "2nd: fading",
    "2nd: new",
    "2nd: upward",
    "2nd: held back",
    "2nd: age",
    "2nd: window",
    "2nd: window of age",
    "2nd: since",
    "2nd: counted",
    "2nd: segment",
    "2nd: warms",
    "2nd: fills",
    "2nd: restlessness",
    "2nd: weight",
    "2nd: released value",
    "2nd: times reference",
];

fn shift(
    suspects: &Suspects<'_>,
    of: Option<(&Graded, &SignalDef)>,
    names: &[&'static str; 27],
    row: &mut Row,
) {
    let Some((graded, def)) = of else {
        row.extend(names.iter().map(|name| (*name, MISSING)));
        return;
    };
    let s = &graded.shift;
    let window_seconds = s.steps as f64 * suspects.step_seconds;
    let since_seconds = (suspects.to - s.since) as f64 * suspects.step_seconds;
    let share = if def.unit == Unit::Ratio { s.values[1].unwrap_or(f64::NAN) } else { f64::NAN };
    let times = match (s.values[1], s.values[3].or(s.values[0])) {
        (Some(now), Some(compared)) if now > 0.0 && compared > 0.0 => (now / compared).ln() / 3.0,
        (Some(_), Some(_)) | (None, _) | (_, None) => f64::NAN,
    };
    let values = [
        log(s.margin, 20.0),
        log(s.score, 50.0),
        bounded(s.change / 3.0),
        bounded(s.own_change / 3.0),
        bounded((s.own_change - s.change) / 3.0),
        log(s.practical, 50.0),
        log(s.beyond_worst.min(1e3), 50.0),
        bounded(-s.tail.max(1e-60).ln() / 140.0),
        bounded(s.shows.len() as f64 / s.judged.max(1) as f64),
        log(s.judged as f64, 50.0),
        bounded(s.steadiness / 2.0),
        flag(s.fading),
        flag(s.is_new),
        flag(s.upward),
        flag(graded.held_back.is_some()),
        log(s.age_seconds, 3600.0),
        log(window_seconds, 3600.0),
        bounded(window_seconds / s.age_seconds.max(suspects.step_seconds)),
        log(since_seconds, 3600.0),
        flag(is_counted(def)),
        flag(def.segment.is_some()),
        flag(def.warms),
        flag(def.fills),
        flag(graded.view == View::Restlessness),
        bounded(def.weight),
        bounded(share),
        bounded(times),
    ];
    row.extend(names.iter().copied().zip(values));
}

macro_rules! around_names {
    ($which:literal) => {
        [
            concat!($which, ": score over needed"),
            concat!($which, ": reference most"),
            concat!($which, ": reference share"),
            concat!($which, ": reference machines"),
            concat!($which, ": released least"),
            concat!($which, ": released most"),
            concat!($which, ": newest third"),
            concat!($which, ": newest step"),
            concat!($which, ": longer window"),
            concat!($which, ": windows"),
            concat!($which, ": noise"),
            concat!($which, ": events"),
            concat!($which, ": usual events"),
            concat!($which, ": released traffic"),
            concat!($which, ": reference traffic"),
            concat!($which, ": pseudo-releases"),
        ]
    };
}

const AROUND_FIRST: [&str; 16] = around_names!("1st");
const AROUND_SECOND: [&str; 16] = around_names!("2nd");

fn around(of: Option<(&Graded, &SignalDef)>, names: &[&'static str; 16], row: &mut Row) {
    let a = of.map_or_else(Vicinity::default, |(graded, _)| graded.vicinity);
    let values = [
        log(a.score_times, 20.0),
        bounded(a.reference_most),
        bounded(a.reference_share),
        log(a.reference_machines, 50.0),
        bounded(a.released_least),
        bounded(a.released_most / 2.0),
        bounded(a.newest),
        bounded(a.last_step),
        bounded(a.longer),
        bounded(a.windows),
        bounded(a.noise),
        log(a.events, 1000.0),
        log(a.events_usual, 1000.0),
        bounded(a.released_traffic),
        bounded(a.reference_traffic),
        log(a.pseudo_releases, 400.0),
    ];
    row.extend(names.iter().copied().zip(values));
}

/// What the strongest shift is of.
fn kind(of: Option<(&Graded, &SignalDef)>, row: &mut Row) {
    let is = |what: fn(&Graded, &SignalDef) -> bool| flag(of.is_some_and(|(g, d)| what(g, d)));
    row.extend([
        ("1st: of errors", is(|_, d| d.class == SignalClass::Errors)),
        ("1st: of latency", is(|_, d| d.class == SignalClass::Latency)),
        ("1st: of traffic", is(|_, d| d.class == SignalClass::Traffic)),
        ("1st: of saturation", is(|_, d| d.class == SignalClass::Saturation)),
        ("1st: of business", is(|_, d| d.class == SignalClass::Business)),
        ("1st: of logs", is(|_, d| d.class == SignalClass::Logs)),
        ("1st: of health", is(|_, d| d.class == SignalClass::Health)),
        ("1st: ratio", is(|_, d| d.shape == Shape::Ratio)),
        ("1st: rate", is(|_, d| d.shape == Shape::Rate)),
        ("1st: mean", is(|_, d| d.shape == Shape::Mean)),
        ("1st: slow share", is(|_, d| d.shape == Shape::Slow)),
        ("1st: by traffic", is(|_, d| d.by_traffic)),
        ("1st: outgoing", is(|_, d| d.outgoing)),
        ("1st: refusals", is(|_, d| d.refusals)),
        ("1st: kind of error", is(|_, d| d.error_kind)),
        ("1st: without a past", is(|g, _| g.shift.values[0].is_none())),
        ("1st: without reference", is(|g, _| g.shift.values[3].is_none())),
        ("1st: is over", is(|g, _| g.shift.is_over)),
        ("1st: not sure", is(|g, _| g.shift.margin < 1.0)),
    ]);
}

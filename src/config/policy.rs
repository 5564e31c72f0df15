//! `policy`, `rules` and `threshold`: what is made of verdicts, which rules
//! count, and the limits that people set.

use std::time::Duration;

use crate::guard::policy::{RuleMode, WhenBlind};
use crate::guard::{EngineSettings, Mode};
use crate::judge::RuleTrial;
use crate::judge::rules::{RULES, Threshold, ThresholdSide};

use super::raw::Section;

const RULE_MODES: [(&str, RuleMode); 3] =
    [("off", RuleMode::Off), ("trial", RuleMode::Trial), ("enforce", RuleMode::Enforce)];

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(86_400);

/// Reads `policy`, `rules` and `threshold` of a section over what holds
/// without them.
pub(super) fn read_engine(section: &Section<'_>, base: &EngineSettings) -> EngineSettings {
    let mut engine = base.clone();
    read_policy(section, &mut engine);
    read_rules(section, &mut engine);
    for table in section.sections("threshold") {
        engine.judge.thresholds.extend(read_threshold(&table));
    }
    engine
}

fn read_policy(section: &Section<'_>, engine: &mut EngineSettings) {
    let Some(section) = section.section("policy") else { return };
    let policy = &mut engine.policy;
    let modes = [("observe", Mode::Observe), ("advise", Mode::Advise), ("enforce", Mode::Enforce)];
    let blind = [("hold", WhenBlind::Hold), ("pause", WhenBlind::Pause), ("proceed", WhenBlind::Proceed)];
    set(&mut policy.mode, section.word("mode", &modes));
    set(&mut policy.may_roll_back, section.flag("may_roll_back"));
    set(&mut policy.rollback_after, section.duration("rollback_after", Duration::ZERO..=DAY));
    set(&mut policy.confirm_checks, section.count("confirm_checks", 1..=100));
    set(&mut policy.checks, section.count("checks", 1..=100));
    set(&mut policy.pass_after, section.duration("pass_after", Duration::ZERO..=DAY));
    set(&mut policy.cool_down, section.duration("cool_down", Duration::ZERO..=DAY));
    set(&mut policy.watch_after_finish, section.duration("watch_after_finish", Duration::ZERO..=7 * DAY));
    set(&mut policy.blind_after, section.duration("blind_after", 10 * SECOND..=DAY));
    set(&mut policy.when_blind, section.word("when_blind", &blind));
    set(&mut policy.false_stops_per_1000, section.number("false_stops_per_1000", 0.01..=500.0));
    engine.judge.false_stops_per_1000 = policy.false_stops_per_1000;
    set(&mut policy.command_deadline, section.duration("command_deadline", SECOND..=DAY));
    if policy.confirm_checks > policy.checks {
        section.problem(
            section.span(),
            format!("confirm_checks is {} of only {} checks", policy.confirm_checks, policy.checks),
            "confirm_checks counts the failing ones among the last `checks` looks: make it at most as many",
        );
    }
}

fn set<T>(place: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *place = value;
    }
}

fn read_rules(section: &Section<'_>, engine: &mut EngineSettings) {
    let Some(rules) = section.section("rules") else { return };
    for name in RULES {
        let Some(value) = rules.value(name) else { continue };
        // `crash_loop = "off"` is short for `crash_loop = { mode = "off" }`.
        let mode = if value.get_ref().is_str() {
            rules.word(name, &RULE_MODES)
        } else {
            rules.section_of(name, value).and_then(|table| {
                read_limits(name, &table, engine);
                table.word("mode", &RULE_MODES)
            })
        };
        let Some(mode) = mode else { continue };
        engine.policy.rule_modes.insert((*name).to_owned(), mode);
        match mode {
            RuleMode::Off => drop(engine.judge.rule_trials.insert((*name).to_owned(), RuleTrial::Off)),
            RuleMode::Trial => drop(engine.judge.rule_trials.insert((*name).to_owned(), RuleTrial::Trial)),
            RuleMode::Enforce => drop(engine.judge.rule_trials.remove(*name)),
        }
    }
}

/// The limits of the rules that have any.
fn read_limits(rule: &str, table: &Section<'_>, engine: &mut EngineSettings) {
    let judge = &mut engine.judge;
    match rule {
        "instance_silent" => {
            set(&mut judge.silence.after_serving, table.duration("after_serving", SECOND..=DAY));
            set(&mut judge.silence.after_release, table.duration("after_release", SECOND..=DAY));
        }
        "crash_loop" => {
            set(&mut judge.crash_loop.restarts, table.count("restarts", 1..=100));
            set(&mut judge.crash_loop.settle, table.duration("settle", Duration::ZERO..=DAY));
        }
        _ => {}
    }
}

const LIMIT_HELP: &str =
    "write above = NUMBER or below = NUMBER in the signal's unit, or objective = 0.999 for an error ratio";

/// One limit: `above` or `below` a value, or the burn rate of an objective.
fn read_threshold(table: &Section<'_>) -> Option<Threshold> {
    let name = table.required_text("name", "name it: findings show it");
    let signal = table.required_text("signal", "write the signal's name as the pages show it, or its metric");
    let above = table.number("above", f64::MIN..=f64::MAX);
    let below = table.number("below", f64::MIN..=f64::MAX);
    let objective = table.number("objective", 0.5..=0.999_999);
    let burn_rate = table.number("burn_rate", 1.0..=100_000.0).unwrap_or(14.4);
    let lasting = table.duration("lasting", SECOND..=DAY).unwrap_or(60 * SECOND);
    let unless_reference = table.flag("unless_reference").unwrap_or(true);
    let written = ["above", "below", "objective"].iter().filter(|key| table.has(key)).count();
    if written != 1 {
        table.problem(table.span(), format!("the threshold has {written} limits, not one"), LIMIT_HELP);
        return None;
    }
    let (limit, side) = match (above, below, objective) {
        (Some(limit), _, _) => (limit, ThresholdSide::Above),
        (_, Some(limit), _) => (limit, ThresholdSide::Below),
        (_, _, Some(objective)) => ((1.0 - objective) * burn_rate, ThresholdSide::Above),
        (None, None, None) => return None,
    };
    let (name, signal) = (name?.into_inner(), signal?.into_inner());
    Some(Threshold { name, signal, limit, side, lasting, unless_reference })
}

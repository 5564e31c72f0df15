//! Each rule on a story in which it must speak, and on those that look alike
//! and must not stop a release.

use super::*;
use crate::judge::RuleTrial;
use crate::judge::rules::{Threshold, ThresholdSide};

/// Whether a rule would stop the release.
fn stopped_by(verdicts: &[Verdict], rule: &str) -> bool {
    stops(verdicts).contains(&rule)
}

/// All that a rule said, grave or not.
fn said<'v>(verdicts: &'v [Verdict], rule: &str) -> Vec<&'v crate::judge::Finding> {
    verdicts.iter().flat_map(|v| &v.findings).filter(|f| f.test == rule).collect()
}

fn with_rule(rule: &str, trial: RuleTrial) -> JudgeSettings {
    JudgeSettings { rule_trials: [(rule.to_owned(), trial)].into(), ..JudgeSettings::default() }
}

#[test]
fn a_burst_of_errors_on_released_machines_stops_and_one_everywhere_is_no_burst_of_theirs() {
    let failing = |whom: fn(usize) -> bool| {
        Story::usual(120).tell(move |machine, second| {
            let failed = if whom(machine) && second >= 0 { 0.3 } else { 0.001 };
            Some(service(machine, second, failed, 0.01, 0.05))
        })
    };
    let verdicts = failing(|machine| machine < 2);
    let first = verdicts.iter().position(|v| v.findings.iter().any(|f| f.test == "error_burst"));
    assert!(first.is_some_and(|look| look <= 6), "{first:?}");
    assert!(stopped_by(&verdicts, "error_burst"), "{:?}", stops(&verdicts));
    assert!(!stopped_by(&failing(|_| true), "error_burst"));
}

#[test]
fn an_exception_that_nobody_ever_showed_stops_and_a_known_one_does_not() {
    let thrown = |known: bool, elsewhere: bool| {
        Story::usual(180).tell(move |machine, second| {
            let mut page = well(machine, second);
            let errors =
                |kind: &str, rate: f64| Grows(format!("app_exceptions_total{{type=\"{kind}\"}}"), rate);
            page.push(errors("TimeoutError", 0.3));
            let before = known && machine == 4 && second < -600;
            if before || (is_bad(machine, second) || elsewhere && machine == 5 && second >= 0) {
                page.push(errors("KeyError", 0.3));
            }
            Some(page)
        })
    };
    let verdicts = thrown(false, false);
    assert!(stopped_by(&verdicts, "new_exception"), "{:?}", stops(&verdicts));
    let why = said(&verdicts, "new_exception").last().map(|f| f.because.clone()).unwrap_or_default();
    assert!(why.starts_with("KeyError never seen before"), "{why}");
    assert!(!stopped_by(&thrown(true, false), "new_exception"), "it was seen before the release");
    assert!(!stopped_by(&thrown(false, true), "new_exception"), "a reference machine shows it");
}

#[test]
fn restarts_after_the_one_that_brought_the_version_stop_unless_all_machines_restart() {
    let restarting = |every: i64, whom: fn(usize) -> bool| {
        Story::usual(600).tell(move |machine, second| {
            let started = match (second >= 0, machine < 2, whom(machine)) {
                // The release itself restarts its machines at its begin.
                (true, _, true) => second - second % every,
                (true, true, false) => 0,
                (true, false, false) | (false, _, _) => -50_000,
            };
            let mut page = well(machine, second);
            page.push(Is("process_start_time_seconds".to_owned(), 1_790_000_000.0 + started as f64));
            Some(page)
        })
    };
    let verdicts = restarting(120, |machine| machine == 0);
    assert!(stopped_by(&verdicts, "crash_loop"), "{:?}", stops(&verdicts));
    assert!(
        said(&restarting(600, |machine| machine < 2), "crash_loop").is_empty(),
        "one restart is the release's"
    );
    assert!(!stopped_by(&restarting(120, |_| true), "crash_loop"), "something else restarts them all");
}

#[test]
fn one_more_restart_in_the_first_minute_is_no_loop_however_many_machines_do_it() {
    let restarting = |restarts: &'static [i64]| {
        Story::usual(600).tell(move |machine, second| {
            let restarts = if machine < 2 { restarts } else { &[] };
            let newest = restarts.iter().rev().find(|at| **at <= second).copied();
            let mut page = well(machine, second);
            let started = newest.unwrap_or(-50_000) as f64;
            page.push(Is("process_start_time_seconds".to_owned(), 1_790_000_000.0 + started));
            Some(page)
        })
    };
    let twice = restarting(&[0, 40]);
    assert!(!said(&twice, "crash_loop").is_empty(), "it is told");
    assert!(!stopped_by(&twice, "crash_loop"), "{:?}", reasons(&twice));
    assert!(stopped_by(&restarting(&[0, 40, 100]), "crash_loop"));
}

#[test]
fn orders_that_stop_while_requests_go_on_stop_unless_they_stop_everywhere() {
    let ordered = |whom: fn(usize) -> bool| {
        Story::usual(300).tell(move |machine, second| {
            let mut page = well(machine, second);
            let rate = if whom(machine) && second >= 0 { 0.0 } else { 4.0 * jitter(machine, second, 9) };
            page.push(Grows("shop_orders_total".to_owned(), rate));
            Some(page)
        })
    };
    let verdicts = ordered(|machine| machine < 2);
    assert!(stopped_by(&verdicts, "business_stopped"), "{:?}", stops(&verdicts));
    assert!(!stopped_by(&ordered(|_| true), "business_stopped"));
}

/// The mean latency is 50 ms on all machines, and `released` on released ones.
fn under_limit(limit: Threshold, trial: Option<RuleTrial>, released: f64, failed: f64) -> Vec<Verdict> {
    let settings = JudgeSettings {
        thresholds: vec![limit],
        rule_trials: trial.map(|trial| ("threshold".to_owned(), trial)).into_iter().collect(),
        ..JudgeSettings::default()
    };
    let page = |machine: usize, second: i64| {
        let (latency, failed) = if is_bad(machine, second) { (released, failed) } else { (0.05, 0.001) };
        Some(service(machine, second, failed, 0.01, latency))
    };
    Story::usual(200).tell_with(settings, &[], page).0
}

fn limit(signal: &str, limit: f64, side: ThresholdSide) -> Threshold {
    Threshold {
        name: "the limit".to_owned(),
        signal: signal.to_owned(),
        limit,
        side,
        lasting: Duration::from_secs(60),
        unless_reference: true,
    }
}

#[test]
fn a_limit_that_people_set_stops_once_it_was_broken_for_as_long_as_they_say() {
    // 0.6 % of 80 requests a second fail: an objective of 99.9 % burns 6 times
    // too fast, which is above 5 and below 14.4.
    let burnt = |rate: f64| {
        let burnt = limit("web_requests_total", 0.001 * rate, ThresholdSide::Above);
        under_limit(burnt, None, 0.05, 0.006)
    };
    let verdicts = burnt(5.0);
    assert!(stopped_by(&verdicts, "the limit"), "{:?}", stops(&verdicts));
    let first = verdicts.iter().position(|v| stopped_by(std::slice::from_ref(v), "the limit")).unwrap();
    assert!(first >= 6, "a minute lasts six looks, and the process had to settle: {first}");
    assert!(said(&burnt(14.4), "the limit").is_empty());

    let fewer = limit("web_requests_total", 1e9, ThresholdSide::Below);
    let excused = under_limit(fewer.clone(), None, 0.05, 0.001);
    assert!(said(&excused, "the limit").is_empty(), "the reference group is as bad");
    let alone = under_limit(Threshold { unless_reference: false, ..fewer }, None, 0.05, 0.001);
    assert!(stopped_by(&alone, "the limit"), "and nobody asked for it: {:?}", stops(&alone));
}

#[test]
fn a_limit_on_trial_is_shown_and_stops_nothing_and_one_that_is_off_is_not_looked_at() {
    let all = Threshold { unless_reference: false, ..limit("web_requests_total", 1e9, ThresholdSide::Below) };
    let trial = under_limit(all.clone(), Some(RuleTrial::Trial), 0.05, 0.001);
    let shown = said(&trial, "the limit");
    assert!(!shown.is_empty() && shown.iter().all(|f| f.on_trial), "{shown:?}");
    assert!(trial.iter().all(|v| v.outcome < Outcome::Suspect), "it never acts");
    assert!(said(&under_limit(all, Some(RuleTrial::Off), 0.05, 0.001), "the limit").is_empty());
}

#[test]
fn a_limit_that_bears_a_rules_name_goes_by_its_own_mode() {
    let named = Threshold {
        name: "error_burst".to_owned(),
        unless_reference: false,
        ..limit("web_requests_total", 1e9, ThresholdSide::Below)
    };
    let settings = JudgeSettings { thresholds: vec![named], ..with_rule("error_burst", RuleTrial::Trial) };
    let page = |machine: usize, second: i64| Some(well(machine, second));
    let verdicts = Story::usual(200).tell_with(settings, &[], page).0;
    assert!(stopped_by(&verdicts, "error_burst"), "the limit is in force, the rule on trial");
    assert!(said(&verdicts, "error_burst").iter().all(|f| !f.on_trial));
}

#[test]
fn a_rule_on_trial_never_hides_what_others_find() {
    let page = |machine: usize, second: i64| {
        let failed = if is_bad(machine, second) { 0.3 } else { 0.001 };
        Some(service(machine, second, failed, 0.01, 0.05))
    };
    let story = Story::usual(120);
    let trial = story.tell_with(with_rule("error_burst", RuleTrial::Trial), &[], page).0;
    let shown = said(&trial, "error_burst");
    assert!(!shown.is_empty() && shown.iter().all(|f| f.on_trial), "{shown:?}");
    let newest = trial.last().unwrap();
    assert_eq!(newest.outcome, Outcome::Failing, "the funnel sees it too: {newest:?}");
    assert!(newest.findings.iter().any(|f| !f.on_trial && f.outcome == Outcome::Failing));
    let off = story.tell_with(with_rule("error_burst", RuleTrial::Off), &[], page).0;
    assert!(said(&off, "error_burst").is_empty());
}

#[test]
fn an_alert_about_released_machines_stops_and_others_do_not() {
    let alert = |severity: &str, machine: usize, from: i64, until: Option<i64>| Alert {
        name: "HighErrors".to_owned(),
        labels: [("severity", severity.to_owned()), ("instance", name(machine).as_str().to_owned())]
            .map(|(label, value)| (label.to_owned(), value))
            .into(),
        starts_at: at(from),
        ends_at: until.map(at),
    };
    let told = |alert: Alert| {
        let page = |machine: usize, second: i64| Some(well(machine, second));
        Story::usual(100).tell_with(JudgeSettings::default(), &[alert], page).0
    };
    let verdicts = told(alert("critical", 0, 40, None));
    assert!(stopped_by(&verdicts, "outside_alert"), "{:?}", stops(&verdicts));
    let before = verdicts.iter().filter(|v| v.at < at(40)).collect::<Vec<_>>();
    assert!(before.iter().all(|v| v.findings.is_empty()), "it does not fire yet: {before:?}");
    assert!(!stopped_by(&told(alert("warning", 0, 40, None)), "outside_alert"), "it is only shown");
    assert!(said(&told(alert("critical", 5, 40, None)), "outside_alert").is_empty(), "a reference machine");
    assert!(
        said(&told(alert("critical", 0, -40, None)), "outside_alert").is_empty(),
        "older than the release"
    );
    let over = told(alert("critical", 0, 40, Some(60)));
    assert!(over.last().unwrap().findings.is_empty(), "it is over");
}

//! What releases of services that nobody here had seen taught.

use super::*;

fn grows(series: &str, rate: f64) -> Shown {
    Grows(series.to_owned(), rate)
}

fn is(series: &str, value: f64) -> Shown {
    Is(series.to_owned(), value)
}

/// What all is well with, and one thing more.
fn with(machine: usize, second: i64, more: Vec<Shown>) -> Option<Vec<Shown>> {
    let mut page = well(machine, second);
    page.extend(more);
    Some(page)
}

#[test]
fn a_released_machine_whose_page_shows_nothing_is_not_seen_and_said_to_be_blind() {
    let verdicts = Story::usual(300).tell(|machine, second| {
        Some(if is_bad(machine, second) { Vec::new() } else { well(machine, second) })
    });
    let told = |v: &Verdict| v.blind.iter().any(|b| b.why.contains("its pages show nothing that is judged"));
    assert!(verdicts.iter().all(|v| v.outcome != Outcome::Healthy));
    assert!(verdicts.iter().any(told));
}

#[test]
fn a_gauge_that_stands_still_at_another_value_is_a_setting_unless_it_stood_at_zero() {
    let story = |before: f64, after: f64| {
        Story::usual(600).tell(move |machine, second| {
            let value = if is_bad(machine, second) { after } else { before };
            with(machine, second, vec![is("upload_queue_active_workers", value)])
        })
    };
    assert_eq!(stops(&story(8.0, 16.0)), Vec::<&str>::new());
    assert!(reasons(&story(0.0, 16.0)).iter().any(|r| r.contains("upload_queue_active_workers")));
}

#[test]
fn orders_that_are_counted_under_another_name_were_not_lost() {
    let story = |name: &'static str| {
        Story::usual(600).tell(move |machine, second| {
            let name = if is_bad(machine, second) { name } else { "orders_total" };
            with(machine, second, vec![grows(name, 6.0 * jitter(machine, second, 5))])
        })
    };
    assert_eq!(stops(&story("shop_orders_total")), Vec::<&str>::new());
    // Something else that was there all the time is no new name.
    assert!(!stops(&story("web_requests_total{code=\"200\"}")).is_empty());
}

#[test]
fn a_version_that_serves_further_slow_requests_is_not_slower() {
    let story = |slow: &'static str| {
        Story::usual(900).tell(move |machine, second| {
            let kind = |path: &str, rate: f64, latency: f64| {
                let rate = rate * jitter(machine, second, 6);
                vec![
                    grows(&format!("rpc_seconds_sum{{path=\"{path}\"}}"), rate * latency),
                    grows(&format!("rpc_seconds_count{{path=\"{path}\"}}"), rate),
                ]
            };
            let mut page = kind("/a", 40.0, if is_bad(machine, second) && slow == "/a" { 0.2 } else { 0.05 });
            page.extend(kind("/b", 40.0, 0.04));
            if is_bad(machine, second) && slow == "/new" {
                page.extend(kind("/new", 30.0, 0.4));
            }
            Some(page)
        })
    };
    assert_eq!(stops(&story("/new")), Vec::<&str>::new());
    assert!(!stops(&story("/a")).is_empty());
}

#[test]
fn what_nobody_knows_stops_when_there_is_five_times_as_much_of_it() {
    let story = |times: f64| {
        Story::usual(600).tell(move |machine, second| {
            let times = if is_bad(machine, second) { times } else { 1.0 };
            let rate = 3.0 * times * jitter(machine, second, 7);
            with(machine, second, vec![grows("connections_accepted_total", rate)])
        })
    };
    assert_eq!(stops(&story(2.0)), Vec::<&str>::new());
    assert!(reasons(&story(10.0)).iter().any(|r| r.contains("connections_accepted_total")));
}

#[test]
fn traffic_that_came_to_no_other_machine_is_lost_and_what_others_took_over_is_not() {
    let story = |taken_over: bool| {
        let story = Story { batches: vec![(0, vec![0, 1, 2], None)], ..Story::usual(600) };
        story.tell(move |machine, second| {
            let share = match (machine < 3, second >= 0) {
                (_, false) => 1.0,
                (true, true) => 0.1,
                (false, true) => {
                    if taken_over {
                        1.9
                    } else {
                        1.0
                    }
                }
            };
            let rate = 80.0 * share * jitter(machine, second, 8);
            Some(vec![grows("web_requests_total{code=\"200\"}", rate)])
        })
    };
    assert_eq!(stops(&story(true)), Vec::<&str>::new());
    assert!(!stops(&story(false)).is_empty());
}

#[test]
fn an_exception_that_was_known_under_another_metric_is_not_new() {
    let story = |kind: &'static str| {
        Story::usual(600).tell(move |machine, second| {
            let (name, kind) = if is_bad(machine, second) {
                ("app_exceptions_total", kind)
            } else {
                ("exceptions_total", "KeyError")
            };
            with(machine, second, vec![grows(&format!("{name}{{type=\"{kind}\"}}"), 0.2)])
        })
    };
    assert!(!stops(&story("KeyError")).contains(&"new_exception"));
    assert!(stops(&story("NullPointer")).contains(&"new_exception"));
}

#[test]
fn one_spike_of_a_queue_is_over_before_anybody_is_told() {
    let verdicts = Story::usual(600).tell(|machine, second| {
        let spike = if machine < 2 && (300..310).contains(&second) { 400.0 } else { 4.0 };
        with(machine, second, vec![is("consumer_lag", spike * jitter(machine, second, 9))])
    });
    let failing = verdicts.windows(2).filter(|v| v.iter().all(|v| v.outcome == Outcome::Failing)).count();
    assert_eq!(failing, 0, "{:?}", reasons(&verdicts));
}

#[test]
fn machines_of_a_large_batch_that_restart_one_after_the_other_are_no_loop() {
    let story = |again: bool| {
        let story = Story { machines: 14, batches: vec![(0, (0..10).collect(), None)], until: 900 };
        story.tell(move |machine, second| {
            let turn = 30 + machine as i64 * 50;
            let restarts = if again { 3 } else { 1 };
            let began = (0..restarts).map(|k| turn + k * 120).rfind(|at| machine < 10 && *at <= second);
            let start = 1_790_000_000.0 + began.unwrap_or(-90_000) as f64;
            with(machine, second, vec![is("process_start_time_seconds", start)])
        })
    };
    assert!(!stops(&story(false)).contains(&"crash_loop"));
    assert!(stops(&story(true)).contains(&"crash_loop"));
}

#[test]
fn an_outage_of_all_that_begins_before_the_new_version_serves_is_not_its_doing() {
    let story = |begins: i64| {
        Story::usual(400).tell(move |machine, second| {
            if machine < 2 && (0..60).contains(&second) {
                return None;
            }
            let failed = if second >= begins { 0.3 } else { 0.001 };
            Some(service(machine, second, failed, 0.01, 0.05))
        })
    };
    assert!(!stops(&story(20)).contains(&"spreading"));
    assert!(stops(&story(90)).contains(&"spreading"));
}

/// Machines 0 and 1 are new ones: they answer from second 0 on only.
fn newcomers(until: i64, page: impl Fn(usize, i64) -> Option<Vec<Shown>>) -> Vec<Verdict> {
    Story::usual(until)
        .tell(|machine, second| if machine < 2 && second < 0 { None } else { page(machine, second) })
}

#[test]
fn a_new_machine_with_little_traffic_that_loses_it_all_is_seen() {
    let story = |ends: i64| {
        newcomers(900, move |machine, second| {
            let rate = match (machine < 2, second < ends) {
                (true, true) => 4.0,
                (true, false) => 0.0,
                (false, _) => 80.0,
            };
            Some(vec![grows("web_requests_total{code=\"200\"}", rate * jitter(machine, second, 11))])
        })
    };
    assert_eq!(stops(&story(900)), Vec::<&str>::new(), "a small share is no loss");
    assert!(!stops(&story(400)).is_empty());
}

#[test]
fn a_leak_of_new_machines_is_seen_beside_a_single_old_one_and_a_bigger_program_is_none() {
    let story = |leaks: bool| {
        let story = Story { machines: 3, batches: vec![(0, vec![0, 1], None)], until: 2400 };
        story.tell(move |machine, second| {
            if machine < 2 && second < 0 {
                return None;
            }
            let mb = match (machine < 2, leaks) {
                (true, true) => 32.0 + second as f64 / 45.0,
                (true, false) => 50.0,
                (false, _) => 32.0,
            };
            let memory = mb * 1e6 * (1.0 + 0.1 * (jitter(machine, second, 12) - 1.0));
            with(machine, second, vec![is("process_resident_memory_bytes", memory)])
        })
    };
    assert_eq!(stops(&story(false)), Vec::<&str>::new());
    assert!(reasons(&story(true)).iter().any(|r| r.contains("process_resident_memory_bytes")));
}

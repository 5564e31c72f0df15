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
    let story = |rate: f64, times: f64| {
        Story::usual(600).tell(move |machine, second| {
            let times = if is_bad(machine, second) { times } else { 1.0 };
            let rate = rate * times * jitter(machine, second, 7);
            with(machine, second, vec![grows("connections_accepted_total", rate)])
        })
    };
    assert_eq!(stops(&story(3.0, 2.0)), Vec::<&str>::new());
    assert!(reasons(&story(3.0, 10.0)).iter().any(|r| r.contains("connections_accepted_total")));
    assert_eq!(reasons(&story(0.002, 10.0)), Vec::<&str>::new(), "a few");
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

#[test]
fn crashes_of_a_client_version_that_is_new_are_no_rise_and_those_of_a_known_one_are() {
    let story = |known: bool| {
        Story::usual(600).tell(move |machine, second| {
            let new = is_bad(machine, second);
            let version = if new && !known { "2.0" } else { "1.0" };
            let rate = if new { 1.5 } else { 0.02 };
            let crashes = grows(&format!("app_crashes_total{{app_version=\"{version}\"}}"), rate);
            // Two versions make a label of it, and their sum does not rise.
            let old = if new { 0.5 } else { 2.0 };
            with(machine, second, vec![crashes, grows("app_crashes_total{app_version=\"0.9\"}", old)])
        })
    };
    assert_eq!(stops(&story(false)), Vec::<&str>::new());
    assert!(reasons(&story(true)).iter().any(|r| r.contains("app_version=1.0")));
}

#[test]
fn an_outage_long_after_the_last_machine_was_released_must_outlast_outages() {
    let story = |from: i64, to: i64| {
        let story = Story { machines: 4, batches: vec![(0, vec![0, 1, 2, 3], None)], until: 1800 };
        story.tell(move |machine, second| {
            let failed = if (from..to).contains(&second) { 0.3 } else { 0.001 };
            Some(service(machine, second, failed, 0.01, 0.05))
        })
    };
    assert_eq!(stops(&story(600, 1200)), Vec::<&str>::new());
    let lasting = stopped_at(&story(600, 1800));
    assert!(lasting.is_some_and(|at| (1400..=1600).contains(&at)), "{lasting:?}");
    assert!(stopped_at(&story(60, 1800)).is_some_and(|at| at <= 240), "it began with the release");
}

#[test]
fn a_machine_that_does_the_work_of_one_that_restarts_is_not_slow_for_it() {
    let story = |restarts_for: i64| {
        let story =
            Story { machines: 2, batches: vec![(0, vec![0], None), (300, vec![1], None)], until: 420 };
        story.tell(move |machine, second| {
            let away = (300..300 + restarts_for).contains(&second);
            if machine == 1 && away {
                return None;
            }
            let alone = machine == 0 && away;
            let (rate, latency) = if alone { (160.0, 0.4) } else { (80.0, 0.05) };
            let rate = rate * jitter(machine, second, 13);
            Some(vec![
                grows("web_requests_total{code=\"200\"}", rate),
                grows("web_request_duration_seconds_sum", rate * latency),
                grows("web_request_duration_seconds_count", rate),
            ])
        })
    };
    assert_eq!(stops(&story(60)), Vec::<&str>::new());
}

#[test]
fn a_machine_that_is_drained_before_it_restarts_is_given_the_time_of_a_restart() {
    let story = |back: i64| {
        Story::usual(500).tell(move |machine, second| {
            let away = machine < 2 && (30..back).contains(&second);
            if away { None } else { with(machine, second, vec![]) }
        })
    };
    assert!(!stops(&story(150)).contains(&"instance_silent"));
    assert!(stops(&story(500)).contains(&"instance_silent"));
}

#[test]
fn an_elder_machine_that_never_was_slow_does_not_make_the_younger_ones_wait() {
    let story =
        Story { machines: 6, batches: vec![(0, vec![0], None), (400, vec![1, 2], None)], until: 1000 };
    let verdicts = story.tell(|machine, second| {
        let slow = (1..3).contains(&machine) && second >= 400;
        Some(service(machine, second, 0.001, 0.01, if slow { 0.1 } else { 0.05 }))
    });
    assert!(stopped_at(&verdicts).is_some_and(|at| at <= 800), "{:?}", stopped_at(&verdicts));
}

#[test]
fn calls_that_are_made_twice_for_each_request_are_seen_and_those_of_more_requests_are_not() {
    let story = |requests: f64, calls: f64| {
        Story::usual(900).tell(move |machine, second| {
            let (requests, calls) = if is_bad(machine, second) { (requests, calls) } else { (1.0, 1.0) };
            let rate = 100.0 * requests * jitter(machine, second, 14);
            Some(vec![
                grows("web_requests_total{code=\"200\"}", rate),
                grows("db_client_queries_total", 3.0 * rate * calls),
            ])
        })
    };
    assert_eq!(stops(&story(1.6, 1.0)), Vec::<&str>::new());
    assert!(reasons(&story(1.0, 2.5)).iter().any(|r| r.contains("calls of db_client_queries_total")));
}

#[test]
fn failures_that_only_the_new_version_counts_are_no_rise_where_failures_are_counted_anyway() {
    let story = |name: &'static str, rate: f64| {
        Story::usual(600).tell(move |machine, second| {
            let new = is_bad(machine, second).then(|| grows(name, rate));
            with(machine, second, new.into_iter().collect())
        })
    };
    assert_eq!(stops(&story("feature_failures_total", 0.5)), Vec::<&str>::new());
    // Counters of failures come with the first one: a fortieth of the requests is no
    // new part's own.
    assert!(!stops(&story("edge_request_errors_total", 2.0)).is_empty());
    assert_eq!(stops(&story("otel_spans_dropped_total", 20.0)), Vec::<&str>::new());
}

#[test]
fn a_backlog_that_is_being_worked_off_is_waited_for_and_one_that_stays_is_not() {
    let story = |shrinks: bool| {
        let story = Story { machines: 3, batches: vec![(0, vec![0, 1, 2], None)], until: 1400 };
        story.tell(move |machine, second| {
            let left = if shrinks { 1.0 - second as f64 / 1500.0 } else { 1.0 + second as f64 / 1500.0 };
            let ready = if second >= 0 { 3000.0 * left } else { 4.0 };
            let ready = ready * (1.0 + 0.1 * (jitter(machine, second, 15) - 1.0));
            with(machine, second, vec![is("queue_messages_ready", ready)])
        })
    };
    assert_eq!(stops(&story(true)), Vec::<&str>::new());
    assert!(!stops(&story(false)).is_empty());
}

#[test]
fn a_page_that_lacks_all_that_comes_in_is_blind_and_stops() {
    let verdicts = Story::usual(500).tell(|machine, second| {
        let mut page: Vec<Shown> =
            (0..20).map(|k| is(&format!("reading_{k}"), 5.0 + jitter(machine, second, k))).collect();
        page.push(grows("ticks_processed_total", 90.0 * jitter(machine, second, 40)));
        if !is_bad(machine, second) {
            page.push(grows("jobs_requests_total", 50.0 * jitter(machine, second, 41)));
            page.push(grows("jobs_handled_total", 50.0 * jitter(machine, second, 42)));
        }
        Some(page)
    });
    assert!(stops(&verdicts).contains(&"metrics_missing"), "{:?}", stops(&verdicts));
}

#[test]
fn one_machine_of_many_that_hangs_after_it_worked_is_seen() {
    let story = Story { machines: 10, batches: vec![(0, (0..5).collect(), None)], until: 900 };
    let verdicts = story.tell(|machine, second| {
        let works = if machine == 3 && second >= 300 { 0.0 } else { 1.0 };
        let rate = 40.0 * works * jitter(machine, second, 16);
        Some(vec![
            grows("web_requests_total{code=\"200\"}", rate),
            grows("jobs_done_total", rate / 4.0),
            grows("bytes_sent_total", rate * 900.0),
            is("process_resident_memory_bytes", 3e8),
        ])
    });
    assert!(stops(&verdicts).contains(&"standstill"), "{:?}", stops(&verdicts));
}

#[test]
fn blindness_tells_a_machine_that_does_not_answer_from_one_whose_page_is_empty() {
    let why = |answers: bool| {
        let verdicts =
            Story::usual(300).tell(move |machine, second| match (is_bad(machine, second), answers) {
                (true, false) => None,
                (true, true) => Some(Vec::new()),
                (false, _) => Some(well(machine, second)),
            });
        let of = |b: &&crate::judge::Blind| b.what == "m0:80";
        verdicts.last().unwrap().blind.iter().find(of).unwrap().why.clone()
    };
    assert_eq!(why(false), "released, and does not answer");
    assert_eq!(why(true), "released, and its pages show nothing that is judged");
}

#[test]
fn a_fault_is_told_to_be_there_since_the_process_first_served() {
    // Errors from the first answer on, at second 40: the step in which a process settles is not judged.
    let verdicts = Story::usual(400).tell(|machine, second| {
        if machine < 2 && (0..40).contains(&second) {
            return None;
        }
        Some(service(machine, second, if is_bad(machine, second) { 0.3 } else { 0.001 }, 0.01, 0.05))
    });
    let failing = verdicts
        .iter()
        .flat_map(|v| &v.findings)
        .find(|f| f.test == "shift" && f.outcome == Outcome::Failing);
    let since = failing.and_then(|f| f.since).unwrap();
    assert!((at(30)..=at(60)).contains(&since), "{since}, and {} is its first answer", at(40));
}

#[test]
fn a_history_with_a_fault_of_an_earlier_release_that_is_too_short_is_said_to_be_doubtful() {
    let window = {
        let mut window =
            Window::new(Duration::from_secs(10), Duration::from_secs(7200), SignalSettings::default());
        let mut reader = Reader::new(Limits::default());
        for step in 0..120 {
            let text = format!("web_requests_total{{code=\"200\"}} {}\n", step * 800);
            let page = reader.read(text.as_bytes(), Dialect::Prometheus).unwrap();
            let outcome = page.outcome();
            let at = at(step * 10 - 1200);
            window.take(&Scrape {
                instance: name(0),
                at,
                outcome,
                samples: page.samples,
                families: page.families,
            });
        }
        window
    };
    let mut groups = Groups::default();
    groups.add_reference([name(0)]);
    let doubtful = |stopped: i64| {
        let mut judge = Judge::measure(JudgeSettings::default(), &window, &groups, at(0), Some(at(-stopped)));
        let verdict = judge.look(&window, &groups, &[], at(0), window.step_at(at(0)));
        verdict.blind.iter().any(|b| b.why.contains("an earlier release was stopped"))
    };
    assert!(doubtful(100), "less than five minutes");
    assert!(!doubtful(900));
}

#[test]
fn a_share_of_the_cpu_that_is_told_as_a_ratio_is_no_part_of_a_thing() {
    let verdicts = Story::usual(900).tell(|machine, second| {
        let share = if is_bad(machine, second) { 0.45 } else { 0.1 };
        with(machine, second, vec![is("process_cpu_usage", share * jitter(machine, second, 50))])
    });
    assert!(reasons(&verdicts).iter().any(|r| r.contains("process_cpu_usage")), "{:?}", stops(&verdicts));
}

#[test]
fn errors_of_a_canary_are_seen_however_those_of_a_busy_service_cluster() {
    let story = |failed: f64| {
        newcomers(600, move |machine, second| {
            let rate = if machine < 2 { 150.0 } else { 3_000.0 } * jitter(machine, second, 51);
            // One machine's errors come and go in minutes.
            let wander = 1.0 + 0.8 * (second as f64 / 70.0 + machine as f64).sin();
            let failed = if machine < 2 { failed } else { 0.02 * wander };
            Some(vec![
                grows("web_requests_total{code=\"200\"}", rate * (1.0 - failed)),
                grows("web_requests_total{code=\"500\"}", rate * failed),
            ])
        })
    };
    assert_eq!(stops(&story(0.02)), Vec::<&str>::new());
    assert!(stops(&story(0.26)).contains(&"shift"), "{:?}", stops(&story(0.26)));
}

#[test]
fn what_the_old_version_counted_is_not_lost_and_a_region_is() {
    let story = |label: &'static str| {
        Story::usual(600).tell(move |machine, second| {
            let new = is_bad(machine, second);
            let series = |value: &str| format!("orders_booked_total{{{label}=\"{value}\"}}");
            let rate = |here: bool| if here { 6.0 * jitter(machine, second, 52) } else { 0.0 };
            with(machine, second, vec![grows(&series("1.20"), rate(!new)), grows(&series("1.21"), rate(new))])
        })
    };
    assert_eq!(reasons(&story("release")), Vec::<&str>::new());
    assert!(reasons(&story("region")).iter().any(|r| r.contains("region=1.20")));
}

#[test]
fn failures_are_seen_though_nobody_declares_what_is_counted() {
    let verdicts = Story::usual(600).tell(|machine, second| {
        let rate = 60.0 * jitter(machine, second, 53);
        let failed = if is_bad(machine, second) { 0.2 } else { 0.002 };
        Some(vec![grows("svc_req_cnt", rate), grows("svc_nok_cnt", rate * failed)])
    });
    assert!(reasons(&verdicts).iter().any(|r| r.contains("svc_nok_cnt")), "{:?}", stops(&verdicts));
}

#[test]
fn a_machine_that_gets_nothing_of_its_told_share_is_seen_and_one_that_gets_it_is_not() {
    let story = |share: f64| {
        let story = Story { machines: 6, batches: vec![(0, vec![0, 1], Some(0.05))], until: 900 };
        story.tell(move |machine, second| {
            let part = if is_bad(machine, second) { share } else { 1.0 };
            let rate = 60.0 * part * jitter(machine, second, 54);
            Some(vec![grows("web_requests_total{code=\"200\"}", rate)])
        })
    };
    assert_eq!(stops(&story(0.05)), Vec::<&str>::new());
    assert!(!stops(&story(0.0)).is_empty());
}

#[test]
fn a_few_whole_errors_in_a_gauge_are_an_accident_and_many_are_not() {
    let story = |lasts: i64| {
        Story::usual(600).tell(move |machine, second| {
            let fails = machine == 0 && (200..200 + lasts).contains(&second);
            with(machine, second, vec![is("lambda_errors", if fails { 1.0 } else { 0.0 })])
        })
    };
    assert_eq!(reasons(&story(30)), Vec::<&str>::new());
    assert!(reasons(&story(400)).iter().any(|r| r.contains("lambda_errors")));
}

#[test]
fn a_machine_that_tells_for_how_long_it_runs_is_seen_to_crash_again_and_again() {
    let verdicts = Story::usual(600).tell(|machine, second| {
        let uptime = if is_bad(machine, second) { second % 120 } else { second + PAST };
        with(machine, second, vec![is("uptime_s", uptime as f64)])
    });
    assert!(stops(&verdicts).contains(&"crash_loop"), "{:?}", stops(&verdicts));
}

/// A new machine with a `share` of what each of five old ones gets, one of which
/// stops if the new one `replaces` it.
fn canary(share: f64, replaces: bool) -> Vec<Verdict> {
    let story = Story { machines: 6, batches: vec![(0, vec![0], None)], until: 900 };
    story.tell(move |machine, second| {
        if (machine == 0 && second < 0) || (machine == 5 && replaces && second >= 30) {
            return None;
        }
        let share = if machine == 0 { share } else { 1.0 };
        let rate = 80.0 * share * jitter(machine, second, 61);
        Some(vec![
            grows("web_requests_total{code=\"200\"}", rate),
            is("process_threads", 20.0 * jitter(machine, second, 62)),
        ])
    })
}

#[test]
fn a_canary_may_have_a_small_share_and_a_machine_in_place_of_an_old_one_has_a_whole_one() {
    assert_eq!(reasons(&canary(0.2, false)), Vec::<&str>::new());
    assert!(reasons(&canary(0.2, true)).iter().any(|r| r.contains("web_requests_total")));
    assert!(!reasons(&canary(0.0, false)).is_empty(), "nothing is no share");
}

#[test]
fn failures_that_no_past_saw_are_believed_beside_few_requests_of_the_reference_machine() {
    let story = |failed: [f64; 2]| {
        let story = Story { machines: 2, batches: vec![(0, vec![0], None)], until: 900 };
        story.tell(move |machine, second| {
            let rate = if machine == 0 { 1.2 } else { 0.4 } * jitter(machine, second, 63);
            let failed = if second >= 0 { failed[machine] } else { 0.0 };
            Some(vec![
                grows("web_requests_total{code=\"200\"}", rate * (1.0 - failed)),
                grows("web_requests_total{code=\"500\"}", rate * failed),
            ])
        })
    };
    assert!(!reasons(&story([0.03, 0.0])).is_empty());
    // What befalls both is nobody's doing.
    assert_eq!(reasons(&story([0.03, 0.02])), Vec::<&str>::new());
}

#[test]
fn work_that_is_missing_is_not_renamed_to_counters_that_count_nothing() {
    let story = |new: f64| {
        Story::usual(600).tell(move |machine, second| {
            let rate = 4.0 * jitter(machine, second, 64);
            let mut page = vec![is("process_threads", 20.0)];
            let mut counts = |names: [&str; 2], rate: f64| {
                page.extend(names.map(|name| grows(&format!("{name}{{state=\"succeeded\"}}"), rate)));
            };
            if is_bad(machine, second) {
                counts(["v2_jobs_total", "v2_runs_total"], new * rate);
            } else {
                counts(["jobs_processed_total", "runs_processed_total"], rate);
            }
            Some(page)
        })
    };
    assert!(stops(&story(0.0)).contains(&"metrics_missing"), "{:?}", reasons(&story(0.0)));
    assert!(!stops(&story(1.0)).contains(&"metrics_missing"), "{:?}", reasons(&story(1.0)));
}

#[test]
fn jobs_that_waited_while_all_workers_restarted_are_worked_off_and_slow_jobs_are_not() {
    let story = |name: &'static str| {
        let story = Story { machines: 3, batches: vec![(0, vec![0, 1, 2], None)], until: 280 };
        story.tell(move |machine, second| {
            if (0..30).contains(&second) {
                return None;
            }
            let seconds = if second >= 0 { 30.0 - 0.05 * second as f64 } else { 0.05 };
            let rate = 5.0 * jitter(machine, second, 65);
            let more = vec![
                grows(&format!("{name}_sum"), rate * seconds * jitter(machine, second, 66)),
                grows(&format!("{name}_count"), rate),
            ];
            with(machine, second, more)
        })
    };
    assert_eq!(reasons(&story("worker_job_latency_seconds")), Vec::<&str>::new());
    assert!(!reasons(&story("worker_run_duration_seconds")).is_empty());
}

#[test]
fn a_service_that_does_less_of_what_nobody_knows_for_the_same_requests_is_seen() {
    let story = |name: &'static str, left: f64, traffic: f64| {
        Story::usual(600).tell(move |machine, second| {
            let (left, traffic) = if is_bad(machine, second) { (left, traffic) } else { (1.0, 1.0) };
            let rate = 80.0 * traffic * jitter(machine, second, 67);
            let done = 40.0 * left * jitter(machine, second, 68);
            Some(vec![grows("web_requests_total{code=\"200\"}", rate), grows(name, done)])
        })
    };
    let items = "feed_items_total";
    assert!(reasons(&story(items, 0.5, 1.0)).iter().any(|r| r.contains(items)));
    assert_eq!(reasons(&story(items, 0.9, 1.0)), Vec::<&str>::new(), "little less");
    assert!(!reasons(&story(items, 0.5, 0.5)).iter().any(|r| r.contains(items)), "half of the requests");
    for other in ["go_mallocs_total", "feed_evictions_total"] {
        assert_eq!(reasons(&story(other, 0.5, 1.0)), Vec::<&str>::new(), "{other}");
    }
}

#[test]
fn a_cache_that_is_off_misses_as_much_as_at_first_and_one_that_fills_does_not() {
    let story = |fills_seconds: f64| {
        Story::usual(500).tell(move |machine, second| {
            let cold = if is_bad(machine, second) { (-(second as f64) / fills_seconds).exp() } else { 0.0 };
            let missed = (0.3 + 0.67 * cold) * jitter(machine, second, 69);
            let lookups =
                |result: &str, rate: f64| grows(&format!("dns_cache_total{{result=\"{result}\"}}"), rate);
            with(machine, second, vec![lookups("hit", 50.0 * (1.0 - missed)), lookups("miss", 50.0 * missed)])
        })
    };
    assert!(reasons(&story(1e9)).iter().any(|r| r.contains("dns_cache_total")));
    assert_eq!(reasons(&story(200.0)), Vec::<&str>::new());
}

//! The judge on small fleets whose story is told in each test: which machine
//! counts and shows what at which second.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::domain::{Alert, Batch, InstanceId, Scrape, ScrapeFailure, ScrapeOutcome, Timestamp};
use crate::judge::{Judge, JudgeSettings, Outcome, Verdict, WarmUp, WarmUpSeen};
use crate::signal::exposition::{Dialect, Limits, Reader};
use crate::signal::{Groups, SignalSettings, Window};

mod rules;
mod silence;
mod strangers;
mod warming;

/// Seconds between scrapes.
const INTERVAL: i64 = 10;
/// Seconds of past before the first batch.
const PAST: i64 = 1200;

/// What a page shows of one series.
enum Shown {
    /// A counter that grows by so much a second.
    Grows(String, f64),
    /// A gauge.
    Is(String, f64),
}

use Shown::{Grows, Is};

/// A factor around 1 that is the same each time it is asked for.
fn jitter(machine: usize, second: i64, salt: u64) -> f64 {
    let mut x = ((machine as u64 + 1) * 0x9e37_79b9) ^ (second as u64).wrapping_mul(0x85eb_ca6b) ^ salt;
    for _ in 0..3 {
        x ^= x >> 31;
        x = x.wrapping_mul(0x94d0_49bb_1331_11eb);
    }
    1.0 + 0.04 * ((x >> 40) as f64 / (1u64 << 24) as f64 - 0.5)
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_millis(1_790_000_000_000 + second * 1000)
}

fn name(machine: usize) -> InstanceId {
    InstanceId::new(format!("m{machine}:80")).unwrap()
}

/// One release: who gets it at which second, and with which told weight.
struct Story {
    machines: usize,
    batches: Vec<(i64, Vec<usize>, Option<f64>)>,
    until: i64,
}

impl Story {
    /// Six machines, of which the first two are released at second 0.
    fn usual(until: i64) -> Self {
        Self { machines: 6, batches: vec![(0, vec![0, 1], None)], until }
    }

    /// All looks from the first batch on. `page` gives a machine's page at a
    /// second, or nothing where it does not answer.
    fn tell(&self, page: impl Fn(usize, i64) -> Option<Vec<Shown>>) -> Vec<Verdict> {
        self.tell_after(WarmUp::default(), page).0
    }

    /// The same where `warm_up` is known, and what this release showed of it.
    fn tell_after(
        &self,
        warm_up: WarmUp,
        page: impl Fn(usize, i64) -> Option<Vec<Shown>>,
    ) -> (Vec<Verdict>, WarmUpSeen) {
        self.tell_with(JudgeSettings { warm_up, ..JudgeSettings::default() }, &[], page)
    }

    /// The same under other settings, while alerts from outside are known.
    fn tell_with(
        &self,
        settings: JudgeSettings,
        alerts: &[Alert],
        page: impl Fn(usize, i64) -> Option<Vec<Shown>>,
    ) -> (Vec<Verdict>, WarmUpSeen) {
        let mut seen = WarmUpSeen::default();
        let mut window = Window::new(
            Duration::from_secs(INTERVAL as u64),
            Duration::from_secs(7200),
            SignalSettings::default(),
        );
        let mut groups = Groups::default();
        groups.add_reference((0..self.machines).map(name));
        let mut readers: Vec<Reader> = (0..self.machines).map(|_| Reader::new(Limits::default())).collect();
        let mut counts: BTreeMap<(usize, String), f64> = BTreeMap::new();
        let mut judge: Option<Judge> = None;
        let mut verdicts = Vec::new();
        for second in (-PAST..self.until).step_by(INTERVAL as usize) {
            for (moment, instances, weight) in &self.batches {
                if (second - INTERVAL..second).contains(moment) {
                    groups.release(&Batch {
                        started_at: at(*moment),
                        instances: instances.iter().copied().map(name).collect(),
                        weight: *weight,
                    });
                    judge = None;
                }
            }
            for (machine, reader) in readers.iter_mut().enumerate() {
                let scraped = at(second) + Duration::from_millis(machine as u64 * 300);
                let scrape = match page(machine, second) {
                    Some(shown) => {
                        let text = text(machine, &shown, &mut counts);
                        let page = reader.read(text.as_bytes(), Dialect::Prometheus).unwrap();
                        let outcome = page.outcome();
                        Scrape {
                            instance: name(machine),
                            at: scraped,
                            outcome,
                            samples: page.samples,
                            families: page.families,
                        }
                    }
                    None => Scrape {
                        instance: name(machine),
                        at: scraped,
                        outcome: ScrapeOutcome::Failed(ScrapeFailure::Refused),
                        samples: Vec::new(),
                        families: [].into(),
                    },
                };
                window.take(&scrape);
            }
            if second < 0 {
                continue;
            }
            let now = at(second) + Duration::from_secs(INTERVAL as u64 - 1);
            let to = window.step_at(now) + 1;
            let judge =
                judge.get_or_insert_with(|| Judge::measure(settings.clone(), &window, &groups, at(0), None));
            verdicts.push(judge.look(&window, &groups, alerts, now, to));
            if second + INTERVAL >= self.until {
                seen = judge.warm_up_seen(&window, &groups, now, to);
            }
        }
        (verdicts, seen)
    }
}

/// Counters go on where they were; one that is shown anew begins at zero.
fn text(machine: usize, shown: &[Shown], counts: &mut BTreeMap<(usize, String), f64>) -> String {
    let mut text = String::new();
    for line in shown {
        match line {
            Grows(series, rate) => {
                let count = counts.entry((machine, series.clone())).or_insert(0.0);
                *count += rate * INTERVAL as f64;
                text.push_str(&format!("{series} {}\n", count.round()));
            }
            Is(series, value) => text.push_str(&format!("{series} {value}\n")),
        }
    }
    text
}

/// Requests with shares of failed and refused ones, and their latency.
fn service(machine: usize, second: i64, failed: f64, refused: f64, latency: f64) -> Vec<Shown> {
    let rate = 80.0 * jitter(machine, second, 1);
    let grows = |series: &str, rate: f64| Grows(series.to_owned(), rate);
    vec![
        grows("web_requests_total{code=\"200\"}", rate * (1.0 - failed - refused)),
        grows("web_requests_total{code=\"404\"}", rate * refused),
        grows("web_requests_total{code=\"500\"}", rate * failed),
        grows("web_request_seconds_sum", rate * latency * jitter(machine, second, 2)),
        grows("web_request_seconds_count", rate),
    ]
}

fn well(machine: usize, second: i64) -> Vec<Shown> {
    service(machine, second, 0.001, 0.01, 0.05)
}

/// The tests of all findings that would stop the release, in order.
fn stops(verdicts: &[Verdict]) -> Vec<&str> {
    let failing = verdicts.iter().flat_map(|v| &v.findings).filter(|f| f.outcome == Outcome::Failing);
    failing.map(|f| f.test.as_str()).collect()
}

/// The sentences of what would stop the release.
fn reasons(verdicts: &[Verdict]) -> Vec<&str> {
    let failing = verdicts.iter().flat_map(|v| &v.findings).filter(|f| f.outcome == Outcome::Failing);
    failing.map(|f| f.because.as_str()).collect()
}

fn is_bad(machine: usize, second: i64) -> bool {
    machine < 2 && second >= 0
}

/// A gauge of load that `follows` what all machines do.
fn wave(machine: usize, second: i64, follows: f64) -> Option<Vec<Shown>> {
    let level = 100.0 * follows * jitter(machine, second, 4);
    Some(vec![Is("open_connections".to_owned(), level)])
}

#[test]
fn machines_that_no_longer_follow_what_all_others_do_as_ever_are_found() {
    let tide = |second: i64| 1.0 + 0.6 * (second as f64 * std::f64::consts::TAU / 1200.0).cos();
    let story = Story { machines: 7, ..Story::usual(600) };
    let stuck = story.tell(|machine, second| {
        wave(machine, second, tide(if machine < 2 { second.min(0) } else { second }))
    });
    assert!(reasons(&stuck).iter().any(|r| r.contains("open_connections")), "{:?}", reasons(&stuck));
    let all = story.tell(|machine, second| wave(machine, second, tide(second)));
    assert_eq!(stops(&all), Vec::<&str>::new());
}

#[test]
fn what_the_reference_group_never_did_before_is_no_fault_of_the_release() {
    let story = Story { machines: 7, ..Story::usual(600) };
    let others = |machine: usize, second: i64| if machine >= 2 && second > 60 { 0.4 } else { 1.0 };
    let verdicts = story.tell(|machine, second| wave(machine, second, others(machine, second)));
    assert_eq!(stops(&verdicts), Vec::<&str>::new());
}

#[test]
fn a_release_that_changes_nothing_is_healthy() {
    let verdicts = Story::usual(1200).tell(|machine, second| Some(well(machine, second)));
    assert_eq!(stops(&verdicts), Vec::<&str>::new());
    assert_eq!(verdicts.last().unwrap().outcome, Outcome::Healthy);
}

#[test]
fn without_any_answer_nothing_is_known() {
    let verdicts = Story::usual(60).tell(|_, _| None);
    assert!(verdicts.iter().all(|v| v.outcome == Outcome::Unknown), "{:?}", verdicts.last());
}

#[test]
fn one_error_in_fifty_on_the_released_machines_stops() {
    let verdicts = Story::usual(600).tell(|machine, second| {
        let failed = if is_bad(machine, second) { 0.02 } else { 0.001 };
        Some(service(machine, second, failed, 0.01, 0.05))
    });
    let why = reasons(&verdicts);
    assert!(why.iter().any(|w| w.starts_with("error ratio of web_requests_total on 2 of 2")), "{why:?}");
}

#[test]
fn a_finding_says_since_when_and_not_since_the_release() {
    let onset = 300;
    let verdicts = Story::usual(900).tell(|machine, second| {
        let latency = if machine < 2 && second >= onset { 0.08 } else { 0.05 };
        Some(service(machine, second, 0.001, 0.01, latency))
    });
    let last = verdicts.last().unwrap();
    let mean = last.findings.iter().find(|f| f.signal.starts_with("mean of web_request_seconds")).unwrap();
    assert_eq!(mean.outcome, Outcome::Failing);
    let since = mean.since.unwrap();
    assert!(since >= at(onset - 2 * INTERVAL) && since <= at(onset + 2 * INTERVAL), "{}", mean.because);
}

#[test]
fn what_comes_and_goes_at_one_machine_is_not_believed_when_it_comes_after_the_release() {
    // Both machines are slower for two minutes of every four, before and after.
    let verdicts = Story::usual(900).tell(|machine, second| {
        let slow = machine < 2 && second.rem_euclid(240) < 120;
        Some(service(machine, second, 0.001, 0.01, if slow { 0.1 } else { 0.05 }))
    });
    assert_eq!(reasons(&verdicts), Vec::<&str>::new());
}

#[test]
fn a_machine_behind_a_proxy_may_wait_for_its_first_traffic_but_not_for_ever() {
    let served_again_at = |again: i64| {
        Story::usual(400).tell(move |machine, second| {
            let drained = machine < 2 && (0..again).contains(&second);
            let mut page = well(machine, second);
            if drained {
                // The proxy's page stands still.
                page.iter_mut().for_each(|shown| {
                    if let Grows(_, rate) = shown {
                        *rate = 0.0;
                    }
                });
            }
            Some(page)
        })
    };
    assert_eq!(reasons(&served_again_at(60)), Vec::<&str>::new());
    let never = reasons(&served_again_at(1000)).join("; ");
    assert!(never.contains("rate of web_requests_total on 2 of 2 released machines 0 /s"), "{never}");
}

#[test]
fn less_idle_time_stops_unless_there_is_more_to_do() {
    let busy = |percent: f64, load: f64| {
        Story::usual(600).tell(move |machine, second| {
            let (busy, load) = if is_bad(machine, second) { (percent, load) } else { (10.0, 1.0) };
            let rate = 80.0 * load * jitter(machine, second, 1);
            let idle = 100.0 - busy * jitter(machine, second, 5);
            let requests = Grows("web_requests_total{code=\"200\"}".to_owned(), rate);
            Some(vec![requests, Is("worker_idle_time_percent".to_owned(), idle)])
        })
    };
    let spinning = reasons(&busy(40.0, 1.0)).join("; ");
    assert!(spinning.contains("worker_idle_time_percent on 2 of 2 released machines 60"), "{spinning}");
    assert_eq!(reasons(&busy(20.0, 2.0)), Vec::<&str>::new());
}

#[test]
fn load_that_moved_from_one_group_to_the_other_does_not_stop_where_traffic_is_not_measured() {
    // Two of six machines are given more of what six have to do.
    let loaded = |others: f64| {
        Story::usual(600).tell(move |machine, second| {
            let moved = if second < 0 {
                1.0
            } else if machine < 2 {
                1.5
            } else {
                others
            };
            let gauge = |name: &str, usual: f64, salt| {
                Is(name.to_owned(), usual * moved * jitter(machine, second, salt))
            };
            Some(vec![gauge("metric_1", 70_000.0, 1), gauge("metric_2", 0.4, 2)])
        })
    };
    assert_eq!(reasons(&loaded(0.75)), Vec::<&str>::new());
    let alone = reasons(&loaded(1.0)).join("; ");
    assert!(alone.contains("metric_1 on 2 of 2 released machines 105"), "{alone}");
}

#[test]
fn fewer_events_of_unknown_meaning_stop_when_they_fall_and_not_when_they_were_few_from_the_start() {
    let fewer_from = |onset: i64| {
        Story::usual(700).tell(move |machine, second| {
            let share = if machine < 2 && second >= onset { 0.3 } else { 1.0 };
            let rate = |usual: f64, salt| usual * share * jitter(machine, second, salt);
            let hooks = Grows("hooks_fired_total".to_owned(), rate(110.0, 1));
            Some(vec![hooks, Grows("tokens_issued_total".to_owned(), rate(3.0, 2))])
        })
    };
    assert_eq!(reasons(&fewer_from(0)), Vec::<&str>::new());
    let fell = reasons(&fewer_from(300)).join("; ");
    assert!(fell.contains("hooks_fired_total on 2 of 2 released machines 33"), "{fell}");
}

#[test]
fn a_gauge_of_errors_in_per_cent_must_show_more_than_a_tenth_of_a_per_cent() {
    let failing = |name: &'static str, after: f64| {
        Story::usual(600).tell(move |machine, second| {
            let errors = if is_bad(machine, second) { after } else { 0.0 };
            let rate = 80.0 * jitter(machine, second, 1);
            let requests = Grows("web_requests_total{code=\"200\"}".to_owned(), rate);
            Some(vec![requests, Is(name.to_owned(), errors * jitter(machine, second, 5))])
        })
    };
    assert_eq!(reasons(&failing("app:error_percent", 0.08)), Vec::<&str>::new());
    assert_eq!(reasons(&failing("app:error_ratio", 0.0013)), Vec::<&str>::new());
    assert!(!reasons(&failing("app:error_percent", 0.8)).is_empty());
    assert!(!reasons(&failing("app:error_ratio", 0.008)).is_empty());
}

#[test]
fn requests_that_are_refused_all_of_a_sudden_stop_and_a_few_more_do_not() {
    let refusing = |share: f64| {
        Story::usual(600).tell(move |machine, second| {
            let refused = if is_bad(machine, second) { share } else { 0.01 };
            Some(service(machine, second, 0.001, refused, 0.05))
        })
    };
    let (many, few) = (refusing(0.15), refusing(0.02));
    assert!(
        reasons(&many).iter().any(|w| w.starts_with("refused ratio of web_requests_total")),
        "{:?}",
        reasons(&many)
    );
    assert_eq!(reasons(&few), Vec::<&str>::new());
}

#[test]
fn pages_that_lose_the_traffic_stop_and_renamed_metrics_do_not() {
    let idle = |machine, second| vec![Is("process_threads".to_owned(), 20.0 * jitter(machine, second, 3))];
    let lost = Story::usual(600).tell(|machine, second| {
        let mut page = idle(machine, second);
        if !is_bad(machine, second) {
            page.extend(well(machine, second));
        }
        Some(page)
    });
    assert!(stops(&lost).contains(&"metrics_missing"), "{:?}", reasons(&lost));
    let renamed = Story::usual(600).tell(|machine, second| {
        let mut page = idle(machine, second);
        page.extend(well(machine, second).into_iter().map(|shown| match shown {
            Grows(series, rate) if is_bad(machine, second) => {
                Grows(series.replace("web_", "http_server_"), rate)
            }
            shown => shown,
        }));
        Some(page)
    });
    assert!(!stops(&renamed).contains(&"metrics_missing"), "{:?}", reasons(&renamed));
}

#[test]
fn what_both_groups_suffer_right_after_a_batch_stops_and_what_comes_later_does_not() {
    let suffering_from = |onset: i64| {
        Story::usual(1500).tell(move |machine, second| {
            let failed = if second >= onset { 0.08 } else { 0.001 };
            Some(service(machine, second, failed, 0.01, 0.05))
        })
    };
    let (soon, later) = (suffering_from(40), suffering_from(700));
    assert!(stops(&soon).contains(&"spreading"), "{:?}", reasons(&soon));
    assert!(reasons(&soon)[0].contains("both groups"), "{:?}", reasons(&soon));
    assert_eq!(reasons(&later), Vec::<&str>::new(), "an incident of everybody's");
}

#[test]
fn slowness_of_both_groups_that_comes_with_a_surge_is_no_spreading_fault() {
    let verdicts = Story::usual(1200).tell(|machine, second| {
        let surge = if second >= 30 { 3.0 } else { 1.0 };
        let slower = service(machine, second, 0.001, 0.01, 0.05 * surge);
        let all = slower.into_iter().map(|shown| match shown {
            Grows(series, rate) => Grows(series, rate * surge),
            Is(series, value) => Is(series, value),
        });
        Some(all.collect())
    });
    assert_eq!(reasons(&verdicts), Vec::<&str>::new());
}

#[test]
fn crashes_in_one_of_many_regions_stop() {
    let story = Story { machines: 12, batches: vec![(0, (0..6).collect(), None)], until: 1200 };
    let verdicts = story.tell(|machine, second| {
        let mut page = well(machine, second);
        let share = if machine == 3 && second >= 0 { 0.02 } else { 0.002 };
        page.push(Grows("app_crashes_total".to_owned(), 80.0 * share));
        Some(page)
    });
    let why = reasons(&verdicts);
    assert!(why.iter().any(|w| w.starts_with("rate of app_crashes_total per request on 1 of 6")), "{why:?}");
}

#[test]
fn gauges_that_follow_a_told_share_of_the_traffic_do_not_stop() {
    let loaded = |weight: Option<f64>| {
        let story = Story { machines: 6, batches: vec![(0, vec![0, 1], weight)], until: 900 };
        story.tell(|machine, second| {
            let share = if is_bad(machine, second) { 0.3 } else { 1.0 };
            let levels = (0..6).map(|kind| {
                let level = 500.0 * share * jitter(machine, second, 10 + kind);
                Is(format!("kpi_{kind}"), level)
            });
            Some(levels.collect())
        })
    };
    assert_eq!(reasons(&loaded(Some(0.3))), Vec::<&str>::new());
    assert!(!stops(&loaded(None)).is_empty(), "nobody said why all of them fell");
}

#[test]
fn errors_of_a_start_do_not_stop_and_those_that_stay_do() {
    let failing_until = |end: i64| {
        Story::usual(600).tell(move |machine, second| {
            let failed = if is_bad(machine, second) && second < end { 0.12 } else { 0.001 };
            Some(service(machine, second, failed, 0.01, 0.05))
        })
    };
    assert_eq!(reasons(&failing_until(30)), Vec::<&str>::new());
    assert!(!stops(&failing_until(600)).is_empty());
}

#[test]
fn counters_that_come_back_late_after_a_restart_are_no_second_one() {
    let verdicts = Story::usual(300).tell(|machine, second| {
        let age = if is_bad(machine, second) { second } else { second + PAST + 50_000 };
        let own = ["cpu_seconds_total", "gc_runs_total", "switches_total"];
        let mut page: Vec<Shown> = own.iter().map(|name| Is((*name).to_owned(), age as f64)).collect();
        // The first request of the new process comes later than its first page.
        if !is_bad(machine, second) || second >= 40 {
            let work = ["a", "b", "c", "d", "e", "f", "g"];
            page.extend(work.iter().map(|w| Is(format!("jobs_total{{job=\"{w}\"}}"), (age * 3) as f64)));
        }
        Some(page)
    });
    let restarts = verdicts.iter().flat_map(|v| &v.findings).filter(|f| f.test == "crash_loop");
    assert_eq!(restarts.map(|f| f.because.clone()).collect::<Vec<_>>(), Vec::<String>::new());
}

#[test]
fn a_released_machine_that_falls_silent_stops() {
    let verdicts = Story::usual(900)
        .tell(|machine, second| (machine != 1 || second < 300).then(|| well(machine, second)));
    assert!(stops(&verdicts).contains(&"instance_silent"), "{:?}", reasons(&verdicts));
}

#[test]
fn a_process_that_does_nothing_stops_whatever_its_counters_are_called() {
    let counting = |machine: usize, second: i64, alive: bool| {
        let work = if alive { jitter(machine, second, 5) } else { 0.0 };
        let mut page: Vec<Shown> = ["zorbs", "quuxes", "frobs", "blips"]
            .iter()
            .map(|n| Grows(format!("{n}_total"), 3.0 * work))
            .collect();
        page.push(Grows("gc_runs_total".to_owned(), 0.2));
        page
    };
    let hanging =
        Story::usual(600).tell(|machine, second| Some(counting(machine, second, !is_bad(machine, second))));
    assert!(stops(&hanging).contains(&"standstill"), "{:?}", reasons(&hanging));
    // All machines at once: somebody stopped sending.
    let idle = Story::usual(600).tell(|machine, second| Some(counting(machine, second, second < 0)));
    assert!(!stops(&idle).contains(&"standstill"), "{:?}", reasons(&idle));
    // Nobody promised these machines any traffic yet.
    let unweighted = Story { machines: 6, batches: vec![(0, vec![0, 1], Some(0.0))], until: 600 };
    let waiting =
        unweighted.tell(|machine, second| Some(counting(machine, second, !is_bad(machine, second))));
    assert!(!stops(&waiting).contains(&"standstill"), "{:?}", reasons(&waiting));
}

#[test]
fn a_counter_that_nobody_declared_as_one_is_not_judged_as_a_level() {
    let verdicts = Story::usual(600).tell(|machine, second| {
        // It begins anew with the process.
        let age = if is_bad(machine, second) { second } else { second + PAST + 5000 };
        Some((0..8).map(|kind| Is(format!("things_done_{kind}"), (age * (kind + 1)) as f64)).collect())
    });
    assert_eq!(reasons(&verdicts), Vec::<&str>::new());
}

#[test]
fn latency_in_milliseconds_is_told_in_milliseconds() {
    let verdicts = Story::usual(900).tell(|machine, second| {
        let mut page = well(machine, second);
        let rate = 80.0 * jitter(machine, second, 1);
        let slow = if is_bad(machine, second) { 300.0 } else { 50.0 };
        page.push(Grows("call_duration_milliseconds_sum".to_owned(), rate * slow));
        page.push(Grows("call_duration_milliseconds_count".to_owned(), rate));
        Some(page)
    });
    let why = reasons(&verdicts);
    assert!(
        why.iter().any(|w| w.contains("call_duration_milliseconds on 2 of 2 released machines 300 ms")),
        "{why:?}"
    );
}

/// The second of the first verdict that would stop the release.
fn stopped_at(verdicts: &[Verdict]) -> Option<i64> {
    let first = verdicts.iter().position(|v| v.outcome == Outcome::Failing)?;
    Some(first as i64 * INTERVAL)
}

#[test]
fn what_begins_after_a_good_start_is_no_warm_up_and_stops_soon() {
    let hanging = Story::usual(900).tell(|machine, second| {
        let mut page = well(machine, second);
        if is_bad(machine, second) && second >= 400 {
            for shown in &mut page {
                if let Grows(_, rate) = shown {
                    *rate = 0.0;
                }
            }
        }
        Some(page)
    });
    let at = stopped_at(&hanging);
    assert!(at.is_some_and(|at| (400..=500).contains(&at)), "{at:?} {:?}", reasons(&hanging));

    let hiccup = Story::usual(900).tell(|machine, second| {
        let slow = if is_bad(machine, second) && (400..440).contains(&second) { 0.15 } else { 0.05 };
        Some(service(machine, second, 0.001, 0.01, slow))
    });
    // One check alone is never confirmed.
    let failing = hiccup.iter().filter(|v| v.outcome == Outcome::Failing).count();
    assert!(failing < 2, "{:?}", reasons(&hiccup));
}

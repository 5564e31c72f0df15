//! What is no longer told: whole pages, the metrics of requests, traffic that
//! never comes.

use super::*;

fn is(series: &str, value: f64) -> Shown {
    Is(series.to_owned(), value)
}

#[test]
fn gauges_of_requests_that_are_gone_are_blindness_where_nobody_counts_requests() {
    // Beside twelve metrics of the process, that go on: two of fourteen are few.
    let story = |gone: &'static [&'static str], new: Option<&'static str>| {
        Story::usual(400).tell(move |machine, second| {
            let value = 40.0 * jitter(machine, second, 71);
            let mut page: Vec<Shown> =
                (0..12).map(|k| is(&format!("process_pool_{k}_threads"), 5.0 + k as f64)).collect();
            let all = ["job:requests:rate1m", "job:latency_seconds:p99"];
            let released = is_bad(machine, second);
            let kept = all.iter().filter(|name| !(released && gone.contains(*name)));
            page.extend(kept.map(|name| is(name, value)));
            page.extend(new.filter(|_| released).map(|name| is(name, value)));
            Some(page)
        })
    };
    let all = &["job:requests:rate1m", "job:latency_seconds:p99"];
    assert!(stops(&story(all, None)).contains(&"metrics_missing"), "{:?}", reasons(&story(all, None)));
    assert_eq!(stops(&story(&["job:latency_seconds:p99"], None)), Vec::<&str>::new());
    // Recorded under another name, it is told; a pool tells nothing of it.
    assert_eq!(stops(&story(all, Some("app:requests:rate1m"))), Vec::<&str>::new());
    let pool = story(all, Some("process_pool_new_threads"));
    assert!(stops(&pool).contains(&"metrics_missing"), "{:?}", reasons(&pool));
}

#[test]
fn a_new_machine_that_tells_of_no_requests_a_second_for_minutes_is_not_given_any() {
    let story = |share: f64| {
        let story = Story { machines: 3, batches: vec![(0, vec![0], None)], until: 700 };
        story.tell(move |machine, second| {
            if machine == 0 && second < 0 {
                return None;
            }
            let rate = 6.0 * jitter(machine, second, 72) * if machine == 0 { share } else { 1.0 };
            Some(vec![is("app:qps", rate), is("process_threads", 20.0 * jitter(machine, second, 73))])
        })
    };
    assert!(!reasons(&story(0.0)).is_empty());
    assert_eq!(reasons(&story(0.3)), Vec::<&str>::new(), "a small share is one");
}

#[test]
fn machines_that_never_come_back_are_waited_for_three_minutes() {
    let story = |back: i64| {
        Story::usual(230).tell(move |machine, second| {
            (machine >= 2 || !(0..back).contains(&second)).then(|| well(machine, second))
        })
    };
    assert!(stops(&story(400)).contains(&"instance_silent"), "{:?}", reasons(&story(400)));
    assert_eq!(stops(&story(170)), Vec::<&str>::new());
}

#[test]
fn a_second_fleet_may_wait_for_its_traffic_and_may_not_lose_it() {
    // Machines 0 to 2 come beside 3 to 5, and are given traffic from `from` to `to`.
    let story = |from: i64, to: i64| {
        let story = Story { machines: 6, batches: vec![(0, vec![0, 1, 2], None)], until: 700 };
        story.tell(move |machine, second| {
            let new = machine < 3;
            if new && second < 0 {
                return None;
            }
            let works = !new || (from..to).contains(&second);
            let rate = if works { 40.0 * jitter(machine, second, 74) } else { 0.0 };
            let names = ["web_requests_total{code=\"200\"}", "pages_rendered_total", "lookups_total"];
            let mut page: Vec<Shown> = names
                .iter()
                .filter(|_| !new || second >= from)
                .map(|name| Grows((*name).to_owned(), rate))
                .collect();
            page.push(is("process_threads", 20.0));
            Some(page)
        })
    };
    assert_eq!(stops(&story(700, 700)), Vec::<&str>::new());
    assert!(stops(&story(60, 300)).contains(&"standstill"), "{:?}", reasons(&story(60, 300)));
}

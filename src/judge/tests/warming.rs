//! What releases show of a warm-up, and what the judge makes of it.

use super::*;
use crate::judge::Settled;

/// Latency in seconds that begins at `first` times the usual and comes down to
/// `last` times with a time constant.
fn fading(machine: usize, second: i64, first: f64, last: f64, constant_seconds: f64) -> f64 {
    if !is_bad(machine, second) {
        return 0.05;
    }
    0.05 * (last + (first - last) * (-(second as f64) / constant_seconds).exp())
}

fn told(
    first: f64,
    last: f64,
    constant_seconds: f64,
    until: i64,
    warm_up: WarmUp,
) -> (Vec<Verdict>, WarmUpSeen) {
    Story::usual(until).tell_after(warm_up, |machine, second| {
        Some(service(machine, second, 0.001, 0.01, fading(machine, second, first, last, constant_seconds)))
    })
}

fn seen(first: f64, last: f64, constant_seconds: f64, until: i64) -> Settled {
    told(first, last, constant_seconds, until, WarmUp::default()).1.latency.unwrap()
}

/// As five good releases taught it that had settled at an age.
fn known(seconds: f64) -> WarmUp {
    let settled = Some(Settled { seconds, settled: true });
    WarmUp::learn(&[WarmUpSeen { latency: settled, saturation: settled }; 5])
}

#[test]
fn a_warm_up_is_measured_until_a_quarter_of_it_is_left() {
    // On the logarithm that is ln(1 + 3 exp(-t / constant)) = ln 4 / 4, after
    // 2 time constants, counted from the first step, 30 s after the batch.
    let brief = seen(4.0, 1.0, 30.0, 900);
    assert!(brief.settled && (30.0..=90.0).contains(&brief.seconds), "{brief:?}");
    let slow = seen(4.0, 1.0, 200.0, 1500);
    assert!(slow.settled && (330.0..=450.0).contains(&slow.seconds), "{slow:?}");
}

#[test]
fn what_never_warmed_and_what_is_slower_for_good_settles_at_once() {
    for first_and_last in [1.0, 1.3] {
        let at_once = seen(first_and_last, first_and_last, 100.0, 900);
        assert_eq!(at_once, Settled { seconds: 0.0, settled: true });
    }
    let slower_for_good = seen(3.0, 1.3, 40.0, 1200);
    assert!(slower_for_good.settled && slower_for_good.seconds <= 120.0, "{slower_for_good:?}");
}

#[test]
fn a_warm_up_longer_than_the_watch_is_not_settled() {
    let longer = seen(4.0, 1.0, 600.0, 600);
    assert!(!longer.settled && longer.seconds >= 500.0, "{longer:?}");
}

#[test]
fn a_release_that_was_hardly_watched_shows_nothing() {
    assert_eq!(told(4.0, 1.0, 30.0, 100, WarmUp::default()).1, WarmUpSeen::default());
}

#[test]
fn a_slowness_that_stays_is_believed_sooner_where_releases_settle_in_40_s() {
    let stop = |warm_up| stopped_at(&told(1.45, 1.45, 1.0, 900, warm_up).0);
    let (default, learned) = (stop(WarmUp::default()).unwrap(), stop(known(40.0)).unwrap());
    assert!(learned + 30 <= default, "{learned} s, and {default} s by default");
    let fading = told(1.9, 1.0, 30.0, 900, known(40.0)).0;
    assert_eq!(reasons(&fading), Vec::<&str>::new(), "the warm-up that was learned");
}

#[test]
fn a_huge_warm_up_of_500_s_stops_by_default_and_not_where_releases_showed_it() {
    let (by_default, shown) = told(6.0, 1.0, 240.0, 2400, WarmUp::default());
    assert!(stopped_at(&by_default).is_some(), "the default is not that patient");
    let settled = shown.latency.unwrap();
    assert!(settled.settled && (420.0..=600.0).contains(&settled.seconds), "{settled:?}");
    let learned = WarmUp::learn(&[shown; 5]);
    let after = told(6.0, 1.0, 240.0, 2400, learned).0;
    assert_eq!(reasons(&after), Vec::<&str>::new(), "{learned}");
    let stays = told(6.0, 6.0, 240.0, 2400, learned).0;
    assert!(stopped_at(&stays).is_some_and(|at| at <= 600), "a fault of that size is still found");
}

//! Fleets whose rate of false stops is known.

use std::sync::Arc;

use super::*;
use crate::domain::{Sample, ScrapeOutcome, SeriesKey};

const STEP_SECONDS: u64 = 20;
const MACHINES: usize = 6;

/// Between 0 and 1, the same for the same numbers.
fn chance(a: u64, b: u64) -> f64 {
    let mixed = (a.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ b.wrapping_mul(0xC2B2_AE3D_27D4_EB4F))
        .wrapping_mul(0x2545_F491_4F6C_DD1D);
    ((mixed ^ (mixed >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9) >> 11) as f64 / (1_u64 << 53) as f64
}

/// Two hours of a fleet that serves evenly; `depth` is the gauge of a machine
/// at a minute.
fn fleet(depth: impl Fn(usize, f64) -> f64) -> Vec<Scrape> {
    let start: Timestamp = "2026-03-01T08:00:00Z".parse().unwrap();
    let families: Arc<[MetricFamily]> = serde_json::from_value::<Vec<MetricFamily>>(serde_json::json!([
        {"name": "http_requests_total", "type": "counter"}, {"name": "queue_depth", "type": "gauge"},
    ]))
    .unwrap()
    .into();
    let key = |text: &str| Arc::new(text.parse::<SeriesKey>().unwrap());
    let (good, bad) = (key("http_requests_total{code=\"200\"}"), key("http_requests_total{code=\"500\"}"));
    let queue = key("queue_depth");
    let mut served = [(0.0_f64, 0.0_f64); MACHINES];
    let mut scrapes = Vec::new();
    for step in 0..2 * 3600 / STEP_SECONDS {
        let at = start + Duration::from_secs(step * STEP_SECONDS);
        for (machine, (successes, failures)) in served.iter_mut().enumerate() {
            let of_machine = machine as u64;
            *successes += (400.0 + 40.0 * chance(step, of_machine)).round();
            *failures += (2.0 * chance(step, of_machine + 100)).round();
            let sample = |series: &Arc<SeriesKey>, value| Sample { series: series.clone(), value };
            let noise = chance(step, of_machine + 200);
            scrapes.push(Scrape {
                instance: InstanceId::new(format!("m{machine}:1")).unwrap(),
                at,
                outcome: ScrapeOutcome::Complete,
                samples: vec![
                    sample(&good, *successes),
                    sample(&bad, *failures),
                    sample(&queue, depth(machine, (step * STEP_SECONDS) as f64 / 60.0) + noise),
                ],
                families: families.clone(),
            });
        }
    }
    scrapes
}

fn quiet(scrapes: Vec<Scrape>) -> Quiet {
    let moments = scrapes.iter().map(|scrape| (scrape.instance.clone(), scrape.at));
    let stretch = stretch_of(moments, |_| true, Some(1)).unwrap();
    Quiet { stretch, place: Place::Kept { scrapes, interval: Duration::from_secs(STEP_SECONDS) } }
}

fn settings(count: usize) -> CutSettings {
    let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
    CutSettings { seed: 1, count, history: minutes(20), watch: minutes(15) }
}

fn measured(scrapes: Vec<Scrape>) -> Measured {
    let shop = ApplicationName::new("shop").unwrap();
    measure(&shop, vec![quiet(scrapes)], &settings(60), &engine(None, &shop, None)).unwrap().unwrap()
}

#[test]
fn a_quiet_fleet_is_never_stopped() {
    let Measured { calibration, stretches, disjoint } = measured(fleet(|_, _| 5.0));
    assert_eq!((calibration.judged, stretches, disjoint), (60, 1, 6));
    assert_eq!(calibration.stopped, 0, "{:#?}", calibration.by_signal);
}

#[test]
fn a_gauge_that_jumps_on_one_machine_after_the_other_is_named() {
    // Each machine's queue is longer from a minute of its own on.
    let depth = |machine: usize, minute: f64| if minute >= 45.0 + 11.0 * machine as f64 { 60.0 } else { 5.0 };
    let scrapes = fleet(depth);
    let Measured { calibration, .. } = measured(scrapes.clone());
    assert!(calibration.stopped > 0, "one of six machines, a watch of 15 of 85 minutes: {calibration:?}");
    let culprits = calibration.culprits();
    assert!(culprits.iter().all(|(signal, ..)| signal.contains("queue")), "{culprits:#?}");
    let mut out = Vec::new();
    let shop = ApplicationName::new("shop").unwrap();
    write(&mut out, &BTreeMap::from([(shop, (measured(scrapes), 5.0))])).unwrap();
    let text = String::from_utf8(out).unwrap();
    assert!(
        text.contains("false stops per good release 0.") && text.contains("of 60, 95 % interval"),
        "{text}"
    );
    assert!(text.contains("queue") && text.contains("mute = true"), "{text}");
}

#[test]
fn what_people_mute_stops_nothing_more() {
    let depth = |machine: usize, minute: f64| if minute >= 45.0 + 11.0 * machine as f64 { 60.0 } else { 5.0 };
    let text =
        "[[application]]\nname = \"shop\"\n[[application.signal]]\nmetric = \"queue_depth\"\nmute = true\n";
    let settings_file = Settings::read("a test", text, &ProcessSurroundings).unwrap();
    let shop = ApplicationName::new("shop").unwrap();
    let engine = engine(Some(&settings_file), &shop, None);
    let result = measure(&shop, vec![quiet(fleet(depth))], &settings(60), &engine).unwrap().unwrap();
    assert_eq!((result.calibration.judged, result.calibration.stopped), (60, 0), "{:#?}", result.calibration);
}

#[test]
fn releases_and_what_follows_them_are_cut_out_of_the_history() {
    let scrapes = fleet(|_, _| 5.0);
    let (first, last) = (scrapes[0].at, scrapes[scrapes.len() - 1].at);
    let minute = |minutes: u64| first + Duration::from_secs(60 * minutes);
    let runs = between(scrapes, &[(minute(40), minute(60)), (minute(55), minute(70))]);
    let ends: Vec<_> = runs.iter().map(|run| (run[0].at, run[run.len() - 1].at)).collect();
    let step = Duration::from_secs(STEP_SECONDS);
    assert_eq!(ends, [(first, minute(40) - step), (minute(70) + step, last)]);
}

#[test]
fn history_that_is_too_short_measures_nothing() {
    let shop = ApplicationName::new("shop").unwrap();
    let mut scrapes = fleet(|_, _| 5.0);
    scrapes.retain(|scrape| scrape.at < "2026-03-01T08:34:00Z".parse().unwrap());
    let result = measure(&shop, vec![quiet(scrapes)], &settings(5), &engine(None, &shop, None)).unwrap();
    assert!(result.is_none());
}

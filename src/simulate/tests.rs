use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::{Fault, Request, SimulateError, Simulated, Style, Trouble, simulate};
use crate::domain::{InstanceId, LabelOutcome, MetricKind, SeriesKey, Timestamp};

fn small(seed: u64, index: u64) -> Request {
    Request { seed, index, samples_max: 30_000, ..Request::default() }
}

fn kinds(simulated: &Simulated) -> BTreeMap<&str, MetricKind> {
    simulated.order.metrics.iter().map(|family| (family.name.as_str(), family.kind)).collect()
}

/// Whether a series is cumulative, by its family.
fn is_cumulative(kinds: &BTreeMap<&str, MetricKind>, series: &SeriesKey) -> bool {
    if kinds.get(series.name()) == Some(&MetricKind::Counter) {
        return true;
    }
    ["_bucket", "_sum", "_count"]
        .iter()
        .filter_map(|s| series.name().strip_suffix(s))
        .any(|name| matches!(kinds.get(name), Some(MetricKind::Histogram | MetricKind::Summary)))
}

/// Counters fall only when a process begins anew.
fn check_counters(simulated: &Simulated) -> Result<(), TestCaseError> {
    let kinds = kinds(simulated);
    let mut last: BTreeMap<InstanceId, BTreeMap<String, f64>> = BTreeMap::new();
    let mut falls: BTreeMap<InstanceId, BTreeSet<Timestamp>> = BTreeMap::new();
    for scrape in &simulated.scrapes {
        // A series that is not on the page was forgotten by its process, and
        // begins anew when it is there again.
        let earlier = last.remove(&scrape.instance).unwrap_or_default();
        let mut now = BTreeMap::new();
        for sample in scrape.samples.iter().filter(|s| is_cumulative(&kinds, &s.series)) {
            let series = sample.series.to_string();
            if earlier.get(&series).is_some_and(|before| sample.value < *before) {
                falls.entry(scrape.instance.clone()).or_default().insert(scrape.at);
            }
            now.insert(series, sample.value);
        }
        last.insert(scrape.instance.clone(), if now.is_empty() { earlier } else { now });
    }
    let crash_loop = simulated.label.cause.as_deref() == Some(Fault::CrashLoop.word());
    for (instance, moments) in falls {
        let allowed = if crash_loop { 200 } else { 2 };
        prop_assert!(moments.len() <= allowed, "{instance:?} restarts at {moments:?}");
    }
    Ok(())
}

fn check_histograms(simulated: &Simulated) -> Result<(), TestCaseError> {
    for scrape in &simulated.scrapes {
        let mut counts: BTreeMap<String, f64> = BTreeMap::new();
        let mut buckets: BTreeMap<String, Vec<(f64, f64)>> = BTreeMap::new();
        for sample in &scrape.samples {
            let name = sample.series.name();
            if let (Some(base), Some(bound)) = (name.strip_suffix("_bucket"), sample.series.label("le")) {
                let key = sample.series.without("le").to_string().replacen(name, base, 1);
                let bound = if bound == "+Inf" { f64::INFINITY } else { bound.parse().unwrap() };
                buckets.entry(key).or_default().push((bound, sample.value));
            } else if let Some(base) = name.strip_suffix("_count") {
                counts.insert(sample.series.to_string().replacen(name, base, 1), sample.value);
            }
        }
        for (series, mut bounds) in buckets {
            bounds.sort_by(|a, b| a.0.total_cmp(&b.0));
            prop_assert!(
                bounds.windows(2).all(|w| w[0].1 <= w[1].1),
                "{series} is not cumulative: {bounds:?}"
            );
            let last = bounds.last().unwrap();
            prop_assert_eq!(last.0, f64::INFINITY);
            prop_assert_eq!(Some(&last.1), counts.get(&series), "{}", series);
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_simulated_release_could_have_been_scraped(seed in any::<u64>(), index in 0_u64..1_000) {
        let simulated = simulate(&small(seed, index)).unwrap();
        check_counters(&simulated)?;
        check_histograms(&simulated)?;
    }

    #[test]
    fn groups_are_as_ordered_and_the_onset_is_inside(seed in any::<u64>(), index in 0_u64..1_000) {
        let Simulated { order, label, scrapes } = simulate(&small(seed, index)).unwrap();
        let grouped: Vec<&InstanceId> =
            order.batches.iter().flat_map(|batch| &batch.instances).chain(&order.reference).collect();
        prop_assert_eq!(grouped.iter().collect::<BTreeSet<_>>().len(), grouped.len());
        prop_assert!(!order.reference.is_empty() && !order.batches.is_empty());
        prop_assert!(order.batches.is_sorted_by_key(|batch| batch.started_at));
        prop_assert_eq!(order.batches[0].started_at, order.started_at);
        prop_assert!(scrapes.is_sorted_by(|a, b| (a.at, &a.instance) < (b.at, &b.instance)));
        let (first, last) = (scrapes[0].at, scrapes[scrapes.len() - 1].at);
        prop_assert!(first < order.started_at && order.started_at < last);
        prop_assert_eq!(label.outcome == LabelOutcome::Faulty, label.onset.is_some());
        if let Some(onset) = label.onset {
            prop_assert!(order.started_at <= onset && onset < last, "{:?}", onset);
        }
        for scrape in &scrapes {
            let names: BTreeSet<_> = scrape.samples.iter().map(|sample| sample.series.to_string()).collect();
            prop_assert_eq!(names.len(), scrape.samples.len(), "a series twice on one page");
            prop_assert!(scrape.samples.iter().all(|sample| !sample.value.is_infinite()));
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_release(seed in any::<u64>(), index in 0_u64..1_000) {
        let (a, b) = (simulate(&small(seed, index)).unwrap(), simulate(&small(seed, index)).unwrap());
        prop_assert_eq!(&a.order, &b.order);
        prop_assert_eq!(&a.label, &b.label);
        prop_assert_eq!(format!("{:?}", a.scrapes), format!("{:?}", b.scrapes));
    }
}

#[test]
fn every_style_and_every_trouble_can_be_simulated() {
    for style in Style::ALL {
        let request = Request { styles: vec![style], faulty_share: 0.0, ..small(5, 1) };
        let simulated = simulate(&request).unwrap();
        assert_eq!(simulated.label.other["style"], style.word());
        assert!(simulated.scrapes.iter().any(|scrape| !scrape.samples.is_empty()), "{style:?}");
    }
    for (index, trouble) in Trouble::ALL.into_iter().enumerate() {
        let request = Request { troubles: vec![trouble], faulty_share: 0.0, ..small(6, index as u64) };
        let simulated = simulate(&request).unwrap();
        assert_eq!(simulated.label.outcome, LabelOutcome::Healthy);
        assert_eq!(simulated.label.other["setting"], trouble.word());
    }
}

#[test]
fn every_fault_can_be_simulated() {
    for (index, fault) in Fault::ALL.into_iter().enumerate() {
        let request = Request { faults: vec![fault], faulty_share: 1.0, ..small(7, index as u64) };
        let simulated = simulate(&request).unwrap();
        assert_eq!(simulated.label.cause.as_deref(), Some(fault.word()));
    }
}

#[test]
fn a_fault_that_cannot_show_is_an_error_and_not_a_healthy_release() {
    let request = Request {
        styles: vec![Style::Hosts],
        faults: vec![Fault::BusinessDrop],
        faulty_share: 1.0,
        ..small(8, 0)
    };
    assert!(matches!(simulate(&request), Err(SimulateError::CannotShow { .. })));
}

#[test]
fn an_unknown_word_is_answered_with_the_known_ones() {
    let error = "htttp".parse::<Style>().unwrap_err().to_string();
    assert!(error.contains("htttp") && error.contains("mobile"), "{error}");
}

#[test]
fn unrelated_services_have_names_of_their_own_and_releases_of_one_service_share_it() {
    let application = |index, releases_per_service| {
        let request = Request { releases_per_service, ..small(7, index) };
        simulate(&request).unwrap().order.application
    };
    let alone: BTreeSet<_> = (0..4).map(|index| application(index, 1)).collect();
    assert_eq!(alone.len(), 4);
    assert_eq!(application(0, 2), application(1, 2));
    assert_ne!(application(1, 2), application(2, 2));
}

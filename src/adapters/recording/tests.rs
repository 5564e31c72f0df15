use std::collections::HashSet;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::domain::{
    InstanceId, LabelOutcome, LabelSource, Sample, Scrape, ScrapeFailure, ScrapeOutcome, SeriesKey, Timestamp,
};

fn order() -> ReleaseOrder {
    serde_json::from_value(serde_json::json!({
        "format": 1, "id": "r-1", "application": "shop", "started_at": "1970-01-01T00:00:02.000Z",
        "batches": [{"started_at": "1970-01-01T00:00:02.000Z", "instances": ["a:1"], "weight": 1.5}],
        "reference": ["b:1"],
        "metrics": [{"name": "requests_total", "type": "counter"}],
        "ticket": {"kept": true},
    }))
    .unwrap()
}

fn scrape(instance: &str, at: i64, outcome: ScrapeOutcome, samples: &[(&str, f64)]) -> Scrape {
    Scrape {
        instance: InstanceId::new(instance).unwrap(),
        at: Timestamp::from_millis(at),
        outcome,
        samples: samples
            .iter()
            .map(|(key, value)| Sample { series: Arc::new(key.parse().unwrap()), value: *value })
            .collect(),
        families: order().metrics.into(),
    }
}

fn written(scrapes: &[Scrape]) -> (tempfile::TempDir, std::path::PathBuf) {
    let base = tempfile::tempdir().unwrap();
    let folder = base.path().join("deep/r-1");
    write(&folder, &order(), scrapes, None).unwrap();
    (base, folder)
}

#[test]
fn a_recording_is_read_back_in_time_order_with_its_outcomes() {
    let complete = [("requests_total{code=\"200\"}", 5.0), ("temperature", f64::INFINITY)];
    let scrapes = [
        scrape("b:1", 2_000, ScrapeOutcome::Complete, &complete),
        scrape("a:1", 2_000, ScrapeOutcome::Failed(ScrapeFailure::Timeout), &[]),
        scrape("a:1", 1_000, ScrapeOutcome::Complete, &complete),
        scrape("b:1", 1_000, ScrapeOutcome::Failed(ScrapeFailure::SourceDown("503".into())), &[]),
        scrape("a:1", 3_000, ScrapeOutcome::Incomplete { lost: 2, first: "x".into() }, &complete[..1]),
    ];
    let (_base, folder) = written(&scrapes);
    let recording = Recording::read(&folder).unwrap();
    assert_eq!(recording.order, order());
    let read: Vec<Scrape> = recording.scrapes().collect();
    let expected = [
        scrapes[2].clone(),
        scrape("a:1", 2_000, ScrapeOutcome::Failed(ScrapeFailure::Down), &[]),
        scrapes[0].clone(),
        scrape("a:1", 3_000, ScrapeOutcome::Complete, &complete[..1]),
    ];
    assert_eq!(read, expected);
    assert!(Arc::ptr_eq(&read[0].samples[0].series, &read[2].samples[0].series));
    assert!(Arc::ptr_eq(&read[0].families, &read[3].families));
    assert_eq!(find(folder.parent().unwrap()).unwrap(), std::slice::from_ref(&folder));
    let names: Vec<_> = std::fs::read_dir(folder.parent().unwrap()).unwrap().collect();
    assert_eq!(names.len(), 1, "no unfinished folder stays behind: {names:?}");
}

#[test]
fn a_recording_is_never_overwritten() {
    let (_base, folder) = written(&[]);
    let error = write(&folder, &order(), &[], None).unwrap_err();
    assert!(matches!(error, RecordingError::Exists { .. }), "{error}");
}

#[test]
fn the_label_is_apart_and_can_be_replaced() {
    let (_base, folder) = written(&[]);
    assert_eq!(read_label(&folder).unwrap(), None);
    let label = |outcome| Label {
        outcome,
        onset: Some(Timestamp::from_millis(1_500)),
        cause: None,
        source: LabelSource::Operator,
        other: Default::default(),
    };
    write_label(&folder, &label(LabelOutcome::Faulty)).unwrap();
    write_label(&folder, &label(LabelOutcome::Healthy)).unwrap();
    assert_eq!(read_label(&folder).unwrap(), Some(label(LabelOutcome::Healthy)));
    assert!(Recording::read(&folder).unwrap().samples.is_empty());
}

#[test]
fn another_format_number_is_refused_by_its_number() {
    let (_base, folder) = written(&[]);
    for (text, shown) in [("{\"format\":2}", "2"), ("{}", "missing"), ("{\"format\":\"1\"}", "\"1\"")] {
        std::fs::write(folder.join(ORDER_FILE), text).unwrap();
        let error = Recording::read(&folder).unwrap_err();
        assert!(matches!(&error, RecordingError::Format { found, .. } if found == shown), "{error:?}");
        assert!(error.to_string().contains("release.json"), "{error}");
    }
}

#[test]
fn a_missing_field_is_named_with_its_file() {
    let (_base, folder) = written(&[]);
    std::fs::write(folder.join(ORDER_FILE), "{\"format\":1,\"id\":\"x\"}").unwrap();
    let error = read_order(&folder).unwrap_err();
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(
        source.contains("`application`") && error.to_string().contains("release.json"),
        "{error}: {source}"
    );
}

#[test]
fn a_field_that_cannot_be_true_is_named_with_its_value() {
    let (_base, folder) = written(&[]);
    let path = folder.join(ORDER_FILE);
    let whole: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    for (pointer, value, named) in [
        ("/batches/0/weight", serde_json::json!(-4), "`batches[0].weight` is -4.0;"),
        ("/batches/0/weight", serde_json::json!(0), "`batches[0].weight` is 0.0;"),
        ("/batches/0/weight", serde_json::json!(1e308), "`batches[0].weight` is 1e308;"),
        ("/metrics/0/type", serde_json::json!("banana"), "`metrics[0].type` is \"banana\","),
        (
            "/finished_at",
            serde_json::json!("1970-01-01T00:00:01Z"),
            "`finished_at` is 1970-01-01T00:00:01.000Z,",
        ),
    ] {
        let mut changed = whole.clone();
        changed["finished_at"] = serde_json::json!("1970-01-01T00:00:05Z");
        *changed.pointer_mut(pointer).unwrap() = value;
        std::fs::write(&path, changed.to_string()).unwrap();
        let error = Recording::read(&folder).unwrap_err().to_string();
        assert!(error.contains(named), "{error}");
    }
}

#[test]
fn a_sample_that_is_nowhere_near_the_release_is_named_with_its_time() {
    const DAY: i64 = 86_400_000;
    for at in [i64::MIN, -(1 << 62), -29 * DAY, 30 * DAY, 1 << 62, i64::MAX] {
        let far = scrape("b:1", at, ScrapeOutcome::Complete, &[("y", 1.0)]);
        let near = scrape("a:1", 1_000, ScrapeOutcome::Complete, &[("y", 1.0)]);
        let (_base, folder) = written(&[near, far]);
        let error = Recording::read(&folder).unwrap_err().to_string();
        let time = Timestamp::from_millis(at).to_string();
        assert!(error.contains("of b:1") && error.contains(&time) && error.contains("started_at"), "{error}");
    }
    let days = [-28 * DAY, 28 * DAY].map(|at| scrape("b:1", at, ScrapeOutcome::Complete, &[("y", 1.0)]));
    let (_base, folder) = written(&days);
    assert!(Recording::read(&folder).is_ok());
}

#[test]
fn cut_and_damaged_files_are_errors_and_never_panics() {
    let scrapes: Vec<Scrape> = (0..50)
        .map(|i| scrape("a:1", i * 1000, ScrapeOutcome::Complete, &[("x{l=\"v\"}", i as f64), ("y", 0.5)]))
        .collect();
    let (_base, folder) = written(&scrapes);
    let path = folder.join(SAMPLES_FILE);
    let whole = std::fs::read(&path).unwrap();
    for length in (0..whole.len()).step_by(7) {
        std::fs::write(&path, &whole[..length]).unwrap();
        assert!(Recording::read(&folder).is_err(), "cut to {length} bytes");
    }
    for at in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x55;
        std::fs::write(&path, &damaged).unwrap();
        // Damage within a value cannot be noticed; it must only never panic.
        if let Ok(recording) = Recording::read(&folder) {
            let _ = recording.scrapes().count();
        }
    }
    std::fs::write(&path, "timestamp,instance,metric,value\n").unwrap();
    let error = Recording::read(&folder).unwrap_err();
    assert!(error.to_string().contains("samples.parquet"), "{error}");
}

fn any_scrapes() -> impl Strategy<Value = Vec<Scrape>> {
    let series = ("[a-z_]{1,3}", proptest::collection::btree_map("[a-z]{1,2}", "\\PC{0,4}", 0..3));
    let samples = proptest::collection::vec((series, any::<f64>()), 0..8);
    let outcome = prop_oneof![
        4 => Just(ScrapeOutcome::Complete),
        1 => Just(ScrapeOutcome::Failed(ScrapeFailure::Down)),
    ];
    let one = ("[a-c]:[1-2]", 0..20i64, outcome, samples).prop_map(|(instance, at, outcome, samples)| {
        let mut seen = HashSet::new();
        let mut made = scrape(&instance, at * 1000, outcome, &[]);
        if made.outcome == ScrapeOutcome::Complete {
            made.samples = samples
                .iter()
                .map(|((name, labels), value)| Sample {
                    series: Arc::new(SeriesKey::new(
                        name,
                        labels.iter().map(|(k, v)| (k.as_str(), v.as_str())),
                    )),
                    value: *value,
                })
                .filter(|sample| sample.series.name() != "up" && seen.insert(sample.series.clone()))
                .collect();
        }
        made
    });
    proptest::collection::vec(one, 0..40).prop_map(|mut scrapes| {
        let mut seen = HashSet::new();
        scrapes.retain(|scrape| seen.insert((scrape.at, scrape.instance.clone())));
        scrapes
    })
}

/// NaN is equal to itself here, and every other value by its bits.
fn comparable(scrape: &Scrape) -> (Timestamp, InstanceId, ScrapeOutcome, Vec<(String, u64)>) {
    let mut samples: Vec<_> =
        scrape.samples.iter().map(|sample| (sample.series.to_string(), sample.value.to_bits())).collect();
    samples.sort();
    (scrape.at, scrape.instance.clone(), scrape.outcome.clone(), samples)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_written_is_read_back_the_same(scrapes in any_scrapes()) {
        let (_base, folder) = written(&scrapes);
        let read: Vec<_> = Recording::read(&folder).unwrap().scrapes().map(|s| comparable(&s)).collect();
        let mut expected: Vec<_> = scrapes.iter().map(comparable).collect();
        expected.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
        prop_assert_eq!(read, expected);
    }
}

/// All recordings below the folder that the variable names, where it is set.
#[test]
fn recordings_from_elsewhere_are_read_whole() {
    let Some(cases) = std::env::var_os("GUARDIAN_CASES") else { return };
    let found = find(Path::new(&cases)).unwrap();
    assert!(!found.is_empty());
    for folder in found {
        let recording = Recording::read(&folder).unwrap_or_else(|error| panic!("{error}"));
        let ups = recording.samples.series().iter().filter(|key| key.name() == "up").count();
        let (mut last, mut samples, mut scrapes, mut down) = (None, 0, 0, 0);
        for scrape in recording.scrapes() {
            let now = (scrape.at, scrape.instance.clone());
            assert!(last.as_ref().is_none_or(|last| *last < now), "{}: {last:?} {now:?}", folder.display());
            last = Some(now);
            samples += scrape.samples.len();
            scrapes += 1;
            down += usize::from(scrape.outcome != ScrapeOutcome::Complete);
        }
        // Samples beside an `up` of 0 are dropped; of the rest none may be lost.
        assert!(down > 0 || samples + ups * scrapes >= recording.samples.len(), "{}", folder.display());
        read_label(&folder).unwrap().expect("the cases are labelled");
    }
}

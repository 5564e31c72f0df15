use super::super::BadWhen;
use super::*;

fn found(series: &[&str], families: &[(&str, MetricKind)]) -> Vec<String> {
    let mut catalogue = Catalogue::default();
    let families: Vec<MetricFamily> = families
        .iter()
        .map(|(name, kind)| MetricFamily { name: (*name).to_owned(), kind: *kind, unit: None, help: None })
        .collect();
    catalogue.learn_families(&families);
    for text in series {
        catalogue.feeds(&Arc::new(text.parse().unwrap()));
    }
    catalogue.signals().map(|(_, def)| def.name.clone()).collect()
}

#[test]
fn a_request_counter_with_codes_gives_an_error_ratio_by_path_and_a_rate() {
    let names = found(
        &[r#"http_requests_total{code="200",path="/a"}"#, r#"http_requests_total{code="500",path="/b"}"#],
        &[],
    );
    assert_eq!(
        names,
        [
            "error ratio of http_requests_total",
            "error ratio of http_requests_total path=/a",
            "rate of http_requests_total",
            "error ratio of http_requests_total path=/b"
        ]
    );
}

#[test]
fn a_histogram_gives_a_slow_share_a_mean_and_traffic() {
    let names = found(
        &[
            r#"rpc_seconds_bucket{le="0.1"}"#,
            r#"rpc_seconds_bucket{le="+Inf"}"#,
            "rpc_seconds_sum",
            "rpc_seconds_count",
        ],
        &[("rpc_seconds", MetricKind::Histogram)],
    );
    assert_eq!(names, ["slow share of rpc_seconds", "mean of rpc_seconds", "rate of rpc_seconds"]);
}

#[test]
fn identity_and_scrape_series_are_not_judged() {
    assert!(
        found(&["app_build_info", "scrape_duration_seconds", "process_start_time_seconds"], &[]).is_empty()
    );
}

#[test]
fn segments_are_bounded() {
    let series: Vec<String> =
        (0..100).map(|i| format!("http_requests_total{{code=\"200\",path=\"/{i}\"}}")).collect();
    let names = found(&series.iter().map(String::as_str).collect::<Vec<_>>(), &[]);
    assert_eq!(names.len(), 2 + SEGMENT_VALUES_MAX);
}

#[test]
fn settings_name_direct_weigh_and_mute() {
    let mut catalogue = Catalogue::new(vec![SignalOverride {
        metric: "gauge_*".to_owned(),
        bad_when: Some(BadWhen::Lower),
        weight: Some(2.0),
        ..SignalOverride::default()
    }]);
    catalogue.feeds(&Arc::new("gauge_5".parse().unwrap()));
    let (_, def) = catalogue.signals().next().unwrap();
    assert_eq!((def.bad_when, def.weight), (BadWhen::Lower, 2.0));
}

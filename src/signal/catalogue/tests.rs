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
            "refused ratio of http_requests_total",
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
fn classes_of_errors_are_kinds_and_classes_of_statuses_are_results() {
    let mut catalogue = Catalogue::default();
    for text in [r#"jobs_errors_total{class="JsonException"}"#, r#"page_errors_total{class="5xx"}"#] {
        catalogue.feeds(&Arc::new(text.parse().unwrap()));
    }
    let of = |metric: &str| {
        let signals = catalogue.signals().filter(|(_, def)| def.metric == metric);
        signals.map(|(_, def)| (def.shape, def.error_kind)).collect::<Vec<_>>()
    };
    assert_eq!(of("jobs_errors_total"), [(Shape::Rate, false), (Shape::Rate, true)]);
    assert!(of("page_errors_total").contains(&(Shape::Ratio, false)));
}

#[test]
fn latency_is_not_divided_by_kind_of_error() {
    let names = found(
        &[
            r#"call_seconds_sum{error_type="500",route="/a"}"#,
            r#"call_seconds_count{error_type="500",route="/a"}"#,
        ],
        &[("call_seconds", MetricKind::Histogram)],
    );
    assert_eq!(names, ["mean of call_seconds", "mean of call_seconds route=/a", "rate of call_seconds"]);
}

#[test]
fn meters_are_traffic_and_the_share_of_idle_time_is_no_number_of_idle_connections() {
    let mut catalogue = Catalogue::default();
    let gauges = ["shop_meter_rate1m", "java_ProcessCpuLoad", "worker_idle_ratio", "pool_idle_connections"];
    catalogue.learn_families(&gauges.map(|name| MetricFamily {
        name: name.to_owned(),
        kind: MetricKind::Gauge,
        unit: None,
        help: None,
    }));
    for text in gauges {
        catalogue.feeds(&Arc::new(text.parse().unwrap()));
    }
    let found: Vec<_> = catalogue.signals().map(|(_, def)| (def.class, def.is_idle_share())).collect();
    let saturation = SignalClass::Saturation;
    assert_eq!(
        found,
        [(SignalClass::Traffic, false), (saturation, false), (saturation, true), (saturation, false)]
    );
}

#[test]
fn segments_are_bounded() {
    let series: Vec<String> =
        (0..100).map(|i| format!("http_requests_total{{code=\"200\",path=\"/{i}\"}}")).collect();
    let names = found(&series.iter().map(String::as_str).collect::<Vec<_>>(), &[]);
    assert_eq!(names.len(), 3 + SEGMENT_VALUES_MAX);
}

/// Scrapes of one instance, ten seconds apart; the sums of one signal over
/// all of them.
fn sums(added: SignalAddition, scrapes: &[&[(&str, f64)]]) -> (f64, f64) {
    let name = added.name.clone();
    let settings = SignalSettings { added: vec![added], ..SignalSettings::default() };
    let step = std::time::Duration::from_secs(10);
    let mut window = crate::signal::Window::new(step, step * 100, settings);
    let instance = crate::domain::InstanceId::new("a:1").unwrap();
    let mut keys: HashMap<String, Arc<SeriesKey>> = HashMap::new();
    for (i, values) in scrapes.iter().enumerate() {
        let samples = values.iter().map(|(text, value)| {
            let key = keys.entry((*text).to_owned()).or_insert_with(|| Arc::new(text.parse().unwrap()));
            crate::domain::Sample { series: key.clone(), value: *value }
        });
        window.take(&crate::domain::Scrape {
            instance: instance.clone(),
            at: crate::domain::Timestamp::from_millis((i as i64 + 1) * 10_000),
            outcome: crate::domain::ScrapeOutcome::Complete,
            samples: samples.collect(),
            families: Arc::new([]),
        });
    }
    let (id, _) = window.catalogue().signals().find(|(_, def)| def.name == name).unwrap();
    window.instances()[&instance].column(id).unwrap().sum(0, scrapes.len() as i64 + 1)
}

fn addition(value: AddedValue) -> SignalAddition {
    SignalAddition { name: "mine".to_owned(), value, class: None, bad_when: None, unit: None, weight: 1.0 }
}

fn selector(text: &str) -> crate::domain::Selector {
    text.parse().unwrap()
}

const PAYMENTS: [&[(&str, f64)]; 3] = [
    &[
        ("payments_total{status=\"declined\",tenant=\"a\"}", 1.0),
        ("payments_total{status=\"paid\",tenant=\"a\"}", 100.0),
        ("payments_total{status=\"declined\",tenant=\"b\"}", 50.0),
    ],
    &[
        ("payments_total{status=\"declined\",tenant=\"a\"}", 4.0),
        ("payments_total{status=\"paid\",tenant=\"a\"}", 107.0),
        ("payments_total{status=\"declined\",tenant=\"b\"}", 90.0),
    ],
    &[
        ("payments_total{status=\"declined\",tenant=\"a\"}", 5.0),
        ("payments_total{status=\"paid\",tenant=\"a\"}", 116.0),
        ("payments_total{status=\"declined\",tenant=\"b\"}", 99.0),
    ],
];

#[test]
fn an_added_ratio_counts_what_its_selectors_mean_and_no_more() {
    let (bad, all) = (
        selector("payments_total{tenant=\"a\",status=\"declined\"}"),
        selector("payments_total{tenant=\"a\"}"),
    );
    // 3 + 1 declined of 3 + 1 + 7 + 9.
    assert_eq!(sums(addition(AddedValue::Ratio { bad, all }), &PAYMENTS), (4.0, 20.0));
    // Two metrics: what is above the line need not be below it.
    let (bad, all) = (selector("failures_total"), selector("calls_total"));
    let scrapes: [&[(&str, f64)]; 2] = [
        &[("calls_total{peer=\"x\"}", 10.0), ("failures_total", 0.0)],
        &[("calls_total{peer=\"x\"}", 30.0), ("failures_total", 5.0)],
    ];
    assert_eq!(sums(addition(AddedValue::Ratio { bad, all }), &scrapes), (5.0, 20.0));
}

#[test]
fn an_added_rate_counts_over_time_even_where_the_metric_looked_like_a_level() {
    let events = selector("jobs_done{queue=\"mail\"}");
    let scrapes: [&[(&str, f64)]; 3] = [
        &[("jobs_done{queue=\"mail\"}", 100.0), ("jobs_done{queue=\"sms\"}", 7.0)],
        &[("jobs_done{queue=\"mail\"}", 130.0), ("jobs_done{queue=\"sms\"}", 9.0)],
        &[("jobs_done{queue=\"mail\"}", 160.0), ("jobs_done{queue=\"sms\"}", 9.0)],
    ];
    assert_eq!(sums(addition(AddedValue::Rate { events }), &scrapes), (60.0, 20.0));
}

#[test]
fn an_added_level_is_a_sum_or_a_mean_of_its_series() {
    let scrapes: [&[(&str, f64)]; 2] = [
        &[("depth{queue=\"a\"}", 4.0), ("depth{queue=\"b\"}", 8.0), ("depth{queue=\"dead\"}", 99.0)],
        &[("depth{queue=\"a\"}", 6.0), ("depth{queue=\"b\"}", 2.0), ("depth{queue=\"dead\"}", 99.0)],
    ];
    let of = selector("depth{queue!=\"dead\"}");
    assert_eq!(sums(addition(AddedValue::Level { of: of.clone(), mean: false }), &scrapes), (20.0, 2.0));
    assert_eq!(sums(addition(AddedValue::Level { of, mean: true }), &scrapes), (20.0, 4.0));
}

#[test]
fn an_added_histogram_knows_its_bounds_and_the_share_beyond_its_quantile() {
    let value = AddedValue::Histogram { of: selector("h_seconds{path=\"/a\"}"), quantile: 0.99 };
    let mut catalogue =
        Catalogue::new(SignalSettings { added: vec![addition(value)], ..SignalSettings::default() });
    for le in ["0.5", "+Inf", "0.1"] {
        for path in ["/a", "/b"] {
            catalogue.feeds(&Arc::new(
                format!("h_seconds_bucket{{le=\"{le}\",path=\"{path}\"}}").parse().unwrap(),
            ));
        }
    }
    let (_, def) = catalogue.signals().find(|(_, def)| def.name == "mine").unwrap();
    assert_eq!((def.shape, def.class, def.bad_when), (Shape::Slow, SignalClass::Latency, BadWhen::Higher));
    assert_eq!(def.bounds, [0.1, 0.5]);
    assert!((def.slow_share - 0.01).abs() < 1e-12);
}

#[test]
fn a_metric_that_settings_name_keeps_its_signals_apart() {
    let mut catalogue = Catalogue::new(SignalSettings {
        overrides: vec![
            SignalOverride {
                metric: "http_requests_total".to_owned(),
                labels: [("path".to_owned(), "/cart".to_owned())].into(),
                name: Some("the cart".to_owned()),
                ..SignalOverride::default()
            },
            SignalOverride {
                metric: "http_requests_total".to_owned(),
                name: Some("requests".to_owned()),
                ..SignalOverride::default()
            },
        ],
        ..SignalSettings::default()
    });
    for text in
        [r#"http_requests_total{code="200",path="/cart"}"#, r#"http_requests_total{code="500",path="/pay"}"#]
    {
        catalogue.feeds(&Arc::new(text.parse().unwrap()));
    }
    let names: Vec<&str> = catalogue.signals().map(|(_, def)| def.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "error ratio of requests",
            "error ratio of the cart",
            "refused ratio of requests",
            "rate of requests",
            "error ratio of requests path=/pay"
        ]
    );
}

#[test]
fn settings_name_direct_weigh_and_mute() {
    let overrides = vec![SignalOverride {
        metric: "gauge_*".to_owned(),
        bad_when: Some(BadWhen::Lower),
        weight: Some(2.0),
        ..SignalOverride::default()
    }];
    let mut catalogue = Catalogue::new(SignalSettings { overrides, ..SignalSettings::default() });
    catalogue.feeds(&Arc::new("gauge_5".parse().unwrap()));
    let (_, def) = catalogue.signals().next().unwrap();
    assert_eq!((def.bad_when, def.weight), (BadWhen::Lower, 2.0));
}

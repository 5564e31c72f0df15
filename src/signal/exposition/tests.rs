use proptest::prelude::*;

use super::*;
use crate::domain::{MetricKind, Timestamp};

fn read_as(text: &str, dialect: Dialect) -> Result<Page, NotExposition> {
    Reader::new(Limits::default()).read(text.as_bytes(), dialect)
}

fn read(text: &str) -> Vec<(String, f64)> {
    let page = read_as(text, Dialect::Prometheus).unwrap();
    assert_eq!(page.first_lost, None, "{text}");
    page.samples.iter().map(|sample| (sample.series.to_string(), sample.value)).collect()
}

#[test]
fn what_other_readers_drop_or_mangle_is_read() {
    for (line, series, value) in [
        ("job:errors:rate5m 1", "job:errors:rate5m", 1.0),
        ("a{} 1", "a", 1.0),
        (r#"a{path="/u/{id}"} 1"#, r#"a{path="/u/{id}"}"#, 1.0),
        (r#"{"my.metric",a="b"} 1"#, r#"{"my.metric",a="b"}"#, 1.0),
        (r#"a{"label.name"="b"} 1"#, r#"a{"label.name"="b"}"#, 1.0),
        (r#"a{q="k=v",z="1"} 1"#, r#"a{q="k=v",z="1"}"#, 1.0),
        (r#"a{p="x,y"} 1"#, r#"a{p="x,y"}"#, 1.0),
        (r#"a{p="x\"y\\z\n"} 1"#, r#"a{p="x\"y\\z\n"}"#, 1.0),
        (r#"a{p="x", q="y"} 1"#, r#"a{p="x",q="y"}"#, 1.0),
        (r#"a{q="y",p="x",} 1"#, r#"a{p="x",q="y"}"#, 1.0),
        (r#"a {p="x"} 1"#, r#"a{p="x"}"#, 1.0),
        ("a\t1", "a", 1.0),
        ("  a   1.5e-05  ", "a", 1.5e-5),
        ("a 1\r", "a", 1.0),
        ("a +Inf", "a", f64::INFINITY),
        ("a -Inf", "a", f64::NEG_INFINITY),
        ("a +7", "a", 7.0),
        (r#"h_bucket{le="+Inf"} 3 # {trace_id="x y"} 0.5 1.0"#, r#"h_bucket{le="+Inf"}"#, 3.0),
        (r#"h_bucket{le="1"} 3 1520879607789 # {} 0.5"#, r#"h_bucket{le="1"}"#, 3.0),
        ("购物_is_not_plain 1", "", 0.0),
    ] {
        if series.is_empty() {
            assert!(read_as(line, Dialect::Prometheus).is_err(), "{line}");
        } else {
            assert_eq!(read(line), [(series.to_owned(), value)], "{line}");
        }
    }
    assert!(read("a NaN")[0].1.is_nan());
}

#[test]
fn histograms_and_summaries_keep_the_order_of_the_page() {
    let text =
        "h_bucket{le=\"1\"} 1\nh_bucket{le=\"+Inf\"} 2\nh_sum 3\nh_count 2\ns{quantile=\"0.5\"} 1\ns_sum 2\n";
    let names: Vec<String> = read(text).into_iter().map(|(series, _)| series).collect();
    let expected =
        ["h_bucket{le=\"1\"}", "h_bucket{le=\"+Inf\"}", "h_sum", "h_count", "s{quantile=\"0.5\"}", "s_sum"];
    assert_eq!(names, expected);
}

#[test]
fn timestamps_are_milliseconds_in_one_dialect_and_seconds_in_the_other() {
    let stamp = |text: &str, dialect| line::after_series(text.as_bytes(), dialect).map(|line| line.timestamp);
    let millis = |millis| Ok(Some(Timestamp::from_millis(millis)));
    assert_eq!(stamp(" 1 1520879607789", Dialect::Prometheus), millis(1_520_879_607_789));
    assert_eq!(stamp(" 1 1520879607.789", Dialect::OpenMetrics), millis(1_520_879_607_789));
    assert_eq!(stamp(" 1 1520879607", Dialect::OpenMetrics), millis(1_520_879_607_000));
    assert_eq!(stamp(" 1", Dialect::OpenMetrics), Ok(None));
    assert!(stamp(" 1 1520879607.789", Dialect::Prometheus).is_err());
    assert!(stamp(" 1 soon", Dialect::OpenMetrics).is_err());
}

#[test]
fn lines_that_cannot_be_read_are_counted_and_the_first_is_told() {
    let text = "a 1\nb{x=\"1\" 2\nc one\nd\ne 1 2 3\na 5\nf{x=\"}\" 1\n2g 1\nok 1";
    let page = read_as(text, Dialect::Prometheus).unwrap();
    assert_eq!(page.samples.len(), 2);
    assert_eq!(page.lost, 7);
    let first = page.first_lost.clone().unwrap();
    assert!(first.starts_with("line 2: ") && first.contains("b{x=\"1\" 2"), "{first}");
    assert_eq!(page.outcome(), ScrapeOutcome::Incomplete { lost: 7, first });
    let long = format!("ok 1\nx{{a=\"{}\"", "y".repeat(500));
    let shown = read_as(&long, Dialect::Prometheus).unwrap().first_lost.unwrap();
    assert!(shown.ends_with(&long[5..85]) && !shown.contains(&long[5..86]), "{shown}");
}

#[test]
fn the_same_series_twice_is_a_loss_however_it_is_spelt() {
    let page = read_as("a{b=\"1\",c=\"2\"} 1\na{c=\"2\",b=\"1\"} 2\n", Dialect::Prometheus).unwrap();
    assert_eq!((page.samples.len(), page.lost, page.samples[0].value), (1, 1, 1.0));
}

#[test]
fn pages_that_are_something_else_are_refused() {
    for text in ["<html><body>busy</body></html>", "\n  <!DOCTYPE html>", "{\"status\":\"ok\"}", "busy"] {
        assert!(read_as(text, Dialect::Prometheus).is_err(), "{text}");
    }
    assert!(Dialect::from_content_type(Some("text/html; charset=utf-8")).is_err());
    assert!(Dialect::from_content_type(Some("application/json")).is_err());
    assert_eq!(Dialect::from_content_type(None), Ok(Dialect::Prometheus));
    assert_eq!(
        Dialect::from_content_type(Some("text/plain; version=0.0.4; charset=utf-8")),
        Ok(Dialect::Prometheus)
    );
    assert_eq!(
        Dialect::from_content_type(Some("application/openmetrics-text; version=1.0.0")),
        Ok(Dialect::OpenMetrics)
    );
}

#[test]
fn a_cut_openmetrics_page_is_refused_and_an_empty_text_page_is_not() {
    assert!(read_as("a 1\nb 2", Dialect::OpenMetrics).is_err());
    assert!(read_as("", Dialect::OpenMetrics).is_err());
    assert_eq!(read_as("a 1\n# EOF", Dialect::OpenMetrics).unwrap().samples.len(), 1);
    assert_eq!(read_as("a 1\n# EOF\nb 1", Dialect::OpenMetrics).unwrap().lost, 1);
    assert_eq!(read_as("", Dialect::Prometheus).unwrap().samples.len(), 0);
}

#[test]
fn limits_are_kept_and_told() {
    let mut reader = Reader::new(Limits { samples: 2, line_bytes: 12 });
    let page = reader.read(b"a 1\nb_is_far_too_long 1\nc 1\nd 1\ne 1", Dialect::Prometheus).unwrap();
    assert_eq!((page.samples.len(), page.lost), (2, 3));
}

#[test]
fn declarations_become_families_named_as_their_samples() {
    let text = "# HELP a_total Requests \\\\ \\n served\n# TYPE a_total counter\n# TYPE h histogram\n# UNIT h seconds\n# just a comment\n# TYPE odd untyped\n# TYPE \"my.metric\" gauge\na_total 1\n";
    let family = |name: &str, kind| MetricFamily { name: name.into(), kind, unit: None, help: None };
    let mut expected = vec![
        family("a_total", MetricKind::Counter),
        family("h", MetricKind::Histogram),
        family("my.metric", MetricKind::Gauge),
        family("odd", MetricKind::Unknown),
    ];
    expected[0].help = Some("Requests \\ \n served".into());
    expected[1].unit = Some("seconds".into());
    assert_eq!(*read_as(text, Dialect::Prometheus).unwrap().families, *expected);

    let open = "# TYPE a counter\n# TYPE b_total counter\n# TYPE build info\na_total 1\n# EOF\n";
    let names: Vec<_> =
        read_as(open, Dialect::OpenMetrics).unwrap().families.iter().map(|f| f.name.clone()).collect();
    assert_eq!(names, ["a_total", "b_total", "build_info"]);
}

#[test]
fn a_steady_target_shares_its_series_and_families_from_page_to_page() {
    let mut reader = Reader::new(Limits::default());
    let mut page = |text: &str| reader.read(text.as_bytes(), Dialect::Prometheus).unwrap();
    let first = page("# TYPE a counter\na{x=\"1\"} 1\nb 2\n");
    let second = page("# TYPE a counter\nnew 1\nb 3\na{x=\"1\"} 4\n");
    assert!(Arc::ptr_eq(&first.families, &second.families));
    assert!(Arc::ptr_eq(&first.samples[0].series, &second.samples[2].series));
    assert!(Arc::ptr_eq(&first.samples[1].series, &second.samples[1].series));
    let third = page("# TYPE a gauge\nb 2\nb{x=\"1\"} 2\nb {x=\"2\"} 2\n");
    assert_eq!(third.families[0].kind, MetricKind::Gauge);
    assert_eq!(third.samples[2].series.to_string(), "b{x=\"2\"}");
    assert!(page("b 2\n").families.is_empty());
}

#[test]
fn series_that_are_gone_are_forgotten() {
    let mut reader = Reader::new(Limits::default());
    for page in 0..200 {
        let text: String = (0..100).map(|i| format!("a{{pod=\"{page}-{i}\"}} 1\n")).collect();
        reader.read(text.as_bytes(), Dialect::Prometheus).unwrap();
    }
    assert!(reader.known.entries.len() < 3_000, "{}", reader.known.entries.len());
}

/// What the other reader makes of a page, as far as both can agree.
fn second_opinion(text: &str) -> Vec<(String, f64)> {
    let scrape = prometheus_parse::Scrape::parse(text.lines().map(|line| Ok(line.to_owned()))).unwrap();
    let mut read: Vec<(String, f64)> = scrape
        .samples
        .into_iter()
        .map(|sample| {
            let labels = sample.labels.iter().map(|(k, v)| (k.as_str(), v.as_str()));
            let key = SeriesKey::new(&sample.metric, labels).to_string();
            match sample.value {
                prometheus_parse::Value::Counter(value)
                | prometheus_parse::Value::Gauge(value)
                | prometheus_parse::Value::Untyped(value) => (key, value),
                other => panic!("only single values are compared: {other:?}"),
            }
        })
        .collect();
    read.sort_by(|a, b| a.0.cmp(&b.0));
    read
}

proptest! {
    #[test]
    fn another_reader_agrees_where_it_understands_the_page(
        lines in proptest::collection::btree_map(
            ("[a-z_][a-z0-9_]{0,8}", proptest::collection::btree_map("[a-z_]{1,4}", "[a-zA-Z0-9 /.:-]{1,8}", 0..3)),
            -1e12..1e12f64,
            0..20,
        ),
        typed in any::<bool>(),
    ) {
        let mut text = String::new();
        for ((name, labels), value) in &lines {
            if typed {
                text += &format!("# TYPE {name} gauge\n");
            }
            let key = SeriesKey::new(name, labels.iter().map(|(k, v)| (k.as_str(), v.as_str())));
            text += &format!("{key} {value}\n");
        }
        let mut ours = read(&text);
        ours.sort_by(|a, b| a.0.cmp(&b.0));
        prop_assert_eq!(ours, second_opinion(&text));
    }

    #[test]
    fn a_warm_reader_says_the_same_as_a_new_one(pages in proptest::collection::vec("([ab]( ?\\{[xy]=\"[}1 ]?\"\\})? [0-9]( 5)?\r?\n|# TYPE [ab] gauge\n){0,6}", 1..5)) {
        let mut warm = Reader::new(Limits::default());
        for page in pages {
            let cold = read_as(&page, Dialect::Prometheus);
            prop_assert_eq!(warm.read(page.as_bytes(), Dialect::Prometheus), cold);
        }
    }

    #[test]
    fn no_page_makes_the_reader_panic(text in "[a{}=\"\\\\ #1\n]{0,60}", bytes in any::<Vec<u8>>()) {
        let _ = read_as(&text, Dialect::OpenMetrics);
        let _ = read_as(&text, Dialect::Prometheus);
        let _ = Reader::default().read(&bytes, Dialect::Prometheus);
    }
}

#[test]
fn like_targets_share_the_keys_of_their_series() {
    let keys = SharedKeys::default();
    let mut readers = [(); 2].map(|()| Reader::sharing(Limits::default(), keys.clone()));
    let page = b"a_total{x=\"1\"} 1\nb 2\n";
    let [first, second] = readers.each_mut().map(|reader| reader.read(page, Dialect::Prometheus).unwrap());
    assert_eq!(first, second);
    assert!(first.samples.iter().zip(&second.samples).all(|(a, b)| Arc::ptr_eq(&a.series, &b.series)));
}

//! What runs for every scrape.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use release_guardian::signal::exposition::{Dialect, Limits, Reader};

fn main() {
    divan::main();
}

/// A page of 2,000 series: histograms, counters with labels, gauges.
fn page() -> String {
    let mut page = String::new();
    for path in 0..100 {
        page += &format!(
            "# HELP http_duration_seconds_{path} Time to answer.\n# TYPE http_duration_seconds_{path} histogram\n"
        );
        for bucket in 0..14 {
            page += &format!(
                "http_duration_seconds_{path}_bucket{{method=\"GET\",route=\"/api/v1/things/{path}\",le=\"0.{bucket:02}\"}} {}\n",
                path * bucket * 17
            );
        }
        page += &format!(
            "http_duration_seconds_{path}_sum{{method=\"GET\",route=\"/api/v1/things/{path}\"}} {}.25\n",
            path * 31
        );
        page += &format!(
            "http_duration_seconds_{path}_count{{method=\"GET\",route=\"/api/v1/things/{path}\"}} {}\n",
            path * 170
        );
        for code in [200, 400, 500] {
            page += &format!(
                "requests_total{{code=\"{code}\",route=\"/api/v1/things/{path}\"}} {}\n",
                path * code
            );
        }
        page += &format!("queue_length_{path} {path}.5\n");
    }
    page
}

/// A steady target: the reader knows its series.
#[divan::bench]
fn parse_2000_series_known(bencher: Bencher) {
    let page = page();
    let mut reader = Reader::new(Limits::default());
    let samples = reader.read(page.as_bytes(), Dialect::Prometheus).expect("a page of our own").samples;
    assert_eq!(samples.len(), 2_000);
    bencher
        .counter(BytesCount::of_str(&page))
        .counter(ItemsCount::new(2_000_usize))
        .bench_local(|| reader.read(divan::black_box(page.as_bytes()), Dialect::Prometheus));
}

/// The first scrape of a target.
#[divan::bench]
fn parse_2000_series_new(bencher: Bencher) {
    let page = page();
    bencher.counter(ItemsCount::new(2_000_usize)).bench_local(|| {
        Reader::new(Limits::default()).read(divan::black_box(page.as_bytes()), Dialect::Prometheus)
    });
}

/// The crate that others use, for comparison.
#[divan::bench]
fn parse_2000_series_prometheus_parse(bencher: Bencher) {
    let page = page();
    bencher.counter(ItemsCount::new(2_000_usize)).bench_local(|| {
        prometheus_parse::Scrape::parse(divan::black_box(&page).lines().map(|line| Ok(line.to_owned())))
    });
}

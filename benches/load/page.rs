//! The page of a web service of the usual kind: histograms by route and by
//! callee, counters by status, a runtime's counters and gauges, and many
//! counters that hardly ever move.

use std::io::Write;

/// How a series moves from scrape to scrape.
#[derive(Clone, Copy)]
enum Move {
    /// A counter that grows by about so much.
    Grows(f64),
    /// As the one before, in fractions.
    Sums(f64),
    /// A counter that grows only while the service fails.
    Fails(f64),
    /// A gauge around it.
    Varies(f64),
    /// Never.
    Stays(f64),
}

struct Line {
    head: Vec<u8>,
    moves: Move,
    value: f64,
}

/// One target's page.
pub struct Page {
    lines: Vec<Line>,
    draws: u64,
}

const BOUNDS: [&str; 12] =
    ["0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "5", "10", "+Inf"];

impl Page {
    pub fn new(target: usize, series: usize) -> Self {
        let mut page = Self { lines: Vec::new(), draws: target as u64 + 1 };
        page.declare("http_requests_total", "counter");
        for route in 0..12 {
            for (code, moves) in
                [("200", Move::Grows(300.0)), ("404", Move::Grows(3.0)), ("500", Move::Fails(150.0))]
            {
                page.add(
                    &format!("http_requests_total{{code=\"{code}\",method=\"GET\",route=\"/r{route}\"}}"),
                    moves,
                );
            }
        }
        page.histogram("http_request_duration_seconds", "route=\"/r", 12, 300.0);
        page.histogram("rpc_client_duration_seconds", "callee=\"service-", 10, 150.0);
        page.histogram("db_query_duration_seconds", "statement=\"q", 30, 60.0);
        for (name, moves) in [
            ("process_cpu_seconds_total", Move::Sums(3.0)),
            ("orders_total", Move::Grows(12.0)),
            ("gc_pause_seconds_total", Move::Sums(0.05)),
        ] {
            page.declare(name, "counter");
            page.add(name, moves);
        }
        page.declare("process_resident_memory_bytes", "gauge");
        page.add("process_resident_memory_bytes", Move::Varies(4e8));
        // The rest: of ten, three counters and two gauges move.
        let mut number = 0;
        while page.lines.len() < series + page.lines.iter().filter(|l| l.head.starts_with(b"#")).count() {
            let (kind, moves) = match number % 10 {
                0..3 => ("counter", Move::Grows(20.0 + number as f64)),
                3..5 => ("gauge", Move::Varies(100.0 + number as f64)),
                5..7 => ("gauge", Move::Stays(number as f64)),
                _ => ("counter", Move::Stays(number as f64)),
            };
            let total = if kind == "counter" { "_total" } else { "" };
            let name = format!("component_{}_{kind}{total}", number / 40);
            if number % 40 < 10 {
                page.declare(&name, kind);
            }
            page.add(&format!("{name}{{part=\"p{number}\"}}"), moves);
            number += 1;
        }
        page
    }

    fn declare(&mut self, name: &str, kind: &str) {
        let head = format!("# TYPE {name} {kind}\n").into_bytes();
        self.lines.push(Line { head, moves: Move::Stays(0.0), value: 0.0 });
    }

    fn add(&mut self, series: &str, moves: Move) {
        let value = match moves {
            Move::Stays(value) | Move::Varies(value) => value,
            Move::Grows(_) | Move::Sums(_) | Move::Fails(_) => 0.0,
        };
        self.lines.push(Line { head: format!("{series} ").into_bytes(), moves, value });
    }

    fn histogram(&mut self, name: &str, label: &str, values: usize, mean: f64) {
        self.declare(name, "histogram");
        for value in 0..values {
            for (index, le) in BOUNDS.iter().enumerate() {
                let share = 1.0 - 0.6_f64.powi(index as i32 + 1);
                self.add(
                    &format!("{name}_bucket{{{label}{value}\",le=\"{le}\"}}"),
                    Move::Grows(mean * share),
                );
            }
            self.add(&format!("{name}_sum{{{label}{value}\"}}"), Move::Sums(mean * 0.03));
            self.add(&format!("{name}_count{{{label}{value}\"}}"), Move::Grows(mean));
        }
    }

    /// Evenly between 0.9 and 1.1.
    fn about_one(&mut self) -> f64 {
        self.draws =
            self.draws.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        0.9 + 0.2 * (self.draws >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// The page of the next scrape.
    pub fn render(&mut self, fails: bool, body: &mut Vec<u8>) {
        body.clear();
        for index in 0..self.lines.len() {
            let factor = self.about_one();
            let line = &mut self.lines[index];
            body.extend_from_slice(&line.head);
            if line.head.starts_with(b"#") {
                continue;
            }
            match line.moves {
                Move::Grows(by) => line.value += (by * factor).round(),
                Move::Fails(by) if fails => line.value += (by * factor).round(),
                Move::Sums(by) => line.value += by * factor,
                Move::Varies(around) => line.value = around * factor,
                Move::Fails(_) | Move::Stays(_) => {}
            }
            let _ = writeln!(body, "{}", line.value);
        }
    }
}

//! Requests served and calls made: counters by status, latencies as
//! histograms, summaries or sums.

use crate::domain::{MetricFamily, MetricKind, Sample};

use super::super::Style;
use super::super::machine::{Cell, Latency, Tick};
use super::super::random::Dice;
use super::super::service::Service;
use super::parts::{Count, Histogram, Level, Summary, Writing, family};
use super::{Aspect, Instrument, Panel};

/// How an outcome is written: succeeded, refused, failed.
type Words = [&'static str; 3];

/// One library's way to write requests.
struct Dialect {
    count: &'static str,
    duration: &'static str,
    per_second: f64,
    route: &'static str,
    method: Option<&'static str>,
    status: &'static str,
    words: Words,
    /// The latency series carries the status too.
    status_on_duration: bool,
    shape: Shape,
    /// Further labels that never change.
    constant: &'static [(&'static str, &'static str)],
}

#[derive(Clone, Copy, PartialEq)]
enum Shape {
    Histogram,
    Summary,
    /// Sum and count only, sometimes with a maximum.
    Sums,
}

const CODES: Words = ["200", "404", "500"];
const GATEWAY: Words = ["200", "429", "503"];
const CLASSES: Words = ["2xx", "4xx", "5xx"];
const CLASSES_UPPER: Words = ["2XX", "4XX", "5XX"];

#[expect(clippy::too_many_arguments, reason = "a table of conventions, read by column")]
const fn dialect(
    count: &'static str,
    duration: &'static str,
    per_second: f64,
    route: &'static str,
    method: Option<&'static str>,
    status: &'static str,
    words: Words,
    status_on_duration: bool,
    shape: Shape,
    constant: &'static [(&'static str, &'static str)],
) -> Dialect {
    Dialect { count, duration, per_second, route, method, status, words, status_on_duration, shape, constant }
}

use Shape::{Histogram as H, Summary as S, Sums as C};

#[rustfmt::skip]
const HTTP: &[Dialect] = &[
    dialect("http_requests_total", "http_request_duration_seconds", 1.0, "path", Some("method"), "code", CODES, false, H, &[]),
    dialect("http_requests_total", "http_request_duration_seconds", 1.0, "handler", Some("method"), "status", CLASSES, false, H, &[]),
    dialect("", "http_request_duration_seconds", 1.0, "route", Some("method"), "status_code", CODES, true, H, &[]),
    dialect("promhttp_requests_total", "promhttp_request_seconds", 1.0, "handler", None, "code", GATEWAY, false, S, &[]),
    dialect("http_server_request_total", "http_server_request_duration_ms", 1e3, "path", Some("verb"), "status", CODES, true, H, &[]),
    dialect("", "http_server_request_duration_seconds", 1.0, "http_route", Some("http_request_method"), "http_response_status_code", CODES, true, H, &[("url_scheme", "http"), ("network_protocol_version", "1.1")]),
    dialect("", "http_server_duration_milliseconds", 1e3, "http_target", Some("http_method"), "http_status_code", GATEWAY, true, H, &[("http_scheme", "https")]),
    dialect("http_requests_received_total", "http_request_duration_seconds", 1.0, "controller", Some("method"), "code", CODES, true, H, &[("endpoint", "default")]),
    dialect("envoy_cluster_upstream_rq_xx", "envoy_cluster_upstream_rq_time", 1e3, "envoy_cluster_name", None, "envoy_response_code_class", ["2", "4", "5"], false, H, &[]),
    dialect("nginx_http_requests_total", "nginx_http_request_seconds", 1.0, "host", None, "status", CODES, false, C, &[("server_zone", "main")]),
    dialect("nginx_vts_server_requests_total", "nginx_vts_server_request_seconds", 1.0, "host", None, "code", CLASSES, false, C, &[]),
    dialect("flask_http_request_total", "flask_http_request_duration_seconds", 1.0, "path", Some("method"), "status", CODES, true, H, &[]),
    dialect("django_http_responses_total_by_status_view_method_total", "django_http_requests_latency_seconds_by_view_method", 1.0, "view", Some("method"), "status", CODES, false, H, &[]),
    dialect("starlette_requests_total", "starlette_request_duration_seconds", 1.0, "path", Some("method"), "status_code", CODES, true, H, &[("app_name", "starlette")]),
    dialect("caddy_http_responses_total", "caddy_http_request_duration_seconds", 1.0, "handler", Some("method"), "code", CODES, true, H, &[("server", "srv0")]),
    dialect("traefik_service_requests_total", "traefik_service_request_duration_seconds", 1.0, "service", Some("method"), "code", GATEWAY, true, H, &[("protocol", "http")]),
    dialect("haproxy_backend_http_responses_total", "haproxy_backend_response_time_seconds", 1.0, "proxy", None, "code", CLASSES, false, C, &[]),
    dialect("istio_requests_total", "istio_request_duration_milliseconds", 1e3, "destination_service", None, "response_code", GATEWAY, true, H, &[("reporter", "destination")]),
    dialect("api_calls", "api_latency_seconds", 1.0, "api", None, "outcome", ["success", "client_error", "server_error"], false, S, &[]),
    dialect("requests_total", "request_latency_seconds", 1.0, "endpoint", None, "result", ["ok", "rejected", "error"], false, H, &[]),
    dialect("myapp_requests", "myapp_request_time_ms", 1e3, "op", None, "success", ["true", "true", "false"], false, S, &[]),
    dialect("web_hits_total", "web_response_seconds", 1.0, "page", None, "class", CLASSES_UPPER, false, H, &[]),
];

#[rustfmt::skip]
const RPC: &[Dialect] = &[
    dialect("grpc_server_handled_total", "grpc_server_handling_seconds", 1.0, "grpc_method", None, "grpc_code", ["OK", "NotFound", "Internal"], false, H, &[("grpc_type", "unary"), ("grpc_service", "shop.v1.Api")]),
    dialect("grpc_server_handled_total", "grpc_server_handling_seconds", 1.0, "grpc_method", None, "grpc_code", ["OK", "InvalidArgument", "Unavailable"], false, H, &[("grpc_type", "unary"), ("grpc_service", "core.Engine")]),
    dialect("", "rpc_server_duration_milliseconds", 1e3, "rpc_method", None, "rpc_grpc_status_code", ["0", "5", "13"], true, H, &[("rpc_system", "grpc"), ("rpc_service", "core.Engine")]),
    dialect("", "grpc_server_processing_duration_seconds", 1.0, "method", None, "statusCode", ["OK", "NOT_FOUND", "UNKNOWN"], true, S, &[("methodType", "UNARY")]),
    dialect("dubbo_provider_requests_total", "dubbo_provider_rt_milliseconds", 1e3, "method", None, "status", ["success", "business_failed", "failed"], false, C, &[("interface", "com.example.Api")]),
    dialect("thrift_calls_total", "thrift_call_duration_seconds", 1.0, "method", None, "result", ["ok", "bad_request", "exception"], true, H, &[]),
    dialect("rpc_requests_total", "rpc_request_duration_seconds", 1.0, "rpc", None, "code", ["ok", "invalid_argument", "internal"], false, H, &[]),
];

#[rustfmt::skip]
const JVM: &[Dialect] = &[
    dialect("", "http_server_requests_seconds", 1.0, "uri", Some("method"), "status", CODES, true, C, &[("exception", "None")]),
    dialect("", "http_server_requests_seconds", 1.0, "uri", Some("method"), "outcome", ["SUCCESS", "CLIENT_ERROR", "SERVER_ERROR"], true, H, &[]),
    dialect("", "http_server_requests_seconds", 1.0, "uri", Some("method"), "status", GATEWAY, true, S, &[("application", "app")]),
    dialect("jetty_responses_total", "jetty_requests_seconds", 1.0, "context", None, "code", CLASSES, false, C, &[]),
    dialect("vertx_http_server_requests_total", "vertx_http_server_response_time_seconds", 1.0, "path", Some("method"), "code", CODES, true, S, &[]),
];

#[rustfmt::skip]
const CALLS: &[Dialect] = &[
    dialect("", "http_client_requests_seconds", 1.0, "client_name", Some("method"), "status", CODES, true, C, &[]),
    dialect("", "http_client_request_duration_seconds", 1.0, "server_address", Some("http_request_method"), "http_response_status_code", GATEWAY, true, H, &[]),
    dialect("grpc_client_handled_total", "grpc_client_handling_seconds", 1.0, "grpc_service", None, "grpc_code", ["OK", "NotFound", "Unavailable"], false, H, &[("grpc_type", "unary")]),
    dialect("outgoing_requests_total", "outgoing_request_seconds", 1.0, "target", None, "result", ["ok", "refused", "error"], false, H, &[]),
    dialect("dependency_calls_total", "dependency_call_duration_ms", 1e3, "dependency", None, "outcome", ["success", "rejected", "failure"], false, S, &[]),
    dialect("db_queries_total", "db_query_duration_seconds", 1.0, "db", None, "status", ["ok", "ok", "error"], false, H, &[]),
    dialect("upstream_responses_total", "upstream_response_seconds", 1.0, "upstream", None, "code", CLASSES, false, C, &[]),
];

#[derive(Clone)]
enum Duration {
    Histogram(Histogram),
    Summary(Summary),
    Sums { sum: Count, count: Count, max: Option<(Level, f64)>, per_second: f64 },
}

impl Duration {
    fn add(&mut self, requests: f64, latency: &Latency, elapsed: f64, dice: &mut Dice) {
        match self {
            Self::Histogram(histogram) => histogram.add(requests, latency, dice),
            Self::Summary(summary) => summary.add(requests, latency, elapsed, dice),
            Self::Sums { sum, count, max, per_second } => {
                if requests > 0.0 {
                    let noise = dice.factor((latency.spread / requests.sqrt()).min(0.5));
                    sum.add(requests * latency.mean() * noise * *per_second);
                    count.add(requests);
                }
                if let Some((_, held)) = max {
                    let extreme = latency.quantile(1.0 - 0.5 / requests.max(1.0)) * dice.factor(0.3);
                    let faded = *held * (-elapsed / 60.0).exp();
                    *held = if requests > 0.0 { extreme.max(faded) } else { faded };
                }
            }
        }
    }

    fn restart(&mut self) {
        match self {
            Self::Histogram(histogram) => histogram.restart(),
            Self::Summary(summary) => summary.restart(),
            Self::Sums { sum, count, max, .. } => {
                sum.restart();
                count.restart();
                if let Some((_, held)) = max {
                    *held = 0.0;
                }
            }
        }
    }

    fn expose(&self, page: &mut Vec<Sample>) {
        match self {
            Self::Histogram(histogram) => histogram.expose(page),
            Self::Summary(summary) => summary.expose(page),
            Self::Sums { sum, count, max, .. } => {
                count.expose(page);
                sum.expose(page);
                if let Some((level, held)) = max {
                    level.expose(*held, page);
                }
            }
        }
    }
}

/// Requests of one kind, counted by outcome and timed.
#[derive(Clone)]
struct Served {
    counts: [Option<Count>; 3],
    durations: [Option<Duration>; 3],
}

/// Which events an instrument counts.
#[derive(Clone, Copy, PartialEq)]
enum Side {
    Inbound,
    Outgoing,
}

#[derive(Clone)]
struct Requests {
    side: Side,
    /// Which series takes in which outcome.
    slots: [usize; 3],
    served: Vec<Served>,
    families: Vec<MetricFamily>,
}

impl Requests {
    /// One group of series for each name of `routes` and segment.
    fn new(
        dialect: &Dialect,
        side: Side,
        routes: &[(&str, &str)],
        service: &Service,
        typical_seconds: f64,
        dice: &mut Dice,
    ) -> Self {
        let lazy = dice.chance(0.6);
        let writing = Writing::draw(dialect.per_second, typical_seconds, dice);
        let memory = dice.log_between(30.0, 600.0);
        let quantiles =
            *dice.pick(&[&[0.5, 0.9, 0.99][..], &[0.5, 0.95, 0.99, 0.999], &[0.99], &[0.5, 0.75, 0.95]]);
        let with_max = dice.chance(0.5);
        let segments = if side == Side::Inbound { &service.segments[..] } else { &service.segments[..1] };
        // Some libraries write a refused request like one that succeeded.
        let slots = if dialect.words[0] == dialect.words[1] { [0, 0, 2] } else { [0, 1, 2] };
        let mut served = Vec::new();
        for (route, method) in routes {
            for segment in segments {
                let mut labels: Vec<(&str, &str)> = dialect.constant.to_vec();
                labels.push((dialect.route, route));
                labels.extend(dialect.method.map(|label| (label, *method)));
                if side == Side::Inbound {
                    labels.extend(service.segment_label.map(|label| (label, segment.name.as_str())));
                }
                let with_status = |status: &'static str| {
                    labels.iter().copied().chain([(dialect.status, status)]).collect::<Vec<_>>()
                };
                let counted = !dialect.count.is_empty();
                let counts = [0, 1, 2].map(|outcome| {
                    let new = |word| Count::new(dialect.count, &with_status(word), lazy);
                    (counted && slots[outcome] == outcome).then(|| new(dialect.words[outcome]))
                });
                let duration = |labels: &[(&str, &str)]| match dialect.shape {
                    Shape::Histogram => {
                        Duration::Histogram(Histogram::new(dialect.duration, labels, writing, lazy))
                    }
                    Shape::Summary => Duration::Summary(Summary::new(
                        dialect.duration,
                        labels,
                        quantiles,
                        dialect.per_second,
                        memory,
                    )),
                    Shape::Sums => Duration::Sums {
                        sum: Count::new(&format!("{}_sum", dialect.duration), labels, lazy),
                        count: Count::new(&format!("{}_count", dialect.duration), labels, lazy),
                        max: with_max
                            .then(|| (Level::new(&format!("{}_max", dialect.duration), labels), 0.0)),
                        per_second: dialect.per_second,
                    },
                };
                let durations = if dialect.status_on_duration {
                    let own = |o: usize| (slots[o] == o).then(|| duration(&with_status(dialect.words[o])));
                    [own(0), own(1), own(2)]
                } else {
                    [Some(duration(&labels)), None, None]
                };
                served.push(Served { counts, durations });
            }
        }
        let kind =
            if dialect.shape == Shape::Histogram { MetricKind::Histogram } else { MetricKind::Summary };
        let mut families = vec![family(dialect.duration, kind)];
        if !dialect.count.is_empty() {
            families.push(family(dialect.count, MetricKind::Counter));
        }
        if with_max && dialect.shape == Shape::Sums {
            families.push(family(&format!("{}_max", dialect.duration), MetricKind::Gauge));
        }
        Self { side, slots, served, families }
    }
}

impl Instrument for Requests {
    fn families(&self, out: &mut Vec<MetricFamily>) {
        out.extend(self.families.iter().cloned());
    }

    fn expose(&mut self, _service: &Service, tick: &Tick, dice: &mut Dice, page: &mut Vec<Sample>) {
        let inbound = |cell: &Cell| ([cell.ok, cell.client_errors, cell.server_errors], cell.latency);
        let events: Vec<([f64; 3], Latency)> = match self.side {
            Side::Inbound => tick.cells.iter().map(inbound).collect(),
            Side::Outgoing => tick.calls.iter().map(|c| ([c.ok, 0.0, c.failed], c.latency)).collect(),
        };
        for (served, (outcomes, latency)) in self.served.iter_mut().zip(events) {
            for (outcome, events) in outcomes.iter().enumerate() {
                let slot = self.slots[outcome];
                if let Some(count) = &mut served.counts[slot] {
                    count.add(*events);
                }
                let slot = if served.durations[slot].is_some() { slot } else { 0 };
                if let Some(duration) = &mut served.durations[slot] {
                    duration.add(*events, &latency, tick.seconds, dice);
                }
            }
            served.counts.iter().flatten().for_each(|count| count.expose(page));
            served.durations.iter().flatten().for_each(|duration| duration.expose(page));
        }
    }

    fn restart(&mut self) {
        for served in &mut self.served {
            served.counts.iter_mut().flatten().for_each(Count::restart);
            served.durations.iter_mut().flatten().for_each(Duration::restart);
        }
    }

    fn copy(&self) -> Box<dyn Instrument> {
        Box::new(self.clone())
    }
}

fn draw_inbound(panel: &mut Panel, dialects: &[Dialect], service: &Service, dice: &mut Dice) {
    let dialect = dice.pick(dialects);
    let routes: Vec<(&str, &str)> =
        service.routes.iter().map(|route| (route.name.as_str(), route.method)).collect();
    let typical = service.routes.iter().map(|route| route.latency_log).sum::<f64>() / routes.len() as f64;
    let requests = Requests::new(dialect, Side::Inbound, &routes, service, typical.exp(), dice);
    panel.add(requests, &[Aspect::Errors, Aspect::Latency, Aspect::Traffic]);
    let tells_outcomes = !dialect.count.is_empty() || dialect.status_on_duration;
    if tells_outcomes && dialect.words[0] != dialect.words[1] {
        panel.aspects.push(Aspect::Refusals);
    }
}

pub(super) fn draw_http(panel: &mut Panel, service: &Service, dice: &mut Dice) {
    draw_inbound(panel, HTTP, service, dice);
}

pub(super) fn draw_rpc(panel: &mut Panel, service: &Service, dice: &mut Dice) {
    draw_inbound(panel, RPC, service, dice);
}

pub(super) fn draw_jvm(panel: &mut Panel, service: &Service, dice: &mut Dice) {
    draw_inbound(panel, JVM, service, dice);
}

pub(super) fn draw_calls(panel: &mut Panel, service: &Service, dice: &mut Dice) {
    let dialect = if service.style == Style::Jvm { &CALLS[0] } else { dice.pick(CALLS) };
    let names: Vec<(&str, &str)> = service.dependencies.iter().map(|d| (d.name, "GET")).collect();
    let typical = service.dependencies[0].latency_log.exp();
    let requests = Requests::new(dialect, Side::Outgoing, &names, service, typical, dice);
    panel.add(requests, &[Aspect::Calls]);
}

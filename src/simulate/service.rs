//! What a service is before anything is released: its requests, their costs,
//! its resources. Everything is drawn, so that no two services are alike.

use super::Style;
use super::random::Dice;

/// One kind of request.
#[derive(Clone, Debug)]
pub(super) struct Route {
    pub(super) name: String,
    pub(super) method: &'static str,
    /// Share of the service's requests.
    pub(super) share: f64,
    /// Usual share that fails as the server's fault.
    pub(super) server_errors: f64,
    /// Usual share that is refused as the client's fault.
    pub(super) client_errors: f64,
    /// Logarithm of the median latency in seconds.
    pub(super) latency_log: f64,
    pub(super) latency_spread: f64,
    /// Share of slow requests, and how much slower they are.
    pub(super) tail: (f64, f64),
}

/// A part of the users: a region, a tenant, a device.
#[derive(Clone, Debug)]
pub(super) struct Segment {
    pub(super) name: String,
    pub(super) share: f64,
}

/// Something the service calls.
#[derive(Clone, Debug)]
pub(super) struct Dependency {
    pub(super) name: &'static str,
    pub(super) calls_per_request: f64,
    pub(super) errors: f64,
    pub(super) latency_log: f64,
}

/// How a young process differs from an old one.
#[derive(Clone, Copy, Debug)]
pub(super) struct WarmUp {
    pub(super) seconds: f64,
    pub(super) latency: f64,
    pub(super) cpu: f64,
    pub(super) cache_misses: f64,
    /// Share of failures in the first seconds, and how many seconds.
    pub(super) errors: f64,
    pub(super) error_seconds: f64,
    /// Seconds until memory is as large as an old process'.
    pub(super) memory_seconds: f64,
    /// Share of the usual memory that a new process has at once.
    pub(super) memory_at_once: f64,
}

impl WarmUp {
    /// How much slower a process may be at first: compilers slow it much for
    /// a short time, caches a little for a long time.
    pub(super) fn largest(seconds: f64) -> f64 {
        (60.0 / seconds).clamp(0.4, 2.5)
    }
}

/// A service as it is before the release.
#[derive(Clone, Debug)]
pub(super) struct Service {
    pub(super) style: Style,
    pub(super) application: String,
    pub(super) routes: Vec<Route>,
    pub(super) segments: Vec<Segment>,
    pub(super) segment_label: Option<&'static str>,
    pub(super) dependencies: Vec<Dependency>,
    /// Usual requests a second of one instance.
    pub(super) rate: f64,
    /// How much arrivals are clumped, beyond independent ones.
    pub(super) clumping: f64,
    /// Spread of the error ratio over time, in the logarithm.
    pub(super) error_spread: f64,
    pub(super) cpu_idle: f64,
    pub(super) cpu_per_request: f64,
    pub(super) cores: f64,
    pub(super) memory: f64,
    pub(super) threads: f64,
    pub(super) descriptors: f64,
    pub(super) pool_size: f64,
    /// Usual share of the pool in use.
    pub(super) pool_use: f64,
    pub(super) cache_hits: f64,
    /// How often the heap is emptied, in seconds.
    pub(super) heap_seconds: f64,
    /// Exceptions a request.
    pub(super) exceptions: f64,
    pub(super) logs_per_request: f64,
    pub(super) log_errors: f64,
    /// How long a worker's job waits, usually, in seconds.
    pub(super) queue_seconds: f64,
    pub(super) warm_up: WarmUp,
    /// Spread of each instance's latency and CPU against the others', for good.
    pub(super) old_difference: f64,
    /// Wandering of latency shared by all, and of each alone.
    pub(super) latency_wander: (f64, f64),
}

const RESOURCES: &[&str] = &[
    "cart",
    "checkout",
    "items",
    "search",
    "login",
    "users",
    "profile",
    "orders",
    "recommend",
    "feed",
    "upload",
    "messages",
    "tickets",
    "prices",
    "stock",
    "sessions",
    "invoices",
    "quotes",
    "maps",
    "reports",
    "notify",
    "catalog",
    "reviews",
    "wallet",
];
const DEPENDENCIES: &[&str] = &[
    "postgres",
    "mysql",
    "redis",
    "kafka",
    "inventory",
    "pricing",
    "identity",
    "mail",
    "search-index",
    "object-store",
    "fraud",
    "ledger",
    "geo",
];
const APPLICATIONS: &[&str] = &[
    "storefront",
    "gateway",
    "billing",
    "ledger",
    "catalogue",
    "matcher",
    "dispatch",
    "ranking",
    "mailer",
    "thumbnailer",
    "tracker",
    "auctions",
    "ride",
    "chat",
    "media",
    "quotes",
];
const SEGMENTS: &[(&str, &[&str])] = &[
    ("region", &["eu-west", "us-east", "ap-south", "sa-east"]),
    ("tenant", &["acme", "globex", "initech", "umbrella", "hooli"]),
    ("device", &["ios", "android", "web"]),
    ("country", &["de", "cn", "us", "br", "in"]),
    ("zone", &["a", "b", "c"]),
    ("channel", &["app", "site", "partner"]),
    ("plan", &["free", "pro"]),
];

impl Service {
    /// Draws a service of a style.
    pub(super) fn draw(style: Style, dice: &mut Dice) -> Self {
        let (segment_label, segments) = segments(style, dice);
        let rate = match style {
            Style::Worker => dice.log_between(1.0, 60.0),
            Style::Mobile => dice.log_between(30.0, 600.0),
            Style::Rpc => dice.log_between(5.0, 800.0),
            Style::Http | Style::Jvm | Style::Shop | Style::Hosts | Style::Recorded => {
                dice.log_between(3.0, 300.0)
            }
        };
        let cores = *dice.pick(&[1.0, 2.0, 4.0, 8.0, 16.0]);
        let busy = dice.between(0.05, 0.55) * cores;
        Self {
            style,
            application: format!("{}-{}", dice.pick(APPLICATIONS), dice.pick(&["api", "svc", "web", "core"])),
            routes: routes(style, dice),
            segments,
            segment_label,
            dependencies: dependencies(dice),
            rate,
            clumping: if dice.chance(0.5) { 0.0 } else { dice.between(0.02, 0.15) },
            error_spread: dice.between(0.0, 0.7),
            cpu_idle: dice.log_between(0.002, 0.05) * cores,
            cpu_per_request: busy / rate,
            cores,
            memory: dice.log_between(3e7, 6e9),
            threads: dice.log_between(6.0, 300.0).round(),
            descriptors: dice.log_between(15.0, 900.0).round(),
            pool_size: *dice.pick(&[5.0, 10.0, 20.0, 30.0, 50.0, 100.0]),
            pool_use: dice.between(0.05, 0.4),
            cache_hits: dice.between(0.6, 0.98),
            heap_seconds: dice.log_between(0.5, 60.0),
            exceptions: if dice.chance(0.4) { 0.0 } else { dice.log_between(1e-5, 5e-3) },
            logs_per_request: dice.log_between(0.01, 5.0),
            log_errors: if dice.chance(0.4) { 0.0 } else { dice.log_between(1e-5, 1e-2) },
            queue_seconds: dice.log_between(0.2, 60.0),
            warm_up: warm_up(style, dice),
            old_difference: if dice.chance(0.3) { 0.02 } else { dice.between(0.03, 0.25) },
            latency_wander: (dice.between(0.01, 0.12), dice.between(0.01, 0.1)),
        }
    }
}

fn segments(style: Style, dice: &mut Dice) -> (Option<&'static str>, Vec<Segment>) {
    let segmented = match style {
        Style::Shop => 0.6,
        Style::Http | Style::Rpc | Style::Worker => 0.25,
        Style::Jvm | Style::Recorded => 0.1,
        Style::Mobile | Style::Hosts => 0.0,
    };
    if !dice.chance(segmented) {
        return (None, vec![Segment { name: String::new(), share: 1.0 }]);
    }
    let (label, names) = *dice.pick(SEGMENTS);
    let weights: Vec<f64> = names.iter().map(|_| dice.log_between(0.15, 1.0)).collect();
    let total: f64 = weights.iter().sum();
    let segments = names
        .iter()
        .zip(weights)
        .map(|(name, weight)| Segment { name: (*name).to_owned(), share: weight / total })
        .collect();
    (Some(label), segments)
}

fn routes(style: Style, dice: &mut Dice) -> Vec<Route> {
    let count = match style {
        Style::Worker => dice.whole(1, 4),
        Style::Mobile | Style::Hosts => 1,
        Style::Http | Style::Rpc | Style::Jvm | Style::Shop | Style::Recorded => dice.whole(1, 7),
    };
    let mut names = RESOURCES.to_vec();
    dice.shuffle(&mut names);
    let prefix = *dice.pick(&["/", "/api/", "/api/v1/", "/v2/", "/rest/"]);
    let suffix = *dice.pick(&["", "", "/{id}", "/:id"]);
    let latency_log = dice.log_between(0.002, 0.6).ln();
    let spread = dice.between(0.25, 0.9);
    let clean = dice.chance(0.35);
    let errors = dice.log_between(2e-5, 8e-3);
    let refused = if dice.chance(0.3) { 0.0 } else { dice.log_between(1e-4, 8e-2) };
    let mut routes: Vec<Route> = names[..count]
        .iter()
        .map(|name| Route {
            name: match style {
                Style::Rpc => rpc_name(name),
                Style::Worker => format!("{name}{}", dice.pick(&["", "_job", ".sync", "-task"])),
                Style::Http | Style::Jvm | Style::Shop | Style::Mobile | Style::Hosts | Style::Recorded => {
                    format!("{prefix}{name}{}", if dice.chance(0.4) { suffix } else { "" })
                }
            },
            method: dice.pick::<&str>(&["GET", "GET", "GET", "POST", "PUT"]),
            share: dice.log_between(0.04, 1.0),
            server_errors: if clean || dice.chance(0.3) { 0.0 } else { errors * dice.factor(0.8) },
            client_errors: if dice.chance(0.3) { 0.0 } else { refused * dice.factor(0.7) },
            latency_log: latency_log + dice.normal() * 0.7,
            latency_spread: spread * dice.factor(0.15),
            tail: (
                if dice.chance(0.4) { 0.0 } else { dice.log_between(0.002, 0.05) },
                dice.between(4.0, 25.0),
            ),
        })
        .collect();
    let total: f64 = routes.iter().map(|route| route.share).sum();
    for route in &mut routes {
        route.share /= total;
    }
    routes
}

fn rpc_name(name: &str) -> String {
    let mut letters = name.chars();
    let first: String = letters.next().into_iter().flat_map(char::to_uppercase).collect();
    format!("Get{first}{}", letters.as_str())
}

fn dependencies(dice: &mut Dice) -> Vec<Dependency> {
    let count = dice.whole(1, 3);
    dice.some_of(count, DEPENDENCIES.len())
        .into_iter()
        .map(|index| Dependency {
            name: DEPENDENCIES[index],
            calls_per_request: dice.log_between(0.2, 4.0),
            errors: if dice.chance(0.5) { 0.0 } else { dice.log_between(1e-5, 5e-3) },
            latency_log: dice.log_between(0.0005, 0.1).ln(),
        })
        .collect()
}

fn warm_up(style: Style, dice: &mut Dice) -> WarmUp {
    let strong = match style {
        Style::Jvm => dice.between(0.5, 1.0),
        Style::Http | Style::Rpc | Style::Worker | Style::Shop | Style::Hosts | Style::Recorded => {
            if dice.chance(0.4) { 0.0 } else { dice.between(0.1, 0.8) }
        }
        Style::Mobile => 0.0,
    };
    let seconds = dice.log_between(8.0, 240.0);
    let largest = WarmUp::largest(seconds);
    WarmUp {
        seconds,
        latency: strong * dice.between(0.1, largest),
        cpu: strong * dice.between(0.1, largest),
        cache_misses: if dice.chance(0.4) { 0.0 } else { dice.between(0.2, 0.9) },
        errors: if dice.chance(0.85) { 0.0 } else { dice.between(0.005, 0.05) },
        error_seconds: dice.between(3.0, 25.0),
        memory_seconds: dice.log_between(30.0, 3_000.0),
        memory_at_once: dice.between(0.35, 0.95),
    }
}

//! What the business counts: orders, payments, amounts; sessions, crashes and
//! freezes of mobile applications.

use crate::domain::{MetricFamily, MetricKind, Sample};

use super::super::machine::Tick;
use super::super::random::Dice;
use super::super::service::Service;
use super::parts::{Count, Histogram, Labels, Writing, family};
use super::{Aspect, Instrument, Panel};

/// One thing that is counted for each so many requests.
#[derive(Clone)]
struct Sold {
    kind: usize,
    segment: usize,
    per_request: f64,
    /// Mean of what is added for one event: 1, or an amount.
    worth: f64,
    /// Whether it counts what went wrong.
    failure: bool,
    count: Count,
}

#[derive(Clone)]
struct Shop {
    sold: Vec<Sold>,
    families: Vec<MetricFamily>,
}

struct Ledger {
    orders: &'static str,
    payments: &'static str,
    result: (&'static str, [&'static str; 2]),
    amount: &'static str,
}

const LEDGERS: &[Ledger] = &[
    Ledger {
        orders: "orders_total",
        payments: "payments_total",
        result: ("result", ["success", "failure"]),
        amount: "order_amount_total",
    },
    Ledger {
        orders: "shop_orders_created_total",
        payments: "shop_payments_total",
        result: ("status", ["captured", "declined"]),
        amount: "shop_revenue_cents_total",
    },
    Ledger {
        orders: "checkout_completed",
        payments: "payment_attempts",
        result: ("outcome", ["ok", "failed"]),
        amount: "gmv_usd_total",
    },
    Ledger {
        orders: "bookings_count_total",
        payments: "transactions_total",
        result: ("state", ["approved", "rejected"]),
        amount: "",
    },
    Ledger {
        orders: "business_trades_total",
        payments: "business_settlements_total",
        result: ("success", ["true", "false"]),
        amount: "business_turnover_total",
    },
];

pub(super) fn draw_shop(panel: &mut Panel, service: &Service, dice: &mut Dice) {
    let ledger = dice.pick(LEDGERS);
    let orders = dice.log_between(0.01, 0.4);
    let declined = dice.between(0.01, 0.1);
    let worth = dice.log_between(5.0, 9_000.0);
    let mut shop = Shop { sold: Vec::new(), families: Vec::new() };
    for (segment, part) in service.segments.iter().enumerate() {
        let base: Vec<(&str, &str)> =
            service.segment_label.map(|label| (label, part.name.as_str())).into_iter().collect();
        let mut add = |kind, per_request, worth, failure, name: &str, labels: Labels<'_>| {
            let count = Count::new(name, labels, false);
            shop.sold.push(Sold { kind, segment, per_request, worth, failure, count });
        };
        add(0, orders, 1.0, false, ledger.orders, &base);
        for (word, failure) in ledger.result.1.into_iter().zip([false, true]) {
            let labels: Vec<_> = base.iter().copied().chain([(ledger.result.0, word)]).collect();
            let share = if failure { declined } else { 1.0 - declined };
            add(1, orders * share, 1.0, failure, ledger.payments, &labels);
        }
        if !ledger.amount.is_empty() {
            add(2, orders, worth, false, ledger.amount, &base);
        }
    }
    for name in [ledger.orders, ledger.payments, ledger.amount] {
        if !name.is_empty() {
            shop.families.push(family(name, MetricKind::Counter));
        }
    }
    panel.add(shop, &[Aspect::Business]);
}

impl Instrument for Shop {
    fn families(&self, out: &mut Vec<MetricFamily>) {
        out.extend(self.families.iter().cloned());
    }

    fn expose(&mut self, _service: &Service, tick: &Tick, dice: &mut Dice, page: &mut Vec<Sample>) {
        for sold in &mut self.sold {
            let cells = tick.cells.iter().filter(|cell| cell.segment == sold.segment);
            let served: f64 = cells.map(|cell| cell.ok).sum();
            let usual = served * sold.per_request;
            let factor = tick.condition.business(sold.kind, sold.segment);
            // What no longer succeeds in payments fails.
            let lost = if sold.failure { usual * (1.0 - factor).max(0.0) / 0.06 } else { 0.0 };
            let events = dice.poisson(if sold.failure { usual + lost } else { usual * factor });
            let added = if sold.worth == 1.0 {
                events
            } else {
                let noise = if events > 0.0 { dice.factor((0.8 / events.sqrt()).min(0.8)) } else { 1.0 };
                (events * sold.worth * noise * 100.0).round() / 100.0
            };
            sold.count.add(added);
            sold.count.expose(page);
        }
    }

    fn restart(&mut self) {
        self.sold.iter_mut().for_each(|sold| sold.count.restart());
    }

    fn copy(&self) -> Box<dyn Instrument> {
        Box::new(self.clone())
    }
}

/// What applications on telephones report, by version and region.
#[derive(Clone)]
struct Mobile {
    sessions: Count,
    crashes: Count,
    freezes: Count,
    calls: [Count; 2],
    starts: Histogram,
    crash_ratio: f64,
    freeze_ratio: f64,
    families: Vec<MetricFamily>,
}

pub(super) fn draw_mobile(panel: &mut Panel, service: &Service, dice: &mut Dice) {
    let (sessions, crashes, freezes, api): (&str, &str, &str, &str) = *dice.pick(&[
        ("app_sessions_total", "app_crashes_total", "app_anr_total", "app_api_requests_total"),
        (
            "mobile_session_starts_total",
            "mobile_crash_total",
            "mobile_anrs_total",
            "mobile_http_requests_total",
        ),
        ("sessions", "crash_events", "anr_events", "network_requests"),
        (
            "client_launches_total",
            "client_fatal_errors_total",
            "client_hangs_total",
            "client_api_calls_total",
        ),
    ]);
    let start = *dice.pick(&["app_start_seconds", "cold_start_duration_seconds", "launch_time_seconds"]);
    let (label, words) = *dice.pick(&[("result", ["ok", "error"]), ("status", ["2xx", "5xx"])]);
    let typical = service.routes[0].latency_log.exp();
    let writing = Writing::draw(1.0, typical, dice);
    let mobile = Mobile {
        sessions: Count::new(sessions, &[], false),
        crashes: Count::new(crashes, &[], false),
        freezes: Count::new(freezes, &[], false),
        calls: words.map(|word| Count::new(api, &[(label, word)], false)),
        starts: Histogram::new(start, &[], writing, false),
        crash_ratio: dice.log_between(5e-4, 1e-2),
        freeze_ratio: dice.log_between(3e-4, 5e-3),
        families: [sessions, crashes, freezes, api]
            .map(|name| family(name, MetricKind::Counter))
            .into_iter()
            .chain([family(start, MetricKind::Histogram)])
            .collect(),
    };
    panel.add(mobile, &[Aspect::Mobile, Aspect::Errors, Aspect::Latency, Aspect::Traffic]);
}

impl Instrument for Mobile {
    fn families(&self, out: &mut Vec<MetricFamily>) {
        out.extend(self.families.iter().cloned());
    }

    fn expose(&mut self, _service: &Service, tick: &Tick, dice: &mut Dice, page: &mut Vec<Sample>) {
        let sessions = tick.requests();
        self.sessions.add(sessions);
        self.crashes.add(dice.binomial(sessions, (self.crash_ratio * tick.condition.crashes).min(1.0)));
        self.freezes.add(dice.binomial(sessions, (self.freeze_ratio * tick.condition.freezes).min(1.0)));
        for cell in &tick.cells {
            self.calls[0].add((cell.ok + cell.client_errors) * 8.0);
            self.calls[1].add(cell.server_errors * 8.0);
            self.starts.add(cell.requests(), &cell.latency, dice);
        }
        for count in [&self.sessions, &self.crashes, &self.freezes, &self.calls[0], &self.calls[1]] {
            count.expose(page);
        }
        self.starts.expose(page);
    }

    fn restart(&mut self) {
        for count in [&mut self.sessions, &mut self.crashes, &mut self.freezes] {
            count.restart();
        }
        self.calls.iter_mut().for_each(Count::restart);
        self.starts.restart();
    }

    fn copy(&self) -> Box<dyn Instrument> {
        Box::new(self.clone())
    }
}

//! What a process exposes, in the many ways in which the world's client
//! libraries and exporters write it.

mod business;
mod gauges;
mod jobs;
mod outside;
mod parts;
mod recorded;
mod requests;
mod runtime;
mod traces;

use crate::domain::{MetricFamily, Sample};

use super::Style;
use super::machine::Tick;
use super::random::Dice;
use super::service::Service;

/// One instrument of one instance. Its counters live as long as the process.
pub(super) trait Instrument: Send {
    /// What the target says of its metrics.
    fn families(&self, out: &mut Vec<MetricFamily>);
    /// Takes in what happened since the scrape before and exposes it.
    fn expose(&mut self, service: &Service, tick: &Tick, dice: &mut Dice, page: &mut Vec<Sample>);
    /// A new process: counters begin at zero.
    fn restart(&mut self);
    /// The same instrument for another instance.
    fn copy(&self) -> Box<dyn Instrument>;
    /// Whether it is part of the application and not of its runtime: it is
    /// what a page without metrics lacks.
    fn of_application(&self) -> bool {
        true
    }
}

/// What can be seen of an application; a fault is injected only where it
/// shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Aspect {
    Errors,
    /// Refused requests, apart from those that succeeded.
    Refusals,
    Latency,
    Traffic,
    Cpu,
    Memory,
    Threads,
    Descriptors,
    Pool,
    Queue,
    Cache,
    Calls,
    Exceptions,
    LogErrors,
    Gc,
    Business,
    Mobile,
    Gauges,
    ProcessStart,
}

/// The instruments of an application, and what they let be seen.
pub(super) struct Panel {
    pub(super) instruments: Vec<Box<dyn Instrument>>,
    pub(super) aspects: Vec<Aspect>,
    /// How many gauges without a known meaning there are.
    pub(super) gauges: usize,
}

impl Panel {
    fn add(&mut self, instrument: impl Instrument + 'static, aspects: &[Aspect]) {
        self.instruments.push(Box::new(instrument));
        self.aspects.extend_from_slice(aspects);
    }

    /// Draws the instruments of a service.
    pub(super) fn draw(service: &Service, dice: &mut Dice) -> Self {
        let mut panel = Self { instruments: Vec::new(), aspects: Vec::new(), gauges: 0 };
        match service.style {
            Style::Http => {
                requests::draw_http(&mut panel, service, dice);
                runtime::draw(&mut panel, service, dice);
                panel.extras(service, dice, 0.4);
            }
            Style::Rpc => {
                requests::draw_rpc(&mut panel, service, dice);
                runtime::draw(&mut panel, service, dice);
                panel.extras(service, dice, 0.4);
            }
            Style::Jvm => {
                requests::draw_jvm(&mut panel, service, dice);
                runtime::draw_jvm(&mut panel, service, dice);
                parts::draw_pool(&mut panel, service, dice);
                panel.extras(service, dice, 0.5);
            }
            Style::Worker => {
                jobs::draw(&mut panel, service, dice);
                runtime::draw(&mut panel, service, dice);
                panel.extras(service, dice, 0.3);
            }
            Style::Shop => {
                requests::draw_http(&mut panel, service, dice);
                business::draw_shop(&mut panel, service, dice);
                runtime::draw(&mut panel, service, dice);
                panel.extras(service, dice, 0.3);
            }
            Style::Mobile => business::draw_mobile(&mut panel, service, dice),
            Style::Hosts => gauges::draw(&mut panel, dice),
            Style::Recorded => {
                recorded::draw(&mut panel, service, dice);
                if dice.chance(0.5) {
                    runtime::draw(&mut panel, service, dice);
                }
            }
        }
        if dice.chance(0.5) {
            outside::draw(&mut panel, dice);
        }
        panel
    }

    /// Parts that any service may have.
    fn extras(&mut self, service: &Service, dice: &mut Dice, likely: f64) {
        if dice.chance(likely) {
            requests::draw_calls(self, service, dice);
        }
        if dice.chance(likely) {
            parts::draw_cache(self, service, dice);
        }
        if service.style != Style::Jvm && dice.chance(likely * 0.7) {
            parts::draw_pool(self, service, dice);
        }
        if dice.chance(likely) {
            traces::draw_exceptions(self, service, dice);
        }
        if dice.chance(likely + 0.1) {
            traces::draw_logs(self, service, dice);
        }
    }
}

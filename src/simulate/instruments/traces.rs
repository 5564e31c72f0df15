//! Log lines and exceptions, counted.

use crate::domain::{MetricFamily, MetricKind, Sample};

use super::super::machine::Tick;
use super::super::random::Dice;
use super::super::service::Service;
use super::parts::{Count, Labels, Readings, family};
use super::{Aspect, Instrument, Panel};

/// Log lines by level, as loggers' own counters name them.
pub(super) fn draw_logs(panel: &mut Panel, _service: &Service, dice: &mut Dice) {
    let mut readings = Readings::default();
    let (name, label, words): (&str, &str, [&str; 3]) = *dice.pick(&[
        ("logback_events_total", "level", ["info", "warn", "error"]),
        ("log_messages_total", "level", ["INFO", "WARNING", "ERROR"]),
        ("log4j2_appender_total", "level", ["info", "warn", "error"]),
        ("app_log_lines", "severity", ["info", "warning", "error"]),
        ("glog_messages_total", "severity", ["I", "W", "E"]),
        ("logger_entries_total", "lvl", ["info", "warn", "err"]),
    ]);
    let labels = |word| [(label, word)];
    readings.count(name, &labels(words[0]), |_, t| t.log_info);
    readings.count(name, &labels(words[1]), |_, t| t.log_warn);
    readings.count(name, &labels(words[2]), |_, t| t.log_error);
    panel.add(readings, &[Aspect::LogErrors]);
}

/// Exceptions by class; a class appears with its first exception.
#[derive(Clone)]
struct Exceptions {
    classes: Vec<Count>,
    family: MetricFamily,
}

pub(super) fn draw_exceptions(panel: &mut Panel, _service: &Service, dice: &mut Dice) {
    const JAVA: [&str; 5] = [
        "java.net.SocketTimeoutException",
        "com.example.ValidationException",
        "java.io.IOException",
        "java.lang.NullPointerException",
        "java.lang.NoSuchMethodError",
    ];
    const PYTHON: [&str; 5] = ["TimeoutError", "ValueError", "ConnectionError", "AttributeError", "KeyError"];
    const ERRORS: [&str; 5] = ["timeout", "invalid_input", "connection", "nil_pointer", "schema_mismatch"];
    let (name, label, classes): (&str, &str, [&str; 5]) = *dice.pick(&[
        ("exceptions_total", "exception", JAVA),
        ("unhandled_exceptions_total", "class", JAVA),
        ("python_exceptions_total", "type", PYTHON),
        ("django_http_exceptions_total_by_type_total", "type", PYTHON),
        ("errors_total", "kind", ERRORS),
        ("sentry_events", "error_type", PYTHON),
    ]);
    let count = |class: &&str| {
        let labels: Labels<'_> = &[(label, class)];
        Count::new(name, labels, true)
    };
    let exceptions = Exceptions {
        classes: classes.iter().map(count).collect(),
        family: family(name, MetricKind::Counter),
    };
    panel.add(exceptions, &[Aspect::Exceptions]);
}

impl Instrument for Exceptions {
    fn families(&self, out: &mut Vec<MetricFamily>) {
        out.push(self.family.clone());
    }

    fn expose(&mut self, _service: &Service, tick: &Tick, _dice: &mut Dice, page: &mut Vec<Sample>) {
        for (class, thrown) in self.classes.iter_mut().zip(&tick.exceptions) {
            class.add(*thrown);
            class.expose(page);
        }
    }

    fn restart(&mut self) {
        self.classes.iter_mut().for_each(Count::restart);
    }

    fn copy(&self) -> Box<dyn Instrument> {
        Box::new(self.clone())
    }
}

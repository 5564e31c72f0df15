//! The guardian's own metrics, all declared here, and the set-up of its log.

use std::io::IsTerminal;
use std::sync::atomic::{AtomicI64, AtomicU64};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// An application.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ApplicationLabels {
    /// Its name.
    pub application: String,
}

/// A release.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ReleaseLabels {
    /// Whose.
    pub application: String,
    /// Its id.
    pub release: String,
}

/// An application and a phase.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct PhaseLabels {
    /// Whose.
    pub application: String,
    /// The phase it reached.
    pub phase: String,
}

/// An application and an action.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ActionLabels {
    /// Whose.
    pub application: String,
    /// What was decided.
    pub action: String,
    /// By the guardian or an operator.
    pub by: &'static str,
}

/// A command's kind and end.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct CommandLabels {
    /// Whose.
    pub application: String,
    /// What was ordered.
    pub kind: &'static str,
    /// How it ended.
    pub settled: &'static str,
}

/// How a scrape ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ScrapeLabels {
    /// Whose.
    pub application: String,
    /// Complete, incomplete, or why it failed.
    pub outcome: &'static str,
}

/// One of a few words.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct WhatLabels {
    /// Which.
    pub what: &'static str,
}

/// A circuit breaker's target.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct TargetLabels {
    /// Its address.
    pub target: String,
}

type FloatGauge = Gauge<f64, AtomicU64>;

/// All metrics. Cloning clones pointers.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Releases that reached a phase.
    pub phases: Family<PhaseLabels, Counter>,
    /// Releases that are being watched.
    pub watching: Family<ApplicationLabels, Gauge>,
    /// Decisions by action.
    pub decisions: Family<ActionLabels, Counter>,
    /// Commands by how they ended.
    pub commands: Family<CommandLabels, Counter>,
    /// Attempts to deliver commands.
    pub attempts: Family<WhatLabels, Counter>,
    /// Scrapes by how they ended.
    pub scrapes: Family<ScrapeLabels, Counter>,
    /// Lines of pages that could not be read, and samples beyond limits.
    pub lines_lost: Family<ApplicationLabels, Counter>,
    /// The newest verdict's probability of each watched release.
    pub probability: Family<ReleaseLabels, FloatGauge>,
    /// How long what could not be judged was not judged.
    pub blind_seconds: Family<ApplicationLabels, Counter<f64, AtomicU64>>,
    /// Recall, from feedback.
    pub recall: Family<ApplicationLabels, FloatGauge>,
    /// Precision, from feedback.
    pub precision: Family<ApplicationLabels, FloatGauge>,
    /// False stops per good release, from feedback.
    pub false_stops: Family<ApplicationLabels, FloatGauge>,
    /// Median seconds from a fault's onset to the first stop, from feedback.
    pub stop_delay_seconds: Family<ApplicationLabels, FloatGauge>,
    /// Inputs that a full queue did not take.
    pub shed: Family<WhatLabels, Counter>,
    /// How long the store takes.
    pub store_seconds: Family<WhatLabels, Histogram>,
    /// What the store did not do.
    pub store_failures: Counter,
    /// Settings files that were refused.
    pub reload_failures: Counter,
    /// Whether the newest settings file is in force.
    pub settings_current: Gauge<i64, AtomicI64>,
    /// Panics that were caught.
    pub panics: Counter,
    /// Whether all commands are halted.
    pub halted: Gauge,
    /// 1 while a target is spared by its circuit breaker.
    pub breaker_open: Family<TargetLabels, Gauge>,
    /// From the input that completed the evidence to the first attempt.
    pub reaction_seconds: Histogram,
}

fn latency() -> Histogram {
    Histogram::new(exponential_buckets(0.000_25, 2.0, 16))
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            phases: Family::default(),
            watching: Family::default(),
            decisions: Family::default(),
            commands: Family::default(),
            attempts: Family::default(),
            scrapes: Family::default(),
            lines_lost: Family::default(),
            probability: Family::default(),
            blind_seconds: Family::default(),
            recall: Family::default(),
            precision: Family::default(),
            false_stops: Family::default(),
            stop_delay_seconds: Family::default(),
            shed: Family::default(),
            store_seconds: Family::new_with_constructor(latency),
            store_failures: Counter::default(),
            reload_failures: Counter::default(),
            settings_current: Gauge::default(),
            panics: Counter::default(),
            halted: Gauge::default(),
            breaker_open: Family::default(),
            reaction_seconds: latency(),
        }
    }
}

impl Metrics {
    /// All metrics under `release_guardian_`.
    pub fn registry(&self) -> Registry {
        let mut registry = Registry::with_prefix("release_guardian");
        let r = &mut registry;
        r.register("releases", "Releases that reached a phase", self.phases.clone());
        r.register("watching", "Releases that are being watched", self.watching.clone());
        r.register("decisions", "Decisions by action and who decided", self.decisions.clone());
        r.register("commands", "Commands by kind and how they ended", self.commands.clone());
        r.register(
            "command_attempts",
            "Attempts to deliver commands by what came of them",
            self.attempts.clone(),
        );
        r.register("scrapes", "Scrapes by how they ended", self.scrapes.clone());
        r.register(
            "lines_lost",
            "Lines of pages that could not be read, and samples beyond limits",
            self.lines_lost.clone(),
        );
        r.register(
            "fault_probability",
            "Probability that a watched release is faulty, by the newest verdict",
            self.probability.clone(),
        );
        r.register_with_unit(
            "blind",
            "Time in which a watched release could not be judged",
            Unit::Seconds,
            self.blind_seconds.clone(),
        );
        r.register(
            "recall",
            "Faulty releases that were stopped, by feedback; absent before any",
            self.recall.clone(),
        );
        r.register(
            "precision",
            "Stops that were right, by feedback; absent before any",
            self.precision.clone(),
        );
        r.register(
            "false_stops_per_good_release",
            "Good releases that were stopped, by feedback; absent before any",
            self.false_stops.clone(),
        );
        r.register_with_unit(
            "stop_delay",
            "Median time from a fault's onset to the first stop, by feedback; absent before any",
            Unit::Seconds,
            self.stop_delay_seconds.clone(),
        );
        r.register("shed", "Inputs that a full queue did not take", self.shed.clone());
        r.register_with_unit("store", "How long the store takes", Unit::Seconds, self.store_seconds.clone());
        r.register("store_failures", "What the store could not do", self.store_failures.clone());
        r.register("reload_failures", "Settings files that were refused", self.reload_failures.clone());
        r.register(
            "settings_current",
            "1 if the newest settings file is in force, 0 if it was refused",
            self.settings_current.clone(),
        );
        r.register("panics", "Panics that were caught; each is a defect to be reported", self.panics.clone());
        r.register("halted", "1 while all commands are halted", self.halted.clone());
        r.register(
            "breaker_open",
            "1 while a release system is spared after failures",
            self.breaker_open.clone(),
        );
        r.register_with_unit(
            "reaction",
            "From the scrape or call that completed the evidence to the release system having taken the command",
            Unit::Seconds,
            self.reaction_seconds.clone(),
        );
        registry
    }

    /// As OpenMetrics text.
    pub fn text(registry: &Registry) -> String {
        let mut text = String::new();
        // Writing into a string does not fail.
        let _ = encode(&mut text, registry);
        text
    }
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogStyle {
    /// For people, on standard error.
    Text,
    /// One JSON object a line, on standard error.
    Json,
    /// The journal's own protocol.
    Journal,
}

/// Sets up the log. `directives` as `info` or `info,release_guardian=debug`;
/// what cannot be read is taken as `info`. Where the journal cannot be
/// reached, text is written instead. Only the first call counts.
pub fn set_up_log(style: LogStyle, directives: &str) {
    let filter = EnvFilter::try_new(directives).unwrap_or_else(|_| EnvFilter::new("info"));
    let registry = tracing_subscriber::registry().with(filter);
    // Colours are for people who look at a terminal; a file keeps the codes.
    let colours = std::io::stderr().is_terminal();
    let text = || {
        tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_target(false).with_ansi(colours)
    };
    // A second call, as in tests, changes nothing.
    let _ = match style {
        LogStyle::Text => registry.with(text()).try_init(),
        LogStyle::Json => {
            registry.with(tracing_subscriber::fmt::layer().json().with_writer(std::io::stderr)).try_init()
        }
        LogStyle::Journal => match tracing_journald::layer() {
            Ok(journal) => registry.with(journal).try_init(),
            Err(_) => registry.with(text()).try_init(),
        },
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_written_as_openmetrics_with_their_units() {
        let metrics = Metrics::default();
        metrics.panics.inc();
        let labels = ReleaseLabels { application: "a\"b".into(), release: "r".into() };
        metrics.probability.get_or_create(&labels).set(0.5);
        let text = Metrics::text(&metrics.registry());
        assert!(text.contains("release_guardian_panics_total 1"), "{text}");
        assert!(
            text.contains("release_guardian_fault_probability{application=\"a\\\"b\",release=\"r\"} 0.5")
        );
        assert!(text.contains("# UNIT release_guardian_reaction_seconds seconds"), "{text}");
        assert!(text.ends_with("# EOF\n"));
    }
}

//! Workers and consumers: jobs done, failed and retried, what waits.

use super::super::machine::Tick;
use super::super::random::Dice;
use super::super::service::Service;
use super::parts::{Count, Histogram, Labels, Readings, Writing, family};
use super::{Aspect, Instrument, Panel};
use crate::domain::{MetricFamily, MetricKind, Sample};

/// How a job library names things.
struct Dialect {
    done: &'static str,
    job: &'static str,
    /// Label and words for succeeded, retried, failed; without a label there
    /// is one metric for each.
    status: Option<(&'static str, [&'static str; 3])>,
    failed: &'static str,
    retried: &'static str,
    duration: &'static str,
    per_second: f64,
}

#[rustfmt::skip]
const DIALECTS: &[Dialect] = &[
    Dialect { done: "jobs_processed_total", job: "queue", status: None, failed: "jobs_failed_total", retried: "jobs_retried_total", duration: "job_duration_seconds", per_second: 1.0 },
    Dialect { done: "celery_tasks_total", job: "name", status: Some(("state", ["succeeded", "retried", "failed"])), failed: "", retried: "", duration: "celery_task_runtime_seconds", per_second: 1.0 },
    Dialect { done: "sidekiq_jobs_executed_total", job: "worker", status: None, failed: "sidekiq_jobs_failed_total", retried: "sidekiq_jobs_retried_total", duration: "sidekiq_job_runtime_seconds", per_second: 1.0 },
    Dialect { done: "messages_consumed_total", job: "topic", status: Some(("result", ["ok", "requeued", "error"])), failed: "", retried: "", duration: "message_processing_ms", per_second: 1e3 },
    Dialect { done: "spring_kafka_listener_seconds_count", job: "name", status: Some(("result", ["success", "retry", "failure"])), failed: "", retried: "", duration: "", per_second: 1.0 },
    Dialect { done: "tasks_completed", job: "task", status: Some(("outcome", ["done", "retry", "failed"])), failed: "", retried: "", duration: "task_seconds", per_second: 1.0 },
];

#[derive(Clone)]
struct Jobs {
    /// By kind of job and part of the users: succeeded, retried, failed.
    done: Vec<[Count; 3]>,
    durations: Vec<Histogram>,
    families: Vec<MetricFamily>,
}

pub(super) fn draw(panel: &mut Panel, service: &Service, dice: &mut Dice) {
    let dialect = dice.pick(DIALECTS);
    let typical = service.routes[0].latency_log.exp();
    let writing = Writing::draw(dialect.per_second, typical, dice);
    let lazy = dice.chance(0.5);
    let mut jobs = Jobs { done: Vec::new(), durations: Vec::new(), families: Vec::new() };
    for route in &service.routes {
        for segment in &service.segments {
            let mut labels = vec![(dialect.job, route.name.as_str())];
            labels.extend(service.segment_label.map(|label| (label, segment.name.as_str())));
            let count = |word: usize| match dialect.status {
                Some((label, words)) => {
                    let labels: Vec<_> = labels.iter().copied().chain([(label, words[word])]).collect();
                    Count::new(dialect.done, &labels, lazy)
                }
                None => Count::new([dialect.done, dialect.retried, dialect.failed][word], &labels, lazy),
            };
            jobs.done.push([count(0), count(1), count(2)]);
            if !dialect.duration.is_empty() {
                jobs.durations.push(Histogram::new(dialect.duration, &labels, writing, lazy));
            }
        }
    }
    for name in [dialect.done, dialect.retried, dialect.failed] {
        if !name.is_empty() {
            jobs.families.push(family(name, MetricKind::Counter));
        }
    }
    let mut aspects = vec![Aspect::Errors, Aspect::Traffic];
    if !dialect.duration.is_empty() {
        jobs.families.push(family(dialect.duration, MetricKind::Histogram));
        aspects.push(Aspect::Latency);
    }
    panel.add(jobs, &aspects);
    draw_queue(panel, dice);
}

fn draw_queue(panel: &mut Panel, dice: &mut Dice) {
    let mut readings = Readings::default();
    let queue: Labels<'_> = &[("queue", "default")];
    match dice.whole(0, 4) {
        0 => {
            readings.level("queue_depth", queue, |_, t| t.queue);
            readings.level("queue_oldest_age_seconds", queue, |_, t| t.queue_age);
        }
        1 => {
            for partition in ["0", "1"] {
                let labels = [("partition", partition), ("topic", "events")];
                readings.level("kafka_consumergroup_lag", &labels, |_, t| (t.queue / 2.0).round());
            }
        }
        2 => {
            readings.level("sidekiq_queue_size", &[("name", "default")], |_, t| t.queue);
            readings.level("sidekiq_queue_latency_seconds", &[("name", "default")], |_, t| t.queue_age);
        }
        3 => {
            readings.level("kafka_consumer_fetch_manager_records_lag_max", &[], |_, t| t.queue);
            readings.level("jobs_in_progress", &[], |_, t| t.in_flight);
        }
        _ => {
            readings.level("celery_queue_length", &[("queue_name", "celery")], |_, t| t.queue);
            readings.level("celery_worker_tasks_active", &[], |_, t| t.in_flight);
        }
    }
    panel.add(readings, &[Aspect::Queue]);
}

impl Instrument for Jobs {
    fn families(&self, out: &mut Vec<MetricFamily>) {
        out.extend(self.families.iter().cloned());
    }

    fn expose(&mut self, _service: &Service, tick: &Tick, dice: &mut Dice, page: &mut Vec<Sample>) {
        for (index, cell) in tick.cells.iter().enumerate() {
            let [done, retried, failed] = &mut self.done[index];
            done.add(cell.ok);
            retried.add(cell.client_errors + (cell.server_errors * 0.6).floor());
            failed.add(cell.server_errors);
            for count in &self.done[index] {
                count.expose(page);
            }
            if let Some(histogram) = self.durations.get_mut(index) {
                histogram.add(cell.requests(), &cell.latency, dice);
                histogram.expose(page);
            }
        }
    }

    fn restart(&mut self) {
        self.done.iter_mut().flatten().for_each(Count::restart);
        self.durations.iter_mut().for_each(Histogram::restart);
    }

    fn copy(&self) -> Box<dyn Instrument> {
        Box::new(self.clone())
    }
}

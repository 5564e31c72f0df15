//! Collectors of servers with Prometheus' HTTP API: history first, so that a
//! release that begins at once has something to be compared with, then what
//! is new at each step.

use std::sync::Weak;
use std::time::Duration;

use tokio::task::JoinHandle;

use crate::adapters::outgoing::ClientError;
use crate::adapters::prometheus::{Client, InstanceRule, Poller, Query};
use crate::config::{GroupBy, PrometheusSource, Settings};
use crate::domain::{ApplicationName, InstanceId, Scrape, Selector};

use super::daemon::{Daemon, Environment};

/// What one application asks of one server.
pub(super) type Questions = (ApplicationName, Vec<Query>);

/// The questions of all applications that choose from a source. Only
/// configured ones: a server's series are not walked to find out names.
pub(super) fn questions(settings: &Settings, name: &str, source: &PrometheusSource) -> Vec<Questions> {
    let own = settings
        .applications
        .iter()
        .filter(|a| (a.sources.is_empty() || a.sources.iter().any(|s| s == name)) && !a.select.is_empty());
    own.map(|application| {
        let label = source.instance_label.clone();
        let instance = match (&application.groups, InstanceId::new(application.name.as_str())) {
            (GroupBy::Labels(_), Ok(name)) => InstanceRule::LabelOr(label, name),
            (GroupBy::Labels(_) | GroupBy::Instances, _) => InstanceRule::Label(label),
        };
        let query = |selector: &crate::domain::Selector| Query {
            selector: selector.clone(),
            instance: instance.clone(),
        };
        (application.name.clone(), application.select.iter().map(query).collect())
    })
    .collect()
}

/// The question of an application that was found at a server.
pub(super) fn question(name: ApplicationName, selector: Selector, source: &PrometheusSource) -> Questions {
    let instance = InstanceRule::Label(source.instance_label.clone());
    (name, vec![Query { selector, instance }])
}

/// Starts to follow a server for the applications that ask it.
///
/// # Errors
/// If a secret or certificate of the source cannot be had.
pub(super) fn collect(
    daemon: Weak<Daemon>,
    environment: &Environment,
    name: &str,
    source: &PrometheusSource,
    questions: Vec<Questions>,
) -> Result<Vec<JoinHandle<()>>, ClientError> {
    questions
        .into_iter()
        .map(|(application, queries)| {
            let poller = Poller::new(Client::new(source, environment.as_ref())?, queries);
            let task = follow(daemon.clone(), name.to_owned(), application, poller, source.step);
            Ok(tokio::spawn(task))
        })
        .collect()
}

async fn follow(
    daemon: Weak<Daemon>,
    source: String,
    application: ApplicationName,
    mut poller: Poller,
    step: Duration,
) {
    let Some(before) = daemon.upgrade().map(|d| (d.means.shared.now(), d.means.shared.before())) else {
        return;
    };
    let (now, before) = before;
    match poller.history(now - before, now).await {
        Ok(poll) => {
            report(&source, &poll.problems);
            give(&daemon, &application, poll.scrapes).await;
        }
        Err(error) => {
            tracing::warn!(source, %application, %error, "there is no history from before the start; the watch goes on with what comes");
        }
    }
    let mut tick = tokio::time::interval(step);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    loop {
        tick.tick().await;
        let Some(now) = daemon.upgrade().map(|d| d.means.shared.now()) else { return };
        let poll = poller.poll(now).await;
        report(&source, &poll.problems);
        give(&daemon, &application, poll.scrapes).await;
    }
}

fn report(source: &str, problems: &[String]) {
    for problem in problems {
        tracing::warn!(source, problem, "the metrics server");
    }
}

/// Waits for the application rather than to shed: what comes is bounded by
/// the step, and history may be long.
async fn give(daemon: &Weak<Daemon>, application: &ApplicationName, scrapes: Vec<Scrape>) {
    let queue = daemon.upgrade().and_then(|daemon| daemon.scrapes_of(application));
    let Some(queue) = queue else { return };
    for scrape in scrapes {
        if queue.send(scrape).await.is_err() {
            return;
        }
    }
}

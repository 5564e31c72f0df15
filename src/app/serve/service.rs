//! The process as a service: signals, reload, the word to systemd.

use std::io;
use std::path::Path;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;

use crate::adapters::chain::chain;
use crate::adapters::clock;
use crate::adapters::guardian::Interface as _;
use crate::app::people::Prepared;
use crate::config::Surroundings;

use super::telling::Telling;
use super::{Running, read_settings};

/// How often the store is tried and the state is said.
const BEAT: Duration = Duration::from_secs(5);
/// Answers given under idempotency keys are kept for a week.
const ANSWERS_KEPT: Duration = Duration::from_secs(7 * 86_400);
const TIDY_BEATS: u32 = 720;

fn notify(states: &[NotifyState<'_>]) {
    // Without systemd nobody listens.
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "systemd was not told");
    }
}

pub(super) fn say_stopping() {
    notify(&[NotifyState::Stopping, NotifyState::Status("stopping; what is in memory is stored first")]);
}

pub(super) fn say_error(text: &str) {
    notify(&[NotifyState::Status(text)]);
}

/// Beats until a signal ends it, or the interface fails.
pub(super) async fn until_stopped(
    running: &mut Running,
    telling: &mut Telling,
    config: &Path,
    environment: &dyn Surroundings,
    mut web: JoinHandle<io::Result<()>>,
) -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let watchdog = sd_notify::watchdog_enabled().map_or(BEAT, |limit| (limit / 3).min(BEAT));
    let mut beat = tokio::time::interval(watchdog.max(Duration::from_millis(100)));
    let mut beats = 0u32;
    notify(&[NotifyState::Ready, NotifyState::Status("watching")]);
    loop {
        tokio::select! {
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            _ = hangup.recv() => reload(running, telling, config, environment).await,
            () = running.daemon.asked_changed.notified() => {
                if let Err(error) = running.collectors.follow(&running.daemon) {
                    tracing::error!(error = %chain(&error), "an application that was found cannot be followed");
                }
            }
            ended = &mut web => return match ended {
                Ok(result) => result,
                Err(error) => Err(io::Error::other(error)),
            },
            _ = beat.tick() => {
                self_check(running, beats).await;
                telling.try_waiting().await;
                beats = beats.wrapping_add(1);
            }
        }
    }
}

/// Tries the store, so that trouble and its end are seen without any input.
async fn self_check(running: &Running, beats: u32) {
    let shared = &running.daemon.means.shared;
    let now = shared.now();
    shared.beat().await;
    if beats.is_multiple_of(TIDY_BEATS) {
        let _ = shared.stored("forget_answers", shared.store.forget_answers(now - ANSWERS_KEPT)).await;
    }
    if beats.is_multiple_of(12) {
        running.daemon.refresh_quality().await;
    }
    let readiness = running.daemon.readiness();
    let watching = running.daemon.application_states().iter().filter(|a| a.watching.is_some()).count();
    let status = match readiness.troubles.first() {
        Some(trouble) => format!("in trouble: {trouble}"),
        None => format!("{watching} releases are watched"),
    };
    notify(&[NotifyState::Watchdog, NotifyState::Status(&status)]);
}

/// Puts the settings file in force as it is now, or says why not.
async fn reload(running: &mut Running, telling: &mut Telling, config: &Path, environment: &dyn Surroundings) {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => notify(&[NotifyState::Reloading, now]),
        Err(error) => tracing::debug!(%error, "the monotonic clock cannot be read"),
    }
    let refused = match apply(running, config, environment) {
        Ok(prepared) => {
            telling.replace(running.daemon.settings(), prepared).await;
            None
        }
        Err(problems) => Some(problems),
    };
    let metrics = &running.daemon.means.shared.metrics;
    match refused {
        None => {
            metrics.settings_current.set(1);
            tracing::info!(file = %config.display(), "settings read again and in force, {}", clock::now());
        }
        Some(problems) => {
            metrics.settings_current.set(0);
            metrics.reload_failures.inc();
            tracing::error!(file = %config.display(), "settings refused, the old ones stay in force: {problems}");
        }
    }
    notify(&[NotifyState::Ready]);
}

/// Puts the file in force, all but its channels, which are set up; or leaves
/// everything as it was and says why.
fn apply(running: &mut Running, config: &Path, environment: &dyn Surroundings) -> Result<Prepared, String> {
    let settings = read_settings(config, environment).map_err(|error| chain(&error))?;
    let prepared = Prepared::new(&settings, environment).map_err(|error| chain(&error))?;
    let old = running.daemon.settings();
    if settings.server != old.server || settings.store != old.store || settings.log != old.log {
        tracing::warn!("changes of [server], [store] and [log] come into force at the next start");
    }
    let applied = running
        .daemon
        .reconfigure(super::model::with_model(settings))
        .map_err(|e| chain(&e))
        .and_then(|()| running.collectors.follow(&running.daemon).map_err(|e| chain(&e)));
    if let Err(problems) = applied {
        // Half of a settings file is not in force: the old one was whole.
        let _ = running.daemon.reconfigure(old.as_ref().clone());
        return Err(problems);
    }
    Ok(prepared)
}

//! People are told what the engines say, and their answers come back: the
//! notices of the store become messages, links act on the running daemon.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast::error::RecvError;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::adapters::chain::chain;
use crate::adapters::guardian::{EventKind, Guardian, GuardianError};
use crate::adapters::notify::links::{LinkSigner, WeakSecret};
use crate::adapters::notify::message::{About, Message};
use crate::adapters::notify::outbox::{Outbox, OutboxError};
use crate::adapters::notify::pages::{GuardianDesk, LinkPages};
use crate::adapters::notify::{self, ChannelProblem, Channels, Clock, Notifier, Parts, Running};
use crate::adapters::store::{PendingNotice, Store, StoreError};
use crate::config::{SecretError, Settings, Surroundings};
use crate::domain::{ReleaseKey, Timestamp};
use crate::guard::Decision;
use crate::guard::engine::{NoticeKind, Phase};
use crate::guard::policy::Policy;

/// How many notices are taken from the store at once.
const NOTICES_AT_ONCE: u32 = 100;
/// Notices are looked for this often, even if no event tells of one.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Why nobody could be told.
#[derive(Debug, thiserror::Error)]
pub enum PeopleError {
    /// Channels cannot be set up.
    #[error("{}", .0.iter().map(|problem| chain(problem)).collect::<Vec<_>>().join("\n"))]
    Channels(Vec<ChannelProblem>),
    /// A secret of links cannot be had.
    #[error("the secret of links in messages")]
    Secret(#[source] SecretError),
    /// A secret of links is too short.
    #[error(transparent)]
    Weak(#[from] WeakSecret),
    /// The messages of the last run cannot be read.
    #[error("the messages that were not sent before")]
    Outbox(#[source] OutboxError),
}

/// What telling people needs.
pub struct Needs {
    /// The checked settings that the channels were prepared from.
    pub settings: Arc<Settings>,
    /// Where the notices are.
    pub store: Arc<dyn Store>,
    /// Where messages are kept; the same store.
    pub outbox: Arc<dyn Outbox>,
    /// What is known of releases, and what links act on.
    pub guardian: Guardian,
    /// The clock.
    pub clock: Clock,
}

/// The running tasks.
pub struct People {
    /// For its state, on pages and metrics.
    pub notifier: Notifier,
    /// The pages behind links; none without a link secret.
    pub links: Option<Arc<LinkPages>>,
    running: Running,
    herald: JoinHandle<()>,
    stop: watch::Sender<bool>,
}

/// Channels and links that were set up and are not running yet.
#[derive(Clone)]
pub struct Prepared {
    channels: Channels,
    signer: Option<LinkSigner>,
}

impl Prepared {
    /// Sets up what settings say; nothing is connected yet.
    ///
    /// # Errors
    /// If channels or links cannot be set up.
    pub fn new(settings: &Settings, surroundings: &dyn Surroundings) -> Result<Self, PeopleError> {
        let channels = notify::channels(&settings.notify, surroundings).map_err(PeopleError::Channels)?;
        let secrets = settings.notify.link_secrets.iter().map(|secret| secret.fetch(surroundings));
        let secrets = secrets.collect::<Result<Vec<_>, _>>().map_err(PeopleError::Secret)?;
        let signer = LinkSigner::new(secrets, &settings.server.public_url, settings.notify.link_valid_for)?;
        Ok(Self { channels, signer })
    }
}

impl People {
    /// Starts telling people. To put changed settings in force, stop and
    /// start anew: what was not sent is in the store.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub async fn start(needs: Needs, prepared: Prepared) -> Result<Self, PeopleError> {
        let Needs { settings, store, outbox, guardian, clock } = needs;
        let Prepared { channels, signer } = prepared;
        let pages = settings.server.public_url.clone();
        let parts = Parts {
            settings: settings.notify.clone(),
            channels,
            signer: signer.clone(),
            page_address: Arc::new(move |release| page_address(&pages, release)),
            outbox: outbox.clone(),
            clock: clock.clone(),
        };
        let (notifier, running) = Notifier::start(parts).await.map_err(PeopleError::Outbox)?;
        let language = settings.notify.language;
        let links = signer.map(|signer| {
            let desk = Arc::new(GuardianDesk::new(guardian.clone(), notifier.clone()));
            Arc::new(LinkPages { signer, outbox, desk, clock, language })
        });
        let (stop, stopped) = watch::channel(false);
        let herald = Herald { settings, store, guardian, notifier: notifier.clone() };
        let herald = tokio::spawn(herald.run(stopped));
        Ok(Self { notifier, links, running, herald, stop })
    }

    /// Finishes what is being sent, at most `patience` long.
    pub async fn stop(self, patience: Duration) {
        let _ = self.stop.send(true);
        let abort = self.herald.abort_handle();
        if tokio::time::timeout(patience, self.herald).await.is_err() {
            abort.abort();
        }
        self.running.stop(patience).await;
    }
}

fn page_address(public_url: &url::Url, release: &ReleaseKey) -> Option<String> {
    let mut url = public_url.clone();
    url.path_segments_mut().ok()?.pop_if_empty().extend([
        "releases",
        release.application.as_str(),
        release.id.as_str(),
    ]);
    Some(url.to_string())
}

struct Herald {
    settings: Arc<Settings>,
    store: Arc<dyn Store>,
    guardian: Guardian,
    notifier: Notifier,
}

impl Herald {
    async fn run(self, mut stopped: watch::Receiver<bool>) {
        let mut events = self.guardian.subscribe();
        while !*stopped.borrow() {
            match self.tell_pending().await {
                // There may be more than were read at once.
                Ok(told) if told == NOTICES_AT_ONCE as usize => continue,
                Ok(_) => {}
                Err(error) => tracing::error!(error = %chain(&error), "notices cannot be read; tried again"),
            }
            tokio::select! {
                event = events.recv() => match event {
                    Ok(event) => self.seen(&event.release, &event.kind).await,
                    // What was missed is in the store.
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => break,
                },
                () = tokio::time::sleep(LOOK_EVERY) => {}
                _ = stopped.changed() => {}
            }
        }
    }

    /// An operator's word, or the end of the pause, is an answer to it.
    async fn seen(&self, release: &ReleaseKey, event: &EventKind) {
        let answered = match event {
            EventKind::Phase { phase } => match phase {
                Phase::Watching
                | Phase::RollingBack
                | Phase::RolledBack
                | Phase::Soaking
                | Phase::Finished
                | Phase::Cancelled => true,
                Phase::Pausing | Phase::Paused => false,
            },
            EventKind::Feedback { .. } => true,
            EventKind::Decision { decision } => match decision.by {
                crate::guard::Decider::Operator(_) => true,
                crate::guard::Decider::Guardian => false,
            },
            EventKind::Verdict { .. } | EventKind::Command { .. } | EventKind::Notice { .. } => false,
        };
        if answered && let Err(error) = self.notifier.acknowledged(release).await {
            tracing::error!(%release, error = %chain(&error), "cannot end an escalation");
        }
    }

    /// Tells of the notices that wait in the store, and says how many.
    async fn tell_pending(&self) -> Result<usize, StoreError> {
        let pending = self.store.pending_notices(NOTICES_AT_ONCE).await?;
        let mut told = 0;
        for notice in &pending {
            if self.tell(notice).await {
                self.store.notice_done(&notice.id).await?;
                told += 1;
            }
        }
        Ok(told)
    }

    /// False if it must be tried again.
    async fn tell(&self, pending: &PendingNotice) -> bool {
        let detail = match self.guardian.release(pending.release.clone()).await {
            Ok(detail) => detail,
            Err(GuardianError::Unavailable { reason }) => {
                tracing::warn!(release = %pending.release, reason, "a notice waits");
                return false;
            }
            Err(error) => {
                tracing::error!(release = %pending.release, notice = pending.id, %error, "a notice is lost: its release cannot be read");
                return true;
            }
        };
        let application = self.settings.application(&pending.release.application);
        let policy: &Policy = match application {
            Some(application) => &application.engine.policy,
            None => &self.settings.defaults.engine.policy,
        };
        let message = Message::compose(&About {
            notice: &pending.notice,
            order: &detail.order,
            environment: application.and_then(|application| application.environment.as_deref()),
            decision: decision_behind(pending.notice.at, pending.notice.kind, &detail.decisions),
            policy,
            evidence: &detail.evidence,
        });
        match self.notifier.tell(message).await {
            Ok(()) => true,
            Err(error) => {
                tracing::error!(release = %pending.release, error = %chain(&error), "a message cannot be kept; tried again");
                false
            }
        }
    }
}

/// The newest decision of that moment or before.
fn decision_behind(at: Timestamp, kind: NoticeKind, decisions: &[Decision]) -> Option<&Decision> {
    match kind {
        NoticeKind::Course => None,
        NoticeKind::Advice
        | NoticeKind::Pausing
        | NoticeKind::Paused
        | NoticeKind::RollingBack
        | NoticeKind::RolledBack
        | NoticeKind::Blind
        | NoticeKind::CommandFailed => decisions.iter().rev().find(|decision| decision.at <= at),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{ApplicationName, ReleaseId};

    #[test]
    fn the_address_of_a_release_lies_below_the_public_one_whatever_its_name() {
        let release = ReleaseKey {
            application: ApplicationName::new("购物车").unwrap(),
            id: ReleaseId::new("r/1?x").unwrap(),
        };
        for base in ["https://g.example.com/guardian", "https://g.example.com/guardian/"] {
            let address = page_address(&url::Url::parse(base).unwrap(), &release).unwrap();
            assert!(address.starts_with("https://g.example.com/guardian/releases/%"), "{address}");
            assert!(address.ends_with("/r%2F1%3Fx"), "{address}");
        }
    }
}

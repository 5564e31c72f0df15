//! What an actor does first: it takes up what the process before it left.

use crate::adapters::store::StoreError;
use crate::guard::EpisodeSnapshot;
use crate::guard::{Command, Settlement};

use super::actor::Actor;

impl Actor {
    /// Restores the watched release, refills the samples, and sends commands
    /// that have not settled again, with their ids.
    pub(super) async fn restore(&mut self) -> Result<(), StoreError> {
        let shared = self.means.shared.clone();
        let watched = shared.stored("watched", shared.store.watched()).await?;
        let own = watched.into_iter().find(|release| release.order.application == self.spec.name);
        if let Some(release) = own {
            let key = release.key();
            let state = release.snapshot.as_deref().map(serde_json::from_str::<EpisodeSnapshot>);
            match state {
                Some(Ok(state)) => {
                    tracing::info!(release = %key, phase = ?state.phase, "the watch goes on after a restart");
                    self.engine.restore(state);
                    self.release = Some(release);
                }
                // A release is not given up because a version changed its
                // form: it is watched from its order on.
                Some(Err(_)) | None => {
                    tracing::error!(release = %key, "its state cannot be read; the watch begins anew");
                    let state = EpisodeSnapshot::begin(release.order.clone(), shared.now());
                    self.engine.restore(state);
                    self.release = Some(release);
                }
            }
        }
        self.refill().await?;
        self.resend().await
    }

    /// Takes up what is stored of the samples.
    pub(super) async fn refill(&mut self) -> Result<(), StoreError> {
        let shared = self.means.shared.clone();
        let now = shared.now();
        let from = now - self.spec.engine.history;
        let scrapes = shared.stored("samples", shared.store.samples(&self.spec.name, from, now)).await?;
        if !scrapes.is_empty() {
            tracing::info!(application = %self.spec.name, scrapes = scrapes.len(), "samples are taken up from the store");
        }
        for scrape in &scrapes {
            self.engine.refill(scrape);
        }
        Ok(())
    }

    async fn resend(&mut self) -> Result<(), StoreError> {
        let shared = self.means.shared.clone();
        let unsettled = shared.stored("unsettled", shared.store.unsettled()).await?;
        let mut own: Vec<Command> =
            unsettled.into_iter().filter(|c| c.release.application == self.spec.name).collect();
        let outstanding = self.engine.snapshot().and_then(|state| state.outstanding.clone());
        own.retain(|command| outstanding.as_ref().is_none_or(|c| c.id != command.id));
        for command in own {
            let reason = "the watch ended, or a later command replaced it, while it was under way".to_owned();
            let settlement = Settlement::Refused { reason };
            shared.stored("settle", shared.store.settle(&command.id, &settlement, shared.now())).await?;
        }
        if let (Some(command), Some(release)) = (outstanding, &self.release) {
            let decisions = shared.stored("decisions", shared.store.decisions(&command.release)).await?;
            let decision = decisions.into_iter().find(|d| d.sequence == command.decision_sequence);
            tracing::info!(command = %command.id, "a command that had not settled is sent again under its id");
            self.send(command, decision, release, None);
        }
        Ok(())
    }
}

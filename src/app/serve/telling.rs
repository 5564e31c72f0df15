//! People are told by the channels of the settings in force: they are set up
//! anew when the settings are read again.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::adapters::chain::chain;
use crate::adapters::clock;
use crate::adapters::guardian::Guardian;
use crate::adapters::notify::pages::LinkPages;
use crate::adapters::store::SqlStore;
use crate::app::people::{Needs, People, PeopleError, Prepared};
use crate::config::Settings;

/// How long a message that is being sent may take when channels end; what was
/// not sent is in the store.
const PATIENCE: Duration = Duration::from_secs(5);

/// The pages behind links in messages, as they are in force.
pub(super) type Links = watch::Receiver<Option<Arc<LinkPages>>>;

/// Who tells people now.
pub(super) struct Telling {
    store: Arc<SqlStore>,
    guardian: Guardian,
    links: watch::Sender<Option<Arc<LinkPages>>>,
    people: Option<People>,
    /// Set up, and not started yet because the store could not be read.
    waiting: Option<(Arc<Settings>, Prepared)>,
}

impl Telling {
    /// Begins to tell people.
    ///
    /// # Errors
    /// If the messages that were not sent before cannot be read.
    pub(super) async fn start(
        store: Arc<SqlStore>,
        guardian: Guardian,
        settings: Arc<Settings>,
        prepared: Prepared,
    ) -> Result<(Self, Links), PeopleError> {
        let (links, current) = watch::channel(None);
        let mut telling = Self { store, guardian, links, people: None, waiting: None };
        telling.begin(settings, prepared).await?;
        Ok((telling, current))
    }

    async fn begin(&mut self, settings: Arc<Settings>, prepared: Prepared) -> Result<(), PeopleError> {
        let needs = Needs {
            settings,
            store: self.store.clone(),
            outbox: self.store.clone(),
            guardian: self.guardian.clone(),
            clock: Arc::new(clock::now),
        };
        let people = People::start(needs, prepared).await?;
        self.links.send_replace(people.links.clone());
        self.people = Some(people);
        Ok(())
    }

    /// Puts other channels in force. What the old ones are sending they may
    /// finish; the rest is sent by the new ones.
    pub(super) async fn replace(&mut self, settings: Arc<Settings>, prepared: Prepared) {
        if let Some(people) = self.people.take() {
            people.stop(PATIENCE).await;
        }
        self.waiting = Some((settings, prepared));
        self.try_waiting().await;
    }

    /// Starts channels that the store's trouble kept from starting.
    pub(super) async fn try_waiting(&mut self) {
        let Some((settings, prepared)) = self.waiting.take() else { return };
        if let Err(error) = self.begin(settings.clone(), prepared.clone()).await {
            tracing::error!(error = %chain(&error), "people cannot be told yet; tried again");
            self.waiting = Some((settings, prepared));
        }
    }

    pub(super) async fn stop(self) {
        if let Some(people) = self.people {
            people.stop(PATIENCE).await;
        }
    }
}

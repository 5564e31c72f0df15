//! The checked settings as a whole.

use std::time::Duration;

use crate::guard::freeze::FreezeCalendar;

use super::alerts::{Alerts, read_alerts};
use super::application::{Application, Defaults, read_applications, read_defaults};
use super::freeze::read_calendar;
use super::model::{ModelSource, read_model};
use super::notify::{Notify, read_notify};
use super::problem::Problems;
use super::raw::{Document, Section};
use super::secret::Surroundings;
use super::server::{Log, Recordings, Server, Store, read_log, read_recordings, read_server, read_store};
use super::source::{Source, read_sources};

/// How much of a running release is kept in memory beside the history.
const RELEASE_KEPT: Duration = Duration::from_secs(3600);

/// Everything a settings file says, checked and with defaults filled in.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The HTTP interface.
    pub server: Server,
    /// The store.
    pub store: Store,
    /// Where releases are saved, and for how long.
    pub recordings: Recordings,
    /// Which trained model is asked about suspects, of all applications.
    pub model: ModelSource,
    /// What holds for applications that say nothing else, and for those that
    /// nobody configured.
    pub defaults: Defaults,
    /// Where samples come from; names are unique.
    pub sources: Vec<Source>,
    /// The configured applications; names are unique.
    pub applications: Vec<Application>,
    /// Which applications alerts from outside concern.
    pub alerts: Alerts,
    /// When no release may begin.
    pub freezes: FreezeCalendar,
    /// Who is told what.
    pub notify: Notify,
    /// The guardian's own log.
    pub log: Log,
}

impl Settings {
    /// Reads and checks the text of a settings file. `file` is its name, for
    /// messages only.
    ///
    /// # Errors
    /// All problems of the file together.
    pub fn read(file: &str, text: &str, surroundings: &dyn Surroundings) -> Result<Self, Problems> {
        let (document, root) = Document::parse(text);
        let settings = Self::from_root(&Section::root(&document, root.get_ref()), surroundings);
        let problems = document.into_problems();
        if problems.is_empty() { Ok(settings) } else { Err(Problems::new(file, problems)) }
    }

    fn from_root(root: &Section<'_>, surroundings: &dyn Surroundings) -> Self {
        let sources = read_sources(root);
        let recordings = read_recordings(root, surroundings);
        let defaults = read_defaults(root, &sources, recordings.before + RELEASE_KEPT);
        let applications = read_applications(root, &defaults, &sources);
        Self {
            server: read_server(root),
            store: read_store(root, surroundings),
            model: read_model(root),
            alerts: read_alerts(root, &defaults),
            freezes: read_calendar(root),
            notify: read_notify(root, surroundings),
            log: read_log(root),
            recordings,
            defaults,
            sources,
            applications,
        }
    }

    /// The application of that name, if it is configured.
    pub fn application(&self, name: &crate::domain::ApplicationName) -> Option<&Application> {
        self.applications.iter().find(|application| application.name == *name)
    }

    /// The source of that name.
    pub fn source(&self, name: &str) -> Option<&Source> {
        self.sources.iter().find(|source| source.name == name)
    }
}

//! Applications that nobody configured, asked of servers with Prometheus' HTTP
//! API: their series are not walked to find out names, so an application is
//! asked for when a release of it begins.

use std::sync::Arc;
use std::time::Duration;

use crate::adapters::chain::chain;
use crate::adapters::guardian::{GuardianError, MissingSetting};
use crate::adapters::prometheus::{Answer, Client};
use crate::config::{PrometheusSource, Settings, SourceKind};
use crate::domain::{ApplicationName, GroupSelectors, Matcher, Relation, ReleaseOrder, Selector};

use super::canaries::WORKLOAD_LABELS;
use super::daemon::Daemon;
use super::shared::{read, write};

/// How long servers may take to say what they know of an application.
const ASK_WITHIN: Duration = Duration::from_secs(8);
/// How long a release waits for the first samples of an application that was
/// just found; without them it begins blind, and says so.
const DATA_WITHIN: Duration = Duration::from_secs(8);
/// After a restart servers are asked again this often.
const ASK_EVERY: Duration = Duration::from_secs(30);
/// Label names that an answer shows.
const LABELS_MAX: usize = 20;

/// Where an application was found, and what selects it there.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Asked {
    pub(super) source: String,
    pub(super) select: Selector,
}

/// What one server said.
enum Told {
    Found(Selector),
    /// Which setting would help, and why.
    Missing(MissingSetting),
}

impl Daemon {
    /// Asks the servers for the application of an order that no target
    /// list names.
    ///
    /// # Errors
    /// `missing`, with what each server said, if none knows enough of it.
    pub(super) async fn ask_servers(
        &self,
        order: &ReleaseOrder,
        missing: GuardianError,
    ) -> Result<Option<String>, GuardianError> {
        let GuardianError::MissingSettings { application: name, mut which } = missing else {
            return Err(missing);
        };
        let settings = self.settings();
        for told in self.ask_all(&settings, &name).await {
            match told {
                (source, Told::Found(select)) => {
                    let named = super::applications::instances_of(order);
                    if self.integrate(&settings, &name, named) {
                        self.follow_asked(&name, Asked { source: source.clone(), select: select.clone() });
                        self.wait_for_data(&name).await;
                        return Ok(Some(format!("by the labels {select} at source {source}")));
                    }
                }
                (_, Told::Missing(setting)) => which.push(setting),
            }
        }
        Err(GuardianError::MissingSettings { application: name, which })
    }

    /// Finds an application again that was found before a restart.
    pub(super) async fn ask_again(self: Arc<Self>, name: ApplicationName) {
        loop {
            let settings = self.settings();
            let configured = settings.application(&name).is_some();
            let has_servers = settings.sources.iter().any(|s| matches!(s.kind, SourceKind::Prometheus(_)));
            if configured || !has_servers {
                return;
            }
            for told in self.ask_all(&settings, &name).await {
                if let (source, Told::Found(select)) = told {
                    self.follow_asked(&name, Asked { source, select });
                    return;
                }
            }
            tokio::time::sleep(ASK_EVERY).await;
        }
    }

    async fn ask_all(&self, settings: &Settings, name: &ApplicationName) -> Vec<(String, Told)> {
        let mut all = Vec::new();
        for source in &settings.sources {
            let SourceKind::Prometheus(server) = &source.kind else { continue };
            let labels = &settings.defaults.application_labels;
            let told = match tokio::time::timeout(ASK_WITHIN, self.ask(server, labels, name)).await {
                Ok(Ok(told)) => told,
                Ok(Err(why)) => unknown(name, &source.name, &why),
                Err(_) => {
                    let why = format!("it did not answer within {} s", ASK_WITHIN.as_secs());
                    unknown(name, &source.name, &why)
                }
            };
            let found = matches!(told, Told::Found(_));
            all.push((source.name.clone(), told));
            if found {
                break;
            }
        }
        all
    }

    /// The first application label that a target of the server has with this
    /// name.
    async fn ask(
        &self,
        server: &PrometheusSource,
        labels: &[String],
        name: &ApplicationName,
    ) -> Result<Told, String> {
        let client = Client::new(server, self.environment.as_ref()).map_err(|error| chain(&error))?;
        for label in labels {
            let matcher = Matcher::new(label.as_str(), Relation::Equal, name.as_str());
            let select = Selector { name: None, matchers: vec![matcher.map_err(|error| error.to_string())?] };
            let question = Selector { name: Some("up".to_owned()), ..select.clone() }.to_string();
            let answer = client.query(&question, None).await.map_err(|error| chain(&error))?;
            if answer.series.is_empty() {
                continue;
            }
            if answer.series.iter().any(|series| series.labels.contains_key(&server.instance_label)) {
                return Ok(Told::Found(select));
            }
            return Ok(Told::Missing(MissingSetting {
                setting: "source.instance_label".to_owned(),
                why: format!(
                    "targets with {label}=\"{name}\" have no label {:?} that tells them apart; they have {}",
                    server.instance_label,
                    label_names(&answer)
                ),
            }));
        }
        let asked: Vec<String> = labels.iter().map(|label| format!("{label}=\"{name}\"")).collect();
        Err(format!("it has no target with {}", asked.join(" or ")))
    }

    /// The labels that tell the workloads of a Canary apart, by the targets
    /// that the application's servers know.
    pub(super) async fn ask_workloads(
        &self,
        application: &ApplicationName,
        canary: &str,
    ) -> Option<GroupSelectors> {
        let settings = self.settings();
        let of = settings.application(application).map(|a| a.sources.clone()).unwrap_or_default();
        let asking = async {
            for source in settings.sources.iter().filter(|s| of.is_empty() || of.contains(&s.name)) {
                let SourceKind::Prometheus(server) = &source.kind else { continue };
                match self.ask_for_workloads(server, canary).await {
                    Ok(Some(groups)) => return Some(groups),
                    Ok(None) => {}
                    Err(error) => {
                        tracing::warn!(%application, source = source.name, error, "cannot ask for the machines of a Canary");
                    }
                }
            }
            None
        };
        tokio::time::timeout(ASK_WITHIN, asking).await.ok().flatten()
    }

    async fn ask_for_workloads(
        &self,
        server: &PrometheusSource,
        canary: &str,
    ) -> Result<Option<GroupSelectors>, String> {
        let client = Client::new(server, self.environment.as_ref()).map_err(|error| chain(&error))?;
        for label in WORKLOAD_LABELS {
            let one = |value: &str| {
                Matcher::new(label, Relation::Equal, value)
                    .map(|matcher| Selector { name: None, matchers: vec![matcher] })
            };
            let pair = (one(canary), one(&format!("{canary}-primary")));
            // A name with dots can be no label of a Prometheus server.
            let (Ok(release), Ok(reference)) = pair else { continue };
            for select in [reference.clone(), release.clone()] {
                let question = Selector { name: Some("up".to_owned()), ..select }.to_string();
                let answer = client.query(&question, None).await.map_err(|error| chain(&error))?;
                if !answer.series.is_empty() {
                    return Ok(Some(GroupSelectors { release, reference, instance_label: None }));
                }
            }
        }
        Ok(None)
    }

    fn follow_asked(&self, name: &ApplicationName, asked: Asked) {
        write(&self.asked).insert(name.clone(), asked);
        self.asked_changed.notify_one();
    }

    /// Applications that were found at a source.
    pub(super) fn asked_of(&self, source: &str) -> Vec<(ApplicationName, Selector)> {
        let settings = self.settings();
        read(&self.asked)
            .iter()
            .filter(|(name, asked)| asked.source == source && settings.application(name).is_none())
            .map(|(name, asked)| (name.clone(), asked.select.clone()))
            .collect()
    }

    async fn wait_for_data(&self, name: &ApplicationName) {
        let seen = async {
            while self.view(name).is_some_and(|view| view.instances.is_empty()) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        // Without data it is blind, which the watch finds out by itself.
        let _ = tokio::time::timeout(DATA_WITHIN, seen).await;
    }
}

fn unknown(name: &ApplicationName, source: &str, why: &str) -> Told {
    Told::Missing(MissingSetting {
        setting: format!("application.{name}.select"),
        why: format!(
            "source {source} does not tell what is of {name}: {why}. Add [[application]] with name = \"{name}\" and \
             select = ['{{..}}']"
        ),
    })
}

fn label_names(answer: &Answer) -> String {
    let names: std::collections::BTreeSet<&str> =
        answer.series.iter().flat_map(|series| series.labels.keys()).map(String::as_str).collect();
    names.into_iter().filter(|name| *name != "__name__").take(LABELS_MAX).collect::<Vec<_>>().join(", ")
}

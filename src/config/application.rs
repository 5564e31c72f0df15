//! `[defaults]` and `[[application]]`.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::domain::{ApplicationName, GroupSelectors, Selector};
use crate::guard::EngineSettings;

use super::policy::read_engine;
use super::problem::nearest;
use super::raw::Section;
use super::release_system::{ReleaseSystem, read_release_system};
use super::signal::{SELECTOR_HELP, read_selector, read_signals};
use super::source::Source;

/// What holds for applications that say nothing else, and for those that
/// nobody configured.
#[derive(Clone, Debug, PartialEq)]
pub struct Defaults {
    /// The policy and how verdicts come about.
    pub engine: EngineSettings,
    /// Labels that name the application of a target or series, tried in this
    /// order, to integrate applications that nobody configured.
    pub application_labels: Vec<String>,
    /// Who carries out commands.
    pub release_system: Option<ReleaseSystem>,
}

/// One configured application.
#[derive(Clone, Debug, PartialEq)]
pub struct Application {
    /// Its name, as the release system knows it. Unique.
    pub name: ApplicationName,
    /// From which sources its samples come; all if empty.
    pub sources: Vec<String>,
    /// Which targets and series are its own: one of these must hold. All that
    /// its sources have if empty.
    pub select: Vec<Selector>,
    /// How its groups are told apart.
    pub groups: GroupBy,
    /// The policy, how verdicts come about, and what settings say about its
    /// signals; ready for its engine.
    pub engine: EngineSettings,
    /// Who carries out commands; without one, nothing is sent and gates
    /// answer.
    pub release_system: Option<ReleaseSystem>,
    /// Which alerts from outside are its own, besides those that name it.
    pub alerts: Vec<Selector>,
    /// For routing of messages: `production`, `staging`.
    pub environment: Option<String>,
}

/// How release group and reference group are told apart.
#[derive(Clone, Debug, PartialEq)]
pub enum GroupBy {
    /// The release's batches and reference name instances.
    Instances,
    /// The labels of each target, or of each series, say to which group it
    /// belongs, where the release lists no machines. In values, `{version}`
    /// and `{previous_version}` stand for the release's.
    Labels(GroupSelectors),
}

const APPLICATION_LABELS: [&str; 4] = ["application", "app", "service", "job"];

/// Reads `[defaults]`. `history` is how much of the past is kept in memory.
pub(super) fn read_defaults(root: &Section<'_>, sources: &[Source], history: Duration) -> Defaults {
    let base = EngineSettings::default();
    let base = EngineSettings { history, interval: interval(&[], sources).unwrap_or(base.interval), ..base };
    let mut defaults = Defaults {
        engine: base,
        application_labels: APPLICATION_LABELS.map(str::to_owned).to_vec(),
        release_system: None,
    };
    let Some(section) = root.section("defaults") else { return defaults };
    defaults.engine = read_engine(&section, &defaults.engine);
    if let Some(labels) = section.texts("application_labels") {
        defaults.application_labels = labels.into_iter().map(|label| label.into_inner()).collect();
    }
    defaults.release_system = read_release_system(&section);
    defaults
}

pub(super) fn read_applications(
    root: &Section<'_>,
    defaults: &Defaults,
    sources: &[Source],
) -> Vec<Application> {
    let mut applications: Vec<Application> = Vec::new();
    for section in root.sections("application") {
        let name = section.required_text("name", "write the name that the release system uses");
        let mut engine = read_engine(&section, &defaults.engine);
        engine.signals = read_signals(&section);
        let release_system = read_release_system(&section).or_else(|| defaults.release_system.clone());
        let (own_sources, select) = (read_source_names(&section, sources), read_select(&section));
        let groups = read_groups(&section);
        if let GroupBy::Labels(groups) = &groups {
            engine.divide_by = groups.into();
        }
        let alerts = section.section("alerts").map(|alerts| read_select(&alerts)).unwrap_or_default();
        engine.interval = interval(&own_sources, sources).unwrap_or(engine.interval);
        let environment = section.text("environment").map(|text| text.into_inner());
        let Some(written) = name else { continue };
        let name = match ApplicationName::new(written.get_ref()) {
            Ok(name) => name,
            Err(error) => {
                section.problem(
                    written.span(),
                    error.to_string(),
                    "write the name that the release system uses",
                );
                continue;
            }
        };
        if applications.iter().any(|application| application.name == name) {
            section.problem(
                written.span(),
                format!("there are two applications named {name:?}"),
                "rename one",
            );
            continue;
        }
        applications.push(Application {
            name,
            sources: own_sources,
            select,
            groups,
            engine,
            release_system,
            alerts,
            environment,
        });
    }
    applications
}

/// The distance of an application's samples: that of its slowest source, so
/// that no step is empty for want of a scrape.
fn interval(names: &[String], sources: &[Source]) -> Option<Duration> {
    let own = sources.iter().filter(|source| names.is_empty() || names.contains(&source.name));
    own.map(Source::interval).max()
}

fn read_source_names(section: &Section<'_>, sources: &[Source]) -> Vec<String> {
    let sources: BTreeSet<&str> = sources.iter().map(|source| source.name.as_str()).collect();
    let names = section.texts("sources").unwrap_or_default().into_iter().filter_map(|name| {
        let known = sources.contains(name.get_ref().as_str());
        if !known {
            let help = match nearest(name.get_ref(), sources.iter().copied()) {
                Some(near) => format!("did you mean {near:?}?"),
                None if sources.is_empty() => "there is no [[source]] yet: add one".to_owned(),
                None => format!("the sources are {}", sources.iter().copied().collect::<Vec<_>>().join(", ")),
            };
            section.problem(name.span(), format!("there is no source {:?}", name.get_ref()), help);
        }
        known.then(|| name.into_inner())
    });
    names.collect()
}

fn read_select(section: &Section<'_>) -> Vec<Selector> {
    let selectors = section.texts("select").unwrap_or_default().into_iter().filter_map(|text| {
        match text.get_ref().parse() {
            Ok(selector) => Some(selector),
            Err(error) => {
                let error: crate::domain::InvalidSelector = error;
                section.problem(text.span(), format!("`select`: {error}"), SELECTOR_HELP);
                None
            }
        }
    });
    selectors.collect()
}

const GROUPS_HELP: &str = "write \"instances\", or { release = '{version=\"{version}\"}', \
                           reference = '{version=\"{previous_version}\"}' }";

fn read_groups(section: &Section<'_>) -> GroupBy {
    let Some(value) = section.value("groups") else { return GroupBy::Instances };
    if value.get_ref().is_str() {
        return section.word("groups", &[("instances", GroupBy::Instances)]).unwrap_or(GroupBy::Instances);
    }
    let Some(table) = section.section_of("groups", value) else { return GroupBy::Instances };
    let selector = |key: &'static str| {
        if !table.has(key) {
            table.missing(key, GROUPS_HELP);
        }
        read_selector(&table, key)
    };
    let (release, reference) = (selector("release"), selector("reference"));
    let instance_label = table.text("instance_label").map(|label| label.into_inner());
    match (release, reference) {
        (Some(release), Some(reference)) => {
            if release == reference {
                table.problem(table.span(), "both groups select the same series", GROUPS_HELP);
            }
            for (key, selector) in [("release", &release), ("reference", &reference)] {
                if let Some(name) = &selector.name {
                    table.problem(
                        table.span(),
                        format!("`{key}` names the metric {name}; only labels tell the groups apart"),
                        GROUPS_HELP,
                    );
                }
            }
            GroupBy::Labels(GroupSelectors { release, reference, instance_label })
        }
        _ => GroupBy::Instances,
    }
}

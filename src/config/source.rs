//! `[[source]]`: where samples come from.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use url::Url;

use super::http::{HttpClient, URL_HELP, read_client, read_url};
use super::raw::Section;

/// One place where samples come from.
#[derive(Clone, Debug, PartialEq)]
pub struct Source {
    /// Its name, unique.
    pub name: String,
    /// What it is.
    pub kind: SourceKind,
}

impl Source {
    /// The distance of its samples.
    pub fn interval(&self) -> Duration {
        match &self.kind {
            SourceKind::Scrape(scrape) => scrape.interval,
            SourceKind::Prometheus(prometheus) => prometheus.step,
        }
    }
}

/// The kinds of source.
#[derive(Clone, Debug, PartialEq)]
pub enum SourceKind {
    /// Targets that the guardian scrapes itself.
    Scrape(Box<ScrapeSource>),
    /// A server with Prometheus' HTTP API.
    Prometheus(Box<PrometheusSource>),
}

/// Targets that the guardian scrapes itself.
#[derive(Clone, Debug, PartialEq)]
pub struct ScrapeSource {
    /// Targets written in the settings.
    pub static_targets: Vec<StaticTargets>,
    /// Target lists in files.
    pub file_sd: Vec<FileSd>,
    /// Target lists from HTTP servers.
    pub http_sd: Vec<HttpSd>,
    /// How often each target is scraped.
    pub interval: Duration,
    /// How long one scrape may take; at most the interval.
    pub timeout: Duration,
    /// The path of the metrics page.
    pub path: String,
    /// http or https.
    pub scheme: Scheme,
    /// A longer page, unpacked, is a failed scrape.
    pub body_limit_bytes: u64,
    /// A page with more series is cut there and counts as incomplete.
    pub series_limit: u32,
    /// How targets are spoken to.
    pub client: HttpClient,
}

/// http or https.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scheme {
    /// http
    Http,
    /// https
    Https,
}

impl Scheme {
    /// As in an address.
    pub fn word(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// Targets that share labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaticTargets {
    /// `host:port` each.
    pub targets: Vec<String>,
    /// Added to each of their series, and what applications select by.
    pub labels: BTreeMap<String, String>,
}

/// Target lists in files, JSON or YAML as for Prometheus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSd {
    /// The files; the last part of a path may hold `*`.
    pub files: Vec<PathBuf>,
    /// How often they are looked at.
    pub refresh: Duration,
}

/// A target list from an HTTP server, as for Prometheus.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpSd {
    /// Its address.
    pub url: Url,
    /// How often it is asked.
    pub refresh: Duration,
    /// How it is spoken to.
    pub client: HttpClient,
}

/// A server with Prometheus' HTTP API.
#[derive(Clone, Debug, PartialEq)]
pub struct PrometheusSource {
    /// Its address, without `/api/v1`.
    pub url: Url,
    /// How it is spoken to.
    pub client: HttpClient,
    /// The tenant header, for servers with tenants.
    pub tenant: Option<Tenant>,
    /// The distance of samples that is asked for.
    pub step: Duration,
    /// How long one answer may take.
    pub timeout: Duration,
    /// The label that tells instances apart.
    pub instance_label: String,
    /// An answer with more series is cut there and counts as incomplete.
    pub series_limit: u32,
}

/// The header that names a tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tenant {
    /// The header's name.
    pub header: String,
    /// Its value.
    pub value: String,
}

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);
const NAME_HELP: &str = "name it, so that applications and messages can: name = \"nodes\"";

#[derive(Clone, Copy)]
enum Kind {
    Scrape,
    Prometheus,
}

pub(super) fn read_sources(root: &Section<'_>) -> Vec<Source> {
    let mut sources: Vec<Source> = Vec::new();
    for section in root.sections("source") {
        let name = section.required_text("name", NAME_HELP);
        if !section.has("kind") {
            section.missing("kind", "write kind = \"scrape\" or kind = \"prometheus\"");
        }
        let kind = section.word("kind", &[("scrape", Kind::Scrape), ("prometheus", Kind::Prometheus)]);
        let kind = match kind {
            Some(Kind::Scrape) => Some(SourceKind::Scrape(Box::new(read_scrape(&section)))),
            Some(Kind::Prometheus) => {
                read_prometheus(&section).map(|read| SourceKind::Prometheus(Box::new(read)))
            }
            None => {
                section.pass_over();
                None
            }
        };
        let Some(name) = name else { continue };
        if sources.iter().any(|source| source.name == *name.get_ref()) {
            section.problem(
                name.span(),
                format!("there are two sources named {:?}", name.get_ref()),
                "rename one",
            );
            continue;
        }
        if let Some(kind) = kind {
            sources.push(Source { name: name.into_inner(), kind });
        }
    }
    sources
}

fn read_scrape(section: &Section<'_>) -> ScrapeSource {
    let scrape = ScrapeSource {
        static_targets: read_static(section),
        file_sd: read_file_sd(section),
        http_sd: read_http_sd(section),
        interval: section.duration("interval", SECOND..=HOUR).unwrap_or(10 * SECOND),
        timeout: Duration::ZERO,
        path: read_path(section),
        scheme: section
            .word("scheme", &[("http", Scheme::Http), ("https", Scheme::Https)])
            .unwrap_or(Scheme::Http),
        body_limit_bytes: section.bytes("body_limit_bytes", 1 << 10..=1 << 30).unwrap_or(32 << 20),
        series_limit: section.count("series_limit", 1..=10_000_000).unwrap_or(50_000),
        client: read_client(section),
    };
    if !["static", "file_sd", "http_sd"].into_iter().any(|key| section.has(key)) {
        section.missing(
            "static",
            "name its targets: static = [{ targets = [\"host:9100\"] }], or file_sd, or http_sd",
        );
    }
    let timeout = section.duration("timeout", Duration::from_millis(10)..=scrape.interval);
    ScrapeSource { timeout: timeout.unwrap_or(scrape.interval.min(8 * SECOND)), ..scrape }
}

fn read_path(section: &Section<'_>) -> String {
    let path = section.parsed("path", "write the path with its leading slash: \"/metrics\"", |text| {
        if text.starts_with('/') && !text.chars().any(|c| c.is_whitespace() || c.is_control()) {
            Ok(text.to_owned())
        } else {
            Err(format!("{text:?} is not a path"))
        }
    });
    path.map_or_else(|| "/metrics".to_owned(), |path| path.into_inner())
}

fn read_static(section: &Section<'_>) -> Vec<StaticTargets> {
    let groups = section.sections("static");
    let read = groups.iter().map(|group| {
        if !group.has("targets") {
            group.missing("targets", "write targets = [\"host:9100\"]");
        }
        let targets = group.texts("targets").unwrap_or_default().into_iter().filter_map(|target| {
            let usable = is_host_and_port(target.get_ref());
            if !usable {
                group.problem(
                    target.span(),
                    format!("target {:?} is not a host with a port", target.get_ref()),
                    "write \"host:9100\" or \"[::1]:9100\"; scheme and path are settings of the source",
                );
            }
            usable.then(|| target.into_inner())
        });
        StaticTargets { targets: targets.collect(), labels: group.text_table("labels") }
    });
    read.collect()
}

fn is_host_and_port(target: &str) -> bool {
    let Some((host, port)) = target.rsplit_once(':') else { return false };
    let plain = !host.is_empty() && !host.contains(|c: char| c.is_whitespace() || "/@?#".contains(c));
    let bracketed = host.starts_with('[') && host.ends_with(']');
    plain && (bracketed || !host.contains(':')) && port.parse::<u16>().is_ok_and(|port| port > 0)
}

fn read_file_sd(section: &Section<'_>) -> Vec<FileSd> {
    let read = section.sections("file_sd").into_iter().map(|table| {
        if !table.has("files") {
            table.missing("files", "write files = [\"/etc/release-guardian/targets/*.json\"]");
        }
        let files = table.texts("files").unwrap_or_default().into_iter().filter_map(|file| {
            let path = PathBuf::from(file.get_ref());
            let kind = path.extension().and_then(|kind| kind.to_str());
            let star_in_folder = path.parent().is_some_and(|folder| folder.to_string_lossy().contains('*'));
            if !matches!(kind, Some("json" | "yml" | "yaml")) || star_in_folder {
                table.problem(
                    file.span(),
                    format!("{:?} is not a target list", file.get_ref()),
                    "the name ends in .json, .yml or .yaml, and only its last part may hold *",
                );
                return None;
            }
            Some(path)
        });
        FileSd {
            files: files.collect(),
            refresh: table.duration("refresh", SECOND..=24 * HOUR).unwrap_or(30 * SECOND),
        }
    });
    read.collect()
}

fn read_http_sd(section: &Section<'_>) -> Vec<HttpSd> {
    let read = section.sections("http_sd").into_iter().filter_map(|table| {
        if !table.has("url") {
            table.missing("url", URL_HELP);
        }
        let url = read_url(&table, "url");
        let refresh = table.duration("refresh", SECOND..=24 * HOUR).unwrap_or(60 * SECOND);
        let client = read_client(&table);
        Some(HttpSd { url: url?, refresh, client })
    });
    read.collect()
}

fn read_prometheus(section: &Section<'_>) -> Option<PrometheusSource> {
    if !section.has("url") {
        section.missing("url", URL_HELP);
    }
    let url = read_url(section, "url");
    let client = read_client(section);
    let tenant = section.section("tenant").and_then(|tenant| {
        let value = tenant.required_text("value", "write the tenant's name");
        let header =
            tenant.text("header").map_or_else(|| "X-Scope-OrgID".to_owned(), |text| text.into_inner());
        Some(Tenant { header, value: value?.into_inner() })
    });
    let step = section.duration("step", SECOND..=HOUR).unwrap_or(15 * SECOND);
    let timeout =
        section.duration("timeout", Duration::from_millis(100)..=600 * SECOND).unwrap_or(30 * SECOND);
    let label =
        section.text("instance_label").map_or_else(|| "instance".to_owned(), |text| text.into_inner());
    let series_limit = section.count("series_limit", 1..=10_000_000).unwrap_or(50_000);
    Some(PrometheusSource { url: url?, client, tenant, step, timeout, instance_label: label, series_limit })
}

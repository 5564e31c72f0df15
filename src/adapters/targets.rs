//! Which targets a source has: written in the settings, in files, or told by
//! an HTTP server. A list that cannot be read never empties what is watched:
//! the last good one stays, and the problem is told.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::ACCEPT;
use serde::Deserialize;
use tokio::sync::watch;
use tokio::time::Instant;
use url::Url;

use crate::config::{FileSd, HttpSd, ScrapeSource, Surroundings};
use crate::domain::{InstanceId, Selector};

use super::outgoing::ClientError;
use super::scrape::{Connection, no_answer, read_body};

/// Largest target list that is read, in bytes.
const LIST_BYTES_MAX: u64 = 32 << 20;

/// Most targets of one source.
const TARGETS_MAX: usize = 50_000;

/// How long an HTTP server may take for its list.
const HTTP_TIMEOUT: Duration = Duration::from_secs(30);

/// One instance to scrape.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    /// Its label `instance`, or its address.
    pub instance: InstanceId,
    /// Its metrics page.
    pub url: Url,
    /// What its list says of it; `instance` among them.
    pub labels: BTreeMap<String, String>,
}

impl Target {
    /// Whether its labels satisfy one of `selectors`, or there are none.
    pub fn is_selected(&self, selectors: &[Selector]) -> bool {
        let label = |name: &str| self.labels.get(name).map(String::as_str);
        selectors.is_empty() || selectors.iter().any(|selector| selector.holds(label))
    }
}

/// The targets whose labels satisfy one of `selectors`; all if there are none.
pub fn select<'a>(targets: &'a [Arc<Target>], selectors: &[Selector]) -> Vec<&'a Arc<Target>> {
    targets.iter().filter(|target| target.is_selected(selectors)).collect()
}

/// The targets of a source, as far as they are known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Discovered {
    /// Each instance once, in the order of the lists.
    pub targets: Arc<[Arc<Target>]>,
    /// What could not be read, a sentence each; older targets stand in for it.
    pub problems: Vec<String>,
}

/// Targets with common labels, as target lists have them.
#[derive(Debug, Deserialize)]
struct TargetGroup {
    targets: Vec<String>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

/// Finds the targets of one source, list by list.
pub struct Discovery {
    source: ScrapeSource,
    lists: Vec<List>,
}

/// One place that lists targets, with the last good list.
struct List {
    place: Place,
    due: Instant,
    groups: Vec<TargetGroup>,
    problem: Option<String>,
}

enum Place {
    Static,
    Files { settings: FileSd, known: BTreeMap<PathBuf, KnownFile> },
    Http { settings: Box<HttpSd>, connection: Connection },
}

/// A target file as it was last read well.
struct KnownFile {
    stamp: Stamp,
    groups: Vec<TargetGroup>,
    problem: Option<String>,
}

/// What changes when a file is written or replaced.
type Stamp = (i64, i64, u64, u64);

impl Discovery {
    /// Looks at no list yet.
    ///
    /// # Errors
    /// If a certificate or secret of an HTTP list cannot be had.
    pub fn new(source: &ScrapeSource, surroundings: &dyn Surroundings) -> Result<Self, ClientError> {
        let due = Instant::now();
        let list = |place, groups| List { place, due, groups, problem: None };
        let fixed = source
            .static_targets
            .iter()
            .map(|group| TargetGroup { targets: group.targets.clone(), labels: group.labels.clone() });
        let mut lists = vec![list(Place::Static, fixed.collect())];
        for settings in &source.file_sd {
            lists.push(list(Place::Files { settings: settings.clone(), known: BTreeMap::new() }, Vec::new()));
        }
        for settings in &source.http_sd {
            let connection = Connection::new(&settings.client, surroundings)?;
            lists.push(list(Place::Http { settings: Box::new(settings.clone()), connection }, Vec::new()));
        }
        Ok(Self { source: source.clone(), lists })
    }

    /// Reads the lists again and again, and tells `updates` what changed,
    /// until nobody listens.
    pub async fn run(mut self, updates: watch::Sender<Discovered>) {
        loop {
            let found = self.refresh_due().await;
            updates.send_if_modified(|known| {
                let changed = *known != found;
                *known = found;
                changed
            });
            let next =
                self.lists.iter().filter(|list| !matches!(list.place, Place::Static)).map(|l| l.due).min();
            tokio::select! {
                () = updates.closed() => return,
                () = sleep_until(next) => {}
            }
        }
    }

    /// Reads the lists whose time has come.
    pub async fn refresh_due(&mut self) -> Discovered {
        for list in &mut self.lists {
            if list.due <= Instant::now() {
                let wait = list.refresh().await;
                list.due = Instant::now() + wait;
            }
        }
        self.discovered()
    }

    fn discovered(&self) -> Discovered {
        let mut problems = Vec::new();
        let mut seen = HashSet::new();
        let mut targets = Vec::new();
        for list in &self.lists {
            problems.extend(list.problem.clone());
            let known = match &list.place {
                Place::Static | Place::Http { .. } => list.groups.iter().collect::<Vec<_>>(),
                Place::Files { known, .. } => {
                    problems.extend(known.values().filter_map(|file| file.problem.clone()));
                    known.values().flat_map(|file| &file.groups).collect()
                }
            };
            for (group, address) in known.iter().flat_map(|g| g.targets.iter().map(move |t| (g, t))) {
                match target(address, &group.labels, &self.source) {
                    Err(problem) => problems.push(problem),
                    Ok(target) if !seen.insert(target.instance.clone()) => {
                        problems.push(format!(
                            "instance {} is listed twice; the first is taken",
                            target.instance
                        ));
                    }
                    Ok(_) if targets.len() == TARGETS_MAX => {
                        problems.push(format!("target {address} is over the limit of {TARGETS_MAX} targets"));
                    }
                    Ok(target) => targets.push(Arc::new(target)),
                }
            }
        }
        // A long list of bad targets needs no sentence for each.
        problems.truncate(100);
        Discovered { targets: targets.into(), problems }
    }
}

async fn sleep_until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

impl List {
    /// Reads the list; returns when to read it again.
    async fn refresh(&mut self) -> Duration {
        match &mut self.place {
            Place::Static => Duration::from_secs(86_400),
            Place::Files { settings, known } => {
                self.problem = refresh_files(settings, known);
                settings.refresh
            }
            Place::Http { settings, connection } => {
                match tokio::time::timeout(HTTP_TIMEOUT, ask(settings, connection)).await {
                    Ok(Ok((groups, refresh))) => {
                        self.groups = groups;
                        self.problem = None;
                        return refresh.unwrap_or(settings.refresh);
                    }
                    Ok(Err(problem)) => self.problem = Some(problem),
                    Err(_) => {
                        self.problem = Some(format!("target list {}: no answer within 30 s", settings.url));
                    }
                }
                settings.refresh
            }
        }
    }
}

/// Files are read when they changed, and again while they cannot be read.
fn refresh_files(settings: &FileSd, known: &mut BTreeMap<PathBuf, KnownFile>) -> Option<String> {
    let mut problem = None;
    let mut present = HashSet::new();
    for pattern in &settings.files {
        match matching(pattern) {
            Ok(paths) => present.extend(paths),
            Err(error) => {
                // The folder cannot be listed: whatever was in it stays.
                let folder = pattern.parent();
                present.extend(known.keys().filter(|path| path.parent() == folder).cloned());
                problem = Some(format!("target lists {} cannot be found: {error}", pattern.display()));
            }
        }
    }
    known.retain(|path, _| present.contains(path));
    for path in present {
        let stamp = stamp(&path);
        let file = known.entry(path.clone()).or_insert_with(|| KnownFile {
            stamp: (0, 0, 0, 0),
            groups: Vec::new(),
            problem: Some(String::new()),
        });
        if let (Ok(stamp), None) = (&stamp, &file.problem)
            && *stamp == file.stamp
        {
            continue;
        }
        match stamp.map_err(|error| error.to_string()).and_then(|s| Ok((s, read_list(&path)?))) {
            Ok((stamp, groups)) => *file = KnownFile { stamp, groups, problem: None },
            Err(error) => {
                file.problem = Some(format!("target list {} cannot be read: {error}", path.display()));
            }
        }
    }
    problem
}

fn stamp(path: &Path) -> std::io::Result<Stamp> {
    let data = fs::metadata(path)?;
    Ok((data.mtime(), data.mtime_nsec(), data.ino(), data.len()))
}

fn read_list(path: &Path) -> Result<Vec<TargetGroup>, String> {
    let length = fs::metadata(path).map_err(|error| error.to_string())?.len();
    if length > LIST_BYTES_MAX {
        return Err(format!("it is larger than {LIST_BYTES_MAX} bytes"));
    }
    let text = fs::read_to_string(path).map_err(|error| error.to_string())?;
    if path.extension().is_some_and(|kind| kind == "json") {
        serde_json::from_str(&text).map_err(|error| error.to_string())
    } else {
        serde_yaml_ng::from_str(&text).map_err(|error| error.to_string())
    }
}

/// The files that a path means, whose last part may hold `*`.
fn matching(pattern: &Path) -> std::io::Result<Vec<PathBuf>> {
    let name = pattern.file_name().unwrap_or_default().to_string_lossy();
    if !name.contains('*') {
        return Ok(vec![pattern.to_owned()]);
    }
    let folder = pattern.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if fits(&name, &entry.file_name().to_string_lossy()) {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// Whether `name` fits `pattern`, in which `*` stands for any characters.
fn fits(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = name.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last) && !(pattern.starts_with('*') && name.starts_with('.'))
}

/// The list of an HTTP server, and when it wants to be asked again.
async fn ask(
    settings: &HttpSd,
    connection: &Connection,
) -> Result<(Vec<TargetGroup>, Option<Duration>), String> {
    let problem = |what: String| format!("target list {}: {what}", settings.url);
    let request = connection
        .request(reqwest::Method::GET, settings.url.clone())
        .header(ACCEPT, "application/json")
        .header("X-Prometheus-Refresh-Interval-Seconds", settings.refresh.as_secs_f64().to_string());
    let mut response = request.send().await.map_err(|error| problem(no_answer(error).to_string()))?;
    if response.status() != reqwest::StatusCode::OK {
        return Err(problem(format!("HTTP status {}", response.status().as_u16())));
    }
    let refresh = response
        .headers()
        .get("X-Prometheus-Refresh-Interval-Seconds")
        .and_then(|value| value.to_str().ok()?.parse::<f64>().ok())
        .filter(|seconds| (1.0..=86_400.0).contains(seconds))
        .map(Duration::from_secs_f64);
    let body =
        read_body(&mut response, LIST_BYTES_MAX).await.map_err(|failure| problem(failure.to_string()))?;
    let groups = serde_json::from_slice(&body).map_err(|error| problem(error.to_string()))?;
    Ok((groups, refresh))
}

/// A target from its address and labels; `__scheme__`, `__metrics_path__` and
/// `__param_x` change its page as they do for Prometheus.
fn target(address: &str, labels: &BTreeMap<String, String>, source: &ScrapeSource) -> Result<Target, String> {
    let bad = |why: String| format!("target {address:?} is not usable: {why}; write \"host:9100\"");
    if address.contains('/') || address.contains('@') || address.chars().any(char::is_whitespace) {
        return Err(bad("it is not a host with a port".to_owned()));
    }
    let scheme = labels.get("__scheme__").map_or(source.scheme.word(), String::as_str);
    let path = labels.get("__metrics_path__").map_or(source.path.as_str(), String::as_str);
    if !matches!(scheme, "http" | "https") {
        return Err(bad(format!("{scheme:?} is neither http nor https")));
    }
    let mut url =
        Url::parse(&format!("{scheme}://{address}{path}")).map_err(|error| bad(error.to_string()))?;
    for (name, value) in labels {
        if let Some(parameter) = name.strip_prefix("__param_") {
            url.query_pairs_mut().append_pair(parameter, value);
        }
    }
    let instance = InstanceId::new(labels.get("instance").map_or(address, String::as_str))
        .map_err(|error| bad(error.to_string()))?;
    let mut labels: BTreeMap<String, String> = labels
        .iter()
        .filter(|(name, _)| !matches!(name.as_str(), "__scheme__" | "__metrics_path__"))
        .filter(|(name, _)| !name.starts_with("__param_"))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    labels.insert("instance".to_owned(), instance.to_string());
    Ok(Target { instance, url, labels })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_of_files_stand_for_names() {
        for (pattern, name, expected) in [
            ("*.json", "a.json", true),
            ("*.json", ".a.json", false),
            ("*.json", "a.yaml", false),
            ("a*b*.yml", "a-b-c.yml", true),
            ("a*b*.yml", "a-c.yml", false),
            ("a*", "b", false),
            ("ab*ba", "aba", false),
        ] {
            assert_eq!(fits(pattern, name), expected, "{pattern} {name}");
        }
    }
}

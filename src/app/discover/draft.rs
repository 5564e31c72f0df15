//! The settings file that comes of what was seen: settings as settings, what
//! people should know as comments, what is missing marked with FILL-IN.

use std::fmt::{self, Write as _};
use std::path::Path;
use std::time::Duration;

use crate::adapters::clock;
use crate::config::{Auth, HttpClient, Secret, Settings, Source, SourceKind};
use crate::guard::Mode;
use crate::signal::Inventory;

use super::super::readiness::{Facts, missing, recommended};
use super::ask::{Seen, SeenApplication};

/// Signals that are named for one application.
const SIGNALS_SHOWN: usize = 200;
/// Troubles that are named for one application.
const TROUBLES_SHOWN: usize = 8;

/// What the text is for.
pub(super) enum Scope<'a> {
    /// A file of its own.
    Whole,
    /// The end of a file that is there already.
    Append {
        /// What it says.
        settings: &'a Settings,
        /// Where it is.
        path: &'a Path,
    },
}

impl Scope<'_> {
    fn configured(&self, name: Option<&str>) -> Option<&crate::config::Application> {
        match self {
            Self::Whole => None,
            Self::Append { settings, .. } => {
                settings.applications.iter().find(|a| Some(a.name.as_str()) == name)
            }
        }
    }
}

/// The text.
pub(super) fn write(seen: &Seen, scope: &Scope<'_>) -> String {
    let mut text = String::new();
    // Writing to a text cannot fail.
    let _ = write_all(&mut text, seen, scope);
    text
}

fn write_all(out: &mut String, seen: &Seen, scope: &Scope<'_>) -> fmt::Result {
    let now = clock::now();
    let count = seen.applications.len();
    writeln!(out, "# {count} application{} seen by `release-guardian discover` at {now}.", plural(count))?;
    if let Scope::Append { path, .. } = scope {
        writeln!(out, "# To be appended to {}.", path.display())?;
    }
    out.push_str(
        "# What is missing is marked FILL-IN. A setting behind a # without a blank is in force once the # is taken\n\
         # away and its marks are filled in. Then try it: release-guardian check --probe FILE\n",
    );
    for problem in &seen.problems {
        comment(out, "NOT SEEN: ", problem)?;
    }
    if let Scope::Whole = scope {
        for source in &seen.sources {
            write_source(out, source)?;
        }
        out.push_str(GENERAL);
    }
    for (name, application) in &seen.applications {
        write_application(out, name.as_deref(), application, scope)?;
    }
    if let Scope::Append { settings, .. } = scope {
        let unseen = settings
            .applications
            .iter()
            .filter(|a| !seen.applications.contains_key(&Some(a.name.to_string())));
        for application in unseen {
            let text = format!(
                "{} is configured, and none of the sources has a target or series of it",
                application.name
            );
            comment(out, "MISSING: ", &text)?;
        }
    }
    Ok(())
}

/// What no server can tell.
const GENERAL: &str = r#"
[defaults.policy]
# "observe" only records, "advise" tells people, "enforce" pauses and rolls back.
mode = "observe"

# MISSING: who carries out a pause and a rollback. Without it nothing is sent, and pipelines may ask the gate. Other
# kinds: flagger, argo_rollouts, kubernetes_deployment.
#[defaults.release_system]
#kind = "webhook"
#url = "FILL-IN"

# MISSING: whom to tell. Other kinds: email, slack, dingtalk, feishu, wecom.
#[[notify.channel]]
#name = "team"
#kind = "webhook"
#url = { file = "FILL-IN" }
#[[notify.route]]
#channels = ["team"]

# MISSING: who may do what. Without it the interface answers this machine only, and anybody on it may do everything.
#[server]
#listen = "0.0.0.0:8750"
#public_url = "FILL-IN"
#[[server.token]]
#name = "pipeline"
#role = "pipeline"
#secret = { file = "FILL-IN" }
#[[server.token]]
#name = "on-call"
#role = "operator"
#secret = { file = "FILL-IN" }
"#;

fn write_source(out: &mut String, source: &Source) -> fmt::Result {
    writeln!(out, "\n[[source]]\nname = {}", quoted(&source.name))?;
    match &source.kind {
        SourceKind::Prometheus(server) => {
            writeln!(out, "kind = \"prometheus\"\nurl = {}", quoted(server.url.as_str()))?;
            writeln!(out, "# The distance of its samples.\nstep = \"{}s\"", server.step.as_secs())?;
            if let Some(tenant) = &server.tenant {
                let (header, value) = (quoted(&tenant.header), quoted(&tenant.value));
                writeln!(out, "tenant = {{ header = {header}, value = {value} }}")?;
            }
            write_client(out, &server.client)
        }
        SourceKind::Scrape(scrape) => {
            writeln!(out, "kind = \"scrape\"\ninterval = \"{}s\"", whole_seconds(scrape.interval))?;
            writeln!(out, "scheme = {}\npath = {}", quoted(scrape.scheme.word()), quoted(&scrape.path))?;
            let targets = scrape.static_targets.iter().flat_map(|group| &group.targets);
            let targets: Vec<String> = targets.map(|target| quoted(target)).collect();
            writeln!(out, "static = [{{ targets = [{}] }}]", targets.join(", "))?;
            write_client(out, &scrape.client)
        }
    }
}

fn whole_seconds(time: Duration) -> u64 {
    time.as_secs().max(1)
}

fn write_client(out: &mut String, client: &HttpClient) -> fmt::Result {
    match &client.auth {
        Auth::None => {}
        Auth::Bearer(secret) => writeln!(out, "auth = {{ bearer = {} }}", secret_of(secret))?,
        Auth::Basic { user, password } => {
            writeln!(out, "auth = {{ user = {}, password = {} }}", quoted(user), secret_of(password))?;
        }
    }
    let mut tls = Vec::new();
    if let Some(file) = &client.tls.ca_file {
        tls.push(format!("ca_file = {}", quoted(&absolute(file))));
    }
    if client.tls.insecure_skip_verify {
        tls.push("insecure_skip_verify = true".to_owned());
    }
    if !tls.is_empty() {
        writeln!(out, "tls = {{ {} }}", tls.join(", "))?;
    }
    Ok(())
}

/// Where a secret is, never what it is.
fn secret_of(secret: &Secret) -> String {
    match secret {
        Secret::File(path) => format!("{{ file = {} }}", quoted(&absolute(path))),
        Secret::Credential(name) => format!("{{ credential = {} }}", quoted(name)),
        Secret::Variable(name) => quoted(&format!("${{{name}}}")),
    }
}

/// The daemon runs in another folder than this command.
fn absolute(path: &Path) -> String {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).display().to_string()
}

fn write_application(
    out: &mut String,
    name: Option<&str>,
    seen: &SeenApplication,
    scope: &Scope<'_>,
) -> fmt::Result {
    let configured = scope.configured(name);
    let instances = seen.instances.len();
    let looked_at: Vec<&str> = seen.looked_at.iter().map(|instance| instance.as_str()).collect();
    let looked_at = if looked_at.is_empty() { "none".to_owned() } else { looked_at.join(", ") };
    out.push('\n');
    comment(out, "---- ", &format!("{instances} instance{}, looked at: {looked_at}", plural(instances)))?;
    match (configured, name) {
        (Some(application), _) => {
            comment(
                out,
                "",
                &format!(
                    "[[application]] name = {} is configured already.",
                    quoted(application.name.as_str())
                ),
            )?;
        }
        (None, Some(name)) => writeln!(out, "[[application]]\nname = {}", quoted(name))?,
        (None, None) => {
            out.push_str(
                "# FILL-IN: no label names the application; write the name that your release system uses.\n",
            );
            out.push_str("[[application]]\nname = \"\"\n");
        }
    }
    if configured.is_none() {
        let sources: Vec<String> = seen.sources.iter().map(|source| quoted(source)).collect();
        writeln!(out, "sources = [{}]", sources.join(", "))?;
        if !seen.select.is_empty() {
            let select: Vec<String> = seen.select.iter().map(|selector| quoted(selector)).collect();
            writeln!(out, "select = [{}]", select.join(", "))?;
        }
    }
    let inventory = Inventory::of(&seen.catalogue);
    let facts = Facts {
        name,
        instances,
        inventory: &inventory,
        mode: configured.map_or(Mode::Observe, |application| application.engine.policy.mode),
        has_release_system: configured.is_some_and(|application| application.release_system.is_some()),
    };
    for lack in missing(&facts).into_iter().chain(recommended(&facts)) {
        comment(out, "MISSING: ", &format!("{} – {}", lack.setting, lack.why))?;
    }
    for problem in seen.problems.iter().take(TROUBLES_SHOWN) {
        comment(out, "NOT READ: ", problem)?;
    }
    write_signals(out, &inventory)
}

fn write_signals(out: &mut String, inventory: &Inventory) -> fmt::Result {
    if inventory.signals.is_empty() {
        return Ok(());
    }
    writeln!(out, "# {} signals would be judged: class, which way is bad, name.", inventory.signals.len())?;
    for signal in inventory.signals.iter().take(SIGNALS_SHOWN) {
        let segments: Vec<String> =
            signal.segments.iter().map(|(label, count)| format!("{label} ({count})")).collect();
        let by =
            if segments.is_empty() { String::new() } else { format!(", also by {}", segments.join(", ")) };
        let line = format!("  {:<11}{:<8}{}{by}", signal.class.word(), signal.bad_when.word(), signal.name);
        comment(out, "", &line)?;
    }
    let more = inventory.signals.len().saturating_sub(SIGNALS_SHOWN);
    if more > 0 {
        writeln!(out, "#   and {more} more")?;
    }
    if inventory.not_judged > 0 {
        writeln!(out, "# {} more are configurations or muted, and not judged.", inventory.not_judged)?;
    }
    if inventory.over_limit > 0 {
        writeln!(
            out,
            "# {} label values are over the limit and not judged on their own.",
            inventory.over_limit
        )?;
    }
    Ok(())
}

/// A comment; what came from outside never leaves its line.
fn comment(out: &mut String, mark: &str, text: &str) -> fmt::Result {
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(1_000).collect();
    writeln!(out, "# {mark}{text}")
}

/// A text as TOML writes it.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}

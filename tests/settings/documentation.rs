//! docs/settings.md is held against the program: each table lists exactly the
//! keys of its section, and each default is the program's.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use release_guardian::config::Settings;

use super::Nowhere;

/// Each heading of the document with what must stand around its keys in a
/// file: before them, and the required ones with a value.
const SECTIONS: &[(&str, &str, &[(&str, &str)])] = &[
    ("[server]", "[server]\n", &[]),
    (
        "[[server.token]]",
        "[[server.token]]\n",
        &[("name", "'n'"), ("role", "'viewer'"), ("secret", "{ file = '/f' }")],
    ),
    ("[store]", "[store]\n", &[]),
    ("[recordings]", "[recordings]\n", &[]),
    ("[model]", "[model]\n", &[]),
    (
        "[[source]] kind = \"scrape\"",
        "[[source]]\n",
        &[("name", "'n'"), ("kind", "'scrape'"), ("file_sd", "[{ files = 'f.json' }]")],
    ),
    (
        "[[source.static]]",
        "[[source]]\nname='n'\nkind='scrape'\n[[source.static]]\n",
        &[("targets", "['h:1']")],
    ),
    (
        "[[source.file_sd]]",
        "[[source]]\nname='n'\nkind='scrape'\n[[source.file_sd]]\n",
        &[("files", "'f.json'")],
    ),
    (
        "[[source.http_sd]]",
        "[[source]]\nname='n'\nkind='scrape'\n[[source.http_sd]]\n",
        &[("url", "'http://h'")],
    ),
    ("tls", "[[source]]\nname='n'\nkind='prometheus'\nurl='http://h'\n[source.tls]\n", &[]),
    (
        "[[source]] kind = \"prometheus\"",
        "[[source]]\n",
        &[("name", "'n'"), ("kind", "'prometheus'"), ("url", "'http://h'")],
    ),
    ("[defaults]", "[defaults]\n", &[]),
    ("[[application]]", "[[application]]\n", &[("name", "'n'")]),
    (
        "application.groups",
        "[[application]]\nname='n'\n[application.groups]\n",
        &[("release", "'{v=\"a\"}'"), ("reference", "'{v=\"b\"}'")],
    ),
    ("policy", "[defaults.policy]\n", &[]),
    ("rules", "[defaults.rules]\n", &[]),
    ("rules.instance_silent", "[defaults.rules.instance_silent]\n", &[]),
    ("rules.crash_loop", "[defaults.rules.crash_loop]\n", &[]),
    (
        "[[application.threshold]]",
        "[[application]]\nname='n'\n[[application.threshold]]\n",
        &[("name", "'t'"), ("signal", "'s'"), ("above", "1")],
    ),
    ("[[application.signal]]", "[[application]]\nname='n'\n[[application.signal]]\n", &[("metric", "'m'")]),
    (
        "application.signal.ratio",
        "[[application]]\nname='n'\n[[application.signal]]\nname='s'\n[application.signal.ratio]\n",
        &[("bad", "'m{l=\"v\"}'"), ("all", "'m'")],
    ),
    (
        "release_system kind = \"webhook\"",
        "[defaults.release_system]\n",
        &[("kind", "'webhook'"), ("url", "'http://h'")],
    ),
    (
        "release_system.read_back",
        "[defaults.release_system]\nkind='webhook'\nurl='http://h'\n[defaults.release_system.read_back]\n",
        &[("url", "'http://h'"), ("paused_when", "{ pointer = '/p', equals = true }")],
    ),
    (
        "release_system kind = \"argo_rollouts\"",
        "[defaults.release_system]\n",
        &[("kind", "'argo_rollouts'"), ("namespace", "'n'")],
    ),
    ("[[freeze]]", "[[freeze]]\n", &[("name", "'n'"), ("days", "'friday'")]),
    ("application.alerts", "[[application]]\nname='n'\n[application.alerts]\n", &[]),
    ("[alerts]", "[alerts]\n", &[]),
    ("[notify]", "[notify]\n", &[]),
    (
        "[[notify.channel]] kind = \"email\"",
        "[[notify.channel]]\n",
        &[
            ("name", "'n'"),
            ("kind", "'email'"),
            ("server", "'h'"),
            ("from", "'a@example.com'"),
            ("to", "['b@example.com']"),
        ],
    ),
    (
        "[[notify.channel]] kind = \"dingtalk\"",
        "[[notify.channel]]\n",
        &[("name", "'n'"), ("kind", "'dingtalk'"), ("url", "{ file = '/f' }")],
    ),
    (
        "[[notify.channel]] kind = \"feishu\"",
        "[[notify.channel]]\n",
        &[("name", "'n'"), ("kind", "'feishu'"), ("url", "{ file = '/f' }")],
    ),
    (
        "[[notify.channel]] kind = \"wecom\"",
        "[[notify.channel]]\n",
        &[("name", "'n'"), ("kind", "'wecom'"), ("url", "{ file = '/f' }")],
    ),
    (
        "[[notify.channel]] kind = \"slack\"",
        "[[notify.channel]]\n",
        &[("name", "'n'"), ("kind", "'slack'"), ("url", "{ file = '/f' }")],
    ),
    (
        "[[notify.channel]] kind = \"webhook\"",
        "[[notify.channel]]\n",
        &[("name", "'n'"), ("kind", "'webhook'"), ("url", "{ file = '/f' }")],
    ),
    (
        "[[notify.route]]",
        "[[notify.channel]]\nname='n'\nkind='slack'\nurl={ file = '/f' }\n[[notify.route]]\n",
        &[("channels", "['n']")],
    ),
    ("[log]", "[log]\n", &[]),
];

/// The tables by heading: each key with its default as it stands there.
fn documented() -> BTreeMap<String, Vec<(String, String)>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/settings.md");
    let mut sections: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    let mut heading = String::new();
    for line in fs::read_to_string(path).unwrap().lines() {
        if let Some(text) = line.strip_prefix("## ") {
            heading = text.to_owned();
        } else if let Some(row) = line.strip_prefix("| `") {
            let mut cells = row.split('|');
            let key = cells.next().unwrap().trim().trim_end_matches('`').to_owned();
            let default = cells.next().unwrap().trim().trim_matches('`').to_owned();
            sections.entry(heading.clone()).or_default().push((key, default));
        }
    }
    sections
}

fn surroundings() -> Nowhere {
    Nowhere(BTreeMap::new())
}

fn lines(pairs: impl IntoIterator<Item = (String, String)>) -> String {
    pairs.into_iter().map(|(key, value)| format!("{key} = {value}\n")).collect()
}

/// The values in Debug form without what rule modes say explicitly: that a
/// rule is in force is the default.
fn shown(text: &str) -> String {
    let mut settings =
        Settings::read("text", text, &surroundings()).unwrap_or_else(|problems| panic!("{text}\n{problems}"));
    settings.defaults.engine.policy.rule_modes.retain(|_, mode| *mode != Default::default());
    // Without a state directory paths are relative to the current one.
    format!("{settings:#?}").replace("\"./", "\"")
}

#[test]
fn every_documented_default_is_the_programs() {
    let documented = documented();
    for (heading, before, required) in SECTIONS {
        let rows =
            documented.get(*heading).unwrap_or_else(|| panic!("docs/settings.md has no section {heading}"));
        let needed: Vec<(String, String)> =
            required.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let is_default = |(key, default): &&(String, String)| {
            let has_default = !default.is_empty() && default != "required";
            has_default && !required.iter().any(|(required, _)| required == key)
        };
        let defaults: Vec<(String, String)> = rows.iter().filter(is_default).cloned().collect();
        let bare = format!("{before}{}", lines(needed.clone()));
        let written = format!("{bare}{}", lines(defaults));
        assert_eq!(
            shown(&bare),
            shown(&written),
            "{heading}: a default in docs/settings.md is not the program's\n{written}"
        );
    }
}

#[test]
fn every_setting_is_documented_and_no_other() {
    let mut documented = documented();
    for (heading, before, required) in SECTIONS {
        let rows = documented.remove(*heading).unwrap();
        let rows: BTreeSet<String> = rows.into_iter().map(|(key, _)| key).collect();
        let needed = required.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let text = format!("{before}{}a_key_that_nobody_knows = 1\n", lines(needed));
        let problems = Settings::read("text", &text, &surroundings()).unwrap_err();
        let help = problems.iter().find_map(|problem| problem.help.strip_prefix("known here are "));
        let known: BTreeSet<String> =
            help.unwrap_or_else(|| panic!("{problems}")).split(", ").map(str::to_owned).collect();
        assert_eq!(rows, known, "{heading}: docs/settings.md and the program differ");
    }
    let unheld: Vec<String> = documented.into_keys().collect();
    assert!(unheld.is_empty(), "sections that no test holds against the program: {unheld:?}");
}

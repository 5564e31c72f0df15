//! The rules that the compiler does not check: which ring may name which,
//! what the inner rings never touch, how large a file may grow.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

use std::fs;
use std::path::{Path, PathBuf};

/// Each ring with those that it may name beside itself.
const RINGS: [(&str, &[&str]); 9] = [
    ("domain", &[]),
    ("signal", &["domain"]),
    ("judge", &["domain", "signal"]),
    ("guard", &["domain", "signal", "judge"]),
    ("learn", &["domain", "signal", "judge"]),
    ("config", &["domain", "signal", "judge", "guard"]),
    ("simulate", &["domain", "signal"]),
    ("adapters", &["domain", "signal", "judge", "guard", "learn", "config"]),
    ("app", &["domain", "signal", "judge", "guard", "learn", "config", "simulate", "adapters"]),
];

/// Rings in which the same input gives the same output, at any time and place.
const PURE: [&str; 5] = ["domain", "signal", "judge", "guard", "config"];

const IMPURE: [&str; 9] = [
    "SystemTime",
    "Instant::now",
    "Timestamp::now",
    "std::fs",
    "std::net::Tcp",
    "std::env",
    "tokio",
    "reqwest",
    "rand::",
];

const FILE_LINES_MAX: usize = 700;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for path in entries.map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            walk(&path, files);
        } else {
            files.push(path);
        }
    }
}

fn files(folders: &[&str], ending: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    folders.iter().for_each(|folder| walk(&root().join(folder), &mut files));
    files.retain(|path| path.to_string_lossy().ends_with(ending));
    files.sort();
    assert!(!files.is_empty());
    files
}

fn name(path: &Path) -> String {
    path.strip_prefix(root()).unwrap().display().to_string()
}

/// The ring of a file below src.
fn ring(path: &Path) -> Option<String> {
    let below = path.strip_prefix(root().join("src")).unwrap();
    let first = below.components().next().unwrap().as_os_str().to_str().unwrap();
    let first = first.strip_suffix(".rs").unwrap_or(first);
    RINGS.iter().any(|(ring, _)| *ring == first).then(|| first.to_owned())
}

/// The program of a file: without comments and without its unit tests, which
/// stand last.
fn program(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = text.lines().enumerate().map(|(at, line)| (at + 1, line));
    lines
        .take_while(|(_, line)| *line != "#[cfg(test)]")
        .map(|(at, line)| (at, line.split("//").next().unwrap_or_default()))
}

fn complain(complaints: &[String]) {
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

#[test]
fn an_inner_ring_never_names_an_outer_one() {
    let mut complaints = Vec::new();
    for path in files(&["src"], ".rs") {
        let Some(own) = ring(&path) else { continue };
        let allowed = RINGS.iter().find(|(ring, _)| *ring == own).unwrap().1;
        let text = fs::read_to_string(&path).unwrap();
        for (line, code) in program(&text) {
            for (other, _) in RINGS {
                let named =
                    code.contains(&format!("crate::{other}::")) || code.contains(&format!("crate::{other};"));
                if named && other != own && !allowed.contains(&other) {
                    complaints.push(format!("{}:{line}: {own} names {other}", name(&path)));
                }
            }
            if code.contains("crate::{") {
                complaints
                    .push(format!("{}:{line}: one `use` a ring, so that this test can read it", name(&path)));
            }
        }
    }
    complain(&complaints);
}

#[test]
fn the_inner_rings_read_no_clock_file_socket_environment_or_random_source() {
    let mut complaints = Vec::new();
    for path in files(&["src"], ".rs") {
        let Some(own) = ring(&path) else { continue };
        if !PURE.contains(&own.as_str()) || path.ends_with("tests.rs") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        for (line, code) in program(&text) {
            for word in IMPURE {
                if code.contains(word) {
                    complaints.push(format!("{}:{line}: {own} uses {word}", name(&path)));
                }
            }
        }
    }
    complain(&complaints);
}

#[test]
fn nothing_is_left_for_later_and_no_test_is_switched_off() {
    let words = [
        concat!("to", "do!"),
        concat!("unimple", "mented!"),
        concat!("#[ig", "nore"),
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
    ];
    let mut complaints = Vec::new();
    for path in files(&["src", "tests", "benches"], ".rs") {
        let text = fs::read_to_string(&path).unwrap();
        for (line, code) in text.lines().enumerate() {
            if words.iter().any(|word| code.contains(word)) {
                complaints.push(format!("{}:{}: {}", name(&path), line + 1, code.trim()));
            }
        }
    }
    complain(&complaints);
}

#[test]
fn every_file_can_be_read_in_one_sitting() {
    let mut complaints = Vec::new();
    for path in files(&["src"], ".rs") {
        let text = fs::read_to_string(&path).unwrap();
        let lines = program(&text).count();
        if lines >= FILE_LINES_MAX {
            complaints
                .push(format!("{}: {lines} lines without its unit tests; split it by concern", name(&path)));
        }
    }
    complain(&complaints);
}

#[test]
fn no_path_of_the_machine_it_was_written_on_is_left() {
    let paths = [concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/tm", "p/h/")];
    let mut complaints = Vec::new();
    let folders = ["src", "tests", "benches", "docs", "config", "systemd", "scripts", ".ci", "models"];
    for path in files(&folders, "") {
        let Ok(text) = fs::read_to_string(&path) else { continue };
        for (line, code) in text.lines().enumerate() {
            if paths.iter().any(|path| code.contains(path)) {
                complaints.push(format!("{}:{}: {}", name(&path), line + 1, code.trim()));
            }
        }
    }
    complain(&complaints);
}

#[test]
fn every_dependency_says_why_it_is_here() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let mut in_dependencies = false;
    let mut complaints = Vec::new();
    for (line, text) in manifest.lines().enumerate() {
        if text.starts_with('[') {
            in_dependencies = text.ends_with("dependencies]");
        } else if in_dependencies && text.contains('=') && !text.starts_with('#') && !text.contains("   # ") {
            let reasoned = text.split(" # ").nth(1).is_some_and(|reason| !reason.trim().is_empty());
            if !reasoned {
                complaints.push(format!("Cargo.toml:{}: {text}", line + 1));
            }
        }
    }
    complain(&complaints);
}

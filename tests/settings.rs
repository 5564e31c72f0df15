//! Settings files as people write them: good ones are read, bad ones give
//! every problem with its place, the examples work, the documentation is true.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use release_guardian::config::{Problems, Settings, Surroundings};

struct Nowhere(BTreeMap<String, String>);

impl Surroundings for Nowhere {
    fn variable(&self, name: &str) -> Option<String> {
        self.0.get(name).cloned()
    }
    fn read(&self, path: &Path) -> io::Result<String> {
        fs::read_to_string(path)
    }
}

fn surroundings() -> Nowhere {
    Nowhere(BTreeMap::from([("STATE_DIRECTORY".into(), "/var/lib/release-guardian".into())]))
}

fn read(path: &Path) -> Result<Settings, Problems> {
    let name = path.file_name().unwrap().to_string_lossy();
    Settings::read(&name, &fs::read_to_string(path).unwrap(), &surroundings())
}

fn files(folder: &str, ending: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.to_string_lossy().ends_with(ending));
    files.sort();
    assert!(!files.is_empty(), "no *{ending} in {folder}", folder = "the folder");
    files
}

#[test]
fn every_good_file_is_read() {
    for path in files("tests/settings", ".good.toml") {
        if let Err(problems) = read(&path) {
            panic!("{} should be good:\n{problems}", path.display());
        }
    }
}

#[test]
fn every_example_is_read() {
    for path in files("config", ".toml") {
        if let Err(problems) = read(&path) {
            panic!("{} should be good:\n{problems}", path.display());
        }
    }
}

#[test]
fn every_bad_file_gives_exactly_the_problems_beside_it() {
    for path in files("tests/settings", ".bad.toml") {
        let found = match read(&path) {
            Ok(_) => panic!("{} should be bad", path.display()),
            Err(problems) => problems.to_string(),
        };
        let expected_path = path.with_extension("").with_extension("expected");
        if std::env::var_os("UPDATE_EXPECTED").is_some() {
            fs::write(&expected_path, format!("{found}\n")).unwrap();
        }
        let expected = fs::read_to_string(&expected_path)
            .unwrap_or_else(|error| panic!("{}: {error}; found:\n{found}", expected_path.display()));
        assert_eq!(found, expected.trim_end(), "{} gives\n{found}\n", path.display());
    }
}

#[test]
fn a_secret_in_the_file_is_refused_and_shown_nowhere() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/settings/secrets.bad.toml");
    let problems = read(&path).unwrap_err().to_string();
    assert!(!problems.contains("hunter"), "{problems}");
}

#[test]
fn secrets_are_fetched_from_where_the_settings_say_and_not_shown() {
    use release_guardian::config::Secret;
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("token"), "s3cret\n").unwrap();
    let variables = BTreeMap::from([
        ("CREDENTIALS_DIRECTORY".to_owned(), folder.path().display().to_string()),
        ("TOKEN".to_owned(), "s3cret".to_owned()),
        ("NOTHING".to_owned(), String::new()),
    ]);
    let surroundings = Nowhere(variables);
    for place in [
        Secret::Credential("token".into()),
        Secret::Variable("TOKEN".into()),
        Secret::File(folder.path().join("token")),
    ] {
        let secret = place.fetch(&surroundings).unwrap();
        assert_eq!(secrecy::ExposeSecret::expose_secret(&secret), "s3cret");
        assert!(!format!("{place:?} {secret:?}").contains("s3cret"));
    }
    for (place, reason) in [
        (Secret::Credential("other".into()), "cannot read the secret"),
        (Secret::Variable("MISSING".into()), "is not set"),
        (Secret::Variable("NOTHING".into()), "is empty"),
    ] {
        let error = place.fetch(&surroundings).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    }
    let nowhere = Nowhere(BTreeMap::new());
    let error = Secret::Credential("token".into()).fetch(&nowhere).unwrap_err().to_string();
    assert!(error.contains("LoadCredential"), "{error}");
}

#[test]
fn an_application_has_the_defaults_unless_it_says_otherwise() {
    let text = r#"
        [defaults.policy]
        mode = "enforce"
        checks = 5
        [defaults.rules]
        crash_loop = "trial"
        new_exception = "off"
        [[application]]
        name = "shop"
        policy = { checks = 7, false_stops_per_1000 = 2.5 }
        rules = { crash_loop = "enforce" }
    "#;
    let settings = Settings::read("text", text, &surroundings()).unwrap();
    let shop = &settings.applications[0].engine;
    assert_eq!(shop.policy.mode, release_guardian::guard::Mode::Enforce);
    assert_eq!(shop.policy.checks, 7);
    assert_eq!(shop.judge.false_stops_per_1000, 2.5);
    assert!(!shop.judge.rule_trials.contains_key("crash_loop"));
    assert!(shop.judge.rule_trials.contains_key("new_exception"));
    assert_eq!(settings.defaults.engine.policy.checks, 5);
}

#[path = "settings/documentation.rs"]
mod documentation;

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

//! The daemon among the system's other services: the systemd unit is valid
//! and hardened.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

use std::fs;
use std::path::Path;
use std::process::Command;

/// The unit with the binary under test, as systemd-analyze wants programs
/// that exist.
fn unit(folder: &Path) -> std::path::PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd/release-guardian.service");
    let text = fs::read_to_string(source).unwrap();
    let installed = "/usr/bin/release-guardian ";
    assert!(text.contains(installed), "the unit starts the installed binary");
    let path = folder.join("release-guardian.service");
    let text = text.replace(installed, concat!(env!("CARGO_BIN_EXE_release-guardian"), " "));
    fs::write(&path, text).unwrap();
    path
}

fn analyze(arguments: &[&str], unit: &Path) -> (bool, String) {
    let output = Command::new("systemd-analyze")
        .args(arguments)
        .arg(unit)
        .env("SYSTEMD_COLORS", "0")
        .output()
        .expect("systemd-analyze comes with Debian's package systemd");
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

#[test]
fn systemd_finds_nothing_wrong_with_the_unit() {
    let folder = tempfile::tempdir().unwrap();
    // It exits with 0 on unknown keys and bad values and only prints them.
    let (success, said) = analyze(&["verify"], &unit(folder.path()));
    assert!(success && said.is_empty(), "systemd-analyze verify says:\n{said}");
}

#[test]
fn a_unit_with_a_misspelt_key_would_be_found() {
    let folder = tempfile::tempdir().unwrap();
    let path = unit(folder.path());
    let text = fs::read_to_string(&path).unwrap().replace("ProtectSystem=", "ProtectSystm=");
    fs::write(&path, text).unwrap();
    let (_, said) = analyze(&["verify"], &path);
    assert!(said.contains("ProtectSystm"), "{said}");
}

#[test]
fn the_units_exposure_is_at_most_2() {
    let folder = tempfile::tempdir().unwrap();
    let path = unit(folder.path());
    let (success, said) = analyze(&["security", "--offline=true", "--threshold=20", "--no-pager"], &path);
    assert!(success, "{said}");
    let unhardened = folder.path().join("plain.service");
    fs::write(&unhardened, "[Service]\nExecStart=/bin/true\n").unwrap();
    let (success, _) = analyze(&["security", "--offline=true", "--threshold=20", "--no-pager"], &unhardened);
    assert!(!success, "a unit without hardening passes, so the check checks nothing");
}

//! Settings files as people write them: good ones are read, bad ones give
//! every problem with its place, the examples work, the documentation is true.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

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

/// Every file that is asked for has a template's text.
struct Pasted;

impl Surroundings for Pasted {
    fn variable(&self, _name: &str) -> Option<String> {
        None
    }
    fn read(&self, _path: &Path) -> io::Result<String> {
        Ok("{{ headline }}".to_owned())
    }
}

#[test]
fn every_block_of_settings_in_the_documentation_is_taken_as_it_is_pasted() {
    let mut blocks = 0;
    for path in files("docs", ".md") {
        let text = fs::read_to_string(&path).unwrap();
        for block in text.split("```toml\n").skip(1) {
            let mut block = block.split("```").next().unwrap().to_owned();
            // A route goes below the channels that it names.
            if block.starts_with("[[notify.route]]") {
                for name in ["team", "mail", "oncall"] {
                    let channel = format!("name = \"{name}\"\nkind = \"slack\"\nurl = \"${{URL}}\"\n");
                    block = format!("[[notify.channel]]\n{channel}{block}");
                }
            }
            if let Err(problems) = Settings::read("pasted.toml", &block, &Pasted) {
                panic!("{}: a block is not taken:\n{problems}", path.display());
            }
            blocks += 1;
        }
    }
    assert!(blocks >= 16, "{blocks} blocks");
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

/// Serves one page to everybody, for ever.
fn page_server(page: &'static str) -> std::net::SocketAddr {
    server("200 OK", "Content-Type: text/plain; version=0.0.4", page)
}

/// Answers everything with this.
fn server(status: &'static str, header: &'static str, page: &'static str) -> std::net::SocketAddr {
    use std::io::{Read, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = [0; 4096];
            let _ = stream.read(&mut request);
            let head = format!("HTTP/1.1 {status}\r\n{header}\r\nConnection: close\r\n");
            let _ = write!(stream, "{head}Content-Length: {}\r\n\r\n{page}", page.len());
        }
    });
    address
}

fn check(arguments: &[&str], text: &str) -> (Option<i32>, String, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("guardian.toml");
    fs::write(&file, text).unwrap();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_release-guardian"))
        .arg("check")
        .args(arguments)
        .arg(&file)
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn check_says_in_words_what_was_understood() {
    let (code, said, _) = check(&[], &fs::read_to_string("config/release-guardian.toml").unwrap());
    assert_eq!(code, Some(0));
    for part in [
        "application shop: {job=\"shop\"} of nodes, prometheus",
        "pauses, and rolls back if the fault stays for 2m",
        "new_exception on trial",
        "limit \"availability\" on http_requests_total",
        "pause, rollback, resume by webhook, read back",
    ] {
        assert!(said.contains(part), "{part} is not in\n{said}");
    }
}

#[test]
fn check_fails_with_every_problem_of_a_bad_file() {
    let (code, _, said) = check(&[], "[server]\nlisten = 1\n[log]\nlevl = \"info\"\n");
    assert_eq!(code, Some(1));
    assert!(said.contains(":2:10: `listen`") && said.contains(":4:1: [log]"), "{said}");
    let missing = std::process::Command::new(env!("CARGO_BIN_EXE_release-guardian"))
        .args(["check", "/nowhere/guardian.toml"])
        .output()
        .unwrap();
    assert_eq!(missing.status.code(), Some(1));
}

#[test]
fn a_probe_shows_what_came_from_each_target() {
    let good = page_server("up_seconds 1\nrequests_total{path=\"/a\"} 2\n");
    let bad = page_server("requests_total 2\nthis is no sample\n");
    let source = |targets: &str| {
        format!("[[source]]\nname = \"nodes\"\nkind = \"scrape\"\nstatic = [{{ targets = [{targets}] }}]\n")
    };
    let (code, said, errors) = check(&["--probe"], &source(&format!("\"{good}\"")));
    assert_eq!(code, Some(0), "{said}{errors}");
    assert!(said.contains("2 samples"), "{said}");
    // Port 1 of this machine refuses.
    let (code, said, errors) =
        check(&["--probe"], &source(&format!("\"{good}\", \"{bad}\", \"127.0.0.1:1\"")));
    assert_eq!(code, Some(1), "{said}{errors}");
    assert!(said.contains("1 samples, 1 lines lost, the first:"), "{said}");
    assert!(said.contains("connection refused"), "{said}");
    assert!(errors.contains("2 of the sources and targets"), "{errors}");
}

#[test]
fn a_probe_says_what_is_wrong_with_a_page_and_where_it_was_sent() {
    let empty = page_server("# nothing yet\n");
    let packed = server(
        "200 OK",
        "Content-Type: text/plain\r\nContent-Encoding: gzip",
        "no gzip at all, but long enough",
    );
    let moved = server("302 Found", "Location: http://127.0.0.1:1/login", "");
    let escaped = page_server("requests_total{path=\"/a\\\\b\"} 2\n");
    let (code, said, errors) = check(
        &["--probe"],
        &format!(
            "[[source]]\nname = \"nodes\"\nkind = \"scrape\"\nstatic = [{{ targets = [\"{empty}\", \"{packed}\", \"{moved}\", \"{escaped}\"] }}]\n"
        ),
    );
    assert_eq!(code, Some(1), "{said}{errors}");
    for told in [
        "a page without samples; check the path",
        "its body is not packed as its Content-Encoding says",
        "redirected to http://127.0.0.1:1/login): connection refused",
        "1 samples\n",
    ] {
        assert!(said.contains(told), "{told}: {said}");
    }
    assert!(!said.contains("prometheus-parse") && errors.contains("3 of the sources"), "{said}{errors}");
}

#[path = "settings/documentation.rs"]
mod documentation;

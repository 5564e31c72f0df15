//! The demo as a stranger runs it: the real binary, no settings.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

use std::net::TcpListener;
use std::process::{Command, Output};

fn demo(fault: &str, more: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_release-guardian"))
        .args(["demo", "--once", "--listen", "127.0.0.1:0", "--fault", fault])
        .args(more)
        .output()
        .unwrap()
}

/// Standard output, after the exit status was found to be success.
fn ended_well(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{text}\n{errors}", output.status);
    assert!(text.contains("shop    release system: rolled_back"), "{text}");
    assert!(text.contains("search  release system: done, guardian: pass"), "{text}");
    assert!(text.contains("shop    because: "), "{text}");
    text
}

#[test]
fn a_bad_release_of_each_kind_is_rolled_back_and_a_good_one_goes_through() {
    let folder = tempfile::tempdir().unwrap();
    // Each demo is two fleets and a guardian: more than two at a time starve
    // each other where there are two cores.
    for pair in [["errors", "crash-loop"], ["business", "hang"]] {
        let runs = pair.map(|fault| {
            let save = folder.path().join(fault).to_string_lossy().into_owned();
            // A busy machine measures more noise: it needs more past, and more
            // time before the second batch.
            let patient = ["--save", &save, "--before", "30", "--batch", "60"].map(str::to_owned);
            std::thread::spawn(move || demo(fault, &patient.each_ref().map(String::as_str)))
        });
        for run in runs {
            ended_well(&run.join().unwrap());
        }
    }
    for fault in ["errors", "crash-loop", "business", "hang"] {
        let label = |application: &str| {
            let recording = format!("{fault}/{application}/{application}-{fault}");
            std::fs::read_to_string(folder.path().join(recording).join("label.json")).unwrap()
        };
        assert!(label("shop").contains(&format!("\"{fault}\"")) && label("shop").contains("onset"));
        assert!(label("search").contains("healthy"));
    }
}

#[test]
fn an_address_that_is_taken_is_named_with_what_to_do() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = Command::new(env!("CARGO_BIN_EXE_release-guardian"))
        .args(["demo", "--once", "--listen", &address])
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(errors.contains(&address) && errors.contains("--listen"), "{errors}");
}

//! What operators say of past releases is what the next model learns.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use release_guardian::adapters::recording::{self, Recording};
use release_guardian::app::replay::{replay, replay_folder, settings};
use release_guardian::domain::LabelOutcome;
use release_guardian::guard::engine::Effect;
use release_guardian::judge::SimilarCase;
use release_guardian::judge::model::{Artifact, Model, ModelChoice};
use serde_json::{Value, json};

const RELEASES: [&str; 6] =
    ["shop-business", "shop-crash-loop", "shop-errors", "shop-hang", "shop-latency", "shop-leak"];

/// Folds leave out whole applications: there must be some.
const APPLICATIONS: [&str; 12] = [
    "north", "east", "south", "west", "spring", "summer", "autumn", "winter", "earth", "water", "air", "fire",
];

fn shipped(release: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("replay-data").join(release)
}

fn read(file: &Path) -> Value {
    serde_json::from_slice(&fs::read(file).unwrap()).unwrap()
}

/// The shipped recordings as releases of several applications. Nobody has yet
/// said that the business release was at fault.
fn past(folder: &Path) {
    for application in APPLICATIONS {
        for release in RELEASES {
            let copy = folder.join(application).join(release);
            fs::create_dir_all(&copy).unwrap();
            fs::copy(shipped(release).join("samples.parquet"), copy.join("samples.parquet")).unwrap();
            let mut order = read(&shipped(release).join("release.json"));
            order["application"] = json!(application);
            fs::write(copy.join("release.json"), order.to_string()).unwrap();
            let label = match release {
                "shop-business" => json!({"outcome": "healthy", "source": "import"}),
                _ => read(&shipped(release).join("label.json")),
            };
            fs::write(copy.join("label.json"), label.to_string()).unwrap();
        }
    }
}

/// Labels as the daemon writes them after feedback.
fn operators_speak(folder: &Path) {
    for application in APPLICATIONS {
        let onset = read(&shipped("shop-business").join("label.json"))["onset"].clone();
        let missed = json!({"outcome": "faulty", "source": "operator", "onset": onset, "by": "ann",
            "kind": "fault_missed", "cause": "orders stand still", "comment": "orders stand still"});
        let alarm = json!({"outcome": "healthy", "source": "operator", "by": "ann", "kind": "false_alarm"});
        for (release, label) in [("shop-business", missed), ("shop-latency", alarm)] {
            fs::write(folder.join(application).join(release).join("label.json"), label.to_string()).unwrap();
        }
    }
}

fn train(past: &Path, out: &Path) -> Artifact {
    let output = Command::new(env!("CARGO_BIN_EXE_release-guardian"))
        .args(["train", "--force", "--folds", "2", "--trees", "10", "--recordings"])
        .arg(past)
        .arg("--out")
        .arg(out)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(fs::read_to_string(out.join("report.html")).unwrap().contains("<svg"));
    Artifact::read(&fs::read(out.join("model.rgm")).unwrap()).unwrap()
}

fn cause_of(artifact: &Artifact, release: &str) -> Option<String> {
    let id = read(&shipped(release).join("release.json"))["id"].as_str().unwrap().to_owned();
    let mut causes: Vec<Option<String>> =
        artifact.payload.library.cases.iter().filter(|c| c.release == id).map(|c| c.cause.clone()).collect();
    assert_eq!(causes.len(), APPLICATIONS.len(), "{release} is in the library");
    causes.dedup();
    assert_eq!(causes.len(), 1);
    causes.remove(0)
}

/// The nearest case that is shown at any look at a release.
fn nearest(artifact: &Artifact, release: &str) -> Option<SimilarCase> {
    let mut settings = settings();
    settings.judge.model = ModelChoice::InForce(Arc::new(Model::new(artifact.clone())));
    let mut shown: Vec<SimilarCase> = Vec::new();
    replay(&Recording::read(&shipped(release)).unwrap(), &settings, |_, effect| {
        if let Effect::Judged(verdict) = effect {
            shown.extend(verdict.similar.first().cloned());
        }
    });
    shown.into_iter().min_by(|a, b| a.distance.total_cmp(&b.distance))
}

#[test]
fn a_false_alarm_and_a_missed_fault_change_the_library_and_the_cases_that_are_shown() {
    let folder = tempfile::tempdir().unwrap();
    let releases = folder.path().join("past");
    past(&releases);
    let before = train(&releases, &folder.path().join("before"));
    operators_speak(&releases);
    let after = train(&releases, &folder.path().join("after"));

    let (count, faulty) = (RELEASES.len() * APPLICATIONS.len(), (RELEASES.len() - 1) * APPLICATIONS.len());
    assert_eq!((before.header.data.releases, before.header.data.faulty), (count, faulty));
    assert_eq!((after.header.data.releases, after.header.data.faulty), (count, faulty));
    assert_ne!(before.header.data.hash, after.header.data.hash);
    assert_eq!(cause_of(&before, "shop-latency").as_deref(), Some("latency"));
    assert_eq!(cause_of(&after, "shop-latency"), None, "a false alarm is a healthy case");
    assert_eq!(cause_of(&before, "shop-business"), None);
    assert_eq!(cause_of(&after, "shop-business").as_deref(), Some("orders stand still"));

    let nearest = |artifact, release| nearest(artifact, release).map(|case| case.cause);
    assert_eq!(nearest(&before, "shop-latency"), Some(Some("latency".to_owned())));
    assert_eq!(nearest(&after, "shop-latency"), Some(None));
    assert_eq!(nearest(&before, "shop-business"), Some(None));
    assert_eq!(nearest(&after, "shop-business"), Some(Some("orders stand still".to_owned())));

    // What replay counts as right and wrong follows the operators' word too.
    let label = recording::read_label(&releases.join("north/shop-latency")).unwrap().unwrap();
    assert_eq!(label.outcome, LabelOutcome::Healthy);
    compared(&releases.join("north"), &folder.path().join("after/model.rgm"));
}

/// `replay --model` and `replay --compare` with the model that was trained.
fn compared(releases: &Path, model: &Path) {
    let run = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_release-guardian"))
            .arg("replay")
            .arg(releases)
            .args(arguments)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.success(), String::from_utf8(output.stdout).unwrap(), said)
    };
    let file = model.display().to_string();
    let (success, table, said) = run(&["--model", &file, "--compare", "none"]);
    assert!(success, "{said}");
    assert!(table.contains("decided differently: ") && table.contains("with model default 1 ("), "{table}");
    assert!(table.contains("with no model"), "{table}");
    // The same against the results of an earlier run, whatever made it.
    let (success, lines, said) = run(&["--model", "none", "--format", "jsonl"]);
    assert!(success && lines.lines().count() == RELEASES.len(), "{lines}{said}");
    let earlier = model.with_file_name("earlier.jsonl");
    fs::write(&earlier, &lines).unwrap();
    let earlier = earlier.display().to_string();
    let (success, table, said) = run(&["--model", "none", "--compare", &earlier]);
    assert!(success && table.contains("decided differently: 0 of 6"), "{table}{said}");
    // One release that went through then, and is stopped now.
    let mut changed: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let stopped = changed.iter_mut().find(|line| !line["stopped_after_s"].is_null()).unwrap();
    let id = stopped["id"].as_str().unwrap().to_owned();
    stopped["decision"] = json!("proceed");
    stopped["stopped_after_s"] = Value::Null;
    let text: String = changed.iter().map(|line| format!("{line}\n")).collect();
    fs::write(&earlier, text).unwrap();
    let (success, table, said) = run(&["--model", "none", "--compare", &earlier]);
    assert!(success && table.contains("decided differently: 1 of 6"), "{table}{said}");
    let different = table.split("decided differently").nth(1).unwrap();
    assert!(different.contains(&id) && different.contains("proceed"), "{table}");
    let (success, _, said) = run(&["--model", &format!("{file}.gone")]);
    assert!(!success && said.contains("model.rgm.gone"), "{said}");
}

#[test]
fn a_refused_model_is_among_what_was_blind_in_the_decision_that_is_made_without_it() {
    let mut with = settings();
    with.judge.model = ModelChoice::of_bytes(b"release-guardian-model 99 0\n");
    let mut without = settings();
    without.judge.model = ModelChoice::Without;
    let mut blind = Vec::new();
    let recording = Recording::read(&shipped("shop-errors")).unwrap();
    let replayed = replay(&recording, &with, |_, effect| {
        if let Effect::Decided(decision) = effect {
            blind.push(decision.blind.clone());
        }
    });
    assert!(!blind.is_empty());
    for decision in blind {
        assert!(
            decision.iter().any(|b| b.starts_with("the trained model: ") && b.contains("format 99")),
            "{decision:?}"
        );
    }
    let same = replay_folder(&shipped("shop-errors"), &without).unwrap();
    assert_eq!(
        (replayed.decision, replayed.stopped_after_s),
        (same.decision, same.stopped_after_s),
        "rules and funnel decide as ever"
    );
}

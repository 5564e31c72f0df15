//! The daemon as a whole: the real binary as a process, real targets, a real
//! release system, killed in the middle and started again.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

mod alerts;
mod groups;
mod guardian;
mod live;
#[path = "../common/ports.rs"]
mod ports;
mod repeated;
mod servers;
mod service;

use guardian::{Guardian, World, until};
use serde_json::{Value, json};

fn now() -> String {
    release_guardian::adapters::clock::now().to_string()
}

/// A release whose two machines fail one request in three.
async fn bad_release(world: &World, guardian: &Guardian, id: &str) {
    guardian.has_history(6.0 * 25.0).await;
    let order = world.order(id, &now());
    let (status, begun) = guardian.post("/api/v1/releases", Some(id), &order).await;
    assert_eq!(status, 201, "{begun}");
    let (status, again) = guardian.post("/api/v1/releases", Some(id), &order).await;
    assert_eq!((status, &again["created"]), (200, &Value::Bool(false)), "{again}");
    world.targets[..2].iter().for_each(|target| target.fail(0.33));
}

fn one_key_each(world: &World) {
    let (pauses, rollbacks) = (world.system.keys("/pause"), world.system.keys("/rollback"));
    assert_eq!(
        (pauses.len(), rollbacks.len()),
        (1, 1),
        "each command has one key, however often it was sent"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_release_is_paused_rolled_back_recorded_and_learned_from() {
    let world = World::new();
    let mut guardian = Guardian::start(&world).await;
    bad_release(&world, &guardian, "r-1").await;
    let release = guardian.wait_for_phase("r-1", "rolled_back").await;
    one_key_each(&world);
    assert_eq!(world.system.state(), "rolled_back");
    let commands = release["commands"].as_array().unwrap();
    assert_eq!(commands.len(), 2, "{commands:#?}");
    for command in commands {
        assert_eq!(command["settlement"], json!({"settled": "confirmed", "read_back": true}));
    }
    let audit = release["audit"].to_string();
    for line in [
        "ordered: pause, not confirmed yet",
        "confirmed: pause, read back",
        "ordered: rollback, not confirmed yet",
        "confirmed: rollback, read back",
    ] {
        assert!(audit.contains(line), "{line} is missing: {audit}");
    }
    let pause = &world.system.commands()[0];
    let body: Value = serde_json::from_str(&pause.body).unwrap();
    assert_eq!((&body["type"], &body["data"]["application"]), (&json!("release.pause"), &json!("shop")));
    assert!(body["data"]["reasons"].as_array().is_some_and(|r| !r.is_empty()), "{body:#}");
    assert_eq!(pause.headers["idempotency-key"], pause.headers["webhook-id"]);
    assert!(pause.headers["traceparent"].starts_with("00-"));
    let gate = guardian.get("/api/v1/gate/shop/r-1").await.unwrap();
    assert_eq!(gate["verdict"], "rollback");

    // The recording is readable, and its label follows the operators' word.
    let label = world.recording("r-1").join("label.json");
    until("the release is recorded", async || label.exists().then_some(())).await;
    let read = release_guardian::adapters::recording::Recording::read(&world.recording("r-1")).unwrap();
    assert!(read.scrapes().count() > 150, "the samples before the release are in it");
    let outcome = || serde_json::from_slice::<Value>(&std::fs::read(&label).unwrap()).unwrap();
    assert_eq!((&outcome()["outcome"], &outcome()["source"]), (&json!("faulty"), &json!("rollback")));
    let metric =
        async |name: &str| guardian.metric(&format!("release_guardian_{name}{{application=\"shop\"}}")).await;
    let word = json!({"kind": "fault_confirmed"});
    assert_eq!(guardian.post("/api/v1/releases/shop/r-1/feedback", None, &word).await.0, 200);
    assert_eq!((metric("recall").await, metric("precision").await), (Some(1.0), Some(1.0)));
    assert!(metric("stop_delay_seconds").await.is_some_and(|delay| delay > 0.0));
    let told = std::process::Command::new(env!("CARGO_BIN_EXE_release-guardian"))
        .args(["feedback", "shop", "r-1", "false-alarm", "--comment", "a drill", "--url", &guardian.base])
        .output()
        .unwrap();
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    until("the label is the newest word", async || (outcome()["outcome"] == "healthy").then_some(())).await;
    assert_eq!(outcome()["source"], "operator");
    let quality = guardian.get("/api/v1/quality").await.unwrap();
    assert_eq!((&quality["all"]["false_stops"], &quality["all"]["precision"]), (&json!(1), &json!(0.0)));
    assert_eq!(
        (metric("precision").await, metric("false_stops_per_good_release").await),
        (Some(0.0), Some(1.0))
    );
    // Nothing was caught after all.
    assert_eq!((metric("recall").await, metric("stop_delay_seconds").await), (None, None));

    guardian.signal("TERM");
    assert!(guardian.ended().await.success(), "{}", guardian.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_before_the_pause_is_delivered_loses_nothing_and_sends_nothing_under_another_key() {
    let world = World::new();
    let guardian = Guardian::start(&world).await;
    world.system.answer(503);
    bad_release(&world, &guardian, "r-1").await;
    // Decided and stored, tried, and not delivered.
    until("the pause was tried", async || (!world.system.commands().is_empty()).then_some(())).await;
    guardian.kill();
    assert_eq!(world.system.state(), "running");
    world.system.answer(200);
    let guardian = Guardian::start(&world).await;
    let release = guardian.wait_for_phase("r-1", "rolled_back").await;
    one_key_each(&world);
    let actions: Vec<&Value> =
        release["decisions"].as_array().unwrap().iter().map(|d| &d["action"]).collect();
    assert_eq!(actions, ["pause", "rollback"], "what was decided before the kill was not decided again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_while_the_release_system_works_sends_the_same_command_again() {
    let world = World::new();
    let guardian = Guardian::start(&world).await;
    world.system.hang(true);
    bad_release(&world, &guardian, "r-1").await;
    until("the pause has arrived", async || (!world.system.commands().is_empty()).then_some(())).await;
    guardian.kill();
    world.system.hang(false);
    let guardian = Guardian::start(&world).await;
    guardian.wait_for_phase("r-1", "rolled_back").await;
    one_key_each(&world);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_between_pause_and_rollback_keeps_the_pause_and_its_timer() {
    let world = World::new();
    let guardian = Guardian::start(&world).await;
    bad_release(&world, &guardian, "r-1").await;
    let paused = guardian.wait_for_phase("r-1", "paused").await;
    guardian.kill();
    let guardian = Guardian::start(&world).await;
    let after = guardian.release("r-1").await.unwrap();
    assert_eq!(after["decisions"][0], paused["decisions"][0]);
    let release = guardian.wait_for_phase("r-1", "rolled_back").await;
    one_key_each(&world);
    let at = |i: usize| -> release_guardian::domain::Timestamp {
        serde_json::from_value(release["decisions"][i]["at"].clone()).unwrap()
    };
    assert!(at(1).seconds_from(at(0)) >= 3.0, "the pause stands as long as policy says");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_release_goes_through_and_an_operator_outranks_the_guardian() {
    let world = World::new();
    let guardian = Guardian::start(&world).await;
    guardian.has_history(6.0 * 25.0).await;
    guardian.post("/api/v1/releases", None, &world.order("r-1", &now())).await;
    until("the gate passes", async || {
        let gate = guardian.get("/api/v1/gate/shop/r-1").await?;
        (gate["verdict"] == "pass").then_some(())
    })
    .await;
    let (status, _) = guardian.post("/api/v1/releases", None, &world.order("r-2", &now())).await;
    assert_eq!(status, 409, "one release of an application at a time");
    guardian.post("/api/v1/releases/shop/r-1/hold", None, &json!({})).await;
    guardian.wait_for_phase("r-1", "paused").await;
    guardian.post("/api/v1/releases/shop/r-1/resume", None, &json!({})).await;
    guardian.wait_for_phase("r-1", "watching").await;
    // It fails now, and the operator has not handed back: nothing is sent.
    world.targets[..2].iter().for_each(|target| target.fail(0.33));
    let advised = until("the guardian says what it would do", async || {
        let release = guardian.release("r-1").await?;
        let found =
            release["decisions"].as_array()?.iter().any(|d| d["would"] == "pause" && d["action"] == "advise");
        found.then_some(release)
    })
    .await;
    assert_eq!(advised["commands"].as_array().unwrap().len(), 2, "the operator's own two");
    guardian.post("/api/v1/releases/shop/r-1/cancel", None, &json!({})).await;
    guardian.wait_for_phase("r-1", "cancelled").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_settings_file_is_refused_on_reload_and_a_good_one_taken() {
    let world = World::new();
    let guardian = Guardian::start(&world).await;
    let current = "release_guardian_settings_current";
    assert_eq!(guardian.metric(current).await, Some(1.0));
    std::fs::write(world.settings(), "[server]\nlisten = 7\n").unwrap();
    guardian.signal("HUP");
    until("the file is refused", async || guardian.metric(current).await.filter(|v| *v == 0.0)).await;
    assert!(guardian.log().contains("the old ones stay in force"), "{}", guardian.log());
    let known = guardian.get("/api/v1/applications").await.unwrap();
    assert_eq!(known[0]["name"], "shop");
    world.write_settings("[[application]]\nname = \"mail\"\nselect = ['{job=\"mail\"}']\n");
    guardian.signal("HUP");
    until("the file is taken", async || guardian.metric(current).await.filter(|v| *v == 1.0)).await;
    let known = guardian.get("/api/v1/applications").await.unwrap();
    let mail = known.as_array().unwrap().iter().find(|a| a["name"] == "mail").unwrap();
    assert_eq!((&mail["ready"], mail["missing"].as_array().unwrap().len()), (&json!(false), 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_guardian_on_the_same_store_does_not_run() {
    let world = World::new();
    let first = Guardian::start(&world).await;
    let second = guardian::command(&world.settings()).output().unwrap();
    assert_eq!(second.status.code(), Some(3));
    let said = String::from_utf8_lossy(&second.stderr);
    assert!(said.contains(&format!("process {}", first.pid())), "{said}");
    assert!(first.get("/api/v1/halt").await.is_some(), "the first goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_hangs_is_seen_and_delays_no_other() {
    let world = World::new();
    let guardian = Guardian::start(&world).await;
    guardian.has_history(30.0).await;
    world.targets[5].hang();
    let failed = "release_guardian_scrapes_total{application=\"shop\",outcome=\"failed\"}";
    until("its scrapes fail", async || guardian.metric(failed).await.filter(|n| *n >= 2.0)).await;
    let complete = "release_guardian_scrapes_total{application=\"shop\",outcome=\"complete\"}";
    let before = guardian.metric(complete).await.unwrap();
    until("the others go on", async || guardian.metric(complete).await.filter(|n| *n >= before + 15.0)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_cannot_be_read_is_counted_shown_and_no_health() {
    let world = World::new();
    let guardian = Guardian::start(&world).await;
    guardian.has_history(6.0).await;
    world.targets[5].mangle();
    let lost = "release_guardian_lines_lost_total{application=\"shop\"}";
    until("lost lines are counted", async || guardian.metric(lost).await.filter(|n| *n >= 2.0)).await;
    let told = until("it is told which", async || {
        let states = guardian.get("/api/v1/applications").await?;
        let troubles = states[0]["troubles"].to_string();
        (troubles.contains("1 lines lost") && states[0]["instances_up"] == 5).then_some(troubles)
    })
    .await;
    assert!(told.contains(&world.targets[5].name()) && told.contains("half_a_line"), "{told}");
    let page = guardian.client.get(&guardian.base).send().await.unwrap().text().await.unwrap();
    assert!(page.contains("half_a_line") && page.contains("5 of 6 instances answer"), "{page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_that_nobody_configured_is_integrated_or_told_what_is_missing() {
    let world = World::new();
    let text = std::fs::read_to_string(world.settings()).unwrap();
    let (sources, _) = text.split_once("[[application]]").unwrap();
    std::fs::write(world.settings(), sources).unwrap();
    let guardian = Guardian::start(&world).await;
    guardian.has_history(6.0).await;
    let (status, begun) = guardian.post("/api/v1/releases", None, &world.order("r-1", &now())).await;
    assert_eq!(status, 201, "{begun}");
    assert!(begun["integrated"].as_str().is_some_and(|t| t.contains("labels")), "{begun}");
    let mut unknown = world.order("r-2", &now());
    unknown["application"] = json!("mail");
    unknown["batches"][0]["instances"] = json!(["mail-1:80"]);
    unknown["reference"] = json!(["mail-2:80"]);
    let (status, problem) = guardian.post("/api/v1/releases", None, &unknown).await;
    assert!((400..500).contains(&status), "{problem}");
    assert!(problem.to_string().contains("application.mail.select"), "{problem}");
}

/// An artifact as `train` writes one, with the same word on everything.
fn artifact() -> Vec<u8> {
    use release_guardian::judge::model::{
        Artifact, Asked, Calibrator, Data, Header, HeldOut, Kind, Payload, Schema, Thresholds, schema_names,
        sha256_hex,
    };
    let header = Header {
        name: "by-hand".to_owned(),
        version: "7".to_owned(),
        kind: Kind::Logistic,
        asked: Asked::Suspects,
        schema: Schema::current(),
        thresholds: Thresholds::default(),
        data: Data { hash: sha256_hex(b"nothing"), releases: 2, faulty: 1, rows: 2 },
        held_out: HeldOut::default(),
        training: Default::default(),
        program: "a test".to_owned(),
        payload_bytes: 0,
        payload_sha256: String::new(),
    };
    let payload = Payload {
        trees: Vec::new(),
        linear: vec![0.0; schema_names().len()],
        calibrator: Calibrator { slope: 1.0, intercept: 0.0 },
        library: Default::default(),
    };
    Artifact::write(header, &payload).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_model_is_said_everywhere_and_the_guardian_goes_on_without_it() {
    let world = World::new();
    let file = world.folder.path().join("model.rgm");
    let mut damaged = artifact();
    let last = damaged.len() - 5;
    damaged[last] ^= 1;
    std::fs::write(&file, &damaged).unwrap();
    world.write_settings(&format!("[model]\npath = {:?}\n", file.display().to_string()));
    let guardian = Guardian::start(&world).await;
    let named = |texts: &Value| {
        texts.as_array().is_some_and(|all| {
            all.iter().filter_map(Value::as_str).any(|text| {
                text.contains("model.rgm") && text.contains("damaged") && text.contains("judge alone")
            })
        })
    };
    let ready = guardian.get("/readyz").await.unwrap_or_default();
    assert!(ready["ready"] == true && named(&ready["troubles"]), "{ready:#}\n{}", guardian.log());
    let applications = guardian.get("/api/v1/applications").await.unwrap_or_default();
    let shop = applications.as_array().and_then(|all| all.iter().find(|a| a["name"] == "shop"));
    assert!(shop.is_some_and(|shop| named(&shop["troubles"])), "{applications:#}\n{}", guardian.log());
    assert!(guardian.log().contains("damaged"), "{}", guardian.log());
    guardian.post("/api/v1/releases", None, &world.order("r-1", &now())).await;
    until("the verdict names the model", async || {
        let release = guardian.release("r-1").await?;
        let blind = release["verdict"]["blind"].as_array()?;
        blind.iter().any(|b| b["what"] == "the trained model").then_some(())
    })
    .await;
    // It goes through, and an operator says that there was a fault.
    guardian.post("/api/v1/releases/shop/r-1/finish", None, &json!({})).await;
    guardian.wait_for_phase("r-1", "finished").await;
    let told = std::process::Command::new(env!("CARGO_BIN_EXE_release-guardian"))
        .args(["feedback", "shop", "r-1", "fault-missed", "--comment", "slow", "--url", &guardian.base])
        .output()
        .unwrap();
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    let quality = guardian.get("/api/v1/quality").await.unwrap_or_default();
    assert_eq!(
        (&quality["all"]["missed"], &quality["all"]["recall"]),
        (&json!(1), &json!(0.0)),
        "{quality:#}\n{}",
        guardian.log()
    );
    // A whole artifact comes into force with a reload.
    std::fs::write(&file, artifact()).unwrap();
    guardian.signal("HUP");
    until("the trouble is over", async || {
        let ready = guardian.get("/readyz").await?;
        ready["troubles"].as_array().is_some_and(Vec::is_empty).then_some(())
    })
    .await;
    assert!(guardian.log().contains("model by-hand 7"), "{}", guardian.log());
}

//! Releases that name labels instead of machines.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use release_guardian::adapters::recording::Recording;
use serde_json::{Value, json};

use crate::guardian::{Guardian, World, until};
use crate::servers::{self, Target};

/// Has the fleet told by a file, so that targets can come later.
struct Listed {
    world: World,
}

impl Listed {
    fn new() -> Self {
        let world = World::new();
        let text = std::fs::read_to_string(world.settings()).unwrap();
        let file = world.folder.path().join("targets.json").display().to_string();
        let lines = text.lines().map(|line| match line.starts_with("static =") {
            true => format!("file_sd = [{{ files = [{file:?}], refresh = \"1s\" }}]"),
            false => line.to_owned(),
        });
        std::fs::write(world.settings(), lines.collect::<Vec<_>>().join("\n")).unwrap();
        Self { world }
    }

    fn list(&self, groups: &[(&str, &[Target])]) {
        let groups = groups.iter().map(|(version, targets)| {
            let names: Vec<String> = targets.iter().map(Target::name).collect();
            json!({"targets": names, "labels": {"job": "shop", "version": version}})
        });
        let file = self.world.folder.path().join("targets.json");
        let new = file.with_extension("new");
        std::fs::write(&new, Value::from(groups.collect::<Vec<_>>()).to_string()).unwrap();
        std::fs::rename(new, file).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_that_appear_with_the_new_version_are_judged_and_a_bad_one_is_rolled_back() {
    let listed = Listed::new();
    let world = &listed.world;
    let (old, new) = world.targets.split_at(4);
    listed.list(&[("1.9", old)]);
    let guardian = Guardian::start(world).await;
    guardian.has_history(4.0 * 25.0).await;
    let order = json!({
        "id": "r-1", "application": "shop", "version": "2.0",
        "groups": {"release": "{version=\"{version}\"}", "reference": "{version!=\"2.0\"}"},
    });
    let (status, begun) = guardian.post("/api/v1/releases", None, &order).await;
    assert_eq!(status, 201, "{begun}");
    let warnings = begun["warnings"].to_string();
    assert!(warnings.contains("nothing can be judged until one appears"), "{begun}");

    // Nobody has the new version: that is blindness, and no health.
    let release = until("the release cannot be judged", async || {
        let release = guardian.release("r-1").await?;
        (release["verdict"]["outcome"] == "unknown").then_some(release)
    })
    .await;
    assert_eq!(release["verdict"]["blind"][0]["what"], "release group", "{release:#}");
    assert_eq!(release["order"]["groups"]["release"], "{version=\"2.0\"}");
    assert_eq!(release["order"]["reference"].as_array().unwrap().len(), 4, "{release:#}");
    let gate = guardian.get("/api/v1/gate/shop/r-1").await.unwrap();
    assert_eq!(gate["verdict"], "pending", "{gate}");
    let (status, again) = guardian.post("/api/v1/releases", None, &order).await;
    assert_eq!(
        (status, &again["created"]),
        (200, &json!(false)),
        "the same order is the same release: {again}"
    );

    new.iter().for_each(|target| target.fail(0.33));
    listed.list(&[("1.9", old), ("2.0", new)]);
    let release = guardian.wait_for_phase("r-1", "rolled_back").await;
    let batches = release["order"]["batches"].as_array().unwrap();
    let mut released: Vec<&str> = batches
        .iter()
        .flat_map(|batch| batch["instances"].as_array().unwrap())
        .filter_map(Value::as_str)
        .collect();
    released.sort_unstable();
    let mut expected: Vec<String> = new.iter().map(Target::name).collect();
    expected.sort_unstable();
    assert_eq!(released, expected, "{batches:#?}");
    let (status, again) = guardian.post("/api/v1/releases", None, &order).await;
    assert_eq!(status, 409, "it is over: {again}");
    let page = guardian.text("/releases/shop/r-1").await;
    assert!(page.contains("Told apart by labels"), "{page}");

    // The recording holds who was put where, and replays to the same end.
    let folder = world.recording("r-1");
    until("the release is recorded", async || folder.join("label.json").exists().then_some(())).await;
    let recorded = Recording::read(&folder).unwrap();
    assert_eq!(recorded.order.reference.len(), 4);
    assert!(recorded.order.groups.is_some());
    let replayed = std::process::Command::new(env!("CARGO_BIN_EXE_release-guardian"))
        .args(["replay", "--format", "jsonl"])
        .arg(&folder)
        .output()
        .unwrap();
    let line: Value = serde_json::from_slice(&replayed.stdout).unwrap();
    assert!(line["decision"] == "pause" || line["decision"] == "rollback", "{line:#}");
}

/// Counters of one version behind a gateway.
#[derive(Clone, Copy)]
struct Version {
    name: &'static str,
    requests_per_second: f64,
    bad_ratio: f64,
    since: Instant,
}

/// A gateway that counts by the version of the app that asked.
fn gateway(versions: Arc<Mutex<Vec<Version>>>) -> std::net::SocketAddr {
    servers::serve(move |_| {
        let mut page = "# TYPE api_requests_total counter\n".to_owned();
        for version in versions.lock().unwrap().iter() {
            let count = version.since.elapsed().as_secs_f64() * version.requests_per_second;
            for (code, share) in [("200", 1.0 - version.bad_ratio), ("500", version.bad_ratio)] {
                let (name, count) = (version.name, (count * share).floor());
                page.push_str(&format!("api_requests_total{{code=\"{code}\",version=\"{name}\"}} {count}\n"));
            }
        }
        page.push_str("# TYPE process_start_time_seconds gauge\nprocess_start_time_seconds 1700000000\n");
        Some((200, page))
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_release_without_machines_is_judged_by_the_series_of_its_version() {
    let world = World::new();
    let since = Instant::now();
    let old = Version { name: "1.9", requests_per_second: 300.0, bad_ratio: 0.002, since };
    let served = Arc::new(Mutex::new(vec![old]));
    let gateways: Vec<String> = (0..3).map(|_| gateway(served.clone()).to_string()).collect();
    let text = std::fs::read_to_string(world.settings()).unwrap();
    let lines = text.lines().map(|line| match line {
        line if line.starts_with("static =") => {
            format!("static = [{{ targets = {gateways:?}, labels = {{ job = \"shop\" }} }}]")
        }
        "name = \"shop\"" => "name = \"shop\"\n\
            groups = { release = '{version=\"{version}\"}', reference = '{version=\"{previous_version}\"}' }"
            .to_owned(),
        line => line.to_owned(),
    });
    std::fs::write(world.settings(), lines.collect::<Vec<_>>().join("\n")).unwrap();
    let guardian = Guardian::start(&world).await;
    guardian.has_history(3.0 * 25.0).await;

    let mut order = json!({"id": "r-1", "application": "shop", "version": "2.0"});
    let (status, problem) = guardian.post("/api/v1/releases", None, &order).await;
    assert_eq!((status, &problem["field"]), (400, &json!("/previous_version")), "{problem}");
    order["previous_version"] = json!("1.9");
    let (status, begun) = guardian.post("/api/v1/releases", None, &order).await;
    assert_eq!(status, 201, "{begun}");
    let new = Version { name: "2.0", requests_per_second: 60.0, bad_ratio: 0.3, since: Instant::now() };
    served.lock().unwrap().push(new);
    let release = guardian.wait_for_phase("r-1", "rolled_back").await;
    let reasons = release["decisions"][0]["reasons"].to_string();
    assert!(reasons.contains("api_requests_total"), "{reasons}");
    let first = &release["order"]["reference"][0];
    assert!(first.as_str().is_some_and(|name| name.ends_with("{version=\"1.9\"}")), "{release:#}");
}

//! Live data through a real Prometheus server: an application that nobody
//! configured, whose release names labels and no machines.

use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::guardian::{Guardian, World, until};
use crate::ports::own_address;
use crate::servers::Target;

struct Prometheus {
    child: Child,
    base: String,
    targets: std::path::PathBuf,
}

impl Prometheus {
    fn start(world: &World) -> Self {
        let folder = world.folder.path();
        let targets = folder.join("pods.json");
        let settings = format!(
            "global: {{scrape_interval: 1s, scrape_timeout: 1s}}\nscrape_configs:\n- job_name: pods\n  \
             file_sd_configs:\n  - files: [{:?}]\n    refresh_interval: 1s\n",
            targets.display()
        );
        std::fs::write(folder.join("prometheus.yml"), settings).unwrap();
        let address = own_address();
        let log = std::fs::File::create(folder.join("prometheus.log")).unwrap();
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", folder.join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("prometheus").display()))
            .arg(format!("--web.listen-address={address}"))
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("install Debian's package prometheus, which this test runs");
        Self { child, base: format!("http://{address}"), targets }
    }

    /// Pods of an app by version.
    fn list(&self, app: &str, groups: &[(&str, &[Target])]) {
        let groups = groups.iter().map(|(version, targets)| {
            let names: Vec<String> = targets.iter().map(Target::name).collect();
            json!({"targets": names, "labels": {"app": app, "version": version}})
        });
        self.write(groups.collect());
    }

    /// The pods of workloads, by the label `app` alone.
    fn list_workloads(&self, workloads: &[(&str, &[Target])]) {
        let groups = workloads.iter().map(|(app, targets)| {
            let names: Vec<String> = targets.iter().map(Target::name).collect();
            json!({"targets": names, "labels": {"app": app}})
        });
        self.write(groups.collect());
    }

    fn write(&self, groups: Vec<Value>) {
        let new = self.targets.with_extension("new");
        std::fs::write(&new, Value::from(groups).to_string()).unwrap();
        std::fs::rename(new, &self.targets).unwrap();
    }

    /// Waits until it has so many samples of each target.
    async fn has_history(&self, targets: usize, samples: u32) {
        let client = reqwest::Client::new();
        let question = format!("count(count_over_time(up[10m]) >= {samples})");
        until("the server has scraped", async || {
            let url =
                url::Url::parse_with_params(&format!("{}/api/v1/query", self.base), [("query", &question)]);
            let answer: Value = client.get(url.unwrap()).send().await.ok()?.json().await.ok()?;
            let count: usize = answer["data"]["result"][0]["value"][1].as_str()?.parse().ok()?;
            (count >= targets).then_some(())
        })
        .await;
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The world's settings with the server as the only source and nothing said
/// of any application.
fn write_settings(world: &World, server: &Prometheus) {
    world.write_settings("");
    let text = std::fs::read_to_string(world.settings()).unwrap();
    let (before, rest) = text.split_once("[[source]]").unwrap();
    let (_, defaults) = rest.split_once("[application.policy]").unwrap();
    let source = format!(
        "[[source]]\nname = \"metrics\"\nkind = \"prometheus\"\nurl = \"{}\"\nstep = \"1s\"\n",
        server.base
    );
    let defaults = defaults.replace("[application.", "[defaults.");
    std::fs::write(world.settings(), format!("{before}{source}[defaults.policy]{defaults}")).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_release_seen_through_prometheus_is_rolled_back_without_any_settings_of_its_application() {
    let world = World::new();
    let server = Prometheus::start(&world);
    write_settings(&world, &server);
    let (old, new) = world.targets.split_at(4);
    server.list("shop", &[("1.9", old)]);
    let guardian = Guardian::start(&world).await;
    server.has_history(4, 25).await;

    let mut order = json!({
        "id": "r-1", "application": "mail", "version": "2.0",
        "groups": {"release": "{version=\"{version}\"}", "reference": "{version!=\"{version}\"}"},
    });
    let (status, problem) = guardian.post("/api/v1/releases", None, &order).await;
    assert_eq!(status, 422, "{problem}");
    let missing = problem["missing"].to_string();
    assert!(
        missing.contains("source metrics") && missing.contains("app=\\\"mail\\\""),
        "it says what the server was asked for: {problem:#}"
    );

    order["application"] = json!("shop");
    let (status, begun) = guardian.post("/api/v1/releases", None, &order).await;
    assert_eq!(status, 201, "{begun}");
    assert!(begun["integrated"].as_str().is_some_and(|t| t.contains("source metrics")), "{begun}");
    let release = until("the reference group is known", async || {
        let release = guardian.release("r-1").await?;
        (release["order"]["reference"].as_array()?.len() == 4).then_some(release)
    })
    .await;
    assert_eq!(release["order"]["batches"].as_array().map(Vec::len), Some(0), "{release:#}");

    // A restart in between: the application is found again.
    guardian.kill();
    let guardian = Guardian::start(&world).await;
    new.iter().for_each(|target| target.fail(0.33));
    server.list("shop", &[("1.9", old), ("2.0", new)]);
    let release = guardian.wait_for_phase("r-1", "rolled_back").await;
    let released: usize = release["order"]["batches"]
        .as_array()
        .unwrap()
        .iter()
        .map(|batch| batch["instances"].as_array().unwrap().len())
        .sum();
    assert_eq!(released, new.len(), "{release:#}");
    assert_eq!(world.system.state(), "rolled_back");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_canary_of_flagger_is_told_apart_by_the_labels_that_a_prometheus_server_has() {
    let world = World::new();
    let server = Prometheus::start(&world);
    write_settings(&world, &server);
    let settings = std::fs::read_to_string(world.settings()).unwrap();
    let named = "[server]\nanonymous = \"admin\"\n\
                 token = [{ name = \"flagger\", role = \"pipeline\", secret = \"${FLAGGER}\" }]\n";
    let own = "[[application]]\nname = \"shop\"\nselect = ['{app=~\"shop(-primary)?\"}']\n";
    std::fs::write(world.settings(), settings.replace("[server]\n", named) + own).unwrap();
    let (old, new) = world.targets.split_at(4);
    server.list_workloads(&[("shop-primary", old)]);
    let mut command = crate::guardian::command(&world.settings());
    let guardian = Guardian::start_as(&world, command.env("FLAGGER", "a-token-of-flaggers-own")).await;
    server.has_history(4, 25).await;

    let hook = async |name: &str, canary: &str| {
        let url = format!("{}/flagger/a-token-of-flaggers-own/{name}", guardian.base);
        let body = json!({"name": canary, "namespace": "prod", "phase": "Progressing", "checksum": "7c9b"});
        let answer = guardian.client.post(url).json(&body).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    let (status, text) = hook("gate", "shop").await;
    assert_eq!(status, 200, "{text}: {}", guardian.log());
    let begun = guardian.release("shop-7c9b-1").await.unwrap();
    assert_eq!(begun["order"]["groups"]["release"], "{app=\"shop\"}", "{begun:#}");
    new.iter().for_each(|target| target.fail(0.33));
    server.list_workloads(&[("shop-primary", old), ("shop", new)]);
    let release = guardian.wait_for_phase("shop-7c9b-1", "rolled_back").await;
    assert_eq!(release["order"]["reference"].as_array().map(Vec::len), Some(4), "{release:#}");
}

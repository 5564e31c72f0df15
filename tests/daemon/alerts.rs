//! A real Prometheus and a real Alertmanager (Debian's packages `prometheus`
//! and `prometheus-alertmanager`) drive an alert into a release and stop it,
//! configured as docs/alertmanager.md says.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::Value;

use crate::guardian::{Guardian, World, until};
use crate::ports::own_address;
use crate::servers;

/// A server as a process: ended with the test, its log shown if that fails.
struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    fn start(package: &str, log: PathBuf, arguments: &[String]) -> Self {
        let file = std::fs::File::create(&log).unwrap();
        let mut command = Command::new(package);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(file);
        let child = command.spawn().unwrap_or_else(|e| panic!("install Debian's package {package}: {e}"));
        Self { child, log }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}:\n{}", self.log.display(), std::fs::read_to_string(&self.log).unwrap_or_default());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn arguments(of: &[(&str, String)]) -> Vec<String> {
    of.iter().map(|(flag, value)| format!("--{flag}={value}")).collect()
}

fn start_prometheus(folder: &Path, alertmanager: &str, probe: &str) -> Process {
    let rules = folder.join("rules.yml");
    let mut text = "groups:\n- name: shop\n  rules:\n".to_owned();
    for (alert, metric) in [("CheckoutBroken", "checkout_broken"), ("DiskSlow", "disk_slow")] {
        let labels = "{severity: critical, application: shop}";
        writeln!(text, "  - alert: {alert}\n    expr: {metric} == 1\n    labels: {labels}").unwrap();
    }
    std::fs::write(&rules, text).unwrap();
    let settings = format!(
        "global: {{scrape_interval: 2s, scrape_timeout: 2s, evaluation_interval: 1s}}\nrule_files: ['{}']\n\
         alerting:\n  alertmanagers:\n  - static_configs: [{{targets: ['{alertmanager}']}}]\n\
         scrape_configs:\n- job_name: probe\n  honor_labels: true\n  static_configs: [{{targets: ['{probe}']}}]\n",
        rules.display()
    );
    let file = folder.join("prometheus.yml");
    std::fs::write(&file, settings).unwrap();
    let flags = [
        ("config.file", file.display().to_string()),
        ("storage.tsdb.path", folder.join("prometheus").display().to_string()),
        ("web.listen-address", own_address().to_string()),
    ];
    Process::start("prometheus", folder.join("prometheus.log"), &arguments(&flags))
}

fn start_alertmanager(folder: &Path, address: &str, guardian: &str, token: &Path) -> Process {
    let settings = format!(
        "route: {{receiver: release-guardian, group_by: [alertname], group_wait: 1s, group_interval: 1s, repeat_interval: 2s}}\n\
         receivers:\n- name: release-guardian\n  webhook_configs:\n  - url: {guardian}/alertmanager\n    \
         send_resolved: true\n    http_config:\n      authorization:\n        credentials_file: {}\n",
        token.display()
    );
    let file = folder.join("alertmanager.yml");
    std::fs::write(&file, settings).unwrap();
    let flags = [
        ("config.file", file.display().to_string()),
        ("storage.path", folder.join("alertmanager").display().to_string()),
        ("web.listen-address", address.to_owned()),
        // Empty, or it speaks to others of its kind.
        ("cluster.listen-address", String::new()),
    ];
    Process::start("prometheus-alertmanager", folder.join("alertmanager.log"), &arguments(&flags))
}

/// How often Alertmanager had news of an alert, by the release's audit.
fn told(release: &Value, alert: &str) -> usize {
    let lines = release["audit"].as_array().map(Vec::as_slice).unwrap_or_default();
    let news = format!("reported alert {alert}");
    lines.iter().filter(|line| line["who"] == "alertmanager" && line["text"] == news.as_str()).count()
}

fn reasons(release: &Value) -> Vec<&Value> {
    let decisions = release["decisions"].as_array().map(Vec::as_slice).unwrap_or_default();
    decisions.iter().flat_map(|decision| decision["reasons"].as_array().into_iter().flatten()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_of_a_real_prometheus_stops_a_release_by_way_of_a_real_alertmanager() {
    let world = World::new();
    let folder = world.folder.path().to_owned();
    let token = folder.join("alertmanager-token");
    std::fs::write(&token, "told-by-alertmanager\n").unwrap();
    let settings = std::fs::read_to_string(world.settings()).unwrap();
    let with_token = format!(
        "[server]\nanonymous = \"admin\"\n[[server.token]]\nname = \"alertmanager\"\nrole = \"reporter\"\n\
         secret = {{ file = \"{}\" }}\n",
        token.display()
    );
    // The table's own keys come before its tokens.
    let listen = settings.lines().find(|line| line.starts_with("listen = ")).unwrap().to_owned();
    let with_token = with_token.replace("[server]\n", &format!("[server]\n{listen}\n"));
    let settings = settings.replace(&format!("[server]\n{listen}\n"), &with_token);
    std::fs::write(world.settings(), settings).unwrap();

    // What the guardian does not scrape itself: it can know only by the alert.
    let bad: Arc<Mutex<(&str, Vec<String>)>> = Arc::default();
    let shown = bad.clone();
    let probe = servers::serve(move |_| {
        let (metric, instances) = shown.lock().unwrap().clone();
        let mut page = "probe_ready 1\n".to_owned();
        for instance in instances {
            writeln!(page, "{metric}{{instance=\"{instance}\"}} 1").unwrap();
        }
        Some((200, page))
    });
    let guardian = Guardian::start(&world).await;
    let alertmanager = own_address().to_string();
    let _alertmanager = start_alertmanager(&folder, &alertmanager, &guardian.base, &token);
    let _prometheus = start_prometheus(&folder, &alertmanager, &probe.to_string());

    guardian.has_history(6.0 * 25.0).await;
    let (status, begun) = guardian.post("/api/v1/releases", None, &world.order("r-1", &super::now())).await;
    assert_eq!(status, 201, "{begun}");
    let names: Vec<String> = world.targets.iter().map(servers::Target::name).collect();
    *bad.lock().unwrap() = ("checkout_broken", names[..2].to_vec());
    let stopped = guardian.wait_for_phase("r-1", "rolled_back").await;
    assert_eq!(world.system.state(), "rolled_back");
    let found = reasons(&stopped).into_iter().find(|reason| reason["test"] == "outside_alert");
    let found = found.unwrap_or_else(|| panic!("no alert among the reasons: {stopped:#}"));
    let because = found["because"].as_str().unwrap();
    assert!(because.starts_with("alert CheckoutBroken (severity critical) fires for "), "{because}");
    let mut named: Vec<&str> =
        found["instances"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    named.sort_unstable();
    let mut released: Vec<&str> = names[..2].iter().map(String::as_str).collect();
    released.sort_unstable();
    assert!(!named.is_empty() && named.iter().all(|name| released.contains(name)), "{named:?}");
    assert!(told(&stopped, "CheckoutBroken") >= 1, "who told it stands in the audit: {stopped:#}");

    // Of machines that keep the old version: known, and no reason to stop.
    *bad.lock().unwrap() = Default::default();
    let mut next = world.order("r-2", &super::now());
    next["batches"][0]["instances"] = names[2..4].into();
    next["reference"] = [&names[..2], &names[4..]].concat().into();
    let (status, begun) = guardian.post("/api/v1/releases", None, &next).await;
    assert_eq!(status, 201, "{begun}");
    *bad.lock().unwrap() = ("disk_slow", names[5..].to_vec());
    let heard = |count: usize| {
        let guardian = &guardian;
        async move || {
            let release = guardian.release("r-2").await?;
            (told(&release, "DiskSlow") >= count).then_some(release)
        }
    };
    until("the alert of a reference machine is told", heard(1)).await;
    *bad.lock().unwrap() = Default::default();
    let release = until("its end is told", heard(2)).await;
    assert!(reasons(&release).iter().all(|reason| reason["test"] != "outside_alert"), "{release:#}");
}

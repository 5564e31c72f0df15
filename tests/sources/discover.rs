//! `discover` with the real binary, against a real Prometheus and real pages,
//! and its file given to `check` and to `serve`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use serde_json::Value;

use super::ports::own_address;
use super::{Page, Prometheus, answer, install_tls, patiently, serve, start_prometheus_with};

const SHOP: &str = "# TYPE http_requests_total counter\n\
    http_requests_total{code=\"200\",path=\"/cart\"} 100\n\
    http_requests_total{code=\"500\",path=\"/cart\"} 1\n\
    http_requests_total{code=\"200\",path=\"/pay\"} 50\n\
    # TYPE http_request_duration_seconds histogram\n\
    http_request_duration_seconds_bucket{le=\"0.1\"} 140\n\
    http_request_duration_seconds_bucket{le=\"+Inf\"} 151\n\
    http_request_duration_seconds_sum 4\n\
    http_request_duration_seconds_count 151\n\
    # TYPE process_start_time_seconds gauge\n\
    process_start_time_seconds 1790000000\n\
    # TYPE pool_max_size gauge\n\
    pool_max_size 8\n";

async fn page(text: &str) -> String {
    let page: Page = Arc::new(Mutex::new(answer("200 OK", "content-type: text/plain\r\n", text.as_bytes())));
    serve(page).await
}

struct Said {
    success: bool,
    file: String,
    errors: String,
}

async fn program(args: &[&str]) -> Said {
    let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
    // The pages are served by this thread's runtime.
    let output = tokio::task::spawn_blocking(move || {
        Command::new(env!("CARGO_BIN_EXE_release-guardian")).args(args).output().unwrap()
    });
    let output = output.await.unwrap();
    Said {
        success: output.status.success(),
        file: String::from_utf8(output.stdout).unwrap(),
        errors: String::from_utf8(output.stderr).unwrap(),
    }
}

async fn check(folder: &Path, text: &str) -> Said {
    let file = folder.join("discovered.toml");
    std::fs::write(&file, text).unwrap();
    program(&["check", &file.display().to_string()]).await
}

/// The file as somebody leaves it who wants everything that it offers.
fn filled_in(text: &str) -> String {
    let uncommented = text.lines().map(|line| match line.strip_prefix('#') {
        Some(setting) if !setting.starts_with(' ') => setting,
        _ => line,
    });
    let text = uncommented.collect::<Vec<_>>().join("\n");
    let text = text.replace("url = \"FILL-IN\"\n\n", "url = \"http://releases.example/\"\n\n");
    let text = text.replace("public_url = \"FILL-IN\"", "public_url = \"https://guardian.example/\"");
    text.replace("file = \"FILL-IN\"", "file = \"/etc/release-guardian/secret\"")
}

fn signal_lines(file: &str) -> Vec<(String, String, String)> {
    let words = file.lines().filter_map(|line| {
        let line = line.strip_prefix("#   ")?;
        let (class, rest) = line.split_once(' ')?;
        let (bad_when, name) = rest.trim_start().split_once(' ')?;
        let name = name.trim_start().split(", also by").next()?;
        Some((class.to_owned(), bad_when.to_owned(), name.to_owned()))
    });
    words.collect()
}

/// The daemon; killed when dropped.
struct Daemon(std::process::Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_prometheus_becomes_a_settings_file_that_check_and_serve_take() {
    install_tls();
    let folder = tempfile::tempdir().unwrap();
    let jobs = format!(
        "global: {{scrape_interval: 2s}}\nscrape_configs:\n\
         - job_name: shop\n  static_configs: [{{targets: ['{}', '{}']}}]\n\
         - job_name: mixed\n  static_configs: [{{targets: ['{}'], labels: {{app: \"it's \\\"mail\\\"\"}}}}]\n",
        page(SHOP).await,
        page(SHOP).await,
        page("queue_depth 5\n").await,
    );
    let (_server, server) = start_prometheus_with(folder.path(), &jobs, None);
    let url = format!("http://{server}");
    let found = patiently("the server has samples of both applications", async || {
        let said = program(&["discover", "--prometheus", &url]).await;
        let whole = said.file.contains("error ratio of http_requests_total")
            && said.file.contains("queue_depth")
            && said.file.contains("step = \"2s\"");
        if whole { Ok(said.file) } else { Err(said.file + &said.errors) }
    })
    .await;
    for part in [
        "errors     higher  error ratio of http_requests_total, also by path (2)",
        "latency    higher  mean of http_request_duration_seconds",
        "2 instances, looked at: ",
        "1 more are configurations or muted, and not judged.",
        "there is no signal of class errors",
        "select = ['{job=\"shop\"}']",
    ] {
        assert!(found.contains(part), "{part} is not in\n{found}");
    }
    let checked = check(folder.path(), &found).await;
    assert!(checked.success, "{}\n{found}", checked.errors);
    let filled = filled_in(&found);
    assert!(!filled.contains("= \"FILL-IN\""), "{filled}");
    let checked = check(folder.path(), &filled).await;
    assert!(checked.success, "{}\n{filled}", checked.errors);

    // The daemon finds the same, and says so.
    let (listen, at) = (own_address().to_string(), folder.path().display());
    let more = format!(
        "\n[server]\nlisten = \"{listen}\"\n[store]\npath = \"{at}/g.db\"\n[recordings]\ndir = \"{at}/r\"\n"
    );
    let settings = folder.path().join("serve.toml");
    std::fs::write(&settings, found.clone() + &more).unwrap();
    let log = std::fs::File::create(folder.path().join("log")).unwrap();
    let _daemon = Daemon(
        Command::new(env!("CARGO_BIN_EXE_release-guardian"))
            .args(["serve", "--config", &settings.display().to_string()])
            .env_remove("NOTIFY_SOCKET")
            .env_remove("JOURNAL_STREAM")
            .stderr(log)
            .spawn()
            .unwrap(),
    );
    let client = reqwest::Client::new();
    let applications = patiently("the daemon knows both applications", async || {
        let failed = |error: reqwest::Error| {
            format!("{error}\n{}", std::fs::read_to_string(folder.path().join("log")).unwrap_or_default())
        };
        let asked =
            client.get(format!("http://{listen}/api/v1/applications")).send().await.map_err(failed)?;
        let known: Value = asked.json().await.map_err(failed)?;
        let all = known.as_array().map(Vec::as_slice).unwrap_or_default();
        let ready = all.len() == 2 && all.iter().all(|a| a["ready"] == true && a["instances_up"] != 0);
        if ready { Ok(known) } else { Err(known.to_string()) }
    })
    .await;
    let mut served = Vec::new();
    for signal in
        applications.as_array().unwrap().iter().flat_map(|a| a["inventory"]["signals"].as_array().unwrap())
    {
        let text = |key: &str| signal[key].as_str().unwrap().to_owned();
        served.push((text("class"), text("bad_when"), text("name")));
    }
    let mut discovered = signal_lines(&found);
    served.sort();
    discovered.sort();
    assert_eq!(served, discovered, "{found}");
    assert_eq!(applications[1]["name"], "shop");
    assert_eq!(applications[1]["recommended"], serde_json::json!([]), "{applications}");
    assert!(applications[0]["recommended"].to_string().contains("class errors"), "{applications}");
}

#[tokio::test(flavor = "multi_thread")]
async fn targets_become_sources_and_a_name_that_nobody_tells_is_left_to_fill_in() {
    let folder = tempfile::tempdir().unwrap();
    let nobody = own_address().to_string();
    let (first, second) = (page(SHOP).await, page(SHOP).await);
    let named = page("# TYPE orders_total counter\norders_total{application=\"cart\"} 4\n").await;
    let target = |address: &str| format!("http://{address}/metrics");
    let found = program(&[
        "discover",
        "--target",
        &target(&first),
        "--target",
        &second,
        "--target",
        &target(&named),
        "--target",
        &nobody,
    ])
    .await;
    assert!(found.success, "{}", found.errors);
    assert!(found.errors.contains(&nobody), "{}", found.errors);
    assert!(found.file.contains("# NOT SEEN: ") && found.file.contains("name = \"cart\""), "{}", found.file);
    assert!(found.file.contains("errors     higher  error ratio of http_requests_total"), "{}", found.file);
    let refused = check(folder.path(), &found.file).await;
    assert!(!refused.success);
    let line = found.file.lines().position(|line| line == "name = \"\"").unwrap() + 1;
    assert!(refused.errors.contains(&format!("discovered.toml:{line}:")), "{line}: {}", refused.errors);
    let filled = found.file.replace("name = \"\"", "name = \"shop\"");
    let checked = check(folder.path(), &filled).await;
    assert!(checked.success, "{}", checked.errors);
    let checked = check(folder.path(), &filled_in(&filled)).await;
    assert!(checked.success, "{}", checked.errors);

    let told = program(&["discover", "--target", &first, "--application", "shop"]).await;
    assert!(check(folder.path(), &told.file).await.success, "{}", told.file);
    assert!(told.file.contains("it has one instance"), "{}", told.file);

    let none = program(&["discover", "--target", &nobody]).await;
    assert!(!none.success && none.file.is_empty(), "{}", none.file);
    assert!(none.errors.contains("none of the 1 targets gave samples"), "{}", none.errors);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_settings_file_lacks_is_printed_to_be_appended() {
    let folder = tempfile::tempdir().unwrap();
    let (shop, mail) = (page(SHOP).await, page("queue_depth 5\n").await);
    let begun = format!(
        "[[source]]\nname = \"fleet\"\nkind = \"scrape\"\nstatic = [\n  \
         {{ targets = [\"{shop}\"], labels = {{ job = \"shop\" }} }},\n  \
         {{ targets = [\"{mail}\"], labels = {{ job = \"mail\" }} }},\n]\n\
         [[application]]\nname = \"shop\"\nselect = ['{{job=\"shop\"}}']\npolicy = {{ mode = \"enforce\" }}\n\
         [[application]]\nname = \"gone\"\nselect = ['{{job=\"gone\"}}']\n"
    );
    let file = folder.path().join("begun.toml");
    std::fs::write(&file, &begun).unwrap();
    let found = program(&["discover", "--config", &file.display().to_string()]).await;
    assert!(found.success, "{}", found.errors);
    for part in [
        "[[application]] name = \"shop\" is configured already",
        "MISSING: application.shop.release_system",
        "gone is configured, and none of the sources has a target",
        "select = ['{job=\"mail\"}']",
    ] {
        assert!(found.file.contains(part), "{part} is not in\n{}", found.file);
    }
    let checked = check(folder.path(), &format!("{begun}\n{}", found.file)).await;
    assert!(checked.success, "{}\n{}", checked.errors, found.file);
    assert!(checked.file.contains("mail"), "{}", checked.file);
}

/// bcrypt of "open sesame".
const USERS: &str =
    "basic_auth_users:\n  guardian: $2b$04$abcdefghijklmnopqrstuu/LVz6MZlItEy42I2juLihZ66HnQx/cy\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_away_or_refuses_us_or_has_nothing_is_named_with_what_to_do() {
    install_tls();
    let folder = tempfile::tempdir().unwrap();
    let nobody = own_address().to_string();
    let away = program(&["discover", "--prometheus", &nobody]).await;
    assert!(!away.success && away.errors.contains("did not answer: connection refused"), "{}", away.errors);

    let (_server, server): (Prometheus, String) =
        start_prometheus_with(folder.path(), "scrape_configs: []\n", Some(USERS));
    let password = |name: &str, text: &str| -> PathBuf {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let (right, wrong) = (password("right", "open sesame\n"), password("wrong", "guess"));
    let with = async |file: Option<&PathBuf>| {
        let mut args = vec!["discover", "--prometheus", &server];
        let file = file.map(|file| file.display().to_string());
        if let Some(file) = &file {
            args.extend(["--user", "guardian", "--password-file", file]);
        }
        program(&args).await
    };
    let refused = patiently("the server answers", async || {
        let said = with(None).await;
        if said.errors.contains("HTTP status 401") { Ok(said) } else { Err(said.errors) }
    })
    .await;
    assert!(!refused.success && refused.errors.contains("--password-file"), "{}", refused.errors);
    let refused = with(Some(&wrong)).await;
    assert!(refused.errors.contains("check the token or password in the file"), "{}", refused.errors);
    assert!(!refused.errors.contains("guess"), "{}", refused.errors);
    let empty = with(Some(&right)).await;
    assert!(
        !empty.success && empty.errors.contains("has no series with one of the labels"),
        "{}",
        empty.errors
    );

    let hangs: Page = Arc::new(Mutex::new(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n<open>".to_vec()));
    let hangs = serve(hangs).await;
    let late = program(&["discover", "--prometheus", &hangs, "--time-limit", "1"]).await;
    assert!(!late.success && late.errors.contains("took longer than 1 s"), "{}", late.errors);
    let late = program(&["discover", "--target", &hangs, "--time-limit", "1"]).await;
    assert!(!late.success && late.errors.contains("the time of 1 s was up"), "{}", late.errors);
    let odd = program(&["discover", "--prometheus", &page("hello").await]).await;
    assert!(!odd.success && odd.errors.contains("no answer of Prometheus' HTTP API"), "{}", odd.errors);
    assert!(!program(&["discover"]).await.success);
}

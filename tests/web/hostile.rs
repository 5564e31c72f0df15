//! What every route that takes something does with what it must not take: the
//! right status, a line in the audit, and nothing else.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use release_guardian::adapters::notify::links::{Claim, LinkAction};
use release_guardian::config::Role;
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{Site, alertmanager_message, key, now, signer, site, sparse_errors};

/// One byte more than a body may have.
const TOO_LONG: usize = (4 << 20) + 1;
/// One byte more than the form behind a link may have.
const TOO_LONG_BEHIND_A_LINK: usize = (16 << 10) + 1;

#[derive(Clone, Debug)]
enum Kind {
    /// Under /api/v1: a bearer token, JSON.
    Api,
    /// Other systems: a bearer token, JSON.
    Hook,
    /// The same with the token in the address.
    HookWithToken,
    /// The same, and a no is a sentence of plain text, as Flagger shows it.
    PlainHook,
    /// A form of a page: a login, a key, and only from our own pages.
    Form,
    Login,
    Logout,
    /// A signed link in a message.
    Link,
}

struct Row {
    /// As the router has it.
    route: &'static str,
    kind: Kind,
    /// Who may.
    role: &'static str,
    /// Who may not, if there is such a role.
    not: Option<&'static str>,
    /// A good body, if it takes one: JSON, or the fields of a form.
    body: Option<Value>,
}

/// The rows of the routes that this program has.
fn rows() -> Vec<Row> {
    let routes = routes_in_the_program();
    all_rows().into_iter().filter(|row| routes.contains(row.route)).collect()
}

fn all_rows() -> Vec<Row> {
    let row = |route, kind, role, not, body| Row { route, kind, role, not, body };
    let alert = || Some(alertmanager_message("firing", "shop"));
    vec![
        row(
            "/api/v1/releases",
            Kind::Api,
            "pipeline",
            Some("operator"),
            Some(json!({"id": "r-1", "application": "shop"})),
        ),
        row(
            "/api/v1/releases/{application}/{id}/batches",
            Kind::Api,
            "pipeline",
            Some("operator"),
            Some(json!({"instances": ["a:1"]})),
        ),
        row("/api/v1/releases/{application}/{id}/finish", Kind::Api, "pipeline", Some("viewer"), None),
        row("/api/v1/releases/{application}/{id}/cancel", Kind::Api, "pipeline", Some("viewer"), None),
        row("/api/v1/releases/{application}/{id}/hold", Kind::Api, "operator", Some("pipeline"), None),
        row("/api/v1/releases/{application}/{id}/resume", Kind::Api, "operator", Some("pipeline"), None),
        row("/api/v1/releases/{application}/{id}/rollback", Kind::Api, "operator", Some("pipeline"), None),
        row("/api/v1/releases/{application}/{id}/hand-back", Kind::Api, "operator", Some("pipeline"), None),
        row(
            "/api/v1/releases/{application}/{id}/feedback",
            Kind::Api,
            "operator",
            Some("pipeline"),
            Some(json!({"kind": "false_alarm"})),
        ),
        row(
            "/api/v1/halt",
            Kind::Api,
            "operator",
            Some("viewer"),
            Some(json!({"on": true, "reason": "a move"})),
        ),
        row("/judge", Kind::Hook, "reporter", None, Some(sparse_errors())),
        row("/kayenta/{token}/judge", Kind::HookWithToken, "reporter", None, Some(sparse_errors())),
        row("/alertmanager", Kind::Hook, "reporter", Some("viewer"), alert()),
        row("/alertmanager/{token}", Kind::HookWithToken, "reporter", Some("viewer"), alert()),
        row("/login", Kind::Login, "operator", None, Some(json!({"token": "operator-secret"}))),
        row("/logout", Kind::Logout, "operator", None, None),
        row("/halt", Kind::Form, "operator", Some("viewer"), Some(json!({"on": "true", "reason": "a move"}))),
        row(
            "/releases/{application}/{id}/order",
            Kind::Form,
            "operator",
            Some("pipeline"),
            Some(json!({"order": "hold"})),
        ),
        row(
            "/releases/{application}/{id}/feedback",
            Kind::Form,
            "operator",
            Some("viewer"),
            Some(json!({"kind": "false_alarm"})),
        ),
        row(
            "/flagger/{token}/{hook}",
            Kind::PlainHook,
            "pipeline",
            Some("viewer"),
            Some(json!({"name": "shop", "namespace": "prod", "phase": "Progressing", "metadata": {}})),
        ),
        row("/links/{token}", Kind::Link, "", None, Some(json!({"name": "Li Wei"}))),
    ]
}

/// The routes of the program that take more than GET, from where they are made.
fn routes_in_the_program() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src/adapters")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            for rest in text.split(".route(").skip(1) {
                let Some(route) = rest.trim_start().strip_prefix('"').and_then(|rest| rest.split('"').next())
                else {
                    continue;
                };
                let takes = ["post(", "put(", "patch(", "delete(", " any("];
                // Up to the next route or the end of the function.
                let statement = rest.split(".route(").next().unwrap_or(rest);
                let end = statement.find("\n}").into_iter().chain(statement.find("\n    }")).min();
                let statement = &statement[..end.unwrap_or(statement.len())];
                if takes.iter().any(|word| statement.contains(word)) {
                    found.insert(route.to_owned());
                }
            }
        }
    }
    found
}

#[test]
fn every_route_that_takes_something_has_a_row() {
    let rows: BTreeSet<String> = all_rows().iter().map(|row| row.route.to_owned()).collect();
    let routes = routes_in_the_program();
    assert!(routes.len() >= 20, "the routes are no longer found where they are made: {routes:?}");
    let without: Vec<&String> = routes.difference(&rows).collect();
    assert!(without.is_empty(), "give each new route a row: {without:?}");
}

fn link(action: LinkAction, seconds: i64) -> String {
    let expires_at = now() + Duration::from_secs(3600);
    let expires_at = if seconds < 0 { now() - Duration::from_secs(5) } else { expires_at };
    signer().token(&Claim { release: key(), action, expires_at, nonce: "n-1".to_owned() })
}

/// A request with what is wrong with it, and what must come of it.
struct Attack {
    what: &'static str,
    request: RequestBuilder,
    status: u16,
    /// Whether the audit gets a line.
    audited: bool,
}

impl Row {
    fn path(&self, token: &str) -> String {
        self.route
            .replace("{application}", "shop")
            .replace("{id}", "r%2017%2Fb")
            .replace("{token}", token)
            .replace("{hook}", "gate")
    }

    /// The path with the token that may.
    fn good_path(&self) -> String {
        match self.kind {
            Kind::HookWithToken | Kind::PlainHook => self.path(&format!("{}-secret", self.role)),
            Kind::Link => self.path(&link(LinkAction::FalseAlarm, 1)),
            Kind::Api | Kind::Hook | Kind::Form | Kind::Login | Kind::Logout => self.path(""),
        }
    }

    fn is_json(&self) -> bool {
        matches!(self.kind, Kind::Api | Kind::Hook | Kind::HookWithToken | Kind::PlainHook)
    }

    /// Whoever sends a bearer token.
    fn is_by_bearer(&self) -> bool {
        matches!(self.kind, Kind::Api | Kind::Hook | Kind::Form)
    }

    fn content_type(&self) -> &'static str {
        if self.is_json() { "application/json" } else { "application/x-www-form-urlencoded" }
    }

    /// The good body as bytes, with the key of the caller's forms.
    async fn text(&self, site: &Site) -> Option<String> {
        let body = self.body.as_ref()?;
        if self.is_json() {
            return Some(body.to_string());
        }
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        if matches!(self.kind, Kind::Form) {
            let page = site.page("/").await;
            let key = page.split("name=\"key\" value=\"").nth(1).unwrap().split('"').next().unwrap();
            form.append_pair("key", key);
        }
        for (name, value) in body.as_object().unwrap() {
            form.append_pair(name, value.as_str().unwrap());
        }
        Some(form.finish())
    }

    /// A request that is good but for what is changed afterwards. `role`: whose
    /// bearer token it has.
    async fn request(&self, site: &Site, path: &str, role: Option<&str>) -> RequestBuilder {
        let request = site.client.post(format!("{}{path}", site.base));
        let request = match role {
            Some(role) if self.is_by_bearer() => request.bearer_auth(format!("{role}-secret")),
            Some(_) | None => request,
        };
        match self.text(site).await {
            Some(text) => request.header("content-type", self.content_type()).body(text),
            None => request,
        }
    }

    async fn attacks(&self, site: &Site) -> Vec<Attack> {
        let attack = |what, request, status, audited| Attack { what, request, status, audited };
        let path = self.good_path();
        let good = async || self.request(site, &path, Some(self.role)).await;
        let bare = || {
            let request = site.client.post(format!("{}{path}", site.base));
            if self.is_by_bearer() { request.bearer_auth(format!("{}-secret", self.role)) } else { request }
        };
        let mut attacks = Vec::new();
        let wrong_method = site.client.put(format!("{}{path}", site.base)).bearer_auth("admin-secret");
        attacks.push(attack("wrong method", wrong_method, 405, false));
        if self.is_by_bearer() {
            attacks.push(attack("no token", self.request(site, &path, None).await, 401, true));
            attacks.push(attack("wrong token", self.request(site, &path, Some("guessed")).await, 401, true));
            let foreign = good().await.header("sec-fetch-site", "cross-site");
            attacks.push(attack("a page of another site", foreign, 403, true));
            let foreign = good().await.header("origin", "https://evil.example");
            attacks.push(attack("a page of another origin", foreign, 403, true));
            if let Some(role) = self.not {
                attacks.push(attack(
                    "a role that may not",
                    self.request(site, &path, Some(role)).await,
                    403,
                    true,
                ));
            }
        }
        if self.body.is_some() {
            let length = if matches!(self.kind, Kind::Link) { TOO_LONG_BEHIND_A_LINK } else { TOO_LONG };
            let long = bare().header("content-type", self.content_type()).body("x".repeat(length));
            attacks.push(attack("huge body", long, 413, true));
            let text = self.text(site).await.unwrap_or_default();
            let odd = bare().header("content-type", "text/plain").body(text);
            attacks.push(attack("wrong content type", odd, 415, true));
        }
        if self.body.is_some() && self.is_json() {
            for (what, text) in
                [("no JSON", "{\"id\": "), ("no object", "7"), ("no body", ""), ("no text", "\u{0}")]
            {
                let request = bare().header("content-type", "application/json").body(text);
                let status = if matches!(self.kind, Kind::PlainHook) { 403 } else { 400 };
                attacks.push(attack(what, request, status, true));
            }
        }
        match self.kind {
            Kind::HookWithToken | Kind::PlainHook => {
                let wrong = self.request(site, &self.path("guessed"), None).await;
                attacks.push(attack("wrong token in the address", wrong, 401, true));
                if let Some(role) = self.not {
                    let wrong = self.request(site, &self.path(&format!("{role}-secret")), None).await;
                    attacks.push(attack("a token that may not in the address", wrong, 403, true));
                }
            }
            Kind::Form => {
                let without = bare()
                    .header("content-type", self.content_type())
                    .body("order=hold&kind=false_alarm&on=true");
                attacks.push(attack("no key of our pages", without, 403, true));
                let forged =
                    bare().header("content-type", self.content_type()).body("key=AAAA&order=hold&on=true");
                attacks.push(attack("a forged key", forged, 403, true));
            }
            Kind::Login => {
                let form = |text: &'static str| bare().header("content-type", self.content_type()).body(text);
                attacks.push(attack("wrong token", form("token=guessed"), 401, true));
                attacks.push(attack("no token", form(""), 401, true));
                let foreign = good().await.header("sec-fetch-site", "cross-site");
                attacks.push(attack("a page of another site", foreign, 403, true));
            }
            Kind::Logout => {
                let foreign = good().await.header("sec-fetch-site", "cross-site");
                attacks.push(attack("a page of another site", foreign, 403, true));
            }
            Kind::Link => {
                let token = link(LinkAction::FalseAlarm, 1);
                let (payload, signature) = token.split_once('.').unwrap();
                let other = link(LinkAction::Rollback, 1);
                let forged = format!("{}.{signature}", other.split_once('.').unwrap().0);
                for (what, token, status) in [
                    ("forged signature", forged.as_str(), 403),
                    ("no signature", payload, 403),
                    ("expired", link(LinkAction::FalseAlarm, -1).as_str(), 410),
                ] {
                    attacks.push(attack(
                        what,
                        self.request(site, &self.path(token), None).await,
                        status,
                        true,
                    ));
                }
            }
            Kind::Api | Kind::Hook => {}
        }
        attacks
    }
}

fn audit_lines(told: &[String]) -> usize {
    told.iter().filter(|line| line.contains(" AUDIT refused with ")).count()
}

async fn withstood(row: &Row, site: &Site, attack: Attack) {
    let what = format!("{}: {}", row.route, attack.what);
    let before = site.stand.told();
    let answer = attack.request.send().await.unwrap_or_else(|error| panic!("{what}: {error}"));
    let status = answer.status();
    let kind = answer
        .headers()
        .get("content-type")
        .map(|kind| kind.to_str().unwrap().to_owned())
        .unwrap_or_default();
    assert!(!answer.headers().contains_key("set-cookie"), "{what} logs somebody in or out");
    let text = answer.text().await.unwrap_or_default();
    assert_eq!(status.as_u16(), attack.status, "{what}: {text}");
    // The fallback of the whole interface answers a wrong method.
    let by_fallback = status == StatusCode::METHOD_NOT_ALLOWED && !matches!(row.kind, Kind::Link);
    let as_problem = by_fallback || row.is_json() && !matches!(row.kind, Kind::PlainHook);
    if as_problem {
        assert_eq!(kind, "application/problem+json", "{what}");
        let problem: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(problem["status"], attack.status, "{what}");
        assert!(problem["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{what}: {problem}");
    }
    assert!(!text.contains("-secret"), "{what} shows a secret: {text}");
    let told = site.stand.told();
    let new = &told[before.len()..];
    assert_eq!(audit_lines(new), usize::from(attack.audited), "{what}: {new:?}");
    assert_eq!(new.len(), usize::from(attack.audited), "{what} changed something: {new:?}");
    if matches!(row.kind, Kind::PlainHook) && attack.status == 403 {
        // Flagger shows it to people: the reason, not a word alone.
        assert!(text.contains(": ") && kind.starts_with("text/plain"), "{what}: {kind} {text}");
    }
    if attack.audited {
        assert!(new[0].contains(&format!("refused with {}", attack.status)), "{what}: {new:?}");
    }
}

#[tokio::test]
async fn what_must_not_be_taken_gets_its_status_a_line_in_the_audit_and_nothing_else() {
    for row in rows() {
        let site = site(None).await;
        for attack in row.attacks(&site).await {
            withstood(&row, &site, attack).await;
        }
        if matches!(row.kind, Kind::PlainHook) {
            // What it takes, its own tests tell.
            continue;
        }
        // What was refused was so for its fault, and not for another reason.
        let before = site.stand.told().len();
        let good = row.request(&site, &row.good_path(), Some(row.role)).await.send().await.unwrap();
        let status = good.status();
        assert!(
            status.is_success() || status.is_redirection(),
            "{}: {status} {:?}",
            row.route,
            good.text().await
        );
        let told = site.stand.told();
        assert_eq!(audit_lines(&told[before..]), 0, "{}", row.route);
        let changes = !matches!(row.kind, Kind::Login | Kind::Logout) && !row.route.ends_with("/judge");
        assert_eq!(told.len() > before, changes, "{}: {:?}", row.route, &told[before..]);
    }
}

#[tokio::test]
async fn a_host_that_is_not_ours_is_refused_to_whoever_shows_no_token() {
    for row in rows() {
        // Everybody may do everything here: what a rebinding page would use.
        let site = site(Some(Role::Admin)).await;
        for host in ["evil.example", "127.0.0.1.evil.example:8750"] {
            let request = row.request(&site, &row.good_path(), None).await.header("host", host);
            match row.kind {
                // These show a token or a signature of their own.
                Kind::HookWithToken | Kind::PlainHook | Kind::Link => {}
                Kind::Api | Kind::Hook | Kind::Form | Kind::Login | Kind::Logout => {
                    let attack = Attack { what: "a foreign host", request, status: 421, audited: true };
                    withstood(&row, &site, attack).await;
                }
            }
        }
        if row.is_by_bearer() {
            let named = row
                .request(&site, &row.good_path(), Some(row.role))
                .await
                .header("host", "guardian.svc:8750");
            let answer = named.send().await.unwrap();
            assert_ne!(answer.status(), 421, "{}: a token means us", row.route);
        }
    }
    let site = site(Some(Role::Admin)).await;
    let get = |path: &str, host: &str| {
        site.client.get(format!("{}{path}", site.base)).header("host", host.to_owned()).send()
    };
    for path in ["/", "/quality", "/api/v1/releases", "/api/v1/applications", "/api/v1/events"] {
        assert_eq!(get(path, "evil.example").await.unwrap().status(), 421, "{path}");
        assert_eq!(get(path, "localhost:8750").await.unwrap().status(), 200, "{path}");
    }
    for path in ["/healthz", "/metrics"] {
        assert_eq!(get(path, "guardian.svc").await.unwrap().status(), 200, "{path}");
    }
}

#[tokio::test]
async fn what_is_delivered_again_is_handed_on_with_the_same_key_or_refused() {
    for row in rows() {
        let site = site(None).await;
        let send = async || {
            let request = row.request(&site, &row.good_path(), Some(row.role)).await;
            request.header("idempotency-key", "delivery-7").send().await.unwrap().status()
        };
        let (first, second) = (send().await, send().await);
        let told = site.stand.told();
        let calls: Vec<&String> = told.iter().filter(|line| !line.contains(" AUDIT ")).collect();
        let repeated =
            told.iter().filter(|line| line.ends_with(" AUDIT delivered again: nothing was changed"));
        let repeated = repeated.count();
        match row.kind {
            // The daemon answers the second as the first and does nothing.
            Kind::Api => {
                assert!(first.is_success() && second.is_success(), "{}", row.route);
                assert!(
                    calls.len() == 2 && calls.iter().all(|call| call.contains(" delivery-7 ")),
                    "{calls:?}"
                );
                // A halt that is said twice is a halt.
                assert_eq!(repeated, usize::from(!row.route.ends_with("/halt")), "{told:?}");
            }
            Kind::Hook | Kind::HookWithToken => {
                assert!(first.is_success() && second.is_success(), "{}", row.route);
                // A judgement changes nothing; an alert has a key of its own.
                assert!(calls.windows(2).all(|pair| pair[0] == pair[1]), "{calls:?}");
                assert_eq!(repeated, usize::from(!row.route.ends_with("/judge")), "{told:?}");
            }
            Kind::Link => {
                assert_eq!((first.as_u16(), second.as_u16(), calls.len()), (200, 409, 1), "{told:?}");
                assert_eq!(audit_lines(&told), 1, "{told:?}");
            }
            Kind::PlainHook => {}
            Kind::Form | Kind::Login | Kind::Logout => assert!(second.is_redirection(), "{}", row.route),
        }
    }
}

#[tokio::test]
async fn an_event_of_flagger_that_is_delivered_again_leaves_a_line_and_is_not_handed_on() {
    let site = site(None).await;
    let metadata = json!({"eventMessage": "step", "eventType": "Normal", "timestamp": "1700000000123"});
    let event = json!({"name": "shop", "namespace": "prod", "phase": "Progressing", "metadata": metadata});
    let send = async || {
        let url = format!("{}/flagger/pipeline-secret/event", site.base);
        let answer = site.client.post(url).json(&event).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    assert_eq!(send().await, (202, "taken".to_owned()));
    let begun = Instant::now();
    while !site.stand.told().iter().any(|line| line.contains("canary shop")) {
        assert!(begun.elapsed() < Duration::from_secs(300), "{:?}", site.stand.told());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(send().await, (202, "known".to_owned()));
    let told = site.stand.told();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[1].ends_with(" AUDIT delivered again: nothing was changed"), "{told:?}");
}

#[tokio::test]
async fn what_the_daemon_does_not_take_leaves_a_line_with_its_reason() {
    let site = site(None).await;
    let known = "/api/v1/releases/shop/r%2017%2Fb/batches";
    for (path, body, key, status) in [
        ("/api/v1/releases", json!({"id": "r-1", "application": "frozen"}), "k", 409),
        ("/api/v1/releases", json!({"id": "r-1", "application": "unknown"}), "k", 422),
        ("/api/v1/releases", json!({"id": "r-1", "application": "shop", "format": 9}), "k", 400),
        ("/api/v1/releases/shop/nobody/batches", json!({"instances": ["a:1"]}), "k", 404),
        (known, json!({"instances": ["a:1"]}), "", 400),
    ] {
        let before = site.stand.told().len();
        let request = site.call(Method::POST, path, "pipeline").header("idempotency-key", key).json(&body);
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status().as_u16(), status, "{path} {body}");
        let told = site.stand.told();
        let line = format!(" AUDIT refused with {status}: ");
        assert_eq!(audit_lines(&told[before..]), 1, "{path} {body}: {told:?}");
        assert!(told.last().unwrap().contains(&line), "{told:?}");
    }
}

#[tokio::test]
async fn a_head_that_never_comes_costs_its_connection_and_nobody_elses() {
    let site = site(None).await;
    let address = site.base.strip_prefix("http://").unwrap().to_owned();
    let mut slow = tokio::net::TcpStream::connect(&address).await.unwrap();
    let mut silent = tokio::net::TcpStream::connect(&address).await.unwrap();
    slow.write_all(b"POST /api/v1/halt HTTP/1.1\r\nhost: 127.0.0.1\r\n").await.unwrap();
    let begun = Instant::now();
    // A header now and then keeps it open no longer than none.
    let mut byte = [0; 1];
    loop {
        assert!(begun.elapsed() < Duration::from_secs(300), "the connection is still open");
        if slow.write_all(b"x-more: 1\r\n").await.is_err() {
            break;
        }
        match tokio::time::timeout(Duration::from_millis(250), slow.read(&mut byte)).await {
            Err(_) => {}
            Ok(Ok(read)) if read > 0 => {}
            Ok(Ok(_) | Err(_)) => break,
        }
        let well = site.call(Method::GET, "/healthz", "viewer").send().await.unwrap();
        assert_eq!(well.status(), 200);
    }
    let ended = tokio::time::timeout(Duration::from_secs(300), silent.read(&mut byte)).await;
    assert!(matches!(ended, Ok(Ok(0) | Err(_))), "a connection that says nothing: {ended:?}");
    assert!(site.stand.told().is_empty());
}

//! Links as people, previews and attackers use them, over HTTP.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use release_guardian::adapters::notify::links::{Claim, LinkAction};
use release_guardian::adapters::notify::outbox::MemoryOutbox;
use release_guardian::adapters::notify::pages::{Desk, DeskError, LinkPages, routes};
use release_guardian::adapters::web::serve;
use release_guardian::config::notify::Language;

use super::support::{clock, crypto, now, paused, signer};

#[derive(Default)]
struct Notes {
    done: Mutex<Vec<(LinkAction, String, Option<String>)>>,
    refuse: Mutex<Option<&'static str>>,
}

#[async_trait]
impl Desk for Notes {
    async fn act(&self, claim: &Claim, who: &str, comment: Option<&str>) -> Result<(), DeskError> {
        if let Some(why) = *self.refuse.lock().unwrap() {
            return Err(DeskError::NotPossible(why.to_owned()));
        }
        self.done.lock().unwrap().push((claim.action, who.to_owned(), comment.map(str::to_owned)));
        Ok(())
    }
}

async fn server() -> (String, Arc<Notes>) {
    crypto();
    let notes = Arc::new(Notes::default());
    let pages = LinkPages {
        signer: signer(),
        outbox: Arc::new(MemoryOutbox::default()),
        desk: notes.clone(),
        clock: clock(),
        language: Language::English,
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let current = tokio::sync::watch::channel(Some(Arc::new(pages))).1;
    tokio::spawn(async move { serve(listener, routes(current), std::future::pending()).await });
    (address, notes)
}

fn link(address: &str, action: LinkAction, sent: std::time::Duration) -> String {
    let links = signer().links(&paused("checkout"), now() - sent);
    let link = links.into_iter().find(|link| link.action == action).unwrap();
    link.url.replace("https://guardian.example.com", address)
}

const FRESH: std::time::Duration = std::time::Duration::ZERO;

#[tokio::test]
async fn a_preview_that_fetches_a_link_changes_nothing() {
    let (address, notes) = server().await;
    let url = link(&address, LinkAction::Rollback, FRESH);
    let client = reqwest::Client::new();
    for _ in 0..3 {
        let page = client.get(&url).send().await.unwrap();
        assert_eq!(page.status(), 200);
        assert_eq!(page.headers()["cache-control"], "no-store");
        assert_eq!(page.headers()["referrer-policy"], "no-referrer");
        let page = page.text().await.unwrap();
        assert!(
            page.contains("Roll back") && page.contains("checkout") && page.contains("<form method=\"post\"")
        );
        if let Some(folder) = std::env::var_os("GUARDIAN_SHOW") {
            std::fs::write(std::path::Path::new(&folder).join("link.html"), page).unwrap();
        }
    }
    assert_eq!(client.head(&url).send().await.unwrap().status(), 200);
    for method in [reqwest::Method::PUT, reqwest::Method::DELETE, reqwest::Method::OPTIONS] {
        assert_eq!(client.request(method, &url).send().await.unwrap().status(), 405);
    }
    assert!(notes.done.lock().unwrap().is_empty());
}

#[tokio::test]
async fn the_button_acts_once_in_the_name_of_the_person() {
    let (address, notes) = server().await;
    let url = link(&address, LinkAction::FalseAlarm, FRESH);
    let client = reqwest::Client::new();
    let form = [("name", "Li Wei"), ("comment", "a load test\nof ours")];
    let first = client.post(&url).form(&form).send().await.unwrap();
    assert_eq!(first.status(), 200);
    assert!(first.text().await.unwrap().contains("Done: False alarm"));
    let second = client.post(&url).form(&form).send().await.unwrap();
    assert_eq!(second.status(), 409);
    // The same message in another channel carries another token for the same
    // claim: it is used up with the first.
    let copy = link(&address, LinkAction::FalseAlarm, std::time::Duration::from_secs(60));
    assert_ne!(copy, url);
    let done = notes.done.lock().unwrap().clone();
    let expected =
        (LinkAction::FalseAlarm, "Li Wei (by a link)".to_owned(), Some("a load test of ours".to_owned()));
    assert_eq!(done, [expected]);
}

#[tokio::test]
async fn many_clicks_at_once_act_once() {
    let (address, notes) = server().await;
    let url = link(&address, LinkAction::Resume, FRESH);
    let client = reqwest::Client::new();
    let clicks: Vec<_> = (0..20)
        .map(|_| {
            let sending = client.post(&url).form(&[("name", "x")]).send();
            tokio::spawn(async move { sending.await.unwrap().status().as_u16() })
        })
        .collect();
    let mut statuses = Vec::new();
    for click in clicks {
        statuses.push(click.await.unwrap());
    }
    statuses.sort_unstable();
    assert_eq!((statuses[0], statuses[1], statuses[19]), (200, 409, 409));
    assert_eq!(notes.done.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn expired_forged_and_cut_links_are_refused_by_get_and_post() {
    let (address, notes) = server().await;
    let client = reqwest::Client::new();
    let good = link(&address, LinkAction::Rollback, FRESH);
    let expired = link(&address, LinkAction::Rollback, std::time::Duration::from_secs(3601));
    let cut = good[..good.len() - 5].to_owned();
    let token = good.rsplit('/').next().unwrap();
    let (payload, signature) = token.split_once('.').unwrap();
    use base64::Engine;
    let engine = base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let changed = String::from_utf8(engine.decode(payload).unwrap()).unwrap().replace("checkout", "payments");
    let forged = format!("{address}/links/{}.{signature}", engine.encode(changed));
    let huge = format!("{address}/links/{}.x", "a".repeat(6000));
    for (url, status) in [(expired, 410), (cut, 403), (forged, 403), (huge, 403)] {
        assert_eq!(client.get(&url).send().await.unwrap().status(), status);
        assert_eq!(client.post(&url).form(&[("name", "x")]).send().await.unwrap().status(), status);
    }
    assert!(notes.done.lock().unwrap().is_empty());
}

#[tokio::test]
async fn what_could_not_be_done_can_be_tried_again() {
    let (address, notes) = server().await;
    let url = link(&address, LinkAction::Resume, FRESH);
    *notes.refuse.lock().unwrap() = Some("the release is over");
    let client = reqwest::Client::new();
    let refused = client.post(&url).body("").send().await.unwrap();
    assert_eq!(refused.status(), 409);
    assert!(refused.text().await.unwrap().contains("the release is over"));
    *notes.refuse.lock().unwrap() = None;
    assert_eq!(client.post(&url).body("").send().await.unwrap().status(), 200);
    assert_eq!(notes.done.lock().unwrap()[0].1, "somebody with a link");
}

#[tokio::test]
async fn a_huge_form_is_refused_and_a_chinese_browser_reads_chinese() {
    let (address, notes) = server().await;
    let url = link(&address, LinkAction::FaultConfirmed, FRESH);
    let client = reqwest::Client::new();
    let huge = client.post(&url).body(format!("comment={}", "x".repeat(100_000))).send().await.unwrap();
    assert_eq!(huge.status(), 413);
    assert!(notes.done.lock().unwrap().is_empty());
    let page = client.get(&url).header("accept-language", "zh-CN,zh;q=0.9,en;q=0.8").send().await.unwrap();
    let page = page.text().await.unwrap();
    assert!(page.contains("确认故障") && page.contains("lang=\"zh\""));
    if let Some(folder) = std::env::var_os("GUARDIAN_SHOW") {
        std::fs::write(std::path::Path::new(&folder).join("link-zh.html"), page).unwrap();
    }
}

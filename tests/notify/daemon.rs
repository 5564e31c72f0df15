//! The whole daemon tells people: the real binary with a real SMTP server and
//! a webhook, a bad release, and what its links do.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::guardian::{Guardian, World, command, until};
use super::support::{LINK_SECRET, PASSWORD, Server, Smtp, USER, ok};

fn texts(mail: &Value) -> &str {
    let parts = mail["parts"].as_array().unwrap();
    parts.iter().find(|part| part["type"] == "text/plain").unwrap()["text"].as_str().unwrap()
}

/// Each message once, however often it was sent: a try whose answer came too
/// late is repeated under the same id.
fn once(mut all: Vec<Value>, pointer: &str) -> Vec<Value> {
    let mut seen = BTreeSet::new();
    all.retain(|one| seen.insert(one.pointer(pointer).unwrap_or(&Value::Null).to_string()));
    all
}

fn told(hook: &Server) -> Vec<Value> {
    once(hook.got().iter().map(super::support::Got::json).collect(), "/data/id")
}

fn of_kind<'m>(messages: &'m [Value], kind: &str) -> Vec<&'m Value> {
    messages.iter().filter(|message| message["type"] == kind).collect()
}

/// A link by its action, from the newest message of a kind.
fn link(hook: &Server, kind: &str, action: &str) -> String {
    let messages = told(hook);
    let message = of_kind(&messages, kind).pop().unwrap().clone();
    message["data"]["links"][action]
        .as_str()
        .unwrap_or_else(|| panic!("no {action} in {message:#}"))
        .to_owned()
}

async fn open_and_press(guardian: &Guardian, link: &str) {
    assert!(link.starts_with(&format!("{}/links/", guardian.base)), "{link}");
    let before = guardian.release("r-1").await.unwrap();
    for _ in 0..2 {
        let page = guardian.client.get(link).send().await.unwrap();
        assert_eq!(page.status(), 200);
        assert!(page.text().await.unwrap().contains("<form method=\"post\""));
    }
    let after = guardian.release("r-1").await.unwrap();
    for part in ["commands", "feedback"] {
        assert_eq!(before[part], after[part], "opening a link changed {part}");
    }
    let by_link = |release: &Value| release["audit"].to_string().matches("by a link").count();
    assert_eq!(by_link(&before), by_link(&after), "opening a link left a word");
    let pressed = guardian.client.post(link).form(&[("name", "Li Wei")]).send().await.unwrap();
    let status = pressed.status();
    assert_eq!(status, 200, "{}", pressed.text().await.unwrap());
    let again = guardian.client.post(link).form(&[("name", "Li Wei")]).send().await.unwrap();
    assert_eq!(again.status(), 409, "a link works once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_release_is_told_once_by_mail_and_webhook_and_its_links_act_through_the_daemon() {
    let smtp = Smtp::start("starttls", "localhost", USER);
    let hook = Server::start(|_, _| ok("")).await;
    let world = World::new();
    world.targets.iter().for_each(super::servers::Target::tell_more);
    let notify = smtp
        .settings("starttls", &["oncall@example.com"])
        .replace("[notify]\n", "[notify]\ndigest_above = 40\nlink_secret = \"${LINK_SECRET}\"\n");
    let channel = "\n[[notify.channel]]\nname = \"hook\"\nkind = \"webhook\"\nurl = \"${HOOK_URL}\"\n";
    world.write_settings(&format!("{notify}{channel}"));
    // A pause waits for a person here.
    let settings = std::fs::read_to_string(world.settings()).unwrap();
    std::fs::write(world.settings(), settings.replace("rollback_after = \"3s\"", "rollback_after = \"2h\""))
        .unwrap();
    let mut serve = command(&world.settings());
    serve.env("PASSWORD", PASSWORD).env("LINK_SECRET", LINK_SECRET).env("HOOK_URL", &hook.url);
    let guardian = Guardian::start_as(&world, &mut serve).await;

    guardian.has_history(6.0 * 25.0).await;
    let order = world.order("r-1", &release_guardian::adapters::clock::now().to_string());
    let (status, begun) = guardian.post("/api/v1/releases", None, &order).await;
    assert_eq!(status, 201, "{begun}");
    world.targets[..2].iter().for_each(|target| target.fail(0.33));
    guardian.wait_for_phase("r-1", "paused").await;
    assert_eq!(world.system.keys("/pause").len(), 1);

    let paused = until("both channels told of the pause", async || {
        let message = of_kind(&told(&hook), "notice.pausing").first().map(|message| (*message).clone())?;
        let mails = smtp.mails();
        let mail = mails.iter().find(|mail| texts(mail).contains("is being paused"))?.clone();
        Some((message, mail))
    })
    .await;
    let reasons = paused.0["data"]["reasons"].as_array().unwrap();
    // The strongest three; a machine that is slow may decide on fewer.
    let decided = guardian.release("r-1").await.unwrap()["decisions"].clone();
    let pause =
        decided.as_array().unwrap().iter().find(|decision| decision["action"] == "pause").unwrap().clone();
    let wanted = pause["reasons"].as_array().unwrap().len().min(3);
    eprintln!("the pause has {} reasons", pause["reasons"].as_array().unwrap().len());
    assert!(wanted >= 1 && reasons.len() == wanted, "{:#}", paused.0);
    for reason in reasons {
        assert!(reason["release_after"].is_number() && reason["reference_after"].is_number(), "{reason:#}");
    }
    let numbers = ["1. ", "2. ", "3. "];
    for said in numbers[..wanted].iter().copied().chain(["release group ", "reference group "]) {
        assert!(texts(&paused.1).contains(said), "{said:?} is missing in:\n{}", texts(&paused.1));
    }
    // That it was done is a message of its own, without the reasons once more.
    let done = until("both channels told that it is paused", async || {
        let message = of_kind(&told(&hook), "notice.paused").first().map(|message| (*message).clone())?;
        let mails = smtp.mails();
        Some((message, mails.iter().find(|mail| texts(mail).contains("is paused"))?.clone()))
    })
    .await;
    assert!(done.0["data"]["text"].to_string().contains("its state was read back"), "{:#}", done.0);
    assert_eq!(done.0["data"]["reasons"], json!([]), "{:#}", done.0);
    assert!(paused.0["data"]["confirmed_by"].is_string(), "{:#}", paused.0);
    assert!(texts(&paused.1).contains("It is ordered, not confirmed"), "{}", texts(&paused.1));
    assert_eq!((&paused.1["tls"], &paused.1["user"]), (&json!(true), &json!(USER)));

    open_and_press(&guardian, &link(&hook, "notice.pausing", "fault_confirmed")).await;
    let known = guardian.release("r-1").await.unwrap();
    assert_eq!(known["summary"]["phase"], "paused", "a word about a release moves nothing");
    let words = known["feedback"].as_array().unwrap();
    assert_eq!((words.len(), &words[0]["kind"]), (1, &json!("fault_confirmed")), "{words:?}");
    assert_eq!(words[0]["by"], "Li Wei (by a link)");

    open_and_press(&guardian, &link(&hook, "notice.pausing", "resume")).await;
    until("the release system went on", async || (world.system.state() == "running").then_some(())).await;
    assert_eq!(world.system.keys("/resume").len(), 1);
    let forged = link(&hook, "notice.pausing", "rollback");
    let cut = guardian.client.post(&forged[..forged.len() - 3]).form(&[("name", "x")]).send().await.unwrap();
    assert_eq!(cut.status(), 403);
    assert!(world.system.keys("/rollback").is_empty());

    // After the end nothing more is told, so all can be counted.
    let (status, ended) = guardian.post("/api/v1/releases/shop/r-1/cancel", None, &json!({})).await;
    assert_eq!(status, 200, "{ended}");
    let (messages, mails) = until("both channels told of everything", async || {
        let (messages, mails) = (told(&hook), once(smtp.mails(), "/headers/Message-ID"));
        let told_of_end = messages.iter().any(|message| {
            let text = message["data"]["text"].as_str().unwrap_or_default();
            message["type"] == "notice.course" && (text.contains("cancelled") || text.contains("given up"))
        });
        (told_of_end && messages.len() == mails.len()).then_some((messages, mails))
    })
    .await;
    assert_eq!(of_kind(&messages, "notice.pausing").len(), 1, "{messages:#?}");
    assert_eq!(of_kind(&messages, "notice.rolling_back").len(), 0, "{messages:#?}");
    assert_eq!(of_kind(&messages, "notice.digest").len(), 0, "{messages:#?}");
    let changes: Vec<String> = of_kind(&messages, "notice.course")
        .iter()
        .map(|message| message["data"]["text"].to_string())
        .collect();
    let once: BTreeSet<&String> = changes.iter().collect();
    assert_eq!(once.len(), changes.len(), "each change is told once: {changes:#?}");
    let pauses =
        mails.iter().filter(|mail| mail["headers"]["Subject"].to_string().contains("is being paused"));
    assert_eq!(pauses.count(), 1);
}

//! Mail to a real SMTP server that also misbehaves.

use std::collections::BTreeSet;
use std::sync::Arc;

use base64::Engine;
use release_guardian::adapters::notify::outbox::{Ended, MemoryOutbox};
use serde_json::Value;

use super::support::{PASSWORD, Secrets, Server, Smtp, USER, log, ok, paused, settings, start, until};

fn secrets() -> Secrets {
    Secrets::default().with("PASSWORD", PASSWORD)
}

fn part<'m>(mail: &'m Value, kind: &str) -> &'m Value {
    let parts = mail["parts"].as_array().unwrap();
    parts.iter().find(|part| part["type"] == kind).unwrap_or_else(|| panic!("no {kind} in {mail}"))
}

fn recipients(mails: &[Value]) -> Vec<String> {
    let mut to: Vec<String> = mails.iter().map(|mail| mail["to"][0].as_str().unwrap().to_owned()).collect();
    to.sort();
    to
}

/// A server that took a mail without saying so gets it again under the same
/// id, by which mail systems drop the second one.
fn distinct(mails: &[Value]) -> BTreeSet<(String, String)> {
    mails.iter().map(|mail| (mail["to"][0].to_string(), mail["headers"]["Message-ID"].to_string())).collect()
}

#[tokio::test]
async fn a_mail_arrives_whole_over_starttls_with_a_login() {
    let smtp = Smtp::start("starttls", "localhost", USER);
    let to = ["Li Wei <li@example.com>", "oncall@example.com"];
    let notify = settings(&smtp.settings("starttls", &to), &secrets());
    let (notifier, running) = start(notify, &secrets(), Arc::new(MemoryOutbox::default())).await;
    notifier.tell(paused("购物车")).await.unwrap();
    let mails = until("both mails", async || Some(smtp.mails()).filter(|mails| mails.len() == 2)).await;
    running.stop(std::time::Duration::from_secs(5)).await;
    assert_eq!(recipients(&mails), ["li@example.com", "oncall@example.com"]);
    let mail = &mails[0];
    assert_eq!((&mail["tls"], &mail["user"]), (&Value::Bool(true), &Value::from(USER)));
    assert_eq!(mail["defects"], Value::Array(vec![]));
    let headers = &mail["headers"];
    assert_eq!(headers["Subject"], "[production] 购物车 2.4.1 is being paused");
    assert_eq!(headers["From"], "Release guardian <guardian@example.com>");
    assert!(headers["To"].as_str().unwrap().contains("oncall@example.com"));
    assert_eq!(headers["Auto-Submitted"], "auto-generated");
    let kinds: Vec<&str> =
        mail["parts"].as_array().unwrap().iter().map(|part| part["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["multipart/alternative", "text/plain", "multipart/related", "text/html", "image/png"]);

    let text = part(mail, "text/plain")["text"].as_str().unwrap();
    for said in [
        "购物车 2.4.1 is being paused",
        "pause (by the guardian; probability of a fault 97.3 %)",
        "1. error ratio of /cart",
        "release group 0.21 % → 4.13 %, reference group 0.19 % → 0.22 %",
        "release group 231 ms → 1.84 s, reference group 229 ms → 235 ms",
        "1 more signal deviates",
        "It is rolled back at",
        "Resume: https://guardian.example.com/links/",
        "Roll back: https://guardian.example.com/links/",
        "It is a fault: https://guardian.example.com/links/",
        "False alarm: https://guardian.example.com/links/",
    ] {
        assert!(text.contains(said), "{said:?} is missing in:\n{text}");
    }
    let html = part(mail, "text/html")["text"].as_str().unwrap();
    let picture = part(mail, "image/png");
    let cid = picture["cid"].as_str().unwrap().trim_matches(['<', '>']).to_owned();
    assert!(html.contains(&format!("src=\"cid:{cid}\"")), "{cid}");
    assert_eq!(picture["disposition"], "inline");
    let png = base64::engine::general_purpose::STANDARD.decode(picture["base64"].as_str().unwrap()).unwrap();
    assert!(png.starts_with(b"\x89PNG"));
    // Slashes are escaped in HTML.
    assert_eq!(html.replace("&#x2f;", "/").matches("https://guardian.example.com/links/").count(), 5);
    if let Some(folder) = std::env::var_os("GUARDIAN_SHOW") {
        let folder = std::path::Path::new(&folder);
        std::fs::write(folder.join("chart0.png"), png).unwrap();
        std::fs::write(folder.join("mail.html"), html.replace(&format!("cid:{cid}"), "chart0.png")).unwrap();
        std::fs::write(folder.join("mail.txt"), text).unwrap();
    }
}

#[tokio::test]
async fn a_mail_in_chinese_arrives_over_tls() {
    let smtp = Smtp::start("tls", "localhost", USER);
    let text = smtp
        .settings("tls", &["li@example.com"])
        .replace("[notify]", "[notify]\nlanguage = \"zh\"\ntime_zone = \"Asia/Shanghai\"");
    let notify = settings(&text, &secrets());
    let (notifier, _running) = start(notify, &secrets(), Arc::new(MemoryOutbox::default())).await;
    notifier.tell(paused("checkout")).await.unwrap();
    let mails = until("the mail", async || Some(smtp.mails()).filter(|mails| !mails.is_empty())).await;
    assert_eq!(mails[0]["headers"]["Subject"], "[production] checkout 2.4.1 正在暂停发布");
    let text = part(&mails[0], "text/plain")["text"].as_str().unwrap();
    for said in ["发布组 0.21 % → 4.13 %，对照组 0.19 % → 0.22 %", "将自动回滚", "CST", "误报: https://"]
    {
        assert!(text.contains(said), "{said:?} is missing in:\n{text}");
    }
    if let Some(folder) = std::env::var_os("GUARDIAN_SHOW") {
        let html = part(&mails[0], "text/html")["text"].as_str().unwrap();
        let file = std::path::Path::new(&folder).join("mail-zh.html");
        std::fs::write(file, html.replace("cid:chart0", "chart0.png")).unwrap();
    }
}

#[tokio::test]
async fn a_server_on_this_machine_is_spoken_to_without_tls() {
    let smtp = Smtp::start("none", "localhost", "");
    let notify = settings(&smtp.settings("none", &["li@example.com"]), &secrets());
    let (notifier, _running) = start(notify, &secrets(), Arc::new(MemoryOutbox::default())).await;
    notifier.tell(paused("checkout")).await.unwrap();
    let mails = until("the mail", async || Some(smtp.mails()).filter(|mails| !mails.is_empty())).await;
    assert_eq!(mails[0]["tls"], false);
}

#[tokio::test]
async fn trouble_of_a_server_delays_a_mail_and_neither_loses_nor_doubles_it() {
    for trouble in ["421", "451 li@example.com", "drop", "hang"] {
        let smtp = Smtp::start("starttls", "localhost", USER);
        smtp.mode(trouble);
        let text = smtp.settings("starttls", &["li@example.com"]);
        // A hang has to end; nothing else may, however slow the machine is.
        let text = if trouble == "hang" { text.replace("\"60s\"", "\"10s\"") } else { text };
        let notify = settings(&text, &secrets());
        let outbox = Arc::new(MemoryOutbox::default());
        let (notifier, running) = start(notify, &secrets(), outbox.clone()).await;
        notifier.tell(paused("checkout")).await.unwrap();
        let lane = ("mail".to_owned(), "li@example.com".to_owned());
        let said = until(trouble, async || notifier.state()[&lane].trouble.clone()).await;
        assert!(!said.is_empty());
        smtp.mode("ok");
        until("the mail", async || (notifier.state()[&lane].sent == 1).then_some(())).await;
        running.stop(std::time::Duration::from_secs(5)).await;
        let mails = smtp.mails();
        // One that drops the connection took each mail without saying so.
        assert_eq!(mails.len() == 1, trouble != "drop", "{trouble}: {} mails", mails.len());
        assert_eq!(distinct(&mails).len(), 1, "{trouble}");
        assert!(matches!(outbox.ended().await[0].1, Some(Ended::Sent(_))), "{trouble}");
    }
}

#[tokio::test]
async fn one_recipient_who_is_refused_is_no_trouble_for_the_others() {
    let smtp = Smtp::start("starttls", "localhost", USER);
    smtp.mode("550 gone@example.com");
    let to = ["gone@example.com", "li@example.com"];
    let notify = settings(&smtp.settings("starttls", &to), &secrets());
    let outbox = Arc::new(MemoryOutbox::default());
    let (notifier, _running) = start(notify, &secrets(), outbox.clone()).await;
    notifier.tell(paused("checkout")).await.unwrap();
    let ended = until("both ends", async || {
        Some(outbox.ended().await).filter(|rows| rows.iter().all(|row| row.1.is_some()))
    })
    .await;
    assert_eq!(recipients(&smtp.mails()), ["li@example.com"]);
    let lost = ended.iter().find(|row| row.0.recipient == "gone@example.com").unwrap();
    assert!(matches!(&lost.1, Some(Ended::Lost(reason)) if reason.contains("550")), "{lost:?}");
}

#[tokio::test]
async fn a_server_that_hangs_delays_no_other_channel() {
    let smtp = Smtp::start("starttls", "localhost", USER);
    smtp.mode("hang");
    let chat = Server::start(|_, _| ok("ok")).await;
    let secrets = secrets().with("CHAT", &chat.url);
    let text = format!(
        "{}\n[[notify.channel]]\nname = \"chat\"\nkind = \"slack\"\nurl = \"${{CHAT}}\"\n",
        smtp.settings("starttls", &["li@example.com"])
    );
    let (notifier, running) =
        start(settings(&text, &secrets), &secrets, Arc::new(MemoryOutbox::default())).await;
    for application in ["a", "b", "c"] {
        notifier.tell(paused(application)).await.unwrap();
    }
    until("three chat messages", async || (chat.got().len() == 3).then_some(())).await;
    assert!(smtp.mails().is_empty());
    running.stop(std::time::Duration::from_millis(10)).await;
}

#[tokio::test]
async fn a_wrong_certificate_gets_neither_password_nor_mail() {
    let smtp = Smtp::start("starttls", "mail.elsewhere.example", USER);
    let notify = settings(&smtp.settings("starttls", &["li@example.com"]), &secrets());
    let (notifier, _running) = start(notify, &secrets(), Arc::new(MemoryOutbox::default())).await;
    notifier.tell(paused("checkout")).await.unwrap();
    let lane = ("mail".to_owned(), "li@example.com".to_owned());
    let said = until("the refusal", async || notifier.state()[&lane].trouble.clone()).await;
    assert!(said.to_lowercase().contains("certificate"), "{said}");
    assert!(smtp.logins().is_empty() && smtp.mails().is_empty());
    assert_eq!(notifier.state()[&lane].waiting, 1, "it is kept");
}

#[tokio::test]
async fn a_wrong_password_is_told_without_being_shown_and_the_mail_is_kept() {
    let _ = log();
    let smtp = Smtp::start("starttls", "localhost", USER);
    let wrong = Secrets::default().with("PASSWORD", "wrong-password-of-mine");
    let notify = settings(&smtp.settings("starttls", &["li@example.com"]), &wrong);
    let (notifier, _running) = start(notify, &wrong, Arc::new(MemoryOutbox::default())).await;
    notifier.tell(paused("checkout")).await.unwrap();
    let lane = ("mail".to_owned(), "li@example.com".to_owned());
    let said = until("the refusal", async || notifier.state()[&lane].trouble.clone()).await;
    assert!(said.contains("refuses the login") && said.contains("535"), "{said}");
    let coded = base64::engine::general_purpose::STANDARD.encode("\0guardian\0wrong-password-of-mine");
    for text in [said, log().text()] {
        assert!(!text.contains("wrong-password-of-mine") && !text.contains(&coded));
    }
    assert!(!smtp.logins().is_empty() && smtp.logins().iter().all(|login| login["right"] == false));
    assert_eq!(notifier.state()[&lane].waiting, 1);
}

//! The notifier as it runs: routes, load, restarts, escalation.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::http::StatusCode;
use axum::response::IntoResponse;
use release_guardian::adapters::notify::message::Message;
use release_guardian::adapters::notify::outbox::{Ended, MemoryOutbox, Outbox};
use release_guardian::adapters::store::SqlStore;
use release_guardian::guard::engine::NoticeKind;

use super::support::{PATIENCE, Secrets, Server, message, now, ok, paused, settings, start, until};

fn hook(name: &str, more: &str) -> String {
    format!(
        "[[notify.channel]]\nname = \"{name}\"\nkind = \"webhook\"\nurl = \"${{{}}}\"\n{more}\n",
        name.to_uppercase()
    )
}

fn kinds(server: &Server) -> Vec<String> {
    server.got().iter().map(|got| got.json()["type"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn messages_go_by_application_environment_and_severity() {
    let (all, urgent) = (Server::start(|_, _| ok("")).await, Server::start(|_, _| ok("")).await);
    let secrets = Secrets::default().with("ALL", &all.url).with("URGENT", &urgent.url);
    let text = format!(
        "[notify]\n{}{}[[notify.route]]\nchannels = [\"all\"]\n[[notify.route]]\napplications = [\"check*\"]\n\
         environments = [\"production\"]\nseverity = \"critical\"\nchannels = [\"urgent\", \"all\"]\n",
        hook("all", ""),
        hook("urgent", "")
    );
    let (notifier, running) =
        start(settings(&text, &secrets), &secrets, Arc::new(MemoryOutbox::default())).await;
    notifier.tell(message("checkout", NoticeKind::Course, "It began.")).await.unwrap();
    notifier.tell(paused("payments")).await.unwrap();
    let told = paused("checkout");
    notifier.tell(told.clone()).await.unwrap();
    // The engine repeats itself after a restart; people hear it once.
    notifier.tell(told).await.unwrap();
    until("three messages", async || (all.got().len() == 3 && urgent.got().len() == 1).then_some(())).await;
    running.stop(PATIENCE).await;
    assert_eq!((all.got().len(), kinds(&urgent)), (3, vec!["notice.pausing".to_owned()]));
}

#[tokio::test]
async fn under_load_a_channel_gets_a_digest_and_its_rate_is_kept() {
    let server = Server::start(|_, _| ok("")).await;
    let secrets = Secrets::default().with("HOOK", &server.url);
    let text = format!("[notify]\ndigest_above = 3\n{}", hook("hook", "rate = \"4/3s\""));
    let outbox = Arc::new(MemoryOutbox::default());
    let (notifier, running) = start(settings(&text, &secrets), &secrets, outbox.clone()).await;
    let begun = std::time::Instant::now();
    for number in 0..60 {
        notifier.tell(message("checkout", NoticeKind::Course, &format!("step {number}"))).await.unwrap();
    }
    let ended = until("all ends", async || {
        Some(outbox.ended().await).filter(|rows| rows.iter().all(|row| row.1.is_some()))
    })
    .await;
    running.stop(PATIENCE).await;
    assert_eq!(ended.len(), 60);
    assert!(ended.iter().all(|row| matches!(row.1, Some(Ended::Sent(_)))));
    let got = server.got();
    // Four in three seconds, for as long as it took.
    let allowed = 4 * (begun.elapsed().as_secs() as usize / 3 + 1);
    assert!(got.len() <= allowed.min(59), "{} requests for 60 messages, {allowed} allowed", got.len());
    let digests = kinds(&server).iter().filter(|kind| *kind == "notice.digest").count();
    let shown: usize =
        got.iter().map(|got| got.json()["data"]["messages"].as_array().map_or(1, Vec::len)).sum();
    assert!(digests >= 1 && shown == 60, "{digests} digests with {shown} messages");
}

#[tokio::test]
async fn what_was_not_sent_before_a_restart_is_sent_after_it_once() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("store.sqlite");
    let takes = Arc::new(AtomicBool::new(false));
    let asked = takes.clone();
    let server = Server::start(move |_, _| match asked.load(Ordering::Relaxed) {
        false => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        true => ok(""),
    })
    .await;
    let secrets = Secrets::default().with("HOOK", &server.url);
    let text = format!("[notify]\n{}", hook("hook", ""));
    let told = paused("checkout");
    {
        let store = Arc::new(SqlStore::open(&file).await.unwrap());
        let (notifier, running) = start(settings(&text, &secrets), &secrets, store.clone()).await;
        notifier.tell(told.clone()).await.unwrap();
        until("the first try", async || (!server.got().is_empty()).then_some(())).await;
        running.stop(Duration::ZERO).await;
        store.close().await;
    }
    let before = server.got().len();
    takes.store(true, Ordering::Relaxed);
    let store = Arc::new(SqlStore::open(&file).await.unwrap());
    let (notifier, running) = start(settings(&text, &secrets), &secrets, store.clone()).await;
    notifier.tell(told).await.unwrap();
    until("the message", async || store.waiting().await.unwrap().is_empty().then_some(())).await;
    running.stop(PATIENCE).await;
    let got = server.got();
    assert_eq!(got.len(), before + 1);
    assert_eq!(got[0].headers["webhook-id"], got[before].headers["webhook-id"]);
}

#[tokio::test]
async fn a_pause_that_nobody_answers_is_escalated_and_an_answer_ends_it() {
    let (team, boss) = (Server::start(|_, _| ok("")).await, Server::start(|_, _| ok("")).await);
    let secrets = Secrets::default().with("TEAM", &team.url).with("BOSS", &boss.url);
    let text = format!(
        "[notify]\n{}{}[[notify.route]]\nchannels = [\"team\"]\nacknowledge_within = \"1m\"\nescalate_to = [\"boss\"]\n",
        hook("team", ""),
        hook("boss", "")
    );
    let mut notify = settings(&text, &secrets);
    notify.routes[0].acknowledge_within = Some(Duration::from_secs(3));
    let outbox = Arc::new(MemoryOutbox::default());
    let (notifier, running) = start(notify, &secrets, outbox.clone()).await;
    let seen = paused("payments");
    notifier.tell(seen.clone()).await.unwrap();
    notifier.acknowledged(seen.release.as_ref().unwrap()).await.unwrap();
    notifier.tell(paused("checkout")).await.unwrap();
    until("the escalation", async || (!boss.got().is_empty()).then_some(())).await;
    let first = boss.got()[0].json();
    assert_eq!(
        (&first["type"], &first["data"]["application"]),
        (&"notice.unacknowledged".into(), &"checkout".into())
    );
    until("the end", async || outbox.awaited().await.unwrap().is_empty().then_some(())).await;
    running.stop(PATIENCE).await;
    assert_eq!(boss.got().len(), 3, "three times, then no more");
    assert!(boss.got().iter().all(|got| got.json()["data"]["application"] == "checkout"));
    assert_eq!(team.got().len(), 2);
}

#[tokio::test]
async fn a_lost_message_is_told_to_the_other_channels() {
    let broken = Server::start(|_, _| StatusCode::UNPROCESSABLE_ENTITY.into_response()).await;
    let fine = Server::start(|_, _| ok("")).await;
    let secrets = Secrets::default().with("BROKEN", &broken.url).with("FINE", &fine.url);
    let text = format!("[notify]\n{}{}", hook("broken", ""), hook("fine", ""));
    let (notifier, running) =
        start(settings(&text, &secrets), &secrets, Arc::new(MemoryOutbox::default())).await;
    notifier.tell(paused("checkout")).await.unwrap();
    until("the report", async || kinds(&fine).contains(&"notice.channel_failing".to_owned()).then_some(()))
        .await;
    let state = notifier.state();
    assert_eq!(state[&("broken".to_owned(), String::new())].lost, 1);
    running.stop(PATIENCE).await;
    assert_eq!(broken.got().len(), 1, "a refused message is not tried again");
}

#[tokio::test]
async fn a_channel_that_is_gone_from_the_settings_loses_its_messages_aloud() {
    let outbox = Arc::new(MemoryOutbox::default());
    let delivery = release_guardian::adapters::notify::outbox::Delivery {
        message: Message::test(now()),
        channel: "old".to_owned(),
        recipient: String::new(),
        kept_at: now(),
    };
    outbox.keep(&[delivery]).await.unwrap();
    let secrets = Secrets::default();
    let (_notifier, running) = start(settings("[notify]\n", &secrets), &secrets, outbox.clone()).await;
    running.stop(PATIENCE).await;
    let ended = outbox.ended().await;
    assert!(matches!(&ended[0].1, Some(Ended::Lost(why)) if why.contains("no longer in the settings")));
}

//! What release systems are told while the daemon itself is in trouble: it
//! fails, falls, or never answers.

use reqwest::StatusCode;
use serde_json::{Value, json};

use super::{Role, site};

/// Flagger shows a denial in an event; a longer text would crowd it out.
const TEXT_CHARS_MAX: usize = 802;

#[tokio::test]
async fn flagger_gets_403_and_a_short_reason_when_the_guardian_itself_is_in_trouble() {
    let site = site(None).await;
    for (name, reason) in
        [("trouble", "the disk is full"), ("fall", "a fault of the guardian's own"), ("held", "no answer")]
    {
        // A stage at which a release is asked about, so that a no is a no.
        let canary = json!({"name": name, "namespace": "prod", "phase": "Progressing", "checksum": "7c9b"});
        for hook in ["gate", "rollout", "rollback"] {
            let path = format!("{}/flagger/pipeline-secret/{hook}", site.base);
            let answer = site.client.post(path).json(&canary).send().await.unwrap();
            assert_eq!(answer.status(), StatusCode::FORBIDDEN, "{name} {hook}");
            let text = answer.text().await.unwrap();
            assert!(text.contains(reason), "{name} {hook}: {text}");
            assert!(text.chars().count() <= TEXT_CHARS_MAX, "{name} {hook}: {} characters", text.len());
        }
    }
}

#[tokio::test]
async fn events_are_acknowledged_while_the_daemon_takes_none_up_to_a_bound() {
    let site = site(None).await;
    let path = format!("{}/flagger/pipeline-secret/event", site.base);
    let send = async |number: usize| {
        let message = format!("step {number}");
        let metadata = json!({"eventMessage": message, "eventType": "Normal", "timestamp": "1700000000000"});
        let event = json!({
            "name": "held", "namespace": "prod", "phase": "Progressing", "checksum": "7c9b", "metadata": metadata,
        });
        let answer = site.client.post(&path).json(&event).send().await.unwrap();
        (answer.status(), answer.text().await.unwrap())
    };
    let mut taken = 0;
    loop {
        match send(taken).await {
            (StatusCode::ACCEPTED, _) => taken += 1,
            (StatusCode::SERVICE_UNAVAILABLE, _) => break,
            (StatusCode::FORBIDDEN, text) if text.starts_with("too many calls") => {
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
            (status, text) => panic!("event {taken}: {status} {text}"),
        }
    }
    // The daemon never ends taking the first of them.
    assert!((256..=257).contains(&taken), "{taken}");
    let begun = site.stand.told().iter().filter(|line| line.contains("canary held")).count();
    assert_eq!(begun, 1);
}

#[tokio::test]
async fn a_measuring_system_gets_200_and_inconclusive_from_a_daemon_that_never_answers() {
    let site = site(Some(Role::Viewer)).await;
    let path = format!("{}/api/v1/verdict?application=shop&release=held", site.base);
    let answer = site.client.get(path).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    let body: Value = answer.json().await.unwrap();
    assert_eq!((&body["verdict"], &body["score"]), (&json!("inconclusive"), &json!(50)), "{body}");
    assert!(body["reason"].as_str().unwrap().contains("did not answer in time"), "{body}");
}

//! What is said twice, too late, or of a moment that cannot be meant.

use serde_json::{Value, json};

use super::guardian::{Guardian, World, until};
use super::now;

#[tokio::test(flavor = "multi_thread")]
async fn what_is_said_twice_is_done_once_and_what_cannot_be_meant_is_refused() {
    let world = World::new();
    let guardian = Guardian::start(&world).await;
    guardian.has_history(6.0).await;
    let mut order = world.order("r-1", &now());
    let machines = |order: &Value| order["batches"][0]["instances"].clone();
    let (first, second) = (machines(&order)[0].clone(), machines(&order)[1].clone());
    order["batches"] = json!([{"instances": [first]}]);
    let begin = async |key, order: &Value| guardian.post("/api/v1/releases", key, order).await;
    let told = |answer: &Value| answer["detail"].as_str().unwrap_or_default().to_owned();

    for (field, moment) in [("started_at", "2099-01-01T00:00:00Z"), ("started_at", "1999-01-01T00:00:00Z")] {
        let mut absurd = order.clone();
        absurd[field] = json!(moment);
        let (status, answer) = begin(None, &absurd).await;
        assert!(status == 400 && told(&answer).contains("is not believed"), "{status}: {answer}");
    }
    let (status, begun) = begin(Some("k"), &order).await;
    assert_eq!((status, &begun["warnings"]), (201, &Value::Null), "{begun}");
    let (status, again) = begin(Some("k"), &order).await;
    assert_eq!((status, &again["created"]), (200, &json!(false)), "the moments were filled in: {again}");

    let batch = async |body: Value| guardian.post("/api/v1/releases/shop/r-1/batches", None, &body).await;
    let (status, answer) = batch(json!({"instances": [second, second]})).await;
    assert!(status == 400 && told(&answer).contains("listed twice"), "{status}: {answer}");
    for moment in ["2099-01-01T00:00:00Z", "1999-01-01T00:00:00Z"] {
        let (status, answer) = batch(json!({"instances": [second], "started_at": moment})).await;
        assert!(status == 400 && told(&answer).contains("is not believed"), "{status}: {answer}");
    }
    until("the first batch is released", async || {
        let (status, answer) = batch(json!({"instances": [first]})).await;
        (status == 200 && answer["changed"] == false).then_some(())
    })
    .await;
    let (status, answer) = batch(json!({"instances": [second, "10.9.9.9:80"]})).await;
    assert_eq!((status, &answer["changed"]), (200, &json!(true)), "{answer}");
    assert!(answer["warnings"].to_string().contains("10.9.9.9:80"), "{answer}");

    let say = async |word: &str| {
        let path = format!("/api/v1/releases/shop/r-1/{word}");
        let (status, answer) = guardian.post(&path, None, &json!({})).await;
        assert_eq!(status, 200, "{word}: {answer}");
        answer["changed"].clone()
    };
    for (word, phase, path) in [("hold", "paused", "/pause"), ("resume", "watching", "/resume")] {
        assert_eq!(say(word).await, true);
        assert_eq!(say(word).await, false, "{word} is under way");
        guardian.wait_for_phase("r-1", phase).await;
        assert_eq!(say(word).await, false, "{word} stands");
        assert_eq!(world.system.keys(path).len(), 1);
    }

    say("finish").await;
    let (status, answer) = batch(json!({"instances": ["10.9.9.8:80"]})).await;
    assert!(status == 409 && told(&answer).contains("begin another release"), "{status}: {answer}");
    let onset = json!({"kind": "false_alarm", "onset": "1999-01-01T00:00:00Z"});
    let (status, answer) = guardian.post("/api/v1/releases/shop/r-1/feedback", None, &onset).await;
    assert!(status == 400 && told(&answer).contains("is not believed"), "{status}: {answer}");
    say("cancel").await;
    for key in [Some("k"), Some("another"), None] {
        let (status, answer) = begin(key, &order).await;
        assert!(status == 409 && told(&answer).contains("under another id"), "{key:?} {status}: {answer}");
    }
    let quality = guardian.get("/api/v1/quality").await.unwrap_or_default();
    let all = &quality["all"];
    assert_eq!(
        (&all["releases"], &all["unknown"], &all["passed"]),
        (&json!(1), &json!(1), &json!(0)),
        "{all}"
    );
}

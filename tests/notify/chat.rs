//! Chat channels against servers that answer as documented.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use axum::response::IntoResponse;
use release_guardian::adapters::notify::{self, Channel, Entry, Parcel, SendError};
use serde_json::{Value, json};

use super::support::{Got, Secrets, Server, crypto, log, now, ok, paused, settings, signer};

const TOKEN: &str = "0123456789abcdef-robot-token";
const SECRET: &str = "SECthe-robots-own-secret";

/// One channel of a kind, below `server`.
fn channel(kind: &str, server: &Server, more: &str) -> Arc<dyn Channel> {
    crypto();
    let _ = log();
    let secrets = Secrets::default()
        .with("URL", &format!("{}/robot/send?access_token={TOKEN}", server.url))
        .with("SECRET", SECRET)
        .with("SIGNING", "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD");
    let text = format!(
        "[notify]\n[[notify.channel]]\nname = \"chat\"\nkind = \"{kind}\"\nurl = \"${{URL}}\"\ntimeout = \"60s\"\n{more}"
    );
    let notify = settings(&text, &secrets);
    notify::channels(&notify, &secrets).map_err(|problems| format!("{problems:?}")).unwrap().0.remove(0).0
}

fn parcel() -> Parcel {
    let message = paused("checkout");
    let links = signer().links(&message, now());
    let page_url = Some("https://guardian.example.com/releases/checkout/r-20261".to_owned());
    Parcel {
        id: message.id.clone(),
        at: message.at,
        entries: vec![Entry { message, links, page_url }],
        omitted: 0,
    }
}

async fn send(channel: &Arc<dyn Channel>) -> Result<String, SendError> {
    channel.send(&parcel(), "", now()).await
}

/// What the server answers, against what is made of it.
async fn judged(kind: &str, status: u16, answer: &str) -> Result<String, SendError> {
    let (status, body) = (StatusCode::from_u16(status).unwrap(), answer.to_owned());
    let server = Server::start(move |_, _| (status, body.clone()).into_response()).await;
    let result = send(&channel(kind, &server, "")).await;
    if let Err(error) = &result {
        assert!(!error.to_string().contains(TOKEN), "{error}");
    }
    result
}

fn is_limited(result: Result<String, SendError>, seconds: u64) {
    let wanted = Duration::from_secs(seconds);
    assert!(
        matches!(&result, Err(SendError::RateLimited { retry_after, .. }) if *retry_after == wanted),
        "{result:?}"
    );
}

fn is_closed(result: Result<String, SendError>) {
    assert!(matches!(result, Err(SendError::Closed { .. })), "{result:?}");
}

fn is_refused(result: Result<String, SendError>) {
    assert!(matches!(result, Err(SendError::Refused { .. })), "{result:?}");
}

fn is_unavailable(result: Result<String, SendError>) {
    assert!(matches!(result, Err(SendError::Unavailable { .. })), "{result:?}");
}

#[tokio::test]
async fn dingtalk_gets_a_signed_card_and_the_address_does_not_grow() {
    let server = Server::start(|_, _| ok(r#"{"errcode":0,"errmsg":"ok"}"#)).await;
    let channel = channel("dingtalk", &server, "secret = \"${SECRET}\"");
    for _ in 0..3 {
        assert_eq!(send(&channel).await, Ok("errcode 0".to_owned()));
    }
    for got in server.got() {
        assert_eq!(got.query("access_token"), [TOKEN]);
        let (timestamp, sign) = (got.query("timestamp"), got.query("sign"));
        assert_eq!((timestamp.len(), sign.len()), (1, 1));
        // Computed here again, from what the robot's documentation says.
        let text = format!("{}\n{SECRET}", timestamp[0]);
        assert_eq!(sign[0], hmac_base64(SECRET.as_bytes(), text.as_bytes()));
        let body = got.json();
        assert_eq!(body["msgtype"], "actionCard");
        let card = &body["actionCard"];
        assert!(card["title"].as_str().unwrap().contains("checkout 2.4.1"));
        assert!(card["text"].as_str().unwrap().contains("0.21 % → 4.13 %"));
        assert!(card["text"].as_str().unwrap().contains('█'), "a chart in blocks");
        assert_eq!(card["btns"].as_array().unwrap().len(), 6);
    }
}

fn hmac_base64(key: &[u8], text: &[u8]) -> String {
    use base64::Engine;
    use hmac::{KeyInit, Mac};
    let mut mac = hmac::Hmac::<sha2::Sha256>::new_from_slice(key).unwrap();
    mac.update(text);
    base64::engine::general_purpose::STANDARD.encode(mac.finalize().into_bytes())
}

#[tokio::test]
async fn dingtalk_mentions_people_in_the_text_too() {
    let server = Server::start(|_, _| ok(r#"{"errcode":0}"#)).await;
    send(&channel("dingtalk", &server, "mention = [\"13800000000\"]")).await.unwrap();
    let body = server.got()[0].json();
    assert_eq!(body["msgtype"], "markdown");
    assert_eq!(body["at"]["atMobiles"], json!(["13800000000"]));
    let text = body["markdown"]["text"].as_str().unwrap();
    assert!(text.contains("@13800000000") && text.contains("](https://guardian.example.com/links/"));
}

#[tokio::test]
async fn dingtalk_errors_inside_of_http_200_are_seen() {
    is_closed(judged("dingtalk", 200, r#"{"errcode":310000,"errmsg":"sign not match"}"#).await);
    is_limited(judged("dingtalk", 200, r#"{"errcode":130101,"errmsg":"send too fast"}"#).await, 600);
    is_unavailable(judged("dingtalk", 200, r#"{"errcode":-1,"errmsg":"system busy"}"#).await);
    is_refused(judged("dingtalk", 200, r#"{"errcode":400105,"errmsg":"unsupported msgtype"}"#).await);
    is_unavailable(judged("dingtalk", 200, "<html>a proxy</html>").await);
    is_unavailable(judged("dingtalk", 502, r#"{"errcode":0}"#).await);
}

#[tokio::test]
async fn feishu_gets_a_signed_card_with_a_chart_and_buttons() {
    let server = Server::start(|_, _| ok(r#"{"code":0,"msg":"success","data":{}}"#)).await;
    let channel = channel("feishu", &server, "secret = \"${SECRET}\"\nlanguage = \"zh\"");
    assert_eq!(send(&channel).await, Ok("code 0".to_owned()));
    let got = &server.got()[0];
    let body = got.json();
    let timestamp = body["timestamp"].as_str().unwrap();
    assert_eq!(body["sign"], hmac_base64(format!("{timestamp}\n{SECRET}").as_bytes(), b""));
    assert!(timestamp.len() == 10, "seconds, not milliseconds: {timestamp}");
    assert_eq!(
        (&body["msg_type"], &body["card"]["header"]["template"]),
        (&json!("interactive"), &json!("red"))
    );
    let elements = body["card"]["elements"].as_array().unwrap();
    let tags: Vec<&str> = elements.iter().map(|element| element["tag"].as_str().unwrap()).collect();
    assert_eq!(tags, ["markdown", "chart", "action"]);
    assert!(elements[1]["chart_spec"]["data"]["values"].as_array().unwrap().len() > 40);
    assert_eq!(elements[2]["actions"].as_array().unwrap().len(), 6);
    assert!(got.body.len() < 20_000, "{} bytes", got.body.len());
}

#[tokio::test]
async fn feishu_codes_in_the_body_are_seen_in_both_forms() {
    assert!(judged("feishu", 200, r#"{"StatusCode":0,"StatusMessage":"success"}"#).await.is_ok());
    is_closed(
        judged(
            "feishu",
            200,
            r#"{"code":19021,"msg":"sign match fail or timestamp is not within one hour"}"#,
        )
        .await,
    );
    is_limited(judged("feishu", 200, r#"{"code":11232,"msg":"frequency limited"}"#).await, 60);
    is_refused(judged("feishu", 400, r#"{"code":9499,"msg":"Bad Request"}"#).await);
    is_unavailable(judged("feishu", 200, "{}").await);
}

#[tokio::test]
async fn wecom_never_gets_more_than_it_takes_and_the_links_stay_whole() {
    let server = Server::start(|_, _| ok(r#"{"errcode":0,"errmsg":"ok"}"#)).await;
    let channel = channel("wecom", &server, "language = \"zh\"");
    let mut long = parcel();
    long.entries[0].message.reasons.iter_mut().for_each(|reason| reason.signal = "指标".repeat(600));
    channel.send(&long, "", now()).await.unwrap();
    let body = server.got()[0].json();
    let text = body["markdown"]["content"].as_str().unwrap();
    assert!(text.len() <= 4096, "{} bytes", text.len());
    for link in &long.entries[0].links {
        assert!(text.contains(&format!("({})", link.url)), "{:?} is missing", link.action);
    }
    assert_eq!(body["msgtype"], "markdown");
    assert_eq!(server.got()[0].query("access_token"), [TOKEN], "the key stays in the address");
}

#[tokio::test]
async fn wecom_errors_inside_of_http_200_are_seen() {
    let good = r#"{"errcode":0,"errmsg":"ok"}"#;
    assert_eq!(judged("wecom", 200, good).await, Ok("errcode 0".to_owned()));
    is_closed(judged("wecom", 200, r#"{"errcode":93000,"errmsg":"invalid webhook url"}"#).await);
    is_limited(judged("wecom", 200, r#"{"errcode":45009,"errmsg":"api freq out of limit"}"#).await, 60);
    is_unavailable(judged("wecom", 200, r#"{"errcode":-1,"errmsg":"system busy"}"#).await);
    is_refused(judged("wecom", 200, r#"{"errcode":40008,"errmsg":"invalid message type"}"#).await);
    is_unavailable(judged("wecom", 200, "<html>a proxy</html>").await);
    is_unavailable(judged("wecom", 502, good).await);
}

#[tokio::test]
async fn slack_gets_blocks_within_its_limits_and_says_ok() {
    let server = Server::start(|_, _| ok("ok")).await;
    let channel = channel("slack", &server, "");
    let mut hostile = parcel();
    hostile.entries[0].message.reasons[0].signal = "<!channel> & <http://evil|x>".to_owned();
    assert_eq!(channel.send(&hostile, "", now()).await, Ok("ok".to_owned()));
    let body = server.got()[0].json();
    let text = body.to_string();
    assert!(text.contains("&lt;!channel&gt; &amp; &lt;http://evil|x&gt;") && !text.contains("<!channel>"));
    let blocks = body["blocks"].as_array().unwrap();
    assert_eq!(blocks[0]["text"]["type"], "plain_text");
    for block in blocks {
        assert!(block["text"]["text"].as_str().unwrap().chars().count() <= 3000);
    }
    assert_eq!(text.matches("<https://guardian.example.com/links/").count(), 5);
    assert_eq!(body["unfurl_links"], false);
}

#[tokio::test]
async fn slack_answers_are_told_apart() {
    is_refused(judged("slack", 400, "invalid_payload").await);
    is_closed(judged("slack", 403, "action_prohibited").await);
    is_closed(judged("slack", 404, "no_service").await);
    is_closed(judged("slack", 410, "channel_is_archived").await);
    is_unavailable(judged("slack", 200, "<html>sign in</html>").await);
    is_unavailable(judged("slack", 503, "").await);
    let server =
        Server::start(|_, _| (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "7")]).into_response()).await;
    is_limited(send(&channel("slack", &server, "")).await, 7);
}

#[tokio::test]
async fn a_webhook_is_signed_so_that_the_reference_implementation_believes_it() {
    let server = Server::start(|_, _| StatusCode::ACCEPTED.into_response()).await;
    let channel = channel("webhook", &server, "secret = \"${SIGNING}\"");
    assert_eq!(send(&channel).await, Ok("HTTP 202".to_owned()));
    let got: Got = server.got().remove(0);
    standardwebhooks::Webhook::new("whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD")
        .unwrap()
        .verify(&got.body, &got.headers)
        .unwrap();
    assert_eq!(got.headers["idempotency-key"], got.headers["webhook-id"]);
    let body = got.json();
    assert_eq!((&body["type"], &body["data"]["severity"]), (&json!("notice.pausing"), &json!("critical")));
    assert_eq!(body["data"]["reasons"][0]["release_after"], json!(0.0413));
    assert_eq!(body["data"]["decision"]["action"], "pause");
    assert!(body["data"]["links"]["resume"].as_str().unwrap().contains("/links/"));
}

#[tokio::test]
async fn a_webhooks_headline_and_text_are_in_its_channels_language() {
    let server = Server::start(|_, _| ok("")).await;
    send(&channel("webhook", &server, "language = \"zh\"")).await.unwrap();
    let data = server.got()[0].json()["data"].clone();
    assert_eq!(data["headline"], "checkout 2.4.1 正在暂停发布");
    assert_eq!(data["text"], "已下令暂停此次发布，尚待发布系统确认。");
}

#[tokio::test]
async fn a_webhook_follows_no_redirect_and_ends_on_gone() {
    let other = Server::start(|_, _| ok("")).await;
    let to = other.url.clone();
    let server =
        Server::start(move |_, _| (StatusCode::FOUND, [("location", to.clone())]).into_response()).await;
    is_unavailable(send(&channel("webhook", &server, "")).await);
    assert!(other.got().is_empty());
    is_closed(judged("webhook", 410, "").await);
    is_refused(judged("webhook", 422, "no such field").await);
}

#[tokio::test]
async fn a_body_of_ones_own_is_sent_as_it_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("body.json");
    std::fs::write(&file, r#"{"title": {{ headline | tojson }}, "n": {{ reasons | length }}}"#).unwrap();
    let server = Server::start(|_, _| ok("")).await;
    let channel = channel("webhook", &server, &format!("templates = {{ body = {file:?} }}"));
    send(&channel).await.unwrap();
    assert_eq!(server.got()[0].json(), json!({"title": "checkout 2.4.1 is being paused", "n": 3}));
}

#[tokio::test]
async fn broken_templates_are_refused_before_they_are_needed() {
    let folder = tempfile::tempdir().unwrap();
    let cases = BTreeMap::from([
        ("{{ headlin }}", "undefined"),
        ("{{ reasons[0].signal }}", "undefined"),
        ("{\"a\": {{ headline }} {{ headline }}}", "no JSON"),
        ("{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}", "fuel"),
    ]);
    for (template, expected) in cases {
        let file = folder.path().join("t");
        std::fs::write(&file, template).unwrap();
        let secrets = Secrets::default().with("URL", "http://localhost/");
        let text = format!(
            "[notify]\n[[notify.channel]]\nname = \"hook\"\nkind = \"webhook\"\nurl = \"${{URL}}\"\ntemplates = {{ body = {file:?} }}\n"
        );
        let problems = notify::check_templates(&settings(&text, &secrets)).unwrap_err();
        let said = problems[0].to_string();
        assert!(said.contains("hook") && said.contains(expected), "{template}: {said}");
    }
}

#[tokio::test]
async fn secrets_are_in_no_error_and_no_log() {
    let reply = format!("rejected: access_token={TOKEN} sign with {SECRET}");
    let body = json!({"errcode": 400_000, "errmsg": reply}).to_string();
    let server = Server::start(move |_, _| ok(body.clone())).await;
    let refused =
        send(&channel("dingtalk", &server, "secret = \"${SECRET}\"")).await.unwrap_err().to_string();
    let nobody = Server { url: "http://127.0.0.1:9".to_owned(), ..server.clone() };
    let unreachable = send(&channel("slack", &nobody, "")).await.unwrap_err().to_string();
    assert!(refused.contains("***"), "{refused}");
    let _: Value = server.got()[0].json();
    for text in [refused, unreachable, log().text()] {
        for secret in [TOKEN, SECRET, "C2FVsBQIhrscChlQIMV", super::support::LINK_SECRET] {
            let around = text
                .find(secret)
                .map(|at| text[at.saturating_sub(200)..].chars().take(400).collect::<String>());
            assert_eq!(around, None, "a secret is shown");
        }
    }
}

//! Flagger: its hooks as it calls them, with its rules for status codes, and a
//! Canary that is suspended and let go on.

use serde_json::{Value, json};

use release_guardian::adapters::clock;
use release_guardian::adapters::release_system::{Attempt, ReadBack};
use release_guardian::guard::CommandKind;

use crate::cluster::{Cluster, TOKEN as CLUSTER_TOKEN, attempt, read_back, refused};
use crate::guardian::{Guardian, World, command, until};

const CANARY: &str = "/apis/flagger.app/v1beta1/namespaces/prod/canaries/shop";
const TOKEN: &str = "flagger-has-a-long-token";

fn canary(phase: &str, with_hook: bool) -> Value {
    let hook =
        json!({"name": "back", "type": "rollback", "url": "http://guardian:8750/flagger/secret/rollback"});
    json!({
        "metadata": {"name": "shop", "namespace": "prod"},
        "spec": {"analysis": {"webhooks": if with_hook { vec![hook] } else { vec![] }}},
        "status": {"phase": phase, "canaryWeight": 20},
    })
}

fn cluster(phase: &str, with_hook: bool) -> Cluster {
    let cluster = Cluster::start();
    cluster.put(CANARY, canary(phase, with_hook));
    cluster
}

#[tokio::test]
async fn a_canary_is_suspended_and_let_go_on_by_merge_patches() {
    let cluster = cluster("Progressing", true);
    let system = cluster.open("flagger", "shop");
    assert!(matches!(attempt(&*system, CommandKind::Pause).await, Attempt::Taken { .. }));
    let kind = "application/merge-patch+json".to_owned();
    assert_eq!(cluster.patches(), [(CANARY.to_owned(), kind, json!({"spec": {"suspend": true}}))]);
    assert_eq!(read_back(&*system, CommandKind::Pause).await, ReadBack::Done);
    assert!(matches!(attempt(&*system, CommandKind::Resume).await, Attempt::Taken { .. }));
    assert_eq!(cluster.object(CANARY)["spec"]["suspend"], false);
    assert_eq!(read_back(&*system, CommandKind::Resume).await, ReadBack::Done);
}

#[tokio::test]
async fn a_rollback_ends_the_suspension_and_is_done_when_flagger_says_failed() {
    let cluster = cluster("Progressing", true);
    let system = cluster.open("flagger", "shop");
    attempt(&*system, CommandKind::Pause).await;
    assert!(matches!(attempt(&*system, CommandKind::Rollback).await, Attempt::Taken { .. }));
    assert_eq!(cluster.object(CANARY)["spec"]["suspend"], false, "suspended it asks no hook");
    let ReadBack::NotYet { state } = read_back(&*system, CommandKind::Rollback).await else {
        panic!("the phase is not Failed yet")
    };
    assert!(state.contains("Progressing at weight 20"), "{state}");
    cluster.with(|state| state.objects.get_mut(CANARY).unwrap()["status"]["phase"] = json!("Failed"));
    assert_eq!(read_back(&*system, CommandKind::Rollback).await, ReadBack::Done);
}

#[tokio::test]
async fn a_rollback_that_flagger_would_never_ask_about_is_refused_without_the_hooks_address() {
    for (phase, with_hook, expected) in [
        ("Progressing", false, "webhook of type rollback"),
        ("Promoting", true, "by Git"),
        ("Succeeded", true, "by Git"),
    ] {
        let cluster = cluster(phase, with_hook);
        let system = cluster.open("flagger", "shop");
        let reason = refused(attempt(&*system, CommandKind::Rollback).await);
        assert!(reason.contains(expected) && !reason.contains("secret"), "{phase}: {reason}");
        assert!(cluster.patches().is_empty(), "{phase}");
    }
}

#[tokio::test]
async fn a_conflict_is_tried_again_and_a_missing_right_is_named() {
    let cluster = cluster("Progressing", true);
    let system = cluster.open("flagger", "shop");
    cluster.with(|state| state.conflicts = 2);
    assert!(matches!(attempt(&*system, CommandKind::Pause).await, Attempt::Taken { .. }));
    cluster.with(|state| state.forbidden = vec![("patch", "canaries")]);
    let reason = refused(attempt(&*system, CommandKind::Resume).await);
    assert!(reason.contains("patch canaries (API group flagger.app) in namespace prod"), "{reason}");
}

/// A fleet as Flagger has it: two machines of the Canary, four of its primary.
struct Stage {
    world: World,
    cluster: Cluster,
    guardian: Guardian,
}

impl Stage {
    async fn start(more: &str) -> Self {
        let world = World::new();
        let cluster = cluster("Progressing", true);
        let text = std::fs::read_to_string(world.settings()).unwrap();
        let (before, _) = text.split_once("[application.release_system]").unwrap();
        let server = "[server]\nanonymous = \"admin\"\ntoken = [\
             { name = \"flagger\", role = \"pipeline\", secret = \"${FLAGGER}\" }, \
             { name = \"looker\", role = \"viewer\", secret = \"${VIEWER}\" }]\n"
            .to_owned();
        let mut settings = before.replace("[server]\n", &server);
        let line = settings.lines().find(|line| line.starts_with("static = ")).unwrap().to_owned();
        let names: Vec<String> = world.targets.iter().map(|target| format!("{:?}", target.name())).collect();
        let workload = |names: &[String], app: &str| {
            let names = names.join(", ");
            format!("{{ targets = [{names}], labels = {{ job = \"shop\", app = {app:?} }} }}")
        };
        let (new, old) = (workload(&names[..2], "shop"), workload(&names[2..], "shop-primary"));
        settings = settings.replace(&line, &format!("static = [{new}, {old}]"));
        settings.push_str(&cluster.settings("flagger", "shop"));
        settings.push_str(more);
        std::fs::write(world.settings(), settings).unwrap();
        let mut command = command(&world.settings());
        command.env("TOKEN", CLUSTER_TOKEN);
        command.env("FLAGGER", TOKEN).env("VIEWER", "a-viewer-has-a-token-too");
        let guardian = Guardian::start_as(&world, &mut command).await;
        guardian.has_history(6.0).await;
        Self { world, cluster, guardian }
    }

    /// A call as Flagger makes it; the status and the text.
    async fn call_as(&self, token: &str, hook: &str, body: String) -> (u16, String) {
        let url = format!("{}/flagger/{token}/{hook}", self.guardian.base);
        let request = self.guardian.client.post(url).header("Content-Type", "application/json").body(body);
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        assert_ne!(status, 204, "Flagger takes 204 as a failure");
        assert!(status != 429 && status < 500, "Flagger repeats {status} and loses its text");
        (status, answer.text().await.unwrap())
    }

    async fn hook(&self, hook: &str, phase: &str, checksum: &str) -> (u16, String) {
        let body = json!({"name": "shop", "namespace": "prod", "phase": phase, "checksum": checksum});
        self.call_as(TOKEN, hook, body.to_string()).await
    }

    async fn event(&self, phase: &str, checksum: &str, message: &str) -> u16 {
        let body = json!({
            "name": "shop", "namespace": "prod", "phase": phase, "checksum": checksum,
            "metadata": {
                "eventMessage": message, "eventType": "Normal", "timestamp": clock::now().as_millis().to_string(),
            },
        });
        self.call_as(TOKEN, "event", body.to_string()).await.0
    }

    async fn phase(&self, id: &str) -> Option<String> {
        Some(self.guardian.release(id).await?["summary"]["phase"].as_str()?.to_owned())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_begins_with_the_first_call_and_ends_with_flaggers_word_and_each_try_is_its_own() {
    let stage = Stage::start("").await;
    // Nothing is rolled out: the gate lets it, the rollback hook never.
    assert_eq!(stage.hook("gate", "Initialized", "7c9b").await.0, 200);
    assert_eq!(stage.hook("rollback", "Waiting", "7c9b").await.0, 403);
    // A gate in Progressing without a release begins it.
    let (status, text) = stage.hook("gate", "Progressing", "7c9b").await;
    assert_eq!(status, 200, "{text}");
    assert!(text.contains("\"verdict\""), "{text}");
    let release = stage.guardian.release("shop-7c9b-1").await.unwrap();
    let names: Vec<String> = stage.world.targets.iter().map(|target| target.name()).collect();
    assert_eq!(release["order"]["batches"][0]["instances"], json!(names[..2]));
    assert_eq!(release["order"]["reference"], json!(names[2..]));
    for hook in ["rollout", "gate"] {
        assert_eq!(stage.hook(hook, "Progressing", "7c9b").await.0, 200);
    }
    assert_eq!(stage.hook("rollback", "Progressing", "7c9b").await.0, 403, "a good release stays");
    // Nothing of it can have been judged at its first call.
    let (status, text) = stage.hook("gate?pending=hold", "Progressing", "none").await;
    assert!(status == 403 && text.contains("the guardian says pending: "), "{status} {text}");

    // Another version came before this one ended, then the new one ends.
    until("the earlier run is given up", async || {
        (stage.phase("shop-7c9b-1").await? == "cancelled").then_some(())
    })
    .await;
    assert_eq!(stage.event("Progressing", "none", "New revision detected!").await, 202);
    assert_eq!(stage.event("Finalising", "none", "Promotion completed! Scaling down shop.prod").await, 202);
    until("the watch is over at once", async || {
        (stage.phase("shop-none-2").await? == "finished").then_some(())
    })
    .await;
    // The same version once more is another release.
    assert_eq!(stage.hook("gate", "Progressing", "none").await.0, 200);
    assert_eq!(stage.phase("shop-none-3").await.as_deref(), Some("watching"));
    assert_eq!(stage.event("Failed", "none", "Canary failed! Scaling down shop.prod").await, 202);
    until("it is given up", async || (stage.phase("shop-none-3").await? == "cancelled").then_some(())).await;
    assert!(stage.guardian.release("shop-none-4").await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_token_and_a_call_that_makes_no_sense_get_a_no_and_no_token_is_shown() {
    let stage = Stage::start("").await;
    let good = json!({"name": "shop", "namespace": "prod", "phase": "Progressing", "checksum": "7c9b"});
    for hook in ["gate", "rollout", "rollback", "event"] {
        assert_eq!(stage.call_as("flagger-has-a-wrong-token", hook, good.to_string()).await.0, 401, "{hook}");
        assert_eq!(stage.call_as("a-viewer-has-a-token-too", hook, good.to_string()).await.0, 403, "{hook}");
        for body in ["", "{", "[1]", r#"{"name": "shop"}"#] {
            let (status, text) = stage.call_as(TOKEN, hook, body.to_owned()).await;
            assert_eq!(status, 403, "{hook} {body:?}: {text}");
            assert!(text.starts_with("the body is not what is expected: "), "{text}");
        }
        let huge = format!("{{\"name\": \"{}\"}}", "x".repeat(5 << 20));
        // What is too long is left unread; the next call comes on another connection.
        assert_eq!(stage.call_as(TOKEN, hook, huge).await.0, 413, "{hook}");
    }
    let other = json!({"name": "nobody", "namespace": "prod", "phase": "Progressing", "checksum": "7c9b"});
    for hook in ["gate", "rollout", "rollback"] {
        let (status, text) = stage.call_as(TOKEN, hook, other.to_string()).await;
        assert_eq!(status, 403, "{hook}");
        assert!(text.contains("canary nobody in namespace prod"), "{text}");
    }
    let (status, text) = stage.call_as(TOKEN, "gates", good.to_string()).await;
    assert_eq!((status, text.contains(TOKEN)), (404, false), "{text}");
    for path in [
        format!("/flagger/{TOKEN}/gate"),
        format!("/flagger/{TOKEN}/gate/more"),
        format!("/kayenta/{TOKEN}/x"),
    ] {
        let answer =
            stage.guardian.client.get(format!("{}{path}", stage.guardian.base)).send().await.unwrap();
        assert!(answer.status().is_client_error());
        assert!(!answer.text().await.unwrap().contains(TOKEN));
    }
    assert!(stage.guardian.get("/api/v1/releases").await.unwrap()["releases"].as_array().unwrap().is_empty());
    let log = stage.guardian.log();
    assert!(!log.contains(TOKEN) && !log.contains("flagger-has-a-wrong-token"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_release_gets_403_with_the_reason_unless_it_is_an_emergency() {
    let freeze =
        "\n[[freeze]]\nname = \"the annual sale\"\nzone = \"UTC\"\nfirst = 2020-01-01\nlast = 2099-12-31\n";
    let stage = Stage::start(freeze).await;
    for (hook, phase) in [
        ("gate", "Waiting"),
        ("gate", "Progressing"),
        ("rollout", "Progressing"),
        ("rollback", "Progressing"),
    ] {
        let (status, text) = stage.hook(hook, phase, "7c9b").await;
        assert_eq!(status, 403, "{hook} {phase}");
        assert!(text.contains("the annual sale"), "{text}");
    }
    assert!(stage.guardian.release("shop-7c9b-1").await.is_none());
    let urgent = json!({
        "name": "shop", "namespace": "prod", "phase": "Progressing", "checksum": "7c9b",
        "metadata": {"emergency": "true", "version": "2.1"},
    });
    let (status, text) = stage.call_as(TOKEN, "gate", urgent.to_string()).await;
    assert_eq!(status, 200, "{text}");
    let release = stage.guardian.release("shop-7c9b-1").await.unwrap();
    assert_eq!(release["summary"]["version"], "2.1");
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_acknowledged_and_a_repeated_one_changes_nothing() {
    let stage = Stage::start("").await;
    let at = clock::now().as_millis().to_string();
    let event = |phase: &str, n: usize| {
        let metadata = json!({"eventMessage": format!("step {n}"), "eventType": "Normal", "timestamp": at});
        json!({"name": "shop", "namespace": "prod", "phase": phase, "checksum": "7c9b", "metadata": metadata})
            .to_string()
    };
    // Each once, and the first again after all: it would begin another run.
    let first = event("Progressing", 0);
    assert_eq!(stage.call_as(TOKEN, "event", first.clone()).await.0, 202);
    until("the run has begun", async || stage.guardian.release("shop-7c9b-1").await).await;
    assert_eq!(stage.call_as(TOKEN, "event", event("Succeeded", 1)).await.0, 202);
    until("the watch is over", async || (stage.phase("shop-7c9b-1").await? == "finished").then_some(()))
        .await;
    for _ in 0..20 {
        assert_eq!(stage.call_as(TOKEN, "event", first.clone()).await.0, 202);
    }
    assert_eq!(stage.event("Terminated", "7c9b", "after those").await, 202);
    assert_eq!(stage.hook("gate", "Waiting", "7c9b").await.0, 200);
    assert!(stage.guardian.release("shop-7c9b-2").await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_canary_is_suspended_then_rolled_back_by_flagger_itself() {
    let stage = Stage::start("").await;
    stage.guardian.has_history(6.0 * 25.0).await;
    assert_eq!(stage.event("Progressing", "7c9b", "New revision detected! Scaling up shop.prod").await, 202);
    until("the run has begun", async || stage.guardian.release("shop-7c9b-1").await).await;
    stage.world.targets[..2].iter().for_each(|target| target.fail(0.33));
    // As Flagger does at each check: nothing while suspended, then the hooks.
    let mut refusals = Vec::new();
    until("Flagger was told to roll back", async || {
        if stage.cluster.object(CANARY)["spec"]["suspend"] == true {
            for hook in ["gate", "rollout"] {
                let (status, text) = stage.hook(hook, "Progressing", "7c9b").await;
                refusals.push((hook, status, text));
            }
            return None;
        }
        (stage.hook("rollback", "Progressing", "7c9b").await.0 == 200).then_some(())
    })
    .await;
    let denied = refusals.iter().find(|(hook, status, _)| *hook == "gate" && *status == 403);
    let (_, _, text) = denied.unwrap_or_else(|| panic!("{refusals:?} {}", stage.guardian.log()));
    assert!(text.contains("the guardian says"), "{text}");
    assert!(refusals.iter().any(|(hook, status, _)| *hook == "rollout" && *status == 409), "{refusals:?}");
    // Flagger says so before it is done: that is no end given by others.
    assert_eq!(stage.event("Failed", "7c9b", "Canary failed! Scaling down shop.prod").await, 202);
    assert_eq!(stage.hook("gate", "Progressing", "7c9b").await.0, 403, "it ends before another try begins");
    assert_eq!(stage.phase("shop-7c9b-1").await.as_deref(), Some("rolling_back"));
    stage.cluster.with(|state| state.objects.get_mut(CANARY).unwrap()["status"]["phase"] = json!("Failed"));
    let release = stage.guardian.wait_for_phase("shop-7c9b-1", "rolled_back").await;
    let kinds: Vec<&Value> =
        release["commands"].as_array().unwrap().iter().map(|c| &c["command"]["kind"]).collect();
    assert_eq!(kinds, ["pause", "rollback"], "{}", stage.guardian.log());
}

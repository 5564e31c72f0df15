//! Argo Rollouts: the answer of its `web` metric, and a Rollout that is
//! paused, resumed, aborted.

use serde_json::{Value, json};
use sqlx::Connection as _;

use release_guardian::adapters::release_system::{Attempt, ReadBack};
use release_guardian::guard::CommandKind;

use crate::cluster::{Cluster, Effect, attempt, read_back, refused};

const ROLLOUT: &str = "/apis/argoproj.io/v1alpha1/namespaces/prod/rollouts/cart";

fn cluster() -> Cluster {
    let cluster = Cluster::start();
    let rollout = json!({
        "metadata": {"name": "cart", "namespace": "prod"},
        "spec": {"replicas": 5, "strategy": {"canary": {"steps": [{"setWeight": 20}]}}},
        "status": {
            "observedGeneration": "1", "phase": "Progressing", "stableRS": "6d4f", "currentPodHash": "7c9b",
        },
    });
    cluster.put(ROLLOUT, rollout);
    cluster
}

fn taken(attempt: Attempt) {
    assert!(matches!(attempt, Attempt::Taken { .. }), "{attempt:?}");
}

#[tokio::test]
async fn a_pause_is_a_merge_patch_of_the_spec_under_our_name_and_is_read_back() {
    let cluster = cluster();
    let system = cluster.open("argo_rollouts", "cart");
    taken(attempt(&*system, CommandKind::Pause).await);
    let expected = json!({"spec": {"paused": true}});
    let kind = "application/merge-patch+json".to_owned();
    assert_eq!(cluster.patches(), [(ROLLOUT.to_owned(), kind, expected)]);
    let asked = cluster.with(|state| state.seen[0].clone());
    assert!(asked.path.ends_with("?fieldManager=release-guardian"), "{}", asked.path);
    assert_eq!(read_back(&*system, CommandKind::Pause).await, ReadBack::Done);
    assert!(matches!(read_back(&*system, CommandKind::Resume).await, ReadBack::NotYet { .. }));
}

#[tokio::test]
async fn an_abort_goes_into_the_status_and_ends_the_pause_after_it() {
    let cluster = cluster();
    let system = cluster.open("argo_rollouts", "cart");
    taken(attempt(&*system, CommandKind::Pause).await);
    taken(attempt(&*system, CommandKind::Rollback).await);
    let after: Vec<(String, Value)> =
        cluster.patches().into_iter().skip(1).map(|(path, _, body)| (path, body)).collect();
    let expected = [
        (format!("{ROLLOUT}/status"), json!({"status": {"abort": true}})),
        (ROLLOUT.to_owned(), json!({"spec": {"paused": false}})),
    ];
    assert_eq!(after, expected, "aborted first, so that it cannot go forward");
    assert_eq!(read_back(&*system, CommandKind::Rollback).await, ReadBack::Done);
}

#[tokio::test]
async fn without_a_status_subresource_the_object_itself_is_patched() {
    let cluster = cluster();
    cluster.with(|state| state.has_status = false);
    let system = cluster.open("argo_rollouts", "cart");
    taken(attempt(&*system, CommandKind::Rollback).await);
    let paths: Vec<String> = cluster.patches().into_iter().map(|(path, ..)| path).collect();
    assert_eq!(paths, [format!("{ROLLOUT}/status"), ROLLOUT.to_owned()]);
    assert_eq!(cluster.object(ROLLOUT)["status"]["abort"], true);
}

#[tokio::test]
async fn a_resume_ends_the_pause_of_an_analysis_and_keeps_that_of_the_author() {
    for (reason, remains) in [("InconclusiveAnalysisRun", false), ("CanaryPauseStep", true)] {
        let cluster = cluster();
        let mut rollout = cluster.object(ROLLOUT);
        rollout["spec"]["paused"] = json!(true);
        rollout["status"]["pauseConditions"] =
            json!([{"reason": reason, "startTime": "2026-03-01T03:00:00Z"}]);
        cluster.put(ROLLOUT, rollout);
        let system = cluster.open("argo_rollouts", "cart");
        taken(attempt(&*system, CommandKind::Resume).await);
        let rollout = cluster.object(ROLLOUT);
        assert_eq!(rollout["spec"]["paused"], false, "{reason}");
        assert_eq!(rollout["status"]["pauseConditions"].is_array(), remains, "{reason}");
        assert_eq!(read_back(&*system, CommandKind::Resume).await, ReadBack::Done, "{reason}");
    }
}

#[tokio::test]
async fn conflicts_are_tried_again_and_refusals_are_not() {
    let cluster = cluster();
    let system = cluster.open("argo_rollouts", "cart");
    cluster.with(|state| state.conflicts = 3);
    taken(attempt(&*system, CommandKind::Pause).await);
    assert_eq!(cluster.patches().len(), 4);
    cluster.with(|state| state.conflicts = 100);
    let busy = attempt(&*system, CommandKind::Pause).await;
    assert!(matches!(&busy, Attempt::Failed { reason, .. } if reason.contains("409")), "{busy:?}");
    cluster.with(|state| state.conflicts = 0);

    for (code, again) in [(422, false), (400, false), (405, false), (500, true), (503, true), (429, true)] {
        let before = cluster.patches().len();
        cluster.with(|state| state.trouble = vec![code]);
        let result = attempt(&*system, CommandKind::Pause).await;
        assert_eq!(matches!(result, Attempt::Failed { .. }), again, "{code}: {result:?}");
        assert_eq!(cluster.patches().len(), before + 1, "{code}: one request");
    }
}

#[tokio::test]
async fn a_missing_right_is_named_as_a_role_writes_it() {
    for (forbidden, kind, right) in [
        (
            ("patch", "rollouts"),
            CommandKind::Pause,
            "patch rollouts (API group argoproj.io) in namespace prod",
        ),
        (
            ("patch", "rollouts/status"),
            CommandKind::Rollback,
            "patch rollouts/status (API group argoproj.io) in namespace prod",
        ),
        (
            ("get", "rollouts"),
            CommandKind::Rollback,
            "get rollouts (API group argoproj.io) in namespace prod",
        ),
    ] {
        let cluster = cluster();
        cluster.with(|state| state.forbidden = vec![forbidden]);
        let system = cluster.open("argo_rollouts", "cart");
        let reason = refused(attempt(&*system, kind).await);
        assert!(reason.contains(right) && reason.contains("cannot"), "{reason}");
    }
    let cluster = cluster();
    cluster.with(|state| state.forbidden = vec![("get", "rollouts")]);
    let system = cluster.open("argo_rollouts", "cart");
    taken(attempt(&*system, CommandKind::Pause).await);
    let unknown = read_back(&*system, CommandKind::Pause).await;
    assert!(
        matches!(&unknown, ReadBack::Unknown { reason } if reason.contains("get rollouts")),
        "{unknown:?}"
    );
}

#[tokio::test]
async fn an_effect_that_comes_late_or_never_is_not_called_done() {
    let cluster = cluster();
    let system = cluster.open("argo_rollouts", "cart");
    cluster.with(|state| state.effect = Effect::AfterReads(2));
    taken(attempt(&*system, CommandKind::Pause).await);
    for _ in 0..2 {
        let read = read_back(&*system, CommandKind::Pause).await;
        let ReadBack::NotYet { state } = read else { panic!("{read:?}") };
        assert!(state.contains("has not seen the change"), "{state}");
    }
    assert_eq!(read_back(&*system, CommandKind::Pause).await, ReadBack::Done);

    cluster.with(|state| state.effect = Effect::Never);
    taken(attempt(&*system, CommandKind::Rollback).await);
    for _ in 0..5 {
        assert!(matches!(read_back(&*system, CommandKind::Rollback).await, ReadBack::NotYet { .. }));
    }
}

#[tokio::test]
async fn what_is_fully_promoted_cannot_be_aborted_and_people_are_told_what_to_do() {
    let cluster = cluster();
    let mut rollout = cluster.object(ROLLOUT);
    rollout["status"]["stableRS"] = json!("7c9b");
    cluster.put(ROLLOUT, rollout);
    let system = cluster.open("argo_rollouts", "cart");
    let reason = refused(attempt(&*system, CommandKind::Rollback).await);
    assert!(reason.contains("kubectl argo rollouts undo cart -n prod"), "{reason}");
    assert!(cluster.patches().is_empty());
}

#[tokio::test]
async fn a_rollout_that_does_not_exist_is_a_refusal_and_a_silent_server_a_failure() {
    let cluster = cluster();
    let system = cluster.open("argo_rollouts", "chart");
    let reason = refused(attempt(&*system, CommandKind::Pause).await);
    assert!(reason.contains("rollouts chart in namespace prod does not exist"), "{reason}");
    let nobody = crate::cluster::open_as(
        "[application.release_system]\nkind = \"argo_rollouts\"\nnamespace = \"prod\"\n\
         api_server = \"http://127.0.0.1:1\"\ntoken = \"${TOKEN}\"\n",
        &crate::cluster::Place,
    );
    let failed = attempt(&*nobody.unwrap(), CommandKind::Pause).await;
    let Attempt::Failed { reason, .. } = failed else { panic!("{failed:?}") };
    assert!(!reason.contains(crate::cluster::TOKEN), "{reason}");
}

/// What Argo Rollouts makes of both conditions, for the two forms that the
/// template uses.
fn measured(success: &str, failure: &str, result: &Value) -> &'static str {
    let holds = |condition: &str| {
        let verdict = result["verdict"].as_str().unwrap();
        match condition.split_once(" in ") {
            Some(("result.verdict", list)) => {
                serde_json::from_str::<Vec<String>>(list).unwrap().iter().any(|word| word == verdict)
            }
            Some(_) => panic!("{condition} is not known here"),
            None => condition == format!("result.verdict == {verdict:?}"),
        }
    };
    match (holds(failure), holds(success)) {
        (true, _) => "Failed",
        (false, true) => "Successful",
        (false, false) => "Inconclusive",
    }
}

#[test]
fn the_analysis_template_rolls_back_on_rollback_alone_and_pauses_on_what_is_unclear() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/config/argo-analysis-template.yaml");
    let template: Value = serde_yaml_ng::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    assert_eq!(
        (&template["apiVersion"], &template["kind"]),
        (&json!("argoproj.io/v1alpha1"), &json!("AnalysisTemplate"))
    );
    let metric = &template["spec"]["metrics"][0];
    let web = &metric["provider"]["web"];
    assert_eq!((&web["method"], &web["jsonPath"]), (&json!("GET"), &json!("{$}")));
    assert!(
        web["url"].as_str().unwrap().contains("/api/v1/verdict?application={{args.application}}&release=")
    );
    assert!(template["spec"]["args"][2]["valueFrom"]["secretKeyRef"].is_object(), "no token stands in it");
    let (success, failure) =
        (metric["successCondition"].as_str().unwrap(), metric["failureCondition"].as_str().unwrap());
    for (verdict, expected) in [
        ("pass", "Successful"),
        ("pending", "Successful"),
        ("rollback", "Failed"),
        ("pause", "Inconclusive"),
        ("inconclusive", "Inconclusive"),
    ] {
        let word: release_guardian::adapters::guardian::GateWord =
            serde_json::from_value(json!(verdict)).unwrap();
        assert_eq!(word.word(), verdict);
        assert_eq!(measured(success, failure, &json!({ "verdict": verdict })), expected, "{verdict}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_web_metric_gets_200_and_json_whatever_is_asked() {
    let world = crate::guardian::World::new();
    let guardian = crate::guardian::Guardian::start(&world).await;
    for query in
        ["?application=shop&release=nobody", "?application=nobody&release=r", "?application=&release=%0a", ""]
    {
        let answer =
            guardian.client.get(format!("{}/api/v1/verdict{query}", guardian.base)).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), 200, "{query}");
        let body: Value = answer.json().await.unwrap();
        assert_eq!(
            (&body["verdict"], &body["score"]),
            (&json!("inconclusive"), &json!(50)),
            "{query}: {body}"
        );
        assert!(body["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{body}");
    }
    guardian.has_history(12.0).await;
    let order = world.order("r-1", &release_guardian::adapters::clock::now().to_string());
    assert_eq!(guardian.post("/api/v1/releases", None, &order).await.0, 201);
    let body = guardian.get("/api/v1/verdict?application=shop&release=r-1").await.unwrap();
    assert!(matches!(body["verdict"].as_str(), Some("pending" | "pass")), "{body}");
    assert_eq!(body["url"], "/releases/shop/r-1");
    guardian.post("/api/v1/releases/shop/r-1/rollback", None, &json!({})).await;
    guardian.wait_for_phase("r-1", "rolled_back").await;
    let body = guardian.get("/api/v1/verdict?application=shop&release=r-1").await.unwrap();
    assert_eq!(body["verdict"], "rollback", "{body}");
}

/// Sources and store are held until after the answers, so none can have waited
/// for them.
#[tokio::test(flavor = "multi_thread")]
async fn the_web_metric_is_answered_from_what_is_known_while_sources_and_store_are_held() {
    let world = crate::guardian::World::new();
    let guardian = crate::guardian::Guardian::start(&world).await;
    guardian.has_history(12.0).await;
    let order = world.order("r-1", &release_guardian::adapters::clock::now().to_string());
    assert_eq!(guardian.post("/api/v1/releases", None, &order).await.0, 201);
    crate::guardian::until("the release was judged", async || {
        let release = guardian.release("r-1").await?;
        (!release["verdict"].is_null()).then_some(())
    })
    .await;
    let path = world.folder.path().join("state/guardian.db");
    let options = sqlx::sqlite::SqliteConnectOptions::new()
        .filename(path)
        .busy_timeout(std::time::Duration::from_secs(300));
    let mut other = sqlx::sqlite::SqliteConnection::connect_with(&options).await.unwrap();
    sqlx::query("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
    world.targets.iter().for_each(crate::servers::Target::hang);
    let failed = "release_guardian_scrapes_total{application=\"shop\",outcome=\"failed\"}";
    crate::guardian::until("a source hangs", async || {
        guardian.metric(failed).await.filter(|failed| *failed >= 1.0)
    })
    .await;
    for _ in 0..20 {
        let body = guardian.get("/api/v1/verdict?application=shop&release=r-1").await.unwrap();
        let word = body["verdict"].as_str().unwrap();
        assert!(matches!(word, "pass" | "pending" | "inconclusive"), "{body}");
        assert!(!body["reason"].as_str().unwrap().contains("in time"), "{body}");
    }
    sqlx::query("ROLLBACK").execute(&mut other).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_that_takes_no_effect_is_told_to_people_with_what_to_do() {
    let world = crate::guardian::World::new();
    let cluster = cluster();
    cluster.with(|state| state.effect = Effect::Never);
    let text = std::fs::read_to_string(world.settings()).unwrap();
    let (before, _) = text.split_once("[application.release_system]").unwrap();
    let before = before.replace("command_deadline = \"60s\"", "command_deadline = \"5s\"");
    std::fs::write(world.settings(), before + &cluster.settings("argo_rollouts", "cart")).unwrap();
    let mut command = crate::guardian::command(&world.settings());
    let guardian =
        crate::guardian::Guardian::start_as(&world, command.env("TOKEN", crate::cluster::TOKEN)).await;
    guardian.has_history(6.0).await;
    let order = world.order("r-1", &release_guardian::adapters::clock::now().to_string());
    assert_eq!(guardian.post("/api/v1/releases", None, &order).await.0, 201);
    guardian.post("/api/v1/releases/shop/r-1/hold", None, &json!({})).await;
    let settlement = crate::guardian::until("the pause is given up", async || {
        let command = guardian.release("r-1").await?["commands"].get(0)?.clone();
        (!command["settlement"].is_null()).then(|| command["settlement"].clone())
    })
    .await;
    assert_eq!(settlement["settled"], "unreachable", "{settlement}");
    assert!(settlement["reason"].as_str().unwrap().contains("has not seen the change"), "{settlement}");
    crate::guardian::until("people are told", async || {
        guardian.log().contains("Pause it by hand in the release system").then_some(())
    })
    .await;
    assert!(!guardian.log().contains("it is paused"), "{}", guardian.log());
    let audit = guardian.release("r-1").await.unwrap()["audit"].to_string();
    assert!(audit.contains("not confirmed: pause, a person must act"), "{audit}");
    let page = format!("{}/releases/shop/r-1", guardian.base);
    let page = guardian.client.get(page).send().await.unwrap().text().await.unwrap();
    assert!(page.contains("The pause is not confirmed: look into the release system"), "{page}");
}

//! Kubernetes Deployments: paused, resumed, undone; and how the API server is
//! reached.

use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};

use release_guardian::adapters::release_system::{Attempt, ReadBack};
use release_guardian::config::Surroundings;
use release_guardian::guard::CommandKind;

use crate::cluster::{Cluster, Effect, Place, TOKEN, attempt, open_as, order, read_back, refused};

const DEPLOYMENT: &str = "/apis/apps/v1/namespaces/prod/deployments/cart";

fn replica_set(name: &str, revision: &str, image: &str, owner: &str) -> (String, Value) {
    let set = json!({
        "metadata": {
            "name": name,
            "annotations": {"deployment.kubernetes.io/revision": revision},
            "ownerReferences": [{"kind": "Deployment", "uid": owner, "controller": true}],
        },
        "spec": {"template": {
            "metadata": {"labels": {"app": "cart", "pod-template-hash": name}},
            "spec": {"containers": [{"name": "cart", "image": image}]},
        }},
    });
    (format!("/apis/apps/v1/namespaces/prod/replicasets/{name}"), set)
}

fn cluster() -> Cluster {
    let cluster = Cluster::start();
    let deployment = json!({
        "metadata": {
            "name": "cart", "namespace": "prod", "uid": "u-1",
            "annotations": {"deployment.kubernetes.io/revision": "12"},
        },
        "spec": {
            "replicas": 5,
            "selector": {
                "matchLabels": {"app": "cart"},
                "matchExpressions": [{"key": "tier", "operator": "In", "values": ["web", "api"]}],
            },
            "template": {
                "metadata": {"labels": {"app": "cart", "new": "yes"}},
                "spec": {"containers": [{"name": "cart", "image": "cart:12"}]},
            },
        },
        "status": {"observedGeneration": 1, "replicas": 6, "updatedReplicas": 2, "availableReplicas": 5},
    });
    cluster.put(DEPLOYMENT, deployment);
    // The revision before 12 is 9: those between were cleaned away or became newer ones.
    for (name, revision, image, owner) in [
        ("cart-a", "4", "cart:4", "u-1"),
        ("cart-b", "9", "cart:9", "u-1"),
        ("cart-c", "12", "cart:12", "u-1"),
        ("other", "11", "other:11", "u-2"),
    ] {
        let (path, set) = replica_set(name, revision, image, owner);
        cluster.put(&path, set);
    }
    cluster
}

fn taken(attempt: Attempt) {
    assert!(matches!(attempt, Attempt::Taken { .. }), "{attempt:?}");
}

#[tokio::test]
async fn a_deployment_is_paused_and_resumed_and_the_controller_must_have_seen_it() {
    let cluster = cluster();
    let system = cluster.open("kubernetes_deployment", "cart");
    cluster.with(|state| state.effect = Effect::AfterReads(1));
    taken(attempt(&*system, CommandKind::Pause).await);
    assert!(matches!(read_back(&*system, CommandKind::Pause).await, ReadBack::NotYet { .. }));
    assert_eq!(read_back(&*system, CommandKind::Pause).await, ReadBack::Done);
    cluster.with(|state| state.effect = Effect::AtOnce);
    taken(attempt(&*system, CommandKind::Resume).await);
    assert_eq!(read_back(&*system, CommandKind::Resume).await, ReadBack::Done);
    let bodies: Vec<Value> = cluster.patches().into_iter().map(|(_, _, body)| body).collect();
    assert_eq!(bodies, [json!({"spec": {"paused": true}}), json!({"spec": {"paused": false}})]);
}

#[tokio::test]
async fn an_undo_takes_the_template_of_the_next_lower_revision_of_its_own() {
    let cluster = cluster();
    let system = cluster.open("kubernetes_deployment", "cart");
    taken(attempt(&*system, CommandKind::Pause).await);
    taken(attempt(&*system, CommandKind::Rollback).await);
    let deployment = cluster.object(DEPLOYMENT);
    let template = &deployment["spec"]["template"];
    assert_eq!(template["spec"]["containers"][0]["image"], "cart:9");
    let labels = json!({"app": "cart"});
    assert_eq!(template["metadata"]["labels"], labels, "nothing of the new one is left, nor the hash");
    assert_eq!(deployment["spec"]["paused"], false, "a paused deployment would not be rolled out");
    assert_eq!(cluster.patches()[1].1, "application/json-patch+json");
    let listed = cluster
        .with(|state| state.seen.iter().find(|s| s.path.contains("replicasets")).unwrap().path.clone());
    assert!(listed.ends_with("?labelSelector=app%3Dcart%2Ctier+in+%28web%2Capi%29"), "{listed}");
    assert_eq!(read_back(&*system, CommandKind::Rollback).await, ReadBack::Done);
}

#[tokio::test]
async fn an_undo_that_is_sent_again_does_not_bring_the_bad_version_back() {
    let cluster = cluster();
    let system = cluster.open("kubernetes_deployment", "cart");
    taken(attempt(&*system, CommandKind::Rollback).await);
    // As the controller does: the old set is the newest revision now.
    let (path, set) = replica_set("cart-b", "13", "cart:9", "u-1");
    cluster.put(&path, set);
    let mut deployment = cluster.object(DEPLOYMENT);
    deployment["metadata"]["annotations"]["deployment.kubernetes.io/revision"] = json!("13");
    cluster.put(DEPLOYMENT, deployment);
    taken(attempt(&*system, CommandKind::Rollback).await);
    let image = |cluster: &Cluster| {
        cluster.object(DEPLOYMENT)["spec"]["template"]["spec"]["containers"][0]["image"].clone()
    };
    assert_eq!(image(&cluster), "cart:9");
    assert_eq!(cluster.patches().len(), 1);
    // Another command is another undo.
    let now = release_guardian::adapters::clock::now();
    taken(system.attempt(&order(CommandKind::Rollback, "cmd_2"), now).await);
    assert_eq!(image(&cluster), "cart:12");
}

#[tokio::test]
async fn an_undo_that_meets_another_change_is_prepared_anew() {
    let cluster = cluster();
    let system = cluster.open("kubernetes_deployment", "cart");
    cluster.with(|state| state.conflicts = 2);
    taken(attempt(&*system, CommandKind::Rollback).await);
    let reads =
        cluster.with(|state| state.seen.iter().filter(|s| s.method == "GET" && s.path == DEPLOYMENT).count());
    assert_eq!((cluster.patches().len(), reads), (3, 3), "read again before each try");
}

#[tokio::test]
async fn a_rollback_is_done_when_all_replicas_are_the_old_version_again() {
    let cluster = cluster();
    let system = cluster.open("kubernetes_deployment", "cart");
    cluster.with(|state| state.effect = Effect::Never);
    taken(attempt(&*system, CommandKind::Rollback).await);
    let read = read_back(&*system, CommandKind::Rollback).await;
    let ReadBack::NotYet { state } = read else { panic!("{read:?}") };
    assert!(state.contains("of 5 replicas 2 updated"), "{state}");
    let mut deployment = cluster.object(DEPLOYMENT);
    deployment["status"] =
        json!({"observedGeneration": 2, "replicas": 5, "updatedReplicas": 5, "availableReplicas": 4});
    cluster.put(DEPLOYMENT, deployment.clone());
    assert!(matches!(read_back(&*system, CommandKind::Rollback).await, ReadBack::NotYet { .. }));
    deployment["status"]["availableReplicas"] = json!(5);
    cluster.put(DEPLOYMENT, deployment);
    assert_eq!(read_back(&*system, CommandKind::Rollback).await, ReadBack::Done);
}

#[tokio::test]
async fn without_an_earlier_revision_or_the_right_to_see_it_the_undo_is_refused() {
    let cluster = cluster();
    cluster.with(|state| state.objects.retain(|path, _| !path.contains("replicasets")));
    let system = cluster.open("kubernetes_deployment", "cart");
    let reason = refused(attempt(&*system, CommandKind::Rollback).await);
    assert!(reason.contains("revisionHistoryLimit"), "{reason}");
    cluster.with(|state| state.forbidden = vec![("list", "replicasets")]);
    let reason = refused(attempt(&*system, CommandKind::Rollback).await);
    assert!(reason.contains("list replicasets (API group apps) in namespace prod"), "{reason}");
    assert!(cluster.patches().is_empty());
}

#[tokio::test]
async fn a_token_in_a_file_is_read_again_when_it_was_replaced() {
    let cluster = cluster();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, format!("{TOKEN}\n")).unwrap();
    let settings = format!(
        "[application.release_system]\nkind = \"kubernetes_deployment\"\nnamespace = \"prod\"\n\
         api_server = \"http://{}\"\ntoken_file = {file:?}\n",
        cluster.address
    );
    let system = open_as(&settings, &Place).unwrap();
    taken(attempt(&*system, CommandKind::Pause).await);
    cluster.with(|state| state.token = "the-next-token".to_owned());
    let refused = attempt(&*system, CommandKind::Pause).await;
    assert!(matches!(&refused, Attempt::Failed { reason, .. } if reason.contains("401")), "{refused:?}");
    std::fs::write(&file, "the-next-token").unwrap();
    taken(attempt(&*system, CommandKind::Pause).await);
    std::fs::remove_file(&file).unwrap();
    let gone = attempt(&*system, CommandKind::Pause).await;
    assert!(matches!(&gone, Attempt::Failed { reason, .. } if reason.contains("token file")), "{gone:?}");
}

/// The variables that a cluster gives to a pod.
struct Pod {
    port: Option<u16>,
}

impl Surroundings for Pod {
    fn variable(&self, name: &str) -> Option<String> {
        match name {
            "KUBERNETES_SERVICE_HOST" => self.port.map(|_| "127.0.0.1".to_owned()),
            "KUBERNETES_SERVICE_PORT" => self.port.map(|port| port.to_string()),
            _ => None,
        }
    }
    fn read(&self, path: &Path) -> std::io::Result<String> {
        std::fs::read_to_string(path)
    }
}

fn openssl(folder: &Path, arguments: &[&str]) {
    let done = std::process::Command::new("openssl").args(arguments).current_dir(folder).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

/// An API server with a certificate of its own authority, that answers one
/// deployment to everything.
fn tls_server(folder: &Path) -> u16 {
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    const KEY: [&str; 5] = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
    for authority in ["ca", "other"] {
        let (key, certificate) = (format!("{authority}.key"), format!("{authority}.crt"));
        let mut arguments = vec!["req", "-x509", "-keyout", &key, "-out", &certificate];
        arguments.extend(["-days", "2", "-subj", "/CN=Test-CA"]);
        arguments.extend(KEY);
        openssl(folder, &arguments);
    }
    let mut request = vec!["req", "-keyout", "key.pem", "-out", "api.csr", "-subj", "/CN=api"];
    request.extend(KEY);
    openssl(folder, &request);
    std::fs::write(folder.join("names"), "subjectAltName=IP:127.0.0.1\n").unwrap();
    let mut sign =
        vec!["x509", "-req", "-in", "api.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial"];
    sign.extend(["-out", "api.crt", "-days", "2", "-extfile", "names"]);
    openssl(folder, &sign);
    let _ = rustls::crypto::ring::default_provider().install_default();
    let certificates: Vec<CertificateDer<'static>> =
        CertificateDer::pem_file_iter(folder.join("api.crt")).unwrap().map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_file(folder.join("key.pem")).unwrap();
    let config =
        rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(certificates, key).unwrap();
    let config = Arc::new(config);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut session = rustls::ServerConnection::new(config.clone()).unwrap();
            let mut tls = rustls::Stream::new(&mut session, &mut stream);
            let mut request = [0; 8192];
            // A client that does not believe the certificate goes away.
            let Ok(read) = tls.read(&mut request) else { continue };
            let head = String::from_utf8_lossy(&request[..read]).to_ascii_lowercase();
            let known = head.contains(&format!("authorization: bearer {TOKEN}"));
            let (status, body) = if known { ("200 OK", "{\"metadata\": {}}") } else { ("401 No", "{}") };
            let length = body.len();
            let _ = write!(
                tls,
                "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
            );
            let _ = tls.flush();
        }
    });
    port
}

#[tokio::test]
async fn in_a_cluster_its_variables_its_authority_and_the_token_file_are_used() {
    let folder = tempfile::tempdir().unwrap();
    let port = tls_server(folder.path());
    std::fs::write(folder.path().join("token"), TOKEN).unwrap();
    let settings = |authority: &str| {
        format!(
            "[application.release_system]\nkind = \"kubernetes_deployment\"\nnamespace = \"prod\"\n\
             token_file = {:?}\nca_file = {:?}\n",
            folder.path().join("token"),
            folder.path().join(authority),
        )
    };
    let pod = Pod { port: Some(port) };
    let system = open_as(&settings("ca.crt"), &pod).unwrap();
    assert_eq!(system.target(), format!("https://127.0.0.1:{port}"));
    taken(attempt(&*system, CommandKind::Pause).await);
    let system = open_as(&settings("other.crt"), &pod).unwrap();
    let failed = attempt(&*system, CommandKind::Pause).await;
    assert!(matches!(failed, Attempt::Failed { .. }), "another authority is not believed: {failed:?}");
    let error = open_as(&settings("ca.crt"), &Pod { port: None }).err().unwrap();
    assert!(error.contains("KUBERNETES_SERVICE_HOST") && error.contains("api_server"), "{error}");
}

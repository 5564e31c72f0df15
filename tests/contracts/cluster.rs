//! An API server that behaves as the one of Kubernetes is documented to:
//! content types of patches, subresources, resource versions, rights, and
//! controllers that do what a spec says at once, late, or never.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

use release_guardian::adapters::release_system::{Attempt, CommandOrder, ReadBack, ReleaseSystem};
use release_guardian::adapters::release_systems::open;
use release_guardian::config::{Settings, Surroundings};
use release_guardian::domain::{ApplicationName, CommandId, ReleaseId, ReleaseKey};
use release_guardian::guard::{Command, CommandKind};

use crate::servers::{Reply, Seen, serve};

pub const TOKEN: &str = "a-token-of-the-cluster";

/// When controllers do what a spec says.
#[derive(Clone, Copy, PartialEq)]
pub enum Effect {
    AtOnce,
    /// After so many looks at the object.
    AfterReads(u32),
    Never,
}

pub struct State {
    /// By path.
    pub objects: BTreeMap<String, Value>,
    pub seen: Vec<Seen>,
    pub token: String,
    pub effect: Effect,
    /// So many patches meet another change.
    pub conflicts: u32,
    /// Verb and resource that the role does not hold.
    pub forbidden: Vec<(&'static str, &'static str)>,
    /// The definition of the kind has a status subresource.
    pub has_status: bool,
    /// Answered to the next requests instead of anything else.
    pub trouble: Vec<u16>,
    versions: u64,
}

#[derive(Clone)]
pub struct Cluster {
    pub address: SocketAddr,
    pub state: Arc<Mutex<State>>,
}

fn status(code: u16, reason: &str, message: &str) -> Reply {
    let body = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "code": code,
    });
    Some((code, body.to_string()))
}

impl Cluster {
    pub fn start() -> Self {
        let state = State {
            objects: BTreeMap::new(),
            seen: Vec::new(),
            token: TOKEN.to_owned(),
            effect: Effect::AtOnce,
            conflicts: 0,
            forbidden: Vec::new(),
            has_status: true,
            trouble: Vec::new(),
            versions: 100,
        };
        let state = Arc::new(Mutex::new(state));
        let answering = state.clone();
        let address = serve(move |seen| answering.lock().unwrap().answer(seen));
        Self { address, state }
    }

    pub fn put(&self, path: &str, mut object: Value) {
        let mut state = self.state.lock().unwrap();
        state.versions += 1;
        object["metadata"]["resourceVersion"] = json!(state.versions.to_string());
        if object["metadata"]["generation"].is_null() {
            object["metadata"]["generation"] = json!(1);
        }
        state.objects.insert(path.to_owned(), object);
    }

    pub fn object(&self, path: &str) -> Value {
        self.state.lock().unwrap().objects[path].clone()
    }

    pub fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state.lock().unwrap())
    }

    /// The patches that arrived: path without query, content type, body.
    pub fn patches(&self) -> Vec<(String, String, Value)> {
        let state = self.state.lock().unwrap();
        let patches = state.seen.iter().filter(|seen| seen.method == "PATCH");
        patches
            .map(|seen| {
                let path = seen.path.split('?').next().unwrap().to_owned();
                (path, seen.headers["content-type"].clone(), serde_json::from_str(&seen.body).unwrap())
            })
            .collect()
    }

    /// The settings of a release system in this cluster.
    pub fn settings(&self, kind: &str, name: &str) -> String {
        format!(
            "[application.release_system]\nkind = {kind:?}\nnamespace = \"prod\"\nname = {name:?}\n\
             api_server = \"http://{}\"\ntoken = \"${{TOKEN}}\"\ntimeout = \"60s\"\ninterval = \"100ms\"\n",
            self.address
        )
    }

    pub fn open(&self, kind: &str, name: &str) -> Arc<dyn ReleaseSystem> {
        open_as(&self.settings(kind, name), &Place).unwrap()
    }
}

/// The environment of a guardian that was given the cluster's token.
pub struct Place;

impl Surroundings for Place {
    fn variable(&self, name: &str) -> Option<String> {
        (name == "TOKEN").then(|| TOKEN.to_owned())
    }
    fn read(&self, path: &std::path::Path) -> std::io::Result<String> {
        std::fs::read_to_string(path)
    }
}

/// A release system as its settings say.
pub fn open_as(settings: &str, place: &dyn Surroundings) -> Result<Arc<dyn ReleaseSystem>, String> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let text = format!("[[application]]\nname = \"cart\"\n{settings}");
    let settings = Settings::read("guardian.toml", &text, place).map_err(|problems| problems.to_string())?;
    let application = &settings.applications[0];
    let system = application.release_system.as_ref().unwrap();
    open(system, &application.name, place).map_err(|error| {
        let mut text = error.to_string();
        let mut cause = std::error::Error::source(&error);
        while let Some(next) = cause {
            text = format!("{text}: {next}");
            cause = next.source();
        }
        text
    })
}

pub fn order(kind: CommandKind, id: &str) -> CommandOrder {
    let release =
        ReleaseKey { application: ApplicationName::new("cart").unwrap(), id: ReleaseId::new("r-1").unwrap() };
    let at = release_guardian::adapters::clock::now();
    CommandOrder {
        command: Command {
            id: CommandId::new(id).unwrap(),
            release,
            kind,
            decision_sequence: 1,
            ordered_at: at,
            deadline: at + Duration::from_secs(60),
        },
        version: None,
        previous_version: None,
        decision: None,
        url: "http://guardian.example.com/".to_owned(),
    }
}

pub async fn attempt(system: &dyn ReleaseSystem, kind: CommandKind) -> Attempt {
    system.attempt(&order(kind, "cmd_1"), release_guardian::adapters::clock::now()).await
}

pub async fn read_back(system: &dyn ReleaseSystem, kind: CommandKind) -> ReadBack {
    system.read_back(&order(kind, "cmd_1"), release_guardian::adapters::clock::now()).await
}

/// The reason of a refusal.
pub fn refused(attempt: Attempt) -> String {
    match attempt {
        Attempt::Refused { reason } => reason,
        other => panic!("{other:?} is no refusal"),
    }
}

impl State {
    fn answer(&mut self, seen: Seen) -> Reply {
        self.seen.push(seen.clone());
        if !self.trouble.is_empty() {
            let code = self.trouble.remove(0);
            return status(code, "Trouble", "the request cannot be done");
        }
        if seen.headers.get("authorization").map(String::as_str) != Some(&format!("Bearer {}", self.token)) {
            return status(401, "Unauthorized", "Unauthorized");
        }
        let path = seen.path.split('?').next().unwrap().to_owned();
        let (object, part) = match path.strip_suffix("/status") {
            Some(object) => (object.to_owned(), "/status"),
            None => (path.clone(), ""),
        };
        let words: Vec<&str> = object.split('/').collect();
        let (namespace, plural) = (words[5], words[6]);
        let resource = format!("{plural}{part}");
        let verb = match (seen.method.as_str(), words.len()) {
            ("GET", 7) => "list",
            ("GET", _) => "get",
            ("PATCH", _) => "patch",
            _ => return status(405, "MethodNotAllowed", "no"),
        };
        if self.forbidden.iter().any(|(v, r)| (*v, *r) == (verb, resource.as_str())) {
            let message = format!(
                "{resource} is forbidden: User \"system:serviceaccount:guard:guardian\" cannot {verb} resource \
                 \"{resource}\" in API group \"{}\" in the namespace \"{namespace}\"",
                words[2]
            );
            return status(403, "Forbidden", &message);
        }
        match verb {
            "list" => self.list(&object),
            "get" => self.get(&object),
            _ => self.patch(&object, part == "/status", &seen),
        }
    }

    fn list(&self, folder: &str) -> Reply {
        let within = format!("{folder}/");
        let items: Vec<&Value> =
            self.objects.iter().filter(|(path, _)| path.starts_with(&within)).map(|(_, o)| o).collect();
        Some((200, json!({"kind": "List", "items": items}).to_string()))
    }

    fn get(&mut self, path: &str) -> Reply {
        if let Effect::AfterReads(reads) = self.effect {
            match reads.checked_sub(1) {
                Some(left) => self.effect = Effect::AfterReads(left),
                None => self.control(path),
            }
        }
        match self.objects.get(path) {
            Some(object) => Some((200, object.to_string())),
            None => status(404, "NotFound", &format!("{path} not found")),
        }
    }

    fn patch(&mut self, path: &str, is_status: bool, seen: &Seen) -> Reply {
        let Some(old) = self.objects.get(path).cloned() else {
            return status(404, "NotFound", &format!("{path} not found"));
        };
        if is_status && !self.has_status {
            return status(404, "NotFound", "the server could not find the requested resource");
        }
        if self.conflicts > 0 {
            self.conflicts -= 1;
            return status(409, "Conflict", "the object has been modified; please apply your changes");
        }
        let body: Value = serde_json::from_str(&seen.body).unwrap();
        let mut new = old.clone();
        match seen.headers["content-type"].as_str() {
            "application/merge-patch+json" => merge(&mut new, &body),
            "application/json-patch+json" => {
                if let Err(message) = operate(&mut new, &body) {
                    return status(422, "Invalid", &message);
                }
            }
            other => return status(415, "UnsupportedMediaType", &format!("{other} is not a patch")),
        }
        if new["metadata"]["resourceVersion"] != old["metadata"]["resourceVersion"] {
            return status(409, "Conflict", "the object has been modified");
        }
        // The half that the path does not speak of stays as it was.
        if is_status {
            new["spec"] = old["spec"].clone();
            new["metadata"] = old["metadata"].clone();
        } else if self.has_status {
            new["status"] = old["status"].clone();
        }
        if new["spec"] != old["spec"] {
            new["metadata"]["generation"] = json!(old["metadata"]["generation"].as_i64().unwrap_or(0) + 1);
        }
        self.versions += 1;
        new["metadata"]["resourceVersion"] = json!(self.versions.to_string());
        self.objects.insert(path.to_owned(), new);
        if self.effect == Effect::AtOnce {
            self.control(path);
        }
        Some((200, self.objects[path].to_string()))
    }

    /// What the controller of the kind makes of the spec.
    fn control(&mut self, path: &str) {
        let Some(object) = self.objects.get_mut(path) else { return };
        let generation = object["metadata"]["generation"].clone();
        let paused = object["spec"]["paused"] == true;
        if path.contains("/rollouts/") {
            let aborted = object["status"]["abort"] == true;
            // Aborted while paused it never comes to an end, as reported for the real one.
            if aborted && !paused {
                object["status"]["abortedAt"] = json!("2026-03-01T03:12:41Z");
            }
            object["status"]["observedGeneration"] = json!(generation.to_string());
            let (phase, message) = match (aborted && !paused, paused) {
                (true, _) => ("Degraded", "RolloutAborted"),
                (false, true) => ("Paused", "manually paused"),
                (false, false) => ("Progressing", "more replicas need to be updated"),
            };
            (object["status"]["phase"], object["status"]["message"]) = (json!(phase), json!(message));
        }
        if path.contains("/deployments/") {
            object["status"]["observedGeneration"] = generation;
            if !paused {
                for field in ["replicas", "updatedReplicas", "availableReplicas"] {
                    object["status"][field] = object["spec"]["replicas"].clone();
                }
            }
        }
    }
}

/// RFC 7386.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (key, value) in patch {
        match value {
            Value::Null => drop(target.as_object_mut().unwrap().remove(key)),
            value => merge(&mut target[key], value),
        }
    }
}

/// RFC 6902, the operations that are needed.
fn operate(target: &mut Value, operations: &Value) -> Result<(), String> {
    for operation in operations.as_array().ok_or("a JSON patch is a list")? {
        let path = operation["path"].as_str().ok_or("an operation has no path")?;
        let (parent, last) = path.rsplit_once('/').ok_or("the path is no pointer")?;
        let last = last.replace("~1", "/").replace("~0", "~");
        let is_there = target.pointer(path).is_some();
        let parent = target.pointer_mut(parent).and_then(Value::as_object_mut);
        let parent = parent.ok_or_else(|| format!("{path}: its parent does not exist"))?;
        match operation["op"].as_str() {
            Some("add") => drop(parent.insert(last, operation["value"].clone())),
            Some("replace") if is_there => drop(parent.insert(last, operation["value"].clone())),
            other => return Err(format!("{other:?} at {path} cannot be done")),
        }
    }
    Ok(())
}

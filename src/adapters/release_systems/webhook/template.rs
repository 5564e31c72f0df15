//! What users' templates are given, and the default body.

use minijinja::{Environment, Value};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::adapters::release_system::CommandOrder;
use crate::domain::Timestamp;

/// The default body stays below the 20 kB that receivers expect.
const REASONS_MAX: usize = 10;
/// A template that works longer than this is stopped.
const FUEL: u64 = 100_000;

/// The templates of one release system, by name.
pub(super) struct Templates(Environment<'static>);

impl Default for Templates {
    fn default() -> Self {
        let mut environment = Environment::new();
        // Bodies are JSON or plain text: nothing is escaped as HTML, and a
        // name that does not exist is an error rather than an empty text.
        environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
        environment.set_undefined_behavior(minijinja::UndefinedBehavior::Strict);
        environment.set_fuel(Some(FUEL));
        Self(environment)
    }
}

impl Templates {
    pub(super) fn add(&mut self, name: String, text: String) -> Result<(), String> {
        self.0.add_template_owned(name, text).map_err(|error| error.to_string())
    }

    pub(super) fn render(&self, name: &str, values: &Value) -> Result<String, String> {
        let rendered = self.0.get_template(name).and_then(|template| template.render(values));
        rendered.map_err(|error| format!("template {name} cannot be filled in: {error}"))
    }
}

/// An address up to its first template, without query and user: for people.
pub(super) fn fixed_part(template: &str) -> String {
    let fixed = template.find("{{").map_or(template, |at| &template[..at]);
    match url::Url::parse(fixed) {
        Ok(url) => {
            let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
            format!("{}://{}{port}", url.scheme(), url.host_str().unwrap_or_default())
        }
        Err(_) => fixed.split('?').next().unwrap_or_default().to_owned(),
    }
}

fn data(order: &CommandOrder) -> serde_json::Value {
    let command = &order.command;
    let decision = order.decision.as_ref();
    json!({
        "application": command.release.application,
        "release": command.release.id,
        "version": order.version,
        "previous_version": order.previous_version,
        "command_id": command.id,
        "decision": decision.map_or(command.kind.word(), |d| d.action.word()),
        "because": decision.map(|d| d.because.as_str()),
        "probability": decision.map(|d| d.probability),
        "reasons": decision.map(|d| &d.reasons[..d.reasons.len().min(REASONS_MAX)]).unwrap_or_default(),
        "url": order.url,
    })
}

/// The values that a template may use: those of the default body's `data`,
/// and `type`, `command` and `timestamp`.
pub(super) fn context(order: &CommandOrder) -> Value {
    let mut values = data(order);
    if let Some(map) = values.as_object_mut() {
        map.insert("type".into(), json!(format!("release.{}", order.command.kind.word())));
        map.insert("command".into(), json!(order.command.kind.word()));
        map.insert("timestamp".into(), json!(order.command.ordered_at));
    }
    Value::from_serialize(&values)
}

/// The same bytes at every attempt: the time is that of the order.
pub(super) fn default_body(order: &CommandOrder) -> String {
    json!({
        "type": format!("release.{}", order.command.kind.word()),
        "timestamp": order.command.ordered_at,
        "data": data(order),
    })
    .to_string()
}

/// W3C trace context: one trace for a command, one span for an attempt.
pub(super) fn traceparent(id: &str, now: Timestamp) -> String {
    let hex = |text: &str, bytes: usize| {
        Sha256::digest(text.as_bytes())[..bytes].iter().map(|b| format!("{b:02x}")).collect::<String>()
    };
    format!("00-{}-{}-01", hex(id, 16), hex(&format!("{id} {}", now.as_millis()), 8))
}

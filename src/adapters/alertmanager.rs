//! What Alertmanager's webhook receiver sends, as alerts of the domain.

use std::collections::BTreeMap;

use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use crate::domain::{Alert, Timestamp};

/// Alerts of one message that are taken; more are left out, and it is said.
const ALERTS_MAX: usize = 1_000;

/// The only form there is.
const VERSION: &str = "4";

const WANTED: &str = "send Alertmanager's own payload (version 4): leave `payload` and templates out of \
                      webhook_configs";

/// Why a message cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AlertmanagerError {
    /// It has another shape.
    #[error("this is no message of Alertmanager's webhook receiver: {why}; {WANTED}")]
    Shape {
        /// What is wrong.
        why: String,
    },
    /// It has another version.
    #[error("a message of version {found:?} is not known; {WANTED}")]
    Version {
        /// Which.
        found: String,
    },
}

/// A message.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// Its alerts.
    pub alerts: Vec<Received>,
    /// How many alerts of the group are not in it.
    pub left_out: u64,
}

/// An alert with the key that makes a repeated one the same.
#[derive(Clone, Debug, PartialEq)]
pub struct Received {
    /// The alert.
    pub alert: Alert,
    /// Of group, fingerprint, begin and status.
    pub key: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawGroup {
    version: String,
    group_key: String,
    #[serde(default)]
    truncated_alerts: u64,
    alerts: Vec<RawAlert>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawAlert {
    status: Status,
    labels: BTreeMap<String, String>,
    starts_at: Timestamp,
    /// The zero time while it fires.
    #[serde(default)]
    ends_at: Option<String>,
    fingerprint: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Status {
    Firing,
    Resolved,
}

impl Group {
    /// Reads a message that arrived at `now`.
    ///
    /// # Errors
    /// If it is not Alertmanager's own payload.
    pub fn read(body: &[u8], now: Timestamp) -> Result<Self, AlertmanagerError> {
        let raw: RawGroup = serde_json::from_slice(body)
            .map_err(|error| AlertmanagerError::Shape { why: error.to_string() })?;
        if raw.version != VERSION {
            return Err(AlertmanagerError::Version { found: raw.version });
        }
        let over = raw.alerts.len().saturating_sub(ALERTS_MAX) as u64;
        let group = raw.group_key;
        let alerts = raw.alerts.into_iter().take(ALERTS_MAX).map(|alert| received(&group, alert, now));
        Ok(Self { alerts: alerts.collect(), left_out: raw.truncated_alerts.saturating_add(over) })
    }
}

fn received(group: &str, raw: RawAlert, now: Timestamp) -> Received {
    let status = match raw.status {
        Status::Firing => "firing",
        Status::Resolved => "resolved",
    };
    let began = raw.starts_at.to_string();
    let mut hash = Sha256::new();
    for part in [group, &raw.fingerprint, &began, status] {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    let digest: String = hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    let ends_at = match raw.status {
        Status::Firing => None,
        // An end that is not told, or lies before the begin, is now.
        Status::Resolved => Some(
            raw.ends_at
                .and_then(|text| text.parse::<Timestamp>().ok())
                .filter(|end| *end >= raw.starts_at)
                .unwrap_or(now),
        ),
    };
    let name = raw.labels.get("alertname").cloned().unwrap_or_else(|| "without a name".to_owned());
    let alert = Alert { name, labels: raw.labels, starts_at: raw.starts_at, ends_at };
    Received { alert, key: format!("alertmanager-{digest}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(more: &str, alerts: &str) -> String {
        format!(
            r#"{{"version": "4", "groupKey": "{{}}:{{alertname=\"A\"}}", "status": "firing", "receiver": "g",
                "groupLabels": {{}}, "commonLabels": {{}}, "commonAnnotations": {{}}, "externalURL": "http://a",
                {more} "alerts": [{alerts}]}}"#
        )
    }

    fn alert(status: &str, starts: &str, ends: &str) -> String {
        format!(
            r#"{{"status": "{status}", "labels": {{"alertname": "A", "job": "shop"}}, "annotations": {{}},
                "startsAt": "{starts}", "endsAt": "{ends}", "generatorURL": "", "fingerprint": "f1"}}"#
        )
    }

    fn read(text: &str) -> Result<Group, AlertmanagerError> {
        Group::read(text.as_bytes(), Timestamp::from_millis(1_790_000_000_000))
    }

    const BEGAN: &str = "2026-09-21T12:00:00.123456789+02:00";
    const ZERO: &str = "0001-01-01T00:00:00Z";

    #[test]
    fn a_firing_alert_has_no_end_whatever_the_message_says() {
        for ends in [ZERO, "2026-09-21T12:00:01Z", ""] {
            let group = read(&message("", &alert("firing", BEGAN, ends))).unwrap();
            let received = &group.alerts[0].alert;
            assert_eq!((received.ends_at, received.name.as_str()), (None, "A"));
            assert_eq!(received.starts_at.to_string(), "2026-09-21T10:00:00.123Z");
        }
    }

    #[test]
    fn a_resolved_alert_has_its_end_or_ends_now() {
        let end = |ends| read(&message("", &alert("resolved", BEGAN, ends))).unwrap().alerts[0].alert.ends_at;
        assert_eq!(end("2026-09-21T11:00:00Z"), Some("2026-09-21T11:00:00Z".parse().unwrap()));
        assert_eq!(end(ZERO), Some(Timestamp::from_millis(1_790_000_000_000)));
        assert_eq!(end("soon"), Some(Timestamp::from_millis(1_790_000_000_000)));
    }

    #[test]
    fn the_same_alert_has_the_same_key_and_another_state_or_begin_another_one() {
        let key =
            |status, began| read(&message("", &alert(status, began, ZERO))).unwrap().alerts[0].key.clone();
        assert_eq!(key("firing", BEGAN), key("firing", BEGAN));
        assert_ne!(key("firing", BEGAN), key("resolved", BEGAN));
        assert_ne!(key("firing", BEGAN), key("firing", "2026-09-21T12:00:09Z"));
    }

    #[test]
    fn what_was_left_out_is_counted() {
        let group = read(&message("\"truncatedAlerts\": 7,", &alert("firing", BEGAN, ZERO))).unwrap();
        assert_eq!(group.left_out, 7);
        let many = vec![alert("firing", BEGAN, ZERO); ALERTS_MAX + 3].join(",");
        let group = read(&message("", &many)).unwrap();
        assert_eq!((group.alerts.len(), group.left_out), (ALERTS_MAX, 3));
    }

    #[test]
    fn another_payload_is_refused_with_what_to_do() {
        for text in [
            "{\"text\": \"shop is down\"}",
            "[]",
            "not JSON",
            &message("", &alert("pending", BEGAN, ZERO)),
            &message("", &alert("firing", "yesterday", ZERO)),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains("leave `payload` and templates out"), "{error}");
        }
        let later = message("", "").replace("\"4\"", "\"5\"");
        assert!(read(&later).unwrap_err().to_string().contains("version \"5\""));
    }
}

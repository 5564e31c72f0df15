//! What Flagger's webhooks send, as calls about a Canary.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::domain::{ApplicationName, InvalidId, Timestamp, Version};

use super::guardian::{CanaryCall, CanaryStage};

/// Longest name, checksum or value of metadata that is taken.
const TEXT_BYTES_MAX: usize = 200;

/// Why a call cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum FlaggerError {
    /// It has another shape.
    #[error("this is no call of a Flagger webhook: {0}")]
    Shape(#[source] serde_json::Error),
    /// A field is empty or too long.
    #[error("`{field}` has {bytes} bytes; 1 to {TEXT_BYTES_MAX} are taken")]
    Length {
        /// Which.
        field: &'static str,
        /// How many it has.
        bytes: usize,
    },
    /// A phase that is not known.
    #[error("the phase {found:?} is not known")]
    Phase {
        /// Which.
        found: String,
    },
    /// A value of metadata that cannot be used.
    #[error("metadata.{key} cannot be used")]
    Metadata {
        /// Which.
        key: &'static str,
        /// Why.
        #[source]
        source: InvalidId,
    },
}

#[derive(Deserialize)]
struct RawCall {
    name: String,
    namespace: String,
    #[serde(default)]
    phase: String,
    #[serde(default)]
    checksum: String,
    #[serde(default)]
    metadata: Option<BTreeMap<String, serde_json::Value>>,
}

/// A call, with what an event adds.
#[derive(Clone, Debug, PartialEq)]
pub struct Received {
    /// What it says of the Canary.
    pub call: CanaryCall,
    /// An event: its moment in milliseconds as Flagger wrote it, and its
    /// message. Empty in the calls of other hooks.
    pub event: Option<(String, String)>,
}

impl Received {
    /// Reads the body of any of Flagger's webhooks.
    ///
    /// # Errors
    /// If Flagger does not write such.
    pub fn read(body: &[u8]) -> Result<Self, FlaggerError> {
        let raw: RawCall = serde_json::from_slice(body).map_err(FlaggerError::Shape)?;
        let checksum = if raw.checksum.is_empty() { "unknown".to_owned() } else { raw.checksum };
        for (field, text) in [("name", &raw.name), ("namespace", &raw.namespace), ("checksum", &checksum)] {
            let bytes = text.len();
            if bytes == 0 || bytes > TEXT_BYTES_MAX || text.chars().any(char::is_control) {
                return Err(FlaggerError::Length { field, bytes });
            }
        }
        let metadata = raw.metadata.unwrap_or_default();
        let text = |key: &str| metadata.get(key).and_then(serde_json::Value::as_str);
        let event = text("timestamp").zip(text("eventMessage"));
        let stage = stage(&raw.phase, event.map(|(_, message)| message))?;
        let application = text("application").map(ApplicationName::new).transpose();
        let version = text("version").map(Version::new).transpose();
        let call = CanaryCall {
            namespace: raw.namespace,
            name: raw.name,
            checksum,
            stage,
            at: event.and_then(|(at, _)| at.parse().ok()).map(Timestamp::from_millis),
            application: application
                .map_err(|source| FlaggerError::Metadata { key: "application", source })?,
            version: version.map_err(|source| FlaggerError::Metadata { key: "version", source })?,
            emergency: text("emergency") == Some("true"),
        };
        let event = event.map(|(at, message)| (at.to_owned(), message.to_owned()));
        Ok(Self { call, event })
    }

    /// What a repeated event has in common with the first; none for the calls
    /// of other hooks.
    pub fn event_key(&self) -> Option<String> {
        let (at, message) = self.event.as_ref()?;
        let CanaryCall { namespace, name, checksum, stage, .. } = &self.call;
        Some(format!("{namespace}\n{name}\n{checksum}\n{at}\n{stage:?}\n{message}"))
    }
}

/// Where the rollout stands. The promotion itself is told by an event that
/// still has the phase before it.
fn stage(phase: &str, message: Option<&str>) -> Result<CanaryStage, FlaggerError> {
    let is_copied = message.is_some_and(|m| m.starts_with("Copying ") && m.contains(" template spec to "));
    Ok(match phase {
        "Progressing" | "WaitingPromotion" if is_copied => CanaryStage::Promoted,
        "Progressing" | "WaitingPromotion" => CanaryStage::Running,
        "" | "Initializing" | "Initialized" | "Waiting" => CanaryStage::Idle,
        "Promoting" | "Finalising" | "Succeeded" => CanaryStage::Promoted,
        "Failed" | "Terminating" | "Terminated" => CanaryStage::GivenUp,
        other => return Err(FlaggerError::Phase { found: other.chars().take(40).collect() }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stage_of(body: &str) -> CanaryStage {
        Received::read(body.as_bytes()).unwrap().call.stage
    }

    #[test]
    fn every_phase_of_flagger_is_known_and_no_other() {
        let stages = [
            ("Initializing", CanaryStage::Idle),
            ("Initialized", CanaryStage::Idle),
            ("Waiting", CanaryStage::Idle),
            ("Progressing", CanaryStage::Running),
            ("WaitingPromotion", CanaryStage::Running),
            ("Promoting", CanaryStage::Promoted),
            ("Finalising", CanaryStage::Promoted),
            ("Succeeded", CanaryStage::Promoted),
            ("Failed", CanaryStage::GivenUp),
            ("Terminating", CanaryStage::GivenUp),
            ("Terminated", CanaryStage::GivenUp),
        ];
        for (phase, expected) in stages {
            let body = format!(r#"{{"name":"shop","namespace":"prod","phase":"{phase}","checksum":"7c"}}"#);
            assert_eq!(stage_of(&body), expected, "{phase}");
        }
        let odd = br#"{"name":"shop","namespace":"prod","phase":"Odd","checksum":"7c"}"#;
        assert!(matches!(Received::read(odd), Err(FlaggerError::Phase { .. })));
    }

    #[test]
    fn an_event_has_a_time_and_a_key_and_the_promotion_is_seen_in_its_message() {
        let body = r#"{"name":"shop","namespace":"prod","phase":"Progressing","checksum":"7c","metadata":
            {"eventMessage":"Copying shop.prod template spec to shop-primary.prod","eventType":"Normal",
             "timestamp":"1700000000123","application":"store","version":"2.1","emergency":"true"}}"#;
        let received = Received::read(body.as_bytes()).unwrap();
        assert_eq!(received.call.stage, CanaryStage::Promoted);
        assert_eq!(received.call.at, Some(Timestamp::from_millis(1_700_000_000_123)));
        assert_eq!(received.call.application.as_ref().map(ApplicationName::as_str), Some("store"));
        assert!(received.call.emergency);
        let later = body.replace("0123", "0124");
        assert_ne!(received.event_key(), Received::read(later.as_bytes()).unwrap().event_key());
        let hook =
            br#"{"name":"shop","namespace":"prod","phase":"Progressing","checksum":"7c","metadata":null}"#;
        assert_eq!(Received::read(hook).unwrap().event_key(), None);
    }

    #[test]
    fn what_flagger_does_not_write_is_refused() {
        for body in [
            "",
            "[]",
            "{}",
            r#"{"name":"","namespace":"a","phase":"Failed"}"#,
            r#"{"name":"a\nb","namespace":"a"}"#,
        ] {
            assert!(Received::read(body.as_bytes()).is_err(), "{body}");
        }
        let long = format!(r#"{{"name":"{}","namespace":"a","phase":"Failed"}}"#, "x".repeat(300));
        assert!(matches!(Received::read(long.as_bytes()), Err(FlaggerError::Length { field: "name", .. })));
    }
}

//! Alerts from outside that name a released instance.

use crate::domain::{Alert, Group, Timestamp};
use crate::judge::{Detector, Finding, Outcome};
use crate::signal::{Observation, SignalClass, Unit};

/// Severities that act; others are shown.
const GRAVE: &[&str] = &["critical", "page", "high", "fatal", "emergency", "p0", "p1", "sev1", "error"];

/// The gravest alert that began after the release, fires now, and names
/// released instances only or the application as a whole.
pub fn outside_alert(observation: &Observation<'_>, alerts: &[Alert], now: Timestamp) -> Option<Finding> {
    let first_release = observation.groups.members.iter().filter_map(|m| m.released_at).min()?;
    let mut best: Option<Finding> = None;
    for alert in alerts {
        let fires = alert.starts_at <= now && alert.ends_at.is_none_or(|end| end > now);
        if !fires || alert.starts_at < first_release {
            continue;
        }
        let named = |group: Group| {
            observation
                .groups
                .of(group)
                .filter(|m| alert.labels.values().any(|value| value == m.instance.as_str()))
                .map(|m| m.instance.clone())
                .collect::<Vec<_>>()
        };
        let (released, reference) = (named(Group::Release), named(Group::Reference));
        if released.is_empty() && !reference.is_empty() {
            continue;
        }
        let severity = alert
            .labels
            .get("severity")
            .or_else(|| alert.labels.get("priority"))
            .map(String::as_str)
            .unwrap_or("none");
        let grave = GRAVE.contains(&severity.to_ascii_lowercase().as_str());
        let outcome = if grave && !released.is_empty() && reference.is_empty() {
            Outcome::Failing
        } else {
            Outcome::Suspect
        };
        let about = if released.is_empty() {
            "the application".to_owned()
        } else {
            format!("{} released machines", released.len())
        };
        let finding = Finding {
            signal: format!("alert {}", alert.name),
            class: SignalClass::Health,
            detector: Detector::Rule,
            test: "outside_alert".to_owned(),
            outcome,
            because: format!(
                "alert {} (severity {severity}) fires for {about} since {}",
                alert.name,
                alert.starts_at.clock_time()
            ),
            instances: released,
            release_before: Some(0.0),
            release_after: Some(1.0),
            reference_before: Some(0.0),
            reference_after: Some(if reference.is_empty() { 0.0 } else { 1.0 }),
            unit: Unit::Count,
            strength: if grave { 2.0 } else { 0.5 },
            since: Some(alert.starts_at),
            on_trial: false,
        };
        if best.as_ref().is_none_or(|b| finding.outcome > b.outcome) {
            best = Some(finding);
        }
    }
    best
}

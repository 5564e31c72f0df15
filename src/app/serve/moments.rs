//! Which moments of a release are believed. A slip of the pen would make a
//! batch that never begins, or samples that are kept for ever. Pure.

use std::time::Duration;

use crate::adapters::guardian::GuardianError;
use crate::domain::{Batch, ReleaseOrder, Timestamp};

/// How far another machine's clock may be ahead of ours.
const AHEAD: Duration = Duration::from_secs(5 * 60);
/// How far from now a release may have begun or a batch be planned: as long as
/// a watch or a history may be.
const FAR: Duration = Duration::from_secs(7 * 86_400);

/// A release that begins, with the batches that are planned.
pub(super) fn check_begin(
    order: &ReleaseOrder,
    now: Timestamp,
    history: Duration,
) -> Result<(), GuardianError> {
    let at = order.started_at;
    if at > now + AHEAD || at < now - FAR {
        let allowed = format!("{} to {}", now - FAR, now + AHEAD);
        return Err(refused("/started_at", at, now, &format!("a release may have begun {allowed}")));
    }
    for (index, batch) in order.batches.iter().enumerate() {
        check(&format!("/batches/{index}/started_at"), batch.started_at, order, now, history, FAR)?;
    }
    Ok(())
}

/// A batch that begins now.
pub(super) fn check_batch(
    batch: &Batch,
    order: &ReleaseOrder,
    now: Timestamp,
    history: Duration,
) -> Result<(), GuardianError> {
    check("/started_at", batch.started_at, order, now, history, AHEAD)
}

/// When a fault began to show.
pub(super) fn check_onset(
    onset: Timestamp,
    order: &ReleaseOrder,
    now: Timestamp,
    history: Duration,
) -> Result<(), GuardianError> {
    check("/onset", onset, order, now, history, Duration::ZERO)
}

fn check(
    field: &str,
    at: Timestamp,
    order: &ReleaseOrder,
    now: Timestamp,
    history: Duration,
    ahead: Duration,
) -> Result<(), GuardianError> {
    let (from, to) = (order.started_at - history, now + ahead);
    if from <= at && at <= to {
        return Ok(());
    }
    let allowed = format!("for this release it may be {from} (its begin less [recordings] before) to {to}");
    Err(refused(field, at, now, &allowed))
}

fn refused(field: &str, at: Timestamp, now: Timestamp, allowed: &str) -> GuardianError {
    let problem =
        format!("{at} is not believed; it is {now} here, and {allowed}. Send the right one, or leave it out");
    GuardianError::Invalid { field: field.to_owned(), problem }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::InstanceId;

    const HISTORY: Duration = Duration::from_secs(3600);

    fn order(started_at: Timestamp) -> ReleaseOrder {
        let text =
            format!(r#"{{"format": 1, "id": "r", "application": "shop", "started_at": "{started_at}"}}"#);
        serde_json::from_str(&text).unwrap()
    }

    fn batch(started_at: Timestamp) -> Batch {
        Batch { started_at, instances: vec![InstanceId::new("a").unwrap()], weight: None }
    }

    fn moment(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn moments_that_no_release_has_are_refused_with_what_is_allowed() {
        let now = moment("2026-03-01T12:00:00Z");
        let (absurd, past) = (moment("2099-01-01T00:00:00Z"), moment("1999-01-01T00:00:00Z"));
        let watched = order(now);
        for wrong in [absurd, past] {
            let mut planned = order(now);
            planned.batches = vec![batch(now), batch(wrong)];
            for (field, answer) in [
                ("/started_at", check_begin(&order(wrong), now, HISTORY)),
                ("/batches/1/started_at", check_begin(&planned, now, HISTORY)),
                ("/started_at", check_batch(&batch(wrong), &watched, now, HISTORY)),
                ("/onset", check_onset(wrong, &watched, now, HISTORY)),
            ] {
                let said = answer.unwrap_err().to_string();
                assert!(said.starts_with(&format!("{field}: {wrong} is not believed")), "{said}");
                assert!(said.contains(&format!("it is {now} here")), "{said}");
            }
        }
    }

    #[test]
    fn clocks_may_differ_plans_may_be_made_and_a_rollout_may_have_begun_before() {
        let now = moment("2026-03-01T12:00:00Z");
        let minute = Duration::from_secs(60);
        for at in [now - 60 * 24 * 2 * minute, now, now + 4 * minute] {
            check_begin(&order(at), now, HISTORY).unwrap();
            check_batch(&batch(at), &order(at), now, HISTORY).unwrap();
        }
        let mut planned = order(now);
        planned.batches = vec![batch(now - 30 * minute), batch(now + 60 * 24 * minute)];
        check_begin(&planned, now, HISTORY).unwrap();
        check_onset(now - 30 * minute, &planned, now, HISTORY).unwrap();
        check_onset(now + minute, &planned, now, HISTORY).unwrap_err();
        check_batch(&batch(now + 60 * minute), &planned, now, HISTORY).unwrap_err();
    }
}

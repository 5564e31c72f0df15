//! Calls that are made again: under the key of an earlier one, or about a
//! release that was begun before. Pure.

use crate::adapters::guardian::GuardianError;
use crate::adapters::store::KeptAnswer;
use crate::domain::{ReleaseKey, ReleaseOrder};
use crate::guard::engine::Phase;

use super::actor::Done;
use super::record;

/// A begin of a release that is over.
pub(super) fn over(key: &ReleaseKey, phase: Phase) -> GuardianError {
    let phase = record::word(&phase);
    let reason = format!(
        "release {key} was begun before and is over ({phase}); begin the next attempt under another id"
    );
    GuardianError::Conflict { reason }
}

/// Orders are the same if they were when they were sent: batches that began
/// since then do not matter, nor the moment, which may be filled in.
pub(super) fn same_order(sent: &ReleaseOrder, stored: &ReleaseOrder) -> bool {
    sent.version == stored.version
        && sent.previous_version == stored.previous_version
        && sent.groups == stored.groups
        && match sent.groups {
            None => sent.reference == stored.reference,
            // Those that their labels put there came since.
            Some(_) => sent.reference.iter().all(|r| stored.reference.contains(r)),
        }
        && sent.batches.iter().all(|b| stored.batches.iter().any(|s| s.instances == b.instances))
}

/// The answer that was given under a key, if it was for the same request.
pub(super) fn given_before(answer: &KeptAnswer, digest: &str) -> Result<Done, GuardianError> {
    if answer.digest != digest {
        let reason = "the idempotency key was used for another request; use a new key".to_owned();
        return Err(GuardianError::Conflict { reason });
    }
    let done: Done = serde_json::from_str(&answer.answer).map_err(|e| GuardianError::Unavailable {
        reason: format!("the answer given before cannot be read: {e}"),
    })?;
    Ok(Done { changed: false, ..done })
}

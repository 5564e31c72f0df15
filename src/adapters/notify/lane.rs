//! The queue of one recipient of one channel: what is sent when, alone or as
//! a digest, what is tried again, what is given up. Pure: time is an argument.

use std::sync::Arc;
use std::time::Duration;

use crate::config::notify::{Rate, Severity};
use crate::domain::Timestamp;

use super::channel::{Scope, SendError};
use super::message::{Message, MessageKind, short_hash};

/// So many messages wait at most; beyond, the least urgent is given up.
const WAITING_MAX: usize = 1000;
/// So many messages stand in one digest; the rest follows.
const DIGEST_MAX: usize = 40;
/// Pauses after the first, second .. failure, in seconds; the last one stays.
const BACK_OFF_SECONDS: [u64; 10] = [1, 2, 5, 15, 30, 60, 120, 300, 600, 900];

/// A bucket of tokens that fills with time. It holds half of what the rate
/// allows and gains the other half in the rate's time, so that no stretch of
/// that length ever sees more than the rate.
#[derive(Clone, Debug)]
pub struct TokenBucket {
    /// A token is as many units as its rate has milliseconds, and each
    /// millisecond brings `gain` units: so it fills without rounding.
    token: u64,
    gain: u64,
    full: u64,
    units: u64,
    filled_at: Timestamp,
}

impl TokenBucket {
    /// A full bucket.
    pub fn new(rate: Rate, now: Timestamp) -> Self {
        let messages = u64::from(rate.messages.max(1));
        let token = (rate.per.as_millis() as u64).max(1);
        let full = messages.div_ceil(2).saturating_mul(token);
        Self { token, gain: (messages / 2).max(1), full, units: full, filled_at: now }
    }

    /// Takes a token, or says when there will be one.
    ///
    /// # Errors
    /// With the moment at which a token will be there.
    pub fn take(&mut self, now: Timestamp) -> Result<(), Timestamp> {
        let passed = now.since(self.filled_at).as_millis() as u64;
        self.units = self.units.saturating_add(passed.saturating_mul(self.gain)).min(self.full);
        self.filled_at = self.filled_at.max(now);
        if self.units >= self.token {
            self.units -= self.token;
            return Ok(());
        }
        let wait = (self.token - self.units).div_ceil(self.gain);
        Err(self.filled_at + Duration::from_millis(wait))
    }
}

/// How a lane behaves.
#[derive(Clone, Copy, Debug)]
pub struct LaneLimits {
    /// How many messages in how long.
    pub rate: Rate,
    /// When more wait, they become a digest.
    pub digest_above: usize,
    /// How long a message is tried.
    pub give_up_after: Duration,
}

#[derive(Clone, Debug)]
struct Waiting {
    message: Arc<Message>,
    kept_at: Timestamp,
    failures: u32,
    not_before: Timestamp,
    /// A digest with it was refused, so it is sent by itself.
    alone: bool,
}

/// Messages that are sent together.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// The same on every retry.
    pub id: String,
    /// Most urgent first. Never empty.
    pub messages: Vec<Arc<Message>>,
    /// How many more wait behind it.
    pub behind: usize,
}

/// What is to be done now.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Send these, then say how it went.
    Send(Batch),
    /// Nothing before then.
    WaitUntil(Timestamp),
    /// Nothing until something comes in.
    Idle,
}

/// A message that will not be sent.
#[derive(Clone, Debug, PartialEq)]
pub struct Dropped {
    /// Which.
    pub message: Arc<Message>,
    /// Why.
    pub why: Why,
}

/// Why a message will not be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// A newer one about the same took its place.
    Superseded,
    /// The channel refuses it.
    Refused(String),
    /// It could not be sent in time.
    Expired(String),
    /// Too many were waiting.
    Overflow,
}

/// One recipient of one channel.
#[derive(Clone, Debug)]
pub struct Lane {
    limits: LaneLimits,
    bucket: TokenBucket,
    waiting: Vec<Waiting>,
    blocked_until: Option<Timestamp>,
    failures: u32,
    closed: Option<String>,
    /// What was tried last and may have arrived: it is repeated unchanged.
    unsettled: Option<Batch>,
    last_error: Option<String>,
}

impl Lane {
    /// An empty lane.
    pub fn new(limits: LaneLimits, now: Timestamp) -> Self {
        Self {
            limits,
            bucket: TokenBucket::new(limits.rate, now),
            waiting: Vec::new(),
            blocked_until: None,
            failures: 0,
            closed: None,
            unsettled: None,
            last_error: None,
        }
    }

    /// How many messages wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The last failure, as long as nothing went through since.
    pub fn trouble(&self) -> Option<&str> {
        self.closed.as_deref().or(self.last_error.as_deref())
    }

    /// Takes a message that was kept at `kept_at`; a message that waits
    /// already is not taken again.
    pub fn push(&mut self, message: Arc<Message>, kept_at: Timestamp) -> Vec<Dropped> {
        if self.waiting.iter().any(|waiting| waiting.message.id == message.id) {
            return Vec::new();
        }
        let mut dropped = self.supersede(&message);
        self.waiting.push(Waiting { message, kept_at, failures: 0, not_before: kept_at, alone: false });
        if self.waiting.len() > WAITING_MAX {
            let least = self
                .waiting
                .iter()
                .enumerate()
                .filter(|(_, waiting)| !self.is_unsettled(&waiting.message.id))
                .min_by_key(|(_, waiting)| (waiting.message.severity, waiting.kept_at))
                .map(|(at, _)| at);
            if let Some(at) = least {
                dropped.push(Dropped { message: self.waiting.remove(at).message, why: Why::Overflow });
            }
        }
        dropped
    }

    /// An older word on a continuing state is worth nothing beside a newer.
    fn supersede(&mut self, newer: &Message) -> Vec<Dropped> {
        let continuing = match newer.kind {
            MessageKind::Advice | MessageKind::Blind | MessageKind::ChannelFailing => true,
            MessageKind::Pausing
            | MessageKind::Paused
            | MessageKind::RollingBack
            | MessageKind::RolledBack
            | MessageKind::CommandFailed
            | MessageKind::Course
            | MessageKind::Unacknowledged
            | MessageKind::Test => false,
        };
        if !continuing {
            return Vec::new();
        }
        let older = |lane: &Self, waiting: &Waiting| {
            waiting.message.kind == newer.kind
                && waiting.message.release == newer.release
                && !lane.is_unsettled(&waiting.message.id)
                && (newer.kind != MessageKind::ChannelFailing || waiting.message.text == newer.text)
        };
        let all = std::mem::take(&mut self.waiting);
        let (old, kept): (Vec<_>, Vec<_>) = all.into_iter().partition(|waiting| older(self, waiting));
        self.waiting = kept;
        old.into_iter().map(|waiting| Dropped { message: waiting.message, why: Why::Superseded }).collect()
    }

    fn is_unsettled(&self, id: &str) -> bool {
        self.unsettled.as_ref().is_some_and(|batch| batch.messages.iter().any(|message| message.id == id))
    }

    /// Gives up what is too old.
    pub fn expire(&mut self, now: Timestamp) -> Vec<Dropped> {
        let reason = self.trouble().unwrap_or("it waited too long").to_owned();
        let give_up_after = self.limits.give_up_after;
        let all = std::mem::take(&mut self.waiting);
        let (old, kept): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|waiting| now.since(waiting.kept_at) >= give_up_after);
        self.waiting = kept;
        if old.iter().any(|waiting| self.is_unsettled(&waiting.message.id)) {
            self.unsettled = None;
        }
        old.into_iter()
            .map(|waiting| Dropped { message: waiting.message, why: Why::Expired(reason.clone()) })
            .collect()
    }

    /// What is to be done now.
    pub fn step(&mut self, now: Timestamp) -> Step {
        let Some(oldest) = self.waiting.iter().map(|waiting| waiting.kept_at).min() else {
            return Step::Idle;
        };
        let expiry = oldest + self.limits.give_up_after;
        if self.closed.is_some() {
            return Step::WaitUntil(expiry);
        }
        if let Some(until) = self.blocked_until.filter(|until| *until > now) {
            return Step::WaitUntil(until.min(expiry));
        }
        let ready: Vec<Waiting> =
            self.waiting.iter().filter(|waiting| waiting.not_before <= now).cloned().collect();
        if ready.is_empty() {
            let first = self.waiting.iter().map(|waiting| waiting.not_before).min().unwrap_or(expiry);
            return Step::WaitUntil(first.min(expiry));
        }
        if let Err(when) = self.bucket.take(now) {
            return Step::WaitUntil(when.min(expiry));
        }
        let batch = match self.unsettled.take() {
            // The whole batch waits out its pause together.
            Some(batch) if batch.messages.iter().any(|m| ready.iter().any(|r| r.message.id == m.id)) => batch,
            Some(_) | None => self.choose(ready),
        };
        self.unsettled = Some(batch.clone());
        Step::Send(batch)
    }

    fn choose(&self, mut ready: Vec<Waiting>) -> Batch {
        ready.sort_by(|a, b| {
            b.message.severity.cmp(&a.message.severity).then(a.message.at.cmp(&b.message.at))
        });
        let critical = ready.iter().filter(|waiting| waiting.message.severity == Severity::Critical).count();
        // What must be acted on stands alone, with its evidence and links, as
        // long as there is not too much of it.
        let urgent_alone = critical > 0 && critical <= self.limits.digest_above;
        let digest = ready.len() > self.limits.digest_above && !urgent_alone && !ready[0].alone;
        let chosen: Vec<Arc<Message>> = if digest {
            let together = ready.iter().filter(|waiting| !waiting.alone);
            together.take(DIGEST_MAX).map(|waiting| waiting.message.clone()).collect()
        } else {
            vec![ready[0].message.clone()]
        };
        let id = match chosen.as_slice() {
            [only] => only.id.clone(),
            several => {
                let mut ids = vec!["digest"];
                ids.extend(several.iter().map(|message| message.id.as_str()));
                short_hash(&ids)
            }
        };
        let behind = if digest { ready.len() - chosen.len() } else { 0 };
        Batch { id, messages: chosen, behind }
    }

    /// The batch was taken.
    pub fn sent(&mut self, batch: &Batch) {
        self.failures = 0;
        self.blocked_until = None;
        self.last_error = None;
        self.unsettled = None;
        self.waiting.retain(|waiting| !batch.messages.iter().any(|message| message.id == waiting.message.id));
    }

    /// The batch was not taken. Returns what will not be tried again.
    pub fn failed(&mut self, batch: &Batch, error: &SendError, now: Timestamp) -> Vec<Dropped> {
        self.last_error = Some(error.to_string());
        let of_batch =
            |waiting: &Waiting| batch.messages.iter().any(|message| message.id == waiting.message.id);
        match error {
            SendError::Unavailable { scope: Scope::Channel, .. } => {
                self.failures = self.failures.saturating_add(1);
                self.blocked_until = Some(now + back_off(self.failures, &batch.id));
            }
            SendError::Unavailable { scope: Scope::Message, .. } => {
                self.unsettled = None;
                for waiting in self.waiting.iter_mut().filter(|waiting| of_batch(waiting)) {
                    waiting.failures = waiting.failures.saturating_add(1);
                    waiting.not_before = now + back_off(waiting.failures, &waiting.message.id);
                }
            }
            SendError::RateLimited { retry_after, .. } => {
                // It was not taken for sure, so it may grow into a digest.
                self.unsettled = None;
                self.blocked_until = Some(now + *retry_after);
            }
            SendError::Closed { reason } => {
                self.unsettled = None;
                self.closed = Some(reason.clone());
            }
            SendError::Refused { reason } => {
                self.unsettled = None;
                if batch.messages.len() > 1 {
                    // Something in it is not taken; what, is seen one by one.
                    self.waiting.iter_mut().filter(|w| of_batch(w)).for_each(|w| w.alone = true);
                    return Vec::new();
                }
                self.waiting.retain(|waiting| !of_batch(waiting));
                let refused = |message: &Arc<Message>| Dropped {
                    message: message.clone(),
                    why: Why::Refused(reason.clone()),
                };
                return batch.messages.iter().map(refused).collect();
            }
        }
        Vec::new()
    }
}

/// The pause after so many failures, up to a fifth longer or shorter, so that
/// lanes which fell silent together do not all come back together.
fn back_off(failures: u32, id: &str) -> Duration {
    let step = (failures.max(1) as usize - 1).min(BACK_OFF_SECONDS.len() - 1);
    let millis = BACK_OFF_SECONDS[step] * 1000;
    let spread = short_hash(&[id, &failures.to_string()]);
    let share = u64::from_str_radix(&spread[..4], 16).unwrap_or(0x8000);
    Duration::from_millis(millis * 4 / 5 + millis * 2 / 5 * share / 0x1_0000)
}

#[cfg(test)]
#[path = "lane_tests.rs"]
mod tests;

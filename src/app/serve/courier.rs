//! Delivers commands: one task each, the newest of a release replaces the
//! ones before it, nothing is sent while all commands are halted.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};

use crate::adapters::guardian::{CommandRecord, EventKind, HaltState};
use crate::adapters::release_system::{
    Attempt, Breaker, BreakerState, CommandOrder, Delivery, Next, ReadBack, ReleaseSystem,
};
use crate::adapters::telemetry::{TargetLabels, WhatLabels};
use crate::domain::{CommandId, ReleaseKey};
use crate::guard::Settlement;

use super::actor::Call;
use super::shared::Shared;

/// Longest pause before a delivery that panicked is tried again.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// Where an actor hears how its commands ended.
pub(super) type Settled = mpsc::Sender<Call>;

/// Delivers the commands of all applications.
pub(super) struct Couriers {
    shared: Arc<Shared>,
    halt: watch::Receiver<HaltState>,
    breakers: Mutex<HashMap<String, Breaker>>,
    under_way: Mutex<HashMap<ReleaseKey, (CommandId, AbortHandle)>>,
}

impl Couriers {
    pub(super) fn new(shared: Arc<Shared>, halt: watch::Receiver<HaltState>) -> Self {
        Self { shared, halt, breakers: Mutex::default(), under_way: Mutex::default() }
    }

    /// Begins to deliver a command. Returns the command of the same release
    /// that it replaces, if that was still under way.
    pub(super) fn send(
        self: &Arc<Self>,
        order: CommandOrder,
        system: Option<Arc<dyn ReleaseSystem>>,
        settled: Settled,
        caused_at: Option<Instant>,
    ) -> Option<CommandId> {
        let (release, id) = (order.command.release.clone(), order.command.id.clone());
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        if under_way.get(&release).is_some_and(|(current, task)| *current == id && !task.is_finished()) {
            return None;
        }
        let courier = self.clone();
        let task = tokio::spawn(async move {
            let command = order.command.id.clone();
            let settlement = match system {
                Some(system) => courier.deliver_in_spite_of_faults(order, system, caused_at).await,
                None => courier.leave_to_the_gate(&order).await,
            };
            // The actor is gone only when the daemon stops; the command is
            // still stored as not settled and is taken up at the next start.
            let _ = settled.send(Call::Settled { command, settlement }).await;
        });
        let (replaced, old) = under_way.insert(release, (id, task.abort_handle()))?;
        if old.is_finished() {
            return None;
        }
        old.abort();
        Some(replaced)
    }

    /// Ends all deliveries; what was not settled is taken up at the next start.
    pub(super) fn stop(&self) {
        for (_, task) in self.under_way.lock().unwrap_or_else(PoisonError::into_inner).values() {
            task.abort();
        }
    }

    /// Targets that are being spared, as sentences.
    pub(super) fn troubles(&self, target: &str) -> Option<String> {
        let breakers = self.breakers.lock().unwrap_or_else(PoisonError::into_inner);
        match breakers.get(target)?.state() {
            BreakerState::Closed => None,
            BreakerState::Open { until } => Some(format!(
                "release system {target} failed several times in a row; next attempt at {until}"
            )),
            BreakerState::Trying { .. } => {
                Some(format!("release system {target} failed several times in a row; it is being tried"))
            }
        }
    }

    async fn leave_to_the_gate(&self, order: &CommandOrder) -> Settlement {
        self.note(order, "no release system is configured: the gate tells the pipeline that asks").await;
        Settlement::Confirmed { read_back: false }
    }

    /// Delivers in a task of its own: after a panic in it the command is tried
    /// again, under its id, until its deadline; then people are told.
    async fn deliver_in_spite_of_faults(
        self: &Arc<Self>,
        order: CommandOrder,
        system: Arc<dyn ReleaseSystem>,
        caused_at: Option<Instant>,
    ) -> Settlement {
        let mut pause = Duration::from_secs(1);
        loop {
            let (courier, system, next) = (self.clone(), system.clone(), order.clone());
            // The set ends its task when this one is aborted.
            let mut work = JoinSet::new();
            work.spawn(async move { courier.deliver(&next, system.as_ref(), caused_at).await });
            if let Some(Ok(settlement)) = work.join_next().await {
                return settlement;
            }
            self.shared.metrics.panics.inc();
            tracing::error!(command = %order.command.id, release = %order.command.release, "a fault of the guardian's own was caught while a command was delivered. Please report it");
            if order.command.deadline <= self.shared.now() + pause {
                let reason = "a fault of the guardian's own kept it from being delivered".to_owned();
                return Settlement::Unreachable { reason };
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    async fn deliver(
        &self,
        order: &CommandOrder,
        system: &dyn ReleaseSystem,
        caused_at: Option<Instant>,
    ) -> Settlement {
        let kind = order.command.kind;
        if !system.can(kind) {
            let reason = format!("the settings of the release system say not how to {}", kind.word());
            return Settlement::Refused { reason };
        }
        let interval = system.read_back_interval(kind);
        // Waits are of this delivery's own time: a clock that is set meanwhile
        // neither ends nor stretches them.
        let (begun_at, begun) = (self.shared.now(), Instant::now());
        let own_time = || begun_at + begun.elapsed();
        let mut delivery = Delivery::new(begun_at, order.command.deadline, interval);
        let mut halt = self.halt.clone();
        loop {
            let now = own_time();
            match delivery.next(now) {
                Next::Settle(settlement) => return settlement,
                Next::Wait(until) => {
                    let wait = until.since(now).max(Duration::from_millis(1));
                    tokio::select! {
                        () = tokio::time::sleep(wait) => {}
                        _ = halt.changed() => {}
                    }
                }
                Next::Attempt if halt.borrow_and_update().on => {
                    // Asked again when the halt ends or the deadline comes.
                    delivery.spared_until(now + Duration::from_millis(500));
                }
                Next::Attempt => match self.admit(system.target()) {
                    Err(until) => delivery.spared_until(until),
                    Ok(()) => {
                        let attempt = system.attempt(order, self.shared.now()).await;
                        if let (Attempt::Taken { .. }, Some(caused_at)) = (&attempt, caused_at) {
                            let seconds = caused_at.elapsed().as_secs_f64();
                            self.shared.metrics.reaction_seconds.observe(seconds);
                        }
                        self.after_attempt(order, system.target(), &attempt).await;
                        delivery.attempted(own_time(), attempt, rand::random());
                    }
                },
                Next::ReadBack => {
                    let read = system.read_back(order, self.shared.now()).await;
                    match &read {
                        ReadBack::Done => self.note(order, "read back: done").await,
                        ReadBack::NotYet { state } => {
                            tracing::debug!(command = %order.command.id, state, "not done yet")
                        }
                        ReadBack::Unknown { reason } => {
                            self.note(order, &format!("could not be read back: {reason}")).await;
                        }
                    }
                    delivery.read(own_time(), read);
                }
            }
        }
    }

    fn admit(&self, target: &str) -> Result<(), crate::domain::Timestamp> {
        let mut breakers = self.breakers.lock().unwrap_or_else(PoisonError::into_inner);
        breakers.entry(target.to_owned()).or_default().admit(self.shared.now())
    }

    async fn after_attempt(&self, order: &CommandOrder, target: &str, attempt: &Attempt) {
        let (what, text) = match attempt {
            Attempt::Taken { answer } => ("taken", answer.clone()),
            Attempt::Refused { reason } => ("refused", reason.clone()),
            Attempt::Failed { reason, .. } => ("failed", reason.clone()),
        };
        {
            let mut breakers = self.breakers.lock().unwrap_or_else(PoisonError::into_inner);
            let breaker = breakers.entry(target.to_owned()).or_default();
            match attempt {
                Attempt::Taken { .. } | Attempt::Refused { .. } => breaker.answered(),
                Attempt::Failed { .. } => breaker.failed(self.shared.now()),
            }
            let open = i64::from(breaker.state() != BreakerState::Closed);
            let labels = TargetLabels { target: target.to_owned() };
            self.shared.metrics.breaker_open.get_or_create(&labels).set(open);
        }
        self.shared.metrics.attempts.get_or_create(&WhatLabels { what }).inc();
        tracing::info!(command = %order.command.id, release = %order.command.release, what, %text, "attempt to deliver a command");
        self.note(order, &text).await;
    }

    async fn note(&self, order: &CommandOrder, text: &str) {
        let id = &order.command.id;
        // The delivery goes on without its note: the store's trouble is
        // logged and shown, and the fault is still there.
        let _ = self
            .shared
            .stored("note_attempt", self.shared.store.note_attempt(id, self.shared.now(), text))
            .await;
        let record = CommandRecord {
            command: order.command.clone(),
            settlement: None,
            settled_at: None,
            attempts: vec![crate::adapters::guardian::CommandAttempt {
                at: self.shared.now(),
                result: text.to_owned(),
            }],
        };
        self.shared.publish(&order.command.release, EventKind::Command { record: Box::new(record) });
    }
}

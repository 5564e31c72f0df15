//! When a command is sent again, when its effect is asked for, and how it
//! ends. Pure: the time is handed in, nothing sleeps.

use std::time::Duration;

use crate::domain::Timestamp;
use crate::guard::Settlement;

use super::{Attempt, ReadBack};

/// Waits before the first attempts, in seconds; the last one repeats. Far
/// shorter than for messages: each minute of waiting is a minute of fault.
const WAITS_SECONDS: [u64; 7] = [0, 1, 2, 5, 10, 15, 30];
/// Waits are longer or shorter by up to this share, so that the commands of
/// many releases do not arrive together.
const JITTER: f64 = 0.2;

/// What is to be done next about a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing before then.
    Wait(Timestamp),
    /// One attempt.
    Attempt,
    /// Ask whether it was done.
    ReadBack,
    /// It is over.
    Settle(Settlement),
}

#[derive(Clone, Debug)]
enum State {
    Sending { next_at: Timestamp },
    Reading { next_at: Timestamp, last: String },
    Over(Settlement),
}

/// The delivery of one command.
#[derive(Clone, Debug)]
pub struct Delivery {
    deadline: Timestamp,
    read_back_interval: Option<Duration>,
    attempts: u32,
    last_failure: Option<String>,
    state: State,
}

impl Delivery {
    /// A command that is to be delivered from now on. A read-back is done if
    /// there is an interval for it.
    pub fn new(now: Timestamp, deadline: Timestamp, read_back_interval: Option<Duration>) -> Self {
        let state = State::Sending { next_at: now };
        Self { deadline, read_back_interval, attempts: 0, last_failure: None, state }
    }

    /// How many attempts were made.
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// What is to be done now.
    pub fn next(&self, now: Timestamp) -> Next {
        match &self.state {
            State::Over(settlement) => Next::Settle(settlement.clone()),
            State::Sending { .. } if now > self.deadline => Next::Settle(self.unreachable()),
            State::Sending { next_at } if now < *next_at => Next::Wait((*next_at).min(self.just_after())),
            State::Sending { .. } => Next::Attempt,
            State::Reading { last, .. } if now > self.deadline => {
                let reason =
                    format!("the release system took the command, but it was not done in time: {last}");
                Next::Settle(Settlement::Unreachable { reason })
            }
            State::Reading { next_at, .. } if now < *next_at => Next::Wait((*next_at).min(self.just_after())),
            State::Reading { .. } => Next::ReadBack,
        }
    }

    /// The target is being spared until then; no attempt was made.
    pub fn spared_until(&mut self, until: Timestamp) {
        if let State::Sending { next_at } = &mut self.state {
            *next_at = (*next_at).max(until);
            self.last_failure
                .get_or_insert_with(|| "its target failed for other commands and is being spared".to_owned());
        }
    }

    /// An attempt was made. `dice` is a random number from 0 to 1.
    pub fn attempted(&mut self, now: Timestamp, attempt: Attempt, dice: f64) {
        self.attempts += 1;
        self.state = match attempt {
            Attempt::Taken { .. } => match self.read_back_interval {
                None => State::Over(Settlement::Confirmed { read_back: false }),
                Some(_) => State::Reading { next_at: now, last: "it was not asked yet".to_owned() },
            },
            Attempt::Refused { reason } => State::Over(Settlement::Refused { reason }),
            Attempt::Failed { reason, retry_after } => {
                let index = (self.attempts as usize).min(WAITS_SECONDS.len() - 1);
                let planned = Duration::from_secs(WAITS_SECONDS[index])
                    .mul_f64(1.0 + JITTER * (2.0 * dice.clamp(0.0, 1.0) - 1.0));
                // What it asks for counts if it is longer than our own plan.
                let wait = retry_after.map_or(planned, |asked| asked.max(planned));
                let next_at = now + wait;
                if retry_after.is_some() && next_at > self.deadline {
                    let asked = retry_after.unwrap_or_default().as_secs();
                    let reason = format!(
                        "{reason}; it asks to be tried again after {asked} s, which is past the deadline"
                    );
                    State::Over(Settlement::Unreachable { reason })
                } else {
                    self.last_failure = Some(reason);
                    State::Sending { next_at }
                }
            }
        };
    }

    /// The state was asked for.
    pub fn read(&mut self, now: Timestamp, read: ReadBack) {
        let interval = self.read_back_interval.unwrap_or_default().max(Duration::from_millis(100));
        self.state = match read {
            ReadBack::Done => State::Over(Settlement::Confirmed { read_back: true }),
            ReadBack::NotYet { state } => State::Reading { next_at: now + interval, last: state },
            ReadBack::Unknown { reason } => {
                State::Reading { next_at: now + interval, last: format!("its state is unknown: {reason}") }
            }
        };
    }

    fn just_after(&self) -> Timestamp {
        self.deadline + Duration::from_millis(1)
    }

    fn unreachable(&self) -> Settlement {
        let reason = match &self.last_failure {
            Some(reason) => format!("{reason} ({} attempts until the deadline)", self.attempts),
            None => "its deadline passed before it could be sent; the guardian was not running".to_owned(),
        };
        Settlement::Unreachable { reason }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1_000)
    }

    fn failed(retry_after: Option<u64>) -> Attempt {
        Attempt::Failed {
            reason: "HTTP status 503".into(),
            retry_after: retry_after.map(Duration::from_secs),
        }
    }

    #[test]
    fn it_is_tried_at_once_then_after_1_2_5_10_15_30_30_seconds_until_the_deadline() {
        let mut delivery = Delivery::new(at(0), at(120), None);
        let mut now = at(0);
        let mut tried = vec![];
        let end = loop {
            match delivery.next(now) {
                Next::Attempt => {
                    tried.push(now.as_millis() / 1_000);
                    delivery.attempted(now, failed(None), 0.5);
                }
                Next::Wait(until) => now = until,
                Next::ReadBack => unreachable!("there is none"),
                Next::Settle(settlement) => break settlement,
            }
        };
        assert_eq!(tried, [0, 1, 3, 8, 18, 33, 63, 93]);
        assert_eq!(
            end,
            Settlement::Unreachable { reason: "HTTP status 503 (8 attempts until the deadline)".into() }
        );
    }

    #[test]
    fn what_the_target_asks_for_is_obeyed_if_it_is_before_the_deadline() {
        let mut delivery = Delivery::new(at(0), at(120), None);
        delivery.attempted(at(0), failed(Some(60)), 0.5);
        assert_eq!(delivery.next(at(0)), Next::Wait(at(60)));
        assert_eq!(delivery.next(at(60)), Next::Attempt);
        delivery.attempted(at(60), failed(Some(3_600)), 0.5);
        let Next::Settle(Settlement::Unreachable { reason }) = delivery.next(at(60)) else {
            panic!("people must be told at once")
        };
        assert!(reason.contains("3600 s"), "{reason}");
    }

    #[test]
    fn a_refusal_is_the_end_and_a_success_without_read_back_is_believed() {
        let mut refused = Delivery::new(at(0), at(120), None);
        refused.attempted(at(0), Attempt::Refused { reason: "HTTP status 410".into() }, 0.5);
        assert_eq!(
            refused.next(at(0)),
            Next::Settle(Settlement::Refused { reason: "HTTP status 410".into() })
        );
        let mut taken = Delivery::new(at(0), at(120), None);
        taken.attempted(at(0), Attempt::Taken { answer: "200".into() }, 0.5);
        assert_eq!(taken.next(at(0)), Next::Settle(Settlement::Confirmed { read_back: false }));
    }

    #[test]
    fn what_was_taken_and_not_done_before_the_deadline_is_not_called_done() {
        let mut delivery = Delivery::new(at(0), at(10), Some(Duration::from_secs(2)));
        delivery.attempted(at(1), Attempt::Taken { answer: "202".into() }, 0.5);
        assert_eq!(delivery.next(at(1)), Next::ReadBack);
        delivery.read(at(1), ReadBack::NotYet { state: "progressing".into() });
        assert_eq!(delivery.next(at(1)), Next::Wait(at(3)));
        let mut done = delivery.clone();
        done.read(at(3), ReadBack::Done);
        assert_eq!(done.next(at(3)), Next::Settle(Settlement::Confirmed { read_back: true }));
        let Next::Settle(Settlement::Unreachable { reason }) = delivery.next(at(11)) else { panic!() };
        assert!(reason.contains("progressing"), "{reason}");
    }

    #[test]
    fn a_command_whose_deadline_passed_while_nobody_ran_is_not_sent() {
        let delivery = Delivery::new(at(500), at(120), None);
        assert!(matches!(delivery.next(at(500)), Next::Settle(Settlement::Unreachable { .. })));
    }

    proptest! {
        #[test]
        fn whatever_happens_it_ends_soon_after_the_deadline(
            events in proptest::collection::vec((0..5u8, 0.0..1.0f64, 0..90u64), 1..20),
            read_back in any::<bool>(),
        ) {
            let mut delivery = Delivery::new(at(0), at(300), read_back.then_some(Duration::from_secs(2)));
            let mut now = at(0);
            let mut step = 0;
            loop {
                let (event, dice, seconds) = events[step % events.len()];
                step += 1;
                prop_assert!(step < 2_000, "it does not end");
                match delivery.next(now) {
                    Next::Settle(_) => break,
                    Next::Wait(until) => {
                        prop_assert!(until > now);
                        now = until;
                    }
                    Next::Attempt => delivery.attempted(now, match event {
                        0 => Attempt::Taken { answer: String::new() },
                        1 => Attempt::Refused { reason: String::new() },
                        _ => failed((event == 2).then_some(seconds)),
                    }, dice),
                    Next::ReadBack => delivery.read(now, match event {
                        0 => ReadBack::Done,
                        1 | 2 => ReadBack::NotYet { state: String::new() },
                        _ => ReadBack::Unknown { reason: String::new() },
                    }),
                }
            }
            prop_assert!(now <= at(301));
        }
    }
}

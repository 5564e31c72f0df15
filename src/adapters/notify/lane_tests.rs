use super::*;
use crate::domain::{ApplicationName, ReleaseId, ReleaseKey};
use proptest::prelude::*;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(seconds * 1000)
}

fn message(name: &str, kind: MessageKind, severity: Severity) -> Arc<Message> {
    Arc::new(Message {
        id: name.to_owned(),
        kind,
        severity,
        release: Some(ReleaseKey {
            application: ApplicationName::new("shop").unwrap(),
            id: ReleaseId::new("r").unwrap(),
        }),
        ..Message::test(at(0))
    })
}

fn course(name: &str) -> Arc<Message> {
    message(name, MessageKind::Course, Severity::Info)
}

fn limits() -> LaneLimits {
    LaneLimits {
        rate: Rate { messages: 100, per: Duration::from_secs(60) },
        digest_above: 3,
        give_up_after: Duration::from_secs(3600),
    }
}

fn ids(batch: &Batch) -> Vec<&str> {
    batch.messages.iter().map(|message| message.id.as_str()).collect()
}

fn sends(lane: &mut Lane, now: Timestamp) -> Batch {
    match lane.step(now) {
        Step::Send(batch) => batch,
        other => panic!("{other:?}"),
    }
}

fn down() -> SendError {
    SendError::unavailable("down")
}

#[test]
fn a_bucket_gives_what_its_rate_allows_and_says_when_there_is_more() {
    let mut bucket = TokenBucket::new(Rate { messages: 4, per: Duration::from_secs(60) }, at(0));
    assert_eq!((bucket.take(at(0)), bucket.take(at(0))), (Ok(()), Ok(())));
    assert_eq!(bucket.take(at(0)), Err(at(30)));
    assert_eq!(bucket.take(at(29)), Err(at(30)));
    assert_eq!(bucket.take(at(30)), Ok(()));
    assert!(bucket.take(at(10)).is_err(), "a clock that steps back gives nothing");
}

#[test]
fn few_messages_go_one_by_one_and_the_urgent_one_first() {
    let mut lane = Lane::new(limits(), at(0));
    lane.push(course("a"), at(0));
    lane.push(message("b", MessageKind::Paused, Severity::Critical), at(1));
    let first = sends(&mut lane, at(2));
    assert_eq!(ids(&first), ["b"]);
    lane.sent(&first);
    let second = sends(&mut lane, at(2));
    assert_eq!(ids(&second), ["a"]);
    lane.sent(&second);
    assert_eq!(lane.step(at(2)), Step::Idle);
}

#[test]
fn under_load_the_urgent_stand_alone_and_the_rest_is_one_digest() {
    let mut lane = Lane::new(limits(), at(0));
    for name in ["a", "b", "c", "d", "e"] {
        lane.push(course(name), at(0));
    }
    lane.push(message("p", MessageKind::Paused, Severity::Critical), at(0));
    let first = sends(&mut lane, at(1));
    assert_eq!(ids(&first), ["p"]);
    lane.sent(&first);
    let digest = sends(&mut lane, at(1));
    assert_eq!(ids(&digest), ["a", "b", "c", "d", "e"]);
    lane.sent(&digest);
    assert!(lane.is_empty());
}

#[test]
fn a_digest_that_may_have_arrived_is_repeated_unchanged() {
    let mut lane = Lane::new(limits(), at(0));
    for name in ["a", "b", "c", "d"] {
        lane.push(course(name), at(0));
    }
    let first = sends(&mut lane, at(1));
    assert!(lane.failed(&first, &down(), at(1)).is_empty());
    lane.push(course("e"), at(1));
    assert!(matches!(lane.step(at(1)), Step::WaitUntil(_)));
    let second = sends(&mut lane, at(60));
    assert_eq!((&second.id, ids(&second)), (&first.id, vec!["a", "b", "c", "d"]));
}

#[test]
fn one_message_a_state_change_and_the_newest_of_a_continuing_one() {
    let mut lane = Lane::new(limits(), at(0));
    lane.push(course("a"), at(0));
    assert!(lane.push(course("a"), at(0)).is_empty());
    assert_eq!(lane.len(), 1);
    lane.push(message("x", MessageKind::Advice, Severity::Warning), at(0));
    let dropped = lane.push(message("y", MessageKind::Advice, Severity::Warning), at(1));
    assert_eq!(dropped.len(), 1);
    assert_eq!((dropped[0].message.id.as_str(), &dropped[0].why), ("x", &Why::Superseded));
}

#[test]
fn a_channel_that_is_down_is_tried_with_growing_pauses_until_it_gives_up() {
    let mut lane = Lane::new(limits(), at(0));
    lane.push(course("a"), at(0));
    let mut now = at(0);
    let mut tries = 0;
    let lost = loop {
        let lost = lane.expire(now);
        if !lost.is_empty() {
            break lost;
        }
        match lane.step(now) {
            Step::Send(batch) => {
                tries += 1;
                assert!(lane.failed(&batch, &down(), now).is_empty());
            }
            Step::WaitUntil(when) => {
                assert!(when > now);
                now = when;
            }
            Step::Idle => panic!("it forgot a message"),
        }
    };
    // By hand: 1+2+5+15+30+60+120+300+600 s fit into an hour, then two of 900.
    assert!((10..=13).contains(&tries), "{tries}");
    assert_eq!(lost[0].why, Why::Expired("down".to_owned()));
}

#[test]
fn a_rate_limit_is_obeyed_and_costs_no_message() {
    let mut lane = Lane::new(limits(), at(0));
    lane.push(course("a"), at(0));
    let batch = sends(&mut lane, at(0));
    let limited = SendError::RateLimited { retry_after: Duration::from_secs(600), reason: String::new() };
    assert!(lane.failed(&batch, &limited, at(0)).is_empty());
    assert_eq!(lane.step(at(1)), Step::WaitUntil(at(600)));
    assert_eq!(ids(&sends(&mut lane, at(600))), ["a"]);
}

#[test]
fn greylisting_of_one_message_does_not_hold_the_next() {
    let mut lane = Lane::new(limits(), at(0));
    lane.push(course("a"), at(0));
    let batch = sends(&mut lane, at(0));
    let later = SendError::Unavailable { scope: Scope::Message, reason: String::new() };
    lane.failed(&batch, &later, at(0));
    lane.push(course("b"), at(0));
    assert_eq!(ids(&sends(&mut lane, at(0))), ["b"]);
}

#[test]
fn a_closed_channel_is_left_alone_and_its_messages_expire() {
    let mut lane = Lane::new(limits(), at(0));
    lane.push(course("a"), at(0));
    let batch = sends(&mut lane, at(0));
    lane.failed(&batch, &SendError::Closed { reason: "archived".into() }, at(0));
    assert_eq!(lane.step(at(1)), Step::WaitUntil(at(3600)));
    assert_eq!(lane.expire(at(3600))[0].why, Why::Expired("archived".to_owned()));
}

#[test]
fn a_refused_digest_is_sent_one_by_one() {
    let mut lane = Lane::new(limits(), at(0));
    for name in ["a", "b", "c", "d"] {
        lane.push(course(name), at(0));
    }
    let refused = SendError::Refused { reason: "too long".into() };
    let digest = sends(&mut lane, at(0));
    assert!(lane.failed(&digest, &refused, at(0)).is_empty());
    let single = sends(&mut lane, at(0));
    assert_eq!(single.messages.len(), 1);
    let dropped = lane.failed(&single, &refused, at(0));
    assert_eq!(dropped[0].why, Why::Refused("too long".to_owned()));
    assert_eq!(lane.len(), 3);
}

#[test]
fn at_the_bound_the_least_urgent_is_given_up() {
    let mut lane = Lane::new(limits(), at(0));
    lane.push(message("p", MessageKind::Paused, Severity::Critical), at(0));
    let mut dropped = Vec::new();
    for number in 0..WAITING_MAX {
        dropped.extend(lane.push(course(&number.to_string()), at(1)));
    }
    assert_eq!(lane.len(), WAITING_MAX);
    assert_eq!((dropped.len(), dropped[0].message.id.as_str()), (1, "0"));
}

proptest! {
    /// Whatever happens, each message is sent once or dropped once, and the
    /// rate is never exceeded.
    #[test]
    fn nothing_is_lost_silently_and_the_rate_holds(outcomes in prop::collection::vec(0_u8..6, 1..80)) {
        let rate = Rate { messages: 5, per: Duration::from_secs(60) };
        let mut lane = Lane::new(LaneLimits { rate, ..limits() }, at(0));
        let (mut pushed, mut ended) = (0, Vec::new());
        let mut attempts: Vec<Timestamp> = Vec::new();
        let mut now = at(0);
        for outcome in outcomes {
            lane.push(course(&pushed.to_string()), now);
            pushed += 1;
            ended.extend(lane.expire(now).into_iter().map(|dropped| dropped.message.id.clone()));
            match lane.step(now) {
                Step::Idle => {}
                Step::WaitUntil(when) => now = when.max(now),
                Step::Send(batch) => {
                    attempts.push(now);
                    let error = match outcome {
                        0..=1 => {
                            ended.extend(batch.messages.iter().map(|message| message.id.clone()));
                            lane.sent(&batch);
                            continue;
                        }
                        2 => down(),
                        3 => SendError::RateLimited { retry_after: Duration::from_secs(7), reason: String::new() },
                        4 => SendError::Unavailable { scope: Scope::Message, reason: String::new() },
                        _ => SendError::Refused { reason: String::new() },
                    };
                    let dropped = lane.failed(&batch, &error, now);
                    ended.extend(dropped.into_iter().map(|dropped| dropped.message.id.clone()));
                }
            }
        }
        let mut once = ended.clone();
        once.sort();
        once.dedup();
        prop_assert_eq!(once.len(), ended.len());
        prop_assert_eq!(ended.len() + lane.len(), pushed);
        for window in attempts.windows(6) {
            prop_assert!(window[5].since(window[0]) >= Duration::from_secs(59));
        }
    }
}

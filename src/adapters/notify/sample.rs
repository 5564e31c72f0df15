//! Messages of every kind, to try templates with before they are needed.

use crate::config::notify::Severity;
use crate::domain::{ApplicationName, ReleaseId, ReleaseKey, Timestamp};
use crate::guard::Action;
use crate::signal::Unit;

use super::links::{Link, LinkAction};
use super::message::{Chart, Decided, Message, MessageKind, Next, Reason};
use super::render::{Entry, Parcel};

/// One full and one bare message of every kind, and a digest of all.
pub(super) fn parcels() -> Vec<Parcel> {
    let mut entries: Vec<Entry> = Vec::new();
    for kind in MessageKind::ALL {
        entries.push(entry(full(kind)));
        entries.push(entry(Message { kind, ..Message::test(Timestamp::from_millis(0)) }));
    }
    let single = |entry: &Entry| parcel(vec![entry.clone()]);
    let mut parcels: Vec<Parcel> = entries.iter().map(single).collect();
    parcels.push(Parcel { omitted: 3, ..parcel(entries) });
    parcels
}

fn parcel(entries: Vec<Entry>) -> Parcel {
    Parcel { id: "sample".to_owned(), at: Timestamp::from_millis(0), entries, omitted: 0 }
}

fn entry(message: Message) -> Entry {
    let links = LinkAction::of(message.kind)
        .iter()
        .map(|&action| Link { action, url: format!("https://guardian.example.com/links/{}", action.word()) })
        .collect();
    let page_url = message.release.as_ref().map(|_| "https://guardian.example.com/releases/1".to_owned());
    Entry { message, links, page_url }
}

fn full(kind: MessageKind) -> Message {
    let at = Timestamp::from_millis(1_772_353_800_000);
    let release = ApplicationName::new("checkout").ok().zip(ReleaseId::new("r-1").ok());
    Message {
        id: "0123456789abcdef0123456789abcdef".to_owned(),
        at,
        kind,
        severity: Severity::Critical,
        release: release.map(|(application, id)| ReleaseKey { application, id }),
        version: Some("2.4.1".to_owned()),
        previous_version: Some("2.4.0".to_owned()),
        environment: Some("production".to_owned()),
        text: "A sample.".to_owned(),
        decided: Some(Decided {
            action: Action::Pause,
            would: Action::Rollback,
            operator: Some("li.wei".to_owned()),
            probability: 0.97,
            because: "Two of three looks failed.".to_owned(),
        }),
        reasons: vec![Reason {
            signal: "error ratio of /cart".to_owned(),
            because: "A sample.".to_owned(),
            test: "shift".to_owned(),
            release: (Some(0.002), Some(0.04)),
            reference: (Some(0.002), None),
            unit: Unit::Ratio,
            strength: 12.0,
            of_limit: false,
            since: Some(at),
            instances: 2,
        }],
        more_reasons: 2,
        blind: vec!["latency: too few requests".to_owned()],
        similar: Some(("r-0".to_owned(), Some("connection leak".to_owned()))),
        charts: vec![Chart {
            signal: "error ratio of /cart".to_owned(),
            unit: Unit::Ratio,
            points: vec![(at, Some(0.0), Some(0.0)), (at, Some(1.0), None)],
            batches: vec![at],
        }],
        next: Next::RollsBackAt(at),
        confirmed_by: Some(at),
    }
}

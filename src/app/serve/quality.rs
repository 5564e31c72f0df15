//! How good the guardian was, from feedback and settled rollbacks.

use std::collections::BTreeMap;

use crate::adapters::guardian::{Quality, QualityCounts, QualityPeriod};
use crate::adapters::store::QualityRow;
use crate::domain::{ApplicationName, FeedbackKind, Timestamp};
use crate::guard::engine::Phase;
use crate::judge::Outcome;

/// What one release counts as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Caught,
    FalseStop,
    Missed,
    Unknown,
    Passed,
}

fn kind(row: &QualityRow) -> Kind {
    let stopped = row.first_stop_at.is_some();
    match (stopped, row.word) {
        (true, Some(FeedbackKind::FaultConfirmed | FeedbackKind::FaultMissed)) => Kind::Caught,
        (true, Some(FeedbackKind::FalseAlarm)) => Kind::FalseStop,
        // A rollback that settled is a confirmed fault until somebody says
        // otherwise; a pause without a word may be either.
        (true, None) if row.rolled_back => Kind::Caught,
        (true, None) => Kind::Unknown,
        (false, Some(FeedbackKind::FaultConfirmed | FeedbackKind::FaultMissed)) => Kind::Missed,
        (false, Some(FeedbackKind::FalseAlarm)) => Kind::Passed,
        (false, None) if ran_judged(row) => Kind::Passed,
        (false, None) => Kind::Unknown,
    }
}

/// Whether it was let pass by a verdict: what was cancelled, taken back by
/// people, or not judged to its end says nothing about the guardian.
fn ran_judged(row: &QualityRow) -> bool {
    row.phase == Phase::Finished && row.outcome.is_some_and(|outcome| outcome != Outcome::Unknown)
}

fn share(part: u32, rest: u32) -> Option<f64> {
    (part + rest > 0).then(|| f64::from(part) / f64::from(part + rest))
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        n if n % 2 == 1 => Some(values[middle]),
        _ => Some((values[middle - 1] + values[middle]) / 2.0),
    }
}

fn count<'a>(rows: impl Iterator<Item = &'a QualityRow>) -> QualityCounts {
    let mut counts = QualityCounts::default();
    let mut delays = Vec::new();
    for row in rows {
        counts.releases += 1;
        match kind(row) {
            Kind::Caught => {
                counts.caught += 1;
                let onset = row.onset.unwrap_or(row.started_at);
                delays.extend(row.first_stop_at.map(|stop| stop.seconds_from(onset)));
            }
            Kind::FalseStop => counts.false_stops += 1,
            Kind::Missed => counts.missed += 1,
            Kind::Unknown => counts.unknown += 1,
            Kind::Passed => counts.passed += 1,
        }
    }
    counts.recall = share(counts.caught, counts.missed);
    counts.precision = share(counts.caught, counts.false_stops);
    counts.false_stops_per_good = share(counts.false_stops, counts.passed);
    counts.median_delay_seconds = median(delays);
    counts
}

/// The first moment of the month in UTC.
fn month(at: Timestamp) -> Timestamp {
    let Ok(moment) = jiff::Timestamp::from_millisecond(at.as_millis()) else { return at };
    let zoned = moment.to_zoned(jiff::tz::TimeZone::UTC);
    match zoned.first_of_month().and_then(|first| first.start_of_day()) {
        Ok(first) => Timestamp::from_millis(first.timestamp().as_millisecond()),
        Err(_) => at,
    }
}

/// Counts releases that are over; of one application or of all.
pub(super) fn quality(rows: &[QualityRow], only: Option<&ApplicationName>) -> Quality {
    let rows: Vec<&QualityRow> =
        rows.iter().filter(|row| only.is_none_or(|name| row.application == *name)).collect();
    let mut applications: BTreeMap<&ApplicationName, Vec<&QualityRow>> = BTreeMap::new();
    let mut months: BTreeMap<Timestamp, Vec<&QualityRow>> = BTreeMap::new();
    for &row in &rows {
        applications.entry(&row.application).or_default().push(row);
        months.entry(month(row.started_at)).or_default().push(row);
    }
    Quality {
        all: count(rows.iter().copied()),
        applications: applications
            .into_iter()
            .map(|(name, rows)| (name.clone(), count(rows.into_iter())))
            .collect(),
        over_time: months
            .into_iter()
            .map(|(from, rows)| QualityPeriod { from, counts: count(rows.into_iter()) })
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(
        application: &str,
        start: &str,
        stop: Option<i64>,
        rolled_back: bool,
        word: Option<FeedbackKind>,
    ) -> QualityRow {
        let started_at: Timestamp = start.parse().unwrap();
        QualityRow {
            application: ApplicationName::new(application).unwrap(),
            started_at,
            phase: if rolled_back { Phase::RolledBack } else { Phase::Finished },
            outcome: Some(Outcome::Healthy),
            first_stop_at: stop.map(|s| started_at + std::time::Duration::from_secs(s as u64)),
            rolled_back,
            word,
            onset: None,
        }
    }

    #[test]
    fn releases_count_by_what_was_said_of_them() {
        let march = "2026-03-05T10:00:00Z";
        let rows = [
            row("shop", march, Some(60), true, None),
            row("shop", march, Some(120), false, Some(FeedbackKind::FaultConfirmed)),
            row("shop", march, Some(60), true, Some(FeedbackKind::FalseAlarm)),
            row("shop", march, Some(60), false, None),
            row("shop", "2026-04-30T23:59:59Z", None, false, Some(FeedbackKind::FaultMissed)),
            row("shop", march, None, false, None),
            row("mail", march, None, false, Some(FeedbackKind::FalseAlarm)),
        ];
        let quality = quality(&rows, None);
        let all = quality.all;
        assert_eq!(
            (all.releases, all.caught, all.false_stops, all.missed, all.unknown, all.passed),
            (7, 2, 1, 1, 1, 2)
        );
        assert_eq!(all.recall, Some(2.0 / 3.0));
        assert_eq!(all.precision, Some(2.0 / 3.0));
        assert_eq!(all.false_stops_per_good, Some(1.0 / 3.0));
        assert_eq!(all.median_delay_seconds, Some(90.0));
        assert_eq!(quality.over_time.len(), 2);
        assert_eq!(quality.over_time[0].from.to_string(), "2026-03-01T00:00:00.000Z");
        assert_eq!(quality.over_time[1].counts.recall, Some(0.0));
        let mail = super::quality(&rows, Some(&ApplicationName::new("mail").unwrap()));
        assert_eq!((mail.all.releases, mail.all.recall), (1, None));
    }

    #[test]
    fn what_was_not_judged_to_its_end_is_unknown_until_somebody_says_what_it_was() {
        let march = "2026-03-05T10:00:00Z";
        let ended =
            |phase, outcome, word| QualityRow { phase, outcome, ..row("shop", march, None, false, word) };
        for (phase, outcome) in [
            (Phase::Cancelled, Some(Outcome::Healthy)),
            (Phase::RolledBack, Some(Outcome::Failing)),
            (Phase::Finished, Some(Outcome::Unknown)),
            (Phase::Finished, None),
        ] {
            let counts = count([&ended(phase, outcome, None)].into_iter());
            assert_eq!((counts.unknown, counts.passed), (1, 0), "{phase:?} {outcome:?}");
            assert_eq!((counts.recall, counts.false_stops_per_good), (None, None));
            let counts = count([&ended(phase, outcome, Some(FeedbackKind::FaultMissed))].into_iter());
            assert_eq!((counts.missed, counts.unknown), (1, 0), "{phase:?} {outcome:?}");
            let counts = count([&ended(phase, outcome, Some(FeedbackKind::FalseAlarm))].into_iter());
            assert_eq!((counts.passed, counts.unknown), (1, 0), "{phase:?} {outcome:?}");
        }
    }

    #[test]
    fn nothing_is_claimed_before_there_is_anything_to_count() {
        let none = quality(&[], None);
        assert_eq!((none.all.recall, none.all.precision, none.all.false_stops_per_good), (None, None, None));
    }
}

//! The freeze calendar: when no release may begin, unless it is marked as an
//! emergency. Windows are written in local time of a zone, and stay so when
//! clocks change.

use jiff::civil::{Date, Time, Weekday};
use jiff::tz::TimeZone;
use jiff::{Span, ToSpan, Zoned};

use crate::domain::{ApplicationName, Timestamp};

/// One rule of the calendar.
#[derive(Clone, Debug, PartialEq)]
pub struct FreezeRule {
    /// What people call it.
    pub name: String,
    /// In whose local time it is written.
    pub zone: TimeZone,
    /// When it holds.
    pub when: FreezeTimes,
    /// Whom it concerns; all if empty.
    pub applications: Vec<ApplicationName>,
}

/// When a freeze holds, in local time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FreezeTimes {
    /// Each week, from a time of day until another; over midnight if `to` is
    /// not after `from`. The days are those on which it begins.
    Weekly {
        /// On which days it begins.
        days: Vec<Weekday>,
        /// From this time of day.
        from: Time,
        /// Until this time of day.
        to: Time,
    },
    /// From the beginning of one day to the end of another.
    Dates {
        /// The first day.
        first: Date,
        /// The last day, frozen as well.
        last: Date,
    },
}

/// A freeze that holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Freeze {
    /// What people call it.
    pub name: String,
    /// Until when; it may pass straight into another.
    pub until: Timestamp,
}

/// All rules together.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FreezeCalendar {
    rules: Vec<FreezeRule>,
}

/// Longest chain of freezes that pass into each other which is followed.
const CHAIN_MAX: usize = 400;

impl FreezeCalendar {
    /// A calendar of these rules.
    pub fn new(rules: Vec<FreezeRule>) -> Self {
        Self { rules }
    }

    /// The rules, in the order in which they were given.
    pub fn rules(&self) -> &[FreezeRule] {
        &self.rules
    }

    /// The freeze that holds for an application at a moment, with the moment
    /// at which its releases may begin again: freezes that overlap or touch
    /// are one.
    pub fn frozen_at(&self, application: &ApplicationName, now: Timestamp) -> Option<Freeze> {
        let mut freeze = self.longest_at(application, now)?;
        for _ in 0..CHAIN_MAX {
            match self.longest_at(application, freeze.until) {
                Some(next) => freeze.until = next.until,
                None => break,
            }
        }
        Some(freeze)
    }

    fn longest_at(&self, application: &ApplicationName, now: Timestamp) -> Option<Freeze> {
        self.rules
            .iter()
            .filter(|rule| rule.applications.is_empty() || rule.applications.contains(application))
            .filter_map(|rule| Some(Freeze { name: rule.name.clone(), until: rule.until(now)? }))
            .max_by_key(|freeze| freeze.until)
    }
}

impl FreezeRule {
    /// When the freeze that holds at `now` ends; nothing if none holds.
    fn until(&self, now: Timestamp) -> Option<Timestamp> {
        let moment = jiff::Timestamp::from_millisecond(now.as_millis()).ok()?;
        let local = moment.to_zoned(self.zone.clone());
        match &self.when {
            FreezeTimes::Dates { first, last } => {
                let begin = self.at(*first, Time::midnight())?;
                let end = self.at(last.tomorrow().ok()?, Time::midnight())?;
                (begin <= now && now < end).then_some(end)
            }
            FreezeTimes::Weekly { days, from, to } => {
                // A window over midnight may have begun yesterday.
                [-1.days(), 0.days()]
                    .into_iter()
                    .filter_map(|back: Span| local.date().checked_add(back).ok())
                    .filter(|date| days.contains(&date.weekday()))
                    .filter_map(|date| {
                        let last = if to > from { date } else { date.tomorrow().ok()? };
                        let (begin, end) = (self.at(date, *from)?, self.at(last, *to)?);
                        (begin <= now && now < end).then_some(end)
                    })
                    .max()
            }
        }
    }

    /// A local time as a moment. A time that the clock change skips is the
    /// moment after the gap; of one that comes twice it is the first.
    fn at(&self, date: Date, time: Time) -> Option<Timestamp> {
        let zoned: Zoned = date.to_datetime(time).to_zoned(self.zone.clone()).ok()?;
        Some(Timestamp::from_millis(zoned.timestamp().as_millisecond()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil::{date, time};
    use proptest::prelude::*;

    fn zone(name: &str) -> TimeZone {
        TimeZone::get(name).unwrap()
    }

    fn calendar(zone_name: &str, when: FreezeTimes) -> FreezeCalendar {
        let rule = FreezeRule { name: "freeze".into(), zone: zone(zone_name), when, applications: vec![] };
        FreezeCalendar::new(vec![rule])
    }

    fn shop() -> ApplicationName {
        ApplicationName::new("shop").unwrap()
    }

    fn until(calendar: &FreezeCalendar, now: &str) -> Option<String> {
        let freeze = calendar.frozen_at(&shop(), now.parse().unwrap())?;
        Some(freeze.until.to_string())
    }

    fn friday_night(zone_name: &str) -> FreezeCalendar {
        let when = FreezeTimes::Weekly {
            days: vec![Weekday::Friday],
            from: time(18, 0, 0, 0),
            to: time(8, 0, 0, 0),
        };
        calendar(zone_name, when)
    }

    #[test]
    fn a_weekly_window_holds_in_its_own_zone_and_over_midnight() {
        let shanghai = friday_night("Asia/Shanghai");
        // 18:00 on Friday in Shanghai is 10:00 in UTC.
        assert_eq!(until(&shanghai, "2026-10-02T09:59:59.999Z"), None);
        assert_eq!(until(&shanghai, "2026-10-02T10:00:00Z").as_deref(), Some("2026-10-03T00:00:00.000Z"));
        assert_eq!(until(&shanghai, "2026-10-02T23:59:59Z").as_deref(), Some("2026-10-03T00:00:00.000Z"));
        assert_eq!(until(&shanghai, "2026-10-03T00:00:00Z"), None);
    }

    #[test]
    fn a_window_keeps_its_local_times_when_clocks_change() {
        // Clocks in Berlin go forward at 02:00 on 29 March 2026 and back at
        // 03:00 on 25 October 2026: the nights have 13 and 15 hours.
        let when = FreezeTimes::Weekly {
            days: vec![Weekday::Saturday],
            from: time(18, 0, 0, 0),
            to: time(8, 0, 0, 0),
        };
        let berlin = calendar("Europe/Berlin", when);
        assert_eq!(until(&berlin, "2026-03-28T17:00:00Z").as_deref(), Some("2026-03-29T06:00:00.000Z"));
        assert_eq!(until(&berlin, "2026-10-24T16:00:00Z").as_deref(), Some("2026-10-25T07:00:00.000Z"));
        assert_eq!(until(&berlin, "2026-10-24T15:59:59Z"), None);
    }

    #[test]
    fn a_time_that_the_clock_change_skips_or_repeats_is_still_a_time() {
        let night = |from, to| {
            calendar("Europe/Berlin", FreezeTimes::Weekly { days: vec![Weekday::Sunday], from, to })
        };
        // 02:30 does not exist on 29 March; the window begins after the gap.
        let spring = night(time(2, 30, 0, 0), time(4, 0, 0, 0));
        assert_eq!(until(&spring, "2026-03-29T01:29:59Z"), None);
        assert_eq!(until(&spring, "2026-03-29T01:30:00Z").as_deref(), Some("2026-03-29T02:00:00.000Z"));
        // 02:30 comes twice on 25 October; the window begins at the first.
        let autumn = night(time(2, 30, 0, 0), time(4, 0, 0, 0));
        assert_eq!(until(&autumn, "2026-10-25T00:30:00Z").as_deref(), Some("2026-10-25T03:00:00.000Z"));
    }

    #[test]
    fn a_range_of_dates_includes_its_last_day() {
        let holidays = calendar(
            "Asia/Shanghai",
            FreezeTimes::Dates { first: date(2026, 10, 1), last: date(2026, 10, 7) },
        );
        assert_eq!(until(&holidays, "2026-09-30T15:59:59Z"), None);
        assert_eq!(until(&holidays, "2026-09-30T16:00:00Z").as_deref(), Some("2026-10-07T16:00:00.000Z"));
        assert_eq!(until(&holidays, "2026-10-07T15:59:59Z").as_deref(), Some("2026-10-07T16:00:00.000Z"));
        assert_eq!(until(&holidays, "2026-10-07T16:00:00Z"), None);
    }

    #[test]
    fn windows_that_touch_are_one_freeze() {
        let days = vec![Weekday::Saturday, Weekday::Sunday];
        let all_day = FreezeTimes::Weekly { days, from: time(0, 0, 0, 0), to: time(0, 0, 0, 0) };
        let weekend = calendar("UTC", all_day);
        assert_eq!(until(&weekend, "2026-10-03T12:00:00Z").as_deref(), Some("2026-10-05T00:00:00.000Z"));
        let always = FreezeTimes::Weekly {
            days: (1..=7).map(|day| Weekday::from_monday_one_offset(day).unwrap()).collect(),
            from: time(0, 0, 0, 0),
            to: time(0, 0, 0, 0),
        };
        assert!(
            until(&calendar("UTC", always), "2026-10-03T12:00:00Z").is_some(),
            "a freeze for ever ends the search"
        );
    }

    #[test]
    fn a_rule_concerns_only_the_applications_that_it_names() {
        let mut rule = friday_night("UTC").rules()[0].clone();
        rule.applications = vec![ApplicationName::new("pay").unwrap()];
        let calendar = FreezeCalendar::new(vec![rule]);
        let now = "2026-10-02T20:00:00Z".parse().unwrap();
        assert_eq!(calendar.frozen_at(&shop(), now), None);
        assert!(calendar.frozen_at(&ApplicationName::new("pay").unwrap(), now).is_some());
    }

    proptest! {
        #[test]
        fn a_freeze_ends_after_it_holds_and_holds_no_more_at_its_end(
            millis in 1_600_000_000_000_i64..1_900_000_000_000,
            days in proptest::sample::subsequence((1..=5_i8).collect::<Vec<_>>(), 1..4),
            from in 0_i8..24, to in 0_i8..24,
            zone_name in proptest::sample::select(vec!["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"]),
        ) {
            let days = days.into_iter().map(|day| Weekday::from_monday_one_offset(day).unwrap()).collect();
            let calendar = calendar(zone_name, FreezeTimes::Weekly { days, from: time(from, 0, 0, 0), to: time(to, 0, 0, 0) });
            let now = Timestamp::from_millis(millis);
            if let Some(freeze) = calendar.frozen_at(&shop(), now) {
                prop_assert!(freeze.until > now);
                prop_assert_eq!(calendar.frozen_at(&shop(), freeze.until), None);
            }
        }

        #[test]
        fn no_moment_makes_the_calendar_panic(millis in any::<i64>()) {
            let _ = friday_night("Europe/Berlin").frozen_at(&shop(), Timestamp::from_millis(millis));
        }
    }
}

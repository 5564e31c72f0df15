//! `[[freeze]]`: when no release may begin.

use jiff::civil::{Date, Time, Weekday};
use jiff::tz::TimeZone;

use crate::domain::ApplicationName;
use crate::guard::freeze::{FreezeCalendar, FreezeRule, FreezeTimes};

use super::problem::nearest;
use super::raw::Section;

const DAYS: [(&str, Weekday); 7] = [
    ("monday", Weekday::Monday),
    ("tuesday", Weekday::Tuesday),
    ("wednesday", Weekday::Wednesday),
    ("thursday", Weekday::Thursday),
    ("friday", Weekday::Friday),
    ("saturday", Weekday::Saturday),
    ("sunday", Weekday::Sunday),
];

pub(super) fn read_calendar(root: &Section<'_>) -> FreezeCalendar {
    FreezeCalendar::new(
        root.sections("freeze").into_iter().filter_map(|section| read_rule(&section)).collect(),
    )
}

fn read_rule(section: &Section<'_>) -> Option<FreezeRule> {
    let name = section.required_text("name", "name it: the refusal of a release shows it");
    let zone = read_zone(section);
    let when = read_times(section);
    let applications = section.texts("applications").unwrap_or_default().into_iter().filter_map(|name| {
        let application = ApplicationName::new(name.get_ref());
        application
            .map_err(|error| section.problem(name.span(), error.to_string(), "write the application's name"))
            .ok()
    });
    let applications = applications.collect();
    Some(FreezeRule { name: name?.into_inner(), zone: zone?, when: when?, applications })
}

fn read_zone(section: &Section<'_>) -> Option<TimeZone> {
    if !section.has("zone") {
        let _ = section.value("zone");
        return Some(TimeZone::UTC);
    }
    let text = section.text("zone")?;
    match TimeZone::get(text.get_ref()) {
        Ok(zone) => Some(zone),
        Err(_) => {
            let names: Vec<String> =
                jiff::tz::db().available().map(|name| name.as_str().to_owned()).collect();
            let help = match nearest(text.get_ref(), names.iter().map(String::as_str)) {
                Some(near) => format!("did you mean {near:?}?"),
                None => "write a name such as \"Europe/Berlin\", \"Asia/Shanghai\" or \"UTC\"".to_owned(),
            };
            section.problem(text.span(), format!("{:?} is not a time zone", text.get_ref()), help);
            None
        }
    }
}

const TIMES_HELP: &str = "write days, from and to (a time of day each), or first and last (a date each)";

fn read_times(section: &Section<'_>) -> Option<FreezeTimes> {
    let weekly = ["days", "from", "to"].iter().any(|key| section.has(key));
    let dates = ["first", "last"].iter().any(|key| section.has(key));
    let days = section.texts("days");
    let (from, to) = (read_time(section, "from"), read_time(section, "to"));
    let (first, last) = (read_date(section, "first"), read_date(section, "last"));
    match (weekly, dates) {
        (true, false) => {
            let days = match days {
                Some(days) => days.iter().filter_map(|day| section.word_of("days", day, &DAYS)).collect(),
                None => DAYS.map(|(_, day)| day).to_vec(),
            };
            let whole_day = !section.has("from") && !section.has("to");
            match (from, to) {
                _ if whole_day => {
                    Some(FreezeTimes::Weekly { days, from: Time::midnight(), to: Time::midnight() })
                }
                (Some(from), Some(to)) => Some(FreezeTimes::Weekly { days, from, to }),
                _ => {
                    ["from", "to"]
                        .iter()
                        .filter(|key| !section.has(key))
                        .for_each(|key| section.missing(key, TIMES_HELP));
                    None
                }
            }
        }
        (false, true) => {
            ["first", "last"]
                .iter()
                .filter(|key| !section.has(key))
                .for_each(|key| section.missing(key, TIMES_HELP));
            let (first, last) = (first?, last?);
            if last < first {
                section.problem(
                    section.span(),
                    format!("the last day {last} is before the first {first}"),
                    TIMES_HELP,
                );
                return None;
            }
            Some(FreezeTimes::Dates { first, last })
        }
        (false, false) => {
            section.problem(section.span(), "the freeze says not when it holds", TIMES_HELP);
            None
        }
        (true, true) => {
            section.problem(section.span(), "the freeze is both weekly and from date to date", TIMES_HELP);
            None
        }
    }
}

/// A time of day: a text, or TOML's own `18:00:00`.
fn read_time(section: &Section<'_>, key: &'static str) -> Option<Time> {
    read_moment(section, key, "a time of day such as \"18:00\"", |text| {
        text.parse().ok().or_else(|| (text == "24:00").then(Time::midnight))
    })
}

/// A date: a text, or TOML's own `2026-12-24`.
fn read_date(section: &Section<'_>, key: &'static str) -> Option<Date> {
    read_moment(section, key, "a date such as \"2026-12-24\"", |text| text.parse().ok())
}

fn read_moment<T>(
    section: &Section<'_>,
    key: &'static str,
    expected: &str,
    read: impl FnOnce(&str) -> Option<T>,
) -> Option<T> {
    let value = section.value(key)?;
    let text = match value.get_ref().as_datetime() {
        Some(datetime) => datetime.to_string(),
        None => value.get_ref().as_str().unwrap_or_default().to_owned(),
    };
    let read = read(&text);
    if read.is_none() {
        section.problem(value.span(), format!("`{key}` is not {expected}"), format!("write {expected}"));
    }
    read
}

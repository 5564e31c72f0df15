//! One line of a page: where its series ends, its value, its timestamp.

use crate::domain::{SeriesKey, Timestamp};

use super::Dialect;

/// What follows the series on a line.
#[derive(Debug, PartialEq)]
pub(super) struct Line {
    pub value: f64,
    /// The target's own time. The time of the scrape counts; this one is only
    /// checked, since a line with a bad one is a bad line.
    pub timestamp: Option<Timestamp>,
}

/// Where the series ends: after the closing brace of its labels, else after
/// its name. Braces and spaces within quotes are passed over.
pub(super) fn series_end(text: &[u8]) -> Result<usize, &'static str> {
    let name = text.iter().position(|&b| matches!(b, b' ' | b'\t' | b'{')).ok_or("it has no value")?;
    let brace = name + text[name..].iter().take_while(|&&b| matches!(b, b' ' | b'\t')).count();
    if text.get(brace) != Some(&b'{') {
        return Ok(name);
    }
    let mut at = brace + 1;
    let mut quoted = false;
    loop {
        let found = memchr::memchr3(b'"', b'\\', b'}', &text[at..]).ok_or(match quoted {
            true => "a label's value does not end",
            false => "its labels do not end",
        })?;
        at += found + 1;
        match text[at - 1] {
            b'"' => quoted = !quoted,
            b'\\' if quoted => at = (at + 1).min(text.len()),
            b'}' if !quoted => return Ok(at),
            _ => {}
        }
    }
}

/// The value, and what may come after it.
pub(super) fn after_series(rest: &[u8], dialect: Dialect) -> Result<Line, &'static str> {
    let (value, rest) = token(rest);
    if value.is_empty() {
        return Err("it has no value");
    }
    let value: f64 = fast_float2::parse(value).map_err(|_| "its value is no number")?;
    let (stamp, rest) = token(rest);
    if stamp.is_empty() || stamp == b"#" {
        return Ok(Line { value, timestamp: None });
    }
    let timestamp = timestamp(stamp, dialect).ok_or("its timestamp is no number")?;
    let (exemplar, _) = token(rest);
    if !exemplar.is_empty() && exemplar != b"#" {
        return Err("there is more after its value and timestamp");
    }
    Ok(Line { value, timestamp: Some(timestamp) })
}

/// The next word and what follows it.
fn token(text: &[u8]) -> (&[u8], &[u8]) {
    let text = text.trim_ascii_start();
    let end = text.iter().position(|b| b.is_ascii_whitespace()).unwrap_or(text.len());
    text.split_at(end)
}

fn timestamp(text: &[u8], dialect: Dialect) -> Option<Timestamp> {
    match dialect {
        Dialect::Prometheus => std::str::from_utf8(text).ok()?.parse().ok().map(Timestamp::from_millis),
        Dialect::OpenMetrics => {
            let seconds: f64 = fast_float2::parse(text).ok()?;
            let millis = (seconds * 1e3).round();
            (millis.abs() < 9e15).then(|| Timestamp::from_millis(millis as i64))
        }
    }
}

/// The series that `bytes` spell.
pub(super) fn parse_series(bytes: &[u8]) -> Result<SeriesKey, &'static str> {
    let text = std::str::from_utf8(bytes).map_err(|_| "its series is not UTF-8")?;
    let name = text.split('{').next().unwrap_or_default().trim_end();
    let plain = |(i, b): (usize, u8)| {
        b == b'_' || b == b':' || b.is_ascii_alphabetic() || (i > 0 && b.is_ascii_digit())
    };
    if !name.bytes().enumerate().all(plain) {
        return Err("its name has characters that need quotes");
    }
    text.parse().map_err(|_| "its labels cannot be read")
}

//! The identity of a series: a metric's name and its labels.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A metric's name with its labels, sorted by label name, without the label
/// that tells instances apart. Written in exposition form.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SeriesKey {
    name: Arc<str>,
    labels: Arc<[(Arc<str>, Arc<str>)]>,
}

/// A text that is not a series in exposition form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("series {text:?} cannot be read at byte {at}: {problem}")]
pub struct InvalidSeries {
    text: String,
    at: usize,
    problem: &'static str,
}

impl SeriesKey {
    /// Builds a key; labels are sorted, of labels with the same name the last
    /// stays.
    pub fn new<'a>(name: &str, labels: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut sorted: Vec<(Arc<str>, Arc<str>)> =
            labels.into_iter().map(|(k, v)| (Arc::from(k), Arc::from(v))).collect();
        sorted.reverse();
        sorted.sort_by(|a, b| a.0.cmp(&b.0));
        sorted.dedup_by(|a, b| a.0 == b.0);
        Self { name: Arc::from(name), labels: sorted.into() }
    }

    /// The metric's name, with `_bucket`, `_sum` or `_count` where it has one.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Label names and values, sorted by name.
    pub fn labels(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.labels.iter().map(|(k, v)| (k.as_ref(), v.as_ref()))
    }

    /// The value of one label.
    pub fn label(&self, name: &str) -> Option<&str> {
        self.labels.iter().find(|(k, _)| k.as_ref() == name).map(|(_, v)| v.as_ref())
    }

    /// The same series without one label.
    pub fn without(&self, label: &str) -> Self {
        let labels = self.labels.iter().filter(|(k, _)| k.as_ref() != label).cloned().collect();
        Self { name: self.name.clone(), labels }
    }
}

impl FromStr for SeriesKey {
    type Err = InvalidSeries;

    fn from_str(text: &str) -> Result<Self, InvalidSeries> {
        let error = |at, problem| InvalidSeries { text: text.chars().take(120).collect(), at, problem };
        let (name, rest) = match text.find('{') {
            None => (text, None),
            Some(open) => (&text[..open], Some(&text[open + 1..])),
        };
        let name = name.trim();
        let Some(rest) = rest else {
            if name.is_empty() {
                return Err(error(0, "it has no name"));
            }
            return Ok(Self::new(name, []));
        };
        let offset = text.len() - rest.len();
        let mut quoted_name = None;
        let mut labels: Vec<(String, String)> = Vec::new();
        let mut at = 0;
        let bytes = rest.as_bytes();
        let skip_spaces = |mut at: usize| {
            while bytes.get(at).is_some_and(|b| b.is_ascii_whitespace()) {
                at += 1;
            }
            at
        };
        loop {
            at = skip_spaces(at);
            if bytes.get(at) == Some(&b'}') {
                if !rest[at + 1..].trim().is_empty() {
                    return Err(error(offset + at + 1, "there is more after the closing brace"));
                }
                break;
            }
            let label;
            if bytes.get(at) == Some(&b'"') {
                let (value, next) = unquote(rest, at).map_err(|p| error(offset + at, p))?;
                label = value;
                at = skip_spaces(next);
                if bytes.get(at) != Some(&b'=') {
                    // `{"name with any characters", label="..."}`
                    quoted_name = Some(label);
                    at = end_of_pair(bytes, at).map_err(|p| error(offset + at, p))?;
                    continue;
                }
            } else {
                let equals =
                    rest[at..].find('=').ok_or_else(|| error(offset + at, "a label has no value"))?;
                label = rest[at..at + equals].trim().to_owned();
                at += equals;
            }
            at = skip_spaces(at + 1);
            let (value, next) = unquote(rest, at).map_err(|p| error(offset + at, p))?;
            labels.push((label, value));
            at = end_of_pair(bytes, skip_spaces(next)).map_err(|p| error(offset + next, p))?;
        }
        let name = quoted_name.as_deref().unwrap_or(name);
        if name.is_empty() {
            return Err(error(0, "it has no name"));
        }
        Ok(Self::new(name, labels.iter().map(|(k, v)| (k.as_str(), v.as_str()))))
    }
}

fn end_of_pair(bytes: &[u8], at: usize) -> Result<usize, &'static str> {
    match bytes.get(at) {
        Some(b',') => Ok(at + 1),
        Some(b'}') => Ok(at),
        _ => Err("a label is not followed by a comma or the closing brace"),
    }
}

/// Reads the quoted text at `at`; returns it without escapes, and where it ends.
fn unquote(text: &str, at: usize) -> Result<(String, usize), &'static str> {
    let mut chars = text[at..].char_indices();
    if chars.next().map(|(_, c)| c) != Some('"') {
        return Err("a label's value is not in quotes");
    }
    let mut value = String::new();
    while let Some((i, c)) = chars.next() {
        match c {
            '"' => return Ok((value, at + i + 1)),
            '\\' => match chars.next().map(|(_, c)| c) {
                Some('n') => value.push('\n'),
                Some(c @ ('\\' | '"')) => value.push(c),
                Some(c) => value.extend(['\\', c]),
                None => break,
            },
            c => value.push(c),
        }
    }
    Err("a quoted text does not end")
}

fn is_plain_name(name: &str) -> bool {
    !name.is_empty()
        && !name.as_bytes()[0].is_ascii_digit()
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b':')
}

fn write_quoted(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    f.write_str("\"")?;
    for c in text.chars() {
        match c {
            '\\' => f.write_str("\\\\")?,
            '"' => f.write_str("\\\"")?,
            '\n' => f.write_str("\\n")?,
            c => write!(f, "{c}")?,
        }
    }
    f.write_str("\"")
}

impl fmt::Display for SeriesKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain = is_plain_name(&self.name);
        if plain {
            f.write_str(&self.name)?;
            if self.labels.is_empty() {
                return Ok(());
            }
        }
        f.write_str("{")?;
        if !plain {
            write_quoted(f, &self.name)?;
        }
        for (i, (label, value)) in self.labels.iter().enumerate() {
            if i > 0 || !plain {
                f.write_str(",")?;
            }
            if is_plain_name(label) {
                f.write_str(label)?;
            } else {
                write_quoted(f, label)?;
            }
            f.write_str("=")?;
            write_quoted(f, value)?;
        }
        f.write_str("}")
    }
}

impl fmt::Debug for SeriesKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl TryFrom<String> for SeriesKey {
    type Error = InvalidSeries;
    fn try_from(text: String) -> Result<Self, InvalidSeries> {
        text.parse()
    }
}

impl From<SeriesKey> for String {
    fn from(key: SeriesKey) -> Self {
        key.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn labels_are_sorted_and_escapes_are_understood() {
        let key: SeriesKey = r#"http_requests_total{path="/a{b},\"c\"\\\n",code="500",}"#.parse().unwrap();
        assert_eq!(key.name(), "http_requests_total");
        assert_eq!(key.label("path"), Some("/a{b},\"c\"\\\n"));
        assert_eq!(key.to_string(), r#"http_requests_total{code="500",path="/a{b},\"c\"\\\n"}"#);
        assert_eq!("a{}".parse::<SeriesKey>().unwrap().to_string(), "a");
        assert_eq!(r#"{"my.metric",a="b"}"#.parse::<SeriesKey>().unwrap().name(), "my.metric");
    }

    #[test]
    fn what_is_no_series_is_refused_with_its_place() {
        for text in ["", "{}", "a{b}", "a{b=\"c\"", "a{b=c}", "a{b=\"c}", "a{b=\"c\"} x"] {
            assert!(text.parse::<SeriesKey>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_key_is_read_back_as_it_was(name in "\\PC{1,12}", labels in proptest::collection::btree_map("[a-z.]{1,6}", any::<String>(), 0..4)) {
            let key = SeriesKey::new(&name, labels.iter().map(|(k, v)| (k.as_str(), v.as_str())));
            prop_assert_eq!(key.to_string().parse::<SeriesKey>(), Ok(key));
        }

        #[test]
        fn no_text_makes_the_reader_panic(text in any::<String>()) {
            let _ = text.parse::<SeriesKey>();
        }
    }
}

//! Which series are meant: a metric's name and matchers of its labels,
//! written as in Prometheus.

use std::fmt;
use std::str::FromStr;

use regex::Regex;
use serde::{Deserialize, Serialize};

use super::SeriesKey;

/// A metric's name, if it matters, and what must hold of the labels. Written
/// `http_requests_total{code=~"5..",path!="/health"}`; an absent label counts
/// as empty, and a regular expression must match the whole value.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Selector {
    /// The metric's name; any if absent.
    pub name: Option<String>,
    /// All of these must hold.
    pub matchers: Vec<Matcher>,
}

/// What must hold of one label.
#[derive(Clone, Debug)]
pub struct Matcher {
    label: String,
    relation: Relation,
    value: String,
    /// Present for the two relations that need it.
    regex: Option<Regex>,
}

/// How a label's value must stand to the matcher's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Relation {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `=~`
    Like,
    /// `!~`
    Unlike,
}

impl Relation {
    /// As it is written.
    pub fn symbol(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Like => "=~",
            Self::Unlike => "!~",
        }
    }
}

/// A text that is no selector.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} cannot be read as a selector: {problem}")]
pub struct InvalidSelector {
    text: String,
    problem: String,
}

impl Matcher {
    /// Builds a matcher.
    ///
    /// # Errors
    /// If the regular expression is none.
    pub fn new(
        label: impl Into<String>,
        relation: Relation,
        value: impl Into<String>,
    ) -> Result<Self, InvalidSelector> {
        let value = value.into();
        let regex = match relation {
            Relation::Equal | Relation::NotEqual => None,
            Relation::Like | Relation::Unlike => {
                let whole = Regex::new(&format!("^(?s:{value})$")).map_err(|error| InvalidSelector {
                    text: value.clone(),
                    problem: format!(
                        "{value:?} is not a regular expression: {}",
                        last_line(&error.to_string())
                    ),
                })?;
                Some(whole)
            }
        };
        Ok(Self { label: label.into(), relation, value, regex })
    }

    /// The label's name.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// How the values must stand to each other.
    pub fn relation(&self) -> Relation {
        self.relation
    }

    /// The matcher's value.
    pub fn value(&self) -> &str {
        &self.value
    }

    /// Whether a label's value satisfies it; an absent label is empty.
    pub fn holds(&self, value: &str) -> bool {
        let like = || self.regex.as_ref().is_some_and(|regex| regex.is_match(value));
        match self.relation {
            Relation::Equal => value == self.value,
            Relation::NotEqual => value != self.value,
            Relation::Like => like(),
            Relation::Unlike => !like(),
        }
    }
}

fn last_line(text: &str) -> &str {
    text.lines().last().unwrap_or(text).trim()
}

impl Matcher {
    fn parts(&self) -> (&str, Relation, &str) {
        (&self.label, self.relation, &self.value)
    }
}

impl PartialEq for Matcher {
    fn eq(&self, other: &Self) -> bool {
        self.parts() == other.parts()
    }
}

impl Eq for Matcher {}

impl PartialOrd for Matcher {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Matcher {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.parts().cmp(&other.parts())
    }
}

impl std::hash::Hash for Matcher {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.parts().hash(state);
    }
}

impl Selector {
    /// Whether a series is meant.
    pub fn selects(&self, series: &SeriesKey) -> bool {
        self.name.as_deref().is_none_or(|name| name == series.name())
            && self.holds(|label| series.label(label))
    }

    /// Whether labels without a metric, as those of a target, satisfy it.
    pub fn holds<'a>(&self, label: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.matchers.iter().all(|matcher| matcher.holds(label(&matcher.label).unwrap_or("")))
    }

    /// The same selector with each value changed, to fill in what is known
    /// only later.
    ///
    /// # Errors
    /// If a changed value is no longer a regular expression.
    pub fn with_values(&self, change: impl Fn(&Matcher) -> String) -> Result<Self, InvalidSelector> {
        let matchers = self
            .matchers
            .iter()
            .map(|matcher| Matcher::new(matcher.label.clone(), matcher.relation, change(matcher)))
            .collect::<Result<_, _>>()?;
        Ok(Self { name: self.name.clone(), matchers })
    }
}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}\"", self.label, self.relation.symbol())?;
        for character in self.value.chars() {
            match character {
                '\\' => f.write_str("\\\\")?,
                '"' => f.write_str("\\\"")?,
                '\n' => f.write_str("\\n")?,
                character => write!(f, "{character}")?,
            }
        }
        f.write_str("\"")
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name.as_deref().unwrap_or(""))?;
        if self.matchers.is_empty() && self.name.is_some() {
            return Ok(());
        }
        f.write_str("{")?;
        for (i, matcher) in self.matchers.iter().enumerate() {
            write!(f, "{}{matcher}", if i > 0 { "," } else { "" })?;
        }
        f.write_str("}")
    }
}

impl TryFrom<String> for Selector {
    type Error = InvalidSelector;

    fn try_from(text: String) -> Result<Self, InvalidSelector> {
        text.parse()
    }
}

impl From<Selector> for String {
    fn from(selector: Selector) -> Self {
        selector.to_string()
    }
}

impl FromStr for Selector {
    type Err = InvalidSelector;

    fn from_str(text: &str) -> Result<Self, InvalidSelector> {
        let error = |problem: &str| InvalidSelector { text: text.to_owned(), problem: problem.to_owned() };
        let trimmed = text.trim();
        let (name, braced) = match trimmed.split_once('{') {
            None => (trimmed, None),
            Some((name, rest)) => (name.trim(), Some(rest)),
        };
        if !name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b':' | b'.')) {
            return Err(error("the metric's name has characters that a name cannot have"));
        }
        let mut matchers = Vec::new();
        if let Some(mut rest) = braced {
            loop {
                rest = rest.trim_start();
                if let Some(after) = rest.strip_prefix('}') {
                    if !after.trim().is_empty() {
                        return Err(error("there is more after the closing brace"));
                    }
                    break;
                }
                let (matcher, after) = matcher(rest).map_err(|problem| error(&problem))?;
                matchers.push(matcher);
                rest = after.trim_start();
                rest = match (rest.strip_prefix(','), rest.starts_with('}')) {
                    (Some(after), _) => after,
                    (None, true) => rest,
                    (None, false) => {
                        return Err(error("a matcher is not followed by a comma or the closing brace"));
                    }
                };
            }
        }
        if name.is_empty() && matchers.is_empty() {
            return Err(error("it has neither a metric's name nor a matcher"));
        }
        let name = (!name.is_empty()).then(|| name.to_owned());
        Ok(Self { name, matchers })
    }
}

/// Reads one matcher from the beginning of `text`; what follows is returned.
fn matcher(text: &str) -> Result<(Matcher, &str), String> {
    let end = text.find(['=', '!']).ok_or("a label is not followed by =, !=, =~ or !~")?;
    let label = text[..end].trim();
    if label.is_empty() || !label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.')) {
        return Err(format!("{label:?} is not a label's name"));
    }
    let rest = &text[end..];
    let relations = [Relation::Like, Relation::Unlike, Relation::NotEqual, Relation::Equal];
    let relation = relations
        .into_iter()
        .find(|relation| rest.starts_with(relation.symbol()))
        .ok_or("a label is not followed by =, !=, =~ or !~")?;
    let rest = rest[relation.symbol().len()..].trim_start();
    let quote = rest.chars().next().filter(|c| matches!(c, '"' | '\'' | '`'));
    let Some(quote) = quote else { return Err(format!("the value of label {label} is not in quotes")) };
    let mut value = String::new();
    let mut characters = rest[1..].char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            c if c == quote => {
                let matcher = Matcher::new(label, relation, value).map_err(|error| error.problem)?;
                return Ok((matcher, &rest[at + 2..]));
            }
            '\\' if quote != '`' => match characters.next().map(|(_, c)| c) {
                Some('n') => value.push('\n'),
                Some('t') => value.push('\t'),
                Some(c @ ('\\' | '"' | '\'')) => value.push(c),
                Some(c) => value.extend(['\\', c]),
                None => break,
            },
            c => value.push(c),
        }
    }
    Err(format!("the value of label {label} does not end"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn selects(selector: &str, series: &str) -> bool {
        selector.parse::<Selector>().unwrap().selects(&series.parse().unwrap())
    }

    #[test]
    fn series_are_selected_as_prometheus_does() {
        let series = r#"http_requests_total{code="503",path="/cart"}"#;
        assert!(selects("http_requests_total", series));
        assert!(selects(r#"{code=~"5.."}"#, series));
        assert!(!selects(r#"{code=~"5."}"#, series), "the whole value must match");
        assert!(selects(r#"{ code != "500", path = '/cart', }"#, series));
        assert!(selects(r#"{region=""}"#, series), "an absent label is empty");
        assert!(!selects(r#"{path!~"/c.*"}"#, series));
        assert!(!selects("http_requests", series));
    }

    #[test]
    fn what_is_no_selector_is_refused_with_the_reason() {
        for (text, reason) in [
            ("", "neither"),
            ("{}", "neither"),
            ("a b", "characters"),
            ("{code}", "not followed"),
            ("{code=5}", "not in quotes"),
            ("{code=~\"(\"}", "regular expression"),
            ("{code=\"5\"", "not followed by a comma"),
            ("{code=\"5", "does not end"),
            ("{code=\"5\"} x", "more after"),
            ("{=\"5\"}", "not a label"),
        ] {
            let error = text.parse::<Selector>().unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn any_selector_is_read_back_as_it_was(name in "[a-z_:]{1,8}", value in any::<String>()) {
            let matcher = Matcher::new("label", Relation::NotEqual, value).unwrap();
            let selector = Selector { name: Some(name), matchers: vec![matcher] };
            prop_assert_eq!(selector.to_string().parse::<Selector>(), Ok(selector));
        }

        #[test]
        fn no_text_makes_the_reader_panic(text in any::<String>()) {
            let _ = text.parse::<Selector>();
        }
    }
}

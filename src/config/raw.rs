//! The file as it is written: tables and values with their places.
//!
//! A derived serde type stops at the first error of a table. Here each value
//! is read by itself, so that one run reports every misspelt key, every wrong
//! type and every value out of range. A section knows its keys by having been
//! asked for them; what nobody asked for when it is dropped is reported.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ops::{Range, RangeInclusive};
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::{Problem, nearest};
use super::units;

/// The text of one settings file, and what was found wrong with it so far.
pub(super) struct Document<'t> {
    text: &'t str,
    broken_lines: Vec<usize>,
    problems: RefCell<Vec<Problem>>,
    hidden: RefCell<Vec<String>>,
}

impl<'t> Document<'t> {
    /// Parses `text` as far as it is TOML; syntax errors become problems.
    pub(super) fn parse(text: &'t str) -> (Self, Spanned<DeTable<'t>>) {
        let (root, errors) = DeTable::parse_recoverable(text);
        let problems: Vec<Problem> = errors
            .into_iter()
            .map(|error| {
                let what = format!("this is not TOML: {}", error.message());
                let span = error.span().unwrap_or(0..0);
                Problem::at(
                    text,
                    span,
                    what,
                    "see https://toml.io for how tables, keys and values are written",
                )
            })
            .collect();
        let broken_lines = problems.iter().map(|problem| problem.line).collect();
        let problems = RefCell::new(problems);
        (Self { text, broken_lines, problems, hidden: RefCell::default() }, root)
    }

    /// Adds a problem at `span`.
    pub(super) fn problem(&self, span: Range<usize>, what: impl Into<String>, help: impl Into<String>) {
        let problem = Problem::at(self.text, span, what, help);
        // What follows from a syntax error is not worth a word.
        if !self.broken_lines.contains(&problem.line) {
            self.problems.borrow_mut().push(problem);
        }
    }

    /// What was found; hidden texts are hidden in every line that is shown.
    pub(super) fn into_problems(self) -> Vec<Problem> {
        let mut problems = self.problems.into_inner();
        for hidden in self.hidden.into_inner() {
            problems.iter_mut().for_each(|problem| problem.hide(&hidden));
        }
        problems
    }
}

/// A value with its place in the file.
pub(super) type Placed<T> = Spanned<T>;

/// One table of the file.
pub(super) struct Section<'d> {
    document: &'d Document<'d>,
    /// As it is written in the file, for messages: `[server]`.
    title: String,
    span: Range<usize>,
    table: &'d DeTable<'d>,
    asked: RefCell<Vec<&'static str>>,
    passed_over: Cell<bool>,
}

impl<'d> Section<'d> {
    /// The whole file as a section.
    pub(super) fn root(document: &'d Document<'d>, table: &'d DeTable<'d>) -> Self {
        Self::new(document, "the file".to_owned(), 0..0, table)
    }

    fn new(document: &'d Document<'d>, title: String, span: Range<usize>, table: &'d DeTable<'d>) -> Self {
        Self { document, title, span, table, asked: RefCell::default(), passed_over: Cell::new(false) }
    }

    /// The place of the section's header.
    pub(super) fn span(&self) -> Range<usize> {
        self.span.clone()
    }

    /// Adds a problem at a place.
    pub(super) fn problem(&self, span: Range<usize>, what: impl Into<String>, help: impl Into<String>) {
        self.document.problem(span, what, help);
    }

    /// Keeps a text out of every message.
    pub(super) fn hide(&self, text: &str) {
        self.document.hidden.borrow_mut().push(text.to_owned());
    }

    /// Leaves the rest of the section unjudged, because what it should hold
    /// is not known.
    pub(super) fn pass_over(&self) {
        self.passed_over.set(true);
    }

    /// Whether the key is written.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// Says that a key must be there and is not. In a file with syntax errors
    /// it may be there unread.
    pub(super) fn missing(&self, key: &str, help: &str) {
        if !self.document.broken_lines.is_empty() {
            return;
        }
        self.problem(self.span(), format!("{} has no `{key}`", self.title), help);
    }

    /// The value of a key, as it stands.
    pub(super) fn value(&self, key: &'static str) -> Option<&'d Spanned<DeValue<'d>>> {
        self.asked.borrow_mut().push(key);
        self.table.get(key)
    }

    fn wrong_type(&self, key: &str, value: &Spanned<DeValue<'_>>, expected: &str) {
        let found = value.get_ref().type_str();
        self.problem(
            value.span(),
            format!("`{key}` is a TOML {found}, not {expected}"),
            format!("write {expected}"),
        );
    }

    fn typed<T>(
        &self,
        key: &'static str,
        expected: &str,
        read: impl FnOnce(&'d DeValue<'d>) -> Option<T>,
    ) -> Option<Placed<T>> {
        let value = self.value(key)?;
        match read(value.get_ref()) {
            Some(read) => Some(Spanned::new(value.span(), read)),
            None => {
                self.wrong_type(key, value, expected);
                None
            }
        }
    }

    /// A text.
    pub(super) fn text(&self, key: &'static str) -> Option<Placed<String>> {
        self.typed(key, "a text in quotes", |value| value.as_str().map(str::to_owned))
    }

    /// A text that must be there.
    pub(super) fn required_text(&self, key: &'static str, help: &str) -> Option<Placed<String>> {
        if !self.has(key) {
            self.asked.borrow_mut().push(key);
            self.missing(key, help);
            return None;
        }
        let text = self.text(key)?;
        if text.get_ref().trim().is_empty() {
            self.problem(text.span(), format!("`{key}` is empty"), help);
            return None;
        }
        Some(text)
    }

    /// `true` or `false`.
    pub(super) fn flag(&self, key: &'static str) -> Option<bool> {
        self.typed(key, "true or false", DeValue::as_bool).map(Spanned::into_inner)
    }

    /// A text that `read` understands; its error becomes the problem.
    pub(super) fn parsed<T>(
        &self,
        key: &'static str,
        help: &str,
        read: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<Placed<T>> {
        let text = self.text(key)?;
        match read(text.get_ref()) {
            Ok(value) => Some(Spanned::new(text.span(), value)),
            Err(error) => {
                self.problem(text.span(), format!("`{key}`: {error}"), help);
                None
            }
        }
    }

    /// A length of time between two bounds.
    pub(super) fn duration(&self, key: &'static str, range: RangeInclusive<Duration>) -> Option<Duration> {
        let help = "write a number with a unit: \"500ms\", \"10s\", \"5m\", \"1h30m\", \"30d\"";
        let duration = self.parsed(key, help, units::parse_duration)?;
        if range.contains(duration.get_ref()) {
            return Some(duration.into_inner());
        }
        let (least, most) = (units::show_duration(*range.start()), units::show_duration(*range.end()));
        self.problem(
            duration.span(),
            format!("`{key}` is {}", units::show_duration(duration.into_inner())),
            format!("it must lie between {least} and {most}"),
        );
        None
    }

    /// A whole number between two bounds.
    pub(super) fn count<T>(&self, key: &'static str, range: RangeInclusive<T>) -> Option<T>
    where
        T: TryFrom<i64> + PartialOrd + std::fmt::Display + Copy,
    {
        let number = self.typed(key, "a whole number", as_integer)?;
        self.count_in(key, &number, range)
    }

    fn count_in<T>(&self, key: &str, number: &Placed<i64>, range: RangeInclusive<T>) -> Option<T>
    where
        T: TryFrom<i64> + PartialOrd + std::fmt::Display + Copy,
    {
        match T::try_from(*number.get_ref()) {
            Ok(value) if range.contains(&value) => Some(value),
            _ => {
                self.problem(
                    number.span(),
                    format!("`{key}` is {}", number.get_ref()),
                    format!("it must lie between {} and {}", range.start(), range.end()),
                );
                None
            }
        }
    }

    /// A size in bytes: a whole number, or a text such as `"10MiB"`.
    pub(super) fn bytes(&self, key: &'static str, range: RangeInclusive<u64>) -> Option<u64> {
        let number = self.typed(key, "a size such as \"10MiB\"", |value| match value {
            DeValue::String(text) => Some(units::parse_bytes(text)),
            DeValue::Integer(_) => {
                as_integer(value).map(|number| u64::try_from(number).map_err(|e| e.to_string()))
            }
            _ => None,
        })?;
        match number.get_ref() {
            Ok(bytes) if range.contains(bytes) => Some(*bytes),
            Ok(bytes) => {
                self.problem(
                    number.span(),
                    format!("`{key}` is {bytes} bytes"),
                    format!("it must lie between {} and {} bytes", range.start(), range.end()),
                );
                None
            }
            Err(error) => {
                self.problem(
                    number.span(),
                    format!("`{key}`: {error}"),
                    "write a number of bytes, or a text with a unit: \"512KiB\", \"10MiB\", \"20GB\"",
                );
                None
            }
        }
    }

    /// A number between two bounds.
    pub(super) fn number(&self, key: &'static str, range: RangeInclusive<f64>) -> Option<f64> {
        let number = self.typed(key, "a number", |value| match value {
            DeValue::Float(number) => number.as_str().replace('_', "").parse().ok(),
            DeValue::Integer(_) => as_integer(value).map(|number| number as f64),
            _ => None,
        })?;
        if range.contains(number.get_ref()) {
            return Some(number.into_inner());
        }
        self.problem(
            number.span(),
            format!("`{key}` is {}", number.get_ref()),
            format!("it must lie between {} and {}", range.start(), range.end()),
        );
        None
    }

    /// One of a few words.
    pub(super) fn word<T: Clone>(&self, key: &'static str, words: &[(&str, T)]) -> Option<T> {
        let text = self.text(key)?;
        self.word_of(key, &text, words)
    }

    /// The meaning of a word that was read already.
    pub(super) fn word_of<T: Clone>(
        &self,
        key: &str,
        text: &Placed<String>,
        words: &[(&str, T)],
    ) -> Option<T> {
        let written = text.get_ref().as_str();
        if let Some((_, meaning)) = words.iter().find(|(word, _)| *word == written) {
            return Some(meaning.clone());
        }
        let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let help = match nearest(written, known.iter().copied()) {
            Some(word) => format!("did you mean {word:?}? Known are {}", quoted(&known)),
            None => format!("write one of {}", quoted(&known)),
        };
        self.problem(text.span(), format!("`{key}` is {written:?}, which is not known"), help);
        None
    }

    /// A list of texts; a single text counts as a list of one.
    pub(super) fn texts(&self, key: &'static str) -> Option<Vec<Placed<String>>> {
        let value = self.value(key)?;
        match value.get_ref() {
            DeValue::String(text) => Some(vec![Spanned::new(value.span(), text.clone().into_owned())]),
            DeValue::Array(items) => {
                let texts = items.iter().filter_map(|item| {
                    let text = item.get_ref().as_str().map(|text| Spanned::new(item.span(), text.to_owned()));
                    if text.is_none() {
                        self.wrong_type(key, item, "a text in quotes");
                    }
                    text
                });
                Some(texts.collect())
            }
            _ => {
                self.wrong_type(key, value, "a list of texts");
                None
            }
        }
    }

    /// A list of whole numbers.
    pub(super) fn counts(&self, key: &'static str, range: RangeInclusive<u16>) -> Option<Vec<u16>> {
        let items = self.typed(key, "a list of whole numbers", DeValue::as_array)?;
        let numbers = items.into_inner().iter().filter_map(|item| match as_integer(item.get_ref()) {
            Some(number) => self.count_in(key, &Spanned::new(item.span(), number), range.clone()),
            None => {
                self.wrong_type(key, item, "a whole number");
                None
            }
        });
        Some(numbers.collect())
    }

    /// A table of texts, by key.
    pub(super) fn text_table(&self, key: &'static str) -> BTreeMap<String, String> {
        let mut texts = BTreeMap::new();
        for (name, value) in self.entries(key) {
            match value.get_ref().as_str() {
                Some(text) => drop(texts.insert(name.into_inner(), text.to_owned())),
                None => self.wrong_type(name.get_ref(), value, "a text in quotes"),
            }
        }
        texts
    }

    /// The keys and values of a table whose keys are the user's own.
    pub(super) fn entries(&self, key: &'static str) -> Vec<(Placed<String>, &'d Spanned<DeValue<'d>>)> {
        let Some(table) = self.typed(key, "a table", DeValue::as_table) else { return Vec::new() };
        table
            .into_inner()
            .iter()
            .map(|(name, value)| (Spanned::new(name.span(), name.get_ref().clone().into_owned()), value))
            .collect()
    }

    /// A table within this one.
    pub(super) fn section(&self, key: &'static str) -> Option<Section<'d>> {
        let value = self.value(key)?;
        self.section_of(key, value)
    }

    /// A value as a table.
    pub(super) fn section_of(&self, key: &str, value: &'d Spanned<DeValue<'d>>) -> Option<Section<'d>> {
        let Some(table) = value.get_ref().as_table() else {
            self.wrong_type(key, value, "a table");
            return None;
        };
        Some(Self::new(self.document, format!("[{key}]"), value.span(), table))
    }

    /// A list of tables: `[[key]]`, or a list of inline tables.
    pub(super) fn sections(&self, key: &'static str) -> Vec<Section<'d>> {
        let Some(value) = self.value(key) else { return Vec::new() };
        let Some(items) = value.get_ref().as_array() else {
            self.wrong_type(key, value, &format!("a list of tables, each headed [[{key}]]"));
            return Vec::new();
        };
        let sections = items.iter().filter_map(|item| match item.get_ref().as_table() {
            Some(table) => {
                let title = match table.get("name").and_then(|name| name.get_ref().as_str()) {
                    Some(name) => format!("[[{key}]] {name:?}"),
                    None => format!("[[{key}]]"),
                };
                Some(Self::new(self.document, title, item.span(), table))
            }
            None => {
                self.wrong_type(key, item, "a table");
                None
            }
        });
        sections.collect()
    }
}

impl Drop for Section<'_> {
    /// Reports the keys that nobody asked for.
    fn drop(&mut self) {
        // Behind a broken header, keys fall to the wrong table.
        let astray = self.span.is_empty() && !self.document.broken_lines.is_empty();
        if self.passed_over.get() || astray {
            return;
        }
        let asked = self.asked.borrow();
        for key in self.table.keys() {
            let written: &str = key.get_ref();
            if asked.contains(&written) {
                continue;
            }
            let mut known: Vec<&str> = asked.clone();
            known.sort_unstable();
            known.dedup();
            let help = match nearest(written, known.iter().copied()) {
                Some(word) => format!("did you mean `{word}`?"),
                None => format!("known here are {}", known.join(", ")),
            };
            self.document.problem(key.span(), format!("{} has no setting `{written}`", self.title), help);
        }
    }
}

fn as_integer(value: &DeValue<'_>) -> Option<i64> {
    let number = value.as_integer()?;
    i64::from_str_radix(&number.as_str().replace('_', ""), number.radix()).ok()
}

fn quoted(words: &[&str]) -> String {
    words.iter().map(|word| format!("{word:?}")).collect::<Vec<_>>().join(", ")
}

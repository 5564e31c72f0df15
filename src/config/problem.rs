//! What is wrong with a settings file: all of it at once, each with its
//! place, the line, what is wrong and what to do.

use std::fmt;
use std::ops::Range;

/// One thing wrong with a settings file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What is wrong, with the value.
    pub what: String,
    /// What to do about it.
    pub help: String,
    source_line: String,
    marked: usize,
}

impl Problem {
    /// A problem with the bytes `span` of `text`; the marks end with the line.
    pub fn at(text: &str, span: Range<usize>, what: impl Into<String>, help: impl Into<String>) -> Self {
        let start = floor(text, span.start);
        let line_start = text[..start].rfind('\n').map_or(0, |newline| newline + 1);
        let rest = &text[start..];
        let line_end = start + rest.find('\n').unwrap_or(rest.len());
        let end = floor(text, span.end).clamp(start, line_end);
        Self {
            line: text[..line_start].matches('\n').count() + 1,
            column: text[line_start..start].chars().count() + 1,
            what: what.into(),
            help: help.into(),
            source_line: text[line_start..line_end].trim_end_matches('\r').to_owned(),
            marked: text[start..end].chars().count().max(1),
        }
    }

    /// Keeps a text out of what is shown, at the same width.
    pub(super) fn hide(&mut self, text: &str) {
        if !text.is_empty() {
            let stars = "*".repeat(text.chars().count());
            self.source_line = self.source_line.replace(text, &stars);
            self.what = self.what.replace(text, &stars);
        }
    }
}

fn floor(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// Everything that is wrong with one settings file, in the order of its lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems {
    file: String,
    problems: Vec<Problem>,
}

impl Problems {
    /// Sorts what was found in `file`.
    pub fn new(file: impl Into<String>, mut problems: Vec<Problem>) -> Self {
        problems.sort_by_key(|problem| (problem.line, problem.column));
        problems.dedup();
        Self { file: file.into(), problems }
    }

    /// The problems, by line.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Problem> {
        self.problems.iter()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in &self.problems {
            let Problem { line, column, what, help, source_line, marked } = problem;
            let number = line.to_string();
            let margin = " ".repeat(number.len());
            // A tab stays a tab below itself, so that the marks stand where they should.
            let indent: String = source_line
                .chars()
                .take(column - 1)
                .map(|character| if character == '\t' { '\t' } else { ' ' })
                .collect();
            writeln!(f, "{}:{line}:{column}: {what}", self.file)?;
            writeln!(f, "{margin} |")?;
            writeln!(f, "{number} | {source_line}")?;
            writeln!(f, "{margin} | {indent}{}", "^".repeat(*marked))?;
            writeln!(f, "{margin} = {help}")?;
        }
        match self.problems.len() {
            1 => write!(f, "1 problem"),
            count => write!(f, "{count} problems"),
        }
    }
}

impl std::error::Error for Problems {}

/// The word of `known` that was probably meant by `written`.
pub fn nearest<'k>(written: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let written = written.to_lowercase().replace('-', "_");
    let allowed = (written.chars().count() / 3).max(1);
    known
        .into_iter()
        .map(|word| (edits(&written, word), word))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}

/// How many insertions, deletions, replacements and swaps of neighbours lie
/// between two words.
fn edits(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![(0..=b.len()).collect::<Vec<_>>()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replaced.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_marks_stand_below_the_value_also_behind_tabs_and_wide_characters() {
        let text = "a = 1\n\tb = \"每\" # x\n";
        let start = text.find('"').unwrap();
        let problem = Problem::at(text, start..start + 5, "wrong", "right it");
        let shown = Problems::new("f.toml", vec![problem]).to_string();
        assert_eq!(
            shown,
            "f.toml:2:6: wrong\n  |\n2 | \tb = \"每\" # x\n  | \t    ^^^\n  = right it\n1 problem"
        );
    }

    #[test]
    fn a_span_outside_of_the_text_is_no_panic() {
        assert_eq!(Problem::at("é", 1..99, "", "").line, 1);
        assert_eq!(Problem::at("", std::ops::Range { start: 5, end: 2 }, "", "").column, 1);
    }

    #[test]
    fn the_nearest_word_is_found_and_far_ones_are_not_suggested() {
        let known = ["listen", "interval", "public_url"];
        assert_eq!(nearest("intervall", known), Some("interval"));
        assert_eq!(nearest("lisetn", known), Some("listen"));
        assert_eq!(nearest("public-url", known), Some("public_url"));
        assert_eq!(nearest("timeout", known), None);
    }
}

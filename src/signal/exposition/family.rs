//! `# TYPE`, `# HELP` and `# UNIT` lines into what is known of metrics.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::domain::{MetricFamily, MetricKind};

use super::Dialect;

/// The families of a target's last page. They hardly ever change, so the
/// comments of a page are compared with the last ones before they are parsed.
#[derive(Debug)]
pub(super) struct Families {
    dialect: Dialect,
    /// The comment lines of the last page, each with a newline.
    comments: Vec<u8>,
    /// How much of `comments` this page has repeated; `None` once it differs.
    repeated: Option<usize>,
    /// The comment lines of this page, from where it differs.
    fresh: Vec<u8>,
    parsed: Arc<[MetricFamily]>,
}

impl Default for Families {
    fn default() -> Self {
        Self {
            dialect: Dialect::Prometheus,
            comments: Vec::new(),
            repeated: None,
            fresh: Vec::new(),
            parsed: Arc::new([]),
        }
    }
}

/// Longest help or unit that is kept, in characters.
const TEXT_CHARS_MAX: usize = 500;

/// Comments of a page that are kept, in bytes: far more than any target has.
const COMMENT_BYTES_MAX: usize = 4 << 20;

impl Families {
    pub(super) fn begin_page(&mut self, dialect: Dialect) {
        self.repeated = (self.dialect == dialect).then_some(0);
        self.dialect = dialect;
        self.fresh.clear();
    }

    /// Takes one comment line of the page.
    pub(super) fn take(&mut self, text: &[u8]) {
        if let Some(at) = self.repeated {
            let rest = &self.comments[at..];
            if rest.starts_with(text) && rest.get(text.len()) == Some(&b'\n') {
                self.repeated = Some(at + text.len() + 1);
                return;
            }
            self.fresh.extend_from_slice(&self.comments[..at]);
            self.repeated = None;
        }
        if self.fresh.len() + text.len() < COMMENT_BYTES_MAX {
            self.fresh.extend_from_slice(text);
            self.fresh.push(b'\n');
        }
    }

    pub(super) fn end_page(&mut self) -> Arc<[MetricFamily]> {
        match self.repeated {
            Some(at) if at == self.comments.len() => return self.parsed.clone(),
            Some(at) => self.comments.truncate(at),
            None => std::mem::swap(&mut self.comments, &mut self.fresh),
        }
        self.parsed = parse(&self.comments, self.dialect);
        self.parsed.clone()
    }
}

#[derive(Default)]
struct Declared {
    kind: Option<String>,
    unit: Option<String>,
    help: Option<String>,
}

fn parse(comments: &[u8], dialect: Dialect) -> Arc<[MetricFamily]> {
    let mut declared: BTreeMap<String, Declared> = BTreeMap::new();
    for line in comments.split(|&b| b == b'\n') {
        let line = String::from_utf8_lossy(line);
        let Some((word, name, text)) = declaration(&line) else { continue };
        let text: String = text.chars().take(TEXT_CHARS_MAX).collect();
        let entry = declared.entry(name).or_default();
        match word {
            "TYPE" => entry.kind = Some(text),
            "UNIT" => entry.unit = Some(text).filter(|unit| !unit.is_empty()),
            _ => entry.help = Some(unescape(&text, dialect)),
        }
    }
    declared.into_iter().map(|(name, declared)| family(name, declared, dialect)).collect()
}

/// The word, the metric's name, and the text of a line that declares something.
fn declaration(line: &str) -> Option<(&str, String, &str)> {
    let line = line.strip_prefix('#')?.trim_start();
    let (word, rest) = line.split_once([' ', '\t'])?;
    if !matches!(word, "TYPE" | "HELP" | "UNIT") {
        return None;
    }
    let rest = rest.trim_start();
    let (name, text) = match rest.strip_prefix('"') {
        None => {
            let (name, text) = rest.split_once([' ', '\t']).unwrap_or((rest, ""));
            (name.to_owned(), text)
        }
        Some(quoted) => {
            let mut escaped = false;
            let end = quoted.find(|c| {
                let ends = c == '"' && !escaped;
                escaped = c == '\\' && !escaped;
                ends
            })?;
            (unescape(&quoted[..end], Dialect::OpenMetrics), &quoted[end + 1..])
        }
    };
    (!name.is_empty()).then(|| (word, name, text.trim()))
}

/// Help has `\\` and `\n`; in OpenMetrics, and in quoted names, `\"` too.
fn unescape(text: &str, dialect: Dialect) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('n') => out.push('\n'),
            Some('\\') => out.push('\\'),
            Some('"') if dialect == Dialect::OpenMetrics => out.push('"'),
            Some(other) => out.extend(['\\', other]),
            None => out.push('\\'),
        }
    }
    out
}

/// Names follow the samples: an OpenMetrics counter `c` has samples `c_total`,
/// and is known by that name, as it is in the Prometheus format.
fn family(name: String, declared: Declared, dialect: Dialect) -> MetricFamily {
    let open = dialect == Dialect::OpenMetrics;
    let suffixed = |suffix: &str| match name.ends_with(suffix) {
        true => name.clone(),
        false => format!("{name}{suffix}"),
    };
    let (name, kind) = match declared.kind.as_deref().unwrap_or_default() {
        "counter" if open => (suffixed("_total"), MetricKind::Counter),
        "counter" => (name, MetricKind::Counter),
        "gauge" | "stateset" => (name, MetricKind::Gauge),
        "info" if open => (suffixed("_info"), MetricKind::Gauge),
        "info" => (name, MetricKind::Gauge),
        "histogram" => (name, MetricKind::Histogram),
        "summary" => (name, MetricKind::Summary),
        _ => (name, MetricKind::Unknown),
    };
    MetricFamily { name, kind, unit: declared.unit, help: declared.help.filter(|help| !help.is_empty()) }
}

//! Scraped text into samples: the Prometheus text exposition and OpenMetrics.
//!
//! A target exposes the same series again and again, so each target has a
//! [`Reader`] that remembers them by the bytes before their value: a steady
//! scrape compares bytes, parses numbers, and allocates only its samples.
//! Nothing is skipped in silence: a line that cannot be read is counted, and
//! the first one is told with its number and its text.

use std::collections::HashMap;
use std::sync::Arc;

use crate::domain::{MetricFamily, Sample, ScrapeOutcome, SeriesKey};

mod family;
mod line;
mod shared;

use family::Families;
use line::Line;
pub use shared::SharedKeys;

/// Which of the two formats a page is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// `text/plain`: timestamps in milliseconds.
    Prometheus,
    /// `application/openmetrics-text`: timestamps in seconds, `# EOF` at the end.
    OpenMetrics,
}

impl Dialect {
    /// The dialect that a `Content-Type` names. Plain text and no type at all
    /// are the Prometheus text format, as many exporters send nothing better.
    ///
    /// # Errors
    /// If the type is that of something else.
    pub fn from_content_type(content_type: Option<&str>) -> Result<Self, NotExposition> {
        let Some(text) = content_type else { return Ok(Self::Prometheus) };
        let media = text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match media.as_str() {
            "application/openmetrics-text" => Ok(Self::OpenMetrics),
            "" | "text/plain" | "application/octet-stream" => Ok(Self::Prometheus),
            _ => Err(NotExposition(format!("its content type is {:?}", shown(media.as_bytes())))),
        }
    }
}

/// A page that gives nothing that could be trusted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotExposition(pub String);

/// How much of one page is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most samples of a page; more are counted as lost.
    pub samples: usize,
    /// Longest line in bytes; a longer one is counted as lost.
    pub line_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { samples: 50_000, line_bytes: 64 << 10 }
    }
}

/// What a page says.
#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    /// The samples in the order of the page.
    pub samples: Vec<Sample>,
    /// What the page declares of its metrics; shared with the page before
    /// where nothing changed.
    pub families: Arc<[MetricFamily]>,
    /// Lines that could not be read, or were over a limit.
    pub lost: u32,
    /// The first such line: its number, what is wrong, its first 80 characters.
    pub first_lost: Option<String>,
}

impl Page {
    /// Whether all of the page could be read.
    pub fn outcome(&self) -> ScrapeOutcome {
        match &self.first_lost {
            None => ScrapeOutcome::Complete,
            Some(first) => ScrapeOutcome::Incomplete { lost: self.lost, first: first.clone() },
        }
    }
}

/// Reads the pages of one target.
#[derive(Debug, Default)]
pub struct Reader {
    limits: Limits,
    known: Known,
    families: Families,
}

impl Reader {
    /// A reader that has seen nothing yet.
    pub fn new(limits: Limits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// The same, with keys that the readers of like targets share.
    pub fn sharing(limits: Limits, keys: SharedKeys) -> Self {
        Self { limits, known: Known { keys, ..Known::default() }, ..Self::default() }
    }

    /// Reads one page.
    ///
    /// # Errors
    /// If it is an HTML page, an OpenMetrics page that was cut (its last value
    /// may be half a number), or has lines of which not one could be read.
    pub fn read(&mut self, body: &[u8], dialect: Dialect) -> Result<Page, NotExposition> {
        let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
        if body.trim_ascii_start().first() == Some(&b'<') {
            return Err(NotExposition("it is an HTML or XML page".to_owned()));
        }
        self.known.begin_page();
        self.families.begin_page(dialect);
        let mut samples = Vec::with_capacity(self.known.seen_last);
        let mut losses = Losses::default();
        let mut ended = false;
        let (mut at, mut number) = (0, 0);
        while at < body.len() {
            let end = memchr::memchr(b'\n', &body[at..]).map_or(body.len(), |length| at + length);
            let text = &body[at..end];
            at = end + 1;
            number += 1;
            if text.len() > self.limits.line_bytes {
                losses.add(number, text, "it is longer than the limit");
                continue;
            }
            let text = text.trim_ascii();
            if text.is_empty() {
                continue;
            }
            if ended {
                losses.add(number, text, "it comes after # EOF");
                continue;
            }
            if text[0] == b'#' {
                ended = dialect == Dialect::OpenMetrics && text == b"# EOF";
                self.families.take(text);
                continue;
            }
            match self.read_sample(text, dialect, samples.len()) {
                Ok(sample) => samples.push(sample),
                Err(problem) => losses.add(number, text, problem),
            }
        }
        if dialect == Dialect::OpenMetrics && !ended {
            return Err(NotExposition("it was cut: there is no # EOF at its end".to_owned()));
        }
        if let (true, Some(first)) = (samples.is_empty(), &losses.first) {
            return Err(NotExposition(format!("no line of it can be read; {first}")));
        }
        self.known.end_page(samples.len());
        Ok(Page { samples, families: self.families.end_page(), lost: losses.count, first_lost: losses.first })
    }

    fn read_sample(&mut self, text: &[u8], dialect: Dialect, taken: usize) -> Result<Sample, &'static str> {
        // The series is looked up before it is parsed, by the bytes that it had.
        let (entry, rest) = match self.known.guess(text) {
            Some((entry, rest)) => (Some(entry), rest),
            None => {
                let end = line::series_end(text)?;
                (None, &text[end..])
            }
        };
        let Line { value, .. } = line::after_series(rest, dialect)?;
        if taken >= self.limits.samples {
            return Err("the page has more samples than the limit");
        }
        let entry = match entry {
            Some(entry) => entry,
            None => self.known.find_or_parse(text[..text.len() - rest.len()].trim_ascii_end())?,
        };
        let series = self.known.take(entry)?;
        Ok(Sample { series, value })
    }
}

/// The lines of a page that were lost.
#[derive(Default)]
struct Losses {
    count: u32,
    first: Option<String>,
}

impl Losses {
    fn add(&mut self, line: usize, text: &[u8], problem: &str) {
        self.count = self.count.saturating_add(1);
        if self.first.is_none() {
            self.first = Some(format!("line {line}: {problem}: {}", shown(text)));
        }
    }
}

/// The first 80 characters, for people.
fn shown(text: &[u8]) -> String {
    let head = &text[..text.len().min(4 * 80)];
    String::from_utf8_lossy(head).chars().take(80).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// The series that a target has exposed, by the bytes before their value.
#[derive(Debug, Default)]
struct Known {
    keys: SharedKeys,
    entries: Vec<Entry>,
    by_bytes: HashMap<Arc<[u8]>, usize>,
    /// The same series may be spelt in two ways, and is a duplicate then.
    by_key: HashMap<Arc<SeriesKey>, usize>,
    last: Option<usize>,
    page: u64,
    seen_last: usize,
}

#[derive(Debug)]
struct Entry {
    bytes: Arc<[u8]>,
    series: Arc<SeriesKey>,
    /// The entry that stands for all spellings of the series.
    canonical: usize,
    /// The entry that came after this one in the last page.
    follower: usize,
    /// The last page that had these bytes.
    page: u64,
    /// For a canonical entry the last page that had the series in any spelling.
    taken: u64,
}

/// Pages after which a series that is no longer exposed is forgotten.
const FORGET_AFTER_PAGES: u64 = 10;

impl Known {
    fn begin_page(&mut self) {
        self.page += 1;
        self.last = None;
    }

    /// The series that came at this place in the last page, if the line is
    /// one of it, with the rest of the line.
    fn guess<'a>(&self, text: &'a [u8]) -> Option<(usize, &'a [u8])> {
        let guess = match self.last {
            Some(last) => self.entries.get(last)?.follower,
            None => 0,
        };
        let rest = text.strip_prefix(&*self.entries.get(guess)?.bytes)?;
        // `a {b="c"} 1` is a line of another series than `a`.
        let value = rest.trim_ascii_start();
        (value.len() < rest.len() && value.first() != Some(&b'{')).then_some((guess, rest))
    }

    fn find_or_parse(&mut self, bytes: &[u8]) -> Result<usize, &'static str> {
        if let Some(&entry) = self.by_bytes.get(bytes) {
            return Ok(entry);
        }
        let (bytes, key) = self.keys.find_or_parse(bytes)?;
        let entry = self.entries.len();
        let canonical = *self.by_key.entry(key.clone()).or_insert(entry);
        let series = self.entries.get(canonical).map_or(key, |first| first.series.clone());
        self.by_bytes.insert(bytes.clone(), entry);
        self.entries.push(Entry { bytes, series, canonical, follower: entry + 1, page: 0, taken: 0 });
        Ok(entry)
    }

    /// Notes that the page has the series; an error if it had it already.
    fn take(&mut self, entry: usize) -> Result<Arc<SeriesKey>, &'static str> {
        if let Some(last) = self.last {
            self.entries[last].follower = entry;
        }
        self.last = Some(entry);
        let canonical = self.entries[entry].canonical;
        let page = self.page;
        self.entries[entry].page = page;
        let first = &mut self.entries[canonical];
        if std::mem::replace(&mut first.taken, page) == page {
            return Err("the page has this series twice");
        }
        first.page = page;
        Ok(first.series.clone())
    }

    /// Forgets what was not seen for long, if that is most of what is kept.
    fn end_page(&mut self, seen: usize) {
        self.seen_last = seen;
        if self.entries.len() < 1_000 + 2 * seen {
            return;
        }
        let oldest = self.page.saturating_sub(FORGET_AFTER_PAGES);
        let kept = std::mem::take(&mut self.entries);
        self.by_bytes.clear();
        self.by_key.clear();
        for entry in kept.into_iter().filter(|entry| entry.page > oldest) {
            let number = self.entries.len();
            let canonical = *self.by_key.entry(entry.series.clone()).or_insert(number);
            self.by_bytes.insert(entry.bytes.clone(), number);
            self.entries.push(Entry { canonical, follower: number + 1, ..entry });
        }
    }
}

#[cfg(test)]
mod tests;

//! Recordings: one historical release in a folder of three files. The same
//! format is written by the daemon, the simulator and the importer, and read
//! by replay and training.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::domain::{InvalidSeries, Label, RECORDING_FORMAT, ReleaseOrder, Timestamp};

mod parquet_read;
mod samples;
mod write;

pub use samples::{Samples, Scrapes};
pub use write::{write, write_label};

/// The file with the release order.
pub const ORDER_FILE: &str = "release.json";
/// The file with the samples.
pub const SAMPLES_FILE: &str = "samples.parquet";
/// The file with what became of the release.
pub const LABEL_FILE: &str = "label.json";

/// Most rows that are taken from one recording. At 24 bytes a row this is
/// 1.2 GB of memory; a day of 100 instances with 500 series each, scraped
/// every 15 s, has more and should be cut to the hours around the release.
pub const ROWS_MAX: usize = 50_000_000;

/// Most days between a sample and the release's start. A single wrong time
/// further away would make the past that is kept endless.
pub const DAYS_MAX: u64 = 28;

/// Largest `release.json` or `label.json` that is read, in bytes.
const JSON_BYTES_MAX: u64 = 64 << 20;

/// A past release as read from its folder, without its label: that is read
/// by [`read_label`], after the verdict.
#[derive(Debug)]
pub struct Recording {
    /// What was released, when, on which machines.
    pub order: ReleaseOrder,
    /// Every sample of both groups.
    pub samples: Samples,
}

impl Recording {
    /// Reads the order and the samples of the recording in `folder`.
    ///
    /// # Errors
    /// If a file is missing, is not what [`RecordingError`] says it must be,
    /// has more than [`ROWS_MAX`] rows, or a sample more than [`DAYS_MAX`] days
    /// from the release's start.
    pub fn read(folder: &Path) -> Result<Self, RecordingError> {
        let order = read_order(folder)?;
        let path = folder.join(SAMPLES_FILE);
        let samples = parquet_read::read(&path)?;
        for (sample, at) in samples.outermost() {
            if let Some(days) = days_too_far(at, order.started_at) {
                return Err(RecordingError::FarSample {
                    path,
                    sample,
                    at,
                    days,
                    started_at: order.started_at,
                });
            }
        }
        Ok(Self { order, samples })
    }

    /// The scrapes in the order of their times, then instances.
    pub fn scrapes(&self) -> Scrapes<'_> {
        self.samples.scrapes(&self.order.metrics)
    }
}

/// Why a recording cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum RecordingError {
    /// The file system said no.
    #[error("cannot {doing} {}", path.display())]
    Io {
        /// What was being done, as a verb.
        doing: &'static str,
        /// With which file or folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The format number is missing or not ours.
    #[error("{}: field `format` is {found}, and this program reads format {RECORDING_FORMAT} only; convert the recording or use the release of this program that wrote it", path.display())]
    Format {
        /// Which file.
        path: PathBuf,
        /// What stands there.
        found: String,
    },
    /// A JSON file does not have the fields that it must have.
    #[error("{}: not as the recording format describes it; correct the field that is named", path.display())]
    Json {
        /// Which file.
        path: PathBuf,
        /// Which field, line and column.
        #[source]
        source: serde_json::Error,
    },
    /// A field has a value that cannot be true.
    #[error("{}: field `{field}` {problem}; correct it", path.display())]
    Field {
        /// Which file.
        path: PathBuf,
        /// Which field.
        field: String,
        /// What stands there, and what may.
        problem: String,
    },
    /// A JSON file is far larger than any release order.
    #[error("{}: larger than {JSON_BYTES_MAX} bytes, which no release order needs", path.display())]
    JsonTooLarge {
        /// Which file.
        path: PathBuf,
    },
    /// The samples are not a Parquet file, or a cut or damaged one.
    #[error("{}: not a whole Parquet file with Zstandard compression; write it again", path.display())]
    Parquet {
        /// Which file.
        path: PathBuf,
        /// What the reader stumbled over.
        #[source]
        source: parquet::errors::ParquetError,
    },
    /// The Parquet reader gave up in a way that it did not foresee.
    #[error("{}: damaged so badly that its reader gave up ({what}); write it again", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What the reader said.
        what: String,
    },
    /// A column is missing, of a wrong type, or has an impossible value.
    #[error("{}: column `{column}` {problem}", path.display())]
    Column {
        /// Which file.
        path: PathBuf,
        /// Which column.
        column: &'static str,
        /// What is wrong, and what to do.
        problem: String,
    },
    /// A metric is not a series in exposition form.
    #[error("{}: column `metric` must have series such as http_requests_total{{code=\"500\"}}", path.display())]
    Series {
        /// Which file.
        path: PathBuf,
        /// Which series, and where it cannot be read.
        #[source]
        source: InvalidSeries,
    },
    /// More rows than are taken.
    #[error("{}: {rows} rows, more than {ROWS_MAX}; record fewer hours or fewer series", path.display())]
    TooManyRows {
        /// Which file.
        path: PathBuf,
        /// How many it says it has.
        rows: u64,
    },
    /// A sample is nowhere near the release.
    #[error("{}: column `timestamp`: {sample} has a sample at {at}, {days} days from the release's start at {started_at}, and at most {DAYS_MAX} are taken; correct that time, or `started_at` in {ORDER_FILE}", path.display())]
    FarSample {
        /// Which file.
        path: PathBuf,
        /// Of which instance and series.
        sample: String,
        /// Its time.
        at: Timestamp,
        /// How far that is from the release's start.
        days: u64,
        /// When the release began.
        started_at: Timestamp,
    },
    /// There is a recording of that name already.
    #[error("{} exists already; remove it or choose another name", path.display())]
    Exists {
        /// Which folder.
        path: PathBuf,
    },
}

impl RecordingError {
    fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { doing, path, source }
    }
}

/// The days between a sample and the release's start, if they are too many.
pub fn days_too_far(at: Timestamp, started_at: Timestamp) -> Option<u64> {
    let days = at.as_millis().abs_diff(started_at.as_millis()) / 86_400_000;
    (days > DAYS_MAX).then_some(days)
}

/// Reads the release order of the recording in `folder`, and nothing else.
///
/// # Errors
/// If the file cannot be read, has another format number, or lacks a field or
/// has one that cannot be true.
pub fn read_order(folder: &Path) -> Result<ReleaseOrder, RecordingError> {
    read_order_file(&folder.join(ORDER_FILE))
}

/// Reads a release order from a file of any name.
///
/// # Errors
/// As [`read_order`].
pub fn read_order_file(path: &Path) -> Result<ReleaseOrder, RecordingError> {
    let path = path.to_owned();
    let text = read_json(&path)?;
    let json = |source| RecordingError::Json { path: path.clone(), source };
    // The number is looked at first: fields of a later format may differ.
    #[derive(Deserialize)]
    struct FormatOnly {
        #[serde(default)]
        format: serde_json::Value,
    }
    let found = serde_json::from_slice::<FormatOnly>(&text).map_err(json)?.format;
    if found != RECORDING_FORMAT {
        let found = if found.is_null() { "missing".to_owned() } else { found.to_string() };
        let found = found.chars().take(60).collect();
        return Err(RecordingError::Format { path, found });
    }
    let order = serde_json::from_slice(&text).map_err(json)?;
    if let Some((field, problem)) = contradiction(&order).or_else(|| unknown_type(&text)) {
        return Err(RecordingError::Field { path, field, problem });
    }
    Ok(order)
}

/// Weights that a machine can have in units of another.
const WEIGHTS: std::ops::RangeInclusive<f64> = 1e-6..=1e6;

/// A field that cannot be true, and what is wrong with it.
fn contradiction(order: &ReleaseOrder) -> Option<(String, String)> {
    let started_at = order.started_at;
    if let Some(finished_at) = order.finished_at.filter(|at| *at < started_at) {
        let problem = format!("is {finished_at}, before `started_at`, which is {started_at}");
        return Some(("finished_at".to_owned(), problem));
    }
    order.batches.iter().enumerate().find_map(|(at, batch)| {
        let weight = batch.weight.filter(|weight| !WEIGHTS.contains(weight))?;
        let problem = format!(
            "is {weight:?}; it is the traffic of one released instance in units of one reference instance, from {:e} to {:e}, 1 if absent",
            WEIGHTS.start(),
            WEIGHTS.end()
        );
        Some((format!("batches[{at}].weight"), problem))
    })
}

/// The types of the format, and those of OpenMetrics that mean nothing here.
const TYPES: [&str; 8] =
    ["counter", "gauge", "histogram", "summary", "unknown", "info", "stateset", "gaugehistogram"];

/// A metric whose type is none. A server's metadata may have more types than are
/// known; what somebody wrote into a recording is a slip.
fn unknown_type(text: &[u8]) -> Option<(String, String)> {
    #[derive(Deserialize)]
    struct Metric {
        #[serde(default, rename = "type")]
        kind: Option<String>,
    }
    #[derive(Deserialize)]
    struct MetricsOnly {
        #[serde(default)]
        metrics: Vec<Metric>,
    }
    let MetricsOnly { metrics } = serde_json::from_slice(text).ok()?;
    metrics.into_iter().enumerate().find_map(|(at, metric)| {
        let kind = metric.kind.filter(|kind| !TYPES.contains(&kind.as_str()))?;
        let kind: String = kind.chars().take(60).collect();
        let problem = format!("is {kind:?}, and must be counter, gauge, histogram, summary or unknown");
        Some((format!("metrics[{at}].type"), problem))
    })
}

/// Reads what became of the release, where that is known. Apart from
/// [`Recording::read`], so that no verdict can have seen it.
///
/// # Errors
/// If there is a `label.json` that cannot be read.
pub fn read_label(folder: &Path) -> Result<Option<Label>, RecordingError> {
    let path = folder.join(LABEL_FILE);
    if !path.try_exists().map_err(RecordingError::io("look for", &path))? {
        return Ok(None);
    }
    read_label_file(&path).map(Some)
}

/// Reads what became of a release from a file of any name.
///
/// # Errors
/// If it cannot be read.
pub fn read_label_file(path: &Path) -> Result<Label, RecordingError> {
    let text = read_json(path)?;
    serde_json::from_slice(&text).map_err(|source| RecordingError::Json { path: path.to_owned(), source })
}

fn read_json(path: &Path) -> Result<Vec<u8>, RecordingError> {
    let length = fs::metadata(path).map_err(RecordingError::io("read", path))?.len();
    if length > JSON_BYTES_MAX {
        return Err(RecordingError::JsonTooLarge { path: path.to_owned() });
    }
    fs::read(path).map_err(RecordingError::io("read", path))
}

/// The recordings that are `path` itself or lie below it, in the order of
/// their paths. A folder that has a release order or samples is a recording,
/// and is not searched for more; hidden folders are passed over, among them
/// recordings that are just being written.
///
/// # Errors
/// If `path` or a folder below it cannot be listed.
pub fn find(path: &Path) -> Result<Vec<PathBuf>, RecordingError> {
    /// Deeper folders are not searched: links may form a circle.
    const DEPTH_MAX: usize = 16;
    let mut found = Vec::new();
    let mut open = vec![(path.to_owned(), 0)];
    while let Some((folder, depth)) = open.pop() {
        if folder.join(ORDER_FILE).is_file() || folder.join(SAMPLES_FILE).is_file() {
            found.push(folder);
            continue;
        }
        let entries = fs::read_dir(&folder).map_err(RecordingError::io("list the recordings of", &folder))?;
        for entry in entries {
            let entry = entry.map_err(RecordingError::io("list the recordings of", &folder))?;
            let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
            if !hidden && depth < DEPTH_MAX && entry.path().is_dir() {
                open.push((entry.path(), depth + 1));
            }
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests;

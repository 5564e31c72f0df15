//! Writing a recording: sorted, and either the whole folder or nothing.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use parquet::basic::{Compression, ZstdLevel};
use parquet::data_type::{ByteArray, ByteArrayType, DataType, DoubleType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::metadata::SortingColumn;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;
use serde::Serialize;

use crate::domain::{InstanceId, Label, ReleaseOrder, Scrape, ScrapeFailure, ScrapeOutcome, SeriesKey};

use super::samples::UP;
use super::{LABEL_FILE, ORDER_FILE, ROWS_MAX, RecordingError, SAMPLES_FILE};

const SCHEMA: &str = "message samples {
    REQUIRED INT64 timestamp (TIMESTAMP(MILLIS, true));
    REQUIRED BYTE_ARRAY instance (STRING);
    REQUIRED BYTE_ARRAY metric (STRING);
    REQUIRED DOUBLE value;
}";

/// Rows of a row group: small enough to be held by a reader, large enough to
/// store each dictionary once in nearly every recording.
const GROUP_ROWS: usize = 1 << 20;

/// Rows that are encoded at once.
const BATCH_ROWS: usize = 1 << 16;

/// Writes a recording into the new folder `folder`: files of a hidden folder
/// beside it are synced to disk, then it is renamed. Scrapes may come in any
/// order. A scrape that failed by the instance's silence is written as `up` 0;
/// one that failed by a fault of our view is not written, since what was not
/// seen has no row.
///
/// # Errors
/// If the folder exists already, there are over [`ROWS_MAX`] samples, or the
/// file system refuses; nothing of the recording is left behind then.
pub fn write<'a>(
    folder: &Path,
    order: &ReleaseOrder,
    scrapes: impl IntoIterator<Item = &'a Scrape>,
    label: Option<&Label>,
) -> Result<(), RecordingError> {
    if fs::symlink_metadata(folder).is_ok() {
        return Err(RecordingError::Exists { path: folder.to_owned() });
    }
    let mut rows = Rows::default();
    for scrape in scrapes {
        rows.take(scrape);
        if rows.values.len() > ROWS_MAX {
            let rows = rows.values.len() as u64;
            return Err(RecordingError::TooManyRows { path: folder.to_owned(), rows });
        }
    }
    let parent = match folder.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    fs::create_dir_all(&parent).map_err(RecordingError::io("create the folder", &parent))?;
    let unfinished = parent.join(unfinished_name(folder));
    fs::create_dir(&unfinished).map_err(RecordingError::io("create the folder", &unfinished))?;
    let written = write_files(&unfinished, order, &rows, label).and_then(|()| {
        sync_folder(&unfinished)?;
        fs::rename(&unfinished, folder).map_err(|source| match source.kind() {
            std::io::ErrorKind::DirectoryNotEmpty | std::io::ErrorKind::AlreadyExists => {
                RecordingError::Exists { path: folder.to_owned() }
            }
            _ => RecordingError::io("give its final name to", &unfinished)(source),
        })?;
        sync_folder(&parent)
    });
    if written.is_err() {
        // What is left is hidden and never taken for a recording.
        let _ = fs::remove_dir_all(&unfinished);
    }
    written
}

/// Writes or replaces what became of the release of the recording in `folder`.
///
/// # Errors
/// If the file system refuses; an earlier label is whole then.
pub fn write_label(folder: &Path, label: &Label) -> Result<(), RecordingError> {
    let path = folder.join(LABEL_FILE);
    let unfinished = folder.join(unfinished_name(&path));
    write_json(&unfinished, label)
        .and_then(|()| fs::rename(&unfinished, &path).map_err(RecordingError::io("replace", &path)))
        .and_then(|()| sync_folder(folder))
        .inspect_err(|_| {
            let _ = fs::remove_file(&unfinished);
        })
}

/// A hidden name that no other writer uses, in this process or another.
fn unfinished_name(path: &Path) -> String {
    static WRITTEN: AtomicU32 = AtomicU32::new(0);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let number = WRITTEN.fetch_add(1, Ordering::Relaxed);
    format!(".{name}.{}-{number}.unfinished", process::id())
}

fn sync_folder(folder: &Path) -> Result<(), RecordingError> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(RecordingError::io("sync", folder))
}

fn write_files(
    folder: &Path,
    order: &ReleaseOrder,
    rows: &Rows,
    label: Option<&Label>,
) -> Result<(), RecordingError> {
    write_json(&folder.join(ORDER_FILE), order)?;
    if let Some(label) = label {
        write_json(&folder.join(LABEL_FILE), label)?;
    }
    let path = folder.join(SAMPLES_FILE);
    let file = File::create(&path).map_err(RecordingError::io("create", &path))?;
    let file = rows.write(file).map_err(|source| RecordingError::Io {
        doing: "write",
        path: path.clone(),
        source: std::io::Error::other(source),
    })?;
    file.sync_all().map_err(RecordingError::io("sync", &path))
}

fn write_json(path: &Path, content: &impl Serialize) -> Result<(), RecordingError> {
    let mut text = serde_json::to_vec_pretty(content)
        .map_err(|source| RecordingError::Json { path: path.to_owned(), source })?;
    text.push(b'\n');
    let mut file = File::create(path).map_err(RecordingError::io("create", path))?;
    file.write_all(&text).and_then(|()| file.sync_all()).map_err(RecordingError::io("write", path))
}

/// The rows to be written, with names and series by number.
#[derive(Default)]
struct Rows {
    timestamps: Vec<i64>,
    instance_of: Vec<u32>,
    series_of: Vec<u32>,
    values: Vec<f64>,
    instances: HashMap<InstanceId, u32>,
    series: HashMap<Arc<SeriesKey>, u32>,
    /// The key of the outcome's series, made once.
    up: Option<Arc<SeriesKey>>,
}

impl Rows {
    fn take(&mut self, scrape: &Scrape) {
        let up = match &scrape.outcome {
            ScrapeOutcome::Complete | ScrapeOutcome::Incomplete { .. } => 1.0,
            ScrapeOutcome::Failed(failure) => match failure {
                ScrapeFailure::Refused
                | ScrapeFailure::Unreachable(_)
                | ScrapeFailure::Timeout
                | ScrapeFailure::Down => 0.0,
                ScrapeFailure::Status(_)
                | ScrapeFailure::NotExposition(_)
                | ScrapeFailure::TooLarge { .. }
                | ScrapeFailure::SourceDown(_) => return,
            },
        };
        let next = self.instances.len() as u32;
        let instance = *self.instances.entry(scrape.instance.clone()).or_insert(next);
        let at = scrape.at.as_millis();
        let up_key = self.up.get_or_insert_with(|| Arc::new(SeriesKey::new(UP, []))).clone();
        self.push(at, instance, &up_key, up);
        // A target's own metric of that name would be read back as the outcome.
        for sample in scrape.samples.iter().filter(|sample| sample.series.name() != UP) {
            self.push(at, instance, &sample.series, sample.value);
        }
    }

    fn push(&mut self, at: i64, instance: u32, series: &Arc<SeriesKey>, value: f64) {
        let number = match self.series.get(series) {
            Some(&number) => number,
            None => {
                let next = self.series.len() as u32;
                self.series.insert(series.clone(), next);
                next
            }
        };
        self.timestamps.push(at);
        self.instance_of.push(instance);
        self.series_of.push(number);
        self.values.push(value);
    }

    /// Sorted by time, instance and metric, into one Parquet file.
    fn write(&self, file: File) -> Result<File, ParquetError> {
        let mut instances = vec![String::new(); self.instances.len()];
        for (instance, &number) in &self.instances {
            instances[number as usize] = instance.to_string();
        }
        let mut series = vec![String::new(); self.series.len()];
        for (key, &number) in &self.series {
            series[number as usize] = key.to_string();
        }
        let (instance_rank, series_rank) = (ranks(&instances), ranks(&series));
        let mut order: Vec<u32> = (0..self.values.len() as u32).collect();
        order.sort_by_key(|&row| {
            let row = row as usize;
            (
                self.timestamps[row],
                instance_rank[self.instance_of[row] as usize],
                series_rank[self.series_of[row] as usize],
            )
        });
        let instances: Vec<ByteArray> = instances.iter().map(|text| text.as_str().into()).collect();
        let series: Vec<ByteArray> = series.iter().map(|text| text.as_str().into()).collect();

        let schema = Arc::new(parse_message_type(SCHEMA)?);
        let mut writer = SerializedFileWriter::new(file, schema, Arc::new(properties()?))?;
        // A file without rows has one row group too, for readers that expect it.
        let mut groups: Vec<&[u32]> = order.chunks(GROUP_ROWS).collect();
        if groups.is_empty() {
            groups.push(&[]);
        }
        for rows in groups {
            let mut group = writer.next_row_group()?;
            write_column::<Int64Type>(&mut group, rows, |row| self.timestamps[row])?;
            write_column::<ByteArrayType>(&mut group, rows, |row| {
                instances[self.instance_of[row] as usize].clone()
            })?;
            write_column::<ByteArrayType>(&mut group, rows, |row| {
                series[self.series_of[row] as usize].clone()
            })?;
            write_column::<DoubleType>(&mut group, rows, |row| self.values[row])?;
            group.close()?;
        }
        writer.into_inner()
    }
}

fn properties() -> Result<WriterProperties, ParquetError> {
    let ascending = |column_idx| SortingColumn { column_idx, descending: false, nulls_first: false };
    Ok(WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(3)?))
        .set_dictionary_enabled(true)
        // Series with many labels are long; past the limit every row would carry its text.
        .set_dictionary_page_size_limit(32 << 20)
        .set_max_row_group_row_count(Some(GROUP_ROWS))
        .set_sorting_columns(Some(vec![ascending(0), ascending(1), ascending(2)]))
        .build())
}

/// For each text its place in the order of all.
fn ranks(texts: &[String]) -> Vec<u32> {
    let mut order: Vec<usize> = (0..texts.len()).collect();
    order.sort_by(|&a, &b| texts[a].cmp(&texts[b]));
    let mut ranks = vec![0; texts.len()];
    for (rank, &number) in order.iter().enumerate() {
        ranks[number] = rank as u32;
    }
    ranks
}

fn write_column<T: DataType>(
    group: &mut SerializedRowGroupWriter<'_, File>,
    rows: &[u32],
    value: impl Fn(usize) -> T::T,
) -> Result<(), ParquetError> {
    let Some(mut column) = group.next_column()? else {
        return Err(ParquetError::General("the schema has fewer columns than are written".to_owned()));
    };
    for batch in rows.chunks(BATCH_ROWS) {
        let values: Vec<T::T> = batch.iter().map(|&row| value(row as usize)).collect();
        column.typed::<T>().write_batch(&values, None, None)?;
    }
    column.close()
}

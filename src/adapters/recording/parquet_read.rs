//! `samples.parquet` into columns, with the low-level readers: texts are
//! looked at once for each entry of a dictionary, never once for each row.

use std::collections::HashMap;
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use parquet::basic::{ConvertedType, LogicalType, TimeUnit, Type as PhysicalType};
use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::{ByteArray, ByteArrayType, DataType};
use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, RowGroupReader, SerializedFileReader};
use parquet::schema::types::{ColumnDescriptor, SchemaDescriptor};

use crate::domain::{InstanceId, SeriesKey};

use super::samples::{RawColumns, Samples};
use super::{ROWS_MAX, RecordingError};

/// Rows that are decoded at once: so few that their texts, counted references
/// each, stay in the processor's cache.
const BATCH_ROWS: usize = 1 << 12;

/// Reads the samples of a recording.
pub(super) fn read(path: &Path) -> Result<Samples, RecordingError> {
    let file = File::open(path).map_err(RecordingError::io("read", path))?;
    // The Parquet crate answers most damage with an error, but not all of it.
    catch_unwind(AssertUnwindSafe(|| read_file(path, file))).unwrap_or_else(|payload| {
        let what = payload
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| payload.downcast_ref::<&str>().copied())
            .unwrap_or("no reason given");
        Err(RecordingError::Damaged { path: path.to_owned(), what: what.chars().take(200).collect() })
    })
}

fn read_file(path: &Path, file: File) -> Result<Samples, RecordingError> {
    let parquet = |source| RecordingError::Parquet { path: path.to_owned(), source };
    let reader = SerializedFileReader::new(file).map_err(parquet)?;
    let schema = reader.metadata().file_metadata().schema_descr();
    let columns = Columns::find(path, schema)?;
    let groups: Vec<u64> =
        reader.metadata().row_groups().iter().map(|group| group.num_rows().max(0) as u64).collect();
    let rows = groups.iter().sum::<u64>();
    if rows > ROWS_MAX as u64 {
        return Err(RecordingError::TooManyRows { path: path.to_owned(), rows });
    }
    let mut raw = RawColumns::default();
    let mut instances = Texts::default();
    let mut series = Texts::default();
    for (number, &rows) in groups.iter().enumerate() {
        let group = reader.get_row_group(number).map_err(parquet)?;
        let rows = rows as usize;
        columns.timestamp.read_timestamps(path, &*group, rows, &mut raw.timestamps)?;
        columns.instance.read_texts(path, &*group, rows, &mut instances, &mut raw.instance_of)?;
        columns.metric.read_texts(path, &*group, rows, &mut series, &mut raw.series_of)?;
        columns.value.read_values(path, &*group, rows, &mut raw.values)?;
    }
    let instances = instances.texts(path, "instance")?;
    let instances = instances.iter().map(InstanceId::new).collect::<Result<_, _>>().map_err(|invalid| {
        columns.instance.problem(path, format!("has a value that is no name of an instance: {invalid}"))
    })?;
    let series = series.texts(path, "metric")?.into_iter().map(|text| text.parse::<SeriesKey>());
    let series = series
        .collect::<Result<_, _>>()
        .map_err(|source| RecordingError::Series { path: path.to_owned(), source })?;
    Ok(Samples::new(raw, instances, series))
}

/// Where the four columns are, and what they need.
struct Columns {
    timestamp: Column,
    instance: Column,
    metric: Column,
    value: Column,
}

struct Column {
    name: &'static str,
    index: usize,
    optional: bool,
    unit: TimestampUnit,
}

/// The unit of a timestamp column. The format says milliseconds; other tools
/// write finer ones by default, and are understood.
#[derive(Clone, Copy)]
enum TimestampUnit {
    Millis,
    Micros,
    Nanos,
}

impl Columns {
    fn find(path: &Path, schema: &SchemaDescriptor) -> Result<Self, RecordingError> {
        let text = |descr: &ColumnDescriptor| match descr.physical_type() {
            PhysicalType::BYTE_ARRAY => Ok(TimestampUnit::Millis),
            other => Err(format!("is of type {other}, and must be a string")),
        };
        Ok(Self {
            timestamp: Column::find(path, schema, "timestamp", timestamp_unit)?,
            instance: Column::find(path, schema, "instance", text)?,
            metric: Column::find(path, schema, "metric", text)?,
            value: Column::find(path, schema, "value", |descr| match descr.physical_type() {
                PhysicalType::DOUBLE | PhysicalType::FLOAT => Ok(TimestampUnit::Millis),
                other => Err(format!("is of type {other}, and must be double")),
            })?,
        })
    }
}

fn timestamp_unit(descr: &ColumnDescriptor) -> Result<TimestampUnit, String> {
    if descr.physical_type() != PhysicalType::INT64 {
        let found = descr.physical_type();
        return Err(format!("is of type {found}, and must be a timestamp in milliseconds (64-bit integer)"));
    }
    match descr.logical_type_ref() {
        Some(LogicalType::Timestamp(timestamp)) => Ok(match timestamp.unit {
            TimeUnit::MILLIS => TimestampUnit::Millis,
            TimeUnit::MICROS => TimestampUnit::Micros,
            TimeUnit::NANOS => TimestampUnit::Nanos,
        }),
        Some(other) => Err(format!("is of type {other:?}, and must be a timestamp in milliseconds")),
        None => Ok(match descr.converted_type() {
            ConvertedType::TIMESTAMP_MICROS => TimestampUnit::Micros,
            _ => TimestampUnit::Millis,
        }),
    }
}

impl Column {
    fn find(
        path: &Path,
        schema: &SchemaDescriptor,
        name: &'static str,
        check: impl FnOnce(&ColumnDescriptor) -> Result<TimestampUnit, String>,
    ) -> Result<Self, RecordingError> {
        let problem = |problem| RecordingError::Column { path: path.to_owned(), column: name, problem };
        let found = schema.columns().iter().enumerate().find(|(_, column)| column.path().string() == name);
        let Some((index, descr)) = found else {
            return Err(problem("is missing; the columns are timestamp, instance, metric, value".to_owned()));
        };
        if descr.max_rep_level() > 0 || descr.max_def_level() > 1 {
            return Err(problem("is a list or nested, and must have one value a row".to_owned()));
        }
        let unit = check(descr).map_err(problem)?;
        Ok(Self { name, index, optional: descr.max_def_level() > 0, unit })
    }

    fn problem(&self, path: &Path, problem: String) -> RecordingError {
        RecordingError::Column { path: path.to_owned(), column: self.name, problem }
    }

    fn reader(&self, path: &Path, group: &dyn RowGroupReader) -> Result<ColumnReader, RecordingError> {
        group
            .get_column_reader(self.index)
            .map_err(|source| RecordingError::Parquet { path: path.to_owned(), source })
    }

    fn wrong_type(&self, path: &Path) -> RecordingError {
        self.problem(path, "is stored in another type than the schema says; write the file again".to_owned())
    }

    /// Hands `take` batch after batch: the definition levels (empty where the
    /// column is required) and the values that are not null.
    fn read_batches<T: DataType>(
        &self,
        path: &Path,
        reader: &mut ColumnReaderImpl<T>,
        rows: usize,
        mut take: impl FnMut(&[i16], &mut Vec<T::T>) -> Result<(), RecordingError>,
    ) -> Result<(), RecordingError> {
        let (mut levels, mut values) = (Vec::new(), Vec::new());
        let mut remaining = rows;
        while remaining > 0 {
            levels.clear();
            values.clear();
            let (read, _, _) = reader
                .read_records(remaining.min(BATCH_ROWS), Some(&mut levels), None, &mut values)
                .map_err(|source| RecordingError::Parquet { path: path.to_owned(), source })?;
            if read == 0 {
                let source = ParquetError::EOF(format!("column {} ends {remaining} rows early", self.name));
                return Err(RecordingError::Parquet { path: path.to_owned(), source });
            }
            remaining -= read.min(remaining);
            take(if self.optional { &levels } else { &[] }, &mut values)?;
        }
        Ok(())
    }

    fn refuse_nulls(&self, path: &Path, levels: &[i16]) -> Result<(), RecordingError> {
        match levels.iter().position(|&level| level == 0) {
            None => Ok(()),
            Some(_) => Err(self.problem(path, "has an empty value; every row needs one".to_owned())),
        }
    }

    fn read_timestamps(
        &self,
        path: &Path,
        group: &dyn RowGroupReader,
        rows: usize,
        out: &mut Vec<i64>,
    ) -> Result<(), RecordingError> {
        let ColumnReader::Int64ColumnReader(mut reader) = self.reader(path, group)? else {
            return Err(self.wrong_type(path));
        };
        let divisor = match self.unit {
            TimestampUnit::Millis => 1,
            TimestampUnit::Micros => 1_000,
            TimestampUnit::Nanos => 1_000_000,
        };
        self.read_batches(path, &mut reader, rows, |levels, values| {
            self.refuse_nulls(path, levels)?;
            match divisor {
                1 => out.append(values),
                _ => out.extend(values.iter().map(|value| value.div_euclid(divisor))),
            }
            Ok(())
        })
    }

    /// An empty value is what several tools make of NaN.
    fn read_values(
        &self,
        path: &Path,
        group: &dyn RowGroupReader,
        rows: usize,
        out: &mut Vec<f64>,
    ) -> Result<(), RecordingError> {
        match self.reader(path, group)? {
            ColumnReader::DoubleColumnReader(mut reader) => {
                self.read_batches(path, &mut reader, rows, |levels, values| {
                    extend_with_nan(out, levels, values.drain(..));
                    Ok(())
                })
            }
            // Gauges are often stored in single precision, which loses nothing here.
            ColumnReader::FloatColumnReader(mut reader) => {
                self.read_batches(path, &mut reader, rows, |levels, values| {
                    extend_with_nan(out, levels, values.drain(..).map(f64::from));
                    Ok(())
                })
            }
            _ => Err(self.wrong_type(path)),
        }
    }

    fn read_texts(
        &self,
        path: &Path,
        group: &dyn RowGroupReader,
        rows: usize,
        texts: &mut Texts,
        out: &mut Vec<u32>,
    ) -> Result<(), RecordingError> {
        let ColumnReader::ByteArrayColumnReader(mut reader) = self.reader(path, group)? else {
            return Err(self.wrong_type(path));
        };
        let mut chunk = ChunkTexts::default();
        self.read_batches::<ByteArrayType>(path, &mut reader, rows, |levels, values| {
            self.refuse_nulls(path, levels)?;
            out.extend(values.drain(..).map(|text| chunk.number(text, texts)));
            Ok(())
        })
    }
}

/// Appends `present`, with NaN for each level of an empty value in between.
fn extend_with_nan(out: &mut Vec<f64>, levels: &[i16], mut present: impl Iterator<Item = f64>) {
    if levels.iter().all(|&level| level > 0) {
        out.extend(present);
        return;
    }
    out.extend(levels.iter().map(|&level| match level {
        0 => f64::NAN,
        _ => present.next().unwrap_or(f64::NAN),
    }));
}

/// The distinct texts of a column, over all row groups.
#[derive(Default)]
struct Texts {
    numbers: HashMap<Vec<u8>, u32>,
    in_order: Vec<Vec<u8>>,
}

impl Texts {
    fn number(&mut self, text: &[u8]) -> u32 {
        if let Some(&number) = self.numbers.get(text) {
            return number;
        }
        let number = self.in_order.len() as u32;
        self.numbers.insert(text.to_vec(), number);
        self.in_order.push(text.to_vec());
        number
    }

    fn texts(self, path: &Path, column: &'static str) -> Result<Vec<String>, RecordingError> {
        self.in_order.into_iter().map(String::from_utf8).collect::<Result<_, _>>().map_err(|_| {
            RecordingError::Column {
                path: path.to_owned(),
                column,
                problem: "has a text that is not UTF-8".to_owned(),
            }
        })
    }
}

/// Tells the texts of one column chunk apart by where they lie: rows with the
/// same dictionary entry share its bytes. The rows are sorted, so the entry
/// that followed the last one before most often follows it again, and a row
/// costs one comparison.
#[derive(Default)]
struct ChunkTexts {
    /// Each entry that was met; holding it keeps its place from being reused.
    entries: Vec<(ByteArray, u32)>,
    /// For each entry the one that came after it.
    followers: Vec<usize>,
    by_place: HashMap<(usize, usize), usize>,
    last: usize,
}

/// Entries that are remembered by place; a column without a dictionary has a
/// new place in every row.
const PLACES_MAX: usize = 1 << 17;

fn place(text: &ByteArray) -> (usize, usize) {
    (text.data().as_ptr() as usize, text.len())
}

impl ChunkTexts {
    fn number(&mut self, text: ByteArray, texts: &mut Texts) -> u32 {
        if let Some(&guess) = self.followers.get(self.last)
            && place(&self.entries[guess].0) == place(&text)
        {
            self.last = guess;
            return self.entries[guess].1;
        }
        let entry = match self.by_place.get(&place(&text)) {
            Some(&entry) => entry,
            None => {
                let number = texts.number(text.data());
                if self.entries.len() >= PLACES_MAX {
                    return number;
                }
                let entry = self.entries.len();
                self.by_place.insert(place(&text), entry);
                self.entries.push((text, number));
                self.followers.push(entry);
                entry
            }
        };
        if let Some(follower) = self.followers.get_mut(self.last) {
            *follower = entry;
        }
        self.last = entry;
        self.entries[entry].1
    }
}

//! `import`: samples in CSV and a release order into a recording.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use crate::adapters::recording::{self, DAYS_MAX, ROWS_MAX, RecordingError};
use crate::domain::{InstanceId, Sample, Scrape, ScrapeFailure, ScrapeOutcome, SeriesKey, Timestamp};

use super::record::report;

/// Longest line that is read, in bytes.
const LINE_BYTES_MAX: u64 = 1 << 20;

/// Bad lines that are told one by one.
const TOLD_MAX: usize = 20;

/// Makes a recording of a past release from samples in CSV.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The samples: either one a line, under the header
    /// `timestamp,instance,metric,value`, or one scrape a line, under
    /// `timestamp,instance,` and a series for each further column. Timestamps
    /// are RFC 3339, seconds, or milliseconds since 1970; fields with commas
    /// or quotes are quoted, with quotes doubled
    #[arg(long, value_name = "FILE.csv")]
    pub samples: PathBuf,
    /// The release order, as `release.json` of a recording
    #[arg(long, value_name = "FILE.json")]
    pub order: PathBuf,
    /// What became of the release, as `label.json` of a recording
    #[arg(long, value_name = "FILE.json")]
    pub label: Option<PathBuf>,
    /// The folder of the recording; must not exist yet
    #[arg(long, value_name = "FOLDER")]
    pub out: PathBuf,
    /// Write the recording though there are lines that cannot be read
    #[arg(long)]
    pub skip_bad_lines: bool,
}

/// Why nothing was imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// A recording's file is not as it must be, or cannot be written.
    #[error(transparent)]
    Recording(#[from] RecordingError),
    /// The samples cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The first line names no columns that are known.
    #[error("{}: line 1 must be timestamp,instance,metric,value, or timestamp,instance and a column for each series: {problem}", path.display())]
    Header {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// Some lines cannot be read.
    #[error("{}: {count} lines cannot be read; correct them, or leave them out with --skip-bad-lines", path.display())]
    BadLines {
        /// Which file.
        path: PathBuf,
        /// How many.
        count: usize,
    },
    /// There is nothing to record.
    #[error("{}: not one line has a sample that can be read; nothing is written", path.display())]
    NoSamples {
        /// Which file.
        path: PathBuf,
    },
    /// More samples than a recording takes.
    #[error("{}: more than {ROWS_MAX} samples; import fewer hours or fewer series", path.display())]
    TooMany {
        /// Which file.
        path: PathBuf,
    },
}

/// Runs the command; what is wrong goes to standard error.
pub fn run(args: &Args) -> ExitCode {
    report(import(args))
}

fn import(args: &Args) -> Result<String, ImportError> {
    let order = recording::read_order_file(&args.order)?;
    let label = args.label.as_deref().map(recording::read_label_file).transpose()?;
    let source = |source| ImportError::Read { path: args.samples.clone(), source };
    let file = File::open(&args.samples).map_err(source)?;
    let read = read(&mut BufReader::new(file), args, order.started_at)?;
    for (line, problem) in read.bad.iter().take(TOLD_MAX) {
        eprintln!("{}: line {line}: {problem}", args.samples.display());
    }
    if read.bad.len() > TOLD_MAX {
        eprintln!("{}: and {} lines more", args.samples.display(), read.bad.len() - TOLD_MAX);
    }
    if !read.bad.is_empty() && !args.skip_bad_lines {
        return Err(ImportError::BadLines { path: args.samples.clone(), count: read.bad.len() });
    }
    if read.samples == 0 {
        return Err(ImportError::NoSamples { path: args.samples.clone() });
    }
    let families = order.metrics.clone().into();
    let scrapes: Vec<Scrape> = read
        .moments
        .into_iter()
        .map(|((at, instance), moment)| moment.into_scrape(at, instance, &families))
        .collect();
    recording::write(&args.out, &order, &scrapes, label.as_ref())?;
    Ok(format!(
        "{}: {} samples in {} scrapes, {} lines left out",
        args.out.display(),
        read.samples,
        scrapes.len(),
        read.bad.len()
    ))
}

/// What the samples say of one instance at one time.
#[derive(Default)]
struct Moment {
    up: Option<bool>,
    samples: Vec<Sample>,
}

impl Moment {
    fn into_scrape(
        self,
        at: Timestamp,
        instance: InstanceId,
        families: &Arc<[crate::domain::MetricFamily]>,
    ) -> Scrape {
        let down = self.up == Some(false);
        Scrape {
            instance,
            at,
            outcome: match down {
                true => ScrapeOutcome::Failed(ScrapeFailure::Down),
                false => ScrapeOutcome::Complete,
            },
            samples: if down { Vec::new() } else { self.samples },
            families: families.clone(),
        }
    }
}

#[derive(Default)]
struct Read {
    moments: BTreeMap<(Timestamp, InstanceId), Moment>,
    samples: usize,
    /// Line numbers and what is wrong.
    bad: Vec<(usize, String)>,
}

/// Which columns there are after timestamp and instance.
enum Form {
    Long,
    Wide(Vec<Arc<SeriesKey>>),
}

fn read(input: &mut impl BufRead, args: &Args, started_at: Timestamp) -> Result<Read, ImportError> {
    let mut read = Read::default();
    let mut keys: HashMap<String, Arc<SeriesKey>> = HashMap::new();
    let mut form = None;
    let mut line = Vec::new();
    let mut number = 0;
    loop {
        line.clear();
        let source = |source| ImportError::Read { path: args.samples.clone(), source };
        let length = std::io::Read::take(&mut *input, LINE_BYTES_MAX).read_until(b'\n', &mut line);
        if length.map_err(source)? == 0 {
            break;
        }
        number += 1;
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_start_matches('\u{feff}').trim_end_matches(['\r', '\n']);
        if text.is_empty() {
            continue;
        }
        let fields = fields(text);
        let Some(form) = &form else {
            let header = fields.and_then(|fields| header(&fields));
            let path = args.samples.clone();
            form = Some(header.map_err(|problem| ImportError::Header { path, problem })?);
            continue;
        };
        let taken = fields.and_then(|fields| take_line(form, &fields, started_at, &mut keys, &mut read));
        if let Err(problem) = taken {
            read.bad.push((number, problem));
        }
        if read.samples > ROWS_MAX {
            return Err(ImportError::TooMany { path: args.samples.clone() });
        }
    }
    if form.is_none() {
        let problem = "the file is empty".to_owned();
        return Err(ImportError::Header { path: args.samples.clone(), problem });
    }
    Ok(read)
}

fn header(fields: &[String]) -> Result<Form, String> {
    match fields {
        [t, i, m, v] if t == "timestamp" && i == "instance" && m == "metric" && v == "value" => {
            Ok(Form::Long)
        }
        [t, i, series @ ..] if t == "timestamp" && i == "instance" && !series.is_empty() => {
            let keys = series.iter().map(|text| text.parse().map(Arc::new).map_err(|e| format!("{e}")));
            keys.collect::<Result<_, _>>().map(Form::Wide)
        }
        _ => Err(format!("it is {:?}", fields.join(",").chars().take(120).collect::<String>())),
    }
}

fn take_line(
    form: &Form,
    fields: &[String],
    started_at: Timestamp,
    keys: &mut HashMap<String, Arc<SeriesKey>>,
    read: &mut Read,
) -> Result<(), String> {
    let [at, instance, rest @ ..] = fields else {
        return Err("it has no timestamp and instance".to_owned());
    };
    let at = timestamp(at).ok_or_else(|| format!("{at:?} is no timestamp"))?;
    if let Some(days) = recording::days_too_far(at, started_at) {
        return Err(format!(
            "{at} is {days} days from the release's start at {started_at}, and at most {DAYS_MAX} are taken"
        ));
    }
    let instance = InstanceId::new(instance).map_err(|error| error.to_string())?;
    let mut samples: Vec<(Arc<SeriesKey>, f64)> = Vec::with_capacity(rest.len());
    match (form, rest) {
        (Form::Long, [metric, value]) => {
            let key = match keys.get(metric) {
                Some(key) => key.clone(),
                None => {
                    let key: SeriesKey = metric.parse().map_err(|error| format!("{error}"))?;
                    keys.entry(metric.clone()).or_insert(Arc::new(key)).clone()
                }
            };
            samples.push((key, number(value)?));
        }
        (Form::Wide(series), values) if values.len() == series.len() => {
            for (key, value) in series.iter().zip(values).filter(|(_, value)| !value.is_empty()) {
                samples.push((key.clone(), number(value)?));
            }
        }
        (Form::Long | Form::Wide(_), _) => {
            return Err(format!("it has {} fields, which is not what line 1 says", fields.len()));
        }
    }
    let moment = read.moments.entry((at, instance)).or_default();
    for (series, value) in samples {
        read.samples += 1;
        if series.name() == "up" {
            moment.up = Some(moment.up.unwrap_or(false) || value > 0.0);
        } else {
            moment.samples.push(Sample { series, value });
        }
    }
    Ok(())
}

/// Only who writes infinity means it.
fn number(text: &str) -> Result<f64, String> {
    let value: f64 = text.trim().parse().map_err(|_| format!("value {text:?} is no number"))?;
    if value.is_infinite() && text.contains(|c: char| c.is_ascii_digit()) {
        return Err(format!("value {text:?} is beyond what a double holds, 1.8e308"));
    }
    Ok(value)
}

/// RFC 3339, or a number since 1970: milliseconds from twelve digits on, which
/// seconds reach in the year 5138, else seconds with their fraction.
fn timestamp(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    if let Ok(moment) = text.parse::<Timestamp>() {
        return Some(moment);
    }
    let number: f64 = text.parse().ok().filter(|number: &f64| number.is_finite())?;
    let millis = if number.abs() >= 1e11 { number } else { number * 1e3 };
    (millis.abs() < 9e15).then(|| Timestamp::from_millis(millis.round() as i64))
}

/// The fields of one line of CSV.
fn fields(line: &str) -> Result<Vec<String>, String> {
    let mut fields = Vec::new();
    let mut rest = line;
    loop {
        let (field, after) = match rest.strip_prefix('"') {
            None => {
                let end = rest.find(',').unwrap_or(rest.len());
                (rest[..end].to_owned(), &rest[end..])
            }
            Some(mut quoted) => {
                let mut field = String::new();
                loop {
                    let end = quoted.find('"').ok_or("a quoted field does not end on its line")?;
                    field.push_str(&quoted[..end]);
                    quoted = &quoted[end + 1..];
                    match quoted.strip_prefix('"') {
                        Some(more) => {
                            field.push('"');
                            quoted = more;
                        }
                        None => break,
                    }
                }
                (field, quoted)
            }
        };
        fields.push(field);
        match after.strip_prefix(',') {
            Some(more) => rest = more,
            None if after.is_empty() => return Ok(fields),
            None => return Err("a quoted field is followed by more than a comma".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORDER: &str = r#"{"format": 1, "id": "r-1", "application": "shop",
        "started_at": "2026-03-01T08:30:00.000Z", "reference": ["a:1"]}"#;

    fn imported(csv: &str, skip_bad_lines: bool) -> Result<Vec<Scrape>, ImportError> {
        let base = tempfile::tempdir().unwrap();
        let path = |name: &str| base.path().join(name);
        std::fs::write(path("order.json"), ORDER).unwrap();
        std::fs::write(path("s.csv"), csv).unwrap();
        let (samples, order, out) = (path("s.csv"), path("order.json"), path("out"));
        import(&Args { samples, order, label: None, out: out.clone(), skip_bad_lines })?;
        Ok(recording::Recording::read(&out)?.scrapes().collect())
    }

    fn told(scrapes: &[Scrape]) -> Vec<String> {
        let tell = |s: &Scrape| {
            let samples: Vec<String> =
                s.samples.iter().map(|sample| format!("{}={}", sample.series, sample.value)).collect();
            format!("{} {} {}", s.at.as_millis(), s.instance, samples.join(" "))
        };
        scrapes.iter().map(tell).collect()
    }

    #[test]
    fn the_long_and_the_wide_form_make_the_same_recording() {
        let long = "timestamp,instance,metric,value\r\n\
            1772353800000,a:1,\"x{code=\"\"500\"\",path=\"\"/a,b\"\"}\",1.5\r\n\
            2026-03-01T08:30:00Z,a:1,y,NaN\n\
            1772353800.000,b:1,y,2\n";
        let wide = "timestamp,instance,\"x{path=\"\"/a,b\"\",code=\"\"500\"\"}\",y\n\
            1772353800,a:1,1.5,NaN\n1772353800,b:1,,2";
        let expected = ["1772353800000 a:1 x{code=\"500\",path=\"/a,b\"}=1.5 y=NaN", "1772353800000 b:1 y=2"];
        assert_eq!(told(&imported(long, false).unwrap()), expected);
        assert_eq!(told(&imported(wide, false).unwrap()), expected);
    }

    #[test]
    fn bad_lines_are_counted_and_nothing_is_written_unless_it_is_asked_for() {
        let csv = "timestamp,instance,metric,value\n1772353800,a,x,1\nyesterday,a,x,1\n1772353801,a,x\n1772353802,a,\"x,1\n1772353803,,x,1\n1772353804,a,x{,1\n1772353805,a,x,one\n";
        let error = imported(csv, false).unwrap_err();
        assert!(matches!(error, ImportError::BadLines { count: 6, .. }), "{error}");
        assert_eq!(told(&imported(csv, true).unwrap()), ["1772353800000 a x=1"]);
    }

    #[test]
    fn what_is_too_large_or_too_far_away_is_a_bad_line_and_nothing_left_is_an_error() {
        let csv = "timestamp,instance,metric,value\n1772353800,a,x,1e400\n1772353800,a,x,-1e999\n1,a,x,1\n";
        let error = imported(csv, false).unwrap_err();
        assert!(matches!(error, ImportError::BadLines { count: 3, .. }), "{error}");
        let error = imported(csv, true).unwrap_err();
        assert!(matches!(error, ImportError::NoSamples { .. }), "{error}");
        let meant = format!("{csv}1772353800,a,x,+Inf\n");
        assert_eq!(told(&imported(&meant, true).unwrap()), ["1772353800000 a x=inf"]);
    }

    #[test]
    fn a_file_without_a_known_header_is_refused() {
        for csv in ["", "time,host,metric,value\n", "timestamp,instance\n", "timestamp,instance,x{\n"] {
            assert!(matches!(imported(csv, true).unwrap_err(), ImportError::Header { .. }), "{csv:?}");
        }
    }
}

//! The samples of a recording in memory: four columns, with names and series
//! by number, and the scrapes that they make.

use std::collections::HashMap;
use std::sync::Arc;

use crate::domain::{
    InstanceId, MetricFamily, Sample, Scrape, ScrapeFailure, ScrapeOutcome, SeriesKey, TARGET_INFO, Timestamp,
};

/// The synthetic metric that says whether a scrape succeeded.
pub(super) const UP: &str = "up";

/// Every sample of a recording, ordered by time and instance, in file order
/// within one scrape.
#[derive(Debug, Default)]
pub struct Samples {
    /// Milliseconds since the Unix epoch, a row each.
    timestamps: Vec<i64>,
    /// Numbers in `instances`, a row each.
    instance_of: Vec<u32>,
    /// Numbers in `series`, a row each.
    series_of: Vec<u32>,
    values: Vec<f64>,
    instances: Vec<InstanceId>,
    series: Vec<Arc<SeriesKey>>,
}

/// The columns as a file has them: in any order, names by their spelling.
#[derive(Debug, Default)]
pub(super) struct RawColumns {
    pub timestamps: Vec<i64>,
    pub instance_of: Vec<u32>,
    pub series_of: Vec<u32>,
    pub values: Vec<f64>,
}

impl Samples {
    /// Takes columns of equal length whose numbers are within `instances`
    /// and `series`. Equal series become one, rows are sorted if they are not.
    pub(super) fn new(mut raw: RawColumns, instances: Vec<InstanceId>, spelt: Vec<SeriesKey>) -> Self {
        let series = unite_spellings(spelt, &mut raw.series_of);
        let mut samples = Self {
            timestamps: raw.timestamps,
            instance_of: raw.instance_of,
            series_of: raw.series_of,
            values: raw.values,
            instances,
            series,
        };
        samples.number_instances_by_name();
        samples.sort_rows();
        samples
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there is no row at all.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The instances that have samples, by name.
    pub fn instances(&self) -> &[InstanceId] {
        &self.instances
    }

    /// The distinct series, `up` among them.
    pub fn series(&self) -> &[Arc<SeriesKey>] {
        &self.series
    }

    /// The times of the first and the last sample.
    pub fn span(&self) -> Option<(Timestamp, Timestamp)> {
        let (first, last) = (self.timestamps.first()?, self.timestamps.last()?);
        Some((Timestamp::from_millis(*first), Timestamp::from_millis(*last)))
    }

    /// The first and the last sample: whose they are, and when.
    pub(super) fn outermost(&self) -> impl Iterator<Item = (String, Timestamp)> {
        let rows = if self.is_empty() { Vec::new() } else { vec![0, self.len() - 1] };
        rows.into_iter().map(|row| {
            let instance = &self.instances[self.instance_of[row] as usize];
            let series = &self.series[self.series_of[row] as usize];
            (format!("{series} of {instance}"), Timestamp::from_millis(self.timestamps[row]))
        })
    }

    /// How many values are finite, and beyond the single precision that is
    /// judged; and how many are within it and say something: not 0, and not of
    /// `up`.
    pub fn by_size(&self) -> (usize, usize) {
        let is_up: Vec<bool> = self.series.iter().map(|key| key.name() == UP).collect();
        let (mut too_large, mut usable) = (0, 0);
        for (value, series) in self.values.iter().zip(&self.series_of).filter(|(v, _)| v.is_finite()) {
            let fits = (*value as f32).is_finite();
            too_large += usize::from(!fits);
            usable += usize::from(fits && *value != 0.0 && !is_up[*series as usize]);
        }
        (too_large, usable)
    }

    /// The times at which each instance has samples, in order; instances by
    /// their number.
    pub fn moments(&self) -> impl Iterator<Item = (u32, Timestamp)> {
        let mut last = None;
        self.timestamps.iter().zip(&self.instance_of).filter_map(move |(at, instance)| {
            let moment = (*instance, *at);
            (last.replace(moment) != Some(moment)).then(|| (*instance, Timestamp::from_millis(*at)))
        })
    }

    /// The scrapes in the order of their times, then instances, each with
    /// `families`.
    pub fn scrapes(&self, families: &[MetricFamily]) -> Scrapes<'_> {
        Scrapes {
            samples: self,
            is_up: self.series.iter().map(|key| key.name() == UP).collect(),
            place: vec![(0, 0); self.series.len()],
            scrape_number: 0,
            row: 0,
            size_hint: HashMap::new(),
            families: families.into(),
        }
    }

    /// With numbers in the order of names, rows compare as two integers.
    fn number_instances_by_name(&mut self) {
        let mut order: Vec<usize> = (0..self.instances.len()).collect();
        order.sort_by(|&a, &b| self.instances[a].cmp(&self.instances[b]));
        let mut rank = vec![0; order.len()];
        for (new, &old) in order.iter().enumerate() {
            rank[old] = new as u32;
        }
        self.instances = order.iter().map(|&old| self.instances[old].clone()).collect();
        for number in &mut self.instance_of {
            *number = rank[*number as usize];
        }
    }

    fn sort_rows(&mut self) {
        let key = |row: usize| (self.timestamps[row], self.instance_of[row]);
        if (1..self.len()).all(|row| key(row - 1) <= key(row)) {
            return;
        }
        let mut order: Vec<u32> = (0..self.len() as u32).collect();
        order.sort_by_key(|&row| key(row as usize));
        self.timestamps = order.iter().map(|&row| self.timestamps[row as usize]).collect();
        self.instance_of = order.iter().map(|&row| self.instance_of[row as usize]).collect();
        self.series_of = order.iter().map(|&row| self.series_of[row as usize]).collect();
        self.values = order.iter().map(|&row| self.values[row as usize]).collect();
    }
}

/// One shared key for each distinct series, however often and with whatever
/// order of labels it is spelt.
fn unite_spellings(spelt: Vec<SeriesKey>, series_of: &mut [u32]) -> Vec<Arc<SeriesKey>> {
    let mut numbers: HashMap<Arc<SeriesKey>, u32> = HashMap::with_capacity(spelt.len());
    let mut series = Vec::with_capacity(spelt.len());
    let united: Vec<u32> = spelt
        .into_iter()
        .map(|key| {
            let key = Arc::new(key);
            *numbers.entry(key.clone()).or_insert_with(|| {
                series.push(key);
                series.len() as u32 - 1
            })
        })
        .collect();
    if series.len() < united.len() {
        for number in series_of {
            *number = united[*number as usize];
        }
    }
    series
}

/// The scrapes of a recording, one for each instance and time.
pub struct Scrapes<'a> {
    samples: &'a Samples,
    is_up: Vec<bool>,
    /// For each series the scrape that had it last, and where in its samples.
    place: Vec<(u64, u32)>,
    scrape_number: u64,
    row: usize,
    /// How many samples an instance's last scrape had.
    size_hint: HashMap<u32, usize>,
    families: Arc<[MetricFamily]>,
}

impl Iterator for Scrapes<'_> {
    type Item = Scrape;

    fn next(&mut self) -> Option<Scrape> {
        let columns = self.samples;
        let first = self.row;
        let (at, instance) = (*columns.timestamps.get(first)?, columns.instance_of[first]);
        self.scrape_number += 1;
        let mut up: Option<bool> = None;
        let mut samples = Vec::with_capacity(self.size_hint.get(&instance).copied().unwrap_or(0));
        while self.row < columns.len()
            && columns.timestamps[self.row] == at
            && columns.instance_of[self.row] == instance
        {
            let series = columns.series_of[self.row] as usize;
            let value = columns.values[self.row];
            self.row += 1;
            if self.is_up[series] {
                // One endpoint of several that answers is enough to be up.
                up = Some(up.unwrap_or(false) || value > 0.0);
                continue;
            }
            let (seen_in, index) = self.place[series];
            if seen_in == self.scrape_number {
                // Foreign files may have a row twice: the last one stays.
                let sample: &mut Sample = &mut samples[index as usize];
                sample.value = value;
                continue;
            }
            self.place[series] = (self.scrape_number, samples.len() as u32);
            samples.push(Sample { series: columns.series[series].clone(), value });
        }
        let outcome = if up == Some(false) {
            samples.retain(|sample| sample.series.name() == TARGET_INFO);
            ScrapeOutcome::Failed(ScrapeFailure::Down)
        } else {
            self.size_hint.insert(instance, samples.len());
            ScrapeOutcome::Complete
        };
        Some(Scrape {
            instance: columns.instances[instance as usize].clone(),
            at: Timestamp::from_millis(at),
            outcome,
            samples,
            families: self.families.clone(),
        })
    }
}

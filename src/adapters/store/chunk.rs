//! Scrapes as compressed columns. Successive scrapes of one target expose
//! nearly the same series with nearly the same values, so a scrape's list of
//! series is written only where it differs, and values are written as the
//! XOR with the ones before: long runs of zero bytes, which zstd removes.

use std::collections::HashMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::domain::{
    InstanceId, MetricFamily, Sample, Scrape, ScrapeFailure, ScrapeOutcome, SeriesKey, Timestamp,
};

const FORMAT: u32 = 1;
const COMPRESSION_LEVEL: i32 = 1;
/// A chunk that says it is larger is damaged.
const CHUNK_BYTES_MAX: usize = 1 << 30;

/// Why a chunk cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ChunkError {
    /// It cannot be decompressed or ends too early.
    #[error("a chunk of samples is cut or damaged")]
    Damaged,
    /// It names a series that is not stored.
    #[error("a chunk of samples names series {0}, which is not stored")]
    UnknownSeries(u32),
    /// Another version wrote it.
    #[error("a chunk of samples has format {0}, this version reads {FORMAT}")]
    Format(u32),
    /// It could not be compressed.
    #[error("samples could not be compressed")]
    Compress(#[source] std::io::Error),
}

#[derive(Serialize, Deserialize)]
struct Head {
    format: u32,
    scrapes: Vec<ScrapeHead>,
    families: Vec<Vec<MetricFamily>>,
}

#[derive(Serialize, Deserialize)]
struct ScrapeHead {
    #[serde(rename = "i")]
    instance: InstanceId,
    #[serde(rename = "t")]
    at_ms: i64,
    #[serde(rename = "n")]
    samples: u32,
    /// Whether the series are those of this instance's scrape before.
    #[serde(rename = "r", default, skip_serializing_if = "std::ops::Not::not")]
    repeats: bool,
    #[serde(rename = "f")]
    families: u32,
    #[serde(rename = "o", default, skip_serializing_if = "Option::is_none")]
    trouble: Option<Trouble>,
}

#[derive(Serialize, Deserialize)]
enum Trouble {
    Incomplete { lost: u32, first: String },
    Refused,
    Unreachable(String),
    Timeout,
    Status(u16),
    NotExposition(String),
    TooLarge(u64),
    SourceDown(String),
    Down,
}

fn trouble(outcome: &ScrapeOutcome) -> Option<Trouble> {
    let failure = match outcome {
        ScrapeOutcome::Complete => return None,
        ScrapeOutcome::Incomplete { lost, first } => {
            return Some(Trouble::Incomplete { lost: *lost, first: first.clone() });
        }
        ScrapeOutcome::Failed(failure) => failure,
    };
    Some(match failure {
        ScrapeFailure::Refused => Trouble::Refused,
        ScrapeFailure::Unreachable(why) => Trouble::Unreachable(why.clone()),
        ScrapeFailure::Timeout => Trouble::Timeout,
        ScrapeFailure::Status(status) => Trouble::Status(*status),
        ScrapeFailure::NotExposition(why) => Trouble::NotExposition(why.clone()),
        ScrapeFailure::TooLarge { limit_bytes } => Trouble::TooLarge(*limit_bytes),
        ScrapeFailure::SourceDown(why) => Trouble::SourceDown(why.clone()),
        ScrapeFailure::Down => Trouble::Down,
    })
}

fn outcome(trouble: Option<Trouble>) -> ScrapeOutcome {
    let Some(trouble) = trouble else { return ScrapeOutcome::Complete };
    ScrapeOutcome::Failed(match trouble {
        Trouble::Incomplete { lost, first } => return ScrapeOutcome::Incomplete { lost, first },
        Trouble::Refused => ScrapeFailure::Refused,
        Trouble::Unreachable(why) => ScrapeFailure::Unreachable(why),
        Trouble::Timeout => ScrapeFailure::Timeout,
        Trouble::Status(status) => ScrapeFailure::Status(status),
        Trouble::NotExposition(why) => ScrapeFailure::NotExposition(why),
        Trouble::TooLarge(limit_bytes) => ScrapeFailure::TooLarge { limit_bytes },
        Trouble::SourceDown(why) => ScrapeFailure::SourceDown(why),
        Trouble::Down => ScrapeFailure::Down,
    })
}

/// The numbers of an application's series. A key is found by its address
/// first: scrapes of one target share theirs.
#[derive(Default)]
pub(super) struct SeriesNumbers {
    by_address: HashMap<usize, (Arc<SeriesKey>, u32)>,
    by_key: HashMap<Arc<SeriesKey>, u32>,
}

impl SeriesNumbers {
    /// Takes the numbers that are stored.
    pub(super) fn restore(stored: impl IntoIterator<Item = (u32, SeriesKey)>) -> Self {
        let by_key = stored.into_iter().map(|(id, key)| (Arc::new(key), id)).collect();
        Self { by_address: HashMap::new(), by_key }
    }

    /// The number of a series; a new one is also put into `new`.
    fn number(&mut self, key: &Arc<SeriesKey>, new: &mut Vec<(u32, Arc<SeriesKey>)>) -> u32 {
        let address = Arc::as_ptr(key) as usize;
        if let Some((_, id)) = self.by_address.get(&address) {
            return *id;
        }
        let next = u32::try_from(self.by_key.len()).unwrap_or(u32::MAX);
        let id = *self.by_key.entry(key.clone()).or_insert_with(|| {
            new.push((next, key.clone()));
            next
        });
        // Keys of targets that are gone would stay for good otherwise.
        if self.by_address.len() > 2 * self.by_key.len() + 1024 {
            self.by_address.clear();
        }
        self.by_address.insert(address, (key.clone(), id));
        id
    }

    /// Takes back numbers that could not be stored.
    pub(super) fn forget(&mut self, new: &[(u32, Arc<SeriesKey>)]) {
        for (_, key) in new {
            self.by_key.remove(key);
        }
        self.by_address.clear();
    }

    pub(super) fn keys(&self) -> HashMap<u32, Arc<SeriesKey>> {
        self.by_key.iter().map(|(key, id)| (*id, key.clone())).collect()
    }
}

/// Writes scrapes as one chunk; series that have no number yet get one, and
/// are returned to be stored with it.
pub(super) fn encode_chunk(
    scrapes: &[Scrape],
    numbers: &mut SeriesNumbers,
) -> Result<(Vec<u8>, Vec<(u32, Arc<SeriesKey>)>), ChunkError> {
    let mut new = Vec::new();
    let mut head = Head { format: FORMAT, scrapes: Vec::with_capacity(scrapes.len()), families: Vec::new() };
    let mut family_index: Vec<&Arc<[MetricFamily]>> = Vec::new();
    let mut before: HashMap<&InstanceId, (Vec<u32>, Vec<u64>)> = HashMap::new();
    let (mut ids, mut values) = (Vec::new(), Vec::new());
    for scrape in scrapes {
        let series: Vec<u32> = scrape.samples.iter().map(|s| numbers.number(&s.series, &mut new)).collect();
        let bits: Vec<u64> = scrape.samples.iter().map(|s| s.value.to_bits()).collect();
        let repeats = before.get(&scrape.instance).is_some_and(|(previous, _)| *previous == series);
        if repeats {
            let previous = &before[&scrape.instance].1;
            values.extend(bits.iter().zip(previous).flat_map(|(now, then)| (now ^ then).to_le_bytes()));
        } else {
            ids.extend(series.iter().flat_map(|id| id.to_le_bytes()));
            values.extend(bits.iter().flat_map(|now| now.to_le_bytes()));
        }
        let families = match family_index.iter().position(|f| Arc::ptr_eq(f, &scrape.families)) {
            Some(index) => index,
            None => {
                family_index.push(&scrape.families);
                head.families.push(scrape.families.to_vec());
                family_index.len() - 1
            }
        };
        head.scrapes.push(ScrapeHead {
            instance: scrape.instance.clone(),
            at_ms: scrape.at.as_millis(),
            samples: scrape.samples.len() as u32,
            repeats,
            families: families as u32,
            trouble: trouble(&scrape.outcome),
        });
        before.insert(&scrape.instance, (series, bits));
    }
    let head = serde_json::to_vec(&head).map_err(|e| ChunkError::Compress(e.into()))?;
    let mut plain = Vec::with_capacity(8 + head.len() + ids.len() + values.len());
    plain.extend((head.len() as u64).to_le_bytes());
    plain.extend(head);
    plain.extend(ids);
    plain.extend(values);
    let bytes = zstd::encode_all(plain.as_slice(), COMPRESSION_LEVEL).map_err(ChunkError::Compress)?;
    Ok((bytes, new))
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], ChunkError> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(ChunkError::Damaged)?;
        self.0 = rest;
        Ok(taken)
    }
}

fn words<const N: usize>(bytes: &[u8]) -> impl Iterator<Item = [u8; N]> + '_ {
    bytes.as_chunks::<N>().0.iter().copied()
}

/// Reads a chunk back.
///
/// # Errors
/// If it is cut, damaged, of another format, or names an unknown series.
pub fn decode_chunk(bytes: &[u8], keys: &HashMap<u32, Arc<SeriesKey>>) -> Result<Vec<Scrape>, ChunkError> {
    use std::io::Read;
    let mut plain = Vec::new();
    let decoder = zstd::Decoder::new(bytes).map_err(|_| ChunkError::Damaged)?;
    decoder.take(CHUNK_BYTES_MAX as u64).read_to_end(&mut plain).map_err(|_| ChunkError::Damaged)?;
    let mut reader = Reader(&plain);
    let length = words::<8>(reader.take(8)?).next().map_or(0, u64::from_le_bytes);
    let head = reader.take(usize::try_from(length).map_err(|_| ChunkError::Damaged)?)?;
    let head: Head = serde_json::from_slice(head).map_err(|_| ChunkError::Damaged)?;
    if head.format != FORMAT {
        return Err(ChunkError::Format(head.format));
    }
    let families: Vec<Arc<[MetricFamily]>> = head.families.into_iter().map(Into::into).collect();
    let listed: usize = head.scrapes.iter().filter(|s| !s.repeats).map(|s| s.samples as usize).sum();
    let mut ids = Reader(reader.take(listed.checked_mul(4).ok_or(ChunkError::Damaged)?)?);
    let mut before: HashMap<InstanceId, (Vec<Arc<SeriesKey>>, Vec<u64>)> = HashMap::new();
    let mut scrapes = Vec::with_capacity(head.scrapes.len());
    for one in head.scrapes {
        let count = one.samples as usize;
        let raw = words::<8>(reader.take(count.checked_mul(8).ok_or(ChunkError::Damaged)?)?)
            .map(u64::from_le_bytes);
        let (series, bits) = if one.repeats {
            let (series, previous) = before.remove(&one.instance).ok_or(ChunkError::Damaged)?;
            if series.len() != count {
                return Err(ChunkError::Damaged);
            }
            let bits = raw.zip(&previous).map(|(x, then)| x ^ then).collect::<Vec<u64>>();
            (series, bits)
        } else {
            let series = words::<4>(ids.take(count * 4)?)
                .map(u32::from_le_bytes)
                .map(|id| keys.get(&id).cloned().ok_or(ChunkError::UnknownSeries(id)))
                .collect::<Result<Vec<_>, _>>()?;
            (series, raw.collect())
        };
        let samples = series
            .iter()
            .zip(&bits)
            .map(|(series, bits)| Sample { series: series.clone(), value: f64::from_bits(*bits) })
            .collect();
        scrapes.push(Scrape {
            instance: one.instance.clone(),
            at: Timestamp::from_millis(one.at_ms),
            outcome: outcome(one.trouble),
            samples,
            families: families.get(one.families as usize).cloned().ok_or(ChunkError::Damaged)?,
        });
        before.insert(one.instance, (series, bits));
    }
    Ok(scrapes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn scrapes() -> impl Strategy<Value = Vec<Scrape>> {
        let keys: Vec<Arc<SeriesKey>> =
            (0..6).map(|i| Arc::new(SeriesKey::new(&format!("m{i}"), [("a", "x")]))).collect();
        let one =
            (0..3u8, 0..1_000_000i64, proptest::collection::vec((0..6usize, any::<f64>()), 0..8), 0..4u8);
        proptest::collection::vec(one, 0..12).prop_map(move |all| {
            all.into_iter()
                .map(|(instance, at, samples, trouble)| Scrape {
                    instance: InstanceId::new(format!("host-{instance}")).unwrap(),
                    at: Timestamp::from_millis(at),
                    outcome: match trouble {
                        0 => ScrapeOutcome::Failed(ScrapeFailure::TooLarge { limit_bytes: 7 }),
                        1 => ScrapeOutcome::Incomplete { lost: 3, first: "line 9".into() },
                        _ => ScrapeOutcome::Complete,
                    },
                    samples: samples
                        .into_iter()
                        .map(|(k, value)| Sample { series: keys[k].clone(), value })
                        .collect(),
                    families: Arc::new([]),
                })
                .collect()
        })
    }

    fn bits(scrapes: &[Scrape]) -> Vec<(InstanceId, Timestamp, ScrapeOutcome, Vec<(String, u64)>)> {
        let one = |s: &Scrape| s.samples.iter().map(|x| (x.series.to_string(), x.value.to_bits())).collect();
        scrapes.iter().map(|s| (s.instance.clone(), s.at, s.outcome.clone(), one(s))).collect()
    }

    proptest! {
        #[test]
        fn any_scrapes_are_read_back_to_the_last_bit(scrapes in scrapes()) {
            let mut numbers = SeriesNumbers::default();
            let (bytes, _) = encode_chunk(&scrapes, &mut numbers).unwrap();
            prop_assert_eq!(bits(&decode_chunk(&bytes, &numbers.keys()).unwrap()), bits(&scrapes));
        }

        #[test]
        fn a_damaged_chunk_is_an_error_and_no_panic(scrapes in scrapes(), at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<bool>()) {
            let mut numbers = SeriesNumbers::default();
            let (mut bytes, _) = encode_chunk(&scrapes, &mut numbers).unwrap();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            if cut {
                bytes.truncate(at);
            }
            let _ = decode_chunk(&bytes, &numbers.keys());
        }
    }
}

//! Pseudo-releases: random machines at random moments of an application's
//! quiet history, when nothing was released. Whatever stops one of them stops
//! it for nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use rand_chacha_03::ChaCha8Rng;
use rand_chacha_03::rand_core::{RngCore, SeedableRng};

use crate::domain::{InstanceId, Timestamp};

/// A stretch of history without any release.
#[derive(Clone, Debug, PartialEq)]
pub struct Stretch {
    /// Its first sample.
    pub from: Timestamp,
    /// Its last one.
    pub to: Timestamp,
    /// The machines that served in it.
    pub instances: Vec<InstanceId>,
    /// How many of them a first batch has, if releases are known.
    pub batch: Option<usize>,
}

/// How pseudo-releases are cut.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CutSettings {
    /// Same seed and stretches, same cuts.
    pub seed: u64,
    /// How many.
    pub count: usize,
    /// Least history before one.
    pub history: Duration,
    /// How long each is watched.
    pub watch: Duration,
}

/// A release that never was.
#[derive(Clone, Debug, PartialEq)]
pub struct PseudoRelease {
    /// The place of its stretch.
    pub stretch: usize,
    /// When it is said to have begun.
    pub began_at: Timestamp,
    /// The end of its watch.
    pub ends_at: Timestamp,
    /// Said to run a new version; one at least.
    pub released: Vec<InstanceId>,
    /// The others.
    pub reference: Vec<InstanceId>,
}

impl Stretch {
    /// How much room there is for the beginning; nothing in a stretch that is
    /// too short.
    fn room(&self, settings: &CutSettings) -> Option<Duration> {
        let needed = settings.history + settings.watch;
        let length = self.to.since(self.from);
        (length >= needed && !self.instances.is_empty()).then(|| length - needed)
    }

    /// How many watches fit into it side by side: cuts that overlap repeat
    /// each other, so this bounds what they can tell.
    pub fn disjoint(&self, settings: &CutSettings) -> usize {
        let Some(room) = self.room(settings) else { return 0 };
        1 + (room.as_millis() / settings.watch.as_millis().max(1)) as usize
    }
}

/// Cuts pseudo-releases out of stretches, each by the room that it has; none
/// if all are too short.
pub fn cut(stretches: &[Stretch], settings: &CutSettings) -> Vec<PseudoRelease> {
    let mut rng = ChaCha8Rng::seed_from_u64(settings.seed);
    // A step of room more, so that a stretch that just fits has its turn.
    let rooms: Vec<u64> = stretches
        .iter()
        .map(|s| {
            s.room(settings).map_or(0, |room| u64::try_from(room.as_millis()).unwrap_or(u64::MAX / 2) + 1)
        })
        .collect();
    let total = rooms.iter().fold(0_u64, |sum, room| sum.saturating_add(*room));
    if total == 0 {
        return Vec::new();
    }
    (0..settings.count)
        .map(|_| {
            let mut offset = rng.next_u64() % total;
            let mut at = 0;
            while offset >= rooms[at] {
                offset -= rooms[at];
                at += 1;
            }
            let stretch = &stretches[at];
            let began_at = stretch.from + settings.history + Duration::from_millis(offset);
            let (released, reference) = divide(stretch, &mut rng);
            PseudoRelease { stretch: at, began_at, ends_at: began_at + settings.watch, released, reference }
        })
        .collect()
}

/// A batch of the usual size at random, at most half; of unknown size from
/// one machine to half of them.
fn divide(stretch: &Stretch, rng: &mut ChaCha8Rng) -> (Vec<InstanceId>, Vec<InstanceId>) {
    let mut shuffled = stretch.instances.clone();
    for end in (1..shuffled.len()).rev() {
        shuffled.swap(end, (rng.next_u64() % (end as u64 + 1)) as usize);
    }
    let half = (shuffled.len() / 2).max(1);
    let size = match stretch.batch {
        Some(size) => size.clamp(1, half),
        None => 1 + (rng.next_u64() % half as u64) as usize,
    };
    let mut reference = shuffled.split_off(size);
    shuffled.sort();
    reference.sort();
    (shuffled, reference)
}

/// How pseudo-releases were decided.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Calibration {
    /// How many were judged.
    pub judged: usize,
    /// How many of them were stopped, each for nothing.
    pub stopped: usize,
    /// By the signal that is failing: how many stops it has a part in, and
    /// the sentence of the first.
    pub by_signal: BTreeMap<String, (usize, String)>,
}

impl Calibration {
    /// Counts one; `failing` are the signals behind its stop with a sentence
    /// each, nothing if it went through.
    pub fn add<'a>(&mut self, failing: Option<impl IntoIterator<Item = (&'a str, &'a str)>>) {
        self.judged += 1;
        let Some(failing) = failing else { return };
        self.stopped += 1;
        let mut seen = std::collections::BTreeSet::new();
        for (signal, because) in failing {
            if seen.insert(signal) {
                let entry = self.by_signal.entry(signal.to_owned());
                entry.or_insert_with(|| (0, because.to_owned())).0 += 1;
            }
        }
    }

    /// The signals, those with a part in most stops first.
    pub fn culprits(&self) -> Vec<(&str, usize, &str)> {
        let mut culprits: Vec<_> =
            self.by_signal.iter().map(|(name, (count, why))| (name.as_str(), *count, why.as_str())).collect();
        culprits.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
        culprits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn stretch(minutes: u32, machines: usize, batch: Option<usize>) -> Stretch {
        let from = Timestamp::from_millis(1_000_000);
        let instances = (0..machines).map(|i| InstanceId::new(format!("m{i}:1")).unwrap()).collect();
        Stretch { from, to: from + MINUTE * minutes, instances, batch }
    }

    fn settings(count: usize) -> CutSettings {
        CutSettings { seed: 3, count, history: MINUTE * 20, watch: MINUTE * 10 }
    }

    #[test]
    fn cuts_lie_within_their_stretch_and_divide_its_machines() {
        let stretches = [stretch(29, 6, None), stretch(90, 6, Some(2)), stretch(30, 1, Some(5))];
        let cuts = cut(&stretches, &settings(300));
        assert_eq!(cuts.len(), 300);
        assert_eq!(cuts, cut(&stretches, &settings(300)), "the same seed cuts the same");
        assert_ne!(cuts, cut(&stretches, &CutSettings { seed: 4, ..settings(300) }));
        for cut in &cuts {
            let of = &stretches[cut.stretch];
            assert_ne!(cut.stretch, 0, "29 minutes are too short for 30");
            assert!(cut.began_at >= of.from + MINUTE * 20 && cut.ends_at <= of.to, "{cut:?}");
            let mut all = [cut.released.clone(), cut.reference.clone()].concat();
            all.sort();
            assert_eq!(all, of.instances);
            assert_eq!(cut.released.len(), of.batch.unwrap().min(of.instances.len().div_ceil(2)).min(2));
        }
        let beginnings: std::collections::BTreeSet<_> = cuts.iter().map(|c| c.began_at).collect();
        assert!(beginnings.len() > 250, "they are spread: {}", beginnings.len());
    }

    #[test]
    fn without_a_known_batch_one_machine_to_half_of_them_are_released() {
        let sizes: std::collections::BTreeSet<usize> =
            cut(&[stretch(90, 6, None)], &settings(100)).iter().map(|c| c.released.len()).collect();
        assert_eq!(sizes.into_iter().collect::<Vec<_>>(), [1, 2, 3]);
    }

    #[test]
    fn nothing_is_cut_from_what_is_too_short_or_empty() {
        assert!(cut(&[], &settings(5)).is_empty());
        assert!(cut(&[stretch(29, 4, None), stretch(90, 0, None)], &settings(5)).is_empty());
        let fits: Vec<usize> =
            [29, 30, 39, 40, 60].map(|m| stretch(m, 4, None).disjoint(&settings(5))).to_vec();
        assert_eq!(fits, [0, 1, 1, 2, 4]);
    }

    #[test]
    fn a_signal_counts_once_a_stop_and_the_worst_comes_first() {
        let mut calibration = Calibration::default();
        let none: Option<Vec<(&str, &str)>> = None;
        calibration.add(none);
        calibration.add(Some(vec![("depth", "5 against 1"), ("depth", "again"), ("heap", "full")]));
        calibration.add(Some(vec![("depth", "7 against 1")]));
        assert_eq!((calibration.judged, calibration.stopped), (3, 2));
        assert_eq!(calibration.culprits(), [("depth", 2, "5 against 1"), ("heap", 1, "full")]);
    }
}

//! How long young processes of one application move signals that warm: as a
//! sound default, or as its earlier good releases showed.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::FeedbackKind;
use crate::signal::SignalClass;

/// Most releases that teach; older ones are forgotten.
pub const LESSONS_MAX: usize = 20;

/// Fewer good releases than this teach nothing.
pub const LESSONS_MIN: usize = 3;

/// Caches of the services that were measured settled within ten minutes.
const DEFAULT: Duration = Duration::from_secs(600);

/// No process is believed to be warm sooner, whatever was seen.
const SHORTEST: Duration = Duration::from_secs(300);

/// However slow the releases were, nobody waits longer.
const LONGEST: Duration = Duration::from_secs(2 * DEFAULT.as_secs());

/// By how much the next release may be slower than the slowest one seen.
const MARGIN: f64 = 2.0;

/// Half a minute by default.
const START_PART: u32 = 20;

/// Learned times are multiples of it: a second more or less says nothing.
const GRAIN_SECONDS: f64 = 10.0;

/// By which age signals of one class have settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Patience {
    /// The age.
    #[serde(rename = "settles_seconds", with = "seconds")]
    pub settles: Duration,
    /// How many good releases it was learned from; 0 for the default.
    pub learned_from: u32,
}

impl Default for Patience {
    fn default() -> Self {
        Self { settles: DEFAULT, learned_from: 0 }
    }
}

impl Patience {
    /// The time constant of the slowest decay that is a warm-up: it has come
    /// down to less than a quarter at the age by which it has settled.
    pub fn decay(self) -> Duration {
        self.settles * 2 / 3
    }

    /// How many times longer than the default, at least 1.
    pub fn stretch(self) -> f64 {
        (self.settles.as_secs_f64() / DEFAULT.as_secs_f64()).max(1.0)
    }

    /// A bound from the ages, in seconds, at which earlier good releases had
    /// settled. The slowest one counts where that shortens the time; to
    /// lengthen it takes two, so that one missed fault that faded does not.
    fn learn(mut seconds: Vec<f64>) -> Self {
        seconds.retain(|s| s.is_finite());
        if seconds.len() < LESSONS_MIN {
            return Self::default();
        }
        seconds.sort_by(|a, b| b.total_cmp(a));
        let usual = DEFAULT.as_secs_f64();
        let bound =
            if MARGIN * seconds[0] <= usual { MARGIN * seconds[0] } else { (MARGIN * seconds[1]).max(usual) };
        let bound = (bound / GRAIN_SECONDS).ceil() * GRAIN_SECONDS;
        Self {
            settles: Duration::from_secs_f64(bound.clamp(SHORTEST.as_secs_f64(), LONGEST.as_secs_f64())),
            learned_from: u32::try_from(seconds.len()).unwrap_or(u32::MAX),
        }
    }
}

impl fmt::Display for Patience {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.settles.as_secs();
        match self.learned_from {
            0 => write!(f, "default {seconds} s until {LESSONS_MIN} good releases"),
            releases => write!(f, "{seconds} s, learned from {releases} good releases"),
        }
    }
}

/// How long young processes of one application may move signals that warm.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WarmUp {
    /// Latencies.
    pub latency: Patience,
    /// CPU and other resources.
    pub saturation: Patience,
}

impl WarmUp {
    /// What the newest good releases teach, newest first; of many the first
    /// [`LESSONS_MAX`].
    pub fn learn(seen: &[WarmUpSeen]) -> Self {
        let newest = &seen[..seen.len().min(LESSONS_MAX)];
        let of = |class: fn(&WarmUpSeen) -> Option<Settled>| {
            Patience::learn(newest.iter().filter_map(class).map(|settled| settled.seconds).collect())
        };
        Self { latency: of(|seen| seen.latency), saturation: of(|seen| seen.saturation) }
    }

    /// Calls that time out while a process starts fail for so long: a part of the
    /// time in which it is slow.
    pub fn start_errors(&self) -> Duration {
        self.latency.settles / START_PART
    }

    /// For signals of one class; the default where nothing is learned of it.
    pub fn of(&self, class: SignalClass) -> Patience {
        match class {
            SignalClass::Latency => self.latency,
            SignalClass::Saturation => self.saturation,
            SignalClass::Errors
            | SignalClass::Traffic
            | SignalClass::Business
            | SignalClass::Logs
            | SignalClass::Health
            | SignalClass::Other => Patience::default(),
        }
    }
}

impl fmt::Display for WarmUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.latency == self.saturation {
            return self.latency.fmt(f);
        }
        write!(f, "latency {}; CPU and other resources {}", self.latency, self.saturation)
    }
}

/// When the signals of one class had settled in one release.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Settled {
    /// The age of the processes, in seconds; 0 where nothing warmed.
    pub seconds: f64,
    /// Whether they had; if not, `seconds` is how long they were watched.
    pub settled: bool,
}

impl Settled {
    /// The later of two.
    pub(super) fn later(self, other: Self) -> Self {
        if other.seconds > self.seconds { other } else { self }
    }
}

/// What one release showed of its application's warm-up; nothing of a class
/// that could not be judged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WarmUpSeen {
    /// Latencies.
    pub latency: Option<Settled>,
    /// CPU and other resources.
    pub saturation: Option<Settled>,
}

impl WarmUpSeen {
    /// Adds what one signal showed.
    pub(super) fn add(&mut self, class: SignalClass, settled: Settled) {
        let of_class = match class {
            SignalClass::Latency => &mut self.latency,
            SignalClass::Saturation => &mut self.saturation,
            SignalClass::Errors
            | SignalClass::Traffic
            | SignalClass::Business
            | SignalClass::Logs
            | SignalClass::Health
            | SignalClass::Other => return,
        };
        *of_class = Some(of_class.map_or(settled, |known| known.later(settled)));
    }
}

/// What a release that ran to its end showed, and whether it may teach.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Lesson {
    /// What it showed.
    pub seen: WarmUpSeen,
    /// Whether it was stopped on the way, or would have been.
    pub stopped: bool,
}

impl Lesson {
    /// Whether it teaches after people's newest word: not if they called the
    /// release faulty, and if it was stopped only where they called that wrong.
    pub fn teaches(&self, word: Option<FeedbackKind>) -> bool {
        match word {
            Some(FeedbackKind::FaultConfirmed | FeedbackKind::FaultMissed) => false,
            Some(FeedbackKind::FalseAlarm) => true,
            None => !self.stopped,
        }
    }
}

/// A duration as whole seconds.
mod seconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(duration: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(duration.as_secs())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        u64::deserialize(from).map(Duration::from_secs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn seen(seconds: &[f64]) -> Vec<WarmUpSeen> {
        let settled = |seconds: &f64| Some(Settled { seconds: *seconds, settled: true });
        seconds.iter().map(|s| WarmUpSeen { latency: settled(s), saturation: None }).collect()
    }

    fn learned(seconds: &[f64]) -> u64 {
        WarmUp::learn(&seen(seconds)).latency.settles.as_secs()
    }

    #[test]
    fn three_good_releases_teach_and_two_do_not() {
        assert_eq!(WarmUp::learn(&seen(&[100.0, 100.0])), WarmUp::default());
        let three = WarmUp::learn(&seen(&[200.0, 160.0, 190.0]));
        assert_eq!(three.latency, Patience { settles: Duration::from_secs(400), learned_from: 3 });
        assert_eq!(three.saturation, Patience::default(), "no release showed it");
    }

    #[test]
    fn it_is_never_shorter_than_the_floor_nor_longer_than_twice_the_default() {
        assert_eq!(learned(&[0.0; 9]), 300);
        assert_eq!(learned(&[5_000.0; 9]), 1_200);
    }

    #[test]
    fn one_slow_release_among_many_does_not_lengthen_it_beyond_the_default() {
        assert_eq!(learned(&[40.0, 900.0, 40.0, 40.0, 50.0]), 600);
        assert_eq!(learned(&[40.0, 500.0, 40.0, 500.0, 50.0]), 1_000);
    }

    #[test]
    fn faulty_releases_and_stopped_ones_that_nobody_called_good_do_not_teach() {
        use FeedbackKind::{FalseAlarm, FaultConfirmed, FaultMissed};
        let teaches = |stopped, word| Lesson { seen: WarmUpSeen::default(), stopped }.teaches(word);
        assert!(teaches(false, None) && teaches(true, Some(FalseAlarm)));
        assert!(!teaches(true, None));
        assert!(!teaches(false, Some(FaultMissed)) && !teaches(true, Some(FaultConfirmed)));
    }

    #[test]
    fn only_the_newest_twenty_teach() {
        let mut all = vec![40.0; 20];
        all.extend([500.0; 10]);
        assert_eq!(learned(&all), 300);
    }

    #[test]
    fn it_says_where_it_comes_from() {
        assert_eq!(WarmUp::default().to_string(), "default 600 s until 3 good releases");
        let learned = WarmUp::learn(&seen(&[200.0; 5])).to_string();
        assert_eq!(
            learned,
            "latency 400 s, learned from 5 good releases; CPU and other resources default 600 s until 3 good releases"
        );
    }

    proptest! {
        #[test]
        fn a_slower_release_never_makes_it_less_patient(mut seconds in proptest::collection::vec(0.0..3_000.0f64, 3..20), at in 0usize..20, more in 0.0..500.0f64) {
            let before = learned(&seconds);
            let at = at % seconds.len();
            seconds[at] += more;
            prop_assert!(learned(&seconds) >= before);
        }
    }
}

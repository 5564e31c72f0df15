//! What costs little and throws out nearly everything: the screening, which is
//! the released members against the others over short windows, and before the
//! whole test the released members alone. Nothing of it changes what is found.

use crate::signal::{SignalDef, SignalId, Step};

use super::baseline::{Baseline, WINDOWS, contrast, mean};
use super::counted::is_counted;
use super::scale::Practical;
use super::shift::{Changes, Look, NOISE_FLOOR, OWN_SHARE_MAX, SUSPECT_MARGIN, bad_direction};

/// Windows that the screening looks at, by their place: up to 13 steps.
const SCREENED: [usize; 4] = [0, 1, 3, 5];

/// Their lengths.
const SCREENED_STEPS: [Step; SCREENED.len()] = {
    let mut steps = [0; SCREENED.len()];
    let mut place = 0;
    while place < steps.len() {
        steps[place] = WINDOWS[SCREENED[place]];
        place += 1;
    }
    steps
};

/// Share of the needed score at which a signal is looked at in full.
const SCREENED_SHARE: f64 = 0.35;

/// Whether a signal moved enough to be looked at in full. Most released members
/// show by themselves that it has not; else about half of the reference members
/// are enough to know it.
pub fn screen(look: &Look<'_>, id: SignalId, def: &SignalDef, baseline: &Baseline) -> bool {
    let mut changes = Changes::unknown(&SCREENED_STEPS, look.released.len());
    look.group(true).for_each(|member| look.measure_member(member, id, def, baseline, &mut changes));
    if !look.may_be_suspect(def, baseline, &changes, SCREENED.into_iter().enumerate()) {
        return false;
    }
    let references = look.group(false).count();
    let mut bands: Vec<Band> = (0..SCREENED.len())
        .map(|place| {
            let released = look.group(true).map(|member| changes.change(place)[member]);
            let window = SCREENED[place];
            let noise = if is_counted(def) { 0.05 } else { baseline.noise[window].clamp(0.01, 10.0) };
            let least = SCREENED_SHARE * look.budget.score * noise;
            Band::new(place, mean(released), least, references)
        })
        .collect();
    bands.retain(|band| band.center.is_finite());
    for member in look.group(false) {
        if bands.is_empty() {
            return false;
        }
        look.measure_member(member, id, def, baseline, &mut changes);
        bands.retain_mut(|band| !band.holds_median_with(changes.change(band.place)[member]));
    }
    let mut buffer = Vec::new();
    bands.iter().any(|band| {
        let difference = contrast(changes.change(band.place), look.released, &mut buffer);
        difference.is_finite() && difference.abs() >= band.least
    })
}

impl Look<'_> {
    /// Whether a margin of [`SUSPECT_MARGIN`] is possible, whatever the reference
    /// members did: told by the released members' changes alone, at these places
    /// of `changes`, which are of these windows.
    pub(super) fn may_be_suspect(
        &self,
        def: &SignalDef,
        baseline: &Baseline,
        changes: &Changes<'_>,
        mut places: impl Iterator<Item = (usize, usize)>,
    ) -> bool {
        let practical = Practical::of(def, baseline.by_traffic).change;
        let in_bad_direction = |change: f64| match bad_direction(def, baseline) {
            Some(sign) => sign * change,
            None => change.abs(),
        };
        let mut change = Vec::with_capacity(self.released.len());
        places.any(|(place, window)| {
            change.clear();
            change.extend_from_slice(changes.change(place));
            self.allow_for_traffic(def, baseline, window, &mut change);
            let released = self.group(true).map(|member| change[member]).filter(|change| change.is_finite());
            // Of counted signals each member may show it alone.
            let (own, needed) = if is_counted(def) {
                (released.map(in_bad_direction).fold(f64::NAN, f64::max), practical)
            } else {
                let noise = Some(baseline.noise[window]).filter(|noise| noise.is_finite());
                let sure = noise.unwrap_or(0.0).max(NOISE_FLOOR) * self.budget.score / def.weight;
                (in_bad_direction(mean(released)), practical.max(sure))
            };
            OWN_SHARE_MAX * (own + self.usual_change(baseline, window)) >= SUSPECT_MARGIN * needed
        })
    }
}

/// The changes that differ by less than `least` from the released members'
/// mean: the median of the reference members is among them if more than half
/// of them are above its lower end and more than half below its upper one.
struct Band {
    place: usize,
    center: f64,
    least: f64,
    references: usize,
    above: usize,
    below: usize,
}

impl Band {
    fn new(place: usize, center: f64, least: f64, references: usize) -> Self {
        Self { place, center, least, references, above: 0, below: 0 }
    }

    /// Takes one more reference member's change, NaN if unknown; whether the
    /// median is known to be in the band by now, whatever the others do.
    fn holds_median_with(&mut self, change: f64) -> bool {
        if change.is_finite() {
            self.above += usize::from(change > self.center - self.least);
            self.below += usize::from(change < self.center + self.least);
        }
        2 * self.above.min(self.below) > self.references
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use proptest::prelude::*;

    use crate::domain::{Batch, InstanceId, Sample, Scrape, ScrapeOutcome, Timestamp};
    use crate::judge::WarmUp;
    use crate::judge::funnel::baseline::median;
    use crate::judge::funnel::{Budget, Funnel, Span};
    use crate::signal::{Groups, Observation, SignalSettings, Window};

    use super::*;

    const MACHINES: usize = 8;
    const BEFORE: Step = 60;
    const AFTER: Step = 24;

    /// One for each machine.
    type Factors = [f64; MACHINES];

    fn name(machine: usize) -> InstanceId {
        InstanceId::new(format!("m{machine}:80")).unwrap()
    }

    fn at(step: Step) -> Timestamp {
        Timestamp::from_millis(1_790_000_000_000 + step * 10_000)
    }

    /// Errors, latency, load and gauges of known and unknown meaning, multiplied
    /// by `factors` from step 0 on, and requests by `busier`.
    fn window(factors: Factors, busier: Factors, noise: f64) -> Window {
        let mut window =
            Window::new(Duration::from_secs(10), Duration::from_secs(7_200), SignalSettings::default());
        let gauges = ["jvm_threads_live", "work_queue_length", "cpu_idle_ratio", "reading_7"];
        let counters = [
            ("http_requests_total{code=\"200\"}", 900.0),
            ("http_requests_total{code=\"500\"}", 2.0),
            ("http_request_duration_seconds_sum", 45.0),
            ("http_request_duration_seconds_count", 900.0),
            ("process_cpu_seconds_total", 4.0),
            ("exceptions_total{type=\"KeyError\"}", 0.4),
        ];
        let mut counts = [[0.0; 6]; MACHINES];
        let mut draws = 7_u64;
        for step in -BEFORE..AFTER {
            for machine in 0..MACHINES {
                let mut about = |mean: f64| {
                    draws =
                        draws.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    mean * (1.0 + noise * ((draws >> 11) as f64 / (1_u64 << 52) as f64 - 1.0))
                };
                let (factor, busier) =
                    if step < 0 { (1.0, 1.0) } else { (factors[machine], busier[machine]) };
                let mut samples = Vec::new();
                for (index, (series, mean)) in counters.iter().enumerate() {
                    counts[machine][index] += about(mean * if *mean < 900.0 { factor } else { busier });
                    samples.push((*series, f64::floor(counts[machine][index])));
                }
                samples.extend(gauges.map(|gauge| (gauge, about(0.5) * factor)));
                window.take(&Scrape {
                    instance: name(machine),
                    at: at(step),
                    outcome: ScrapeOutcome::Complete,
                    samples: samples
                        .into_iter()
                        .map(|(series, value)| Sample { series: Arc::new(series.parse().unwrap()), value })
                        .collect(),
                    families: Arc::new([]),
                });
            }
        }
        window
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

        #[test]
        fn what_is_thrown_out_early_would_be_found_by_no_test(
            moved in prop::array::uniform8(prop_oneof![3 => Just(1.0), 1 => 0.4..3.0f64]),
            busier in prop::array::uniform8(prop_oneof![2 => Just(1.0), 1 => 0.5..2.0f64]),
            noise in 0.02..0.5f64,
            released in 1..5usize,
        ) {
            let window = window(moved, busier, noise);
            let mut groups = Groups::default();
            groups.add_reference((0..MACHINES).map(name));
            let instances = (0..released).map(name).collect();
            groups.release(&Batch { started_at: at(0), instances, weight: None });
            let mut observation = Observation::new(&window, &groups, None);
            let span = Span { from: window.step_at(at(-BEFORE)) + 1, start: window.step_at(at(0)) };
            observation.traffic = observation.main_traffic(span.from, span.start);
            let funnel = Funnel::measure(&observation, span);
            prop_assert!(funnel.judged.len() >= 6);
            let is_released: Vec<bool> = (0..MACHINES).map(|machine| machine < released).collect();
            let plain = Look {
                observation: &observation,
                ready: &[span.start + 1; MACHINES],
                to: span.start + AFTER,
                budget: Budget::of(5.0, funnel.judged.len()),
                released: &is_released,
                traffic: None,
                warm_up: WarmUp::default(),
            };
            let of_traffic = &funnel.judged[funnel.traffic.unwrap()];
            let def = window.catalogue().signal(of_traffic.id);
            let traffic = plain.changes(of_traffic.id, def, &of_traffic.baseline, &WINDOWS);
            let look = Look { traffic: Some(&traffic), ..plain };
            for judged in &funnel.judged {
                let def = window.catalogue().signal(judged.id);
                let (id, baseline) = (judged.id, &judged.baseline);
                let changes = look.changes(id, def, baseline, &WINDOWS);
                let whole = look.best_shift(id, def, baseline, &changes).filter(|s| s.margin >= SUSPECT_MARGIN);
                let early = look.shift(id, def, baseline).filter(|s| s.margin >= SUSPECT_MARGIN);
                prop_assert_eq!(format!("{early:?}"), format!("{whole:?}"), "{}", def.name);
                let mut buffer = Vec::new();
                let may = look.may_be_suspect(def, baseline, &changes, SCREENED.into_iter().map(|w| (w, w)));
                let moved = SCREENED.iter().any(|place| {
                    let noise = if is_counted(def) { 0.05 } else { baseline.noise[*place].clamp(0.01, 10.0) };
                    let difference = contrast(changes.change(*place), &is_released, &mut buffer);
                    difference.abs() >= SCREENED_SHARE * look.budget.score * noise
                });
                prop_assert_eq!(screen(&look, id, def, baseline), moved && may, "{}", def.name);
            }
        }

        #[test]
        fn a_band_that_holds_the_median_holds_it_whoever_else_is_read(
            changes in prop::collection::vec(prop_oneof![4 => -1.0..1.0f64, 1 => Just(f64::NAN)], 0..12),
            center in -0.5..0.5f64,
            least in 0.01..1.0f64,
        ) {
            let mut band = Band::new(0, center, least, changes.len());
            let held = changes.iter().any(|change| band.holds_median_with(*change));
            let middle = median(&mut changes.clone());
            let differs = middle.is_nan() || (center - middle).abs() >= least;
            prop_assert!(!(held && differs), "{middle}");
            // Where all are known and their number is odd, counting tells it all.
            if changes.len() % 2 == 1 && changes.iter().all(|c| c.is_finite()) {
                prop_assert_eq!(held, !differs);
            }
        }
    }
}

//! Cross validation over applications and fault kinds, the choice of model
//! and thresholds, and what is promoted.

use std::collections::BTreeMap;

use rayon::prelude::*;

use crate::judge::model::{
    Artifact, ArtifactError, Asked, Calibrator, Header, HeldOut, Kind, Payload, Schema, Thresholds,
    sha256_hex,
};

use super::data::{describe, library};
use super::evaluate::{Confirm, Judged, Outcomes, area_under_curve, brier, judge};
use super::fit::{FitError, FitSettings, Fitted, calibrate};
use super::{DataSet, PastRelease};

/// Recall that a model may cost, of all faulty releases, whatever it gains.
const RECALL_COST_MAX: f64 = 0.01;

/// The same where thresholds are chosen: releases that were chosen by flatter.
const RECALL_COST_CHOSEN: f64 = 0.006;

/// Share of releases that are faulty where the guardian works. In the data
/// about half are, which would make false stops look cheap.
const FAULTY_SHARE: f64 = 0.01;

/// How many false stops a missed fault costs.
const FALSE_STOPS_PER_MISS: f64 = 20.0;

/// Cases kept in the library.
const CASES_MAX: usize = 240;

/// How a model is trained.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainSettings {
    /// Of the folds and of the resampling.
    pub seed: u64,
    /// Folds of the cross validation.
    pub folds: u32,
    /// Trees of the boosted model.
    pub trees: usize,
    /// Their depth.
    pub depth: usize,
    /// The policy's confirmation.
    pub confirm: Confirm,
    /// The model's name.
    pub name: String,
    /// Its version.
    pub version: String,
}

/// Why nothing was trained.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// Nothing to learn from.
    #[error(transparent)]
    Fit(#[from] FitError),
    /// It cannot be written.
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
}

/// A trained model with all that is reported of it.
pub struct Trained {
    /// The artifact's bytes.
    pub bytes: Vec<u8>,
    /// The same, read back and checked.
    pub artifact: Artifact,
    /// What was tried, out of fold.
    pub tried: Vec<Tried>,
    /// Out of fold: probability and label by look.
    pub scored: Vec<(f64, bool)>,
    /// Out of fold, by name: without the model, veto alone, act alone, both.
    pub ways: Vec<(&'static str, Outcomes)>,
    /// The same over faults whose kind was unseen.
    pub unseen_kinds: Vec<(&'static str, Outcomes)>,
    /// Each release with the model, out of fold.
    pub judged: Vec<Judged>,
}

/// One kind of model, out of fold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tried {
    /// How it scores.
    pub kind: Kind,
    /// At which looks it is asked.
    pub asked: Asked,
    /// Over those looks.
    pub area_under_curve: f64,
    /// Over those looks.
    pub brier: f64,
    /// Of the releases, with the best thresholds, in false stops a release.
    pub utility: f64,
}

/// What one kind of model gives out of fold.
struct OutOfFold {
    kind: Kind,
    asked: Asked,
    thresholds: Thresholds,
    utility: f64,
    calibrator: Calibrator,
    /// By release and look.
    probabilities: Vec<Vec<Option<f64>>>,
    scored: Vec<(f64, bool)>,
}

/// Trains on labelled releases.
///
/// # Errors
/// If they are too few.
pub fn train(releases: &[PastRelease], settings: &TrainSettings) -> Result<Trained, TrainError> {
    let ways = [Kind::Boosted, Kind::Forest, Kind::Logistic]
        .into_iter()
        .flat_map(|kind| [Asked::Suspects, Asked::Failing].map(|asked| (kind, asked)));
    let fitted: Vec<_> = ways
        .collect::<Vec<_>>()
        .into_par_iter()
        .map(|(kind, asked)| out_of_fold(releases, settings, kind, asked))
        .collect();
    // Without enough failing looks those with suspects may still be enough.
    let (mut candidates, mut refused) = (Vec::new(), FitError::TooLittle { faulty: 0, healthy: 0 });
    for candidate in fitted {
        match candidate {
            Ok(candidate) => candidates.push(candidate),
            Err(error) => refused = error,
        }
    }
    let tried = candidates.iter().map(OutOfFold::tried).collect();
    let mut best: Option<OutOfFold> = None;
    for candidate in candidates {
        let of_less_use = |b: &OutOfFold| {
            let [ours, others] = [&candidate, b].map(|c| (c.utility, -brier(&c.scored)));
            ours.0.total_cmp(&others.0).then(ours.1.total_cmp(&others.1)).is_gt()
        };
        if best.as_ref().is_none_or(of_less_use) {
            best = Some(candidate);
        }
    }
    let best = best.ok_or(refused)?;
    let thresholds = best.thresholds;
    let judged_by =
        |thresholds: Thresholds| judged(releases, &best.probabilities, thresholds, settings.confirm);
    let outcomes_of = |thresholds: Thresholds| Outcomes::of(releases, judged_by(thresholds).iter());
    let ways = [
        ("without a model", Thresholds::default()),
        ("veto alone", Thresholds { act: None, ..thresholds }),
        ("act alone", Thresholds { veto: None, ..thresholds }),
        ("with the model", thresholds),
    ];
    let unseen = |at: usize| {
        !releases[at].faulty
            || kind_fold(&releases[at], settings) == Some(application_fold(&releases[at], settings))
    };
    let unseen_kinds = ways
        .iter()
        .map(|(name, t)| {
            let judged = judged_by(*t);
            (*name, Outcomes::of(releases, judged.iter().filter(|j| unseen(j.release))))
        })
        .collect();
    let ways: Vec<(&'static str, Outcomes)> = ways.iter().map(|(name, t)| (*name, outcomes_of(*t))).collect();

    let fitted = Fitted::fit(&DataSet::of(releases.iter(), best.asked), fit_settings(settings, best.kind))?;
    let payload = Payload {
        calibrator: fitted.absorb(best.calibrator),
        trees: fitted.trees,
        linear: fitted.linear,
        library: library(releases, CASES_MAX),
    };
    let header = header(releases, settings, &best, thresholds, &ways);
    let bytes = Artifact::write(header, &payload)?;
    let artifact = Artifact::read(&bytes)?;
    let judged = judged_by(thresholds);
    Ok(Trained { bytes, artifact, tried, scored: best.scored, ways, unseen_kinds, judged })
}

impl OutOfFold {
    fn tried(&self) -> Tried {
        Tried {
            kind: self.kind,
            asked: self.asked,
            area_under_curve: area_under_curve(&self.scored),
            brier: brier(&self.scored),
            utility: self.utility,
        }
    }
}

fn judged(
    releases: &[PastRelease],
    probabilities: &[Vec<Option<f64>>],
    thresholds: Thresholds,
    confirm: Confirm,
) -> Vec<Judged> {
    let each = releases.iter().zip(probabilities).enumerate();
    each.map(|(at, (release, given))| judge(at, release, given, thresholds, confirm)).collect()
}

fn header(
    releases: &[PastRelease],
    settings: &TrainSettings,
    best: &OutOfFold,
    thresholds: Thresholds,
    ways: &[(&'static str, Outcomes)],
) -> Header {
    let (without, with) = (&ways[0].1, &ways[3].1);
    let base = best.scored.iter().filter(|s| s.1).count() as f64 / best.scored.len().max(1) as f64;
    let flat: Vec<(f64, bool)> = best.scored.iter().map(|s| (base, s.1)).collect();
    let mut training = BTreeMap::new();
    let mut note = |key: &str, value: String| training.insert(key.to_owned(), value);
    note("seed", settings.seed.to_string());
    note("folds", settings.folds.to_string());
    note("trees", settings.trees.to_string());
    note("depth", settings.depth.to_string());
    Header {
        name: settings.name.clone(),
        version: settings.version.clone(),
        kind: best.kind,
        asked: best.asked,
        schema: Schema::current(),
        thresholds,
        data: describe(releases, best.asked),
        held_out: HeldOut {
            brier: brier(&best.scored),
            brier_of_base_rate: brier(&flat),
            area_under_curve: area_under_curve(&best.scored),
            recall: with.recall(),
            recall_without: without.recall(),
            false_stops: with.false_stop_rate(),
            false_stops_without: without.false_stop_rate(),
            delay_seconds: with.median_delay(),
            delay_seconds_without: without.median_delay(),
        },
        training,
        program: format!("release-guardian {}", env!("CARGO_PKG_VERSION")),
        payload_bytes: 0,
        payload_sha256: String::new(),
    }
}

fn fit_settings(settings: &TrainSettings, kind: Kind) -> FitSettings {
    FitSettings { kind, trees: settings.trees, depth: settings.depth, rate: 0.5, seed: settings.seed }
}

fn fold(word: &str, what: &str, settings: &TrainSettings) -> u32 {
    let hash = sha256_hex(format!("{what} {} {word}", settings.seed).as_bytes());
    u32::from_str_radix(&hash[..8], 16).unwrap_or(0) % settings.folds.max(2)
}

fn application_fold(release: &PastRelease, settings: &TrainSettings) -> u32 {
    fold(&release.application, "application", settings)
}

fn kind_fold(release: &PastRelease, settings: &TrainSettings) -> Option<u32> {
    release.faulty.then(|| fold(release.cause.as_deref().unwrap_or_default(), "fault", settings))
}

/// Each release is judged by a model that saw neither its application nor any
/// fault of the fold's kinds.
fn out_of_fold(
    releases: &[PastRelease],
    settings: &TrainSettings,
    kind: Kind,
    asked: Asked,
) -> Result<OutOfFold, FitError> {
    let folds: Vec<Fitted> = (0..settings.folds.max(2))
        .into_par_iter()
        .map(|k| {
            let seen = releases
                .iter()
                .filter(|r| application_fold(r, settings) != k && kind_fold(r, settings) != Some(k));
            Fitted::fit(&DataSet::of(seen, asked), fit_settings(settings, kind))
        })
        .collect::<Result<_, _>>()?;
    let model_of = |release: &PastRelease| &folds[application_fold(release, settings) as usize];
    let (mut scores, mut labels) = (Vec::new(), Vec::new());
    for release in releases {
        for (_, considered) in release.telling(asked) {
            scores.push(model_of(release).score(considered.features.values()));
            labels.push(release.faulty);
        }
    }
    let calibrator = calibrate(&scores, &labels)?;
    let probabilities: Vec<_> = releases
        .iter()
        .map(|r| super::probabilities(r, asked, |f| calibrator.probability(model_of(r).score(f.values()))))
        .collect();
    let scored = scores.into_iter().map(|s| calibrator.probability(s)).zip(labels).collect();
    let outcomes_of =
        |t: Thresholds| Outcomes::of(releases, judged(releases, &probabilities, t, settings.confirm).iter());
    let thresholds = choose(&outcomes_of);
    let utility = utility(&outcomes_of(thresholds));
    Ok(OutOfFold { kind, asked, thresholds, utility, calibrator, probabilities, scored })
}

/// What stopping is worth per release, in false stops: faults that are caught
/// less good releases that are stopped, each as rare as it really is.
pub fn utility(outcomes: &Outcomes) -> f64 {
    let caught = FAULTY_SHARE * FALSE_STOPS_PER_MISS * outcomes.recall();
    caught - (1.0 - FAULTY_SHARE) * outcomes.false_stop_rate()
}

fn loses_little(new: &Outcomes, old: &Outcomes, most: f64) -> bool {
    new.recall() + most >= old.recall()
}

/// The veto of the highest utility at little recall lost, then the act
/// threshold that adds most utility to it; of equals the more cautious.
fn choose(outcomes_of: &(impl Fn(Thresholds) -> Outcomes + Sync)) -> Thresholds {
    let grid: Vec<f64> = (1..50).map(|k| f64::from(k) / 50.0).collect();
    let without = outcomes_of(Thresholds::default());
    let vetoes: Vec<(f64, Outcomes)> = grid
        .par_iter()
        .map(|veto| (*veto, outcomes_of(Thresholds { act: None, veto: Some(*veto) })))
        .collect();
    let mut chosen = Thresholds::default();
    let mut best = utility(&without);
    for (veto, outcomes) in vetoes {
        if loses_little(&outcomes, &without, RECALL_COST_CHOSEN) && utility(&outcomes) > best {
            chosen.veto = Some(veto);
            best = utility(&outcomes);
        }
    }
    let acts: Vec<(f64, Outcomes)> =
        grid.par_iter().map(|act| (*act, outcomes_of(Thresholds { act: Some(*act), ..chosen }))).collect();
    for (act, outcomes) in acts.into_iter().rev() {
        if utility(&outcomes) > best {
            chosen.act = Some(act);
            best = utility(&outcomes);
        }
    }
    chosen
}

/// Whether a set speaks against promotion: of less utility, or of more than a
/// little less recall.
pub fn is_worse(new: &Outcomes, old: &Outcomes) -> bool {
    !loses_little(new, old, RECALL_COST_MAX) || utility(new) < utility(old)
}

/// Whether to promote: of more utility, and at most a little less recall.
pub fn is_better(new: &Outcomes, old: &Outcomes) -> bool {
    loses_little(new, old, RECALL_COST_MAX) && utility(new) > utility(old)
}

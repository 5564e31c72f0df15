//! Kayenta's remote judge: its request, our judgement, its answer. No I/O: the
//! web interface hands the body in.

mod request;
mod score;

use serde_json::{Value, json};

use crate::judge::pair::{self, Measure, PairFinding, PairOutcome, PairSettings, Summary};

pub use request::{JudgeError, JudgeRequest};

use request::{Metric, Pair};
use score::{Judged, Word};

/// As it stands in Kayenta's results.
const JUDGE_NAME: &str = "ReleaseGuardian-v1.0";

/// How often a whole judgement of equal series may fail: shared by all its
/// metrics and both directions.
const FALSE_FAILS: f64 = 0.05;

/// The share of one metric is never smaller than this.
const TAIL_MIN: f64 = 0.0005;

/// Judges all pairs of a request.
///
/// # Errors
/// For a request that names a metric its configuration does not have, or holds
/// settings that are not known.
pub fn judge(request: &JudgeRequest) -> Result<Value, JudgeError> {
    let mut pairs = Vec::new();
    for pair in &request.pairs {
        pairs.push((pair, request.metric(&pair.name)?));
    }
    let counted = pairs.iter().filter(|(_, metric)| !metric.muted).count();
    let tail = (FALSE_FAILS / 2.0 / counted.max(1) as f64).max(TAIL_MIN);
    let mut results = Vec::new();
    let mut judged = Vec::new();
    for (pair, metric) in pairs {
        let settings = PairSettings { tail, ..metric.settings.clone() };
        let finding = pair::judge(&pair.values.experiment, &pair.values.control, &settings);
        let word = word_of(&finding, metric);
        judged.push(Judged::new(metric, word, finding.is_critical));
        results.push(result(pair, metric, word, &finding));
    }
    // A metric that Kayenta delivered nothing for was not judged: it is said,
    // and never counts as health.
    for metric in request.undelivered() {
        let word = if metric.must_have_data { Word::NodataFailMetric } else { Word::Nodata };
        judged.push(Judged::new(metric, word, true));
        results.push(undelivered(metric, word));
    }
    let score = score::score(&judged, &request.group_weights, request.thresholds);
    Ok(json!({
        "judgeName": JUDGE_NAME,
        "score": {
            "score": score.score,
            "classification": score.word,
            "classificationReason": score.because,
        },
        "groupScores": score.groups,
        "results": results,
    }))
}

fn word_of(finding: &PairFinding, metric: &Metric) -> Word {
    match (finding.outcome, metric.must_have_data) {
        (PairOutcome::Pass, _) => Word::Pass,
        (PairOutcome::High, _) => Word::High,
        (PairOutcome::Low, _) => Word::Low,
        (PairOutcome::Silent, _) | (PairOutcome::NoData, true) => Word::NodataFailMetric,
        (PairOutcome::NoData, false) => Word::Nodata,
    }
}

fn result(pair: &Pair, metric: &Metric, word: Word, finding: &PairFinding) -> Value {
    let ratio = match metric.settings.measure {
        Measure::MeanRatio => finding.effect,
        Measure::Cles => (finding.control.mean > 0.0).then(|| finding.experiment.mean / finding.control.mean),
    };
    json!({
        "name": pair.name,
        "id": pair.id,
        "tags": pair.tags,
        "classification": word.text(),
        "classificationReason": finding.because,
        "groups": metric.groups,
        "experimentMetadata": {"stats": stats(&finding.experiment)},
        "controlMetadata": {"stats": stats(&finding.control)},
        "resultMetadata": {"ratio": ratio, "deviation": finding.effect},
        "critical": metric.critical,
        "muted": metric.muted,
    })
}

fn undelivered(metric: &Metric, word: Word) -> Value {
    let none = stats(&Summary::default());
    json!({
        "name": metric.name,
        "id": metric.name,
        "tags": {},
        "classification": word.text(),
        "classificationReason": "Kayenta delivered no pair of series for this metric",
        "groups": metric.groups,
        "experimentMetadata": {"stats": none},
        "controlMetadata": {"stats": none},
        "resultMetadata": {"ratio": null, "deviation": null},
        "critical": metric.critical,
        "muted": metric.muted,
    })
}

fn stats(of: &Summary) -> Value {
    json!({"count": of.count, "mean": of.mean, "min": of.min, "max": of.max, "std": of.deviation})
}

//! What is told of a training: a few lines, a model card, and a page.

use std::fmt::Write as _;

use maud::{DOCTYPE, PreEscaped, html};

use crate::adapters::charts::{
    CalibrationBin, CalibrationChart, Curve, CurveChart, CurveMark, Drawing, HistogramChart, VARIABLES_CSS,
};
use crate::judge::model::{Asked, Kind, Thresholds};
use crate::learn::{Judged, Outcomes, PastRelease, Trained};
use crate::signal::Unit;

use super::figures::Share;

/// Misses and false stops that the page lists of each.
const LISTED_MAX: usize = 100;

/// The figures that decide about promotion.
pub struct Evaluation {
    /// With the new model.
    pub with: Outcomes,
    /// Without any.
    pub without: Outcomes,
    /// With the current one, if there is one.
    pub current: Option<Outcomes>,
    /// For each held-out set and all together: what veto and act do apart.
    pub sets: Vec<(String, Vec<(&'static str, Outcomes)>)>,
}

/// Everything that is told.
pub struct TrainReport<'a> {
    /// The training.
    pub trained: &'a Trained,
    /// The figures that decide.
    pub evaluation: &'a Evaluation,
    /// The releases behind them.
    pub releases: &'a [PastRelease],
    /// Those releases as the new model decides.
    pub judged: &'a [Judged],
    /// What the current model is.
    pub current: String,
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Boosted => "boosted trees",
        Kind::Forest => "random forest",
        Kind::Logistic => "logistic regression",
    }
}

fn asked(asked: Asked) -> &'static str {
    match asked {
        Asked::Suspects => "all looks with suspects",
        Asked::Failing => "looks that only the funnel found failing",
    }
}

fn threshold(value: Option<f64>) -> String {
    value.map_or("never".to_owned(), |t| format!("{t:.2}"))
}

fn describe(outcomes: &Outcomes) -> [String; 3] {
    [
        Share { count: outcomes.caught, of: outcomes.faulty }.to_string(),
        Share { count: outcomes.false_stops, of: outcomes.healthy }.to_string(),
        outcomes.median_delay().map_or("unknown".to_owned(), |d| format!("{d:.0} s")),
    ]
}

fn markdown(text: &mut String, ways: &[(&'static str, Outcomes)]) {
    text.push_str("| | recall | false stops per good release | median delay |\n| --- | --- | --- | --- |\n");
    for (name, outcomes) in ways {
        let [recall, false_stops, delay] = describe(outcomes);
        let _ = writeln!(text, "| {name} | {recall} | {false_stops} | {delay} |");
    }
    text.push('\n');
}

impl TrainReport<'_> {
    fn thresholds(&self) -> Thresholds {
        self.trained.artifact.header.thresholds
    }

    fn tables(&self) -> Vec<(String, &[(&'static str, Outcomes)])> {
        let folds = "Cross validation: applications that were not learned from".to_owned();
        let unseen = "Cross validation: applications and fault kinds that were not learned from".to_owned();
        let mut tables =
            vec![(folds, self.trained.ways.as_slice()), (unseen, self.trained.unseen_kinds.as_slice())];
        tables.extend(self.evaluation.sets.iter().map(|(name, ways)| {
            (format!("Held out, {name}: neither weights nor thresholds were chosen by them"), ways.as_slice())
        }));
        tables
    }

    /// For a terminal, and the body of the card.
    pub fn text(&self) -> String {
        let header = &self.trained.artifact.header;
        let mut text = String::new();
        for tried in &self.trained.tried {
            let _ = writeln!(
                text,
                "- {}, asked at {}: area under the curve {:.3}, Brier {:.4}, utility {:.4}",
                kind(tried.kind),
                asked(tried.asked),
                tried.area_under_curve,
                tried.brier,
                tried.utility
            );
        }
        let _ = writeln!(
            text,
            "- taken: {}, asked at {}\n- Brier of always saying the share of faulty looks: {:.4}\n- act from {}, veto below {}\n",
            kind(header.kind),
            asked(header.asked),
            header.held_out.brier_of_base_rate,
            threshold(self.thresholds().act),
            threshold(self.thresholds().veto)
        );
        for (title, ways) in self.tables() {
            let _ = writeln!(text, "{title}:\n");
            markdown(&mut text, ways);
        }
        if let Some(current) = &self.evaluation.current {
            let _ = writeln!(text, "The current one, {}, on the same releases:\n", self.current);
            markdown(&mut text, &[("current", current.clone())]);
        }
        text
    }

    /// The model card.
    pub fn card(&self) -> String {
        let artifact = &self.trained.artifact;
        let header = &artifact.header;
        let training: Vec<String> = header.training.iter().map(|(k, v)| format!("{k} {v}")).collect();
        format!(
            "# Model {} {}\n\n\
             - file: SHA-256 `{}`\n\
             - kind: {}, calibrated by a logistic curve; written by {}\n\
             - features: {}, schema `{}`\n\
             - data: {} releases, {} of them faulty, {} looks; SHA-256 `{}`\n\
             - library: {} cases\n\
             - training: {}\n{}\
             It is asked about suspects only. It may turn what only the funnel found failing into a suspect \
             (veto), and suspects into a failing verdict (act), where the thresholds above say so; it never \
             changes what a rule says. On services unlike those of its data it may be wrong in both \
             directions: compare with `replay --compare none` on your own past releases.\n",
            header.name,
            header.version,
            artifact.hash,
            kind(header.kind),
            header.program,
            header.schema.names.len(),
            header.schema.hash,
            header.data.releases,
            header.data.faulty,
            header.data.rows,
            header.data.hash,
            artifact.payload.library.cases.len(),
            training.join(", "),
            self.text(),
        )
    }

    /// The page, without anything from elsewhere.
    pub fn html(&self) -> String {
        let header = &self.trained.artifact.header;
        let wrong = |faulty: bool| {
            self.judged.iter().filter(move |j| {
                self.releases
                    .get(j.release)
                    .is_some_and(|r| r.faulty == faulty && j.stopped_seconds.is_some() != faulty)
            })
        };
        html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    title { "Training of " (header.name) " " (header.version) }
                    style { (PreEscaped(VARIABLES_CSS)) (PreEscaped(CSS)) }
                }
                body {
                    h1 { "Training of " (header.name) " " (header.version) }
                    p { (kind(header.kind)) " on " (header.data.releases) " releases, " (header.data.faulty)
                        " of them faulty; act from " (threshold(self.thresholds().act)) ", veto below "
                        (threshold(self.thresholds().veto)) ". Compared with " (self.current) "." }
                    @for (title, ways) in self.tables() {
                        h2 { (title) }
                        table {
                            tr { th {} th { "recall" } th { "false stops per good release" } th { "median delay" } }
                            @for (name, outcomes) in ways {
                                tr { td { (name) } @for cell in describe(outcomes) { td { (cell) } } }
                            }
                        }
                    }
                    (PreEscaped(self.precision_recall().svg(&Drawing::WIDE)))
                    (PreEscaped(self.calibration().svg(&Drawing::WIDE)))
                    (PreEscaped(self.delays().svg(&Drawing::WIDE)))
                    @for (title, faulty) in [("Missed", true), ("Stopped without a fault", false)] {
                        h2 { (title) ": " (wrong(faulty).count()) }
                        table {
                            tr { th { "release" } th { "application" } th { "cause" } th { "highest probability" } }
                            @for judged in wrong(faulty).take(LISTED_MAX) {
                                @let release = &self.releases[judged.release];
                                tr {
                                    td { (release.id) } td { (release.application) }
                                    td { (release.cause.as_deref().unwrap_or("")) }
                                    td { (format!("{:.2}", judged.probability)) }
                                }
                            }
                        }
                    }
                }
            }
        }
        .into_string()
    }

    /// Over releases, by the highest probability of each.
    fn precision_recall(&self) -> CurveChart {
        let mut sorted: Vec<(f64, bool)> = self
            .judged
            .iter()
            .filter_map(|j| Some((j.probability, self.releases.get(j.release)?.faulty)))
            .collect();
        sorted.sort_by(|a, b| b.0.total_cmp(&a.0));
        let all = sorted.iter().filter(|s| s.1).count().max(1) as f64;
        let (mut right, mut points) = (0.0, Vec::new());
        for (at, (_, faulty)) in sorted.iter().enumerate() {
            right += f64::from(u8::from(*faulty));
            points.push((right / all, right / (at + 1) as f64));
        }
        let with = &self.evaluation.with;
        let stops = (with.caught + with.false_stops).max(1) as f64;
        CurveChart {
            title: "Precision over recall, by the highest probability of each release".to_owned(),
            x_label: "recall".to_owned(),
            y_label: "precision".to_owned(),
            curves: vec![Curve { name: "model".to_owned(), points }],
            marks: vec![CurveMark {
                x: with.recall(),
                y: with.caught as f64 / stops,
                label: "as decided".to_owned(),
            }],
        }
    }

    fn calibration(&self) -> CalibrationChart {
        let mut bins = Vec::new();
        for bin in 0..10 {
            let low = f64::from(bin) / 10.0;
            let inside: Vec<&(f64, bool)> =
                self.trained.scored.iter().filter(|s| s.0 >= low && s.0 < low + 0.1).collect();
            if inside.is_empty() {
                continue;
            }
            let share = Share { count: inside.iter().filter(|s| s.1).count(), of: inside.len() };
            let (low, high) = share.interval();
            bins.push(CalibrationBin {
                predicted: inside.iter().map(|s| s.0).sum::<f64>() / inside.len() as f64,
                observed: share.value(),
                low,
                high,
                count: u32::try_from(inside.len()).unwrap_or(u32::MAX),
            });
        }
        CalibrationChart { title: "Calibration over looks, out of fold".to_owned(), bins }
    }

    fn delays(&self) -> HistogramChart {
        let with = &self.evaluation.with;
        let missed = u32::try_from(with.faulty - with.caught).unwrap_or(u32::MAX);
        HistogramChart {
            title: "Seconds from onset to stop".to_owned(),
            unit: Unit::Seconds,
            values: with.delays.clone(),
            never: Some(("missed".to_owned(), missed)),
        }
    }
}

const CSS: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;\
color-scheme:light dark}table{border-collapse:collapse;width:100%;margin:.5rem 0 1.5rem}\
td,th{text-align:left;padding:.25rem .6rem .25rem 0;border-bottom:1px solid #8884}svg{max-width:100%}";

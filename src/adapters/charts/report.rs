//! Charts for reports: curves over the unit square, calibration, histograms.

use serde::{Deserialize, Serialize};

use crate::signal::Unit;

use super::Drawing;
use super::canvas::{Anchor, Canvas, Lettering, Role, Stroke, text_width};
use super::scale::{Axis, format_value, value_axis};
use super::timeline::shortened;

/// A curve between two shares, such as precision over recall.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Curve {
    /// Shown at its end.
    pub name: String,
    /// `x` and `y`, both 0 to 1, in the order in which they are joined.
    pub points: Vec<(f64, f64)>,
}

/// A point of a [`CurveChart`] that is worth a word: the threshold in force.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CurveMark {
    /// Share on the horizontal axis, 0 to 1.
    pub x: f64,
    /// Share on the vertical axis, 0 to 1.
    pub y: f64,
    /// What it is.
    pub label: String,
}

/// One or a few curves over the unit square; the first is the one that
/// matters and is drawn strongest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CurveChart {
    /// What is shown.
    pub title: String,
    /// The name of the horizontal axis.
    pub x_label: String,
    /// The name of the vertical axis.
    pub y_label: String,
    /// At most a handful.
    pub curves: Vec<Curve>,
    /// Points worth a word.
    pub marks: Vec<CurveMark>,
}

/// What happened to the releases that were given about the same probability.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct CalibrationBin {
    /// Their mean probability, 0 to 1.
    pub predicted: f64,
    /// The share of them that was faulty, 0 to 1.
    pub observed: f64,
    /// The interval's lower end, 0 to 1.
    pub low: f64,
    /// The interval's upper end, 0 to 1.
    pub high: f64,
    /// How many releases.
    pub count: u32,
}

/// Whether a probability means what it says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CalibrationChart {
    /// What is shown.
    pub title: String,
    /// In order of `predicted`.
    pub bins: Vec<CalibrationBin>,
}

/// How often which values occur, such as the delays from onset to stop.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HistogramChart {
    /// What is shown.
    pub title: String,
    /// The unit of the values.
    pub unit: Unit,
    /// Each value; those that are not finite are passed over.
    pub values: Vec<f64>,
    /// What never happened, beside the others: `never stopped` and how often.
    pub never: Option<(String, u32)>,
}

const TOP: f64 = 38.0;
const BOTTOM: f64 = 38.0;

/// A frame with an axis on each side.
struct Frame {
    left: f64,
    right: f64,
    top: f64,
    bottom: f64,
    x: Axis,
    y: Axis,
}

impl Frame {
    fn place(&self, x: f64, y: f64) -> (f64, f64) {
        (
            self.left + self.x.place(x) * (self.right - self.left),
            self.bottom - self.y.place(y) * (self.bottom - self.top),
        )
    }

    fn draw(&self, canvas: &mut Canvas, x_label: &str, y_label: &str) {
        for (value, text) in &self.y.ticks {
            let (_, y) = self.place(self.x.low, *value);
            canvas.line((self.left, y), (self.right, y), Stroke::solid(Role::Grid, 1.0));
            canvas.text((self.left - 6.0, y + 4.0), text, Lettering::small(Anchor::End));
        }
        canvas.line((self.left, self.bottom), (self.right, self.bottom), Stroke::solid(Role::Axis, 1.0));
        for (value, text) in &self.x.ticks {
            let (x, _) = self.place(*value, self.y.low);
            canvas.line((x, self.bottom), (x, self.bottom + 4.0), Stroke::solid(Role::Axis, 1.0));
            canvas.text((x, self.bottom + 16.0), text, Lettering::small(Anchor::Middle));
        }
        let middle = (self.left + self.right) / 2.0;
        canvas.text((middle, self.bottom + 32.0), x_label, Lettering::small(Anchor::Middle));
        canvas.text((2.0, self.top - 8.0), y_label, Lettering::small(Anchor::Start));
    }
}

fn begin(drawing: &Drawing, title: &str) -> Canvas {
    let mut canvas = Canvas::new(drawing.width, drawing.height, drawing.palette, title);
    let heading = Lettering { role: Role::Strong, anchor: Anchor::Start, size: 13.0, bold: true };
    canvas.text((2.0, 14.0), &shortened(title, drawing.width - 4.0, 13.5), heading);
    canvas
}

fn unit_square(drawing: &Drawing, right_margin: f64) -> Frame {
    let share = |count| value_axis(Unit::Ratio, 0.0, 1.0, count);
    Frame {
        left: 50.0,
        right: drawing.width - right_margin,
        top: TOP,
        bottom: drawing.height - BOTTOM,
        x: share(5.0),
        y: share(5.0),
    }
}

fn usable(point: &(f64, f64)) -> bool {
    point.0.is_finite() && point.1.is_finite()
}

impl CurveChart {
    /// The chart as an SVG element.
    pub fn svg(&self, drawing: &Drawing) -> String {
        let mut canvas = begin(drawing, &self.title);
        let names = self.curves.iter().map(|c| text_width(&c.name, 12.0)).fold(20.0, f64::max);
        let frame = unit_square(drawing, names.min(drawing.width / 3.0) + 16.0);
        frame.draw(&mut canvas, &self.x_label, &self.y_label);
        let mut ends: Vec<(f64, Role, &str)> = Vec::new();
        for (i, curve) in self.curves.iter().enumerate().rev() {
            let role = match i {
                0 => Role::Release,
                1 => Role::Reference,
                _ => Role::Axis,
            };
            let placed: Vec<_> =
                curve.points.iter().filter(|p| usable(p)).map(|p| frame.place(p.0, p.1)).collect();
            let Some(end) = placed.iter().copied().max_by(|a, b| a.0.total_cmp(&b.0)) else { continue };
            let width = if i == 0 { 2.4 } else { 1.6 };
            canvas.path(&[placed], Stroke::solid(role, width), Some(&curve.name));
            ends.push((end.1, role, &curve.name));
        }
        ends.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut free_from = f64::NEG_INFINITY;
        for (y, role, name) in ends {
            let y = y.max(free_from);
            let lettering = Lettering { role, anchor: Anchor::Start, size: 12.0, bold: true };
            canvas.text((frame.right + 7.0, y + 4.0), name, lettering);
            free_from = y + 15.0;
        }
        for mark in self.marks.iter().filter(|m| usable(&(m.x, m.y))) {
            let at = frame.place(mark.x, mark.y);
            canvas.dot(at, 5.0, Role::Decision, Some(&mark.label));
            let lettering = Lettering { role: Role::Strong, ..Lettering::small(Anchor::End) };
            let fits = at.0 - text_width(&mark.label, 11.0) - 10.0 > frame.left;
            let (x, anchor) = if fits { (at.0 - 9.0, Anchor::End) } else { (at.0 + 9.0, Anchor::Start) };
            canvas.text((x, at.1 + 16.0), &mark.label, Lettering { anchor, ..lettering });
        }
        canvas.finish()
    }
}

impl CalibrationChart {
    /// The chart as an SVG element.
    pub fn svg(&self, drawing: &Drawing) -> String {
        let mut canvas = begin(drawing, &self.title);
        let frame = unit_square(drawing, 20.0);
        frame.draw(&mut canvas, "probability that was given", "share that was faulty");
        let diagonal = Stroke { role: Role::Axis, width: 1.2, opacity: 1.0, dashed: true };
        canvas.line(frame.place(0.0, 0.0), frame.place(1.0, 1.0), diagonal);
        let bins: Vec<&CalibrationBin> =
            self.bins.iter().filter(|b| usable(&(b.predicted, b.observed))).collect();
        let most = bins.iter().map(|b| b.count).max().unwrap_or(1).max(1);
        let line = bins.iter().map(|b| frame.place(b.predicted, b.observed)).collect();
        canvas.path(&[line], Stroke::solid(Role::Release, 1.8), None);
        for bin in bins {
            if usable(&(bin.low, bin.high)) {
                let whisker = Stroke { opacity: 0.55, ..Stroke::solid(Role::Release, 1.4) };
                canvas.line(
                    frame.place(bin.predicted, bin.low),
                    frame.place(bin.predicted, bin.high),
                    whisker,
                );
            }
            let radius = 3.5 + 5.5 * (f64::from(bin.count) / f64::from(most)).sqrt();
            let title = format!(
                "{} releases given {}: {} faulty ({} to {})",
                bin.count,
                format_value(Unit::Ratio, bin.predicted),
                format_value(Unit::Ratio, bin.observed),
                format_value(Unit::Ratio, bin.low),
                format_value(Unit::Ratio, bin.high)
            );
            canvas.dot(frame.place(bin.predicted, bin.observed), radius, Role::Release, Some(&title));
        }
        let lettering = Lettering { role: Role::Text, ..Lettering::small(Anchor::Start) };
        let (x, y) = frame.place(0.02, 0.93);
        canvas.text((x, y), "dashed: as it should be; larger dot: more releases", lettering);
        canvas.finish()
    }
}

impl HistogramChart {
    /// The chart as an SVG element.
    pub fn svg(&self, drawing: &Drawing) -> String {
        let mut canvas = begin(drawing, &self.title);
        let mut values: Vec<f64> = self.values.iter().copied().filter(|v| v.abs() <= 1e100).collect();
        values.sort_by(f64::total_cmp);
        let (Some(&low), Some(&high)) = (values.first(), values.last()) else {
            let middle = (drawing.width / 2.0, drawing.height / 2.0);
            canvas.text(middle, "no values", Lettering::small(Anchor::Middle));
            return canvas.finish();
        };
        let x = value_axis(self.unit, low.min(0.0), high, 6.0);
        let bins = 2 * x.ticks.len().saturating_sub(1).max(1);
        let mut counts = vec![0_u32; bins];
        for value in &values {
            counts[((x.place(*value) * bins as f64) as usize).min(bins - 1)] += 1;
        }
        let never = self.never.as_ref().filter(|n| n.1 > 0);
        let most = counts.iter().copied().chain(never.map(|n| n.1)).max().unwrap_or(1);
        let y = value_axis(Unit::Count, 0.0, f64::from(most.max(4)), 4.0);
        let beside = never.map_or(20.0, |n| text_width(&n.0, 11.0) + 34.0);
        let frame = Frame {
            left: 40.0,
            right: drawing.width - beside,
            top: TOP,
            bottom: drawing.height - BOTTOM,
            x,
            y,
        };
        frame.draw(&mut canvas, "", "releases");
        let width = (frame.right - frame.left) / bins as f64;
        for (i, count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
            let (_, top) = frame.place(frame.x.low, f64::from(*count));
            let left = frame.left + i as f64 * width;
            canvas.rect((left + 1.0, top), (width - 2.0, frame.bottom - top), Role::Reference, 0.85);
        }
        let median = values[values.len() / 2];
        let (x, _) = frame.place(median, 0.0);
        canvas.line((x, frame.top - 2.0), (x, frame.bottom), Stroke::solid(Role::Decision, 1.5));
        let label = format!("median {}", format_value(self.unit, median));
        let lettering = Lettering { role: Role::Strong, ..Lettering::small(Anchor::Start) };
        canvas.text((x + 5.0, frame.top + 6.0), &label, lettering);
        if let Some((label, count)) = never {
            let (_, top) = frame.place(frame.x.low, f64::from(*count));
            let wide = width.clamp(14.0, 40.0);
            let middle = frame.right + beside / 2.0;
            canvas.rect((middle - wide / 2.0, top), (wide, frame.bottom - top), Role::Deviation, 0.8);
            canvas.text((middle, frame.bottom + 16.0), label, Lettering::small(Anchor::Middle));
            canvas.text((middle, top - 5.0), &count.to_string(), Lettering::small(Anchor::Middle));
        }
        canvas.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_histogram_counts_every_value_and_names_the_median() {
        let chart = HistogramChart {
            title: "delay".to_owned(),
            unit: Unit::Seconds,
            values: vec![10.0, 20.0, 30.0, f64::NAN],
            never: Some(("never stopped".to_owned(), 2)),
        };
        let svg = chart.svg(&Drawing::WIDE);
        assert!(svg.contains("median 20 s"), "{svg}");
        assert!(svg.contains("never stopped"));
    }

    #[test]
    fn a_calibration_point_tells_its_count_and_interval() {
        let bin = CalibrationBin { predicted: 0.9, observed: 0.8, low: 0.6, high: 0.95, count: 20 };
        let svg = CalibrationChart { title: "calibration".to_owned(), bins: vec![bin] }.svg(&Drawing::WIDE);
        assert!(svg.contains("20 releases given 90 %: 80 % faulty (60 % to 95 %)"), "{svg}");
    }

    proptest! {
        #[test]
        fn no_values_make_a_report_chart_panic(values in proptest::collection::vec(any::<f64>(), 0..20)) {
            let points: Vec<(f64, f64)> = values.iter().map(|v| (*v, *v)).collect();
            let curve = Curve { name: "a".to_owned(), points };
            let curves = CurveChart {
                title: "t".to_owned(), x_label: "x".to_owned(), y_label: "y".to_owned(),
                curves: vec![curve], marks: vec![],
            }.svg(&Drawing::NARROW);
            let histogram = HistogramChart { title: "t".to_owned(), unit: Unit::Seconds, values, never: None };
            for svg in [curves, histogram.svg(&Drawing::NARROW)] {
                prop_assert!(!svg.contains("NaN") && !svg.contains("inf"), "{}", svg);
            }
        }
    }
}

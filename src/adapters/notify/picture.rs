//! The curves of a chart as a PNG for mail. Words and numbers stand beside it
//! in the mail as text: they stay sharp, can be read aloud, and need no font.

use tiny_skia::{Color, Paint, PathBuilder, Pixmap, Stroke, StrokeDash, Transform};

use crate::domain::Timestamp;

use super::message::Chart;
use super::view::range;

/// Twice the size at which it is shown, for sharp screens.
const WIDTH: u32 = 1040;
const HEIGHT: u32 = 280;
const MARGIN: f32 = 12.0;
/// Shown width in a mail, in CSS pixels.
pub const SHOWN_WIDTH: u32 = WIDTH / 2;

/// The colour of the release group, also in the mail's legend.
pub const RELEASE_COLOUR: &str = "#c2410c";
/// The colour of the reference group.
pub const REFERENCE_COLOUR: &str = "#64748b";

struct Frame {
    from: Timestamp,
    span_seconds: f64,
    low: f64,
    high: f64,
}

impl Frame {
    fn x(&self, at: Timestamp) -> f32 {
        let share = at.seconds_from(self.from) / self.span_seconds;
        MARGIN + share as f32 * (WIDTH as f32 - 2.0 * MARGIN)
    }

    fn y(&self, value: f64) -> f32 {
        let share = (value - self.low) / (self.high - self.low);
        HEIGHT as f32 - MARGIN - share as f32 * (HEIGHT as f32 - 2.0 * MARGIN)
    }
}

/// Draws both groups; `None` if there is nothing to draw.
pub fn png(chart: &Chart) -> Option<Vec<u8>> {
    let (first, last) = (chart.points.first()?.0, chart.points.last()?.0);
    let (low, high) = range(chart);
    let frame = Frame { from: first, span_seconds: last.seconds_from(first).max(1e-3), low, high };
    let mut pixmap = Pixmap::new(WIDTH, HEIGHT)?;
    pixmap.fill(Color::from_rgba8(0xff, 0xff, 0xff, 0xff));
    for share in [0.0, 0.25, 0.5, 0.75, 1.0] {
        let y = frame.y(low + share * (high - low));
        line(&mut pixmap, (MARGIN, y), (WIDTH as f32 - MARGIN, y), [0xe2, 0xe8, 0xf0], 2.0, None);
    }
    for batch in chart.batches.iter().filter(|at| **at >= first && **at <= last) {
        let x = frame.x(*batch);
        let dash = StrokeDash::new(vec![8.0, 8.0], 0.0);
        line(&mut pixmap, (x, MARGIN), (x, HEIGHT as f32 - MARGIN), [0x33, 0x41, 0x55], 2.0, dash);
    }
    let release: Vec<_> = chart.points.iter().map(|point| (point.0, point.1)).collect();
    let reference: Vec<_> = chart.points.iter().map(|point| (point.0, point.2)).collect();
    curve(&mut pixmap, &frame, &reference, [0x64, 0x74, 0x8b], 4.0);
    curve(&mut pixmap, &frame, &release, [0xc2, 0x41, 0x0c], 5.0);
    pixmap.encode_png().ok()
}

fn paint(colour: [u8; 3]) -> Paint<'static> {
    let mut paint = Paint::default();
    paint.set_color_rgba8(colour[0], colour[1], colour[2], 0xff);
    paint.anti_alias = true;
    paint
}

fn line(
    pixmap: &mut Pixmap,
    from: (f32, f32),
    to: (f32, f32),
    colour: [u8; 3],
    width: f32,
    dash: Option<StrokeDash>,
) {
    let mut path = PathBuilder::new();
    path.move_to(from.0, from.1);
    path.line_to(to.0, to.1);
    if let Some(path) = path.finish() {
        let stroke = Stroke { width, dash, ..Stroke::default() };
        pixmap.stroke_path(&path, &paint(colour), &stroke, Transform::identity(), None);
    }
}

/// A gap in the values is a gap in the curve; a single value is a dot.
fn curve(
    pixmap: &mut Pixmap,
    frame: &Frame,
    points: &[(Timestamp, Option<f64>)],
    colour: [u8; 3],
    width: f32,
) {
    let mut path = PathBuilder::new();
    let mut previous = false;
    for (at, value) in points {
        match value {
            None => previous = false,
            Some(value) => {
                let (x, y) = (frame.x(*at), frame.y(*value));
                if previous {
                    path.line_to(x, y);
                } else {
                    path.move_to(x, y);
                    path.line_to(x + 0.1, y);
                }
                previous = true;
            }
        }
    }
    if let Some(path) = path.finish() {
        let stroke = Stroke {
            width,
            line_cap: tiny_skia::LineCap::Round,
            line_join: tiny_skia::LineJoin::Round,
            ..Stroke::default()
        };
        pixmap.stroke_path(&path, &paint(colour), &stroke, Transform::identity(), None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signal::Unit;

    fn chart(points: Vec<(i64, Option<f64>, Option<f64>)>) -> Chart {
        let points = points
            .into_iter()
            .map(|(seconds, release, reference)| (Timestamp::from_millis(seconds * 1000), release, reference))
            .collect();
        Chart { signal: "s".into(), unit: Unit::Ratio, points, batches: vec![Timestamp::from_millis(10_000)] }
    }

    fn coloured(png: &[u8], colour: [u8; 3]) -> usize {
        let pixmap = Pixmap::decode_png(png).unwrap();
        assert_eq!((pixmap.width(), pixmap.height()), (WIDTH, HEIGHT));
        let same =
            |pixel: &&tiny_skia::PremultipliedColorU8| [pixel.red(), pixel.green(), pixel.blue()] == colour;
        pixmap.pixels().iter().filter(same).count()
    }

    #[test]
    fn both_curves_are_in_the_picture_and_the_missing_group_is_not() {
        let both = png(&chart(vec![(0, Some(0.0), Some(1.0)), (20, Some(1.0), Some(1.0))])).unwrap();
        assert!(coloured(&both, [0xc2, 0x41, 0x0c]) > 1000);
        assert!(coloured(&both, [0x64, 0x74, 0x8b]) > 1000);
        let one = png(&chart(vec![(0, Some(0.0), None), (20, Some(1.0), None)])).unwrap();
        assert_eq!(coloured(&one, [0x64, 0x74, 0x8b]), 0);
        assert!(both.len() < 60_000, "{} bytes", both.len());
    }

    #[test]
    fn flat_empty_and_huge_curves_are_no_panic() {
        assert!(png(&chart(vec![])).is_none());
        assert!(png(&chart(vec![(0, None, None)])).is_some());
        assert!(png(&chart(vec![(0, Some(5.0), Some(5.0)), (1, Some(5.0), None)])).is_some());
        assert!(png(&chart(vec![(0, Some(1e300), Some(-1e300)), (1, Some(f64::MAX), None)])).is_some());
    }
}

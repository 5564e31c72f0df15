//! One signal of both groups around a release.

use crate::domain::{Group, Timestamp};

use super::canvas::{Anchor, Canvas, Lettering, Role, Stroke, text_width};
use super::scale::{Axis, format_value, time_axis, value_axis};
use super::{ChartSeries, Drawing, TimeChart};

/// More points than this on a line are not told apart by an eye.
const GRID_POINTS_MAX: i64 = 240;
/// A group's band needs so many instances to be quartiles; below it spans all.
const QUARTILES_FROM: usize = 5;
/// A hole of more than so many usual distances is shown as a hole.
const HOLE: i64 = 3;
/// More thin lines than this a group are a grey mass: they are left out.
const INSTANCE_LINES_MAX: usize = 40;

/// Moments from 1970 to 9999, in milliseconds: others are errors of a clock.
const MOMENTS_MS: std::ops::RangeInclusive<i64> = 0..=253_402_300_799_999;
/// Larger values overflow when they are subtracted and scaled.
const VALUE_MAX: f64 = 1e100;

/// Whether a point can be placed in a chart at all.
fn drawable(point: &(Timestamp, f64)) -> bool {
    point.1.abs() <= VALUE_MAX && MOMENTS_MS.contains(&point.0.as_millis())
}

const TOP: f64 = 40.0;
/// What the line that says since when it deviates takes, above the plot.
const DEVIATION_LINE: f64 = 14.0;
const BOTTOM: f64 = 24.0;

/// A group at one moment of the grid.
#[derive(Clone, Copy)]
struct Spread {
    low: f64,
    median: f64,
    high: f64,
}

/// Where the plot lies, and the scales of its sides.
struct Plot {
    left: f64,
    right: f64,
    top: f64,
    bottom: f64,
    time: Axis,
    value: Axis,
}

impl Plot {
    fn x(&self, at: Timestamp) -> f64 {
        self.left + self.time.place(at.as_millis() as f64) * (self.right - self.left)
    }

    fn y(&self, value: f64) -> f64 {
        self.bottom - self.value.place(value) * (self.bottom - self.top)
    }
}

impl TimeChart {
    /// The chart as an SVG element.
    pub fn svg(&self, drawing: &Drawing) -> String {
        let mut canvas = Canvas::new(drawing.width, drawing.height, drawing.palette, &self.described());
        let heading = Lettering { role: Role::Strong, anchor: Anchor::Start, size: 13.0, bold: true };
        canvas.text((2.0, 14.0), &shortened(&self.title, drawing.width - 4.0, 13.5), heading);
        let grid = Grid::over(self);
        let Some(grid) = grid else {
            let middle = (drawing.width / 2.0, drawing.height / 2.0);
            canvas.text(middle, "no values", Lettering::small(Anchor::Middle));
            return canvas.finish();
        };
        let lines = [Group::Reference, Group::Release].map(|group| (group, grid.spreads(self, group)));
        let plot = self.plot(drawing, &grid, &lines);
        draw_axes(&mut canvas, &plot);
        self.draw_deviation(&mut canvas, &plot);
        self.draw_batches(&mut canvas, &plot);
        for (group, spreads) in &lines {
            draw_band(&mut canvas, &plot, &grid, *group, spreads);
        }
        if drawing.instances {
            self.draw_instances(&mut canvas, &plot);
        }
        for (group, spreads) in &lines {
            let median = runs(&grid, spreads, |s| s.median);
            let stroke = Stroke::solid(role(*group), 2.2);
            canvas.path(&placed(&plot, &median), stroke, None);
        }
        self.draw_decision(&mut canvas, &plot);
        self.draw_names(&mut canvas, &plot, &lines);
        canvas.finish()
    }

    /// The chart in a sentence, for those who cannot see it.
    fn described(&self) -> String {
        let mut text = format!("{} over time", self.title);
        for group in [Group::Release, Group::Reference] {
            if let Some(value) = self.last_median(group) {
                text.push_str(&format!(", {} {}", name(group), format_value(self.unit, value)));
            }
        }
        if let Some(since) = self.deviates_since {
            text.push_str(&format!(", deviates since {}", since.clock_time()));
        }
        text
    }

    /// The median over a group's instances of each one's last value.
    fn last_median(&self, group: Group) -> Option<f64> {
        let last = |s: &ChartSeries| s.points.iter().rev().find(|p| drawable(p)).map(|p| p.1);
        let mut values: Vec<f64> = self.series.iter().filter(|s| s.group == group).filter_map(last).collect();
        spread(&mut values).map(|s| s.median)
    }

    fn plot(&self, drawing: &Drawing, grid: &Grid, lines: &[(Group, Vec<Option<Spread>>)]) -> Plot {
        let mut range = (f64::INFINITY, f64::NEG_INFINITY);
        for spread in lines.iter().flat_map(|(_, s)| s).flatten() {
            range = (range.0.min(spread.low), range.1.max(spread.high));
        }
        if drawing.instances {
            for series in self.thin_lines() {
                for (_, value) in series.points.iter().copied().filter(drawable) {
                    range = (range.0.min(value), range.1.max(value));
                }
            }
        }
        let value = value_axis(self.unit, range.0, range.1, 4.0);
        let widest = value.ticks.iter().map(|(_, t)| text_width(t, 11.0)).fold(0.0, f64::max);
        let left = widest + 12.0;
        let right = drawing.width - self.names_width(lines) - 14.0;
        let time = time_axis(grid.from, grid.until, ((right - left) / 75.0).max(2.0));
        let top = if self.deviates_since.is_some() { TOP + DEVIATION_LINE } else { TOP };
        Plot { left, right, top, bottom: drawing.height - BOTTOM, time, value }
    }

    fn names_width(&self, lines: &[(Group, Vec<Option<Spread>>)]) -> f64 {
        let widths = lines.iter().flat_map(|(group, spreads)| {
            let value = spreads.iter().rev().flatten().next().map(|s| format_value(self.unit, s.median));
            [text_width(name(*group), 12.0), value.map_or(0.0, |v| text_width(&v, 12.0))]
        });
        widths.fold(40.0, f64::max)
    }

    fn thin_lines(&self) -> impl Iterator<Item = &ChartSeries> {
        [Group::Reference, Group::Release].into_iter().flat_map(|group| {
            let of_group: Vec<_> = self.series.iter().filter(|s| s.group == group).collect();
            if of_group.len() <= INSTANCE_LINES_MAX { of_group } else { Vec::new() }
        })
    }

    fn draw_instances(&self, canvas: &mut Canvas, plot: &Plot) {
        for series in self.thin_lines() {
            let stroke = Stroke { role: role(series.group), width: 1.0, opacity: 0.32, dashed: false };
            let title = format!("{} ({})", series.name, name(series.group));
            canvas.path(&placed(plot, &thinned(series)), stroke, Some(&title));
        }
    }

    fn draw_deviation(&self, canvas: &mut Canvas, plot: &Plot) {
        let Some(since) = self.deviates_since else { return };
        let x = plot.x(since);
        canvas.rect((x, plot.top), (plot.right - x, plot.bottom - plot.top), Role::Deviation, 0.09);
        // Above the plot, where it lies over no curve.
        let label = format!("deviates since {}", since.clock_time());
        let lettering = Lettering { role: Role::Deviation, ..Lettering::small(Anchor::Start) };
        let at = x.min(plot.right - text_width(&label, 11.0)).max(plot.left);
        canvas.text((at, plot.top - 6.0 - DEVIATION_LINE), &label, lettering);
    }

    fn draw_batches(&self, canvas: &mut Canvas, plot: &Plot) {
        let mut free_from = f64::NEG_INFINITY;
        let decided = self.decided.as_ref().map(|mark| {
            let (x, half) = (plot.x(mark.at), text_width(&mark.label, 11.5) / 2.0 + 10.0);
            (x - half, x + half)
        });
        for mark in &self.batches {
            let x = plot.x(mark.at);
            let stroke = Stroke { role: Role::Axis, width: 1.2, opacity: 1.0, dashed: true };
            canvas.line((x, plot.top), (x, plot.bottom), stroke);
            let half = text_width(&mark.label, 11.0) / 2.0;
            let meets = |at: f64| decided.is_some_and(|(from, until)| at + half > from && at - half < until);
            // To the side of the decision's word where both would stand.
            let at = match decided {
                Some((from, until)) if meets(x) => {
                    if x < (from + until) / 2.0 {
                        from - half
                    } else {
                        until + half
                    }
                }
                _ => x,
            };
            if at - half > free_from {
                canvas.text((at, plot.top - 6.0), &mark.label, Lettering::small(Anchor::Middle));
                free_from = at + half + 6.0;
            }
        }
    }

    fn draw_decision(&self, canvas: &mut Canvas, plot: &Plot) {
        let Some(mark) = &self.decided else { return };
        let x = plot.x(mark.at);
        canvas.line((x, plot.top - 1.0), (x, plot.bottom), Stroke::solid(Role::Decision, 1.5));
        canvas.area(
            &[vec![(x - 5.0, plot.top - 3.0), (x + 5.0, plot.top - 3.0), (x, plot.top + 5.0)]],
            Role::Decision,
            1.0,
        );
        let half = text_width(&mark.label, 11.5) / 2.0;
        let at = x.min(plot.right + 60.0 - half).max(plot.left + half);
        let lettering = Lettering { role: Role::Decision, anchor: Anchor::Middle, size: 11.5, bold: true };
        canvas.text((at, plot.top - 7.0), &mark.label, lettering);
    }

    /// Names and last values at the ends of the lines, moved apart where the
    /// lines end close together.
    fn draw_names(&self, canvas: &mut Canvas, plot: &Plot, lines: &[(Group, Vec<Option<Spread>>)]) {
        let mut ends: Vec<(f64, Group, f64)> = lines
            .iter()
            .filter_map(|(group, spreads)| {
                let last = spreads.iter().rev().flatten().next()?.median;
                Some((plot.y(last), *group, last))
            })
            .collect();
        // A name, and its value below it.
        let (top, bottom, apart) = (plot.top + 4.0, plot.bottom - 16.0, 33.0);
        for end in &mut ends {
            end.0 = end.0.clamp(top, bottom);
        }
        ends.sort_by(|a, b| a.0.total_cmp(&b.0));
        if let [upper, lower] = ends.as_mut_slice()
            && lower.0 - upper.0 < apart
        {
            let middle = ((upper.0 + lower.0) / 2.0).clamp(top + apart / 2.0, bottom - apart / 2.0);
            (upper.0, lower.0) = (middle - apart / 2.0, middle + apart / 2.0);
        }
        for (y, group, last) in ends {
            let lettering = Lettering { role: role(group), anchor: Anchor::Start, size: 12.0, bold: true };
            canvas.text((plot.right + 7.0, y), name(group), lettering);
            let value = Lettering { bold: false, ..lettering };
            canvas.text((plot.right + 7.0, y + 14.0), &format_value(self.unit, last), value);
        }
    }
}

fn role(group: Group) -> Role {
    match group {
        Group::Release => Role::Release,
        Group::Reference => Role::Reference,
    }
}

fn name(group: Group) -> &'static str {
    match group {
        Group::Release => "release",
        Group::Reference => "reference",
    }
}

/// A text cut with an ellipsis where it would be wider than `width` pixels.
pub(super) fn shortened(text: &str, width: f64, size: f64) -> String {
    if text_width(text, size) <= width {
        return text.to_owned();
    }
    let mut short = String::new();
    for c in text.chars() {
        short.push(c);
        if text_width(&short, size) > width - size {
            break;
        }
    }
    short.push('…');
    short
}

fn draw_axes(canvas: &mut Canvas, plot: &Plot) {
    for (value, text) in &plot.value.ticks {
        let y = plot.y(*value);
        canvas.line((plot.left, y), (plot.right, y), Stroke::solid(Role::Grid, 1.0));
        canvas.text((plot.left - 6.0, y + 4.0), text, Lettering::small(Anchor::End));
    }
    canvas.line((plot.left, plot.bottom), (plot.right, plot.bottom), Stroke::solid(Role::Axis, 1.0));
    for (at, text) in &plot.time.ticks {
        let x = plot.left + plot.time.place(*at) * (plot.right - plot.left);
        canvas.line((x, plot.bottom), (x, plot.bottom + 4.0), Stroke::solid(Role::Axis, 1.0));
        canvas.text((x, plot.bottom + 17.0), text, Lettering::small(Anchor::Middle));
    }
    let last_ends = plot.time.ticks.last().map_or(0.0, |(at, text)| {
        plot.left + plot.time.place(*at) * (plot.right - plot.left) + text_width(text, 11.0) / 2.0
    });
    let zone = (plot.right + 22.0).max(last_ends + 8.0);
    canvas.text((zone, plot.bottom + 17.0), "UTC", Lettering::small(Anchor::Start));
}

fn draw_band(canvas: &mut Canvas, plot: &Plot, grid: &Grid, group: Group, spreads: &[Option<Spread>]) {
    let upper = runs(grid, spreads, |s| s.high);
    let lower = runs(grid, spreads, |s| s.low);
    let areas: Vec<Vec<(f64, f64)>> = placed(plot, &upper)
        .into_iter()
        .zip(placed(plot, &lower))
        .map(|(mut above, below)| {
            above.extend(below.into_iter().rev());
            above
        })
        .collect();
    canvas.area(&areas, role(group), 0.16);
}

type Run = Vec<(Timestamp, f64)>;

fn placed(plot: &Plot, runs: &[Run]) -> Vec<Vec<(f64, f64)>> {
    runs.iter().map(|run| run.iter().map(|(at, v)| (plot.x(*at), plot.y(*v))).collect()).collect()
}

/// The stretches without a hole of one value of the spreads.
fn runs(grid: &Grid, spreads: &[Option<Spread>], value: impl Fn(&Spread) -> f64) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    let mut open = false;
    for (i, spread) in spreads.iter().enumerate() {
        match spread {
            Some(spread) => {
                if !open {
                    runs.push(Vec::new());
                }
                open = true;
                if let Some(run) = runs.last_mut() {
                    run.push((grid.at(i), value(spread)));
                }
            }
            None => open = false,
        }
    }
    runs
}

/// An instance's line: broken at values that are not finite and at holes,
/// and thinned to what can be seen, keeping the highest and lowest value of
/// each stretch.
fn thinned(series: &ChartSeries) -> Vec<Run> {
    let usual = usual_distance(std::slice::from_ref(series)).unwrap_or(i64::MAX / HOLE);
    let mut runs: Vec<Run> = Vec::new();
    let mut last: Option<i64> = None;
    for point @ (at, value) in &series.points {
        if !drawable(point) {
            last = None;
            continue;
        }
        if last.is_none_or(|last| at.as_millis() - last > usual.saturating_mul(HOLE)) {
            runs.push(Vec::new());
        }
        last = Some(at.as_millis());
        if let Some(run) = runs.last_mut() {
            run.push((*at, *value));
        }
    }
    let every = series.points.len().div_ceil(GRID_POINTS_MAX as usize);
    if every > 1 {
        for run in &mut runs {
            *run = run.chunks(every * 2).flat_map(extremes).collect();
        }
    }
    runs
}

fn extremes(points: &[(Timestamp, f64)]) -> Vec<(Timestamp, f64)> {
    let by_value = |a: &&(Timestamp, f64), b: &&(Timestamp, f64)| a.1.total_cmp(&b.1);
    let mut two: Vec<_> = [points.iter().min_by(by_value), points.iter().max_by(by_value)]
        .into_iter()
        .flatten()
        .copied()
        .collect();
    two.sort_by_key(|p| p.0);
    two.dedup();
    two
}

/// The usual distance of two values of one instance, in milliseconds.
fn usual_distance(series: &[ChartSeries]) -> Option<i64> {
    let mut distances: Vec<i64> = series
        .iter()
        .flat_map(|s| s.points.windows(2).map(|w| w[1].0.as_millis().saturating_sub(w[0].0.as_millis())))
        .filter(|d| *d > 0)
        .collect();
    let middle = distances.len() / 2;
    (!distances.is_empty()).then(|| *distances.select_nth_unstable(middle).1)
}

fn spread(values: &mut [f64]) -> Option<Spread> {
    if values.is_empty() {
        return None;
    }
    values.sort_by(f64::total_cmp);
    let at = |q: f64| {
        let place = q * (values.len() - 1) as f64;
        let (below, part) = (place.floor() as usize, place.fract());
        let above = (below + 1).min(values.len() - 1);
        values[below] + (values[above] - values[below]) * part
    };
    let (low, high) = if values.len() >= QUARTILES_FROM { (at(0.25), at(0.75)) } else { (at(0.0), at(1.0)) };
    Some(Spread { low, median: at(0.5), high })
}

/// Moments at which the instances of a group are put together: each was
/// scraped at its own.
struct Grid {
    from: Timestamp,
    until: Timestamp,
    step_ms: i64,
    hole_ms: i64,
}

impl Grid {
    fn over(chart: &TimeChart) -> Option<Self> {
        let finite = || chart.series.iter().flat_map(|s| &s.points).filter(|p| drawable(p));
        let (from, until) = (finite().map(|p| p.0).min()?, finite().map(|p| p.0).max()?);
        let span = (until.as_millis() - from.as_millis()).max(1);
        let usual = usual_distance(&chart.series).unwrap_or(span).max(1);
        let step_ms = usual.max(span.div_euclid(GRID_POINTS_MAX) + 1);
        Some(Self { from, until, step_ms, hole_ms: usual.max(step_ms).saturating_mul(HOLE) })
    }

    fn at(&self, i: usize) -> Timestamp {
        let at = self.from.as_millis().saturating_add(self.step_ms.saturating_mul(i as i64));
        Timestamp::from_millis(at).min(self.until)
    }

    fn len(&self) -> usize {
        let span = self.until.as_millis() - self.from.as_millis();
        (span.div_euclid(self.step_ms) + 1 + i64::from(span.rem_euclid(self.step_ms) != 0)) as usize
    }

    fn spreads(&self, chart: &TimeChart, group: Group) -> Vec<Option<Spread>> {
        let lines: Vec<Vec<Option<f64>>> =
            chart.series.iter().filter(|s| s.group == group).map(|s| self.resampled(s)).collect();
        (0..self.len())
            .map(|i| {
                let mut values: Vec<f64> = lines.iter().filter_map(|line| line[i]).collect();
                spread(&mut values)
            })
            .collect()
    }

    /// An instance's value at each moment of the grid: the mean of its values
    /// nearest to it, or between its neighbours where they are not too far.
    fn resampled(&self, series: &ChartSeries) -> Vec<Option<f64>> {
        let finite: Vec<(i64, f64)> =
            series.points.iter().filter(|p| drawable(p)).map(|p| (p.0.as_millis(), p.1)).collect();
        let mut next = 0;
        (0..self.len())
            .map(|i| {
                let at = self.at(i).as_millis();
                let (from, until) = (at - self.step_ms / 2, at + self.step_ms - self.step_ms / 2);
                while next < finite.len() && finite[next].0 < from {
                    next += 1;
                }
                let inside: Vec<f64> =
                    finite[next..].iter().take_while(|p| p.0 < until).map(|p| p.1).collect();
                if !inside.is_empty() {
                    return Some(inside.iter().sum::<f64>() / inside.len() as f64);
                }
                let (before, after) = (finite.get(next.checked_sub(1)?)?, finite.get(next)?);
                let part = (at - before.0) as f64 / (after.0 - before.0).max(1) as f64;
                (after.0 - before.0 <= self.hole_ms).then_some(before.1 + (after.1 - before.1) * part)
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::ChartMark;
    use super::*;
    use crate::signal::Unit;
    use proptest::prelude::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_millis(1_790_000_000_000 + second * 1000)
    }

    fn series(name: &str, group: Group, values: &[(i64, f64)]) -> ChartSeries {
        let points = values.iter().map(|(s, v)| (at(*s), *v)).collect();
        ChartSeries { name: name.to_owned(), group, points }
    }

    fn chart(series: Vec<ChartSeries>) -> TimeChart {
        TimeChart {
            title: "error ratio of /cart".to_owned(),
            unit: Unit::Ratio,
            series,
            batches: vec![ChartMark { at: at(30), label: "batch 1".to_owned() }],
            deviates_since: Some(at(40)),
            decided: Some(ChartMark { at: at(60), label: "paused 14:14:20".to_owned() }),
        }
    }

    #[test]
    fn both_groups_are_named_with_their_last_value() {
        let svg = chart(vec![
            series("a", Group::Release, &[(0, 0.0), (30, 0.02), (60, 0.041)]),
            series("b", Group::Reference, &[(0, 0.0), (30, 0.002), (60, 0.002)]),
        ])
        .svg(&Drawing::WIDE);
        for text in ["release", "4.1 %", "reference", "0.2 %", "batch 1", "paused", "deviates since", "UTC"] {
            assert!(svg.contains(text), "{text} is missing: {svg}");
        }
    }

    /// Where each text stands that begins so.
    fn places(svg: &str, begins: &str) -> Vec<(f64, f64)> {
        let number = |text: &str, name: &str| -> f64 {
            let from = text.find(name).unwrap() + name.len();
            text[from..].split('"').next().unwrap().parse().unwrap()
        };
        let texts = svg.split("<text").skip(1);
        let told = texts.filter(|text| text.split_once('>').unwrap().1.starts_with(begins));
        told.map(|text| (number(text, " x=\""), number(text, " y=\""))).collect()
    }

    #[test]
    fn no_word_lies_over_another_or_over_a_curve() {
        for (release, reference) in [(0.0, 0.0), (0.3, 0.29), (0.0, 0.3), (0.02, 0.0)] {
            let svg = chart(vec![
                series("a", Group::Release, &[(0, 0.0), (30, 0.3), (60, release)]),
                series("b", Group::Reference, &[(0, 0.0), (30, 0.002), (60, reference)]),
            ])
            .svg(&Drawing::WIDE);
            let (of_release, of_reference) = (places(&svg, "release")[0].1, places(&svg, "reference")[0].1);
            assert!((of_release - of_reference).abs() >= 30.0, "{of_release} {of_reference}");
            let (batch, since) = (places(&svg, "batch 1")[0].1, places(&svg, "deviates since")[0].1);
            assert!(since <= batch - 12.0, "{since} {batch}");
            let zone = places(&svg, "UTC")[0];
            let last =
                places(&svg, "14:").into_iter().filter(|p| p.1 == zone.1).map(|p| p.0).fold(0.0, f64::max);
            assert!(zone.0 - last >= 8.0 * 0.56 * 11.0 / 2.0, "{zone:?} {last}");
        }
    }

    #[test]
    fn names_from_outside_cannot_break_out_of_the_picture() {
        let mut evil = chart(vec![series("<script>x</script>", Group::Release, &[(0, 1.0), (9, 1.0)])]);
        evil.title = "\"><script>alert(1)</script>\u{0}".to_owned();
        let svg = evil.svg(&Drawing::WIDE);
        assert!(!svg.contains("<script"), "{svg}");
        assert!(!svg.contains('\u{0}'));
    }

    #[test]
    fn a_chart_for_mail_names_no_variable() {
        let svg = chart(vec![series("a", Group::Release, &[(0, 1.0), (9, 2.0)])]).svg(&Drawing::MAIL);
        assert!(!svg.contains("var("));
    }

    #[test]
    fn a_chart_without_a_finite_value_says_so() {
        let svg = chart(vec![series("a", Group::Release, &[(0, f64::NAN)])]).svg(&Drawing::WIDE);
        assert!(svg.contains("no values"));
    }

    #[test]
    fn a_hole_in_an_instance_is_a_hole_in_its_line() {
        let values: Vec<(i64, f64)> = (0..10).chain(100..110).map(|s| (s, 1.0)).collect();
        assert_eq!(thinned(&series("a", Group::Release, &values)).len(), 2);
        let drawn = chart(vec![series("a", Group::Release, &values)]);
        let grid = Grid::over(&drawn).unwrap();
        assert_eq!(runs(&grid, &grid.spreads(&drawn, Group::Release), |s| s.median).len(), 2);
    }

    #[test]
    fn a_group_is_its_median_and_quartiles_over_the_instances() {
        let mut values = [1.0, 2.0, 3.0, 4.0, 100.0];
        let spread = spread(&mut values).unwrap();
        assert_eq!((spread.low, spread.median, spread.high), (2.0, 3.0, 4.0));
    }

    #[test]
    fn a_long_series_stays_small_and_keeps_its_peak() {
        let mut values: Vec<(i64, f64)> = (0..20_000).map(|s| (s, 0.001)).collect();
        values[7_777].1 = 0.9;
        let drawn = chart(vec![series("a", Group::Release, &values)]);
        assert!(thinned(&drawn.series[0]).iter().flatten().any(|p| p.1 == 0.9));
        assert!(drawn.svg(&Drawing::WIDE).len() < 30_000);
    }

    proptest! {
        #[test]
        fn no_values_make_the_drawing_panic(
            values in proptest::collection::vec((any::<i64>(), any::<f64>()), 0..30),
            since in any::<i64>(),
        ) {
            let points = values.iter().map(|(t, v)| (Timestamp::from_millis(*t), *v)).collect();
            let mut drawn = chart(vec![ChartSeries { name: "a".to_owned(), group: Group::Release, points }]);
            drawn.deviates_since = Some(Timestamp::from_millis(since));
            let svg = drawn.svg(&Drawing::WIDE);
            prop_assert!(!svg.contains("NaN") && !svg.contains("inf"), "{}", svg);
        }
    }
}

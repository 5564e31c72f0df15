//! Charts as SVG text, written by hand: no script, no font, no asset from
//! elsewhere. Plain data in, text out; the same data gives the same text.
//!
//! [`TimeChart`] shows one signal of both groups around a release;
//! [`CurveChart`], [`CalibrationChart`] and [`HistogramChart`] are for
//! reports. Colours are CSS variables with literal fall-backs
//! ([`Palette::Variables`], see [`VARIABLES_CSS`]) or literals
//! ([`Palette::Literal`]) for mail, where there is no style sheet.

mod canvas;
mod report;
mod scale;
mod timeline;

use serde::{Deserialize, Serialize};

pub use canvas::{Palette, VARIABLES_CSS};
pub use report::{CalibrationBin, CalibrationChart, Curve, CurveChart, CurveMark, HistogramChart};
pub use scale::format_value;

use crate::domain::{Group, Timestamp};
use crate::signal::Unit;

/// The values of one instance over time. A value that is not finite is a gap.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChartSeries {
    /// The instance's name, shown when the pointer rests on its line.
    pub name: String,
    /// The group that it belongs to at the end of the chart.
    pub group: Group,
    /// In order of time.
    pub points: Vec<(Timestamp, f64)>,
}

/// Something that happened at one moment, with a word or two.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChartMark {
    /// When.
    pub at: Timestamp,
    /// What: `batch 1`, `paused`.
    pub label: String,
}

/// One signal of both groups around a release: each group's median as a
/// line, its spread as a band, its instances as thin lines.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TimeChart {
    /// What is shown: the signal's name.
    pub title: String,
    /// The unit of all values.
    pub unit: Unit,
    /// One entry an instance.
    pub series: Vec<ChartSeries>,
    /// When each batch began.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub batches: Vec<ChartMark>,
    /// Since when the groups deviate; shaded from there on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deviates_since: Option<Timestamp>,
    /// The decision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decided: Option<ChartMark>,
}

/// How a chart is drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Drawing {
    /// In CSS pixels; the picture scales with its container.
    pub width: f64,
    /// In CSS pixels.
    pub height: f64,
    /// Where the colours come from.
    pub palette: Palette,
    /// Whether each instance has its thin line.
    pub instances: bool,
}

impl Drawing {
    /// For a page on a wide screen.
    pub const WIDE: Self = Self { width: 760.0, height: 250.0, palette: Palette::Variables, instances: true };
    /// For a page on a telephone.
    pub const NARROW: Self =
        Self { width: 380.0, height: 230.0, palette: Palette::Variables, instances: true };
    /// For mail: nothing but literal colours.
    pub const MAIL: Self = Self { width: 640.0, height: 230.0, palette: Palette::Literal, instances: true };
}

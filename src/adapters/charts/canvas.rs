//! The little of SVG that the charts need, with escaped text and colours by
//! role.

use std::fmt::Write as _;

/// Where colours come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Palette {
    /// CSS variables of the page around it, so that dark mode costs nothing.
    Variables,
    /// Literal colours on a white ground, for mail and files.
    Literal,
}

/// The variables of [`Palette::Variables`] for light and dark screens; a page
/// includes it in its style sheet.
pub const VARIABLES_CSS: &str = "\
:root{--chart-release:#c2410c;--chart-reference:#1d6fb8;--chart-text:#4b5563;--chart-strong:#111827;\
--chart-grid:#e5e7eb;--chart-axis:#9ca3af;--chart-deviation:#dc2626;--chart-decision:#111827;--chart-ground:#ffffff}\
@media (prefers-color-scheme:dark){:root{--chart-release:#fb923c;--chart-reference:#60a5fa;--chart-text:#9ca3af;\
--chart-strong:#f3f4f6;--chart-grid:#2b3340;--chart-axis:#6b7280;--chart-deviation:#f87171;--chart-decision:#f9fafb;\
--chart-ground:#161b22}}";

/// What a colour is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Release,
    Reference,
    Text,
    Strong,
    Grid,
    Axis,
    Deviation,
    Decision,
    Ground,
}

impl Role {
    fn colour(self, palette: Palette) -> &'static str {
        match (palette, self) {
            (Palette::Literal, Self::Release) => "#c2410c",
            (Palette::Literal, Self::Reference) => "#1d6fb8",
            (Palette::Literal, Self::Text) => "#4b5563",
            (Palette::Literal, Self::Strong) => "#111827",
            (Palette::Literal, Self::Grid) => "#e5e7eb",
            (Palette::Literal, Self::Axis) => "#9ca3af",
            (Palette::Literal, Self::Deviation) => "#dc2626",
            (Palette::Literal, Self::Decision) => "#111827",
            (Palette::Literal, Self::Ground) => "#ffffff",
            (Palette::Variables, Self::Release) => "var(--chart-release,#c2410c)",
            (Palette::Variables, Self::Reference) => "var(--chart-reference,#1d6fb8)",
            (Palette::Variables, Self::Text) => "var(--chart-text,#4b5563)",
            (Palette::Variables, Self::Strong) => "var(--chart-strong,#111827)",
            (Palette::Variables, Self::Grid) => "var(--chart-grid,#e5e7eb)",
            (Palette::Variables, Self::Axis) => "var(--chart-axis,#9ca3af)",
            (Palette::Variables, Self::Deviation) => "var(--chart-deviation,#dc2626)",
            (Palette::Variables, Self::Decision) => "var(--chart-decision,#111827)",
            (Palette::Variables, Self::Ground) => "var(--chart-ground,#ffffff)",
        }
    }
}

/// Which end of a text stands at its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

/// Stroke or fill of a line, in pixels and 0 to 1.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stroke {
    pub(super) role: Role,
    pub(super) width: f64,
    pub(super) opacity: f64,
    pub(super) dashed: bool,
}

impl Stroke {
    pub(super) const fn solid(role: Role, width: f64) -> Self {
        Self { role, width, opacity: 1.0, dashed: false }
    }
}

/// How a text looks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lettering {
    pub(super) role: Role,
    pub(super) anchor: Anchor,
    pub(super) size: f64,
    pub(super) bold: bool,
}

impl Lettering {
    pub(super) const fn small(anchor: Anchor) -> Self {
        Self { role: Role::Text, anchor, size: 11.0, bold: false }
    }
}

/// Text with the five characters that mean something in XML written out, and
/// without those that XML does not allow.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c if c.is_control() || c == '\u{fffe}' || c == '\u{ffff}' => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

/// The width of a text in pixels, roughly: wide characters count double.
pub(super) fn text_width(text: &str, size: f64) -> f64 {
    text.chars().map(|c| if (c as u32) < 0x1100 { 0.56 } else { 1.0 }).sum::<f64>() * size
}

/// A picture in the making.
pub(super) struct Canvas {
    out: String,
    palette: Palette,
}

impl Canvas {
    /// `described` is read out by screen readers.
    pub(super) fn new(width: f64, height: f64, palette: Palette, described: &str) -> Self {
        let described = escape(described);
        let mut out = String::with_capacity(16 * 1024);
        let _ = write!(
            out,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
             height=\"{height}\" role=\"img\" aria-label=\"{described}\" \
             font-family=\"system-ui,-apple-system,'Segoe UI','DejaVu Sans',sans-serif\">"
        );
        let mut canvas = Self { out, palette };
        if palette == Palette::Literal {
            canvas.rect((0.0, 0.0), (width, height), Role::Ground, 1.0);
        }
        canvas
    }

    pub(super) fn finish(mut self) -> String {
        self.out.push_str("</svg>");
        self.out
    }

    pub(super) fn rect(&mut self, at: (f64, f64), size: (f64, f64), role: Role, opacity: f64) {
        let colour = role.colour(self.palette);
        let _ = write!(
            self.out,
            "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"{colour}\"",
            at.0,
            at.1,
            size.0.max(0.0),
            size.1.max(0.0)
        );
        if opacity < 1.0 {
            let _ = write!(self.out, " fill-opacity=\"{opacity}\"");
        }
        self.out.push_str("/>");
    }

    pub(super) fn line(&mut self, from: (f64, f64), to: (f64, f64), stroke: Stroke) {
        self.path(&[vec![from, to]], stroke, None);
    }

    /// Open lines, each through its points; `title` appears when the pointer
    /// rests on one.
    pub(super) fn path(&mut self, lines: &[Vec<(f64, f64)>], stroke: Stroke, title: Option<&str>) {
        let d = lines.iter().map(|points| path_data(points, false)).collect::<String>();
        if d.is_empty() {
            return;
        }
        let _ = write!(
            self.out,
            "<path d=\"{d}\" fill=\"none\" stroke=\"{}\" stroke-width=\"{}\" stroke-linejoin=\"round\" \
             stroke-linecap=\"round\"",
            stroke.role.colour(self.palette),
            stroke.width
        );
        if stroke.opacity < 1.0 {
            let _ = write!(self.out, " stroke-opacity=\"{}\"", stroke.opacity);
        }
        if stroke.dashed {
            self.out.push_str(" stroke-dasharray=\"3 4\"");
        }
        match title {
            Some(title) => {
                let _ = write!(self.out, "><title>{}</title></path>", escape(title));
            }
            None => self.out.push_str("/>"),
        }
    }

    /// Closed areas.
    pub(super) fn area(&mut self, areas: &[Vec<(f64, f64)>], role: Role, opacity: f64) {
        let d = areas.iter().map(|points| path_data(points, true)).collect::<String>();
        if !d.is_empty() {
            let colour = role.colour(self.palette);
            let _ = write!(self.out, "<path d=\"{d}\" fill=\"{colour}\" fill-opacity=\"{opacity}\"/>");
        }
    }

    pub(super) fn dot(&mut self, at: (f64, f64), radius: f64, role: Role, title: Option<&str>) {
        let (colour, ground) = (role.colour(self.palette), Role::Ground.colour(self.palette));
        let _ = write!(
            self.out,
            "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"{radius:.1}\" fill=\"{colour}\" stroke=\"{ground}\" \
             stroke-width=\"1.5\">",
            at.0, at.1
        );
        if let Some(title) = title {
            let _ = write!(self.out, "<title>{}</title>", escape(title));
        }
        self.out.push_str("</circle>");
    }

    /// A text on its base line; a halo in the ground's colour keeps it
    /// readable over lines.
    pub(super) fn text(&mut self, at: (f64, f64), text: &str, lettering: Lettering) {
        let anchor = match lettering.anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let weight = if lettering.bold { " font-weight=\"600\"" } else { "" };
        let _ = write!(
            self.out,
            "<text x=\"{:.1}\" y=\"{:.1}\" fill=\"{}\" font-size=\"{}\" text-anchor=\"{anchor}\"{weight} \
             stroke=\"{}\" stroke-width=\"3\" stroke-linejoin=\"round\" paint-order=\"stroke\">{}</text>",
            at.0,
            at.1,
            lettering.role.colour(self.palette),
            lettering.size,
            Role::Ground.colour(self.palette),
            escape(text)
        );
    }
}

fn path_data(points: &[(f64, f64)], closed: bool) -> String {
    let mut d = String::with_capacity(points.len() * 12);
    for (i, (x, y)) in points.iter().enumerate() {
        let _ = write!(d, "{}{x:.1} {y:.1}", if i == 0 { 'M' } else { 'L' });
    }
    // A lone point would be invisible without a length.
    if points.len() == 1 && !closed {
        d.push_str("h0.1");
    }
    if closed && !d.is_empty() {
        d.push('Z');
    }
    d
}

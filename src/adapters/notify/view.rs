//! A message in one language, as templates see it.

use jiff::tz::TimeZone;
use serde::Serialize;

use crate::config::notify::Language;
use crate::domain::Timestamp;
use crate::signal::Unit;

use super::links::Link;
use super::message::{Chart, Decided, Message, Next, Reason};
use super::words::{self, Labels};

/// Language and time zone of a channel.
#[derive(Clone, Debug)]
pub struct Locale {
    /// The language.
    pub language: Language,
    /// The zone of times.
    pub zone: TimeZone,
}

impl Locale {
    /// `09:12:05 UTC`
    fn clock_time(&self, at: Timestamp) -> String {
        self.format(at, "%H:%M:%S %Z")
    }

    /// `2026-03-01 09:12:05 UTC`
    fn full_time(&self, at: Timestamp) -> String {
        self.format(at, "%Y-%m-%d %H:%M:%S %Z")
    }

    fn format(&self, at: Timestamp, format: &str) -> String {
        match jiff::Timestamp::from_millisecond(at.as_millis()) {
            Ok(moment) => moment.to_zoned(self.zone.clone()).strftime(format).to_string(),
            Err(_) => at.to_string(),
        }
    }
}

/// How text from outside is made harmless in what a channel shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Escape {
    /// As it is: plain text; HTML and JSON templates escape by themselves.
    None,
    /// Slack's `&`, `<`, `>`.
    Slack,
    /// Markdown of DingTalk, Feishu and WeCom: no tags, no mentions, no links.
    Markdown,
}

impl Escape {
    fn text(self, text: &str) -> String {
        match self {
            Self::None => text.to_owned(),
            Self::Slack => text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;"),
            Self::Markdown => text.replace('<', "‹").replace('>', "›").replace("](", "] (").replace('`', "'"),
        }
    }
}

/// What a template is given for one message.
#[derive(Clone, Debug, Serialize)]
pub struct View {
    /// `pausing`; never translated.
    pub kind: &'static str,
    /// `critical`; never translated.
    pub severity: &'static str,
    /// `严重`
    pub severity_word: &'static str,
    /// `en` or `zh`.
    pub language: &'static str,
    /// The message's id.
    pub id: String,
    /// The first line.
    pub headline: String,
    /// What happened, a sentence.
    pub text: String,
    /// When, with date and zone.
    pub at: String,
    /// When, in UTC as RFC 3339.
    pub at_utc: String,
    /// The application; empty if the guardian itself is concerned.
    pub application: String,
    /// The release order's id.
    pub release: String,
    /// The new version.
    pub version: Option<String>,
    /// The version it replaces.
    pub previous_version: Option<String>,
    /// Where it runs.
    pub environment: Option<String>,
    /// What was decided, by whom, how sure.
    pub decided: Option<String>,
    /// Policy's sentence.
    pub because: Option<String>,
    /// The strongest reasons.
    pub reasons: Vec<ReasonView>,
    /// How many more there are, as a sentence.
    pub more_reasons: Option<String>,
    /// What could not be judged.
    pub blind: Vec<String>,
    /// The past release that looked like this one.
    pub similar: Option<String>,
    /// What happens next.
    pub next: Option<String>,
    /// Both groups over time.
    pub charts: Vec<ChartView>,
    /// The signed links.
    pub links: Vec<LinkView>,
    /// The release's page.
    pub page_url: Option<String>,
    /// The fixed words in this language.
    pub words: &'static Labels,
}

/// One reason in words and numbers.
#[derive(Clone, Debug, Serialize)]
pub struct ReasonView {
    /// The signal.
    pub signal: String,
    /// The detector's sentence; empty where the numbers say it in another
    /// language.
    pub because: String,
    /// Release group before the release; `–` if not known.
    pub release_before: String,
    /// Release group now.
    pub release_after: String,
    /// Reference group before.
    pub reference_before: String,
    /// Reference group now.
    pub reference_after: String,
    /// All four numbers in a line; empty if none is known.
    pub numbers: String,
    /// How far, since when, on how many instances.
    pub detail: String,
}

/// A chart in numbers and in block characters.
#[derive(Clone, Debug, Serialize)]
pub struct ChartView {
    /// The signal.
    pub signal: String,
    /// The id of its picture in a mail.
    pub cid: String,
    /// The highest value shown.
    pub highest: String,
    /// The lowest.
    pub lowest: String,
    /// When it begins.
    pub from: String,
    /// When it ends.
    pub to: String,
    /// The release group as block characters.
    pub release_blocks: String,
    /// The reference group.
    pub reference_blocks: String,
    /// How many batches began within it.
    pub batches: usize,
}

/// A link with its text.
#[derive(Clone, Debug, Serialize)]
pub struct LinkView {
    /// `resume`; never translated.
    pub action: &'static str,
    /// `继续发布`
    pub label: &'static str,
    /// Where it leads.
    pub url: String,
}

impl View {
    /// Puts `message` into words.
    pub fn new(
        message: &Message,
        links: &[Link],
        page_url: Option<&str>,
        locale: &Locale,
        escape: Escape,
    ) -> Self {
        let language = locale.language;
        let e = |text: &str| escape.text(text);
        let application = message.release.as_ref().map_or("", |release| release.application.as_str());
        let what = match &message.version {
            Some(version) => e(&format!("{application} {version}")),
            None => e(application),
        };
        let withheld = message.decided.as_ref().and_then(Decided::withheld);
        let text = e(&in_zone(&message.text, message, locale));
        let text = words::sentence(language, message.kind, &text, withheld);
        let next_at = match message.next {
            Next::RollsBackAt(at) => locale.clock_time(at),
            Next::Nothing
            | Next::GoesOn
            | Next::WaitsForPerson
            | Next::CountsAsFaulty
            | Next::Holds
            | Next::ByHand => String::new(),
        };
        Self {
            kind: message.kind.word(),
            severity: message.severity.word(),
            severity_word: words::severity(language, message.severity),
            language: language.code(),
            id: message.id.clone(),
            headline: words::headline(language, message.kind, &what, withheld),
            text,
            at: locale.full_time(message.at),
            at_utc: message.at.to_string(),
            application: e(application),
            release: message.release.as_ref().map_or_else(String::new, |release| e(release.id.as_str())),
            version: message.version.as_deref().map(e),
            previous_version: message.previous_version.as_deref().map(e),
            environment: message.environment.as_deref().map(e),
            decided: message.decided.as_ref().map(|decided| {
                let percent = format_value(decided.probability, Unit::Ratio);
                let operator = decided.operator.as_deref().map(e);
                words::decided(language, decided.action, decided.would, operator.as_deref(), &percent)
            }),
            because: message
                .decided
                .as_ref()
                .map(|decided| e(&decided.because))
                // The sentence of policy is English only; the line above it says the same in Chinese.
                .filter(|because| !because.is_empty() && language == Language::English),
            reasons: message
                .reasons
                .iter()
                .map(|reason| {
                    ReasonView::new(reason, &in_zone(&reason.because, message, locale), locale, escape)
                })
                .collect(),
            more_reasons: (message.more_reasons > 0)
                .then(|| words::more_reasons(language, message.more_reasons)),
            blind: message.blind.iter().map(|why| e(why)).collect(),
            similar: message.similar.as_ref().map(|(release, cause)| {
                words::similar(language, &e(release), cause.as_deref().map(e).as_deref())
            }),
            next: words::together(
                language,
                message.confirmed_by.map(|at| words::awaits(language, &locale.clock_time(at))),
                words::next(language, message.next, &next_at),
            ),
            charts: message
                .charts
                .iter()
                .enumerate()
                .map(|(index, chart)| ChartView::new(chart, index, locale, escape))
                .collect(),
            links: links
                .iter()
                .map(|link| LinkView {
                    action: link.action.word(),
                    label: words::link(language, link.action),
                    url: link.url.clone(),
                })
                .collect(),
            page_url: page_url.map(str::to_owned),
            words: words::labels(language),
        }
    }
}

/// The judge's sentences name moments in UTC; the rest of a message does in the
/// channel's zone.
fn in_zone(sentence: &str, message: &Message, locale: &Locale) -> String {
    let moments = message.reasons.iter().filter_map(|reason| reason.since);
    let moments: std::collections::BTreeSet<Timestamp> = moments.collect();
    moments.into_iter().fold(sentence.to_owned(), |sentence, at| {
        sentence.replace(&format!("since {}", at.clock_time()), &format!("since {}", locale.clock_time(at)))
    })
}

impl ReasonView {
    fn new(reason: &Reason, because: &str, locale: &Locale, escape: Escape) -> Self {
        let show = |value: Option<f64>| {
            value.map_or_else(|| "–".to_owned(), |value| format_value(value, reason.unit))
        };
        let (release_before, release_after) = (show(reason.release.0), show(reason.release.1));
        let (reference_before, reference_after) = (show(reason.reference.0), show(reason.reference.1));
        let known = [reason.release.0, reason.release.1, reason.reference.0, reason.reference.1];
        let labels = words::labels(locale.language);
        let numbers = if known.iter().all(Option::is_none) {
            String::new()
        } else {
            let (comma, space) = match locale.language {
                Language::English => (", ", " "),
                Language::SimplifiedChinese => ("，", " "),
            };
            format!(
                "{}{space}{release_before} → {release_after}{comma}{}{space}{reference_before} → {reference_after}",
                labels.release_group, labels.reference_group
            )
        };
        let mut detail = Vec::new();
        if reason.strength.is_finite() && reason.strength > 0.0 {
            detail.push(words::strength(locale.language, &significant(reason.strength), reason.of_limit));
        }
        if reason.instances > 0 {
            detail.push(words::on_instances(locale.language, reason.instances));
        }
        if let Some(since) = reason.since {
            detail.push(words::since(locale.language, &locale.clock_time(since)));
        }
        // The detector's sentence is English; where there are numbers, they say
        // the same in any language.
        let because = match locale.language {
            Language::SimplifiedChinese if !numbers.is_empty() => String::new(),
            Language::English | Language::SimplifiedChinese => {
                words::reason(locale.language, &reason.test, &escape.text(because))
            }
        };
        Self {
            signal: escape.text(&reason.signal),
            because,
            release_before,
            release_after,
            reference_before,
            reference_after,
            numbers,
            detail: match locale.language {
                Language::English => detail.join(", "),
                Language::SimplifiedChinese => detail.join("，"),
            },
        }
    }
}

impl ChartView {
    fn new(chart: &Chart, index: usize, locale: &Locale, escape: Escape) -> Self {
        let (lowest, highest) = range(chart);
        let edge = |point: Option<&(Timestamp, Option<f64>, Option<f64>)>| {
            point.map_or_else(String::new, |point| locale.clock_time(point.0))
        };
        let release: Vec<_> = chart.points.iter().map(|point| point.1).collect();
        let reference: Vec<_> = chart.points.iter().map(|point| point.2).collect();
        Self {
            signal: escape.text(&chart.signal),
            cid: format!("chart{index}"),
            highest: format_value(highest, chart.unit),
            lowest: format_value(lowest, chart.unit),
            from: edge(chart.points.first()),
            to: edge(chart.points.last()),
            release_blocks: blocks(&release, lowest, highest),
            reference_blocks: blocks(&reference, lowest, highest),
            batches: chart.batches.len(),
        }
    }
}

/// The values that a chart spans; from zero where that does not hide the
/// curves.
pub(super) fn range(chart: &Chart) -> (f64, f64) {
    let values = chart.points.iter().flat_map(|point| [point.1, point.2]).flatten();
    let (low, high) = values
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
    if !low.is_finite() {
        return (0.0, 1.0);
    }
    let low = if low > 0.0 && low < high * 0.6 { 0.0 } else { low };
    if high > low { (low, high) } else { (low, low + low.abs().max(1.0)) }
}

const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
const BLOCKS_WIDE: usize = 30;

/// A curve in at most 30 block characters: the highest value of each part,
/// so that a short peak is seen.
fn blocks(values: &[Option<f64>], lowest: f64, highest: f64) -> String {
    let step = values.len().div_ceil(BLOCKS_WIDE).max(1);
    values
        .chunks(step)
        .map(|part| match part.iter().flatten().copied().reduce(f64::max) {
            None => ' ',
            Some(value) => {
                let height = (value - lowest) / (highest - lowest) * 7.0;
                BLOCKS[height.round().clamp(0.0, 7.0) as usize]
            }
        })
        .collect()
}

/// Three significant digits at most, without needless zeros.
fn significant(value: f64) -> String {
    let magnitude = value.abs();
    let decimals = match magnitude {
        m if m >= 100.0 || m == 0.0 => 0,
        m if m >= 10.0 => 1,
        m if m >= 1.0 => 2,
        m if m >= 0.001 => 2 + (-m.log10().floor()) as usize,
        _ => return if magnitude < 1e-9 { "0".to_owned() } else { format!("{value:.1e}") },
    };
    let text = format!("{value:.decimals$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// A value with its unit: `4.1 %`, `230 ms`, `1.2 GiB`.
pub fn format_value(value: f64, unit: Unit) -> String {
    if !value.is_finite() {
        return "–".to_owned();
    }
    match unit {
        Unit::Ratio => format!("{} %", significant(value * 100.0)),
        Unit::PerSecond => format!("{}/s", significant(value)),
        Unit::Seconds if value.abs() >= 1.0 || value == 0.0 => format!("{} s", significant(value)),
        Unit::Seconds if value.abs() >= 1e-3 => format!("{} ms", significant(value * 1e3)),
        Unit::Seconds => format!("{} µs", significant(value * 1e6)),
        Unit::Milliseconds | Unit::Microseconds | Unit::Nanoseconds => {
            format_value(value / unit.per_second().unwrap_or(1.0), Unit::Seconds)
        }
        Unit::Bytes => {
            let steps = ["B", "KiB", "MiB", "GiB", "TiB"];
            let mut scaled = value;
            let mut step = 0;
            while scaled.abs() >= 1024.0 && step + 1 < steps.len() {
                scaled /= 1024.0;
                step += 1;
            }
            format!("{} {}", significant(scaled), steps[step])
        }
        Unit::Count => significant(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn values_are_short_and_carry_their_unit() {
        for (value, unit, shown) in [
            (0.0413, Unit::Ratio, "4.13 %"),
            (0.0, Unit::Ratio, "0 %"),
            (1.0, Unit::Ratio, "100 %"),
            (0.2304, Unit::Seconds, "230 ms"),
            (1.5, Unit::Seconds, "1.5 s"),
            (0.000_02, Unit::Seconds, "20 µs"),
            (1_288_490_188.8, Unit::Bytes, "1.2 GiB"),
            (1234.5, Unit::PerSecond, "1234/s"),
            (f64::NAN, Unit::Count, "–"),
            (0.05, Unit::Count, "0.05"),
        ] {
            assert_eq!(format_value(value, unit), shown, "{value}");
        }
    }

    #[test]
    fn a_curve_is_drawn_with_its_peak_and_its_gap() {
        assert_eq!(blocks(&[Some(0.0), Some(7.0), None, Some(3.0)], 0.0, 7.0), "▁█ ▄");
        let mut long = vec![Some(0.0); 90];
        long[50] = Some(1.0);
        let drawn = blocks(&long, 0.0, 1.0);
        assert_eq!((drawn.chars().count(), drawn.matches('█').count()), (30, 1));
    }

    #[test]
    fn names_from_outside_cannot_mention_link_or_open_tags() {
        assert_eq!(Escape::Slack.text("<!channel> & co"), "&lt;!channel&gt; &amp; co");
        let shown = Escape::Markdown.text("<@all> [x](http://evil) `");
        assert!(!shown.contains('<') && !shown.contains("](") && !shown.contains('`'), "{shown}");
    }

    #[test]
    fn moments_in_sentences_are_in_the_channels_zone() {
        let at: Timestamp = "2026-03-01T02:43:32Z".parse().unwrap();
        let sentence = "errors 29.6 %, since 02:43:32, 10 times the noise";
        let reason = Reason {
            signal: "errors".to_owned(),
            because: sentence.to_owned(),
            test: "shift".to_owned(),
            release: (None, None),
            reference: (None, None),
            unit: Unit::Ratio,
            strength: 10.0,
            of_limit: false,
            since: Some(at),
            instances: 1,
        };
        let message = Message {
            text: format!("pause: {sentence}"),
            reasons: vec![reason],
            kind: super::super::message::MessageKind::Paused,
            ..Message::test(at)
        };
        let zone = TimeZone::get("Asia/Shanghai").unwrap();
        let locale = Locale { language: Language::English, zone };
        let view = View::new(&message, &[], None, &locale, Escape::None);
        assert_eq!(view.text, "pause: errors 29.6 %, since 10:43:32 CST, 10 times the noise");
        assert_eq!(view.reasons[0].because, "errors 29.6 %, since 10:43:32 CST, 10 times the noise");
    }

    proptest! {
        #[test]
        fn every_value_has_a_form(value in any::<f64>()) {
            for unit in [Unit::Ratio, Unit::PerSecond, Unit::Seconds, Unit::Bytes, Unit::Count] {
                prop_assert!(!format_value(value, unit).is_empty());
            }
        }
    }
}

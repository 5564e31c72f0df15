//! Messages through templates: the built-in ones, or those of the settings.
//! A template that cannot show every kind of message is refused before it is
//! ever needed.

use std::collections::BTreeMap;

use minijinja::{Environment, UndefinedBehavior, Value, context};

use crate::config::notify::{ChannelSettings, TemplatePart};
use crate::domain::Timestamp;

use super::links::Link;
use super::message::Message;
use super::picture;
use super::sample;
use super::view::{Escape, Locale, View};
use super::words;

/// Longest rendered part, in bytes: far above any real message.
const RENDERED_BYTES_MAX: usize = 512 * 1024;
/// What one rendering may cost, in instructions of the template engine.
const FUEL: u64 = 2_000_000;

/// One or several messages that are sent together.
#[derive(Clone, Debug, PartialEq)]
pub struct Parcel {
    /// The same on every retry of the same messages.
    pub id: String,
    /// When it was put together.
    pub at: Timestamp,
    /// The messages, most urgent first. Never empty.
    pub entries: Vec<Entry>,
    /// How many messages more there are than a digest shows.
    pub omitted: usize,
}

/// One message of a parcel with its links.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The message.
    pub message: Message,
    /// Its links, signed for now.
    pub links: Vec<Link>,
    /// The release's page.
    pub page_url: Option<String>,
}

/// A template that does not work.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    /// It cannot be read or rendered.
    #[error("template {part} of channel {channel:?}: {problem}")]
    Broken {
        /// Whose.
        channel: String,
        /// Which.
        part: &'static str,
        /// What is wrong, with the line.
        problem: String,
    },
    /// It makes something that the channel cannot send.
    #[error("template {part} of channel {channel:?} makes {problem}")]
    Unusable {
        /// Whose.
        channel: String,
        /// Which.
        part: &'static str,
        /// What is wrong with what it makes.
        problem: String,
    },
}

/// The templates of one channel, with its language.
pub struct Renderer {
    channel: String,
    environment: Environment<'static>,
    parts: BTreeMap<TemplatePart, &'static str>,
    locale: Locale,
    escape: Escape,
    /// Curves are drawn with block characters inside Markdown.
    draw_blocks: bool,
    /// Once it was tried, a replaced template that fails all the same gives
    /// way to the built-in one: a message is worth more than its form.
    falls_back: bool,
}

impl std::fmt::Debug for Renderer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Renderer").field("channel", &self.channel).finish_non_exhaustive()
    }
}

const BUILT_IN: &str = "built-in/";
const DIGEST_TEXT: &str = "digest.txt";
const DIGEST_HTML: &str = "digest.html";

fn built_in(part: TemplatePart, escape: Escape) -> (&'static str, &'static str) {
    match part {
        TemplatePart::Subject => ("subject.txt", include_str!("templates/subject.txt")),
        TemplatePart::Text => ("text.txt", include_str!("templates/text.txt")),
        TemplatePart::Html => ("html.html", include_str!("templates/html.html")),
        TemplatePart::Markdown => match escape {
            Escape::Slack => ("slack.txt", include_str!("templates/slack.txt")),
            Escape::None | Escape::Markdown => ("markdown.txt", include_str!("templates/markdown.txt")),
        },
        // The built-in body is made of data, not of text.
        TemplatePart::Body => ("body.json", ""),
    }
}

impl Renderer {
    /// Compiles the channel's templates and renders a message of every kind
    /// and a digest with them.
    ///
    /// # Errors
    /// If one is broken, or makes something that cannot be sent.
    pub fn new(
        settings: &ChannelSettings,
        locale: Locale,
        escape: Escape,
        draw_blocks: bool,
    ) -> Result<Self, TemplateError> {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_fuel(Some(FUEL));
        let mut parts = BTreeMap::new();
        for &part in settings.kind.parts() {
            let (name, text) = built_in(part, escape);
            let text = match settings.templates.get(&part) {
                Some(template) => template.text.clone(),
                None if part == TemplatePart::Body => continue,
                None => text.to_owned(),
            };
            let named =
                [(name.to_owned(), text), (format!("{BUILT_IN}{name}"), built_in(part, escape).1.to_owned())];
            for (name, text) in named {
                environment.add_template_owned(name, text).map_err(|error| TemplateError::Broken {
                    channel: settings.name.clone(),
                    part: part.key(),
                    problem: described(&error),
                })?;
            }
            parts.insert(part, name);
        }
        for (name, text) in [
            (DIGEST_TEXT, include_str!("templates/digest.txt")),
            (DIGEST_HTML, include_str!("templates/digest.html")),
        ] {
            environment.add_template(name, text).map_err(|error| TemplateError::Broken {
                channel: settings.name.clone(),
                part: "digest",
                problem: described(&error),
            })?;
        }
        let channel = settings.name.clone();
        let mut renderer =
            Self { channel, environment, parts, locale, escape, draw_blocks, falls_back: false };
        renderer.try_all()?;
        renderer.falls_back = true;
        Ok(renderer)
    }

    /// Whether the settings replace this part, or it is built in as text.
    pub fn has(&self, part: TemplatePart) -> bool {
        self.parts.contains_key(&part)
    }

    /// The channel's language and zone.
    pub fn locale(&self) -> &Locale {
        &self.locale
    }

    /// A message as templates see it.
    pub fn view(&self, entry: &Entry) -> View {
        View::new(&entry.message, &entry.links, entry.page_url.as_deref(), &self.locale, self.escape)
    }

    /// The title of a parcel, in one line.
    ///
    /// # Errors
    /// If the template fails.
    pub fn title(&self, parcel: &Parcel) -> Result<String, TemplateError> {
        let title = match parcel.entries.as_slice() {
            [only] if self.has(TemplatePart::Subject) => self.render(TemplatePart::Subject, only)?,
            [only] => self.view(only).headline,
            several => words::digest(self.locale.language, several.len() + parcel.omitted),
        };
        Ok(title.split_whitespace().collect::<Vec<_>>().join(" "))
    }

    /// One part of a parcel.
    ///
    /// # Errors
    /// If the template fails.
    pub fn part(&self, part: TemplatePart, parcel: &Parcel) -> Result<String, TemplateError> {
        match parcel.entries.as_slice() {
            [only] => self.render(part, only),
            _ => self.digest(part, parcel),
        }
    }

    fn render(&self, part: TemplatePart, entry: &Entry) -> Result<String, TemplateError> {
        let Some(&name) = self.parts.get(&part) else { return Ok(String::new()) };
        let extras = context! {
            draw_blocks => self.draw_blocks,
            shown_width => picture::SHOWN_WIDTH,
            colours => context! { release => picture::RELEASE_COLOUR, reference => picture::REFERENCE_COLOUR },
        };
        let view = Value::from_serialize(self.view(entry));
        let values = context! { ..view, ..extras };
        match self.run(name, part.key(), values.clone()) {
            Err(error) if self.falls_back && part != TemplatePart::Body => {
                tracing::warn!(channel = self.channel, %error, "the built-in template is used instead");
                self.run(&format!("{BUILT_IN}{name}"), part.key(), values)
            }
            result => result,
        }
    }

    fn digest(&self, part: TemplatePart, parcel: &Parcel) -> Result<String, TemplateError> {
        let language = self.locale.language;
        let name = match part {
            TemplatePart::Html => DIGEST_HTML,
            TemplatePart::Subject | TemplatePart::Text | TemplatePart::Markdown | TemplatePart::Body => {
                DIGEST_TEXT
            }
        };
        let (bold, plain) = match (part, self.escape) {
            (TemplatePart::Markdown, Escape::Slack) => ("*", false),
            (TemplatePart::Markdown, Escape::None | Escape::Markdown) => ("**", false),
            _ => ("", true),
        };
        let views: Vec<View> = parcel.entries.iter().map(|entry| self.view(entry)).collect();
        let omitted = (parcel.omitted > 0).then(|| words::omitted(language, parcel.omitted));
        let values = context! {
            headline => words::digest(language, parcel.entries.len() + parcel.omitted),
            language => language.code(),
            footer => words::labels(language).footer,
            messages => Value::from_serialize(&views),
            omitted, bold, plain,
            bullet => "- ",
        };
        self.run(name, "digest", values)
    }

    fn run(&self, name: &str, part: &'static str, values: Value) -> Result<String, TemplateError> {
        let rendered =
            self.environment.get_template(name).and_then(|template| template.render(values)).map_err(
                |error| TemplateError::Broken {
                    channel: self.channel.clone(),
                    part,
                    problem: described(&error),
                },
            )?;
        if rendered.len() > RENDERED_BYTES_MAX {
            return Err(self.unusable(part, "more than 512 KiB"));
        }
        Ok(rendered)
    }

    fn unusable(&self, part: &'static str, problem: impl Into<String>) -> TemplateError {
        TemplateError::Unusable { channel: self.channel.clone(), part, problem: problem.into() }
    }

    fn try_all(&self) -> Result<(), TemplateError> {
        let samples = sample::parcels();
        for parcel in &samples {
            self.title(parcel)?;
            for &part in self.parts.keys() {
                let rendered = self.part(part, parcel)?;
                if rendered.trim().is_empty() {
                    return Err(self.unusable(part.key(), "nothing for some messages"));
                }
                if part == TemplatePart::Body && parcel.entries.len() == 1 {
                    serde_json::from_str::<serde_json::Value>(&rendered)
                        .map_err(|error| self.unusable(part.key(), format!("no JSON: {error}")))?;
                }
            }
        }
        Ok(())
    }
}

/// The template engine's words with its line.
fn described(error: &minijinja::Error) -> String {
    let what = error
        .detail()
        .map_or_else(|| error.kind().to_string(), |detail| format!("{}: {detail}", error.kind()));
    match error.line() {
        Some(line) => format!("line {line}: {what}"),
        None => what,
    }
}

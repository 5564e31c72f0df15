//! Mail by SMTP: HTML with inline charts, and a plain text that stands alone.

use std::error::Error;
use std::time::Duration;

use async_trait::async_trait;
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Attachment, Mailbox, MultiPart, SinglePart};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::{Address, AsyncSmtpTransport, AsyncTransport, Tokio1Executor};
use secrecy::{ExposeSecret, SecretString};

use crate::config::notify::{EmailSettings, MailSecurity, TemplatePart};
use crate::domain::Timestamp;

use super::broken;
use super::channel::{Channel, Scope, SendError};
use super::endpoint::Redactor;
use super::message::short_hash;
use super::picture;
use super::render::{Parcel, Renderer};

/// Mail to some people.
pub struct Email {
    name: String,
    transport: AsyncSmtpTransport<Tokio1Executor>,
    timeout: Duration,
    from: Mailbox,
    to: Vec<Mailbox>,
    redactor: Redactor,
    renderer: Renderer,
}

impl std::fmt::Debug for Email {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Email").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Mail settings that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum InvalidEmail {
    /// Not an address.
    #[error("{address:?} is not a mail address such as \"Release guardian <guardian@example.com>\"")]
    Address {
        /// Which.
        address: String,
        /// Why.
        #[source]
        source: lettre::address::AddressError,
    },
    /// Certificates that cannot be used.
    #[error("the certificates in {file} cannot be used; write PEM")]
    Certificates {
        /// Which file.
        file: String,
        /// Why.
        #[source]
        source: lettre::transport::smtp::Error,
    },
    /// A file that cannot be read.
    #[error("cannot read the certificates in {file}")]
    Unreadable {
        /// Which file.
        file: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// TLS could not be set up.
    #[error("cannot set up TLS for {server}")]
    Tls {
        /// Which server.
        server: String,
        /// Why.
        #[source]
        source: lettre::transport::smtp::Error,
    },
}

impl Email {
    /// Sets the channel up; nothing is connected yet.
    ///
    /// # Errors
    /// If an address or a certificate cannot be used.
    pub fn new(
        name: String,
        settings: &EmailSettings,
        password: Option<SecretString>,
        timeout: Duration,
        renderer: Renderer,
    ) -> Result<Self, InvalidEmail> {
        let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(settings.server.clone())
            .port(settings.port)
            .timeout(Some(timeout))
            .tls(tls(settings)?);
        let mut hidden = Vec::new();
        if let (Some(username), Some(password)) = (&settings.username, &password) {
            builder =
                builder.credentials(Credentials::new(username.clone(), password.expose_secret().to_owned()));
            hidden.push(password.clone());
        }
        Ok(Self {
            name,
            transport: builder.build(),
            timeout,
            from: mailbox(&settings.from)?,
            to: settings.to.iter().map(|to| mailbox(to)).collect::<Result<_, _>>()?,
            redactor: Redactor::new(hidden),
            renderer,
        })
    }

    fn mail(&self, parcel: &Parcel) -> Result<Vec<u8>, SendError> {
        let domain = self.from.email.domain();
        let mut builder = lettre::Message::builder()
            .from(self.from.clone())
            .subject(self.renderer.title(parcel).map_err(broken)?)
            // The same on every retry, so that a server that took the mail
            // without saying so does not deliver it twice.
            .message_id(Some(format!("<{}@{domain}>", parcel.id)))
            .date(std::time::UNIX_EPOCH + Duration::from_millis(parcel.at.as_millis().max(0) as u64));
        for to in &self.to {
            builder = builder.to(to.clone());
        }
        let release = parcel.entries.first().and_then(|entry| entry.message.release.as_ref());
        if let (Some(release), 1) = (release, parcel.entries.len()) {
            // All mails of one release form one thread.
            let thread = short_hash(&["thread", &release.to_string()]);
            builder = builder.references(format!("<{thread}@{domain}>"));
        }
        let text = self.renderer.part(TemplatePart::Text, parcel).map_err(broken)?;
        let html = self.renderer.part(TemplatePart::Html, parcel).map_err(broken)?;
        let mut related = MultiPart::related().singlepart(SinglePart::html(html));
        if let ([only], Ok(kind)) = (parcel.entries.as_slice(), ContentType::parse("image/png")) {
            for (chart, shown) in only.message.charts.iter().zip(self.renderer.view(only).charts) {
                if let Some(png) = picture::png(chart) {
                    related = related.singlepart(Attachment::new_inline(shown.cid).body(png, kind.clone()));
                }
            }
        }
        let body = MultiPart::alternative().singlepart(SinglePart::plain(text)).multipart(related);
        let mut mail = builder.multipart(body).map_err(|error| SendError::Refused {
            reason: self.redactor.clean(&format!("the mail cannot be put together: {error}")),
        })?;
        mail.headers_mut().insert_raw(HeaderValue::new(
            HeaderName::new_from_ascii_str("Auto-Submitted"),
            "auto-generated".to_owned(),
        ));
        Ok(mail.formatted())
    }

    fn failed(&self, error: &lettre::transport::smtp::Error) -> SendError {
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(source) = cause {
            let source_text = source.to_string();
            if !text.contains(&source_text) {
                text = format!("{text}: {source_text}");
            }
            cause = source.source();
        }
        let code = error.status().and_then(|code| code.to_string().parse().ok());
        judged(code, self.redactor.clean(&text))
    }
}

/// What a reply code means for the message and for the channel.
fn judged(code: Option<u16>, reason: String) -> SendError {
    match code {
        // Greylisting, a full mailbox: others may get through.
        Some(450..=452) => SendError::Unavailable { scope: Scope::Message, reason },
        // The login is refused: a person changes the password, here or there.
        Some(530 | 534 | 535 | 538) => {
            SendError::unavailable(format!("the mail server refuses the login: {reason}"))
        }
        Some(500..=599) => SendError::Refused { reason },
        Some(_) | None => SendError::unavailable(reason),
    }
}

fn mailbox(text: &str) -> Result<Mailbox, InvalidEmail> {
    text.parse().map_err(|source| InvalidEmail::Address { address: text.to_owned(), source })
}

fn tls(settings: &EmailSettings) -> Result<Tls, InvalidEmail> {
    let mut parameters = TlsParameters::builder(settings.server.clone());
    if let Some(path) = &settings.ca_file {
        let file = path.display().to_string();
        let pem =
            std::fs::read(path).map_err(|source| InvalidEmail::Unreadable { file: file.clone(), source })?;
        let certificate =
            Certificate::from_pem(&pem).map_err(|source| InvalidEmail::Certificates { file, source })?;
        parameters = parameters.add_root_certificate(certificate);
    }
    let build = |parameters: lettre::transport::smtp::client::TlsParametersBuilder| {
        parameters.build().map_err(|source| InvalidEmail::Tls { server: settings.server.clone(), source })
    };
    Ok(match settings.security {
        MailSecurity::Tls => Tls::Wrapper(build(parameters)?),
        // Required: a server that offers no TLS gets neither password nor mail.
        MailSecurity::StartTls => Tls::Required(build(parameters)?),
        MailSecurity::None => Tls::None,
    })
}

#[async_trait]
impl Channel for Email {
    fn name(&self) -> &str {
        &self.name
    }

    fn recipients(&self) -> Vec<String> {
        self.to.iter().map(|to| to.email.to_string()).collect()
    }

    async fn send(&self, parcel: &Parcel, recipient: &str, _now: Timestamp) -> Result<String, SendError> {
        let mail = self.mail(parcel)?;
        let address: Address = recipient
            .parse()
            .map_err(|_| SendError::Refused { reason: format!("{recipient:?} is not a mail address") })?;
        let envelope = lettre::address::Envelope::new(Some(self.from.email.clone()), vec![address])
            .map_err(|error| SendError::Refused { reason: error.to_string() })?;
        // The transport's own limit is for each reply; this one is for all.
        let sending = tokio::time::timeout(self.timeout * 2, self.transport.send_raw(&envelope, &mail));
        match sending.await {
            Ok(Ok(response)) => {
                let words: Vec<&str> = response.message().collect();
                Ok(self.redactor.clean(&format!("{} {}", response.code(), words.join(" "))))
            }
            Ok(Err(error)) => Err(self.failed(&error)),
            Err(_) => Err(SendError::unavailable("no answer in time")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reply_codes_say_what_is_tried_again_and_how() {
        let reason = String::new;
        assert!(matches!(judged(Some(451), reason()), SendError::Unavailable { scope: Scope::Message, .. }));
        assert!(matches!(judged(Some(421), reason()), SendError::Unavailable { scope: Scope::Channel, .. }));
        assert!(matches!(judged(Some(535), reason()), SendError::Unavailable { scope: Scope::Channel, .. }));
        assert!(matches!(judged(None, reason()), SendError::Unavailable { scope: Scope::Channel, .. }));
        assert!(matches!(judged(Some(550), reason()), SendError::Refused { .. }));
    }
}

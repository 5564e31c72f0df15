//! What all outgoing HTTP has in common: addresses, authentication, TLS.

use std::collections::BTreeMap;
use std::path::PathBuf;

use url::Url;

use super::raw::Section;
use super::secret::{Secret, read_secret, variable_name};

/// How an HTTP server is spoken to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HttpClient {
    /// Who we say we are.
    pub auth: Auth,
    /// How the connection is protected.
    pub tls: Tls,
    /// Sent with each request.
    pub headers: BTreeMap<String, HeaderValue>,
}

/// How we authenticate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Auth {
    /// Not at all.
    #[default]
    None,
    /// `Authorization: Bearer ..`
    Bearer(Secret),
    /// `Authorization: Basic ..`
    Basic {
        /// The user's name.
        user: String,
        /// The password.
        password: Secret,
    },
}

/// How a TLS connection is checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// PEM file of the authorities that are believed, instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// PEM file of our own certificate, for servers that ask for one.
    pub cert_file: Option<PathBuf>,
    /// PEM file of its key.
    pub key_file: Option<PathBuf>,
    /// Certificates are not checked.
    pub insecure_skip_verify: bool,
}

/// The value of a header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderValue {
    /// As written; a template where the request is one.
    Text(String),
    /// Fetched when it is needed.
    Secret(Secret),
}

/// Reads an `http` or `https` address.
pub(super) fn parse_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("{text:?} is not an address: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(format!("{text:?} is not an http or https address"));
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err(format!("{text:?} names no host"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("the address holds a user or a password".to_owned());
    }
    Ok(url)
}

/// Reads an address. A password in it is refused, and hidden in messages.
pub(super) fn read_url(section: &Section<'_>, key: &'static str) -> Option<Url> {
    let written = section.value(key).and_then(|value| value.get_ref().as_str());
    if let Some(password) = written.and_then(|text| Url::parse(text).ok()?.password().map(str::to_owned)) {
        section.hide(&password);
    }
    section.parsed(key, URL_HELP, parse_url).map(|url| url.into_inner())
}

pub(super) const URL_HELP: &str =
    "write it whole, with http:// or https:// and the host; users and passwords go to `auth`";

/// Reads `auth`, `tls` and `headers` of a section.
pub(super) fn read_client(section: &Section<'_>) -> HttpClient {
    HttpClient { auth: read_auth(section), tls: read_tls(section), headers: read_headers(section) }
}

fn read_auth(section: &Section<'_>) -> Auth {
    let Some(auth) = section.section("auth") else { return Auth::None };
    let (bearer, user) = (read_secret(&auth, "bearer"), auth.text("user"));
    let password = read_secret(&auth, "password");
    match (bearer, user, password) {
        (Some(bearer), None, None) => Auth::Bearer(bearer),
        (None, Some(user), Some(password)) => Auth::Basic { user: user.into_inner(), password },
        _ if ["bearer", "user", "password"].iter().all(|key| !auth.has(key)) => {
            auth.missing("bearer", "write { bearer = SECRET } or { user = \"..\", password = SECRET }");
            Auth::None
        }
        _ => {
            let complete = auth.has("bearer") != (auth.has("user") && auth.has("password"))
                && auth.has("user") == auth.has("password");
            if !complete {
                let help = "write either { bearer = SECRET } or { user = \"..\", password = SECRET }";
                auth.problem(auth.span(), "`auth` is not one complete way to authenticate", help);
            }
            Auth::None
        }
    }
}

fn read_tls(section: &Section<'_>) -> Tls {
    let Some(tls) = section.section("tls") else { return Tls::default() };
    let path = |key| tls.text(key).map(|path| PathBuf::from(path.into_inner()));
    let read = Tls {
        ca_file: path("ca_file"),
        cert_file: path("cert_file"),
        key_file: path("key_file"),
        insecure_skip_verify: tls.flag("insecure_skip_verify").unwrap_or(false),
    };
    if read.cert_file.is_some() != read.key_file.is_some() {
        tls.problem(tls.span(), "`tls` has only one of cert_file and key_file", "name both, or neither");
    }
    read
}

/// Reads `headers`: texts, or secrets.
pub(super) fn read_headers(section: &Section<'_>) -> BTreeMap<String, HeaderValue> {
    let mut headers = BTreeMap::new();
    let Some(value) = section.value("headers") else { return headers };
    let Some(table) = value.get_ref().as_table() else {
        section.problem(value.span(), "`headers` is not a table", "write headers = { Name = \"value\" }");
        return headers;
    };
    for (name, value) in table {
        let text = name.get_ref();
        if text.is_empty()
            || !text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
        {
            section.problem(
                name.span(),
                format!("{text:?} is not a header's name"),
                "write a name such as X-Scope-OrgID",
            );
            continue;
        }
        if let Some(read) = read_header(section, text, value) {
            headers.insert(text.to_string(), read);
        }
    }
    headers
}

fn read_header(
    section: &Section<'_>,
    name: &str,
    value: &toml::Spanned<toml::de::DeValue<'_>>,
) -> Option<HeaderValue> {
    const HELP: &str = "write a text, { credential = \"name\" }, { file = \"/path\" } or \"${VARIABLE}\"";
    if let Some(text) = value.get_ref().as_str() {
        if let Some(variable) = variable_name(text) {
            return Some(HeaderValue::Secret(Secret::Variable(variable.to_owned())));
        }
        if text.chars().any(char::is_control) {
            section.problem(value.span(), format!("header {name} has a line end or control character"), HELP);
            return None;
        }
        if matches!(name.to_ascii_lowercase().as_str(), "authorization" | "x-api-key" | "cookie") {
            section.hide(text);
            section.problem(value.span(), format!("header {name} holds a secret itself"), HELP);
            return None;
        }
        return Some(HeaderValue::Text(text.to_owned()));
    }
    let entry = value.get_ref().as_table().and_then(|table| {
        let mut entries = table.iter();
        let (key, place) = entries.next()?;
        entries.next().is_none().then(|| (key.get_ref().as_ref(), place.get_ref().as_str()))
    });
    match entry {
        Some(("file", Some(path))) => Some(HeaderValue::Secret(Secret::File(PathBuf::from(path)))),
        Some(("credential", Some(name))) => Some(HeaderValue::Secret(Secret::Credential(name.to_owned()))),
        _ => {
            section.problem(
                value.span(),
                format!("header {name} is neither a text nor the place of a secret"),
                HELP,
            );
            None
        }
    }
}

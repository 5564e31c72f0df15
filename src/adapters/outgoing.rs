//! HTTP clients as the settings describe them: certificates, authentication.

use std::path::PathBuf;
use std::time::Duration;

use base64::Engine;
use reqwest::header::{HeaderMap, HeaderName};
use secrecy::{ExposeSecret, SecretString};

use crate::adapters::chain::chain;
use crate::config::{Auth, HeaderValue, HttpClient, SecretError, Surroundings};

/// Why a client cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// A secret is not where the settings say.
    #[error("a secret of the connection cannot be had")]
    Secret(#[from] SecretError),
    /// A PEM file cannot be read.
    #[error("{path} cannot be read; it must be a PEM file that the guardian's user may read")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// What is in it cannot be used, or a header cannot be sent.
    #[error("the connection cannot be set up")]
    Setup(#[from] reqwest::Error),
    /// A header has a name or value that cannot be sent.
    #[error("header {0} cannot be sent")]
    Header(String),
}

/// A client with the settings' certificates and fixed headers. Authentication
/// is added to each request by [`authorization`].
///
/// # Errors
/// If a file or secret cannot be had or used.
pub fn builder(
    settings: &HttpClient,
    surroundings: &dyn Surroundings,
) -> Result<reqwest::ClientBuilder, ClientError> {
    let read = |path: &PathBuf| {
        surroundings.read(path).map_err(|source| ClientError::File { path: path.clone(), source })
    };
    let mut headers = HeaderMap::new();
    for (name, value) in &settings.headers {
        let parsed =
            HeaderName::from_bytes(name.as_bytes()).map_err(|_| ClientError::Header(name.clone()))?;
        let text = match value {
            HeaderValue::Text(text) => SecretString::from(text.clone()),
            HeaderValue::Secret(secret) => secret.fetch(surroundings)?,
        };
        let mut value = reqwest::header::HeaderValue::from_str(text.expose_secret())
            .map_err(|_| ClientError::Header(name.clone()))?;
        value.set_sensitive(true);
        headers.insert(parsed, value);
    }
    let tls = &settings.tls;
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("release-guardian/", env!("CARGO_PKG_VERSION")))
        .default_headers(headers)
        .danger_accept_invalid_certs(tls.insecure_skip_verify);
    if let Some(path) = &tls.ca_file {
        let authorities = reqwest::Certificate::from_pem_bundle(read(path)?.as_bytes())?;
        builder = builder.tls_certs_only(authorities);
    }
    if let (Some(certificate), Some(key)) = (&tls.cert_file, &tls.key_file) {
        let pem = format!("{}\n{}", read(certificate)?, read(key)?);
        builder = builder.identity(reqwest::Identity::from_pem(pem.as_bytes())?);
    }
    Ok(builder)
}

/// Why there was no answer, with its causes; without the address, which may
/// hold a token.
pub fn no_answer(error: reqwest::Error, timeout: Duration) -> String {
    match error.is_timeout() {
        true => format!("no answer within {} s", timeout.as_secs_f64()),
        false => chain(&error.without_url()),
    }
}

/// The value of the `Authorization` header, if there is one.
///
/// # Errors
/// If its secret cannot be had.
pub fn authorization(
    auth: &Auth,
    surroundings: &dyn Surroundings,
) -> Result<Option<SecretString>, ClientError> {
    Ok(match auth {
        Auth::None => None,
        Auth::Bearer(secret) => {
            let token = secret.fetch(surroundings)?;
            Some(SecretString::from(format!("Bearer {}", token.expose_secret())))
        }
        Auth::Basic { user, password } => {
            let password = password.fetch(surroundings)?;
            let pair = format!("{user}:{}", password.expose_secret());
            let coded = base64::engine::general_purpose::STANDARD.encode(pair);
            Some(SecretString::from(format!("Basic {coded}")))
        }
    })
}

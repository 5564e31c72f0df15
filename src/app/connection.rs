//! How a server that is named on a command line is reached.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::config::{Auth, HttpClient, Secret, Tenant, Tls};

/// Who asks, and whom is believed. Secrets lie in files: a command line is
/// seen by others.
#[derive(clap::Args, Debug)]
pub struct Connection {
    /// File with a bearer token
    #[arg(long, value_name = "FILE", conflicts_with = "user")]
    pub bearer_file: Option<PathBuf>,
    /// User for basic authentication
    #[arg(long, requires = "password_file")]
    pub user: Option<String>,
    /// File with the user's password
    #[arg(long, value_name = "FILE", requires = "user")]
    pub password_file: Option<PathBuf>,
    /// Tenant, sent as X-Scope-OrgID
    #[arg(long)]
    pub tenant: Option<String>,
    /// PEM file of the authorities that are believed
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// Do not check the server's certificate
    #[arg(long)]
    pub insecure_skip_verify: bool,
}

impl Connection {
    /// As settings have it.
    pub fn client(&self) -> HttpClient {
        let auth = match (&self.bearer_file, &self.user, &self.password_file) {
            (Some(file), _, _) => Auth::Bearer(Secret::File(file.clone())),
            (None, Some(user), Some(file)) => {
                Auth::Basic { user: user.clone(), password: Secret::File(file.clone()) }
            }
            (None, _, _) => Auth::None,
        };
        let tls = Tls {
            ca_file: self.ca_file.clone(),
            insecure_skip_verify: self.insecure_skip_verify,
            ..Tls::default()
        };
        HttpClient { auth, tls, headers: BTreeMap::new() }
    }

    /// The header that names the tenant, if there is one.
    pub fn tenant(&self) -> Option<Tenant> {
        let value = self.tenant.clone()?;
        Some(Tenant { header: "X-Scope-OrgID".to_owned(), value })
    }
}

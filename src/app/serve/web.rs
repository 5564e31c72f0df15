//! The interface of the running daemon.

use std::io;

use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::adapters::guardian::Guardian;
use crate::adapters::notify::pages::routes;
use crate::adapters::web::{Access, Credential, Web, serve};
use crate::config::{SecretError, Server};

use super::daemon::Environment;
use super::telling::Links;

/// Fetches the tokens' secrets.
///
/// # Errors
/// If one is not where the settings say.
pub(super) fn access(server: &Server, environment: &Environment) -> Result<Access, SecretError> {
    let credentials = server
        .tokens
        .iter()
        .map(|token| {
            Ok(Credential {
                name: token.name.clone(),
                role: token.role,
                secret: token.secret.fetch(environment.as_ref())?,
            })
        })
        .collect::<Result<Vec<_>, SecretError>>()?;
    let public = server.public_url.domain().map(str::to_owned);
    let hosts = server.allowed_hosts.iter().cloned().chain(public);
    Ok(Access::new(credentials, server.anonymous).reached_as(hosts))
}

/// Serves the interface until `stopped` says so.
pub(super) async fn interface(
    listener: TcpListener,
    guardian: Guardian,
    access: Access,
    secure: bool,
    links: Links,
    mut stopped: watch::Receiver<bool>,
) -> io::Result<()> {
    let web = Web::new(guardian, access, secure);
    let stop = async move {
        // An error means that the daemon is gone: stop as well.
        let _ = stopped.wait_for(|stop| *stop).await;
    };
    serve(listener, web.router_with(routes(links)), stop).await
}

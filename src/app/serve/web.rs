//! The interface of the running daemon.

use std::io;

use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::adapters::guardian::Guardian;
use crate::config::Server;

use super::daemon::Environment;

pub(super) async fn interface(
    _listener: TcpListener,
    _guardian: Guardian,
    _server: Server,
    _environment: Environment,
    mut stopped: watch::Receiver<bool>,
) -> io::Result<()> {
    let _ = stopped.wait_for(|stop| *stop).await;
    Ok(())
}

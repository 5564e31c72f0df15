//! People are told: real mail over a real SMTP server, chat channels against
//! servers that answer as documented, links as browsers and previews use them.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

#[allow(dead_code, reason = "the helpers are shared with the tests of the daemon, which use more of them")]
#[path = "daemon/guardian.rs"]
mod guardian;
#[path = "common/ports.rs"]
mod ports;
#[allow(dead_code, reason = "the helpers are shared with the tests of the daemon, which use more of them")]
#[path = "daemon/servers.rs"]
mod servers;
#[path = "notify/support.rs"]
mod support;

#[path = "notify/chat.rs"]
mod chat;
#[path = "notify/command.rs"]
mod command;
#[path = "notify/daemon.rs"]
mod daemon;
#[path = "notify/links.rs"]
mod links;
#[path = "notify/mail.rs"]
mod mail;
#[path = "notify/running.rs"]
mod running;

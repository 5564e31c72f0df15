//! The daemon.

mod actor;
mod courier;
mod gate;
mod keeper;
mod quality;
mod record;
mod recorder;
mod restore;
mod shared;

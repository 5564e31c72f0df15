//! The world outside: everything that reads a clock, a file, a socket or the
//! environment, each behind types of the inner rings.

pub mod alertmanager;
pub mod chain;
pub mod charts;
pub mod clock;
pub mod flagger;
pub mod guardian;
pub mod kayenta;
pub mod kubernetes;
pub mod model_file;
pub mod notify;
pub mod outgoing;
pub mod prometheus;
pub mod recording;
pub mod release_system;
pub mod release_systems;
pub mod scrape;
pub mod standard_webhooks;
pub mod store;
pub mod surroundings;
pub mod targets;
pub mod telemetry;
pub mod web;

//! Settings: one TOML file, read as it is written (`raw`), checked whole, and
//! handed on as plain values without text to parse (`checked` and its parts).
//!
//! What holds: every problem of a file is reported in one run, with its place;
//! a key that is not known is a problem, never passed over; a secret is not in
//! the file and not in `Debug`.

mod alerts;
mod application;
mod checked;
mod freeze;
mod http;
mod kubernetes;
mod model;
pub mod notify;
mod policy;
mod problem;
mod raw;
mod release_system;
mod secret;
mod server;
mod signal;
mod source;
mod units;

pub use alerts::Alerts;
pub use application::{Application, Defaults, GroupBy};
pub use checked::Settings;
pub use http::{Auth, HeaderValue, HttpClient, Tls};
pub use kubernetes::{ApiServer, ApiToken, KubernetesObject};
pub use model::ModelSource;
pub use notify::Notify;
pub use problem::{Problem, Problems};
pub use release_system::{
    BodyTest, HttpRequest, ReadBack, ReleaseSystem, ReleaseSystemKind, SuccessTest, WebhookSystem,
};
pub use secret::{Secret, SecretError, Surroundings};
pub use server::{Log, LogFormat, Recordings, Role, Server, Store, Token};
pub use source::{
    FileSd, HttpSd, PrometheusSource, Scheme, ScrapeSource, Source, SourceKind, StaticTargets, Tenant,
};
pub use units::{show_bytes, show_duration};

//! The nouns of the project, with their invariants. Nothing here reads a
//! clock, a file or a socket; every other ring may name this one.

mod ids;
mod release;
mod sample;
mod selector;
mod series;
mod time;

pub use ids::{ApplicationName, CommandId, InstanceId, InvalidId, ReleaseId, ReleaseKey, Version};
pub use release::{
    Alert, Batch, Feedback, FeedbackKind, Group, GroupSelectors, Label, LabelOutcome, LabelSource,
    RECORDING_FORMAT, ReleaseOrder,
};
pub use sample::{
    MetricFamily, MetricKind, Sample, Scrape, ScrapeFailure, ScrapeOutcome, TARGET_INFO, target_info,
};
pub use selector::{InvalidSelector, Matcher, Relation, Selector};
pub use series::{InvalidSeries, SeriesKey};
pub use time::{InvalidTimestamp, Timestamp};

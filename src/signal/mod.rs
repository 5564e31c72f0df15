//! Samples in, observations out: which signals an application has, and what
//! both groups show of them over the same interval.

mod kind;

pub use kind::{BadWhen, SignalClass, Unit};

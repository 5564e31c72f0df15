//! The handle of the running daemon. Its definition stands with the adapters,
//! because the web interface is one of them and must not name this ring.

pub use crate::adapters::guardian::*;

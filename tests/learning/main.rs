//! What is learned and how it is proven: the judges that the guardian is
//! compared with, and training and replay with the real binary.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

#[allow(dead_code, reason = "only the bench reads recordings with it")]
#[path = "../../benches/detection_table/judges/mod.rs"]
mod judges;

mod calibrate;
mod comparison;
mod feedback;

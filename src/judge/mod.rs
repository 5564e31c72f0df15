//! Observations in, findings and a verdict out. Deterministic: too little
//! data is `Unknown`, never `Healthy`.

mod explain;
mod finding;
pub mod funnel;
mod look;
pub mod model;
pub mod pair;
pub mod rules;
pub mod sentence;
#[cfg(test)]
mod tests;
mod verdict;
mod warm_up;

pub use finding::{Detector, Finding, Outcome};
pub use look::{Judge, JudgeSettings, RuleTrial};
pub use verdict::{Blind, SimilarCase, Verdict};
pub use warm_up::{LESSONS_MAX, LESSONS_MIN, Lesson, Patience, Settled, WarmUp, WarmUpSeen};

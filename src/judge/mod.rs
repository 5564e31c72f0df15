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

pub use finding::{Detector, Finding, Outcome};
pub use look::{Judge, JudgeSettings, RuleTrial};
pub use verdict::{Blind, SimilarCase, Verdict};

//! Observations in, findings and a verdict out. Deterministic: too little
//! data is `Unknown`, never `Healthy`.

mod finding;
mod verdict;

pub use finding::{Detector, Finding, Outcome};
pub use verdict::{Blind, SimilarCase, Verdict};

//! What past releases teach: a data set of looks, a fitted model, and whether
//! it decides better than what is there; and what quiet history teaches of false
//! stops. Reads no file and no clock.

mod data;
mod evaluate;
mod fit;
mod pseudo;
mod train;

pub use data::{DataSet, Look, PastRelease};
pub use evaluate::{Confirm, Judged, Outcomes, area_under_curve, brier, judge, probabilities};
pub use fit::{FitError, FitSettings, Fitted};
pub use pseudo::{Calibration, CutSettings, PseudoRelease, Stretch, cut};
pub use train::{TrainError, TrainSettings, Trained, Tried, is_better, is_worse, train, utility};

#[cfg(test)]
mod tests;

//! Fitting and evaluating models on past releases.

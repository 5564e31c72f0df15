//! Systems that carry out commands, one file each. A new one is a file here,
//! a variant in the settings, and a test.

pub mod webhook;

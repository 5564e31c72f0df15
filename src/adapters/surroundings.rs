//! The process's own environment and files, for settings and secrets.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use crate::config::Surroundings;

/// A larger file is no settings file and no secret.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// The environment and the files of this process.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProcessSurroundings;

impl Surroundings for ProcessSurroundings {
    fn variable(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    fn read(&self, path: &Path) -> io::Result<String> {
        let mut text = String::new();
        let read = File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
        if read as u64 > FILE_BYTES_MAX {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "the file is larger than 4 MiB"));
        }
        Ok(text)
    }
}

//! Two guardians never both act: whoever holds the lock file acts. The kernel
//! gives the lock back when its holder dies, however it dies.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// Why the lock was not got.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another guardian runs on this store.
    #[error(
        "another guardian ({holder}) runs on the store at {path}; end it, or give this one another state folder"
    )]
    Held {
        /// The lock file.
        path: PathBuf,
        /// What the other wrote into it.
        holder: String,
    },
    /// The file could not be opened or locked.
    #[error("lock file {path} could not be used; check the rights of its folder and the room left")]
    File {
        /// The lock file.
        path: PathBuf,
        /// How.
        #[source]
        source: std::io::Error,
    },
}

/// The lock; given back when dropped.
#[derive(Debug)]
pub struct StateLock {
    _file: File,
}

impl StateLock {
    /// Takes the lock of a state folder, or says who has it.
    ///
    /// # Errors
    /// If another process has it, or the file cannot be used.
    pub fn take(folder: &Path) -> Result<Self, LockError> {
        let path = folder.join("guardian.lock");
        let fail = |source| LockError::File { path: path.clone(), source };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(fail)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // The name is a courtesy; without it the refusal stands.
                let _ = (&mut file).take(100).read_to_string(&mut holder);
                return Err(LockError::Held { path, holder: holder.trim().to_owned() });
            }
            Err(TryLockError::Error(source)) => return Err(fail(source)),
        }
        file.set_len(0).map_err(fail)?;
        file.seek(SeekFrom::Start(0)).map_err(fail)?;
        writeln!(file, "process {}", std::process::id()).map_err(fail)?;
        Ok(Self { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_guardian_is_told_who_has_the_lock_and_gets_it_after_the_first_ends() {
        let folder = tempfile::tempdir().unwrap();
        let first = StateLock::take(folder.path()).unwrap();
        let refused = StateLock::take(folder.path()).unwrap_err().to_string();
        assert!(refused.contains(&std::process::id().to_string()), "{refused}");
        drop(first);
        StateLock::take(folder.path()).unwrap();
    }
}

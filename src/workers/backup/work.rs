//! Scratch folders, in which copies are made and taken apart.

use super::BackupError;
use super::target::private_folder;
use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use uuid::Uuid;

/// How the folders begin in which copies are made and taken apart.
const WORK: &str = ".backup-";

/// A folder of its own, gone when dropped. The process that works in it holds a lock on it: its number says nothing in a
/// container, where every process that serves has the same.
#[derive(Debug)]
pub(super) struct Work(
    pub(super) PathBuf,
    #[expect(dead_code, reason = "held until the folder is gone")] File,
);

/// Locks a folder until the file is closed; none when another process has it, or has removed it.
fn locked_folder(path: &Path) -> io::Result<Option<File>> {
    let folder = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    match folder.try_lock() {
        Ok(()) => Ok(Some(folder)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Removes the scratch folders nobody works in any more: each may hold a copy of the whole database.
///
/// # Errors
/// [`BackupError::File`].
pub fn sweep(directory: &Path) -> Result<(), BackupError> {
    let failed = |error| BackupError::File { path: directory.to_owned(), error };
    for entry in std::fs::read_dir(directory).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let scratch = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(WORK));
        if scratch && let Some(_left) = locked_folder(&path).map_err(failed)? {
            std::fs::remove_dir_all(&path).map_err(failed)?;
        }
    }
    Ok(())
}

impl Work {
    /// Makes one, and removes those nobody works in any more.
    pub(super) fn begin(directory: &Path, id: Uuid) -> Result<Self, BackupError> {
        let failed = |error| BackupError::File { path: directory.to_owned(), error };
        private_folder(directory)?;
        sweep(directory)?;
        // Programs of PostgreSQL work in it, where a relative path would lead elsewhere.
        let path = std::path::absolute(directory).map_err(failed)?;
        let path = path.join(format!("{WORK}{}-{id}", std::process::id()));
        private_folder(&path)?;
        let locked = locked_folder(&path).map_err(failed)?;
        Ok(Self(path, locked.ok_or(BackupError::Busy)?))
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!(%error, path = %self.0.display(), "a scratch folder was not removed");
        }
    }
}

#[cfg(test)]
mod tests;

//! The secret of the audit trail: a file beside the database that only its owner can read, or one that somebody provides.

use crate::domain::audit::AuditKey;
use crate::domain::hexadecimal::hex;
use crate::random::Random;
use crate::storage::error::StorageError;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// Name of the key's file in a data directory.
pub const KEY_FILE: &str = "audit.key";

/// What the trail is held to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// File with the key, which must be there; the one in the data directory when `None`.
    pub file: Option<PathBuf>,
    /// Rows up to this one are taken as they are: their key is lost.
    pub after: i64,
}

impl Settings {
    /// Where the key of the data in a directory is.
    pub fn path(&self, directory: &Path) -> PathBuf {
        self.file.clone().unwrap_or_else(|| directory.join(KEY_FILE))
    }

    /// The key of the data in a directory; `None` when there is none yet.
    ///
    /// # Errors
    /// [`StorageError::File`] for a file that cannot be read, [`StorageError::AuditKey`] for one that was named and is not
    /// there, that others may read, or that holds no key.
    pub fn key(&self, directory: &Path) -> Result<Option<AuditKey>, StorageError> {
        let path = self.path(directory);
        let key = read(&path)?;
        if key.is_none() && self.file.is_some() {
            return Err(StorageError::AuditKey(format!(
                "the audit trail's key {} is not there",
                path.display()
            )));
        }
        // What a container or systemd mounts has rights of their choosing; only the world is kept out of it.
        let others = if self.file.is_some() { 0o007 } else { 0o077 };
        let mode = std::fs::metadata(&path).map_or(0, |about| about.mode() & 0o777);
        if mode & others == 0 {
            return Ok(key);
        }
        let path = path.display();
        Err(StorageError::AuditKey(format!(
            "the audit trail's key {path}: others may read it (mode {mode:03o}); run `chmod 600 {path}`"
        )))
    }
}

/// Reads a key from a file; `None` when there is no such file.
///
/// # Errors
/// [`StorageError::File`] for a file that cannot be read, [`StorageError::AuditKey`] for one that holds no key.
pub fn read(path: &Path) -> Result<Option<AuditKey>, StorageError> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(StorageError::File { path: path.display().to_string(), source }),
    };
    let malformed = || StorageError::AuditKey(format!("{} must hold 64 hexadecimal digits", path.display()));
    AuditKey::parse(&text).map(Some).ok_or_else(malformed)
}

/// Makes a new key and keeps it in the data directory. One that is there stays.
///
/// # Errors
/// [`StorageError::File`], and [`StorageError::AuditKey`] when the machine gives no randomness.
pub fn create(directory: &Path, random: Random) -> Result<AuditKey, StorageError> {
    let bytes = random.bytes::<32>().map_err(|error| StorageError::AuditKey(error.to_string()))?;
    let path = directory.join(KEY_FILE);
    let early = directory.join(format!(".{KEY_FILE}"));
    let failed = |source| StorageError::File { path: path.display().to_string(), source };
    match std::fs::remove_file(&early) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let mut file =
        std::fs::File::options().write(true).create_new(true).mode(0o600).open(&early).map_err(failed)?;
    file.write_all(hex(&bytes).as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
    // A link, not a rename: it never takes the place of a key that is there.
    std::fs::hard_link(&early, &path).map_err(failed)?;
    std::fs::remove_file(&early).map_err(failed)?;
    std::fs::File::open(directory).and_then(|folder| folder.sync_all()).map_err(failed)?;
    Ok(AuditKey::new(&bytes))
}

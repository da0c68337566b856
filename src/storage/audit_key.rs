//! The secret of the audit trail: a file beside the database that only its owner can read.

use crate::domain::audit::AuditKey;
use crate::domain::hexadecimal::hex;
use crate::random::Random;
use crate::storage::error::StorageError;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// Name of the key's file in a data directory.
pub const KEY_FILE: &str = "audit.key";

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

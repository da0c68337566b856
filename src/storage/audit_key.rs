//! The secrets of the audit trail, a key a line: a file beside the database that only its owner can read, or one that somebody provides.

use crate::domain::audit::AuditKey;
use crate::domain::audit::key_ring::KeyRing;
use crate::domain::hexadecimal::hex;
use crate::random::Random;
use crate::storage::error::StorageError;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// Name of the file of keys in a data directory.
pub const KEY_FILE: &str = "audit.key";

/// What the trail is held to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// File with the keys, which must be there; the one in the data directory when `None`.
    pub file: Option<PathBuf>,
    /// Rows up to this one are taken as they are: their key is lost.
    pub after: i64,
}

impl Settings {
    /// Where the keys of the data in a directory are.
    pub fn path(&self, directory: &Path) -> PathBuf {
        self.file.clone().unwrap_or_else(|| directory.join(KEY_FILE))
    }

    /// The keys of the data in a directory; `None` when there are none yet.
    ///
    /// # Errors
    /// [`StorageError::File`] for a file that cannot be read, [`StorageError::AuditKey`] for one that was named and is not
    /// there, that others may read, or that holds no keys.
    pub fn keys(&self, directory: &Path) -> Result<Option<KeyRing>, StorageError> {
        let path = self.path(directory);
        let keys = read(&path)?;
        if keys.is_none() && self.file.is_some() {
            return Err(StorageError::AuditKey(format!(
                "the audit trail's key {} is not there",
                path.display()
            )));
        }
        // What a container or systemd mounts has rights of their choosing; only the world is kept out of it.
        let others = if self.file.is_some() { 0o007 } else { 0o077 };
        let mode = std::fs::metadata(&path).map_or(0, |about| about.mode() & 0o777);
        if mode & others == 0 {
            return Ok(keys);
        }
        let path = path.display();
        Err(StorageError::AuditKey(format!(
            "the audit trail's key {path}: others may read it (mode {mode:03o}); run `chmod 600 {path}`"
        )))
    }
}

/// Reads keys from a file; `None` when there is no such file.
///
/// # Errors
/// [`StorageError::File`] for a file that cannot be read, [`StorageError::AuditKey`] for one that holds no keys.
pub fn read(path: &Path) -> Result<Option<KeyRing>, StorageError> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(StorageError::File { path: path.display().to_string(), source }),
    };
    parsed(path, &text).map(Some)
}

fn parsed(path: &Path, text: &str) -> Result<KeyRing, StorageError> {
    let rule = "must hold keys of 64 hexadecimal digits, one in each line and none twice";
    KeyRing::parse(text).ok_or_else(|| StorageError::AuditKey(format!("{} {rule}", path.display())))
}

/// Makes a new key and keeps it in the data directory. One that is there stays.
///
/// # Errors
/// [`StorageError::File`], and [`StorageError::AuditKey`] when the machine gives no randomness.
pub fn create(directory: &Path, random: Random) -> Result<KeyRing, StorageError> {
    let (bytes, path) = (new_key(random)?, directory.join(KEY_FILE));
    let failed = |source| StorageError::File { path: path.display().to_string(), source };
    let early = written(directory, &hex(&bytes)).map_err(failed)?;
    // A link, not a rename: it never takes the place of a key that is there.
    std::fs::hard_link(&early, &path).map_err(failed)?;
    std::fs::remove_file(&early).map_err(failed)?;
    sync(directory).map_err(failed)?;
    Ok(AuditKey::new(&bytes).into())
}

/// Adds a new key to those in the data directory: the newest, which the trail goes on with when it is next opened. The
/// file is the old one or the new one whenever this stops.
///
/// # Errors
/// As [`create`], and [`StorageError::AuditKey`] when there is no file of keys there.
pub fn add(directory: &Path, random: Random) -> Result<KeyRing, StorageError> {
    let path = directory.join(KEY_FILE);
    let failed = |source| StorageError::File { path: path.display().to_string(), source };
    if read(&path)?.is_none() {
        return Err(StorageError::AuditKey(format!("{} is not there", path.display())));
    }
    let known = std::fs::read_to_string(&path).map_err(failed)?;
    let text = format!("{}\n{}\n", known.trim(), hex(&new_key(random)?));
    let keys = parsed(&path, &text)?;
    let early = written(directory, &text).map_err(failed)?;
    std::fs::rename(&early, &path).map_err(failed)?;
    sync(directory).map_err(failed)?;
    Ok(keys)
}

fn new_key(random: Random) -> Result<[u8; 32], StorageError> {
    random.bytes::<32>().map_err(|error| StorageError::AuditKey(error.to_string()))
}

/// Writes a private file that is on the disk and not yet in its place.
fn written(directory: &Path, text: &str) -> std::io::Result<PathBuf> {
    let early = directory.join(format!(".{KEY_FILE}"));
    match std::fs::remove_file(&early) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = std::fs::File::options().write(true).create_new(true).mode(0o600).open(&early)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all())?;
    Ok(early)
}

fn sync(directory: &Path) -> std::io::Result<()> {
    std::fs::File::open(directory).and_then(|folder| folder.sync_all())
}

//! That the database is there, is the one that was left there, and stays so while it is in use.
//!
//! A data directory that has had data holds a marker file. Beside it, or beside a write-ahead log, a database that is
//! gone or empty is a loss and not a beginning: it is refused, and never made anew.

use crate::storage::database::{DATABASE_FILE, Location};
use crate::storage::error::StorageError;
use crate::storage::refusal::Halt;
use std::fs;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Duration;

/// Name of the marker file in a data directory: it names the databases that have held data.
pub const MARKER: &str = "artifact.data";
/// How a SQLite file begins.
const MAGIC: &[u8; 16] = b"SQLite format 3\0";
/// Time between two looks.
const LOOK: Duration = Duration::from_secs(1);

/// What to do about lost or damaged data.
pub fn remedy(directory: &Path) -> String {
    format!(
        "stop the service and put a backup in its place: artifact backup restore latest --data {}",
        directory.display()
    )
}

/// An error of opening the data, with what to do about damage.
pub(super) fn advised(error: StorageError, directory: &Path) -> StorageError {
    if let StorageError::Damaged(what) = &error
        && !what.contains("artifact backup restore")
    {
        return StorageError::Damaged(format!("{what}; {}", remedy(directory)));
    }
    error
}

/// The line of the marker that stands for a place.
fn line(location: &Location) -> String {
    match location {
        Location::Directory(_) => "sqlite".to_owned(),
        Location::Postgres { url, .. } => {
            // Without user and password.
            let rest = url.split_once("://").map_or(url.as_str(), |(_, rest)| rest);
            let rest = rest.split('?').next().unwrap_or_default();
            format!("postgres {}", rest.rsplit_once('@').map_or(rest, |(_, place)| place))
        }
    }
}

fn unusable(path: &Path) -> impl FnOnce(io::Error) -> StorageError {
    let path = path.display().to_string();
    move |source| StorageError::File { path, source }
}

fn marked(location: &Location) -> Result<bool, StorageError> {
    let path = location.directory().join(MARKER);
    match fs::read_to_string(&path) {
        Ok(text) => Ok(text.lines().any(|found| found == line(location))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(unusable(&path)(error)),
    }
}

/// Notes that a place holds data.
///
/// # Errors
/// [`StorageError::File`].
pub fn mark(location: &Location) -> Result<(), StorageError> {
    use std::io::Write as _;
    if marked(location)? {
        return Ok(());
    }
    let directory = location.directory();
    let path = directory.join(MARKER);
    let write = || {
        let mut file = fs::File::options().create(true).append(true).open(&path)?;
        writeln!(file, "{}", line(location))?;
        file.sync_all()?;
        fs::File::open(directory)?.sync_all()
    };
    write().map_err(unusable(&path))
}

/// Refuses a place that has had data and has none any more. `schema` is that of the data there.
///
/// # Errors
/// [`StorageError::Damaged`], with what to do.
pub fn refuse_loss(location: &Location, schema: Option<i64>) -> Result<(), StorageError> {
    if schema.is_some() {
        return Ok(());
    }
    let directory = location.directory();
    let lost = |what: String| Err(StorageError::Damaged(format!("{what}; {}", remedy(directory))));
    if let Location::Directory(_) = location {
        let log = directory.join(format!("{DATABASE_FILE}-wal"));
        if fs::metadata(&log).is_ok_and(|log| log.len() > 0) {
            let log = log.display();
            return lost(format!(
                "the database is gone or empty, and its write-ahead log {log} is still there"
            ));
        }
    }
    if marked(location)? {
        let marker = directory.join(MARKER);
        return lost(format!(
            "the database is gone or empty, and {} says that there was one (to begin anew, remove that file)",
            marker.display()
        ));
    }
    Ok(())
}

/// What a SQLite file looks like from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Look {
    inode: u64,
    length: u64,
}

/// Looks at a SQLite file; what is wrong with it if something is.
fn look(path: &Path, before: Option<Look>) -> Result<Look, String> {
    let mut file = fs::File::open(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let found = file.metadata().map_err(|error| format!("{}: {error}", path.display()))?;
    let now = Look { inode: found.ino(), length: found.len() };
    let says = |what: &str| Err(format!("{} {what}", path.display()));
    let mut magic = [0; 16];
    if now.length == 0 {
        return says("is empty");
    }
    if file.read_exact(&mut magic).is_err() || &magic != MAGIC {
        return says("is not a database any more");
    }
    match before {
        Some(before) if before.inode != now.inode => says("is another file than the one in use"),
        // A checkpoint makes it longer, and nothing makes it shorter.
        Some(before) if before.length > now.length => says("was cut off"),
        Some(_) | None => Ok(now),
    }
}

/// Looks at the file of a SQLite database again and again, until nobody holds `alive` any more; writes stop when it is
/// not what it was.
pub(super) async fn watch<T>(directory: PathBuf, halt: Arc<Halt>, alive: Weak<T>) {
    let mut before = None;
    while alive.strong_count() > 0 && halt.reason().is_none() {
        let path = directory.join(DATABASE_FILE);
        let looked = tokio::task::spawn_blocking(move || look(&path, before)).await;
        match looked {
            Ok(Ok(now)) => before = Some(now),
            // It may be gone because everything is: a test's folder, or a service that has ended.
            Ok(Err(what)) if alive.strong_count() > 0 => {
                halt.damaged(&format!("the database is damaged: {what}"));
            }
            Ok(Err(_)) => {}
            Err(error) => tracing::error!(%error, "the database's file was not looked at"),
        }
        tokio::time::sleep(LOOK).await;
    }
}

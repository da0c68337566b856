//! The file of anchors beside the database: lines are added at its end, each on disk before the next.

use crate::domain::audit::anchor::{Anchor, Anchors, seal_of};
use crate::domain::audit::key_ring::KeyRing;
use crate::domain::audit::{Link, START};
use crate::storage::error::StorageError;
use std::fs::File;
use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Name of the file in a data directory.
pub const ANCHORS_FILE: &str = "audit.anchors";
/// No line is longer; what is read to find the last one.
const TAIL: u64 = 16 * 1024;

/// The file of anchors of one data directory.
#[derive(Debug)]
pub struct AnchorFile {
    path: PathBuf,
    /// The seal of its last line and where that ends, as this process left it. Whoever holds it is the one who writes.
    left: Mutex<Option<(Link, u64)>>,
}

impl AnchorFile {
    /// The file in a data directory, which need not be there yet.
    pub fn under(directory: &Path) -> Self {
        Self { path: directory.join(ANCHORS_FILE), left: Mutex::new(None) }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn failed(&self, source: std::io::Error) -> StorageError {
        StorageError::File { path: self.path.display().to_string(), source }
    }

    /// Reads it, line by line; `None` when it is not there. A last line that was not written to its end does not count.
    ///
    /// # Errors
    /// [`StorageError::File`].
    pub fn read(&self, keys: &KeyRing) -> Result<Option<Anchors>, StorageError> {
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.failed(error)),
        };
        let (mut reader, mut anchors, mut line) = (BufReader::new(file), Anchors::default(), Vec::new());
        loop {
            line.clear();
            let length = reader.by_ref().take(TAIL).read_until(b'\n', &mut line);
            if length.map_err(|error| self.failed(error))? == 0 {
                return Ok(Some(anchors));
            }
            let whole = line.pop_if(|last| *last == b'\n').is_some();
            if whole || u64::try_from(line.len()).unwrap_or(u64::MAX) == TAIL {
                anchors.take(keys, &String::from_utf8_lossy(&line));
            }
        }
    }

    fn open(&self) -> Result<File, StorageError> {
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        options.open(&self.path).map_err(|error| self.failed(error))
    }

    /// Adds an anchor and returns once it is on disk.
    ///
    /// # Errors
    /// [`StorageError::File`], also when it is not as this process left it.
    pub fn append(&self, keys: &KeyRing, anchor: &Anchor) -> Result<(), StorageError> {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        self.hold(*left)?;
        let mut file = self.open()?;
        let (before, end) = end_of(&mut file).map_err(|error| self.failed(error))?;
        let (line, seal) = anchor.line(keys.newest(), &before);
        // Should it fail half way, the next attempt looks at what is there.
        *left = None;
        let end = self.put(&mut file, (line, end))?;
        *left = Some((seal, end));
        Ok(())
    }

    /// Looks whether it still ends as this process left it.
    ///
    /// # Errors
    /// [`StorageError::File`] when it was changed, cut or removed.
    pub fn look(&self) -> Result<(), StorageError> {
        self.hold(*self.left.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Goes on from what is there now, whatever it was: somebody has answered for it.
    pub fn take_as_it_is(&self) {
        *self.left.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn hold(&self, left: Option<(Link, u64)>) -> Result<(), StorageError> {
        let Some(left) = left else { return Ok(()) };
        let found = File::open(&self.path).and_then(|mut file| end_of(&mut file));
        match found {
            Ok(found) if found == left => Ok(()),
            Ok(_) => Err(self.failed(std::io::Error::other("it is not as the service left it"))),
            Err(error) => Err(self.failed(error)),
        }
    }

    /// The line that an anchor would be if it were added now.
    ///
    /// # Errors
    /// [`StorageError::File`].
    pub fn next_line(&self, keys: &KeyRing, anchor: &Anchor) -> Result<String, StorageError> {
        let before = match File::open(&self.path) {
            Ok(mut file) => end_of(&mut file).map_err(|error| self.failed(error))?.0,
            Err(error) if error.kind() == ErrorKind::NotFound => START,
            Err(error) => return Err(self.failed(error)),
        };
        Ok(anchor.line(keys.newest(), &before).0)
    }

    /// Adds a line of [`AnchorFile::next_line`]. One that stands at the end already is not added again.
    ///
    /// # Errors
    /// [`StorageError::File`].
    pub fn add_line(&self, line: &str) -> Result<(), StorageError> {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        *left = None;
        let mut file = self.open()?;
        let (before, end) = end_of(&mut file).map_err(|error| self.failed(error))?;
        if seal_of(line) == Some(before) {
            return Ok(());
        }
        self.put(&mut file, (line.to_owned(), end)).map(drop)
    }

    /// Writes a line after those that end at `end`, and brings it onto the disk; where it ends.
    fn put(&self, file: &mut File, (mut line, end): (String, u64)) -> Result<u64, StorageError> {
        line.push('\n');
        file.set_len(end)
            .and_then(|()| file.seek(SeekFrom::Start(end)))
            .and_then(|_| file.write_all(line.as_bytes()))
            .and_then(|()| file.sync_all())
            .map_err(|error| self.failed(error))?;
        if end == 0
            && let Some(folder) = self.path.parent()
        {
            File::open(folder).and_then(|folder| folder.sync_all()).map_err(|error| self.failed(error))?;
        }
        Ok(end + u64::try_from(line.len()).unwrap_or_default())
    }
}

/// The seal of the last whole line, and where it ends. What follows it was not written to its end.
fn end_of(file: &mut File) -> std::io::Result<(Link, u64)> {
    let length = file.metadata()?.len();
    let start = length.saturating_sub(TAIL);
    file.seek(SeekFrom::Start(start))?;
    let mut tail = Vec::new();
    file.read_to_end(&mut tail)?;
    let Some(end) = tail.iter().rposition(|byte| *byte == b'\n') else {
        return Ok((START, if start == 0 { 0 } else { length }));
    };
    let lines = tail.get(..end).unwrap_or_default();
    let line = lines.rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
    let seal = seal_of(&String::from_utf8_lossy(line)).unwrap_or(START);
    let end = start + u64::try_from(end).unwrap_or_default() + 1;
    Ok((seal, end))
}

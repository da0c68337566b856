//! Merging records into a file of records, line by line.

use super::{BUFFER, Kept, Key, Manifest, described, key_of};
use crate::domain::moment::Moment;
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io::{self, BufRead, BufWriter, Write as _};
use std::path::Path;
use uuid::Uuid;

/// The records of a file, one a line as they are written here, from first to last.
pub(super) struct OldRecords<R> {
    lines: R,
    last: Option<Key>,
    ended: bool,
}

impl<R: BufRead> OldRecords<R> {
    pub(super) const fn begin(lines: R) -> Self {
        Self { lines, last: None, ended: false }
    }

    /// The next record.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidData`] for a file that was not written here.
    fn next(&mut self) -> io::Result<Option<(Key, String)>> {
        let foreign = || io::Error::new(io::ErrorKind::InvalidData, "not written here");
        if self.ended {
            return Ok(None);
        }
        let mut line = String::new();
        self.lines.read_line(&mut line)?;
        if self.last.is_none() && line == "[\n" {
            line.clear();
            self.lines.read_line(&mut line)?;
        } else if self.last.is_none() {
            return Err(foreign());
        }
        if line == "]\n" {
            let mut rest = String::new();
            self.ended = true;
            return if self.lines.read_line(&mut rest)? == 0 { Ok(None) } else { Err(foreign()) };
        }
        let text = line.strip_suffix('\n').ok_or_else(foreign)?;
        let text = text.strip_suffix(',').unwrap_or(text);
        let key = key_of(text).map_err(|_| foreign())?;
        if self.last.as_ref().is_some_and(|last| *last >= key) {
            return Err(foreign());
        }
        self.last = Some(key.clone());
        Ok(Some((key, text.to_owned())))
    }
}

/// A file of records that is being written.
pub(super) struct Written {
    file: BufWriter<File>,
    hash: Sha256,
    count: u64,
    first: Option<Moment>,
    last: Option<Moment>,
}

impl Written {
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        let file = BufWriter::with_capacity(BUFFER, File::create(path)?);
        let mut written = Self { file, hash: Sha256::new(), count: 0, first: None, last: None };
        written.put("[")?;
        Ok(written)
    }

    fn put(&mut self, text: &str) -> io::Result<()> {
        self.hash.update(text);
        self.file.write_all(text.as_bytes())
    }

    fn add(&mut self, key: &Key, text: &str) -> io::Result<()> {
        self.put(if self.count == 0 { "\n" } else { ",\n" })?;
        self.put(text)?;
        self.count += 1;
        self.first = self.first.or(Some(key.0));
        self.last = Some(key.0);
        Ok(())
    }

    /// Adds the records of a file and new ones, in order; of two with one key the new one.
    pub(super) fn merge<R: BufRead>(mut self, old: Option<OldRecords<R>>, new: &Kept) -> io::Result<Self> {
        let mut new = new.iter().peekable();
        if let Some(mut old) = old {
            while let Some((key, text)) = old.next()? {
                while let Some((earlier, text)) = new.next_if(|(other, _)| **other < key) {
                    self.add(earlier, text)?;
                }
                if new.peek().is_none_or(|(other, _)| **other != key) {
                    self.add(&key, &text)?;
                }
            }
        }
        for (key, text) in new {
            self.add(key, text)?;
        }
        Ok(self)
    }

    /// Adds records, in order.
    pub(super) fn add_all(mut self, records: &Kept) -> io::Result<Self> {
        for (key, text) in records {
            self.add(key, text)?;
        }
        Ok(self)
    }

    /// Brings the file to the disk, and describes it.
    pub(super) fn end(mut self, source: &str, write_id: Uuid) -> io::Result<Manifest> {
        self.put("\n]\n")?;
        self.file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
        let stamp = |at: Option<Moment>| at.map(|at| at.to_string());
        let described = described(self.count, (stamp(self.first), stamp(self.last)), &self.hash.finalize());
        Ok(Manifest { source: source.to_owned(), write_id, ..described })
    }
}

//! The files of a source: what it delivered, beside the database, for whoever reads files.
//!
//! `<folder>/<source>/records.json` is a JSON array of objects in order of time, one a line; `manifest.json` describes it.
//! What is written is merged by key (moment, asset, interval), so that fetching one day never loses the others. Each
//! write goes in steps, and a crash between any two leaves a pair that [`manifest`] can tell apart and put right: both files
//! are written whole beside the old ones, `manifest.next.json` first, and take their places by renaming, the records
//! before their manifest. So a manifest that does not match its records is older than they are if the next one matches,
//! and the next one is a leftover if the manifest itself does.
//!
//! Records that neither describes are damaged: torn, or changed by hand. They are given out to nobody and nothing is merged
//! into them. Without a manifest written here they are another program's, and are taken as they are if they are a list of
//! records.

mod merging;

use crate::domain::decimal::Decimal;
use crate::domain::hexadecimal::hex;
use crate::domain::moment::Moment;
use crate::domain::price::{Bar, Quote};
use merging::{OldRecords, Written};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, BufReader, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use uuid::Uuid;

/// Folder of the sources, in the data directory.
pub const FOLDER: &str = "ingest";
/// Name of the file of records.
pub const RECORDS: &str = "records.json";
/// Name of the file that describes it.
pub const MANIFEST: &str = "manifest.json";
/// The description that is about to hold.
const NEXT: &str = "manifest.next.json";
/// Files that are not whole yet.
const RECORDS_PART: &str = ".records.part";
const MANIFEST_PART: &str = ".manifest.part";
/// Bytes of a file in memory at a time.
const BUFFER: usize = 64 << 10;
/// What the records are: changes when a reader has to change.
pub const SCHEMA: &str = "artifact.records/1";
/// Longest name of a source, in bytes.
const NAME_MAX: usize = 64;

/// One price of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The source's own stamp.
    pub observed_at: Moment,
    /// Symbol of the asset.
    pub symbol: String,
    /// Candle length; empty for a tick.
    pub interval: String,
    /// What it says.
    pub quote: Quote,
}

/// What a file of records holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Stamp of the last record, as the earlier service's readers look for it.
    pub last_ingest_timestamp: Option<String>,
    /// Name of the source.
    pub source: String,
    /// Records in the file.
    pub count: u64,
    /// Stamp of the first record.
    pub first: Option<String>,
    /// Stamp of the last record.
    pub last: Option<String>,
    /// SHA-256 of the file of records, in hex.
    pub sha256: String,
    /// [`SCHEMA`].
    pub schema: String,
    /// Version of the program that wrote it.
    pub writer_version: String,
    /// Of two writes, the one with the greater id is later (they are ordered by time).
    pub write_id: Uuid,
}

/// Why records cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum RecordsError {
    /// A name that is no name of a folder here.
    #[error(
        "a source whose records are kept has 1 to 64 letters, digits, `.`, `_` or `-`, and begins with a letter or digit"
    )]
    Name,
    /// Nobody wrote records of that source.
    #[error("no records of this source")]
    None,
    /// The file is there and is not an array of records with timestamps. It is left as it is.
    #[error("{} is not a list of records: {reason}; move it away", named(path))]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The file is there and is not what its manifest describes. It is left as it is.
    #[error(
        "{} is not what `{MANIFEST}` describes: it is damaged, or somebody changed it; move it away and import again, or \
         remove `{MANIFEST}` to have it taken as it is",
        named(path)
    )]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// The file system refuses.
    #[error("{}: {error}", named(path))]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

impl RecordsError {
    /// The file or folder it is about, for the log alone: what is said to callers names the source and the file.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Name | Self::None => None,
            Self::Unreadable { path, .. } | Self::Damaged { path } | Self::Io { path, .. } => Some(path),
        }
    }
}

/// A file or folder as callers may know it: by its source, and not by where it lies on this machine.
fn named(path: &Path) -> String {
    let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let is_file = [RECORDS, MANIFEST, NEXT, RECORDS_PART, MANIFEST_PART].contains(&name(path).as_str());
    if is_file {
        return format!("`{}` of the source `{}`", name(path), path.parent().map(name).unwrap_or_default());
    }
    if name(path) == FOLDER {
        return "the folder of records".to_owned();
    }
    format!("the folder of the source `{}`", name(path))
}

/// Moment, asset and candle length of a record.
type Key = (Moment, String, String);

/// Records as they stand in the file: by key their text, whose numbers are never read.
type Kept = BTreeMap<Key, String>;

/// The name of a source, if it may be a folder's.
///
/// # Errors
/// [`RecordsError::Name`].
pub fn checked_name(source: &str) -> Result<&str, RecordsError> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    let begins = source.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    (begins && source.len() <= NAME_MAX && source.bytes().all(plain))
        .then_some(source)
        .ok_or(RecordsError::Name)
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> RecordsError {
    let path = path.to_owned();
    move |error| RecordsError::Io { path, error }
}

/// What describes a file of records, but for its source and its write.
fn described(count: u64, (first, last): (Option<String>, Option<String>), hash: &[u8]) -> Manifest {
    Manifest {
        last_ingest_timestamp: last.clone(),
        source: String::new(),
        count,
        first,
        last,
        sha256: hex(hash),
        schema: SCHEMA.to_owned(),
        writer_version: env!("CARGO_PKG_VERSION").to_owned(),
        write_id: Uuid::nil(),
    }
}

/// A file to be read; `None` when there is no such file.
fn opened(path: &Path) -> Result<Option<File>, RecordsError> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(path)(error)),
    }
}

/// SHA-256 of what is left of a file, in hex.
fn hash_of(mut file: &File) -> io::Result<String> {
    let (mut hash, mut buffer) = (Sha256::new(), vec![0; BUFFER]);
    loop {
        let read = file.read(&mut buffer)?;
        match buffer.get(..read).filter(|part| !part.is_empty()) {
            Some(part) => hash.update(part),
            None => return Ok(hex(&hash.finalize())),
        }
    }
}

/// A file's bytes; `None` when there is no such file.
fn content(path: &Path) -> Result<Option<Vec<u8>>, RecordsError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(path)(error)),
    }
}

impl Record {
    fn key(&self) -> Key {
        (self.observed_at, self.symbol.clone(), self.interval.clone())
    }

    /// Its text. Prices are number tokens, digit by digit what they are here.
    fn text(&self) -> String {
        let Bar { open, high, low, volume } = self.quote.bar();
        let quoted = |text: &str| serde_json::Value::from(text).to_string();
        let mut text =
            format!("{{\"timestamp\":\"{}\",\"ticker\":{}", self.observed_at, quoted(&self.symbol));
        if !self.interval.is_empty() {
            text.push_str(",\"interval\":");
            text.push_str(&quoted(&self.interval));
        }
        let numbers: [(&str, Option<&Decimal>); 5] = [
            ("open", open.as_ref()),
            ("high", high.as_ref()),
            ("low", low.as_ref()),
            ("close", Some(&self.quote.price)),
            ("volume", volume.as_ref()),
        ];
        for (name, number) in numbers {
            if let Some(number) = number {
                // Writing to a string cannot fail.
                write!(text, ",\"{name}\":{number}").unwrap_or_default();
            }
        }
        text.push('}');
        text
    }
}

/// What a record of any writer says about where it belongs.
#[derive(Deserialize)]
struct Head {
    timestamp: serde_json::Value,
    ticker: Option<String>,
    symbol: Option<String>,
    series_id: Option<String>,
    interval: Option<String>,
}

/// A timestamp: a text with or without zone, which is then UTC, or seconds since 1970.
fn moment(timestamp: &serde_json::Value) -> Option<Moment> {
    match timestamp {
        serde_json::Value::String(text) => Moment::parse_utc_default(text).ok(),
        serde_json::Value::Number(number) => {
            let micros = Decimal::parse_input(&number.to_string()).ok()? * Decimal::from(1_000_000);
            let (mantissa, scale) = micros.normalized().small()?;
            (scale == 0).then_some(Moment(mantissa))
        }
        serde_json::Value::Null
        | serde_json::Value::Bool(_)
        | serde_json::Value::Array(_)
        | serde_json::Value::Object(_) => None,
    }
}

fn parse(path: &Path, bytes: &[u8]) -> Result<Kept, RecordsError> {
    let unreadable = |reason: String| RecordsError::Unreadable { path: path.to_owned(), reason };
    let rows: Vec<&RawValue> =
        serde_json::from_slice(bytes).map_err(|error| unreadable(error.to_string()))?;
    let mut kept = Kept::new();
    for (number, row) in (1..).zip(rows) {
        let key = key_of(row.get()).map_err(|reason| unreadable(format!("record {number}: {reason}")))?;
        kept.insert(key, one_line(row.get()));
    }
    Ok(kept)
}

/// The key of a record, or why it has none.
fn key_of(text: &str) -> Result<Key, String> {
    let head: Head = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let at = moment(&head.timestamp).ok_or("its timestamp is no moment")?;
    let name = head.ticker.or(head.symbol).or(head.series_id).unwrap_or_default();
    Ok((at, name, head.interval.unwrap_or_default()))
}

/// A record without breaks between its parts: inside a text JSON has none.
fn one_line(text: &str) -> String {
    if text.contains(['\n', '\r']) { text.replace(['\n', '\r'], " ") } else { text.to_owned() }
}

/// One step of a write.
type Step = fn(&Pending) -> Result<(), RecordsError>;

/// A write whose records are on disk beside those that hold: what describes them, and where both belong.
struct Pending {
    folder: PathBuf,
    described: Manifest,
}

impl Pending {
    /// Writes the records that are to hold into a file of their own: those there are, merged with new ones. Only the new
    /// ones are in memory, unless another program wrote the file.
    fn merged(folder: &Path, source: &str, new: &Kept, write_id: Uuid) -> Result<Self, RecordsError> {
        let path = folder.join(RECORDS);
        let old = match File::open(&path) {
            Ok(file) => Some(BufReader::with_capacity(BUFFER, file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(failed(&path)(error)),
        };
        let part = folder.join(RECORDS_PART);
        let written =
            Written::create(&part).and_then(|written| written.merge(old.map(OldRecords::begin), new));
        let written = match written {
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                // Not as it is written here: then it is read whole, and refused when it is no list of records.
                let mut kept = parse(&path, &content(&path)?.unwrap_or_default())?;
                kept.extend(new.iter().map(|(key, text)| (key.clone(), text.clone())));
                Written::create(&part).and_then(|written| written.add_all(&kept))
            }
            written => written,
        };
        let described = written.and_then(|written| written.end(source, write_id)).map_err(failed(&part))?;
        Ok(Self { folder: folder.to_owned(), described })
    }

    /// What is left of a write, in order. After each step, and before the first, the machine may stop.
    fn steps() -> [Step; 3] {
        [
            |write| write.describe(),
            |write| write.rename(RECORDS_PART, RECORDS),
            |write| write.rename(NEXT, MANIFEST),
        ]
    }

    /// Writes the manifest to the disk, and gives it its name when it is whole.
    fn describe(&self) -> Result<(), RecordsError> {
        let path = self.folder.join(MANIFEST_PART);
        let write = || {
            let mut file = File::create(&path)?;
            file.write_all(&serde_json::to_vec_pretty(&self.described)?)?;
            file.sync_all()
        };
        write().map_err(failed(&path))?;
        self.rename(MANIFEST_PART, NEXT)
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), RecordsError> {
        rename(&self.folder, from, to)
    }
}

fn rename(folder: &Path, from: &str, to: &str) -> Result<(), RecordsError> {
    fs::rename(folder.join(from), folder.join(to)).map_err(failed(&folder.join(to)))?;
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed(folder))
}

/// Merges records into the files of a source: of two with one key the new one stays. What the files hold now.
///
/// One process, and of it one thread, writes to a source at a time.
///
/// # Errors
/// [`RecordsError`]; then the files are as they were.
pub fn write(
    root: &Path,
    source: &str,
    records: &[Record],
    write_id: Uuid,
) -> Result<Manifest, RecordsError> {
    let folder = root.join(checked_name(source)?);
    if !folder.is_dir() {
        fs::create_dir_all(&folder).map_err(failed(&folder))?;
        File::open(root).and_then(|root| root.sync_all()).map_err(failed(root))?;
    }
    settle(&folder)?;
    if let Some(file) = opened(&folder.join(RECORDS))? {
        described_in(&folder, &file)?;
    }
    let new: Kept = records.iter().map(|record| (record.key(), record.text())).collect();
    let pending = Pending::merged(&folder, source, &new, write_id)?;
    for step in Pending::steps() {
        step(&pending)?;
    }
    Ok(pending.described)
}

/// Ends what a stopped write left, so that records and manifest belong together.
fn settle(folder: &Path) -> Result<(), RecordsError> {
    let Some(next) = content(&folder.join(NEXT))? else { return Ok(()) };
    let path = folder.join(RECORDS);
    let records = opened(&path)?.map(|file| hash_of(&file)).transpose().map_err(failed(&path))?;
    let described = serde_json::from_slice::<Manifest>(&next).ok();
    if described.is_some_and(|next| Some(next.sha256) == records) {
        return rename(folder, NEXT, MANIFEST);
    }
    // The records it describes never took their place.
    fs::remove_file(folder.join(NEXT)).map_err(failed(&folder.join(NEXT)))
}

/// The hash of the records of a source, and what describes them; nothing does when another program wrote them. The file is
/// read from where it stands.
///
/// # Errors
/// [`RecordsError::Damaged`] when a manifest was written here and describes other records.
fn described_in(folder: &Path, file: &File) -> Result<(String, Option<Manifest>), RecordsError> {
    let path = folder.join(RECORDS);
    let sha256 = hash_of(file).map_err(failed(&path))?;
    let read = |name: &str| -> Result<Option<Manifest>, RecordsError> {
        Ok(content(&folder.join(name))?.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
    };
    let (holds, next) = (read(MANIFEST)?, read(NEXT)?);
    // The next one alone describes records that never took their place: those there are another program's.
    let ours = holds.is_some();
    match [holds, next].into_iter().flatten().find(|described| described.sha256 == sha256) {
        Some(described) => Ok((sha256, Some(described))),
        None if ours => Err(RecordsError::Damaged { path }),
        None => Ok((sha256, None)),
    }
}

/// The records of a source, to be read, and what describes them. What is opened stays as it is, whoever writes meanwhile;
/// nobody may write while it is opened. What another program wrote is described anew, and its writer is then not known.
///
/// # Errors
/// [`RecordsError::None`] when there are none, [`RecordsError::Damaged`] or [`RecordsError::Unreadable`] when they are not
/// what they ought to be.
pub fn open(root: &Path, source: &str) -> Result<(File, Manifest), RecordsError> {
    let folder = root.join(checked_name(source)?);
    let path = folder.join(RECORDS);
    let mut file = opened(&path)?.ok_or(RecordsError::None)?;
    let (sha256, known) = described_in(&folder, &file)?;
    file.rewind().map_err(failed(&path))?;
    if let Some(known) = known {
        return Ok((file, known));
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).and_then(|_| file.rewind()).map_err(failed(&path))?;
    let kept = parse(&path, &bytes)?;
    let stamp = |key: Option<&Key>| key.map(|(at, _, _)| at.to_string());
    let span = (stamp(kept.keys().next()), stamp(kept.keys().next_back()));
    let described = described(u64::try_from(kept.len()).unwrap_or(u64::MAX), span, &[]);
    Ok((file, Manifest { sha256, source: source.to_owned(), ..described }))
}

/// What describes the records of a source, as [`open`] finds it.
///
/// # Errors
/// As [`open`].
pub fn manifest(root: &Path, source: &str) -> Result<Manifest, RecordsError> {
    open(root, source).map(|(_, described)| described)
}

/// Copies the files of a source into a folder of their own, as a pair that belongs together although somebody writes
/// meanwhile; what is damaged is copied as it is.
///
/// # Errors
/// The file system's.
pub fn copy(root: &Path, source: &str, aside: &Path) -> Result<(), RecordsError> {
    /// Copies tried before the files count as damaged: a write has another manifest for moments only.
    const TRIES: usize = 10;
    let (from, to) = (root.join(checked_name(source)?), aside.join(source));
    fs::create_dir_all(&to).map_err(failed(&to))?;
    for _ in 0..TRIES {
        for name in [RECORDS, MANIFEST, NEXT] {
            match fs::copy(from.join(name), to.join(name)) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    fs::remove_file(to.join(name)).unwrap_or_default();
                }
                Err(error) => return Err(failed(&from.join(name))(error)),
            }
        }
        settle(&to)?;
        match opened(&to.join(RECORDS))?.map(|file| described_in(&to, &file)).transpose() {
            Err(RecordsError::Damaged { .. }) => std::thread::sleep(Duration::from_millis(20)),
            copied => return copied.map(|_| ()),
        }
    }
    Ok(())
}

/// Names of the sources that have records, in order.
///
/// # Errors
/// [`RecordsError::Io`].
pub fn sources(root: &Path) -> Result<Vec<String>, RecordsError> {
    let entries = match fs::read_dir(root) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(root)(error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry.map_err(failed(root))?.file_name();
        let with_records = |name: &&str| root.join(name).join(RECORDS).is_file();
        names.extend(
            name.to_str().filter(|name| checked_name(name).is_ok()).filter(with_records).map(str::to_owned),
        );
    }
    names.sort_unstable();
    Ok(names)
}

/// The files of every source of one data directory, written by one at a time.
#[derive(Debug)]
pub struct RecordFiles {
    root: PathBuf,
    turn: Arc<Mutex<()>>,
}

impl RecordFiles {
    /// Those under a data directory.
    pub fn under(directory: &Path) -> Self {
        Self { root: directory.join(FOLDER), turn: Arc::default() }
    }

    /// As [`write()`], off the threads that answer.
    ///
    /// # Errors
    /// [`RecordsError`]; then the files are as they were.
    pub async fn write(
        &self,
        source: String,
        records: Vec<Record>,
        write_id: Uuid,
    ) -> Result<Manifest, RecordsError> {
        let turn = Arc::clone(&self.turn);
        self.aside(move |root| {
            let _turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
            write(root, &source, &records, write_id)
        })
        .await
    }

    /// As [`open()`]: the records alone.
    ///
    /// # Errors
    /// As [`open()`].
    pub async fn open(&self, source: String) -> Result<File, RecordsError> {
        let turn = Arc::clone(&self.turn);
        self.aside(move |root| {
            let _turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
            open(root, &source).map(|(file, _)| file)
        })
        .await
    }

    /// As [`manifest()`].
    ///
    /// # Errors
    /// As [`open()`].
    pub async fn manifest(&self, source: String) -> Result<Manifest, RecordsError> {
        let turn = Arc::clone(&self.turn);
        self.aside(move |root| {
            let _turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
            manifest(root, &source)
        })
        .await
    }

    /// As [`sources()`].
    ///
    /// # Errors
    /// [`RecordsError::Io`].
    pub async fn sources(&self) -> Result<Vec<String>, RecordsError> {
        self.aside(sources).await
    }

    async fn aside<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Path) -> Result<T, RecordsError> + Send + 'static,
    ) -> Result<T, RecordsError> {
        let root = self.root.clone();
        let failed_at = failed(&self.root);
        tokio::task::spawn_blocking(move || work(&root))
            .await
            .map_err(|error| failed_at(io::Error::other(error)))?
    }
}

#[cfg(test)]
mod tests;

//! The files of a source: what it delivered, beside the database, for whoever reads files.
//!
//! `<folder>/<source>/records.json` is a JSON array of objects in order of time, one a line; `manifest.json` describes it.
//! What is written is merged by key (moment, asset, interval), so that fetching one day never loses the others. Each
//! write goes in steps, and a crash between any two leaves a pair that [`read`] can tell apart and put right: both files
//! are written whole beside the old ones, `manifest.next.json` first, and take their places by renaming, the records
//! before their manifest. So a manifest that does not match its records is older than they are if the next one matches,
//! and the next one is a leftover if the manifest itself does.

use crate::domain::decimal::Decimal;
use crate::domain::moment::Moment;
use crate::domain::price::Quote;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use uuid::Uuid;

/// Folder of the sources, in the data directory.
pub const FOLDER: &str = "ingest";
/// Name of the file of records.
pub const RECORDS: &str = "records.json";
/// Name of the file that describes it.
pub const MANIFEST: &str = "manifest.json";
/// The description that is about to hold.
const NEXT: &str = "manifest.next.json";
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
    #[error("{} is not a list of records: {reason}; move it away", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The file system refuses.
    #[error("{}: {error}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

/// A record as it stands in the file: its key, and its text, whose numbers are never read.
type Kept = BTreeMap<(Moment, String, String), String>;

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

fn hash(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::with_capacity(64), |mut text, byte| {
        // Writing to a string cannot fail.
        write!(text, "{byte:02x}").unwrap_or_default();
        text
    })
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
    fn key(&self) -> (Moment, String, String) {
        (self.observed_at, self.symbol.clone(), self.interval.clone())
    }

    /// Its text. Prices are number tokens, digit by digit what they are here.
    fn text(&self) -> String {
        let Quote { price, open, high, low, volume } = &self.quote;
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
            ("close", Some(price)),
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
        let head: Head = serde_json::from_str(row.get())
            .map_err(|error| unreadable(format!("record {number}: {error}")))?;
        let at = moment(&head.timestamp)
            .ok_or_else(|| unreadable(format!("record {number}: its timestamp is no moment")))?;
        let name = head.ticker.or(head.symbol).or(head.series_id).unwrap_or_default();
        kept.insert((at, name, head.interval.unwrap_or_default()), row.get().to_owned());
    }
    Ok(kept)
}

/// One step of a write.
type Step = fn(&Pending) -> Result<(), RecordsError>;

/// A write that is prepared: what the two files will be.
struct Pending {
    folder: PathBuf,
    records: Vec<u8>,
    manifest: Vec<u8>,
    described: Manifest,
}

impl Pending {
    fn of(folder: &Path, source: &str, kept: &Kept, write_id: Uuid) -> Result<Self, RecordsError> {
        let mut records = String::from("[");
        for (number, text) in kept.values().enumerate() {
            records.push_str(if number == 0 { "\n" } else { ",\n" });
            records.push_str(text);
        }
        records.push_str("\n]\n");
        let stamp =
            |key: Option<(&(Moment, String, String), &String)>| key.map(|((at, _, _), _)| at.to_string());
        let (first, last) = (stamp(kept.first_key_value()), stamp(kept.last_key_value()));
        let described = Manifest {
            last_ingest_timestamp: last.clone(),
            source: source.to_owned(),
            count: u64::try_from(kept.len()).unwrap_or(u64::MAX),
            first,
            last,
            sha256: hash(records.as_bytes()),
            schema: SCHEMA.to_owned(),
            writer_version: env!("CARGO_PKG_VERSION").to_owned(),
            write_id,
        };
        let manifest = serde_json::to_vec_pretty(&described)
            .map_err(|error| failed(&folder.join(MANIFEST))(error.into()))?;
        Ok(Self { folder: folder.to_owned(), records: records.into_bytes(), manifest, described })
    }

    /// The steps of a write, in order. After each of them the machine may stop.
    fn steps() -> [Step; 4] {
        [
            |write| write.whole(".records.part", &write.records, None),
            |write| write.whole(".manifest.part", &write.manifest, Some(NEXT)),
            |write| write.rename(".records.part", RECORDS),
            |write| write.rename(NEXT, MANIFEST),
        ]
    }

    /// Writes a file of its own to the disk, and gives it a name when it is whole.
    fn whole(&self, part: &str, bytes: &[u8], name: Option<&str>) -> Result<(), RecordsError> {
        let path = self.folder.join(part);
        let write = || {
            let mut file = File::create(&path)?;
            file.write_all(bytes)?;
            file.sync_all()
        };
        write().map_err(failed(&path))?;
        name.map_or(Ok(()), |name| self.rename(part, name))
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
    let path = folder.join(RECORDS);
    let mut kept = match content(&path)? {
        Some(bytes) => parse(&path, &bytes)?,
        None => Kept::new(),
    };
    for record in records {
        kept.insert(record.key(), record.text());
    }
    let pending = Pending::of(&folder, source, &kept, write_id)?;
    for step in Pending::steps() {
        step(&pending)?;
    }
    Ok(pending.described)
}

/// Ends what a stopped write left, so that records and manifest belong together.
fn settle(folder: &Path) -> Result<(), RecordsError> {
    let Some(next) = content(&folder.join(NEXT))? else { return Ok(()) };
    let records = content(&folder.join(RECORDS))?.map(|bytes| hash(&bytes));
    let described = serde_json::from_slice::<Manifest>(&next).ok();
    if described.is_some_and(|next| Some(next.sha256) == records) {
        return rename(folder, NEXT, MANIFEST);
    }
    // The records it describes never took their place.
    fs::remove_file(folder.join(NEXT)).map_err(failed(&folder.join(NEXT)))
}

/// The files of a source: the bytes of its records, and what describes them. Where the manifest is not one of these
/// records, because another program wrote them, they are described anew; their writer is then not known.
///
/// # Errors
/// [`RecordsError::None`] when there are none.
pub fn read(root: &Path, source: &str) -> Result<(Vec<u8>, Manifest), RecordsError> {
    let folder = root.join(checked_name(source)?);
    let path = folder.join(RECORDS);
    let records = content(&path)?.ok_or(RecordsError::None)?;
    let sha256 = hash(&records);
    for name in [MANIFEST, NEXT] {
        let described =
            content(&folder.join(name))?.and_then(|bytes| serde_json::from_slice::<Manifest>(&bytes).ok());
        if let Some(described) = described.filter(|described| described.sha256 == sha256) {
            return Ok((records, described));
        }
    }
    let kept = parse(&path, &records)?;
    let described = Manifest { sha256, ..Pending::of(&folder, source, &kept, Uuid::nil())?.described };
    Ok((records, described))
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

    /// As [`read()`].
    ///
    /// # Errors
    /// [`RecordsError::None`] when there are none.
    pub async fn read(&self, source: String) -> Result<(Vec<u8>, Manifest), RecordsError> {
        let turn = Arc::clone(&self.turn);
        self.aside(move |root| {
            let _turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
            read(root, &source)
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

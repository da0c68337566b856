//! The archive: a tar of the manifest and the files it lists, compressed with zstd and sealed if there is a passphrase.
//!
//! Reading trusts nothing: names, lengths and hashes must be those of the manifest, which comes first.

use super::manifest::{FORMAT, FileSum, Manifest};
use super::sealed::{MAGIC, Opener, Passphrase, Salts, Sealer};
use crate::domain::hexadecimal::hex;
use crate::storage::audit_key::KEY_FILE;
use crate::workers::records::{self, RecordsError};
use crate::workers::server_secret::SECRET_FILE;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek as _, Write};
use std::path::{Component, Path, PathBuf};

/// Name of the manifest inside.
const MANIFEST: &str = "manifest.json";
/// Longest manifest: some million portfolios.
const MANIFEST_MAX: u64 = 256 * 1024 * 1024;
/// Bytes that go to the disk together.
const PIECE: usize = 2 << 20;
/// Effort of the compression.
const LEVEL: i32 = 3;

/// Why an archive cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// It holds something else than it should.
    #[error("the backup is damaged: {0}")]
    Damaged(String),
    /// It is encrypted and no passphrase is at hand.
    #[error("the backup is encrypted: give its passphrase")]
    Encrypted,
    /// It could not be read or written.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// A file to be put in, under its name inside.
#[derive(Debug, Clone)]
pub struct Member {
    /// Its name inside.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
}

/// Counts and hashes what passes.
struct Hashed<T> {
    inner: T,
    hash: Sha256,
    bytes: u64,
}

impl<T> Hashed<T> {
    fn of(inner: T) -> Self {
        Self { inner, hash: Sha256::new(), bytes: 0 }
    }

    fn note(&mut self, bytes: &[u8]) {
        self.hash.update(bytes);
        self.bytes += u64::try_from(bytes.len()).unwrap_or_default();
    }

    fn sum(self) -> FileSum {
        FileSum { bytes: self.bytes, sha256: hex(&self.hash.finalize()) }
    }
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.note(bytes.get(..count).unwrap_or_default());
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(into)?;
        self.note(into.get(..count).unwrap_or_default());
        Ok(count)
    }
}

/// Length and hash of a file.
///
/// # Errors
/// When it cannot be read.
pub fn file_sum(path: &Path) -> io::Result<FileSum> {
    let mut file = Hashed::of(File::open(path)?);
    io::copy(&mut file, &mut io::sink())?;
    Ok(file.sum())
}

/// A file that goes to the disk piece by piece as it is written. A commit of the database that has to wait for its own
/// flush waits behind one piece at most, and not behind a whole archive.
struct Paced {
    file: File,
    /// Bytes since the last piece went.
    waiting: usize,
}

impl Paced {
    const fn of(file: File) -> Self {
        Self { file, waiting: 0 }
    }
}

impl Write for Paced {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.write(bytes)?;
        self.waiting += count;
        if self.waiting >= PIECE {
            self.file.sync_data()?;
            self.waiting = 0;
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// The end of an archive: in clear, or sealed.
enum Outer<W: Write> {
    Plain(W),
    Sealed(Box<Sealer<W>>),
}

impl<W: Write> Write for Outer<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(inner) => inner.write(bytes),
            Self::Sealed(sealer) => sealer.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(inner) => inner.flush(),
            Self::Sealed(sealer) => sealer.flush(),
        }
    }
}

impl<W: Write> Outer<W> {
    fn finish(self) -> io::Result<W> {
        match self {
            Self::Plain(inner) => Ok(inner),
            Self::Sealed(sealer) => sealer.finish(),
        }
    }
}

/// Writes an archive to `path` and onto the disk; what it came to.
///
/// # Errors
/// [`ArchiveError::Io`]; a part of the file may then be there.
pub fn write(
    path: &Path,
    manifest: &Manifest,
    members: &[Member],
    sealing: Option<(&Passphrase, &Salts)>,
) -> Result<FileSum, ArchiveError> {
    let file = Hashed::of(BufWriter::with_capacity(1 << 20, Paced::of(private_file(path)?)));
    let outer = match sealing {
        Some((passphrase, salts)) => Outer::Sealed(Box::new(Sealer::begin(file, passphrase, salts)?)),
        None => Outer::Plain(file),
    };
    let mut compressed = zstd::Encoder::new(outer, LEVEL)?;
    compressed.include_checksum(true)?;
    let mut tar = tar::Builder::new(compressed);
    let text = serde_json::to_vec_pretty(manifest).map_err(io::Error::from)?;
    let length = u64::try_from(text.len()).unwrap_or_default();
    append(&mut tar, MANIFEST, length, text.as_slice())?;
    for member in members {
        let file = File::open(&member.path)?;
        let length = file.metadata()?.len();
        append(&mut tar, &member.name, length, file.take(length))?;
    }
    let outer = tar.into_inner()?.finish()?;
    let mut file = outer.finish()?;
    file.flush()?;
    file.inner.get_ref().file.sync_all()?;
    Ok(file.sum())
}

fn append(tar: &mut tar::Builder<impl Write>, name: &str, bytes: u64, from: impl Read) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes);
    header.set_mode(0o600);
    header.set_mtime(0);
    tar.append_data(&mut header, name, from)
}

/// A new file that only its owner reads; one that a stopped backup left is written over.
pub(super) fn private_file(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    File::options().create(true).truncate(true).write(true).mode(0o600).open(path)
}

/// Takes an archive apart into the folder `into`, and checks every file against the manifest.
///
/// # Errors
/// [`ArchiveError`]; files may then be left in `into`.
pub fn read(path: &Path, into: &Path, passphrase: Option<&Passphrase>) -> Result<Manifest, ArchiveError> {
    let mut file = BufReader::with_capacity(1 << 20, File::open(path)?);
    let mut magic = [0; MAGIC.len()];
    let sealed = file.read_exact(&mut magic).is_ok() && &magic == MAGIC;
    file.rewind()?;
    if !sealed {
        return unpack(file, into);
    }
    let passphrase = passphrase.ok_or(ArchiveError::Encrypted)?;
    let mut opener = Opener::begin(file, passphrase)?;
    let manifest = unpack(&mut opener, into)?;
    // What follows the archive must open too, or the file is not the one that was written.
    io::copy(&mut opener, &mut io::sink())?;
    Ok(manifest)
}

fn damaged(what: impl Into<String>) -> ArchiveError {
    ArchiveError::Damaged(what.into())
}

fn unpack(from: impl Read, into: &Path) -> Result<Manifest, ArchiveError> {
    let mut tar = tar::Archive::new(zstd::Decoder::new(from)?);
    let mut entries = tar.entries()?;
    let first = entries.next().ok_or_else(|| damaged("it is empty"))??;
    if first.path()?.to_str() != Some(MANIFEST) {
        return Err(damaged("its manifest does not come first"));
    }
    let mut text = Vec::new();
    first.take(MANIFEST_MAX).read_to_end(&mut text)?;
    let manifest: Manifest = serde_json::from_slice(&text)
        .map_err(|error| damaged(format!("its manifest cannot be read: {error}")))?;
    if manifest.format != FORMAT {
        return Err(damaged(format!("its format is {}, this version reads {FORMAT}", manifest.format)));
    }
    let contents = manifest.contents.as_ref().ok_or_else(|| damaged("its manifest lists nothing"))?;
    let mut missing: BTreeMap<&str, &FileSum> =
        contents.files.iter().map(|(name, sum)| (name.as_str(), sum)).collect();
    for entry in entries {
        let entry = entry?;
        let name = entry.path()?.to_str().unwrap_or_default().to_owned();
        let wanted =
            missing.remove(name.as_str()).ok_or_else(|| damaged(format!("`{name}` is not expected")))?;
        let to = into.join(inside(&name)?);
        if let Some(folder) = to.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let mut content = Hashed::of(entry.take(wanted.bytes.saturating_add(1)));
        let mut file = private_file(&to)?;
        io::copy(&mut content, &mut file)?;
        file.sync_all()?;
        if content.sum() != *wanted {
            return Err(damaged(format!("`{name}` is not what was saved")));
        }
    }
    match missing.keys().next() {
        Some(name) => Err(damaged(format!("`{name}` is missing"))),
        None => Ok(manifest),
    }
}

/// The path a name inside stands for: below the folder it is unpacked to, whatever the name says.
fn inside(name: &str) -> Result<&Path, ArchiveError> {
    let path = Path::new(name);
    let plain = path.components().all(|part| matches!(part, Component::Normal(_)));
    if plain && !name.is_empty() {
        Ok(path)
    } else {
        Err(damaged(format!("`{name}` is no place for a file")))
    }
}

/// The files of records under `root`, as members of an archive. A copy in `aside` keeps them the same while the archive is
/// written.
///
/// # Errors
/// When they cannot be read.
pub fn record_files(root: &Path, aside: &Path) -> Result<Vec<Member>, ArchiveError> {
    let unreadable = |error: RecordsError| ArchiveError::Io(io::Error::other(error.to_string()));
    let mut members = Vec::new();
    for source in records::sources(root).map_err(unreadable)? {
        records::copy(root, &source, aside).map_err(unreadable)?;
        for file in [records::RECORDS, records::MANIFEST] {
            let path = aside.join(&source).join(file);
            if path.is_file() {
                members.push(Member { name: format!("ingest/{source}/{file}"), path });
            }
        }
    }
    Ok(members)
}

/// Folder of secrets inside an archive that is sealed.
pub const SECRETS: &str = "secrets";
/// The files beside the database without which its audit trail and its keys are worth nothing.
pub const SECRET_FILES: [&str; 2] = [KEY_FILE, SECRET_FILE];

/// Those of a data directory that are there; only a sealed archive takes them.
pub fn secret_files(directory: &Path) -> Vec<Member> {
    let there =
        SECRET_FILES.iter().map(|name| (name, directory.join(name))).filter(|(_, path)| path.is_file());
    there.map(|(name, path)| Member { name: format!("{SECRETS}/{name}"), path }).collect()
}

//! Backups: taking them beside a running service, keeping the right ones, and proving that they restore.
//!
//! A backup is one archive (the database as of one commit, and the record files) and a manifest beside it. A newcomer's
//! mistake is to believe a backup that was only written: [`Backups::verify`] restores it into a scratch place, holds its
//! audit trail to its chain, and computes every portfolio's figures anew.

pub mod archive;
pub mod drill;
pub mod figures;
pub mod kept;
pub mod manifest;
pub mod postgres;
pub mod restore;
pub mod schedule;
pub mod sealed;
pub mod target;
pub mod watch;

use crate::clock::Clock;
use crate::domain::audit::key_ring::KeyRing;
use crate::domain::moment::Moment;
use crate::random::{NoRandomness, Random};
use crate::storage::database::{DATABASE_FILE, Database, Location, Tx};
use crate::storage::error::{StorageError, with_causes};
use crate::storage::snapshot::{self, Facts, Snapshot};
use crate::storage::{audit_key, migrate};
use crate::telemetry::{self as names, recorder};
use crate::workers::records;
use archive::{ArchiveError, Member};
use drill::{Drilled, Proof};
use kept::{Kept, Mark};
use manifest::{ArchiveFile, AuditEnd, Contents, Engine, FORMAT, FileSum, Manifest, PnlSums, Reason};
use postgres::Programs;
use schedule::{Keep, Schedule};
use sealed::{Passphrase, Salts};
use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use target::{Target, aside, private_folder};
use uuid::Uuid;

/// Folder of backups in a data directory, unless another place is named.
pub const FOLDER: &str = "backups";
/// How the folders begin in which copies are made and taken apart.
const WORK: &str = ".backup-";

/// Why a backup cannot be taken, read or restored.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// Another one is being taken or verified.
    #[error("another backup is under way")]
    Busy,
    /// There is no such backup.
    #[error("no backup {0}")]
    NotFound(String),
    /// Of several with this beginning.
    #[error("{0} names more than one backup; give more of it")]
    Ambiguous(String),
    /// It was made by a newer version.
    #[error("the backup has schema {found}, newer than the {known} this binary knows; use the newer binary")]
    NewerSchema {
        /// Schema of the backup.
        found: i64,
        /// Newest schema of this binary.
        known: i64,
    },
    /// The backup is of the other database engine.
    #[error("the backup is of {backup}, and the data is on {data}")]
    OtherEngine {
        /// Engine of the backup.
        backup: Engine,
        /// Engine of the data.
        data: Engine,
    },
    /// Its manifest does not say what is in it.
    #[error("the manifest does not say what is in the backup")]
    NoContents,
    /// The drill found that it cannot be relied on.
    #[error("the backup is not sound: {}", .0.join("; "))]
    Unsound(Vec<String>),
    /// The archive cannot be read or written.
    #[error("{0}")]
    Archive(#[from] ArchiveError),
    /// A program of PostgreSQL failed.
    #[error("{program}: {said}")]
    Program {
        /// Which.
        program: String,
        /// What it said.
        said: String,
    },
    /// The storage of backups cannot be used.
    #[error("{place}: {said}")]
    Target {
        /// Which.
        place: String,
        /// What it said.
        said: String,
    },
    /// The passphrase cannot be read.
    #[error("the passphrase cannot be used: {0}")]
    Passphrase(String),
    /// A file cannot be used.
    #[error("{}: {error}", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The database failed.
    #[error("{}", with_causes(.0))]
    Storage(#[from] StorageError),
    /// The machine has no randomness.
    #[error("{0}")]
    Random(#[from] NoRandomness),
}

/// Where the passphrase of new backups comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Secret {
    /// There is none: backups are not encrypted.
    None,
    /// The first line of a file, read each time.
    File(PathBuf),
    /// It was given to this process.
    Given(Passphrase),
}

impl Secret {
    /// The passphrase, if there is one.
    ///
    /// # Errors
    /// [`BackupError::Passphrase`]: where one is configured, no backup is written without it.
    pub fn passphrase(&self) -> Result<Option<Passphrase>, BackupError> {
        match self {
            Self::None => Ok(None),
            Self::Given(passphrase) => Ok(Some(passphrase.clone())),
            Self::File(path) => {
                let unusable = |why: String| BackupError::Passphrase(format!("{}: {why}", path.display()));
                let text = std::fs::read(path).map_err(|error| unusable(error.to_string()))?;
                Passphrase::of(&text).map(Some).ok_or_else(|| unusable("its first line is empty".to_owned()))
            }
        }
    }
}

/// How backups are taken.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where they are kept.
    pub target: Target,
    /// What they are encrypted with.
    pub secret: Secret,
    /// Whether one is taken before the schema of existing data changes.
    pub before_migration: bool,
    /// When one is taken while the service runs.
    pub schedule: Option<Schedule>,
    /// When the newest one is verified while the service runs.
    pub verify_schedule: Option<Schedule>,
    /// How many are kept.
    pub keep: Keep,
    /// What the audit trail is held to, in the data and in a copy.
    pub audit: audit_key::Settings,
    /// What programs of PostgreSQL are given.
    pub programs: Programs,
}

impl Settings {
    /// In a folder of the data directory, not encrypted, and when somebody asks.
    pub fn usual(directory: &Path) -> Self {
        Self {
            target: Target::Folder(directory.join(FOLDER)),
            secret: Secret::None,
            before_migration: true,
            schedule: None,
            verify_schedule: None,
            keep: Keep::default(),
            audit: audit_key::Settings::default(),
            programs: Programs::default(),
        }
    }
}

/// What is known of the last backup, for the health route and the metrics.
#[derive(Debug, Clone, Default)]
pub struct Status {
    /// When the newest one was taken.
    pub last_success_at: Option<Moment>,
    /// When one was last found sound.
    pub last_verified_at: Option<Moment>,
    /// Length of the newest archive.
    pub size_bytes: Option<u64>,
    /// Why the last attempt failed, until one succeeds.
    pub failure: Option<String>,
    /// Drills in a row that found a fault, since the start of this process.
    pub verify_failures: u64,
}

impl Status {
    /// Shows it to Prometheus; what is not known is not shown.
    fn measure(&self) {
        let moments = [
            (names::BACKUP_LAST_SUCCESS, self.last_success_at),
            (names::BACKUP_LAST_VERIFIED, self.last_verified_at),
        ];
        for (name, at) in moments {
            if let Some(micros) = at.and_then(|at| u64::try_from(at.0).ok()) {
                metrics::gauge!(name).set(Duration::from_micros(micros));
            }
        }
        if let Some(bytes) = self.size_bytes {
            metrics::gauge!(names::BACKUP_SIZE).set(recorder::value(bytes));
        }
    }
}

/// The backups of one data directory.
#[derive(Debug)]
pub struct Backups {
    location: Location,
    settings: Settings,
    /// One at a time.
    turn: tokio::sync::Mutex<()>,
    status: Mutex<Status>,
}

/// Time and randomness, and why.
#[derive(Debug, Clone, Copy)]
pub struct Occasion<'a> {
    /// Why the backup is taken.
    pub reason: Reason,
    /// The time.
    pub clock: &'a Clock,
    /// Randomness for its id and its salts.
    pub random: Random,
}

/// A folder of its own, gone when dropped. The process that works in it holds a lock on it: its number says nothing in a
/// container, where every process that serves has the same.
#[derive(Debug)]
struct Work(PathBuf, #[expect(dead_code, reason = "held until the folder is gone")] File);

/// Locks a folder until the file is closed; none when another process has it.
fn locked_folder(path: &Path) -> io::Result<Option<File>> {
    let folder = File::open(path)?;
    match folder.try_lock() {
        Ok(()) => Ok(Some(folder)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

impl Work {
    /// Makes one, and removes those nobody works in any more.
    fn begin(directory: &Path, id: Uuid) -> Result<Self, BackupError> {
        let failed = |error| BackupError::File { path: directory.to_owned(), error };
        private_folder(directory)?;
        for entry in std::fs::read_dir(directory).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let scratch = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(WORK));
            if scratch && let Some(_left) = locked_folder(&path).map_err(failed)? {
                std::fs::remove_dir_all(&path).map_err(failed)?;
            }
        }
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

/// A copy of the database on its way into an archive.
struct Copied {
    member: Member,
    facts: Facts,
    pnl: Option<PnlSums>,
}

impl Backups {
    /// Those of the data at `location`.
    pub fn new(location: Location, settings: Settings) -> Self {
        Self { location, settings, turn: tokio::sync::Mutex::new(()), status: Mutex::default() }
    }

    /// How they are taken.
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// What is known of the last one.
    pub fn status(&self) -> Status {
        self.locked().clone()
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, Status> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    const fn engine(&self) -> Engine {
        match &self.location {
            Location::Directory(_) => Engine::Sqlite,
            Location::Postgres { .. } => Engine::Postgres,
        }
    }

    /// Reads what was kept by earlier processes into the status.
    ///
    /// # Errors
    /// What the place of the backups says.
    pub async fn recall(&self) -> Result<(), BackupError> {
        let kept = self.list().await?;
        let mut status = self.locked();
        status.last_success_at = kept.last().map(|kept| kept.manifest.created_at);
        status.size_bytes = kept.last().map(|kept| kept.archive.bytes);
        let sound = kept.iter().filter(|kept| kept.sound == Some(true));
        status.last_verified_at = sound.filter_map(|kept| kept.verified_at).max();
        status.measure();
        Ok(())
    }

    /// Takes a backup of an open database, beside whoever reads and writes it.
    ///
    /// # Errors
    /// [`BackupError`]; then nothing was added.
    pub async fn create(&self, db: &Database, occasion: Occasion<'_>) -> Result<Kept, BackupError> {
        let _turn = self.turn.try_lock().map_err(|_| BackupError::Busy)?;
        let outcome = self.take(Some(db), occasion).await;
        let mut status = self.locked();
        match &outcome {
            Ok(kept) => {
                status.last_success_at = Some(kept.manifest.created_at);
                status.size_bytes = Some(kept.archive.bytes);
                status.failure = None;
                status.measure();
            }
            Err(error) => {
                status.failure = Some(error.to_string());
                metrics::counter!(names::BACKUP_FAILURES).increment(1);
            }
        }
        drop(status);
        outcome
    }

    /// Takes a backup of a database that is not open yet, because its schema is about to change. Its owner holds the lock.
    ///
    /// # Errors
    /// [`BackupError`]; then nothing was added.
    pub async fn create_before_migration(&self, clock: &Clock, random: Random) -> Result<Kept, BackupError> {
        self.take(None, Occasion { reason: Reason::BeforeMigration, clock, random }).await
    }

    async fn take(&self, db: Option<&Database>, occasion: Occasion<'_>) -> Result<Kept, BackupError> {
        let created_at = occasion.clock.now();
        let id = occasion.random.uuid_v7(created_at)?;
        let salts: Salts = occasion.random.bytes()?;
        let passphrase = self.settings.secret.passphrase()?;
        let directory = self.location.directory().to_owned();
        let work = Work::begin(&directory, id)?;
        let copied = self.copy(db, &work.0).await?;
        let draft = self.settings.target.draft(&work.0, &id.to_string())?;
        let mut manifest = Manifest {
            format: FORMAT.to_owned(),
            id,
            created_at,
            reason: occasion.reason,
            app_version: env!("CARGO_PKG_VERSION").to_owned(),
            engine: self.engine(),
            schema: copied.facts.schema,
            last_commit: copied.facts.last_commit,
            encrypted: passphrase.is_some(),
            contents: None,
            archive: None,
        };
        let audit = copied.facts.audit.map(AuditEnd::from);
        let contents = Contents { rows: copied.facts.rows, audit, pnl: copied.pnl, files: BTreeMap::new() };
        let (inner, folder) = (manifest.clone(), work.0.clone());
        let path = draft.clone();
        let (contents, sum) = aside(move || {
            let sealing = passphrase.as_ref().map(|passphrase| (passphrase, &salts));
            pack(&path, (inner, contents), copied.member, &directory, (&folder, sealing))
        })
        .await?;
        let stem = manifest.stem(&sum.sha256);
        let ending = if manifest.encrypted { ".tar.zst.enc" } else { ".tar.zst" };
        let archive = ArchiveFile { name: format!("{stem}{ending}"), bytes: sum.bytes, sha256: sum.sha256 };
        manifest.archive = Some(archive.clone());
        // Beside an encrypted archive nothing tells what is in it.
        manifest.contents = (!manifest.encrypted).then_some(contents);
        let text = serde_json::to_vec_pretty(&manifest).map_err(|error| ArchiveError::Io(error.into()))?;
        // The archive gets its name last: a manifest without an archive is no backup.
        self.settings.target.put(format!("{stem}.json"), text).await?;
        self.settings.target.take_in(draft, archive.name.clone()).await?;
        tracing::info!(backup.id = %id, backup.bytes = archive.bytes, "took backup {}", archive.name);
        if let Err(error) = self.prune().await {
            // The new one is there all the same.
            tracing::warn!(%error, "old backups were not removed");
        }
        Ok(Kept { manifest, archive, verified_at: None, sound: None })
    }

    /// Copies the database as of one commit into `work`, with what is needed to tell that a copy is whole.
    async fn copy(&self, db: Option<&Database>, work: &Path) -> Result<Copied, BackupError> {
        let name = drill::member(self.engine());
        let path = work.join(name);
        let member = Member { name: name.to_owned(), path: path.clone() };
        let (facts, pnl) = match (&self.location, db) {
            (Location::Directory(directory), _) => {
                snapshot::copy_sqlite(&directory.join(DATABASE_FILE), &path).await?;
                let copy = Snapshot::open_sqlite(&path).await?;
                let described = described(&mut copy.begin().await?).await;
                copy.close().await;
                described?
            }
            (Location::Postgres { url, .. }, Some(db)) => {
                dumped((url, &self.settings.programs), &mut db.read().await?, path).await?
            }
            (Location::Postgres { url, .. }, None) => {
                let there = Snapshot::open_postgres(url).await?;
                let outcome = dumped((url, &self.settings.programs), &mut there.begin().await?, path).await;
                there.close().await;
                outcome?
            }
        };
        Ok(Copied { member, facts, pnl })
    }

    /// Restores a backup into a scratch place and looks whether it is what was saved.
    ///
    /// # Errors
    /// [`BackupError::Unsound`] when it is not.
    pub async fn verify(
        &self,
        name: &str,
        with: &Secret,
        (clock, random): (&Clock, Random),
    ) -> Result<(Kept, Drilled), BackupError> {
        let _turn = self.turn.try_lock().map_err(|_| BackupError::Busy)?;
        let mut kept = self.find(name).await?;
        let work = Work::begin(self.location.directory(), random.uuid_v7(clock.now())?)?;
        let outcome = self.drill(&kept, &work.0, with).await;
        let faults = match &outcome {
            Ok(drilled) => drilled.faults.clone(),
            Err(
                BackupError::Archive(ArchiveError::Damaged(why))
                | BackupError::Storage(StorageError::Damaged(why) | StorageError::Corrupt(why)),
            ) => vec![why.clone()],
            // It could not be tried; that says nothing about the backup.
            Err(_) => return outcome.map(|drilled| (kept, drilled)),
        };
        let verified_at = clock.now();
        let mark = Mark { verified_at, faults: faults.clone() };
        let stem = kept.manifest.stem(&kept.archive.sha256);
        let text = serde_json::to_vec(&mark).map_err(|error| ArchiveError::Io(error.into()))?;
        self.settings.target.put(format!("{stem}.verified"), text).await?;
        (kept.verified_at, kept.sound) = (Some(verified_at), Some(faults.is_empty()));
        if faults.is_empty() {
            let mut status = self.locked();
            status.last_verified_at = Some(verified_at);
            status.verify_failures = 0;
            status.measure();
            drop(status);
            tracing::info!(backup.id = %kept.manifest.id, "verified backup {}", kept.archive.name);
            return outcome.map(|drilled| (kept, drilled));
        }
        self.locked().verify_failures += 1;
        metrics::counter!(names::BACKUP_VERIFY_FAILURES).increment(1);
        tracing::error!(backup.id = %kept.manifest.id, "backup {} is not sound: {}", kept.archive.name, faults.join("; "));
        Err(BackupError::Unsound(faults))
    }

    async fn drill(&self, kept: &Kept, work: &Path, with: &Secret) -> Result<Drilled, BackupError> {
        let manifest = self.unpack(kept, work, with).await?;
        self.drill_unpacked(&manifest, work).await
    }

    async fn drill_unpacked(&self, manifest: &Manifest, work: &Path) -> Result<Drilled, BackupError> {
        let file = work.join(drill::member(manifest.engine));
        let proof = Proof { keys: self.audit_keys(work)?, after: self.settings.audit.after };
        match manifest.engine {
            Engine::Sqlite => drill::sqlite(&file, manifest, &proof).await,
            Engine::Postgres => {
                postgres::drill((&self.location, &self.settings.programs), file, manifest, &proof).await
            }
        }
    }

    /// The audit trail's keys: those of the data, else those that a sealed archive brought into `work`.
    fn audit_keys(&self, work: &Path) -> Result<Option<KeyRing>, StorageError> {
        match self.settings.audit.keys(self.location.directory())? {
            Some(keys) => Ok(Some(keys)),
            None => audit_key::read(&work.join(archive::SECRETS).join(audit_key::KEY_FILE)),
        }
    }

    /// Takes the archive of a backup apart into `work`.
    async fn unpack(&self, kept: &Kept, work: &Path, with: &Secret) -> Result<Manifest, BackupError> {
        drill::refuse_newer(&kept.manifest)?;
        let passphrase = with.passphrase()?;
        let path = self.settings.target.fetch(&kept.archive.name, work).await?;
        let (outer, into) = (kept.clone(), work.to_owned());
        aside(move || {
            let sum =
                archive::file_sum(&path).map_err(|error| BackupError::File { path: path.clone(), error })?;
            let ArchiveFile { bytes, sha256, .. } = &outer.archive;
            if sum.bytes != *bytes || sum.sha256 != *sha256 {
                return Err(ArchiveError::Damaged(
                    "the archive is not the one its manifest names".to_owned(),
                )
                .into());
            }
            let manifest = archive::read(&path, &into, passphrase.as_ref())?;
            let same = manifest.id == outer.manifest.id && manifest.schema == outer.manifest.schema;
            if !same {
                return Err(
                    ArchiveError::Damaged("the manifests inside and beside it differ".to_owned()).into()
                );
            }
            Ok(manifest)
        })
        .await
    }
}

/// What a transaction sees: what it holds, and the figures in it if the schema is this version's.
async fn described(tx: &mut Tx) -> Result<(Facts, Option<PnlSums>), BackupError> {
    let facts = snapshot::facts(tx).await?;
    if facts.schema != migrate::newest() {
        return Ok((facts, None));
    }
    snapshot::prepare(tx).await?;
    let pnl = figures::check_sums(tx, facts.last_commit).await?;
    Ok((facts, Some(pnl)))
}

/// Dumps what a transaction of PostgreSQL sees, and describes it.
async fn dumped(
    from: (&str, &Programs),
    tx: &mut Tx,
    to: PathBuf,
) -> Result<(Facts, Option<PnlSums>), BackupError> {
    let lent = snapshot::lent(tx).await?.unwrap_or_default();
    postgres::dump(from, lent, to).await?;
    described(tx).await
}

/// Puts a copy of the database and the record files into an archive; what is in it, and what the archive came to.
fn pack(
    path: &Path,
    (mut inner, mut contents): (Manifest, Contents),
    database: Member,
    directory: &Path,
    (work, sealing): (&Path, Option<(&Passphrase, &Salts)>),
) -> Result<(Contents, FileSum), BackupError> {
    let mut members = vec![database];
    let aside = work.join(records::FOLDER);
    members.extend(archive::record_files(&directory.join(records::FOLDER), &aside)?);
    if sealing.is_some() {
        members.extend(archive::secret_files(directory));
    }
    for member in &members {
        let failed = |error| BackupError::File { path: member.path.clone(), error };
        contents.files.insert(member.name.clone(), archive::file_sum(&member.path).map_err(failed)?);
    }
    inner.contents = Some(contents.clone());
    let sum = archive::write(path, &inner, &members, sealing)?;
    Ok((contents, sum))
}

#[cfg(test)]
mod tests;

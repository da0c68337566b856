//! Opening a database, and the two kinds of transaction: a read sees one snapshot, a write belongs to [`super::writer`].

use crate::clock::Clock;
use crate::domain::audit::AuditKey;
use crate::domain::ids::AssetKey;
use crate::domain::moment::Moment;
use crate::random::Random;
use crate::storage::audit::{self, Chain, Trail};
use crate::storage::audit_key;
use crate::storage::error::StorageError;
use crate::storage::figures::OpenPosition;
use crate::storage::listings::{Listing, Listings};
use crate::storage::migrate;
use crate::storage::newest::Newest;
use crate::storage::outbox::Outlet;
use crate::storage::pending::Pending;
use crate::storage::recall;
use crate::storage::series::{Series, Shelf};
use crate::storage::ticks::{Ticks, Touched};
use crate::storage::writer::{Stamp, Stamps, WriterHandle};
use crate::telemetry;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{Connection as _, PgConnection, Postgres, Sqlite, Transaction};
use std::collections::BTreeSet;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

/// Name of the database file in a data directory.
pub const DATABASE_FILE: &str = "artifact.db";
/// Name of the lock file in a data directory.
pub const LOCK_FILE: &str = "artifact.lock";
/// Readers beside the one writer.
const READERS: u32 = 4;
/// How long a second process waits for the first to let go, before it is refused.
const LOCK_WAIT: Duration = Duration::from_secs(3);
/// Advisory lock of the one process that may use a PostgreSQL database: "artifact" in ASCII.
const SESSION_LOCK: i64 = 0x6172_7469_6661_6374;

/// Where the data is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// A data directory with a SQLite file in it.
    Directory(PathBuf),
    /// A PostgreSQL database; the data directory still holds the lock file and the socket.
    Postgres {
        /// `postgres://...`
        url: String,
        /// The data directory.
        directory: PathBuf,
    },
}

impl Location {
    /// The data directory.
    pub fn directory(&self) -> &Path {
        match self {
            Self::Directory(directory) | Self::Postgres { directory, .. } => directory,
        }
    }
}

/// One connection inside a transaction, of either database.
pub(super) enum Link {
    Sqlite(Transaction<'static, Sqlite>),
    Postgres(Transaction<'static, Postgres>),
}

/// What every transaction of one database knows of the others, in memory.
#[derive(Debug, Clone)]
pub(super) struct Shared {
    pub(super) ticks: Arc<Ticks>,
    pub(super) newest: Arc<Newest>,
    /// Price series held in memory.
    pub(super) shelf: Arc<Shelf>,
    /// Where prices are posted on to.
    pub(super) outlet: Arc<Outlet>,
    pub(super) listings: Arc<Listings>,
    /// The audit trail's key and end.
    pub(super) chain: Arc<Chain>,
}

impl Shared {
    pub(super) fn new(key: AuditKey) -> Self {
        Self {
            ticks: Arc::default(),
            newest: Arc::default(),
            shelf: Arc::default(),
            outlet: Arc::default(),
            listings: Arc::default(),
            chain: Arc::new(Chain::new(key)),
        }
    }
}

/// A database transaction. One from [`Database::read`] sees one snapshot and cannot write.
pub struct Tx {
    pub(super) link: Link,
    pub(super) stamp: Option<Stamp>,
    /// What it has changed so far.
    pub(super) touched: Touched,
    /// Prices it has recorded so far.
    pub(super) pending: Pending,
    /// What it has told the audit trail so far.
    pub(super) trail: Trail,
    /// Assets that somebody told a price of, known before or not.
    pub(super) quoted: BTreeSet<AssetKey>,
    /// The newest prices, as of the last commit.
    pub(super) newest: Arc<Newest>,
    /// The last commit its snapshot has, once that was asked for.
    pub(super) snapshot: Option<Moment>,
    /// The tick before its snapshot.
    tick: u64,
    ticks: Arc<Ticks>,
    /// Price series held in memory.
    shelf: Arc<Shelf>,
    listings: Arc<Listings>,
}

impl std::fmt::Debug for Tx {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tx").field("stamp", &self.stamp).finish_non_exhaustive()
    }
}

/// Runs one statement on whichever database a transaction belongs to: `on!(tx, conn => query.execute(conn).await)`.
macro_rules! on {
    ($tx:expr, $conn:ident => $body:expr) => {
        match &mut $tx.link {
            $crate::storage::database::Link::Sqlite(open) => {
                let $conn = &mut **open;
                $body
            }
            $crate::storage::database::Link::Postgres(open) => {
                let $conn = &mut **open;
                $body
            }
        }
        .map_err($crate::storage::error::StorageError::from)
    };
}
pub(super) use on;

impl Tx {
    pub(super) fn new(link: Link, tick: u64, shared: &Shared) -> Self {
        Self {
            link,
            stamp: None,
            touched: Touched::default(),
            pending: Pending::default(),
            trail: Trail::default(),
            quoted: BTreeSet::new(),
            newest: Arc::clone(&shared.newest),
            snapshot: None,
            tick,
            ticks: Arc::clone(&shared.ticks),
            shelf: Arc::clone(&shared.shelf),
            listings: Arc::clone(&shared.listings),
        }
    }

    /// The tick before its snapshot: what it reads is at least as new.
    pub const fn tick(&self) -> u64 {
        self.tick
    }

    /// What has changed since which tick.
    pub fn ticks(&self) -> &Ticks {
        &self.ticks
    }

    /// The price series of an asset over a span, if it is held and the snapshot says the same.
    pub(super) fn held_series(&self, asset: AssetKey, span: (Moment, Moment)) -> Option<Arc<Series>> {
        let changed_at = self.ticks.changed_at(asset);
        let same = self.stamp.is_none() && changed_at <= self.tick;
        same.then(|| self.shelf.get(asset, span, changed_at)).flatten()
    }

    /// Holds the price series of an asset over a span, as this snapshot says it; a write holds none.
    pub(super) fn hold_series(&self, asset: AssetKey, span: (Moment, Moment), series: &Arc<Series>) {
        if self.stamp.is_none() {
            self.shelf.keep(asset, span, self.tick, series);
        }
    }

    /// The asset a name stands for, if that is held and this commit has not changed any.
    pub fn held_listing(&self, name: &str) -> Option<Arc<Listing>> {
        (!self.touched.changes_listings()).then(|| self.listings.asset(name)).flatten()
    }

    /// Holds the asset a name stands for, as this transaction reads it.
    pub fn hold_listing(&self, name: &str, listing: &Arc<Listing>) {
        if !self.touched.changes_listings() {
            self.listings.keep_asset(name, listing, self.tick);
        }
    }

    /// The open positions of an asset, if they are held and this commit has not changed any.
    pub fn held_positions(&self, asset: AssetKey) -> Option<Arc<[OpenPosition]>> {
        (!self.touched.changes_positions()).then(|| self.listings.positions(asset)).flatten()
    }

    /// Holds the open positions of an asset, as this transaction reads them.
    pub fn hold_positions(&self, asset: AssetKey, open: &Arc<[OpenPosition]>) {
        if !self.touched.changes_positions() {
            self.listings.keep_positions(asset, open, self.tick);
        }
    }

    /// The stamp of this commit.
    ///
    /// # Errors
    /// [`StorageError::NotCommitted`] in a read transaction, which has none.
    pub fn recorded_at(&self) -> Result<Moment, StorageError> {
        self.stamp.as_ref().map(|stamp| stamp.recorded_at).ok_or_else(not_a_write)
    }

    /// The next number of the one sequence that orders facts of one commit.
    ///
    /// # Errors
    /// [`StorageError::NotCommitted`] in a read transaction.
    pub fn next_seq(&mut self) -> Result<i64, StorageError> {
        let stamp = self.stamp.as_mut().ok_or_else(not_a_write)?;
        stamp.seq += 1;
        Ok(stamp.seq)
    }
}

fn not_a_write() -> StorageError {
    StorageError::NotCommitted("this is a read transaction".to_owned())
}

#[derive(Debug, Clone)]
enum Readers {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

/// Pool of the one connection that writes.
#[derive(Debug, Clone)]
pub(super) enum WriterPool {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

/// An open database: many readers, one writer, one process.
#[derive(Debug, Clone)]
pub struct Database {
    readers: Readers,
    writer: WriterHandle,
    stamps: Arc<Stamps>,
    shared: Shared,
    clock: Clock,
    _lock: Arc<Lock>,
}

/// What keeps other processes out while it lives.
#[derive(Debug)]
struct Lock {
    _file: File,
    _session: Option<tokio::sync::Mutex<PgConnection>>,
}

impl Database {
    /// Opens the database at `location`, taking the lock, and brings its schema up to date.
    ///
    /// # Errors
    /// [`StorageError::Locked`] when another process has it, [`StorageError::NewerSchema`] when a newer version
    /// wrote it, and whatever the driver says.
    pub async fn open(location: &Location, clock: Clock) -> Result<Self, StorageError> {
        Self::open_with(location, clock, None).await
    }

    /// The same with the key of the audit trail from elsewhere than the data directory.
    ///
    /// # Errors
    /// As [`Database::open`], and [`StorageError::AuditKey`] when the trail has rows and no key is there.
    pub async fn open_with(
        location: &Location,
        clock: Clock,
        audit_key: Option<AuditKey>,
    ) -> Result<Self, StorageError> {
        let file = lock_directory(location.directory()).await?;
        let (readers, pool, session) = match location {
            Location::Directory(directory) => {
                let (readers, writer) = open_sqlite(&directory.join(DATABASE_FILE)).await?;
                (Readers::Sqlite(readers), WriterPool::Sqlite(writer), None)
            }
            Location::Postgres { url, .. } => {
                let (pool, session) = open_postgres(url).await?;
                (
                    Readers::Postgres(pool.clone()),
                    WriterPool::Postgres(pool),
                    Some(tokio::sync::Mutex::new(session)),
                )
            }
        };
        let stamps = Arc::new(Stamps::new(clock.clone()));
        let key = match audit_key {
            Some(key) => key,
            None => own_key(location.directory(), &pool).await?,
        };
        let shared = Shared::new(key);
        let writer = WriterHandle::start(pool, Arc::clone(&stamps), shared.clone()).await?;
        let lock = Arc::new(Lock { _file: file, _session: session });
        let opened = Self { readers, writer, stamps, shared, clock, _lock: lock };
        recall::recall(&mut opened.read().await?).await?;
        Ok(opened)
    }

    /// The key of the audit trail.
    pub fn audit_key(&self) -> &AuditKey {
        self.shared.chain.key()
    }

    /// The newest prices, as of the last commit.
    pub fn newest(&self) -> &Newest {
        &self.shared.newest
    }

    /// The asset a name stands for, as of the last commit, if that is held.
    pub fn held_listing(&self, name: &str) -> Option<Arc<Listing>> {
        self.shared.listings.asset(name)
    }

    /// Opens a snapshot for reading; it is taken by the first query.
    ///
    /// # Errors
    /// [`StorageError::Busy`] when every reader is taken for too long.
    pub async fn read(&self) -> Result<Tx, StorageError> {
        let tick = self.shared.ticks.now();
        let began = self.clock.elapsed();
        let link = match &self.readers {
            Readers::Sqlite(pool) => Link::Sqlite(pool.begin().await?),
            Readers::Postgres(pool) => {
                Link::Postgres(pool.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?)
            }
        };
        metrics::histogram!(telemetry::DB_WAIT_SECONDS).record(self.clock.elapsed().saturating_sub(began));
        Ok(Tx::new(link, tick, &self.shared))
    }

    /// The writer: the way in for every mutation.
    pub const fn writer(&self) -> &WriterHandle {
        &self.writer
    }

    /// Whether the writer takes writes, and is not stuck in a commit for longer than `longest`.
    pub fn writer_lives(&self, longest: Duration) -> bool {
        self.writer.lives(&self.stamps, longest)
    }

    /// Whether the schema is the one this binary brings it to.
    ///
    /// # Errors
    /// Whatever the driver says.
    pub async fn is_migrated(&self) -> Result<bool, StorageError> {
        const SQL: &str = "SELECT MAX(version) FROM _sqlx_migrations WHERE success";
        let version: Option<i64> = match &self.readers {
            Readers::Sqlite(pool) => sqlx::query_scalar(SQL).fetch_one(pool).await?,
            Readers::Postgres(pool) => sqlx::query_scalar(SQL).fetch_one(pool).await?,
        };
        Ok(version == Some(migrate::newest()))
    }

    /// How many connections read, and how many of them wait for a read.
    pub(super) fn pool_sizes(&self) -> (u64, u64) {
        let (all, idle) = match &self.readers {
            Readers::Sqlite(pool) => (pool.size(), pool.num_idle()),
            Readers::Postgres(pool) => (pool.size(), pool.num_idle()),
        };
        (u64::from(all), u64::try_from(idle).unwrap_or_default())
    }

    /// What has changed since which tick.
    pub fn ticks(&self) -> &Ticks {
        &self.shared.ticks
    }

    /// Where prices are posted on to.
    pub fn outlet(&self) -> &Outlet {
        &self.shared.outlet
    }

    /// The stamps given out, and what `known_at` may ask for.
    pub fn stamps(&self) -> &Stamps {
        &self.stamps
    }

    /// Name and version of the database engine.
    ///
    /// # Errors
    /// Whatever the driver says.
    pub async fn engine(&self) -> Result<String, StorageError> {
        Ok(match &self.readers {
            Readers::Sqlite(pool) => {
                let version: String = sqlx::query_scalar("SELECT sqlite_version()").fetch_one(pool).await?;
                format!("SQLite {version}")
            }
            Readers::Postgres(pool) => {
                let version: String = sqlx::query_scalar("SHOW server_version").fetch_one(pool).await?;
                format!("PostgreSQL {version}")
            }
        })
    }

    /// Looks through the whole database for damage; an empty list means none was found.
    ///
    /// # Errors
    /// Whatever the driver says.
    pub async fn damage(&self) -> Result<Vec<String>, StorageError> {
        match &self.readers {
            Readers::Sqlite(pool) => {
                let mut found: Vec<String> = sqlx::query_scalar("PRAGMA quick_check").fetch_all(pool).await?;
                found.retain(|line| line != "ok");
                Ok(found)
            }
            Readers::Postgres(_) => Ok(Vec::new()),
        }
    }

    /// Waits for writes under way, then closes every connection.
    pub async fn close(&self) {
        self.writer.stop().await;
        match &self.readers {
            Readers::Sqlite(pool) => pool.close().await,
            Readers::Postgres(pool) => pool.close().await,
        }
    }
}

/// Version of the SQLite this binary carries.
///
/// # Errors
/// Whatever the driver says.
pub async fn sqlite_version() -> Result<String, StorageError> {
    let mut connection = sqlx::SqliteConnection::connect("sqlite::memory:").await?;
    Ok(sqlx::query_scalar("SELECT sqlite_version()").fetch_one(&mut connection).await?)
}

/// Takes the lock file of a data directory, waiting a moment for a process that is just ending.
async fn lock_directory(directory: &Path) -> Result<File, StorageError> {
    let path = directory.join(LOCK_FILE);
    let failed = |source| StorageError::File { path: path.display().to_string(), source };
    create_private_directory(directory).map_err(failed)?;
    let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(failed)?;
    let tries = 30;
    for _ in 0..tries {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => tokio::time::sleep(LOCK_WAIT / tries).await,
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
    }
    Err(StorageError::Locked(format!(
        "{} is in use by another artifact process; stop that one first, or use another --data directory",
        directory.display()
    )))
}

/// The audit trail's key in the data directory. It is made for a trail without rows; one that has rows needs its own.
async fn own_key(directory: &Path, pool: &WriterPool) -> Result<AuditKey, StorageError> {
    if let Some(key) = audit_key::read(&directory.join(audit_key::KEY_FILE))? {
        return Ok(key);
    }
    if audit::has_rows(pool).await? {
        return Err(StorageError::AuditKey(format!(
            "the audit trail has rows, but its key {} is not there; put it back, or see docs/AUDIT.md",
            directory.join(audit_key::KEY_FILE).display()
        )));
    }
    audit_key::create(directory, Random::System)
}

/// Creates a directory that only its owner can enter; one that exists keeps its rights.
fn create_private_directory(directory: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)
}

async fn open_sqlite(file: &Path) -> Result<(SqlitePool, SqlitePool), StorageError> {
    let options = SqliteConnectOptions::new()
        .filename(file)
        .create_if_missing(true)
        .page_size(8192)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(Duration::from_secs(5))
        // 64 MiB of WAL between checkpoints (decision 24); no mmap.
        .pragma("wal_autocheckpoint", "8192")
        .pragma("mmap_size", "0")
        .pragma("cache_size", "-65536");
    let writer = SqlitePoolOptions::new().max_connections(1).connect_with(options.clone()).await?;
    migrate::sqlite(&writer).await?;
    let readers = SqlitePoolOptions::new()
        .max_connections(READERS)
        // Blocks are read whole and seldom twice: readers do with a smaller cache than the writer.
        .connect_with(
            options.create_if_missing(false).pragma("query_only", "1").pragma("cache_size", "-16384"),
        )
        .await?;
    Ok((readers, writer))
}

async fn open_postgres(url: &str) -> Result<(PgPool, PgConnection), StorageError> {
    let options = PgConnectOptions::from_str(url)?.application_name("artifact");
    let mut session = PgConnection::connect_with(&options).await?;
    let tries = 30;
    for attempt in 0..tries {
        let taken: bool = sqlx::query_scalar("SELECT pg_try_advisory_lock($1)")
            .bind(SESSION_LOCK)
            .fetch_one(&mut session)
            .await?;
        if taken {
            break;
        }
        if attempt + 1 == tries {
            return Err(StorageError::Locked(
                "that PostgreSQL database is in use by another artifact process; stop that one first"
                    .to_owned(),
            ));
        }
        tokio::time::sleep(LOCK_WAIT / tries).await;
    }
    let pool = PgPoolOptions::new().max_connections(READERS + 2).connect_with(options).await?;
    migrate::postgres(&pool).await?;
    Ok((pool, session))
}

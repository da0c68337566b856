//! Opening a database, and the two kinds of transaction: a read sees one snapshot, a write belongs to [`super::writer`].

use crate::clock::Clock;
use crate::domain::audit::key_ring::KeyRing;
use crate::domain::ids::AssetKey;
use crate::domain::moment::Moment;
use crate::storage::audit::{Chain, Trail};
use crate::storage::error::StorageError;
use crate::storage::figures::OpenPosition;
use crate::storage::listings::{Listing, Listings};
use crate::storage::newest::Newest;
use crate::storage::opening::{
    Claim, is_large, look_through_meanwhile, open_postgres, open_sqlite, own_keys,
};
use crate::storage::outbox::Outlet;
use crate::storage::pending::Pending;
use crate::storage::refusal::{Guard, Halt};
use crate::storage::series::{Series, Shelf};
use crate::storage::ticks::{Ticks, Touched};
use crate::storage::writer::{Stamp, Stamps, WriterHandle};
use crate::storage::{audit_key, audit_rows, migrate, presence, recall};
use crate::telemetry;
use sqlx::postgres::PgPool;
use sqlx::sqlite::SqlitePool;
use sqlx::{Connection as _, Postgres, Sqlite, Transaction};
use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Name of the database file in a data directory.
pub const DATABASE_FILE: &str = "artifact.db";

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
    /// The audit trail's keys and end.
    pub(super) chain: Arc<Chain>,
    /// What damage stops; none where nothing is written.
    pub(super) halt: Option<Arc<Halt>>,
}

impl Shared {
    pub(super) fn new(keys: impl Into<KeyRing>, halt: Option<Arc<Halt>>) -> Self {
        Self {
            halt,
            ticks: Arc::default(),
            newest: Arc::default(),
            shelf: Arc::default(),
            outlet: Arc::default(),
            listings: Arc::default(),
            chain: Arc::new(Chain::new(keys.into())),
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
    halt: Option<Arc<Halt>>,
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
        .map_err(|error| $tx.met(error))
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
            halt: shared.halt.clone(),
            ticks: Arc::clone(&shared.ticks),
            shelf: Arc::clone(&shared.shelf),
            listings: Arc::clone(&shared.listings),
        }
    }

    /// What a statement met. Damage that somebody reads stops writes too: what was built on it would be worth nothing.
    pub(super) fn met(&self, error: impl Into<StorageError>) -> StorageError {
        let error = error.into();
        if let (StorageError::Damaged(what), Some(halt)) = (&error, &self.halt) {
            halt.damaged(what);
        }
        error
    }

    /// The stamp of the last commit that its snapshot has.
    ///
    /// # Errors
    /// The database's.
    pub async fn last_commit(&mut self) -> Result<Moment, StorageError> {
        recall::last_commit(self).await
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
        self.next_seqs(1)
    }

    /// The first of the next `count` numbers of that sequence.
    pub(super) fn next_seqs(&mut self, count: usize) -> Result<i64, StorageError> {
        let stamp = self.stamp.as_mut().ok_or_else(not_a_write)?;
        let first = stamp.seq + 1;
        stamp.seq += i64::try_from(count).map_err(|_| not_a_write())?;
        Ok(first)
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
    halt: Arc<Halt>,
    _lock: Arc<Lock>,
}

/// What keeps other processes out while it lives. Of PostgreSQL the writer's own session does so as well.
#[derive(Debug)]
struct Lock {
    _file: File,
}

impl Database {
    /// Opens the database at `location`, taking the lock, and brings its schema up to date.
    ///
    /// # Errors
    /// [`StorageError::Locked`] when another process has it, [`StorageError::NewerSchema`] when a newer version
    /// wrote it, and whatever the driver says.
    pub async fn open(location: &Location, clock: Clock) -> Result<Self, StorageError> {
        Self::open_claimed(Claim::take(location).await?, clock, &audit_key::Settings::default()).await
    }

    /// The same of a place that is claimed already, with an audit trail held as `audit` says.
    ///
    /// # Errors
    /// As [`Database::open`], and [`StorageError::AuditKey`] when the trail has rows and its key is not there.
    pub async fn open_claimed(
        claim: Claim,
        clock: Clock,
        audit: &audit_key::Settings,
    ) -> Result<Self, StorageError> {
        let directory = claim.location.directory().to_path_buf();
        Self::open_there(claim, clock, audit).await.map_err(|error| presence::advised(error, &directory))
    }

    async fn open_there(
        mut claim: Claim,
        clock: Clock,
        audit: &audit_key::Settings,
    ) -> Result<Self, StorageError> {
        let schema = claim.schema().await?;
        presence::refuse_loss(&claim.location, schema)?;
        let Claim { location, file, session } = claim;
        let (readers, pool) = match &location {
            Location::Directory(directory) => {
                let (readers, writer) = open_sqlite(directory).await?;
                (Readers::Sqlite(readers), WriterPool::Sqlite(writer))
            }
            Location::Postgres { url, .. } => {
                let (readers, writer) = open_postgres(url, session).await?;
                (Readers::Postgres(readers), WriterPool::Postgres(writer))
            }
        };
        presence::mark(&location)?;
        let stamps = Arc::new(Stamps::new(clock.clone()));
        let keys = own_keys(location.directory(), &pool, audit).await?;
        let directory = location.directory().to_path_buf();
        let halt = Arc::new(Halt::under(directory.clone()));
        let shared = Shared::new(keys, Some(Arc::clone(&halt)));
        let guard = Guard { halt: Arc::clone(&halt), directory: directory.clone() };
        let writer = WriterHandle::start(pool, Arc::clone(&stamps), shared.clone(), guard).await?;
        let lock = Arc::new(Lock { _file: file });
        if let Location::Directory(_) = location {
            if is_large(&directory) {
                tokio::spawn(look_through_meanwhile(directory.clone(), Arc::clone(&halt)));
            }
            tokio::spawn(presence::watch(directory, Arc::clone(&halt), Arc::downgrade(&lock)));
        }
        let opened = Self { readers, writer, stamps, shared, clock, halt, _lock: lock };
        let mut tx = opened.read().await?;
        recall::recall(&mut tx).await?;
        audit_rows::refuse_other_key(&mut tx, opened.audit_keys(), audit.after).await?;
        drop(tx);
        Ok(opened)
    }

    /// Why nothing is written any more, if that is so.
    pub fn halted(&self) -> Option<String> {
        self.halt.reason()
    }

    /// The keys of the audit trail.
    pub fn audit_keys(&self) -> &KeyRing {
        self.shared.chain.keys()
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

    /// The connections that read, of SQLite.
    pub(super) const fn sqlite_readers(&self) -> Option<&SqlitePool> {
        match &self.readers {
            Readers::Sqlite(pool) => Some(pool),
            Readers::Postgres(_) => None,
        }
    }

    /// Elapsed time, as the clock has it.
    pub(super) fn elapsed(&self) -> Duration {
        self.clock.elapsed()
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

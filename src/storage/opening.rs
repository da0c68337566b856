//! Taking a place for data, and the connections to it: one process at a time, and never a damaged database.

use crate::domain::audit::key_ring::KeyRing;
use crate::random::Random;
use crate::storage::anchor_file::ANCHORS_FILE;
use crate::storage::database::{DATABASE_FILE, Location, WriterPool};
use crate::storage::error::StorageError;
use crate::storage::refusal::Halt;
use crate::storage::{audit, audit_key, migrate, password_request, presence};
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions, PgSslMode};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    SqliteSynchronous,
};
use sqlx::{ConnectOptions as _, Connection as _, PgConnection};
use std::fs::{File, Permissions, TryLockError};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

/// Name of the lock file in a data directory.
pub const LOCK_FILE: &str = "artifact.lock";
/// Readers beside the one writer.
const READERS: u32 = 4;
/// How long a second process waits for the first to let go, before it is refused.
const LOCK_WAIT: Duration = Duration::from_secs(3);
/// Advisory lock of the one process that may use a PostgreSQL database: "artifact" in ASCII.
const SESSION_LOCK: i64 = 0x6172_7469_6661_6374;

/// A place for data that this process has to itself, before the database in it is opened.
#[derive(Debug)]
pub struct Claim {
    pub(super) location: Location,
    pub(super) file: File,
    pub(super) session: Option<PgConnection>,
}

impl Claim {
    /// Takes the locks of a place.
    ///
    /// # Errors
    /// [`StorageError::Locked`] when another process has it, and whatever the driver says.
    pub async fn take(location: &Location) -> Result<Self, StorageError> {
        let file = lock_directory(location.directory()).await?;
        let session = match location {
            Location::Directory(_) => None,
            Location::Postgres { url, .. } => Some(lock_postgres(url).await?),
        };
        Ok(Self { location: location.clone(), file, session })
    }

    /// The place.
    pub const fn location(&self) -> &Location {
        &self.location
    }

    /// Version of the schema of the data there; `None` where there is none yet.
    ///
    /// # Errors
    /// Whatever the driver says.
    pub async fn schema(&mut self) -> Result<Option<i64>, StorageError> {
        let found = match (&self.location, &mut self.session) {
            (Location::Directory(directory), _) => {
                migrate::sqlite_schema(&directory.join(DATABASE_FILE)).await
            }
            (Location::Postgres { .. }, Some(session)) => migrate::postgres_schema(session).await,
            (Location::Postgres { .. }, None) => Ok(None),
        };
        found.map_err(|error| presence::advised(error, self.location.directory()))
    }
}

/// Takes the lock file of a data directory, waiting a moment for a process that is just ending.
async fn lock_directory(directory: &Path) -> Result<File, StorageError> {
    let path = directory.join(LOCK_FILE);
    let failed = |source| StorageError::File { path: path.display().to_string(), source };
    create_private_directory(directory).map_err(failed)?;
    keep_from_others(directory);
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

/// The audit trail's keys. One is made for a trail without rows; one that has rows needs its own.
pub(super) async fn own_keys(
    directory: &Path,
    pool: &WriterPool,
    settings: &audit_key::Settings,
) -> Result<KeyRing, StorageError> {
    if let Some(keys) = settings.keys(directory)? {
        return Ok(keys);
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

/// What this program makes is made for its owner alone; what an earlier version made with the usual rights is made so now.
/// Of a secret that others may read, that is not enough: it is refused where it is read. A directory that others can enter is
/// left as it is, because it may hold what is theirs.
fn keep_from_others(directory: &Path) {
    let others = |path: &Path| std::fs::metadata(path).map_or(0, |found| found.permissions().mode() & 0o077);
    if others(directory) != 0 {
        tracing::warn!(
            "others can look into {}; chmod 700 is safer, what the program makes there is closed to them either way",
            directory.display()
        );
    }
    let [log, index] = ["-wal", "-shm"].map(|end| format!("{DATABASE_FILE}{end}"));
    for name in [DATABASE_FILE, &log, &index, LOCK_FILE, presence::MARKER, ANCHORS_FILE] {
        let path = directory.join(name);
        if others(&path) == 0 {
            continue;
        }
        if let Err(error) = std::fs::set_permissions(&path, Permissions::from_mode(0o600)) {
            tracing::warn!(%error, "others can read {}", path.display());
        }
    }
}

pub(super) async fn open_sqlite(directory: &Path) -> Result<(SqlitePool, SqlitePool), StorageError> {
    let options = SqliteConnectOptions::new()
        .filename(directory.join(DATABASE_FILE))
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
    // One connection, kept: where it has to be replaced, that is done at once.
    let kept = SqlitePoolOptions::new().max_connections(1).idle_timeout(None).max_lifetime(None);
    let writer = kept.connect_with(options.clone()).await?;
    refuse_damage(&writer, directory).await?;
    migrate::sqlite(&writer).await?;
    let readers = SqlitePoolOptions::new()
        .max_connections(READERS)
        // Blocks are read whole and seldom twice: readers do with a smaller cache than the writer.
        .connect_with(
            options
                .create_if_missing(false)
                // Rows come from a thread of their own: many at a time wake it less often.
                .row_buffer_size(256)
                .pragma("query_only", "1")
                .pragma("cache_size", "-16384"),
        )
        .await?;
    Ok((readers, writer))
}

/// Largest database that is looked through before it is used, at about a second per gigabyte or less; a larger one is
/// looked through while it is used.
const LOOKED_THROUGH: u64 = 1 << 30;

/// Whether a database is too large to be looked through before it is used.
pub(super) fn is_large(directory: &Path) -> bool {
    std::fs::metadata(directory.join(DATABASE_FILE)).is_ok_and(|file| file.len() > LOOKED_THROUGH)
}

/// Looks through a database before it is used.
async fn refuse_damage(pool: &SqlitePool, directory: &Path) -> Result<(), StorageError> {
    if is_large(directory) {
        tracing::info!(
            "the database is too large to be looked through before it is used: that is done meanwhile"
        );
        return Ok(());
    }
    look_through(&mut *pool.acquire().await?).await
}

/// Looks through a database.
///
/// # Errors
/// [`StorageError::Damaged`] with the first things that are wrong, and whatever the driver says.
async fn look_through(conn: &mut SqliteConnection) -> Result<(), StorageError> {
    let mut found: Vec<String> = sqlx::query_scalar("PRAGMA quick_check(5)").fetch_all(conn).await?;
    found.retain(|line| line != "ok");
    if found.is_empty() {
        return Ok(());
    }
    Err(StorageError::Damaged(format!("the database is damaged: {}", found.join("; "))))
}

/// Looks through a database in use, on a connection of its own, and stops writes when it is damaged.
pub(super) async fn look_through_meanwhile(directory: PathBuf, halt: Arc<Halt>) {
    let options = SqliteConnectOptions::new().filename(directory.join(DATABASE_FILE)).read_only(true);
    let looked = async {
        let mut conn = options.connect().await?;
        let looked = look_through(&mut conn).await;
        conn.close().await?;
        looked
    };
    match looked.await {
        Ok(()) => tracing::info!("the database was looked through: it is whole"),
        Err(StorageError::Damaged(what)) => halt.damaged(&what),
        Err(error) => {
            tracing::error!(%error, "the database could not be looked through; see `artifact doctor`");
        }
    }
}

/// The other side of a connection to PostgreSQL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// The host; `None` where it is a socket of this machine.
    pub host: Option<String>,
    /// Whether it is refused without a certificate that is its own. A mode that encrypts only when the server likes, or
    /// takes any certificate, is no better than none.
    pub verified: bool,
}

/// Whom a URL of PostgreSQL asks, read as the connection reads it: with what the environment says of PostgreSQL. `None` for
/// what is no URL.
pub fn postgres_peer(url: &str) -> Option<Peer> {
    let options = PgConnectOptions::from_str(url).ok()?;
    let over_a_socket = options.get_socket().is_some() || options.get_host().starts_with('/');
    let host = (!over_a_socket).then(|| options.get_host().to_owned());
    Some(Peer { host, verified: matches!(options.get_ssl_mode(), PgSslMode::VerifyFull) })
}

/// Refuses a server that takes passwords by MD5. Since version 16 it tells how this session came in; before, it tells what
/// passwords that are set now are kept as, and is listened to when it asks for one.
async fn refuse_md5(session: &mut PgConnection, options: &PgConnectOptions) -> Result<(), StorageError> {
    const TELLS: &str = "SELECT current_setting('server_version_num')::int >= 160000";
    const CAME_IN: &str = "SELECT COALESCE(system_user LIKE 'md5:%', FALSE)";
    const KEPT_AS: &str = "SELECT current_setting('password_encryption') = 'md5'";
    let tells: bool = sqlx::query_scalar(TELLS).fetch_one(&mut *session).await?;
    let mut md5: bool = sqlx::query_scalar(if tells { CAME_IN } else { KEPT_AS }).fetch_one(session).await?;
    if !tells && !md5 {
        let asked = password_request::is_by_md5(options).await;
        md5 = asked.map_err(|error| StorageError::PasswordRequest(error.to_string()))?;
    }
    if md5 { Err(StorageError::Md5) } else { Ok(()) }
}

/// Opens a session that holds the lock of a PostgreSQL database.
async fn lock_postgres(url: &str) -> Result<PgConnection, StorageError> {
    let options = PgConnectOptions::from_str(url)?.application_name("artifact");
    let mut session = PgConnection::connect_with(&options).await?;
    refuse_md5(&mut session, &options).await?;
    let tries = 30;
    for _ in 0..tries {
        let taken: bool = sqlx::query_scalar("SELECT pg_try_advisory_lock($1)")
            .bind(SESSION_LOCK)
            .fetch_one(&mut session)
            .await?;
        if taken {
            return Ok(session);
        }
        tokio::time::sleep(LOCK_WAIT / tries).await;
    }
    Err(StorageError::Locked(IN_USE.to_owned()))
}

/// Readers, and the writer: its one session holds the lock, so what it writes and the lock end together. A new session in
/// its place is only used once it has the lock.
pub(super) async fn open_postgres(
    url: &str,
    claim: Option<PgConnection>,
) -> Result<(PgPool, PgPool), StorageError> {
    let options = PgConnectOptions::from_str(url)?.application_name("artifact");
    if let Some(session) = claim {
        session.close().await?;
    }
    let locked = PgPoolOptions::new()
        .max_connections(1)
        .idle_timeout(None)
        .max_lifetime(None)
        .acquire_timeout(LOCK_WAIT)
        .after_connect(|session, _| {
            Box::pin(async move {
                let taken: bool = sqlx::query_scalar("SELECT pg_try_advisory_lock($1)")
                    .bind(SESSION_LOCK)
                    .fetch_one(session)
                    .await?;
                if taken {
                    Ok(())
                } else {
                    Err(sqlx::Error::Configuration("another process has the lock".into()))
                }
            })
        });
    let writer = match locked.connect_with(options.clone()).await {
        Ok(writer) => writer,
        Err(sqlx::Error::PoolTimedOut) => return Err(StorageError::Locked(IN_USE.to_owned())),
        Err(error) => return Err(error.into()),
    };
    migrate::postgres(&writer).await?;
    let readers = PgPoolOptions::new().max_connections(READERS + 2).connect_with(options).await?;
    Ok((readers, writer))
}

/// What a process is told that finds the lock of a PostgreSQL database taken.
const IN_USE: &str = "that PostgreSQL database is in use by another artifact process; stop that one first";

//! Bringing a database's schema up to date, and refusing one that a newer version wrote.

use crate::domain::moment::Moment;
use crate::storage::carry_over::carry_over;
use crate::storage::database::{Link, Tx};
use crate::storage::error::StorageError;
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{Connection as _, PgConnection, PgPool, SqliteConnection, SqlitePool};
use std::path::Path;

static SQLITE: Migrator = sqlx::migrate!("migrations/sqlite");
static POSTGRES: Migrator = sqlx::migrate!("migrations/postgres");

/// The newest schema this binary knows.
pub fn newest() -> i64 {
    SQLITE.iter().map(|migration| migration.version).max().unwrap_or_default()
}

fn refused(error: MigrateError) -> StorageError {
    if let MigrateError::VersionMissing(found) = error {
        return StorageError::NewerSchema { found, known: newest() };
    }
    StorageError::Migration(error)
}

/// Version of the schema of a SQLite file; `None` where there is no file, or no schema in it.
///
/// # Errors
/// The database's.
pub async fn sqlite_schema(file: &Path) -> Result<Option<i64>, StorageError> {
    const MADE: &str = "SELECT COUNT(*) FROM sqlite_schema WHERE name = '_sqlx_migrations'";
    // SQLite would take an empty file for a beginning, and remove the write-ahead log of what was there.
    if std::fs::metadata(file).map_or(0, |found| found.len()) == 0 {
        return Ok(None);
    }
    let options = SqliteConnectOptions::new().filename(file).read_only(true);
    let mut connection = SqliteConnection::connect_with(&options).await?;
    let made: i64 = sqlx::query_scalar(MADE).fetch_one(&mut connection).await?;
    let found = if made == 0 { None } else { sqlx::query_scalar(NEWEST).fetch_one(&mut connection).await? };
    connection.close().await?;
    Ok(found)
}

/// Version of the schema of a PostgreSQL database; `None` where there is none.
///
/// # Errors
/// The database's.
pub async fn postgres_schema(connection: &mut PgConnection) -> Result<Option<i64>, StorageError> {
    const MADE: &str = "SELECT to_regclass('_sqlx_migrations') IS NOT NULL";
    let made: bool = sqlx::query_scalar(MADE).fetch_one(&mut *connection).await?;
    if !made {
        return Ok(None);
    }
    Ok(sqlx::query_scalar(NEWEST).fetch_one(connection).await?)
}

/// The newest migration that was applied.
const NEWEST: &str = "SELECT MAX(version) FROM _sqlx_migrations";

/// The schema that has blocks of prices beside the rows they are made of.
const BLOCKS_BESIDE_ROWS: i64 = 9;
/// Whether the rows are still there.
const ROWS_LEFT: &str = "SELECT COUNT(version) FROM _sqlx_migrations WHERE version > $1";

/// When a database was made: when its first migration was applied, by the clock of the database.
///
/// # Errors
/// The database's.
pub async fn made_at(tx: &mut Tx) -> Result<Option<Moment>, StorageError> {
    const SQLITE: &str = "SELECT CAST(strftime('%s', MIN(installed_on)) AS INTEGER) FROM _sqlx_migrations";
    const POSTGRES: &str =
        "SELECT CAST(EXTRACT(EPOCH FROM MIN(installed_on)) AS BIGINT) FROM _sqlx_migrations";
    let seconds: Option<i64> = match &mut tx.link {
        Link::Sqlite(open) => sqlx::query_scalar(SQLITE).fetch_one(&mut **open).await?,
        Link::Postgres(open) => sqlx::query_scalar(POSTGRES).fetch_one(&mut **open).await?,
    };
    Ok(seconds.map(|seconds| Moment(seconds.saturating_mul(1_000_000))))
}

/// Migrates a SQLite database.
///
/// # Errors
/// [`StorageError::NewerSchema`], [`StorageError::Migration`], and those of carrying prices over.
pub async fn sqlite(pool: &SqlitePool) -> Result<(), StorageError> {
    SQLITE.run_to(BLOCKS_BESIDE_ROWS, pool).await.map_err(refused)?;
    let done: i64 = sqlx::query_scalar(ROWS_LEFT).bind(BLOCKS_BESIDE_ROWS).fetch_one(pool).await?;
    if done == 0 {
        while carry_over(Link::Sqlite(pool.begin_with("BEGIN IMMEDIATE").await?)).await? {}
    }
    SQLITE.run(pool).await.map_err(refused)
}

/// Whether precisely the migrations of this binary were applied to a PostgreSQL database, as they are here.
async fn is_up_to_date(pool: &PgPool) -> Result<bool, StorageError> {
    const APPLIED: &str = "SELECT version, checksum FROM _sqlx_migrations WHERE success ORDER BY version";
    let mut connection = pool.acquire().await?;
    if postgres_schema(&mut connection).await? != Some(newest()) {
        return Ok(false);
    }
    let applied: Vec<(i64, Vec<u8>)> = sqlx::query_as(APPLIED).fetch_all(&mut *connection).await?;
    let known = POSTGRES.iter().map(|migration| (migration.version, migration.checksum.as_ref()));
    Ok(applied.iter().map(|(version, checksum)| (*version, checksum.as_slice())).eq(known))
}

/// Migrates a PostgreSQL database. One that is up to date is read and nothing else: a role that serves need not be one that
/// may change the schema.
///
/// # Errors
/// [`StorageError::NewerSchema`], [`StorageError::Migration`], and those of carrying prices over.
pub async fn postgres(pool: &PgPool) -> Result<(), StorageError> {
    if is_up_to_date(pool).await? {
        return Ok(());
    }
    POSTGRES.run_to(BLOCKS_BESIDE_ROWS, pool).await.map_err(refused)?;
    let done: i64 = sqlx::query_scalar(ROWS_LEFT).bind(BLOCKS_BESIDE_ROWS).fetch_one(pool).await?;
    if done == 0 {
        while carry_over(Link::Postgres(pool.begin().await?)).await? {}
    }
    POSTGRES.run(pool).await.map_err(refused)
}

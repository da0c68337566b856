//! Bringing a database's schema up to date, and refusing one that a newer version wrote.

use crate::storage::carry_over::carry_over;
use crate::storage::database::Link;
use crate::storage::error::StorageError;
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::{PgPool, SqlitePool};

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

/// The schema that has blocks of prices beside the rows they are made of.
const BLOCKS_BESIDE_ROWS: i64 = 9;
/// Whether the rows are still there.
const ROWS_LEFT: &str = "SELECT COUNT(version) FROM _sqlx_migrations WHERE version > $1";

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

/// Migrates a PostgreSQL database.
///
/// # Errors
/// [`StorageError::NewerSchema`], [`StorageError::Migration`], and those of carrying prices over.
pub async fn postgres(pool: &PgPool) -> Result<(), StorageError> {
    POSTGRES.run_to(BLOCKS_BESIDE_ROWS, pool).await.map_err(refused)?;
    let done: i64 = sqlx::query_scalar(ROWS_LEFT).bind(BLOCKS_BESIDE_ROWS).fetch_one(pool).await?;
    if done == 0 {
        while carry_over(Link::Postgres(pool.begin().await?)).await? {}
    }
    POSTGRES.run(pool).await.map_err(refused)
}

//! Bringing a database's schema up to date, and refusing one that a newer version wrote.

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

/// Migrates a SQLite database.
///
/// # Errors
/// [`StorageError::NewerSchema`], [`StorageError::Migration`].
pub async fn sqlite(pool: &SqlitePool) -> Result<(), StorageError> {
    SQLITE.run(pool).await.map_err(refused)
}

/// Migrates a PostgreSQL database.
///
/// # Errors
/// [`StorageError::NewerSchema`], [`StorageError::Migration`].
pub async fn postgres(pool: &PgPool) -> Result<(), StorageError> {
    POSTGRES.run(pool).await.map_err(refused)
}

//! A copy of the whole database as of one moment, and reading such a copy where it lies: no lock, no writer.
//!
//! SQLite makes the copy itself (`VACUUM INTO`) on a connection of its own, in one read transaction that no writer waits
//! for; until it is done the write-ahead log grows and is not emptied. On PostgreSQL a transaction lends its snapshot to
//! `pg_dump`.

use crate::domain::audit::{AuditKey, Head};
use crate::domain::moment::Moment;
use crate::storage::database::{Link, Shared, Tx, on};
use crate::storage::error::StorageError;
use crate::storage::{audit, migrate, recall};
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, SqliteConnection};
use std::collections::BTreeMap;
use std::path::Path;
use std::str::FromStr as _;

/// What a database holds, so that a copy can be told to be whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Version of its schema.
    pub schema: i64,
    /// Stamp of the last commit it has.
    pub last_commit: Moment,
    /// Where its audit trail ends; `None` for a schema without one.
    pub audit: Option<Head>,
    /// Rows of each table.
    pub rows: BTreeMap<String, i64>,
}

/// Copies the SQLite database in `from` as it is now into a new file `to`, beside whoever writes to it. The copy is to be
/// read and thrown away: it is not flushed to the disk, which commits would have to wait for.
///
/// # Errors
/// The database's, also when `to` exists and is not empty.
pub async fn copy_sqlite(from: &Path, to: &Path) -> Result<(), StorageError> {
    let options = SqliteConnectOptions::new().filename(from).read_only(true).pragma("mmap_size", "0");
    let options = options.synchronous(SqliteSynchronous::Off);
    let mut connection = SqliteConnection::connect_with(&options).await?;
    let to = to.display().to_string();
    sqlx::query("VACUUM INTO $1").bind(to).execute(&mut connection).await?;
    connection.close().await?;
    Ok(())
}

/// Lends the snapshot of a read transaction to another session of PostgreSQL; `None` on SQLite.
///
/// # Errors
/// The database's.
pub async fn lent(tx: &mut Tx) -> Result<Option<String>, StorageError> {
    match &mut tx.link {
        Link::Sqlite(_) => Ok(None),
        Link::Postgres(open) => {
            Ok(Some(sqlx::query_scalar("SELECT pg_export_snapshot()").fetch_one(&mut **open).await?))
        }
    }
}

/// Reads into memory what reads of prices expect to find there, if nobody has yet.
///
/// # Errors
/// The database's, also of a schema that this version cannot read.
pub async fn prepare(tx: &mut Tx) -> Result<(), StorageError> {
    let unread = tx.newest.state().published == Moment::MIN;
    if unread { recall::recall(tx).await } else { Ok(()) }
}

/// What the database of a transaction holds.
///
/// # Errors
/// The database's.
pub async fn facts(tx: &mut Tx) -> Result<Facts, StorageError> {
    const SCHEMA: &str = "SELECT MAX(version) FROM _sqlx_migrations";
    const SQLITE: &str = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' \
        ESCAPE '\\' ORDER BY name";
    const POSTGRES: &str = "SELECT CAST(table_name AS TEXT) FROM information_schema.tables \
        WHERE table_schema = 'public' AND table_type = 'BASE TABLE' ORDER BY table_name";
    let schema: i64 = on!(tx, conn => sqlx::query_scalar(SCHEMA).fetch_one(conn).await)?;
    let last_commit = recall::last_commit(tx).await?;
    let tables: Vec<String> = match &mut tx.link {
        Link::Sqlite(open) => sqlx::query_scalar(SQLITE).fetch_all(&mut **open).await?,
        Link::Postgres(open) => sqlx::query_scalar(POSTGRES).fetch_all(&mut **open).await?,
    };
    let mut rows = BTreeMap::new();
    for table in tables {
        // The name comes from the catalogue of tables, which our own migrations made.
        let query = format!("SELECT COUNT(*) FROM \"{}\"", table.replace('"', "\"\""));
        let count: i64 = on!(tx, conn => sqlx::query_scalar(AssertSqlSafe(query)).fetch_one(conn).await)?;
        rows.insert(table, count);
    }
    let audit = if rows.contains_key("audit_rows") { Some(audit::head(tx).await?) } else { None };
    Ok(Facts { schema, last_commit, audit, rows })
}

#[derive(Debug, Clone)]
enum Pool {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

/// Readers make no links of the audit trail.
fn reader_key() -> AuditKey {
    AuditKey::new(&[0; 32])
}

/// A database that nobody writes to, opened for reading.
#[derive(Debug, Clone)]
pub struct Snapshot {
    pool: Pool,
    shared: Shared,
}

impl Snapshot {
    /// Opens a SQLite file that nobody else has open.
    ///
    /// # Errors
    /// The database's.
    pub async fn open_sqlite(file: &Path) -> Result<Self, StorageError> {
        let options = SqliteConnectOptions::new()
            .filename(file)
            .read_only(true)
            .immutable(true)
            .pragma("mmap_size", "0")
            .pragma("cache_size", "-16384");
        let pool = SqlitePoolOptions::new().max_connections(1).connect_with(options).await?;
        Ok(Self { pool: Pool::Sqlite(pool), shared: Shared::new(reader_key(), None) })
    }

    /// Opens a PostgreSQL database.
    ///
    /// # Errors
    /// The database's.
    pub async fn open_postgres(url: &str) -> Result<Self, StorageError> {
        let options = PgConnectOptions::from_str(url)?.application_name("artifact verify");
        let pool = PgPoolOptions::new().max_connections(1).connect_with(options).await?;
        Ok(Self { pool: Pool::Postgres(pool), shared: Shared::new(reader_key(), None) })
    }

    /// Opens a snapshot for reading, with what transactions expect to find in memory.
    ///
    /// # Errors
    /// The database's, also of a schema that this version cannot read.
    pub async fn read(&self) -> Result<Tx, StorageError> {
        let mut tx = self.begin().await?;
        prepare(&mut tx).await?;
        Ok(tx)
    }

    /// The same for [`facts`] alone, which any schema answers.
    ///
    /// # Errors
    /// The database's.
    pub async fn begin(&self) -> Result<Tx, StorageError> {
        let tick = self.shared.ticks.now();
        let link = match &self.pool {
            Pool::Sqlite(pool) => Link::Sqlite(pool.begin().await?),
            Pool::Postgres(pool) => {
                Link::Postgres(pool.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?)
            }
        };
        Ok(Tx::new(link, tick, &self.shared))
    }

    /// Looks through everything for damage and for rows that refer to nothing; an empty list means none was found.
    ///
    /// # Errors
    /// The database's.
    pub async fn faults(&self) -> Result<Vec<String>, StorageError> {
        let Pool::Sqlite(pool) = &self.pool else { return Ok(Vec::new()) };
        let mut found: Vec<String> = sqlx::query_scalar("PRAGMA integrity_check").fetch_all(pool).await?;
        found.retain(|line| line != "ok");
        let orphans: Vec<(String, Option<i64>, String, i64)> =
            sqlx::query_as("PRAGMA foreign_key_check").fetch_all(pool).await?;
        found.extend(orphans.into_iter().map(|(table, row, parent, _)| {
            let row = row.map_or_else(|| "a row".to_owned(), |row| format!("row {row}"));
            format!("{row} of {table} refers to nothing in {parent}")
        }));
        Ok(found)
    }

    /// Brings its schema up to this version's.
    ///
    /// # Errors
    /// As [`migrate::postgres`].
    pub async fn migrate(&self) -> Result<(), StorageError> {
        match &self.pool {
            // It is open for reading only: migrate_sqlite() does it before.
            Pool::Sqlite(_) => Ok(()),
            Pool::Postgres(pool) => migrate::postgres(pool).await,
        }
    }

    /// Ends every connection.
    pub async fn close(self) {
        match &self.pool {
            Pool::Sqlite(pool) => pool.close().await,
            Pool::Postgres(pool) => pool.close().await,
        }
    }
}

/// Brings a SQLite file that nobody else has open up to the schema of this version.
///
/// # Errors
/// As [`migrate::sqlite`].
pub async fn migrate_sqlite(file: &Path) -> Result<(), StorageError> {
    let options = SqliteConnectOptions::new().filename(file).foreign_keys(true);
    let pool = SqlitePoolOptions::new().max_connections(1).connect_with(options).await?;
    let outcome = migrate::sqlite(&pool).await;
    pool.close().await;
    outcome
}

/// Whether the user of `url` may make databases.
///
/// # Errors
/// The database's.
pub async fn may_make_scratch(url: &str) -> Result<bool, StorageError> {
    const MAY: &str = "SELECT rolcreatedb OR rolsuper FROM pg_roles WHERE rolname = current_user";
    let mut connection = PgConnection::connect_with(&PgConnectOptions::from_str(url)?).await?;
    let may: Option<bool> = sqlx::query_scalar(MAY).fetch_optional(&mut connection).await?;
    connection.close().await?;
    Ok(may.unwrap_or_default())
}

/// Makes an empty database beside that of `url`.
///
/// # Errors
/// The database's, also when its user may not make databases.
pub async fn make_scratch(url: &str, name: &str) -> Result<(), StorageError> {
    drop_scratch(url, name).await?;
    statement(url, format!("CREATE DATABASE {name} TEMPLATE template0")).await
}

/// Removes a database made by [`make_scratch`].
///
/// # Errors
/// The database's.
pub async fn drop_scratch(url: &str, name: &str) -> Result<(), StorageError> {
    statement(url, format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await
}

/// Runs a statement that no transaction may hold. Its text is made of names from this program only.
async fn statement(url: &str, text: String) -> Result<(), StorageError> {
    let mut connection = PgConnection::connect_with(&PgConnectOptions::from_str(url)?).await?;
    sqlx::raw_sql(AssertSqlSafe(text)).execute(&mut connection).await?;
    connection.close().await?;
    Ok(())
}

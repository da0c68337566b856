//! What can go wrong with the database, by kind.

use sqlx::error::ErrorKind;

/// A failure of the storage layer.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// A row with that key exists.
    #[error("a row with that key exists")]
    Conflict(#[source] sqlx::Error),
    /// A row it refers to does not exist.
    #[error("a row it refers to does not exist")]
    MissingReference(#[source] sqlx::Error),
    /// The database is busy or out of connections.
    #[error("the database is busy")]
    Busy(#[source] sqlx::Error),
    /// The disk is full.
    #[error("the disk is full")]
    Full(#[source] sqlx::Error),
    /// A stored value that this version cannot read.
    #[error("the database holds something unreadable: {0}")]
    Corrupt(String),
    /// Another process owns the data.
    #[error("{0}")]
    Locked(String),
    /// The database was written by a newer version.
    #[error(
        "the database has schema {found}, newer than the {known} this binary knows; use the newer binary"
    )]
    NewerSchema {
        /// Schema of the database.
        found: i64,
        /// Newest schema of this binary.
        known: i64,
    },
    /// A migration failed.
    #[error("migration failed")]
    Migration(#[source] sqlx::migrate::MigrateError),
    /// The writer has stopped, or the commit a write belonged to failed.
    #[error("the write was not committed: {0}")]
    NotCommitted(String),
    /// The write panicked, and was undone.
    #[error("the write panicked")]
    Panicked,
    /// The key of the audit trail is missing, or no key.
    #[error("{0}")]
    AuditKey(String),
    /// A write changed something and told the audit trail nothing: a mistake of the program.
    #[error("a write changed something without a row in the audit trail")]
    Unaudited,
    /// A file beside the database cannot be used.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: String,
        /// What is wrong.
        source: std::io::Error,
    },
    /// Anything else.
    #[error("the database failed")]
    Driver(#[source] sqlx::Error),
}

impl StorageError {
    /// Whether it is about the state the database is in, and not about what was to be written: the same write may
    /// succeed later.
    pub const fn may_pass(&self) -> bool {
        match self {
            Self::Busy(_) | Self::Full(_) | Self::NotCommitted(_) | Self::Locked(_) => true,
            Self::Conflict(_)
            | Self::MissingReference(_)
            | Self::Corrupt(_)
            | Self::NewerSchema { .. }
            | Self::Migration(_)
            | Self::Panicked
            | Self::AuditKey(_)
            | Self::Unaudited
            | Self::File { .. }
            | Self::Driver(_) => false,
        }
    }
}

impl From<sqlx::Error> for StorageError {
    fn from(error: sqlx::Error) -> Self {
        if let sqlx::Error::ColumnDecode { source, index } = &error {
            return Self::Corrupt(format!("{index}: {source}"));
        }
        let Some(database) = error.as_database_error() else {
            let busy = matches!(error, sqlx::Error::PoolTimedOut);
            return if busy { Self::Busy(error) } else { Self::Driver(error) };
        };
        match (database.kind(), database.code().as_deref()) {
            (ErrorKind::UniqueViolation, _) => Self::Conflict(error),
            (ErrorKind::ForeignKeyViolation, _) => Self::MissingReference(error),
            // SQLITE_FULL; PostgreSQL disk_full.
            (_, Some("13" | "53100")) => Self::Full(error),
            // SQLITE_BUSY, SQLITE_LOCKED; PostgreSQL too_many_connections.
            (_, Some("5" | "6" | "53300")) => Self::Busy(error),
            _ => Self::Driver(error),
        }
    }
}

//! What can go wrong with the database, by kind.

use sqlx::sqlite::SqliteError;

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
    /// The file system takes no writes.
    #[error("the database cannot be written to")]
    Unwritable(#[source] sqlx::Error),
    /// What was written could not be brought onto the disk.
    #[error("the disk did not keep what was written")]
    Unflushed(#[source] sqlx::Error),
    /// The database is not what was left there: it takes a restore.
    #[error("{0}")]
    Damaged(String),
    /// The commit a write belonged to failed because the disk is full or takes no writes; it is tried again.
    #[error("the write was not committed: {0}")]
    NoRoom(String, Shortage),
    /// Nothing is written any more until somebody has looked.
    #[error("writes are stopped: {0}")]
    Stopped(String),
    /// A stored value that this version cannot read.
    #[error("the database holds something unreadable: {0}")]
    Corrupt(String),
    /// Another process owns the data.
    #[error("{0}")]
    Locked(String),
    /// A server of PostgreSQL that takes passwords by a hash nobody should rely on.
    #[error(
        "PostgreSQL takes passwords by MD5: set password_encryption = 'scram-sha-256', set the role's password again, and \
         demand scram-sha-256 in pg_hba.conf"
    )]
    Md5,
    /// A server of PostgreSQL before version 16 did not say how it asks for a password.
    #[error(
        "how PostgreSQL asks for a password could not be learnt ({0}); from version 16 on it tells every session"
    )]
    PasswordRequest(String),
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
    /// The work panicked; if it was a write, it was undone.
    #[error("the work panicked")]
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
            Self::Busy(_)
            | Self::Full(_)
            | Self::Unwritable(_)
            | Self::Unflushed(_)
            | Self::Damaged(_)
            | Self::NoRoom(..)
            | Self::Stopped(_)
            | Self::NotCommitted(_)
            | Self::Locked(_) => true,
            Self::Conflict(_)
            | Self::MissingReference(_)
            | Self::Corrupt(_)
            | Self::Md5
            | Self::PasswordRequest(_)
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

/// An error with everything that caused it, in one line. A cause that an error tells itself is not told again.
pub fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let told = cause.to_string();
        if !text.ends_with(&told) {
            text.push_str(": ");
            text.push_str(&told);
        }
        source = cause.source();
    }
    text
}

/// What a disk lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shortage {
    /// Space.
    Space,
    /// The right, or the ability, to be written to.
    Access,
}

/// What a code of SQLite says about the disk. Codes carry the reason in their upper bytes.
fn of_sqlite(code: i32, error: sqlx::Error) -> StorageError {
    match (code & 0xff, code >> 8) {
        (13, _) => StorageError::Full(error),
        (5 | 6, _) => StorageError::Busy(error),
        // SQLITE_IOERR_FSYNC, SQLITE_IOERR_DIR_FSYNC.
        (10, 4 | 5) => StorageError::Unflushed(error),
        // SQLITE_READONLY, SQLITE_CANTOPEN; SQLITE_IOERR_WRITE, _TRUNCATE, _SHMOPEN, _SHMSIZE.
        (8 | 14, _) | (10, 3 | 6 | 18 | 19) => StorageError::Unwritable(error),
        // SQLITE_CORRUPT, SQLITE_NOTADB; SQLITE_IOERR_SHORT_READ, SQLITE_IOERR_CORRUPTFS.
        (11 | 26, _) | (10, 2 | 33) => StorageError::Damaged(format!("the database is damaged: {error}")),
        _ => StorageError::Driver(error),
    }
}

impl From<sqlx::Error> for StorageError {
    fn from(error: sqlx::Error) -> Self {
        if let sqlx::Error::ColumnDecode { source, index } = &error {
            return Self::Corrupt(format!("{index}: {source}"));
        }
        let Some(database) = error.as_database_error() else {
            // A connection that broke is replaced by the next that is asked for.
            let busy =
                matches!(error, sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::Io(_));
            return if busy { Self::Busy(error) } else { Self::Driver(error) };
        };
        if database.is_unique_violation() {
            return Self::Conflict(error);
        }
        if database.is_foreign_key_violation() {
            return Self::MissingReference(error);
        }
        let code = database.code().unwrap_or_default().into_owned();
        if database.try_downcast_ref::<SqliteError>().is_some() {
            return of_sqlite(code.parse().unwrap_or_default(), error);
        }
        match code.as_str() {
            // disk_full
            "53100" => Self::Full(error),
            // too_many_connections, cannot_connect_now, admin_shutdown, crash_shutdown
            "53300" | "57P03" | "57P01" | "57P02" => Self::Busy(error),
            // data_corrupted, index_corrupted
            "XX001" | "XX002" => Self::Damaged(format!("the database is damaged: {error}")),
            // read_only_sql_transaction
            "25006" => Self::Unwritable(error),
            _ => Self::Driver(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Error, ErrorKind};

    #[test]
    fn every_cause_is_told_once() {
        let source = || Error::new(ErrorKind::NotFound, "gone");
        let file = StorageError::File { path: "/a".to_owned(), source: source() };
        assert_eq!(with_causes(&file), "/a: gone");
        let driver = StorageError::Driver(sqlx::Error::Io(source()));
        let told = with_causes(&driver);
        assert!(told.starts_with("the database failed: ") && told.ends_with(": gone"), "{told}");
        assert_eq!(told.matches("gone").count(), 1, "{told}");
    }
}

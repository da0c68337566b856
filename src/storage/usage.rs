//! How much of what the database has is in use. Asked of the file system and the pools, never by SQL: it answers also
//! while the database does not.

use crate::storage::database::{DATABASE_FILE, Database};
use std::path::Path;

/// How much of what the database has is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Size of the SQLite file.
    pub database_bytes: Option<u64>,
    /// Size of its write-ahead log.
    pub wal_bytes: Option<u64>,
    /// The file system of the data directory.
    pub disk: Option<Disk>,
}

/// Room on a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disk {
    /// What is free to this user.
    pub free_bytes: u64,
    /// All there is.
    pub size_bytes: u64,
}

/// Connections that read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connections {
    /// Waiting for a read.
    pub idle: u64,
    /// Reading.
    pub used: u64,
}

/// Sizes of the files in a data directory. It asks the file system, so not on a thread that runs tasks.
pub fn of_directory(directory: &Path) -> Usage {
    let size = |name: &str| std::fs::metadata(directory.join(name)).ok().map(|file| file.len());
    let disk = rustix::fs::statvfs(directory).ok().map(|found| Disk {
        free_bytes: found.f_bavail.saturating_mul(found.f_frsize),
        size_bytes: found.f_blocks.saturating_mul(found.f_frsize),
    });
    Usage { database_bytes: size(DATABASE_FILE), wal_bytes: size(&format!("{DATABASE_FILE}-wal")), disk }
}

impl Database {
    /// Connections that read, as they are now.
    pub fn connections(&self) -> Connections {
        let (all, idle) = self.pool_sizes();
        Connections { idle, used: all.saturating_sub(idle) }
    }
}

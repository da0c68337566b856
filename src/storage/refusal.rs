//! What a commit that failed means: for those whose write it stopped, and for the writes after it.

use crate::storage::database::WriterPool;
use crate::storage::error::{Shortage, StorageError, with_causes};
use crate::storage::{presence, usage};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

/// Less room than this is none: SQLite writes whole pages.
const FULL: u64 = 256 * 1024;

/// Why a commit failed, for each of those whose write it stopped.
#[derive(Debug, Clone)]
pub(super) struct Refusal {
    reason: String,
    kind: RefusalKind,
}

#[derive(Debug, Clone, Copy)]
enum RefusalKind {
    NoRoom(Shortage),
    Stopped,
    Other,
}

impl From<Refusal> for StorageError {
    fn from(Refusal { reason, kind }: Refusal) -> Self {
        match kind {
            RefusalKind::NoRoom(shortage) => Self::NoRoom(reason, shortage),
            RefusalKind::Stopped => Self::Stopped(reason),
            RefusalKind::Other => Self::NotCommitted(reason),
        }
    }
}

/// Whether anything may be written, and if not, why not. Once writes are stopped, a restart begins anew.
#[derive(Debug)]
pub struct Halt {
    reason: Mutex<Option<String>>,
    /// The data directory.
    directory: PathBuf,
}

impl Halt {
    /// Of the data in a directory, where nothing is wrong yet.
    pub(super) const fn under(directory: PathBuf) -> Self {
        Self { reason: Mutex::new(None), directory }
    }

    /// Why nothing is written any more.
    pub fn reason(&self) -> Option<String> {
        self.reason.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Stops writes because of damage, whoever met it.
    pub(super) fn damaged(&self, what: &str) {
        self.stop(&format!("{what}; {}", presence::remedy(&self.directory)));
    }

    /// Stops writes. The first reason stays.
    pub(super) fn stop(&self, reason: &str) {
        let mut held = self.reason.lock().unwrap_or_else(PoisonError::into_inner);
        if held.is_none() {
            tracing::error!("writes are stopped: {reason}");
            *held = Some(reason.to_owned());
        }
    }
}

/// What the writer asks when a commit has failed.
#[derive(Debug)]
pub(super) struct Guard {
    /// Whether anything may be written.
    pub(super) halt: Arc<Halt>,
    /// The data directory.
    pub(super) directory: PathBuf,
}

impl Guard {
    /// Looks after the writer's connection, stops writes where that must be, and tells what to answer.
    pub(super) async fn refuse(&self, pool: &WriterPool, error: &StorageError) -> Refusal {
        if let StorageError::Stopped(reason) = error {
            return Refusal { reason: reason.clone(), kind: RefusalKind::Stopped };
        }
        let reason = with_causes(error);
        if let WriterPool::Sqlite(pool) = pool {
            // SQLite has ended the transaction itself where the disk failed, which the connection's owner does not know: it
            // would refuse to begin another for ever.
            match pool.acquire().await {
                Ok(connection) => drop(connection.close().await),
                Err(error) => tracing::error!(%error, "the writer's connection could not be replaced"),
            }
        }
        if let StorageError::Unflushed(_) = error {
            // The kernel has forgotten the pages it could not write; another flush would succeed and keep nothing.
            self.halt.stop("a flush to the disk failed; check the disk, then restart the service");
        }
        if let StorageError::Damaged(what) = error {
            self.halt.damaged(what);
        }
        let kind = if self.halt.reason().is_some() {
            RefusalKind::Stopped
        } else if matches!(error, StorageError::Full(_)) || self.is_full(pool).await {
            RefusalKind::NoRoom(Shortage::Space)
        } else if matches!(error, StorageError::Unwritable(_)) {
            RefusalKind::NoRoom(Shortage::Access)
        } else {
            RefusalKind::Other
        };
        Refusal { reason, kind }
    }

    /// Whether the disk SQLite writes to is full: where a statement of a write met that, the commit fails for another
    /// reason, since the transaction is gone.
    async fn is_full(&self, pool: &WriterPool) -> bool {
        let WriterPool::Sqlite(_) = pool else { return false };
        let directory = self.directory.clone();
        let usage = tokio::task::spawn_blocking(move || usage::of_directory(&directory)).await;
        usage.is_ok_and(|usage| usage.disk.is_some_and(|disk| disk.free_bytes < FULL))
    }
}

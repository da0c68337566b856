//! Whether the database takes a write, answers a read and has its schema, and whether there is room: looked at for
//! whoever asks, and at most once a second however many ask.
//!
//! A look is a commit and some reads, and anybody may ask without a credential. So those who ask at once wait for the
//! same look, and its findings hold for a second.

use crate::clock::Stopwatch;
use crate::storage::database::Database;
use crate::storage::error::StorageError;
use crate::storage::usage;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// Longest a check may take before it counts as failed: all are made at once, and an answer comes within a second.
pub const CHECK: Duration = Duration::from_millis(600);
/// How long after its beginning the findings of a look hold. Longer than a look takes.
pub const HOLDS: Duration = Duration::from_secs(1);

/// What was found. By default nothing: no check succeeded.
#[derive(Debug, Clone, Default)]
pub struct Found {
    /// The database took a write.
    pub write: bool,
    /// Engine and version, when the database answered.
    pub engine: Option<String>,
    /// The database has the schema of this version.
    pub migrated: bool,
    /// Free bytes on the file system of the data, when it answered.
    pub free_bytes: Option<u64>,
}

/// A look that has begun: when, and what it will have found.
type Begun = (Stopwatch, watch::Receiver<Option<Found>>);

/// The look that is shared.
#[derive(Debug, Default)]
pub struct Vitals {
    begun: Mutex<Option<Begun>>,
}

/// What a check found, unless it failed or took too long.
pub async fn within<T, E>(check: impl Future<Output = Result<T, E>>) -> Option<T> {
    tokio::time::timeout(CHECK, check).await.ok().and_then(Result::ok)
}

async fn look(db: &Database, directory: PathBuf) -> Found {
    let write = db.writer().housekeep(|_| Box::pin(async { Ok::<_, StorageError>(()) }));
    let room = tokio::task::spawn_blocking(move || usage::of_directory(&directory));
    let (write, engine, migrated, room) =
        tokio::join!(within(write), within(db.engine()), within(db.is_migrated()), within(room));
    Found {
        write: write.is_some(),
        engine,
        migrated: migrated == Some(true),
        free_bytes: room.and_then(|usage| usage.disk).map(|disk| disk.free_bytes),
    }
}

impl Vitals {
    /// What was found within the last second, or is being found now.
    pub async fn look(&self, db: &Database, directory: PathBuf) -> Found {
        let mut findings = self.begin(db, directory);
        // A look that panicked has found nothing to be well.
        findings.wait_for(Option::is_some).await.ok().and_then(|found| found.clone()).unwrap_or_default()
    }

    /// The look that holds; begins one if there is none. It is a task of its own: a caller that goes away leaves it to
    /// those who wait beside it.
    fn begin(&self, db: &Database, directory: PathBuf) -> watch::Receiver<Option<Found>> {
        let mut begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((since, findings)) = begun.as_ref()
            && since.elapsed() < HOLDS
        {
            return findings.clone();
        }
        let (tell, findings) = watch::channel(None);
        *begun = Some((Stopwatch::start(), findings.clone()));
        let db = db.clone();
        tokio::spawn(async move { tell.send_replace(Some(look(&db, directory).await)) });
        findings
    }
}

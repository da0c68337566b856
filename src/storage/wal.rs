//! Taking SQLite's write-ahead log up into the database, beside the commits: otherwise a commit has to do it once 64 MiB
//! wait (`wal_autocheckpoint`), and whoever waits for that commit waits for it too.
//!
//! It is passive: it waits for nobody and never cuts the log. What it leaves behind because somebody still reads is taken up
//! another time.

use crate::storage::database::Database;
use crate::storage::error::StorageError;
use crate::telemetry;

/// Pages of the log that wait before they are taken up: 16 MiB.
const ENOUGH: i64 = 2048;

/// What a look at the log tells: whether somebody was in the way, its pages, and how many of them were taken up.
type Looked = (i64, i64, i64);

impl Database {
    /// Takes the write-ahead log up when enough of it waits; whether it did. There is nothing to do on PostgreSQL.
    ///
    /// # Errors
    /// Whatever the driver says; then the pages still wait.
    pub async fn take_up_log(&self) -> Result<bool, StorageError> {
        let Some(pool) = self.sqlite_readers() else { return Ok(false) };
        let mut reader = pool.acquire().await?;
        let (_, pages, taken_up): Looked =
            sqlx::query_as("PRAGMA wal_checkpoint(NOOP)").fetch_one(&mut *reader).await?;
        if pages - taken_up < ENOUGH {
            return Ok(false);
        }
        let began = self.elapsed();
        let _looked: Looked =
            sqlx::query_as("PRAGMA wal_checkpoint(PASSIVE)").fetch_one(&mut *reader).await?;
        metrics::histogram!(telemetry::CHECKPOINT_SECONDS).record(self.elapsed().saturating_sub(began));
        Ok(true)
    }
}

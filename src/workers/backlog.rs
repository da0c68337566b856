//! What waits to be done: batches in the queue, prices in the outbox.

use crate::domain::batch::BatchState;
use crate::domain::moment::Moment;
use crate::storage::database::Database;
use crate::storage::error::StorageError;
use crate::storage::{ingest_queue, outbox};

/// What waits, as of one moment.
#[derive(Debug, Clone, Copy)]
pub struct Backlog {
    /// Batches of the queue.
    pub queue: ingest_queue::Level,
    /// When the batch that is next was taken in.
    pub queue_oldest: Option<Moment>,
    /// Prices to be posted on.
    pub outbox: outbox::Level,
    /// When the one that is next was put there.
    pub outbox_oldest: Option<Moment>,
}

/// Looks at what waits.
///
/// # Errors
/// The database's.
pub async fn look(db: &Database) -> Result<Backlog, StorageError> {
    let mut tx = db.read().await?;
    let next = ingest_queue::in_state(&mut tx, BatchState::Queued, None, 1).await?;
    let posts = outbox::waiting(&mut tx, i64::MAX, 1).await?;
    Ok(Backlog {
        queue: ingest_queue::level(&mut tx).await?,
        queue_oldest: next.first().map(|batch| batch.queued_at),
        outbox: outbox::level(&mut tx).await?,
        outbox_oldest: posts.first().map(|post| post.queued_at),
    })
}

/// Whole seconds since a moment; none since one that is still to come.
pub fn seconds_since(at: Moment, now: Moment) -> u64 {
    u64::try_from(now.0.saturating_sub(at.0).div_euclid(1_000_000)).unwrap_or_default()
}

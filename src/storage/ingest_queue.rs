//! Tables `ingest_queue` and `ingest_level`: batches that were taken in and wait to be stored, in order of their place,
//! and what became of those that were stored or given up.
//!
//! `ingest_level` counts them. Every function that changes the state of a batch changes it too, in the same commit.
//!
//! Where a batch stands is no fact of its own: the audit trail is told who queued it, and its prices tell themselves.

use crate::domain::batch::BatchState;
use crate::domain::ids::BatchId;
use crate::domain::moment::Moment;
use crate::storage::database::{Tx, on};
use crate::storage::error::StorageError;

/// A batch that is taken in.
#[derive(Debug, Clone)]
pub struct NewBatch {
    /// Its id.
    pub id: BatchId,
    /// Who sent it.
    pub actor: String,
    /// Rows it has.
    pub rows: i64,
    /// Its rows, packed.
    pub body: Vec<u8>,
}

/// A batch without its rows.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Batch {
    /// Where it stands: batches are stored in this order.
    pub place: i64,
    /// Its id.
    pub id: BatchId,
    /// What it has come to.
    pub state: BatchState,
    /// Who sent it.
    pub actor: String,
    /// Rows it has.
    #[sqlx(rename = "row_count")]
    pub rows: i64,
    /// Size of its packed rows.
    pub bytes: i64,
    /// How often storing it has failed.
    pub tries: i64,
    /// Why, the last time.
    pub failure: Option<String>,
    /// When it was taken in.
    pub queued_at: Moment,
    /// When it was stored or given up.
    pub settled_at: Option<Moment>,
    /// What became of its rows, once it is stored.
    pub report: Option<String>,
}

/// How many batches there are of each kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, sqlx::FromRow)]
pub struct Level {
    /// Those that wait.
    pub waiting: i64,
    /// The size of those that wait.
    pub waiting_bytes: i64,
    /// Those that are stored and still told of.
    pub stored: i64,
    /// Those that were given up.
    pub dead: i64,
}

/// How many batches there are.
pub async fn level(tx: &mut Tx) -> Result<Level, StorageError> {
    const SQL: &str = "SELECT waiting, waiting_bytes, stored, dead FROM ingest_level WHERE id = 1";
    on!(tx, conn => sqlx::query_as(SQL).fetch_one(conn).await)
}

/// Changes what is counted by so much.
async fn shift(tx: &mut Tx, by: Level) -> Result<(), StorageError> {
    const SQL: &str = "UPDATE ingest_level SET waiting = waiting + $1, waiting_bytes = waiting_bytes + $2, \
        stored = stored + $3, dead = dead + $4 WHERE id = 1";
    tx.trail.excuse(1);
    on!(tx, conn => sqlx::query(SQL).bind(by.waiting).bind(by.waiting_bytes).bind(by.stored).bind(by.dead)
        .execute(conn).await.map(drop))
}

/// Takes a batch in, behind all others.
pub async fn push(tx: &mut Tx, new: &NewBatch) -> Result<(), StorageError> {
    const SQL: &str = "INSERT INTO ingest_queue (place, id, state, actor, row_count, bytes, tries, queued_at, body) \
        VALUES ($1, $2, $3, $4, $5, $6, 0, $7, $8)";
    let (place, queued_at) = (tx.next_seq()?, tx.recorded_at()?);
    let bytes = i64::try_from(new.body.len()).unwrap_or(i64::MAX);
    on!(tx, conn => sqlx::query(SQL).bind(place).bind(new.id).bind(BatchState::Queued).bind(&new.actor).bind(new.rows)
        .bind(bytes).bind(queued_at).bind(new.body.as_slice()).execute(conn).await.map(drop))?;
    shift(tx, Level { waiting: 1, waiting_bytes: bytes, ..Level::default() }).await
}

/// A batch.
pub async fn find(tx: &mut Tx, id: BatchId) -> Result<Option<Batch>, StorageError> {
    const SQL: &str = "SELECT place, id, state, actor, row_count, bytes, tries, failure, queued_at, settled_at, report \
        FROM ingest_queue WHERE id = $1";
    on!(tx, conn => sqlx::query_as(SQL).bind(id).fetch_optional(conn).await)
}

/// Batches in one state in order of their place, those behind `after` if it is given.
pub async fn in_state(
    tx: &mut Tx,
    state: BatchState,
    after: Option<i64>,
    limit: i64,
) -> Result<Vec<Batch>, StorageError> {
    const SQL: &str = "SELECT place, id, state, actor, row_count, bytes, tries, failure, queued_at, settled_at, report \
        FROM ingest_queue WHERE state = $1 AND place > $2 ORDER BY place LIMIT $3";
    let after = after.unwrap_or(i64::MIN);
    on!(tx, conn => sqlx::query_as(SQL).bind(state).bind(after).bind(limit).fetch_all(conn).await)
}

/// The packed rows of a batch; none once they are stored.
pub async fn body(tx: &mut Tx, place: i64) -> Result<Option<Vec<u8>>, StorageError> {
    const SQL: &str = "SELECT body FROM ingest_queue WHERE place = $1";
    let found: Option<Option<Vec<u8>>> =
        on!(tx, conn => sqlx::query_scalar(SQL).bind(place).fetch_optional(conn).await)?;
    Ok(found.flatten())
}

/// Notes, in the commit that stores the rows of a waiting batch, what became of them.
///
/// # Errors
/// [`StorageError::Corrupt`] when it does not wait: then its rows must not be stored again.
pub async fn store(tx: &mut Tx, batch: &Batch, report: &str) -> Result<(), StorageError> {
    const SQL: &str = "UPDATE ingest_queue SET state = $1, settled_at = $2, report = $3, failure = NULL, body = NULL \
        WHERE place = $4 AND state = $5";
    let now = tx.recorded_at()?;
    let done = on!(tx, conn => sqlx::query(SQL).bind(BatchState::Stored).bind(now).bind(report).bind(batch.place)
        .bind(BatchState::Queued).execute(conn).await.map(|done| done.rows_affected()))?;
    if done != 1 {
        return Err(StorageError::Corrupt(format!("batch {} does not wait any more", batch.id)));
    }
    tx.trail.excuse(done);
    shift(tx, Level { waiting: -1, waiting_bytes: -batch.bytes, stored: 1, dead: 0 }).await
}

/// Notes that storing a waiting batch failed once more; with `dead` it is given up.
pub async fn fail(tx: &mut Tx, batch: &Batch, failure: &str, state: BatchState) -> Result<(), StorageError> {
    const SQL: &str = "UPDATE ingest_queue SET state = $1, tries = tries + 1, failure = $2, settled_at = $3 \
        WHERE place = $4 AND state = $5";
    let settled_at = (state != BatchState::Queued).then_some(tx.recorded_at()?);
    let done = on!(tx, conn => sqlx::query(SQL).bind(state).bind(failure).bind(settled_at).bind(batch.place)
        .bind(BatchState::Queued).execute(conn).await.map(|done| done.rows_affected()))?;
    tx.trail.excuse(done);
    if done == 0 || state == BatchState::Queued {
        return Ok(());
    }
    shift(tx, Level { waiting: -1, waiting_bytes: -batch.bytes, stored: 0, dead: 1 }).await
}

/// Puts a batch that was given up behind all others, with new tries. `false` when there is no such batch.
pub async fn retry(tx: &mut Tx, id: BatchId) -> Result<bool, StorageError> {
    const SQL: &str = "UPDATE ingest_queue SET place = $1, state = $2, tries = 0, settled_at = NULL \
        WHERE id = $3 AND state = $4 RETURNING bytes";
    let place = tx.next_seq()?;
    let bytes: Option<i64> = on!(tx, conn => sqlx::query_scalar(SQL).bind(place).bind(BatchState::Queued).bind(id)
        .bind(BatchState::Dead).fetch_optional(conn).await)?;
    let Some(bytes) = bytes else { return Ok(false) };
    shift(tx, Level { waiting: 1, waiting_bytes: bytes, stored: 0, dead: -1 }).await?;
    Ok(true)
}

/// Removes a batch that was given up. `false` when there is no such batch.
pub async fn discard(tx: &mut Tx, id: BatchId) -> Result<bool, StorageError> {
    const SQL: &str = "DELETE FROM ingest_queue WHERE id = $1 AND state = $2";
    let gone = on!(tx, conn => sqlx::query(SQL).bind(id).bind(BatchState::Dead).execute(conn).await
        .map(|done| done.rows_affected()))?;
    shift(tx, Level { dead: -i64::try_from(gone).unwrap_or_default(), ..Level::default() }).await?;
    Ok(gone > 0)
}

/// Removes stored batches that were stored at `oldest` or before, and the oldest of more than `most`; at most `limit`
/// of either at a time. How many are gone.
pub async fn forget(tx: &mut Tx, oldest: Moment, most: i64, limit: i64) -> Result<i64, StorageError> {
    const OLD: &str = "DELETE FROM ingest_queue WHERE place IN (SELECT place FROM ingest_queue \
        WHERE settled_at <= $1 AND state = $2 ORDER BY settled_at, place LIMIT $3)";
    const MANY: &str = "DELETE FROM ingest_queue WHERE place IN (SELECT place FROM ingest_queue \
        WHERE state = $1 ORDER BY place LIMIT $2)";
    let old = on!(tx, conn => sqlx::query(OLD).bind(oldest).bind(BatchState::Stored).bind(limit).execute(conn).await
        .map(|done| done.rows_affected()))?;
    let old = i64::try_from(old).unwrap_or_default();
    let many = (level(tx).await?.stored - old - most).clamp(0, limit);
    if many > 0 {
        on!(tx, conn => sqlx::query(MANY).bind(BatchState::Stored).bind(many).execute(conn).await.map(drop))?;
    }
    shift(tx, Level { stored: -old - many, ..Level::default() }).await?;
    Ok(old + many)
}

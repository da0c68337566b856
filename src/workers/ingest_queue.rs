//! The queue of batches: what is taken in at once and stored a little later, in the order it came.
//!
//! A batch is one row with its packed rows, committed before it is answered for. The task stores what waits, several
//! batches in one commit, each judged by itself after those before it. Storing the rows and noting that it is done is
//! one commit, so a crash leaves a batch waiting or stored, never half and never twice.
//!
//! A batch that cannot be stored, though the database could note that, is tried again after growing pauses, and given up
//! after [`TRIES`]. Meanwhile those behind it wait, for about two seconds at most: going ahead of it, they would be
//! overwritten by what is older. A database that takes nothing at all (a full disk, a lost server) is no fault of the
//! batch and counts no try.

use crate::clock::Clock;
use crate::domain::audit::{Actor, Entry};
use crate::domain::batch::BatchState;
use crate::domain::moment::{HOUR, Moment};
use crate::storage::database::{Database, Tx};
use crate::storage::error::StorageError;
use crate::storage::ingest_queue::{self, Batch, Level};
use crate::telemetry::{self, recorder};
use crate::workers::background::pause;
use crate::workers::intake::{self, LISTED, Packed, Tally};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Who stores batches, in the audit trail.
const ACTOR: &str = "ingest-queue";
/// How often storing a batch is tried.
pub const TRIES: i64 = 5;
/// How long a stored batch can be asked for, in microseconds: 24 hours, as long as an idempotency key.
pub const KEPT: i64 = 24 * HOUR;
/// Stored batches that can be asked for; of more the oldest are forgotten earlier.
pub const KEPT_MAX: i64 = 100_000;
/// Most batches stored in one commit.
const MERGED: i64 = 256;
/// Rows after which no other batch joins a commit.
const ROWS: i64 = 50_000;
/// Pause after the first failure of a batch; after each further one it is three times as long.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// Longest time between two looks into the queue: whoever puts something in wakes the task.
const IDLE: Duration = Duration::from_secs(1);
/// Time before the next attempt when the database takes nothing.
const AFTER_FAILURE: Duration = Duration::from_secs(1);
/// Time between two looks for stored batches that may be forgotten.
const FORGETTING: Duration = Duration::from_mins(1);
/// Batches forgotten in one commit.
const FORGOTTEN: i64 = 10_000;
/// Span over which the rate is told.
const SPAN: Duration = Duration::from_mins(1);

/// How much may wait.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Batches.
    pub batches: i64,
    /// Bytes of their packed rows.
    pub bytes: i64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { batches: 10_000, bytes: 256 << 20 }
    }
}

impl Limits {
    /// Whether there is no room for another batch.
    pub const fn are_reached(self, level: Level) -> bool {
        level.waiting >= self.batches || level.waiting_bytes >= self.bytes
    }
}

/// What was stored lately.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rate {
    /// Batches.
    pub batches: u64,
    /// Their rows.
    pub rows: u64,
}

/// What those who put batches in and the task that stores them share.
#[derive(Debug, Default)]
pub struct Queue {
    /// How much may wait.
    pub limits: Limits,
    filled: Notify,
    /// What was stored, by the second since the start.
    stored: Mutex<VecDeque<(u64, Rate)>>,
}

impl Queue {
    /// One that takes so much.
    pub fn with(limits: Limits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// Tells the task that there is something to store.
    pub fn wake(&self) {
        self.filled.notify_one();
    }

    /// What was stored within the last minute before `elapsed`.
    pub fn rate(&self, elapsed: Duration) -> Rate {
        let stored = self.stored.lock().unwrap_or_else(PoisonError::into_inner);
        let begin = elapsed.saturating_sub(SPAN).as_secs();
        stored.iter().filter(|(second, _)| *second >= begin).fold(Rate::default(), |sum, (_, one)| Rate {
            batches: sum.batches + one.batches,
            rows: sum.rows + one.rows,
        })
    }

    fn note(&self, elapsed: Duration, more: Rate) {
        let mut stored = self.stored.lock().unwrap_or_else(PoisonError::into_inner);
        let second = elapsed.as_secs();
        match stored.back_mut().filter(|(last, _)| *last == second) {
            Some((_, rate)) => {
                rate.batches += more.batches;
                rate.rows += more.rows;
            }
            None => stored.push_back((second, more)),
        }
        while stored.len() > usize::try_from(SPAN.as_secs()).unwrap_or_default() + 1 {
            stored.pop_front();
        }
    }
}

/// Shows how full the queue is in the metrics.
pub fn show(level: Level) {
    let set = |name: &'static str, count: i64| {
        metrics::gauge!(name).set(recorder::value(u64::try_from(count).unwrap_or_default()));
    };
    set(telemetry::INGEST_QUEUE_DEPTH, level.waiting);
    set(telemetry::INGEST_QUEUE_BYTES, level.waiting_bytes);
    set(telemetry::INGEST_DEAD_LETTERS, level.dead);
}

/// A row of a batch that a rule refused when it was stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// Where it stands in what was sent.
    pub line: u64,
    /// Its field, as it was spelled.
    pub field: String,
    /// Stable code of the rule.
    pub code: String,
    /// The rule, for people.
    pub detail: String,
}

/// What became of the rows of a batch.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Points not seen before.
    pub stored: u64,
    /// Equal to what was known.
    pub duplicate: u64,
    /// Newer versions of points.
    pub corrected: u64,
    /// Refused.
    pub refused: u64,
    /// The first of these.
    pub refusals: Vec<Refusal>,
}

/// Records the rows of one batch. A refused one refuses no other.
async fn record(tx: &mut Tx, packed: Packed, now: Moment) -> Result<(Report, Tally), StorageError> {
    let Packed { rows, closes } = packed;
    let mut judged = intake::judge(tx, rows, now).await?;
    let refused = std::mem::take(&mut judged.refused);
    let tally = judged.record(tx).await?;
    let total = tally.total();
    let spelled = |line: u64, field: &'static str| {
        let as_close = field == "price" && closes.binary_search(&line).is_ok();
        if as_close { "close" } else { field }
    };
    let refusals = refused.into_iter().take(LISTED).map(|one| Refusal {
        line: one.line,
        field: spelled(one.line, one.field).to_owned(),
        code: one.code.to_owned(),
        detail: one.detail,
    });
    let report = Report {
        stored: total.stored,
        duplicate: total.duplicate,
        corrected: total.corrected,
        refused: total.refused,
        refusals: refusals.collect(),
    };
    Ok((report, tally))
}

/// Stores batches and notes that they are, in one commit.
async fn store(
    db: &Database,
    batches: Vec<(Batch, Packed)>,
    now: Moment,
) -> Result<(Vec<Tally>, Level), StorageError> {
    db.writer()
        .write(Actor::system(ACTOR), move |tx| {
            Box::pin(async move {
                let mut tallies = Vec::with_capacity(batches.len());
                for (batch, packed) in batches {
                    // What was no future when it was taken in is none, wherever the clock has been set since.
                    let (report, tally) = record(tx, packed, now.max(batch.queued_at)).await?;
                    let report = serde_json::to_string(&report)
                        .map_err(|error| StorageError::Corrupt(error.to_string()))?;
                    ingest_queue::store(tx, &batch, &report).await?;
                    tallies.push(tally);
                }
                Ok((tallies, ingest_queue::level(tx).await?))
            })
        })
        .await
}

/// What a step came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// There was nothing to store.
    Idle,
    /// Something was stored or given up, or is to be tried one by one: there may be more.
    Done,
    /// The first batch failed, and is to be tried again after this pause.
    Failed(Duration),
}

/// Stores what waits.
#[derive(Debug)]
pub struct Storer {
    db: Database,
    clock: Clock,
    queue: Arc<Queue>,
    /// Batches to be stored one by one, to find the one among them that cannot be.
    alone: usize,
}

impl Storer {
    /// One that has done nothing yet.
    pub const fn new(db: Database, clock: Clock, queue: Arc<Queue>) -> Self {
        Self { db, clock, queue, alone: 0 }
    }

    /// The batches that are next, with their packed rows.
    async fn next(&self) -> Result<Vec<(Batch, Vec<u8>)>, StorageError> {
        let mut tx = self.db.read().await?;
        let most = if self.alone > 0 { 1 } else { MERGED };
        let waiting = ingest_queue::in_state(&mut tx, BatchState::Queued, None, most).await?;
        let (mut next, mut rows) = (Vec::new(), 0);
        for batch in waiting {
            // One that has failed goes alone, so that it takes nobody with it.
            if !next.is_empty() && (rows + batch.rows > ROWS || batch.tries > 0) {
                break;
            }
            rows += batch.rows;
            let last = batch.tries > 0;
            let body = ingest_queue::body(&mut tx, batch.place).await?.unwrap_or_default();
            next.push((batch, body));
            if last {
                break;
            }
        }
        Ok(next)
    }

    /// Stores the batches that are next.
    ///
    /// # Errors
    /// When the database takes nothing.
    pub async fn step(&mut self) -> Result<Step, StorageError> {
        let next = self.next().await?;
        let Some((first, _)) = next.first().cloned() else { return Ok(Step::Idle) };
        let count = next.len();
        match self.try_all(next).await {
            Ok(()) => self.alone = self.alone.saturating_sub(count),
            Err(error) if error.may_pass() => return Err(error),
            Err(error) if count > 1 => {
                tracing::warn!(%error, batches = count, "batches could not be stored together");
                self.alone = count;
            }
            Err(error) => return self.fail(first, &error).await,
        }
        Ok(Step::Done)
    }

    async fn try_all(&self, next: Vec<(Batch, Vec<u8>)>) -> Result<(), StorageError> {
        let unpack = move || -> Result<Vec<(Batch, Packed)>, StorageError> {
            let one = |(batch, body): (Batch, Vec<u8>)| match Packed::unpack(&body) {
                Ok(packed) => Ok((batch, packed)),
                Err(error) => Err(StorageError::Corrupt(format!("batch {}: {error}", batch.id))),
            };
            next.into_iter().map(one).collect()
        };
        let batches = tokio::task::spawn_blocking(unpack).await.map_err(|_| StorageError::Panicked)??;
        let more = Rate {
            batches: u64::try_from(batches.len()).unwrap_or_default(),
            rows: batches.iter().map(|(batch, _)| u64::try_from(batch.rows).unwrap_or_default()).sum(),
        };
        let (tallies, level) = store(&self.db, batches, self.clock.now()).await?;
        tallies.iter().for_each(Tally::publish);
        metrics::counter!(telemetry::INGEST_QUEUE_BATCHES, "outcome" => "stored").increment(more.batches);
        show(level);
        self.queue.note(self.clock.elapsed(), more);
        Ok(())
    }

    /// Notes that a batch failed.
    async fn fail(&mut self, batch: Batch, error: &StorageError) -> Result<Step, StorageError> {
        let failure = error.to_string();
        let tries = batch.tries + 1;
        let state = if tries >= TRIES { BatchState::Dead } else { BatchState::Queued };
        tracing::error!(?error, batch.id = %batch.id, tries, %state, "a batch could not be stored");
        let note = self.db.writer().write(Actor::system(ACTOR), move |tx| {
            Box::pin(async move {
                ingest_queue::fail(tx, &batch, &failure, state).await?;
                if state == BatchState::Dead {
                    tx.audit(Entry::done("ingest.batch.give_up", batch.id));
                }
                ingest_queue::level(tx).await
            })
        });
        show(note.await?);
        if state == BatchState::Dead {
            metrics::counter!(telemetry::INGEST_QUEUE_BATCHES, "outcome" => "dead").increment(1);
            self.alone = self.alone.saturating_sub(1);
            return Ok(Step::Done);
        }
        let before = u32::try_from(tries - 1).unwrap_or_default();
        Ok(Step::Failed(FIRST_PAUSE * 3_u32.saturating_pow(before)))
    }

    /// Forgets what was stored long ago.
    ///
    /// # Errors
    /// The database's.
    pub async fn forget(&self) -> Result<(), StorageError> {
        let oldest = self.clock.now().plus(-KEPT);
        loop {
            let mut tx = self.db.read().await?;
            let level = ingest_queue::level(&mut tx).await?;
            let first = ingest_queue::in_state(&mut tx, BatchState::Stored, None, 1).await?;
            drop(tx);
            let old = first.iter().any(|batch| batch.settled_at.is_some_and(|at| at <= oldest));
            if !old && level.stored <= KEPT_MAX {
                return Ok(());
            }
            let forget = self.db.writer().housekeep(move |tx| {
                Box::pin(async move { ingest_queue::forget(tx, oldest, KEPT_MAX, FORGOTTEN).await })
            });
            if forget.await? == 0 {
                return Ok(());
            }
        }
    }
}

/// Stores what waits until `stop` is cancelled.
pub async fn run(db: Database, clock: Clock, queue: Arc<Queue>, stop: CancellationToken) {
    let mut storer = Storer::new(db, clock.clone(), Arc::clone(&queue));
    let mut forget_at = Duration::ZERO;
    while !stop.is_cancelled() {
        let outcome = storer.step().await;
        if outcome.is_ok() && clock.elapsed() >= forget_at {
            forget_at = clock.elapsed() + FORGETTING;
            if let Err(error) = storer.forget().await {
                tracing::warn!(%error, "stored batches could not be forgotten");
            }
        }
        match outcome {
            Ok(Step::Done) => {}
            Ok(Step::Failed(time)) => pause(time, &stop).await,
            Ok(Step::Idle) => tokio::select! {
                () = queue.filled.notified() => {}
                () = pause(IDLE, &stop) => {}
            },
            Err(error) => {
                tracing::warn!(%error, "queued batches could not be stored and go on waiting");
                pause(AFTER_FAILURE, &stop).await;
            }
        }
    }
}

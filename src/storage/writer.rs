//! The one writer: requests that arrive together share a commit, each judged as if alone, and every answer waits
//! for the disk.
//!
//! A commit is stamped `recorded_at = max(clock, last + 1 microsecond)`, so the order of stamps is the order of
//! commits whatever the clock does. A job that is refused, or panics, is undone by its savepoint and leaves nothing.

use crate::clock::{Clock, Stopwatch};
use crate::domain::audit::Actor;
use crate::domain::moment::{HOUR, Moment};
use crate::storage::audit;
use crate::storage::database::{Link, Shared, Tx, WriterPool, on};
use crate::storage::error::{StorageError, with_causes};
use crate::storage::refusal::{Guard, Refusal};
use crate::storage::{outbox, prices, recall};
use crate::telemetry;
use futures_util::future::BoxFuture;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;
use tokio::sync::{Notify, mpsc, oneshot};

/// Most jobs that share a commit.
const GROUP: usize = 256;
/// Longest wait for the next writes of those who were just answered,
const LINGER_MAX: Duration = Duration::from_millis(4);
/// and longest time in it without one.
const QUIET_MAX: Duration = Duration::from_micros(100);
/// Jobs that may wait; more wait in their callers.
const QUEUE: usize = 1024;

/// Stamp and sequence of one commit.
#[derive(Debug, Clone, Copy)]
pub struct Stamp {
    /// When the facts of this commit were learned.
    pub recorded_at: Moment,
    /// Last sequence number given out.
    pub seq: i64,
}

/// How the clock stands to the stamps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockHealth {
    /// The stamps are ahead of the clock: it was set back, or the database was restored.
    pub behind: bool,
    /// The wall clock has run more than an hour ahead and is not followed.
    pub ahead: bool,
}

/// The stamps of one database: what was given out, and what is being committed now.
#[derive(Debug)]
pub struct Stamps {
    clock: Clock,
    state: Mutex<StampState>,
    committed: Notify,
}

#[derive(Debug, Default)]
struct StampState {
    last: i64,
    in_flight: Option<i64>,
    /// Elapsed time when that commit began.
    begun: Option<Duration>,
    /// Wall clock and elapsed time at the last stamp, to notice a wall clock that jumps ahead.
    seen: Option<(i64, Duration)>,
    ahead: bool,
}

impl Stamps {
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock, state: Mutex::new(StampState::default()), committed: Notify::new() }
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, StampState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_last(&self, last: i64) {
        self.locked().last = last;
    }

    /// The wall clock, unless it has run more than an hour ahead of elapsed time since the last stamp.
    fn followed(&self, state: &mut StampState) -> i64 {
        let (wall, elapsed) = (self.clock.now().0, self.clock.elapsed());
        let expected = state.seen.map(|(wall, before)| {
            let since = elapsed.saturating_sub(before);
            wall.saturating_add(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
        });
        let manual = matches!(self.clock, Clock::Manual(_));
        match expected {
            Some(expected) if !manual && wall > expected.saturating_add(HOUR) => {
                state.ahead = true;
                state.seen = Some((expected, elapsed));
                expected
            }
            _ => {
                state.ahead = false;
                state.seen = Some((wall, elapsed));
                wall
            }
        }
    }

    fn begin(&self) -> Moment {
        let mut state = self.locked();
        let now = self.followed(&mut state);
        state.begun = Some(self.clock.elapsed());
        state.last = now.max(state.last.saturating_add(1));
        state.in_flight = Some(state.last);
        Moment(state.last)
    }

    fn end(&self) {
        let mut state = self.locked();
        (state.in_flight, state.begun) = (None, None);
        drop(state);
        self.committed.notify_waiters();
    }

    /// The latest moment that may be asked for as `known_at`.
    pub fn latest(&self) -> Moment {
        let last = self.locked().last;
        Moment(last.max(self.clock.now().0))
    }

    /// How long the commit under way has taken so far.
    fn committing_for(&self) -> Option<Duration> {
        let begun = self.locked().begun?;
        Some(self.clock.elapsed().saturating_sub(begun))
    }

    /// How the clock stands to the stamps.
    pub fn clock_health(&self) -> ClockHealth {
        let state = self.locked();
        ClockHealth { behind: state.last > self.clock.now().0, ahead: state.ahead }
    }

    /// Follows the wall clock again after it ran ahead.
    pub fn accept_clock(&self) {
        let mut state = self.locked();
        state.seen = None;
        state.ahead = false;
    }

    /// Makes `known_at` final: no later commit gets a stamp at or before it, and those that have one are waited for.
    /// `false` when it lies in the future.
    pub async fn settle(&self, known_at: Moment) -> bool {
        loop {
            let waiting = self.committed.notified();
            {
                let mut state = self.locked();
                if known_at.0 > state.last.max(self.clock.now().0) {
                    return false;
                }
                state.last = state.last.max(known_at.0);
                if state.in_flight.is_none_or(|stamp| stamp > known_at.0) {
                    return true;
                }
            }
            // A commit that ends between the check and here has notified `waiting` only if it was polled; the
            // timeout makes a missed wake-up cost a moment, never an answer.
            drop(tokio::time::timeout(Duration::from_millis(20), waiting).await);
        }
    }
}

/// One write. Each way of doing it hands the result to whoever waits for it.
trait Work: Send {
    /// Tries to do it without a statement; whether it is to be kept, or `None` when it was not done.
    fn at_once(&mut self, tx: &mut Tx) -> Option<bool>;
    /// Does it, and says whether it is to be kept.
    fn run(self: Box<Self>, tx: &mut Tx) -> BoxFuture<'_, bool>;
}

/// A write with the way to whoever waits for its result.
struct Deed<T, E, Q, F> {
    /// Who does it; nobody when it changes no fact.
    actor: Option<Arc<Actor>>,
    at_once: Option<Q>,
    work: F,
    result: oneshot::Sender<Result<T, E>>,
}

impl<T, E, Q, F> Work for Deed<T, E, Q, F>
where
    T: Send + 'static,
    E: From<StorageError> + Send + 'static,
    Q: FnOnce(&mut Tx) -> Option<Result<T, E>> + Send,
    F: for<'t> FnOnce(&'t mut Tx) -> BoxFuture<'t, Result<T, E>> + Send + 'static,
{
    fn at_once(&mut self, tx: &mut Tx) -> Option<bool> {
        let at_once = self.at_once.take()?;
        tx.trail.begin_as(self.actor.clone());
        let result = catch_unwind(AssertUnwindSafe(|| at_once(tx))).ok().flatten()?;
        let keep = result.is_ok();
        let (gone, _) = oneshot::channel();
        // The caller may have gone away; the write stands all the same.
        drop(std::mem::replace(&mut self.result, gone).send(result));
        Some(keep)
    }

    fn run(self: Box<Self>, tx: &mut Tx) -> BoxFuture<'_, bool> {
        let Self { actor, work, result: waiting, .. } = *self;
        Box::pin(async move {
            let result = outlived(watched(tx, actor, work)).await;
            let keep = matches!(result, Some(Ok(_)));
            if let Some(result) = result {
                drop(waiting.send(result));
            }
            keep
        })
    }
}

/// Runs a write under the name of who does it, and holds it to telling what it did.
async fn watched<T, E, F>(tx: &mut Tx, actor: Option<Arc<Actor>>, work: F) -> Result<T, E>
where
    E: From<StorageError>,
    F: for<'t> FnOnce(&'t mut Tx) -> BoxFuture<'t, Result<T, E>>,
{
    if actor.is_none() {
        return work(tx).await;
    }
    tx.trail.begin_as(actor);
    tx.begin_watch().await?;
    let done = work(tx).await?;
    tx.end_watch().await?;
    Ok(done)
}

struct Job {
    work: Box<dyn Work>,
    committed: oneshot::Sender<Result<(), Refusal>>,
}

enum Message {
    Job(Job),
    Stop(oneshot::Sender<()>),
}

/// The way to the writer.
#[derive(Debug, Clone)]
pub struct WriterHandle {
    queue: mpsc::Sender<Message>,
}

impl WriterHandle {
    pub(super) async fn start(
        pool: WriterPool,
        stamps: Arc<Stamps>,
        shared: Shared,
        guard: Guard,
    ) -> Result<Self, StorageError> {
        let (last, seq) = last_stamp(&pool).await?;
        stamps.set_last(last);
        let (queue, jobs) = mpsc::channel(QUEUE);
        let left = Mutex::new([seq, seq]);
        tokio::spawn(Writer { pool, stamps, shared, guard, left }.run(jobs));
        Ok(Self { queue })
    }

    /// Runs `work` for `actor` in the next commit and returns after that commit is on disk. When `work` fails, what it
    /// wrote is undone and nothing else is. What it does it tells with [`Tx::audit`]; prices tell themselves.
    ///
    /// # Errors
    /// The error of `work`, [`StorageError::Panicked`] when it has none, [`StorageError::NotCommitted`] when the commit
    /// failed, and in debug builds [`StorageError::Unaudited`] when `work` changed something and told nothing.
    pub async fn write<T, E, F>(&self, actor: impl Into<Arc<Actor>>, work: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StorageError> + Send + 'static,
        F: for<'t> FnOnce(&'t mut Tx) -> BoxFuture<'t, Result<T, E>> + Send + 'static,
    {
        self.enqueue(Some(actor.into()), None::<fn(&mut Tx) -> Option<Result<T, E>>>, work).await
    }

    /// The same, but first tries `at_once` in the place of `work` in its commit. It changes only what a commit holds in
    /// memory, so it costs no statement; when it returns `None` it must have changed nothing.
    ///
    /// # Errors
    /// Those of [`Self::write`].
    pub async fn write_at_once<T, E, Q, F>(
        &self,
        actor: impl Into<Arc<Actor>>,
        at_once: Q,
        work: F,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StorageError> + Send + 'static,
        Q: FnOnce(&mut Tx) -> Option<Result<T, E>> + Send + 'static,
        F: for<'t> FnOnce(&'t mut Tx) -> BoxFuture<'t, Result<T, E>> + Send + 'static,
    {
        self.enqueue(Some(actor.into()), Some(at_once), work).await
    }

    /// Runs work that changes no fact and is nobody's deed: sorting prices, leases, kept answers.
    ///
    /// # Errors
    /// The error of `work`, or [`StorageError::NotCommitted`] when the commit failed.
    pub async fn housekeep<T, E, F>(&self, work: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StorageError> + Send + 'static,
        F: for<'t> FnOnce(&'t mut Tx) -> BoxFuture<'t, Result<T, E>> + Send + 'static,
    {
        self.enqueue(None, None::<fn(&mut Tx) -> Option<Result<T, E>>>, work).await
    }

    async fn enqueue<T, E, Q, F>(
        &self,
        actor: Option<Arc<Actor>>,
        at_once: Option<Q>,
        work: F,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StorageError> + Send + 'static,
        Q: FnOnce(&mut Tx) -> Option<Result<T, E>> + Send + 'static,
        F: for<'t> FnOnce(&'t mut Tx) -> BoxFuture<'t, Result<T, E>> + Send + 'static,
    {
        let (result, result_out) = oneshot::channel();
        let work = Box::new(Deed { actor, at_once, work, result });
        let (committed, outcome) = oneshot::channel();
        let stopped = || E::from(StorageError::NotCommitted("the writer has stopped".to_owned()));
        self.queue.send(Message::Job(Job { work, committed })).await.map_err(|_| stopped())?;
        match outcome.await {
            Ok(Ok(())) => result_out.await.unwrap_or_else(|_| Err(E::from(StorageError::Panicked))),
            Ok(Err(refusal)) => Err(E::from(refusal.into())),
            Err(_) => Err(stopped()),
        }
    }

    /// Writes that wait for their commit.
    pub fn waiting(&self) -> usize {
        QUEUE.saturating_sub(self.queue.capacity())
    }

    /// Whether the writer takes writes, and no commit has been under way for longer than `longest`. Whether commits
    /// succeed is another question.
    pub(super) fn lives(&self, stamps: &Stamps, longest: Duration) -> bool {
        !self.queue.is_closed() && stamps.committing_for().is_none_or(|time| time <= longest)
    }

    /// Commits what is queued, then stops.
    pub(super) async fn stop(&self) {
        let (done, finished) = oneshot::channel();
        if self.queue.send(Message::Stop(done)).await.is_ok() {
            drop(finished.await);
        }
    }
}

/// Runs a write to its end; `None` when it panics, which must not stop the writer for everybody else.
async fn outlived<T>(work: impl Future<Output = T>) -> Option<T> {
    let mut work = pin!(work);
    poll_fn(|context| {
        let polled = catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(context)));
        polled.map_or(Poll::Ready(None), |polled| polled.map(Some))
    })
    .await
}

async fn last_stamp(pool: &WriterPool) -> Result<(i64, i64), StorageError> {
    const SQL: &str = "SELECT last, seq FROM commit_stamp WHERE id = 1";
    Ok(match pool {
        WriterPool::Sqlite(pool) => sqlx::query_as(SQL).fetch_one(pool).await?,
        WriterPool::Postgres(pool) => sqlx::query_as(SQL).fetch_one(pool).await?,
    })
}

/// The last commit.
#[derive(Debug, Default)]
struct Last {
    /// Writes that shared it, and those that waited when it ended: as many come again, if each of those who wrote writes
    /// once more.
    writers: usize,
    /// How long it took.
    took: Duration,
}

impl Last {
    /// Waits for the writes of those who were answered together, while they keep coming, and no longer than twice the
    /// time of the last commit: they write again together, and a commit that began with the first of them would leave the others to the next.
    async fn linger(&self, jobs: &mpsc::Receiver<Message>) {
        let (began, longest) = (Stopwatch::start(), LINGER_MAX.min(self.took * 2));
        let (mut came, mut since) = (jobs.len(), Stopwatch::start());
        while jobs.len() + 1 < self.writers.min(GROUP)
            && since.elapsed() < QUIET_MAX
            && began.elapsed() < longest
        {
            tokio::task::yield_now().await;
            if jobs.len() > came {
                (came, since) = (jobs.len(), Stopwatch::start());
            }
        }
    }
}

struct Writer {
    pool: WriterPool,
    stamps: Arc<Stamps>,
    shared: Shared,
    guard: Guard,
    /// The sequence as this writer left it: before and after a commit that may or may not have been made.
    left: Mutex<[i64; 2]>,
}

/// Longest the writer leaves its session with PostgreSQL alone: it holds the lock that keeps other processes out.
const WATCH: Duration = Duration::from_secs(1);

impl Writer {
    /// The next message. Meanwhile a session with PostgreSQL is looked after: where it was cut off, the lock is taken again
    /// by a new one, if nobody else has it.
    async fn next(&self, jobs: &mut mpsc::Receiver<Message>) -> Option<Message> {
        let WriterPool::Postgres(pool) = &self.pool else { return jobs.recv().await };
        loop {
            if let Ok(message) = tokio::time::timeout(WATCH, jobs.recv()).await {
                return message;
            }
            // To take the connection out of the pool is to ask whether it lives.
            if let Err(error) = pool.acquire().await {
                tracing::error!(%error, "the session that holds the lock of the database is lost");
            }
        }
    }

    async fn run(self, mut jobs: mpsc::Receiver<Message>) {
        let mut stop = None;
        let mut last = Last::default();
        while stop.is_none()
            && let Some(message) = self.next(&mut jobs).await
        {
            last.linger(&jobs).await;
            let mut group = Vec::new();
            let mut next = Some(message);
            while let Some(message) = next.take() {
                match message {
                    Message::Job(job) => group.push(job),
                    Message::Stop(done) => {
                        stop = Some(done);
                        break;
                    }
                }
                if group.len() < GROUP {
                    next = jobs.try_recv().ok();
                }
            }
            if !group.is_empty() {
                let (shared, began) = (group.len(), Stopwatch::start());
                self.commit(group).await;
                last = Last { writers: shared + jobs.len(), took: began.elapsed() };
            }
        }
        if let Err(error) = self.keep_last().await {
            tracing::warn!(error = %with_causes(&error), "the latest moment answered for was not kept");
        }
        match &self.pool {
            WriterPool::Sqlite(pool) => pool.close().await,
            WriterPool::Postgres(pool) => pool.close().await,
        }
        if let Some(done) = stop
            && done.send(()).is_err()
        {
            tracing::debug!("nobody waits for the writer to stop");
        }
    }

    /// Keeps the latest moment that was answered for: a restart with the clock set back must not stamp before it.
    async fn keep_last(&self) -> Result<(), StorageError> {
        const SQL: &str = "UPDATE commit_stamp SET last = $1 WHERE id = 1 AND last < $1";
        let last = self.stamps.locked().last;
        match &self.pool {
            WriterPool::Sqlite(pool) => sqlx::query(SQL).bind(last).execute(pool).await.map(|_| ())?,
            WriterPool::Postgres(pool) => sqlx::query(SQL).bind(last).execute(pool).await.map(|_| ())?,
        }
        Ok(())
    }

    /// Runs a group of jobs in one transaction and tells each the outcome of the commit.
    async fn commit(&self, group: Vec<Job>) {
        let (works, waiting): (Vec<_>, Vec<_>) =
            group.into_iter().map(|job| (job.work, job.committed)).unzip();
        let (recorded_at, began) = (self.stamps.begin(), self.stamps.clock.elapsed());
        metrics::histogram!(telemetry::WRITER_COMMIT_WRITES)
            .record(u32::try_from(waiting.len()).unwrap_or(u32::MAX));
        let outcome = match self.guard.halt.reason() {
            Some(reason) => Err(StorageError::Stopped(reason)),
            None => self.write(works, recorded_at).await,
        };
        metrics::histogram!(telemetry::WRITER_COMMIT_SECONDS)
            .record(self.stamps.clock.elapsed().saturating_sub(began));
        self.stamps.end();
        if let Err(error) = &outcome {
            // Where the audit trail ends is looked up again.
            self.shared.chain.ends_at(None);
            metrics::counter!(telemetry::WRITER_COMMIT_FAILURES).increment(1);
            tracing::error!(error = %with_causes(error), "a commit failed; its writes were refused");
        }
        let refusal = match &outcome {
            Ok(()) => None,
            Err(error) => Some(self.guard.refuse(&self.pool, error).await),
        };
        for committed in waiting {
            drop(committed.send(refusal.clone().map_or(Ok(()), Err)));
        }
    }

    fn left(&self) -> std::sync::MutexGuard<'_, [i64; 2]> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn write(&self, works: Vec<Box<dyn Work>>, recorded_at: Moment) -> Result<(), StorageError> {
        const TAKE: &str = "UPDATE commit_stamp SET last = $1 WHERE id = 1 RETURNING seq";
        const NOTE: &str = "UPDATE commit_stamp SET seq = $1 WHERE id = 1";
        let link = match &self.pool {
            WriterPool::Sqlite(pool) => Link::Sqlite(pool.begin_with("BEGIN IMMEDIATE").await?),
            WriterPool::Postgres(pool) => Link::Postgres(pool.begin().await?),
        };
        let mut tx = Tx::new(link, self.shared.ticks.now(), &self.shared);
        // Taking the row first makes PostgreSQL serialise commits as SQLite's write lock does. The sequence goes on
        // from what is in the database: a commit whose answer was lost with the connection may have been made.
        let seq = on!(tx, conn => sqlx::query_scalar(TAKE).bind(recorded_at).fetch_one(conn).await)?;
        if !self.left().contains(&seq) {
            // What is held in memory is of a database that another process has gone on with.
            let reason = "another process has written to the database; restart the service";
            self.guard.halt.stop(reason);
            return Err(StorageError::Stopped(reason.to_owned()));
        }
        let first = seq;
        tx.stamp = Some(Stamp { recorded_at, seq });
        if self.shared.newest.is_stale() {
            recall::recall(&mut tx).await?;
        }
        for mut work in works {
            tx.begin_job();
            match work.at_once(&mut tx) {
                Some(true) => {
                    tx.trail.end_job();
                    continue;
                }
                Some(false) => {
                    tx.undo_job();
                    continue;
                }
                None => tx.undo_job(),
            }
            on!(tx, conn => sqlx::query("SAVEPOINT job").execute(conn).await.map(drop))?;
            tx.begin_job();
            if work.run(&mut tx).await {
                tx.trail.end_job();
            } else {
                tx.undo_job();
                on!(tx, conn => sqlx::query("ROLLBACK TO SAVEPOINT job").execute(conn).await.map(drop))?;
            }
            on!(tx, conn => sqlx::query("RELEASE SAVEPOINT job").execute(conn).await.map(drop))?;
        }
        let offered = outbox::offer(&mut tx, &self.shared.outlet).await?;
        prices::write_pending(&mut tx).await?;
        let head = audit::write_told(&mut tx, &self.shared.chain).await?;
        // Each commit takes a number, also one that gives none to a row: so that another process cannot have committed
        // without being noticed.
        let seq = tx.stamp.map_or(seq, |stamp| stamp.seq).max(first.saturating_add(1));
        on!(tx, conn => sqlx::query(NOTE).bind(seq).execute(conn).await.map(drop))?;
        *self.left() = [first, seq];
        let (touched, pending) = (std::mem::take(&mut tx.touched), std::mem::take(&mut tx.pending));
        let committed = match tx.link {
            Link::Sqlite(open) => open.commit().await,
            Link::Postgres(open) => open.commit().await,
        };
        if committed.is_ok() {
            *self.left() = [seq, seq];
            self.shared.newest.publish(pending, recorded_at);
            self.shared.chain.ends_at(head);
        } else {
            // It may have been made and only its answer lost.
            self.shared.newest.doubt();
        }
        if offered {
            self.shared.outlet.wake();
        }
        // Also after a failure, for the same reason.
        let now = self.shared.ticks.note(&touched);
        self.shared.listings.note(&touched, now);
        committed.map_err(StorageError::from)
    }
}

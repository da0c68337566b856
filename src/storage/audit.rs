//! Table `audit_rows`: the audit trail. What a job tells waits in `Trail` and is written, linked, when its commit ends.
//!
//! A newcomer's mistake is to write a row with SQL of its own: a row is told with [`Tx::audit`] inside the write that
//! does the deed, and vanishes with it when it is undone.

use crate::domain::audit::key_ring::KeyRing;
use crate::domain::audit::{Actor, Entry, Head, Link, RowText};
use crate::domain::decimal::{Decimal, Plain};
use crate::domain::price::Bar;
use crate::domain::price_version::{SeriesKey, Version};
use crate::storage::database::{Link as Connection, Tx, WriterPool, on};
use crate::storage::error::StorageError;
use crate::telemetry;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use std::io::Write as _;
use std::sync::{Arc, Mutex, PoisonError};

/// Most request ids that a row about prices names.
const REQUESTS_MAX: usize = 16;
/// Text of prices that is hashed at a time.
const HASHED: usize = 16 * 1024;

/// Prices that one caller recorded, or withdrew, in one commit.
#[derive(Debug)]
struct PriceTally {
    actor: Arc<Actor>,
    action: &'static str,
    rows: u64,
    hash: Sha256,
    requests: Vec<String>,
}

/// A tally as it was before a job.
#[derive(Debug)]
struct Before {
    place: usize,
    rows: u64,
    hash: Sha256,
    requests: usize,
}

/// What the jobs of a commit under way tell.
#[derive(Debug, Default)]
pub(super) struct Trail {
    entries: Vec<(Arc<Actor>, Entry)>,
    tallies: Vec<PriceTally>,
    /// Lines of prices that are not hashed yet, of the job under way.
    lines: Vec<u8>,
    job: JobTrail,
}

/// What the job under way has told.
#[derive(Debug, Default)]
struct JobTrail {
    actor: Option<Arc<Actor>>,
    entries_before: usize,
    /// The tallies it has touched, as they were; those beyond `tallies_before` are its own.
    touched: Vec<Before>,
    tallies_before: usize,
    /// The tally its lines belong to.
    place: usize,
    prices: u64,
    /// Rows it changed that are no facts.
    excused: u64,
    /// Rows the connection had changed when it began.
    changes_before: Option<i64>,
}

impl Trail {
    /// A job begins.
    pub(super) fn begin_job(&mut self) {
        self.job = JobTrail {
            entries_before: self.entries.len(),
            tallies_before: self.tallies.len(),
            ..JobTrail::default()
        };
    }

    /// Who does the job under way.
    pub(super) fn begin_as(&mut self, actor: Option<Arc<Actor>>) {
        self.job.actor = actor;
    }

    /// The job ends, and stands.
    pub(super) fn end_job(&mut self) {
        self.hash_lines();
    }

    /// The job is undone.
    pub(super) fn undo_job(&mut self) {
        self.lines.clear();
        self.entries.truncate(self.job.entries_before);
        for before in std::mem::take(&mut self.job.touched).into_iter().rev() {
            if let Some(tally) = self.tallies.get_mut(before.place) {
                (tally.rows, tally.hash) = (before.rows, before.hash);
                tally.requests.truncate(before.requests);
            }
        }
        self.tallies.truncate(self.job.tallies_before);
    }

    /// Notes that rows were changed which are no facts: kept answers.
    pub(super) fn excuse(&mut self, rows: u64) {
        self.job.excused += rows;
    }

    /// Tells a version of a price.
    pub(super) fn price(&mut self, series: SeriesKey, version: &Version) {
        let action = if version.withdrawn { "price.withdraw" } else { "price.record" };
        self.tell(action, series, std::slice::from_ref(version));
    }

    /// Tells versions of prices that were recorded.
    pub(super) fn prices(&mut self, series: SeriesKey, versions: &[Version]) {
        self.tell("price.record", series, versions);
    }

    fn tell(&mut self, action: &'static str, series: SeriesKey, versions: &[Version]) {
        self.turn_to(action);
        let count = u64::try_from(versions.len()).unwrap_or(u64::MAX);
        self.job.prices += count;
        if let Some(tally) = self.tallies.get_mut(self.job.place) {
            tally.rows += count;
        }
        let begin = line_begin(series);
        for version in versions {
            write_line(&mut self.lines, &begin, version);
            if self.lines.len() >= HASHED {
                self.hash_lines();
            }
        }
    }

    /// Makes the tally of the caller and this action the one that lines belong to.
    fn turn_to(&mut self, action: &'static str) {
        if self.job.prices > 0 && self.tallies.get(self.job.place).is_some_and(|tally| tally.action == action)
        {
            return;
        }
        self.hash_lines();
        let actor = Arc::clone(self.job.actor.get_or_insert_with(|| Arc::new(Actor::system("artifact"))));
        let same = |tally: &PriceTally| {
            let (one, other) = (&tally.actor, &actor);
            tally.action == action
                && (&one.name, one.kind, &one.key_prefix, &one.address)
                    == (&other.name, other.kind, &other.key_prefix, &other.address)
        };
        let Some(place) = self.tallies.iter().position(same) else {
            let requests = actor.request_id.iter().cloned().collect();
            self.job.place = self.tallies.len();
            self.tallies.push(PriceTally { actor, action, rows: 0, hash: Sha256::new(), requests });
            return;
        };
        self.job.place = place;
        let Some(tally) = self.tallies.get_mut(place) else { return };
        if place < self.job.tallies_before {
            let (rows, hash, requests) = (tally.rows, tally.hash.clone(), tally.requests.len());
            self.job.touched.push(Before { place, rows, hash, requests });
        }
        if let Some(id) = &actor.request_id
            && tally.requests.len() < REQUESTS_MAX
            && tally.requests.last() != Some(id)
        {
            tally.requests.push(id.clone());
        }
    }

    fn hash_lines(&mut self) {
        if let Some(tally) = self.tallies.get_mut(self.job.place)
            && !self.lines.is_empty()
        {
            tally.hash.update(&self.lines);
        }
        self.lines.clear();
    }

    /// Whether the job under way has told what it did.
    const fn has_told(&self) -> bool {
        self.job.prices > 0 || self.entries.len() > self.job.entries_before
    }

    fn take(&mut self) -> Vec<(Arc<Actor>, Entry)> {
        let mut told = std::mem::take(&mut self.entries);
        for tally in std::mem::take(&mut self.tallies).into_iter().filter(|tally| tally.rows > 0) {
            let hash = crate::domain::hexadecimal::hex(&tally.hash.finalize());
            let (rows, mut actor) = (tally.rows, tally.actor);
            let after = if tally.requests.len() > 1 {
                actor = Arc::new(Actor { request_id: None, ..Actor::clone(&actor) });
                json!({ "rows": rows, "sha256": hash, "request_ids": tally.requests })
            } else {
                json!({ "rows": rows, "sha256": hash })
            };
            let entry =
                Entry { object_id: None, after: Some(after.to_string()), ..Entry::done(tally.action, "") };
            told.push((actor, entry));
        }
        told
    }
}

/// What the lines of a series that are hashed begin with (docs/AUDIT.md).
fn line_begin(series: SeriesKey) -> String {
    let candle = if series.candle.is_empty() { "tick" } else { series.candle };
    format!("{} {} {candle} ", series.asset.0, series.source.0)
}

/// A version as the line that is hashed.
fn write_line(lines: &mut Vec<u8>, begin: &str, version: &Version) {
    lines.extend_from_slice(begin.as_bytes());
    match Plain::of(version.observed_at.0, 0) {
        Some(plain) => lines.extend_from_slice(plain.bytes()),
        None => lines.extend_from_slice(version.observed_at.0.to_string().as_bytes()),
    }
    lines.push(b' ');
    write_decimal(lines, &version.quote.price);
    let Bar { open, high, low, volume } = version.quote.bar();
    for part in [open, high, low, volume] {
        lines.push(b' ');
        match part {
            Some(part) => write_decimal(lines, part),
            None => lines.push(b'-'),
        }
    }
    lines.push(b'\n');
}

fn write_decimal(lines: &mut Vec<u8>, decimal: &Decimal) {
    match decimal.small().and_then(|(mantissa, scale)| Plain::of(mantissa, scale)) {
        Some(plain) => lines.extend_from_slice(plain.bytes()),
        // Writing to memory cannot fail.
        None => write!(lines, "{decimal}").unwrap_or_default(),
    }
}

impl Tx {
    /// A job begins: what was done before stands.
    pub(super) fn begin_job(&mut self) {
        self.pending.begin_job();
        self.trail.begin_job();
    }

    /// The job is undone, but for what it wrote to disk.
    pub(super) fn undo_job(&mut self) {
        self.pending.undo_job();
        self.trail.undo_job();
    }

    /// Tells what this write did. The row is written with its commit, under the name of whoever asked for it.
    pub fn audit(&mut self, entry: Entry) {
        let actor = self.trail.job.actor.get_or_insert_with(|| Arc::new(Actor::system("artifact")));
        self.trail.entries.push((Arc::clone(actor), entry));
    }

    /// Remembers how many rows were changed before this job, so that one that tells nothing is found out. Only in
    /// debug builds, and on SQLite, which counts.
    pub(super) async fn begin_watch(&mut self) -> Result<(), StorageError> {
        self.trail.job.changes_before = changes(self).await?;
        Ok(())
    }

    /// Refuses a job that changed something and told nothing.
    pub(super) async fn end_watch(&mut self) -> Result<(), StorageError> {
        if self.trail.has_told() {
            return Ok(());
        }
        let (before, after) = (self.trail.job.changes_before, changes(self).await?);
        let changed = after.zip(before).map_or(0, |(after, before)| after - before);
        let excused = i64::try_from(self.trail.job.excused).unwrap_or(i64::MAX);
        if changed > excused { Err(StorageError::Unaudited) } else { Ok(()) }
    }
}

/// Rows this connection has changed so far.
async fn changes(tx: &mut Tx) -> Result<Option<i64>, StorageError> {
    if !cfg!(debug_assertions) {
        return Ok(None);
    }
    match &mut tx.link {
        Connection::Sqlite(open) => {
            Ok(Some(sqlx::query_scalar("SELECT total_changes()").fetch_one(&mut **open).await?))
        }
        Connection::Postgres(_) => Ok(None),
    }
}

/// The chain of one database: its keys, and where it ends.
#[derive(Debug)]
pub(super) struct Chain {
    keys: KeyRing,
    /// Unknown before the first commit, and after one that failed, which may have been made.
    head: Mutex<Option<Head>>,
}

impl Chain {
    pub(super) const fn new(keys: KeyRing) -> Self {
        Self { keys, head: Mutex::new(None) }
    }

    pub(super) const fn keys(&self) -> &KeyRing {
        &self.keys
    }

    fn known(&self) -> Option<Head> {
        *self.head.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes where the chain ends after a commit; `None` when that is not known.
    pub(super) fn ends_at(&self, head: Option<Head>) {
        *self.head.lock().unwrap_or_else(PoisonError::into_inner) = head;
    }
}

/// Writes what the jobs of this commit told, and returns where the chain ends then.
pub(super) async fn write_told(tx: &mut Tx, chain: &Chain) -> Result<Option<Head>, StorageError> {
    let written = write_rows(tx, chain).await;
    if written.is_err() {
        metrics::counter!(telemetry::AUDIT_WRITE_FAILURES).increment(1);
    }
    written
}

async fn write_rows(tx: &mut Tx, chain: &Chain) -> Result<Option<Head>, StorageError> {
    const SQL: &str = "INSERT INTO audit_rows (seq, recorded_at, actor, actor_kind, key_prefix, address, action, \
        object_type, object_id, outcome, code, request_id, before_json, after_json, hash) \
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)";
    let told = tx.trail.take();
    if told.is_empty() {
        return Ok(chain.known());
    }
    let mut end = match chain.known() {
        Some(known) => known,
        None => head(tx).await?,
    };
    let recorded_at = tx.recorded_at()?;
    for (actor, entry) in &told {
        let row = RowText {
            seq: end.seq + 1,
            recorded_at,
            texts: [
                Some(&actor.name),
                Some(actor.kind.name()),
                actor.key_prefix.as_deref(),
                actor.address.as_deref(),
                Some(&entry.action),
                Some(&entry.object_type),
                entry.object_id.as_deref(),
                Some(entry.outcome.name()),
                entry.code.as_deref(),
                actor.request_id.as_deref(),
                entry.before.as_deref(),
                entry.after.as_deref(),
            ],
        };
        let hash = chain.keys.newest().link(&end.hash, &row);
        on!(tx, conn => {
            let mut query = sqlx::query(SQL).bind(row.seq).bind(row.recorded_at);
            for text in row.texts {
                query = query.bind(text);
            }
            query.bind(hash.as_slice()).execute(conn).await.map(drop)
        })?;
        end = Head { seq: row.seq, hash };
    }
    metrics::counter!(telemetry::AUDIT_ROWS).increment(u64::try_from(told.len()).unwrap_or_default());
    Ok(Some(end))
}

/// Whether the trail has a row.
pub(super) async fn has_rows(pool: &WriterPool) -> Result<bool, StorageError> {
    const SQL: &str = "SELECT COUNT(seq) FROM (SELECT seq FROM audit_rows ORDER BY seq LIMIT 1) AS first";
    let rows: i64 = match pool {
        WriterPool::Sqlite(pool) => sqlx::query_scalar(SQL).fetch_one(pool).await?,
        WriterPool::Postgres(pool) => sqlx::query_scalar(SQL).fetch_one(pool).await?,
    };
    Ok(rows > 0)
}

/// Where the chain ends, as the database says.
pub async fn head(tx: &mut Tx) -> Result<Head, StorageError> {
    const SQL: &str = "SELECT seq, hash FROM audit_rows ORDER BY seq DESC LIMIT 1";
    let row: Option<(i64, Vec<u8>)> = on!(tx, conn => sqlx::query_as(SQL).fetch_optional(conn).await)?;
    let Some((seq, hash)) = row else { return Ok(Head::EMPTY) };
    let hash = Link::try_from(hash).map_err(|_| StorageError::Corrupt(format!("hash of audit row {seq}")))?;
    Ok(Head { seq, hash })
}

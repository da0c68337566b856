//! What is measured rather than counted: looked at every few seconds, and kept until Prometheus asks.
//!
//! What the process knows of itself, what the file system tells and what the database tells are looked at apart, so
//! that one that hangs leaves the others their values.

use crate::clock::Clock;
use crate::domain::asset::AssetType;
use crate::domain::ids::AssetKey;
use crate::domain::moment::Moment;
use crate::storage::assets;
use crate::storage::database::Database;
use crate::storage::error::StorageError;
use crate::storage::{migrate, usage};
use crate::telemetry::{self as names, recorder};
use crate::workers::audit_trail::AuditTrail;
use crate::workers::backlog;
use crate::workers::feeds::Feeds;
use crate::workers::{ingest_queue, outbox};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Time between two looks at the process and the file system.
const OFTEN: Duration = Duration::from_secs(5);
/// Time between two looks at what waits in the write-ahead log.
const LOG: Duration = Duration::from_secs(2);
/// Time between two looks at the newest price of every asset.
const SELDOM: Duration = Duration::from_secs(15);

/// Keeps the gauges up to date until `stop` is cancelled.
pub async fn supervise(
    (db, feeds): (Database, Arc<Feeds>),
    directory: PathBuf,
    clock: Clock,
    stop: CancellationToken,
) {
    let process = async {
        loop {
            recorder::tidy();
            look_at_process(&db);
            look_at_feeds(&feeds, clock.now());
            if !passes(OFTEN, &stop).await {
                break;
            }
        }
    };
    let files = async {
        loop {
            look_at_files(directory.clone()).await;
            if !passes(OFTEN, &stop).await {
                break;
            }
        }
    };
    let prices = async {
        loop {
            match ages_of_prices(&db, clock.now()).await {
                Ok(ages) => {
                    for (kind, age) in ages {
                        metrics::gauge!(names::PRICE_STALENESS, "asset_type" => kind.name()).set(age);
                    }
                }
                Err(error) => tracing::debug!(%error, "the age of prices was not looked at"),
            }
            if !passes(SELDOM, &stop).await {
                break;
            }
        }
    };
    let waiting = async {
        loop {
            if let Err(error) = look_at_backlog(&db, clock.now()).await {
                tracing::debug!(%error, "what waits was not looked at");
            }
            if !passes(OFTEN, &stop).await {
                break;
            }
        }
    };
    let log = async {
        while passes(LOG, &stop).await {
            if let Err(error) = db.take_up_log().await {
                tracing::warn!(%error, "the write-ahead log was not taken up");
            }
        }
    };
    tokio::join!(process, files, prices, waiting, log);
}

/// Notes when the service began. What a process tells of its own start is hidden from it where `/proc` is.
pub fn begin(now: Moment) {
    set(names::SERVICE_START, seconds(now));
}

/// Notes how old the data is, and its last anchor. What was never done is late by the age of the data: counted from the
/// start of the service it would begin anew with each restart, and nobody would ever be told.
pub async fn note_ages(db: &Database, trail: &AuditTrail) {
    let made_at = async { migrate::made_at(&mut db.read().await?).await };
    let made_at = made_at.await.unwrap_or_else(|error| {
        tracing::warn!(%error, "when the database was made is not known");
        None
    });
    if let Some(at) = made_at {
        set(names::DATA_START, seconds(at));
    }
    // Where none can be read or written it would not be there at all.
    if let Some(at) = trail.last_anchor_at().await.or(made_at) {
        set(names::AUDIT_ANCHORED, seconds(at));
    }
}

/// A moment as gauges have it.
fn seconds(at: Moment) -> u64 {
    u64::try_from(at.0.div_euclid(1_000_000)).unwrap_or_default()
}

/// Waits; `false` when it was ended meanwhile.
async fn passes(time: Duration, stop: &CancellationToken) -> bool {
    tokio::select! {
        () = tokio::time::sleep(time) => true,
        () = stop.cancelled() => false,
    }
}

/// What the process knows of itself: it takes no time, so it is also done when Prometheus asks.
pub fn look_at_process(db: &Database) {
    metrics_process::Collector::default().collect();
    let runtime = tokio::runtime::Handle::current().metrics();
    let workers = runtime.num_workers();
    let busy: Duration = (0..workers).map(|worker| runtime.worker_total_busy_duration(worker)).sum();
    set(names::RUNTIME_WORKERS, count(workers));
    set(names::RUNTIME_TASKS, count(runtime.num_alive_tasks()));
    set(names::RUNTIME_QUEUE, count(runtime.global_queue_depth()));
    metrics::gauge!(names::RUNTIME_BUSY).set(busy);
    let connections = db.connections();
    metrics::gauge!(names::DB_CONNECTIONS, "state" => "idle").set(recorder::value(connections.idle));
    metrics::gauge!(names::DB_CONNECTIONS, "state" => "used").set(recorder::value(connections.used));
    set(names::WRITER_QUEUE, count(db.writer().waiting()));
    let clock = db.stamps().clock_health();
    set(names::CLOCK_BEHIND, u64::from(clock.behind));
    set(names::CLOCK_AHEAD, u64::from(clock.ahead));
}

fn set(name: &'static str, count: u64) {
    metrics::gauge!(name).set(recorder::value(count));
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

/// How the feeds are doing.
pub fn look_at_feeds(feeds: &Feeds, now: Moment) {
    let mut sources: BTreeMap<&str, (bool, bool)> = BTreeMap::new();
    for feed in feeds.all() {
        let known = sources.entry(&feed.definition.source).or_default();
        *known = (known.0 || feed.is_wanted(), known.1 || feed.is_stale(now));
    }
    for (source, (wanted, stale)) in sources {
        let source = || source.to_owned();
        metrics::gauge!(names::FEED_WANTED, "source" => source()).set(u8::from(wanted));
        metrics::gauge!(names::FEED_STALE, "source" => source()).set(u8::from(stale));
        // There from the start, so that the first one is an increase.
        metrics::counter!(names::FEED_RECONNECTS, "source" => source()).increment(0);
    }
}

/// What waits in the queue, and in the outbox where there is somebody to post to.
///
/// # Errors
/// The database's.
pub async fn look_at_backlog(db: &Database, now: Moment) -> Result<(), StorageError> {
    let found = backlog::look(db).await?;
    ingest_queue::show(found.queue);
    let age = found.queue_oldest.map(|at| backlog::seconds_since(at, now));
    set(names::INGEST_QUEUE_OLDEST, age.unwrap_or_default());
    if db.outlet().destination().is_some() {
        outbox::show(found.outbox, found.outbox_oldest, now);
    }
    Ok(())
}

/// What the file system tells of the data directory.
pub async fn look_at_files(directory: PathBuf) {
    let looked = tokio::task::spawn_blocking(move || usage::of_directory(&directory));
    let Ok(found) = looked.await else { return };
    let sizes = [
        (names::DATABASE_BYTES, found.database_bytes),
        // Without a log it has no size; then it is empty.
        (names::WAL_BYTES, found.database_bytes.map(|_| found.wal_bytes.unwrap_or_default())),
        (names::DISK_FREE, found.disk.map(|disk| disk.free_bytes)),
        (names::DISK_SIZE, found.disk.map(|disk| disk.size_bytes)),
    ];
    for (name, bytes) in sizes {
        if let Some(bytes) = bytes {
            set(name, bytes);
        }
    }
}

/// The age of the newest price of each active asset; of each type the greatest.
///
/// # Errors
/// The database's.
pub async fn ages_of_prices(
    db: &Database,
    now: Moment,
) -> Result<BTreeMap<AssetType, Duration>, StorageError> {
    let mut oldest: BTreeMap<AssetType, Duration> = BTreeMap::new();
    let mut after = Some(AssetKey(i64::MIN));
    while let Some(first) = after {
        let page = assets::active(&mut db.read().await?, first).await?;
        after = page.last().map(|(key, _)| *key);
        for (key, kind) in page {
            let Some(newest) = db.newest().observed_at(key) else { continue };
            let micros = u64::try_from(now.0.saturating_sub(newest.0)).unwrap_or_default();
            let known = oldest.entry(kind).or_default();
            *known = Duration::from_micros(micros).max(*known);
        }
    }
    Ok(oldest)
}

//! Prices: recording versions of points, and reading those in force. Nothing is overwritten.
//!
//! What is recorded waits in `pending` and becomes a block when the commit ends; points come out of blocks
//! through `price_series` and `price_windows`; the newest of each series is in memory (`newest`). A newcomer's mistake is
//! to look for a row per price: there is none.

use crate::domain::ids::{AssetKey, SourceKey};
use crate::domain::interval::Interval;
use crate::domain::moment::Moment;
use crate::domain::price::{Mark, Outcome, PricePoint, Quote};
use crate::domain::price_version::{SeriesKey, Version};
use crate::storage::assets;
use crate::storage::database::{Tx, on};
use crate::storage::error::StorageError;
use crate::storage::newest::{self, SeriesEnd, Source};
use crate::storage::pending::HELD;
use crate::storage::price_blocks::{self, FreshRange};
use crate::storage::price_series;
use crate::storage::price_windows::Points;
use crate::storage::recall;
use crate::storage::sealing;
use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Assets read at a time.
const ASSETS: usize = 50;

/// What one source says about one asset, point by point.
#[derive(Debug, Clone, Copy)]
pub struct Series<'a> {
    /// The asset.
    pub asset: AssetKey,
    /// The source.
    pub source: SourceKey,
    /// Candle length; empty for ticks.
    pub interval: &'a str,
    /// Sources in order of preference, to choose among points of one moment.
    pub source_priority: &'a [String],
}

impl Series<'_> {
    fn key(&self) -> Result<SeriesKey, StorageError> {
        price_blocks::named(self.asset, self.source, self.interval)
    }
}

/// The key of a source, which is added when it is new.
pub async fn source(tx: &mut Tx, name: &str) -> Result<SourceKey, StorageError> {
    const FIND: &str = "SELECT source_key FROM price_sources WHERE name = $1";
    const ADD: &str =
        "INSERT INTO price_sources (source_key, name, split_adjusted, recorded_at) VALUES ($1, $2, $3, $4)";
    if let Some(key) = known_source(tx, name) {
        return Ok(key);
    }
    let found: Option<SourceKey> =
        on!(tx, conn => sqlx::query_scalar(FIND).bind(name).fetch_optional(conn).await)?;
    if let Some(key) = found {
        return Ok(key);
    }
    let (key, recorded_at) = (SourceKey(tx.next_seq()?), tx.recorded_at()?);
    on!(tx, conn => sqlx::query(ADD).bind(key).bind(name).bind(false).bind(recorded_at).execute(conn).await.map(drop))?;
    tx.pending.set_source(key, Source { name: Arc::from(name), split_adjusted: false });
    Ok(key)
}

/// The key of a source that was there before this commit, from memory.
pub fn known_source(tx: &Tx, name: &str) -> Option<SourceKey> {
    tx.newest.state().keys.get(name).copied()
}

/// Where a series ends, what the commit under way has recorded included.
fn end_of(tx: &Tx, key: SeriesKey) -> Option<SeriesEnd> {
    tx.pending.end(key).cloned().or_else(|| tx.newest.state().end(key).cloned())
}

/// Refuses a series of an asset or a source that does not exist.
async fn check_series(tx: &mut Tx, key: SeriesKey) -> Result<(), StorageError> {
    const SQL: &str = "SELECT CASE WHEN EXISTS (SELECT 1 FROM assets WHERE asset_key = $1) \
        AND EXISTS (SELECT 1 FROM price_sources WHERE source_key = $2) THEN 1 ELSE 0 END";
    let known: i32 =
        on!(tx, conn => sqlx::query_scalar(SQL).bind(key.asset).bind(key.source).fetch_one(conn).await)?;
    if known == 1 { Ok(()) } else { Err(StorageError::MissingReference(sqlx::Error::RowNotFound)) }
}

/// What was known of some moments before the commit under way, from memory or from disk.
async fn older_versions(
    tx: &mut Tx,
    key: SeriesKey,
    end: Option<&SeriesEnd>,
    moments: impl Iterator<Item = Moment>,
) -> Result<HashMap<Moment, Version>, StorageError> {
    let Some(end) = end else { return Ok(HashMap::new()) };
    let newest = end.newest.as_ref().map(|newest| newest.observed_at);
    let pending = &tx.pending;
    let unknown =
        |at: &Moment| *at <= end.last_at && Some(*at) != newest && pending.last_of(key, *at).is_none();
    let mut older: Vec<Moment> = moments.filter(unknown).collect();
    older.sort_unstable();
    older.dedup();
    let mut known = price_series::last_versions(tx, key, &older).await?;
    known.extend(end.newest.clone().map(|newest| (newest.observed_at, newest)));
    Ok(known)
}

/// Records points of one series, in the order given: a point equal to its current version is a duplicate, a
/// different one is a correction, and of two rows with one moment the later wins with both kept.
pub async fn record(
    tx: &mut Tx,
    series: Series<'_>,
    points: &[(Moment, Quote)],
) -> Result<Vec<Outcome>, StorageError> {
    let key = series.key()?;
    let mut outcomes = Vec::with_capacity(points.len());
    for some in points.chunks(HELD) {
        record_some(tx, key, some, &mut outcomes).await?;
        if tx.pending.is_heavy() {
            let taken = tx.pending.take_job();
            sealing::write_recorded(tx, taken).await?;
        }
    }
    if outcomes.iter().any(|outcome| *outcome != Outcome::Duplicate) {
        prefer(tx, series.asset, series.source_priority);
    }
    Ok(outcomes)
}

/// What became of the points of a run.
#[derive(Debug)]
pub enum Recorded {
    /// All of them are new.
    New,
    /// The outcome of each.
    Each(Vec<Outcome>),
}

/// The same as [`record`] for points that are not wanted any more. Where they go on from the end of their series, as they
/// mostly do, none is looked up.
pub async fn record_run(
    tx: &mut Tx,
    series: Series<'_>,
    points: Vec<(Moment, Quote)>,
) -> Result<Recorded, StorageError> {
    let key = series.key()?;
    let known = tx.pending.end(key).map(|end| end.last_at);
    let last_at = known.or_else(|| tx.newest.state().end(key).map(|end| end.last_at));
    let goes_on = points.first().is_some_and(|(first, _)| last_at.is_none_or(|last| last < *first));
    if !goes_on || points.len() > HELD || !points.is_sorted_by(|(one, _), (next, _)| one < next) {
        return record(tx, series, &points).await.map(Recorded::Each);
    }
    if last_at.is_none() {
        check_series(tx, key).await?;
    }
    append(tx, key, points)?;
    if tx.pending.is_heavy() {
        let taken = tx.pending.take_job();
        sealing::write_recorded(tx, taken).await?;
    }
    prefer(tx, series.asset, series.source_priority);
    Ok(Recorded::New)
}

/// Takes up points in order of time that are all later than what their series has.
fn append(tx: &mut Tx, key: SeriesKey, points: Vec<(Moment, Quote)>) -> Result<(), StorageError> {
    let (recorded_at, first) = (tx.recorded_at()?, tx.next_seqs(points.len())?);
    let versions: Vec<Version> = (first..)
        .zip(points)
        .map(|(seq, (observed_at, quote))| Version {
            observed_at,
            seq,
            recorded_at,
            ended_at: Moment::MAX,
            withdrawn: false,
            quote,
        })
        .collect();
    tx.quoted.insert(key.asset);
    tx.trail.prices(key, &versions);
    if let Some(last) = versions.last() {
        tx.pending.set_end(key, SeriesEnd { last_at: last.observed_at, newest: Some(last.clone()) });
    }
    tx.pending.extend_run(key, versions);
    Ok(())
}

async fn record_some(
    tx: &mut Tx,
    key: SeriesKey,
    points: &[(Moment, Quote)],
    outcomes: &mut Vec<Outcome>,
) -> Result<(), StorageError> {
    let end = end_of(tx, key);
    if end.is_none() && !points.is_empty() {
        check_series(tx, key).await?;
    }
    let older = older_versions(tx, key, end.as_ref(), points.iter().map(|(at, _)| *at)).await?;
    take_up(tx, (key, end), |at| older.get(&at), points, outcomes)
}

/// Takes up points of a series that ends in `end`; `older` tells the last version of a moment from before the commit.
fn take_up<'a>(
    tx: &mut Tx,
    (key, mut end): (SeriesKey, Option<SeriesEnd>),
    older: impl Fn(Moment) -> Option<&'a Version>,
    points: &[(Moment, Quote)],
    outcomes: &mut Vec<Outcome>,
) -> Result<(), StorageError> {
    let recorded_at = tx.recorded_at()?;
    tx.quoted.insert(key.asset);
    let mut run = tx.pending.take_run(key);
    let mut more = 0;
    for (observed_at, quote) in points {
        let known = end
            .as_ref()
            .filter(|end| *observed_at <= end.last_at)
            .and_then(|_| run.last_of(*observed_at).or_else(|| older(*observed_at)));
        let outcome = match known {
            Some(known) if !known.withdrawn && known.quote == *quote => Outcome::Duplicate,
            Some(_) => Outcome::Corrected,
            None => Outcome::Stored,
        };
        if outcome != Outcome::Duplicate {
            let version = Version {
                observed_at: *observed_at,
                seq: tx.next_seq()?,
                recorded_at,
                ended_at: Moment::MAX,
                withdrawn: false,
                quote: quote.clone(),
            };
            SeriesEnd::add(&mut end, &version);
            tx.trail.price(key, &version);
            run.push(version);
            more += 1;
        }
        outcomes.push(outcome);
    }
    tx.pending.put_run(key, run, more);
    if let Some(end) = end.filter(|_| more > 0) {
        tx.pending.set_end(key, end);
    }
    Ok(())
}

/// Records a point that can be judged without the disk: it is later than all of its series, or another version of the
/// newest point. One without a moment is observed when it arrived, moved on by microseconds until its key is free.
/// `None` when the disk must be asked; then nothing was done.
pub fn continue_series(
    tx: &mut Tx,
    series: Series<'_>,
    observed_at: Option<Moment>,
    arrived_at: Moment,
    quote: &Quote,
) -> Result<Option<Outcome>, StorageError> {
    let key = series.key()?;
    let Some(end) = end_of(tx, key) else { return Ok(None) };
    let at = match observed_at {
        Some(at) => at,
        None if arrived_at == end.last_at => arrived_at.plus(1),
        None => arrived_at,
    };
    let newest = end.newest.clone().filter(|newest| newest.observed_at == at);
    if at <= end.last_at
        && newest.is_none()
        && (observed_at.is_none() || tx.pending.last_of(key, at).is_none())
    {
        return Ok(None);
    }
    let mut outcomes = Vec::with_capacity(1);
    take_up(tx, (key, Some(end)), |_| newest.as_ref(), &[(at, quote.clone())], &mut outcomes)?;
    if outcomes != [Outcome::Duplicate] {
        prefer(tx, series.asset, series.source_priority);
    }
    Ok(outcomes.pop())
}

/// Notes that an asset has changed, and which sources come first from now on.
fn prefer(tx: &mut Tx, asset: AssetKey, priority: &[String]) {
    tx.touched.assets.push(asset);
    let known = tx.pending.priority(asset).cloned();
    let known = known.or_else(|| tx.newest.state().assets.get(&asset).map(|ends| Arc::clone(&ends.priority)));
    if known.as_deref().unwrap_or_default() != priority {
        tx.pending.set_priority(asset, Arc::from(priority));
    }
}

/// The version of a point that was learned last, withdrawn or not.
async fn last_version(tx: &mut Tx, key: SeriesKey, at: Moment) -> Result<Option<Version>, StorageError> {
    let Some(end) = end_of(tx, key).filter(|end| at <= end.last_at) else { return Ok(None) };
    if let Some(pending) = tx.pending.last_of(key, at) {
        return Ok(Some(pending.clone()));
    }
    if let Some(newest) = end.newest.as_ref().filter(|newest| newest.observed_at == at) {
        return Ok(Some(newest.clone()));
    }
    Ok(price_series::last_versions(tx, key, &[at]).await?.remove(&at))
}

/// Withdraws a point: a version that hides it, those before it stay readable as known then. `false` when there is none
/// in force.
pub async fn withdraw(tx: &mut Tx, series: Series<'_>, observed_at: Moment) -> Result<bool, StorageError> {
    let key = series.key()?;
    let recorded_at = tx.recorded_at()?;
    let known = last_version(tx, key, observed_at).await?.filter(|known| !known.withdrawn);
    let Some(known) = known else { return Ok(false) };
    let seq = tx.next_seq()?;
    let quote = Quote::tick(known.quote.price);
    let version = Version { observed_at, seq, recorded_at, ended_at: Moment::MAX, withdrawn: true, quote };
    tx.trail.price(key, &version);
    let mut run = tx.pending.take_run(key);
    run.push(version);
    tx.pending.put_run(key, run, 1);
    if let Some(mut end) = end_of(tx, key) {
        if end.newest.as_ref().is_some_and(|newest| newest.observed_at == observed_at) {
            let before = observed_at.plus(-1);
            let fresh =
                price_blocks::fresh(tx, FreshRange { to: before, ..FreshRange::of(key.asset) }).await?;
            let of = (before, Moment::MAX);
            end.newest = price_series::newest_of_many(tx, &[key], &fresh, of).await?.remove(&key);
        }
        tx.pending.set_end(key, end);
    }
    tx.quoted.insert(series.asset);
    prefer(tx, series.asset, series.source_priority);
    Ok(true)
}

/// Whether a series has a version at this moment, withdrawn or not.
pub async fn exists(tx: &mut Tx, series: Series<'_>, observed_at: Moment) -> Result<bool, StorageError> {
    Ok(last_version(tx, series.key()?, observed_at).await?.is_some())
}

fn point(series: SeriesKey, version: Version, source: &Source) -> PricePoint {
    PricePoint {
        asset: series.asset,
        source: source.name.as_ref().to_owned(),
        interval: series.candle.to_owned(),
        observed_at: version.observed_at,
        recorded_at: version.recorded_at,
        split_adjusted: source.split_adjusted,
        quote: version.quote,
    }
}

/// The point that values an asset at `as_of`, as known at `known_at`: the greatest `observed_at`, ties by the order
/// of sources, then the later recorded.
pub async fn at(
    tx: &mut Tx,
    asset: AssetKey,
    source_priority: &[String],
    as_of: Moment,
    known_at: Moment,
) -> Result<Option<PricePoint>, StorageError> {
    let wanted = [(asset, source_priority.to_vec())];
    Ok(at_many(tx, &wanted, as_of, known_at).await?.remove(&asset))
}

/// The same for many assets at once, each with its order of sources; those without a price are left out.
pub async fn at_many(
    tx: &mut Tx,
    wanted: &[(AssetKey, Vec<String>)],
    as_of: Moment,
    known_at: Moment,
) -> Result<BTreeMap<AssetKey, PricePoint>, StorageError> {
    let sources = recall::sources(tx, known_at).await?;
    let mut wanted: Vec<&(AssetKey, Vec<String>)> = wanted.iter().collect();
    wanted.sort_unstable_by_key(|(asset, _)| *asset);
    let mut found = BTreeMap::new();
    for some in wanted.chunks(ASSETS) {
        let (Some((first, _)), Some((last, _))) = (some.first(), some.last()) else { continue };
        let range = FreshRange { first: *first, last: *last, from: Moment::MIN, to: as_of, known_at };
        let fresh = price_blocks::fresh(tx, range).await?;
        let series: Vec<SeriesKey> =
            some.iter().flat_map(|(asset, _)| price_series::series_of(tx, *asset, &fresh)).collect();
        let newest = price_series::newest_of_many(tx, &series, &fresh, (as_of, known_at)).await?;
        for (asset, priority) in some {
            let from = SeriesKey { asset: *asset, source: SourceKey(i64::MIN), candle: "" };
            let own = newest.range(from..).take_while(|(series, _)| series.asset == *asset);
            let name = |source: SourceKey| sources.get(&source).map(|source| Arc::clone(&source.name));
            let best = newest::best(own.map(|(series, version)| (*series, version)), name, priority);
            if let Some((series, version)) = best
                && let Some(source) = sources.get(&series.source)
            {
                found.insert(*asset, point(series, version.clone(), source));
            }
        }
    }
    Ok(found)
}

/// Keeps the newest price of an asset true when its order of sources changes.
pub fn refresh_latest(tx: &mut Tx, asset: AssetKey, source_priority: &[String]) {
    prefer(tx, asset, source_priority);
}

/// The newest price of each of these assets that has one. It is read from memory, unless what is there is not what the
/// snapshot has.
pub async fn latest(tx: &mut Tx, assets: &[AssetKey]) -> Result<BTreeMap<AssetKey, Mark>, StorageError> {
    if tx.stamp.is_some() {
        return Ok(assets.iter().filter_map(|asset| Some((*asset, own_point(tx, *asset)?.into()))).collect());
    }
    let snapshot = recall::last_commit(tx).await?;
    let (mut marks, mut other) = (BTreeMap::new(), Vec::new());
    {
        let state = tx.newest.state();
        let same = state.published >= snapshot && state.sources_changed_at <= snapshot;
        for asset in assets {
            let changed_at = state.assets.get(asset).and_then(|ends| ends.changed_at);
            if same && changed_at.is_none_or(|at| at <= snapshot) {
                marks.extend(state.mark(*asset).map(|mark| (*asset, mark)));
            } else {
                other.push(*asset);
            }
        }
    }
    if !other.is_empty() {
        let terms = assets::terms(tx, &other, Moment::MAX).await?;
        let wanted: Vec<(AssetKey, Vec<String>)> =
            other.iter().map(|asset| (*asset, recall::priority(&terms, *asset).to_vec())).collect();
        let points = at_many(tx, &wanted, Moment::MAX, Moment::MAX).await?;
        marks.extend(points.into_iter().map(|(asset, point)| (asset, Mark::from(point))));
    }
    Ok(marks)
}

/// The newest point of an asset inside the commit under way.
pub(super) fn own_point(tx: &Tx, asset: AssetKey) -> Option<PricePoint> {
    let state = tx.newest.state();
    let kept = state.assets.get(&asset);
    let mut ends: BTreeMap<SeriesKey, &SeriesEnd> = kept
        .into_iter()
        .flat_map(|ends| &ends.series)
        .map(|((source, candle), end)| (SeriesKey { asset, source: *source, candle }, end))
        .collect();
    ends.extend(tx.pending.ends_of(asset));
    let of = |source: SourceKey| tx.pending.source(source).or_else(|| state.sources.get(&source));
    let priority = tx.pending.priority(asset).or(kept.map(|ends| &ends.priority));
    let points = ends.into_iter().filter_map(|(series, end)| Some((series, end.newest.as_ref()?)));
    let name = |source: SourceKey| of(source).map(|source| Arc::clone(&source.name));
    let (series, version) = newest::best(points, name, priority.map(AsRef::as_ref).unwrap_or_default())?;
    Some(point(series, version.clone(), of(series.source)?))
}

/// Whether an asset has a price, in force or not.
pub(super) fn has_any(tx: &Tx, asset: AssetKey) -> bool {
    let kept = tx.newest.state().assets.get(&asset).is_some_and(|ends| !ends.series.is_empty());
    kept || tx.pending.ends_of(asset).next().is_some()
}

/// Writes what the commit under way has recorded.
pub(super) async fn write_pending(tx: &mut Tx) -> Result<(), StorageError> {
    let runs = tx.pending.take_all();
    sealing::write_recorded(tx, runs).await
}

/// Which part of an asset's history is wanted.
#[derive(Debug, Clone)]
pub struct PriceRange {
    /// The asset.
    pub asset: AssetKey,
    /// Of this source only.
    pub source: Option<String>,
    /// Of this candle length only.
    pub interval: Option<String>,
    /// From this moment,
    pub from: Moment,
    /// before this one,
    pub until: Moment,
    /// as known then.
    pub known_at: Moment,
    /// After this point of an earlier page: its moment and sequence.
    pub after: Option<(Moment, i64)>,
    /// Rows wanted.
    pub limit: i64,
}

impl PriceRange {
    fn limit(&self) -> usize {
        usize::try_from(self.limit).unwrap_or_default()
    }

    /// Whether a series has the source and the interval that are wanted.
    pub(super) fn has(&self, series: SeriesKey, source: &Source) -> bool {
        self.source.as_deref().is_none_or(|name| *name == *source.name)
            && self.interval.as_deref().is_none_or(|interval| interval == series.candle)
    }
}

/// Current points of an asset in order of time, each with its sequence.
pub async fn history(tx: &mut Tx, range: &PriceRange) -> Result<Vec<(i64, PricePoint)>, StorageError> {
    let mut reader = Points::new(range.clone());
    let mut points = Vec::new();
    while points.len() < range.limit() && !reader.are_read() {
        reader.read(tx).await?;
        while points.len() < range.limit()
            && let Some((teller, version)) = reader.take()?
        {
            points.push((version.seq, teller.point(range.asset, version)));
        }
    }
    Ok(points)
}

/// The newest current points of a range, the newest first; those of one moment in the order of sources, then the later
/// recorded first. `candles` says whether points of a day or longer are wanted, or all others.
pub async fn newest(
    tx: &mut Tx,
    range: &PriceRange,
    candles: bool,
    source_priority: &[String],
) -> Result<Vec<PricePoint>, StorageError> {
    let until = range.until.plus(-1);
    if range.until == Moment::MIN || range.from > until {
        return Ok(Vec::new());
    }
    let sources = recall::sources(tx, range.known_at).await?;
    let fresh =
        FreshRange { from: range.from, to: until, known_at: range.known_at, ..FreshRange::of(range.asset) };
    let fresh = price_blocks::fresh(tx, fresh).await?;
    let mut found: Vec<(SeriesKey, &Source, Version)> = Vec::new();
    for series in price_series::series_of(tx, range.asset, &fresh) {
        let source = sources.get(&series.source).filter(|source| range.has(series, source));
        let Some(source) = source.filter(|_| is_daily(series.candle) == candles) else { continue };
        let of = price_series::Series::of(series, &fresh, range.known_at);
        let block = price_blocks::current_before(tx, series, until).await?;
        let points = of.newest(tx, (range.from, until), range.limit(), block).await?;
        found.extend(points.into_iter().map(|version| (series, source, version)));
    }
    found.sort_by_key(|(_, _, version)| Reverse((version.observed_at, version.seq)));
    found.truncate(range.limit());
    let rank = |source: &Source| source_priority.iter().position(|name| **name == *source.name);
    found.sort_by_key(|(_, source, version)| {
        (Reverse(version.observed_at), rank(source).unwrap_or(usize::MAX), Reverse(version.seq))
    });
    Ok(found.into_iter().map(|(series, source, version)| point(series, version, source)).collect())
}

/// Whether candles of this length stand for whole days.
pub(super) fn is_daily(candle: &str) -> bool {
    Interval::from_name(candle).is_some_and(Interval::is_daily_or_longer)
}

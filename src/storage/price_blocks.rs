//! Tables `fresh_prices`, `sealed_prices` and `price_sealing`: blocks of price versions, written and read whole.
//!
//! [`crate::storage::price_series`] reads points out of them, [`crate::storage::sealing`] sorts them.

use crate::domain::ids::{AssetKey, SourceKey};
use crate::domain::moment::Moment;
use crate::domain::price_block::{self, BLOCK_POINTS, Block, BlockError, Columns};
use crate::domain::price_version::{SeriesKey, Version};
use crate::storage::database::{Tx, on};
use crate::storage::error::StorageError;
use sqlx::QueryBuilder;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// Keys named by one statement.
const KEYS: usize = 200;

impl From<BlockError> for StorageError {
    fn from(error: BlockError) -> Self {
        Self::Corrupt(error.to_string())
    }
}

/// Versions by series, each series in order of moments and sequence.
pub(super) type Runs = BTreeMap<SeriesKey, Vec<Version>>;

/// How far sealing has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::FromRow)]
pub(super) struct Sealing {
    /// The last block of the round; 0 when there is none.
    pub(super) upto_block: i64,
    /// Of its blocks, what is about assets before this one has been sealed,
    pub(super) asset_key: AssetKey,
    /// and of this one up to here.
    pub(super) observed_at: Moment,
}

impl Sealing {
    /// Between two rounds. `last` is a block that is gone, so that no two of these are alike.
    pub(super) const fn idle(last: i64) -> Self {
        Self { upto_block: 0, asset_key: AssetKey(0), observed_at: Moment(last) }
    }

    /// Whether a version in a block counts no more, because a sealed block has it.
    const fn has(self, block: i64, asset: AssetKey, at: Moment) -> bool {
        block <= self.upto_block
            && (asset.0 < self.asset_key.0 || asset.0 == self.asset_key.0 && at.0 <= self.observed_at.0)
    }
}

/// The sealing under way.
pub(super) async fn sealing(tx: &mut Tx) -> Result<Sealing, StorageError> {
    const SQL: &str = "SELECT upto_block, asset_key, observed_at FROM price_sealing WHERE id = 1";
    on!(tx, conn => sqlx::query_as(SQL).fetch_one(conn).await)
}

/// Notes how far sealing has come, if it stands where it was thought to.
pub(super) async fn set_sealing(tx: &mut Tx, from: Sealing, to: Sealing) -> Result<bool, StorageError> {
    const SQL: &str = "UPDATE price_sealing SET upto_block = $1, asset_key = $2, observed_at = $3 WHERE id = 1 \
        AND upto_block = $4 AND asset_key = $5 AND observed_at = $6";
    let changed = on!(tx, conn => sqlx::query(SQL).bind(to.upto_block).bind(to.asset_key).bind(to.observed_at)
        .bind(from.upto_block).bind(from.asset_key).bind(from.observed_at)
        .execute(conn).await.map(|done| done.rows_affected()))?;
    Ok(changed == 1)
}

/// Which blocks there are of what was recorded last, without their bodies.
#[derive(Debug, Clone, sqlx::FromRow)]
pub(super) struct FreshBlock {
    pub(super) block_id: i64,
    pub(super) first_asset: AssetKey,
    pub(super) last_asset: AssetKey,
    pub(super) first_at: Moment,
    pub(super) points: i64,
}

/// Every fresh block, in order of writing.
pub(super) async fn fresh_blocks(tx: &mut Tx) -> Result<Vec<FreshBlock>, StorageError> {
    const SQL: &str = "SELECT block_id, first_asset, last_asset, first_at, points FROM fresh_prices ORDER BY block_id \
        LIMIT 10000000";
    on!(tx, conn => sqlx::query_as(SQL).fetch_all(conn).await)
}

/// Smallest and greatest of the moments versions are about, were learned and ended, and how many there are.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    at: (i64, i64),
    recorded: (i64, i64),
    last_ended_at: i64,
    points: i64,
}

impl Bounds {
    fn of<'a>(runs: impl Iterator<Item = &'a [Version]>) -> Self {
        let (mut at, mut recorded) = ((i64::MAX, i64::MIN), (i64::MAX, i64::MIN));
        let (mut last_ended_at, mut points) = (i64::MIN, 0_usize);
        for versions in runs {
            points += versions.len();
            for version in versions {
                at = (at.0.min(version.observed_at.0), at.1.max(version.observed_at.0));
                recorded = (recorded.0.min(version.recorded_at.0), recorded.1.max(version.recorded_at.0));
                last_ended_at = last_ended_at.max(version.ended_at.0);
            }
        }
        Self { at, recorded, last_ended_at, points: i64::try_from(points).unwrap_or(i64::MAX) }
    }
}

/// A fresh block ready to be written.
#[derive(Debug)]
pub(super) struct PackedFresh {
    assets: (i64, i64),
    bounds: Bounds,
    body: Vec<u8>,
}

impl PackedFresh {
    fn of(runs: &[(SeriesKey, &[Version])]) -> Result<Self, StorageError> {
        // Runs are sorted by series.
        let ends = [runs.first(), runs.last()];
        let [first, last] = ends.map(|run| run.map(|(series, _)| series.asset.0).unwrap_or_default());
        let assets = (first, last);
        let bounds = Bounds::of(runs.iter().map(|(_, versions)| *versions));
        Ok(Self { assets, bounds, body: price_block::encode(runs)? })
    }

    /// Writes it.
    pub(super) async fn insert(&self, tx: &mut Tx) -> Result<(), StorageError> {
        const SQL: &str = "INSERT INTO fresh_prices (block_id, first_asset, last_asset, first_at, last_at, \
            first_recorded_at, last_recorded_at, points, body) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
        let (block, Self { assets, bounds, body }) = (tx.next_seq()?, self);
        on!(tx, conn => sqlx::query(SQL).bind(block).bind(assets.0).bind(assets.1).bind(bounds.at.0)
            .bind(bounds.at.1).bind(bounds.recorded.0).bind(bounds.recorded.1).bind(bounds.points).bind(body)
            .execute(conn).await.map(drop))
    }
}

/// Packs versions of any series into fresh blocks; those of each in order of moments and sequence.
pub(super) fn pack_fresh(mut runs: Vec<(SeriesKey, Vec<Version>)>) -> Result<Vec<PackedFresh>, StorageError> {
    runs.sort_unstable_by_key(|(series, _)| *series);
    let mut packed = Vec::new();
    let (mut block, mut room): (Vec<(SeriesKey, &[Version])>, usize) = (Vec::new(), BLOCK_POINTS);
    for (series, versions) in &runs {
        let mut rest = versions.as_slice();
        while !rest.is_empty() {
            let (these, others) = rest.split_at(room.min(rest.len()));
            block.push((*series, these));
            room -= these.len();
            rest = others;
            if room == 0 {
                packed.push(PackedFresh::of(&block)?);
                (block, room) = (Vec::new(), BLOCK_POINTS);
            }
        }
    }
    if !block.is_empty() {
        packed.push(PackedFresh::of(&block)?);
    }
    Ok(packed)
}

/// Writes versions of any series as fresh blocks; those of each in order of moments and sequence.
pub(super) async fn insert_fresh(
    tx: &mut Tx,
    runs: Vec<(SeriesKey, Vec<Version>)>,
) -> Result<(), StorageError> {
    for block in pack_fresh(runs)? {
        block.insert(tx).await?;
    }
    Ok(())
}

/// What is wanted of the versions not sealed yet.
#[derive(Debug, Clone, Copy)]
pub(super) struct FreshRange {
    /// From this asset
    pub(super) first: AssetKey,
    /// to this one.
    pub(super) last: AssetKey,
    /// About this moment or later,
    pub(super) from: Moment,
    /// up to this one.
    pub(super) to: Moment,
    /// Learned by then.
    pub(super) known_at: Moment,
}

impl FreshRange {
    /// Everything about one asset.
    pub(super) const fn of(asset: AssetKey) -> Self {
        Self { first: asset, last: asset, from: Moment::MIN, to: Moment::MAX, known_at: Moment::MAX }
    }
}

/// The rows of a block that are about a series and a span of moments.
fn rows_between(moments: &[i64], rows: &Range<usize>, from: Moment, to: Moment) -> Range<usize> {
    let these = moments.get(rows.clone()).unwrap_or_default();
    let first = these.partition_point(|at| *at < from.0);
    let last = these.partition_point(|at| *at <= to.0);
    rows.start + first..rows.start + last.max(first)
}

/// Adds what a fresh block has of a range.
fn add_fresh(
    runs: &mut Runs,
    (block_id, body): (i64, &[u8]),
    range: FreshRange,
    sealing: Sealing,
) -> Result<(), StorageError> {
    let block = Block::open(body)?;
    let wanted: Vec<_> = block
        .series()
        .iter()
        .filter(|(series, _)| range.first <= series.asset && series.asset <= range.last)
        .collect();
    let (Some((_, first)), Some((_, last))) = (wanted.first(), wanted.last()) else { return Ok(()) };
    let moments = block.moments()?;
    let whole = range.from == Moment::MIN && range.to == Moment::MAX;
    let spanned = wanted.iter().map(|(_, rows)| rows_between(&moments, rows, range.from, range.to));
    let rows = if whole {
        first.start..last.end
    } else {
        let spans: Vec<Range<usize>> = spanned.filter(|rows| !rows.is_empty()).collect();
        let start = spans.iter().map(|rows| rows.start).min().unwrap_or_default();
        start..spans.iter().map(|rows| rows.end).max().unwrap_or_default()
    };
    if rows.is_empty() {
        return Ok(());
    }
    let mut versions = block.versions(rows.clone())?.into_iter();
    let mut place = rows.start;
    for (series, own) in wanted {
        let count = own.end.min(rows.end).saturating_sub(place.max(own.start));
        place += count;
        let these = versions.by_ref().take(count).filter(|version| {
            version.recorded_at <= range.known_at
                && (range.from..=range.to).contains(&version.observed_at)
                && !sealing.has(block_id, series.asset, version.observed_at)
        });
        let mut these = these.peekable();
        if these.peek().is_some() {
            runs.entry(*series).or_default().extend(these);
        }
    }
    Ok(())
}

/// The versions of a range that are not sealed yet, those of the commit under way too.
pub(super) async fn fresh(tx: &mut Tx, range: FreshRange) -> Result<Runs, StorageError> {
    const SQL: &str = "SELECT f.block_id, f.body FROM fresh_prices f CROSS JOIN price_sealing s \
        WHERE f.last_asset >= $1 AND f.first_asset <= $2 AND f.last_at >= $3 AND f.first_at <= $4 \
        AND f.first_recorded_at <= $5 AND NOT (f.block_id <= s.upto_block AND f.last_asset < s.asset_key) \
        AND f.block_id > $6 ORDER BY f.block_id LIMIT 16";
    let sealing = sealing(tx).await?;
    let (mut runs, mut after) = (Runs::new(), 0_i64);
    loop {
        let blocks: Vec<(i64, Vec<u8>)> = on!(tx, conn => sqlx::query_as(SQL).bind(range.first).bind(range.last)
            .bind(range.from).bind(range.to).bind(range.known_at).bind(after).fetch_all(conn).await)?;
        for (block, body) in &blocks {
            add_fresh(&mut runs, (*block, body), range, sealing)?;
            after = *block;
        }
        if blocks.len() < 16 {
            break;
        }
    }
    add_pending(tx, &mut runs, range);
    for versions in runs.values_mut() {
        if !versions.is_sorted_by_key(|version| (version.observed_at, version.seq)) {
            versions.sort_by_key(|version| (version.observed_at, version.seq));
        }
    }
    Ok(runs)
}

fn add_pending(tx: &Tx, runs: &mut Runs, range: FreshRange) {
    for (series, versions) in tx.pending.between(range.first, range.last) {
        let these = versions.iter().filter(|version| {
            version.recorded_at <= range.known_at && (range.from..=range.to).contains(&version.observed_at)
        });
        let mut these = these.cloned().peekable();
        if these.peek().is_some() {
            runs.entry(series).or_default().extend(these);
        }
    }
}

/// The versions of some fresh blocks, sealed ones left out.
pub(super) async fn fresh_bodies(
    tx: &mut Tx,
    blocks: &[i64],
    range: FreshRange,
    sealing: Sealing,
) -> Result<Runs, StorageError> {
    let mut runs = Runs::new();
    for some in blocks.chunks(KEYS) {
        let bodies: Vec<(i64, Vec<u8>)> = on!(tx, conn => {
            let mut query = QueryBuilder::new("SELECT block_id, body FROM fresh_prices WHERE block_id IN (");
            let mut list = query.separated(", ");
            for block in some {
                list.push_bind(*block);
            }
            query.push(") ORDER BY block_id LIMIT 200");
            query.build_query_as().fetch_all(conn).await
        })?;
        for (block, body) in &bodies {
            add_fresh(&mut runs, (*block, body), range, sealing)?;
        }
    }
    for versions in runs.values_mut() {
        versions.sort_by_key(|version| (version.observed_at, version.seq));
    }
    Ok(runs)
}

/// Removes fresh blocks.
pub(super) async fn delete_fresh(tx: &mut Tx, blocks: &[i64]) -> Result<(), StorageError> {
    for some in blocks.chunks(KEYS) {
        on!(tx, conn => {
            let mut query = QueryBuilder::new("DELETE FROM fresh_prices WHERE block_id IN (");
            let mut list = query.separated(", ");
            for block in some {
                list.push_bind(*block);
            }
            query.push(")");
            query.build().execute(conn).await.map(drop)
        })?;
    }
    Ok(())
}

/// A sealed block.
#[derive(Debug, sqlx::FromRow)]
pub(super) struct SealedBlock {
    pub(super) block_id: i64,
    pub(super) first_at: Moment,
    pub(super) last_at: Moment,
    pub(super) last_recorded_at: Moment,
    pub(super) points: i64,
    pub(super) body: Vec<u8>,
}

impl SealedBlock {
    /// The versions of a span of moments.
    pub(super) fn versions(&self, from: Moment, to: Moment) -> Result<Vec<Version>, StorageError> {
        let block = Block::open(&self.body)?;
        let all = 0..block.rows();
        let rows = if from <= self.first_at && self.last_at <= to {
            all
        } else {
            rows_between(&block.moments()?, &all, from, to)
        };
        Ok(if rows.is_empty() { Vec::new() } else { block.versions(rows)? })
    }

    /// What it says, by column, and the rows of a span of moments; `None` unless every row is a point of its own.
    pub(super) fn quotes(
        &self,
        from: Moment,
        to: Moment,
    ) -> Result<Option<(Columns, Range<usize>)>, StorageError> {
        let block = Block::open(&self.body)?;
        let columns = block.quotes()?;
        if block.withdraws()? || !columns.moments.is_sorted_by(|a, b| a < b) {
            return Ok(None);
        }
        let rows = rows_between(&columns.moments, &(0..block.rows()), from, to);
        Ok(Some((columns, rows)))
    }
}

/// A sealed block ready to be written.
#[derive(Debug)]
pub(super) struct PackedSealed {
    series: SeriesKey,
    superseded: bool,
    bounds: Bounds,
    body: Vec<u8>,
}

impl PackedSealed {
    /// Packs versions of one series, in order of moments.
    pub(super) fn of(
        series: SeriesKey,
        superseded: bool,
        versions: &[Version],
    ) -> Result<Self, StorageError> {
        let body = price_block::encode(&[(series, versions)])?;
        Ok(Self { series, superseded, bounds: Bounds::of([versions].into_iter()), body })
    }

    /// Bytes of its body.
    pub(super) const fn size(&self) -> usize {
        self.body.len()
    }

    /// Writes it.
    pub(super) async fn insert(&self, tx: &mut Tx) -> Result<(), StorageError> {
        const SQL: &str = "INSERT INTO sealed_prices (block_id, asset_key, source_key, candle, superseded, first_at, \
            last_at, first_recorded_at, last_recorded_at, last_ended_at, points, body) \
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)";
        let (block, Self { series, superseded, bounds, body }) = (tx.next_seq()?, self);
        on!(tx, conn => sqlx::query(SQL).bind(block).bind(series.asset).bind(series.source).bind(series.candle)
            .bind(superseded).bind(bounds.at.0).bind(bounds.at.1).bind(bounds.recorded.0).bind(bounds.recorded.1)
            .bind(bounds.last_ended_at).bind(bounds.points).bind(body).execute(conn).await.map(drop))
    }
}

/// Removes a sealed block; whether it was there.
pub(super) async fn delete_sealed(tx: &mut Tx, block: i64) -> Result<bool, StorageError> {
    const SQL: &str = "DELETE FROM sealed_prices WHERE block_id = $1";
    let gone =
        on!(tx, conn => sqlx::query(SQL).bind(block).execute(conn).await.map(|done| done.rows_affected()))?;
    Ok(gone == 1)
}

/// The first blocks of current versions of a series that have something from `from` on and begin by `to`, in order of
/// time: at most `limit`.
pub(super) async fn current_from(
    tx: &mut Tx,
    series: SeriesKey,
    (from, to): (Moment, Moment),
    limit: i64,
) -> Result<Vec<SealedBlock>, StorageError> {
    const SQL: &str = "SELECT block_id, first_at, last_at, last_recorded_at, points, body FROM sealed_prices \
        WHERE asset_key = $1 AND source_key = $2 AND candle = $3 AND superseded = $4 AND first_at <= $6 \
        AND first_at >= COALESCE((SELECT MAX(b.first_at) FROM sealed_prices b WHERE b.asset_key = $1 \
            AND b.source_key = $2 AND b.candle = $3 AND b.superseded = $4 AND b.first_at <= $5), $5) \
        AND last_at >= $5 ORDER BY first_at LIMIT $7";
    on!(tx, conn => sqlx::query_as(SQL).bind(series.asset).bind(series.source).bind(series.candle).bind(false)
        .bind(from).bind(to).bind(limit).fetch_all(conn).await)
}

/// The last block of current versions of a series that begins by `to`.
pub(super) async fn current_before(
    tx: &mut Tx,
    series: SeriesKey,
    to: Moment,
) -> Result<Option<SealedBlock>, StorageError> {
    const SQL: &str = "SELECT block_id, first_at, last_at, last_recorded_at, points, body FROM sealed_prices \
        WHERE asset_key = $1 AND source_key = $2 AND candle = $3 AND superseded = $4 AND first_at <= $5 \
        ORDER BY first_at DESC LIMIT 1";
    on!(tx, conn => sqlx::query_as(SQL).bind(series.asset).bind(series.source).bind(series.candle).bind(false)
        .bind(to).fetch_optional(conn).await)
}

#[derive(sqlx::FromRow)]
struct KeyedBlock {
    asset_key: AssetKey,
    source_key: SourceKey,
    candle: String,
    #[sqlx(flatten)]
    block: SealedBlock,
}

/// The same for many series at once.
pub(super) async fn many_current_before(
    tx: &mut Tx,
    series: &[SeriesKey],
    to: Moment,
) -> Result<Vec<(SeriesKey, SealedBlock)>, StorageError> {
    let mut found = Vec::with_capacity(series.len());
    for some in series.chunks(KEYS) {
        let rows: Vec<KeyedBlock> = on!(tx, conn => {
            let mut query = QueryBuilder::new(
                "SELECT s.asset_key, s.source_key, s.candle, s.block_id, s.first_at, s.last_at, s.last_recorded_at, \
                 s.points, s.body FROM sealed_prices s WHERE s.block_id IN (SELECT (SELECT b.block_id \
                 FROM sealed_prices b WHERE b.asset_key = e.column1 AND b.source_key = e.column2 \
                 AND b.candle = e.column3 AND b.superseded = ");
            query.push_bind(false).push(" AND b.first_at <= ").push_bind(to);
            query.push(" ORDER BY b.first_at DESC LIMIT 1) FROM (");
            query.push_values(some, |mut row, series| {
                row.push_bind(series.asset).push_bind(series.source).push_bind(series.candle);
            });
            query.push(") AS e) ORDER BY s.asset_key LIMIT 200");
            query.build_query_as().fetch_all(conn).await
        })?;
        for row in rows {
            found.push((named(row.asset_key, row.source_key, &row.candle)?, row.block));
        }
    }
    Ok(found)
}

/// A series as its columns name it.
pub(super) fn named(asset: AssetKey, source: SourceKey, candle: &str) -> Result<SeriesKey, StorageError> {
    SeriesKey::named(asset, source, candle)
        .ok_or_else(|| StorageError::Corrupt(format!("candle length `{candle}`")))
}

/// Which blocks of superseded versions are wanted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ended {
    /// About this moment or later,
    pub(super) from: Moment,
    /// up to this one;
    pub(super) to: Moment,
    /// in force at this moment; at none, to have all of them.
    pub(super) known_at: Option<Moment>,
}

/// Superseded and withdrawn versions of a series.
pub(super) async fn superseded(
    tx: &mut Tx,
    series: SeriesKey,
    wanted: Ended,
) -> Result<Vec<Version>, StorageError> {
    const SQL: &str = "SELECT block_id, first_at, last_at, last_recorded_at, points, body FROM sealed_prices \
        WHERE asset_key = $1 AND source_key = $2 AND candle = $3 AND superseded = $4 AND first_at <= $6 \
        AND last_at >= $5 AND first_recorded_at <= $7 AND last_ended_at > $8 ORDER BY first_at LIMIT 1000000";
    let Ended { from, to, known_at } = wanted;
    let (recorded, ended) = (known_at.unwrap_or(Moment::MAX), known_at.unwrap_or(Moment::MIN));
    let blocks: Vec<SealedBlock> = on!(tx, conn => sqlx::query_as(SQL).bind(series.asset).bind(series.source)
        .bind(series.candle).bind(true).bind(from).bind(to).bind(recorded).bind(ended).fetch_all(conn).await)?;
    let mut versions = Vec::new();
    for block in blocks {
        let these = block.versions(from, to)?;
        versions.extend(these.into_iter().filter(|version| known_at.is_none_or(|at| version.is_known(at))));
    }
    Ok(versions)
}

/// The last block of superseded versions of a series that was written.
pub(super) async fn newest_superseded(
    tx: &mut Tx,
    series: SeriesKey,
) -> Result<Option<SealedBlock>, StorageError> {
    const SQL: &str = "SELECT block_id, first_at, last_at, last_recorded_at, points, body FROM sealed_prices \
        WHERE asset_key = $1 AND source_key = $2 AND candle = $3 AND superseded = $4 ORDER BY block_id DESC LIMIT 1";
    on!(tx, conn => sqlx::query_as(SQL).bind(series.asset).bind(series.source).bind(series.candle).bind(true)
        .fetch_optional(conn).await)
}

/// Every series that has a sealed block, with the latest moment of any version.
pub(super) async fn sealed_series(tx: &mut Tx) -> Result<Vec<(SeriesKey, Moment)>, StorageError> {
    const SQL: &str = "SELECT asset_key, source_key, candle, MAX(last_at) AS last_at FROM sealed_prices \
        GROUP BY asset_key, source_key, candle ORDER BY asset_key, source_key, candle LIMIT 100000000";
    let rows: Vec<(AssetKey, SourceKey, String, Moment)> =
        on!(tx, conn => sqlx::query_as(SQL).fetch_all(conn).await)?;
    rows.into_iter()
        .map(|(asset, source, candle, last_at)| Ok((named(asset, source, &candle)?, last_at)))
        .collect()
}

/// Those of some assets that have at least `many` blocks of current versions in a span.
pub(super) async fn dense(
    tx: &mut Tx,
    assets: &[AssetKey],
    (from, to): (Moment, Moment),
    many: i64,
) -> Result<BTreeSet<AssetKey>, StorageError> {
    let mut found = BTreeSet::new();
    for some in assets.chunks(KEYS) {
        let keys: Vec<AssetKey> = on!(tx, conn => {
            let mut query = QueryBuilder::new("SELECT asset_key FROM sealed_prices WHERE superseded = ");
            query.push_bind(false).push(" AND first_at <= ").push_bind(to);
            query.push(" AND last_at >= ").push_bind(from).push(" AND asset_key IN (");
            let mut list = query.separated(", ");
            for key in some {
                list.push_bind(*key);
            }
            query.push(") GROUP BY asset_key HAVING COUNT(block_id) >= ").push_bind(many);
            query.push(" ORDER BY asset_key LIMIT 200");
            query.build_query_scalar().fetch_all(conn).await
        })?;
        found.extend(keys);
    }
    Ok(found)
}

/// Blocks of an asset that hold versions learned after one moment and up to another.
pub(super) async fn learned(
    tx: &mut Tx,
    asset: AssetKey,
    (from, to): (Moment, Moment),
    (after, until): (Moment, Moment),
) -> Result<Vec<(SeriesKey, SealedBlock)>, StorageError> {
    const SQL: &str = "SELECT asset_key, source_key, candle, block_id, first_at, last_at, last_recorded_at, points, \
        body FROM sealed_prices WHERE asset_key = $1 AND first_at <= $3 AND last_at >= $2 AND last_recorded_at > $4 \
        AND first_recorded_at <= $5 ORDER BY block_id LIMIT 1000000";
    let rows: Vec<KeyedBlock> = on!(tx, conn => sqlx::query_as(SQL).bind(asset).bind(from).bind(to).bind(after)
        .bind(until).fetch_all(conn).await)?;
    rows.into_iter().map(|row| Ok((named(row.asset_key, row.source_key, &row.candle)?, row.block))).collect()
}

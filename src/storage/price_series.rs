//! Reading points out of blocks: one series at a time, forwards window by window or backwards to the newest.
//!
//! A window is what a few sealed blocks span, together with what is not sealed yet and what was superseded of the
//! same moments; within it the versions in force are told once and for all.

use crate::domain::ids::AssetKey;
use crate::domain::moment::Moment;
use crate::domain::price_version::{SeriesKey, Version, in_force};
use crate::storage::database::Tx;
use crate::storage::error::StorageError;
use crate::storage::price_blocks::{self, Ended, FreshRange, Runs, SealedBlock};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Rows looked at first where one is wanted.
const FEW: usize = 8;
/// Most blocks of a window.
const WINDOW: i64 = 8;

/// The series an asset has, sealed or not.
pub(super) fn series_of(tx: &Tx, asset: AssetKey, fresh: &Runs) -> BTreeSet<SeriesKey> {
    let state = tx.newest.state();
    let kept = state.assets.get(&asset).into_iter().flat_map(|ends| ends.series.keys());
    let kept = kept.map(|(source, candle)| SeriesKey { asset, source: *source, candle });
    let pending = tx.pending.ends_of(asset).map(|(series, _)| series);
    kept.chain(pending).chain(fresh.keys().copied().filter(|series| series.asset == asset)).collect()
}

/// The part of sorted versions that is about a span of moments.
pub(super) fn between(versions: &[Version], from: Moment, to: Moment) -> &[Version] {
    let first = versions.partition_point(|version| version.observed_at < from);
    let last = versions.partition_point(|version| version.observed_at <= to);
    versions.get(first..last.max(first)).unwrap_or_default()
}

/// One series, with what of it is not sealed yet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Series<'a> {
    pub(super) key: SeriesKey,
    /// In order of moments and sequence.
    pub(super) fresh: &'a [Version],
    pub(super) known_at: Moment,
}

impl<'a> Series<'a> {
    pub(super) fn of(key: SeriesKey, fresh: &'a Runs, known_at: Moment) -> Self {
        Self { key, fresh: fresh.get(&key).map(Vec::as_slice).unwrap_or_default(), known_at }
    }

    /// Those of a span in force, given the sealed current ones of it.
    async fn resolve(
        self,
        tx: &mut Tx,
        mut versions: Vec<Version>,
        (from, to): (Moment, Moment),
    ) -> Result<Vec<Version>, StorageError> {
        versions.extend_from_slice(between(self.fresh, from, to));
        if self.known_at != Moment::MAX {
            let known_at = Some(self.known_at);
            versions.extend(price_blocks::superseded(tx, self.key, Ended { from, to, known_at }).await?);
        }
        Ok(in_force(versions, self.known_at))
    }

    /// The newest points in force of a span, the newest first, at most `limit`. `block` is the last sealed block that
    /// begins by its end.
    pub(super) async fn newest(
        self,
        tx: &mut Tx,
        (from, mut to): (Moment, Moment),
        limit: usize,
        mut block: Option<SealedBlock>,
    ) -> Result<Vec<Version>, StorageError> {
        let mut found: Vec<Version> = Vec::new();
        while let Some(one) = block {
            let begin = one.first_at.max(from);
            let rows = one.versions(begin, to)?;
            // Mostly the last few will do.
            for skip in [rows.len().saturating_sub(limit.saturating_add(FEW)), 0] {
                let few = rows.get(skip..).unwrap_or_default();
                let begin = few.first().filter(|_| skip > 0).map_or(begin, |row| row.observed_at);
                let mut points = self.resolve(tx, few.to_vec(), (begin, to)).await?;
                if skip == 0 || found.len() + points.len() >= limit {
                    points.reverse();
                    found.append(&mut points);
                    break;
                }
            }
            if found.len() >= limit || one.first_at <= from {
                found.truncate(limit);
                return Ok(found);
            }
            to = one.first_at.plus(-1);
            block = price_blocks::current_before(tx, self.key, to).await?;
        }
        let mut rest = self.resolve(tx, Vec::new(), (from, to)).await?;
        rest.reverse();
        found.append(&mut rest);
        found.truncate(limit);
        Ok(found)
    }
}

/// Reads the points of a series in order of time.
#[derive(Debug)]
pub(super) struct Cursor<'a> {
    series: Series<'a>,
    /// Where the next window begins; `None` at the end.
    next: Option<Moment>,
    last: Moment,
    blocks: i64,
}

/// Blocks of a series that follow each other, and the span they answer for.
#[derive(Debug)]
pub(super) struct Window {
    pub(super) blocks: Vec<SealedBlock>,
    pub(super) from: Moment,
    pub(super) to: Moment,
}

impl<'a> Cursor<'a> {
    /// From one moment to another, both included.
    pub(super) fn new(series: Series<'a>, from: Moment, last: Moment) -> Self {
        Self { series, next: (from <= last).then_some(from), last, blocks: 1 }
    }

    /// The same for who will read it to the end: it takes more at a time.
    pub(super) fn whole(series: Series<'a>, from: Moment, last: Moment) -> Self {
        Self { blocks: WINDOW, ..Self::new(series, from, last) }
    }

    /// The next blocks; `None` at the end.
    pub(super) async fn window(&mut self, tx: &mut Tx) -> Result<Option<Window>, StorageError> {
        let Some(from) = self.next else { return Ok(None) };
        let blocks = price_blocks::current_from(tx, self.series.key, (from, self.last), self.blocks).await?;
        let full = i64::try_from(blocks.len()).is_ok_and(|count| count == self.blocks);
        let end = blocks.last().filter(|block| full && block.last_at < self.last).map(|block| block.last_at);
        self.blocks = (self.blocks * 2).min(WINDOW);
        self.next = end.map(|end| end.plus(1));
        Ok(Some(Window { blocks, from, to: end.unwrap_or(self.last) }))
    }

    /// Passes over what lies before the next of these moments.
    fn skip_to(&mut self, moments: &[Moment]) {
        if let Some(next) = self.next {
            self.next = moments.get(moments.partition_point(|at| *at < next)).copied();
        }
    }

    /// The points in force of a window.
    pub(super) async fn points(&self, tx: &mut Tx, window: &Window) -> Result<Vec<Version>, StorageError> {
        let mut versions = Vec::new();
        for block in &window.blocks {
            versions.append(&mut block.versions(window.from, window.to)?);
        }
        self.series.resolve(tx, versions, (window.from, window.to)).await
    }

    /// The next points in force; `None` at the end.
    pub(super) async fn next(&mut self, tx: &mut Tx) -> Result<Option<Vec<Version>>, StorageError> {
        match self.window(tx).await? {
            Some(window) => self.points(tx, &window).await.map(Some),
            None => Ok(None),
        }
    }
}

/// The version learned last of each of these points of a series that has one, withdrawn ones too. `moments` ascend.
pub(super) async fn last_versions(
    tx: &mut Tx,
    key: SeriesKey,
    moments: &[Moment],
) -> Result<HashMap<Moment, Version>, StorageError> {
    let (Some(from), Some(to)) = (moments.first().copied(), moments.last().copied()) else {
        return Ok(HashMap::new());
    };
    let mut found: HashMap<Moment, Version> = HashMap::new();
    let mut take = |versions: Vec<Version>| {
        for version in versions {
            let known = found.get(&version.observed_at).is_some_and(|known| known.seq > version.seq);
            if !known && moments.binary_search(&version.observed_at).is_ok() {
                found.insert(version.observed_at, version);
            }
        }
    };
    let fresh = price_blocks::fresh(tx, FreshRange { from, to, ..FreshRange::of(key.asset) }).await?;
    take(price_blocks::superseded(tx, key, Ended { from, to, known_at: None }).await?);
    let mut cursor = Cursor::new(Series { key, fresh: &[], known_at: Moment::MAX }, from, to);
    while let Some(window) = cursor.window(tx).await? {
        for block in &window.blocks {
            take(block.versions(window.from, window.to)?);
        }
        cursor.skip_to(moments);
    }
    take(fresh.into_iter().find(|(series, _)| *series == key).map(|(_, own)| own).unwrap_or_default());
    Ok(found)
}

/// Newest points of many series, each in force at or before a moment.
pub(super) async fn newest_of_many(
    tx: &mut Tx,
    series: &[SeriesKey],
    fresh: &Runs,
    (to, known_at): (Moment, Moment),
) -> Result<BTreeMap<SeriesKey, Version>, StorageError> {
    let mut blocks: BTreeMap<SeriesKey, SealedBlock> =
        price_blocks::many_current_before(tx, series, to).await?.into_iter().collect();
    let mut found = BTreeMap::new();
    for key in series {
        let one = Series::of(*key, fresh, known_at);
        let newest = one.newest(tx, (Moment::MIN, to), 1, blocks.remove(key)).await?;
        if let Some(version) = newest.into_iter().next() {
            found.insert(*key, version);
        }
    }
    Ok(found)
}

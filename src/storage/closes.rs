//! Prices read for many moments at once: the price that values an asset at each of them.
//!
//! The prices of an asset with few points are held in memory for the next read ([`super::series`]). Those of others are
//! read once, forwards. Of sealed blocks that nothing corrects only moments and prices are unpacked, and those of blocks in which no moment falls not at all.

use crate::domain::asset::TermsHistory;
use crate::domain::decimal::Decimal;
use crate::domain::ids::{AssetKey, SourceKey};
use crate::domain::moment::Moment;
use crate::domain::price::Close;
use crate::domain::price_block::Block;
use crate::domain::price_version::{SeriesKey, Version};
use crate::storage::database::Tx;
use crate::storage::error::StorageError;
use crate::storage::newest::{AssetEnds, Source};
use crate::storage::price_blocks::{self, Ended, FreshRange, SealedBlock};
use crate::storage::price_series::{self, Cursor, Series};
use crate::storage::prices::is_daily;
use crate::storage::recall;
use crate::storage::series::Series as Whole;
use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Assets read at a time.
const ASSETS: usize = 50;
/// Sealed blocks in a span from which on an asset has too many points to be held.
const DENSE: i64 = 16;

/// A point of a series: as much of it as a close needs.
#[derive(Debug, Clone)]
struct Point {
    observed_at: Moment,
    price: Decimal,
    seq: i64,
}

impl From<Version> for Point {
    fn from(version: Version) -> Self {
        Self { observed_at: version.observed_at, price: version.quote.price, seq: version.seq }
    }
}

/// The last point at or before each of the moments, for those at which it changes.
type Steps = Vec<(usize, Point)>;

/// The price that values each asset at each of these moments, as known at `known_at`: told where it changes. `ends`
/// ascend; the order of sources is that of the terms at the moment.
pub async fn closes(
    tx: &mut Tx,
    assets: &[AssetKey],
    terms: &TermsHistory,
    ends: &[Moment],
    known_at: Moment,
) -> Result<BTreeMap<AssetKey, Vec<Close>>, StorageError> {
    let mut found = BTreeMap::new();
    let (Some(first), Some(last)) = (ends.first().copied(), ends.last().copied()) else { return Ok(found) };
    let sources = recall::sources(tx, known_at).await?;
    let priority = |asset: AssetKey, at: Moment| {
        terms.at(asset, at).map(|terms| terms.source_priority.as_slice()).unwrap_or_default()
    };
    let mut absent = Vec::new();
    for asset in assets {
        match tx.held_series(*asset, (first, last)).filter(|_| known_at == Moment::MAX) {
            Some(series) => {
                found.insert(*asset, series.closes(ends, &sources, |at| priority(*asset, at)));
            }
            None => absent.push(*asset),
        }
    }
    absent.sort_unstable();
    for some in absent.chunks(ASSETS) {
        let (Some(low), Some(high)) = (some.first(), some.last()) else { continue };
        let range = FreshRange { first: *low, last: *high, from: Moment::MIN, to: last, known_at };
        let fresh = price_blocks::fresh(tx, range).await?;
        let dense = price_blocks::dense(tx, some, (first, last), DENSE).await?;
        let series: Vec<SeriesKey> =
            some.iter().flat_map(|asset| price_series::series_of(tx, *asset, &fresh)).collect();
        let mut before = price_series::newest_of_many(tx, &series, &fresh, (first, known_at)).await?;
        for own in series.chunk_by(|a, b| a.asset == b.asset) {
            let Some(asset) = own.first().map(|series| series.asset) else { continue };
            let mut each = Vec::with_capacity(own.len());
            for key in own {
                each.push((Series::of(*key, &fresh, known_at), before.remove(key).map(Point::from)));
            }
            let closes = if known_at == Moment::MAX && !dense.contains(&asset) {
                let whole = Arc::new(whole(tx, each, (first, last)).await?);
                tx.hold_series(asset, (first, end_of_hold(tx, asset, last)), &whole);
                whole.closes(ends, &sources, |at| priority(asset, at))
            } else {
                let mut steps = Vec::with_capacity(each.len());
                for (series, before) in each {
                    steps.push((series.key, steps_of(tx, series, ends, before).await?));
                }
                choose(&steps, &sources, ends, |at| priority(asset, at))
            };
            found.insert(asset, closes);
        }
    }
    found.retain(|_, closes| !closes.is_empty());
    Ok(found)
}

/// Up to where a series that was read to `last` tells all: without an end when no point comes after it.
fn end_of_hold(tx: &Tx, asset: AssetKey, last: Moment) -> Moment {
    let state = tx.newest.state();
    let later = |ends: &AssetEnds| ends.series.values().any(|end| end.last_at > last);
    if state.assets.get(&asset).is_some_and(later) { last } else { Moment::MAX }
}

/// Every point of an asset that counts at some moment of a span.
async fn whole(
    tx: &mut Tx,
    each: Vec<(Series<'_>, Option<Point>)>,
    (first, last): (Moment, Moment),
) -> Result<Whole, StorageError> {
    let mut points: Vec<(SeriesKey, Point)> = Vec::new();
    for (series, before) in each {
        points.extend(before.map(|point| (series.key, point)));
        if first >= last {
            continue;
        }
        let mut cursor = Cursor::whole(series, first.plus(1), last);
        while let Some(these) = cursor.next(tx).await? {
            points.extend(these.into_iter().map(|version| (series.key, Point::from(version))));
        }
    }
    points.sort_by_key(|(series, point)| (point.observed_at, *series));
    let mut whole = Whole::default();
    for (series, point) in points {
        whole.push(point.observed_at, (series.source, series.candle), point.seq, point.price);
    }
    Ok(whole)
}

/// The points of one series, given the one that is the newest at the first moment.
async fn steps_of(
    tx: &mut Tx,
    series: Series<'_>,
    ends: &[Moment],
    before: Option<Point>,
) -> Result<Steps, StorageError> {
    let mut steps: Steps = before.map(|point| (0, point)).into_iter().collect();
    let (Some(first), Some(last)) = (ends.first(), ends.last()) else { return Ok(steps) };
    if first == last {
        return Ok(steps);
    }
    let mut cursor = Cursor::whole(series, first.plus(1), *last);
    while let Some(window) = cursor.window(tx).await? {
        let (from, to) = (window.from, window.to);
        let mut corrected = !price_series::between(series.fresh, from, to).is_empty();
        if series.known_at != Moment::MAX && !corrected {
            let ended = Ended { from, to, known_at: Some(series.known_at) };
            corrected = window.blocks.iter().any(|block| block.last_recorded_at > series.known_at)
                || !price_blocks::superseded(tx, series.key, ended).await?.is_empty();
        }
        if corrected {
            let points = cursor.points(tx, &window).await?;
            let moments: Vec<i64> = points.iter().map(|point| point.observed_at.0).collect();
            let rows = last_rows(&moments, ends, (from, to));
            steps.extend(rows.filter_map(|(slot, row)| Some((slot, Point::from(points.get(row)?.clone())))));
        } else {
            for (place, block) in window.blocks.iter().enumerate() {
                let next = window.blocks.get(place + 1).map(|next| next.first_at);
                // What a block ends with counts until the next one begins.
                let span = (from.max(block.first_at), next.map_or(to, |next| next.plus(-1)));
                let slot = ends.partition_point(|end| *end < span.0);
                let passed = ends.get(slot).is_none_or(|end| next.is_some_and(|next| next <= *end));
                if !passed {
                    add_steps(block, ends, span, &mut steps)?;
                }
            }
        }
    }
    Ok(steps)
}

/// Of ascending moments the last at or before each of `ends`, for the first of those it is the last of. What follows
/// within the span decides about all of `ends` up to the span's; those after it are told by who comes later.
fn last_rows(
    moments: &[i64],
    ends: &[Moment],
    (from, to): (Moment, Moment),
) -> impl Iterator<Item = (usize, usize)> {
    let first = ends.partition_point(|end| *end < from);
    let within = ends.partition_point(|end| *end <= to);
    // The last point of the span may be the newest at an end beyond it.
    let slots = first..(within + 1).min(ends.len());
    let mut known = None;
    slots.filter_map(move |slot| {
        let end = ends.get(slot)?;
        let row = moments.partition_point(|at| *at <= end.0).checked_sub(1)?;
        if moments.get(row).is_none_or(|at| *at < from.0) || known == Some(row) {
            return None;
        }
        known = Some(row);
        Some((slot, row))
    })
}

/// The points of a block that nothing corrects.
fn add_steps(
    block: &SealedBlock,
    ends: &[Moment],
    span: (Moment, Moment),
    steps: &mut Steps,
) -> Result<(), StorageError> {
    let opened = Block::open(&block.body)?;
    let moments = opened.moments()?;
    let rows: Vec<(usize, usize)> = last_rows(&moments, ends, span).collect();
    if rows.is_empty() {
        return Ok(());
    }
    let (prices, seqs) = (opened.prices()?, opened.seqs()?);
    let lacks = || StorageError::Corrupt("a block of prices lacks a price".to_owned());
    for (slot, row) in rows {
        let observed_at = Moment(*moments.get(row).ok_or_else(lacks)?);
        let (price, seq) = (prices.get(row).ok_or_else(lacks)?, *seqs.get(row).ok_or_else(lacks)?);
        steps.push((slot, Point { observed_at, price, seq }));
    }
    Ok(())
}

/// Chooses among the series of an asset as a single read does, for each of the moments.
fn choose<'a>(
    series: &[(SeriesKey, Steps)],
    sources: &HashMap<SourceKey, Source>,
    ends: &[Moment],
    priority: impl Fn(Moment) -> &'a [String],
) -> Vec<Close> {
    let mut chosen: Vec<Close> = Vec::new();
    let mut last: Option<(SeriesKey, Moment)> = None;
    let mut next: Vec<(usize, SeriesKey, &Steps)> =
        series.iter().map(|(key, steps)| (0, *key, steps)).collect();
    for (slot, end) in ends.iter().enumerate() {
        for (passed, _, steps) in &mut next {
            while steps.get(*passed).is_some_and(|(from, _)| *from <= slot) {
                *passed += 1;
            }
        }
        let points = next
            .iter()
            .filter_map(|(passed, key, steps)| steps.get(..*passed)?.last().map(|(_, point)| (*key, point)));
        let order = if series.len() > 1 { priority(*end) } else { &[] };
        let rank = |key: SeriesKey| {
            let name = sources.get(&key.source).map(|source| source.name.as_ref());
            name.and_then(|name| order.iter().position(|listed| listed == name)).unwrap_or(usize::MAX)
        };
        let best =
            points.min_by_key(|(key, point)| (Reverse(point.observed_at), rank(*key), Reverse(point.seq)));
        let Some((key, point)) = best.filter(|(key, point)| last != Some((*key, point.observed_at))) else {
            continue;
        };
        last = Some((key, point.observed_at));
        chosen.push(Close {
            slot,
            observed_at: point.observed_at,
            price: point.price.clone(),
            daily: is_daily(key.candle),
            split_adjusted: sources.get(&key.source).is_some_and(|source| source.split_adjusted),
        });
    }
    chosen
}

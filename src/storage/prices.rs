//! Tables `price_sources`, `prices` and `latest_prices`: versions of price points, nothing overwritten.

use crate::domain::decimal::Decimal;
use crate::domain::ids::{AssetKey, SourceKey};
use crate::domain::interval::Interval;
use crate::domain::moment::Moment;
use crate::domain::price::{Mark, Outcome, PricePoint, Quote};
use crate::storage::database::{Tx, on};
use crate::storage::error::StorageError;
use sqlx::QueryBuilder;
use std::collections::{BTreeMap, HashMap};

/// Versions written by one statement.
const ROWS: usize = 500;

/// What one source says about one asset, row by row.
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

#[derive(sqlx::FromRow)]
struct Version {
    observed_at: Moment,
    withdrawn: bool,
    price: Decimal,
    open: Option<Decimal>,
    high: Option<Decimal>,
    low: Option<Decimal>,
    volume: Option<Decimal>,
}

impl Version {
    fn into_current(self) -> Option<Quote> {
        let quote =
            Quote { price: self.price, open: self.open, high: self.high, low: self.low, volume: self.volume };
        Some(quote).filter(|_| !self.withdrawn)
    }
}

/// The key of a source, which is added when it is new.
pub async fn source(tx: &mut Tx, name: &str) -> Result<SourceKey, StorageError> {
    const FIND: &str = "SELECT source_key FROM price_sources WHERE name = $1";
    const ADD: &str =
        "INSERT INTO price_sources (source_key, name, split_adjusted, recorded_at) VALUES ($1, $2, $3, $4)";
    let found: Option<SourceKey> =
        on!(tx, conn => sqlx::query_scalar(FIND).bind(name).fetch_optional(conn).await)?;
    if let Some(key) = found {
        return Ok(key);
    }
    let (key, recorded_at) = (SourceKey(tx.next_seq()?), tx.recorded_at()?);
    on!(tx, conn => sqlx::query(ADD).bind(key).bind(name).bind(false).bind(recorded_at).execute(conn).await.map(drop))?;
    Ok(key)
}

/// Records points of one series, in the order given: a point equal to its current version is a duplicate, a
/// different one is a correction, and of two rows with one moment the later wins with both kept.
pub async fn record(
    tx: &mut Tx,
    series: Series<'_>,
    points: &[(Moment, Quote)],
) -> Result<Vec<Outcome>, StorageError> {
    let mut current = current_versions(tx, series, points).await?;
    let mut outcomes = Vec::with_capacity(points.len());
    let mut fresh: Vec<(i64, Moment, &Quote)> = Vec::new();
    for (observed_at, quote) in points {
        let outcome = match current.get(observed_at) {
            Some(Some(known)) if known == quote => Outcome::Duplicate,
            Some(_) => Outcome::Corrected,
            None => Outcome::Stored,
        };
        if outcome != Outcome::Duplicate {
            fresh.push((tx.next_seq()?, *observed_at, quote));
            current.insert(*observed_at, Some(quote.clone()));
        }
        outcomes.push(outcome);
    }
    insert(tx, series, &fresh).await?;
    if !fresh.is_empty() {
        refresh_latest(tx, series.asset, series.source_priority).await?;
    }
    Ok(outcomes)
}

/// The current versions of a series in the span of `points`; `None` for a withdrawn one.
async fn current_versions(
    tx: &mut Tx,
    series: Series<'_>,
    points: &[(Moment, Quote)],
) -> Result<HashMap<Moment, Option<Quote>>, StorageError> {
    const SQL: &str = "SELECT observed_at, withdrawn, price, open, high, low, volume FROM prices \
        WHERE asset_key = $1 AND observed_at >= $2 AND observed_at <= $3 AND source_key = $4 AND candle = $5 \
        ORDER BY observed_at, seq LIMIT 100000000";
    let (Some(from), Some(to)) = (points.iter().map(|p| p.0).min(), points.iter().map(|p| p.0).max()) else {
        return Ok(HashMap::new());
    };
    let versions: Vec<Version> = on!(tx, conn => sqlx::query_as(SQL)
        .bind(series.asset).bind(from).bind(to).bind(series.source).bind(series.interval).fetch_all(conn).await)?;
    Ok(versions.into_iter().map(|version| (version.observed_at, version.into_current())).collect())
}

async fn insert(
    tx: &mut Tx,
    series: Series<'_>,
    fresh: &[(i64, Moment, &Quote)],
) -> Result<(), StorageError> {
    let recorded_at = tx.recorded_at()?;
    for rows in fresh.chunks(ROWS) {
        on!(tx, conn => {
            let mut query = QueryBuilder::new(
                "INSERT INTO prices (asset_key, observed_at, source_key, candle, seq, recorded_at, withdrawn, price, \
                 open, high, low, volume) ");
            query.push_values(rows, |mut row, (seq, observed_at, quote)| {
                row.push_bind(series.asset).push_bind(*observed_at).push_bind(series.source)
                    .push_bind(series.interval.to_owned()).push_bind(*seq).push_bind(recorded_at).push_bind(false)
                    .push_bind(quote.price.clone()).push_bind(quote.open.clone()).push_bind(quote.high.clone())
                    .push_bind(quote.low.clone()).push_bind(quote.volume.clone());
            });
            query.build().execute(conn).await.map(drop)
        })?;
    }
    Ok(())
}

/// Whether a series has a version at this moment, withdrawn or not.
pub async fn exists(tx: &mut Tx, series: Series<'_>, observed_at: Moment) -> Result<bool, StorageError> {
    const SQL: &str = "SELECT seq FROM prices WHERE asset_key = $1 AND observed_at = $2 AND source_key = $3 \
        AND candle = $4 LIMIT 1";
    let seq: Option<i64> = on!(tx, conn => sqlx::query_scalar(SQL)
        .bind(series.asset).bind(observed_at).bind(series.source).bind(series.interval).fetch_optional(conn).await)?;
    Ok(seq.is_some())
}

#[derive(sqlx::FromRow)]
struct PointRow {
    observed_at: Moment,
    seq: i64,
    source: String,
    candle: String,
    recorded_at: Moment,
    split_adjusted: Option<bool>,
    withdrawn: bool,
    price: Decimal,
    open: Option<Decimal>,
    high: Option<Decimal>,
    low: Option<Decimal>,
    volume: Option<Decimal>,
}

impl PointRow {
    fn into_point(self, asset: AssetKey) -> PricePoint {
        PricePoint {
            asset,
            split_adjusted: self.split_adjusted.unwrap_or_default(),
            source: self.source,
            interval: self.candle,
            observed_at: self.observed_at,
            recorded_at: self.recorded_at,
            quote: Quote {
                price: self.price,
                open: self.open,
                high: self.high,
                low: self.low,
                volume: self.volume,
            },
        }
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
    // The newest moment that still has a version in force.
    const MOMENT: &str = "SELECT p.observed_at FROM prices p WHERE p.asset_key = $1 AND p.observed_at <= $2 \
        AND p.recorded_at <= $3 AND NOT p.withdrawn AND NOT EXISTS (SELECT 1 FROM prices n \
            WHERE n.asset_key = p.asset_key AND n.observed_at = p.observed_at AND n.source_key = p.source_key \
            AND n.candle = p.candle AND n.recorded_at <= $3 AND n.seq > p.seq) \
        ORDER BY p.observed_at DESC LIMIT 1";
    const POINTS: &str = "SELECT p.observed_at, p.seq, s.name AS source, p.candle, p.recorded_at, p.withdrawn, p.price, \
        p.open, p.high, p.low, p.volume, (SELECT v.split_adjusted FROM price_source_versions v \
            WHERE v.source_key = p.source_key AND v.recorded_at <= $3 ORDER BY v.seq DESC LIMIT 1) AS split_adjusted \
        FROM prices p JOIN price_sources s ON s.source_key = p.source_key \
        WHERE p.asset_key = $1 AND p.observed_at = $2 AND p.recorded_at <= $3 ORDER BY p.seq LIMIT 100000";
    let moment: Option<Moment> = on!(tx, conn => sqlx::query_scalar(MOMENT)
        .bind(asset).bind(as_of).bind(known_at).fetch_optional(conn).await)?;
    let Some(moment) = moment else { return Ok(None) };
    let rows: Vec<PointRow> = on!(tx, conn => sqlx::query_as(POINTS)
        .bind(asset).bind(moment).bind(known_at).fetch_all(conn).await)?;
    let mut current: BTreeMap<(String, String), PointRow> = BTreeMap::new();
    for row in rows {
        current.insert((row.source.clone(), row.candle.clone()), row);
    }
    let best = current
        .into_values()
        .filter(|row| !row.withdrawn)
        .min_by_key(|row| (rank(source_priority, &row.source), std::cmp::Reverse(row.seq)));
    Ok(best.map(|row| row.into_point(asset)))
}

/// Where a source stands in an order of sources; those that are not named come last.
fn rank(source_priority: &[String], source: &str) -> usize {
    source_priority.iter().position(|name| name == source).unwrap_or(usize::MAX)
}

/// Keeps `latest_prices` true for one asset: with every write to its prices, and when its order of sources changes.
pub async fn refresh_latest(
    tx: &mut Tx,
    asset: AssetKey,
    source_priority: &[String],
) -> Result<(), StorageError> {
    const DELETE: &str = "DELETE FROM latest_prices WHERE asset_key = $1";
    const INSERT: &str = "INSERT INTO latest_prices (asset_key, observed_at, source_key, candle, recorded_at, price) \
        VALUES ($1, $2, $3, $4, $5, $6)";
    tx.touched.assets.push(asset);
    let latest = at(tx, asset, source_priority, Moment::MAX, Moment::MAX).await?;
    on!(tx, conn => sqlx::query(DELETE).bind(asset).execute(conn).await.map(drop))?;
    let Some(point) = latest else { return Ok(()) };
    let source = source(tx, &point.source).await?;
    on!(tx, conn => sqlx::query(INSERT).bind(asset).bind(point.observed_at).bind(source).bind(&point.interval)
        .bind(point.recorded_at).bind(&point.quote.price).execute(conn).await.map(drop))
}

#[derive(sqlx::FromRow)]
struct MarkRow {
    asset_key: AssetKey,
    observed_at: Moment,
    source: String,
    candle: String,
    recorded_at: Moment,
    price: Decimal,
    split_adjusted: bool,
}

/// The newest price of each of these assets that has one.
pub async fn latest(tx: &mut Tx, assets: &[AssetKey]) -> Result<BTreeMap<AssetKey, Mark>, StorageError> {
    let mut marks = BTreeMap::new();
    for some in assets.chunks(ROWS) {
        let rows: Vec<MarkRow> = on!(tx, conn => {
            let mut query = QueryBuilder::new(
                "SELECT l.asset_key, l.observed_at, s.name AS source, l.candle, l.recorded_at, l.price, s.split_adjusted \
                 FROM latest_prices l JOIN price_sources s ON s.source_key = l.source_key WHERE l.asset_key IN (");
            let mut list = query.separated(", ");
            for key in some {
                list.push_bind(*key);
            }
            query.push(") ORDER BY l.asset_key LIMIT 500");
            query.build_query_as().fetch_all(conn).await
        })?;
        marks.extend(rows.into_iter().map(|row| {
            let mark = Mark {
                price: row.price,
                observed_at: row.observed_at,
                recorded_at: row.recorded_at,
                source: row.source,
                interval: row.candle,
                split_adjusted: row.split_adjusted,
            };
            (row.asset_key, mark)
        }));
    }
    Ok(marks)
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

/// Starts a query of the points of a range that are in force.
macro_rules! in_force {
    ($range:expr) => {{
        let range: &PriceRange = $range;
        let mut query = QueryBuilder::new(
            "SELECT p.observed_at, p.seq, s.name AS source, p.candle, p.recorded_at, p.withdrawn, p.price, p.open, \
             p.high, p.low, p.volume, (SELECT v.split_adjusted FROM price_source_versions v \
                WHERE v.source_key = p.source_key AND v.recorded_at <= ",
        );
        query.push_bind(range.known_at).push(
            " ORDER BY v.seq DESC LIMIT 1) AS split_adjusted FROM prices p \
             JOIN price_sources s ON s.source_key = p.source_key WHERE p.asset_key = ",
        );
        query.push_bind(range.asset).push(" AND p.observed_at >= ").push_bind(range.from);
        query.push(" AND p.observed_at < ").push_bind(range.until);
        query.push(" AND p.recorded_at <= ").push_bind(range.known_at);
        query.push(
            " AND NOT p.withdrawn AND NOT EXISTS (SELECT 1 FROM prices n WHERE n.asset_key = p.asset_key \
             AND n.observed_at = p.observed_at AND n.source_key = p.source_key AND n.candle = p.candle \
             AND n.recorded_at <= ",
        );
        query.push_bind(range.known_at).push(" AND n.seq > p.seq)");
        if let Some(source) = &range.source {
            query.push(" AND s.name = ").push_bind(source.clone());
        }
        if let Some(interval) = &range.interval {
            query.push(" AND p.candle = ").push_bind(interval.clone());
        }
        query
    }};
}

/// Current points of an asset in order of time, each with its sequence.
pub async fn history(tx: &mut Tx, range: &PriceRange) -> Result<Vec<(i64, PricePoint)>, StorageError> {
    let rows: Vec<PointRow> = on!(tx, conn => {
        let mut query = in_force!(range);
        if let Some((moment, seq)) = range.after {
            query.push(" AND (p.observed_at, p.seq) > (").push_bind(moment).push(", ").push_bind(seq).push(")");
        }
        query.push(" ORDER BY p.observed_at, p.seq LIMIT ").push_bind(range.limit);
        query.build_query_as().fetch_all(conn).await
    })?;
    Ok(rows.into_iter().map(|row| (row.seq, row.into_point(range.asset))).collect())
}

/// The newest current points of a range, the newest first; those of one moment in the order of sources, then the later
/// recorded first. `candles` says whether points of a day or longer are wanted, or all others.
pub async fn newest(
    tx: &mut Tx,
    range: &PriceRange,
    candles: bool,
    source_priority: &[String],
) -> Result<Vec<PricePoint>, StorageError> {
    let mut rows: Vec<PointRow> = on!(tx, conn => {
        let mut query = in_force!(range);
        query.push(if candles { " AND p.candle IN (" } else { " AND p.candle NOT IN (" });
        let mut list = query.separated(", ");
        for name in Interval::NAMES.iter().filter(|name| is_daily(name)) {
            list.push_bind((*name).to_owned());
        }
        query.push(") ORDER BY p.observed_at DESC, p.seq DESC LIMIT ").push_bind(range.limit);
        query.build_query_as().fetch_all(conn).await
    })?;
    let reversed = std::cmp::Reverse::<i64>;
    rows.sort_by_key(|row| {
        (reversed(row.observed_at.0), rank(source_priority, &row.source), reversed(row.seq))
    });
    Ok(rows.into_iter().map(|row| row.into_point(range.asset)).collect())
}

fn is_daily(name: &str) -> bool {
    Interval::from_name(name).is_some_and(Interval::is_daily_or_longer)
}

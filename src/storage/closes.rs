//! Tables `prices` and `price_sources`, read for many moments at once: the price that values an asset at each of them.
//!
//! A row of a driver costs more than the row itself, so a whole series comes as one text per asset and is taken apart
//! here. Where a series has one source, one length of candles and one version of each point, which is the common case,
//! moments and prices are all that is needed. Else every version comes along, and the rule of
//! [`prices::at`](crate::storage::prices::at) chooses: the greatest moment, the order of sources, the later recorded.
//! Of an asset with many points a day only those that are the last before some moment are read; the series of others is
//! held in memory for the next read ([`super::series`]).

use crate::domain::asset::TermsHistory;
use crate::domain::decimal::Decimal;
use crate::domain::ids::{AssetKey, SourceKey};
use crate::domain::moment::{DAY, Moment};
use crate::domain::price::Close;
use crate::storage::database::{Tx, on};
use crate::storage::error::StorageError;
use crate::storage::series::{Series, Source};
use sqlx::QueryBuilder;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Keys named by one statement.
const KEYS: usize = 500;
/// Moments named by one statement.
const MOMENTS: usize = 5_000;
/// Days before the newest point that are looked at to tell how dense a series is.
const PROBED_DAYS: i64 = 10;
/// Points in those days from which on a series is dense.
const DENSE: i64 = 60;

/// Which series an asset has, by its newest point before the end of the span: the one that most of its points belong to.
#[derive(Debug)]
struct Usual {
    source: SourceKey,
    candle: String,
    /// Whether it has many points a day.
    dense: bool,
    /// Whether nothing that counts comes after the span.
    newest: bool,
}

/// One version of a point.
#[derive(sqlx::FromRow)]
struct Version {
    observed_at: Moment,
    source_key: SourceKey,
    candle: String,
    seq: i64,
    withdrawn: bool,
    price: Decimal,
}

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
    let sources = sources(tx, known_at).await?;
    let mut all = BTreeMap::new();
    let mut absent = Vec::new();
    for asset in assets {
        match tx.held_series(*asset, (first, last)).filter(|_| known_at == Moment::MAX) {
            Some(series) => drop(all.insert(*asset, series)),
            None => absent.push(*asset),
        }
    }
    let usual = usual(tx, &absent, last).await?;
    for asset in absent {
        let known = usual.get(&asset);
        let range = (asset, first, last, known_at);
        let series = if known.is_some_and(|known| known.dense) {
            of_versions(last_versions(tx, asset, ends, known_at).await?)
        } else {
            let plain = match known {
                Some(known) => plain(tx, range, known).await?,
                None => None,
            };
            match plain {
                Some(series) => series,
                None => of_versions(all_versions(tx, range).await?),
            }
        };
        let series = Arc::new(series);
        if known_at == Moment::MAX && known.is_some_and(|known| !known.dense) {
            let newest = known.is_some_and(|known| known.newest);
            tx.hold_series(asset, (first, if newest { Moment::MAX } else { last }), &series);
        }
        all.insert(asset, series);
    }
    for (asset, series) in all {
        let closes = series.closes(ends, &sources, |at| {
            terms.at(asset, at).map(|terms| terms.source_priority.as_slice()).unwrap_or_default()
        });
        if !closes.is_empty() {
            found.insert(asset, closes);
        }
    }
    Ok(found)
}

async fn sources(tx: &mut Tx, known_at: Moment) -> Result<HashMap<SourceKey, Source>, StorageError> {
    const SQL: &str = "SELECT s.source_key, s.name, (SELECT v.split_adjusted FROM price_source_versions v \
            WHERE v.source_key = s.source_key AND v.recorded_at <= $1 ORDER BY v.seq DESC LIMIT 1) AS split_adjusted \
        FROM price_sources s ORDER BY s.source_key LIMIT 1000000";
    let rows: Vec<(SourceKey, String, Option<bool>)> =
        on!(tx, conn => sqlx::query_as(SQL).bind(known_at).fetch_all(conn).await)?;
    let source = |(key, name, split_adjusted): (SourceKey, String, Option<bool>)| {
        (key, Source { name, split_adjusted: split_adjusted.unwrap_or_default() })
    };
    Ok(rows.into_iter().map(source).collect())
}

/// The usual series of each asset that has a point at or before `until`.
async fn usual(
    tx: &mut Tx,
    assets: &[AssetKey],
    until: Moment,
) -> Result<HashMap<AssetKey, Usual>, StorageError> {
    type Row = (AssetKey, SourceKey, String, i64, Option<Moment>);
    let mut found = HashMap::new();
    for some in assets.chunks(KEYS) {
        let rows: Vec<Row> = on!(tx, conn => {
            let mut query = QueryBuilder::new(
                "SELECT p.asset_key, p.source_key, p.candle, (SELECT COUNT(c.seq) FROM (SELECT r.seq FROM prices r \
                    WHERE r.asset_key = p.asset_key AND r.observed_at <= p.observed_at AND r.observed_at > p.observed_at - ");
            query.push_bind(PROBED_DAYS * DAY).push(" LIMIT ").push_bind(DENSE);
            query.push(") c) AS points, l.observed_at FROM assets a JOIN prices p ON p.asset_key = a.asset_key \
                AND p.observed_at = (SELECT MAX(q.observed_at) FROM prices q WHERE q.asset_key = a.asset_key \
                    AND q.observed_at <= ");
            query.push_bind(until);
            query.push(") LEFT JOIN latest_prices l ON l.asset_key = a.asset_key WHERE a.asset_key IN (");
            let mut list = query.separated(", ");
            for key in some {
                list.push_bind(*key);
            }
            query.push(") ORDER BY p.asset_key, p.seq LIMIT 1000000");
            query.build_query_as().fetch_all(conn).await
        })?;
        found.extend(rows.into_iter().map(|(asset, source, candle, points, latest)| {
            let newest = latest.is_none_or(|latest| latest <= until);
            (asset, Usual { source, candle, dense: points >= DENSE, newest })
        }));
    }
    Ok(found)
}

/// An asset, the first and the last of the moments, and what was known.
type Range = (AssetKey, Moment, Moment, Moment);

/// From the newest moment at or before `$2` that has a version in force: before it nothing of the range is needed.
macro_rules! from_the_first_needed {
    ($select:literal, $rest:literal) => {
        concat!(
            $select,
            " FROM prices p WHERE p.asset_key = $1 AND p.observed_at <= $3 AND p.recorded_at <= $4 \
             AND p.observed_at >= COALESCE((SELECT q.observed_at FROM prices q WHERE q.asset_key = $1 \
                AND q.observed_at <= $2 AND q.recorded_at <= $4 AND NOT q.withdrawn AND NOT EXISTS (SELECT 1 \
                    FROM prices n WHERE n.asset_key = q.asset_key AND n.observed_at = q.observed_at \
                    AND n.source_key = q.source_key AND n.candle = q.candle AND n.recorded_at <= $4 AND n.seq > q.seq) \
                ORDER BY q.observed_at DESC LIMIT 1), $2)",
            $rest
        )
    };
}

/// Moments and prices of a series that is nothing but the usual one; `None` when anything else is in it.
async fn plain(
    tx: &mut Tx,
    (asset, first, last, known_at): Range,
    usual: &Usual,
) -> Result<Option<Series>, StorageError> {
    const SQL: &str = from_the_first_needed!(
        "SELECT string_agg(CAST(p.observed_at AS TEXT), ' ') AS moments, string_agg(p.price, ' ') AS prices, \
            CAST(MAX(CASE WHEN p.source_key = $5 AND p.candle = $6 AND NOT p.withdrawn THEN 0 ELSE 1 END) AS BIGINT) \
            AS mixed",
        ""
    );
    let row: (Option<String>, Option<String>, Option<i64>) = on!(tx, conn => sqlx::query_as(SQL)
        .bind(asset).bind(first).bind(last).bind(known_at).bind(usual.source).bind(&usual.candle)
        .fetch_one(conn).await)?;
    match row {
        (_, _, None) => Ok(Some(Series::default())),
        (Some(moments), Some(prices), Some(0)) => of_texts(&moments, &prices, usual),
        _ => Ok(None),
    }
}

/// A series from its moments and prices, each written one after another; `None` unless the moments ascend, each later
/// than the one before: then each has one version.
fn of_texts(moments: &str, prices: &str, usual: &Usual) -> Result<Option<Series>, StorageError> {
    let corrupt = |text: &str| StorageError::Corrupt(format!("price `{text}`"));
    let mut series = Series::default();
    let mut before = None;
    for (moment, price) in moments.split(' ').zip(prices.split(' ')) {
        let at: i64 = moment.parse().map_err(|_| corrupt(moment))?;
        if before.is_some_and(|before| at <= before) {
            return Ok(None);
        }
        before = Some(at);
        let price = price.parse().map_err(|_| corrupt(price))?;
        series.push(Moment(at), (usual.source, &usual.candle), 0, price);
    }
    Ok(Some(series))
}

/// Every version of a range.
async fn all_versions(
    tx: &mut Tx,
    (asset, first, last, known_at): Range,
) -> Result<Vec<Version>, StorageError> {
    const SQL: &str = from_the_first_needed!(
        "SELECT p.observed_at, p.source_key, p.candle, p.seq, p.withdrawn, p.price",
        " ORDER BY p.observed_at, p.seq LIMIT 100000000"
    );
    on!(tx, conn => sqlx::query_as(SQL)
        .bind(asset).bind(first).bind(last).bind(known_at).fetch_all(conn).await)
}

/// The versions of those points that are the newest in force at one of the moments.
async fn last_versions(
    tx: &mut Tx,
    asset: AssetKey,
    ends: &[Moment],
    known_at: Moment,
) -> Result<Vec<Version>, StorageError> {
    let mut found: Vec<Version> = Vec::new();
    for some in ends.chunks(MOMENTS) {
        let rows: Vec<Version> = on!(tx, conn => {
            let mut query = QueryBuilder::new(
                "SELECT p.observed_at, p.source_key, p.candle, p.seq, p.withdrawn, p.price FROM prices p \
                 WHERE p.asset_key = ");
            query.push_bind(asset).push(" AND p.recorded_at <= ").push_bind(known_at);
            query.push(" AND p.observed_at IN (SELECT (SELECT q.observed_at FROM prices q WHERE q.asset_key = ");
            query.push_bind(asset).push(" AND q.observed_at <= e.column1 AND q.recorded_at <= ").push_bind(known_at);
            query.push(" AND NOT q.withdrawn AND NOT EXISTS (SELECT 1 FROM prices n WHERE n.asset_key = q.asset_key \
                AND n.observed_at = q.observed_at AND n.source_key = q.source_key AND n.candle = q.candle \
                AND n.recorded_at <= ").push_bind(known_at).push(" AND n.seq > q.seq) \
                ORDER BY q.observed_at DESC LIMIT 1) FROM (");
            query.push_values(some, |mut row, end| {
                row.push_bind(*end);
            });
            query.push(") AS e) ORDER BY p.observed_at, p.seq LIMIT 100000000");
            query.build_query_as().fetch_all(conn).await
        })?;
        found.extend(rows);
    }
    Ok(found)
}

/// A series from versions: of each point the newest counts, unless it withdraws the point.
fn of_versions(mut versions: Vec<Version>) -> Series {
    versions.sort_by(|a, b| {
        (a.observed_at, a.source_key, &a.candle, a.seq).cmp(&(b.observed_at, b.source_key, &b.candle, b.seq))
    });
    versions.dedup_by(|later, kept| {
        let same = (later.observed_at, later.source_key) == (kept.observed_at, kept.source_key)
            && later.candle == kept.candle;
        if same {
            std::mem::swap(later, kept);
        }
        same
    });
    let mut series = Series::default();
    for version in versions.into_iter().filter(|version| !version.withdrawn) {
        series.push(version.observed_at, (version.source_key, &version.candle), version.seq, version.price);
    }
    series
}

//! Tables `prices` and `price_sources`, read for many moments at once: the price that values an asset at each of them.
//!
//! A row of a driver costs more than the row itself, so a whole series comes as one text per asset and is taken apart
//! here. Where a series has one source, one length of candles and one version of each point, which is the common case,
//! moments and prices are all that is needed. Else every version comes along, and the rule of
//! [`prices::at`](crate::storage::prices::at) chooses: the greatest moment, the order of sources, the later recorded.
//! Of an asset with many points a day only those that are the last before some moment are read.

use crate::domain::asset::TermsHistory;
use crate::domain::decimal::Decimal;
use crate::domain::ids::{AssetKey, SourceKey};
use crate::domain::interval::Interval;
use crate::domain::moment::{DAY, Moment};
use crate::domain::price::Close;
use crate::storage::database::{Tx, on};
use crate::storage::error::StorageError;
use sqlx::QueryBuilder;
use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};

/// Keys named by one statement.
const KEYS: usize = 500;
/// Moments named by one statement.
const MOMENTS: usize = 5_000;
/// Days before the newest point that are looked at to tell how dense a series is.
const PROBED_DAYS: i64 = 10;
/// Points in those days from which on a series is dense.
const DENSE: i64 = 60;

/// What a source is called, and whether it takes splits out itself.
struct Source {
    name: String,
    split_adjusted: bool,
}

/// Which series an asset has, by its newest point: the one that most of its points belong to.
#[derive(Clone, Copy)]
struct Usual<'a> {
    source: SourceKey,
    candle: &'a str,
    dense: bool,
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
    let (Some(first), Some(last)) = (ends.first(), ends.last()) else { return Ok(found) };
    let sources = sources(tx, known_at).await?;
    let usual = usual(tx, assets).await?;
    for asset in assets {
        let range = (*asset, *first, *last, known_at);
        let known =
            usual.get(asset).map(|(source, candle, dense)| Usual { source: *source, candle, dense: *dense });
        let plain = match known {
            Some(known) if !known.dense => plain(tx, range, known).await?,
            _ => None,
        };
        let series = if let (Some(points), Some(known)) = (plain, known) {
            let split_adjusted = sources.get(&known.source).is_some_and(|source| source.split_adjusted);
            let daily = is_daily(known.candle);
            last_of_each(points, ends)?
                .into_iter()
                .map(|(slot, observed_at, price)| Close { slot, observed_at, price, daily, split_adjusted })
                .collect()
        } else {
            let dense = known.is_some_and(|known| known.dense);
            let versions = if dense {
                last_versions(tx, *asset, ends, known_at).await?
            } else {
                all_versions(tx, range).await?
            };
            choose(versions, &sources, ends, |at| {
                terms.at(*asset, at).map(|terms| terms.source_priority.as_slice()).unwrap_or_default()
            })
        };
        if !series.is_empty() {
            found.insert(*asset, series);
        }
    }
    Ok(found)
}

fn is_daily(candle: &str) -> bool {
    Interval::from_name(candle).is_some_and(Interval::is_daily_or_longer)
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

/// Source and candle of the newest point of each asset, and whether it has many points a day.
async fn usual(
    tx: &mut Tx,
    assets: &[AssetKey],
) -> Result<HashMap<AssetKey, (SourceKey, String, bool)>, StorageError> {
    let mut found = HashMap::new();
    for some in assets.chunks(KEYS) {
        let rows: Vec<(AssetKey, SourceKey, String, i64)> = on!(tx, conn => {
            let mut query = QueryBuilder::new(
                "SELECT l.asset_key, l.source_key, l.candle, (SELECT COUNT(c.seq) FROM (SELECT p.seq FROM prices p \
                    WHERE p.asset_key = l.asset_key AND p.observed_at > l.observed_at - ");
            query.push_bind(PROBED_DAYS * DAY).push(" LIMIT ").push_bind(DENSE);
            query.push(") c) AS points FROM latest_prices l WHERE l.asset_key IN (");
            let mut list = query.separated(", ");
            for key in some {
                list.push_bind(*key);
            }
            query.push(") ORDER BY l.asset_key LIMIT 500");
            query.build_query_as().fetch_all(conn).await
        })?;
        found.extend(
            rows.into_iter()
                .map(|(asset, source, candle, points)| (asset, (source, candle, points >= DENSE))),
        );
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
    usual: Usual<'_>,
) -> Result<Option<(String, String)>, StorageError> {
    const SQL: &str = from_the_first_needed!(
        "SELECT string_agg(CAST(p.observed_at AS TEXT), ' ') AS moments, string_agg(p.price, ' ') AS prices, \
            CAST(MAX(CASE WHEN p.source_key = $5 AND p.candle = $6 AND NOT p.withdrawn THEN 0 ELSE 1 END) AS BIGINT) \
            AS mixed",
        ""
    );
    let row: (Option<String>, Option<String>, Option<i64>) = on!(tx, conn => sqlx::query_as(SQL)
        .bind(asset).bind(first).bind(last).bind(known_at).bind(usual.source).bind(usual.candle)
        .fetch_one(conn).await)?;
    Ok(match row {
        (moments, prices, None) => Some((moments.unwrap_or_default(), prices.unwrap_or_default())),
        (Some(moments), Some(prices), Some(0)) if ascend(&moments) => Some((moments, prices)),
        _ => None,
    })
}

/// Whether moments written one after another ascend, each later than the one before: then each has one version.
fn ascend(moments: &str) -> bool {
    let mut before = None;
    moments.split(' ').map(|text| text.parse::<i64>().ok()).all(|moment| {
        let later = moment.is_some() && moment > before;
        before = moment;
        later
    })
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

/// The last point at or before each of the moments, told where it changes.
fn last_of_each(
    (moments, prices): (String, String),
    ends: &[Moment],
) -> Result<Vec<(usize, Moment, Decimal)>, StorageError> {
    let corrupt = |text: &str| StorageError::Corrupt(format!("price `{text}`"));
    let mut points = moments.split(' ').zip(prices.split(' ')).peekable();
    let mut found = Vec::with_capacity(ends.len());
    for (slot, end) in ends.iter().enumerate() {
        let mut newest = None;
        while let Some((moment, price)) = points.peek() {
            let Ok(moment) = moment.parse::<i64>() else { break };
            if moment > end.0 {
                break;
            }
            newest = Some((Moment(moment), *price));
            points.next();
        }
        if let Some((moment, price)) = newest {
            found.push((slot, moment, price.parse().map_err(|_| corrupt(price))?));
        }
    }
    Ok(found)
}

/// Chooses among versions as a single read does, for each of the moments.
fn choose<'a>(
    mut versions: Vec<Version>,
    sources: &HashMap<SourceKey, Source>,
    ends: &[Moment],
    priority: impl Fn(Moment) -> &'a [String],
) -> Vec<Close> {
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
    versions.retain(|version| !version.withdrawn);
    let name = |version: &Version| sources.get(&version.source_key).map(|source| source.name.as_str());
    let mut chosen: Vec<Close> = Vec::new();
    let mut last: Option<i64> = None;
    let mut passed = 0;
    for (slot, end) in ends.iter().enumerate() {
        while versions.get(passed).is_some_and(|version| version.observed_at <= *end) {
            passed += 1;
        }
        let before = versions.get(..passed).unwrap_or_default();
        let Some(newest) = before.last() else { continue };
        let order = priority(*end);
        let rank = |version: &Version| {
            let known = name(version).and_then(|name| order.iter().position(|listed| listed == name));
            known.unwrap_or(usize::MAX)
        };
        let ties = before.iter().rev().take_while(|version| version.observed_at == newest.observed_at);
        let best = ties.min_by_key(|version| (rank(version), Reverse(version.seq))).unwrap_or(newest);
        if last == Some(best.seq) {
            continue;
        }
        last = Some(best.seq);
        chosen.push(Close {
            slot,
            observed_at: best.observed_at,
            price: best.price.clone(),
            daily: is_daily(&best.candle),
            split_adjusted: sources.get(&best.source_key).is_some_and(|source| source.split_adjusted),
        });
    }
    chosen
}

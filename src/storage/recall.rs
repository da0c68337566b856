//! What is kept of prices in memory, read anew from the blocks: at the start, and after a commit that failed.

use crate::domain::asset::TermsHistory;
use crate::domain::ids::{AssetKey, SourceKey};
use crate::domain::moment::Moment;
use crate::domain::price_version::SeriesKey;
use crate::storage::assets;
use crate::storage::database::{Tx, on};
use crate::storage::error::StorageError;
use crate::storage::newest::{SeriesEnd, Source, State};
use crate::storage::price_blocks::{self, FreshBlock, FreshRange};
use crate::storage::price_series;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// Series read at a time, about.
const SERIES: usize = 200;
/// Points read at a time, about.
const POINTS: i64 = 200_000;

/// Every source, as known at `known_at`.
pub(super) async fn sources(
    tx: &mut Tx,
    known_at: Moment,
) -> Result<HashMap<SourceKey, Source>, StorageError> {
    const SQL: &str = "SELECT s.source_key, s.name, (SELECT v.split_adjusted FROM price_source_versions v \
            WHERE v.source_key = s.source_key AND v.recorded_at <= $1 ORDER BY v.seq DESC LIMIT 1) AS split_adjusted \
        FROM price_sources s ORDER BY s.source_key LIMIT 1000000";
    let rows: Vec<(SourceKey, String, Option<bool>)> =
        on!(tx, conn => sqlx::query_as(SQL).bind(known_at).fetch_all(conn).await)?;
    let source = |(key, name, split_adjusted): (SourceKey, String, Option<bool>)| {
        (key, Source { name: Arc::from(name), split_adjusted: split_adjusted.unwrap_or_default() })
    };
    Ok(rows.into_iter().map(source).collect())
}

/// The stamp of the last commit that a snapshot has.
pub(super) async fn last_commit(tx: &mut Tx) -> Result<Moment, StorageError> {
    const SQL: &str = "SELECT last FROM commit_stamp WHERE id = 1";
    if let Some(snapshot) = tx.snapshot {
        return Ok(snapshot);
    }
    let last = on!(tx, conn => sqlx::query_scalar(SQL).fetch_one(conn).await)?;
    tx.snapshot = Some(last);
    Ok(last)
}

/// Reads everything anew.
pub(super) async fn recall(tx: &mut Tx) -> Result<(), StorageError> {
    let published = last_commit(tx).await?;
    let sources = sources(tx, Moment::MAX).await?;
    let keys = sources.iter().map(|(key, source)| (Arc::clone(&source.name), *key)).collect();
    let mut state = State { sources, keys, published, sources_changed_at: published, ..State::default() };
    let sealed = price_blocks::sealed_series(tx).await?;
    let blocks = price_blocks::fresh_blocks(tx).await?;
    let mut first = i64::MIN;
    for next in cuts(&sealed, &blocks).into_iter().map(Some).chain([None]) {
        let last = next.map_or(i64::MAX, |next| next - 1);
        let from = sealed.partition_point(|(series, _)| series.asset.0 < first);
        let to = sealed.partition_point(|(series, _)| series.asset.0 <= last);
        let part = sealed.get(from..to).unwrap_or_default();
        recall_part(tx, &mut state, part, (AssetKey(first), AssetKey(last))).await?;
        first = next.unwrap_or(first);
    }
    let keys: Vec<AssetKey> = state.assets.keys().copied().collect();
    for some in keys.chunks(SERIES) {
        let terms = assets::terms(tx, some, Moment::MAX).await?;
        for key in some {
            if let Some(ends) = state.assets.get_mut(key) {
                ends.priority = priority(&terms, *key);
            }
        }
    }
    tx.newest.replace(state);
    Ok(())
}

/// Assets at which a part begins: so that none has many series, or many points that are not sealed.
fn cuts(sealed: &[(SeriesKey, Moment)], blocks: &[FreshBlock]) -> BTreeSet<i64> {
    let mut cuts: BTreeSet<i64> =
        sealed.iter().skip(SERIES).step_by(SERIES).map(|(series, _)| series.asset.0).collect();
    let mut firsts: Vec<(i64, i64)> =
        blocks.iter().map(|block| (block.first_asset.0, block.points)).collect();
    firsts.sort_unstable();
    let mut sum = 0;
    for (first, points) in firsts {
        sum += points;
        if sum > POINTS {
            cuts.insert(first);
            sum = points;
        }
    }
    cuts
}

/// The order of sources that holds from now on.
pub(super) fn priority(terms: &TermsHistory, asset: AssetKey) -> Arc<[String]> {
    let terms = terms.at(asset, Moment::MAX);
    terms.map(|terms| Arc::from(terms.source_priority.as_slice())).unwrap_or_default()
}

async fn recall_part(
    tx: &mut Tx,
    state: &mut State,
    sealed: &[(SeriesKey, Moment)],
    (first, last): (AssetKey, AssetKey),
) -> Result<(), StorageError> {
    let fresh = price_blocks::fresh(tx, FreshRange { first, last, ..FreshRange::of(first) }).await?;
    let mut ends: BTreeMap<SeriesKey, Moment> = sealed.iter().copied().collect();
    for (series, versions) in &fresh {
        let Some(newest) = versions.last() else { continue };
        let end = ends.entry(*series).or_insert(newest.observed_at);
        *end = newest.observed_at.max(*end);
    }
    let series: Vec<SeriesKey> = ends.keys().copied().collect();
    let mut newest = price_series::newest_of_many(tx, &series, &fresh, (Moment::MAX, Moment::MAX)).await?;
    for (key, last_at) in ends {
        let kept = &mut state.assets.entry(key.asset).or_default().series;
        kept.insert((key.source, key.candle), SeriesEnd { last_at, newest: newest.remove(&key) });
    }
    Ok(())
}

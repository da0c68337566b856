//! The price points and rates that valued a portfolio's positions and cash.

use crate::domain::currency::Currency;
use crate::domain::ids::AssetKey;
use crate::domain::moment::Moment;
use crate::domain::portfolio::Portfolio;
use crate::http::AppState;
use crate::http::conventions::GivenConventions;
use crate::http::error::ApiError;
use crate::http::fx::points_of;
use crate::http::query::Query;
use crate::http::wire::Time;
use crate::storage::{assets, portfolios, prices, rates};
use crate::workers::pnl_engine::{self, Ask};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// The records, prices first; `query` has `as_of` and the conventions of the valuation.
///
/// # Errors
/// What a read of the figures fails with.
pub async fn records(
    app: &AppState,
    portfolio: &Portfolio,
    query: &mut Query,
    known_at: Moment,
) -> Result<Vec<Value>, ApiError> {
    let as_of = query.until("as_of", portfolio.time_zone);
    let until = as_of.unwrap_or(Moment::MAX);
    let given = GivenConventions::of_query(query);
    let mut tx = app.db.read().await?;
    let own = portfolios::conventions(&mut tx, portfolio.id, until, known_at).await?;
    let ask = Ask { as_of, known_at: Some(known_at), conventions: Some(given.over(&own)), ..Ask::default() };
    let figures = pnl_engine::figures(&mut tx, portfolio, &ask, app.clock.now()).await?;
    let items = figures.report.items.iter();
    let keys: BTreeSet<AssetKey> = items.clone().map(|item| item.asset).collect();
    let keys: Vec<AssetKey> = keys.into_iter().collect();
    let terms = assets::terms(&mut tx, &keys, known_at).await?;
    let priority = |key: AssetKey| terms.at(key, until).map(|terms| terms.source_priority.clone());
    let of: Vec<_> = keys.iter().map(|key| (*key, priority(*key).unwrap_or_default())).collect();
    let points = prices::at_many(&mut tx, &of, until, known_at).await?;
    let mut records = Vec::new();
    let mut quoted: BTreeSet<AssetKey> = BTreeSet::new();
    for item in items.clone() {
        let (Some(used), Some(asset)) = (&item.price, figures.assets.get(&item.asset)) else { continue };
        let is_quote = used.basis == "quote";
        if is_quote && !quoted.insert(item.asset) {
            continue;
        }
        let point = if is_quote { points.get(&item.asset) } else { None };
        records.push(json!({
            "kind": "price",
            "symbol": asset.symbol,
            "account": (!is_quote).then_some(&item.account),
            "price": point.map(|point| point.quote.price.to_string()),
            "price_used": used.price.normalized().to_string(),
            "price_basis": used.basis,
            "observed_at": Time(used.observed_at),
            "source": used.source,
            "interval": used.interval,
            "recorded_at": used.recorded_at.map(Time),
            "age": used.age.div_euclid(1_000_000),
            "stale": used.stale,
        }));
    }
    let base = portfolio.base_currency;
    let held = items.filter(|item| item.side.is_some()).map(|item| item.currency);
    let units: BTreeSet<Currency> = held.chain(figures.report.cash.keys().copied()).collect();
    let known = rates::newest(&mut tx, until, known_at).await?;
    let mut seen = BTreeSet::new();
    for unit in units {
        let legs = known.legs(unit, base, until).unwrap_or_default();
        for point in points_of(&mut tx, &legs, known_at).await? {
            if seen.insert((point.base, point.quote)) {
                records.push(json!({
                    "kind": "rate",
                    "base": point.base,
                    "quote": point.quote,
                    "rate": point.rate.to_string(),
                    "observed_at": Time(point.observed_at),
                    "source": point.source,
                    "recorded_at": Time(point.recorded_at),
                }));
            }
        }
    }
    Ok(records)
}

//! Any value of a statement, of a stored portfolio: its ledger, prices and rates become a statement, which is evaluated
//! like one that was sent in.

use crate::domain::ids::AssetKey;
use crate::domain::moment::Moment;
use crate::domain::pnl::statement::{Answer, Checkpoint, StatedAsset, Statement};
use crate::domain::portfolio::Portfolio;
use crate::domain::price::Mark;
use crate::storage::database::Tx;
use crate::storage::{assets, portfolios, prices, rates};
use crate::workers::bookkeeping::{BookError, Lookup};
use crate::workers::ledger;
use crate::workers::pnl_engine::Ask;
use std::collections::{BTreeMap, BTreeSet};

/// What is asked of a portfolio beside the moment, the knowledge and the conventions.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// The asset asked about.
    pub asset: Option<AssetKey>,
    /// The account asked about.
    pub account: Option<String>,
    /// Start of a window.
    pub from: Option<Moment>,
    /// Names of the values.
    pub names: Vec<String>,
}

/// Evaluates values of a stored portfolio. `now` is the moment of the read.
///
/// # Errors
/// The database's, and [`BookError::Refused`] when other conventions refuse a recorded transaction.
pub async fn values(
    tx: &mut Tx,
    portfolio: &Portfolio,
    ask: &Ask,
    wanted: Wanted,
    now: Moment,
) -> Result<Option<(Answer, Statement)>, BookError> {
    let known_at = ask.known_at.unwrap_or(Moment::MAX);
    let upper = ask.as_of.unwrap_or(Moment::MAX);
    let conventions = match &ask.conventions {
        Some(conventions) => conventions.clone(),
        None => portfolios::conventions(tx, portfolio.id, upper, known_at).await?,
    };
    let ledger = ledger::load(tx, portfolio, upper, known_at).await?;
    let lookup = Lookup::load(tx, portfolio, &ledger.rows, conventions.clone(), known_at).await?;
    let terms = lookup.terms().clone();
    let mut all = lookup.into_rates();
    let moments: Vec<Moment> = wanted.from.into_iter().chain([upper]).collect();
    for moment in &moments {
        all.extend(rates::newest(tx, *moment, known_at).await?);
    }
    let keys: BTreeSet<AssetKey> = ledger.rows.iter().filter_map(|t| t.asset).collect();
    let keys: Vec<AssetKey> = keys.into_iter().collect();
    let mut points = Vec::new();
    for moment in &moments {
        let priority = |key: AssetKey| terms.at(key, *moment).map(|terms| terms.source_priority.clone());
        let of: Vec<_> = keys.iter().map(|key| (*key, priority(*key).unwrap_or_default())).collect();
        points.push(prices::at_many(tx, &of, *moment, known_at).await?);
    }
    let mut stated = BTreeMap::new();
    for asset in assets::by_keys(tx, &keys).await? {
        let mut marks: Vec<Mark> =
            points.iter_mut().filter_map(|points| points.remove(&asset.key)).map(Mark::from).collect();
        marks.sort_by_key(|mark| mark.observed_at);
        let one = StatedAsset { name: asset.symbol, zone: asset.market_zone, marks };
        stated.insert(asset.key, one);
    }
    // The present has a day too, so that days can be counted up to it; what is dated ahead belongs to it.
    let newest_mark = stated.values().flat_map(|asset| &asset.marks).map(|mark| mark.observed_at).max();
    let newest_entry = ledger.rows.iter().map(|t| t.executed_at).max();
    let present = [Some(now), newest_mark, newest_entry, all.latest()].into_iter().flatten().max();
    let checkpoint = Checkpoint {
        at: ask.as_of.or(present).unwrap_or(now),
        zone: portfolio.time_zone,
        asset: wanted.asset,
        account: wanted.account,
        cost_basis: None,
        entries: usize::MAX,
        from: wanted.from,
        want: wanted.names,
    };
    let statement = Statement {
        base: portfolio.base_currency,
        conventions,
        average_scope: None,
        first_known: false,
        assets: stated,
        terms,
        tolerated: ledger.tolerated,
        transactions: ledger.rows,
        plain_dividends: BTreeSet::new(),
        rates: all,
        checkpoints: vec![checkpoint],
    };
    let answer = statement.evaluate().pop();
    if let Some(refusal) = answer.as_ref().and_then(|answer| answer.refused.first()) {
        let (transaction, error) = (refusal.transaction, refusal.error.clone());
        return Err(BookError::Refused { transaction, own: false, error });
    }
    Ok(answer.map(|answer| (answer, statement)))
}

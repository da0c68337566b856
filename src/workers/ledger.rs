//! The ledger of a portfolio as the fold reads it: its own entries, with the corporate actions of its assets between
//! them. This is the only place where the two come together.

use crate::domain::corporate_action::CorporateAction;
use crate::domain::ids::{ActionId, AssetId, AssetKey, TransactionId};
use crate::domain::ledger::{Zones, merge, stands_for_action};
use crate::domain::moment::{DAY, Moment};
use crate::domain::pnl::book::actions::fold_flagging;
use crate::domain::pnl::book::{Book, Context, LedgerError};
use crate::domain::portfolio::Portfolio;
use crate::domain::transaction::{Transaction, TransactionType};
use crate::storage::actions::{self, RecordedAction};
use crate::storage::assets;
use crate::storage::database::Tx;
use crate::storage::error::StorageError;
use crate::storage::transactions::{self, EntryFilter};
use chrono_tz::Tz;
use std::collections::{BTreeMap, BTreeSet};

/// Rows to fold, in order.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    /// Entries of the portfolio, and rows that stand for corporate actions (`asset_level`).
    pub rows: Vec<Transaction>,
    /// Assets on which an action was ever recorded: their rows are flagged where they break a rule.
    pub tolerated: BTreeSet<AssetKey>,
}

impl Ledger {
    /// Folds it.
    ///
    /// # Errors
    /// The first row that cannot stand, with the rule it breaks.
    pub fn fold(&self, ctx: Context<'_>) -> Result<Book, (TransactionId, LedgerError)> {
        self.fold_onto(Book::default(), ctx)
    }

    /// Folds it onto a book.
    ///
    /// # Errors
    /// The first row that cannot stand, with the rule it breaks.
    pub fn fold_onto(&self, book: Book, ctx: Context<'_>) -> Result<Book, (TransactionId, LedgerError)> {
        fold_flagging(book, &self.rows, ctx, &self.tolerated)
    }

    /// How many entries of the portfolio's own are in it.
    pub fn entries(&self) -> i64 {
        i64::try_from(self.rows.iter().filter(|t| !t.asset_level).count()).unwrap_or(i64::MAX)
    }
}

/// The ledger of a portfolio about moments up to `as_of`, as known at `known_at`.
///
/// # Errors
/// The database's.
pub async fn load(
    tx: &mut Tx,
    portfolio: &Portfolio,
    as_of: Moment,
    known_at: Moment,
) -> Result<Ledger, StorageError> {
    let entries = transactions::in_force(tx, portfolio.id, as_of, known_at).await?;
    let assets = assets_of(&entries);
    with_actions(tx, portfolio, entries, &assets, (as_of, known_at)).await
}

/// The ledger of these entries, recorded or not, with every action of their assets.
///
/// # Errors
/// The database's.
pub async fn of_entries(
    tx: &mut Tx,
    portfolio: &Portfolio,
    entries: Vec<Transaction>,
) -> Result<Ledger, StorageError> {
    let assets = assets_of(&entries);
    with_actions(tx, portfolio, entries, &assets, (Moment::MAX, Moment::MAX)).await
}

/// New entries that come last, with the actions of assets that the kept book does not know yet: their splits divide
/// prices that were observed before.
///
/// # Errors
/// The database's.
pub async fn entering(
    tx: &mut Tx,
    portfolio: &Portfolio,
    book: &Book,
    entries: Vec<Transaction>,
) -> Result<Ledger, StorageError> {
    let mut assets = assets_of(&entries);
    let held: BTreeSet<AssetKey> = book.holdings.keys().map(|key| key.asset).collect();
    assets.retain(|asset| !held.contains(asset) && !book.splits.contains_key(asset));
    with_actions(tx, portfolio, entries, &assets, (Moment::MAX, Moment::MAX)).await
}

/// The rows of some assets after a moment each: as they were before entries were added and removed, and as they are
/// now. Entries without an asset among the changed ones belong to both as they do to the change.
///
/// # Errors
/// The database's.
pub async fn after(
    tx: &mut Tx,
    portfolio: &Portfolio,
    assets: &BTreeMap<AssetKey, Moment>,
    (added, removed): (&[Transaction], &[Transaction]),
) -> Result<(Ledger, Ledger), StorageError> {
    let bare = |rows: &[Transaction]| rows.iter().filter(|t| t.asset.is_none()).cloned().collect();
    let mut is_now: Vec<Transaction> = bare(added);
    for (asset, after) in assets {
        // Earlier entries that stand for an action decide whether the asset's own action counts.
        is_now.extend(transactions::in_force_after(tx, portfolio.id, *asset, *after).await?);
    }
    let new: BTreeSet<TransactionId> = added.iter().map(|t| t.id).collect();
    let mut was: Vec<Transaction> = is_now.iter().filter(|t| !new.contains(&t.id)).cloned().collect();
    was.extend(removed.iter().cloned());
    let keys: BTreeSet<AssetKey> = assets.keys().copied().collect();
    let after = |t: &Transaction| t.asset.and_then(|asset| assets.get(&asset)).copied();
    let mut ledgers = Vec::with_capacity(2);
    for entries in [was, is_now] {
        let mut ledger = with_actions(tx, portfolio, entries, &keys, (Moment::MAX, Moment::MAX)).await?;
        ledger.rows.retain(|t| after(t).is_none_or(|after| t.executed_at > after));
        ledgers.push(ledger);
    }
    let is_now = ledgers.pop().unwrap_or_default();
    Ok((ledgers.pop().unwrap_or_default(), is_now))
}

fn assets_of(entries: &[Transaction]) -> BTreeSet<AssetKey> {
    entries.iter().filter_map(|t| t.asset).collect()
}

async fn with_actions(
    tx: &mut Tx,
    portfolio: &Portfolio,
    entries: Vec<Transaction>,
    assets: &BTreeSet<AssetKey>,
    (as_of, known_at): (Moment, Moment),
) -> Result<Ledger, StorageError> {
    let keys: Vec<AssetKey> = assets.iter().copied().collect();
    let known: Vec<RecordedAction> = actions::known(tx, &keys, known_at)
        .await?
        .into_iter()
        .filter(|row| row.action.kind.entry().is_some())
        .collect();
    let tolerated: BTreeSet<AssetKey> = known.iter().map(|row| row.action.asset).collect();
    let happened = |row: RecordedAction| {
        let counts = row.in_force(known_at) && row.action.executed_at <= as_of;
        counts.then_some(row.action)
    };
    let in_force: Vec<CorporateAction> = known.into_iter().filter_map(happened).collect();
    let day_splits = entries.iter().filter(|t| t.whole_day && t.kind == TransactionType::Split);
    let dated: BTreeSet<AssetKey> =
        in_force.iter().map(|action| action.asset).chain(day_splits.filter_map(|t| t.asset)).collect();
    let markets = market_zones(tx, &dated).await?;
    let zones = Zones { portfolio: portfolio.time_zone, markets: &markets };
    Ok(Ledger { rows: merge(entries, &in_force, zones), tolerated })
}

async fn market_zones(
    tx: &mut Tx,
    assets: &BTreeSet<AssetKey>,
) -> Result<BTreeMap<AssetKey, Tz>, StorageError> {
    let keys: Vec<AssetKey> = assets.iter().copied().collect();
    let found = assets::by_keys(tx, &keys).await?;
    Ok(found.into_iter().map(|asset| (asset.key, asset.market_zone)).collect())
}

/// The action in force that an entry repeats: one of its type, asset and day, unless the ledger keeps an entry of its
/// own for that already. `original` is the entry it is recorded in place of.
///
/// # Errors
/// The database's.
pub async fn repeated(
    tx: &mut Tx,
    portfolio: &Portfolio,
    entry: &Transaction,
    original: Option<&Transaction>,
) -> Result<Option<(AssetId, ActionId)>, StorageError> {
    let Some(key) = entry.asset.filter(|_| stands_for_action(entry.kind)) else { return Ok(None) };
    let known = actions::known(tx, &[key], Moment::MAX).await?;
    let alike =
        known.iter().filter(|row| row.in_force(Moment::MAX) && row.action.kind.entry() == Some(entry.kind));
    let Some(asset) = assets::by_keys(tx, &[key]).await?.pop() else { return Ok(None) };
    let markets = BTreeMap::from([(key, asset.market_zone)]);
    let zones = Zones { portfolio: portfolio.time_zone, markets: &markets };
    let day = zones.day_of(entry);
    let same_day = |row: &&RecordedAction| row.action.as_entry().is_some_and(|t| zones.day_of(&t) == day);
    let Some(action) = alike.into_iter().find(same_day).map(|row| row.action.id) else { return Ok(None) };
    let stands = |t: &Transaction| t.kind == entry.kind && t.asset == entry.asset && zones.day_of(t) == day;
    if original.is_some_and(stands) {
        return Ok(None);
    }
    let filter = EntryFilter {
        kind: Some(entry.kind),
        account: None,
        asset: Some(key),
        external_id: None,
        from: entry.executed_at.plus(-3 * DAY),
        as_of: entry.executed_at.plus(3 * DAY),
        known_at: Moment::MAX,
        voided: false,
        after: None,
        limit: i64::from(u32::MAX),
    };
    let own = transactions::list(tx, portfolio.id, &filter).await?;
    Ok(Some((asset.id, action)).filter(|_| !own.iter().any(|own| stands(&own.transaction))))
}

//! Tables `ledger_states`, `holdings` and `lots`: what the fold yields, kept with every ledger entry.

use crate::domain::ids::{AssetKey, PortfolioId, PositionId};
use crate::domain::moment::Moment;
use crate::domain::pnl::book::actions::Flag;
use crate::domain::pnl::book::{AccountState, Book, HoldingKey, MissingRate, SplitEvent};
use crate::domain::pnl::holding::Holding;
use crate::domain::pnl::lots::Lot;
use crate::storage::columns::{from_json, to_json};
use crate::storage::database::{Tx, on};
use crate::storage::error::StorageError;
use serde::{Deserialize, Serialize};
use sqlx::QueryBuilder;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Lots written by one statement.
const ROWS: usize = 500;

/// Restricts a query to some assets.
macro_rules! push_assets {
    ($query:expr, $assets:expr) => {
        if let Some(assets) = $assets {
            $query.push(" AND asset_key IN (-1");
            for key in assets {
                $query.push(", ").push_bind(*key);
            }
            $query.push(")");
        }
    };
}
/// The part of a book that belongs to no holding.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Common {
    accounts: BTreeMap<String, AccountState>,
    splits: BTreeMap<AssetKey, Vec<SplitEvent>>,
    missing: BTreeSet<MissingRate>,
    #[serde(default)]
    flags: Vec<Flag>,
}

/// How far the kept book of a portfolio goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// Latest `executed_at` folded into it.
    pub last_at: Moment,
    /// Entries folded into it.
    pub entries: i64,
    /// Whether money other than base currency ever moved.
    pub foreign_money: bool,
    /// Whether a fact it used has changed since, so that it must be folded anew.
    pub stale: bool,
}

/// A kept book, and the ids of its open positions.
#[derive(Debug, Clone)]
pub struct KeptBook {
    /// How far it goes.
    pub kept: Kept,
    /// The book, with those holdings that were asked for.
    pub book: Book,
    /// Open positions by holding.
    pub open: BTreeMap<HoldingKey, PositionId>,
}

#[derive(sqlx::FromRow)]
struct StateRow {
    last_at: Moment,
    entries: i64,
    foreign_money: bool,
    stale: bool,
    state: String,
}

#[derive(sqlx::FromRow)]
struct HoldingRow {
    account: String,
    asset_key: AssetKey,
    position_id: Option<PositionId>,
    state: String,
}

#[derive(sqlx::FromRow)]
struct LotRow {
    account: String,
    asset_key: AssetKey,
    state: String,
}

/// How far the kept book of a portfolio goes; `None` before its first entry.
pub async fn kept(tx: &mut Tx, portfolio: PortfolioId) -> Result<Option<Kept>, StorageError> {
    Ok(state(tx, portfolio).await?.map(|(kept, _)| kept))
}

/// The version of the kept book of a portfolio: another one after every change; `None` when there is none that is up to
/// date.
pub async fn version(tx: &mut Tx, portfolio: PortfolioId) -> Result<Option<i64>, StorageError> {
    const SQL: &str = "SELECT version FROM ledger_states WHERE portfolio_id = $1 AND NOT stale";
    on!(tx, conn => sqlx::query_scalar(SQL).bind(portfolio).fetch_optional(conn).await)
}

async fn state(tx: &mut Tx, portfolio: PortfolioId) -> Result<Option<(Kept, Common)>, StorageError> {
    const SQL: &str =
        "SELECT last_at, entries, foreign_money, stale, state FROM ledger_states WHERE portfolio_id = $1";
    let row: Option<StateRow> =
        on!(tx, conn => sqlx::query_as(SQL).bind(portfolio).fetch_optional(conn).await)?;
    row.map(|row| {
        let kept = Kept {
            last_at: row.last_at,
            entries: row.entries,
            foreign_money: row.foreign_money,
            stale: row.stale,
        };
        Ok((kept, from_json(&row.state)?))
    })
    .transpose()
}

/// Loads the kept book with the holdings of `assets`, or with all of them.
pub async fn load(
    tx: &mut Tx,
    portfolio: PortfolioId,
    assets: Option<&[AssetKey]>,
) -> Result<Option<KeptBook>, StorageError> {
    let Some((kept, common)) = state(tx, portfolio).await? else { return Ok(None) };
    let holdings: Vec<HoldingRow> = on!(tx, conn => {
        let mut query = QueryBuilder::new("SELECT account, asset_key, position_id, state FROM holdings WHERE portfolio_id = ");
        query.push_bind(portfolio);
        push_assets!(query, assets);
        query.push(" ORDER BY account, asset_key LIMIT 10000000");
        query.build_query_as().fetch_all(conn).await
    })?;
    let lots: Vec<LotRow> = on!(tx, conn => {
        let mut query = QueryBuilder::new("SELECT account, asset_key, state FROM lots WHERE portfolio_id = ");
        query.push_bind(portfolio);
        push_assets!(query, assets);
        query.push(" ORDER BY account, asset_key, number LIMIT 100000000");
        query.build_query_as().fetch_all(conn).await
    })?;
    let mut by_holding: HashMap<(String, AssetKey), Vec<Lot>> = HashMap::new();
    for row in lots {
        by_holding.entry((row.account, row.asset_key)).or_default().push(from_json(&row.state)?);
    }
    let Common { accounts, splits, missing, flags } = common;
    let mut book = Book { accounts, splits, missing, flags, ..Book::default() };
    let mut open = BTreeMap::new();
    for row in holdings {
        let mut holding: Holding = from_json(&row.state)?;
        let key = HoldingKey { account: row.account, asset: row.asset_key };
        let mut lots = by_holding.remove(&(key.account.clone(), key.asset)).unwrap_or_default();
        lots.sort_by_key(|lot| (lot.acquired_at, lot.place, lot.number));
        holding.lots = lots.into_iter().collect();
        if let Some(position) = row.position_id {
            open.insert(key.clone(), position);
        }
        book.holdings.insert(key, holding);
    }
    Ok(Some(KeptBook { kept, book, open }))
}

/// Writes the common part and those holdings of `after` that differ from `before`, lot by lot.
pub async fn save(
    tx: &mut Tx,
    portfolio: PortfolioId,
    before: Option<&KeptBook>,
    after: &KeptBook,
) -> Result<(), StorageError> {
    let nothing = BTreeMap::new();
    let old = before.map_or(&nothing, |kept| &kept.book.holdings);
    let mut changed = Vec::new();
    for (key, was) in old {
        if !after.book.holdings.contains_key(key) {
            changed.push(key.asset);
            delete_holding(tx, portfolio, key, was).await?;
        }
    }
    for (key, holding) in &after.book.holdings {
        let was = old.get(key);
        let position = after.open.get(key).copied();
        let same_position = before.and_then(|kept| kept.open.get(key).copied()) == position;
        if was != Some(holding) || !same_position {
            changed.push(key.asset);
            save_lots(tx, portfolio, key, was, holding).await?;
            save_holding(tx, portfolio, key, holding, position).await?;
        }
    }
    let version = save_state(tx, portfolio, after).await?;
    tx.touched.portfolios.push(portfolio);
    tx.touched.books.push((portfolio, version, changed));
    Ok(())
}

async fn save_state(tx: &mut Tx, portfolio: PortfolioId, after: &KeptBook) -> Result<i64, StorageError> {
    const SQL: &str = "INSERT INTO ledger_states (portfolio_id, last_at, entries, foreign_money, stale, state, \
        version) VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (portfolio_id) DO UPDATE SET last_at = excluded.last_at, \
        entries = excluded.entries, foreign_money = excluded.foreign_money, stale = excluded.stale, \
        state = excluded.state, version = excluded.version";
    let version = tx.next_seq()?;
    let common = Common {
        accounts: after.book.accounts.clone(),
        splits: after.book.splits.clone(),
        missing: after.book.missing.clone(),
        flags: after.book.flags.clone(),
    };
    let (kept, text) = (after.kept, to_json(&common)?);
    on!(tx, conn => sqlx::query(SQL).bind(portfolio).bind(kept.last_at).bind(kept.entries).bind(kept.foreign_money)
        .bind(kept.stale).bind(&text).bind(version).execute(conn).await.map(drop))?;
    Ok(version)
}

async fn save_holding(
    tx: &mut Tx,
    portfolio: PortfolioId,
    key: &HoldingKey,
    holding: &Holding,
    position: Option<PositionId>,
) -> Result<(), StorageError> {
    const SQL: &str = "INSERT INTO holdings (portfolio_id, account, asset_key, position_id, state) \
        VALUES ($1, $2, $3, $4, $5) ON CONFLICT (portfolio_id, account, asset_key) DO UPDATE SET \
        position_id = excluded.position_id, state = excluded.state";
    let text = to_json(holding)?;
    on!(tx, conn => sqlx::query(SQL).bind(portfolio).bind(&key.account).bind(key.asset).bind(position).bind(&text)
        .execute(conn).await.map(drop))
}

/// Writes the lots that are new or changed and removes those that are gone.
async fn save_lots(
    tx: &mut Tx,
    portfolio: PortfolioId,
    key: &HoldingKey,
    before: Option<&Holding>,
    after: &Holding,
) -> Result<(), StorageError> {
    let was: HashMap<u64, &Lot> =
        before.iter().flat_map(|holding| &holding.lots.0).map(|lot| (lot.number, lot)).collect();
    let is: BTreeSet<u64> = after.lots.0.iter().map(|lot| lot.number).collect();
    for number in was.keys().filter(|number| !is.contains(number)) {
        delete_lot(tx, portfolio, key, *number).await?;
    }
    let mut changed = Vec::new();
    for lot in after.lots.0.iter().filter(|lot| was.get(&lot.number) != Some(lot)) {
        changed.push((lot_number(lot.number)?, to_json(lot)?));
    }
    for some in changed.chunks(ROWS) {
        on!(tx, conn => {
            let mut query = QueryBuilder::new("INSERT INTO lots (portfolio_id, account, asset_key, number, state) ");
            query.push_values(some, |mut row, (number, text)| {
                row.push_bind(portfolio).push_bind(key.account.clone()).push_bind(key.asset).push_bind(*number)
                    .push_bind(text.clone());
            });
            query.push(" ON CONFLICT (portfolio_id, account, asset_key, number) DO UPDATE SET state = excluded.state");
            query.build().execute(conn).await.map(drop)
        })?;
    }
    Ok(())
}

fn lot_number(number: u64) -> Result<i64, StorageError> {
    i64::try_from(number).map_err(|_| StorageError::Corrupt(format!("lot number {number}")))
}

async fn delete_lot(
    tx: &mut Tx,
    portfolio: PortfolioId,
    key: &HoldingKey,
    number: u64,
) -> Result<(), StorageError> {
    const SQL: &str =
        "DELETE FROM lots WHERE portfolio_id = $1 AND account = $2 AND asset_key = $3 AND number = $4";
    let number = lot_number(number)?;
    on!(tx, conn => sqlx::query(SQL).bind(portfolio).bind(&key.account).bind(key.asset).bind(number)
        .execute(conn).await.map(drop))
}

async fn delete_holding(
    tx: &mut Tx,
    portfolio: PortfolioId,
    key: &HoldingKey,
    was: &Holding,
) -> Result<(), StorageError> {
    const SQL: &str = "DELETE FROM holdings WHERE portfolio_id = $1 AND account = $2 AND asset_key = $3";
    for lot in &was.lots.0 {
        delete_lot(tx, portfolio, key, lot.number).await?;
    }
    on!(tx, conn => sqlx::query(SQL).bind(portfolio).bind(&key.account).bind(key.asset).execute(conn).await.map(drop))
}

/// Marks the kept books of portfolios with foreign money that reach `from` or later: a rate they used has changed.
pub async fn mark_stale(tx: &mut Tx, from: Moment) -> Result<(), StorageError> {
    const SQL: &str = "UPDATE ledger_states SET stale = $2 WHERE last_at >= $1 AND foreign_money";
    tx.touched.every_portfolio = true;
    on!(tx, conn => sqlx::query(SQL).bind(from).bind(true).execute(conn).await.map(drop))
}

/// An open position, and whose it is.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct OpenPosition {
    /// Its portfolio.
    pub portfolio_id: PortfolioId,
    /// Its id.
    pub position_id: PositionId,
    /// Owner of the portfolio.
    pub owner_id: String,
}

/// Every open position of an asset, of every portfolio, in order of portfolio and account.
pub async fn open_positions(tx: &mut Tx, asset: AssetKey) -> Result<Vec<OpenPosition>, StorageError> {
    const SQL: &str = "SELECT h.portfolio_id, h.position_id, p.owner_id FROM holdings h \
        JOIN portfolios p ON p.id = h.portfolio_id \
        WHERE h.asset_key = $1 AND h.position_id IS NOT NULL ORDER BY p.seq, h.account LIMIT 1000000";
    on!(tx, conn => sqlx::query_as(SQL).bind(asset).fetch_all(conn).await)
}

//! Tables `transactions` and `transaction_voids`: the ledger, never changed, only added to.

use crate::domain::currency::Currency;
use crate::domain::decimal::Decimal;
use crate::domain::ids::{AssetKey, MarketKey, PortfolioId, TransactionId};
use crate::domain::moment::Moment;
use crate::domain::transaction::{LotPick, Transaction, TransactionType};
use crate::storage::columns::{from_json, to_json};
use crate::storage::database::{Tx, on};
use crate::storage::error::StorageError;
use crate::storage::page::After;
use sqlx::{ColumnIndex, Decode, FromRow, QueryBuilder, Type};
use uuid::Uuid;

/// Entries read or written by one statement.
const ROWS: usize = 500;

/// A ledger entry as it is kept: what the fold reads, and what people wrote beside it.
#[derive(Debug, Clone)]
pub struct Entry {
    /// What the fold reads.
    pub transaction: Transaction,
    /// The portfolio.
    pub portfolio: PortfolioId,
    /// Sequence of entry.
    pub seq: i64,
    /// The sender's own id, unique among entries in force.
    pub external_id: Option<String>,
    /// Free text.
    pub note: String,
    /// Free JSON object, as text.
    pub metadata: String,
    /// The entry it was recorded in place of.
    pub replaces: Option<TransactionId>,
    /// When it was learned.
    pub recorded_at: Moment,
    /// Its void, if it was voided.
    pub void: Option<Void>,
}

impl Entry {
    /// An entry not recorded yet: sequence and stamp are given when it is.
    pub fn new(portfolio: PortfolioId, transaction: Transaction, note: &str) -> Self {
        Self {
            transaction,
            portfolio,
            seq: 0,
            external_id: None,
            note: note.to_owned(),
            metadata: "{}".to_owned(),
            replaces: None,
            recorded_at: Moment(0),
            void: None,
        }
    }
}

/// That an entry was voided.
#[derive(Debug, Clone)]
pub struct Void {
    /// When that was learned.
    pub recorded_at: Moment,
    /// Why.
    pub reason: String,
    /// The entry recorded in its place.
    pub replaced_by: Option<TransactionId>,
}

const SELECT: &str = "SELECT t.id, t.portfolio_id, t.seq, t.place, t.kind, t.executed_at, t.whole_day, t.account, \
    t.to_account, t.asset_key, t.quantity, t.price, t.gross_total, t.fee, t.tax, t.fee_asset_quantity, t.currency, \
    t.fx_rate, t.amount, t.to_amount, t.to_currency, t.ratio_num, t.ratio_den, t.lots, t.opens_short, t.external_id, \
    t.note, t.metadata, t.replaces, t.recorded_at, v.recorded_at AS voided_at, v.reason AS void_reason, v.replaced_by \
    FROM transactions t LEFT JOIN transaction_voids v ON v.transaction_id = t.id";

#[derive(FromRow)]
struct Row {
    id: TransactionId,
    portfolio_id: PortfolioId,
    seq: i64,
    place: i64,
    kind: TransactionType,
    executed_at: Moment,
    whole_day: bool,
    account: String,
    to_account: Option<String>,
    asset_key: Option<AssetKey>,
    quantity: Option<Decimal>,
    price: Option<Decimal>,
    gross_total: Option<Decimal>,
    fee: Decimal,
    tax: Decimal,
    fee_asset_quantity: Decimal,
    currency: Option<Currency>,
    fx_rate: Option<Decimal>,
    amount: Option<Decimal>,
    to_amount: Option<Decimal>,
    to_currency: Option<Currency>,
    ratio_num: Option<Decimal>,
    ratio_den: Option<Decimal>,
    lots: Option<String>,
    opens_short: bool,
    external_id: Option<String>,
    note: String,
    metadata: String,
    replaces: Option<TransactionId>,
    recorded_at: Moment,
    voided_at: Option<Moment>,
    void_reason: Option<String>,
    replaced_by: Option<TransactionId>,
}

impl TryFrom<Row> for Entry {
    type Error = StorageError;
    fn try_from(row: Row) -> Result<Self, StorageError> {
        let lots: Vec<LotPick> = row.lots.as_deref().map_or_else(|| Ok(Vec::new()), from_json)?;
        let transaction = Transaction {
            id: row.id,
            place: row.place,
            kind: row.kind,
            executed_at: row.executed_at,
            whole_day: row.whole_day,
            account: row.account,
            to_account: row.to_account,
            asset: row.asset_key,
            quantity: row.quantity,
            price: row.price,
            gross_total: row.gross_total,
            fee: row.fee,
            tax: row.tax,
            fee_asset_quantity: row.fee_asset_quantity,
            currency: row.currency,
            fx_rate: row.fx_rate,
            amount: row.amount,
            to_amount: row.to_amount,
            to_currency: row.to_currency,
            ratio_num: row.ratio_num,
            ratio_den: row.ratio_den,
            lots,
            opens_short: row.opens_short,
            asset_level: false,
        };
        let void = row.voided_at.map(|recorded_at| Void {
            recorded_at,
            reason: row.void_reason.unwrap_or_default(),
            replaced_by: row.replaced_by,
        });
        Ok(Self {
            transaction,
            portfolio: row.portfolio_id,
            seq: row.seq,
            external_id: row.external_id,
            note: row.note,
            metadata: row.metadata,
            replaces: row.replaces,
            recorded_at: row.recorded_at,
            void,
        })
    }
}

/// What the fold reads of an entry, and nothing else: each column costs as much as the rest of reading it.
const FOLDED: &str = "SELECT t.id, t.place, t.kind, t.executed_at, t.whole_day, t.account, t.to_account, t.asset_key, \
    t.quantity, t.price, t.gross_total, t.fee, t.tax, t.fee_asset_quantity, t.currency, t.fx_rate, t.amount, \
    t.to_amount, t.to_currency, t.ratio_num, t.ratio_den, t.lots, t.opens_short \
    FROM transactions t LEFT JOIN transaction_voids v ON v.transaction_id = t.id";

/// A row of [`FOLDED`], read by place: names would be looked up for each row.
struct Folded(Transaction);

impl<'r, R: sqlx::Row> FromRow<'r, R> for Folded
where
    usize: ColumnIndex<R>,
    bool: Decode<'r, R::Database> + Type<R::Database>,
    i64: Decode<'r, R::Database> + Type<R::Database>,
    String: Decode<'r, R::Database> + Type<R::Database>,
    Uuid: Decode<'r, R::Database> + Type<R::Database>,
{
    fn from_row(row: &'r R) -> Result<Self, sqlx::Error> {
        let lots: Option<String> = row.try_get(21)?;
        let lots: Option<Result<Vec<LotPick>, StorageError>> = lots.as_deref().map(from_json);
        Ok(Self(Transaction {
            id: row.try_get(0)?,
            place: row.try_get(1)?,
            kind: row.try_get(2)?,
            executed_at: row.try_get(3)?,
            whole_day: row.try_get(4)?,
            account: row.try_get(5)?,
            to_account: row.try_get(6)?,
            asset: row.try_get(7)?,
            quantity: row.try_get(8)?,
            price: row.try_get(9)?,
            gross_total: row.try_get(10)?,
            fee: row.try_get(11)?,
            tax: row.try_get(12)?,
            fee_asset_quantity: row.try_get(13)?,
            currency: row.try_get(14)?,
            fx_rate: row.try_get(15)?,
            amount: row.try_get(16)?,
            to_amount: row.try_get(17)?,
            to_currency: row.try_get(18)?,
            ratio_num: row.try_get(19)?,
            ratio_den: row.try_get(20)?,
            lots: lots.transpose().map_err(|error| sqlx::Error::Decode(error.into()))?.unwrap_or_default(),
            opens_short: row.try_get(22)?,
            asset_level: false,
        }))
    }
}

/// The entries in force at `known_at` about moments up to `as_of`, in the order the fold wants.
pub async fn in_force(
    tx: &mut Tx,
    portfolio: PortfolioId,
    as_of: Moment,
    known_at: Moment,
) -> Result<Vec<Transaction>, StorageError> {
    let rows: Vec<Folded> = on!(tx, conn => {
        let mut query = QueryBuilder::new(FOLDED);
        query.push(" WHERE t.portfolio_id = ").push_bind(portfolio);
        query.push(" AND t.executed_at <= ").push_bind(as_of).push(" AND t.recorded_at <= ").push_bind(known_at);
        query.push(" AND (v.recorded_at IS NULL OR v.recorded_at > ").push_bind(known_at);
        query.push(") ORDER BY t.executed_at, t.place, t.seq LIMIT 100000000");
        query.build_query_as().fetch_all(conn).await
    })?;
    let mut ledger: Vec<Transaction> = rows.into_iter().map(|Folded(entry)| entry).collect();
    // Nearly sorted already; only splits given as a day move.
    ledger.sort_by_key(Transaction::order);
    Ok(ledger)
}

/// The entries of one asset in force after a moment, and every one that stands for a corporate action, in the order of
/// their moments.
pub async fn in_force_after(
    tx: &mut Tx,
    portfolio: PortfolioId,
    asset: AssetKey,
    after: Moment,
) -> Result<Vec<Transaction>, StorageError> {
    let rows: Vec<Folded> = on!(tx, conn => {
        let mut query = QueryBuilder::new(FOLDED);
        query.push(" WHERE t.portfolio_id = ").push_bind(portfolio);
        query.push(" AND t.asset_key = ").push_bind(asset).push(" AND t.executed_at > ").push_bind(after);
        query.push(" AND v.recorded_at IS NULL ORDER BY t.executed_at, t.place, t.seq LIMIT 100000000");
        query.build_query_as().fetch_all(conn).await
    })?;
    let early: Vec<Folded> = on!(tx, conn => {
        let mut query = QueryBuilder::new(FOLDED);
        query.push(" WHERE t.portfolio_id = ").push_bind(portfolio);
        query.push(" AND t.asset_key = ").push_bind(asset).push(" AND t.kind IN ('split', 'dividend')");
        query.push(" AND t.executed_at <= ").push_bind(after);
        query.push(" AND v.recorded_at IS NULL ORDER BY t.executed_at, t.place, t.seq LIMIT 100000000");
        query.build_query_as().fetch_all(conn).await
    })?;
    Ok(early.into_iter().chain(rows).map(|Folded(entry)| entry).collect())
}

/// Which entries are wanted.
#[derive(Debug, Clone)]
pub struct EntryFilter {
    /// Of this type.
    pub kind: Option<TransactionType>,
    /// Of this account.
    pub account: Option<String>,
    /// Of this asset.
    pub asset: Option<AssetKey>,
    /// With this id of the sender's.
    pub external_id: Option<String>,
    /// About moments from this one on,
    pub from: Moment,
    /// up to this one.
    pub as_of: Moment,
    /// As known then.
    pub known_at: Moment,
    /// Voided ones too.
    pub voided: bool,
    /// After this row of an earlier page: its `executed_at` and sequence.
    pub after: Option<After>,
    /// Rows wanted.
    pub limit: i64,
}

/// Entries of a portfolio in order of (`executed_at`, sequence).
pub async fn list(
    tx: &mut Tx,
    portfolio: PortfolioId,
    filter: &EntryFilter,
) -> Result<Vec<Entry>, StorageError> {
    let rows: Vec<Row> = on!(tx, conn => {
        let mut query = QueryBuilder::new(SELECT);
        query.push(" WHERE t.portfolio_id = ").push_bind(portfolio);
        query.push(" AND t.executed_at >= ").push_bind(filter.from);
        query.push(" AND t.executed_at <= ").push_bind(filter.as_of);
        query.push(" AND t.recorded_at <= ").push_bind(filter.known_at);
        if !filter.voided {
            query.push(" AND (v.recorded_at IS NULL OR v.recorded_at > ").push_bind(filter.known_at).push(")");
        }
        if let Some(kind) = filter.kind {
            query.push(" AND t.kind = ").push_bind(kind);
        }
        if let Some(account) = &filter.account {
            query.push(" AND (t.account = ").push_bind(account.clone());
            query.push(" OR t.to_account = ").push_bind(account.clone()).push(")");
        }
        if let Some(asset) = filter.asset {
            query.push(" AND t.asset_key = ").push_bind(asset);
        }
        if let Some(external_id) = &filter.external_id {
            query.push(" AND t.external_id = ").push_bind(external_id.clone());
        }
        if let Some(after) = &filter.after {
            query.push(" AND (t.executed_at, t.seq) > (").push_bind(after.value.parse::<i64>().unwrap_or_default());
            query.push(", ").push_bind(after.key).push(")");
        }
        query.push(" ORDER BY t.executed_at, t.seq LIMIT ").push_bind(filter.limit);
        query.build_query_as().fetch_all(conn).await
    })?;
    let known_at = filter.known_at;
    let seen = |mut entry: Entry| {
        entry.void = entry.void.filter(|void| void.recorded_at <= known_at);
        entry
    };
    rows.into_iter().map(|row| Entry::try_from(row).map(seen)).collect()
}

/// One entry of a portfolio.
pub async fn find(
    tx: &mut Tx,
    portfolio: PortfolioId,
    id: TransactionId,
) -> Result<Option<Entry>, StorageError> {
    let row: Option<Row> = on!(tx, conn => {
        let mut query = QueryBuilder::new(SELECT);
        query.push(" WHERE t.portfolio_id = ").push_bind(portfolio).push(" AND t.id = ").push_bind(id);
        query.build_query_as().fetch_optional(conn).await
    })?;
    row.map(Entry::try_from).transpose()
}

/// The entry in force with this id of the sender's.
pub async fn find_external(
    tx: &mut Tx,
    portfolio: PortfolioId,
    external_id: &str,
) -> Result<Option<Entry>, StorageError> {
    let row: Option<Row> = on!(tx, conn => {
        let mut query = QueryBuilder::new(SELECT);
        query.push(" WHERE t.portfolio_id = ").push_bind(portfolio);
        query.push(" AND t.external_id = ").push_bind(external_id.to_owned());
        query.push(" AND v.recorded_at IS NULL LIMIT 1");
        query.build_query_as().fetch_optional(conn).await
    })?;
    row.map(Entry::try_from).transpose()
}

/// The entries in force with these ids of the sender's, in order of entry. Unknown ids are left out.
pub async fn with_external_ids(
    tx: &mut Tx,
    portfolio: PortfolioId,
    external_ids: &[String],
) -> Result<Vec<Entry>, StorageError> {
    let mut entries = Vec::new();
    for some in external_ids.chunks(ROWS) {
        let rows: Vec<Row> = on!(tx, conn => {
            let mut query = QueryBuilder::new(SELECT);
            query.push(" WHERE t.portfolio_id = ").push_bind(portfolio).push(" AND t.external_id IN (");
            let mut list = query.separated(", ");
            for id in some {
                list.push_bind(id.clone());
            }
            query.push(") AND v.recorded_at IS NULL ORDER BY t.seq LIMIT 500");
            query.build_query_as().fetch_all(conn).await
        })?;
        for row in rows {
            entries.push(row.try_into()?);
        }
    }
    Ok(entries)
}

/// The entries in force with these ids, in order of entry. Unknown ids are left out.
pub async fn with_ids(
    tx: &mut Tx,
    portfolio: PortfolioId,
    ids: &[TransactionId],
) -> Result<Vec<Entry>, StorageError> {
    let mut entries = Vec::new();
    for some in ids.chunks(ROWS) {
        let rows: Vec<Row> = on!(tx, conn => {
            let mut query = QueryBuilder::new(SELECT);
            query.push(" WHERE t.portfolio_id = ").push_bind(portfolio).push(" AND t.id IN (");
            let mut list = query.separated(", ");
            for id in some {
                list.push_bind(*id);
            }
            query.push(") AND v.recorded_at IS NULL ORDER BY t.seq LIMIT 500");
            query.build_query_as().fetch_all(conn).await
        })?;
        for row in rows {
            entries.push(row.try_into()?);
        }
    }
    Ok(entries)
}

/// A place in the order of the fold: `executed_at`, place and sequence of an entry.
pub type Place = (Moment, i64, i64);

/// The entries in force at `known_at` about moments up to `as_of`, in order of (`executed_at`, place, sequence), after
/// the entry at `after`: with its end, the part of a ledger that is read at a time.
pub async fn part_in_force(
    tx: &mut Tx,
    portfolio: PortfolioId,
    (as_of, known_at): (Moment, Moment),
    after: Option<Place>,
    limit: i64,
) -> Result<Vec<Entry>, StorageError> {
    let rows: Vec<Row> = on!(tx, conn => {
        let mut query = QueryBuilder::new(SELECT);
        query.push(" WHERE t.portfolio_id = ").push_bind(portfolio);
        query.push(" AND t.executed_at <= ").push_bind(as_of).push(" AND t.recorded_at <= ").push_bind(known_at);
        query.push(" AND (v.recorded_at IS NULL OR v.recorded_at > ").push_bind(known_at).push(")");
        if let Some((executed_at, place, seq)) = after {
            query.push(" AND (t.executed_at, t.place, t.seq) > (").push_bind(executed_at);
            query.push(", ").push_bind(place).push(", ").push_bind(seq).push(")");
        }
        query.push(" ORDER BY t.executed_at, t.place, t.seq LIMIT ").push_bind(limit);
        query.build_query_as().fetch_all(conn).await
    })?;
    rows.into_iter().map(Entry::try_from).collect()
}

/// How many entries a portfolio has, voided ones included.
pub async fn count(tx: &mut Tx, portfolio: PortfolioId) -> Result<i64, StorageError> {
    const SQL: &str = "SELECT COUNT(*) FROM transactions WHERE portfolio_id = $1";
    on!(tx, conn => sqlx::query_scalar(SQL).bind(portfolio).fetch_one(conn).await)
}

/// Portfolios whose entries in force touch an asset.
pub async fn holders(tx: &mut Tx, asset: AssetKey) -> Result<Vec<PortfolioId>, StorageError> {
    const SQL: &str = "SELECT DISTINCT t.portfolio_id FROM transactions t \
        LEFT JOIN transaction_voids v ON v.transaction_id = t.id \
        WHERE t.asset_key = $1 AND v.recorded_at IS NULL ORDER BY t.portfolio_id LIMIT 1000000";
    on!(tx, conn => sqlx::query_scalar(SQL).bind(asset).fetch_all(conn).await)
}

/// Portfolios whose entries in force touch an asset of a market.
pub async fn holders_in_market(tx: &mut Tx, market: MarketKey) -> Result<Vec<PortfolioId>, StorageError> {
    const SQL: &str = "SELECT DISTINCT t.portfolio_id FROM transactions t JOIN assets a ON a.asset_key = t.asset_key \
        LEFT JOIN transaction_voids v ON v.transaction_id = t.id \
        WHERE a.market_key = $1 AND v.recorded_at IS NULL ORDER BY t.portfolio_id LIMIT 1000000";
    on!(tx, conn => sqlx::query_scalar(SQL).bind(market).fetch_all(conn).await)
}

/// Whether a portfolio has an entry in force that touches an asset.
pub async fn any_in_force(
    tx: &mut Tx,
    portfolio: PortfolioId,
    asset: AssetKey,
) -> Result<bool, StorageError> {
    const SQL: &str = "SELECT t.seq FROM transactions t LEFT JOIN transaction_voids v ON v.transaction_id = t.id \
        WHERE t.portfolio_id = $1 AND t.asset_key = $2 AND v.recorded_at IS NULL LIMIT 1";
    let seq: Option<i64> =
        on!(tx, conn => sqlx::query_scalar(SQL).bind(portfolio).bind(asset).fetch_optional(conn).await)?;
    Ok(seq.is_some())
}

/// Gives an entry its sequence and stamp, and its place too unless it replaces another.
fn stamp(tx: &mut Tx, entry: &mut Entry) -> Result<(), StorageError> {
    entry.seq = tx.next_seq()?;
    entry.recorded_at = tx.recorded_at()?;
    if entry.replaces.is_none() {
        entry.transaction.place = entry.seq;
    }
    Ok(())
}

const COLUMNS: &str = "id, portfolio_id, seq, place, kind, executed_at, whole_day, account, to_account, asset_key, \
    quantity, price, gross_total, fee, tax, fee_asset_quantity, currency, fx_rate, amount, to_amount, to_currency, \
    ratio_num, ratio_den, lots, opens_short, external_id, note, metadata, replaces, recorded_at";

/// Adds an entry; its sequence and stamp are given here, and its place too unless it replaces another.
pub async fn insert(tx: &mut Tx, entry: Entry) -> Result<Entry, StorageError> {
    let mut entries = insert_many(tx, vec![entry]).await?;
    entries.pop().ok_or_else(|| StorageError::Corrupt("an entry was lost on its way in".to_owned()))
}

/// Adds entries in the order given, as [`insert`] would one by one.
pub async fn insert_many(tx: &mut Tx, mut entries: Vec<Entry>) -> Result<Vec<Entry>, StorageError> {
    for entry in &mut entries {
        stamp(tx, entry)?;
    }
    for some in entries.chunks(ROWS) {
        let mut lots = Vec::with_capacity(some.len());
        for entry in some {
            let named = &entry.transaction.lots;
            lots.push(if named.is_empty() { None } else { Some(to_json(named)?) });
        }
        on!(tx, conn => {
            let mut query = QueryBuilder::new("INSERT INTO transactions (");
            query.push(COLUMNS).push(") ");
            query.push_values(some.iter().zip(lots), |mut row, (entry, lots)| {
                let t = &entry.transaction;
                row.push_bind(t.id).push_bind(entry.portfolio).push_bind(entry.seq).push_bind(t.place)
                    .push_bind(t.kind).push_bind(t.executed_at).push_bind(t.whole_day).push_bind(t.account.clone())
                    .push_bind(t.to_account.clone()).push_bind(t.asset).push_bind(t.quantity.clone())
                    .push_bind(t.price.clone()).push_bind(t.gross_total.clone()).push_bind(t.fee.clone())
                    .push_bind(t.tax.clone()).push_bind(t.fee_asset_quantity.clone()).push_bind(t.currency)
                    .push_bind(t.fx_rate.clone()).push_bind(t.amount.clone()).push_bind(t.to_amount.clone())
                    .push_bind(t.to_currency).push_bind(t.ratio_num.clone()).push_bind(t.ratio_den.clone())
                    .push_bind(lots).push_bind(t.opens_short).push_bind(entry.external_id.clone())
                    .push_bind(entry.note.clone()).push_bind(entry.metadata.clone()).push_bind(entry.replaces)
                    .push_bind(entry.recorded_at);
            });
            query.build().execute(conn).await.map(drop)
        })?;
    }
    Ok(entries)
}

/// Voids an entry.
pub async fn void(
    tx: &mut Tx,
    id: TransactionId,
    reason: &str,
    replaced_by: Option<TransactionId>,
) -> Result<(), StorageError> {
    const SQL: &str = "INSERT INTO transaction_voids (transaction_id, seq, recorded_at, reason, replaced_by) \
        VALUES ($1, $2, $3, $4, $5)";
    let (seq, recorded_at) = (tx.next_seq()?, tx.recorded_at()?);
    let replaced_by: Option<Uuid> = replaced_by.map(|id| id.0);
    on!(tx, conn => sqlx::query(SQL).bind(id).bind(seq).bind(recorded_at).bind(reason).bind(replaced_by)
        .execute(conn).await.map(drop))
}

/// Each entry that replaced another, with the one it replaced, in order of entry.
pub async fn replacements(
    tx: &mut Tx,
    portfolio: PortfolioId,
) -> Result<Vec<(TransactionId, TransactionId)>, StorageError> {
    const SQL: &str = "SELECT id, replaces FROM transactions WHERE portfolio_id = $1 AND replaces IS NOT NULL \
        ORDER BY seq LIMIT 100000000";
    on!(tx, conn => sqlx::query_as(SQL).bind(portfolio).fetch_all(conn).await)
}

//! Tables `positions` and `position_members`: issued ids, and which transactions they stand for.

use crate::domain::ids::{AssetKey, PortfolioId, PositionId, TransactionId};
use crate::domain::moment::Moment;
use crate::domain::pnl::book::HoldingKey;
use crate::domain::pnl::holding::Cycle;
use crate::storage::columns::{from_json, to_json};
use crate::storage::database::{Tx, on};
use crate::storage::error::StorageError;
use sqlx::QueryBuilder;
use std::collections::BTreeSet;

/// Memberships written by one statement.
const ROWS: usize = 500;

/// Status of an id whose position is open.
pub const OPEN: &str = "OPEN";
/// Status of an id whose position is closed.
pub const CLOSED: &str = "CLOSED";
/// Transactions named by one statement.
const IDS: usize = 1_000;
/// Status of an id that no position has any more.
pub const UNUSED: &str = "UNUSED";

/// An issued position id and what it stands for now.
#[derive(Debug, Clone)]
pub struct IssuedPosition {
    /// The id.
    pub id: PositionId,
    /// Its portfolio.
    pub portfolio: PortfolioId,
    /// Order in which ids were issued.
    pub issued_seq: i64,
    /// The holding it belongs to.
    pub holding: HoldingKey,
    /// Which position of the holding; `None` when unused.
    pub ordinal: Option<i64>,
    /// [`OPEN`], [`CLOSED`] or [`UNUSED`].
    pub status: String,
    /// The id that took over, when unused.
    pub successor: Option<PositionId>,
    /// The closed position, when closed.
    pub closed: Option<Cycle>,
    /// When the id was issued.
    pub created_at: Moment,
    /// When what it stands for last changed.
    pub updated_at: Moment,
}

const SELECT: &str = "SELECT id, portfolio_id, issued_seq, account, asset_key, ordinal, status, successor, state, \
    created_at, updated_at FROM positions";

#[derive(sqlx::FromRow)]
struct Row {
    id: PositionId,
    portfolio_id: PortfolioId,
    issued_seq: i64,
    account: String,
    asset_key: AssetKey,
    ordinal: Option<i64>,
    status: String,
    successor: Option<PositionId>,
    state: Option<String>,
    created_at: Moment,
    updated_at: Moment,
}

impl TryFrom<Row> for IssuedPosition {
    type Error = StorageError;
    fn try_from(row: Row) -> Result<Self, StorageError> {
        Ok(Self {
            id: row.id,
            portfolio: row.portfolio_id,
            issued_seq: row.issued_seq,
            holding: HoldingKey { account: row.account, asset: row.asset_key },
            ordinal: row.ordinal,
            status: row.status,
            successor: row.successor,
            closed: row.state.as_deref().map(from_json).transpose()?,
            created_at: row.created_at,
            updated_at: row.updated_at,
        })
    }
}

/// An issued id of a portfolio.
pub async fn find(
    tx: &mut Tx,
    portfolio: PortfolioId,
    id: PositionId,
) -> Result<Option<IssuedPosition>, StorageError> {
    let row: Option<Row> = on!(tx, conn => {
        let mut query = QueryBuilder::new(SELECT);
        query.push(" WHERE portfolio_id = ").push_bind(portfolio).push(" AND id = ").push_bind(id);
        query.build_query_as().fetch_optional(conn).await
    })?;
    row.map(IssuedPosition::try_from).transpose()
}

/// Ids in use of a portfolio, in the order they were issued, after an earlier page's last.
pub async fn list(
    tx: &mut Tx,
    portfolio: PortfolioId,
    status: Option<&str>,
    after: i64,
    limit: i64,
) -> Result<Vec<IssuedPosition>, StorageError> {
    let rows: Vec<Row> = on!(tx, conn => {
        let mut query = QueryBuilder::new(SELECT);
        query.push(" WHERE portfolio_id = ").push_bind(portfolio).push(" AND issued_seq > ").push_bind(after);
        query.push(" AND status <> ").push_bind(UNUSED);
        if let Some(status) = status {
            query.push(" AND status = ").push_bind(status.to_owned());
        }
        query.push(" ORDER BY issued_seq LIMIT ").push_bind(limit);
        query.build_query_as().fetch_all(conn).await
    })?;
    rows.into_iter().map(IssuedPosition::try_from).collect()
}

/// Every id ever issued in a portfolio, in order.
pub async fn issued(tx: &mut Tx, portfolio: PortfolioId) -> Result<Vec<IssuedPosition>, StorageError> {
    let rows: Vec<Row> = on!(tx, conn => {
        let mut query = QueryBuilder::new(SELECT);
        query.push(" WHERE portfolio_id = ").push_bind(portfolio).push(" ORDER BY issued_seq LIMIT 100000000");
        query.build_query_as().fetch_all(conn).await
    })?;
    rows.into_iter().map(IssuedPosition::try_from).collect()
}

/// Every id ever issued for some assets of a portfolio, in order.
pub async fn issued_for(
    tx: &mut Tx,
    portfolio: PortfolioId,
    assets: &[AssetKey],
) -> Result<Vec<IssuedPosition>, StorageError> {
    let rows: Vec<Row> = on!(tx, conn => {
        let mut query = QueryBuilder::new(SELECT);
        query.push(" WHERE portfolio_id = ").push_bind(portfolio).push(" AND asset_key IN (-1");
        for key in assets {
            query.push(", ").push_bind(*key);
        }
        query.push(") ORDER BY issued_seq LIMIT 100000000");
        query.build_query_as().fetch_all(conn).await
    })?;
    rows.into_iter().map(IssuedPosition::try_from).collect()
}

/// Writes an id: a new one, or what a known one stands for now. A new one gets its sequence and stamp here.
pub async fn save(tx: &mut Tx, mut position: IssuedPosition) -> Result<IssuedPosition, StorageError> {
    const SQL: &str = "INSERT INTO positions (id, portfolio_id, issued_seq, account, asset_key, ordinal, status, \
        successor, state, created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) \
        ON CONFLICT (id) DO UPDATE SET account = excluded.account, asset_key = excluded.asset_key, \
        ordinal = excluded.ordinal, status = excluded.status, successor = excluded.successor, state = excluded.state, \
        updated_at = excluded.updated_at";
    let recorded_at = tx.recorded_at()?;
    if position.issued_seq == 0 {
        position.issued_seq = tx.next_seq()?;
        position.created_at = recorded_at;
    }
    position.updated_at = recorded_at;
    let state = position.closed.as_ref().map(to_json).transpose()?;
    on!(tx, conn => sqlx::query(SQL)
        .bind(position.id).bind(position.portfolio).bind(position.issued_seq).bind(&position.holding.account)
        .bind(position.holding.asset).bind(position.ordinal).bind(&position.status).bind(position.successor)
        .bind(&state).bind(position.created_at).bind(position.updated_at)
        .execute(conn).await.map(drop))?;
    Ok(position)
}

/// Which transaction took part in which position, as known at `known_at`, in the order it was learned.
pub async fn members(
    tx: &mut Tx,
    portfolio: PortfolioId,
    known_at: Moment,
) -> Result<Vec<(TransactionId, PositionId)>, StorageError> {
    const SQL: &str = "SELECT m.transaction_id, m.position_id FROM position_members m \
        JOIN positions p ON p.id = m.position_id WHERE m.portfolio_id = $1 AND m.recorded_at <= $2 \
        AND (m.ended_at IS NULL OR m.ended_at > $2) ORDER BY p.issued_seq, m.seq LIMIT 100000000";
    on!(tx, conn => sqlx::query_as(SQL).bind(portfolio).bind(known_at).fetch_all(conn).await)
}

/// Every membership ever recorded, ended ones too, by age of the position's id; with whether it is in force.
pub async fn every_member(
    tx: &mut Tx,
    portfolio: PortfolioId,
) -> Result<Vec<(TransactionId, PositionId, bool)>, StorageError> {
    const SQL: &str = "SELECT m.transaction_id, m.position_id, m.ended_at IS NULL FROM position_members m \
        JOIN positions p ON p.id = m.position_id WHERE m.portfolio_id = $1 ORDER BY p.issued_seq, m.seq LIMIT 100000000";
    on!(tx, conn => sqlx::query_as(SQL).bind(portfolio).fetch_all(conn).await)
}

/// The same of some transactions.
pub async fn every_member_among(
    tx: &mut Tx,
    portfolio: PortfolioId,
    transactions: &[TransactionId],
) -> Result<Vec<(TransactionId, PositionId, bool)>, StorageError> {
    type Member = (TransactionId, PositionId, bool, i64, i64);
    let mut found: Vec<Member> = Vec::new();
    for part in transactions.chunks(IDS) {
        let rows: Vec<Member> = on!(tx, conn => {
            let mut query = QueryBuilder::new(
                "SELECT m.transaction_id, m.position_id, m.ended_at IS NULL, p.issued_seq, m.seq FROM position_members m \
                 JOIN positions p ON p.id = m.position_id WHERE m.portfolio_id = ");
            query.push_bind(portfolio).push(" AND m.transaction_id IN (");
            let mut ids = query.separated(", ");
            for id in part {
                ids.push_bind(*id);
            }
            query.push(") ORDER BY p.issued_seq, m.seq LIMIT 100000000");
            query.build_query_as().fetch_all(conn).await
        })?;
        found.extend(rows);
    }
    found.sort_by_key(|(_, _, _, issued_seq, seq)| (*issued_seq, *seq));
    Ok(found
        .into_iter()
        .map(|(transaction, position, in_force, _, _)| (transaction, position, in_force))
        .collect())
}

/// Records that a transaction takes part in a position.
pub async fn add_member(
    tx: &mut Tx,
    portfolio: PortfolioId,
    transaction: TransactionId,
    position: PositionId,
) -> Result<(), StorageError> {
    add_members(tx, portfolio, &[(transaction, position)]).await
}

/// Records which transactions take part in which positions, in the order given.
pub async fn add_members(
    tx: &mut Tx,
    portfolio: PortfolioId,
    members: &[(TransactionId, PositionId)],
) -> Result<(), StorageError> {
    let recorded_at = tx.recorded_at()?;
    for some in members.chunks(ROWS) {
        let mut rows = Vec::with_capacity(some.len());
        for member in some {
            rows.push((tx.next_seq()?, *member));
        }
        on!(tx, conn => {
            let mut query = QueryBuilder::new(
                "INSERT INTO position_members (seq, portfolio_id, transaction_id, position_id, recorded_at) ");
            query.push_values(rows, |mut row, (seq, (transaction, position))| {
                row.push_bind(seq).push_bind(portfolio).push_bind(transaction).push_bind(position)
                    .push_bind(recorded_at);
            });
            query.build().execute(conn).await.map(drop)
        })?;
    }
    let positions: BTreeSet<PositionId> = members.iter().map(|(_, position)| *position).collect();
    for position in positions {
        touch(tx, position).await?;
    }
    Ok(())
}

/// Notes that what an id stands for changed.
async fn touch(tx: &mut Tx, position: PositionId) -> Result<(), StorageError> {
    const SQL: &str = "UPDATE positions SET updated_at = $2 WHERE id = $1";
    let recorded_at = tx.recorded_at()?;
    on!(tx, conn => sqlx::query(SQL).bind(position).bind(recorded_at).execute(conn).await.map(drop))
}

/// When what each id stood for last changed, as known at `known_at`.
pub async fn changed_at(
    tx: &mut Tx,
    portfolio: PortfolioId,
    known_at: Moment,
) -> Result<Vec<(PositionId, Moment)>, StorageError> {
    const SQL: &str = "SELECT position_id, MAX(CASE WHEN ended_at <= $2 THEN ended_at ELSE recorded_at END) \
        FROM position_members WHERE portfolio_id = $1 AND recorded_at <= $2 GROUP BY position_id \
        ORDER BY position_id LIMIT 100000000";
    on!(tx, conn => sqlx::query_as(SQL).bind(portfolio).bind(known_at).fetch_all(conn).await)
}

/// Records that a transaction no longer takes part in a position. What was known before stays readable.
pub async fn end_member(
    tx: &mut Tx,
    transaction: TransactionId,
    position: PositionId,
) -> Result<(), StorageError> {
    const SQL: &str = "UPDATE position_members SET ended_at = $3 WHERE transaction_id = $1 AND position_id = $2 \
        AND ended_at IS NULL";
    let recorded_at = tx.recorded_at()?;
    on!(tx, conn => sqlx::query(SQL).bind(transaction).bind(position).bind(recorded_at).execute(conn).await.map(drop))?;
    touch(tx, position).await
}

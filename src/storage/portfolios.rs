//! Tables `portfolios` and `portfolio_conventions`.

use crate::domain::currency::Currency;
use crate::domain::decimal::Decimal;
use crate::domain::ids::PortfolioId;
use crate::domain::moment::Moment;
use crate::domain::portfolio::{Conventions, Portfolio, PortfolioStatus};
use crate::named_enum;
use crate::storage::columns::{from_json, to_json, zone};
use crate::storage::database::{Tx, on};
use crate::storage::error::StorageError;
use crate::storage::page::{Page, contains, push_page};
use sqlx::QueryBuilder;

const SELECT: &str = "SELECT id, seq, name, description, status, owner_id, base_currency, initial_capital, time_zone, \
    opened_at, metadata, version, created_at, updated_at FROM portfolios";

#[derive(sqlx::FromRow)]
struct Row {
    id: PortfolioId,
    seq: i64,
    name: String,
    description: String,
    status: PortfolioStatus,
    owner_id: String,
    base_currency: Currency,
    initial_capital: Decimal,
    time_zone: String,
    opened_at: Moment,
    metadata: String,
    version: i64,
    created_at: Moment,
    updated_at: Moment,
}

impl TryFrom<Row> for Portfolio {
    type Error = StorageError;
    fn try_from(row: Row) -> Result<Self, StorageError> {
        Ok(Self {
            id: row.id,
            seq: row.seq,
            name: row.name,
            description: row.description,
            status: row.status,
            owner_id: row.owner_id,
            base_currency: row.base_currency,
            initial_capital: row.initial_capital,
            time_zone: zone(&row.time_zone)?,
            opened_at: row.opened_at,
            metadata: row.metadata,
            version: row.version,
            created_at: row.created_at,
            updated_at: row.updated_at,
        })
    }
}

named_enum! {
    /// Columns portfolios can be sorted by.
    PortfolioSort {
        /// Order of entry.
        CreatedAt = "created_at",
        /// Name.
        Name = "name",
    }
}

/// Which portfolios are wanted; everything by default.
#[derive(Debug, Clone, Default)]
pub struct PortfolioFilter {
    /// In this status.
    pub status: Option<PortfolioStatus>,
    /// Of this owner.
    pub owner_id: Option<String>,
    /// With this text in name or description.
    pub text: Option<String>,
    /// Only these.
    pub only: Option<Vec<PortfolioId>>,
}

/// Portfolios in order of the page.
pub async fn list(
    tx: &mut Tx,
    filter: &PortfolioFilter,
    page: &Page<PortfolioSort>,
) -> Result<Vec<Portfolio>, StorageError> {
    let (column, numeric) = match page.sort {
        PortfolioSort::CreatedAt => ("seq", true),
        PortfolioSort::Name => ("name", false),
    };
    let rows: Vec<Row> = on!(tx, conn => {
        let mut query = QueryBuilder::new(SELECT);
        query.push(" WHERE 1 = 1");
        if let Some(status) = filter.status {
            query.push(" AND status = ").push_bind(status);
        }
        if let Some(owner_id) = &filter.owner_id {
            query.push(" AND owner_id = ").push_bind(owner_id.clone());
        }
        if let Some(only) = &filter.only {
            query.push(" AND id IN (");
            let mut ids = query.separated(", ");
            for id in only {
                ids.push_bind(*id);
            }
            query.push(if only.is_empty() { "NULL)" } else { ")" });
        }
        if let Some(text) = filter.text.as_deref().map(contains) {
            query.push(" AND (LOWER(name) LIKE ").push_bind(text.clone());
            query.push(" ESCAPE '\\' OR LOWER(description) LIKE ").push_bind(text).push(" ESCAPE '\\')");
        }
        push_page!(query, page, column, numeric, "seq");
        query.build_query_as().fetch_all(conn).await
    })?;
    rows.into_iter().map(Portfolio::try_from).collect()
}

/// The portfolio with this id.
pub async fn find(tx: &mut Tx, id: PortfolioId) -> Result<Option<Portfolio>, StorageError> {
    let row: Option<Row> = on!(tx, conn => {
        let mut query = QueryBuilder::new(SELECT);
        query.push(" WHERE id = ").push_bind(id);
        query.build_query_as().fetch_optional(conn).await
    })?;
    row.map(Portfolio::try_from).transpose()
}

#[derive(sqlx::FromRow)]
struct VersionRow {
    version: i64,
    recorded_at: Moment,
    name: String,
    description: String,
    status: PortfolioStatus,
    metadata: String,
}

/// The portfolio with this id as it was known at `known_at`; `None` when it was not known then.
pub async fn find_known(
    tx: &mut Tx,
    id: PortfolioId,
    known_at: Moment,
) -> Result<Option<Portfolio>, StorageError> {
    const VERSION: &str = "SELECT version, recorded_at, name, description, status, metadata FROM portfolio_versions \
        WHERE portfolio_id = $1 AND recorded_at <= $2 ORDER BY recorded_at DESC, seq DESC LIMIT 1";
    const ENTERED: &str =
        "SELECT MAX(recorded_at) FROM transactions WHERE portfolio_id = $1 AND recorded_at <= $2";
    const VOIDED: &str = "SELECT MAX(v.recorded_at) FROM transaction_voids v \
        JOIN transactions t ON t.id = v.transaction_id WHERE t.portfolio_id = $1 AND v.recorded_at <= $2";
    let Some(mut portfolio) = find(tx, id).await? else { return Ok(None) };
    let row: Option<VersionRow> =
        on!(tx, conn => sqlx::query_as(VERSION).bind(id).bind(known_at).fetch_optional(conn).await)?;
    let Some(row) = row else { return Ok(None) };
    let entered: Option<Moment> =
        on!(tx, conn => sqlx::query_scalar(ENTERED).bind(id).bind(known_at).fetch_one(conn).await)?;
    let voided: Option<Moment> =
        on!(tx, conn => sqlx::query_scalar(VOIDED).bind(id).bind(known_at).fetch_one(conn).await)?;
    portfolio.version = row.version;
    portfolio.name = row.name;
    portfolio.description = row.description;
    portfolio.status = row.status;
    portfolio.metadata = row.metadata;
    portfolio.updated_at =
        [Some(row.recorded_at), entered, voided].into_iter().flatten().max().unwrap_or(known_at);
    Ok(Some(portfolio))
}

async fn insert_version(tx: &mut Tx, portfolio: &Portfolio) -> Result<(), StorageError> {
    const SQL: &str = "INSERT INTO portfolio_versions (seq, portfolio_id, recorded_at, version, name, description, \
        status, metadata) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
    let (seq, recorded_at) = (tx.next_seq()?, tx.recorded_at()?);
    on!(tx, conn => sqlx::query(SQL)
        .bind(seq).bind(portfolio.id).bind(recorded_at).bind(portfolio.version).bind(&portfolio.name)
        .bind(&portfolio.description).bind(portfolio.status).bind(&portfolio.metadata)
        .execute(conn).await.map(drop))
}

/// Adds a portfolio; its sequence and stamps are given here.
pub async fn insert(tx: &mut Tx, mut portfolio: Portfolio) -> Result<Portfolio, StorageError> {
    const SQL: &str = "INSERT INTO portfolios (id, seq, name, description, status, owner_id, base_currency, \
        initial_capital, time_zone, opened_at, metadata, version, created_at, updated_at) \
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)";
    portfolio.seq = tx.next_seq()?;
    portfolio.created_at = tx.recorded_at()?;
    portfolio.updated_at = portfolio.created_at;
    on!(tx, conn => sqlx::query(SQL)
        .bind(portfolio.id).bind(portfolio.seq).bind(&portfolio.name).bind(&portfolio.description)
        .bind(portfolio.status).bind(&portfolio.owner_id).bind(portfolio.base_currency)
        .bind(&portfolio.initial_capital).bind(portfolio.time_zone.name()).bind(portfolio.opened_at)
        .bind(&portfolio.metadata).bind(portfolio.version).bind(portfolio.created_at).bind(portfolio.updated_at)
        .execute(conn).await.map(drop))?;
    insert_version(tx, &portfolio).await?;
    Ok(portfolio)
}

/// Writes name, description, status and metadata back, counting the version up.
pub async fn update(tx: &mut Tx, mut portfolio: Portfolio) -> Result<Portfolio, StorageError> {
    const SQL: &str = "UPDATE portfolios SET name = $2, description = $3, status = $4, metadata = $5, version = $6, \
        updated_at = $7 WHERE id = $1";
    tx.touched.portfolios.push(portfolio.id);
    portfolio.version += 1;
    portfolio.updated_at = tx.recorded_at()?;
    on!(tx, conn => sqlx::query(SQL)
        .bind(portfolio.id).bind(&portfolio.name).bind(&portfolio.description).bind(portfolio.status)
        .bind(&portfolio.metadata).bind(portfolio.version).bind(portfolio.updated_at)
        .execute(conn).await.map(drop))?;
    insert_version(tx, &portfolio).await?;
    Ok(portfolio)
}

/// Notes that a portfolio's book changed.
pub async fn touch(tx: &mut Tx, id: PortfolioId) -> Result<(), StorageError> {
    const SQL: &str = "UPDATE portfolios SET updated_at = $2 WHERE id = $1";
    tx.touched.portfolios.push(id);
    let recorded_at = tx.recorded_at()?;
    on!(tx, conn => sqlx::query(SQL).bind(id).bind(recorded_at).execute(conn).await.map(drop))
}

/// Removes a portfolio and everything in it. Whether that is allowed is the caller's to know.
pub async fn delete(tx: &mut Tx, id: PortfolioId) -> Result<(), StorageError> {
    const SQL: &str = "DELETE FROM portfolios WHERE id = $1";
    tx.touched.portfolios.push(id);
    on!(tx, conn => sqlx::query(SQL).bind(id).execute(conn).await.map(drop))
}

/// The conventions in force at `as_of`, as known at `known_at`; before the first, the first; without any, the
/// defaults.
pub async fn conventions(
    tx: &mut Tx,
    id: PortfolioId,
    as_of: Moment,
    known_at: Moment,
) -> Result<Conventions, StorageError> {
    const SQL: &str = "SELECT conventions FROM portfolio_conventions WHERE portfolio_id = $1 AND effective_at <= $2 \
        AND recorded_at <= $3 ORDER BY effective_at DESC, seq DESC LIMIT 1";
    const FIRST: &str = "SELECT conventions FROM portfolio_conventions WHERE portfolio_id = $1 \
        AND recorded_at <= $2 ORDER BY effective_at, seq DESC LIMIT 1";
    let mut text: Option<String> = on!(tx, conn => sqlx::query_scalar(SQL)
        .bind(id).bind(as_of).bind(known_at).fetch_optional(conn).await)?;
    if text.is_none() {
        text = on!(tx, conn => sqlx::query_scalar(FIRST).bind(id).bind(known_at).fetch_optional(conn).await)?;
    }
    text.map_or_else(|| Ok(Conventions::default()), |text| from_json(&text))
}

/// Records conventions that apply from `effective_at` on.
pub async fn insert_conventions(
    tx: &mut Tx,
    id: PortfolioId,
    effective_at: Moment,
    conventions: &Conventions,
) -> Result<(), StorageError> {
    const SQL: &str = "INSERT INTO portfolio_conventions (seq, portfolio_id, effective_at, recorded_at, conventions) \
        VALUES ($1, $2, $3, $4, $5)";
    tx.touched.portfolios.push(id);
    let (seq, recorded_at) = (tx.next_seq()?, tx.recorded_at()?);
    let text = to_json(conventions)?;
    on!(tx, conn => sqlx::query(SQL).bind(seq).bind(id).bind(effective_at).bind(recorded_at).bind(&text)
        .execute(conn).await.map(drop))
}

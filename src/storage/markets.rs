//! Table `markets`.

use crate::domain::currency::Currency;
use crate::domain::ids::{MarketId, MarketKey};
use crate::domain::market::{Market, MarketStatus, MarketType};
use crate::domain::moment::Moment;
use crate::named_enum;
use crate::storage::columns::{from_json, to_json, zone};
use crate::storage::database::{Tx, on};
use crate::storage::error::StorageError;
use crate::storage::page::{Page, contains, push_page};
use chrono::NaiveTime;
use sqlx::QueryBuilder;

const SELECT: &str = "SELECT market_key, id, code, name, market_type, status, time_zone, currency, opening_time, \
    closing_time, trading_days, metadata, version, created_at, updated_at FROM markets";

#[derive(sqlx::FromRow)]
struct Row {
    market_key: MarketKey,
    id: MarketId,
    code: String,
    name: String,
    market_type: MarketType,
    status: MarketStatus,
    time_zone: String,
    currency: Currency,
    opening_time: Option<String>,
    closing_time: Option<String>,
    trading_days: String,
    metadata: String,
    version: i64,
    created_at: Moment,
    updated_at: Moment,
}

fn time_of_day(text: Option<String>) -> Result<Option<NaiveTime>, StorageError> {
    text.map(|text| {
        NaiveTime::parse_from_str(&text, "%H:%M:%S")
            .map_err(|_| StorageError::Corrupt(format!("time of day `{text}`")))
    })
    .transpose()
}

impl TryFrom<Row> for Market {
    type Error = StorageError;
    fn try_from(row: Row) -> Result<Self, StorageError> {
        Ok(Self {
            key: row.market_key,
            id: row.id,
            code: row.code,
            name: row.name,
            market_type: row.market_type,
            status: row.status,
            time_zone: zone(&row.time_zone)?,
            currency: row.currency,
            opening_time: time_of_day(row.opening_time)?,
            closing_time: time_of_day(row.closing_time)?,
            trading_days: from_json(&row.trading_days)?,
            metadata: row.metadata,
            version: row.version,
            created_at: row.created_at,
            updated_at: row.updated_at,
        })
    }
}

named_enum! {
    /// Columns markets can be sorted by.
    MarketSort {
        /// Order of entry.
        CreatedAt = "created_at",
        /// Code.
        Code = "code",
        /// Name.
        Name = "name",
    }
}

/// Which markets are wanted; everything by default.
#[derive(Debug, Clone, Default)]
pub struct MarketFilter {
    /// Of this type.
    pub market_type: Option<MarketType>,
    /// In this status.
    pub status: Option<MarketStatus>,
    /// With this text in code or name.
    pub text: Option<String>,
}

/// Markets in order of the page.
pub async fn list(
    tx: &mut Tx,
    filter: &MarketFilter,
    page: &Page<MarketSort>,
) -> Result<Vec<Market>, StorageError> {
    let (column, numeric) = match page.sort {
        MarketSort::CreatedAt => ("market_key", true),
        MarketSort::Code => ("code", false),
        MarketSort::Name => ("name", false),
    };
    let rows: Vec<Row> = on!(tx, conn => {
        let mut query = QueryBuilder::new(SELECT);
        query.push(" WHERE 1 = 1");
        if let Some(market_type) = filter.market_type {
            query.push(" AND market_type = ").push_bind(market_type);
        }
        if let Some(status) = filter.status {
            query.push(" AND status = ").push_bind(status);
        }
        if let Some(text) = filter.text.as_deref().map(contains) {
            query.push(" AND (LOWER(code) LIKE ").push_bind(text.clone());
            query.push(" ESCAPE '\\' OR LOWER(name) LIKE ").push_bind(text).push(" ESCAPE '\\')");
        }
        push_page!(query, page, column, numeric, "market_key");
        query.build_query_as().fetch_all(conn).await
    })?;
    rows.into_iter().map(Market::try_from).collect()
}

/// The market with this code, upper-case.
pub async fn find_by_code(tx: &mut Tx, code: &str) -> Result<Option<Market>, StorageError> {
    const SQL: &str = "SELECT market_key, id, code, name, market_type, status, time_zone, currency, opening_time, \
        closing_time, trading_days, metadata, version, created_at, updated_at FROM markets WHERE code = $1";
    let row: Option<Row> = on!(tx, conn => sqlx::query_as(SQL).bind(code).fetch_optional(conn).await)?;
    row.map(Market::try_from).transpose()
}

/// The market with this id.
pub async fn find_by_id(tx: &mut Tx, id: MarketId) -> Result<Option<Market>, StorageError> {
    const SQL: &str = "SELECT market_key, id, code, name, market_type, status, time_zone, currency, opening_time, \
        closing_time, trading_days, metadata, version, created_at, updated_at FROM markets WHERE id = $1";
    let row: Option<Row> = on!(tx, conn => sqlx::query_as(SQL).bind(id).fetch_optional(conn).await)?;
    row.map(Market::try_from).transpose()
}

/// Adds a market; its key and stamps are given here.
pub async fn insert(tx: &mut Tx, mut market: Market) -> Result<Market, StorageError> {
    const SQL: &str = "INSERT INTO markets (market_key, id, code, name, market_type, status, time_zone, currency, \
        opening_time, closing_time, trading_days, metadata, version, created_at, updated_at) \
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)";
    market.key = MarketKey(tx.next_seq()?);
    market.created_at = tx.recorded_at()?;
    market.updated_at = market.created_at;
    let days = to_json(&market.trading_days)?;
    on!(tx, conn => sqlx::query(SQL)
        .bind(market.key).bind(market.id).bind(&market.code).bind(&market.name).bind(market.market_type)
        .bind(market.status).bind(market.time_zone.name()).bind(market.currency)
        .bind(market.opening_time.map(shown)).bind(market.closing_time.map(shown))
        .bind(&days).bind(&market.metadata).bind(market.version)
        .bind(market.created_at).bind(market.updated_at)
        .execute(conn).await.map(drop))?;
    Ok(market)
}

fn shown(time: NaiveTime) -> String {
    time.format("%H:%M:%S").to_string()
}

/// Writes the changeable fields of a market back, counting its version up.
pub async fn update(tx: &mut Tx, mut market: Market) -> Result<Market, StorageError> {
    const SQL: &str = "UPDATE markets SET name = $2, market_type = $3, status = $4, time_zone = $5, currency = $6, \
        opening_time = $7, closing_time = $8, trading_days = $9, metadata = $10, version = $11, updated_at = $12 \
        WHERE market_key = $1";
    tx.touched.everything = true;
    market.version += 1;
    market.updated_at = tx.recorded_at()?;
    let days = to_json(&market.trading_days)?;
    on!(tx, conn => sqlx::query(SQL)
        .bind(market.key).bind(&market.name).bind(market.market_type).bind(market.status)
        .bind(market.time_zone.name()).bind(market.currency)
        .bind(market.opening_time.map(shown)).bind(market.closing_time.map(shown))
        .bind(&days).bind(&market.metadata).bind(market.version).bind(market.updated_at)
        .execute(conn).await.map(drop))?;
    Ok(market)
}

//! Tables `assets` and `asset_terms`.

use crate::domain::asset::{Asset, AssetStatus, AssetType, Terms, TermsHistory};
use crate::domain::currency::Currency;
use crate::domain::decimal::Decimal;
use crate::domain::ids::{AssetId, AssetKey, MarketId, MarketKey};
use crate::domain::moment::Moment;
use crate::named_enum;
use crate::storage::columns::{from_json, to_json, zone};
use crate::storage::database::{Tx, on};
use crate::storage::error::StorageError;
use crate::storage::page::{Page, contains, push_page};
use crate::storage::prices;
use sqlx::QueryBuilder;

const SELECT: &str = "SELECT a.asset_key, a.id, a.symbol, a.name, a.asset_type, a.status, a.market_key, \
    m.id AS market_id, m.time_zone AS market_zone, a.currency, a.metadata, a.version, a.created_at, a.updated_at \
    FROM assets a JOIN markets m ON m.market_key = a.market_key";

#[derive(sqlx::FromRow)]
struct Row {
    asset_key: AssetKey,
    id: AssetId,
    symbol: String,
    name: String,
    asset_type: AssetType,
    status: AssetStatus,
    market_key: MarketKey,
    market_id: MarketId,
    market_zone: String,
    currency: Currency,
    metadata: String,
    version: i64,
    created_at: Moment,
    updated_at: Moment,
}

impl TryFrom<Row> for Asset {
    type Error = StorageError;
    fn try_from(row: Row) -> Result<Self, StorageError> {
        Ok(Self {
            key: row.asset_key,
            id: row.id,
            symbol: row.symbol,
            name: row.name,
            asset_type: row.asset_type,
            status: row.status,
            market_key: row.market_key,
            market_id: row.market_id,
            market_zone: zone(&row.market_zone)?,
            currency: row.currency,
            metadata: row.metadata,
            version: row.version,
            created_at: row.created_at,
            updated_at: row.updated_at,
        })
    }
}

named_enum! {
    /// Columns assets can be sorted by.
    AssetSort {
        /// Order of entry.
        CreatedAt = "created_at",
        /// Symbol.
        Symbol = "symbol",
        /// Name.
        Name = "name",
    }
}

/// Which assets are wanted; everything by default.
#[derive(Debug, Clone, Default)]
pub struct AssetFilter {
    /// Of this type.
    pub asset_type: Option<AssetType>,
    /// In this status.
    pub status: Option<AssetStatus>,
    /// On this market.
    pub market: Option<MarketKey>,
    /// With this text in symbol or name.
    pub text: Option<String>,
}

/// Assets in order of the page.
pub async fn list(
    tx: &mut Tx,
    filter: &AssetFilter,
    page: &Page<AssetSort>,
) -> Result<Vec<Asset>, StorageError> {
    let (column, numeric) = match page.sort {
        AssetSort::CreatedAt => ("a.asset_key", true),
        AssetSort::Symbol => ("a.symbol", false),
        AssetSort::Name => ("a.name", false),
    };
    let rows: Vec<Row> = on!(tx, conn => {
        let mut query = QueryBuilder::new(SELECT);
        query.push(" WHERE 1 = 1");
        if let Some(asset_type) = filter.asset_type {
            query.push(" AND a.asset_type = ").push_bind(asset_type);
        }
        if let Some(status) = filter.status {
            query.push(" AND a.status = ").push_bind(status);
        }
        if let Some(market) = filter.market {
            query.push(" AND a.market_key = ").push_bind(market);
        }
        if let Some(text) = filter.text.as_deref().map(contains) {
            query.push(" AND (LOWER(a.symbol) LIKE ").push_bind(text.clone());
            query.push(" ESCAPE '\\' OR LOWER(a.name) LIKE ").push_bind(text).push(" ESCAPE '\\')");
        }
        push_page!(query, page, column, numeric, "a.asset_key");
        query.build_query_as().fetch_all(conn).await
    })?;
    rows.into_iter().map(Asset::try_from).collect()
}

/// The asset with this symbol, upper-case.
pub async fn find_by_symbol(tx: &mut Tx, symbol: &str) -> Result<Option<Asset>, StorageError> {
    let row: Option<Row> = on!(tx, conn => {
        let mut query = QueryBuilder::new(SELECT);
        query.push(" WHERE a.symbol = ").push_bind(symbol.to_owned());
        query.build_query_as().fetch_optional(conn).await
    })?;
    row.map(Asset::try_from).transpose()
}

/// The asset with this id.
pub async fn find_by_id(tx: &mut Tx, id: AssetId) -> Result<Option<Asset>, StorageError> {
    let row: Option<Row> = on!(tx, conn => {
        let mut query = QueryBuilder::new(SELECT);
        query.push(" WHERE a.id = ").push_bind(id);
        query.build_query_as().fetch_optional(conn).await
    })?;
    row.map(Asset::try_from).transpose()
}

/// Active assets after one, by key, 1,000 at a time.
pub async fn active(tx: &mut Tx, after: AssetKey) -> Result<Vec<(AssetKey, AssetType)>, StorageError> {
    const SQL: &str = "SELECT asset_key, asset_type FROM assets WHERE asset_key > $1 AND status = $2 \
        ORDER BY asset_key LIMIT 1000";
    on!(tx, conn => sqlx::query_as(SQL).bind(after).bind(AssetStatus::Active).fetch_all(conn).await)
}

/// The assets with these keys, by key. Unknown keys are left out.
pub async fn by_keys(tx: &mut Tx, keys: &[AssetKey]) -> Result<Vec<Asset>, StorageError> {
    let mut assets = Vec::with_capacity(keys.len());
    for some in keys.chunks(500) {
        let rows: Vec<Row> = on!(tx, conn => {
            let mut query = QueryBuilder::new(SELECT);
            query.push(" WHERE a.asset_key IN (");
            let mut list = query.separated(", ");
            for key in some {
                list.push_bind(*key);
            }
            query.push(") ORDER BY a.asset_key LIMIT 500");
            query.build_query_as().fetch_all(conn).await
        })?;
        for row in rows {
            assets.push(row.try_into()?);
        }
    }
    Ok(assets)
}

/// The assets with these symbols, upper-case. Unknown ones are left out.
pub async fn by_symbols(tx: &mut Tx, symbols: &[&str]) -> Result<Vec<Asset>, StorageError> {
    let mut assets = Vec::with_capacity(symbols.len());
    for some in symbols.chunks(500) {
        let rows: Vec<Row> = on!(tx, conn => {
            let mut query = QueryBuilder::new(SELECT);
            query.push(" WHERE a.symbol IN (");
            let mut list = query.separated(", ");
            for symbol in some.iter().filter(|symbol| !symbol.contains('\0')) {
                list.push_bind((*symbol).to_owned());
            }
            // Never empty, which would not be SQL.
            list.push("''");
            query.push(") LIMIT 500");
            query.build_query_as().fetch_all(conn).await
        })?;
        for row in rows {
            assets.push(row.try_into()?);
        }
    }
    Ok(assets)
}

/// Adds an asset; its key and stamps are given here.
pub async fn insert(tx: &mut Tx, mut asset: Asset) -> Result<Asset, StorageError> {
    const SQL: &str = "INSERT INTO assets (asset_key, id, symbol, name, asset_type, status, market_key, currency, \
        metadata, version, created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)";
    tx.touched.listings = true;
    asset.key = AssetKey(tx.next_seq()?);
    asset.created_at = tx.recorded_at()?;
    asset.updated_at = asset.created_at;
    on!(tx, conn => sqlx::query(SQL)
        .bind(asset.key).bind(asset.id).bind(&asset.symbol).bind(&asset.name).bind(asset.asset_type)
        .bind(asset.status).bind(asset.market_key).bind(asset.currency).bind(&asset.metadata)
        .bind(asset.version).bind(asset.created_at).bind(asset.updated_at)
        .execute(conn).await.map(drop))?;
    Ok(asset)
}

/// Writes the changeable fields of an asset back, counting its version up.
pub async fn update(tx: &mut Tx, mut asset: Asset) -> Result<Asset, StorageError> {
    const SQL: &str = "UPDATE assets SET name = $2, asset_type = $3, status = $4, market_key = $5, currency = $6, \
        metadata = $7, version = $8, updated_at = $9 WHERE asset_key = $1";
    tx.touched.assets.push(asset.key);
    tx.touched.listings = true;
    asset.version += 1;
    asset.updated_at = tx.recorded_at()?;
    on!(tx, conn => sqlx::query(SQL)
        .bind(asset.key).bind(&asset.name).bind(asset.asset_type).bind(asset.status).bind(asset.market_key)
        .bind(asset.currency).bind(&asset.metadata).bind(asset.version).bind(asset.updated_at)
        .execute(conn).await.map(drop))?;
    Ok(asset)
}

/// Gives an asset another symbol, upper-case, counting its version up.
pub async fn rename(tx: &mut Tx, asset: &Asset, symbol: &str) -> Result<(), StorageError> {
    const SQL: &str =
        "UPDATE assets SET symbol = $2, version = version + 1, updated_at = $3 WHERE asset_key = $1";
    tx.touched.assets.push(asset.key);
    tx.touched.listings = true;
    let recorded_at = tx.recorded_at()?;
    on!(tx, conn => sqlx::query(SQL).bind(asset.key).bind(symbol).bind(recorded_at).execute(conn).await.map(drop))
}

/// Whether a price, a ledger entry or a dividend uses the asset: from then on its currency is fixed.
pub async fn is_used(tx: &mut Tx, asset: AssetKey) -> Result<bool, StorageError> {
    const SQL: &str = "SELECT CASE WHEN EXISTS (SELECT 1 FROM transactions WHERE asset_key = $1) \
        OR EXISTS (SELECT 1 FROM corporate_actions WHERE asset_key = $1 AND currency IS NOT NULL) THEN 1 ELSE 0 END";
    if prices::has_any(tx, asset) {
        return Ok(true);
    }
    let used: i32 = on!(tx, conn => sqlx::query_scalar(SQL).bind(asset).fetch_one(conn).await)?;
    Ok(used == 1)
}

#[derive(sqlx::FromRow)]
struct TermsRow {
    asset_key: AssetKey,
    effective_at: Moment,
    multiplier: Decimal,
    inverse: bool,
    margined: bool,
    settlement: Currency,
    allows_negative_price: bool,
    stale_after: Option<i64>,
    source_priority: String,
}

/// The terms of these assets through time, as known at `known_at`.
pub async fn terms(tx: &mut Tx, assets: &[AssetKey], known_at: Moment) -> Result<TermsHistory, StorageError> {
    let mut history = TermsHistory::default();
    for some in assets.chunks(500) {
        let rows: Vec<TermsRow> = on!(tx, conn => {
            let mut query = QueryBuilder::new(
                "SELECT asset_key, effective_at, multiplier, inverse, margined, settlement, allows_negative_price, \
                 stale_after, source_priority FROM asset_terms WHERE recorded_at <= ");
            query.push_bind(known_at).push(" AND asset_key IN (");
            let mut list = query.separated(", ");
            for key in some {
                list.push_bind(*key);
            }
            query.push(") ORDER BY asset_key, effective_at, seq LIMIT 100000");
            query.build_query_as().fetch_all(conn).await
        })?;
        for row in rows {
            let terms = Terms {
                multiplier: row.multiplier,
                inverse: row.inverse,
                margined: row.margined,
                settlement: row.settlement,
                allows_negative_price: row.allows_negative_price,
                stale_after: row.stale_after,
                source_priority: from_json(&row.source_priority)?,
            };
            history.add(row.asset_key, row.effective_at, terms);
        }
    }
    Ok(history)
}

/// Records terms of an asset that apply from `effective_at` on.
pub async fn insert_terms(
    tx: &mut Tx,
    asset: AssetKey,
    effective_at: Moment,
    terms: &Terms,
) -> Result<(), StorageError> {
    const SQL: &str = "INSERT INTO asset_terms (seq, asset_key, effective_at, recorded_at, multiplier, inverse, \
        margined, settlement, allows_negative_price, stale_after, source_priority) \
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)";
    tx.touched.assets.push(asset);
    tx.touched.listings = true;
    let (seq, recorded_at) = (tx.next_seq()?, tx.recorded_at()?);
    let priority = to_json(&terms.source_priority)?;
    on!(tx, conn => sqlx::query(SQL)
        .bind(seq).bind(asset).bind(effective_at).bind(recorded_at).bind(&terms.multiplier).bind(terms.inverse)
        .bind(terms.margined).bind(terms.settlement).bind(terms.allows_negative_price).bind(terms.stale_after)
        .bind(&priority).execute(conn).await.map(drop))
}

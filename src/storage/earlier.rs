//! Reading the SQLite file of the earlier service: its markets and assets, as text.

use crate::storage::error::StorageError;
use sqlx::Connection as _;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use std::path::Path;

/// A market of the earlier service; every column is text and none was checked.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct EarlierMarket {
    /// Its id there.
    pub id: Option<String>,
    /// Code.
    pub code: Option<String>,
    /// Name.
    pub name: Option<String>,
    /// Type.
    pub market_type: Option<String>,
    /// Time zone.
    pub timezone: Option<String>,
    /// Currency.
    pub currency: Option<String>,
    /// Status.
    pub status: Option<String>,
    /// Opening time of day.
    pub opening_time: Option<String>,
    /// Closing time of day.
    pub closing_time: Option<String>,
    /// JSON list.
    pub trading_days: Option<String>,
    /// JSON object.
    pub metadata: Option<String>,
    /// When it was written, naive UTC.
    pub created_at: Option<String>,
}

/// An asset of the earlier service.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct EarlierAsset {
    /// Its id there.
    pub id: Option<String>,
    /// Symbol.
    pub symbol: Option<String>,
    /// Name.
    pub name: Option<String>,
    /// Type.
    pub asset_type: Option<String>,
    /// Status.
    pub status: Option<String>,
    /// Id of its market there.
    pub market_id: Option<String>,
    /// Currency.
    pub currency: Option<String>,
    /// JSON object.
    pub metadata: Option<String>,
    /// When it was written, naive UTC.
    pub created_at: Option<String>,
}

/// Everything the earlier service kept.
#[derive(Debug, Clone)]
pub struct EarlierFile {
    /// Its markets, in order of entry.
    pub markets: Vec<EarlierMarket>,
    /// Its assets, in order of entry.
    pub assets: Vec<EarlierAsset>,
}

/// Reads an `infra.db`, changing nothing in it.
///
/// # Errors
/// [`StorageError::Driver`] when it is no such file.
pub async fn read(file: &Path) -> Result<EarlierFile, StorageError> {
    // What is said of our own database, that it is damaged or takes no writes, is not said of somebody else's file.
    rows(file).await.map_err(StorageError::Driver)
}

async fn rows(file: &Path) -> Result<EarlierFile, sqlx::Error> {
    const MARKETS: &str = "SELECT id, code, name, market_type, timezone, currency, status, opening_time, closing_time, \
        trading_days, metadata, created_at FROM markets ORDER BY rowid LIMIT 1000000";
    const ASSETS: &str = "SELECT id, symbol, name, asset_type, status, market_id, currency, metadata, created_at \
        FROM assets ORDER BY rowid LIMIT 1000000";
    let options = SqliteConnectOptions::new().filename(file).read_only(true).create_if_missing(false);
    let mut connection = SqliteConnection::connect_with(&options).await?;
    let markets = sqlx::query_as(MARKETS).fetch_all(&mut connection).await?;
    let assets = sqlx::query_as(ASSETS).fetch_all(&mut connection).await?;
    connection.close().await?;
    Ok(EarlierFile { markets, assets })
}

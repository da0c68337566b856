//! Table `currencies`: units of money an operator added to the built-in ones.

use crate::domain::currency::Currency;
use crate::storage::database::{Tx, on};
use crate::storage::error::StorageError;

/// A unit an operator added.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct AddedCurrency {
    /// Its code.
    pub code: Currency,
    /// Name for people.
    pub name: String,
    /// Decimals of its smallest ordinary amount.
    pub minor_units: i64,
}

/// The unit a code stands for, built in or added; `None` when nobody knows it.
pub async fn find(tx: &mut Tx, code: &str) -> Result<Option<Currency>, StorageError> {
    const SQL: &str = "SELECT code FROM currencies WHERE code = $1";
    let Some(currency) = Currency::from_code(code) else { return Ok(None) };
    if currency.is_built_in() {
        return Ok(Some(currency));
    }
    let added: Option<Currency> =
        on!(tx, conn => sqlx::query_scalar(SQL).bind(currency).fetch_optional(conn).await)?;
    Ok(added)
}

/// Every added unit, by code.
pub async fn added(tx: &mut Tx) -> Result<Vec<AddedCurrency>, StorageError> {
    const SQL: &str = "SELECT code, name, minor_units FROM currencies ORDER BY code LIMIT 10000";
    on!(tx, conn => sqlx::query_as(SQL).fetch_all(conn).await)
}

/// Adds a unit.
pub async fn insert(tx: &mut Tx, unit: &AddedCurrency) -> Result<(), StorageError> {
    const SQL: &str = "INSERT INTO currencies (code, name, minor_units, recorded_at) VALUES ($1, $2, $3, $4)";
    let recorded_at = tx.recorded_at()?;
    on!(tx, conn => sqlx::query(SQL).bind(unit.code).bind(&unit.name).bind(unit.minor_units).bind(recorded_at)
        .execute(conn).await.map(drop))
}

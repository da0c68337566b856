//! What reads share: finding what a path names, and the two times.

use crate::domain::asset::Asset;
use crate::domain::currency::Currency;
use crate::domain::ids::{MarketId, PortfolioId};
use crate::domain::market::Market;
use crate::domain::moment::Moment;
use crate::domain::portfolio::Portfolio;
use crate::domain::price::DEFAULT_SOURCE;
use crate::http::AppState;
use crate::http::auth::Caller;
use crate::http::error::{ApiError, Code, FieldError};
use crate::http::query::Query;
use crate::storage::database::Tx;
use crate::storage::{currencies, markets, portfolios};
use crate::workers::listings::asset_named;
use chrono_tz::Tz;

/// The market a code or id names.
///
/// # Errors
/// [`Code::MarketNotFound`].
pub async fn market(tx: &mut Tx, name: &str) -> Result<Market, ApiError> {
    let found = match MarketId::parse(name) {
        Some(id) => markets::find_by_id(tx, id).await?,
        None if name.contains('\0') => None,
        None => markets::find_by_code(tx, &name.to_uppercase()).await?,
    };
    found.ok_or_else(|| ApiError::new(Code::MarketNotFound, "Market not found"))
}

/// The asset a symbol or id names.
///
/// # Errors
/// [`Code::AssetNotFound`].
pub async fn asset(tx: &mut Tx, name: &str) -> Result<Asset, ApiError> {
    let found = asset_named(tx, name).await?;
    found.ok_or_else(no_such_asset)
}

/// That no asset has a name.
pub fn no_such_asset() -> ApiError {
    ApiError::new(Code::AssetNotFound, "Asset not found")
}

/// The portfolio a path names, if the caller may see it: a foreign one and an absent one answer alike.
///
/// # Errors
/// [`Code::PortfolioNotFound`].
pub async fn portfolio<S>(tx: &mut Tx, caller: &Caller<S>, name: &str) -> Result<Portfolio, ApiError> {
    let found = match PortfolioId::parse(name) {
        Some(id) => portfolios::find(tx, id).await?,
        None => None,
    };
    found
        .filter(|portfolio| caller.sees(&portfolio.owner_id, portfolio.id))
        .ok_or_else(|| ApiError::new(Code::PortfolioNotFound, format!("Portfolio not found: {name}")))
}

/// The same as it was known at `known_at`, if it was known then.
///
/// # Errors
/// [`Code::PortfolioNotFound`].
pub async fn portfolio_known<S>(
    tx: &mut Tx,
    caller: &Caller<S>,
    name: &str,
    known_at: Option<Moment>,
) -> Result<Portfolio, ApiError> {
    let portfolio = portfolio(tx, caller, name).await?;
    let Some(known_at) = known_at else { return Ok(portfolio) };
    let then = portfolios::find_known(tx, portfolio.id, known_at).await?;
    then.ok_or_else(|| {
        ApiError::new(Code::PortfolioNotFound, format!("Portfolio not found at that known_at: {name}"))
    })
}

/// The unit of money a code in the body names.
///
/// # Errors
/// [`Code::InvalidRequest`] at `pointer`.
pub async fn currency(tx: &mut Tx, code: &str, pointer: &str) -> Result<Currency, ApiError> {
    currencies::find(tx, code).await?.ok_or_else(|| unknown_currency(code, pointer))
}

/// That a code at `pointer` names no unit of money.
pub fn unknown_currency(code: &str, pointer: &str) -> ApiError {
    let detail = format!("`{code}` is not a known currency; case counts (GBp is a minor unit of GBP)");
    ApiError::invalid(vec![FieldError::at(pointer, "unknown_currency", detail)])
}

/// The `source` parameter of an import: who says what the file says.
pub fn source(query: &mut Query) -> String {
    let source = query.text("source").unwrap_or_else(|| DEFAULT_SOURCE.to_owned());
    if source.chars().count() > 64 || source.chars().any(char::is_control) {
        query.fault("source", "malformed", "must have at most 64 characters and no control characters");
    }
    source
}

/// Reads `known_at` and makes it final, so that the answer never changes.
///
/// # Errors
/// [`Code::InvalidRequest`] for a moment in the future.
pub async fn known_at(app: &AppState, query: &mut Query) -> Result<Option<Moment>, ApiError> {
    settled(app, query, "known_at").await
}

/// Reads a moment of knowledge by its parameter's name and makes it final.
///
/// # Errors
/// [`Code::InvalidRequest`] for a moment in the future.
pub async fn settled(
    app: &AppState,
    query: &mut Query,
    name: &'static str,
) -> Result<Option<Moment>, ApiError> {
    let Some(known_at) = query.until(name, Tz::UTC) else { return Ok(None) };
    if app.db.stamps().settle(known_at).await {
        return Ok(Some(known_at));
    }
    let detail = format!("lies in the future; the latest moment known is {}", app.db.stamps().latest());
    Err(ApiError::invalid(vec![FieldError::parameter(name, "in_the_future", detail)]))
}

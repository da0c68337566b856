//! Where the change of a portfolio's value came from, part by part.

use crate::domain::currency::Currency;
use crate::domain::ids::PortfolioId;
use crate::domain::moment::Moment;
use crate::domain::pnl::attribution::Parts;
use crate::domain::pnl::book::MissingRate;
use crate::http::AppState;
use crate::http::auth::{Caller, PortfoliosRead};
use crate::http::conventions::{ConventionsView, OtherConventions};
use crate::http::error::ApiError;
use crate::http::query::Query;
use crate::http::reading;
use crate::http::returns::SpanAsked;
use crate::http::wire::{Amount, Time, amount};
use axum::Json;
use axum::extract::{Path, State};
use serde::Serialize;
use utoipa::ToSchema;

/// What was earned and paid over a span, in base currency. `null` where a price or rate is missing.
#[derive(Debug, Serialize, ToSchema)]
pub struct PartsView {
    /// Gains of what is open at the end, since the span began or it was opened, before fees and taxes.
    capital_gains: Option<Amount>,
    /// Gains of what was closed in the span, counted likewise.
    realized_gains: Option<Amount>,
    /// Dividends and interest, before fees and taxes.
    earnings: Option<Amount>,
    fees: Option<Amount>,
    taxes: Option<Amount>,
}

impl From<&Parts> for PartsView {
    fn from(parts: &Parts) -> Self {
        Self {
            capital_gains: amount(parts.capital_gains.as_ref()),
            realized_gains: amount(parts.realized_gains.as_ref()),
            earnings: amount(parts.earnings.as_ref()),
            fees: amount(parts.fees.as_ref()),
            taxes: amount(parts.taxes.as_ref()),
        }
    }
}

/// What one asset earned and paid.
#[derive(Debug, Serialize, ToSchema)]
pub struct AssetParts {
    #[schema(example = "GOLD")]
    symbol: String,
    #[serde(flatten)]
    parts: PartsView,
}

/// A price or rate that was missing.
#[derive(Debug, Serialize, ToSchema)]
pub struct MissingFact {
    /// `price` or `rate`.
    #[schema(example = "price", pattern = "^(price|rate)$")]
    kind: &'static str,
    /// The asset without a price.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "GOLD")]
    symbol: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<Currency>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<Currency>,
    /// The moment it is needed for.
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<Time>,
}

/// Where the change of a value came from: `final_value - initial_value = capital_gains + realized_gains + earnings -
/// fees - taxes + transfers + currency_gains`, exactly.
#[derive(Debug, Serialize, ToSchema)]
pub struct AttributionView {
    #[schema(example = true)]
    success: bool,
    portfolio_id: PortfolioId,
    base_currency: Currency,
    /// The day at whose end the span begins.
    #[schema(example = "2025-12-31")]
    from: String,
    /// The day at whose end it ends.
    #[schema(example = "2026-06-30")]
    to: String,
    known_at: Option<Time>,
    conventions: ConventionsView,
    initial_value: Option<Amount>,
    final_value: Option<Amount>,
    #[serde(flatten)]
    parts: PartsView,
    /// Money and assets that came in from outside less those that went out.
    transfers: Option<Amount>,
    /// Gains of cash by the rates of its currencies, and of the profit due on margined positions.
    currency_gains: Option<Amount>,
    /// The part of each asset; what is left of the whole belongs to no asset.
    assets: Vec<AssetParts>,
    missing: Vec<MissingFact>,
}

/// Read where a portfolio's change of value came from
///
/// What is held when the span begins restarts at its market value, so that gains are those of the span alone.
#[utoipa::path(get, path = "/portfolios/{portfolio}/attribution", operation_id = "portfolio_attribution", tag = "pnl",
    params(("portfolio" = String, Path, description = "Id"),
        ("from" = Option<String>, Query, description = "The day at whose end the span begins; the eve of the first entry when left out"),
        ("to" = Option<String>, Query, description = "The day at whose end it ends; today when left out"),
        ("known_at" = Option<String>, Query, description = "As known then"),
        OtherConventions),
    responses((status = 200, description = "Attribution", body = AttributionView)))]
pub async fn portfolio_attribution(
    State(app): State<AppState>,
    caller: Caller<PortfoliosRead>,
    Path(id): Path<String>,
    mut query: Query,
) -> Result<Json<AttributionView>, ApiError> {
    let known_at = reading::known_at(&app, &mut query).await?;
    let mut tx = app.db.read().await?;
    let portfolio = reading::portfolio_known(&mut tx, &caller, &id, known_at).await?;
    let asked = SpanAsked::of_query(&mut query, portfolio.time_zone, known_at, app.clock.now()).ends_only();
    query.finish()?;
    let loaded = asked.load(&mut tx, &portfolio, &[]).await?;
    let attribution = loaded.attribution()?;
    let symbol = |key| loaded.assets.get(key).map(|asset| asset.symbol.clone());
    let assets = attribution
        .assets
        .iter()
        .filter_map(|(key, parts)| Some(AssetParts { symbol: symbol(key)?, parts: PartsView::from(parts) }));
    let mut assets: Vec<AssetParts> = assets.collect();
    assets.sort_by(|a, b| a.symbol.cmp(&b.symbol));
    let prices = attribution.unpriced.iter().map(|key| MissingFact {
        kind: "price",
        symbol: symbol(key),
        from: None,
        to: None,
        at: None,
    });
    let rate = |rate: &MissingRate| MissingFact {
        kind: "rate",
        symbol: None,
        from: Some(rate.from),
        to: Some(rate.to),
        at: Some(rate.at).filter(|at| *at != Moment::MAX).map(Time),
    };
    let missing = prices.chain(attribution.missing.iter().map(rate)).collect();
    Ok(Json(AttributionView {
        success: true,
        portfolio_id: portfolio.id,
        base_currency: portfolio.base_currency,
        from: loaded.days.first().copied().unwrap_or_default().to_string(),
        to: loaded.days.last().copied().unwrap_or_default().to_string(),
        known_at: known_at.map(Time),
        conventions: ConventionsView::from(&loaded.conventions),
        initial_value: amount(attribution.initial_value.as_ref()),
        final_value: amount(attribution.final_value.as_ref()),
        parts: PartsView::from(&attribution.whole),
        transfers: amount(attribution.transfers.as_ref()),
        currency_gains: amount(attribution.currency_gains.as_ref()),
        assets,
        missing,
    }))
}

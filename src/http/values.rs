//! Any value of a statement, of a stored portfolio.

use crate::domain::currency::Currency;
use crate::domain::ids::PortfolioId;
use crate::domain::pnl::statement::values::{USUAL, is_known};
use crate::http::AppState;
use crate::http::auth::{Caller, PortfoliosRead};
use crate::http::conventions::{Asked, ConventionsView, OtherConventions};
use crate::http::error::{ApiError, Code};
use crate::http::query::Query;
use crate::http::reading;
use crate::http::statement;
use crate::http::wire::Time;
use crate::workers::values::{Wanted, values};
use axum::Json;
use axum::extract::{Path, State};
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

/// Values of a portfolio by name.
#[derive(Debug, Serialize, ToSchema)]
pub struct ValuesView {
    #[schema(example = true)]
    success: bool,
    portfolio_id: PortfolioId,
    base_currency: Currency,
    as_of: Option<Time>,
    known_at: Option<Time>,
    conventions: ConventionsView,
    /// The values by name; `reasons` and `missing` where one is `null`.
    #[schema(value_type = Object, example = json!({"avg_investment": "474.94", "roai_net": "0.0703"}))]
    values: Map<String, Value>,
}

/// Read any value of a portfolio by its name
///
/// The names and meanings are those of a statement (`docs/PNL.md`, "Check a statement"), and so is the engine.
#[utoipa::path(get, path = "/portfolios/{portfolio}/pnl/values", operation_id = "portfolio_values", tag = "pnl",
    params(("portfolio" = String, Path, description = "Id"),
        ("want" = Option<String>, Query, description = "Names of values with commas between them"),
        ("symbol" = Option<String>, Query, description = "Of this asset"),
        ("account" = Option<String>, Query, description = "Of this account"),
        ("from" = Option<String>, Query, description = "Profits, costs and income since this moment, or the end of this day"),
        ("as_of" = Option<String>, Query, description = "At this moment, or at the end of this day"),
        ("known_at" = Option<String>, Query, description = "As known then"),
        OtherConventions),
    responses((status = 200, description = "The values", body = ValuesView)))]
pub async fn portfolio_values(
    State(app): State<AppState>,
    caller: Caller<PortfoliosRead>,
    Path(id): Path<String>,
    mut query: Query,
) -> Result<Json<ValuesView>, ApiError> {
    let known_at = reading::known_at(&app, &mut query).await?;
    let mut tx = app.db.read().await?;
    let portfolio = reading::portfolio_known(&mut tx, &caller, &id, known_at).await?;
    let names: Vec<String> = match query.text("want") {
        Some(text) => text.split(',').map(|name| name.trim().to_owned()).collect(),
        None => USUAL.into_iter().map(str::to_owned).collect(),
    };
    if let Some(stranger) = names.iter().find(|name| !is_known(name)) {
        query.fault("want", "unknown_value", format!("`{stranger}` is not a value"));
    }
    let (symbol, account) = (query.text("symbol"), query.text("account"));
    let from = query.until("from", portfolio.time_zone);
    let asked = Asked::of_query(&mut query, &portfolio, known_at);
    query.finish()?;
    let asset = match symbol {
        Some(symbol) => Some(reading::asset(&mut tx, &symbol).await?.key),
        None => None,
    };
    let ask = asked.ask(&mut tx, &portfolio).await?;
    let wanted = Wanted { asset, account, from, names };
    let found = values(&mut tx, &portfolio, &ask, wanted, app.clock.now()).await?;
    let (answer, statement) =
        found.ok_or_else(|| ApiError::new(Code::Internal, "a statement without an answer"))?;
    Ok(Json(ValuesView {
        success: true,
        portfolio_id: portfolio.id,
        base_currency: portfolio.base_currency,
        as_of: ask.as_of.map(Time),
        known_at: ask.known_at.map(Time),
        conventions: ConventionsView::from(&answer.conventions),
        values: statement::result(&answer, &statement),
    }))
}

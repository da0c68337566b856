//! Why a report says something else than it did: corrections, voids and late entries, each with what it changed.

use crate::domain::corporate_action::ActionType;
use crate::domain::currency::Currency;
use crate::domain::ids::{ActionId, AssetKey, PortfolioId, TransactionId};
use crate::domain::moment::Moment;
use crate::domain::transaction::TransactionType;
use crate::http::AppState;
use crate::http::auth::{Caller, PortfoliosRead};
use crate::http::conventions::{Asked, OtherConventions};
use crate::http::error::{ApiError, FieldError};
use crate::http::query::Query;
use crate::http::reading;
use crate::http::wire::{Amount, Time, amount};
use crate::storage::assets;
use crate::storage::database::Tx;
use crate::storage::learned::Fact;
use crate::workers::difference::{self, DifferenceError, Figures};
use axum::Json;
use axum::extract::{Path, State};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use utoipa::ToSchema;

/// Figures by name, in base currency.
type FiguresView = BTreeMap<&'static str, Option<Amount>>;

/// A fact that was learned. Which fields it has depends on `kind`.
#[derive(Debug, Default, Serialize, ToSchema)]
pub struct FactView {
    /// `entry`, `void`, `action`, `action_void`, `price`, `rate`, `terms`, `conventions` or `source`.
    #[schema(
        example = "entry",
        pattern = "^(entry|void|action|action_void|price|rate|terms|conventions|source)$"
    )]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    transaction: Option<TransactionId>,
    /// Of an entry recorded in place of another.
    #[serde(skip_serializing_if = "Option::is_none")]
    replaces: Option<TransactionId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    action: Option<ActionId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    transaction_type: Option<TransactionType>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "split")]
    action_type: Option<ActionType>,
    /// The moment the fact is about.
    about: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "GOLD")]
    symbol: Option<String>,
    /// Why an entry was voided.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "wrong quantity")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "desk")]
    source: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "1d")]
    interval: Option<String>,
    /// The price or rate; absent when the point was withdrawn.
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<Amount>,
    #[serde(skip_serializing_if = "Option::is_none")]
    base: Option<Currency>,
    #[serde(skip_serializing_if = "Option::is_none")]
    quote: Option<Currency>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = true)]
    split_adjusted: Option<bool>,
}

/// What one commit changed.
#[derive(Debug, Serialize, ToSchema)]
pub struct PartView {
    recorded_at: Time,
    /// What it recorded; facts of one commit are learned together.
    facts: Vec<FactView>,
    #[schema(value_type = Object, example = json!({"realized_pnl": "-12.5"}))]
    change: FiguresView,
}

/// The difference between a report as it was known at two moments.
#[derive(Debug, Serialize, ToSchema)]
pub struct DifferenceView {
    #[schema(example = true)]
    success: bool,
    portfolio_id: PortfolioId,
    base_currency: Currency,
    as_of: Time,
    known_at: Time,
    /// `null` for everything known.
    known_at_to: Option<Time>,
    /// The figures as known at `known_at`.
    #[schema(value_type = Object, example = json!({"realized_pnl": "200"}))]
    before: FiguresView,
    /// The figures as known at `known_at_to`.
    #[schema(value_type = Object, example = json!({"realized_pnl": "187.5"}))]
    after: FiguresView,
    /// `after - before`.
    #[schema(value_type = Object, example = json!({"realized_pnl": "-12.5"}))]
    change: FiguresView,
    /// Commits that changed a figure, in order; their changes add up to `change` exactly.
    parts: Vec<PartView>,
    /// Commits in between that changed facts but no figure.
    #[schema(example = 3)]
    without_effect: usize,
}

fn figures_view(figures: &Figures) -> FiguresView {
    figures.iter().map(|(name, value)| (*name, amount(value.as_ref()))).collect()
}

fn asset_of(fact: &Fact) -> Option<AssetKey> {
    match fact {
        Fact::Entry { asset, .. } | Fact::Void { asset, .. } => *asset,
        Fact::Action { asset, .. } | Fact::Price { asset, .. } | Fact::Terms { asset, .. } => Some(*asset),
        Fact::Rate { .. } | Fact::Conventions { .. } | Fact::Source { .. } => None,
    }
}

fn fact_view(fact: Fact, symbols: &BTreeMap<AssetKey, String>) -> FactView {
    let symbol = asset_of(&fact).and_then(|key| symbols.get(&key)).cloned();
    // Terms and conventions may apply from the beginning of time, which is no date.
    let about = |at: Moment| Some(at).filter(|at| *at != Moment::MIN).map(Time);
    let plain = FactView { symbol, ..FactView::default() };
    match fact {
        Fact::Entry { transaction, kind, executed_at, replaces, .. } => FactView {
            kind: "entry",
            transaction: Some(transaction),
            transaction_type: Some(kind),
            about: about(executed_at),
            replaces,
            ..plain
        },
        Fact::Void { transaction, kind, executed_at, reason, .. } => FactView {
            kind: "void",
            transaction: Some(transaction),
            transaction_type: Some(kind),
            about: about(executed_at),
            reason: Some(reason),
            ..plain
        },
        Fact::Action { action, kind, executed_at, voided, .. } => FactView {
            kind: if voided { "action_void" } else { "action" },
            action: Some(action),
            action_type: Some(kind),
            about: about(executed_at),
            ..plain
        },
        Fact::Price { observed_at, source, interval, price, .. } => FactView {
            kind: "price",
            about: about(observed_at),
            source: Some(source),
            interval: Some(interval),
            value: price.map(Amount),
            ..plain
        },
        Fact::Rate { base, quote, observed_at, source, rate } => FactView {
            kind: "rate",
            about: about(observed_at),
            source: Some(source),
            base: Some(base),
            quote: Some(quote),
            value: rate.map(Amount),
            ..plain
        },
        Fact::Terms { effective_at, .. } => FactView { kind: "terms", about: about(effective_at), ..plain },
        Fact::Conventions { effective_at } => {
            FactView { kind: "conventions", about: about(effective_at), ..plain }
        }
        Fact::Source { name, split_adjusted } => {
            FactView { kind: "source", source: Some(name), split_adjusted: Some(split_adjusted), ..plain }
        }
    }
}

async fn symbols_of(tx: &mut Tx, parts: &[difference::Part]) -> Result<BTreeMap<AssetKey, String>, ApiError> {
    let keys: BTreeSet<AssetKey> = parts.iter().flat_map(|part| &part.facts).filter_map(asset_of).collect();
    let keys: Vec<AssetKey> = keys.into_iter().collect();
    let known = assets::by_keys(tx, &keys).await?;
    Ok(known.into_iter().map(|asset| (asset.key, asset.symbol)).collect())
}

/// Tell what changed a report since
///
/// Compares the figures about one moment as they were known at two. Each commit in between that changed a figure is
/// listed with what it recorded and by how much it changed it; the parts add up to the whole exactly.
#[utoipa::path(get, path = "/portfolios/{portfolio}/pnl/diff", operation_id = "portfolio_pnl_diff", tag = "pnl",
    params(("portfolio" = String, Path, description = "Id"),
        ("known_at" = String, Query, description = "The report as known then"),
        ("known_at_to" = Option<String>, Query, description = "and as known then; everything known when left out"),
        ("as_of" = Option<String>, Query, description = "About this moment, or the end of this day; known_at when left out"),
        OtherConventions),
    responses((status = 200, description = "The difference", body = DifferenceView)))]
pub async fn portfolio_difference(
    State(app): State<AppState>,
    caller: Caller<PortfoliosRead>,
    Path(id): Path<String>,
    mut query: Query,
) -> Result<Json<DifferenceView>, ApiError> {
    if query.text("known_at").is_none() {
        query.fault("known_at", "required", "is required");
    }
    let until = reading::settled(&app, &mut query, "known_at_to").await?;
    let known_at = reading::known_at(&app, &mut query).await?;
    let mut tx = app.db.read().await?;
    let portfolio = reading::portfolio_known(&mut tx, &caller, &id, known_at).await?;
    let asked = Asked::of_query(&mut query, &portfolio, known_at);
    if let (Some(known_at), Some(until)) = (known_at, until)
        && until < known_at
    {
        query.fault("known_at_to", "before_known_at", "lies before known_at");
    }
    query.finish()?;
    let mut ask = asked.ask(&mut tx, &portfolio).await?;
    ask.as_of = ask.as_of.or(known_at);
    let end = until.unwrap_or(Moment::MAX);
    let found = difference::difference(&mut tx, &portfolio, &ask, end, app.clock.now()).await;
    let found = found.map_err(|error| match error {
        DifferenceError::TooMany => {
            let fault = FieldError::parameter("known_at_to", "too_many_changes", error.to_string());
            ApiError::invalid(vec![fault])
        }
        DifferenceError::Book(error) => error.into(),
        DifferenceError::Storage(error) => error.into(),
    })?;
    let symbols = symbols_of(&mut tx, &found.parts).await?;
    let parts = found.parts.into_iter().map(|part| PartView {
        recorded_at: Time(part.recorded_at),
        facts: part.facts.into_iter().map(|fact| fact_view(fact, &symbols)).collect(),
        change: figures_view(&part.change),
    });
    Ok(Json(DifferenceView {
        success: true,
        portfolio_id: portfolio.id,
        base_currency: portfolio.base_currency,
        as_of: Time(ask.as_of.unwrap_or(end)),
        known_at: Time(known_at.unwrap_or(end)),
        known_at_to: until.map(Time),
        before: figures_view(&found.before),
        after: figures_view(&found.after),
        change: figures_view(&found.change),
        parts: parts.collect(),
        without_effect: found.without_effect,
    }))
}

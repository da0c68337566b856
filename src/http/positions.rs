//! Positions: runs from flat to flat, with the ids they were issued.

use crate::domain::currency::Currency;
use crate::domain::decimal::Decimal;
use crate::domain::ids::{AssetId, PortfolioId, PositionId, TransactionId};
use crate::domain::moment::Moment;
use crate::domain::pnl::book::HoldingKey;
use crate::domain::pnl::holding::{Cycle, Side};
use crate::domain::pnl::report::Item;
use crate::domain::portfolio::Portfolio;
use crate::http::AppState;
use crate::http::auth::{Caller, PortfoliosRead};
use crate::http::error::{ApiError, Code, Problem};
use crate::http::pnl::PriceUsedView;
use crate::http::query::Query;
use crate::http::reading;
use crate::http::wire::{Amount, Metadata, Time, amount};
use crate::named_enum;
use crate::storage::database::Tx;
use crate::storage::page::After;
use crate::storage::positions::{self, CLOSED, IssuedPosition, OPEN, UNUSED};
use crate::workers::pnl_engine::{self, Ask, Figures, Issue};
use crate::workers::present::Detail;
use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use utoipa::ToSchema;

named_enum! {
    /// Whether a position is open.
    PositionStatus {
        /// Units are held or owed.
        Open = "OPEN",
        /// It ran from flat to flat.
        Closed = "CLOSED",
    }
}

/// An open lot of a position.
#[derive(Debug, Serialize, ToSchema)]
pub struct PositionLot {
    /// The transaction that opened it.
    transaction: TransactionId,
    acquired_at: Time,
    quantity: Amount,
    unit_cost: Option<Amount>,
    cost_basis: Amount,
    market_value: Amount,
    unrealized_pnl: Amount,
}

/// A position: one run from flat to flat in one asset of one account. Amounts are in `currency`, quantity and cost
/// are unsigned beside `position_type`.
#[derive(Debug, Serialize, ToSchema)]
pub struct PositionView {
    id: PositionId,
    created_at: Time,
    updated_at: Time,
    portfolio_id: PortfolioId,
    asset_id: AssetId,
    position_type: Side,
    #[schema(example = "OPEN", pattern = "^(OPEN|CLOSED)$")]
    status: PositionStatus,
    /// Units open; zero once closed.
    quantity: Amount,
    /// Cost of one unit: of those open, once closed of all that entered.
    average_cost: Option<Amount>,
    /// Price that values it; `null` once closed.
    current_price: Option<Amount>,
    opened_at: Time,
    closed_at: Option<Time>,
    metadata: Metadata,
    #[schema(example = "GOLD")]
    asset_symbol: String,
    #[schema(example = "main")]
    account: String,
    currency: Currency,
    cost_basis: Amount,
    market_value: Amount,
    unrealized_pnl: Amount,
    /// `100 x unrealized_pnl / cost_basis`; `null` when the cost is zero.
    unrealized_pnl_percent: Option<Amount>,
    /// Realised since this position opened.
    realized_pnl: Amount,
    fees: Amount,
    /// The price used, with its source and age.
    price: Option<PriceUsedView>,
    /// Open lots; in reads of one position only.
    #[serde(skip_serializing_if = "Option::is_none")]
    lots: Option<Vec<PositionLot>>,
}

/// An open position, from the valued holding.
fn open_view(
    portfolio: &Portfolio,
    id: PositionId,
    (item, cycle): (&Item, &Cycle),
    figures: &Figures,
    stamps: Issue,
) -> Option<PositionView> {
    let asset = figures.assets.get(&item.asset)?;
    let totals = item.totals.since(&cycle.totals);
    let worth = &item.worth;
    let cost = worth.cost_basis.own.abs();
    let percent = (&worth.unrealized.own * &Decimal::from(100)).divide(&cost);
    Some(PositionView {
        id,
        created_at: Time(stamps.created_at),
        updated_at: Time(stamps.updated_at),
        portfolio_id: portfolio.id,
        asset_id: asset.id,
        position_type: cycle.side,
        status: PositionStatus::Open,
        quantity: Amount(worth.quantity.abs()),
        average_cost: amount(worth.average_cost().as_ref()),
        current_price: item.price.as_ref().map(|used| Amount(used.price.clone())),
        opened_at: Time(cycle.opened_at),
        closed_at: None,
        metadata: Metadata::of("{}"),
        asset_symbol: asset.symbol.clone(),
        account: item.account.clone(),
        currency: item.currency,
        cost_basis: Amount(cost),
        market_value: Amount(worth.market_value.own.clone()),
        unrealized_pnl: Amount(worth.unrealized.own.clone()),
        unrealized_pnl_percent: amount(percent.as_ref()),
        realized_pnl: Amount(totals.realized.own),
        fees: Amount(totals.fees.own),
        price: item.price.as_ref().map(PriceUsedView::from),
        lots: None,
    })
}

/// A closed position, from what the fold kept of it.
fn closed_view(
    portfolio: &Portfolio,
    id: PositionId,
    (key, cycle): (&HoldingKey, &Cycle),
    figures: &Figures,
    stamps: Issue,
) -> Option<PositionView> {
    let asset = figures.assets.get(&key.asset)?;
    let currency = figures.book.holdings.get(key)?.currency;
    Some(PositionView {
        id,
        created_at: Time(stamps.created_at),
        updated_at: Time(stamps.updated_at),
        portfolio_id: portfolio.id,
        asset_id: asset.id,
        position_type: cycle.side,
        status: PositionStatus::Closed,
        quantity: Amount(Decimal::ZERO),
        average_cost: amount(cycle.entered_cost.divide(&cycle.entered_quantity).as_ref()),
        current_price: None,
        opened_at: Time(cycle.opened_at),
        closed_at: cycle.closed_at.map(Time),
        metadata: Metadata::of("{}"),
        asset_symbol: asset.symbol.clone(),
        account: key.account.clone(),
        currency,
        cost_basis: Amount(Decimal::ZERO),
        market_value: Amount(Decimal::ZERO),
        unrealized_pnl: Amount(Decimal::ZERO),
        unrealized_pnl_percent: None,
        realized_pnl: Amount(cycle.totals.realized.own.clone()),
        fees: Amount(cycle.totals.fees.own.clone()),
        price: None,
        lots: None,
    })
}

fn lots_of(item: &Item) -> Vec<PositionLot> {
    let view =
        |(lot, worth): &(crate::domain::pnl::lots::Lot, crate::domain::pnl::report::Worth)| PositionLot {
            transaction: lot.transaction,
            acquired_at: Time(lot.acquired_at),
            quantity: Amount(lot.quantity.clone()),
            unit_cost: amount(worth.average_cost().as_ref()),
            cost_basis: Amount(worth.cost_basis.own.abs()),
            market_value: Amount(worth.market_value.own.clone()),
            unrealized_pnl: Amount(worth.unrealized.own.clone()),
        };
    item.lots.iter().map(view).collect()
}

/// Sequence and stamps of ids: of the open ones for the kept book, of every one for a book of the past.
async fn stamps_of(
    tx: &mut Tx,
    portfolio: &Portfolio,
    figures: &Figures,
    known_at: Moment,
) -> Result<Arc<BTreeMap<PositionId, Issue>>, ApiError> {
    if let Some(issued) = &figures.issued {
        return Ok(Arc::clone(issued));
    }
    let issued = if figures.kept {
        positions::list(tx, portfolio.id, Some(OPEN), 0, i64::MAX).await?
    } else {
        positions::issued(tx, portfolio.id).await?
    };
    let mut found: BTreeMap<_, _> = issued.iter().map(|issued| (issued.id, issue(issued))).collect();
    if known_at != Moment::MAX {
        for (id, changed_at) in positions::changed_at(tx, portfolio.id, known_at).await? {
            if let Some(stamps) = found.get_mut(&id) {
                stamps.updated_at = changed_at;
            }
        }
    }
    Ok(Arc::new(found))
}

fn issue(issued: &IssuedPosition) -> Issue {
    Issue { seq: issued.issued_seq, created_at: issued.created_at, updated_at: issued.updated_at }
}

/// The open positions of valued figures, in the order their ids were issued.
///
/// # Errors
/// The database's.
pub async fn open_views(
    tx: &mut Tx,
    portfolio: &Portfolio,
    figures: &Figures,
    known_at: Moment,
) -> Result<Vec<PositionView>, ApiError> {
    Ok(every_view(tx, portfolio, figures, known_at)
        .await?
        .into_iter()
        .filter(|(_, view)| view.status == PositionStatus::Open)
        .map(|(_, view)| view)
        .collect())
}

/// Every position of valued figures, with its sequence, in the order ids were issued.
async fn every_view(
    tx: &mut Tx,
    portfolio: &Portfolio,
    figures: &Figures,
    known_at: Moment,
) -> Result<Vec<(i64, PositionView)>, ApiError> {
    let stamps = stamps_of(tx, portfolio, figures, known_at).await?;
    let mut found = Vec::new();
    for item in &figures.report.items {
        let key = HoldingKey { account: item.account.clone(), asset: item.asset };
        let cycle = figures.book.holdings.get(&key).and_then(|holding| holding.cycle.as_ref());
        if let (Some(id), Some(cycle)) = (figures.open.get(&key), cycle)
            && let Some(stamps) = stamps.get(id)
            && let Some(view) = open_view(portfolio, *id, (item, cycle), figures, *stamps)
        {
            found.push((stamps.seq, view));
        }
    }
    for (key, cycle) in &figures.book.closed {
        if let Some(id) = figures.closed.get(&(key.clone(), cycle.ordinal))
            && let Some(stamps) = stamps.get(id)
            && let Some(view) = closed_view(portfolio, *id, (key, cycle), figures, *stamps)
        {
            found.push((stamps.seq, view));
        }
    }
    found.sort_by_key(|(seq, _)| *seq);
    Ok(found)
}

/// Adds closed positions, which the kept book does not carry: those issued first after a sequence.
async fn with_closed(
    tx: &mut Tx,
    portfolio: &Portfolio,
    figures: &Figures,
    (after, limit): (i64, i64),
    views: &mut Vec<(i64, PositionView)>,
) -> Result<(), ApiError> {
    for issued in positions::list(tx, portfolio.id, Some(CLOSED), after, limit).await? {
        if let Some(cycle) = &issued.closed
            && let Some(view) =
                closed_view(portfolio, issued.id, (&issued.holding, cycle), figures, issue(&issued))
        {
            views.push((issued.issued_seq, view));
        }
    }
    views.sort_by_key(|(seq, _)| *seq);
    Ok(())
}

/// List positions
///
/// In the order their ids were issued; open and closed ones.
#[utoipa::path(get, path = "/portfolios/{portfolio}/positions", operation_id = "list_positions", tag = "positions",
    params(("portfolio" = String, Path, description = "Id"),
        ("status" = Option<String>, Query, description = "OPEN or CLOSED"),
        ("as_of" = Option<String>, Query, description = "At this moment, or at the end of this day in the portfolio's zone"),
        ("known_at" = Option<String>, Query, description = "As known then"),
        ("limit" = Option<i64>, Query, description = "Rows wanted, at most 1000"),
        ("cursor" = Option<String>, Query, description = "From the `Link` header of the page before")),
    responses((status = 200, description = "Positions", body = [PositionView])))]
pub async fn list_positions(
    State(app): State<AppState>,
    caller: Caller<PortfoliosRead>,
    Path(id): Path<String>,
    mut query: Query,
) -> Result<Response, ApiError> {
    let known_at = reading::known_at(&app, &mut query).await?;
    let mut tx = app.db.read().await?;
    let portfolio = reading::portfolio_known(&mut tx, &caller, &id, known_at).await?;
    let as_of = query.until("as_of", portfolio.time_zone);
    let status = query.one_of("status", PositionStatus::NAMES, PositionStatus::from_name);
    let limit = query.limit(crate::http::query::ROWS);
    let after = query.cursor("positions").map_or(0, |after| after.key);
    query.finish()?;
    let ask = Ask { as_of, known_at, ..Ask::default() };
    let figures =
        app.presents.figures(&mut tx, &portfolio, (&ask, Detail::Positions), app.clock.now()).await?;
    let mut found = every_view(&mut tx, &portfolio, &figures, known_at.unwrap_or(Moment::MAX)).await?;
    if figures.kept && status != Some(PositionStatus::Open) {
        with_closed(&mut tx, &portfolio, &figures, (after, limit.saturating_add(1)), &mut found).await?;
    }
    found.retain(|(seq, view)| *seq > after && status.is_none_or(|status| view.status == status));
    let wanted = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = found.len() > wanted;
    found.truncate(wanted);
    let next = found.last().filter(|_| more).map(|(seq, _)| After { value: String::new(), key: *seq });
    let link = next.map(|after| query.next_link("positions", &after)).unwrap_or_default();
    let views: Vec<PositionView> = found.into_iter().map(|(_, view)| view).collect();
    Ok((link, Json(views)).into_response())
}

/// Read a position with its open lots
#[utoipa::path(get, path = "/portfolios/{portfolio}/positions/{position}", operation_id = "get_position",
    tag = "positions",
    params(("portfolio" = String, Path, description = "Id"), ("position" = String, Path, description = "Id"),
        ("as_of" = Option<String>, Query, description = "At this moment, or at the end of this day in the portfolio's zone"),
        ("known_at" = Option<String>, Query, description = "As known then")),
    responses((status = 200, description = "The position", body = PositionView),
        (status = 404, description = "No such position then", body = Problem, content_type = "application/problem+json"),
        (status = 410, description = "The id is no longer in use; `Location` names its successor", body = Problem, content_type = "application/problem+json")))]
pub async fn get_position(
    State(app): State<AppState>,
    caller: Caller<PortfoliosRead>,
    Path((id, position)): Path<(String, String)>,
    mut query: Query,
) -> Result<Json<PositionView>, ApiError> {
    let known_at = reading::known_at(&app, &mut query).await?;
    let mut tx = app.db.read().await?;
    let portfolio = reading::portfolio_known(&mut tx, &caller, &id, known_at).await?;
    let as_of = query.until("as_of", portfolio.time_zone);
    query.finish()?;
    let ask = Ask { as_of, known_at, ..Ask::default() };
    let issued = issued(&mut tx, &portfolio, &position, &ask).await?;
    let figures = app.presents.figures(&mut tx, &portfolio, (&ask, Detail::Lots), app.clock.now()).await?;
    Ok(Json(view_of(&mut tx, &portfolio, &issued, &ask, &figures).await?))
}

/// The id a path names, if the portfolio ever issued it.
async fn issued(
    tx: &mut Tx,
    portfolio: &Portfolio,
    name: &str,
    ask: &Ask,
) -> Result<IssuedPosition, ApiError> {
    let issued = match PositionId::parse(name) {
        Some(id) => positions::find(tx, portfolio.id, id).await?,
        None => None,
    };
    let issued = issued.ok_or_else(|| not_found(name))?;
    if issued.status == UNUSED && ask.known_at.is_none() {
        return Err(gone(portfolio, &issued));
    }
    Ok(issued)
}

fn not_found(name: &str) -> ApiError {
    ApiError::new(Code::PositionNotFound, format!("Position not found: {name}"))
}

/// One position with its open lots, as it was then.
///
/// # Errors
/// [`Code::PositionNotFound`], and [`Code::PositionGone`] naming the successor.
pub async fn position_view(
    tx: &mut Tx,
    portfolio: &Portfolio,
    name: &str,
    ask: &Ask,
    now: Moment,
) -> Result<PositionView, ApiError> {
    let issued = issued(tx, portfolio, name, ask).await?;
    let figures = pnl_engine::figures(tx, portfolio, ask, now).await?;
    view_of(tx, portfolio, &issued, ask, &figures).await
}

/// A position with its open lots, from valued figures.
async fn view_of(
    tx: &mut Tx,
    portfolio: &Portfolio,
    issued: &IssuedPosition,
    ask: &Ask,
    figures: &Figures,
) -> Result<PositionView, ApiError> {
    let id = issued.id;
    let held = figures.open.iter().find(|(_, open)| **open == id).map(|(key, _)| key);
    let of_holding =
        |item: &&Item| held.is_some_and(|key| key.account == item.account && key.asset == item.asset);
    let item = figures.report.items.iter().find(of_holding);
    let view = if figures.kept {
        let cycle = held.and_then(|key| figures.book.holdings.get(key)).and_then(|held| held.cycle.as_ref());
        match (item.zip(cycle), &issued.closed) {
            (Some(open), _) => open_view(portfolio, id, open, figures, issue(issued)),
            (None, Some(cycle)) => {
                closed_view(portfolio, id, (&issued.holding, cycle), figures, issue(issued))
            }
            (None, None) => None,
        }
    } else {
        let found = every_view(tx, portfolio, figures, ask.known_at.unwrap_or(Moment::MAX)).await?;
        found.into_iter().map(|(_, view)| view).find(|view| view.id == id)
    };
    let mut view = view.ok_or_else(|| not_found(&id.to_string()))?;
    view.lots = Some(item.map(lots_of).unwrap_or_default());
    Ok(view)
}

/// That an id is no longer in use, and which one took over.
pub fn gone(portfolio: &Portfolio, issued: &IssuedPosition) -> ApiError {
    let next = issued.successor.map(|next| format!("/portfolios/{}/positions/{next}", portfolio.id));
    let detail = match issued.successor {
        Some(next) => format!("the past was corrected; this position goes on as {next}"),
        None => "the past was corrected; none of this position's transactions is in force".to_owned(),
    };
    ApiError { successor: next, ..ApiError::new(Code::PositionGone, detail) }
}

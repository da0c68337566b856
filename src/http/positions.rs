//! Positions: opening, adding, reducing and closing through trades of the ledger.

use crate::domain::asset::{AssetStatus, Terms};
use crate::domain::currency::Currency;
use crate::domain::decimal::Decimal;
use crate::domain::ids::{AssetId, PortfolioId, PositionId, TransactionId};
use crate::domain::moment::{Moment, Written, start_of_day};
use crate::domain::pnl::book::{EVERY_ACCOUNT, HoldingKey};
use crate::domain::pnl::holding::{Cycle, Side};
use crate::domain::pnl::report::Item;
use crate::domain::portfolio::{LotScope, MAIN_ACCOUNT, Portfolio};
use crate::domain::price::FUTURE_MAX;
use crate::domain::transaction::{Transaction, TransactionType};
use crate::http::AppState;
use crate::http::auth::{Caller, PortfoliosRead, PortfoliosWrite};
use crate::http::error::{ApiError, Code, FieldError, Problem};
use crate::http::fields::{Fields, Unknown};
use crate::http::pnl::PriceUsedView;
use crate::http::posted::{Answer, Posted, deed};
use crate::http::query::Query;
use crate::http::reading;
use crate::http::transactions::{TransactionView, check_active, views};
use crate::http::wire::{Amount, Metadata, Time, amount};
use crate::named_enum;
use crate::random::Random;
use crate::storage::database::Tx;
use crate::storage::page::After;
use crate::storage::positions::{self, IssuedPosition, UNUSED};
use crate::storage::transactions::Entry;
use crate::storage::{assets, portfolios, rates};
use crate::workers::bookkeeping;
use crate::workers::pnl_engine::{self, Ask, Figures};
use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use std::collections::BTreeMap;
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
pub struct LotView {
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
    #[schema(example = "Gold Spot")]
    asset_name: String,
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
    lots: Option<Vec<LotView>>,
}

/// A position just opened, added to, reduced or closed.
#[derive(Debug, Serialize, ToSchema)]
pub struct PositionChanged {
    #[schema(example = true)]
    success: bool,
    #[serde(flatten)]
    position: PositionView,
    /// The trade that was recorded.
    transaction: TransactionView,
}

/// A position to open, or to add to.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "the shape of the request; fields are read one by one to collect every fault")]
pub struct NewPosition {
    #[schema(example = "GOLD")]
    asset_symbol: String,
    position_type: Side,
    quantity: Decimal,
    price: Decimal,
    fee: Option<Decimal>,
    tax: Option<Decimal>,
    /// Default `main`.
    #[schema(example = "main")]
    account: Option<String>,
    /// RFC 3339 with a zone, or a day; default now.
    #[schema(example = "2026-01-31T09:30:00Z")]
    executed_at: Option<String>,
}

/// How much of a position to take off, and at which price.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "the shape of the request; fields are read one by one to collect every fault")]
pub struct ReducePosition {
    /// Units; `close` takes all when it is absent, `reduce` needs it.
    quantity: Option<Decimal>,
    price: Decimal,
    fee: Option<Decimal>,
    tax: Option<Decimal>,
    /// RFC 3339 with a zone, or a day; default now.
    #[schema(example = "2026-01-31T09:30:00Z")]
    executed_at: Option<String>,
}

/// When an id was issued and last changed.
#[derive(Debug, Clone, Copy)]
struct Stamps {
    created_at: Moment,
    updated_at: Moment,
}

/// An open position, from the valued holding.
fn open_view(
    portfolio: &Portfolio,
    id: PositionId,
    item: &Item,
    cycle: &Cycle,
    figures: &Figures,
    stamps: Stamps,
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
        average_cost: amount(worth.average_cost.as_ref()),
        current_price: item.price.as_ref().map(|used| Amount(used.price.clone())),
        opened_at: Time(cycle.opened_at),
        closed_at: None,
        metadata: Metadata::of("{}"),
        asset_symbol: asset.symbol.clone(),
        asset_name: asset.name.clone(),
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
    stamps: Stamps,
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
        asset_name: asset.name.clone(),
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

fn lots_of(item: &Item) -> Vec<LotView> {
    let view = |(lot, worth): &(crate::domain::pnl::lots::Lot, crate::domain::pnl::report::Worth)| LotView {
        transaction: lot.transaction,
        acquired_at: Time(lot.acquired_at),
        quantity: Amount(lot.quantity.clone()),
        unit_cost: amount(worth.average_cost.as_ref()),
        cost_basis: Amount(worth.cost_basis.own.abs()),
        market_value: Amount(worth.market_value.own.clone()),
        unrealized_pnl: Amount(worth.unrealized.own.clone()),
    };
    item.lots.iter().map(view).collect()
}

async fn stamps_of(
    tx: &mut Tx,
    portfolio: &Portfolio,
) -> Result<BTreeMap<PositionId, (i64, Stamps)>, ApiError> {
    let issued = positions::issued(tx, portfolio.id).await?;
    let stamps = |p: IssuedPosition| {
        (p.id, (p.issued_seq, Stamps { created_at: p.created_at, updated_at: p.updated_at }))
    };
    Ok(issued.into_iter().map(stamps).collect())
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
    let stamps = stamps_of(tx, portfolio).await?;
    let clip = |stamps: Stamps| Stamps {
        updated_at: stamps.updated_at.min(known_at.max(stamps.created_at)),
        ..stamps
    };
    let mut found = Vec::new();
    for item in &figures.report.items {
        let key = HoldingKey { account: item.account.clone(), asset: item.asset };
        let cycle = figures.book.holdings.get(&key).and_then(|holding| holding.cycle.as_ref());
        if let (Some(id), Some(cycle)) = (figures.open.get(&key), cycle)
            && let Some((seq, stamps)) = stamps.get(id)
            && let Some(view) = open_view(portfolio, *id, item, cycle, figures, clip(*stamps))
        {
            found.push((*seq, view));
        }
    }
    for (key, cycle) in &figures.book.closed {
        if let Some(id) = figures.closed.get(&(key.clone(), cycle.ordinal))
            && let Some((seq, stamps)) = stamps.get(id)
            && let Some(view) = closed_view(portfolio, *id, (key, cycle), figures, clip(*stamps))
        {
            found.push((*seq, view));
        }
    }
    found.sort_by_key(|(seq, _)| *seq);
    Ok(found)
}

/// Adds the closed positions the kept book does not carry.
async fn with_closed(
    tx: &mut Tx,
    portfolio: &Portfolio,
    figures: &Figures,
    views: &mut Vec<(i64, PositionView)>,
) -> Result<(), ApiError> {
    for issued in positions::issued(tx, portfolio.id).await? {
        let stamps = Stamps { created_at: issued.created_at, updated_at: issued.updated_at };
        if let Some(cycle) = &issued.closed
            && let Some(view) = closed_view(portfolio, issued.id, (&issued.holding, cycle), figures, stamps)
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
    let ask = Ask { as_of, known_at, conventions: None };
    let mut found = views_at(&mut tx, &portfolio, &ask, app.clock.now()).await?;
    found.retain(|(seq, view)| *seq > after && status.is_none_or(|status| view.status == status));
    let wanted = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = found.len() > wanted;
    found.truncate(wanted);
    let next = found.last().filter(|_| more).map(|(seq, _)| After { value: String::new(), key: *seq });
    let link = next.map(|after| query.next_link("positions", &after)).unwrap_or_default();
    let views: Vec<PositionView> = found.into_iter().map(|(_, view)| view).collect();
    Ok((link, Json(views)).into_response())
}

async fn views_at(
    tx: &mut Tx,
    portfolio: &Portfolio,
    ask: &Ask,
    now: Moment,
) -> Result<Vec<(i64, PositionView)>, ApiError> {
    let figures = pnl_engine::figures(tx, portfolio, ask, now).await?;
    let mut found = every_view(tx, portfolio, &figures, ask.known_at.unwrap_or(Moment::MAX)).await?;
    if figures.kept {
        with_closed(tx, portfolio, &figures, &mut found).await?;
    }
    Ok(found)
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
    let ask = Ask { as_of, known_at, conventions: None };
    Ok(Json(position_view(&mut tx, &portfolio, &position, &ask, app.clock.now()).await?))
}

async fn position_view(
    tx: &mut Tx,
    portfolio: &Portfolio,
    name: &str,
    ask: &Ask,
    now: Moment,
) -> Result<PositionView, ApiError> {
    let not_found = || ApiError::new(Code::PositionNotFound, format!("Position not found: {name}"));
    let id = PositionId::parse(name).ok_or_else(not_found)?;
    let issued = positions::find(tx, portfolio.id, id).await?.ok_or_else(not_found)?;
    if issued.status == UNUSED && ask.known_at.is_none() {
        return Err(gone(portfolio, &issued));
    }
    let figures = pnl_engine::figures(tx, portfolio, ask, now).await?;
    let mut found = every_view(tx, portfolio, &figures, ask.known_at.unwrap_or(Moment::MAX)).await?;
    if figures.kept {
        with_closed(tx, portfolio, &figures, &mut found).await?;
    }
    let (_, mut view) = found.into_iter().find(|(_, view)| view.id == id).ok_or_else(not_found)?;
    let held = figures.open.iter().find(|(_, open)| **open == id).map(|(key, _)| key);
    let item = figures
        .report
        .items
        .iter()
        .find(|item| held.is_some_and(|key| key.account == item.account && key.asset == item.asset));
    view.lots = Some(item.map(lots_of).unwrap_or_default());
    Ok(view)
}

fn gone(portfolio: &Portfolio, issued: &IssuedPosition) -> ApiError {
    let next = issued.successor.map(|next| format!("/portfolios/{}/positions/{next}", portfolio.id));
    let detail = match issued.successor {
        Some(next) => format!("the past was corrected; this position goes on as {next}"),
        None => "the past was corrected; none of this position's transactions is in force".to_owned(),
    };
    ApiError { successor: next, ..ApiError::new(Code::PositionGone, detail) }
}

/// A trade as the position routes take it.
struct Trade {
    quantity: Option<Decimal>,
    price: Decimal,
    fee: Decimal,
    tax: Decimal,
    executed_at: Option<Written>,
}

impl Trade {
    fn read(fields: &mut Fields<'_>) -> Self {
        let trade = Self {
            quantity: fields.opt_decimal("quantity"),
            price: fields.decimal("price"),
            fee: fields.opt_decimal("fee").unwrap_or_default(),
            tax: fields.opt_decimal("tax").unwrap_or_default(),
            executed_at: fields.opt_time("executed_at"),
        };
        if trade.quantity.as_ref().is_some_and(|quantity| !quantity.is_positive()) {
            fields.fault("quantity", "not_positive", "must be greater than zero");
        }
        for (name, value) in [("fee", &trade.fee), ("tax", &trade.tax)] {
            if value.is_negative() {
                fields.fault(name, "negative", "must not be below zero");
            }
        }
        trade
    }

    /// The ledger entry of this trade.
    fn entry(
        self,
        tx: &Tx,
        random: Random,
        portfolio: &Portfolio,
        buys: bool,
        quantity: Decimal,
    ) -> Result<Entry, ApiError> {
        let now = tx.recorded_at()?;
        let (executed_at, whole_day) = match self.executed_at {
            Some(Written::Moment(moment)) => (moment, false),
            Some(Written::Day(day)) => (start_of_day(day, portfolio.time_zone), true),
            None => (now, false),
        };
        if executed_at > now.plus(FUTURE_MAX) {
            let detail = "lies more than 24 h ahead of the clock";
            return Err(ApiError::invalid(vec![FieldError::at("/executed_at", "in_the_future", detail)]));
        }
        let kind = if buys { TransactionType::Buy } else { TransactionType::Sell };
        let mut t = Transaction::bare(TransactionId(random.uuid_v7(now)?), kind, executed_at);
        t.whole_day = whole_day;
        t.quantity = Some(quantity);
        t.price = Some(self.price);
        t.fee = self.fee;
        t.tax = self.tax;
        Ok(Entry::new(portfolio.id, t, ""))
    }
}

fn check_price(price: &Decimal, terms: &Terms) -> Result<(), ApiError> {
    if price.is_negative() && !terms.allows_negative_price {
        let detail = "must not be below zero for this asset";
        return Err(ApiError::invalid(vec![FieldError::at("/price", "negative", detail)]));
    }
    Ok(())
}

/// Open a position, or add to it
///
/// Records a buy (LONG) or a sale that may open a short position (SHORT).
#[utoipa::path(post, path = "/portfolios/{portfolio}/positions", operation_id = "open_position", tag = "positions",
    params(("portfolio" = String, Path, description = "Id")), request_body = NewPosition,
    responses((status = 201, description = "Opened or added to", body = PositionChanged),
        (status = 400, description = "Not enough free cash, or not active", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such asset or portfolio", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "The other side is open", body = Problem, content_type = "application/problem+json")))]
pub async fn open_position(
    State(app): State<AppState>,
    caller: Caller<PortfoliosWrite>,
    Path(id): Path<String>,
    posted: Posted,
) -> Result<Answer, ApiError> {
    let mut fields = Fields::of_body(&posted.bytes)?;
    let symbol = fields.text("asset_symbol", 20);
    let side = fields.text("position_type", 16);
    let account = fields.opt_name("account", 64).unwrap_or_else(|| MAIN_ACCOUNT.to_owned());
    if fields.raw("quantity").is_none() {
        fields.fault("quantity", "required", "is required");
    }
    let trade = Trade::read(&mut fields);
    // The earlier service looked for the asset before it looked at the numbers.
    let faults = fields.faults(Unknown::Ignored);
    let (random, now) = (app.random, app.clock.now());
    let actor = caller.actor.clone();
    let work = deed(move |tx| {
        Box::pin(async move {
            if faults.iter().any(|fault| fault.code == "required" || fault.code == "wrong_type") {
                return Err(ApiError::invalid(faults));
            }
            let asset = reading::asset(tx, &symbol).await?;
            let side = Side::from_name(&side).ok_or_else(|| {
                ApiError::field(
                    Code::InvalidEnumeration,
                    "/position_type",
                    "unknown_value",
                    "Invalid position_type",
                )
            })?;
            if !faults.is_empty() {
                return Err(ApiError::invalid(faults));
            }
            let portfolio = reading::portfolio(tx, &caller, &id).await?;
            check_active(&portfolio)?;
            if asset.status != AssetStatus::Active {
                let detail = format!("{} is {}; only an ACTIVE asset is opened", asset.symbol, asset.status);
                return Err(ApiError::new(Code::AssetInactive, detail));
            }
            let quantity = trade.quantity.clone().unwrap_or_default();
            let mut entry = trade.entry(tx, random, &portfolio, side == Side::Long, quantity)?;
            let history = assets::terms(tx, &[asset.key], Moment::MAX).await?;
            let terms = history.at(asset.key, entry.transaction.executed_at).cloned();
            let terms = terms.unwrap_or_else(|| Terms::plain(asset.currency));
            entry.transaction.asset = Some(asset.key);
            entry.transaction.account.clone_from(&account);
            entry.transaction.currency = Some(terms.settlement);
            entry.transaction.opens_short = side == Side::Short;
            check_price(entry.transaction.price.as_ref().unwrap_or(&Decimal::ZERO), &terms)?;
            check_opening(tx, &portfolio, &entry.transaction, &terms, now).await?;
            let entry = record_one(tx, random, &portfolio, entry).await?;
            let key = HoldingKey { account, asset: asset.key };
            answer(tx, &portfolio, (key, None), entry, now).await
        })
    });
    posted.once(&app, actor, work).await
}

async fn record_one(
    tx: &mut Tx,
    random: Random,
    portfolio: &Portfolio,
    entry: Entry,
) -> Result<Entry, ApiError> {
    let recorded = bookkeeping::record(tx, random, portfolio, vec![entry]).await?;
    recorded
        .into_iter()
        .next()
        .ok_or_else(|| ApiError::new(Code::Internal, "the service failed; nothing was changed"))
}

/// Holds an opening trade to the rules of this route: free cash, short positions, and the side already open.
async fn check_opening(
    tx: &mut Tx,
    portfolio: &Portfolio,
    t: &Transaction,
    terms: &Terms,
    now: Moment,
) -> Result<(), ApiError> {
    let figures = pnl_engine::figures(tx, portfolio, &Ask::default(), now).await?;
    let (quantity, price) = (t.quantity.clone().unwrap_or_default(), t.price.clone().unwrap_or_default());
    let notional = terms.notional(&quantity, &price).ok_or_else(|| {
        let fault =
            FieldError::at("/price", "not_positive", "an inverse contract cannot trade at price zero");
        ApiError::invalid(vec![fault])
    })?;
    let costs = &t.fee + &t.tax;
    let cost = if terms.margined { costs } else { &notional + &costs };
    let known = rates::newest(tx, t.executed_at, Moment::MAX).await?;
    let cost =
        known.convert(&cost, terms.settlement, portfolio.base_currency, t.executed_at).ok_or_else(|| {
            let detail = format!("no rate from {} to {} is known", terms.settlement, portfolio.base_currency);
            ApiError::new(Code::MissingRate, detail)
        })?;
    let free = figures.report.sums.current_capital().ok_or_else(|| {
        ApiError::new(
            Code::MissingRate,
            "free cash is unknown, because a rate is missing; see `missing` of the portfolio",
        )
    })?;
    if cost > free {
        let detail = format!(
            "Insufficient capital: the position costs {}, free cash is {}",
            cost.normalized(),
            free.normalized()
        );
        return Err(ApiError::field(Code::InsufficientCapital, "/quantity", "insufficient_capital", detail));
    }
    let conventions = &figures.conventions;
    if t.opens_short && !conventions.allow_short {
        return Err(ApiError::new(
            Code::ShortNotAllowed,
            "the conventions of this portfolio have allow_short: false",
        ));
    }
    let account = holding_account(conventions.lot_scope, &t.account);
    let side = if t.kind == TransactionType::Buy { Side::Long } else { Side::Short };
    let Some(asset) = t.asset else { return Ok(()) };
    let key = HoldingKey { account, asset };
    let other =
        figures.book.holdings.get(&key).and_then(|holding| holding.side()).filter(|open| *open != side);
    match (other, figures.open.get(&key)) {
        (Some(open), Some(id)) => {
            let detail = format!(
                "a {open} position of this asset is open; take it off first: \
                 POST /portfolios/{}/positions/{id}/close or .../reduce",
                portfolio.id
            );
            Err(ApiError {
                successor: Some(format!("/portfolios/{}/positions/{id}", portfolio.id)),
                ..ApiError::new(Code::OtherSideOpen, detail)
            })
        }
        _ => Ok(()),
    }
}

fn holding_account(scope: LotScope, account: &str) -> String {
    match scope {
        LotScope::Account => account.to_owned(),
        LotScope::Global => EVERY_ACCOUNT.to_owned(),
    }
}

/// The changed position and its trade; `known` is its id when the caller knows it.
async fn answer(
    tx: &mut Tx,
    portfolio: &Portfolio,
    (mut key, known): (HoldingKey, Option<PositionId>),
    entry: Entry,
    now: Moment,
) -> Result<Answer, ApiError> {
    let id = match known {
        Some(id) => id,
        None => {
            let conventions = portfolios::conventions(tx, portfolio.id, Moment::MAX, Moment::MAX).await?;
            key.account = holding_account(conventions.lot_scope, &key.account);
            let figures = pnl_engine::figures(tx, portfolio, &Ask::default(), now).await?;
            figures.open.get(&key).copied().ok_or_else(|| {
                ApiError::new(
                    Code::LedgerRule,
                    "an earlier date was given, and at present the position is not open",
                )
            })?
        }
    };
    let position = position_view(tx, portfolio, &id.to_string(), &Ask::default(), now).await?;
    let transaction = views(tx, vec![entry]).await?.pop();
    let transaction = transaction.ok_or_else(|| ApiError::new(Code::Internal, "the service failed"))?;
    let location = format!("/portfolios/{}/positions/{id}", portfolio.id);
    let body = PositionChanged { success: true, position, transaction };
    if known.is_some() { Answer::ok(&body) } else { Answer::created(location, &body) }
}

/// Close a position, whole or in part
#[utoipa::path(post, path = "/portfolios/{portfolio}/positions/{position}/close", operation_id = "close_position",
    tag = "positions",
    params(("portfolio" = String, Path, description = "Id"), ("position" = String, Path, description = "Id")),
    request_body = ReducePosition,
    responses((status = 200, description = "Closed or reduced", body = PositionChanged),
        (status = 409, description = "It is closed", body = Problem, content_type = "application/problem+json")))]
pub async fn close_position(
    State(app): State<AppState>,
    caller: Caller<PortfoliosWrite>,
    Path((id, position)): Path<(String, String)>,
    posted: Posted,
) -> Result<Answer, ApiError> {
    take_off(app, caller, (id, position), posted, Amounting::WholeByDefault).await
}

/// Reduce a position
#[utoipa::path(post, path = "/portfolios/{portfolio}/positions/{position}/reduce", operation_id = "reduce_position",
    tag = "positions",
    params(("portfolio" = String, Path, description = "Id"), ("position" = String, Path, description = "Id")),
    request_body = ReducePosition,
    responses((status = 200, description = "Reduced", body = PositionChanged),
        (status = 409, description = "It is closed", body = Problem, content_type = "application/problem+json")))]
pub async fn reduce_position(
    State(app): State<AppState>,
    caller: Caller<PortfoliosWrite>,
    Path((id, position)): Path<(String, String)>,
    posted: Posted,
) -> Result<Answer, ApiError> {
    take_off(app, caller, (id, position), posted, Amounting::Stated).await
}

/// What an absent quantity means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Amounting {
    /// Everything.
    WholeByDefault,
    /// A mistake.
    Stated,
}

async fn take_off(
    app: AppState,
    caller: Caller<PortfoliosWrite>,
    (id, position): (String, String),
    posted: Posted,
    amounting: Amounting,
) -> Result<Answer, ApiError> {
    let mut fields = Fields::of_body(&posted.bytes)?;
    let trade = Trade::read(&mut fields);
    if amounting == Amounting::Stated && fields.raw("quantity").is_none() {
        fields.fault("quantity", "required", "is required; close takes off everything");
    }
    fields.finish(Unknown::Refused)?;
    let (random, now) = (app.random, app.clock.now());
    let actor = caller.actor.clone();
    let work = deed(move |tx| {
        Box::pin(async move {
            let portfolio = reading::portfolio(tx, &caller, &id).await?;
            check_active(&portfolio)?;
            let not_found =
                || ApiError::new(Code::PositionNotFound, format!("Position not found: {position}"));
            let position_id = PositionId::parse(&position).ok_or_else(not_found)?;
            let issued = positions::find(tx, portfolio.id, position_id).await?.ok_or_else(not_found)?;
            if issued.status == UNUSED {
                return Err(gone(&portfolio, &issued));
            }
            let figures = pnl_engine::figures(tx, &portfolio, &Ask::default(), now).await?;
            let holding = figures.book.holdings.get(&issued.holding);
            let open = figures.open.get(&issued.holding) == Some(&position_id);
            let Some(holding) = holding.filter(|_| open) else {
                return Err(ApiError::new(Code::PositionClosed, "the position is closed"));
            };
            let held = holding.quantity();
            let quantity = trade.quantity.clone().unwrap_or_else(|| held.abs());
            if quantity > held.abs() {
                let detail =
                    format!("{} leave the position, but only {} are held", quantity, held.abs().normalized());
                return Err(ApiError::field(
                    Code::InsufficientQuantity,
                    "/quantity",
                    "insufficient_quantity",
                    detail,
                ));
            }
            let history = assets::terms(tx, &[issued.holding.asset], Moment::MAX).await?;
            let mut entry = trade.entry(tx, random, &portfolio, held.is_negative(), quantity)?;
            if let Some(terms) = history.at(issued.holding.asset, entry.transaction.executed_at) {
                check_price(entry.transaction.price.as_ref().unwrap_or(&Decimal::ZERO), terms)?;
            }
            entry.transaction.asset = Some(issued.holding.asset);
            entry.transaction.currency = Some(holding.currency);
            let global = issued.holding.account == EVERY_ACCOUNT;
            entry.transaction.account =
                if global { MAIN_ACCOUNT.to_owned() } else { issued.holding.account.clone() };
            let entry = record_one(tx, random, &portfolio, entry).await?;
            answer(tx, &portfolio, (issued.holding, Some(position_id)), entry, now).await
        })
    });
    posted.once(&app, actor, work).await
}

//! Trading through positions: opening, adding, reducing and closing. Each records a trade in the ledger.

use crate::domain::asset::{AssetStatus, Terms};
use crate::domain::audit;
use crate::domain::decimal::Decimal;
use crate::domain::ids::{PositionId, TransactionId};
use crate::domain::moment::{Moment, Written, start_of_day};
use crate::domain::pnl::book::{EVERY_ACCOUNT, HoldingKey};
use crate::domain::pnl::holding::{Holding, Side};
use crate::domain::portfolio::{LotScope, MAIN_ACCOUNT, Portfolio};
use crate::domain::price::FUTURE_MAX;
use crate::domain::transaction::{Transaction, TransactionType};
use crate::http::AppState;
use crate::http::auth::{Caller, PortfoliosWrite};
use crate::http::error::{ApiError, Code, FieldError, Problem};
use crate::http::fields::{Fields, Unknown};
use crate::http::positions::{PositionView, gone, position_view};
use crate::http::posted::{Answer, Posted, deed};
use crate::http::reading;
use crate::http::transactions::{TransactionView, check_active, views};
use crate::random::Random;
use crate::storage::database::Tx;
use crate::storage::positions::{self, UNUSED};
use crate::storage::transactions::Entry;
use crate::storage::{assets, portfolios, rates};
use crate::workers::bookkeeping;
use crate::workers::pnl_engine::{self, Ask};
use axum::extract::{Path, State};
use serde::Serialize;
use std::sync::Arc;
use utoipa::ToSchema;

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
        (kind, quantity): (TransactionType, Decimal),
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
        let mut t = Transaction::bare(TransactionId(random.uuid_v7(now)?), kind, executed_at);
        t.whole_day = whole_day;
        t.quantity = Some(quantity);
        t.price = Some(self.price);
        t.fee = self.fee;
        t.tax = self.tax;
        Ok(Entry::new(portfolio.id, t, ""))
    }
}

/// The trade that opens a side.
const fn trade_of(side: Side) -> TransactionType {
    match side {
        Side::Long => TransactionType::Buy,
        Side::Short => TransactionType::Sell,
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
    let actor = Arc::clone(&caller.actor);
    let work = deed(move |tx| {
        Box::pin(async move {
            if faults.iter().any(|fault| fault.code == "required" || fault.code == "wrong_type") {
                return Err(ApiError::invalid(faults));
            }
            let asset = reading::asset(tx, &symbol).await.map_err(|error| error.named_at("/asset_symbol"))?;
            let side = Side::from_name(&side)
                .ok_or_else(|| ApiError::unknown_value("position_type", Side::NAMES))?;
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
            let mut entry = trade.entry(tx, random, &portfolio, (trade_of(side), quantity))?;
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
    let other = figures.book.holdings.get(&key).and_then(Holding::side).filter(|open| *open != side);
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
    let id = if let Some(id) = known {
        id
    } else {
        let conventions = portfolios::conventions(tx, portfolio.id, Moment::MAX, Moment::MAX).await?;
        key.account = holding_account(conventions.lot_scope, &key.account);
        let figures = pnl_engine::figures(tx, portfolio, &Ask::default(), now).await?;
        figures.open.get(&key).copied().ok_or_else(|| {
            ApiError::new(
                Code::LedgerRule,
                "an earlier date was given, and at present the position is not open",
            )
        })?
    };
    let position = position_view(tx, portfolio, &id.to_string(), &Ask::default(), now).await?;
    let transaction = views(tx, vec![entry]).await?.pop();
    let transaction = transaction.ok_or_else(|| ApiError::new(Code::Internal, "the service failed"))?;
    let location = format!("/portfolios/{}/positions/{id}", portfolio.id);
    let deed = if known.is_some() { "portfolio.position.reduce" } else { "portfolio.position.open" };
    tx.audit(audit::Entry::created(deed, id, &transaction));
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
    let actor = Arc::clone(&caller.actor);
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
            // A short position is taken off by buying.
            let kind = if held.is_negative() { TransactionType::Buy } else { TransactionType::Sell };
            let mut entry = trade.entry(tx, random, &portfolio, (kind, quantity))?;
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

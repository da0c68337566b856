//! Realised gains, disposal by disposal, and the lots that are still open.

use crate::domain::currency::Currency;
use crate::domain::ids::{PortfolioId, PositionId, TransactionId};
use crate::domain::moment::Moment;
use crate::domain::pnl::amounts::{Amounts, sum};
use crate::domain::pnl::book::HoldingKey;
use crate::domain::pnl::holding::Side;
use crate::domain::pnl::tax::{self, Terms};
use crate::domain::pnl::trace::{Closed, Disposal, DisposalKind, PostingKind};
use crate::http::AppState;
use crate::http::auth::{Caller, PortfoliosRead};
use crate::http::conventions::{Asked, ConventionsView, OtherConventions};
use crate::http::error::ApiError;
use crate::http::pnl::PriceUsedView;
use crate::http::query::{HISTORY_ROWS, Query};
use crate::http::reading;
use crate::http::wire::{Amount, Time, amount};
use crate::storage::page::After;
use crate::workers::pnl_engine::{Ask, Figures};
use crate::workers::present::Detail;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use chrono::Datelike as _;
use serde::Serialize;
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// First and last year a list of gains can be asked for.
const YEARS: std::ops::RangeInclusive<u32> = 1900..=2200;

/// Units of one lot that were disposed of. Amounts are in `currency`; those ending in `_base` in base currency.
#[derive(Debug, Serialize, ToSchema)]
pub struct GainView {
    /// `sale`, `cover` (of a short position), `without_basis` or `dust`.
    kind: DisposalKind,
    account: String,
    #[schema(example = "GOLD")]
    symbol: String,
    /// The disposal.
    transaction: TransactionId,
    /// The transaction that opened the lot; `null` for units without a basis.
    lot: Option<TransactionId>,
    /// When the units were acquired, or sold short.
    acquired_at: Option<Time>,
    disposed_at: Time,
    /// Days from the one date to the other, in the portfolio's zone.
    #[schema(example = 412)]
    holding_days: Option<i64>,
    /// Whether they were held no longer than `holding_period`.
    #[schema(example = false)]
    taxable: bool,
    quantity: Amount,
    currency: Currency,
    /// What the units brought, less the costs of that side.
    proceeds: Amount,
    /// What they cost, with the costs of that side.
    cost: Amount,
    /// `proceeds - cost`.
    gain: Amount,
    proceeds_base: Option<Amount>,
    cost_base: Option<Amount>,
    /// `proceeds_base - cost_base`; of a margined contract `gain` at the rate of the disposal.
    gain_base: Option<Amount>,
    /// The currency part of `gain_base`.
    fx_gain_base: Option<Amount>,
}

/// Gains of one calendar year, in base currency.
#[derive(Debug, Serialize, ToSchema)]
pub struct YearView {
    /// In the portfolio's zone.
    #[schema(example = 2025)]
    year: i32,
    #[schema(example = 12)]
    disposals: u64,
    proceeds: Option<Amount>,
    cost: Option<Amount>,
    gain: Option<Amount>,
    /// Of units held no longer than `holding_period`.
    taxable_gain: Option<Amount>,
    /// Of units held longer.
    tax_free_gain: Option<Amount>,
    /// Fees expensed at once, which are in realised profit and in no disposal.
    fees_expensed: Option<Amount>,
    /// `gain - fees_expensed`: what the year adds to `realized_pnl`.
    realized_pnl: Option<Amount>,
}

/// Realised gains.
#[derive(Debug, Serialize, ToSchema)]
pub struct GainsView {
    #[schema(example = true)]
    success: bool,
    portfolio_id: PortfolioId,
    base_currency: Currency,
    as_of: Option<Time>,
    known_at: Option<Time>,
    conventions: ConventionsView,
    /// Sums by year, of every year asked for.
    years: Vec<YearView>,
    /// Disposals in the order they happened.
    gains: Vec<GainView>,
}

#[derive(Default)]
struct Year {
    disposals: u64,
    proceeds: Amounts,
    cost: Amounts,
    taxable: Amounts,
    free: Amounts,
    expensed: Amounts,
}

fn year_of(at: Moment, terms: Terms) -> i32 {
    at.day_in(terms.zone).map_or(0, |day| day.year())
}

fn profitable(figures: &Figures) -> impl Iterator<Item = (&Disposal, &Closed)> {
    let disposals = figures.book.trace.iter().flat_map(|trace| &trace.disposals);
    let profitable = disposals.filter(|disposal| disposal.kind != DisposalKind::Delivery);
    profitable.flat_map(|disposal| disposal.closed.iter().map(move |closed| (disposal, closed)))
}

fn by_year(figures: &Figures, terms: Terms, only: Option<i32>) -> Vec<YearView> {
    let mut years: BTreeMap<i32, Year> = BTreeMap::new();
    for (disposal, closed) in profitable(figures) {
        let year = years.entry(year_of(disposal.at, terms)).or_default();
        year.disposals += 1;
        year.proceeds += &tax::proceeds(disposal, closed);
        year.cost += &tax::cost(disposal, closed);
        let taxable = tax::is_taxable(disposal, closed, terms);
        *(if taxable { &mut year.taxable } else { &mut year.free }) += &closed.realized;
    }
    let expensed = figures.book.trace.iter().flat_map(|trace| &trace.postings);
    for posting in expensed.filter(|posting| posting.kind == PostingKind::Expense) {
        years.entry(year_of(posting.at, terms)).or_default().expensed += &posting.amount;
    }
    let asked = years.into_iter().filter(|(year, _)| only.is_none_or(|only| only == *year));
    asked
        .map(|(year, sums)| {
            let gain = sum(sums.taxable.base.as_ref(), sums.free.base.as_ref());
            let less = sums.expensed.base.as_ref().map(|fees| -fees);
            YearView {
                year,
                disposals: sums.disposals,
                proceeds: amount(sums.proceeds.base.as_ref()),
                cost: amount(sums.cost.base.as_ref()),
                gain: amount(gain.as_ref()),
                taxable_gain: amount(sums.taxable.base.as_ref()),
                tax_free_gain: amount(sums.free.base.as_ref()),
                fees_expensed: amount(sums.expensed.base.as_ref()),
                realized_pnl: amount(sum(gain.as_ref(), less.as_ref()).as_ref()),
            }
        })
        .collect()
}

fn gain(figures: &Figures, terms: Terms, disposal: &Disposal, closed: &Closed) -> Option<GainView> {
    let (proceeds, cost) = (tax::proceeds(disposal, closed), tax::cost(disposal, closed));
    Some(GainView {
        kind: disposal.kind,
        account: disposal.account.clone(),
        symbol: figures.assets.get(&disposal.holding.asset)?.symbol.clone(),
        transaction: disposal.transaction,
        lot: closed.lot,
        acquired_at: closed.acquired_at.map(Time),
        disposed_at: Time(disposal.at),
        holding_days: closed.acquired_at.and_then(|at| tax::days_between(at, disposal.at, terms.zone)),
        taxable: tax::is_taxable(disposal, closed, terms),
        quantity: Amount(closed.quantity.clone()),
        currency: disposal.currency,
        proceeds: Amount(proceeds.own),
        cost: Amount(cost.own),
        gain: Amount(closed.realized.own.clone()),
        proceeds_base: amount(proceeds.base.as_ref()),
        cost_base: amount(cost.base.as_ref()),
        gain_base: amount(closed.realized.base.as_ref()),
        fx_gain_base: amount(closed.realized_fx.as_ref()),
    })
}

/// Read a portfolio's realised gains
///
/// One row for each lot a disposal closed, wholly or in part, and the sums of each calendar year. Deliveries out make
/// no gain and are not listed.
#[utoipa::path(get, path = "/portfolios/{portfolio}/gains", operation_id = "portfolio_gains", tag = "pnl",
    params(("portfolio" = String, Path, description = "Id"),
        ("year" = Option<u32>, Query, description = "Disposals of this calendar year, in the portfolio's zone"),
        ("as_of" = Option<String>, Query, description = "Up to this moment, or the end of this day"),
        ("known_at" = Option<String>, Query, description = "As known then"),
        OtherConventions,
        ("limit" = Option<i64>, Query, description = "Rows"),
        ("cursor" = Option<String>, Query, description = "Of the page before")),
    responses((status = 200, description = "Gains", body = GainsView)))]
pub async fn portfolio_gains(
    State(app): State<AppState>,
    caller: Caller<PortfoliosRead>,
    Path(id): Path<String>,
    mut query: Query,
) -> Result<(HeaderMap, Json<GainsView>), ApiError> {
    let known_at = reading::known_at(&app, &mut query).await?;
    let mut tx = app.db.read().await?;
    let portfolio = reading::portfolio_known(&mut tx, &caller, &id, known_at).await?;
    let year = query.whole("year", *YEARS.end());
    if year.is_some_and(|year| !YEARS.contains(&year)) {
        query.fault("year", "out_of_range", "must be a year from 1900 to 2200");
    }
    let year = year.and_then(|year| i32::try_from(year).ok());
    let limit = query.limit(HISTORY_ROWS);
    let after = query.cursor("gains").map_or(0, |after| after.key);
    let asked = Asked::of_query(&mut query, &portfolio, known_at);
    query.finish()?;
    let ask = Ask { traced: true, ..asked.ask(&mut tx, &portfolio).await? };
    let figures = app.presents.figures(&mut tx, &portfolio, (&ask, Detail::Lots), app.clock.now()).await?;
    let terms = Terms { zone: portfolio.time_zone, holding_period: figures.conventions.holding_period };
    let in_year = |disposal: &Disposal| year.is_none_or(|year| year_of(disposal.at, terms) == year);
    let mut rows = profitable(&figures)
        .filter(|(disposal, _)| in_year(disposal))
        .skip(usize::try_from(after).unwrap_or_default());
    let page: Vec<GainView> = rows
        .by_ref()
        .take(usize::try_from(limit).unwrap_or_default())
        .filter_map(|(disposal, closed)| gain(&figures, terms, disposal, closed))
        .collect();
    let headers = if rows.next().is_some() {
        query.next_link("gains", &After { key: after + limit, value: String::new() })
    } else {
        HeaderMap::new()
    };
    drop(rows);
    let view = GainsView {
        success: true,
        portfolio_id: portfolio.id,
        base_currency: portfolio.base_currency,
        as_of: ask.as_of.map(Time),
        known_at: ask.known_at.map(Time),
        conventions: ConventionsView::from(&figures.conventions),
        years: by_year(&figures, terms, year),
        gains: page,
    };
    Ok((headers, Json(view)))
}

/// An open lot, valued. Amounts are in `currency`; those ending in `_base` in base currency.
#[derive(Debug, Serialize, ToSchema)]
pub struct LotView {
    account: String,
    #[schema(example = "GOLD")]
    symbol: String,
    position_id: Option<PositionId>,
    /// The transaction that opened it: what a sale under `specific` names.
    transaction: TransactionId,
    side: Option<Side>,
    acquired_at: Time,
    /// Days since, in the portfolio's zone.
    #[schema(example = 412)]
    holding_days: Option<i64>,
    /// First day, in the portfolio's zone, on which a sale of it is tax free; `null` for a short position.
    #[schema(example = "2026-11-24")]
    tax_free_from: Option<String>,
    /// Units, negative when owed.
    quantity: Amount,
    currency: Currency,
    /// Cost of one unit.
    unit_cost: Option<Amount>,
    cost_basis: Amount,
    market_value: Amount,
    unrealized_pnl: Amount,
    cost_basis_base: Option<Amount>,
    market_value_base: Option<Amount>,
    unrealized_pnl_base: Option<Amount>,
    /// The currency part of it.
    unrealized_fx_pnl_base: Option<Amount>,
    price: Option<PriceUsedView>,
}

/// List a portfolio's open lots
///
/// Oldest first in each holding. Under `average` a holding has one lot.
#[utoipa::path(get, path = "/portfolios/{portfolio}/lots", operation_id = "portfolio_lots", tag = "pnl",
    params(("portfolio" = String, Path, description = "Id"),
        ("symbol" = Option<String>, Query, description = "Of this asset"),
        ("account" = Option<String>, Query, description = "Of this account"),
        ("as_of" = Option<String>, Query, description = "At this moment, or at the end of this day"),
        ("known_at" = Option<String>, Query, description = "As known then"),
        OtherConventions,
        ("limit" = Option<i64>, Query, description = "Rows"),
        ("cursor" = Option<String>, Query, description = "Of the page before")),
    responses((status = 200, description = "Lots", body = Vec<LotView>)))]
pub async fn portfolio_lots(
    State(app): State<AppState>,
    caller: Caller<PortfoliosRead>,
    Path(id): Path<String>,
    mut query: Query,
) -> Result<(HeaderMap, Json<Vec<LotView>>), ApiError> {
    let known_at = reading::known_at(&app, &mut query).await?;
    let mut tx = app.db.read().await?;
    let portfolio = reading::portfolio_known(&mut tx, &caller, &id, known_at).await?;
    let account = query.text("account");
    let symbol = query.text("symbol");
    let limit = query.limit(HISTORY_ROWS);
    let after = query.cursor("lots").map_or(0, |after| after.key);
    let asked = Asked::of_query(&mut query, &portfolio, known_at);
    query.finish()?;
    let asset = match symbol {
        Some(symbol) => Some(reading::asset(&mut tx, &symbol).await?.key),
        None => None,
    };
    let ask = asked.ask(&mut tx, &portfolio).await?;
    let now = app.clock.now();
    let figures = app.presents.figures(&mut tx, &portfolio, (&ask, Detail::Lots), now).await?;
    let terms = Terms { zone: portfolio.time_zone, holding_period: figures.conventions.holding_period };
    let today = ask.as_of.unwrap_or(now);
    let mut views = Vec::new();
    for item in &figures.report.items {
        let asked_for = asset.is_none_or(|asset| asset == item.asset)
            && account.as_ref().is_none_or(|account| *account == item.account);
        let Some(known) = figures.assets.get(&item.asset).filter(|_| asked_for) else { continue };
        let key = HoldingKey { account: item.account.clone(), asset: item.asset };
        views.extend(item.lots.iter().map(|(lot, worth)| {
            LotView {
                account: item.account.clone(),
                symbol: known.symbol.clone(),
                position_id: figures.open.get(&key).copied(),
                transaction: lot.transaction,
                side: item.side,
                acquired_at: Time(lot.acquired_at),
                holding_days: tax::days_between(lot.acquired_at, today, terms.zone),
                tax_free_from: tax::free_from(lot.acquired_at, terms)
                    .filter(|_| item.side == Some(Side::Long))
                    .map(|day| day.to_string()),
                quantity: Amount(worth.quantity.clone()),
                currency: item.currency,
                unit_cost: amount(worth.average_cost().as_ref()),
                cost_basis: Amount(worth.cost_basis.own.clone()),
                market_value: Amount(worth.market_value.own.clone()),
                unrealized_pnl: Amount(worth.unrealized.own.clone()),
                cost_basis_base: amount(worth.cost_basis.base.as_ref()),
                market_value_base: amount(worth.market_value.base.as_ref()),
                unrealized_pnl_base: amount(worth.unrealized.base.as_ref()),
                unrealized_fx_pnl_base: amount(worth.unrealized_fx.as_ref()),
                price: item.price.as_ref().map(PriceUsedView::from),
            }
        }));
    }
    let skip = usize::try_from(after).unwrap_or_default();
    let take = usize::try_from(limit).unwrap_or_default();
    let more = views.len() > skip.saturating_add(take);
    let page: Vec<LotView> = views.into_iter().skip(skip).take(take).collect();
    let next = || query.next_link("lots", &After { key: after + limit, value: String::new() });
    Ok((if more { next() } else { HeaderMap::new() }, Json(page)))
}

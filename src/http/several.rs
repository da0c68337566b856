//! Several portfolios together, in one currency: their returns, and the sums of their profit and loss.

use crate::domain::currency::Currency;
use crate::domain::decimal::Decimal;
use crate::domain::ids::PortfolioId;
use crate::domain::moment::Moment;
use crate::domain::pnl::amounts::sum;
use crate::domain::pnl::report::Sums;
use crate::domain::portfolio::Portfolio;
use crate::domain::statistics::performance::{DAYS_A_YEAR, Gauge};
use crate::http::AppState;
use crate::http::auth::{Caller, PortfoliosRead};
use crate::http::conventions::OtherConventions;
use crate::http::error::{ApiError, FieldError};
use crate::http::query::{Query, ROWS};
use crate::http::reading;
use crate::http::returns::{DayMissing, MEASURES, ReturnsView, SpanAsked};
use crate::http::wire::{Amount, Time, amount};
use crate::storage::database::Tx;
use crate::storage::page::Page;
use crate::storage::portfolios::{self, PortfolioFilter, PortfolioSort};
use crate::storage::{currencies, rates};
use crate::workers::history::{self, Loaded};
use crate::workers::pnl_engine::Ask;
use crate::workers::present::Detail;
use axum::Json;
use axum::extract::State;
use chrono_tz::Tz;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use utoipa::ToSchema;

/// Which portfolios, and in which currency.
struct Wanted {
    ids: Vec<String>,
    owner_id: Option<String>,
    currency: Option<String>,
}

impl Wanted {
    fn of_query(query: &mut Query) -> Self {
        let ids = query.list("portfolio");
        if ids.len() > usize::try_from(ROWS).unwrap_or_default() {
            query.fault("portfolio", "too_many", format!("names more than {ROWS} portfolios"));
        }
        Self { ids, owner_id: query.text("owner_id"), currency: query.text("currency") }
    }

    /// The portfolios: those named, which the caller must see, or all it sees.
    async fn find(
        &self,
        tx: &mut Tx,
        caller: &Caller<PortfoliosRead>,
        known_at: Option<Moment>,
    ) -> Result<Vec<Portfolio>, ApiError> {
        if let Some(owner_id) = &self.owner_id {
            caller.may_own(owner_id)?;
        }
        let mut found: Vec<Portfolio> = Vec::new();
        let mut seen: BTreeSet<PortfolioId> = BTreeSet::new();
        for id in &self.ids {
            let portfolio = reading::portfolio_known(tx, caller, id, known_at).await?;
            if seen.insert(portfolio.id) {
                found.push(portfolio);
            }
        }
        if !self.ids.is_empty() {
            return Ok(found);
        }
        let own = (!caller.reach.any_owner).then(|| caller.reach.owner_id.clone());
        let only = caller.reach.portfolios.clone();
        let filter =
            PortfolioFilter { status: None, owner_id: self.owner_id.clone().or(own), text: None, only };
        let page = Page { sort: PortfolioSort::CreatedAt, descending: false, limit: ROWS + 1, after: None };
        let all = portfolios::list(tx, &filter, &page).await?;
        if i64::try_from(all.len()).is_ok_and(|count| count > ROWS) {
            return Err(fault("portfolio", "too_many", format!("there are more than {ROWS}: name some")));
        }
        for portfolio in all {
            match known_at {
                Some(then) => found.extend(portfolios::find_known(tx, portfolio.id, then).await?),
                None => found.push(portfolio),
            }
        }
        Ok(found)
    }

    /// The currency asked for; without one, the one that all portfolios share.
    async fn currency(&self, tx: &mut Tx, of: &[Portfolio]) -> Result<Currency, ApiError> {
        if let Some(code) = &self.currency {
            let unknown =
                || fault("currency", "unknown_currency", format!("`{code}` is not a known currency"));
            return currencies::find(tx, code).await?.ok_or_else(unknown);
        }
        let bases: BTreeSet<Currency> = of.iter().map(|portfolio| portfolio.base_currency).collect();
        let mut bases = bases.into_iter();
        match (bases.next(), bases.next()) {
            (Some(only), None) => Ok(only),
            (None, _) => Err(fault("currency", "required", "is required where there is no portfolio")),
            (Some(_), Some(_)) => Err(fault(
                "currency",
                "required",
                "is required where portfolios have different base currencies",
            )),
        }
    }
}

fn fault(parameter: &'static str, code: &'static str, detail: impl Into<String>) -> ApiError {
    ApiError::invalid(vec![FieldError::parameter(parameter, code, detail)])
}

/// The returns of one of several portfolios, in the currency of all.
#[derive(Debug, Serialize, ToSchema)]
pub struct OneOfSeveral {
    portfolio_id: PortfolioId,
    #[schema(example = "Test Portfolio")]
    name: String,
    base_currency: Currency,
    #[serde(flatten)]
    returns: ReturnsView,
}

/// The returns of several portfolios together.
#[derive(Debug, Serialize, ToSchema)]
pub struct TogetherReturns {
    #[schema(example = true)]
    success: bool,
    currency: Currency,
    #[schema(example = "2025-12-31")]
    from: String,
    #[schema(example = "2026-06-30")]
    to: String,
    #[schema(example = 181)]
    days: i64,
    known_at: Option<Time>,
    /// Daily returns in a year, for volatility, sharpe and sortino.
    #[schema(example = 365)]
    periods_per_year: i64,
    #[serde(flatten)]
    returns: ReturnsView,
    /// Each portfolio by itself.
    portfolios: Vec<OneOfSeveral>,
    /// Prices and rates that were missing, day by day.
    missing: Vec<DayMissing>,
    /// How each measure is computed.
    #[schema(example = json!({"simple_return": "gain / start_value"}))]
    measures: BTreeMap<&'static str, &'static str>,
}

/// Read the returns of several portfolios together
///
/// Values and flows of a day are converted at the rates of its end, so that gains by currency are in the returns. Days
/// are those of each portfolio's own zone.
#[utoipa::path(get, path = "/performance", operation_id = "performance", tag = "pnl",
    params(("portfolio" = Option<String>, Query, description = "Ids, repeated or separated by commas; all that the caller sees when left out"),
        ("owner_id" = Option<String>, Query, description = "Only portfolios of this owner"),
        ("currency" = Option<String>, Query, description = "Currency of the figures; may be left out where all portfolios share one"),
        ("from" = Option<String>, Query, description = "The day at whose end the span begins; the eve of the first entry when left out"),
        ("to" = Option<String>, Query, description = "The day at whose end it ends; today in UTC when left out"),
        ("known_at" = Option<String>, Query, description = "As known then"),
        ("annualize" = Option<bool>, Query, description = "Give annual forms for short spans too"),
        OtherConventions),
    responses((status = 200, description = "Returns", body = TogetherReturns)))]
pub async fn performance(
    State(app): State<AppState>,
    caller: Caller<PortfoliosRead>,
    mut query: Query,
) -> Result<Json<TogetherReturns>, ApiError> {
    let known_at = reading::known_at(&app, &mut query).await?;
    let wanted = Wanted::of_query(&mut query);
    let mut asked = SpanAsked::of_query(&mut query, Tz::UTC, known_at, app.clock.now());
    let annualize = query.flag("annualize");
    query.finish()?;
    let mut tx = app.db.read().await?;
    let portfolios = wanted.find(&mut tx, &caller, known_at).await?;
    let currency = wanted.currency(&mut tx, &portfolios).await?;
    asked.begin_with_all(&mut tx, &portfolios).await?;
    let mut loaded: Vec<Loaded> = Vec::with_capacity(portfolios.len());
    for portfolio in &portfolios {
        loaded.push(asked.load(&mut tx, portfolio, &[currency]).await?);
    }
    let mut missing = Vec::new();
    let mut each = Vec::with_capacity(portfolios.len());
    for (portfolio, one) in portfolios.iter().zip(&loaded) {
        let alone = history::together(std::slice::from_ref(one), currency, annualize)?;
        missing.extend(alone.gaps.iter().map(|(day, gap)| DayMissing::of(*day, *gap, one)));
        each.push(OneOfSeveral {
            portfolio_id: portfolio.id,
            name: portfolio.name.clone(),
            base_currency: portfolio.base_currency,
            returns: ReturnsView::from(&alone.whole),
        });
    }
    let whole = if loaded.is_empty() {
        Gauge::begin(asked.last_day(), Some(Decimal::ZERO)).finish(annualize)
    } else {
        history::together(&loaded, currency, annualize)?.whole
    };
    Ok(Json(TogetherReturns {
        success: true,
        currency,
        from: whole.first.to_string(),
        to: whole.last.to_string(),
        days: whole.days,
        known_at: known_at.map(Time),
        periods_per_year: DAYS_A_YEAR,
        returns: ReturnsView::from(&whole),
        portfolios: each,
        missing,
        measures: MEASURES.into_iter().collect(),
    }))
}

/// Sums of profit and loss. `null` where a rate is missing.
#[derive(Debug, Serialize, ToSchema)]
pub struct SumsView {
    total_value: Option<Amount>,
    cash: Option<Amount>,
    market_value: Option<Amount>,
    cost_basis: Option<Amount>,
    net_contributions: Option<Amount>,
    realized_pnl: Option<Amount>,
    unrealized_pnl: Option<Amount>,
    total_pnl: Option<Amount>,
    total_gain: Option<Amount>,
    income: Option<Amount>,
    fees: Option<Amount>,
    taxes: Option<Amount>,
    costs_apart: Option<Amount>,
    cash_fx_pnl: Option<Amount>,
}

/// The figures of [`SumsView`], in its order.
type Figures = [Option<Decimal>; 14];

fn figures_of(sums: &Sums) -> Figures {
    [
        sums.total_value(),
        sums.cash.clone(),
        sums.market_value(),
        sums.cost_basis.clone(),
        sums.net_contributions.clone(),
        sums.realized_pnl.clone(),
        sums.unrealized_pnl.clone(),
        sums.total_pnl(),
        sums.total_gain(),
        sums.income.clone(),
        sums.fees.clone(),
        sums.taxes.clone(),
        sums.costs_apart.clone(),
        sums.cash_fx_pnl.clone(),
    ]
}

impl From<&Figures> for SumsView {
    fn from(figures: &Figures) -> Self {
        let [
            total_value,
            cash,
            market_value,
            cost_basis,
            net_contributions,
            realized_pnl,
            unrealized_pnl,
            total_pnl,
            total_gain,
            income,
            fees,
            taxes,
            costs_apart,
            cash_fx_pnl,
        ] = figures.each_ref().map(|figure| amount(figure.as_ref()));
        Self {
            total_value,
            cash,
            market_value,
            cost_basis,
            net_contributions,
            realized_pnl,
            unrealized_pnl,
            total_pnl,
            total_gain,
            income,
            fees,
            taxes,
            costs_apart,
            cash_fx_pnl,
        }
    }
}

/// The profit and loss of one of several portfolios, in the currency of all.
#[derive(Debug, Serialize, ToSchema)]
pub struct OnePnl {
    portfolio_id: PortfolioId,
    #[schema(example = "Test Portfolio")]
    name: String,
    base_currency: Currency,
    #[serde(flatten)]
    sums: SumsView,
}

/// A rate that was missing.
#[derive(Debug, Serialize, ToSchema)]
pub struct MissingRateView {
    portfolio_id: PortfolioId,
    from: Currency,
    to: Currency,
    /// The moment it is needed for; `null` for the present one.
    at: Option<Time>,
}

/// The profit and loss of several portfolios together.
#[derive(Debug, Serialize, ToSchema)]
pub struct TogetherPnl {
    #[schema(example = true)]
    success: bool,
    currency: Currency,
    as_of: Option<Time>,
    known_at: Option<Time>,
    #[serde(flatten)]
    sums: SumsView,
    /// Each portfolio by itself.
    portfolios: Vec<OnePnl>,
    missing: Vec<MissingRateView>,
}

/// Read the profit and loss of several portfolios together
///
/// Each portfolio is computed in its base currency under its own conventions; every figure is then converted at the rate
/// of `as_of` and added up.
#[utoipa::path(get, path = "/pnl", operation_id = "pnl", tag = "pnl",
    params(("portfolio" = Option<String>, Query, description = "Ids, repeated or separated by commas; all that the caller sees when left out"),
        ("owner_id" = Option<String>, Query, description = "Only portfolios of this owner"),
        ("currency" = Option<String>, Query, description = "Currency of the figures; may be left out where all portfolios share one"),
        ("as_of" = Option<String>, Query, description = "At this moment, or at the end of this day in each portfolio's zone"),
        ("known_at" = Option<String>, Query, description = "As known then")),
    responses((status = 200, description = "Profit and loss", body = TogetherPnl)))]
pub async fn pnl(
    State(app): State<AppState>,
    caller: Caller<PortfoliosRead>,
    mut query: Query,
) -> Result<Json<TogetherPnl>, ApiError> {
    let known_at = reading::known_at(&app, &mut query).await?;
    let wanted = Wanted::of_query(&mut query);
    let shown_as_of = query.until("as_of", Tz::UTC);
    let mut zoned = query.clone();
    query.finish()?;
    let mut tx = app.db.read().await?;
    let portfolios = wanted.find(&mut tx, &caller, known_at).await?;
    let currency = wanted.currency(&mut tx, &portfolios).await?;
    let mut total: Figures = std::array::from_fn(|_| Some(Decimal::ZERO));
    let (mut each, mut missing) = (Vec::with_capacity(portfolios.len()), Vec::new());
    for portfolio in &portfolios {
        let as_of = zoned.until("as_of", portfolio.time_zone);
        let ask = Ask { as_of, known_at, conventions: None, traced: false };
        let figures =
            app.presents.figures(&mut tx, portfolio, (&ask, Detail::Holdings), app.clock.now()).await?;
        let at = as_of.unwrap_or(Moment::MAX);
        let base = portfolio.base_currency;
        let shown_at = |at: Moment| Some(at).filter(|at| *at != Moment::MAX).map(Time);
        missing.extend(figures.report.missing.iter().map(|rate| MissingRateView {
            portfolio_id: portfolio.id,
            from: rate.from,
            to: rate.to,
            at: shown_at(rate.at),
        }));
        let mut own = figures_of(&figures.report.sums);
        if base != currency {
            let rates = rates::newest(&mut tx, at, known_at.unwrap_or(Moment::MAX)).await?;
            if rates.rate(base, currency, at).is_none() {
                let portfolio_id = portfolio.id;
                missing.push(MissingRateView { portfolio_id, from: base, to: currency, at: shown_at(at) });
            }
            own = own.map(|figure| rates.convert(&figure?, base, currency, at));
        }
        for (total, own) in total.iter_mut().zip(&own) {
            *total = sum(total.as_ref(), own.as_ref());
        }
        each.push(OnePnl {
            portfolio_id: portfolio.id,
            name: portfolio.name.clone(),
            base_currency: base,
            sums: SumsView::from(&own),
        });
    }
    Ok(Json(TogetherPnl {
        success: true,
        currency,
        as_of: shown_as_of.map(Time),
        known_at: known_at.map(Time),
        sums: SumsView::from(&total),
        portfolios: each,
        missing,
    }))
}

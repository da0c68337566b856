//! Returns of a portfolio over a span of days: every kind side by side, of the whole, its accounts, assets and lots.

use crate::domain::currency::Currency;
use crate::domain::ids::{AssetKey, PortfolioId, TransactionId};
use crate::domain::moment::Moment;
use crate::domain::pnl::curve::{Gap, Level};
use crate::domain::portfolio::{LotScope, Portfolio};
use crate::domain::price::FUTURE_MAX;
use crate::domain::statistics::performance::{Beside, DAYS_A_YEAR, Fall, Performance};
use crate::domain::statistics::{Ratio, Undefined};
use crate::http::AppState;
use crate::http::auth::{Caller, PortfoliosRead};
use crate::http::conventions::{ConventionsView, GivenConventions, OtherConventions};
use crate::http::error::ApiError;
use crate::http::query::Query;
use crate::http::reading;
use crate::http::wire::{Amount, Time, amount};
use crate::storage::database::Tx;
use crate::storage::portfolios;
use crate::workers::history::{self, Loaded, Part, Span};
use axum::Json;
use axum::extract::{Path, State};
use chrono::NaiveDate;
use chrono_tz::Tz;
use serde::Serialize;
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// Most days of a span: a hundred years.
const DAYS_MAX: i64 = 36_600;

/// How each measure is computed, as every answer says it. More in `docs/PNL.md`.
pub const MEASURES: [(&str, &str); 9] = [
    ("span", "from the end of the day `from` to the end of the day `to`"),
    ("simple_return", "gain / start_value"),
    (
        "time_weighted_return",
        "daily, chained: (value + outflow) / (value of the eve + inflow); flows in at the start of a day, out at its end",
    ),
    (
        "money_weighted_return",
        "internal rate (XIRR, act/365) of start value, flows at their day and end value, over the span",
    ),
    ("annual", "(1 + return)^(365 / days) - 1; given for spans longer than a year, or with annualize=true"),
    ("max_drawdown", "greatest 1 - wealth / peak before it, wealth growing by the daily returns"),
    (
        "volatility",
        "standard deviation (n - 1) of daily returns x sqrt(periods_per_year); every calendar day counts",
    ),
    (
        "sharpe",
        "mean / standard deviation (n - 1) of daily returns x sqrt(periods_per_year), risk-free rate 0",
    ),
    ("sortino", "mean / sqrt(sum of squares of negative daily returns / n) x sqrt(periods_per_year)"),
];

/// Something that was missing on a day.
#[derive(Debug, Serialize, ToSchema)]
pub struct DayMissing {
    /// The day.
    #[schema(example = "2026-01-31")]
    date: String,
    /// `price` or `rate`.
    #[schema(example = "price", pattern = "^(price|rate)$")]
    kind: &'static str,
    /// The asset without a price.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "GOLD")]
    symbol: Option<String>,
    /// The currency without a rate
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<Currency>,
    /// to this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<Currency>,
}

impl DayMissing {
    /// Names what was missing on a day.
    pub fn of(day: NaiveDate, gap: Gap, loaded: &Loaded) -> Self {
        let symbol = |key: AssetKey| loaded.assets.get(&key).map(|asset| asset.symbol.clone());
        let date = day.to_string();
        match gap {
            Gap::Price(key) => Self { date, kind: "price", symbol: symbol(key), from: None, to: None },
            Gap::Rate(from) => {
                Self { date, kind: "rate", symbol: None, from: Some(from), to: Some(loaded.base) }
            }
        }
    }
}

/// A fall of wealth below its peak.
#[derive(Debug, Serialize, ToSchema)]
pub struct DrawdownView {
    /// As a fraction of the peak.
    fraction: Amount,
    /// Day of the peak.
    #[schema(example = "2026-01-05")]
    peak: String,
    /// Day on which wealth was lowest; `null` when it never fell.
    #[schema(example = "2026-02-11")]
    trough: Option<String>,
    /// First day after that on which it was at the peak again; `null` when it was not.
    #[schema(example = "2026-04-02")]
    recovered: Option<String>,
}

impl From<&Fall> for DrawdownView {
    fn from(fall: &Fall) -> Self {
        Self {
            fraction: Amount(fall.fraction.clone()),
            peak: fall.peak.to_string(),
            trough: fall.trough.map(|day| day.to_string()),
            recovered: fall.recovered.map(|day| day.to_string()),
        }
    }
}

/// Why figures are `null`, by name.
type Reasons = BTreeMap<&'static str, &'static str>;

fn noted(name: &'static str, value: &Ratio, reasons: &mut Reasons) -> Option<Amount> {
    match value {
        Ok(value) => Some(Amount(value.clone())),
        Err(Undefined(reason)) => {
            reasons.insert(name, *reason);
            None
        }
    }
}

/// The returns of a span. Ratios are fractions with 15 significant digits; amounts are exact.
#[derive(Debug, Serialize, ToSchema)]
pub struct ReturnsView {
    start_value: Option<Amount>,
    end_value: Option<Amount>,
    /// What came in less what went out.
    net_flow: Option<Amount>,
    /// `end_value - start_value - net_flow`.
    gain: Option<Amount>,
    simple_return: Option<Amount>,
    simple_return_annual: Option<Amount>,
    time_weighted_return: Option<Amount>,
    time_weighted_return_annual: Option<Amount>,
    /// Over the span.
    money_weighted_return: Option<Amount>,
    money_weighted_return_annual: Option<Amount>,
    /// Every internal rate a year, ascending.
    roots: Vec<Amount>,
    /// Whether there are several; then the one nearest zero was taken.
    #[schema(example = false)]
    ambiguous: bool,
    max_drawdown: Option<DrawdownView>,
    volatility: Option<Amount>,
    sharpe: Option<Amount>,
    sortino: Option<Amount>,
    /// Why a figure is `null`, by its name.
    #[schema(example = json!({}))]
    reasons: BTreeMap<&'static str, &'static str>,
}

impl From<&Performance> for ReturnsView {
    fn from(of: &Performance) -> Self {
        let mut reasons = Reasons::new();
        let mut note = |name, value: &Ratio| noted(name, value, &mut reasons);
        let mut view = Self {
            start_value: amount(of.start_value.as_ref()),
            end_value: amount(of.end_value.as_ref()),
            net_flow: amount(of.net_flow.as_ref()),
            gain: amount(of.gain.as_ref()),
            simple_return: note("simple_return", &of.simple_return),
            simple_return_annual: note("simple_return_annual", &of.simple_return_annual),
            time_weighted_return: note("time_weighted_return", &of.time_weighted_return),
            time_weighted_return_annual: note("time_weighted_return_annual", &of.time_weighted_return_annual),
            money_weighted_return: note("money_weighted_return", &of.money_weighted_return),
            money_weighted_return_annual: note(
                "money_weighted_return_annual",
                &of.money_weighted_return_annual,
            ),
            roots: of.irr.roots.iter().cloned().map(Amount).collect(),
            ambiguous: of.irr.ambiguous(),
            max_drawdown: of.max_drawdown.as_ref().ok().map(DrawdownView::from),
            volatility: note("volatility", &of.volatility),
            sharpe: note("sharpe", &of.sharpe),
            sortino: note("sortino", &of.sortino),
            reasons: Reasons::new(),
        };
        if let Err(Undefined(reason)) = &of.max_drawdown {
            reasons.insert("max_drawdown", *reason);
        }
        view.reasons = reasons;
        view
    }
}

/// The returns of a part of a portfolio.
#[derive(Debug, Serialize, ToSchema)]
pub struct PartReturns {
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "main")]
    account: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "GOLD")]
    symbol: Option<String>,
    /// The transaction that opened the lot.
    #[serde(skip_serializing_if = "Option::is_none")]
    lot: Option<TransactionId>,
    #[serde(flatten)]
    returns: ReturnsView,
}

/// A benchmark beside the portfolio, over the days on which something was invested.
#[derive(Debug, Serialize, ToSchema)]
pub struct BenchmarkView {
    #[schema(example = "GOLD")]
    symbol: String,
    /// Its return in the portfolio's currency.
    #[serde(rename = "return")]
    total: Option<Amount>,
    /// Time-weighted return of the portfolio less its return.
    excess_return: Option<Amount>,
    /// The same of the annual rates.
    tracking_difference: Option<Amount>,
    /// Standard deviation of the daily differences, a year.
    tracking_error: Option<Amount>,
    beta: Option<Amount>,
    correlation: Option<Amount>,
    /// Why a figure is `null`, by its name.
    #[schema(example = json!({}))]
    reasons: BTreeMap<&'static str, &'static str>,
}

impl BenchmarkView {
    fn of(symbol: String, beside: &Beside) -> Self {
        let mut reasons = Reasons::new();
        let mut note = |name, value: &Ratio| noted(name, value, &mut reasons);
        let (total, excess_return) =
            (note("return", &beside.total), note("excess_return", &beside.excess_return));
        let (tracking_difference, tracking_error) = (
            note("tracking_difference", &beside.tracking_difference),
            note("tracking_error", &beside.tracking_error),
        );
        let (beta, correlation) = (note("beta", &beside.beta), note("correlation", &beside.correlation));
        Self { symbol, total, excess_return, tracking_difference, tracking_error, beta, correlation, reasons }
    }
}

/// The returns of a portfolio over a span of days.
#[derive(Debug, Serialize, ToSchema)]
pub struct PortfolioReturns {
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
    /// Days between them.
    #[schema(example = 181)]
    days: i64,
    /// Zone in which the days are counted.
    #[schema(example = "UTC")]
    time_zone: String,
    known_at: Option<Time>,
    conventions: ConventionsView,
    /// Daily returns in a year, for volatility, sharpe and sortino.
    #[schema(example = 365)]
    periods_per_year: i64,
    #[serde(flatten)]
    returns: ReturnsView,
    #[serde(skip_serializing_if = "Option::is_none")]
    benchmark: Option<BenchmarkView>,
    /// The parts asked for with `by`.
    items: Vec<PartReturns>,
    /// Prices and rates that were missing, day by day.
    missing: Vec<DayMissing>,
    /// How each measure is computed.
    #[schema(example = json!({"simple_return": "gain / start_value"}))]
    measures: BTreeMap<&'static str, &'static str>,
}

/// What a read over time asks: days, knowledge, and the conventions it overrides.
#[derive(Debug)]
pub struct SpanAsked {
    span: Span,
    given: GivenConventions,
}

impl SpanAsked {
    /// Reads `from`, `to` and the conventions.
    pub fn of_query(query: &mut Query, zone: Tz, known_at: Option<Moment>, now: Moment) -> Self {
        let given = GivenConventions::of_query(query);
        Self { span: span_of_query(query, zone, known_at, now), given }
    }

    /// The same span without the days between its ends.
    #[must_use]
    pub const fn ends_only(mut self) -> Self {
        self.span.every_day = false;
        self
    }

    /// Loads the portfolio for the span, under its own conventions where the read names no others.
    ///
    /// # Errors
    /// The database's, and a span that turns out too long.
    pub async fn load(
        &self,
        tx: &mut Tx,
        portfolio: &Portfolio,
        also: &[Currency],
    ) -> Result<Loaded, ApiError> {
        let known_at = self.span.known_at.unwrap_or(Moment::MAX);
        let until = crate::domain::moment::end_of_day(self.span.to, portfolio.time_zone);
        let conventions = if self.given == GivenConventions::default() {
            None
        } else {
            Some(self.given.over(&portfolios::conventions(tx, portfolio.id, until, known_at).await?))
        };
        Ok(history::load(tx, portfolio, self.span, conventions, also).await?)
    }

    /// Lets the span begin on the eve of the first entry of all these portfolios, when no day was named.
    ///
    /// # Errors
    /// The database's.
    pub async fn begin_with_all(&mut self, tx: &mut Tx, of: &[Portfolio]) -> Result<(), ApiError> {
        if self.span.from.is_none() {
            let mut first: Option<NaiveDate> = None;
            for portfolio in of {
                let eve = history::eve_of_first_entry(tx, portfolio, self.span).await?;
                first = first.into_iter().chain(eve).min();
            }
            self.span.from = first;
        }
        Ok(())
    }

    /// The last day of the span.
    pub const fn last_day(&self) -> NaiveDate {
        self.span.to
    }
}

/// Reads `from` and `to`: days in `zone`; `to` is today, or the day of `known_at`, when left out.
pub fn span_of_query(query: &mut Query, zone: Tz, known_at: Option<Moment>, now: Moment) -> Span {
    let from = query.day("from");
    let today = known_at.unwrap_or(now).day_in(zone).unwrap_or_default();
    let to = query.day("to").unwrap_or(today);
    if now.plus(FUTURE_MAX).day_in(zone).is_some_and(|last| to > last) {
        query.fault("to", "in_the_future", "lies in the future");
    }
    if let Some(from) = from {
        let days = to.signed_duration_since(from).num_days();
        if days < 0 {
            query.fault("from", "after_to", "lies after to");
        } else if days > DAYS_MAX {
            query.fault("from", "too_long", format!("the span is longer than {DAYS_MAX} days"));
        }
    }
    Span { from, to, known_at, every_day: true }
}

/// Read a portfolio's returns
///
/// Simple, time-weighted and money-weighted return side by side, with drawdown, volatility, Sharpe and Sortino ratio,
/// each with its convention; by account, asset or lot; and beside a benchmark.
#[utoipa::path(get, path = "/portfolios/{portfolio}/performance", operation_id = "portfolio_performance", tag = "pnl",
    params(("portfolio" = String, Path, description = "Id"),
        ("from" = Option<String>, Query, description = "The day at whose end the span begins; the eve of the first entry when left out"),
        ("to" = Option<String>, Query, description = "The day at whose end it ends; today when left out"),
        ("known_at" = Option<String>, Query, description = "As known then"),
        ("by" = Option<String>, Query, description = "portfolio (default), account, asset or lot"),
        ("benchmark" = Option<String>, Query, description = "Symbol or id of an asset to hold it against"),
        ("annualize" = Option<bool>, Query, description = "Give annual forms for short spans too"),
        OtherConventions),
    responses((status = 200, description = "Returns", body = PortfolioReturns)))]
pub async fn portfolio_performance(
    State(app): State<AppState>,
    caller: Caller<PortfoliosRead>,
    Path(id): Path<String>,
    mut query: Query,
) -> Result<Json<PortfolioReturns>, ApiError> {
    let known_at = reading::known_at(&app, &mut query).await?;
    let mut tx = app.db.read().await?;
    let portfolio = reading::portfolio_known(&mut tx, &caller, &id, known_at).await?;
    let asked = SpanAsked::of_query(&mut query, portfolio.time_zone, known_at, app.clock.now());
    let level = query.one_of("by", Level::NAMES, Level::from_name).unwrap_or(Level::Portfolio);
    let benchmark = query.text("benchmark");
    let annualize = query.flag("annualize");
    query.finish()?;
    let benchmark = match benchmark {
        Some(name) => Some(reading::asset(&mut tx, &name).await?),
        None => None,
    };
    let also: Vec<Currency> = benchmark.iter().map(|asset| asset.currency).collect();
    let loaded = asked.load(&mut tx, &portfolio, &also).await?;
    if level == Level::Account && loaded.conventions.lot_scope == LotScope::Global {
        let detail = "under lot_scope global the lots belong to no account; ask with lot_scope=account";
        query.fault("by", "contradicts", detail);
        query.finish()?;
    }
    let returns = loaded.returns(level, annualize)?;
    let beside = match benchmark {
        Some(asset) => {
            let symbol = asset.symbol.clone();
            let benchmark = loaded.benchmark(&mut tx, asset, known_at).await?;
            let beside = returns.whole.beside(&loaded.worth_of(&benchmark), annualize);
            Some(BenchmarkView::of(symbol, &beside))
        }
        None => None,
    };
    let mut items: Vec<PartReturns> = returns.parts.iter().map(|part| part_view(part, &loaded)).collect();
    items.sort_by(|a, b| (&a.account, &a.symbol).cmp(&(&b.account, &b.symbol)));
    Ok(Json(PortfolioReturns {
        success: true,
        portfolio_id: portfolio.id,
        base_currency: portfolio.base_currency,
        from: returns.whole.first.to_string(),
        to: returns.whole.last.to_string(),
        days: returns.whole.days,
        time_zone: loaded.zone.to_string(),
        known_at: known_at.map(Time),
        conventions: ConventionsView::from(&loaded.conventions),
        periods_per_year: DAYS_A_YEAR,
        returns: ReturnsView::from(&returns.whole),
        benchmark: beside,
        items,
        missing: returns.gaps.iter().map(|(day, gap)| DayMissing::of(*day, *gap, &loaded)).collect(),
        measures: MEASURES.into_iter().collect(),
    }))
}

fn part_view((part, performance): &(Part, Performance), loaded: &Loaded) -> PartReturns {
    let symbol = |key: &AssetKey| loaded.assets.get(key).map(|asset| asset.symbol.clone());
    let (account, symbol, lot) = match part {
        Part::Account(name) => (Some(name.clone()), None, None),
        Part::Asset(key) => (None, symbol(key), None),
        Part::Lot((key, transaction)) => (None, symbol(key), Some(*transaction)),
    };
    PartReturns { account, symbol, lot, returns: ReturnsView::from(performance) }
}

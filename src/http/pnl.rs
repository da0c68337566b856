//! Profit and loss of a portfolio, for any moment, as known at any moment, under any convention.

use crate::domain::currency::Currency;
use crate::domain::ids::{AssetId, AssetKey, PortfolioId, PositionId, TransactionId};
use crate::domain::pnl::amounts::Amounts;
use crate::domain::pnl::book::HoldingKey;
use crate::domain::pnl::holding::{Side, Totals};
use crate::domain::pnl::report::{Item, PriceUsed, Sums, Worth};
use crate::http::AppState;
use crate::http::auth::{Caller, PortfoliosRead};
use crate::http::conventions::{Asked, ConventionsView, OtherConventions};
use crate::http::error::ApiError;
use crate::http::explain::{ExplanationView, Wanted, explanation};
use crate::http::performance::{FlagView, Missing, flags, missing, stale};
use crate::http::query::Query;
use crate::http::reading;
use crate::http::wire::{Amount, Time, amount};
use crate::named_enum;
use crate::telemetry;
use crate::workers::pnl_engine::{Ask, Figures};
use crate::workers::present::Detail;
use axum::Json;
use axum::extract::{Path, State};
use serde::Serialize;
use std::borrow::Cow;
use std::collections::BTreeMap;
use utoipa::ToSchema;

named_enum! {
    /// What `items` are grouped by.
    GroupBy {
        /// One item per asset.
        Asset = "asset",
        /// One item per account.
        Account = "account",
        /// One item per open lot.
        Lot = "lot",
    }
}

/// A price a value was computed with.
#[derive(Debug, Serialize, ToSchema)]
pub struct PriceUsedView {
    /// Per unit, split-adjusted to the units held.
    price: Amount,
    /// `quote`, or `trade` while the asset has no price.
    #[schema(example = "quote", pattern = "^(quote|trade)$")]
    price_basis: &'static str,
    observed_at: Time,
    recorded_at: Option<Time>,
    #[schema(example = "coinbase")]
    source: Option<String>,
    #[schema(example = "1d")]
    interval: Option<String>,
    /// Age in seconds at the moment of the valuation.
    #[schema(example = 3600)]
    age: i64,
    /// Whether it is older than the asset allows.
    #[schema(example = false)]
    stale: bool,
}

impl From<&PriceUsed> for PriceUsedView {
    fn from(used: &PriceUsed) -> Self {
        Self {
            price: Amount(used.price.clone()),
            price_basis: used.basis,
            observed_at: Time(used.observed_at),
            recorded_at: used.recorded_at.map(Time),
            source: used.source.clone(),
            interval: used.interval.clone(),
            age: used.age.div_euclid(1_000_000),
            stale: used.stale,
        }
    }
}

/// One group of a portfolio. Amounts are in `currency`; those ending in `_base` in base currency.
#[derive(Debug, Default, Serialize, ToSchema)]
pub struct ItemView {
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "main")]
    account: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "GOLD")]
    symbol: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    asset_id: Option<AssetId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    position_id: Option<PositionId>,
    /// Of a lot: the transaction that opened it.
    #[serde(skip_serializing_if = "Option::is_none")]
    transaction: Option<TransactionId>,
    /// Of a lot: when its units were acquired.
    #[serde(skip_serializing_if = "Option::is_none")]
    acquired_at: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    side: Option<Side>,
    /// Currency of the amounts without `_base`.
    currency: Option<Currency>,
    /// Units, negative when owed.
    #[serde(skip_serializing_if = "Option::is_none")]
    quantity: Option<Amount>,
    /// Remaining cost, negative for a short position.
    cost_basis: Option<Amount>,
    /// Cost of one unit.
    #[serde(skip_serializing_if = "Option::is_none")]
    avg_cost: Option<Amount>,
    /// Present value, negative for a short position.
    market_value: Option<Amount>,
    realized_pnl: Option<Amount>,
    realized_pnl_gross: Option<Amount>,
    unrealized_pnl: Option<Amount>,
    unrealized_pnl_gross: Option<Amount>,
    /// Realised + unrealised.
    total_pnl: Option<Amount>,
    income: Option<Amount>,
    fees: Option<Amount>,
    taxes: Option<Amount>,
    /// Units sold without a basis.
    #[serde(skip_serializing_if = "Option::is_none")]
    missing_quantity: Option<Amount>,
    cost_basis_base: Option<Amount>,
    market_value_base: Option<Amount>,
    realized_pnl_base: Option<Amount>,
    unrealized_pnl_base: Option<Amount>,
    total_pnl_base: Option<Amount>,
    income_base: Option<Amount>,
    fees_base: Option<Amount>,
    taxes_base: Option<Amount>,
    /// The currency part of realised profit.
    realized_fx_pnl_base: Option<Amount>,
    /// The currency part of unrealised profit.
    unrealized_fx_pnl_base: Option<Amount>,
    /// Cash, of an account.
    #[serde(skip_serializing_if = "Option::is_none")]
    cash_base: Option<Amount>,
    /// Net contributions, of an account.
    #[serde(skip_serializing_if = "Option::is_none")]
    net_contributions_base: Option<Amount>,
    #[serde(skip_serializing_if = "Option::is_none")]
    price: Option<PriceUsedView>,
}

/// Profit and loss of a portfolio. Top-level amounts are in base currency.
#[derive(Debug, Serialize, ToSchema)]
pub struct PnlView {
    #[schema(example = true)]
    success: bool,
    portfolio_id: PortfolioId,
    base_currency: Currency,
    /// Moment asked for; `null` for the present.
    as_of: Option<Time>,
    /// Knowledge asked for; `null` for everything.
    known_at: Option<Time>,
    /// Under which it was computed.
    conventions: ConventionsView,
    realized_pnl: Option<Amount>,
    realized_pnl_gross: Option<Amount>,
    /// The currency part of `realized_pnl`.
    realized_fx_pnl: Option<Amount>,
    unrealized_pnl: Option<Amount>,
    unrealized_pnl_gross: Option<Amount>,
    /// The currency part of `unrealized_pnl`.
    unrealized_fx_pnl: Option<Amount>,
    /// `realized_pnl + unrealized_pnl`.
    total_pnl: Option<Amount>,
    /// `total_value - net_contributions`: `total_pnl + income + cash_fx_pnl - costs_apart`.
    total_gain: Option<Amount>,
    /// Dividends and interest.
    income: Option<Amount>,
    dividends: Option<Amount>,
    fees: Option<Amount>,
    taxes: Option<Amount>,
    /// Fees and taxes neither in cost nor in realised profit.
    costs_apart: Option<Amount>,
    /// Currency gain on cash.
    cash_fx_pnl: Option<Amount>,
    cost_basis: Option<Amount>,
    market_value: Option<Amount>,
    cash: Option<Amount>,
    /// Cash in each currency.
    #[schema(example = json!({"USD": "60000"}))]
    cash_by_currency: BTreeMap<String, Amount>,
    net_contributions: Option<Amount>,
    total_value: Option<Amount>,
    missing: Vec<Missing>,
    /// Symbols whose price is older than the asset allows.
    #[schema(example = json!([]))]
    stale: Vec<String>,
    /// Rows that break a rule because of a corporate action.
    flags: Vec<FlagView>,
    items: Vec<ItemView>,
    /// What the figures are made of, when asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    explain: Option<ExplanationView>,
}

impl PnlView {
    /// Takes the groups out, for who writes them one by one.
    pub fn take_items(&mut self) -> Vec<ItemView> {
        std::mem::take(&mut self.items)
    }
}

/// Read a portfolio's profit and loss
///
/// `as_of` bounds the facts by the moment they are about, `known_at` by the moment they were learned. The conventions
/// of the portfolio apply unless the query names others.
#[utoipa::path(get, path = "/portfolios/{portfolio}/pnl", operation_id = "portfolio_pnl", tag = "pnl",
    params(("portfolio" = String, Path, description = "Id"),
        ("as_of" = Option<String>, Query, description = "At this moment, or at the end of this day in the portfolio's zone"),
        ("known_at" = Option<String>, Query, description = "As known then"),
        ("by" = Option<String>, Query, description = "asset (default), account or lot"),
        OtherConventions,
        ("explain" = Option<String>, Query, description = "true, or names of figures: what they are made of")),
    responses((status = 200, description = "Profit and loss", body = PnlView)))]
pub async fn portfolio_pnl(
    State(app): State<AppState>,
    caller: Caller<PortfoliosRead>,
    Path(id): Path<String>,
    mut query: Query,
) -> Result<Json<PnlView>, ApiError> {
    let known_at = reading::known_at(&app, &mut query).await?;
    let mut tx = app.db.read().await?;
    let portfolio = reading::portfolio_known(&mut tx, &caller, &id, known_at).await?;
    let by = query.one_of("by", GroupBy::NAMES, GroupBy::from_name).unwrap_or(GroupBy::Asset);
    let wanted = Wanted::of_query(&mut query);
    let asked = Asked::of_query(&mut query, &portfolio, known_at);
    query.finish()?;
    let ask = Ask { traced: wanted.is_some(), ..asked.ask(&mut tx, &portfolio).await? };
    let Ask { as_of, .. } = ask;
    let detail = if by == GroupBy::Lot { Detail::Lots } else { Detail::Holdings };
    let began = app.clock.elapsed();
    let figures = app.presents.figures(&mut tx, &portfolio, (&ask, detail), app.clock.now()).await?;
    let kind = if ask.is_present() { "present" } else { "past" };
    ::metrics::histogram!(telemetry::PNL_SECONDS, "kind" => kind)
        .record(app.clock.elapsed().saturating_sub(began));
    let items = match by {
        GroupBy::Asset => by_asset(&figures),
        GroupBy::Account => by_account(&figures),
        GroupBy::Lot => by_lot(&figures),
    };
    let sums = &figures.report.sums;
    Ok(Json(PnlView {
        success: true,
        portfolio_id: portfolio.id,
        base_currency: portfolio.base_currency,
        as_of: as_of.map(Time),
        known_at: known_at.map(Time),
        conventions: ConventionsView::from(&figures.conventions),
        realized_pnl: amount(sums.realized_pnl.as_ref()),
        realized_pnl_gross: amount(sums.realized_pnl_gross.as_ref()),
        realized_fx_pnl: amount(sums.realized_fx_pnl.as_ref()),
        unrealized_pnl: amount(sums.unrealized_pnl.as_ref()),
        unrealized_pnl_gross: amount(sums.unrealized_pnl_gross.as_ref()),
        unrealized_fx_pnl: amount(sums.unrealized_fx_pnl.as_ref()),
        total_pnl: amount(sums.total_pnl().as_ref()),
        total_gain: amount(sums.total_gain().as_ref()),
        income: amount(sums.income.as_ref()),
        dividends: amount(sums.dividends.as_ref()),
        fees: amount(sums.fees.as_ref()),
        taxes: amount(sums.taxes.as_ref()),
        costs_apart: amount(sums.costs_apart.as_ref()),
        cash_fx_pnl: amount(sums.cash_fx_pnl.as_ref()),
        cost_basis: amount(sums.cost_basis.as_ref()),
        market_value: amount(sums.market_value().as_ref()),
        cash: amount(sums.cash.as_ref()),
        cash_by_currency: figures
            .report
            .cash
            .iter()
            .map(|(currency, balance)| (currency.code().to_owned(), Amount(balance.clone())))
            .collect(),
        net_contributions: amount(sums.net_contributions.as_ref()),
        total_value: amount(sums.total_value().as_ref()),
        missing: missing(&figures),
        stale: stale(&figures),
        flags: flags(&figures),
        items,
        explain: wanted.and_then(|wanted| explanation(&figures, portfolio.base_currency, &wanted)),
    }))
}

fn own(amounts: &Amounts) -> Option<Amount> {
    amount(Some(&amounts.own))
}

fn base(amounts: &Amounts) -> Option<Amount> {
    amount(amounts.base.as_ref())
}

/// Present figures and sums of the holdings of one asset together.
fn together<'i>(items: &[&'i Item]) -> Option<(Cow<'i, Worth>, Cow<'i, Totals>)> {
    let (first, others) = items.split_first()?;
    let (mut worth, mut totals) = (Cow::Borrowed(&first.worth), Cow::Borrowed(&first.totals));
    for item in others {
        worth.to_mut().add(&item.worth);
        totals = Cow::Owned(totals.plus(&item.totals));
    }
    Some((worth, totals))
}

fn view(worth: &Worth, totals: &Totals, currency: Currency) -> ItemView {
    let total = &totals.realized + &worth.unrealized;
    ItemView {
        currency: Some(currency),
        quantity: Some(Amount(worth.quantity.clone())),
        cost_basis: own(&worth.cost_basis),
        avg_cost: amount(worth.cost_basis.own.abs().divide(&worth.quantity.abs()).as_ref()),
        market_value: own(&worth.market_value),
        realized_pnl: own(&totals.realized),
        realized_pnl_gross: own(&totals.realized_gross),
        unrealized_pnl: own(&worth.unrealized),
        unrealized_pnl_gross: own(&worth.unrealized_gross),
        total_pnl: own(&total),
        income: own(&totals.income),
        fees: own(&totals.fees),
        taxes: own(&totals.taxes),
        missing_quantity: Some(Amount(totals.missing_quantity.clone())).filter(|m| !m.0.is_zero()),
        cost_basis_base: base(&worth.cost_basis),
        market_value_base: base(&worth.market_value),
        realized_pnl_base: base(&totals.realized),
        unrealized_pnl_base: base(&worth.unrealized),
        total_pnl_base: base(&total),
        income_base: base(&totals.income),
        fees_base: base(&totals.fees),
        taxes_base: base(&totals.taxes),
        realized_fx_pnl_base: base(&totals.realized_fx),
        unrealized_fx_pnl_base: amount(worth.unrealized_fx.as_ref()),
        ..ItemView::default()
    }
}

fn by_asset(figures: &Figures) -> Vec<ItemView> {
    let mut groups: BTreeMap<AssetKey, Vec<&Item>> = BTreeMap::new();
    for item in &figures.report.items {
        groups.entry(item.asset).or_default().push(item);
    }
    let mut views = Vec::with_capacity(groups.len());
    for (key, items) in groups {
        let (Some(asset), Some(first)) = (figures.assets.get(&key), items.first()) else { continue };
        let Some((worth, totals)) = together(&items) else { continue };
        let priced = items.iter().find_map(|item| item.price.as_ref());
        views.push(ItemView {
            symbol: Some(asset.symbol.clone()),
            asset_id: Some(asset.id),
            price: priced.map(PriceUsedView::from),
            ..view(&worth, &totals, first.currency)
        });
    }
    views
}

fn by_lot(figures: &Figures) -> Vec<ItemView> {
    let (mut views, no_totals) = (Vec::new(), Totals::default());
    for item in &figures.report.items {
        let Some(asset) = figures.assets.get(&item.asset) else { continue };
        let key = HoldingKey { account: item.account.clone(), asset: item.asset };
        for (lot, worth) in &item.lots {
            views.push(ItemView {
                account: Some(item.account.clone()),
                symbol: Some(asset.symbol.clone()),
                asset_id: Some(asset.id),
                position_id: figures.open.get(&key).copied(),
                transaction: Some(lot.transaction),
                acquired_at: Some(Time(lot.acquired_at)),
                side: item.side,
                price: item.price.as_ref().map(PriceUsedView::from),
                ..view(worth, &no_totals, item.currency)
            });
        }
    }
    views
}

fn by_account(figures: &Figures) -> Vec<ItemView> {
    let view = |(name, sums): (&String, &Sums)| {
        let total = sums.total_pnl();
        ItemView {
            account: Some(name.clone()),
            cost_basis_base: amount(sums.cost_basis.as_ref()),
            market_value_base: amount(sums.market_value().as_ref()),
            realized_pnl_base: amount(sums.realized_pnl.as_ref()),
            unrealized_pnl_base: amount(sums.unrealized_pnl.as_ref()),
            total_pnl_base: amount(total.as_ref()),
            income_base: amount(sums.income.as_ref()),
            fees_base: amount(sums.fees.as_ref()),
            taxes_base: amount(sums.taxes.as_ref()),
            realized_fx_pnl_base: amount(sums.realized_fx_pnl.as_ref()),
            unrealized_fx_pnl_base: amount(sums.unrealized_fx_pnl.as_ref()),
            cash_base: amount(sums.cash.as_ref()),
            net_contributions_base: amount(sums.net_contributions.as_ref()),
            ..ItemView::default()
        }
    };
    figures.report.accounts.iter().map(view).collect()
}

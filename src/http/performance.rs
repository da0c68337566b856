//! The totals of a portfolio: the earlier service's thirteen fields, and what they left out.

use crate::domain::currency::Currency;
use crate::domain::decimal::Decimal;
use crate::domain::ids::{ActionId, PortfolioId, TransactionId};
use crate::domain::pnl::amounts::difference;
use crate::domain::pnl::book::actions::Flag;
use crate::domain::portfolio::{Portfolio, PortfolioStatus};
use crate::http::error::rule_code;
use crate::http::wire::{Amount, Time, amount};
use crate::workers::pnl_engine::{Ask, Figures};
use serde::Serialize;
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// A rate or price that some figure needed and did not have.
#[derive(Debug, Serialize, ToSchema)]
pub struct Missing {
    /// `rate`.
    #[schema(example = "rate")]
    kind: &'static str,
    from: Currency,
    to: Currency,
    /// The moment it is needed for; `null` for the present one.
    at: Option<Time>,
}

/// Names what was missing for a valuation.
pub fn missing(figures: &Figures) -> Vec<Missing> {
    let present = |at: crate::domain::moment::Moment| at != crate::domain::moment::Moment::MAX;
    let named = figures.report.missing.iter().map(|rate| Missing {
        kind: "rate",
        from: rate.from,
        to: rate.to,
        at: Some(rate.at).filter(|at| present(*at)).map(Time),
    });
    named.collect()
}

/// A row of the ledger that breaks a rule since a corporate action of its asset was recorded, replaced or voided. The
/// figures hold it as far as `short: allowed` lets them.
#[derive(Debug, Serialize, ToSchema)]
pub struct FlagView {
    /// The ledger entry; `null` when it is a corporate action itself.
    transaction: Option<TransactionId>,
    /// The corporate action, when it is one.
    action: Option<ActionId>,
    #[schema(example = "GOLD")]
    symbol: Option<String>,
    /// Stable code of the rule.
    #[schema(example = "insufficient_quantity", pattern = "^[a-z_]+$")]
    code: &'static str,
    /// The rule, for people.
    #[schema(example = "150 leave the position, but only 100 are held")]
    detail: String,
    /// Whether nothing of the row is in the figures.
    #[schema(example = false)]
    left_out: bool,
}

/// Names the rows that are flagged, in the order of the ledger.
pub fn flags(figures: &Figures) -> Vec<FlagView> {
    let view = |flag: &Flag| FlagView {
        transaction: Some(flag.transaction).filter(|_| !flag.asset_level),
        action: Some(ActionId(flag.transaction.0)).filter(|_| flag.asset_level),
        symbol: flag.asset.and_then(|key| figures.assets.get(&key)).map(|asset| asset.symbol.clone()),
        code: rule_code(&flag.error),
        detail: flag.error.to_string(),
        left_out: flag.left_out,
    };
    figures.book.flags.iter().map(view).collect()
}

/// Symbols of open positions whose price is older than the asset allows.
pub fn stale(figures: &Figures) -> Vec<String> {
    let old = figures.report.items.iter().filter(|item| item.price.as_ref().is_some_and(|price| price.stale));
    let mut symbols: Vec<String> =
        old.filter_map(|item| figures.assets.get(&item.asset)).map(|asset| asset.symbol.clone()).collect();
    symbols.dedup();
    symbols
}

/// Totals of a portfolio in base currency. A figure that needs a missing rate is `null`, and `missing` names it.
#[derive(Debug, Serialize, ToSchema)]
pub struct Performance {
    portfolio_id: PortfolioId,
    #[schema(example = "Test Portfolio")]
    name: String,
    status: PortfolioStatus,
    initial_capital: Decimal,
    /// Free cash: `cash - reserved`.
    current_capital: Option<Amount>,
    /// `long_market_value + short_market_value + reserved`.
    total_market_value: Option<Amount>,
    /// `current_capital + total_market_value`.
    total_value: Option<Amount>,
    /// Cost of open positions, each unsigned.
    total_cost_basis: Option<Amount>,
    unrealized_pnl: Option<Amount>,
    /// `total_value` less net contributions.
    total_pnl: Option<Amount>,
    /// `100 x total_pnl / initial_capital`; `null` when that is zero.
    total_pnl_percent: Option<Amount>,
    #[schema(example = 2)]
    open_positions: usize,
    #[schema(example = 0)]
    closed_positions: u64,
    base_currency: Currency,
    /// All cash, proceeds of short sales included.
    cash: Option<Amount>,
    /// Twice the opening value of open shorts.
    reserved: Option<Amount>,
    long_market_value: Option<Amount>,
    /// Below zero.
    short_market_value: Option<Amount>,
    net_exposure: Option<Amount>,
    gross_exposure: Option<Amount>,
    realized_pnl: Option<Amount>,
    /// Dividends and interest.
    income: Option<Amount>,
    fees: Option<Amount>,
    taxes: Option<Amount>,
    /// Currency gain on cash.
    cash_fx_pnl: Option<Amount>,
    net_contributions: Option<Amount>,
    /// Moment asked for; `null` for the present.
    as_of: Option<Time>,
    /// Knowledge asked for; `null` for everything.
    known_at: Option<Time>,
    /// Why a figure is `null`, by its name.
    #[schema(example = json!({}))]
    reasons: BTreeMap<&'static str, &'static str>,
    missing: Vec<Missing>,
    /// Symbols whose price is older than the asset allows.
    #[schema(example = json!([]))]
    stale: Vec<String>,
    /// Rows that break a rule because of a corporate action.
    flags: Vec<FlagView>,
}

impl Performance {
    /// The totals of a portfolio's figures.
    pub fn of(portfolio: &Portfolio, figures: &Figures, ask: &Ask) -> Self {
        let sums = &figures.report.sums;
        let total_pnl = difference(sums.total_value().as_ref(), sums.net_contributions.as_ref());
        let hundred = Decimal::from(100);
        let percent = total_pnl.as_ref().and_then(|pnl| (pnl * &hundred).divide(&portfolio.initial_capital));
        let mut reasons = BTreeMap::new();
        if percent.is_none() {
            let zero = portfolio.initial_capital.is_zero();
            reasons.insert(
                "total_pnl_percent",
                if zero { "initial_capital is zero" } else { "a rate is missing" },
            );
        }
        let items = &figures.report.items;
        Self {
            portfolio_id: portfolio.id,
            name: portfolio.name.clone(),
            status: portfolio.status,
            initial_capital: portfolio.initial_capital.clone(),
            current_capital: amount(sums.current_capital().as_ref()),
            total_market_value: amount(sums.total_market_value().as_ref()),
            total_value: amount(sums.total_value().as_ref()),
            total_cost_basis: amount(sums.total_cost_basis.as_ref()),
            unrealized_pnl: amount(sums.unrealized_pnl.as_ref()),
            total_pnl: amount(total_pnl.as_ref()),
            total_pnl_percent: amount(percent.as_ref()),
            open_positions: items.iter().filter(|item| item.side.is_some()).count(),
            closed_positions: items.iter().map(|item| item.cycles_closed).sum(),
            base_currency: portfolio.base_currency,
            cash: amount(sums.cash.as_ref()),
            reserved: amount(sums.reserved.as_ref()),
            long_market_value: amount(sums.long_market_value.as_ref()),
            short_market_value: amount(sums.short_market_value.as_ref()),
            net_exposure: amount(sums.net_exposure.as_ref()),
            gross_exposure: amount(sums.gross_exposure.as_ref()),
            realized_pnl: amount(sums.realized_pnl.as_ref()),
            income: amount(sums.income.as_ref()),
            fees: amount(sums.fees.as_ref()),
            taxes: amount(sums.taxes.as_ref()),
            cash_fx_pnl: amount(sums.cash_fx_pnl.as_ref()),
            net_contributions: amount(sums.net_contributions.as_ref()),
            as_of: ask.as_of.map(Time),
            known_at: ask.known_at.map(Time),
            reasons,
            missing: missing(figures),
            stale: stale(figures),
            flags: flags(figures),
        }
    }
}

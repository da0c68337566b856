//! Figures by the names of the golden files and of the truth cases, read off a report.

use super::ledger::Seen;
use artifact::domain::decimal::Decimal;
use artifact::domain::moment::Moment;
use artifact::domain::pnl::amounts::{Amounts, difference, sum};
use artifact::domain::pnl::book::LedgerError;
use artifact::domain::pnl::holding::{Side, Totals};
use artifact::domain::pnl::report::{Item, Sums, Worth};
use artifact::domain::portfolio::{FeeMode, TaxMode};
use artifact::domain::transaction::TransactionType;

/// One figure as it came out.
#[derive(Debug)]
pub(super) enum Figure {
    Number(Option<Decimal>),
    Text(String),
    /// Quantity, cost of one unit, and when it was acquired.
    Lots(Vec<(Decimal, Decimal, Moment)>),
}

/// The figure of this name: of one asset where the check names one, else of an account or the whole.
pub(super) fn figure(name: &str, seen: &Seen<'_>) -> Figure {
    if let Some(code) = name.strip_prefix("cash:") {
        return Figure::Number(Some(cash(code, seen)));
    }
    match name {
        "error" => Figure::Text(seen.refused.as_ref().map_or("", code).to_owned()),
        "missing" => Figure::Text(missing(seen)),
        "lots" => Figure::Lots(lots(seen)),
        "cash_base" => Figure::Number(seen.report.sums.cash.clone()),
        "net_contribution_base" => Figure::Number(contributions_with_costs(seen)),
        "unrealized_pnl_spot_total" => Figure::Number(unrealized_at_spot(seen)),
        _ if seen.check.asset.is_some() => Figure::Number(of_items(name, seen)),
        _ => {
            let sums = match &seen.check.account {
                Some(account) => seen.report.accounts.get(account).cloned().unwrap_or_default(),
                None => seen.report.sums.clone(),
            };
            Figure::Number(of_sums(name, &sums))
        }
    }
}

fn code(error: &LedgerError) -> &'static str {
    match error {
        LedgerError::InsufficientQuantity { .. } => "insufficient_quantity",
        LedgerError::Lots(_) => "lots",
        LedgerError::NoRate(_) => "no_rate",
        LedgerError::MarginedDelivery => "margined_delivery",
        LedgerError::DeliveryIntoShort => "delivery_into_short",
        LedgerError::InverseAtZero => "inverse_at_zero",
        LedgerError::NoTerms => "no_terms",
    }
}

fn cash(code: &str, seen: &Seen<'_>) -> Decimal {
    let accounts = seen.book.accounts.iter();
    let asked =
        accounts.filter(|(name, _)| seen.check.account.as_ref().is_none_or(|account| account == *name));
    let cash = asked.flat_map(|(_, state)| &state.cash).filter(|(currency, _)| currency.code() == code);
    cash.map(|(_, cash)| cash.balance.clone()).sum()
}

fn missing(seen: &Seen<'_>) -> String {
    let day = |at: Moment| at.to_string().chars().take(10).collect::<String>();
    let named = seen.report.missing.iter().map(|rate| format!("{}>{}@{}", rate.from, rate.to, day(rate.at)));
    named.collect::<Vec<_>>().join(",")
}

fn items<'a>(seen: &'a Seen<'_>) -> Vec<&'a Item> {
    let of_account =
        |item: &&Item| seen.check.account.as_ref().is_none_or(|account| *account == item.account);
    seen.report.items.iter().filter(|item| Some(item.asset) == seen.check.asset).filter(of_account).collect()
}

fn lots(seen: &Seen<'_>) -> Vec<(Decimal, Decimal, Moment)> {
    let lots = items(seen).into_iter().flat_map(|item| &item.lots);
    lots.map(|(lot, worth)| (lot.quantity.clone(), worth.average_cost().unwrap_or_default(), lot.acquired_at))
        .collect()
}

/// The truth cases count the in-cost fee of a delivery into the contribution; our net flows leave it out.
fn contributions_with_costs(seen: &Seen<'_>) -> Option<Decimal> {
    let mut total = seen.report.sums.net_contributions.clone()?;
    for t in seen.transactions.iter().filter(|t| t.kind == TransactionType::TransferIn) {
        let mut costs = Decimal::ZERO;
        if seen.conventions.fees == FeeMode::InCost {
            costs += &t.fee;
        }
        if seen.conventions.taxes == TaxMode::InCost {
            costs += &t.tax;
        }
        let currency = t.currency.unwrap_or(seen.base);
        total += &seen.rates.convert(&costs, currency, seen.base, t.executed_at)?;
    }
    // What the delivery took out again is already at the cost that includes them.
    Some(total)
}

fn unrealized_at_spot(seen: &Seen<'_>) -> Option<Decimal> {
    let gains = seen
        .report
        .items
        .iter()
        .map(|item| seen.rates.convert(&item.worth.unrealized.own, item.currency, seen.base, seen.at));
    gains.sum()
}

fn base(items: &[&Item], pick: impl Fn(&Item) -> &Amounts) -> Option<Decimal> {
    items.iter().map(|item| pick(item).base.clone()).sum()
}

/// An amount of one asset, by the name it has in its own currency.
fn amounts<'a>(name: &str, worth: &'a Worth, totals: &'a Totals) -> Option<&'a Amounts> {
    Some(match name {
        "cost_basis" => &worth.cost_basis,
        "opening_gross" => &worth.opening_gross,
        "market_value" => &worth.market_value,
        "notional" => &worth.notional,
        "unrealized_pnl" => &worth.unrealized,
        "unrealized_pnl_gross" => &worth.unrealized_gross,
        "realized_pnl" => &totals.realized,
        "realized_pnl_gross" => &totals.realized_gross,
        "dividends" => &totals.income,
        "fees" => &totals.fees,
        "taxes" => &totals.taxes,
        "costs_apart" => &totals.costs_apart,
        _ => return None,
    })
}

fn of_items(name: &str, seen: &Seen<'_>) -> Option<Decimal> {
    let items = items(seen);
    let total = |name: &str, in_base: bool| -> Option<Decimal> {
        let pick = |item: &Item| amounts(name, &item.worth, &item.totals).unwrap().clone();
        let picked: Vec<Amounts> = items.iter().map(|item| pick(item)).collect();
        if in_base {
            picked.into_iter().map(|a| a.base).sum()
        } else {
            Some(picked.into_iter().map(|a| a.own).sum())
        }
    };
    let plain = name.strip_suffix("_base").unwrap_or(name);
    let in_base = plain != name;
    let quantity: Decimal = items.iter().map(|item| item.worth.quantity.clone()).sum();
    match plain {
        "quantity" => Some(quantity),
        // Signs as the truth cases have them: the notional of a short contract is shown without one.
        "notional" => total("notional", in_base).map(|value| value.abs()),
        "avg_cost" if quantity.is_zero() => None,
        "avg_cost" => total("cost_basis", false)?.divide(&quantity),
        "avg_entry" => items.first().and_then(|item| item.worth.average_entry(seen.terms(item.asset))),
        "total_pnl" | "gross_pnl" => {
            sum(total("realized_pnl", in_base).as_ref(), total("unrealized_pnl", in_base).as_ref())
        }
        "net_pnl" => {
            let gross =
                sum(total("realized_pnl", in_base).as_ref(), total("unrealized_pnl", in_base).as_ref());
            difference(gross.as_ref(), total("fees", in_base).as_ref())
        }
        "realized_fx_pnl" => base(&items, |item| &item.totals.realized_fx),
        "unrealized_fx_pnl" => items.iter().map(|item| item.worth.unrealized_fx.clone()).sum(),
        "missing_quantity" => Some(items.iter().map(|item| item.totals.missing_quantity.clone()).sum()),
        "realized_pnl_cycle" => Some(realized_of_cycle(seen)),
        "fees_cycle" => Some(last_cycle(seen).map(|totals| totals.fees.own).unwrap_or_default()),
        "cost_removed" => {
            let short = |item: &Item| item.side == Some(Side::Short);
            let remaining = |item: &&Item| item.worth.cost_basis.clone().signed(short(item)).own;
            Some(cost_entered(seen) - items.iter().map(remaining).sum::<Decimal>())
        }
        plain => {
            assert!(
                items.iter().all(|item| amounts(plain, &item.worth, &item.totals).is_some()),
                "no figure {name}"
            );
            total(plain, in_base)
        }
    }
}

/// Sums of the open position of the asset, or else of the last one closed.
fn last_cycle(seen: &Seen<'_>) -> Option<Totals> {
    let (_, holding) = seen.book.holdings.iter().find(|(key, _)| Some(key.asset) == seen.check.asset)?;
    match &holding.cycle {
        Some(cycle) => Some(holding.totals.since(&cycle.totals)),
        None => seen.book.closed.last().map(|(_, cycle)| cycle.totals.clone()),
    }
}

fn realized_of_cycle(seen: &Seen<'_>) -> Decimal {
    last_cycle(seen).map(|totals| totals.realized.own).unwrap_or_default()
}

/// Cost of everything that ever entered a position of the asset.
fn cost_entered(seen: &Seen<'_>) -> Decimal {
    let open = seen.book.holdings.iter().filter_map(|(key, holding)| Some((key, holding.cycle.as_ref()?)));
    let all = open.chain(seen.book.closed.iter().map(|(key, cycle)| (key, cycle)));
    all.filter(|(key, _)| Some(key.asset) == seen.check.asset)
        .map(|(_, cycle)| cycle.entered_cost.clone())
        .sum()
}

fn of_sums(name: &str, sums: &Sums) -> Option<Decimal> {
    match name {
        "cash" => sums.cash.clone(),
        "reserved" => sums.reserved.clone(),
        "current_capital" => sums.current_capital(),
        "long_market_value" => sums.long_market_value.clone(),
        "short_market_value" => sums.short_market_value.clone(),
        "market_value" => sums.market_value(),
        "total_market_value" => sums.total_market_value(),
        "total_value" => sums.total_value(),
        "net_exposure" => sums.net_exposure.clone(),
        "gross_exposure" => sums.gross_exposure.clone(),
        "total_cost_basis" => sums.total_cost_basis.clone(),
        "cost_basis" => sums.cost_basis.clone(),
        "realized_pnl" => sums.realized_pnl.clone(),
        "realized_pnl_gross" => sums.realized_pnl_gross.clone(),
        "realized_fx_pnl" => sums.realized_fx_pnl.clone(),
        "unrealized_pnl" => sums.unrealized_pnl.clone(),
        "unrealized_pnl_gross" => sums.unrealized_pnl_gross.clone(),
        "unrealized_fx_pnl" => sums.unrealized_fx_pnl.clone(),
        "income" => sums.income.clone(),
        "dividends" => sums.dividends.clone(),
        "fees" => sums.fees.clone(),
        "taxes" => sums.taxes.clone(),
        "costs_apart" => sums.costs_apart.clone(),
        "cash_fx_pnl" => sums.cash_fx_pnl.clone(),
        "net_contributions" => sums.net_contributions.clone(),
        "internal_transfers" => sums.internal_transfers.clone(),
        "total_pnl" => sums.total_pnl(),
        "total_gain" => sums.total_gain(),
        _ => panic!("no figure {name}"),
    }
}

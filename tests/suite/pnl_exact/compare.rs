//! Every figure of the engine's report beside the reference's.

use super::ledger::{Reference, Totals};
use super::lots::Lot;
use super::number::{Base, Money, Number};
use super::valuation::{Item, Report, Sums, Worth};
use artifact::domain::decimal::Decimal;
use artifact::domain::pnl::amounts::Amounts;
use artifact::domain::pnl::book::HoldingKey;
use artifact::domain::pnl::holding::{self as engine_holding, Side};
use artifact::domain::pnl::lots as engine_lots;
use artifact::domain::pnl::report as engine;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// How often a figure was compared, and how.
#[derive(Default, Debug)]
pub(super) struct Seen {
    pub(super) exact: usize,
    pub(super) rounded: usize,
    pub(super) unknown: usize,
}

/// What was compared, and what is wrong.
#[derive(Default)]
pub(super) struct Comparison {
    pub(super) seen: BTreeMap<&'static str, Seen>,
    pub(super) faults: Vec<String>,
    place: String,
}

impl Comparison {
    fn fault(&mut self, what: &str, fault: &str) {
        self.faults.push(format!("{}{what} {fault}", self.place));
    }

    fn same<V: PartialEq + std::fmt::Debug>(&mut self, what: &str, engine: &V, reference: &V) {
        if engine != reference {
            self.fault(what, &format!("is {engine:?} and not {reference:?}"));
        }
    }

    fn number(&mut self, name: &'static str, engine: &Decimal, reference: &Number) {
        let seen = self.seen.entry(name).or_default();
        if reference.is_exact() {
            seen.exact += 1;
        } else {
            seen.rounded += 1;
        }
        if let Some(fault) = reference.fault(engine) {
            self.fault(name, &fault);
        }
    }

    fn known(&mut self, name: &'static str, engine: Option<&Decimal>, reference: Option<&Number>) {
        match (engine, reference) {
            (Some(engine), Some(reference)) => self.number(name, engine, reference),
            (None, None) => self.seen.entry(name).or_default().unknown += 1,
            (engine, reference) => self.fault(name, &format!("is {engine:?} and not {reference:?}")),
        }
    }

    fn base(&mut self, name: &'static str, engine: Option<&Decimal>, reference: &Base) {
        self.known(name, engine, reference.as_ref());
    }

    fn money(&mut self, name: &'static str, engine: &Amounts, reference: &Money) {
        self.number(name, &engine.own, &reference.own);
        let outer = self.place.clone();
        self.place.push_str("in base ");
        self.base(name, engine.base.as_ref(), &reference.base);
        self.place = outer;
    }

    fn sums(&mut self, engine: &engine::Sums, reference: &Sums) {
        for (name, figure) in [
            ("cash", &engine.cash),
            ("reserved", &engine.reserved),
            ("long_market_value", &engine.long_market_value),
            ("short_market_value", &engine.short_market_value),
            ("net_exposure", &engine.net_exposure),
            ("gross_exposure", &engine.gross_exposure),
            ("total_cost_basis", &engine.total_cost_basis),
            ("cost_basis", &engine.cost_basis),
            ("realized_pnl", &engine.realized_pnl),
            ("realized_pnl_gross", &engine.realized_pnl_gross),
            ("realized_fx_pnl", &engine.realized_fx_pnl),
            ("unrealized_pnl", &engine.unrealized_pnl),
            ("unrealized_fx_pnl", &engine.unrealized_fx_pnl),
            ("unrealized_pnl_gross", &engine.unrealized_pnl_gross),
            ("income", &engine.income),
            ("dividends", &engine.dividends),
            ("fees", &engine.fees),
            ("taxes", &engine.taxes),
            ("costs_apart", &engine.costs_apart),
            ("cash_fx_pnl", &engine.cash_fx_pnl),
            ("net_contributions", &engine.net_contributions),
            ("internal_transfers", &engine.internal_transfers),
        ] {
            self.base(name, figure.as_ref(), &reference[name]);
        }
    }

    fn worth(&mut self, engine: &engine::Worth, reference: &Worth) {
        self.number("quantity", &engine.quantity, &reference.quantity);
        self.money("opening_gross", &engine.opening_gross, &reference.opening_gross);
        self.money("cost_basis", &engine.cost_basis, &reference.cost_basis);
        self.known("average_cost", engine.average_cost().as_ref(), reference.average_cost.as_ref());
        self.money("market_value", &engine.market_value, &reference.market_value);
        self.money("notional", &engine.notional, &reference.notional);
        self.money("unrealized_gross", &engine.unrealized_gross, &reference.unrealized_gross);
        self.money("unrealized", &engine.unrealized, &reference.unrealized);
        self.base("unrealized_fx", engine.unrealized_fx.as_ref(), &reference.unrealized_fx);
    }

    fn lot(&mut self, (lot, worth): &(engine_lots::Lot, engine::Worth), reference: &(Lot, Worth)) {
        let (expected, expected_worth) = reference;
        self.same("acquired_at", &lot.acquired_at, &expected.acquired);
        self.same("opening transaction", &lot.transaction, &expected.opener);
        self.number("lot quantity", &lot.quantity, &expected.quantity);
        self.money("lot gross", &lot.gross, &expected.gross);
        self.money("lot costs", &lot.costs, &expected.costs);
        self.worth(worth, expected_worth);
    }

    fn item(&mut self, item: &engine::Item, expected: &Item, priced: &engine::Priced) {
        let side = expected.short.map(|short| if short { Side::Short } else { Side::Long });
        self.same("side", &item.side, &side);
        self.same("currency", &item.currency, &expected.currency);
        self.same("cycles_closed", &item.cycles_closed, &expected.closed);
        self.same("margined", &item.margined, &priced.terms.margined);
        self.worth(&item.worth, &expected.worth);
        let entry = item.worth.average_entry(&priced.terms);
        self.known("average_entry", entry.as_ref(), expected.worth.average_entry.as_ref());
        self.totals(&item.totals, &expected.totals);
        match (&item.price, &expected.used) {
            (Some(price), Some(used)) => {
                self.number("price", &price.price, &used.price);
                self.same("price_basis", &price.basis, &used.basis);
                self.same("observed_at", &price.observed_at, &used.observed_at);
            }
            (None, None) => {}
            (engine, reference) => self.fault("price", &format!("is {engine:?} and not {reference:?}")),
        }
        let keys = |lots: usize| format!("{lots} lots");
        self.same("number of lots", &keys(item.lots.len()), &keys(expected.lots.len()));
        for (index, (lot, expected)) in item.lots.iter().zip(&expected.lots).enumerate() {
            let outer = self.place.clone();
            write!(self.place, "lot {index}: ").unwrap();
            self.lot(lot, expected);
            self.place = outer;
        }
    }

    fn totals(&mut self, totals: &engine_holding::Totals, sums: &Totals) {
        for (name, engine, reference) in [
            ("realized_gross", &totals.realized_gross, &sums.realized_gross),
            ("realized", &totals.realized, &sums.realized),
            ("income of a holding", &totals.income, &sums.income),
            ("fees of a holding", &totals.fees, &sums.fees),
            ("taxes of a holding", &totals.taxes, &sums.taxes),
            ("costs_apart of a holding", &totals.costs_apart, &sums.costs_apart),
        ] {
            self.money(name, engine, reference);
        }
        self.base("realized_fx", totals.realized_fx.base.as_ref(), &sums.realized_fx);
        self.number("missing_quantity", &totals.missing_quantity, &sums.missing_quantity);
    }

    /// Compares the positions that ended.
    pub(super) fn ended(
        &mut self,
        closed: &[(HoldingKey, engine_holding::Cycle)],
        reference: &Reference<'_>,
    ) {
        self.same("positions that ended", &closed.len(), &reference.ended.len());
        for ((key, cycle), (holding, closed_at, expected)) in closed.iter().zip(&reference.ended) {
            self.place = format!("position {} in {} of {}: ", expected.ordinal, holding.1.0, holding.0);
            self.same("holding", &(key.account.clone(), key.asset), holding);
            self.same("ordinal", &cycle.ordinal, &expected.ordinal);
            self.same("short", &(cycle.side == Side::Short), &expected.short);
            self.same("opened_at", &cycle.opened_at, &expected.opened_at);
            self.same("closed_at", &cycle.closed_at, &Some(*closed_at));
            self.number("entered_quantity", &cycle.entered_quantity, &expected.entered_quantity);
            self.number("entered_cost", &cycle.entered_cost, &expected.entered_cost);
            self.number("exited_quantity", &cycle.exited_quantity, &expected.exited_quantity);
            self.number("exited_gross", &cycle.exited_gross, &expected.exited_gross);
            self.totals(&cycle.totals, &expected.totals);
        }
        self.place.clear();
    }

    /// Compares two reports.
    pub(super) fn report(
        &mut self,
        report: &engine::Report,
        expected: &Report,
        prices: &BTreeMap<artifact::domain::ids::AssetKey, engine::Priced>,
    ) {
        for (name, sums) in &expected.accounts {
            self.place = format!("account {name}: ");
            // An account in which nothing but a split was entered need not be there.
            self.sums(report.accounts.get(name).unwrap_or(&engine::Sums::default()), sums);
        }
        self.place.clear();
        let unknown: Vec<_> =
            report.accounts.keys().filter(|name| !expected.accounts.contains_key(*name)).collect();
        self.same("unknown accounts", &unknown, &Vec::new());
        self.place = "whole: ".to_owned();
        self.sums(&report.sums, &expected.sums);
        let nothing = (Decimal::ZERO, Number::zero());
        let mut currencies: Vec<_> = report.cash.keys().chain(expected.cash.keys()).collect();
        currencies.sort_by_key(|currency| currency.code());
        currencies.dedup();
        for currency in currencies {
            self.place = format!("{currency}: ");
            let engine = report.cash.get(currency).unwrap_or(&nothing.0);
            self.number("cash by currency", engine, expected.cash.get(currency).unwrap_or(&nothing.1));
        }
        self.place.clear();
        let keys: Vec<_> = report.items.iter().map(|item| (item.account.clone(), item.asset)).collect();
        let expected_keys: Vec<_> = expected.items.iter().map(|item| item.key.clone()).collect();
        self.same("holdings", &keys, &expected_keys);
        for (item, expected) in report.items.iter().zip(&expected.items) {
            self.place = format!("{} of {}: ", expected.key.1.0, expected.key.0);
            self.item(item, expected, &prices[&expected.key.1]);
        }
        self.place.clear();
    }
}

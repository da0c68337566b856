//! What each figure of a report is made of: its formula, and terms whose amounts add up to it exactly.
//!
//! A term is as near to the recorded facts as the engine goes: a lot that was closed, an amount that was booked, a
//! holding at its price and rate. Whoever adds the amounts up, and recomputes each from its own details, must come to
//! the figure without this engine.

use crate::domain::currency::Currency;
use crate::domain::decimal::Decimal;
use crate::domain::fx::{Rate, Rates};
use crate::domain::ids::{AssetKey, TransactionId};
use crate::domain::moment::Moment;
use crate::domain::pnl::amounts::{Amounts, difference};
use crate::domain::pnl::book::Book;
use crate::domain::pnl::report::{Item, PriceUsed, Report, Sums, Worth};
use crate::domain::pnl::trace::{Closed, Disposal, Posting, PostingKind, Trace};
use crate::domain::transaction::{Transaction, TransactionType};
use std::collections::HashMap;

/// A detail of a term.
#[derive(Debug, Clone)]
pub enum Detail {
    /// A number; `None` where a rate was missing.
    Number(Option<Decimal>),
    /// A moment.
    Moment(Moment),
    /// A transaction.
    Transaction(TransactionId),
    /// A rate of exchange.
    Rate(Rate),
    /// A price.
    Price(PriceUsed),
    /// Open lots: opening transaction, date, units, cost in own currency and in base.
    Lots(Vec<(TransactionId, Moment, Decimal, Amounts)>),
    /// A name.
    Name(&'static str),
}

/// One part of a figure.
#[derive(Debug, Clone)]
pub struct Term {
    /// What it is: a kind of posting or disposal, `holding`, `cash`, or `figure`.
    pub kind: &'static str,
    /// What it adds to the figure; `None` where a rate was missing.
    pub amount: Option<Decimal>,
    /// Its account.
    pub account: Option<String>,
    /// Its asset.
    pub asset: Option<AssetKey>,
    /// Currency of its own amounts.
    pub currency: Option<Currency>,
    /// What its amount is computed from.
    pub details: Vec<(&'static str, Detail)>,
}

/// A figure, explained.
#[derive(Debug, Clone)]
pub struct Explained {
    /// Its name.
    pub figure: String,
    /// How a term's amount comes from its details, and the figure from its terms.
    pub formula: &'static str,
    /// The figure, as the report has it.
    pub value: Option<Decimal>,
    /// Its terms. Their amounts add up to it.
    pub terms: Vec<Term>,
}

/// Everything an explanation looks at.
#[derive(Clone, Copy)]
pub struct Evidence<'a> {
    /// The traced book.
    pub book: &'a Book,
    /// Its valuation.
    pub report: &'a Report,
    /// The entries it was folded from.
    pub ledger: &'a [Transaction],
    /// The rates it was folded and valued with.
    pub rates: &'a Rates,
    /// Currency of the totals.
    pub base: Currency,
    /// Moment whose rates convert present values.
    pub at: Moment,
}

/// Names of the figures that can be explained; beside them there is `cash:` with each currency.
pub const FIGURES: [&str; 22] = [
    "realized_pnl",
    "realized_pnl_gross",
    "realized_fx_pnl",
    "unrealized_pnl",
    "unrealized_pnl_gross",
    "unrealized_fx_pnl",
    "total_pnl",
    "total_gain",
    "income",
    "dividends",
    "fees",
    "taxes",
    "costs_apart",
    "cash_fx_pnl",
    "cost_basis",
    "market_value",
    "cash",
    "net_contributions",
    "total_value",
    "reserved",
    "current_capital",
    "total_market_value",
];

impl Term {
    fn figure(name: &'static str, amount: Option<Decimal>) -> Self {
        Self {
            kind: "figure",
            amount,
            account: None,
            asset: None,
            currency: None,
            details: vec![("figure", Detail::Name(name))],
        }
    }
}

/// Whether no rate of this currency makes the base amount of the own one: units that leave take the cost they were
/// bought at with them, and a rate agreed on may be one of another currency.
fn has_its_own_base(p: &Posting, t: &Transaction) -> bool {
    let carried = t.kind == TransactionType::TransferOut && p.kind == PostingKind::Contribution;
    carried || (t.fx_rate.is_some() && t.currency.is_some_and(|own| own != p.currency))
}

impl Evidence<'_> {
    /// Explains the figures of these names, and under `cash` also the balance of each currency.
    pub fn explain(&self, wanted: impl Fn(&str) -> bool) -> Vec<Explained> {
        let mut explained: Vec<Explained> =
            FIGURES.into_iter().filter(|name| wanted(name)).filter_map(|name| self.figure(name)).collect();
        if wanted("cash") {
            explained
                .extend(self.report.cash.iter().map(|(currency, balance)| self.balance(*currency, balance)));
        }
        explained
    }

    fn trace(&self) -> &Trace {
        static NOTHING: Trace = Trace { postings: Vec::new(), disposals: Vec::new() };
        self.book.trace.as_ref().unwrap_or(&NOTHING)
    }

    fn figure(&self, name: &'static str) -> Option<Explained> {
        let sums = &self.report.sums;
        let (formula, value, terms) = match name {
            "realized_pnl" => (
                "exit_base - exit_costs_base - entry_base - entry_costs_base of each lot closed (entry and exit swapped \
                 for a short position or an inverse contract; of a margined one the profit in own currency x rate); \
                 less fees expensed",
                sums.realized_pnl.clone(),
                self.closed(|closed| closed.realized.base.clone(), true),
            ),
            "realized_pnl_gross" => (
                "exit_base - entry_base of each lot closed (swapped for a short position or an inverse contract)",
                sums.realized_pnl_gross.clone(),
                self.closed(|closed| closed.realized_gross.base.clone(), false),
            ),
            "realized_fx_pnl" => (
                "(entry + entry_costs) x rate at the close, less entry_base + entry_costs_base, of each lot closed",
                sums.realized_fx_pnl.clone(),
                self.closed(|closed| closed.realized_fx.clone(), false),
            ),
            "unrealized_pnl" => (
                "market_value_base - cost_basis_base of each holding; market_value = quantity x price x multiplier, \
                 x rate in base",
                sums.unrealized_pnl.clone(),
                self.holdings(|worth| worth.unrealized.base.clone()),
            ),
            "unrealized_pnl_gross" => (
                "market_value_base - opening_base (the value at opening before costs) of each holding",
                sums.unrealized_pnl_gross.clone(),
                self.holdings(|worth| worth.unrealized_gross.base.clone()),
            ),
            "unrealized_fx_pnl" => (
                "cost_basis x rate - cost_basis_base of each holding; nothing for a margined one",
                sums.unrealized_fx_pnl.clone(),
                self.holdings(|worth| worth.unrealized_fx.clone()),
            ),
            "cost_basis" => (
                "cost_base of each open lot",
                sums.cost_basis.clone(),
                self.holdings(|worth| worth.cost_basis.base.clone()),
            ),
            "market_value" => (
                "quantity x price x multiplier x rate of each holding; of a margined one its profit before fees",
                sums.market_value(),
                self.holdings(|worth| worth.market_value.base.clone()),
            ),
            _ => return self.booked_or_derived(name, sums),
        };
        Some(Explained { figure: name.to_owned(), formula, value, terms })
    }

    fn booked_or_derived(&self, name: &'static str, sums: &Sums) -> Option<Explained> {
        use PostingKind as P;
        const BOOKED: &str = "the amount of each booking in base currency at the rate of its moment";
        let (formula, value, terms) = match name {
            "income" => (BOOKED, sums.income.clone(), self.booked(&[P::Dividend, P::Interest])),
            "dividends" => (BOOKED, sums.dividends.clone(), self.booked(&[P::Dividend])),
            "fees" => (BOOKED, sums.fees.clone(), self.booked(&[P::Fee])),
            "taxes" => (BOOKED, sums.taxes.clone(), self.booked(&[P::Tax])),
            "costs_apart" => (BOOKED, sums.costs_apart.clone(), self.booked(&[P::FeeApart, P::TaxApart])),
            "net_contributions" => (BOOKED, sums.net_contributions.clone(), self.booked(&[P::Contribution])),
            "cash" => ("balance x rate of each account and currency", sums.cash.clone(), self.cash(false)),
            "cash_fx_pnl" => (
                "balance x rate, less what moved it at the rates of its moments (moved_base), of each account and \
                 currency; and the base value received less given in each exchange",
                sums.cash_fx_pnl.clone(),
                self.cash(true),
            ),
            "reserved" => ("2 x opening_base of each short position", sums.reserved.clone(), self.reserved()),
            "current_capital" => {
                let terms = vec![
                    Term::figure("cash", sums.cash.clone()),
                    Term::figure("reserved", sums.reserved.as_ref().map(|reserved| -reserved)),
                ];
                ("cash - reserved", sums.current_capital(), terms)
            }
            "total_market_value" => {
                let terms = vec![
                    Term::figure("market_value", sums.market_value()),
                    Term::figure("reserved", sums.reserved.clone()),
                ];
                ("market_value + reserved", sums.total_market_value(), terms)
            }
            "total_pnl" => {
                let terms = vec![
                    Term::figure("realized_pnl", sums.realized_pnl.clone()),
                    Term::figure("unrealized_pnl", sums.unrealized_pnl.clone()),
                ];
                ("realized_pnl + unrealized_pnl", sums.total_pnl(), terms)
            }
            "total_value" => {
                let terms = vec![
                    Term::figure("cash", sums.cash.clone()),
                    Term::figure("market_value", sums.market_value()),
                ];
                ("cash + market_value", sums.total_value(), terms)
            }
            "total_gain" => {
                let given = sums.net_contributions.as_ref().map(|given| -given);
                let terms = vec![
                    Term::figure("total_value", sums.total_value()),
                    Term::figure("net_contributions", given),
                ];
                ("total_value - net_contributions", sums.total_gain(), terms)
            }
            _ => return None,
        };
        Some(Explained { figure: name.to_owned(), formula, value, terms })
    }

    /// The rate that turned an entry's money of a currency into base currency: its own, if that is a rate of this
    /// currency, else that of the moment; none for base currency itself.
    fn rate_of(&self, t: Option<&Transaction>, currency: Currency, at: Moment) -> Option<Rate> {
        if currency == self.base {
            return None;
        }
        match t.filter(|t| t.currency.is_none_or(|own| own == currency)).and_then(|t| t.fx_rate.as_ref()) {
            Some(agreed) => {
                Some(Rate { numerator: agreed.clone(), denominator: Decimal::ONE, observed_at: None })
            }
            None => self.rates.rate(currency, self.base, at),
        }
    }

    fn by_id(&self) -> HashMap<TransactionId, &Transaction> {
        self.ledger.iter().map(|t| (t.id, t)).collect()
    }

    fn posting_term(&self, p: &Posting, amount: Option<Decimal>, t: Option<&Transaction>) -> Term {
        let mut details = vec![
            ("transaction", Detail::Transaction(p.transaction)),
            ("at", Detail::Moment(p.at)),
            ("own", Detail::Number(Some(p.amount.own.clone()))),
            ("base", Detail::Number(p.amount.base.clone())),
        ];
        let rate = self.rate_of(t, p.currency, p.at).filter(|_| !t.is_some_and(|t| has_its_own_base(p, t)));
        details.extend(rate.map(|rate| ("rate", Detail::Rate(rate))));
        Term {
            kind: p.kind.name(),
            amount,
            account: Some(p.account.clone()),
            asset: p.asset,
            currency: Some(p.currency),
            details,
        }
    }

    fn booked(&self, kinds: &[PostingKind]) -> Vec<Term> {
        let by_id = self.by_id();
        let postings = self.trace().postings.iter().filter(|p| kinds.contains(&p.kind));
        postings
            .map(|p| self.posting_term(p, p.amount.base.clone(), by_id.get(&p.transaction).copied()))
            .collect()
    }

    /// Lots closed, each with the amount that `pick` takes from it, and fees expensed.
    fn closed(&self, pick: impl Fn(&Closed) -> Option<Decimal>, expenses: bool) -> Vec<Term> {
        let by_id = self.by_id();
        let mut terms = Vec::new();
        for disposal in &self.trace().disposals {
            for closed in &disposal.closed {
                let t = by_id.get(&disposal.transaction).copied();
                terms.push(self.closed_term(disposal, closed, pick(closed), t));
            }
        }
        let charged = self.trace().postings.iter().filter(|p| expenses && p.kind == PostingKind::Expense);
        terms.extend(charged.map(|p| {
            let amount = p.amount.base.as_ref().map(|fee| -fee);
            self.posting_term(p, amount, by_id.get(&p.transaction).copied())
        }));
        terms
    }

    fn closed_term(
        &self,
        disposal: &Disposal,
        closed: &Closed,
        amount: Option<Decimal>,
        t: Option<&Transaction>,
    ) -> Term {
        let own = |amounts: &Amounts| Detail::Number(Some(amounts.own.clone()));
        let base = |amounts: &Amounts| Detail::Number(amounts.base.clone());
        let mut details = vec![
            ("transaction", Detail::Transaction(disposal.transaction)),
            ("at", Detail::Moment(disposal.at)),
            ("side", Detail::Name(if disposal.short { "SHORT" } else { "LONG" })),
            ("quantity", Detail::Number(Some(closed.quantity.clone()))),
            ("entry", own(&closed.entry)),
            ("entry_costs", own(&closed.entry_costs)),
            ("exit", own(&closed.exit)),
            ("exit_costs", own(&closed.exit_costs)),
            ("entry_base", base(&closed.entry)),
            ("entry_costs_base", base(&closed.entry_costs)),
            ("exit_base", base(&closed.exit)),
            ("exit_costs_base", base(&closed.exit_costs)),
            ("realized", own(&closed.realized)),
            ("realized_base", base(&closed.realized)),
        ];
        details.extend(closed.lot.map(|lot| ("lot", Detail::Transaction(lot))));
        details.extend(closed.acquired_at.map(|at| ("acquired_at", Detail::Moment(at))));
        let rate = self.rate_of(t, disposal.currency, disposal.at);
        details.extend(rate.map(|rate| ("rate", Detail::Rate(rate))));
        Term {
            kind: disposal.kind.name(),
            amount,
            account: Some(disposal.account.clone()),
            asset: Some(disposal.holding.asset),
            currency: Some(disposal.currency),
            details,
        }
    }

    fn holdings(&self, pick: impl Fn(&Worth) -> Option<Decimal>) -> Vec<Term> {
        let open = self.report.items.iter().filter(|item| item.side.is_some());
        open.map(|item| self.holding_term(item, pick(&item.worth))).collect()
    }

    fn holding_term(&self, item: &Item, amount: Option<Decimal>) -> Term {
        let worth = &item.worth;
        let number = |value: &Decimal| Detail::Number(Some(value.clone()));
        let lots = item.lots.iter().map(|(lot, worth)| {
            (lot.transaction, lot.acquired_at, worth.quantity.clone(), worth.cost_basis.clone())
        });
        let mut details = vec![
            ("quantity", number(&worth.quantity)),
            ("multiplier", number(&item.multiplier)),
            ("market_value", number(&worth.market_value.own)),
            ("market_value_base", Detail::Number(worth.market_value.base.clone())),
            ("cost_basis", number(&worth.cost_basis.own)),
            ("cost_basis_base", Detail::Number(worth.cost_basis.base.clone())),
            ("opening", number(&worth.opening_gross.own)),
            ("opening_base", Detail::Number(worth.opening_gross.base.clone())),
            ("lots", Detail::Lots(lots.collect())),
        ];
        details.extend(item.price.clone().map(|price| ("price", Detail::Price(price))));
        let rate = self.rate_of(None, item.currency, self.at);
        details.extend(rate.map(|rate| ("rate", Detail::Rate(rate))));
        Term {
            kind: "holding",
            amount,
            account: Some(item.account.clone()),
            asset: Some(item.asset),
            currency: Some(item.currency),
            details,
        }
    }

    fn reserved(&self) -> Vec<Term> {
        let short = |item: &&Item| item.worth.quantity.is_negative() && !item.margined;
        let twice = |item: &Item| item.worth.opening_gross.base.as_ref().map(|opening| opening + opening);
        self.report.items.iter().filter(short).map(|item| self.holding_term(item, twice(item))).collect()
    }

    /// Cash by account and currency: its present value, or with `gain` what it gained by currency alone.
    fn cash(&self, gain: bool) -> Vec<Term> {
        let mut terms = Vec::new();
        for (account, state) in &self.book.accounts {
            for (currency, cash) in &state.cash {
                let now = self.rates.convert(&cash.balance, *currency, self.base, self.at);
                let amount = if gain { difference(now.as_ref(), cash.moved_base.as_ref()) } else { now };
                let mut details = vec![
                    ("balance", Detail::Number(Some(cash.balance.clone()))),
                    ("moved_base", Detail::Number(cash.moved_base.clone())),
                ];
                let rate = self.rate_of(None, *currency, self.at);
                details.extend(rate.map(|rate| ("rate", Detail::Rate(rate))));
                terms.push(Term {
                    kind: "cash",
                    amount,
                    account: Some(account.clone()),
                    asset: None,
                    currency: Some(*currency),
                    details,
                });
            }
        }
        if gain {
            terms.extend(self.booked(&[PostingKind::Exchange]));
        }
        terms
    }

    /// The balance of one currency, movement by movement, in that currency.
    fn balance(&self, currency: Currency, balance: &Decimal) -> Explained {
        let by_id = self.by_id();
        let moved =
            self.trace().postings.iter().filter(|p| p.kind == PostingKind::Cash && p.currency == currency);
        Explained {
            figure: format!("cash:{}", currency.code()),
            formula: "the amount of each movement, in this currency",
            value: Some(balance.clone()),
            terms: moved
                .map(|p| self.posting_term(p, Some(p.amount.own.clone()), by_id.get(&p.transaction).copied()))
                .collect(),
        }
    }
}

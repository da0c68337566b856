//! Where the change of a value between two moments came from, part by part (Portfolio Performance's performance
//! calculation).
//!
//! Positions that are held when the period begins restart at their market value, so that profits are those of the
//! period alone:
//! - `capital_gains`: what the open positions gained since they were opened or restarted, before fees and taxes;
//! - `realized_gains`: what the closed ones gained, before fees and taxes;
//! - `earnings`: dividends and interest, before fees and taxes;
//! - `fees`, `taxes`: all that were paid;
//! - `transfers`: money and assets that came in from outside less those that went out, assets at the cost they bring
//!   or take, before fees and taxes;
//! - `currency_gains`: what cash in other currencies gained by their rates, and with it the profit that margined
//!   positions had when the period began, until it became cash.
//!
//! Exactly: `final_value - initial_value = capital_gains + realized_gains + earnings - fees - taxes + transfers +
//! currency_gains`.

use crate::domain::asset::Terms;
use crate::domain::decimal::Decimal;
use crate::domain::ids::AssetKey;
use crate::domain::pnl::amounts::{Amounts, difference, sum};
use crate::domain::pnl::book::{AccountState, Book, Cash, Context, HoldingKey, LedgerError, MissingRate};
use crate::domain::pnl::holding::{Holding, Side, Totals};
use crate::domain::pnl::report::{Item, Report, Sums, Valuation, report};
use crate::domain::transaction::{Transaction, TransactionType};
use std::collections::{BTreeMap, BTreeSet};

/// A ledger whose profits count from one moment on.
#[derive(Debug, Clone)]
pub struct Period {
    /// The book: positions restarted at their market value, but margined ones, whose profit is not yet in cash.
    book: Book,
    /// The margined positions held at the start, restarted too: it tells their gains, the book their cash.
    margined: Book,
    /// Unrealised profit of those at the start, in base currency.
    due: BTreeMap<AssetKey, Option<Decimal>>,
    initial_value: Option<Decimal>,
    missing: BTreeSet<MissingRate>,
    unpriced: BTreeSet<AssetKey>,
}

/// The parts of a change of value, in base currency. `None` where a rate or price was missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parts {
    /// Gains of positions that are open at the end, before fees and taxes.
    pub capital_gains: Option<Decimal>,
    /// Gains of positions that were closed, before fees and taxes.
    pub realized_gains: Option<Decimal>,
    /// Dividends and interest, before fees and taxes.
    pub earnings: Option<Decimal>,
    /// Fees paid.
    pub fees: Option<Decimal>,
    /// Taxes paid.
    pub taxes: Option<Decimal>,
}

/// Where a change of value came from. Amounts in base currency; `None` where a rate or price was missing.
#[derive(Debug, Clone)]
pub struct Attribution {
    /// Value at the end of the day the period begins after.
    pub initial_value: Option<Decimal>,
    /// Value at its end.
    pub final_value: Option<Decimal>,
    /// What the portfolio earned and paid.
    pub whole: Parts,
    /// Money and assets from outside less those that left.
    pub transfers: Option<Decimal>,
    /// Gains of cash by the rates of its currencies.
    pub currency_gains: Option<Decimal>,
    /// The part of each asset that was held or earned something; what is left of the whole belongs to cash.
    pub assets: BTreeMap<AssetKey, Parts>,
    /// Rates that were missing.
    pub missing: BTreeSet<MissingRate>,
    /// Assets with a position and no price.
    pub unpriced: BTreeSet<AssetKey>,
}

impl Attribution {
    /// The change of value that its parts add up to.
    pub fn explained(&self) -> Option<Decimal> {
        let Parts { capital_gains, realized_gains, earnings, fees, taxes } = &self.whole;
        let gained = sum(capital_gains.as_ref(), realized_gains.as_ref());
        let earned = sum(gained.as_ref(), earnings.as_ref());
        let paid = sum(fees.as_ref(), taxes.as_ref());
        let own = difference(earned.as_ref(), paid.as_ref());
        let outside = sum(self.transfers.as_ref(), self.currency_gains.as_ref());
        sum(own.as_ref(), outside.as_ref())
    }
}

fn unpriced(report: &Report) -> BTreeSet<AssetKey> {
    let without = report.items.iter().filter(|item| item.side.is_some() && item.price.is_none());
    without.map(|item| item.asset).collect()
}

impl Period {
    /// Lets the profits of a book count from the moment of `with` on: open lots are worth what they would bring, costs
    /// and sums are zero, cash has moved at the rates of that moment.
    pub fn begin(book: &Book, with: Valuation<'_>) -> Self {
        let now = report(book, with);
        let unpriced = unpriced(&now);
        let mut missing = now.missing.clone();
        let mut fresh = book.clone();
        fresh.missing.clear();
        fresh.closed.clear();
        fresh.memberships.clear();
        for state in fresh.accounts.values_mut() {
            let mut cash = std::mem::take(&mut state.cash);
            for (currency, cash) in &mut cash {
                cash.moved_base = with.rates.convert(&cash.balance, *currency, with.base, with.at);
                if cash.moved_base.is_none() {
                    missing.insert(MissingRate { from: *currency, to: with.base, at: with.at });
                }
            }
            *state = AccountState { cash, ..AccountState::default() };
        }
        let mut margined = Book { splits: fresh.splits.clone(), ..Book::default() };
        let mut due: BTreeMap<AssetKey, Option<Decimal>> = BTreeMap::new();
        for item in &now.items {
            let key = HoldingKey { account: item.account.clone(), asset: item.asset };
            let Some(holding) = fresh.holdings.get_mut(&key) else { continue };
            let mut restarted = restarted(holding, item, with);
            if item.margined && item.side.is_some() {
                let before = due.entry(item.asset).or_insert(Some(Decimal::ZERO));
                *before = sum(before.as_ref(), item.worth.market_value.base.as_ref());
                margined.holdings.insert(key, restarted.clone());
                for (lot, own) in restarted.lots.0.iter_mut().zip(&holding.lots.0) {
                    (lot.gross, lot.unit) = (own.gross.clone(), own.unit.clone());
                }
            }
            *holding = restarted;
        }
        let initial_value = now.sums.total_value().filter(|_| unpriced.is_empty());
        Self { book: fresh, margined, due, initial_value, missing, unpriced }
    }

    /// Folds an entry of the period. Where trades move no cash (`cashless`), what one would have moved counts as having
    /// come in or gone out at once. Rows of `tolerated` assets that break a rule are folded as far as they can be.
    ///
    /// # Errors
    /// [`LedgerError`] when a rule of the ledger refuses the entry.
    pub fn apply(
        &mut self,
        t: &Transaction,
        ctx: Context<'_>,
        tolerated: &BTreeSet<AssetKey>,
        cashless: bool,
    ) -> Result<(), LedgerError> {
        if cashless {
            apply_without_cash(&mut self.book, t, ctx)?;
        } else {
            self.book.admit(t, ctx, tolerated)?;
        }
        if t.asset.is_some_and(|asset| self.due.contains_key(&asset)) {
            self.margined.admit(t, ctx, tolerated)?;
        }
        Ok(())
    }

    /// Where the change of the value until the moment of `with` came from.
    pub fn attribute(&self, with: Valuation<'_>) -> Attribution {
        let end = report(&self.book, with);
        let shadow = report(&self.margined, with);
        let mut unpriced = unpriced(&end);
        let priced = unpriced.is_empty();
        let of_sums = |sums: &Sums| Parts {
            capital_gains: sums.unrealized_pnl_gross.clone().filter(|_| priced),
            realized_gains: sums.realized_pnl_gross.clone(),
            earnings: sums.income.clone(),
            fees: sums.fees.clone(),
            taxes: sums.taxes.clone(),
        };
        let mut by_asset: BTreeMap<AssetKey, Sums> = BTreeMap::new();
        let mut restarted = Sums::default();
        for item in &end.items {
            by_asset.entry(item.asset).or_default().add_item(item);
        }
        for item in shadow.items.iter().filter(|item| self.due.contains_key(&item.asset)) {
            restarted.add_item(item);
        }
        // The margined positions of the start: what they gained in all, and what of it is theirs when they restart.
        let (mut gained, mut whole) = (Some(Decimal::ZERO), of_sums(&end.sums));
        for (asset, due) in &self.due {
            let Some(sums) = by_asset.get_mut(asset) else { continue };
            let own = sum(sums.unrealized_pnl_gross.as_ref(), sums.realized_pnl_gross.as_ref());
            gained = sum(gained.as_ref(), difference(own.as_ref(), due.as_ref()).as_ref());
            whole.capital_gains =
                difference(whole.capital_gains.as_ref(), sums.unrealized_pnl_gross.as_ref());
            whole.realized_gains =
                difference(whole.realized_gains.as_ref(), sums.realized_pnl_gross.as_ref());
            let mut theirs = Sums::default();
            shadow.items.iter().filter(|item| item.asset == *asset).for_each(|item| theirs.add_item(item));
            sums.unrealized_pnl_gross = theirs.unrealized_pnl_gross;
            sums.realized_pnl_gross = theirs.realized_pnl_gross;
        }
        whole.capital_gains = sum(whole.capital_gains.as_ref(), restarted.unrealized_pnl_gross.as_ref());
        whole.realized_gains = sum(whole.realized_gains.as_ref(), restarted.realized_pnl_gross.as_ref());
        let theirs = sum(restarted.unrealized_pnl_gross.as_ref(), restarted.realized_pnl_gross.as_ref());
        let of_due = difference(gained.as_ref(), theirs.as_ref());
        let nothing = of_sums(&Sums::default());
        unpriced.extend(&self.unpriced);
        let mut missing = end.missing.clone();
        missing.extend(self.missing.iter().chain(&shadow.missing));
        Attribution {
            initial_value: self.initial_value.clone(),
            final_value: end.sums.total_value().filter(|_| priced),
            whole,
            transfers: sum(end.sums.net_contributions.as_ref(), costs_delivered(&end.sums).as_ref()),
            currency_gains: sum(end.sums.cash_fx_pnl.as_ref(), of_due.as_ref()),
            assets: by_asset
                .into_iter()
                .map(|(key, sums)| (key, of_sums(&sums)))
                .filter(|(_, parts)| *parts != nothing)
                .collect(),
            missing,
            unpriced,
        }
    }
}

/// A holding whose open lots are worth what they would bring, without costs and sums.
fn restarted(holding: &Holding, item: &Item, with: Valuation<'_>) -> Holding {
    let mut restarted = Holding { totals: Totals::default(), ..holding.clone() };
    if let Some(cycle) = &mut restarted.cycle {
        cycle.totals = Totals::default();
    }
    let terms = with.assets.get(&item.asset).map(|priced| &priced.terms);
    for (lot, (_, worth)) in restarted.lots.0.iter_mut().zip(&item.lots) {
        lot.gross = worth.notional.clone().signed(item.side == Some(Side::Short));
        lot.costs = Amounts::ZERO;
        lot.unit = terms.and_then(|terms| unit_value(item, terms, &lot.quantity, &lot.gross.own));
    }
    restarted
}

/// The exact value of one unit of a restarted lot, where there is one.
fn unit_value(item: &Item, terms: &Terms, quantity: &Decimal, gross: &Decimal) -> Option<Decimal> {
    let price = item.price.as_ref().filter(|_| !terms.inverse)?;
    let unit = &price.price * &terms.multiplier;
    Some(unit).filter(|unit| unit * quantity == *gross)
}

/// Folds an entry into a book whose trades move no cash: what a trade would have moved counts as having come in or gone
/// out at once.
///
/// # Errors
/// [`LedgerError`] when a rule of the ledger refuses the entry.
pub fn apply_without_cash(book: &mut Book, t: &Transaction, ctx: Context<'_>) -> Result<(), LedgerError> {
    if !matches!(t.kind, TransactionType::Buy | TransactionType::Sell) {
        return book.apply(t, ctx);
    }
    let before = book.accounts.get(&t.account).cloned().unwrap_or_default();
    book.apply(t, ctx)?;
    let state = book.accounts.entry(t.account.clone()).or_default();
    let moved = |cash: &BTreeMap<_, Cash>| {
        cash.values().try_fold(Decimal::ZERO, |total, cash| Some(total + cash.moved_base.as_ref()?))
    };
    let paid = difference(moved(&before.cash).as_ref(), moved(&state.cash).as_ref());
    state.contributions = sum(state.contributions.as_ref(), paid.as_ref());
    state.cash = before.cash;
    Ok(())
}

/// Fees and taxes of the period that left with the cost of units delivered out: of all that were paid, those that are
/// neither apart nor in realised profit nor in the cost of what is still held. They are shown as fees and taxes, so the
/// units left at their cost without them.
fn costs_delivered(sums: &Sums) -> Option<Decimal> {
    let paid = sum(sums.fees.as_ref(), sums.taxes.as_ref());
    let in_cost = difference(paid.as_ref(), sums.costs_apart.as_ref());
    let realized = difference(sums.realized_pnl_gross.as_ref(), sums.realized_pnl.as_ref());
    let open = difference(sums.unrealized_pnl_gross.as_ref(), sums.unrealized_pnl.as_ref());
    difference(in_cost.as_ref(), sum(realized.as_ref(), open.as_ref()).as_ref())
}

#[cfg(test)]
mod tests;

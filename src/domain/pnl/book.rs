//! The book: what a ledger amounts to. [`Book::apply`] folds one transaction into it.
//!
//! Transactions must come in the order of [`Transaction::order`]. A refused transaction leaves the figures of the book
//! as they were.

pub mod actions;
mod cash;
mod deliveries;
mod memberships;
mod plain;
#[cfg(test)]
mod tests;
mod trades;

pub use memberships::{Membership, Memberships};
use plain::PlainTrades;

use crate::domain::asset::{Terms, TermsHistory};
use crate::domain::currency::Currency;
use crate::domain::decimal::Decimal;
use crate::domain::fx::Rates;
use crate::domain::ids::{AssetKey, TransactionId};
use crate::domain::moment::Moment;
use crate::domain::pnl::amounts::{Amounts, difference, sum};
use crate::domain::pnl::book::actions::Flag;
use crate::domain::pnl::holding::{Cycle, Ended, Holding, Side};
use crate::domain::pnl::lots::PickError;
use crate::domain::pnl::trace::{Disposal, DisposalKind, Posting, PostingKind, Trace};
use crate::domain::portfolio::{Conventions, LotScope};
use crate::domain::transaction::{Transaction, TransactionType};
use serde::{Deserialize, Serialize};
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

/// Account name of a holding whose lots belong to the whole portfolio (`lot_scope: global`).
pub const EVERY_ACCOUNT: &str = "*";

/// What the fold looks up beside the transactions.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// Currency of the totals.
    pub base: Currency,
    /// The conventions in force.
    pub conventions: &'a Conventions,
    /// Terms of every asset in the ledger.
    pub terms: &'a TermsHistory,
    /// Exchange rates.
    pub rates: &'a Rates,
}

/// Which holding: an account and an asset.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HoldingKey {
    /// The account, or [`EVERY_ACCOUNT`].
    pub account: String,
    /// The asset.
    pub asset: AssetKey,
}

/// Cash of one currency in one account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cash {
    /// What is there; below zero, what is owed.
    pub balance: Decimal,
    /// Its movements, each in base currency at the rate of its moment.
    pub moved_base: Option<Decimal>,
}

/// What an account holds and did beside its assets. Amounts in base currency unless said otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountState {
    /// Cash by currency.
    pub cash: BTreeMap<Currency, Cash>,
    /// Deposits less withdrawals before fees, and assets transferred in or out at their cost before the fee.
    pub contributions: Option<Decimal>,
    /// Cash and assets moved to and from other accounts of the portfolio.
    pub internal: Option<Decimal>,
    /// Interest before fees and taxes.
    pub interest: Option<Decimal>,
    /// Fees that belong to no holding.
    pub fees: Option<Decimal>,
    /// Taxes that belong to no holding.
    pub taxes: Option<Decimal>,
    /// Those fees and taxes that are not in realised profit.
    pub costs_apart: Option<Decimal>,
    /// Fees expensed at once: a realised loss of no asset.
    pub expensed: Option<Decimal>,
    /// Base value received less base value given in currency exchanges.
    pub exchange_result: Option<Decimal>,
}

impl Default for AccountState {
    fn default() -> Self {
        let zero = || Some(Decimal::ZERO);
        Self {
            cash: BTreeMap::new(),
            contributions: zero(),
            internal: zero(),
            interest: zero(),
            fees: zero(),
            taxes: zero(),
            costs_apart: zero(),
            expensed: zero(),
            exchange_result: zero(),
        }
    }
}

impl AccountState {
    /// Every sum of `self`, less those of `gone`, plus those of `come`. `None` when that cannot be told from the sums
    /// alone: a currency of `gone` is not among those of `come`, so it may have been its only movement.
    #[must_use]
    pub fn changed(&self, gone: &Self, come: &Self) -> Option<Self> {
        let moved = |was: &Option<Decimal>, gone: &Option<Decimal>, come: &Option<Decimal>| {
            sum(difference(was.as_ref(), gone.as_ref()).as_ref(), come.as_ref())
        };
        let nothing = Cash { balance: Decimal::ZERO, moved_base: Some(Decimal::ZERO) };
        if gone.cash.keys().any(|currency| !come.cash.contains_key(currency)) {
            return None;
        }
        let mut cash = self.cash.clone();
        for (currency, new) in &come.cash {
            let old = gone.cash.get(currency).unwrap_or(&nothing);
            let here = cash.entry(*currency).or_insert_with(|| nothing.clone());
            here.balance -= &old.balance;
            here.balance += &new.balance;
            here.moved_base = moved(&here.moved_base, &old.moved_base, &new.moved_base);
        }
        Some(Self {
            cash,
            contributions: moved(&self.contributions, &gone.contributions, &come.contributions),
            internal: moved(&self.internal, &gone.internal, &come.internal),
            interest: moved(&self.interest, &gone.interest, &come.interest),
            fees: moved(&self.fees, &gone.fees, &come.fees),
            taxes: moved(&self.taxes, &gone.taxes, &come.taxes),
            costs_apart: moved(&self.costs_apart, &gone.costs_apart, &come.costs_apart),
            expensed: moved(&self.expensed, &gone.expensed, &come.expensed),
            exchange_result: moved(&self.exchange_result, &gone.exchange_result, &come.exchange_result),
        })
    }
}

/// A split that has taken effect: `numerator` new units for `denominator` old ones.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SplitEvent {
    /// When it took effect.
    pub at: Moment,
    /// Whether it was given as a day.
    pub whole_day: bool,
    /// New units.
    pub numerator: Decimal,
    /// Old units.
    pub denominator: Decimal,
}

/// A rate the ledger needed and did not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct MissingRate {
    /// From this currency
    pub from: Currency,
    /// to this one,
    pub to: Currency,
    /// at this moment.
    pub at: Moment,
}

/// Why the ledger refuses a transaction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum LedgerError {
    /// More is sold or delivered than is held.
    #[error("{asked} leave the position, but only {held} are held")]
    InsufficientQuantity {
        /// Units held.
        held: Decimal,
        /// Units asked for.
        asked: Decimal,
    },
    /// The named lots cannot be taken.
    #[error(transparent)]
    Lots(#[from] PickError),
    /// An inverse contract has no value at price zero.
    #[error("an inverse contract cannot trade at price zero")]
    InverseAtZero,
    /// Units of a margined contract are not delivered in or out.
    #[error("units of a margined contract cannot be transferred in or out")]
    MarginedDelivery,
    /// Units delivered into a short position.
    #[error("units cannot be transferred into a short position; record the buy that covers it")]
    DeliveryIntoShort,
    /// Asset without recorded terms.
    #[error("the asset has no terms at that moment")]
    NoTerms,
    /// Money in another currency than the asset settles in, and no rate between them.
    #[error("no rate from {} to {} at or before {}", .0.from, .0.to, .0.at)]
    NoRate(MissingRate),
}

impl LedgerError {
    /// Stable code of the rule, as the wire shows it.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::InsufficientQuantity { .. } => "insufficient_quantity",
            Self::Lots(_) => "lots",
            Self::InverseAtZero => "inverse_at_zero",
            Self::MarginedDelivery => "margined_delivery",
            Self::DeliveryIntoShort => "delivery_into_short",
            Self::NoTerms => "no_terms",
            Self::NoRate(_) => "no_rate",
        }
    }
}

/// The fold of a ledger. Holdings of assets that a transaction does not touch need not be loaded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Book {
    /// State by account.
    pub accounts: BTreeMap<String, AccountState>,
    /// Holdings by account and asset.
    pub holdings: BTreeMap<HoldingKey, Holding>,
    /// Splits that have taken effect, by asset, in order.
    pub splits: BTreeMap<AssetKey, Vec<SplitEvent>>,
    /// Rates that were missing.
    pub missing: BTreeSet<MissingRate>,
    /// Positions closed by the transactions applied to this value.
    pub closed: Vec<(HoldingKey, Cycle)>,
    /// Positions that the transactions applied to this value took part in.
    pub memberships: Memberships,
    /// Rows that break a rule because of a corporate action.
    pub flags: Vec<Flag>,
    /// Every part of every sum, when the book was asked to keep it.
    pub trace: Option<Trace>,
}

/// One transaction, with what its fold looks up.
#[derive(Clone, Copy)]
struct Entry<'a> {
    t: &'a Transaction,
    ctx: Context<'a>,
}

impl Entry<'_> {
    fn key(&self, asset: AssetKey) -> HoldingKey {
        let account = match self.ctx.conventions.lot_scope {
            LotScope::Account => self.t.account.clone(),
            LotScope::Global => EVERY_ACCOUNT.to_owned(),
        };
        HoldingKey { account, asset }
    }

    /// The rate agreed on the entry itself, if it is one of this currency.
    fn own_rate(&self, currency: Currency) -> Option<&Decimal> {
        self.t.fx_rate.as_ref().filter(|_| self.t.currency.is_none_or(|own| own == currency))
    }
}

/// The rate from one currency to base at which an entry closes units: its own, if that is a rate of this currency,
/// else that of the moment.
struct AtClose<'a> {
    entry: Entry<'a>,
    currency: Currency,
    unknown: Cell<bool>,
}

impl<'a> AtClose<'a> {
    fn new(entry: Entry<'a>, currency: Currency) -> Self {
        Self { entry, currency, unknown: Cell::new(false) }
    }

    fn in_base(&self, amount: &Decimal) -> Option<Decimal> {
        let Entry { t, ctx } = self.entry;
        let base = match self.entry.own_rate(self.currency) {
            Some(rate) => Some(amount * rate),
            None => ctx.rates.convert(amount, self.currency, ctx.base, t.executed_at),
        };
        self.unknown.set(self.unknown.get() || base.is_none());
        base
    }

    /// The rate that an amount needed and that is not known.
    fn missing(&self) -> Option<MissingRate> {
        let (from, to, at) = (self.currency, self.entry.ctx.base, self.entry.t.executed_at);
        self.unknown.get().then_some(MissingRate { from, to, at })
    }
}

impl Book {
    /// An empty book that keeps every part of every sum.
    pub fn traced() -> Self {
        Self { trace: Some(Trace::default()), ..Self::default() }
    }

    /// Folds one transaction into the book.
    ///
    /// # Errors
    /// [`LedgerError`] when a rule of the ledger refuses it.
    pub fn apply(&mut self, t: &Transaction, ctx: Context<'_>) -> Result<(), LedgerError> {
        use TransactionType as T;
        let e = Entry { t, ctx };
        match t.kind {
            T::Buy => self.trade(e, Side::Long)?,
            T::Sell => self.trade(e, Side::Short)?,
            T::TransferIn => self.transfer_in(e)?,
            T::TransferOut => self.transfer_out(e)?,
            T::Transfer => self.transfer(e)?,
            T::Deposit | T::Withdrawal => self.contribute(e),
            T::Dividend if t.asset_level => self.pay_holders(e)?,
            T::Dividend => self.dividend(e)?,
            T::Interest => self.interest(e),
            T::Fee | T::Tax => self.charge_alone(e)?,
            T::Split => self.split(e),
            T::Fx => self.exchange(e),
        }
        self.note_units(e);
        Ok(())
    }

    /// An amount with its base value, at the transaction's own rate or that of its moment.
    fn value(&mut self, e: Entry<'_>, amount: &Decimal, currency: Currency) -> Amounts {
        let base = match e.own_rate(currency) {
            Some(rate) => Some(amount * rate),
            None => self.in_base(e, amount, currency),
        };
        Amounts { own: amount.clone(), base }
    }

    /// An amount in base currency at the moment of the transaction; that there is no rate is noted.
    fn in_base(&mut self, e: Entry<'_>, amount: &Decimal, currency: Currency) -> Option<Decimal> {
        let (ctx, at) = (e.ctx, e.t.executed_at);
        let base = ctx.rates.convert(amount, currency, ctx.base, at);
        if base.is_none() {
            self.missing.insert(MissingRate { from: currency, to: ctx.base, at });
        }
        base
    }

    /// Notes an amount that enters a sum, where the book keeps such notes. `asset` belongs to a holding.
    fn post(
        &mut self,
        e: Entry<'_>,
        kind: PostingKind,
        (account, asset, currency): (&str, Option<AssetKey>, Currency),
        amount: &Amounts,
    ) {
        if let Some(trace) = &mut self.trace {
            trace.postings.push(Posting {
                kind,
                transaction: e.t.id,
                at: e.t.executed_at,
                account: account.to_owned(),
                asset,
                currency,
                amount: amount.clone(),
            });
        }
    }

    /// Notes a base value that enters a sum.
    fn post_base(&mut self, e: Entry<'_>, kind: PostingKind, account: &str, base: Option<&Decimal>) {
        if self.trace.is_some() {
            let amount = Amounts { own: base.cloned().unwrap_or_default(), base: base.cloned() };
            self.post(e, kind, (account, e.t.asset, e.ctx.base), &amount);
        }
    }

    /// Notes units that left a holding.
    fn dispose(&mut self, disposal: impl FnOnce() -> Disposal) {
        if let Some(trace) = &mut self.trace {
            trace.disposals.push(disposal());
        }
    }

    /// Ends the position of a holding when nothing is left, or no more than dust.
    fn end_within_dust(&mut self, e: Entry<'_>, key: &HoldingKey, terms: &Terms) {
        let Some(holding) = self.holdings.get_mut(key) else { return };
        let (dust, currency, closing) =
            (&e.ctx.conventions.dust, holding.currency, AtClose::new(e, holding.currency));
        let now = |amount: &Decimal| closing.in_base(amount);
        let Some(ended) = holding.settle(dust, terms.margined, e.t.executed_at, now) else { return };
        self.missing.extend(closing.missing());
        let Ended { cycle, short, written_off } = ended;
        if !written_off.is_empty() {
            self.dispose(|| Disposal {
                kind: DisposalKind::Dust,
                holding: key.clone(),
                account: e.t.account.clone(),
                transaction: e.t.id,
                at: e.t.executed_at,
                currency,
                short,
                inverse: terms.inverse,
                closed: written_off,
            });
        }
        self.closed.push((key.clone(), cycle));
    }

    fn account(&mut self, name: &str) -> &mut AccountState {
        self.accounts.entry(name.to_owned()).or_default()
    }

    fn holding(&mut self, key: &HoldingKey, currency: Currency) -> &mut Holding {
        self.holdings.entry(key.clone()).or_insert_with(|| Holding::new(currency))
    }

    fn split(&mut self, e: Entry<'_>) {
        let Entry { t, ctx } = e;
        let (Some(asset), Some(numerator), Some(denominator)) = (t.asset, &t.ratio_num, &t.ratio_den) else {
            return;
        };
        let keys: Vec<_> = self.holdings.keys().filter(|key| key.asset == asset).cloned().collect();
        for key in keys {
            let Some(holding) = self.holdings.get_mut(&key) else { continue };
            holding.lots.split(numerator, denominator);
            if let Some(cycle) = &mut holding.cycle {
                // Units that came and went before the split are counted in units of after it.
                cycle.entered_quantity = cycle.entered_quantity.share(numerator, denominator);
                cycle.exited_quantity = cycle.exited_quantity.share(numerator, denominator);
            }
            holding.last_price =
                holding.last_price.take().map(|(at, price)| (at, price.share(denominator, numerator)));
            if let Some(terms) = ctx.terms.at(asset, t.executed_at) {
                self.end_within_dust(e, &key, terms);
            }
        }
        self.splits.entry(asset).or_default().push(SplitEvent {
            at: t.executed_at,
            whole_day: t.whole_day,
            numerator: numerator.clone(),
            denominator: denominator.clone(),
        });
    }
}

/// Folds a whole ledger, in order of [`Transaction::order`].
///
/// # Errors
/// The first transaction the ledger refuses, with the rule it breaks.
pub fn fold(transactions: &[Transaction], ctx: Context<'_>) -> Result<Book, (TransactionId, LedgerError)> {
    let mut book = Book::default();
    let mut plain = PlainTrades::new(&book, ctx);
    for transaction in transactions {
        if !plain.take(&mut book, transaction) {
            book.apply(transaction, ctx).map_err(|error| (transaction.id, error))?;
        }
    }
    plain.end(&mut book);
    Ok(book)
}

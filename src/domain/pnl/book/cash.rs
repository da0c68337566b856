//! Cash: what moves it, and the entries that touch nothing else.

use super::{Book, Cash, Entry, LedgerError};
use crate::domain::currency::Currency;
use crate::domain::decimal::Decimal;
use crate::domain::pnl::amounts::{Amounts, difference, sum};
use crate::domain::pnl::trace::PostingKind;
use crate::domain::portfolio::FeeMode;
use crate::domain::transaction::TransactionType;

impl Book {
    /// Moves cash: in base currency when the transaction carries its own rate, else in `currency`.
    pub(super) fn move_cash(&mut self, e: Entry<'_>, account: &str, currency: Currency, amount: &Amounts) {
        let (currency, moved) = match (&e.t.fx_rate, &amount.base) {
            (Some(_), Some(base)) => (e.ctx.base, base.clone()),
            _ => (currency, amount.own.clone()),
        };
        let amount = Amounts { own: moved, base: amount.base.clone() };
        self.add_cash(account, currency, &amount);
        self.post(e, PostingKind::Cash, (account, e.t.asset, currency), &amount);
    }

    /// Adds an amount of a currency to the cash of an account.
    pub(super) fn add_cash(&mut self, account: &str, currency: Currency, amount: &Amounts) {
        let nothing = Cash { balance: Decimal::ZERO, moved_base: Some(Decimal::ZERO) };
        let cash = self.account(account).cash.entry(currency).or_insert(nothing);
        cash.balance += &amount.own;
        cash.moved_base = sum(cash.moved_base.as_ref(), amount.base.as_ref());
    }

    /// The money an entry without an asset moves, and its currency.
    fn money(&mut self, e: Entry<'_>) -> (Currency, Amounts) {
        let currency = e.t.currency.unwrap_or(e.ctx.base);
        (currency, self.value(e, &e.t.amount.clone().unwrap_or_default(), currency))
    }

    pub(super) fn contribute(&mut self, e: Entry<'_>) {
        let (currency, amount) = self.money(e);
        let amount = amount.signed(e.t.kind == TransactionType::Withdrawal);
        self.move_cash(e, &e.t.account, currency, &amount);
        let state = self.account(&e.t.account);
        state.contributions = sum(state.contributions.as_ref(), amount.base.as_ref());
        self.post(e, PostingKind::Contribution, (&e.t.account, None, currency), &amount);
        self.charge(e);
    }

    pub(super) fn interest(&mut self, e: Entry<'_>) {
        let (currency, amount) = self.money(e);
        self.move_cash(e, &e.t.account, currency, &amount);
        let state = self.account(&e.t.account);
        state.interest = sum(state.interest.as_ref(), amount.base.as_ref());
        self.post(e, PostingKind::Interest, (&e.t.account, None, currency), &amount);
        self.charge(e);
    }

    pub(super) fn exchange(&mut self, e: Entry<'_>) {
        let Some(to) = e.t.to_currency else { return };
        let (from, given) = self.money(e);
        let received = self.value(e, &e.t.to_amount.clone().unwrap_or_default(), to);
        let result = difference(received.base.as_ref(), given.base.as_ref());
        self.move_cash(e, &e.t.account, from, &(-given));
        self.move_cash(e, &e.t.account, to, &received);
        let state = self.account(&e.t.account);
        state.exchange_result = sum(state.exchange_result.as_ref(), result.as_ref());
        self.post_base(e, PostingKind::Exchange, &e.t.account, result.as_ref());
        self.charge(e);
    }

    /// Moves cash from one account to another.
    pub(super) fn transfer_cash(&mut self, e: Entry<'_>, to_account: &str) {
        let (currency, moved) = self.money(e);
        self.move_cash(e, &e.t.account, currency, &(-moved.clone()));
        self.move_cash(e, to_account, currency, &moved);
        self.note_internal(e, to_account, moved.base.as_ref());
        self.charge(e);
    }

    pub(super) fn note_internal(&mut self, e: Entry<'_>, to_account: &str, base: Option<&Decimal>) {
        let from = self.account(&e.t.account);
        from.internal = difference(from.internal.as_ref(), base);
        let to = self.account(to_account);
        to.internal = sum(to.internal.as_ref(), base);
        let given = base.map(|base| -base);
        self.post_base(e, PostingKind::Internal, &e.t.account, given.as_ref());
        self.post_base(e, PostingKind::Internal, to_account, base);
    }

    pub(super) fn dividend(&mut self, e: Entry<'_>) -> Result<(), LedgerError> {
        let deal = self.deal(e)?;
        let paid = e.t.amount.clone().unwrap_or_default();
        let income = self.settled(e, &paid, deal.currency, deal.terms.settlement)?;
        let cash = Amounts { own: paid, base: income.base.clone() };
        self.move_cash(e, &e.t.account, deal.currency, &cash);
        self.holding(&deal.key, deal.terms.settlement).totals.income += &income;
        let of = (e.t.account.as_str(), Some(deal.key.asset), deal.terms.settlement);
        self.post(e, PostingKind::Dividend, of, &income);
        self.charge_apart(&deal);
        Ok(())
    }

    /// A fee or tax of its own. One that names an asset belongs to that holding.
    pub(super) fn charge_alone(&mut self, e: Entry<'_>) -> Result<(), LedgerError> {
        let mut charge = e.t.clone();
        let amount = e.t.amount.clone().unwrap_or_default();
        if e.t.kind == TransactionType::Fee {
            charge.fee = amount;
        } else {
            charge.tax = amount;
        }
        let e = Entry { t: &charge, ctx: e.ctx };
        if charge.asset.is_none() {
            self.charge(e);
            return Ok(());
        }
        let deal = self.deal(e)?;
        self.charge_apart(&deal);
        Ok(())
    }

    /// Books fee and tax of an entry that belongs to no holding.
    fn charge(&mut self, e: Entry<'_>) {
        let t = e.t;
        if t.fee.is_zero() && t.tax.is_zero() {
            return;
        }
        let currency = t.currency.unwrap_or(e.ctx.base);
        let fee = self.value(e, &t.fee, currency);
        let tax = self.value(e, &t.tax, currency);
        self.move_cash(e, &t.account, currency, &(-(&fee + &tax)));
        let state = self.account(&t.account);
        state.fees = sum(state.fees.as_ref(), fee.base.as_ref());
        state.taxes = sum(state.taxes.as_ref(), tax.base.as_ref());
        state.costs_apart = sum(state.costs_apart.as_ref(), tax.base.as_ref());
        let (fees, kind) = if e.ctx.conventions.fees == FeeMode::Expensed {
            (&mut state.expensed, PostingKind::Expense)
        } else {
            (&mut state.costs_apart, PostingKind::FeeApart)
        };
        *fees = sum(fees.as_ref(), fee.base.as_ref());
        let booked =
            [(PostingKind::Fee, &fee), (PostingKind::Tax, &tax), (kind, &fee), (PostingKind::TaxApart, &tax)];
        for (kind, amount) in booked.into_iter().filter(|(_, amount)| !amount.is_zero()) {
            self.post(e, kind, (&t.account, None, currency), amount);
        }
    }
}

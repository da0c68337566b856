//! Buys and sells: what opens, what closes, what crosses zero, and where fees and taxes go.

use super::{AtClose, Book, Entry, LedgerError, MissingRate};
use crate::domain::asset::Terms;
use crate::domain::currency::Currency;
use crate::domain::decimal::Decimal;
use crate::domain::pnl::amounts::Amounts;
use crate::domain::pnl::book::HoldingKey;
use crate::domain::pnl::holding::{Exit, Holding, Side};
use crate::domain::pnl::lots::Lot;
use crate::domain::pnl::trace::{Closed, Disposal, DisposalKind, PostingKind};
use crate::domain::portfolio::{Conventions, CostBasis, FeeMode, ShortMode, TaxMode};

/// Money of one trade, ready to be booked. Amounts are in the settlement currency of the asset; cash moves
/// in `currency`, the trade's own, which is another one only where the trade says so.
pub(super) struct Deal<'a> {
    pub(super) entry: Entry<'a>,
    pub(super) terms: &'a Terms,
    pub(super) key: HoldingKey,
    /// Currency its cash moves in.
    pub(super) currency: Currency,
    /// Cash before fee and tax, in `currency`.
    cash: Decimal,
    pub(super) gross: Amounts,
    pub(super) fee: Amounts,
    pub(super) tax: Amounts,
}

/// A part of a deal: some of its units, and their share of its money.
pub(super) struct Part {
    pub(super) quantity: Decimal,
    pub(super) gross: Amounts,
    pub(super) fee: Amounts,
    pub(super) tax: Amounts,
}

impl Part {
    /// What the conventions put into cost, or take out of proceeds.
    fn costs(&self, conventions: &Conventions) -> Amounts {
        let mut costs = Amounts::ZERO;
        if conventions.fees == FeeMode::InCost {
            costs += &self.fee;
        }
        if conventions.taxes == TaxMode::InCost {
            costs += &self.tax;
        }
        costs
    }
}

impl Deal<'_> {
    /// The exact value of one unit: there is one only where the trade stated a price in the settlement
    /// currency and no unit went to a commission, and never for an inverse contract.
    fn unit(&self) -> Option<Decimal> {
        let t = self.entry.t;
        let stated = t.gross_total.is_none()
            && t.fee_asset_quantity.is_zero()
            && !self.terms.inverse
            && self.currency == self.terms.settlement;
        t.price.as_ref().filter(|_| stated).map(|price| price * &self.terms.multiplier)
    }

    /// All of it.
    pub(super) fn whole(&self, quantity: Decimal) -> Part {
        Part { quantity, gross: self.gross.clone(), fee: self.fee.clone(), tax: self.tax.clone() }
    }

    /// The share of `quantity` out of `moved` units; its value is exact where one unit has an exact value.
    fn part(&self, quantity: Decimal, moved: &Decimal) -> Part {
        let gross = self.gross.share_at(self.unit().as_ref(), &quantity, moved);
        Part { gross, fee: self.fee.share(&quantity, moved), tax: self.tax.share(&quantity, moved), quantity }
    }

    /// Units of this deal's holding that leave by it, before it is known what they bring.
    pub(super) fn disposal(&self, short: bool) -> Disposal {
        let t = self.entry.t;
        Disposal {
            kind: if short { DisposalKind::Cover } else { DisposalKind::Sale },
            holding: self.key.clone(),
            account: t.account.clone(),
            transaction: t.id,
            at: t.executed_at,
            currency: self.terms.settlement,
            short,
            inverse: self.terms.inverse,
            closed: Vec::new(),
        }
    }

    /// What `part` leaves: `quantity` units and all the money that is not in it.
    fn rest(&self, part: &Part, quantity: Decimal) -> Part {
        Part {
            quantity,
            gross: &self.gross - &part.gross,
            fee: &self.fee - &part.fee,
            tax: &self.tax - &part.tax,
        }
    }
}

impl Book {
    /// Puts the money of a trade or delivery together. `None` terms or a price of zero are refused, and money
    /// in a currency of its own for which there is no rate.
    pub(super) fn deal<'a>(&mut self, e: Entry<'a>) -> Result<Deal<'a>, LedgerError> {
        let Entry { t, ctx } = e;
        let asset = t.asset.ok_or(LedgerError::NoTerms)?;
        let terms = ctx.terms.at(asset, t.executed_at).ok_or(LedgerError::NoTerms)?;
        let currency = t.currency.unwrap_or(terms.settlement);
        let quantity = t.quantity.clone().unwrap_or_default();
        let (cash, stated_in) = match (&t.gross_total, &t.price) {
            (Some(total), _) => (total.clone(), currency),
            (None, Some(price)) => {
                // The price of an inverse contract is no money: its value is in the settlement currency as it is.
                let stated_in = if terms.inverse { terms.settlement } else { currency };
                (terms.notional(&quantity, price).ok_or(LedgerError::InverseAtZero)?, stated_in)
            }
            (None, None) => (Decimal::ZERO, currency),
        };
        Ok(Deal {
            entry: e,
            terms,
            key: e.key(asset),
            currency,
            gross: self.settled(e, &cash, stated_in, terms.settlement)?,
            fee: self.settled(e, &t.fee, currency, terms.settlement)?,
            tax: self.settled(e, &t.tax, currency, terms.settlement)?,
            cash,
        })
    }

    /// An amount of `currency` as one of the settlement currency, with its base value. Two currencies need a
    /// rate at that moment: an amount in the asset's own currency cannot be unknown, as one in base can.
    pub(super) fn settled(
        &mut self,
        e: Entry<'_>,
        amount: &Decimal,
        currency: Currency,
        settlement: Currency,
    ) -> Result<Amounts, LedgerError> {
        let (ctx, at) = (e.ctx, e.t.executed_at);
        let value = self.value(e, amount, currency);
        if currency == settlement || amount.is_zero() {
            return Ok(value);
        }
        let own = if settlement == ctx.base {
            value.base.clone()
        } else {
            ctx.rates.convert(amount, currency, settlement, at)
        };
        let missing = MissingRate { from: currency, to: settlement, at };
        Ok(Amounts { own: own.ok_or(LedgerError::NoRate(missing))?, base: value.base })
    }

    /// Takes fee and tax out of cash.
    pub(super) fn pay_costs(&mut self, deal: &Deal<'_>) {
        let t = deal.entry.t;
        let own = &t.fee + &t.tax;
        if !own.is_zero() {
            let charged = Amounts { own, base: (&deal.fee + &deal.tax).base };
            self.move_cash(deal.entry, &t.account, deal.currency, &(-charged));
        }
    }

    /// Pays and books fee and tax of an entry whose costs are in no cost: all but trades and deliveries in.
    pub(super) fn charge_apart(&mut self, deal: &Deal<'_>) {
        self.pay_costs(deal);
        self.book_costs(deal, &deal.whole(Decimal::ZERO), false);
    }

    /// Books fee and tax into the sums of the holding, and out of profit at once or apart as the convention
    /// says. A position that is just opening must have begun, one that is closing must not have ended.
    pub(super) fn book_costs(&mut self, deal: &Deal<'_>, part: &Part, in_cost: bool) {
        let conventions = deal.entry.ctx.conventions;
        if part.fee.is_zero() && part.tax.is_zero() {
            return;
        }
        let totals = &mut self.holding(&deal.key, deal.terms.settlement).totals;
        totals.fees += &part.fee;
        totals.taxes += &part.tax;
        let fee = match conventions.fees {
            FeeMode::InCost if in_cost => None,
            FeeMode::Expensed => {
                totals.realized -= &part.fee;
                Some(PostingKind::Expense)
            }
            FeeMode::InCost | FeeMode::Separate | FeeMode::None => {
                totals.costs_apart += &part.fee;
                Some(PostingKind::FeeApart)
            }
        };
        let tax = match conventions.taxes {
            TaxMode::InCost if in_cost => None,
            TaxMode::InCost | TaxMode::Separate => {
                totals.costs_apart += &part.tax;
                Some(PostingKind::TaxApart)
            }
        };
        let booked = [
            (Some(PostingKind::Fee), &part.fee),
            (Some(PostingKind::Tax), &part.tax),
            (fee, &part.fee),
            (tax, &part.tax),
        ];
        let of = (deal.entry.t.account.as_str(), Some(deal.key.asset), deal.terms.settlement);
        for (kind, amount) in booked {
            if let Some(kind) = kind.filter(|_| !amount.is_zero()) {
                self.post(deal.entry, kind, of, amount);
            }
        }
    }

    pub(super) fn trade(&mut self, e: Entry<'_>, side: Side) -> Result<(), LedgerError> {
        let Entry { t, ctx } = e;
        let deal = self.deal(e)?;
        let quantity = t.quantity.clone().unwrap_or_default();
        // A commission taken in the asset: fewer units arrive, or more leave, for the same money.
        let moved = if side == Side::Long {
            &quantity - &t.fee_asset_quantity
        } else {
            &quantity + &t.fee_asset_quantity
        };
        let holding = self.holdings.get(&deal.key);
        let held = holding.map(Holding::quantity).unwrap_or_default();
        let against = holding.and_then(Holding::side).is_some_and(|open| open != side);
        let closing = if against { held.abs().smaller(&moved) } else { Decimal::ZERO };
        let beyond = &moved - &closing;
        let oversold = side == Side::Short && beyond.is_positive() && !t.opens_short;
        // A margined contract has no basis to miss, and no proceeds: selling one opens a short position.
        let without_basis = match ctx.conventions.short {
            ShortMode::Rejected if oversold => {
                let held = if held.is_negative() { Decimal::ZERO } else { held };
                return Err(LedgerError::InsufficientQuantity { held, asked: moved });
            }
            ShortMode::MissingBasisIsZeroCost => oversold && !deal.terms.margined,
            ShortMode::Rejected | ShortMode::Allowed => false,
        };
        if let Some(holding) = holding.filter(|_| closing.is_positive())
            && ctx.conventions.cost_basis == CostBasis::Specific
        {
            holding.lots.check_picks(&closing, &t.lots)?;
        }
        if !deal.terms.margined {
            let gross = Amounts { own: deal.cash.clone(), base: deal.gross.base.clone() };
            self.move_cash(e, &t.account, deal.currency, &gross.signed(side == Side::Long));
        }
        self.pay_costs(&deal);
        let exit = deal.part(closing, &moved);
        let rest = deal.rest(&exit, beyond);
        if without_basis {
            self.book_costs(&deal, &rest, true);
            self.sell_without_basis(&deal, &rest);
        }
        if exit.quantity.is_positive() {
            self.book_costs(&deal, &exit, true);
            self.close(&deal, &exit)?;
        }
        if rest.quantity.is_positive() && !without_basis {
            self.open(&deal, side, rest);
        }
        self.note_price(&deal, &quantity);
        Ok(())
    }

    /// Books the part of a sale that has no basis: its whole proceeds are profit, its quantity is reported.
    fn sell_without_basis(&mut self, deal: &Deal<'_>, part: &Part) {
        let costs = part.costs(deal.entry.ctx.conventions);
        let realized = &part.gross - &costs;
        let totals = &mut self.holding(&deal.key, deal.terms.settlement).totals;
        totals.realized_gross += &part.gross;
        totals.realized += &realized;
        totals.missing_quantity += &part.quantity;
        self.dispose(|| Disposal {
            kind: DisposalKind::WithoutBasis,
            closed: vec![Closed {
                lot: None,
                acquired_at: None,
                quantity: part.quantity.clone(),
                entry: Amounts::ZERO,
                entry_costs: Amounts::ZERO,
                exit: part.gross.clone(),
                exit_costs: costs,
                realized_gross: part.gross.clone(),
                realized,
                realized_fx: Some(Decimal::ZERO),
            }],
            ..deal.disposal(false)
        });
    }

    fn close(&mut self, deal: &Deal<'_>, part: &Part) -> Result<(), LedgerError> {
        let Entry { t, ctx } = deal.entry;
        let terms = deal.terms;
        let settlement = terms.settlement;
        let method = ctx.conventions.cost_basis;
        let exit = Exit {
            quantity: part.quantity.clone(),
            gross: part.gross.clone(),
            costs: part.costs(ctx.conventions),
            detailed: self.trace.is_some(),
        };
        let holding = self.holding(&deal.key, settlement);
        let (cycle, short) = (holding.cycles, holding.is_short());
        // The value of an inverse contract falls as its price rises: the dearest price is the least value.
        let cheapest_first = short != terms.inverse;
        let pieces = holding.lots.take(&exit.quantity, method, cheapest_first, &t.lots)?;
        let closing = AtClose::new(deal.entry, settlement);
        let now = |amount: &Decimal| closing.in_base(amount);
        let (realized, closed) = holding.realize(&pieces, &exit, terms, now);
        let profit = realized.gross.own;
        let profit = Amounts { base: now(&profit), own: profit };
        self.missing.extend(closing.missing());
        self.memberships.note(&deal.key, cycle, [t.id]);
        self.dispose(|| Disposal { closed, ..deal.disposal(short) });
        self.end_within_dust(deal.entry, &deal.key, deal.terms);
        if terms.margined {
            self.move_cash(deal.entry, &t.account, settlement, &profit);
        }
        Ok(())
    }

    /// Opens units, or adds them to the position there is, and books their costs.
    pub(super) fn open(&mut self, deal: &Deal<'_>, side: Side, part: Part) {
        let Entry { t, ctx } = deal.entry;
        let cycle = self.holding(&deal.key, deal.terms.settlement).begin(side, t.executed_at);
        self.memberships.note(&deal.key, cycle, [t.id]);
        self.book_costs(deal, &part, true);
        let lot = Lot {
            number: 0,
            transaction: t.id,
            acquired_at: t.executed_at,
            place: t.place,
            unit: deal.unit(),
            costs: part.costs(ctx.conventions),
            quantity: part.quantity,
            gross: part.gross,
        };
        self.holding(&deal.key, deal.terms.settlement).open(lot, ctx.conventions.cost_basis);
        self.end_within_dust(deal.entry, &deal.key, deal.terms);
    }

    pub(super) fn note_price(&mut self, deal: &Deal<'_>, quantity: &Decimal) {
        let t = deal.entry.t;
        let units = quantity * &deal.terms.multiplier;
        let price = match (&t.price, &t.gross_total) {
            (Some(price), _) if deal.terms.inverse || deal.currency == deal.terms.settlement => {
                Some(price.clone())
            }
            (None, None) => None,
            _ if deal.terms.inverse => units.divide(&deal.gross.own),
            _ => deal.gross.own.divide(&units),
        };
        if let Some(price) = price {
            self.holding(&deal.key, deal.terms.settlement).last_price = Some((t.executed_at, price));
        }
    }
}

//! Units and cash that move without a trade: in from outside, out to it, and between accounts.

use super::trades::Deal;
use super::{Book, Entry, HoldingKey, LedgerError};
use crate::domain::decimal::Decimal;
use crate::domain::pnl::amounts::{Amounts, difference, sum};
use crate::domain::pnl::holding::{Holding, Side};
use crate::domain::pnl::lots::{Lot, Piece};
use crate::domain::pnl::trace::{Closed, Disposal, DisposalKind, PostingKind};
use crate::domain::portfolio::{CostBasis, LotScope};

impl Book {
    pub(super) fn transfer_in(&mut self, e: Entry<'_>) -> Result<(), LedgerError> {
        let deal = self.deal(e)?;
        if deal.terms.margined {
            return Err(LedgerError::MarginedDelivery);
        }
        if self.holdings.get(&deal.key).is_some_and(Holding::is_short) {
            return Err(LedgerError::DeliveryIntoShort);
        }
        let quantity = e.t.quantity.clone().unwrap_or_default();
        self.pay_costs(&deal);
        let state = self.account(&e.t.account);
        state.contributions = sum(state.contributions.as_ref(), deal.gross.base.as_ref());
        let of = (e.t.account.as_str(), Some(deal.key.asset), deal.terms.settlement);
        self.post(e, PostingKind::Contribution, of, &deal.gross);
        self.open(&deal, Side::Long, deal.whole(quantity.clone()));
        self.note_price(&deal, &quantity);
        Ok(())
    }

    /// Takes units out of a long holding without a profit, at the cost they carry. They must be deliverable.
    fn take_out(&mut self, deal: &Deal<'_>, quantity: &Decimal) -> Result<Vec<Piece>, LedgerError> {
        let Entry { t, ctx } = deal.entry;
        let holding = self.holding(&deal.key, deal.terms.settlement);
        let cycle = holding.cycles;
        let pieces = holding.lots.take(quantity, ctx.conventions.cost_basis, false, &t.lots)?;
        self.memberships.note(&deal.key, cycle, [t.id]);
        self.end_within_dust(deal.entry, &deal.key, deal.terms);
        Ok(pieces)
    }

    /// The quantity of a delivery, when that much is held and the lots it names are there.
    fn deliverable(&self, deal: &Deal<'_>) -> Result<Decimal, LedgerError> {
        let Entry { t, ctx } = deal.entry;
        if deal.terms.margined {
            return Err(LedgerError::MarginedDelivery);
        }
        let quantity = t.quantity.clone().unwrap_or_default();
        let holding = self.holdings.get(&deal.key).filter(|holding| !holding.is_short());
        let held = holding.map(Holding::quantity).unwrap_or_default();
        if quantity > held {
            return Err(LedgerError::InsufficientQuantity { held, asked: quantity });
        }
        // Between accounts that share their lots nothing leaves a lot.
        let stays = t.to_account.is_some() && ctx.conventions.lot_scope == LotScope::Global;
        let by_lot = ctx.conventions.cost_basis == CostBasis::Specific && !stays;
        if let Some(holding) = holding.filter(|_| by_lot) {
            holding.lots.check_picks(&quantity, &t.lots)?;
        }
        Ok(quantity)
    }

    pub(super) fn transfer_out(&mut self, e: Entry<'_>) -> Result<(), LedgerError> {
        let deal = self.deal(e)?;
        let quantity = self.deliverable(&deal)?;
        self.charge_apart(&deal);
        let pieces = self.take_out(&deal, &quantity)?;
        let cost = pieces.iter().fold(Amounts::ZERO, |sum, piece| &(&sum + &piece.gross) + &piece.costs);
        let state = self.account(&e.t.account);
        state.contributions = difference(state.contributions.as_ref(), cost.base.as_ref());
        let of = (e.t.account.as_str(), Some(deal.key.asset), deal.terms.settlement);
        self.post(e, PostingKind::Contribution, of, &(-cost));
        self.dispose(|| Disposal {
            kind: DisposalKind::Delivery,
            closed: pieces.into_iter().map(delivered).collect(),
            ..deal.disposal(false)
        });
        Ok(())
    }

    pub(super) fn transfer(&mut self, e: Entry<'_>) -> Result<(), LedgerError> {
        let Entry { t, ctx } = e;
        let to_account = t.to_account.clone().unwrap_or_default();
        if t.amount.is_some() {
            self.transfer_cash(e, &to_account);
            return Ok(());
        }
        let deal = self.deal(e)?;
        let quantity = self.deliverable(&deal)?;
        let key = HoldingKey { account: to_account.clone(), asset: deal.key.asset };
        if ctx.conventions.lot_scope == LotScope::Account
            && self.holdings.get(&key).is_some_and(Holding::is_short)
        {
            return Err(LedgerError::DeliveryIntoShort);
        }
        self.charge_apart(&deal);
        if ctx.conventions.lot_scope == LotScope::Global {
            // The lots belong to every account already; only what cannot be is refused.
            return Ok(());
        }
        let last_price = self.holdings.get(&deal.key).and_then(|holding| holding.last_price.clone());
        let pieces = self.take_out(&deal, &quantity)?;
        let cost = pieces.iter().fold(Amounts::ZERO, |sum, piece| &(&sum + &piece.gross) + &piece.costs);
        self.note_internal(e, &to_account, cost.base.as_ref());
        let holding = self.holding(&key, deal.terms.settlement);
        let cycle = holding.begin(Side::Long, t.executed_at);
        for piece in pieces {
            holding.open(arrived(piece), ctx.conventions.cost_basis);
        }
        if holding.last_price.is_none() {
            holding.last_price = last_price;
        }
        self.memberships.note(&key, cycle, [t.id]);
        self.end_within_dust(e, &key, deal.terms);
        Ok(())
    }
}

fn arrived(piece: Piece) -> Lot {
    Lot {
        number: 0,
        transaction: piece.transaction,
        acquired_at: piece.acquired_at,
        place: piece.place,
        quantity: piece.quantity,
        unit: piece.unit,
        gross: piece.gross,
        costs: piece.costs,
    }
}

fn delivered(piece: Piece) -> Closed {
    Closed {
        lot: Some(piece.transaction),
        acquired_at: Some(piece.acquired_at),
        quantity: piece.quantity,
        exit: &piece.gross + &piece.costs,
        entry: piece.gross,
        entry_costs: piece.costs,
        exit_costs: Amounts::ZERO,
        realized_gross: Amounts::ZERO,
        realized: Amounts::ZERO,
        realized_fx: Some(Decimal::ZERO),
    }
}

//! Lots day by day. A lot is worth something on every day, but only the days on which units entered or left it, and the
//! eves of those days, can change what its growths multiply to: only they are told, with the first stop and the last.
//!
//! What enters a lot is the cost of its units; what leaves it is the cost they carried and the profit they made, which
//! is what they brought. Units delivered out leave at their cost. Under `average` a holding has one lot. Of a margined
//! contract nothing is paid but its costs: it is worth its rise, and those and its profit are all that moves.

use super::{DayRates, Gap, Step, Walk, add};
use crate::domain::decimal::Decimal;
use crate::domain::ids::{AssetKey, TransactionId};
use crate::domain::moment::Moment;
use crate::domain::pnl::amounts::{Amounts, difference, sum};
use crate::domain::pnl::book::LedgerError;
use crate::domain::pnl::holding::signed_basis;
use crate::domain::pnl::lots::Lot;
use crate::domain::pnl::trace::DisposalKind;
use crate::domain::transaction::{Transaction, TransactionType};
use std::collections::{BTreeMap, BTreeSet};

/// An asset and the transaction that opened the lot.
pub type LotKey = (AssetKey, TransactionId);

/// What became of the lots.
#[derive(Debug, Default)]
pub(super) struct LotSteps {
    /// The stops at which something is told of a lot, ascending.
    told: BTreeMap<LotKey, Vec<(usize, Step)>>,
    /// What entered and left lots since the last stop.
    flows: BTreeMap<LotKey, Step>,
    /// Disposals that were taken in.
    disposals: usize,
}

/// What units took when they were opened, in base currency: of a margined contract their costs alone.
fn paid_for(gross: &Amounts, costs: &Amounts, (short, margined): (bool, bool)) -> Option<Decimal> {
    if margined { costs.base.clone() } else { signed_basis(gross, costs, short).base }
}

impl Walk<'_> {
    /// The lots of the course: the stops at which something is to tell, and what.
    pub const fn lots(&self) -> &BTreeMap<LotKey, Vec<(usize, Step)>> {
        &self.lots.told
    }

    /// Folds a row of an asset, and notes what entered and left its lots.
    pub(super) fn fold_lots(&mut self, t: &Transaction, outside: bool) -> Result<(), LedgerError> {
        let Some(asset) = t.asset else { return Ok(()) };
        let contributed = |walk: &Self| {
            let state = walk.book.accounts.get(&t.account);
            state.map_or(Some(Decimal::ZERO), |state| state.contributions.clone())
        };
        let margined = self.course.ctx.terms.at(asset, t.executed_at).is_some_and(|terms| terms.margined);
        let (before, paid_before) = (self.bases(asset, margined), contributed(self));
        self.book.admit(t, self.course.ctx, self.course.tolerated)?;
        self.touch(t);
        if outside {
            let paid = contributed(self);
            self.flow.add_flow(difference(paid.as_ref(), paid_before.as_ref()).as_ref());
        }
        let mut entered = self.bases(asset, margined);
        for (key, basis) in &before {
            let after = entered.entry(*key).or_insert(Some(Decimal::ZERO));
            *after = difference(after.as_ref(), basis.as_ref());
        }
        let disposals = self.book.trace.as_ref().map_or(0, |trace| trace.disposals.len());
        let fresh = self.book.trace.iter().flat_map(|trace| trace.disposals.iter().skip(self.lots.disposals));
        // Units that go to another account stay in their lot; what is left of them there, or here, may be dust and end.
        let stays = |kind| t.kind == TransactionType::Transfer && kind != DisposalKind::Dust;
        for disposal in fresh.filter(|disposal| !stays(disposal.kind)) {
            for closed in &disposal.closed {
                let Some(lot) = closed.lot else { continue };
                let basis = paid_for(&closed.entry, &closed.entry_costs, (disposal.short, margined));
                let key = (disposal.holding.asset, lot);
                let grown = entered.entry(key).or_insert(Some(Decimal::ZERO));
                *grown = sum(grown.as_ref(), basis.as_ref());
                let delivered = disposal.kind == DisposalKind::Delivery;
                let profit = if delivered { Some(Decimal::ZERO) } else { closed.realized.base.clone() };
                let brought = sum(basis.as_ref(), profit.as_ref()).map(|brought| -brought);
                self.lots.flows.entry(key).or_insert(Step::NOTHING).add_flow(brought.as_ref());
            }
        }
        self.lots.disposals = disposals;
        for (key, cost) in entered {
            if cost.as_ref().is_none_or(|cost| !cost.is_zero()) {
                self.lots.flows.entry(key).or_insert(Step::NOTHING).add_flow(cost.as_ref());
            }
        }
        Ok(())
    }

    /// Cost of the open lots of an asset, in base currency.
    fn bases(&self, asset: AssetKey, margined: bool) -> BTreeMap<LotKey, Option<Decimal>> {
        let mut bases = BTreeMap::new();
        for holding in self.book.holdings.iter().filter(|(key, _)| key.asset == asset).map(|(_, h)| h) {
            for lot in &holding.lots.0 {
                let cost = paid_for(&lot.gross, &lot.costs, (holding.is_short(), margined));
                let total = bases.entry((asset, lot.transaction)).or_insert(Some(Decimal::ZERO));
                add(total, cost.as_ref());
            }
        }
        bases
    }

    /// Tells what the lots are worth at the end of the day before one on which their asset moves.
    pub(super) fn eve_of_lots(&mut self, end: Moment) {
        let Some(eve) = self.stop.checked_sub(1).filter(|_| self.level == super::Level::Lot) else { return };
        let rows = self.course.ledger.get(self.folded..).unwrap_or_default();
        let moving: BTreeSet<AssetKey> =
            rows.iter().take_while(|t| t.executed_at <= end).filter_map(|t| t.asset).collect();
        let before = self.course.ends.get(eve).copied().unwrap_or(Moment::MIN);
        for asset in moving {
            for (key, value) in self.worth_of_lots(asset, before) {
                let told = self.lots.told.entry(key).or_default();
                if told.last().is_none_or(|(stop, _)| *stop < eve) {
                    told.push((eve, Step { value, ..Step::NOTHING }));
                }
            }
        }
    }

    /// Tells of the lots that moved since the last stop; at the first and the last stop, of all that are open.
    pub(super) fn close_of_lots(&mut self, end: Moment) {
        if self.level != super::Level::Lot {
            return;
        }
        let all = self.stop == 0 || self.stop + 1 == self.course.ends.len();
        let mut flows = std::mem::take(&mut self.lots.flows);
        let mut moved: BTreeSet<AssetKey> = flows.keys().map(|(asset, _)| *asset).collect();
        if all {
            moved.extend(self.book.holdings.keys().map(|key| key.asset));
        }
        let mut worth = BTreeMap::new();
        for asset in moved {
            worth.extend(self.worth_of_lots(asset, end));
        }
        if all {
            for key in worth.keys() {
                flows.entry(*key).or_insert(Step::NOTHING);
            }
        }
        for (key, flow) in flows {
            let value = worth.remove(&key).unwrap_or(Some(Decimal::ZERO));
            self.lots.told.entry(key).or_default().push((self.stop, Step { value, ..flow }));
        }
    }

    /// What the open lots of an asset are worth in base currency, at the price in force.
    fn worth_of_lots(&self, asset: AssetKey, end: Moment) -> BTreeMap<LotKey, Option<Decimal>> {
        let mut worth = BTreeMap::new();
        let pricing = self.places.get(&asset).and_then(|place| self.pricings.get(*place));
        let Some(pricing) = pricing else { return worth };
        let terms = self.terms(pricing, end);
        let mut rates = DayRates { ctx: self.course.ctx, end, known: Vec::new() };
        let mut gaps: BTreeSet<Gap> = BTreeSet::new();
        for holding in self.book.holdings.iter().filter(|(key, _)| key.asset == asset).map(|(_, h)| h) {
            let last = holding.last_price.as_ref().map(|(_, price)| price);
            let price = pricing.price.as_ref().or(last);
            let short = holding.is_short();
            let value = |lot: &Lot| {
                let terms = terms?;
                let notional = terms.notional(&lot.quantity, price?).unwrap_or(Decimal::ZERO);
                if !terms.margined {
                    return Some(if short { -notional } else { notional });
                }
                let rise = notional - &lot.gross.own;
                Some(if short == terms.inverse { rise } else { -rise })
            };
            for lot in &holding.lots.0 {
                let base = value(lot).and_then(|own| rates.convert(&own, holding.currency, &mut gaps));
                let total = worth.entry((asset, lot.transaction)).or_insert(Some(Decimal::ZERO));
                add(total, base.as_ref());
            }
        }
        worth
    }
}

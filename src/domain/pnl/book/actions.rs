//! Corporate actions in the fold: who is paid a dividend, whose units are whose, and rows that an action has put at
//! odds with a rule.

use super::plain::PlainTrades;
use super::{Book, Context, EVERY_ACCOUNT, Entry, HoldingKey, LedgerError};
use crate::domain::decimal::Decimal;
use crate::domain::ids::{AssetKey, TransactionId};
use crate::domain::pnl::holding::Holding;
use crate::domain::portfolio::{Conventions, CostBasis, LotScope, ShortMode};
use crate::domain::transaction::{Transaction, TransactionType};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// A row that breaks a rule after a corporate action of its asset was recorded, changed or voided. The action stands,
/// so the row was folded as far as it could be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flag {
    /// The row; of a corporate action, its id.
    pub transaction: TransactionId,
    /// Whether it is a corporate action itself.
    pub asset_level: bool,
    /// The asset.
    pub asset: Option<AssetKey>,
    /// The rule it breaks.
    pub error: LedgerError,
    /// Whether nothing of it could be folded.
    pub left_out: bool,
}

impl Book {
    /// Folds one row. A row of one of the `tolerated` assets that breaks a rule is flagged and folded under
    /// `short: allowed`: units that are not held are sold short, lots that are not there are replaced by the oldest,
    /// a delivery takes what is held. What cannot be folded even so is left out.
    ///
    /// # Errors
    /// [`LedgerError`] when a rule refuses a row of another asset.
    pub fn admit(
        &mut self,
        t: &Transaction,
        ctx: Context<'_>,
        tolerated: &BTreeSet<AssetKey>,
    ) -> Result<(), LedgerError> {
        let Err(error) = self.apply(t, ctx) else { return Ok(()) };
        if !t.asset.is_some_and(|asset| tolerated.contains(&asset)) {
            return Err(error);
        }
        let left_out = !self.fold_all_the_same(t, ctx);
        let (transaction, asset_level, asset) = (t.id, t.asset_level, t.asset);
        self.flags.push(Flag { transaction, asset_level, asset, error, left_out });
        Ok(())
    }

    /// Folds a refused row under `allowed`; `false` when that cannot be.
    fn fold_all_the_same(&mut self, t: &Transaction, ctx: Context<'_>) -> bool {
        let named = ctx.conventions.cost_basis == CostBasis::Specific;
        let cost_basis = if named { CostBasis::Fifo } else { ctx.conventions.cost_basis };
        let any_lot = Conventions { short: ShortMode::Allowed, cost_basis, ..ctx.conventions.clone() };
        let ctx = Context { conventions: &any_lot, ..ctx };
        match self.apply(t, ctx) {
            Ok(()) => true,
            Err(LedgerError::InsufficientQuantity { held, .. }) if held.is_positive() => {
                self.apply(&Transaction { quantity: Some(held), ..t.clone() }, ctx).is_ok()
            }
            Err(_) => false,
        }
    }

    /// Pays a dividend of the asset to every account that holds units, and takes it from every account that owes some.
    pub(super) fn pay_holders(&mut self, e: Entry<'_>) -> Result<(), LedgerError> {
        let Entry { t, ctx } = e;
        let Some(asset) = t.asset else { return Ok(()) };
        for (account, units) in self.units_by_account(asset, ctx.conventions.lot_scope) {
            let mut paid = Transaction { account, ..t.clone() };
            paid.amount = t.amount.as_ref().map(|amount| amount * &units);
            // Nothing is kept back of what a short position pays.
            paid.tax = if units.is_positive() { &t.tax * &units } else { Decimal::ZERO };
            self.dividend(Entry { t: &paid, ctx })?;
        }
        Ok(())
    }

    /// The units of an asset in each account, negative where they are owed.
    fn units_by_account(&self, asset: AssetKey, scope: LotScope) -> Vec<(String, Decimal)> {
        let held = |(key, holding): (&HoldingKey, &Holding)| match scope {
            LotScope::Account => vec![(key.account.clone(), holding.quantity())],
            LotScope::Global => {
                holding.units.iter().map(|(name, units)| (name.clone(), units.clone())).collect()
            }
        };
        let holdings = self.holdings.iter().filter(|(key, _)| key.asset == asset);
        holdings.flat_map(held).filter(|(_, units)| !units.is_zero()).collect()
    }

    /// Keeps true which account has how many units where the lots belong to all of them: what an entry adds or takes,
    /// its own account gains or loses.
    pub(super) fn note_units(&mut self, e: Entry<'_>) {
        let Entry { t, ctx } = e;
        let (LotScope::Global, Some(asset)) = (ctx.conventions.lot_scope, t.asset) else { return };
        let key = HoldingKey { account: EVERY_ACCOUNT.to_owned(), asset };
        let Some(holding) = self.holdings.get_mut(&key) else { return };
        let mut account = t.account.clone();
        match (t.kind, &t.to_account, &t.quantity, &t.ratio_num, &t.ratio_den) {
            (TransactionType::Transfer, Some(to), Some(quantity), _, _) => {
                *holding.units.entry(account.clone()).or_default() -= quantity;
                *holding.units.entry(to.clone()).or_default() += quantity;
            }
            (TransactionType::Split, _, _, Some(numerator), Some(denominator)) => {
                for units in holding.units.values_mut() {
                    *units = units.share(numerator, denominator);
                }
                // Where the division does not end, the largest takes what the others leave.
                let largest = holding.units.iter().max_by(|a, b| a.1.abs().cmp(&b.1.abs()));
                account = largest.map_or(account, |(name, _)| name.clone());
            }
            _ => {}
        }
        let known: Decimal = holding.units.values().cloned().sum();
        let change = &holding.quantity() - &known;
        *holding.units.entry(account).or_default() += &change;
        holding.units.retain(|_, units| !units.is_zero());
    }
}

/// Folds a ledger onto a book, in order, flagging what breaks a rule in one of the `tolerated` assets.
///
/// # Errors
/// The first row of another asset that the ledger refuses, with the rule it breaks.
pub fn fold_flagging(
    mut book: Book,
    ledger: &[Transaction],
    ctx: Context<'_>,
    tolerated: &BTreeSet<AssetKey>,
) -> Result<Book, (TransactionId, LedgerError)> {
    let mut plain = PlainTrades::new(&book, ctx);
    for t in ledger {
        if !plain.take(&mut book, t) {
            book.admit(t, ctx, tolerated).map_err(|error| (t.id, error))?;
        }
    }
    plain.end(&mut book);
    Ok(book)
}

#[cfg(test)]
mod tests;

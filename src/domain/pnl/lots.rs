//! Lots: what was opened when and for how much, and which of them a disposal consumes.

use crate::domain::decimal::Decimal;
use crate::domain::ids::TransactionId;
use crate::domain::moment::Moment;
use crate::domain::pnl::amounts::Amounts;
use crate::domain::portfolio::CostBasis;
use crate::domain::transaction::LotPick;
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;
use std::collections::{BTreeMap, VecDeque};

/// Units opened together. `gross` is their value at opening, before costs; `costs` are the fees and taxes
/// that the convention puts into cost. Both are unsigned: the side is the holding's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lot {
    /// Number inside its holding.
    pub number: u64,
    /// The transaction that opened it.
    pub transaction: TransactionId,
    /// When its units were acquired (sold, for a short one). A transfer keeps it.
    pub acquired_at: Moment,
    /// Order among lots acquired at one moment.
    pub place: i64,
    /// Units left, above zero.
    pub quantity: Decimal,
    /// Exact value of one unit, where the opening trade stated one.
    pub unit: Option<Decimal>,
    /// Value at opening of the units left.
    pub gross: Amounts,
    /// Costs of the units left.
    pub costs: Amounts,
}

/// Units taken out of one lot, with their part of its value and costs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// The lot's opening transaction.
    pub transaction: TransactionId,
    /// The lot's date.
    pub acquired_at: Moment,
    /// The lot's order among those of its date.
    pub place: i64,
    /// Units taken.
    pub quantity: Decimal,
    /// Exact value of one unit, where the lot has one.
    pub unit: Option<Decimal>,
    /// Their value at opening.
    pub gross: Amounts,
    /// Their costs.
    pub costs: Amounts,
}

/// The open lots of a holding, oldest first. Under `average` there is at most one.
///
/// Beside them their total is kept, so that a trade does not add all of them up; it is `None` until the first change.
/// The quantity of a lot is changed here and nowhere else.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Lots(pub VecDeque<Lot>, #[serde(skip)] Option<Decimal>);

impl PartialEq for Lots {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl Eq for Lots {}

impl FromIterator<Lot> for Lots {
    fn from_iter<I: IntoIterator<Item = Lot>>(lots: I) -> Self {
        Self(lots.into_iter().collect(), None)
    }
}

/// Why lots that a disposal names cannot be taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum PickError {
    /// No open lot was opened by that transaction.
    #[error("no open lot of transaction {0}")]
    NoSuchLot(TransactionId),
    /// The lot holds less.
    #[error("the lot of transaction {lot} holds {held}, less than {asked}")]
    TooLarge {
        /// The lot's opening transaction.
        lot: TransactionId,
        /// Units it holds.
        held: Decimal,
        /// Units asked of it.
        asked: Decimal,
    },
    /// The named quantities are not the quantity sold.
    #[error("the lots named add up to {named}, not to the quantity {quantity}")]
    WrongSum {
        /// Sum of the named quantities.
        named: Decimal,
        /// Quantity of the disposal.
        quantity: Decimal,
    },
    /// Specific identification without lots.
    #[error("cost basis `specific` needs the lots that are sold")]
    NothingNamed,
}

impl Lot {
    /// Takes `quantity` units, at most what is left.
    fn take(&mut self, quantity: &Decimal) -> Piece {
        let whole = &self.quantity;
        let gross = self.gross.share_at(self.unit.as_ref(), quantity, whole);
        let costs = self.costs.share(quantity, whole);
        self.quantity -= quantity;
        self.gross -= &gross;
        self.costs -= &costs;
        Piece {
            transaction: self.transaction,
            acquired_at: self.acquired_at,
            place: self.place,
            quantity: quantity.clone(),
            unit: self.unit.clone(),
            gross,
            costs,
        }
    }

    /// Order by dearness of one unit, without dividing. Costs make a lot dearer where the dear are sought, and
    /// where the cheap are, cheaper: either way they lessen the gain.
    fn dearness(&self, other: &Self, net: bool) -> Ordering {
        let cost =
            |lot: &Self| if net { &lot.gross.own - &lot.costs.own } else { &lot.gross.own + &lot.costs.own };
        (cost(self) * &other.quantity).cmp(&(cost(other) * &self.quantity))
    }
}

impl Lots {
    /// Units in all lots together.
    pub fn quantity(&self) -> Decimal {
        self.1.clone().unwrap_or_else(|| self.added_up())
    }

    fn added_up(&self) -> Decimal {
        self.0.iter().fold(Decimal::ZERO, |sum, lot| &sum + &lot.quantity)
    }

    /// The total, to be changed with the lots.
    fn total(&mut self) -> &mut Decimal {
        let added_up = if self.1.is_none() { self.added_up() } else { Decimal::ZERO };
        self.1.get_or_insert(added_up)
    }

    /// Takes every lot out.
    pub fn empty(&mut self) -> VecDeque<Lot> {
        self.1 = None;
        std::mem::take(&mut self.0)
    }

    /// Puts a lot in its place by date; under `average` into the one lot there is.
    pub fn insert(&mut self, lot: Lot, method: CostBasis) {
        *self.total() += &lot.quantity;
        if method == CostBasis::Average
            && let Some(pool) = self.0.front_mut()
        {
            pool.unit = pool.unit.take().filter(|unit| Some(unit) == lot.unit.as_ref());
            pool.quantity += &lot.quantity;
            pool.gross += &lot.gross;
            pool.costs += &lot.costs;
            return;
        }
        let key = (lot.acquired_at, lot.place, lot.number);
        let later = |other: &Lot| (other.acquired_at, other.place, other.number) <= key;
        let at = if self.0.back().is_none_or(later) { self.0.len() } else { self.0.partition_point(later) };
        self.0.insert(at, lot);
    }

    /// Takes `quantity` units, at most all there are, in the order of the method. HIFO takes the dearest
    /// first, or with `cheapest_first` the one of least value: for a short position, or an inverse contract,
    /// that is the one that leaves the smaller gain. Ties go by date.
    ///
    /// # Errors
    /// [`PickError`] under `specific`, when the named lots cannot be taken.
    pub fn take(
        &mut self,
        quantity: &Decimal,
        method: CostBasis,
        cheapest_first: bool,
        picks: &[LotPick],
    ) -> Result<Vec<Piece>, PickError> {
        self.total();
        let pieces = if method == CostBasis::Specific {
            self.take_named(quantity, picks)?
        } else {
            self.take_in_order(quantity, method, cheapest_first)
        };
        for piece in &pieces {
            *self.total() -= &piece.quantity;
        }
        Ok(pieces)
    }

    fn take_in_order(&mut self, quantity: &Decimal, method: CostBasis, cheapest_first: bool) -> Vec<Piece> {
        let mut left = quantity.clone();
        let mut pieces = Vec::new();
        while left.is_positive() {
            let index = match method {
                CostBasis::Lifo => self.0.len().saturating_sub(1),
                CostBasis::Hifo => self.first_by_value(cheapest_first),
                CostBasis::Fifo | CostBasis::Average | CostBasis::Specific => 0,
            };
            let Some(lot) = self.0.get_mut(index) else { break };
            let piece = lot.take(&left.smaller(&lot.quantity));
            left -= &piece.quantity;
            let emptied = lot.quantity.is_zero();
            pieces.push(piece);
            if emptied {
                self.0.remove(index);
            }
        }
        pieces
    }

    fn first_by_value(&self, cheapest: bool) -> usize {
        let mut best = 0;
        for (index, lot) in self.0.iter().enumerate() {
            let Some(current) = self.0.get(best) else { break };
            let order = lot.dearness(current, cheapest);
            if order == (if cheapest { Ordering::Less } else { Ordering::Greater }) {
                best = index;
            }
        }
        best
    }

    /// Whether the lots a disposal of `quantity` names are open and hold what is asked of them.
    ///
    /// # Errors
    /// [`PickError`] tells what is wrong with them.
    pub fn check_picks(&self, quantity: &Decimal, picks: &[LotPick]) -> Result<(), PickError> {
        if picks.is_empty() {
            return Err(PickError::NothingNamed);
        }
        let named: Decimal = picks.iter().map(|pick| pick.quantity.clone()).sum();
        if named != *quantity {
            return Err(PickError::WrongSum { named, quantity: quantity.clone() });
        }
        let mut asked: BTreeMap<TransactionId, Decimal> = BTreeMap::new();
        for pick in picks {
            *asked.entry(pick.transaction).or_default() += &pick.quantity;
        }
        for (transaction, asked) in asked {
            let lots = self.0.iter().filter(|lot| lot.transaction == transaction);
            let held: Decimal = lots.map(|lot| lot.quantity.clone()).sum();
            if held.is_zero() {
                return Err(PickError::NoSuchLot(transaction));
            }
            if held < asked {
                return Err(PickError::TooLarge { lot: transaction, held, asked });
            }
        }
        Ok(())
    }

    fn take_named(&mut self, quantity: &Decimal, picks: &[LotPick]) -> Result<Vec<Piece>, PickError> {
        self.check_picks(quantity, picks)?;
        let mut pieces = Vec::new();
        for pick in picks {
            let mut left = pick.quantity.clone();
            for lot in self.0.iter_mut().filter(|lot| lot.transaction == pick.transaction) {
                if left.is_positive() && lot.quantity.is_positive() {
                    let piece = lot.take(&left.smaller(&lot.quantity));
                    left -= &piece.quantity;
                    pieces.push(piece);
                }
            }
        }
        self.0.retain(|lot| lot.quantity.is_positive());
        Ok(pieces)
    }

    /// New units for old at unchanged cost. The total is rounded once where the division does not end, and the
    /// largest lot takes what the others leave, so that three thirds are a whole again.
    pub fn split(&mut self, numerator: &Decimal, denominator: &Decimal) {
        let before = self.quantity();
        self.1 = None;
        let total = before.share(numerator, denominator);
        for lot in &mut self.0 {
            let new = lot.quantity.share(numerator, denominator);
            let old = std::mem::replace(&mut lot.quantity, new);
            // The unit value stays exact only where the divisions end; otherwise shares are divided.
            let exact = &lot.quantity * denominator == &old * numerator;
            lot.unit = lot.unit.take().filter(|_| exact).and_then(|unit| {
                let new = (&unit * denominator).divide(numerator)?;
                (&new * numerator == &unit * denominator).then_some(new)
            });
        }
        let rest = &total - &self.quantity();
        if !rest.is_zero()
            && let Some(largest) = self.0.iter_mut().max_by(|a, b| a.quantity.cmp(&b.quantity))
        {
            largest.quantity += &rest;
            largest.unit = None;
        }
    }
}

#[cfg(test)]
mod tests;

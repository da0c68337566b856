//! Lots of the reference, and which of them a disposal takes.

use super::number::{Money, Number, Undecided};
use artifact::domain::ids::TransactionId;
use artifact::domain::moment::Moment;
use artifact::domain::portfolio::CostBasis;
use artifact::domain::transaction::LotPick;
use std::cmp::Ordering;

#[derive(Clone, Debug)]
pub(super) struct Lot {
    pub(super) opener: TransactionId,
    pub(super) acquired: Moment,
    pub(super) place: i64,
    pub(super) quantity: Number,
    /// Price times multiplier, where the opening trade stated a price in the settlement currency.
    pub(super) unit: Option<Number>,
    pub(super) gross: Money,
    pub(super) costs: Money,
}

/// Whose lots they are, as far as it says which come first.
#[derive(Clone, Copy)]
pub(super) struct Kind {
    pub(super) short: bool,
    pub(super) inverse: bool,
    /// Whether own and base currency are one.
    pub(super) one_currency: bool,
}

impl Lot {
    /// Takes units out of it, all but some.
    fn part(&mut self, quantity: &Number, one_currency: bool) -> Self {
        let mut gross = self.gross.share(quantity, &self.quantity);
        if let Some(unit) = &self.unit {
            gross.own = unit.times(quantity);
            if one_currency {
                gross.base = Some(gross.own.clone());
            }
        }
        let costs = self.costs.share(quantity, &self.quantity);
        let piece = Self { quantity: quantity.clone(), gross, costs, ..self.clone() };
        self.quantity = self.quantity.minus(&piece.quantity);
        self.gross = self.gross.minus(&piece.gross);
        self.costs = self.costs.minus(&piece.costs);
        piece
    }
}

/// Puts a lot where its date belongs; under `average` into the one there is, which is dated by what entered it first.
pub(super) fn insert(lots: &mut Vec<Lot>, lot: Lot, method: CostBasis) {
    if method == CostBasis::Average && !lots.is_empty() {
        let old = lots.remove(0);
        lots.push(Lot {
            quantity: old.quantity.plus(&lot.quantity),
            unit: None,
            gross: old.gross.plus(&lot.gross),
            costs: old.costs.plus(&lot.costs),
            ..old
        });
        return;
    }
    let at = lots.partition_point(|other| (other.acquired, other.place) <= (lot.acquired, lot.place));
    lots.insert(at, lot);
}

/// Which of two lots HIFO takes first: the one that leaves the smaller gain.
fn smaller_gain(a: &Lot, b: &Lot, kind: Kind) -> Result<Ordering, Undecided> {
    let first_is_dear = kind.short == kind.inverse;
    let unit = |lot: &Lot| {
        let cost = lot.costs.own.signed(!first_is_dear);
        lot.gross.own.plus(&cost)
    };
    // a / qa against b / qb, without the division.
    let (a_unit, b_unit) = (unit(a).times(&b.quantity), unit(b).times(&a.quantity));
    if first_is_dear { b_unit.against(&a_unit) } else { a_unit.against(&b_unit) }
}

fn ordered(lots: &[Lot], method: CostBasis, kind: Kind) -> Result<Vec<usize>, Undecided> {
    let mut order: Vec<usize> = (0..lots.len()).collect();
    match method {
        CostBasis::Lifo => order.reverse(),
        CostBasis::Hifo => {
            // Insertion sort: every comparison may be undecided.
            let mut sorted: Vec<usize> = Vec::new();
            for index in order {
                let mut at = sorted.len();
                while at > 0 && smaller_gain(&lots[index], &lots[sorted[at - 1]], kind)? == Ordering::Less {
                    at -= 1;
                }
                sorted.insert(at, index);
            }
            order = sorted;
        }
        CostBasis::Fifo | CostBasis::Average | CostBasis::Specific => {}
    }
    Ok(order)
}

/// Takes `quantity` of the units in `lots`, whose sum is `held`.
pub(super) fn take(
    lots: &mut Vec<Lot>,
    (quantity, held): (&Number, &Number),
    method: CostBasis,
    kind: Kind,
    picks: &[LotPick],
) -> Result<Vec<Lot>, Undecided> {
    if quantity.against(held)? == Ordering::Equal && method != CostBasis::Specific {
        return Ok(std::mem::take(lots));
    }
    let order = ordered(lots, method, kind)?;
    let mut asked: Vec<(Option<TransactionId>, Number)> = vec![(None, quantity.clone())];
    if method == CostBasis::Specific {
        asked = picks.iter().map(|pick| (Some(pick.transaction), Number::of(&pick.quantity))).collect();
    }
    let mut pieces = Vec::new();
    let mut spent = vec![false; lots.len()];
    for (opener, mut left) in asked {
        for index in order.iter().copied() {
            let lot = &mut lots[index];
            if spent[index] || opener.is_some_and(|opener| opener != lot.opener) {
                continue;
            }
            if left.against(&Number::zero())? != Ordering::Greater {
                break;
            }
            if left.against(&lot.quantity)? == Ordering::Less {
                pieces.push(lot.part(&left, kind.one_currency));
                left = Number::zero();
            } else {
                left = left.minus(&lot.quantity);
                spent[index] = true;
                pieces.push(lot.clone());
            }
        }
        let missing = left.against(&Number::zero())? == Ordering::Greater;
        assert!(!missing, "the lots hold less than was asked of them");
    }
    let mut spent = spent.into_iter();
    lots.retain(|_| !spent.next().unwrap());
    Ok(pieces)
}

//! A holding: everything the fold knows about one asset of one account.

use crate::domain::asset::Terms;
use crate::domain::currency::Currency;
use crate::domain::decimal::Decimal;
use crate::domain::moment::Moment;
use crate::domain::pnl::amounts::{Amounts, difference, sum};
use crate::domain::pnl::lots::{Lot, Lots, Piece};
use crate::domain::pnl::trace::{Closed, Realized, share_out};
use crate::domain::portfolio::CostBasis;
use crate::named_enum;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

named_enum! {
    /// Which way a position points.
    Side {
        /// Units are owned.
        Long = "LONG",
        /// Units are owed.
        Short = "SHORT",
    }
}

/// Sums over the life of a holding. Own currency is the one the asset settles in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Realised profit before fees and taxes.
    pub realized_gross: Amounts,
    /// Realised profit under the convention.
    pub realized: Amounts,
    /// The currency part of it, in base currency.
    pub realized_fx: Amounts,
    /// Dividends before fees and taxes.
    pub income: Amounts,
    /// Fees paid.
    pub fees: Amounts,
    /// Taxes paid.
    pub taxes: Amounts,
    /// Those fees and taxes that are neither in cost nor in realised profit.
    pub costs_apart: Amounts,
    /// Units sold without a basis, under `missing_basis_is_zero_cost`.
    pub missing_quantity: Decimal,
}

impl Totals {
    /// These sums and others together.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        Self {
            realized_gross: &self.realized_gross + &other.realized_gross,
            realized: &self.realized + &other.realized,
            realized_fx: &self.realized_fx + &other.realized_fx,
            income: &self.income + &other.income,
            fees: &self.fees + &other.fees,
            taxes: &self.taxes + &other.taxes,
            costs_apart: &self.costs_apart + &other.costs_apart,
            missing_quantity: &self.missing_quantity + &other.missing_quantity,
        }
    }

    /// What was added since `start`.
    #[must_use]
    pub fn since(&self, start: &Self) -> Self {
        Self {
            realized_gross: &self.realized_gross - &start.realized_gross,
            realized: &self.realized - &start.realized,
            realized_fx: &self.realized_fx - &start.realized_fx,
            income: &self.income - &start.income,
            fees: &self.fees - &start.fees,
            taxes: &self.taxes - &start.taxes,
            costs_apart: &self.costs_apart - &start.costs_apart,
            missing_quantity: &self.missing_quantity - &start.missing_quantity,
        }
    }
}

/// One run of a holding from flat to flat: a position.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cycle {
    /// Counts the positions of the holding, from 1.
    pub ordinal: u64,
    /// Which way it points.
    pub side: Side,
    /// Moment of its first entry.
    pub opened_at: Moment,
    /// Moment it became flat.
    pub closed_at: Option<Moment>,
    /// Units that ever entered it.
    pub entered_quantity: Decimal,
    /// Their value at entry with the costs the convention puts into it; unsigned, of a short one less costs.
    pub entered_cost: Decimal,
    /// Units that left it by a trade.
    pub exited_quantity: Decimal,
    /// Their value at exit, before costs.
    pub exited_gross: Decimal,
    /// The holding's sums when it opened; once closed, the sums of this position alone.
    pub totals: Totals,
}

/// What a disposal brings.
#[derive(Debug, Clone)]
pub struct Exit {
    /// Units leaving.
    pub quantity: Decimal,
    /// Value at the exit price, before costs.
    pub gross: Amounts,
    /// Fees and taxes the convention takes out of it.
    pub costs: Amounts,
    /// Whether its profit is wanted lot by lot.
    pub detailed: bool,
}

/// One asset of one account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holding {
    /// Currency its money is in.
    pub currency: Currency,
    /// Open lots. Stored beside the holding, one row each, so that a trade rewrites only those it touches.
    #[serde(skip)]
    pub lots: Lots,
    /// Number the next lot gets.
    pub next_lot: u64,
    /// The open position, if there is one.
    pub cycle: Option<Cycle>,
    /// Positions opened so far.
    pub cycles: u64,
    /// Positions closed so far.
    pub cycles_closed: u64,
    /// Sums over its life.
    pub totals: Totals,
    /// Price per unit of its last trade, split-adjusted: not a quote, but better than nothing.
    pub last_price: Option<(Moment, Decimal)>,
    /// Where the lots belong to every account: the units of each account, negative where they are owed. They add up to
    /// the quantity.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub units: BTreeMap<String, Decimal>,
}

impl Holding {
    /// An asset never held.
    pub fn new(currency: Currency) -> Self {
        Self {
            currency,
            lots: Lots::default(),
            next_lot: 1,
            cycle: None,
            cycles: 0,
            cycles_closed: 0,
            totals: Totals::default(),
            last_price: None,
            units: BTreeMap::new(),
        }
    }

    /// Which way it points, if it is not flat.
    pub fn side(&self) -> Option<Side> {
        self.cycle.as_ref().map(|cycle| cycle.side)
    }

    /// Whether units are owed.
    pub fn is_short(&self) -> bool {
        self.side() == Some(Side::Short)
    }

    /// Units held, negative when owed.
    pub fn quantity(&self) -> Decimal {
        let units = self.lots.quantity();
        if self.is_short() { -units } else { units }
    }

    /// Value at opening of the open lots, before costs; unsigned.
    pub fn gross(&self) -> Amounts {
        self.lots.0.iter().fold(Amounts::ZERO, |sum, lot| &sum + &lot.gross)
    }

    /// Costs in the open lots; unsigned.
    pub fn costs(&self) -> Amounts {
        self.lots.0.iter().fold(Amounts::ZERO, |sum, lot| &sum + &lot.costs)
    }

    /// Remaining cost, negative for a short position: what it took in, less costs.
    pub fn cost_basis(&self) -> Amounts {
        signed_basis(&self.gross(), &self.costs(), self.is_short())
    }

    /// Starts a position when there is none, and returns its ordinal.
    pub fn begin(&mut self, side: Side, at: Moment) -> u64 {
        if let Some(cycle) = &self.cycle {
            return cycle.ordinal;
        }
        self.cycles += 1;
        self.cycle = Some(Cycle {
            ordinal: self.cycles,
            side,
            opened_at: at,
            closed_at: None,
            entered_quantity: Decimal::ZERO,
            entered_cost: Decimal::ZERO,
            exited_quantity: Decimal::ZERO,
            exited_gross: Decimal::ZERO,
            totals: self.totals.clone(),
        });
        self.cycles
    }

    /// Adds a lot to the open position. `lot.number` is given here.
    pub fn open(&mut self, mut lot: Lot, method: CostBasis) {
        let short = self.is_short();
        if let Some(cycle) = &mut self.cycle {
            cycle.entered_quantity += &lot.quantity;
            let cost = signed_basis(&lot.gross, &lot.costs, short).signed(short).own;
            cycle.entered_cost += &cost;
        }
        lot.number = self.next_lot;
        self.next_lot += 1;
        self.lots.insert(lot, method);
    }

    /// What the exit of `entry` at `exit` realises. `now` converts own currency to base at the moment of the exit.
    fn profit(
        &self,
        (entry, entry_costs): (&Amounts, &Amounts),
        (exit, exit_costs): (Amounts, Amounts),
        terms: &Terms,
        now: impl Fn(&Decimal) -> Option<Decimal>,
    ) -> Realized {
        let short = self.is_short();
        // An inverse contract is worth less of the settlement currency when its price rises.
        let gains_on_rise = short == terms.inverse;
        let mut gross = (&exit - entry).signed(!gains_on_rise);
        let mut fx = Some(Decimal::ZERO);
        if terms.margined {
            // No cash went out at the opening, so nothing was exposed to the rate but the profit itself.
            gross.base = now(&gross.own);
        } else {
            let basis = signed_basis(entry, entry_costs, short);
            fx = difference(now(&basis.own).as_ref(), basis.base.as_ref());
        }
        let net = &gross - &(entry_costs + &exit_costs);
        Realized { exit, exit_costs, gross, net, fx }
    }

    /// Books the profit of units that left by a trade. Returns it, and lot by lot where that is asked for.
    pub fn realize(
        &mut self,
        pieces: &[Piece],
        exit: &Exit,
        terms: &Terms,
        now: impl Fn(&Decimal) -> Option<Decimal>,
    ) -> (Realized, Vec<Closed>) {
        let entry = pieces.iter().fold(Amounts::ZERO, |sum, piece| &sum + &piece.gross);
        let costs = pieces.iter().fold(Amounts::ZERO, |sum, piece| &sum + &piece.costs);
        let whole = self.profit((&entry, &costs), (exit.gross.clone(), exit.costs.clone()), terms, &now);
        let closed = if exit.detailed {
            share_out(pieces, &whole, |piece, gross, costs| {
                self.profit((&piece.gross, &piece.costs), (gross, costs), terms, &now)
            })
        } else {
            Vec::new()
        };
        self.totals.realized_gross += &whole.gross;
        self.totals.realized += &whole.net;
        self.totals.realized_fx.base = sum(self.totals.realized_fx.base.as_ref(), whole.fx.as_ref());
        if let Some(cycle) = &mut self.cycle {
            cycle.exited_quantity += &exit.quantity;
            cycle.exited_gross += &exit.gross.own;
        }
        (whole, closed)
    }

    /// Ends the position when nothing is left, or what is left lies within `dust`, whose cost is realised:
    /// of a margined one only its fees, for nothing else was paid. `now` converts own currency to base at that moment.
    pub fn settle(
        &mut self,
        dust: &Decimal,
        margined: bool,
        at: Moment,
        now: impl Fn(&Decimal) -> Option<Decimal>,
    ) -> Option<Ended> {
        if self.lots.quantity() > *dust {
            return None;
        }
        let short = self.is_short();
        let mut written_off = Vec::new();
        for lot in self.lots.empty() {
            let (gross, cost, fx) = if margined {
                (Amounts::ZERO, lot.costs.clone(), Some(Decimal::ZERO))
            } else {
                let cost = signed_basis(&lot.gross, &lot.costs, short);
                let fx = difference(now(&cost.own).as_ref(), cost.base.as_ref());
                (lot.gross.clone().signed(short), cost, fx)
            };
            self.totals.realized_gross -= &gross;
            self.totals.realized -= &cost;
            self.totals.realized_fx.base = sum(self.totals.realized_fx.base.as_ref(), fx.as_ref());
            written_off.push(Closed {
                lot: Some(lot.transaction),
                acquired_at: Some(lot.acquired_at),
                quantity: lot.quantity,
                entry: lot.gross,
                entry_costs: lot.costs,
                exit: Amounts::ZERO,
                exit_costs: Amounts::ZERO,
                realized_gross: -gross,
                realized: -cost,
                realized_fx: fx,
            });
        }
        let mut cycle = self.cycle.take()?;
        cycle.closed_at = Some(at);
        cycle.totals = self.totals.since(&cycle.totals);
        self.cycles_closed += 1;
        Some(Ended { cycle, short, written_off })
    }
}

/// A position that ended, and the dust that was left of it.
#[derive(Debug, Clone)]
pub struct Ended {
    /// The position.
    pub cycle: Cycle,
    /// Whether it was short.
    pub short: bool,
    /// Lots that were written off.
    pub written_off: Vec<Closed>,
}

/// Cost of units, negative for short ones: what they took in, less costs.
pub fn signed_basis(gross: &Amounts, costs: &Amounts, short: bool) -> Amounts {
    if short { costs - gross } else { gross + costs }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sums that are all different, `first` and the numbers after it.
    fn totals(first: i64) -> Totals {
        let amounts = |n: i64| {
            let (own, base) = (Decimal::from(first + n), Decimal::from(10 * (first + n)));
            Amounts { own, base: Some(base) }
        };
        Totals {
            realized_gross: amounts(1),
            realized: amounts(2),
            realized_fx: amounts(3),
            income: amounts(4),
            fees: amounts(5),
            taxes: amounts(6),
            costs_apart: amounts(7),
            missing_quantity: Decimal::from(first + 8),
        }
    }

    #[test]
    fn every_sum_is_added_and_taken_off_by_itself() {
        let (some, more) = (totals(100), totals(3_000));
        let both = some.plus(&more);
        // 101 + 3,001 and 1,010 + 30,010, and so on.
        let added = |n: i64| Amounts {
            own: Decimal::from(3_100 + 2 * n),
            base: Some(Decimal::from(31_000 + 20 * n)),
        };
        assert_eq!(
            (&both.realized_gross, &both.realized, &both.realized_fx),
            (&added(1), &added(2), &added(3))
        );
        assert_eq!((&both.income, &both.fees, &both.taxes), (&added(4), &added(5), &added(6)));
        assert_eq!((&both.costs_apart, &both.missing_quantity), (&added(7), &Decimal::from(3_116)));
        assert_eq!((both.since(&more), both.since(&some)), (some, more));
    }
}

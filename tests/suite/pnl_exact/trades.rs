//! What moves units: trades and deliveries.

use super::ledger::{Charge, Reference, Rule, Stop};
use super::lots::{Lot, take};
use super::number::{Money, Number, add};
use artifact::domain::asset::Terms;
use artifact::domain::ids::AssetKey;
use artifact::domain::portfolio::{CostBasis, LotScope, ShortMode};
use artifact::domain::transaction::{Transaction, TransactionType as T};
use std::cmp::Ordering;

type Key = (String, AssetKey);

/// One trade or delivery, read.
struct Deal {
    terms: Terms,
    key: Key,
    /// Units that change hands, a commission in the asset counted.
    moved: Number,
    /// Value at its price, before costs.
    gross: Money,
    /// Price times multiplier, where a price in the settlement currency says what each of the moved units is worth.
    unit: Option<Number>,
    /// Fee and tax.
    costs: [Money; 2],
    price: Option<Number>,
}

/// Some of the units of a deal.
struct Part {
    units: Number,
    gross: Money,
    /// Their share of fee and tax.
    costs: [Money; 2],
}

impl Deal {
    /// So many of the moved units, at what they are worth.
    fn part(&self, units: Number, one_currency: bool) -> Part {
        if units.minus(&self.moved).is_nothing() {
            return Part { units, gross: self.gross.clone(), costs: self.costs.clone() };
        }
        let mut gross = self.gross.share(&units, &self.moved);
        if let Some(unit) = &self.unit {
            gross.own = unit.times(&units);
            if one_currency {
                gross.base = Some(gross.own.clone());
            }
        }
        Part { gross, costs: self.costs.clone().map(|cost| cost.share(&units, &self.moved)), units }
    }

    /// What a part leaves.
    fn rest(&self, part: &Part) -> Part {
        let [fee, tax] = &self.costs;
        Part {
            units: self.moved.minus(&part.units),
            gross: self.gross.minus(&part.gross),
            costs: [fee.minus(&part.costs[0]), tax.minus(&part.costs[1])],
        }
    }
}

impl Reference<'_> {
    fn read(&mut self, t: &Transaction) -> Result<Deal, Stop> {
        let terms = self.terms_of(t)?;
        if terms.inverse && t.price.as_ref().is_some_and(|price| Number::of(price).is_nothing()) {
            return Err(Stop::Refused(Rule::InverseAtZero));
        }
        let asset = t.asset.unwrap();
        let own_currency = t.currency.is_none_or(|currency| currency == terms.settlement);
        let [quantity, commission] = [t.quantity.as_ref().unwrap(), &t.fee_asset_quantity].map(Number::of);
        let units = quantity.times(&Number::of(&terms.multiplier));
        let gross = match (&t.gross_total, &t.price) {
            (Some(total), _) => self.money(t, &Number::of(total), terms.settlement)?,
            (None, Some(price)) if terms.inverse => {
                let own = units.over(&Number::of(price));
                let base = self.at_close(t, &own, terms.settlement);
                Money { own, base }
            }
            (None, price) => {
                self.money(t, &units.times(&Number::of(price.as_ref().unwrap())), terms.settlement)?
            }
        };
        let stated = t.price.as_ref().map(Number::of).filter(|_| own_currency);
        let stated = stated.filter(|_| !terms.inverse);
        let price = match (&t.price, terms.inverse) {
            (Some(price), true) => Some(Number::of(price)),
            (Some(_), false) if stated.is_some() => stated.clone(),
            (_, true) => (!gross.own.is_nothing()).then(|| units.over(&gross.own)),
            (_, false) => Some(gross.own.over(&units)),
        };
        let exact_units = commission.is_nothing();
        let unit = stated.filter(|_| exact_units).map(|price| price.times(&Number::of(&terms.multiplier)));
        let fee = self.money(t, &Number::of(&t.fee), terms.settlement)?;
        let tax = self.money(t, &Number::of(&t.tax), terms.settlement)?;
        let costs = [fee, tax];
        self.holding(&t.account, asset, terms.settlement);
        let moved = if t.kind == T::Sell { quantity.plus(&commission) } else { quantity.minus(&commission) };
        Ok(Deal { key: (self.owner(&t.account), asset), terms, moved, gross, unit, costs, price })
    }

    /// Units held long.
    fn long(&self, key: &Key) -> Number {
        let holding = self.holdings.get(key).filter(|holding| !holding.is_short());
        holding.map_or_else(Number::zero, |holding| holding.quantity.clone())
    }

    pub(super) fn trade(&mut self, t: &Transaction) -> Result<(), Stop> {
        let sells = t.kind == T::Sell;
        let deal = self.read(t)?;
        let holding = &self.holdings[&deal.key];
        let short = holding.is_short();
        let opposite = if short == sells { Number::zero() } else { holding.quantity.clone() };
        let too_much = deal.moved.against(&opposite)? == Ordering::Greater;
        let mode = self.conventions.short;
        if sells && too_much && mode == ShortMode::Rejected && !t.opens_short {
            return Err(Stop::Refused(Rule::InsufficientQuantity));
        }
        let closing = if too_much { opposite } else { deal.moved.clone() };
        let one_currency = deal.terms.settlement == self.base;
        let closing = deal.part(closing, one_currency);
        let rest = deal.rest(&closing);
        if !deal.terms.margined {
            self.pay_gross(t, &deal, sells);
        }
        self.pay_costs(t, deal.terms.settlement);
        let no_basis = sells
            && mode == ShortMode::MissingBasisIsZeroCost
            && !t.opens_short
            && !deal.terms.margined
            && !rest.units.is_nothing();
        if no_basis {
            // It belongs to the position that the same sale ends.
            self.book_costs(t, &rest.costs, deal.terms.settlement, true);
            let costs = self.in_cost(&rest.costs);
            let totals = &mut self.holdings.get_mut(&deal.key).unwrap().totals;
            totals.realized_gross = totals.realized_gross.plus(&rest.gross);
            totals.realized = totals.realized.plus(&rest.gross).minus(&costs);
            totals.missing_quantity = totals.missing_quantity.plus(&rest.units);
        }
        if !closing.units.is_nothing() {
            self.book_costs(t, &closing.costs, deal.terms.settlement, true);
            self.close(t, &deal, &closing)?;
        }
        if !no_basis && !rest.units.is_nothing() {
            self.open(t, &deal, rest, sells)?;
        }
        if let Some(price) = deal.price {
            self.holdings.get_mut(&deal.key).unwrap().last_price = Some((t.executed_at, price));
        }
        Ok(())
    }

    /// What of fee and tax belongs into cost.
    fn in_cost(&self, [fee, tax]: &[Money; 2]) -> Money {
        let mut costs = Money::zero();
        for (cost, charge) in [(fee, self.fee_charge(true)), (tax, self.tax_charge(true))] {
            if charge == Charge::Cost {
                costs = costs.plus(cost);
            }
        }
        costs
    }

    fn pay_gross(&mut self, t: &Transaction, deal: &Deal, sells: bool) {
        let units = Number::of(t.quantity.as_ref().unwrap()).times(&Number::of(&deal.terms.multiplier));
        let amount = match (&t.gross_total, &t.price) {
            (Some(total), _) => Number::of(total),
            (None, price) => units.times(&Number::of(price.as_ref().unwrap())),
        };
        let currency = t.currency.unwrap_or(deal.terms.settlement);
        self.pay(t, &t.account.clone(), currency, &amount.signed(!sells));
    }

    /// Takes the lots a disposal consumes.
    fn consume(
        &mut self,
        t: &Transaction,
        key: &Key,
        terms: &Terms,
        quantity: &Number,
    ) -> Result<Vec<Lot>, Stop> {
        let method = self.conventions.cost_basis;
        if method == CostBasis::Specific {
            self.check_picks(t, key, quantity)?;
        }
        let kind = self.kind(&self.holdings[key], terms);
        let holding = self.holdings.get_mut(key).unwrap();
        let pieces = take(&mut holding.lots, (quantity, &holding.quantity), method, kind, &t.lots)?;
        holding.quantity = holding.quantity.minus(quantity);
        Ok(pieces)
    }

    fn check_picks(&self, t: &Transaction, key: &Key, quantity: &Number) -> Result<(), Stop> {
        let mut sum = Number::zero();
        let openers = self.openers(&t.account, key.1);
        for pick in &t.lots {
            let Some((_, held)) = openers.iter().find(|(id, _)| *id == pick.transaction) else {
                return Err(Stop::Refused(Rule::Lots));
            };
            let asked = Number::of(&pick.quantity);
            if asked.against(held)? == Ordering::Greater {
                return Err(Stop::Refused(Rule::Lots));
            }
            sum = sum.plus(&asked);
        }
        if t.lots.is_empty() || sum.against(quantity)? != Ordering::Equal {
            return Err(Stop::Refused(Rule::Lots));
        }
        Ok(())
    }

    /// Closes units against a trade.
    fn close(&mut self, t: &Transaction, deal: &Deal, part: &Part) -> Result<(), Stop> {
        let (key, terms) = (&deal.key, &deal.terms);
        let short = self.holdings[key].is_short();
        let pieces = self.consume(t, key, terms, &part.units)?;
        let opening = pieces.iter().fold(Money::zero(), |sum, piece| sum.plus(&piece.gross));
        let opening_costs = pieces.iter().fold(Money::zero(), |sum, piece| sum.plus(&piece.costs));
        let mut profit = part.gross.minus(&opening).signed(short != terms.inverse);
        if terms.margined {
            profit.base = self.at_close(t, &profit.own, terms.settlement);
            // An entry with a rate of its own moves cash in base currency; its rate is none of another currency's.
            let (currency, amount) = match (&t.fx_rate, &profit.base) {
                (Some(_), Some(base)) => (self.base, base.clone()),
                _ => (terms.settlement, profit.own.clone()),
            };
            self.move_cash(&t.account, currency, &amount, profit.base.clone());
        }
        let costs = self.in_cost(&part.costs);
        let holding = self.holdings.get_mut(key).unwrap();
        let totals = &mut holding.totals;
        totals.realized_gross = totals.realized_gross.plus(&profit);
        totals.realized = totals.realized.plus(&profit).minus(&costs).minus(&opening_costs);
        let cycle = holding.cycle.as_mut().unwrap();
        cycle.exited_quantity = cycle.exited_quantity.plus(&part.units);
        cycle.exited_gross = cycle.exited_gross.plus(&part.gross.own);
        if !terms.margined {
            let basis = opening.signed(short).plus(&opening_costs);
            self.currency_part(t, key, &basis, terms.settlement);
        }
        self.settle(key, terms, t)
    }

    fn open(&mut self, t: &Transaction, deal: &Deal, part: Part, short: bool) -> Result<(), Stop> {
        self.begin(&deal.key, short, t.executed_at);
        self.book_costs(t, &part.costs, deal.terms.settlement, true);
        let lot = Lot {
            opener: t.id,
            acquired: t.executed_at,
            place: t.place,
            quantity: part.units,
            unit: deal.unit.clone(),
            costs: self.in_cost(&part.costs),
            gross: part.gross,
        };
        self.put(&deal.key, lot);
        self.settle(&deal.key, &deal.terms, t)
    }

    pub(super) fn units_in(&mut self, t: &Transaction) -> Result<(), Stop> {
        let deal = self.read(t)?;
        if deal.terms.margined {
            return Err(Stop::Refused(Rule::MarginedDelivery));
        }
        if self.holdings[&deal.key].is_short() {
            return Err(Stop::Refused(Rule::DeliveryIntoShort));
        }
        let account = self.accounts.get_mut(&t.account).unwrap();
        add(&mut account.contributions, deal.gross.base.clone());
        if let Some(price) = &deal.price {
            self.holdings.get_mut(&deal.key).unwrap().last_price = Some((t.executed_at, price.clone()));
        }
        self.pay_costs(t, deal.terms.settlement);
        let whole = deal.part(deal.moved.clone(), true);
        self.open(t, &deal, whole, false)
    }

    /// The lots a delivery takes out.
    fn leaving(&mut self, t: &Transaction) -> Result<(Terms, Key, Vec<Lot>), Stop> {
        let terms = self.terms_of(t)?;
        // Of two broken rules that of the money comes first.
        self.money(t, &Number::of(&t.fee), terms.settlement)?;
        self.money(t, &Number::of(&t.tax), terms.settlement)?;
        if terms.margined {
            return Err(Stop::Refused(Rule::MarginedDelivery));
        }
        let key = (self.owner(&t.account), t.asset.unwrap());
        let quantity = Number::of(t.quantity.as_ref().unwrap());
        if quantity.against(&self.long(&key))? == Ordering::Greater {
            return Err(Stop::Refused(Rule::InsufficientQuantity));
        }
        let within = t.kind == T::Transfer && self.conventions.lot_scope == LotScope::Global;
        let pieces = if within { Vec::new() } else { self.consume(t, &key, &terms, &quantity)? };
        Ok((terms, key, pieces))
    }

    pub(super) fn units_out(&mut self, t: &Transaction) -> Result<(), Stop> {
        let (terms, key, pieces) = self.leaving(t)?;
        self.charge(t, terms.settlement)?;
        let account = self.accounts.get_mut(&t.account).unwrap();
        for piece in &pieces {
            add(&mut account.contributions, piece.gross.plus(&piece.costs).negated().base);
        }
        self.settle(&key, &terms, t)
    }

    pub(super) fn units_between(&mut self, t: &Transaction) -> Result<(), Stop> {
        let (terms, key, pieces) = self.leaving(t)?;
        let to_account = t.to_account.clone().unwrap();
        self.accounts.entry(to_account.clone()).or_default();
        self.charge(t, terms.settlement)?;
        if pieces.is_empty() {
            return Ok(());
        }
        let asset = t.asset.unwrap();
        if self.holding(&to_account, asset, terms.settlement).is_short() {
            return Err(Stop::Refused(Rule::DeliveryIntoShort));
        }
        let to = (to_account.clone(), asset);
        // A holding that never traded is valued as the one its units come from.
        let brought = self.holdings[&key].last_price.clone();
        let receiving = self.holdings.get_mut(&to).unwrap();
        receiving.last_price = receiving.last_price.take().or(brought);
        for piece in pieces {
            let cost = piece.gross.plus(&piece.costs).base;
            add(&mut self.accounts.get_mut(&t.account).unwrap().internal, cost.as_ref().map(Number::negated));
            add(&mut self.accounts.get_mut(&to_account).unwrap().internal, cost);
            self.begin(&to, false, t.executed_at);
            self.put(&to, piece);
        }
        self.settle(&key, &terms, t)?;
        self.settle(&to, &terms, t)
    }
}

//! The fold of the reference: what each entry does, after `docs/PNL.md`, in exact fractions.

use super::lots::{Kind, Lot, insert};
use super::number::{Base, Money, Number, Undecided, add};
use super::rates::Table;
use artifact::domain::asset::Terms;
use artifact::domain::currency::Currency;
use artifact::domain::ids::{AssetKey, TransactionId};
use artifact::domain::moment::Moment;
use artifact::domain::pnl::book::MissingRate;
use artifact::domain::portfolio::{Conventions, FeeMode, LotScope, TaxMode};
use artifact::domain::transaction::{Transaction, TransactionType as T};
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

/// Why an entry is not taken.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rule {
    InsufficientQuantity,
    Lots,
    InverseAtZero,
    MarginedDelivery,
    DeliveryIntoShort,
    NoTerms,
    NoRate,
}

/// The entry is refused, or how it ends hangs on a rounding.
#[derive(Debug)]
pub(super) enum Stop {
    Refused(Rule),
    Undecided,
}

impl From<Undecided> for Stop {
    fn from(_: Undecided) -> Self {
        Self::Undecided
    }
}

#[derive(Clone, Debug)]
pub(super) struct Totals {
    pub(super) realized_gross: Money,
    pub(super) realized: Money,
    pub(super) realized_fx: Base,
    pub(super) income: Money,
    pub(super) fees: Money,
    pub(super) taxes: Money,
    pub(super) costs_apart: Money,
    pub(super) missing_quantity: Number,
}

impl Totals {
    /// What was added since.
    fn since(&self, start: &Self) -> Self {
        let mut realized_fx = self.realized_fx.clone();
        add(&mut realized_fx, start.realized_fx.as_ref().map(Number::negated));
        Self {
            realized_gross: self.realized_gross.minus(&start.realized_gross),
            realized: self.realized.minus(&start.realized),
            realized_fx,
            income: self.income.minus(&start.income),
            fees: self.fees.minus(&start.fees),
            taxes: self.taxes.minus(&start.taxes),
            costs_apart: self.costs_apart.minus(&start.costs_apart),
            missing_quantity: self.missing_quantity.minus(&start.missing_quantity),
        }
    }

    fn zero() -> Self {
        let zero = Money::zero;
        Self {
            realized_gross: zero(),
            realized: zero(),
            realized_fx: Some(Number::zero()),
            income: zero(),
            fees: zero(),
            taxes: zero(),
            costs_apart: zero(),
            missing_quantity: Number::zero(),
        }
    }
}

/// One run from flat to flat.
#[derive(Clone, Debug)]
pub(super) struct Cycle {
    pub(super) ordinal: u64,
    pub(super) short: bool,
    pub(super) opened_at: Moment,
    /// Units that ever entered it, in the units of today.
    pub(super) entered_quantity: Number,
    /// What they were entered at, costs included.
    pub(super) entered_cost: Number,
    /// Units that left it by a trade.
    pub(super) exited_quantity: Number,
    /// At what, before costs.
    pub(super) exited_gross: Number,
    /// The sums of the holding when it opened; of a closed one, its own.
    pub(super) totals: Totals,
}

/// One asset of one account, or under a global scope of all accounts.
#[derive(Clone, Debug)]
pub(super) struct Holding {
    pub(super) currency: Currency,
    /// The open position.
    pub(super) cycle: Option<Cycle>,
    /// Units in all lots, without a sign.
    pub(super) quantity: Number,
    pub(super) lots: Vec<Lot>,
    pub(super) cycles: u64,
    pub(super) closed: u64,
    pub(super) totals: Totals,
    /// Price of its own last trade.
    pub(super) last_price: Option<(Moment, Number)>,
}

impl Holding {
    pub(super) fn is_short(&self) -> bool {
        self.cycle.as_ref().is_some_and(|cycle| cycle.short)
    }

    pub(super) fn sum(&self, part: impl Fn(&Lot) -> &Money) -> Money {
        self.lots.iter().fold(Money::zero(), |sum, lot| sum.plus(part(lot)))
    }
}

/// Beside its holdings. In base currency but for the balances.
#[derive(Clone, Debug)]
pub(super) struct Account {
    pub(super) cash: BTreeMap<Currency, (Number, Base)>,
    pub(super) contributions: Base,
    pub(super) internal: Base,
    pub(super) interest: Base,
    pub(super) fees: Base,
    pub(super) taxes: Base,
    pub(super) costs_apart: Base,
    pub(super) expensed: Base,
    pub(super) exchanged: Base,
}

impl Default for Account {
    fn default() -> Self {
        let zero = || Some(Number::zero());
        Self {
            cash: BTreeMap::new(),
            contributions: zero(),
            internal: zero(),
            interest: zero(),
            fees: zero(),
            taxes: zero(),
            costs_apart: zero(),
            expensed: zero(),
            exchanged: zero(),
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Split {
    pub(super) at: Moment,
    pub(super) new: Number,
    pub(super) old: Number,
}

/// What a ledger amounts to.
#[derive(Clone, Debug)]
pub(super) struct Reference<'a> {
    pub(super) base: Currency,
    pub(super) conventions: &'a Conventions,
    pub(super) rates: &'a Table,
    /// Terms by asset, each from its moment on.
    pub(super) terms: &'a BTreeMap<AssetKey, Vec<(Moment, Terms)>>,
    pub(super) accounts: BTreeMap<String, Account>,
    pub(super) holdings: BTreeMap<(String, AssetKey), Holding>,
    pub(super) splits: BTreeMap<AssetKey, Vec<Split>>,
    pub(super) missing: BTreeSet<MissingRate>,
    /// Positions that ended: which, and when.
    pub(super) ended: Vec<((String, AssetKey), Moment, Cycle)>,
}

/// What a cost is charged to.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Charge {
    Cost,
    Realized,
    Apart,
}

/// The terms of an asset at a moment; before the first, the first.
pub(super) fn terms_at(history: &[(Moment, Terms)], at: Moment) -> &Terms {
    let index = history.partition_point(|(from, _)| *from <= at).saturating_sub(1);
    &history[index].1
}

impl Reference<'_> {
    /// An entry into the ledger. After a refusal the state is no longer one.
    pub(super) fn apply(&mut self, t: &Transaction) -> Result<(), Stop> {
        self.accounts.entry(t.account.clone()).or_default();
        match t.kind {
            T::Buy | T::Sell => self.trade(t),
            T::TransferIn => self.units_in(t),
            T::TransferOut => self.units_out(t),
            T::Transfer if t.asset.is_some() => self.units_between(t),
            T::Split => self.split(t),
            T::Deposit | T::Withdrawal | T::Interest | T::Transfer | T::Fx => {
                self.cash_entry(t);
                Ok(())
            }
            T::Dividend => self.dividend(t),
            T::Fee | T::Tax => self.cost_entry(t),
        }
    }

    pub(super) fn terms_of(&self, t: &Transaction) -> Result<Terms, Stop> {
        let history = self.terms.get(&t.asset.unwrap()).ok_or(Stop::Refused(Rule::NoTerms))?;
        Ok(terms_at(history, t.executed_at).clone())
    }

    /// The account whose lots an entry finds.
    pub(super) fn owner(&self, account: &str) -> String {
        if self.conventions.lot_scope == LotScope::Global { "*".to_owned() } else { account.to_owned() }
    }

    pub(super) fn holding(&mut self, account: &str, asset: AssetKey, currency: Currency) -> &mut Holding {
        let owner = self.owner(account);
        self.holdings.entry((owner, asset)).or_insert_with(|| Holding {
            currency,
            cycle: None,
            quantity: Number::zero(),
            lots: Vec::new(),
            cycles: 0,
            closed: 0,
            totals: Totals::zero(),
            last_price: None,
        })
    }

    pub(super) fn convert(&mut self, amount: &Number, from: Currency, to: Currency, at: Moment) -> Base {
        let converted = self.rates.convert(amount, from, to, at);
        if converted.is_none() {
            self.missing.insert(MissingRate { from, to, at });
        }
        converted
    }

    /// Money of an entry about an asset: in the currency it settles in, and in base currency at the entry's own rate,
    /// else at that of the moment.
    pub(super) fn money(
        &mut self,
        t: &Transaction,
        amount: &Number,
        settlement: Currency,
    ) -> Result<Money, Stop> {
        let currency = t.currency.unwrap_or(settlement);
        let base = match &t.fx_rate {
            Some(rate) => Some(amount.times(&Number::of(rate))),
            None => self.convert(amount, currency, self.base, t.executed_at),
        };
        let own = if currency == settlement {
            Some(amount.clone())
        } else if settlement == self.base && t.fx_rate.is_some() {
            base.clone()
        } else {
            self.rates.convert(amount, currency, settlement, t.executed_at)
        };
        Ok(Money { own: own.ok_or(Stop::Refused(Rule::NoRate))?, base })
    }

    /// Moves cash of an entry, in base currency if it carries a rate of its own.
    pub(super) fn pay(&mut self, t: &Transaction, account: &str, currency: Currency, amount: &Number) {
        let (currency, amount, base) = match &t.fx_rate {
            Some(rate) => {
                let base = amount.times(&Number::of(rate));
                (self.base, base.clone(), Some(base))
            }
            None => (currency, amount.clone(), self.convert(amount, currency, self.base, t.executed_at)),
        };
        self.move_cash(account, currency, &amount, base);
    }

    pub(super) fn move_cash(&mut self, account: &str, currency: Currency, amount: &Number, base: Base) {
        let account = self.accounts.entry(account.to_owned()).or_default();
        let cash = account.cash.entry(currency).or_insert_with(|| (Number::zero(), Some(Number::zero())));
        cash.0 = cash.0.plus(amount);
        add(&mut cash.1, base);
    }

    /// What the fee of an entry is charged to; `trade`: of a buy, sell or transfer in.
    pub(super) fn fee_charge(&self, trade: bool) -> Charge {
        match self.conventions.fees {
            FeeMode::InCost if trade => Charge::Cost,
            FeeMode::Expensed => Charge::Realized,
            FeeMode::InCost | FeeMode::Separate | FeeMode::None => Charge::Apart,
        }
    }

    pub(super) fn tax_charge(&self, trade: bool) -> Charge {
        if trade && self.conventions.taxes == TaxMode::InCost { Charge::Cost } else { Charge::Apart }
    }

    /// Books fee and tax of an entry on its holding.
    pub(super) fn book_costs(
        &mut self,
        t: &Transaction,
        [fee, tax]: &[Money; 2],
        settlement: Currency,
        trade: bool,
    ) {
        let (fee_charge, tax_charge) = (self.fee_charge(trade), self.tax_charge(trade));
        let totals = &mut self.holding(&t.account, t.asset.unwrap(), settlement).totals;
        totals.fees = totals.fees.plus(fee);
        totals.taxes = totals.taxes.plus(tax);
        for (money, charge) in [(fee, fee_charge), (tax, tax_charge)] {
            match charge {
                Charge::Cost => {}
                Charge::Realized => totals.realized = totals.realized.minus(money),
                Charge::Apart => totals.costs_apart = totals.costs_apart.plus(money),
            }
        }
    }

    /// Pays fee and tax of an entry about an asset.
    pub(super) fn pay_costs(&mut self, t: &Transaction, settlement: Currency) {
        for amount in [&t.fee, &t.tax] {
            let amount = Number::of(amount).negated();
            self.pay(t, &t.account.clone(), t.currency.unwrap_or(settlement), &amount);
        }
    }

    /// Pays and books fee and tax of an entry about an asset that is no trade.
    pub(super) fn charge(&mut self, t: &Transaction, settlement: Currency) -> Result<(), Stop> {
        self.pay_costs(t, settlement);
        let fee = self.money(t, &Number::of(&t.fee), settlement)?;
        let tax = self.money(t, &Number::of(&t.tax), settlement)?;
        self.book_costs(t, &[fee, tax], settlement, false);
        Ok(())
    }

    /// Books a fee or tax that belongs to no holding.
    fn charge_account(&mut self, t: &Transaction, amount: &Number, currency: Currency, is_fee: bool) {
        self.pay(t, &t.account.clone(), currency, &amount.negated());
        let base = self.in_base(t, amount, currency);
        let charge = if is_fee { self.fee_charge(false) } else { self.tax_charge(false) };
        let account = self.accounts.get_mut(&t.account).unwrap();
        add(if is_fee { &mut account.fees } else { &mut account.taxes }, base.clone());
        match charge {
            Charge::Realized => add(&mut account.expensed, base),
            Charge::Apart | Charge::Cost => add(&mut account.costs_apart, base),
        }
    }

    /// In base currency, at the entry's own rate, else at that of the moment.
    fn in_base(&mut self, t: &Transaction, amount: &Number, currency: Currency) -> Base {
        match &t.fx_rate {
            Some(rate) => Some(amount.times(&Number::of(rate))),
            None => self.convert(amount, currency, self.base, t.executed_at),
        }
    }

    fn cash_entry(&mut self, t: &Transaction) {
        let currency = t.currency.unwrap_or(self.base);
        let amount = Number::of(t.amount.as_ref().unwrap());
        let base = self.in_base(t, &amount, currency);
        let account = self.accounts.get_mut(&t.account).unwrap();
        let opposite = base.as_ref().map(Number::negated);
        match t.kind {
            T::Deposit => add(&mut account.contributions, base),
            T::Withdrawal => add(&mut account.contributions, opposite),
            T::Interest => add(&mut account.interest, base),
            T::Transfer => {
                add(&mut account.internal, opposite);
                let to = t.to_account.clone().unwrap();
                add(&mut self.accounts.entry(to.clone()).or_default().internal, base);
                self.pay(t, &to, currency, &amount);
            }
            T::Buy
            | T::Sell
            | T::Dividend
            | T::Fee
            | T::Tax
            | T::Split
            | T::TransferIn
            | T::TransferOut
            | T::Fx => {
                let received = Number::of(t.to_amount.as_ref().unwrap());
                let to = t.to_currency.unwrap();
                let received_base = self.convert(&received, to, self.base, t.executed_at);
                let account = self.accounts.get_mut(&t.account).unwrap();
                add(&mut account.exchanged, received_base);
                add(&mut account.exchanged, opposite);
                self.pay(t, &t.account.clone(), to, &received);
            }
        }
        let out = matches!(t.kind, T::Withdrawal | T::Transfer | T::Fx);
        self.pay(t, &t.account.clone(), currency, &amount.signed(out));
        self.charge_account(t, &Number::of(&t.fee), currency, true);
        self.charge_account(t, &Number::of(&t.tax), currency, false);
    }

    fn dividend(&mut self, t: &Transaction) -> Result<(), Stop> {
        let settlement = self.terms_of(t)?.settlement;
        let amount = Number::of(t.amount.as_ref().unwrap());
        let money = self.money(t, &amount, settlement)?;
        let totals = &mut self.holding(&t.account, t.asset.unwrap(), settlement).totals;
        totals.income = totals.income.plus(&money);
        self.pay(t, &t.account.clone(), t.currency.unwrap_or(settlement), &amount);
        self.charge(t, settlement)
    }

    fn cost_entry(&mut self, t: &Transaction) -> Result<(), Stop> {
        let amount = Number::of(t.amount.as_ref().unwrap());
        let is_fee = t.kind == T::Fee;
        if t.asset.is_none() {
            self.charge_account(t, &amount, t.currency.unwrap_or(self.base), is_fee);
            return Ok(());
        }
        let settlement = self.terms_of(t)?.settlement;
        let mut cost = t.clone();
        let paid = if is_fee { &mut cost.fee } else { &mut cost.tax };
        *paid = t.amount.clone().unwrap();
        self.charge(&cost, settlement)
    }

    /// New units for old in every account; the largest lot takes what rounding the others leaves.
    fn split(&mut self, t: &Transaction) -> Result<(), Stop> {
        let terms = self.terms_of(t)?;
        let asset = t.asset.unwrap();
        let [new, old] = [&t.ratio_num, &t.ratio_den].map(|ratio| Number::of(ratio.as_ref().unwrap()));
        let split = Split { at: t.executed_at, new: new.clone(), old: old.clone() };
        self.splits.entry(asset).or_default().push(split);
        let keys: Vec<_> = self.holdings.keys().filter(|key| key.1 == asset).cloned().collect();
        for key in keys {
            let holding = self.holdings.get_mut(&key).unwrap();
            holding.quantity = holding.quantity.share(&new, &old);
            for lot in &mut holding.lots {
                lot.quantity = lot.quantity.share(&new, &old);
                lot.unit = None;
            }
            let rounding = holding.lots.iter().map(|lot| lot.quantity.error);
            let rounding = rounding.fold(holding.quantity.error, super::fraction::Bound::plus);
            for lot in &mut holding.lots {
                // Any of them may be the one that takes what is left.
                lot.quantity.error = rounding;
            }
            if let Some(cycle) = &mut holding.cycle {
                for units in [&mut cycle.entered_quantity, &mut cycle.exited_quantity] {
                    *units = units.share(&new, &old);
                }
            }
            if let Some((_, price)) = &mut holding.last_price {
                *price = price.share(&old, &new);
            }
            self.settle(&key, &terms, t)?;
        }
        Ok(())
    }

    /// Ends a position that is flat, or within `dust` of it.
    pub(super) fn settle(
        &mut self,
        key: &(String, AssetKey),
        terms: &Terms,
        t: &Transaction,
    ) -> Result<(), Stop> {
        let dust = Number::of(&self.conventions.dust);
        let Some(holding) = self.holdings.get_mut(key).filter(|holding| holding.cycle.is_some()) else {
            return Ok(());
        };
        if holding.quantity.against(&dust)? == Ordering::Greater {
            return Ok(());
        }
        let short = holding.is_short();
        let (gross, costs) = (holding.sum(|lot| &lot.gross).signed(short), holding.sum(|lot| &lot.costs));
        let ended = holding.cycle.take();
        holding.closed += 1;
        holding.lots.clear();
        holding.quantity = Number::zero();
        let totals = &mut holding.totals;
        totals.realized = totals.realized.minus(&costs);
        if !terms.margined {
            totals.realized_gross = totals.realized_gross.minus(&gross);
            totals.realized = totals.realized.minus(&gross);
            let currency = holding.currency;
            let basis = gross.plus(&costs);
            self.currency_part(t, key, &basis, currency);
        }
        let mut cycle = ended.unwrap();
        cycle.totals = self.holdings[key].totals.since(&cycle.totals);
        self.ended.push((key.clone(), t.executed_at, cycle));
        Ok(())
    }

    /// Books the currency part of a profit: cost x (rate at the close - rate at cost).
    pub(super) fn currency_part(
        &mut self,
        t: &Transaction,
        key: &(String, AssetKey),
        basis: &Money,
        settlement: Currency,
    ) {
        let mut part = self.at_close(t, &basis.own, settlement);
        add(&mut part, basis.base.as_ref().map(Number::negated));
        add(&mut self.holdings.get_mut(key).unwrap().totals.realized_fx, part);
    }

    /// An amount in the settlement currency at the rate of a close: the entry's own, if it is a rate of that currency.
    pub(super) fn at_close(&mut self, t: &Transaction, own: &Number, settlement: Currency) -> Base {
        match &t.fx_rate {
            Some(rate) if t.currency.is_none_or(|currency| currency == settlement) => {
                Some(own.times(&Number::of(rate)))
            }
            _ => self.convert(own, settlement, self.base, t.executed_at),
        }
    }

    pub(super) fn kind(&self, holding: &Holding, terms: &Terms) -> Kind {
        Kind {
            short: holding.is_short(),
            inverse: terms.inverse,
            one_currency: holding.currency == self.base,
        }
    }

    pub(super) fn begin(&mut self, key: &(String, AssetKey), short: bool, at: Moment) -> &mut Holding {
        let holding = self.holdings.get_mut(key).unwrap();
        if holding.cycle.is_none() {
            holding.cycles += 1;
            holding.cycle = Some(Cycle {
                ordinal: holding.cycles,
                short,
                opened_at: at,
                entered_quantity: Number::zero(),
                entered_cost: Number::zero(),
                exited_quantity: Number::zero(),
                exited_gross: Number::zero(),
                totals: holding.totals.clone(),
            });
        }
        holding
    }

    /// Puts a lot into a position that has begun.
    pub(super) fn put(&mut self, key: &(String, AssetKey), lot: Lot) {
        let method = self.conventions.cost_basis;
        let holding = self.holdings.get_mut(key).unwrap();
        holding.quantity = holding.quantity.plus(&lot.quantity);
        let cycle = holding.cycle.as_mut().unwrap();
        cycle.entered_quantity = cycle.entered_quantity.plus(&lot.quantity);
        let cost = lot.gross.own.plus(&lot.costs.own.signed(cycle.short));
        cycle.entered_cost = cycle.entered_cost.plus(&cost);
        insert(&mut holding.lots, lot, method);
    }

    /// The transactions that opened the lots of a holding, for a disposal to name.
    pub(super) fn openers(&self, account: &str, asset: AssetKey) -> Vec<(TransactionId, Number)> {
        let mut openers: Vec<(TransactionId, Number)> = Vec::new();
        let Some(holding) = self.holdings.get(&(self.owner(account), asset)) else { return openers };
        for lot in &holding.lots {
            match openers.iter_mut().find(|(id, _)| *id == lot.opener) {
                Some((_, quantity)) => *quantity = quantity.plus(&lot.quantity),
                None => openers.push((lot.opener, lot.quantity.clone())),
            }
        }
        openers
    }
}

//! Valuation: a book against prices and rates at one moment.
//!
//! A figure that needs a rate nobody recorded is `None`, and what was missing is named; it is never zero.

use crate::domain::adjustment::{Observed, split_factor};
use crate::domain::asset::Terms;
use crate::domain::currency::Currency;
use crate::domain::decimal::Decimal;
use crate::domain::fx::Rates;
use crate::domain::ids::AssetKey;
use crate::domain::moment::Moment;
use crate::domain::pnl::amounts::{Amounts, difference, sum};
use crate::domain::pnl::book::{Book, HoldingKey, MissingRate, SplitEvent};
use crate::domain::pnl::holding::{Holding, Side, Totals, signed_basis};
use crate::domain::pnl::lots::Lot;
use crate::domain::price::Mark;
use chrono_tz::Tz;
use std::collections::{BTreeMap, BTreeSet};

/// What valuation needs to know of an asset.
#[derive(Debug, Clone)]
pub struct Priced {
    /// Terms in force at the moment of the valuation.
    pub terms: Terms,
    /// Zone of its market, in which its days are counted.
    pub zone: Tz,
    /// Its price at that moment, if it has one.
    pub mark: Option<Mark>,
}

/// Everything a valuation looks at beside the book.
#[derive(Debug, Clone, Copy)]
pub struct Valuation<'a> {
    /// Currency of the totals.
    pub base: Currency,
    /// Assets by key.
    pub assets: &'a BTreeMap<AssetKey, Priced>,
    /// Exchange rates.
    pub rates: &'a Rates,
    /// Moment whose rates convert present values.
    pub at: Moment,
    /// Moment ages are measured from.
    pub age_at: Moment,
}

/// The price a value was computed with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PriceUsed {
    /// Price per unit, split-adjusted to the units held.
    pub price: Decimal,
    /// `quote`, or `trade` when the asset has no price yet and its last trade had to serve.
    pub basis: &'static str,
    /// When it was observed.
    pub observed_at: Moment,
    /// When it was learned; of a quote only.
    pub recorded_at: Option<Moment>,
    /// Who said so; of a quote only.
    pub source: Option<String>,
    /// Candle length; of a quote only.
    pub interval: Option<String>,
    /// Age in microseconds at the moment of the valuation.
    pub age: i64,
    /// Whether it is older than the asset allows.
    pub stale: bool,
}

/// Present figures of units held, signed: a short position has negative cost and value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Worth {
    /// Units, negative when owed.
    pub quantity: Decimal,
    /// Value at opening, before costs; unsigned.
    pub opening_gross: Amounts,
    /// Remaining cost.
    pub cost_basis: Amounts,
    /// Present value; of a margined contract its unrealised profit before costs.
    pub market_value: Amounts,
    /// Quantity at the present price, signed.
    pub notional: Amounts,
    /// Unrealised profit before costs.
    pub unrealized_gross: Amounts,
    /// Unrealised profit.
    pub unrealized: Amounts,
    /// The currency part of it, in base currency.
    pub unrealized_fx: Option<Decimal>,
}

impl Worth {
    /// Remaining cost by quantity, so above zero for a short position too; `None` when flat.
    pub fn average_cost(&self) -> Option<Decimal> {
        self.cost_basis.own.divide(&self.quantity)
    }

    /// Average price of entry, before costs: of an inverse contract the harmonic mean. `None` when flat.
    pub fn average_entry(&self, terms: &Terms) -> Option<Decimal> {
        let units = self.quantity.abs() * &terms.multiplier;
        let gross = &self.opening_gross.own;
        if terms.inverse { units.divide(gross) } else { gross.divide(&units) }
    }

    /// Adds the figures of other units of the same asset.
    pub fn add(&mut self, other: &Self) {
        self.quantity += &other.quantity;
        self.opening_gross += &other.opening_gross;
        self.cost_basis += &other.cost_basis;
        self.market_value += &other.market_value;
        self.notional += &other.notional;
        self.unrealized_gross += &other.unrealized_gross;
        self.unrealized += &other.unrealized;
        self.unrealized_fx = sum(self.unrealized_fx.as_ref(), other.unrealized_fx.as_ref());
    }

    /// Sets what may have been rounded to what `parts` leave of `whole`. Where the whole is unknown there is nothing
    /// to add up to, and what is known of itself stays.
    fn become_rest<'a>(&mut self, whole: &Self, parts: impl Iterator<Item = &'a Self>) {
        let (mut value, mut notional) = (whole.market_value.clone(), whole.notional.clone());
        let (mut gross, mut profit) = (whole.unrealized_gross.clone(), whole.unrealized.clone());
        let mut fx = whole.unrealized_fx.clone();
        for part in parts {
            value -= &part.market_value;
            notional -= &part.notional;
            gross -= &part.unrealized_gross;
            profit -= &part.unrealized;
            fx = difference(fx.as_ref(), part.unrealized_fx.as_ref());
        }
        for (own, rest) in [
            (&mut self.market_value, value),
            (&mut self.notional, notional),
            (&mut self.unrealized_gross, gross),
            (&mut self.unrealized, profit),
        ] {
            own.own = rest.own;
            own.base = rest.base.or_else(|| own.base.take());
        }
        self.unrealized_fx = fx.or_else(|| self.unrealized_fx.take());
    }
}

/// One holding, valued.
#[derive(Debug, Clone)]
pub struct Item {
    /// Its account.
    pub account: String,
    /// Its asset.
    pub asset: AssetKey,
    /// Currency its own amounts are in.
    pub currency: Currency,
    /// Whether it is margined.
    pub margined: bool,
    /// Units of the underlying in one contract.
    pub multiplier: Decimal,
    /// Which way it points; `None` when flat.
    pub side: Option<Side>,
    /// Its present figures.
    pub worth: Worth,
    /// Its sums.
    pub totals: Totals,
    /// Price used; `None` when flat.
    pub price: Option<PriceUsed>,
    /// Open lots, valued.
    pub lots: Vec<(Lot, Worth)>,
    /// Positions closed so far.
    pub cycles_closed: u64,
}

/// Sums in base currency. `None` where a rate was missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sums {
    /// Cash, proceeds of short sales included.
    pub cash: Option<Decimal>,
    /// Twice the opening value of open shorts.
    pub reserved: Option<Decimal>,
    /// Value of long positions.
    pub long_market_value: Option<Decimal>,
    /// Value of short positions, below zero.
    pub short_market_value: Option<Decimal>,
    /// Notional long less notional short.
    pub net_exposure: Option<Decimal>,
    /// Notional long plus notional short.
    pub gross_exposure: Option<Decimal>,
    /// Cost of open positions, each unsigned.
    pub total_cost_basis: Option<Decimal>,
    /// Cost of open positions, short ones negative.
    pub cost_basis: Option<Decimal>,
    /// Realised profit.
    pub realized_pnl: Option<Decimal>,
    /// Realised profit before costs.
    pub realized_pnl_gross: Option<Decimal>,
    /// The currency part of realised profit.
    pub realized_fx_pnl: Option<Decimal>,
    /// Unrealised profit.
    pub unrealized_pnl: Option<Decimal>,
    /// The currency part of unrealised profit.
    pub unrealized_fx_pnl: Option<Decimal>,
    /// Unrealised profit before costs.
    pub unrealized_pnl_gross: Option<Decimal>,
    /// Dividends and interest.
    pub income: Option<Decimal>,
    /// Dividends alone.
    pub dividends: Option<Decimal>,
    /// All fees paid.
    pub fees: Option<Decimal>,
    /// All taxes paid.
    pub taxes: Option<Decimal>,
    /// Fees and taxes neither in cost nor in realised profit.
    pub costs_apart: Option<Decimal>,
    /// Currency gain on cash.
    pub cash_fx_pnl: Option<Decimal>,
    /// Net contributions from outside, assets at the cost they brought.
    pub net_contributions: Option<Decimal>,
    /// Moved in from other accounts of the portfolio; zero over all accounts.
    pub internal_transfers: Option<Decimal>,
}

impl Default for Sums {
    fn default() -> Self {
        let zero = || Some(Decimal::ZERO);
        Self {
            cash: zero(),
            reserved: zero(),
            long_market_value: zero(),
            short_market_value: zero(),
            net_exposure: zero(),
            gross_exposure: zero(),
            total_cost_basis: zero(),
            cost_basis: zero(),
            realized_pnl: zero(),
            realized_pnl_gross: zero(),
            realized_fx_pnl: zero(),
            unrealized_pnl: zero(),
            unrealized_fx_pnl: zero(),
            unrealized_pnl_gross: zero(),
            income: zero(),
            dividends: zero(),
            fees: zero(),
            taxes: zero(),
            costs_apart: zero(),
            cash_fx_pnl: zero(),
            net_contributions: zero(),
            internal_transfers: zero(),
        }
    }
}

impl Sums {
    /// `long_market_value + short_market_value`: what the positions are worth.
    pub fn market_value(&self) -> Option<Decimal> {
        sum(self.long_market_value.as_ref(), self.short_market_value.as_ref())
    }

    /// Free cash: `cash - reserved`.
    pub fn current_capital(&self) -> Option<Decimal> {
        difference(self.cash.as_ref(), self.reserved.as_ref())
    }

    /// `long_market_value + short_market_value + reserved`.
    pub fn total_market_value(&self) -> Option<Decimal> {
        sum(self.market_value().as_ref(), self.reserved.as_ref())
    }

    /// `current_capital + total_market_value`.
    pub fn total_value(&self) -> Option<Decimal> {
        sum(self.current_capital().as_ref(), self.total_market_value().as_ref())
    }

    /// Realised + unrealised.
    pub fn total_pnl(&self) -> Option<Decimal> {
        sum(self.realized_pnl.as_ref(), self.unrealized_pnl.as_ref())
    }

    /// `total_value` less net contributions.
    pub fn total_gain(&self) -> Option<Decimal> {
        let own = difference(self.total_value().as_ref(), self.net_contributions.as_ref());
        difference(own.as_ref(), self.internal_transfers.as_ref())
    }

    /// Adds other sums.
    fn add(&mut self, other: &Self) {
        let pairs = [
            (&mut self.cash, &other.cash),
            (&mut self.reserved, &other.reserved),
            (&mut self.long_market_value, &other.long_market_value),
            (&mut self.short_market_value, &other.short_market_value),
            (&mut self.net_exposure, &other.net_exposure),
            (&mut self.gross_exposure, &other.gross_exposure),
            (&mut self.total_cost_basis, &other.total_cost_basis),
            (&mut self.cost_basis, &other.cost_basis),
            (&mut self.realized_pnl, &other.realized_pnl),
            (&mut self.realized_pnl_gross, &other.realized_pnl_gross),
            (&mut self.realized_fx_pnl, &other.realized_fx_pnl),
            (&mut self.unrealized_pnl, &other.unrealized_pnl),
            (&mut self.unrealized_fx_pnl, &other.unrealized_fx_pnl),
            (&mut self.unrealized_pnl_gross, &other.unrealized_pnl_gross),
            (&mut self.income, &other.income),
            (&mut self.dividends, &other.dividends),
            (&mut self.fees, &other.fees),
            (&mut self.taxes, &other.taxes),
            (&mut self.costs_apart, &other.costs_apart),
            (&mut self.cash_fx_pnl, &other.cash_fx_pnl),
            (&mut self.net_contributions, &other.net_contributions),
            (&mut self.internal_transfers, &other.internal_transfers),
        ];
        for (total, part) in pairs {
            *total = sum(total.as_ref(), part.as_ref());
        }
    }

    /// Adds a holding.
    pub fn add_item(&mut self, item: &Item) {
        let add = |to: &mut Option<Decimal>, what: &Option<Decimal>| *to = sum(to.as_ref(), what.as_ref());
        let (worth, totals) = (&item.worth, &item.totals);
        let short = item.side == Some(Side::Short);
        let value = if short { &mut self.short_market_value } else { &mut self.long_market_value };
        add(value, &worth.market_value.base);
        add(&mut self.net_exposure, &worth.notional.base);
        add(&mut self.gross_exposure, &worth.notional.base.as_ref().map(Decimal::abs));
        if short && !item.margined {
            let twice = sum(worth.opening_gross.base.as_ref(), worth.opening_gross.base.as_ref());
            add(&mut self.reserved, &twice);
        }
        add(&mut self.total_cost_basis, &worth.cost_basis.base.as_ref().map(Decimal::abs));
        add(&mut self.cost_basis, &worth.cost_basis.base);
        add(&mut self.unrealized_pnl, &worth.unrealized.base);
        add(&mut self.unrealized_pnl_gross, &worth.unrealized_gross.base);
        add(&mut self.unrealized_fx_pnl, &worth.unrealized_fx);
        add(&mut self.realized_pnl, &totals.realized.base);
        add(&mut self.realized_pnl_gross, &totals.realized_gross.base);
        add(&mut self.realized_fx_pnl, &totals.realized_fx.base);
        add(&mut self.income, &totals.income.base);
        add(&mut self.dividends, &totals.income.base);
        add(&mut self.fees, &totals.fees.base);
        add(&mut self.taxes, &totals.taxes.base);
        add(&mut self.costs_apart, &totals.costs_apart.base);
    }
}

/// A book, valued.
#[derive(Debug, Clone)]
pub struct Report {
    /// Sums over the whole book.
    pub sums: Sums,
    /// Sums by account, cash included.
    pub accounts: BTreeMap<String, Sums>,
    /// Cash by currency.
    pub cash: BTreeMap<Currency, Decimal>,
    /// Holdings, flat ones included, by account and asset.
    pub items: Vec<Item>,
    /// Rates that some figure needed and did not have.
    pub missing: BTreeSet<MissingRate>,
}

/// What a holding amounts to, its lots together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Units, unsigned.
    pub quantity: Decimal,
    /// Their value at opening, before costs.
    pub gross: Amounts,
    /// Their costs.
    pub costs: Amounts,
}

impl Held {
    fn of(holding: &Holding) -> Self {
        Self { quantity: holding.lots.quantity(), gross: holding.gross(), costs: holding.costs() }
    }
}

/// What each holding of a book amounts to, in its order.
pub fn held(book: &Book) -> Vec<Held> {
    book.holdings.values().map(Held::of).collect()
}

/// Values a book.
pub fn report(book: &Book, with: Valuation<'_>) -> Report {
    value_book(book, None, with)
}

/// Values a book without its lots; `sums` are those of [`held`].
pub fn totals(book: &Book, sums: &[Held], with: Valuation<'_>) -> Report {
    value_book(book, Some(sums), with)
}

fn value_book(book: &Book, known: Option<&[Held]>, with: Valuation<'_>) -> Report {
    let mut missing = book.missing.clone();
    let mut accounts: BTreeMap<String, Sums> = BTreeMap::new();
    let mut items = Vec::with_capacity(book.holdings.len());
    let no_splits = Vec::new();
    for (place, (key, holding)) in book.holdings.iter().enumerate() {
        let Some(asset) = with.assets.get(&key.asset) else { continue };
        let splits = book.splits.get(&key.asset).unwrap_or(&no_splits);
        let sum = known.and_then(|known| known.get(place));
        let item = value_holding(key, (holding, sum), (asset, splits), with, &mut missing);
        match accounts.get_mut(&key.account) {
            Some(account) => account.add_item(&item),
            None => accounts.entry(key.account.clone()).or_default().add_item(&item),
        }
        items.push(item);
    }
    let mut cash: BTreeMap<Currency, Decimal> = BTreeMap::new();
    for (name, state) in &book.accounts {
        let mut own = Sums::default();
        for (currency, held) in &state.cash {
            let now = convert(&held.balance, *currency, with, &mut missing);
            let gain = difference(now.as_ref(), held.moved_base.as_ref());
            own.cash = sum(own.cash.as_ref(), now.as_ref());
            own.cash_fx_pnl = sum(own.cash_fx_pnl.as_ref(), gain.as_ref());
            let total = cash.entry(*currency).or_insert(Decimal::ZERO);
            *total += &held.balance;
        }
        own.cash_fx_pnl = sum(own.cash_fx_pnl.as_ref(), state.exchange_result.as_ref());
        own.net_contributions.clone_from(&state.contributions);
        own.internal_transfers.clone_from(&state.internal);
        own.income.clone_from(&state.interest);
        own.fees.clone_from(&state.fees);
        own.taxes.clone_from(&state.taxes);
        own.costs_apart.clone_from(&state.costs_apart);
        own.realized_pnl = state.expensed.as_ref().map(|fees| -fees);
        add_account(accounts.entry(name.clone()).or_default(), &own);
    }
    let mut sums = Sums::default();
    for account in accounts.values() {
        sums.add(account);
    }
    Report { sums, accounts, cash, items, missing }
}

/// Adds what an account has beside its holdings.
fn add_account(to: &mut Sums, own: &Sums) {
    let pairs = [
        (&mut to.cash, &own.cash),
        (&mut to.cash_fx_pnl, &own.cash_fx_pnl),
        (&mut to.net_contributions, &own.net_contributions),
        (&mut to.internal_transfers, &own.internal_transfers),
        (&mut to.income, &own.income),
        (&mut to.fees, &own.fees),
        (&mut to.taxes, &own.taxes),
        (&mut to.costs_apart, &own.costs_apart),
        (&mut to.realized_pnl, &own.realized_pnl),
    ];
    for (total, part) in pairs {
        *total = sum(total.as_ref(), part.as_ref());
    }
}

fn convert(
    amount: &Decimal,
    from: Currency,
    with: Valuation<'_>,
    missing: &mut BTreeSet<MissingRate>,
) -> Option<Decimal> {
    let base = with.rates.convert(amount, from, with.base, with.at);
    if base.is_none() {
        missing.insert(MissingRate { from, to: with.base, at: with.at });
    }
    base
}

fn value_holding(
    key: &HoldingKey,
    (holding, known): (&Holding, Option<&Held>),
    (priced, splits): (&Priced, &[SplitEvent]),
    with: Valuation<'_>,
    missing: &mut BTreeSet<MissingRate>,
) -> Item {
    let side = holding.side();
    let price = side.and_then(|_| price_used(holding, priced, splits, with.age_at));
    let mut value = |quantity: &Decimal, gross: &Amounts, costs: &Amounts| {
        let short = side == Some(Side::Short);
        let units = Units { quantity, gross, costs, short, currency: holding.currency, terms: &priced.terms };
        worth(&units, price.as_ref(), with, missing)
    };
    let (whole, mut lots) = if let Some(Held { quantity, gross, costs }) = known {
        (value(quantity, gross, costs), Vec::new())
    } else {
        let Held { quantity, gross, costs } = Held::of(holding);
        let lots = holding.lots.0.iter();
        let lots = lots.map(|lot| (lot.clone(), value(&lot.quantity, &lot.gross, &lot.costs)));
        let lots: Vec<(Lot, Worth)> = lots.collect();
        (value(&quantity, &gross, &costs), lots)
    };
    // Where a rate or an inverse price divides, each lot is rounded: the last one takes what the others leave.
    if let Some(((_, last), others)) = lots.split_last_mut() {
        last.become_rest(&whole, others.iter().map(|(_, worth)| worth));
    }
    Item {
        account: key.account.clone(),
        asset: key.asset,
        currency: holding.currency,
        margined: priced.terms.margined,
        multiplier: priced.terms.multiplier.clone(),
        side,
        worth: whole,
        totals: holding.totals.clone(),
        price,
        lots,
        cycles_closed: holding.cycles_closed,
    }
}

/// Units held at their opening value.
struct Units<'a> {
    quantity: &'a Decimal,
    gross: &'a Amounts,
    costs: &'a Amounts,
    short: bool,
    currency: Currency,
    terms: &'a Terms,
}

fn worth(
    units: &Units<'_>,
    price: Option<&PriceUsed>,
    with: Valuation<'_>,
    missing: &mut BTreeSet<MissingRate>,
) -> Worth {
    let Units { short, currency, terms, .. } = *units;
    let cost_basis = signed_basis(units.gross, units.costs, short);
    let notional =
        price.and_then(|used| terms.notional(units.quantity, &used.price)).unwrap_or(Decimal::ZERO);
    let gains_on_rise = short == terms.inverse;
    let rise = &notional - &units.gross.own;
    let gross_profit = if gains_on_rise { rise } else { -rise };
    let signed_notional = if short { -&notional } else { notional };
    let notional_base = convert(&signed_notional, currency, with, missing);
    let (market_value, unrealized_gross, unrealized) = if terms.margined {
        let gross = Amounts { base: convert(&gross_profit, currency, with, missing), own: gross_profit };
        (gross.clone(), gross.clone(), &gross - units.costs)
    } else {
        let value = Amounts { own: signed_notional.clone(), base: notional_base.clone() };
        let opening = signed_basis(units.gross, &Amounts::ZERO, short);
        (value.clone(), &value - &opening, &value - &cost_basis)
    };
    let unrealized_fx = if terms.margined {
        Some(Decimal::ZERO)
    } else {
        let now = convert(&cost_basis.own, currency, with, missing);
        difference(now.as_ref(), cost_basis.base.as_ref())
    };
    let quantity = if short { -units.quantity } else { units.quantity.clone() };
    Worth {
        opening_gross: units.gross.clone(),
        quantity,
        cost_basis,
        market_value,
        notional: Amounts { own: signed_notional, base: notional_base },
        unrealized_gross,
        unrealized,
        unrealized_fx,
    }
}

/// The price that values a holding: the asset's, else that of the holding's last trade.
fn price_used(
    holding: &Holding,
    priced: &Priced,
    splits: &[SplitEvent],
    age_at: Moment,
) -> Option<PriceUsed> {
    let stale_after = priced.terms.stale_after;
    let old = |observed_at: Moment| age_at.0.saturating_sub(observed_at.0);
    if let Some(mark) = &priced.mark {
        let age = old(mark.observed_at);
        return Some(PriceUsed {
            price: adjusted(mark, splits, priced.zone),
            basis: "quote",
            observed_at: mark.observed_at,
            recorded_at: Some(mark.recorded_at),
            source: Some(mark.source.clone()),
            interval: Some(mark.interval.clone()),
            age,
            stale: stale_after.is_some_and(|limit| age > limit),
        });
    }
    let (at, price) = holding.last_price.as_ref()?;
    Some(PriceUsed {
        price: price.clone(),
        basis: "trade",
        observed_at: *at,
        recorded_at: None,
        source: None,
        interval: None,
        age: old(*at),
        stale: stale_after.is_some_and(|limit| old(*at) > limit),
    })
}

/// A price in the units held, in one division; one that the source has adjusted itself is left alone.
pub(super) fn adjusted(mark: &Mark, splits: &[SplitEvent], zone: Tz) -> Decimal {
    if mark.split_adjusted {
        return mark.price.clone();
    }
    split_factor(Observed { at: mark.observed_at, interval: &mark.interval }, splits, zone).of(&mark.price)
}

#[cfg(test)]
mod tests;

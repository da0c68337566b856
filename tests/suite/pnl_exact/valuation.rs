//! What the reference's ledger is worth at a moment.

use super::ledger::{Account, Holding, Reference, Split, Totals};
use super::number::{Base, Money, Number, add};
use artifact::domain::asset::Terms;
use artifact::domain::currency::Currency;
use artifact::domain::ids::AssetKey;
use artifact::domain::moment::Moment;
use artifact::domain::pnl::report::Priced;
use std::collections::BTreeMap;

/// The price a holding is valued with.
#[derive(Debug)]
pub(super) struct Used {
    pub(super) price: Number,
    pub(super) basis: &'static str,
    pub(super) observed_at: Moment,
}

/// Units at their price.
#[derive(Debug)]
pub(super) struct Worth {
    pub(super) quantity: Number,
    pub(super) opening_gross: Money,
    pub(super) cost_basis: Money,
    pub(super) average_cost: Option<Number>,
    pub(super) average_entry: Option<Number>,
    pub(super) market_value: Money,
    pub(super) notional: Money,
    pub(super) unrealized_gross: Money,
    pub(super) unrealized: Money,
    pub(super) unrealized_fx: Base,
}

impl Worth {
    /// Its sums.
    fn figures(&mut self) -> [Option<&mut Number>; 14] {
        let [gross, cost, value, notional, before, profit] = [
            &mut self.opening_gross,
            &mut self.cost_basis,
            &mut self.market_value,
            &mut self.notional,
            &mut self.unrealized_gross,
            &mut self.unrealized,
        ];
        [
            Some(&mut self.quantity),
            self.unrealized_fx.as_mut(),
            Some(&mut gross.own),
            gross.base.as_mut(),
            Some(&mut cost.own),
            cost.base.as_mut(),
            Some(&mut value.own),
            value.base.as_mut(),
            Some(&mut notional.own),
            notional.base.as_mut(),
            Some(&mut before.own),
            before.base.as_mut(),
            Some(&mut profit.own),
            profit.base.as_mut(),
        ]
    }

    /// Takes on what `other` may have been rounded by.
    fn also_rounded_as(&mut self, other: &mut Self) {
        for (figure, other) in self.figures().into_iter().zip(other.figures()) {
            if let (Some(figure), Some(other)) = (figure, other) {
                figure.error = figure.error.plus(other.error);
            }
        }
    }
}

pub(super) struct Item {
    pub(super) key: (String, AssetKey),
    pub(super) currency: Currency,
    /// Whether it is short, unless it is flat.
    pub(super) short: Option<bool>,
    pub(super) closed: u64,
    pub(super) used: Option<Used>,
    pub(super) worth: Worth,
    pub(super) totals: Totals,
    pub(super) lots: Vec<(super::lots::Lot, Worth)>,
}

/// Sums in base currency, by the names of `docs/PNL.md`.
pub(super) type Sums = BTreeMap<&'static str, Base>;

pub(super) struct Report {
    pub(super) items: Vec<Item>,
    pub(super) accounts: BTreeMap<String, Sums>,
    pub(super) sums: Sums,
    pub(super) cash: BTreeMap<Currency, Number>,
}

/// Whether a price was observed before a split: one of a day or longer by date, another by moment.
fn before(priced: &Priced, split: &Split) -> bool {
    let mark = priced.mark.as_ref().unwrap();
    if mark.split_adjusted {
        // Its source counts it in units of today.
        return false;
    }
    if !matches!(mark.interval.as_str(), "1d" | "1w" | "1M") {
        return mark.observed_at < split.at;
    }
    let zone = if mark.observed_at.0 % 86_400_000_000 == 0 { chrono_tz::Tz::UTC } else { priced.zone };
    mark.observed_at.day_in(zone) < split.at.day_in(priced.zone)
}

impl Reference<'_> {
    fn used(&self, asset: AssetKey, holding: &Holding, priced: &Priced) -> Option<Used> {
        let Some(mark) = &priced.mark else {
            let (observed_at, price) = holding.last_price.clone()?;
            return Some(Used { price, basis: "trade", observed_at });
        };
        let splits = self.splits.get(&asset).into_iter().flatten().filter(|split| before(priced, split));
        let (mut top, mut bottom) = (Number::of(&mark.price), Number::whole(1));
        for split in splits {
            (top, bottom) = (top.times(&split.old), bottom.times(&split.new));
        }
        Some(Used { price: top.over(&bottom), basis: "quote", observed_at: mark.observed_at })
    }

    /// Units that were opened at `gross` with `costs`, all unsigned, valued.
    fn worth(
        &mut self,
        (quantity, gross, costs): (&Number, Money, Money),
        short: bool,
        (price, terms, at): (&Number, &Terms, Moment),
        currency: Currency,
    ) -> Worth {
        let units = quantity.times(&Number::of(&terms.multiplier));
        let value = match (terms.inverse, price.is_nothing()) {
            (false, _) => units.times(price),
            (true, false) => units.over(price),
            (true, true) => Number::zero(),
        };
        let valued = |reference: &mut Self, own: Number| {
            let base = reference.convert(&own, currency, reference.base, at);
            Money { own, base }
        };
        let notional = valued(self, value.signed(short));
        let market_value = if terms.margined {
            valued(self, value.minus(&gross.own).signed(short != terms.inverse))
        } else {
            notional.clone()
        };
        let cost_basis = gross.signed(short).plus(&costs);
        let signed_quantity = quantity.signed(short);
        let unrealized_gross =
            if terms.margined { market_value.clone() } else { market_value.minus(&gross.signed(short)) };
        let unrealized_fx = if terms.margined {
            Some(Number::zero())
        } else {
            let mut part = self.convert(&cost_basis.own, currency, self.base, at);
            add(&mut part, cost_basis.base.as_ref().map(Number::negated));
            part
        };
        let average_entry = if !terms.inverse {
            Some(gross.own.over(&units))
        } else if gross.own.value.is_zero() {
            None
        } else {
            Some(units.over(&gross.own))
        };
        Worth {
            average_cost: Some(cost_basis.own.over(&signed_quantity)),
            average_entry,
            quantity: signed_quantity,
            unrealized: unrealized_gross.minus(&costs),
            opening_gross: gross,
            cost_basis,
            market_value,
            notional,
            unrealized_gross,
            unrealized_fx,
        }
    }

    fn nothing() -> Worth {
        Worth {
            quantity: Number::zero(),
            opening_gross: Money::zero(),
            cost_basis: Money::zero(),
            average_cost: None,
            average_entry: None,
            market_value: Money::zero(),
            notional: Money::zero(),
            unrealized_gross: Money::zero(),
            unrealized: Money::zero(),
            unrealized_fx: Some(Number::zero()),
        }
    }

    fn item(&mut self, key: (String, AssetKey), holding: &Holding, priced: &Priced, at: Moment) -> Item {
        let mut item = Item {
            currency: holding.currency,
            short: None,
            closed: holding.closed,
            used: None,
            worth: Self::nothing(),
            totals: holding.totals.clone(),
            lots: Vec::new(),
            key,
        };
        if holding.cycle.is_none() {
            return item;
        }
        let short = holding.is_short();
        let used = self.used(item.key.1, holding, priced).expect("an open position has a price");
        let with = (&used.price, &priced.terms, at);
        let all = (&holding.quantity, holding.sum(|lot| &lot.gross), holding.sum(|lot| &lot.costs));
        item.worth = self.worth(all, short, with, holding.currency);
        for lot in &holding.lots {
            let units = (&lot.quantity, lot.gross.clone(), lot.costs.clone());
            item.lots.push((lot.clone(), self.worth(units, short, with, holding.currency)));
        }
        // Lots add up to their holding: the last one takes what rounding leaves.
        if let Some(((_, last), others)) = item.lots.split_last_mut() {
            for (_, other) in others.iter_mut() {
                last.also_rounded_as(other);
            }
            last.also_rounded_as(&mut item.worth);
        }
        (item.short, item.used) = (Some(short), Some(used));
        item
    }

    /// Values everything. `prices` has every asset there is.
    pub(super) fn report(&mut self, prices: &BTreeMap<AssetKey, Priced>, at: Moment) -> Report {
        let mut report =
            Report { items: Vec::new(), accounts: BTreeMap::new(), sums: empty(), cash: BTreeMap::new() };
        for (name, account) in self.accounts.clone() {
            let mut sums = empty();
            for (currency, (balance, moved)) in &account.cash {
                let sum = report.cash.entry(*currency).or_insert_with(Number::zero);
                *sum = sum.plus(balance);
                let now = self.convert(balance, *currency, self.base, at);
                sums.entry("cash").and_modify(|sum| add(sum, now.clone()));
                let mut gained = now;
                add(&mut gained, moved.as_ref().map(Number::negated));
                sums.entry("cash_fx_pnl").and_modify(|sum| add(sum, gained));
            }
            account_sums(&mut sums, account);
            report.accounts.insert(name, sums);
        }
        for (key, holding) in self.holdings.clone() {
            let item = self.item(key.clone(), &holding, &prices[&key.1], at);
            let sums = report.accounts.entry(key.0.clone()).or_insert_with(empty);
            item_sums(sums, &item, prices[&key.1].terms.margined);
            report.items.push(item);
        }
        for account in report.accounts.values() {
            for (name, figure) in account {
                report.sums.entry(name).and_modify(|sum| add(sum, figure.clone()));
            }
        }
        report
    }
}

fn account_sums(sums: &mut Sums, account: Account) {
    let negated = |figure: &Base| figure.as_ref().map(Number::negated);
    for (name, figure) in [
        ("cash_fx_pnl", account.exchanged),
        ("realized_pnl", negated(&account.expensed)),
        ("income", account.interest),
        ("fees", account.fees),
        ("taxes", account.taxes),
        ("costs_apart", account.costs_apart),
        ("net_contributions", account.contributions),
        ("internal_transfers", account.internal),
    ] {
        sums.entry(name).and_modify(|sum| add(sum, figure));
    }
}

fn item_sums(sums: &mut Sums, item: &Item, margined: bool) {
    let (worth, totals) = (&item.worth, &item.totals);
    let short = item.short == Some(true);
    let twice = |money: &Money| money.base.as_ref().map(|base| base.times(&Number::whole(2)));
    let reserved = if short && !margined { twice(&worth.opening_gross) } else { Some(Number::zero()) };
    let side = if short { "short_market_value" } else { "long_market_value" };
    for (name, figure) in [
        ("reserved", reserved),
        (side, worth.market_value.base.clone()),
        ("net_exposure", worth.notional.base.clone()),
        ("gross_exposure", worth.notional.base.as_ref().map(Number::abs)),
        ("total_cost_basis", worth.cost_basis.base.as_ref().map(Number::abs)),
        ("cost_basis", worth.cost_basis.base.clone()),
        ("realized_pnl", totals.realized.base.clone()),
        ("realized_pnl_gross", totals.realized_gross.base.clone()),
        ("realized_fx_pnl", totals.realized_fx.clone()),
        ("unrealized_pnl", worth.unrealized.base.clone()),
        ("unrealized_fx_pnl", worth.unrealized_fx.clone()),
        ("unrealized_pnl_gross", worth.unrealized_gross.base.clone()),
        ("income", totals.income.base.clone()),
        ("dividends", totals.income.base.clone()),
        ("fees", totals.fees.base.clone()),
        ("taxes", totals.taxes.base.clone()),
        ("costs_apart", totals.costs_apart.base.clone()),
    ] {
        sums.entry(name).and_modify(|sum| add(sum, figure));
    }
}

fn empty() -> Sums {
    [
        "cash",
        "reserved",
        "long_market_value",
        "short_market_value",
        "net_exposure",
        "gross_exposure",
        "total_cost_basis",
        "cost_basis",
        "realized_pnl",
        "realized_pnl_gross",
        "realized_fx_pnl",
        "unrealized_pnl",
        "unrealized_fx_pnl",
        "unrealized_pnl_gross",
        "income",
        "dividends",
        "fees",
        "taxes",
        "costs_apart",
        "cash_fx_pnl",
        "net_contributions",
        "internal_transfers",
    ]
    .into_iter()
    .map(|name| (name, Some(Number::zero())))
    .collect()
}

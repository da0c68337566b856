//! The values of a statement by the names of its document.

use super::{Answer, CostStep, Seen};
use crate::domain::currency::Currency;
use crate::domain::decimal::Decimal;
use crate::domain::moment::Moment;
use crate::domain::pnl::amounts::{Amounts, difference, sum};
use crate::domain::pnl::book::HoldingKey;
use crate::domain::pnl::holding::Totals;
use crate::domain::pnl::report::{Item, Sums};
use crate::domain::pnl::tax::{self, Terms as TaxTerms};
use crate::domain::pnl::trace::{Closed, Disposal, DisposalKind, Posting, PostingKind, Trace};
use crate::domain::portfolio::{FeeMode, TaxMode};
use crate::domain::statistics::day_count::DayCount;
use crate::domain::statistics::irr::{Flow, xirr};
use crate::domain::transaction::TransactionType;
use chrono::NaiveDate;
use std::collections::{BTreeMap, BTreeSet};

/// A lot of a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LotLine {
    /// Units, negative when owed.
    pub quantity: Decimal,
    /// Cost of one unit.
    pub unit_cost: Decimal,
    /// When they were acquired.
    pub acquired: Moment,
}

/// One value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A number.
    Number(Decimal),
    /// No number, and why.
    Nothing(&'static str),
    /// The code of a refusal.
    Text(&'static str),
    /// Open lots, oldest first.
    Lots(Vec<LotLine>),
}

const NEEDS_RATE: &str = "missing_rate";
const NEEDS_PRICE: &str = "missing_price";
const NEEDS_ASSET: &str = "needs_asset";
const NO_POSITION: &str = "no_position";
const NOTHING_CLOSED: &str = "nothing_closed";

/// Names of values that exist with and without `_base`.
const IN_BOTH: [&str; 19] = [
    "cost_basis",
    "market_value",
    "notional",
    "realized_pnl",
    "realized_pnl_cycle",
    "realized_pnl_gross",
    "unrealized_pnl",
    "unrealized_pnl_gross",
    "total_pnl",
    "gross_pnl",
    "net_pnl",
    "net_realized_pnl",
    "fees",
    "taxes",
    "dividends",
    "cost_removed",
    "taxable_cost",
    "taxfree_cost",
    "taxable_gain",
];

/// The other names.
const ALONE: [&str; 23] = [
    "quantity",
    "avg_cost",
    "lots",
    "realized_fx_pnl_base",
    "unrealized_fx_pnl_base",
    "unrealized_pnl_spot_total",
    "fees_total",
    "cash_base",
    "net_contribution_base",
    "missing_quantity",
    "taxable_quantity",
    "taxfree_quantity",
    "taxfree_gain",
    "taxfree_gain_base",
    "avg_investment",
    "roai_gross",
    "roai_net",
    "trade_return",
    "trade_irr",
    "total_value",
    "cash_fx_pnl_base",
    "income_base",
    "error",
];

/// What comes when a checkpoint names no values.
pub const USUAL: [&str; 12] = [
    "quantity",
    "cost_basis",
    "avg_cost",
    "market_value",
    "realized_pnl",
    "unrealized_pnl",
    "total_pnl",
    "fees",
    "dividends",
    "cash_base",
    "net_contribution_base",
    "total_value",
];

/// Whether a value of this name can be asked for.
pub fn is_known(name: &str) -> bool {
    let plain = name.strip_suffix("_base").unwrap_or(name);
    let cash = name.strip_prefix("cash:").is_some_and(|code| Currency::from_code(code).is_some());
    cash || ALONE.contains(&name) || IN_BOTH.contains(&plain)
}

/// Values that count from the beginning, so that a window shows what was added in it. The others are of its end.
fn accumulates(name: &str) -> bool {
    let plain = name.strip_suffix("_base").unwrap_or(name);
    let states = ["cost_basis", "market_value", "notional", "cash", "income"];
    (IN_BOTH.contains(&plain) && !states.contains(&plain))
        || matches!(
            plain,
            "income"
                | "realized_fx_pnl"
                | "unrealized_fx_pnl"
                | "unrealized_pnl_spot_total"
                | "fees_total"
                | "net_contribution"
                | "missing_quantity"
                | "taxable_quantity"
                | "taxfree_quantity"
                | "taxfree_gain"
                | "cash_fx_pnl"
        )
}

fn number(value: Option<Decimal>) -> Value {
    value.map_or(Value::Nothing(NEEDS_RATE), Value::Number)
}

impl Seen<'_> {
    /// Every value asked for.
    pub(super) fn values(&self) -> Vec<(String, Value)> {
        self.checkpoint.want.iter().map(|name| (name.clone(), self.value(name))).collect()
    }

    /// The values of the checkpoint, of a window those since its start.
    pub(super) fn answer(self, start: Option<Vec<(String, Value)>>) -> Answer {
        let mut values = self.values();
        for ((name, value), (_, before)) in values.iter_mut().zip(start.into_iter().flatten()) {
            if accumulates(name) {
                *value = match (&*value, before) {
                    (Value::Number(now), Value::Number(before)) => Value::Number(now - &before),
                    (Value::Number(_), before) => before,
                    (now, _) => now.clone(),
                };
            }
        }
        let open = |item: &&Item| item.side.is_some() && item.price.is_none();
        Answer {
            values,
            unpriced: self.report.items.iter().filter(open).map(|item| item.asset).collect(),
            unrated: self.report.missing.clone(),
            refused: self.refused.to_vec(),
            conventions: self.conventions.clone(),
        }
    }

    fn trace(&self) -> &Trace {
        static NOTHING: Trace = Trace { postings: Vec::new(), disposals: Vec::new() };
        self.book.trace.as_ref().unwrap_or(&NOTHING)
    }

    /// The asset a value is about: the one asked for, or the only one there is.
    fn asset(&self) -> Option<crate::domain::ids::AssetKey> {
        let only = || self.statement.assets.keys().next().filter(|_| self.statement.assets.len() == 1);
        self.checkpoint.asset.or_else(|| only().copied())
    }

    fn of_account(&self, account: &str) -> bool {
        let asked = self.checkpoint.account.as_deref();
        asked.is_none_or(|asked| asked == account || account == crate::domain::pnl::book::EVERY_ACCOUNT)
    }

    fn items(&self) -> Vec<&Item> {
        let asset = self.asset();
        let wanted = |item: &&Item| Some(item.asset) == asset && self.of_account(&item.account);
        self.report.items.iter().filter(wanted).collect()
    }

    fn disposals(&self) -> impl Iterator<Item = (&Disposal, &Closed)> {
        let asset = self.asset();
        self.trace()
            .disposals
            .iter()
            .filter(move |d| Some(d.holding.asset) == asset && self.of_account(&d.account))
            .flat_map(|disposal| disposal.closed.iter().map(move |closed| (disposal, closed)))
    }

    fn postings(&self, kind: PostingKind) -> impl Iterator<Item = &Posting> {
        self.trace().postings.iter().filter(move |p| p.kind == kind && self.of_account(&p.account))
    }

    fn value(&self, name: &str) -> Value {
        if let Some(code) = name.strip_prefix("cash:") {
            return Value::Number(self.cash(code));
        }
        match name {
            "error" => {
                self.refused.last().map_or(Value::Nothing("nothing_refused"), |r| Value::Text(r.error.code()))
            }
            "cash_base" => number(self.sums().cash),
            "fees_total" => number(self.sums().fees),
            "total_value" => self.needs_prices(self.sums().total_value()),
            "cash_fx_pnl_base" => number(self.sums().cash_fx_pnl),
            "income_base" => number(self.sums().income),
            "net_contribution_base" => number(self.contributions()),
            "unrealized_pnl_spot_total" => self.needs_prices(self.unrealized_at_spot()),
            "lots" | "quantity" | "avg_cost" | "missing_quantity" | "avg_investment" | "roai_gross"
            | "roai_net" | "trade_return" | "trade_irr" => self.of_the_asset(name),
            _ if name.starts_with("tax") && name != "taxes" && name != "taxes_base" => {
                self.of_the_asset(name)
            }
            "cost_removed"
            | "cost_removed_base"
            | "realized_pnl_cycle"
            | "realized_pnl_cycle_base"
            | "notional"
            | "notional_base" => self.of_the_asset(name),
            _ => self.amount(name),
        }
    }

    fn of_the_asset(&self, name: &str) -> Value {
        if self.asset().is_none() {
            return Value::Nothing(NEEDS_ASSET);
        }
        match name {
            "lots" => Value::Lots(self.lots()),
            "quantity" => Value::Number(self.quantity()),
            "avg_cost" => {
                let cost = self.total(|item| item.worth.cost_basis.clone());
                cost.own.divide(&self.quantity()).map_or(Value::Nothing(NO_POSITION), Value::Number)
            }
            "missing_quantity" => {
                Value::Number(self.items().iter().map(|item| item.totals.missing_quantity.clone()).sum())
            }
            "notional" => self.needs_prices(Some(self.total(|item| item.worth.notional.clone()).own.abs())),
            "notional_base" => {
                let notional = self.total(|item| item.worth.notional.clone()).base;
                self.needs_prices(notional.map(|notional| notional.abs()))
            }
            "avg_investment" => self.average_investment().map_or(Value::Nothing(NO_POSITION), Value::Number),
            "roai_gross" => self.on_average_investment("gross_pnl"),
            "roai_net" => self.on_average_investment("net_pnl"),
            "trade_return" => self.trade_return(),
            "trade_irr" => self.trade_irr(),
            "realized_pnl_cycle" => Value::Number(self.cycle().realized.own),
            "realized_pnl_cycle_base" => number(self.cycle().realized.base),
            "cost_removed" => Value::Number(self.cost_removed().own),
            "cost_removed_base" => number(self.cost_removed().base),
            _ => self.taxed(name),
        }
    }

    fn quantity(&self) -> Decimal {
        self.items().iter().map(|item| item.worth.quantity.clone()).sum()
    }

    fn total(&self, pick: impl Fn(&Item) -> Amounts) -> Amounts {
        self.items().into_iter().fold(Amounts::ZERO, |sum, item| &sum + &pick(item))
    }

    /// The sums of the account, or of everything.
    fn sums(&self) -> Sums {
        match &self.checkpoint.account {
            Some(account) => self.report.accounts.get(account).cloned().unwrap_or_default(),
            None => self.report.sums.clone(),
        }
    }

    /// A figure that no number can be given for while an open position has no price.
    fn needs_prices(&self, value: Option<Decimal>) -> Value {
        let asset = self.checkpoint.asset;
        let unpriced = |item: &Item| {
            item.side.is_some() && item.price.is_none() && asset.is_none_or(|asset| asset == item.asset)
        };
        if self.report.items.iter().any(unpriced) { Value::Nothing(NEEDS_PRICE) } else { number(value) }
    }

    /// An amount: of the asset asked for in its currency or in base, of everything in base.
    fn amount(&self, name: &str) -> Value {
        let plain = name.strip_suffix("_base").unwrap_or(name);
        let valued = matches!(plain, "market_value" | "total_pnl" | "gross_pnl" | "net_pnl")
            || plain.starts_with("unrealized");
        let value = if self.checkpoint.asset.is_none() {
            self.amount_of_all(plain)
        } else {
            let amounts = self.amounts_of_asset(plain);
            if plain == name && !plain.ends_with("fx_pnl") { Some(amounts.own) } else { amounts.base }
        };
        if valued { self.needs_prices(value) } else { number(value) }
    }

    fn amounts_of_asset(&self, plain: &str) -> Amounts {
        let realized = || self.total(|item| item.totals.realized.clone());
        let unrealized = || self.total(|item| item.worth.unrealized.clone());
        let fees = || self.total(|item| item.totals.fees.clone());
        let base = |pick: fn(&Item) -> Option<Decimal>| {
            self.total(|item| Amounts { own: Decimal::ZERO, base: pick(item) })
        };
        match plain {
            "cost_basis" => self.total(|item| item.worth.cost_basis.clone()),
            "market_value" => self.total(|item| item.worth.market_value.clone()),
            "realized_pnl" => realized(),
            "realized_pnl_gross" => self.total(|item| item.totals.realized_gross.clone()),
            "unrealized_pnl" => unrealized(),
            "unrealized_pnl_gross" => self.total(|item| item.worth.unrealized_gross.clone()),
            "net_realized_pnl" => &realized() - &self.fees_not_in_profit(),
            "net_pnl" => &(&realized() + &unrealized()) - &self.fees_not_in_profit(),
            "fees" => fees(),
            "taxes" => self.total(|item| item.totals.taxes.clone()),
            "dividends" => self.total(|item| item.totals.income.clone()),
            "realized_fx_pnl" => base(|item| item.totals.realized_fx.base.clone()),
            "unrealized_fx_pnl" => base(|item| item.worth.unrealized_fx.clone()),
            // total_pnl and gross_pnl.
            _ => &realized() + &unrealized(),
        }
    }

    fn amount_of_all(&self, plain: &str) -> Option<Decimal> {
        let sums = self.sums();
        match plain {
            "cost_basis" => sums.cost_basis,
            "market_value" => sums.market_value(),
            "realized_pnl" => sums.realized_pnl,
            "realized_pnl_gross" => sums.realized_pnl_gross,
            "unrealized_pnl" => sums.unrealized_pnl,
            "unrealized_pnl_gross" => sums.unrealized_pnl_gross,
            "net_realized_pnl" => {
                difference(sums.realized_pnl.as_ref(), self.fees_not_in_profit().base.as_ref())
            }
            "net_pnl" => difference(sums.total_pnl().as_ref(), self.fees_not_in_profit().base.as_ref()),
            "fees" => sums.fees,
            "taxes" => sums.taxes,
            "dividends" => {
                let plain = self.postings(PostingKind::Interest);
                let plain = plain.filter(|p| self.statement.plain_dividends.contains(&p.transaction));
                let plain = plain.fold(Amounts::ZERO, |sum, posting| &sum + &posting.amount);
                sum(sums.dividends.as_ref(), plain.base.as_ref())
            }
            "realized_fx_pnl" => sums.realized_fx_pnl,
            "unrealized_fx_pnl" => sums.unrealized_fx_pnl,
            _ => sums.total_pnl(),
        }
    }

    /// Fees that are in no profit figure yet and belong into the net one: under `none` none do.
    fn fees_not_in_profit(&self) -> Amounts {
        if self.conventions.fees == FeeMode::None {
            return Amounts::ZERO;
        }
        let asset = self.checkpoint.asset;
        let fees = self.postings(PostingKind::FeeApart).filter(|p| asset.is_none() || p.asset == asset);
        fees.fold(Amounts::ZERO, |sum, posting| &sum + &posting.amount)
    }

    fn cash(&self, code: &str) -> Decimal {
        let accounts = self.book.accounts.iter().filter(|(name, _)| self.of_account(name));
        let cash = accounts.flat_map(|(_, state)| &state.cash);
        cash.filter(|(currency, _)| currency.code() == code).map(|(_, cash)| cash.balance.clone()).sum()
    }

    /// Net contributions with the in-cost fee of what was transferred in, as the document defines them.
    fn contributions(&self) -> Option<Decimal> {
        let sums = self.sums();
        let mut total = sum(sums.net_contributions.as_ref(), sums.internal_transfers.as_ref())?;
        let arrivals: BTreeSet<_> = self
            .statement
            .transactions
            .iter()
            .filter(|t| t.kind == TransactionType::TransferIn)
            .map(|t| t.id)
            .collect();
        let in_cost = [
            (PostingKind::Fee, self.conventions.fees == FeeMode::InCost),
            (PostingKind::Tax, self.conventions.taxes == TaxMode::InCost),
        ];
        for (kind, _) in in_cost.into_iter().filter(|(_, in_cost)| *in_cost) {
            for posting in self.postings(kind).filter(|p| arrivals.contains(&p.transaction)) {
                total += posting.amount.base.as_ref()?;
            }
        }
        Some(total)
    }

    /// Gains in their own currency at the rate of the moment, all assets together.
    fn unrealized_at_spot(&self) -> Option<Decimal> {
        let (rates, base, at) = (&self.statement.rates, self.statement.base, self.at);
        let items = self.report.items.iter().filter(|item| self.of_account(&item.account));
        items.map(|item| rates.convert(&item.worth.unrealized.own, item.currency, base, at)).sum()
    }

    fn lots(&self) -> Vec<LotLine> {
        let mut lots: Vec<LotLine> = Vec::new();
        for item in self.items() {
            for (lot, worth) in &item.lots {
                lots.push(LotLine {
                    quantity: worth.quantity.clone(),
                    unit_cost: worth.average_cost().unwrap_or_default(),
                    acquired: lot.acquired_at,
                });
            }
        }
        lots.sort_by_key(|lot| lot.acquired);
        lots
    }

    /// Sums of the open positions, or else of the last one closed.
    fn cycle(&self) -> Totals {
        let asset = self.asset();
        let wanted = |key: &HoldingKey| Some(key.asset) == asset && self.of_account(&key.account);
        let open: Vec<Totals> = self
            .book
            .holdings
            .iter()
            .filter(|(key, _)| wanted(key))
            .filter_map(|(_, holding)| Some(holding.totals.since(&holding.cycle.as_ref()?.totals)))
            .collect();
        if open.is_empty() {
            let last = self.book.closed.iter().rev().find(|(key, _)| wanted(key));
            return last.map(|(_, cycle)| cycle.totals.clone()).unwrap_or_default();
        }
        open.iter().fold(Totals::default(), |sum, totals| sum.plus(totals))
    }

    fn cost_removed(&self) -> Amounts {
        let left = self.disposals().filter(|(disposal, _)| disposal.kind != DisposalKind::WithoutBasis);
        left.fold(Amounts::ZERO, |sum, (disposal, closed)| {
            let costs = if disposal.short { -closed.entry_costs.clone() } else { closed.entry_costs.clone() };
            &(&sum + &closed.entry) + &costs
        })
    }

    fn taxed(&self, name: &str) -> Value {
        let terms = TaxTerms { zone: self.checkpoint.zone, holding_period: self.conventions.holding_period };
        let plain = name.strip_suffix("_base").unwrap_or(name);
        let wants_taxable = plain.starts_with("taxable");
        let profits = self.disposals().filter(|(disposal, _)| disposal.kind != DisposalKind::Delivery);
        let chosen =
            profits.filter(|(disposal, closed)| tax::is_taxable(disposal, closed, terms) == wants_taxable);
        if plain.ends_with("quantity") {
            return Value::Number(chosen.map(|(_, closed)| closed.quantity.clone()).sum());
        }
        let amounts = chosen.fold(Amounts::ZERO, |sum, (disposal, closed)| {
            let amount =
                if plain.ends_with("cost") { tax::cost(disposal, closed) } else { closed.realized.clone() };
            &sum + &amount
        });
        if plain == name { Value::Number(amounts.own) } else { number(amounts.base) }
    }

    /// Mean of the open cost over the days that began with a position and before that of the checkpoint.
    fn average_investment(&self) -> Option<Decimal> {
        let asset = self.asset();
        let zone = self.checkpoint.zone;
        let day = |moment: Moment| moment.day_in(zone);
        let wanted =
            |step: &&CostStep| Some(step.holding.asset) == asset && self.of_account(&step.holding.account);
        let mut open: BTreeMap<&HoldingKey, (Decimal, bool)> = BTreeMap::new();
        let (mut weighted, mut days) = (Decimal::ZERO, 0_i64);
        let mut since: Option<NaiveDate> = None;
        let mut add = |open: &BTreeMap<&HoldingKey, (Decimal, bool)>,
                       from: Option<NaiveDate>,
                       to: Option<NaiveDate>| {
            let (Some(from), Some(to)) = (from, to) else { return };
            let length = to.signed_duration_since(from).num_days();
            if open.values().any(|(_, open)| *open) {
                let cost: Decimal = open.values().map(|(cost, _)| cost.clone()).sum();
                weighted += &(&cost * &Decimal::from(length));
                days += length;
            }
        };
        for step in self.steps.iter().filter(wanted) {
            add(&open, since, day(step.at));
            since = day(step.at);
            open.insert(&step.holding, (step.cost.clone(), step.open));
        }
        add(&open, since, day(self.at));
        if days > 0 {
            return weighted.divide(&Decimal::from(days));
        }
        let now: Decimal = open.values().map(|(cost, _)| cost.clone()).sum();
        Some(now).filter(|cost| !cost.is_zero())
    }

    fn on_average_investment(&self, pnl: &str) -> Value {
        let value = self.amounts_or_all(pnl);
        let Value::Number(gain) = &value else { return value };
        let share = self.average_investment().and_then(|average| gain.divide(&average));
        share.map_or(Value::Nothing(NO_POSITION), Value::Number)
    }

    fn amounts_or_all(&self, name: &str) -> Value {
        self.needs_prices(Some(self.amounts_of_asset(name).own))
    }

    /// Profit of the closed units by their value at entry, with the costs the convention puts into it.
    fn trade_return(&self) -> Value {
        let traded = |(disposal, _): &(&Disposal, &Closed)| {
            matches!(disposal.kind, DisposalKind::Sale | DisposalKind::Cover)
        };
        let (mut profit, mut entry) = (Decimal::ZERO, Decimal::ZERO);
        for (disposal, closed) in self.disposals().filter(traded) {
            profit += &closed.realized.own;
            entry += &closed.entry.own;
            if disposal.short { entry -= &closed.entry_costs.own } else { entry += &closed.entry_costs.own }
        }
        profit.divide(&entry).map_or(Value::Nothing(NOTHING_CLOSED), Value::Number)
    }

    /// The internal rate of the closed units: what each cost on the day it was acquired, what it brought on the day
    /// it left.
    fn trade_irr(&self) -> Value {
        let day = |moment: Moment| moment.day_in(self.checkpoint.zone);
        let mut flows = Vec::new();
        for (disposal, closed) in self.disposals() {
            let traded = matches!(disposal.kind, DisposalKind::Sale | DisposalKind::Cover);
            let (Some(acquired), Some(left)) = (closed.acquired_at.and_then(day), day(disposal.at)) else {
                continue;
            };
            if traded {
                let entry = &closed.entry.own;
                let entry = if disposal.short { -entry } else { entry.clone() } + &closed.entry_costs.own;
                flows.push(Flow { day: acquired, amount: -&entry });
                flows.push(Flow { day: left, amount: entry + &closed.realized.own });
            }
        }
        if flows.is_empty() {
            return Value::Nothing(NOTHING_CLOSED);
        }
        xirr(&flows, DayCount::Actual365).rate.map_or_else(|reason| Value::Nothing(reason.0), Value::Number)
    }
}

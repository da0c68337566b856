//! A ledger day by day: what it was worth at the end of each, and what came in and went out in between.
//!
//! The fold goes over the ledger once and stops at the end of each day. The valuation is that of
//! [`report`](crate::domain::pnl::report::report), to the last digit, but knows no lots and computes again only what a
//! trade, a price or a rate has changed. A row stands where the order of the ledger puts it: one that waits for a
//! corporate action of its day counts from the moment of that action.
//!
//! What comes in and goes out is told for the whole, and when asked for by account or by asset:
//! - of the whole: contributions, assets at the cost they bring or take;
//! - of an account: the same, and what moves between accounts;
//! - of an asset: what was paid for it with fees and taxes, less what it brought, dividends with it;
//! - of a lot: the cost of its units, less what they brought (module [`lots`]).

pub mod lots;

use crate::domain::asset::Terms;
use crate::domain::currency::Currency;
use crate::domain::decimal::Decimal;
use crate::domain::fx::Rate;
use crate::domain::ids::{AssetKey, TransactionId};
use crate::domain::moment::Moment;
use crate::domain::pnl::amounts::{difference, sum};
use crate::domain::pnl::book::{AccountState, Book, Context, HoldingKey, LedgerError, SplitEvent};
use crate::domain::pnl::curve::lots::LotSteps;
use crate::domain::pnl::holding::Holding;
use crate::domain::pnl::report::adjusted;
use crate::domain::price::{Close, Mark};
use crate::domain::transaction::{Transaction, TransactionType};
use crate::named_enum;
use chrono_tz::Tz;
use std::collections::{BTreeMap, BTreeSet};

named_enum! {
    /// What is told apart.
    Level {
        /// Nothing: the whole alone.
        Portfolio = "portfolio",
        /// Accounts.
        Account = "account",
        /// Assets.
        Asset = "asset",
        /// Lots.
        Lot = "lot",
    }
}

/// The prices of an asset, and the zone of its market.
#[derive(Debug, Clone)]
pub struct Quoted {
    /// Zone in which its days are counted.
    pub zone: Tz,
    /// Its prices by the moments of the course, in order.
    pub closes: Vec<Close>,
}

/// A ledger and everything its daily values depend on.
#[derive(Debug, Clone, Copy)]
pub struct Course<'a> {
    /// Rows in order.
    pub ledger: &'a [Transaction],
    /// Assets whose rows are folded even where they break a rule.
    pub tolerated: &'a BTreeSet<AssetKey>,
    /// What the fold looks up.
    pub ctx: Context<'a>,
    /// The moments to stop at, ascending.
    pub ends: &'a [Moment],
    /// Prices by asset.
    pub assets: &'a BTreeMap<AssetKey, Quoted>,
}

/// Something that was missing for a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Gap {
    /// The rate of this currency to the base currency.
    Rate(Currency),
    /// A price of this asset.
    Price(AssetKey),
}

/// Value at a stop, and what moved since the stop before. `None` where a rate or price was missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// What it is worth.
    pub value: Option<Decimal>,
    /// What came in, not below zero.
    pub inflow: Option<Decimal>,
    /// What went out, not below zero.
    pub outflow: Option<Decimal>,
}

impl Step {
    /// Nothing held, nothing moved.
    pub const NOTHING: Self =
        Self { value: Some(Decimal::ZERO), inflow: Some(Decimal::ZERO), outflow: Some(Decimal::ZERO) };

    fn add_flow(&mut self, flow: Option<&Decimal>) {
        match flow {
            Some(flow) if flow.is_negative() => self.outflow = difference(self.outflow.as_ref(), Some(flow)),
            Some(flow) if flow.is_zero() => {}
            Some(flow) => self.inflow = sum(self.inflow.as_ref(), Some(flow)),
            None => (self.inflow, self.outflow) = (None, None),
        }
    }
}

/// One stop of a course.
#[derive(Debug, Clone)]
pub struct Stop {
    /// The whole.
    pub whole: Step,
    /// Net contributions since the beginning.
    pub contributions: Option<Decimal>,
    /// What was missing for the value.
    pub gaps: BTreeSet<Gap>,
}

/// The prices of one asset while the course passes them.
struct Pricing<'a> {
    key: AssetKey,
    zone: Tz,
    closes: &'a [Close],
    /// Those that were passed.
    passed: usize,
    /// Splits the price in force was adjusted for.
    splits: usize,
    price: Option<Decimal>,
    /// Its terms, when they were the same throughout.
    terms: Option<&'a Terms>,
}

impl Pricing<'_> {
    /// Moves to a stop; whether the price has changed.
    fn advance(&mut self, stop: usize, splits: &[SplitEvent]) -> bool {
        let before = self.passed;
        while self.closes.get(self.passed).is_some_and(|close| close.slot <= stop) {
            self.passed += 1;
        }
        if self.passed == before && self.splits == splits.len() {
            return false;
        }
        self.splits = splits.len();
        let close = self.passed.checked_sub(1).and_then(|last| self.closes.get(last));
        self.price = close.map(|close| in_units_of_now(close, splits, self.zone));
        true
    }
}

fn in_units_of_now(close: &Close, splits: &[SplitEvent], zone: Tz) -> Decimal {
    if splits.is_empty() {
        return close.price.clone();
    }
    adjusted(&Mark::from(close), splits, zone)
}

/// The price at each of some stops of one unit as it is after all of these splits; `None` before there is one.
pub fn unit_prices(quoted: &Quoted, splits: &[SplitEvent], stops: usize) -> Vec<Option<Decimal>> {
    let mut closes = quoted.closes.iter().peekable();
    let mut price = None;
    let mut prices = Vec::with_capacity(stops);
    for stop in 0..stops {
        while let Some(close) = closes.next_if(|close| close.slot <= stop) {
            price = Some(in_units_of_now(close, splits, quoted.zone));
        }
        prices.push(price.clone());
    }
    prices
}

/// An open holding, with what its value depends on.
struct Line {
    /// Place of its asset's prices.
    pricing: usize,
    /// Place of its account.
    account: usize,
    currency: Currency,
    short: bool,
    /// Units, unsigned.
    quantity: Decimal,
    /// Units by multiplier, of an asset whose terms were the same throughout and that is worth units by price.
    scaled: Option<Decimal>,
    /// Value at opening before costs, unsigned: of a margined one what its profit is counted from.
    gross: Decimal,
    last_price: Option<Decimal>,
    /// Its value in its own currency; `None` without a price.
    value: Option<Decimal>,
}

/// A course under way.
pub struct Walk<'a> {
    course: Course<'a>,
    level: Level,
    book: Book,
    folded: usize,
    stop: usize,
    pricings: Vec<Pricing<'a>>,
    places: BTreeMap<AssetKey, usize>,
    accounts: Vec<(String, Step)>,
    assets: BTreeMap<AssetKey, Step>,
    lines: BTreeMap<HoldingKey, Line>,
    touched: BTreeSet<HoldingKey>,
    flow: Step,
    lots: LotSteps,
}

impl<'a> Walk<'a> {
    /// A course before its first row.
    pub fn begin(course: Course<'a>, level: Level) -> Self {
        let mut walk = Self {
            course,
            level,
            book: Book::default(),
            folded: 0,
            stop: 0,
            pricings: Vec::with_capacity(course.assets.len()),
            places: BTreeMap::new(),
            accounts: Vec::new(),
            assets: BTreeMap::new(),
            lines: BTreeMap::new(),
            touched: BTreeSet::new(),
            flow: Step::NOTHING,
            lots: LotSteps::default(),
        };
        if level == Level::Lot {
            walk.book = Book::traced();
        }
        for (key, quoted) in course.assets {
            walk.places.insert(*key, walk.pricings.len());
            walk.pricings.push(Pricing {
                key: *key,
                zone: quoted.zone,
                closes: &quoted.closes,
                passed: 0,
                splits: 0,
                price: None,
                terms: course.ctx.terms.only(*key),
            });
        }
        walk
    }

    /// The accounts at the last stop.
    pub fn accounts(&self) -> &[(String, Step)] {
        &self.accounts
    }

    /// The assets that were ever held, at the last stop.
    pub const fn assets(&self) -> &BTreeMap<AssetKey, Step> {
        &self.assets
    }

    /// Goes on to the next stop; `None` after the last.
    ///
    /// # Errors
    /// The row the ledger refuses, with the rule it breaks.
    pub fn advance(&mut self) -> Result<Option<Stop>, (TransactionId, LedgerError)> {
        let Some(end) = self.course.ends.get(self.stop).copied() else { return Ok(None) };
        let ledger = self.course.ledger;
        for (_, step) in &mut self.accounts {
            *step = Step::NOTHING;
        }
        self.assets.values_mut().for_each(|step| *step = Step::NOTHING);
        self.flow = Step::NOTHING;
        self.eve_of_lots(end);
        while let Some(t) = ledger.get(self.folded).filter(|t| t.executed_at <= end) {
            self.folded += 1;
            self.fold(t).map_err(|error| (t.id, error))?;
        }
        for key in std::mem::take(&mut self.touched) {
            self.renew(&key);
        }
        let stop = self.value(end);
        self.close_of_lots(end);
        self.stop += 1;
        Ok(Some(stop))
    }

    fn account(&mut self, name: &str) -> usize {
        if let Some(place) = self.accounts.iter().position(|(known, _)| known == name) {
            return place;
        }
        self.accounts.push((name.to_owned(), Step::NOTHING));
        self.accounts.len() - 1
    }

    /// Folds a row, and notes what came in or went out with it.
    fn fold(&mut self, t: &Transaction) -> Result<(), LedgerError> {
        let outside = matches!(
            t.kind,
            TransactionType::Deposit
                | TransactionType::Withdrawal
                | TransactionType::TransferIn
                | TransactionType::TransferOut
        );
        let by_account = outside || t.kind == TransactionType::Transfer;
        let by_asset = self.level == Level::Asset;
        if self.level == Level::Lot && t.asset.is_some() {
            return self.fold_lots(t, outside);
        }
        if !(by_account || by_asset) {
            self.book.admit(t, self.course.ctx, self.course.tolerated)?;
            self.touch(t);
            return Ok(());
        }
        let before = Moved::of(&self.book, t, by_asset);
        self.book.admit(t, self.course.ctx, self.course.tolerated)?;
        self.touch(t);
        let after = Moved::of(&self.book, t, by_asset);
        let contributed = difference(after.contributions.as_ref(), before.contributions.as_ref());
        if outside {
            self.flow.add_flow(contributed.as_ref());
        }
        if by_account {
            let names = [Some(&t.account), t.to_account.as_ref()];
            for (place, name) in names.into_iter().enumerate() {
                let Some(name) = name else { continue };
                let moved = |moved: &Moved| moved.into_account.get(place).cloned().flatten();
                let flow = difference(moved(&after).as_ref(), moved(&before).as_ref());
                let account = self.account(name);
                if let Some((_, step)) = self.accounts.get_mut(account) {
                    step.add_flow(flow.as_ref());
                }
            }
        }
        if let Some(asset) = t.asset.filter(|_| by_asset) {
            let paid = difference(before.cash.as_ref(), after.cash.as_ref());
            let flow = sum(paid.as_ref(), contributed.as_ref());
            self.assets.entry(asset).or_insert(Step::NOTHING).add_flow(flow.as_ref());
        }
        Ok(())
    }

    /// Notes the holdings a row may have changed.
    fn touch(&mut self, t: &Transaction) {
        let Some(asset) = t.asset else { return };
        if t.asset_level || t.kind == TransactionType::Split {
            let all = self.book.holdings.keys().filter(|key| key.asset == asset);
            self.touched.extend(all.cloned());
            return;
        }
        let everywhere = crate::domain::pnl::book::EVERY_ACCOUNT;
        for account in [Some(t.account.as_str()), t.to_account.as_deref(), Some(everywhere)] {
            let key = account.map(|account| HoldingKey { account: account.to_owned(), asset });
            self.touched.extend(key.filter(|key| self.book.holdings.contains_key(key)));
        }
    }

    /// Takes over what a holding has become.
    fn renew(&mut self, key: &HoldingKey) {
        let Some(holding) = self.book.holdings.get(key).filter(|holding| holding.cycle.is_some()) else {
            self.lines.remove(key);
            return;
        };
        let Some(pricing) = self.places.get(&key.asset).copied() else { return };
        let quantity = holding.lots.quantity();
        let terms = self.pricings.get(pricing).and_then(|pricing| pricing.terms);
        let linear = terms.filter(|terms| !terms.margined);
        let line = Line {
            pricing,
            account: 0,
            currency: holding.currency,
            short: holding.is_short(),
            scaled: linear.map(|terms| &quantity * &terms.multiplier),
            quantity,
            gross: gross(holding),
            last_price: holding.last_price.as_ref().map(|(_, price)| price.clone()),
            value: None,
        };
        let account = self.account(&key.account);
        if self.level == Level::Asset {
            self.assets.entry(key.asset).or_insert(Step::NOTHING);
        }
        let mut line = Line { account, ..line };
        let end = self.course.ends.get(self.stop).copied().unwrap_or(Moment::MAX);
        if let Some(pricing) = self.pricings.get(pricing) {
            line.value = value_of(&line, pricing, self.terms(pricing, end));
        }
        self.lines.insert(key.clone(), line);
    }

    fn terms(&self, pricing: &Pricing<'a>, end: Moment) -> Option<&'a Terms> {
        pricing.terms.or_else(|| self.course.ctx.terms.at(pricing.key, end))
    }

    /// Values everything at a stop.
    fn value(&mut self, end: Moment) -> Stop {
        let no_splits: &[SplitEvent] = &[];
        let mut changed = vec![false; self.pricings.len()];
        for (pricing, changed) in self.pricings.iter_mut().zip(&mut changed) {
            let splits = self.book.splits.get(&pricing.key).map_or(no_splits, Vec::as_slice);
            *changed = pricing.advance(self.stop, splits) || pricing.terms.is_none();
        }
        let ctx = self.course.ctx;
        let mut rates = DayRates { ctx, end, known: Vec::new() };
        let mut gaps = BTreeSet::new();
        let mut total = Some(Decimal::ZERO);
        for line in self.lines.values_mut() {
            let Some(pricing) = self.pricings.get(line.pricing) else { continue };
            if changed.get(line.pricing).copied().unwrap_or(true) {
                let terms = pricing.terms.or_else(|| ctx.terms.at(pricing.key, end));
                line.value = value_of(line, pricing, terms);
            }
            let converted;
            let base = match &line.value {
                Some(own) if line.currency == ctx.base => Some(own),
                Some(own) => {
                    converted = rates.convert(own, line.currency, &mut gaps);
                    converted.as_ref()
                }
                None => {
                    gaps.insert(Gap::Price(pricing.key));
                    None
                }
            };
            add(&mut total, base);
            match self.level {
                Level::Account => {
                    if let Some((_, step)) = self.accounts.get_mut(line.account) {
                        add(&mut step.value, base);
                    }
                }
                Level::Asset => {
                    if let Some(step) = self.assets.get_mut(&pricing.key) {
                        add(&mut step.value, base);
                    }
                }
                Level::Portfolio | Level::Lot => {}
            }
        }
        let mut contributions = Some(Decimal::ZERO);
        for (name, state) in &self.book.accounts {
            let cash = cash_of(state, &mut rates, &mut gaps);
            add(&mut total, cash.as_ref());
            add(&mut contributions, state.contributions.as_ref());
            if self.level == Level::Account {
                match self.accounts.iter_mut().find(|(known, _)| known == name) {
                    Some((_, step)) => add(&mut step.value, cash.as_ref()),
                    None => self.accounts.push((name.clone(), Step { value: cash, ..Step::NOTHING })),
                }
            }
        }
        let whole = Step { value: total, ..self.flow.clone() };
        Stop { whole, contributions, gaps }
    }
}

fn add(total: &mut Option<Decimal>, part: Option<&Decimal>) {
    match (total.as_mut(), part) {
        (Some(total), Some(part)) => *total += part,
        _ => *total = None,
    }
}

fn gross(holding: &Holding) -> Decimal {
    holding.lots.0.iter().fold(Decimal::ZERO, |sum, lot| sum + &lot.gross.own)
}

/// The value of a holding in its own currency, as a report computes it.
fn value_of(line: &Line, pricing: &Pricing<'_>, terms: Option<&Terms>) -> Option<Decimal> {
    let terms = terms?;
    let price = pricing.price.as_ref().or(line.last_price.as_ref())?;
    if let Some(units) = &line.scaled {
        let value = units * price;
        return Some(if line.short { -value } else { value });
    }
    let notional = terms.notional(&line.quantity, price).unwrap_or(Decimal::ZERO);
    if !terms.margined {
        return Some(if line.short { -notional } else { notional });
    }
    let rise = notional - &line.gross;
    Some(if line.short == terms.inverse { rise } else { -rise })
}

fn cash_of(state: &AccountState, rates: &mut DayRates<'_>, gaps: &mut BTreeSet<Gap>) -> Option<Decimal> {
    let mut total = Some(Decimal::ZERO);
    for (currency, cash) in &state.cash {
        add(&mut total, rates.convert(&cash.balance, *currency, gaps).as_ref());
    }
    total
}

/// The rates of one stop, each looked up once.
struct DayRates<'a> {
    ctx: Context<'a>,
    end: Moment,
    known: Vec<(Currency, Option<Rate>)>,
}

impl DayRates<'_> {
    fn convert(&mut self, amount: &Decimal, from: Currency, gaps: &mut BTreeSet<Gap>) -> Option<Decimal> {
        if from == self.ctx.base || amount.is_zero() {
            return Some(amount.clone());
        }
        if !self.known.iter().any(|(currency, _)| *currency == from) {
            self.known.push((from, self.ctx.rates.rate(from, self.ctx.base, self.end)));
        }
        let rate = self.known.iter().find(|(currency, _)| *currency == from);
        let rate = rate.and_then(|(_, rate)| rate.as_ref());
        if rate.is_none() {
            gaps.insert(Gap::Rate(from));
        }
        rate.map(|rate| rate.convert(amount))
    }
}

/// What a row moves, before or after it: sums whose difference is the row's.
struct Moved {
    contributions: Option<Decimal>,
    /// Contributions and internal transfers of its account, and of the one it moves to.
    into_account: Vec<Option<Decimal>>,
    /// Cash of every account, at the rates of its movements.
    cash: Option<Decimal>,
}

impl Moved {
    fn of(book: &Book, t: &Transaction, with_cash: bool) -> Self {
        let zero = || Some(Decimal::ZERO);
        let state = |name: &str| book.accounts.get(name);
        let contributed = |name: &str| state(name).map_or_else(zero, |state| state.contributions.clone());
        let internal = |name: &str| state(name).map_or_else(zero, |state| state.internal.clone());
        let into = |name: &String| sum(contributed(name).as_ref(), internal(name).as_ref());
        let names = [Some(&t.account), t.to_account.as_ref()];
        let mut cash = zero();
        let of_accounts = book.accounts.values().flat_map(|state| state.cash.values());
        for held in of_accounts.take_while(|_| with_cash) {
            add(&mut cash, held.moved_base.as_ref());
        }
        Self {
            contributions: contributed(&t.account),
            into_account: names.into_iter().map(|name| name.and_then(into)).collect(),
            cash,
        }
    }
}

#[cfg(test)]
mod tests;

//! Ledgers made by chance that keep the rules of the ledger, and next to them entries that break one.

use artifact::domain::asset::{Terms, TermsHistory};
use artifact::domain::currency::Currency;
use artifact::domain::decimal::Decimal;
use artifact::domain::fx::Rates;
use artifact::domain::ids::{AssetKey, TransactionId};
use artifact::domain::moment::{HOUR, Moment};
use artifact::domain::pnl::book::{Book, Context, EVERY_ACCOUNT, HoldingKey, LedgerError, MissingRate};
use artifact::domain::pnl::holding::Holding;
use artifact::domain::pnl::lots::PickError;
use artifact::domain::pnl::report::{Priced, Report, Valuation, report};
use artifact::domain::portfolio::{Conventions, CostBasis, FeeMode, LotScope, ShortMode, TaxMode};
use artifact::domain::price::Mark;
use artifact::domain::transaction::{LotPick, Transaction, TransactionType as T};
use chrono_tz::Tz;
use proptest::prelude::*;
use std::collections::BTreeMap;
use uuid::Uuid;

pub(super) const HOME: AssetKey = AssetKey(1);
const ABROAD: AssetKey = AssetKey(2);
const PENCE: AssetKey = AssetKey(3);
const OPTION: AssetKey = AssetKey(4);
const FUTURE: AssetKey = AssetKey(5);
const INVERSE: AssetKey = AssetKey(6);
const UNKNOWN: AssetKey = AssetKey(99);
pub(super) const START: i64 = 1_700_000_000_000_000;

/// One roll of the dice; what it means depends on the ledger so far.
#[derive(Debug, Clone)]
pub(super) struct Roll {
    kind: u8,
    asset: i64,
    account: usize,
    quantity: Decimal,
    price: Decimal,
    fee: Decimal,
    tax: Decimal,
    hours: i64,
    /// Quarters of what is held that a disposal takes: 4 is all, more is too much.
    quarters: i64,
    flags: u8,
    /// For what is rare.
    luck: u8,
}

/// A world that has not happened yet.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) conventions: Conventions,
    pub(super) rolls: Vec<Roll>,
    /// Rates of the four foreign currencies at some hours.
    rates: Vec<(i64, usize, Decimal)>,
    /// Quotes: how many entries back they were seen, and the price.
    quotes: Vec<Option<(usize, Decimal)>>,
    /// Whether every rate is quoted the way it is used, so that no amount is ever divided by one.
    pub(super) straight: bool,
}

/// A ledger with everything around it.
pub(super) struct World {
    pub(super) base: Currency,
    pub(super) conventions: Conventions,
    pub(super) terms: TermsHistory,
    pub(super) rates: Rates,
    pub(super) transactions: Vec<Transaction>,
    /// Entries that break a rule: after how many others, the entry, and the rule.
    pub(super) refused: Vec<(usize, Transaction, LedgerError)>,
    quotes: Vec<Option<(usize, Decimal)>>,
}

fn c(code: &str) -> Currency {
    Currency::from_code(code).unwrap()
}

fn number(most: i128, digits: std::ops::RangeInclusive<u32>) -> impl Strategy<Value = Decimal> {
    (1..=most, digits).prop_map(|(mantissa, scale)| Decimal::new(mantissa, scale))
}

fn sometimes(most: i128) -> impl Strategy<Value = Decimal> {
    prop_oneof![Just(Decimal::ZERO), number(most, 2..=2)]
}

/// A number cut to the digits an entry may have.
fn enterable(number: &Decimal) -> Decimal {
    let text = number.to_string();
    let end = text.find('.').map_or(text.len(), |point| text.len().min(point + 13));
    text[..end].trim_end_matches('.').parse().unwrap()
}

pub(super) fn conventions() -> impl Strategy<Value = Conventions> {
    let methods =
        [CostBasis::Fifo, CostBasis::Lifo, CostBasis::Hifo, CostBasis::Average, CostBasis::Specific];
    let fees = [FeeMode::InCost, FeeMode::Separate, FeeMode::Expensed, FeeMode::None];
    let shorts =
        [ShortMode::Rejected, ShortMode::Allowed, ShortMode::Allowed, ShortMode::MissingBasisIsZeroCost];
    (
        prop::sample::select(methods.to_vec()),
        prop::sample::select(vec![LotScope::Account, LotScope::Account, LotScope::Global]),
        prop::sample::select(fees.to_vec()),
        prop::sample::select(vec![TaxMode::Separate, TaxMode::InCost]),
        prop::sample::select(shorts.to_vec()),
        prop::sample::select(vec![Decimal::ZERO, Decimal::ZERO, Decimal::new(1, 1), Decimal::new(3, 0)]),
    )
        .prop_map(|(cost_basis, lot_scope, fees, taxes, short, dust)| Conventions {
            cost_basis,
            lot_scope,
            fees,
            taxes,
            short,
            dust,
            ..Conventions::default()
        })
}

fn roll() -> impl Strategy<Value = Roll> {
    let asset = prop::sample::select(vec![1_i64, 1, 1, 2, 2, 3, 4, 5, 6]);
    let account = prop::sample::select(vec![0_usize, 0, 0, 1, 2]);
    let what = (0..40_u8, asset, account, 0..30_i64, 1..=6_i64, any::<u8>(), any::<u8>());
    let numbers = (number(300_000, 0..=5), number(90_000, 0..=4), sometimes(999), sometimes(999));
    (what, numbers).prop_map(
        |((kind, asset, account, hours, quarters, flags, luck), (quantity, price, fee, tax))| Roll {
            kind,
            asset,
            account,
            quantity,
            price,
            fee,
            tax,
            hours,
            quarters,
            flags,
            luck,
        },
    )
}

pub(super) fn plan(entries: usize) -> impl Strategy<Value = Plan> {
    let quote = prop::option::weighted(0.7, (0..6_usize, number(90_000, 0..=4)));
    (
        conventions(),
        prop::collection::vec(roll(), 3..entries),
        prop::collection::vec((0..400_i64, 0..4_usize, number(9_999, 1..=4)), 0..12),
        prop::collection::vec(quote, 7..29),
    )
        .prop_map(|(conventions, rolls, rates, quotes)| Plan {
            conventions,
            rolls,
            rates,
            quotes,
            straight: false,
        })
}

impl Roll {
    fn flag(&self, bit: u8) -> bool {
        self.flags & (1 << bit) != 0
    }
}

impl Plan {
    /// Everything is quoted against dollars, and they against the base: amounts are divided by
    /// rates and go through a third currency. A straight world quotes each against the base.
    fn rates(&self) -> Rates {
        self.without_rates_of(usize::MAX)
    }

    /// The rates but for those of one pair.
    pub(super) fn without_rates_of(&self, gone: usize) -> Rates {
        let crooked = [("EUR", "USD"), ("GBP", "USD"), ("BTC", "USD"), ("USD", "JPY")];
        let straight = [("USD", "EUR"), ("GBP", "EUR"), ("BTC", "EUR"), ("JPY", "EUR")];
        let pairs = if self.straight { straight } else { crooked };
        let mut rates = Rates::default();
        let first = [Decimal::new(11, 1), Decimal::new(13, 1), Decimal::new(9, 0), Decimal::new(7, 0)];
        for (_, ((from, to), rate)) in pairs.iter().zip(first).enumerate().filter(|(pair, _)| *pair != gone) {
            rates.add(c(from), c(to), Moment(START), rate);
        }
        for (hours, pair, rate) in self.rates.iter().filter(|(_, pair, _)| *pair != gone) {
            let (from, to) = pairs[*pair];
            rates.add(c(from), c(to), Moment(START + hours * HOUR), rate.clone());
        }
        rates
    }

    /// Turns every split into a purchase.
    pub(super) fn split_nothing(&mut self) {
        for roll in self.rolls.iter_mut().filter(|roll| (34..=36).contains(&roll.kind)) {
            roll.kind = 0;
        }
    }

    /// Gives every asset a quote at every moment.
    pub(super) fn price_everything(&mut self) {
        for quote in &mut self.quotes {
            quote.get_or_insert((0, Decimal::new(4_321, 2)));
        }
    }

    pub(super) fn happen(&self) -> World {
        let mut world = World {
            base: c("EUR"),
            conventions: self.conventions.clone(),
            terms: terms(),
            rates: self.rates(),
            transactions: Vec::new(),
            refused: Vec::new(),
            quotes: self.quotes.clone(),
        };
        let mut book = Book::default();
        let mut at = Moment(START);
        for (place, roll) in self.rolls.iter().enumerate() {
            at = at.plus(roll.hours * HOUR);
            let t = world.entry(roll, place, at, &book);
            let mut after = book.clone();
            match (world.broken(&t, &book), after.apply(&t, world.context())) {
                (None, Ok(())) => {
                    book = after;
                    world.transactions.push(t);
                }
                (Some(rule), Err(_)) => world.refused.push((world.transactions.len(), t, rule)),
                (None, Err(error)) => panic!("{t:?} keeps the rules and is refused: {error}"),
                (Some(rule), Ok(())) => panic!("{t:?} is not refused: {rule}"),
            }
        }
        world
    }
}

fn terms() -> TermsHistory {
    let mut history = TermsHistory::default();
    for key in [HOME, ABROAD, PENCE, OPTION, FUTURE, INVERSE] {
        history.add(key, Moment::MIN, terms_of(key));
    }
    history
}

pub(super) fn terms_of(key: AssetKey) -> Terms {
    let mut terms = Terms::plain(c("EUR"));
    match key {
        ABROAD => terms.settlement = c("USD"),
        PENCE => terms.settlement = c("GBp"),
        OPTION => terms.multiplier = Decimal::from(100),
        FUTURE => {
            (terms.settlement, terms.multiplier, terms.margined) = (c("USD"), Decimal::new(25, 1), true);
        }
        INVERSE => (terms.settlement, terms.inverse, terms.margined) = (c("BTC"), true, true),
        _ => {}
    }
    terms
}

impl World {
    pub(super) fn context(&self) -> Context<'_> {
        Context { base: self.base, conventions: &self.conventions, terms: &self.terms, rates: &self.rates }
    }

    /// Which of the asset is held, signed, where the entry would look for it.
    fn held(&self, t: &Transaction, book: &Book) -> Decimal {
        let Some(asset) = t.asset else { return Decimal::ZERO };
        let account = match self.conventions.lot_scope {
            LotScope::Account => t.account.clone(),
            LotScope::Global => EVERY_ACCOUNT.to_owned(),
        };
        book.holdings.get(&HoldingKey { account, asset }).map(Holding::quantity).unwrap_or_default()
    }

    fn entry(&self, roll: &Roll, place: usize, at: Moment, book: &Book) -> Transaction {
        let kind = match roll.kind {
            0..=9 => T::Buy,
            10..=19 => T::Sell,
            20..=21 => T::TransferIn,
            22..=23 => T::TransferOut,
            24..=26 => T::Transfer,
            27 => T::Deposit,
            28 => T::Withdrawal,
            29..=30 => T::Dividend,
            31 => T::Interest,
            32 => T::Fee,
            33 => T::Tax,
            34..=36 => T::Split,
            _ => T::Fx,
        };
        let id = TransactionId(Uuid::from_u128(u128::try_from(place).unwrap() + 1));
        let mut t = Transaction::bare(id, kind, at);
        // Room for another entry behind each.
        t.place = i64::try_from(place).unwrap() * 2;
        ["main", "b", "c"][roll.account].clone_into(&mut t.account);
        match kind {
            T::Buy | T::Sell | T::TransferIn | T::TransferOut => self.units(&mut t, roll, book),
            T::Transfer if roll.flag(0) => {
                self.units(&mut t, roll, book);
                (t.currency, t.fx_rate, t.price, t.gross_total, t.tax) =
                    (None, None, None, None, Decimal::ZERO);
                t.to_account = Some(["b", "c", "main"][roll.account].to_owned());
            }
            T::Split => {
                t.asset = Some(AssetKey(roll.asset));
                t.ratio_num = Some(Decimal::from(roll.quarters));
                t.ratio_den = Some(Decimal::from(1 + i64::from(roll.flags % 4)));
            }
            T::Transfer
            | T::Deposit
            | T::Withdrawal
            | T::Dividend
            | T::Interest
            | T::Fee
            | T::Tax
            | T::Fx => {
                money(&mut t, roll);
            }
        }
        t
    }

    fn units(&self, t: &mut Transaction, roll: &Roll, book: &Book) {
        t.asset = Some(if roll.luck == 77 { UNKNOWN } else { AssetKey(roll.asset) });
        let held = self.held(t, book);
        let against = if t.kind == T::Buy { held.is_negative() } else { held.is_positive() };
        let against = against && t.kind != T::TransferIn;
        let some = match roll.quarters {
            4 => held.abs(),
            quarters => enterable(&(held.abs() * Decimal::from(quarters) * Decimal::new(25, 2))),
        };
        let quantity =
            if against && !roll.flag(1) && some.is_positive() { some } else { roll.quantity.clone() };
        (t.fee, t.tax) = (roll.fee.clone(), roll.tax.clone());
        if matches!(t.kind, T::Buy | T::Sell | T::TransferIn) {
            let free = roll.asset == INVERSE.0 && roll.luck % 32 == 3;
            match (roll.flag(2) && roll.flag(3), free) {
                (true, _) => t.gross_total = Some(roll.price.clone()),
                (false, true) => t.price = Some(Decimal::ZERO),
                (false, false) => t.price = Some(roll.price.clone()),
            }
            t.opens_short = t.kind == T::Sell && roll.flag(4) && roll.flag(5);
        }
        if matches!(t.kind, T::Buy | T::Sell) && roll.luck % 16 == 5 {
            t.fee_asset_quantity = &quantity * &Decimal::new(1, 2);
        }
        if roll.luck % 11 == 1 {
            t.fx_rate = Some(Decimal::new(1234, 3));
        }
        if roll.luck % 13 == 2 {
            t.currency = Some(c(["USD", "JPY", "SEK"][roll.account]));
        }
        let leaving = &quantity + &t.fee_asset_quantity;
        let moved = if t.kind == T::Buy { &quantity - &t.fee_asset_quantity } else { leaving };
        t.quantity = Some(quantity);
        if against && self.conventions.cost_basis == CostBasis::Specific {
            let needed =
                if t.kind == T::Buy || t.kind == T::Sell { moved.smaller(&held.abs()) } else { moved };
            t.lots = self.picks(t, roll, &needed, book);
        }
    }

    /// Lots of the position that make up a quantity, from the newest back or from the oldest on; or, sometimes,
    /// lots that do not.
    fn picks(&self, t: &Transaction, roll: &Roll, needed: &Decimal, book: &Book) -> Vec<LotPick> {
        let account = match self.conventions.lot_scope {
            LotScope::Account => t.account.as_str(),
            LotScope::Global => EVERY_ACCOUNT,
        };
        let key = HoldingKey { account: account.to_owned(), asset: t.asset.unwrap() };
        let mut open: Vec<LotPick> = Vec::new();
        for lot in &book.holdings[&key].lots.0 {
            match open.iter_mut().find(|pick| pick.transaction == lot.transaction) {
                Some(pick) => pick.quantity += &lot.quantity,
                None => open.push(LotPick { transaction: lot.transaction, quantity: lot.quantity.clone() }),
            }
        }
        if roll.flag(6) {
            open.reverse();
        }
        let mut left = needed.clone();
        let mut picks = Vec::new();
        for mut pick in open {
            pick.quantity = pick.quantity.smaller(&left);
            left -= &pick.quantity;
            if pick.quantity.is_positive() {
                picks.push(pick);
            }
        }
        match roll.luck % 17 {
            7 => picks.clear(),
            8 => picks[0].quantity += &Decimal::ONE,
            9 => picks[0].transaction = t.id,
            10..=13 => {
                let all: Decimal = picks.iter().map(|pick| pick.quantity.clone()).sum();
                picks = vec![LotPick { transaction: picks[0].transaction, quantity: all }];
            }
            _ => {}
        }
        picks
    }

    /// The rule an entry breaks, found without the engine's own checks.
    fn broken(&self, t: &Transaction, book: &Book) -> Option<LedgerError> {
        let asset = t.asset?;
        if asset == UNKNOWN {
            return Some(LedgerError::NoTerms);
        }
        let terms = terms_of(asset);
        if t.price.as_ref().is_some_and(Decimal::is_zero) && terms.inverse {
            return Some(LedgerError::InverseAtZero);
        }
        let money = !t.fee.is_zero() || !t.tax.is_zero() || t.amount.is_some();
        let priced = t.gross_total.is_some() || t.price.is_some() && !terms.inverse;
        if t.currency == Some(c("SEK"))
            && (money || priced)
            && (terms.settlement != self.base || t.fx_rate.is_none())
        {
            let missing = MissingRate { from: c("SEK"), to: terms.settlement, at: t.executed_at };
            return Some(LedgerError::NoRate(missing));
        }
        let held = self.held(t, book);
        let quantity = t.quantity.clone().unwrap_or_default();
        let long = if held.is_negative() { Decimal::ZERO } else { held.clone() };
        let short_of = |asked: Decimal| LedgerError::InsufficientQuantity { held: long.clone(), asked };
        match t.kind {
            T::Sell => {
                let moved = &quantity + &t.fee_asset_quantity;
                let refused = self.conventions.short == ShortMode::Rejected && !t.opens_short;
                if refused && moved > long {
                    return Some(short_of(moved));
                }
                let closing = moved.smaller(&long);
                self.wrong_picks(t, &closing, book)
            }
            T::Buy => {
                let owed = if held.is_negative() { held.abs() } else { Decimal::ZERO };
                let closing = owed.smaller(&(&quantity - &t.fee_asset_quantity));
                self.wrong_picks(t, &closing, book)
            }
            T::TransferIn | T::TransferOut | T::Transfer if terms.margined => {
                Some(LedgerError::MarginedDelivery)
            }
            T::TransferIn => held.is_negative().then_some(LedgerError::DeliveryIntoShort),
            T::TransferOut | T::Transfer => {
                if quantity > long {
                    return Some(short_of(quantity));
                }
                if t.kind == T::Transfer && self.conventions.lot_scope == LotScope::Global {
                    return None;
                }
                let into_short = || {
                    let key = HoldingKey { account: t.to_account.clone()?, asset };
                    book.holdings
                        .get(&key)?
                        .quantity()
                        .is_negative()
                        .then_some(LedgerError::DeliveryIntoShort)
                };
                self.wrong_picks(t, &quantity, book).or_else(into_short)
            }
            T::Deposit | T::Withdrawal | T::Dividend | T::Interest | T::Fee | T::Tax | T::Split | T::Fx => {
                None
            }
        }
    }

    fn wrong_picks(&self, t: &Transaction, closing: &Decimal, book: &Book) -> Option<LedgerError> {
        if self.conventions.cost_basis != CostBasis::Specific || !closing.is_positive() {
            return None;
        }
        if t.lots.is_empty() {
            return Some(PickError::NothingNamed.into());
        }
        let named: Decimal = t.lots.iter().map(|pick| pick.quantity.clone()).sum();
        if named != *closing {
            return Some(PickError::WrongSum { named, quantity: closing.clone() }.into());
        }
        let account = match self.conventions.lot_scope {
            LotScope::Account => t.account.clone(),
            LotScope::Global => EVERY_ACCOUNT.to_owned(),
        };
        let holding = &book.holdings[&HoldingKey { account, asset: t.asset? }];
        let of = |id| holding.lots.0.iter().filter(move |lot| lot.transaction == id);
        t.lots.iter().find_map(|pick| {
            let held: Decimal = of(pick.transaction).map(|lot| lot.quantity.clone()).sum();
            let (lot, asked) = (pick.transaction, pick.quantity.clone());
            match (held.is_zero(), held < asked) {
                (true, _) => Some(PickError::NoSuchLot(lot).into()),
                (false, true) => Some(PickError::TooLarge { lot, held, asked }.into()),
                (false, false) => None,
            }
        })
    }

    pub(super) fn fold(&self, transactions: &[Transaction]) -> Book {
        artifact::domain::pnl::book::fold(transactions, self.context()).unwrap()
    }

    /// The book after `entries` entries, valued some hours later, with the quotes of that moment.
    pub(super) fn value(&self, book: &Book, entries: usize) -> Report {
        self.value_with(book, entries, &self.rates)
    }

    pub(super) fn value_with(&self, book: &Book, entries: usize, rates: &Rates) -> Report {
        self.valued_with(entries, rates, |with| report(book, with))
    }

    /// What the quotes and rates after some entries make of something.
    pub(super) fn valued<T>(&self, entries: usize, value: impl FnOnce(Valuation<'_>) -> T) -> T {
        self.valued_with(entries, &self.rates, value)
    }

    fn valued_with<T>(&self, entries: usize, rates: &Rates, value: impl FnOnce(Valuation<'_>) -> T) -> T {
        let last = self.transactions[..entries].last().map_or(Moment(START), |t| t.executed_at);
        let at = last.plus(i64::try_from(entries % 3).unwrap() * 20 * HOUR);
        let assets: BTreeMap<AssetKey, Priced> = [HOME, ABROAD, PENCE, OPTION, FUTURE, INVERSE]
            .into_iter()
            .map(|key| {
                let turn = entries * 5 + usize::try_from(key.0).unwrap();
                let mark = self.quotes[turn % self.quotes.len()].clone().map(|(back, price)| {
                    let seen = self.transactions[..entries].iter().rev().nth(back);
                    let observed_at = seen.map_or(Moment(START), |t| t.executed_at);
                    Mark {
                        price,
                        observed_at,
                        recorded_at: at,
                        source: "dice".into(),
                        interval: String::new(),
                        split_adjusted: false,
                    }
                });
                (key, Priced { terms: terms_of(key), zone: Tz::UTC, mark })
            })
            .collect();
        value(Valuation { base: self.base, assets: &assets, rates, at, age_at: at })
    }
}

/// Entries that move money and no units.
fn money(t: &mut Transaction, roll: &Roll) {
    let currencies = ["EUR", "USD", "JPY", "GBP"];
    let currency = currencies[usize::from(roll.flags % 4)];
    t.amount = Some(roll.price.clone());
    t.currency = Some(c(currency));
    if !matches!(t.kind, T::Fee | T::Tax) {
        t.fee = roll.fee.clone();
    }
    if matches!(t.kind, T::Dividend | T::Interest) {
        t.tax = roll.tax.clone();
    }
    if t.kind == T::Dividend || matches!(t.kind, T::Fee | T::Tax) && roll.flag(3) {
        t.asset = Some(AssetKey(roll.asset));
    }
    if t.kind == T::Dividend && !roll.flag(2) {
        t.currency = None;
    }
    if t.kind == T::Transfer {
        t.to_account = Some(["b", "c", "main"][roll.account].to_owned());
    }
    if t.kind == T::Fx {
        t.to_amount = Some(roll.quantity.clone());
        t.to_currency = Some(c(currencies[usize::from((roll.flags % 4 + 1) % 4)]));
    }
    if !matches!(t.kind, T::Fx | T::Transfer) && roll.luck % 9 == 4 {
        t.fx_rate = Some(Decimal::new(77, 2));
    }
}

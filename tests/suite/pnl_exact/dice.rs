//! Random ledgers over all options. What a roll means depends on the ledger so far, which the reference knows.

use super::fraction::Fraction;
use super::ledger::{Reference, terms_at};
use super::number::Number;
use super::rates::{Quoted, Table};
use artifact::domain::asset::{Terms, TermsHistory};
use artifact::domain::currency::Currency;
use artifact::domain::decimal::Decimal;
use artifact::domain::fx::Rates;
use artifact::domain::ids::{AssetKey, TransactionId};
use artifact::domain::moment::{DAY, HOUR, Moment};
use artifact::domain::pnl::report::Priced;
use artifact::domain::portfolio::{Conventions, CostBasis, FeeMode, LotScope, ShortMode, TaxMode};
use artifact::domain::price::Mark;
use artifact::domain::transaction::{LotPick, Transaction, TransactionType as T};
use chrono_tz::Tz;
use proptest::prelude::*;
use std::collections::BTreeMap;
use uuid::Uuid;

/// Midnight in UTC.
const START: i64 = 1_700_006_400_000_000;
const ACCOUNTS: [&str; 3] = ["main", "b", "c"];
const CURRENCIES: [&str; 7] = ["EUR", "USD", "GBP", "BTC", "JPY", "SEK", "CHF"];
/// An asset whose multiplier changes, and when.
const OPTION: i64 = 4;
const CHANGED: Moment = Moment(START + 150 * HOUR);
/// How much later midnight comes in New York, in the winter of these ledgers.
const BEHIND: i64 = 5 * HOUR;
const INVERSE: i64 = 6;
const OIL: i64 = 7;
const ASSETS: i64 = 8;

#[derive(Debug, Clone)]
struct Roll {
    kind: u8,
    asset: i64,
    account: usize,
    hours: i64,
    /// Quarters of what is held that a disposal takes: 4 is all, more is too much.
    quarters: i64,
    quantity: Decimal,
    price: Decimal,
    fee: Decimal,
    tax: Decimal,
    bits: u32,
    luck: u8,
}

#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) conventions: Conventions,
    base: usize,
    web: u8,
    /// When the first rate of the krona was seen, if ever.
    krona: Option<i64>,
    firsts: Vec<Decimal>,
    later: Vec<(i64, usize, usize, Decimal)>,
    rolls: Vec<Roll>,
    /// Prices: how many entries back they were seen, what they say, and whether they are of a day.
    quotes: Vec<Option<(usize, Decimal, bool)>>,
}

/// Everything around a ledger, for the engine and for the reference.
pub(super) struct Surroundings {
    pub(super) base: Currency,
    pub(super) table: Table,
    pub(super) rates: Rates,
    pub(super) terms: BTreeMap<AssetKey, Vec<(Moment, Terms)>>,
    pub(super) history: TermsHistory,
}

fn c(code: &str) -> Currency {
    Currency::from_code(code).unwrap()
}

/// Mostly few digits, sometimes as many as may be entered.
fn number(most: i128) -> impl Strategy<Value = Decimal> {
    prop_oneof![
        4 => (1..=most, 0..=2_u32).prop_map(|(mantissa, scale)| Decimal::new(mantissa, scale)),
        2 => (1..=most * 100_000, 5..=7_u32).prop_map(|(mantissa, scale)| Decimal::new(mantissa, scale)),
        1 => (10_i128.pow(26)..10_i128.pow(28), 16..=18_u32)
            .prop_map(|(mantissa, scale)| Decimal::new(mantissa, scale)),
    ]
}

fn cost() -> impl Strategy<Value = Decimal> {
    prop_oneof![3 => Just(Decimal::ZERO), 4 => (1..=999_i128).prop_map(|cents| Decimal::new(cents, 2)), 1 => number(99)]
}

fn rate() -> impl Strategy<Value = Decimal> {
    prop_oneof![
        2 => prop::sample::select(vec![Decimal::new(5, 1), Decimal::new(125, 2), Decimal::new(8, 0), Decimal::ONE]),
        3 => (1..=99_999_i128, 1..=4_u32).prop_map(|(mantissa, scale)| Decimal::new(mantissa, scale)),
        1 => (1..=10_i128.pow(12), 8..=11_u32).prop_map(|(mantissa, scale)| Decimal::new(mantissa, scale)),
    ]
}

fn conventions() -> impl Strategy<Value = Conventions> {
    let one_of = |number: usize| 0..number;
    let dusts = vec![Decimal::ZERO, Decimal::ZERO, Decimal::new(1, 1), Decimal::new(3, 0)];
    (one_of(5), one_of(3), one_of(4), one_of(2), one_of(4), prop::sample::select(dusts)).prop_map(
        |(basis, scope, fees, taxes, short, dust)| Conventions {
            cost_basis: [
                CostBasis::Fifo,
                CostBasis::Lifo,
                CostBasis::Hifo,
                CostBasis::Average,
                CostBasis::Specific,
            ][basis],
            lot_scope: [LotScope::Account, LotScope::Account, LotScope::Global][scope],
            fees: [FeeMode::InCost, FeeMode::Separate, FeeMode::Expensed, FeeMode::None][fees],
            taxes: [TaxMode::Separate, TaxMode::InCost][taxes],
            short: [
                ShortMode::Allowed,
                ShortMode::Rejected,
                ShortMode::Allowed,
                ShortMode::MissingBasisIsZeroCost,
            ][short],
            dust,
            ..Conventions::default()
        },
    )
}

fn roll() -> impl Strategy<Value = Roll> {
    let asset = prop::sample::select(vec![1_i64, 1, 1, 1, 2, 2, 2, 2, 3, 4, 4, 5, 5, 6, 6, 7, 8]);
    let account = prop::sample::select(vec![0_usize, 0, 0, 0, 1, 2]);
    let quarters = prop::sample::select(vec![1_i64, 2, 3, 4, 4, 4, 5, 6]);
    let what = (0..40_u8, asset, account, 0..20_i64, quarters, any::<u32>(), any::<u8>());
    (what, (number(3_000), number(90_000), cost(), cost())).prop_map(
        |((kind, asset, account, hours, quarters, bits, luck), (quantity, price, fee, tax))| Roll {
            kind,
            asset,
            account,
            hours,
            quarters,
            quantity,
            price,
            fee,
            tax,
            bits,
            luck,
        },
    )
}

pub(super) fn plan(entries: usize) -> impl Strategy<Value = Plan> {
    let quote = prop::option::weighted(0.7, (0..6_usize, number(90_000), any::<bool>()));
    let krona = prop_oneof![4 => Just(Some(-1)), 1 => Just(None), 1 => (0..200_i64).prop_map(Some)];
    let around = (0..3_usize, 0..4_u8, krona, prop::collection::vec(rate(), CURRENCIES.len()));
    let later = prop::collection::vec((0..300_i64, 0..7_usize, 0..7_usize, rate()), 0..10);
    // Half of it happens in one asset, so that positions have a story.
    let rolls = (prop::collection::vec(roll(), 3..entries), 1..=ASSETS).prop_map(|(mut rolls, favourite)| {
        for roll in rolls.iter_mut().filter(|roll| roll.bit(25)) {
            (roll.asset, roll.account) = (favourite, if roll.bit(26) { 0 } else { roll.account });
        }
        rolls
    });
    (conventions(), around, later, rolls, prop::collection::vec(quote, 7..29)).prop_map(
        |(conventions, (base, web, krona, firsts), later, rolls, quotes)| Plan {
            conventions,
            base,
            web,
            krona,
            firsts,
            later,
            rolls,
            quotes,
        },
    )
}

/// The market of asset 2 is in New York, all others keep UTC.
pub(super) fn zone_of(asset: AssetKey) -> Tz {
    if asset.0 == 2 { Tz::America__New_York } else { Tz::UTC }
}

fn hours(count: i64) -> Moment {
    Moment(START + count * HOUR)
}

fn terms() -> BTreeMap<AssetKey, Vec<(Moment, Terms)>> {
    let mut all = BTreeMap::new();
    for key in 1..=ASSETS {
        let mut terms = Terms::plain(c("EUR"));
        match key {
            2 => terms.settlement = c("USD"),
            3 => terms.settlement = c("GBp"),
            OPTION => terms.multiplier = Decimal::from(100),
            5 => (terms.settlement, terms.multiplier, terms.margined) = (c("USD"), Decimal::new(25, 1), true),
            INVERSE => (terms.settlement, terms.inverse, terms.margined) = (c("BTC"), true, true),
            OIL => (terms.settlement, terms.allows_negative_price) = (c("USD"), true),
            8 => terms.settlement = c("SEK"),
            _ => {}
        }
        let mut history = vec![(Moment::MIN, terms.clone())];
        if key == OPTION {
            terms.multiplier = Decimal::from(10);
            history.push((CHANGED, terms));
        }
        all.insert(AssetKey(key), history);
    }
    all
}

impl Plan {
    pub(super) fn surroundings(&self) -> Surroundings {
        let base = c(CURRENCIES[self.base]);
        let table = Table(self.quoted_rates());
        let mut rates = Rates::default();
        for quoted in &table.0 {
            rates.add(quoted.from, quoted.to, quoted.at, quoted.rate.clone());
        }
        let terms = terms();
        let mut history = TermsHistory::default();
        for (asset, through_time) in &terms {
            for (from, terms) in through_time {
                history.add(*asset, *from, terms.clone());
            }
        }
        Surroundings { base, table, rates, terms, history }
    }

    /// The first rates make one of four webs: every currency against the base, as it is used; all through the euro, as
    /// the ECB quotes them; all through the dollar, some this way and some that; all through the franc. Then some
    /// more, of any pair.
    fn quoted_rates(&self) -> Vec<Quoted> {
        let mut quoted = Vec::new();
        let centre = [CURRENCIES[self.base], "EUR", "USD", "CHF"][usize::from(self.web)];
        for (code, rate) in CURRENCIES.iter().zip(&self.firsts).filter(|(code, _)| **code != centre) {
            let seen = if *code == "SEK" { self.krona } else { Some(-1) };
            let inward = match self.web {
                0 => true,
                1 => false,
                2 => matches!(*code, "EUR" | "GBP" | "BTC"),
                _ => *code < "H",
            };
            let (from, to) = if inward { (*code, centre) } else { (centre, *code) };
            if let Some(at) = seen {
                quoted.push(Quoted { from: c(from), to: c(to), at: hours(at), rate: rate.clone() });
            }
        }
        for (at, from, to, rate) in &self.later {
            let (from, to) = (CURRENCIES[*from], CURRENCIES[*to]);
            if from != to && from != "SEK" && to != "SEK" {
                quoted.push(Quoted { from: c(from), to: c(to), at: hours(*at), rate: rate.clone() });
            }
        }
        quoted
    }

    /// The rolls in order of the fold. A split given as a day begins with that day in its market, and comes before all
    /// else of its moment; entries of its asset that were given as that day come after it, although their day began
    /// earlier.
    pub(super) fn schedule(&self) -> Vec<Planned<'_>> {
        let mut clock = 0;
        let mut schedule: Vec<Planned<'_>> = Vec::new();
        for roll in &self.rolls {
            clock += roll.hours;
            let kind = roll.kind();
            let whole_day = roll.bit(20) && (kind == T::Split || roll.bit(21));
            if whole_day && clock % 24 != 0 {
                clock += 24 - clock % 24;
            }
            let abroad = zone_of(AssetKey(roll.asset)) != Tz::UTC;
            let later = if whole_day && kind == T::Split && abroad { BEHIND } else { 0 };
            schedule.push(Planned { roll, kind, at: hours(clock).plus(later), whole_day });
        }
        let day_splits: Vec<_> = schedule
            .iter()
            .filter(|planned| planned.whole_day && planned.kind == T::Split)
            .map(|planned| (planned.roll.asset, planned.at))
            .collect();
        schedule.sort_by_key(|planned| {
            let of_it = |(asset, at): &&(i64, Moment)| {
                *asset == planned.roll.asset && at.0 - planned.at.0 == BEHIND && planned.has_asset()
            };
            let split =
                day_splits.iter().filter(|_| planned.whole_day && planned.kind != T::Split).find(of_it);
            let at = split.map_or(planned.at, |(_, at)| *at);
            (at, !(planned.whole_day && planned.kind == T::Split))
        });
        schedule
    }

    /// What is known of each asset some hours after the last of `past`.
    pub(super) fn prices(
        &self,
        past: &[Transaction],
        around: &Surroundings,
    ) -> (Moment, BTreeMap<AssetKey, Priced>) {
        let last = past.last().map_or(Moment(START), |t| t.executed_at);
        let at = last.plus(i64::try_from(past.len() % 3).unwrap() * 20 * HOUR);
        let prices = around.terms.iter().map(|(asset, history)| {
            let zone = zone_of(*asset);
            let turn = past.len() * 5 + usize::try_from(asset.0).unwrap();
            let mark = self.quotes[turn % self.quotes.len()].clone().map(|(back, price, daily)| {
                let seen = past.iter().rev().nth(back).map_or(Moment(START), |t| t.executed_at);
                // Midnight in UTC; or of a market in New York, where that is five hours later.
                let midnight = seen.0 - seen.0.rem_euclid(DAY);
                let midnight = if zone == Tz::UTC || back > 3 { midnight } else { midnight + BEHIND };
                let (observed_at, interval) = if daily { (Moment(midnight), "1d") } else { (seen, "") };
                let price = if asset.0 == OIL && back == 2 { -price } else { price };
                Mark {
                    price,
                    observed_at,
                    recorded_at: at,
                    source: "dice".into(),
                    interval: interval.into(),
                    split_adjusted: turn % 7 == 3,
                }
            });
            (*asset, Priced { terms: terms_at(history, at).clone(), zone, mark })
        });
        (at, prices.collect())
    }
}

/// One roll, with its moment.
pub(super) struct Planned<'a> {
    roll: &'a Roll,
    kind: T,
    at: Moment,
    whole_day: bool,
}

/// A number cut to what may be entered: 28 digits, 18 decimals.
fn enterable(number: &Fraction) -> Decimal {
    let whole = number.abs().cut(0).to_string();
    let decimals = 28_usize.saturating_sub(whole.len()).min(18);
    let decimals = u32::try_from(decimals).unwrap();
    let mantissa: i128 = number.cut(decimals).to_string().parse().unwrap();
    Decimal::new(mantissa, decimals).normalized()
}

impl Roll {
    fn bit(&self, number: u32) -> bool {
        self.bits & (1 << number) != 0
    }

    fn kind(&self) -> T {
        match self.kind {
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
        }
    }

    fn other_account(&self) -> String {
        ACCOUNTS[(self.account + 1 + usize::from(self.bit(7))) % 3].to_owned()
    }
}

impl Planned<'_> {
    /// Whether its entry will name an asset that is there.
    fn has_asset(&self) -> bool {
        let units = matches!(self.kind, T::Buy | T::Sell | T::TransferIn | T::TransferOut)
            || self.kind == T::Transfer && self.roll.bit(0);
        let named = matches!(self.kind, T::Fee | T::Tax) && self.roll.bit(3);
        units && self.roll.luck != 77 || named || matches!(self.kind, T::Dividend | T::Split)
    }

    /// The entry this is in the ledger so far.
    pub(super) fn entry(&self, number: usize, reference: &Reference<'_>) -> Transaction {
        let roll = self.roll;
        let id = TransactionId(Uuid::from_u128(u128::try_from(number).unwrap() + 1));
        let mut t = Transaction::bare(id, self.kind, self.at);
        t.whole_day = self.whole_day;
        // Entered in another order than that of time; within one moment in this one, but for the splits of a day.
        let late = if self.whole_day && self.kind == T::Split { 500 } else { 0 };
        let shuffled = (self.at.0 / HOUR * 31).rem_euclid(50);
        t.place = shuffled * 1000 + late + i64::try_from(number).unwrap();
        ACCOUNTS[roll.account].clone_into(&mut t.account);
        match self.kind {
            T::Buy | T::Sell | T::TransferIn | T::TransferOut => roll.units(&mut t, reference),
            T::Transfer if roll.bit(0) => {
                roll.units(&mut t, reference);
                (t.currency, t.fx_rate, t.tax) = (None, None, Decimal::ZERO);
                t.to_account = Some(roll.other_account());
            }
            T::Split => {
                t.asset = Some(AssetKey(roll.asset));
                t.ratio_num = Some(Decimal::from(roll.quarters));
                t.ratio_den = Some(Decimal::from(1 + i64::from(roll.bits % 4)));
            }
            T::Deposit
            | T::Withdrawal
            | T::Dividend
            | T::Interest
            | T::Fee
            | T::Tax
            | T::Transfer
            | T::Fx => roll.money(&mut t, reference),
        }
        t
    }
}

impl Roll {
    /// A rate of the entry's own, for money that is not in the base currency.
    fn own_rate(&self, t: &mut Transaction, currency: Currency, base: Currency) {
        if self.luck % 9 == 1 && currency != base {
            t.fx_rate = Some(Decimal::new(i128::from(self.luck) + 77, 2));
        }
    }

    fn units(&self, t: &mut Transaction, reference: &Reference<'_>) {
        let asset = AssetKey(if self.luck == 77 { 99 } else { self.asset });
        t.asset = Some(asset);
        let holding = reference.holdings.get(&(reference.owner(&t.account), asset));
        let held = holding.map_or_else(Number::zero, |holding| holding.quantity.clone());
        let short = holding.is_some_and(super::ledger::Holding::is_short);
        let open = holding.is_some_and(|holding| holding.cycle.is_some());
        let against = open && t.kind != T::TransferIn && (t.kind == T::Buy) == short;
        let quarters = Number::exact(Fraction::whole(self.quarters).over(&Fraction::whole(4)));
        let some = match self.quarters {
            4 => enterable(&held.value),
            _ => enterable(&held.times(&quarters).value),
        };
        let takes = against && (!self.bit(1) || !self.bit(8)) && some.is_positive();
        let quantity = if takes { some } else { self.quantity.clone() };
        (t.fee, t.tax) = (self.fee.clone(), self.tax.clone());
        if matches!(t.kind, T::Buy | T::Sell | T::TransferIn) {
            if self.bit(2) && self.bit(3) {
                t.gross_total = Some(self.price.clone());
            } else if self.asset == INVERSE && self.luck % 8 == 3 {
                t.price = Some(Decimal::ZERO);
            } else {
                let below = self.asset == OIL && self.bit(9) && self.bit(10);
                t.price = Some(if below { -&self.price } else { self.price.clone() });
            }
        }
        t.opens_short = t.kind == T::Sell && self.bit(4) && self.bit(5);
        if matches!(t.kind, T::Buy | T::Sell) && self.luck % 16 == 5 {
            t.fee_asset_quantity = enterable(&Fraction::of(&(&quantity * &Decimal::new(1, 2))));
        }
        let settlement = reference.terms.get(&asset).map_or(reference.base, |terms| terms[0].1.settlement);
        if self.luck % 13 == 2 {
            t.currency = Some(c(["USD", "JPY", "SEK", "GBP"][usize::from(self.luck % 4)]));
        }
        self.own_rate(t, t.currency.unwrap_or(settlement), reference.base);
        let commission = Fraction::of(&t.fee_asset_quantity);
        let moved = Fraction::of(&quantity);
        let moved = if t.kind == T::Buy { moved.minus(&commission) } else { moved.plus(&commission) };
        t.quantity = Some(quantity);
        if against && reference.conventions.cost_basis == CostBasis::Specific {
            let closes = if matches!(t.kind, T::Buy | T::Sell) { moved.min(held.value) } else { moved };
            t.lots = self.picks(t, enterable(&closes), reference);
        }
    }

    /// Lots that make up a quantity; or, sometimes, lots that do not.
    fn picks(&self, t: &Transaction, needed: Decimal, reference: &Reference<'_>) -> Vec<LotPick> {
        let mut open = reference.openers(&t.account, t.asset.unwrap());
        if self.bit(6) {
            open.reverse();
        }
        let mut left = needed;
        let mut picks = Vec::new();
        for (transaction, held) in open {
            let quantity = enterable(&held.value).smaller(&left);
            left -= &quantity;
            if quantity.is_positive() {
                picks.push(LotPick { transaction, quantity });
            }
        }
        match self.luck % 17 {
            7 => picks.clear(),
            8 => picks.iter_mut().take(1).for_each(|pick| pick.quantity += &Decimal::ONE),
            9 => picks.iter_mut().take(1).for_each(|pick| pick.transaction = t.id),
            _ => {}
        }
        picks
    }

    /// Entries that move money and no units.
    fn money(&self, t: &mut Transaction, reference: &Reference<'_>) {
        let codes = ["EUR", "USD", "JPY", "GBP", "GBp", "CHF", "SEK"];
        let mut index = usize::from(self.luck) % 7;
        if index == 6 && self.bit(11) {
            index = 0;
        }
        t.amount = Some(self.price.clone());
        t.currency = Some(c(codes[index]));
        if !matches!(t.kind, T::Fee | T::Tax) {
            t.fee = self.fee.clone();
        }
        if matches!(t.kind, T::Dividend | T::Interest) {
            t.tax = self.tax.clone();
            if self.bit(12) && self.bit(13) {
                t.amount = Some(-&self.price);
            }
        }
        if t.kind == T::Dividend || matches!(t.kind, T::Fee | T::Tax) && self.bit(3) {
            t.asset = Some(AssetKey(self.asset));
        }
        if self.bit(2) && t.kind != T::Fx {
            t.currency = None;
        }
        if t.kind == T::Transfer {
            t.to_account = Some(self.other_account());
        } else if t.kind == T::Fx {
            t.to_amount = Some(self.quantity.clone());
            t.to_currency = Some(c(codes[(index + 1) % 6]));
        } else {
            let settlement = t.asset.map_or(reference.base, |asset| reference.terms[&asset][0].1.settlement);
            self.own_rate(t, t.currency.unwrap_or(settlement), reference.base);
        }
    }
}

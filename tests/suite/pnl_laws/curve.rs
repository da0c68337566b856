//! A ledger day by day against the fold and the valuation of each day, over ledgers made by chance.

use super::world::{START, plan, terms_of};
use artifact::domain::decimal::Decimal;
use artifact::domain::ids::AssetKey;
use artifact::domain::moment::{HOUR, Moment};
use artifact::domain::pnl::amounts::sum;
use artifact::domain::pnl::book::{Book, EVERY_ACCOUNT};
use artifact::domain::pnl::curve::lots::LotKey;
use artifact::domain::pnl::curve::{Course, Level, Quoted, Step, Walk};
use artifact::domain::pnl::report::{Priced, Report, Valuation, report};
use artifact::domain::portfolio::FeeMode;
use artifact::domain::price::{Close, Mark};
use chrono_tz::Tz;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// Prices of an asset: at which stop and how many hours before its end, how much, and whether for a whole day.
type Dice = Vec<(usize, i64, Decimal, bool)>;

fn dice() -> impl Strategy<Value = Vec<Dice>> {
    let price = (0..8_usize, 0..30_i64, (1..90_000_i128, 0..3_u32), any::<bool>());
    let price = price
        .prop_map(|(stop, hours, (digits, scale), daily)| (stop, hours, Decimal::new(digits, scale), daily));
    prop::collection::vec(prop::collection::vec(price, 0..6), 6)
}

fn closes(dice: &Dice, ends: &[Moment]) -> Vec<Close> {
    let mut closes: Vec<Close> = Vec::new();
    for (stop, end) in ends.iter().enumerate() {
        let seen = dice.iter().rfind(|(of, ..)| *of == stop);
        closes.extend(seen.map(|(slot, hours, price, daily)| Close {
            slot: *slot,
            observed_at: end.plus(-hours * HOUR),
            price: price.clone(),
            daily: *daily,
            // Some sources take splits out themselves.
            split_adjusted: hours % 3 == 0,
        }));
    }
    closes
}

fn mark(closes: &[Close], stop: usize) -> Option<Mark> {
    closes.iter().rfind(|close| close.slot <= stop).map(|close| Mark {
        price: close.price.clone(),
        observed_at: close.observed_at,
        recorded_at: close.observed_at,
        source: "dice".to_owned(),
        interval: if close.daily { "1d".to_owned() } else { String::new() },
        split_adjusted: close.split_adjusted,
    })
}

/// The worth of everything, unknown where something has no price.
fn worth(report: &Report, of: impl Fn(&str, AssetKey) -> bool) -> Option<Decimal> {
    let items = report.items.iter().filter(|item| of(&item.account, item.asset) && item.side.is_some());
    items.map(|item| item.price.as_ref().and(item.worth.market_value.base.clone())).sum()
}

/// The worth of each open lot, unknown where it has no price.
fn lots_worth(report: &Report) -> BTreeMap<LotKey, Option<Decimal>> {
    let mut lots: BTreeMap<LotKey, Option<Decimal>> = BTreeMap::new();
    for item in &report.items {
        for (lot, worth) in &item.lots {
            let own = item.price.as_ref().and(worth.market_value.base.clone());
            let known = lots.entry((item.asset, lot.transaction)).or_insert(Some(Decimal::ZERO));
            *known = sum(known.as_ref(), own.as_ref());
        }
    }
    lots
}

/// The same but for the last digits, which a division may have rounded at another place.
fn near(one: Option<&Decimal>, other: Option<&Decimal>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => (one - other).abs() <= (other.abs() + Decimal::ONE) * Decimal::new(1, 20),
        (one, other) => one == other,
    }
}

fn net(step: &Step) -> Decimal {
    step.inflow.clone().unwrap() - step.outflow.clone().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(120))]

    /// At every stop the value is that of the report, to the last digit, of the whole and of each account; what moved
    /// is the change of the contributions; and what an asset is worth is what was put into it and what it gained.
    #[test]
    fn every_stop_is_what_the_report_says(plan in plan(30), dice in dice()) {
        let world = plan.happen();
        let ends: Vec<Moment> = (0..8).map(|stop| Moment(START).plus(stop * 60 * HOUR)).collect();
        let quoted: BTreeMap<AssetKey, Quoted> = (1..)
            .map(AssetKey)
            .zip(&dice)
            .map(|(key, dice)| (key, Quoted { zone: Tz::UTC, closes: closes(dice, &ends) }))
            .collect();
        let tolerated = BTreeSet::new();
        let course = Course {
            ledger: &world.transactions, tolerated: &tolerated, ctx: world.context(), ends: &ends, assets: &quoted,
        };
        let mut whole = Walk::begin(course, Level::Portfolio);
        let mut by_account = Walk::begin(course, Level::Account);
        let mut by_asset = Walk::begin(course, Level::Asset);
        let mut book = Book::default();
        let mut folded = 0;
        let (mut contributed, mut paid) = (Decimal::ZERO, BTreeMap::<AssetKey, Decimal>::new());
        let mut put: BTreeMap<String, Decimal> = BTreeMap::new();
        for (stop, end) in ends.iter().enumerate() {
            while let Some(t) = world.transactions.get(folded).filter(|t| t.executed_at <= *end) {
                book.apply(t, world.context()).unwrap();
                folded += 1;
            }
            let assets: BTreeMap<AssetKey, Priced> = quoted
                .iter()
                .map(|(key, quoted)| {
                    let mark = mark(&quoted.closes, stop);
                    (*key, Priced { terms: terms_of(*key), zone: Tz::UTC, mark })
                })
                .collect();
            let with = Valuation { base: world.base, assets: &assets, rates: &world.rates, at: *end, age_at: *end };
            let report = report(&book, with);
            let at = whole.advance().unwrap().unwrap();
            prop_assert_eq!(&at.whole.value, &sum(report.sums.cash.as_ref(), worth(&report, |_, _| true).as_ref()));
            prop_assert_eq!(&at.contributions, &report.sums.net_contributions);
            contributed += &net(&at.whole);
            prop_assert_eq!(Some(&contributed), at.contributions.as_ref());
            by_account.advance().unwrap();
            for (name, step) in by_account.accounts() {
                // An account that nothing ever moved in has no sums, and nothing in it.
                let cash = report.accounts.get(name).map_or(Some(Decimal::ZERO), |sums| sums.cash.clone());
                let own = worth(&report, |account, _| account == name);
                let cash = if name == EVERY_ACCOUNT { Some(Decimal::ZERO) } else { cash };
                prop_assert_eq!(&step.value, &sum(cash.as_ref(), own.as_ref()), "{}", name);
                let put = put.entry(name.clone()).or_default();
                *put += &net(step);
                let sums = report.accounts.get(name).cloned().unwrap_or_default();
                let wanted = sum(sums.net_contributions.as_ref(), sums.internal_transfers.as_ref());
                prop_assert_eq!(Some(&*put), wanted.as_ref(), "{}", name);
            }
            by_asset.advance().unwrap();
            for (key, step) in by_asset.assets() {
                prop_assert_eq!(&step.value, &worth(&report, |_, asset| asset == *key), "{:?}", key);
                let paid = paid.entry(*key).or_default();
                *paid += &net(step);
                // Gain = value - what was paid for it.
                let items = report.items.iter().filter(|item| item.asset == *key);
                let profit = items.map(|item| {
                    let costs = item.totals.costs_apart.base.clone()?;
                    let income = item.totals.income.base.clone()?;
                    Some(item.totals.realized.base.clone()? + item.worth.unrealized.base.clone()? + income - costs)
                });
                if let (Some(value), Some(profit)) = (&step.value, profit.sum::<Option<Decimal>>()) {
                    prop_assert_eq!(value - &*paid, profit, "{:?}", key);
                }
            }
        }
        prop_assert!(whole.advance().unwrap().is_none());
    }

    /// Of a lot is told what the report says of it, at the first stop and the last, wherever units entered or left it,
    /// and on the eves of those days; and what it is worth is what was put into it and what it gained.
    #[test]
    fn what_is_told_of_a_lot_is_what_the_report_says(plan in plan(30), dice in dice()) {
        let world = plan.happen();
        let ends: Vec<Moment> = (0..8).map(|stop| Moment(START).plus(stop * 60 * HOUR)).collect();
        let quoted: BTreeMap<AssetKey, Quoted> = (1..)
            .map(AssetKey)
            .zip(&dice)
            .map(|(key, dice)| (key, Quoted { zone: Tz::UTC, closes: closes(dice, &ends) }))
            .collect();
        let tolerated = BTreeSet::new();
        let course = Course {
            ledger: &world.transactions, tolerated: &tolerated, ctx: world.context(), ends: &ends, assets: &quoted,
        };
        let (mut walk, mut plain) = (Walk::begin(course, Level::Lot), Walk::begin(course, Level::Portfolio));
        let (mut book, mut folded, mut at_stops) = (Book::default(), 0, Vec::new());
        let mut gained = BTreeMap::new();
        for (stop, end) in ends.iter().enumerate() {
            while let Some(t) = world.transactions.get(folded).filter(|t| t.executed_at <= *end) {
                book.apply(t, world.context()).unwrap();
                folded += 1;
            }
            let priced = |(key, quoted): (&AssetKey, &Quoted)| {
                (*key, Priced { terms: terms_of(*key), zone: Tz::UTC, mark: mark(&quoted.closes, stop) })
            };
            let assets: BTreeMap<AssetKey, Priced> = quoted.iter().map(priced).collect();
            let with = Valuation { base: world.base, assets: &assets, rates: &world.rates, at: *end, age_at: *end };
            let report = report(&book, with);
            at_stops.push(lots_worth(&report));
            // Whatever is told apart, the whole is the same.
            let (told, whole) = (walk.advance().unwrap().unwrap(), plain.advance().unwrap().unwrap());
            prop_assert_eq!(
                (&told.whole, &told.contributions, &told.gaps), (&whole.whole, &whole.contributions, &whole.gaps)
            );
            gained = BTreeMap::new();
            for item in &report.items {
                let profit = sum(item.totals.realized.base.as_ref(), item.worth.unrealized.base.as_ref());
                // Units without a basis are of no lot.
                let profit = profit.filter(|_| item.totals.missing_quantity.is_zero());
                let known = gained.entry(item.asset).or_insert(Some(Decimal::ZERO));
                *known = sum(known.as_ref(), profit.as_ref());
            }
        }
        let mut by_asset: BTreeMap<AssetKey, Option<Decimal>> = BTreeMap::new();
        for (key, told) in walk.lots() {
            prop_assert!(told.is_sorted_by(|(one, _), (other, _)| one < other), "{:?}", told);
            for (stop, step) in told {
                let wanted = at_stops[*stop].get(key).cloned().unwrap_or(Some(Decimal::ZERO));
                prop_assert!(near(step.value.as_ref(), wanted.as_ref()), "{:?} {}: {:?} {:?}", key, stop, step, wanted);
                prop_assert!(step.inflow.is_some() && step.outflow.is_some(), "{:?}: every rate is known", step);
                let moved = step.inflow != Some(Decimal::ZERO) || step.outflow != Some(Decimal::ZERO);
                let eve = stop.checked_sub(1).filter(|eve| moved && at_stops[*eve].contains_key(key));
                prop_assert!(eve.is_none_or(|eve| told.iter().any(|(stop, _)| *stop == eve)), "{:?} {:?}", key, told);
            }
            let end = told.last().and_then(|(_, step)| step.value.clone());
            let put: Option<Decimal> = told
                .iter()
                .map(|(_, step)| Some(step.inflow.clone()? - step.outflow.clone()?))
                .sum();
            let known = by_asset.entry(key.0).or_insert(Some(Decimal::ZERO));
            *known = sum(known.as_ref(), end.zip(put).map(|(end, put)| end - put).as_ref());
        }
        for (stop, lots) in at_stops.iter().enumerate().filter(|(stop, _)| [0, ends.len() - 1].contains(stop)) {
            for key in lots.keys() {
                let told = walk.lots().get(key);
                prop_assert!(told.is_some_and(|told| told.iter().any(|(of, _)| *of == stop)), "{:?} {}", key, stop);
            }
        }
        // Expensed costs are realised at once, and by no lot.
        if world.context().conventions.fees != FeeMode::Expensed {
            for (asset, gain) in by_asset {
                let wanted = gained.get(&asset).cloned().flatten();
                if let (Some(gain), Some(wanted)) = (gain, wanted) {
                    prop_assert!(near(Some(&gain), Some(&wanted)), "{:?}: {} {}", asset, gain, wanted);
                }
            }
        }
    }
}

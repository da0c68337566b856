//! Laws of corporate actions: splits and dividends of assets thrown into any ledger. The action stands, whatever the
//! ledger holds; what it breaks is flagged, and the books balance to the last digit all the same.

use super::world::{World, plan};
use super::{gained, profit};
use artifact::domain::decimal::Decimal;
use artifact::domain::ids::{AssetKey, TransactionId};
use artifact::domain::moment::Moment;
use artifact::domain::pnl::book::Book;
use artifact::domain::portfolio::LotScope;
use artifact::domain::transaction::{Transaction, TransactionType};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use std::collections::BTreeSet;
use uuid::Uuid;

/// An action: where in the ledger it falls, its asset, and a number of its own.
type Throw = (prop::sample::Index, i64, bool, (i128, i128));

fn throws() -> impl Strategy<Value = Vec<Throw>> {
    let one = (any::<prop::sample::Index>(), 1..=6_i64, any::<bool>(), (1..=40_i128, 1..=40_i128));
    prop::collection::vec(one, 1..8)
}

fn action(world: &World, at: Moment, number: usize, (_, asset, is_split, (a, b)): &Throw) -> Transaction {
    let kind = if *is_split { TransactionType::Split } else { TransactionType::Dividend };
    let id = TransactionId(Uuid::from_u64_pair(7, u64::try_from(number).unwrap()));
    let mut t = Transaction::bare(id, kind, at);
    (t.asset_level, t.asset) = (true, Some(AssetKey(*asset)));
    if *is_split {
        (t.ratio_num, t.ratio_den) = (Some(Decimal::new(*a, 1)), Some(Decimal::new(*b, 1)));
    } else {
        (t.amount, t.tax) = (Some(Decimal::new(*a, 2)), Decimal::new(1, 3));
        t.currency = world.terms.at(AssetKey(*asset), at).map(|terms| terms.settlement);
    }
    t
}

/// The ledger with the actions in it; each row with how many of the ledger's own come up to it.
fn thrown(world: &World, throws: &[Throw]) -> Vec<(usize, Transaction)> {
    let mut rows: Vec<(usize, Transaction)> =
        world.transactions.iter().cloned().enumerate().map(|(n, t)| (n + 1, t)).collect();
    // A ledger whose every entry was refused has no place to throw them into.
    for (number, throw) in throws.iter().enumerate().filter(|_| !world.transactions.is_empty()) {
        let at = throw.0.index(rows.len());
        let (before, moment) = (rows[at].0, rows[at].1.executed_at);
        rows.insert(at + 1, (before, action(world, moment, number, throw)));
    }
    rows
}

fn held(book: &Book, asset: Option<AssetKey>) -> (Decimal, Decimal) {
    let holdings = book.holdings.iter().filter(|(key, _)| Some(key.asset) == asset);
    holdings.fold((Decimal::ZERO, Decimal::ZERO), |(units, income), (_, holding)| {
        (units + holding.quantity(), income + &holding.totals.income.own)
    })
}

fn every_asset() -> BTreeSet<AssetKey> {
    (1..=6).map(AssetKey).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(120))]

    /// Conservation holds with actions in play and rows flagged. A dividend brings its amount for every unit, and
    /// under global lots the units of the accounts are all there are.
    #[test]
    fn the_books_balance_whatever_happens_to_an_asset(plan in plan(30), throws in throws()) {
        let world = plan.happen();
        let mut book = Book::default();
        let mut before = world.value(&book, 0).sums;
        for (own, t) in thrown(&world, &throws) {
            let (units, income) = held(&book, t.asset);
            book.admit(&t, world.context(), &every_asset()).unwrap();
            let now = world.value(&book, own).sums;
            prop_assert_eq!(gained(&now, &before), profit(&now) - profit(&before), "by {:?}", t);
            prop_assert_eq!(now.total_gain().unwrap(), profit(&now), "after {:?}", t);
            if t.asset_level && t.kind == TransactionType::Dividend {
                prop_assert_eq!(held(&book, t.asset).1 - income, units * t.amount.clone().unwrap());
            }
            for (key, holding) in &book.holdings {
                let parts: Decimal = holding.units.values().cloned().sum();
                let whole = if world.conventions.lot_scope == LotScope::Global { holding.quantity() } else { Decimal::ZERO };
                prop_assert_eq!(parts, whole, "{:?}", key);
            }
            before = now;
        }
    }

    /// Without an action nothing is flagged, and what could be flagged is folded as it always was.
    #[test]
    fn a_ledger_that_keeps_the_rules_has_no_flags(plan in plan(30)) {
        let world = plan.happen();
        let mut book = Book::default();
        for t in &world.transactions {
            book.admit(t, world.context(), &every_asset()).unwrap();
        }
        prop_assert!(book.flags.is_empty(), "{:?}", book.flags);
        prop_assert_eq!(book, world.fold(&world.transactions));
    }
}

/// Laws about flags hold for nothing while nothing is flagged.
#[test]
fn actions_put_rows_at_odds_with_every_rule_they_can() {
    let mut runner = TestRunner::deterministic();
    let mut seen = BTreeSet::new();
    for _ in 0..400 {
        let world = plan(30).new_tree(&mut runner).unwrap().current().happen();
        let throws = throws().new_tree(&mut runner).unwrap().current();
        let mut book = Book::default();
        for (_, t) in thrown(&world, &throws) {
            book.admit(&t, world.context(), &every_asset()).unwrap();
        }
        seen.extend(book.flags.iter().map(|flag| {
            let rule = format!("{:?}", flag.error);
            (rule.split([' ', '{', '(']).next().unwrap().to_owned(), flag.left_out)
        }));
    }
    for (rule, left_out) in [("InsufficientQuantity", false), ("InsufficientQuantity", true), ("Lots", false)]
    {
        assert!(seen.contains(&(rule.to_owned(), left_out)), "no {rule} {left_out}: {seen:?}");
    }
}

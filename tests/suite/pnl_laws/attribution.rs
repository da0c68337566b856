//! Where the change of a value came from, over ledgers made by chance.

use super::world::plan;
use artifact::domain::decimal::Decimal;
use artifact::domain::pnl::attribution::{Parts, Period, apply_without_cash};
use artifact::domain::pnl::book::Book;
use proptest::prelude::*;
use std::collections::BTreeSet;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(120))]

    /// The parts add up to the change of the value, to the last digit, wherever the period begins; and both values are
    /// those of the ledger itself.
    #[test]
    fn the_parts_of_a_change_of_value_add_up(plan in plan(30), cut in any::<prop::sample::Index>()) {
        let world = plan.happen();
        let begin = cut.index(world.transactions.len() + 1);
        let mut book = Book::default();
        for t in &world.transactions[..begin] {
            book.apply(t, world.context()).unwrap();
        }
        let mut period = world.valued(begin, |with| Period::begin(&book, with));
        let initial = world.value(&book, begin).sums.total_value();
        for t in &world.transactions[begin..] {
            book.apply(t, world.context()).unwrap();
            period.apply(t, world.context(), &BTreeSet::new(), false).unwrap();
        }
        let end = world.transactions.len();
        let parts = world.valued(end, |with| period.attribute(with));
        prop_assert_eq!(&parts.initial_value, &initial);
        let change = parts.final_value.clone().unwrap() - parts.initial_value.clone().unwrap();
        prop_assert_eq!(Some(change), parts.explained());
        prop_assert_eq!(parts.final_value.clone(), world.value(&book, end).sums.total_value());
        // Profits of assets and of cash are the profits of the whole.
        let earned = |pick: fn(&Parts) -> &Option<Decimal>| {
            let assets: Decimal = parts.assets.values().map(|part| pick(part).clone().unwrap()).sum();
            (assets, pick(&parts.whole).clone().unwrap())
        };
        let (capital, whole) = earned(|part| &part.capital_gains);
        prop_assert_eq!(capital, whole);
        let (realized, whole) = earned(|part| &part.realized_gains);
        prop_assert_eq!(realized, whole);
    }

    /// The same where trades move no cash.
    #[test]
    fn they_add_up_where_trades_move_no_cash(plan in plan(30), cut in any::<prop::sample::Index>()) {
        let world = plan.happen();
        let begin = cut.index(world.transactions.len() + 1);
        let mut book = Book::default();
        for t in &world.transactions[..begin] {
            apply_without_cash(&mut book, t, world.context()).unwrap();
        }
        let mut period = world.valued(begin, |with| Period::begin(&book, with));
        for t in &world.transactions[begin..] {
            period.apply(t, world.context(), &BTreeSet::new(), true).unwrap();
        }
        let parts = world.valued(world.transactions.len(), |with| period.attribute(with));
        let change = parts.final_value.clone().unwrap() - parts.initial_value.clone().unwrap();
        prop_assert_eq!(Some(change), parts.explained());
    }
}

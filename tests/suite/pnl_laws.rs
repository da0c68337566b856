//! Laws of profit and loss, over ledgers made by chance: every convention, several assets, accounts and
//! currencies, with rates that make divisions necessary. None of them allows for a rounding unless it says so.

#![cfg(test)]

mod actions;
mod attribution;
mod curve;
mod explain;
mod invariance;
mod traces;
mod world;

use artifact::domain::decimal::Decimal;
use artifact::domain::pnl::amounts::Amounts;
use artifact::domain::pnl::book::Book;
use artifact::domain::pnl::report::{Item, Report, Sums, Worth};
use artifact::domain::portfolio::LotScope;
use artifact::domain::transaction::TransactionType;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use std::collections::BTreeSet;
use world::plan;

/// Realised + unrealised + income + currency gain on cash, less the costs that are in none of them.
fn profit(sums: &Sums) -> Decimal {
    let known = |figure: &Option<Decimal>| figure.clone().expect("every rate is known");
    known(&sums.realized_pnl) + known(&sums.unrealized_pnl) + known(&sums.income) + known(&sums.cash_fx_pnl)
        - known(&sums.costs_apart)
}

/// Every sum there is, by name.
fn figures(sums: &Sums) -> [(&'static str, Option<Decimal>); 22] {
    [
        ("cash", sums.cash.clone()),
        ("reserved", sums.reserved.clone()),
        ("long_market_value", sums.long_market_value.clone()),
        ("short_market_value", sums.short_market_value.clone()),
        ("net_exposure", sums.net_exposure.clone()),
        ("gross_exposure", sums.gross_exposure.clone()),
        ("total_cost_basis", sums.total_cost_basis.clone()),
        ("cost_basis", sums.cost_basis.clone()),
        ("realized_pnl", sums.realized_pnl.clone()),
        ("realized_pnl_gross", sums.realized_pnl_gross.clone()),
        ("realized_fx_pnl", sums.realized_fx_pnl.clone()),
        ("unrealized_pnl", sums.unrealized_pnl.clone()),
        ("unrealized_fx_pnl", sums.unrealized_fx_pnl.clone()),
        ("unrealized_pnl_gross", sums.unrealized_pnl_gross.clone()),
        ("income", sums.income.clone()),
        ("dividends", sums.dividends.clone()),
        ("fees", sums.fees.clone()),
        ("taxes", sums.taxes.clone()),
        ("costs_apart", sums.costs_apart.clone()),
        ("cash_fx_pnl", sums.cash_fx_pnl.clone()),
        ("net_contributions", sums.net_contributions.clone()),
        ("internal_transfers", sums.internal_transfers.clone()),
    ]
}

fn accounts_add_up(report: &Report) -> Result<(), TestCaseError> {
    let mut parts: Vec<Decimal> = vec![Decimal::ZERO; 22];
    for account in report.accounts.values() {
        for (part, (_, figure)) in parts.iter_mut().zip(figures(account)) {
            *part += &figure.unwrap();
        }
    }
    for (part, (name, whole)) in parts.into_iter().zip(figures(&report.sums)) {
        prop_assert_eq!(part, whole.unwrap(), "{}", name);
    }
    prop_assert_eq!(report.sums.internal_transfers.clone(), Some(Decimal::ZERO));
    Ok(())
}

/// Every amount of units held, by name.
fn amounts(worth: &Worth) -> [(&'static str, Amounts); 7] {
    let quantity = Amounts { own: worth.quantity.clone(), base: worth.unrealized_fx.clone() };
    [
        ("quantity and unrealized_fx", quantity),
        ("opening_gross", worth.opening_gross.clone()),
        ("cost_basis", worth.cost_basis.clone()),
        ("market_value", worth.market_value.clone()),
        ("notional", worth.notional.clone()),
        ("unrealized_gross", worth.unrealized_gross.clone()),
        ("unrealized", worth.unrealized.clone()),
    ]
}

fn lots_add_up(item: &Item) -> Result<(), TestCaseError> {
    for (index, (name, whole)) in amounts(&item.worth).into_iter().enumerate() {
        let lots = item.lots.iter().map(|(_, worth)| amounts(worth)[index].1.clone());
        let sum = lots.fold(Amounts::ZERO, |sum, lot| &sum + &lot);
        prop_assert_eq!(sum, whole, "{} of {:?}", name, item.asset);
    }
    prop_assert!(item.lots.iter().all(|(lot, _)| lot.quantity.is_positive()));
    Ok(())
}

/// One value less another, less what came in between.
fn gained(now: &Sums, before: &Sums) -> Decimal {
    let flows = now.net_contributions.clone().unwrap() - before.net_contributions.clone().unwrap();
    now.total_value().unwrap() - before.total_value().unwrap() - flows
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(160))]

    /// domain.md, Conservation, to the last digit: between any two moments what the value gained beyond the
    /// flows is the change of profit, and so at every moment it is the profit. In an account likewise, where
    /// the lots are its own. Beside it, at every moment: accounts add up to the whole, lots to their holding.
    #[test]
    fn what_is_gained_is_what_is_shown_as_profit(plan in plan(30)) {
        let world = plan.happen();
        let mut book = Book::default();
        let mut before = world.value(&book, 0).sums;
        for (index, transaction) in world.transactions.iter().enumerate() {
            book.apply(transaction, world.context()).unwrap();
            let report = world.value(&book, index + 1);
            prop_assert!(report.missing.is_empty(), "{:?}", report.missing);
            let now = report.sums.clone();
            prop_assert_eq!(gained(&now, &before), profit(&now) - profit(&before), "by {:?}", transaction);
            prop_assert_eq!(now.total_gain().unwrap(), profit(&now), "after {:?}", transaction);
            let free = now.current_capital().unwrap() + now.total_market_value().unwrap();
            prop_assert_eq!(now.total_value().unwrap(), free);
            if world.conventions.lot_scope == LotScope::Account {
                for (name, account) in &report.accounts {
                    prop_assert_eq!(account.total_gain().unwrap(), profit(account), "of {}", name);
                }
            }
            accounts_add_up(&report)?;
            for item in &report.items {
                lots_add_up(item)?;
            }
            before = now;
        }
    }

    /// An entry that breaks a rule is refused for that rule, wherever it stands, and the ledger without it is
    /// what it is. That the generator's own idea of the rules is the engine's is checked as it builds.
    #[test]
    fn what_breaks_a_rule_is_refused_by_name(plan in plan(30)) {
        let world = plan.happen();
        for (index, entry, rule) in &world.refused {
            let mut with_it = world.transactions.clone();
            with_it.insert(*index, entry.clone());
            let refusal = artifact::domain::pnl::book::fold(&with_it, world.context()).unwrap_err();
            prop_assert_eq!(refusal, (entry.id, rule.clone()));
        }
    }
}

/// Laws over ledgers in which nothing happens hold for nothing: the dice reach every kind of entry, every rule,
/// both ways through zero, dust, and prices that are those of a trade.
#[test]
fn the_dice_reach_everything() {
    let mut runner = TestRunner::deterministic();
    let (mut kinds, mut rules, mut seen) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    let (mut accepted, worlds) = (0, 300);
    for _ in 0..worlds {
        let world = plan(30).new_tree(&mut runner).unwrap().current().happen();
        accepted += world.transactions.len();
        kinds.extend(world.transactions.iter().map(|t| t.kind));
        rules.extend(world.refused.iter().map(|(_, _, rule)| {
            let named = format!("{rule:?}");
            named.split([' ', '{']).next().unwrap().to_owned()
        }));
        let mut book = Book::default();
        for t in &world.transactions {
            let closed = book.closed.len();
            book.apply(t, world.context()).unwrap();
            let ended = book.closed.get(closed).map(|(key, cycle)| (key.clone(), cycle.side));
            if let Some((key, side)) = ended {
                let after = book.holdings[&key].side();
                seen.insert(format!("{side} to {}", after.map_or("flat", |side| side.name())));
            }
        }
        let report = world.value(&book, world.transactions.len());
        seen.extend(report.items.iter().filter_map(|item| Some(item.price.as_ref()?.basis.to_owned())));
        seen.extend(report.items.iter().filter(|item| item.lots.len() > 2).map(|_| "many lots".to_owned()));
        let missing = report.items.iter().any(|item| item.totals.missing_quantity.is_positive());
        seen.extend(missing.then(|| "missing basis".to_owned()));
    }
    assert_eq!(kinds.len(), TransactionType::NAMES.len(), "{kinds:?}");
    let all_rules = [
        "InsufficientQuantity",
        "Lots(NoSuchLot(TransactionId(..",
        "Lots(NothingNamed)",
        "Lots(TooLarge",
        "Lots(WrongSum",
        "InverseAtZero",
        "MarginedDelivery",
        "DeliveryIntoShort",
        "NoTerms",
        "NoRate(MissingRate",
    ];
    for rule in all_rules {
        let name = rule.trim_end_matches('.').trim_end_matches('(');
        assert!(rules.iter().any(|seen| seen.starts_with(name)), "{rule} is never broken: {rules:?}");
    }
    for what in [
        "LONG to SHORT",
        "SHORT to LONG",
        "LONG to flat",
        "SHORT to flat",
        "quote",
        "trade",
        "many lots",
        "missing basis",
    ] {
        assert!(seen.contains(what), "no {what}: {seen:?}");
    }
    assert!(accepted > worlds * 8, "only {accepted} entries in {worlds} ledgers");
}

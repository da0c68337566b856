//! What an explanation says is what the report says, and its parts add up to it, over ledgers made by chance.

use super::figures;
use super::world::plan;
use artifact::domain::decimal::Decimal;
use artifact::domain::fx::Rate;
use artifact::domain::pnl::amounts::{difference, sum};
use artifact::domain::pnl::book::Book;
use artifact::domain::pnl::explain::{Detail, Evidence, FIGURES, Term};
use artifact::domain::pnl::report::{Sums, report};
use artifact::domain::transaction::{Transaction, TransactionType};
use proptest::prelude::*;
use std::collections::BTreeMap;

/// The figures of the sums, and those that are two of them together.
fn told(sums: &Sums) -> BTreeMap<&'static str, Option<Decimal>> {
    let mut told: BTreeMap<_, _> = figures(sums).into_iter().collect();
    let add = |one: &str, other: &str, told: &BTreeMap<&str, Option<Decimal>>| {
        sum(told[one].as_ref(), told[other].as_ref())
    };
    let value = add("long_market_value", "short_market_value", &told);
    told.insert("market_value", value);
    for (name, one, other) in [
        ("total_market_value", "market_value", "reserved"),
        ("total_value", "cash", "market_value"),
        ("total_pnl", "realized_pnl", "unrealized_pnl"),
    ] {
        let both = add(one, other, &told);
        told.insert(name, both);
    }
    for (name, one, less) in
        [("current_capital", "cash", "reserved"), ("total_gain", "total_value", "net_contributions")]
    {
        let rest = difference(told[one].as_ref(), told[less].as_ref());
        told.insert(name, rest);
    }
    told
}

fn number(term: &Term, name: &str) -> Option<Decimal> {
    let (_, detail) = term.details.iter().find(|(of, _)| *of == name)?;
    if let Detail::Number(number) = detail { number.clone() } else { None }
}

fn rate(term: &Term) -> Option<&Rate> {
    let (_, detail) = term.details.iter().find(|(of, _)| *of == "rate")?;
    if let Detail::Rate(rate) = detail { Some(rate) } else { None }
}

/// Whether a term is money that is converted at the rate of this entry.
fn booked(term: &Term, t: &Transaction) -> bool {
    let its_own = |(_, detail): &(_, Detail)| matches!(detail, Detail::Transaction(id) if *id == t.id);
    let money = match term.kind {
        "fee" | "tax" => true,
        "contribution" => t.kind != TransactionType::TransferOut,
        _ => t.quantity.is_none(),
    };
    money && t.kind != TransactionType::Fx && term.details.iter().any(its_own)
}

fn by(rate: &Rate, own: &Decimal) -> Decimal {
    (own * &rate.numerator).divide(&rate.denominator).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(80))]

    /// domain.md, Explain: every figure there is can be explained, under its name and once; its value is that of the
    /// report, its terms add up to it, and what a term names a rate for is in base currency what the
    /// rate makes of it, and what is in base currency needs none.
    #[test]
    fn every_figure_is_explained_by_parts_that_add_up_to_it(plan in plan(30)) {
        let world = plan.happen();
        let mut book = Book::traced();
        for t in &world.transactions {
            book.apply(t, world.context()).unwrap();
        }
        let (sums, cash, explained) = world.valued(world.transactions.len(), |with| {
            let report = report(&book, with);
            let evidence = Evidence {
                book: &book, report: &report, ledger: &world.transactions, rates: &world.rates, base: world.base,
                at: with.at,
            };
            let explained = evidence.explain(|_| true);
            (report.sums, report.cash, explained)
        });
        let told = told(&sums);
        let names: Vec<&str> = explained.iter().map(|figure| figure.figure.as_str()).collect();
        let of_cash: Vec<String> = cash.keys().map(|currency| format!("cash:{}", currency.code())).collect();
        let wanted: Vec<&str> = FIGURES.into_iter().chain(of_cash.iter().map(String::as_str)).collect();
        prop_assert_eq!(names, wanted);
        for figure in &explained {
            let known = told.get(figure.figure.as_str()).cloned();
            let balance = || cash.iter().find(|(of, _)| figure.figure == format!("cash:{}", of.code()));
            prop_assert_eq!(&figure.value, &known.unwrap_or_else(|| balance().map(|(_, held)| held.clone())));
            let parts: Option<Decimal> = figure.terms.iter().map(|term| term.amount.clone()).sum();
            prop_assert_eq!(&parts, &figure.value, "{}", figure.figure);
            for term in &figure.terms {
                for (own, base) in [("own", "base"), ("market_value", "market_value_base")] {
                    if let (Some(own), Some(base), Some(rate)) = (number(term, own), number(term, base), rate(term)) {
                        // Fee and tax are rounded each by itself, and so is what goes through a third currency.
                        let off = (&base - by(rate, &own)).abs();
                        prop_assert!(off <= (base.abs() + Decimal::ONE) * Decimal::new(1, 25), "{:?}", term);
                    }
                }
                let own = |t: &Transaction| t.currency.is_none_or(|own| Some(own) == term.currency);
                if world.transactions.iter().any(|t| booked(term, t) && own(t)) {
                    prop_assert_eq!(term.currency == Some(world.base), rate(term).is_none(), "{:?}", term);
                }
                if term.currency == Some(world.base) {
                    prop_assert!(rate(term).is_none(), "{:?}", term);
                }
            }
        }
    }
}

//! What a traced fold notes is what its sums are made of, to the last digit.

use super::world::plan;
use artifact::domain::decimal::Decimal;
use artifact::domain::pnl::amounts::Amounts;
use artifact::domain::pnl::book::{Book, HoldingKey};
use artifact::domain::pnl::holding::Totals;
use artifact::domain::pnl::trace::{DisposalKind, PostingKind, Trace};
use proptest::prelude::*;

fn posted(trace: &Trace, kind: PostingKind, key: Option<&HoldingKey>) -> Amounts {
    let of_it = |asset, account: &str| match key {
        Some(key) => asset == Some(key.asset) && (key.account == account || key.account == "*"),
        None => true,
    };
    let found = trace.postings.iter().filter(|p| p.kind == kind && of_it(p.asset, &p.account));
    found.fold(Amounts::ZERO, |sum, posting| &sum + &posting.amount)
}

/// The sums of a holding, added up from what was noted.
fn totals(trace: &Trace, key: &HoldingKey) -> Totals {
    let mut sums = Totals {
        income: posted(trace, PostingKind::Dividend, Some(key)),
        fees: posted(trace, PostingKind::Fee, Some(key)),
        taxes: posted(trace, PostingKind::Tax, Some(key)),
        costs_apart: &posted(trace, PostingKind::FeeApart, Some(key))
            + &posted(trace, PostingKind::TaxApart, Some(key)),
        ..Totals::default()
    };
    sums.realized -= &posted(trace, PostingKind::Expense, Some(key));
    for disposal in trace.disposals.iter().filter(|disposal| disposal.holding == *key) {
        for closed in &disposal.closed {
            sums.realized_gross += &closed.realized_gross;
            sums.realized += &closed.realized;
            let fx = Amounts { own: Decimal::ZERO, base: closed.realized_fx.clone() };
            sums.realized_fx += &fx;
            // Units that are delivered out leave at their cost.
            assert!(disposal.kind != DisposalKind::Delivery || closed.exit == closed.cost(), "{closed:?}");
            if disposal.kind == DisposalKind::WithoutBasis {
                sums.missing_quantity += &closed.quantity;
            }
        }
    }
    sums
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(120))]

    /// Every sum of every holding and account is the sum of the parts noted for it, and noting them changes nothing.
    #[test]
    fn parts_add_up_to_every_sum(plan in plan(30)) {
        let world = plan.happen();
        let plain = world.fold(&world.transactions);
        let mut book = Book::traced();
        for transaction in &world.transactions {
            book.apply(transaction, world.context()).unwrap();
        }
        let trace = book.trace.take().unwrap();
        prop_assert_eq!(&book, &plain);
        for (key, holding) in &book.holdings {
            prop_assert_eq!(&totals(&trace, key), &holding.totals, "{:?}", key);
        }
        let sums = world.value(&book, world.transactions.len()).sums;
        let base = |kind| posted(&trace, kind, None).base.unwrap();
        prop_assert_eq!(base(PostingKind::Fee), sums.fees.unwrap());
        prop_assert_eq!(base(PostingKind::Tax), sums.taxes.unwrap());
        let apart = base(PostingKind::FeeApart) + base(PostingKind::TaxApart);
        prop_assert_eq!(apart, sums.costs_apart.unwrap());
        prop_assert_eq!(base(PostingKind::Dividend) + base(PostingKind::Interest), sums.income.unwrap());
        prop_assert_eq!(base(PostingKind::Contribution), sums.net_contributions.unwrap());
        prop_assert_eq!(base(PostingKind::Internal), Decimal::ZERO);
        let realized = trace.disposals.iter().flat_map(|disposal| &disposal.closed);
        let realized: Decimal = realized.map(|closed| closed.realized.base.clone().unwrap()).sum();
        prop_assert_eq!(realized - base(PostingKind::Expense), sums.realized_pnl.unwrap());
        for (account, state) in &book.accounts {
            for (currency, cash) in &state.cash {
                let moved = trace.postings.iter().filter(|p| {
                    p.kind == PostingKind::Cash && p.account == *account && p.currency == *currency
                });
                let moved = moved.fold(Amounts::ZERO, |sum, posting| &sum + &posting.amount);
                prop_assert_eq!(&moved.own, &cash.balance);
                prop_assert_eq!(&moved.base, &cash.moved_base);
            }
        }
    }

    /// A refused entry leaves every figure as it was.
    #[test]
    fn a_refused_entry_leaves_the_book_as_it_was(plan in plan(30)) {
        let world = plan.happen();
        for (index, transaction, _) in &world.refused {
            let mut book = world.fold(&world.transactions[..*index]);
            let before = book.clone();
            book.apply(transaction, world.context()).unwrap_err();
            book.missing.clone_from(&before.missing);
            prop_assert_eq!(&book, &before, "{:?}", transaction);
        }
    }
}

//! Whole numbers and the rules of the fold, entry by entry, give one book.

use super::*;
use crate::domain::fx::Rates;
use crate::domain::pnl::book::{TermsHistory, fold};
use crate::domain::portfolio::{Conventions, FeeMode, ShortMode};
use proptest::prelude::*;
use uuid::Uuid;

fn d(text: &str) -> Decimal {
    text.parse().unwrap()
}

fn usd() -> Currency {
    Currency::from_code("USD").unwrap()
}

fn id(number: i64) -> TransactionId {
    TransactionId(Uuid::from_u128(u128::try_from(number).unwrap()))
}

fn eur() -> Currency {
    Currency::from_code("EUR").unwrap()
}

/// The first asset is plain, the second counts by other multiples again and again, the third is a margined one.
fn terms() -> TermsHistory {
    let mut terms = TermsHistory::default();
    let plain = Terms::plain(usd());
    terms.add(AssetKey(1), Moment::MIN, plain.clone());
    terms.add(AssetKey(2), Moment::MIN, plain.clone());
    for (at, multiplier) in [(10, "1000"), (20, "2.5"), (30, "1.0"), (40, "0.125")] {
        terms.add(AssetKey(2), Moment(at), Terms { multiplier: d(multiplier), ..plain.clone() });
    }
    terms.add(AssetKey(3), Moment::MIN, Terms { margined: true, ..plain });
    terms
}

/// Amounts as ledgers have them, of one unit and of very many, with many decimals and with none.
fn amount() -> impl Strategy<Value = Decimal> {
    prop_oneof![
        6 => (1_i128..500, 0_u32..4).prop_map(|(count, scale)| Decimal::new(count, scale)),
        1 => (1_i128..1_000_000_000_000_000_000, 0_u32..18).prop_map(|(count, scale)| Decimal::new(count, scale)),
        1 => Just(d("10")),
    ]
}

fn kind() -> impl Strategy<Value = TransactionType> {
    use TransactionType as T;
    prop_oneof![6 => Just(T::Buy), 5 => Just(T::Sell), 1 => Just(T::Split), 1 => Just(T::Dividend), 1 => Just(T::Deposit)]
}

/// Entries in order of time but for a few, some of one moment, most of them plain. They may sell more than there is.
fn ledger() -> impl Strategy<Value = Vec<Transaction>> {
    let entry = (kind(), amount(), amount(), 0_i64..3, 1_i64..4, 0_u8..20, any::<bool>());
    proptest::collection::vec(entry, 1..90).prop_map(|entries| {
        let mut at = 0;
        let mut rows = Vec::new();
        for (number, (kind, quantity, price, later, asset, odd, second)) in (1..).zip(entries) {
            at += later;
            let mut t = Transaction::bare(id(number), kind, Moment(at));
            // Places of one moment need not be in the order of the ids.
            t.place = number;
            if second {
                t.account = "second".to_owned();
            }
            t.asset = Some(AssetKey(asset)).filter(|_| kind != TransactionType::Deposit);
            if kind == TransactionType::Split {
                (t.ratio_num, t.ratio_den) = (Some(d("3")), Some(d("2")));
            } else if matches!(kind, TransactionType::Deposit | TransactionType::Dividend) {
                t.amount = Some(price);
            } else {
                (t.quantity, t.price) = (Some(quantity), Some(price));
                match odd {
                    0 => t.fee = d("1.25"),
                    1 => t.tax = d("0.5"),
                    2 => t.gross_total = Some(d("77.7")),
                    3 => t.fee_asset_quantity = d("0.001"),
                    4 => t.currency = Some(usd()),
                    5 => t.currency = Some(eur()),
                    6 => (t.currency, t.fx_rate) = (Some(eur()), Some(d("1.5"))),
                    // Folded after what is later, as an entry of a day is after an action of that day.
                    7 => t.executed_at = Moment((at - 2).max(0)),
                    _ => {}
                }
            }
            rows.push(t);
        }
        rows
    })
}

fn conventions() -> impl Strategy<Value = Conventions> {
    let basis = prop_oneof![
        4 => Just(CostBasis::Fifo), 3 => Just(CostBasis::Lifo), 1 => Just(CostBasis::Hifo), 1 => Just(CostBasis::Average),
    ];
    let short = prop_oneof![Just(ShortMode::Allowed), Just(ShortMode::MissingBasisIsZeroCost)];
    let scope = prop_oneof![4 => Just(LotScope::Account), 1 => Just(LotScope::Global)];
    let fees = prop_oneof![Just(FeeMode::InCost), Just(FeeMode::Expensed)];
    let dust = prop_oneof![Just("0"), Just("0.005"), Just("3"), Just("0.0000000001")];
    (basis, short, scope, fees, dust).prop_map(|(cost_basis, short, lot_scope, fees, dust)| Conventions {
        cost_basis,
        short,
        lot_scope,
        fees,
        dust: d(dust),
        ..Conventions::default()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn one_by_one_and_all_at_once_are_the_same_book(ledger in ledger(), conventions in conventions()) {
        let (terms, mut rates) = (terms(), Rates::default());
        rates.add(eur(), usd(), Moment::MIN, d("1.25"));
        let ctx = Context { base: usd(), conventions: &conventions, terms: &terms, rates: &rates };
        let mut book = Book::default();
        for t in &ledger {
            book.apply(t, ctx).unwrap();
        }
        prop_assert_eq!(fold(&ledger, ctx).unwrap(), book);
    }
}

/// Trades of a holding that takes part, and how many of them were folded in whole numbers.
fn taken(rows: &[(TransactionType, &str, &str)]) -> (Book, usize) {
    let (conventions, terms, rates) = (Conventions::default(), terms(), Rates::default());
    let ctx = Context { base: usd(), conventions: &conventions, terms: &terms, rates: &rates };
    let to_entry = |(number, (kind, quantity, price)): (i64, &(TransactionType, &str, &str))| {
        let mut t = Transaction::bare(id(number), *kind, Moment(number));
        (t.asset, t.quantity, t.price) = (Some(AssetKey(1)), Some(d(quantity)), Some(d(price)));
        t
    };
    let ledger: Vec<Transaction> = (1..).zip(rows).map(to_entry).collect();
    let (mut book, mut count) = (Book::default(), 0);
    let mut plain = PlainTrades::new(&book, ctx);
    for t in &ledger {
        if plain.take(&mut book, t) {
            count += 1;
        } else {
            book.apply(t, ctx).unwrap();
        }
    }
    plain.end(&mut book);
    (book, count)
}

#[test]
fn all_but_what_opens_and_ends_a_position_goes_the_short_way() {
    use TransactionType::{Buy, Sell};
    let (book, count) = taken(&[
        (Buy, "1.5", "100"),
        (Buy, "2", "110.25"),
        (Sell, "3", "120"),
        (Buy, "0.00000001", "0.12345678"),
        (Sell, "0.50000001", "130"),
        (Buy, "1", "90"),
        (Sell, "1", "95"),
    ]);
    // The first opens, the fifth ends, the sixth opens and the last ends.
    assert_eq!(count, 3);
    // 3 x 120 - 1.5 x 100 - 1.5 x 110.25, then 0.50000001 x 130 - 0.5 x 110.25 - 0.00000001 x 0.12345678, then 5
    let totals = &book.holdings.values().next().unwrap().totals;
    assert_eq!(totals.realized.own, d("44.625") + d("9.8750012987654322") + d("5"));
    assert_eq!((book.closed.len(), book.memberships.len()), (2, 7));
}

#[test]
fn what_does_not_fit_goes_the_long_way() {
    use TransactionType::{Buy, Sell};
    let wide = "1234567890123456789.12345678";
    let (book, count) =
        taken(&[(Buy, wide, "3"), (Buy, "1", "2"), (Sell, wide, "5"), (Sell, "0.5", "7"), (Buy, "1", "1")]);
    // Once the wide lot is gone, numbers are plain again: the fourth is.
    assert_eq!(count, 2);
    assert_eq!(
        book.holdings.values().next().unwrap().totals.realized.own,
        d("2469135780246913578.24691356") + d("2.5")
    );
}

#[test]
fn what_is_left_within_the_dust_ends_a_position_however_many_decimals_the_dust_has() {
    use TransactionType::{Buy, Sell};
    let (terms, rates) = (terms(), Rates::default());
    let conventions = Conventions { dust: d("0.0000000150"), ..Conventions::default() };
    let ctx = Context { base: usd(), conventions: &conventions, terms: &terms, rates: &rates };
    for hundred_millionths in 1..40 {
        let left = Decimal::new(hundred_millionths, 8);
        let rows = [(Buy, d("2")), (Buy, d("1")), (Sell, d("3") - &left)];
        let to_entry = |(number, (kind, quantity)): (i64, (TransactionType, Decimal))| {
            let mut t = Transaction::bare(id(number), kind, Moment(number));
            (t.asset, t.quantity, t.price) = (Some(AssetKey(1)), Some(quantity), Some(d("7")));
            t
        };
        let ledger: Vec<Transaction> = (1..).zip(rows).map(to_entry).collect();
        let book = fold(&ledger, ctx).unwrap();
        // A hundred millionth is within the dust, two are not.
        assert_eq!(book.closed.len(), usize::from(hundred_millionths == 1), "{left}");
    }
}

//! Values of a stop, worked out by hand.

use super::*;
use crate::domain::asset::TermsHistory;
use crate::domain::fx::Rates;
use crate::domain::portfolio::{Conventions, ShortMode};
use TransactionType::{Buy, Deposit, Sell, Withdrawal};
use uuid::Uuid;

const ACME: AssetKey = AssetKey(1);

fn d(text: &str) -> Decimal {
    text.parse().unwrap()
}

fn currency(code: &str) -> Currency {
    Currency::from_code(code).unwrap()
}

fn entry(at: i64, kind: TransactionType) -> Transaction {
    let id = TransactionId(Uuid::from_u128(u128::try_from(at).unwrap()));
    Transaction { place: at, ..Transaction::bare(id, kind, Moment(at)) }
}

fn trade(at: i64, kind: TransactionType, quantity: &str, price: &str) -> Transaction {
    Transaction { asset: Some(ACME), quantity: Some(d(quantity)), price: Some(d(price)), ..entry(at, kind) }
}

/// Walks a ledger in dollars, stopping at each of the moments; `closes` are a stop and a price each.
fn walked<T>(
    ledger: &[Transaction],
    terms: &TermsHistory,
    stops: (&[i64], &[(usize, &str)]),
    then: impl FnOnce(&mut Walk<'_>) -> T,
) -> T {
    let conventions = Conventions { short: ShortMode::Allowed, ..Conventions::default() };
    walked_under(&conventions, ledger, terms, stops, then)
}

/// The same under other conventions.
fn walked_under<T>(
    conventions: &Conventions,
    ledger: &[Transaction],
    terms: &TermsHistory,
    (ends, closes): (&[i64], &[(usize, &str)]),
    then: impl FnOnce(&mut Walk<'_>) -> T,
) -> T {
    let rates = Rates::default();
    let ends: Vec<Moment> = ends.iter().map(|end| Moment(*end)).collect();
    let closes = closes.iter().map(|(slot, price)| Close {
        slot: *slot,
        observed_at: Moment(1),
        price: d(price),
        daily: false,
        split_adjusted: false,
    });
    let assets = BTreeMap::from([(ACME, Quoted { zone: Tz::UTC, closes: closes.collect() })]);
    let course = Course {
        ledger,
        tolerated: &BTreeSet::new(),
        ctx: Context { base: currency("USD"), conventions, terms, rates: &rates },
        ends: &ends,
        assets: &assets,
    };
    then(&mut Walk::begin(course, Level::Lot))
}

fn plain() -> Terms {
    Terms::plain(currency("USD"))
}

/// Ten are sold short at 6, and owed at 5 each; from the second stop on a unit stands for two.
#[test]
fn a_short_position_is_owed_also_where_its_terms_have_changed() {
    let mut terms = TermsHistory::default();
    terms.add(ACME, Moment::MIN, plain());
    terms.add(ACME, Moment(15), Terms { multiplier: d("2"), ..plain() });
    let values = walked(&[trade(2, Sell, "10", "6")], &terms, (&[10, 20], &[(0, "5")]), |walk| {
        [walk.advance(), walk.advance()].map(|stop| stop.unwrap().unwrap().whole.value)
    });
    assert_eq!(values, [Some(d("10")), Some(d("-40"))]);
}

/// Yen that came and went need no rate: none of them are zero dollars.
#[test]
fn nothing_of_a_currency_without_a_rate_is_nothing() {
    let money = |at, kind, amount| Transaction {
        currency: Some(currency("JPY")),
        amount: Some(d(amount)),
        ..entry(at, kind)
    };
    let ledger = [money(2, Deposit, "5"), money(12, Withdrawal, "5")];
    let stops = walked(&ledger, &TermsHistory::default(), (&[10, 20], &[]), |walk| {
        [walk.advance(), walk.advance()].map(|stop| stop.unwrap().unwrap())
    });
    assert_eq!((&stops[0].whole.value, &stops[1].whole.value), (&None, &Some(d("0"))));
    assert_eq!(stops[0].gaps, BTreeSet::from([Gap::Rate(currency("JPY"))]));
    assert!(stops[1].gaps.is_empty());
}

/// Units that cost nothing move nothing; what they are worth when the course begins is told all the same.
#[test]
fn a_lot_that_cost_nothing_is_told_of_at_the_first_stop_too() {
    let mut terms = TermsHistory::default();
    terms.add(ACME, Moment::MIN, plain());
    let ledger = [trade(2, Buy, "10", "0")];
    let told = walked(&ledger, &terms, (&[10, 20, 30], &[(0, "5"), (2, "7")]), |walk| {
        while walk.advance().unwrap().is_some() {}
        walk.lots()[&(ACME, ledger[0].id)].clone()
    });
    let worth = |value: &str| Step { value: Some(d(value)), ..Step::NOTHING };
    assert_eq!(told, [(0, worth("50")), (2, worth("70"))]);
}

/// Two are bought at 5, and a tenth of one goes to another account, where it is no more than dust: what it cost is lost,
/// and nobody was paid for it. The lot ends worth 1.9 x 5, for which 10 were paid.
#[test]
fn what_becomes_dust_on_its_way_to_another_account_is_lost_by_its_lot() {
    let mut terms = TermsHistory::default();
    terms.add(ACME, Moment::MIN, plain());
    let moved = Transaction {
        asset: Some(ACME),
        quantity: Some(d("0.1")),
        to_account: Some("other".to_owned()),
        ..entry(12, TransactionType::Transfer)
    };
    let ledger = [trade(2, Buy, "2", "5"), moved];
    let dusty = Conventions { dust: d("0.1"), ..Conventions::default() };
    let told = walked_under(&dusty, &ledger, &terms, (&[10, 20], &[(0, "5")]), |walk| {
        while walk.advance().unwrap().is_some() {}
        walk.lots()[&(ACME, ledger[0].id)].clone()
    });
    let step =
        |value: &str, inflow: &str| Step { value: Some(d(value)), inflow: Some(d(inflow)), ..Step::NOTHING };
    assert_eq!(told, [(0, step("10", "10")), (1, step("9.5", "0"))]);
}

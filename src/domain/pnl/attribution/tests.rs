//! Where a change of value came from, worked out by hand.

use super::*;
use crate::domain::asset::TermsHistory;
use crate::domain::currency::Currency;
use crate::domain::fx::Rates;
use crate::domain::ids::TransactionId;
use crate::domain::moment::Moment;
use crate::domain::pnl::report::Priced;
use crate::domain::portfolio::Conventions;
use crate::domain::price::Mark;
use chrono_tz::Tz;
use uuid::Uuid;

const ACME: AssetKey = AssetKey(1);
const DOLLAR: &str = "USD";

fn d(text: &str) -> Decimal {
    text.parse().unwrap()
}

fn currency(code: &str) -> Currency {
    Currency::from_code(code).unwrap()
}

/// A ledger in dollars of one asset.
struct Desk {
    terms: Terms,
    history: TermsHistory,
    rates: Rates,
    conventions: Conventions,
}

impl Desk {
    fn new(terms: Terms) -> Self {
        let mut history = TermsHistory::default();
        history.add(ACME, Moment::MIN, terms.clone());
        Self { terms, history, rates: Rates::default(), conventions: Conventions::default() }
    }

    fn plain() -> Self {
        Self::new(Terms::plain(currency(DOLLAR)))
    }

    fn ctx(&self) -> Context<'_> {
        let (conventions, terms, rates) = (&self.conventions, &self.history, &self.rates);
        Context { base: currency(DOLLAR), conventions, terms, rates }
    }

    /// Does something with the prices of a moment; the one given was seen at its own.
    fn valued<T>(&self, at: i64, seen: Option<(i64, &str)>, with: impl FnOnce(Valuation<'_>) -> T) -> T {
        let mark = seen.map(|(observed_at, price)| Mark {
            price: d(price),
            observed_at: Moment(observed_at),
            recorded_at: Moment(observed_at),
            source: "desk".to_owned(),
            interval: String::new(),
            split_adjusted: false,
        });
        let assets = BTreeMap::from([(ACME, Priced { terms: self.terms.clone(), zone: Tz::UTC, mark })]);
        let at = Moment(at);
        with(Valuation { base: currency(DOLLAR), assets: &assets, rates: &self.rates, at, age_at: at })
    }

    fn fold(&self, entries: &[Transaction]) -> Book {
        crate::domain::pnl::book::fold(entries, self.ctx()).unwrap()
    }

    fn apply(&self, period: &mut Period, t: &Transaction, cashless: bool) {
        period.apply(t, self.ctx(), &BTreeSet::new(), cashless).unwrap();
    }
}

fn entry(at: i64, kind: TransactionType, quantity: &str, price: Option<&str>) -> Transaction {
    let id = TransactionId(Uuid::from_u128(u128::try_from(at).unwrap()));
    let mut t = Transaction::bare(id, kind, Moment(at));
    (t.asset, t.quantity, t.price, t.place) = (Some(ACME), Some(d(quantity)), price.map(d), at);
    t
}

use TransactionType::{Buy, Sell, Split, TransferIn, TransferOut, Withdrawal};

/// Units that came in without a price, and that nobody has quoted, are not worth zero.
#[test]
fn what_no_price_is_known_of_has_no_value_and_is_named() {
    let desk = Desk::plain();
    let arrived = entry(1, TransferIn, "10", None);
    let without = BTreeSet::from([ACME]);
    let period = desk.valued(2, None, |with| Period::begin(&desk.fold(std::slice::from_ref(&arrived)), with));
    let parts = desk.valued(4, Some((3, "7")), |with| period.attribute(with));
    assert_eq!((&parts.initial_value, &parts.final_value), (&None, &Some(d("70"))));
    assert_eq!(parts.unpriced, without);
    let mut period = desk.valued(0, None, |with| Period::begin(&Book::default(), with));
    desk.apply(&mut period, &arrived, false);
    let parts = desk.valued(4, None, |with| period.attribute(with));
    assert_eq!((&parts.initial_value, &parts.final_value), (&Some(d("0")), &None));
    assert_eq!((parts.whole.capital_gains, parts.unpriced), (None, without));
}

/// Ten contracts at 100 become twenty at 50. A quote of 110 before the split is one of 55 after it: (55 - 50) x 20 =
/// 100 were gained before the period, and nothing in it.
#[test]
fn a_quote_before_a_split_is_that_of_the_new_contracts_throughout_the_period() {
    let desk = Desk::new(Terms { margined: true, ..Terms::plain(currency(DOLLAR)) });
    let mut split = entry(3, Split, "1", None);
    (split.quantity, split.ratio_num, split.ratio_den) = (None, Some(d("2")), Some(d("1")));
    let book = desk.fold(&[entry(1, Buy, "10", Some("100")), split]);
    let seen = Some((2, "110"));
    let period = desk.valued(4, seen, |with| Period::begin(&book, with));
    let parts = desk.valued(5, seen, |with| period.attribute(with));
    assert_eq!((parts.initial_value, parts.final_value), (Some(d("100")), Some(d("100"))));
    let zero = Some(d("0"));
    assert_eq!((&parts.whole.capital_gains, &parts.whole.realized_gains), (&zero, &zero));
    assert_eq!((&parts.currency_gains, &parts.transfers), (&zero, &zero));
}

/// What is sold at the price it had when the period began gained nothing, to the last digit, whatever its digits.
#[test]
fn a_unit_restarts_at_exactly_its_price() {
    let price = "1.000000000000000000000000007";
    let desk = Desk::plain();
    let book = desk.fold(&[entry(1, Buy, "3.000000000000000001", Some("1"))]);
    let mut period = desk.valued(2, Some((2, price)), |with| Period::begin(&book, with));
    desk.apply(&mut period, &entry(3, Sell, "1.00000000000000001", Some(price)), false);
    let parts = desk.valued(4, Some((4, price)), |with| period.attribute(with));
    assert_eq!((parts.whole.realized_gains, parts.whole.capital_gains), (Some(d("0")), Some(d("0"))));
}

/// An inverse contract has no value of a unit that is its price: 3 at 8 are worth 3/8 - 3/4 in profit, and two thirds of
/// it are realised at the same price, whatever the price is.
#[test]
fn an_inverse_contract_restarts_at_its_value_and_not_at_its_price() {
    let desk = Desk::new(Terms { margined: true, inverse: true, ..Terms::plain(currency(DOLLAR)) });
    let book = desk.fold(&[entry(1, Buy, "3", Some("4"))]);
    let mut period = desk.valued(2, Some((2, "1")), |with| Period::begin(&book, with));
    desk.apply(&mut period, &entry(3, Sell, "2", Some("1")), false);
    let parts = desk.valued(4, Some((4, "1")), |with| period.attribute(with));
    // At a price of 1 the three are worth 3: 3/4 - 3 of profit before the period, 0 in it.
    assert_eq!(parts.initial_value, Some(d("-2.25")));
    assert_eq!((parts.whole.realized_gains, parts.whole.capital_gains), (Some(d("0")), Some(d("0"))));
    assert_eq!((parts.currency_gains, parts.final_value), (Some(d("0")), Some(d("-2.25"))));
}

/// Where trades move no cash, what one would have moved came in or went out: 10 at 100 with a fee of 1 are 1,001 in, 4
/// at 130 less 2 are 518 out. A withdrawal moves its cash.
#[test]
fn a_trade_that_moves_no_cash_brings_its_money_with_it() {
    let desk = Desk::plain();
    let mut period = desk.valued(0, None, |with| Period::begin(&Book::default(), with));
    let mut bought = entry(1, Buy, "10", Some("100"));
    bought.fee = d("1");
    let mut sold = entry(2, Sell, "4", Some("130"));
    sold.fee = d("2");
    let mut withdrawn = entry(3, Withdrawal, "1", None);
    (withdrawn.asset, withdrawn.quantity, withdrawn.amount) = (None, None, Some(d("7")));
    for t in [&bought, &sold, &withdrawn] {
        desk.apply(&mut period, t, true);
    }
    let parts = desk.valued(4, Some((4, "120")), |with| period.attribute(with));
    // Six are left, and the cash of the withdrawal is owed.
    assert_eq!(parts.final_value, Some(d("713")));
    assert_eq!(parts.transfers, Some(d("476")));
    // 4 x 30 and 6 x 20 before the fees.
    assert_eq!((&parts.whole.realized_gains, &parts.whole.capital_gains), (&Some(d("120")), &Some(d("120"))));
    assert_eq!((&parts.whole.fees, &parts.explained()), (&Some(d("3")), &Some(d("713"))));
}

/// Ten are bought at 100 with a fee of 10. Four leave at their cost, 404, of which 4 are of the fee; the fee is shown as
/// one, so what left are 400.
#[test]
fn units_delivered_out_leave_without_the_costs_that_are_shown_apart() {
    let desk = Desk::plain();
    let mut period = desk.valued(0, None, |with| Period::begin(&Book::default(), with));
    let mut bought = entry(1, Buy, "10", Some("100"));
    bought.fee = d("10");
    desk.apply(&mut period, &bought, false);
    desk.apply(&mut period, &entry(2, TransferOut, "4", None), false);
    let parts = desk.valued(3, Some((3, "100")), |with| period.attribute(with));
    assert_eq!((&parts.transfers, &parts.whole.fees), (&Some(d("-400")), &Some(d("10"))));
    assert_eq!((&parts.whole.capital_gains, &parts.whole.realized_gains), (&Some(d("0")), &Some(d("0"))));
    // -1,010 in cash and six at 100.
    assert_eq!((&parts.final_value, &parts.explained()), (&Some(d("-410")), &Some(d("-410"))));
}

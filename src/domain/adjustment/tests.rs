//! Series by hand: what a split divides, what a dividend takes out, and against which close.

use super::*;
use crate::domain::moment::start_of_day;

const NEW_YORK: Tz = Tz::America__New_York;

fn d(text: &str) -> Decimal {
    text.parse().unwrap()
}

fn at(text: &str) -> Moment {
    Moment::parse(text).unwrap()
}

fn day(text: &str) -> Moment {
    start_of_day(text.parse().unwrap(), NEW_YORK)
}

fn candle(text: &str) -> Observed<'static> {
    Observed { at: at(&format!("{text}T00:00:00Z")), interval: "1d" }
}

fn split(text: &str, numerator: &str, denominator: &str) -> SplitEvent {
    SplitEvent { at: day(text), whole_day: true, numerator: d(numerator), denominator: d(denominator) }
}

fn dividend(text: &str, amount: &str, close: &str, splits: &[SplitEvent]) -> DividendEvent {
    let at = day(text);
    let seen = candle("2026-01-05");
    let (amount, close) = (d(amount), d(close));
    let of = ExDividend { at, paid: (&amount, &Decimal::ONE), close: &close, seen, split_adjusted: false };
    DividendEvent { at, whole_day: true, factor: dividend_factor(of, splits, NEW_YORK).unwrap() }
}

#[test]
fn each_dividend_takes_its_share_of_the_close_out_of_what_came_before() {
    // 100 - 2 is 98 %, 49 - 0.49 is 99 % of the close.
    let dividends = vec![dividend("2026-01-06", "2", "100", &[]), dividend("2026-02-06", "0.49", "49", &[])];
    let events = Events { splits: Vec::new(), dividends };
    let of = |text, price: &str| events.factors(candle(text), false, NEW_YORK).0.of(&d(price));
    assert_eq!(of("2026-01-05", "100"), d("97.02"));
    assert_eq!(of("2026-01-06", "100"), d("99"));
    assert_eq!(of("2026-02-05", "50"), d("49.5"));
    assert_eq!(of("2026-02-06", "50"), d("50"));
}

#[test]
fn thirds_that_come_off_again_are_divided_once() {
    // (1 - 1/3) x (1 - 1/4) x (1 - 1/2) = 1/4, though the first has no end.
    let dividends = vec![
        dividend("2026-01-06", "1", "3", &[]),
        dividend("2026-01-07", "1", "4", &[]),
        dividend("2026-01-08", "1", "2", &[]),
    ];
    let events = Events { splits: vec![split("2026-01-09", "3", "1")], dividends };
    let (all, splits) = events.factors(candle("2026-01-05"), false, NEW_YORK);
    assert_eq!((all.of(&d("12")), splits.of(&d("12"))), (d("1"), d("4")));
    assert_eq!(splits.inverse_of(&d("5")), d("15"));
}

#[test]
fn a_source_that_adjusts_for_splits_is_adjusted_for_dividends_alone() {
    let splits = vec![split("2026-01-07", "4", "1")];
    let dividends = vec![dividend("2026-02-06", "1", "10", &[])];
    let events = Events { splits, dividends };
    let (all, splits) = events.factors(candle("2026-01-05"), true, NEW_YORK);
    assert_eq!((all.of(&d("100")), splits.of(&d("100"))), (d("90"), d("100")));
    let (all, _) = events.factors(candle("2026-01-05"), false, NEW_YORK);
    assert_eq!(all.of(&d("100")), d("22.5"));
}

#[test]
fn the_close_is_brought_to_the_units_of_the_dividend() {
    let (amount, close) = (d("1"), d("100"));
    let seen = candle("2026-01-05");
    let factor = |day_of_dividend: &str, split_adjusted, splits: &[SplitEvent]| {
        let of = ExDividend {
            at: day(day_of_dividend),
            paid: (&amount, &Decimal::ONE),
            close: &close,
            seen,
            split_adjusted,
        };
        dividend_factor(of, splits, NEW_YORK).unwrap().of(&d("1"))
    };
    // The last close before the dividend is older than a split of 2 for 1: one new unit closed at 50.
    let between = [split("2026-01-06", "2", "1")];
    assert_eq!(factor("2026-01-07", false, &between), d("0.98"));
    // On the day of the split itself the dividend is for old units.
    assert_eq!(factor("2026-01-06", false, &between), d("0.99"));
    // The source has halved the close for a split after the dividend: the unit of the dividend closed at 200.
    assert_eq!(factor("2026-01-06", true, &between), d("0.995"));
    // And one between the two it has taken out as well.
    assert_eq!(factor("2026-01-07", true, &between), d("0.99"));
}

#[test]
fn of_a_dividend_as_large_as_the_close_nothing_is_left_to_compare() {
    let seen = candle("2026-01-05");
    for (amount, close) in [("10", "10"), ("11", "10"), ("1", "0"), ("1", "-5")] {
        let (amount, close) = (d(amount), d(close));
        let of = ExDividend {
            at: day("2026-01-06"),
            paid: (&amount, &Decimal::ONE),
            close: &close,
            seen,
            split_adjusted: false,
        };
        assert_eq!(dividend_factor(of, &[], NEW_YORK), None, "{amount} {close}");
    }
}

#[test]
fn candles_are_compared_by_date_and_ticks_by_moment() {
    let midnight = day("2026-01-06");
    assert!(candle("2026-01-05").precedes(midnight, true, NEW_YORK));
    assert!(!candle("2026-01-06").precedes(midnight, true, NEW_YORK));
    let tick = |text| Observed { at: at(text), interval: "1h" };
    assert!(tick("2026-01-06T04:59:59Z").precedes(midnight, true, NEW_YORK));
    assert!(!tick("2026-01-06T05:00:00Z").precedes(midnight, true, NEW_YORK));
    // A candle that starts with the day of its market is of that day.
    let own = Observed { at: at("2026-01-06T05:00:00Z"), interval: "1d" };
    assert!(!own.precedes(midnight, true, NEW_YORK));
}

#[test]
fn what_no_calendar_reaches_is_compared_by_its_moment() {
    let far = |micros: i64| Observed { at: Moment(i64::MAX - micros), interval: "1d" };
    let event = Moment(i64::MAX - 5);
    assert!(far(6).precedes(event, true, NEW_YORK));
    assert!(!far(5).precedes(event, true, NEW_YORK) && !far(4).precedes(event, true, NEW_YORK));
}

//! Which splits divide which prices, and what a price is called.

use super::*;
use crate::domain::moment::start_of_day;
use chrono::NaiveDate;

fn d(text: &str) -> Decimal {
    text.parse().unwrap()
}

fn at(text: &str) -> Moment {
    Moment::parse(text).unwrap()
}

fn mark(observed_at: &str, interval: &str) -> Mark {
    Mark {
        price: d("90"),
        observed_at: at(observed_at),
        recorded_at: Moment::MAX,
        source: "api".to_owned(),
        interval: interval.to_owned(),
        split_adjusted: false,
    }
}

fn split(at: Moment, whole_day: bool, numerator: &str, denominator: &str) -> SplitEvent {
    SplitEvent { at, whole_day, numerator: d(numerator), denominator: d(denominator) }
}

fn day(zone: Tz) -> Moment {
    start_of_day(NaiveDate::from_ymd_opt(2024, 6, 10).unwrap(), zone)
}

#[test]
fn a_candle_of_the_day_of_a_split_is_of_new_units_in_every_market() {
    let markets = [
        Tz::UTC,
        Tz::America__New_York,
        Tz::Asia__Tokyo,
        Tz::Europe__Berlin,
        // The ends of the world: 11 hours behind UTC, and 13 and 14 ahead.
        Tz::Pacific__Pago_Pago,
        Tz::Pacific__Apia,
        Tz::Pacific__Kiritimati,
    ];
    for market in markets {
        let splits = [split(day(market), true, "2", "1")];
        let price = |observed_at| adjusted(&mark(observed_at, "1d"), &splits, market);
        assert_eq!(price("2024-06-10T00:00:00Z"), d("90"), "{market}");
        assert_eq!(price("2024-06-09T00:00:00Z"), d("45"), "{market}");
    }
}

#[test]
fn a_price_that_its_source_has_adjusted_is_left_alone() {
    let splits = [split(day(Tz::UTC), true, "2", "1")];
    let own = Mark { split_adjusted: true, ..mark("2024-06-09T00:00:00Z", "1d") };
    assert_eq!(adjusted(&own, &splits, Tz::UTC), d("90"));
}

#[test]
fn a_candle_that_starts_with_the_day_of_its_market_has_the_date_of_its_market() {
    let splits = [split(day(Tz::America__New_York), true, "2", "1")];
    let price = |observed_at| adjusted(&mark(observed_at, "1d"), &splits, Tz::America__New_York);
    assert_eq!(price("2024-06-10T04:00:00Z"), d("90"));
    assert_eq!(price("2024-06-09T04:00:00Z"), d("45"));
}

#[test]
fn a_price_within_the_day_is_compared_by_its_moment() {
    let splits = [split(at("2024-06-10T14:00:00Z"), false, "2", "1")];
    for interval in ["", "1m", "1h", "12h"] {
        let price = |observed_at| adjusted(&mark(observed_at, interval), &splits, Tz::UTC);
        assert_eq!((price("2024-06-10T13:59:59Z"), price("2024-06-10T14:00:00Z")), (d("45"), d("90")));
    }
}

#[test]
fn splits_that_undo_each_other_leave_the_price_as_it_was() {
    let later = |hour| at(&format!("2024-06-1{hour}T00:00:00Z"));
    let splits = [split(later(0), false, "7", "3"), split(later(1), false, "3", "7")];
    assert_eq!(adjusted(&mark("2024-06-01T00:00:00Z", ""), &splits, Tz::UTC), d("90"));
    let splits = [split(later(0), false, "3", "1"), split(later(1), false, "3", "1")];
    assert_eq!(adjusted(&mark("2024-06-01T00:00:00Z", ""), &splits, Tz::UTC), d("10"));
}

#[test]
fn a_lot_whose_rate_is_known_has_its_figures_beside_one_whose_rate_is_not() {
    use crate::domain::asset::{Terms, TermsHistory};
    use crate::domain::fx::Rates;
    use crate::domain::ids::TransactionId;
    use crate::domain::pnl::book::{Context, fold};
    use crate::domain::portfolio::Conventions;
    use crate::domain::transaction::{Transaction, TransactionType};

    let [krona, dollar] = ["SEK", "USD"].map(|code| Currency::from_code(code).unwrap());
    let (asset, mut terms, mut rates) = (AssetKey(1), TermsHistory::default(), Rates::default());
    terms.add(asset, Moment::MIN, Terms::plain(krona));
    rates.add(krona, dollar, Moment(2), d("0.5"));
    let buy = |at: i64, price: &str| {
        let id = TransactionId(uuid::Uuid::from_u128(u128::try_from(at).unwrap()));
        let mut t = Transaction::bare(id, TransactionType::Buy, Moment(at));
        (t.asset, t.quantity, t.price) = (Some(asset), Some(d("1")), Some(d(price)));
        t
    };
    let conventions = Conventions::default();
    let ctx = Context { base: dollar, conventions: &conventions, terms: &terms, rates: &rates };
    let book = fold(&[buy(1, "10"), buy(3, "12")], ctx).unwrap();
    let mark = Mark { price: d("20"), ..mark("1970-01-01T00:00:00Z", "") };
    let priced = Priced { terms: Terms::plain(krona), zone: Tz::UTC, mark: Some(mark) };
    let assets = BTreeMap::from([(asset, priced)]);
    let at = Moment(4);
    let report = report(&book, Valuation { base: dollar, assets: &assets, rates: &rates, at, age_at: at });
    // The first was bought before any rate was known; of the second 20 x 0.5 - 12 x 0.5 = 4 is.
    let item = &report.items[0];
    assert_eq!(item.worth.unrealized.base, None);
    let known: Vec<_> = item.lots.iter().map(|(_, worth)| worth.unrealized.base.clone()).collect();
    assert_eq!(known, [None, Some(d("4"))]);
    let values = item.lots.iter().map(|(_, worth)| worth.market_value.base.clone());
    assert_eq!(values.collect::<Vec<_>>(), [Some(d("10")), Some(d("10"))]);
    assert_eq!(item.lots[1].1.unrealized_fx, Some(d("0")));
}

#[test]
fn figures_of_other_units_are_added_one_by_one() {
    let worth = |first: i64| {
        let amounts =
            |n: i64| Amounts { own: Decimal::from(first + n), base: Some(Decimal::from(10 * (first + n))) };
        Worth {
            quantity: Decimal::from(first),
            opening_gross: amounts(1),
            cost_basis: amounts(2),
            market_value: amounts(3),
            notional: amounts(4),
            unrealized_gross: amounts(5),
            unrealized: amounts(6),
            unrealized_fx: Some(Decimal::from(first + 7)),
        }
    };
    let mut both = worth(100);
    both.add(&worth(3_000));
    let added =
        |n: i64| Amounts { own: Decimal::from(3_100 + 2 * n), base: Some(Decimal::from(31_000 + 20 * n)) };
    let wanted = Worth {
        quantity: d("3100"),
        opening_gross: added(1),
        cost_basis: added(2),
        market_value: added(3),
        notional: added(4),
        unrealized_gross: added(5),
        unrealized: added(6),
        unrealized_fx: Some(d("3114")),
    };
    assert_eq!(both, wanted);
}

#[test]
fn the_price_of_a_trade_is_stale_once_it_is_older_than_its_asset_allows() {
    use crate::domain::asset::Terms;

    let dollar = Currency::from_code("USD").unwrap();
    let holding = Holding { last_price: Some((Moment(100), d("7"))), ..Holding::new(dollar) };
    let terms = Terms { stale_after: Some(10), ..Terms::plain(dollar) };
    let priced = Priced { terms, zone: Tz::UTC, mark: None };
    let used = |at| price_used(&holding, &priced, &[], Moment(at)).unwrap();
    assert_eq!((used(110).age, used(110).stale), (10, false));
    assert_eq!((used(111).age, used(111).stale), (11, true));
    assert_eq!((used(111).price, used(111).basis), (d("7"), "trade"));
}

//! Candles by hand, and the laws of every roll-up.

use super::*;
use proptest::prelude::*;
use std::cmp::Reverse;

fn d(text: &str) -> Decimal {
    text.parse().unwrap()
}

fn at(text: &str) -> Moment {
    Moment::parse(text).unwrap()
}

fn series(rank: usize, made_of: Option<Interval>) -> Series {
    Series { rank, source: format!("s{rank}"), made_of: Reverse(made_of) }
}

fn candle(open: &str, high: &str, low: &str, close: &str, volume: &str) -> Quote {
    let some = |text| Some(d(text));
    Quote::new(d(close), Bar { open: some(open), high: some(high), low: some(low), volume: some(volume) })
}

fn all(grid: Grid, points: Vec<(Series, &str, Quote)>) -> (Vec<Candle>, u64) {
    let mut rollup = Rollup::new(grid);
    let mut candles: Vec<Candle> =
        points.into_iter().filter_map(|(series, when, quote)| rollup.add(series, at(when), quote)).collect();
    candles.extend(rollup.finish());
    (candles, rollup.not_fitting())
}

#[test]
fn ticks_become_candles_and_what_is_missing_is_counted() {
    let grid = Grid { interval: Interval::Minute, zone: Tz::UTC };
    let tick = |when, price| (series(0, None), when, Quote::tick(d(price)));
    let (candles, _) = all(
        grid,
        vec![
            tick("2026-01-05T10:00:00Z", "5"),
            tick("2026-01-05T10:00:30Z", "7"),
            tick("2026-01-05T10:00:59.999999Z", "6"),
            tick("2026-01-05T10:04:00Z", "4"),
        ],
    );
    let shown: Vec<[String; 4]> =
        candles.iter().map(|c| [&c.open, &c.high, &c.low, &c.close].map(ToString::to_string)).collect();
    assert_eq!(shown, [["5", "7", "5", "6"], ["4", "4", "4", "4"]]);
    assert_eq!((candles[0].points, candles[1].missing_before, &candles[0].volume), (3, 3, &None));
    assert_eq!(candles[1].end, at("2026-01-05T10:05:00Z"));
}

#[test]
fn finer_candles_add_up_and_nothing_counts_twice() {
    let grid = Grid { interval: Interval::Hour, zone: Tz::UTC };
    let (candles, _) = all(
        grid,
        vec![
            (
                series(1, Some(Interval::Minutes30)),
                "2026-01-05T10:00:00Z",
                candle("10", "12", "9", "11", "100"),
            ),
            (series(1, None), "2026-01-05T10:00:00Z", Quote::tick(d("50"))),
            (series(2, Some(Interval::Hour)), "2026-01-05T10:00:00Z", candle("1", "1", "1", "1", "1")),
            (
                series(1, Some(Interval::Minutes30)),
                "2026-01-05T10:30:00Z",
                candle("11", "11.5", "8", "8.5", "0.5"),
            ),
        ],
    );
    let [hour] = candles.as_slice() else { panic!("one candle") };
    // The better source makes it, with the longer of its intervals.
    assert_eq!(hour.series, series(1, Some(Interval::Minutes30)));
    assert_eq!([&hour.open, &hour.high, &hour.low, &hour.close], [&d("10"), &d("12"), &d("8"), &d("8.5")]);
    assert_eq!((&hour.volume, hour.points), (&Some(d("100.5")), 2));
}

#[test]
fn a_day_of_utc_is_none_of_new_york() {
    let day = |when| (series(0, Some(Interval::Day)), when, candle("1", "2", "1", "2", "3"));
    let points = || vec![day("2026-01-05T00:00:00Z"), day("2026-01-06T00:00:00Z")];
    let (candles, odd) = all(Grid { interval: Interval::Day, zone: Tz::America__New_York }, points());
    assert_eq!((candles.len(), odd), (0, 2));
    let (candles, odd) = all(Grid { interval: Interval::Week, zone: Tz::UTC }, points());
    assert_eq!((candles.len(), odd, candles[0].volume.clone()), (1, 0, Some(d("6"))));
    let (candles, odd) =
        all(Grid { interval: Interval::Day, zone: Tz::America__New_York }, vec![day("2026-03-08T05:00:00Z")]);
    assert_eq!((candles.len(), odd, candles[0].end), (1, 0, at("2026-03-09T04:00:00Z")));
}

proptest! {
    /// Minutes rolled up to hours and those to days are the days of the minutes.
    #[test]
    fn by_steps_and_at_once_is_the_same(
        minutes in proptest::collection::btree_map(0_i64..6_000, (1_i64..999, 1_i64..999, 0_i64..50), 1..80), zone in 0_usize..3,
    ) {
        let zone = [Tz::UTC, Tz::America__New_York, Tz::Australia__Lord_Howe][zone];
        let first = at("2026-03-06T12:00:00Z");
        let roll = |grid: Grid, points: Vec<(Series, Moment, Quote)>| {
            let mut rollup = Rollup::new(grid);
            let mut candles: Vec<Candle> =
                points.into_iter().filter_map(|(series, when, quote)| rollup.add(series, when, quote)).collect();
            candles.extend(rollup.finish());
            candles
        };
        let quote = |(a, b, volume): (i64, i64, i64)| Quote::new(Decimal::from(a), Bar {
            open: Some(Decimal::from(b)), high: Some(Decimal::from(a.max(b) + 1)),
            low: Some(Decimal::from(a.min(b) - 1)), volume: Some(Decimal::from(volume)),
        });
        let points: Vec<_> = minutes.iter()
            .map(|(minute, numbers)| (series(0, Some(Interval::Minute)), first.plus(minute * 60_000_000), quote(*numbers)))
            .collect();
        let days = roll(Grid { interval: Interval::Day, zone }, points.clone());
        let hours = roll(Grid { interval: Interval::Hour, zone }, points);
        let again = hours.into_iter().map(|hour| {
            let Candle { start, open, high, low, close, volume, .. } = hour;
            let quote = Quote::new(close, Bar { open: Some(open), high: Some(high), low: Some(low), volume });
            (series(0, None), start, quote)
        });
        let figures = |candles: Vec<Candle>| -> Vec<_> {
            candles.into_iter().map(|c| (c.start, c.end, c.open, c.high, c.low, c.close, c.volume, c.missing_before)).collect()
        };
        prop_assert_eq!(figures(roll(Grid { interval: Interval::Day, zone }, again.collect())), figures(days));
    }
}

//! Candles by hand, and the laws of every roll-up.

use super::*;
use crate::domain::ids::{AssetKey, SourceKey};
use crate::domain::price_block::{Block, encode};
use crate::domain::price_version::{SeriesKey, Version};
use proptest::prelude::*;
use std::collections::BTreeMap;

fn d(text: &str) -> Decimal {
    text.parse().unwrap()
}

fn at(text: &str) -> Moment {
    Moment::parse(text).unwrap()
}

fn series(rank: usize, made_of: Option<Interval>) -> Series {
    Series { rank, source: format!("s{rank}").into(), made_of: Reverse(made_of) }
}

fn candle(open: &str, high: &str, low: &str, close: &str, volume: &str) -> Quote {
    let some = |text| Some(d(text));
    Quote::new(d(close), Bar { open: some(open), high: some(high), low: some(low), volume: some(volume) })
}

fn version(at: Moment, quote: Quote) -> Version {
    Version {
        observed_at: at,
        seq: 0,
        recorded_at: Moment(0),
        ended_at: Moment::MAX,
        withdrawn: false,
        quote,
    }
}

type Point = (Series, Moment, Quote);

/// Each point a stretch of its own.
fn one_by_one(grid: Grid, points: Vec<Point>) -> (Vec<Candle>, u64) {
    let (mut rollup, mut candles) = (Rollup::new(grid), Vec::new());
    for (series, when, quote) in points {
        let mut run = Run::default();
        run.push_versions(vec![version(when, quote)]);
        let mut runs = [(series, run)];
        candles.extend(std::iter::from_fn(|| rollup.next(&mut runs)));
    }
    candles.extend(rollup.finish());
    (candles, rollup.not_fitting())
}

fn all(grid: Grid, points: Vec<(Series, &str, Quote)>) -> (Vec<Candle>, u64) {
    one_by_one(grid, points.into_iter().map(|(series, when, quote)| (series, at(when), quote)).collect())
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
        let roll = |grid: Grid, points: Vec<Point>| one_by_one(grid, points).0;
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

/// The plainest roll-up: every point is put into its candle, every candle is made of all its points.
fn plainly(grid: Grid, points: &[Point]) -> (Vec<Candle>, u64) {
    let mut candles: BTreeMap<(Moment, Moment), BTreeMap<Series, Vec<Quote>>> = BTreeMap::new();
    let mut not_fitting = 0;
    for (series, when, quote) in points {
        let start = grid.interval.start_of(*when, grid.zone).unwrap();
        let end = grid.interval.next_start(start, grid.zone).unwrap();
        let ends = series.made_of.0.map_or(*when, |own| own.end_of(*when, grid.zone).unwrap());
        if ends <= end {
            let told = candles.entry((start, end)).or_default();
            told.entry(series.clone()).or_default().push(quote.clone());
        } else {
            not_fitting += 1;
        }
    }
    let mut given_to = None;
    let candle = |((start, end), told): ((Moment, Moment), BTreeMap<Series, Vec<Quote>>)| {
        let (series, quotes) = told.into_iter().next().unwrap();
        let open = |quote: &Quote| quote.bar().open.clone().unwrap_or_else(|| quote.price.clone());
        let high = |quote: &Quote| quote.bar().high.clone().unwrap_or_else(|| quote.price.clone());
        let low = |quote: &Quote| quote.bar().low.clone().unwrap_or_else(|| quote.price.clone());
        let next = |at: &Moment| grid.interval.next_start(*at, grid.zone);
        let steps = std::iter::successors(given_to, next).take_while(|at| *at < start);
        let missing_before = u64::try_from(steps.count()).unwrap();
        given_to = Some(end);
        Candle {
            start,
            end,
            open: open(quotes.first().unwrap()),
            high: quotes.iter().flat_map(|quote| [high(quote), open(quote)]).max().unwrap(),
            low: quotes.iter().flat_map(|quote| [low(quote), open(quote)]).min().unwrap(),
            close: quotes.last().unwrap().price.clone(),
            volume: quotes.iter().map(|quote| quote.bar().volume.clone()).sum::<Option<Decimal>>(),
            points: u64::try_from(quotes.len()).unwrap(),
            series,
            missing_before,
        }
    };
    (candles.into_iter().map(candle).collect(), not_fitting)
}

fn number() -> impl Strategy<Value = Decimal> {
    prop_oneof![
        20 => (-500_i128..50_000, 0_u32..3).prop_map(|(mantissa, scale)| Decimal::new(mantissa, scale)),
        1 => (any::<i64>(), 0_u32..19).prop_map(|(mantissa, scale)| Decimal::new(mantissa.into(), scale)),
        1 => (any::<i128>(), 0_u32..30).prop_map(|(mantissa, scale)| Decimal::new(mantissa, scale)),
    ]
}

/// Points of one series: ticks, candles that tell everything, or some of each, over four days.
fn told(most: usize) -> impl Strategy<Value = BTreeMap<i64, Quote>> {
    let bar = prop::array::uniform4(prop::option::weighted(0.8, number()));
    let minutes = prop_oneof![(0_i64..96).prop_map(|hour| hour * 60), (0_i64..384).prop_map(|n| n * 15)];
    let moment = (minutes, prop_oneof![9 => Just(0), 1 => -900_000_000_i64..900_000_000])
        .prop_map(|(minute, off)| minute * 60_000_000 + off);
    (0_u8..3, prop::collection::btree_map(moment, (number(), bar), 0..most)).prop_map(|(kind, points)| {
        let quote = |(price, bar): (Decimal, [Option<Decimal>; 4])| {
            let [open, high, low, volume] = match kind {
                0 => [const { None }; 4],
                1 => bar.map(|field| field.or_else(|| Some(price.clone()))),
                _ => bar,
            };
            Quote::new(price, Bar { open, high, low, volume })
        };
        points.into_iter().map(|(at, told)| (at, quote(told))).collect()
    })
}

/// Some points as rows of a block that has more.
fn columns(all: &[Version]) -> Columns {
    let key = SeriesKey { asset: AssetKey(1), source: SourceKey(1), candle: "" };
    Block::open(&encode(&[(key, all)]).unwrap()).unwrap().quotes().unwrap()
}

proptest! {
    /// However points are parted into stretches, blocks and versions, the candles are those of each point by itself.
    #[test]
    fn columns_tell_what_points_tell(
        every in prop::collection::vec(told(90), 5),
        cuts in prop::collection::btree_set(0_i64..96, 0..5),
        pieces in prop::collection::vec(0_u8..4, 40),
        (interval, zone) in (0_usize..5, 0_usize..3),
    ) {
        let zone = [Tz::UTC, Tz::America__New_York, Tz::Australia__Lord_Howe][zone];
        let interval = [Interval::Minutes15, Interval::Minutes30, Interval::Hour, Interval::Hours4, Interval::Day][interval];
        let grid = Grid { interval, zone };
        let first = at("2026-03-06T12:00:00Z");
        let names = [
            series(0, None), series(0, Some(Interval::Minutes15)), series(1, Some(Interval::Hour)),
            series(1, Some(Interval::Day)), series(usize::MAX, None),
        ];
        let mut points: Vec<Point> = names.iter().zip(&every)
            .flat_map(|(name, told)| told.iter().map(|(at, quote)| (name.clone(), first.plus(*at), quote.clone())))
            .collect();
        points.sort_by_key(|(_, when, _)| *when);
        let whole: Vec<Vec<Version>> = every.iter()
            .map(|told| told.iter().map(|(at, quote)| version(first.plus(*at), quote.clone())).collect())
            .collect();
        let (mut rollup, mut candles) = (Rollup::new(grid), Vec::new());
        let mut pieces = pieces.iter().cycle();
        let mut from = Moment::MIN;
        for to in cuts.iter().map(|hour| first.plus(hour * 3_600_000_000)).chain([Moment::MAX]) {
            let mut runs = Vec::new();
            for (name, versions) in names.iter().zip(&whole) {
                let mut run = Run::default();
                let end = versions.partition_point(|version| version.observed_at < to);
                let mut row = versions.partition_point(|version| version.observed_at < from);
                while row < end {
                    let kind = *pieces.next().unwrap();
                    let next = if kind < 2 { end } else { (row + 7).min(end) };
                    if kind % 2 == 0 {
                        run.push_columns(columns(versions), row..next);
                    } else {
                        run.push_versions(versions[row..next].to_vec());
                    }
                    row = next;
                }
                runs.push((name.clone(), run));
            }
            candles.extend(std::iter::from_fn(|| rollup.next(&mut runs)));
            from = to;
        }
        candles.extend(rollup.finish());
        let expected = plainly(grid, &points);
        prop_assert_eq!((candles, rollup.not_fitting()), (expected.0.clone(), expected.1));
        prop_assert_eq!(one_by_one(grid, points), expected);
    }
}

#[test]
fn what_lies_past_the_end_of_the_calendar_is_in_no_candle() {
    let grid = Grid { interval: Interval::Minute, zone: Tz::UTC };
    for by_columns in [false, true] {
        let moments = [Moment::MIN, Moment(5), Moment::MAX.plus(-1), Moment::MAX];
        let versions: Vec<Version> = moments.map(|at| version(at, Quote::tick(d("1")))).to_vec();
        let mut run = Run::default();
        if by_columns {
            run.push_columns(columns(&versions), 0..4);
        } else {
            run.push_versions(versions);
        }
        let (mut rollup, mut runs) = (Rollup::new(grid), [(series(0, None), run)]);
        let made: Vec<Candle> = std::iter::from_fn(|| rollup.next(&mut runs)).collect();
        assert_eq!(made.iter().map(|candle| candle.start).collect::<Vec<_>>(), [Moment(0)]);
        assert_eq!((rollup.finish(), rollup.not_fitting()), (None, 3));
    }
}

#[test]
fn what_is_missing_is_counted_by_the_clock_near_by_and_by_length_far_away() {
    let berlin = Tz::Europe__Berlin;
    let missing = |interval, zone, times: [&str; 2]| {
        let tick = |when| (series(0, None), when, Quote::tick(d("1")));
        let (candles, _) = all(Grid { interval, zone }, times.map(tick).to_vec());
        candles[1].missing_before
    };
    // 29 March 2026 has 23 hours in Berlin, and a candle from midnight to four is one of three hours.
    let spring = ["2026-03-28T22:30:00Z", "2026-03-29T22:30:00Z"];
    assert_eq!(missing(Interval::Hours4, berlin, spring), 6);
    assert_eq!(missing(Interval::Hour, Tz::UTC, spring), 23);
    // 30 days of seconds, but for the one that is there.
    let month = ["2026-01-01T00:00:00Z", "2026-01-31T00:00:00Z"];
    assert_eq!(missing(Interval::Second, Tz::UTC, month), 30 * 86_400 - 1);
    // Months differ in length, however many there are.
    let ages = ["1000-01-15T00:00:00Z", "2000-01-15T00:00:00Z"];
    assert_eq!(missing(Interval::Month, Tz::UTC, ages), 11_999);
}

#[test]
fn the_highest_and_lowest_are_among_the_opens_too_where_one_of_the_two_is_not_told() {
    // Of columns with an open and a high, or an open and a low.
    let bar = |high: Option<&str>, low: Option<&str>| Bar {
        open: Some(d("9")),
        high: high.map(d),
        low: low.map(d),
        volume: None,
    };
    let key = SeriesKey::named(AssetKey(1), SourceKey(1), "1m").unwrap();
    let rolled = |bar: Bar| {
        let first = at("2026-01-05T10:00:00Z");
        let quotes = [Quote::new(d("10"), bar.clone()), Quote::new(d("11"), bar)];
        let versions: Vec<Version> = quotes
            .into_iter()
            .zip([0, 60_000_000])
            .map(|(quote, more)| version(first.plus(more), quote))
            .collect();
        let bytes = encode(&[(key, &versions)]).unwrap();
        let columns = Block::open(&bytes).unwrap().quotes().unwrap();
        let built = Building::of_rows(&columns, 0..2).unwrap();
        [built.open, built.high, built.low, built.close].map(|number| number.to_string())
    };
    assert_eq!(rolled(bar(Some("12"), None)), ["9", "12", "9", "11"]);
    assert_eq!(rolled(bar(None, Some("8"))), ["9", "11", "8", "11"]);
    assert_eq!(rolled(bar(None, None)), ["9", "11", "9", "11"]);
}

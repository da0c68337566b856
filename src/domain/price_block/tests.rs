#![cfg(test)]

use super::*;
use crate::domain::price::{Bar, Quote};
use proptest::prelude::*;

fn decimal() -> impl Strategy<Value = Decimal> {
    prop_oneof![
        8 => (-1_000_000_i128..10_000_000, 0_u32..4).prop_map(|(mantissa, scale)| Decimal::new(mantissa, scale)),
        1 => (any::<i64>(), 0_u32..19).prop_map(|(mantissa, scale)| Decimal::new(mantissa.into(), scale)),
        1 => (any::<i128>(), 0_u32..40).prop_map(|(mantissa, scale)| Decimal::new(mantissa, scale)),
        // Beyond 128 bits.
        1 => (any::<i128>(), any::<i128>()).prop_map(|(a, b)| Decimal::new(a, 9) * Decimal::new(b, 9)),
    ]
}

prop_compose! {
    fn version()(
        at in prop_oneof![any::<i64>(), (0_i64..100).prop_map(|minute| minute * 60_000_000)],
        seq in prop_oneof![any::<i64>(), 0_i64..1_000],
        (recorded_at, ended_at) in (any::<i64>(), prop_oneof![Just(i64::MAX), any::<i64>()]),
        withdrawn in prop::bool::weighted(0.1),
        price in decimal(),
        rest in prop::option::of([prop::option::of(decimal()), prop::option::of(decimal()),
            prop::option::of(decimal()), prop::option::of(decimal())]),
    ) -> Version {
        let [open, high, low, volume] = rest.unwrap_or_default();
        let quote = Quote::new(price, Bar { open, high, low, volume });
        let (recorded_at, ended_at) = (Moment(recorded_at), Moment(ended_at));
        Version { observed_at: Moment(at), seq, recorded_at, ended_at, withdrawn, quote }
    }
}

fn key(asset: i64, candle: &str) -> SeriesKey {
    SeriesKey::named(AssetKey(asset), SourceKey(asset ^ 5), candle).unwrap()
}

/// What a block says, with every digit as it is written.
fn read(bytes: &[u8]) -> Result<Vec<(SeriesKey, String)>, BlockError> {
    let block = Block::open(bytes)?;
    let mut found = Vec::new();
    for (series, rows) in block.series() {
        for version in block.versions(rows.clone())? {
            found.push((*series, format!("{version:?}")));
        }
    }
    Ok(found)
}

fn written(runs: &[(SeriesKey, &[Version])]) -> Vec<(SeriesKey, String)> {
    runs.iter().flat_map(|(key, run)| run.iter().map(|version| (*key, format!("{version:?}")))).collect()
}

fn ticks(count: i64) -> Vec<Version> {
    (0..count)
        .map(|n| Version {
            observed_at: Moment(1_700_000_000_000_000 + n * 1_000_000),
            seq: 40 + n * 7,
            recorded_at: Moment(1_800_000_000_000_000),
            ended_at: Moment::MAX,
            withdrawn: false,
            quote: Quote::tick(Decimal::new((4_000_000 + n * n % 977).into(), 2)),
        })
        .collect()
}

proptest! {
    #[test]
    fn what_is_read_back_is_equal_to_the_last_digit(
        runs in prop::collection::vec(prop::collection::vec(version(), 0..130), 0..4)
    ) {
        let keys = [key(-3, ""), key(0, "1d"), key(7, "1M"), key(i64::MAX, "1m")];
        let runs: Vec<(SeriesKey, &[Version])> = keys.into_iter().zip(runs.iter().map(Vec::as_slice)).collect();
        let bytes = encode(&runs).unwrap();
        prop_assert_eq!(read(&bytes).unwrap(), written(&runs));
        let block = Block::open(&bytes).unwrap();
        let prices = block.prices().unwrap();
        for (row, version) in runs.iter().flat_map(|(_, run)| *run).enumerate() {
            prop_assert_eq!(prices.get(row).unwrap().to_string(), version.quote.price.to_string());
        }
        prop_assert!(prices.get(block.rows()).is_none());
    }

    #[test]
    fn a_changed_block_is_an_error(
        versions in prop::collection::vec(version(), 1..90),
        place in any::<prop::sample::Index>(),
        change in 1_u8..,
    ) {
        let mut bytes = encode(&[(key(1, "1h"), &versions)]).unwrap();
        let place = place.index(bytes.len());
        bytes[place] ^= change;
        prop_assert!(read(&bytes).is_err());
    }

    #[test]
    fn a_torn_block_is_an_error(
        versions in prop::collection::vec(version(), 1..90), place in any::<prop::sample::Index>()
    ) {
        let bytes = encode(&[(key(1, "1h"), &versions)]).unwrap();
        prop_assert!(read(&bytes[..place.index(bytes.len())]).is_err());
    }

    /// A block with a check sum of its own may say anything, and must not bring the program down.
    #[test]
    fn foreign_bytes_never_panic(
        count in 1_i64..300,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut bytes = encode(&[(key(1, ""), &ticks(count))]).unwrap();
        for (place, byte) in changes {
            let place = HEADER + place.index(bytes.len() - HEADER);
            bytes[place] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(HEADER.max(cut.index(bytes.len())));
        }
        let sum = check_sum(&bytes[HEADER..]);
        bytes[1..HEADER].copy_from_slice(&sum.to_le_bytes());
        if let Ok(rows) = read(&bytes) {
            prop_assert!(rows.len() <= POINTS_MAX);
        }
    }
}

#[test]
fn another_layout_is_named() {
    let mut bytes = encode(&[(key(1, ""), &ticks(3))]).unwrap();
    bytes[0] = 9;
    assert_eq!(read(&bytes), Err(BlockError::Layout(9)));
    assert_eq!(read(&[]), Err(BlockError::Short));
}

#[test]
fn a_tick_takes_about_four_bytes() {
    let ticks = ticks(4_096);
    let bytes = encode(&[(key(1, ""), &ticks)]).unwrap();
    assert!(bytes.len() < 4 * ticks.len(), "{} bytes", bytes.len());
}

#[test]
fn a_single_odd_number_does_not_widen_its_column() {
    let mut ticks = ticks(4_096);
    let plain = encode(&[(key(1, ""), &ticks)]).unwrap().len();
    ticks[77].quote.price = "1234567890.123456789012345678".parse().unwrap();
    ticks[78].quote.price = "4000.5".parse().unwrap();
    let odd = encode(&[(key(1, ""), &ticks)]).unwrap();
    assert!(odd.len() < plain * 5 / 4, "{} bytes, {plain} without", odd.len());
    assert_eq!(read(&odd).unwrap(), written(&[(key(1, ""), &ticks)]));
}

/// A page of the disk that lost a bit is told, and never brings the service down.
#[test]
fn a_damaged_block_is_refused_or_read_and_nothing_else() {
    let mut some = ticks(300);
    some[7].quote.price = "1234567890.123456789012345678".parse().unwrap();
    some[9].withdrawn = true;
    let blocks = [
        encode(&[(key(1, ""), &some)]).unwrap(),
        encode(&[(key(1, ""), &some[..3]), (key(2, "1d"), &some[3..40])]).unwrap(),
        encode(&[(key(9, "1m"), &ticks(1))]).unwrap(),
    ];
    crate::domain::hammer::hammer(&blocks, |bytes| drop(read(bytes)));
}

/// Blocks that were written must be readable for good: the sum of a text, worked out by hand in Python.
#[test]
fn the_check_sum_is_that_of_every_block_ever_written() {
    assert_eq!(check_sum(b""), 0xdf44_2d24_3469_30af);
    assert_eq!(check_sum(b"abc"), 0x60e5_40cd_37ad_25b2);
    assert_eq!(check_sum(b"the bytes of a block of prices"), 0x0441_0af8_6c2e_4671);
}

#[test]
fn a_block_tells_the_order_of_learning_and_whether_it_hides_points() {
    let mut some = ticks(3);
    let told = |some: &[Version]| {
        let bytes = encode(&[(key(1, ""), some)]).unwrap();
        let block = Block::open(&bytes).unwrap();
        (block.seqs().unwrap(), block.withdraws().unwrap())
    };
    assert_eq!(told(&some), (vec![40, 47, 54], false));
    some[1].withdrawn = true;
    assert_eq!(told(&some), (vec![40, 47, 54], true));
}

#[test]
fn rows_without_prices_are_no_block_and_no_rows_need_none() {
    let none = decimals::encode(&[]).unwrap();
    let moments = numbers::encode(&[7], Shape::Moments).unwrap();
    let mut columns: [&[u8]; COLUMNS] = [&none; COLUMNS];
    columns[0] = &moments;
    let block = Block { series: Vec::new(), rows: 1, columns };
    assert_eq!(block.quotes().unwrap_err(), BlockError::Malformed("lacks a price"));
    let empty = encode(&[]).unwrap();
    assert!(Block::open(&empty).unwrap().quotes().unwrap().moments.is_empty());
}

#[test]
fn a_block_of_more_points_than_any_of_ours_is_refused_before_room_is_made_for_them() {
    let of = |points: usize| {
        let mut bytes = Vec::new();
        push_count(1, &mut bytes);
        push_number(1, &mut bytes);
        push_number(1, &mut bytes);
        push_section(b"1d", &mut bytes);
        push_count(points.try_into().unwrap(), &mut bytes);
        Block::parse(Reader(&bytes)).unwrap_err()
    };
    // What has an allowed number of points lacks its columns.
    assert_eq!(of(1 << 20), BlockError::Short);
    assert_eq!(of((1 << 20) + 1), BlockError::Malformed("has too many points"));
    assert_eq!(of(usize::MAX), BlockError::Malformed("has too many points"));
}

/// A column of 512 packed numbers is one of no other count, though 256 of them are read at a time.
#[test]
fn a_packed_column_of_another_count_is_malformed() {
    let values: Vec<i64> = (0..512).map(|n: i64| n * n * n).collect();
    let packed = numbers::encode(&values, Shape::Any).unwrap();
    assert_eq!(numbers::decode(&packed, 512).unwrap(), values);
    for count in [256, 511, 513, 768] {
        assert!(numbers::decode(&packed, count).is_err(), "{count}");
    }
}

/// Numbers beyond 64 bits stand in rows of the column, in order, each once.
#[test]
fn a_wide_number_in_no_row_of_its_column_is_malformed() {
    let wide = Decimal::new(i128::MAX, 0);
    let bytes = decimals::encode(&[Some(&wide), Some(&wide)]).unwrap();
    assert_eq!(Decimals::decode(&bytes, 2).unwrap().get(1), Some(wide.clone()));
    // The place of a number is the byte before the length of its text.
    let length = wide.to_string().len();
    let places: Vec<usize> =
        (1..bytes.len()).filter(|at| usize::from(bytes[*at]) == length).map(|at| at - 1).collect();
    assert_eq!(places.iter().map(|at| bytes[*at]).collect::<Vec<_>>(), [0, 1]);
    for (first, second) in [(2, 3), (0, 2), (0, 0), (1, 0)] {
        let mut other = bytes.clone();
        (other[places[0]], other[places[1]]) = (first, second);
        assert!(Decimals::decode(&other, 2).is_err(), "{first} {second}");
    }
}

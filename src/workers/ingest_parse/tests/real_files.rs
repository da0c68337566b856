//! The price files beside the project, whole: how many rows each gives, and single rows checked by eye.

use super::{BidAsk, Options, Parsed, mapped, of_symbol, parse, shown, sided};
use crate::workers::ingest_parse::Field;
use chrono_tz::Tz;

fn file(name: &str, options: &Options) -> Parsed {
    let path = format!("{}/../shared/data/{name}", env!("CARGO_MANIFEST_DIR"));
    let parsed = parse(&std::fs::read(path).unwrap(), options).unwrap();
    let refused: Vec<String> = parsed.refused.iter().map(ToString::to_string).collect();
    println!(
        "{name}: {} rows, {} refused, {} of other symbols, {} ambiguous times; {:?}; first {:?}",
        parsed.rows.len(),
        refused.len(),
        parsed.other_symbols,
        parsed.ambiguous_times,
        refused.iter().take(3).collect::<Vec<_>>(),
        parsed.rows.first().map(shown),
    );
    parsed
}

fn counts(parsed: &Parsed) -> (usize, usize, u64, u64) {
    (parsed.rows.len(), parsed.refused.len(), parsed.other_symbols, parsed.ambiguous_times)
}

#[test]
#[ignore = "needs ../shared"]
fn every_row_of_plain_price_files_is_taken() {
    let plain = [
        ("btcusd_coinbase_1d.csv", 1_318),
        ("btcusd_coinbase_1m_2017-12-17.csv", 1_440),
        ("btcusd_bitfinex_1h.csv", 733),
        ("btcusdt_binance_1h.csv", 120),
        ("gold_usd_monthly_worldbank.csv", 2_322),
        ("aapl_us_1d_raw.csv", 5_849),
        ("btc-usd_yahoo_1d.csv", 4_213),
        ("gc-f_yahoo_1d.csv", 6_418),
    ];
    for (name, rows) in plain {
        assert_eq!(counts(&file(name, &Options::default())), (rows, 0, 0, 0), "{name}");
    }
}

#[test]
#[ignore = "needs ../shared"]
fn bids_and_asks_in_new_york_time_become_mids_in_utc() {
    let options = Options { time_zone: Some(Tz::America__New_York), ..sided(BidAsk::Mid) };
    let daily = file("xauusd_oanda_1d_bidask.csv", &options);
    assert_eq!(counts(&daily), (3_949, 0, 0, 0));
    assert_eq!(shown(&daily.rows[0]), "2 2006-03-20T05:00:00.000000Z 554.35 554.05 556.85 550.05 -");
    let hourly = file("xauusd_oanda_1h_bidask_2018.csv", &options);
    assert_eq!(counts(&hourly), (5_806, 0, 0, 0));
    // Without a zone every row is refused, none is taken for UTC.
    assert_eq!(counts(&file("eurusd_oanda_1d_bidask.csv", &sided(BidAsk::Bid))), (0, 3_738, 0, 0));
}

#[test]
#[ignore = "needs ../shared"]
fn one_symbol_is_taken_from_a_file_of_many() {
    for (symbol, rows) in [("AAPL", 3_270), ("FB", 196), ("goog", 2_148)] {
        let parsed = file("stocks_wiki_1d_raw_and_adj.csv", &of_symbol(symbol));
        let others = u64::try_from(12_154 - rows).unwrap();
        assert_eq!(counts(&parsed), (rows, 0, others, 0), "{symbol}");
    }
}

#[test]
#[ignore = "needs ../shared"]
fn a_missing_rate_is_refused_never_zero() {
    let rubles = file("ecb_eurofxref_1d.csv", &mapped(Field::Price, "RUB"));
    assert_eq!(rubles.rows.len() + rubles.refused.len(), 7_126);
    assert!(rubles.refused.iter().all(|refusal| refusal.detail.contains("`N/A`")));
    assert_eq!(
        rubles.rows.last().map(|row| row.observed_at.to_string()).unwrap(),
        "2022-03-01T00:00:00.000000Z"
    );
}

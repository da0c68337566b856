//! Frames and answers as Kraken documents them.

use super::*;
use crate::domain::interval::Interval;
use crate::workers::feeds::definition::Kind;
use crate::workers::feeds::kinds;

fn feed(channel: Channel) -> Definition {
    let pair = Pair { symbol: "BTC-USD".to_owned(), venue: "BTC/USD".to_owned() };
    let interval = (channel == Channel::Candles).then_some(Interval::Minute);
    Definition { channel, interval, ..kinds::usual("k", Kind::Kraken, vec![pair], None) }
}

#[test]
fn numbers_of_version_2_are_read_from_their_tokens() {
    let text = r#"{"channel":"trade","type":"update","data":[{"symbol":"BTC/USD","side":"buy","price":105944.20,"qty":0.00027625,"ord_type":"limit","trade_id":10218208,"timestamp":"2023-10-06T17:35:55.440295Z"},{"symbol":"BTC/USD","side":"sell","price":105910.50,"qty":0.00012460,"ord_type":"market","trade_id":10218209,"timestamp":"2023-10-06T17:35:56.123456Z"}]}"#;
    let events = read(text, &feed(Channel::Trades)).unwrap();
    let [Event::Trade(symbol, first), Event::Trade(_, second)] = events.as_slice() else {
        panic!("{events:?}")
    };
    assert_eq!(
        (symbol.as_str(), first.number, second.number),
        ("BTC/USD", Some(10_218_208), Some(10_218_209))
    );
    let digits = [&first.price, first.size.as_ref().unwrap(), &second.price, second.size.as_ref().unwrap()];
    assert_eq!(digits.map(ToString::to_string), ["105944.20", "0.00027625", "105910.50", "0.00012460"]);
    assert_eq!(read(text, &feed(Channel::Candles)).unwrap(), [Event::Alive]);
}

#[test]
fn a_candle_of_version_2_is_running() {
    let text = r#"{"channel":"ohlc","type":"update","data":[{"symbol":"BTC/USD","interval":1,"interval_begin":"2023-10-04T16:25:00.000000000Z","open":106038.2,"high":106044.3,"low":106038.1,"close":106040.1,"volume":30927.68066226,"vwap":106039.6,"trades":12}]}"#;
    let events = read(text, &feed(Channel::Candles)).unwrap();
    let [Event::Running(_, candle)] = events.as_slice() else { panic!("{events:?}") };
    assert_eq!(candle.start, Moment::parse("2023-10-04T16:25:00Z").unwrap());
    let quote = &candle.quote;
    let parts = [
        Some(&quote.price),
        quote.bar().open.as_ref(),
        quote.bar().high.as_ref(),
        quote.bar().low.as_ref(),
        quote.bar().volume.as_ref(),
    ];
    assert_eq!(
        parts.map(|part| part.unwrap().to_string()),
        ["106040.1", "106038.2", "106044.3", "106038.1", "30927.68066226"]
    );
    // A candle of another length is none of this feed's.
    assert_eq!(
        read(&text.replace("\"interval\":1,", "\"interval\":5,"), &feed(Channel::Candles)).unwrap(),
        []
    );
}

#[test]
fn answers_and_signs_of_life_are_told_apart() {
    let feed = feed(Channel::Trades);
    for (text, wanted) in [
        (
            r#"{"method":"subscribe","result":{"channel":"trade","symbol":"BTC/USD"},"success":true,"req_id":1}"#,
            Event::Subscribed,
        ),
        (
            r#"{"error":"Currency pair not supported X/Y","method":"subscribe","success":false}"#,
            Event::Refused("Currency pair not supported X/Y".to_owned()),
        ),
        (r#"{"channel":"heartbeat"}"#, Event::Alive),
        (r#"{"channel":"status","type":"update","data":[{"system":"online"}]}"#, Event::Alive),
        (r#"{"method":"pong","req_id":42,"time_in":"2023-09-25T09:05:00.123456Z"}"#, Event::Alive),
    ] {
        assert_eq!(read(text, &feed).unwrap(), [wanted], "{text}");
    }
}

#[test]
fn the_last_row_of_rest_is_running_and_left_out() {
    let body = br#"{"error":[],"result":{"XXBTZUSD":[[1700000000,"37000.0","37500.0","36800.0","37200.0","37100.0","150.5",320],[1700000060,"1","1","1","1","1","1",1]],"last":1700000000}}"#;
    let candles = candles(body).unwrap();
    assert_eq!(candles.len(), 1);
    let quote = &candles[0].quote;
    let parts = [
        Some(&quote.price),
        quote.bar().open.as_ref(),
        quote.bar().high.as_ref(),
        quote.bar().low.as_ref(),
        quote.bar().volume.as_ref(),
    ];
    assert_eq!(
        parts.map(|part| part.unwrap().to_string()),
        ["37200.0", "37000.0", "37500.0", "36800.0", "150.5"]
    );
}

#[test]
fn an_error_that_comes_with_status_200_is_an_error() {
    let limited = candles(br#"{"error":["EAPI:Rate limit exceeded"]}"#).unwrap_err();
    assert!(!limited.is_hopeless() && limited.retry_after(0).is_some());
    let unknown = trades(br#"{"error":["EQuery:Unknown asset pair"]}"#).unwrap_err();
    assert!(unknown.is_hopeless() && unknown.to_string().contains("EQuery:Unknown asset pair"));
    assert!(candles(br#"{"error":[],"result":{"A":[],"B":[]}}"#).is_err());
}

#[test]
fn trades_of_rest_have_a_float_for_a_time_and_lose_what_is_below_a_microsecond() {
    let body = br#"{"error":[],"result":{"XBTUSDT":[["105433.60000","0.00027625",1762795433.9717445,"b","l","",10218208]],"last":"1762820035982277754"}}"#;
    let (rows, last) = trades(body).unwrap();
    assert_eq!((rows[0].number, rows[0].at), (Some(10_218_208), Moment(1_762_795_433_971_744)));
    assert_eq!(
        (rows[0].price.to_string(), last.as_str()),
        ("105433.60000".to_owned(), "1762820035982277754")
    );
}

#[test]
fn rest_has_older_names_for_bitcoin_and_doge() {
    let named = ["BTC/USD", "XBT/USD", "DOGE/EUR", "ETH/BTC", "XBTUSD"].map(rest_pair);
    assert_eq!(named, ["XBTUSD", "XBTUSD", "XDGEUR", "ETHXBT", "XBTUSD"]);
}

//! Frames and answers as Coinbase Exchange documents them.

use super::*;
use crate::workers::feeds::definition::Kind;
use crate::workers::feeds::kinds;

fn feed(channel: Channel) -> Definition {
    let pair = Pair { symbol: "BTC-USD".to_owned(), venue: "BTC-USD".to_owned() };
    Definition { channel, ..kinds::usual("c", Kind::Coinbase, vec![pair], None) }
}

#[test]
fn a_subscription_names_products_and_channels() {
    let wanted = r#"{"type":"subscribe","product_ids":["BTC-USD"],"channels":["matches","heartbeat"]}"#;
    assert_eq!(subscribe(&feed(Channel::Trades)), wanted);
    assert_eq!(subscribe(&feed(Channel::Ticker)), wanted.replace("matches", "ticker"));
}

#[test]
fn matches_and_tickers_are_trades_of_their_channel_only() {
    let hit = r#"{"type":"match","trade_id":10,"sequence":50,"maker_order_id":"ac","taker_order_id":"13","time":"2014-11-07T08:19:27.028459Z","product_id":"BTC-USD","size":"5.23512","price":"400.230","side":"sell"}"#;
    let ticker = r#"{"type":"ticker","sequence":37475248783,"product_id":"BTC-USD","price":"22345.67","open_24h":"1","best_bid":"1","best_ask":"2","side":"buy","time":"2023-03-04T03:37:20.799258Z","trade_id":370843401,"last_size":"0.002"}"#;
    for (channel, text, number, price, size) in [
        (Channel::Trades, hit, 10, "400.230", "5.23512"),
        (Channel::Trades, &hit.replace("match", "last_match"), 10, "400.230", "5.23512"),
        (Channel::Ticker, ticker, 370_843_401, "22345.67", "0.002"),
    ] {
        let events = read(text, &feed(channel)).unwrap();
        let [Event::Trade(product, trade)] = events.as_slice() else { panic!("{events:?}") };
        assert_eq!((product.as_str(), trade.number), ("BTC-USD", Some(number)));
        assert_eq!(
            (trade.price.to_string(), trade.size.as_ref().unwrap().to_string()),
            (price.into(), size.into())
        );
    }
    assert_eq!(read(ticker, &feed(Channel::Trades)).unwrap(), [Event::Alive]);
    assert_eq!(read(hit, &feed(Channel::Ticker)).unwrap(), [Event::Alive]);
    // A product that was never traded has a ticker without a trade.
    let idle = r#"{"type":"ticker","sequence":1,"product_id":"BTC-USD","price":"0"}"#;
    assert_eq!(read(idle, &feed(Channel::Ticker)).unwrap(), [Event::Alive]);
}

#[test]
fn an_error_frame_is_a_refusal() {
    let text =
        r#"{"type":"error","message":"Failed to subscribe","reason":"NOPE-USD is not a valid product"}"#;
    let wanted = "Failed to subscribe: NOPE-USD is not a valid product".to_owned();
    assert_eq!(read(text, &feed(Channel::Trades)).unwrap(), [Event::Refused(wanted)]);
    assert_eq!(
        read(r#"{"type":"subscriptions","channels":[]}"#, &feed(Channel::Trades)).unwrap(),
        [Event::Subscribed]
    );
    assert!(
        read(
            "{\"type\":\"match\",\"trade_id\":1,\"time\":\"today\",\"price\":\"1\"}",
            &feed(Channel::Trades)
        )
        .is_err()
    );
}

#[test]
fn candles_are_time_low_high_open_close_newest_first() {
    let body = b"[[1591514160,0.02507,0.02509,0.02508,0.025075,0.02816506],[1591514100,0.1,0.4,0.2,0.3,7]]";
    let candles = candles(body).unwrap();
    assert_eq!(
        candles.iter().map(|candle| candle.start.0).collect::<Vec<_>>(),
        [1_591_514_100_000_000, 1_591_514_160_000_000]
    );
    let quote = &candles[0].quote;
    let parts = [
        Some(&quote.price),
        quote.bar().open.as_ref(),
        quote.bar().high.as_ref(),
        quote.bar().low.as_ref(),
        quote.bar().volume.as_ref(),
    ];
    assert_eq!(parts.map(|part| part.unwrap().to_string()), ["0.3", "0.2", "0.4", "0.1", "7"]);
}

#[test]
fn trades_of_rest_keep_their_digits() {
    let body = br#"[{"trade_id":12345,"side":"sell","size":"1.10000000","price":"7.00000000","time":"2021-04-17T16:43:30.244075Z"}]"#;
    let rows = trades(body).unwrap();
    assert_eq!((rows[0].number, rows[0].price.to_string()), (Some(12_345), "7.00000000".to_owned()));
    assert!(trades(br#"{"message":"NotFound"}"#).is_err());
}

//! What venues send, changed by chance: each decoder reads it or refuses it, and its numbers keep their digits.

use super::definition::{Channel, Definition, Kind, Pair};
use super::tape::Trade;
use super::wire::{Candle, Event};
use super::{binance, coinbase, ecb, fred, kinds, kraken, kraken_v1, yahoo};
use crate::domain::decimal::Decimal;
use crate::domain::hammer::hammer;
use crate::domain::interval::Interval;

fn feed(kind: Kind, venue: &str, channel: Channel) -> Definition {
    let pair = Pair { symbol: venue.to_owned(), venue: venue.to_owned() };
    let interval = (channel == Channel::Candles).then_some(Interval::Minute);
    Definition { channel, interval, ..kinds::usual("f", kind, vec![pair], None) }
}

fn check(number: &Decimal) {
    assert_eq!(number.to_string().parse::<Decimal>().as_ref(), Ok(number));
}

fn check_trade(trade: &Trade) {
    check(&trade.price);
    trade.size.iter().for_each(check);
}

fn check_candle(candle: &Candle) {
    check(&candle.quote.price);
}

/// Frames of one kind on each channel.
fn frames<E>(
    kind: Kind,
    venue: &str,
    read: impl Fn(&str, &Definition) -> Result<Vec<Event>, E>,
    frames: &[&str],
) {
    let feeds =
        [Channel::Trades, Channel::Ticker, Channel::Candles].map(|channel| feed(kind, venue, channel));
    hammer(frames, |bytes| {
        let Ok(text) = std::str::from_utf8(bytes) else { return };
        for event in feeds.iter().filter_map(|feed| read(text, feed).ok()).flatten() {
            match event {
                Event::Trade(_, trade) => check_trade(&trade),
                Event::Running(_, candle) | Event::Finished(_, candle) | Event::Point(_, candle) => {
                    check_candle(&candle);
                }
                Event::Last(_, price, size) => [price, size].iter().for_each(check),
                Event::Unfinished | Event::Subscribed | Event::Refused(_) | Event::Ending | Event::Alive => {}
            }
        }
    });
}

#[test]
fn binance_is_read_or_refused() {
    frames(
        Kind::Binance,
        "BNBBTC",
        binance::read,
        &[
            r#"{"e":"trade","E":1672515782136,"s":"BNBBTC","t":12345,"p":"0.0010","q":"100","T":1672515782136,"m":true,"M":true}"#,
            r#"{"stream":"bnbbtc@kline_1m","data":{"e":"kline","E":1,"s":"BNBBTC","k":{"t":1672515780000,"T":1672515839999,"s":"BNBBTC","i":"1m","o":"0.0010","c":"0.0020","h":"0.0025","l":"0.0015","v":"1000","n":100,"x":true,"q":"1.0"}}}"#,
        ],
    );
    let bodies = [
        r#"[[1499040000000,"0.01634790","0.80000000","0.01575800","0.01577100","148976.11427815",1499644799999,"2434.19055334",308,"1756.87402397","28.46694368","0"]]"#,
        r#"[{"a":26129,"p":"0.01633102","q":"4.70443515","f":27781,"l":27781,"T":1498793709153,"m":true,"M":true}]"#,
    ];
    hammer(&bodies, |body| {
        binance::klines(body).iter().flatten().for_each(check_candle);
        binance::trades(body).iter().flat_map(|(trades, _)| trades).for_each(check_trade);
    });
}

#[test]
fn coinbase_is_read_or_refused() {
    frames(
        Kind::Coinbase,
        "BTC-USD",
        coinbase::read,
        &[
            r#"{"type":"match","trade_id":10,"sequence":50,"time":"2014-11-07T08:19:27.028459Z","product_id":"BTC-USD","size":"5.23512","price":"400.230","side":"sell"}"#,
            r#"{"type":"ticker","sequence":37475248783,"product_id":"BTC-USD","price":"22345.67","time":"2023-03-04T03:37:20.799258Z","trade_id":370843401,"last_size":"0.002"}"#,
            r#"{"type":"error","message":"Failed to subscribe","reason":"x"}"#,
        ],
    );
    let bodies = [
        "[[1415398768,0.32,4.2,0.35,4.2,12.3],[1415398708,0.32,4.2,0.35,4.2,12.3]]",
        r#"[{"trade_id":74,"side":"buy","size":"0.01000000","price":"10.00000000","time":"2014-11-07T22:19:28.578544Z"}]"#,
    ];
    hammer(&bodies, |body| {
        coinbase::candles(body).iter().flatten().for_each(check_candle);
        coinbase::trades(body).iter().flatten().for_each(check_trade);
    });
}

#[test]
fn kraken_is_read_or_refused() {
    frames(
        Kind::Kraken,
        "BTC/USD",
        kraken::read,
        &[
            r#"{"channel":"trade","type":"update","data":[{"symbol":"BTC/USD","side":"buy","price":105944.20,"qty":0.00027625,"ord_type":"limit","trade_id":10218208,"timestamp":"2023-10-06T17:35:55.440295Z"}]}"#,
            r#"{"channel":"ohlc","type":"update","data":[{"symbol":"BTC/USD","interval":1,"interval_begin":"2023-10-04T16:25:00.000000000Z","open":106038.2,"high":106044.3,"low":106038.1,"close":106040.1,"volume":30927.68066226,"vwap":106039.6,"trades":12}]}"#,
            r#"{"method":"subscribe","success":false,"error":"Currency pair not supported"}"#,
        ],
    );
    frames(
        Kind::KrakenV1,
        "XMR/USD",
        kraken_v1::read,
        &[
            r#"[993,[["354.04000000","0.28245396","1618678150.826417","s","m",""],["353.81000000","1.71754604","1618678150.827816","s","m",""]],"trade","XMR/USD"]"#,
            r#"[996,{"a":["355.24000000",27,"27.19106411"],"b":["354.32000000",6,"6.87748868"],"c":["355.23000000","1.20454360"]},"ticker","XMR/USD"]"#,
            r#"{"event":"systemStatus","status":"online","version":"1.8.1"}"#,
        ],
    );
    let bodies = [
        r#"{"error":[],"result":{"XXBTZUSD":[[1688671200,"30306.1","30306.2","30305.7","30305.7","30306.1","3.39243896",23]],"last":1688672160}}"#,
        r#"{"error":[],"result":{"XXBTZUSD":[["30243.40000","0.34507674",1688669597.8277369,"b","m","",61044952]],"last":"1688671969993150842"}}"#,
    ];
    hammer(&bodies, |body| {
        kraken::candles(body).iter().flatten().for_each(check_candle);
        kraken::trades(body).iter().flat_map(|(trades, _)| trades).for_each(check_trade);
    });
}

#[test]
fn files_of_banks_and_charts_are_read_or_refused() {
    let rates = [
        "<Cube><Cube time='2026-10-30'><Cube currency='USD' rate='1.1172'/><Cube currency='JPY' rate='163.40'/></Cube></Cube>",
    ];
    hammer(&rates, |body| {
        let found = ecb::rates(body).unwrap_or_default();
        let rates = found.values().flatten().map(|(_, rate)| rate);
        rates.for_each(|rate| assert!(*rate > Decimal::ZERO));
    });
    let observations = [
        r#"{"count":2,"offset":0,"limit":100000,"observations":[{"date":"2024-01-02","value":"3.95"},{"date":"2024-01-03","value":"."}]}"#,
    ];
    hammer(&observations, |body| {
        fred::observations(body).iter().flat_map(|page| &page.points).for_each(|(_, value)| check(value));
    });
    let chart = [
        r#"{"chart":{"result":[{"meta":{"currency":"USD","symbol":"BTC-USD","exchangeTimezoneName":"UTC","gmtoffset":0,"priceHint":2},"timestamp":[1410912000,1410998400],"indicators":{"quote":[{"open":[465.864013671875,null],"high":[468.17401123046875,null],"low":[452.4219970703125,null],"close":[457.3340148925781,null],"volume":[21056800,null]}],"adjclose":[{"adjclose":[1,null]}]}}],"error":null}}"#,
    ];
    hammer(&chart, |body| yahoo::chart(body).iter().flat_map(|(candles, _)| candles).for_each(check_candle));
}

//! Frames and answers as Binance documents them.

use super::*;
use crate::workers::feeds::definition::Kind;
use crate::workers::feeds::kinds;

fn feed(channel: Channel) -> Definition {
    let pair = |symbol: &str| Pair { symbol: symbol.to_owned(), venue: symbol.to_owned() };
    let feed = kinds::usual("b", Kind::Binance, vec![pair("BNBBTC"), pair("NKNUSDT")], None);
    let interval = (channel == Channel::Candles).then_some(Interval::Minute);
    Definition { channel, interval, ..feed }
}

#[test]
fn what_is_subscribed_to_stands_in_the_address() {
    let base = "wss://data-stream.binance.vision/stream?streams=";
    assert_eq!(stream(&feed(Channel::Trades)), format!("{base}bnbbtc@trade/nknusdt@trade"));
    assert_eq!(stream(&feed(Channel::Candles)), format!("{base}bnbbtc@kline_1m/nknusdt@kline_1m"));
    assert_eq!(stream(&feed(Channel::AggTrades)), format!("{base}bnbbtc@aggTrade/nknusdt@aggTrade"));
}

#[test]
fn a_trade_keeps_its_digits_its_number_and_its_millisecond() {
    let frame = r#"{"e":"trade","E":1672515782136,"s":"BNBBTC","t":12345,"p":"0.0010","q":"100","T":1672515782136,"m":true,"M":true}"#;
    for text in [frame.to_owned(), format!(r#"{{"stream":"bnbbtc@trade","data":{frame}}}"#)] {
        let events = read(&text, &feed(Channel::Trades)).unwrap();
        let [Event::Trade(symbol, trade)] = events.as_slice() else { panic!("{events:?}") };
        assert_eq!((symbol.as_str(), trade.number), ("BNBBTC", Some(12_345)));
        assert_eq!((trade.price.to_string(), trade.at), ("0.0010".to_owned(), Moment(1_672_515_782_136_000)));
        assert_eq!(read(&text, &feed(Channel::Candles)).unwrap(), [Event::Alive]);
    }
}

#[test]
fn only_a_candle_that_says_so_is_finished() {
    let frame = |finished: bool| {
        format!(
            r#"{{"stream":"bnbbtc@kline_1m","data":{{"e":"kline","E":1672515782136,"s":"BNBBTC","k":{{"t":1672515780000,"T":1672515839999,"s":"BNBBTC","i":"1m","o":"0.0010","c":"0.0020","h":"0.0025","l":"0.0015","v":"1000","n":100,"x":{finished},"q":"1.0"}}}}}}"#
        )
    };
    assert_eq!(read(&frame(false), &feed(Channel::Candles)).unwrap(), [Event::Unfinished]);
    let events = read(&frame(true), &feed(Channel::Candles)).unwrap();
    let [Event::Finished(symbol, candle)] = events.as_slice() else { panic!("{events:?}") };
    assert_eq!((symbol.as_str(), candle.start), ("BNBBTC", Moment(1_672_515_780_000_000)));
    let quote = &candle.quote;
    let parts = [
        Some(&quote.price),
        quote.bar().open.as_ref(),
        quote.bar().high.as_ref(),
        quote.bar().low.as_ref(),
        quote.bar().volume.as_ref(),
    ];
    assert_eq!(parts.map(|part| part.unwrap().to_string()), ["0.0020", "0.0010", "0.0025", "0.0015", "1000"]);
}

#[test]
fn a_refusal_and_an_announced_end_are_told_apart_from_data() {
    let feed = feed(Channel::Trades);
    let said = r#"{"error":{"code":2,"msg":"Invalid request"},"id":1}"#;
    assert!(matches!(read(said, &feed).unwrap().as_slice(), [Event::Refused(_)]));
    let ending = r#"{"e":"serverShutdown","E":1770123456789}"#;
    assert_eq!(read(ending, &feed).unwrap(), [Event::Ending]);
    assert_eq!(read(r#"{"result":null,"id":1}"#, &feed).unwrap(), [Event::Alive]);
    for broken in
        ["", "{", "[]", r#"{"e":"trade","s":"BNBBTC","t":1,"p":"1,5","q":"1","T":1}"#, r#"{"e":"trade"}"#]
    {
        assert!(read(broken, &feed).is_err(), "{broken}");
    }
}

#[test]
fn candles_of_rest_are_open_high_low_close() {
    let body = br#"[[1499040000000,"0.01634790","0.80000000","0.01575800","0.01577100","148976.11427815",1499644799999,"2434.19055334",308,"1756.87402397","28.46694368","0"]]"#;
    let candles = klines(body).unwrap();
    let quote = &candles[0].quote;
    let parts = [
        Some(&quote.price),
        quote.bar().open.as_ref(),
        quote.bar().high.as_ref(),
        quote.bar().low.as_ref(),
        quote.bar().volume.as_ref(),
    ];
    let wanted = ["0.01577100", "0.01634790", "0.80000000", "0.01575800", "148976.11427815"];
    assert_eq!(parts.map(|part| part.unwrap().to_string()), wanted);
    assert!(
        klines(br#"[[1499040000000,"1"]]"#).is_err()
            && klines(br#"{"code":-1121,"msg":"Invalid symbol."}"#).is_err()
    );
}

#[test]
fn trades_of_rest_come_in_two_spellings() {
    let plain = br#"[{"id":28457,"price":"4.00000100","qty":"12.00000000","quoteQty":"48.000012","time":1499865549590,"isBuyerMaker":true,"isBestMatch":true}]"#;
    let gathered = br#"[{"a":26129,"p":"0.01633102","q":"4.70443515","f":27781,"l":27781,"T":1498793709153,"m":true,"M":true}]"#;
    let (rows, first) = trades(plain).unwrap();
    assert_eq!(
        (rows[0].number, rows[0].price.to_string(), first),
        (Some(28_457), "4.00000100".to_owned(), None)
    );
    let (rows, first) = trades(gathered).unwrap();
    assert_eq!(
        (rows[0].number, rows[0].price.to_string(), first),
        (Some(26_129), "0.01633102".to_owned(), Some(27_781))
    );
}

//! What may be configured, and what a wrong configuration is told.

use super::*;

fn none(_: &str) -> Option<String> {
    None
}

fn tables(text: &str) -> Vec<toml::Table> {
    let mut file: toml::Table = text.parse().unwrap();
    let toml::Value::Array(list) = file.remove("feeds").unwrap() else { panic!("no list") };
    list.into_iter().map(|table| table.try_into().unwrap()).collect()
}

fn said(text: &str) -> String {
    read(tables(text), &none).unwrap_err().to_string()
}

#[test]
fn a_feed_needs_a_name_a_kind_and_symbols_and_has_a_default_for_the_rest() {
    let text =
        "[[feeds]]\nname = \"binance\"\nkind = \"binance\"\n[feeds.symbols]\n\"btc-usd\" = \"BTCUSDT\"\n";
    let feeds = read(tables(text), &none).unwrap();
    let feed = &feeds[0];
    assert_eq!((feed.source.as_str(), feed.enabled, feed.transport), ("binance", true, Transport::Websocket));
    assert_eq!((feed.channel, feed.interval), (Channel::Candles, Some(Interval::Minute)));
    assert_eq!(feed.symbols, [Pair { symbol: "BTC-USD".to_owned(), venue: "BTCUSDT".to_owned() }]);
    assert_eq!(
        (feed.place.base_url.as_str(), feed.place.reach),
        ("https://data-api.binance.vision", Reach::Public)
    );
    assert!(feed.save_records && feed.api_key.is_none());
}

#[test]
fn yahoo_is_off_unless_somebody_switches_it_on() {
    let yahoo = |more: &str| {
        let text = format!("[[feeds]]\nname = \"y\"\nkind = \"yahoo\"\nsymbols = [\"GC=F\"]\n{more}");
        read(tables(&text), &none).unwrap().remove(0)
    };
    assert!(!yahoo("").enabled && yahoo("enabled = true").enabled);
    assert_eq!(yahoo("").interval, Some(Interval::Day));
}

#[test]
fn a_wrong_feed_is_told_by_its_name_key_and_rule() {
    let feed =
        |more: &str| format!("[[feeds]]\nname = \"b\"\nkind = \"binance\"\nsymbols = [\"BTCUSDT\"]\n{more}");
    for (text, wanted) in [
        ("[[feeds]]\nkind = \"binance\"", "feeds[1].name: is missing"),
        ("[[feeds]]\nname = \"../x\"", "feeds[1].name: `../x` must be"),
        ("[[feeds]]\nname = \"b\"", "feeds.b.kind: is missing: one of binance"),
        ("[[feeds]]\nname = \"b\"\nkind = \"bitstamp\"", "feeds.b.kind: `bitstamp` must be one of"),
        ("[[feeds]]\nname = \"b\"\nkind = \"binance\"", "feeds.b.symbols: is missing"),
        (&feed("every = \"1\""), "feeds.b.every: `1` must be a time"),
        (&feed("evry = \"1s\""), "feeds.b.evry: is not a key"),
        (
            &feed("channel = \"ticker\""),
            "feeds.b.channel: `ticker` must be one of candles, trades, agg_trades",
        ),
        (&feed("interval = \"3m\""), "feeds.b.interval: `3m` must be one of"),
        (&feed("channel = \"trades\"\ninterval = \"1m\""), "feeds.b.interval: is not a key"),
        (&feed("base_url = \"ftp://x\""), "feeds.b.base_url"),
        (&feed("ws_url = \"https://x\""), "feeds.b.ws_url"),
        (&feed("base_url = \"https://x/?key=1\""), "feeds.b.base_url"),
        (&feed("api_key = \"${secret:X}\""), "feeds.b.api_key: binance takes no key"),
        (&feed("retry_min = \"2m\""), "feeds.b.retry_min: must not be longer"),
        (&feed("since = \"yesterday\""), "feeds.b.since"),
        (&feed("enabled = \"yes\""), "feeds.b.enabled: must be true or false"),
        (&(feed("") + "\n" + &feed("")), "feeds[2].name: `b` is the name of another feed"),
    ] {
        assert!(said(text).contains(wanted), "{text}: {}", said(text));
    }
    let other = |kind: &str, more: &str| format!("[[feeds]]\nname = \"o\"\nkind = \"{kind}\"\n{more}");
    for (text, wanted) in [
        (other("ecb", "transport = \"websocket\""), "feeds.o.transport: ecb cannot be listened to"),
        (other("coinbase", "channel = \"candles\"\nsymbols = [\"BTC-USD\"]"), "feeds.o.channel"),
        (other("kraken", "symbols = [\"XBTUSD\"]"), "write it as BTC/USD"),
        (other("coinbase", "symbols = [\"../x\"]"), "`../x` is no symbol of coinbase"),
        (other("fred", "symbols = [\"DGS10\"]"), "feeds.o.api_key: is missing"),
        (
            other("fred", "symbols = [\"DGS10\"]\napi_key = \"hunter2\""),
            "feeds.o.api_key: must name a secret",
        ),
        (other("fred", "symbols = [\"DGS10\"]\napi_key = \"${secret:FRED}\""), "needs the secret FRED"),
    ] {
        assert!(said(&text).contains(wanted), "{text}: {}", said(&text));
        assert!(!said(&text).contains("hunter2"));
    }
}

#[test]
fn the_environment_of_the_earlier_orchestrator_makes_feeds_that_run_when_asked() {
    let env = |name: &str| match name {
        "FRED_SERIES" => Some("DGS10, CPIAUCSL".to_owned()),
        "FRED_API_KEY" => Some("abc".to_owned()),
        "YFINANCE_TICKERS" => Some("BTC-USD".to_owned()),
        _ => None,
    };
    let feeds = of_environment(&env).unwrap();
    let shown: Vec<(&str, bool, usize)> =
        feeds.iter().map(|feed| (feed.name.as_str(), feed.enabled, feed.symbols.len())).collect();
    assert_eq!(shown, [("fred", false, 2), ("yahoo", false, 1)]);
    assert_eq!(feeds[0].api_key.as_ref().map(Secret::expose), Some("abc"));
    let keyless = |name: &str| (name == "FRED_SERIES").then(|| "DGS10".to_owned());
    assert!(of_environment(&keyless).unwrap_err().to_string().contains("FRED_API_KEY"));
}

//! Recorded conversations of venues, replayed: what comes of them is reckoned from the frames by this file alone.

use super::replay::{Rest, Stage, Step, good, say};
use super::{Trade, agrees, assets, expected, points, until};
use crate::on_both;
use crate::support::{Backend, TestApp, shared};
use artifact::domain::moment::Moment;
use serde_json::Value;
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// The frames that a recorded conversation received.
fn frames(name: &str) -> Vec<String> {
    let text = std::fs::read_to_string(shared().join("data/frames").join(name)).unwrap();
    let received = |line: &&str| (line.contains(": {") || line.contains(": [")) && !line.contains("<-");
    text.lines().filter(received).map(|line| line.split_once(": ").unwrap().1.to_owned()).collect()
}

/// Symbols here of symbols there: `XBT/CHF` is `XBT-CHF`.
fn configured(
    kind: &str,
    more: &str,
    stage: &Stage,
    rest: &Rest,
    venues: impl Iterator<Item = String>,
) -> String {
    let symbols: Vec<String> =
        venues.map(|venue| format!("\"{}\" = \"{venue}\"", venue.replace('/', "-"))).collect();
    format!(
        "[[feeds]]\nname = \"venue\"\nkind = \"{kind}\"\n{more}\nenabled = false\nws_url = \"{}\"\nbase_url = \"{}\"\n\
         allow_private = true\nretry_min = \"10ms\"\nper_minute = 60000\nburst = 1000\nsymbols = {{ {} }}\n",
        stage.url(),
        rest.url(),
        symbols.join(", ")
    )
}

/// Starts the feed on a service that knows these assets.
async fn started(backend: Backend, configuration: &str, symbols: &[String]) -> TestApp {
    let app = TestApp::start_configured(backend, configuration).await;
    assets(&app, &symbols.iter().map(String::as_str).collect::<Vec<_>>()).await;
    app.post("/ingest/feeds/venue/start", &serde_json::json!({})).await.expect(200);
    app
}

on_both! {
    #[ignore = "needs ../shared"]
    async fn coinbase_tickers_are_the_trades_they_tell_of(backend) {
        let frames = frames("cryptofeed_coinbase_ws.txt");
        let mut told: BTreeMap<String, Vec<Trade>> = BTreeMap::new();
        for frame in &frames {
            let frame: Value = serde_json::from_str(frame).unwrap();
            let text = |name: &str| frame[name].as_str().unwrap().to_owned();
            if frame["type"] == "ticker" {
                let micros = Moment::parse(&text("time")).unwrap().0;
                let number = frame["trade_id"].as_u64().unwrap();
                let trade = Trade { number, micros, price: text("price"), size: text("last_size") };
                told.entry(text("product_id")).or_default().push(trade);
            }
        }
        assert_eq!(told.values().map(Vec::len).sum::<usize>(), 31);
        let stage = Stage::start(vec![[vec![Step::Hear("ticker")], say(frames), vec![Step::Ping, Step::Hold]].concat()]).await;
        let rest = Rest::start(|_, _| good("[]")).await;
        let configuration = configured("coinbase", "channel = \"ticker\"", &stage, &rest, told.keys().cloned());
        let app = started(backend, &configuration, &told.keys().cloned().collect::<Vec<_>>()).await;
        for (product, trades) in &told {
            agrees(&app, product, "source=venue&interval=tick", &expected(trades)).await;
        }
        let feed = until(&app, "venue", |feed| feed["messages"].as_u64() >= Some(3_000)).await;
        assert_eq!((&feed["counts"]["malformed"], &feed["counts"]["corrected"]), (&0.into(), &0.into()), "{feed}");
        app.stop().await;
    }

    #[ignore = "needs ../shared"]
    async fn kraken_v1_trades_are_stored_as_they_were_recorded(backend) {
        let frames = frames("cryptofeed_kraken_ws_v1_trade.txt");
        let mut told: BTreeMap<String, Vec<Trade>> = BTreeMap::new();
        for frame in frames.iter().filter(|frame| frame.starts_with('[')) {
            let frame: Value = serde_json::from_str(frame).unwrap();
            for row in frame[1].as_array().unwrap() {
                let text = |place: usize| row[place].as_str().unwrap().to_owned();
                let micros: i64 = text(2).replace('.', "").parse().unwrap();
                let trades = told.entry(frame[3].as_str().unwrap().to_owned()).or_default();
                let number = u64::try_from(trades.len()).unwrap();
                trades.push(Trade { number, micros, price: text(0), size: text(1) });
            }
        }
        assert_eq!(told.values().map(Vec::len).sum::<usize>(), 10);
        // Every frame comes twice, and the connection breaks once: trades have no number here, and are known all the same.
        let again: Vec<String> = frames.iter().flat_map(|frame| [frame.clone(), frame.clone()]).collect();
        let first = [vec![Step::Hear("\"trade\"")], say(again[..again.len() / 2].to_vec()), vec![Step::Drop]].concat();
        let second = [vec![Step::Hear("\"trade\"")], say(again), vec![Step::Ping, Step::Hold]].concat();
        let stage = Stage::start(vec![first, second]).await;
        let rest = Rest::start(|_, _| good("{\"error\":[],\"result\":{\"X\":[],\"last\":\"0\"}}")).await;
        let configuration = configured("kraken_v1", "channel = \"trades\"", &stage, &rest, told.keys().cloned());
        let symbols: Vec<String> = told.keys().map(|pair| pair.replace('/', "-")).collect();
        let app = started(backend, &configuration, &symbols).await;
        for (pair, trades) in &told {
            agrees(&app, &pair.replace('/', "-"), "source=venue&interval=tick", &expected(trades)).await;
        }
        app.stop().await;
    }

    #[ignore = "needs ../shared"]
    async fn kraken_rest_trades_have_ten_million_parts_of_a_second(backend) {
        let body = std::fs::read_to_string(shared().join("data/frames/nautilus_kraken_http_trades.json")).unwrap();
        let answer: BTreeMap<String, &RawValue> = serde_json::from_str(&body).unwrap();
        let result: BTreeMap<String, &RawValue> = serde_json::from_str(answer["result"].get()).unwrap();
        let rows: Vec<Vec<&RawValue>> = serde_json::from_str(result["XBTUSDT"].get()).unwrap();
        let trade = |row: &Vec<&RawValue>| {
            let text = |place: usize| row[place].get().trim_matches('"').to_owned();
            let (seconds, parts) = row[2].get().split_once('.').unwrap();
            let micros = format!("{seconds}{}", &format!("{parts}000000")[..6]).parse().unwrap();
            Trade { number: row[6].get().parse().unwrap(), micros, price: text(0), size: text(1) }
        };
        let trades: Vec<Trade> = rows.iter().map(trade).collect();
        assert_eq!(trades.len(), 1_000);
        let empty = "{\"error\":[],\"result\":{\"XBTUSDT\":[],\"last\":\"1762820035982277754\"}}";
        let rest = Rest::start(move |path, _| good(if path.ends_with("1762820035982277754") { empty } else { &body })).await;
        let stage = Stage::start(vec![vec![Step::Hold]]).await;
        let more = "transport = \"rest\"\nchannel = \"trades\"\nsince = \"2025-11-10\"";
        let configuration = configured("kraken", more, &stage, &rest, ["BTC/USDT".to_owned()].into_iter());
        let app = started(backend, &configuration, &["BTC-USDT".to_owned()]).await;
        agrees(&app, "BTC-USDT", "source=venue&interval=tick", &expected(&trades)).await;
        app.stop().await;
    }

    #[ignore = "needs ../shared"]
    async fn kraken_rest_candles_are_stored_but_for_the_running_one(backend) {
        let body = std::fs::read_to_string(shared().join("data/frames/nautilus_kraken_http_ohlc.json")).unwrap();
        let answer: Value = serde_json::from_str(&body).unwrap();
        let rows = answer["result"]["XBTUSDT"].as_array().unwrap().clone();
        let rest = Rest::start(move |_, _| good(body.clone())).await;
        let stage = Stage::start(vec![vec![Step::Hold]]).await;
        let more = "transport = \"rest\"\nchannel = \"candles\"";
        let configuration = configured("kraken", more, &stage, &rest, ["BTC/USDT".to_owned()].into_iter());
        let app = started(backend, &configuration, &["BTC-USDT".to_owned()]).await;
        let wanted: Vec<[String; 6]> = rows[..rows.len() - 1]
            .iter()
            .map(|row| {
                let text = |place: usize| row[place].as_str().unwrap().to_owned();
                let at = Moment(row[0].as_i64().unwrap() * 1_000_000).to_string();
                [at, text(4), text(1), text(2), text(3), text(6)]
            })
            .collect();
        assert_eq!(wanted.len(), 720);
        agrees(&app, "BTC-USDT", "source=venue&interval=1m", &wanted).await;
        app.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs ../shared"]
async fn kraken_v1_tickers_are_ticks_of_the_last_trade_when_they_come() {
    let frames = frames("cryptofeed_kraken_ws_v1_ticker.txt");
    let mut last: BTreeMap<String, String> = BTreeMap::new();
    for frame in frames.iter().filter(|frame| frame.starts_with('[')) {
        let frame: Value = serde_json::from_str(frame).unwrap();
        last.insert(frame[3].as_str().unwrap().to_owned(), frame[1]["c"][0].as_str().unwrap().to_owned());
    }
    assert!(last.len() > 5);
    let count = u64::try_from(frames.len()).unwrap();
    let stage = Stage::start(vec![
        [vec![Step::Hear("\"ticker\"")], say(frames), vec![Step::Ping, Step::Hold]].concat(),
    ])
    .await;
    let rest = Rest::start(|_, _| good("{\"error\":[],\"result\":{\"X\":[],\"last\":\"0\"}}")).await;
    let configuration = configured("kraken_v1", "channel = \"ticker\"", &stage, &rest, last.keys().cloned());
    let symbols: Vec<String> = last.keys().map(|pair| pair.replace('/', "-")).collect();
    let app = started(Backend::Sqlite, &configuration, &symbols).await;
    until(&app, "venue", |feed| feed["messages"].as_u64() >= Some(count)).await;
    for (pair, price) in &last {
        // The clock of the test stands still, so all ticks of a pair have one moment: the last holds.
        let wanted = ["2026-11-23T12:00:00.000000Z", price, "", "", "", ""].map(str::to_owned);
        agrees(&app, &pair.replace('/', "-"), "source=venue&interval=tick", &[wanted]).await;
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs ../shared"]
async fn binance_gathered_trades_are_stored_and_unfinished_candles_are_not() {
    let frames = frames("cryptofeed_binance_ws.txt");
    let mut told: BTreeMap<String, Vec<Trade>> = BTreeMap::new();
    for frame in &frames {
        let data = &serde_json::from_str::<Value>(frame).unwrap()["data"];
        if data["e"] == "aggTrade" {
            let text = |name: &str| data[name].as_str().unwrap().to_owned();
            let (number, micros) = (data["a"].as_u64().unwrap(), data["T"].as_i64().unwrap() * 1_000);
            let trade = Trade { number, micros, price: text("p"), size: text("q") };
            told.entry(text("s")).or_default().push(trade);
        }
    }
    assert_eq!(told.values().map(Vec::len).sum::<usize>(), 2);
    let symbols: Vec<String> = told.keys().cloned().collect();
    for (more, filter) in
        [("channel = \"agg_trades\"", "interval=tick"), ("channel = \"candles\"", "interval=1m")]
    {
        let stage = Stage::start(vec![[say(frames.clone()), vec![Step::Ping, Step::Hold]].concat()]).await;
        let rest = Rest::start(|_, _| good("[]")).await;
        let configuration = configured("binance", more, &stage, &rest, told.keys().cloned());
        let app = started(Backend::Sqlite, &configuration, &symbols).await;
        let count = u64::try_from(frames.len()).unwrap();
        let feed = until(&app, "venue", |feed| feed["messages"].as_u64() >= Some(count)).await;
        if filter == "interval=tick" {
            for (symbol, trades) in &told {
                agrees(&app, symbol, &format!("source=venue&{filter}"), &expected(trades)).await;
            }
        } else {
            assert_eq!(
                (&feed["counts"]["unfinished"], &feed["counts"]["stored"]),
                (&2.into(), &0.into()),
                "{feed}"
            );
            assert_eq!(
                points(&app, "NKNUSDT", &format!("source=venue&{filter}")).await,
                Vec::<[String; 6]>::new()
            );
        }
        app.stop().await;
    }
}

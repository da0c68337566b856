//! Feeds that listen, and venues that misbehave.

use super::replay::{Answered, Rest, Stage, Step, good, say};
use super::{Trade, agrees, assets, expected, points, until};
use crate::on_both;
use crate::support::{Backend, START, TestApp};
use artifact::domain::moment::Moment;
use serde_json::json;

/// A feed of Binance that listens to one symbol.
fn binance(stage: &Stage, rest: &Rest, more: &str) -> String {
    format!(
        "[[feeds]]\nname = \"binance\"\nkind = \"binance\"\nws_url = \"{}\"\nbase_url = \"{}\"\nallow_private = true\n\
         retry_min = \"10ms\"\nretry_max = \"50ms\"\nper_minute = 60000\nburst = 1000\n{more}\n\
         symbols = {{ \"BTC-USD\" = \"BTCUSDT\" }}\n",
        stage.url(),
        rest.url()
    )
}

/// Trades of the last minute before the start of the test: numbers, and three of a kind in one millisecond.
fn trades(numbers: std::ops::RangeInclusive<u64>) -> Vec<Trade> {
    let start = Moment::parse(START).unwrap().0 / 1_000;
    numbers
        .map(|number| {
            let at = start - 60_000 + i64::try_from(number / 3).unwrap();
            let price = format!("{}.{:02}", 60_000 + number * 7 % 13, number * 37 % 100);
            Trade { number, micros: at * 1_000, price, size: format!("0.{:05}", number * 11 % 99_999 + 1) }
        })
        .collect()
}

fn frame(trade: &Trade) -> String {
    let at = trade.micros / 1_000;
    let data = json!({ "e": "trade", "E": at, "s": "BTCUSDT", "t": trade.number, "p": trade.price, "q": trade.size, "T": at, "m": true, "M": true });
    json!({ "stream": "btcusdt@trade", "data": data }).to_string()
}

/// What Binance answers about trades it has.
fn history(all: Vec<Trade>) -> impl Fn(&str, usize) -> Answered {
    move |path, _| {
        if path.starts_with("/api/v3/aggTrades") {
            return good("[]");
        }
        let from: u64 = path.split("fromId=").nth(1).unwrap().split('&').next().unwrap().parse().unwrap();
        let rows: Vec<_> = all
            .iter()
            .filter(|trade| trade.number >= from)
            .map(|trade| json!({ "id": trade.number, "price": trade.price, "qty": trade.size, "time": trade.micros / 1_000 }))
            .collect();
        good(json!(rows).to_string())
    }
}

on_both! {
    async fn trades_come_again_and_out_of_order_and_are_counted_once(backend) {
        let all = trades(1..=60);
        let mut frames: Vec<String> = all.iter().map(frame).collect();
        for pair in frames.chunks_mut(2).skip(1).step_by(3) {
            pair.swap(0, 1);
        }
        let again: Vec<String> = frames.iter().flat_map(|frame| [frame.clone(), frame.clone()]).collect();
        let script = [say(again), vec![Step::Ping, Step::Hold]].concat();
        let (stage, rest) = (Stage::start(vec![script]).await, Rest::start(history(all.clone())).await);
        let app = TestApp::start_configured(backend, &binance(&stage, &rest, "channel = \"trades\"\nenabled = false")).await;
        assets(&app, &["BTC-USD"]).await;
        app.post("/ingest/feeds/binance/start", &json!({})).await.expect(200);
        agrees(&app, "BTC-USD", "source=binance&interval=tick", &expected(&all)).await;
        let feed = until(&app, "binance", |feed| feed["counts"]["repeated"].as_u64() >= Some(60)).await;
        assert_eq!((&feed["state"], &feed["connected"], &feed["reconnects"]), (&json!("running"), &json!(true), &json!(0)));
        assert!(feed["gaps"].as_u64() > Some(0), "{feed}");
        assert_eq!(stage.heard()[0], "/stream?streams=btcusdt@trade");
        app.stop().await;
    }

    async fn a_connection_that_breaks_is_made_again_and_what_was_missed_is_asked_for(backend) {
        let all = trades(1..=30);
        let frames: Vec<String> = all.iter().map(frame).collect();
        let first = [say(frames[..7].to_vec()), vec![Step::Drop]].concat();
        let second = [say(frames[15..20].to_vec()), vec![Step::Close]].concat();
        // Number 25 never comes, and is missed when 26 does.
        let third = [say(frames[20..24].to_vec()), say(frames[25..].to_vec()), vec![Step::Hold]].concat();
        let (stage, rest) = (Stage::start(vec![first, second, third]).await, Rest::start(history(all.clone())).await);
        let app = TestApp::start_configured(backend, &binance(&stage, &rest, "channel = \"trades\"\nenabled = false")).await;
        assets(&app, &["BTC-USD"]).await;
        app.post("/ingest/feeds/binance/start", &json!({})).await.expect(200);
        agrees(&app, "BTC-USD", "source=binance&interval=tick", &expected(&all)).await;
        let feed = until(&app, "binance", |feed| feed["reconnects"] == 2 && feed["state"] == "running").await;
        assert!(feed["last_error"]["detail"].as_str().unwrap().contains("closed"), "{feed}");
        app.stop().await;
    }

    async fn what_was_wanted_and_how_far_it_got_outlive_a_restart(backend) {
        let all = trades(1..=12);
        let frames: Vec<String> = all.iter().map(frame).collect();
        let first = [say(frames[..5].to_vec()), vec![Step::Hold]].concat();
        let (stage, rest) = (Stage::start(vec![first, vec![Step::Hold]]).await, Rest::start(history(all.clone())).await);
        let app = TestApp::start_configured(backend, &binance(&stage, &rest, "channel = \"trades\"\nenabled = false")).await;
        assets(&app, &["BTC-USD"]).await;
        assert_eq!(app.get("/ingest/feeds/binance").await.expect(200)["state"], "stopped");
        app.post("/ingest/feeds/binance/start", &json!({})).await.expect(200);
        agrees(&app, "BTC-USD", "source=binance&interval=tick", &expected(&all[..5])).await;
        let app = app.restart().await;
        let feed = app.get("/ingest/feeds/binance").await.expect(200);
        assert_eq!(feed["enabled"], false);
        until(&app, "binance", |feed| feed["wanted"] == true && feed["state"] == "running").await;
        agrees(&app, "BTC-USD", "source=binance&interval=tick", &expected(&all)).await;
        assert!(rest.asked().iter().any(|path| path.contains("fromId=3&")), "{:?}", rest.asked());
        let stopped = app.post("/ingest/feeds/binance/stop", &json!({})).await.expect(200);
        assert_eq!(stopped["wanted"], false);
        let app = app.restart().await;
        until(&app, "binance", |feed| feed["wanted"] == false && feed["state"] == "stopped").await;
        app.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_venue_that_falls_silent_is_left_and_found_again() {
    let all = trades(1..=4);
    let frames: Vec<String> = all.iter().map(frame).collect();
    let first = [say(frames[..2].to_vec()), vec![Step::Freeze]].concat();
    let second = [say(frames[2..].to_vec()), vec![Step::Ping, Step::Hold]].concat();
    let (stage, rest) = (Stage::start(vec![first, second]).await, Rest::start(history(all.clone())).await);
    let more = "channel = \"trades\"\nenabled = false\nsilence = \"300ms\"";
    let app = TestApp::start_configured(Backend::Sqlite, &binance(&stage, &rest, more)).await;
    assets(&app, &["BTC-USD"]).await;
    app.post("/ingest/feeds/binance/start", &json!({})).await.expect(200);
    agrees(&app, "BTC-USD", "source=binance&interval=tick", &expected(&all)).await;
    let feed = until(&app, "binance", |feed| feed["reconnects"].as_u64() > Some(0)).await;
    assert!(feed["last_error"]["detail"].as_str().unwrap().contains("no frame for 300ms"), "{feed}");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frame_that_is_cut_off_is_counted_and_what_it_told_is_asked_for() {
    let all = trades(1..=9);
    let mut frames: Vec<String> = all.iter().map(frame).collect();
    let half = frames[4].len() / 2;
    frames[4].truncate(half);
    let script = [say(frames), vec![Step::Hold]].concat();
    let (stage, rest) = (Stage::start(vec![script]).await, Rest::start(history(all.clone())).await);
    let more = "channel = \"trades\"\nenabled = false";
    let app = TestApp::start_configured(Backend::Sqlite, &binance(&stage, &rest, more)).await;
    assets(&app, &["BTC-USD"]).await;
    app.post("/ingest/feeds/binance/start", &json!({})).await.expect(200);
    agrees(&app, "BTC-USD", "source=binance&interval=tick", &expected(&all)).await;
    let feed = until(&app, "binance", |feed| feed["counts"]["malformed"] == 1).await;
    assert_eq!((&feed["gaps"], &feed["reconnects"]), (&json!(1), &json!(0)), "{feed}");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_venue_that_does_not_tell_what_was_missed_is_listened_to_all_the_same() {
    let all = trades(1..=9);
    let mut frames: Vec<String> = all.iter().map(frame).collect();
    frames.remove(4);
    let known = history(all.clone());
    // Asked for what was missed, it fails three times.
    let answer = move |path: &str, before: usize| {
        if (1..4).contains(&before) { (500, Vec::new(), "sorry".to_owned()) } else { known(path, before) }
    };
    let (stage, rest) =
        (Stage::start(vec![[say(frames), vec![Step::Hold]].concat()]).await, Rest::start(answer).await);
    let more = "channel = \"trades\"\nenabled = false";
    let app = TestApp::start_configured(Backend::Sqlite, &binance(&stage, &rest, more)).await;
    assets(&app, &["BTC-USD"]).await;
    app.post("/ingest/feeds/binance/start", &json!({})).await.expect(200);
    agrees(&app, "BTC-USD", "source=binance&interval=tick", &expected(&all)).await;
    let feed = until(&app, "binance", |feed| feed["state"] == "running").await;
    assert_eq!((&feed["reconnects"], &feed["gaps"]), (&json!(0), &json!(1)), "{feed}");
    let told = feed["last_error"]["detail"].as_str().unwrap();
    assert!(
        told.starts_with("what was missed of BTC-USD is still missing: ") && told.ends_with("500: sorry"),
        "{feed}"
    );
    app.stop().await;
}

/// A candle of the minute that begins so many minutes before the test.
fn kline(minutes: i64, close: &str, finished: bool) -> String {
    let start = Moment::parse(START).unwrap().0 / 1_000 - minutes * 60_000;
    let candle = json!({ "t": start, "T": start + 59_999, "s": "BTCUSDT", "i": "1m", "o": "100.0", "c": close, "h": "200.0", "l": "50.0", "v": "1.50", "n": 3, "x": finished });
    json!({ "stream": "btcusdt@kline_1m", "data": { "e": "kline", "E": start, "s": "BTCUSDT", "k": candle } })
        .to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_candle_is_stored_once_it_is_finished_and_a_missing_one_is_asked_for() {
    let frames = [
        kline(5, "101.0", false),
        kline(5, "102.0", true),
        kline(4, "103.0", false),
        // The end of the fourth is not told.
        kline(3, "104.0", false),
        kline(3, "105.0", true),
        kline(2, "106.0", false),
    ];
    let row = |minutes: i64, close: &str| {
        let start = Moment::parse(START).unwrap().0 / 1_000 - minutes * 60_000;
        json!([start, "100.0", "200.0", "50.0", close, "1.50", start + 59_999, "0", 3, "0", "0", "0"])
    };
    // The first answer knows nothing; the running minute is in the second.
    let rows = json!([row(5, "102.0"), row(4, "103.5"), row(3, "105.0"), row(0, "999.0")]).to_string();
    let rest =
        Rest::start(move |_, before| good(if before == 0 { "[]".to_owned() } else { rows.clone() })).await;
    let stage = Stage::start(vec![[say(frames), vec![Step::Hold]].concat()]).await;
    let app = TestApp::start_configured(Backend::Sqlite, &binance(&stage, &rest, "enabled = false")).await;
    assets(&app, &["BTC-USD"]).await;
    app.post("/ingest/feeds/binance/start", &json!({})).await.expect(200);
    until(&app, "binance", |feed| feed["counts"]["stored"] == 3 && feed["counts"]["unfinished"] == 5).await;
    let closes: Vec<String> = points(&app, "BTC-USD", "source=binance&interval=1m")
        .await
        .into_iter()
        .map(|point| point[1].clone())
        .collect();
    assert_eq!(closes, ["102.0", "103.5", "105.0"]);
    let manifest = app.post("/ingest/feeds/binance/stop", &json!({})).await;
    manifest.expect(200);
    until(&app, "binance", |feed| feed["state"] == "stopped").await;
    assert_eq!(app.get("/ingest/sources/binance/manifest").await.expect(200)["count"], 3);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kraken_subscribes_and_its_candles_end_when_a_later_one_begins() {
    let candle = |minutes: i64, close: &str| {
        let begin = Moment(Moment::parse(START).unwrap().0 - minutes * 60_000_000).to_string();
        format!(
            r#"{{"channel":"ohlc","type":"update","data":[{{"symbol":"BTC/USD","interval":1,"interval_begin":"{begin}","open":100.10,"high":200.0,"low":50.0,"close":{close},"volume":0.00000001,"vwap":1,"trades":1}}]}}"#
        )
    };
    let acknowledged =
        r#"{"method":"subscribe","result":{"channel":"ohlc","symbol":"BTC/USD"},"success":true,"req_id":1}"#;
    let frames = [
        acknowledged.to_owned(),
        candle(4, "101.10"),
        candle(4, "102.20"),
        candle(3, "103.30"),
        candle(4, "9.9"),
        candle(2, "104.40"),
    ];
    let script = [vec![Step::Hear("\"ohlc\"")], say(frames), vec![Step::Hold]].concat();
    let stage = Stage::start(vec![script]).await;
    let rest = Rest::start(|_, _| good(r#"{"error":[],"result":{"XXBTZUSD":[],"last":0}}"#)).await;
    let configuration = format!(
        "[[feeds]]\nname = \"kraken\"\nkind = \"kraken\"\nchannel = \"candles\"\nenabled = false\nws_url = \"{}\"\n\
         base_url = \"{}\"\nallow_private = true\nsymbols = {{ \"BTC-USD\" = \"BTC/USD\" }}\n",
        stage.url(),
        rest.url()
    );
    let app = TestApp::start_configured(Backend::Sqlite, &configuration).await;
    assets(&app, &["BTC-USD"]).await;
    app.post("/ingest/feeds/kraken/start", &json!({})).await.expect(200);
    until(&app, "kraken", |feed| feed["counts"]["stored"] == 2).await;
    let found: Vec<[String; 6]> = points(&app, "BTC-USD", "source=kraken&interval=1m").await;
    let closes: Vec<&str> = found.iter().map(|point| point[1].as_str()).collect();
    assert_eq!(closes, ["102.20", "103.30"]);
    assert_eq!(found[0][5], "0.00000001");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_subscription_is_told_and_tried_ever_more_slowly() {
    let refusal =
        r#"{"type":"error","message":"Failed to subscribe","reason":"NOPE-USD is not a valid product"}"#;
    let script = [vec![Step::Hear("NOPE-USD")], say([refusal]), vec![Step::Hold]].concat();
    let stage = Stage::start(vec![script]).await;
    let rest = Rest::start(|_, _| good("[]")).await;
    let configuration = format!(
        "[[feeds]]\nname = \"coinbase\"\nkind = \"coinbase\"\nws_url = \"{}\"\nbase_url = \"{}\"\nallow_private = true\n\
         retry_min = \"10ms\"\nretry_max = \"20ms\"\nfailures_max = 3\nsymbols = [\"NOPE-USD\"]\n",
        stage.url(),
        rest.url()
    );
    let app = TestApp::start_configured(Backend::Sqlite, &configuration).await;
    let feed = until(&app, "coinbase", |feed| feed["state"] == "resting").await;
    assert_eq!(feed["attempts"], 3);
    let told = feed["last_error"]["detail"].as_str().unwrap();
    assert_eq!(told, "refused: Failed to subscribe: NOPE-USD is not a valid product");
    app.stop().await;
}

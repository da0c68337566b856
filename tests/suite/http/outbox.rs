//! Posting on: every price once in effect, never an older one after a newer one, whatever the other instance does.

use crate::fickle::{Fickle, Manner};
use crate::on_both;
use crate::support::{Backend, TestApp};
use artifact::workers::outbound::Outbound;
use artifact::workers::outbound::address::Reach;
use artifact::workers::outbound::target::Target;
use artifact::workers::outbox::{Pace, Remote};
use futures_util::future::join_all;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const GOOD: Manner = Manner { faults: 0, refuses: None };
const FICKLE: Manner = Manner { faults: 30, refuses: None };
const DOWN: Manner = Manner { faults: 100, refuses: None };
const PICKY: Manner = Manner { faults: 0, refuses: Some("GOLD") };
/// Longest time for all posts of a test.
const PATIENCE: Duration = Duration::from_mins(2);

fn quick() -> Pace {
    Pace {
        at_once: 32,
        time_max: Duration::from_millis(400),
        first_pause: Duration::from_millis(2),
        longest_pause: Duration::from_millis(50),
        drain: Duration::from_secs(1),
    }
}

fn remote(fickle: &Fickle) -> Remote {
    let base = Target::parse(&fickle.url()).unwrap();
    Remote::new(Outbound::new(Reach::Anywhere).unwrap(), &base, None, quick())
}

async fn posting(backend: Backend, fickle: &Fickle) -> TestApp {
    TestApp::start_posting(backend, remote(fickle)).await
}

#[tokio::test]
async fn what_waits_is_shown_with_its_digits() {
    let fickle = Fickle::start(DOWN).await;
    let app = posting(Backend::Sqlite, &fickle).await;
    app.gold_and_bitcoin("0").await;
    let price = r#"{"symbol":"GOLD","price":1234567890.123456789012345678,"volume":0.100000000000000001}"#;
    app.send("POST", "/prices", &[("content-type", "application/json")], price.as_bytes()).await.expect(200);
    let shown = app.get("/ingest/outbox").await.text();
    for digits in ["1234567890.123456789012345678", "0.100000000000000001"] {
        assert!(shown.contains(digits), "{shown}");
    }
    app.stop().await;
}

async fn add_market(app: &TestApp) {
    let body = json!({ "code": "M", "name": "M", "market_type": "CRYPTO_EXCHANGE", "timezone": "UTC" });
    app.post("/markets", &body).await.expect(201);
}

async fn add_asset(app: &TestApp, symbol: &str) {
    let body =
        json!({ "symbol": symbol, "name": symbol, "asset_type": "CRYPTOCURRENCY", "market_code": "M" });
    app.post("/assets", &body).await.expect(201);
}

/// The outbox, once it says so.
async fn once(app: &TestApp, so: impl Fn(&Value) -> bool) -> Value {
    let begun = Instant::now();
    loop {
        let outbox = app.get("/ingest/outbox").await.expect(200);
        if so(&outbox) {
            return outbox;
        }
        assert!(begun.elapsed() < PATIENCE, "{outbox}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn price(symbol: &str, price: &str, minute: usize) -> Value {
    json!({ "symbol": symbol, "price": price, "timestamp": at(minute), "source": "test" })
}

fn at(minute: usize) -> String {
    format!("2026-01-01T{:02}:{:02}:00.000000Z", minute / 60, minute % 60)
}

on_both! {
    async fn a_thousand_posts_to_a_fickle_instance_arrive_once_each(backend) {
        let fickle = Fickle::start(FICKLE).await;
        let app = posting(backend, &fickle).await;
        add_market(&app).await;
        let symbols: Vec<String> = (0..1_000).map(|number| format!("S{number:04}")).collect();
        for some in symbols.chunks(100) {
            join_all(some.iter().map(|symbol| add_asset(&app, symbol))).await;
        }
        // Two prices of each in one run: the latest is posted, wherever in the run it stands.
        let rows: Vec<Value> = symbols
            .iter()
            .enumerate()
            .flat_map(|(number, symbol)| {
                [price(symbol, &format!("{number}.50"), 2), price(symbol, "1.00", 1)]
            })
            .collect();
        app.post("/prices/batch", &json!(rows)).await.expect(200);
        let outbox = once(&app, |outbox| outbox["depth"] == 0).await;
        assert_eq!((&outbox["delivered"], &outbox["superseded"], &outbox["refused"]), (&json!(1_000), &json!(0), &json!(0)));
        fickle.assert_orderly();
        let seen = fickle.seen.lock().unwrap();
        eprintln!("{} requests, faults {:?}", seen.requests, seen.faults);
        assert!(seen.faults.iter().all(|count| *count > 30), "{:?}", seen.faults);
        assert_eq!(seen.told.len(), 1_000);
        for (number, symbol) in symbols.iter().enumerate() {
            assert_eq!(seen.told[symbol], [(at(2), format!("{number}.50"))], "{symbol}");
        }
    }

    async fn newer_prices_overtake_what_was_not_sent_and_nothing_else(backend) {
        let fickle = Fickle::start(FICKLE).await;
        let app = posting(backend, &fickle).await;
        add_market(&app).await;
        let symbols: Vec<String> = (0..20).map(|number| format!("S{number:02}")).collect();
        for symbol in &symbols {
            add_asset(&app, symbol).await;
        }
        for minute in 0..60 {
            let rows: Vec<Value> =
                symbols.iter().map(|symbol| price(symbol, &format!("{minute}.25"), minute)).collect();
            app.post("/prices/batch", &json!(rows)).await.expect(200);
            // A correction of the first, and after that a late one again and again: no reason to post anything.
            app.post("/prices", &price("S00", "7", 0)).await.expect(200);
        }
        let outbox = once(&app, |outbox| outbox["depth"] == 0).await;
        fickle.assert_orderly();
        let count = |name: &str| outbox[name].as_u64().unwrap();
        // Sixty of each, and one correction.
        assert_eq!(count("delivered") + count("superseded"), 1_201, "{outbox}");
        assert!(count("superseded") > 0, "{outbox}");
        let last = fickle.last();
        assert_eq!(last.len(), 20);
        for (symbol, told) in last {
            assert_eq!(told, (at(59), "59.25".to_owned()), "{symbol}");
        }
        // One that was done and answered 500 may have given way.
        assert!(u64::try_from(fickle.seen.lock().unwrap().keys.len()).unwrap() >= count("delivered"));
    }

    async fn a_post_without_an_answer_stays_before_a_newer_price(backend) {
        let fickle = Fickle::start(DOWN).await;
        let app = posting(backend, &fickle).await;
        app.gold_and_bitcoin("0").await;
        app.post("/prices", &price("GOLD", "1", 1)).await.expect(200);
        once(&app, |outbox| outbox["posts"][0]["unanswered"] == true).await;
        app.post("/prices", &price("GOLD", "2", 2)).await.expect(200);
        app.post("/prices", &price("GOLD", "3", 3)).await.expect(200);
        fickle.behave(GOOD);
        once(&app, |outbox| outbox["depth"] == 0).await;
        fickle.assert_orderly();
        assert_eq!(fickle.last()["GOLD"], (at(3), "3".to_owned()));
    }

    async fn what_is_refused_is_kept_read_sent_again_and_thrown_away(backend) {
        let fickle = Fickle::start(PICKY).await;
        let app = posting(backend, &fickle).await;
        app.gold_and_bitcoin("0").await;
        let both = json!([price("GOLD", "2050.10", 1), price("BTC-USD", "0.000000000000000001", 1)]);
        app.post("/prices/batch", &both).await.expect(200);
        let outbox = once(&app, |outbox| outbox["depth"] == 0).await;
        assert_eq!((&outbox["delivered"], &outbox["refused"], &outbox["dead_letters"]), (&json!(1), &json!(1), &json!(1)));
        assert_eq!(fickle.last()["BTC-USD"].1, "0.000000000000000001");
        let dead = app.get("/ingest/outbox/dead-letters").await.expect(200);
        assert_eq!((&dead[0]["symbol"], &dead[0]["status"]), (&json!("GOLD"), &json!(404)));
        assert_eq!(dead[0]["failure"], "answered 404 Not Found Asset not found");
        let path = format!("/ingest/outbox/dead-letters/{}", dead[0]["id"].as_str().unwrap());
        // Refused once more, then taken.
        app.post(&format!("{path}/retry"), &Value::Null).await.expect(200);
        once(&app, |outbox| outbox["refused"] == 2).await;
        fickle.behave(GOOD);
        assert_eq!(app.post("/ingest/outbox/dead-letters/retry", &Value::Null).await.expect(200)["retried"], 1);
        once(&app, |outbox| outbox["delivered"] == 2).await;
        assert_eq!(app.post(&format!("{path}/retry"), &Value::Null).await.code(404), "post_not_found");
        assert_eq!(app.delete("/ingest/outbox/dead-letters/none").await.code(404), "post_not_found");
        // Refused, and overtaken by a price that waits behind the pause.
        fickle.behave(PICKY);
        app.post("/prices", &price("GOLD", "1", 2)).await.expect(200);
        once(&app, |outbox| outbox["dead_letters"] == 1).await;
        app.post("/prices", &price("GOLD", "2", 3)).await.expect(200);
        let dead = app.get("/ingest/outbox/dead-letters").await.expect(200);
        let path = format!("/ingest/outbox/dead-letters/{}", dead[0]["id"].as_str().unwrap());
        assert_eq!(app.post(&format!("{path}/retry"), &Value::Null).await.code(409), "outdated");
        let waiting = app.get("/ingest/outbox").await.expect(200)["posts"][0]["id"].as_str().unwrap().to_owned();
        assert_eq!(app.delete(&format!("/ingest/outbox/dead-letters/{waiting}")).await.code(409), "wrong_status");
        assert_eq!(app.delete(&path).await.status, 204);
        assert_eq!(app.get("/ingest/outbox/dead-letters").await.expect(200), json!([]));
    }

    async fn only_what_the_other_instance_was_not_told_is_posted(backend) {
        let fickle = Fickle::start(GOOD).await;
        let app = posting(backend, &fickle).await;
        app.gold_and_bitcoin("0").await;
        let keys = || fickle.seen.lock().unwrap().keys.len();
        for _ in 0..2 {
            app.post("/prices", &price("GOLD", "2050.10", 5)).await.expect(200);
            app.post("/prices", &price("GOLD", "1", 4)).await.expect(200);
            once(&app, |outbox| outbox["depth"] == 0).await;
            assert_eq!((keys(), fickle.last()["GOLD"].clone()), (1, (at(5), "2050.10".to_owned())));
        }
        // A correction is told; one that is taken back before it was sent is not.
        app.post("/prices", &price("GOLD", "2051", 5)).await.expect(200);
        once(&app, |outbox| outbox["delivered"] == 2).await;
        // A refused request leaves nothing.
        app.post("/prices", &price("GOLD", "-1", 6)).await.expect(422);
        app.post("/prices/batch", &json!([price("BTC-USD", "1", 1), price("NONE", "1", 1)])).await.expect(422);
        app.post("/prices", &price("BTC-USD", "3", 1)).await.expect(200);
        let outbox = once(&app, |outbox| outbox["delivered"] == 3).await;
        assert_eq!((&outbox["depth"], &outbox["last"]), (&json!(0), &Value::Null));
        assert_eq!(fickle.last()["BTC-USD"].1, "3");
        assert_eq!(app.get("/ingest/outbox?until=x").await.code(422), "invalid_request");
    }
}

on_both! {
    async fn prices_go_from_one_service_to_another_with_source_candle_and_digits(backend) {
        let other = TestApp::start(backend).await;
        other.gold_and_bitcoin("0").await;
        other.set_clock("2030-01-01T00:00:00Z");
        let base = Target::parse(&format!("http://{}", other.address)).unwrap();
        let remote = Remote::new(Outbound::new(Reach::Anywhere).unwrap(), &base, None, quick());
        let app = TestApp::start_posting(backend, remote).await;
        app.gold_and_bitcoin("0").await;
        let candle = json!({ "symbol": "GOLD", "close": "2050.10", "open": "2040", "high": "2060.500", "low": "2030.0",
            "volume": "12.50", "timestamp": at(0), "source": "desk", "interval": "1d" });
        app.post("/prices", &candle).await.expect(200);
        once(&app, |outbox| outbox["delivered"] == 1).await;
        let here = app.get("/prices?symbol=GOLD").await.expect(200);
        let mut there = other.get("/prices?symbol=GOLD").await.expect(200);
        there[0]["recorded_at"] = here[0]["recorded_at"].clone();
        assert_eq!(here, there);
    }
}

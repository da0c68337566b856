//! Feeds that ask.

use super::replay::{Rest, good};
use super::{assets, points, until};
use crate::on_both;
use crate::support::{Backend, TestApp};
use serde_json::json;

const OHLC: &str = r#"{"error":[],"result":{"XXBTZUSD":[
    [1700000040,"37000.10","37500.0","36800.0","37200.0","37100.0","150.50000000",320],
    [1700000100,"37200.0","37210.5","37190.0","37200.5","37200.0","0.00000001",1],
    [1700000160,"37200.5","37200.5","37200.5","37200.5","37200.5","1",1]],"last":1700000100}}"#;

on_both! {
    async fn candles_are_fetched_stored_once_and_kept_in_files(backend) {
        let rest = Rest::start(|_, _| good(OHLC)).await;
        let configuration = format!(
            "[[feeds]]\nname = \"kraken\"\nkind = \"kraken\"\ntransport = \"rest\"\nevery = \"100ms\"\njitter = \"0s\"\n\
             per_minute = 60000\nburst = 1000\n\
             base_url = \"{}\"\nallow_private = true\nsince = \"2023-11-14\"\n\
             [feeds.symbols]\n\"BTC-USD\" = \"BTC/USD\"\n\"NONE-USD\" = \"NONE/USD\"\n", rest.url());
        let app = TestApp::start_configured(backend, &configuration).await;
        assets(&app, &["BTC-USD"]).await;
        let stored = |feed: &serde_json::Value| feed["counts"]["stored"] == 2 && feed["counts"]["duplicate"].as_u64() > Some(1);
        let feed = until(&app, "kraken", stored).await;
        assert_eq!((&feed["connected"], &feed["wanted"], &feed["interval"]), (&json!(true), &json!(true), &json!("1m")));
        assert_eq!(feed["refused"][0], json!({ "symbol": "NONE-USD", "detail": "symbol: `NONE-USD` is not a known symbol" }));
        let wanted = [
            ["2023-11-14T22:14:00.000000Z", "37200.0", "37000.10", "37500.0", "36800.0", "150.50000000"],
            ["2023-11-14T22:15:00.000000Z", "37200.5", "37200.0", "37210.5", "37190.0", "0.00000001"],
        ];
        let found = points(&app, "BTC-USD", "source=kraken&interval=1m").await;
        assert_eq!(found, wanted.map(|row| row.map(str::to_owned)));
        let asked = rest.asked();
        assert_eq!(asked[0], "/0/public/OHLC?pair=XBTUSD&interval=1&since=1699919999");
        let manifest = app.get("/ingest/sources/kraken/manifest").await.expect(200);
        assert_eq!((&manifest["count"], &manifest["last"]), (&json!(2), &json!("2023-11-14T22:15:00.000000Z")));
        // Once somebody has added the asset, all of it is asked for.
        let body = json!({ "symbol": "NONE-USD", "name": "none", "asset_type": "CRYPTOCURRENCY", "market_code": "VENUE" });
        app.post("/assets", &body).await.expect(201);
        until(&app, "kraken", |feed| feed["counts"]["stored"] == 4).await;
        assert_eq!(points(&app, "NONE-USD", "source=kraken&interval=1m").await, found);
        app.stop().await;
    }
}

/// A feed of Kraken that asks for one symbol.
fn kraken(rest: &Rest, more: &str) -> String {
    format!(
        "[[feeds]]\nname = \"kraken\"\nkind = \"kraken\"\ntransport = \"rest\"\nbase_url = \"{}\"\n{more}\n\
         symbols = {{ \"BTC-USD\" = \"BTC/USD\" }}\n",
        rest.url()
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_venue_that_asks_for_time_is_left_alone() {
    let later = || (429, vec![("retry-after", "3600".to_owned())], "slow down".to_owned());
    let rest = Rest::start(move |_, _| later()).await;
    let more = "allow_private = true\nretry_min = \"10ms\"\nretry_max = \"10ms\"";
    let app = TestApp::start_configured(Backend::Sqlite, &kraken(&rest, more)).await;
    let feed = until(&app, "kraken", |feed| feed["state"] == "retrying").await;
    assert_eq!(feed["next_at"], "2026-11-23T13:00:00.000000Z");
    assert!(feed["last_error"]["detail"].as_str().unwrap().ends_with("answered 429: slow down"), "{feed}");
    // Starting it anew does not break the promise: the request waits.
    app.post("/ingest/feeds/kraken/start", &json!({})).await.expect(200);
    until(&app, "kraken", |feed| feed["attempts"] == 2).await;
    assert_eq!(rest.asked().len(), 1);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_hopeless_opens_the_circuit_and_a_start_closes_it() {
    let unknown = r#"{"error":["EQuery:Unknown asset pair"]}"#;
    let rest = Rest::start(move |_, before| good(if before == 0 { unknown } else { OHLC })).await;
    let app = TestApp::start_configured(Backend::Sqlite, &kraken(&rest, "allow_private = true")).await;
    assets(&app, &["BTC-USD"]).await;
    let feed = until(&app, "kraken", |feed| feed["state"] == "resting").await;
    assert_eq!((&feed["failures"], &feed["connected"]), (&json!(1), &json!(false)));
    assert_eq!(feed["last_error"]["detail"], "refused: EQuery:Unknown asset pair");
    app.post("/ingest/feeds/kraken/start", &json!({})).await.expect(200);
    let feed = until(&app, "kraken", |feed| feed["state"] == "waiting").await;
    assert_eq!((&feed["failures"], &feed["counts"]["stored"]), (&json!(0), &json!(2)));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_private_address_is_not_reached_unless_that_is_allowed() {
    let rest = Rest::start(|_, _| good(OHLC)).await;
    let app = TestApp::start_configured(Backend::Sqlite, &kraken(&rest, "")).await;
    let feed = until(&app, "kraken", |feed| feed["state"] == "resting").await;
    assert!(feed["last_error"]["detail"].as_str().unwrap().contains("allows private addresses"), "{feed}");
    assert_eq!(rest.asked(), [""; 0]);
    app.stop().await;
}

on_both! {
    async fn a_feed_is_run_once_when_somebody_asks_for_it(backend) {
        let rest = Rest::start(|_, _| good(OHLC)).await;
        let app = TestApp::start_configured(backend, &kraken(&rest, "allow_private = true\nenabled = false")).await;
        assets(&app, &["BTC-USD"]).await;
        let run = app.post("/ingest/feeds/kraken/run", &json!({ "since": "2023-11-14" })).await.expect(200);
        let wanted = json!({ "success": true, "feed": "kraken", "source": "kraken", "stored": 2, "duplicate": 0, "corrected": 0,
            "refused": 0, "first": "2023-11-14T22:14:00.000000Z", "last": "2023-11-14T22:15:00.000000Z", "refusals": [], "error": null });
        assert_eq!(run, wanted);
        // From where it stopped, by itself.
        let again = app.post("/ingest/feeds/kraken/run", &json!({})).await.expect(200);
        assert_eq!((&again["stored"], &again["duplicate"]), (&json!(0), &json!(2)));
        let asked: Vec<String> = rest.asked().iter().map(|path| path.rsplit_once('=').unwrap().1.to_owned()).collect();
        assert_eq!(asked, ["1699919999", "1700000099"]);
        assert_eq!(app.get("/ingest/feeds/kraken").await.expect(200)["state"], "stopped");
        let rows = app.get("/audit?action=feed.run").await.expect(200);
        let told: Vec<_> = rows.as_array().unwrap().iter().map(|row| (&row["actor"], &row["object_id"], &row["after"]["since"])).collect();
        assert_eq!(told, [
            (&json!("loopback"), &json!("kraken"), &json!("2023-11-14T00:00:00.000000Z")),
            (&json!("loopback"), &json!("kraken"), &json!(null)),
        ]);
        // No body, with or without the name of a type, is a plain run.
        for headers in [&[][..], &[("content-type", "application/json")]] {
            let plain = app.send("POST", "/ingest/feeds/kraken/run", headers, b"").await.expect(200);
            assert_eq!((&plain["success"], &plain["duplicate"]), (&json!(true), &json!(2)));
        }
        let broken = app.send("POST", "/ingest/feeds/kraken/run", &[("content-type", "application/json")], b"{").await;
        assert_eq!(broken.code(400), "malformed_json");
        let absent = app.post("/ingest/feeds/none/run", &json!({})).await;
        assert_eq!(absent.code(404), "feed_not_found");
        let foreign = json!({ "feed": { "kind": "fred", "symbols": ["DGS10"], "api_key": "x" } });
        let refused = app.post("/ingest/feeds/kraken/run", &foreign).await;
        assert_eq!((refused.code(422).as_str(), refused.pointers()), ("invalid_request", vec!["/feed".to_owned()]));
        app.stop().await;
    }

    async fn observations_that_are_missing_are_left_out_and_revised_ones_correct(backend) {
        let row = |value: &str| format!(r#"{{"observations":[{{"date":"2024-01-02","value":"3.95"}},{{"date":"2024-01-03","value":"."}},{{"date":"2024-01-04","value":"{value}"}}]}}"#);
        let rest = Rest::start(move |_, before| good(row(if before == 0 { "3.99" } else { "4.01" }))).await;
        let configuration = format!("[[feeds]]\nname = \"fred\"\nkind = \"fred\"\nenabled = false\nbase_url = \"{}\"\nallow_private = true\n\
            api_key = \"${{secret:TEST_KEY}}\"\nsymbols = [\"DGS10\"]\n", rest.url());
        let app = TestApp::start_configured(backend, &configuration).await;
        assets(&app, &["DGS10"]).await;
        let counts = |run: &serde_json::Value| ["stored", "duplicate", "corrected"].map(|name| run[name].as_u64().unwrap());
        let run = app.post("/ingest/feeds/fred/run", &json!({})).await.expect(200);
        assert_eq!(counts(&run), [2, 0, 0], "{run}");
        let known_at = "2026-11-23T13:00:00Z";
        app.set_clock("2026-11-24T12:00:00Z");
        let run = app.post("/ingest/feeds/fred/run", &json!({})).await.expect(200);
        assert_eq!(counts(&run), [0, 1, 1], "{run}");
        let closes = async |filter: &str| {
            points(&app, "DGS10", filter).await.into_iter().map(|point| point[1].clone()).collect::<Vec<_>>()
        };
        assert_eq!(closes("source=fred&interval=1d").await, ["3.95", "4.01"]);
        assert_eq!(closes(&format!("source=fred&interval=1d&known_at={known_at}")).await, ["3.95", "3.99"]);
        assert_eq!(app.get("/ingest/feeds/fred").await.expect(200)["counts"]["missing"], 2);
        assert!(rest.asked()[0].contains("api_key=0123456789abcdef"));
        assert!(!app.get("/ingest/feeds").await.text().contains("0123456789abcdef"));
        app.stop().await;
    }

    async fn reference_rates_hold_over_a_weekend(backend) {
        let file = "<Cube><Cube time='2026-11-20'><Cube currency='USD' rate='1.1172'/><Cube currency='XXQ' rate='2'/></Cube></Cube>";
        let rest = Rest::start(move |_, _| good(file)).await;
        let configuration = format!("[[feeds]]\nname = \"ecb\"\nkind = \"ecb\"\nenabled = false\nbase_url = \"{}\"\nallow_private = true\n", rest.url());
        let app = TestApp::start_configured(backend, &configuration).await;
        let run = app.post("/ingest/feeds/ecb/run", &json!({ "since": "2026-11-01" })).await.expect(200);
        assert_eq!((&run["stored"], &run["refused"]), (&json!(1), &json!(1)), "{run}");
        assert_eq!(run["refusals"][0]["symbol"], "XXQ");
        assert_eq!(rest.asked(), ["/stats/eurofxref/eurofxref-hist-90d.xml"]);
        let rates = app.get("/fx?base=EUR&quote=USD").await.expect(200);
        assert_eq!(rates[0]["rate"], "1.1172");
        // Bought on the Sunday: the rate of Friday holds.
        let portfolio = app.portfolio(&json!({ "base_currency": "EUR", "opened_at": "2026-11-22T12:00:00Z" })).await;
        let deposit = json!({ "type": "deposit", "amount": "1117.2", "currency": "USD", "executed_at": "2026-11-22T12:00:00Z" });
        app.post(&format!("/portfolios/{portfolio}/transactions"), &deposit).await.expect(201);
        let found = app.get(&format!("/portfolios/{portfolio}")).await.expect(200);
        assert_eq!(found["performance"]["cash"], "1000", "{found}");
        app.stop().await;
    }
}

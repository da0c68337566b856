//! Many prices at once, and prices taken back.

use crate::on_both;
use crate::support::{Reply, TestApp};
use serde_json::{Value, json};

const CSV: [(&str, &str); 1] = [("content-type", "text/csv")];

async fn csv(app: &TestApp, query: &str, body: &str) -> Reply {
    app.send("POST", &format!("/prices/batch{query}"), &CSV, body.as_bytes()).await
}

fn counts(reply: &Reply) -> [u64; 4] {
    let report = reply.expect(200);
    ["stored", "duplicate", "corrected", "refused"].map(|name| report[name].as_u64().unwrap())
}

async fn prices(app: &TestApp, query: &str) -> String {
    let rows = app.get(&format!("/prices?{query}")).await.expect(200);
    let told =
        |row: &Value| format!("{}{}", row["price"].as_str().unwrap(), row["interval"].as_str().unwrap());
    rows.as_array().unwrap().iter().map(told).collect::<Vec<_>>().join(" ")
}

fn tick(symbol: &str, price: &str, day: u32) -> Value {
    json!({ "symbol": symbol, "price": price, "timestamp": format!("2026-01-{day:02}") })
}

on_both! {
    async fn a_batch_is_recorded_in_the_order_of_its_rows(backend) {
        let app = TestApp::start(backend).await;
        app.gold_and_bitcoin("0").await;
        let candle = json!({ "ticker": "gold", "close": 7, "open": "6.50", "timestamp": "2026-01-02T00:00:00Z",
            "interval": "1d", "source": "desk" });
        let rows = json!([tick("GOLD", "1", 1), tick("BTC-USD", "9.00", 1), candle, tick("GOLD", "2.50", 1),
            tick("GOLD", "2.5", 1), tick("GOLD", "3", 3)]);
        let reply = app.post("/prices/batch", &rows).await;
        assert_eq!(counts(&reply), [4, 1, 1, 0]);
        assert_eq!(reply.json()["results"], Value::Null);
        assert_eq!(prices(&app, "symbol=GOLD").await, "2.50 71d 3");
        assert_eq!(prices(&app, "symbol=BTC-USD").await, "9.00");
        assert_eq!(counts(&app.post("/prices/batch", &rows).await), [0, 4, 2, 0]);
        let again = app.send("POST", "/prices/batch", &[("content-type", "application/json"), ("idempotency-key", "k")],
            json!([tick("GOLD", "5", 5)]).to_string().as_bytes()).await;
        assert_eq!(counts(&again), [1, 0, 0, 0]);
        let again = app.send("POST", "/prices/batch", &[("content-type", "application/json"), ("idempotency-key", "k")],
            json!([tick("GOLD", "5", 5)]).to_string().as_bytes()).await;
        assert_eq!(counts(&again), [1, 0, 0, 0]);
        assert_eq!(again.headers["idempotency-replayed"], "true");
        assert_eq!(counts(&app.post("/prices/batch", &json!([])).await), [0, 0, 0, 0]);
        app.stop().await;
    }

    async fn a_refused_row_refuses_the_batch_or_itself_alone(backend) {
        let app = TestApp::start(backend).await;
        app.gold_and_bitcoin("0").await;
        let rows = json!([
            tick("GOLD", "1", 1), { "symbol": "GOLD", "price": "1" }, tick("NOPE", "1", 1),
            { "symbol": "GOLD", "close": "-1", "timestamp": "2026-01-02" }, 7,
            { "symbol": "GOLD", "price": "1", "timestamp": "2030-01-01", "zzz": 1 },
            { "symbol": "GOLD", "price": "1e400", "timestamp": "2026-02-30", "interval": "7q" }, tick("GOLD", "2", 2),
        ]);
        let pointers = ["/1/timestamp", "/2/symbol", "/3/close", "/4", "/5/timestamp", "/5/zzz", "/6/timestamp",
            "/6/price", "/6/interval"];
        let reply = app.post("/prices/batch", &rows).await;
        assert_eq!(reply.code(422), "invalid_request");
        let sorted = |mut all: Vec<String>| { all.sort(); all };
        assert_eq!(sorted(reply.pointers()), sorted(pointers.map(str::to_owned).to_vec()));
        assert_eq!(prices(&app, "symbol=GOLD").await, "");
        let reply = app.post("/prices/batch?mode=partial", &rows).await;
        assert_eq!(counts(&reply), [2, 0, 0, 6]);
        let report = reply.json();
        let results = report["results"].as_array().unwrap();
        let outcomes: Vec<&str> = results.iter().map(|row| row["outcome"].as_str().unwrap()).collect();
        assert_eq!(outcomes, ["stored", "refused", "refused", "refused", "refused", "refused", "refused", "stored"]);
        assert_eq!(results[3]["line"], 4);
        assert_eq!(results[3]["errors"][0]["pointer"], "/3/close");
        assert!(results[0].get("errors").is_none());
        assert_eq!(prices(&app, "symbol=GOLD").await, "1 2");
        app.stop().await;
    }

    async fn a_table_is_a_batch_as_well(backend) {
        let app = TestApp::start(backend).await;
        app.gold_and_bitcoin("0").await;
        let table = "Symbol,timestamp,price,volume,interval\nGOLD,2026-01-01,1.50,,\n\nGOLD,2026-01-02,2,10.0,1d\nBTC-USD,2026-01-01T10:00:00+01:00,\"3\",,\n";
        assert_eq!(counts(&csv(&app, "", table).await), [3, 0, 0, 0]);
        assert_eq!(counts(&csv(&app, "", table).await), [0, 3, 0, 0]);
        assert_eq!(prices(&app, "symbol=GOLD").await, "1.50 21d");
        let found = app.get("/prices?symbol=BTC-USD").await.expect(200);
        assert_eq!((&found[0]["observed_at"], &found[0]["volume"]), (&json!("2026-01-01T09:00:00.000000Z"), &Value::Null));
        let bad = "symbol;timestamp;price\nGOLD;2026-01-05;5\nGOLD;2026-01-06;x\nGOLD;2026-01-07\nNOPE;2026-01-08;1\nGOLD;;1\n";
        let refused = csv(&app, "", bad).await;
        assert_eq!(refused.code(422), "invalid_request");
        assert_eq!(refused.pointers(), ["/lines/3/price", "/lines/4", "/lines/5/symbol", "/lines/6/timestamp"]);
        assert_eq!(counts(&csv(&app, "?mode=partial", bad).await), [1, 0, 0, 4]);
        for (body, pointers) in [
            ("", &[][..]), ("symbol,when\nGOLD,1\n", &["/lines/1"]), ("price,price\n1,1\n", &["/lines/1"]),
        ] {
            let reply = csv(&app, "", body).await;
            assert_eq!((reply.code(422), reply.pointers()), ("invalid_request".to_owned(), pointers.iter().map(|p| (*p).to_owned()).collect()), "{body}");
        }
        app.stop().await;
    }

    async fn a_batch_has_limits(backend) {
        let app = TestApp::start(backend).await;
        app.gold_and_bitcoin("0").await;
        let row = |n: usize| json!({ "symbol": "GOLD", "price": n, "timestamp": format!("2026-01-01T00:00:00.{n:06}Z") });
        let most: Value = (0..10_000).map(row).collect();
        assert_eq!(counts(&app.post("/prices/batch", &most).await), [10_000, 0, 0, 0]);
        let more: Value = (0..10_001).map(row).collect();
        assert_eq!(app.post("/prices/batch", &more).await.code(422), "invalid_request");
        let large = format!("symbol,timestamp,price\n{}", " ".repeat(9 << 20));
        assert_eq!(csv(&app, "", &large).await.code(413), "body_too_large");
        let plain = app.send("POST", "/prices/batch", &[("content-type", "text/plain")], b"x").await;
        assert_eq!(plain.code(415), "unsupported_media_type");
        let reply = app.post("/prices/batch?mode=some&zzz=1", &json!([])).await;
        assert_eq!((reply.code(422), reply.pointers()), ("invalid_request".to_owned(), vec!["mode".to_owned(), "zzz".to_owned()]));
        app.stop().await;
    }

    async fn a_withdrawn_price_is_hidden_from_then_on_and_never_before(backend) {
        let app = TestApp::start(backend).await;
        let id = app.gold_and_bitcoin("100000").await;
        let open = json!({ "asset_symbol": "GOLD", "position_type": "LONG", "quantity": 10, "price": 1 });
        let position = app.post(&format!("/portfolios/{id}/positions"), &open).await.expect(201);
        app.post("/prices/batch", &json!([tick("GOLD", "100", 1), tick("GOLD", "900", 2)])).await.expect(200);
        app.set_clock("2026-11-23T13:00:00Z");
        let path = "/prices?symbol=gold&timestamp=2026-01-02T00:00:00Z";
        let gone = app.delete(path).await.expect(200);
        assert_eq!(gone, json!({ "success": true, "outcome": "withdrawn",
            "updated_positions": [{ "portfolio_id": id, "position_id": position["id"] }] }));
        assert_eq!(prices(&app, "symbol=GOLD").await, "100");
        assert_eq!(app.get("/prices/latest?symbols=GOLD").await.expect(200)[0]["price"], "100");
        assert_eq!(prices(&app, "symbol=GOLD&known_at=2026-11-23T12:30:00Z").await, "100 900");
        let value = |known_at: &'static str| {
            let path = format!("/portfolios/{id}/pnl{known_at}");
            let app = &app;
            async move { app.get(&path).await.expect(200)["total_value"].clone() }
        };
        // 100,000 - 10 paid, and 10 x 100; or 10 x 900 as it was known before.
        assert_eq!(value("").await, "100990");
        assert_eq!(value("?known_at=2026-11-23T12:30:00Z").await, "108990");
        let app = app.restart().await;
        assert_eq!(app.delete(path).await.code(404), "price_not_found");
        let again = app.post("/prices", &tick("GOLD", "900", 2)).await.expect(200);
        assert_eq!(again["outcome"], "corrected");
        for (query, status, code, parameters) in [
            ("", 422, "invalid_request", &["symbol", "timestamp"][..]),
            ("?symbol=GOLD&timestamp=x&interval=7q", 422, "invalid_request", &["timestamp", "interval"]),
            ("?symbol=GOLD&timestamp=2026-01-01&zzz=1", 422, "invalid_request", &["zzz"]),
            ("?symbol=NOPE&timestamp=2026-01-01", 404, "asset_not_found", &[]),
            ("?symbol=GOLD&timestamp=2026-01-01&source=other", 404, "price_not_found", &[]),
            ("?symbol=GOLD&timestamp=2026-01-01&interval=1d", 404, "price_not_found", &[]),
            ("?symbol=GOLD&timestamp=2026-01-01T00:00:00.000001Z", 404, "price_not_found", &[]),
        ] {
            let reply = app.delete(&format!("/prices{query}")).await;
            assert_eq!((reply.code(status).as_str(), reply.pointers()), (code, parameters.iter().map(|p| (*p).to_owned()).collect()), "{query}");
        }
        // A refused withdrawal leaves no source behind.
        assert!(!app.get("/prices/sources").await.expect(200).to_string().contains("other"));
        assert_eq!(app.delete("/prices?symbol=GOLD&timestamp=2026-01-01&interval=tick").await.expect(200)["outcome"], "withdrawn");
        app.stop().await;
    }
}

//! Prices and rates: versions, histories, and what was known when.

use crate::on_both;
use crate::support::{START, TestApp};
use serde_json::{Value, json};

fn column(rows: &Value, name: &str) -> String {
    let rows = rows.as_array().unwrap();
    rows.iter().map(|row| row[name].as_str().unwrap_or("null")).collect::<Vec<_>>().join(" ")
}

impl TestApp {
    async fn price(&self, symbol: &str, price: &str, at: &str, source: &str) -> String {
        let body = json!({ "symbol": symbol, "price": price, "timestamp": at, "source": source });
        self.post("/prices", &body).await.expect(200)["outcome"].as_str().unwrap().to_owned()
    }

    async fn rate(&self, rate: &str, at: &str) -> String {
        let body = json!({ "base": "EUR", "quote": "USD", "rate": rate, "timestamp": at });
        self.post("/fx", &body).await.expect(200)["outcome"].as_str().unwrap().to_owned()
    }
}

on_both! {
    async fn a_history_is_half_open_filtered_and_paged(backend) {
        let app = TestApp::start(backend).await;
        app.gold_and_bitcoin("0").await;
        for (price, at) in [
            ("3", "2026-01-03T00:00:00Z"), ("1", "2026-01-01T00:00:00Z"), ("2", "2026-01-02T23:59:59.999999Z"),
            ("4", "2026-01-04"), ("5", "2026-01-05T00:00:00+01:00"), ("6", "2026-01-06T00:00:00"),
        ] {
            assert_eq!(app.price("GOLD", price, at, "api").await, "stored");
        }
        app.price("GOLD", "1.5", "2026-01-01T00:00:00Z", "other").await;
        let candle = json!({ "ticker": "GOLD", "close": "7", "open": 6, "high": "8.0", "low": 5, "volume": "1e3",
            "timestamp": "2026-01-01T00:00:00Z", "interval": "1d" });
        assert_eq!(app.post("/prices", &candle).await.pointers(), ["/volume"]);
        let candle = json!({ "ticker": "GOLD", "close": "7", "open": 6, "high": "8.0", "low": 5, "volume": 1000,
            "timestamp": "2026-01-01T00:00:00Z", "interval": "1d" });
        app.post("/prices", &candle).await.expect(200);
        app.price("BTC-USD", "9", "2026-01-01", "api").await;
        for (query, prices) in [
            ("", "1 1.5 7 2 3 4 5 6"),
            ("&source=api", "1 7 2 3 4 5 6"),
            ("&interval=tick", "1 1.5 2 3 4 5 6"),
            ("&interval=1d", "7"),
            ("&interval=1h", ""),
            ("&from=2026-01-03T00:00:00Z&to=2026-01-04T00:00:00Z", "3"),
            ("&from=2026-01-03&to=2026-01-03", "3"),
            ("&from=2026-01-02&to=2026-01-04", "2 3 4 5"),
            ("&from=2026-01-03T00:00:00.000001Z&to=2026-01-04T00:00:00.000001Z", "4"),
            ("&to=2026-01-02T23:59:59.999999Z&source=api&interval=tick", "1"),
            ("&known_at=2026-11-23T11:59:59Z", ""),
        ] {
            let path = format!("/prices?symbol=gold{query}");
            let all = app.get(&path).await.expect(200);
            assert_eq!(column(&all, "price"), prices, "{query}");
            for limit in [1, 2, 3] {
                assert_eq!(Value::Array(app.every(&path, limit).await), all, "{query} by {limit}");
            }
        }
        let candle = &app.get("/prices?symbol=GOLD&interval=1d").await.expect(200)[0];
        let wanted = json!({ "symbol": "GOLD", "price": "7", "open": "6", "high": "8.0", "low": "5", "volume": "1000",
            "observed_at": "2026-01-01T00:00:00.000000Z", "source": "api", "interval": "1d",
            "recorded_at": candle["recorded_at"] });
        assert_eq!(candle, &wanted);
        app.stop().await;
    }

    async fn a_whole_history_is_written_as_it_is_read(backend) {
        let app = TestApp::start(backend).await;
        app.gold_and_bitcoin("0").await;
        // More than are read at a time, of two sources, and some moments of both.
        let row = |n: usize| json!({ "symbol": "GOLD", "price": format!("{n}.50"), "timestamp": format!("2026-01-01T00:00:00.{:06}Z", n / 2),
            "source": if n.is_multiple_of(2) { "a,b" } else { "z" }, "interval": if n % 4 < 2 { "1m" } else { "" }, "high": n + 1 });
        let rows: Value = (0..9_999).map(row).collect();
        app.post("/prices/batch", &rows).await.expect(200);
        let pages = Value::Array(app.every("/prices?symbol=GOLD", 777).await);
        let lines = app.get("/prices?symbol=GOLD&format=ndjson").await;
        assert_eq!(lines.headers["content-type"], "application/x-ndjson");
        let lines: Vec<Value> = lines.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 9_999);
        assert_eq!(Value::Array(lines), pages);
        let table = app.get("/prices?symbol=GOLD&source=a,b&from=2026-01-01T00:00:00.000002Z&to=2026-01-01T00:00:00.000004Z&format=csv").await.text();
        let recorded_at = pages[0]["recorded_at"].as_str().unwrap();
        assert_eq!(table, format!("symbol,price,open,high,low,volume,observed_at,source,interval,recorded_at\n\
            GOLD,4.50,,5,,,2026-01-01T00:00:00.000002Z,\"a,b\",1m,{recorded_at}\n\
            GOLD,6.50,,7,,,2026-01-01T00:00:00.000003Z,\"a,b\",,{recorded_at}\n"));
        assert_eq!(app.get("/prices?symbol=BTC-USD&format=csv").await.text().lines().count(), 1);
        let refused = app.get("/prices?symbol=GOLD&format=xml&limit=5").await;
        assert_eq!(refused.pointers(), ["format"]);
        assert_eq!(app.get("/prices?symbol=GOLD&format=csv&limit=5").await.pointers(), ["limit"]);
        assert_eq!(app.get("/prices?symbol=NOPE&format=csv").await.code(404), "asset_not_found");
        // In the units of today, as the pages are.
        app.post("/assets/GOLD/actions", &json!({ "type": "split", "ratio": 2, "executed_at": "2026-02-01" })).await.expect(201);
        let split = app.get("/prices?symbol=GOLD&adjusted=splits&format=ndjson").await.text();
        let last: Value = serde_json::from_str(split.lines().last().unwrap()).unwrap();
        assert_eq!((&last["price"], &last["high"]), (&json!("4999.25"), &json!("4999.5")));
        app.stop().await;
    }

    async fn a_correction_replaces_the_point_and_the_old_version_stays_readable(backend) {
        let app = TestApp::start(backend).await;
        app.gold_and_bitcoin("0").await;
        let at = "2026-01-01T00:00:00Z";
        for (hour, price, outcome) in [
            (12, "100", "stored"), (13, "100.00", "duplicate"), (14, "101", "corrected"), (15, "100", "corrected"),
        ] {
            app.set_clock(&format!("2026-11-23T{hour}:00:00Z"));
            assert_eq!(app.price("GOLD", price, at, "api").await, outcome);
        }
        for (known_at, price) in [("13:30", "100"), ("14:30", "101"), ("15:00", "100")] {
            let known = format!("known_at=2026-11-23T{known_at}:00Z");
            let history = app.get(&format!("/prices?symbol=GOLD&{known}")).await.expect(200);
            assert_eq!(column(&history, "price"), price, "{known_at}");
            let read = app.get(&format!("/assets/GOLD/price?{known}")).await.expect(200);
            assert_eq!(read, history[0]);
        }
        assert_eq!(app.get("/assets/GOLD/price?known_at=2026-11-23T11:59:00Z").await.code(404), "price_not_found");
        // A correction replaces the whole point: what it does not give is null.
        let candle = json!({ "symbol": "GOLD", "price": 100, "high": 110, "timestamp": at });
        assert_eq!(app.post("/prices", &candle).await.expect(200)["outcome"], "corrected");
        assert_eq!(app.price("GOLD", "100", at, "api").await, "corrected");
        assert_eq!(app.get("/assets/GOLD/price").await.expect(200)["high"], Value::Null);
        app.stop().await;
    }

    async fn the_price_at_a_moment_is_the_newest_before_it(backend) {
        let app = TestApp::start(backend).await;
        app.gold_and_bitcoin("0").await;
        let priority = json!({ "source_priority": ["good", "api"], "effective_at": "beginning" });
        app.patch("/assets/GOLD", &priority).await.expect(200);
        app.price("GOLD", "30", "2026-01-03T00:00:00Z", "api").await;
        app.price("GOLD", "10", "2026-01-01T00:00:00Z", "good").await;
        app.price("GOLD", "11", "2026-01-01T00:00:00Z", "api").await;
        app.price("GOLD", "12", "2026-01-01T00:00:00Z", "zzz").await;
        app.price("GOLD", "20", "2026-01-02T12:00:00Z", "zzz").await;
        app.price("GOLD", "21", "2026-01-02T12:00:00Z", "yyy").await;
        for (as_of, price) in [
            ("2026-01-01T00:00:00Z", "10"), ("2026-01-01", "10"), ("2026-01-02T11:59:59Z", "10"),
            ("2026-01-02", "21"), ("2026-01-02T23:59:59Z", "21"), ("2026-01-03", "30"), ("9999-12-31", "30"),
        ] {
            let read = app.get(&format!("/assets/GOLD/price?as_of={as_of}")).await.expect(200);
            assert_eq!(read["price"], price, "{as_of}");
        }
        assert_eq!(app.get("/assets/GOLD/price?as_of=2025-12-31").await.code(404), "price_not_found");
        let latest = app.get("/prices/latest?symbols=btc-usd,GOLD,%20gold").await.expect(200);
        assert_eq!(column(&latest, "symbol"), "BTC-USD GOLD GOLD");
        assert_eq!(column(&latest, "price"), "null 30 30");
        let (app, before) = (app.restart().await, latest);
        assert_eq!(app.get("/prices/latest?symbols=BTC-USD,GOLD,GOLD").await.expect(200), before);
        app.stop().await;
    }

    async fn the_newest_price_of_equal_moments_follows_the_source_priority(backend) {
        let app = TestApp::start(backend).await;
        app.gold_and_bitcoin("0").await;
        app.patch("/assets/GOLD", &json!({ "source_priority": ["good", "api"] })).await.expect(200);
        for (source, shown) in [("zzz", "zzz"), ("api", "api"), ("good", "good"), ("yyy", "good"), ("api", "good")] {
            app.price("GOLD", "1", "2026-01-01", source).await;
            let read = app.get("/assets/GOLD/price").await.expect(200);
            let latest = app.get("/prices/latest?symbols=GOLD").await.expect(200);
            assert_eq!((&read["source"], &latest[0]["source"]), (&json!(shown), &json!(shown)));
        }
        app.patch("/assets/GOLD", &json!({ "source_priority": ["yyy"] })).await.expect(200);
        assert_eq!(app.get("/assets/GOLD/price").await.expect(200)["source"], "yyy");
        assert_eq!(app.get("/prices/latest?symbols=GOLD").await.expect(200)[0]["source"], "yyy");
        app.stop().await;
    }

    async fn points_without_a_timestamp_are_different_points(backend) {
        let app = TestApp::start(backend).await;
        app.gold_and_bitcoin("0").await;
        for price in ["1", "1", "2"] {
            let body = json!({ "symbol": "GOLD", "price": price });
            assert_eq!(app.post("/prices", &body).await.expect(200)["outcome"], "stored");
            let body = json!({ "base": "EUR", "quote": "USD", "rate": price });
            assert_eq!(app.post("/fx", &body).await.expect(200)["outcome"], "stored");
        }
        let history = app.get("/prices?symbol=GOLD").await.expect(200);
        let start = START.trim_end_matches('Z');
        let stamps = [0, 1, 2].map(|micro| format!("{start}.{micro:06}Z")).join(" ");
        assert_eq!((column(&history, "observed_at"), column(&history, "price")), (stamps.clone(), "1 1 2".to_owned()));
        let rates = app.get("/fx?base=EUR&quote=USD").await.expect(200);
        assert_eq!((column(&rates, "timestamp"), column(&rates, "rate")), (stamps, "1 1 2".to_owned()));
        app.stop().await;
    }

    async fn every_open_position_is_named_whatever_the_outcome(backend) {
        let app = TestApp::start(backend).await;
        let first = app.gold_and_bitcoin("100000").await;
        let second = app.portfolio(&json!({ "initial_capital": 100_000 })).await;
        let mut wanted = Vec::new();
        for (id, side) in [(&first, "LONG"), (&second, "SHORT")] {
            let open = json!({ "asset_symbol": "GOLD", "position_type": side, "quantity": 1, "price": 10 });
            let position = app.post(&format!("/portfolios/{id}/positions"), &open).await.expect(201);
            wanted.push(json!({ "portfolio_id": id, "position_id": position["id"] }));
        }
        for (price, at) in [("5", "2026-01-02"), ("5", "2026-01-02"), ("6", "2026-01-02"), ("1", "2026-01-01")] {
            let body = json!({ "symbol": "GOLD", "price": price, "timestamp": at });
            assert_eq!(app.post("/prices", &body).await.expect(200)["updated_positions"], json!(wanted));
        }
        let body = json!({ "symbol": "BTC-USD", "price": 1 });
        assert_eq!(app.post("/prices", &body).await.expect(200)["updated_positions"], json!([]));
        app.stop().await;
    }

    async fn zero_is_a_price_and_below_zero_only_where_allowed(backend) {
        let app = TestApp::start(backend).await;
        app.gold_and_bitcoin("0").await;
        assert_eq!(app.price("GOLD", "0", "2026-01-01", "api").await, "stored");
        let below = json!({ "symbol": "GOLD", "price": "-37.63", "timestamp": "2020-04-20" });
        assert_eq!(app.post("/prices", &below).await.pointers(), ["/price"]);
        let allow = json!({ "allows_negative_price": true, "effective_at": "beginning" });
        app.patch("/assets/GOLD", &allow).await.expect(200);
        app.post("/prices", &below).await.expect(200);
        assert_eq!(app.get("/assets/GOLD/price?as_of=2020-05-01").await.expect(200)["price"], "-37.63");
        app.stop().await;
    }

    async fn rates_have_histories_and_versions_too(backend) {
        let app = TestApp::start(backend).await;
        for (hour, rate, at, outcome) in [
            (12, "1.1", "2026-01-02", "stored"), (13, "1.10", "2026-01-02T00:00:00Z", "duplicate"),
            (14, "1.2", "2026-01-02", "corrected"), (15, "1.3", "2026-01-01", "stored"),
            (16, "1.1", "2026-01-02", "corrected"), (17, "1.4", "2026-01-03T00:00:00Z", "stored"),
        ] {
            app.set_clock(&format!("2026-11-23T{hour}:00:00Z"));
            assert_eq!(app.rate(rate, at).await, outcome);
        }
        let other = json!({ "base": "EUR", "quote": "USD", "rate": 9, "timestamp": "2026-01-02", "source": "ecb" });
        app.post("/fx", &other).await.expect(200);
        for (query, rates) in [
            ("", "1.3 1.1 9 1.4"),
            ("&from=2026-01-02&to=2026-01-02", "1.1 9"),
            ("&from=2026-01-02T00:00:00.000001Z", "1.4"),
            ("&to=2026-01-03T00:00:00Z", "1.3 1.1 9"),
            ("&known_at=2026-11-23T14:30:00Z", "1.2"),
            ("&known_at=2026-11-23T11:00:00Z", ""),
        ] {
            let path = format!("/fx?base=EUR&quote=USD{query}");
            let all = app.get(&path).await.expect(200);
            assert_eq!(column(&all, "rate"), rates, "{query}");
            for limit in [1, 2, 3] {
                assert_eq!(Value::Array(app.every(&path, limit).await), all, "{query} by {limit}");
            }
        }
        assert_eq!(app.get("/fx?base=USD&quote=EUR").await.expect(200), json!([]));
        app.stop().await;
    }
}

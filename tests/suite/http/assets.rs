//! Assets, their dated terms, and added units of money.

use crate::on_both;
use crate::support::TestApp;
use serde_json::{Value, json};

fn symbols(rows: &Value) -> String {
    let rows = rows.as_array().unwrap();
    rows.iter().map(|row| row["symbol"].as_str().unwrap()).collect::<Vec<_>>().join(" ")
}

on_both! {
    async fn an_asset_is_created_whole_and_found_by_id_and_symbol(backend) {
        let app = TestApp::start(backend).await;
        app.gold_and_bitcoin("0").await;
        let body = json!({ "symbol": "xbtusd", "name": "Perpetual", "asset_type": "FUTURE", "market_code": "binance",
            "inverse": true, "settlement": "BTC", "stale_after": 60, "source_priority": ["a", "b"] });
        let reply = app.post("/assets", &body).await;
        let created = reply.expect(201);
        assert_eq!(reply.headers["location"], format!("/assets/{}", created["id"].as_str().unwrap()));
        for (name, value) in [
            ("symbol", json!("XBTUSD")), ("status", json!("ACTIVE")), ("currency", json!("USD")),
            ("multiplier", json!("1")), ("inverse", json!(true)), ("margined", json!(true)),
            ("settlement", json!("BTC")), ("allows_negative_price", json!(false)), ("stale_after", json!(60)),
            ("source_priority", json!(["a", "b"])), ("version", json!(1)), ("metadata", json!({})),
        ] {
            assert_eq!(created[name], value, "{name}");
        }
        let market = app.get("/markets/BINANCE").await.expect(200);
        assert_eq!(created["market_id"], market["id"]);
        for name in ["XBTUSD", "xbtusd", created["id"].as_str().unwrap()] {
            let mut read = app.get(&format!("/assets/{name}")).await.expect(200);
            read["success"] = json!(true);
            assert_eq!(read, created);
        }
        app.stop().await;
    }

    async fn assets_are_filtered_sorted_and_paged(backend) {
        let app = TestApp::start(backend).await;
        app.gold_and_bitcoin("0").await;
        for (symbol, name, kind) in
            [("AA", "same", "STOCK"), ("B.B", "same", "ETF"), ("ZZ", "Alpha", "STOCK"), ("C^C", "alpha", "INDEX")]
        {
            let body = json!({ "symbol": symbol, "name": name, "asset_type": kind, "market_code": "COMEX" });
            app.post("/assets", &body).await.expect(201);
        }
        app.post("/assets/ZZ/delist", &Value::Null).await.expect(200);
        for (query, wanted) in [
            ("", "GOLD BTC-USD AA B.B ZZ C^C"),
            ("?type=STOCK", "AA ZZ"),
            ("?status=DELISTED", "ZZ"),
            ("?market=binance", "BTC-USD"),
            ("?q=alph", "ZZ C^C"),
            ("?q=.", "B.B"),
            ("?sort=symbol", "AA B.B BTC-USD C^C GOLD ZZ"),
            ("?sort=-name", "AA B.B C^C GOLD BTC-USD ZZ"),
        ] {
            let path = format!("/assets{query}");
            let all = app.get(&path).await.expect(200);
            // Equal names keep the order of the sort, and its reverse in the reverse.
            let wanted = if query == "?sort=-name" { "B.B AA C^C GOLD BTC-USD ZZ" } else { wanted };
            assert_eq!(symbols(&all), wanted, "{query}");
            for limit in [1, 2, 4] {
                assert_eq!(Value::Array(app.every(&path, limit).await), all, "{query} by {limit}");
            }
        }
        app.stop().await;
    }

    async fn a_merge_patch_changes_what_it_names_and_null_clears(backend) {
        let app = TestApp::start(backend).await;
        app.gold_and_bitcoin("0").await;
        let body = json!({ "name": "Gold bar", "asset_type": "FUTURE", "status": "SUSPENDED", "market_code": "BINANCE",
            "currency": "EUR", "multiplier": "100.50", "margined": true, "allows_negative_price": true,
            "stale_after": 3600, "source_priority": ["x"], "metadata": { "k": [] } });
        let patched = app.patch("/assets/gold", &body).await.expect(200);
        for (name, value) in body.as_object().unwrap().iter().filter(|(name, _)| *name != "market_code") {
            assert_eq!(&patched[name], value, "{name}");
        }
        assert_eq!(patched["market_id"], app.get("/markets/BINANCE").await.expect(200)["id"]);
        assert_eq!((&patched["settlement"], &patched["version"]), (&json!("EUR"), &json!(2)));
        let cleared = json!({ "stale_after": null, "source_priority": null, "metadata": null });
        let cleared = app.patch("/assets/GOLD", &cleared).await.expect(200);
        assert_eq!((&cleared["stale_after"], &cleared["source_priority"]), (&Value::Null, &json!([])));
        assert_eq!((&cleared["metadata"], &cleared["multiplier"]), (&json!({}), &json!("100.50")));
        assert_eq!(app.get("/assets/GOLD").await.expect(200), cleared);
        app.stop().await;
    }

    async fn only_an_active_asset_is_opened(backend) {
        let app = TestApp::start(backend).await;
        let id = app.gold_and_bitcoin("100000").await;
        let path = format!("/portfolios/{id}/positions");
        let open = json!({ "asset_symbol": "GOLD", "position_type": "LONG", "quantity": 1, "price": 2000 });
        let opened = app.post(&path, &open).await.expect(201);
        for (action, status) in [("suspend", "SUSPENDED"), ("deactivate", "INACTIVE"), ("delist", "DELISTED")] {
            let asset = app.post(&format!("/assets/GOLD/{action}"), &Value::Null).await.expect(200);
            assert_eq!(asset["status"], status);
            assert_eq!(app.post(&path, &open).await.code(400), "asset_inactive");
        }
        // What is held can still be closed.
        let close = format!("{path}/{}/close", opened["id"].as_str().unwrap());
        app.post(&close, &json!({ "price": 2000 })).await.expect(200);
        app.post("/assets/GOLD/activate", &Value::Null).await.expect(200);
        app.post(&path, &open).await.expect(201);
        app.stop().await;
    }

    async fn terms_apply_from_their_date_and_as_they_were_known(backend) {
        let app = TestApp::start(backend).await;
        let id = app.gold_and_bitcoin("1000000").await;
        let buy = |at: &str| json!({ "type": "buy", "symbol": "GOLD", "quantity": 1, "price": 100, "executed_at": at });
        let entries = json!([buy("2026-01-10T00:00:00Z"), buy("2026-03-10T00:00:00Z")]);
        let portfolio = app.portfolio(&json!({ "opened_at": "2026-01-01", "initial_capital": 100_000 })).await;
        let path = format!("/portfolios/{portfolio}");
        app.post(&format!("{path}/transactions"), &entries).await.expect(201);
        let spent = |read: &Value| read["performance"]["cash"].as_str().unwrap().to_owned();
        assert_eq!(spent(&app.get(&path).await.expect(200)), "99800");
        app.set_clock("2026-11-23T13:00:00Z");
        let change = json!({ "multiplier": 10, "effective_at": "2026-02-01T00:00:00Z" });
        app.patch("/assets/GOLD", &change).await.expect(200);
        // Only the second trade was of contracts of ten, and before the change was known neither was.
        assert_eq!(spent(&app.get(&path).await.expect(200)), "98900");
        assert_eq!(spent(&app.get(&format!("{path}?known_at=2026-11-23T12:30:00Z")).await.expect(200)), "99800");
        let beginning = json!({ "multiplier": 2, "effective_at": "beginning" });
        app.patch("/assets/GOLD", &beginning).await.expect(200);
        assert_eq!(spent(&app.get(&path).await.expect(200)), "98800");
        assert_eq!(app.get(&format!("/portfolios/{id}")).await.expect(200)["performance"]["cash"], "1000000");
        app.stop().await;
    }

    async fn an_added_currency_can_be_used(backend) {
        let app = TestApp::start(backend).await;
        app.gold_and_bitcoin("0").await;
        let asset = json!({ "symbol": "P", "name": "P", "asset_type": "STOCK", "market_code": "COMEX", "currency": "PTS" });
        assert_eq!(app.post("/assets", &asset).await.pointers(), ["/currency"]);
        assert_eq!(app.get("/currencies").await.expect(200), json!([]));
        let unit = json!({ "code": "PTS", "name": "Points", "minor_units": 0 });
        let created = app.post("/currencies", &unit).await.expect(201);
        assert_eq!(created, json!({ "success": true, "id": "PTS", "code": "PTS", "name": "Points", "minor_units": 0 }));
        assert_eq!(app.get("/currencies").await.expect(200), json!([unit]));
        app.post("/assets", &asset).await.expect(201);
        app.stop().await;
    }
}

//! Markets: creating, finding, changing.

use crate::on_both;
use crate::support::TestApp;
use serde_json::{Value, json};

fn column(rows: &[Value], name: &str) -> Vec<String> {
    rows.iter().map(|row| row[name].as_str().unwrap().to_owned()).collect()
}

/// Seven markets; two share a name, and names sort differently for people than by bytes.
async fn seven(app: &TestApp) {
    let markets = [
        ("nyse", "beta", "STOCK_EXCHANGE"),
        ("B2", "Alpha", "OTC"),
        ("C_3", "alpha", "OTC"),
        ("D4", "beta", "FOREX_MARKET"),
        ("É5", "Überbörse 100%", "OTC"),
        ("F-6", "Zeta_x", "CRYPTO_EXCHANGE"),
        ("a7", "zeta x", "DERIVATIVES_EXCHANGE"),
    ];
    for (code, name, kind) in markets {
        let body = json!({ "code": code, "name": name, "market_type": kind, "timezone": "Europe/Zurich" });
        app.post("/markets", &body).await.expect(201);
    }
}

on_both! {
    async fn a_market_is_created_whole_and_found_by_id_and_code(backend) {
        let app = TestApp::start(backend).await;
        let body = json!({ "code": " comex ", "name": "COMEX", "market_type": "COMMODITIES_EXCHANGE",
            "timezone": "America/New_York", "currency": null, "opening_time": "09:30", "closing_time": "16:00:30",
            "trading_days": [4, 0, 0], "metadata": { "mic": "XCEC", "n": 1.50 } });
        let reply = app.post("/markets", &body).await;
        let created = reply.expect(201);
        assert_eq!(reply.headers["location"], format!("/markets/{}", created["id"].as_str().unwrap()));
        let wanted = json!({ "success": true, "id": created["id"], "created_at": "2026-11-23T12:00:00.000000Z",
            "updated_at": "2026-11-23T12:00:00.000000Z", "code": "COMEX", "name": "COMEX",
            "market_type": "COMMODITIES_EXCHANGE", "status": "CLOSED", "timezone": "America/New_York",
            "currency": "USD", "opening_time": "09:30:00", "closing_time": "16:00:30", "trading_days": [0, 4],
            "metadata": { "mic": "XCEC", "n": 1.50 }, "version": 1 });
        assert_eq!(created, wanted);
        assert!(String::from_utf8_lossy(&reply.body).contains("1.5"), "metadata comes back to the letter");
        for name in ["COMEX", "comex", created["id"].as_str().unwrap()] {
            let mut read = app.get(&format!("/markets/{name}")).await.expect(200);
            read["success"] = json!(true);
            assert_eq!(read, created);
        }
        assert_eq!(app.post("/markets", &body).await.code(409), "duplicate_market");
        let (app, before) = (app.restart().await, created);
        assert_eq!(app.get("/markets/COMEX").await.expect(200)["created_at"], before["created_at"]);
        app.stop().await;
    }

    async fn markets_are_filtered_sorted_and_paged(backend) {
        let app = TestApp::start(backend).await;
        assert_eq!(app.get("/markets").await.expect(200), json!([]));
        seven(&app).await;
        for (query, codes) in [
            ("", "NYSE B2 C_3 D4 É5 F-6 A7"),
            ("?type=OTC", "B2 C_3 É5"),
            ("?status=OPEN", ""),
            ("?q=ALPHA", "B2 C_3"),
            ("?q=_", "C_3 F-6"),
            ("?q=%25", "É5"),
            ("?q=a&type=OTC", "B2 C_3"),
            ("?sort=code", "A7 B2 C_3 D4 F-6 NYSE É5"),
            ("?sort=-code", "É5 NYSE F-6 D4 C_3 B2 A7"),
            ("?sort=name", "B2 F-6 C_3 NYSE D4 A7 É5"),
            ("?sort=-name", "É5 A7 D4 NYSE C_3 F-6 B2"),
            ("?sort=-created_at", "A7 F-6 É5 D4 C_3 B2 NYSE"),
        ] {
            let path = format!("/markets{query}");
            let all = app.get(&path).await.expect(200);
            assert_eq!(column(all.as_array().unwrap(), "code").join(" "), codes, "{query}");
            for limit in [1, 2, 3, 7] {
                assert_eq!(Value::Array(app.every(&path, limit).await), all, "{query} by {limit}");
            }
        }
        // No more rows, no next page.
        assert!(!app.get("/markets?limit=1000").await.headers.contains_key("link"));
        app.stop().await;
    }

    async fn a_merge_patch_changes_what_it_names_and_null_clears(backend) {
        let app = TestApp::start(backend).await;
        seven(&app).await;
        app.set_clock("2026-11-24T00:00:00Z");
        let body = json!({ "name": "New York", "opening_time": "09:30", "closing_time": "16:00", "status": "PRE_MARKET",
            "currency": "GBp", "metadata": { "a": 1 }, "timezone": "America/New_York", "trading_days": [6] });
        let patched = app.patch("/markets/NYSE", &body).await.expect(200);
        for (name, value) in body.as_object().unwrap() {
            let shown = value.as_str().filter(|text| text.len() == 5 && text.contains(':'));
            assert_eq!(patched[name], shown.map_or_else(|| value.clone(), |time| json!(format!("{time}:00"))));
        }
        assert_eq!(patched["created_at"], "2026-11-23T12:00:00.000000Z");
        assert_eq!((&patched["version"], &patched["code"]), (&json!(2), &json!("NYSE")));
        assert_eq!(patched["updated_at"], "2026-11-24T00:00:00.000000Z");
        let cleared = json!({ "opening_time": null, "closing_time": null, "metadata": null });
        let cleared = app.patch("/markets/nyse", &cleared).await.expect(200);
        assert_eq!((&cleared["opening_time"], &cleared["metadata"]), (&Value::Null, &json!({})));
        assert_eq!(cleared["name"], "New York");
        assert_eq!(app.get("/markets/NYSE").await.expect(200), cleared);
        app.stop().await;
    }

    async fn a_market_opens_closes_and_halts(backend) {
        let app = TestApp::start(backend).await;
        seven(&app).await;
        for (action, status, version) in
            [("open", "OPEN", 2), ("open", "OPEN", 2), ("halt", "HALTED", 3), ("close", "CLOSED", 4)]
        {
            let market = app.post(&format!("/markets/d4/{action}"), &Value::Null).await.expect(200);
            assert_eq!((&market["status"], &market["version"]), (&json!(status), &json!(version)));
        }
        app.post("/markets/B2/open", &Value::Null).await.expect(200);
        let open = app.get("/markets?status=OPEN").await.expect(200);
        assert_eq!(column(open.as_array().unwrap(), "code"), ["B2"]);
        app.stop().await;
    }
}

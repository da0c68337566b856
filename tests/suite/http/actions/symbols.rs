//! Another name for the same asset.

use super::{act, asset, book, enter, pnl, price, service, trade};
use crate::on_both;
use serde_json::{Value, json};

fn change(new_symbol: &str, executed_at: &str) -> Value {
    json!({ "type": "symbol_change", "new_symbol": new_symbol, "executed_at": executed_at })
}

on_both! {
    async fn an_asset_goes_on_under_its_new_symbol_and_is_found_by_the_old(backend) {
        let app = service(backend, &["ACME"]).await;
        app.set_clock("2026-12-01T12:00:00Z");
        let id = book(&app, &json!({})).await;
        enter(&app, &id, trade("buy", "10", "100", "2026-01-05")).await;
        let before = app.get("/assets/ACME").await.expect(200);
        app.set_clock("2026-12-01T13:00:00Z");
        act(&app, "ACME", &change("apex", "2026-06-09")).await.expect(201);
        let after = app.get("/assets/APEX").await.expect(200);
        assert_eq!((&after["id"], &after["symbol"], &after["version"]), (&before["id"], &json!("APEX"), &json!(2)));
        assert_eq!(app.get("/assets/acme").await.expect(200)["symbol"], json!("APEX"));
        // In bodies and paths the old one still finds it.
        price(&app, "ACME", "120", "2026-06-10T16:00:00Z", None).await;
        price(&app, "APEX", "121", "2026-06-11T16:00:00Z", None).await;
        let rows = app.get("/prices?symbol=ACME").await.expect(200);
        assert_eq!((rows[0]["symbol"].clone(), rows.as_array().unwrap().len()), (json!("APEX"), 2));
        let csv = b"date,symbol,close\n2026-06-12,ACME,122\n";
        let headers = [("content-type", "text/csv")];
        let imported = app.send("POST", "/prices/import?symbol=ACME&interval=1d", &headers, csv).await.expect(200);
        assert_eq!((&imported["stored"], &imported["symbol"]), (&json!(1), &json!("APEX")));
        enter(&app, &id, trade("buy", "1", "100", "2026-06-10")).await;
        let shown = pnl(&app, &id, "").await;
        assert_eq!((&shown["items"][0]["symbol"], &shown["items"][0]["market_value"]), (&json!("APEX"), &json!("1342")));
        // A figure of the past calls it what it was called.
        for query in ["?as_of=2026-06-08", "?known_at=2026-12-01T12:30:00Z"] {
            assert_eq!(pnl(&app, &id, query).await["items"][0]["symbol"], json!("ACME"), "{query}");
        }
        assert_eq!(pnl(&app, &id, "?as_of=2026-06-09").await["items"][0]["symbol"], json!("APEX"));
        let listed = app.get(&format!("/portfolios/{id}/positions?as_of=2026-06-08")).await.expect(200);
        assert_eq!(listed[0]["asset_symbol"], json!("ACME"));
        app.stop().await;
    }

    async fn a_symbol_that_was_given_up_may_be_taken_by_another(backend) {
        let app = service(backend, &["ACME"]).await;
        act(&app, "ACME", &change("APEX", "2026-06-09")).await.expect(201);
        asset(&app, "ACME", "NYSE", &json!({})).await;
        let (new, old) = (app.get("/assets/ACME").await.expect(200), app.get("/assets/APEX").await.expect(200));
        assert_ne!(new["id"], old["id"]);
        // It cannot be had back now, neither by a void nor by another change.
        let listed = app.get("/assets/APEX/actions").await.expect(200);
        let void = format!("/assets/APEX/actions/{}/void", listed[0]["id"].as_str().unwrap());
        assert_eq!(app.post(&void, &json!({})).await.code(409), "duplicate_asset");
        let back = act(&app, "APEX", &change("ACME", "2026-07-01")).await;
        assert_eq!((back.code(409), back.json()["errors"][0]["pointer"].clone()), ("duplicate_asset".to_owned(), json!("/new_symbol")));
        let replaced = app.post(&void, &json!({ "replacement": change("ACME", "2026-06-09") })).await;
        assert_eq!(replaced.json()["errors"][0]["pointer"], json!("/replacement/new_symbol"));
        // Once the other one has moved on, the name is the one's that had it last.
        act(&app, "ACME", &change("BOLT", "2026-07-01")).await.expect(201);
        assert_eq!(app.get("/assets/ACME").await.expect(200)["symbol"], json!("BOLT"));
        app.post(&void, &json!({ "reason": "did not happen" })).await.expect(200);
        assert_eq!(app.get("/assets/ACME").await.expect(200)["id"], old["id"]);
        assert_eq!(app.get("/assets/APEX").await.code(404), "asset_not_found");
        app.stop().await;
    }

    async fn a_change_learned_late_takes_its_place_among_the_others(backend) {
        let app = service(backend, &["ACME"]).await;
        act(&app, "ACME", &change("THIRD", "2026-03-01")).await.expect(201);
        act(&app, "ACME", &change("SECOND", "2026-02-01")).await.expect(201);
        assert_eq!(app.get("/assets/SECOND").await.expect(200)["symbol"], json!("THIRD"));
        let refused = act(&app, "ACME", &change("SECOND", "2026-02-20")).await;
        assert_eq!(refused.json()["errors"][0]["code"], json!("same_symbol"));
        let id = book(&app, &json!({})).await;
        enter(&app, &id, trade("buy", "1", "1", "2026-01-05")).await;
        for (day, symbol) in [("2026-01-31", "ACME"), ("2026-02-28", "SECOND"), ("2026-03-01", "THIRD")] {
            assert_eq!(pnl(&app, &id, &format!("?as_of={day}")).await["items"][0]["symbol"], json!(symbol));
        }
        // Back to the first name, which nobody has taken.
        act(&app, "ACME", &change("ACME", "2026-04-01")).await.expect(201);
        assert_eq!(app.get("/assets/THIRD").await.expect(200)["symbol"], json!("ACME"));
        app.stop().await;
    }
}

//! A retry is harmless.

use crate::on_both;
use crate::support::{Reply, TestApp};
use futures_util::future::join_all;
use serde_json::{Value, json};

async fn keyed(app: &TestApp, path: &str, key: &str, body: &Value) -> Reply {
    let headers = [("content-type", "application/json"), ("idempotency-key", key)];
    app.send("POST", path, &headers, body.to_string().as_bytes()).await
}

fn replayed(reply: &Reply) -> bool {
    reply.headers.get("idempotency-replayed").is_some_and(|value| value == "true")
}

fn portfolio() -> Value {
    json!({ "name": "n", "owner_id": "o", "initial_capital": 1000 })
}

on_both! {
    async fn a_file_without_a_row_leaves_no_source_behind(backend) {
        let app = TestApp::start(backend).await;
        app.gold_and_bitcoin("0").await;
        let csv = [("content-type", "text/csv")];
        for (number, (path, file)) in (0..).zip([
            ("/prices/import?symbol=GOLD&source=", "time,close\n"),
            ("/prices/import?symbol=GOLD&keep_going=true&source=", "time,close\n2026-01-01,x\n"),
            ("/fx/import?source=", "date,USD\n2026-01-01,N/A\n"),
            ("/fx/import?source=", "date,USD\n"),
        ]) {
            let done = app.send("POST", &format!("{path}new{number}"), &csv, file.as_bytes()).await.expect(200);
            assert_eq!(done["stored"], 0, "{path}: {done}");
        }
        assert!(!app.get("/prices/sources").await.text().contains("new"));
        app.stop().await;
    }

    async fn a_file_and_a_withdrawal_are_done_once(backend) {
        let app = TestApp::start(backend).await;
        app.gold_and_bitcoin("0").await;
        let table = b"time,price\n2026-01-05,10\n2026-01-06,11\n";
        let path = "/prices/import?symbol=GOLD&source=desk&save_records=true";
        let file = [("content-type", "text/csv"), ("idempotency-key", "f")];
        let first = app.send("POST", path, &file, table).await;
        let report = first.expect(200);
        assert_eq!((&report["stored"], &report["records"]["count"]), (&json!(2), &json!(2)));
        // Corrected meanwhile: the file sent again neither counts nor changes anything, not in the files either.
        app.post("/prices/batch", &json!([{ "symbol": "GOLD", "price": 12, "timestamp": "2026-01-06", "source": "desk" }])).await.expect(200);
        let app = app.restart().await;
        let again = app.send("POST", path, &file, table).await;
        assert!(replayed(&again));
        assert_eq!(again.expect(200), report);
        let prices = app.get("/prices?symbol=GOLD").await.expect(200);
        assert_eq!((&prices[0]["price"], &prices[1]["price"]), (&json!("10"), &json!("12")));
        let records = app.get("/ingest/sources/desk/records").await.expect(200);
        assert_eq!((records[0]["close"].to_string(), records[1]["close"].to_string()), ("10".to_owned(), "12".to_owned()));
        // The parameters belong to what is asked for.
        let other = app.send("POST", &format!("{path}&keep_going=true"), &file, table).await;
        assert_eq!(other.code(422), "idempotency_key_reused");

        let key = [("idempotency-key", "w")];
        let path = "/prices?symbol=GOLD&source=desk&timestamp=2026-01-05";
        let gone = app.send("DELETE", path, &key, b"").await;
        assert_eq!(gone.expect(200)["outcome"], "withdrawn");
        let app = app.restart().await;
        let again = app.send("DELETE", path, &key, b"").await;
        assert!(replayed(&again));
        assert_eq!(again.body, gone.body);
        assert_eq!(app.delete(path).await.code(404), "price_not_found");
        let other = app.send("DELETE", "/prices?symbol=GOLD&source=desk&timestamp=2026-01-06", &key, b"").await;
        assert_eq!(other.code(422), "idempotency_key_reused");
        app.stop().await;
    }

    async fn the_first_answer_is_given_again_on_every_route_that_creates(backend) {
        let app = TestApp::start(backend).await;
        let id = app.gold_and_bitcoin("100000").await;
        let open = json!({ "asset_symbol": "GOLD", "position_type": "LONG", "quantity": 10, "price": 1 });
        let position = app.post(&format!("/portfolios/{id}/positions"), &open).await.expect(201);
        let entry = app.post(&format!("/portfolios/{id}/transactions"), &json!({ "type": "deposit", "amount": 1 })).await.expect(201);
        let at = |path: &str| format!("/portfolios/{id}{path}");
        let of = |value: &Value| value["id"].as_str().unwrap().to_owned();
        let routes = [
            ("/markets".to_owned(), json!({ "code": "M", "name": "M", "market_type": "OTC", "timezone": "UTC" })),
            ("/assets".to_owned(), json!({ "symbol": "A", "name": "A", "asset_type": "STOCK", "market_code": "COMEX" })),
            ("/currencies".to_owned(), json!({ "code": "PTS", "name": "P" })),
            ("/prices".to_owned(), json!({ "symbol": "GOLD", "price": 2 })),
            ("/fx".to_owned(), json!({ "base": "EUR", "quote": "USD", "rate": 2 })),
            ("/portfolios".to_owned(), portfolio()),
            (at("/positions"), open),
            (at(&format!("/positions/{}/reduce", of(&position))), json!({ "price": 1, "quantity": 1 })),
            (at(&format!("/positions/{}/close", of(&position))), json!({ "price": 1 })),
            (at("/transactions"), json!([{ "type": "deposit", "amount": 5 }])),
            (at(&format!("/transactions/{}/void", of(&entry))), json!({ "reason": "r" })),
        ];
        let mut app = app;
        for (path, body) in &routes {
            let first = keyed(&app, path, "k-1", body).await;
            assert!(first.status.is_success() && !replayed(&first), "{path}: {}", first.json());
            let before = [app.get(&at("")).await.json(), app.get("/portfolios").await.json(), app.get("/prices?symbol=GOLD").await.json()];
            app = app.restart().await;
            for key in ["k-1", "\"k-1\""] {
                let again = keyed(&app, path, key, body).await;
                assert!(replayed(&again), "{path}");
                assert_eq!((again.status, &again.body), (first.status, &first.body), "{path}");
                assert_eq!(again.headers.get("location"), first.headers.get("location"), "{path}");
            }
            let after = [app.get(&at("")).await.json(), app.get("/portfolios").await.json(), app.get("/prices?symbol=GOLD").await.json()];
            assert_eq!(after, before, "{path}");
            let mut other = body.clone();
            if let Some(rows) = other.as_array_mut() {
                rows.push(json!({ "type": "deposit", "amount": 6 }));
            } else {
                let name = ["price", "rate", "reason", "name"].into_iter().find(|name| other.get(name).is_some());
                other[name.unwrap()] = json!("3");
            }
            assert_eq!(keyed(&app, path, "k-1", &other).await.code(422), "idempotency_key_reused", "{path}");
        }
        app.stop().await;
    }

    async fn a_refusal_keeps_no_key(backend) {
        let app = TestApp::start(backend).await;
        let id = app.gold_and_bitcoin("100").await;
        let path = format!("/portfolios/{id}/positions");
        let open = |quantity: u32| json!({ "asset_symbol": "GOLD", "position_type": "LONG", "quantity": quantity, "price": 100 });
        assert_eq!(keyed(&app, &path, "k", &open(2)).await.code(400), "insufficient_capital");
        assert_eq!(keyed(&app, &path, "k", &json!({})).await.code(422), "invalid_request");
        let done = keyed(&app, &path, "k", &open(1)).await;
        assert!(done.status == 201 && !replayed(&done));
        assert!(replayed(&keyed(&app, &path, "k", &open(1)).await));
        // The scope of a key is the route: elsewhere it is another key.
        assert!(!replayed(&keyed(&app, "/portfolios", "k", &portfolio()).await));
        app.stop().await;
    }

    async fn a_key_in_flight_runs_once(backend) {
        let app = TestApp::start(backend).await;
        let body = portfolio();
        let replies = join_all((0..12).map(|_| keyed(&app, "/portfolios", "same", &body))).await;
        assert!(replies.iter().all(|reply| reply.status == 201 && reply.body == replies[0].body));
        assert_eq!(replies.iter().filter(|reply| !replayed(reply)).count(), 1);
        assert_eq!(app.get("/portfolios").await.expect(200).as_array().unwrap().len(), 1);
        app.stop().await;
    }

    async fn a_key_is_kept_for_a_day(backend) {
        let app = TestApp::start(backend).await;
        keyed(&app, "/portfolios", "k", &portfolio()).await.expect(201);
        app.set_clock("2026-11-24T11:59:59Z");
        assert!(replayed(&keyed(&app, "/portfolios", "k", &portfolio()).await));
        app.set_clock("2026-11-24T12:00:01Z");
        assert!(!replayed(&keyed(&app, "/portfolios", "k", &portfolio()).await));
        assert_eq!(app.get("/portfolios").await.expect(200).as_array().unwrap().len(), 2);
        app.stop().await;
    }
}

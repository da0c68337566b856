//! Reads from memory: what is held of a portfolio is dropped at each thing it depends on, and at no other.

use crate::on_both;
use crate::support::{START, Scratch, TestApp, fresh_location};
use artifact::clock::Clock;
use artifact::domain::moment::Moment;
use artifact::http::auth::Access;
use serde_json::{Value, json};

/// ACME in dollars on a market in UTC, and a portfolio with 10,000 dollars since the first of the year.
async fn service(backend: crate::support::Backend) -> (TestApp, String) {
    let app = TestApp::start(backend).await;
    let market = json!({ "code": "X", "name": "X", "market_type": "OTC", "timezone": "UTC" });
    app.post("/markets", &market).await.expect(201);
    asset(&app, "ACME", "USD").await;
    let book = app.portfolio(&json!({ "initial_capital": "10000", "opened_at": "2026-01-01" })).await;
    (app, book)
}

async fn asset(app: &TestApp, symbol: &str, currency: &str) {
    let body = json!({ "symbol": symbol, "name": symbol, "asset_type": "STOCK", "market_code": "X", "currency": currency });
    app.post("/assets", &body).await.expect(201);
}

async fn price(app: &TestApp, symbol: &str, price: &str, timestamp: &str) {
    let body = json!({ "symbol": symbol, "price": price, "timestamp": timestamp });
    app.post("/prices", &body).await.expect(200);
}

async fn trade(app: &TestApp, book: &str, [kind, quantity, price, at]: [&str; 4]) -> String {
    let body =
        json!({ "type": kind, "symbol": "ACME", "quantity": quantity, "price": price, "executed_at": at });
    let path = format!("/portfolios/{book}/transactions");
    app.post(&path, &body).await.expect(201)["id"].as_str().unwrap().to_owned()
}

/// The totals, asked for until they come from memory: each time the same, with the same `ETag`.
async fn totals(app: &TestApp, book: &str) -> Value {
    let path = format!("/portfolios/{book}");
    let first = app.get(&path).await;
    for _ in 0..2 {
        let again = app.get(&path).await;
        assert_eq!(again.expect(200), first.expect(200));
        assert_eq!(again.headers["etag"], first.headers["etag"]);
    }
    first.expect(200)["performance"].clone()
}

/// What the portfolio is worth, as every read of it says.
async fn value(app: &TestApp, book: &str) -> String {
    let total = totals(app, book).await["total_value"].clone();
    let path = format!("/portfolios/{book}/pnl");
    for _ in 0..2 {
        let held = app.get(&path).await.expect(200);
        assert_eq!(held["total_value"], total);
        let folded = app.get(&format!("{path}?as_of=9999-12-31T00:00:00Z")).await.expect(200);
        for name in ["total_value", "cost_basis", "realized_pnl", "cash_by_currency", "flags"] {
            assert_eq!(held[name], folded[name], "{name}");
        }
        assert_eq!(held["missing"].as_array().unwrap().len(), folded["missing"].as_array().unwrap().len());
    }
    total.as_str().unwrap_or("null").to_owned()
}

on_both! {
    async fn prices_corrections_entries_and_voids_are_seen_at_once(backend) {
        let (app, book) = service(backend).await;
        assert_eq!(value(&app, &book).await, "10000");
        trade(&app, &book, ["buy", "10", "100", "2026-02-02T00:00:00Z"]).await;
        // Without a price the last trade has to serve: 9000 + 10 x 100.
        assert_eq!(value(&app, &book).await, "10000");
        price(&app, "ACME", "110", "2026-03-01T00:00:00Z").await;
        assert_eq!(value(&app, &book).await, "10100");
        price(&app, "ACME", "120", "2026-03-02T00:00:00Z").await;
        assert_eq!(value(&app, &book).await, "10200");
        // A correction of that point, and an older point that values nothing.
        price(&app, "ACME", "121", "2026-03-02T00:00:00Z").await;
        assert_eq!(value(&app, &book).await, "10210");
        price(&app, "ACME", "999", "2026-03-01T12:00:00Z").await;
        assert_eq!(value(&app, &book).await, "10210");
        // 9000 - 5 x 130 + 15 x 121.
        trade(&app, &book, ["buy", "5", "130", "2026-03-03T00:00:00Z"]).await;
        assert_eq!(value(&app, &book).await, "10165");
        // Late: 8350 + 2 x 150 + 13 x 121.
        let late = trade(&app, &book, ["sell", "2", "150", "2026-02-03T00:00:00Z"]).await;
        assert_eq!(value(&app, &book).await, "10223");
        let path = format!("/portfolios/{book}/transactions/{late}/void");
        assert!(app.post(&path, &json!({ "reason": "never happened" })).await.status.is_success());
        assert_eq!(value(&app, &book).await, "10165");
        // Another portfolio's entries change nothing here.
        let other = app.portfolio(&json!({ "initial_capital": "7" })).await;
        assert_eq!((value(&app, &book).await, value(&app, &other).await), ("10165".to_owned(), "7".to_owned()));
        app.stop().await;
    }

    async fn conventions_terms_actions_and_names_are_seen_at_once(backend) {
        let (app, book) = service(backend).await;
        trade(&app, &book, ["buy", "10", "100", "2026-02-02T00:00:00Z"]).await;
        trade(&app, &book, ["buy", "5", "130", "2026-02-03T00:00:00Z"]).await;
        trade(&app, &book, ["sell", "5", "120", "2026-02-04T00:00:00Z"]).await;
        price(&app, "ACME", "120", "2026-03-02T00:00:00Z").await;
        // 10000 - 1000 - 650 + 600 + 10 x 120; the lots left cost 5 x 100 + 5 x 130.
        assert_eq!(value(&app, &book).await, "10150");
        assert_eq!(totals(&app, &book).await["total_cost_basis"], "1150");
        let path = format!("/portfolios/{book}");
        app.patch(&path, &json!({ "conventions": { "cost_basis": "average" } })).await.expect(200);
        // 1650 x 10 / 15.
        assert_eq!(totals(&app, &book).await["total_cost_basis"], "1100");
        assert_eq!(app.get(&path).await.expect(200)["portfolio"]["conventions"]["cost_basis"], "average");
        app.patch(&path, &json!({ "name": "renamed" })).await.expect(200);
        assert_eq!(totals(&app, &book).await["name"], "renamed");
        app.post(&format!("{path}/freeze"), &json!({})).await.expect(200);
        assert_eq!(totals(&app, &book).await["status"], "FROZEN");
        app.post(&format!("{path}/unfreeze"), &json!({})).await.expect(200);
        // Two new units for one old after the price: 20 x 60.
        let split = json!({ "type": "split", "ratio": "2", "executed_at": "2026-04-01" });
        app.post("/assets/ACME/actions", &split).await.expect(201);
        assert_eq!(value(&app, &book).await, "10150");
        let held = app.get(&format!("{path}/positions")).await.expect(200);
        assert_eq!((&held[0]["quantity"], &held[0]["current_price"]), (&json!("20"), &json!("60")));
        let dividend = json!({ "type": "dividend", "amount": "1.5", "executed_at": "2026-04-02" });
        let paid = app.post("/assets/ACME/actions", &dividend).await.expect(201);
        assert_eq!(value(&app, &book).await, "10180");
        let void = format!("/assets/ACME/actions/{}/void", paid["id"].as_str().unwrap());
        assert!(app.post(&void, &json!({ "reason": "not declared" })).await.status.is_success());
        assert_eq!(value(&app, &book).await, "10150");
        // A contract over ten units from now on.
        let terms = json!({ "multiplier": 10, "effective_at": "2026-05-01T00:00:00Z" });
        app.patch("/assets/ACME", &terms).await.expect(200);
        assert_eq!(value(&app, &book).await, "20950");
        let gone = app.portfolio(&json!({ "initial_capital": "7" })).await;
        assert_eq!(value(&app, &gone).await, "7");
        assert_eq!(app.delete(&format!("/portfolios/{gone}")).await.status, 204);
        assert_eq!(app.get(&format!("/portfolios/{gone}")).await.code(404), "portfolio_not_found");
        app.stop().await;
    }

    async fn rates_are_seen_at_once_one_by_one_and_from_a_file(backend) {
        let (app, book) = service(backend).await;
        let paid = json!({ "type": "deposit", "amount": "100", "currency": "EUR", "executed_at": "2026-02-01T00:00:00Z" });
        app.post(&format!("/portfolios/{book}/transactions"), &paid).await.expect(201);
        assert_eq!(value(&app, &book).await, "null");
        let rate = |rate: &str, at: &str| json!({ "base": "EUR", "quote": "USD", "rate": rate, "timestamp": at });
        app.post("/fx", &rate("1.1", "2026-01-15T00:00:00Z")).await.expect(200);
        assert_eq!(value(&app, &book).await, "10110");
        app.post("/fx", &rate("1.2", "2026-03-01T00:00:00Z")).await.expect(200);
        assert_eq!(value(&app, &book).await, "10120");
        let table = "Date,USD\n2026-03-05,1.3\n";
        let file = [("content-type", "text/csv")];
        app.send("POST", "/fx/import?source=ecb", &file, table.as_bytes()).await.expect(200);
        assert_eq!(value(&app, &book).await, "10130");
        // What a rate of the past changes, a book in dollars alone does not.
        let dollars = app.portfolio(&json!({ "initial_capital": "7" })).await;
        assert_eq!(value(&app, &dollars).await, "7");
        app.post("/fx", &rate("1.05", "2026-01-20T00:00:00Z")).await.expect(200);
        assert_eq!(value(&app, &dollars).await, "7");
        let known = totals(&app, &book).await;
        assert_eq!((&known["total_value"], &known["net_contributions"]), (&json!("10130"), &json!("10105")));
        app.stop().await;
    }

    async fn prices_become_stale_while_nothing_happens(backend) {
        let (app, book) = service(backend).await;
        asset(&app, "BETA", "USD").await;
        for (symbol, seconds) in [("ACME", 3600), ("BETA", 7200)] {
            app.patch(&format!("/assets/{symbol}"), &json!({ "stale_after": seconds })).await.expect(200);
            let at = "2026-02-02T00:00:00Z";
            let body = json!({ "type": "buy", "symbol": symbol, "quantity": "1", "price": "100", "executed_at": at });
            app.post(&format!("/portfolios/{book}/transactions"), &body).await.expect(201);
            price(&app, symbol, "100", START).await;
        }
        let stale = |value: Value| value["stale"].clone();
        assert_eq!(stale(totals(&app, &book).await), json!([]));
        // Old enough is older than the limit, to the microsecond; and a clock may be set back.
        for (at, expected) in [
            ("2026-11-23T13:00:00Z", json!([])),
            ("2026-11-23T13:00:00.000001Z", json!(["ACME"])),
            ("2026-11-23T14:00:00Z", json!(["ACME"])),
            ("2026-11-23T14:00:00.000001Z", json!(["ACME", "BETA"])),
            ("2026-11-23T13:59:59Z", json!(["ACME"])),
            ("2026-11-23T12:30:00Z", json!([])),
            ("2026-11-23T15:00:00Z", json!(["ACME", "BETA"])),
        ] {
            app.set_clock(at);
            assert_eq!(stale(totals(&app, &book).await), expected, "{at}");
            let pnl = app.get(&format!("/portfolios/{book}/pnl")).await.expect(200);
            assert_eq!(stale(pnl), expected, "{at}");
        }
        price(&app, "ACME", "100", "2026-11-23T14:59:00Z").await;
        assert_eq!(stale(totals(&app, &book).await), json!(["BETA"]));
        app.patch("/assets/BETA", &json!({ "stale_after": 86_400 })).await.expect(200);
        assert_eq!(stale(totals(&app, &book).await), json!([]));
        app.post("/assets/ACME/actions", &json!({ "type": "symbol_change", "new_symbol": "NEW", "executed_at": "2026-11-20" }))
            .await.expect(201);
        app.set_clock("2026-11-23T16:30:00Z");
        assert_eq!(stale(totals(&app, &book).await), json!(["NEW"]));
        app.stop().await;
    }

    async fn a_portfolio_held_in_memory_is_shown_to_its_owner_only(backend) {
        let scratch = Scratch::new();
        let location = fresh_location(backend, &scratch).await;
        let app = TestApp::start_on(location, Clock::manual(Moment::parse(START).unwrap()), Access::Keys).await;
        let admin = app.app.admin_key("first").await.unwrap();
        let mut keys = Vec::new();
        for owner in ["one", "two"] {
            let body = json!({ "name": owner, "owner_id": owner, "scopes": ["portfolios:read"] }).to_string();
            let headers = [("x-api-key", admin.as_str()), ("content-type", "application/json")];
            let made = app.send("POST", "/keys", &headers, body.as_bytes()).await.expect(201);
            keys.push(made["key"].as_str().unwrap().to_owned());
        }
        let headers = [("x-api-key", admin.as_str()), ("content-type", "application/json")];
        let body = json!({ "name": "b", "owner_id": "one", "initial_capital": "5" });
        let made = app.send("POST", "/portfolios", &headers, body.to_string().as_bytes()).await.expect(201);
        let path = format!("/portfolios/{}", made["id"].as_str().unwrap());
        for _ in 0..3 {
            app.send("GET", &path, &[("x-api-key", &keys[0])], b"").await.expect(200);
            app.send("GET", &path, &[("x-api-key", &admin)], b"").await.expect(200);
            assert_eq!(app.send("GET", &path, &[("x-api-key", &keys[1])], b"").await.code(404), "portfolio_not_found");
            assert_eq!(app.send("GET", &path, &[], b"").await.code(401), "unauthorized");
            // A parameter that is not known is refused whether the answer is held or not.
            assert_eq!(app.send("GET", &format!("{path}?by=x"), &[("x-api-key", &keys[0])], b"").await.status, 422);
        }
        app.stop().await;
    }

    async fn a_page_of_positions_takes_open_and_closed_ones_in_the_order_of_their_ids(backend) {
        let (app, book) = service(backend).await;
        // Closed, closed, open: of ACME one after the other; BETA opens between them.
        asset(&app, "BETA", "USD").await;
        let at = |day: u32| format!("2026-02-{day:02}T00:00:00Z");
        trade(&app, &book, ["buy", "1", "100", &at(1)]).await;
        trade(&app, &book, ["sell", "1", "101", &at(2)]).await;
        let beta = json!({ "type": "buy", "symbol": "BETA", "quantity": "1", "price": "1", "executed_at": at(3) });
        app.post(&format!("/portfolios/{book}/transactions"), &beta).await.expect(201);
        trade(&app, &book, ["buy", "2", "100", &at(4)]).await;
        trade(&app, &book, ["sell", "2", "101", &at(5)]).await;
        trade(&app, &book, ["buy", "3", "100", &at(6)]).await;
        let shown = |rows: &[Value]| -> Vec<String> {
            rows.iter().map(|row| format!("{} {} {}", row["asset_symbol"].as_str().unwrap(), row["status"].as_str().unwrap(), row["quantity"].as_str().unwrap())).collect()
        };
        let all = ["ACME CLOSED 0", "BETA OPEN 1", "ACME CLOSED 0", "ACME OPEN 3"];
        let path = format!("/portfolios/{book}/positions");
        for limit in [1, 2, 3, 10] {
            let rows = app.every(&path, limit).await;
            assert_eq!(shown(&rows), all, "{limit}");
            assert_eq!(shown(&app.every(&format!("{path}?status=OPEN"), limit).await), [all[1], all[3]], "{limit}");
            assert_eq!(shown(&app.every(&format!("{path}?status=CLOSED"), limit).await), [all[0], all[2]], "{limit}");
            for row in rows {
                let one = app.get(&format!("{path}/{}", row["id"].as_str().unwrap())).await.expect(200);
                for name in ["id", "status", "quantity", "realized_pnl", "created_at", "updated_at", "closed_at"] {
                    assert_eq!(one[name], row[name], "{name}");
                }
                assert_eq!(one["lots"].as_array().unwrap().len(), usize::from(row["status"] == "OPEN"));
            }
        }
        app.stop().await;
    }

    async fn a_history_sees_every_price_that_comes_or_is_corrected(backend) {
        let (app, book) = service(backend).await;
        trade(&app, &book, ["buy", "10", "100", "2026-02-01T00:00:00Z"]).await;
        let file = "time,price\n2026-02-01T12:00:00Z,100\n2026-02-02T12:00:00Z,101\n2026-02-04T12:00:00Z,103\n";
        let import = |source: &'static str, file: String| {
            let (app, path) = (&app, format!("/prices/import?symbol=ACME&source={source}&interval=1d"));
            async move { app.send("POST", &path, &[("content-type", "text/csv")], file.as_bytes()).await.expect(200) }
        };
        import("daily", file.to_owned()).await;
        // 9000 in cash and ten units; asked for until the prices come from memory.
        let values = async |from: &str, to: &str| {
            let path = format!("/portfolios/{book}/history?from={from}&to={to}");
            let first = app.get(&path).await.expect(200);
            assert_eq!(app.get(&path).await.expect(200), first);
            let shown = |point: &Value| point["value"].as_str().unwrap().parse::<i64>().unwrap() - 9_000;
            first["points"].as_array().unwrap().iter().map(shown).collect::<Vec<i64>>()
        };
        assert_eq!(values("2026-02-01", "2026-02-05").await, [1000, 1010, 1010, 1030, 1030]);
        // Within the span that is held, before it and after it.
        assert_eq!(values("2026-02-03", "2026-02-04").await, [1010, 1030]);
        assert_eq!(values("2026-02-01", "2026-02-07").await, [1000, 1010, 1010, 1030, 1030, 1030, 1030]);
        price(&app, "ACME", "108", "2026-02-06T09:00:00Z").await;
        assert_eq!(values("2026-02-04", "2026-02-07").await, [1030, 1030, 1080, 1080]);
        import("daily", "time,price\n2026-02-02T12:00:00Z,99\n".to_owned()).await;
        assert_eq!(values("2026-02-01", "2026-02-07").await, [1000, 990, 990, 1030, 1030, 1080, 1080]);
        // Two sources of one moment: the later recorded, until an order of sources says otherwise.
        import("desk", "time,price\n2026-02-04T12:00:00Z,120.000000000000000001\n".to_owned()).await;
        let path = format!("/portfolios/{book}/history?from=2026-02-04&to=2026-02-04");
        let at = async || app.get(&path).await.expect(200)["points"][0]["value"].clone();
        assert_eq!((at().await, at().await), (json!("10200.00000000000000001"), json!("10200.00000000000000001")));
        let order = json!({ "source_priority": ["daily"], "effective_at": "beginning" });
        app.patch("/assets/ACME", &order).await.expect(200);
        assert_eq!((at().await, at().await), (json!("10030"), json!("10030")));
        // A split divides prices from before it, but not those of a source that takes splits out itself.
        app.post("/assets/ACME/actions", &json!({ "type": "split", "ratio": "2", "executed_at": "2026-02-05" })).await.expect(201);
        assert_eq!(values("2026-02-04", "2026-02-06").await, [1030, 1030, 2160]);
        let adjusted = json!({ "split_adjusted": true });
        let put = [("content-type", "application/json")];
        app.send("PUT", "/prices/sources/daily", &put, adjusted.to_string().as_bytes()).await.expect(200);
        assert_eq!(values("2026-02-04", "2026-02-06").await, [1030, 2060, 2160]);
        app.stop().await;
    }
}

//! Profit and loss: reproducible to the digit, under any convention, in any currency.

use crate::on_both;
use crate::support::TestApp;
use serde_json::{Value, json};

#[track_caller]
fn check(value: &Value, wanted: &Value) {
    for (name, wanted) in wanted.as_object().unwrap() {
        assert_eq!(&value[name], wanted, "{name} of {value}");
    }
}

fn trade(kind: &str, quantity: u32, price: u32, day: &str) -> Value {
    json!({ "type": kind, "symbol": "GOLD", "quantity": quantity, "price": price, "executed_at": day })
}

fn old() -> Value {
    json!({ "initial_capital": 100_000, "opened_at": "2026-01-01" })
}

impl TestApp {
    async fn ledger(&self, portfolio: &str, entries: &Value) -> Value {
        self.post(&format!("/portfolios/{portfolio}/transactions"), entries).await.expect(201)
    }

    async fn pnl(&self, portfolio: &str, query: &str) -> Value {
        self.get(&format!("/portfolios/{portfolio}/pnl{query}")).await.expect(200)
    }
}

on_both! {
    async fn a_report_is_the_same_to_the_digit_after_a_correction_and_a_void(backend) {
        let app = TestApp::start(backend).await;
        app.gold_and_bitcoin("0").await;
        let euro = json!({ "symbol": "DAX", "name": "DAX", "asset_type": "INDEX", "market_code": "COMEX", "currency": "EUR" });
        app.post("/assets", &euro).await.expect(201);
        let id = app.portfolio(&old()).await;
        let rate = |rate: &str| json!({ "base": "EUR", "quote": "USD", "rate": rate, "timestamp": "2026-01-01" });
        let price = |price: &str| json!({ "symbol": "GOLD", "price": price, "timestamp": "2026-03-30T16:00:00Z" });
        app.post("/fx", &rate("1.1")).await.expect(200);
        app.post("/prices", &price("2100.25")).await.expect(200);
        let mut entries = vec![trade("buy", 7, 2000, "2026-02-01"), trade("buy", 3, 1900, "2026-02-02")];
        entries.extend([trade("sell", 4, 2050, "2026-02-03"), trade("sell", 6, 2060, "2026-04-01")]);
        entries.push(json!({ "type": "buy", "symbol": "DAX", "quantity": 3, "price": "17.77", "fee": 1, "executed_at": "2026-02-02" }));
        let recorded = app.ledger(&id, &Value::Array(entries)).await;
        let asked: Vec<String> = ["", "/pnl", "/pnl?by=account", "/pnl?by=lot", "/pnl?cost_basis=average", "/positions", "/transactions"]
            .iter()
            .flat_map(|path| {
                let join = if path.contains('?') { '&' } else { '?' };
                let known = "known_at=2026-11-23T12:30:00Z";
                [format!("/portfolios/{id}{path}{join}as_of=2026-03-31&{known}"), format!("/portfolios/{id}{path}{join}{known}")]
            })
            .chain(["/prices?symbol=GOLD&known_at=2026-11-23T12:30:00Z", "/fx?base=EUR&quote=USD&known_at=2026-11-23T12:30:00Z"].map(str::to_owned))
            .collect();
        app.set_clock("2026-11-23T13:00:00Z");
        let mut before = Vec::new();
        for path in &asked {
            before.push(app.get(path).await.expect(200));
        }
        check(&before[2], &json!({ "realized_pnl": "200", "unrealized_pnl": "900.4", "known_at": "2026-11-23T12:30:00.000000Z" }));
        // Later: a corrected price and rate, a void with replacement, a late entry, other terms and conventions.
        app.post("/prices", &price("2000")).await.expect(200);
        app.post("/fx", &rate("1.3")).await.expect(200);
        let void = format!("/portfolios/{id}/transactions/{}/void", recorded["transactions"][2]["id"].as_str().unwrap());
        app.post(&void, &json!({ "replacement": trade("sell", 3, 2050, "2026-02-04") })).await.expect(200);
        app.ledger(&id, &trade("buy", 1, 1000, "2026-01-15")).await;
        app.patch("/assets/DAX", &json!({ "multiplier": 5, "effective_at": "beginning" })).await.expect(200);
        app.patch(&format!("/portfolios/{id}"), &json!({ "conventions": { "fees": "none" } })).await.expect(200);
        app.set_clock("2026-11-30T09:00:00Z");
        let app = app.restart().await;
        for (path, before) in asked.iter().zip(&before) {
            let mut after = app.get(path).await.expect(200);
            if let Some(portfolio) = after.get_mut("portfolio") {
                // When the portfolio itself was last changed is no fact that enters a figure.
                for name in ["updated_at", "version"] {
                    portfolio[name] = before["portfolio"][name].clone();
                }
            }
            assert_eq!(&after, before, "{path}");
        }
        let now = app.pnl(&id, "?as_of=2026-03-31").await;
        assert_ne!(now["realized_pnl"], before[2]["realized_pnl"]);
        app.stop().await;
    }

    async fn every_convention_can_be_asked_for(backend) {
        let app = TestApp::start(backend).await;
        app.gold_and_bitcoin("0").await;
        let id = app.portfolio(&old()).await;
        let mut sell = trade("sell", 10, 150, "2026-02-04");
        sell["fee"] = json!(7);
        sell["tax"] = json!(3);
        let buys = [trade("buy", 10, 100, "2026-02-01"), trade("buy", 10, 140, "2026-02-02"), trade("buy", 10, 120, "2026-02-03")];
        app.ledger(&id, &json!([buys[0], buys[1], buys[2], sell])).await;
        app.post("/prices", &json!({ "symbol": "GOLD", "price": 130, "timestamp": "2026-02-05" })).await.expect(200);
        for (query, realized, unrealized) in [
            ("", "493", "0"), ("?cost_basis=fifo", "493", "0"), ("?cost_basis=lifo", "293", "200"),
            ("?cost_basis=hifo", "93", "400"), ("?cost_basis=average", "293", "200"),
            ("?fees=separate", "500", "0"), ("?fees=expensed", "493", "0"), ("?fees=none", "500", "0"),
            ("?taxes=in_cost", "490", "0"), ("?lot_scope=global", "493", "0"), ("?short=allowed", "493", "0"),
            ("?cost_basis=lifo&fees=separate&taxes=in_cost", "297", "200"),
        ] {
            let pnl = app.pnl(&id, query).await;
            check(&pnl, &json!({ "realized_pnl": realized, "unrealized_pnl": unrealized, "fees": "7", "taxes": "3", "cash": "97890" }));
            for pair in query.trim_start_matches('?').split('&').filter(|pair| !pair.is_empty()) {
                let (name, value) = pair.split_once('=').unwrap();
                assert_eq!(pnl["conventions"][name], value, "{query}");
            }
            let day = app.pnl(&id, &format!("{}as_of=2026-02-04", if query.is_empty() { "?".to_owned() } else { format!("{query}&") })).await;
            assert_eq!(day["realized_pnl"], realized);
        }
        // What a read asks for, a portfolio can have for good; it holds from then on.
        app.patch(&format!("/portfolios/{id}"), &json!({ "conventions": { "cost_basis": "hifo" } })).await.expect(200);
        assert_eq!(app.pnl(&id, "").await["realized_pnl"], "93");
        assert_eq!(app.pnl(&id, "?as_of=2026-02-28").await["realized_pnl"], "493");
        app.stop().await;
    }

    async fn figures_add_up_by_asset_account_and_lot(backend) {
        let app = TestApp::start(backend).await;
        app.gold_and_bitcoin("0").await;
        let id = app.portfolio(&old()).await;
        let mut other = trade("buy", 5, 110, "2026-02-02");
        other["account"] = json!("b");
        let deposit = json!({ "type": "deposit", "amount": 1000, "account": "b", "executed_at": "2026-02-01" });
        let bitcoin = json!({ "type": "buy", "symbol": "BTC-USD", "quantity": "0.5", "price": 40_000, "executed_at": "2026-02-03" });
        let dividend = json!({ "type": "dividend", "symbol": "GOLD", "amount": 9, "executed_at": "2026-02-06" });
        app.ledger(&id, &json!([deposit, trade("buy", 10, 100, "2026-02-01"), other, bitcoin, trade("sell", 4, 120, "2026-02-05"), dividend])).await;
        app.post("/prices", &json!({ "symbol": "GOLD", "price": 130 })).await.expect(200);
        let by = app.pnl(&id, "").await;
        check(&by, &json!({ "realized_pnl": "80", "unrealized_pnl": "280", "total_pnl": "360", "total_gain": "369",
            "income": "9", "dividends": "9", "total_value": "101369", "net_contributions": "101000", "missing": [] }));
        let items = by["items"].as_array().unwrap();
        assert_eq!(items.len(), 2);
        check(&items[0], &json!({ "symbol": "GOLD", "quantity": "11", "realized_pnl": "80", "unrealized_pnl": "280", "income": "9" }));
        check(&items[1], &json!({ "symbol": "BTC-USD", "quantity": "0.5", "total_pnl": "0" }));
        let accounts = app.pnl(&id, "?by=account").await;
        check(&accounts["items"][0], &json!({ "account": "b", "unrealized_pnl_base": "100", "cash_base": "450", "net_contributions_base": "1000" }));
        check(&accounts["items"][1], &json!({ "account": "main", "realized_pnl_base": "80", "unrealized_pnl_base": "180" }));
        let lots = app.pnl(&id, "?by=lot").await;
        let lots: Vec<_> = lots["items"].as_array().unwrap().iter().map(|lot| (lot["quantity"].as_str().unwrap().to_owned(), lot["unrealized_pnl"].as_str().unwrap().to_owned())).collect();
        for lot in [("5", "100"), ("6", "180"), ("0.5", "0")] {
            assert!(lots.contains(&(lot.0.to_owned(), lot.1.to_owned())), "{lot:?} of {lots:?}");
        }
        app.stop().await;
    }

    async fn a_missing_rate_is_null_and_named_never_one(backend) {
        let app = TestApp::start(backend).await;
        app.gold_and_bitcoin("0").await;
        let asset = json!({ "symbol": "NESN", "name": "N", "asset_type": "STOCK", "market_code": "COMEX", "currency": "CHF" });
        app.post("/assets", &asset).await.expect(201);
        let id = app.portfolio(&old()).await;
        let buy = json!({ "type": "buy", "symbol": "NESN", "quantity": 10, "price": 100, "executed_at": "2026-02-01" });
        app.ledger(&id, &buy).await;
        let pnl = app.pnl(&id, "").await;
        check(&pnl, &json!({ "unrealized_pnl": null, "total_pnl": null, "cash": null, "total_value": null,
            "cash_by_currency": { "USD": "100000", "CHF": "-1000" } }));
        let pairs: Vec<_> = pnl["missing"].as_array().unwrap().iter().map(|m| (m["from"].clone(), m["to"].clone())).collect();
        assert!(!pairs.is_empty() && pairs.iter().all(|pair| *pair == (json!("CHF"), json!("USD"))), "{pnl}");
        check(&pnl["items"][0], &json!({ "unrealized_pnl": "0", "cost_basis": "1000", "cost_basis_base": null, "currency": "CHF" }));
        let performance = &app.get(&format!("/portfolios/{id}")).await.expect(200)["performance"];
        check(performance, &json!({ "total_value": null, "current_capital": null, "total_pnl_percent": null, "open_positions": 1 }));
        assert!(!performance["missing"].as_array().unwrap().is_empty());
        let open = json!({ "asset_symbol": "GOLD", "position_type": "LONG", "quantity": 1, "price": 1 });
        assert_eq!(app.post(&format!("/portfolios/{id}/positions"), &open).await.code(409), "missing_rate");
        // A rate of a later moment does not help an earlier one.
        let rate = |rate: &str, at: &str| json!({ "base": "CHF", "quote": "USD", "rate": rate, "timestamp": at });
        app.post("/fx", &rate("1.2", "2026-02-02")).await.expect(200);
        check(&app.pnl(&id, "").await, &json!({ "unrealized_pnl": null, "cash": "98800" }));
        app.post("/fx", &rate("1.1", "2026-01-31")).await.expect(200);
        app.post("/prices", &json!({ "symbol": "NESN", "price": 110, "timestamp": "2026-02-03" })).await.expect(200);
        // 10 x 110 x 1.2 - 10 x 100 x 1.1 = 220, of which the currency made 100.
        check(&app.pnl(&id, "").await, &json!({ "unrealized_pnl": "220", "unrealized_fx_pnl": "100", "cash_fx_pnl": "-100",
            "total_gain": "120", "total_value": "100120", "missing": [] }));
        check(&app.pnl(&id, "?as_of=2026-02-01").await, &json!({ "unrealized_pnl": "0", "total_value": "100000" }));
        app.stop().await;
    }

    async fn old_prices_are_marked_stale_and_trades_say_so(backend) {
        let app = TestApp::start(backend).await;
        app.gold_and_bitcoin("0").await;
        app.patch("/assets/GOLD", &json!({ "stale_after": 3600, "effective_at": "beginning" })).await.expect(200);
        let id = app.portfolio(&old()).await;
        app.ledger(&id, &trade("buy", 1, 100, "2026-02-01")).await;
        let price = |value: &Value| value["items"][0]["price"].clone();
        check(&price(&app.pnl(&id, "").await), &json!({ "price": "100", "price_basis": "trade", "source": null }));
        app.post("/prices", &json!({ "symbol": "GOLD", "price": 90, "timestamp": "2026-11-23T11:00:00Z", "interval": "1h" })).await.expect(200);
        let now = app.pnl(&id, "").await;
        check(&price(&now), &json!({ "price": "90", "price_basis": "quote", "age": 3600, "stale": false, "source": "api", "interval": "1h" }));
        app.set_clock("2026-11-23T12:00:01Z");
        let later = app.pnl(&id, "").await;
        check(&price(&later), &json!({ "age": 3601, "stale": true }));
        assert_eq!((&now["stale"], &later["stale"]), (&json!([]), &json!(["GOLD"])));
        check(&price(&app.pnl(&id, "?as_of=2026-11-23T11:00:30Z").await), &json!({ "age": 30, "stale": false }));
        check(&price(&app.pnl(&id, "?as_of=2026-03-01").await), &json!({ "price_basis": "trade", "price": "100" }));
        app.stop().await;
    }
}

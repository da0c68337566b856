//! Explanations, gains and lots.

use crate::explained;
use crate::on_both;
use crate::support::TestApp;
use serde_json::{Value, json};

#[track_caller]
fn check(value: &Value, wanted: &Value) {
    for (name, wanted) in wanted.as_object().unwrap() {
        assert_eq!(&value[name], wanted, "{name} of {value}");
    }
}

/// A desk with a long and a short position, a foreign share, an option, an inverse perpetual, cash in two currencies.
async fn desk(app: &TestApp) -> String {
    app.gold_and_bitcoin("0").await;
    let asset = |symbol: &str, kind: &str, currency: &str| json!({ "symbol": symbol, "name": symbol, "asset_type": kind, "market_code": "COMEX", "currency": currency });
    app.post("/assets", &asset("SAP", "STOCK", "EUR")).await.expect(201);
    let mut option = asset("CALL", "OPTION", "USD");
    option["multiplier"] = json!(100);
    app.post("/assets", &option).await.expect(201);
    let mut perpetual = asset("PERP", "FUTURE", "USD");
    (perpetual["inverse"], perpetual["settlement"]) = (json!(true), json!("BTC"));
    app.post("/assets", &perpetual).await.expect(201);
    for (base, rate, at) in [
        ("EUR", "1.1", "2026-01-01"),
        ("EUR", "1.07", "2026-02-01"),
        ("EUR", "1.13", "2026-03-01"),
        ("BTC", "60000", "2026-01-01"),
        ("BTC", "64321.09", "2026-03-01"),
    ] {
        let rate = json!({ "base": base, "quote": "USD", "rate": rate, "timestamp": at });
        app.post("/fx", &rate).await.expect(200);
    }
    for (symbol, price) in
        [("GOLD", "2107.35"), ("SAP", "171.13"), ("CALL", "3.17"), ("PERP", "65000"), ("BTC-USD", "64000")]
    {
        let price = json!({ "symbol": symbol, "price": price, "timestamp": "2026-03-05T10:00:00Z", "source": "desk" });
        app.post("/prices", &price).await.expect(200);
    }
    let id = app.portfolio(&json!({ "initial_capital": 500_000, "opened_at": "2026-01-01", "conventions": { "short": "allowed" } })).await;
    let entries = json!([
        { "type": "buy", "symbol": "GOLD", "quantity": 7, "price": "2000.01", "fee": "1.1", "executed_at": "2026-01-10" },
        { "type": "buy", "symbol": "GOLD", "quantity": 3, "price": "2050.5", "fee": "0.9", "tax": "0.3", "executed_at": "2026-01-11" },
        { "type": "sell", "symbol": "GOLD", "quantity": 8, "price": "2099.99", "fee": "1.7", "executed_at": "2026-02-20" },
        { "type": "sell", "symbol": "BTC-USD", "quantity": 2, "price": 65_000, "fee": 5, "executed_at": "2026-02-20" },
        { "type": "buy", "symbol": "BTC-USD", "quantity": "0.7", "price": 63_000, "executed_at": "2026-02-21" },
        { "type": "fx", "currency": "USD", "amount": 30_000, "to_currency": "EUR", "to_amount": 27_000, "executed_at": "2026-01-05" },
        { "type": "buy", "symbol": "SAP", "quantity": 70, "price": "150.7", "fee": 3, "executed_at": "2026-01-15" },
        { "type": "sell", "symbol": "SAP", "quantity": 11, "price": "160.3", "executed_at": "2026-02-15" },
        { "type": "dividend", "symbol": "SAP", "amount": "129.8", "tax": 20, "executed_at": "2026-02-16" },
        { "type": "interest", "amount": "17.35", "currency": "EUR", "fee": 1, "executed_at": "2026-02-17" },
        { "type": "buy", "symbol": "CALL", "quantity": 3, "price": "2.05", "fee": 2, "executed_at": "2026-02-01" },
        { "type": "buy", "symbol": "PERP", "quantity": 90_000, "price": 60_000, "executed_at": "2026-02-02" },
        { "type": "sell", "symbol": "PERP", "quantity": 30_000, "price": 64_000, "executed_at": "2026-02-22" },
        { "type": "transfer", "symbol": "SAP", "quantity": 9, "to_account": "vault", "executed_at": "2026-02-23" },
        { "type": "transfer_in", "symbol": "GOLD", "quantity": 1, "price": 1500, "fee": 4, "executed_at": "2026-02-24" },
        { "type": "transfer_out", "symbol": "SAP", "quantity": 5, "executed_at": "2026-02-25" },
        { "type": "withdrawal", "amount": 1000, "executed_at": "2026-02-26" },
        { "type": "fee", "amount": "12.5", "executed_at": "2026-02-27" },
        { "type": "tax", "amount": "7.25", "symbol": "SAP", "currency": "EUR", "executed_at": "2026-02-27" }
    ]);
    app.post(&format!("/portfolios/{id}/transactions"), &entries).await.expect(201);
    id
}

on_both! {
    async fn what_an_explanation_lists_adds_up_to_the_figure(backend) {
        let app = TestApp::start(backend).await;
        let id = desk(&app).await;
        for query in [
            "", "&cost_basis=lifo", "&cost_basis=hifo", "&cost_basis=average", "&fees=separate", "&fees=expensed",
            "&fees=none", "&taxes=in_cost", "&lot_scope=global", "&as_of=2026-02-21", "&dust=2",
            "&cost_basis=average&fees=expensed&taxes=in_cost&lot_scope=global&as_of=2026-02-25",
        ] {
            let pnl = app.get(&format!("/portfolios/{id}/pnl?explain=true{query}")).await.expect(200);
            let anew = explained::check(&pnl);
            assert!(anew > 60, "{query}: {anew} terms");
            // The figures are those of the plain read.
            let plain = app.get(&format!("/portfolios/{id}/pnl?{}", query.trim_start_matches('&'))).await.expect(200);
            for (name, value) in plain.as_object().unwrap().iter().filter(|(name, _)| *name != "items") {
                assert_eq!(&pnl[name], value, "{query} {name}");
            }
        }
        // Only what is asked for, by name; a stranger is refused.
        let some = app.get(&format!("/portfolios/{id}/pnl?explain=fees,total_pnl")).await.expect(200);
        let names: Vec<&str> = some["explain"]["figures"].as_array().unwrap().iter().map(|f| f["figure"].as_str().unwrap()).collect();
        assert_eq!(names, ["total_pnl", "fees"]);
        let refused = app.get(&format!("/portfolios/{id}/pnl?explain=luck")).await;
        assert_eq!(refused.code(422), "invalid_request");
        // Where a price comes from is told.
        let value = app.get(&format!("/portfolios/{id}/pnl?explain=market_value")).await.expect(200);
        let terms = value["explain"]["figures"][0]["terms"].as_array().unwrap().clone();
        let gold = terms.iter().find(|term| term["symbol"] == "GOLD").unwrap();
        check(&gold["price"], &json!({ "price": "2107.35", "source": "desk", "price_basis": "quote", "observed_at": "2026-03-05T10:00:00.000000Z" }));
        assert!(gold["price"]["recorded_at"].is_string() && gold["price"]["age"].as_i64().unwrap() > 0);
        app.stop().await;
    }

    async fn gains_are_listed_lot_by_lot_and_by_year(backend) {
        let app = TestApp::start(backend).await;
        app.gold_and_bitcoin("0").await;
        // In Sydney the last evening of 2024 in UTC is the first morning of 2025.
        let id = app.portfolio(&json!({ "initial_capital": 100_000, "opened_at": "2023-01-01", "time_zone": "Australia/Sydney" })).await;
        let entries = json!([
            { "type": "buy", "symbol": "GOLD", "quantity": 10, "price": 100, "fee": 10, "executed_at": "2023-06-01" },
            { "type": "buy", "symbol": "GOLD", "quantity": 10, "price": 120, "executed_at": "2024-06-01" },
            { "type": "sell", "symbol": "GOLD", "quantity": 4, "price": 130, "fee": 4, "executed_at": "2024-05-31" },
            { "type": "sell", "symbol": "GOLD", "quantity": 8, "price": 150, "fee": 8, "executed_at": "2024-12-31T14:00:00Z" }
        ]);
        app.post(&format!("/portfolios/{id}/transactions"), &entries).await.expect(201);
        let all = app.get(&format!("/portfolios/{id}/gains")).await.expect(200);
        // 2024-05-31 is 365 days after 2023-06-01 (2024 is a leap year): one day short of being tax free.
        let gains = all["gains"].as_array().unwrap();
        assert_eq!(gains.len(), 3);
        check(&gains[0], &json!({ "kind": "sale", "quantity": "4", "proceeds": "516", "cost": "404", "gain": "112", "holding_days": 365, "taxable": true }));
        check(&gains[1], &json!({ "quantity": "6", "proceeds": "894", "cost": "606", "gain": "288", "holding_days": 580, "taxable": false }));
        check(&gains[2], &json!({ "quantity": "2", "proceeds": "298", "cost": "240", "gain": "58", "holding_days": 214, "taxable": true }));
        check(&all["years"][0], &json!({ "year": 2024, "gain": "112", "taxable_gain": "112", "tax_free_gain": "0", "disposals": 1 }));
        check(&all["years"][1], &json!({ "year": 2025, "gain": "346", "taxable_gain": "58", "tax_free_gain": "288", "proceeds": "1192", "cost": "846" }));
        let year = app.get(&format!("/portfolios/{id}/gains?year=2025&holding_period=600")).await.expect(200);
        check(&year["years"][0], &json!({ "year": 2025, "taxable_gain": "346", "tax_free_gain": "0" }));
        assert_eq!(year["gains"].as_array().unwrap().len(), 2);
        // Fees expensed at once are in realised profit and in no disposal.
        let expensed = app.get(&format!("/portfolios/{id}/gains?fees=expensed")).await.expect(200);
        let pnl = app.get(&format!("/portfolios/{id}/pnl?fees=expensed")).await.expect(200);
        check(&expensed["years"][0], &json!({ "year": 2023, "gain": "0", "fees_expensed": "10", "realized_pnl": "-10" }));
        check(&expensed["years"][1], &json!({ "year": 2024, "gain": "120", "fees_expensed": "4", "realized_pnl": "116" }));
        check(&expensed["years"][2], &json!({ "year": 2025, "gain": "360", "fees_expensed": "8", "realized_pnl": "352" }));
        assert_eq!(pnl["realized_pnl"], "458");
        // One row a page, and the same rows.
        let pages = app.get(&format!("/portfolios/{id}/gains?limit=1")).await;
        let link = pages.headers["link"].to_str().unwrap().to_owned();
        let next = link.trim_start_matches('<').split('>').next().unwrap().to_owned();
        assert_eq!(app.get(&next).await.expect(200)["gains"][0], gains[1]);
        for bad in ["year=20", "year=x", "holding_period=-1", "dust=-1", "limit=0"] {
            assert_eq!(app.get(&format!("/portfolios/{id}/gains?{bad}")).await.code(422), "invalid_request", "{bad}");
        }
        // What is left open, with the day from which it is tax free.
        let lots = app.get(&format!("/portfolios/{id}/lots")).await.expect(200);
        check(&lots[0], &json!({ "quantity": "8", "unit_cost": "120", "cost_basis": "960", "tax_free_from": "2025-06-02", "side": "LONG" }));
        assert_eq!(lots.as_array().unwrap().len(), 1);
        let lifo = app.get(&format!("/portfolios/{id}/lots?cost_basis=lifo&symbol=gold&account=main")).await.expect(200);
        check(&lifo[0], &json!({ "quantity": "6", "unit_cost": "101", "acquired_at": "2023-05-31T14:00:00.000000Z" }));
        check(&lifo[1], &json!({ "quantity": "2", "unit_cost": "120" }));
        assert_eq!(app.get(&format!("/portfolios/{id}/lots?account=other")).await.expect(200), json!([]));
        app.stop().await;
    }
}

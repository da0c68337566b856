//! The ledger: recorded whole or not at all, never changed, voided in the open.

use crate::on_both;
use crate::support::{Backend, Reply, TestApp};
use serde_json::{Value, json};

struct Ledger {
    app: TestApp,
    path: String,
}

impl Ledger {
    async fn new(backend: Backend, fields: &Value) -> Self {
        let app = TestApp::start(backend).await;
        app.gold_and_bitcoin("0").await;
        let id = app.portfolio(fields).await;
        Self { app, path: format!("/portfolios/{id}/transactions") }
    }

    async fn post(&self, body: &Value) -> Reply {
        self.app.post(&self.path, body).await
    }

    async fn list(&self, query: &str) -> Value {
        self.app.get(&format!("{}{query}", self.path)).await.expect(200)
    }

    async fn void(&self, id: &Value, body: &Value) -> Reply {
        self.app.post(&format!("{}/{}/void", self.path, id.as_str().unwrap()), body).await
    }
}

fn column(rows: &Value, name: &str) -> Vec<String> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    rows.as_array().unwrap().iter().map(|row| text(&row[name])).collect()
}

fn trade(kind: &str, quantity: u32, day: &str) -> Value {
    json!({ "type": kind, "symbol": "GOLD", "quantity": quantity, "price": 10, "executed_at": day })
}

fn old() -> Value {
    json!({ "initial_capital": 100_000, "opened_at": "2026-01-01" })
}

on_both! {
    async fn one_or_many_are_recorded_whole_or_not_at_all(backend) {
        let ledger = Ledger::new(backend, &old()).await;
        let reply = ledger.post(&json!({ "type": "deposit", "amount": "12.50", "note": "n", "metadata": { "a": [] } })).await;
        let one = reply.expect(201);
        assert_eq!((&one["outcome"], &one["amount"], &one["success"]), (&json!("stored"), &json!("12.50"), &json!(true)));
        assert_eq!((&one["executed_at"], &one["recorded_at"]), (&one["recorded_at"], &one["executed_at"]));
        let place = format!("{}/{}", ledger.path, one["id"].as_str().unwrap());
        assert_eq!(reply.headers["location"], place);
        let read = ledger.app.get(&place).await.expect(200);
        for (name, value) in read.as_object().unwrap() {
            assert_eq!(&one[name], value, "{name}");
        }
        let before = ledger.list("?voided=true").await;
        let broken = json!([trade("buy", 5, "2026-02-01"), trade("sell", 6, "2026-02-02"), trade("buy", 9, "2026-02-03")]);
        let refused = ledger.post(&broken).await;
        assert_eq!((refused.code(422), refused.pointers()), ("insufficient_quantity".to_owned(), vec!["/1/quantity".to_owned()]));
        assert_eq!(ledger.list("?voided=true").await, before);
        // In an array the order of time counts, not the order of the array.
        let good = json!([trade("sell", 6, "2026-02-03"), trade("buy", 6, "2026-02-02")]);
        let stored = ledger.post(&good).await.expect(201);
        assert_eq!((&stored["stored"], &stored["duplicate"]), (&json!(2), &json!(0)));
        assert_eq!(column(&stored["transactions"], "type"), ["sell", "buy"]);
        assert_eq!(column(&ledger.list("").await, "type"), ["deposit", "buy", "sell", "deposit"]);
        assert_eq!(ledger.post(&json!([])).await.expect(200)["transactions"], json!([]));
        ledger.app.stop().await;
    }

    async fn an_external_id_is_recorded_once(backend) {
        let ledger = Ledger::new(backend, &old()).await;
        let entry = |amount: &str, id: &str| json!({ "type": "deposit", "amount": amount, "executed_at": "2026-02-01", "external_id": id });
        let first = ledger.post(&entry("5", "a")).await.expect(201);
        let again = ledger.post(&entry("5.00", "a")).await.expect(200);
        assert_eq!((&again["outcome"], &again["id"]), (&json!("duplicate"), &first["id"]));
        let refused = ledger.post(&entry("6", "a")).await;
        assert_eq!((refused.code(409), refused.pointers()), ("external_id_conflict".to_owned(), vec!["/external_id".to_owned()]));
        let refused = ledger.post(&json!([entry("1", "b"), entry("6", "a"), entry("2", "b")])).await;
        assert_eq!(refused.code(409), "external_id_conflict");
        assert_eq!(refused.pointers(), ["/1/external_id", "/2/external_id"]);
        let mixed = ledger.post(&json!([entry("5", "a"), entry("1", "b"), entry("1", "b")])).await.expect(201);
        assert_eq!((&mixed["stored"], &mixed["duplicate"]), (&json!(1), &json!(2)));
        assert_eq!(column(&mixed["transactions"], "outcome"), ["duplicate", "stored", "duplicate"]);
        assert_eq!(mixed["transactions"][1]["id"], mixed["transactions"][2]["id"]);
        // Alike but with other ids: both are kept. A void frees the id.
        ledger.post(&entry("5", "c")).await.expect(201);
        ledger.void(&first["id"], &json!({})).await.expect(200);
        ledger.post(&entry("7", "a")).await.expect(201);
        assert_eq!(column(&ledger.list("?external_id=a").await, "amount"), ["7"]);
        assert_eq!(column(&ledger.list("?external_id=a&voided=true").await, "amount"), ["5", "7"]);
        // Another portfolio has ids of its own.
        let other = ledger.app.portfolio(&old()).await;
        ledger.app.post(&format!("/portfolios/{other}/transactions"), &entry("9", "a")).await.expect(201);
        ledger.app.stop().await;
    }

    async fn a_void_stays_readable_and_may_carry_its_replacement(backend) {
        let ledger = Ledger::new(backend, &old()).await;
        let bought = ledger.post(&trade("buy", 5, "2026-02-01")).await.expect(201);
        ledger.post(&trade("buy", 1, "2026-02-01")).await.expect(201);
        ledger.app.set_clock("2026-11-23T13:00:00Z");
        let body = json!({ "reason": "typo", "replacement": trade("buy", 4, "2026-02-01") });
        let done = ledger.void(&bought["id"], &body).await.expect(200);
        let new = &done["replacement"];
        assert_eq!((&done["id"], &done["success"]), (&bought["id"], &json!(true)));
        assert_eq!((&done["voided"]["void_reason"], &done["voided"]["replaced_by"]), (&json!("typo"), &new["id"]));
        assert_eq!(done["voided"]["voided_at"], "2026-11-23T13:00:00.000000Z");
        assert_eq!((&new["replaces"], &new["quantity"]), (&bought["id"], &json!("4")));
        assert_eq!(ledger.void(&bought["id"], &json!({})).await.code(409), "already_voided");
        assert_eq!(column(&ledger.list("?type=buy").await, "quantity"), ["1", "4"]);
        let all = ledger.list("?type=buy&voided=true").await;
        assert_eq!(column(&all, "quantity"), ["5", "1", "4"]);
        // As it was known before the void, nothing had been voided.
        let before = ledger.list("?type=buy&known_at=2026-11-23T12:30:00Z").await;
        assert_eq!(column(&before, "quantity"), ["5", "1"]);
        assert_eq!(column(&before, "voided_at"), ["null", "null"]);
        assert_eq!(column(&before, "replaced_by"), ["null", "null"]);
        let body = json!({ "reason": "gone" });
        let done = ledger.void(&new["id"], &body).await.expect(200);
        assert_eq!(done["replacement"], Value::Null);
        for method in ["PATCH", "DELETE"] {
            let path = format!("{}/{}", ledger.path, new["id"].as_str().unwrap());
            assert_eq!(ledger.app.send(method, &path, &[], b"").await.code(405), "method_not_allowed");
        }
        ledger.app.stop().await;
    }

    async fn a_part_that_cannot_be_read_refuses_the_whole(backend) {
        let ledger = Ledger::new(backend, &old()).await;
        let bought = ledger.post(&trade("buy", 5, "2026-02-01")).await.expect(201);
        let before = ledger.list("?voided=true").await;
        let good = trade("buy", 1, "2026-02-02").to_string();
        let json = [("content-type", "application/json")];
        let void = format!("{}/{}/void", ledger.path, bought["id"].as_str().unwrap());
        for (path, body, pointer) in [
            (&ledger.path, format!("[{good},{{\"\\ud800\":1}}]"), "/1"),
            (&ledger.path, "{\"\\ud800\":1}".to_owned(), ""),
            (&void, "{\"replacement\":{\"\\ud800\":1}}".to_owned(), "/replacement"),
            (&void, format!("{{\"replacement\":[{good}]}}"), "/replacement"),
        ] {
            let reply = ledger.app.send("POST", path, &json, body.as_bytes()).await;
            assert_eq!((reply.code(422).as_str(), reply.pointers()), ("invalid_request", vec![pointer.to_owned()]), "{body}");
        }
        assert_eq!(ledger.list("?voided=true").await, before);
        ledger.app.stop().await;
    }

    async fn a_later_row_that_would_break_is_named(backend) {
        let ledger = Ledger::new(backend, &old()).await;
        let bought = ledger.post(&trade("buy", 10, "2026-02-01")).await.expect(201);
        let sold = ledger.post(&trade("sell", 8, "2026-03-01")).await.expect(201);
        let before = ledger.list("?voided=true").await;
        let refusals = [
            ledger.void(&bought["id"], &json!({})).await,
            ledger.void(&bought["id"], &json!({ "replacement": trade("buy", 7, "2026-02-01") })).await,
            ledger.void(&bought["id"], &json!({ "replacement": trade("buy", 10, "2026-03-02") })).await,
            ledger.post(&trade("sell", 3, "2026-02-15")).await,
        ];
        for refused in refusals {
            assert_eq!(refused.code(409), "later_entry_breaks");
            assert!(refused.json()["detail"].as_str().unwrap().contains(sold["id"].as_str().unwrap()));
        }
        assert_eq!(ledger.list("?voided=true").await, before);
        ledger.post(&trade("sell", 2, "2026-02-15")).await.expect(201);
        ledger.void(&bought["id"], &json!({ "replacement": trade("buy", 11, "2026-02-02") })).await.expect(200);
        ledger.app.stop().await;
    }

    async fn a_day_is_a_day_of_the_portfolio(backend) {
        let fields = json!({ "initial_capital": 1000, "opened_at": "2026-01-01", "time_zone": "America/New_York" });
        let ledger = Ledger::new(backend, &fields).await;
        for (day, at) in [("2026-03-08", "2026-03-08T05:00:00.000000Z"), ("2026-03-09", "2026-03-09T04:00:00.000000Z")] {
            let stored = ledger.post(&trade("buy", 1, day)).await.expect(201);
            assert_eq!((&stored["executed_at"], &stored["whole_day"]), (&json!(at), &json!(true)));
        }
        ledger.post(&trade("buy", 2, "2026-03-08T23:30:00-04:00")).await.expect(201);
        for (query, quantities) in [
            ("?type=buy&as_of=2026-03-08", vec!["1", "2"]),
            ("?type=buy&as_of=2026-03-07", vec![]),
            ("?type=buy&from=2026-03-09", vec!["1"]),
            ("?type=buy&from=2026-03-09T03:30:00Z&as_of=2026-03-09T03:30:00Z", vec!["2"]),
        ] {
            assert_eq!(column(&ledger.list(query).await, "quantity"), quantities, "{query}");
        }
        ledger.app.stop().await;
    }

    async fn every_type_is_recorded_and_found_by_its_filters(backend) {
        let ledger = Ledger::new(backend, &old()).await;
        let entries = json!([
            { "type": "deposit", "amount": 1000, "account": "b", "external_id": "d" },
            { "type": "buy", "symbol": "GOLD", "quantity": 10, "gross_total": 1000, "fee": 1, "tax": 1 },
            { "type": "sell", "symbol": "gold", "quantity": 1, "price": 110 },
            { "type": "dividend", "symbol": "GOLD", "amount": 5 },
            { "type": "interest", "amount": "-0.5" },
            { "type": "fee", "amount": 1 },
            { "type": "tax", "amount": 1, "symbol": "GOLD" },
            { "type": "split", "symbol": "GOLD", "ratio": "1.5" },
            { "type": "transfer_in", "symbol": "BTC-USD", "quantity": 1, "price": 40_000 },
            { "type": "transfer_out", "symbol": "BTC-USD", "quantity": "0.5" },
            { "type": "transfer", "symbol": "GOLD", "quantity": 1, "to_account": "b" },
            { "type": "transfer", "amount": 5, "to_account": "b" },
            { "type": "fx", "amount": 100, "currency": "USD", "to_amount": 90, "to_currency": "EUR" },
            { "type": "withdrawal", "amount": 10 },
        ]);
        let stored = ledger.post(&entries).await.expect(201);
        assert_eq!(stored["stored"], 14);
        let split = &stored["transactions"][7];
        assert_eq!((&split["ratio_num"], &split["ratio_den"]), (&json!("1.5"), &json!("1")));
        for (query, count) in [
            ("", 15), ("?type=transfer", 2), ("?type=fx", 1), ("?account=b", 3), ("?symbol=gold", 6),
            ("?symbol=BTC-USD&type=transfer_out", 1), ("?external_id=d", 1), ("?external_id=x", 0), ("?account=zzz", 0),
            ("?as_of=2026-01-01", 1), ("?from=2026-01-02", 14), ("?known_at=2026-11-23T11:00:00Z", 0),
        ] {
            // Before the portfolio was known there was none.
            if query.contains("known_at") {
                assert_eq!(ledger.app.get(&format!("{}{query}", ledger.path)).await.code(404), "portfolio_not_found");
                continue;
            }
            let rows = ledger.list(query).await;
            assert_eq!(rows.as_array().unwrap().len(), count, "{query}");
            for limit in [1, 4, 7] {
                assert_eq!(Value::Array(ledger.app.every(&format!("{}{query}", ledger.path), limit).await), rows);
            }
        }
        ledger.app.stop().await;
    }

    async fn a_sale_may_name_its_lots(backend) {
        let mut fields = old();
        fields["conventions"] = json!({ "cost_basis": "specific" });
        let ledger = Ledger::new(backend, &fields).await;
        let first = ledger.post(&trade("buy", 5, "2026-02-01")).await.expect(201);
        let second = json!({ "type": "buy", "symbol": "GOLD", "quantity": 5, "price": 20, "executed_at": "2026-02-02" });
        let second = ledger.post(&second).await.expect(201);
        let sell = |lot: &Value, quantity: u32| json!({ "type": "sell", "symbol": "GOLD", "quantity": quantity, "price": 30,
            "executed_at": "2026-02-03", "lots": [{ "transaction": lot["id"], "quantity": quantity }] });
        let stored = ledger.post(&sell(&second, 4)).await.expect(201);
        assert_eq!(stored["lots"], json!([{ "transaction": second["id"], "quantity": "4" }]));
        let pnl = ledger.app.get(&ledger.path.replace("transactions", "pnl")).await.expect(200);
        assert_eq!(pnl["realized_pnl"], "40");
        assert_eq!(ledger.post(&sell(&second, 2)).await.code(422), "lots_not_available");
        ledger.post(&sell(&first, 5)).await.expect(201);
        ledger.app.stop().await;
    }

    async fn a_purchase_may_name_the_lots_of_the_short_position_it_covers(backend) {
        let mut fields = old();
        fields["conventions"] = json!({ "cost_basis": "specific", "short": "allowed" });
        let ledger = Ledger::new(backend, &fields).await;
        ledger.post(&trade("sell", 5, "2026-02-01")).await.expect(201);
        let second = json!({ "type": "sell", "symbol": "GOLD", "quantity": 5, "price": 40, "executed_at": "2026-02-02" });
        let second = ledger.post(&second).await.expect(201);
        let cover = |lots: &Value| json!({ "type": "buy", "symbol": "GOLD", "quantity": 4, "price": 20,
            "executed_at": "2026-02-03", "lots": lots });
        assert_eq!(ledger.post(&cover(&json!([]))).await.code(422), "lots_not_available");
        ledger.post(&cover(&json!([{ "transaction": second["id"], "quantity": "4" }]))).await.expect(201);
        // 4 x (40 - 20)
        let pnl = ledger.app.get(&ledger.path.replace("transactions", "pnl")).await.expect(200);
        assert_eq!(pnl["realized_pnl"], "80");
        ledger.app.stop().await;
    }

    async fn money_in_another_currency_than_the_assets_is_converted_or_refused_by_name(backend) {
        let ledger = Ledger::new(backend, &json!({ "base_currency": "GBP", "initial_capital": "10000", "opened_at": "2026-01-01" })).await;
        let vod = json!({ "symbol": "VOD", "name": "Vod", "asset_type": "STOCK", "market_code": "COMEX", "currency": "GBP" });
        ledger.app.post("/assets", &vod).await.expect(201);
        // Pence for pounds: 200 at 72.5 pence are 145 pounds, and 72.5 x 200 = 14500 pence of cash.
        let pence = json!({ "type": "buy", "symbol": "VOD", "quantity": 200, "price": "72.5", "currency": "GBp", "executed_at": "2026-01-05" });
        assert_eq!(ledger.post(&pence).await.expect(201)["currency"], "GBp");
        let euros = json!({ "type": "buy", "symbol": "VOD", "quantity": 100, "price": "2", "fee": "1", "currency": "EUR", "executed_at": "2026-01-06T12:00:00Z" });
        let before = ledger.list("").await;
        let refused = ledger.post(&euros).await;
        assert_eq!((refused.code(409), refused.pointers()), ("missing_rate".to_owned(), vec!["/currency".to_owned()]));
        let many = ledger.post(&json!([pence, euros])).await;
        assert_eq!(many.pointers(), ["/1/currency"]);
        assert_eq!(ledger.list("").await, before);
        let rate = json!({ "base": "EUR", "quote": "GBP", "rate": "0.85", "timestamp": "2026-01-06" });
        ledger.app.post("/fx", &rate).await.expect(200);
        ledger.post(&euros).await.expect(201);
        let dividend = json!({ "type": "dividend", "symbol": "VOD", "amount": "10", "currency": "EUR", "executed_at": "2026-01-07" });
        ledger.post(&dividend).await.expect(201);
        let pnl = ledger.app.get(&ledger.path.replace("transactions", "pnl")).await.expect(200);
        // 145 + 201 x 0.85 = 315.85; a dividend of 10 x 0.85 = 8.50; 201 - 10 = 191 euros
        // are owed, 162.35 pounds: 10000 - 145 - 162.35 = 9692.65.
        let item = &pnl["items"][0];
        let figures = [&item["currency"], &item["quantity"], &item["cost_basis"], &item["income"], &item["fees"]];
        assert_eq!(figures, ["GBP", "300", "315.85", "8.5", "0.85"]);
        assert_eq!(pnl["cash_by_currency"], json!({ "EUR": "-191", "GBP": "10000", "GBp": "-14500" }));
        assert_eq!((&pnl["cash"], &pnl["missing"]), (&json!("9692.65"), &json!([])));
        ledger.app.stop().await;
    }
}

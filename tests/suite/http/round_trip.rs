//! A ledger taken out and brought in again gives the same figures, whatever is in it.

use super::ledger_imports::{Book, counts};
use crate::on_both;
use crate::support::Backend;
use serde_json::{Value, json};

const RATES: [(&str, &str, &str, &str); 4] = [
    ("EUR", "USD", "1.10", "2026-01-01"),
    ("GBP", "USD", "1.25", "2026-01-01"),
    ("EUR", "USD", "1.12", "2026-02-01"),
    ("GBP", "USD", "1.30", "2026-03-01"),
];

async fn with_assets(backend: Backend, fields: &Value) -> Book {
    let book = Book::new(backend, fields).await;
    for asset in [
        json!({ "symbol": "VOD", "asset_type": "STOCK", "currency": "GBP" }),
        json!({ "symbol": "FUT", "asset_type": "FUTURE", "multiplier": "50", "margined": true }),
        json!({ "symbol": "XBT", "asset_type": "FUTURE", "inverse": true, "settlement": "BTC" }),
        json!({ "symbol": "OIL", "asset_type": "COMMODITY", "allows_negative_price": true }),
    ] {
        let mut body = json!({ "name": asset["symbol"], "market_code": "COMEX" });
        body.as_object_mut().unwrap().extend(asset.as_object().unwrap().clone());
        book.app.post("/assets", &body).await.expect(201);
    }
    for (base, quote, rate, at) in RATES {
        book.app
            .post("/fx", &json!({ "base": base, "quote": quote, "rate": rate, "timestamp": at }))
            .await
            .expect(200);
    }
    book.app
        .post("/fx", &json!({ "base": "BTC", "quote": "USD", "rate": "40000", "timestamp": "2026-01-01" }))
        .await
        .expect(200);
    for (symbol, price) in
        [("GOLD", "2100.5"), ("VOD", "0.8"), ("FUT", "4100"), ("XBT", "41000"), ("OIL", "-3.5")]
    {
        let body = json!({ "symbol": symbol, "price": price, "timestamp": "2026-06-01T00:00:00Z" });
        book.app.post("/prices", &body).await.expect(200);
    }
    book
}

/// Every type of entry, and every field an entry can have.
fn everything() -> Value {
    json!([
        { "type": "deposit", "amount": "50000.00", "executed_at": "2026-01-02", "fee": "1.5", "external_id": "=SUM(A1)", "note": "=cmd|' /C calc'!A0" },
        { "type": "deposit", "amount": "9000", "currency": "EUR", "fx_rate": "1.08", "executed_at": "2026-01-02", "external_id": "-7" },
        { "type": "deposit", "amount": "3000", "currency": "GBP", "executed_at": "2026-01-02", "account": "+uk", "note": "line one\nline \"two\"; three, 'four'" },
        { "type": "buy", "symbol": "GOLD", "quantity": "10", "price": "2000.000", "fee": "9.95", "executed_at": "2026-01-05T09:30:00.000001Z", "metadata": { "a": 1.10, "b": [null, "é"] } },
        { "type": "buy", "symbol": "GOLD", "quantity": "3", "gross_total": "6100", "tax": "2", "executed_at": "2026-01-05T09:30:00.000001Z", "note": "'quoted" },
        { "type": "buy", "symbol": "GOLD", "quantity": "1", "price": "2000", "fee_asset_quantity": "0.001", "executed_at": "2026-01-06" },
        { "type": "buy", "symbol": "VOD", "quantity": "1000", "price": "72.5", "currency": "GBp", "account": "+uk", "executed_at": "2026-01-07" },
        { "type": "buy", "symbol": "VOD", "quantity": "500", "price": "0.9", "currency": "EUR", "fee": "1", "account": "+uk", "executed_at": "2026-01-08" },
        { "type": "buy", "symbol": "VOD", "quantity": "100", "price": "0.75", "fx_rate": "1.26", "executed_at": "2026-01-09", "note": " blanks " },
        { "type": "split", "symbol": "GOLD", "ratio_num": "3", "ratio_den": "2", "executed_at": "2026-02-01" },
        { "type": "buy", "symbol": "GOLD", "quantity": "2", "price": "1400", "executed_at": "2026-02-01" },
        { "type": "split", "symbol": "VOD", "ratio": "2", "executed_at": "2026-02-01T12:00:00Z" },
        { "type": "sell", "symbol": "GOLD", "quantity": "7", "price": "1500", "fee": "3", "tax": "1", "executed_at": "2026-02-02" },
        { "type": "dividend", "symbol": "VOD", "amount": "12.5", "tax": "1.25", "account": "+uk", "executed_at": "2026-02-03" },
        { "type": "dividend", "symbol": "VOD", "amount": "-2", "account": "+uk", "executed_at": "2026-02-04" },
        { "type": "interest", "amount": "-3.75", "executed_at": "2026-02-05" },
        { "type": "interest", "amount": "4", "currency": "EUR", "fee": "0.1", "tax": "0.2", "executed_at": "2026-02-05" },
        { "type": "fee", "amount": "10", "executed_at": "2026-02-06" },
        { "type": "fee", "amount": "2", "symbol": "GOLD", "currency": "EUR", "executed_at": "2026-02-06" },
        { "type": "tax", "amount": "5", "symbol": "VOD", "account": "+uk", "executed_at": "2026-02-06" },
        { "type": "fx", "amount": "1000", "currency": "USD", "to_amount": "890", "to_currency": "EUR", "fee": "2", "executed_at": "2026-02-07" },
        { "type": "transfer", "symbol": "GOLD", "quantity": "4", "to_account": "@vault", "fee": "1", "executed_at": "2026-02-08" },
        { "type": "transfer", "amount": "500", "to_account": "@vault", "executed_at": "2026-02-08" },
        { "type": "transfer", "amount": "50", "currency": "EUR", "to_account": "@vault", "executed_at": "2026-02-08" },
        { "type": "transfer_in", "symbol": "OIL", "quantity": "100", "price": "-1.5", "executed_at": "2026-02-09" },
        { "type": "transfer_in", "symbol": "GOLD", "quantity": "1", "gross_total": "1450", "fee": "4", "account": "@vault", "executed_at": "2026-02-09" },
        { "type": "transfer_out", "symbol": "OIL", "quantity": "40", "fee": "1", "executed_at": "2026-02-10" },
        { "type": "buy", "symbol": "FUT", "quantity": "2", "price": "4000", "fee": "2.5", "executed_at": "2026-02-11" },
        { "type": "sell", "symbol": "FUT", "quantity": "1", "price": "4050", "fee": "2.5", "executed_at": "2026-02-12" },
        { "type": "buy", "symbol": "XBT", "quantity": "10000", "price": "40000", "executed_at": "2026-02-11" },
        { "type": "sell", "symbol": "XBT", "quantity": "4000", "price": "42000", "executed_at": "2026-02-12" },
        { "type": "withdrawal", "amount": "250", "fee": "1", "executed_at": "2026-03-02" }
    ])
}

/// What the figures say, without the ids that a new ledger gives anew.
fn figures(mut pnl: Value) -> Value {
    fn strip(value: &mut Value) {
        match value {
            Value::Object(fields) => {
                for name in ["portfolio_id", "position_id", "transaction"] {
                    fields.remove(name);
                }
                fields.values_mut().for_each(strip);
            }
            Value::Array(items) => items.iter_mut().for_each(strip),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    strip(&mut pnl);
    pnl
}

async fn asked(book: &Book, id: &str) -> Vec<(String, Value)> {
    let mut answers = Vec::new();
    let methods = [
        "",
        "cost_basis=lifo",
        "cost_basis=hifo",
        "cost_basis=average",
        "lot_scope=global&fees=separate",
        "fees=expensed&taxes=in_cost",
        "fees=none&short=allowed",
    ];
    for query in methods {
        for by in ["asset", "account", "lot"] {
            for as_of in ["", "&as_of=2026-02-01", "&as_of=2026-02-08T00:00:00Z", "&as_of=2026-06-02"] {
                let path = format!("/portfolios/{id}/pnl?by={by}&{query}{as_of}");
                let reply = book.app.get(&path).await;
                let said = if reply.status.is_success() {
                    figures(reply.json())
                } else {
                    json!(reply.status.as_u16())
                };
                answers.push((format!("{by} {query} {as_of}"), said));
            }
        }
    }
    answers
}

async fn export(book: &Book, id: &str, query: &str) -> String {
    let reply = book.app.get(&format!("/portfolios/{id}/export?{query}")).await;
    assert_eq!(reply.status.as_u16(), 200, "{}", String::from_utf8_lossy(&reply.body));
    String::from_utf8(reply.body.to_vec()).unwrap()
}

/// Takes the ledger of `book` out in `query`'s form and brings it into a portfolio of its own.
async fn moved(book: &Book, query: &str, fields: &Value) -> (String, String) {
    let text = export(book, &book.id, query).await;
    let id = book.app.portfolio(fields).await;
    let path = format!("/portfolios/{id}/transactions:import");
    let report = book.app.send("POST", &path, &[], text.as_bytes()).await.expect(200);
    assert_eq!(counts(&report)[1..], [0, 0, 0], "{query}: {report}");
    // The same file into the ledger it came from is known to the last row.
    let path = format!("/portfolios/{}/transactions:import", book.id);
    let again = book.app.send("POST", &path, &[], text.as_bytes()).await.expect(200);
    assert_eq!((counts(&again)[0], counts(&again)[1]), (0, counts(&report)[0]), "{query}: {again}");
    (id, text)
}

on_both! {
    async fn everything_in_a_ledger_survives_the_way_out_and_in(backend) {
        let fields = json!({ "time_zone": "Asia/Tokyo", "initial_capital": "25000", "opened_at": "2026-01-01" });
        let book = with_assets(backend, &fields).await;
        let path = format!("/portfolios/{}/transactions", book.id);
        let recorded = book.app.post(&path, &everything()).await.expect(201);
        // A row replaced keeps its place among those of its moment; a voided one is gone.
        let first = recorded["transactions"][3]["id"].as_str().unwrap().to_owned();
        let replacement = json!({ "reason": "price", "replacement": { "type": "buy", "symbol": "GOLD", "quantity": "10", "price": "1999", "executed_at": "2026-01-05T09:30:00.000001Z" } });
        book.app.post(&format!("{path}/{first}/void"), &replacement).await.expect(200);
        let fee = recorded["transactions"][17]["id"].as_str().unwrap().to_owned();
        book.app.post(&format!("{path}/{fee}/void"), &json!({})).await.expect(200);
        // A short position, which no entry of that route may open under `short: rejected`.
        let short = json!({ "asset_symbol": "BTC-USD", "position_type": "SHORT", "quantity": "0.5", "price": "40000", "executed_at": "2026-03-01" });
        book.app.post(&format!("/portfolios/{}/positions", book.id), &short).await.expect(201);
        let wanted = asked(&book, &book.id).await;
        let empty = json!({ "time_zone": "Asia/Tokyo" });
        for query in ["what=ledger", "what=ledger&format=csv", ""] {
            let (id, text) = moved(&book, query, &empty).await;
            for ((about, wanted), (_, got)) in wanted.iter().zip(asked(&book, &id).await) {
                assert_eq!(wanted, &got, "{query}: {about}");
            }
            // The way out again is the same, but for ids and stamps: what had no id of its sender's has its old one now.
            let again = export(&book, &id, query).await;
            assert_eq!(again.lines().count(), text.lines().count(), "{query}");
        }
        book.app.stop().await;
    }

    async fn what_is_recorded_on_the_asset_is_not_brought_in_again(backend) {
        let book = with_assets(backend, &json!({ "initial_capital": "10000", "opened_at": "2026-01-01" })).await;
        let path = format!("/portfolios/{}/transactions", book.id);
        let buy = json!({ "type": "buy", "symbol": "GOLD", "quantity": "10", "price": "100", "executed_at": "2026-01-02" });
        let own = json!({ "type": "dividend", "symbol": "GOLD", "amount": "7", "executed_at": "2026-02-02" });
        book.app.post(&path, &json!([buy, own])).await.expect(201);
        for action in [
            json!({ "type": "split", "ratio": "2", "executed_at": "2026-02-01" }),
            json!({ "type": "dividend", "amount": "0.5", "executed_at": "2026-02-02" }),
        ] {
            book.app.post("/assets/GOLD/actions", &action).await.expect(201);
        }
        // The ledger keeps its own dividend; a new one would not be taken.
        assert_eq!(book.pnl("").await["income"], "7");
        let text = export(&book, &book.id, "").await;
        let kinds: Vec<String> = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["kind"].as_str().unwrap().to_owned()).collect();
        assert_eq!(kinds[..7], ["portfolio", "transaction", "transaction", "transaction", "asset", "action", "action"].map(str::to_owned));
        let id = book.app.portfolio(&json!({})).await;
        let target = format!("/portfolios/{id}/transactions:import");
        let refused = book.app.send("POST", &target, &[], text.as_bytes()).await;
        assert_eq!((refused.code(409), refused.pointers()), ("repeats_action".to_owned(), vec!["/lines/4/type".to_owned()]));
        let report = book.app.send("POST", &format!("{target}?mode=partial"), &[], text.as_bytes()).await.expect(200);
        assert_eq!((counts(&report), &report["rows"][2]["errors"][0]["code"]), ([2, 0, 0, 1], &json!("repeats_action")));
        // 20 units after the split, 0.5 each.
        let pnl = book.app.get(&format!("/portfolios/{id}/pnl")).await.expect(200);
        assert_eq!((&pnl["income"], &pnl["items"][0]["quantity"]), (&json!("10"), &json!("20")));
        book.app.stop().await;
    }

    async fn lots_that_a_sale_names_are_found_again(backend) {
        let fields = json!({ "conventions": { "cost_basis": "specific" } });
        let book = with_assets(backend, &fields).await;
        let path = format!("/portfolios/{}/transactions", book.id);
        let buys = json!([
            { "type": "buy", "symbol": "GOLD", "quantity": "10", "price": "100", "executed_at": "2026-01-02" },
            { "type": "buy", "symbol": "GOLD", "quantity": "10", "price": "200", "executed_at": "2026-01-03", "external_id": "b" }
        ]);
        let bought = book.app.post(&path, &buys).await.expect(201);
        let lot = |n: usize| bought["transactions"][n]["id"].clone();
        let sale = json!({ "type": "sell", "symbol": "GOLD", "quantity": "5", "price": "300", "executed_at": "2026-01-04",
            "lots": [{ "transaction": lot(1), "quantity": "3" }, { "transaction": lot(0), "quantity": "2" }] });
        book.app.post(&path, &sale).await.expect(201);
        let out = json!({ "type": "transfer", "symbol": "GOLD", "quantity": "4", "to_account": "safe", "executed_at": "2026-01-05",
            "lots": [{ "transaction": lot(1), "quantity": "4" }] });
        book.app.post(&path, &out).await.expect(201);
        // 5 x 300 - 3 x 200 - 2 x 100
        assert_eq!(book.pnl("").await["realized_pnl"], "700");
        for query in ["what=ledger", "what=ledger&format=csv", ""] {
            let (id, _) = moved(&book, query, &fields).await;
            for by in ["asset", "account", "lot"] {
                let of = async |id: &str| figures(book.app.get(&format!("/portfolios/{id}/pnl?by={by}")).await.expect(200));
                assert_eq!(of(&book.id).await, of(&id).await, "{query} {by}");
            }
        }
        book.app.stop().await;
    }

    async fn an_export_is_of_one_moment_and_one_knowledge(backend) {
        let book = with_assets(backend, &json!({ "initial_capital": "1000", "opened_at": "2026-01-01" })).await;
        let path = format!("/portfolios/{}/transactions", book.id);
        let buy = |day: &str| json!({ "type": "buy", "symbol": "GOLD", "quantity": "1", "price": "10", "executed_at": day });
        book.app.post(&path, &json!([buy("2026-01-02"), buy("2026-01-05")])).await.expect(201);
        book.app.set_clock("2026-11-23T13:00:00Z");
        book.app.post(&path, &buy("2026-01-03")).await.expect(201);
        let days = async |query: &str| -> Vec<String> {
            let text = export(&book, &book.id, query).await;
            let rows = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
            rows.filter(|row| row["kind"] == "transaction").map(|row| row["executed_at"].as_str().unwrap().to_owned()).collect()
        };
        assert_eq!(days("what=ledger").await, ["2026-01-01", "2026-01-02", "2026-01-03", "2026-01-05"]);
        assert_eq!(days("what=ledger&as_of=2026-01-03").await, ["2026-01-01", "2026-01-02", "2026-01-03"]);
        assert_eq!(days("what=ledger&known_at=2026-11-23T12:30:00Z").await, ["2026-01-01", "2026-01-02", "2026-01-05"]);
        let text = export(&book, &book.id, "known_at=2026-11-23T12:30:00Z&as_of=2026-01-05&fees=separate").await;
        let records: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let kinds: Vec<&str> = records.iter().map(|record| record["kind"].as_str().unwrap()).collect();
        assert_eq!(kinds, ["portfolio", "transaction", "transaction", "transaction", "asset", "lot", "lot", "pnl", "pnl_item", "price", "end"]);
        let pnl = &records[7];
        assert_eq!((&pnl["conventions"]["fees"], &pnl["unrealized_pnl"]), (&json!("separate"), &json!("0")));
        assert_eq!((&records[9]["price_basis"], &records[9]["price_used"], &records[9]["price"]), (&json!("trade"), &json!("10"), &Value::Null));
        assert_eq!(records[10]["transactions"], 3);
        // The same question later has the same answer, to the byte.
        book.app.post(&path, &buy("2026-01-04")).await.expect(201);
        assert_eq!(export(&book, &book.id, "known_at=2026-11-23T12:30:00Z&as_of=2026-01-05&fees=separate").await, text);
        // Who takes a ledger out is told.
        let rows = book.app.get("/audit?action=portfolio.export").await.expect(200);
        let told: Vec<_> = rows.as_array().unwrap().iter().map(|row| (&row["object_id"], &row["after"]["what"])).collect();
        let (id, ledger) = (json!(book.id), json!("ledger"));
        assert_eq!(told, [(&id, &ledger), (&id, &ledger), (&id, &ledger), (&id, &Value::Null), (&id, &Value::Null)]);
        assert_eq!(rows[3]["after"]["known_at"], "2026-11-23T12:30:00.000000Z");
        book.app.stop().await;
    }

    async fn tables_have_a_header_and_say_what_the_figures_say(backend) {
        let book = with_assets(backend, &json!({ "initial_capital": "10000", "opened_at": "2026-01-01" })).await;
        let path = format!("/portfolios/{}/transactions", book.id);
        let entries = json!([
            { "type": "buy", "symbol": "GOLD", "quantity": "2", "price": "2000", "executed_at": "2026-01-02", "account": "=main" },
            { "type": "buy", "symbol": "VOD", "quantity": "100", "price": "0.7", "executed_at": "2026-01-02" }
        ]);
        book.app.post(&path, &entries).await.expect(201);
        let table = async |what: &str| -> Vec<Vec<(String, String)>> {
            let text = export(&book, &book.id, &format!("what={what}&format=csv&as_of=2026-06-02")).await;
            let mut lines = text.lines().map(|line| line.split(',').map(str::to_owned).collect::<Vec<_>>());
            let header = lines.next().unwrap();
            lines.map(|line| { assert_eq!(line.len(), header.len(), "{line:?}"); header.iter().cloned().zip(line).collect() }).collect()
        };
        let cell = |row: &Vec<(String, String)>, name: &str| row.iter().find(|(column, _)| column == name).unwrap().1.clone();
        let cells = |row: &Vec<(String, String)>, names: &[&str]| names.iter().map(|name| cell(row, name)).collect::<Vec<_>>();
        let lots = table("lots").await;
        assert_eq!(cells(&lots[0], &["account", "symbol", "quantity", "cost_basis", "price", "price_basis"]), ["'=main", "GOLD", "2", "4000", "2100.5", "quote"]);
        // 10000 - 4000 - 70 x 1.30 of cash; 2 x 2100.5 and 80 x 1.30 of assets.
        let pnl = table("pnl").await;
        assert_eq!(cells(&pnl[0], &["kind", "symbol", "currency", "cash_base", "total_value_base"]), ["pnl", "", "USD", "5909", "10214"]);
        assert_eq!(cells(&pnl[1], &["kind", "symbol", "unrealized_pnl", "source"]), ["pnl_item", "GOLD", "201", "api"]);
        let prices = table("prices").await;
        assert_eq!(cells(&prices[0], &["kind", "symbol", "price", "observed_at", "source"]), ["price", "GOLD", "2100.5", "2026-06-01T00:00:00.000000Z", "api"]);
        assert_eq!(cells(&prices[2], &["kind", "base", "quote", "rate", "observed_at"]), ["rate", "GBP", "USD", "1.30", "2026-03-01T00:00:00.000000Z"]);
        let reply = book.app.get(&format!("/portfolios/{}/export?what=lots&format=csv", book.id)).await;
        assert_eq!(reply.headers["content-disposition"], format!("attachment; filename=\"lots-{}.csv\"", book.id));
        for (query, status, code, place) in [
            ("format=csv", 422, "invalid_request", "what"), ("what=all", 422, "invalid_request", "what"),
            ("format=xml", 422, "invalid_request", "format"), ("what=ledger&zzz=1", 422, "invalid_request", "zzz"),
            ("known_at=2030-01-01", 422, "invalid_request", "known_at"), ("what=pnl&fees=some", 422, "invalid_request", "fees"),
        ] {
            let reply = book.app.get(&format!("/portfolios/{}/export?{query}", book.id)).await;
            assert_eq!((reply.code(status), reply.pointers()), (code.to_owned(), vec![place.to_owned()]), "{query}");
        }
        assert_eq!(book.app.get("/portfolios/nope/export").await.code(404), "portfolio_not_found");
        book.app.stop().await;
    }
}

//! Ledger files: a dry run, one import, the same again, and what is refused.

use crate::on_both;
use crate::support::{Backend, Reply, TestApp};
use serde_json::{Value, json};

const CSV: &str = "type,executed_at,symbol,quantity,price,fee,amount,external_id\n\
    deposit,2026-01-01,,,,,10000,\n\
    buy,2026-01-02,GOLD,10,100,1,,t-1\n\
    buy,2026-01-03,GOLD,10,120,,,t-2\n\
    sell,2026-01-04,GOLD,15,130,2,,t-3\n";

pub(super) struct Book {
    pub(super) app: TestApp,
    pub(super) id: String,
}

impl Book {
    pub(super) async fn new(backend: Backend, fields: &Value) -> Self {
        let app = TestApp::start(backend).await;
        app.gold_and_bitcoin("0").await;
        let id = app.portfolio(fields).await;
        Self { app, id }
    }

    pub(super) async fn import(&self, query: &str, text: &str) -> Reply {
        let path = format!("/portfolios/{}/transactions:import?{query}", self.id);
        self.app.send("POST", &path, &[("content-type", "text/csv")], text.as_bytes()).await
    }

    pub(super) async fn ledger(&self) -> Value {
        self.app.get(&format!("/portfolios/{}/transactions", self.id)).await.expect(200)
    }

    pub(super) async fn pnl(&self, query: &str) -> Value {
        self.app.get(&format!("/portfolios/{}/pnl?{query}", self.id)).await.expect(200)
    }
}

pub(super) fn counts(report: &Value) -> [u64; 4] {
    ["stored", "duplicate", "conflict", "refused"].map(|name| report[name].as_u64().unwrap())
}

fn outcomes(report: &Value) -> Vec<String> {
    report["rows"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| format!("{} {}", row["row"], row["outcome"].as_str().unwrap()))
        .collect()
}

fn mapping(value: &Value) -> String {
    format!("mapping={}", artifact::http::query::encoded(&value.to_string()))
}

on_both! {
    async fn a_file_is_tried_stored_once_and_known_the_second_time(backend) {
        let book = Book::new(backend, &json!({})).await;
        let before = book.ledger().await;
        let tried = book.import("dry_run=true", CSV).await.expect(200);
        assert_eq!((counts(&tried), &tried["success"], &tried["dry_run"]), ([4, 0, 0, 0], &json!(true), &json!(true)));
        assert_eq!((&tried["rows"][1]["transaction"], &tried["columns"]["price"]), (&json!(null), &json!(["price"])));
        assert_eq!(book.ledger().await, before);
        let stored = book.import("", CSV).await.expect(200);
        assert_eq!((counts(&stored), outcomes(&stored)), ([4, 0, 0, 0], ["2 stored", "3 stored", "4 stored", "5 stored"].map(str::to_owned).to_vec()));
        let ledger = book.ledger().await;
        assert_eq!(ledger[1]["id"], stored["rows"][1]["transaction"]);
        assert_eq!((&ledger[1]["whole_day"], &ledger[1]["external_id"]), (&json!(true), &json!("t-1")));
        // 347 realised under FIFO: the worked example of PNL.md.
        assert_eq!(book.pnl("").await["realized_pnl"], "347");
        let again = book.import("", CSV).await.expect(200);
        assert_eq!((counts(&again), &again["rows"][0]["transaction"]), ([0, 4, 0, 0], &ledger[0]["id"]));
        assert_eq!(book.ledger().await, ledger);
        let problems = book.import("report=problems", CSV).await.expect(200);
        assert_eq!(problems["rows"].as_array().unwrap().len(), 4);
        book.app.stop().await;
    }

    async fn equal_rows_are_kept_when_their_ids_differ_and_never_double_without(backend) {
        let book = Book::new(backend, &json!({})).await;
        let row = "deposit,2026-01-01,,,,,5,\n";
        let file = format!("{CSV}{row}{row}deposit,2026-01-01,,,,,5,a\ndeposit,2026-01-01,,,,,5,b\ndeposit,2026-01-01,,,,,5,b\n");
        let stored = book.import("", &file).await.expect(200);
        assert_eq!((counts(&stored), &stored["rows"][8]["outcome"]), ([8, 1, 0, 0], &json!("duplicate")));
        assert_eq!(stored["rows"][8]["transaction"], stored["rows"][7]["transaction"]);
        assert_eq!(counts(&book.import("", &file).await.expect(200)), [0, 9, 0, 0]);
        // In another order, and one equal row more: that one is new.
        let lines: Vec<&str> = file.lines().collect();
        let turned: Vec<&str> = lines[..1].iter().chain(lines[1..].iter().rev()).copied().collect();
        let turned = format!("{}\n{row}", turned.join("\n"));
        assert_eq!(counts(&book.import("", &turned).await.expect(200)), [1, 9, 0, 0]);
        book.app.stop().await;
    }

    async fn one_bad_row_keeps_the_file_out_unless_the_others_are_wanted(backend) {
        let book = Book::new(backend, &json!({})).await;
        let bad = format!("{CSV}buy,2026-01-05,SILVER,1,1,,,t-4\nsell,2026-01-06,GOLD,six,1,,,t-5\nsell,2026-01-07,GOLD,1,1,,9,t-6\n");
        let before = book.ledger().await;
        let refused = book.import("", &bad).await;
        assert_eq!((refused.code(422), refused.pointers()), ("invalid_request".to_owned(),
            ["/lines/6/symbol", "/lines/7/quantity", "/lines/8/amount"].map(str::to_owned).to_vec()));
        let tried = book.import("dry_run=true", &bad).await.expect(200);
        assert_eq!((counts(&tried), &tried["success"]), ([4, 0, 0, 3], &json!(false)));
        let errors: Vec<&Value> = (4..7).map(|row| &tried["rows"][row]["errors"][0]).collect();
        assert_eq!(errors[1], &json!({ "field": "quantity", "column": "quantity", "code": "not_a_number", "detail": "is not a decimal number in plain notation" }));
        assert_eq!((&errors[0]["code"], &errors[2]["code"]), (&json!("not_found"), &json!("not_used")));
        assert_eq!(book.ledger().await, before);
        let stored = book.import("mode=partial", &bad).await.expect(200);
        assert_eq!((counts(&stored), &stored["success"]), ([4, 0, 0, 3], &json!(true)));
        assert_eq!(book.ledger().await.as_array().unwrap().len(), 4);
        let other = CSV.replace("100,1,,t-1", "101,1,,t-1");
        let conflict = book.import("", &other).await;
        assert_eq!((conflict.code(409), conflict.pointers()), ("external_id_conflict".to_owned(), vec!["/lines/3/external_id".to_owned()]));
        let tried = book.import("dry_run=true&report=problems", &other).await.expect(200);
        assert_eq!((counts(&tried), outcomes(&tried)[1].as_str()), ([0, 3, 1, 0], "3 conflict"));
        book.app.stop().await;
    }

    async fn rows_the_ledger_refuses_are_all_named_and_left_out_when_the_others_are_wanted(backend) {
        let book = Book::new(backend, &json!({})).await;
        // 5 are left after t-3: the sales of 6 and of 4 do not fit, those of 5 and of none do.
        let file = format!("{CSV}sell,2026-01-05,GOLD,6,1,,,x\nsell,2026-01-06,GOLD,5,1,,,y\nsell,2026-01-07,GOLD,4,1,,,z\n");
        let refused = book.import("", &file).await;
        assert_eq!((refused.code(422), refused.pointers()), ("insufficient_quantity".to_owned(),
            ["/lines/6/quantity", "/lines/8/quantity"].map(str::to_owned).to_vec()));
        assert_eq!(book.ledger().await, json!([]));
        let tried = book.import("dry_run=true", &file).await.expect(200);
        assert_eq!((counts(&tried), &tried["rows"][4]["errors"][0]["code"]), ([5, 0, 0, 2], &json!("insufficient_quantity")));
        let stored = book.import("mode=partial", &file).await.expect(200);
        assert_eq!(counts(&stored), [5, 0, 0, 2]);
        assert_eq!(book.pnl("").await["items"][0]["quantity"], "0");
        // A sale dated before what is recorded leaves a recorded row without its units: that row is named.
        let early = "type,executed_at,symbol,quantity,price\nsell,2026-01-03T12:00:00Z,GOLD,7,1\n";
        assert_eq!(book.import("", early).await.code(409), "later_entry_breaks");
        assert_eq!(book.import("mode=partial", early).await.code(409), "later_entry_breaks");
        book.app.stop().await;
    }

    async fn a_file_from_the_newest_row_down_is_recorded_from_its_end(backend) {
        let book = Book::new(backend, &json!({})).await;
        let down = "type,executed_at,symbol,quantity,price,amount\nsell,2026-01-02,GOLD,1,2,\nbuy,2026-01-02,GOLD,1,1,\ndeposit,2026-01-01,,,,9\n";
        let report = book.import("", down).await.expect(200);
        assert_eq!((counts(&report), &report["newest_first"]), ([3, 0, 0, 0], &json!(true)));
        assert_eq!(book.pnl("").await["realized_pnl"], "1");
        let other = Book::new(backend, &json!({})).await;
        let refused = other.import(&mapping(&json!({ "newest_first": false })), down).await;
        assert_eq!(refused.code(422), "insufficient_quantity");
        book.app.stop().await;
        other.app.stop().await;
    }

    async fn a_brokers_columns_are_mapped(backend) {
        let book = Book::new(backend, &json!({ "base_currency": "EUR", "time_zone": "Europe/Berlin" })).await;
        let file = "Datum;Zeit;Vorgang;Ticker;Anzahl;Kurs;Betrag;Währung\n\
            02.03.2026;09:30;Einzahlung;;;;10.000,00;EUR\n03.03.2026;15:31;Kauf;gold.x;10;1.234,56;-12.345,60;USD\n\
            04.03.2026;08:00;Saldo;;;;0,00;EUR\n05.03.2026;16:00;Kauf;gold.x;-4;1.300,00;5.200,00;USD\n";
        let how = json!({
            "columns": { "executed_at": ["Datum", "Zeit"], "type": "Vorgang", "quantity": "Anzahl", "price": "Kurs", "amount": "Betrag", "currency": "Währung" },
            "constants": { "account": "comdirect" },
            "values": { "type": { "Einzahlung": "deposit", "Kauf": "buy", "Saldo": null }, "symbol": { "gold.x": "GOLD" } },
            "leave_out": { "buy": ["amount"], "sell": ["amount"] },
            "date_format": "%d.%m.%Y %H:%M", "time_zone": "Europe/Berlin", "decimal_comma": true, "thousands": ".", "signed": true,
        });
        let text = serde_json::to_string_pretty(&how).unwrap();
        let query = format!("mapping={}", artifact::http::query::encoded(&text));
        let report = book.import(&query, file).await.expect(200);
        assert_eq!((counts(&report), &report["passed_over"]), ([3, 0, 0, 0], &json!(1)));
        let ledger = book.ledger().await;
        let said: Vec<String> = ledger.as_array().unwrap().iter().map(|t| {
            ["type", "executed_at", "account", "symbol", "quantity", "price", "amount", "currency"]
                .map(|name| t[name].as_str().unwrap_or("-")).join(" ")
        }).collect();
        assert_eq!(said, [
            "deposit 2026-03-02T08:30:00.000000Z comdirect - - - 10000.00 EUR",
            "buy 2026-03-03T14:31:00.000000Z comdirect GOLD 10 1234.56 - USD",
            "sell 2026-03-05T15:00:00.000000Z comdirect GOLD 4 1300.00 - USD",
        ]);
        assert_eq!(counts(&book.import(&query, file).await.expect(200)), [0, 3, 0, 0]);
        // The same from a client that encodes forms.
        assert_eq!(counts(&book.import(&query.replace("%20", "+"), file).await.expect(200)), [0, 3, 0, 0]);
        book.app.stop().await;
    }

    async fn a_ghostfolio_export_moves_in_with_its_assets(backend) {
        let conventions = json!({ "short": "allowed" });
        let book = Book::new(backend, &json!({ "conventions": conventions })).await;
        // In the form of test/import/ok/sample.json and btcusd-short.json of ghostfolio/ghostfolio.
        let file = json!({
            "meta": { "date": "2026-02-05T00:00:00.000Z", "version": "2.200.0" },
            "accounts": [{ "balance": 2000, "balances": [], "currency": "USD", "id": "b2d3", "isExcluded": false, "name": "My Online Trading Account", "platformId": null }],
            "assetProfiles": [{ "assetSubClass": "PRIVATE_EQUITY", "currency": "USD", "dataSource": "MANUAL", "marketData": [], "name": "Penthouse Apartment", "symbol": "7e91b7d4-1430-4212-8380-289a06c9bbc1" }],
            "activities": [
                { "accountId": "b2d3", "comment": null, "fee": 49, "quantity": 0, "type": "FEE", "unitPrice": 0, "currency": "USD", "dataSource": "MANUAL", "date": "2021-09-01T00:00:00.000Z", "symbol": "Account Opening Fee", "tags": [] },
                { "accountId": "b2d3", "comment": "My first order", "fee": 19, "id": "a-1", "quantity": 5, "type": "BUY", "unitPrice": 298.58, "currency": "USD", "dataSource": "YAHOO", "date": "2021-09-16T00:00:00.000Z", "symbol": "MSFT", "tags": [] },
                { "accountId": "b2d3", "comment": null, "fee": 0, "id": "a-2", "quantity": 5, "type": "DIVIDEND", "unitPrice": 0.62, "currency": "USD", "dataSource": "YAHOO", "date": "2021-11-17T00:00:00.000Z", "symbol": "MSFT", "tags": [] },
                { "accountId": null, "comment": null, "fee": 0, "quantity": 1, "type": "BUY", "unitPrice": 500_000, "currency": "USD", "dataSource": "MANUAL", "date": "2022-01-01T00:00:00.000Z", "symbol": "7e91b7d4-1430-4212-8380-289a06c9bbc1", "tags": [] },
                { "accountId": null, "comment": null, "fee": 4.46, "quantity": 1, "type": "SELL", "unitPrice": 44558.42, "currency": "USD", "dataSource": "YAHOO", "date": "2021-12-12T00:00:00.000Z", "symbol": "BTCUSD", "tags": [] },
                { "accountId": "b2d3", "comment": null, "fee": 0, "quantity": 0, "type": "BUY", "unitPrice": 0, "currency": "USD", "dataSource": "YAHOO", "date": "2050-06-06T00:00:00.000Z", "symbol": "MSFT", "tags": [] },
            ],
            "user": { "settings": { "currency": "USD", "performanceCalculationType": "ROAI" } },
        }).to_string();
        let tried = book.import("dry_run=true", &file).await.expect(200);
        assert_eq!(tried["format"], "ghostfolio");
        let said: Vec<String> = tried["rows"].as_array().unwrap().iter()
            .map(|row| row["errors"].as_array().into_iter().flatten().map(|e| format!("{} {}", e["column"].as_str().unwrap(), e["code"].as_str().unwrap())).collect::<Vec<_>>().join(", "))
            .collect();
        assert_eq!(said, ["", "symbol not_found", "symbol not_found", "symbol not_found", "symbol not_found", "symbol not_found"]);
        let query = "mode=partial&create_assets=true&market=BINANCE&asset_type=CRYPTOCURRENCY";
        let report = book.import(&format!("{query}&dry_run=true"), &file).await.expect(200);
        assert_eq!((counts(&report), book.app.get("/assets/MSFT").await.code(404)), ([5, 0, 0, 1], "asset_not_found".to_owned()));
        let report = book.import(query, &file).await.expect(200);
        assert_eq!((counts(&report), &report["assets_created"]), ([5, 0, 0, 1], &json!(["MSFT", "PENTHOUSE-APARTMENT", "BTCUSD"])));
        assert_eq!(report["rows"][5]["errors"][0]["column"], "date");
        let flat = book.app.get("/assets/PENTHOUSE-APARTMENT").await.expect(200);
        assert_eq!((&flat["name"], &flat["asset_type"]), (&json!("Penthouse Apartment"), &json!("STOCK")));
        let ledger = book.ledger().await;
        assert_eq!((&ledger[0]["note"], &ledger[0]["amount"]), (&json!("Account Opening Fee"), &json!("49")));
        assert_eq!((&ledger[1]["external_id"], &ledger[1]["account"]), (&json!("a-1"), &json!("My Online Trading Account")));
        assert_eq!(counts(&book.import(query, &file).await.expect(200)), [0, 5, 0, 1]);
        // Cost with the fee kept apart is what Ghostfolio calls the investment: 5 x 298.58; a dividend of 5 x 0.62.
        let pnl = book.pnl("fees=separate").await;
        let msft = pnl["items"].as_array().unwrap().iter().find(|item| item["symbol"] == "MSFT").unwrap();
        assert_eq!((&msft["cost_basis"], &msft["income"]), (&json!("1492.9"), &json!("3.1")));
        book.app.stop().await;
    }

    async fn what_cannot_be_asked_for_is_named(backend) {
        let book = Book::new(backend, &json!({})).await;
        for (query, places) in [
            ("format=xml&mode=some&dry_run=maybe&report=few&zzz=1".to_owned(), vec!["format", "mode", "dry_run", "report", "zzz"]),
            ("create_assets=true".to_owned(), vec!["market"]),
            ("market=COMEX".to_owned(), vec!["market"]),
            (mapping(&json!({ "columns": { "price": 7, "cost": "x" }, "values": [], "decimal_comma": 1 })),
                vec!["/decimal_comma", "/columns/price", "/columns/cost", "/values"]),
            (mapping(&json!({ "time_zone": "Mars", "date_format": "%Q", "thousands": "..", "delimiter": "x", "zzz": 1 })),
                vec!["/time_zone", "/date_format", "/thousands", "/delimiter", "/zzz"]),
            (mapping(&json!({ "leave_out": { "gift": ["amount"], "buy": ["cost"] }, "thousands": ".", "signed": "no" })),
                vec!["/thousands", "/leave_out/buy", "/leave_out/gift", "/signed"]),
            ("mapping=%7B".to_owned(), vec!["mapping"]),
        ] {
            let reply = book.import(&query, CSV).await;
            assert_eq!(reply.code(422), "invalid_request", "{query}");
            let mut said = reply.pointers();
            let mut wanted: Vec<String> = places.into_iter().map(str::to_owned).collect();
            said.sort_unstable();
            wanted.sort_unstable();
            assert_eq!(said, wanted, "{query}");
        }
        for (query, text, said) in [
            ("", "", "the file is empty"),
            ("", "a,b\n1,2\n", "no column for executed_at"),
            ("format=ghostfolio", "{}", "no Ghostfolio export"),
            ("create_assets=true&market=NOPE", "type,executed_at,symbol,quantity,price\nbuy,2026-01-02,NEW,1,1\n", "cannot be created: Market not found"),
        ] {
            let reply = book.import(query, text).await;
            assert!(reply.status.is_client_error(), "{text}");
            assert!(reply.json()["detail"].as_str().unwrap().contains(said), "{said}: {}", reply.json());
        }
        book.app.post(&format!("/portfolios/{}/freeze", book.id), &json!({})).await.expect(200);
        assert_eq!(book.import("", CSV).await.code(400), "portfolio_inactive");
        let nowhere = book.app.send("POST", "/portfolios/nope/transactions:import", &[], CSV.as_bytes()).await;
        assert_eq!(nowhere.code(404), "portfolio_not_found");
        book.app.stop().await;
    }
}

//! Numbers and moments at the edges of what machines hold, by every way in: each comes back to the digit and to the
//! microsecond, or is refused and leaves nothing.

use crate::on_both;
use crate::support::{Reply, TestApp};
use artifact::domain::decimal::Decimal;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// Every way a price comes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Text,
    Token,
    Batch,
    Table,
    Stream,
    Queue,
    Import,
}

const WAYS: [Way; 7] = [Way::Text, Way::Token, Way::Batch, Way::Table, Way::Stream, Way::Queue, Way::Import];

/// Numbers that are kept: what 53, 63, 64 and 96 bits cannot hold, and the smallest and largest there are.
const KEPT: [&str; 14] = [
    "0.1",
    "0.2",
    "0.30000000000000004",
    "1.10",
    "100",
    "2147483648",
    "9007199254740993",
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551616",
    "1234567890.123456789012345678",
    "0.000000000000000001",
    "9999999999999999999999999999",
    "123456789012345678.0000000001",
];

/// Numbers that are refused rather than rounded.
const REFUSED: [&str; 16] = [
    "1234567890123456789012345678901234567890",
    "170141183460469231731687303715884105728",
    "0.1234567890123456789",
    "79228162514264337593543950336.5",
    "1e400",
    "-1e400",
    "1e-400",
    "NaN",
    "Infinity",
    "-Infinity",
    "0x10",
    "1,5",
    "1_000",
    "１２",
    "1.2.3",
    "--1",
];

/// The last moment that is taken, a day ahead of the clock, and one with a day that only leap years have.
const MOMENTS: [&str; 2] = ["2026-11-24T12:00:00.000000Z", "2024-02-29T23:59:59.999999Z"];

/// Moments that are none, or lie more than a day ahead of the clock.
const NO_MOMENTS: [&str; 14] = [
    "yesterday",
    "2026-02-30T00:00:00Z",
    "2026-13-01T00:00:00Z",
    "2026-00-10T00:00:00Z",
    "2025-02-29T00:00:00Z",
    "2026-01-01T25:00:00Z",
    "2026-01-01T12:61:00Z",
    "2026-01-01T00:00:00+25:00",
    "2026-01-01T00:00:00Zulu",
    "２０２６-01-01T00:00:00Z",
    "2026-11-24T12:00:00.100000Z",
    "2026-11-24T12:00:01Z",
    "9999-12-31T23:59:59Z",
    "2026-11-26",
];

impl Way {
    /// A source of its own.
    fn source(self) -> String {
        format!("{self:?}").to_lowercase()
    }

    /// Sends one price; whether it was taken.
    async fn send(self, app: &TestApp, price: &str, at: &str) -> bool {
        let source = self.source();
        let token = if self == Way::Token { price.to_owned() } else { json!(price).to_string() };
        let object = format!(
            "{{\"symbol\":\"BTC-USD\",\"price\":{token},\"timestamp\":{},\"source\":\"{source}\"}}",
            json!(at)
        );
        let table = format!("symbol,price,timestamp,source\nBTC-USD,\"{price}\",{at},{source}\n");
        let import = format!("/prices/import?symbol=BTC-USD&source={source}");
        let (path, kind, body) = match self {
            Way::Text | Way::Token => ("/prices", "application/json", object),
            Way::Batch => ("/prices/batch", "application/json", format!("[{object}]")),
            Way::Table => ("/prices/batch", "text/csv", table),
            Way::Stream => ("/prices/stream", "application/x-ndjson", object + "\n"),
            Way::Queue => ("/ingest/queue", "application/json", format!("[{object}]")),
            Way::Import => (import.as_str(), "text/csv", format!("time,close\n{at},\"{price}\"\n")),
        };
        let reply = app.send("POST", path, &[("content-type", kind)], body.as_bytes()).await;
        self.taken(app, &reply, price).await
    }

    async fn taken(self, app: &TestApp, reply: &Reply, price: &str) -> bool {
        if reply.status.is_client_error() {
            assert!(matches!(reply.status.as_u16(), 400 | 422), "{self:?} {price}: {}", reply.text());
            return false;
        }
        assert!(reply.status.is_success(), "{self:?} {price}: {}", reply.text());
        match self {
            Way::Stream => reply.json()["refused"] == 0,
            Way::Queue => {
                let path = reply.headers["location"].to_str().unwrap().to_owned();
                loop {
                    let batch = app.get(&path).await.expect(200);
                    if batch["state"] != "queued" {
                        assert_eq!(batch["state"], "stored", "{batch}");
                        return batch["result"]["refused"] == 0;
                    }
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
            }
            Way::Text | Way::Token | Way::Batch | Way::Table | Way::Import => true,
        }
    }

    /// What came in this way, by moment.
    async fn prices(self, app: &TestApp) -> BTreeMap<String, String> {
        let rows = app.every(&format!("/prices?symbol=BTC-USD&source={}", self.source()), 500).await;
        let text = |row: &Value, name: &str| row[name].as_str().unwrap().to_owned();
        rows.iter().map(|row| (text(row, "observed_at"), text(row, "price"))).collect()
    }
}

fn same(a: &str, b: &str) -> bool {
    Decimal::parse_input(a).unwrap() == Decimal::parse_input(b).unwrap()
}

fn at(number: usize) -> String {
    format!("2026-01-01T00:00:{number:02}.000001Z")
}

on_both! {
    async fn a_price_comes_back_to_the_digit_or_was_refused(backend) {
        let app = TestApp::start(backend).await;
        app.gold_and_bitcoin("0").await;
        for way in WAYS {
            for (number, price) in KEPT.iter().enumerate() {
                assert!(way.send(&app, price, &at(number)).await, "{way:?} refused {price}");
            }
            for price in REFUSED {
                assert!(!way.send(&app, price, &at(59)).await, "{way:?} took {price}");
            }
            let there = way.prices(&app).await;
            assert_eq!(there.len(), KEPT.len(), "{way:?}");
            for (number, price) in KEPT.iter().enumerate() {
                assert!(same(&there[&at(number)], price), "{way:?}: {} instead of {price}", there[&at(number)]);
            }
        }
        app.stop().await;
    }

    async fn an_amount_comes_back_to_the_digit_or_was_refused(backend) {
        let app = TestApp::start(backend).await;
        let id = app.gold_and_bitcoin("0").await;
        let ledger = format!("/portfolios/{id}/transactions");
        for (number, text) in KEPT.iter().chain(&REFUSED).enumerate() {
            let kept = number < KEPT.len();
            let (code, symbol) = (format!("C{number:02}"), format!("A{number}"));
            let asset = json!({ "symbol": symbol, "name": "n", "asset_type": "FUTURE", "market_code": "COMEX", "multiplier": text });
            let trade = |field: &str| {
                let mut trade = json!({ "type": "transfer_in", "symbol": "GOLD", "quantity": "1", "price": "1" });
                trade[field] = json!(text);
                trade
            };
            let cases = [
                (ledger.as_str(), json!({ "type": "deposit", "amount": text }), "amount"),
                (&ledger, json!({ "type": "deposit", "amount": "1", "fee": text }), "fee"),
                (&ledger, trade("quantity"), "quantity"),
                (&ledger, trade("price"), "price"),
                ("/fx", json!({ "base": code, "quote": "USD", "rate": text, "timestamp": at(1) }), "rate"),
                ("/portfolios", json!({ "name": "n", "owner_id": "o", "initial_capital": text }), "initial_capital"),
                ("/assets", asset, "multiplier"),
            ];
            app.post("/currencies", &json!({ "code": code, "name": "n" })).await.expect(201);
            for (path, body, field) in cases {
                let reply = app.post(path, &body).await;
                if !kept {
                    assert_eq!(reply.code(422), "invalid_request", "{path} {field} {text}");
                    continue;
                }
                assert!(reply.status.is_success(), "{path} {field} {text}: {}", reply.text());
                let answer = reply.json();
                let read = match path {
                    "/fx" => app.get(&format!("/fx?base={code}&quote=USD")).await.expect(200)[0].clone(),
                    "/assets" => app.get(&format!("/assets/{symbol}")).await.expect(200),
                    "/portfolios" => {
                        let path = format!("/portfolios/{}", answer["id"].as_str().unwrap());
                        app.get(&path).await.expect(200)["portfolio"].clone()
                    }
                    _ => app.get(&format!("{path}/{}", answer["id"].as_str().unwrap())).await.expect(200),
                };
                assert!(same(read[field].as_str().unwrap(), text), "{path} {field} {text}: {read}");
            }
        }
        app.stop().await;
    }

    async fn a_moment_that_is_none_or_too_far_ahead_is_refused_by_every_way(backend) {
        let app = TestApp::start(backend).await;
        let id = app.gold_and_bitcoin("100").await;
        for moment in NO_MOMENTS {
            for way in WAYS {
                assert!(!way.send(&app, "1", moment).await, "{way:?} took {moment}");
                assert!(way.prices(&app).await.is_empty(), "{way:?} {moment}");
            }
        }
        let ledger = format!("/portfolios/{id}/transactions");
        let positions = format!("/portfolios/{id}/positions");
        // Elsewhere than with prices a time without a zone is none.
        for moment in NO_MOMENTS.iter().chain(&["2026-01-01T00:00:00", "2026-01-01 12:00:00"]) {
            let open = json!({ "asset_symbol": "GOLD", "position_type": "LONG", "quantity": "1", "price": "1", "executed_at": moment });
            for (path, body) in [
                (ledger.as_str(), json!({ "type": "deposit", "amount": "1", "executed_at": moment })),
                (&positions, open),
                ("/fx", json!({ "base": "EUR", "quote": "USD", "rate": "1", "timestamp": moment })),
            ] {
                let reply = app.post(path, &body).await;
                assert_eq!(reply.code(422), "invalid_request", "{path} {moment}");
            }
        }
        assert_eq!(app.get(&ledger).await.expect(200).as_array().unwrap().len(), 1);
        app.stop().await;
    }

    async fn a_moment_is_taken_to_the_microsecond_up_to_a_day_ahead_by_every_way(backend) {
        let app = TestApp::start(backend).await;
        let id = app.gold_and_bitcoin("100").await;
        let ledger = format!("/portfolios/{id}/transactions");
        for moment in MOMENTS {
            for way in WAYS {
                assert!(way.send(&app, "1", moment).await, "{way:?} refused {moment}");
                assert_eq!(way.prices(&app).await.get(moment).map(String::as_str), Some("1"), "{way:?} {moment}");
            }
            let entry = json!({ "type": "deposit", "amount": "1", "executed_at": moment });
            assert_eq!(app.post(&ledger, &entry).await.expect(201)["executed_at"], *moment);
            let open = json!({ "asset_symbol": "GOLD", "position_type": "LONG", "quantity": "1", "price": "1", "executed_at": moment });
            app.post(&format!("/portfolios/{id}/positions"), &open).await.expect(201);
            app.post("/fx", &json!({ "base": "EUR", "quote": "USD", "rate": "1", "timestamp": moment })).await.expect(200);
            let rates = app.get("/fx?base=EUR&quote=USD").await.expect(200);
            assert!(rates.as_array().unwrap().iter().any(|rate| rate["timestamp"] == *moment), "{rates}");
        }
        app.stop().await;
    }

    async fn prices_out_of_order_are_taken_and_the_latest_is_that_of_the_latest_moment(backend) {
        let app = TestApp::start(backend).await;
        app.gold_and_bitcoin("0").await;
        for (turn, way) in WAYS.into_iter().enumerate() {
            // Each way is later than the one before it.
            let at = |second: usize| format!("2026-02-{:02}T00:00:{second:02}.000000Z", turn + 1);
            for (second, price) in [(30, "30"), (10, "10"), (50, "50"), (20, "20"), (50, "50"), (10, "11")] {
                assert!(way.send(&app, price, &at(second)).await, "{way:?}");
            }
            let wanted = [(10, "11"), (20, "20"), (30, "30"), (50, "50")];
            let wanted = wanted.map(|(second, price)| (at(second), price.to_owned()));
            assert_eq!(way.prices(&app).await.into_iter().collect::<Vec<_>>(), wanted, "{way:?}");
            let latest = app.get("/assets/BTC-USD/price").await.expect(200);
            assert_eq!((&latest["price"], &latest["source"]), (&json!("50"), &json!(way.source())), "{way:?}");
            // And as it is held in memory.
            let held = app.get("/prices/latest?symbols=BTC-USD").await.expect(200)[0].clone();
            assert_eq!((&held["price"], &held["source"]), (&json!("50"), &json!(way.source())), "{way:?}");
        }
        app.stop().await;
    }
}

//! Bad input: one problem document with every field at fault, never a 5xx, and nothing is changed.

mod injection;
mod ledger_table;
mod mutations;
mod tables;

use crate::on_both;
use crate::support::{Backend, Reply, TestApp};
use serde_json::{Value, json};

/// A request that must be refused: what is sent, the status, the code, and every pointer or parameter at fault.
/// `PF`, `POS`, `TX` stand for the ids of the portfolio, its position and its second transaction.
pub(super) type Case = (&'static str, &'static str, u16, &'static str, &'static [&'static str]);

struct World {
    app: TestApp,
    names: [(&'static str, String); 3],
}

impl World {
    async fn new(backend: Backend) -> Self {
        let app = TestApp::start(backend).await;
        let portfolio = app.gold_and_bitcoin("100000").await;
        let base = format!("/portfolios/{portfolio}");
        let open = json!({ "asset_symbol": "GOLD", "position_type": "LONG", "quantity": 10, "price": 2000 });
        let position = app.post(&format!("{base}/positions"), &open).await.expect(201);
        let deposit = json!({ "type": "deposit", "amount": "5", "external_id": "x1" });
        let deposit = app.post(&format!("{base}/transactions"), &deposit).await.expect(201);
        app.post("/prices", &json!({ "symbol": "GOLD", "price": "2100" })).await.expect(200);
        app.post("/fx", &json!({ "base": "EUR", "quote": "USD", "rate": "1.1" })).await.expect(200);
        app.post("/currencies", &json!({ "code": "PTS", "name": "Points" })).await.expect(201);
        let id = |value: &Value| value["id"].as_str().unwrap().to_owned();
        let names = [("PF", portfolio), ("POS", id(&position)), ("TX", id(&deposit))];
        Self { app, names }
    }

    fn path(&self, text: &str) -> String {
        self.names.iter().fold(text.to_owned(), |text, (name, id)| text.replace(name, id))
    }

    /// Everything that can be read.
    async fn everything(&self) -> Vec<Value> {
        let mut all = Vec::new();
        for path in [
            "/markets",
            "/assets",
            "/currencies",
            "/portfolios",
            "/portfolios/PF",
            "/portfolios/PF/pnl",
            "/portfolios/PF/positions",
            "/portfolios/PF/transactions?voided=true",
            "/prices?symbol=GOLD",
            "/prices/latest?symbols=GOLD,BTC-USD",
            "/fx?base=EUR&quote=USD",
        ] {
            all.push(self.app.get(&self.path(path)).await.expect(200));
        }
        all
    }

    async fn send(&self, line: &str, body: &[u8]) -> Reply {
        let (method, path) = line.split_once(' ').unwrap();
        let kind: &[(&str, &str)] =
            if body.is_empty() { &[] } else { &[("content-type", "application/json")] };
        self.app.send(method, &self.path(path), kind, body).await
    }

    async fn refuses(&self, cases: &[Case]) {
        let before = self.everything().await;
        for (line, body, status, code, places) in cases {
            let about = format!("{line} {body}");
            let reply = self.send(line, self.path(body).as_bytes()).await;
            check_problem(&reply, *status, code, &about);
            let (mut found, mut wanted) = (reply.pointers(), places.to_vec());
            found.sort();
            wanted.sort_unstable();
            assert_eq!(found, wanted, "{about}: {}", reply.json());
            assert_eq!(self.everything().await, before, "{about} changed something");
        }
    }
}

/// A problem document in full: type, title, status, detail, code and the id of the request.
#[track_caller]
pub(super) fn check_problem(reply: &Reply, status: u16, code: &str, about: &str) {
    let text = String::from_utf8_lossy(&reply.body);
    assert_eq!(reply.status.as_u16(), status, "{about}: {text}");
    assert_eq!(reply.headers.get("content-type").unwrap(), "application/problem+json", "{about}: {text}");
    let body = reply.json();
    assert_eq!(body["code"], code, "{about}: {text}");
    assert_eq!(body["status"], status, "{about}");
    assert_eq!(body["type"], format!("/docs/problems#{code}"), "{about}");
    assert_eq!(body["request_id"].as_str().unwrap(), reply.headers["x-request-id"], "{about}");
    for field in ["title", "detail"] {
        assert!(body[field].as_str().is_some_and(|text| !text.is_empty()), "{about}: {text}");
    }
    for error in body["errors"].as_array().into_iter().flatten() {
        assert!(error["code"].is_string() && error["detail"].is_string(), "{about}: {text}");
    }
}

on_both! {
    async fn fields_at_fault_are_named_all_at_once(backend) {
        let world = World::new(backend).await;
        world.refuses(tables::REFERENCE).await;
        world.refuses(tables::PRICES).await;
        world.refuses(tables::PORTFOLIOS).await;
        world.refuses(ledger_table::LEDGER).await;
        world.app.stop().await;
    }

    async fn parameters_at_fault_are_named(backend) {
        let world = World::new(backend).await;
        world.refuses(tables::PARAMETERS).await;
        world.app.stop().await;
    }

    async fn numbers_that_are_none_or_too_long_are_refused_everywhere(backend) {
        let world = World::new(backend).await;
        let position = r#"{"asset_symbol":"GOLD","position_type":"LONG","quantity":1,"price":2000}"#;
        let places: &[(&str, &str, &str)] = &[
            ("POST /prices", r#"{"symbol":"GOLD","price":1,"volume":1,"high":3,"low":1,"open":2}"#, "price volume high low open"),
            ("POST /fx", r#"{"base":"EUR","quote":"USD","rate":1}"#, "rate"),
            ("POST /assets", r#"{"symbol":"N","name":"N","asset_type":"FUTURE","market_code":"COMEX","multiplier":1}"#, "multiplier"),
            ("POST /portfolios", r#"{"name":"n","owner_id":"o","initial_capital":1}"#, "initial_capital"),
            ("POST /portfolios/PF/positions", position, "quantity price fee tax"),
            ("POST /portfolios/PF/positions/POS/reduce", r#"{"quantity":1,"price":2000}"#, "quantity price fee tax"),
            ("POST /portfolios/PF/positions/POS/close", r#"{"price":2000}"#, "quantity price fee tax"),
            ("POST /portfolios/PF/transactions", r#"{"type":"buy","symbol":"GOLD","quantity":1,"price":1}"#, "quantity price fee tax fee_asset_quantity"),
            ("POST /portfolios/PF/transactions", r#"{"type":"deposit","amount":1}"#, "amount fx_rate fee"),
            ("POST /portfolios/PF/transactions", r#"{"type":"split","symbol":"GOLD","ratio_num":2,"ratio_den":1}"#, "ratio_num ratio_den ratio"),
            ("PATCH /assets/GOLD", r#"{"multiplier":1}"#, "multiplier"),
        ];
        let digits = "1234567890123456789012345678901234567890";
        let decimals = "0.1234567890123456789";
        let wrong = [
            "NaN", "Infinity", "-Infinity", "1e400", "-1e400", "1e-400", digits, decimals, "true", "[]", "{}",
            "\"NaN\"", "\"inf\"", "\"\"", "\" 1\"", "\"1,5\"", "\"1_000\"", "\"0x10\"", "\"１\"", "\"1e5\"", "\"--1\"",
        ];
        let before = world.everything().await;
        for (line, body, fields) in places {
            for field in fields.split(' ') {
                for number in wrong.iter().copied().chain([&*format!("\"{digits}\"")]) {
                    let mut sent: Value = serde_json::from_str(body).unwrap();
                    sent[field] = json!("NUMBER");
                    let sent = sent.to_string().replace("\"NUMBER\"", number);
                    let reply = world.send(line, sent.as_bytes()).await;
                    check_problem(&reply, 422, "invalid_request", &sent);
                    // A ratio beside ratio_num is at fault as such, too.
                    assert!(reply.pointers().contains(&format!("/{field}")), "{sent}: {}", reply.json());
                    let rule = reply.json()["errors"][0]["code"].as_str().unwrap().to_owned();
                    let long = number.contains(digits) || number == decimals || number.contains("e-400");
                    let allowed: &[&str] =
                        if long { &["too_many_digits"] } else { &["not_a_number", "wrong_type", "too_many_digits"] };
                    assert!(allowed.contains(&&*rule), "{sent}: {rule}");
                }
            }
            assert_eq!(world.everything().await, before, "{line} changed something");
        }
        world.app.stop().await;
    }

    async fn the_longest_number_is_kept_to_the_digit(backend) {
        let world = World::new(backend).await;
        for price in ["1234567890.123456789012345678", "9999999999999999999999999999", "0.000000000000000001"] {
            for sent in [json!(price).to_string(), price.to_owned()] {
                let body = format!("{{\"symbol\":\"BTC-USD\",\"price\":{sent},\"timestamp\":\"2026-01-01\"}}");
                world.send("POST /prices", body.as_bytes()).await.expect(200);
                let read = world.app.get("/assets/BTC-USD/price").await.expect(200);
                assert_eq!(read["price"], price);
            }
        }
        world.app.stop().await;
    }

    async fn unknown_fields_are_passed_over_on_the_old_routes_only(backend) {
        let world = World::new(backend).await;
        for (line, body, status) in [
            ("POST /markets", r#"{"code":"L","name":"L","market_type":"OTC","timezone":"UTC","zzz":1}"#, 201),
            ("POST /assets", r#"{"symbol":"L","name":"L","asset_type":"STOCK","market_code":"L","zzz":{}}"#, 201),
            ("POST /prices", r#"{"symbol":"L","price":1,"zzz":null}"#, 200),
            ("POST /portfolios", r#"{"name":"L","owner_id":"o","initial_capital":9,"zzz":[]}"#, 201),
            ("POST /portfolios/PF/positions", r#"{"asset_symbol":"L","position_type":"LONG","quantity":1,"price":1,"zzz":1}"#, 201),
        ] {
            world.send(line, body.as_bytes()).await.expect(status);
        }
        world.app.stop().await;
    }

    async fn what_is_no_json_or_no_object_is_refused(backend) {
        let world = World::new(backend).await;
        let before = world.everything().await;
        let deep = format!("{{\"metadata\":{}{}}}", "[".repeat(70), "]".repeat(70));
        let deeper = "[".repeat(200_000);
        let bodies: [(&[u8], u16, &str); 15] = [
            (b"", 400, "malformed_json"),
            (b"{", 400, "malformed_json"),
            (b"{\"a\":1,}", 400, "malformed_json"),
            (b"{'a':1}", 400, "malformed_json"),
            (b"{} {}", 400, "malformed_json"),
            (b"{\"a\":01}", 400, "malformed_json"),
            (b"\xff\xfe{}", 400, "malformed_json"),
            (b"{\"a\":\"\xc3\"}", 400, "malformed_json"),
            (deep.as_bytes(), 400, "malformed_json"),
            (deeper.as_bytes(), 400, "malformed_json"),
            (b"7", 422, "invalid_request"),
            (b"null", 422, "invalid_request"),
            (b"\"text\"", 422, "invalid_request"),
            (b"true", 422, "invalid_request"),
            // A name that is no text.
            (b"{\"\\ud800\":1}", 422, "invalid_request"),
        ];
        for line in [
            "POST /markets", "POST /assets", "POST /prices", "POST /fx", "POST /currencies", "POST /portfolios",
            "POST /portfolios/PF/positions", "POST /portfolios/PF/positions/POS/reduce",
            "POST /portfolios/PF/transactions", "PATCH /markets/COMEX", "PATCH /assets/GOLD", "PATCH /portfolios/PF",
        ] {
            for (body, status, code) in bodies {
                let about = format!("{line} {}", String::from_utf8_lossy(body.get(..60).unwrap_or(body)));
                check_problem(&world.send(line, body).await, status, code, &about);
            }
            if !line.ends_with("transactions") {
                check_problem(&world.send(line, b"[]").await, 422, "invalid_request", line);
            }
        }
        assert_eq!(world.everything().await, before);
        world.app.stop().await;
    }

    async fn the_frame_of_a_request_is_checked(backend) {
        let world = World::new(backend).await;
        let app = &world.app;
        for path in ["/nothing", "/markets/NOPE/open", "/markets/COMEX/burn", "/prices/GOLD", "/assets/GOLD/prices"] {
            let code = if path == "/markets/NOPE/open" { "market_not_found" } else { "not_found" };
            check_problem(&app.send("POST", path, &[], b"").await, 404, code, path);
        }
        for (method, path, allow) in [
            ("DELETE", "/markets", "GET,HEAD,POST"), ("PUT", "/prices", "DELETE,GET,HEAD,POST"),
            ("PATCH", "/portfolios", "GET,HEAD,POST"), ("POST", "/prices/latest", "GET,HEAD"),
            ("GET", "/markets/COMEX/open", "POST"), ("PATCH", "/portfolios/PF/transactions/TX", "GET,HEAD"),
            ("DELETE", "/portfolios/PF/transactions/TX", "GET,HEAD"), ("DELETE", "/assets/GOLD", "GET,HEAD,PATCH"),
        ] {
            let reply = app.send(method, &world.path(path), &[], b"").await;
            check_problem(&reply, 405, "method_not_allowed", path);
            let mut allowed: Vec<&str> = reply.headers["allow"].to_str().unwrap().split(',').collect();
            allowed.sort_unstable();
            assert_eq!(allowed.join(","), allow, "{path}");
        }
        for kind in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "application"] {
            let reply = app.send("POST", "/prices", &[("content-type", kind)], b"{}").await;
            check_problem(&reply, 415, "unsupported_media_type", kind);
        }
        check_problem(&app.send("POST", "/prices", &[], b"{}").await, 415, "unsupported_media_type", "none");
        let coded = [("content-type", "application/json"), ("content-encoding", "br")];
        check_problem(&app.send("POST", "/prices", &coded, b"{}").await, 415, "unsupported_media_type", "br");
        let coded = [("content-type", "application/json"), ("content-encoding", "gzip")];
        check_problem(&app.send("POST", "/prices", &coded, b"{}").await, 400, "malformed_json", "no gzip");
        let large = format!("{{\"name\":\"{}\"}}", "x".repeat(1 << 20));
        for line in ["POST /markets", "POST /portfolios/PF/transactions", "PATCH /portfolios/PF", "POST /fx"] {
            check_problem(&world.send(line, large.as_bytes()).await, 413, "body_too_large", line);
        }
        // A path that is not UTF-8 text names nothing.
        for path in ["/markets/%FF", "/assets/%ff/price", "/portfolios/%C3%28", "/portfolios/%FF/positions/x"] {
            check_problem(&app.get(path).await, 404, "not_found", path);
        }
        let keyed = [("content-type", "application/json"), ("idempotency-key", "")];
        check_problem(&app.send("POST", "/prices", &keyed, b"{}").await, 422, "invalid_request", "empty key");
        world.app.stop().await;
    }

    async fn an_open_at_price_zero_works_and_a_refused_one_leaves_nothing(backend) {
        let world = World::new(backend).await;
        let path = world.path("/portfolios/PF/positions");
        let open = |quantity: &str, price: &str| {
            json!({ "asset_symbol": "BTC-USD", "position_type": "LONG", "quantity": quantity, "price": price })
        };
        let before = world.everything().await;
        assert_eq!(world.app.post(&path, &open("3", "40000")).await.code(400), "insufficient_capital");
        assert_eq!(world.everything().await, before);
        let opened = world.app.post(&path, &open("3", "0")).await.expect(201);
        assert_eq!(opened["average_cost"], "0");
        assert_eq!(opened["unrealized_pnl_percent"], Value::Null);
        // Closing at zero works just as well (A5).
        let close = format!("{path}/{}/close", opened["id"].as_str().unwrap());
        let closed = world.app.post(&close, &json!({ "price": 0 })).await.expect(200);
        assert_eq!((&closed["status"], &closed["realized_pnl"]), (&json!("CLOSED"), &json!("0")));
        world.app.stop().await;
    }
}

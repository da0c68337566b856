//! The audit trail over HTTP: one row for each deed, refused callers, lists, exports, verification.

use crate::on_both;
use crate::support::{Backend, Reply, START, Scratch, TestApp, fresh_location};
use artifact::clock::Clock;
use artifact::domain::moment::Moment;
use artifact::http::auth::Access;
use artifact::storage::anchor_file::ANCHORS_FILE;
use serde_json::{Value, json};

/// The service with the number of rows seen so far.
struct Watch {
    app: TestApp,
    seen: usize,
}

impl Watch {
    async fn start(backend: Backend) -> Self {
        Self { app: TestApp::start(backend).await, seen: 0 }
    }

    /// Rows since the last look.
    async fn new_rows(&mut self) -> Vec<Value> {
        let rows = self.app.every("/audit", 100).await;
        let new = rows[self.seen..].to_vec();
        self.seen = rows.len();
        new
    }

    /// A request that must succeed, and leave exactly one row of `action`.
    async fn told(&mut self, (method, path): (&str, &str), body: &Value, action: &str) -> Value {
        self.told_of((method, path, "application/json"), &body.to_string(), action).await
    }

    async fn told_of(&mut self, (method, path, kind): (&str, &str, &str), body: &str, action: &str) -> Value {
        let id = format!("r-{}", self.seen);
        let headers = [("content-type", kind), ("x-request-id", id.as_str())];
        let reply = self.app.send(method, path, &headers, body.as_bytes()).await;
        assert!(reply.status.is_success(), "{method} {path}: {}", reply.text());
        let rows = self.new_rows().await;
        assert_eq!(rows.len(), 1, "{method} {path}: {rows:#?}");
        let row = &rows[0];
        let shown = ["actor", "actor_kind", "action", "outcome", "request_id"]
            .map(|name| row[name].as_str().unwrap_or_default());
        assert_eq!(shown, ["loopback", "loopback", action, "done", &id], "{method} {path}");
        assert!(row["object_id"].is_string() || action.starts_with("price."), "{row}");
        row.clone()
    }

    /// A request that must leave none.
    async fn silent(&mut self, reply: Reply, status: u16) {
        assert_eq!(reply.status.as_u16(), status, "{}", reply.text());
        assert_eq!(self.new_rows().await, [json!(null); 0]);
    }
}

async fn reference(watch: &mut Watch) {
    let market = json!({ "code": "XNAS", "name": "Nasdaq", "market_type": "STOCK_EXCHANGE", "timezone": "UTC",
        "metadata": { "api_secret": "CANARY-1" } });
    let row = watch.told(("POST", "/markets"), &market, "market.create").await;
    assert_eq!((row["object_type"].as_str(), row["after"]["code"].as_str()), (Some("market"), Some("XNAS")));
    let row = watch.told(("PATCH", "/markets/XNAS"), &json!({ "name": "NASDAQ" }), "market.update").await;
    assert_eq!((&row["before"]["name"], &row["after"]["name"]), (&json!("Nasdaq"), &json!("NASDAQ")));
    assert!(row["after"].get("code").is_none(), "only what differs: {row}");
    let row = watch.told(("POST", "/markets/XNAS/open"), &json!({}), "market.open").await;
    assert_eq!(row["after"]["status"], "OPEN");
    let again = watch.app.post("/markets/XNAS/open", &json!({})).await;
    watch.silent(again, 200).await;
    watch.told(("POST", "/currencies"), &json!({ "code": "PTS", "name": "Points" }), "currency.create").await;
    let asset = json!({ "symbol": "GOLD", "name": "Gold", "asset_type": "COMMODITY", "market_code": "XNAS" });
    watch.told(("POST", "/assets"), &asset, "asset.create").await;
    watch.told(("PATCH", "/assets/GOLD"), &json!({ "name": "Au" }), "asset.update").await;
    watch.told(("POST", "/assets/GOLD/suspend"), &json!({}), "asset.suspend").await;
    watch.told(("POST", "/assets/GOLD/activate"), &json!({}), "asset.activate").await;
}

async fn market_data(watch: &mut Watch) {
    let at = |minute: u32| format!("2026-01-02T00:{minute:02}:00Z");
    let price = |minute: u32| json!({ "symbol": "GOLD", "price": "10", "timestamp": at(minute) });
    let row = watch.told(("POST", "/prices"), &price(1), "price.record").await;
    assert_eq!(row["after"]["rows"], 1);
    let again = watch.app.post("/prices", &price(1)).await;
    watch.silent(again, 200).await;
    let row =
        watch.told(("POST", "/prices/batch"), &json!([price(2), price(3), price(3)]), "price.record").await;
    assert_eq!(row["after"]["rows"], 2);
    let lines = format!("{}\n{}\n", price(4), price(5));
    watch.told_of(("POST", "/prices/stream", "application/x-ndjson"), &lines, "price.record").await;
    let file = format!("time,price\n{},11\n", at(6));
    watch.told_of(("POST", "/prices/import?symbol=GOLD", "text/csv"), &file, "price.record").await;
    let gone = format!("/prices?symbol=GOLD&timestamp={}", at(5));
    watch.told(("DELETE", &gone), &json!({}), "price.withdraw").await;
    watch
        .told(("PUT", "/prices/sources/desk"), &json!({ "split_adjusted": true }), "price_source.describe")
        .await;
    let rate = json!({ "base": "EUR", "quote": "USD", "rate": "1.1", "timestamp": at(1) });
    let row = watch.told(("POST", "/fx"), &rate, "rate.record").await;
    assert_eq!(row["object_id"], "EUR/USD");
    watch
        .told_of(("POST", "/fx/import?source=ecb", "text/csv"), "Date,USD\n2026-01-05,1.2\n", "rate.import")
        .await;
}

async fn books(watch: &mut Watch) {
    let book = json!({ "name": "book", "owner_id": "tester", "initial_capital": "1000" });
    let row = watch.told(("POST", "/portfolios"), &book, "portfolio.create").await;
    let path = format!("/portfolios/{}", row["object_id"].as_str().unwrap());
    let row = watch.told(("PATCH", &path), &json!({ "name": "other" }), "portfolio.update").await;
    assert_eq!((&row["before"]["name"], &row["after"]["name"]), (&json!("book"), &json!("other")));
    watch.told(("POST", &format!("{path}/freeze")), &json!({}), "portfolio.freeze").await;
    watch.told(("POST", &format!("{path}/unfreeze")), &json!({}), "portfolio.unfreeze").await;
    let entries = format!("{path}/transactions");
    let buy = |day: u32| {
        json!({ "type": "buy", "symbol": "GOLD", "quantity": "1", "price": "10",
        "executed_at": format!("2026-01-{day:02}T12:00:00Z"), "external_id": format!("x{day}") })
    };
    let row = watch.told(("POST", &entries), &buy(3), "portfolio.transaction.create").await;
    let transaction = row["object_id"].as_str().unwrap().to_owned();
    let known = watch.app.post(&entries, &buy(3)).await;
    watch.silent(known, 200).await;
    let row = watch.told(("POST", &entries), &json!([buy(4), buy(5)]), "portfolio.transaction.create").await;
    assert_eq!(
        (row["object_type"].as_str(), row["after"].as_array().map(Vec::len)),
        (Some("portfolio"), Some(2))
    );
    let void = format!("{entries}/{transaction}/void");
    let row = watch.told(("POST", &void), &json!({ "reason": "typo" }), "portfolio.transaction.void").await;
    assert_eq!(row["object_id"], json!(transaction));
    let file = format!(
        "{}\n",
        json!({ "type": "buy", "symbol": "GOLD", "quantity": "1", "price": "10",
        "executed_at": "2026-01-06T12:00:00Z" })
    );
    let import = format!("{path}/transactions:import?format=ndjson");
    watch.told_of(("POST", &import, "application/x-ndjson"), &file, "portfolio.transaction.import").await;
    let open = json!({ "asset_symbol": "GOLD", "position_type": "LONG", "quantity": "2", "price": "10" });
    let row = watch.told(("POST", &format!("{path}/positions")), &open, "portfolio.position.open").await;
    let position = format!("{path}/positions/{}", row["object_id"].as_str().unwrap());
    let reduce = json!({ "quantity": "1", "price": "10" });
    watch.told(("POST", &format!("{position}/reduce")), &reduce, "portfolio.position.reduce").await;
    watch
        .told(("POST", &format!("{position}/close")), &json!({ "price": "10" }), "portfolio.position.reduce")
        .await;
    let split = json!({ "type": "split", "ratio": "2", "executed_at": "2026-01-20" });
    let actions = "/assets/GOLD/actions";
    let row = watch.told(("POST", actions), &split, "asset.action.create").await;
    let void = format!("{actions}/{}/void", row["object_id"].as_str().unwrap());
    watch.told(("POST", &void), &json!({}), "asset.action.void").await;
    let row = watch
        .told(
            ("POST", "/portfolios"),
            &json!({ "name": "empty", "owner_id": "t", "initial_capital": "0" }),
            "portfolio.create",
        )
        .await;
    let path = format!("/portfolios/{}", row["object_id"].as_str().unwrap());
    let row = watch.told(("DELETE", &path), &json!({}), "portfolio.delete").await;
    assert_eq!(row["before"]["name"], "empty");
}

on_both! {
    async fn every_deed_leaves_one_row_with_its_actor_and_object(backend) {
        let mut watch = Watch::start(backend).await;
        reference(&mut watch).await;
        market_data(&mut watch).await;
        books(&mut watch).await;
        watch.told(("POST", "/clock/accept"), &json!({}), "clock.accept").await;
        watch.told(("POST", "/audit/restores"), &json!({ "note": "none" }), "database.restore").await;
        // A refused request leaves none, a repeated one no second.
        let refused = watch.app.post("/markets", &json!({ "code": "" })).await;
        watch.silent(refused, 422).await;
        let headers = [("content-type", "application/json"), ("idempotency-key", "k")];
        let body = json!({ "code": "K", "name": "k", "market_type": "STOCK_EXCHANGE", "timezone": "UTC" }).to_string();
        for repeated in [false, true] {
            let reply = watch.app.send("POST", "/markets", &headers, body.as_bytes()).await;
            assert_eq!(reply.headers.contains_key("idempotency-replayed"), repeated);
            assert_eq!(watch.new_rows().await.len(), usize::from(!repeated));
        }
        let text = watch.app.get("/audit/export").await.text();
        assert!(!text.contains("CANARY"), "a secret is in the trail");
        assert!(text.contains("[redacted]"));
        assert_eq!(watch.new_rows().await.len(), 1, "the export");
        let verdict = watch.app.get("/audit/verify").await.expect(200);
        assert_eq!((&verdict["whole"], &verdict["rows"]), (&json!(true), &json!(watch.seen)));
        watch.app.stop().await;
    }

    async fn a_mutating_operation_that_refuses_leaves_no_row_and_one_that_does_not_leaves_some(backend) {
        let mut watch = Watch::start(backend).await;
        let document: Value = watch.app.get("/openapi.json").await.expect(200);
        let mut tried = 0;
        for (path, operations) in document["paths"].as_object().unwrap() {
            let path = path.replace(['{', '}'], "");
            for method in operations.as_object().unwrap().keys() {
                let method = method.to_uppercase();
                if !["POST", "PUT", "PATCH", "DELETE"].contains(&method.as_str()) {
                    continue;
                }
                let reply = watch.app.send(&method, &path, &[("content-type", "application/json")], b"").await;
                let rows = watch.new_rows().await;
                let expected = match reply.status.as_u16() {
                    401 | 403 => rows.len() == 1 && rows[0]["outcome"] == "denied",
                    400..=499 => rows.is_empty(),
                    _ => rows.len() <= 1,
                };
                assert!(expected, "{method} {path}: {} {rows:#?}", reply.status);
                tried += 1;
            }
        }
        assert!(tried > 25, "{tried}");
        watch.app.stop().await;
    }

    async fn rows_are_listed_filtered_and_exported(backend) {
        let mut watch = Watch::start(backend).await;
        reference(&mut watch).await;
        let app = &watch.app;
        let all = app.every("/audit", 3).await;
        let seqs: Vec<i64> = all.iter().map(|row| row["seq"].as_i64().unwrap()).collect();
        assert_eq!(seqs, (1..=i64::try_from(watch.seen).unwrap()).collect::<Vec<_>>());
        let newest = app.get("/audit?sort=-seq&limit=1").await.expect(200);
        assert_eq!(newest[0], all[all.len() - 1]);
        let markets = app.every("/audit?action=market.", 1).await;
        assert_eq!(markets.len(), 3);
        let id = markets[0]["object_id"].as_str().unwrap();
        assert_eq!(app.every(&format!("/audit?object_id={id}"), 2).await, markets);
        assert_eq!(app.get("/audit?actor=owner").await.expect(200), json!([]));
        assert_eq!(app.get("/audit?outcome=lost&zzz=1").await.pointers(), ["outcome", "zzz"]);
        let lines = app.get("/audit/export?action=market.").await;
        assert_eq!(lines.headers["content-type"], "application/x-ndjson");
        let rows: Vec<Value> = lines.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(rows, markets);
        let table = app.get("/audit/export?format=csv").await.text();
        assert!(table.starts_with("seq,recorded_at,actor,"));
        // The exports are told of, this one too.
        assert_eq!(table.lines().count(), all.len() + 3);
        assert_eq!(table.matches(",audit.export,").count(), 2);
        assert_eq!(app.get("/audit/verify?anchor=5").await.pointers(), ["anchor"]);
        assert_eq!(app.get("/audit/verify?after=99").await.code(422), "invalid_request");
        // An anchor out of the log of another machine counts.
        let head = app.get("/audit/verify").await.expect(200)["head"].clone();
        let (seq, hash) = (head["seq"].as_i64().unwrap(), head["hash"].as_str().unwrap());
        let given = app.get(&format!("/audit/verify?anchor={seq}:{hash}")).await.expect(200);
        assert_eq!(given["whole"], true);
        let lost = app.get(&format!("/audit/verify?anchor={}:{hash}", seq + 1)).await.expect(200);
        assert_eq!((&lost["whole"], &lost["faults"][0]["kind"]), (&json!(false), &json!("cut")));
        watch.app.stop().await;
    }

    async fn refused_callers_are_rows_until_there_are_too_many(backend) {
        let scratch = Scratch::new();
        let location = fresh_location(backend, &scratch).await;
        let anchors = location.directory().join(ANCHORS_FILE);
        let app = TestApp::start_on(location, Clock::manual(Moment::parse(START).unwrap()), Access::Keys).await;
        let key = app.app.admin_key("first").await.unwrap();
        let first = std::fs::read_to_string(anchors).unwrap();
        assert!(first.starts_with(r#"{"kind":"anchor","seq":0,"#), "an anchor comes before the first row: {first}");
        let (prefix, secret) = key.rsplit_once('_').unwrap();
        let wrong = format!("{prefix}_{}", "0".repeat(secret.len()));
        let headers = [("x-api-key", wrong.as_str()), ("x-request-id", "r-7")];
        assert_eq!(app.send("GET", "/portfolios/secret-name", &headers, b"").await.code(401), "unauthorized");
        let owner = [("x-api-key", key.as_str())];
        let rows = app.send("GET", "/audit?outcome=denied", &owner, b"").await.expect(200);
        let row = &rows[0];
        assert_eq!((rows.as_array().unwrap().len(), &row["action"], &row["code"]), (1, &json!("access.authenticate"), &json!("unauthorized")));
        assert_eq!((&row["object_type"], &row["object_id"]), (&json!("route"), &json!("GET /portfolios/{portfolio}")));
        assert_eq!((&row["actor"], &row["request_id"]), (&json!("anonymous"), &json!("r-7")));
        assert_eq!(row["key_prefix"].as_str(), prefix.strip_prefix("art_"));
        for _ in 0..320 {
            app.send("GET", "/markets", &[], b"").await.code(401);
        }
        let denied = "/audit?outcome=denied&limit=1000";
        let count = async |app: &TestApp| app.send("GET", denied, &owner, b"").await.expect(200).as_array().unwrap().len();
        assert_eq!(count(&app).await, 300, "a flood does not fill the trail");
        app.set_clock("2099-01-01T00:00:00Z");
        app.send("GET", "/markets", &[], b"").await.code(401);
        assert_eq!(count(&app).await, 302, "the rest of the minute is one row");
        let text = app.send("GET", "/audit/export?outcome=denied", &owner, b"").await.text();
        assert!(text.contains("\"count\":21"), "{text}");
        assert!(!text.contains(secret) && !text.contains(&"0".repeat(secret.len())), "a key is in the trail");
        app.stop().await;
    }

    async fn a_host_that_is_not_allowed_is_a_denied_access(backend) {
        let app = TestApp::start(backend).await;
        app.send("GET", "/markets", &[("host", "evil.example")], b"").await.code(403);
        let rows = app.get("/audit").await.expect(200);
        assert_eq!((&rows[0]["action"], &rows[0]["code"]), (&json!("access.authorize"), &json!("host_not_allowed")));
        app.stop().await;
    }

    async fn the_trail_is_whole_after_many_callers_at_once_and_a_restart(backend) {
        let app = TestApp::start(backend).await;
        let markets = (0..40).map(|n| {
            let body = json!({ "code": format!("M{n}"), "name": "m", "market_type": "STOCK_EXCHANGE", "timezone": "UTC" });
            let app = &app;
            async move { app.post("/markets", &body).await.expect(201) }
        });
        futures_util::future::join_all(markets).await;
        let app = app.restart().await;
        app.post("/markets/M1/open", &json!({})).await.expect(200);
        let verdict = app.get("/audit/verify").await.expect(200);
        assert_eq!((&verdict["whole"], &verdict["rows"]), (&json!(true), &json!(41)), "{verdict}");
        assert!(verdict["anchors"].as_u64().unwrap() >= 1, "an orderly stop anchors: {verdict}");
        app.stop().await;
    }
}

//! The queue over the API: what is taken in, what becomes of it, and what cannot be stored.

use super::versions::{gzip, zstd};
use crate::on_both;
use crate::support::{Reply, TestApp};
use artifact::domain::ids::BatchId;
use artifact::storage::ingest_queue::{self, NewBatch};
use artifact::workers::ingest_queue::{Limits, Queue};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

async fn queue(app: &TestApp, kind: &str, more: &[(&str, &str)], body: &[u8]) -> Reply {
    app.send("POST", "/ingest/queue", &[&[("content-type", kind)], more].concat(), body).await
}

/// A batch, once it is no longer waiting.
async fn settled(app: &TestApp, path: &str) -> Value {
    for _ in 0..1_000 {
        let batch = app.get(path).await.expect(200);
        if batch["state"] != "queued" {
            return batch;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{path} is not stored");
}

/// What became of a body that is taken.
async fn taken(app: &TestApp, kind: &str, body: &[u8]) -> Value {
    let reply = queue(app, kind, &[], body).await;
    let answer = reply.expect(202);
    assert_eq!((&answer["success"], &answer["state"]), (&json!(true), &json!("queued")));
    let location = reply.headers["location"].to_str().unwrap();
    assert_eq!(location, format!("/ingest/queue/{}", answer["id"].as_str().unwrap()));
    settled(app, location).await
}

fn counts(batch: &Value) -> [u64; 4] {
    assert_eq!(batch["state"], "stored", "{batch}");
    ["stored", "duplicate", "corrected", "refused"].map(|name| batch["result"][name].as_u64().unwrap())
}

async fn prices(app: &TestApp) -> Vec<String> {
    let rows = app.every("/prices?symbol=GOLD", 1_000).await;
    rows.iter().map(|row| row["price"].as_str().unwrap().to_owned()).collect()
}

const NDJSON: &str = "application/x-ndjson";

on_both! {
    async fn a_batch_is_taken_in_and_stored_whatever_it_is_written_in(backend) {
        let app = TestApp::start(backend).await;
        app.gold_and_bitcoin("0").await;
        let array = json!([
            { "symbol": "GOLD", "price": "1.50", "timestamp": "2026-01-01" },
            { "ticker": "btc-usd", "close": -1, "timestamp": "2026-01-01T00:00:00", "source": "x", "interval": "1d" },
            { "symbol": "NOPE", "price": 1, "timestamp": "2026-01-01" },
        ]);
        let batch = taken(&app, "application/json", array.to_string().as_bytes()).await;
        assert_eq!(counts(&batch), [1, 0, 0, 2]);
        assert_eq!((&batch["rows"], &batch["tries"], &batch["failure"]), (&json!(3), &json!(0), &Value::Null));
        let errors = &batch["result"]["errors"];
        let told = |place: usize| (&errors[place]["line"], &errors[place]["errors"][0]["pointer"], &errors[place]["errors"][0]["code"]);
        assert_eq!(told(0), (&json!(2), &json!("/close"), &json!("negative")));
        assert_eq!(told(1), (&json!(3), &json!("/symbol"), &json!("unknown_symbol")));
        let table = "ticker,close,timestamp,high,low\nGOLD,2,2026-01-02,3,1\nGOLD,1.5,2026-01-01,,\n";
        assert_eq!(counts(&taken(&app, "text/csv", table.as_bytes()).await), [1, 1, 0, 0]);
        let lines = "{\"symbol\":\"GOLD\",\"price\":3,\"timestamp\":\"2026-01-03\"}\n\n{\"symbol\":\"GOLD\",\"price\":7,\"timestamp\":\"2026-01-01\"}";
        assert_eq!(counts(&taken(&app, NDJSON, lines.as_bytes()).await), [1, 0, 1, 0]);
        assert_eq!(prices(&app).await, ["7", "2", "3"]);
        for (encoding, packed) in [("gzip", gzip(lines.as_bytes())), ("zstd", zstd(lines.as_bytes()))] {
            let reply = queue(&app, NDJSON, &[("content-encoding", encoding)], &packed).await;
            assert_eq!(counts(&settled(&app, reply.headers["location"].to_str().unwrap()).await), [0, 2, 0, 0]);
        }
        assert_eq!(counts(&taken(&app, "application/json", b"[]").await), [0; 4]);
        let level = app.get("/ingest/queue").await.expect(200);
        assert_eq!(level, json!({ "depth": 0, "bytes": 0, "depth_max": 10_000, "bytes_max": 268_435_456,
            "oldest_queued_at": null, "oldest_age": null, "last_minute": { "batches": 6, "rows": 11 }, "dead_letters": 0 }));
        app.stop().await;
    }

    async fn what_is_no_batch_of_prices_is_refused_at_once(backend) {
        let app = TestApp::start(backend).await;
        app.gold_and_bitcoin("0").await;
        let good = r#"{"symbol":"GOLD","price":1,"timestamp":"2026-01-01"}"#;
        let wide = r#"{"symbol":"GOLD","price":12345678901234567890123456789,"timestamp":"2026-01-01"}"#;
        let cases = [
            ("application/json", "[{".to_owned(), 400, "malformed_json", vec![]),
            ("application/json", format!("[{good},{wide}]"), 422, "invalid_request", vec!["/1/price"]),
            ("application/json", format!("[{good},{{\"symbol\":\"GOLD\",\"close\":5,\"high\":4,\"timestamp\":\"2026-01-01\"}}]"), 422, "invalid_request", vec!["/1/close"]),
            ("application/json", r#"[{"symbol":"GOLD","price":NaN,"when":1}]"#.to_owned(), 422, "invalid_request", vec!["/0/price", "/0/timestamp", "/0/when"]),
            ("application/json", r#"[{"symbol":"GOLD","price":1,"timestamp":"2026-11-24T12:00:01Z"}]"#.to_owned(), 422, "invalid_request", vec!["/0/timestamp"]),
            (NDJSON, format!("{good}\nnonsense\n{good}\n[]"), 422, "invalid_request", vec!["/lines/2", "/lines/4"]),
            ("text/csv", "symbol,price,timestamp\nGOLD,x,2026-01-01\n".to_owned(), 422, "invalid_request", vec!["/lines/2/price"]),
            ("text/csv", "symbol,cost\n".to_owned(), 422, "invalid_request", vec!["/lines/1"]),
            ("text/plain", good.to_owned(), 415, "unsupported_media_type", vec![]),
            (NDJSON, format!("{good}\n").repeat(10_001), 422, "invalid_request", vec![""]),
            (NDJSON, " ".repeat((8 << 20) + 1), 413, "body_too_large", vec![]),
        ];
        for (kind, body, status, code, pointers) in cases {
            let about: String = body.chars().take(80).collect();
            let reply = queue(&app, kind, &[], body.as_bytes()).await;
            assert_eq!((reply.code(status).as_str(), reply.pointers()), (code, pointers.iter().map(|p| (*p).to_owned()).collect()), "{about}");
        }
        let query = app.send("POST", "/ingest/queue?mode=all", &[("content-type", "application/json")], b"[]").await;
        assert_eq!((query.code(422), query.pointers()), ("invalid_request".to_owned(), vec!["mode".to_owned()]));
        assert_eq!((app.get("/ingest/queue").await.expect(200)["last_minute"]["batches"].clone(), prices(&app).await), (json!(0), vec![]));
        for id in ["x", "01a20a48-c0af-7a90-8ebc-3d0cea6615ff"] {
            assert_eq!(app.get(&format!("/ingest/queue/{id}")).await.code(404), "batch_not_found");
        }
        app.stop().await;
    }

    async fn a_batch_sent_again_with_its_key_is_stored_once_also_while_the_queue_is_full(backend) {
        let app = TestApp::start(backend).await;
        app.gold_and_bitcoin("0").await;
        let body = br#"[{"symbol":"GOLD","price":1,"timestamp":"2026-01-01"}]"#;
        let key = [("idempotency-key", "k")];
        let first = queue(&app, "application/json", &key, body).await;
        let location = first.headers["location"].to_str().unwrap().to_owned();
        let stored = settled(&app, &location).await;
        let full = |app: &mut artifact::app::App| {
            Arc::make_mut(&mut app.state).queue = Arc::new(Queue::with(Limits { batches: 0, bytes: 1 }));
        };
        let app = app.restart_changed(full).await;
        let again = queue(&app, "application/json", &key, body).await;
        assert_eq!((again.status.as_u16(), &again.body), (202, &first.body));
        assert_eq!(again.headers["idempotency-replayed"], "true");
        assert_eq!(again.headers["location"], location.as_str());
        assert_eq!(app.get(&location).await.expect(200), stored);
        let other = queue(&app, "application/json", &key, b"[]").await;
        assert_eq!(other.code(422), "idempotency_key_reused");
        let refused = queue(&app, "application/json", &[("idempotency-key", "other")], body).await;
        assert_eq!(refused.code(503), "queue_full");
        assert_eq!(refused.headers["retry-after"], "1");
        // A refused batch leaves its key free.
        let app = app.restart().await;
        queue(&app, "application/json", &[("idempotency-key", "other")], b"[]").await.expect(202);
        app.stop().await;
    }

    async fn what_cannot_be_stored_is_listed_tried_again_and_thrown_away(backend) {
        let app = TestApp::start(backend).await;
        app.gold_and_bitcoin("0").await;
        let ids = [1_u128, 2].map(|n| BatchId(uuid::Uuid::from_u128(n)));
        for id in ids {
            let torn = NewBatch { id, actor: "tester".to_owned(), rows: 1, body: b"torn".to_vec() };
            let put = app.app.state.db.writer().housekeep(move |tx| Box::pin(async move { ingest_queue::push(tx, &torn).await }));
            let done: Result<(), artifact::storage::error::StorageError> = put.await;
            done.unwrap();
        }
        let behind = taken(&app, "application/json", br#"[{"symbol":"GOLD","price":1,"timestamp":"2026-01-01"}]"#).await;
        assert_eq!(counts(&behind), [1, 0, 0, 0]);
        let dead = app.every("/ingest/dead-letters", 1).await;
        let shown: Vec<(&Value, &Value)> = dead.iter().map(|batch| (&batch["id"], &batch["tries"])).collect();
        assert_eq!(shown, [(&json!(ids[0]), &json!(5)), (&json!(ids[1]), &json!(5))]);
        assert!(dead[0]["failure"].as_str().unwrap().contains("unreadable"), "{}", dead[0]);
        let path = |id: BatchId, deed: &str| format!("/ingest/dead-letters/{id}{deed}");
        let again = app.send("POST", &path(ids[0], "/retry"), &[], b"").await.expect(200);
        assert_eq!((&again["state"], &again["tries"]), (&json!("queued"), &json!(0)));
        let early = app.send("POST", &path(ids[0], "/retry"), &[], b"").await;
        assert_eq!(early.code(409), "wrong_status");
        assert_eq!(app.delete(&path(ids[0], "")).await.code(409), "wrong_status");
        assert_eq!(settled(&app, &format!("/ingest/queue/{}", ids[0])).await["state"], "dead");
        app.delete(&path(ids[1], "")).await.expect(204);
        assert_eq!(app.delete(&path(ids[1], "")).await.code(404), "batch_not_found");
        assert_eq!(app.get("/ingest/queue").await.expect(200)["dead_letters"], 1);
        let left = app.get("/ingest/dead-letters").await.expect(200);
        assert_eq!((left.as_array().unwrap().len(), &left[0]["id"]), (1, &json!(ids[0])));
        app.stop().await;
    }
}

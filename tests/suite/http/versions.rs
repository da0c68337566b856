//! What the frame of an answer carries: versions, compression, the id of the request.

use crate::on_both;
use crate::support::TestApp;
use serde_json::json;

/// A gzip file with one stored block.
pub(super) fn gzip(data: &[u8]) -> Vec<u8> {
    let mut crc = u32::MAX;
    for byte in data {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0xEDB8_8320 } else { crc >> 1 };
        }
    }
    let size = u16::try_from(data.len()).unwrap();
    let head = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255, 1];
    let parts: [&[u8]; 6] = [
        &head,
        &size.to_le_bytes(),
        &(!size).to_le_bytes(),
        data,
        &(!crc).to_le_bytes(),
        &u32::from(size).to_le_bytes(),
    ];
    parts.concat()
}

/// A zstd frame with one raw block.
pub(super) fn zstd(data: &[u8]) -> Vec<u8> {
    let size = u32::try_from(data.len()).unwrap();
    // The size takes one byte, or two from which 256 are left out.
    let described = match u8::try_from(size) {
        Ok(size) => vec![0x20, size],
        Err(_) => [&[0x60], &u16::try_from(size - 256).unwrap().to_le_bytes()[..]].concat(),
    };
    let block = (size << 3 | 1).to_le_bytes();
    let parts: [&[u8]; 4] = [&[0x28, 0xb5, 0x2f, 0xfd], &described, &block[..3], data];
    parts.concat()
}

on_both! {
    async fn what_was_read_already_is_not_sent_again(backend) {
        let app = TestApp::start(backend).await;
        let id = app.gold_and_bitcoin("1000").await;
        for path in ["/markets", "/markets/COMEX", "/assets/GOLD", &format!("/portfolios/{id}"), &format!("/portfolios/{id}/pnl")] {
            let first = app.get(path).await;
            let tag = first.headers["etag"].to_str().unwrap().to_owned();
            assert!(tag.starts_with('"') && tag.ends_with('"'), "{tag}");
            for wanted in [tag.clone(), format!("W/{tag}"), format!("\"x\", {tag}"), "*".to_owned()] {
                let again = app.send("GET", path, &[("if-none-match", &wanted)], b"").await;
                assert_eq!((again.status.as_u16(), again.body.len()), (304, 0), "{path} {wanted}");
                assert_eq!(again.headers["etag"], tag);
            }
            let other = app.send("GET", path, &[("if-none-match", "\"x\"")], b"").await;
            assert_eq!((other.status.as_u16(), other.body), (200, first.body));
        }
        // A price changes the figures of the portfolio, and so its tag, but not its version.
        let open = json!({ "asset_symbol": "GOLD", "position_type": "LONG", "quantity": 1, "price": 10 });
        app.post(&format!("/portfolios/{id}/positions"), &open).await.expect(201);
        let path = format!("/portfolios/{id}");
        let before = app.get(&path).await;
        app.post("/prices", &json!({ "symbol": "GOLD", "price": 11 })).await.expect(200);
        let after = app.send("GET", &path, &[("if-none-match", before.headers["etag"].to_str().unwrap())], b"").await;
        assert_eq!(after.status.as_u16(), 200);
        assert_eq!(after.json()["portfolio"]["version"], before.json()["portfolio"]["version"]);
        app.stop().await;
    }

    async fn a_change_of_an_outdated_version_is_refused(backend) {
        let app = TestApp::start(backend).await;
        let id = app.gold_and_bitcoin("1000").await;
        for path in ["/markets/COMEX", "/assets/GOLD", &format!("/portfolios/{id}")] {
            let tag = app.get(path).await.headers["etag"].to_str().unwrap().to_owned();
            let patch = |tag: String| {
                let app = &app;
                async move {
                    let headers = [("content-type", "application/merge-patch+json"), ("if-match", tag.as_str())];
                    app.send("PATCH", path, &headers, br#"{"name":"changed"}"#).await
                }
            };
            let changed = patch(tag.clone()).await;
            assert_eq!(changed.expect(200)["name"], "changed");
            for outdated in [tag.as_str(), "\"v1\"", "\"v1-0\"", "\"x\"", ""] {
                assert_eq!(patch(outdated.to_owned()).await.code(412), "precondition_failed", "{path} {outdated}");
            }
            for current in [changed.headers["etag"].to_str().unwrap(), "\"v2\"", "\"v3\", \"v2\"", "\"v3\"", "*"] {
                // The second of two equal changes is one of the next version.
                let reply = patch(current.to_owned()).await;
                assert!([200, 412].contains(&reply.status.as_u16()), "{path} {current}");
            }
            let tag = app.get(path).await.headers["etag"].to_str().unwrap().to_owned();
            patch(tag).await.expect(200);
        }
        let (outdated, path) = ([("if-match", "\"v1\"")], format!("/portfolios/{id}"));
        assert_eq!(app.send("DELETE", &path, &outdated, b"").await.code(412), "precondition_failed");
        let tag = app.get(&path).await.headers["etag"].to_str().unwrap().to_owned();
        assert_eq!(app.send("DELETE", &path, &[("if-match", &tag)], b"").await.status.as_u16(), 204);
        app.stop().await;
    }

    async fn bodies_travel_compressed_both_ways(backend) {
        let app = TestApp::start(backend).await;
        let plain = format!(
            r#"{{"code":"Z1","name":"compressed","market_type":"OTC","timezone":"UTC","metadata":{{"note":"{}"}}}}"#,
            "long enough ".repeat(100)
        );
        let plain = plain.as_bytes();
        for (coding, body, magic) in [("gzip", gzip(plain), [0x1f, 0x8b]), ("zstd", zstd(plain), [0x28, 0xb5])] {
            let headers = [("content-type", "application/json"), ("content-encoding", coding)];
            let reply = app.send("POST", "/markets", &headers, &body).await;
            assert!([201, 409].contains(&reply.status.as_u16()), "{coding}: {}", reply.json());
            assert_eq!(app.get("/markets/Z1").await.expect(200)["name"], "compressed");
            let answer = app.send("GET", "/markets/Z1", &[("accept-encoding", coding)], b"").await;
            assert_eq!(answer.headers["content-encoding"], coding);
            assert_eq!(answer.body[..2], magic);
            // What the service packed it can unpack: it is sent back, and found to be known.
            let back = app.send("POST", "/markets", &headers, &answer.body).await;
            assert_eq!(back.code(409), "duplicate_market");
            // What fits into one packet arrives no sooner for being shorter.
            let small = app.send("GET", "/markets/Z2", &[("accept-encoding", coding)], b"").await;
            assert!(!small.headers.contains_key("content-encoding"));
            assert_eq!(small.code(404), "market_not_found");
        }
        // Files are packed one after the other, too, and no member is left out.
        app.gold_and_bitcoin("0").await;
        let line = |second: u32| format!("{{\"symbol\":\"GOLD\",\"price\":\"1\",\"timestamp\":\"2026-02-03T00:00:{second:02}Z\"}}\n");
        for (first, coding) in (0..).step_by(20).zip(["gzip", "zstd"]) {
            let pack = |data: &[u8]| if coding == "gzip" { gzip(data) } else { zstd(data) };
            let both = [pack(line(first).as_bytes()), pack(line(first + 1).as_bytes())].concat();
            let headers = [("content-type", "application/x-ndjson"), ("content-encoding", coding)];
            let stored = app.send("POST", "/prices/batch", &headers, &both).await.expect(200)["stored"].clone();
            assert_eq!(stored, 2, "{coding}");
            let both = [pack(line(first + 2).as_bytes()), pack(line(first + 3).as_bytes())].concat();
            let summary = app.send("POST", "/prices/stream", &headers, &both).await.expect(200);
            assert_eq!(summary["stored"], 2, "{coding}: {summary}");
            let garbage = [pack(line(first + 4).as_bytes()), b"no member".to_vec()].concat();
            let refused = app.send("POST", "/prices/batch", &headers, &garbage).await;
            assert_eq!(refused.code(400), "malformed_json", "{coding}");
        }
        // A small file that unpacks to a large body is as large as that body.
        let bomb = app.send("GET", "/openapi.json", &[("accept-encoding", "gzip")], b"").await;
        assert!(bomb.body.len() < app.get("/openapi.json").await.body.len() / 2);
        app.stop().await;
    }

    async fn a_request_keeps_its_id(backend) {
        let app = TestApp::start(backend).await;
        for path in ["/markets", "/nothing", "/health"] {
            let reply = app.send("GET", path, &[("x-request-id", "trace-me/1")], b"").await;
            assert_eq!(reply.headers["x-request-id"], "trace-me/1");
            for bad in ["", "has blank", &"x".repeat(129)] {
                let reply = app.send("GET", path, &[("x-request-id", bad)], b"").await;
                let id = reply.headers["x-request-id"].to_str().unwrap();
                assert!(uuid::Uuid::parse_str(id).is_ok(), "{id}");
            }
        }
        let refused = app.send("GET", "/nothing", &[("x-request-id", "trace-me/2")], b"").await;
        assert_eq!(refused.json()["request_id"], "trace-me/2");
        app.stop().await;
    }

    async fn a_trailing_slash_is_sent_to_the_path_without(backend) {
        let app = TestApp::start(backend).await;
        let reply = app.get("/markets/?q=x").await;
        assert_eq!((reply.status.as_u16(), reply.headers["location"].to_str().unwrap()), (307, "/markets?q=x"));
        // Never to another host.
        assert_eq!(app.get("//evil.example/").await.status.as_u16(), 404);
        assert!(app.send("HEAD", "/markets", &[], b"").await.body.is_empty());
        app.stop().await;
    }
}

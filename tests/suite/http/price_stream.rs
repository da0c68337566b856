//! Prices in a stream: what is stored of it, where it may break off, and how it goes on.

use super::versions::{gzip, zstd};
use crate::on_both;
use crate::support::{Reply, TestApp};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const NDJSON: (&str, &str) = ("content-type", "application/x-ndjson");

async fn stream(app: &TestApp, key: Option<&str>, body: &str) -> Reply {
    let mut headers = vec![NDJSON];
    headers.extend(key.map(|key| ("idempotency-key", key)));
    app.send("POST", "/prices/stream", &headers, body.as_bytes()).await
}

fn counts(report: &Value) -> [u64; 5] {
    ["lines", "stored", "duplicate", "corrected", "refused"].map(|name| report[name].as_u64().unwrap())
}

fn line(second: u64, price: &str) -> String {
    let (minute, second) = (second / 60, second % 60);
    format!(
        "{{\"symbol\":\"GOLD\",\"price\":\"{price}\",\"timestamp\":\"2026-01-01T{:02}:{:02}:{second:02}Z\"}}\n",
        minute / 60,
        minute % 60
    )
}

fn lines(range: std::ops::Range<u64>) -> String {
    range.fold(String::new(), |mut text, n| {
        write!(text, "{}", line(n, &format!("{}.5", n + 1))).unwrap();
        text
    })
}

async fn prices(app: &TestApp) -> Vec<String> {
    let rows = app.every("/prices?symbol=GOLD", 1_000).await;
    rows.iter().map(|row| row["price"].as_str().unwrap().to_owned()).collect()
}

/// A request whose body is sent piece by piece over a connection that may be cut.
struct Piecemeal(TcpStream);

impl Piecemeal {
    async fn begin(app: &TestApp, key: &str) -> Self {
        let mut stream = TcpStream::connect(app.address).await.unwrap();
        let head = format!(
            "POST /prices/stream HTTP/1.1\r\nhost: {}\r\ncontent-type: application/x-ndjson\r\n\
             idempotency-key: {key}\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n",
            app.address
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        Self(stream)
    }

    async fn send(&mut self, text: &str) {
        let chunk = format!("{:x}\r\n{text}\r\n", text.len());
        self.0.write_all(chunk.as_bytes()).await.unwrap();
    }

    async fn end(mut self) -> String {
        self.0.write_all(b"0\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        self.0.read_to_string(&mut answer).await.unwrap();
        answer
    }
}

/// Waits until so many prices are there.
async fn until_stored(app: &TestApp, count: usize) {
    for _ in 0..200 {
        if prices(app).await.len() == count {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{} prices instead of {count}", prices(app).await.len());
}

on_both! {
    async fn a_stream_is_stored_and_summed_up(backend) {
        let app = TestApp::start(backend).await;
        app.gold_and_bitcoin("0").await;
        let body = format!("{}\n{}{}\r\n{}not json\n{}", lines(0..3), line(1, "2.5"), line(2, "7"),
            "{\"ticker\":\"btc-usd\",\"close\":\"-1\",\"timestamp\":\"2026-01-01\"}\n{\"symbol\":\"NOPE\",\"price\":1,\"timestamp\":\"2026-01-01\"}\n",
            "{\"ticker\":\"btc-usd\",\"close\":1.10,\"timestamp\":\"2026-01-01\",\"interval\":\"1d\",\"source\":\"x\"}");
        let report = stream(&app, None, &body).await.expect(200);
        assert_eq!(counts(&report), [11, 4, 1, 1, 3]);
        let refused: Vec<(u64, &str)> = report["errors"].as_array().unwrap().iter()
            .map(|fault| (fault["line"].as_u64().unwrap(), fault["errors"][0]["pointer"].as_str().unwrap())).collect();
        assert_eq!(refused, [(8, "/close"), (9, "/symbol"), (10, "")]);
        assert_eq!(prices(&app).await, ["1.5", "2.5", "7"]);
        let candle = app.get("/prices?symbol=BTC-USD").await.expect(200);
        assert_eq!((&candle[0]["price"], &candle[0]["interval"], &candle[0]["source"]), (&json!("1.10"), &json!("1d"), &json!("x")));
        let empty = stream(&app, None, "").await.expect(200);
        assert_eq!(counts(&empty), [0; 5]);
        let plain = app.send("POST", "/prices/stream", &[("content-type", "application/json")], b"[]").await;
        assert_eq!(plain.code(415), "unsupported_media_type");
        let query = app.send("POST", "/prices/stream?mode=all", &[NDJSON], b"").await;
        assert_eq!((query.code(422), query.pointers()), ("invalid_request".to_owned(), vec!["mode".to_owned()]));
        app.stop().await;
    }

    async fn a_stream_is_longer_than_any_limit_and_sent_again_it_does_nothing(backend) {
        let app = TestApp::start(backend).await;
        app.gold_and_bitcoin("0").await;
        // 16 MiB: four groups.
        let body: String = (0..80_000_u64).fold(String::new(), |mut text, n| {
            writeln!(text, "{{\"symbol\":\"GOLD\",\"price\":\"{n}.25\",\"timestamp\":\"2026-01-01T{:02}:00:00.{n:06}Z\",\"source\":\"{}\"}}",
                n % 24, "s".repeat(60)).unwrap();
            text.push_str(&" ".repeat(60));
            text
        });
        let report = stream(&app, Some("long"), &body).await.expect(200);
        assert_eq!(counts(&report), [80_001, 80_000, 0, 0, 0]);
        let again = stream(&app, Some("long"), &body).await;
        assert_eq!(again.expect(200), report);
        assert_eq!(again.headers["idempotency-replayed"], "true");
        let again = stream(&app, None, &body).await.expect(200);
        assert_eq!(counts(&again), [80_001, 0, 80_000, 0, 0]);
        let last = app.get("/prices?symbol=GOLD&from=2026-01-01T23:00:00.079Z&limit=1").await.expect(200);
        assert_eq!(last[0]["price"], "79007.25");
        app.stop().await;
    }

    async fn a_stream_that_breaks_off_leaves_whole_lines_and_goes_on_where_it_stopped(backend) {
        let app = TestApp::start(backend).await;
        app.gold_and_bitcoin("0").await;
        let mut first = Piecemeal::begin(&app, "k").await;
        first.send(&lines(0..10)).await;
        until_stored(&app, 10).await;
        first.send(&lines(10..12)).await;
        until_stored(&app, 12).await;
        first.send(&line(12, "999999")[..40]).await;
        drop(first);
        let whole = lines(0..20);
        let report = stream(&app, Some("k"), &whole).await.expect(200);
        assert_eq!(counts(&report), [20, 20, 0, 0, 0]);
        let expected: Vec<String> = (1..=20).map(|n| format!("{n}.5")).collect();
        assert_eq!(prices(&app).await, expected);
        // Other lines under the same key, or fewer than were taken, are another stream.
        let other = format!("{}{}", line(0, "8"), lines(1..30));
        assert_eq!(stream(&app, Some("k"), &other).await.code(422), "idempotency_key_reused");
        assert_eq!(stream(&app, Some("k"), &lines(0..5)).await.code(422), "idempotency_key_reused");
        assert_eq!(prices(&app).await, expected);
        // The same with more behind it goes on; without a last line end it is the same line.
        let more = lines(0..25);
        assert_eq!(counts(&stream(&app, Some("k"), more.trim_end()).await.expect(200)), [25, 25, 0, 0, 0]);
        app.stop().await;
    }

    async fn streams_with_one_key_wait_for_each_other(backend) {
        let app = TestApp::start(backend).await;
        app.gold_and_bitcoin("0").await;
        let mut first = Piecemeal::begin(&app, "k").await;
        first.send(&lines(0..5)).await;
        until_stored(&app, 5).await;
        let whole = lines(0..8);
        let (ended, second) = tokio::join!(
            async {
                tokio::time::sleep(Duration::from_millis(300)).await;
                first.send(&lines(5..8)).await;
                first.end().await
            },
            stream(&app, Some("k"), &whole),
        );
        assert!(ended.starts_with("HTTP/1.1 200"), "{ended}");
        let report = second.expect(200);
        assert_eq!(counts(&report), [8, 8, 0, 0, 0]);
        assert_eq!(second.headers["idempotency-replayed"], "true");
        assert!(ended.ends_with(&second.text()), "{ended}");
        app.stop().await;
    }

    async fn a_packed_stream_is_unpacked_and_a_torn_one_keeps_what_came(backend) {
        let app = TestApp::start(backend).await;
        app.gold_and_bitcoin("0").await;
        let packed = gzip(lines(0..4).as_bytes());
        let headers = [NDJSON, ("content-encoding", "gzip")];
        let report = app.send("POST", "/prices/stream", &headers, &packed).await.expect(200);
        assert_eq!(counts(&report), [4, 4, 0, 0, 0]);
        let torn = &gzip(lines(0..9).as_bytes())[..40];
        let reply = app.send("POST", "/prices/stream", &headers, torn).await;
        assert_eq!(reply.code(400), "malformed_json");
        let packed = zstd(lines(3..5).as_bytes());
        let report = app.send("POST", "/prices/stream", &[NDJSON, ("content-encoding", "zstd")], &packed).await.expect(200);
        assert_eq!(counts(&report), [2, 1, 1, 0, 0]);
        let other = app.send("POST", "/prices/stream", &[NDJSON, ("content-encoding", "br")], b"x").await;
        assert_eq!(other.code(415), "unsupported_media_type");
        app.stop().await;
    }

    async fn a_line_has_a_limit(backend) {
        let app = TestApp::start(backend).await;
        app.gold_and_bitcoin("0").await;
        let body = format!("{}{}{}", lines(0..2), "x".repeat(200_000), lines(2..4));
        let reply = stream(&app, None, &body).await;
        assert_eq!(reply.code(413), "body_too_large");
        let detail = reply.json()["detail"].as_str().unwrap().to_owned();
        assert_eq!(detail, "line 3 is longer than 65536 bytes; 2 lines were taken and are kept");
        assert_eq!(prices(&app).await, ["1.5", "2.5"]);
        app.stop().await;
    }

    async fn a_stop_ends_a_stream_with_an_answer(backend) {
        let app = TestApp::start(backend).await;
        app.gold_and_bitcoin("0").await;
        let mut open = Piecemeal::begin(&app, "k").await;
        open.send(&lines(0..3)).await;
        until_stored(&app, 3).await;
        let asked = async {
            let mut answer = String::new();
            open.0.read_to_string(&mut answer).await.unwrap();
            answer
        };
        let (answer, ()) = tokio::join!(asked, app.stop());
        assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
        assert!(answer.contains("3 lines were taken and are kept"), "{answer}");
    }
}

//! Large bodies take turns, and whoever sends one slowly, or may not come in any more, keeps nobody waiting.

use crate::support::{Backend, Scratch, TestApp, fresh_location};
use artifact::clock::Clock;
use artifact::http::auth::Access;
use artifact::http::client_address::TrustedProxies;
use artifact::http::guard::Guard;
use artifact::http::limits::{Limits, Rates};
use serde_json::json;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

const BATCH: &str = "/prices/batch";
const IMPORT: &str = "/prices/import?symbol=GOLD&source=desk";
/// More than needs no seat.
const LARGE: usize = 300 << 10;
/// Longest until all slow ones are gone: they wait 10 s for a seat, and hold one for some seconds.
const GONE: Duration = Duration::from_secs(90);

struct House {
    app: TestApp,
    admin: String,
    _scratch: Scratch,
}

impl House {
    /// With GOLD, and a pace that is measured over so long.
    async fn start(pace_window: Duration) -> Self {
        let scratch = Scratch::new();
        let location = fresh_location(Backend::Sqlite, &scratch).await;
        let clock = Clock::system();
        let rates = Rates { key: 0, address: 0, heavy: 0, anonymous: 0, refused: 0 };
        let limits = Limits { rates, pace_window, ..Limits::default() };
        let guard = Guard::new(limits, TrustedProxies::default(), Vec::new());
        let app = TestApp::start_guarded(location, clock, Access::Keys, guard).await;
        let admin = app.app.admin_key("first").await.unwrap();
        let house = Self { app, admin, _scratch: scratch };
        let market = json!({ "code": "COMEX", "name": "COMEX", "market_type": "COMMODITIES_EXCHANGE", "timezone": "UTC" });
        let asset =
            json!({ "symbol": "GOLD", "name": "Gold", "asset_type": "COMMODITY", "market_code": "COMEX" });
        for (path, body) in [("/markets", market), ("/assets", asset)] {
            house.post(path, &[("content-type", "application/json")], body.to_string().as_bytes()).await;
        }
        house
    }

    /// What somebody else is answered meanwhile.
    async fn post(&self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> u16 {
        let headers: Vec<_> = headers.iter().copied().chain([("x-api-key", self.admin.as_str())]).collect();
        self.app.send("POST", path, &headers, body).await.status.as_u16()
    }

    /// A key, and its id.
    async fn key(&self, scopes: &[&str]) -> (String, String) {
        let body = json!({ "name": "slow", "owner_id": "mallory", "scopes": scopes }).to_string();
        let headers = [("content-type", "application/json"), ("x-api-key", self.admin.as_str())];
        let made = self.app.send("POST", "/keys", &headers, body.as_bytes()).await.expect(201);
        (made["key"].as_str().unwrap().to_owned(), made["id"].as_str().unwrap().to_owned())
    }

    /// Begins a body with so many blanks; it does not say how long it will be.
    async fn begin(&self, key: &str, (path, kind): (&str, &str), blanks: usize) -> TcpStream {
        let mut stream = TcpStream::connect(self.app.address).await.unwrap();
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: a\r\nx-api-key: {key}\r\ncontent-type: {kind}\r\ntransfer-encoding: chunked\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        say(&mut stream, blanks).await.unwrap();
        stream
    }
}

async fn say(stream: &mut TcpStream, blanks: usize) -> std::io::Result<()> {
    stream.write_all(format!("{blanks:x}\r\n{}\r\n", " ".repeat(blanks)).as_bytes()).await
}

/// Goes on faster than any body has to come, and slower than one that holds a seat, until it is answered.
async fn drip(mut stream: TcpStream) -> String {
    let (mut answer, mut piece) = (Vec::new(), [0; 4096]);
    loop {
        tokio::select! {
            read = stream.read(&mut piece) => match read {
                Ok(0) | Err(_) => break,
                Ok(read) => answer.extend_from_slice(&piece[..read]),
            },
            () = tokio::time::sleep(Duration::from_millis(250)) => say(&mut stream, 1_000).await.unwrap_or_default(),
        }
        if answer.windows(4).any(|end| end == b"\r\n\r\n") {
            break;
        }
    }
    String::from_utf8_lossy(&answer).into_owned()
}

fn gzip(text: &str) -> Vec<u8> {
    use std::io::Write as _;
    let mut child = std::process::Command::new("gzip")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let packed = child.wait_with_output().unwrap();
    assert!(packed.status.success());
    packed.stdout
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_bodies_of_one_key_take_no_room_from_others_and_end() {
    let house = House::start(Duration::from_secs(3)).await;
    let (prices, _) = house.key(&["prices:write"]).await;
    let (reader, _) = house.key(&["portfolios:read"]).await;
    let json = "application/json";
    let mut slow = JoinSet::new();
    for size in [LARGE, 10] {
        for _ in 0..16 {
            slow.spawn(drip(house.begin(&prices, (BATCH, json), size).await));
        }
        slow.spawn(drip(house.begin(&prices, (IMPORT, "text/csv"), size).await));
        slow.spawn(drip(house.begin(&reader, ("/pnl", json), size).await));
    }
    // They sit down, as far as they may.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let row = r#"[{"symbol":"GOLD","price":"103","timestamp":"2025-11-01T00:00:00Z"}]"#;
    let table = "timestamp,price\n2025-11-01T00:00:00Z,1\n";
    let blanks = " ".repeat(LARGE);
    let packed = [("content-encoding", "gzip"), ("content-type", json)];
    let packed_table = [("content-encoding", "gzip"), ("content-type", "text/csv")];
    assert_eq!(house.post(BATCH, &packed, &gzip(row)).await, 200);
    assert!(house.post(IMPORT, &packed_table, &gzip(table)).await < 408);
    assert_eq!(house.post(BATCH, &packed[1..], format!("{row}{blanks}").as_bytes()).await, 200);
    assert_eq!(house.post(BATCH, &packed, &gzip(&format!("{row}{blanks}"))).await, 200);
    let large_table = format!("{table}{}", "2025-11-01T00:00:00Z,1\n".repeat(14_000));
    for (path, kind, body) in [(IMPORT, "text/csv", large_table), ("/pnl", json, format!("{{}}{blanks}"))] {
        let status = house.post(path, &[("content-type", kind)], body.as_bytes()).await;
        assert!(status == 200 || status == 422, "{path}: {status}");
    }
    let mut told = std::collections::BTreeMap::new();
    let all = async {
        while let Some(answer) = slow.join_next().await {
            let answer = answer.unwrap();
            *told.entry(answer.get(9..12).unwrap_or("none").to_owned()).or_insert(0) += 1;
            // Those that are small are in nobody's way, and go on.
            if told.values().sum::<i32>() == 18 {
                break;
            }
        }
    };
    tokio::time::timeout(GONE, all).await.expect("slow bodies go on");
    let count = |status: &str| told.get(status).copied().unwrap_or_default();
    assert!(count("408") >= 6 && count("408") + count("503") == 18, "{told:?}");
    drop(slow);
    house.app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_key_is_felt_by_a_body_that_is_still_coming() {
    let house = House::start(Duration::from_mins(10)).await;
    for (path, kind) in [
        (BATCH, "application/json"),
        ("/prices", "application/json"),
        ("/pnl", "application/json"),
        ("/fx/import", "text/csv"),
    ] {
        for size in [10, LARGE] {
            if path == "/prices" && size == LARGE {
                continue;
            }
            let (key, id) = house.key(&["prices:write", "portfolios:read"]).await;
            let mut stream = house.begin(&key, (path, kind), size).await;
            let headers = [("x-api-key", house.admin.as_str())];
            let mine = format!("/keys/{id}");
            let looked_at = async {
                while house.app.send("GET", &mine, &headers, b"").await.expect(200)["last_used_at"].is_null()
                {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            tokio::time::timeout(GONE, looked_at).await.expect("the request is not looked at");
            assert_eq!(house.app.send("DELETE", &mine, &headers, b"").await.status, 204);
            // It says nothing more.
            let (mut answer, mut piece) = (Vec::new(), [0; 4096]);
            let answered = async {
                while !answer.windows(4).any(|end| end == b"\r\n\r\n") {
                    let read = stream.read(&mut piece).await.unwrap();
                    assert_ne!(read, 0);
                    answer.extend_from_slice(&piece[..read]);
                }
            };
            tokio::time::timeout(GONE, answered).await.expect("the body is waited for");
            let answer = String::from_utf8_lossy(&answer);
            assert!(answer.starts_with("HTTP/1.1 401 "), "{path} {size}: {answer}");
        }
    }
    house.app.stop().await;
}

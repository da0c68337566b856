//! Clients that say little, listen slowly or say nothing: each is sent away, and nobody else notices.
//!
//! The limits are shortened here, and the clients fewer; `scripts/slow_clients.py` has the full numbers.

use super::{Api, OPEN, Place, Service};
use crate::support::Backend;
use serde_json::json;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

/// Clients of each kind.
const CLIENTS: usize = 40;
/// Clients that ask for much and take nothing of it.
const DEAF: usize = 5;
/// Longest until each of them is gone.
const GONE: Duration = Duration::from_secs(35);

/// The value of a series in `/metrics`.
async fn metric(api: &Api, series: &str) -> u64 {
    let reply = api.get("/metrics").await;
    let text = String::from_utf8(reply.body.to_vec()).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.map_or(0, |value| value.parse().unwrap())
}

async fn ended(api: &Api, reason: &str) -> u64 {
    metric(api, &format!("http_connections_ended_total{{reason=\"{reason}\"}}")).await
}

/// Says something, then a byte now and then, until the connection ends; returns what came back.
async fn drip(mut stream: TcpStream, first: String, rest: Option<&'static str>) -> String {
    stream.write_all(first.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let pause = tokio::time::sleep(Duration::from_millis(200));
        tokio::select! {
            read = stream.read(&mut piece) => match read {
                Ok(0) | Err(_) => break,
                Ok(read) => answer.extend_from_slice(&piece[..read]),
            },
            () = pause => {
                // It may have ended meanwhile; the next read tells.
                if let Some(byte) = rest { stream.write_all(byte.as_bytes()).await.unwrap_or_default(); }
            }
        }
    }
    String::from_utf8_lossy(&answer).into_owned()
}

/// Every kind of slow client; each ends with what it was told.
async fn slow_clients(api: &Api, each: usize) -> (JoinSet<(&'static str, String)>, Vec<TcpStream>) {
    let head = "GET /health/live HTTP/1.1\r\nhost: localhost\r\n";
    let kinds: [(&'static str, String, Option<&'static str>); 5] = [
        ("header drip", head.to_owned() + "x-slow: ", Some("a")),
        (
            "body drip",
            "POST /prices HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 9000\r\n\r\n{".to_owned(),
            Some(" "),
        ),
        ("idle", String::new(), None),
        ("keep-alive", head.to_owned() + "\r\n", None),
        ("one byte", "G".to_owned(), None),
    ];
    let mut talking = JoinSet::new();
    let mut deaf = Vec::new();
    for _ in 0..each {
        for (kind, first, rest) in kinds.clone() {
            let stream = TcpStream::connect(api.address).await.unwrap();
            talking.spawn(async move { (kind, drip(stream, first, rest).await) });
        }
    }
    for _ in 0..DEAF {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        let mut stream = socket.connect(api.address).await.unwrap();
        let read = "GET /docs/ui/swagger-ui-bundle.js HTTP/1.1\r\nhost: localhost\r\n\r\n";
        stream.write_all(read.repeat(5).as_bytes()).await.unwrap();
        deaf.push(stream);
    }
    (talking, deaf)
}

/// GOLD, which has no price yet.
pub(super) async fn with_gold(api: &Api) {
    let market =
        json!({ "code": "COMEX", "name": "COMEX", "market_type": "COMMODITIES_EXCHANGE", "timezone": "UTC" });
    api.post("/markets", &market).await.expect(201);
    let asset =
        json!({ "symbol": "GOLD", "name": "Gold", "asset_type": "COMMODITY", "market_code": "COMEX" });
    api.post("/assets", &asset).await.expect(201);
}

/// What the system says a service has in memory: `VmRSS` now, `VmHWM` at most so far.
pub(super) fn resident_mib(service: &Service, which: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", service.child.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with(which)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_clients_are_sent_away_and_nobody_else_waits() {
    let place = Place::new(Backend::Sqlite).await;
    let text = "[limits]\nhead_seconds = 2\nkeep_alive_seconds = 3\npace_seconds = 3\n";
    let config = place.file("slow.toml", text);
    let service = place.serve(&[&OPEN[..], &["--config", &config]].concat());
    let api = &service.api;
    with_gold(api).await;
    let (mut talking, deaf) = slow_clients(api, CLIENTS).await;
    let (started, each) = (Instant::now(), u64::try_from(CLIENTS).unwrap());
    let mut slowest = Duration::ZERO;
    loop {
        let asked = Instant::now();
        api.get("/health/live").await.expect(200);
        slowest = slowest.max(asked.elapsed());
        let price = json!({ "symbol": "GOLD", "price": "4001" });
        api.post("/prices", &price).await.expect(200);
        let gone = (ended(api, "idle").await, ended(api, "slow_body").await, ended(api, "slow_answer").await);
        // One whose last answer is handed over, though not taken, may end as an idle one.
        let deaf = u64::try_from(DEAF).unwrap();
        if gone.0 >= 4 * each && gone.1 >= each && gone.2 > 0 && gone.0 + gone.2 >= 4 * each + deaf {
            break;
        }
        assert!(started.elapsed() < GONE, "{gone:?} of {each} each are gone");
    }
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
    assert!(resident_mib(&service, "VmHWM") < 512);
    while let Some(told) = talking.join_next().await {
        let (kind, answer) = told.unwrap();
        let status = answer.split(' ').nth(1).unwrap_or_default();
        match kind {
            "body drip" => assert!(status == "408" && answer.contains("too_slow"), "{answer}"),
            "keep-alive" => assert_eq!(status, "200"),
            _ => assert_eq!(answer, "", "{kind}"),
        }
    }
    drop(deaf);
    service.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_house_ends_idle_connections_and_answers_about_its_health_when_all_are_busy() {
    let place = Place::new(Backend::Sqlite).await;
    let config = place.file("full.toml", "[limits]\nconnections_per_address = 32\n");
    let service = place.serve(&[&OPEN[..], &["--config", &config]].concat());
    let api = &service.api;
    let mut idle = Vec::new();
    for _ in 0..400 {
        idle.push(TcpStream::connect(api.address).await.unwrap());
    }
    assert!(api.healthy().await);
    assert!(ended(api, "full").await >= 400 - 32);
    assert!(metric(api, "http_connections").await <= 33);
    // A request under way is not ended for another: its body is still to come.
    let mut busy = Vec::new();
    let head = "POST /prices HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 90\r\nexpect: 100-continue\r\n\r\n";
    for _ in 0..32 {
        let mut stream = TcpStream::connect(api.address).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = [0; 25];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 100 Continue\r\n\r\n");
        busy.push(stream);
    }
    assert!(api.healthy().await);
    let turned_away = api.get("/markets").await;
    assert_eq!(turned_away.headers["retry-after"], "1");
    assert_eq!(turned_away.code(503), "busy");
    drop(busy);
    service.stop();
}

//! One request, one answer: the latest price, a durable price, the totals of a portfolio; the service on one core, its
//! client on the other.

#![expect(clippy::expect_used, reason = "a measurement that cannot go on says where it stopped")]

use crate::client::Client;
use crate::limits::Limits;
use crate::processes::{Folder, Measured, SERVER, Server};
use crate::traffic::Work;
use crate::{ROUNDS, Row, median, shown};
use std::time::Duration;

/// Assets with a price.
const ASSETS: usize = 1_000;
/// Answers of one measurement of reads.
const READS: usize = 60_000;
/// Flushes that tell what the disk takes.
const FLUSHES: u64 = 300;

fn rates(measured: &[Measured]) -> u64 {
    let mut rates: Vec<u64> = measured.iter().map(|one| one.rate).collect();
    rates.sort_unstable();
    rates.get(rates.len() / 2).copied().unwrap_or_default()
}

fn p99(measured: &[Measured]) -> Duration {
    median(measured.iter().map(|one| one.p99).collect())
}

/// A number as many times another, with two decimals.
pub(crate) fn ratio(figure: u64, beside: u64) -> String {
    let hundredths = figure * 100 / beside.max(1);
    format!("{}.{:02}", hundredths / 100, hundredths % 100)
}

/// Reads of one path beside the bare handler with as many bytes.
fn read(
    server: &Server,
    path: &str,
    bytes: usize,
    (connections, work, goal): (usize, &str, [&'static str; 2]),
) {
    let bare = Server::bare(bytes, SERVER);
    let reads = Work { connections, requests: READS * connections.min(4) / 4, what: format!("GET {path}") };
    let (mut ours, mut limit) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        limit.push(bare.load(&reads));
        ours.push(server.load(&reads));
    }
    let (rate, limit_rate) = (rates(&ours), rates(&limit));
    Row {
        work,
        figure: format!("{rate}/s"),
        beside: format!("bare handler {limit_rate}/s"),
        ratio: ratio(rate, limit_rate),
        goal: goal[0],
    }
    .print();
    let (ours, limit) = (p99(&ours), p99(&limit));
    Row {
        work: &format!("{work}, p99"),
        figure: shown(ours),
        beside: format!("bare handler {}", shown(limit)),
        ratio: crate::times(ours, limit),
        goal: goal[1],
    }
    .print();
}

/// Durable posts beside what the handler and the disk would take by themselves, and beside a transaction a request.
fn post(
    server: &Server,
    limits: &mut Limits,
    connections: usize,
    goals: [&'static str; 2],
    next: &mut usize,
) {
    let bare = Server::bare(120, SERVER);
    let requests = connections * 150;
    let (mut ours, mut limit, mut flushes, mut ones) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let what = format!("prices {next} {ASSETS}");
        *next += requests + 1_000;
        flushes.push(limits.time(&format!("sync {FLUSHES}")));
        limit.push(bare.load(&Work { connections, requests: READS, what: what.clone() }));
        ours.push(server.load(&Work { connections, requests, what }));
        ones.push(limits.time(&format!("one {}", FLUSHES / 3)));
    }
    let a_second =
        |count: u64, time: Duration| count * 1_000_000 / u64::try_from(time.as_micros()).unwrap_or(1).max(1);
    let (rate, bare) = (rates(&ours), rates(&limit));
    let flushes = a_second(FLUSHES, median(flushes));
    let one = a_second(FLUSHES / 3, median(ones));
    // 1 / (1 / bare + 1 / (connections x flushes a second)).
    let shared = flushes * u64::try_from(connections).unwrap_or_default();
    let most = bare * shared / (bare + shared).max(1);
    let work = format!("durable POST /prices, {connections} connections");
    Row {
        work: &work,
        figure: format!("{rate}/s"),
        beside: format!("handler {bare}/s, disk {flushes}/s: {most}/s"),
        ratio: ratio(rate, most),
        goal: goals[0],
    }
    .print();
    Row {
        work: &work,
        figure: format!("{rate}/s"),
        beside: format!("a transaction a request {one}/s"),
        ratio: ratio(rate, one),
        goal: goals[1],
    }
    .print();
}

/// A portfolio of so many open positions; its path.
async fn portfolio(client: &Client) -> String {
    let body =
        r#"{"name":"bench","owner_id":"bench","initial_capital":"100000000","opened_at":"2024-12-31"}"#;
    let made = client.post("/portfolios", "application/json", body).await;
    let made: serde_json::Value = serde_json::from_slice(&made).expect("JSON");
    let path = format!("/portfolios/{}", made.get("id").and_then(serde_json::Value::as_str).expect("an id"));
    let buy = |n: usize| {
        format!(
            r#"{{"type":"buy","symbol":"S{n}","quantity":"1.5","price":"99.25","executed_at":"2025-01-0{}"}}"#,
            n % 9 + 1
        )
    };
    let entries: Vec<String> = (0..ASSETS).map(buy).collect();
    client
        .post(&format!("{path}/transactions"), "application/json", format!("[{}]", entries.join(",")))
        .await;
    path
}

pub(crate) async fn run() {
    let folder = Folder::new("serving");
    let server = Server::artifact(&folder.0, SERVER);
    let client = Client::of(&server);
    client.assets(ASSETS).await;
    let mut limits = Limits::start(&folder.0);
    let mut next = 0;
    post(&server, &mut limits, 64, ["at least 0.60", "at least 12"], &mut next);
    post(&server, &mut limits, 256, ["at least 0.50", "at least 20"], &mut next);
    let path = "/prices/latest?symbols=S7";
    let answer = client.get(path).await;
    assert!(answer.starts_with(b"[{\"symbol\":\"S7\""), "{}", String::from_utf8_lossy(&answer));
    read(&server, path, 300, (64, "latest price, 64 connections", ["at least 0.90", "at most 1.3"]));
    let path = portfolio(&client).await;
    let answer = client.get(&path).await;
    assert!(String::from_utf8_lossy(&answer).contains("\"open_positions\":1000"), "{answer:?}");
    let work = "GET /portfolios/{id}, 1,000 positions, 1 connection";
    read(&server, &path, answer.len(), (1, work, ["at least 0.80", ""]));
    limits.stop();
    server.stop();
}

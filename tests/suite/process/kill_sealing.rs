//! kill -9 while prices are sealed: every batch that was answered is there as it was sent, no batch by half or twice.

use super::load::Chance;
use super::{OPEN, Place};
use crate::support::Backend;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::time::Duration;

const ASSETS: usize = 10;
/// Rows of a batch, the same number of each asset.
const ROWS: usize = 10_000;
const TABLE: [(&str, &str); 1] = [("content-type", "text/csv")];

/// A batch of seconds, of every asset in turn; every third batch lies before the one ahead of it.
fn batch(number: usize) -> String {
    let mut text = String::from("symbol,timestamp,price\n");
    for row in 0..ROWS {
        let price = number * 7 + row % 97;
        writeln!(text, "S{},{},{price}.50", row % ASSETS, second(number, row / ASSETS)).unwrap();
    }
    text
}

fn second(number: usize, place: usize) -> String {
    let number = if number % 3 == 2 { number - 1 } else { number + usize::from(number % 3 == 1) };
    let second = number * (ROWS / ASSETS) + place;
    let (hours, rest) = (second / 3600, second % 3600);
    format!("2026-02-{:02}T{:02}:{:02}:{:02}Z", 1 + hours / 24, hours % 24, rest / 60, rest % 60)
}

/// How many rows of a batch are there; all of them as they were sent.
async fn rows_of(api: &super::Api, number: usize) -> usize {
    let mut found = 0;
    for asset in 0..ASSETS {
        let (from, last) = (second(number, 0), second(number, ROWS / ASSETS - 1));
        let path = format!("/prices?symbol=S{asset}&from={from}&to={}&limit=10000", last.replace('Z', ".5Z"));
        let rows: Value = api.get(&path).await.expect(200);
        for (place, row) in rows.as_array().unwrap().iter().enumerate() {
            let price = format!("{}.50", number * 7 + (place * ASSETS + asset) % 97);
            assert_eq!(row["price"], price, "batch {number}, S{asset}, {place}");
            assert_eq!(row["observed_at"], second(number, place).replace('Z', ".000000Z"));
            found += 1;
        }
    }
    found
}

async fn rounds(backend: Backend, rounds: u64) {
    let place = Place::new(backend).await;
    let mut service = place.serve(&OPEN);
    let market = json!({ "code": "X", "name": "X", "market_type": "OTC", "timezone": "UTC" });
    service.api.post("/markets", &market).await.expect(201);
    for asset in 0..ASSETS {
        let symbol = format!("S{asset}");
        let body = json!({ "symbol": symbol, "name": symbol, "asset_type": "STOCK", "market_code": "X" });
        service.api.post("/assets", &body).await.expect(201);
    }
    let mut chance = Chance::new(rounds);
    let mut answered = Vec::new();
    let mut next = 0;
    for round in 0..rounds {
        // Some batches are answered, and the process ends while the last is under way or a little later.
        for _ in 0..4 {
            let reply = service.api.attempt("POST", "/prices/batch", &TABLE, batch(next).as_bytes()).await;
            reply.unwrap().expect(200);
            answered.push(next);
            next += 1;
        }
        let api = service.api.clone();
        let last = batch(next);
        let under_way =
            tokio::spawn(async move { api.attempt("POST", "/prices/batch", &TABLE, last.as_bytes()).await });
        tokio::time::sleep(Duration::from_micros(chance.below(900_000))).await;
        service.kill();
        let done = under_way.await.unwrap().is_ok_and(|reply| reply.status == 200);
        service = place.serve(&OPEN);
        let rows = rows_of(&service.api, next).await;
        assert!(rows == ROWS || (rows == 0 && !done), "round {round}: {rows} rows of a batch");
        if rows == ROWS {
            answered.push(next);
        }
        next += 1;
        for number in &answered {
            assert_eq!(rows_of(&service.api, *number).await, ROWS, "round {round}: batch {number}");
        }
    }
    service.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_while_sealing_lose_and_double_no_price_on_sqlite() {
    rounds(Backend::Sqlite, 5).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_while_sealing_lose_and_double_no_price_on_postgres() {
    rounds(Backend::Postgres, 2).await;
}

//! Feeds against venues on this machine, from frames and answers to stored points.

#![cfg(test)]

mod asking;
mod captures;
mod generic;
mod listening;
pub(crate) mod replay;

use crate::support::TestApp;
use artifact::domain::moment::Moment;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// Longest time anything here may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Assets with these symbols, on a market of their own.
async fn assets(app: &TestApp, symbols: &[&str]) {
    let market =
        json!({ "code": "VENUE", "name": "Venue", "market_type": "CRYPTO_EXCHANGE", "timezone": "UTC" });
    app.post("/markets", &market).await.expect(201);
    for symbol in symbols {
        let body = json!({ "symbol": symbol, "name": symbol, "asset_type": "CRYPTOCURRENCY", "market_code": "VENUE" });
        app.post("/assets", &body).await.expect(201);
    }
}

/// Asks for a feed again and again until it is as wanted.
async fn until(app: &TestApp, name: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    let path = format!("/ingest/feeds/{name}");
    let asking = async {
        loop {
            let feed = app.get(&path).await.expect(200);
            if is_so(&feed) {
                return feed;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    if let Ok(feed) = tokio::time::timeout(PATIENCE, asking).await {
        return feed;
    }
    panic!("feed {name} stays {}", app.get(&path).await.text());
}

/// Points of a symbol: moment, close, open, high, low, volume, as they are shown.
async fn points(app: &TestApp, symbol: &str, filter: &str) -> Vec<[String; 6]> {
    let rows = app.every(&format!("/prices?symbol={symbol}&{filter}"), 1_000).await;
    let text = |row: &Value, name: &str| row[name].as_str().unwrap_or_default().to_owned();
    rows.iter()
        .map(|row| ["observed_at", "price", "open", "high", "low", "volume"].map(|name| text(row, name)))
        .collect()
}

/// A trade as a venue tells it.
#[derive(Debug, Clone)]
pub(crate) struct Trade {
    pub(crate) number: u64,
    pub(crate) micros: i64,
    pub(crate) price: String,
    pub(crate) size: String,
}

/// What trades come to, reckoned apart from the program: one point a moment, oldest first, with the digits that the venue
/// wrote. Numbers are compared and added as whole numbers of their last decimal.
pub(crate) fn expected(trades: &[Trade]) -> Vec<[String; 6]> {
    const DECIMALS: usize = 12;
    let decimals = |text: &str| text.split_once('.').map_or(0, |(_, fraction)| fraction.len());
    let scaled = |text: &str| -> i128 {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        format!("{whole}{fraction:0<DECIMALS$}").parse().unwrap()
    };
    let mut moments: BTreeMap<i64, BTreeMap<u64, &Trade>> = BTreeMap::new();
    for trade in trades {
        moments.entry(trade.micros).or_default().insert(trade.number, trade);
    }
    let point = |(micros, group): (&i64, &BTreeMap<u64, &Trade>)| {
        let prices = || group.values().map(|trade| trade.price.as_str());
        let digits: usize = group.values().map(|trade| decimals(&trade.size)).max().unwrap();
        let sum: i128 = group.values().map(|trade| scaled(&trade.size)).sum();
        let sum = format!("{sum:0>width$}", width = DECIMALS + 1);
        let (whole, fraction) = sum.split_at(sum.len() - DECIMALS);
        let volume = format!("{whole}.{}", &fraction[..digits]).trim_end_matches('.').to_owned();
        let (at, last) = (Moment(*micros).to_string(), prices().next_back().unwrap().to_owned());
        if group.len() == 1 {
            return [at, last, String::new(), String::new(), String::new(), volume];
        }
        let (high, low) =
            (prices().max_by_key(|price| scaled(price)), prices().min_by_key(|price| scaled(price)));
        let [open, high, low] = [prices().next(), high, low].map(|price| price.unwrap().to_owned());
        [at, last, open, high, low, volume]
    };
    moments.iter().map(point).collect()
}

/// Waits until the points of a symbol are as expected; fails with the difference when they never are.
async fn agrees(app: &TestApp, symbol: &str, filter: &str, wanted: &[[String; 6]]) {
    let waiting = async {
        while points(app, symbol, filter).await != wanted {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    if tokio::time::timeout(PATIENCE, waiting).await.is_err() {
        let feeds = app.get("/ingest/feeds").await.text();
        assert_eq!(points(app, symbol, filter).await, wanted, "{symbol}: {feeds}");
    }
}

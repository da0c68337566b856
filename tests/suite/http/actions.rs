//! Corporate actions: once on the asset, for every holder, also when they are learned late.

mod figures;
mod late;
mod refusals;
mod series;
mod symbols;

use crate::support::{Backend, Reply, TestApp};
use serde_json::{Value, json};

/// A service with the market NYSE in New York, and these assets on it in dollars.
async fn service(backend: Backend, symbols: &[&str]) -> TestApp {
    let app = TestApp::start(backend).await;
    market(&app, "NYSE", "America/New_York").await;
    for symbol in symbols {
        asset(&app, symbol, "NYSE", &json!({})).await;
    }
    app
}

async fn market(app: &TestApp, code: &str, zone: &str) {
    let body = json!({ "code": code, "name": code, "market_type": "STOCK_EXCHANGE", "timezone": zone });
    app.post("/markets", &body).await.expect(201);
}

async fn asset(app: &TestApp, symbol: &str, market: &str, more: &Value) {
    let mut body = json!({ "symbol": symbol, "name": symbol, "asset_type": "STOCK", "market_code": market });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    app.post("/assets", &body).await.expect(201);
}

/// A portfolio opened on the first day of the year with 10,000, and these fields over it; returns its id.
async fn book(app: &TestApp, more: &Value) -> String {
    let mut body = json!({ "initial_capital": "10000", "opened_at": "2026-01-01" });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    app.portfolio(&body).await
}

/// A trade of ACME.
fn trade(kind: &str, quantity: &str, price: &str, executed_at: &str) -> Value {
    json!({ "type": kind, "symbol": "ACME", "quantity": quantity, "price": price, "executed_at": executed_at })
}

async fn enter(app: &TestApp, book: &str, entries: Value) -> Value {
    app.post(&format!("/portfolios/{book}/transactions"), &entries).await.expect(201)
}

async fn price(app: &TestApp, symbol: &str, price: &str, timestamp: &str, interval: Option<&str>) {
    let body = json!({ "symbol": symbol, "price": price, "timestamp": timestamp, "interval": interval });
    app.post("/prices", &body).await.expect(200);
}

async fn act(app: &TestApp, symbol: &str, body: &Value) -> Reply {
    app.post(&format!("/assets/{symbol}/actions"), body).await
}

fn split(ratio: &str, executed_at: &str) -> Value {
    json!({ "type": "split", "ratio": ratio, "executed_at": executed_at })
}

fn dividend(amount: &str, tax: &str, executed_at: &str) -> Value {
    json!({ "type": "dividend", "amount": amount, "tax": tax, "executed_at": executed_at })
}

async fn pnl(app: &TestApp, book: &str, query: &str) -> Value {
    app.get(&format!("/portfolios/{book}/pnl{query}")).await.expect(200)
}

/// Fields of the first item, or of the totals, as texts.
fn fields<'v, const N: usize>(value: &'v Value, names: [&str; N]) -> [&'v str; N] {
    names.map(|name| value[name].as_str().unwrap_or_else(|| panic!("{name} of {value}")))
}

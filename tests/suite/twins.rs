//! The same random script of calls on SQLite and on PostgreSQL: every answer is the same. After every few entries
//! the kept book is held against a fold of the whole ledger.

#![cfg(test)]

use crate::support::{Backend, Reply, TestApp};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::fmt::Write as _;

/// Calls of the script, reads that compare the two books apart.
const CALLS: usize = 520;
/// Seeds of the scripts; each is a world of its own.
const SEEDS: [u64; 2] = [11, 4_711];
const SYMBOLS: [&str; 5] = ["GOLD", "BTC-USD", "SAP", "LSE", "PERP"];

/// Knuth's MMIX generator: the same script at every run, without a dependency.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }

    fn one_of<'a, T: ?Sized>(&mut self, list: &[&'a T]) -> &'a T {
        list[usize::try_from(self.below(u64::try_from(list.len()).unwrap())).unwrap()]
    }

    fn pick(&mut self, list: &[usize]) -> usize {
        list[usize::try_from(self.below(u64::try_from(list.len()).unwrap())).unwrap()]
    }

    fn amount(&mut self) -> String {
        format!("{}.{:02}", 1 + self.below(900), self.below(100))
    }

    /// A moment of the last forty days, or a whole day among them.
    fn moment(&mut self) -> String {
        let day = 1 + self.below(28);
        let month = 10 + self.below(2);
        let (month, day) = if month == 11 { (11, day.min(22)) } else { (month, day) };
        if self.below(4) == 0 {
            return format!("2026-{month}-{day:02}");
        }
        format!("2026-{month}-{day:02}T{:02}:{:02}:00Z", self.below(24), self.below(60))
    }
}

/// One call: method, path, body. `{pN}`, `{tN}` and `{oN}` stand for ids that earlier answers gave.
type Call = (&'static str, String, Option<Value>);

/// Ids each side has learned, in the order they appeared.
#[derive(Default)]
struct Ids {
    portfolios: Vec<String>,
    transactions: Vec<(usize, String)>,
    actions: Vec<(String, String)>,
    positions: Vec<(usize, String)>,
    seen: HashMap<String, usize>,
}

/// The clock of both gives whole seconds. A stamp is some microseconds later when there were commits at that second before
/// it, and those that the service makes by itself (anchors, the last use of a key) are not at the same moment on both.
fn without_micros(text: &str) -> &str {
    let stamp = text.strip_suffix('Z').and_then(|text| text.rsplit_once('.'));
    let of_commits = |micros: &str| micros.len() == 6 && micros.starts_with("0000");
    stamp.filter(|(_, micros)| of_commits(micros)).map_or(text, |(seconds, _)| seconds)
}

impl Ids {
    /// Replaces every UUID in an answer by the order of its first appearance.
    fn plain(&mut self, value: Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.plain_text(&text)),
            Value::Array(list) => list.into_iter().map(|one| self.plain(one)).collect(),
            Value::Object(map) => map
                .into_iter()
                .filter(|(name, _)| name != "request_id")
                .map(|(k, v)| (k, self.plain(v)))
                .collect(),
            Value::Null | Value::Bool(_) | Value::Number(_) => value,
        }
    }

    fn plain_text(&mut self, text: &str) -> String {
        let mut out = String::new();
        let mut rest = without_micros(text);
        while let Some(at) = (0..rest.len().saturating_sub(35)).find(|at| {
            rest.get(*at..at + 36)
                .is_some_and(|part| part.as_bytes()[8] == b'-' && uuid::Uuid::parse_str(part).is_ok())
        }) {
            let next = self.seen.len();
            let number = *self.seen.entry(rest[at..at + 36].to_owned()).or_insert(next);
            out.push_str(&rest[..at]);
            write!(out, "#{number}").unwrap();
            rest = &rest[at + 36..];
        }
        out + rest
    }

    fn fill(&self, text: &str) -> String {
        let mut out = text.to_owned();
        for (n, id) in self.portfolios.iter().enumerate() {
            out = out.replace(&format!("{{p{n}}}"), id);
        }
        for (n, (_, id)) in self.transactions.iter().enumerate() {
            out = out.replace(&format!("{{t{n}}}"), id);
        }
        for (n, (_, id)) in self.actions.iter().enumerate() {
            out = out.replace(&format!("{{a{n}}}"), id);
        }
        for (n, (_, id)) in self.positions.iter().enumerate() {
            out = out.replace(&format!("{{o{n}}}"), id);
        }
        out
    }

    /// Learns ids from an answer to a call about the portfolio with this number.
    fn learn(&mut self, call: &Call, portfolio: usize, reply: &Reply) {
        let body = if reply.status.is_success() { reply.json() } else { return };
        if call.0 == "POST" && call.1 == "/portfolios" {
            self.portfolios.push(body["id"].as_str().unwrap().to_owned());
        }
        if let Some(asset) = call.1.strip_prefix("/assets/").and_then(|rest| rest.split('/').next()) {
            for one in [&body, &body["replacement"]].into_iter().filter(|one| one["executed_at"].is_string())
            {
                self.actions.push((asset.to_owned(), one["id"].as_str().unwrap().to_owned()));
            }
            return;
        }
        for one in body["transactions"].as_array().unwrap_or(&vec![body.clone()]) {
            if let (Some(id), true) = (one["id"].as_str(), one["executed_at"].is_string()) {
                self.transactions.push((portfolio, id.to_owned()));
            }
        }
        if let Some(id) = body["replacement"]["id"].as_str() {
            self.transactions.push((portfolio, id.to_owned()));
        }
        if let (Some(id), true) = (body["id"].as_str(), body["position_type"].is_string()) {
            self.positions.push((portfolio, id.to_owned()));
        }
    }
}

fn setting() -> Vec<Call> {
    let post = |path: &str, body: Value| ("POST", path.to_owned(), Some(body));
    let asset = |symbol: &str, kind: &str, market: &str, more: Value| {
        let mut body = json!({ "symbol": symbol, "name": symbol, "asset_type": kind, "market_code": market });
        for (name, value) in more.as_object().unwrap() {
            body[name] = value.clone();
        }
        post("/assets", body)
    };
    let book = |name: &str, more: Value| {
        let mut body = json!({ "name": name, "owner_id": "tester", "initial_capital": "250000.50", "opened_at": "2026-09-01" });
        for (field, value) in more.as_object().unwrap() {
            body[field] = value.clone();
        }
        post("/portfolios", body)
    };
    let market = |code: &str, zone: &str| {
        post("/markets", json!({ "code": code, "name": code, "market_type": "OTC", "timezone": zone }))
    };
    let rate = |base: &str, quote: &str, rate: &str| {
        post(
            "/fx",
            json!({ "base": base, "quote": quote, "rate": rate, "timestamp": "2026-09-01T00:00:00Z" }),
        )
    };
    vec![
        market("COMEX", "America/New_York"),
        market("XETRA", "Europe/Berlin"),
        asset("GOLD", "COMMODITY", "COMEX", json!({})),
        asset("BTC-USD", "CRYPTOCURRENCY", "COMEX", json!({ "stale_after": 3600 })),
        asset("SAP", "STOCK", "XETRA", json!({ "currency": "EUR" })),
        asset("LSE", "STOCK", "XETRA", json!({ "currency": "GBp" })),
        asset("PERP", "FUTURE", "COMEX", json!({ "multiplier": "10", "margined": true })),
        rate("EUR", "USD", "1.1"),
        rate("EUR", "GBP", "0.87"),
        book("dollars", json!({})),
        book(
            "euros",
            json!({ "base_currency": "EUR", "time_zone": "Europe/Zurich", "conventions": { "cost_basis": "average" } }),
        ),
        book(
            "shorts",
            json!({ "conventions": { "short": "allowed", "fees": "separate", "cost_basis": "lifo" } }),
        ),
    ]
}

/// A ledger entry of any type, sometimes a wrong one.
fn entry(dice: &mut Dice) -> Value {
    let kinds = [
        "buy",
        "buy",
        "buy",
        "sell",
        "sell",
        "deposit",
        "withdrawal",
        "dividend",
        "interest",
        "fee",
        "tax",
        "split",
        "transfer_in",
        "transfer_out",
        "transfer",
        "fx",
    ];
    let kind = dice.one_of(&kinds);
    let mut body = json!({ "type": kind, "executed_at": dice.moment() });
    let symbol = dice.one_of(&SYMBOLS);
    match kind {
        "buy" | "sell" | "transfer_in" => {
            body["symbol"] = json!(symbol);
            body["quantity"] = json!(dice.amount());
            body["price"] = json!(dice.amount());
            body["fee"] = json!(dice.amount());
        }
        "transfer_out" => {
            body["symbol"] = json!(symbol);
            body["quantity"] = json!("1.5");
        }
        "transfer" => {
            body["symbol"] = json!(symbol);
            body["quantity"] = json!("0.5");
            body["to_account"] = json!("second");
        }
        "dividend" => {
            body["symbol"] = json!(symbol);
            body["amount"] = json!(dice.amount());
            body["tax"] = json!("0.25");
        }
        "split" => {
            body["symbol"] = json!(symbol);
            body["ratio_num"] = json!((1 + dice.below(3)).to_string());
            body["ratio_den"] = json!((1 + dice.below(2)).to_string());
        }
        "fx" => {
            body["amount"] = json!(dice.amount());
            body["currency"] = json!("USD");
            body["to_amount"] = json!(dice.amount());
            body["to_currency"] = json!("EUR");
        }
        _ => {
            body["amount"] = json!(dice.amount());
            body["currency"] = json!(dice.one_of(&["USD", "EUR", "GBp"]));
        }
    }
    match dice.below(20) {
        0 => body["quantity"] = json!("-1"),
        1 => body["price"] = json!("1e400"),
        2 => body["executed_at"] = json!("2026-02-30"),
        3 => body["external_id"] = json!(format!("x{}", dice.below(6))),
        4 => body["nonsense"] = json!(true),
        _ => {}
    }
    body
}

/// A split or dividend of an asset, for every holder.
fn action(dice: &mut Dice) -> Value {
    let executed_at = dice.moment();
    if dice.below(2) == 0 {
        let (num, den) = ((1 + dice.below(3)).to_string(), (1 + dice.below(3)).to_string());
        return json!({ "type": "split", "ratio_num": num, "ratio_den": den, "executed_at": executed_at });
    }
    json!({ "type": "dividend", "amount": dice.amount(), "currency": dice.one_of(&["USD", "EUR", "GBp"]), "executed_at": executed_at })
}

/// Records a corporate action, or voids one.
fn action_call(dice: &mut Dice, ids: &Ids) -> Call {
    let known: Vec<usize> = (0..ids.actions.len()).collect();
    if known.is_empty() || dice.below(4) != 0 {
        return ("POST", format!("/assets/{}/actions", dice.one_of(&SYMBOLS)), Some(action(dice)));
    }
    let n = dice.pick(&known);
    let body = if dice.below(2) == 0 { json!({}) } else { json!({ "replacement": action(dice) }) };
    ("POST", format!("/assets/{}/actions/{{a{n}}}/void", ids.actions[n].0), Some(body))
}

/// The next call, and the number of the portfolio it is about.
fn next_call(dice: &mut Dice, ids: &Ids) -> (Call, usize) {
    let p = usize::try_from(dice.below(u64::try_from(ids.portfolios.len()).unwrap())).unwrap();
    let base = format!("/portfolios/{{p{p}}}");
    let own = |list: &[(usize, String)]| -> Vec<usize> {
        list.iter().enumerate().filter(|(_, (portfolio, _))| *portfolio == p).map(|(n, _)| n).collect()
    };
    let transactions = own(&ids.transactions);
    let positions = own(&ids.positions);
    let symbol = dice.one_of(&SYMBOLS);
    let call: Call = match dice.below(30) {
        26..=29 => action_call(dice, ids),
        0..=6 => ("POST", format!("{base}/transactions"), Some(entry(dice))),
        7 => ("POST", format!("{base}/transactions"), Some(json!([entry(dice), entry(dice)]))),
        8 | 9 if !transactions.is_empty() => {
            let body = if dice.below(2) == 0 {
                json!({ "reason": "wrong" })
            } else {
                json!({ "replacement": entry(dice) })
            };
            ("POST", format!("{base}/transactions/{{t{}}}/void", dice.pick(&transactions)), Some(body))
        }
        10..=12 => {
            let side = dice.one_of(&["LONG", "LONG", "SHORT", "SIDEWAYS"]);
            let body = json!({ "asset_symbol": symbol, "position_type": side, "quantity": dice.amount(), "price": "7.5" });
            ("POST", format!("{base}/positions"), Some(body))
        }
        13 if !positions.is_empty() => {
            let deed = dice.one_of(&["close", "reduce"]);
            let body = json!({ "quantity": dice.amount(), "price": dice.amount() });
            ("POST", format!("{base}/positions/{{o{}}}/{deed}", dice.pick(&positions)), Some(body))
        }
        14 if !positions.is_empty() => {
            ("GET", format!("{base}/positions/{{o{}}}", dice.pick(&positions)), None)
        }
        15 | 16 => {
            let mut body = json!({ "symbol": symbol, "price": dice.amount(), "timestamp": dice.moment() });
            if dice.below(2) == 0 {
                body["interval"] = json!("1d");
            }
            ("POST", "/prices".to_owned(), Some(body))
        }
        17 => {
            let rate = format!("1.{:03}", dice.below(1000));
            let body = json!({ "base": "EUR", "quote": dice.one_of(&["USD", "GBP"]), "rate": rate, "timestamp": dice.moment() });
            ("POST", "/fx".to_owned(), Some(body))
        }
        18 => ("GET", format!("{base}/pnl?as_of={}&by=lot", dice.moment()), None),
        19 => (
            "GET",
            format!("{base}/pnl?cost_basis={}&by=account", dice.one_of(&["fifo", "lifo", "hifo", "average"])),
            None,
        ),
        20 => ("GET", format!("{base}/transactions?limit=7&voided=true"), None),
        21 => ("GET", format!("/prices?symbol={symbol}&limit=5"), None),
        22 => (
            "GET",
            dice.one_of(&["/markets", "/assets?q=s", "/portfolios", "/prices/latest?symbols=GOLD,SAP"])
                .to_owned(),
            None,
        ),
        23 => {
            ("PATCH", format!("/assets/{symbol}"), Some(json!({ "name": dice.amount(), "multiplier": "2" })))
        }
        24 => {
            let method = dice.one_of(&["fifo", "average", "hifo"]);
            ("PATCH", base, Some(json!({ "conventions": { "cost_basis": method } })))
        }
        _ => ("GET", format!("{base}/positions"), None),
    };
    (call, p)
}

async fn send(app: &TestApp, ids: &Ids, call: &Call) -> Reply {
    let (method, path, body) = call;
    let body = body.as_ref().map(ToString::to_string).unwrap_or_default();
    app.send(method, &ids.fill(path), &[("content-type", "application/json")], body.as_bytes()).await
}

/// Leaves out what differs because one read names a moment and the other does not.
fn without_the_question(value: Value) -> Value {
    match value {
        Value::Object(map) => map
            .into_iter()
            .filter(|(name, _)| !["as_of", "age", "stale", "at"].contains(&name.as_str()))
            .map(|(name, value)| (name, without_the_question(value)))
            .collect(),
        Value::Array(list) => list.into_iter().map(without_the_question).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value,
    }
}

/// The kept book says what a fold of the whole ledger says.
async fn check_kept_book(app: &TestApp, id: &str) {
    for path in ["", "/pnl", "/pnl?by=account", "/pnl?by=lot", "/positions"] {
        let joint = if path.contains('?') { '&' } else { '?' };
        let kept = app.get(&format!("/portfolios/{id}{path}")).await.expect(200);
        let whole =
            app.get(&format!("/portfolios/{id}{path}{joint}as_of=9999-12-31T00:00:00Z")).await.expect(200);
        assert_eq!(without_the_question(kept), without_the_question(whole), "{path} of {id}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_databases_give_the_same_answers_and_the_kept_book_is_the_whole_fold() {
    for seed in SEEDS {
        let apps = [TestApp::start(Backend::Sqlite).await, TestApp::start(Backend::Postgres).await];
        let mut ids = [Ids::default(), Ids::default()];
        let mut dice = Dice(seed);
        let mut setting = setting().into_iter();
        let mut accepted = 0;
        for number in 0..CALLS {
            for (app, at) in apps.iter().zip([number; 2]) {
                app.set_clock(&format!(
                    "2026-11-23T{:02}:{:02}:{:02}Z",
                    12 + at / 3600,
                    at / 60 % 60,
                    at % 60
                ));
            }
            let (call, portfolio) = match setting.next() {
                Some(call) => (call, 0),
                None => next_call(&mut dice, &ids[0]),
            };
            let left = send(&apps[0], &ids[0], &call).await;
            let right = send(&apps[1], &ids[1], &call).await;
            assert!(
                left.status.as_u16() < 500,
                "call {number} {call:?}: {}",
                String::from_utf8_lossy(&left.body)
            );
            let bodies = [ids[0].plain(left.json()), ids[1].plain(right.json())];
            assert_eq!(left.status, right.status, "call {number} {call:?}: {bodies:?}");
            assert_eq!(bodies[0], bodies[1], "call {number} {call:?}");
            ids[0].learn(&call, portfolio, &left);
            ids[1].learn(&call, portfolio, &right);
            accepted += usize::from(call.0 != "GET" && left.status.is_success());
            if number % 25 == 24 {
                for (app, ids) in apps.iter().zip(&ids) {
                    check_kept_book(app, &ids.portfolios[portfolio]).await;
                }
            }
        }
        // A script that is refused most of the time would prove nothing.
        assert!(accepted > CALLS / 4, "only {accepted} of {CALLS} calls changed something");
        for app in apps {
            app.stop().await;
        }
    }
}

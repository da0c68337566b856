//! Random scripts of API calls, from a fixed seed, and a service they are played to. Ids appear in a script as
//! `<n>`, counted in the order in which the service first named them.

use crate::support::TestApp;
use artifact::domain::moment::{HOUR, Moment};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// `SplitMix64`: small, and the same everywhere.
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % end
    }

    pub(super) fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    pub(super) fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[usize::try_from(self.below(u64::try_from(from.len()).unwrap())).unwrap()].clone()
    }

    /// A decimal with up to three decimals.
    pub(super) fn number(&mut self, end: u64) -> String {
        let (whole, part) = (self.below(end), self.below(1000));
        if self.chance(50) { (whole + 1).to_string() } else { format!("{whole}.{part:03}") }
    }
}

/// One call: method, path and body, with ids as `<n>`.
#[derive(Debug, Clone)]
pub(super) struct Call(pub(super) &'static str, pub(super) String, pub(super) Value);

/// A service with the ids it has named.
pub(super) struct Player {
    pub(super) app: TestApp,
    known: BTreeMap<String, usize>,
    names: Vec<String>,
}

impl Player {
    pub(super) fn new(app: TestApp) -> Self {
        Self { app, known: BTreeMap::new(), names: Vec::new() }
    }

    fn actual(&self, text: &str) -> String {
        let mut parts = text.split('<');
        let mut out = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let (number, rest) = part.split_once('>').unwrap();
            out.push_str(&self.names[number.parse::<usize>().unwrap()]);
            out.push_str(rest);
        }
        out
    }

    fn numbered(&mut self, text: &str) -> String {
        let (mut out, mut rest) = (String::with_capacity(text.len()), text);
        while let Some(first) = rest.chars().next() {
            let id =
                rest.get(..36).filter(|id| id.as_bytes()[8] == b'-' && uuid::Uuid::parse_str(id).is_ok());
            if let Some(id) = id {
                let next = self.known.len();
                let number = *self.known.entry(id.to_owned()).or_insert(next);
                if number == next {
                    self.names.push(id.to_owned());
                }
                write!(out, "<{number}>").unwrap();
                rest = &rest[36..];
            } else {
                out.push(first);
                rest = &rest[first.len_utf8()..];
            }
        }
        out
    }

    /// Status, `Location`, `Link`, and body of the answer, with ids as `<n>`.
    pub(super) async fn play(&mut self, call: &Call) -> (u16, String) {
        let Call(method, path, body) = call;
        let (path, body) = (self.actual(path), self.actual(&body.to_string()));
        let kind: &[(&str, &str)] = &[("content-type", "application/json")];
        let reply = match *method {
            "GET" | "DELETE" => self.app.send(method, &path, &[], b"").await,
            _ => self.app.send(method, &path, kind, body.as_bytes()).await,
        };
        let header = |name: &str| reply.headers.get(name).map(|value| value.to_str().unwrap().to_owned());
        let heads = [header("location"), header("link"), header("allow")];
        let text = format!("{heads:?}\n{}", String::from_utf8_lossy(&reply.body));
        (reply.status.as_u16(), self.numbered(&text))
    }

    pub(super) fn pass(&self, micros: i64) {
        self.app.clock.set(self.app.clock.now().plus(micros));
    }
}

/// What a script knows of the service it is written for.
pub(super) struct Script {
    pub(super) dice: Dice,
    pub(super) portfolios: Vec<String>,
    pub(super) transactions: Vec<(String, String)>,
    positions: Vec<(String, String)>,
    actions: Vec<(String, String)>,
    now: Moment,
}

pub(super) const SYMBOLS: [&str; 5] = ["GOLD", "DAX", "OIL", "XBT", "PENNY"];
const ACCOUNTS: [&str; 2] = ["main", "b"];

/// The market and the assets every script trades: a share, one in euros, a future, an inverse contract and one
/// quoted in pence.
pub(super) fn reference() -> Vec<Call> {
    let market = json!({ "code": "X", "name": "X", "market_type": "OTC", "timezone": "Europe/Berlin" });
    let mut calls = vec![Call("POST", "/markets".to_owned(), market)];
    for (symbol, fields) in SYMBOLS.iter().zip([
        json!({}),
        json!({ "currency": "EUR" }),
        json!({ "margined": true, "multiplier": 100, "allows_negative_price": true }),
        json!({ "inverse": true, "settlement": "BTC" }),
        json!({ "currency": "GBp", "stale_after": 3600 }),
    ]) {
        let mut body = json!({ "symbol": symbol, "name": symbol, "asset_type": "STOCK", "market_code": "X" });
        body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        calls.push(Call("POST", "/assets".to_owned(), body));
    }
    for (base, rate) in [("EUR", "1.1"), ("BTC", "40000"), ("GBP", "1.25")] {
        let body = json!({ "base": base, "quote": "USD", "rate": rate, "timestamp": "2025-12-01" });
        calls.push(Call("POST", "/fx".to_owned(), body));
    }
    calls
}

impl Script {
    pub(super) fn new(seed: u64) -> Self {
        let (portfolios, transactions, positions, actions) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { dice: Dice(seed), portfolios, transactions, positions, actions, now: Moment(0) }
    }

    /// Learns the ids an answer names.
    pub(super) fn learn(&mut self, call: &Call, now: Moment, (status, answer): &(u16, String)) {
        self.now = now;
        let Some(body) =
            answer.split_once('\n').and_then(|(_, body)| serde_json::from_str::<Value>(body).ok())
        else {
            return;
        };
        if !(200..300).contains(status) || call.0 != "POST" {
            return;
        }
        let id = |value: &Value| value["id"].as_str().map(str::to_owned);
        let portfolio = call.1.split('/').nth(2).unwrap_or_default().to_owned();
        if call.1.starts_with("/assets/") {
            let named =
                [&body, &body["replacement"]].into_iter().filter(|one| one["executed_at"].is_string());
            self.actions.extend(named.filter_map(id).map(|id| (portfolio.clone(), id)));
            return;
        }
        let mut entries = vec![body["transaction"].clone(), body["replacement"].clone()];
        if call.1 == "/portfolios" {
            self.portfolios.extend(id(&body));
        } else if call.1.ends_with("/transactions") {
            entries.push(body.clone());
            entries.extend(body["transactions"].as_array().into_iter().flatten().cloned());
        } else if call.1.ends_with("/positions") {
            self.positions.extend(id(&body).map(|id| (portfolio.clone(), id)));
        }
        for entry in entries.iter().filter_map(id) {
            self.transactions.push((portfolio.clone(), entry));
        }
    }

    /// Now, a while ago, or some day of the year.
    fn moment(&mut self) -> Value {
        match self.dice.below(10) {
            0..=3 => Value::Null,
            4 => json!(self.now.to_string()),
            5 => json!(self.now.plus(-HOUR * i64::try_from(self.dice.below(48)).unwrap()).to_string()),
            6 => {
                json!(format!("2026-{:02}-{:02}T12:00:00Z", 1 + self.dice.below(11), 1 + self.dice.below(28)))
            }
            _ => json!(format!("2026-{:02}-{:02}", 1 + self.dice.below(11), 1 + self.dice.below(20))),
        }
    }

    fn price_of(&mut self, symbol: &str) -> String {
        let end = if symbol == "XBT" { 50_000 } else { 100 };
        self.dice.number(end)
    }

    /// One ledger entry of any type.
    pub(super) fn entry(&mut self) -> Value {
        let symbol = self.dice.pick(&SYMBOLS);
        let (quantity, price) = (self.dice.number(20), self.price_of(symbol));
        let (amount, fee) = (self.dice.number(500), self.dice.number(3));
        let account = self.dice.pick(&ACCOUNTS);
        let other = if account == "main" { "b" } else { "main" };
        let mut entry = match self.dice.below(20) {
            0..=6 => json!({ "type": "buy", "symbol": symbol, "quantity": quantity, "price": price }),
            7..=11 => json!({ "type": "sell", "symbol": symbol, "quantity": quantity, "price": price }),
            12 => {
                json!({ "type": "deposit", "amount": amount, "currency": self.dice.pick(&["USD", "EUR", "CHF"]) })
            }
            13 => json!({ "type": "withdrawal", "amount": amount }),
            14 => json!({ "type": "dividend", "symbol": symbol, "amount": amount, "tax": fee }),
            15 => {
                let kind = self.dice.pick(&["interest", "fee", "tax"]);
                json!({ "type": kind, "amount": amount })
            }
            16 => {
                json!({ "type": "split", "symbol": symbol, "ratio": self.dice.pick(&["2", "0.5", "1.5", "3"]) })
            }
            17 => {
                let kind = self.dice.pick(&["transfer_in", "transfer_out"]);
                let mut entry = json!({ "type": kind, "symbol": symbol, "quantity": quantity });
                if kind == "transfer_in" {
                    entry["price"] = json!(price);
                }
                entry
            }
            18 if self.dice.chance(50) => {
                json!({ "type": "transfer", "amount": amount, "to_account": other })
            }
            18 => json!({ "type": "transfer", "symbol": symbol, "quantity": quantity, "to_account": other }),
            _ => {
                json!({ "type": "fx", "amount": amount, "currency": "USD", "to_amount": price, "to_currency": "EUR" })
            }
        };
        entry["account"] = json!(account);
        entry["executed_at"] = self.moment();
        if ["buy", "sell"].contains(&entry["type"].as_str().unwrap()) && self.dice.chance(40) {
            entry["fee"] = json!(fee);
            entry["tax"] = json!(self.dice.number(2));
        }
        if self.dice.chance(15) {
            entry["external_id"] = json!(format!("e{}", self.dice.below(12)));
        }
        entry
    }

    /// A split or dividend of an asset, for every holder.
    fn action(&mut self) -> Value {
        let mut action = if self.dice.chance(50) {
            json!({ "type": "split", "ratio": self.dice.pick(&["2", "0.5", "1.5", "3", "0.1"]) })
        } else {
            json!({ "type": "dividend", "amount": self.dice.number(3), "tax": "0.001",
                "currency": self.dice.pick(&["USD", "EUR", "GBP"]) })
        };
        let moment = self.moment();
        action["executed_at"] = if moment.is_null() { json!(self.now.to_string()) } else { moment };
        action
    }

    /// A call that records or voids a corporate action.
    fn action_call(&mut self) -> Call {
        if !self.actions.is_empty() && self.dice.chance(40) {
            let (symbol, id) = self.dice.pick(&self.actions);
            let mut body = json!({ "reason": "wrong" });
            if self.dice.chance(50) {
                body["replacement"] = self.action();
            }
            return Call("POST", format!("/assets/{symbol}/actions/{id}/void"), body);
        }
        let symbol = self.dice.pick(&SYMBOLS);
        Call("POST", format!("/assets/{symbol}/actions"), self.action())
    }

    /// A call that changes a portfolio's ledger, or what its figures are made of.
    pub(super) fn ledger_call(&mut self, portfolio: &str) -> Call {
        let at = |path: &str| format!("/portfolios/{portfolio}{path}");
        let own = |list: &[(String, String)]| -> Vec<String> {
            list.iter().filter(|(of, _)| of == portfolio).map(|(_, id)| id.clone()).collect()
        };
        let (transactions, positions) = (own(&self.transactions), own(&self.positions));
        let symbol = self.dice.pick(&SYMBOLS);
        match self.dice.below(23) {
            20..=22 => self.action_call(),
            0..=8 => Call("POST", at("/transactions"), self.entry()),
            9 => Call("POST", at("/transactions"), (0..3).map(|_| self.entry()).collect()),
            10..=11 if !transactions.is_empty() => {
                let mut body = json!({ "reason": "wrong" });
                if self.dice.chance(60) {
                    body["replacement"] = self.entry();
                }
                Call("POST", at(&format!("/transactions/{}/void", self.dice.pick(&transactions))), body)
            }
            12..=13 => {
                let body = json!({ "asset_symbol": symbol, "position_type": self.dice.pick(&["LONG", "SHORT"]),
                    "quantity": self.dice.number(5), "price": self.price_of(symbol), "account": self.dice.pick(&ACCOUNTS) });
                Call("POST", at("/positions"), body)
            }
            14..=15 if !positions.is_empty() => {
                let action = self.dice.pick(&["close", "reduce"]);
                let mut body = json!({ "price": self.price_of(symbol) });
                if action == "reduce" || self.dice.chance(30) {
                    body["quantity"] = json!(self.dice.number(4));
                }
                Call("POST", at(&format!("/positions/{}/{action}", self.dice.pick(&positions))), body)
            }
            16 => {
                let body = json!({ "base": self.dice.pick(&["EUR", "BTC", "GBP"]), "quote": "USD",
                    "rate": self.dice.number(60), "timestamp": self.moment() });
                Call("POST", "/fx".to_owned(), body)
            }
            17 if self.dice.chance(30) => {
                let (name, value) = self.dice.pick(&[
                    ("cost_basis", "average"),
                    ("cost_basis", "hifo"),
                    ("cost_basis", "fifo"),
                    ("fees", "separate"),
                    ("lot_scope", "global"),
                    ("lot_scope", "account"),
                    ("taxes", "in_cost"),
                    ("short", "allowed"),
                ]);
                Call("PATCH", at(""), json!({ "conventions": { name: value } }))
            }
            17 if self.dice.chance(30) => {
                let body = json!({ "multiplier": 1 + self.dice.below(3), "effective_at": self.dice.pick(&["beginning", "2026-05-01T00:00:00Z"]) });
                Call("PATCH", format!("/assets/{symbol}"), body)
            }
            _ => {
                let body = json!({ "symbol": symbol, "price": self.price_of(symbol), "timestamp": self.moment(),
                    "source": self.dice.pick(&["api", "other"]) });
                Call("POST", "/prices".to_owned(), body)
            }
        }
    }
}

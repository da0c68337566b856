//! Writers that post mixed writes until the service is gone, and the check of what it kept of them.
//!
//! Everything a writer does is told apart by its moment: each ledger row has an `executed_at` of its own, each
//! price an `observed_at` of its own. What a ledger amounts to is computed here, from what was sent.

use super::{Api, Broken};
use artifact::domain::decimal::Decimal;
use artifact::domain::moment::{DAY, Moment};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const SYMBOLS: [&str; 2] = ["GOLD", "BTC-USD"];
const CAPITAL: &str = "1000000000";
/// Most writes of one writer in one round.
const WRITES: usize = 2_000;
/// Longest round.
const LONGEST: Duration = Duration::from_secs(4);
/// 2026-01-01, in microseconds.
const BASE: i64 = 20_454 * DAY;

/// Numbers that look like chance and are the same in every run.
#[derive(Debug)]
pub(super) struct Chance(u64);

impl Chance {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(0x1234_5678_9ABC_DEF1))
    }

    /// A number below `limit`.
    pub(super) fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }

    /// A decimal above zero with two decimals.
    fn amount(&mut self, most: u64) -> Decimal {
        Decimal::new(i128::from(self.below(most * 100) + 1), 2)
    }
}

/// A row of a ledger as it was sent.
#[derive(Debug, Clone)]
struct Row {
    at: String,
    body: Value,
    /// What it does to the cash of the portfolio.
    cash: Decimal,
    fee: Decimal,
    /// Deposits less withdrawals.
    contributed: Decimal,
}

/// What a write does.
#[derive(Debug, Clone)]
enum Effect {
    Rows(Vec<Row>),
    Price { symbol: usize, at: String, price: Decimal },
    Portfolio { name: String },
}

/// A write, and what came back.
#[derive(Debug)]
struct Write {
    key: String,
    path: String,
    body: Value,
    effect: Effect,
    /// The answer; `None` when none came.
    answer: Option<Value>,
    /// It was answered that nothing was done.
    refused: bool,
    /// It was sent, and no answer came.
    cut_off: bool,
}

/// One client with a ledger of its own.
#[derive(Debug)]
struct Writer {
    number: u64,
    round: u64,
    chance: Chance,
    ledger: String,
    next: u64,
    held: [Decimal; 2],
    writes: Vec<Write>,
}

impl Writer {
    /// A moment nobody else uses.
    fn moment(&mut self) -> String {
        self.next += 1;
        let seconds = i64::try_from(self.next).unwrap();
        Moment(BASE + seconds * 1_000_000 + i64::try_from(self.number).unwrap()).to_string()
    }

    /// A buy, a sale of what is held, a deposit or a withdrawal.
    fn row(&mut self) -> Row {
        let at = self.moment();
        let external_id = format!("w{}-{}", self.number, self.next);
        let symbol = usize::try_from(self.chance.below(2)).unwrap();
        let (kind, cash) = match self.chance.below(8) {
            0 => ("deposit", self.chance.amount(5_000)),
            1 => ("withdrawal", -self.chance.amount(50)),
            2 | 3 if self.held[symbol] > Decimal::ONE => ("sell", Decimal::ZERO),
            _ => ("buy", Decimal::ZERO),
        };
        if cash.is_zero() {
            let quantity = if kind == "sell" { self.chance.amount(1) } else { self.chance.amount(9) };
            let (price, fee) = (self.chance.amount(3_000), self.chance.amount(3));
            let body = json!({ "type": kind, "executed_at": at, "symbol": SYMBOLS[symbol], "quantity": quantity,
                "price": price, "fee": fee, "external_id": external_id, "note": "load" });
            return self.trade(at, body, symbol, if kind == "sell" { -quantity } else { quantity });
        }
        let body =
            json!({ "type": kind, "executed_at": at, "amount": cash.abs(), "external_id": external_id });
        Row { at, body, contributed: cash.clone(), cash, fee: Decimal::ZERO }
    }

    /// Takes a trade into the books of the test; `signed` is what it adds to the holding.
    fn trade(&mut self, at: String, body: Value, symbol: usize, signed: Decimal) -> Row {
        let number = |field: &str| Decimal::parse_input(body[field].as_str().unwrap()).unwrap();
        let fee = number("fee");
        self.held[symbol] += &signed;
        let cash = -(signed * number("price")) - &fee;
        Row { at, body, cash, fee, contributed: Decimal::ZERO }
    }

    /// The next write, as chance has it.
    fn think(&mut self) -> Write {
        let ledger = format!("/portfolios/{}/transactions", self.ledger);
        let (path, body, effect) = match self.chance.below(10) {
            0..3 => self.price(),
            3 => {
                let at = self.moment();
                let (quantity, price) = (self.chance.amount(5), self.chance.amount(2_000));
                let body = json!({ "asset_symbol": "GOLD", "position_type": "LONG", "quantity": quantity,
                    "price": price, "fee": "0.25", "executed_at": at });
                let row = self.trade(at, body.clone(), 0, quantity);
                (format!("/portfolios/{}/positions", self.ledger), body, Effect::Rows(vec![row]))
            }
            4 => {
                self.next += 1;
                let name = format!("made-{}-{}-{}", self.round, self.number, self.next);
                let capital = self.chance.amount(9_000);
                let body = json!({ "name": name, "owner_id": "load", "initial_capital": capital });
                ("/portfolios".to_owned(), body, Effect::Portfolio { name })
            }
            5..8 => {
                let row = self.row();
                (ledger, row.body.clone(), Effect::Rows(vec![row]))
            }
            _ => {
                let rows: Vec<Row> = (0..2 + self.chance.below(6)).map(|_| self.row()).collect();
                let body = rows.iter().map(|row| row.body.clone()).collect();
                (ledger, body, Effect::Rows(rows))
            }
        };
        let key = format!("key-{}-{}", self.number, self.writes.len());
        Write { key, path, body, effect, answer: None, refused: false, cut_off: false }
    }

    /// A new price, or another value for one that was sent before.
    fn price(&mut self) -> (String, Value, Effect) {
        let earlier = self.writes.iter().rev().find_map(|write| match &write.effect {
            Effect::Price { symbol, at, .. } => Some((*symbol, at.clone())),
            Effect::Rows(_) | Effect::Portfolio { .. } => None,
        });
        let fresh = (usize::try_from(self.chance.below(2)).unwrap(), self.moment());
        let (symbol, at) = earlier.filter(|_| self.chance.below(4) == 0).unwrap_or(fresh);
        let price = self.chance.amount(4_000);
        let body = json!({ "symbol": SYMBOLS[symbol], "price": price, "timestamp": at, "source": "load" });
        ("/prices".to_owned(), body, Effect::Price { symbol, at, price })
    }

    /// Writes until an answer stays away. A hasty writer now and then hangs up before the answer has come: what
    /// it asked for may be done all the same.
    async fn work(mut self, api: Api, hasty: bool, answers: Arc<AtomicU64>) -> Self {
        self.round += 1;
        for _ in 0..WRITES {
            let mut write = self.think();
            let asked = api.post_keyed(&write.path, &write.key, &write.body);
            let reply = if hasty && self.chance.below(10) == 0 {
                let patience = Duration::from_micros(500 + self.chance.below(12_000));
                tokio::time::timeout(patience, asked).await.unwrap_or(Err(Broken::CutOff))
            } else {
                asked.await
            };
            write.cut_off = matches!(reply, Err(Broken::CutOff));
            if let Ok(reply) = &reply {
                write.refused = reply.status == 503;
                assert!(
                    reply.status.is_success() || write.refused,
                    "{}: {}",
                    write.body,
                    String::from_utf8_lossy(&reply.body)
                );
                write.answer = Some(reply.json()).filter(|_| !write.refused);
            }
            let go_on = write.answer.is_some();
            answers.fetch_add(u64::from(go_on), Ordering::SeqCst);
            self.writes.push(write);
            if !go_on {
                break;
            }
        }
        self
    }

    /// Compares a ledger with what was sent to it; says which writes without an answer are in it.
    async fn compare_ledger(&self, api: &Api) -> Vec<bool> {
        let path = format!("/portfolios/{}/transactions?limit=300", self.ledger);
        let mut there: BTreeMap<String, Value> = BTreeMap::new();
        for row in api.every(&path).await {
            let at = row["executed_at"].as_str().unwrap().to_owned();
            let twice = there.insert(at, row);
            assert!(twice.is_none(), "doubled: {twice:?}");
        }
        let opening = there.pop_first().expect("the opening deposit").1;
        assert_eq!((opening["type"].as_str(), opening["amount"].as_str()), (Some("deposit"), Some(CAPITAL)));
        let mut kept = Vec::new();
        for write in &self.writes {
            let Effect::Rows(rows) = &write.effect else { continue };
            let found: Vec<Value> = rows.iter().filter_map(|row| there.remove(&row.at)).collect();
            assert!(found.is_empty() || found.len() == rows.len(), "half a batch: {write:?}");
            if let Some(answer) = &write.answer {
                assert_eq!(found, acknowledged(answer), "an answered write changed or went");
            } else {
                assert!(found.is_empty() || !write.refused, "refused, and done all the same: {write:?}");
                kept.push(!found.is_empty());
            }
        }
        assert!(there.is_empty(), "nobody sent {there:?}");
        kept
    }

    /// Compares the totals of the ledger with a calculation of its own.
    async fn compare_totals(&self, api: &Api, marks: &[Decimal; 2]) {
        let rows = self.writes.iter().flat_map(|write| match &write.effect {
            Effect::Rows(rows) => rows.as_slice(),
            Effect::Price { .. } | Effect::Portfolio { .. } => &[],
        });
        let capital = Decimal::parse_input(CAPITAL).unwrap();
        let (mut cash, mut fees, mut contributed) = (capital.clone(), Decimal::ZERO, capital);
        for row in rows {
            cash += &row.cash;
            fees += &row.fee;
            contributed += &row.contributed;
        }
        let value = &self.held[0] * &marks[0] + &self.held[1] * &marks[1];
        let read = api.get(&format!("/portfolios/{}", self.ledger)).await.expect(200);
        let performance = &read["performance"];
        let figure = |name: &str| -> Decimal { performance[name].as_str().unwrap().parse().unwrap() };
        let gain = &cash + &value - &contributed;
        for (name, wanted) in [
            ("cash", &cash),
            ("current_capital", &cash),
            ("fees", &fees),
            ("total_market_value", &value),
            ("net_contributions", &contributed),
            ("total_value", &(&cash + &value)),
            ("total_pnl", &gain),
        ] {
            assert_eq!(&figure(name), wanted, "{name} of {performance}");
        }
        assert_eq!(figure("realized_pnl") + figure("unrealized_pnl"), gain, "{performance}");
        let open = self.held.iter().filter(|held| !held.is_zero()).count();
        assert_eq!(performance["open_positions"], open, "{performance}");
    }
}

/// The rows of an answer, as a list shows them.
fn acknowledged(answer: &Value) -> Vec<Value> {
    let one = |row: &Value| {
        let mut row = row.clone();
        for extra in ["success", "outcome"] {
            row.as_object_mut().unwrap().shift_remove(extra);
        }
        row
    };
    match (&answer["transactions"], &answer["transaction"]) {
        (Value::Array(rows), _) => rows.iter().map(one).collect(),
        (_, row @ Value::Object(_)) => vec![one(row)],
        _ => vec![one(answer)],
    }
}

/// How long the writers are let alone.
#[derive(Debug, Clone, Copy)]
pub(super) struct Round {
    /// The first so many writers are hasty.
    pub(super) hasty: u64,
    /// Until so many writes are answered,
    pub(super) answers: u64,
    /// and then this much longer.
    pub(super) pause: Duration,
}

/// What a round came to.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Writes answered so far.
    pub(super) answered: usize,
    /// Writes without an answer that were found done.
    pub(super) kept: usize,
    /// Writes without an answer that were found undone.
    pub(super) lost: usize,
    /// Writes that were sent and got no answer.
    pub(super) cut_off: usize,
}

impl Tally {
    /// Takes a later round into account; that one has counted all answers so far itself.
    pub(super) fn add(&mut self, round: &Self) {
        self.answered = round.answered;
        self.kept += round.kept;
        self.lost += round.lost;
        self.cut_off += round.cut_off;
    }

    fn note(&mut self, kept: bool) {
        *(if kept { &mut self.kept } else { &mut self.lost }) += 1;
    }
}

/// All writers.
#[derive(Debug)]
pub(super) struct Load {
    writers: Vec<Writer>,
}

impl Load {
    /// Prepares markets, assets, first prices and a ledger for each writer.
    pub(super) async fn begin(api: &Api, writers: u64) -> Self {
        let market =
            json!({ "code": "LAB", "name": "Lab", "market_type": "CRYPTO_EXCHANGE", "timezone": "UTC" });
        api.post("/markets", &market).await.expect(201);
        for symbol in SYMBOLS {
            let asset = json!({ "symbol": symbol, "name": symbol, "asset_type": "CRYPTOCURRENCY", "market_code": "LAB" });
            api.post("/assets", &asset).await.expect(201);
            let price = json!({ "symbol": symbol, "price": "1", "timestamp": "2025-12-31T00:00:00Z", "source": "load" });
            api.post("/prices", &price).await.expect(200);
        }
        let mut all = Vec::new();
        for number in 0..writers {
            let body = json!({ "name": format!("ledger {number}"), "owner_id": "load", "initial_capital": CAPITAL,
                "opened_at": "2025-12-31T00:00:00Z" });
            let ledger = api.post("/portfolios", &body).await.expect(201)["id"].as_str().unwrap().to_owned();
            let (chance, held) = (Chance::new(number), [Decimal::ZERO, Decimal::ZERO]);
            all.push(Writer { number, round: 0, chance, ledger, next: 0, held, writes: Vec::new() });
        }
        Self { writers: all }
    }

    /// Lets everybody write, ends the service by `end` in the middle of it, and waits until everybody has noticed.
    pub(super) async fn run(&mut self, api: &Api, round: Round, end: impl FnOnce()) {
        let answers = Arc::new(AtomicU64::new(0));
        let start = |writer: Writer| {
            let hasty = writer.number < round.hasty;
            tokio::spawn(writer.work(api.clone(), hasty, Arc::clone(&answers)))
        };
        let tasks: Vec<_> = self.writers.drain(..).map(start).collect();
        let started = Instant::now();
        while answers.load(Ordering::SeqCst) < round.answers && started.elapsed() < LONGEST {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        tokio::time::sleep(round.pause).await;
        end();
        for task in tasks {
            self.writers.push(task.await.unwrap());
        }
    }

    /// Compares everything the service shows with what was sent to it, then sends again what was not answered
    /// and compares once more. Of the portfolios made, those of the last round only unless `all` are wanted: the list
    /// values every one of them.
    pub(super) async fn settle(&mut self, api: &Api, all: bool) -> Tally {
        let made = if all { "made-".to_owned() } else { format!("made-{}-", self.writers[0].round) };
        let mut tally = self.compare(api, &made).await;
        for write in self.writers.iter_mut().flat_map(|writer| &mut writer.writes) {
            if write.answer.is_some() {
                tally.answered += 1;
                continue;
            }
            tally.cut_off += usize::from(write.cut_off);
            let reply = api.post_keyed(&write.path, &write.key, &write.body).await.unwrap();
            assert!(reply.status.is_success(), "{}", String::from_utf8_lossy(&reply.body));
            let again = api.post_keyed(&write.path, &write.key, &write.body).await.unwrap();
            assert_eq!(
                (again.status, &again.body),
                (reply.status, &reply.body),
                "a key answers the same twice"
            );
            assert!(
                again.headers.get("idempotency-replayed").is_some_and(|said| said == "true"),
                "done again: {write:?}"
            );
            write.answer = Some(reply.json());
            write.refused = false;
        }
        let settled = self.compare(api, &made).await;
        assert_eq!(settled.kept + settled.lost, 0);
        let marks = self.marks();
        for writer in &self.writers {
            writer.compare_totals(api, &marks).await;
        }
        tally
    }

    async fn compare(&self, api: &Api, made: &str) -> Tally {
        let mut tally = Tally::default();
        for writer in &self.writers {
            for kept in writer.compare_ledger(api).await {
                tally.note(kept);
            }
        }
        self.compare_portfolios(api, made, &mut tally).await;
        self.compare_prices(api).await;
        tally
    }

    fn writes(&self) -> impl Iterator<Item = &Write> {
        self.writers.iter().flat_map(|writer| &writer.writes)
    }

    async fn compare_portfolios(&self, api: &Api, made: &str, tally: &mut Tally) {
        let mut there: BTreeMap<String, Value> = BTreeMap::new();
        for one in api.every(&format!("/portfolios?owner_id=load&q={made}&limit=100")).await {
            let twice = there.insert(one["name"].as_str().unwrap().to_owned(), one);
            assert!(twice.is_none(), "doubled: {twice:?}");
        }
        for write in self.writes() {
            let Effect::Portfolio { name } = &write.effect else { continue };
            if !name.starts_with(made) {
                continue;
            }
            let found = there.remove(name);
            let Some(answer) = &write.answer else {
                assert!(found.is_none() || !write.refused, "refused, and done all the same: {write:?}");
                tally.note(found.is_some());
                continue;
            };
            let mut wanted = answer.clone();
            wanted.as_object_mut().unwrap().shift_remove("success");
            assert_eq!(found.as_ref(), Some(&wanted), "an answered portfolio changed or went");
        }
        assert!(there.is_empty(), "nobody sent {there:?}");
    }

    async fn compare_prices(&self, api: &Api) {
        for (number, symbol) in SYMBOLS.iter().enumerate() {
            let path = format!("/prices?symbol={symbol}&source=load&limit=500");
            let mut there: BTreeMap<String, Decimal> = BTreeMap::new();
            for one in api.every(&path).await {
                let price = one["price"].as_str().unwrap().parse().unwrap();
                let twice = there.insert(one["observed_at"].as_str().unwrap().to_owned(), price);
                assert!(twice.is_none(), "doubled: {one}");
            }
            there.remove("2025-12-31T00:00:00.000000Z").expect("the first price");
            // By moment: the value last acknowledged, and one sent after it whose answer stayed away.
            let mut wanted: BTreeMap<&String, (Option<&Decimal>, Option<&Decimal>)> = BTreeMap::new();
            for write in self.writes() {
                let Effect::Price { symbol, at, price } = &write.effect else { continue };
                if *symbol == number {
                    let entry = wanted.entry(at).or_default();
                    *entry =
                        if write.answer.is_some() { (Some(price), None) } else { (entry.0, Some(price)) };
                }
            }
            for (at, (known, open)) in wanted {
                let found = there.remove(at);
                let fits = found.as_ref() == known || (open.is_some() && found.as_ref() == open);
                assert!(fits, "{symbol} {at}: {found:?}, sent {known:?} and then {open:?}");
            }
            assert!(there.is_empty(), "nobody sent {there:?}");
        }
    }

    /// The newest price of each asset.
    fn marks(&self) -> [Decimal; 2] {
        let newest = |wanted: usize| {
            let mut best: (&str, Decimal) = ("", Decimal::ONE);
            for write in self.writes() {
                if let Effect::Price { symbol, at, price } = &write.effect
                    && *symbol == wanted
                    && at.as_str() >= best.0
                {
                    best = (at, price.clone());
                }
            }
            best.1
        };
        [newest(0), newest(1)]
    }
}

//! kill -9 while prices come in every way at once: what was answered is there, once and with its value; what was not is
//! there whole or not at all; streams leave whole groups and go on; queued batches are stored soon after the restart.

use super::kill::recover;
use super::load::{Chance, Load, Round};
use super::{Api, Broken, OPEN, Place};
use crate::support::{Backend, times};
use artifact::domain::moment::{DAY, Moment};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::ops::Range;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Writers of single prices, positions, ledger rows and portfolios beside the feeds.
const WRITERS: u64 = 3;
/// Longest time from the start of a process to a healthy service.
const UP: Duration = Duration::from_secs(5);
/// Longest time from the start of a process until what was queued is stored.
const VISIBLE: Duration = Duration::from_secs(10);
/// 2026-02-01, in microseconds.
const BASE: i64 = 20_485 * DAY;
const SYMBOL: &str = "FEED";

/// Which way a feed takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Batch,
    Queue,
    Stream,
}

const FEEDS: [Way; 6] = [Way::Batch, Way::Queue, Way::Stream, Way::Batch, Way::Queue, Way::Stream];

/// Prices that were sent together, and what came back.
#[derive(Debug, Clone)]
struct Sent {
    key: String,
    rows: Range<u64>,
    /// What is sent once more has another price.
    version: u64,
    answer: Option<Value>,
}

/// One client that sends prices of a source of its own.
#[derive(Debug)]
struct Feed {
    way: Way,
    source: String,
    chance: Chance,
    next: u64,
    sent: Vec<Sent>,
    /// Those before it were looked at after an earlier kill.
    settled: usize,
}

fn price(row: u64, version: u64) -> String {
    format!("{}.{:02}", row * 7 % 10_007 + version * 20_000, row % 100)
}

fn at(row: u64) -> String {
    Moment(BASE + i64::try_from(row).unwrap() * 1_000_000).to_string()
}

impl Sent {
    fn lines(&self, source: &str, rows: Range<u64>) -> String {
        rows.fold(String::new(), |mut text, row| {
            let price = price(row, self.version);
            writeln!(
                text,
                "{{\"symbol\":\"{SYMBOL}\",\"price\":\"{price}\",\"timestamp\":\"{}\",\"source\":\"{source}\"}}",
                at(row)
            )
            .unwrap();
            text
        })
    }

    fn table(&self, source: &str) -> String {
        self.rows.clone().fold("ticker,close,timestamp,source\n".to_owned(), |mut text, row| {
            writeln!(text, "{SYMBOL},{},{},{source}", price(row, self.version), at(row)).unwrap();
            text
        })
    }

    /// Sends it; the answer, and whether it was kept from before.
    async fn send(
        &self,
        api: &Api,
        way: Way,
        source: &str,
        pause: Duration,
    ) -> Result<(Value, bool), Broken> {
        let (path, table) = match way {
            Way::Batch => ("/prices/batch", true),
            Way::Queue => ("/ingest/queue", self.rows.start.is_multiple_of(2)),
            Way::Stream => return self.stream(api, source, pause).await,
        };
        let (kind, body) = if table {
            ("text/csv", self.table(source))
        } else {
            ("application/x-ndjson", self.lines(source, self.rows.clone()))
        };
        let headers = [("content-type", kind), ("idempotency-key", self.key.as_str())];
        let reply = api.attempt("POST", path, &headers, body.as_bytes()).await?;
        if reply.status == 503 {
            return Err(Broken::CutOff);
        }
        assert!(reply.status.is_success(), "{}", String::from_utf8_lossy(&reply.body));
        Ok((reply.json(), reply.headers.contains_key("idempotency-replayed")))
    }

    /// Sends its lines piece by piece.
    async fn stream(&self, api: &Api, source: &str, pause: Duration) -> Result<(Value, bool), Broken> {
        let cut = |_: std::io::Error| Broken::CutOff;
        let mut stream = TcpStream::connect(api.address).await.map_err(|_| Broken::NobodyThere)?;
        let head = format!(
            "POST /prices/stream HTTP/1.1\r\nhost: {}\r\ncontent-type: application/x-ndjson\r\n\
             idempotency-key: {}\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n",
            api.address, self.key
        );
        stream.write_all(head.as_bytes()).await.map_err(cut)?;
        let mut first = self.rows.start;
        while first < self.rows.end {
            let last = self.rows.end.min(first + 50);
            let text = self.lines(source, first..last);
            let chunk = format!("{:x}\r\n{text}\r\n", text.len());
            stream.write_all(chunk.as_bytes()).await.map_err(cut)?;
            tokio::time::sleep(pause).await;
            first = last;
        }
        stream.write_all(b"0\r\n\r\n").await.map_err(cut)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.map_err(cut)?;
        let (head, body) = answer.split_once("\r\n\r\n").ok_or(Broken::CutOff)?;
        if head.starts_with("HTTP/1.1 503") {
            return Err(Broken::CutOff);
        }
        assert!(head.starts_with("HTTP/1.1 200"), "{answer}");
        let body = serde_json::from_str(body).map_err(|_| Broken::CutOff)?;
        Ok((body, head.to_ascii_lowercase().contains("idempotency-replayed")))
    }
}

/// Waits until a queued batch is stored, and says what became of it.
async fn stored(api: &Api, queued: &Value, started: Instant) -> Value {
    let path = format!("/ingest/queue/{}", queued["id"].as_str().unwrap());
    loop {
        let batch = api.get(&path).await.expect(200);
        if batch["state"] != "queued" {
            assert_eq!(batch["state"], "stored", "{batch}");
            return batch["result"].clone();
        }
        assert!(started.elapsed() < VISIBLE, "not stored {:?} after the start: {batch}", started.elapsed());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

impl Feed {
    fn new(number: u64, way: Way) -> Self {
        let source = format!("feed{number}");
        Self { way, source, chance: Chance::new(number + 77), next: 0, sent: Vec::new(), settled: 0 }
    }

    /// What is sent next: new rows, or now and then those of the last time with other prices.
    fn think(&mut self) -> Sent {
        let key = format!("{}-{}", self.source, self.sent.len());
        let last = self.sent.last().filter(|_| self.way != Way::Stream).cloned();
        if let Some(last) = last.filter(|_| self.chance.below(4) == 0) {
            return Sent { key, version: last.version + 1, answer: None, ..last };
        }
        let count = match self.way {
            Way::Batch => 1 + self.chance.below(60),
            Way::Queue => 1 + self.chance.below(120),
            Way::Stream => 500 + self.chance.below(1_500),
        };
        let rows = self.next..self.next + count;
        self.next = rows.end;
        Sent { key, rows, version: 0, answer: None }
    }

    /// Sends until an answer stays away.
    async fn work(mut self, api: Api) -> Self {
        for _ in 0..60 {
            let mut sent = self.think();
            let pause = Duration::from_millis(10 + self.chance.below(20));
            let reply = sent.send(&api, self.way, &self.source, pause).await;
            sent.answer = reply.ok().map(|(answer, _)| answer);
            let go_on = sent.answer.is_some();
            self.sent.push(sent);
            if !go_on {
                break;
            }
        }
        self
    }

    /// All rows that are there, from one on.
    async fn rows(&self, api: &Api, first: u64) -> BTreeMap<String, String> {
        let path = format!("/prices?symbol={SYMBOL}&source={}&from={}&limit=10000", self.source, at(first));
        let mut there = BTreeMap::new();
        for row in api.every(&path).await {
            let text = |name: &str| row[name].as_str().unwrap().to_owned();
            let twice = there.insert(text("observed_at"), text("price"));
            assert!(twice.is_none(), "doubled: {row}");
        }
        there
    }

    /// Compares what is there with what was sent, from a row on; how many rows are there of what was not answered.
    async fn compare(&self, api: &Api, first: u64) -> usize {
        let mut there = self.rows(api, first).await;
        let mut wanted = BTreeMap::new();
        let answered = self.sent.iter().filter(|sent| sent.answer.is_some() && sent.rows.end > first);
        for (row, version) in answered.flat_map(|sent| sent.rows.clone().map(|row| (row, sent.version))) {
            wanted.insert(row, version);
        }
        let open = self.sent.last().filter(|sent| sent.answer.is_none());
        let mut kept = 0;
        if let Some(open) = open {
            let new = |row: &u64| there.get(&at(*row)).is_some_and(|is| *is == price(*row, open.version));
            kept = open.rows.clone().filter(new).count();
            let prefix = open.rows.clone().take_while(|row| new(row)).count();
            let fits = match self.way {
                Way::Batch | Way::Queue => {
                    kept == 0 || kept == usize::try_from(open.rows.end - open.rows.start).unwrap()
                }
                Way::Stream => kept == prefix,
            };
            assert!(fits, "{:?}: {kept} rows of {open:?}, {prefix} of them the first", self.way);
            let done = open.rows.start..open.rows.start + u64::try_from(kept).unwrap();
            wanted.extend(done.map(|row| (row, open.version)));
        }
        for (row, version) in wanted {
            assert_eq!(there.remove(&at(row)), Some(price(row, version)), "{}: row {row}", self.source);
        }
        assert!(there.is_empty(), "{}: nobody sent {there:?}", self.source);
        kept
    }

    /// Looks at everything since the last time, sends again what was not answered, and looks once more.
    async fn settle(&mut self, api: &Api, started: Instant, tally: &mut Tally) {
        for sent in self.sent.iter().skip(self.settled).filter(|_| self.way == Way::Queue) {
            let Some(answer) = &sent.answer else { continue };
            let result = stored(api, answer, started).await;
            let count = result["stored"].as_u64().unwrap() + result["corrected"].as_u64().unwrap();
            assert_eq!(count, sent.rows.end - sent.rows.start, "stored twice or not all: {sent:?} {result}");
        }
        while self.way == Way::Queue && api.get("/ingest/queue").await.expect(200)["depth"] != 0 {
            assert!(started.elapsed() < VISIBLE, "the queue is not empty");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        for sent in self.sent.iter().skip(self.settled).filter(|sent| sent.answer.is_some()) {
            tally.answered += 1;
            tally.rows += sent.rows.end - sent.rows.start;
        }
        // What came before was compared after an earlier kill, and all of it is at the end.
        let first =
            self.sent.iter().skip(self.settled).map(|sent| sent.rows.start).min().unwrap_or(self.next);
        let kept = self.compare(api, first).await;
        if let Some(open) = self.sent.last_mut().filter(|sent| sent.answer.is_none()) {
            let (answer, replayed) = open.send(api, self.way, &self.source, Duration::ZERO).await.unwrap();
            let all = open.rows.end - open.rows.start;
            let report = if self.way == Way::Queue {
                stored(api, &answer, Instant::now()).await
            } else {
                answer.clone()
            };
            let new = report["stored"].as_u64().unwrap() + report["corrected"].as_u64().unwrap();
            // Rows that were stored without their group, their batch or its key would be duplicates now.
            assert_eq!(
                (new, &report["duplicate"]),
                (all, &json!(0)),
                "{:?}, {kept} kept: {report}",
                self.way
            );
            assert_eq!(replayed, u64::try_from(kept).unwrap() == all, "{:?}, {kept} of {all} kept", self.way);
            open.answer = Some(answer);
            tally.note(self.way, kept, all);
        }
        self.settled = self.sent.len();
        assert_eq!(self.compare(api, first).await, 0);
    }
}

/// What the rounds came to.
#[derive(Debug, Default)]
struct Tally {
    /// Batches, streams and queued batches answered.
    answered: usize,
    /// Rows of these.
    rows: u64,
    /// Single prices, positions, ledger rows and portfolios answered.
    writes: usize,
    /// Not answered, and found done.
    kept: usize,
    /// Not answered, and found undone.
    lost: usize,
    /// Streams found with some of their groups.
    partly: usize,
}

impl Tally {
    fn note(&mut self, way: Way, kept: usize, all: u64) {
        let all = usize::try_from(all).unwrap();
        let of = match kept {
            0 => &mut self.lost,
            kept if kept == all => &mut self.kept,
            _ if way == Way::Stream => &mut self.partly,
            _ => panic!("{kept} of {all} rows of a batch"),
        };
        *of += 1;
    }
}

async fn rounds(backend: Backend, rounds: u64, tally: &mut Tally, seed: u64) {
    let place = Place::new(backend).await;
    let mut chance = Chance::new(seed);
    let mut service = place.serve(&OPEN);
    let mut load = Load::begin(&service.api, WRITERS).await;
    let asset = json!({ "symbol": SYMBOL, "name": SYMBOL, "asset_type": "STOCK", "market_code": "LAB" });
    service.api.post("/assets", &asset).await.expect(201);
    let mut feeds: Vec<Feed> = (0..).zip(FEEDS).map(|(number, way)| Feed::new(number, way)).collect();
    let before = tally.writes;
    for round in 0..rounds {
        let api = service.api.clone();
        let sending: Vec<_> = feeds.drain(..).map(|feed| tokio::spawn(feed.work(api.clone()))).collect();
        let pause = Duration::from_micros(chance.below(400_000));
        let until = Round { hasty: 1, answers: 5 + chance.below(100), pause };
        load.run(&api, until, || service.kill()).await;
        for feed in sending {
            feeds.push(feed.await.unwrap());
        }
        service = recover(&place, round, &mut chance);
        let started = Instant::now().checked_sub(service.took).unwrap();
        assert!(service.took < UP, "round {round}: up after {:?}", service.took);
        assert!(service.api.healthy().await, "round {round}: {:?}", service.err.all());
        for feed in &mut feeds {
            feed.settle(&service.api, started, tally).await;
        }
        tally.writes = before + load.settle(&service.api, false).await.answered;
    }
    service.stop();
    let service = place.serve(&OPEN);
    for feed in &feeds {
        assert_eq!(feed.compare(&service.api, 0).await, 0);
    }
    load.settle(&service.api, true).await;
    service.stop();
}

/// Rounds on one database after another, so that what there is to be compared does not grow without end.
async fn kills(backend: Backend, places: u64, each: u64) -> Tally {
    let mut tally = Tally::default();
    for number in 0..places {
        rounds(backend, each, &mut tally, each + 5 + number).await;
    }
    eprintln!("{} kills of {backend:?}: {tally:?}", places * each);
    tally
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_kills_while_prices_come_in_every_way_lose_double_and_tear_nothing_on_sqlite() {
    let tally = kills(Backend::Sqlite, times(1, 5), 20).await;
    let tried = tally.answered > 200 && tally.writes > 200 && tally.lost > 10 && tally.partly > 3;
    assert!(tried, "too little was tried: {tally:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_kills_while_prices_come_in_every_way_lose_double_and_tear_nothing_on_postgres() {
    let tally = kills(Backend::Postgres, times(1, 5), 4).await;
    assert!(
        tally.answered > 20 && tally.kept + tally.lost + tally.partly > 5,
        "too little was tried: {tally:?}"
    );
}

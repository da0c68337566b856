//! Histories over HTTP: candles of a million ticks beside DuckDB, 100,000 points beside a scan through SQLite's C
//! interface.

#![expect(clippy::expect_used, reason = "a measurement that cannot go on says where it stopped")]

use crate::client::Client;
use crate::limits::Limits;
use crate::processes::{ALL, Folder, Server};
use crate::{ROUNDS, Row, median, shown, times};
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

/// Ticks of the one asset, one a second.
const TICKS: u64 = 1_000_000;
/// The second they begin, since 1970: 2025-01-01.
const BEGIN: i64 = 1_735_689_600;
/// Points of the history.
const POINTS: usize = 100_000;

/// DuckDB in Python.
struct Duck {
    child: Child,
    asks: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Duck {
    /// `None` where it is not installed: `make bench` installs it beside the build.
    fn start() -> Option<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let own = root.join("target/tools/bin/python3");
        let python = if own.exists() { own } else { "python3".into() };
        let has = Command::new(&python).args(["-c", "import duckdb"]).stderr(Stdio::null()).status().ok()?;
        if !has.success() {
            return None;
        }
        let mut child = Command::new(python)
            .arg(root.join("benches/duck.py"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .ok()?;
        let (asks, answers) = (child.stdin.take()?, BufReader::new(child.stdout.take()?));
        Some(Self { child, asks, answers })
    }

    fn time(&mut self, what: &str) -> Duration {
        self.asks.write_all(format!("{what}\n").as_bytes()).expect("ask DuckDB");
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("DuckDB's answer");
        Duration::from_nanos(line.trim().parse().expect("nanoseconds"))
    }

    fn stop(self) {
        let Self { mut child, asks, .. } = self;
        drop(asks);
        child.wait().expect("DuckDB ends");
    }
}

/// Price of tick `n` in cents.
const fn cents(n: u64) -> u64 {
    4_000_000 + n * n % 977
}

/// The ticks from `first` on, as lines.
fn lines(first: u64, count: u64) -> String {
    let mut text = String::new();
    for n in first..first + count {
        let moment = chrono::DateTime::from_timestamp(BEGIN + i64::try_from(n).unwrap_or_default(), 0);
        let at = moment.expect("a moment").format("%Y-%m-%dT%H:%M:%SZ");
        let (whole, part) = (cents(n) / 100, cents(n) % 100);
        writeln!(text, "{{\"symbol\":\"S0\",\"price\":\"{whole}.{part:02}\",\"timestamp\":\"{at}\"}}")
            .expect("write into memory");
    }
    text
}

/// A candle of what was loaded, as it must be.
fn check(line: &str, minute: u64) {
    let candle: serde_json::Value = serde_json::from_str(line).expect("JSON");
    let ticks = minute * 60..minute * 60 + 60;
    let prices: Vec<u64> = ticks.map(cents).collect();
    let shown = |price: Option<&u64>| {
        let price = price.copied().unwrap_or_default();
        let text = format!("{}.{:02}", price / 100, price % 100);
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    };
    let expected = [
        ("open", prices.first()),
        ("high", prices.iter().max()),
        ("low", prices.iter().min()),
        ("close", prices.last()),
    ];
    for (field, price) in expected {
        assert!(candle.get(field).is_some_and(|found| *found == shown(price)), "{field} {line}");
    }
}

pub(crate) async fn run() {
    let folder = Folder::new("reading");
    let server = Server::artifact(&folder.0, ALL);
    let client = Client::of(&server);
    client.assets(1).await;
    let mut limits = Limits::start(&folder.0);
    let mut duck = Duck::start();
    for first in (0..TICKS).step_by(100_000) {
        crate::bulk::stream(&client, lines(first, 100_000)).await;
        limits.ask(&format!("history {first}"));
    }
    if let Some(duck) = &mut duck {
        duck.time(&format!("load {TICKS}"));
    }
    let minutes = TICKS.div_ceil(60);
    let candles = "/assets/S0/candles?interval=1m&from=2025-01-01&to=2025-02-01&format=ndjson";
    let history = "/prices?symbol=S0&from=2025-01-01&to=2025-01-02T03:46:40Z&format=ndjson";
    let answer = client.get(candles).await;
    let text = String::from_utf8_lossy(&answer).into_owned();
    assert!(text.lines().count() == usize::try_from(minutes).unwrap_or_default(), "{}", text.lines().count());
    for (minute, line) in (0..).zip(text.lines().take(16_000)) {
        check(line, minute);
    }
    let answer = client.get(history).await;
    assert!(answer.split(|byte| *byte == b'\n').count() == POINTS + 1, "not the points asked for");
    let (mut folds, mut peers, mut scans, mut rows) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        folds.push(client.time(candles));
        peers.extend(duck.as_mut().map(|duck| duck.time(&format!("candles {minutes}"))));
        scans.push(client.time(history));
        rows.push(limits.time(&format!("scan {POINTS}")));
    }
    let ours = median(folds);
    let peer = (!peers.is_empty()).then(|| median(peers));
    Row {
        work: "candles of a minute of 1,000,000 ticks, over HTTP",
        figure: shown(ours),
        beside: peer
            .map_or("no DuckDB: pip install duckdb".to_owned(), |peer| format!("DuckDB {}", shown(peer))),
        ratio: peer.map_or("-".to_owned(), |peer| times(peer, ours)),
        goal: "at least 1.7",
    }
    .print();
    let (ours, peer) = (median(scans), median(rows));
    Row {
        work: "history of 100,000 points as NDJSON, over HTTP",
        figure: shown(ours),
        beside: format!("scan through SQLite's C interface {}", shown(peer)),
        ratio: times(peer, ours),
        goal: "at least 1",
    }
    .print();
    if let Some(duck) = duck {
        duck.stop();
    }
    limits.stop();
    server.stop();
}

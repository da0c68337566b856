//! Many prices: streams of 100,000 lines beside rows through SQLite's C interface and PostgreSQL's COPY, and how the
//! rate, the disk and the memory are with 30 million.

#![expect(clippy::expect_used, reason = "a measurement that cannot go on says where it stopped")]

use crate::client::Client;
use crate::limits::Limits;
use crate::processes::{ALL, Folder, Server};
use crate::serving::ratio;
use crate::{ROUNDS, Row, median, shown, times};
use sqlx::{Connection as _, Executor as _, PgConnection};
use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

/// Lines of one stream.
pub(crate) const LINES: u64 = 100_000;
/// Assets they are of, in turn.
const ASSETS: u64 = 1_000;
/// The second the ticks begin, since 1970: 2025-01-01.
const BEGIN: i64 = 1_735_689_600;
/// Rows of the large store.
const MANY: u64 = 30_000_000;
/// Rows whose rate is held against the rate of as many others.
const PART: u64 = 1_000_000;

fn stamp(second: u64, micros: u64) -> String {
    let second = BEGIN + i64::try_from(second).unwrap_or_default();
    let moment = chrono::DateTime::from_timestamp(second, 0).expect("a moment");
    format!("{}.{micros:06}Z", moment.format("%Y-%m-%dT%H:%M:%S"))
}

/// Lines in order of time: each second every asset has one tick.
pub(crate) fn lines(stream: u64) -> String {
    let mut text = String::with_capacity(90 * 100_000);
    let seconds = LINES / ASSETS;
    for second in stream * seconds..(stream + 1) * seconds {
        let at = stamp(second, 0);
        for asset in 0..ASSETS {
            let cents = 4_000_000 + (second * 100 + asset) * (second * 100 + asset) % 977;
            let (whole, part) = (cents / 100, cents % 100);
            writeln!(text, "{{\"symbol\":\"S{asset}\",\"price\":\"{whole}.{part:02}\",\"timestamp\":\"{at}\",\"source\":\"bench\"}}")
                .expect("write into memory");
        }
    }
    text
}

/// Sends a stream whose lines are all new; how long it took.
pub(crate) async fn stream(client: &Client, body: String) -> Duration {
    let count = body.lines().count();
    let began = Instant::now();
    let answer = client.post("/prices/stream", "application/x-ndjson", body).await;
    let took = began.elapsed();
    let answer: serde_json::Value = serde_json::from_slice(&answer).expect("JSON");
    assert!(answer.get("stored").is_some_and(|stored| stored == count), "{answer}");
    took
}

/// PostgreSQL with a keyed table, if `scripts/with-postgres.sh` has started one.
struct Copies(PgConnection);

impl Copies {
    #[expect(
        clippy::disallowed_methods,
        reason = "the address of the scratch server comes in this way alone"
    )]
    async fn start() -> Option<Self> {
        let url = std::env::var("ARTIFACT_TEST_POSTGRES").ok()?;
        let mut link = PgConnection::connect(&url).await.expect("PostgreSQL");
        let table = "CREATE TEMPORARY TABLE at_once (n bigint); DROP TABLE IF EXISTS ticks; CREATE TABLE ticks (asset \
                     bigint, ts bigint, source bigint, price bigint, PRIMARY KEY (asset, ts, source))";
        sqlx::raw_sql(table).execute(&mut link).await.expect("a table");
        Some(Self(link))
    }

    /// Copies as many rows, clustered by asset; how long it took.
    async fn copy(&mut self, stream: u64) -> Duration {
        let mut text = String::new();
        let seconds = LINES / ASSETS;
        for asset in 0..ASSETS {
            for second in stream * seconds..(stream + 1) * seconds {
                writeln!(text, "{asset}\t{second}000000\t1\t{}", 4_000_000 + second)
                    .expect("write into memory");
            }
        }
        let began = Instant::now();
        let mut open = self.0.copy_in_raw("COPY ticks FROM STDIN").await.expect("COPY");
        open.send(text.as_bytes()).await.expect("rows");
        open.finish().await.expect("copied");
        began.elapsed()
    }

    async fn stop(mut self) {
        self.0.execute("DROP TABLE ticks").await.expect("drop the table");
    }
}

/// Streams beside their limit and a peer.
pub(crate) async fn run() {
    let folder = Folder::new("bulk");
    let server = Server::artifact(&folder.0, ALL);
    let client = Client::of(&server);
    client.assets(usize::try_from(ASSETS).unwrap_or_default()).await;
    let mut limits = Limits::start(&folder.0);
    let mut copies = Copies::start().await;
    let (mut ours, mut rows, mut loads) = (Vec::new(), Vec::new(), Vec::new());
    stream(&client, lines(0)).await;
    for round in (1..).take(ROUNDS) {
        rows.push(limits.time(&format!("insert {}", round * LINES / ASSETS)));
        ours.push(stream(&client, lines(round)).await);
        if let Some(copies) = &mut copies {
            loads.push(copies.copy(round).await);
        }
    }
    let ours = median(ours);
    let row = |beside: String, peer: Option<Duration>, goal| {
        let work = "POST /prices/stream of 100,000 lines, durable";
        let ratio = peer.map_or("-".to_owned(), |peer| times(peer, ours));
        Row { work, figure: shown(ours), beside, ratio, goal }.print();
    };
    let peer = median(rows);
    row(format!("rows through SQLite's C interface {}", shown(peer)), Some(peer), "at least 2.5");
    match copies {
        Some(copies) => {
            let peer = median(loads);
            row(format!("PostgreSQL COPY, keyed {}", shown(peer)), Some(peer), "at least 8");
            copies.stop().await;
        }
        None => row("no PostgreSQL: scripts/with-postgres.sh".to_owned(), None, "at least 8"),
    }
    row("ClickHouse is not installed".to_owned(), None, "at least 0.8");
    limits.stop();
    server.stop();
}

fn size(folder: &Path) -> u64 {
    let file = |name: &str| std::fs::metadata(folder.join("data").join(name)).map_or(0, |file| file.len());
    file("artifact.db") + file("artifact.db-wal")
}

/// Thirty million rows.
pub(crate) async fn run_growth() {
    let folder = Folder::new("growth");
    let server = Server::artifact(&folder.0, ALL);
    let client = Client::of(&server);
    client.assets(usize::try_from(ASSETS).unwrap_or_default()).await;
    let mut parts: Vec<Duration> = Vec::new();
    let streams = PART / LINES;
    for part in 0..MANY / PART {
        let mut took = Duration::ZERO;
        for n in part * streams..(part + 1) * streams {
            took += stream(&client, lines(n)).await;
        }
        parts.push(took);
    }
    let rate = |times: &[Duration]| {
        let micros = u64::try_from(median(times.to_vec()).as_micros()).unwrap_or(1);
        PART * 1_000_000 / micros.max(1)
    };
    let first = rate(parts.get(..ROUNDS).unwrap_or_default());
    let last = rate(parts.get(parts.len() - ROUNDS..).unwrap_or_default());
    Row {
        work: "lines a second into a store of 30 million",
        figure: format!("{last}/s"),
        beside: format!("into one of few million {first}/s"),
        ratio: ratio(last, first),
        goal: "at least 0.9",
    }
    .print();
    let latest = client.get("/prices/latest?symbols=S999").await;
    assert!(String::from_utf8_lossy(&latest).contains("\"price\":\"400"), "{latest:?}");
    let memory = server.peak_memory() / 1024;
    server.stop();
    let bytes = size(&folder.0) * 10 / MANY;
    Row {
        work: "bytes a row on disk, 30 million",
        figure: format!("{}.{}", bytes / 10, bytes % 10),
        beside: String::new(),
        ratio: String::new(),
        goal: "at most 10",
    }
    .print();
    Row {
        work: "most memory while they came",
        figure: format!("{memory} MiB"),
        beside: String::new(),
        ratio: String::new(),
        goal: "at most 350 MiB",
    }
    .print();
}

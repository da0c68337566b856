//! Bodies, heads and numbers without an end, packed or not: each is refused or its connection ends, memory stays within
//! bounds and falls back, and nobody else waits.

use super::slow::{resident_mib, with_gold};
use super::{Api, OPEN, Place, Service};
use crate::support::Backend;
use futures_util::future::join_all;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Bytes of a body, of which none is finished.
const BODY: usize = 512 << 20;
/// Digits of a number, and bytes of a head.
const LONG: usize = 100 << 20;
/// Longest until the service has refused a bomb.
const GONE: Duration = Duration::from_mins(2);
/// Most memory, in MiB.
const RESIDENT_MAX: u64 = 512;
/// How much more may stay after the same bombs once more, in MiB: the allocator keeps some of what it had for the next
/// time, but what stays must not grow with each time.
const GROWTH_MAX: u64 = 64;
const PIECE: usize = 64 << 10;

const JSON: &str = "application/json";
const CSV: &str = "text/csv";
const LINES: &str = "application/x-ndjson";

/// Routes that take a body, of every size there is.
const ROUTES: [(&str, &str); 10] = [
    ("/prices", JSON),
    ("/markets", JSON),
    ("/prices/batch", JSON),
    ("/prices/batch", CSV),
    ("/prices/stream", LINES),
    ("/ingest/queue", CSV),
    ("/prices/import?symbol=GOLD&source=desk", CSV),
    ("/fx/import?source=desk", CSV),
    ("/pnl", JSON),
    ("/portfolios/none/transactions:import", CSV),
];

/// What is sent: a head, something, and then the same again and again.
struct Bomb {
    name: String,
    head: String,
    first: Arc<[u8]>,
    filler: &'static [u8],
    length: usize,
    chunked: bool,
    /// It is finished, so that it must be answered.
    whole: bool,
}

fn head(path: &str, kind: &str, rest: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: {kind}\r\nconnection: close\r\n{rest}\r\n\r\n"
    )
}

/// Half a gibibyte of nothing, packed.
fn packed() -> [(&'static str, Arc<[u8]>); 2] {
    let command = format!("head -c {BODY} /dev/zero | gzip -1");
    let gzip = Command::new("/bin/sh").args(["-c", &command]).output().unwrap();
    assert!(gzip.status.success() && gzip.stdout.len() > 100_000);
    let nothing = std::io::Read::take(std::io::repeat(0), u64::try_from(BODY).unwrap());
    let zstd = zstd::stream::encode_all(nothing, 1).unwrap();
    [("gzip", gzip.stdout.into()), ("zstd", zstd.into())]
}

fn bodies() -> Vec<Bomb> {
    let (nothing, packed): (Arc<[u8]>, _) = (Arc::from([]), packed());
    let mut bombs = Vec::new();
    for (path, kind) in ROUTES {
        let bomb = |what: &str, rest: &str, first: &Arc<[u8]>, length, chunked| Bomb {
            name: format!("{what}, {path}, {kind}"),
            head: head(path, kind, rest),
            first: Arc::clone(first),
            filler: b" ",
            length,
            chunked,
            whole: false,
        };
        bombs.push(bomb("sized", &format!("content-length: {BODY}"), &nothing, BODY, false));
        bombs.push(bomb("chunked", "transfer-encoding: chunked", &nothing, BODY, true));
        for (coding, bytes) in &packed {
            let rest = format!("content-encoding: {coding}\r\ncontent-length: {}", bytes.len());
            bombs.push(bomb(coding, &rest, bytes, 0, false));
        }
    }
    bombs
}

const CHUNKED: &str = "transfer-encoding: chunked";
const NUMBER: &[u8] = b"{\"symbol\":\"GOLD\",\"price\":1";
const TABLE: &[u8] = b"time,close\n";
const IMPORT: &str = "/prices/import?symbol=GOLD&source=desk&keep_going=true";
const RATES: &str = "/fx/import?source=desk&keep_going=true";
const LEDGER: &str = "/portfolios/none/transactions:import";

/// Numbers, nesting and texts without an end.
fn endless() -> Vec<Bomb> {
    let mut bombs = Vec::new();
    for (path, kind) in
        [("/prices", JSON), ("/prices/batch", JSON), ("/prices/stream", LINES), ("/pnl", JSON)]
    {
        let parts: [(&str, &[u8], &'static [u8]); 3] =
            [("a number", NUMBER, b"1"), ("nesting", b"[", b"["), ("a text", b"\"", b"a")];
        for (what, first, filler) in parts {
            let (name, head) = (format!("{what} without an end, {path}"), head(path, kind, CHUNKED));
            bombs.push(Bomb {
                name,
                head,
                first: first.into(),
                filler,
                length: LONG,
                chunked: true,
                whole: false,
            });
        }
    }
    bombs
}

/// What there is much of; path, type and mebibytes of a body; how it begins, and how it goes on.
type Much = (&'static str, &'static str, &'static str, usize, &'static [u8], &'static [u8]);

/// What is as large as its route takes, and much of it: it must be answered.
fn whole() -> Vec<Bomb> {
    let many: [Much; 12] = [
        ("a number", "/prices", JSON, 1, NUMBER, b"1"),
        ("nesting", "/prices", JSON, 1, b"[", b"["),
        ("objects", "/fx", JSON, 1, b"[{}", b",{}"),
        ("a number", "/prices/batch", JSON, 8, NUMBER, b"1"),
        ("objects", "/prices/batch", JSON, 8, b"[{}", b",{}"),
        ("lines", "/ingest/queue", CSV, 8, b"symbol,price\n", b"a\n"),
        ("nesting", "/pnl", JSON, 32, b"[", b"["),
        ("objects", "/pnl", JSON, 32, b"{\"transactions\":[{}", b",{}"),
        ("lines", IMPORT, CSV, 64, TABLE, b"a\n"),
        ("lines", RATES, CSV, 64, b"Date,USD\n", b"a,b\n"),
        ("lines", LEDGER, CSV, 32, b"type,executed_at,amount\n", b"a\n"),
        ("objects", LEDGER, JSON, 32, b"{\"activities\":[{}", b",{}"),
    ];
    let bomb = |(what, path, kind, mebibytes, first, filler): Much| Bomb {
        name: format!("as much of {what} as there may be, {path}"),
        head: head(path, kind, &format!("content-length: {}", mebibytes << 20)),
        first: first.into(),
        filler,
        length: (mebibytes << 20) - first.len(),
        chunked: false,
        whole: true,
    };
    many.into_iter().map(bomb).collect()
}

/// Heads and lines without an end.
fn heads() -> Vec<Bomb> {
    let bomb = |(name, head): (&str, &str)| Bomb {
        name: name.to_owned(),
        head: head.to_owned(),
        first: Arc::from([]),
        filler: b"a",
        length: LONG,
        chunked: false,
        whole: false,
    };
    let heads = [
        ("a header without an end", "GET /health HTTP/1.1\r\nhost: localhost\r\nx: "),
        ("a name without an end", "GET /health HTTP/1.1\r\nhost: localhost\r\nx"),
        ("a path without an end", "GET /"),
        ("a query without an end", "GET /markets?q="),
    ];
    heads.into_iter().map(bomb).collect()
}

/// Sends a bomb until it is sent or refused; what was answered.
async fn throw(address: std::net::SocketAddr, bomb: &Bomb) -> String {
    let (mut from, mut to) = TcpStream::connect(address).await.unwrap().into_split();
    let send = async {
        let chunk = |length: usize| if bomb.chunked { format!("{length:x}\r\n") } else { String::new() };
        let end: &[u8] = if bomb.chunked { b"\r\n" } else { b"" };
        to.write_all(bomb.head.as_bytes()).await?;
        if !bomb.first.is_empty() {
            let framed = [chunk(bomb.first.len()).as_bytes(), &bomb.first, end].concat();
            to.write_all(&framed).await?;
        }
        let piece = bomb.filler.repeat(PIECE / bomb.filler.len());
        let framed = [chunk(piece.len()).as_bytes(), &piece, end].concat();
        for _ in 0..bomb.length / piece.len() {
            to.write_all(&framed).await?;
        }
        if !bomb.chunked {
            to.write_all(&piece[..bomb.length % piece.len()]).await?;
        }
        to.flush().await
    };
    let mut answer = Vec::new();
    let listen = async {
        // What was sent and never read ends the connection with a reset.
        let _end = from.read_to_end(&mut answer).await;
    };
    let both = async {
        let (sending, listening) = (std::pin::pin!(send), std::pin::pin!(listen));
        // Once the service has ended the connection, the rest need not be sent.
        if let futures_util::future::Either::Left((_, listening)) =
            futures_util::future::select(sending, listening).await
        {
            listening.await;
        }
    };
    assert!(tokio::time::timeout(GONE, both).await.is_ok(), "{}: it hangs", bomb.name);
    String::from_utf8_lossy(&answer).into_owned()
}

/// Asks for health until it is told to stop; how long each answer took.
async fn watch(api: Api, stop: Arc<AtomicBool>) -> Vec<Duration> {
    let mut took = Vec::new();
    while !stop.load(Ordering::SeqCst) {
        let asked = Instant::now();
        api.get("/health").await.expect(200);
        took.push(asked.elapsed());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    took.sort_unstable();
    took
}

/// Throws all bombs at once, so that what each may take adds up; what is left in memory afterwards.
async fn volley(service: &Service, bombs: &[Bomb]) -> u64 {
    let stop = Arc::new(AtomicBool::new(false));
    let watching = tokio::spawn(watch(service.api.clone(), Arc::clone(&stop)));
    let answers = join_all(bombs.iter().map(|bomb| throw(service.api.address, bomb))).await;
    stop.store(true, Ordering::SeqCst);
    let took = watching.await.unwrap();
    let mut answered = 0;
    for (bomb, answer) in bombs.iter().zip(&answers) {
        let status = answer.split(' ').nth(1).unwrap_or_default();
        // A service that is at work on other bombs may ask to come again.
        let refused = status.starts_with('4') || status == "503";
        assert!(refused || (answer.is_empty() && !bomb.whole), "{}: {answer}", bomb.name);
        assert!(answer.is_empty() || answer.contains("application/problem+json"), "{}: {answer}", bomb.name);
        answered += usize::from(refused);
    }
    let (peak, p99) = (resident_mib(service, "VmHWM"), took[(took.len() - 1) * 99 / 100]);
    let left = resident_mib(service, "VmRSS");
    eprintln!(
        "{} bombs, {answered} answered: {peak} MiB at most, {left} afterwards; health p99 {p99:?} of {}",
        bombs.len(),
        took.len()
    );
    assert!(peak <= RESIDENT_MAX, "{peak} MiB");
    assert!(left < peak, "{left} MiB: nothing was given back");
    assert!(p99 <= Duration::from_secs(1), "{p99:?}");
    left
}

/// The service with bounded memory, so that a failure here is none of the whole machine.
fn bounded(place: &Place) -> Service {
    let plain = place.command(&[&["serve"], &OPEN[..]].concat());
    let mut bounded = Command::new("/bin/sh");
    bounded
        .args(["-c", "ulimit -v 8388608; exec \"$@\"", "sh"])
        .arg(plain.get_program())
        .args(plain.get_args());
    bounded.env_clear().current_dir(place.folder()).stdin(Stdio::null());
    bounded.stdout(Stdio::piped()).stderr(Stdio::piped());
    Service::start(bounded)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bombs_are_refused_and_memory_is_given_back() {
    let place = Place::new(Backend::Sqlite).await;
    let service = bounded(&place);
    with_gold(&service.api).await;
    let bombs: Vec<Bomb> = bodies().into_iter().chain(endless()).chain(whole()).chain(heads()).collect();
    let first = volley(&service, &bombs).await;
    let second = volley(&service, &bombs).await;
    assert!(second <= first + GROWTH_MAX, "{second} MiB after the second time, {first} after the first");
    assert_eq!(service.api.get("/prices?symbol=GOLD").await.expect(200), serde_json::json!([]));
    service.stop();
}

//! Requests that no client of good will sends: each is answered with a client error or ends, and none of them hangs,
//! breaks the service or has an effect.

use super::{OPEN, Place};
use crate::support::Backend;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Longest a request may keep the connection.
const SOON: Duration = Duration::from_secs(15);

/// Longest until an answer begins.
const FIRST: Duration = Duration::from_secs(5);
/// Silence after which nothing more is expected.
const QUIET: Duration = Duration::from_millis(500);

/// What may come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    /// A client error with a problem document, or the end of the connection without a word.
    Refused,
    /// A success: odd, but HTTP.
    Good,
    /// Either, but the connection ends.
    Ends,
}
use Answer::{Ends, Good, Refused};

/// A POST with these headers and this body.
fn post(headers: &str, body: &str) -> Vec<u8> {
    format!(
        "POST /markets HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n{headers}\r\n{body}"
    )
    .into_bytes()
}

/// A GET of something harmless with these lines after the first.
fn get(lines: &str) -> Vec<u8> {
    format!("GET /health/live HTTP/1.1\r\n{lines}\r\n").into_bytes()
}

/// A request line with a host.
fn line(line: &str) -> Vec<u8> {
    format!("{line}\r\nhost: localhost\r\n\r\n").into_bytes()
}

/// What must not be smuggled through behind another request.
const SMUGGLED: &str = "POST /currencies HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 27\r\n\r\n{\"code\":\"XXX\",\"decimals\":2}";

fn framing() -> Vec<(&'static str, Vec<u8>, Answer)> {
    let big = "1".repeat(400);
    vec![
        (
            "length and chunked",
            post("content-length: 5\r\ntransfer-encoding: chunked\r\n", &format!("0\r\n\r\n{SMUGGLED}")),
            Ends,
        ),
        (
            "chunked and length",
            post("transfer-encoding: chunked\r\ncontent-length: 5\r\n", &format!("0\r\n\r\n{SMUGGLED}")),
            Ends,
        ),
        (
            "two lengths",
            post("content-length: 2\r\ncontent-length: 300\r\n", &format!("{{}}{SMUGGLED}")),
            Refused,
        ),
        ("two lengths in one", post("content-length: 2, 300\r\n", "{}"), Refused),
        ("negative length", post("content-length: -1\r\n", "{}"), Refused),
        ("signed length", post("content-length: +2\r\n", "{}"), Refused),
        ("hex length", post("content-length: 0x2\r\n", "{}"), Refused),
        ("length of words", post("content-length: two\r\n", "{}"), Refused),
        ("empty length", post("content-length: \r\n", "{}"), Refused),
        ("length past all numbers", post(&format!("content-length: {big}\r\n"), "{}"), Refused),
        ("length of 2^64", post("content-length: 18446744073709551616\r\n", "{}"), Refused),
        ("length with a space", post("content-length : 2\r\n", "{}"), Refused),
        ("length that never comes", post("content-length: 400\r\n", "{}"), Refused),
        ("more than the length", post("content-length: 2\r\n", "{}GARBAGE\r\n\r\n"), Refused),
        ("unknown coding", post("transfer-encoding: xchunked\r\n", "0\r\n\r\n"), Refused),
        ("coding before chunked", post("transfer-encoding: gzip, chunked\r\n", "0\r\n\r\n"), Refused),
        (
            "chunked twice",
            post("transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n", "0\r\n\r\n"),
            Refused,
        ),
        ("chunked and identity", post("transfer-encoding: chunked, identity\r\n", "0\r\n\r\n"), Refused),
        ("coding after a tab", post("transfer-encoding:\x0bchunked\r\n", "0\r\n\r\n"), Refused),
        ("coding with a space", post("transfer-encoding : chunked\r\n", "0\r\n\r\n"), Refused),
        ("folded coding", post("transfer-encoding:\r\n chunked\r\n", "0\r\n\r\n"), Refused),
        (
            "chunked in HTTP/1.0",
            b"POST /markets HTTP/1.0\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"
                .to_vec(),
            Refused,
        ),
    ]
}

fn chunks() -> Vec<(&'static str, Vec<u8>, Answer)> {
    vec![
        ("chunk of no number", post("transfer-encoding: chunked\r\n", "zz\r\n{}\r\n0\r\n\r\n"), Refused),
        ("negative chunk", post("transfer-encoding: chunked\r\n", "-2\r\n{}\r\n0\r\n\r\n"), Refused),
        (
            "chunk past all numbers",
            post("transfer-encoding: chunked\r\n", "ffffffffffffffffff\r\n{}\r\n0\r\n\r\n"),
            Refused,
        ),
        ("chunk of 0x", post("transfer-encoding: chunked\r\n", "0x2\r\n{}\r\n0\r\n\r\n"), Refused),
        ("chunk longer than said", post("transfer-encoding: chunked\r\n", "1\r\n{}\r\n0\r\n\r\n"), Refused),
        ("chunk shorter than said", post("transfer-encoding: chunked\r\n", "9\r\n{}\r\n0\r\n\r\n"), Refused),
        ("chunk ended by a line feed", post("transfer-encoding: chunked\r\n", "2\n{}\n0\n\n"), Refused),
        (
            "endless chunk extension",
            post("transfer-encoding: chunked\r\n", &format!("2;{}\r\n{{}}\r\n0\r\n\r\n", "a".repeat(70_000))),
            Refused,
        ),
        ("chunks without an end", post("transfer-encoding: chunked\r\n", "2\r\n{}\r\n"), Refused),
        (
            "endless trailers",
            post(
                "transfer-encoding: chunked\r\n",
                &format!("2\r\n{{}}\r\n0\r\nx: {}\r\n\r\n", "a".repeat(70_000)),
            ),
            Refused,
        ),
        (
            "length in a trailer",
            post("transfer-encoding: chunked\r\n", "2\r\n{}\r\n0\r\ncontent-length: 500\r\n\r\n"),
            Refused,
        ),
    ]
}

fn heads() -> Vec<(&'static str, Vec<u8>, Answer)> {
    let many = "x: 1\r\n".repeat(3_000);
    vec![
        ("no host", get(""), Refused),
        ("two hosts", get("host: localhost\r\nhost: elsewhere\r\n"), Refused),
        ("host of another", get("host: elsewhere.example\r\n"), Refused),
        ("obsolete fold", get("host: localhost\r\nx: a\r\n b\r\n"), Refused),
        ("fold before the first header", get(" host: localhost\r\n"), Refused),
        ("space before the colon", get("host : localhost\r\n"), Refused),
        ("no colon", get("host: localhost\r\nnonsense\r\n"), Refused),
        ("empty name", get("host: localhost\r\n: x\r\n"), Refused),
        ("NUL in a value", get("host: localhost\r\nx: a\0b\r\n"), Refused),
        ("NUL in a name", get("host: localhost\r\nx\0: a\r\n"), Refused),
        ("bare carriage return", get("host: localhost\r\nx: a\rb\r\n"), Refused),
        ("escape in a value", get("host: localhost\r\nx: \x1b[2J\r\n"), Refused),
        ("huge header", get(&format!("host: localhost\r\nx: {}\r\n", "a".repeat(100_000))), Refused),
        ("huge name", get(&format!("host: localhost\r\n{}: x\r\n", "a".repeat(100_000))), Refused),
        ("3,000 headers", get(&format!("host: localhost\r\n{many}")), Refused),
        ("a head without an end", b"GET /health/live HTTP/1.1\r\nhost: localhost\r\nx: y".to_vec(), Refused),
        ("line feeds alone", b"GET /health/live HTTP/1.1\nhost: localhost\n\n".to_vec(), Good),
        ("empty lines first", b"\r\n\r\nGET /health/live HTTP/1.1\r\nhost: localhost\r\n\r\n".to_vec(), Good),
        ("unknown expectation", post("content-length: 2\r\nexpect: a-miracle\r\n", "{}"), Refused),
        (
            "upgrade to nothing",
            get(
                "host: localhost\r\nconnection: upgrade\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__\r\n",
            ),
            Good,
        ),
        ("forwarded host", get("host: localhost\r\nx-forwarded-host: evil.example\r\n"), Good),
    ]
}

fn lines() -> Vec<(&'static str, Vec<u8>, Answer)> {
    vec![
        ("HTTP/0.9", b"GET /health/live\r\n".to_vec(), Refused),
        ("HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec(), Refused),
        ("HTTP/3.0", line("GET /health/live HTTP/3.0"), Refused),
        ("http/1.1", line("GET /health/live http/1.1"), Refused),
        ("HTTP/1.10", line("GET /health/live HTTP/1.10"), Refused),
        ("no version", line("GET /health/live"), Refused),
        ("two spaces", line("GET  /health/live HTTP/1.1"), Refused),
        ("tab for a space", line("GET\t/health/live HTTP/1.1"), Refused),
        ("space in the path", line("GET /health /live HTTP/1.1"), Refused),
        ("absolute form of another host", line("GET http://evil.example/health/live HTTP/1.1"), Refused),
        ("absolute form", line("GET http://localhost/health/live HTTP/1.1"), Good),
        ("user in the absolute form", line("GET http://localhost@evil.example/ HTTP/1.1"), Refused),
        ("authority form", line("CONNECT evil.example:443 HTTP/1.1"), Refused),
        ("asterisk form", line("OPTIONS * HTTP/1.1"), Refused),
        ("TRACE", line("TRACE / HTTP/1.1"), Refused),
        ("unknown method", line("BREW /markets HTTP/1.1"), Refused),
        ("method of signs", line("G<E>T /markets HTTP/1.1"), Refused),
        ("method without an end", "A".repeat(70_000).into_bytes(), Refused),
        ("path without a slash", line("GET markets HTTP/1.1"), Refused),
        ("path of 9,000 bytes", line(&format!("GET /{} HTTP/1.1", "a".repeat(9_000))), Refused),
        ("query of 9,000 bytes", line(&format!("GET /markets?q={} HTTP/1.1", "a".repeat(9_000))), Refused),
        ("path of 70,000 bytes", line(&format!("GET /{} HTTP/1.1", "a".repeat(70_000))), Refused),
        ("up the tree", line("GET /../../../etc/passwd HTTP/1.1"), Refused),
        ("up the tree in escapes", line("GET /docs/ui/%2e%2e%2f%2e%2e%2fetc/passwd HTTP/1.1"), Refused),
        ("NUL in the path", line("GET /markets/%00 HTTP/1.1"), Refused),
        ("half an escape", line("GET /markets/%f HTTP/1.1"), Refused),
        ("bytes that are no UTF-8", line("GET /markets/%ff%fe HTTP/1.1"), Refused),
        ("line break in the path", line("GET /markets/%0d%0ax-evil:%20yes HTTP/1.1"), Refused),
        (
            "raw bytes in the path",
            [b"GET /markets/\xff\xfe HTTP/1.1\r\n", &b"host: localhost\r\n\r\n"[..]].concat(),
            Refused,
        ),
        ("TLS hello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(), Refused),
        ("noise", (0..=255).cycle().skip(128).take(5_000).collect(), Refused),
        ("nothing but an end", b"\r\n".to_vec(), Ends),
    ]
}

/// Sends it and reads what comes back; when nothing more comes, ends the sending side and reads to the end.
async fn exchange(address: std::net::SocketAddr, request: &[u8]) -> Option<String> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let (mut answer, mut piece) = (Vec::new(), vec![0; 65_536]);
    let talk = async {
        // The service may have ended the connection before all of it was sent.
        stream.write_all(request).await.unwrap_or_default();
        let mut patience = FIRST;
        while let Ok(Ok(read @ 1..)) = tokio::time::timeout(patience, stream.read(&mut piece)).await {
            answer.extend_from_slice(&piece[..read]);
            patience = QUIET;
        }
        stream.shutdown().await.unwrap_or_default();
        let _end = stream.read_to_end(&mut answer).await;
    };
    tokio::time::timeout(SOON, talk).await.ok()?;
    Some(String::from_utf8_lossy(&answer).into_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_requests_are_refused_one_by_one() {
    let place = Place::new(Backend::Sqlite).await;
    let service = place.serve(&OPEN);
    let cases: Vec<_> = framing().into_iter().chain(chunks()).chain(heads()).chain(lines()).collect();
    assert!(cases.len() >= 67, "{}", cases.len());
    let talks = cases.iter().map(|(_, request, _)| exchange(service.api.address, request));
    let answers = futures_util::future::join_all(talks).await;
    for ((name, request, expected), answer) in cases.into_iter().zip(answers) {
        let answer = answer.unwrap_or_else(|| panic!("{name}: it hangs"));
        let statuses: Vec<&str> =
            answer.match_indices("HTTP/1.").filter_map(|(at, _)| answer.get(at + 9..at + 12)).collect();
        assert!(statuses.iter().all(|status| !status.starts_with('5')), "{name}: {answer}");
        match expected {
            Good => assert_eq!(statuses, ["200"], "{name}: {answer}"),
            Ends => assert!(statuses.len() <= 1, "{name}: {answer}"),
            Refused => assert!(statuses.iter().all(|status| status.starts_with('4')), "{name}: {answer}"),
        }
        let head = answer.split("\r\n\r\n").next().unwrap_or_default();
        if statuses.first().is_some_and(|status| status.starts_with('4')) && !request.starts_with(b"HEAD") {
            assert!(head.contains("application/problem+json"), "{name}: {answer}");
        }
        assert!(!answer.contains("panicked") && !answer.contains("src/"), "{name}: {answer}");
    }
    let currencies = service.api.every("/currencies").await;
    assert!(!currencies.iter().any(|currency| currency["code"] == "XXX"), "something was smuggled in");
    assert!(service.api.healthy().await);
    service.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pipelined_requests_are_answered_in_order_and_one_at_a_time() {
    let place = Place::new(Backend::Sqlite).await;
    let service = place.serve(&OPEN);
    let one =
        |id: usize| format!("GET /health/live HTTP/1.1\r\nhost: localhost\r\nx-request-id: n{id}\r\n\r\n");
    let all = (0..200).map(one).collect::<Vec<_>>().concat();
    let answer = exchange(service.api.address, all.as_bytes()).await.expect("it ends");
    let ids: Vec<&str> = answer.lines().filter_map(|line| line.strip_prefix("x-request-id: ")).collect();
    assert_eq!(ids, (0..200).map(|id| format!("n{id}")).collect::<Vec<_>>());
    service.stop();
}

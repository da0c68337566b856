//! The client: connections that are kept, each with one request under way, on one core.
//!
//! Requests are written and answers read as bytes; a library around them would be measured too.

#![expect(clippy::expect_used, reason = "a measurement that cannot go on says where it stopped")]

use crate::processes::Measured;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// What a client does.
#[derive(Debug, Clone)]
pub(crate) struct Work {
    /// Connections at the same time.
    pub(crate) connections: usize,
    /// Requests of all connections together.
    pub(crate) requests: usize,
    /// `GET PATH`, or `prices FIRST ASSETS`: posts of prices that were not sent before.
    pub(crate) what: String,
}

/// How requests are made.
enum Asks {
    Get(String),
    Prices { first: usize, assets: usize },
}

impl Asks {
    fn read(what: &str) -> Self {
        let mut words = what.split_whitespace();
        match words.next() {
            Some("GET") => Self::Get(words.next().expect("a path").to_owned()),
            Some("prices") => {
                let mut number = || words.next().and_then(|word| word.parse().ok()).expect("a number");
                Self::Prices { first: number(), assets: number() }
            }
            other => unreachable!("{other:?} is nothing a client does"),
        }
    }

    fn write(&self, number: usize, head: &str, into: &mut Vec<u8>) {
        use std::io::Write as _;
        into.clear();
        let written = match self {
            Self::Get(path) => write!(into, "GET {path} HTTP/1.1\r\n{head}\r\n"),
            Self::Prices { first, assets } => {
                let number = first + number;
                let body = format!(
                    "{{\"symbol\":\"S{}\",\"price\":\"{}.{:02}\"}}",
                    number % assets,
                    100 + number / 100 % 100,
                    number % 100
                );
                let kind = "content-type: application/json\r\n";
                write!(
                    into,
                    "POST /prices HTTP/1.1\r\n{head}{kind}content-length: {}\r\n\r\n{body}",
                    body.len()
                )
            }
        };
        written.expect("write into memory");
    }
}

/// The length of a whole answer at the beginning of what was read, once it is there.
fn answer_length(read: &[u8]) -> Option<usize> {
    let head = read.windows(4).position(|end| end == b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(read.get(..head)?).expect("a head in ASCII");
    assert!(text.starts_with("HTTP/1.1 2"), "{text}{}", String::from_utf8_lossy(read));
    let length = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    let length = head + length.expect("a content-length");
    (read.len() >= length).then_some(length)
}

async fn connection(
    address: SocketAddr,
    asks: &Asks,
    head: &str,
    numbers: (usize, usize, usize),
) -> Vec<Duration> {
    let mut stream = TcpStream::connect(address).await.expect("connect");
    stream.set_nodelay(true).expect("send at once");
    let (first, step, count) = numbers;
    let (mut request, mut read) = (Vec::new(), Vec::with_capacity(16 << 10));
    let mut times = Vec::with_capacity(count);
    for turn in 0..count {
        asks.write(first + turn * step, head, &mut request);
        let began = Instant::now();
        stream.write_all(&request).await.expect("send");
        read.clear();
        loop {
            let more = stream.read_buf(&mut read).await.expect("read");
            assert!(more > 0, "the connection was cut");
            if answer_length(&read).is_some() {
                break;
            }
        }
        times.push(began.elapsed());
    }
    times
}

/// Does the work and prints how it went.
#[expect(clippy::print_stdout, reason = "whoever started this reads it")]
pub(crate) async fn run(address: SocketAddr, key: &str, work: Work) {
    let asks = Asks::read(&work.what);
    let key = if key == "-" { String::new() } else { format!("x-api-key: {key}\r\n") };
    let head = format!("host: {address}\r\n{key}");
    let each = work.requests / work.connections;
    // What the first requests build is not measured.
    let warm = (0..work.connections.min(8)).map(|n| connection(address, &asks, &head, (n, 8, 20)));
    futures_util::future::join_all(warm).await;
    let offset = 200;
    let began = Instant::now();
    let all = (0..work.connections)
        .map(|n| connection(address, &asks, &head, (offset + n, work.connections, each)));
    let times = futures_util::future::join_all(all).await;
    let took = began.elapsed();
    let mut times: Vec<Duration> = times.into_iter().flatten().collect();
    times.sort_unstable();
    let p99 = times.get(times.len() * 99 / 100).copied().unwrap_or_default();
    let answered = u128::try_from(times.len()).unwrap_or_default();
    let rate = answered * 1_000_000_000 / took.as_nanos().max(1);
    println!("{}", Measured::line(u64::try_from(rate).unwrap_or_default(), p99));
}

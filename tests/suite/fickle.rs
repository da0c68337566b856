//! Another instance that prices are posted on to, which fails in every way a network has: it drops connections before
//! and after it has done what was asked, answers 500 and 429, or not at all.
//!
//! It remembers each key it has seen, as the service does, and what it was told by it.

#![cfg(test)]

use serde_json::Value;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// What has happened.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Requests, failed ones included.
    pub(crate) requests: usize,
    /// Failures of each kind.
    pub(crate) faults: [usize; 5],
    /// What each key came with.
    pub(crate) keys: BTreeMap<String, String>,
    /// What each symbol was told, in order: its time and its price. One entry for each key.
    pub(crate) told: BTreeMap<String, Vec<(String, String)>>,
    /// What was wrong with a request, which must never be.
    pub(crate) wrong: Vec<String>,
    dice: u64,
}

/// How it behaves.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Manner {
    /// How many of 100 requests fail.
    pub(crate) faults: u64,
    /// Symbols that begin so are refused.
    pub(crate) refuses: Option<&'static str>,
}

/// The other instance.
#[derive(Debug)]
pub(crate) struct Fickle {
    pub(crate) address: SocketAddr,
    pub(crate) seen: Arc<Mutex<Seen>>,
    manner: Arc<Mutex<Manner>>,
    serving: JoinHandle<()>,
}

impl Fickle {
    pub(crate) async fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Seen { dice: 0x9e37_79b9_7f4a_7c15, ..Seen::default() }));
        let manner = Arc::new(Mutex::new(manner));
        let (watched, rules) = (Arc::clone(&seen), Arc::clone(&manner));
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(converse(stream, Arc::clone(&watched), Arc::clone(&rules)));
            }
        });
        Self { address, seen, manner, serving }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn behave(&self, manner: Manner) {
        *self.manner.lock().unwrap() = manner;
    }

    /// What it was told last of each symbol.
    pub(crate) fn last(&self) -> BTreeMap<String, (String, String)> {
        let seen = self.seen.lock().unwrap();
        seen.told.iter().map(|(symbol, told)| (symbol.clone(), told.last().unwrap().clone())).collect()
    }

    /// That each request was well formed and that no symbol was told an older price after a newer one.
    #[track_caller]
    pub(crate) fn assert_orderly(&self) {
        let seen = self.seen.lock().unwrap();
        assert!(seen.wrong.is_empty(), "{:?}", seen.wrong);
        for (symbol, told) in &seen.told {
            assert!(told.is_sorted_by(|a, b| a.0 <= b.0), "{symbol}: {told:?}");
        }
    }
}

impl Drop for Fickle {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// A request: its head in lower case where it is names, and its body.
async fn request(stream: &mut TcpStream) -> Option<(String, String)> {
    let (mut bytes, mut chunk) = (Vec::new(), [0; 4_096]);
    loop {
        let length = stream.read(&mut chunk).await.ok().filter(|length| *length > 0)?;
        bytes.extend_from_slice(&chunk[..length]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let wanted: usize = header(head, "content-length").and_then(|value| value.parse().ok()).unwrap_or(0);
        if body.len() >= wanted {
            return Some((head.to_owned(), body.to_owned()));
        }
    }
}

fn header(head: &str, name: &str) -> Option<String> {
    head.lines().skip(1).find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.trim().eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
    })
}

impl Seen {
    /// A number below `sides`, the same in every run as long as the requests come in the same order.
    fn roll(&mut self, sides: u64) -> u64 {
        self.dice = self.dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.dice >> 33) % sides
    }

    /// Does what is asked, once for each key.
    fn carry_out(&mut self, key: &str, body: &str) {
        if let Some(known) = self.keys.get(key) {
            if known != body {
                self.wrong.push(format!("{key} came with {known} and with {body}"));
            }
            return;
        }
        self.keys.insert(key.to_owned(), body.to_owned());
        let value: Value = serde_json::from_str(body).unwrap_or_default();
        let (Some(symbol), Some(at)) = (value["symbol"].as_str(), value["timestamp"].as_str()) else {
            self.wrong.push(body.to_owned());
            return;
        };
        if !value["price"].is_number() {
            self.wrong.push(body.to_owned());
        }
        let price = body.split("\"price\":").nth(1).and_then(|rest| rest.split([',', '}']).next());
        let told = (at.to_owned(), price.unwrap_or_default().to_owned());
        self.told.entry(symbol.to_owned()).or_default().push(told);
    }
}

async fn converse(mut stream: TcpStream, seen: Arc<Mutex<Seen>>, manner: Arc<Mutex<Manner>>) {
    while let Some((head, body)) = request(&mut stream).await {
        let manner = *manner.lock().unwrap();
        let answer = {
            let mut seen = seen.lock().unwrap();
            seen.requests += 1;
            if !head.starts_with("POST /prices HTTP/1.1") {
                seen.wrong.push(head.clone());
            }
            let Some(key) = header(&head, "idempotency-key") else {
                seen.wrong.push("no key".to_owned());
                return;
            };
            let fails = seen.roll(100) < manner.faults;
            let kind = usize::try_from(seen.roll(5)).unwrap();
            let half = seen.roll(2) == 0;
            if fails {
                seen.faults[kind] += 1;
                if kind == 1 || (kind >= 2 && kind != 3 && half) {
                    seen.carry_out(&key, &body);
                }
                match kind {
                    0 | 1 => return,
                    2 => Some("HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n".to_owned()),
                    3 => {
                        let wait = seen.roll(10) / 9;
                        Some(format!(
                            "HTTP/1.1 429 Too Many Requests\r\nretry-after: {wait}\r\ncontent-length: 0\r\n\r\n"
                        ))
                    }
                    _ => None,
                }
            } else if manner.refuses.is_some_and(|refused| body.contains(&format!("\"symbol\":\"{refused}")))
            {
                let detail = r#"{"detail":"Asset not found"}"#;
                Some(format!("HTTP/1.1 404 Not Found\r\ncontent-length: {}\r\n\r\n{detail}", detail.len()))
            } else {
                seen.carry_out(&key, &body);
                let done = r#"{"success":true,"updated_positions":[]}"#;
                Some(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{done}", done.len()))
            }
        };
        let Some(answer) = answer else {
            // It never answers; the caller gives up.
            let mut rest = [0; 1];
            drop(stream.read(&mut rest).await);
            return;
        };
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

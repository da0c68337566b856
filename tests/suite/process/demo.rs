//! `artifact demo`: every line of its tour works as printed, and nothing of it stays behind.

use super::{Api, PATIENCE, Service, program};
use crate::support::Scratch;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// A printed curl line, taken apart as a shell and curl would.
#[derive(Debug, Default)]
struct Curl {
    address: Option<SocketAddr>,
    path: String,
    headers: Vec<(String, String)>,
    body: Option<String>,
}

/// The words of a line: parted by blanks, except between single quotes.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quoted) = (Vec::new(), String::new(), false);
    for letter in line.chars() {
        match letter {
            '\'' => quoted = !quoted,
            ' ' if !quoted => words.push(std::mem::take(&mut word)),
            _ => word.push(letter),
        }
    }
    assert!(!quoted, "an open quote in {line}");
    words.push(word);
    words.into_iter().filter(|word| !word.is_empty()).collect()
}

impl Curl {
    fn parse(line: &str) -> Self {
        let mut curl = Self::default();
        let mut words = words(line).into_iter().skip(1);
        while let Some(word) = words.next() {
            match word.as_str() {
                "-s" => {}
                "-H" => {
                    let header = words.next().unwrap();
                    let (name, value) = header.split_once(": ").unwrap();
                    curl.headers.push((name.to_lowercase(), value.to_owned()));
                }
                "-d" => curl.body = words.next(),
                url => {
                    let rest = url.strip_prefix("http://").unwrap_or_else(|| panic!("`{url}` in {line}"));
                    let (address, path) = rest.split_once('/').unwrap();
                    curl.address = Some(address.parse().unwrap());
                    curl.path = format!("/{path}");
                    // Unquoted, a shell would run the rest in the background or look for files.
                    assert!(!url.contains(['&', '?']) || line.contains(&format!("'{url}'")), "{line}");
                }
            }
        }
        curl
    }

    async fn send(&self) -> Value {
        let api = Api { address: self.address.unwrap(), key: None };
        let headers: Vec<(&str, &str)> =
            self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let method = if self.body.is_some() { "POST" } else { "GET" };
        let body = self.body.clone().unwrap_or_default();
        let reply = api.attempt(method, &self.path, &headers, body.as_bytes()).await.unwrap();
        assert!(reply.status.is_success(), "{self:?}: {}", String::from_utf8_lossy(&reply.body));
        reply.json()
    }
}

/// Where a demo listens, as its tour says.
fn address(line: &str) -> Option<SocketAddr> {
    line.trim().strip_prefix("URL ")?.trim().strip_prefix("http://")?.parse().ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_line_of_the_tour_works_as_printed_and_the_end_leaves_nothing() {
    let scratch = Scratch::new();
    let demo = Service::start_until(program(&scratch.0, &["demo", "--listen", "127.0.0.1:0"]), address);
    let started = Instant::now();
    while !demo.out.all().iter().any(|line| line.contains("Ctrl-C")) && started.elapsed() < PATIENCE {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let lines = demo.out.all();
    let key = lines.iter().find_map(|line| line.trim().strip_prefix("key ")).expect("a key").trim();
    assert!(key.starts_with("art_"), "{key}");
    assert!(lines.iter().any(|line| line.contains("SIMULATED")), "{lines:?}");
    let tour: Vec<Curl> = lines
        .iter()
        .map(|line| line.trim())
        .filter(|line| line.starts_with("curl "))
        .map(Curl::parse)
        .collect();
    assert!(tour.len() >= 8, "{lines:?}");
    let mut answers = Vec::new();
    for curl in &tour {
        assert_eq!(curl.address, Some(demo.api.address));
        answers.push(curl.send().await);
    }
    // The first line shows the seeded book, priced; the last but one its positions after the sale of the tour.
    let first = &answers[0]["performance"];
    assert_eq!((&first["open_positions"], &first["initial_capital"]), (&json!(2), &json!("100000")));
    let positions = answers.iter().find(|answer| answer[0]["asset_symbol"] == "GOLD").expect("positions");
    assert_eq!(positions[0]["quantity"], "6", "{positions}");
    // Without the key nobody gets in, and the ticks go on.
    assert_eq!(demo.api.get("/markets").await.code(401), "unauthorized");
    let api = Api { key: Some(key.to_owned()), ..demo.api.clone() };
    let ticks = || async { api.every("/prices?symbol=GOLD&source=simulated&interval=tick").await.len() };
    let before = ticks().await;
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    assert!(ticks().await > before, "no live tick in two seconds and a half");
    let history = api.every("/prices?symbol=BTC-USD&source=simulated&interval=1d").await;
    assert_eq!(history.len(), 365);
    assert_eq!(std::fs::read_dir(&scratch.0).unwrap().count(), 1, "one folder while it runs");
    demo.stop();
    assert_eq!(std::fs::read_dir(&scratch.0).unwrap().count(), 0, "and none after");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_demo_ended_at_any_moment_of_its_start_leaves_nothing() {
    let scratch = Scratch::new();
    for pause in [50, 150, 300, 600, 1_000] {
        let mut command = program(&scratch.0, &["demo", "--listen", "127.0.0.1:0"]);
        let mut demo = command.spawn().unwrap();
        std::thread::sleep(Duration::from_millis(pause));
        super::signal("TERM", demo.id());
        let status = super::ended(&mut demo, Duration::from_secs(15)).expect("an end");
        let left = std::fs::read_dir(&scratch.0).unwrap().count();
        assert_eq!(left, 0, "after {pause} ms: {status}");
    }
}

#[test]
fn a_demo_whose_address_is_taken_says_which_other_to_try() {
    let scratch = Scratch::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let said = super::finish(program(&scratch.0, &["demo", "--listen", &address]), b"").failed(1);
    assert!(said.contains(&address) && said.contains("--listen 127.0.0.1:"), "{said}");
    assert_eq!(std::fs::read_dir(&scratch.0).unwrap().count(), 0);
}

//! Posting on by the real program: kill -9 between sending and noting, and what a command says at its end.

use super::{OPEN, Place, Service, finish};
use crate::fickle::{Fickle, Manner};
use crate::support::Backend;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const GOOD: Manner = Manner { faults: 0, refuses: None };
const FICKLE: Manner = Manner { faults: 30, refuses: None };
const PICKY: Manner = Manner { faults: 0, refuses: Some("GOLD") };
const SYMBOLS: usize = 150;

fn serve(place: &Place, fickle: &Fickle) -> Service {
    let mut command = place.command(&[&["serve"], OPEN.as_slice()].concat());
    command.env("INFRA_API_URL", fickle.url());
    Service::start(command)
}

async fn add_assets(service: &Service, symbols: &[String]) {
    let market = json!({ "code": "M", "name": "M", "market_type": "CRYPTO_EXCHANGE", "timezone": "UTC" });
    service.api.post("/markets", &market).await.expect(201);
    for symbol in symbols {
        let asset =
            json!({ "symbol": symbol, "name": symbol, "asset_type": "CRYPTOCURRENCY", "market_code": "M" });
        service.api.post("/assets", &asset).await.expect(201);
    }
}

async fn killed_in_the_middle(backend: Backend, rounds: usize) {
    let place = Place::new(backend).await;
    let fickle = Fickle::start(FICKLE).await;
    let mut service = serve(&place, &fickle);
    let symbols: Vec<String> = (0..SYMBOLS).map(|number| format!("S{number:03}")).collect();
    add_assets(&service, &symbols).await;
    for round in 0..rounds {
        let at = format!("2026-01-01T00:{round:02}:00Z");
        let rows: Vec<Value> = symbols
            .iter()
            .map(|symbol| json!({ "symbol": symbol, "price": format!("{round}.5"), "timestamp": at }))
            .collect();
        service.api.post("/prices/batch", &json!(rows)).await.expect(200);
        // Killed once some of this round's posts were sent.
        let sent = fickle.seen.lock().unwrap().requests + 20 + 13 * round;
        let begun = Instant::now();
        while fickle.seen.lock().unwrap().requests < sent && begun.elapsed() < Duration::from_secs(20) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        service.kill();
        service = serve(&place, &fickle);
    }
    fickle.behave(GOOD);
    let begun = Instant::now();
    let outbox = loop {
        let outbox = service.api.get("/ingest/outbox").await.expect(200);
        if outbox["depth"] == 0 {
            break outbox;
        }
        assert!(begun.elapsed() < Duration::from_mins(1), "{outbox}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    service.stop();
    fickle.assert_orderly();
    let last = format!("{}.5", rounds - 1);
    let told = fickle.last();
    assert_eq!(told.len(), SYMBOLS);
    assert!(told.values().all(|(_, price)| *price == last), "{told:?}");
    // Each price of each symbol at most once, whatever was killed when.
    for (symbol, told) in &fickle.seen.lock().unwrap().told {
        assert!(told.is_sorted_by(|a, b| a.0 < b.0), "{symbol}: {told:?}");
    }
    let ends = outbox["delivered"].as_u64().unwrap() + outbox["superseded"].as_u64().unwrap();
    assert_eq!(ends, u64::try_from(SYMBOLS * rounds).unwrap(), "{outbox}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_neither_lose_nor_double_a_post_on_sqlite() {
    killed_in_the_middle(Backend::Sqlite, 6).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_neither_lose_nor_double_a_post_on_postgres() {
    killed_in_the_middle(Backend::Postgres, 3).await;
}

const FILE: &str = "time,price\n2026-01-01,2050.10\n2026-01-02,2061.5\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_says_what_was_posted_on_and_its_exit_code_shows_it() {
    let place = Place::new(Backend::Sqlite).await;
    place.run(&["seed", "gold-bitcoin"]).ok();
    let file = place.file("gold.csv", FILE);
    let fickle = Fickle::start(GOOD).await;
    let ingest = |url: &str, wait: &str| {
        let arguments = ["ingest", &file, "--symbol", "GOLD", "--source", "one", "--post-wait", wait];
        let mut command = place.command(&arguments);
        command.env("INFRA_API_URL", url).env("INFRA_API_KEY", "art_key");
        finish(command, b"")
    };
    let out = ingest(&fickle.url(), "30").ok();
    assert!(out.contains("delivered 1, superseded 0, refused 0, pending 0"), "{out}");
    assert_eq!(fickle.last()["GOLD"], ("2026-01-02T00:00:00.000000Z".to_owned(), "2061.5".to_owned()));
    // The same again: nothing is left to be told.
    let out = ingest(&fickle.url(), "30").ok();
    assert!(out.contains("delivered 0, superseded 0, refused 0, pending 0"), "{out}");
    // Refused: failed. Nobody there: pending, and delivered by the next run.
    fickle.behave(PICKY);
    let newer = |day: u32| {
        place.file("gold.csv", &format!("{FILE}2026-01-{day:02},{day}\n"));
    };
    newer(3);
    let refused = ingest(&fickle.url(), "30");
    assert!(refused.out.contains("refused 1"), "{}", refused.out);
    assert!(refused.failed(1).contains("/ingest/outbox/dead-letters"));
    newer(4);
    let pending = ingest("http://127.0.0.1:9", "1");
    assert!(pending.out.contains("delivered 0") && pending.out.contains("pending 1"), "{}", pending.out);
    assert!(!pending.failed(75).contains("art_key"));
    fickle.behave(GOOD);
    let out = ingest(&fickle.url(), "30").ok();
    assert!(out.contains("pending 0"), "{out}");
    assert_eq!(fickle.last()["GOLD"].1, "4");
    fickle.assert_orderly();
    assert!(ingest("nonsense", "1").failed(2).contains("outbox.url (environment INFRA_API_URL)"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_names_another_instance_only_where_the_service_does() {
    let place = Place::new(Backend::Sqlite).await;
    place.run(&["seed", "gold-bitcoin"]).ok();
    let file = place.file("gold.csv", FILE);
    let fickle = Fickle::start(GOOD).await;
    let command = || {
        let mut command = place.command(&["ingest", &file, "--symbol", "GOLD", "--source", "one"]);
        command.env("INFRA_API_URL", fickle.url());
        command
    };
    let silent = place.serve(&OPEN);
    let error = finish(command(), b"").failed(2);
    assert!(error.contains("environment INFRA_API_URL") && error.contains("posts them nowhere"), "{error}");
    assert_eq!(silent.api.get("/prices?symbol=GOLD&source=one").await.expect(200), json!([]));
    silent.stop();
    let service = serve(&place, &fickle);
    let out = finish(command(), b"").ok();
    assert!(out.contains("delivered 1, superseded 0, refused 0, pending 0"), "{out}");
    service.stop();
}

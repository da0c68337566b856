//! kill -9 while the files of a source are written: a reader finds whole files that belong together, every time.

use super::load::Chance;
use super::{Api, OPEN, Place};
use crate::support::Backend;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Rows of one import.
const ROWS: usize = 700;
/// Longest time for which a reader may find a manifest that is not that of the records.
const ODD: Duration = Duration::from_millis(500);

/// A file of minutes of its own.
fn table(number: usize) -> String {
    (0..ROWS).fold("time,close\n".to_owned(), |mut text, row| {
        writeln!(text, "{},{}", minute(number, row), number * ROWS + row).unwrap();
        text
    })
}

fn minute(number: usize, row: usize) -> String {
    let (day, minute) = (number % 28 + 1, row + number / 28 * ROWS);
    format!("2026-01-{day:02}T{:02}:{:02}:00Z", minute / 60, minute % 60)
}

async fn gold(api: &Api) {
    let market = json!({ "code": "X", "name": "X", "market_type": "OTC", "timezone": "UTC" });
    api.post("/markets", &market).await.expect(201);
    let asset = json!({ "symbol": "GOLD", "name": "GOLD", "asset_type": "COMMODITY", "market_code": "X" });
    api.post("/assets", &asset).await.expect(201);
}

async fn import(api: &Api, number: usize) -> Option<Value> {
    let key = format!("file-{number}");
    let headers = [("content-type", "text/csv"), ("idempotency-key", key.as_str())];
    let path = "/prices/import?symbol=GOLD&source=desk&interval=1m&save_records=true";
    let reply = api.attempt("POST", path, &headers, table(number).as_bytes()).await.ok()?;
    let report = reply.expect(200);
    assert_eq!((&report["stored"], &report["records"]["error"]), (&json!(ROWS), &Value::Null));
    Some(report)
}

/// Hash of the records, and those of the manifest and of the one that is about to hold.
fn hashes(folder: &Path) -> (Option<String>, [Option<String>; 2]) {
    // Read one after another, without anything between them that takes time.
    let read = |name: &str| std::fs::read(folder.join(name)).ok();
    let [records, manifest, next] = ["records.json", "manifest.json", "manifest.next.json"].map(read);
    let records = records.map(|bytes| {
        Sha256::digest(&bytes).iter().fold(String::new(), |mut text, byte| {
            write!(text, "{byte:02x}").unwrap();
            text
        })
    });
    let described = |bytes: Option<Vec<u8>>| {
        let manifest: Value = serde_json::from_slice(&bytes?).expect("a whole manifest");
        Some(manifest["sha256"].as_str().unwrap().to_owned())
    };
    (records, [manifest, next].map(described))
}

/// What a reader of the files finds: the numbers of the imports that are in them.
fn found(folder: &Path) -> BTreeSet<usize> {
    let (Some(records), described) = hashes(folder) else { return BTreeSet::new() };
    assert!(described.contains(&Some(records)), "nothing describes the records");
    let rows: Vec<Value> =
        serde_json::from_slice(&std::fs::read(folder.join("records.json")).unwrap()).unwrap();
    let mut last = String::new();
    let mut of = BTreeMap::<usize, usize>::new();
    for row in rows {
        let at = row["timestamp"].as_str().unwrap().to_owned();
        assert!(last < at, "{at} after {last}");
        last = at;
        let close = usize::try_from(row["close"].as_u64().unwrap()).unwrap();
        let (number, place) = (close / ROWS, close % ROWS);
        assert_eq!(last, minute(number, place).replace('Z', ".000000Z"));
        *of.entry(number).or_default() += 1;
    }
    assert!(of.values().all(|rows| *rows == ROWS), "an import by half: {of:?}");
    of.into_keys().collect()
}

fn folder(place: &Place) -> PathBuf {
    place.data().join("ingest").join("desk")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_kills_leave_whole_files_that_belong_together() {
    let place = Place::new(Backend::Sqlite).await;
    let mut service = place.serve(&OPEN);
    gold(&service.api).await;
    let mut chance = Chance::new(15);
    let (mut answered, mut writing, mut between) = (BTreeSet::new(), 0, 0);
    // How long the last whole import took: the files are written at its end, and the kill comes anywhere in it.
    let mut took = Duration::from_millis(50);
    for number in 0..50 {
        let api = service.api.clone();
        let sending = tokio::spawn(async move { import(&api, number).await });
        let pause = chance.below(u64::try_from(took.as_micros()).unwrap());
        tokio::time::sleep(Duration::from_micros(pause)).await;
        service.kill();
        let done = sending.await.unwrap().is_some();
        let there = found(&folder(&place));
        assert!(there.is_superset(&answered), "{:?} were answered for", answered.difference(&there));
        assert!(!done || there.contains(&number), "answered for, and not in the files");
        writing += usize::from(!done && folder(&place).join(".records.part").exists());
        between += usize::from(folder(&place).join("manifest.next.json").exists());
        service = place.serve(&OPEN);
        // Sent again it is done once, and the files have it.
        let asked = Instant::now();
        import(&service.api, number).await.expect("an answer");
        took = asked.elapsed();
        answered.insert(number);
        assert_eq!(found(&folder(&place)), answered);
        let manifest = service.api.get("/ingest/sources/desk/manifest").await.expect(200);
        assert_eq!(manifest["count"], answered.len() * ROWS);
        assert_eq!(Some(manifest["sha256"].as_str().unwrap().to_owned()), hashes(&folder(&place)).0);
    }
    service.stop();
    eprintln!("of 50 kills {writing} came while the records were written and {between} between the steps");
    assert!(writing + between > 2, "too little was tried");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_finds_files_that_belong_together_while_they_are_written() {
    let place = Place::new(Backend::Sqlite).await;
    let service = place.serve(&OPEN);
    gold(&service.api).await;
    let (stop, read) = (Arc::new(AtomicBool::new(false)), folder(&place));
    let watching = std::thread::spawn({
        let stop = Arc::clone(&stop);
        move || {
            let (mut looks, mut fitting) = (0, Instant::now());
            while !stop.load(Ordering::SeqCst) {
                let looked = Instant::now();
                let (records, [manifest, _]) = hashes(&read);
                // What does not fit is looked at again at once: how long it stays so counts, not how long a look takes.
                if records == manifest {
                    fitting = Instant::now();
                }
                let odd = looked.saturating_duration_since(fitting);
                assert!(odd < ODD, "no pair that fits for {odd:?}");
                looks += 1;
            }
            looks
        }
    });
    for number in 0..20 {
        import(&service.api, number).await.expect("an answer");
    }
    stop.store(true, Ordering::SeqCst);
    assert!(watching.join().unwrap() > 5);
    service.stop();
}

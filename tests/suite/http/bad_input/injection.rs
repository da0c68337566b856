//! Names that want to be SQL or a path: they are names, find nothing, and reach nothing outside.

use super::World;
use crate::on_both;
use crate::support::Reply;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What turns a statement into another where texts are pasted together.
const SQL: [&str; 12] = [
    "' OR '1'='1",
    "' OR 1=1 --",
    "GOLD' --",
    "GOLD'/**/OR/**/'a'='a",
    "x'; DROP TABLE markets; --",
    "x'; UPDATE portfolios SET name = 'owned'; --",
    "x' UNION SELECT name, name, name FROM users --",
    "x'||(SELECT CASE WHEN 1=1 THEN pg_sleep(8) ELSE NULL END)||'",
    "1; ATTACH DATABASE '/tmp/owned.db' AS owned; --",
    "\\'; DELETE FROM prices; --",
    "%' OR name LIKE '%",
    "$1",
];

/// Ways out of a folder, as they stand in a line.
const WAYS: [&str; 14] = [
    "..%2Fnest",
    "..%2F..%2Fnest",
    "..%2Fcanary",
    "..%2F..%2Fcanary",
    "..%2Fartifact.secret",
    "%2e%2e%2fcanary",
    "%2e%2e%2F%2e%2e%2Fcanary",
    "..%5C..%5Ccanary",
    "..%252Fcanary",
    ".%2e/canary",
    "....%2F%2Fcanary",
    "%2Fetc%2Fpasswd",
    "..%2Fcanary%00",
    "desk%2F..%2F..%2Fcanary",
];

/// Longest an answer may take: a statement that sleeps was run.
const AT_ONCE: Duration = Duration::from_secs(5);

fn quoted(text: &str) -> String {
    text.bytes().fold(String::new(), |mut line, byte| {
        use std::fmt::Write as _;
        write!(line, "%{byte:02X}").unwrap();
        line
    })
}

/// The rows of a list, or none when the question was refused.
fn rows(reply: &Reply) -> usize {
    if reply.status.is_client_error() {
        return 0;
    }
    reply.expect(200).as_array().map_or(0, Vec::len)
}

async fn asks_for_nothing(world: &World, text: &str) {
    let q = quoted(text);
    let started = Instant::now();
    for line in [
        format!("/markets?q={q}"),
        format!("/assets?q={q}"),
        format!("/assets?market_code={q}"),
        format!("/portfolios?owner_id={q}"),
        format!("/portfolios?q={q}"),
        format!("/prices?symbol={q}"),
        format!("/prices?symbol=GOLD&source={q}"),
        format!("/prices?symbol=GOLD&interval={q}"),
        format!("/prices/latest?symbols={q}"),
        format!("/fx?base={q}&quote=USD"),
        format!("/portfolios/{q}"),
        format!("/portfolios/PF/positions?status={q}"),
        format!("/portfolios/PF/transactions?type={q}"),
        format!("/portfolios/PF/transactions?symbol={q}"),
        format!("/audit?actor={q}"),
        format!("/audit?action={q}"),
        format!("/markets/{q}"),
        format!("/assets/{q}/price"),
        format!("/ingest/queue/{q}"),
        format!("/ingest/sources/{q}/records"),
        format!("/backups/{q}"),
        format!("/keys/{q}"),
        format!("/users/{q}"),
    ] {
        let reply = world.app.get(&world.path(&line)).await;
        assert!(!reply.status.is_server_error(), "{line}: {}", reply.text());
        assert_eq!(rows(&reply), 0, "{line} found {}", reply.text());
        assert!(started.elapsed() < AT_ONCE, "{line} slept");
    }
}

/// Names that are stored, and come back as they were sent.
async fn are_names(world: &World, number: usize, text: &str) {
    let market =
        json!({ "code": format!("M{number}"), "name": text, "market_type": "OTC", "timezone": "UTC" });
    let made = world.app.post("/markets", &market).await.expect(201);
    assert_eq!(made["name"], text);
    let portfolio = json!({ "name": text, "owner_id": text, "initial_capital": "1" });
    let id = world.app.post("/portfolios", &portfolio).await.expect(201)["id"].as_str().unwrap().to_owned();
    let read = &world.app.get(&format!("/portfolios/{id}")).await.expect(200)["portfolio"];
    assert_eq!((&read["name"], &read["owner_id"]), (&json!(text), &json!(text)));
    let note = json!({ "type": "deposit", "amount": "1", "note": text, "external_id": text, "metadata": { text: text } });
    let entry = world.app.post(&format!("/portfolios/{id}/transactions"), &note).await.expect(201);
    assert_eq!((&entry["note"], &entry["external_id"]), (&json!(text), &json!(text)));
    world.app.delete(&format!("/portfolios/{id}")).await;
}

/// Every file below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

on_both! {
    async fn sql_in_a_name_is_a_name(backend) {
        let world = World::new(backend).await;
        let before = world.everything().await;
        for text in SQL {
            asks_for_nothing(&world, text).await;
        }
        assert_eq!(world.everything().await, before);
        for (number, text) in SQL.iter().enumerate() {
            are_names(&world, number, text).await;
        }
        let read = world.app.get(&world.path("/portfolios/PF")).await.expect(200);
        assert_eq!(read["portfolio"]["name"], "book");
        assert!(!Path::new("/tmp/owned.db").exists());
        world.app.stop().await;
    }

    async fn no_name_leads_out_of_its_folder(backend) {
        let world = World::new(backend).await;
        let data = world.app.location.directory().to_owned();
        for place in [data.clone(), data.parent().unwrap().to_owned()] {
            std::fs::write(place.join("canary"), "a canary sings").unwrap();
            // It looks as if it were the folder of a source.
            std::fs::create_dir(place.join("nest")).unwrap();
            std::fs::write(place.join("nest/records.json"), "[\"a canary sings\"]").unwrap();
        }
        let import = |source: &str| format!("/prices/import?symbol=GOLD&source={source}&save_records=true");
        let table = b"time,close\n2026-01-05,10\n";
        world.app.send("POST", &import("desk"), &[("content-type", "text/csv")], table).await.expect(200);
        let before = files(data.parent().unwrap());
        for way in WAYS {
            for line in [
                format!("/ingest/sources/{way}/records"),
                format!("/ingest/sources/{way}/manifest"),
                format!("/ingest/feeds/{way}"),
                format!("/backups/{way}"),
                format!("/docs/ui/{way}"),
                format!("/docs/{way}"),
                format!("/{way}"),
                format!("/assets/{way}"),
            ] {
                let reply = world.app.get(&line).await;
                let said = String::from_utf8_lossy(&reply.body).into_owned();
                assert!(reply.status.is_client_error(), "{line}: {} {said}", reply.status);
                assert!(!said.contains("sings") && !said.contains("root:"), "{line}: {said}");
            }
            for (method, line) in [
                ("POST", import(way)),
                ("POST", format!("/backups/{way}/verify")),
                ("POST", format!("/ingest/feeds/{way}/start")),
                ("PUT", format!("/prices/sources/{way}")),
                ("DELETE", format!("/keys/{way}")),
            ] {
                let reply = world.app.send(method, &line, &[("content-type", "text/csv")], table).await;
                assert!(reply.status.is_client_error(), "{line}: {} {}", reply.status, reply.text());
            }
        }
        let new: Vec<PathBuf> = files(data.parent().unwrap()).into_iter().filter(|file| !before.contains(file)).collect();
        // A database writes into files of its own.
        let outside: Vec<&PathBuf> = new.iter().filter(|file| !file.to_string_lossy().contains("artifact.db")).collect();
        assert!(outside.is_empty(), "{outside:?}");
        world.app.stop().await;
    }
}

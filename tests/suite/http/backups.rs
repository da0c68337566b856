//! Backups over HTTP: taken, listed, tried, and by those who may only.

use crate::on_both;
use crate::support::{START, Scratch, TestApp, fresh_location};
use artifact::clock::Clock;
use artifact::domain::moment::Moment;
use artifact::http::auth::Access;
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

/// Longest wait for what must come.
const PATIENCE: Duration = Duration::from_secs(20);

on_both! {
    async fn a_backup_is_taken_listed_and_tried_over_http(backend) {
        let app = TestApp::start(backend).await;
        app.gold_and_bitcoin("1000").await;
        assert_eq!(app.get("/backups").await.expect(200), json!([]));
        let reply = app.post("/backups", &json!({})).await;
        let made = reply.expect(201);
        let path = reply.headers["location"].to_str().unwrap().to_owned();
        assert_eq!((path.as_str(), &made["success"]), (format!("/backups/{}", made["id"].as_str().unwrap()).as_str(), &json!(true)));
        assert_eq!(app.get("/health").await.expect(200)["checks"]["backup"]["last_success_at"], made["created_at"]);
        let kept = app.get(&path).await.expect(200);
        assert_eq!((&kept["archive"], &kept["sound"], &kept["verified_at"]), (&made["archive"], &Value::Null, &Value::Null));
        let found = app.post(&format!("{path}/verify"), &json!({})).await.expect(200);
        assert_eq!((&found["sound"], &found["portfolios"]), (&json!(true), &json!(1)), "{found}");
        let listed = app.get("/backups").await.expect(200);
        assert_eq!((listed.as_array().unwrap().len(), &listed[0]["sound"]), (1, &json!(true)));
        assert_eq!(app.get("/backups/0000").await.code(404), "backup_not_found");
        app.stop().await;
    }

    async fn a_backup_that_was_cut_off_stays_the_latest_and_is_not_sound(backend) {
        let app = TestApp::start(backend).await;
        app.post("/backups", &json!({})).await.expect(201);
        app.set_clock("2026-11-24T12:00:00Z");
        let newer = app.post("/backups", &json!({})).await.expect(201);
        let archive = app.location.directory().join("backups").join(newer["archive"].as_str().unwrap());
        let file = std::fs::File::options().write(true).open(archive).unwrap();
        file.set_len(file.metadata().unwrap().len() - 100).unwrap();
        let listed = app.get("/backups").await.expect(200);
        assert_eq!((listed.as_array().unwrap().len(), &listed[1]["id"], &listed[1]["sound"]), (2, &newer["id"], &json!(false)));
        let found = app.post("/backups/latest/verify", &json!({})).await.expect(200);
        assert_eq!(found["sound"], false, "{found}");
        assert_eq!(app.get("/health").await.expect(200)["checks"]["backup"]["ok"], false);
        app.stop().await;
    }

    async fn a_backup_whose_caller_goes_away_is_told_all_the_same(backend) {
        let app = TestApp::start(backend).await;
        let mut stream = TcpStream::connect(app.address).await.unwrap();
        let head = format!("POST /backups HTTP/1.1\r\nhost: {}\r\ncontent-length: 0\r\n\r\n", app.address);
        stream.write_all(head.as_bytes()).await.unwrap();
        let started = Instant::now();
        // Under way: its scratch folder is there. Then the caller hangs up.
        let scratch = |entry: std::io::Result<std::fs::DirEntry>| entry.unwrap().file_name().to_string_lossy().starts_with(".backup-");
        while !std::fs::read_dir(app.location.directory()).unwrap().any(scratch) {
            assert!(started.elapsed() < PATIENCE, "no backup begins");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        drop(stream);
        loop {
            let rows = app.get("/audit?action=backup.create").await.expect(200);
            if let Some(row) = rows.as_array().unwrap().first() {
                assert_eq!(row["object_id"], app.get("/backups").await.expect(200)[0]["id"]);
                break;
            }
            assert!(started.elapsed() < PATIENCE, "no row: {}", app.get("/backups").await.text());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        app.stop().await;
    }

    async fn only_a_key_with_the_scope_takes_backups(backend) {
        let scratch = Scratch::new();
        let location = fresh_location(backend, &scratch).await;
        let app = TestApp::start_on(location, Clock::manual(Moment::parse(START).unwrap()), Access::Keys).await;
        let admin = app.app.admin_key("first").await.unwrap();
        let with = async |key: &str, method: &str, path: &str, body: &Value| {
            let headers = [("x-api-key", key), ("content-type", "application/json")];
            app.send(method, path, &headers, body.to_string().as_bytes()).await
        };
        let key = async |scope: &str| {
            let body = json!({ "name": scope, "owner_id": "o", "scopes": [scope] });
            with(&admin, "POST", "/keys", &body).await.expect(201)["key"].as_str().unwrap().to_owned()
        };
        let (reader, keeper) = (key("portfolios:read").await, key("backups:write").await);
        assert_eq!(app.send("POST", "/backups", &[], b"{}").await.code(401), "unauthorized");
        with(&reader, "POST", "/backups", &json!({})).await.expect(403);
        with(&reader, "GET", "/backups", &Value::Null).await.expect(403);
        with(&keeper, "POST", "/backups", &json!({})).await.expect(201);
        assert_eq!(with(&keeper, "GET", "/backups", &Value::Null).await.expect(200).as_array().unwrap().len(), 1);
        app.stop().await;
    }
}

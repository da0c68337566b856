//! Backups over HTTP: taken, listed, tried, and by those who may only.

use crate::on_both;
use crate::support::{START, Scratch, TestApp, fresh_location};
use artifact::clock::Clock;
use artifact::domain::moment::Moment;
use artifact::http::auth::Access;
use artifact::random::Random;
use artifact::workers::backup::schedule::Schedule;
use artifact::workers::backup::watch::Watch;
use artifact::workers::backup::{Backups, Settings};
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

    async fn a_drill_that_cannot_be_tried_counts_as_one_that_failed(backend) {
        let app = TestApp::start(backend).await;
        app.gold_and_bitcoin("1000").await;
        app.post("/backups", &json!({})).await.expect(201);
        let health = async || {
            let health = app.get("/health").await.expect(200);
            let warned = health["warnings"].as_array().unwrap().contains(&json!("backup"));
            assert_eq!(health["checks"]["backup"]["ok"], !warned);
            warned
        };
        assert!(!health().await);
        let [key, away] = ["audit.key", "lent.key"].map(|name| app.location.directory().join(name));
        std::fs::rename(&key, &away).unwrap();
        assert_eq!(app.post("/backups/latest/verify", &json!({})).await.code(500), "backup_failed");
        assert!(health().await, "nobody is told");
        let status = app.app.state.backups.status();
        assert!(status.verify_failure.as_ref().unwrap().contains("could not be tried"), "{status:?}");
        let metrics = app.get("/metrics").await.text();
        let count = metrics.lines().find_map(|line| line.strip_prefix("backup_verify_failures_total "));
        // Other tests of this process may have counted as well.
        assert!(count.unwrap().parse::<f64>().unwrap() >= 1.0, "{count:?}");
        // What is not there was not tried, and one that is sound is.
        assert_eq!(app.post("/backups/0000/verify", &json!({})).await.code(404), "backup_not_found");
        std::fs::rename(&away, &key).unwrap();
        assert_eq!(app.post("/backups/latest/verify", &json!({})).await.expect(200)["sound"], true);
        assert!(!health().await);
        app.stop().await;
    }

    async fn a_clock_that_ran_ahead_once_silences_no_schedule_and_makes_no_backup_the_latest_for_ever(backend) {
        let app = TestApp::start(backend).await;
        let settings = Settings {
            schedule: Schedule::parse("0 * * * *"),
            verify_schedule: Schedule::parse("30 * * * *"),
            ..Settings::usual(app.location.directory())
        };
        let backups = Backups::new(app.location.clone(), settings.clone());
        let mut watch = Watch::begin(&backups, app.clock.now());
        let mut turn = async |now: &str| {
            app.set_clock(now);
            watch.turn(&backups, &app.app.state.db, (&app.clock, Random::System)).await.unwrap();
            backups.list().await.unwrap()
        };
        let kept = turn("2026-11-23T13:00:00Z").await;
        let before = kept[0].manifest.id;
        // For a moment it is a year later, and back.
        let kept = turn("2027-11-23T13:00:01Z").await;
        let ahead = kept.last().unwrap().clone();
        assert_ne!(ahead.manifest.id, before);
        assert_eq!(ahead.sound, Some(true));
        turn("2026-11-23T13:00:20Z").await;
        let status = backups.status();
        // What is of a time to come counts for nothing.
        let before_that = Moment::parse("2026-11-23T13:00:00Z").ok();
        assert_eq!((status.last_success_at, status.last_verified_at), (before_that, before_that), "{status:?}");
        let kept = turn("2026-11-23T14:00:00Z").await;
        let after = kept.last().unwrap();
        assert!(![before, ahead.manifest.id].contains(&after.manifest.id), "no backup was due");
        assert_eq!(backups.find("latest").await.unwrap().manifest.id, after.manifest.id);
        let kept = turn("2026-11-23T14:30:00Z").await;
        assert_eq!(kept.last().unwrap().sound, Some(true), "no drill was due, or it tried another one");
        // Another process begins with what is there.
        let again = Backups::new(app.location.clone(), settings);
        again.recall(app.clock.now()).await.unwrap();
        assert_eq!(again.status().last_success_at, Moment::parse("2026-11-23T14:00:00Z").ok());
        assert_eq!(again.status().last_verified_at, Some(app.clock.now()));
        app.stop().await;
    }

    async fn a_backup_of_a_time_to_come_is_warned_of(backend) {
        let app = TestApp::start(backend).await;
        app.set_clock("2027-11-23T12:00:00Z");
        app.post("/backups", &json!({})).await.expect(201);
        app.set_clock(START);
        assert_eq!(app.get("/health").await.expect(200)["checks"]["backup"]["ok"], false);
        // Nobody can tell when it was taken, and it is shown to nobody as of then.
        app.app.state.backups.look(&app.app.state.db, app.clock.now()).await.unwrap();
        let health = app.get("/health").await.expect(200);
        assert_eq!(health["checks"]["backup"]["last_success_at"], Value::Null);
        app.stop().await;
    }

    async fn data_that_is_older_than_a_backup_may_be_and_has_none_is_warned_of(backend) {
        let app = TestApp::start(backend).await;
        let ok = async |now: &str| {
            app.set_clock(now);
            app.app.state.backups.look(&app.app.state.db, app.clock.now()).await.unwrap();
            app.get("/health").await.expect(200)["checks"]["backup"]["ok"] == true
        };
        assert!(ok("2026-11-30T12:00:00Z").await, "there is nothing to save");
        app.gold_and_bitcoin("1000").await;
        assert!(ok("2026-12-01T13:00:00Z").await);
        assert!(!ok("2026-12-01T15:00:00Z").await, "26 hours without a backup");
        app.post("/backups", &json!({})).await.expect(201);
        assert!(ok("2026-12-01T15:00:00Z").await);
        assert!(!ok("2026-12-02T18:00:00Z").await);
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

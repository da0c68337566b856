//! What the health route only warns of: what waits, what is silent, and what is not proven any more.

use crate::feeds::replay::{Rest, good};
use crate::on_both;
use crate::support::{Backend, START, Scratch, TestApp, fresh_location};
use artifact::app::App;
use artifact::clock::Clock;
use artifact::domain::batch::BatchState;
use artifact::domain::moment::Moment;
use artifact::http::auth::{Access, Door};
use artifact::http::router;
use artifact::storage::anchor_file::ANCHORS_FILE;
use artifact::storage::error::StorageError;
use artifact::storage::ingest_queue as stored;
use artifact::workers::ingest_queue::{Limits, Queue};
use artifact::workers::outbound::Outbound;
use artifact::workers::outbound::address::Reach;
use artifact::workers::outbound::target::Target;
use artifact::workers::outbox::{Pace, Remote};
use axum::body::Body;
use http_body_util::BodyExt as _;
use hyper::Request;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tower::ServiceExt as _;

/// An app nothing runs beside: what waits goes on waiting.
struct Still {
    app: App,
    clock: Clock,
    _scratch: Scratch,
}

impl Still {
    async fn open(backend: Backend) -> Self {
        let scratch = Scratch::new();
        let location = fresh_location(backend, &scratch).await;
        let clock = Clock::manual(Moment::parse(START).unwrap());
        let app = App::open(&location, clock.clone(), Access::OpenLoopback).await.unwrap();
        Self { app, clock, _scratch: scratch }
    }

    async fn send(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let router = router::service(&self.app.state, Door::Owner);
        let request = Request::builder().method(method).uri(path).header("host", "localhost");
        let request = request.header("content-type", "application/json");
        let body = if method == "GET" { Body::empty() } else { Body::from(body.to_string()) };
        let reply = router.oneshot(request.body(body).unwrap()).await.unwrap();
        let status = reply.status().as_u16();
        let bytes = reply.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&bytes).unwrap())
    }

    async fn queue(&self) -> u16 {
        let row = json!([{ "symbol": "GOLD", "price": "1", "timestamp": "2026-01-01" }]);
        self.send("POST", "/ingest/queue", &row).await.0
    }

    /// What one check says, and the warnings. Whatever it is, requests may be sent and the service is healthy.
    async fn check(&self, name: &str) -> (Value, Value) {
        let (status, ready) = self.send("GET", "/health/ready", &Value::Null).await;
        assert_eq!(status, 200, "{ready}");
        let (status, health) = self.send("GET", "/health", &Value::Null).await;
        assert_eq!((status, &health["status"]), (200, &json!("healthy")), "{health}");
        // The clock stands still here, so that the stamps of commits get ahead of it.
        let warnings = health["warnings"].as_array().unwrap().iter();
        let warnings = warnings.filter(|warning| **warning != "clock_behind").cloned().collect();
        (health["checks"][name].clone(), warnings)
    }
}

/// A check of a running service, once it says so.
async fn once(app: &TestApp, name: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    for _ in 0..1_000 {
        let health = app.get("/health").await.expect(200);
        if is_so(&health["checks"][name]) {
            return health;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{name}: {}", app.get("/health").await.text());
}

/// Waits until nothing that was answered before can be under way.
async fn asked_more(venue: &Rest) {
    let asked = venue.asked().len();
    while venue.asked().len() < asked + 3 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn warned(health: &Value, of: &str) -> bool {
    health["warnings"].as_array().unwrap().iter().any(|warning| warning == of)
}

on_both! {
    async fn a_queue_that_is_full_or_stands_still_is_warned_of_and_everything_else_goes_on(backend) {
        let mut still = Still::open(backend).await;
        let limits = Limits { batches: 2, ..Limits::default() };
        Arc::make_mut(&mut still.app.state).queue = Arc::new(Queue::with(limits));
        let empty = json!({ "ok": true, "depth": 0, "oldest_seconds": 0, "dead_letters": 0, "full": false });
        assert_eq!(still.check("queue").await, (empty, json!([])));
        assert_eq!(still.queue().await, 202);
        still.clock.set(Moment::parse("2026-11-23T12:01:00Z").unwrap());
        let waits = json!({ "ok": true, "depth": 1, "oldest_seconds": 59, "dead_letters": 0, "full": false });
        let (queue, warnings) = still.check("queue").await;
        // The stamp of the batch may be a second after the clock by then.
        assert!(queue == waits || queue["oldest_seconds"] == 60, "{queue}");
        assert_eq!(warnings, json!([]));
        still.clock.set(Moment::parse("2026-11-23T12:01:02Z").unwrap());
        let (queue, warnings) = still.check("queue").await;
        assert_eq!((&queue["ok"], &queue["full"], &warnings), (&json!(false), &json!(false), &json!(["queue"])), "{queue}");
        assert_eq!(still.queue().await, 202);
        assert_eq!(still.queue().await, 503, "it takes no more");
        let (queue, warnings) = still.check("queue").await;
        assert_eq!((&queue["depth"], &queue["full"], &warnings), (&json!(2), &json!(true), &json!(["queue"])));
        let (status, _) = still.send("POST", "/portfolios", &json!({ "name": "b", "owner_id": "o", "initial_capital": "1" })).await;
        assert_eq!(status, 201);
        still.app.state.db.close().await;
    }

    async fn a_batch_that_was_given_up_is_warned_of(backend) {
        let still = Still::open(backend).await;
        assert_eq!(still.queue().await, 202);
        let give_up = still.app.state.db.writer().housekeep(|tx| Box::pin(async move {
            let first = stored::in_state(tx, BatchState::Queued, None, 1).await?.remove(0);
            stored::fail(tx, &first, "planted", BatchState::Dead).await?;
            Ok::<_, StorageError>(())
        }));
        give_up.await.unwrap();
        let dead = json!({ "ok": false, "depth": 0, "oldest_seconds": 0, "dead_letters": 1, "full": false });
        assert_eq!(still.check("queue").await, (dead, json!(["queue"])));
        still.app.state.db.close().await;
    }

    async fn prices_that_are_not_posted_on_are_warned_of(backend) {
        let mut still = Still::open(backend).await;
        assert_eq!(still.check("outbox").await, (Value::Null, json!([])), "nothing is posted on");
        let pace = Pace { at_once: 1, time_max: Duration::from_millis(1), first_pause: Duration::from_millis(1),
            longest_pause: Duration::from_millis(1), drain: Duration::from_millis(1) };
        let base = Target::parse("http://127.0.0.1:9").unwrap();
        still.app.post_on(Remote::new(Outbound::new(Reach::Anywhere).unwrap(), &base, None, pace));
        let market = json!({ "code": "M", "name": "M", "market_type": "CRYPTO_EXCHANGE", "timezone": "UTC" });
        assert_eq!(still.send("POST", "/markets", &market).await.0, 201);
        let asset = json!({ "symbol": "BTC", "name": "B", "asset_type": "CRYPTOCURRENCY", "market_code": "M" });
        assert_eq!(still.send("POST", "/assets", &asset).await.0, 201);
        let price = json!({ "symbol": "BTC", "price": "1", "timestamp": START });
        assert_eq!(still.send("POST", "/prices", &price).await.0, 200);
        let (outbox, warnings) = still.check("outbox").await;
        assert_eq!((&outbox["ok"], &outbox["depth"], &warnings), (&json!(true), &json!(1), &json!([])), "{outbox}");
        still.clock.set(Moment::parse("2026-11-23T12:15:02Z").unwrap());
        let (outbox, warnings) = still.check("outbox").await;
        assert_eq!((&outbox["ok"], &warnings), (&json!(false), &json!(["outbox"])), "{outbox}");
        still.app.state.db.close().await;
    }

    async fn a_trail_whose_anchors_are_behind_is_warned_of(backend) {
        let app = TestApp::start(backend).await;
        let anchored = once(&app, "audit", |audit| audit["anchored_at"].is_string() && audit["whole"] == true).await;
        assert!(!warned(&anchored, "audit"), "{anchored}");
        // Nothing can be written there any more.
        let file = app.location.directory().join(ANCHORS_FILE);
        std::fs::rename(&file, file.with_extension("aside")).unwrap();
        std::fs::create_dir(&file).unwrap();
        app.portfolio(&json!({})).await;
        app.set_clock("2026-11-23T12:02:00Z");
        let (db, now) = (app.app.state.db.clone(), app.clock.now());
        app.app.state.trail.anchor(&db, now).await.unwrap_err();
        let health = app.get("/health").await.expect(200);
        assert_eq!((&health["checks"]["audit"]["ok"], warned(&health, "audit")), (&json!(false), true), "{health}");
        assert!(health["checks"]["audit"]["behind_seconds"].as_u64() >= Some(100), "{health}");
        std::fs::remove_dir(&file).unwrap();
        std::fs::rename(file.with_extension("aside"), &file).unwrap();
        app.app.state.trail.anchor(&db, now).await.unwrap();
        let health = app.get("/health").await.expect(200);
        assert_eq!((&health["checks"]["audit"]["ok"], warned(&health, "audit")), (&json!(true), false), "{health}");
        app.stop().await;
    }

    async fn a_feed_that_gives_nothing_good_is_warned_of_until_it_does_or_is_not_wanted(backend) {
        let open = Arc::new(AtomicBool::new(true));
        let opened = Arc::clone(&open);
        let venue = Rest::start(move |_, _| {
            if opened.load(Ordering::SeqCst) { good(r#"{"data":[{"t":1700000040,"c":"1"}]}"#) } else { (503, Vec::new(), "no".to_owned()) }
        }).await;
        let configuration = format!(
            "[[feeds]]\nname = \"desk\"\nkind = \"http_json\"\nenabled = true\nallow_private = true\nurl = \"{}/{{symbol}}\"\n\
             symbols = [\"GOLD\"]\nevery = \"1s\"\njitter = \"0s\"\ntimeout = \"1s\"\nretry_min = \"10ms\"\nretry_max = \"10ms\"\n\
             per_minute = 60000\nburst = 1000\nfailures_max = 1000\n\
             [feeds.rows]\nat = \"/data\"\n[feeds.map]\nts = {{ at = \"/t\", unit = \"s\" }}\nclose = \"/c\"\n", venue.url());
        let app = TestApp::start_configured(backend, &configuration).await;
        app.gold_and_bitcoin("0").await;
        let well = once(&app, "feeds", |feeds| feeds["connected"] == 1).await;
        assert_eq!(well["checks"]["feeds"], json!({ "ok": true, "wanted": 1, "connected": 1, "stale": 0 }));
        // A venue that only says no is heard, and gives nothing.
        open.store(false, Ordering::SeqCst);
        once(&app, "feeds", |feeds| feeds["connected"] == 0).await;
        app.set_clock("2026-11-23T12:00:03Z");
        asked_more(&venue).await;
        assert!(!warned(&app.get("/health").await.expect(200), "feeds"), "twice the time is not over");
        app.set_clock("2026-11-23T12:00:30Z");
        let health = app.get("/health").await.expect(200);
        assert_eq!(health["checks"]["feeds"], json!({ "ok": false, "wanted": 1, "connected": 0, "stale": 1 }));
        assert!(warned(&health, "feeds") && health["status"] == "healthy", "{health}");
        app.get("/health/ready").await.expect(200);
        open.store(true, Ordering::SeqCst);
        let health = once(&app, "feeds", |feeds| feeds["stale"] == 0).await;
        assert!(!warned(&health, "feeds"), "{health}");
        open.store(false, Ordering::SeqCst);
        once(&app, "feeds", |feeds| feeds["connected"] == 0).await;
        asked_more(&venue).await;
        app.set_clock("2026-11-23T12:01:00Z");
        assert_eq!(app.get("/health").await.expect(200)["checks"]["feeds"]["stale"], 1);
        app.post("/ingest/feeds/desk/stop", &json!({})).await.expect(200);
        let health = once(&app, "feeds", |feeds| feeds["wanted"] == 0).await;
        assert!(!warned(&health, "feeds"), "nobody waits for it: {health}");
        app.stop().await;
    }
}

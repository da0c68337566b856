//! Whether the service says how it is.

use crate::on_both;
use crate::storage::raw::Raw;
use crate::support::{Backend, START, Scratch, TestApp, fresh_location, is_at_least, request};
use artifact::app::App;
use artifact::clock::Clock;
use artifact::domain::moment::Moment;
use artifact::http::auth::{Access, Door};
use artifact::http::health::Limits;
use artifact::http::router;
use artifact::storage::error::StorageError;
use artifact::workers::vitals::HOLDS;
use axum::body::Body;
use http_body_util::BodyExt as _;
use hyper::Request;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tower::ServiceExt as _;

on_both! {
    async fn a_working_service_is_healthy_live_and_ready(backend) {
        let app = TestApp::start(backend).await;
        for (path, now) in [("/health", "2026-11-23T12:00:01.000000Z"), ("/health/ready", "2026-11-23T12:00:02.000000Z")] {
            app.set_clock(now);
            let health = app.get(path).await.expect(200);
            assert_eq!((&health["status"], &health["timestamp"]), (&json!("healthy"), &json!(now)));
            let checks = &health["checks"];
            assert_eq!((&checks["database_write"], &checks["clock_behind"], &checks["draining"]), (&json!(true), &json!(false), &json!(false)));
            let engine = if backend == Backend::Sqlite { "SQLite" } else { "PostgreSQL" };
            let (name, version) = checks["database"].as_str().unwrap().split_once(' ').unwrap();
            assert_eq!(name, engine);
            assert!(backend == Backend::Postgres || is_at_least(version, [3, 51, 3]), "{version}");
            assert_eq!(checks["feeds"], json!({ "ok": true, "wanted": 0, "connected": 0, "stale": 0 }));
            assert_eq!((&checks["queue"]["ok"], &checks["outbox"], &checks["audit"]["ok"]), (&json!(true), &Value::Null, &json!(true)));
        }
        assert_eq!(app.get("/health/live").await.expect(200), json!({ "status": "alive" }));
        let started = app.get("/health/startup").await.expect(200);
        assert_eq!((&started["status"], &started["checks"]["migrations"]), (&json!("healthy"), &json!(true)));
        assert!(app.get("/docs").await.status.is_success());
        app.stop().await;
    }

    async fn the_start_is_not_over_while_the_schema_is_another_one(backend) {
        let app = TestApp::start(backend).await;
        let mut raw = Raw::open(&app.location).await;
        raw.run("UPDATE _sqlx_migrations SET version = version + 1000 WHERE version = (SELECT MAX(version) FROM _sqlx_migrations)").await;
        let told = app.get("/health/startup").await.expect(503);
        assert_eq!((&told["status"], &told["checks"]["migrations"]), (&json!("unhealthy"), &json!(false)));
        raw.close().await;
        app.stop().await;
    }

    async fn a_stranger_learns_whether_all_is_well_and_nothing_else(backend) {
        let scratch = Scratch::new();
        let location = fresh_location(backend, &scratch).await;
        let clock = Clock::manual(Moment::parse(START).unwrap());
        let app = TestApp::start_on(location, clock, Access::Keys).await;
        let key = app.app.admin_key("first").await.unwrap();
        for path in ["/health", "/health/ready", "/health/startup"] {
            let told = app.get(path).await.expect(200);
            let names: Vec<&str> = told.as_object().unwrap().keys().map(String::as_str).collect();
            assert_eq!((names, &told["status"]), (vec!["status", "timestamp"], &json!("healthy")), "{path}");
            let full = app.send("GET", path, &[("x-api-key", &key)], b"").await.expect(200);
            assert_eq!((&full["checks"]["database_write"], &full["version"]), (&json!(true), &json!(env!("CARGO_PKG_VERSION"))), "{path}");
            assert!(full["warnings"].is_array(), "{path}");
            let wrong = format!("art_{}_{}", "0".repeat(12), "0".repeat(64));
            assert_eq!(app.send("GET", path, &[("x-api-key", &wrong)], b"").await.code(401), "unauthorized", "{path}");
        }
        app.stop().await;
    }

    async fn a_clock_set_back_is_told_and_the_order_of_stamps_holds(backend) {
        let app = TestApp::start(backend).await;
        // A commit at noon, by a request that no rate limit counts: a clock moved by hand takes their time back, too.
        app.get("/health").await.expect(200);
        app.set_clock("2026-11-23T11:00:00Z");
        assert_eq!(app.get("/health").await.expect(200)["checks"]["clock_behind"], true);
        let id = app.portfolio(&json!({})).await;
        let created = app.get(&format!("/portfolios/{id}")).await.expect(200)["portfolio"]["created_at"].clone();
        assert!(created.as_str().unwrap() > "2026-11-23T12:00:00", "{created}");
        let app = app.restart().await;
        assert_eq!(app.get("/health").await.expect(200)["checks"]["clock_behind"], true);
        app.set_clock("2026-11-23T12:30:00Z");
        assert_eq!(app.get("/health").await.expect(200)["checks"]["clock_behind"], false);
        app.stop().await;
    }
}

/// Asks until the service says so; what was found holds for a second.
async fn comes_to(app: &TestApp, status: u16) {
    let began = Instant::now();
    while app.get("/health").await.status.as_u16() != status {
        assert!(began.elapsed() < Duration::from_secs(5), "/health does not come to {status}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Has the writer hang in a commit until it is let go.
async fn hang(app: &TestApp) -> (oneshot::Sender<()>, JoinHandle<Result<(), StorageError>>) {
    let (release, held) = oneshot::channel::<()>();
    let db = app.app.state.db.clone();
    let hanging = tokio::spawn(async move {
        let let_go = |_| StorageError::NotCommitted("let go".to_owned());
        db.writer().housekeep(move |_| Box::pin(async move { held.await.map_err(let_go) })).await
    });
    // The clock moves on until the commit under way has taken some time.
    while app.app.state.db.writer_lives(Duration::ZERO) {
        app.clock.set(Moment(app.clock.now().0 + 1));
        tokio::task::yield_now().await;
    }
    (release, hanging)
}

on_both! {
    async fn a_look_is_shared_so_that_no_strangers_question_costs_a_commit(backend) {
        let scratch = Scratch::new();
        let location = fresh_location(backend, &scratch).await;
        let clock = Clock::manual(Moment::parse(START).unwrap());
        let app = TestApp::start_on(location, clock, Access::Keys).await;
        // The first commit is stamped with the clock, and while it stands each further one a microsecond later.
        app.app.admin_key("first").await.unwrap();
        let stamp = || app.app.state.db.stamps().latest().0;
        let (before, began) = (stamp(), Instant::now());
        for _ in 0..40 {
            app.get("/health").await.expect(200);
            app.get("/health/ready").await.expect(200);
        }
        let (commits, most) = (stamp() - before, 2 + i64::try_from(began.elapsed().as_secs()).unwrap());
        assert!((1..=most).contains(&commits), "80 questions made {commits} commits");
        app.stop().await;
    }

    async fn those_who_ask_at_once_wait_for_the_same_look_and_learn_of_trouble_and_of_its_end(backend) {
        let app = TestApp::start(backend).await;
        comes_to(&app, 200).await;
        let (release, hanging) = hang(&app).await;
        comes_to(&app, 503).await;
        // What was found does not hold any more: those who come now need another look.
        tokio::time::sleep(HOLDS).await;
        let address = app.address;
        let ask = || tokio::spawn(async move {
            let began = Instant::now();
            let reply = request(address, "GET", "/health", &[], b"").await;
            (reply.status.as_u16(), began.elapsed())
        });
        // The first goes away while its look is under way; the others get what it finds.
        let first = ask();
        tokio::time::sleep(Duration::from_millis(100)).await;
        first.abort();
        let asked: Vec<_> = (0..100).map(|_| ask()).collect();
        tokio::time::sleep(Duration::from_millis(200)).await;
        let waiting = app.app.state.db.writer().waiting();
        assert!(waiting <= 4, "{waiting} writes wait for 100 who ask");
        for answer in asked {
            let (status, took) = answer.await.unwrap();
            assert_eq!(status, 503);
            assert!(took < Duration::from_secs(1), "{took:?}");
        }
        release.send(()).unwrap();
        hanging.await.unwrap().unwrap();
        comes_to(&app, 200).await;
        app.stop().await;
    }

    async fn a_database_that_hangs_is_told_within_a_second_and_the_process_lives(backend) {
        let app = TestApp::start(backend).await;
        let (release, hanging) = hang(&app).await;
        for (path, most) in [("/health", 1000), ("/health/ready", 1000), ("/health/live", 200)] {
            // The fastest of three: how busy the machine is meanwhile is not the question.
            let (mut took, mut reply) = (Duration::MAX, None);
            for _ in 0..3 {
                let began = Instant::now();
                reply = Some(app.get(path).await);
                took = began.elapsed().min(took);
            }
            assert!(took < Duration::from_millis(most), "{path} took {took:?}");
            let reply = reply.unwrap();
            if path == "/health/live" {
                reply.expect(200);
            } else {
                let health = reply.expect(503);
                assert_eq!((&health["status"], &health["checks"]["database_write"]), (&json!("unhealthy"), &json!(false)));
                assert_eq!(health["checks"]["migrations"], true, "reads go on");
            }
        }
        app.get("/health/startup").await.expect(200);
        // The writer counts as stuck once its commit has taken too long, and lives again after it.
        app.set_clock("2026-11-23T12:04:00Z");
        assert!(app.app.state.db.writer_lives(Duration::from_mins(5)));
        app.set_clock("2026-11-23T12:06:00Z");
        assert!(!app.app.state.db.writer_lives(Duration::from_mins(5)));
        release.send(()).unwrap();
        hanging.await.unwrap().unwrap();
        comes_to(&app, 200).await;
        assert!(app.app.state.db.writer_lives(Duration::ZERO));
        app.stop().await;
    }

    async fn too_little_room_is_unhealthy_and_still_ready(backend) {
        let scratch = Scratch::new();
        let location = fresh_location(backend, &scratch).await;
        let mut app = App::open(&location, Clock::system(), Access::OpenLoopback).await.unwrap();
        let limits = Limits { disk_free_min_bytes: u64::MAX, ..Limits::usual(location.directory()) };
        Arc::make_mut(&mut app.state).limits = Arc::new(limits);
        let router = router::service(&app.state, Door::Owner);
        for (path, status) in [("/health", 503), ("/health/ready", 200)] {
            let request = Request::get(path).header("host", "localhost").body(Body::empty()).unwrap();
            let reply = router.clone().oneshot(request).await.unwrap();
            assert_eq!(reply.status().as_u16(), status, "{path}");
            let body = reply.into_body().collect().await.unwrap().to_bytes();
            let health: Value = serde_json::from_slice(&body).unwrap();
            assert_eq!((&health["checks"]["disk"]["ok"], &health["warnings"]), (&json!(false), &json!(["disk"])), "{path}");
            assert!(health["checks"]["disk"]["free_bytes"].as_u64().unwrap() > 0);
        }
        app.state.db.close().await;
    }
}

//! Whether the service says how it is.

use crate::on_both;
use crate::support::{Backend, TestApp};
use serde_json::json;

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
            assert!(checks["database"].as_str().unwrap().starts_with(engine), "{health}");
        }
        assert_eq!(app.get("/health/live").await.expect(200), json!({ "status": "alive" }));
        assert!(app.get("/docs").await.status.is_success());
        app.stop().await;
    }

    async fn a_clock_set_back_is_told_and_the_order_of_stamps_holds(backend) {
        let app = TestApp::start(backend).await;
        app.gold_and_bitcoin("0").await;
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

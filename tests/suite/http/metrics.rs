//! What Prometheus is told.

use crate::on_both;
use crate::support::{Backend, START, Scratch, TestApp, fresh_location};
use artifact::clock::Clock;
use artifact::domain::moment::Moment;
use artifact::http::auth::Access;
use artifact::telemetry::METRICS;
use artifact::workers::gauges;
use serde_json::json;
use std::collections::BTreeSet;

/// The count of one series of a scrape.
fn series(scrape: &str, name: &str) -> Option<u64> {
    let line =
        scrape.lines().find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(' ')))?;
    line.rsplit(' ').next()?.parse().ok()
}

async fn scrape(app: &TestApp) -> String {
    let reply = app.get("/metrics").await;
    assert_eq!(reply.headers["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    assert_eq!(reply.status, 200);
    reply.text()
}

on_both! {
    async fn requests_are_counted_by_the_template_of_their_route(backend) {
        let app = TestApp::start(backend).await;
        let id = app.portfolio(&json!({})).await;
        // Nobody else asks with this method for this route.
        let asked = r#"{method="OPTIONS",route="/portfolios/{portfolio}/history",status="405"}"#;
        let count = format!("http_requests_total{asked}");
        let before = series(&scrape(&app).await, &count).unwrap_or_default();
        for _ in 0..3 {
            app.send("OPTIONS", &format!("/portfolios/{id}/history"), &[], b"").await;
        }
        app.send("BREW", "/no/such/path", &[], b"").await;
        let after = scrape(&app).await;
        // The test of the other database may ask at the same time.
        let more = series(&after, &count).unwrap() - before;
        assert!((3..=6).contains(&more), "{more}");
        assert!(series(&after, r#"http_requests_total{method="other",route="none",status="404"}"#).is_some());
        assert!(!after.contains(&id), "an id became a label");
        assert!(!after.contains("/no/such/path") && !after.contains("BREW"), "a caller made a label");
        let bucket = r#"http_request_duration_seconds_bucket{method="OPTIONS",route="/portfolios/{portfolio}/history",le="0.25"}"#;
        assert!(series(&after, bucket).unwrap() >= 3, "a duration is a histogram");
        app.stop().await;
    }

    async fn the_newest_price_of_each_kind_of_asset_has_an_age(backend) {
        let app = TestApp::start(backend).await;
        app.gold_and_bitcoin("0").await;
        for (symbol, at) in [("GOLD", "2026-11-23T11:00:00Z"), ("GOLD", "2026-11-23T10:00:00Z"), ("BTC-USD", "2026-11-23T11:59:00Z")] {
            app.post("/prices", &json!({ "symbol": symbol, "price": "1", "timestamp": at })).await.expect(200);
        }
        // A stopped asset is not waited for.
        let etf = json!({ "symbol": "OLD", "name": "Old", "asset_type": "COMMODITY", "market_code": "COMEX" });
        app.post("/assets", &etf).await.expect(201);
        app.post("/prices", &json!({ "symbol": "OLD", "price": "1", "timestamp": "2020-01-01T00:00:00Z" })).await.expect(200);
        app.patch("/assets/OLD", &json!({ "status": "DELISTED" })).await.expect(200);
        let now = Moment::parse(START).unwrap();
        let ages = gauges::ages_of_prices(&app.app.state.db, now).await.unwrap();
        let ages: Vec<(&str, u64)> = ages.iter().map(|(kind, age)| (kind.name(), age.as_secs())).collect();
        assert_eq!(ages, [("COMMODITY", 3600), ("CRYPTOCURRENCY", 60)]);
        app.stop().await;
    }
}

/// The name of the metric a line is about, without the endings of a histogram.
fn family(line: &str) -> &str {
    let name = line.split(['{', ' ']).next().unwrap();
    ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_metric_is_declared_described_and_named_as_prometheus_wants_it() {
    let app = TestApp::start(Backend::Sqlite).await;
    app.gold_and_bitcoin("0").await;
    app.get("/portfolios").await.expect(200);
    let text = scrape(&app).await;
    let declared: BTreeSet<&str> = METRICS.iter().copied().collect();
    assert_eq!(declared.len(), METRICS.len(), "a name is declared twice");
    for name in METRICS {
        assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{name}");
    }
    let mut described = BTreeSet::new();
    let mut counters = BTreeSet::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            described.insert(rest.split(' ').next().unwrap().to_owned());
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert_ne!(kind, "summary", "{name} cannot be added up");
            if kind == "counter" {
                counters.insert(name.to_owned());
            }
        } else {
            let name = family(line);
            assert!(declared.contains(name) || name.starts_with("process_"), "{name} is not in the table");
            assert!(described.contains(name), "{name} says nothing about itself");
        }
    }
    assert!(counters.iter().all(|name| name.ends_with("_total")), "{counters:?}");
    for name in [
        "build_info",
        "writer_commit_failures_total",
        "process_resident_memory_bytes",
        "http_requests_in_flight",
    ] {
        assert!(described.contains(name), "{name} is missing");
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_are_for_those_with_a_key() {
    let scratch = Scratch::new();
    let location = fresh_location(Backend::Sqlite, &scratch).await;
    let clock = Clock::manual(Moment::parse(START).unwrap());
    let app = TestApp::start_on(location, clock, Access::Keys).await;
    assert_eq!(app.get("/metrics").await.code(401), "unauthorized");
    let key = app.app.admin_key("first").await.unwrap();
    let reply = app.send("GET", "/metrics", &[("x-api-key", &key)], b"").await;
    assert_eq!(reply.status, 200);
    assert!(!reply.text().contains(key.split('_').nth(1).unwrap()), "a key's prefix became a label");
    app.stop().await;
}

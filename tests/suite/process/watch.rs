//! What watches a service: metrics and health on an address of their own.

use super::busy::Busy;
use super::{CLOSED, OPEN, PATIENCE, Place, Service, program};
use crate::on_both;
use crate::storage::raw::Raw;
use crate::support::{Backend, request};
use artifact::clock::Clock;
use artifact::telemetry::METRICS;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// The address a service said it shows its metrics on.
pub(super) fn watched(service: &Service) -> SocketAddr {
    let lines = service.out.all();
    let line = lines.iter().find_map(|line| line.strip_prefix("metrics and health on http://"));
    line.expect("an address of the metrics").trim().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_have_an_address_of_their_own_where_nothing_else_is() {
    let place = Place::new(Backend::Sqlite).await;
    let data = place.data().display().to_string();
    let mut command = program(place.folder(), &[&["serve", "--data", &data], CLOSED.as_slice()].concat());
    command.env("ARTIFACT_METRICS__LISTEN", "127.0.0.1:0");
    let service = Service::start(command);
    let address = watched(&service);
    let scrape = request(address, "GET", "/metrics", &[], b"").await;
    assert_eq!(scrape.status, 200);
    let text = scrape.text();
    let build = text.lines().find(|line| line.starts_with("build_info{")).expect("build_info");
    assert!(
        build.contains(concat!("version=\"", env!("CARGO_PKG_VERSION"), "\"")) && build.ends_with(" 1"),
        "{build}"
    );
    assert!(!build.contains("rustc=\"unknown\"") && build.contains("features=\"none\""), "{build}");
    for name in
        ["sqlite_wal_bytes", "data_disk_free_bytes", "db_size_bytes", "tokio_workers", "process_open_fds"]
    {
        let value = text.lines().find_map(|line| line.strip_prefix(&format!("{name} "))).expect(name);
        assert!(value.parse::<f64>().unwrap() > 0.0, "{name} {value}");
    }
    request(address, "GET", "/health", &[], b"").await.expect(200);
    for path in ["/health/live", "/health/startup"] {
        request(address, "GET", path, &[], b"").await.expect(200);
    }
    for path in ["/markets", "/keys", "/openapi.json", "/docs"] {
        assert_eq!(request(address, "GET", path, &[], b"").await.code(404), "not_found", "{path}");
    }
    // The service's own address asks for a key.
    assert_eq!(service.api.get("/metrics").await.code(401), "unauthorized");
    service.stop();
    let said = place
        .run(&[
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--config",
            &place.file("bad.toml", "[metrics]\nlisten = \"here\"\n"),
        ])
        .failed(2);
    assert!(said.contains("metrics.listen") && said.contains("127.0.0.1:7009"), "{said}");
    let said = place
        .run(&["config", "show", "--config", &place.file("odd.toml", "[metrics]\nport = 1\n")])
        .failed(2);
    assert!(said.contains("port"), "{said}");
}

on_both! {
    async fn ages_of_what_was_never_done_do_not_begin_anew_with_the_service(backend) {
        let place = Place::new(backend).await;
        place.run(&["seed", "gold-bitcoin"]).ok();
        let mut raw = Raw::open(&place.location).await;
        raw.run("UPDATE _sqlx_migrations SET installed_on = '2026-01-02 03:04:05+00:00'").await;
        raw.close().await;
        // Anchors that can be neither read nor written.
        let anchors = place.data().join("audit.anchors");
        let kept = std::fs::read(&anchors).unwrap();
        std::fs::remove_file(&anchors).unwrap();
        std::fs::create_dir(&anchors).unwrap();
        for _ in 0..2 {
            let service = place.serve(&OPEN);
            let text = service.api.get("/metrics").await.text();
            let of = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse::<f64>().ok());
            // 2026-01-02T03:04:05Z.
            assert_eq!(of("data_start_timestamp_seconds"), Some(1_767_323_045.0), "{text}");
            assert_eq!(of("audit_anchor_last_timestamp_seconds"), Some(1_767_323_045.0), "{text}");
            assert!(of("service_start_timestamp_seconds").is_some_and(|at| at > 1_767_323_045.0));
            assert_eq!(of("backup_last_success_timestamp_seconds"), None, "there is no backup");
            service.stop();
        }
        // With anchors, the moment of the last one, until the trail is anchored again.
        std::fs::remove_dir(&anchors).unwrap();
        std::fs::write(&anchors, kept).unwrap();
        let service = place.serve(&OPEN);
        let anchored = || async {
            let text = service.api.get("/metrics").await.text();
            text.lines().find_map(|line| line.strip_prefix("audit_anchor_last_timestamp_seconds ")?.parse::<f64>().ok())
        };
        let began = Instant::now();
        while anchored().await.is_none_or(|at| at <= 1_767_323_045.0) {
            assert!(began.elapsed() < PATIENCE);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        service.stop();
    }
}

/// Everything that services tell: of each metric, every value it has.
async fn told(addresses: [SocketAddr; 2]) -> BTreeMap<String, Vec<f64>> {
    let mut told: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for address in addresses {
        for line in request(address, "GET", "/metrics", &[], b"").await.text().lines() {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (series, value) = line.rsplit_once(' ').unwrap();
            let name = series.split('{').next().unwrap();
            told.entry(name.to_owned()).or_default().push(value.parse().unwrap());
        }
    }
    told
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_metric_of_the_table_is_there_and_moves_when_the_service_works() {
    // What stays at zero while all is well.
    const STILL: [&str; 16] = [
        "http_requests_turned_away_total",
        "http_connections_ended_total",
        "ingest_queue_depth",
        "ingest_queue_bytes",
        "ingest_queue_oldest_seconds",
        "ingest_dead_letters",
        "feed_stale",
        "feed_reconnects_total",
        "outbox_depth",
        "outbox_oldest_seconds",
        "outbox_dead_letters",
        "writer_queue_depth",
        "writer_commit_failures_total",
        "tokio_queue_depth",
        "clock_behind",
        "clock_ahead",
    ];
    const FAILURES: [&str; 5] = [
        "backup_failures_total",
        "backup_verify_failures_total",
        "audit_write_failures_total",
        "auth_failures_total",
        "auth_logins_total",
    ];
    let busy = Busy::start().await;
    let started = Instant::now();
    loop {
        let told = told(busy.watched()).await;
        let lacks = |name: &&&str| {
            let ends = ["", "_count"].map(|end| told.get(&format!("{name}{end}")));
            let mut values = ends.into_iter().flatten().flatten().peekable();
            let still = STILL.contains(name) || FAILURES.contains(name);
            values.peek().is_none() || !(still || values.any(|value| *value > 0.0))
        };
        let missing: Vec<&&str> = METRICS.iter().filter(lacks).collect();
        if missing.is_empty() {
            break;
        }
        assert!(started.elapsed() < PATIENCE, "not there, or still: {missing:?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let expiry = told(busy.watched()).await["tls_certificate_expiry_timestamp_seconds"][0];
    let now = Duration::from_micros(u64::try_from(Clock::system().now().0).unwrap());
    let left = Duration::from_secs_f64(expiry).saturating_sub(now);
    assert!(
        (Duration::from_hours(47)..=Duration::from_hours(48)).contains(&left),
        "it is of two days: {left:?}"
    );
    busy.stop();
}

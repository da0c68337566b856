//! What watches a service: metrics and health on an address of their own.

use super::{CLOSED, Place, Service, program};
use crate::support::{Backend, request};
use std::net::SocketAddr;

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
    assert!(!build.contains("rustc=\"unknown\""), "{build}");
    for name in
        ["sqlite_wal_bytes", "data_disk_free_bytes", "db_size_bytes", "tokio_workers", "process_open_fds"]
    {
        let value = text.lines().find_map(|line| line.strip_prefix(&format!("{name} "))).expect(name);
        assert!(value.parse::<f64>().unwrap() > 0.0, "{name} {value}");
    }
    request(address, "GET", "/health", &[], b"").await.expect(200);
    request(address, "GET", "/health/live", &[], b"").await.expect(200);
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

//! Services that have done everything once, so that everything that is measured has been.

use super::proxies::certificate;
use super::watch::watched;
use super::{OPEN, PATIENCE, Place, Service, program};
use crate::feeds::replay::{Rest, good};
use crate::support::Backend;
use futures_util::future::join_all;
use serde_json::json;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// A service at work, with a feed, a queue, an outbox and backups; and one with a certificate.
pub(super) struct Busy {
    pub(super) service: Service,
    certified: Service,
    /// The venue of feed `venue`; without it nobody answers there.
    venue: Option<Rest>,
    at: SocketAddr,
    _elsewhere: Rest,
    _places: [Place; 2],
}

async fn venue(at: SocketAddr) -> Rest {
    Rest::start_at(at, |_, _| good(r#"{"data":[{"t":1700000040,"c":"37000.5"}]}"#)).await
}

/// The feed: stale after about three seconds.
fn configuration(at: SocketAddr) -> String {
    format!(
        "[[feeds]]\nname = \"venue\"\nkind = \"http_json\"\nallow_private = true\nurl = \"http://{at}/{{symbol}}\"\n\
         enabled = true\nsymbols = [\"A\"]\nevery = \"500ms\"\njitter = \"0s\"\ntimeout = \"1s\"\nretry_min = \"50ms\"\n\
         retry_max = \"200ms\"\nrest = \"1s\"\nper_minute = 60000\nburst = 1000\n[feeds.rows]\nat = \"/data\"\n[feeds.map]\n\
         ts = {{ at = \"/t\", unit = \"s\" }}\nclose = \"/c\"\n"
    )
}

impl Busy {
    pub(super) async fn start() -> Self {
        let venue = venue(([127, 0, 0, 1], 0).into()).await;
        let at = venue.address;
        let elsewhere = Rest::start(|_, _| good(r#"{"success":true}"#)).await;
        let place = Place::new(Backend::Sqlite).await;
        let data = place.data().display().to_string();
        let config = place.file("busy.toml", &configuration(at));
        let flags = ["serve", "--data", &data, "--config", &config];
        let mut command = program(place.folder(), &[flags.as_slice(), OPEN.as_slice()].concat());
        command.env("ARTIFACT_METRICS__LISTEN", "127.0.0.1:0").env("INFRA_API_URL", elsewhere.url());
        let service = Service::start(command);

        let other = Place::new(Backend::Sqlite).await;
        let (file, key) = certificate(other.folder(), "busy");
        let data = other.data().display().to_string();
        let mut command = program(other.folder(), &["serve", "--data", &data, "--listen", "127.0.0.1:0"]);
        command.env("ARTIFACT_METRICS__LISTEN", "127.0.0.1:0");
        command.env("ARTIFACT_TLS__CERTIFICATE", file).env("ARTIFACT_TLS__KEY", key);
        let certified = Service::start_until(command, |line| {
            line.split_once("listening on https://")?.1.split_whitespace().next()?.parse().ok()
        });
        let busy = Self {
            service,
            certified,
            venue: Some(venue),
            at,
            _elsewhere: elsewhere,
            _places: [place, other],
        };
        busy.work().await;
        busy
    }

    /// Does everything once.
    async fn work(&self) {
        let api = &self.service.api;
        let market = json!({ "code": "X", "name": "X", "market_type": "OTC", "timezone": "UTC" });
        api.post("/markets", &market).await.expect(201);
        let asset = json!({ "symbol": "A", "name": "A", "asset_type": "CRYPTOCURRENCY", "market_code": "X" });
        api.post("/assets", &asset).await.expect(201);
        let book = json!({ "name": "book", "owner_id": "o", "initial_capital": "1000" });
        let id = api.post("/portfolios", &book).await.expect(201)["id"].as_str().unwrap().to_owned();
        api.get(&format!("/portfolios/{id}/pnl")).await.expect(200);
        let row = json!([{ "symbol": "A", "price": "1", "timestamp": "2026-01-01" }]);
        api.post("/ingest/queue", &row).await.expect(202);
        api.post("/prices/batch", &row).await.expect(200);
        api.post("/backups", &json!({})).await.expect(201);
        api.post("/backups/latest/verify", &json!({})).await.expect(200);
        // More than waits in the write-ahead log until it is taken up.
        let metadata = json!({ "much": "a".repeat(60_000) });
        let create = |number: usize| {
            let body = json!({ "name": format!("{number}"), "owner_id": "o", "initial_capital": "1",
                "metadata": metadata });
            async move { api.post("/portfolios", &body).await.expect(201) }
        };
        for some in 0..20 {
            join_all((some * 20..some * 20 + 20).map(create)).await;
        }
    }

    /// The addresses of the metrics.
    pub(super) fn watched(&self) -> [SocketAddr; 2] {
        [watched(&self.service), watched(&self.certified)]
    }

    /// From now on nobody answers where the feed asks.
    pub(super) fn close_venue(&mut self) {
        self.venue = None;
    }

    /// The venue is there again.
    pub(super) async fn open_venue(&mut self) {
        let started = Instant::now();
        // The one before lets go of its address a moment after it was told to.
        while std::net::TcpListener::bind(self.at).is_err() {
            assert!(started.elapsed() < PATIENCE, "{} is taken", self.at);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.venue = Some(venue(self.at).await);
    }

    pub(super) fn stop(self) {
        self.service.stop();
        self.certified.stop();
    }
}

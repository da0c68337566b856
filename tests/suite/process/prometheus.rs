//! A real Prometheus watches a running service with the rules that are delivered.

use super::PATIENCE;
use super::busy::Busy;
use crate::deploy::expressions::{all, names, rule_files};
use crate::support::{Scratch, request};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A Prometheus of the test's own. Dropped, it is killed.
struct Prometheus {
    child: Child,
    address: SocketAddr,
    _folder: Scratch,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        self.child.kill().unwrap_or_default();
        self.child.wait().unwrap();
    }
}

/// The rules as they are delivered, in a hurry: what takes minutes there takes seconds here.
fn hurried(rules: &str) -> String {
    let mut text = rules.to_owned();
    for (usual, here) in [
        ("[30m]", "[8s]"),
        ("[6h]", "[60s]"),
        ("for: 15m", "for: 0s"),
        ("for: 2m", "for: 0s"),
        ("> 100", "> 3"),
    ] {
        assert!(text.contains(usual), "{usual} is in no rule");
        text = text.replace(usual, here);
    }
    text
}

impl Prometheus {
    fn watch(targets: [SocketAddr; 2]) -> Self {
        let folder = Scratch::new();
        let rules = folder.0.join("rules");
        std::fs::create_dir_all(&rules).unwrap();
        for name in rule_files() {
            let path = format!("{}/deploy/prometheus/rules/{name}", env!("CARGO_MANIFEST_DIR"));
            let delivered = std::fs::read_to_string(path).unwrap();
            let text = if name == "ingest.yml" { hurried(&delivered) } else { delivered };
            std::fs::write(rules.join(name), text).unwrap();
        }
        let delivered =
            std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/prometheus/prometheus.yml"));
        let config = delivered
            .unwrap()
            .replace("\"127.0.0.1:7009\"", &targets.map(|target| format!("\"{target}\"")).join(", "))
            .replace("scrape_interval: 15s", "scrape_interval: 300ms\n  scrape_timeout: 300ms")
            .replace("evaluation_interval: 15s", "evaluation_interval: 300ms");
        let file = folder.0.join("prometheus.yml");
        std::fs::write(&file, config).unwrap();
        let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", folder.0.join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .arg("--log.level=warn")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("`make needs` installs prometheus");
        Self { child, address, _folder: folder }
    }

    /// Asks until the answer is one that is waited for.
    async fn until<T>(&self, what: &str, path: &str, wanted: impl Fn(&Value) -> Option<T>) -> T {
        let started = Instant::now();
        let mut last = Value::Null;
        while started.elapsed() < PATIENCE * 2 {
            if std::net::TcpStream::connect(self.address).is_ok() {
                let reply = request(self.address, "GET", path, &[], b"").await;
                last = serde_json::from_slice(&reply.body).unwrap_or(Value::Null);
                if let Some(found) = wanted(&last["data"]) {
                    return found;
                }
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("{what} did not come about: {last}");
    }

    /// The names of every series it has.
    async fn names(&self) -> BTreeSet<String> {
        let list = |data: &Value| {
            let names: BTreeSet<String> =
                data.as_array()?.iter().filter_map(|name| name.as_str().map(str::to_owned)).collect();
            Some(names)
        };
        self.until("a list of names", "/api/v1/label/__name__/values", list).await
    }
}

/// The alerts that fire, with their source.
fn firing(data: &Value, alert: &str, source: &str) -> bool {
    let alerts = data["alerts"].as_array().map(Vec::as_slice).unwrap_or_default();
    alerts.iter().any(|found| {
        let labels = &found["labels"];
        found["state"] == "firing" && labels["alertname"] == alert && labels["source"] == source
    })
}

/// Two sources that deliver prices until they are told to stop.
fn deliver(busy: &Busy) -> Vec<tokio::task::JoinHandle<()>> {
    let deliver = |source: &'static str| {
        let api = busy.service.api.clone();
        tokio::spawn(async move {
            for price in 1.. {
                let rows = json!([{ "symbol": "A", "price": price, "source": source,
                    "timestamp": format!("2026-01-01T00:{:02}:{:02}Z", price / 60 % 60, price % 60) }]);
                api.post("/prices/batch", &rows).await.expect(200);
                tokio::time::sleep(Duration::from_millis(150)).await;
            }
        })
    };
    vec![deliver("steady"), deliver("stopping")]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prometheus_scrapes_the_service_and_tells_when_a_feed_or_a_source_stops() {
    let mut busy = Busy::start().await;
    let sources = deliver(&busy);
    let prometheus = Prometheus::watch(busy.watched());
    let up = |data: &Value| {
        let results = data["result"].as_array()?;
        (results.len() == 2 && results.iter().all(|result| result["value"][1] == "1")).then_some(())
    };
    prometheus.until("a scrape", "/api/v1/query?query=up%7Bjob%3D%22artifact%22%7D", up).await;

    // Whatever rules and dashboard ask for is there.
    let mut wanted: BTreeSet<String> = all().iter().flat_map(|expression| names(expression)).collect();
    wanted.retain(|name| !name.starts_with("artifact:"));
    assert!(wanted.len() > 50, "{wanted:?}");
    let started = Instant::now();
    loop {
        let known = prometheus.names().await;
        let missing: Vec<&String> = wanted.iter().filter(|name| !known.contains(*name)).collect();
        if missing.is_empty() {
            break;
        }
        assert!(started.elapsed() < PATIENCE, "a scrape lacks {missing:?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    // Every rule can be evaluated against it.
    let evaluated = |data: &Value| {
        let groups = data["groups"].as_array()?;
        let rules: Vec<&Value> = groups.iter().flat_map(|group| group["rules"].as_array().unwrap()).collect();
        assert!(rules.iter().all(|rule| rule["health"] != "err"), "{rules:?}");
        (!rules.is_empty() && rules.iter().all(|rule| rule["health"] == "ok")).then_some(())
    };
    prometheus.until("an evaluation", "/api/v1/rules", evaluated).await;

    // The venue of a feed goes away, and comes back.
    let quiet = |data: &Value| (!firing(data, "FeedStale", "venue")).then_some(());
    prometheus.until("quiet", "/api/v1/alerts", quiet).await;
    busy.close_venue();
    let fires = |data: &Value| firing(data, "FeedStale", "venue").then_some(());
    prometheus.until("an alert of the feed", "/api/v1/alerts", fires).await;
    let health = busy.service.api.get("/health").await.expect(200);
    assert_eq!(health["checks"]["feeds"]["stale"], 1, "{health}");
    busy.open_venue().await;
    prometheus.until("the end of the alert", "/api/v1/alerts", quiet).await;

    // Both sources deliver long enough to be known; then one stops.
    let counted =
        "/api/v1/query?query=min(increase(ingest_messages_total%7Bsource%3D~%22st.*%22%7D%5B60s%5D))";
    let enough = |data: &Value| {
        let count: f64 = data["result"][0]["value"][1].as_str()?.parse().ok()?;
        (count > 12.0).then_some(())
    };
    prometheus.until("deliveries", counted, enough).await;
    let quiet = |data: &Value| (!firing(data, "SourceSilent", "stopping")).then_some(());
    prometheus.until("quiet", "/api/v1/alerts", quiet).await;
    sources[1].abort();
    let fires = |data: &Value| firing(data, "SourceSilent", "stopping").then(|| data.clone());
    let alerts = prometheus.until("an alert", "/api/v1/alerts", fires).await;
    assert!(!firing(&alerts, "SourceSilent", "steady"), "the source that delivers is told of: {alerts}");
    sources[0].abort();
    busy.stop();
}

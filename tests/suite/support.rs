//! A whole service for one test: a fresh database of either kind, a clock that the test moves, real sockets.

#![cfg(test)]

use artifact::app::App;
use artifact::clock::Clock;
use artifact::config::{Config, Flags};
use artifact::domain::moment::Moment;
use artifact::http::auth::Access;
use artifact::http::client_address::TrustedProxies;
use artifact::http::guard::Guard;
use artifact::http::limits::{Limits, Rates};
use artifact::storage::database::{Database, Location};
use artifact::storage::error::StorageError;
use artifact::workers::feeds::definition::Definition;
use artifact::workers::gate::Settings;
use artifact::workers::outbox::Remote;
use axum::body::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use sqlx::{Connection as _, Executor as _, PgConnection};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// The moment at which every test begins.
pub(crate) const START: &str = "2026-11-23T12:00:00Z";

/// Which database a test runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Backend {
    Sqlite,
    Postgres,
}

/// Declares one async test that runs on both databases: `on_both! { async fn name(backend) { .. } }`.
#[macro_export]
macro_rules! on_both {
    ($($(#[$attribute:meta])* async fn $name:ident($backend:ident) $body:block)+) => {$(
        mod $name {
            use super::*;
            async fn body($backend: $crate::support::Backend) $body
            $(#[$attribute])*
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_sqlite() {
                body($crate::support::Backend::Sqlite).await;
            }
            $(#[$attribute])*
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_postgres() {
                body($crate::support::Backend::Postgres).await;
            }
        }
    )+};
}

/// A folder of its own, gone when dropped.
#[derive(Debug)]
pub(crate) struct Scratch(pub(crate) PathBuf);

impl Scratch {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::SeqCst);
        let path = std::env::temp_dir().join(format!("artifact-test-{}-{count}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap_or_default();
    }
}

/// The administrative URL of the scratch PostgreSQL. A missing PostgreSQL is a failure, never a skip.
#[expect(clippy::disallowed_methods, reason = "the harness is told by the environment where PostgreSQL is")]
pub(crate) fn postgres_url() -> String {
    std::env::var("ARTIFACT_TEST_POSTGRES").expect(
        "ARTIFACT_TEST_POSTGRES is not set: run the tests with scripts/with-postgres.sh, or `make test`",
    )
}

/// The folder of shared material beside the project. Only tests marked `needs ../shared` may call it.
#[expect(clippy::disallowed_methods, reason = "the harness is told by the environment where ../shared is")]
pub(crate) fn shared() -> PathBuf {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared");
    std::env::var("ARTIFACT_SHARED").map_or_else(|_| beside(), PathBuf::from)
}

/// How often something is tried: `often` for `make check`, which sets `ARTIFACT_TEST_LONG`, and else `seldom`.
#[expect(clippy::disallowed_methods, reason = "the harness is told by the environment how long it may take")]
pub(crate) fn times<T>(seldom: T, often: T) -> T {
    if std::env::var("ARTIFACT_TEST_LONG").is_ok() { often } else { seldom }
}

/// A fresh, empty place for data.
pub(crate) async fn fresh_location(backend: Backend, scratch: &Scratch) -> Location {
    let directory = scratch.0.join("data");
    match backend {
        Backend::Sqlite => Location::Directory(directory),
        Backend::Postgres => {
            let admin = postgres_url();
            let name = format!("t{}", uuid::Uuid::from_bytes(random()).simple());
            let mut connection = PgConnection::connect(&admin).await.unwrap();
            connection.execute(sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"))).await.unwrap();
            connection.close().await.unwrap();
            let (server, _) = admin.rsplit_once('/').unwrap();
            Location::Postgres { url: format!("{server}/{name}"), directory }
        }
    }
}

fn random() -> [u8; 16] {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).unwrap();
    bytes
}

/// An open database without a service around it.
pub(crate) struct TestDb {
    pub(crate) db: Database,
    pub(crate) clock: Clock,
    pub(crate) location: Location,
    _scratch: Scratch,
}

impl TestDb {
    pub(crate) async fn open(backend: Backend) -> Self {
        let scratch = Scratch::new();
        let location = fresh_location(backend, &scratch).await;
        let clock = Clock::manual(Moment::parse(START).unwrap());
        let db = Database::open(&location, clock.clone()).await.unwrap();
        Self { db, clock, location, _scratch: scratch }
    }

    /// Opens it again after it was closed: the lock of the former goes with it, within the time a start waits.
    pub(crate) async fn reopen(&mut self) {
        let (location, clock) = (self.location.clone(), self.clock.clone());
        let elsewhere = Scratch::new();
        let aside = Location::Directory(elsewhere.0.join("aside"));
        // The former handle must be gone before its place can be locked again.
        self.db = Database::open(&aside, clock.clone()).await.unwrap();
        self.db = Database::open(&location, clock).await.unwrap();
    }

    /// Runs a write and commits it.
    pub(crate) async fn write<T, F>(&self, work: F) -> T
    where
        T: Send + 'static,
        F: for<'t> FnOnce(
                &'t mut artifact::storage::database::Tx,
            ) -> futures_util::future::BoxFuture<'t, Result<T, StorageError>>
            + Send
            + 'static,
    {
        self.db.writer().housekeep(work).await.unwrap()
    }
}

/// An answer.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Reply {
    /// The body as JSON; `null` when it is empty.
    pub(crate) fn json(&self) -> Value {
        if self.body.is_empty() { Value::Null } else { serde_json::from_slice(&self.body).unwrap() }
    }

    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.to_vec()).unwrap()
    }

    /// Path and query of the next page.
    pub(crate) fn next_page(&self) -> Option<String> {
        let link = self.headers.get("link")?.to_str().unwrap();
        Some(link.strip_prefix('<').unwrap().strip_suffix(">; rel=\"next\"").unwrap().to_owned())
    }

    /// The body of an answer that must have this status.
    #[track_caller]
    pub(crate) fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", String::from_utf8_lossy(&self.body));
        self.json()
    }

    /// The stable code of a failure that must have this status.
    #[track_caller]
    pub(crate) fn code(&self, status: u16) -> String {
        let body = self.expect(status);
        assert_eq!(self.headers["content-type"], "application/problem+json");
        body["code"].as_str().unwrap().to_owned()
    }

    /// Pointers (or parameters) of the fields at fault.
    pub(crate) fn pointers(&self) -> Vec<String> {
        let errors = self.json()["errors"].as_array().cloned().unwrap_or_default();
        let place = |e: &Value| e["pointer"].as_str().or_else(|| e["parameter"].as_str()).unwrap().to_owned();
        errors.iter().map(place).collect()
    }
}

/// A request over a real connection.
pub(crate) async fn request(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Reply {
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    let driver = tokio::spawn(connection);
    let mut request = Request::builder().method(Method::from_bytes(method.as_bytes()).unwrap()).uri(path);
    let map = request.headers_mut().unwrap();
    map.insert("host", HeaderValue::from_str(&address.to_string()).unwrap());
    for (name, value) in headers {
        map.insert(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap());
    }
    let request = request.body(Full::new(Bytes::copy_from_slice(body))).unwrap();
    let response = sender.send_request(request).await.unwrap();
    let (status, headers) = (response.status(), response.headers().clone());
    let body = response.into_body().collect().await.unwrap().to_bytes();
    driver.abort();
    Reply { status, headers, body }
}

/// The feeds of a configuration file.
pub(crate) fn feeds_of(configuration: &str) -> Vec<Definition> {
    let scratch = Scratch::new();
    let file = scratch.0.join("artifact.toml");
    std::fs::write(&file, configuration).unwrap();
    let flags = Flags { config: Some(file), ..Flags::default() };
    let secret = |name: &str| (name == "TEST_KEY").then(|| "0123456789abcdef".to_owned());
    Config::load(flags, &secret).unwrap().feeds.value
}

/// Whether a version is this one or a newer one.
pub(crate) fn is_at_least(version: &str, least: [u32; 3]) -> bool {
    let parts: Vec<u32> = version.split('.').map(|part| part.parse().unwrap()).collect();
    parts.as_slice() >= least.as_slice()
}

/// A running service.
pub(crate) struct TestApp {
    pub(crate) address: SocketAddr,
    pub(crate) clock: Clock,
    pub(crate) app: App,
    pub(crate) location: Location,
    stop: CancellationToken,
    task: JoinHandle<std::io::Result<()>>,
    scratch: Option<Scratch>,
}

impl TestApp {
    /// A service on a fresh database that lets loopback callers in without a key.
    pub(crate) async fn start(backend: Backend) -> Self {
        let scratch = Scratch::new();
        let location = fresh_location(backend, &scratch).await;
        let clock = Clock::manual(Moment::parse(START).unwrap());
        let mut app = Self::start_on(location, clock, Access::OpenLoopback).await;
        app.scratch = Some(scratch);
        app
    }

    /// The same with the feeds of a configuration file.
    pub(crate) async fn start_configured(backend: Backend, configuration: &str) -> Self {
        let scratch = Scratch::new();
        let location = fresh_location(backend, &scratch).await;
        let clock = Clock::manual(Moment::parse(START).unwrap());
        let mut app = Self::start_feeding(location, clock, feeds_of(configuration)).await;
        app.scratch = Some(scratch);
        app
    }

    /// A service on a given place.
    pub(crate) async fn start_on(location: Location, clock: Clock, access: Access) -> Self {
        Self::start_both(location, clock, access, Settings::default(), Guard::default()).await
    }

    /// The same with a guard of its own.
    pub(crate) async fn start_guarded(
        location: Location,
        clock: Clock,
        access: Access,
        guard: Guard,
    ) -> Self {
        Self::start_both(location, clock, access, Settings::default(), guard).await
    }

    /// The same with access set up in another way, and nobody held back: tests of access guess often.
    pub(crate) async fn start_with(
        location: Location,
        clock: Clock,
        access: Access,
        settings: Settings,
    ) -> Self {
        let rates = Rates { key: 0, address: 0, heavy: 0, anonymous: 0, refused: 0 };
        let guard = Guard::new(Limits { rates, ..Limits::default() }, TrustedProxies::default(), Vec::new());
        Self::start_both(location, clock, access, settings, guard).await
    }

    async fn start_both(
        location: Location,
        clock: Clock,
        access: Access,
        settings: Settings,
        guard: Guard,
    ) -> Self {
        let app = App::open_with(&location, clock.clone(), access, settings).await.unwrap().guarded(guard);
        Self::serving(app, location, clock).await
    }

    /// One on a fresh database by the machine's clock, posting prices on.
    pub(crate) async fn start_posting(backend: Backend, remote: Remote) -> Self {
        let scratch = Scratch::new();
        let location = fresh_location(backend, &scratch).await;
        let clock = Clock::system();
        let mut opened = App::open(&location, clock.clone(), Access::OpenLoopback).await.unwrap();
        opened.post_on(remote);
        let mut app = Self::serving(opened, location, clock).await;
        app.scratch = Some(scratch);
        app
    }

    /// A service on a given place, with feeds.
    pub(crate) async fn start_feeding(location: Location, clock: Clock, feeds: Vec<Definition>) -> Self {
        let app = App::open(&location, clock.clone(), Access::OpenLoopback).await.unwrap();
        Self::serving(app.with_feeds(feeds), location, clock).await
    }

    async fn serving(app: App, location: Location, clock: Clock) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let (served, ending) = (app.clone(), stop.clone());
        let task = tokio::spawn(async move { served.serve(listener, ending).await });
        Self { address, clock, app, location, stop, task, scratch: None }
    }

    /// Stops the service and starts it again on the same data.
    pub(crate) async fn restart(self) -> Self {
        self.restart_changed(|_| {}).await
    }

    /// The same with something about it changed before it serves.
    pub(crate) async fn restart_changed(mut self, change: impl FnOnce(&mut App)) -> Self {
        let scratch = self.scratch.take();
        let (location, clock, access) = (self.location.clone(), self.clock.clone(), self.app.state.access);
        let settings = self.app.state.gate.settings.clone();
        let feeds = self.app.state.feeds.all().map(|feed| feed.definition.clone()).collect();
        self.stop().await;
        let app = App::open_with(&location, clock.clone(), access, settings).await.unwrap();
        let mut app = app.with_feeds(feeds);
        change(&mut app);
        let mut again = Self::serving(app, location, clock).await;
        again.scratch = scratch;
        again
    }

    /// Stops the service.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap().unwrap();
    }

    /// Moves the clock to a moment.
    pub(crate) fn set_clock(&self, at: &str) {
        self.clock.set(Moment::parse(at).unwrap());
    }

    pub(crate) async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Reply {
        request(self.address, method, path, headers, body).await
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.send("GET", path, &[], b"").await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Reply {
        self.send("POST", path, &[("content-type", "application/json")], body.to_string().as_bytes()).await
    }

    pub(crate) async fn patch(&self, path: &str, body: &Value) -> Reply {
        let kind = [("content-type", "application/merge-patch+json")];
        self.send("PATCH", path, &kind, body.to_string().as_bytes()).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Reply {
        self.send("DELETE", path, &[], b"").await
    }

    /// Every row of a list, page by page through the `Link` headers; also checks that no page is too long.
    pub(crate) async fn every(&self, path: &str, limit: usize) -> Vec<Value> {
        let join = if path.contains('?') { '&' } else { '?' };
        let (mut next, mut rows) = (Some(format!("{path}{join}limit={limit}")), Vec::new());
        while let Some(path) = next {
            let reply = self.get(&path).await;
            let page = reply.expect(200);
            let page = page.as_array().unwrap();
            assert!(page.len() <= limit, "{path} has {} rows", page.len());
            rows.extend(page.iter().cloned());
            next = reply.next_page();
        }
        rows
    }

    /// COMEX and BINANCE, GOLD and BTC-USD, and a portfolio with this much capital; returns its id.
    pub(crate) async fn gold_and_bitcoin(&self, capital: &str) -> String {
        use serde_json::json;
        for (code, kind, zone) in
            [("COMEX", "COMMODITIES_EXCHANGE", "America/New_York"), ("BINANCE", "CRYPTO_EXCHANGE", "UTC")]
        {
            let body = json!({ "code": code, "name": code, "market_type": kind, "timezone": zone });
            self.post("/markets", &body).await.expect(201);
        }
        for (symbol, kind, market) in
            [("GOLD", "COMMODITY", "COMEX"), ("BTC-USD", "CRYPTOCURRENCY", "BINANCE")]
        {
            let body = json!({ "symbol": symbol, "name": symbol, "asset_type": kind, "market_code": market });
            self.post("/assets", &body).await.expect(201);
        }
        self.portfolio(&json!({ "initial_capital": capital })).await
    }

    /// A portfolio with these fields over `name` and `owner_id`; returns its id.
    pub(crate) async fn portfolio(&self, fields: &Value) -> String {
        let mut body = serde_json::json!({ "name": "book", "owner_id": "tester", "initial_capital": "0" });
        for (name, value) in fields.as_object().unwrap() {
            body[name] = value.clone();
        }
        self.post("/portfolios", &body).await.expect(201)["id"].as_str().unwrap().to_owned()
    }
}

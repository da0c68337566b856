//! The service on a fresh data directory, asked inside this process: no socket and no client around what is measured.

#![expect(clippy::expect_used, reason = "a measurement that cannot go on says where it stopped")]

use artifact::app::App;
use artifact::clock::Clock;
use artifact::http::auth::{Access, Door};
use artifact::http::router;
use artifact::storage::database::{DATABASE_FILE, Location};
use axum::Router;
use axum::body::{Body, Bytes};
use http_body_util::BodyExt as _;
use hyper::{Method, Request, StatusCode};
use std::path::{Path, PathBuf};
use tower::ServiceExt as _;

/// A running service.
pub(crate) struct Service {
    router: Router,
    folder: PathBuf,
}

/// What an id in an answer reads.
pub(crate) fn id_of(answer: &Bytes) -> String {
    let answer: serde_json::Value = serde_json::from_slice(answer).expect("JSON");
    answer.get("id").and_then(serde_json::Value::as_str).expect("an id").to_owned()
}

impl Service {
    /// Opens one beside the build, on the disk the build is on.
    pub(crate) async fn start(name: &str) -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
        let location = Location::Directory(folder.clone());
        let app = App::open(&location, Clock::system(), Access::OpenLoopback).await.expect("open");
        Self { router: router::service(&app.state, Door::Owner), folder }
    }

    /// The file of its database.
    pub(crate) fn database(&self) -> PathBuf {
        self.folder.join(DATABASE_FILE)
    }

    /// Asks it, and gives the status and the answer.
    pub(crate) async fn ask(&self, method: Method, path: &str, body: String) -> (StatusCode, Bytes) {
        let kind = if path.starts_with("/prices/import") { "text/csv" } else { "application/json" };
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "127.0.0.1")
            .header("content-type", kind)
            .body(Body::from(body))
            .expect("request");
        let answer = self.router.clone().oneshot(request).await.expect("answer");
        let status = answer.status();
        (status, answer.into_body().collect().await.expect("body").to_bytes())
    }

    /// Posts, and gives the answer; another status than 2xx ends the run.
    pub(crate) async fn post(&self, path: &str, body: String) -> Bytes {
        let (status, answer) = self.ask(Method::POST, path, body).await;
        assert!(status.is_success(), "{path} {status}: {}", String::from_utf8_lossy(&answer));
        answer
    }

    /// Posts many bodies, so that they share commits.
    pub(crate) async fn post_all(&self, path: &'static str, bodies: Vec<String>) {
        let posts = bodies.into_iter().map(|body| self.post(path, body));
        futures_util::future::join_all(posts).await;
    }

    /// Reads; another status than 2xx ends the run.
    pub(crate) async fn get(&self, path: &str) -> Bytes {
        let (status, answer) = self.ask(Method::GET, path, String::new()).await;
        assert!(status.is_success(), "{path} {status}: {}", String::from_utf8_lossy(&answer));
        answer
    }

    /// Removes its data.
    pub(crate) fn stop(self) {
        let Self { router, folder } = self;
        drop(router);
        std::fs::remove_dir_all(folder).unwrap_or_default();
    }
}

//! A client for what is not measured, and for whole bodies.

#![expect(clippy::expect_used, reason = "a measurement that cannot go on says where it stopped")]

use crate::processes::Server;
use axum::body::Bytes;

/// Talks to one server.
pub(crate) struct Client {
    http: reqwest::Client,
    base: String,
    key: String,
}

impl Client {
    pub(crate) fn of(server: &Server) -> Self {
        let http = reqwest::Client::builder().no_proxy().build().expect("a client");
        Self { http, base: format!("http://{}", server.address), key: server.key.clone() }
    }

    /// Posts; another status than 2xx ends the run.
    pub(crate) async fn post(&self, path: &str, kind: &str, body: impl Into<reqwest::Body>) -> Bytes {
        let request = self.http.post(format!("{}{path}", self.base));
        let request = request.header("x-api-key", &self.key).header("content-type", kind).body(body);
        Self::answer(path, request).await
    }

    /// Reads; another status than 2xx ends the run.
    pub(crate) async fn get(&self, path: &str) -> Bytes {
        Self::answer(path, self.http.get(format!("{}{path}", self.base)).header("x-api-key", &self.key)).await
    }

    async fn answer(path: &str, request: reqwest::RequestBuilder) -> Bytes {
        let answer = request.send().await.expect("an answer");
        let status = answer.status();
        let body = answer.bytes().await.expect("a body");
        assert!(status.is_success(), "{path} {status}: {}", String::from_utf8_lossy(&body));
        body
    }

    /// A market and assets `S0`, `S1` and so on.
    pub(crate) async fn assets(&self, count: usize) {
        let market = r#"{"code":"X","name":"X","market_type":"OTC","timezone":"UTC"}"#;
        self.post("/markets", "application/json", market).await;
        for n in 0..count {
            let asset = format!(r#"{{"symbol":"S{n}","name":"S","asset_type":"STOCK","market_code":"X"}}"#);
            self.post("/assets", "application/json", asset).await;
        }
    }
}

//! A client for what is not measured, and for whole bodies.

#![expect(clippy::expect_used, reason = "a measurement that cannot go on says where it stopped")]

use crate::processes::Server;
use axum::body::Bytes;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// Talks to one server.
pub(crate) struct Client {
    http: reqwest::Client,
    address: SocketAddr,
    base: String,
    key: String,
}

impl Client {
    pub(crate) fn of(server: &Server) -> Self {
        let http = reqwest::Client::builder().no_proxy().build().expect("a client");
        Self {
            http,
            address: server.address,
            base: format!("http://{}", server.address),
            key: server.key.clone(),
        }
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

    /// How long a long answer takes from its request to its last byte. It is read and thrown away: what a client makes of
    /// it is not the service's.
    pub(crate) fn time(&self, path: &str) -> Duration {
        let Self { address, key, .. } = self;
        let head = format!(
            "GET {path} HTTP/1.1\r\nhost: {address}\r\nx-api-key: {key}\r\nconnection: close\r\n\r\n"
        );
        let began = Instant::now();
        let mut stream = TcpStream::connect(address).expect("connect");
        stream.write_all(head.as_bytes()).expect("ask");
        let (mut buffer, mut first, mut last) = (vec![0; 1 << 18], None, Vec::new());
        loop {
            let read = stream.read(&mut buffer).expect("read");
            let Some(piece) = buffer.get(..read).filter(|piece| !piece.is_empty()) else { break };
            first.get_or_insert_with(|| piece.starts_with(b"HTTP/1.1 200 "));
            last.extend_from_slice(piece.get(read.saturating_sub(5)..).unwrap_or_default());
            last.drain(..last.len().saturating_sub(5));
        }
        let took = began.elapsed();
        assert!(first == Some(true) && last == b"0\r\n\r\n", "{path} was not answered whole");
        took
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

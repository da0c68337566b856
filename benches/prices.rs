//! Durable single posts of prices over HTTP: many connections share commits, one connection pays for each.

#![expect(clippy::expect_used, reason = "a measurement that cannot go on says where it stopped")]

use crate::{ROUNDS, Row, median};
use artifact::app::App;
use artifact::clock::Clock;
use artifact::http::auth::Access;
use artifact::storage::database::Location;
use axum::body::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

/// Posts of one measurement.
const POSTS: usize = 2_000;
/// Connections that post at the same time.
const CONNECTIONS: usize = 64;

/// One connection that posts `count` bodies; a non-2xx answer voids the run.
async fn client(address: SocketAddr, path: &'static str, bodies: Vec<String>) {
    let stream = TcpStream::connect(address).await.expect("connect");
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("http");
    let driver = tokio::spawn(connection);
    for body in bodies {
        let request = Request::builder()
            .method(Method::POST)
            .uri(path)
            .header("host", "127.0.0.1")
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(body)))
            .expect("request");
        let response = sender.send_request(request).await.expect("answer");
        let status = response.status();
        let answer = response.into_body().collect().await.expect("body").to_bytes();
        assert!(status.is_success(), "{status}: {}", String::from_utf8_lossy(&answer));
    }
    driver.abort();
}

async fn posts(address: SocketAddr, connections: usize, count: usize, start: usize) -> Duration {
    let each = count / connections;
    let started = Instant::now();
    let clients: Vec<_> = (0..connections)
        .map(|index| {
            let from = start + index * each;
            let bodies =
                (from..from + each).map(|n| format!("{{\"symbol\":\"GOLD\",\"price\":\"{n}.5\"}}")).collect();
            tokio::spawn(client(address, "/prices", bodies))
        })
        .collect();
    for client in clients {
        client.await.expect("client");
    }
    started.elapsed()
}

/// Measures posts over one and over many connections in turn.
pub(crate) async fn run() {
    let tmp = std::path::Path::new(env!("CARGO_TARGET_TMPDIR"));
    let folder = tmp.join(format!("prices-{}", std::process::id()));
    let app = App::open(&Location::Directory(folder.clone()), Clock::system(), Access::OpenLoopback)
        .await
        .expect("open");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("listen");
    let address = listener.local_addr().expect("address");
    let stop = CancellationToken::new();
    let (served, ending) = (app.clone(), stop.clone());
    let service = tokio::spawn(async move { served.serve(listener, ending).await });
    let market = r#"{"code":"COMEX","name":"COMEX","market_type":"COMMODITIES_EXCHANGE","timezone":"UTC"}"#;
    let asset = r#"{"symbol":"GOLD","name":"Gold","asset_type":"COMMODITY","market_code":"COMEX"}"#;
    client(address, "/markets", vec![market.to_owned()]).await;
    client(address, "/assets", vec![asset.to_owned()]).await;
    let (mut alone, mut shared) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let start = round * 2 * POSTS;
        alone.push(posts(address, 1, POSTS / 10, start).await * 10);
        shared.push(posts(address, CONNECTIONS, POSTS, start + POSTS).await);
    }
    stop.cancel();
    service.await.expect("service").expect("served");
    std::fs::remove_dir_all(folder).unwrap_or_default();
    let rate = |time: Duration| {
        let micros = usize::try_from(time.as_micros()).unwrap_or(usize::MAX).max(1);
        POSTS * 1_000_000 / micros
    };
    let (alone, shared) = (median(alone), median(shared));
    let ratio = rate(shared) / rate(alone).max(1);
    Row {
        work: "durable POST /prices, 64 connections",
        figure: format!("{}/s", rate(shared)),
        beside: format!("1 connection {}/s", rate(alone)),
        ratio: ratio.to_string(),
        goal: "",
    }
    .print();
}

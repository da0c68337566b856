//! Revocation is felt within a second (reliability.md A3): on open connections, and on a stream that goes on.

use super::{Guarded, Idp, PUBLIC, id_of};
use crate::on_both;
use artifact::domain::moment::{DAY, Moment};
use artifact::http::recheck::{Admitted, watch};
use artifact::workers::directory::Standing;
use axum::body::Bytes;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use hyper::client::conn::http1::SendRequest;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::json;
use std::collections::HashMap;
use std::convert::Infallible;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Longest time until a revocation is felt.
const FELT: Duration = Duration::from_secs(1);

/// Longest wait for what must come.
const PATIENCE: Duration = Duration::from_secs(20);

/// A body that is sent piece by piece.
type Pieces = http_body_util::combinators::BoxBody<Bytes, Infallible>;

/// A connection that stays open.
struct Line {
    sender: SendRequest<Pieces>,
}

impl Line {
    async fn open(guarded: &Guarded) -> Self {
        let stream = TcpStream::connect(guarded.app.address).await.unwrap();
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        Self { sender }
    }

    async fn get(&mut self, guarded: &Guarded, key: &str, path: &str) -> StatusCode {
        let request = Request::get(path)
            .header("host", guarded.app.address.to_string())
            .header("authorization", format!("Bearer {key}"));
        let body = http_body_util::Empty::<Bytes>::new().boxed();
        self.sender.ready().await.unwrap();
        let response = self.sender.send_request(request.body(body).unwrap()).await.unwrap();
        let status = response.status();
        response.into_body().collect().await.unwrap();
        status
    }
}

/// A stream of prices under way: the way to feed it, and its answer to come.
async fn stream(
    guarded: &Guarded,
    key: &str,
) -> (mpsc::Sender<Bytes>, tokio::task::JoinHandle<(StatusCode, String)>) {
    let mut line = Line::open(guarded).await;
    let (feed, mut pieces) = mpsc::channel::<Bytes>(1);
    let body = StreamBody::new(futures_util::stream::poll_fn(move |context| {
        pieces.poll_recv(context).map(|piece| piece.map(|bytes| Ok(Frame::data(bytes))))
    }));
    let request = Request::post("/prices/stream")
        .header("host", guarded.app.address.to_string())
        .header("authorization", format!("Bearer {key}"))
        .header("content-type", "application/x-ndjson");
    let request = request.body(body.boxed()).unwrap();
    let answer = tokio::spawn(async move {
        let response = line.sender.send_request(request).await.unwrap();
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    });
    (feed, answer)
}

fn price(number: usize) -> Bytes {
    let line = json!({ "symbol": "GOLD", "price": "1900", "timestamp": format!("2026-11-22T00:00:{:02}Z", number % 60) });
    Bytes::from(format!("{line}\n"))
}

async fn gold(guarded: &Guarded) {
    let market =
        json!({ "code": "COMEX", "name": "COMEX", "market_type": "COMMODITIES_EXCHANGE", "timezone": "UTC" });
    guarded.admin("POST", "/markets", &market).await.expect(201);
    let asset =
        json!({ "symbol": "GOLD", "name": "Gold", "asset_type": "COMMODITY", "market_code": "COMEX" });
    guarded.admin("POST", "/assets", &asset).await.expect(201);
}

on_both! {
    async fn a_revoked_key_is_refused_on_twenty_open_connections_and_on_a_stream(backend) {
        let guarded = Guarded::start(backend).await;
        gold(&guarded).await;
        let key = guarded.key(&["prices:write", "prices:read"], "alice").await;
        let mut lines = Vec::new();
        for _ in 0..19 {
            let mut line = Line::open(&guarded).await;
            assert_eq!(line.get(&guarded, &key, "/prices/latest?symbols=GOLD").await, 200);
            lines.push(line);
        }
        let (feed, answer) = stream(&guarded, &key).await;
        feed.send(price(1)).await.unwrap();
        // The first line is recorded before the key is revoked.
        let started = Instant::now();
        while guarded.by(&key, "GET", "/prices?symbol=GOLD", None).await.expect(200).as_array().unwrap().is_empty() {
            assert!(started.elapsed() < PATIENCE, "the stream is not read");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let revoked = guarded.by(&guarded.admin, "DELETE", &format!("/keys/{}", id_of(&key)), None).await;
        assert_eq!(revoked.status, 204);
        let started = Instant::now();
        for line in &mut lines {
            assert_eq!(line.get(&guarded, &key, "/prices/latest?symbols=GOLD").await, 401);
        }
        // It says nothing more, and still ends.
        let (status, said) = tokio::time::timeout(PATIENCE, answer).await.expect("the stream goes on").unwrap();
        assert!(started.elapsed() < FELT, "{:?}", started.elapsed());
        eprintln!("revoked on {} open connections after {:?}", lines.len() + 1, started.elapsed());
        assert_eq!(status, 401, "{said}");
        assert!(said.contains("1 lines were taken"), "{said}");
        drop(feed);
        guarded.app.stop().await;
    }

    /// What is rechecked piece by piece is still given to its last byte.
    async fn an_answer_in_pieces_arrives_whole_however_it_is_packed(backend) {
        let guarded = Guarded::start(backend).await;
        gold(&guarded).await;
        // Without the rows that tell of these exports.
        let path = "/audit/export?format=ndjson&action=asset.";
        let ask = async |packing: &str| {
            let headers = [("x-api-key", guarded.admin.as_str()), ("accept-encoding", packing)];
            let reply = guarded.app.send("GET", path, &headers, b"").await;
            assert_eq!(reply.status.as_u16(), 200);
            (reply.body.to_vec(), reply.headers.get("content-encoding").cloned())
        };
        let (plain, _) = ask("identity").await;
        assert!(plain.ends_with(b"}\n") && plain.len() > 500, "{}", String::from_utf8_lossy(&plain));
        let (packed, coding) = ask("zstd").await;
        assert_eq!(coding.unwrap(), "zstd");
        assert_eq!(zstd::decode_all(packed.as_slice()).unwrap(), plain);
        let (packed, coding) = ask("gzip").await;
        assert_eq!(coding.unwrap(), "gzip");
        // The last four bytes of such a file are the length of what is in it.
        let length = u32::from_le_bytes(*packed.last_chunk().unwrap());
        assert_eq!(usize::try_from(length).unwrap(), plain.len());
        guarded.app.stop().await;
    }

    /// What is still being made is broken off within a second; what was whole when it began is the caller's.
    async fn an_answer_under_way_is_broken_off_when_its_key_is_revoked(backend) {
        let guarded = Guarded::start(backend).await;
        let key = guarded.key(&["markets:read"], "alice").await;
        let answers = [Standing::Key { prefix: id_of(&key).to_owned(), lineage: String::new() }, Standing::Always].map(|standing| {
            let (feed, mut pieces) = mpsc::channel::<Bytes>(4);
            let stream = futures_util::stream::poll_fn(move |context| {
                pieces.poll_recv(context).map(|piece| piece.map(Ok::<_, Infallible>))
            });
            let admitted = Admitted::default();
            admitted.by(&standing);
            let of = |body| watch(&guarded.app.app.state, &admitted, axum::response::Response::new(body)).into_body();
            (feed, of(axum::body::Body::from_stream(stream)), of(axum::body::Body::from("whole")))
        });
        let [(feed, mut watched, whole), (owners_feed, mut owners, _)] = answers;
        let piece = Bytes::from_static(b"piece");
        for feed in [&feed, &owners_feed] {
            feed.send(piece.clone()).await.unwrap();
        }
        for body in [&mut watched, &mut owners] {
            assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), piece);
        }
        guarded.admin("DELETE", &format!("/keys/{}", id_of(&key)), &json!({})).await;
        let began = Instant::now();
        assert!(watched.frame().await.unwrap().is_err());
        assert!(began.elapsed() < FELT && watched.frame().await.is_none());
        owners_feed.send(piece.clone()).await.unwrap();
        assert_eq!(owners.frame().await.unwrap().unwrap().into_data().unwrap(), piece);
        assert_eq!(whole.collect().await.unwrap().to_bytes(), "whole");
        guarded.app.stop().await;
    }

    async fn a_body_that_ends_after_its_key_was_revoked_does_nothing(backend) {
        let guarded = Guarded::start(backend).await;
        gold(&guarded).await;
        let portfolio = json!({ "name": "p", "owner_id": "o", "initial_capital": "0" });
        let portfolio = guarded.admin("POST", "/portfolios", &portfolio).await.expect(201)["id"].as_str().unwrap().to_owned();
        let import = format!("/portfolios/{portfolio}/transactions:import");
        for (path, kind, body) in [
            ("/keys", "application/json", r#"{"name":"late","admin":true}"#),
            ("/prices", "application/json", r#"{"symbol":"GOLD","price":"1"}"#),
            ("/fx/import", "text/csv", "date,USD\n2026-01-02,1.1\n"),
            (&import, "text/csv", "type,amount\ndeposit,5\n"),
        ] {
            let key = json!({ "name": "slow", "admin": true });
            let key = guarded.admin("POST", "/keys", &key).await.expect(201)["key"].as_str().unwrap().to_owned();
            let before = guarded.by(&guarded.admin, "GET", "/audit?limit=1000", None).await.expect(200).as_array().unwrap().len();
            let mut stream = TcpStream::connect(guarded.app.address).await.unwrap();
            let (first, rest) = body.split_at(5);
            let head = format!(
                "POST {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\nauthorization: Bearer {key}\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n{first}",
                body.len()
            );
            stream.write_all(head.as_bytes()).await.unwrap();
            // It was let in once its last use is known.
            let mine = format!("/keys/{}", id_of(&key));
            let started = Instant::now();
            while guarded.by(&guarded.admin, "GET", &mine, None).await.expect(200)["last_used_at"].is_null() {
                assert!(started.elapsed() < PATIENCE, "{path}: the request was not looked at");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            guarded.by(&guarded.admin, "DELETE", &mine, None).await;
            stream.write_all(rest.as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            assert!(answer.starts_with("HTTP/1.1 401 "), "{path}: {answer}");
            let rows = guarded.by(&guarded.admin, "GET", "/audit?limit=1000", None).await.expect(200);
            let since: Vec<&str> =
                rows.as_array().unwrap()[before..].iter().map(|row| row["action"].as_str().unwrap()).collect();
            assert_eq!(since, ["key.revoke", "access.authenticate"], "{path}");
        }
        guarded.app.stop().await;
    }

    async fn a_stream_ends_when_its_user_may_not_write_prices_any_more(backend) {
        let guarded = Guarded::start(backend).await;
        gold(&guarded).await;
        let tokens = guarded.user("alice", &["prices:write"]).await;
        let (feed, answer) = stream(&guarded, tokens["access_token"].as_str().unwrap()).await;
        feed.send(price(1)).await.unwrap();
        let body = json!({ "scopes": ["markets:read"] });
        guarded.by(&guarded.admin, "PATCH", "/users/alice", Some(&body)).await.expect(200);
        assert_eq!(answer.await.unwrap().0, 401);
        guarded.app.stop().await;
    }

    async fn a_password_that_is_changed_while_the_clock_is_behind_lets_in(backend) {
        let guarded = Guarded::start(backend).await;
        let old = guarded.user("alice", &["markets:read"]).await;
        let old = old["access_token"].as_str().unwrap();
        guarded.by(old, "GET", "/markets", None).await.expect(200);
        guarded.app.set_clock("2026-11-23T08:00:00Z");
        let body = json!({ "password": "another battery horse staple" });
        guarded.by(&guarded.admin, "POST", "/users/alice/password", Some(&body)).await.expect(200);
        let login = json!({ "name": "alice", "password": "another battery horse staple" });
        let new = guarded.by("", "POST", "/auth/login", Some(&login)).await.expect(200);
        guarded.by(new["access_token"].as_str().unwrap(), "GET", "/markets", None).await.expect(200);
        guarded.by(old, "GET", "/markets", None).await.expect(401);
        guarded.app.stop().await;
    }

    async fn a_stream_ends_when_its_key_expires_and_when_its_user_is_disabled(backend) {
        let guarded = Guarded::start(backend).await;
        gold(&guarded).await;
        let tokens = guarded.user("alice", &["prices:write"]).await;
        let body = json!({ "name": "feed", "owner_id": "alice", "scopes": ["prices:write"], "expires_at": "2026-11-23T13:00:00Z" });
        let key = guarded.admin("POST", "/keys", &body).await.expect(201)["key"].as_str().unwrap().to_owned();
        let (by_key, by_token) = (stream(&guarded, &key).await, stream(&guarded, tokens["access_token"].as_str().unwrap()).await);
        for feed in [&by_key.0, &by_token.0] {
            feed.send(price(1)).await.unwrap();
        }
        guarded.admin("POST", "/users/alice/disable", &json!({})).await;
        guarded.by(&guarded.admin, "POST", "/users/alice/disable", None).await.expect(200);
        assert_eq!(by_token.1.await.unwrap().0, 401);
        assert!(!by_key.1.is_finished(), "the other stream goes on");
        guarded.app.set_clock("2026-11-23T13:00:00Z");
        assert_eq!(by_key.1.await.unwrap().0, 401);
        guarded.app.stop().await;
    }

    async fn tokens_of_another_issuer_are_refused_by_jti_and_by_sub(backend) {
        let idp = Idp::new();
        let guarded = Guarded::start_with(backend, |folder| idp.trusted(folder, "markets:read")).await;
        let now = guarded.app.clock.now();
        let token = |jti: &str, sub: &str, iat: i64| {
            idp.token("ed", &json!({ "jti": jti, "sub": sub, "iat": now.0 / 1_000_000 + iat }), now)
        };
        let (one, two, other) = (token("one", "carol", 0), token("two", "carol", 0), token("three", "dave", 0));
        let statuses = async |tokens: [&String; 3]| {
            let mut found = Vec::new();
            for token in tokens {
                found.push(guarded.by(token, "GET", "/markets", None).await.status.as_u16());
            }
            found
        };
        assert_eq!(statuses([&one, &two, &other]).await, [200, 200, 200]);
        let revoked = guarded.admin("POST", "/auth/revocations", &json!({ "issuer": PUBLIC, "jti": "one" })).await.expect(201);
        assert_eq!(statuses([&one, &two, &other]).await, [401, 200, 200]);
        // A token lives for a day, may be dated half a minute ahead and is good for half a minute more: it is remembered
        // for longer than that, by two minutes in all.
        let at = |name: &str| Moment::parse(revoked[name].as_str().unwrap()).unwrap();
        assert_eq!(at("expires_at"), at("revoked_at").plus(DAY + 120_000_000));
        guarded.admin("POST", "/auth/revocations", &json!({ "issuer": PUBLIC, "sub": "carol" })).await.expect(201);
        assert_eq!(statuses([&one, &two, &other]).await, [401, 401, 200]);
        // What an issuer dates later, by a clock that may be half a minute ahead, may have been issued before.
        assert_eq!(guarded.by(&token("four", "carol", 30), "GET", "/markets", None).await.status, 401, "dated later");
        guarded.app.set_clock("2026-11-23T12:00:01Z");
        assert_eq!(guarded.by(&token("five", "carol", 31), "GET", "/markets", None).await.status, 200, "issued later");
        let undated = idp.token("ed", &json!({ "jti": null, "sub": "carol", "iat": null }), now);
        assert_eq!(guarded.by(&undated, "GET", "/markets", None).await.status, 401, "who knows when");
        for body in [json!({ "issuer": PUBLIC }), json!({ "issuer": PUBLIC, "jti": "a", "sub": "b" }), json!({ "issuer": "https://x/", "jti": "a" })] {
            assert_eq!(guarded.admin("POST", "/auth/revocations", &body).await.status, 422, "{body}");
        }
        // They are kept.
        let Guarded { app, admin, scratch } = guarded;
        let guarded = Guarded { app: app.restart().await, admin, scratch };
        assert_eq!(guarded.by(&two, "GET", "/markets", None).await.status, 401);
        assert_eq!(guarded.by(&other, "GET", "/markets", None).await.status, 200);
        guarded.app.stop().await;
    }

    async fn a_sub_that_was_revoked_while_the_clock_was_ahead_stays_revoked_when_it_comes_back(backend) {
        let idp = Idp::new();
        let guarded = Guarded::start_with(backend, |folder| idp.trusted(folder, "markets:read")).await;
        let start = guarded.app.clock.now();
        let token = |sub: &str, minutes: i64| {
            let issued = start.0 / 1_000_000 + 60 * minutes;
            idp.token("ed", &json!({ "jti": null, "sub": sub, "iat": issued, "exp": issued + 6 * 3600 }), start)
        };
        let asked = async |guarded: &Guarded, token: &str| guarded.by(token, "GET", "/markets", None).await.status.as_u16();
        let (before, other) = (token("carol", 0), token("dave", 0));
        assert_eq!((asked(&guarded, &before).await, asked(&guarded, &other).await), (200, 200));
        // Farther ahead than stamps follow: the moment of the revocation is the clock's.
        guarded.app.set_clock("2026-11-23T14:00:00Z");
        guarded.admin("POST", "/auth/revocations", &json!({ "issuer": PUBLIC, "sub": "carol" })).await.expect(201);
        assert_eq!((asked(&guarded, &before).await, asked(&guarded, &other).await), (401, 200));
        guarded.app.set_clock("2026-11-23T12:10:00Z");
        // Whether it was issued before the revocation nobody can tell: it is dated before it.
        let between = token("carol", 10);
        assert_eq!((asked(&guarded, &before).await, asked(&guarded, &between).await), (401, 401));
        let Guarded { app, admin, scratch } = guarded;
        let guarded = Guarded { app: app.restart().await, admin, scratch };
        assert_eq!((asked(&guarded, &before).await, asked(&guarded, &between).await), (401, 401), "it is kept");
        assert_eq!(asked(&guarded, &other).await, 200);
        guarded.app.set_clock("2026-11-23T14:01:00Z");
        assert_eq!((asked(&guarded, &before).await, asked(&guarded, &token("carol", 121)).await), (401, 200));
        guarded.app.stop().await;
    }

    /// The key is gone, or another one stands under its name: what was signed with it lets nobody in, on a stream as well.
    async fn a_stream_ends_when_the_key_of_its_token_is_gone(backend) {
        let (before, after) = (Idp::new(), Idp::new());
        let guarded = Guarded::start_with(backend, |folder| before.trusted(folder, "prices:write")).await;
        gold(&guarded).await;
        let now = guarded.app.clock.now();
        let scope = json!({ "scope": "prices:write" });
        let directory = &guarded.app.app.state.gate.directory;
        let read = async |keys: &serde_json::Value| {
            std::fs::write(guarded.scratch.0.join("jwks.json"), keys.to_string()).unwrap();
            artifact::workers::jwks::read_all(directory, &artifact::workers::jwks::Clients::new()).await;
        };
        let mut without = before.jwks();
        without["keys"].as_array_mut().unwrap().retain(|key| key["kid"] != "ed");
        let (ed, rs) = (before.token("ed", &scope, now), before.token("rs", &scope, now));
        let (by_ed, by_rs) = (stream(&guarded, &ed).await, stream(&guarded, &rs).await);
        for (number, feed) in [(1, &by_ed.0), (2, &by_rs.0)] {
            feed.send(price(number)).await.unwrap();
        }
        let taken = async {
            while guarded.by(&guarded.admin, "GET", "/prices?symbol=GOLD", None).await.expect(200).as_array().unwrap().len() < 2 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, taken).await.expect("the streams are not read");
        read(&before.jwks()).await;
        read(&without).await;
        let ended = tokio::time::timeout(PATIENCE, by_ed.1).await.expect("the stream goes on").unwrap();
        assert_eq!(ended.0, 401, "{}", ended.1);
        by_rs.0.send(price(3)).await.unwrap();
        assert!(!by_rs.1.is_finished(), "its key is still there");
        read(&after.jwks()).await;
        let ended = tokio::time::timeout(PATIENCE, by_rs.1).await.expect("the stream goes on").unwrap();
        assert_eq!(ended.0, 401, "{}", ended.1);
        guarded.app.stop().await;
    }

    async fn keys_of_an_issuer_change_without_a_restart(backend) {
        let (before, after) = (Idp::new(), Idp::new());
        let guarded = Guarded::start_with(backend, |folder| before.trusted(folder, "markets:read")).await;
        let now = guarded.app.clock.now();
        let (old, new) = (before.token("ed", &json!({}), now), after.token("ed", &json!({}), now));
        assert_eq!(guarded.by(&new, "GET", "/markets", None).await.status, 401);
        std::fs::write(guarded.scratch.0.join("jwks.json"), "{ broken").unwrap();
        let directory = &guarded.app.app.state.gate.directory;
        artifact::workers::jwks::read_all(directory, &artifact::workers::jwks::Clients::new()).await;
        assert_eq!(guarded.by(&old, "GET", "/markets", None).await.status, 200, "what cannot be read changes nothing");
        std::fs::write(guarded.scratch.0.join("jwks.json"), after.jwks().to_string()).unwrap();
        artifact::workers::jwks::read_all(directory, &artifact::workers::jwks::Clients::new()).await;
        assert_eq!(guarded.by(&new, "GET", "/markets", None).await.status, 200);
        assert_eq!(guarded.by(&old, "GET", "/markets", None).await.status, 401, "a key that is gone verifies nothing");
        guarded.app.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_fetched_from_an_address_and_asked_for_when_a_token_names_a_new_one() {
    use artifact::workers::outbound::Outbound;
    use artifact::workers::outbound::address::Reach;
    use artifact::workers::outbound::authorities::Authorities;
    use artifact::workers::tokens::issuers::KeySource;
    let idp = Idp::new();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let served = std::sync::Arc::new(std::sync::Mutex::new((500, String::new())));
    let document = std::sync::Arc::clone(&served);
    let router = axum::Router::new().route(
        "/jwks",
        axum::routing::get(move || {
            let (status, body) = document.lock().unwrap().clone();
            async move { (StatusCode::from_u16(status).unwrap(), body) }
        }),
    );
    let stop = CancellationToken::new();
    let ending = stop.clone();
    let serving = tokio::spawn(async move {
        axum::serve(listener, router).with_graceful_shutdown(async move { ending.cancelled().await }).await
    });
    let guarded = Guarded::start_with(crate::support::Backend::Sqlite, |folder| {
        let mut settings = idp.trusted(folder, "markets:read");
        settings.issuers[1].keys =
            KeySource::Url { url: format!("http://{address}/jwks"), authorities: Authorities::OfMachine };
        settings
    })
    .await;
    let now = guarded.app.clock.now();
    let token = idp.token("rs", &json!({}), now);
    let status = async || guarded.by(&token, "GET", "/markets", None).await.status.as_u16();
    let directory = &guarded.app.app.state.gate.directory;
    let clients = HashMap::from([(PUBLIC.to_owned(), Outbound::new(Reach::Anywhere).unwrap())]);
    artifact::workers::jwks::read_all(directory, &clients).await;
    assert_eq!(status().await, 401, "the issuer is down, the service is not");
    *served.lock().unwrap() = (200, idp.jwks().to_string());
    artifact::workers::jwks::read_all(directory, &clients).await;
    assert_eq!(status().await, 200);
    *served.lock().unwrap() = (404, "{}".to_owned());
    artifact::workers::jwks::read_all(directory, &clients).await;
    assert_eq!(status().await, 200, "what cannot be read changes nothing");
    guarded.app.stop().await;
    stop.cancel();
    serving.await.unwrap().unwrap();
}

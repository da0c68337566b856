//! The edge of the service: whose address counts, and what happens when connections run out.

use super::{CLOSED, OPEN, Place, Service};
use crate::support::Backend;
use serde_json::json;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Waits until a line of the log holds all of these.
async fn logged(service: &Service, parts: &[&str]) -> bool {
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(10) {
        let lines = service.err.all();
        if lines.iter().any(|line| parts.iter().all(|part| line.contains(part))) {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    false
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forwarding_header_is_believed_from_named_proxies_only() {
    let place = Place::new(Backend::Sqlite).await;
    let forwarded = [("x-forwarded-for", "203.0.113.66, 192.0.2.77"), ("x-request-id", "forwarded-1")];
    for (trusted, address) in [("\"127.0.0.1/32\"", "192.0.2.77"), ("", "127.0.0.1")] {
        let text = format!("log_format = \"json\"\n[proxy]\ntrusted = [{trusted}]\n");
        let config = place.file("proxy.toml", &text);
        let service = place.serve(&[&CLOSED[..], &["--config", &config]].concat());
        // What goes well and is soon done is not in the log.
        service.api.attempt("GET", "/nowhere", &forwarded, b"").await.unwrap().expect(404);
        let client = format!("\"client.address\":\"{address}\"");
        assert!(logged(&service, &["\"forwarded-1\"", &client]).await, "{:?}", service.err.all());
        assert!(!service.err.all().iter().any(|line| line.contains("203.0.113.66")));
        service.stop();
    }
    let service = place.serve(&OPEN);
    let through = service.api.attempt("GET", "/markets", &forwarded, b"").await.unwrap();
    assert_eq!(through.code(403), "host_not_allowed", "nobody comes through a proxy without a key");
    service.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_reaches_for_the_portfolio_of_another_is_named_in_the_log() {
    let place = Place::new(Backend::Sqlite).await;
    let config = place.file("log.toml", "log_format = \"json\"\n");
    let mut service = place.serve(&[&CLOSED[..], &["--config", &config]].concat());
    service.api.key = service.printed_key();
    let mine = json!({ "name": "mine", "owner_id": "admin", "initial_capital": "1" });
    let mine = service.api.post("/portfolios", &mine).await.expect(201)["id"].as_str().unwrap().to_owned();
    let key = json!({ "name": "other", "owner_id": "bob", "scopes": ["portfolios:read"] });
    let key = service.api.post("/keys", &key).await.expect(201);
    service.api.key = key["key"].as_str().map(str::to_owned);
    let path = format!("/portfolios/{mine}");
    let id = [("x-request-id", "reaching-1")];
    service.api.attempt("GET", &path, &id, b"").await.unwrap().expect(404);
    let actor = format!("\"actor\":\"key:{}\"", key["id"].as_str().unwrap());
    assert!(
        logged(&service, &["\"reaching-1\"", &actor, "\"status\":404", &mine]).await,
        "{:?}",
        service.err.all()
    );
    service.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_credential_that_is_let_in_is_in_the_log_once_an_hour() {
    let place = Place::new(Backend::Sqlite).await;
    let config = place.file("log.toml", "log_format = \"json\"\n");
    let mut service = place.serve(&[&CLOSED[..], &["--config", &config]].concat());
    service.api.key = service.printed_key();
    let other = json!({ "name": "other", "owner_id": "bob", "scopes": ["markets:read"] });
    let other = service.api.post("/keys", &other).await.expect(201);
    service.api.key = other["key"].as_str().map(str::to_owned);
    for _ in 0..5 {
        service.api.get("/markets").await.expect(200);
    }
    let user =
        json!({ "name": "alice", "password": "correct horse battery staple", "scopes": ["markets:read"] });
    service.api.key = service.printed_key();
    service.api.post("/users", &user).await.expect(201);
    service.api.key = None;
    let login = json!({ "name": "alice", "password": "correct horse battery staple" });
    let tokens = service.api.post("/auth/login", &login).await.expect(200);
    let bearer = format!("Bearer {}", tokens["access_token"].as_str().unwrap());
    service.api.attempt("GET", "/markets", &[("authorization", &bearer)], b"").await.unwrap().expect(200);
    let let_in = "a credential was let in";
    assert!(
        logged(&service, &[let_in, "\"by\":\"access_token\"", "\"actor\":\"user:alice", "127.0.0.1"]).await
    );
    let lines = service.err.all();
    let of = |part: &str| lines.iter().filter(|line| line.contains(let_in) && line.contains(part)).count();
    let (key, secret) = (other["id"].as_str().unwrap(), other["key"].as_str().unwrap());
    assert_eq!(of(&format!("\"key\":\"{key}\"")), 1, "five reads, one line: {lines:#?}");
    assert_eq!(of("\"by\":\"api_key\""), 2, "the first key and the other");
    assert!(lines.iter().all(|line| !line.contains(secret.rsplit('_').next().unwrap())), "no secret");
    service.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_describes_the_service_can_be_left_out() {
    let place = Place::new(Backend::Sqlite).await;
    let mut command = place.command(&[&["serve"], OPEN.as_slice()].concat());
    command.env("ARTIFACT_DOCS", "false");
    let service = Service::start(command);
    for path in ["/docs", "/docs/problems", "/docs/ui/index.html", "/openapi.json"] {
        assert_eq!(service.api.get(path).await.code(404), "not_found", "{path}");
    }
    service.api.get("/markets").await.expect(200);
    service.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_proxy_section_is_told_with_its_rule() {
    let place = Place::new(Backend::Sqlite).await;
    let wrong = place.file("wrong.toml", "[proxy]\ntrusted = [\"everybody\"]\n");
    let said = place.run(&["config", "check", "--config", &wrong]).failed(2);
    assert!(said.contains("proxy.trusted") && said.contains("everybody"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_descriptors_it_waits_and_then_goes_on() {
    let place = Place::new(Backend::Sqlite).await;
    let plain = place.command(&[&["serve"], &OPEN[..]].concat());
    let mut scarce = Command::new("/bin/sh");
    scarce.args(["-c", "ulimit -n 96; exec \"$@\"", "sh"]).arg(plain.get_program()).args(plain.get_args());
    scarce.env_clear().current_dir(place.folder()).stdin(Stdio::null());
    scarce.stdout(Stdio::piped()).stderr(Stdio::piped());
    let service = Service::start(scarce);
    let mut held = Vec::new();
    for _ in 0..200 {
        held.push(TcpStream::connect(service.api.address).await.unwrap());
    }
    assert!(service.api.healthy().await, "idle connections make room");
    drop(held);
    assert!(service.api.healthy().await);
    service.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_http_gets_a_problem_document_and_the_end_of_the_connection() {
    let place = Place::new(Backend::Sqlite).await;
    let service = place.serve(&OPEN);
    let long = format!("GET /{} HTTP/1.1\r\nhost: localhost\r\n\r\n", "a".repeat(40 << 10));
    let many = format!("GET /health HTTP/1.1\r\nhost: localhost\r\n{}\r\n", "x: 1\r\n".repeat(200));
    for (request, status, code) in [
        ("GET /health HTTP/1.1\r\nhost : localhost\r\n\r\n", "400", "malformed_request"),
        (&long, "431", "headers_too_large"),
        (&many, "431", "headers_too_large"),
    ] {
        let mut stream = TcpStream::connect(service.api.address).await.unwrap();
        // A good request first: what follows on the same connection is judged alike.
        stream.write_all(b"GET /health/live HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
        let mut first = vec![0; 4096];
        let read = stream.read(&mut first).await.unwrap();
        assert!(first[..read].starts_with(b"HTTP/1.1 200"));
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        // The rest of what was sent is never read, so the end may come as a reset.
        let _end = stream.read_to_end(&mut answer).await;
        let answer = String::from_utf8(answer).unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        assert!(answer.contains("application/problem+json") && answer.contains(code), "{answer}");
    }
    service.stop();
}

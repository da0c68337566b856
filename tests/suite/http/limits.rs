//! How often one may ask, and what every answer tells browsers.

use crate::on_both;
use crate::support::{Backend, START, Scratch, TestApp, fresh_location};
use artifact::clock::Clock;
use artifact::domain::moment::Moment;
use artifact::http::auth::Access;
use artifact::http::client_address::TrustedProxies;
use artifact::http::guard::Guard;
use artifact::http::limits::{Limits, Rates};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Bytes of a body no route takes at once.
const LENGTH: usize = 64 << 20;
const ORIGIN: &str = "https://desk.example";

async fn guarded(backend: Backend, rates: Rates) -> (TestApp, Scratch) {
    let scratch = Scratch::new();
    let location = fresh_location(backend, &scratch).await;
    let clock = Clock::manual(Moment::parse(START).unwrap());
    let proxies =
        TrustedProxies { networks: vec!["127.0.0.1/32".parse().unwrap()], ..TrustedProxies::default() };
    let guard = Guard::new(Limits { rates, ..Limits::default() }, proxies, vec![ORIGIN.parse().unwrap()]);
    (TestApp::start_guarded(location, clock, Access::Keys, guard).await, scratch)
}

fn header<'a>(reply: &'a crate::support::Reply, name: &str) -> &'a str {
    reply.headers.get(name).map_or("", |value| value.to_str().unwrap())
}

on_both! {
    async fn a_key_has_a_quota_and_the_headers_tell_of_it(backend) {
        let rates = Rates { key: 60, address: 0, heavy: 5, anonymous: 0, refused: 0 };
        let (app, _scratch) = guarded(backend, rates).await;
        let key = app.app.admin_key("first").await.unwrap();
        let other = app.app.admin_key("other").await.unwrap();
        let get = async |path: &str, key: &str| app.send("GET", path, &[("x-api-key", key)], b"").await;
        for left in (0..60).rev() {
            let reply = get("/markets", &key).await;
            reply.expect(200);
            assert_eq!(header(&reply, "ratelimit-policy"), "\"key\";q=60;w=60");
            assert_eq!(header(&reply, "ratelimit"), format!("\"key\";r={left};t={}", 60 - left));
            assert_eq!(header(&reply, "x-ratelimit-limit"), "60");
            assert_eq!(header(&reply, "x-ratelimit-remaining"), left.to_string());
        }
        let reply = get("/markets", &key).await;
        assert_eq!((header(&reply, "retry-after"), header(&reply, "ratelimit")), ("1", "\"key\";r=0;t=60"));
        let reset = Moment::parse(START).unwrap().0 / 1_000_000 + 60;
        assert_eq!(header(&reply, "x-ratelimit-reset"), reset.to_string());
        assert_eq!(reply.code(429), "too_many_requests");
        // Health and metrics are never refused, and another key has its own quota.
        app.get("/health").await.expect(200);
        assert_eq!(get("/metrics", &key).await.status, 200);
        get("/markets", &other).await.expect(200);
        app.set_clock("2026-11-23T12:00:01Z");
        get("/markets", &key).await.expect(200);
        get("/markets", &key).await.expect(429);
        for _ in 0..5 {
            get("/pnl", &other).await;
        }
        let heavy = get("/pnl", &other).await;
        assert_eq!(header(&heavy, "ratelimit-policy"), "\"heavy\";q=5;w=60");
        assert_eq!((header(&heavy, "retry-after"), heavy.code(429).as_str()), ("12", "too_many_requests"));
        get("/markets", &other).await.expect(200);
        app.stop().await;
    }

    /// Neither another spelling nor a rotation makes a second quota, and who guesses at a key takes nothing off it.
    async fn a_key_has_one_quota_however_it_is_written_and_with_those_that_follow_it(backend) {
        let rates = Rates { key: 60, address: 0, heavy: 5, anonymous: 0, refused: 0 };
        let (app, _scratch) = guarded(backend, rates).await;
        let admin = app.app.admin_key("first").await.unwrap();
        let json = [("content-type", "application/json"), ("x-api-key", &admin)];
        let made = app.send("POST", "/keys", &json, br#"{"name":"a","admin":true}"#).await.expect(201);
        let (id, key) = (made["id"].as_str().unwrap(), made["key"].as_str().unwrap());
        let next = app.send("POST", &format!("/keys/{id}/rotate"), &json, b"").await.expect(201);
        let next = next["key"].as_str().unwrap();
        for n in 0..100 {
            let guess = format!("art_{id}_{n:064}");
            app.send("GET", "/markets", &[("x-api-key", &guess)], b"").await.expect(401);
        }
        let spelled = |n: usize| match n % 5 {
            0 => ("x-api-key", key.to_owned()),
            1 => ("authorization", format!("Bearer {next}")),
            2 => ("x-api-key", next.to_owned()),
            3 => ("authorization", format!("bEARER {key}")),
            _ => ("authorization", format!("Bearer {}{key}", " ".repeat(n))),
        };
        for (path, quota) in [("/audit/verify", 5), ("/markets", 55)] {
            for n in 0..quota + 40 {
                let (name, value) = spelled(n);
                let reply = app.send("GET", path, &[(name, &value)], b"").await;
                assert_eq!(reply.status.as_u16(), if n < quota { 200 } else { 429 }, "{path} {n}");
            }
        }
        app.stop().await;
    }

    async fn a_user_has_one_quota_for_all_logins(backend) {
        let rates = Rates { key: 20, address: 0, heavy: 0, anonymous: 0, refused: 0 };
        let (app, _scratch) = guarded(backend, rates).await;
        let admin = app.app.admin_key("first").await.unwrap();
        let json = [("content-type", "application/json"), ("x-api-key", &admin)];
        for name in ["alice", "bob"] {
            let user = json!({ "name": name, "password": "correct horse battery staple", "scopes": ["markets:read"] });
            app.send("POST", "/users", &json, user.to_string().as_bytes()).await.expect(201);
        }
        let login = async |name: &str| {
            let login = json!({ "name": name, "password": "correct horse battery staple" });
            let tokens = app.post("/auth/login", &login).await.expect(200);
            format!("Bearer {}", tokens["access_token"].as_str().unwrap())
        };
        let tokens = [login("alice").await, login("alice").await, login("alice").await];
        for n in 0..40 {
            let reply = app.send("GET", "/markets", &[("authorization", &tokens[n % 3])], b"").await;
            assert_eq!(reply.status.as_u16(), if n < 20 { 200 } else { 429 }, "{n}");
        }
        app.send("GET", "/markets", &[("authorization", &login("bob").await)], b"").await.expect(200);
        app.stop().await;
    }

    async fn wrong_keys_of_an_address_are_soon_not_looked_at(backend) {
        let rates = Rates { key: 0, address: 0, heavy: 0, anonymous: 0, refused: 100 };
        let (app, _scratch) = guarded(backend, rates).await;
        let (used, fresh) = (app.app.admin_key("used").await.unwrap(), app.app.admin_key("fresh").await.unwrap());
        let get = async |key: &str, from: &str| {
            app.send("GET", "/markets", &[("x-api-key", key), ("x-forwarded-for", from)], b"").await
        };
        get(&used, "192.0.2.1").await.expect(200);
        let wrong = |n: usize| format!("art_{n:012}_{}", "0".repeat(64));
        for n in 0..100 {
            assert_eq!(get(&wrong(n), "192.0.2.1").await.code(401), "unauthorized");
        }
        let refused = get(&wrong(100), "192.0.2.1").await;
        assert_eq!((header(&refused, "retry-after"), refused.code(429).as_str()), ("1", "too_many_requests"));
        // Nor are they where those ask who watch the service, who are never held back without one.
        for path in ["/metrics", "/health", "/health/ready"] {
            let watching = [("x-api-key", wrong(100)), ("x-forwarded-for", "192.0.2.1".to_owned())];
            let watching = watching.each_ref().map(|(name, value)| (*name, value.as_str()));
            assert_eq!(app.send("GET", path, &watching, b"").await.code(429), "too_many_requests", "{path}");
        }
        app.send("GET", "/health", &[("x-forwarded-for", "192.0.2.1")], b"").await.expect(200);
        // A key that was good before goes on, from there too; an unknown one waits, right or wrong.
        get(&used, "192.0.2.1").await.expect(200);
        get(&fresh, "192.0.2.1").await.expect(429);
        get(&fresh, "192.0.2.2").await.expect(200);
        app.set_clock("2026-11-23T12:00:01Z");
        get(&fresh, "192.0.2.1").await.expect(200);
        app.stop().await;
    }

    async fn a_key_counts_as_good_only_where_somebody_looked_at_it(backend) {
        let rates = Rates { key: 0, address: 0, heavy: 0, anonymous: 0, refused: 5 };
        let (app, _scratch) = guarded(backend, rates).await;
        let get = async |key: &str, path: &str| app.send("GET", path, &[("x-api-key", key)], b"").await;
        let wrong = |n: usize| format!("art_{n:012}_{}", "0".repeat(64));
        // These ask for no key, and look at none.
        for n in 0..50 {
            get(&wrong(n), "/health/live").await.expect(200);
            assert!(get(&wrong(n), "/docs").await.status.is_success());
            assert!(get(&wrong(n), "/.well-known/jwks.json").await.status.is_success());
        }
        for n in 0..7 {
            assert_eq!(get(&wrong(n), "/markets").await.status.as_u16(), if n < 5 { 401 } else { 429 }, "{n}");
        }
        app.stop().await;
    }

    async fn strangers_of_one_address_have_a_part_of_the_places(backend) {
        let scratch = Scratch::new();
        let location = fresh_location(backend, &scratch).await;
        let clock = Clock::manual(Moment::parse(START).unwrap());
        let rates = Rates { key: 0, address: 0, heavy: 0, anonymous: 0, refused: 0 };
        let proxies = TrustedProxies { networks: vec!["127.0.0.1/32".parse().unwrap()], ..TrustedProxies::default() };
        let guard = Guard::new(Limits { rates, requests: 16, ..Limits::default() }, proxies, Vec::new());
        let app = TestApp::start_guarded(location, clock, Access::Keys, guard).await;
        let key = app.app.admin_key("first").await.unwrap();
        app.send("GET", "/markets", &[("x-api-key", &key)], b"").await.expect(200);
        let mut held = Vec::new();
        for _ in 0..2 {
            let mut stream = TcpStream::connect(app.address).await.unwrap();
            let begun = "POST /auth/login HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{";
            stream.write_all(begun.as_bytes()).await.unwrap();
            held.push(stream);
        }
        let started = std::time::Instant::now();
        while app.get("/markets").await.status != 503 {
            assert!(started.elapsed().as_secs() < 20, "the places of strangers are not taken");
        }
        assert_eq!(app.get("/markets").await.code(503), "busy");
        app.send("GET", "/markets", &[("x-forwarded-for", "192.0.2.9")], b"").await.expect(401);
        for _ in 0..20 {
            app.send("GET", "/markets", &[("x-api-key", &key)], b"").await.expect(200);
        }
        drop(held);
        let large = format!("{{\"name\":\"{}\"}}", "a".repeat(20 << 10));
        let json = [("content-type", "application/json"), ("x-forwarded-for", "192.0.2.9")];
        assert_eq!(app.send("POST", "/auth/login", &json, large.as_bytes()).await.code(413), "body_too_large");
        app.stop().await;
    }

    async fn who_shows_no_key_has_a_quota_by_address(backend) {
        let rates = Rates { key: 0, address: 0, heavy: 0, anonymous: 10, refused: 0 };
        let (app, _scratch) = guarded(backend, rates).await;
        for n in 0..12 {
            let reply = app.send("GET", "/markets", &[("x-forwarded-for", "2001:db8::1")], b"").await;
            assert_eq!(reply.status.as_u16(), if n < 10 { 401 } else { 429 });
        }
        let neighbour = app.send("GET", "/markets", &[("x-forwarded-for", "2001:db8::2")], b"").await;
        assert_eq!(neighbour.code(429), "too_many_requests", "a /64 is one client");
        app.send("GET", "/markets", &[("x-forwarded-for", "2001:db8:0:1::1")], b"").await.expect(401);
        app.stop().await;
    }
}

#[tokio::test]
async fn only_named_origins_may_read_answers() {
    let none = Rates { key: 0, address: 0, heavy: 0, anonymous: 0, refused: 0 };
    let (app, _scratch) = guarded(Backend::Sqlite, none).await;
    let key = app.app.admin_key("first").await.unwrap();
    let asks = |origin: &'static str| {
        [
            ("origin", origin),
            ("access-control-request-method", "POST"),
            ("access-control-request-headers", "x-api-key,idempotency-key"),
        ]
    };
    let allowed = app.send("OPTIONS", "/prices", &asks(ORIGIN), b"").await;
    assert!(allowed.status.is_success());
    assert_eq!(header(&allowed, "access-control-allow-origin"), ORIGIN);
    assert!(header(&allowed, "access-control-allow-headers").contains("idempotency-key"));
    assert_eq!(header(&allowed, "access-control-allow-credentials"), "");
    for origin in ["https://evil.example", "http://desk.example", "https://desk.example.evil", "null"] {
        let refused = app.send("OPTIONS", "/prices", &asks(origin), b"").await;
        assert_eq!(header(&refused, "access-control-allow-origin"), "", "{origin}");
    }
    // A failure may be read too.
    for (path, status) in [("/markets", 200), ("/markets/NONE", 404)] {
        let reply = app.send("GET", path, &[("x-api-key", &key), ("origin", ORIGIN)], b"").await;
        assert_eq!((reply.status.as_u16(), header(&reply, "access-control-allow-origin")), (status, ORIGIN));
        assert!(header(&reply, "access-control-expose-headers").contains("ratelimit"));
        let varies = reply.headers.get_all("vary").iter();
        assert!(varies.into_iter().any(|value| value.to_str().unwrap().contains("origin")));
    }
    app.stop().await;
    let plain = TestApp::start(Backend::Sqlite).await;
    assert_eq!(plain.send("OPTIONS", "/prices", &asks(ORIGIN), b"").await.code(405), "method_not_allowed");
    let reply = plain.send("GET", "/markets", &[("origin", ORIGIN)], b"").await;
    assert_eq!(header(&reply, "access-control-allow-origin"), "");
    plain.stop().await;
}

#[tokio::test]
async fn the_page_of_the_api_finds_its_files_and_they_say_how_they_are_written() {
    let app = TestApp::start(Backend::Sqlite).await;
    let page = app.get("/docs").await.text();
    let named: Vec<&str> = page
        .split(['"', '\''])
        .filter(|text| [".css", ".js", ".png"].iter().any(|end| text.ends_with(end)))
        .collect();
    assert!(named.len() >= 7, "{named:?}");
    for path in named {
        assert!(path.starts_with("/docs/ui/"), "{path} counts from the page, which has no base");
        let reply = app.get(path).await;
        assert_eq!(reply.status, 200, "{path}");
        let kind = header(&reply, "content-type");
        let wanted = match path.rsplit_once('.').unwrap().1 {
            "css" => "text/css; charset=utf-8",
            "js" => "text/javascript; charset=utf-8",
            _ => "image/png",
        };
        assert_eq!(kind, wanted, "{path}");
    }
    assert_eq!(header(&app.get("/docs/ui/").await, "content-type"), "text/html; charset=utf-8");
    app.stop().await;
}

#[tokio::test]
async fn every_answer_tells_browsers_and_caches_to_keep_out() {
    let app = TestApp::start(Backend::Sqlite).await;
    let market = json!({ "code": "X", "name": "X", "market_type": "STOCK_EXCHANGE", "timezone": "UTC" });
    let made = app.post("/markets", &market).await;
    assert_eq!(made.status, 201, "{}", made.text());
    assert_eq!(header(&made, "cache-control"), "no-store");
    assert!(app.get("/markets/X").await.headers.contains_key("etag"));
    for path in [
        "/health",
        "/markets",
        "/markets/X",
        "/markets/NONE",
        "/nowhere",
        "/openapi.json",
        "/docs",
        "/docs/problems",
    ] {
        let reply = app.get(path).await;
        assert_eq!(header(&reply, "x-content-type-options"), "nosniff", "{path}");
        assert_eq!(header(&reply, "referrer-policy"), "no-referrer", "{path}");
        assert_eq!(header(&reply, "strict-transport-security"), "", "{path}");
        let policy = header(&reply, "content-security-policy");
        assert!(
            policy.starts_with("default-src 'none'; ")
                && policy.contains("base-uri 'none'; ")
                && policy.ends_with("frame-ancestors 'none'"),
            "{path}: {policy}"
        );
        if header(&reply, "content-type").starts_with("text/html") {
            assert!(policy.contains("script-src 'self';"), "{policy}");
        } else {
            assert!(!policy.contains("self"), "{path}: {policy}");
            assert_eq!(header(&reply, "cache-control"), "no-store", "{path}");
        }
    }
    app.stop().await;
}

/// A client that goes on sending a body that was refused gets its answer whole, and no reset that overtakes it.
#[tokio::test]
async fn a_refused_body_may_be_sent_to_its_end_before_the_answer_is_read() {
    let none = Rates { key: 0, address: 0, heavy: 0, anonymous: 0, refused: 0 };
    let (app, _scratch) = guarded(Backend::Sqlite, none).await;
    let key = app.app.admin_key("first").await.unwrap();
    let head = |path: &str, more: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nhost: a\r\nx-api-key: {key}\r\ncontent-type: text/csv\r\n{more}\r\n\r\n"
        )
    };
    let sized = format!("content-length: {LENGTH}");
    for (head, status) in [
        (head("/prices/batch", &sized), "413 Payload Too Large"),
        (head("/nothing", &sized), "404 Not Found"),
        (
            head("/prices/batch", &format!("{sized}\r\nx-a: {}", "a".repeat(64 << 10))),
            "431 Request Header Fields",
        ),
    ] {
        let mut stream = TcpStream::connect(app.address).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        let piece = vec![b' '; 1 << 20];
        for sent in 0..LENGTH >> 20 {
            stream
                .write_all(&piece)
                .await
                .unwrap_or_else(|error| panic!("{status} after {sent} MiB: {error}"));
        }
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(serde_json::from_str::<serde_json::Value>(body).unwrap()["code"].is_string(), "{answer}");
    }
    app.stop().await;
}

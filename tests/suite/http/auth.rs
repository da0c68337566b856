//! Who comes in.

use crate::on_both;
use crate::support::{Backend, START, Scratch, TestApp, fresh_location};
use artifact::clock::Clock;
use artifact::domain::moment::Moment;
use artifact::http::auth::Access;
use artifact::http::openapi::OPEN;
use serde_json::json;

async fn locked(backend: Backend) -> (TestApp, Scratch) {
    let scratch = Scratch::new();
    let location = fresh_location(backend, &scratch).await;
    let clock = Clock::manual(Moment::parse(START).unwrap());
    (TestApp::start_on(location, clock, Access::Keys).await, scratch)
}

on_both! {
    async fn nobody_comes_in_without_a_key(backend) {
        let (app, _scratch) = locked(backend).await;
        let key = app.app.admin_key("first").await.unwrap();
        let (prefix, secret) = key.rsplit_once('_').unwrap();
        let wrong = format!("{prefix}_{}", "0".repeat(secret.len()));
        let foreign = format!("art_000000000000_{secret}");
        let document: serde_json::Value = app.get("/openapi.json").await.expect(200);
        for (path, operations) in document["paths"].as_object().unwrap() {
            let path = path.replace(['{', '}'], "");
            for method in operations.as_object().unwrap().keys().filter(|name| ["get", "post", "put", "patch", "delete"].contains(&name.as_str())) {
                if OPEN.iter().any(|open| path.starts_with(open)) {
                    continue;
                }
                let method = method.to_uppercase();
                // Wrong keys are counted by the minute.
                app.clock.set(app.clock.now().plus(60_000_000));
                let reply = app.send(&method, &path, &[], b"").await;
                assert_eq!(reply.code(401), "unauthorized", "{method} {path}");
                assert_eq!(reply.headers["www-authenticate"], "Bearer");
                for bad in ["", "art_", "nonsense", &wrong, &foreign, prefix, &key.to_uppercase(), &format!("{key}0")] {
                    for (name, value) in [("x-api-key", bad.to_owned()), ("authorization", format!("Bearer {bad}")), ("authorization", format!("Basic {bad}"))] {
                        let reply = app.send(&method, &path, &[(name, &value)], b"").await;
                        assert_eq!(reply.code(401), "unauthorized", "{method} {path} {name}: {value}");
                        assert!(!String::from_utf8_lossy(&reply.body).contains(secret));
                    }
                }
            }
        }
        for path in ["/health", "/health/live", "/health/ready", "/openapi.json", "/docs"] {
            assert!(app.get(path).await.status.is_success(), "{path}");
        }
        app.stop().await;
    }

    async fn a_key_opens_by_either_header_and_makes_others(backend) {
        let (app, _scratch) = locked(backend).await;
        let key = app.app.first_key().await.unwrap().unwrap();
        assert!(key.starts_with("art_"));
        assert_eq!(app.app.first_key().await.unwrap(), None, "the first key is made once");
        let bearer = format!("bearer {key}");
        for header in [("x-api-key", key.as_str()), ("authorization", bearer.as_str())] {
            assert_eq!(app.send("GET", "/markets", &[header], b"").await.expect(200), json!([]));
        }
        let headers = [("x-api-key", key.as_str()), ("content-type", "application/json")];
        assert_eq!(app.send("POST", "/keys", &headers, br#"{"name":"","zzz":1}"#).await.pointers(), ["/name", "/scopes", "/zzz"]);
        let made = app.send("POST", "/keys", &headers, br#"{"name":"desk","admin":true}"#).await;
        assert_eq!(made.headers["cache-control"], "no-store");
        let made = made.expect(201);
        let second = made["key"].as_str().unwrap();
        assert_eq!(second.split('_').nth(1), made["id"].as_str());
        app.send("GET", "/portfolios", &[("x-api-key", second)], b"").await.expect(200);
        // Any host is good where a key is asked for.
        app.send("GET", "/markets", &[("x-api-key", &key), ("host", "artifact.example")], b"").await.expect(200);
        app.stop().await;
    }

    async fn the_open_door_is_for_loopback_names_only(backend) {
        let app = TestApp::start(backend).await;
        for host in ["evil.example", "evil.example:7000", "127.0.0.1.evil.example", "192.168.0.1", "localhost.evil", ""] {
            let reply = app.send("GET", "/markets", &[("host", host)], b"").await;
            assert_eq!(reply.code(403), "host_not_allowed", "{host}");
        }
        for host in ["localhost", "LOCALHOST:1", "127.0.0.1:9", "127.1.2.3", "[::1]:7000", "[::1]"] {
            app.send("GET", "/markets", &[("host", host)], b"").await.expect(200);
        }
        // A browser sends these without asking first, and names the page that made them.
        let pages: [&[(&str, &str)]; 5] = [
            &[("origin", "https://evil.example")],
            &[("origin", "null")],
            &[("origin", "http://localhost.evil.example:7000")],
            &[("origin", "http://evil.example"), ("sec-fetch-site", "same-origin")],
            &[("sec-fetch-site", "cross-site")],
        ];
        for page in pages {
            let (path, headers) = ("/markets/NYSE/halt", [&[("host", "127.0.0.1:7000")], page].concat());
            assert_eq!(app.send("POST", path, &headers, b"").await.code(403), "host_not_allowed", "{page:?}");
            app.send("GET", "/markets", &headers, b"").await.expect(200);
        }
        let own: [&[(&str, &str)]; 3] =
            [&[("origin", "http://127.0.0.1:7000")], &[("origin", "http://localhost:3000")], &[("sec-fetch-site", "same-origin")]];
        for page in own {
            let reply = app.send("POST", "/markets/NYSE/halt", &[&[("host", "127.0.0.1:7000")], page].concat(), b"").await;
            assert_eq!(reply.code(404), "market_not_found", "{page:?}");
        }
        // A key that is sent is checked although none is asked for.
        assert_eq!(app.send("GET", "/markets", &[("x-api-key", "art_x_y")], b"").await.code(401), "unauthorized");
        app.stop().await;
    }
}

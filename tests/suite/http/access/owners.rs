//! Owners (reliability.md A4): what is foreign and what does not exist answer alike, on every route that names or lists
//! portfolios, and nobody gives itself more than it has.

use super::{Guarded, PASSWORD};
use crate::on_both;
use crate::support::Reply;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// An id that nothing has.
const ABSENT: &str = "0198c1d2-7c7a-7b1e-9a55-3f2b8d0c4e11";
/// A line of a ledger.
const DEPOSIT: &[u8] = b"{\"type\":\"deposit\",\"amount\":\"1\",\"currency\":\"USD\",\"executed_at\":\"2026-11-20T00:00:00Z\"}\n";
/// Scopes of somebody who runs portfolios.
const ALL: [&str; 7] = [
    "portfolios:read",
    "portfolios:write",
    "prices:read",
    "prices:write",
    "assets:read",
    "assets:write",
    "markets:read",
];

/// A book with a position and transactions.
struct Book {
    portfolio: String,
    position: String,
    transaction: String,
}

async fn book(guarded: &Guarded, owner: &str) -> Book {
    let body = json!({ "name": format!("book of {owner}"), "owner_id": owner, "initial_capital": "100000" });
    let portfolio =
        guarded.admin("POST", "/portfolios", &body).await.expect(201)["id"].as_str().unwrap().to_owned();
    let buy = json!({ "type": "buy", "symbol": "GOLD", "quantity": "2", "price": "100", "executed_at": "2026-11-20T00:00:00Z" });
    let made =
        guarded.admin("POST", &format!("/portfolios/{portfolio}/transactions"), &buy).await.expect(201);
    let positions = guarded
        .by(&guarded.admin, "GET", &format!("/portfolios/{portfolio}/positions"), None)
        .await
        .expect(200);
    let transaction = made["id"].as_str().unwrap().to_owned();
    Book { portfolio, position: positions[0]["id"].as_str().unwrap().to_owned(), transaction }
}

async fn world(backend: crate::support::Backend) -> (Guarded, Book, Book) {
    let guarded = Guarded::start(backend).await;
    let market =
        json!({ "code": "COMEX", "name": "COMEX", "market_type": "COMMODITIES_EXCHANGE", "timezone": "UTC" });
    guarded.admin("POST", "/markets", &market).await.expect(201);
    let asset =
        json!({ "symbol": "GOLD", "name": "Gold", "asset_type": "COMMODITY", "market_code": "COMEX" });
    guarded.admin("POST", "/assets", &asset).await.expect(201);
    guarded.admin("POST", "/prices", &json!({ "symbol": "GOLD", "price": "101" })).await.expect(200);
    let (alice, bob) = (book(&guarded, "alice").await, book(&guarded, "bob").await);
    (guarded, alice, bob)
}

/// Requests that name a portfolio, each with a body that would do something.
fn requests(book: &Book) -> Vec<(&'static str, String, Option<Value>)> {
    let Book { portfolio, position, transaction } = book;
    let base = format!("/portfolios/{portfolio}");
    let trade = json!({ "type": "buy", "symbol": "GOLD", "quantity": "1", "price": "100" });
    let open = json!({ "asset_symbol": "GOLD", "quantity": "1", "price": "100", "position_type": "LONG" });
    let mut list: Vec<(&'static str, String, Option<Value>)> = vec![
        ("GET", base.clone(), None),
        ("GET", format!("{base}?as_of=2026-11-22"), None),
        ("GET", format!("{base}?known_at=2026-11-23T12:00:00Z"), None),
        ("PATCH", base.clone(), Some(json!({ "name": "mine now" }))),
        ("DELETE", base.clone(), None),
    ];
    for read in [
        "attribution",
        "export",
        "export?what=ledger",
        "export?what=pnl&format=csv",
        "gains",
        "history",
        "lots",
        "performance",
        "pnl",
        "pnl?by=lot",
        "pnl?as_of=2026-11-22",
        "pnl?explain=true",
        "pnl/diff?known_at=2026-11-23T12:00:00Z",
        "pnl/values?at=2026-11-22",
        "positions",
        "positions?status=CLOSED",
        "transactions",
    ] {
        list.push(("GET", format!("{base}/{read}"), None));
    }
    for action in ["freeze", "unfreeze", "deactivate", "activate"] {
        list.push(("POST", format!("{base}/{action}"), None));
    }
    list.extend([
        ("POST", format!("{base}/positions"), Some(open)),
        ("GET", format!("{base}/positions/{position}"), None),
        ("GET", format!("{base}/positions/{ABSENT}"), None),
        ("POST", format!("{base}/positions/{position}/close"), Some(json!({ "price": "100" }))),
        (
            "POST",
            format!("{base}/positions/{position}/reduce"),
            Some(json!({ "quantity": "1", "price": "100" })),
        ),
        ("POST", format!("{base}/transactions"), Some(trade.clone())),
        ("POST", format!("{base}/transactions"), Some(json!([trade]))),
        ("GET", format!("{base}/transactions/{transaction}"), None),
        ("GET", format!("{base}/transactions/{ABSENT}"), None),
        ("POST", format!("{base}/transactions/{transaction}/void"), Some(json!({}))),
        ("POST", format!("{base}/transactions:import?dry_run=true&format=ndjson"), Some(json!({}))),
        ("GET", format!("/pnl?portfolio={portfolio}"), None),
        ("GET", format!("/performance?portfolio={portfolio}"), None),
    ]);
    list
}

/// An answer without its ids: what is left must not tell a foreign portfolio from none.
fn told(reply: &Reply, book: &Book) -> String {
    let mut text = reply.text();
    if let Some(id) = reply.headers.get("x-request-id") {
        text = text.replace(id.to_str().unwrap(), "<request>");
    }
    for id in [&book.portfolio, &book.position, &book.transaction] {
        text = text.replace(id.as_str(), "<id>");
    }
    let kind = reply.headers.get("content-type").and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    format!("{} {kind} {text}", reply.status)
}

/// Asks everything of a book that is out of reach, and the same of one that does not exist. How many checks that were.
async fn alike(guarded: &Guarded, credential: &str, foreign: &Book) -> usize {
    let absent =
        Book { portfolio: ABSENT.to_owned(), position: ABSENT.to_owned(), transaction: ABSENT.to_owned() };
    let (of_foreign, of_absent) = (requests(foreign), requests(&absent));
    for ((method, path, body), (_, other, _)) in of_foreign.iter().zip(&of_absent) {
        let kind = if path.contains(":import") { Some("application/x-ndjson") } else { None };
        let send = async |path: &str| match kind {
            Some(kind) => {
                let bearer = format!("Bearer {credential}");
                guarded
                    .app
                    .send(method, path, &[("authorization", &bearer), ("content-type", kind)], DEPOSIT)
                    .await
            }
            None => guarded.by(credential, method, path, body.as_ref()).await,
        };
        let (theirs, nobodys) = (send(path).await, send(other).await);
        assert_eq!(told(&theirs, foreign), told(&nobodys, &absent), "{method} {path}");
        assert_eq!(theirs.code(404), "portfolio_not_found", "{method} {path}");
    }
    of_foreign.len()
}

on_both! {
    async fn a_foreign_portfolio_answers_like_an_absent_one_on_every_route(backend) {
        let (guarded, alice, bob) = world(backend).await;
        let document = guarded.by("", "GET", "/openapi.json", None).await.expect(200);
        let routes: BTreeSet<String> = document["paths"].as_object().unwrap().iter().filter(|(path, _)| path.contains("{portfolio}"))
            .flat_map(|(path, methods)| methods.as_object().unwrap().keys().map(move |method| format!("{} {path}", method.to_uppercase()))).collect();
        // Each of them is among the requests, so that a new one cannot be forgotten.
        for route in &routes {
            let fits = |(method, path, _): &(&str, String, Option<Value>)| {
                let plain = path.split('?').next().unwrap();
                let parts = route.split_once(' ').unwrap().1.split('/').zip(plain.split('/'));
                route.starts_with(&format!("{method} ")) && route.matches('/').count() == plain.matches('/').count()
                    && parts.into_iter().all(|(wanted, given)| wanted.starts_with('{') || wanted == given)
            };
            assert!(requests(&alice).iter().any(fits), "{route} is not among the requests of this test");
        }
        let before = guarded.by(&guarded.admin, "GET", &format!("/portfolios/{}/export", alice.portfolio), None).await.text();
        let mut checks = 0;
        let key = guarded.key(&ALL, "bob").await;
        checks += alike(&guarded, &key, &alice).await;
        let tokens = guarded.user("bob", &ALL).await;
        checks += alike(&guarded, tokens["access_token"].as_str().unwrap(), &alice).await;
        // A key that is bound to one portfolio does not reach the others of its owner.
        let other = book(&guarded, "bob").await;
        let body = json!({ "name": "bound", "scopes": ALL, "owner_id": "bob", "portfolios": [bob.portfolio] });
        let bound = guarded.admin("POST", "/keys", &body).await.expect(201)["key"].as_str().unwrap().to_owned();
        checks += alike(&guarded, &bound, &other).await;
        checks += alike(&guarded, &bound, &alice).await;
        assert!(checks >= 120, "{checks}");
        eprintln!("{checks} requests for a portfolio out of reach, each answered as if there were none");
        guarded.by(&bound, "GET", &format!("/portfolios/{}", bob.portfolio), None).await.expect(200);
        let after = guarded.by(&guarded.admin, "GET", &format!("/portfolios/{}/export", alice.portfolio), None).await.text();
        let ledger = |text: &str| text.lines().filter(|line| line.contains("\"transaction\"") || line.contains("GOLD")).count();
        assert_eq!(ledger(&before), ledger(&after), "and nothing was changed");
        guarded.app.stop().await;
    }

    async fn what_belongs_to_another_portfolio_is_not_found_under_ones_own(backend) {
        let (guarded, alice, bob) = world(backend).await;
        let key = guarded.key(&ALL, "bob").await;
        let own = format!("/portfolios/{}", bob.portfolio);
        for (method, path, code) in [
            ("GET", format!("{own}/positions/{}", alice.position), "position_not_found"),
            ("POST", format!("{own}/positions/{}/close", alice.position), "position_not_found"),
            ("POST", format!("{own}/positions/{}/reduce", alice.position), "position_not_found"),
            ("GET", format!("{own}/transactions/{}", alice.transaction), "transaction_not_found"),
            ("POST", format!("{own}/transactions/{}/void", alice.transaction), "transaction_not_found"),
        ] {
            let body = (method == "POST").then(|| json!({ "price": "100", "quantity": "1" })).filter(|_| !path.ends_with("void"));
            let body = body.or_else(|| path.ends_with("void").then(|| json!({})));
            let absent = path.replace(&alice.position, ABSENT).replace(&alice.transaction, ABSENT);
            let (foreign, nobodys) = (guarded.by(&key, method, &path, body.as_ref()).await, guarded.by(&key, method, &absent, body.as_ref()).await);
            assert_eq!(foreign.code(404), code, "{method} {path}");
            let none = Book { portfolio: bob.portfolio.clone(), position: ABSENT.to_owned(), transaction: ABSENT.to_owned() };
            assert_eq!(told(&foreign, &alice), told(&nobodys, &none).replace(ABSENT, "<id>"), "{method} {path}");
        }
        guarded.app.stop().await;
    }

    async fn lists_and_sums_hold_what_one_may_see_and_nothing_else(backend) {
        let (guarded, alice, bob) = world(backend).await;
        let key = guarded.key(&ALL, "bob").await;
        let second = book(&guarded, "bob").await;
        let body = json!({ "name": "bound", "scopes": ALL, "owner_id": "bob", "portfolios": [second.portfolio] });
        let bound = guarded.admin("POST", "/keys", &body).await.expect(201)["key"].as_str().unwrap().to_owned();
        for path in ["/portfolios", "/portfolios?owner_id=bob", "/portfolios?q=book", "/portfolios?sort=-name", "/pnl", "/pnl?owner_id=bob", "/performance", "/performance?owner_id=bob"] {
            let own = guarded.by(&key, "GET", path, None).await;
            own.expect(200);
            assert!(own.text().contains(&bob.portfolio) && own.text().contains(&second.portfolio), "{path}");
            assert!(!own.text().contains(&alice.portfolio) && !own.text().contains("alice"), "{path}");
            let one = guarded.by(&bound, "GET", path, None).await;
            one.expect(200);
            assert!(one.text().contains(&second.portfolio), "{path}");
            assert!(!one.text().contains(&bob.portfolio) && !one.text().contains(&alice.portfolio), "{path}");
        }
        for path in ["/portfolios?owner_id=alice", "/pnl?owner_id=alice", "/performance?owner_id=alice", "/portfolios?owner_id=nobody"] {
            assert_eq!(guarded.by(&key, "GET", path, None).await.code(403), "forbidden", "{path}");
        }
        assert!(guarded.by(&key, "GET", "/portfolios?limit=1", None).await.next_page().is_some());
        let mixed = format!("/pnl?portfolio={},{}", bob.portfolio, alice.portfolio);
        assert_eq!(guarded.by(&key, "GET", &mixed, None).await.code(404), "portfolio_not_found");
        guarded.app.stop().await;
    }

    async fn a_price_names_the_positions_of_its_caller_and_of_nobody_else(backend) {
        let (guarded, alice, bob) = world(backend).await;
        let (full, blind) = (guarded.key(&ALL, "bob").await, guarded.key(&["prices:write", "assets:write"], "bob").await);
        let body = json!({ "name": "bound", "scopes": ALL, "owner_id": "alice", "portfolios": [alice.portfolio] });
        let bound = guarded.admin("POST", "/keys", &body).await.expect(201)["key"].as_str().unwrap().to_owned();
        let price = |minute: u32| json!({ "symbol": "GOLD", "price": "102", "timestamp": format!("2026-11-23T11:{minute:02}:00Z") });
        let split = |day: u32| json!({ "type": "split", "ratio": "2", "executed_at": format!("2026-11-{day:02}") });
        for (number, (credential, sees)) in [(&guarded.admin, [true, true]), (&full, [false, true]), (&bound, [true, false]), (&blind, [false, false])].into_iter().enumerate() {
            let minute = u32::try_from(number).unwrap();
            let answers = [
                guarded.by(credential, "POST", "/prices", Some(&price(minute))).await,
                guarded.by(credential, "POST", "/prices", Some(&price(minute))).await,
                guarded.by(credential, "DELETE", &format!("/prices?symbol=GOLD&timestamp=2026-11-23T11:{minute:02}:00Z"), None).await,
            ];
            for reply in answers {
                assert!(reply.status.is_success(), "{}", reply.text());
                assert_eq!([reply.text().contains(&alice.portfolio), reply.text().contains(&bob.portfolio)], sees, "{number}: {}", reply.text());
                assert_eq!([reply.text().contains(&alice.position), reply.text().contains(&bob.position)], sees, "{number}");
            }
            let batch = guarded.by(credential, "POST", "/prices/batch", Some(&json!([price(30 + minute)]))).await;
            assert!(batch.status.is_success(), "{}", batch.text());
            assert!(![&alice, &bob].iter().any(|book| batch.text().contains(&book.portfolio)), "{}", batch.text());
            let reply = guarded.by(credential, "POST", "/assets/GOLD/actions", Some(&split(21 + minute))).await;
            reply.expect(201);
            assert_eq!([reply.text().contains(&alice.portfolio), reply.text().contains(&bob.portfolio)], sees, "{number}: {}", reply.text());
        }
        guarded.app.stop().await;
    }

    async fn a_kept_answer_is_given_to_nobody_else(backend) {
        let (guarded, _, bob) = world(backend).await;
        let (key, other) = (guarded.key(&ALL, "alice").await, guarded.key(&ALL, "bob").await);
        let send = async |credential: &str, path: &str, body: &Value| {
            let headers = [("x-api-key", credential), ("content-type", "application/json"), ("idempotency-key", "same")];
            guarded.app.send("POST", path, &headers, body.to_string().as_bytes()).await
        };
        let price = json!({ "symbol": "GOLD", "price": "103", "timestamp": "2026-11-23T10:00:00Z" });
        let first = send(&key, "/prices", &price).await;
        first.expect(200);
        assert!(!first.text().contains(&bob.portfolio));
        let second = send(&other, "/prices", &price).await;
        assert_eq!(second.headers.get("idempotency-replayed"), None);
        assert!(second.text().contains(&bob.portfolio), "it was judged for its own caller");
        let path = format!("/portfolios/{}/transactions", bob.portfolio);
        let trade = json!({ "type": "buy", "symbol": "GOLD", "quantity": "1", "price": "100" });
        send(&other, &path, &trade).await.expect(201);
        assert_eq!(send(&key, &path, &trade).await.code(404), "portfolio_not_found");
        // A user whose rights were cut down gets no answer from before.
        let body = json!({ "name": "carol", "password": PASSWORD, "owner_id": "bob", "scopes": ALL });
        guarded.admin("POST", "/users", &body).await.expect(201);
        let tokens = guarded.login("carol", PASSWORD).await.expect(200);
        let bearer = format!("Bearer {}", tokens["access_token"].as_str().unwrap());
        let as_carol = async || {
            let headers = [("authorization", bearer.as_str()), ("content-type", "application/json"), ("idempotency-key", "mine")];
            guarded.app.send("POST", &path, &headers, trade.to_string().as_bytes()).await
        };
        as_carol().await.expect(201);
        let another = book(&guarded, "bob").await;
        guarded.by(&guarded.admin, "PATCH", "/users/carol", Some(&json!({ "portfolios": [another.portfolio] }))).await.expect(200);
        assert_eq!(as_carol().await.code(404), "portfolio_not_found");
        guarded.app.stop().await;
    }

    async fn nobody_gives_itself_more_than_it_has(backend) {
        let (guarded, alice, bob) = world(backend).await;
        let key = guarded.key(&ALL, "bob").await;
        let body = json!({ "name": "bound", "scopes": ALL, "owner_id": "bob", "portfolios": [bob.portfolio] });
        let bound = guarded.admin("POST", "/keys", &body).await.expect(201)["key"].as_str().unwrap().to_owned();
        let new = |owner: &str| json!({ "name": "n", "owner_id": owner, "initial_capital": "1", "scopes": ["admin"], "any_owner": true });
        assert_eq!(guarded.by(&key, "POST", "/portfolios", Some(&new("alice"))).await.code(403), "forbidden");
        assert_eq!(guarded.by(&key, "POST", "/portfolios", Some(&new("admin"))).await.code(403), "forbidden");
        assert_eq!(guarded.by(&key, "POST", "/portfolios", Some(&new("Bob"))).await.code(403), "forbidden");
        assert_eq!(guarded.by(&bound, "POST", "/portfolios", Some(&new("bob"))).await.code(403), "forbidden");
        let made = guarded.by(&key, "POST", "/portfolios", Some(&new("bob"))).await.expect(201);
        assert_eq!(made["owner_id"], "bob");
        let own = format!("/portfolios/{}", bob.portfolio);
        for field in ["owner_id", "id", "status", "version", "scopes", "created_at", "initial_capital"] {
            let reply = guarded.by(&key, "PATCH", &own, Some(&json!({ field: "alice" }))).await;
            assert_eq!(reply.pointers(), [format!("/{field}")], "{field}");
        }
        for (method, path, body) in [
            ("POST", "/keys", json!({ "name": "x", "admin": true })),
            ("POST", "/users", json!({ "name": "mallory", "password": PASSWORD, "admin": true })),
            ("PATCH", "/users/bob", json!({ "admin": true })),
            ("POST", "/users/bob/password", json!({ "password": PASSWORD })),
            ("POST", "/auth/revocations", json!({})),
        ] {
            assert_eq!(guarded.by(&key, method, path, Some(&body)).await.code(403), "forbidden", "{method} {path}");
        }
        let me = guarded.by(&key, "GET", "/auth/me", None).await.expect(200);
        assert_eq!((me["any_owner"].as_bool(), me["scopes"].as_array().unwrap().len()), (Some(false), ALL.len()));
        assert_eq!(guarded.by(&key, "GET", &format!("/portfolios/{}", alice.portfolio), None).await.status, 404);
        guarded.app.stop().await;
    }
}

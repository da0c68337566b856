//! Every route demands a credential and one scope, and this table says which. A route that is not in it fails the test:
//! who adds one has to say who may use it.

use super::Guarded;
use crate::on_both;
use artifact::http::auth::SCOPES;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Routes that need no credential, or bring what they need in their body.
const OPEN: [&str; 13] = [
    "GET /health",
    "GET /health/live",
    "GET /health/ready",
    "GET /health/startup",
    "GET /.well-known/jwks.json",
    "POST /auth/login",
    "POST /auth/refresh",
    "POST /auth/logout",
    "POST /auth/password",
    "POST /auth/sessions/end",
    "POST /auth/second-factor",
    "POST /auth/second-factor/confirm",
    "POST /auth/second-factor/remove",
];

/// Routes that every credential may use.
const ANYONE: [&str; 2] = ["GET /auth/me", "GET /auth/sessions"];

/// The scope that each other route demands, by how its path begins. The longest beginning counts.
const DEMANDED: &[(&str, &str)] = &[
    ("GET /assets", "assets:read"),
    ("POST /assets", "assets:write"),
    ("PATCH /assets", "assets:write"),
    ("GET /assets/{asset}/candles", "prices:read"),
    ("GET /assets/{asset}/gaps", "prices:read"),
    ("GET /assets/{asset}/price", "prices:read"),
    ("GET /audit", "audit:read"),
    ("POST /audit/restores", "admin"),
    ("GET /currencies", "assets:read"),
    ("POST /currencies", "assets:write"),
    ("GET /fx", "prices:read"),
    ("POST /fx", "prices:write"),
    ("GET /ingest", "prices:read"),
    ("POST /ingest/feeds", "feeds:write"),
    ("POST /ingest/mappings/test", "prices:read"),
    ("POST /ingest/outbox", "prices:write"),
    ("DELETE /ingest/outbox", "prices:write"),
    ("POST /ingest/queue", "prices:write"),
    ("POST /ingest/dead-letters", "prices:write"),
    ("DELETE /ingest/dead-letters", "prices:write"),
    ("GET /backups", "backups:write"),
    ("POST /backups", "backups:write"),
    ("GET /markets", "markets:read"),
    ("POST /markets", "markets:write"),
    ("PATCH /markets", "markets:write"),
    ("GET /metrics", "metrics:read"),
    ("GET /performance", "portfolios:read"),
    ("GET /pnl", "portfolios:read"),
    ("POST /pnl", "portfolios:read"),
    ("GET /portfolios", "portfolios:read"),
    ("POST /portfolios", "portfolios:write"),
    ("PATCH /portfolios", "portfolios:write"),
    ("DELETE /portfolios", "portfolios:write"),
    ("GET /prices", "prices:read"),
    ("POST /prices", "prices:write"),
    ("PUT /prices", "prices:write"),
    ("DELETE /prices", "prices:write"),
    ("POST /clock/accept", "admin"),
    ("GET /keys", "admin"),
    ("POST /keys", "admin"),
    ("DELETE /keys", "admin"),
    ("GET /users", "admin"),
    ("POST /users", "admin"),
    ("DELETE /users", "admin"),
    ("PATCH /users", "admin"),
    ("POST /auth/revocations", "admin"),
    ("POST /signing-keys/rotate", "admin"),
];

fn demanded(route: &str) -> Option<&'static str> {
    let fitting = DEMANDED.iter().filter(|(start, _)| {
        route.strip_prefix(start).is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', ':']))
    });
    fitting.max_by_key(|(start, _)| start.len()).map(|(_, scope)| *scope)
}

/// Every route of the document: its name, its method, and a path that can be asked for.
fn routes(document: &Value) -> Vec<(String, String, String)> {
    let mut found = Vec::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for method in operations.as_object().unwrap().keys() {
            let method = method.to_uppercase();
            let concrete = path.replace(['{', '}'], "");
            found.push((format!("{method} {path}"), method, concrete));
        }
    }
    found
}

on_both! {
    async fn every_route_demands_the_scope_of_the_table(backend) {
        let guarded = Guarded::start(backend).await;
        // For each scope a key that has every other one; but that of the audit trail stands beside none of portfolios.
        let mut lacking = BTreeMap::new();
        for scope in SCOPES {
            let others = SCOPES.iter().copied().filter(|other| !matches!(*other, "admin" | "audit:read") && other != scope);
            let others: Vec<&str> = others.collect();
            lacking.insert(*scope, guarded.key(&others, "alice").await);
        }
        let mut having = BTreeMap::new();
        for scope in SCOPES.iter().filter(|scope| **scope != "admin") {
            having.insert(*scope, guarded.key(&[scope], "alice").await);
        }
        let document = guarded.by("", "GET", "/openapi.json", None).await.expect(200);
        let routes = routes(&document);
        assert!(routes.len() > 60, "{}", routes.len());
        let mut used = BTreeSet::new();
        for (name, method, path) in &routes {
            let body = (method != "GET" && method != "DELETE").then(|| json!({}));
            let without = guarded.by("", method, path, body.as_ref()).await;
            if OPEN.contains(&name.as_str()) {
                assert_ne!(without.status, 403, "{name}");
                let open = document["paths"][name.split_once(' ').unwrap().1][method.to_lowercase()]["security"].clone();
                let more = json!([{}, { "api_key": [] }, { "bearer": [] }]);
                let said = if matches!(name.as_str(), "GET /health" | "GET /health/ready" | "GET /health/startup") { more } else { json!([]) };
                assert_eq!(open, said, "{name} is documented as open");
                continue;
            }
            assert_eq!(without.code(401), "unauthorized", "{name} without a credential");
            if ANYONE.contains(&name.as_str()) {
                assert_eq!(guarded.by(&lacking["admin"], method, path, None).await.status, 200, "{name}");
                continue;
            }
            let scope = demanded(name).unwrap_or_else(|| panic!("{name} is not in the table of this test"));
            used.insert(scope);
            let refused = guarded.by(&lacking[scope], method, path, body.as_ref()).await;
            assert_eq!(refused.code(403), "forbidden", "{name} with every scope but {scope}");
            assert!(refused.json()["detail"].as_str().unwrap().ends_with(scope), "{name}: {}", refused.text());
            if scope != "audit:read" {
                let auditor = guarded.by(&having["audit:read"], method, path, body.as_ref()).await;
                assert_eq!(auditor.code(403), "forbidden", "{name} with audit:read");
            }
            let with = having.get(scope).unwrap_or(&guarded.admin);
            let let_in = guarded.by(with, method, path, body.as_ref()).await;
            assert!(!matches!(let_in.status.as_u16(), 401 | 403), "{name} with {scope} alone: {}", let_in.text());
            assert!(let_in.status.as_u16() < 500, "{name}: {}", let_in.text());
        }
        eprintln!("{} routes, each without a credential, without its scope and with it alone", routes.len());
        let unused: Vec<&&str> = SCOPES.iter().filter(|scope| !used.contains(**scope)).collect();
        assert!(unused.is_empty(), "no route demands {unused:?}");
        guarded.app.stop().await;
    }
}

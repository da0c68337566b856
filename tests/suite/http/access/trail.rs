//! The audit trail tells of every owner, so whoever acts for one of them does not see it.

use super::{Guarded, Idp, PASSWORD};
use crate::on_both;
use serde_json::{Value, json};

/// Everything the trail shows.
const PATHS: [&str; 3] = ["/audit", "/audit/export", "/audit/verify"];

async fn shown(guarded: &Guarded, credential: &str, status: u16) {
    for path in PATHS {
        let reply = guarded.by(credential, "GET", path, None).await;
        assert_eq!(reply.status.as_u16(), status, "{path}: {}", reply.text());
        assert!(status == 200 || !reply.text().contains("portfolio.create"), "{path}: {}", reply.text());
    }
}

on_both! {
    async fn an_auditor_reads_the_whole_trail_and_nothing_else(backend) {
        let guarded = Guarded::start(backend).await;
        for owner in ["alice", "bob"] {
            let book = json!({ "name": format!("book of {owner}"), "owner_id": owner, "initial_capital": "1" });
            guarded.admin("POST", "/portfolios", &book).await.expect(201);
        }
        let auditor = guarded.key(&["audit:read"], "carol").await;
        let rows = guarded.by(&auditor, "GET", "/audit?action=portfolio.create", None).await.expect(200);
        let owners: Vec<&str> = rows.as_array().unwrap().iter().filter_map(|row| row["after"]["owner_id"].as_str()).collect();
        assert_eq!(owners, ["alice", "bob"]);
        shown(&guarded, &auditor, 200).await;
        assert_eq!(guarded.by(&auditor, "GET", "/portfolios", None).await.code(403), "forbidden");
        shown(&guarded, &guarded.admin, 200).await;
        guarded.app.stop().await;
    }

    async fn nobody_is_given_the_trail_beside_the_portfolios_of_one_owner(backend) {
        let guarded = Guarded::start(backend).await;
        let book = json!({ "name": "book", "owner_id": "bob", "initial_capital": "1" });
        let made = guarded.admin("POST", "/portfolios", &book).await.expect(201);
        let refused = async |method: &str, path: &str, body: Value, pointer: &str| {
            let reply = guarded.admin(method, path, &body).await;
            assert_eq!((reply.status.as_u16(), reply.pointers()), (422, vec![pointer.to_owned()]), "{body}: {}", reply.text());
        };
        for other in ["portfolios:read", "portfolios:write"] {
            let scopes = json!(["audit:read", other]);
            refused("POST", "/keys", json!({ "name": "n", "owner_id": "bob", "scopes": scopes }), "/scopes").await;
            refused("POST", "/users", json!({ "name": "bob", "password": PASSWORD, "scopes": scopes }), "/scopes").await;
        }
        let bound = json!([made["id"]]);
        refused("POST", "/keys", json!({ "name": "n", "owner_id": "bob", "scopes": ["audit:read"], "portfolios": bound }), "/portfolios").await;
        let auditor = json!({ "name": "bob", "password": PASSWORD, "scopes": ["audit:read"] });
        guarded.admin("POST", "/users", &auditor).await.expect(201);
        refused("PATCH", "/users/bob", json!({ "scopes": ["audit:read", "portfolios:read"] }), "/scopes").await;
        refused("PATCH", "/users/bob", json!({ "portfolios": bound }), "/portfolios").await;
        let tokens = guarded.login("bob", PASSWORD).await.expect(200);
        let token = tokens["access_token"].as_str().unwrap();
        shown(&guarded, token, 200).await;
        // Out of the trail and into the portfolios, felt by the token that is out.
        guarded.admin("PATCH", "/users/bob", &json!({ "scopes": ["portfolios:read"] })).await.expect(200);
        shown(&guarded, token, 403).await;
        guarded.app.stop().await;
    }

    async fn a_token_of_another_issuer_shows_the_trail_or_portfolios(backend) {
        let idp = Idp::new();
        let guarded = Guarded::start_with(backend, |folder| idp.trusted(folder, "audit:read portfolios:read metrics:read")).await;
        let book = json!({ "name": "book", "owner_id": "bob", "initial_capital": "1" });
        guarded.admin("POST", "/portfolios", &book).await.expect(201);
        let token = |scope: &str| idp.token("ed", &json!({ "scope": scope }), guarded.app.clock.now());
        shown(&guarded, &token("audit:read metrics:read"), 200).await;
        let both = token("audit:read portfolios:read");
        shown(&guarded, &both, 403).await;
        guarded.by(&both, "GET", "/portfolios", None).await.expect(200);
        guarded.app.stop().await;
    }
}

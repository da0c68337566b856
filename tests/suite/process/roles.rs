//! PostgreSQL with two roles: `deploy/postgres/roles.sql` as it is shipped.

use super::{OPEN, Place};
use crate::support::Backend;
use artifact::storage::database::Location;
use serde_json::json;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use std::process::Command;

/// A database with an owner of its own and a role that serves, both named after it; and where each finds it.
async fn with_roles() -> (Place, [Place; 2], String) {
    let place = Place::new(Backend::Postgres).await;
    let Location::Postgres { url, .. } = &place.location else { panic!("no PostgreSQL") };
    let (server, name) = url.rsplit_once('/').unwrap();
    let (_, address) = server.rsplit_once('@').unwrap();
    let [owner, service] = [format!("owner_{name}"), format!("service_{name}")];
    let mut admin = PgConnection::connect(url).await.unwrap();
    for statement in [
        format!("CREATE ROLE {owner} LOGIN CREATEDB"),
        format!("CREATE ROLE {service} LOGIN"),
        format!("ALTER DATABASE {name} OWNER TO {owner}"),
        // As a database is that its owner has made.
        format!("ALTER SCHEMA public OWNER TO {owner}"),
    ] {
        admin.execute(AssertSqlSafe(statement)).await.unwrap();
    }
    admin.close().await.unwrap();
    let of = |role: &str| {
        let location = Location::Postgres {
            url: format!("postgres://{role}@{address}/{name}"),
            directory: place.data().to_path_buf(),
        };
        Place { location, scratch: crate::support::Scratch::new() }
    };
    let places = [of(&owner), of(&service)];
    (place, places, service)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_role_that_serves_can_neither_change_the_schema_nor_rewrite_the_trail() {
    let (_place, [owner, serving], role) = with_roles().await;
    let (Location::Postgres { url: owner_url, .. }, Location::Postgres { url, .. }) =
        (&owner.location, &serving.location)
    else {
        panic!("no PostgreSQL")
    };
    let said = serving.run(&["migrate"]).failed(1);
    assert!(said.contains("permission denied"), "{said}");
    owner.run(&["migrate"]).ok();
    let granted = Command::new("psql")
        .arg(format!("--set=service={role}"))
        .arg(format!("--file={}/deploy/postgres/roles.sql", env!("CARGO_MANIFEST_DIR")))
        .arg(owner_url)
        .output()
        .unwrap();
    assert!(granted.status.success(), "{granted:?}");

    let service = serving.serve(&OPEN);
    let market = json!({ "code": "M", "name": "M", "market_type": "CRYPTO_EXCHANGE", "timezone": "UTC" });
    service.api.post("/markets", &market).await.expect(201);
    let asset = json!({ "symbol": "BTC", "name": "B", "asset_type": "CRYPTOCURRENCY", "market_code": "M" });
    service.api.post("/assets", &asset).await.expect(201);
    let price = json!({ "symbol": "BTC", "price": "110", "timestamp": "2026-01-02T00:00:00Z" });
    service.api.post("/prices", &price).await.expect(200);
    let portfolio = json!({ "name": "p", "owner_id": "admin", "initial_capital": "1000" });
    let portfolio = service.api.post("/portfolios", &portfolio).await.expect(201);
    let path = format!("/portfolios/{}", portfolio["id"].as_str().unwrap());
    let buy = json!({ "asset_symbol": "BTC", "position_type": "LONG", "quantity": "2", "price": "100",
        "executed_at": "2026-01-01T00:00:00Z" });
    service.api.post(&format!("{path}/positions"), &buy).await.expect(201);
    // Two at 110 that were bought at 100.
    assert_eq!(service.api.get(&format!("{path}/pnl")).await.expect(200)["unrealized_pnl"], "20");
    service.api.post("/backups", &json!({})).await.expect(201);
    // A drill makes a database of its own, which this role may not: it says so, and it is told.
    let said = serving.run(&["backup", "verify", "latest"]).failed(1);
    assert!(said.contains("could not be tried") && said.contains("CREATEDB"), "{said}");
    assert!(serving.run(&["backup", "list"]).ok().contains("not verified"));
    let health = service.api.get("/health").await.expect(200);
    assert_eq!(health["warnings"], json!(["backup"]), "{health}");
    assert_eq!(service.api.get("/audit/verify").await.expect(200)["whole"], true);
    service.stop();
    serving.serve(&OPEN).stop();

    let mut connection = PgConnection::connect(url).await.unwrap();
    for forbidden in [
        "UPDATE audit_rows SET actor = 'nobody'",
        "DELETE FROM audit_rows",
        "TRUNCATE audit_rows",
        "ALTER TABLE audit_rows DISABLE TRIGGER ALL",
        "DROP TABLE audit_rows",
        "CREATE TABLE beside (id BIGINT)",
        "DELETE FROM _sqlx_migrations",
    ] {
        let error = connection.execute(forbidden).await.map(drop).unwrap_err();
        let code = error.as_database_error().and_then(|error| error.code().map(std::borrow::Cow::into_owned));
        // insufficient_privilege
        assert_eq!(code.as_deref(), Some("42501"), "{forbidden}: {error}");
    }
    connection.close().await.unwrap();
    owner.run(&["backup", "verify", "latest"]).ok();
}

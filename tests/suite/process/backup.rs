//! Backups with the real program: taken beside a service, verified, and put in the place of lost data.

use super::{CLOSED, OPEN, Place, Service, finish};
use crate::on_both;
use crate::support::Backend;
use artifact::clock::Clock;
use artifact::storage::database::Location;
use serde_json::{Value, json};
use sqlx::{Connection as _, Executor as _, PgConnection};

/// Everything the API says of the sample portfolio at a fixed moment, byte for byte.
async fn figures(service: &Service, known_at: &str) -> Vec<String> {
    let mut said = Vec::new();
    for portfolio in service.api.every("/portfolios?limit=100").await {
        let id = portfolio["id"].as_str().unwrap();
        for path in [
            format!("/portfolios/{id}/pnl?known_at={known_at}&by=lot"),
            format!("/portfolios/{id}/transactions?limit=1000"),
            format!("/portfolios/{id}/positions?known_at={known_at}&limit=100"),
        ] {
            let reply = service.api.get(&path).await;
            reply.expect(200);
            said.push(String::from_utf8(reply.body.to_vec()).unwrap());
        }
    }
    assert!(said.iter().map(String::len).sum::<usize>() > 1_000, "{said:?}");
    said
}

/// Makes what a service had in its database go away.
pub(super) async fn destroy(place: &Place) {
    match &place.location {
        Location::Directory(directory) => {
            for name in ["artifact.db", "artifact.db-wal", "artifact.db-shm"] {
                std::fs::remove_file(directory.join(name)).unwrap_or_default();
            }
            std::fs::remove_dir_all(directory.join("ingest")).unwrap_or_default();
        }
        Location::Postgres { url, .. } => {
            let mut connection = PgConnection::connect(url).await.unwrap();
            connection.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public").await.unwrap();
        }
    }
}

async fn destroyed_and_restored(backend: Backend) {
    let place = Place::new(backend).await;
    place.run(&["seed", "gold-bitcoin"]).ok();
    let service = place.serve(&OPEN);
    let known_at = Clock::system().now().to_string();
    let before = figures(&service, &known_at).await;
    let made = place.run(&["backup", "create", "--json"]).json();
    assert_eq!((&made["success"], &made["reason"]), (&json!(true), &json!("manual")));
    let listed = place.run(&["backup", "list", "--json"]).json();
    assert_eq!(listed.as_array().unwrap().len(), 1);
    assert_eq!(listed[0]["id"], made["id"]);
    let found = place.run(&["backup", "verify", "--json"]).json();
    assert_eq!((&found["sound"], &found["portfolios"]), (&json!(true), &json!(1)), "{found}");
    let refused = place.run(&["backup", "restore", "latest"]).failed(1);
    assert!(refused.contains("in use by another artifact process"), "{refused}");
    // What comes after the backup is not in it.
    let late =
        json!({ "symbol": "GOLD", "price": "1", "timestamp": "2026-11-01T00:00:00Z", "source": "late" });
    service.api.post("/prices", &late).await.expect(200);
    service.stop();

    destroy(&place).await;
    let said = place.run(&["backup", "restore", "latest", "--json"]).json();
    assert_eq!((&said["restored"]["id"], &said["portfolios"]), (&made["id"], &json!(1)), "{said}");
    let service = place.serve(&OPEN);
    assert_eq!(figures(&service, &known_at).await, before);
    service.stop();
}

on_both! {
    async fn a_destroyed_database_is_restored_with_equal_figures(backend) {
        destroyed_and_restored(backend).await;
    }

    async fn a_restore_keeps_what_was_there(backend) {
        let place = Place::new(backend).await;
        place.run(&["seed", "gold-bitcoin"]).ok();
        place.run(&["backup", "create"]).ok();
        place.run(&["keys", "create", "--admin", "--name", "later"]).ok();
        let said = place.run(&["backup", "restore", "--json"]).json();
        let kept = said["before"].as_str().unwrap().to_owned();
        match &place.location {
            Location::Directory(_) => {
                let file = std::path::Path::new(&kept).join("artifact.db");
                assert!(file.is_file(), "{kept}");
            }
            Location::Postgres { url, .. } => {
                let schema = kept.strip_prefix("schema ").unwrap();
                let mut connection = PgConnection::connect(url).await.unwrap();
                let keys: i64 = sqlx::query_scalar(sqlx::AssertSqlSafe(format!("SELECT COUNT(*) FROM {schema}.api_keys")))
                    .fetch_one(&mut connection)
                    .await
                    .unwrap();
                assert_eq!(keys, 1);
            }
        }
        // The key made after the backup is not in it.
        let service = place.serve(&CLOSED);
        assert!(service.printed_key().is_some(), "the restored data has no key");
        service.stop();
    }

    async fn an_encrypted_backup_tells_nothing_and_opens_with_its_passphrase_only(backend) {
        let place = Place::new(backend).await;
        place.run(&["seed", "gold-bitcoin"]).ok();
        let passphrase = place.file("passphrase", "correct horse\n");
        let mut create = place.command(&["backup", "create", "--json"]);
        create.env("ARTIFACT_BACKUP__PASSPHRASE_FILE", &passphrase);
        let made = finish(create, b"").json();
        assert_eq!((&made["encrypted"], &made["portfolios"]), (&json!(true), &Value::Null));
        for entry in std::fs::read_dir(place.data().join("backups")).unwrap() {
            let bytes = std::fs::read(entry.unwrap().path()).unwrap();
            for told in ["gold-bitcoin", "portfolios", "BTC-USD", "SQLite format"] {
                assert!(!bytes.windows(told.len()).any(|part| part == told.as_bytes()), "{told}");
            }
        }
        let said = place.run(&["backup", "verify"]).failed(1);
        assert!(said.contains("encrypted"), "{said}");
        let wrong = place.run_with(&["backup", "restore", "--passphrase-stdin"], b"incorrect horse\n").failed(1);
        assert!(wrong.contains("passphrase is wrong"), "{wrong}");
        place.run(&["backup", "verify", "--passphrase-file", &passphrase]).ok();
        place.run_with(&["backup", "restore", "--passphrase-stdin"], b"correct horse\n").ok();
    }

    async fn a_backup_that_was_changed_is_found_out(backend) {
        let place = Place::new(backend).await;
        place.run(&["seed", "gold-bitcoin"]).ok();
        let made = place.run(&["backup", "create", "--json"]).json();
        let archive = place.data().join("backups").join(made["archive"].as_str().unwrap());
        let whole = std::fs::read(&archive).unwrap();
        let mut changed = whole.clone();
        let middle = changed.len() / 2;
        changed[middle] ^= 1;
        std::fs::write(&archive, &changed).unwrap();
        let said = place.run(&["backup", "verify"]).failed(1);
        assert!(said.contains("not the one its manifest names"), "{said}");
        assert_eq!(place.run(&["backup", "list", "--json"]).json()[0]["sound"], json!(false));
        place.run(&["backup", "restore"]).failed(1);
        std::fs::write(&archive, &whole).unwrap();
        place.run(&["backup", "verify"]).ok();
        assert_eq!(place.run(&["backup", "list", "--json"]).json()[0]["sound"], json!(true));
        // One that is shorter than its manifest says was damaged; without an archive there is no backup.
        std::fs::write(&archive, &whole[..middle]).unwrap();
        assert_eq!(place.run(&["backup", "list", "--json"]).json()[0]["sound"], json!(false));
        for command in ["verify", "restore"] {
            let said = place.run(&["backup", command]).failed(1);
            assert!(said.contains("not the one its manifest names"), "{said}");
        }
        std::fs::remove_file(&archive).unwrap();
        assert_eq!(place.run(&["backup", "list", "--json"]).json(), json!([]));
    }
}

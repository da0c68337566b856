//! Backups with the real program: taken beside a service, verified, and put in the place of lost data.

use super::{CLOSED, OPEN, PATIENCE, Place, Service, finish};
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

    async fn an_encrypted_backup_is_followed_by_one_in_the_clear_only_if_somebody_says_so(backend) {
        let place = Place::new(backend).await;
        place.run(&["seed", "gold-bitcoin"]).ok();
        let credentials = place.folder().join("credentials");
        std::fs::create_dir(&credentials).unwrap();
        std::fs::write(credentials.join("backup-passphrase"), "correct horse\n").unwrap();
        let create = |lent: bool, encrypt: Option<&str>| {
            let mut command = place.command(&["backup", "create", "--json"]);
            if lent {
                command.env("CREDENTIALS_DIRECTORY", &credentials);
            }
            command.envs(encrypt.map(|encrypt| ("ARTIFACT_BACKUP__ENCRYPT", encrypt)));
            finish(command, b"")
        };
        let said = create(false, Some("true")).failed(1);
        assert!(said.contains("backups are to be encrypted"), "{said}");
        assert_eq!(create(true, None).json()["encrypted"], true);
        // Somebody who was not lent the passphrase.
        let said = create(false, None).failed(1);
        assert!(said.contains("the newest backup is encrypted"), "{said}");
        assert!(said.contains("ARTIFACT_BACKUP__PASSPHRASE_FILE"), "{said}");
        assert_eq!(place.run(&["backup", "list", "--json"]).json().as_array().unwrap().len(), 1);
        assert_eq!(create(true, Some("true")).json()["encrypted"], true);
        assert_eq!(create(false, Some("false")).json()["encrypted"], false);
        // From then on that is how it is.
        assert_eq!(create(false, None).json()["encrypted"], false);
        let said = create(false, Some("perhaps")).failed(2);
        assert!(said.contains("backup.encrypt"), "{said}");
        let mut empty = place.command(&["backup", "create"]);
        empty.env("ARTIFACT_BACKUP_PASSPHRASE", "\nhorse");
        assert!(finish(empty, b"").failed(1).contains("ARTIFACT_BACKUP_PASSPHRASE is empty"));
    }

    async fn what_a_killed_backup_or_restore_left_is_gone_before_the_next_needs_the_room(backend) {
        let place = Place::new(backend).await;
        place.run(&["seed", "gold-bitcoin"]).ok();
        place.run(&["backup", "create"]).ok();
        let leave = || {
            let backups = place.data().join("backups");
            let file = backups.join("0198c1d2-7c7a-7b1e-9a55-3f2b8d0c4e11.partial");
            let folders = [".restore-20260101T000000000000Z", ".backup-7-x"].map(|name| place.data().join(name));
            for folder in &folders {
                std::fs::create_dir(folder).unwrap();
                std::fs::write(folder.join("artifact.db"), "half a copy").unwrap();
            }
            let note = place.data().join("artifact.restore.partial");
            for file in [&file, &note] {
                std::fs::write(file, "half").unwrap();
            }
            [vec![file, note], folders.to_vec()].concat()
        };
        for arguments in [["backup", "create"], ["backup", "restore"]] {
            let left = leave();
            // Also by one that fails.
            let mut command = place.command(&arguments);
            command.env("ARTIFACT_BACKUP__ENCRYPT", "true");
            command.env("ARTIFACT_AUDIT__KEY_FILE", place.data().join("audit.key"));
            assert_eq!(finish(command, b"").code == 0, arguments[1] == "restore");
            for path in left {
                assert!(!path.exists(), "{arguments:?} left {}", path.display());
            }
        }
        let left = leave();
        let service = place.serve(&OPEN);
        let started = std::time::Instant::now();
        while left.iter().any(|path| path.exists()) {
            assert!(started.elapsed() < PATIENCE, "{left:?}");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        service.stop();
    }

    async fn one_file_that_is_no_manifest_hides_no_backup(backend) {
        let place = Place::new(backend).await;
        place.run(&["seed", "gold-bitcoin"]).ok();
        place.run(&["backup", "create"]).ok();
        let backups = place.data().join("backups");
        std::fs::create_dir(backups.join("folder.json")).unwrap();
        std::fs::write(backups.join("notes.json"), "[]").unwrap();
        std::os::unix::fs::symlink("/nowhere/at/all", backups.join("gone.json")).unwrap();
        let alone = place.run(&["backup", "list"]);
        let service = place.serve(&OPEN);
        let beside = place.run(&["backup", "list"]);
        assert_eq!(service.api.every("/backups").await.len(), 1);
        service.stop();
        for listed in [alone, beside] {
            for name in ["folder.json", "notes.json", "gone.json"] {
                assert!(listed.err.contains(&format!("warning: {name} is no manifest")), "{}", listed.err);
            }
            assert_eq!(listed.ok().lines().count(), 1);
        }
        place.run(&["backup", "create"]).ok();
        place.run(&["backup", "verify"]).ok();
        let restored = place.run(&["backup", "restore"]);
        assert!(restored.err.contains("warning: folder.json"), "{}", restored.err);
        restored.ok();
    }

    async fn a_drill_without_the_trails_key_says_nothing_of_the_backup(backend) {
        let place = Place::new(backend).await;
        place.run(&["seed", "gold-bitcoin"]).ok();
        place.run(&["backup", "create"]).ok();
        place.run(&["backup", "verify"]).ok();
        let listed = || place.run(&["backup", "list", "--json"]).json();
        let before = listed();
        assert_eq!(before[0]["sound"], json!(true));
        // Where only units are lent the key.
        let (here, lent) = (place.data().join("audit.key"), place.folder().join("lent"));
        std::fs::rename(&here, &lent).unwrap();
        for command in ["verify", "restore"] {
            let said = place.run(&["backup", command]).failed(1);
            assert!(said.contains("could not be tried") && said.contains("their key is not here"), "{said}");
            assert!(said.contains("ARTIFACT_AUDIT__KEY_FILE") && said.contains("docs/RESTORE.md"), "{said}");
        }
        // Nor does another key.
        std::fs::write(&here, "5a".repeat(32)).unwrap();
        std::fs::set_permissions(&here, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        for command in ["verify", "restore"] {
            let said = place.run(&["backup", command]).failed(1);
            assert!(said.contains("could not be tried") && said.contains("is its key another one?"), "{said}");
        }
        std::fs::remove_file(&here).unwrap();
        assert_eq!(listed(), before, "it took no mark");
        // As it is told.
        for command in ["verify", "restore"] {
            let mut lending = place.command(&["backup", command]);
            lending.env("ARTIFACT_AUDIT__KEY_FILE", &lent);
            finish(lending, b"").ok();
        }
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

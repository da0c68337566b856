//! Databases as earlier versions wrote them (`tests/fixtures`): a backup is taken, they are migrated, and they say of money
//! what they said.

use super::{OPEN, Place, finish};
use crate::storage::raw::Raw;
use crate::support::Backend;
use artifact::storage::database::{DATABASE_FILE, Location};
use artifact::storage::migrate;
use serde_json::json;
use sqlx::SqlitePool;
use sqlx::migrate::Migrator;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// A place with the database of an earlier version in it.
async fn earlier(schema: i64) -> Place {
    let place = Place::new(Backend::Sqlite).await;
    let Location::Directory(directory) = &place.location else { unreachable!() };
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut raw = Raw::open(&place.location).await;
    raw.run("PRAGMA journal_mode = WAL").await;
    raw.close().await;
    let pool =
        SqlitePool::connect(&format!("sqlite:{}", directory.join(DATABASE_FILE).display())).await.unwrap();
    let migrator = Migrator::new(root.join("migrations/sqlite")).await.unwrap();
    migrator.run_to(schema, &pool).await.unwrap();
    pool.close().await;
    let content = std::fs::read_to_string(root.join(format!("tests/fixtures/schema-{schema}.sql"))).unwrap();
    let mut raw = Raw::open(&place.location).await;
    raw.run(&content).await;
    raw.close().await;
    // A trail that has rows is opened with its key alone.
    if let Some(key) = content.lines().find_map(|line| line.strip_prefix("-- audit.key: ")) {
        let path = directory.join("audit.key");
        std::fs::write(&path, format!("{key}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    }
    place
}

/// What the ledger of the fixtures comes to, by hand. Bought 10 at 100 with a fee of 1 and 5 at 110, sold 8 at 120 with a
/// fee of 2, first in first out, fees in cost; the price, corrected from 129, is 130.
///
/// Realised: 8 x 120 - 2 - 8/10 x 1001 = 157.2. Left: 2/10 x 1001 + 550 = 750.2 against 7 x 130 = 910, so 159.8.
/// Cash: 100000 - 1001 - 550 + 958 = 99407.
const FIGURES: [(&str, &str); 6] = [
    ("cash", "99407"),
    ("realized_pnl", "157.2"),
    ("unrealized_pnl", "159.8"),
    ("total_market_value", "910"),
    ("total_pnl", "317"),
    ("total_value", "100317"),
];

async fn upgraded(schema: i64) {
    let place = earlier(schema).await;
    let service = place.serve(&OPEN);
    let listed = service.api.get("/portfolios").await.expect(200);
    let path = format!("/portfolios/{}", listed[0]["id"].as_str().unwrap());
    let portfolio = service.api.get(&path).await.expect(200);
    for (name, wanted) in FIGURES {
        assert_eq!(portfolio["performance"][name], json!(wanted), "{name} of schema {schema}: {portfolio}");
    }
    // The correction is in the place of what it corrects.
    let rows = service.api.get("/prices?symbol=GLD").await.expect(200);
    assert_eq!(rows.as_array().unwrap().len(), 2, "{rows}");
    // A fixture is a database alone: that its trail has no anchors is noticed, and answered for.
    if place.run(&["audit", "verify"]).code != 0 {
        assert_eq!(schema, 15, "the one with rows in its trail");
        place.run(&["audit", "accept-restore", "--note", "a fixture has no anchors"]).ok();
    }
    assert_eq!(service.api.get("/audit/verify").await.expect(200)["whole"], true);
    service.stop();
    if schema < migrate::newest() {
        let kept = place.run(&["backup", "list", "--json"]).json();
        assert_eq!((&kept[0]["reason"], &kept[0]["schema"]), (&json!("before_migration"), &json!(schema)));
    } else {
        place.run(&["backup", "create"]).ok();
    }
    // It restores into this version, and says the same.
    place.run(&["backup", "verify"]).ok();
    std::fs::remove_file(place.data().join("artifact.db")).unwrap();
    place.run(&["backup", "restore"]).ok();
    let service = place.serve(&OPEN);
    assert_eq!(service.api.get(&path).await.expect(200), portfolio);
    service.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn databases_of_the_schemas_of_the_fixtures_are_saved_and_migrated_with_equal_figures() {
    for schema in [7, 8, 9, 10, 15] {
        upgraded(schema).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_room_or_passphrase_for_a_backup_nothing_is_migrated() {
    let place = earlier(8).await;
    // A file stands where the folder of backups would be.
    std::fs::write(place.data().join("backups"), "").unwrap();
    let said = place.run(&["migrate"]).failed(1);
    assert!(said.contains("backups") && said.contains("nothing was changed"), "{said}");
    let mut raw = Raw::open(&place.location).await;
    assert_eq!(raw.number("SELECT MAX(version) FROM _sqlx_migrations").await, 8);
    raw.close().await;
    // Nor without a passphrase that is demanded.
    std::fs::remove_file(place.data().join("backups")).unwrap();
    let mut encrypted = place.command(&["migrate"]);
    encrypted.env("ARTIFACT_BACKUP__ENCRYPT", "true");
    let said = finish(encrypted, b"").failed(1);
    assert!(said.contains("backups are to be encrypted") && said.contains("nothing was changed"), "{said}");
    let mut without = place.command(&["migrate"]);
    without.env("ARTIFACT_BACKUP__BEFORE_MIGRATION", "false");
    finish(without, b"").ok();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_of_a_newer_schema_is_refused_and_the_data_left_alone() {
    let place = Place::new(Backend::Sqlite).await;
    place.run(&["seed", "gold-bitcoin"]).ok();
    let mut raw = Raw::open(&place.location).await;
    raw.run(
        "INSERT INTO _sqlx_migrations (version, description, installed_on, success, checksum, execution_time) \
         SELECT 9999, 'from the future', installed_on, success, checksum, 0 FROM _sqlx_migrations WHERE version = 1",
    )
    .await;
    raw.close().await;
    let said = place.run(&["backup", "create"]).failed(1);
    assert!(said.contains("9999"), "{said}");
    // Taken by the newer version, as far as this one can see.
    let mut raw = Raw::open(&place.location).await;
    raw.run("DELETE FROM _sqlx_migrations WHERE version = 9999").await;
    raw.close().await;
    place.run(&["backup", "create"]).ok();
    let folder = place.data().join("backups");
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|ending| ending == "json") {
            let text = std::fs::read_to_string(&path).unwrap();
            std::fs::write(&path, text.replace("\"schema\": ", "\"schema\": 99")).unwrap();
        }
    }
    let before = std::fs::read(place.data().join("artifact.db")).unwrap();
    let said = place.run(&["backup", "restore"]).failed(1);
    assert!(said.contains("use the newer binary"), "{said}");
    assert!(std::fs::read(place.data().join("artifact.db")).unwrap() == before);
}

//! The file of the earlier service. It is SQLite whatever this service runs on.

use crate::support::Scratch;
use artifact::storage::earlier;
use artifact::storage::error::StorageError;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{Connection as _, Executor as _, SqliteConnection};
use std::path::{Path, PathBuf};

async fn file(scratch: &Scratch, sql: &'static str) -> PathBuf {
    let path = scratch.0.join("infra.db");
    let options = SqliteConnectOptions::new().filename(&path).create_if_missing(true);
    let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
    connection.execute(sql).await.unwrap();
    connection.close().await.unwrap();
    path
}

fn names_in(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[tokio::test]
async fn markets_and_assets_are_read_in_order_of_entry_and_the_file_is_left_as_it_is() {
    let scratch = Scratch::new();
    let path = file(
        &scratch,
        "CREATE TABLE markets (id TEXT PRIMARY KEY, code TEXT UNIQUE, name TEXT, market_type TEXT, timezone TEXT, \
            currency TEXT, status TEXT, opening_time TEXT, closing_time TEXT, trading_days TEXT, metadata TEXT, \
            created_at TEXT, updated_at TEXT); \
         CREATE TABLE assets (id TEXT PRIMARY KEY, symbol TEXT UNIQUE, name TEXT, asset_type TEXT, status TEXT, \
            market_id TEXT REFERENCES markets(id) ON DELETE SET NULL, currency TEXT, metadata TEXT, \
            created_at TEXT, updated_at TEXT); \
         INSERT INTO markets VALUES ('z', 'NYSE', 'Börse', 'STOCK_EXCHANGE', 'America/New_York', 'USD', 'CLOSED', \
            '09:30:00', NULL, '[0, 1]', '{}', '2025-01-02T03:04:05.678', 'x'); \
         INSERT INTO markets (id) VALUES ('a'); \
         INSERT INTO assets VALUES ('2', 'GOLD', 'Gold', 'no such type', 'ACTIVE', 'z', 'USD', '{\"k\": 1}', 'y', 'x'); \
         INSERT INTO assets (id, market_id) VALUES ('1', NULL);",
    )
    .await;
    let before = std::fs::read(&path).unwrap();
    let read = earlier::read(&path).await.unwrap();
    let text = |value: &Option<String>| value.clone().unwrap_or("-".to_owned());
    let markets: Vec<String> = read
        .markets
        .iter()
        .map(|row| {
            [
                &row.id,
                &row.code,
                &row.name,
                &row.market_type,
                &row.timezone,
                &row.currency,
                &row.status,
                &row.opening_time,
                &row.closing_time,
                &row.trading_days,
                &row.metadata,
                &row.created_at,
            ]
            .map(text)
            .join(" ")
        })
        .collect();
    let nyse = "z NYSE Börse STOCK_EXCHANGE America/New_York USD CLOSED 09:30:00 - [0, 1] {} 2025-01-02T03:04:05.678";
    assert_eq!(markets, [nyse, "a - - - - - - - - - - -"]);
    let assets: Vec<String> = read
        .assets
        .iter()
        .map(|row| {
            [
                &row.id,
                &row.symbol,
                &row.name,
                &row.asset_type,
                &row.status,
                &row.market_id,
                &row.currency,
                &row.metadata,
                &row.created_at,
            ]
            .map(text)
            .join(" ")
        })
        .collect();
    assert_eq!(assets, ["2 GOLD Gold no such type ACTIVE z USD {\"k\": 1} y", "1 - - - - - - - -"]);
    assert_eq!(std::fs::read(&path).unwrap(), before);
    assert_eq!(names_in(&scratch.0), ["infra.db"]);
}

#[tokio::test]
async fn a_file_that_is_something_else_or_is_not_there_is_refused_and_not_made() {
    let scratch = Scratch::new();
    let missing = earlier::read(&scratch.0.join("infra.db")).await;
    assert!(matches!(missing, Err(StorageError::Driver(_))), "{missing:?}");
    assert!(names_in(&scratch.0).is_empty());
    let foreign = file(&scratch, "CREATE TABLE markets (id TEXT)").await;
    let refused = earlier::read(&foreign).await;
    assert!(matches!(refused, Err(StorageError::Driver(_))), "{refused:?}");
    std::fs::write(&foreign, "not a database, whatever its name says".repeat(100)).unwrap();
    let refused = earlier::read(&foreign).await;
    assert!(matches!(refused, Err(StorageError::Driver(_))), "{refused:?}");
}

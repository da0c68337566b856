//! `artifact import-earlier`: the SQLite file of the service before this one, with all that nobody checked in it.

use super::{OPEN, Place};
use crate::on_both;
use crate::support::Backend;
use serde_json::{Value, json};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{Connection as _, Executor as _};

/// The tables as the earlier service makes them: every column is text.
const TABLES: [&str; 2] = [
    "CREATE TABLE markets (id TEXT PRIMARY KEY, code TEXT UNIQUE, name TEXT, market_type TEXT, timezone TEXT, \
     currency TEXT, status TEXT, opening_time TEXT, closing_time TEXT, trading_days TEXT, metadata TEXT, \
     created_at TEXT, updated_at TEXT)",
    "CREATE TABLE assets (id TEXT PRIMARY KEY, symbol TEXT UNIQUE, name TEXT, asset_type TEXT, status TEXT, \
     market_id TEXT REFERENCES markets(id) ON DELETE SET NULL, currency TEXT, metadata TEXT, created_at TEXT, \
     updated_at TEXT)",
];
const MARKETS: &str = "INSERT INTO markets VALUES \
    ('m1', 'COMEX', 'COMEX (Gold Futures)', 'COMMODITIES_EXCHANGE', 'America/New_York', 'USD', 'OPEN', '09:30:00', \
     '16:00', '[0, 1, 2, 3, 4]', '{\"desk\": \"7\", \"n\": 1.50}', '2025-01-02T03:04:05.000006', 'x'), \
    ('m2', 'BINANCE', 'Binance', 'CRYPTO_EXCHANGE', 'UTC', 'USD', 'CLOSED', NULL, NULL, '[0, 1, 2, 3, 4, 5, 6]', \
     'not json', '2025-01-02T03:04:05', 'x'), \
    ('m3', 'WEIRD', 'Unknown kind', 'BAZAAR', 'UTC', 'USD', 'CLOSED', NULL, NULL, '[]', '{}', '', ''), \
    ('m4', '', 'No code', 'OTC', 'UTC', 'USD', 'CLOSED', NULL, NULL, '[]', '{}', '', ''), \
    ('m5', NULL, 'Null code', 'OTC', 'UTC', 'USD', 'CLOSED', NULL, NULL, '[]', '{}', '', ''), \
    ('m6', 'ODD', 'Unknown status', 'OTC', 'UTC', NULL, 'ASLEEP', NULL, NULL, NULL, NULL, NULL, NULL), \
    ('m7', 'NOWHERE', 'Unknown zone', 'OTC', 'Mars/Olympus', 'USD', 'CLOSED', NULL, NULL, '[]', '{}', '', ''), \
    ('m8', 'LATE', 'No such time', 'OTC', 'UTC', 'USD', 'CLOSED', '25:00', NULL, '[9]', '{}', '', '')";
const ASSETS: &str = "INSERT INTO assets VALUES \
    ('a1', 'GOLD', 'Gold Spot', 'COMMODITY', 'ACTIVE', 'm1', 'USD', '{}', '2025-01-02T03:04:05', 'x'), \
    ('a2', 'BTC-USD', 'Bitcoin', 'CRYPTOCURRENCY', 'SUSPENDED', 'm2', 'USD', NULL, '2025-01-02T03:04:05', 'x'), \
    ('a3', 'RUG', 'Unknown kind', 'CARPET', 'ACTIVE', 'm1', 'USD', '{}', '', ''), \
    ('a4', 'LOST', 'No market', 'STOCK', 'ACTIVE', NULL, 'USD', '{}', '', ''), \
    ('a5', 'GONE', 'Market not there', 'STOCK', 'ACTIVE', 'm99', 'USD', '{}', '', ''), \
    ('a6', 'HALF', 'Market refused', 'STOCK', 'ACTIVE', 'm3', 'USD', '{}', '', ''), \
    ('a7', '', 'No symbol', 'STOCK', 'ACTIVE', 'm1', 'USD', '{}', '', ''), \
    ('a8', 'FUNNY', 'Unknown money', 'STOCK', 'ACTIVE', 'm1', 'ZZZ', '{}', '', ''), \
    ('a9', 'DOZE', 'Unknown status', 'ETF', 'ASLEEP', 'm6', 'USD', '{}', '', '')";

async fn infra_db(place: &Place) -> String {
    let file = place.folder().join("infra.db");
    let options = SqliteConnectOptions::new().filename(&file).create_if_missing(true).foreign_keys(false);
    let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
    for statement in TABLES.into_iter().chain([MARKETS, ASSETS]) {
        connection.execute(statement).await.unwrap();
    }
    connection.close().await.unwrap();
    file.display().to_string()
}

/// What a report refuses: what, and why.
fn refused(report: &Value) -> Vec<(String, String)> {
    let text = |one: &Value, name: &str| one[name].as_str().unwrap().to_owned();
    let rows = report["refused"].as_array().unwrap();
    rows.iter().map(|one| (text(one, "what"), text(one, "why"))).collect()
}

async fn state(place: &Place) -> [Vec<Value>; 2] {
    let service = place.serve(&OPEN);
    let state = [service.api.every("/markets").await, service.api.every("/assets").await];
    service.stop();
    state
}

on_both! {
    async fn good_rows_are_taken_and_the_others_are_named(backend) {
        let place = Place::new(backend).await;
        let file = infra_db(&place).await;
        let untouched = std::fs::read(&file).unwrap();
        let report = place.run(&["import-earlier", &file, "--json"]).json();
        let created = ["market COMEX", "market BINANCE", "market ODD", "asset GOLD", "asset BTC-USD", "asset DOZE"];
        assert_eq!(report["created"], json!(created), "{report:#}");
        assert_eq!(report["existing"], json!([]));
        let refused = refused(&report);
        for (what, why) in [
            ("market WEIRD", "Invalid market_type"),
            ("market ", "code"),
            ("market (without a code)", "code"),
            ("status `ASLEEP` of market ODD", "status"),
            ("market NOWHERE", "timezone"),
            ("market LATE", "opening_time"),
            ("asset RUG", "Invalid asset_type"),
            ("asset LOST", "its market is not in the file"),
            ("asset GONE", "its market is not in the file"),
            ("asset HALF", "Market not found"),
            ("asset ", "symbol"),
            ("asset FUNNY", "ZZZ"),
            ("status `ASLEEP` of asset DOZE", "status"),
        ] {
            let found = refused.iter().find(|(name, _)| name == what);
            assert!(found.is_some_and(|(_, said)| said.contains(why)), "{what}: {refused:#?}");
        }
        assert_eq!(refused.len(), 13, "{refused:#?}");
        let [markets, assets] = state(&place).await;
        let comex = &markets[0];
        for (name, wanted) in [("code", json!("COMEX")), ("status", json!("OPEN")), ("opening_time", json!("09:30:00")),
            ("timezone", json!("America/New_York")), ("trading_days", json!([0, 1, 2, 3, 4]))] {
            assert_eq!(comex[name], wanted, "{comex}");
        }
        let metadata = &comex["metadata"];
        assert_eq!((&metadata["desk"], &metadata["earlier_id"]), (&json!("7"), &json!("m1")), "{metadata}");
        assert_eq!(metadata["earlier_created_at"], "2025-01-02T03:04:05.000006");
        assert_eq!(markets[1]["trading_days"], json!([0, 1, 2, 3, 4, 5, 6]));
        assert_eq!((&markets[2]["status"], &markets[2]["currency"]), (&json!("CLOSED"), &json!("USD")));
        let status = |symbol: &str| assets.iter().find(|a| a["symbol"] == symbol).unwrap()["status"].clone();
        assert_eq!([status("GOLD"), status("BTC-USD"), status("DOZE")], ["ACTIVE", "SUSPENDED", "ACTIVE"].map(Value::from));

        // Once more, this time through a running service: nothing changes.
        let service = place.serve(&OPEN);
        let again = place.run(&["import-earlier", &file, "--json"]).json();
        service.stop();
        assert_eq!((&again["created"], again["existing"].as_array().unwrap().len()), (&json!([]), 6), "{again}");
        assert_eq!(state(&place).await, [markets, assets]);
        let text = place.run(&["import-earlier", &file]).ok();
        assert!(text.contains("exists   market COMEX") && text.contains("refused  market WEIRD: "), "{text}");
        assert_eq!(std::fs::read(&file).unwrap(), untouched, "the file of the earlier service was written to");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_of_another_kind_is_refused_by_name_and_nothing_is_made() {
    let place = Place::new(Backend::Sqlite).await;
    for (name, text) in [("text.db", "this is no database, whatever it is called"), ("empty.db", "")] {
        let file = place.file(name, text);
        let said = place.run(&["import-earlier", &file]).failed(1);
        assert!(said.contains(name), "{said}");
    }
    let said = place.run(&["import-earlier", "absent.db"]).failed(1);
    assert!(said.contains("absent.db"), "{said}");
    assert!(!place.folder().join("absent.db").exists());
}

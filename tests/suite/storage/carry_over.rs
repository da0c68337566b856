//! A database with a row per price, as versions before the blocks wrote it, is carried over and answers as it did.

use super::price_versions::{Model, Version, shown};
use super::raw::Raw;
use super::samples::{Dice, d};
use crate::on_both;
use crate::support::{Backend, START, Scratch, fresh_location};
use artifact::clock::Clock;
use artifact::domain::ids::AssetKey;
use artifact::domain::moment::{HOUR, Moment};
use artifact::domain::price::{Bar, Quote};
use artifact::storage::database::{DATABASE_FILE, Database, Location};
use artifact::storage::prices::{self, PriceRange};
use sqlx::migrate::Migrator;
use sqlx::{PgPool, SqlitePool};
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

const SOURCES: [&str; 2] = ["api", "slow"];
const PRICES: [&str; 6] =
    ["1", "1.0", "2050.10", "-37.6300", "9999999999999999999999999999", "0.000000000000000001"];

/// Brings an empty place to the last schema that had a row per price.
async fn rows_schema(location: &Location, backend: Backend) {
    let folder = match backend {
        Backend::Sqlite => "migrations/sqlite",
        Backend::Postgres => "migrations/postgres",
    };
    let migrator = Migrator::new(Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)).await.unwrap();
    match location {
        Location::Directory(directory) => {
            drop(Raw::open(location).await);
            let url = format!("sqlite:{}", directory.join(DATABASE_FILE).display());
            let pool = SqlitePool::connect(&url).await.unwrap();
            migrator.run_to(8, &pool).await.unwrap();
            pool.close().await;
        }
        Location::Postgres { url, .. } => {
            let pool = PgPool::connect(url).await.unwrap();
            migrator.run_to(8, &pool).await.unwrap();
            pool.close().await;
        }
    }
}

/// A market, two assets and two sources.
async fn references(raw: &mut Raw, backend: Backend) {
    let id = |number: u32| match backend {
        Backend::Sqlite => format!("x'{number:032x}'"),
        Backend::Postgres => format!("'{number:032x}'"),
    };
    let mut sql = format!(
        "INSERT INTO markets (market_key, id, code, name, market_type, status, time_zone, currency, trading_days, \
         metadata, version, created_at, updated_at) VALUES (1, {}, 'X', 'X', 'STOCK_EXCHANGE', 'OPEN', 'UTC', 'USD', \
         '[]', '{{}}', 1, 0, 0);",
        id(1)
    );
    for key in [2, 3] {
        write!(
            sql,
            "INSERT INTO assets (asset_key, id, symbol, name, asset_type, status, market_key, currency, metadata, \
             version, created_at, updated_at) VALUES ({key}, {}, 'S{key}', 'S', 'STOCK', 'ACTIVE', 1, 'USD', '{{}}', \
             1, 0, 0);",
            id(key)
        )
        .unwrap();
    }
    for (key, name) in [(4, SOURCES[0]), (5, SOURCES[1])] {
        write!(
            sql,
            "INSERT INTO price_sources (source_key, name, split_adjusted, recorded_at) VALUES ({key}, '{name}', \
             FALSE, 0);"
        )
        .unwrap();
    }
    raw.run(&sql).await;
}

/// Random versions of an asset, in the table and in a model.
async fn versions(raw: &mut Raw) -> Model {
    let (mut model, mut dice) = (Model::default(), Dice(7));
    let mut values = Vec::new();
    for seq in 10..400_i64 {
        let (source, interval) = (dice.roll(2), ["", "1d"][dice.roll(2)]);
        let version = Version {
            observed_at: i64::try_from(dice.roll(60)).unwrap() * HOUR,
            source: SOURCES[source],
            interval,
            recorded_at: 1_000 + seq / 3,
            withdrawn: dice.roll(9) == 0,
            quote: Quote::new(
                d(dice.pick::<&str>(&PRICES)),
                Bar { volume: [None, Some(d("10.50"))][dice.roll(2)].clone(), ..Bar::default() },
            ),
        };
        let volume =
            version.quote.bar().volume.as_ref().map_or("NULL".to_owned(), |volume| format!("'{volume}'"));
        values.push(format!(
            "(2, {}, {}, '{interval}', {seq}, {}, {}, '{}', {volume})",
            version.observed_at,
            source + 4,
            version.recorded_at,
            if version.withdrawn { "TRUE" } else { "FALSE" },
            version.quote.price,
        ));
        model.versions.push(version);
    }
    raw.run(&format!(
        "INSERT INTO prices (asset_key, observed_at, source_key, candle, seq, recorded_at, withdrawn, price, volume) \
         VALUES {}",
        values.join(", ")
    ))
    .await;
    model
}

/// Many plain rows of the other asset: more than go over at once.
async fn many(raw: &mut Raw) {
    raw.run(
        "INSERT INTO prices (asset_key, observed_at, source_key, candle, seq, recorded_at, withdrawn, price) \
         WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 120000) \
         SELECT 3, CAST(i AS BIGINT) * 1000000, 4, '', 1000 + i, 2000, FALSE, CAST(i AS TEXT) || '.50' FROM n",
    )
    .await;
    raw.run("UPDATE commit_stamp SET last = 5000, seq = 200000").await;
}

async fn compare(db: &Database, model: &Model) {
    let tx = &mut db.read().await.unwrap();
    let told = |p: &artifact::domain::price::PricePoint| {
        format!("{} {}/{} {:?} @{}", p.observed_at.0, p.source, p.interval, p.quote, p.recorded_at.0)
    };
    for known_at in [i64::MAX, 1_000, 1_040, 1_090, 1_130] {
        for as_of in [i64::MAX, 0, 7 * HOUR, 30 * HOUR, 59 * HOUR - 1] {
            let point = prices::at(tx, AssetKey(2), &[], Moment(as_of), Moment(known_at)).await.unwrap();
            assert_eq!(point.as_ref().map(told), model.at(as_of, known_at).map(shown), "{as_of} {known_at}");
        }
        let mut range = PriceRange {
            asset: AssetKey(2),
            source: None,
            interval: None,
            from: Moment::MIN,
            until: Moment::MAX,
            known_at: Moment(known_at),
            after: None,
            limit: 1_000,
        };
        let all = prices::history(tx, &range).await.unwrap();
        let all: Vec<String> = all.iter().map(|(_, point)| told(point)).collect();
        let expected: Vec<String> = model.current(known_at).iter().map(|(_, v)| shown(v)).collect();
        assert_eq!(all, expected, "{known_at}");
        range.asset = AssetKey(3);
        let mut count = 0;
        loop {
            range.limit = 50_000;
            let page = prices::history(tx, &range).await.unwrap();
            let Some((seq, last)) = page.last() else { break };
            for (_, point) in &page {
                count += 1;
                assert_eq!((point.observed_at.0, point.recorded_at.0), (count * 1_000_000, 2_000));
                assert_eq!(point.quote.price.to_string(), format!("{count}.50"));
            }
            range.after = Some((last.observed_at, *seq));
        }
        assert_eq!(count, if known_at < 2_000 { 0 } else { 120_000 });
    }
    let latest = prices::latest(tx, &[AssetKey(2), AssetKey(3)]).await.unwrap();
    assert_eq!(latest[&AssetKey(3)].price.to_string(), "120000.50");
    let expected = model.at(i64::MAX, i64::MAX).unwrap();
    assert_eq!(latest[&AssetKey(2)].price.to_string(), expected.quote.price.to_string());
}

on_both! {
    async fn rows_become_blocks_and_answer_as_before(backend) {
        let scratch = Scratch::new();
        let location = fresh_location(backend, &scratch).await;
        rows_schema(&location, backend).await;
        let mut raw = Raw::open(&location).await;
        references(&mut raw, backend).await;
        let model = versions(&mut raw).await;
        many(&mut raw).await;
        raw.close().await;
        let clock = Clock::manual(Moment::parse(START).unwrap());
        // Cut off again and again while it is under way; each time later.
        let mut cuts = 0;
        let db = loop {
            let patience = Duration::from_millis(100 + 150 * cuts);
            match tokio::time::timeout(patience, Database::open(&location, clock.clone())).await {
                Ok(opened) => break opened.unwrap(),
                Err(_) => cuts += 1,
            }
        };
        assert!(cuts > 0, "it was never cut off");
        compare(&db, &model).await;
        db.close().await;
        drop(db);
        let mut raw = Raw::open(&location).await;
        assert_eq!(raw.number("SELECT COUNT(block_id) FROM fresh_prices").await, 0);
        // 120,000 points of one series, and both kinds of four small ones.
        let blocks = raw.number("SELECT COUNT(block_id) FROM sealed_prices").await;
        assert!((30..45).contains(&blocks), "{blocks} blocks");
        raw.close().await;
        let db = Database::open(&location, clock).await.unwrap();
        compare(&db, &model).await;
        db.close().await;
    }
}

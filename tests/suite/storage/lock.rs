//! One process at a time, and what it finds when it comes back.

use super::samples::{add_market, market, read, shown};
use crate::on_both;
use crate::support::{Backend, Scratch, TestDb, fresh_location};
use artifact::clock::Clock;
use artifact::domain::moment::{HOUR, Moment};
use artifact::storage::database::{Database, Location};
use artifact::storage::error::StorageError;
use artifact::storage::markets::{self, MarketFilter, MarketSort};
use artifact::storage::page::Page;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

/// Opens a place that is in use; it must not take long to say so.
async fn assert_locked(location: &Location, clock: &Clock) {
    let opening = Database::open(location, clock.clone());
    let refused = tokio::time::timeout(Duration::from_secs(8), opening).await.expect("an answer in time");
    assert!(matches!(refused, Err(StorageError::Locked(_))), "{refused:?}");
}

async fn everything(db: &Database) -> String {
    let page = Page::first(MarketSort::CreatedAt, 100);
    let mut tx = db.read().await.unwrap();
    shown(&markets::list(&mut tx, &MarketFilter::default(), &page).await.unwrap())
}

on_both! {
    async fn a_second_process_is_refused_and_the_first_goes_on(backend) {
        let db = TestDb::open(backend).await;
        add_market(&db, market("ONE", "")).await;
        assert_locked(&db.location, &db.clock).await;
        add_market(&db, market("TWO", "")).await;
        let found = markets::find_by_code(&mut read(&db).await, "ONE").await.unwrap();
        assert!(found.is_some());
        db.db.close().await;
        drop(db.db);
        // The one that was refused left nothing behind that would keep out another.
        Database::open(&db.location, db.clock.clone()).await.unwrap();
    }

    async fn closed_and_opened_again_it_goes_on_where_it_was(backend) {
        let db = TestDb::open(backend).await;
        let one = add_market(&db, market("ONE", "é ☃")).await;
        let two = add_market(&db, market("TWO", "")).await;
        let before = everything(&db.db).await;
        db.db.close().await;
        drop(db.db);
        // The clock was set back meanwhile.
        db.clock.set(db.clock.now().plus(-HOUR));
        let again = Database::open(&db.location, db.clock.clone()).await.unwrap();
        assert_eq!(everything(&again).await, before);
        assert_eq!(again.stamps().latest(), two.created_at);
        assert!(again.stamps().clock_health().behind);
        let row = market("THREE", "");
        let three = again.writer().housekeep(move |tx| Box::pin(markets::insert(tx, row))).await.unwrap();
        assert_eq!((three.created_at, three.key.0), (two.created_at.plus(1), two.key.0 + 1));
        assert!(one.created_at < two.created_at && one.key < two.key);
    }

    async fn a_sound_database_names_its_engine_and_no_damage(backend) {
        let db = TestDb::open(backend).await;
        let engine = db.db.engine().await.unwrap();
        let name = match backend {
            Backend::Sqlite => "SQLite 3.",
            Backend::Postgres => "PostgreSQL 1",
        };
        assert!(engine.starts_with(name), "{engine}");
        assert_eq!(db.db.damage().await.unwrap(), [""; 0]);
        add_market(&db, market("ONE", "")).await;
    }

    async fn a_data_directory_is_closed_to_others(backend) {
        let db = TestDb::open(backend).await;
        let mode = std::fs::metadata(db.location.directory()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_postgres_database_is_kept_from_processes_with_other_directories() {
    let db = TestDb::open(Backend::Postgres).await;
    let Location::Postgres { url, .. } = &db.location else { panic!("{:?}", db.location) };
    let elsewhere = Scratch::new();
    let directory = elsewhere.0.join("data");
    assert_locked(&Location::Postgres { url: url.clone(), directory: directory.clone() }, &db.clock).await;
    // Refused, it has let go of its own directory.
    let other = Database::open(&Location::Directory(directory), db.clock.clone()).await.unwrap();
    let row = market("ONE", "");
    other.writer().housekeep(move |tx| Box::pin(markets::insert(tx, row))).await.unwrap();
    assert_eq!(everything(&db.db).await, "[]");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_databases_of_one_server_do_not_keep_each_other_out() {
    let one = TestDb::open(Backend::Postgres).await;
    let scratch = Scratch::new();
    let location = fresh_location(Backend::Postgres, &scratch).await;
    let two = Database::open(&location, Clock::manual(Moment(0))).await.unwrap();
    add_market(&one, market("ONE", "")).await;
    assert_eq!(everything(&two).await, "[]");
    two.close().await;
}

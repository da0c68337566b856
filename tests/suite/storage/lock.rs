//! One process at a time, and what it finds when it comes back.

use super::raw::Raw;
use super::samples::{add_market, market, read, shown};
use crate::on_both;
use crate::support::{Backend, Scratch, TestDb, fresh_location};
use artifact::clock::Clock;
use artifact::domain::moment::{HOUR, Moment};
use artifact::storage::database::{Database, Location};
use artifact::storage::error::StorageError;
use artifact::storage::markets::{self, MarketFilter, MarketSort};
use artifact::storage::page::Page;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
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

#[tokio::test]
async fn a_server_that_keeps_passwords_by_md5_is_refused() {
    let scratch = Scratch::new();
    let location = fresh_location(Backend::Postgres, &scratch).await;
    let Location::Postgres { url, .. } = &location else { panic!("no PostgreSQL") };
    let (_, name) = url.rsplit_once('/').unwrap();
    let clock = Clock::manual(Moment::parse(crate::support::START).unwrap());
    let mut admin = PgConnection::connect(url).await.unwrap();
    for (kept, refused) in [("md5", true), ("scram-sha-256", false)] {
        let set = format!("ALTER DATABASE {name} SET password_encryption = '{kept}'");
        admin.execute(AssertSqlSafe(set)).await.unwrap();
        let opened = Database::open(&location, clock.clone()).await;
        assert_eq!(matches!(opened, Err(StorageError::Md5)), refused, "{kept}");
        if let Ok(db) = opened {
            db.close().await;
        }
    }
    admin.close().await.unwrap();
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_writer_whose_session_is_cut_off_never_writes_beside_another_process() {
    cut_off(true).await;
}

/// As when a key is revoked there: nothing of it is in the order of rows, and this process would go on letting it in.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nor_beside_one_that_recorded_nothing_with_a_number() {
    cut_off(false).await;
}

async fn cut_off(records: bool) {
    const HOLDER: &str = "SELECT pg_terminate_backend(pid) FROM pg_locks JOIN pg_database d ON d.oid = database \
        WHERE locktype = 'advisory' AND d.datname = current_database()";
    let one = TestDb::open(Backend::Postgres).await;
    add_market(&one, market("ONE", "")).await;
    let Location::Postgres { url, .. } = &one.location else { panic!("{:?}", one.location) };
    let elsewhere = Scratch::new();
    let other = Location::Postgres { url: url.clone(), directory: elsewhere.0.join("data") };
    let mut raw = Raw::open(&one.location).await;
    for round in 0..3 {
        // Whoever comes first has the lock: the first process, which looks after it, or the second.
        raw.run(HOLDER).await;
        let two = Database::open(&other, one.clock.clone()).await;
        let code = format!("R{round}");
        let row = market(&code, "");
        let first = one.db.writer().housekeep(move |tx| Box::pin(markets::insert(tx, row))).await;
        match two {
            Ok(two) => {
                assert!(first.is_err(), "two processes write");
                if records {
                    let row = market("TWO", "");
                    two.writer().housekeep(move |tx| Box::pin(markets::insert(tx, row))).await.unwrap();
                } else {
                    two.writer().housekeep(|_| Box::pin(async { Ok::<_, StorageError>(()) })).await.unwrap();
                }
                two.close().await;
                drop(two);
                // The first has the database as it was before; it goes on with nothing.
                let row = market("LATE", "");
                let late = one.db.writer().housekeep(move |tx| Box::pin(markets::insert(tx, row))).await;
                assert!(matches!(late, Err(StorageError::Stopped(_))), "{late:?}");
                assert!(one.db.halted().is_some());
                let found = everything(&one.db).await;
                assert!(found.contains("TWO") == records && !found.contains("LATE"), "{found}");
                return;
            }
            Err(StorageError::Locked(_)) => {
                // It took the lock again, by a session of its own: nobody was in between.
                first.unwrap();
            }
            Err(error) => panic!("{error:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_go_on_after_postgres_has_cut_every_connection() {
    let db = TestDb::open(Backend::Postgres).await;
    add_market(&db, market("ONE", "")).await;
    let mut raw = Raw::open(&db.location).await;
    raw.run(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
         WHERE datname = current_database() AND pid <> pg_backend_pid()",
    )
    .await;
    let mut tries = 0;
    loop {
        let row = market("TWO", "");
        match db.db.writer().housekeep(move |tx| Box::pin(markets::insert(tx, row))).await {
            Ok(_) => break,
            Err(error) => assert!(!matches!(error, StorageError::Stopped(_)), "{error:?}"),
        }
        tries += 1;
        assert!(tries < 20, "it does not come back");
    }
    let found = everything(&db.db).await;
    assert!(found.contains("ONE") && found.contains("TWO"), "{found}");
    db.db.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_data_is_never_replaced_by_an_empty_database() {
    for backend in [Backend::Sqlite, Backend::Postgres] {
        let db = TestDb::open(backend).await;
        add_market(&db, market("ONE", "")).await;
        db.db.close().await;
        drop(db.db);
        match &db.location {
            Location::Directory(directory) => {
                // Emptied, beside a write-ahead log that SQLite itself would throw away.
                std::fs::write(directory.join("artifact.db"), "").unwrap();
                std::fs::write(directory.join("artifact.db-wal"), "frames").unwrap();
            }
            Location::Postgres { .. } => {
                Raw::open(&db.location).await.run("DROP SCHEMA public CASCADE; CREATE SCHEMA public").await;
            }
        }
        let refused = Database::open(&db.location, db.clock.clone()).await;
        let Err(StorageError::Damaged(said)) = refused else { panic!("{refused:?}") };
        assert!(said.contains("artifact backup restore latest --data"), "{said}");
        if let Location::Directory(directory) = &db.location {
            assert_eq!(std::fs::read(directory.join("artifact.db")).unwrap(), b"");
            assert_eq!(std::fs::read(directory.join("artifact.db-wal")).unwrap(), b"frames");
            // The log is gone too: the marker still knows.
            std::fs::remove_file(directory.join("artifact.db-wal")).unwrap();
            let refused = Database::open(&db.location, db.clock.clone()).await;
            assert!(matches!(refused, Err(StorageError::Damaged(_))), "{refused:?}");
            // Whoever wants to begin anew says so.
            std::fs::remove_file(directory.join("artifact.data")).unwrap();
            Database::open(&db.location, db.clock.clone()).await.unwrap().close().await;
        }
    }
}

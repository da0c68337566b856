//! Copies of a database: of one commit, readable where they lie, and told apart from damaged ones.

use super::raw::Raw;
use super::samples::{add_market, market, shown};
use crate::support::{Backend, Scratch, TestDb};
use artifact::domain::moment::Moment;
use artifact::storage::database::{DATABASE_FILE, Location, Tx};
use artifact::storage::error::StorageError;
use artifact::storage::markets::{self, MarketFilter, MarketSort};
use artifact::storage::migrate;
use artifact::storage::page::Page;
use artifact::storage::snapshot::{self, Snapshot};

async fn codes(tx: &mut Tx) -> String {
    let page = Page::first(MarketSort::CreatedAt, 100);
    shown(&markets::list(tx, &MarketFilter::default(), &page).await.unwrap())
}

fn url(db: &TestDb) -> String {
    let Location::Postgres { url, .. } = &db.location else { panic!("{:?}", db.location) };
    url.clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_has_what_was_committed_before_it_and_nothing_later() {
    let db = TestDb::open(Backend::Sqlite).await;
    let one = add_market(&db, market("ONE", "")).await;
    let scratch = Scratch::new();
    let file = scratch.0.join("copy.db");
    // A write that is under way is in no copy, and does not wait for one.
    let (from, to) = (db.location.directory().join(DATABASE_FILE), file.clone());
    db.write(move |tx| {
        Box::pin(async move {
            markets::insert(tx, market("LATE", "")).await?;
            snapshot::copy_sqlite(&from, &to).await
        })
    })
    .await;
    let copy = Snapshot::open_sqlite(&file).await.unwrap();
    let mut tx = copy.read().await.unwrap();
    let facts = snapshot::facts(&mut tx).await.unwrap();
    assert_eq!((facts.schema, facts.last_commit), (migrate::newest(), one.created_at));
    assert_eq!((facts.rows["markets"], facts.rows["assets"]), (1, 0));
    let held = codes(&mut tx).await;
    assert!(held.contains("ONE") && !held.contains("LATE"), "{held}");
    drop(tx);
    assert_eq!(copy.faults().await.unwrap(), [""; 0]);
    copy.migrate().await.unwrap();
    copy.close().await;
    snapshot::migrate_sqlite(&file).await.unwrap();
    // Nothing is written over.
    let again = snapshot::copy_sqlite(&db.location.directory().join(DATABASE_FILE), &file).await;
    assert!(matches!(again, Err(StorageError::Driver(_))), "{again:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damage_and_rows_that_refer_to_nothing_are_found() {
    let db = TestDb::open(Backend::Sqlite).await;
    for number in 0..300 {
        add_market(&db, market(&format!("M{number}"), "")).await;
    }
    let scratch = Scratch::new();
    let directory = scratch.0.join("copy");
    std::fs::create_dir_all(&directory).unwrap();
    let file = directory.join(DATABASE_FILE);
    snapshot::copy_sqlite(&db.location.directory().join(DATABASE_FILE), &file).await.unwrap();
    let mut raw = Raw::open(&Location::Directory(directory)).await;
    raw.run("PRAGMA foreign_keys = 0; INSERT INTO first_symbols (asset_key, symbol) VALUES (77, 'X')").await;
    raw.close().await;
    let copy = Snapshot::open_sqlite(&file).await.unwrap();
    assert_eq!(copy.faults().await.unwrap(), ["row 77 of first_symbols refers to nothing in assets"]);
    copy.close().await;
    let mut bytes = std::fs::read(&file).unwrap();
    let place = bytes.windows(4).position(|part| part == b"M250").expect("a row of the table");
    let page = place - place % 8192;
    bytes[page..page + 64].fill(0xff);
    std::fs::write(&file, &bytes).unwrap();
    let copy = Snapshot::open_sqlite(&file).await.unwrap();
    let found = copy.faults().await;
    assert!(found.as_ref().is_err() || found.as_ref().is_ok_and(|faults| !faults.is_empty()), "{found:?}");
    copy.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_that_was_lent_is_the_lender_s() {
    let db = TestDb::open(Backend::Postgres).await;
    let one = add_market(&db, market("ONE", "")).await;
    let mut tx = db.db.read().await.unwrap();
    let lent = snapshot::lent(&mut tx).await.unwrap().expect("a snapshot");
    add_market(&db, market("LATE", "")).await;
    let mut raw = Raw::open(&db.location).await;
    raw.run(&format!("BEGIN ISOLATION LEVEL REPEATABLE READ; SET TRANSACTION SNAPSHOT '{lent}'")).await;
    assert_eq!(raw.texts("SELECT code FROM markets").await, ["ONE"]);
    snapshot::prepare(&mut tx).await.unwrap();
    let facts = snapshot::facts(&mut tx).await.unwrap();
    assert_eq!((facts.rows["markets"], facts.last_commit), (1, one.created_at));
    let sqlite = TestDb::open(Backend::Sqlite).await;
    assert_eq!(snapshot::lent(&mut sqlite.db.read().await.unwrap()).await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scratch_database_is_made_empty_and_is_gone_afterwards() {
    let db = TestDb::open(Backend::Postgres).await;
    let url = url(&db);
    let (server, own) = url.rsplit_once('/').unwrap();
    let name = format!("artifact_drill_{own}");
    assert!(snapshot::may_make_scratch(&url).await.unwrap());
    // A role of every PostgreSQL that may look, and make nothing.
    assert!(!snapshot::may_make_scratch(&format!("{url}?options[role]=pg_monitor")).await.unwrap());
    snapshot::make_scratch(&url, &name).await.unwrap();
    // Left by a process that was killed, it is made anew.
    snapshot::make_scratch(&url, &name).await.unwrap();
    let copy = Snapshot::open_postgres(&format!("{server}/{name}")).await.unwrap();
    copy.migrate().await.unwrap();
    let facts = snapshot::facts(&mut copy.begin().await.unwrap()).await.unwrap();
    assert_eq!((facts.schema, facts.last_commit, facts.rows["markets"]), (migrate::newest(), Moment(0), 0));
    assert_eq!(copy.faults().await.unwrap(), [""; 0]);
    copy.close().await;
    snapshot::drop_scratch(&url, &name).await.unwrap();
    assert!(Snapshot::open_postgres(&format!("{server}/{name}")).await.is_err());
}
